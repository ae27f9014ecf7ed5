"""Flow matching y EDM."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ddpm_lit.flow import (
    PATHS,
    Path,
    change_path,
    edm_weight,
    euler,
    flow_matching,
    heun,
    karras_levels,
    preconditioned,
    preconditioning,
)
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.scheduler import Schedule
from scripts.ledger.check import Row
from scripts.ledger.notation import COMMON, array, expression, formula, package, tensor
from scripts.ledger.rows.improved import moments
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import ONE, SETTINGS, Setting, Variable, World, affine

TAU, AFTER = 0.4, 0.25
LEVEL = 0.7
EARLY = 0.05
CLOCKS = ((0.2, 0.3), (0.5, 0.45), (0.9, 0.25))
"""Unos relojes y sus probabilidades: con cualquier reparto vale lo mismo."""
KARRAS = (0.01, 5.0)
STEPS = 6
STATE: Variable = ("estado", 0)

# --- El camino ----------------------------------------------------------------------------------


def path_of(world: World, other: int = 0) -> Path:
    """El camino de este mundo, uno de los tres, o el siguiente."""
    return list(PATHS.values())[(world.setting.seed + other) % len(PATHS)]


def clock(tau: Any, size: int = 1) -> Tensor:
    return torch.full((size,), float(tau), dtype=torch.float64)


def coefficient(part: str, tau: float | None = None, other: int = 0) -> Meaning:
    """α, σ o sus derivadas, en τ (o en otro reloj), según `Path.curve`."""

    def bare(scope: Scope) -> Any:
        at = scope.number("τ") if tau is None else tau
        return getattr(path_of(scope.world, other).curve(clock(at)), part).item()

    return Meaning(bare=bare)


def mixed(scope: Scope, what: str) -> Any:
    """x_τ o u, según `Path`, de x_0 y ε."""
    path, tau, t = path_of(scope.world), scope.number("τ"), scope.number("t")

    def function(x_start: Tensor, noise: Tensor) -> Any:
        return getattr(path, what)(x_start, noise, clock(tau, len(noise)))

    a, b, _ = affine(function, 2)
    return a * scope.value_of(("x", 0)) + b * scope.value_of(("ε", t))


def state_of(world: World, tau: float = TAU) -> Meaning:
    """El estado en un reloj, como variable de la ley."""
    there = path_of(world).curve(clock(tau))
    parts = {("x", 0): there.alpha.item(), ("ε", world.t): there.sigma.item()}
    return Meaning(variable=world.combination(STATE, parts))


def mean_velocity(scope: Scope, x: Any, tau: Any) -> Any:
    """u*(x, τ): la velocidad de lo que se espera de x_0 y de ε, según `Path.velocity`."""
    world = scope.world
    state_of(world, tau)
    there = path_of(world).curve(clock(tau))
    x_start, noise = (moments(world, v, {STATE: x})[0] for v in (("x", 0), ("ε", world.t)))
    return there.alpha_rate.item() * x_start + there.sigma_rate.item() * noise


def any_velocity(x: Any, tau: Any) -> Any:
    return 0.3 * x + tau - 0.1 * x**3


def split(scope: Scope, place: int) -> Any:
    """x̂_0 o ε̂, según `Path.split`, de la velocidad u."""
    x, u = scope.world.normal("x_τ"), scope.world.normal("u")
    parts = path_of(scope.world).split(tensor(u), tensor(x), clock(scope.number("τ"), u.size))
    return array(parts[place], x)


def step(rule: Any) -> Meaning:
    """x_{τ'}, según `euler` o `heun`."""

    def bare(scope: Scope) -> Any:
        x = scope.world.normal("x_τ")
        return array(rule(torch_velocity, tensor(x), TAU, AFTER), x)

    return Meaning(bare=bare, source=package(rule))


def torch_velocity(x: Tensor, tau: Tensor) -> Any:
    return any_velocity(x, tau[:, None])


# --- Dos caminos --------------------------------------------------------------------------------


def same_level(world: World) -> float:
    """El reloj del camino A en que el nivel es el de B en TAU."""
    return path_of(world).time(path_of(world, 1).angle(clock(TAU))).item()


def on_path(world: World, other: int) -> Any:
    """x^A o x^B, en el mismo nivel y con los mismos x_0 y ε."""
    tau = TAU if other else same_level(world)
    x_start, noise = world.sample(("x", 0)), world.sample(("ε", world.t))
    times = clock(tau, x_start.size)
    return array(path_of(world, other).state(tensor(x_start), tensor(noise), times), x_start)


def at_level(part: str, other: int) -> Any:
    return lambda world: getattr(
        path_of(world, other).curve(clock(TAU if other else same_level(world))), part
    ).item()


def seen(world: World, place: int) -> Any:
    """El x̂_0 o el ε̂ de la velocidad de A en x^A."""
    x = on_path(world, 0)
    times = clock(same_level(world), x.size)
    velocity = torch_velocity(tensor(x), times)
    return array(path_of(world).split(velocity, tensor(x), times)[place], x)


def translated(scope: Scope) -> Any:
    """u^B, según `change_path`."""
    world, x = scope.world, on_path(scope.world, 1)
    velocity = change_path(torch_velocity, path_of(world), path_of(world, 1))
    return array(velocity(tensor(x), clock(TAU, x.size)), x)


# --- La pérdida ---------------------------------------------------------------------------------


def loss(scope: Scope) -> float:
    """L, según `flow_matching`, con un lote de nodos de τ, x_0 y ε pesados."""
    world = scope.world
    if "pérdida" in world.cache:
        return world.cache["pérdida"]  # type: ignore[no-any-return]
    weights, nodes = world.law.nodes([("x", 0), ("ε", world.t)], {})
    x_start, noise = (tensor(nodes[v]) for v in (("x", 0), ("ε", world.t)))
    n, many = len(noise), len(CLOCKS)
    tau = torch.cat([clock(t, n) for t, _ in CLOCKS])
    mass = torch.cat([torch.from_numpy(weights.ravel() * share) for _, share in CLOCKS])

    def draw(x: Tensor, ticks: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(x)), noise.repeat(many, 1)

    found = flow_matching(
        torch_velocity,
        path_of(world),
        [{"x": x_start.repeat(many, 1)}],
        draw,
        lambda value: value,
        levels=lambda u: tau,
        weight=lambda t: mass * n * many * (1 + t),
    )
    world.cache["pérdida"] = next(found).loss.item()
    return world.cache["pérdida"]  # type: ignore[no-any-return]


# --- Datos normales -----------------------------------------------------------------------------


def spread(scope: Scope, tau: float | None = None, rate: bool = False) -> float:
    """s_τ, la desviación de x_τ, o su derivada."""
    _, _, v = scope.world.setting.data[0]
    there = path_of(scope.world).curve(clock(scope.number("τ") if tau is None else tau))
    alpha, sigma, alpha_rate, sigma_rate = (x.item() for x in there)
    size = math.sqrt(alpha**2 * v + sigma**2)
    return (alpha * alpha_rate * v + sigma * sigma_rate) / size if rate else size


def start(world: World) -> float:
    return world.number("x_EARLY")


def carried(scope: Scope) -> Any:
    """x_τ, llevado por u* desde otro reloj, con `solve_ivp`."""
    world = scope.world
    if "llevado" not in world.cache:

        def motion(tau: float, x: Any) -> Any:
            return mean_velocity(scope, x[None], tau).ravel()

        found = solve_ivp(motion, (EARLY, TAU), [start(world)], rtol=1e-11, atol=1e-11)
        world.cache["llevado"] = found.y[0, -1]
    return world.cache["llevado"]


def unmoved(scope: Scope) -> float:
    """(x - α m)/s, en el reloj de partida."""
    _, mean, _ = scope.world.setting.data[0]
    alpha = path_of(scope.world).curve(clock(EARLY)).alpha.item()
    return (start(scope.world) - alpha * mean) / spread(scope, EARLY)


# --- EDM ----------------------------------------------------------------------------------------


def deviation(world: World) -> float:
    """σ_d, la desviación de los datos."""
    return math.sqrt(float(np.squeeze(moments(world, ("x", 0), {})[1])))


def around(part: str) -> Any:
    """c_skip, c_out o c_in, según `preconditioning`."""
    return lambda world: getattr(preconditioning(clock(LEVEL), deviation(world)), part).item()


def inner_network(scope: Scope, x: Any, level: Any) -> Any:
    return np.sin(x) + level


def preconditioned_velocity(scope: Scope) -> Any:
    """u, según `preconditioned`."""
    x = scope.names["x"]
    velocity = preconditioned(lambda x, level: x.sin() + level[:, None], deviation(scope.world))
    return array(velocity(tensor(x), clock(LEVEL, x.size)), x)


def turned(scope: Scope) -> Any:
    """v, según `Velocity.target`, de los datos con desviación 1."""
    world = scope.world
    x_start, noise = world.sample(("x", 0)) / deviation(world), world.sample(("ε", world.t))
    schedule = Schedule.from_alphas_cumprod([math.cos(angle(world)) ** 2])
    index = torch.zeros(noise.size, dtype=torch.long)
    target = PARAMETRISATIONS["v"].target(schedule, tensor(x_start), tensor(noise), index)
    return array(target, noise)


def angle(world: World) -> float:
    return math.atan(LEVEL / deviation(world))


EDM: dict[str, Any] = {
    "σ": LEVEL,
    "σ_d": deviation,
    "c_skip": around("skip"),
    "c_out": around("out"),
    "c_in": around("into"),
}
CONDITIONED = package(preconditioning)
NORMAL = tuple(Setting(s.schedule, s.T, s.t, ONE, seed=s.seed) for s in SETTINGS)
NAMES = {
    "τ": TAU,
    "τ'": AFTER,
    "α_τ": coefficient("alpha"),
    "σ_τ": coefficient("sigma"),
    "α'_τ": coefficient("alpha_rate"),
    "σ'_τ": coefficient("sigma_rate"),
    "α_τ'": coefficient("alpha", AFTER),
    "σ_τ'": coefficient("sigma", AFTER),
    "x_τ": Meaning(bare=lambda scope: mixed(scope, "state"), source=package(Path.state)),
    "u": Meaning(bare=lambda scope: mixed(scope, "velocity"), source=package(Path.velocity)),
    "u^*": Meaning(call=mean_velocity),
    "u_θ": Meaning(call=lambda scope, x, tau: any_velocity(x, tau)),
}
SPLIT: dict[str, Any] = {
    "x_τ": lambda world: world.normal("x_τ"),
    "u": lambda world: world.normal("u"),
    "x̂_0": Meaning(bare=lambda scope: split(scope, 0), source=package(Path.split)),
    "ε̂": Meaning(bare=lambda scope: split(scope, 1), source=package(Path.split)),
}
ROWS = {
    "flujos-escala": Row(
        {
            "x^A": lambda world: on_path(world, 0),
            "x^B": lambda world: on_path(world, 1),
            "α^A": at_level("alpha", 0),
            "σ^A": at_level("sigma", 0),
            "α^B": at_level("alpha", 1),
        }
    ),
    "flujos-despejar": Row(SPLIT),
    "flujos-traducir": Row(
        {
            "u^B": Meaning(bare=translated, source=package(change_path)),
            "α'_B": at_level("alpha_rate", 1),
            "σ'_B": at_level("sigma_rate", 1),
            "x̂_0": lambda world: seen(world, 0),
            "ε̂": lambda world: seen(world, 1),
        }
    ),
    "flujos-perdida": Row(
        {
            "L": Meaning(bare=loss, source=package(flow_matching)),
            "w": Meaning(call=lambda scope, tau: 1 + tau),
            "relojes": CLOCKS,
        }
    ),
    "flujos-media": Row(
        {"x": lambda world: replace(state_of(world), at=COMMON["x"].at), "x_τ": state_of}
    ),
    "flujos-debil": Row(
        {
            "f": Meaning(call=lambda scope, x: np.sin(x) + x**2),
            "∇": expression(r"x_\tau"),
            "diferencias": 1e-3,
        },
        tolerance=1e-8,
    ),
    "flujos-euler": Row({"x_τ": lambda world: world.normal("x_τ"), "x_τ'": step(euler)}),
    "flujos-heun": Row(
        {
            "x_τ": lambda world: world.normal("x_τ"),
            "x_τ'": step(heun),
            "x̃_τ'": Meaning(bare=step(euler).bare),
        }
    ),
    "flujos-recta": Row(define=("u^*",)),
    "flujos-primer-paso": Row(worlds=(Setting(seed=2),)),
    "flujos-ddim": Row({"ε̂": 0.8}, worlds=SETTINGS[1:]),
    "flujos-normal": Row(
        {
            "m": lambda world: world.setting.data[0][1],
            "s_τ": Meaning(bare=spread),
            "s'_τ": Meaning(bare=lambda scope: spread(scope, rate=True)),
            "x_τ": Meaning(bare=carried),
        },
        value={1: unmoved},
        worlds=NORMAL,
        tolerance=1e-8,
    ),
    "flujos-edm": Row(
        {
            **EDM,
            "x": lambda world: world.normal("x"),
            "F_θ": Meaning(call=inner_network),
            "u": Meaning(bare=preconditioned_velocity, source=package(preconditioned)),
        }
    ),
    "flujos-cin": Row(EDM, source=CONDITIONED, worlds=SETTINGS[:2]),
    "flujos-cout": Row(EDM, source=CONDITIONED, worlds=SETTINGS[:2]),
    "flujos-cskip": Row(EDM, source=CONDITIONED, worlds=SETTINGS[:2]),
    "flujos-objetivo": Row(
        {
            **EDM,
            "x": replace(formula(r"\xo + \sigma\,\ep"), at=COMMON["x"].at),
            "φ": angle,
            "v": Meaning(bare=turned, source="ddpm_lit.parametrisation.Velocity.target"),
        },
        source=CONDITIONED,
    ),
    "flujos-peso": Row(
        {
            **EDM,
            "w": Meaning(
                call=lambda scope, x: edm_weight(clock(x), deviation(scope.world)).item(),
                source=package(edm_weight),
            ),
        }
    ),
    "flujos-karras": Row(
        {
            "σ": Meaning(at=lambda scope, i: karras_levels(STEPS, *KARRAS)[i].item()),
            "σ_min": KARRAS[0],
            "σ_max": KARRAS[1],
            "i": lambda world: 1 + world.setting.seed,
            "K": STEPS,
        },
        source=package(karras_levels),
    ),
}

EQUIVALENT = {
    "flujos-cin": {"x_0+σε → x_0-σε": "ε y -ε son igual de probables."},
    "flujos-cout": {
        "(1-c_skip)·x_0-c_skip·σ·ε → (1-c_skip)·x_0+c_skip·σ·ε": "ε y -ε son igual de probables.",
    },
    "flujos-karras": {"K-1 → K+1 (2)": "Es hasta dónde llega i, que aquí es un número."},
}
