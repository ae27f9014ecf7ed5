"""Score matching."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, to_score
from ddpm_lit.scheduler import Schedule
from ddpm_lit.score import (
    annealed_langevin,
    ladder,
    langevin,
    level_score,
    score_matching_floor,
)
from scripts.ledger.check import Row
from scripts.ledger.notation import (
    LAWS,
    array,
    density,
    expression,
    formula,
    network,
    normal_density,
    package,
    table,
    tensor,
)
from scripts.ledger.rows.improved import moments
from scripts.ledger.scope import Meaning, Scope, evaluate
from scripts.ledger.world import CLASS, MIXTURE, SETTINGS, World, affine

STEP = 0.3
RATE = 0.7
LEVELS = 5
LOWEST, HIGHEST = 0.1, 3.0

# --- Langevin -----------------------------------------------------------------------------------


def any_score(x: Any) -> Any:
    return np.sin(x) - 0.4 * x


def moved(scope: Scope) -> Any:
    """El x siguiente, según `langevin`."""
    x, z = scope.world.normal("x"), scope.value_of(("z", 0))

    def score(x: Tensor) -> Any:
        return torch.from_numpy(any_score(x.numpy()))

    return array(next(langevin(score, tensor(x), STEP, [tensor(z)])), x)


def settled(scope: Scope) -> float:
    """La varianza que un paso de `langevin` no cambia, con datos N(0, v)."""
    v = scope.world.number("v")

    def step(x: Tensor, z: Tensor) -> Tensor:
        return next(langevin(lambda x: -x / v, x, STEP, [z]))

    kept, added, _ = affine(step, 2)
    return added**2 / (1 - kept**2)


# --- La densidad de una mezcla ------------------------------------------------------------------


def part(scope: Scope, k: int, x: Any = None) -> Any:
    """La campana k de los datos, en x."""
    _, mean, variance = MIXTURE[k]
    return normal_density(scope.number("x") if x is None else x, mean, variance)


def mixture(scope: Scope, x: Any = None) -> Any:
    return sum(weight * part(scope, k, x) for k, (weight, _, _) in enumerate(MIXTURE))


# --- El score de un nivel -----------------------------------------------------------------------


def mean_noise(scope: Scope, x: Any = None, t: Any = None) -> Any:
    """E[ε | x_t]: lo que responde la red perfecta."""
    t = scope.number("t") if t is None else t
    x = scope.value_of(("x", t)) if x is None else x
    return moments(scope.world, ("ε", t), {("x", t): x})[0]


def ideal(scope: Scope) -> Denoiser:
    """La red perfecta de los datos del mundo, con su proceso."""

    def model(x: Tensor, index: Tensor) -> Tensor:
        seen = np.moveaxis(x.numpy(), -1, -2)
        return torch.from_numpy(np.moveaxis(mean_noise(scope, seen, int(index[0]) + 1), -2, -1))

    return Denoiser(model, scope.world.diffusion)


def floor(scope: Scope) -> Any:
    """C_t, según `score_matching_floor`, promediado en la ley de x_t y ε."""
    world, t = scope.world, scope.number("t")
    if ("suelo", t) not in world.cache:
        schedule = world.schedule
        weights, nodes = world.law.nodes([("x", t), ("ε", t)], {})
        noise, mean = tensor(nodes["ε", t]), tensor(mean_noise(scope, nodes["x", t], t))
        steps = world.steps(t, len(noise))
        exact = to_score(schedule, mean, steps)
        values = score_matching_floor(schedule, exact, noise, steps)
        world.cache["suelo", t] = (weights * array(values, nodes["ε", t])).sum(0)
    return world.cache["suelo", t]


def network_score(scope: Scope, x: Any, t: Any) -> Any:
    """s_θ, según `to_score`."""
    output = tensor(network(scope, x, t))
    return array(to_score(scope.world.schedule, output, scope.world.steps(t, len(output))), x)


def in_its_level(scope: Scope) -> Any:
    """∇log p_ς(x̄), según `level_score` con la red perfecta."""
    x = scope.number("x̄")
    return array(level_score(ideal(scope), scope.number("t") - 1)(tensor(x)), x)


def blurred(scope: Scope, x: Any) -> Any:
    """p_ς: los datos emborronados con una campana de varianza ς²."""
    level = table("sqrt_recipm1_alphas_cumprod").looked_up(scope, scope.number("t"))
    return sum(w * normal_density(x, m, v + level**2) for w, m, v in scope.world.setting.data)


def density_at(scope: Scope, inner: Any) -> Any:
    """`q(…)`, la de x_t en un punto cualquiera."""
    return LAWS["q"](scope.world).density(
        {("x", scope.number("t")): evaluate(scope, inner.children[0])}, {}
    )


def density_here(scope: Scope) -> Any:
    """q, la de x_t, en x_t."""
    x_t = ("x", scope.number("t"))
    return scope.world.law.density({x_t: scope.value_of(x_t)}, {})


# --- La escalera --------------------------------------------------------------------------------


def rung(scope: Scope, i: int) -> float:
    """ς_i, según `ladder`, de un schedule con sus niveles y otros tres entre cada dos."""
    fine = torch.from_numpy(np.geomspace(LOWEST, HIGHEST, 4 * (LEVELS - 1) + 1))
    found = ladder(Schedule.from_alphas_cumprod(1 / (1 + fine**2)), LEVELS, float(fine[-1]))
    return found.sqrt_recipm1_alphas_cumprod[i - 1].item()


def annealed(scope: Scope, i: int) -> float:
    """δ_i: lo que tiembla `annealed_langevin` en cada nivel, sin cuesta que subir."""
    world = scope.world
    flat = Denoiser(lambda x, index: torch.zeros_like(x), world.diffusion)
    start = torch.zeros(1, 1, dtype=torch.float64)
    noises = iter([start + 1] * world.T)
    states = [0.0, *map(float, annealed_langevin(flat, start, noises, steps=1, rate=RATE))]
    return (states[world.T - i + 1] - states[world.T - i]) ** 2


def some_level(world: World) -> int:
    return 2 + world.setting.seed


HERE = {"x": 0.3, "∇": expression("x")}
NAMES = {
    "ς": Meaning(
        at=lambda scope, t: table("sqrt_recipm1_alphas_cumprod").looked_up(scope, t),
        source="ddpm_lit.scheduler.Schedule.sqrt_recipm1_alphas_cumprod",
    ),
    "C_t": Meaning(bare=floor, source=package(score_matching_floor)),
    "s": Meaning(call=lambda scope, x: any_score(x)),
}
BAR = {"x̄": formula(r"\xt/\sqrt{\abt}"), "S": formula(r"\sqrt{\abt}\;\nabla\log q(\xt)")}
ROWS = {
    "score-definicion": Row(read="citada: dice qué es el score, no una igualdad que comprobar"),
    "score-hyvarinen": Row(read="citada: es lo que se minimiza, un solo lado sin ninguna igualdad"),
    "score-constante": Row({**HERE, "q̃": Meaning(call=lambda scope, x: np.exp(np.sin(x) - x**2))}),
    "score-langevin": Row(
        {"x": lambda world: world.normal("x"), "δ": STEP}, value=moved, source=package(langevin)
    ),
    "score-varianza": Row({"V": Meaning(bare=settled), "δ": STEP}, source=package(langevin)),
    "score-mezcla": Row(
        {
            **HERE,
            "k": Meaning(variable=CLASS),
            "π": Meaning(at=lambda scope, k: MIXTURE[k][0]),
            "q": Meaning(
                bare=mixture,
                call=mixture,
                at=lambda scope, k: Meaning(
                    bare=lambda inner: part(inner, k), call=lambda inner, x: part(inner, k, x)
                ),
            ),
        },
        worlds=SETTINGS[:1],
    ),
    "score-simple": Row({"s_θ": Meaning(call=network_score)}, source=package(to_score)),
    "score-escalas": Row(define=("x̄",)),
    "score-nivel": Row(
        {
            "x̄": lambda world: (
                world.sample(("x", world.t))
                / world.schedule.sqrt_alphas_cumprod[world.t - 1].item()
            ),
            "D": 1,
            "q": Meaning(form=density_at),
            "p_ς": Meaning(call=blurred),
            "ε_θ": Meaning(call=mean_noise),
        },
        value={1: in_its_level},
        source=package(level_score),
        approx=1e-9,
    ),
    "score-escalera": Row(
        {"ς": Meaning(at=rung), "i": some_level, "L": LEVELS}, source=package(ladder)
    ),
    "score-recocido": Row(
        {"δ": Meaning(at=annealed), "i": some_level, "r": RATE},
        source=package(annealed_langevin),
    ),
    "score-ddpm": Row(
        {
            **BAR,
            "q": Meaning(bare=density_here, form=density(LAWS["q"])),
        }
    ),
    "score-mitades": Row({"δ": formula(r"\sched{\varsigma_t^2} - \sched{\varsigma_{t-1}^2}")}),
}

EQUIVALENT = {
    "score-constante": {
        "log q̃(x)-log Z → log q̃(x)+log Z": "Z no depende de x: su gradiente vale 0.",
    },
}
