"""Scheduler: el coseno."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.scheduler import cosine_betas


def check_cosine(cosine: Callable[..., Tensor]) -> None:
    """Las β enteras, con pocos pasos, y con otra s."""
    bar, root = _curve(10, 2), _curve(10, 1)
    late = _curve(10, 2, start=-1)
    expect(
        "las β_t del coseno, con T = 10",
        cosine(10),
        cosine_betas(10),
        {
            "la curva de ᾱ_t es el coseno al cuadrado, y se ha quedado en el coseno.": (
                _clamped(1 - root[1:] / root[:-1])
            ),
            "la última β vale 1, y ese paso lo borra todo: se recortan a 0.999.": (
                1 - bar[1:] / bar[:-1]
            ),
            "esas son las ᾱ_t; se piden las β_t = 1 − ᾱ_t/ᾱ_{t-1}.": (
                bar[1:] / bar[0]
            ),
            "eso es 1 − ᾱ_t; la β_t de un paso lleva el cociente ᾱ_t/ᾱ_{t-1}.": _clamped(
                1 - bar[1:] / bar[0]
            ),
            "está corrida un lugar: la primera β es la que lleva de f(0) a f(1).": _clamped(
                1 - late[1:] / late[:-1]
            ),
            "la s es 0.008; con 0.08 la curva también parece razonable.": cosine_betas(
                10, s=0.08
            ),
        },
        shape="se piden T números, de β_1 a β_T. Para ello hacen falta T + 1 valores de f, de f(0) "
        "a f(T), y ᾱ_0 = 1 no tiene β.",
    )
    expect(
        "las β_t con T = 10 y s = 0.1",
        cosine(10, 0.1),
        cosine_betas(10, s=0.1),
        {"la s que se pide no se está usando.": cosine_betas(10)},
    )


def _curve(steps: int, power: int, start: int = 0) -> Tensor:
    """f(t), desde `start`, con el coseno a otra potencia."""
    u = torch.arange(start, start + steps + 1, dtype=torch.float64) / steps
    return torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** power


def _clamped(betas: Tensor) -> Tensor:
    return betas.clamp(max=0.999)
