"""¿Por qué estamos prediciendo ε? Lo que la red ve, predice y estima."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import p_mean_variance
from ddpm_lit.forward import q_sample
from ddpm_lit.ideal import ideal_x_start
from ddpm_lit.noise import sampling_noise
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.scheduler import make_schedule
from scripts.build import models
from scripts.figures.style import Palette, Row, canvas, image_table

INPUTS = ("digits",)
TIMES = (50, 150, 300, 450, 600, 850)
CLASSES = (0, 3, 6)
NOISE_CONTRAST = 0.45


class OneShot(NamedTuple):
    r"""Un dígito apartado en los instantes `TIMES`: $x_0$ (1, …) y lo demás (K, …)."""

    x_0: Tensor
    x_t: Tensor
    noise: Tensor
    predicted: Tensor
    x_start: Tensor


@cache
def one_shot(label: int) -> OneShot:
    """Lo que la red de dígitos dice, de una vez, del primer dígito apartado de una clase."""
    trained = models.load("digits")
    data = models.digits_split()[1]
    assert data.labels is not None
    x_0 = data.x[data.labels == label][:1]
    noise = next(sampling_noise(label, [0], trained.shape))
    t = torch.tensor(TIMES) - 1
    x_t = q_sample(trained.schedule, x_0, t, noise)
    with torch.no_grad():
        output = trained.model(x_t, t)
    step = p_mean_variance(trained.diffusion, output, x_t, t)
    return OneShot(x_0, x_t, noise.expand_as(x_t), output, step.x_start)


def draw_predictions(palette: Palette) -> Figure:
    seen = one_shot(CLASSES[0])
    rows = [
        Row("$x_t$", palette.noisy, seen.x_t),
        Row(r"$\epsilon$", palette.noise, NOISE_CONTRAST * seen.noise),
        Row(r"$\epsilon_\theta$", palette.noise, NOISE_CONTRAST * seen.predicted),
        Row(r"$\hat x_0$", palette.data, seen.x_start),
    ]
    return image_table(rows, [f"$t={time}$" for time in TIMES])


def draw_one_shot(palette: Palette) -> Figure:
    rows = []
    for label in CLASSES:
        seen = one_shot(label)
        rows.append(Row("", palette.data, torch.cat([seen.x_0, seen.x_start])))
    titles = ["$x_0$", *(f"$t={time}$" for time in TIMES)]
    figure = image_table(rows, titles, label_width=0.0, first_gap=0.22)
    for text in figure.texts:
        if text.get_text() == "$x_0$":
            text.set(color=palette.data, fontsize=13)
    return figure


def draw_amplification(palette: Palette) -> Figure:
    curves = (
        ("epsilon", r"$\epsilon$", palette.noise, "-"),
        ("v", "$v$", palette.noisy, (0, (5, 2))),
        ("x_start", "$x_0$", palette.data, (0, (1, 1.2))),
    )
    figure, axes = canvas(1, 2, height=3.4, sharey=True)
    for panel, (name, title) in zip(
        axes, (("linear", "Lineal"), ("cosine", "Coseno")), strict=True
    ):
        schedule = make_schedule(name, 1000)
        t = torch.arange(len(schedule))
        x_t = torch.zeros(len(t), 1, dtype=torch.float64)
        for prediction, label, color, dash in curves:
            row = PARAMETRISATIONS[prediction]
            right, wrong = (row.x_start(schedule, x_t + error, x_t, t) for error in (0, 1))
            panel.plot(
                np.arange(1, 1001),
                (wrong - right).abs()[:, 0],
                color=color,
                linestyle=dash,
                label=f"la red predice {label}",
            )
        panel.set(yscale="log", xlim=(0, 1000), ylim=(5e-3, 1e3), xlabel="$t$", title=title)
        panel.set(xticks=(0, 500, 1000))
    axes[0].set_ylabel(r"error en $\hat x_0$", color=palette.data)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_mean(palette: Palette) -> Figure:
    r"""$\hat x_0$, media de los datos, cada uno con lo probable que es que $x_t$ salga de él."""
    angle = torch.pi * (torch.arange(24) + 0.5) / 24
    moon = torch.stack([0.8 * angle.cos() + 0.35, 0.8 * angle.sin() - 0.25], 1)
    data = torch.cat([moon, -moon])
    schedule = make_schedule("linear", 200)
    x_t = torch.tensor([[0.15, 0.55]])
    figure, axes = canvas(1, 3, height=2.2)
    for panel, time in zip(axes, (8, 30, 120), strict=True):
        bar = schedule.alphas_cumprod[time - 1]
        distance = (x_t - bar.sqrt() * data).square().sum(1)
        weights = torch.softmax(-distance / (2 * (1 - bar)), 0)
        x_start = ideal_x_start(schedule, data, x_t, torch.tensor([time - 1]))
        sizes = 3 + 55 * weights / weights.max()
        panel.scatter(data[:, 0], data[:, 1], s=sizes, color=palette.data, alpha=0.6, linewidths=0)
        panel.plot(*zip(x_t[0], x_start[0], strict=True), "--", color=palette.mean, linewidth=1.2)
        panel.plot(*x_start.T, "D", color=palette.mean, markersize=7)
        panel.plot(*x_t.T, "P", color=palette.noisy, markersize=9)
        panel.set(xlim=(-1.4, 1.4), ylim=(-0.95, 0.95), aspect="equal", xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set_visible(False)
        panel.set_title(f"$t={time}$", pad=4)
    return figure


FIGURES = {
    "epsilon-media": draw_mean,
    "epsilon-predicciones": draw_predictions,
    "epsilon-amplificacion": draw_amplification,
    "epsilon-x0": draw_one_shot,
}
