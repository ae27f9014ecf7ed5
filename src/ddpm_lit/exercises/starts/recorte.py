"""El recorte (capítulo «Backwards process»).

Falta el código de `clipped`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio recorte
"""

from torch import Tensor


def clipped(
    alpha_cumprod: float, x_t: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """El dato que se cree, recortado, y el ruido que casa con él.

    Args:
        alpha_cumprod: ᾱ_t, entre 0 y 1.
        x_t: x_t, de cualquier forma.
        epsilon: el ruido que ha predicho la red, de la misma forma.

    Returns:
        x̂_0, recortado a [-1, 1], y el ε con el que de él sale otra vez x_t.
    """
    raise NotImplementedError
