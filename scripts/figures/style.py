"""Un solo estilo para todas las figuras: claro y oscuro, y legible con daltonismo.

Los colores son los de Okabe e Ito, aclarados en el tema oscuro. Cada cantidad del libro
tiene siempre el suyo, el mismo que llevan sus símbolos en las fórmulas.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import ScalarFormatter
from PIL import Image
from torch import Tensor

mpl.use("Agg")

WIDTH = 7.2
"""Ancho de una figura, en pulgadas: el de la columna de texto."""


@dataclass(frozen=True)
class Palette:
    """Los colores de un tema.

    Args:
        name: `"light"` o `"dark"`.
        text: texto y ejes.
        faint: rejilla y lo secundario.
        background: fondo de la página.
        data: $x_0$.
        noisy: $x_t$.
        noise: $\\epsilon$.
        mean: las medias $\\mu$.
        schedule: $\\beta$ y $\\alpha$.
        series: colores para comparar series sin significado propio.
        sequence: mapa de color de valores ordenados.
    """

    name: str
    text: str
    faint: str
    background: str
    data: str
    noisy: str
    noise: str
    mean: str
    schedule: str
    series: tuple[str, ...]
    sequence: str


LIGHT = Palette(
    name="light",
    text="#22262e",
    faint="#c9ced6",
    background="#ffffff",
    data="#005b94",
    noisy="#8a3a7c",
    noise="#b34700",
    mean="#00704f",
    schedule="#a3233a",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8f7a00", "#5a5a5a"),
    sequence="viridis",
)
DARK = Palette(
    name="dark",
    text="#e6e9ef",
    faint="#454b57",
    background="#14171f",
    data="#6cb8ec",
    noisy="#dd9fd0",
    noise="#ff9d5c",
    mean="#4fcfa4",
    schedule="#ff8b9c",
    series=("#56b4e9", "#ff9d5c", "#2fc79a", "#e29fc6", "#f0e442", "#b0b0b0"),
    sequence="viridis",
)
THEMES = (LIGHT, DARK)


@contextmanager
def themed(palette: Palette) -> Iterator[None]:
    """Dibuja con la paleta dada: fondo transparente, ejes finos, letra del mismo tamaño."""
    settings: Any = {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": palette.text,
        "axes.labelcolor": palette.text,
        "axes.edgecolor": palette.text,
        "axes.titlecolor": palette.text,
        "xtick.color": palette.text,
        "ytick.color": palette.text,
        "grid.color": palette.faint,
        "legend.labelcolor": palette.text,
        "legend.frameon": False,
        "legend.handlelength": 1.7,
        "legend.columnspacing": 1.4,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.titlesize": 11.5,
        "axes.labelsize": 11.5,
        "axes.titlepad": 8,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": 10.5,
        "font.size": 10.5,
        "lines.linewidth": 2.0,
        "lines.solid_capstyle": "round",
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "cm",
        "axes.prop_cycle": cycler(color=palette.series),
        "image.cmap": palette.sequence,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "savefig.dpi": 200,
        "svg.hashsalt": "ddpm_lit",
        "axes.formatter.use_locale": False,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(settings):
        yield


def canvas(
    rows: int = 1, columns: int = 1, *, height: float = 2.9, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Una figura del ancho de la página y sus ejes, por filas."""
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)
    # Aire entre paneles, para que no se toquen los números de los ejes vecinos.
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    for panel in axes.flat:
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(DecimalComma())
    return figure, list(axes.flat)


class DecimalComma(ScalarFormatter):
    """Los números de un eje, con coma decimal."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return super().__call__(x, pos).replace(".", ",")


def bare(axes: Axes) -> Axes:
    """Quita a unos ejes la rejilla, las marcas y el marco."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def comma(value: float, digits: int) -> str:
    """Un número con coma decimal, para los rótulos."""
    return f"{value:.{digits}f}".replace(".", ",").replace("-", "\N{MINUS SIGN}")


def show_image(axes: Axes, image: Tensor) -> None:
    """Dibuja una imagen (C, H, W) en [-1, 1] con los píxeles nítidos."""
    pixels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0)
    bare(axes).imshow(pixels.squeeze(-1), cmap="gray", vmin=0, vmax=1, interpolation="none")


def show_points(
    axes: Axes,
    points: Tensor,
    color: str,
    *,
    limit: float = 1.3,
    size: float = 3.0,
    alpha: float = 0.6,
) -> Artist:
    """Dibuja una nube de puntos (N, 2) en la ventana [-limit, limit]²."""
    cloud = axes.scatter(
        points[:, 0], points[:, 1], s=size, color=color, alpha=alpha, linewidths=0, rasterized=True
    )
    bare(axes).set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    for spine in axes.spines.values():
        spine.set(visible=True, color=mpl.rcParams["grid.color"])
    return cloud


