"""La red ideal (capítulo «¿Por qué estamos prediciendo ε?»).

Falta el código de `ideal_x_start`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio ideal
"""

from torch import Tensor


def ideal_x_start(alpha_cumprod: float, data: Tensor, x_t: Tensor) -> Tensor:
    """E[x_0 | x_t] si los datos son unos pocos puntos, igual de probables.

    Args:
        alpha_cumprod: ᾱ_t, entre 0 y 1, sin llegar a ellos.
        data: los datos, de forma (N, D).
        x_t: los x_t, de forma (B, D).

    Returns:
        Para cada x_t, la media de los datos según lo probables que son: (B, D).
    """
    raise NotImplementedError
