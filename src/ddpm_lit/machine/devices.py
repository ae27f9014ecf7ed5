"""En qué dispositivo se calcula y con qué precisión."""

from contextlib import AbstractContextManager, nullcontext

import torch


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
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"«{name}» no es un dispositivo de PyTorch. Usa «cpu», «cuda», «cuda:1» o «mps»."
        ) from error
    missing_cuda = device.type == "cuda" and not torch.cuda.is_available()
    missing_mps = device.type == "mps" and not torch.backends.mps.is_available()
    if missing_cuda or missing_mps:
        raise ValueError(
            f"Se ha pedido el dispositivo «{name}» y esta máquina no lo tiene. "
            "Usa «cpu» o deja que se elija solo."
        )
    return device


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """Precisión mixta bfloat16 en CUDA; en los demás dispositivos no cambia nada.

    En la CPU bfloat16 es más lento que float32, así que allí no se usa.
    """
    if enabled and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
