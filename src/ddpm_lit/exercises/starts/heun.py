"""Generar con Heun (capítulo «Flow matching y EDM»).

Falta el código de `generate`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio heun
"""

from collections.abc import Callable

from torch import Tensor


def generate(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, times: list[float]
) -> Tensor:
    """Sigue la velocidad del ruido a los datos, con el método de Heun.

    Args:
        velocity: la velocidad, velocity(x, τ); en τ = 0 no está definida.
        x: el estado en el primer τ, de forma (B, …).
        times: los τ por los que se pasa, decrecientes; el último es 0.

    Returns:
        El estado en el último τ, de la forma de x.
    """
    raise NotImplementedError
