"""El límite continuo."""

import math
from typing import Any

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.continuous import (
    bound_multiple,
    correct,
    divergence,
    fokker_planck_step,
    forward_sde,
    linear_alpha_bar,
    linear_rate,
    log_likelihood,
    reverse_sde,
    snr_weights,
)
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_step
from ddpm_lit.losses import variational_bound, vlb_weight
from ddpm_lit.sampling import ancestral
from ddpm_lit.scheduler import Schedule
from scripts.ledger.arithmetic import matrix
from scripts.ledger.calculus import STEP
from scripts.ledger.check import Row
from scripts.ledger.notation import (
    LAWS,
    array,
    density,
    expression,
    normal_density,
    package,
    tensor,
)
from scripts.ledger.rows.improved import one_point
from scripts.ledger.rows.losses import mean_bound
from scripts.ledger.rows.score import ideal
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import ONE, SETTINGS, Setting, World

TAU = 0.3
SHORT = 1e-4
KAPPA = 0.6
DELTA = 0.3
PIECES = 4
"""En cuántos pasos se recorre la SDE; cada uno mira β en su mitad."""

# --- La nube ------------------------------------------------------------------------------------


def cloud(scope: Scope, x: Any = None, tau: float | None = None) -> Any:
    """q: los datos del mundo en el instante τ del schedule lineal."""
    x = scope.number("x") if x is None else x
    bar = linear_alpha_bar(scope.number("τ") if tau is None else tau)
    return sum(
        w * normal_density(x, math.sqrt(bar) * m, bar * v + 1 - bar)
        for w, m, v in scope.world.setting.data
    )


def data_density(world: World, x: Any) -> Any:
    return sum(w * normal_density(x, m, v) for w, m, v in world.setting.data)


def data_score(world: World, x: Any) -> Any:
    """∇log q de los datos, de paso complejo."""
    return np.imag(np.log(data_density(world, x + STEP * 1j))) / STEP


def at_start(scope: Scope, x: Any = None) -> Any:
    """La densidad de los datos, en x."""
    return data_density(scope.world, scope.number("x") if x is None else x)


def rate(scope: Scope, tau: Any = None) -> Any:
    return linear_rate(scope.number("τ") if tau is None else tau)


def flowing(scope: Scope) -> Any:
    """El cambio de q por unidad de tiempo, según `fokker_planck_step`."""
    spacing, count = 0.01, 1600
    place = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * spacing
    density = torch.from_numpy(cloud(scope, place.numpy()[None]).ravel())
    after = fokker_planck_step(density, spacing, spacing**2)
    change = (after - density).numpy() / spacing**2 * linear_rate(TAU)
    return np.interp(scope.number("x"), place.numpy(), change)


# --- Pasos cortos -------------------------------------------------------------------------------


def forward_step(scope: Scope) -> Any:
    """x_t, según `q_step`, con β_t = β(τ) Δτ."""
    x = scope.world.normal("x")
    schedule = Schedule.from_betas([linear_rate(TAU) * SHORT])
    noise, index = scope.value_of(("z", 0)), torch.zeros(x.size, dtype=torch.long)
    return array(q_step(schedule, tensor(x), index, tensor(noise)), x)


def sde_step(scope: Scope) -> Any:
    """dx, el primer paso de `forward_sde`."""
    x, increment = scope.world.normal("x"), tensor(scope.world.normal("dW"))
    step = next(forward_sde(tensor(x), torch.stack([increment] * PIECES)))
    return array(step, x) - x


def exact(world: World, schedule: Schedule) -> Denoiser:
    """La red que da el score de los datos, sea cual sea el nivel."""

    def model(x: Tensor, index: Tensor) -> Any:
        std = schedule.sqrt_one_minus_alphas_cumprod[index[0]]
        return -std * torch.from_numpy(data_score(world, x.numpy().T).T)

    return Denoiser(model, Diffusion(schedule, "epsilon", "fixed_large", clip=False))


