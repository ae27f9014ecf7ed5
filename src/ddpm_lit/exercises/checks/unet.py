"""UNET: el embedding del instante."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect
from ddpm_lit.networks.embeddings import sinusoidal_embedding


def check_embedding(embedding: Callable[..., Tensor]) -> None:
    """Tres instantes con cuatro agujas."""
    t = torch.tensor([0, 3, 50])
    right = sinusoidal_embedding(t, 8)
    sines, cosines = right.chunk(2, dim=1)
    plain = t[:, None].float()
    expect(
        "el embedding de los índices 0, 3 y 50, con 8 componentes",
        embedding(t, 8),
        right,
        {
            "los senos van delante y los cosenos detrás.": torch.cat(
                [cosines, sines], dim=1
            ),
            "los senos y los cosenos no van intercalados: primero todos los senos.": torch.stack(
                [sines, cosines], dim=2
            ).flatten(1),
            "en el exponente se divide entre h − 1, y así la última frecuencia es justo 1/P.": (
                sinusoidal_embedding(t, 8, shift=0)
            ),
            "h es la mitad de las componentes: hay h frecuencias, cada una con su seno y su "
            "coseno.": _from(plain, -torch.arange(4) / 7),
            "las frecuencias bajan de 1 a 1/P: falta el signo menos del exponente.": _from(
                plain, torch.arange(4) / 3
            ),
        },
        shape="sale un vector de dim componentes por instante, (B, dim): la mitad son senos.",
    )
    expect(
        "el embedding con max_period = 100",
        embedding(t, 8, 100.0),
        sinusoidal_embedding(t, 8, 100.0),
        {"el max_period que se pide no se está usando.": right},
    )


def _from(t: Tensor, exponents: Tensor) -> Tensor:
    angles = t * 10_000.0**exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)
