"""Backwards process: el paso atrás que da la red."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import Denoiser, to_score
from ddpm_lit.data import load_dataset
from ddpm_lit.forward import q_sample
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule
from scripts.build import models
from scripts.figures import mixture
from scripts.figures.style import WIDTH, Palette, canvas, log_axis, show_image, show_points
from scripts.site.project import profile

INPUTS = ("swiss-roll", "digits")
SAMPLES = 4
STEPS = 20 if profile() == "smoke" else 60


def draw_gaussian(palette: Palette) -> Figure:
    alpha_bar, x_t = 0.35, -0.05
    x = np.linspace(-1.6, 1.6, 321)
    figure, axes = canvas(1, 3, height=3.1)
    for panel, beta in zip(axes, (0.02, 0.4, 0.64), strict=True):
        # Bayes sin aproximar: q(x_{t-1}|x_t) es proporcional a q(x_t|x_{t-1}) q(x_{t-1}).
        schedule = Schedule.from_alphas_cumprod([alpha_bar / (1 - beta), alpha_bar])
        before = mixture.density(x, float(schedule.alphas_cumprod[0]))
        step = float(schedule.betas[1])
        exact = before * mixture.normal(x_t, np.sqrt(1 - step) * x, step)
        exact /= exact.sum() * (x[1] - x[0])
        mean = (x * exact).sum() * (x[1] - x[0])
        variance = ((x - mean) ** 2 * exact).sum() * (x[1] - x[0])
        panel.fill_between(
            x, exact, color=palette.noisy, alpha=0.3, linewidth=0, label="la verdadera"
        )
        panel.plot(
            x,
            mixture.normal(x, mean, variance),
            color=palette.mean,
            label="la mejor normal",
        )
        panel.set_title(rf"$\beta_t = {beta:.2f}$".replace(".", "{,}"), color=palette.schedule)
        panel.set(
            xlim=(-1.6, 1.6), ylim=(0, None), xlabel="$x_{t-1}$", xticks=(-1, 0, 1), yticks=[]
        )
        panel.spines["left"].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_sigmas(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.3, sharey=True)
    for panel, steps in zip(axes, (1000, 50), strict=True):
        schedule = make_schedule("linear", steps)
        t = np.arange(1, steps + 1)
        large, small = schedule.betas.numpy(), schedule.posterior_variance.clone()
        small[0] = float("nan")
        panel.fill_between(t, small, large, color=palette.schedule, alpha=0.18, linewidth=0)
        panel.plot(t, large, color=palette.schedule, label=r"$\beta_t$ (grande)")
        panel.plot(
            t,
            small,
            color=palette.schedule,
            linestyle=(0, (4, 1.6)),
            label=r"$\tilde\beta_t$ (pequeña)",
        )
        log_axis(panel, (1, 10, 100, 1000) if steps == 1000 else (1, 10, 50))
        panel.set(yscale="log", ylim=(3e-5, 1), xlim=(1, steps), xlabel="$t$", title=f"$T={steps}$")
    axes[0].legend(loc="upper left", fontsize=11.5)
    axes[0].set_ylabel(r"$\sigma_t^2$", color=palette.schedule, fontsize=13)
    return figure


def draw_field(palette: Palette) -> Figure:
    trained = models.load("swiss-roll")
    schedule = trained.schedule
    times = (7, 45, 150, 400)
    x_0 = load_dataset("swiss_roll", n=700, seed=1).x
    noise = next(sampling_noise(0, range(len(x_0)), (2,)))
    figure, axes = canvas(2, 2, height=7.3)
    for panel, time in zip(axes, times, strict=True):
        limit = 1.15 if time < 100 else 2.1
        ticks = torch.linspace(-0.92 * limit, 0.92 * limit, 15)
        x = torch.cartesian_prod(ticks, ticks)
        t = torch.tensor([time - 1])
        with torch.no_grad():
            epsilon = trained.model(x, t.expand(len(x)))
        score = to_score(schedule, epsilon, t.expand(len(x)))
        # Todas las flechas miden lo mismo: cerca de los datos el campo es mil veces menor.
        arrows = score / score.norm(dim=1, keepdim=True).clamp(min=1e-9)
        show_points(panel, q_sample(schedule, x_0, t, noise), palette.noisy, limit=limit, size=5)
        panel.quiver(
            *x.T, *arrows.T, color=palette.text, pivot="mid", width=0.0045, scale=21, zorder=3
        )
        panel.set_title(f"$t={time}$", pad=4)
    return figure


@cache
def walk(clip: bool) -> tuple[Tensor, Tensor, Tensor]:
    r"""Los $t$, los extremos de $\hat x_0$ antes de recortar en cada paso y las muestras."""
    trained: Trained = models.load("digits")
    diffusion = trained.diffusion.respaced(STEPS)
    noises = sampling_noise(0, range(SAMPLES), trained.shape)
    x_T = next(noises)
    seen: list[Tensor] = []

    def watch(x_start: Tensor) -> Tensor:
        seen.append(torch.stack(list(x_start.aminmax())))
        return x_start.clamp(-1, 1) if clip else x_start

    denoise = Denoiser(trained.model, replace(diffusion, clip=watch))
    *_, last = algorithm2(denoise, x_T, noises)
    return diffusion.schedule.timesteps.flip(0) + 1, torch.stack(seen), last.x_t


def draw_clipping(palette: Palette) -> Figure:
    figure = plt.figure(figsize=(WIDTH, 4.0))
    columns: Any = figure.subfigures(1, 2)
    for column, clip in zip(columns, (False, True), strict=True):
        times, extremes, x = walk(clip)
        axes = column.subplots(2, SAMPLES, height_ratios=(3.4, 1))
        spec = axes[0, 0].get_gridspec()
        for unused in axes[0]:
            unused.remove()
        panel = column.add_subplot(spec[0, :])
        panel.fill_between(times, *extremes.T, color=palette.data, alpha=0.3, linewidth=0)
        panel.plot(times, extremes, color=palette.data, linewidth=1.4)
        panel.axhspan(-1, 1, color=palette.mean, alpha=0.3, linewidth=0)
        panel.set_yscale("symlog", linthresh=1)
        panel.set(xlim=(1000, 0), ylim=(-1e5, 1e5), xlabel="$t$", xticks=(1000, 500, 0))
        panel.set_yticks((-1e4, -1e2, -1, 1, 1e2, 1e4))
        panel.minorticks_off()
        panel.set_title("Recortando en cada paso" if clip else "Sin recortar")
        if not clip:
            panel.set_ylabel(r"extremos de $\hat x_0$", color=palette.data)
        for cell, image in zip(axes[1], x, strict=True):
            show_image(cell, image)
    return figure


FIGURES = {
    "backward-gaussiana": draw_gaussian,
    "backward-sigmas": draw_sigmas,
    "backward-campo": draw_field,
    "backward-recorte": draw_clipping,
}
