"""Posterior: el paso atrás con el dato delante."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, two
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule


def check_posterior(posterior: Callable[..., Any]) -> None:
    """Un paso de en medio y t = 1, donde el paso anterior no está en ninguna tabla."""
    schedule = Schedule.from_betas(torch.linspace(0.02, 0.5, 10))
    x_start = torch.tensor([0.5, -0.2], dtype=torch.float64)
    x_t = torch.tensor([-1.0, 0.3], dtype=torch.float64)
    index = torch.tensor([5])
    alpha, beta = schedule.alphas[5], schedule.betas[5]
    bar, prev = schedule.alphas_cumprod[5], schedule.alphas_cumprod[4]
    asked = "en el índice 5 (t = 6)"
    given = posterior(schedule.betas, x_start, x_t, 5)
    mean, variance = two(f"la media y la varianza {asked}", given)
    right = q_posterior(schedule, x_start[None], x_t[None], index)
    data, state = (
        prev.sqrt() * beta / (1 - bar),
        alpha.sqrt() * (1 - prev) / (1 - bar),
    )
    expect(
        f"la media {asked}",
        mean,
        right.mean[0],
        {
            "los coeficientes están cambiados: con t grande, el que manda es el de x_t.": (
                data * x_t + state * x_start
            ),
            "donde va ᾱ_{t-1} está ᾱ_t: la tabla se corre un lugar.": (
                (bar.sqrt() * beta * x_start + alpha.sqrt() * (1 - bar) * x_t)
                / (1 - bar)
            ),
            "falta la raíz de ᾱ_{t-1}, la que lleva x_0 a la escala de x_{t-1}.": (
                prev * beta / (1 - bar) * x_start + state * x_t
            ),
            "falta la raíz de α_t en el coeficiente de x_t.": (
                data * x_start + alpha * (1 - prev) / (1 - bar) * x_t
            ),
        },
    )
    expect(
        f"la varianza {asked}",
        variance,
        schedule.posterior_variance[5],
        {
            "esa es β_t. Conocer x_0 quita incertidumbre: β̃_t es siempre menor.": beta,
            "la fracción está del revés: β̃_t es menor que β_t.": (
                (1 - bar) / (1 - prev) * beta
            ),
            "eso es la desviación típica; se pide la varianza.": (
                schedule.posterior_variance[5].sqrt()
            ),
        },
        shape="la varianza es un número, el mismo para todos los píxeles.",
    )
    asked = "en el índice 0 (t = 1)"
    mean, variance = two(
        f"la media y la varianza {asked}",
        posterior(schedule.betas, x_start, x_t, 0),
    )
    expect(
        f"la media {asked}",
        mean,
        x_start,
        {
            "en t = 1, ᾱ_{t-1} es ᾱ_0 = 1. Con un índice -1 (o un roll) se coge la última.": (
                _rolled(schedule, x_start, x_t)
            ),
        },
    )
    expect(
        f"la varianza {asked}",
        variance,
        0.0,
        {
            "en t = 1 no queda ninguna duda: de donde se viene es de x_0.": (
                schedule.betas[0]
            ),
        },
    )


def _rolled(schedule: Schedule, x_start: Tensor, x_t: Tensor) -> Tensor:
    """La media en t = 1 si la tabla se corre dando la vuelta."""
    prev, bar = schedule.alphas_cumprod[-1], schedule.alphas_cumprod[0]
    data = prev.sqrt() * schedule.betas[0] / (1 - bar)
    return (
        data * x_start + schedule.sqrt_alphas[0] * (1 - prev) / (1 - bar) * x_t
    )
