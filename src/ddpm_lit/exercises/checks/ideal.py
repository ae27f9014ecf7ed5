"""¿Por qué ε?: lo mejor que puede responder una red."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.ideal import ideal_x_start
from ddpm_lit.scheduler import Schedule


def check_ideal(ideal: Callable[..., Tensor]) -> None:
    """Tres datos en el plano, con bastante ruido y casi sin él."""
    data = torch.tensor(
        [[0.8, 0.0], [-0.5, 0.6], [-0.2, -0.9]], dtype=torch.float64
    )
    x_t = torch.tensor([[0.3, 0.2], [-1.0, 0.4]], dtype=torch.float64)
    bar = 0.4
    squared = (x_t[:, None] - bar**0.5 * data).square().sum(-1)
    raw = (-squared / (2 * (1 - bar))).exp()
    expect(
        "E[x_0 | x_t] con tres datos, dos x_t y ᾱ_t = 0.4",
        ideal(bar, data, x_t),
        _right(bar, data, x_t),
        {
            "falta dividir entre la suma: los pesos deben sumar 1.": raw @ data,
            "en el exponente falta el 2: la densidad lleva −‖·‖²/2(1 − ᾱ_t).": (
                (-squared / (1 - bar)).softmax(1) @ data
            ),
            "los datos se comparan con x_t después de encogerlos: √ᾱ_t por cada uno.": (
                (
                    -(x_t[:, None] - data).square().sum(-1) / (2 * (1 - bar))
                ).softmax(1)
                @ data
            ),
            "los datos se encogen con √ᾱ_t, no con ᾱ_t.": (
                (
                    -(x_t[:, None] - bar * data).square().sum(-1)
                    / (2 * (1 - bar))
                ).softmax(1)
                @ data
            ),
            "ese es el dato más cercano; se pide la media de todos, con sus pesos.": data[
                squared.argmin(1)
            ],
            "la distancia va al cuadrado en el exponente.": (
                (-squared.sqrt() / (2 * (1 - bar))).softmax(1) @ data
            ),
            "los pesos de cada x_t, una fila, deben sumar 1: el softmax va por los datos.": (
                (-squared / (2 * (1 - bar))).softmax(0) @ data
            ),
            "el signo: cuanto más lejos está un dato, menos pesa.": (
                (squared / (2 * (1 - bar))).softmax(1) @ data
            ),
        },
        shape="sale un dato por cada x_t: (B, D).",
    )
    expect(
        "lo mismo con ᾱ_t = 0.9999, casi sin ruido",
        ideal(0.9999, data, x_t),
        _right(0.9999, data, x_t),
        {
            "todas las exponenciales se quedan en 0 y se divide entre 0. Un softmax resta antes "
            "la mayor y no le pasa.": torch.full_like(x_t, torch.nan),
        },
    )


def _right(bar: float, data: Tensor, x_t: Tensor) -> Tensor:
    schedule = Schedule.from_alphas_cumprod([bar])
    return ideal_x_start(schedule, data, x_t, torch.zeros(len(x_t)).long())
