"""La portada, la imagen de los enlaces, el logotipo y el icono: los dibuja el propio modelo."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from scripts.build import samples
from scripts.figures.generation import closest
from scripts.figures.style import DARK, LIGHT, WIDTH, Palette, themed

INPUTS = ("samples-swiss-roll",)
STRANDS = 700
STATIONS = 200
OVERSAMPLING = 2

Array = NDArray[np.float64]


def ramp(palette: Palette) -> LinearSegmentedColormap:
    """Del color del ruido al de los datos."""
    return LinearSegmentedColormap.from_list(
        "vuelta", [palette.noise, palette.noisy, palette.data]
    )


def strands(count: int) -> Array:
    """Los caminos de unos puntos de la espiral, (STATIONS, count, 2), de ruido a datos.

    El tiempo se estira hacia el final, donde la espiral toma forma, y el temblor del ruido se
    suaviza, menos en los extremos: se ven el ruido y los datos como son.
    """
    roll = samples.load("swiss-roll")
    chosen = closest(roll["times"], [(1 - i / 100) ** 2 for i in range(101)])
    states = roll["x_t"][chosen, :count].double().numpy()
    smooth = gaussian_filter1d(states, 6, axis=0, mode="nearest")
    where = np.linspace(0, 1, len(states))[:, None, None]
    ends = np.clip(1 - np.minimum(where, 1 - where) / 0.12, 0, 1) ** 2
    mixed = ends * states + (1 - ends) * smooth
    at = np.linspace(0, len(states) - 1, STATIONS)
    low = np.minimum(at.astype(int), len(states) - 2)
    weight = (at - low)[:, None, None]
    result: Array = (1 - weight) * mixed[low] + weight * mixed[low + 1]
    return result
