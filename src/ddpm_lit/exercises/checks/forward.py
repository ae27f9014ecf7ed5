"""Forward process: el salto directo."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.forward import q_sample
from ddpm_lit.scheduler import Schedule, make_schedule


def check_jump(jump: Callable[..., Tensor]) -> None:
    """Un píxel, varios instantes a la vez y los dos extremos del proceso."""
    schedule = make_schedule("linear", 1000)
    betas = schedule.betas
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    abar, index = schedule.alphas_cumprod[499], torch.tensor([499])
    alpha, beta = schedule.alphas[499], betas[499]
    dirty = abar.sqrt() * 0.5 + (1 - abar).sqrt()
    expect(
        "x_t, con x_0 = 0.5, ε = 1 e índice 499 (t = 500)",
        jump(betas, 0.5 * one, index, one),
        dirty * one,
        {
            "los coeficientes son raíces: √ᾱ_t con el dato y √(1 − ᾱ_t) con el ruido.": (
                (abar * 0.5 + 1 - abar) * one
            ),
            "falta una raíz: 1 − ᾱ_t es la varianza del ruido, y lo que se multiplica por ε es "
            "la desviación típica.": (abar.sqrt() * 0.5 + 1 - abar) * one,
            "falta una raíz: el volumen del dato es √ᾱ_t, no ᾱ_t.": (
                (abar * 0.5 + (1 - abar).sqrt()) * one
            ),
            "los dos mandos están cambiados: √ᾱ_t es el volumen del dato.": (
                ((1 - abar).sqrt() * 0.5 + abar.sqrt()) * one
            ),
            "eso es un solo paso, con α_t. El salto lleva el producto de todas hasta t, ᾱ_t.": (
                (alpha.sqrt() * 0.5 + beta.sqrt()) * one
            ),
            "ᾱ_t es el producto acumulado de las 1 − β_t, no el de las β_t.": (
                (
                    betas[:500].prod().sqrt() * 0.5
                    + (1 - betas[:500].prod()).sqrt()
                )
                * one
            ),
            "se está un lugar corrido: el índice 499 ya es t = 500, no hay que restarle 1.": (
                _moved(schedule, 498) * one
            ),
        },
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 1, 3, 3, generator=generator).double()
    x_start, noise = images[0].clamp(-1, 1), images[1]
    t = torch.tensor([0, 499, 999])
    bars = schedule.alphas_cumprod[t]
    by_column, by_row = (
        table.sqrt() * x_start + (1 - table).sqrt() * noise
        for table in (bars, bars[:, None])
    )
    expect(
        "tres imágenes de 3×3, cada una con su t (índices 0, 499 y 999)",
        jump(betas, x_start, t, noise),
        q_sample(schedule, x_start, t, noise),
        {
            "todas las imágenes llevan el mismo t, y cada una tiene el suyo.": q_sample(
                schedule, x_start, t[1:2], noise
            ),
            "cada t ha ido a parar a una columna de píxeles: los números de cada imagen, (B,), "
            "necesitan la forma (B, 1, 1, 1) para multiplicarla entera.": by_column,
            "cada t ha ido a parar a una fila de píxeles: los números de cada imagen, (B,), "
            "necesitan la forma (B, 1, 1, 1) para multiplicarla entera.": by_row,
        },
    )


def _moved(schedule: Schedule, index: int) -> Tensor:
    abar = schedule.alphas_cumprod[index]
    return abar.sqrt() * 0.5 + (1 - abar).sqrt()