def log_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """Eje horizontal logarítmico con los números escritos tal cual."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()


def halo(palette: Palette, width: float = 4.0) -> list[AbstractPathEffect]:
    """Un borde del color del fondo, para que una línea o un rótulo se lea encima de otras cosas."""
    return [withStroke(linewidth=width, foreground=palette.background)]


class Row(NamedTuple):
    """Una fila de una tabla de imágenes: su rótulo, su color y las imágenes (K, C, H, W)."""

    label: str
    color: str
    images: Tensor


def image_table(
    rows: Sequence[Row],
    titles: Sequence[str],
    *,
    label_width: float = 0.5,
    first_gap: float = 0.0,
    row_gap: float = 0.07,
    gap: float = 0.07,
) -> Figure:
    """Una tabla de imágenes cuadradas que llena el ancho de la página.

    Args:
        rows: las filas; las imágenes que faltan al final de una se dejan en blanco.
        titles: el título de cada columna.
        label_width: pulgadas que se dejan a la izquierda para los rótulos.
        first_gap: pulgadas más entre la primera columna y las demás.
        row_gap: separación entre filas, en pulgadas.
        gap: separación entre columnas, en pulgadas.
    """
    columns = len(titles)
    header = 0.28 if any(titles) else 0.0
    side = (WIDTH - label_width - first_gap - gap * (columns - 1)) / columns
    height = header + len(rows) * side + (len(rows) - 1) * row_gap
    figure = plt.figure(figsize=(WIDTH, height), layout="none")
    for r, row in enumerate(rows):
        top = header + r * (side + row_gap)
        if row.label:
            figure.text(
                (label_width - 0.1) / WIDTH,
                1 - (top + side / 2) / height,
                row.label,
                color=row.color,
                fontsize=13 if "$" in row.label else 10.5,
                ha="right",
                va="center",
            )
        for c, image in enumerate(row.images):
            left = label_width + c * (side + gap) + (first_gap if c > 0 else 0.0)
            box = (left / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height)
            show_image(figure.add_axes(box), image)
    for c, title in enumerate(titles):
        left = label_width + c * (side + gap) + (first_gap if c > 0 else 0.0)
        figure.text(
            (left + side / 2) / WIDTH,
            1 - (header - 0.09) / height,
            title,
            fontsize=11,
            ha="center",
            va="baseline",
        )
    return figure


def frames_of(
    figure: Figure,
    palette: Palette,
    artists: Sequence[Artist],
    states: Iterable[Any],
    update: Callable[[Any], None],
) -> list[Image.Image]:
    """Los fotogramas de una animación: para cada estado, se actualiza la figura y se retrata.

    Args:
        figure: la figura ya dibujada.
        palette: de aquí sale el fondo: el vídeo no tiene transparencia.
        artists: lo que cambia de un fotograma a otro; el resto se dibuja una sola vez.
        states: los estados.
        update: pone los `artists` como deben estar en un estado.
    """
    figure.set_facecolor(palette.background)
    agg: Any = FigureCanvasAgg(figure)
    agg.draw()
    figure.set_layout_engine("none")
    for artist in artists:
        artist.set_animated(True)
    agg.draw()
    still = agg.copy_from_bbox(figure.bbox)
    frames = []
    for state in states:
        update(state)
        agg.restore_region(still)
        for artist in artists:
            figure.draw_artist(artist)
        frames.append(Image.fromarray(np.asarray(agg.buffer_rgba())[:, :, :3].copy()))
    plt.close(figure)
    return frames


def save_figure(figure: Figure, path: Path) -> None:
    """Guarda una figura como SVG sin fecha (dos construcciones iguales dan el mismo fichero)."""
    buffer = StringIO()
    figure.savefig(
        buffer,
        format="svg",
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    plt.close(figure)
    text = buffer.getvalue()
    # Con centésimas de punto basta, y los ficheros se quedan en la mitad.
    text = re.sub(r'(?<= d=")[^"]+', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    text = re.sub(r"(?<=data:image/png;base64,)[^\"]+", _lighter, text[text.index("<svg") :])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _lighter(encoded: re.Match[str]) -> str:
    """Una imagen PNG con una paleta de 256 colores: las nubes de puntos ocupan la tercera parte."""
    original = base64.b64decode(encoded[0])
    image = Image.open(BytesIO(original))
    buffer = BytesIO()
    image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        buffer, format="PNG", optimize=True
    )
    content = buffer.getvalue()
    return base64.b64encode(content if len(content) < len(original) else original).decode()