def backward_step(scope: Scope, sampler: Any, **options: Any) -> Any:
    """x_{t-1}, con la red exacta y un paso corto."""
    x, z = scope.world.normal("x"), tensor(scope.value_of(("z", 0)))
    denoise = exact(scope.world, Schedule.from_betas([SHORT] * 3))
    return array(sampler(denoise, tensor(x), 1, iter([z]), **options)[0], x)


def backward_change(noise: float) -> Meaning:
    """dx, según `reverse_sde`; hacia atrás, dτ es negativo."""
    return Meaning(
        bare=lambda s: backward_step(s, reverse_sde, noise=noise) - s.world.normal("x"),
        source=package(reverse_sde),
    )


def leftover(scope: Scope, square: Any) -> Any:
    """Lo que deja fuera el paso atrás, hasta el orden que se tira."""
    x = scope.world.normal("x")
    return square * (3 / 8 * x + data_score(scope.world, x) / 2)


BACKWARD: dict[str, Any] = {
    "x": lambda world: world.normal("x"),
    "∇": expression("x"),
    "q": Meaning(bare=at_start, call=lambda scope, x, tau: at_start(scope, x)),
    "β": SHORT / 0.01,
    "dτ": -0.01,
    "dW": Meaning(bare=lambda scope: 0.1 * scope.value_of(("z", 0))),
}


# --- La verosimilitud ---------------------------------------------------------------------------


def moments_at(scope: Scope, bar: Any) -> tuple[Any, Any]:
    """La media y la desviación de x cuando queda esa ᾱ, con datos normales."""
    _, m, v = scope.world.setting.data[0]
    return np.sqrt(bar) * m, np.sqrt(bar * v + 1 - bar)


def carried(scope: Scope, bar: float) -> Any:
    """Adónde lleva la EDO al dato x_0: al mismo sitio de otra campana."""
    x_start, (mean, size) = scope.world.normal("x"), moments_at(scope, bar)
    begin, width = moments_at(scope, 1.0)
    return mean + size * (x_start - begin) / width


LAST = 1.5
"""El ángulo en que acaba el schedule de `log_likelihood`."""


def likelihood(scope: Scope) -> Any:
    """p_θ(x_0), según `log_likelihood` con la red exacta."""
    world = scope.world
    if "verosimilitud" not in world.cache:
        schedule = Schedule.from_alphas_cumprod(
            torch.linspace(0, LAST, 401).double()[1:].cos() ** 2
        )

        def model(x: Tensor, index: Tensor) -> Any:
            bar = schedule.alphas_cumprod[index[0]].item()
            mean, size = moments_at(scope, bar)
            return math.sqrt(1 - bar) * (x - mean) / size**2

        denoise = Denoiser(model, Diffusion(schedule, "epsilon", clip=False))
        x_start = world.normal("x")
        world.cache["verosimilitud"] = array(log_likelihood(denoise, tensor(x_start)), x_start)
    return np.exp(world.cache["verosimilitud"])


def angular(scope: Scope) -> Any:
    """v̂, la pendiente de la EDO en el ángulo, con datos normales."""
    _, m, v = scope.world.setting.data[0]
    phi, x = scope.number("φ"), scope.number("x")
    spread = np.cos(phi) ** 2 * v + np.sin(phi) ** 2
    growth = np.sin(phi) * np.cos(phi) * (1 - v) / spread
    return -np.sin(phi) * m + growth * (x - np.cos(phi) * m)


def drift(scope: Scope) -> Any:
    """u, la pendiente de la EDO en τ, con datos normales."""
    x, tau = scope.number("x"), scope.number("τ")
    mean, size = moments_at(scope, linear_alpha_bar(tau))
    return -linear_rate(tau) / 2 * (x - (x - mean) / size**2)


# --- La divergencia -----------------------------------------------------------------------------

PLACE = (0.7, -0.4)


def field(x: Any, y: Any) -> tuple[Any, Any]:
    return x**2 + 0.5 * y, x * y**3


def jacobian(row: int, column: int) -> float:
    moved = [p + (STEP * 1j if k == column else 0) for k, p in enumerate(PLACE)]
    return float(np.imag(field(*moved)[row]) / STEP)


