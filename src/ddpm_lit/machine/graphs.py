"""Grabar las llamadas a una red en una GPU y repetirlas sin volver a pedirlas una a una."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

WARMUP = 3
"""Cuántas veces se llama a la red antes de grabarla: PyTorch elige entonces sus algoritmos."""


class _Recording(NamedTuple):
    """Un grafo de CUDA, con los tensores de los que lee y aquel en que escribe."""

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]
    output: Tensor


def replayed(
    model: Callable[..., Tensor], enabled: bool = True
) -> Callable[..., Tensor]:
    """Una red que en CUDA se graba la primera vez y después se repite de una sola orden.

    Una red pequeña da a la GPU cientos de órdenes brevísimas, y la CPU tarda más en pedirlas que la
    GPU en cumplirlas. Un grafo de CUDA las lleva todas. Sirve para generar: no se deriva por él, y
    lo que la red haga fuera de la GPU solo ocurre al grabar. Se graba una vez por cada forma de lo
    que recibe; el primer uso tarda como unas pocas llamadas.

    Args:
        model: la red; todo lo que recibe son tensores, y no mira sus valores desde la CPU.
        enabled: si se quiere; si no, la red queda como está.

    Returns:
        Otra red, que se llama igual y en los demás dispositivos hace lo mismo.
    """
    recordings: dict[tuple[object, ...], _Recording] = {}

    def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        if x_t.device.type != "cuda":
            return model(x_t, t, **condition)
        given = {"x_t": x_t, "t": t, **condition}
        key = tuple(
            (name, each.shape, each.dtype, each.stride())
            for name, each in given.items()
        )
        if key not in recordings:
            recordings[key] = _record(model, given)
        recording = recordings[key]
        for name, each in given.items():
            recording.inputs[name].copy_(each)
        recording.graph.replay()
        # La próxima repetición escribe en el mismo sitio.
        return recording.output.clone()

    return call if enabled else model


@torch.no_grad()
def _record(
    model: Callable[..., Tensor], given: dict[str, Tensor]
) -> _Recording:
    """Llama unas veces a la red en otra cola de órdenes, como pide CUDA, y graba la última."""
    inputs = {name: each.clone() for name, each in given.items()}
    condition = {k: v for k, v in inputs.items() if k not in ("x_t", "t")}
    aside = torch.cuda.Stream(inputs["x_t"].device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARMUP):
            model(inputs["x_t"], inputs["t"], **condition)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = model(inputs["x_t"], inputs["t"], **condition)
    return _Recording(graph, inputs, output)
