"""Medir un modelo: con qué se compara, y medidas cuyo resultado se conoce de antemano."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import tiny
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.evaluation import measure as evaluation
from ddpm_lit.evaluation.measure import (
    conditions_of,
    evaluate_samples,
    feature_network,
    likelihood,
    reference_data,
)
from ddpm_lit.losses import variational_bound
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import sampling_noise


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    return split(load_dataset("digits"), 0.5, 0)


def trained(recipe: tiny.Recipe, shape: tuple[int, ...] = (1, 8, 8)) -> Trained:
    return Trained(tiny.shaken(recipe), recipe, shape, {})


# --- Las medidas ----------------------------------------------------------------------------------


def test_copies_of_the_data_are_perfect_and_nothing_but_copies(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CLASSIFIER_STEPS", 30)
    train_set, held_out = digits
    network = feature_network(train_set, cache_dir=tmp_path)
    report = evaluate_samples(
        train_set.x, train_set, held_out, labels=train_set.labels, classifier=network
    )
    n = len(train_set)
    assert report["frechet"]["samples"]["to_data"] == pytest.approx(0, abs=1e-6)
    assert report["precision_recall"]["samples"] == {"n": n, "precision": 1, "recall": 1}
    assert report["nearest"]["samples"] == {"n": n, "min": 0, "median": 0}
    assert report["frechet"]["same_size"]["to_data"]["held_out"] > 0
    assert report["nearest"]["held_out"]["median"] > 1
    # Con la mitad que no vio en el lugar de las muestras salen los números de los apartados.
    other = evaluate_samples(
        held_out.x, train_set, held_out, labels=held_out.labels, classifier=network
    )
    for pair in (
        other["frechet"]["same_size"]["to_data"],
        other["diversity"],
        other["agreement"],
    ):
        assert pair["samples"] == pytest.approx(pair["held_out"])
    assert other["agreement"]["samples"] > 0.3
    assert "energy" not in report


def test_without_classes_there_is_only_the_nearest_datum() -> None:
    data = Dataset(torch.linspace(-1, 1, 5 * 64).reshape(5, 1, 8, 8))
    assert feature_network(data) is None
    assert set(evaluate_samples(data.x, data)) == {"nearest"}


def test_points_from_the_same_place_are_not_told_apart() -> None:
    data = load_dataset("moons", n=400, seed=1)
    same = evaluate_samples(load_dataset("moons", n=300, seed=2).x, data)
    other = evaluate_samples(load_dataset("ring", n=300, seed=2).x, data)
    assert same["energy"]["p_value"] > 0.05 >= other["energy"]["p_value"]


# --- La red de rasgos -----------------------------------------------------------------------------


def test_the_feature_network_is_trained_once_for_each_data(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CLASSIFIER_STEPS", 1)
    said: list[str] = []
    first, again = (
        feature_network(digits[0], cache_dir=tmp_path, note=said.append) for _ in range(2)
    )
    assert first is not None
    assert again is not None
    assert len(said) == 1
    weights, copies = first.state_dict(), again.state_dict()
    assert all(torch.equal(weights[name], copies[name]) for name in weights)

    feature_network(digits[1], cache_dir=tmp_path, note=said.append)
    assert len(list(tmp_path.iterdir())) == 2
    (path, *_) = tmp_path.iterdir()
    path.write_bytes(b"esto no son pesos")
    for part in digits:
        assert feature_network(part, cache_dir=tmp_path, note=said.append) is not None
    assert sum("está dañada" in text for text in said) == 1


def test_a_cache_that_cannot_be_written_is_not_the_end(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CLASSIFIER_STEPS", 1)
    (tmp_path / "fichero").write_text("")
    said: list[str] = []
    assert feature_network(digits[0], cache_dir=tmp_path / "fichero", note=said.append) is not None
    assert "No se ha podido guardar" in said[-1]


# --- Con qué se compara ---------------------------------------------------------------------------


def test_the_data_are_those_of_the_recipe_with_its_split_and_its_conditions() -> None:
    model = trained(tiny.enlarger())
    train_set, held_out = reference_data(model)
    expected = split(load_dataset("digits"), 0.2, 0)
    assert held_out is not None
    for part, other in zip((train_set, held_out), expected, strict=True):
        assert torch.equal(part.x, other.x)
    blocks = train_set.x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
    condition = conditions_of(model, train_set, torch.tensor([7, 3]))
    assert set(condition) == {"image"}
    assert torch.allclose(condition["image"][:, :, ::2, ::2], blocks[[7, 3]], atol=1e-6)


def test_a_network_only_gets_the_conditions_that_it_knows() -> None:
    rows = torch.tensor([0, 5])
    for recipe, names in (
        (tiny.conditional(num_classes=10), {"class_labels"}),
        (tiny.reader(), {"tokens"}),
        (tiny.conditional(), set()),
    ):
        model = trained(recipe)
        assert set(conditions_of(model, reference_data(model)[0], rows)) == names


def test_what_was_held_out_and_cannot_be_read_does_not_count() -> None:
    recipe = tiny.reader()
    options = recipe.model.options | {"vocabulary": ["cero", "uno", "dos"]}
    model = trained(replace(recipe, model=replace(recipe.model, options=options)))
    held_out = reference_data(model)[1]
    assert held_out is not None
    assert set(held_out.captions) == {"cero", "uno", "dos"}
    assert "tokens" in held_out.conditions


def test_a_folder_is_read_at_the_size_of_the_model(tmp_path: Path) -> None:
    for shade in (0, 255):
        Image.new("RGB", (30, 20), (shade, shade, shade)).save(tmp_path / f"{shade}.png")
    train_set, held_out = reference_data(trained(tiny.conditional()), tmp_path)
    assert train_set.x.shape == (2, 1, 8, 8)
    assert train_set.x.flatten(1).mean(dim=1).tolist() == [-1, 1]
    assert held_out is None


# --- La verosimilitud -----------------------------------------------------------------------------


def test_the_bits_are_those_of_the_bound_of_each_datum() -> None:
    model = trained(tiny.conditional(num_classes=10))
    data = reference_data(model)[0].subset([4, 100, 900])
    measured = likelihood(model, data, seed=3, batch_size=2)
    noises = sampling_noise(3, range(3), data.image_shape)
    with torch.no_grad():
        bound = variational_bound(
            model.model,
            model.diffusion,
            data.x,
            lambda _: next(noises),
            levels=17,
            condition={"class_labels": data.labels},
        )
    total = bound.total.double()
    assert measured["total"] == pytest.approx(float(total.mean()), rel=1e-5)
    assert measured["standard_error"] == pytest.approx(float(total.std()) / 3**0.5, rel=1e-4)
    assert measured["reconstruction"] == pytest.approx(float(bound.terms[:, 0].mean()), rel=1e-4)
    assert measured["data"] == 3
    assert likelihood(model, data.subset([0]))["standard_error"] is None
