"""Generación: el ruido que se vuelve datos, paso a paso."""

import math
from functools import lru_cache
from itertools import repeat

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ddpm_lit.backward import Denoiser, to_score
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.ideal import ideal_model
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import make_schedule
from scripts.build import models, samples
from scripts.figures.mosaic import mosaic, show_mosaic
from scripts.figures.style import (
    Palette,
    Row,
    canvas,
    comma,
    frames_of,
    image_table,
    show_points,
)

INPUTS = ("swiss-roll", "samples-swiss-roll", "samples-digits", "samples-digits-class")
DIGIT = 0
FEW_STEPS = 50
CLOUD = 1000
MOVING = 300
FRAMES = 84
HELD = 2
LIMIT = 1.6
PLANE_STEPS = 200


def closest(times: Tensor, fractions: list[float]) -> list[int]:
    """Los estados guardados más cercanos a unas fracciones del camino (1 es ruido puro)."""
    return [int((times - fraction * times[0]).abs().argmin()) for fraction in fractions]


def draw_strip(palette: Palette) -> Figure:
    digits = samples.load("digits")
    chosen = closest(digits["times"], [1, 0.6, 0.4, 0.3, 0.2, 0.1, 0])
    times = digits["times"][chosen].tolist()
    figure = image_table(
        [
            Row("$x_t$", palette.noisy, digits["x_t"][chosen, DIGIT]),
            Row(r"$\hat{x}_0$", palette.data, digits["x_start"][chosen[:-1], DIGIT]),
        ],
        [*(f"$t={time}$" for time in times[:-1]), "$x_0$"],
        gap=0.09,
        row_gap=0.09,
    )
    figure.texts[-1].set(color=palette.data, fontsize=13)
    return figure


def draw_classes(palette: Palette) -> Figure:
    digits = samples.load("digits-class")
    chosen = closest(digits["times"], [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0])
    times = digits["times"][chosen].tolist()
    labels = digits["labels"][: digits["x_t"].shape[1]].tolist()
    images = digits["x_t"][chosen].transpose(0, 1).flatten(0, 1)
    figure, (panel,) = canvas(height=6.55)
    show_mosaic(
        panel,
        images,
        len(chosen),
        top=[f"$t={times[0]}$", *(f"${time}$" for time in times[1:-1]), "$x_0$"],
        left=[str(label) for label in labels],
        gap=7,
    )
    panel.get_xticklabels()[-1].set(color=palette.data, fontsize=13)
    panel.tick_params(axis="y", labelsize=13, pad=5)
    panel.set_ylabel("La cifra que se pide", labelpad=6)
    return figure


@lru_cache
def few_steps() -> tuple[Tensor, Tensor, Tensor, float]:
    """Con pocos pasos y el mismo ruido: el Algoritmo 2, sin z, con z también al final; y σ_1."""
    trained = models.load("swiss-roll")
    diffusion = trained.diffusion.respaced(FEW_STEPS, "trailing")
    denoise = Denoiser(trained.model, diffusion)
    noises = sampling_noise(samples.SEED, range(CLOUD), trained.shape)
    x_T = next(noises)
    *_, usual = algorithm2(denoise, x_T, noises)
    still = repeat(torch.zeros_like(x_T))
    *_, without = algorithm2(denoise, x_T, still)
    first = torch.zeros(1, dtype=torch.int64)
    variance, _ = diffusion.variance(diffusion.schedule, first, x_T)
    last_sigma = float(variance.sqrt())
    return usual.x_t, without.x_t, usual.x_t + last_sigma * next(noises), last_sigma


def draw_noise(palette: Palette) -> Figure:
    *clouds, sigma = few_steps()
    titles = (
        "El Algoritmo 2",
        "Sin sumar $z$ nunca",
        "Sumando $z$ hasta al final",
    )
    last = comma(sigma, 2).replace(",", "{,}")
    notes = (
        f"$z$ en todos los pasos ({FEW_STEPS})\nmenos en el último",
        "cada paso se queda\nen la media",
        f"queda un ruido de\n$\\sigma_1 = {last}$ que nadie quita",
    )
    colors = (palette.data, palette.mean, palette.noise)
    figure, axes = canvas(1, 3, height=3.2)
    sizes = (4.0, 14.0, 4.0)
    for panel, cloud, title, note, color, size in zip(
        axes, clouds, titles, notes, colors, sizes, strict=True
    ):
        show_points(panel, cloud, color, limit=1.15, size=size, alpha=0.7)
        panel.set_title(title)
        panel.set_xlabel(note, color=color, fontsize=10.5, labelpad=6)
    return figure


