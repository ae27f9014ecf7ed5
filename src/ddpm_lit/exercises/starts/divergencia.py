"""La divergencia entre dos normales (capítulo «Función de pérdidas»).

Falta el código de `normal_kl`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio divergencia
"""

from torch import Tensor


def normal_kl(
    mean1: Tensor, log_var1: Tensor, mean2: Tensor, log_var2: Tensor
) -> Tensor:
    """La divergencia de la primera normal a la segunda, D_KL(N_1 || N_2).

    Args:
        mean1: μ_1, de cualquier forma.
        log_var1: log σ_1², de la misma forma.
        mean2: μ_2, de la misma forma.
        log_var2: log σ_2², de la misma forma.

    Returns:
        La divergencia de cada componente, en nats, de la misma forma.
    """
    raise NotImplementedError
