"""La varianza aprendida (capítulo «Improving diffusion»).

Falta el código de `learned_variance`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio rango
"""

from torch import Tensor


def learned_variance(betas: Tensor, index: int, output: Tensor) -> Tensor:
    """La varianza del paso atrás, entre β̃_t y β_t, donde diga la red.

    Args:
        betas: β_1, …, β_T, de forma (T,): el índice 0 es el t = 1.
        index: el índice de t, de 0 a T - 1.
        output: o, lo que da la red para la varianza, de cualquier forma.

    Returns:
        σ_t², con la forma de output. Con o = -1 es β̃_t, y con o = 1, β_t.
    """
    raise NotImplementedError
