"""Función de pérdidas."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lit.losses import (
    discretized_gaussian_log_likelihood,
    min_snr,
    normal_kl,
    simple_loss,
    variational_bound,
    vb_term,
    vlb_weight,
)
from scripts.ledger.arithmetic import squared_norm
from scripts.ledger.check import Row
from scripts.ledger.notation import (
    LAWS,
    array,
    density,
    formula,
    network,
    package,
    reverse_part,
    tensor,
)
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import ONE, UNIT, Array, Setting, World

LEVELS = 8
GAMMA = 1.3

# --- La cota, término a término -----------------------------------------------------------------


def bound(scope: Scope, x_start: Any, noise: Any, weights: Any) -> dict[str, Any]:
    """`variational_bound`, promediada en los nodos de ε: L_T, los demás términos y los errores."""
    world = scope.world
    x_start, noise = np.broadcast_arrays(x_start, noise)

    def model(x: Tensor, t: Tensor) -> Any:
        return world.network(x, int(t[0]) + 1)

    found = variational_bound(
        model, world.diffusion, tensor(x_start), lambda index: tensor(noise), levels=None
    )
    scale = math.log(2) * world.setting.pixels

    def mean(values: Tensor) -> Any:
        return (weights * array(values, noise)).sum(0)

    return {
        "prior": mean(found.prior) * scale,
        "terms": [mean(term) * scale for term in found.terms.T],
        "errors": [mean(error) for error in found.x_start_errors.T],
        "total": mean(found.total) * scale,
    }


def bound_of_example(scope: Scope) -> dict[str, Any]:
    """La cota de x_0, en nats."""
    world = scope.world
    if "cota" not in world.cache:
        weights, nodes = world.law.nodes([("z", 0)], {})
        world.cache["cota"] = bound(scope, world.sample(("x", 0)), nodes["z", 0], weights)
    return world.cache["cota"]  # type: ignore[no-any-return]


def mean_bound(scope: Scope) -> dict[str, Any]:
    """La cota media, en nats, también en x_0."""
    world = scope.world
    if "cota media" not in world.cache:
        weights, nodes = world.law.nodes([("x", 0), ("z", 0)], {})
        world.cache["cota media"] = bound(scope, nodes["x", 0], nodes["z", 0], weights)
    return world.cache["cota media"]  # type: ignore[no-any-return]


def terms(which: Any) -> Meaning:
    """L, L_T y L_{t-1}."""

    def at(scope: Scope, k: int) -> Any:
        found = which(scope)
        return found["prior"] if k == scope.world.T else found["terms"][_index(k)]

    return Meaning(
        bare=lambda scope: which(scope)["total"], at=at, source=package(variational_bound)
    )


def _index(k: int) -> int:
    if k < 0:
        raise IndexError(f"No hay ningún término {k}.")
    return k


# --- Divergencias -------------------------------------------------------------------------------


def divergence(mean1: Any, variance1: Any, mean2: Any, variance2: Any) -> Any:
    """`normal_kl` de dos normales, sumada en los píxeles."""
    values = np.broadcast_arrays(mean1, variance1, mean2, variance2)
    a, v, b, w = (torch.as_tensor(np.array(x, dtype=float)) for x in values)
    return np.atleast_2d(normal_kl(a, v.log(), b, w.log()).numpy()).sum(-2, keepdims=True)


GAUSSIANS: dict[str, Any] = {
    name: (lambda world, name=name: world.number(name)) for name in ("μ_1", "μ_2", "σ_1", "σ_2")
}


def between_gaussians(scope: Scope, *_: object) -> Any:
    mean1, s1, mean2, s2 = (scope.names[name] for name in ("μ_1", "σ_1", "μ_2", "σ_2"))
    return divergence(mean1, s1**2, mean2, s2**2)


def first_gaussian(world: World) -> Meaning:
    """x, de la primera de las dos normales."""
    mean, deviation = world.number("μ_1"), world.number("σ_1")
    return Meaning(variable=world.combination(("x'", 0), {("z", 0): deviation}, mean))


# --- Las pérdidas -------------------------------------------------------------------------------


def simple(scope: Scope, _: object = None) -> Any:
    """La media de `simple_loss` en t, x_0 y ε."""
    world, total = scope.world, 0.0
    for t in range(1, world.T + 1):
        weights, nodes = world.law.nodes([("x", 0), ("ε", t)], {})
        x_t = scope.world.law.vectors["x", t][0][0] * nodes["x", 0]
        spread = np.linalg.norm(world.law.vectors["x", t][0][1:])
        output = world.network(x_t + spread * nodes["ε", t], t)
        x_start, noise = tensor(nodes["x", 0]), tensor(nodes["ε", t])
        steps = world.steps(t, len(noise))
        loss = simple_loss(world.diffusion, tensor(output), x_start, noise, steps)
        total += (weights * array(loss, nodes["x", 0])).sum() / world.T
    return total


def weighted(scope: Scope) -> Any:
    """El error del ruido por el peso que da `vlb_weight`."""
    t = scope.number("t")
    gap = scope.value_of(("ε", t)) - network(scope)
    return vlb_weight(scope.world.diffusion)[t - 1].item() * squared_norm(gap)


def minimum(scope: Scope, t: int) -> Any:
    return min_snr(scope.world.diffusion, GAMMA)[_index(t - 1)].item()


# --- L_0 ----------------------------------------------------------------------------------------


def pixels_on_levels(world: World) -> Array:
    """Unos píxeles que caen en los niveles, con los dos extremos."""
    levels = world.random("niveles").integers(0, LEVELS, (world.setting.pixels, world.draws))
    levels[0, :2] = 0, LEVELS - 1
    return levels / (LEVELS - 1) * 2 - 1


def reverse_mean(scope: Scope, x: Any, t: int) -> Any:
    return reverse_part(scope.world, "mean", x, scope.world.network(x, t), t)


def likelihood(scope: Scope, _: object) -> Any:
    """p_θ(x_0 | x_1), según `discretized_gaussian_log_likelihood`."""
    world = scope.world
    x_start = pixels_on_levels(world)
    mean = reverse_mean(scope, scope.value_of(("x", 1)), 1)
    log_scale = torch.full((), 0.5 * math.log(world.reverse_variance(1)), dtype=torch.float64)
    values = discretized_gaussian_log_likelihood(
        torch.from_numpy(x_start), torch.from_numpy(mean), log_scale, levels=LEVELS
    )
    return values.sum(0, keepdim=True).exp().numpy()


# --- Las unidades -------------------------------------------------------------------------------


def bits(scope: Scope) -> Any:
    """L_{t-1}, según `vb_term`: bits por dimensión."""
    world, t = scope.world, scope.number("t")
    weights, nodes = world.law.nodes([("x", t)], {("x", 0): scope.value_of(("x", 0))})
    x_t = nodes["x", t]
    x_start = tensor(np.broadcast_to(scope.value_of(("x", 0)), x_t.shape))
    output, noisy = tensor(world.network(x_t, t)), tensor(x_t)
    steps = world.steps(t, len(noisy))
    return (
        weights[:, :1] * array(vb_term(world.diffusion, output, x_start, noisy, steps), x_t)
    ).sum(0)


TINY = (
    Setting((0.3, 0.45), T=2, t=2, data=ONE),
    Setting((0.2, 0.35, 0.5), T=3, t=2, data=UNIT, seed=1),
)
EXACT = Setting((0.2, 0.35, 0.5), T=3, t=2, data=UNIT, seed=1, exact=True)
WIDE = tuple(Setting(s.schedule, s.T, s.t, s.data, pixels=3, seed=s.seed) for s in TINY)
CHAIN: dict[str, Any] = {
    "p": Meaning(form=density(LAWS["p_θ"])),
    "L": terms(bound_of_example),
    "E_q": lambda world: (("x", 0),),
}
NAMES = CHAIN
ROWS = {
    "perdidas-importancia": Row(worlds=TINY[:1], tolerance=1e-7),
    "perdidas-jensen": Row(
        {
            "Y": Meaning(bare=lambda scope: np.exp(0.7 * scope.value_of(("z", 0)))),
            "m": formula(r"\operatorname{E}[Y]"),
        }
    ),
    "perdidas-jensen-cadena": Row(
        worlds=(*TINY, EXACT), tight={(0, 0): lambda world: world.setting.exact}
    ),
    "perdidas-hueco": Row(worlds=TINY),
    "perdidas-parejas": Row(worlds=TINY),
    "perdidas-cota": Row(worlds=TINY),
    "perdidas-kl-cociente": Row(GAUSSIANS),
    "perdidas-kl-momento": Row({**GAUSSIANS, "x": first_gaussian}),
    "perdidas-kl": Row(
        {**GAUSSIANS, "D_KL": Meaning(call=None, form=between_gaussians)},
        source=package(normal_kl),
    ),
    "perdidas-kl-dimensiones": Row(
        {
            **GAUSSIANS,
            "μ_1": lambda world: world.normal("μ_1"),
            "μ_2": lambda world: world.normal("μ_2"),
            "D": lambda world: world.setting.pixels,
            "D_KL": Meaning(bare=between_gaussians),
        },
        source=package(normal_kl),
        worlds=WIDE,
    ),
    "perdidas-lt": Row({"D": lambda world: world.setting.pixels}, worlds=WIDE),
    "perdidas-peso": Row(value=weighted, source=package(vlb_weight)),
    "perdidas-simple": Row(
        {"L_simple": Meaning(call=simple)}, source=package(simple_loss), tolerance=1e-6
    ),
    "perdidas-l0": Row(
        {
            "niveles": LEVELS,
            "D": lambda world: world.setting.pixels,
            "p_θ": Meaning(form=likelihood),
            "x^i_0": Meaning(
                bare=lambda scope: pixels_on_levels(scope.world)[[scope.names["i"] - 1]]
            ),
            "μ^i_θ": Meaning(
                call=lambda scope, x, t: reverse_mean(scope, x[[scope.names["i"] - 1]], t)
            ),
        },
        source=package(discretized_gaussian_log_likelihood),
        worlds=WIDE,
        tolerance=1e-7,
    ),
    "perdidas-bits": Row(
        {
            "L": 1.0,
            "D": lambda world: world.setting.pixels,
            "nats": formula(
                r"\operatorname{E}_q[D_{KL}(q(\xtm \mid \xt, \xo)\,\|\,p_\theta(\xtm \mid \xt))]"
            ),
            "bits/dim": Meaning(bare=bits),
        },
        source=package(vb_term),
        worlds=WIDE,
    ),
    "perdidas-minsnr": Row({"γ": GAMMA, "w": Meaning(call=minimum)}, source=package(min_snr)),
}

EQUIVALENT = {
    "perdidas-jensen": {
        "log m+{E (Y)-m}/{m} → log m-{E (Y)-m}/{m}": "El término vale 0: m es E[Y].",
    },
    "perdidas-kl-momento": dict.fromkeys(
        (
            "E ((x-μ_1)^{2})+2·(μ_1-μ_2)·E (x-μ_1)+(μ_1-μ_2)^{2} → "
            "E ((x-μ_1)^{2})-2·(μ_1-μ_2)·E (x-μ_1)+(μ_1-μ_2)^{2}",
            "μ_1-μ_2 → μ_1+μ_2",
        ),
        "Multiplica a E[x - μ_1], que vale 0.",
    ),
}
