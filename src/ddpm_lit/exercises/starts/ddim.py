"""El paso de DDIM (capítulo «DDIM»).

Falta el código de `ddim_step`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio ddim
"""

from torch import Tensor


def ddim_step(
    alphas_cumprod: Tensor,
    index: int,
    previous: int,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    eta: float,
) -> Tensor:
    """Un paso de DDIM, sin recortar.

    Args:
        alphas_cumprod: ᾱ_1, …, ᾱ_T, de forma (T,): el índice 0 es el t = 1.
        index: el índice del nivel en que está x_t.
        previous: el índice del nivel al que se va; -1 son los datos.
        x_t: el estado, de cualquier forma.
        epsilon: el ruido que predice la red, de la misma forma.
        z: ruido nuevo, de la misma forma.
        eta: η, de 0 (sin azar) a 1 (el azar de DDPM).

    Returns:
        El estado en el nivel al que se va.
    """
    raise NotImplementedError
