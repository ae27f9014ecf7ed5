"""Galería: lo que generan los modelos, sin elegir, al lado de los datos."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.data import load_dataset
from ddpm_lit.data.fashion_mnist import CLASSES as GARMENTS
from ddpm_lit.evaluation.metrics import nearest_neighbours
from scripts.build import models, samples
from scripts.build.emoji_samples import SEEN
from scripts.figures.mosaic import captioned, image_rows, show_mosaic
from scripts.figures.style import Palette, canvas, comma, show_points

INPUTS = (
    "samples-swiss-roll",
    "samples-digits",
    "samples-digits-class",
    "samples-fashion-mnist",
    "samples-openmoji-texto",
)
SHOWN = 100
SIDE = 10
BINS = np.arange(0, 5.01, 0.2)


def draw_digits(palette: Palette) -> Figure:
    train_set, _ = models.digits_split()
    figure, axes = canvas(1, 2, height=3.85)
    for panel, title, images, color in (
        (axes[0], "Reales", train_set.x[:SHOWN], palette.data),
        (axes[1], "Generadas", samples.load("digits")["x"][:SHOWN], palette.noisy),
    ):
        show_mosaic(panel, images, SIDE)
        panel.set_title(title, color=color, fontsize=13)
    return figure


def draw_classes(palette: Palette) -> Figure:
    digits = samples.load("digits-class")
    labels = [str(label) for label in digits["labels"][:SIDE].tolist()]
    figure, (panel,) = canvas(height=6.3)
    show_mosaic(panel, digits["x"][:SHOWN], SIDE, top=labels)
    panel.tick_params(axis="x", labelsize=14, pad=3)
    panel.set_xlabel("La cifra que se pide", labelpad=8)
    panel.xaxis.set_label_position("top")
    return figure


def draw_garments(palette: Palette) -> Figure:
    x = samples.load("fashion-mnist")["x"]
    return image_rows(
        {name: x[index :: len(GARMENTS)] for index, name in enumerate(GARMENTS)}, label_width=1.1
    )


def draw_emoji(palette: Palette) -> Figure:
    return image_rows(captioned(SEEN, samples.load("openmoji-texto")["seen"]), label_width=1.5)


def draw_neighbours(palette: Palette) -> Figure:
    train_set, _ = models.digits_split()
    generated = samples.load("digits")["x"]
    distances, indices = nearest_neighbours(generated, train_set.x)
    nearest = distances[:, 0].argsort(stable=True)[:SIDE]
    figure, axes = canvas(2, 1, height=4.5)
    for panel, title, chosen in (
        (axes[0], "Las diez primeras", torch.arange(SIDE)),
        (axes[1], "Las diez que más se parecen a una imagen del entrenamiento", nearest),
    ):
        show_mosaic(
            panel,
            torch.cat([generated[chosen], train_set.x[indices[chosen, 0]]]),
            SIDE,
            bottom=[comma(float(distance), 2) for distance in distances[chosen, 0]],
            left=["generada", "la real más\nparecida"],
        )
        panel.set_title(title)
        panel.tick_params(axis="x", labelsize=11)
        panel.annotate(
            "distancia $L_2$",
            (0, 2),
            (-6, -11),
            textcoords="offset points",
            ha="right",
            va="center",
        )
        for label, color in zip(
            panel.get_yticklabels(), (palette.noisy, palette.data), strict=True
        ):
            label.set(color=color, fontsize=10.5)
    return figure


def draw_distances(palette: Palette) -> Figure:
    train_set, held_out = models.digits_split()

    def distances(x: Tensor) -> Tensor:
        return nearest_neighbours(x, train_set.x).distances[:, 0]

    groups = (
        ("reales que no se usaron para entrenar", held_out.x, palette.series[0], "-"),
        ("generadas sin condición", samples.load("digits")["x"], palette.series[1], "-"),
        (
            "generadas con su clase",
            samples.load("digits-class")["x"],
            palette.series[2],
            (0, (4, 2)),
        ),
    )
    figure, (panel,) = canvas(height=3.7)
    for index, (label, x, color, dashes) in enumerate(groups):
        found = distances(x)
        share = np.histogram(found.clamp(max=BINS[-1]), BINS)[0] / len(found)
        median = float(found.median())
        panel.stairs(
            share,
            BINS,
            color=color,
            linewidth=2.0,
            linestyle=dashes,
            label=f"{label} (mediana {comma(median, 2)})",
        )
        if index == 0:
            panel.stairs(share, BINS, color=color, fill=True, alpha=0.22)
    panel.annotate(
        "una copia exacta\nestaría aquí",
        (0, 0),
        (0.12, 0.1),
        arrowprops={"arrowstyle": "->", "color": palette.text, "shrinkB": 0},
    )
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    panel.set(
        xlim=(0, BINS[-1]),
        ylim=(0, None),
        xlabel="Distancia $L_2$ a la imagen de entrenamiento más parecida",
        ylabel="Imágenes",
    )
    figure.legend(loc="outside lower center", ncols=1)
    return figure


def draw_points(palette: Palette) -> Figure:
    generated = samples.load("swiss-roll")["x"]
    real = load_dataset("swiss_roll", n=len(generated), seed=1).x
    figure, axes = canvas(1, 2, height=3.85)
    for panel, title, cloud, color in (
        (axes[0], "Reales", real, palette.data),
        (axes[1], "Generados", generated, palette.noisy),
    ):
        show_points(panel, cloud, color, limit=1.05, size=4.5)
        panel.set_title(title, color=color, fontsize=13)
    return figure


FIGURES = {
    "galeria-digits": draw_digits,
    "galeria-digits-class": draw_classes,
    "galeria-prendas": draw_garments,
    "galeria-emoji": draw_emoji,
    "galeria-vecinos": draw_neighbours,
    "galeria-distancias": draw_distances,
    "galeria-puntos": draw_points,
}
