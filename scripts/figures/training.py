"""Entrenamiento: la pérdida, lo que se aprende y la media móvil de los pesos."""

import copy
from contextlib import suppress
from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, float64, nn

from ddpm_lit.data import load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.networks.ema import EMA
from ddpm_lit.runs.train import train
from ddpm_lit.sampling import sample
from ddpm_lit.training import TrainStep
from scripts.build import models
from scripts.figures.style import Palette, canvas, comma, log_axis, show_points
from scripts.site.project import profile

INPUTS = models.MODELS
MOMENTS = (5, 10, 20, 30) if profile() == "smoke" else (40, 150, 350, 600)
POINTS = 800
STEPS = 10 if profile() == "smoke" else 100
UPDATES = 10_000
DECAYS = (0.9999, 0.995)


def draw_curves(palette: Palette) -> Figure:
    figure, (panel,) = canvas(1, 1, height=3.5)
    for name, color in zip(models.MODELS, palette.series, strict=False):
        log = models.metrics(name)
        steps = np.array([line["step"] for line in log])
        losses = np.array([line["loss"] for line in log])
        panel.plot(steps, losses, color=color, linewidth=1.7)
        panel.plot(steps[-1], losses[-1], "o", color=color, markersize=6, zorder=5, label=name)
    panel.set(yscale="log", xlabel="paso", ylabel="pérdida", xlim=(0, None), ylim=(None, 1.1))
    panel.set_yticks((0.1, 0.2, 0.5, 1), ("0,1", "0,2", "0,5", "1"))
    panel.minorticks_off()
    panel.legend(loc="upper right")
    return figure


class _EnoughError(Exception):
    """Ya se tienen todas las redes que hacen falta."""


@cache
def learning() -> list[Tensor]:
    """Puntos generados tras cada uno de los `MOMENTS` del entrenamiento y al final.

    Son los primeros pasos del mismo entrenamiento que hizo la construcción, repetidos aquí:
    con la misma semilla salen las mismas redes.
    """
    recipe = models.recipe("swiss-roll")
    networks: list[nn.Module] = []

    def keep(done: int, state: TrainStep, ema: EMA) -> None:
        if done in MOMENTS:
            networks.append(copy.deepcopy(ema.model))
        if done == MOMENTS[-1]:
            raise _EnoughError

    with TemporaryDirectory() as folder, suppress(_EnoughError):
        train(recipe, folder, device="cpu", progress=False, consumers=[keep])
    networks.append(models.load("swiss-roll").model)
    return [
        sample(
            network,
            Diffusion(recipe.schedule(), variance="fixed_small", clip=False),
            (2,),
            indices=range(POINTS),
            steps=STEPS,
            batch_size=POINTS,
        )
        for network in networks
    ]


def draw_learning(palette: Palette) -> Figure:
    recipe = models.recipe("swiss-roll")
    data = load_dataset(recipe.data.name, **recipe.data.options).x[:POINTS]
    titles = [f"{moment} pasos" for moment in (*MOMENTS, recipe.training.steps)]
    figure, axes = canvas(2, 3, height=5.2)
    for panel, title, points in zip(axes, titles, learning(), strict=False):
        show_points(panel, points, palette.noisy, limit=1.2, size=4)
        panel.set_title(title, pad=4)
    show_points(axes[-1], data, palette.data, limit=1.2, size=4)
    axes[-1].set_title("los datos", color=palette.data, pad=4)
    return figure


def remaining(decay: float) -> NDArray[np.float64]:
    """Lo que queda de los pesos iniciales en la media tras 0, 1, …, UPDATES actualizaciones."""
    model = nn.Linear(1, 1, bias=False, dtype=float64)
    nn.init.ones_(model.weight)
    ema = EMA(model, decay)
    nn.init.zeros_(model.weight)
    left = [1.0]
    for _ in range(UPDATES):
        ema.update(model)
        (weight,) = ema.model.parameters()
        left.append(float(weight))
    return np.array(left)


def draw_ema(palette: Palette) -> Figure:
    n = np.arange(1, UPDATES + 1)
    figure, (decays, weights) = canvas(1, 2, height=4.1)
    # Las dos curvas con rampa coinciden al principio: una va ancha y la otra fina, encima.
    for decay, color, width in zip(DECAYS, palette.series, (4.5, 1.6), strict=False):
        left = remaining(decay)
        name = f"$d$ = {comma(decay, 4).rstrip('0')}"
        for panel, ramp, flat in (
            (decays, 1 - left[1:] / left[:-1], np.full(UPDATES, 1 - decay)),
            (weights, left[1:], decay**n),
        ):
            panel.plot(n, ramp, color=color, linewidth=width, label=f"{name}, con rampa")
            panel.plot(
                n,
                flat,
                color=color,
                linestyle=(0, (4, 2)),
                linewidth=1.5,
                label=f"{name}, sin rampa",
            )
    # En escala logarítmica de 1 - d_n se distingue 0,99 de 0,9999.
    nines = (0.0, 0.9, 0.99, 0.999, 0.9999)
    decays.set(yscale="log", ylim=(1.5, 5e-5), title="Decaimiento efectivo $d_n$")
    decays.set_yticks([1 - d for d in nines], [f"{d:g}".replace(".", ",") for d in nines])
    weights.set(yscale="log", ylim=(1e-12, 5), title="Parte que aún es inicial")
    weights.set_yticks(
        [1, 1e-3, 1e-6, 1e-9, 1e-12], ["1", *(f"$10^{{-{power}}}$" for power in (3, 6, 9, 12))]
    )
    for panel in (decays, weights):
        log_axis(panel, (1, 10, 100, 1000, UPDATES))
        panel.set(xlim=(1, UPDATES), xlabel="paso")
        panel.minorticks_off()
    figure.legend(*decays.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


FIGURES = {
    "entrenamiento-curva": draw_curves,
    "entrenamiento-score": draw_learning,
    "entrenamiento-ema": draw_ema,
}
