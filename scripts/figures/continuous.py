"""El límite continuo: caminos y densidades, verosimilitud, predictor-corrector y la cota."""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import Denoiser, Sampler
from ddpm_lit.continuous import (
    EveryBeta,
    bound_multiple,
    fokker_planck_step,
    forward_sde,
    linear_rate,
    log_likelihood,
    predictor_corrector,
    reverse_sde,
    snr_weights,
)
from ddpm_lit.data import load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.ideal import ideal_model, ideal_x_start
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule
from scripts.figures.ddim import mixture_epsilon
from scripts.figures.mixture import MEANS, STDS, WEIGHTS, density
from scripts.figures.style import Palette, canvas, comma, halo, log_axis, show_points

INPUTS = ()
SEED = 0
LINEAR = make_schedule("linear", 1000)
LIMIT = 2.2

# --- Un camino, troceado cada vez más fino --------------------------------------------------------

COUNTS = (8, 40, 1000)
STARTS = torch.tensor([0.9, -0.5], dtype=torch.float64)


@lru_cache
def wiener(count: int, walkers: int, seed: int) -> Tensor:
    """Incrementos de Wiener, (count, walkers), de varianza 1/count."""
    noises = sampling_noise(seed, range(walkers), ())
    return torch.stack([next(noises).double() for _ in range(count)]) / math.sqrt(count)


def coarser(increments: Tensor, count: int) -> Tensor:
    """Los mismos caminos en menos trozos: cada uno es una suma de los finos."""
    return increments.reshape(count, -1, *increments.shape[1:]).sum(dim=1)


def draw_paths(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.1)
    fine = wiener(COUNTS[-1], len(STARTS), 5)
    looks = ((palette.series[1], 1.6, "o"), (palette.series[2], 1.3, ""), (palette.noisy, 0.7, ""))
    for zorder, (count, (color, width, marker)) in enumerate(zip(COUNTS, looks, strict=True)):
        path = torch.stack([STARTS, *forward_sde(STARTS, coarser(fine, count))])
        lines = panel.plot(
            np.linspace(0, 1, count + 1),
            path,
            color=color,
            linewidth=width,
            marker=marker,
            markersize=4,
            alpha=0.75 if count == COUNTS[-1] else 1,
            zorder=5 - zorder,
        )
        lines[0].set_label(f"{count} pasos")
    panel.set(xlim=(0, 1), xlabel="$\\tau$", ylabel="$x$")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


# --- La densidad: Fokker-Planck y la nube de caminos ----------------------------------------------

CELLS, SPACING = 176, 0.05
GRID = (torch.arange(CELLS, dtype=torch.float64) - (CELLS - 1) / 2) * SPACING
SHOWN = 200
UNTIL = 0.6
WALKERS = 20_000
MOMENTS = (0.02, 0.1, 0.4)


@lru_cache
def flowing() -> Tensor:
    """La densidad en SHOWN + 1 instantes iguales, (SHOWN + 1, CELLS)."""
    current = torch.from_numpy(density(GRID.numpy(), 1.0))
    found = [current]
    for number in range(SHOWN):
        total = linear_rate((number + 0.5) / SHOWN) / SHOWN
        steps = math.ceil(total / (0.9 * SPACING**2))
        for _ in range(steps):
            current = fokker_planck_step(current, SPACING, total / steps)
        found.append(current)
    return torch.stack(found)


@lru_cache
def walked() -> Tensor:
    """Los caminos de la SDE en SHOWN + 1 instantes, (SHOWN + 1, WALKERS)."""
    generator = torch.Generator().manual_seed(SEED)
    chosen = torch.multinomial(
        torch.from_numpy(WEIGHTS), WALKERS, replacement=True, generator=generator
    )
    noise = torch.randn(WALKERS, generator=generator, dtype=torch.float64)
    x = torch.from_numpy(MEANS)[chosen] + torch.from_numpy(STDS)[chosen] * noise
    increments = torch.randn(SHOWN * 2, WALKERS, generator=generator, dtype=torch.float64)
    increments /= math.sqrt(len(increments))
    return torch.stack([x, *list(forward_sde(x, increments))[1::2]])


def show_density(panel: Axes, palette: Palette) -> None:
    """El mapa de la densidad, con la raíz para que se vean también las colas."""
    picture = flowing().sqrt().T.numpy()
    panel.imshow(
        picture,
        extent=(0, 1, float(GRID[0]), float(GRID[-1])),
        origin="lower",
        aspect="auto",
        cmap="Blues" if palette.name == "light" else "Blues_r",
        vmin=0,
        vmax=1.4,
        interpolation="bilinear",
    )
    panel.grid(False)
    panel.set(xlim=(0, UNTIL), ylim=(-LIMIT, LIMIT), xlabel="$\\tau$")


