"""El schedule coseno (capítulo «Scheduler»).

Falta el código de `cosine_betas`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio coseno
"""

from torch import Tensor


def cosine_betas(timesteps: int, s: float = 0.008) -> Tensor:
    """Las β_t del schedule coseno.

    Args:
        timesteps: T.
        s: el desplazamiento de la curva.

    Returns:
        β_1, …, β_T, de forma (T,), en float64 y ninguna mayor que 0.999.
    """
    raise NotImplementedError
