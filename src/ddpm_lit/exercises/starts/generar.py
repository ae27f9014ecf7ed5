"""El Algoritmo 2 (capítulo «Generación»).

Falta el código de `generate`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio generar
"""

from collections.abc import Callable, Iterator

from torch import Tensor


def generate(
    model: Callable[[Tensor, Tensor], Tensor],
    betas: Tensor,
    x_T: Tensor,
    noises: Iterator[Tensor],
) -> Tensor:
    """Genera con una red que predice el ruido, sin recortar y con varianza β_t.

    Args:
        model: la red, que se llama model(x_t, t), con t de índices, (B,).
        betas: β_1, …, β_T, de forma (T,): el índice 0 es el t = 1.
        x_T: el ruido del que se parte, de forma (B, …).
        noises: los z, cada uno con la forma de x_T; next(noises) da otro.

    Returns:
        x_0, de la forma de x_T.
    """
    raise NotImplementedError
