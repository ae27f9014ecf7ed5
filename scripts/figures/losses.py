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
from ddpm_lit.losses import (
    loss_weight,
    prior_term,
    variational_bound,
    vb_term,
    weighted_mse,
)
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


def draw_ceiling(palette: Palette) -> Figure:
    """La cota y lo que acota, con datos normales y una red que es la perfecta por un factor."""
    std = 0.4
    diffusion = Diffusion(make_schedule("linear", 1000), "epsilon", "fixed_large", clip=False)
    short = diffusion.respaced(50)
    schedule = short.schedule
    bars = schedule.alphas_cumprod
    slopes = (1 - bars).sqrt() / (bars * std**2 + 1 - bars)
    generator = torch.Generator().manual_seed(0)
    x_0 = std * torch.randn(2000, 1, dtype=torch.float64, generator=generator)
    x_0 = x_0 * std / x_0.square().mean().sqrt()
    noise = torch.randn(len(schedule), 2000, 1, dtype=torch.float64, generator=generator)
    factors = torch.linspace(0.7, 1.4, 57, dtype=torch.float64)
    bounds, costs = [], []
    for factor in factors:
        gains = factor * slopes

        def model(x: Tensor, t: Tensor, gains: Tensor = gains) -> Tensor:
            return gains[torch.searchsorted(schedule.timesteps, t)].unsqueeze(1) * x

        bound = variational_bound(model, short, x_0, lambda index: noise[index], levels=None)
        bounds.append(bound.total.mean())
        # La cadena del modelo es lineal: su última normal se sabe.
        variance = torch.ones((), dtype=torch.float64)
        shrink = (1 - schedule.betas / (1 - bars).sqrt() * gains) / schedule.sqrt_alphas
        for index in reversed(range(len(schedule))):
            variance = shrink[index] ** 2 * variance + schedule.betas[index]
        costs.append(0.5 * ((2 * torch.pi * variance).log2() + std**2 / variance / np.log(2)))
    ceiling, cost = torch.stack(bounds), torch.stack(costs)
    figure, (panel,) = canvas(1, 1, height=3.3)
    panel.fill_between(factors, cost, ceiling, color=palette.noise, alpha=0.18, linewidth=0)
    panel.plot(factors, ceiling, color=palette.noise, label="$L$, la cota")
    panel.plot(factors, cost, color=palette.data, label=r"$-\log p_\theta(x_0)$, lo que importa")
    low = int(ceiling.argmin())
    panel.plot(factors[low], ceiling[low], "o", color=palette.noise, markersize=7)
    panel.annotate(
        "adonde lleva entrenar",
        (float(factors[low]), float(ceiling[low])),
        (0, 30),
        textcoords="offset points",
        ha="center",
        color=palette.noise,
        arrowprops={"arrowstyle": "-", "color": palette.noise, "shrinkB": 5},
    )
    panel.text(0.79, float((ceiling[7] + cost[7]) / 2), "el hueco", ha="center", va="center")
    panel.set(
        xlim=(0.7, 1.4), xlabel=r"lo que la red responde, en veces $\mathrm{E}[\epsilon|x_t]$"
    )
    panel.set(
        ylabel="bits por dimensión", ylim=(float(cost.min()) - 0.4, float(ceiling.min()) + 2.2)
    )
    panel.legend(loc="upper center")
    return figure


FIGURES = {
    "perdidas-techo": draw_ceiling,
    "perdidas-por-t": draw_by_time,
    "perdidas-cota": draw_bound,
    "perdidas-pesos": draw_weights,
}