def torch_field(x: Tensor) -> Tensor:
    return torch.stack(field(x[:, 0], x[:, 1]), 1)


def opening(scope: Scope) -> float:
    """∇·u, según `divergence`."""
    return divergence(torch_field, torch.tensor([PLACE], dtype=torch.float64))[1].item()


def pushed(scope: Scope) -> Any:
    """Σ u_i(x + h e_i), cuya derivada en h es la divergencia."""
    h = scope.number("h")
    return field(PLACE[0] + h, PLACE[1])[0] + field(PLACE[0], PLACE[1] + h)[1]


# --- La cota ------------------------------------------------------------------------------------


def small_bound(scope: Scope) -> tuple[Any, Any]:
    """Los términos de la cota, en nats, con la varianza β̃, y los errores de x̂_0."""
    world = scope.world
    if "cota con β̃" not in world.cache:
        weights, nodes = world.law.nodes([("x", 0), ("z", 0)], {})

        def model(x: Tensor, t: Tensor) -> Any:
            return world.network(x, int(t[0]) + 1)

        found = variational_bound(
            model,
            Diffusion(world.schedule, "epsilon", "fixed_small", clip=False),
            tensor(nodes["x", 0]),
            lambda index: tensor(nodes["z", 0]),
            levels=None,
        )
        mass = torch.from_numpy(weights.ravel())[:, None]
        terms, errors = ((mass * x).sum(0).numpy() for x in (found.terms, found.x_start_errors))
        world.cache["cota con β̃"] = terms * math.log(2), errors
    return world.cache["cota con β̃"]  # type: ignore[no-any-return]


def weighed(scope: Scope) -> Any:
    """L_{t-1}, según `snr_weights`."""
    index = scope.number("t") - 1
    return snr_weights(scope.world.schedule)[index].item() * small_bound(scope)[1][index]


def remaining(scope: Scope, snr: Any) -> Any:
    """El error de la red perfecta, con datos normales."""
    _, _, v = scope.world.setting.data[0]
    return v / (1 + v * snr)


def guess(scope: Scope, snr: Any) -> Any:
    """x̂_0, lo que adivina la red perfecta con esa SNR."""
    _, m, v = scope.world.setting.data[0]
    t = scope.number("t")
    seen = scope.value_of(("x", 0)) + scope.value_of(("ε", t)) / np.sqrt(snr)
    return m + v * snr / (1 + v * snr) * (seen - m)


def noisy_bound(scope: Scope) -> Any:
    """B: los términos de la cota de los pasos que quedan por encima de t."""
    return sum(mean_bound(scope)["terms"][scope.number("t") :])


EXTREME = 2.0
"""log SNR va de este valor a su contrario."""
MANY = 400


def evenly(count: int) -> tuple[float, ...]:
    """Las β_t de un schedule con log SNR a pasos iguales."""
    bars = torch.linspace(EXTREME, -EXTREME, count, dtype=torch.float64).sigmoid()
    return tuple(Schedule.from_alphas_cumprod(bars).betas.tolist())


LONG = Setting(evenly(MANY), T=MANY, t=3, data=ONE)


def term(scope: Scope, k: int) -> Any:
    """L_{t-1} con la red perfecta: `snr_weights` por el error que queda."""
    schedule = scope.world.schedule
    return snr_weights(schedule)[k].item() * remaining(scope, schedule.snr[k].item())


def paid(scope: Scope, level: Any) -> Any:
    """B(λ): lo que se paga desde el ruido hasta λ, con la red perfecta."""
    _, _, v = scope.world.setting.data[0]
    return np.log((1 + v * np.exp(level)) / (1 + v * np.exp(-EXTREME))) / 2


def weight(level: Any) -> Any:
    return np.exp(-level / 2)


def weighted_bound(scope: Scope) -> float:
    """L_w, por cuadratura del error que queda."""

    def height(level: float) -> Any:
        snr = math.exp(level)
        return weight(level) * snr * remaining(scope, snr) / 2

    return float(quad(height, -EXTREME, EXTREME, epsabs=1e-12)[0])


