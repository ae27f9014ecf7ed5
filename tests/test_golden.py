"""Las semillas dan lo que daban: unas muestras y unos pesos guardados, hechos otra vez.

`fixtures/golden.safetensors` lleva las imágenes en float16 y los entrenamientos en float32. Si un
cambio lo altera sin querer, es un fallo; si es a propósito, se dice en el registro de cambios y se
vuelve a guardar. Los de ahora son los del Philox 4×32-10 de `ddpm_lit.noise`: antes, con el de
NumPy, las mismas semillas daban otras muestras.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tiny
from ddpm_lit.editing import inpaint, redraw
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.trained import Trained
from ddpm_lit.runs.train import train

GOLDEN = load_file(Path(__file__).parent / "fixtures" / "golden.safetensors")
IMAGES, WEIGHTS = 2e-3, 1e-3
"""Cuánto puede cambiar una muestra (float16, otros procesadores) y cuánto, unos pesos: Adam divide
entre el tamaño del gradiente, y donde es casi cero agranda el redondeo de cada procesador."""

RAMP = torch.linspace(-1, 1, 32).expand(2, 1, 32, 32).contiguous()
COLOUR = RAMP.expand(2, 3, 32, 32).contiguous()
BLACK = torch.zeros(3, 32, 32)
LEFT = (torch.arange(32) < 16).float().expand(3, 32, 32)
PLAIN: dict[str, Any] = {"guidance": 0.0, "spacing": "linspace", "device": "cpu"}

model = cache(load_pretrained)


def drawn(sampler: str) -> Tensor:
    return model("openmoji-texto").sample(
        [0, 7], seed=3, text="pingüino", guidance=2.0, sampler=sampler, steps=4, device="cpu"
    )


def enlarged(**options: Any) -> Tensor:
    return model("emoji-sr").sample(2, image=COLOUR, **PLAIN, **options)


SAMPLES: dict[str, Callable[[], Tensor]] = {
    "openmoji-texto/ddpm": lambda: drawn("ddpm"),
    "openmoji-texto/ddim": lambda: drawn("ddim"),
    "openmoji-texto/dpm++2m": lambda: drawn("dpm++2m"),
    "openmoji-texto/heun": lambda: drawn("heun"),
    "emoji-color/ddim": lambda: model("emoji-color").sample(
        2, image=RAMP, sampler="ddim", eta=0.5, steps=4, **PLAIN
    ),
    "emoji-sr/inpaint": lambda: enlarged(
        sampler="ddim", steps=6, edit=inpaint(BLACK, LEFT, jump=2, resamplings=2)
    ),
    "emoji-sr/redo": lambda: enlarged(sampler="dpm++2m", steps=8, edit=redraw(BLACK, 0.5)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_of_a_seed_are_those_of_always(name: str) -> None:
    torch.testing.assert_close(SAMPLES[name](), GOLDEN[name].float(), rtol=0, atol=IMAGES)


@cache
def trained(kind: str, folder: Path) -> Trained:
    recipe = {"toy": tiny.toy, "digits": tiny.digits}[kind](steps=12)
    return train(recipe, folder / kind, device="cpu", progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("entrenados")


@pytest.mark.parametrize("kind", ["toy", "digits"])
def test_a_training_of_a_seed_is_the_one_of_always(kind: str, folder: Path) -> None:
    state = trained(kind, folder).model.state_dict()
    weights = torch.cat([value.flatten()[:3] for value in state.values() if value.numel() >= 3])
    torch.testing.assert_close(weights, GOLDEN[f"train/{kind}"], rtol=0, atol=WEIGHTS)
    assert (weights - GOLDEN[f"train/{kind}"]).abs().mean() < WEIGHTS / 100


@pytest.mark.parametrize("kind", ["toy", "digits"])
def test_and_so_are_its_samples(kind: str, folder: Path) -> None:
    samples = trained(kind, folder).sample(3, seed=1, sampler="ddpm", steps=5, device="cpu")
    torch.testing.assert_close(samples, GOLDEN[f"train/{kind}/sample"], rtol=0, atol=IMAGES)


def test_everything_that_is_kept_is_made_again() -> None:
    made = {f"train/{kind}{part}" for kind in ("toy", "digits") for part in ("", "/sample")}
    assert GOLDEN.keys() == SAMPLES.keys() | made
