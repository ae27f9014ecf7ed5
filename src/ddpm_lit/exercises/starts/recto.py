"""Una red de DDPM en el camino recto (capítulo «Flow matching y EDM»).

Falta el código de `rectified_velocity`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio recto
"""

from collections.abc import Callable

from torch import Tensor


def rectified_velocity(
    model: Callable[[Tensor, float], Tensor], x: Tensor, tau: float
) -> Tensor:
    """La velocidad del flujo rectificado, con una red que predice el ruido.

    Args:
        model: la red de DDPM, que se llama model(x_t, ᾱ_t) y da ε.
        x: el estado del flujo rectificado, (1 - τ) x_0 + τ ε, de forma (B, …).
        tau: τ, mayor que 0 y menor que 1.

    Returns:
        La velocidad, de la forma de x.
    """
    raise NotImplementedError
