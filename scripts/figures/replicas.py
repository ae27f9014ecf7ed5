"""Réplicas: lo que midieron, dibujado. Aquí no se entrena ni se genera nada."""

from collections.abc import Iterable, Mapping
from functools import cache
from statistics import mean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scripts.figures.style import Palette, canvas, log_axis
from scripts.replicas.claims import (
    SCHEDULE_NAMES,
    cfg_values,
    ddim_frechet,
    learning_curves,
    spent,
)
from scripts.replicas.recipes import LONG_STEPS, SNAPSHOTS, STEPS
from scripts.replicas.results import Results, load_results, value
from scripts.replicas.tables import BITS_NETWORKS, long_unit
from scripts.replicas.units import ETAS, FEW_STEPS, SEEDS, WEIGHTS

INPUTS = ("replicas",)
MARKERS = "osD^v"


@cache
def found() -> Results:
    """Los resultados que hay."""
    return load_results()


def pending(axes: Axes, palette: Palette) -> None:
    """Escribe «pendiente» en unos ejes sin datos."""
    axes.grid(False)
    axes.set(xticks=(), yticks=())
    axes.text(
        0.5,
        0.5,
        "pendiente",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=palette.text,
        fontsize=13,
    )


def curve(
    axes: Axes, points: Iterable[tuple[float, Mapping[int, float]]], color: str, marker: str
) -> bool:
    """Une las medias de varias semillas y pone un punto por semilla; dice si había alguno."""
    shown = [(x, list(values.values())) for x, values in points if values]
    if not shown:
        return False
    axes.plot([x for x, _ in shown], [mean(values) for _, values in shown], color=color)
    for x, values in shown:
        axes.plot([x] * len(values), values, marker, color=color, markersize=4.5)
    return True


