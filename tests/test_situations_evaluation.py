"""Medir con lo que haya: carpetas ajenas, pocos datos, y comparaciones del mismo tamaño."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from PIL import Image

import tiny
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.evaluation import measure
from ddpm_lit.evaluation.card import read_card
from ddpm_lit.evaluation.measure import (
    conditions_of,
    evaluate_samples,
    feature_network,
    left_out,
    likelihood,
    reference_data,
)
from ddpm_lit.evaluation.metrics import features, frechet_distance
from ddpm_lit.models.storage import save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import batch_indices
from ddpm_lit.recipes.recipe import Recipe
from terminal import Result, invoker

NAMES = ("gato", "perro", *map(str, range(2, 10)))


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """Ejecuta una orden en una carpeta vacía, con una red de rasgos que casi no se entrena."""
    monkeypatch.setattr(measure, "CLASSIFIER_STEPS", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caché"))
    monkeypatch.chdir(tmp_path)

    yield invoker(capfd)


def trained(recipe: Recipe, names: tuple[str, ...] = ()) -> Trained:
    return Trained(tiny.shaken(recipe), recipe, (1, 8, 8), {}, {"label_names": names})


def saved(model: Trained) -> str:
    path = f"{model.recipe.name}.safetensors"
    save_model(path, model.model, model.recipe, model.shape, data=model.data)
    return path


def pictures(folder: Path, count: int, first: int = 0) -> Path:
    """Unas cuantas imágenes grises distintas, en una carpeta."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        picture = Image.new("L", (8, 8), 10 * (first + index))
        picture.putpixel((index % 8, 3), 255)
        picture.save(folder / f"{index}.png")
    return folder


def classed(folder: Path, *names: str, count: int = 6) -> Path:
    """Una carpeta con una subcarpeta de imágenes por clase."""
    for number, name in enumerate(names):
        pictures(folder / name, count, 8 * number)
    return folder


# --- Una carpeta y un modelo con clases -----------------------------------------------------------


def test_a_folder_without_classes_measures_what_it_can(run: Callable[..., Result]) -> None:
    model = saved(trained(tiny.conditional(num_classes=10), NAMES))
    pictures(Path("fotos"), 5)
    done = run("evaluate", model, "--data", "fotos", "-n", "4", "--steps", "2", "--out", "m.json")
    assert done.code == 0, done.err
    assert "no se miden la distancia de Fréchet" in done.err
    card = read_card("m.json")
    (report,) = card.results
    assert {"frechet", "agreement"}.isdisjoint(report)
    assert report["nearest"]["samples"]["n"] == 4
    assert card.reference["trained_on"] is False
    assert "Distancia al dato más parecido" in done.out, "no son los de entrenamiento"


def test_the_classes_of_a_folder_are_those_of_the_model_by_their_name(tmp_path: Path) -> None:
    model = trained(tiny.conditional(num_classes=10), NAMES)
    data, _ = reference_data(model, classed(tmp_path / "fotos", "7", "gato", "perro"))
    assert data.label_names == NAMES
    assert data.labels is not None
    assert data.labels.tolist() == [7] * 6 + [0] * 6 + [1] * 6
    asked = conditions_of(model, data, torch.tensor([0, 6, 12]))
    assert asked["class_labels"].tolist() == [7, 0, 1]


def test_the_cli_asks_for_the_classes_of_the_folder(run: Callable[..., Result]) -> None:
    model = trained(tiny.conditional(num_classes=10), NAMES)
    classed(Path("fotos"), "gato", "perro")
    words = ("evaluate", saved(model), "--data", "fotos", "-n", "6", "--steps", "2")
    done = run(*words, "--out", "m.json", "--bits", "2")
    assert done.code == 0, done.err
    (report,) = read_card("m.json").results
    assert report["agreement"]["held_out"] is None
    assert report["frechet"]["same_size"] is None
    assert "Sin datos apartados no se sabe" in done.out
    assert report["bits"]["data"] == 2


