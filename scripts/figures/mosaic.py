"""Cuadrículas de muchas imágenes pequeñas dibujadas de una vez, con los huecos transparentes."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor

from ddpm_lit.images import grid
from scripts.figures.style import bare

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