def draw_density(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.5)
    show_density(axes[0], palette)
    cloud = walked()
    times = np.linspace(0, 1, SHOWN + 1)
    for walker in range(1, 5):
        axes[0].plot(times, cloud[:, walker], color=palette.noise, linewidth=0.9, alpha=0.9)
    axes[0].set(ylabel="$x$", title="La nube y cuatro caminos")
    for number, moment in enumerate(MOMENTS):
        at, color = round(moment * SHOWN), palette.series[number]
        axes[1].hist(
            cloud[at].numpy(),
            bins=np.linspace(-LIMIT, LIMIT, 89).tolist(),
            density=True,
            color=color,
            alpha=0.3,
        )
        label = f"$\\tau={comma(moment, 2).replace(',', '{,}')}$"
        axes[1].plot(GRID, flowing()[at], color=color, label=label)
    axes[1].set(xlim=(-LIMIT, LIMIT), xlabel="$x$", title="La ecuación y la nube")
    axes[1].legend()
    return figure


# --- La vuelta, con azar y sin él -----------------------------------------------------------------

WALKS = 6


@lru_cache
def back(noise: float) -> Tensor:
    """Los caminos de vuelta desde UNTIL, (601, WALKS), con el ε exacto de la mezcla."""
    diffusion = Diffusion(LINEAR, clip=False).first(round(UNTIL * len(LINEAR)))
    denoise = Denoiser(mixture_epsilon, diffusion)
    x_T = torch.tensor([-1.6, -0.9, -0.3, 0.3, 0.9, 1.6], dtype=torch.float64)
    noises = (z.double() for z in sampling_noise(3, range(WALKS), ()))
    states = algorithm2(denoise, x_T, noises, partial(reverse_sde, noise=noise))
    return torch.stack([x_T, *(state.x_t for state in states)])


def draw_back(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.4, sharey=True)
    for panel, noise, title in zip(
        axes, (1.0, 0.0), ("SDE ($\\kappa=1$)", "EDO ($\\kappa=0$)"), strict=True
    ):
        show_density(panel, palette)
        paths = back(noise)
        for walker in range(WALKS):
            panel.plot(
                np.linspace(UNTIL, 0, len(paths)),
                paths[:, walker],
                color=palette.noise,
                linewidth=0.8 if noise else 1.6,
            )
        panel.set(xlim=(UNTIL, 0), title=title)
    axes[0].set_ylabel("$x$")
    return figure


# --- Los bits: la EDO y la cota -------------------------------------------------------------------

POINTS = torch.tensor([[-0.6], [0.5], [0.5]], dtype=torch.float64)
BANDWIDTH = 0.1
HIGH, LOW = 10.0, -10.0
LEVELS = (10, 20, 50, 100, 200, 500, 1000)
FINE = torch.linspace(-6, 6, 1201, dtype=torch.float64)[:, None]
CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "parejos": lambda u: u,
    "apretados": lambda u: u**2,
}


def between(count: int, curve: Callable[[Tensor], Tensor] = CURVES["parejos"]) -> Schedule:
    """Un schedule con `count` niveles entre los dos extremos de siempre."""
    u = torch.linspace(0, 1, count, dtype=torch.float64)
    return Schedule.from_alphas_cumprod((HIGH + (LOW - HIGH) * curve(u)).sigmoid())


def log_density(x: Tensor, bar: Tensor) -> Tensor:
    """El logaritmo de q(x_t) de los tres puntos emborronados; `bar` es ᾱ."""
    variance = bar * BANDWIDTH**2 + 1 - bar
    gaps = (x - bar.sqrt() * POINTS.T).square() / (2 * variance)
    return (-gaps).logsumexp(1) - math.log(len(POINTS)) - (2 * math.pi * variance).log() / 2


def x_start_errors(schedule: Schedule) -> Tensor:
    """E‖x_0 - x̂_0‖² de la red ideal en cada nivel, integrando sobre x_t: E[x_0²] - E[x̂_0²]."""
    second = float(POINTS.square().mean()) + BANDWIDTH**2
    found = []
    for index, bar in enumerate(schedule.alphas_cumprod):
        t = torch.full((len(FINE),), index)
        seen = ideal_x_start(schedule, POINTS, FINE, t, bandwidth=BANDWIDTH)[:, 0]
        mass = log_density(FINE, bar).exp()
        found.append(second - torch.trapezoid(mass * seen.square(), FINE[:, 0]))
    return torch.stack(found)