def test_the_classes_of_others_are_not_asked_for(run: Callable[..., Result]) -> None:
    model = trained(tiny.conditional(num_classes=10), NAMES)
    classed(Path("fotos"), "gato", "pez")
    words = ("evaluate", saved(model), "--data", "fotos", "-n", "6", "--steps", "2")
    done = run(*words, "--out", "m.json")
    assert done.code == 0, done.err
    assert "no tiene las clases de estos datos (le falta «pez»)" in done.err
    (report,) = read_card("m.json").results
    assert "agreement" not in report
    assert report["frechet"]["samples"]["n"] == 6, "la red de rasgos sí se puede entrenar"


def test_bits_need_the_class_of_the_data(tmp_path: Path) -> None:
    folder = classed(tmp_path / "fotos", "gato", "pez", count=2)
    for dropout in (0.0, 0.1):
        model = trained(tiny.conditional(num_classes=10, dropout=dropout), NAMES)
        data, _ = reference_data(model, folder)
        if dropout:
            assert likelihood(model, data)["data"] == 4
        else:
            with pytest.raises(ValueError, match=r"necesita saber la clase.*no se pueden medir"):
                likelihood(model, data)


def test_a_name_of_ours_goes_before_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(Path("digits"), 2)
    model = trained(tiny.conditional())
    assert len(reference_data(model, "digits")[0]) == 1797
    assert len(reference_data(model, "./digits")[0]) == 2


def test_a_folder_for_a_model_of_points_is_explained(tmp_path: Path) -> None:
    points = Trained(tiny.toy().build_model(), tiny.toy(), (2,), {})
    with pytest.raises(ValueError, match=r"forma \(2,\) y «.*» es una carpeta de imágenes"):
        reference_data(points, tmp_path)


# --- Un modelo que lee, y descripciones que no conoce ---------------------------------------------


def test_what_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    for old, new in (("0", "cuatro"), ("1", "lápiz"), ("2", "¿!")):
        (tmp_path / f"{old}.png").rename(tmp_path / f"{new}.png")
    said: list[str] = []
    data, _ = reference_data(trained(tiny.reader()), tmp_path, note=said.append)
    assert data.captions == ("cuatro",)
    assert "De 3 descripciones se quitan 2" in said[0]


def test_if_nothing_can_be_read_it_is_asked_for_nothing(run: Callable[..., Result]) -> None:
    pictures(Path("fotos"), 3)
    reader = tiny.reader()
    done = run("evaluate", saved(trained(reader)), "--data", "fotos", "-n", "4", "--steps", "2")
    assert done.code == 0, done.err
    assert "se mide lo que dibuja sin frase" in done.err
    training = replace(reader.training, condition_dropout=0.0)
    mute = trained(replace(reader, training=training))
    with pytest.raises(ValueError, match=r"ninguna descripción de «fotos».*mídelo con otros datos"):
        reference_data(mute, "fotos")


# --- Pocos datos ----------------------------------------------------------------------------------


def ramp(count: int, names: tuple[str, ...] = ("0", "1")) -> Dataset:
    x = torch.linspace(-1, 1, count * 64).reshape(count, 1, 8, 8)
    return Dataset(x, torch.arange(count) % len(names), names)


def test_one_held_out_image_is_not_the_end(run: Callable[..., Result]) -> None:
    recipe = tiny.conditional(num_classes=10)
    recipe = replace(recipe, data=replace(recipe.data, held_out=1 / 1797))
    words = ("evaluate", saved(trained(recipe)), "-n", "4", "--steps", "2")
    done = run(*words, "--out", "m.json")
    assert done.code == 0, done.err
    assert "Solo hay un dato apartado" in done.err
    (report,) = read_card("m.json").results
    assert report["frechet"]["same_size"] is None
    assert report["frechet"]["samples"]["to_held_out"] is None
    assert report["diversity"]["held_out"] is None
    assert report["nearest"]["held_out"]["n"] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("unseen", [None, 1, 2, 3, 5])
