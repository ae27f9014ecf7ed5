"""El autoencoder y la difusión en su latente, frente a formas cerradas y a la de siempre."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scripts.build.autoencoder import images, measure
from scripts.build.latent_samples import costs
from scripts.site.project import PACKAGE
from torch import Tensor, nn

import tiny
from ddpm_lit.data import Dataset
from ddpm_lit.editing import redraw
from ddpm_lit.evaluation.measure import likelihood, reference_data
from ddpm_lit.files.weights import read_weights, write_weights
from ddpm_lit.forward import q_sample
from ddpm_lit.latent import (
    LOG_VARIANCES,
    Autoencoder,
    AutoencoderConfig,
    autoencoder_loss,
    autoencoder_names,
    fingerprint,
    load_autoencoder,
    save_autoencoder,
    set_scale,
    train_autoencoder,
)
from ddpm_lit.models.export import export_diffusers, export_onnx
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import TrainingDraws
from ddpm_lit.recipes.data import in_latent, training_data, with_text
from ddpm_lit.recipes.reading import load_recipe, recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.autoencoder import fit_autoencoder
from ddpm_lit.runs.checkpoint import MODEL
from ddpm_lit.runs.train import Every, train
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import gradient_step
from terminal import invoker

SMALL = AutoencoderConfig(1, 2, block_channels=(8,), norm_num_groups=4)
"""Para los dígitos: de 8×8×1 a 4×4×2."""
STEPS = 6


def autoencoder(seed: int = 0) -> Autoencoder:
    """Uno sin entrenar, con todos sus pesos distintos de 0 y la escala de los dígitos."""
    model = Autoencoder(SMALL)
    tiny.randomised(model, seed)
    set_scale(model, digits().x.split(100))
    return model.requires_grad_(False)


def digits() -> Dataset:
    return training_data(tiny.digits())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "auto.safetensors"
    save_autoencoder(path, autoencoder())
    return path


def recipe(path: Path, **training: Any) -> Recipe:
    """`tiny.digits` en el latente, sin *dropout* en las capas."""
    table = tiny.digits(**({"steps": STEPS} | training)).to_dict()
    table["name"] = "digits-latente"
    table["data"]["autoencoder"] = str(path)
    table["model"]["options"] |= {"in_channels": 2, "dropout": 0.0}
    table["diffusion"]["clip"] = False
    return recipe_from_dict(table)


def run(wanted: Recipe, folder: Path, **options: Any) -> Trained:
    return train(wanted, folder, progress=False, device="cpu", **options)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


# --- La pérdida -----------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Un codificador que da lo que se le diga y un decodificador que lo deja como está."""

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.cat([mean, log_variance], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.answer


def numbers(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=generator)


def with_answer(mean: Tensor, log_variance: Tensor) -> tuple[Autoencoder, nn.Parameter]:
    model = Autoencoder(AutoencoderConfig(1, 1, (4,), patch_size=1, norm_num_groups=2))
    answer = Fixed(mean, log_variance)
    model.encoder, model.decoder = answer, nn.Identity()  # type: ignore[assignment]
    return model.double(), answer.answer


@pytest.mark.equation("latente-kl", "latente-sorteo")
def test_the_loss_is_the_error_and_the_divergence_of_torch(agree: Callable[..., None]) -> None:
    x, mean, spread, noise = (numbers(seed) for seed in range(4))
    model, _ = with_answer(mean, spread)
    std = (spread / 2).exp()
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
    )
    error = (x - mean - std * noise).abs()
    found = autoencoder_loss(model, x, noise, 0.3)
    agree(found, error.mean((1, 2, 3)) + 0.3 * kl.mean((1, 2, 3)))


