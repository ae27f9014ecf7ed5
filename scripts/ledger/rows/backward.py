"""Backwards process."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddpm_lit.backward import p_mean_variance, to_score
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.variance import VARIANCES
from scripts.ledger.calculus import STEP
from scripts.ledger.check import TOLERANCE, Row
from scripts.ledger.notation import LAWS, array, formula, network, package, tensor, velocity
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import MIXTURE, Setting, World

U = ("u", 0)


def shrunk(world: World) -> Meaning:
    """u, lo que queda de x_{t-1} tras encogerlo."""
    signal, _ = world.step(world.t)
    return Meaning(variable=world.combination(U, {("x", world.t - 1): signal}))


def slope(scope: Scope) -> Any:
    """La pendiente de log q(u) en u = x_t."""
    shrunk(scope.world)
    x_t = scope.value_of(("x", scope.number("t")))
    return np.imag(np.log(scope.world.law.density({U: x_t + STEP * 1j}, {}))) / STEP


def noise_given(scope: Scope, x: Any, t: int) -> Any:
    """E[ε | x_t], lo que respondería la red perfecta."""
    weights, nodes = scope.world.law.nodes([("ε", t)], {("x", t): x})
    return (weights * nodes["ε", t]).sum(0)


def score(scope: Scope) -> Any:
    """El score, según `to_score`."""
    t = scope.number("t")
    noise = noise_given(scope, scope.value_of(("x", t)), t)
    answer = tensor(noise)
    return array(to_score(scope.world.schedule, answer, scope.world.steps(t, len(answer))), noise)


def clipped(part: str) -> Meaning:
    """x̂_0 y ε̂ cuando se recorta x̂_0."""

    def bare(scope: Scope) -> Any:
        world, x_t = scope.world, scope.value_of(("x", scope.number("t")))
        noisy = tensor(3 * x_t)
        step = p_mean_variance(
            replace(world.diffusion, clip=True),
            tensor(network(scope, 3 * x_t)),
            noisy,
            world.steps(world.t, len(noisy)),
        )
        return array(getattr(step, part), x_t)

    return Meaning(bare=bare, source=package(p_mean_variance))


def unturned(part: str) -> Meaning:
    """El x̂_0 o el ε̂ que hay en la v del paquete."""

    def bare(scope: Scope) -> Any:
        world, t = scope.world, scope.number("t")
        v, x_t = velocity(scope), scope.value_of(("x", t))
        found = getattr(PARAMETRISATIONS["v"], part)(
            world.schedule, tensor(v), tensor(x_t), world.steps(t, len(tensor(v)))
        )
        return array(found, x_t)

    return Meaning(bare=bare, source=f"ddpm_lit.parametrisation.Velocity.{part}")


def fixed(name: str) -> Meaning:
    """σ_t, con una de las dos varianzas fijas."""

    def at(scope: Scope, t: int) -> Any:
        like = torch.zeros(1, 1, dtype=torch.float64)
        variance, _ = VARIANCES[name](scope.world.schedule, scope.world.steps(t), like)
        return np.sqrt(variance.item())

    return Meaning(at=at, source=package(type(VARIANCES[name])))


NAMES = {
    "u": shrunk,
    "v": Meaning(bare=velocity, source="ddpm_lit.parametrisation.Velocity.target"),
    "φ": Meaning(at=lambda scope, t: scope.world.schedule.sqrt_alphas_cumprod[t - 1].acos().item()),
}
SHORT = tuple(
    Setting((*(0.15,) * 3, 1e-3), T=4, t=4, data=data, seed=seed)
    for seed, data in enumerate((MIXTURE, ((1.0, 0.4, 0.6),)))
)
ROWS = {
    "backward-paso": Row({"ley": LAWS["p_θ"]}, source=package(p_mean_variance)),
    "backward-score": Row(
        {"ε_θ": Meaning(call=lambda scope, x, t: noise_given(scope, x, int(t)), arity=(2,))},
        value=score,
        source=package(to_score),
        approx=TOLERANCE,
    ),
    "backward-normal": Row({"s": Meaning(bare=slope)}, worlds=SHORT, approx=5e-3),
    "backward-minimo": Row(
        {
            "c": lambda world: world.number("c"),
            "y": Meaning(variable=("x", 0)),
            "m": formula(r"\operatorname{E}[y \mid \xt]"),
        }
    ),
    "backward-v": Row({"x_0": unturned("x_start"), "ε": unturned("epsilon")}),
    "backward-velocidad": Row(define=("x_t",)),
    "backward-sigma": Row(each={0: {"σ": fixed("fixed_small")}, 1: {"σ": fixed("fixed_large")}}),
    "backward-epsilon-recortado": Row(
        {
            "x̂_0": clipped("x_start"),
            "ε̂": clipped("epsilon"),
            "x_t": Meaning(bare=lambda scope: 3 * scope.value_of(("x", scope.number("t")))),
        }
    ),
}

EQUIVALENT = {
    "backward-normal": dict.fromkeys(
        ("β_t → β̃_t", "β_t → β̃_t (2)"), "Con β_t pequeña, β̃_t es casi igual: es la misma cuenta."
    ),
    "backward-giro": {
        "(cos φ_t^{2}+sen φ_t^{2})·x_0+(cos φ_t·sen φ_t-sen φ_t·cos φ_t)·ε → "
        "(cos φ_t^{2}+sen φ_t^{2})·x_0-(cos φ_t·sen φ_t-sen φ_t·cos φ_t)·ε": (
            "El paréntesis vale 0."
        ),
    },
    "backward-covarianza": {
        "x_t → x_t-1 (3)": "La covarianza de dentro no depende de x_t: da igual la condición.",
    },
}
