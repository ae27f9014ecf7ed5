"""La portada, la imagen de los enlaces, el logotipo y el icono: los dibuja el propio modelo."""

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator

from scripts.build import samples
from scripts.figures.style import DARK, WIDTH, Palette, themed

INPUTS = ("samples-swiss-roll",)
STATIONS = (1.0, 0.24, 0.12, 0.055, 0.02, 0.0)
POINTS = 900
STRANDS = 170
GROWTH = 1.75
REACH = 2.0
DISSOLVED = 0.12

Array = NDArray[np.float64]


def ramp(palette: Palette) -> LinearSegmentedColormap:
    """Del color del ruido al de los datos."""
    return LinearSegmentedColormap.from_list("vuelta", [palette.noise, palette.noisy, palette.data])


@lru_cache
def states() -> tuple[Array, Array]:
    """Las fracciones de camino que quedan por andar, de 0 a 1, y los puntos en cada una."""
    roll = samples.load("swiss-roll")
    remaining = (roll["times"].double() / roll["times"][0]).flip(0).numpy()
    return remaining, roll["x_t"][:, :POINTS].double().flip(0).numpy()


def at(remaining: float) -> Array:
    """Los puntos cuando queda por andar una fracción del camino, (N, 2)."""
    fractions, points = states()
    after = int(np.clip(np.searchsorted(fractions, remaining), 1, len(fractions) - 1))
    before = after - 1
    weight = (remaining - fractions[before]) / (fractions[after] - fractions[before])
    result: Array = (1 - weight) * points[before] + weight * points[after]
    return result


def procession(axes: Axes, palette: Palette, spacing: float, *, dot: float, line: float) -> None:
    """De izquierda a derecha, los mismos puntos en seis momentos, y los caminos de algunos.

    Args:
        axes: los ejes, con la misma escala en los dos sentidos; el ruido queda centrado en 0.
        palette: los colores.
        spacing: distancia entre dos momentos seguidos, en las unidades de los datos.
        dot: diámetro de un punto, en puntos tipográficos.
        line: grosor de los caminos.
    """
    progress = np.linspace(0, 1, len(STATIONS))
    clouds = np.stack([at(remaining) for remaining in STATIONS])
    clouds = clouds[:, (np.hypot(*clouds.transpose(2, 0, 1)) < REACH).all(axis=0)]
    # La espiral ocupa menos que el ruido: se dibuja cada vez más ampliada para que se vea igual.
    clouds *= (1 + (GROWTH - 1) * progress)[:, None, None]
    clouds[:, :, 0] += spacing * np.arange(len(STATIONS))[:, None]
    fine = np.linspace(0, 1, 20 * len(STATIONS))
    paths = PchipInterpolator(progress, clouds[:, :STRANDS])(fine)
    segments = np.stack([paths[:-1], paths[1:]], axis=2).reshape(-1, 2, 2)
    axes.add_collection(
        LineCollection(
            list(segments),
            colors=np.repeat(ramp(palette)(fine[:-1]), STRANDS, axis=0),
            linewidths=line,
            alpha=0.16,
            rasterized=True,
        )
    )
    for cloud, place in zip(clouds, progress, strict=True):
        axes.scatter(
            cloud[:, 0],
            cloud[:, 1],
            s=dot**2,
            color=ramp(palette)(place),
            alpha=0.8,
            linewidths=0,
            rasterized=True,
            zorder=2,
        )


def centred(spacing: float, width: float) -> tuple[float, float]:
    """Los extremos de los ejes que dejan el mismo margen a los dos lados del desfile."""
    last = spacing * (len(STATIONS) - 1) + GROWTH * 0.85
    left = (last - REACH - width) / 2
    return left, left + width


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """Una figura sin márgenes, con unos ejes invisibles que la llenan."""
    figure = plt.figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    return figure, axes


def draw_cover(palette: Palette) -> Figure:
    height = 1.75
    figure, axes = page(WIDTH, height)
    spacing, half = 2.45, 2.05
    width = 2 * half * WIDTH / height
    procession(axes, palette, spacing, dot=1.5, line=0.35)
    axes.set(xlim=centred(spacing, width), ylim=(-half, half))
    return figure


def painted(figure: Figure, width: int) -> Image.Image:
    """Una figura, pintada al doble de tamaño y reducida."""
    figure.set_dpi(2 * width / figure.get_size_inches()[0])
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    plt.close(figure)
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).reduce(2)


def draw_hero() -> Image.Image:
    with themed(DARK):
        figure, axes = page(12, 6.3)
        figure.set_facecolor(DARK.background)
        spacing, width = 2.05, 14.2
        height = width * 630 / 1200
        procession(axes, DARK, spacing, dot=4.0, line=0.8)
        axes.set(xlim=centred(spacing, width), ylim=(-0.4 * height, 0.6 * height))
        figure.text(0.055, 0.85, "Los modelos de difusión", fontsize=46, weight="bold")
        figure.text(0.057, 0.765, "DDPM, paso a paso y en español", fontsize=25, color=DARK.data)
        return painted(figure, 1200).convert("RGB")


def emblem(side: int, count: int, dot: float) -> Image.Image:
    """La espiral generada: ya terminada por la derecha y aún ruido por la izquierda.

    Args:
        side: lado, en píxeles.
        count: cuántos puntos.
        dot: diámetro de un punto terminado, como fracción del lado.
    """
    finished = at(0.0)[:count]
    across = (finished[:, 0] - finished[:, 0].min()) / np.ptp(finished[:, 0])
    noisiness = np.clip(1 - across / 0.62, 0, 1)
    points = np.stack([at(DISSOLVED * amount**2)[i] for i, amount in enumerate(noisiness)])
    with themed(DARK):
        figure, axes = page(4, 4)
        tile = FancyBboxPatch(
            (-1, -1), 2, 2, boxstyle="round,pad=0,rounding_size=0.4", color=DARK.background
        )
        axes.add_patch(tile)
        centre = (finished.max(axis=0) + finished.min(axis=0)) / 2
        axes.scatter(
            points[:, 0] - centre[0],
            points[:, 1] - centre[1],
            s=(dot * 4 * 72 * (1 - 0.45 * noisiness)) ** 2,
            color=ramp(DARK)(1 - noisiness),
            linewidths=0,
            clip_path=tile,
        )
        axes.set(xlim=(-1, 1), ylim=(-1, 1))
        return painted(figure, side)


def draw_logo() -> Image.Image:
    return emblem(512, 420, 0.03)


def draw_favicon() -> Image.Image:
    return emblem(64, 420, 0.06)


FIGURES = {"portada": draw_cover}
IMAGES = {"hero": draw_hero, "logo": draw_logo, "favicon": draw_favicon}
