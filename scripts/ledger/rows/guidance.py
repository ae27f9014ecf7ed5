"""CFG: Classifier-free guidance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, Model, Sampler, p_mean_variance
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.guidance import (
    classifier_free,
    classifier_guided,
    dynamic_threshold,
    guided_mean,
    log_prob_gradient,
    rescale_guidance,
)
from ddpm_lit.sampling import ancestral
from ddpm_lit.scheduler import Schedule
from scripts.ledger.check import Row
from scripts.ledger.expectations import variables
from scripts.ledger.notation import LAWS, array, density, package, reverse_part, tensor
from scripts.ledger.rows.improved import moments
from scripts.ledger.scope import Meaning, Scope, Unreadable
from scripts.ledger.world import CLASS, MIXTURE, OTHER, SETTINGS, Setting, World, affine

WEIGHT, SCALE = 0.7, 1.6

# --- La red perfecta de una mezcla --------------------------------------------------------------


def ideal(world: World, x: Any, t: int, label: Any = None) -> Any:
    """E[ε | x_t] o E[ε | x_t, c], según la ley de la cadena."""
    given = {("x", t): x} | ({} if label is None else {CLASS: label})
    return moments(world, ("ε", t), given)[0]


def ideal_here(scope: Scope, x: Any, t: Any, label: Any = None) -> Any:
    return ideal(scope.world, x, int(t), label)


def labelled(world: World) -> Model:
    """La misma red, como la pide el paquete: la etiqueta -1 es no decir nada."""

    def model(x: Tensor, index: Tensor, label: Tensor) -> Any:
        t, labels = int(index[0]) + 1, label[:, None].numpy()
        with_label = ideal(world, x.numpy(), t, np.maximum(labels, 0))
        return torch.from_numpy(np.where(labels < 0, ideal(world, x.numpy(), t), with_label))

    return model


def null(condition: Any) -> Any:
    return {"label": torch.full_like(condition["label"], -1)}


def guided(scope: Scope, x: Any = None, *_: object, **options: Any) -> Any:
    """La respuesta guiada, según `classifier_free`."""
    world, t = scope.world, scope.number("t")
    x = scope.value_of(("x", t)) if x is None else x
    label = torch.full((x.size,), world.component)
    weight = None if "s" in options else WEIGHT
    model = classifier_free(labelled(world), weight, null=null, **options)
    noisy = tensor(x)
    return array(model(noisy, world.steps(t, len(noisy)), label=label), x)


def guided_x_start(scope: Scope) -> Any:
    x_t = scope.value_of(("x", scope.number("t")))
    return reverse_part(scope.world, "x_start", x_t, guided(scope), scope.number("t"))


def weight_in_interval(scope: Scope) -> Any:
    """w_t, despejada de lo que da `classifier_free` con un intervalo de índices."""
    x, t = scope.value_of(("x", scope.number("t"))), scope.number("t")
    with_label, without = ideal_here(scope, x, t, scope.world.component), ideal_here(scope, x, t)
    return (guided(scope, interval=INTERVAL) - with_label) / (with_label - without)


INTERVAL = (1, 2)

# --- El clasificador perfecto -------------------------------------------------------------------


def log_prob(world: World) -> Callable[..., Tensor]:
    """log p(y | x_t), derivable."""

    def function(x: Tensor, index: Tensor, **_: Tensor) -> Any:
        vector = torch.from_numpy(world.law.vectors["x", int(index[0]) + 1][0])
        means = torch.from_numpy(world.law.means) @ vector
        variances = torch.from_numpy(world.law.covariances) @ vector @ vector
        logits = torch.tensor(world.law.weights, dtype=torch.float64).log() - variances.log() / 2
        logits = logits - (x - means) ** 2 / (2 * variances)
        return logits.log_softmax(1)[:, world.component]

    return function


def with_classifier(scope: Scope) -> Any:
    """ε̂, según `classifier_guided`."""
    world, t = scope.world, scope.number("t")
    x_t = scope.value_of(("x", t))

    def model(x: Tensor, index: Tensor) -> Any:
        return torch.from_numpy(ideal(world, x.numpy(), t))

    model = classifier_guided(model, log_prob(world), world.diffusion, scale=SCALE)
    return array(model(tensor(x_t), world.steps(t, x_t.size)), x_t)


def shifted_mean(scope: Scope) -> Any:
    """μ̂, según `guided_mean` y `log_prob_gradient`."""
    world, t = scope.world, scope.number("t")
    mean = world.normal("μ")
    start = tensor(mean)
    gradient = log_prob_gradient(log_prob(world), start, world.steps(t, len(start)))
    variance = torch.tensor(world.number("Σ"), dtype=torch.float64)
    return array(guided_mean(start, variance, gradient, SCALE), mean)


# --- Un píxel con dos normales: N(0, 1), y N(m, v) con la condición -----------------------------

MEAN, VARIANCES = 0.8, (0.3, 0.5, 0.25)


def variance(world: World) -> float:
    return VARIANCES[world.setting.seed]


def two_normals(schedule: Schedule, v: float) -> Model:
    """E[ε | x_t] con cada ley: la recta de regresión de ε sobre x_t."""

    def model(x: Tensor, index: Tensor, label: Tensor) -> Any:
        bar = schedule.at("alphas_cumprod", index, x)
        known = (label >= 0)[:, None]
        mean = torch.where(known, MEAN, torch.zeros_like(x))
        spread = torch.where(known, v, torch.ones_like(x))
        slope = (1 - bar).sqrt() / (bar * spread + 1 - bar)
        return slope * (x - bar.sqrt() * mean)

    return classifier_free(model, WEIGHT, null=null)


def score(world: World, u: float) -> tuple[float, float]:
    """S(y) en el nivel u, pendiente y término independiente, según `classifier_free`."""
    bar = 1 / (1 + u)
    schedule = Schedule.from_alphas_cumprod([bar])
    model = two_normals(schedule, variance(world))

    def function(y: Tensor) -> Any:
        x, zeros = bar**0.5 * y, torch.zeros(len(y), dtype=torch.int64)
        return -(bar**0.5) * model(x, zeros, label=zeros) / (1 - bar) ** 0.5

    slope, shift = affine(function, 1)
    return slope, shift


def tilted(part: str, level: float | None = None) -> Meaning:
    """ṽ(u) y m̃(u): la varianza y la media de la normal cuyo score es S."""

    def call(scope: Scope, u: Any) -> float:
        slope, shift = score(scope.world, float(u) if level is None else level)
        return -1 / slope if part == "variance" else -shift / slope

    return Meaning(
        call=call,
        bare=lambda scope: call(scope, scope.number("u")),
        source=package(classifier_free),
    )


def final(sampler: Sampler) -> Callable[[World], dict[str, float]]:
    """Media y varianza con que acaba un sampler guiado, con pasos muy pequeños."""

    def found(world: World) -> dict[str, float]:
        if sampler not in world.cache:
            grid = np.geomspace(1e-5, 1e5, 3000)
            schedule = Schedule.from_alphas_cumprod((1 / (1 + grid)).tolist())
            diffusion = Diffusion(schedule, "epsilon", "fixed_large", clip=False)
            zeros = torch.zeros(3, dtype=torch.int64)
            denoise = Denoiser(two_normals(schedule, variance(world)), diffusion, {"label": zeros})
            column = torch.zeros(3, 1, dtype=torch.float64)
            x, z = column.clone(), column.clone()
            x[1], z[2] = 1, 1
            mean, spread = 0.0, 1.0
            for index in reversed(range(len(grid))):
                at_zero, at_one, noise = sampler(denoise, x, index, iter([z]), None)[0].flatten()
                slope = (at_one - at_zero).item()
                mean = slope * mean + at_zero.item()
                spread = slope**2 * spread + (noise - at_zero).item() ** 2
            world.cache[sampler] = {"M": mean, "V": spread}
        return world.cache[sampler]  # type: ignore[no-any-return]

    return found


def solution(name: str) -> Meaning:
    """M(u) o V(u): una solución de (cfg-recursion), hasta primer orden alrededor de u."""

    def bare(scope: Scope) -> Any:
        world, u = scope.world, scope.number("u")
        start, here = world.number("u"), world.number(name)
        slope, shift = score(world, start)
        motion = -slope * here - shift if name == "M" else -2 * slope * here - 1
        return here + motion * (u - start)

    return Meaning(bare=bare)


def one_step(name: str) -> Meaning:
    """M(u) o V(u), a un paso de `ancestral` de un nivel: lo que da, o de dónde vino."""

    def bare(scope: Scope) -> Any:
        world, u = scope.world, scope.number("u")
        start, here = world.number("u"), world.number(name)
        if u == start:
            return here
        low, high = sorted((u, start))
        schedule = Schedule.from_alphas_cumprod([1 / (1 + low), 1 / (1 + high)])
        diffusion = Diffusion(schedule, "epsilon", "fixed_large", clip=False)
        zeros = torch.zeros(3, dtype=torch.int64)
        denoise = Denoiser(two_normals(schedule, variance(world)), diffusion, {"label": zeros})
        x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
        noise = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
        step = ancestral(denoise, x / (1 + high) ** 0.5, 1, iter([noise]))[0]
        shift, end, spread = ((1 + low) ** 0.5 * step).flatten().tolist()
        slope, extra = (
            (end - shift, shift) if name == "M" else ((end - shift) ** 2, (spread - shift) ** 2)
        )
        return slope * here + extra if u < start else (here - extra) / slope

    return Meaning(bare=bare, source=package(ancestral))


# --- Las coordenadas cómodas --------------------------------------------------------------------


def coordinate(scope: Scope, t: int) -> Any:
    """y_t = x_t/√ᾱ_t."""
    return scope.value_of(("x", t)) / scope.world.schedule.sqrt_alphas_cumprod[t - 1].item()


def noise_variance(scope: Scope, t: int) -> float:
    """u_t, la varianza del ruido en esas coordenadas."""
    if t < 1:
        raise IndexError(f"No hay ningún paso {t}.")
    return 1 / scope.world.schedule.snr[t - 1].item()


def moved(scope: Scope) -> Any:
    """y_{t-1}, según `ancestral`, con el score S."""
    world, t = scope.world, scope.number("t")
    x_t, z = scope.value_of(("x", t)), scope.value_of(("z", 0))
    bar, previous = (world.schedule.alphas_cumprod[k - 1].item() for k in (t, t - 1))

    def model(x: Tensor, index: Tensor) -> Any:
        return -((1 - bar) ** 0.5) * any_score(x / bar**0.5) / bar**0.5

    step = ancestral(Denoiser(model, world.diffusion), tensor(x_t), t - 1, iter([tensor(z)]))
    return array(step[0], x_t) / previous**0.5


def any_score(y: Any) -> Any:
    return 0.3 - 0.8 * y - 0.1 * y**3


# --- Apagar la condición, el umbral y el reescalado ---------------------------------------------

DROP = 0.3
# Las dos últimas clases son las dos primeras, con la condición apagada.
DROPPED = tuple((w * p, m, v) for p in (1 - DROP, DROP) for w, m, v in MIXTURE)


def labelled_network(scope: Scope, x: Any, t: Any, label: Any) -> Any:
    return (0.3 + 0.1 * np.real(label)) * x - 0.05 * np.real(label)


def dropped_label(scope: Scope) -> Any:
    kind = np.real(scope.value_of(CLASS))
    return np.where(kind < 2, kind, 9)


# Con dos ejemplos, las cuatro maneras de apagarlos: las clases son 00, 01, 10 y 11.
COINS = tuple((a * b, 0.0, 1.0) for a in (1 - DROP, DROP) for b in (1 - DROP, DROP))


def fraction_off(scope: Scope) -> Any:
    kind = np.real(scope.value_of(CLASS))
    return (kind // 2 + kind % 2) / 2


def all_off(scope: Scope) -> Any:
    return np.real(scope.value_of(CLASS)) // 2


def integrated(scope: Scope, inner: Any) -> Any:
    """p̃_t(x_t) salvo un factor: la exponencial de la integral del score guiado, desde 0."""
    world, t = scope.world, scope.number("t")
    if variables(scope, [inner.children[0].children[0]]) != [("x", t)]:
        raise Unreadable("p̃_t es una densidad de x_t.")
    x_t = scope.value_of(("x", t))
    points, mass = np.polynomial.legendre.leggauss(60)
    grid = (points[:, None, None] + 1) / 2 * x_t
    spread = world.schedule.sqrt_one_minus_alphas_cumprod[t - 1].item()
    values = np.stack([-guided(scope, x) / spread for x in grid])
    return np.exp((mass[:, None, None] / 2 * x_t * values).sum(0))


def threshold(scope: Scope) -> Any:
    x = 2 * scope.world.normal("x̂")
    return array(dynamic_threshold(0.8)(tensor(x)), x)


def quantile(world: World) -> Any:
    return np.quantile(np.abs(2 * world.normal("x̂")), 0.8, axis=0, keepdims=True)


def rescaled(scope: Scope) -> Any:
    """La respuesta guiada, según `rescale_guidance`."""
    world, t = scope.world, scope.number("t")
    x = world.normal("guiada")
    with_label = world.network(scope.value_of(("x", t)), t, world.component)
    return array(rescale_guidance(tensor(x), tensor(with_label), 0.4), x)


def sharpened(scope: Scope) -> Any:
    """p(y | x_t)^s, normalizada: el softmax de s veces los logaritmos."""
    world, x_t = scope.world, scope.value_of(("x", scope.number("t")))
    classes = range(len(world.setting.data))
    known = {("x", world.t): x_t}
    logits = [np.log(world.law.density({CLASS: k}, known)) for k in classes]
    return torch.softmax(torch.tensor(np.array(logits)) * SCALE, 0)[world.component].numpy()


IDEAL = Meaning(call=ideal_here, arity=(2, 3))
WIDE = tuple(Setting(s.schedule, s.T, s.t, pixels=5, seed=s.seed) for s in SETTINGS)
MIXED = tuple(Setting(s.schedule, s.T, s.t, MIXTURE, seed=s.seed) for s in SETTINGS)
NORMALS: dict[str, Any] = {"m": MEAN, "v": variance, "w": WEIGHT}
TILTED = {**NORMALS, "ṽ": tilted("variance"), "m̃": tilted("mean")}
CLASSIFIER = {
    "ε̂": Meaning(bare=with_classifier, source=package(classifier_guided)),
    "s": SCALE,
}
NAMES: dict[str, Any] = {
    "p": Meaning(form=density(LAWS["q"])),
    "y": Meaning(variable=CLASS),
    "w": WEIGHT,
    "ε_θ": IDEAL,
    "u": Meaning(at=noise_variance, bare=lambda scope: scope.world.number("u")),
}
ROWS = {
    "cfg-bayes": Row(worlds=MIXED),
    "cfg-epsilon-clasificador": Row(CLASSIFIER, worlds=MIXED),
    "cfg-potencia": Row(
        {"s": SCALE, "y'": Meaning(variable=OTHER)}, value=sharpened, approx=2e-3, worlds=MIXED
    ),
    "cfg-media": Row(
        {
            "μ̂": Meaning(bare=shifted_mean, source=package(guided_mean)),
            "x": lambda world: Meaning(variable=("x", world.t)),
            "μ": lambda world: world.normal("μ"),
            "s": SCALE,
        },
        worlds=MIXED,
    ),
    "cfg-dos-formas": Row(
        {
            **CLASSIFIER,
            "ε_θ": Meaning(
                bare=lambda s: ideal_here(s, s.value_of(("x", s.number("t"))), s.number("t"))
            ),
            "μ_θ": Meaning(
                call=lambda scope, x, output: reverse_part(
                    scope.world, "mean", x, output, scope.number("t")
                ),
                source=package(p_mean_variance),
            ),
        },
        worlds=MIXED,
    ),
    "cfg-implicito": Row(worlds=MIXED),
    "cfg-sustitucion": Row(worlds=MIXED),
    "cfg-epsilon": Row(
        {"ε̃_θ": Meaning(call=guided, source=package(classifier_free))}, worlds=MIXED
    ),
    "cfg-afin": Row(
        {
            "x̃_0": Meaning(bare=guided_x_start, source=package(classifier_free)),
            "x̂_0": Meaning(
                call=lambda scope, x, t, *label: reverse_part(
                    scope.world, "x_start", x, ideal_here(scope, x, t, *label), int(t)
                )
            ),
        },
        worlds=MIXED,
    ),
    "cfg-apagada": Row(
        {
            "ε_θ": Meaning(call=labelled_network),
            "c̃": Meaning(bare=dropped_label),
            "c": Meaning(bare=lambda scope: np.real(scope.value_of(CLASS)) % 2),
            "∅": 9,
            "p": DROP,
        },
        worlds=tuple(Setting(s.schedule, s.T, s.t, DROPPED, seed=s.seed) for s in SETTINGS),
    ),
    "cfg-lote": Row(
        {"p": DROP, "B": 2},
        each={0: {"f": Meaning(bare=fraction_off)}, 1: {"f": Meaning(bare=all_off)}},
        worlds=(Setting(data=COINS),),
    ),
    "cfg-convenios": Row(
        value=lambda scope: guided(scope, s=1 + WEIGHT),
        source=package(classifier_free),
        worlds=MIXED,
    ),
    "cfg-ley": Row({"p̃_t": Meaning(form=integrated)}, worlds=MIXED),
    "cfg-coordenadas": Row(
        {
            "y": Meaning(at=coordinate),
            "y_t-1": Meaning(bare=moved, source=package(ancestral)),
            "S": Meaning(
                bare=lambda scope: any_score(coordinate(scope, scope.number("t"))),
                call=lambda scope, y: any_score(y),
            ),
            "Δ": Meaning(
                bare=lambda s: (
                    noise_variance(s, s.number("t")) - noise_variance(s, s.number("t") - 1)
                )
            ),
        }
    ),
    "cfg-inclinada": Row(
        {
            **TILTED,
            "y": lambda world: world.number("y"),
            "S": Meaning(
                call=lambda s, y: np.polyval(score(s.world, s.world.number("u")), y),
                source=package(classifier_free),
            ),
        }
    ),
    "cfg-inclinada-final": Row(
        {
            **NORMALS,
            "ṽ_0": Meaning(bare=lambda s: tilted("variance").applied(s, 1e-7)),
            "m̃_0": Meaning(bare=lambda s: tilted("mean").applied(s, 1e-7)),
        },
        source=package(classifier_free),
        tolerance=1e-5,
    ),
    "cfg-no-conmuta": Row(
        {**TILTED, "ṽ_0": Meaning(bare=lambda s: tilted("variance").applied(s, 1e-7))},
        tolerance=1e-5,
    ),
    "cfg-recursion": Row(
        {**TILTED, "M": one_step("M"), "V": one_step("V"), "diferencias": 1e-5}, tolerance=1e-3
    ),
    "cfg-factor": Row(NORMALS),
    "cfg-integrar": Row({**TILTED, "M": solution("M"), "V": solution("V")}, uses=("cfg-factor",)),
    "cfg-final-ddpm": Row(
        {
            **NORMALS,
            "M_0": lambda world: final(ancestral)(world)["M"],
            "V_0": lambda world: final(ancestral)(world)["V"],
        },
        source=package(ancestral),
        tolerance=1e-2,
    ),
    "cfg-final-ddim": Row(
        {**NORMALS, "V^DDIM_0": lambda world: final(ddim)(world)["V"]},
        uses=("cfg-factor",),
        source=package(ddim),
        tolerance=1e-2,
    ),
    "cfg-reescalada": Row(
        {
            "ε_θ": Meaning(call=lambda scope, x, t, label: scope.world.network(x, t, label)),
            "ε̃_θ": Meaning(bare=lambda scope: scope.world.normal("guiada")),
            "φ": 0.4,
        },
        value=rescaled,
        source=package(rescale_guidance),
        worlds=WIDE,
    ),
    "cfg-umbral": Row(
        {"x̂_0": lambda world: 2 * world.normal("x̂"), "q": quantile},
        value=threshold,
        source=package(dynamic_threshold),
        worlds=WIDE,
    ),
    "cfg-intervalo": Row(
        {
            "w_t": Meaning(bare=weight_in_interval, source=package(classifier_free)),
            "t_min": INTERVAL[0] + 1,
            "t_max": INTERVAL[1] + 1,
        },
        worlds=tuple(Setting(t=t) for t in (1, 2, 3, 4)),
    ),
}
