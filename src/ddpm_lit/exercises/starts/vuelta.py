"""El paso atrás, con tanto azar como se quiera (capítulo «El límite continuo»).

Falta el código de `reverse_step`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio vuelta
"""

from torch import Tensor


def reverse_step(
    beta: float,
    alpha_cumprod: float,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    kappa: float,
) -> Tensor:
    """Un paso de Euler-Maruyama de la familia que va de la EDO a la SDE.

    Args:
        beta: β_t, que es β(τ) Δτ.
        alpha_cumprod: ᾱ_t.
        x_t: el estado, de cualquier forma.
        epsilon: el ruido que predice la red, de la misma forma.
        z: ruido nuevo, de la misma forma.
        kappa: κ, de 0 (la EDO) a 1 (la SDE).

    Returns:
        x_{t-1}, de la misma forma.
    """
    raise NotImplementedError
