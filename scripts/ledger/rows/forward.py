"""Forward process."""

from typing import Any

import torch

from ddpm_lit.forward import q_mean_variance, q_sample
from scripts.ledger.check import Row
from scripts.ledger.notation import linear, normal, package
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import World


def sampled(scope: Scope) -> Any:
    """x_t, según `q_sample`."""
    world, t = scope.world, scope.number("t")
    a, b, _ = linear(
        world,
        "q_sample",
        lambda x, noise: q_sample(world.schedule, x, world.steps(t, len(x)), noise),
        2,
    )
    return a * scope.value_of(("x", 0)) + b * scope.value_of(("ε", t))


def jump_moments(scope: Scope) -> tuple[Any, Any]:
    """Media y varianza de q(x_t | x_0), según `q_mean_variance`."""
    world, t = scope.world, scope.number("t")
    x_start = torch.from_numpy(scope.value_of(("x", 0)).T.copy())
    jump = q_mean_variance(world.schedule, x_start, world.steps(t, len(x_start)))
    return jump.mean.numpy().T, jump.variance.numpy().T


def noise_size(world: World, t: int) -> float:
    """La desviación típica de x_t sabiendo x_0, en la ley de la cadena."""
    return float((world.law.vectors["x", t][0][1:] ** 2).sum() ** 0.5)


ROWS = {
    "forward-varianza-paso": Row(
        {"a": lambda world: world.step(world.t)[0], "b": lambda world: world.step(world.t)[1]}
    ),
    "forward-rotacion": Row(define=("ε",)),
    "forward-suma-normales": Row(
        {
            "a": lambda world: world.step(world.t)[0] * noise_size(world, world.t - 1),
            "z": lambda world: Meaning(variable=("ε", world.t - 1)),
            "b": lambda world: world.step(world.t)[1],
            "z'": lambda world: Meaning(variable=("z", world.t)),
        }
    ),
    "forward-muestra": Row({"x_t": Meaning(bare=sampled)}, source=package(q_sample)),
    "forward-salto": Row(
        {"q": lambda world: normal(jump_moments, ("x", world.t), ("x", 0))},
        source=package(q_mean_variance),
    ),
}

EQUIVALENT = {
    "forward-reparametrizacion": {
        "z_t → z_t-1 (2)": "Todos los ruidos tienen la misma ley.",
    },
    "forward-varianza": dict.fromkeys(
        ("x_t-1 → x_t (2)", "t-1 → t+1 (2)", "x_t → x_t-1 (2)"),
        "Con varianza 1, todas las x_t la tienen: la implicación sigue siendo cierta.",
    ),
}
