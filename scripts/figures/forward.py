"""Forward process: cómo el ruido se lleva los datos."""

import base64
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ddpm_lit.data import load_dataset
from ddpm_lit.data.compositions import Part
from ddpm_lit.data.compositions import draw as draw_compositions
from ddpm_lit.forward import q_sample, q_step
from ddpm_lit.noise import sampling_noise
from ddpm_lit.scheduler import make_schedule
from scripts.build.samples import samples_path
from scripts.figures import mixture
from scripts.figures.style import (
    Palette,
    Row,
    canvas,
    comma,
    frames_of,
    halo,
    image_table,
    show_points,
)

INPUTS = ("samples-fashion-mnist",)
SCHEDULE = make_schedule("linear", 1000)
DIGIT = 3
GARMENT = 9
PATHS = 40
FRAMES = 120
PAUSE = 10
POINTS = 240


def digit() -> Tensor:
    """Un dígito real, (1, 1, 8, 8)."""
    return load_dataset("digits").x[DIGIT : DIGIT + 1]


def roll(count: int) -> Tensor:
    """Puntos de la espiral, (count, 2)."""
    return load_dataset("swiss_roll", n=count, seed=1).x


def draw_digit(palette: Palette) -> Figure:
    times = (50, 150, 250, 350, 500, 1000)
    x_0 = digit()
    t = torch.tensor(times) - 1
    x_t = q_sample(SCHEDULE, x_0, t, next(sampling_noise(0, [0], x_0.shape[1:])))
    titles = ["$x_0$", *(f"$t={time}$" for time in times)]
    figure = image_table(
        [Row("", palette.text, torch.cat([x_0, x_t]))], titles, label_width=0.0, gap=0.09
    )
    figure.texts[0].set(color=palette.data, fontsize=13)
    return figure


def draw_points(palette: Palette) -> Figure:
    times = (0, 20, 60, 120, 250, 1000)
    x_0 = roll(1200)
    noise = next(sampling_noise(0, range(len(x_0)), (2,)))
    figure, axes = canvas(2, 3, height=5.2)
    for panel, time in zip(axes, times, strict=True):
        if time == 0:
            show_points(panel, x_0, palette.data, limit=2.0)
            panel.set_title("$x_0$", color=palette.data, fontsize=13, pad=3)
            continue
        x_t = q_sample(SCHEDULE, x_0, torch.tensor([time - 1]), noise)
        show_points(panel, x_t, palette.noisy, limit=2.0)
        panel.set_title(f"$t={time}$", pad=3)
    return figure


def draw_density(palette: Palette) -> Figure:
    times = (0, 50, 150, 300, 500, 1000)
    x = np.linspace(-3, 3, 301)
    figure, axes = canvas(2, 3, height=3.9, sharex=True, sharey=True)
    for panel, time in zip(axes, times, strict=True):
        alpha_bar = float(SCHEDULE.alphas_cumprod[time - 1]) if time else 1.0
        color = palette.noisy if time else palette.data
        y = mixture.density(x, alpha_bar)
        panel.fill_between(x, y, color=color, alpha=0.28, linewidth=0)
        panel.plot(x, y, color=color, label="$q(x_t)$" if time else "$q(x_0)$")
        panel.plot(
            x,
            mixture.normal(x, 0.0, 1.0),
            color=palette.noise,
            linestyle=(0, (4, 2)),
            linewidth=1.5,
            label=r"$\mathcal{N}(0,1)$",
        )
        panel.set_title(f"$t={time}$")
        panel.set(xticks=(-2, 0, 2), ylim=(0, None))
    handles = [*axes[0].lines[:1], *axes[1].lines]
    figure.legend(
        handles,
        ["$q(x_0)$", "$q(x_t)$", r"$\mathcal{N}(0,1)$"],
        loc="outside lower center",
        ncols=3,
        fontsize=12,
    )
    return figure


