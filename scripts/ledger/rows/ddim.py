"""DDIM: Denoising Diffusion Implicit Models."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim, ddim_inversion, ddim_sigma, slerp
from ddpm_lit.losses import simple_loss
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.scheduler import Schedule, spaced_indices
from ddpm_lit.solvers import dpm_solver_2m, heun
from scripts.ledger.check import Row
from scripts.ledger.expectations import variables
from scripts.ledger.notation import (
    COMMON,
    array,
    density,
    expression,
    formula,
    linear,
    network,
    package,
    reverse_part,
    tensor,
)
from scripts.ledger.rows.forward import noise_size
from scripts.ledger.rows.losses import divergence, simple
from scripts.ledger.scope import Meaning, Scope, value
from scripts.ledger.world import SETTINGS, Law, Setting, World, affine

ETA = 0.6
LEVEL = 0.8

# --- El paso, según el paquete ------------------------------------------------------------------


def denoiser(world: World, output: Callable[[Tensor, int], Tensor] | None = None) -> Denoiser:
    """La red de siempre, u otra, con su proceso; t es el del libro."""
    answer = output or world.network
    return Denoiser(lambda x, index: answer(x, int(index[0]) + 1), world.diffusion)


def step(scope: Scope, sampler: Any = ddim, **options: Any) -> Any:
    """x_{t-1}, con la red."""
    world, t = scope.world, scope.number("t")
    x_t, z = scope.value_of(("x", t)), scope.value_of(("z", 0))
    return array(sampler(denoiser(world), tensor(x_t), t - 1, iter([tensor(z)]), **options)[0], x_t)


def mixing(world: World, t: int) -> tuple[float, float, float]:
    """Lo que pesan x_0, ε y z en x_{t-1}, según `ddim` con una red que acierta el ruido."""
    signal, spread = (
        table[t - 1]
        for table in (
            world.schedule.sqrt_alphas_cumprod,
            world.schedule.sqrt_one_minus_alphas_cumprod,
        )
    )

    def function(x_start: Tensor, noise: Tensor, z: Tensor) -> Any:
        x_t = signal * x_start + spread * noise
        return ddim(denoiser(world, lambda x, t: noise), x_t, t - 1, iter([z]), eta=ETA)[0]

    return linear(world, ("ddim", t), function, 3)[:3]  # type: ignore[no-any-return]


def mixed(scope: Scope) -> Any:
    """x_{t-1}, con el ruido verdadero en lugar de la red."""
    t = scope.number("t")
    parts = (scope.value_of(("x", 0)), scope.value_of(("ε", t)), scope.value_of(("z", 0)))
    return sum(a * x for a, x in zip(mixing(scope.world, t), parts, strict=True))


def non_markovian(world: World) -> Law:
    """La ley conjunta de x_0, x_t y x_{t-1} en el proceso de DDIM."""
    t, vectors = world.t, world.law.vectors
    a, b, c = mixing(world, t)
    moved = a * vectors["x", 0][0] + b * vectors["ε", t][0] + c * vectors["z", 0][0]
    law = world.law
    return Law(law.weights, law.means, law.covariances, {**vectors, ("x", t - 1): (moved, 0.0)})


def off_centre(world: World) -> Law:
    """La misma ley, pero con x_t fuera de su sitio: el paso no supone nada de su media."""
    law, t = non_markovian(world), world.t
    spread = float(np.linalg.norm(world.law.vectors["x", t][0][1:]))
    moved = {("x", t): 0.5, ("x", t - 1): mixing(world, t)[1] * 0.5 / spread}
    shifted = {name: (law.vectors[name][0], shift) for name, shift in moved.items()}
    return Law(law.weights, law.means, law.covariances, {**law.vectors, **shifted})


def step_divergence(scope: Scope) -> Any:
    """KL entre el paso con el ruido verdadero y el paso con la red."""
    world, t = scope.world, scope.number("t")
    a, b, c = mixing(world, t)
    x_start, noise = scope.value_of(("x", 0)), scope.value_of(("ε", t))
    guessed = value(scope, COMMON["x̂_0"])
    return divergence(a * x_start + b * noise, c**2, a * guessed + b * network(scope), c**2)


def sigma(scope: Scope, eta: float) -> float:
    return ddim_sigma(scope.world.schedule, scope.number("t") - 1, float(eta))


# --- Otras variables ----------------------------------------------------------------------------


def of_bar(function: Callable[[float], float]) -> Meaning:
    """Una función de ᾱ_t, como λ_t."""

    def at(scope: Scope, t: int) -> float:
        if t < 1:
            raise IndexError(f"No hay ningún paso {t}.")
        return function(scope.world.schedule.alphas_cumprod[t - 1].item())

    return Meaning(at=at)


def half_log_snr(bar: float) -> float:
    return 0.5 * math.log(bar / (1 - bar))


def levels(scope: Scope, back: int = 0) -> float:
    """λ_{t-1} - λ_t o, con `back`, de los pasos anteriores."""
    t = scope.number("t") + back
    after, before = (
        half_log_snr(scope.world.schedule.alphas_cumprod[k - 1].item()) for k in (t - 1, t)
    )
    return after - before


def seen_from(scope: Scope, inner: Any) -> Any:
    """x̂_0(x_k), lo que la red ve en el paso k."""
    (variable,) = variables(scope, [inner.children[0].children[0]])
    x, world = scope.value_of(variable), scope.world
    return reverse_part(world, "x_start", x, world.network(x, variable[1]), variable[1])


def second_order(scope: Scope) -> Any:
    """x_{t-1}, según `dpm_solver_2m`."""
    t, world = scope.number("t"), scope.world
    before = scope.value_of(("x", t + 1))
    previous = reverse_part(world, "x_start", before, world.network(before, t + 1), t + 1)
    return step(scope, dpm_solver_2m, previous=tensor(previous))


def velocity(scope: Scope, x: Any, t: Any) -> Any:
    """v̂(x, t): la v del x̂_0 y el ε̂ de la red."""
    world, t = scope.world, int(t)

    def target(x_start: Tensor, noise: Tensor) -> Any:
        return PARAMETRISATIONS["v"].target(
            world.schedule, x_start, noise, world.steps(t, len(noise))
        )

    output = world.network(x, t)
    a, b, _ = linear(world, ("v", t), target, 2)
    return a * reverse_part(world, "x_start", x, output, t) + b * output


def inverted(level: int) -> Callable[[Scope], Any]:
    """x_t o x_{t-1} subiendo desde x_0, según `ddim_inversion`."""

    def bare(scope: Scope) -> Any:
        world, t = scope.world, scope.number("t") + level
        states = list(ddim_inversion(denoiser(world), tensor(world.sample(("x", 0)))))
        if t < 1:
            raise IndexError(f"No hay ningún paso {t}.")
        return array(states[t - 1], world.sample(("x", 0)))

    return bare


def before(scope: Scope, x: Any, part: str) -> Any:
    """Lo que la red ve en x_{t-1}."""
    world, t = scope.world, scope.number("t") - 1
    output = world.network(x, t)
    return output if part == "epsilon" else reverse_part(world, part, x, output, t)


# --- Curvas cualesquiera, con su derivada -------------------------------------------------------


def curve(x: Any) -> Any:
    return 0.4 + 0.7 * x - 0.2 * x**2


def slope(x: Any) -> Any:
    return 0.7 - 0.4 * x


def one_step(scope: Scope) -> Any:
    """x̄(ς), a un paso de `ddim` del nivel de partida: adónde lleva, o de dónde vino."""
    world, level = scope.world, scope.number("ς")
    here = world.normal("x̄")
    if level == LEVEL:
        return here
    low, high = sorted((level, LEVEL))
    schedule = Schedule.from_alphas_cumprod([1 / (1 + low**2), 1 / (1 + high**2)])
    denoise = Denoiser(
        lambda x, index: world.network(x, world.t), replace(world.diffusion, schedule=schedule)
    )

    def move(x: Tensor) -> Any:
        start = x / (1 + high**2) ** 0.5
        return (1 + low**2) ** 0.5 * ddim(denoise, start, 1, iter(()))[0]

    a, b = affine(move, 1)
    return a * here + b if level < LEVEL else (here - b) / a


def turned(scope: Scope) -> float:
    """v̂ en un punto de la curva, según `Velocity.target`."""
    level = math.tan(scope.names["φ"])
    noise, guess = slope(level), curve(level) - level * slope(level)
    schedule = Schedule.from_alphas_cumprod([1 / (1 + level**2)])
    clean, answer = (torch.tensor([[x]], dtype=torch.float64) for x in (guess, noise))
    return PARAMETRISATIONS["v"].target(schedule, clean, answer, torch.tensor([0])).item()


def solved(scope: Scope) -> Any:
    """x_{t-1} por la ecuación dx/dφ = v̂, con x̂_0(λ) una curva cualquiera; `solve_ivp`."""
    t, world = scope.number("t"), scope.world
    end, start = (world.schedule.sqrt_alphas_cumprod[k - 1].acos().item() for k in (t - 1, t))

    def motion(phi: float, x: Any) -> Any:
        guess = curve(-math.log(math.tan(phi)))
        noise = (x - math.cos(phi) * guess) / math.sin(phi)
        return math.cos(phi) * noise - math.sin(phi) * guess

    x_t = scope.value_of(("x", t))
    found = solve_ivp(motion, (start, end), x_t.ravel(), rtol=1e-12, atol=1e-12, method="DOP853")
    return found.y[:, -1].reshape(x_t.shape)


def blurred(scope: Scope) -> Any:
    """p_ς: la densidad de los datos emborronada con una campana de varianza ς²."""
    x, level = scope.number("x̄"), scope.number("ς")
    return sum(
        w * np.exp(-((x - m) ** 2) / (2 * (v + level**2))) / np.sqrt(2 * np.pi * (v + level**2))
        for w, m, v in scope.world.setting.data
    )


# --- El arco ------------------------------------------------------------------------------------


def ends(world: World) -> dict[str, Any]:
    """Dos vectores de la misma norma, el ángulo que forman y la fracción del camino."""
    a, b = world.normal("a"), world.normal("b")
    b = b * np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    r = np.linalg.norm(a, axis=0, keepdims=True)
    return {"a": a, "b": b, "r": r, "θ": np.arccos((a * b).sum(0, keepdims=True) / r**2), "f": 0.3}


def on_arc(scope: Scope, *_: object) -> Any:
    a, b, f = (scope.names[name] for name in "abf")
    return array(slerp(tensor(a), tensor(b), torch.tensor(f, dtype=torch.float64)), a)


def end(name: str) -> Callable[[World], Any]:
    return lambda world: ends(world)[name]


ARC: dict[str, Any] = {name: end(name) for name in "abfrθ"}
VECTORS = tuple(Setting(s.schedule, s.T, s.t, pixels=4, seed=s.seed) for s in SETTINGS)
PAIR = {
    "a": Meaning(variable=("z", 0)),
    "b": Meaning(variable=("z'", 0)),
    "d": lambda world: world.setting.pixels,
}
H = Meaning(bare=levels)
NAMES = {
    "σ": Meaning(at=lambda scope, t: ddim_sigma(scope.world.schedule, t - 1, ETA)),
    "σ_t": Meaning(
        bare=lambda scope: sigma(scope, ETA), call=sigma, source=package(ddim_sigma), arity=(1,)
    ),
    "λ": of_bar(half_log_snr),
    "φ": of_bar(lambda bar: math.acos(math.sqrt(bar))),
    "ς": of_bar(lambda bar: math.sqrt((1 - bar) / bar)),
    "h": H,
    "v̂": Meaning(call=velocity),
}
CURVE = {
    "x̄": Meaning(bare=lambda scope: curve(scope.number("ς"))),
    "ε_θ": Meaning(bare=lambda scope: slope(scope.number("ς"))),
    "x̂_0": formula(r"\bar x - \varsigma\,\epsilon_\theta"),
}
ROWS = {
    "ddim-simple": Row(
        {"L_simple": Meaning(bare=simple)}, source=package(simple_loss), tolerance=1e-6
    ),
    "ddim-mezcla": Row(
        {"x_t-1": Meaning(bare=mixed, source=package(ddim))},
        each={(1, 1): {"σ_t": lambda world: noise_size(world, world.t - 1)}},
        tight={(1, 1): lambda world: True},
    ),
    "ddim-familia": Row({"q_σ": Meaning(form=density(non_markovian), source=package(ddim))}),
    "ddim-adelante": Row({"q_σ": Meaning(form=density(non_markovian), source=package(ddim))}),
    "ddim-marginal-media": Row(
        {"ley": non_markovian},
        each={(0, 0): {"ley": off_centre}},
        source=package(ddim),
    ),
    "ddim-marginal": Row({"ley": non_markovian}, source=package(ddim)),
    "ddim-perdida": Row({"D_KL": Meaning(bare=step_divergence, source=package(ddim))}),
    "ddim-paso": Row({"x_t-1": Meaning(bare=lambda s: step(s, eta=ETA), source=package(ddim))}),
    "ddim-sigma": Row({"η": ETA}),
    "ddim-sigma-hat": Row(
        {"x_t-1": Meaning(bare=lambda scope: step(scope, sigma_hat=True), source=package(ddim))}
    ),
    "ddim-cuadratica": Row(
        {
            "T": 100,
            "K": 6,
            "i": lambda world: 2 + world.setting.seed,
            "τ": Meaning(at=lambda scope, i: spaced_indices(100, 6, "quadratic")[i].item()),
        },
        define=("c",),
        source=package(spaced_indices),
    ),
    "ddim-euler": Row({"x_t-1": Meaning(bare=step, source=package(ddim))}),
    "ddim-edo": Row(
        {
            "ς": LEVEL,
            "ᾱ": 1 / (1 + LEVEL**2),
            "x̄": Meaning(bare=one_step, source=package(ddim)),
            "diferencias": 1e-5,
        },
        tolerance=1e-2,
    ),
    "ddim-calor": Row(
        {
            "p_ς": Meaning(bare=blurred),
            "ς": LEVEL,
            "x̄": 0.3,
            "∇": expression(r"\bar x"),
        },
        tolerance=1e-6,
    ),
    "ddim-angulo": Row(
        {
            **CURVE,
            "φ": 0.6,
            "ς": Meaning(bare=lambda scope: np.tan(scope.number("φ"))),
            "x": Meaning(bare=lambda s: np.cos(s.number("φ")) * curve(np.tan(s.number("φ")))),
            "v̂": Meaning(bare=turned, source="ddpm_lit.parametrisation.Velocity.target"),
        }
    ),
    "ddim-inversion": Row(
        {
            "x_t": Meaning(bare=inverted(0), source=package(ddim_inversion)),
            "x_t-1": Meaning(bare=inverted(-1)),
            "x̂_0": Meaning(call=lambda scope, x: before(scope, x, "x_start")),
            "ε̂": Meaning(call=lambda scope, x: before(scope, x, "epsilon")),
        }
    ),
    "ddim-recta": Row({**PAIR, "f": 0.3}, worlds=VECTORS),
    "ddim-slerp": Row(
        {**ARC, "slerp": Meaning(call=on_arc, source=package(slerp))},
        worlds=VECTORS,
    ),
    "ddim-slerp-norma": Row(
        {
            **ARC,
            "slerp": Meaning(bare=on_arc, source=package(slerp)),
            "u": formula(r"(1-f)\,\theta"),
            "v": formula(r"f\,\theta"),
        },
        worlds=VECTORS,
    ),
    "ddim-datos": Row(
        {
            **CURVE,
            "w": 0.9,
            "ς": Meaning(bare=lambda scope: 1 / scope.number("w")),
            "ᾱ": Meaning(bare=lambda scope: 1 / (1 + scope.number("ς") ** 2)),
            "x": Meaning(bare=lambda s: np.sqrt(s.number("ᾱ")) * curve(s.number("ς"))),
        }
    ),
    "ddim-semilineal": Row(
        {"x_t-1": Meaning(bare=solved), "x̂_0": Meaning(call=lambda scope, x: curve(x))}
    ),
    "ddim-recta-lambda": Row(read="citada: es la recta que se supone, no una igualdad"),
    "ddim-segundo-orden": Row(
        {"O": Meaning(call=lambda scope, x: 0.0)},
        worlds=(Setting((0.2, 0.3, 0.01, 0.2), T=4, t=3), Setting((0.1, 0.2, 0.005), T=3, t=3)),
        slack={(0, 1): 1e-2},
    ),
    "ddim-2m": Row(
        {
            "x_t-1": Meaning(bare=second_order, source=package(dpm_solver_2m)),
            "x̂_0": Meaning(form=seen_from),
            "r": Meaning(bare=lambda scope: levels(scope, 1) / levels(scope)),
        }
    ),
    "ddim-heun": Row(
        {
            "x_t-1": Meaning(bare=lambda scope: step(scope, heun), source=package(heun)),
            "x'_t-1": Meaning(bare=step),
        }
    ),
}

EQUIVALENT = {
    "ddim-recta": {"(1-f)·a+fb → (1-f)·a-fb": "b y -b son igual de probables."},
    "ddim-cuadratica": {"K-1 → K+1 (2)": "Es hasta dónde llega i, que aquí es un número."},
    "ddim-segundo-orden": {
        "√{ᾱ_t-1}·(1-e^{-h})·{h}/{2}+O(h^{3}) → √{ᾱ_t-1}·(1-e^{-h})·{h}/{2}-O(h^{3})": (
            "Lo que se tira no tiene signo."
        ),
        "ᾱ_t-1 → ᾱ_t (3)": "La diferencia es del orden de h³.",
    },
    "ddim-marginal-media": dict.fromkeys(
        (
            "√{ᾱ_t-1}·x_0+√{1-ᾱ_t-1-σ_t^{2}}·{√{ᾱ_t}·x_0-√{ᾱ_t}·x_0}/{√{1-ᾱ_t}} → "
            "√{ᾱ_t-1}·x_0-√{1-ᾱ_t-1-σ_t^{2}}·{√{ᾱ_t}·x_0-√{ᾱ_t}·x_0}/{√{1-ᾱ_t}}",
            "√{1-ᾱ_t-1-σ_t^{2}} → 1-ᾱ_t-1-σ_t^{2} (2)",
            "1-ᾱ_t-1-σ_t^{2} → 1+ᾱ_t-1-σ_t^{2} (2)",
            "1-ᾱ_t-1-σ_t^{2} → 1-ᾱ_t-1+σ_t^{2} (2)",
            "ᾱ_t-1 → α_t-1 (4)",
            "ᾱ_t-1 → ᾱ_t (4)",
            "t-1 → t+1 (5)",
            "σ_t → σ_t-1 (2)",
            "√{1-ᾱ_t} → 1-ᾱ_t (2)",
            "1-ᾱ_t → 1+ᾱ_t (2)",
            "ᾱ_t → α_t (5)",
            "ᾱ_t → ᾱ_t-1 (5)",
        ),
        "Multiplica a una resta que vale 0.",
    ),
}
