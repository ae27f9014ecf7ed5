"""Entrenamiento: la pérdida del Algoritmo 1."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, require
from ddpm_lit.forward import q_sample
from ddpm_lit.scheduler import make_schedule


def check_loss(loss: Callable[..., Any]) -> None:
    """Tres imágenes, cada una con su t, y una red de mentira que apunta lo que recibe."""
    schedule = make_schedule("linear", 100)
    bars = schedule.alphas_cumprod
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 1, 2, 2, generator=generator).double()
    x_start, noise = images[0].clamp(-1, 1), images[1]
    t = torch.tensor([2, 50, 98])
    seen: list[Tensor] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return _answer(x, t)

    given = loss(model, bars, x_start, t, noise)
    asked = "lo que recibe la red"
    require(
        len(seen) == 1,
        asked,
        f"{len(seen)} llamadas",
        "una llamada",
        "la red se llama una vez, con todo el lote: model(x_t, t).",
    )
    require(
        torch.equal(seen[0], t),
        asked,
        f"t = {seen[0].tolist()}",
        f"t = {t.tolist()}",
        "la red recibe el índice de cada ejemplo, el mismo con que se ha ensuciado.",
    )
    x_t = q_sample(schedule, x_start, t, noise)
    answer = _answer(x_t, t)
    bar = bars[t].reshape(-1, 1, 1, 1)
    expect(
        "la pérdida de cada una de tres imágenes",
        given,
        _error(answer, noise),
        {
            "a la red le ha llegado x_0 limpio: hay que ensuciarlo antes.": _error(
                _answer(x_start, t), noise
            ),
            "se compara con x_0, y esta red predice el ruido.": _error(
                answer, x_start
            ),
            "se compara con x_t, y esta red predice el ruido.": _error(
                answer, x_t
            ),
            "se han sumado los píxeles; se pide su media.": (
                4 * _error(answer, noise)
            ),
            "es la media de los valores absolutos, y el error es cuadrático.": (
                (answer - noise).abs().mean((1, 2, 3))
            ),
            "al ensuciar faltan las raíces: √ᾱ_t con el dato y √(1 − ᾱ_t) con el ruido.": _error(
                _answer(bar * x_start + (1 - bar) * noise, t), noise
            ),
        },
        shape="se pide una pérdida por ejemplo, (B,): la media es sobre los píxeles de cada uno.",
    )


def _answer(x: Tensor, t: Tensor) -> Tensor:
    return 0.3 * x + 0.01 * t.reshape(-1, 1, 1, 1)


def _error(answer: Tensor, target: Tensor) -> Tensor:
    return (answer - target).square().mean((1, 2, 3))
