"""Langevin recocido (capítulo «Score matching»).

Falta el código de `annealed_langevin`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio recocido
"""

from collections.abc import Callable, Iterator

from torch import Tensor


def annealed_langevin(
    score: Callable[[Tensor, float], Tensor],
    sigmas: list[float],
    x: Tensor,
    noises: Iterator[Tensor],
    steps: int,
    rate: float,
) -> Tensor:
    """Genera con Langevin, del nivel más ruidoso al menos.

    Args:
        score: s(x, ς), de la forma de x.
        sigmas: los ς de los niveles, de menor a mayor.
        x: el punto de partida, sin encoger, de forma (B, …).
        noises: los z, cada uno con la forma de x; next(noises) da otro.
        steps: cuántos pasos se dan en cada nivel.
        rate: r.

    Returns:
        El último estado, de la forma de x.
    """
    raise NotImplementedError
