"""La divergencia con sondas (capítulo «El límite continuo»).

Falta el código de `divergence`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio hutchinson
"""

from collections.abc import Callable

from torch import Tensor


def divergence(
    field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor
) -> Tensor:
    """La divergencia de un campo, con el estimador de Hutchinson.

    Args:
        field: u, que trata cada ejemplo por separado: de (B, D) a (B, D).
        x: dónde se mide, de forma (B, D).
        probes: las z, de forma (K, B, D).

    Returns:
        La media de zᵀ J z en las K sondas, de forma (B,).
    """
    raise NotImplementedError