def draw_variance(palette: Palette) -> Figure:
    x_0 = torch.tensor([-1.0, 1.0]).repeat(PATHS // 2)[:, None]
    noises = sampling_noise(0, range(PATHS), (1,))
    next(noises)
    growing, kept = [x_0], [x_0]
    for index, noise in zip(range(len(SCHEDULE)), noises, strict=False):
        t = torch.tensor([index])
        growing.append(growing[-1] + SCHEDULE.at("sqrt_betas", t, noise) * noise)
        kept.append(q_step(SCHEDULE, kept[-1], t, noise))
    steps = np.arange(len(SCHEDULE) + 1)
    grown_variance = 1 + np.concatenate([[0], np.cumsum(SCHEDULE.betas)])
    panels = (
        ("Solo sumando ruido", growing, grown_variance),
        (r"Encogiendo antes por $\sqrt{1-\beta_t}$", kept, np.ones(len(steps))),
    )
    figure, axes = canvas(1, 2, height=3.1, sharey=True)
    for panel, (title, paths, variance) in zip(axes, panels, strict=True):
        values = torch.stack(paths)[:, :, 0].numpy()
        panel.plot(steps, values, color=palette.noisy, linewidth=0.6, alpha=0.4, rasterized=True)
        for sign in (-1, 1):
            panel.plot(
                steps,
                sign * np.sqrt(variance),
                color=palette.schedule,
                linewidth=2.4,
                path_effects=halo(palette),
            )
        panel.set_title(title)
        panel.set(
            xlim=(0, 1000),
            ylim=(-8.8, 8.8),
            yticks=(-8, -4, 0, 4, 8),
            xlabel="$t$",
            xticks=(0, 500, 1000),
        )
        panel.text(
            0.04,
            0.95,
            f"varianza al final: {comma(float(variance[-1]), 0)}",
            transform=panel.transAxes,
            color=palette.schedule,
            va="top",
            path_effects=halo(palette),
        )
    axes[0].set_ylabel("$x_t$", color=palette.noisy)
    return figure


def animate(palette: Palette) -> list[Image.Image]:
    x_0 = roll(POINTS)
    noises = sampling_noise(0, range(len(x_0)), (2,))
    next(noises)
    states = [x_0]
    for index in range(len(SCHEDULE)):
        states.append(q_step(SCHEDULE, states[-1], torch.tensor([index]), next(noises)))
    # La espiral se deshace en el primer cuarto del proceso: ahí el tiempo va más despacio.
    shown = [0] * PAUSE + [
        round(1000 * (i / (FRAMES - PAUSE)) ** 2) for i in range(1, FRAMES - PAUSE + 1)
    ]

    figure, (cloud, curves) = canvas(1, 2, height=3.6, width_ratios=(1, 1.05))
    dots = show_points(cloud, x_0, palette.data, limit=2.3, size=9, alpha=0.75)
    title = cloud.set_title("$t = 1000$", fontsize=15)
    steps = np.arange(1, 1001)
    for name, label, color, x in (
        ("sqrt_alphas_cumprod", r"$\sqrt{\bar\alpha_t}$", palette.data, 90),
        ("sqrt_one_minus_alphas_cumprod", r"$\sqrt{1-\bar\alpha_t}$", palette.noise, 640),
    ):
        curves.plot(steps, getattr(SCHEDULE, name), color=color)
        curves.text(x, 1.06, label, color=color, fontsize=15)
    curves.set(xlim=(0, 1000), ylim=(0, 1.25), xticks=(0, 500, 1000), yticks=(0, 0.5, 1))
    curves.set_xlabel("$t$", fontsize=14)
    now = curves.axvline(0, color=palette.noisy)

    def update(time: int) -> None:
        color = palette.noisy if time else palette.data
        dots.set(offsets=states[time].numpy(), color=color)
        title.set(text=f"$t = {time}$" if time else "$x_0$", color=color)
        now.set_xdata([time, time])

    figure.set_dpi(100)
    return frames_of(figure, palette, [dots, title, now], shown, update)


def pictures() -> dict[str, dict[str, Any]]:
    """Las imágenes entre las que se elige en el widget: sus valores, como los recibe la red."""
    garment = load_file(samples_path("fashion-mnist"))["x"][GARMENT]
    heart = draw_compositions([(Part("corazón", "verde"),)])[0]
    return {
        "emoji": picture("un emoji", heart),
        "prenda": picture("una prenda", garment.clamp(-1, 1)),
        "digito": picture("un dígito", digit()[0]),
    }


def picture(title: str, x: Tensor) -> dict[str, Any]:
    """Una imagen (C, H, W) como la lee el navegador: float32, en base64."""
    channels, height, width = x.shape
    values = base64.b64encode(x.contiguous().numpy().astype("<f4").tobytes()).decode()
    size = {"channels": channels, "height": height, "width": width}
    return {"title": title, **size, "values": values}


FIGURES = {
    "forward-digito": draw_digit,
    "forward-puntos": draw_points,
    "forward-densidad": draw_density,
    "forward-varianza": draw_variance,
}
DATA = {"widget-forward": pictures}
ANIMATIONS = {"forward-animacion": animate}
POSTERS = {"forward-animacion": 35}
