"""La guía sin clasificador (capítulo «CFG»).

Falta el código de `guided`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio guia
"""

from collections.abc import Callable

from torch import Tensor


def guided(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_t: Tensor,
    t: Tensor,
    labels: Tensor,
    null: int,
    w: float,
) -> Tensor:
    """La predicción guiada.

    Args:
        model: la red, que se llama model(x_t, t, labels) y predice el ruido.
        x_t: x_t, de forma (B, …).
        t: los índices, de forma (B,).
        labels: la clase que se pide en cada ejemplo, de forma (B,).
        null: la clase que no dice nada.
        w: el peso de la guía; con 0 no se guía.

    Returns:
        El ruido, de la forma de x_t.
    """
    raise NotImplementedError
