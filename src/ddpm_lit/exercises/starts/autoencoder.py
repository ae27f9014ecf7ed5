"""La pérdida de un autoencoder (capítulo «De aquí a Stable Diffusion»).

Falta el código de `autoencoder_loss`. Se comprueba, desde esta carpeta, con

    ddpm-lit ejercicio autoencoder
"""

from collections.abc import Callable

from torch import Tensor


def autoencoder_loss(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Tensor,
    kl_weight: float,
) -> Tensor:
    """El error de ir y volver, más la divergencia con la normal.

    Args:
        encode: de imágenes, (B, …), a la media del latente y el logaritmo de
            su varianza, las dos de la forma de `noise`.
        decode: de un latente sorteado a imágenes.
        x: imágenes, de forma (B, …).
        noise: ε, con el que se sortea el latente.
        kl_weight: el peso λ de la divergencia.

    Returns:
        De cada ejemplo, el error absoluto medio por número de la imagen más λ
        por la divergencia media por número del latente: (B,).
    """
    raise NotImplementedError