@pytest.mark.equation("latente-kl")
def test_the_divergence_is_the_mean_of_the_log_ratio(agree: Callable[..., None]) -> None:
    """La integral de q·log(q/p), con una cuadratura de Gauss-Hermite de 40 puntos."""
    import numpy as np

    mean, spread = numbers(5), numbers(6)
    model, _ = with_answer(mean, spread)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    total = torch.zeros_like(mean)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        z = mean + (spread / 2).exp() * node
        total += weight * (-(node**2) / 2 - spread / 2 + z**2 / 2)
    restored = mean  # con ruido 0, el decodificador devuelve la media: no hay más pérdida
    found = autoencoder_loss(model, restored, torch.zeros_like(mean), 1.0)
    agree(found, total.mean((1, 2, 3)), rtol=1e-10)


@pytest.mark.equation("latente-sorteo")
def test_the_gradient_goes_through_the_draw(agree: Callable[..., None]) -> None:
    x, mean, spread, noise = (numbers(seed) for seed in range(4))
    model, answer = with_answer(mean, spread)
    (gradient,) = torch.autograd.grad(autoencoder_loss(model, x, noise, 0.3).sum(), answer)
    std = (spread / 2).exp()
    sign = (mean + std * noise - x).sign() / 16
    agree(gradient[:, :1], sign + 0.3 * mean / 16)
    agree(gradient[:, 1:], sign * noise * std / 2 + 0.3 * (std**2 - 1) / 2 / 16)


def test_a_variance_neither_vanishes_nor_overflows() -> None:
    wild = torch.tensor([-1e4, 1e4]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4).double()
    model, _ = with_answer(torch.zeros_like(wild), wild)
    found = model.posterior(torch.zeros(2, 1, 4, 4)).log_variance
    assert (found.min().item(), found.max().item()) == LOG_VARIANCES


# --- Ida, escala y vuelta -------------------------------------------------------------------------


@pytest.mark.equation("latente-escala")
def test_the_latents_have_mean_zero_and_deviation_one(agree: Callable[..., None]) -> None:
    model, data = autoencoder(), digits()
    raw = model.posterior(data.x).mean.double()
    assert abs(raw.mean()) > 0.05 and abs(raw.std() - 1) > 0.05
    z = model.encode(data.x).double()
    agree(z, (raw - raw.mean()) / raw.std(), rtol=1e-5, atol=1e-6)
    assert z.mean().item() == pytest.approx(0, abs=1e-6)
    assert z.std().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.equation("latente-senal")
@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_signal_that_survives_goes_with_the_variance_of_the_data(
    scale: float, agree: Callable[..., None]
) -> None:
    """Regresión: lo que de x_t es señal y lo que es ruido, con un millar de datos y de ruidos."""
    schedule = make_schedule("cosine", 50)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(1000, 2, generator=generator, dtype=torch.float64))[0]
    x, noise = 1000**0.5 * basis.T[:, :, None]
    t = torch.full((1000,), 30)
    x_t = q_sample(schedule, scale * x, t, noise)
    signal, rest = ((x_t * part).mean() for part in (x, noise))
    agree(signal**2 / rest**2, scale**2 * schedule.snr[30], rtol=1e-9)


@pytest.mark.equation("latente-escala")
def test_decoding_undoes_the_scale(agree: Callable[..., None]) -> None:
    model, x = autoencoder(), digits().x[:20]
    agree(
        model.decode(model.encode(x)),
        model.decoder(model.posterior(x).mean),
        rtol=1e-5,
        atol=1e-7,
    )


def test_the_scale_does_not_depend_on_the_batches() -> None:
    one, many = autoencoder(), autoencoder()
    set_scale(one, [digits().x])
    set_scale(many, digits().x.split(7))
    assert one.scale.item() == pytest.approx(many.scale.item(), rel=1e-6)
    assert one.shift.item() == pytest.approx(many.shift.item(), rel=1e-5)


def test_each_side_is_divided_by_the_factor() -> None:
    config = AutoencoderConfig(3, 5, (8, 8, 8), norm_num_groups=4)
    assert config.factor == 8
    z = Autoencoder(config).encode(torch.zeros(2, 3, 16, 24))
    assert z.shape == (2, 5, 2, 3)
    assert Autoencoder(config).decode(z).shape == (2, 3, 16, 24)


