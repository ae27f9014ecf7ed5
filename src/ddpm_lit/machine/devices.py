"""En qué dispositivo se calcula y con qué precisión."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

FLOAT32, BFLOAT16 = PRECISIONS = ("float32", "bfloat16")
"""Con qué precisión calcula una red: la de sus pesos, o mixta."""


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
    """Una red que calcula en precisión mixta bfloat16: las convoluciones y los productos.

    Los pesos no cambian, y lo que devuelve vuelve a float32: lo que se haga con ello no pierde más
    cifras.

    Args:
        model: la red.
        enabled: si se quiere; si no, la red queda como está.

    Returns:
        Otra red, que se llama igual.
    """

    def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        with torch.autocast(x_t.device.type, dtype=torch.bfloat16):
            return model(x_t, t, **condition).float()

    return call if enabled else model


def bfloat16_pays(
    step: Callable[[bool], object], *, repeats: int = 3, margin: float = 0.95
) -> bool:
    """Si algo tarda menos en bfloat16 que en float32 en esta máquina, midiéndolo.

    Depende del procesador (hacen falta `avx512_bf16` o `amx_bf16`), de la red y del tamaño del
    lote, así que se mide lo mismo que se va a hacer.

    Args:
        step: lo que se mide: `step(True)` en bfloat16 y `step(False)` en float32.
        repeats: cuántas veces cada uno, por turnos y después de una de calentamiento; cuenta la
            más rápida.
        margin: bfloat16 compensa si tarda menos de esta parte de lo que tarda float32.

    Returns:
        Si compensa.
    """
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(1 + repeats):
        for rough, taken in seconds.items():
            started = time.perf_counter()
            step(rough)
            taken.append(time.perf_counter() - started)
    return min(seconds[True][1:]) < margin * min(seconds[False][1:])