def exact_bound(schedule: Schedule) -> float:
    """La cota en bits, con la varianza β_t, sin sortear nada."""
    errors, beta = x_start_errors(schedule), schedule.betas
    ratio = schedule.posterior_variance / beta
    first = (errors[0] / beta[0] + (2 * math.pi * beta[0]).log()) / 2
    steps = (ratio - 1 - ratio.log()) / 2 + ratio * snr_weights(schedule) * errors
    second = float(POINTS.square().mean()) + BANDWIDTH**2
    last = schedule.alphas_cumprod[-1]
    prior = (last * second - last - (1 - last).log()) / 2
    return float(first + steps[1:].sum() + prior) / math.log(2)


@lru_cache
def flow_bits(count: int) -> float:
    """Los bits de la EDO, integrando sobre x_0."""
    diffusion = Diffusion(between(count), "epsilon", EveryBeta(), clip=False)
    denoise = Denoiser(ideal_model(diffusion, POINTS, bandwidth=BANDWIDTH), diffusion)
    x = torch.linspace(-1.2, 1.1, 461, dtype=torch.float64)[:, None]
    mass = log_density(x, torch.ones((), dtype=torch.float64)).exp()
    nats = torch.trapezoid(-mass * log_likelihood(denoise, x), x[:, 0])
    return float(nats) / math.log(2)


@lru_cache
def entropy_bits() -> float:
    """Lo que cuestan los datos, exacto."""
    logs = log_density(FINE, torch.ones((), dtype=torch.float64))
    return float(torch.trapezoid(-logs.exp() * logs, FINE[:, 0])) / math.log(2)


def draw_bits(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.1)
    bounds = [exact_bound(between(count)) for count in LEVELS]
    flows = [flow_bits(count) for count in LEVELS]
    panel.axhline(entropy_bits(), color=palette.text, linewidth=1.2, linestyle="--", zorder=1)
    panel.plot(LEVELS, bounds, "o-", color=palette.series[1], markersize=5)
    panel.plot(LEVELS, flows, "s-", color=palette.data, markersize=5)
    labels = (
        ("la cota", LEVELS[2], bounds[2] + 0.08, palette.series[1]),
        ("lo que cuestan los datos", LEVELS[-2], entropy_bits() - 0.13, palette.text),
        ("la EDO", LEVELS[1], flows[1] - 0.17, palette.data),
    )
    for text, x, y, color in labels:
        panel.text(x, y, text, color=color, ha="center", fontsize=11)
    log_axis(panel, (10, 30, 100, 300, 1000))
    panel.set(xlabel="niveles", ylabel="bits")
    return figure


# --- Predictor-corrector --------------------------------------------------------------------------

ROLL_WIDTH = 0.03
CLOUD = 1500
STEPS = (10, 20, 40, 80)
CORRECTED = ((0, "sin corregir"), (1, "una corrección"), (3, "tres correcciones"))
STRENGTH = 0.3


@lru_cache
def roll() -> Tensor:
    return load_dataset("swiss_roll", n=300, seed=0).x.double()


def roll_log_density(x: Tensor) -> Tensor:
    """El logaritmo de la densidad de los datos, salvo una constante."""
    return (-(torch.cdist(x, roll()) ** 2) / (2 * ROLL_WIDTH**2)).logsumexp(1)


@lru_cache
def corrected(steps: int, corrections: int) -> Tensor:
    """La nube generada con pasos de Euler de la EDO y correcciones, (CLOUD, 2)."""
    whole = Diffusion(LINEAR, clip=False)
    model = ideal_model(whole, roll(), bandwidth=ROLL_WIDTH)
    noises = (z.double() for z in sampling_noise(SEED, range(CLOUD), (2,)))
    flow: Sampler = partial(reverse_sde, noise=0.0)
    *_, last = predictor_corrector(
        Denoiser(model, whole.respaced(steps)),
        next(noises),
        noises,
        flow,
        corrections=corrections,
        step=STRENGTH,
    )
    return last.x_t


@lru_cache
def worst_of_the_data() -> float:
    """El percentil 1 de log q en los datos: por debajo, casi no los hay."""
    noises = (z.double() for z in sampling_noise(SEED + 1, range(CLOUD), (2,)))
    chosen = torch.arange(CLOUD) % len(roll())
    return float(roll_log_density(roll()[chosen] + ROLL_WIDTH * next(noises)).quantile(0.01))


def outside(x: Tensor) -> float:
    """El porcentaje de puntos que caen donde casi no hay datos."""
    return 100 * float((roll_log_density(x) < worst_of_the_data()).double().mean())


