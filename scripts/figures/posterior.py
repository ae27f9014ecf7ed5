"""Posterior: el paso atrás cuando se conoce el destino."""

import numpy as np
import torch
from matplotlib.figure import Figure

from ddpm_lit.forward import q_mean_variance
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import make_schedule, respace, spaced_indices
from scripts.figures.mixture import normal
from scripts.figures.style import Palette, canvas, log_axis

INPUTS = ()
LINEAR = make_schedule("linear", 1000)
TEN_STEPS = respace(LINEAR, spaced_indices(1000, 10))


def draw_bayes(palette: Palette) -> Figure:
    schedule = TEN_STEPS
    x_0, x_t = -0.7, 0.9
    x = np.linspace(-2.6, 2.6, 401)
    figure, axes = canvas(1, 2, height=3.7, sharey=True)
    for panel, index in zip(axes, (2, 4), strict=True):
        t = torch.tensor([index])
        start, now = torch.full((1, 1), x_0).double(), torch.full((1, 1), x_t).double()
        prior = q_mean_variance(schedule, start, t - 1)
        exact = q_posterior(schedule, start, now, t)
        alpha = float(schedule.alphas[index])
        before = normal(x, float(prior.mean), float(prior.variance))
        likelihood = normal(x_t, np.sqrt(alpha) * x, float(schedule.betas[index]))
        product = before * likelihood
        product /= product.sum() * (x[1] - x[0])
        panel.fill_between(
            x, product, color=palette.mean, alpha=0.25, linewidth=0, label="producto, a mano"
        )
        panel.plot(
            x,
            normal(x, float(exact.mean), float(exact.variance)),
            color=palette.mean,
            label=r"$q(x_{t-1}|x_t,x_0)$",
        )
        panel.plot(x, before, color=palette.data, linestyle=(0, (5, 2)), label=r"$q(x_{t-1}|x_0)$")
        panel.plot(
            x,
            likelihood / (likelihood.sum() * (x[1] - x[0])),
            color=palette.noisy,
            linestyle=(0, (1, 1.2)),
            label=r"$q(x_t|x_{t-1})$",
        )
        for value, name, color in ((x_0, "$x_0$", palette.data), (x_t, "$x_t$", palette.noisy)):
            panel.plot([value], [0], "o", color=color, markersize=7, clip_on=False, zorder=5)
            panel.annotate(
                name,
                (value, 0),
                (0, -7),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=13,
                color=color,
            )
        panel.set(xlim=(-2.6, 2.6), ylim=(-0.22, None), xlabel="$x_{t-1}$")
        panel.set(xticks=(-2, -1, 0, 1, 2), yticks=(0, 0.5, 1))
        panel.set_title(f"Paso {index + 1} de {len(schedule)}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.1)
    return figure


def draw_coefficients(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.2, sharey=True)
    for panel, schedule in zip(axes, (LINEAR, make_schedule("linear", 50)), strict=True):
        steps = np.arange(1, len(schedule) + 1)
        panel.plot(steps, schedule.posterior_mean_coef1, color=palette.data, label="de $x_0$")
        panel.plot(steps, schedule.posterior_mean_coef2, color=palette.noisy, label="de $x_t$")
        log_axis(panel, (1, 10, len(schedule)))
        panel.set(xlim=(1, len(schedule)), ylim=(-0.02, 1.04), xlabel="$t$")
        panel.set_title(f"$T={len(schedule)}$")
    axes[0].set_ylabel(r"peso en $\tilde\mu_t$", color=palette.mean)
    axes[0].legend(loc="center right", fontsize=12)
    return figure


def draw_variance(palette: Palette) -> Figure:
    figure, (panel,) = canvas(1, 1, height=3.2)
    for steps, dash in ((1000, "-"), (200, (0, (5, 2))), (50, (0, (1, 1.2)))):
        schedule = make_schedule("linear", steps)
        panel.plot(
            np.arange(1, steps + 1) / steps,
            schedule.posterior_variance / schedule.betas,
            color=palette.schedule,
            linestyle=dash,
            label=f"$T={steps}$",
        )
    panel.set(xlim=(-0.01, 1), ylim=(0, 1.04), xlabel="$t/T$")
    panel.set_ylabel(r"$\tilde\beta_t\,/\,\beta_t$", color=palette.schedule, fontsize=13)
    panel.legend(loc="lower right", fontsize=12)
    return figure


FIGURES = {
    "posterior-bayes": draw_bayes,
    "posterior-coeficientes": draw_coefficients,
    "posterior-varianza": draw_variance,
}
