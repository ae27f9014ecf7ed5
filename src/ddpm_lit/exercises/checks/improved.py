"""Improving diffusion: la varianza que da la red."""

from collections.abc import Callable
from typing import Any

import torch

from ddpm_lit.exercises.checking import expect
from ddpm_lit.scheduler import Schedule


def check_range(learned: Callable[..., Any]) -> None:
    """Un paso de en medio, con varias salidas de la red, y t = 1, donde el logaritmo no existe."""
    schedule = Schedule.from_betas(torch.linspace(0.02, 0.3, 8))
    output = torch.tensor([-1.0, -0.4, 0.0, 0.7, 1.0], dtype=torch.float64)
    v = (output + 1) / 2
    small, large = schedule.posterior_variance, schedule.betas
    index = 3
    expect(
        "la varianza en el índice 3, con o = -1, -0.4, 0, 0.7 y 1",
        learned(schedule.betas, index, output),
        large[index] ** v * small[index] ** (1 - v),
        {
            "la red da o, de −1 a 1, y el lugar en el intervalo es v = (o + 1)/2.": (
                large[index] ** output * small[index] ** (1 - output)
            ),
            "se interpola entre los logaritmos, no entre las varianzas.": (
                v * large[index] + (1 - v) * small[index]
            ),
            "los extremos están cambiados: con v = 1 sale β_t.": (
                large[index] ** (1 - v) * small[index] ** v
            ),
            "ese es el logaritmo de la varianza: falta la exponencial.": (
                v * large[index].log() + (1 - v) * small[index].log()
            ),
            "eso es la desviación típica; se pide la varianza.": (
                large[index] ** v * small[index] ** (1 - v)
            ).sqrt(),
        },
        shape="sale una varianza por cada número que da la red.",
    )
    zeros = torch.where(v == 1, large[0], torch.zeros_like(v))
    expect(
        "la varianza en el índice 0 (t = 1), con las mismas o",
        learned(schedule.betas, 0, output),
        large[0] ** v * small[1] ** (1 - v),
        {
            "en t = 1, β̃_1 vale 0 y su logaritmo no existe: en su lugar se pone β̃_2.": zeros,
            "en t = 1, β̃_1 vale 0 y 0 por menos infinito no es un número: en su lugar se pone "
            "β̃_2.": torch.where(v == 1, torch.nan, zeros),
        },
    )
