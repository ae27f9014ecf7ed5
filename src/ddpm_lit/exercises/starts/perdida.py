"""La pérdida del Algoritmo 1 (capítulo «Entrenamiento»).

Falta el código de `training_loss`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio perdida
"""

from collections.abc import Callable

from torch import Tensor


def training_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    alphas_cumprod: Tensor,
    x_start: Tensor,
    t: Tensor,
    noise: Tensor,
) -> Tensor:
    """El error de una red que predice el ruido, para cada imagen de un lote.

    Args:
        model: la red: model(x_t, t) responde con la forma de x_t.
        alphas_cumprod: ᾱ_1, …, ᾱ_T, de forma (T,).
        x_start: las imágenes, x_0, de forma (B, C, H, W).
        t: el índice de cada una, de forma (B,).
        noise: ε, de la forma de las imágenes.

    Returns:
        El error cuadrático medio de cada imagen, de forma (B,).
    """
    raise NotImplementedError
