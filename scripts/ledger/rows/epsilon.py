"""¿Por qué estamos prediciendo εₜ?"""

from typing import Any

import torch

from ddpm_lit.ideal import ideal_x_start
from ddpm_lit.parametrisation import PARAMETRISATIONS
from scripts.ledger.check import Row
from scripts.ledger.notation import COMMON, array, formula, linear, package, tensor
from scripts.ledger.scope import Meaning, Scope, value
from scripts.ledger.world import SETTINGS, UNIT, Setting


def error(guess: str, truth: str) -> Meaning:
    """En cuánto se equivoca la red, traducido a una de las magnitudes."""

    def bare(scope: Scope) -> Any:
        return value(scope, COMMON[guess]) - value(scope, COMMON[truth])

    return Meaning(bare=bare)


def x_start_error(scope: Scope) -> Any:
    return value(scope, COMMON["x̂_0"]) - scope.value_of(("x", 0))


def velocity_error(scope: Scope) -> Any:
    """Lo mismo, para v: la del x̂_0 y el ε̂ de la red, menos la verdadera."""
    world, t = scope.world, scope.number("t")
    a, b, _ = linear(
        world,
        ("v", t),
        lambda x, e: PARAMETRISATIONS["v"].target(world.schedule, x, e, world.steps(t, len(x))),
        2,
    )
    noise = value(scope, COMMON["ε_θ"]) - value(scope, COMMON["ε"])
    return a * x_start_error(scope) + b * noise


def ideal(scope: Scope) -> Any:
    """E[x_0 | x_t] de unos datos finitos, según `ideal_x_start`."""
    world, x_t = scope.world, scope.value_of(("x", scope.number("t")))
    points = torch.tensor([[m] for _, m, _ in world.setting.data], dtype=torch.float64)
    noisy = tensor(x_t)
    steps = world.steps(world.t, len(noisy))
    return array(ideal_x_start(world.schedule, points, noisy, steps), x_t)


def point(scope: Scope, i: int) -> float:
    """d_i."""
    if i < 1:
        raise IndexError(f"No hay ningún dato {i}.")
    return scope.world.setting.data[i - 1][1]


POINTS = tuple((1 / 4, m, 0.0) for m in (-1.1, -0.2, 0.5, 1.3))
ERRORS = {
    "δ_x_0": Meaning(bare=x_start_error, source="ddpm_lit.backward.p_mean_variance"),
    "δ_ε": error("ε_θ", "ε"),
    "δ_v": Meaning(bare=velocity_error, source="ddpm_lit.parametrisation.Velocity.target"),
    "δ_μ": error("μ_θ", "μ̃_t"),
}
ROWS = {
    "epsilon-errores": Row(ERRORS),
    "epsilon-moneda": Row(
        ERRORS, worlds=tuple(Setting(s.schedule, s.T, s.t, pixels=3) for s in SETTINGS)
    ),
    "epsilon-tamano": Row(
        {"ℓ_t": formula(r"\operatorname{E}[(\ep - \operatorname{E}[\ep \mid \xt])^2]")}
    ),
    "epsilon-callada": Row(
        worlds=tuple(Setting(s.schedule, s.T, s.t, UNIT, seed=s.seed) for s in SETTINGS)
    ),
    "epsilon-ideal": Row(
        {
            "d": Meaning(at=point),
            "N": lambda world: len(world.setting.data),
        },
        value=ideal,
        source=package(ideal_x_start),
        worlds=tuple(Setting(s.schedule, s.T, s.t, POINTS, seed=s.seed) for s in SETTINGS),
    ),
}

EQUIVALENT = {"epsilon-callada": {"x_0-0 → x_0+0": "Es un 0."}}
