"""Improving diffusion."""

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import (
    ImportanceSampler,
    Likelihood,
    hybrid_loss,
    rate_distortion,
    vlb_loss,
)
from ddpm_lit.losses import normal_kl, variational_bound, weighted_error
from ddpm_lit.variance import VARIANCES
from scripts.ledger.calculus import SHIFT
from scripts.ledger.check import Row
from scripts.ledger.notation import (
    LAWS,
    array,
    density,
    formula,
    package,
    posterior_variance,
    tensor,
)
from scripts.ledger.rows.losses import TINY, mean_bound, terms
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import ONE, SETTINGS, UNIT, Setting, Variable, World

# --- La varianza óptima -------------------------------------------------------------------------


def step_cost(scope: Scope, variance: Any) -> Any:
    """L_{t-1}(σ²), según `normal_kl`, con las medias a distancia δ."""
    zero, v = torch.zeros((), dtype=torch.float64), posterior_variance(scope, scope.number("t"))
    gap = zero + scope.world.number("δ")
    return normal_kl(gap, zero + math.log(v), zero, torch.as_tensor(np.log(variance))).numpy()


def optimum(scope: Scope) -> float:
    """La σ que hace mínimo ese coste: donde se anula su derivada, por bisección."""
    if "óptima" in scope.world.cache:
        return scope.world.cache["óptima"]  # type: ignore[no-any-return]
    zero, v = torch.zeros((), dtype=torch.float64), posterior_variance(scope, scope.number("t"))

    def slope(log_variance: float) -> float:
        x = torch.tensor(log_variance, dtype=torch.float64, requires_grad=True)
        cost = normal_kl(zero + scope.world.number("δ"), zero + math.log(v), zero, x)
        (derivative,) = torch.autograd.grad(cost, x)
        return derivative.item()

    found = math.exp(float(brentq(slope, -8, 8, xtol=1e-15, rtol=1e-14)) / 2)
    scope.world.cache["óptima"] = found
    return found


COST = {
    "L_t-1": Meaning(
        bare=lambda scope: step_cost(scope, scope.number("σ") ** 2),
        call=step_cost,
        source=package(normal_kl),
    ),
    "δ": lambda world: world.number("δ"),
    "σ_*": Meaning(bare=optimum),
}


# --- La cota con la red perfecta y la pérdida híbrida -------------------------------------------


def perfect_bound(scope: Scope) -> Any:
    """`variational_bound` con datos normales y el paso de vuelta exacto, en nats."""
    world = scope.world
    diffusion = Diffusion(world.schedule, "epsilon", "learned", clip=False)
    weights, nodes = world.law.nodes([("x", 0), ("z", 0)], {})

    def model(x: Tensor, index: Tensor) -> Any:
        t = int(index[0]) + 1
        given = {("x", t): x.numpy()}
        noise = moments(world, ("ε", t), given)[0]
        variance = moments(world, ("x", t - 1), given)[1]
        return torch.cat([torch.from_numpy(noise), torch.from_numpy(np.log(variance))], dim=1)

    bound = variational_bound(
        model, diffusion, tensor(nodes["x", 0]), lambda index: tensor(nodes["z", 0]), levels=None
    )
    return (weights * array(bound.total, nodes["z", 0])).sum() * math.log(2)


def moments(world: World, variable: Variable, given: dict[Variable, Any]) -> tuple[Any, Any]:
    """Media y varianza de una variable sabiendo otras, según la ley de la cadena."""
    weights, nodes = world.law.nodes([variable], given)
    mean = (weights * nodes[variable]).sum(0)
    return mean, (weights * (nodes[variable] - mean) ** 2).sum(0)


def channel_of(scope: Scope, variance: Any) -> float:
    """El canal con que `LearnedRange` da esa varianza."""
    schedule, index = scope.world.schedule, scope.number("t") - 1
    low = schedule.posterior_log_variance_clipped[index].item()
    high = schedule.log_betas[index].item()
    return 2 * (math.log(variance) - low) / (high - low) - 1


def learned(scope: Scope, t: int, channel: float) -> Any:
    """σ_t, según `LearnedRange`."""
    channels = torch.full((1, 1), channel, dtype=torch.float64)
    variance, _ = VARIANCES["learned_range"](scope.world.schedule, scope.world.steps(t), channels)
    return np.sqrt(variance.item())


def loss(which: str) -> Any:
    """Las tres pérdidas de un lote: la híbrida, la simple y la de la cota con la media parada."""

    def value(scope: Scope, _: object = None, variance: Any = None) -> Any:
        world, t = scope.world, scope.number("t")
        diffusion = Diffusion(world.schedule, "epsilon", "learned_range", clip=False)
        x_start, noise = scope.value_of(("x", 0)), scope.value_of(("ε", t))
        output = tensor(world.network(scope.value_of(("x", t)), t))
        channel = 0.3 if variance is None else channel_of(scope, variance)
        whole = torch.cat([output, torch.full_like(output, channel)], dim=1)
        batch = tensor(x_start), tensor(noise), world.steps(t, len(output))
        losses = {
            "hybrid": lambda: hybrid_loss(diffusion, whole, *batch),
            "simple": lambda: weighted_error(diffusion, output, *batch),
            "vlb": lambda: vlb_loss(diffusion, whole, *batch),
        }
        return array(losses[which](), x_start)

    return value