@pytest.mark.parametrize(
    ("shape", "complaint"), [((2, 3, 8, 8), r"espera \(B, 1"), ((2, 1, 9, 8), "múltiplos de 2")]
)
def test_images_that_are_not_its_own_are_refused(shape: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        autoencoder().encode(torch.zeros(shape))


# --- Entrenarlo -----------------------------------------------------------------------------------


def test_the_loop_trains_it() -> None:
    torch.manual_seed(0)
    model, data = Autoencoder(SMALL), digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batches = ({"x": data.x[torch.randperm(len(data))[:32]]} for _ in range(60))
    loop = train_autoencoder(model, batches, TrainingDraws(0), gradient_step(optimizer))
    losses = [float(step.loss) for step in loop]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


def test_a_resumed_training_of_the_autoencoder_is_the_whole_one(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 8, "checkpoint_every": 3, "progress": False}
    whole, _ = fit_autoencoder(SMALL, digits(), tmp_path / "a", steps=6, **options)
    path = tmp_path / "b" / "checkpoint.safetensors"
    stopped: list[bytes] = []

    class Stop(Exception):
        pass

    import ddpm_lit.runs.autoencoder as module

    real = module.write_weights

    def once(*arguments: Any) -> None:
        real(*arguments)
        stopped.append(path.read_bytes())
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_weights", once)
        with pytest.raises(Stop):
            fit_autoencoder(SMALL, digits(), tmp_path / "b", steps=6, **options)
    assert read_weights(path)[0]["step"] == 3
    again, provenance = fit_autoencoder(SMALL, digits(), tmp_path / "b", steps=6, **options)
    assert same_weights(again, whole)
    assert provenance["steps"] == 6


# --- Guardarlo ------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_read(saved: Path) -> None:
    model = autoencoder()
    found = load_autoencoder(saved)
    assert found.config == SMALL and fingerprint(found) == fingerprint(model)
    assert fingerprint(autoencoder(1)) != fingerprint(model)
    assert not found.training and not any(p.requires_grad for p in found.parameters())


def test_in_half_the_scale_keeps_its_digits(tmp_path: Path) -> None:
    path = tmp_path / "mitad.safetensors"
    save_autoencoder(path, autoencoder(), dtype=torch.float16)
    found = load_autoencoder(path)
    assert found.scale == autoencoder().scale and found.shift == autoencoder().shift
    rounded = autoencoder().decoder[0].weight.half().float()
    assert torch.equal(found.decoder[0].weight, rounded)


def test_what_is_not_an_autoencoder_is_refused(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no trae ningún autoencoder «otro»"):
        load_autoencoder("otro")
    model = run(recipe(saved, steps=1), tmp_path / "run")
    assert model.shape == (2, 4, 4)
    with pytest.raises(ValueError, match="no guarda un autoencoder"):
        load_autoencoder(tmp_path / "run" / MODEL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_channels", [2**40]),
        ("blocks", 10**9),
        ("patch_size", 0),
        ("norm_num_groups", 3),
        ("block_channels", []),
        ("latent_channels", "dos"),
        ("otro", 1),
    ],
)
def test_a_damaged_configuration_is_refused_before_it_is_built(
    name: str, value: object, tmp_path: Path
) -> None:
    config = asdict(SMALL) | {name: value}
    tensors = autoencoder().state_dict()
    path = tmp_path / "mal.safetensors"
    write_weights(path, tensors, {"kind": "autoencoder", "config": config})
    with pytest.raises(ValueError, match="La configuración del autoencoder de"):
        load_autoencoder(path)


# --- Los datos ------------------------------------------------------------------------------------


def test_the_latents_take_the_place_of_the_images() -> None:
    model, data = autoencoder(), digits()
    latents = in_latent(data, model)
    torch.testing.assert_close(latents.x, model.encode(data.x))
    assert latents.labels is data.labels and latents.label_names == data.label_names
    assert latents.levels is None and latents.x.abs().max() > 1
    assert latents.fingerprint() != replace(latents, x=latents.x + 0.5).fingerprint()


def test_only_latents_may_leave_the_interval() -> None:
    far = torch.tensor([[3.0, -4.0]])
    with pytest.raises(ValueError, match=r"deben estar en \[-1, 1\]"):
        Dataset(far)
    assert torch.equal(Dataset(far, bounded=False).x, far)
    with pytest.raises(ValueError, match="ser finitos"):
        Dataset(far / 0, bounded=False)


# --- Entrenar en el latente -----------------------------------------------------------------------


def test_it_trains_as_with_any_other_data(tmp_path: Path, saved: Path) -> None:
    """Bit a bit, lo mismo que con los latentes dados como datos corrientes."""
    wanted = recipe(saved)
    found = run(wanted, tmp_path / "a")
    plain = replace(wanted, data=replace(wanted.data, autoencoder=None))
    data = in_latent(training_data(plain), load_autoencoder(saved))
    expected = run(plain, tmp_path / "b", dataset=data)
    assert same_weights(found.model, expected.model)


def test_a_resumed_training_is_the_whole_one(tmp_path: Path, saved: Path) -> None:
    whole = run(recipe(saved), tmp_path / "a")

    def stop(done: int, *_: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(saved), tmp_path / "b", every=Every(checkpoint=2), consumers=[stop])
    again = run(recipe(saved), tmp_path / "b")
    assert same_weights(again.model, whole.model)
    assert again.provenance["autoencoder"] == fingerprint(load_autoencoder(saved))


def test_with_another_autoencoder_it_does_not_go_on(tmp_path: Path, saved: Path) -> None:
    trained = run(recipe(saved, steps=2), tmp_path / "a")
    save_autoencoder(saved, autoencoder(1))
    with pytest.raises(ValueError, match="empezó con otro autoencoder"):
        run(recipe(saved, steps=4), tmp_path / "a")
    other = replace(trained)
    with pytest.raises(ValueError, match="no es el mismo con que se entrenó"):
        other.sample(1)


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("diffusion", {"clip": True}, "diffusion.clip"),
        ("data", {"flip": True}, "data.flip"),
        ("data", {"conditions": {"image": "low_resolution"}}, "data.conditions.image"),
    ],
)
def test_what_is_only_for_images_is_refused(
    saved: Path, where: str, value: dict[str, Any], complaint: str
) -> None:
    table = recipe(saved).to_dict()
    table[where] |= value
    with pytest.raises(ValueError, match=complaint):
        recipe_from_dict(table)


