"""Las unidades: cada una entrena y mide lo suyo, y se repite entera si se corta.

Lo que se entrena se guarda en `build/replicas/` y continúa donde estaba; si esa carpeta se
pierde, la unidad lo vuelve a entrenar. Están en el orden en que se ejecutan.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.conditioning import null_condition
from ddpm_lit.data import load_dataset
from ddpm_lit.ddim import ddim, reconstruct
from ddpm_lit.evaluation.metrics import accuracy, features
from ddpm_lit.forward import q_sample
from ddpm_lit.guidance import classifier_free
from ddpm_lit.improved import ImportanceSampler, vlb_loss
from ddpm_lit.models.trained import Trained
from ddpm_lit.parametrisation import convert
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices
from scripts.replicas import exact
from scripts.replicas.measures import (
    SAMPLES,
    STEPS,
    bits,
    classifier,
    digits,
    draw,
    measure,
    variances_of,
)
from scripts.replicas.models import UNIFORM_SIDE, digits_model, snapshots, uniform_model
from scripts.replicas.recipes import LONGER, UNIFORM_SCHEDULES, VARIANTS
from scripts.replicas.reference import reference_rows

SEEDS = (0, 1)
DDPM_VARIANTS = ("epsilon-simple", "epsilon-vlb", "mu-vlb", "mu-mse")
MEAN_VARIANTS = ("epsilon-simple", "mu-vlb", "mu-mse")
LONG_MEAN = "mu-vlb-long"
MEAN_LEVELS = (11, 101, 401, 1000)
"""Los instantes, $t$, en que se mira el error de la media."""
IDDPM_VARIANTS = ("linear-hybrid", "cosine-simple", "cosine-hybrid")
MIN_SNR_VARIANTS = ("x-constant", "x-min-snr", "epsilon-constant")
FEW_STEPS = (10, 20, 50, 100)
SAME_STEPS = (10, 20, 50)
SAME_VARIANCE: dict[str, dict[str, tuple[int, ...]]] = {
    "linear-hybrid": dict.fromkeys(("fixed_small", "fixed_large", "learned_range"), SAME_STEPS),
    "cosine-hybrid": {"fixed_small": SAME_STEPS[-1:]},
}
"""Con qué varianzas y en cuántos pasos se generan las redes que aprenden la suya."""
LOW_NOISE = 1000
"""La relación señal-ruido desde la que un píxel casi se lee: solo falta redondearlo."""
ETAS: dict[str, dict[str, Any]] = {
    "0": {"eta": 0.0},
    "0.2": {"eta": 0.2},
    "0.5": {"eta": 0.5},
    "1": {"eta": 1.0},
    "sigma": {"sigma_hat": True},
}
LONG_ETAS = ("0", "1", "sigma")
RECONSTRUCTION_STEPS = (10, 20, 50, 100, 200, 500, 1000)
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0)
DROPOUTS = (0.1, 0.2, 0.5)
GRADIENT_BATCHES = 100
UNIFORM_PIXELS = (64, 1024, 16384)
EXACT_SAMPLES = 10_000
EMOJI = 1000

Values = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """Una unidad.

    Args:
        name: su nombre y el de su fichero.
        experiment: el artículo al que pertenece.
        seed: la semilla del modelo; las muestras llevan la misma más 100.
        run: lo que hace; devuelve los valores medidos.
        parameters: lo que conviene saber de ella, para el resultado.
    """

    name: str
    experiment: str
    seed: int | None
    run: Callable[[], Values]
    parameters: dict[str, Any] = field(default_factory=dict)


def sampling_seed(seed: int) -> int:
    """La semilla de las muestras de un modelo: otra que la de su entrenamiento."""
    return seed + 100


# --- Lo que hace cada unidad --------------------------------------------------------------------


def baseline() -> Values:
    """Lo que dan las medidas con dígitos reales que nadie ha visto."""
    held_out = digits()[1]
    assert held_out.labels is not None
    return {
        "classifier_accuracy": accuracy(classifier(), held_out),
        "held_out": measure(held_out.x, held_out.labels),
        "features": features(classifier(), held_out.x[:1]).shape[1],
    }


def quality_and_bits(variant: str, seed: int) -> Values:
    """Calidad a 50 pasos, con la varianza pequeña o la aprendida, y bits por dimensión."""
    try:
        trained = digits_model(variant, seed)
    except FloatingPointError as error:
        return {"diverged": str(error), "frechet": None, "agreement": 0.0, "bits": {}}
    sampled = variances_of(trained)[0]
    x, labels = draw(trained, seed=sampling_seed(seed), variance=sampled)
    measured: Values = dict(measure(x, labels))
    measured["bits"] = {
        name: bound.total if math.isfinite(bound.total) else None
        for name, bound in bits(trained, variances_of(trained)).items()
    }
    return measured


def full_process(variant: str, seed: int) -> Values:
    """Calidad con los mil pasos y la varianza grande, como en el artículo."""
    try:
        trained = digits_model(variant, seed)
    except FloatingPointError as error:
        return {"diverged": str(error), "frechet": None}
    x, labels = draw(
        trained, seed=sampling_seed(seed), steps=1000, count=SAMPLES // 2, variance="fixed_large"
    )
    return dict(measure(x, labels))


def mean_error(variants: Sequence[str], seed: int) -> Values:
    r"""Error cuadrático de la media del paso, $\tilde\mu_t$, y el de dejar $x_t$ como está."""
    held_out = digits()[1]
    batch = held_out.batch(range(len(held_out)))
    errors: dict[str, dict[str, float]] = {name: {} for name in (*variants, "copy")}
    for level in MEAN_LEVELS:
        t = torch.full((len(held_out),), level - 1)
        noise = torch.randn(held_out.x.shape, generator=torch.Generator().manual_seed(level))
        for name in variants:
            trained = digits_model(name, seed)
            schedule = trained.schedule
            x_t = q_sample(schedule, held_out.x, t, noise)
            target = q_posterior(schedule, held_out.x, x_t, t).mean
            with torch.no_grad():
                output = trained.model(x_t, t, class_labels=batch["class_labels"])
            prediction = trained.recipe.diffusion.prediction
            mean = convert(schedule, output, x_t, t, prediction, "posterior_mean")
            errors[name][str(level)] = float((mean - target).square().mean())
            errors["copy"][str(level)] = float((x_t - target).square().mean())
    return errors


def few_steps(seed: int) -> Values:
    """Pocos pasos, con cada varianza."""
    cases = {
        "fixed_small": "cosine-simple",
        "fixed_large": "cosine-simple",
        "learned_range": "cosine-hybrid",
    }
    return {
        variance: {
            str(steps): measure(
                *draw(
                    digits_model(variant, seed),
                    seed=sampling_seed(seed),
                    steps=steps,
                    variance=variance,
                )
            )
            for steps in FEW_STEPS
        }
        for variance, variant in cases.items()
    }


def every_variance(variant: str, seed: int) -> Values:
    """Una misma red que aprende su varianza, generada también con las fijas."""
    trained = digits_model(variant, seed)
    return {
        variance: {str(steps): _with_variance(trained, variance, seed, steps) for steps in counts}
        for variance, counts in SAME_VARIANCE[variant].items()
    }


def _with_variance(trained: Trained, variance: str, seed: int, steps: int) -> dict[str, float]:
    channels = trained.shape[0]

    def mean_only(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        output: Tensor = trained.model(x_t, t, **condition)
        return output[:, :channels]

    model = None if variance in variances_of(trained) else mean_only
    return measure(
        *draw(trained, seed=sampling_seed(seed), steps=steps, variance=variance, model=model)
    )


def where_bits_go(variant: str, seed: int) -> Values:
    r"""Los bits de una red que aprende su varianza: $L_0$, los términos de poco ruido y los demás.

    `epsilon_error_t` es el error cuadrático medio de $\epsilon$ visto desde $x_t$: el de
    $\hat x_0$, ya recortado, por $\mathrm{SNR}_t$.
    """
    trained = digits_model(variant, seed)
    (bound,) = bits(trained, variances_of(trained)).values()
    snr = trained.schedule.snr
    low = snr[1:] > LOW_NOISE
    errors = bound.x_start_errors * snr
    return {
        "total": bound.total,
        "decoder": float(bound.terms[0]),
        "low_noise": float(bound.terms[1:][low].sum()),
        "low_noise_terms": int(low.sum()),
        "rest": bound.prior + float(bound.terms[1:][~low].sum()),
        "epsilon_error_1": float(errors[0]),
        "epsilon_error_2": float(errors[1]),
    }


def gradient_noise(variant: str, seed: int) -> Values:
    r"""El ruido del gradiente de $L_{vlb}$: con $t$ uniforme y con muestreo por importancia.

    Es la traza de la covarianza de los gradientes de lotes de 128, en un mismo modelo y sin
    moverlo. El gradiente medio es el mismo con los dos repartos: se pueden comparar tal cual.
    """
    trained = digits_model(variant, seed)
    model = copy.deepcopy(trained.model).requires_grad_(True)
    generator = torch.Generator().manual_seed(sampling_seed(seed))
    importance = ImportanceSampler(len(trained.schedule))
    for _ in range(importance.losses.shape[1]):
        t = torch.arange(len(trained.schedule))
        with torch.no_grad():
            importance.update(t, _vlb(model, trained, t, generator))
    uniform = torch.full_like(importance.probabilities(), 1 / len(trained.schedule))
    measured: Values = {}
    for name, probabilities in (("uniform", uniform), ("importance", importance.probabilities())):
        total: Tensor | None = None
        squares, losses = 0.0, []
        for _ in range(GRADIENT_BATCHES):
            t = torch.multinomial(probabilities, 128, replacement=True, generator=generator)
            weights = 1 / (len(trained.schedule) * probabilities[t])
            loss = (weights.float() * _vlb(model, trained, t, generator)).mean()
            parts = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            gradient = torch.cat([part.flatten() for part in parts if part is not None]).double()
            total = gradient if total is None else total + gradient
            squares += float(gradient.square().sum())
            losses.append(float(loss.detach()))
        assert total is not None
        n = GRADIENT_BATCHES
        of_mean = float((total / n).square().sum())
        measured[name] = {
            "covariance": (squares - n * of_mean) / (n - 1),
            "loss": sum(losses) / n,
            "loss_deviation": float(torch.tensor(losses).std()),
        }
    return measured


def _vlb(model: torch.nn.Module, trained: Trained, t: Tensor, generator: torch.Generator) -> Tensor:
    train_set = digits()[0]
    assert train_set.labels is not None
    rows = torch.randint(len(train_set), (len(t),), generator=generator)
    x = train_set.x[rows]
    noise = torch.randn(x.shape, generator=generator)
    output = model(q_sample(trained.schedule, x, t, noise), t, class_labels=train_set.labels[rows])
    return vlb_loss(trained.diffusion, output, x, noise, t, levels=train_set.levels)


def ddim_grid(variant: str, etas: Sequence[str], seed: int) -> Values:
    """Varios η, con pocos pasos."""
    return {
        eta: {str(steps): _ddim(variant, eta, seed, steps) for steps in FEW_STEPS} for eta in etas
    }


def ddim_full(eta: str, seed: int) -> Values:
    """Un η, con los mil pasos."""
    return {eta: {"1000": _ddim("epsilon-simple", eta, seed, 1000)}}


def _ddim(variant: str, eta: str, seed: int, steps: int) -> dict[str, float]:
    trained = digits_model(variant, seed)
    sampler = partial(ddim, **ETAS[eta])
    return measure(*draw(trained, seed=sampling_seed(seed), steps=steps, sampler=sampler))


def ddim_reconstruction(seed: int) -> Values:
    """Error cuadrático medio, en [0, 1], de ir de los datos al ruido y volver."""
    trained = digits_model("epsilon-simple", seed)
    held_out = digits()[1]
    assert held_out.labels is not None
    x, labels = held_out.x[:100], held_out.labels[:100]
    errors: dict[str, float] = {}
    for steps in RECONSTRUCTION_STEPS:
        diffusion = replace(trained.diffusion, clip=False).respaced(steps)
        denoise = Denoiser(trained.model, diffusion, {"class_labels": labels})
        errors[str(steps)] = float((reconstruct(denoise, x) - x).square().mean()) / 4
    return {"error": errors}


def guidance(p: float, seed: int) -> Values:
    """Un modelo entrenado sin condición una parte `p` de las veces, guiado con cada peso."""
    trained = digits_model(f"guidance-{p}", seed)
    null = partial(null_condition, num_classes=10)
    return {
        f"{w:g}": measure(
            *draw(
                trained,
                seed=sampling_seed(seed),
                model=classifier_free(trained.model, w, null=null),
                variance="fixed_small",
            )
        )
        for w in WEIGHTS
    }


def learning_curve(variant: str, seed: int) -> Values:
    """La calidad en varios momentos de un mismo entrenamiento."""
    return {
        str(step): measure(*draw(trained, seed=sampling_seed(seed), variance="fixed_small"))
        for step, trained in snapshots(variant, seed).items()
    }


def uniform_exact(seed: int) -> Values:
    """Imágenes lisas con la red perfecta, según cuántos píxeles tengan, y con los pasos de siempre.

    `few_steps` son los pasos y el tamaño con que se mide la red entrenada.
    """
    values: Values = {}
    for name, options in UNIFORM_SCHEDULES.items():
        schedule = make_schedule(options["schedule"], 1000, **options.get("options", {}))
        values[name] = {
            str(pixels): _exact_luminance(schedule, 1000, pixels, seed) for pixels in UNIFORM_PIXELS
        }
        values[name]["few_steps"] = _exact_luminance(schedule, STEPS, UNIFORM_SIDE**2, seed)
    return values


def _exact_luminance(schedule: Schedule, steps: int, pixels: int, seed: int) -> dict[str, float]:
    like = torch.zeros(EXACT_SAMPLES, 1, dtype=torch.float64)
    taken = respace(schedule, spaced_indices(len(schedule), steps))
    made = exact.draw(exact.uniform_model(schedule, pixels), taken, like, seed)[:, 0]
    return exact.luminance_report(made / math.sqrt(pixels))


def uniform_network(name: str, seed: int) -> Values:
    """Imágenes lisas con una red entrenada."""
    trained = uniform_model(name, seed)
    x = trained.sample(SAMPLES, seed=sampling_seed(seed), steps=STEPS, batch_size=SAMPLES)
    luminance = x.mean(dim=(1, 2, 3))
    return exact.luminance_report(luminance) | {"luminance": _rounded(luminance)}


def emoji_exact() -> Values:
    """Los emojis, con fondo blanco, y la red perfecta para un millar de ellos."""
    dataset = load_dataset("openmoji", size=32)
    chosen = torch.linspace(0, len(dataset) - 1, EMOJI).round().long()
    data = dataset.x[chosen]
    luminance = data.mean(dim=(1, 2, 3))
    bright = float(luminance.quantile(0.75))
    values: Values = {"data": {"luminance": float(luminance.mean()), "bright": 0.25}}
    for name, options in UNIFORM_SCHEDULES.items():
        schedule = make_schedule(options["schedule"], 1000, **options.get("options", {}))
        short = respace(schedule, spaced_indices(1000, STEPS))
        model = exact.empirical_model(schedule, data)
        made = torch.cat(
            [exact.draw(model, short, data[:250], seed).mean(dim=(1, 2, 3)) for seed in range(4)]
        )
        values[name] = {
            "luminance": float(made.mean()),
            "bright": float((made >= bright).double().mean()),
        }
    return values


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


# --- La lista -------------------------------------------------------------------------------------


def units() -> Iterator[Unit]:
    """Todas las unidades, en el orden en que se ejecutan."""
    sampled = {"samples": SAMPLES, "steps": STEPS}
    yield Unit("baseline", "baseline", None, baseline)
    yield Unit("reference", "baseline", None, reference_rows)
    for seed in SEEDS:
        for variant in DDPM_VARIANTS:
            yield _quality("ddpm", variant, seed)
    for seed in SEEDS:
        run = partial(mean_error, MEAN_VARIANTS, seed)
        yield Unit(f"ddpm-mean-s{seed}", "ddpm", seed, run)
    run = partial(uniform_exact, 0)
    yield Unit("zero-snr-exact", "zero-snr", None, run, {"samples": EXACT_SAMPLES})
    yield Unit("zero-snr-emoji", "zero-snr", None, emoji_exact, sampled | {"data": EMOJI})
    for seed in SEEDS:
        for name in UNIFORM_SCHEDULES:
            run = partial(uniform_network, name, seed)
            yield Unit(f"zero-snr-{name}-s{seed}", "zero-snr", seed, run, sampled)
    for seed in SEEDS:
        for variant in MIN_SNR_VARIANTS:
            run = partial(learning_curve, variant, seed)
            yield Unit(f"min-snr-{variant}-s{seed}", "min-snr", seed, run, sampled)
    for seed in SEEDS:
        run = partial(ddim_grid, "epsilon-simple", tuple(ETAS), seed)
        yield Unit(f"ddim-grid-s{seed}", "ddim", seed, run, sampled)
        run = partial(ddim_reconstruction, seed)
        yield Unit(f"ddim-reconstruction-s{seed}", "ddim", seed, run, {"data": 100})
    for seed in SEEDS:
        for variant in IDDPM_VARIANTS:
            yield _quality("iddpm", variant, seed)
        yield Unit(f"iddpm-steps-s{seed}", "iddpm", seed, partial(few_steps, seed), sampled)
        run = partial(gradient_noise, "cosine-hybrid", seed)
        yield Unit(f"iddpm-gradient-s{seed}", "iddpm", seed, run, {"batches": GRADIENT_BATCHES})
    for seed in SEEDS:
        for p in DROPOUTS:
            run = partial(guidance, p, seed)
            yield Unit(f"cfg-{p}-s{seed}", "cfg", seed, run, sampled | {"p_uncond": p})
    for eta in ("0", "1", "sigma"):
        run = partial(ddim_full, eta, 0)
        yield Unit(f"ddim-full-{eta}-s0", "ddim", 0, run, {"samples": SAMPLES, "steps": 1000})
    for variant in DDPM_VARIANTS:
        run = partial(full_process, variant, 0)
        parameters = {"samples": SAMPLES // 2, "steps": 1000}
        yield Unit(f"ddpm-full-{variant}-s0", "ddpm", 0, run, parameters)
    for variant in DDPM_VARIANTS:
        yield _quality("ddpm", variant, 2)
    # Lo que sigue se pensó después de ver lo anterior, para entenderlo; no decide ningún veredicto.
    for variant in LONGER:
        yield _quality("long", f"{variant}-long", 0)
    run = partial(mean_error, (LONG_MEAN,), 0)
    yield Unit("ddpm-mean-long-s0", "ddpm", 0, run)
    for seed in SEEDS:
        run = partial(ddim_grid, "epsilon-simple-long", LONG_ETAS, seed)
        yield Unit(f"ddim-long-s{seed}", "ddim", seed, run, sampled)

    # Lo que sigue corrige el diseño de lo anterior, y sí decide: la misma varianza en las dos redes
    # que se comparan, el gradiente con el schedule lineal y otra semilla de las redes exactas.
    for seed in SEEDS:
        run = partial(gradient_noise, "linear-hybrid", seed)
        parameters = {"batches": GRADIENT_BATCHES}
        yield Unit(f"iddpm-gradient-linear-s{seed}", "iddpm", seed, run, parameters)
        for variant in SAME_VARIANCE:
            run = partial(every_variance, variant, seed)
            yield Unit(f"iddpm-variances-{variant}-s{seed}", "iddpm", seed, run, sampled)
    for variant in SAME_VARIANCE:
        run = partial(where_bits_go, variant, 0)
        yield Unit(f"iddpm-bits-{variant}-s0", "iddpm", 0, run)
    run = partial(uniform_exact, 1)
    yield Unit("zero-snr-exact-s1", "zero-snr", 1, run, {"samples": EXACT_SAMPLES})


def _quality(experiment: str, variant: str, seed: int) -> Unit:
    run = partial(quality_and_bits, variant, seed)
    parameters = {"samples": SAMPLES, "steps": STEPS, "training": VARIANTS[variant]}
    return Unit(f"{experiment}-{variant}-s{seed}", experiment, seed, run, parameters)
