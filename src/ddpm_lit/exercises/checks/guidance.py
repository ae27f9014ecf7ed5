"""CFG: la predicción guiada."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, require


def check_guidance(guided: Callable[..., Any]) -> None:
    """Dos ejemplos de dos clases, con una red de mentira y varios pesos."""
    x_t = torch.tensor([[0.5, -1.0], [0.2, 0.8]], dtype=torch.float64)
    t, labels, null = torch.tensor([7, 7]), torch.tensor([0, 2]), 3

    def model(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        require(
            len(x) == len(t) == len(labels),
            "lo que recibe la red",
            f"{len(x)} estados, {len(t)} índices y {len(labels)} clases",
            "los mismos de cada cosa",
            "si se dobla el lote, se doblan las tres cosas.",
        )
        return _answer(x, labels)

    with_it = _answer(x_t, labels)
    without = _answer(x_t, torch.full_like(labels, null))
    for weight in (2.0, 0.0):
        expect(
            f"la predicción guiada con w = {weight:g}",
            guided(model, x_t, t, labels, null, weight),
            (1 + weight) * with_it - weight * without,
            {
                hint: wrong
                for hint, wrong in _slips(with_it, without, weight).items()
                if weight > 0 or "w = 0" in hint
            },
            shape="sale una predicción por ejemplo: si se ha doblado el lote, hay que volver a "
            "partirlo.",
        )


def _slips(
    with_it: Tensor, without: Tensor, weight: float
) -> dict[str, Tensor]:
    return {
        "ese es el otro convenio, s = 1 + w: con w = 0 tiene que quedar la red condicionada, no la "
        "que va sin condición.": without + weight * (with_it - without),
        "las dos predicciones están cambiadas: se exagera lo que añade la condición.": (
            (1 + weight) * without - weight * with_it
        ),
        "el signo: la predicción sin condición se resta.": (
            (1 + weight) * with_it + weight * without
        ),
        "los pesos deben sumar 1: si se resta w veces una, la otra va 1 + w veces.": (
            weight * with_it - weight * without
        ),
        "las dos predicciones llevan la condición: a una hay que darle la clase nula.": with_it,
    }


def _answer(x: Tensor, labels: Tensor) -> Tensor:
    return torch.tanh(x) * (1 + 0.5 * labels[:, None]) + 0.1 * labels[:, None]