def process(world: World) -> Diffusion:
    return Diffusion(world.schedule, "epsilon", "fixed_small", clip=False)


def levels(scope: Scope, k: int) -> Any:
    """λ_t, o λ_{t-1}, de todos los t > 1 a la vez."""
    back = scope.number("t") - k
    return scope.world.schedule.snr.log().numpy()[1 - back : scope.world.T - back]


def multiple(scope: Scope, level: Any) -> Any:
    """w, según `bound_multiple`, en unos niveles."""
    found = bound_multiple(process(scope.world), "uniform").numpy()
    return np.interp(-level, -levels(scope, scope.number("t")), found[1:])


FINE = 4000
INNER = slice(FINE // 5, 4 * FINE // 5, 100)
"""Los niveles en que se compara: lejos de los dos extremos."""


def cosine_times() -> Any:
    return (np.arange(1, FINE) / FINE)[INNER]


def cosine_multiple(scope: Scope, _: object) -> Any:
    """w de la predicción de v con el coseno, según `bound_multiple`."""
    angles = torch.arange(1, FINE, dtype=torch.float64) / FINE * math.pi / 2
    diffusion = Diffusion(Schedule.from_alphas_cumprod(angles.cos() ** 2), "v", clip=False)
    return bound_multiple(diffusion, "uniform")[INNER].numpy()


ONES = tuple(Setting(s.schedule, s.T, s.t, ONE, seed=s.seed) for s in SETTINGS)
CLOUD: dict[str, Any] = {
    "x": 0.3,
    "τ": TAU,
    "∇": expression("x"),
    "q": Meaning(bare=cloud),
    "β": Meaning(bare=rate, call=rate),
    "diferencias": 2e-3,
}
LEVELS: dict[str, Any] = {
    "λ_min": -EXTREME,
    "λ_max": EXTREME,
    "w": Meaning(call=lambda scope, level: weight(level)),
}
ROWS = {
    "continuo-taylor": Row(
        {
            "x_t": Meaning(bare=forward_step, source=package(q_step)),
            "x_t-1": lambda world: world.normal("x"),
            "z_t": Meaning(variable=("z", 0)),
            "τ": TAU,
            "Δτ": SHORT,
            "β": Meaning(call=rate),
            "O": Meaning(call=lambda s, x: -x * linear_rate(TAU) ** 2 / 8 * s.world.normal("x")),
        },
        tolerance=1e-8,
    ),
    "continuo-sde": Row(
        {
            "dx": Meaning(bare=sde_step, source=package(forward_sde)),
            "x": lambda world: world.normal("x"),
            "dW": lambda world: world.normal("dW"),
            "τ": 0.5 / PIECES,
            "dτ": 1 / PIECES,
            "β": Meaning(call=rate),
        }
    ),
    "continuo-abar": Row(
        {
            "ᾱ": Meaning(
                call=lambda s, tau: linear_alpha_bar(tau), source=package(linear_alpha_bar)
            ),
            "β": Meaning(call=rate),
            "τ": TAU,
        }
    ),
    "continuo-fokker-planck": Row(
        CLOUD,
        value=flowing,
        source=package(fokker_planck_step),
        worlds=SETTINGS[:2],
        tolerance=1e-3,
        slack={(0, 0): 1e-6},
    ),
    "continuo-prueba": Row(
        {
            "x": Meaning(variable=("x", 0)),
            "f": 0.8,
            "g": 0.6,
            "Δτ": 1e-6,
            "Δx": Meaning(bare=lambda s: 0.8e-6 + 0.6e-3 * s.value_of(("z", 0))),
            "h": Meaning(call=lambda scope, x: np.sin(x)),
            "h'": Meaning(bare=lambda s: np.cos(s.number("x"))),
            "h''": Meaning(bare=lambda s: -np.sin(s.number("x"))),
            "o": Meaning(call=lambda scope, x: 0.0),
        },
        tolerance=1e-5,
    ),
    "continuo-partes": Row(
        {
            **CLOUD,
            "x": Meaning(variable=("x", 0)),
            "f": Meaning(bare=lambda s: -linear_rate(TAU) / 2 * s.number("x")),
            "g": math.sqrt(linear_rate(TAU)),
            "h": Meaning(bare=lambda s: np.sin(s.number("x"))),
            "h'": Meaning(bare=lambda s: np.cos(s.number("x"))),
            "h''": Meaning(bare=lambda s: -np.sin(s.number("x"))),
        },
        worlds=SETTINGS[:2],
        tolerance=1e-6,
    ),
    "continuo-paso-atras": Row(
        {
            "x_t-1": Meaning(bare=lambda s: backward_step(s, ancestral), source=package(ancestral)),
            "x_t": lambda world: world.normal("x"),
            "q": Meaning(call=at_start),
            "β_t": SHORT,
            "α_t": 1 - SHORT,
            "O": Meaning(call=leftover),
        },
        tolerance=1e-10,
    ),
    "continuo-inversa": Row({**BACKWARD, "dx": backward_change(1.0)}),
    "continuo-familia": Row({**BACKWARD, "dx": backward_change(KAPPA), "κ": KAPPA}),
    "continuo-edo": Row(CLOUD, worlds=SETTINGS[:2], tolerance=1e-6),
    "continuo-kappa": Row(
        {
            **CLOUD,
            "q": Meaning(bare=lambda scope: cloud(scope, tau=1 - scope.number("s"))),
            "s": 1 - TAU,
            "κ": KAPPA,
        },
        worlds=SETTINGS[:2],
        tolerance=1e-6,
    ),
    "continuo-cambio": Row(
        {
            **CLOUD,
            "x": Meaning(
                bare=lambda scope: carried(scope, linear_alpha_bar(TAU)),
                call=lambda scope, tau: carried(scope, linear_alpha_bar(tau)),
            ),
            "p": Meaning(bare=cloud, call=cloud),
            "u": Meaning(bare=drift),
        },
        worlds=ONES,
        tolerance=1e-6,
    ),
    "continuo-verosimilitud": Row(
        {
            "p_θ": Meaning(form=lambda scope, inner: likelihood(scope)),
            "x_T": Meaning(bare=lambda scope: carried(scope, math.cos(LAST) ** 2)),
            "φ_T": LAST,
            "x": 0.3,
            "∇": expression("x"),
            "v̂": Meaning(bare=angular),
        },
        source=package(log_likelihood),
        worlds=ONES[:1],
        tolerance=1e-4,
    ),
    "continuo-hutchinson": Row(
        {
            "∇": expression("h"),
            "h": 0.0,
            "u": Meaning(bare=pushed),
            "J": Meaning(
                bare=lambda s: matrix([[jacobian(i, j) for j in (0, 1)] for i in (0, 1)]),
                at=lambda scope, square: jacobian(*[math.isqrt(square) - 1] * 2),
            ),
            "J_ij": jacobian(0, 1),
            "u_i": Meaning(bare=lambda scope: field(PLACE[0], scope.number("x_j"))[0]),
            "x_j": PLACE[1],
            "z": matrix([[1, 1, -1, -1], [1, -1, 1, -1]]),
            "E": Meaning(call=lambda scope, x: float(np.trace(x)) / 4),
        },
        value=opening,
        source=package(divergence),
        worlds=(Setting((0.2, 0.3), T=2, t=2),),
    ),
    "continuo-corrector": Row(
        {"δ": DELTA},
        value=lambda s: array(
            correct(
                ideal(s),
                tensor(s.value_of(("x", s.number("t")))),
                s.number("t") - 1,
                tensor(s.value_of(("z", 0))),
                DELTA,
            ),
            s.value_of(("z", 0)),
        ),
        source=package(correct),
    ),
    "continuo-snr": Row(
        {
            "L": Meaning(
                at=lambda scope, k: small_bound(scope)[0][k], source=package(variational_bound)
            )
        },
        value=weighed,
        source=package(snr_weights),
        tolerance=1e-6,
    ),
    "continuo-integral": Row(
        {
            "L": Meaning(at=term),
            "L_∞": Meaning(bare=lambda scope: paid(scope, EXTREME)),
            "SNR": Meaning(call=lambda s, tau: np.exp(EXTREME - 2 * EXTREME * tau)),
            "SNR'": Meaning(call=lambda s, tau: -2 * EXTREME * np.exp(EXTREME - 2 * EXTREME * tau)),
            "τ_1": 0,
            "S_min": math.exp(-EXTREME),
            "S_max": math.exp(EXTREME),
            "x̂_0": Meaning(
                bare=lambda s: guess(s, np.exp(EXTREME - 2 * EXTREME * s.number("τ"))), call=guess
            ),
        },
        source=package(snr_weights),
        worlds=(LONG,),
        tolerance=1e-6,
        slack={(0, 0): 2e-2},
    ),
    "continuo-multiplo": Row(
        {
            **LEVELS,
            "λ": Meaning(at=levels),
            "L_w": Meaning(bare=weighted_bound),
            "SNR": Meaning(bare=lambda s: np.exp(s.number("λ"))),
            "x̂_0": Meaning(bare=lambda s: guess(s, np.exp(s.number("λ")))),
            "peso de la pérdida en ": 1.0,
            "peso de la cota en ": lambda world: vlb_weight(process(world))[1:].numpy(),
        },
        each={1: {"w": Meaning(call=multiple)}},
        source=package(bound_multiple),
        worlds=ONES,
        tolerance=1e-7,
    ),
    "continuo-mezcla-cotas": Row(
        {
            **LEVELS,
            "w'": Meaning(call=lambda scope, level: -weight(level) / 2),
            "B": Meaning(call=paid),
            "B'": Meaning(call=lambda s, level: np.exp(level) * remaining(s, np.exp(level)) / 2),
        },
        worlds=ONES[:1],
    ),
    "continuo-cota-ruidosa": Row(  # con un solo dato y la red perfecta, no sobra nada
        {
            "x_λ": lambda world: Meaning(variable=("x", world.t)),
            "ᾱ_λ": lambda world: world.schedule.alphas_cumprod[world.t - 1].item(),
            "p_θ": lambda world: Meaning(form=density(LAWS["q" if one_point(world) else "p_θ"])),
            "L_T": Meaning(bare=lambda s: 0 if one_point(s.world) else mean_bound(s)["prior"]),
            "B": Meaning(call=lambda s, _: 0 if one_point(s.world) else noisy_bound(s)),
            "D": 1,
            "e": np.e,
        },
        worlds=(*SETTINGS, Setting(data=((1.0, 0.4, 0.0),))),
        tight={(0, 0): one_point},
    ),
    "continuo-coseno-v": Row(
        {
            "τ": cosine_times(),
            "SNR": Meaning(bare=lambda s: 1 / np.tan(np.pi * s.number("τ") / 2) ** 2),
            "λ": Meaning(bare=lambda s: -2 * np.log(np.tan(np.pi * s.number("τ") / 2))),
            "w": Meaning(call=cosine_multiple, source=package(bound_multiple)),
        },
        worlds=SETTINGS[:1],
        slack={(0, 0): 1e-2},
    ),
}

EQUIVALENT = {
    "continuo-prueba": dict.fromkeys(
        (
            "E (h'·Δx+{1}/{2}·h''·Δx^{2})+o(Δτ) → E (h'·Δx+{1}/{2}·h''·Δx^{2})-o(Δτ)",
            "E (h'·f+{1}/{2}·h''·g^{2})·Δτ+o(Δτ) → E (h'·f+{1}/{2}·h''·g^{2})·Δτ-o(Δτ)",
        ),
        "Lo que se tira no tiene signo.",
    ),
    "continuo-corrector": {
        "x_t → x_t-1": "Es el nombre de lo que se asigna; lo que se calcula está a la derecha.",
    },
}
