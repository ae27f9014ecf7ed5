"""Cuadrículas de muchas imágenes pequeñas dibujadas de una vez, con los huecos transparentes."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor

from ddpm_lit.files.images import grid
from scripts.figures.style import WIDTH, bare, canvas

SCALE = 4
GAP = 4


def mosaic(images: Tensor, columns: int, gap: int = GAP) -> NDArray[np.uint8]:
    """Las imágenes (N, C, H, W), por filas, como una sola imagen RGBA."""
    pixels = grid(images, columns, padding=gap, scale=SCALE)
    covered = torch.ones_like(images[:, :1])
    mask = grid(covered, columns, padding=gap, scale=SCALE, background=0)
    pixels = pixels.convert("RGBA")
    pixels.putalpha(mask)
    return np.asarray(pixels)


def show_mosaic(
    axes: Axes,
    images: Tensor,
    columns: int,
    *,
    gap: int = GAP,
    top: Sequence[str] = (),
    bottom: Sequence[str] = (),
    left: Sequence[str] = (),
) -> AxesImage:
    """Dibuja una cuadrícula en la que cada imagen ocupa una unidad de los ejes.

    Args:
        axes: los ejes.
        images: las imágenes, (N, C, H, W), por filas.
        columns: cuántas columnas tiene.
        gap: separación, en las unidades en que un píxel mide `SCALE`.
        top: el rótulo de cada columna, encima.
        bottom: el rótulo de cada columna, debajo; no se ve si hay `top`.
        left: el rótulo de cada fila.
    """
    rows = -(-len(images) // columns)
    margin = gap / 2 / (images.shape[-1] * SCALE + gap)
    shown = bare(axes).imshow(
        mosaic(images, columns, gap),
        extent=(-margin, columns + margin, rows + margin, -margin),
        interpolation="none",
    )
    labelled = ((axes.xaxis, top or bottom, columns), (axes.yaxis, left, rows))
    for axis, labels, count in labelled:
        if labels:
            axis.set_ticks([i + 0.5 for i in range(count)], labels)
            axis.set_tick_params(length=0, pad=2)
    if top:
        axes.xaxis.tick_top()
        axes.xaxis.set_tick_params(length=0)
    return shown


def image_rows(
    rows: Mapping[str, Tensor], *, top: Sequence[str] = (), label_width: float = 0.9
) -> Figure:
    """Una figura con una fila de imágenes (N, C, H, W) por rótulo; las grises, junto a las demás.

    Args:
        rows: las imágenes de cada rótulo, tantas en una fila como en otra.
        top: el rótulo de cada columna.
        label_width: pulgadas que ocupa el rótulo más largo de las filas.
    """
    columns = max(len(images) for images in rows.values())
    channels = max(images.shape[1] for images in rows.values())
    side = (WIDTH - label_width) / columns
    figure, (panel,) = canvas(height=side * len(rows) + (0.4 if top else 0.15))
    images = [row.expand(-1, channels, -1, -1) for row in rows.values()]
    show_mosaic(panel, torch.cat(images), columns, top=top, left=list(rows))
    panel.tick_params(labelsize=11)
    panel.tick_params(axis="y", pad=5)
    return figure


def captioned(captions: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Las filas de unos dibujos (frases, N, …), cada una con su frase partida en renglones."""
    return {textwrap.fill(name, 12): row for name, row in zip(captions, images, strict=True)}