def test_any_number_of_data_gives_a_report(
    count: int, unseen: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "CLASSIFIER_STEPS", 1)
    data, held_out = ramp(count), ramp(unseen) if unseen else None
    network = feature_network(data, cache_dir=tmp_path)
    assert (network is None) == (count == 1), "con una sola clase no hay nada que distinguir"
    report = evaluate_samples(
        ramp(6).x, data, held_out, labels=torch.zeros(6).long(), classifier=network
    )
    said = " ".join(left_out(data, held_out, network))
    assert json.loads(json.dumps(report))
    assert ("precision_recall" in report) == (count > 3)
    assert ("frechet" in report) == (network is not None)
    assert bool(said) == (count < 4 or unseen == 1)


def test_one_point_is_not_a_distribution() -> None:
    one = Dataset(torch.zeros(1, 2))
    assert "no se puede contrastar" in left_out(one, None, None)[0]
    assert set(evaluate_samples(torch.zeros(4, 2), one)) == {"nearest"}


def test_samples_that_are_not_finite_are_counted() -> None:
    samples = torch.zeros(5, 2)
    samples[1], samples[3, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="2 de 5 muestras tienen valores que no son finitos"):
        evaluate_samples(samples, Dataset(torch.zeros(3, 2)))


# --- Comparaciones del mismo tamaño ---------------------------------------------------------------


class Compared(NamedTuple):
    """Dígitos reales en rasgos: los de entrenamiento y, repartidos de varias maneras, el resto."""

    real: measure._Featured
    splits: list[tuple[measure._Featured, measure._Featured]]


@pytest.fixture(scope="module")
def compared() -> Compared:
    """Seis maneras de apartar un cuarto de los que la red no vio; lo demás hará de muestras."""
    train_set, rest = split(load_dataset("digits"), 0.4, 0)
    network = measure.train_classifier(train_set, steps=100)

    def seen_by(data: Dataset) -> measure._Featured:
        return measure._Featured(features(network, data.x), data.labels)

    shuffled = [rest.subset(batch_indices(len(rest), len(rest), seed, 0)) for seed in range(6)]
    parts = [split(data, 0.25, seed) for seed, data in enumerate(shuffled)]
    return Compared(
        seen_by(train_set), [(seen_by(made), seen_by(unseen)) for made, unseen in parts]
    )


def first(each: measure._Featured, count: int, *, asked: bool = True) -> measure._Featured:
    """Los primeros, con la clase que se les pidió o sin ella."""
    assert each.labels is not None
    return measure._Featured(each.features[:count], each.labels[:count] if asked else None)


def test_every_number_that_depends_on_the_size_says_its_size(compared: Compared) -> None:
    real, ((made, unseen), *_) = compared
    found = measure._in_features(made, real, unseen, 0)
    whole, fair = found["frechet"]["samples"], found["frechet"]["same_size"]
    assert (whole["n"], fair["n"]) == (len(made.features), len(unseen.features))
    assert whole["to_data"] == pytest.approx(frechet_distance(made.features, real.features))
    assert whole["to_held_out"] == pytest.approx(frechet_distance(made.features, unseen.features))
    quality = found["precision_recall"]
    assert (quality["samples"]["n"], quality["same_size"]["n"]) == (whole["n"], fair["n"])


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("count", [60, 539])
def test_a_perfect_model_gives_what_real_data_give(
    compared: Compared, count: int, asked: bool
) -> None:
    """Con tantas muestras o con pocas, y con las clases pedidas o al azar."""
    pairs = []
    for seed, (made, unseen) in enumerate(compared.splits):
        samples = first(made, count, asked=asked)
        fair = measure._in_features(samples, compared.real, unseen, seed)["frechet"]["same_size"]
        pairs.append([*fair["to_data"].values(), *fair["to_held_out"].values()])
    near, real, far, other = torch.tensor(pairs).mean(dim=0).tolist()
    assert near / real == pytest.approx(1, abs=0.3)
    assert far / other == pytest.approx(1, abs=0.3)


