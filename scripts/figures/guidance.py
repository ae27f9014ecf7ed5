"""Guía: qué se muestrea al exagerar la condición, exacto, y lo que hace con los dígitos."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import Denoiser, Model, Sampler, to_score
from ddpm_lit.conditioning import null_condition
from ddpm_lit.data import GaussianMixture
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Clip, Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.guidance import classifier_free, classifier_guided
from ddpm_lit.noise import sampling_noise
from ddpm_lit.noisy_classifier import NoisyClassifier, train_noisy_classifier
from ddpm_lit.sampling import algorithm2, ancestral
from ddpm_lit.scheduler import make_schedule, respace, spaced_indices
from scripts.build import models
from scripts.figures.mixture import normal
from scripts.figures.mosaic import show_mosaic
from scripts.figures.style import Palette, canvas, comma, halo, show_points
from scripts.site.project import profile

INPUTS = ("digits-class",)
SMOKE = profile() == "smoke"
STEPS = 10 if SMOKE else 50
CLOUD = 200 if SMOKE else 1500
CLASSIFIER_STEPS = 2 if SMOKE else 300
WEIGHTS = (0.0, 1.0, 3.0, 7.0)
STRONG = 7.0
INTERVAL = (300, 700)
FOURS = 10 if SMOKE else 30

# --- Un píxel: todo es una normal ---------------------------------------------------------------

V, MEAN = 0.25, 0.6


def laws(w: float) -> dict[str, tuple[float, float]]:
    """Media y varianza de la ley condicionada, la inclinada y las de las dos trayectorias."""
    u = np.geomspace(1e-6, 1e6, 20001)
    h = (V + u) ** (1 + w) * (1 + u) ** -w
    # El camino recto: M = h^{1/2} ∫ (1 + w) m / (2 (v + u) h^{1/2}) du, por trapecios.
    slope = (1 + w) * MEAN / (2 * (V + u) * np.sqrt(h))
    straight = np.sqrt(h[0]) * np.trapezoid(slope, u)
    return {
        "condicionada": (MEAN, V),
        "inclinada": ((1 + w) * MEAN / (1 + w * (1 - V)), V / (1 + w * (1 - V))),
        "DDPM guiado": (
            MEAN * (1 - V ** (1 + w)) / (1 - V),
            V * (1 - V ** (1 + 2 * w)) / ((1 + 2 * w) * (1 - V)),
        ),
        "DDIM guiado": (float(straight), V ** (1 + w)),
    }


def draw_laws(palette: Palette) -> Figure:
    x = np.linspace(-1.2, 2.2, 681)
    figure, axes = canvas(1, 2, height=3.5)
    for panel, w in zip(axes, (1.0, 2.0), strict=True):
        law = laws(w)
        panel.fill_between(
            x, normal(x, *law["inclinada"]), color=palette.mean, alpha=0.28, linewidth=0,
            label=r"inclinada, $p(x|c)\,p(c|x)^w$",
        )  # fmt: skip
        for name, color, dashes, label in (
            ("condicionada", palette.text, (0, (1, 1.4)), "condicionada, $p(x|c)$"),
            ("DDPM guiado", palette.noisy, "-", "lo que da DDPM guiado"),
            ("DDIM guiado", palette.noise, (0, (5, 1.8)), "lo que da DDIM guiado"),
        ):
            panel.plot(x, normal(x, *law[name]), color=color, linestyle=dashes, label=label)
        panel.set(xlim=(-1.2, 2.2), ylim=(0, None), yticks=[], title=f"$w = {w:.0f}$", xlabel="$x$")
        panel.spines["left"].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_variances(palette: Palette) -> Figure:
    ws = np.linspace(0, 8, 81)
    table = [laws(float(w)) for w in ws]
    figure, (panel,) = canvas(height=3.3)
    for name, color, dashes, label in (
        ("inclinada", palette.mean, "-", "la ley inclinada"),
        ("DDPM guiado", palette.noisy, "-", "DDPM guiado"),
        ("DDIM guiado", palette.noise, (0, (5, 1.8)), "DDIM guiado"),
    ):
        stds = [row[name][1] ** 0.5 for row in table]
        panel.plot(ws, stds, color=color, linestyle=dashes, label=label)
    panel.set(xlim=(0, 8), ylim=(0, 0.52), xlabel="$w$", ylabel="desviación típica al final")
    panel.legend()
    return figure


# --- Tres clases en el plano --------------------------------------------------------------------

MIXTURE = GaussianMixture(
    weights=torch.full((3,), 1 / 3, dtype=torch.float64),
    means=torch.tensor([[0.0, 0.62], [-0.62, -0.42], [0.62, -0.42]], dtype=torch.float64),
    stds=torch.full((3,), 0.36, dtype=torch.float64),
)
PLANE = make_schedule("cosine", 1000)


def log_joint(x: Tensor, bar: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x_t, clase) salvo una constante, (B, 3), y sus gradientes (B, 3, 2)."""
    variances = bar * MIXTURE.stds**2 + 1 - bar
    offsets = x[:, None] - bar.sqrt()[..., None] * MIXTURE.means
    log = MIXTURE.weights.log() - offsets.square().sum(-1) / (2 * variances) - variances.log()
    return log, -offsets / variances[..., None]


