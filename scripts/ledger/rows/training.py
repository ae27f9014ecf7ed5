"""Entrenamiento."""

from typing import Any

import torch
from torch import nn

from ddpm_lit.losses import simple_loss
from ddpm_lit.networks.ema import EMA
from scripts.ledger.check import Row
from scripts.ledger.notation import array, package, tensor
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import World

DECAY = 0.4


def gradient(scope: Scope) -> Any:
    """El gradiente de `simple_loss` en θ, por diferenciación automática."""
    world, t = scope.world, scope.number("t")
    x_start, noise = tensor(scope.value_of(("x", 0))), tensor(scope.value_of(("ε", t)))
    x_t = tensor(scope.value_of(("x", t)))
    theta = torch.full((len(x_t), 1), world.number("θ"), dtype=torch.float64, requires_grad=True)
    steps = world.steps(t, len(x_t))
    loss = simple_loss(world.diffusion, theta * x_t + t / 7, x_start, noise, steps)
    (slope,) = torch.autograd.grad(loss.sum(), theta)
    return array(slope, scope.value_of(("x", t)))


def averaged(scope: Scope) -> float:
    """θ_EMA después de `EMA.update`."""
    world = scope.world
    old, new = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
    for layer, name in ((old, "θ_EMA"), (new, "θ")):
        nn.init.constant_(layer.weight, world.number(name))
    ema = EMA(old, DECAY)
    ema.updates = scope.names["n"]
    ema.update(new)
    return next(iter(ema.model.parameters())).item()


def losses(world: World) -> Meaning:
    """ℓ_{t_i}: las pérdidas de instantes independientes, de la misma ley."""
    for k in range(1, world.T + 1):
        world.combination(("ℓ", k), {("z", k): 1.3}, shift=0.8)
    return Meaning(at=lambda scope, k: Meaning(variable=("ℓ", k)))


ROWS = {
    "entrenamiento-algoritmo": Row(
        {
            "ε_θ": Meaning(call=lambda scope, x, t: scope.number("θ") * x + t / 7),
            "θ": lambda world: world.number("θ"),
        },
        value=gradient,
        source=package(simple_loss),
        tolerance=1e-6,
    ),
    "entrenamiento-insesgado": Row(
        {
            "ℓ": Meaning(
                at=lambda scope, t: Meaning(call=lambda inner, theta: theta**2 / t + t * theta)
            )
        }
    ),
    "entrenamiento-varianza-lote": Row(
        {"ℓ": losses, "B": 3, "t_i": Meaning(bare=lambda scope: scope.names["i"])}
    ),
    "entrenamiento-ema": Row(
        {"d": DECAY, "n": lambda world: (2, 40, 9)[world.setting.seed]},
        value=averaged,
        source=package(EMA),
        tolerance=1e-6,
    ),
    "entrenamiento-ema-inicial": Row({"N": 6}),
}

EQUIVALENT = {
    "entrenamiento-varianza-lote": {"ℓ_t → ℓ_t-1": "Todas las pérdidas tienen la misma ley."}
}
