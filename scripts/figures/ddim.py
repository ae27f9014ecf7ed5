"""DDIM: la misma red con menos pasos, sin azar, hacia atrás y con mejores métodos."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.data import load_dataset
from ddpm_lit.ddim import ddim, interpolate_latents, reconstruct
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import algorithm2, ancestral, make_sampler
from ddpm_lit.scheduler import SPACINGS, make_schedule, spaced_indices
from scripts.build import models
from scripts.figures.mixture import MEANS, STDS, WEIGHTS
from scripts.figures.mosaic import show_mosaic
from scripts.figures.style import Palette, canvas, comma, halo, log_axis, show_points
from scripts.site.project import profile

INPUTS = ("digits-class",)
MODEL = "digits-class"
SEED = 0
LINEAR = make_schedule("linear", 1000)


# --- La galería: el mismo latente con más o menos azar y más o menos pasos ------------------------

STEPS = (10, 20, 50, 100, 1000)
GALLERY_ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("$\\eta=0$", {"eta": 0.0}),
    ("$\\eta=0{,}5$", {"eta": 0.5}),
    ("$\\eta=1$", {"eta": 1.0}),
    ("$\\hat\\sigma$", {"sigma_hat": True}),
)
GALLERY_CLASSES = (3, 8)


def every_option(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """El paso de DDIM con todas las opciones de la galería: una parte del lote para cada una."""
    t = torch.full((len(x_t),), index)
    output = denoise.model(x_t, denoise.schedule.original(t), **denoise.condition)
    count, z = len(GALLERY_CLASSES), next(noises)

    def part(row: int, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
        rows = slice(row * count, (row + 1) * count)
        said = replace(denoise, model=lambda *_, **__: output[rows])
        return ddim(said, x_t[rows], index, iter([z]), **options)

    parts = [part(row, options) for row, (_, options) in enumerate(GALLERY_ROWS)]
    states, estimates = zip(*parts, strict=True)
    return torch.cat(states), torch.cat(estimates)


@lru_cache
def gallery() -> Tensor:
    """Las muestras, (opción, latente, pasos, 1, 8, 8); todas con los mismos ruidos."""
    trained = models.load(MODEL)
    labels = torch.tensor(GALLERY_CLASSES * len(GALLERY_ROWS))
    longest = 20 if profile() == "smoke" else max(STEPS)
    columns = []
    for steps in STEPS:
        noises = sampling_noise(SEED, range(len(GALLERY_CLASSES)), trained.shape)
        diffusion = trained.diffusion.respaced(min(steps, longest))
        *_, last = algorithm2(
            Denoiser(trained.model, diffusion, {"class_labels": labels}),
            next(noises).repeat(len(GALLERY_ROWS), 1, 1, 1),
            noises,
            every_option,
        )
        shape = (len(GALLERY_ROWS), len(GALLERY_CLASSES), *trained.shape)
        columns.append(last.x_t.reshape(shape))
    return torch.stack(columns, dim=2)


def draw_gallery(palette: Palette) -> Figure:
    images = gallery()
    figure, axes = canvas(1, 2, height=3.3)
    for number, panel in enumerate(axes):
        show_mosaic(
            panel,
            images[:, number].flatten(0, 1),
            len(STEPS),
            top=[str(steps) for steps in STEPS],
            left=[label for label, _ in GALLERY_ROWS] if number == 0 else [],
        )
        panel.tick_params(axis="y", labelsize=13, pad=5)
        panel.tick_params(axis="x", labelsize=11)
        panel.set_title("pasos", pad=6)
    return figure


# --- Subsucesiones --------------------------------------------------------------------------------


def draw_spacings(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=2.5)
    for row, spacing in enumerate(SPACINGS):
        indices = spaced_indices(1000, 10, spacing).numpy()
        panel.plot([0, 999], [row, row], color=palette.faint, linewidth=1.2, zorder=1)
        panel.plot(indices, np.full(10, row), "o", color=palette.series[row], markersize=8)
    panel.grid(False)
    panel.set(xlim=(-25, 1024), ylim=(len(SPACINGS) - 0.5, -0.6), xlabel="índice del paso")
    panel.set_yticks(range(len(SPACINGS)), SPACINGS, fontsize=12)
    panel.set_xticks((0, 250, 500, 750, 999))
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    return figure


# --- Trayectorias en el plano, con la red perfecta ------------------------------------------------

CENTRES = 300
WIDTH_OF_EACH = 0.03
WALKERS = 4
CLOUD = 500


@lru_cache
def roll() -> Tensor:
    return load_dataset("swiss_roll", n=CENTRES, seed=0).x.double()


def perfect_model(x: Tensor, t: Tensor) -> Tensor:
    """E[ε | x_t] cuando los datos son una mezcla de normales estrechas, una por punto del rollo."""
    bar = LINEAR.alphas_cumprod[t[0]]
    variance = bar * WIDTH_OF_EACH**2 + 1 - bar
    means = bar.sqrt() * roll()
    weights = (-(torch.cdist(x, means) ** 2) / (2 * variance)).softmax(dim=1)
    return (1 - bar).sqrt() / variance * (x - weights @ means)


@lru_cache
def paths(name: str) -> Tensor:
    """Los estados, (K + 1, CLOUD, 2), con 200 pasos y siempre los mismos x_T."""
    sampler = {"ddpm": ancestral, "ddim": ddim}[name]
    denoise = Denoiser(perfect_model, Diffusion(LINEAR, clip=False).respaced(200))
    noises = (z.double() for z in sampling_noise(SEED, range(CLOUD), (2,)))
    x_T = next(noises)
    walk = algorithm2(denoise, x_T, noises, sampler)
    return torch.stack([x_T, *(state.x_t for state in walk)])


def draw_paths(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.9)
    titles = ("DDPM ($\\eta=1$)", "DDIM ($\\eta=0$)")
    for panel, name, title in zip(axes, ("ddpm", "ddim"), titles, strict=True):
        states = paths(name)
        show_points(panel, states[-1], palette.data, limit=2.6, size=5, alpha=0.35)
        for walker in range(WALKERS):
            line = states[:, walker].numpy()
            color = palette.series[walker]
            panel.plot(*line.T, color=color, linewidth=1.0, alpha=0.75)
            for end, marker in ((line[0], "s"), (line[-1], "o")):
                panel.plot(*end, marker, color=color, markersize=8, path_effects=halo(palette, 3))
        panel.set_title(title)
    return figure


# --- El error de cada método, con ε exacto --------------------------------------------------------

COUNTS = (8, 12, 20, 32, 50, 80, 128, 200)
METHODS = (("ddim", "DDIM"), ("heun", "Heun"), ("dpm++2m", "DPM-Solver++(2M)"))
PROBABILITIES = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)


def mixture_epsilon(x: Tensor, t: Tensor) -> Tensor:
    """E[ε | x_t] de la mezcla de `mixture`, con el schedule lineal."""
    bar = LINEAR.alphas_cumprod[t[0]]
    variances = bar * torch.from_numpy(STDS) ** 2 + 1 - bar
    gaps = x[:, None] - bar.sqrt() * torch.from_numpy(MEANS)
    share = torch.from_numpy(WEIGHTS).log() - variances.log() / 2 - gaps**2 / variances / 2
    return (1 - bar).sqrt() * (share.softmax(dim=1) * gaps / variances).sum(dim=1)


def mixture_quantile(bar: float) -> Tensor:
    """Los cuantiles de x_t, por bisección."""
    means = bar**0.5 * torch.from_numpy(MEANS)
    stds = (bar * torch.from_numpy(STDS) ** 2 + 1 - bar).sqrt()
    low, high = torch.full_like(PROBABILITIES, -10), torch.full_like(PROBABILITIES, 10)
    for _ in range(60):
        middle = (low + high) / 2
        reached = torch.special.ndtr((middle[:, None] - means) / stds) @ torch.from_numpy(WEIGHTS)
        low = torch.where(reached < PROBABILITIES, middle, low)
        high = torch.where(reached < PROBABILITIES, high, middle)
    return (low + high) / 2


@lru_cache
def solver_errors(method: str, spacing: str) -> list[float]:
    """Cuánto se aparta cada cuantil del suyo, de media, según las llamadas a la red."""
    exact = mixture_quantile(1.0)
    errors = []
    for count in COUNTS:
        steps = count // 2 if method == "heun" else count
        diffusion = Diffusion(LINEAR, clip=False).respaced(steps, spacing)
        x_T = mixture_quantile(float(diffusion.schedule.alphas_cumprod[-1]))
        denoise = Denoiser(mixture_epsilon, diffusion)
        *_, last = algorithm2(denoise, x_T, iter(()), make_sampler(method))
        errors.append(float((last.x_t - exact).abs().mean()))
    return errors


def draw_errors(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.7, sharey=True)
    names = {"linspace": "Índices por igual (linspace)", "quadratic": "Cuadráticos (quadratic)"}
    for panel, (spacing, title) in zip(axes, names.items(), strict=True):
        for number, (method, label) in enumerate(METHODS):
            panel.plot(
                COUNTS,
                solver_errors(method, spacing),
                marker="os^"[number],
                markersize=5,
                color=palette.series[number],
                label=label,
            )
        panel.set_yscale("log")
        log_axis(panel, (8, 20, 50, 200))
        panel.set_yticks([0.1, 0.01, 0.001, 0.0001], ["0,1", "0,01", "0,001", "0,0001"])
        panel.set(xlabel="llamadas a la red")
        panel.set_title(title)
    axes[0].set_ylabel("error medio")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


# --- Reconstrucción e interpolación ---------------------------------------------------------------

RECONSTRUCTED = 8
RECONSTRUCTION_STEPS = (5, 10, 20, 50, 100)


@lru_cache
def reconstructions() -> tuple[Tensor, list[tuple[int, Tensor, float]]]:
    """Dígitos que la red no ha visto; y, con cada número de pasos, lo que vuelve y su error."""
    trained = models.load(MODEL)
    _, held_out = models.digits_split()
    assert held_out.labels is not None
    x_0, labels = held_out.x[:RECONSTRUCTED], held_out.labels[:RECONSTRUCTED]
    found = []
    for steps in RECONSTRUCTION_STEPS:
        diffusion = replace(trained.diffusion.respaced(steps), clip=False)
        denoise = Denoiser(trained.model, diffusion, {"class_labels": labels})
        back = reconstruct(denoise, x_0)
        error = float(((back - x_0) / 2).square().mean())
        found.append((steps, back, error))
    return x_0, found


def draw_reconstructions(palette: Palette) -> Figure:
    x_0, found = reconstructions()
    figure, (panel,) = canvas(height=4.6)
    show_mosaic(
        panel,
        torch.cat([x_0, *(back for _, back, _ in found)]),
        RECONSTRUCTED,
        left=["$x_0$", *(f"{steps} pasos\n{comma(error, 5)}" for steps, _, error in found)],
    )
    panel.tick_params(axis="y", labelsize=11, pad=5)
    panel.get_yticklabels()[0].set(color=palette.data, fontsize=15)
    return figure


POINTS = 9
INTERPOLATED_STEPS = 50
INTERPOLATED_CLASSES = (2, 5)


@lru_cache
def interpolations() -> Tensor:
    """De cada clase, con slerp y en línea recta entre los mismos dos latentes: (N, 1, 8, 8)."""
    trained = models.load(MODEL)
    diffusion = trained.diffusion.respaced(INTERPOLATED_STEPS, "trailing")
    latents, labels = [], []
    for number, label in enumerate(INTERPOLATED_CLASSES):
        noise = next(sampling_noise(SEED, (2 * number, 2 * number + 1), trained.shape))
        a, b = noise[:1], noise[1:]
        straight = torch.stack([a + (b - a) * k / (POINTS - 1) for k in range(POINTS)])
        latents += [interpolate_latents(a, b, POINTS).flatten(0, 1), straight.flatten(0, 1)]
        labels += [label] * (2 * POINTS)
    denoise = Denoiser(trained.model, diffusion, {"class_labels": torch.tensor(labels)})
    *_, last = algorithm2(denoise, torch.cat(latents), iter(()), ddim)
    return last.x_t


def draw_interpolations(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.3)
    show_mosaic(
        panel, interpolations(), POINTS, left=["slerp", "recta"] * len(INTERPOLATED_CLASSES)
    )
    panel.tick_params(axis="y", labelsize=12, pad=5)
    return figure


FIGURES = {
    "ddim-galeria": draw_gallery,
    "ddim-subsucesiones": draw_spacings,
    "ddim-trayectorias": draw_paths,
    "ddim-reconstruccion": draw_reconstructions,
    "ddim-interpolacion": draw_interpolations,
    "ddim-solvers": draw_errors,
}
