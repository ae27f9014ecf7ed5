"""Backwards process: el recorte y el ruido que casa con él."""

from collections.abc import Callable
from typing import Any

import torch

from ddpm_lit.exercises.checking import expect, two


def check_clipping(clipped: Callable[..., Any]) -> None:
    """Tres píxeles: uno que no hay que recortar y otros dos que se salen, cada uno por un lado."""
    bar = 0.25
    x_t = torch.tensor([0.4, 2.0, -1.5], dtype=torch.float64)
    epsilon = torch.tensor([0.1, 1.5, 1.2], dtype=torch.float64)
    signal, noise = 0.5, 0.75**0.5
    free = (x_t - noise * epsilon) / signal
    right = free.clamp(-1, 1)
    wrong = (x_t.clamp(-1, 1) - noise * epsilon) / signal
    asked = "con ᾱ_t = 0.25"
    x_start, again = two(
        f"el dato y el ruido, {asked}", clipped(bar, x_t, epsilon)
    )
    expect(
        f"x̂_0, {asked}",
        x_start,
        right,
        {
            "no se ha recortado: los datos viven en [-1, 1], y x̂_0 también.": free,
            "se ha recortado x_t, y lo que se recorta es x̂_0: un x_t que vale 2 es de lo más "
            "normal.": wrong,
            "se ha recortado también x_t, y solo se recorta x̂_0: un x_t que vale 2 es de lo más "
            "normal.": wrong.clamp(-1, 1),
            "el ruido se resta: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.": (
                ((x_t + noise * epsilon) / signal).clamp(-1, 1)
            ),
            "faltan las raíces: los coeficientes del salto son √ᾱ_t y √(1 − ᾱ_t).": (
                ((x_t - 0.75 * epsilon) / 0.25).clamp(-1, 1)
            ),
            "falta dividir entre √ᾱ_t para despejar x_0.": (
                (x_t - noise * epsilon).clamp(-1, 1)
            ),
        },
    )
    expect(
        f"el ruido que casa con ese x̂_0, {asked}",
        again,
        (x_t - signal * right) / noise,
        {
            "ese es el ruido que dio la red, y con el x̂_0 recortado ya no sale x_t.": epsilon,
            "el ruido no se recorta: se despeja de x_t y del x̂_0 recortado.": (
                epsilon.clamp(-1, 1)
            ),
            "falta dividir entre √(1 − ᾱ_t) para despejar ε.": (
                x_t - signal * right
            ),
        },
    )
