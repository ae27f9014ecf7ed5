"""Función de pérdidas: qué error comete la red en cada t y cuánto pesa."""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.losses import loss_weight, prior_term, vb_term, weighted_mse
from ddpm_lit.noise import sampling_noise
from ddpm_lit.scheduler import make_schedule
from scripts.build import models
from scripts.figures.style import Palette, canvas, log_axis
from scripts.site.project import profile

INPUTS = ("digits",)
HELD_OUT = 16 if profile() == "smoke" else 64
FLOOR = 1e-10
INSTANTS = 8 if profile() == "smoke" else 32


class Errors(NamedTuple):
    """Lo que se mide en cada t (índice de código): errores y términos de la cota, (K, B)."""

    t: Tensor
    squared: Tensor
    terms: Tensor
    prior: Tensor


@cache
def held_out_errors() -> Errors:
    """Los errores del modelo de dígitos con los que no vio al entrenar."""
    trained = models.load("digits")
    schedule = trained.schedule
    data = models.digits_split()[1]
    x_0 = data.x[:HELD_OUT]
    noises = sampling_noise(1, range(len(x_0)), trained.shape)
    indices = np.unique(np.geomspace(1, len(schedule), INSTANTS).astype(int)) - 1
    squared, terms = [], []
    for index in indices:
        t = torch.full((len(x_0),), int(index))
        noise = next(noises)
        x_t = q_sample(schedule, x_0, t, noise)
        with torch.no_grad():
            output = trained.model(x_t, schedule.timesteps[t])
        squared.append(weighted_mse(output, noise))
        levels = data.levels or 256
        terms.append(vb_term(trained.diffusion, output, x_0, x_t, t, levels=levels))
    return Errors(
        torch.from_numpy(indices),
        torch.stack(squared),
        torch.stack(terms),
        prior_term(schedule, x_0),
    )


def draw_by_time(palette: Palette) -> Figure:
    errors = held_out_errors()
    t = (errors.t + 1).numpy()
    low, high = torch.quantile(errors.squared, torch.tensor([0.1, 0.9]), dim=1)
    figure, (panel,) = canvas(1, 1, height=3.2)
    panel.fill_between(
        t, low, high, color=palette.noise, alpha=0.22, linewidth=0, label="8 de cada 10 dígitos"
    )
    panel.plot(t, errors.squared.mean(dim=1), color=palette.noise, label="media")
    log_axis(panel, (1, 10, 100, 1000))
    panel.set(xlim=(1, 1000), ylim=(0, None), xlabel="$t$")
    panel.set_ylabel(r"error en $\epsilon$ (por píxel)", color=palette.noise)
    panel.legend(loc="upper right")
    return figure


def draw_bound(palette: Palette) -> Figure:
    errors = held_out_errors()
    t = (errors.t + 1).numpy()
    terms = errors.terms.mean(dim=1).numpy()
    figure, (panel,) = canvas(1, 1, height=3.2)
    panel.plot(t[1:], terms[1:], color=palette.mean)
    ends = (
        ("$L_0$", 1, float(terms[0]), palette.data, "left"),
        ("$L_T$", 1000, float(errors.prior.mean()), palette.noise, "right"),
    )
    for label, x, value, color, side in ends:
        # El decodificador discreto puede acertar del todo, y el logaritmo no tiene cero.
        name = label if value > FLOOR else rf"{label[:-1]} \approx 0$"
        y = max(value, FLOOR)
        panel.plot(x, y, "o", color=color, markersize=8, clip_on=False, zorder=5)
        panel.annotate(
            name,
            (x, y),
            (8, 9) if side == "left" else (2, 9),
            textcoords="offset points",
            ha=side,
            va="bottom",
            color=color,
            fontsize=13,
        )
    panel.annotate(
        "$L_{t-1}$",
        (t[len(t) // 2], terms[len(t) // 2]),
        (8, 8),
        textcoords="offset points",
        color=palette.mean,
        fontsize=13,
    )
    log_axis(panel, (1, 10, 100, 1000))
    panel.set(yscale="log", xlim=(1, 1000), ylim=(FLOOR, 10 * max(terms[1:])))
    panel.set(xlabel="$t$", ylabel="bits por dimensión")
    return figure


def draw_weights(palette: Palette) -> Figure:
    schedule = make_schedule("linear", 1000)
    diffusion = Diffusion(schedule, "epsilon", "fixed_large")
    t = torch.arange(len(schedule))
    snr = schedule.snr
    curves = (
        ("cota (ec. 12)", "vlb", palette.schedule, (0, (5, 2))),
        (r"$L_{\mathrm{simple}}$", "uniform", palette.noise, "-"),
        (r"min-SNR, $\gamma=5$", "min_snr", palette.mean, (0, (1, 1.2))),
    )
    figure, axes = canvas(1, 2, height=3.6)
    for panel, space in zip(axes, (r"$\epsilon$", "$x_0$"), strict=True):
        for label, weighting, color, dash in curves:
            weight = loss_weight(diffusion, weighting)
            # Un error en x_0 es un error en ε multiplicado por la raíz de la SNR.
            values = weight * snr if space == "$x_0$" else weight
            panel.plot(t + 1, values, color=color, linestyle=dash, label=label)
        log_axis(panel, (1, 10, 100, 1000))
        panel.set(yscale="log", xlim=(1, 1000), xlabel="$t$", title=f"peso del error en {space}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def table() -> dict[str, Any]:
    """Lo que enseña el widget: el error, el peso y los términos de la cota en cada t medido."""
    errors = held_out_errors()
    diffusion = models.load("digits").diffusion
    t = (errors.t + 1).double()
    # Cada t medido representa a los que le quedan más cerca, en escala logarítmica.
    edges = torch.cat([t[:1] - 1, (t[1:] * t[:-1]).sqrt().floor(), t[-1:]])
    # El último va solo: con el coseno pesa cientos de veces más que los de al lado.
    edges[-2] = t[-1] - 1
    spans = list(pairwise(edges.long().tolist()))
    # El peso cambia mucho dentro de un tramo: el suyo es la media de los de sus t.
    weights = {
        name: [float(loss_weight(diffusion, name)[low:high].mean()) for low, high in spans]
        for name in ("uniform", "vlb", "min_snr")
    }
    return {
        "t": t.long().tolist(),
        "width": edges.diff().long().tolist(),
        "error": errors.squared.mean(dim=1).tolist(),
        "terms": errors.terms.mean(dim=1).tolist(),
        "prior": float(errors.prior.mean()),
        "weights": weights,
    }


DATA = {"widget-losses": table}
FIGURES = {
    "perdidas-por-t": draw_by_time,
    "perdidas-cota": draw_bound,
    "perdidas-pesos": draw_weights,
}