def test_a_network_of_pixels_can_go_on_with_latents(tmp_path: Path, saved: Path) -> None:
    """Los extremos empiezan de cero y lo de dentro, de los pesos que había."""
    table = tiny.digits(steps=3).to_dict()
    table["model"]["options"] |= {"dropout": 0.0}
    first = run(recipe_from_dict(table), tmp_path / "a")
    still = recipe(saved, steps=1, learning_rate=1e-12)
    second = run(still, tmp_path / "b", weights=first)
    old, new = first.model.state_dict(), second.model.state_dict()
    assert new["conv_in.weight"].shape[1] == 2 != old["conv_in.weight"].shape[1]
    assert new["conv_out.weight"].abs().max() < 1e-6
    for name, value in old.items():
        if name not in ("conv_in.weight", "conv_out.weight", "conv_out.bias"):
            torch.testing.assert_close(new[name], value, atol=1e-6, rtol=1e-5)
    assert second.provenance["continues"]["steps"] == 3


# --- Generar --------------------------------------------------------------------------------------


def made(tmp_path: Path, saved: Path) -> Trained:
    return run(recipe(saved), tmp_path / "run")


def test_the_samples_are_the_images_of_the_latents(tmp_path: Path, saved: Path) -> None:
    trained = made(tmp_path, saved)
    options: dict[str, Any] = {"seed": 3, "steps": 4, "sampler": "ddim"}
    x, z = trained.sample(5, **options), trained.sample(5, decoded=False, **options)
    assert trained.image_shape == (1, 8, 8) and z.shape == (5, 2, 4, 4)
    torch.testing.assert_close(x, load_autoencoder(saved).decode(z).clamp(-1, 1))
    assert z.abs().max() > 1