def draw_corrector(palette: Palette) -> Figure:
    figure, axes = canvas(1, 3, height=2.9, width_ratios=(1, 1, 1.15))
    for panel, count, title in ((axes[0], 0, "EDO, 40 pasos"), (axes[1], 3, "con correcciones")):
        show_points(panel, roll(), palette.faint, limit=1.15, size=6, alpha=1)
        show_points(panel, corrected(40, count), palette.data, limit=1.15, size=5, alpha=0.45)
        panel.set_title(title)
    for number, (count, label) in enumerate(CORRECTED):
        calls = [steps + count * (steps - 1) for steps in STEPS]
        axes[2].plot(
            calls,
            [outside(corrected(steps, count)) for steps in STEPS],
            marker="os^"[number],
            markersize=5,
            color=palette.series[number],
            label=label,
        )
    log_axis(axes[2], (10, 30, 100, 300))
    axes[2].set(xlabel="llamadas a la red", title="% de puntos fuera", ylim=(0, None))
    handles, labels = axes[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


# --- La cota es un área ---------------------------------------------------------------------------

FEW = 12
SUMS = (12, 25, 50, 100, 200)


def excess(count: int, name: str) -> float:
    """Lo que sobra de los rectángulos, en bits, respecto al área exacta."""
    schedule = between(count, CURVES[name])
    bars = (snr_weights(schedule) * x_start_errors(schedule))[1:].sum()
    return float(bars - area()) / math.log(2)


@lru_cache
def area() -> Tensor:
    """El área bajo la curva, con muchos niveles y la regla del trapecio."""
    schedule = between(2000)
    return torch.trapezoid(x_start_errors(schedule).flip(0), schedule.snr.flip(0)) / 2


def draw_snr(palette: Palette) -> Figure:
    figure, axes = canvas(1, 3, height=3.0, width_ratios=(1, 1, 0.9))
    smooth = between(400)
    curve = smooth.snr * x_start_errors(smooth)
    for number, (panel, name) in enumerate(zip(axes, CURVES, strict=False)):
        schedule, color = between(FEW, CURVES[name]), palette.series[number + 1]
        errors, snr = x_start_errors(schedule), schedule.snr
        # La altura que da, en el eje logarítmico, un área de dos veces el término de la cota.
        for left, right, low, high, error in zip(
            schedule.log_snr[1:], schedule.log_snr[:-1], snr[1:], snr[:-1], errors[1:], strict=True
        ):
            height = float((high - low) * error / (right - left))
            panel.bar(
                float(left),
                height,
                float(right - left),
                align="edge",
                color=color,
                alpha=0.35,
                edgecolor=color,
                linewidth=0.9,
            )
        panel.plot(
            smooth.log_snr, curve, color=palette.data, zorder=5, path_effects=halo(palette, 3)
        )
        panel.set(xlim=(LOW, HIGH), ylim=(0, 3.2), xlabel="$\\log\\,\\mathrm{SNR}$")
        panel.set_title(f"Niveles {name}")
        axes[2].plot(
            SUMS,
            [excess(count, name) for count in SUMS],
            marker="os"[number],
            markersize=5,
            color=color,
        )
    log_axis(axes[2], (12, 50, 200))
    axes[2].set(xlabel="niveles", title="bits de más", ylim=(0, None))
    return figure


# --- El peso de cada pérdida, en cotas ------------------------------------------------------------

LOSSES = (
    ("cosine", "epsilon", "uniform", "$\\epsilon$, coseno"),
    ("linear", "epsilon", "uniform", "$\\epsilon$, lineal"),
    ("cosine", "epsilon", "min_snr", "min-SNR, coseno"),
    ("cosine", "v", "uniform", "$v$, coseno"),
)


def draw_multiples(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.3)
    for number, (name, prediction, weighting, label) in enumerate(LOSSES):
        schedule = make_schedule(name, 4000)
        multiple = bound_multiple(Diffusion(schedule, prediction), weighting)
        seen = (schedule.log_snr > -8) & (schedule.log_snr < 8)
        panel.plot(
            schedule.log_snr[seen],
            multiple[seen] / multiple[seen].max(),
            color=palette.series[number],
            linestyle=("-", "--", ":", "-")[number],
            linewidth=3 if prediction == "v" else 2,
            label=label,
        )
    panel.set_yscale("log")
    panel.set_yticks([1, 0.1, 0.01, 0.001], ["1", "0,1", "0,01", "0,001"])
    panel.set(xlim=(-8, 8), ylim=(3e-4, 1.6), xlabel="$\\lambda=\\log\\,\\mathrm{SNR}$")
    panel.set_ylabel("$w(\\lambda)$")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


FIGURES = {
    "continuo-caminos": draw_paths,
    "continuo-densidad": draw_density,
    "continuo-vuelta": draw_back,
    "continuo-bits": draw_bits,
    "continuo-corrector": draw_corrector,
    "continuo-snr": draw_snr,
    "continuo-pesos": draw_multiples,
}