def easing(times: Tensor) -> list[int]:
    """Qué estado enseña cada fotograma: hacia el final, donde se decide todo, va más despacio.

    Cada estado dura dos fotogramas: el ruido que cambia en todos ocupa el doble y no se ve mejor.
    """
    held = [i - i % HELD for i in range(FRAMES)]
    return closest(times, [(1 - i / held[-1]) ** 1.6 for i in held])


def time_label(time: int) -> str:
    return f"$t = {time}$" if time else "$x_0$"


def animate_digits(palette: Palette) -> list[Image.Image]:
    digits = samples.load("digits")
    columns = digits["x_t"].shape[1]
    figure, (panel,) = canvas(height=1.82)
    pairs = torch.cat([digits["x_t"], digits["x_start"]], dim=1)
    shown = show_mosaic(panel, pairs[0], columns, left=["$x_t$", r"$\hat{x}_0$"])
    panel.tick_params(axis="y", labelsize=15, pad=5)
    for label, color in zip(panel.get_yticklabels(), (palette.noisy, palette.data), strict=True):
        label.set_color(color)
    title = panel.set_title("$t = 1000$", fontsize=15, pad=6)

    def update(index: int) -> None:
        time = int(digits["times"][index])
        shown.set_data(mosaic(pairs[index], columns))
        title.set(text=time_label(time), color=palette.noisy if time else palette.data)

    figure.set_dpi(100)
    return frames_of(figure, palette, [shown, title], easing(digits["times"]), update)


def animate_points(palette: Palette) -> list[Image.Image]:
    roll = samples.load("swiss-roll")
    figure, axes = canvas(1, 2, height=3.95)
    clouds, titles = [], []
    for panel, states, color, start in (
        (axes[0], roll["x_t"], palette.noisy, "$t = 1000$"),
        (axes[1], roll["x_start"], palette.data, r"$\hat{x}_0$"),
    ):
        clouds.append(
            show_points(panel, states[0, :MOVING], color, limit=LIMIT, size=8, alpha=0.75)
        )
        titles.append(panel.set_title(start, fontsize=15, color=color))

    def update(index: int) -> None:
        time = int(roll["times"][index])
        color = palette.noisy if time else palette.data
        clouds[0].set(offsets=roll["x_t"][index, :MOVING].numpy(), color=color)
        clouds[1].set(offsets=roll["x_start"][index, :MOVING].numpy())
        titles[0].set(text=time_label(time), color=color)

    figure.set_dpi(100)
    return frames_of(figure, palette, [*clouds, titles[0]], easing(roll["times"]), update)


def draw_plane(palette: Palette) -> Figure:
    """Partículas que bajan con la red ideal de una espiral, y hacia dónde las empuja el score."""
    angle = 2 * math.pi * torch.linspace(0.35, 2.0, 320)
    spiral = torch.stack([angle.cos(), angle.sin()], 1) * torch.linspace(0.15, 1.1, 320)[:, None]
    whole = Diffusion(make_schedule("linear", PLANE_STEPS), "epsilon", clip=False)
    model = ideal_model(whole, spiral, bandwidth=0.04)
    noises = sampling_noise(0, range(CLOUD), (2,))
    steps = list(algorithm2(Denoiser(model, whole), next(noises), noises))
    ticks = torch.linspace(-2.0, 2.0, 15)
    grid = torch.cartesian_prod(ticks, ticks)
    figure, axes = canvas(1, 3, height=2.8)
    for panel, time in zip(axes, (100, 20, 1), strict=True):
        t = torch.full((len(grid),), time - 1)
        score = to_score(whole.schedule, model(grid, t), t)
        arrows = score / score.norm(dim=1, keepdim=True)
        show_points(panel, steps[-time].before, palette.noisy, limit=2.2)
        panel.quiver(*grid.T, *arrows.T, color=palette.mean, pivot="mid", width=0.006, scale=20)
        panel.set_title(f"$t={time}$", pad=4)
    return figure


FIGURES = {
    "generacion-tira": draw_strip,
    "generacion-clases": draw_classes,
    "generacion-ruido": draw_noise,
    "generacion-plano": draw_plane,
}
ANIMATIONS = {
    "generacion-animacion": animate_digits,
    "generacion-puntos-animacion": animate_points,
}
POSTERS = {"generacion-animacion": 56, "generacion-puntos-animacion": 73}
