"""ONNX: una red en un fichero que se ejecuta sin PyTorch, también en el navegador.

El grafo recibe `x` (B, …), `t` (B,), y cada condición por su nombre, todas obligatorias; devuelve
`output`. B puede ser cualquiera; las demás medidas son las de la red.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lit.machine.extras import require

OPSET = 17


class _ByPosition(nn.Module):
    """La misma red, con las condiciones por su orden: el exportador no las admite por nombre."""

    def __init__(self, model: nn.Module, conditions: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.conditions = conditions

    def forward(self, x: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
        """Evalúa la red."""
        named = dict(zip(self.conditions, conditions, strict=True))
        out: Tensor = self.model(x, t, **named)
        return out


def onnx_bytes(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str],
    half: bool = False,
) -> bytes:
    """El fichero ONNX de una red.

    Args:
        model: la red, en la CPU, en float32 y en modo de evaluación.
        inputs: una tanda de ejemplo, de al menos 2: `x`, `t` y cada condición por su nombre.
        metadata: lo que el fichero dice de sí mismo (`metadata_props`).
        half: si los pesos, que deben caber, se guardan en float16; las cuentas siguen en float32.

    Returns:
        El contenido del fichero.

    Raises:
        ModuleNotFoundError: si falta el extra `onnx`.
    """
    onnx = require(
        "onnx", package="onnx", extra="onnx", purpose="Exportar a ONNX"
    )
    names = list(inputs)
    buffer = io.BytesIO()
    with _tracing():
        # El exportador nuevo, dynamo=True, deja fijo el tamaño de la tanda de ejemplo.
        torch.onnx.export(
            _ByPosition(model, tuple(names[2:])).eval(),
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=["output"],
            dynamic_axes={name: {0: "batch"} for name in [*names, "output"]},
            # Plegar constantes cambia los pesos de nombre y los duplica.
            do_constant_folding=False,
        )
    file = onnx.load_model_from_string(buffer.getvalue())
    if half:
        _halve(
            onnx, file.graph, {f"model.{name}" for name in model.state_dict()}
        )
    _shorten(file.graph)
    onnx.helper.set_model_props(file, dict(metadata))
    content: bytes = file.SerializeToString()
    return content


def run_onnx(content: bytes, inputs: Mapping[str, Tensor]) -> Tensor:
    """Ejecuta un fichero ONNX con onnxruntime.

    Args:
        content: el fichero.
        inputs: `x`, `t` y cada condición, por su nombre.

    Returns:
        La salida de la red.

    Raises:
        ModuleNotFoundError: si falta el extra `onnx`.
    """
    runtime = require(
        "onnxruntime",
        package="onnxruntime",
        extra="onnx",
        purpose="Ejecutar un fichero ONNX",
    )
    session = runtime.InferenceSession(
        content, providers=["CPUExecutionProvider"]
    )
    given = {name: value.numpy() for name, value in inputs.items()}
    return torch.from_numpy(session.run(["output"], given)[0])


@contextmanager
def _tracing() -> Iterator[None]:
    """Lo que hace falta mientras se traza: sin el atajo del transformer, que ONNX no conoce."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            # Avisan de que este exportador es el viejo, y de cada forma que se mira al trazar.
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _halve(onnx: Any, graph: Any, weights: set[str]) -> None:
    """Guarda los pesos en float16, cada uno con un Cast que lo devuelve a float32."""
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in weights:
            continue
        name, short = tensor.name, f"{tensor.name}.half"
        values = onnx.numpy_helper.to_array(tensor).astype("float16")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, short))
        casts.append(
            onnx.helper.make_node(
                "Cast", [short], [name], to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _shorten(graph: Any) -> None:
    """Da nombres cortos a lo que hay entre la entrada y la salida: ocupan lo que muchos pesos."""
    public = {each.name for each in graph.output}
    short: dict[str, str] = {}
    for node in graph.node:
        node.ClearField("name")
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
        for place, name in enumerate(node.output):
            if name and name not in public:
                short[name] = node.output[place] = f"v{len(short)}"
