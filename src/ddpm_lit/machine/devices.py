"""En qué dispositivo se calcula y con qué precisión."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor


def choose_device(name: str | None = None) -> torch.device:
    """El dispositivo pedido o, si no se pide ninguno, el mejor que haya: CUDA, MPS o CPU.

    Args:
        name: nombre de PyTorch (`"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`) o `None`.

    Returns:
        El dispositivo.

    Raises:
        ValueError: si se pide un dispositivo que no existe en esta máquina.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device(
            "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"«{name}» no es un dispositivo de PyTorch. Usa «cpu», «cuda», «cuda:1» o «mps»."
        ) from error
    if device.type == "meta":
        raise ValueError(
            "El dispositivo «meta» no calcula nada: usa «cpu», «cuda», «cuda:1» o «mps»."
        )
    missing_cuda = device.type == "cuda" and not torch.cuda.is_available()
    missing_mps = device.type == "mps" and not torch.backends.mps.is_available()
    if missing_cuda or missing_mps:
        raise ValueError(
            f"Se ha pedido el dispositivo «{name}» y esta máquina no lo tiene. "
            "Usa «cpu» o deja que se elija solo."
        )
    return device


def in_bfloat16(
    model: Callable[..., Tensor], enabled: bool = True
) -> Callable[..., Tensor]:
    """Una red que calcula en precisión mixta bfloat16 en CUDA; en lo demás no cambia nada.

    En la CPU bfloat16 es más lento que float32, así que allí no se usa.

    Args:
        model: la red.
        enabled: si se quiere.

    Returns:
        Otra red, que se llama igual.
    """

    def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        on = enabled and x_t.device.type == "cuda"
        with (
            torch.autocast(x_t.device.type, dtype=torch.bfloat16)
            if on
            else nullcontext()
        ):
            return model(x_t, t, **condition)

    return call
