"""El embedding del instante (capítulo «UNET»).

Falta el código de `sinusoidal_embedding`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio embedding
"""

from torch import Tensor


def sinusoidal_embedding(
    t: Tensor, dim: int, max_period: float = 10_000.0
) -> Tensor:
    """Convierte cada instante en un vector de senos y cosenos.

    Args:
        t: los instantes, de forma (B,).
        dim: cuántas componentes; es par.
        max_period: P.

    Returns:
        Los senos de las h = dim/2 agujas y, detrás, sus cosenos: (B, dim).
    """
    raise NotImplementedError
