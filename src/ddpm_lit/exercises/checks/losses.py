"""Función de pérdidas: la divergencia entre dos normales."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.losses import normal_kl


def check_divergence(divergence: Callable[..., Tensor]) -> None:
    """Dos normales distintas en todo, y varias a la vez."""
    mean1, var1, mean2, var2 = (
        torch.tensor(number, dtype=torch.float64)
        for number in (0.7, math.log(0.25), 0.2, math.log(0.64))
    )
    gap, ratio = (mean1 - mean2) ** 2, (var1 - var2).exp()
    right = normal_kl(mean1, var1, mean2, var2)
    expect(
        "la D_KL de N(0.7, 0.25) a N(0.2, 0.64)",
        divergence(mean1, var1, mean2, var2),
        right,
        {
            "es la otra: no es simétrica, y la media se hace con la primera.": normal_kl(
                mean2, var2, mean1, var1
            ),
            "falta el ½ de delante.": 2 * right,
            "falta el −1: con dos normales iguales debe salir 0.": right + 0.5,
            "el logaritmo está del revés: va log σ₂² − log σ₁².": (
                0.5 * (var1 - var2 + ratio + gap / var2.exp() - 1)
            ),
            "las medias se comparan en unidades de la segunda: se divide entre σ₂².": (
                0.5 * (var2 - var1 + ratio + gap / var1.exp() - 1)
            ),
            "la diferencia de las medias va al cuadrado.": (
                0.5 * (var2 - var1 + ratio + (mean1 - mean2) / var2.exp() - 1)
            ),
            "lo que llega es log σ², no log σ: no hay que doblarlo.": normal_kl(
                mean1, 2 * var1, mean2, 2 * var2
            ),
        },
    )
    means = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)
    zero = torch.zeros_like(means)
    expect(
        "las D_KL de tres normales de varianza 1 a N(0, 1)",
        divergence(means, zero, zero, zero),
        means**2 / 2,
        shape="se pide una divergencia por componente, sin sumarlas.",
    )
