"""Entrenamiento: cómo aprende la red."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ddpm_lit.checkpoints import Trained
from ddpm_lit.data import load_dataset
from ddpm_lit.ema import EMA
from ddpm_lit.recipes import load_recipe
from ddpm_lit.training import TrainStep, train
from matplotlib.figure import Figure
from torch import Tensor, nn

from scripts.build import models
from scripts.figures.style import Palette, canvas, log_axis, show_points
from scripts.site.project import profile

INPUTS = models.MODELS
STEPS = (20, 60) if profile() == "smoke" else (30, 100, 300, 800)
POINTS = 1000


def draw_curves(palette: Palette) -> Figure:
    targets = {"epsilon": r"$\epsilon$", "v": "$v$", "x_start": "$x_0$"}
    figure, axes = canvas(1, 3, height=2.9)
    for panel, name, color in zip(axes, models.MODELS, palette.series, strict=False):
        log = models.metrics(name)
        steps = np.array([line["step"] for line in log])
        losses = np.array([line["loss"] for line in log])
        window = max(len(losses) // 15, 1)
        padded = np.pad(losses, (window // 2, (window - 1) // 2), mode="edge")
        smooth = np.convolve(padded, np.ones(window) / window, mode="valid")
        panel.plot(steps, losses, color=color, alpha=0.35, linewidth=1)
        panel.plot(steps, smooth, color=color)
        target = targets.get(models.recipe(name).diffusion.prediction, r"$\tilde\mu_t$")
        panel.set_title(f"{name}\n(predice {target})", fontsize=10.5)
        panel.set(xlabel="paso", ylim=(0, 1.05 * min(losses.max(), 4 * losses[-1])))
        panel.set_xlim(0, steps[-1])
        panel.set_xticks((0, steps[-1] // 2, steps[-1]))
    axes[0].set_ylabel("pérdida")
    return figure


@cache
def snapshots() -> list[tuple[int, Tensor]]:
    """Muestras del modelo de puntos tras cada vez más pasos de entrenamiento."""
    recipe = load_recipe("swiss-roll", overrides={"training.steps": STEPS[-1]})
    found = []

    def watch(state: TrainStep, ema: EMA) -> None:
        if state.step + 1 in STEPS:
            trained = Trained(ema.model, recipe, (2,), {})
            points = trained.sample(POINTS, device="cpu", steps=50, batch_size=POINTS)
            found.append((state.step + 1, points))

    with TemporaryDirectory() as folder:
        train(recipe, Path(folder), device="cpu", progress=False, consumers=[watch])
    return found


def draw_progress(palette: Palette) -> Figure:
    figure, axes = canvas(1, len(STEPS) + 1, height=2.0 if len(STEPS) > 2 else 3.0)
    for panel, (step, points) in zip(axes, snapshots(), strict=False):
        show_points(panel, points, palette.noisy, size=2.2)
        panel.set_title(f"{step} pasos", fontsize=10.5, pad=4)
    show_points(axes[-1], load_dataset("swiss_roll", n=POINTS, seed=1).x, palette.data, size=2.2)
    axes[-1].set_title("los datos", fontsize=10.5, pad=4, color=palette.data)
    return figure


def remaining(decay: float, steps: int) -> list[float]:
    """Lo que queda de los pesos iniciales en el EMA: se promedia un 1 con ceros."""
    network = nn.Linear(1, 1, bias=False).requires_grad_(False)
    network.weight.fill_(1.0)
    ema = EMA(network, decay)
    network.weight.fill_(0.0)
    left = []
    for _ in range(steps):
        ema.update(network)
        left.append(float(next(ema.model.parameters())))
    return left


def draw_ema(palette: Palette) -> Figure:
    count = 500 if profile() == "smoke" else 10_000
    n = np.arange(1, count + 1)
    colors = {0.9999: palette.series[0], 0.995: palette.series[1]}
    figure, (decays, weights) = canvas(1, 2, height=3.6)
    for decay, color in colors.items():
        with_warmup = np.array(remaining(decay, count), dtype=np.float64)
        before = np.concatenate([[1.0], with_warmup[:-1]])
        known = with_warmup > 1e-30
        label = f"$d={decay}$".replace(".", "{,}")
        decays.plot(n[known], (with_warmup / before)[known], color=color, label=label)
        weights.plot(n, decay**n, color=color, linestyle=(0, (5, 2)))
        weights.plot(n[known], with_warmup[known], color=color)
    decays.set(ylim=(0, 1.03), xlabel="paso", title="Decaimiento de cada paso")
    weights.set(ylim=(-0.02, 1.03), xlabel="paso", title="Peso que queda del inicio")
    for panel in (decays, weights):
        log_axis(panel, [tick for tick in (1, 10, 100, 1000, 10_000) if tick <= count])
        panel.set_xlim(1, count)
    weights.plot([], [], color=palette.text, label="con calentamiento")
    weights.plot([], [], color=palette.text, linestyle=(0, (5, 2)), label="sin él")
    handles = [*decays.get_legend_handles_labels()[0], *weights.get_legend_handles_labels()[0]]
    labels = [*decays.get_legend_handles_labels()[1], *weights.get_legend_handles_labels()[1]]
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


FIGURES = {
    "entrenamiento-curva": draw_curves,
    "entrenamiento-score": draw_progress,
    "entrenamiento-ema": draw_ema,
}
