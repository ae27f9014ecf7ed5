"""Un solo estilo para todas las figuras: claro y oscuro, y legible con daltonismo.

Los colores son los de Okabe e Ito, aclarados en el tema oscuro. Cada cantidad del libro
tiene siempre el suyo, el mismo que llevan sus símbolos en las fórmulas.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
    settings = {
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
        "axes.grid": True,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "lines.linewidth": 1.9,
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "cm",
        "axes.prop_cycle": mpl.cycler(color=palette.series),
        "image.cmap": palette.sequence,
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "savefig.dpi": 160,
        "svg.hashsalt": "ddpm_lit",
        "axes.formatter.use_locale": False,
    }
    with mpl.rc_context(settings):
        yield


def canvas(
    rows: int = 1, columns: int = 1, *, height: float = 2.9, **options: object
) -> tuple[Figure, list[Axes]]:
    """Una figura del ancho de la página y sus ejes, por filas."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height), squeeze=False, **options
    )  # type: ignore[call-overload]
    return figure, list(axes.flat)


def bare(axes: Axes) -> Axes:
    """Quita a unos ejes la rejilla, las marcas y el marco."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def show_image(axes: Axes, image: Tensor, title: str = "") -> None:
    """Dibuja una imagen (C, H, W) en [-1, 1] con los píxeles nítidos."""
    pixels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0)
    bare(axes).imshow(
        pixels.squeeze(-1), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    if title:
        axes.set_title(title, fontsize=9.5)


def show_points(axes: Axes, points: Tensor, color: str, title: str = "", limit: float = 1.6) -> None:
    """Dibuja una nube de puntos (N, 2) en el cuadrado [-limit, limit]²."""
    axes.scatter(
        points[:, 0], points[:, 1], s=2.2, color=color, alpha=0.55, linewidths=0, rasterized=True
    )
    bare(axes).set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    if title:
        axes.set_title(title, fontsize=9.5)


def image_strip(
    rows: Sequence[tuple[str, Tensor]], titles: Sequence[str], *, cell: float | None = None
) -> Figure:
    """Una tabla de imágenes: cada fila, su etiqueta y K imágenes (K, C, H, W)."""
    columns = len(titles)
    side = cell if cell is not None else WIDTH / columns
    figure, axes = canvas(len(rows), columns, height=side * len(rows) * 1.06 + 0.3)
    for r, (label, images) in enumerate(rows):
        for c in range(columns):
            panel = axes[r * columns + c]
            show_image(panel, images[c], titles[c] if r == 0 else "")
            if c == 0:
                panel.set_ylabel(label, fontsize=11, rotation=0, ha="right", va="center", labelpad=8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Guarda una figura como SVG sin fecha (dos construcciones iguales dan el mismo fichero)."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text[text.index("<svg") :], encoding="utf-8")
