"""El salto directo (capítulo «Forward process»).

Falta el código de `q_sample`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio salto
"""

from torch import Tensor


def q_sample(
    betas: Tensor, x_start: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    """Ensucia cada dato, de un salto, hasta su instante: x_t a partir de x_0.

    Args:
        betas: β_1, …, β_T, de forma (T,): el índice 0 es el t = 1.
        x_start: x_0, de forma (B, C, H, W).
        t: el índice del instante de cada dato, de forma (B,).
        noise: ε, de la misma forma que x_0.

    Returns:
        x_t, de la misma forma que x_0.
    """
    raise NotImplementedError
