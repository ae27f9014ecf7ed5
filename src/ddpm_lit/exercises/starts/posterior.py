"""El posterior (capítulo «Posterior»).

Falta el código de `q_posterior`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio posterior
"""

from torch import Tensor


def q_posterior(
    betas: Tensor, x_start: Tensor, x_t: Tensor, index: int
) -> tuple[Tensor, Tensor]:
    """La media y la varianza de q(x_{t-1} | x_t, x_0).

    Args:
        betas: β_1, …, β_T, de forma (T,): el índice 0 es el t = 1.
        x_start: x_0, de cualquier forma.
        x_t: x_t, de la misma forma.
        index: el índice de t, de 0 a T - 1.

    Returns:
        La media, de la forma de los datos, y la varianza, un solo número.
    """
    raise NotImplementedError
