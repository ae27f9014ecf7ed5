"""Una mezcla de normales de una dimensión, con su densidad exacta a cualquier nivel de ruido.

Está calculada solo con NumPy, sin el paquete: es la verdad con la que se le compara.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WEIGHTS = np.array([0.45, 0.2, 0.35])
MEANS = np.array([-0.8, 0.1, 0.75])
STDS = np.array([0.1, 0.07, 0.13])


def normal(x: float | Array, mean: float | Array, variance: float | Array) -> Array:
    """La densidad de una normal."""
    density: Array = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return density


def density(x: Array, alpha_bar: float) -> Array:
    r"""La densidad de $x_t$ en cada $x$: otra mezcla, de componentes más anchas y más juntas."""
    means = np.sqrt(alpha_bar) * MEANS
    variances = alpha_bar * STDS**2 + 1 - alpha_bar
    mixed: Array = normal(x[:, None], means, variances) @ WEIGHTS
    return mixed
