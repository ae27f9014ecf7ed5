"""Reponer lo conocido (capítulo «Editar sin entrenar»).

Falta el código de `put_back`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio reponer
"""

from torch import Tensor


def put_back(
    alphas_cumprod: Tensor,
    index: int,
    x_prev: Tensor,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
) -> Tensor:
    """Lo que RePaint hace tras un paso de la red: poner lo que se conoce.

    Args:
        alphas_cumprod: ᾱ_1, …, ᾱ_T, de forma (T,): el índice 0 es el t = 1.
        index: el índice del t del que se ha salido; el 0 lleva a los datos.
        x_prev: x_{t-1}, tal como lo ha dejado la red.
        known: los datos, de la misma forma.
        mask: 1 en lo que se conoce y 0 en lo que se inventa.
        noise: ε, de la misma forma.

    Returns:
        x_{t-1}, con lo conocido en su sitio.
    """
    raise NotImplementedError
