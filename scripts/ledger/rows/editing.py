"""Editar sin entrenar: RePaint y SDEdit."""

import math
from typing import Any

import numpy as np
from torch import Tensor

from ddpm_lit.editing import repaint, repaint_path, sdedit
from ddpm_lit.sampling import ancestral
from scripts.ledger.check import Row
from scripts.ledger.notation import array, package, tensor
from scripts.ledger.rows.ddim import denoiser
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import Setting, World, affine

MASK = np.array([[1.0, 0.0, 0.4, 1.0, 0.0, 0.7]])


def inpainted(scope: Scope) -> Any:
    """x_{T-1}, según el primer paso de `repaint`."""
    world, x_T = scope.world, scope.value_of(("x", scope.world.T))
    noises = iter([tensor(scope.value_of(name)) for name in (("z", 0), ("z'", 0))])
    steps = repaint(
        denoiser(world),
        tensor(x_T),
        noises,
        known=tensor(scope.value_of(("x", 0))),
        mask=tensor(MASK),
        jump=1,
    )
    return array(next(steps).x_t, x_T)


def invented(scope: Scope) -> Any:
    """Lo que da el paso de la red, sin máscara."""
    world, x_T = scope.world, scope.value_of(("x", scope.world.T))
    noises = iter([tensor(scope.value_of(("z", 0)))])
    return array(ancestral(denoiser(world), tensor(x_T), world.T - 1, noises)[0], x_T)


def start(world: World, guide: Tensor, noise: Tensor) -> Any:
    """x_{t_0}, el estado del que parte `sdedit`."""
    return next(
        sdedit(
            denoiser(world),
            noise,
            iter(()),
            loop=lambda below, x_t, *_: iter([x_t]),
            initial=guide,
            strength=world.t / world.T,
        )
    )


def noised(scope: Scope) -> Any:
    guide = scope.world.normal("g")
    return array(start(scope.world, tensor(guide), tensor(scope.value_of(("z", 0)))), guide)


def posterior(world: World) -> tuple[float, float]:
    """De q(x_0 | x_t), con datos N(0, σ²): la media con x_t = 1 y la desviación típica."""
    weights, nodes = world.law.nodes([("x", 0)], {("x", world.t): np.array([[1.0]])})
    (values,) = nodes.values()
    mean = (weights * values).sum()
    return float(mean), math.sqrt((weights * (values - mean) ** 2).sum())


def redrawn(world: World) -> Meaning:
    """x_0, sorteado de q(x_0 | x_{t_0}) con x_{t_0} el que `sdedit` hace de la guía g."""
    gain, spread = posterior(world)
    signal, noise, _ = affine(lambda guide, z: start(world, guide, z), 2)
    return Meaning(
        variable=world.combination(
            ("rehecho", 0),
            {("z", 0): gain * noise, ("z'", 0): spread},
            gain * signal * world.number("g"),
        )
    )


def bar(world: World) -> float:
    return world.schedule.alphas_cumprod[world.t - 1].item()


def deviation(world: World) -> float:
    return math.sqrt(world.setting.data[0][2])


LAST = (Setting(t=5), Setting("cosine", T=6, t=6, seed=1))
CENTRED = (
    Setting(t=3, data=((1.0, 0.0, 0.6),)),
    Setting("cosine", T=6, t=2, data=((1.0, 0.0, 1.4),), seed=1),
)
PATH = {"K": 13, "j": 4, "r": 3}
ROWS = {
    "editar-repaint": Row(
        {
            "x_t-1": Meaning(bare=inpainted, source=package(repaint)),
            "x^red_t-1": Meaning(bare=invented),
            "m": MASK,
            "ε": Meaning(variable=("z'", 0)),
        },
        worlds=LAST,
    ),
    "editar-sesgo": Row(
        {"x_1": Meaning(variable=("x", 0)), "x'_1": lambda world: Meaning(variable=("x", world.t))}
    ),
    "editar-pasos": Row(
        PATH,
        value=lambda scope: len(repaint_path(PATH["K"], PATH["j"], PATH["r"])),
        source=package(repaint_path),
    ),
    "editar-sdedit": Row(
        {
            "t_0": lambda world: world.t,
            "x_t_0": Meaning(bare=noised, source=package(sdedit)),
            "g": lambda world: world.normal("g"),
            "ε": Meaning(variable=("z", 0)),
        }
    ),
    "editar-vuelta": Row(
        {
            "ᾱ": Meaning(bare=lambda scope: bar(scope.world)),
            "σ": Meaning(bare=lambda scope: deviation(scope.world)),
            "x_t_0": lambda world: world.normal("x"),
        },
        value={
            0: lambda scope: posterior(scope.world)[0] * scope.names["x_t_0"],
            1: lambda scope: posterior(scope.world)[1] ** 2,
        },
        worlds=CENTRED,
    ),
    "editar-sdedit-ley": Row(
        {
            "x_0": redrawn,
            "g": lambda world: world.number("g"),
            "ᾱ": Meaning(bare=lambda scope: bar(scope.world)),
            "σ": Meaning(bare=lambda scope: deviation(scope.world)),
        },
        uses=("editar-vuelta",),
        source=package(sdedit),
        worlds=CENTRED,
    ),
}