def log_height(axes: Axes) -> None:
    """Eje vertical logarítmico con los números escritos tal cual."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace(".", ",")))
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_ddim(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.9)
    drawn = []
    labels = {eta: f"$\\eta={eta.replace('.', '{,}')}$" for eta in ETAS} | {
        "sigma": r"$\hat\sigma$"
    }
    for eta, color, marker in zip(ETAS, palette.series, MARKERS, strict=False):
        points = [(steps, ddim_frechet(found(), eta, steps)) for steps in (*FEW_STEPS, 1000)]
        if curve(panel, points, color, marker):
            drawn.append(panel.plot([], [], marker + "-", color=color, label=labels[eta])[0])
    if not drawn:
        pending(panel, palette)
        return figure
    log_axis(panel, (*FEW_STEPS, 1000))
    log_height(panel)
    panel.set(xlabel="pasos", ylabel="distancia de Fréchet")
    figure.legend(handles=drawn, loc="outside lower center", ncols=5)
    return figure


def draw_cfg(palette: Palette) -> Figure:
    figure, (quality, effect) = canvas(1, 2, height=3.7)
    weights = {f"{w:g}": w for w in WEIGHTS}
    drawn = [
        quality.plot([], [], marker + "-", color=color, label=f"$p={p}$".replace(".", "{,}"))[0]
        for p, color, marker in zip((0.1, 0.2, 0.5), palette.series, MARKERS, strict=False)
        if curve(
            quality,
            [(x, cfg_values(found(), p, w, "frechet")) for w, x in weights.items()],
            color,
            marker,
        )
    ]
    unguided = cfg_values(found(), 0.1, "0", "diversity")
    relative = [
        (
            x,
            {
                seed: value / unguided[seed]
                for seed, value in cfg_values(found(), 0.1, w, "diversity").items()
            },
        )
        for w, x in weights.items()
    ]
    if not curve(effect, relative, palette.series[0], MARKERS[0]):
        pending(effect, palette)
    if not drawn:
        pending(quality, palette)
        return figure
    quality.set(xlabel="$w$", ylabel="distancia de Fréchet")
    effect.set(xlabel="$w$", ylabel="diversidad, frente a $w=0$")
    figure.legend(handles=drawn, loc="outside lower center", ncols=3)
    return figure


def draw_min_snr(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.7)
    names = {
        "x-constant": "$x_0$, peso constante",
        "x-min-snr": "$x_0$, min-SNR",
        "epsilon-constant": r"$\epsilon$, peso constante",
    }
    drawn = []
    for (name, label), color, marker in zip(names.items(), palette.series, MARKERS, strict=False):
        curves = learning_curves(found(), name)
        points = [
            (step, {seed: heights[i][1] for seed, heights in curves.items()})
            for i, step in enumerate(SNAPSHOTS)
        ]
        if curve(panel, points, color, marker):
            drawn.append(panel.plot([], [], marker + "-", color=color, label=label)[0])
    if not drawn:
        pending(panel, palette)
        return figure
    log_axis(panel, SNAPSHOTS)
    log_height(panel)
    panel.set(xlabel="pasos de entrenamiento", ylabel="distancia de Fréchet")
    figure.legend(handles=drawn, loc="outside lower center", ncols=3, columnspacing=1.0)
    return figure


def draw_zero_snr(palette: Palette) -> Figure:
    figure, axes = canvas(2, 2, height=4.6, sharex=True, sharey=True)
    edges = np.linspace(-1, 1, 21).tolist()
    for panel, (name, label) in zip(axes, SCHEDULE_NAMES.items(), strict=True):
        panel.set_title(label)
        units = [f"zero-snr-{name}-s{seed}" for seed in SEEDS]
        luminance = [
            x for unit in units if unit in found() for x in found()[unit]["values"]["luminance"]
        ]
        if not luminance:
            pending(panel, palette)
            continue
        panel.hist(
            np.clip(luminance, -1, 1), bins=edges, density=True, color=palette.data, alpha=0.75
        )
        panel.axhline(0.5, color=palette.noise, linestyle=(0, (5, 2)))
        panel.set(xlim=(-1, 1), xticks=(-1, 0, 1))
    for panel in axes[2:]:
        panel.set_xlabel("luminancia")
    for panel in axes[::2]:
        panel.set_ylabel("densidad")
    return figure


def draw_bits(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.4)
    references = {
        "bits/pixel_histogram": "histograma\nde cada píxel",
        "bits/normal": r"$\mathcal{N}(0,1)$",
        "bits/uniform": "niveles\niguales",
    }
    lines = {
        label: value(found(), "reference", path)
        for path, label in references.items()
        if "reference" in found()
    }
    networks = {
        label: (spent(found(), unit).bits, spent(found(), long_unit(unit)).bits)
        for label, unit in BITS_NETWORKS.items()
    }
    if not lines or not all(short for short, _ in networks.values()):
        pending(panel, palette)
        return figure
    exact = found()["reference"]["values"]["independent"].values()
    ends = [bits for each in exact for bits in each.values()]
    panel.axvspan(min(ends), max(ends), color=palette.data, alpha=0.2, linewidth=0)
    for label, x in lines.items():
        assert x is not None
        panel.axvline(x, color=palette.noise, linestyle=(0, (5, 2)))
        panel.annotate(
            label,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            color=palette.text,
        )
    for row, (short, long) in enumerate(networks.values()):
        for values, color, marker in zip((short, long), palette.series, MARKERS, strict=False):
            panel.plot(list(values.values()), [row] * len(values), marker, color=color)
    handles = [
        panel.plot([], [], marker, color=color, label=f"{steps} pasos de entrenamiento")[0]
        for steps, color, marker in zip((STEPS, LONG_STEPS), palette.series, MARKERS, strict=False)
    ]
    panel.set(yticks=range(len(networks)), yticklabels=list(networks), xlabel="bits por dimensión")
    panel.set_ylim(len(networks) - 0.5, -0.5)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace(".", ",")))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


FIGURES = {
    "replicas-bits": draw_bits,
    "replicas-ddim": draw_ddim,
    "replicas-cfg": draw_cfg,
    "replicas-min-snr": draw_min_snr,
    "replicas-zero-snr": draw_zero_snr,
}
