"""El FID y el KID: las características de torch-fidelity, y las cuentas de otros.

Los pesos de verdad no vienen con ningún paquete: estos son al azar, en su mismo formato. De
torchvision, que torch-fidelity importa y que para Inception no usa, hay un doble.
"""

import hashlib
import io
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from torch import Tensor, nn

import tiny
from ddpm_lit.data import Dataset
from ddpm_lit.evaluation import measure, reference
from ddpm_lit.evaluation.card import read_card
from ddpm_lit.evaluation.inception import (
    Inception,
    inception_features,
    inception_file,
    load_inception,
)
from ddpm_lit.evaluation.measure import inception_measures
from ddpm_lit.evaluation.metrics import frechet_distance, gaussian, kernel_distance
from ddpm_lit.evaluation.reference import Reference, reference_features
from ddpm_lit.files.images import grid, save_png
from ddpm_lit.models.storage import save_model
from terminal import Run, invoker

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


def torchvision_double() -> dict[str, ModuleType]:
    """Lo justo para que torch-fidelity se importe."""
    modules = {
        name: ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        )
    }
    for name in ("CIFAR10", "CIFAR100", "STL10"):
        setattr(modules["torchvision.datasets"], name, type(name, (), {}))
    return modules


def forget(patch: pytest.MonkeyPatch) -> None:
    """Olvida torch-fidelity y torchvision, como en un proceso nuevo; al acabar, vuelven."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("torch_fidelity", "torchvision"):
            patch.delitem(sys.modules, name)


@pytest.fixture(scope="module")
def fidelity() -> Iterator[ModuleType]:
    """torch-fidelity, importado sin torchvision."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        for name, module in torchvision_double().items():
            patch.setitem(sys.modules, name, module)
        import torch_fidelity

        yield torch_fidelity
        for name in [each for each in sys.modules if each.split(".")[0] == "torch_fidelity"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def weights(fidelity: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unos pesos al azar, donde los buscaría torch-fidelity si `TORCH_HOME` fuera esa carpeta."""

    class Blank(fidelity.FeatureExtractorInceptionV3):  # type: ignore[misc, name-defined]
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            pass

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Blank("al-azar", ["2048"], feature_extractor_weights_path=empty)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    path: Path = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints" / WEIGHTS
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights: Path) -> Inception:
    return load_inception(weights)


def images(seed: int, *shape: int) -> Tensor:
    """Imágenes al azar en [-1, 1], que no caen en los 256 valores."""
    generator = np.random.Generator(np.random.Philox(seed))
    return torch.from_numpy(generator.uniform(-1, 1, shape)).float()


# --- Las características --------------------------------------------------------------------------


def test_the_features_are_those_of_torch_fidelity(
    fidelity: ModuleType, weights: Path, inception: Inception
) -> None:
    theirs = fidelity.FeatureExtractorInceptionV3(
        "suya", ["2048"], feature_extractor_weights_path=weights
    )
    color, grey = images(1, 3, 3, 8, 12), images(2, 2, 1, 32, 32)
    for x in (color, grey):
        found = inception_features(inception, x, batch_size=2)
        pixels = ((x.double() + 1) * 127.5).round().to(torch.uint8)
        (expected,) = theirs(pixels.expand(-1, 3, -1, -1).contiguous())
        assert found.shape == (len(x), 2048)
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert float(expected.std(dim=0).mean()) > 1e-3, "si no, dos imágenes darían lo mismo"


def test_the_network_sees_the_bytes_of_the_png(inception: Inception, tmp_path: Path) -> None:
    seen: list[Tensor] = []
    hook = inception.network.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].clone())
    )
    every = torch.arange(256).float().reshape(1, 1, 16, 16) / 127.5 - 1
    loose = 1.3 * images(3, 1, 1, 16, 16)
    try:
        inception_features(inception, torch.cat([every, loose]))
    finally:
        hook.remove()
    (pixels,) = seen
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels[0, 0].flatten(), torch.arange(256).to(torch.uint8))
    assert torch.equal(pixels[:, 0], pixels[:, 1])
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    save_png(grid(loose, padding=0, scale=1), tmp_path / "una.png")
    png = np.asarray(Image.open(tmp_path / "una.png").convert("L"))
    assert np.array_equal(pixels[1, 0].numpy(), png)
    assert {0, 255} <= set(png.flatten().tolist()), "lo que se sale se recorta"


def like_tensorflow(image: np.ndarray, side: int) -> np.ndarray:
    """El bilineal de TensorFlow 1, (H, W) a (side, side): el píxel i sale de i · H/side."""
    height, width = image.shape

    def places(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        where = np.arange(side) * (size / side)
        low = np.floor(where).astype(int)
        return low, np.minimum(low + 1, size - 1), where - low

    top, bottom, down = places(height)
    left, right, across = places(width)
    rows = image[top] * (1 - down)[:, None] + image[bottom] * down[:, None]
    return rows[:, left] * (1 - across) + rows[:, right] * across


def test_the_resize_is_the_one_of_tensorflow(inception: Inception) -> None:
    seen: list[Tensor] = []
    first: nn.Module = inception.network.Conv2d_1a_3x3  # type: ignore[assignment]
    hook = first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x = images(4, 1, 3, 9, 14)
    try:
        inception_features(inception, x)
    finally:
        hook.remove()
    pixels = np.round((x[0].double().numpy() + 1) * 127.5)
    for channel, resized in zip(pixels, seen[0][0].double().numpy(), strict=True):
        expected = (like_tensorflow(channel, 299) - 128) / 128
        assert np.abs(resized - expected).max() < 1e-4


def test_only_pictures_have_features(inception: Inception) -> None:
    for shape in ((2, 2), (2, 4, 8, 8), (2, 2, 8, 8)):
        with pytest.raises(ValueError, match="imágenes de uno o tres canales"):
            inception_features(inception, torch.zeros(shape))


# --- Las cuentas ----------------------------------------------------------------------------------


def by_hand_fid(a: np.ndarray, b: np.ndarray) -> float:
    """El Fréchet con la raíz de una matriz de SciPy."""
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(sigma_a @ sigma_b).real
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + np.trace(sigma_a + sigma_b - 2 * root))


def by_hand_kid(x: np.ndarray, y: np.ndarray, subsets: int, size: int) -> tuple[float, float]:
    """El MMD² sin sesgo, par a par, en trozos al azar."""
    generator, values = np.random.RandomState(2020), []
    for _ in range(subsets):
        a = x[generator.choice(len(x), size, replace=False)]
        b = y[generator.choice(len(y), size, replace=False)]
        inside = sum(
            ((each[i] @ each[j]) / x.shape[1] + 1) ** 3
            for each in (a, b)
            for i in range(size)
            for j in range(size)
            if i != j
        )
        across = sum((((p @ q) / x.shape[1]) + 1) ** 3 for p in a for q in b)
        values.append(inside / (size * (size - 1)) - 2 * across / size**2)
    return float(np.mean(values)), float(np.std(values))


def cloud(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.standard_normal((count, 24)) @ generator.uniform(-1, 1, (24, 24)) + shift


def test_the_fid_is_the_one_of_the_formula_and_of_torch_fidelity(fidelity: ModuleType) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = cloud(1, 400), cloud(2, 300, 0.5)
    ours = frechet_distance(torch.from_numpy(a), torch.from_numpy(b))
    assert ours == pytest.approx(by_hand_fid(a, b), rel=1e-8)
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(each)) for each in (a, b)), verbose=False
    )
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-8)
    fitted = gaussian(torch.from_numpy(b))
    assert frechet_distance(torch.from_numpy(a), fitted) == ours


def test_the_kid_is_the_one_of_the_formula_and_of_torch_fidelity(fidelity: ModuleType) -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = cloud(3, 60), cloud(4, 50, 0.3)
    ours = kernel_distance(torch.from_numpy(a), torch.from_numpy(b), subsets=4, subset_size=20)
    mean, deviation = by_hand_kid(a, b, 4, 20)
    assert (ours.mean, ours.deviation) == pytest.approx((mean, deviation), rel=1e-8)
    assert ours.subset_size == 20
    theirs = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=4, kid_subset_size=20, verbose=False
    )
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-8)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-8)


def test_with_the_usual_options_both_figures_are_those_of_torch_fidelity(
    fidelity: ModuleType,
) -> None:
    """Con 2048 componentes y los trozos de siempre."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    generator = np.random.Generator(np.random.Philox(5))
    a, b = (
        torch.from_numpy(generator.gamma(1, 0.4 + 0.02 * i, (1100, 2048))).float() for i in (0, 1)
    )
    ours = kernel_distance(a, b, subsets=3)
    theirs = kid_features_to_metric(a, b, kid_subsets=3, verbose=False)
    assert ours.subset_size == 1000
    # La suya va en float32.
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-3)


def test_the_kid_does_not_depend_on_how_many_and_the_fid_does() -> None:
    real = torch.from_numpy(cloud(6, 4000))
    few, many = (torch.from_numpy(cloud(6, 4000)[2000 : 2000 + n]) for n in (60, 1500))
    base = real[:2000]
    assert frechet_distance(few, base) > 5 * frechet_distance(many, base)
    for made in (few, many):
        kid = kernel_distance(made, base, subset_size=60)
        assert abs(kid.mean) < 3 * kid.deviation


def test_the_kid_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        kernel_distance(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="«subset_size» vale 1"):
        kernel_distance(torch.zeros(5, 2), torch.zeros(5, 2), subset_size=1)


# --- Los pesos ------------------------------------------------------------------------------------


def test_the_weights_are_looked_for_where_torch_fidelity_leaves_them(
    fidelity: ModuleType, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(weights.parents[2]))
    assert inception_file() == weights
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        inception_file()
    said = str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints" / WEIGHTS) in said
    for text in (f"releases/download/v0.2.0/{WEIGHTS}", "TORCH_HOME", "--inception"):
        assert text in said
    with pytest.raises(FileNotFoundError, match="no-está"):
        load_inception(tmp_path / "no-está.pth")
    assert inception_file(weights) == weights


def test_loading_leaves_the_global_generator_alone(weights: Path, fidelity: ModuleType) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    loaded = load_inception(weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.network.training
    assert loaded.fingerprint == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def test_only_the_published_weights_are_the_published_ones(
    weights: Path, inception: Inception, fidelity: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not inception.published
    name = "torch_fidelity.feature_extractor_inceptionv3.URL_INCEPTION_V3"
    monkeypatch.setattr(name, f"https://ejemplo.org/pesos-{inception.fingerprint[:8]}.pth")
    assert load_inception(weights).published


class Malicious:
    """Un pickle que, si se abre sin cuidado, crea una carpeta."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_file_with_code_runs_nothing(fidelity: ModuleType, tmp_path: Path) -> None:
    trap = tmp_path / "ejecutado"
    saved, bare = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"conv": Malicious(trap)}, saved)
    bare.write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    for path in (saved, bare):
        with pytest.raises(ValueError, match=r"no se pueden leer .*vuelve a descargar https"):
            load_inception(path)
    assert not trap.exists()


def test_broken_weights_are_explained(fidelity: ModuleType, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "pesos.pth"
    path.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"pesos\.pth» no se pueden leer"):
        load_inception(path)
    for content in ({"otra.red": torch.zeros(3)}, [1, 2], 5):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"pesos\.pth» no son los de la Inception"):
            load_inception(path)


# --- Lo que no está o no casa ---------------------------------------------------------------------


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"El FID necesita el paquete «torchvision».*fid"):
        inception_file()
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ModuleNotFoundError, match=r"«torch-fidelity».*ddpm_lit\[fid\]"):
        inception_file()


def test_a_torchvision_of_another_torch_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    (tmp_path / "torchvision").mkdir()
    broken = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (tmp_path / "torchvision" / "__init__.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"no se puede importar \(operator torchvision::nms.*del"):
        inception_file()


# --- La caché de la referencia --------------------------------------------------------------------


class Plain(nn.Module):
    """Hace de Inception: unas cuantas combinaciones de los píxeles, y cuántas veces se la llama."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(images(9, 192, 16))
        self.calls = 0

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        self.calls += 1
        return (pixels.flatten(1).float() @ self.weight / 255,)


def plain(fingerprint: str = "una") -> Inception:
    return Inception(Plain().requires_grad_(False), fingerprint, False)


def pictures(seed: int, count: int = 30) -> Dataset:
    return Dataset(images(seed, count, 3, 8, 8), torch.arange(count) % 2, ("a", "b"))


def seen(inception: Inception, data: Dataset, folder: Path) -> tuple[Reference, list[str]]:
    said: list[str] = []
    return reference_features(inception, data, cache_dir=folder, note=said.append), said


def same(one: Reference, other: Reference) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip((*one.gaussian, *one[1:]), (*other.gaussian, *other[1:]), strict=True)
    )


def test_the_reference_is_computed_once_for_each_content(tmp_path: Path) -> None:
    inception, data = plain(), pictures(1)
    first, said = seen(inception, data, tmp_path)
    calls = inception.network.calls
    again, _ = seen(inception, data, tmp_path)
    assert inception.network.calls == calls
    assert said == []
    assert same(first, again)
    assert torch.equal(first.features, inception_features(inception, data.x))
    assert torch.equal(first.gaussian.root, gaussian(first.features).root)
    # Otros datos, otra red: otra caché.
    seen(inception, pictures(2), tmp_path)
    seen(plain("otra"), data, tmp_path)
    assert len(list(tmp_path.glob("referencia-*.npz"))) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "PREPROCESSING", "otro tamaño")
        seen(inception, data, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def damaged(path: Path, how: str, other: Path) -> None:
    content = path.read_bytes()
    if how == "cortada":
        path.write_bytes(content[: len(content) // 2])
    elif how == "vacía":
        path.write_bytes(b"")
    elif how == "otra cosa":
        path.write_bytes(b"esto no es un npz")
    elif how == "la de otros datos":
        path.write_bytes(other.read_bytes())
    else:
        with np.load(path) as file:
            arrays = dict(file)
        if how == "una cifra cambiada":
            arrays["features"][3, 2] += 1
        elif how == "sin suma":
            del arrays["sum"]
        elif how == "con un pickle":
            arrays["features"] = np.array([Malicious(path.parent / "ejecutado")], dtype=object)
        np.savez(path, **arrays)


@pytest.mark.parametrize(
    "how",
    [
        *("cortada", "vacía", "otra cosa", "la de otros datos"),
        *("una cifra cambiada", "sin suma", "con un pickle"),
    ],
)
def test_a_damaged_reference_is_made_again_and_said(how: str, tmp_path: Path) -> None:
    inception, data = plain(), pictures(1)
    seen(inception, pictures(2), tmp_path)
    (other,) = tmp_path.iterdir()
    first, _ = seen(inception, data, tmp_path)
    (path,) = set(tmp_path.iterdir()) - {other}
    damaged(path, how, other)
    again, said = seen(inception, data, tmp_path)
    assert len(said) == 1
    assert "están dañadas (" in said[0]
    assert "se rehacen" in said[0]
    assert same(first, again)
    assert not (tmp_path / "ejecutado").exists()
    assert seen(inception, data, tmp_path)[1] == [], "y queda bien"


def test_a_reference_that_cannot_be_kept_is_not_the_end(tmp_path: Path) -> None:
    (tmp_path / "fichero").write_text("")
    found, (text,) = seen(plain(), pictures(1), tmp_path / "fichero")
    assert "No se han podido guardar" in text
    assert len(found.features) == 30


def test_of_many_data_some_are_kept_and_the_gaussian_is_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "KEPT", 10)
    inception, data = plain(), pictures(3)
    found, _ = seen(inception, data, tmp_path)
    every = inception_features(inception, data.x)
    assert torch.equal(found.gaussian.mean, gaussian(every).mean)
    assert found.labels is not None
    assert data.labels is not None
    rows = [int((every == row).all(dim=1).nonzero()) for row in found.features]
    assert len(set(rows)) == 10
    assert torch.equal(found.labels, data.labels[rows])
    assert same(found, seen(inception, data, tmp_path)[0])


# --- Lo que se compara ----------------------------------------------------------------------------


def known(points: np.ndarray) -> Reference:
    features = torch.from_numpy(points)
    return Reference(gaussian(features), features, None)


def test_copies_have_fid_zero_and_everything_inside() -> None:
    real = known(cloud(10, 300))
    found = inception_measures(real.features, real)
    assert found["fid"]["to_data"] == pytest.approx(0, abs=1e-6)
    assert found["fid"]["n"] == 300
    assert found["fid"]["to_held_out"] is None
    assert found["precision_recall"] == {"n": 300, "precision": 1, "recall": 1}


@pytest.mark.parametrize("apart", [True, False])
def test_a_perfect_model_gives_what_other_real_data_give(apart: bool) -> None:
    points = cloud(11, 2000)
    real = known(points[:800])
    unseen = known(points[800:1100]) if apart else None
    pairs = []
    for seed in range(4):
        made = torch.from_numpy(points[1100:1300])
        fair = inception_measures(made, real, unseen, seed=seed)["same_size"]
        assert (fair["n"], fair["held_out"]) == (150 if apart else 200, apart)
        pairs.append((fair["samples"]["fid"], fair["real"]["fid"]))
    samples, others = np.mean(pairs, axis=0)
    assert samples == pytest.approx(others, rel=0.25)
    far = torch.from_numpy(points[1100:1300] + 2)
    bad = inception_measures(far, real, unseen)["same_size"]
    assert bad["samples"]["fid"] > 5 * bad["real"]["fid"]
    assert bad["samples"]["precision"] < bad["real"]["precision"]


def test_with_hardly_any_data_there_is_no_comparison() -> None:
    found = inception_measures(torch.zeros(5, 3), known(np.eye(3)))
    assert found["same_size"] is None
    assert found["precision_recall"] is None
    assert found["kid"]["subset_size"] == 3


# --- La orden -------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(measure, "CLASSIFIER_STEPS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caché"))
    monkeypatch.chdir(tmp_path)
    recipe = tiny.conditional()
    save_model("modelo.safetensors", tiny.shaken(recipe), recipe, (1, 8, 8))
    Path("fotos").mkdir()
    for number, picture in enumerate(images(12, 9, 1, 8, 8)):
        save_png(grid(picture[None], padding=0, scale=1), f"fotos/{number}.png")
    return invoker(capfd)


def test_the_command_says_how_many_and_what_real_data_give(
    run: Run, fidelity: ModuleType, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", "modelo.safetensors", "--data", "fotos", "-n", "6", "--steps", "2")
    monkeypatch.setenv("TORCH_HOME", str(weights.parents[2]))
    done = run(*words, "--fid", "--out", "a.json")
    assert done.code == 0, done.err
    assert "FID con 6 muestras: a estos datos, " in done.out
    assert "Depende mucho de cuántas sean" in done.out
    assert "Con 4 imágenes, a la mitad de los datos: las muestras, " in done.out
    assert "; otros datos reales, " in done.out
    assert "KID, en trozos de 6: " in done.out
    assert "no son los que publica torch-fidelity" in done.out
    card = read_card("a.json")
    fid = card.results[0]["inception"]["fid"]
    assert fid["n"] == 6
    assert fid["to_data"] > 0
    used = card.extractors["inception"]
    assert used["fingerprint"] == hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    assert used["published"] is False
    assert card.environment["torch_fidelity"] == "0.4.0"
    # Con la ficha, y los pesos en otro sitio, sale lo mismo; la referencia, de la caché.
    monkeypatch.setenv("TORCH_HOME", str(weights.parent))
    again = run("evaluate", "--card", "a.json", "--inception", str(weights))
    assert again.code == 0, again.err
    assert "nada de lo que se apunta ha cambiado" in again.out
    assert "cifras son las mismas" in again.out
    assert read_card("ficha-condicional.json").results == card.results


def test_without_weights_nothing_is_generated(
    run: Run, fidelity: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(*_: object, **__: object) -> None:
        raise AssertionError("Se ha generado para nada.")

    monkeypatch.setattr("ddpm_lit.models.trained.Trained.sample", generate)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    done = run("evaluate", "modelo.safetensors", "--fid")
    assert done.code == 1
    assert f"No están los pesos de Inception en «{tmp_path}" in done.err
    done = run("evaluate", "modelo.safetensors", "--inception", "pesos.pth")
    assert done.code == 2
    assert "añade --fid" in done.err


def test_points_have_no_fid(run: Run, fidelity: ModuleType) -> None:
    recipe = tiny.toy()
    save_model("puntos.safetensors", recipe.build_model(), recipe, (2,))
    done = run("evaluate", "puntos.safetensors", "--fid")
    assert done.code == 1
    assert "imágenes de uno o tres canales" in done.err