def test_the_pictures_on_the_way_are_images(tmp_path: Path, saved: Path) -> None:
    run(recipe(saved), tmp_path, every=Every(sample=6))
    with Image.open(tmp_path / "samples" / "0000006.png") as picture:
        assert picture.size[0] >= 5 * 8


def test_the_command_draws_them(
    tmp_path: Path, saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, saved)
    call, folder = invoker(capfd), str(tmp_path / "run")
    png, gif, tensors = (tmp_path / f"m.{kind}" for kind in ("png", "gif", "safetensors"))
    result = call(
        *("sample", folder, "-n", "4", "--steps", "3", "--sampler", "ddim", "--device", "cpu"),
        *("--out", str(png), "--animation", str(gif), "--tensors", str(tensors)),
    )
    assert result.code == 0, result.err
    assert "tensor «samples» de forma (4, 1, 8, 8)" in result.out
    assert png.is_file() and gif.is_file()
    result = call("info", folder)
    assert "autoencoder" in result.out and "(2, 4, 4)" in result.out
    assert "openmoji  lados entre 4; 4 canales" in call("info").out
    result = call("sample", folder, "--from-image", str(png))
    assert result.code != 0 and "no se edita en" in " ".join(result.err.split())


def test_what_cannot_be_done_is_said(tmp_path: Path, saved: Path) -> None:
    trained = made(tmp_path, saved)
    with pytest.raises(ValueError, match="una imagen no se edita en"):
        trained.sample(1, edit=redraw(torch.zeros(1, 8, 8), 0.5))
    for export, place in ((export_diffusers, "carpeta"), (export_onnx, "red.onnx")):
        with pytest.raises(ValueError, match="son dos redes"):
            export(trained, tmp_path / place)
        assert not (tmp_path / place).exists()
    data, held_out = reference_data(trained)
    assert data.image_shape == (1, 8, 8) and held_out is not None
    with pytest.raises(ValueError, match="difunde latentes"):
        likelihood(trained, data)


# --- Los que vienen en el paquete -----------------------------------------------------------------


def test_the_card_of_the_autoencoder_is_true() -> None:
    folder = PACKAGE / "weights" / "autoencoders"
    assert autoencoder_names() == ["openmoji"]
    assert {path.name for path in folder.iterdir()} == {"openmoji.json", "openmoji.safetensors"}
    card = json.loads((folder / "openmoji.json").read_text(encoding="utf-8"))
    model = load_autoencoder("openmoji")
    assert card["config"] == json.loads(json.dumps(asdict(model.config)))
    assert card["parameters"] == sum(each.numel() for each in model.parameters())
    found = measure(model, images())
    for name, value in found.items():
        assert value == pytest.approx(card["metrics"][name], rel=1e-3, abs=1e-5), name
    assert min(found["psnr"], found["psnr_unseen"]) > 25


def test_the_shipped_model_was_trained_with_the_shipped_autoencoder() -> None:
    trained = load_pretrained("openmoji-latente")
    assert trained.provenance["autoencoder"] == fingerprint(load_autoencoder("openmoji"))
    assert trained.image_shape == (3, 64, 64) and trained.shape == (4, 16, 16)
    assert not trained.diffusion.clip
    shipped = load_recipe("openmoji-latente")
    wanted = with_text(shipped, training_data(shipped))[0]
    assert wanted.network_config() == trained.recipe.network_config()
    assert wanted.training == trained.recipe.training


def test_in_pixels_the_same_operations_are_spent() -> None:
    latent, pixels = load_recipe("openmoji-latente"), load_recipe("openmoji-pixeles-64")
    ratio = costs()["ratio"]
    assert ratio == pytest.approx(3.98, abs=0.01)
    assert pixels.training.steps == round(latent.training.steps / ratio)
    assert replace(pixels.training, steps=1) == replace(latent.training, steps=1)
    assert pixels.data == replace(latent.data, autoencoder=None)
    options = latent.model.options | {"in_channels": 3, "patch_size": 2}
    assert pixels.model.options == options
