"""Improving diffusion: lo que cuesta una varianza y lo que aprende una red."""

import math
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import p_mean_variance, split_output
from ddpm_lit.forward import q_sample
from ddpm_lit.improved import ImportanceSampler, Likelihood, bits_per_dimension, rate_distortion
from ddpm_lit.losses import variational_bound
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.noise import sampling_noise
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices
from scripts.build import models
from scripts.figures.style import Palette, canvas, log_axis
from scripts.site.project import profile

INPUTS = ("weights-digits-learned",)
HELD_OUT = 8 if profile() == "smoke" else 64
BOUND = 2 if profile() == "smoke" else 16
HISTORY = 2 if profile() == "smoke" else 10
INSTANTS = 8 if profile() == "smoke" else 28
STD = 0.3


class Learned(NamedTuple):
    """Lo que la red dice de la varianza en unos t (índices de código), en v, y la v óptima."""

    t: Tensor
    mean: Tensor
    low: Tensor
    high: Tensor
    best: Tensor


@cache
def learned_v() -> Learned:
    """La v de los dígitos que la red no vio, y la que corresponde a los errores de su media."""
    trained = load_pretrained("digits-learned")
    schedule, diffusion = trained.schedule, trained.diffusion
    x_0 = models.digits_split()[1].x[:HELD_OUT]
    noises = sampling_noise(2, range(len(x_0)), trained.shape)
    indices = np.unique(np.geomspace(2, len(schedule), INSTANTS).astype(int)) - 1
    rows = []
    for index in indices:
        t = torch.full((len(x_0),), int(index))
        x_t = q_sample(schedule, x_0, t, next(noises))
        with torch.no_grad():
            output = trained.model(x_t, schedule.timesteps[t])
        channels = split_output(diffusion.variance, output, x_t)[1]
        v = (channels + 1) / 2
        step = p_mean_variance(diffusion, output, x_t, t)
        error = (q_posterior(schedule, x_0, x_t, t).mean - step.mean).double().square().mean()
        small = schedule.posterior_variance[index]
        width = schedule.log_betas[index] - small.log()
        best = ((small + error).log() - small.log()) / width
        low, high = torch.quantile(v, torch.tensor([0.1, 0.9]))
        rows.append((v.mean(), low, high, best))
    return Learned(torch.from_numpy(indices), *torch.tensor(rows).unbind(dim=1))


@cache
def held_out_likelihood() -> Likelihood:
    """Todos los términos de la cota, con unos pocos dígitos que la red no vio."""
    trained = load_pretrained("digits-learned")
    data = models.digits_split()[1]
    return bits_per_dimension(
        trained.model,
        trained.diffusion,
        data.x[:BOUND],
        levels=data.levels,
        batch_size=BOUND,
    )


@cache
def training_terms() -> Tensor:
    """Lo que ve el muestreo: de cada t, los términos sin recortar de unos dígitos, (H, T)."""
    trained = load_pretrained("digits-learned")
    data = models.digits_split()[1]
    x_0 = data.x[:HISTORY]
    noises = sampling_noise(3, range(len(x_0)), trained.shape)
    return variational_bound(
        trained.model,
        replace(trained.diffusion, clip=False),
        x_0,
        lambda _: next(noises),
        levels=data.levels,
    ).terms.double()


def true_variance(schedule: Schedule, std: float) -> Tensor:
    """Var(x_{t-1}|x_t) de datos N(0, std²), (T,)."""
    before = schedule.alphas_cumprod_prev * std**2 + 1 - schedule.alphas_cumprod_prev
    return before * schedule.betas / (schedule.alphas * before + schedule.betas)