def test_a_few_samples_are_not_set_beside_many_data(compared: Compared) -> None:
    real, ((made, unseen), *_) = compared
    report = measure._in_features(first(made, 16), real, unseen, 0)
    fair = report["frechet"]["same_size"]
    many = frechet_distance(unseen.features, real.features)
    assert fair["n"] == 16
    assert report["frechet"]["samples"]["to_data"] > 4 * many, "así parecería un modelo malo"
    assert fair["to_data"]["held_out"] > 4 * many
    recall = report["precision_recall"]["same_size"]
    assert recall["n"] == 16
    assert recall["samples"].keys() == recall["held_out"].keys() == {"precision", "recall"}


def test_the_three_sets_have_the_same_classes_if_they_are_known() -> None:
    def only(labels: list[int]) -> measure._Featured:
        """El único rasgo de cada uno es su clase."""
        tensor = torch.tensor(labels)
        return measure._Featured(tensor[:, None].float(), tensor)

    three = only([0] * 5 + [1] * 3 + [2]), only([0] * 4 + [1] * 4), only([1] * 9 + [0] * 2)
    for found in measure._same_size(*three, 0):
        assert found.flatten().tolist() == [0, 0, 1, 1, 1]


def test_unknown_classes_are_drawn_and_nobody_is_repeated() -> None:
    half = measure._Featured(torch.arange(400.0)[:, None], torch.arange(400) % 4)
    made = measure._Featured(torch.arange(300.0)[:, None], None)
    counts = []
    for seed in range(20):
        found, real, unseen = measure._same_size(made, half, half, seed)
        assert len(found) == len(real) == len(unseen) == 200
        for each in (found, real, unseen):
            assert len(each.unique()) == 200
        assert not torch.equal(real, unseen)
        counts.append((unseen.flatten() % 4).long().bincount())
    spread = torch.stack(counts).float().std(dim=0)
    assert spread.mean() == pytest.approx((200 / 4 * 3 / 4) ** 0.5, rel=0.35)


def test_copying_is_seen_in_the_distance_to_the_held_out(compared: Compared) -> None:
    """Copiar acerca a los datos de entrenamiento más que cualquier dato real, y a los otros no."""
    near, honest, far, other = 0.0, 0.0, 0.0, 0.0
    real = compared.real
    for seed, (_, unseen) in enumerate(compared.splits):
        fair = measure._in_features(real, real, unseen, seed)["frechet"]["same_size"]
        near, honest = near + fair["to_data"]["samples"], honest + fair["to_data"]["held_out"]
        far, other = far + fair["to_held_out"]["samples"], other + fair["to_held_out"]["data"]
    assert near < 0.8 * honest
    assert far > 0.9 * other


def test_the_sentences_never_mix_sizes(run: Callable[..., Result]) -> None:
    recipe = tiny.conditional(num_classes=10)
    recipe = replace(recipe, data=replace(recipe.data, held_out=0.02))
    done = run("evaluate", saved(trained(recipe)), "-n", "50", "--steps", "2", "--out", "m.json")
    assert done.code == 0, done.err
    n = read_card("m.json").results[0]["frechet"]["same_size"]["n"]
    assert 30 <= n <= 36
    lines = done.out.splitlines()
    assert sum(line.startswith("Distancia de Fréchet con 50 muestras: ") for line in lines) == 1
    beside = [line for line in lines if "los datos apartados" in line and line.startswith("  ")]
    assert beside
    assert all(line.startswith(f"  Con {n} imágenes") for line in beside)
    assert sum("premia copiarlos" in line for line in lines) == 1
    assert sum("a los apartados: las muestras" in line for line in lines) == 1