def exact_model(x_t: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
    """La red perfecta de la mezcla; la clase 3 es «sin clase»."""
    bar = PLANE.alphas_cumprod[t][:, None]
    log, gradients = log_joint(x_t, bar)
    mixed = (log.softmax(-1)[..., None] * gradients).sum(1)
    own = gradients[torch.arange(len(t)), class_labels.clamp(max=2)]
    score = torch.where((class_labels == 3)[:, None], mixed, own)
    return -(1 - bar).sqrt() * score


def guided_plane(w: float) -> Model:
    return classifier_free(exact_model, w, null=partial(null_condition, num_classes=3))


@cache
def plane_samples(w: float) -> Tensor:
    """Muestras de la clase 0 con guía y la red perfecta."""
    generator = torch.Generator().manual_seed(0)
    steps = 20 if SMOKE else 200
    noises = torch.randn(steps, CLOUD, 2, generator=generator, dtype=torch.float64)
    denoise = Denoiser(
        guided_plane(w),
        Diffusion(PLANE, clip=False).respaced(steps),
        {"class_labels": torch.zeros(CLOUD, dtype=torch.int64)},
    )
    *_, last = algorithm2(denoise, noises[0], iter(noises[1:]))
    return last.x_t


def tilted_density(w: float, grid: Tensor) -> Tensor:
    """p(x|c) p(c|x)^w de la clase 0, salvo una constante, en unos puntos (B, 2)."""
    log, _ = log_joint(grid, torch.ones(len(grid), 1, dtype=torch.float64))
    return ((1 + w) * log[:, 0] - w * log.logsumexp(-1)).exp()


def show_density(panel: Axes, density: Tensor, ticks: Tensor, shares: Any, **options: Any) -> None:
    """Las curvas que encierran unas fracciones (de mayor a menor) de una densidad en rejilla."""
    ordered = density.flatten().sort(descending=True).values
    inside = (ordered.cumsum(0) / ordered.sum()).contiguous()
    levels = [float(ordered[int((inside < share).sum())]) for share in shares]
    side = len(ticks)
    panel.contour(ticks, ticks, density.reshape(side, side).T, levels=levels, **options)


def draw_mixture(palette: Palette) -> Figure:
    ticks = torch.linspace(-1.6, 2.2, 191, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    figure, axes = canvas(1, 3, height=2.95)
    for panel, w in zip(axes, (0.0, 1.0, 4.0), strict=True):
        show_points(panel, plane_samples(w), palette.noisy, limit=1.75, size=3, alpha=0.45)
        panel.scatter(
            MIXTURE.means[:, 0],
            MIXTURE.means[:, 1],
            marker="+",
            s=45,
            color=palette.text,
            linewidths=1.4,
        )
        for shares, width in (((0.9,), 1.3), ((0.5,), 2.2)):
            density = tilted_density(w, grid)
            show_density(
                panel, density, ticks, shares, colors=[palette.mean], linewidths=[width], zorder=4
            )
        panel.set(xlim=(-1.5, 1.5), ylim=(-1.05, 1.95), title=f"$w = {w:.0f}$")
    return figure


def draw_arrows(palette: Palette) -> Figure:
    level, w = 400, 2.0
    bar = PLANE.alphas_cumprod[level]
    points = torch.tensor([[-0.75, 0.75], [0.95, 0.55], [0.3, -0.75]], dtype=torch.float64)
    t, labels = torch.full((3,), level), torch.zeros(3, dtype=torch.int64)
    ticks = torch.linspace(-2.2, 2.2, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(ticks, ticks)
    log, _ = log_joint(grid, bar.expand(len(grid), 1))
    scores = {
        "sin condición": (exact_model(points, t, labels + 3), palette.text),
        "con condición": (exact_model(points, t, labels), palette.data),
        f"guiada, $w = {w:.0f}$": (guided_plane(w)(points, t, class_labels=labels), palette.noise),
    }
    figure, (panel,) = canvas(height=4.6)
    for kind in range(3):
        chosen = log[:, kind].exp()
        color = palette.data if kind == 0 else palette.faint
        show_density(panel, chosen, ticks, (0.6, 0.3), colors=[color], linewidths=1.4)
    for index, (label, (epsilon, color)) in enumerate(scores.items()):
        arrows = 0.2 * to_score(PLANE, epsilon, t)
        panel.quiver(
            *points.T, *arrows.T, color=color, angles="xy", scale_units="xy", scale=1,
            width=0.008, zorder=3 + index, label=label,
        )  # fmt: skip
    panel.scatter(points[:, 0], points[:, 1], s=46, color=palette.noisy, zorder=9, label="$x_t$")
    name = panel.text(
        0.0, 1.33, "la clase\npedida", color=palette.data, ha="center", path_effects=halo(palette)
    )
    name.set_zorder(2)
    panel.set(xlim=(-1.75, 1.75), ylim=(-1.3, 1.6), aspect="equal", xticks=[], yticks=[])
    panel.grid(False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


# --- Dígitos ------------------------------------------------------------------------------------


def walk(model: Model, labels: Tensor, sampler: Sampler = ddim, clip: Clip = True) -> Tensor:
    """Dígitos generados con DDIM sin azar, salvo que se diga otra cosa."""
    trained = models.load("digits-class")
    diffusion = replace(trained.diffusion.respaced(STEPS), clip=clip)
    noises = sampling_noise(0, range(len(labels)), trained.shape)
    denoise = Denoiser(model, diffusion, {"class_labels": labels})
    *_, last = algorithm2(denoise, next(noises), noises, sampler)
    return last.x_t


@cache
def one_of_each(w: float) -> Tensor:
    """Una cifra de cada con los ruidos 0 a 9."""
    return walk(models.load("digits-class").guided(w), torch.arange(10))


@cache
def fours(w: float, **options: Any) -> Tensor:
    """Cuatros, con los primeros ruidos."""
    labels = torch.full((FOURS,), 4)
    return walk(models.load("digits-class").guided(w, **options), labels)


def draw_gallery(palette: Palette) -> Figure:
    rows = [one_of_each(w) for w in WEIGHTS]
    figure, (panel,) = canvas(height=2.95)
    show_mosaic(panel, torch.cat(rows), 10, left=[f"$w = {w:.0f}$" for w in WEIGHTS])
    panel.tick_params(axis="y", labelsize=13, pad=5)
    return figure


def draw_diversity(palette: Palette) -> Figure:
    rows = {f"$w = {w:.0f}$": fours(w) for w in WEIGHTS}
    rows[f"$w = {STRONG:.0f}$, en\nun intervalo"] = fours(STRONG, interval=INTERVAL)
    figure, (panel,) = canvas(height=3.45)
    show_mosaic(panel, torch.cat([row[:10] for row in rows.values()]), 10, left=list(rows))
    panel.tick_params(axis="y", labelsize=12, pad=5)
    for number, row in enumerate(rows.values()):
        apart = comma(float(torch.pdist(row.flatten(1)).mean()), 2)
        panel.text(10.15, number + 0.5, apart, va="center", fontsize=12)
    return figure


@cache
def noisy_classifier() -> NoisyClassifier:
    train_set, _ = models.digits_split()
    schedule = models.load("digits-class").schedule
    return train_noisy_classifier(train_set, schedule, steps=CLASSIFIER_STEPS)


@cache
def noisy_accuracy() -> tuple[list[int], list[float]]:
    """En cada índice, la fracción de dígitos apartados cuya clase se acierta."""
    _, held_out = models.digits_split()
    schedule, labels = models.load("digits-class").schedule, held_out.labels
    classifier, generator = noisy_classifier(), torch.Generator().manual_seed(0)
    times, right = list(range(0, 1000, 37)), []
    for time in times:
        t = torch.full((len(held_out),), time)
        noise = torch.randn(held_out.x.shape, generator=generator)
        with torch.no_grad():
            logits = classifier(q_sample(schedule, held_out.x, t, noise), t)
        right.append(float((logits.argmax(1) == labels).double().mean()))
    return times, right


@cache
def classifier_digits(scale: float) -> Tensor:
    """Los dígitos 0 a 9 pedidos a la red sin condición, con el clasificador."""
    trained = models.load("digits-class")
    guided = classifier_guided(
        trained.model,
        noisy_classifier().log_prob,
        trained.diffusion,
        scale=scale,
        null=partial(null_condition, num_classes=10),
    )
    return walk(guided, torch.arange(10), sampler=ancestral)


def draw_classifier(palette: Palette) -> Figure:
    figure, (above, below) = canvas(2, 1, height=5.0, height_ratios=(1, 1.35))
    times, right = noisy_accuracy()
    above.plot([time + 1 for time in times], right, color=palette.mean)
    above.axhline(0.1, color=palette.text, linewidth=1.2, linestyle=(0, (2, 2)))
    above.annotate("al azar", (30, 0.13), color=palette.text)
    above.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    above.set(xlim=(1, 1000), ylim=(0, 1.02), xlabel="$t$", ylabel="aciertos")
    scales = (0.0, 1.0, 4.0)
    rows = torch.cat([classifier_digits(scale) for scale in scales])
    show_mosaic(
        below,
        rows,
        10,
        top=[str(digit) for digit in range(10)],
        left=[f"$s = {scale:.0f}$" for scale in scales],
    )
    below.tick_params(axis="both", labelsize=13, pad=5)
    below.set_xlabel("La cifra que se pide", labelpad=6)
    below.xaxis.set_label_position("top")
    return figure


@cache
def extremes(w: float, **options: Any) -> tuple[Tensor, Tensor]:
    r"""Los $t$ y el percentil 99,5 de $|\hat x_0|$ en cada paso, antes de recortar."""
    trained = models.load("digits-class")
    seen: list[Tensor] = []

    def watch(x_start: Tensor) -> Tensor:
        seen.append(x_start.flatten(1).abs().quantile(0.995, dim=1).mean())
        return x_start.clamp(-1, 1)

    walk(trained.guided(w, **options), torch.arange(20) % 10, clip=watch)
    schedule = respace(trained.schedule, spaced_indices(len(trained.schedule), STEPS))
    return schedule.timesteps.flip(0) + 1, torch.stack(seen)


def draw_saturation(palette: Palette) -> Figure:
    low, high = INTERVAL
    figure, (panel,) = canvas(height=3.7)
    panel.axvspan(low, high, color=palette.faint, alpha=0.35, linewidth=0)
    panel.axhline(1, color=palette.text, linewidth=1.2, linestyle=(0, (2, 2)))
    strong = f"$w = {STRONG:.0f}$"
    lines: tuple[tuple[str, float, dict[str, Any], str, Any], ...] = (
        (strong, STRONG, {}, palette.noise, "-"),
        (f"{strong}, reescalada", STRONG, {"rescale": 0.7}, palette.noisy, (0, (5, 1.8))),
        (f"{strong}, en el intervalo", STRONG, {"interval": INTERVAL}, palette.mean, "-"),
        ("sin guiar", 0.0, {}, palette.text, (0, (1, 1.4))),
    )
    for label, w, options, color, dashes in lines:
        panel.plot(*extremes(w, **options), color=color, linestyle=dashes, label=label)
    panel.set(xlim=(1000, 0), ylim=(0, None), xlabel="$t$")
    panel.set_ylabel(r"tamaño de $\hat x_0$", color=palette.data)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


FIGURES = {
    "cfg-flechas": draw_arrows,
    "cfg-leyes": draw_laws,
    "cfg-desviaciones": draw_variances,
    "cfg-mezcla": draw_mixture,
    "cfg-galeria": draw_gallery,
    "cfg-diversidad": draw_diversity,
    "cfg-clasificador": draw_classifier,
    "cfg-saturacion": draw_saturation,
}