# --- Muestreo por importancia, tasa y distorsión ------------------------------------------------


def losses_of_each_t(world: World) -> Meaning:
    """L_t: una variable aleatoria por instante."""
    for k in range(1, world.T + 1):
        world.combination(("L", k), {("z", k): world.number(f"d{k}")}, world.number(f"m{k}"))
    return Meaning(at=lambda scope, k: Meaning(variable=("L", k)))


def probability(scope: Scope, t: int) -> Any:
    """p_t, según `ImportanceSampler`, con dos pérdidas apuntadas de cada instante."""
    world = scope.world
    world.steps(t)
    sampler = ImportanceSampler(world.T, history=2, uniform=0.0)
    for sign in (1, -1):
        seen = [world.number(f"m{k}") + sign * world.number(f"d{k}") for k in range(1, world.T + 1)]
        sampler.update(torch.arange(world.T), torch.tensor(seen, dtype=torch.float64))
    return sampler.probabilities()[t - 1].item()


def rate(part: str) -> Meaning:
    """La tasa y la distorsión, según `rate_distortion`."""

    def at(scope: Scope, t: int) -> Any:
        found = mean_bound(scope)
        likelihood = Likelihood(
            torch.zeros(1, dtype=torch.float64),
            float(np.squeeze(found["prior"])),
            torch.tensor([float(np.squeeze(x)) for x in found["terms"]], dtype=torch.float64),
            torch.tensor([float(np.squeeze(x)) for x in found["errors"]], dtype=torch.float64),
        )
        return getattr(rate_distortion(likelihood, data_range=2.0), part)[t - 1].item()

    return Meaning(at=at, source=package(rate_distortion))


def one_normal(world: World) -> bool:
    """Si los datos son una sola normal: entonces la recta de regresión es lo mejor."""
    return len(world.setting.data) == 1


def one_point(world: World) -> bool:
    """Si los datos son un solo punto: entonces no queda ninguna duda de x_0."""
    return world.setting.data[0][2] == 0


def standard(world: World) -> bool:
    """Si los datos son N(0, 1): entonces la varianza del paso es β_t."""
    return world.setting.data == UNIT


NARROW = (Setting(t=3, data=ONE), Setting("cosine", T=6, t=2, data=UNIT, seed=1))
SOME = {"L": losses_of_each_t, "p": Meaning(at=probability)}
NAMES = {"p": Meaning(form=density(LAWS["p_θ"])), "L": terms(mean_bound)}
ROWS = {
    "improved-descomposicion": Row(worlds=TINY),
    "improved-entropia": Row(
        {"L": Meaning(bare=perfect_bound)},
        source=package(variational_bound),
        worlds=tuple(Setting(s.schedule, s.T, s.t, ONE, seed=s.seed) for s in SETTINGS),
    ),
    "improved-termino": Row(COST),
    "improved-optima": Row(
        {**COST, "diferencias": SHIFT},
        each={
            (0, 0): {"σ": Meaning(bare=lambda scope: scope.world.number("σ"))},
            (0, 1): {"σ": Meaning(bare=optimum)},
        },
        tolerance=1e-3,
    ),
    "improved-exceso": Row(COST),
    "improved-delta": Row(
        {"δ": formula(r"\sqrt{\operatorname{E}[\operatorname{Var}(\mut(\xt, \xo) \mid \xt)]}")}
    ),
    "improved-regresion": Row(
        {"s": formula(r"\sqrt{\operatorname{Var}(\xo)}")}, tight={(0, 0): one_normal}
    ),
    "improved-intervalo": Row(
        {"σ_*": formula(r"\sqrt{\operatorname{E}[\operatorname{Var}(\xtm \mid \xt)]}")},
        worlds=(*NARROW, Setting(t=3, data=UNIT), Setting(t=3, data=((1.0, 0.4, 0.0),))),
        tight={(0, 0): one_point, (0, 1): standard},
    ),
    "improved-rango": Row(
        {
            "σ": Meaning(at=lambda s, t: learned(s, t, 2 * s.world.number("v") - 1)),
            "v": lambda world: world.number("v"),
        },
        source="ddpm_lit.variance.LearnedRange",
    ),
    "improved-vlb": Row({"L_vlb": Meaning(bare=lambda scope: mean_bound(scope)["total"])}),
    "improved-hibrida": Row(
        {
            "L_híbrida": Meaning(bare=loss("hybrid")),
            "L_simple": Meaning(bare=loss("simple")),
            "L_vlb": Meaning(call=loss("vlb")),
            "sg": Meaning(call=lambda scope, x: x),
            "σ_θ": Meaning(bare=lambda scope: learned(scope, scope.number("t"), 0.3)),
        },
        source=package(hybrid_loss),
        tolerance=1e-6,
    ),
    "improved-insesgada": Row(SOME),
    "improved-momento": Row(SOME),
    "improved-cauchy": Row(SOME, tight={(0, 0): lambda world: True}),
    "improved-importancia": Row(SOME, source=package(ImportanceSampler.probabilities)),
    "improved-tasa": Row(
        {"tasa": rate("rate"), "distorsión": rate("distortion"), "D": 2},
        worlds=tuple(Setting(s.schedule, s.T, s.t, s.data, pixels=2) for s in TINY),
        tolerance=1e-6,
    ),
}
