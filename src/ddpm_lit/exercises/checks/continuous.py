"""El límite continuo: un paso atrás de la familia, y la divergencia con sondas."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect

BETA, BAR = 0.09, 0.36


def check_reverse_step(step: Callable[..., Any]) -> None:
    """Un paso con todo el azar, otro sin ninguno y otro a medias."""
    x_t = torch.tensor([0.8, -1.3], dtype=torch.float64)
    epsilon = torch.tensor([0.5, -0.7], dtype=torch.float64)
    z = torch.tensor([1.1, 0.4], dtype=torch.float64)
    score = -epsilon / (1 - BAR) ** 0.5
    for kappa in (1.0, 0.0, 0.5):
        half = (1 + kappa**2) / 2
        noise = kappa * BETA**0.5 * z
        right = _moved(x_t, half * score, noise)
        slips = {
            "el score se suma: hacia atrás se sube la cuesta.": _moved(
                x_t, -half * score, noise
            ),
            "eso es ε, no el score: falta dividir entre √(1 − ᾱ_t).": _moved(
                x_t, -half * epsilon, noise
            ),
            "el ruido se divide entre √(1 − ᾱ_t), y falta la raíz.": _moved(
                x_t, -half * epsilon / (1 - BAR), noise
            ),
            "hacia atrás se deshace el encogimiento: β/2 x se suma.": right
            - BETA * x_t,
            "el encogimiento es de β/2, y se ha deshecho β.": right
            + BETA / 2 * x_t,
        }
        if kappa:
            slips["lo que multiplica a z es κ√β, y falta la raíz."] = _moved(
                x_t, half * score, kappa * BETA * z
            )
        if kappa < 1:
            slips[
                "con menos azar se sube menos: el score va con (1 + κ²)/2."
            ] = _moved(x_t, score, noise)
        if kappa == 0.5:
            slips["κ va al cuadrado en lo que multiplica al score."] = _moved(
                x_t, (1 + kappa) / 2 * score, noise
            )
            slips["κ multiplica a la desviación, no a la varianza."] = _moved(
                x_t, half * score, (kappa * BETA) ** 0.5 * z
            )
        expect(
            f"x_{{t-1}}, con κ = {kappa:g}",
            step(BETA, BAR, x_t, epsilon, z, kappa),
            right,
            slips,
        )


def _moved(x_t: Tensor, climb: Tensor, noise: Tensor) -> Tensor:
    return x_t + BETA / 2 * x_t + BETA * climb + noise


def check_divergence(divergence: Callable[..., Any]) -> None:
    """Un campo que no es lineal, dos puntos y tres sondas."""
    matrix = torch.tensor([[0.9, -0.6], [1.4, 0.5]], dtype=torch.float64)
    x = torch.tensor([[0.3, -0.2], [0.7, 0.4]], dtype=torch.float64)
    probes = torch.tensor(
        [[[1, 1], [1, -1]], [[1, 1], [-1, -1]], [[-1, 1], [1, 1]]],
        dtype=torch.float64,
    )

    def field(x: Tensor) -> Tensor:
        return torch.tanh(x @ matrix)

    slope = 1 - field(x) ** 2
    rows = (probes * slope) @ matrix.T  # J_ij = slope_i · matrix_ji
    each = (rows * probes).sum(2)
    expect(
        "la media de zᵀJz, en dos puntos y con tres sondas",
        divergence(field, x, probes),
        each.mean(0),
        {
            "falta multiplicar otra vez por z: eso suma zᵀJ.": rows.sum(2).mean(
                0
            ),
            "se hace la media de las sondas, y se han sumado.": each.sum(0),
            "se suman las componentes, y se ha hecho la media.": each.mean(0)
            / 2,
            "se han sumado también las de otros ejemplos.": (
                each.mean(0).sum().expand(2)
            ),
            "solo se ha usado la primera sonda.": each[0],
            "esa es la divergencia exacta; se pide lo que dan estas sondas.": (
                slope * matrix.diagonal()
            ).sum(1),
        },
        shape="se pide una divergencia por ejemplo, (B,): se suma por las componentes y se hace la "
        "media de las sondas.",
    )