def draw_cost(palette: Palette) -> Figure:
    full = make_schedule("cosine", 1000)
    figure, axes = canvas(1, 2, height=3.4, sharey=True)
    for panel, steps in zip(axes, (1000, 50), strict=True):
        schedule = respace(full, spaced_indices(1000, steps))
        for variance, name, color, dash in (
            (schedule.betas, r"$\beta_t$", palette.schedule, "-"),
            (schedule.posterior_variance, r"$\tilde\beta_t$", palette.mean, (0, (5, 2))),
        ):
            ratio = (true_variance(schedule, STD) / variance)[1:]
            lost = 0.5 * (ratio - 1 - ratio.log()) / math.log(2)
            panel.plot(np.arange(2, steps + 1), lost, color=color, linestyle=dash, label=name)
        log_axis(panel, (2, 10, 50) if steps == 50 else (2, 10, 100, 1000))
        panel.set(yscale="log", xlim=(2, steps), ylim=(1e-10, 100), xlabel="$t$")
        panel.set_title(f"{steps} pasos")
    axes[0].set_ylabel("bits que se pierden")
    axes[0].legend(loc="upper right", fontsize=13)
    return figure


def draw_v(palette: Palette) -> Figure:
    found = learned_v()
    t = (found.t + 1).numpy()
    figure, (panel,) = canvas(1, 1, height=3.4)
    panel.axhline(0, color=palette.faint, linewidth=1)
    panel.axhline(1, color=palette.faint, linewidth=1)
    panel.fill_between(
        t, found.low, found.high, color=palette.schedule, alpha=0.22, linewidth=0, label="8 de 10"
    )
    panel.plot(t, found.mean, color=palette.schedule, label="la de la red")
    panel.plot(t, found.best, color=palette.text, linestyle=(0, (1, 1.2)), label="la óptima")
    log_axis(panel, (2, 10, 100, 1000))
    panel.set(xlim=(2, 1000), ylim=(-0.3, 1.3), xlabel="$t$")
    panel.set_yticks((0, 0.5, 1), (r"$0\;(\tilde\beta_t)$", "0,5", r"$1\;(\beta_t)$"), fontsize=12)
    panel.set_ylabel("$v$", color=palette.schedule, fontsize=13)
    panel.legend(loc="lower left", ncols=3)
    return figure


def draw_importance(palette: Palette) -> Figure:
    terms = training_terms()
    sampler = ImportanceSampler(terms.shape[1], history=len(terms))
    for losses in terms:
        sampler.update(torch.arange(len(losses)), losses)
    probabilities = sampler.probabilities()
    t = np.arange(1, len(probabilities) + 1)
    figure, (panel,) = canvas(1, 1, height=3.2)
    panel.plot(t, probabilities, color=palette.noise, label="por importancia")
    panel.plot(t[-1], probabilities[-1], "o", color=palette.noise, clip_on=False, zorder=5)
    panel.annotate(
        "$t=T$",
        (t[-1], probabilities[-1]),
        (-8, -4),
        textcoords="offset points",
        ha="right",
        color=palette.noise,
        fontsize=12,
    )
    panel.plot(t, np.full(len(t), 1 / len(t)), color=palette.text, linestyle=(0, (5, 2)))
    panel.annotate(
        "uniforme",
        (t[-1], 1 / len(t)),
        (-4, 6),
        textcoords="offset points",
        ha="right",
        fontsize=11,
    )
    log_axis(panel, (1, 10, 100, 1000))
    panel.set(yscale="log", xlim=(1, len(t)), xlabel="$t$")
    panel.set_ylabel("$p_t$", color=palette.noise, fontsize=13)
    panel.legend(loc="lower left")
    return figure


def draw_rate(palette: Palette) -> Figure:
    rate, distortion = rate_distortion(held_out_likelihood())
    t = np.arange(1, len(rate) + 1)
    figure, (left, right) = canvas(1, 2, height=3.4)
    left.plot(t, rate, color=palette.schedule)
    log_axis(left, (1, 10, 100, 1000))
    left.set(xlim=(1, len(t)), ylim=(0, None), xlabel="$t$", ylabel="tasa (bits/dim)")
    right.plot(rate, distortion, color=palette.data)
    right.set(xlim=(0, None), ylim=(0, None), xlabel="tasa (bits/dim)")
    right.set_ylabel("distorsión (de 0 a 255)", color=palette.data)
    return figure


FIGURES = {
    "improved-coste": draw_cost,
    "improved-v": draw_v,
    "improved-importancia": draw_importance,
    "improved-tasa": draw_rate,
}
