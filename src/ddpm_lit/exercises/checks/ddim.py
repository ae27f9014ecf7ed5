"""DDIM: el paso de la familia, con su mando."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.scheduler import make_schedule


def check_ddim(step: Callable[..., Any]) -> None:
    """Un salto largo, con azar y sin él, y el último, que lleva a los datos."""
    bars = make_schedule("linear", 1000).alphas_cumprod
    x_t = torch.tensor([0.7, -1.1], dtype=torch.float64)
    epsilon = torch.tensor([0.4, -0.9], dtype=torch.float64)
    z = torch.tensor([1.3, 0.2], dtype=torch.float64)
    for eta in (0.0, 1.0, 0.5):
        right = _step(bars, 600, 400, x_t, epsilon, z, eta)
        slips = _slips(bars, 600, 400, x_t, epsilon, z, eta)
        expect(
            f"el paso del índice 600 al 400, con η = {eta:g}",
            step(bars, 600, 400, x_t, epsilon, z, eta),
            right,
            {hint: value for hint, value in slips.items() if value is not None},
        )
    one = torch.ones((), dtype=torch.float64)
    expect(
        "el último paso, del índice 100 a los datos (-1), con η = 0",
        step(bars, 100, -1, x_t, epsilon, z, 0.0),
        _mixed(bars[100], one, x_t, epsilon, z, 0 * one, one),
        {
            "el índice -1 son los datos, donde ᾱ = 1. En una tabla, -1 es la última.": _step(
                bars, 100, 999, x_t, epsilon, z, 0.0
            ),
        },
    )


def _mixed(
    bar: Tensor,
    prev: Tensor,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    sigma: Tensor,
    kept: Tensor,
) -> Tensor:
    """El dato que se cree, el ruido viejo y el nuevo, en las proporciones del nivel de llegada."""
    x_start = (x_t - (1 - bar).sqrt() * epsilon) / bar.sqrt()
    old = (1 - prev - kept * sigma**2).sqrt()
    return prev.sqrt() * x_start + old * epsilon + sigma * z


def _sigma(bar: Tensor, prev: Tensor, eta: float) -> Tensor:
    return eta * ((1 - prev) / (1 - bar) * (1 - bar / prev)).sqrt()


def _step(
    bars: Tensor,
    index: int,
    previous: int,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    eta: float,
) -> Tensor:
    bar, prev = bars[index], bars[previous]
    sigma = _sigma(bar, prev, eta)
    return _mixed(bar, prev, x_t, epsilon, z, sigma, torch.ones_like(bar))


def _slips(
    bars: Tensor,
    index: int,
    previous: int,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    eta: float,
) -> dict[str, Tensor | None]:
    """Lo que sale con cada error, o nada si con esa η no se nota."""
    bar, prev, one = bars[index], bars[previous], torch.ones_like(bars[index])
    sigma, full = _sigma(bar, prev, eta), _sigma(bar, prev, 1.0)
    before = (x_t, epsilon, z)
    return {
        "el nivel al que se va es el anterior de la lista, que llega en previous, no index - 1.": (
            _step(bars, index, index - 1, *before, eta)
        ),
        "el ruido viejo se queda con 1 − ᾱ_{t-1} − σ²: lo que entra de nuevo hay que quitárselo.": (
            _mixed(bar, prev, *before, sigma, 0 * one) if eta else None
        ),
        "η no se está usando: con η = 0 no hay azar.": (
            _mixed(bar, prev, *before, full, one) if eta != 1 else None
        ),
        "lo que multiplica a z es σ, la desviación típica, y se ha puesto σ².": (
            _mixed(bar, prev, *before, sigma, one) - sigma * z + sigma**2 * z
            if eta
            else None
        ),
        "η multiplica a σ, no a σ².": (
            _mixed(bar, prev, *before, eta**0.5 * full, one)
            if eta == 0.5
            else None
        ),
    }
