"""De aquí a Stable Diffusion."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lit.latent import Autoencoder, AutoencoderConfig, Posterior, set_scale
from scripts.ledger.check import Row
from scripts.ledger.notation import package
from scripts.ledger.rows.improved import moments
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import World

MEAN, STD = 0.7, 1.6


def posterior(scope: Scope) -> Posterior:
    """q(z|x), con μ y σ."""
    mean, std = (torch.as_tensor(np.array(scope.number(name), float)) for name in ("μ", "σ"))
    return Posterior(mean, 2 * std.log())


def drawn(scope: Scope) -> Any:
    """z, según `Posterior.draw`."""
    noise = torch.as_tensor(np.array(scope.value_of(("ε", scope.number("t")))))
    return posterior(scope).draw(noise).numpy()


def divergence(scope: Scope, *_: object) -> Any:
    return posterior(scope).divergence().numpy()


class Answer(nn.Module):
    """Un codificador que siempre da las mismas medias, (B, 1, 1, 1), con varianza 1."""

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.means = means

    def forward(self, x: Tensor) -> Tensor:
        means = self.means if len(x) == len(self.means) else self.means[: len(x)]
        return torch.cat([means, torch.zeros_like(means)], dim=1)


def encoded(scope: Scope) -> Any:
    """x_0, según `Autoencoder.encode`, de unas medias μ."""
    means = scope.world.normal("medias")
    flat = torch.from_numpy(means.copy()).reshape(-1, 1, 1, 1)
    model = Autoencoder(AutoencoderConfig(1, 1, (4,), patch_size=1, norm_num_groups=2)).double()
    model.encoder = Answer(flat)  # type: ignore[assignment]
    x = torch.zeros(len(flat), 1, 1, 1, dtype=torch.float64)
    set_scale(model, [x])
    return model.encode(x).numpy().reshape(means.shape)


def spread(world: World) -> float:
    """s, la desviación de los datos."""
    return math.sqrt(float(np.squeeze(moments(world, ("x", 0), {})[1])))


ROWS = {
    "latente-sorteo": Row(
        {
            "μ": lambda world: world.number("μ"),
            "σ": lambda world: world.number("σ"),
            "z": Meaning(bare=drawn, source=package(Posterior.draw)),
        }
    ),
    "latente-kl": Row(
        {
            "μ": lambda world: world.number("μ"),
            "σ": lambda world: world.number("σ"),
            "D_KL": Meaning(form=divergence),
        },
        source=package(Posterior.divergence),
    ),
    "latente-escala": Row(
        {
            "μ": lambda world: world.normal("medias"),
            "m": lambda world: world.normal("medias").mean(),
            "s": lambda world: world.normal("medias").std(ddof=1),
            "x_0": Meaning(bare=encoded, source=package(Autoencoder.encode)),
        }
    ),
    "latente-senal": Row({"s": spread}),
}
