"""Cómo se guardan los tensores en la memoria, y qué hace el proceso con la que sueltan."""

import ctypes
import sys

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def memory_layout(shape: tuple[int, ...]) -> torch.memory_format:
    """En qué orden conviene guardar unos datos y los pesos de su red.

    Las imágenes, con los canales juntos (`channels_last`): así una convolución las lee sin
    reordenarlas. Cambia el orden en la memoria, no los índices ni los valores.

    Args:
        shape: la forma de un dato, sin la dimensión del lote.

    Returns:
        `torch.channels_last` si son imágenes, (C, H, W); si no, lo que haya.
    """
    image = len(shape) == 3
    return torch.channels_last if image else torch.preserve_format


def keep_freed_memory() -> bool:
    """Pide a la biblioteca de C que no devuelva al sistema la memoria que se suelta.

    Cada paso de entrenamiento pide y suelta los mismos tensores. Si se devuelven, el sistema los
    entrega en el paso siguiente página a página y puestas a 0, y eso cuesta varias centésimas de
    segundo; si no, el proceso conserva lo que más llegó a ocupar.

    Returns:
        Si se ha podido: solo con glibc, la de casi todos los Linux.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(
        libc.mallopt(_TRIM_THRESHOLD, _NEVER) and libc.mallopt(_MMAP_MAX, 0)
    )
