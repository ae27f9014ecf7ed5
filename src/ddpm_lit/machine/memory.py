"""Cómo se guardan los tensores en la memoria, y qué hace el proceso con la que sueltan."""

import ctypes
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1
_LARGE, _USUAL_TRIM, _USUAL_MAPPINGS = 2**20, 2**17, 2**16


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
    entrega en el paso siguiente página a página y puestas a 0, y eso puede costar unas décimas de
    segundo; si no, el proceso conserva lo que más llegó a ocupar, que es más de lo que piden los
    tensores: un hueco pocas veces sirve para otro de su mismo tamaño.

    Returns:
        Si se ha podido: solo con glibc, la de casi todos los Linux.
    """
    return _ask({_TRIM_THRESHOLD: _NEVER, _MMAP_MAX: 0})


def return_freed_memory() -> bool:
    """Pide a la biblioteca de C que devuelva al sistema, en cuanto se suelta, cada tensor grande.

    Es lo contrario de `keep_freed_memory`: el proceso ocupa lo que piden los tensores de ahora, y
    cada paso tarda más.

    Returns:
        Si se ha podido, como allí.
    """
    return _ask(
        {
            _TRIM_THRESHOLD: _USUAL_TRIM,
            _MMAP_THRESHOLD: _LARGE,
            _MMAP_MAX: _USUAL_MAPPINGS,
        }
    )


def _ask(settings: dict[int, int]) -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return all(libc.mallopt(name, value) for name, value in settings.items())
