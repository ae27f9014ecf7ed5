"""La atención cruzada (capítulo «Añadir información condicional»).

Falta el código de `cross_attention`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio atencion
"""

from torch import Tensor


def cross_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Lo que cada píxel recoge de las palabras de una frase.

    Args:
        q: lo que pregunta cada píxel, de forma (B, P, D).
        k: lo que anuncia cada palabra, de forma (B, L, D).
        v: lo que entrega cada palabra, de forma (B, L, D).
        mask: True en las palabras y False en el relleno, de forma (B, L).

    Returns:
        Lo que recoge cada píxel, de forma (B, P, D).
    """
    raise NotImplementedError
