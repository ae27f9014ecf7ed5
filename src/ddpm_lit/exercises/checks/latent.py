"""De aquí a Stable Diffusion: la pérdida del autoencoder."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect

WEIGHT = 0.3


def check_autoencoder(autoencoder_loss: Callable[..., Any]) -> None:
    """Dos imágenes de cuatro números y un latente de dos."""
    x = torch.tensor(
        [[0.8, -0.6, 0.1, 0.4], [-1.0, 0.3, 0.9, -0.2]], dtype=torch.float64
    )
    noise = torch.tensor([[1.2, -0.5], [0.3, -1.4]], dtype=torch.float64)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2] + x[:, 2:], x[:, :2] - 0.7

    def decode(z: Tensor) -> Tensor:
        return torch.cat([0.5 * z, -0.25 * z], dim=1)

    mean, log_variance = encode(x)
    spread = (log_variance / 2).exp()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)

    def loss(z: Tensor, kl: Tensor = divergence, power: int = 1) -> Tensor:
        error = (x - decode(z)).abs() ** power
        return error.mean(1) + WEIGHT * kl.mean(1)

    right = mean + spread * noise
    expect(
        "la pérdida de dos imágenes, con λ = 0.3",
        autoencoder_loss(encode, decode, x, noise, WEIGHT),
        loss(right),
        {
            "se sortea con σ, y lo que da el codificador es log σ²: σ es la exponencial de su "
            "mitad.": loss(mean + log_variance.exp() * noise),
            "falta el sorteo: al decodificador le llega μ + σ·ε, y no la media.": (
                loss(mean)
            ),
            "la divergencia resta log σ² y el 1: así crece si σ se aparta de 1, por arriba o por "
            "abajo.": loss(
                right, 0.5 * (mean**2 + log_variance.exp() - 1 + log_variance)
            ),
            "a la divergencia le falta el ½.": loss(right, 2 * divergence),
            "el error es el valor absoluto, no el cuadrado.": loss(
                right, power=2
            ),
            "cada término es una media, no una suma.": (
                4 * (loss(right) - WEIGHT * divergence.mean(1))
                + WEIGHT * divergence.sum(1)
            ),
            "falta el peso λ, o no multiplica a la divergencia.": (
                loss(right) + (1 - WEIGHT) * divergence.mean(1)
            ),
        },
    )
