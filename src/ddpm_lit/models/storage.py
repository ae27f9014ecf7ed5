"""Guardar y leer modelos: los pesos con que se generan muestras, y la receta que los hizo."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ddpm_lit.files.weights import (
    bare_state,
    load_state,
    read_weights,
    read_weights_header,
    with_prefix,
    write_weights,
)
from ddpm_lit.machine.devices import choose_device
from ddpm_lit.machine.memory import memory_layout
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe


class Header(NamedTuple):
    """Lo que un fichero de pesos dice de sí mismo.

    `kind` es `"model"` o `"checkpoint"`; `step`, los pasos que llevaba el entrenamiento;
    `ema_updates`, cuántas veces se había actualizado la EMA (0 en un modelo), y `data`, con qué
    se entrenó (véase `ddpm_lit.runs.memory`).
    """

    kind: str
    recipe: Recipe
    shape: tuple[int, ...]
    provenance: dict[str, Any]
    step: int
    ema_updates: int
    data: dict[str, Any]


def save_model(
    path: str | Path,
    model: nn.Module,
    recipe: Recipe,
    shape: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Guarda los pesos de una red con su receta.

    Args:
        path: el fichero `.safetensors`.
        model: la red (normalmente, la de la EMA); puede estar compilada o envuelta.
        recipe: la receta con que se entrenó.
        shape: la forma de una muestra.
        provenance: de dónde sale; valores que admitan JSON.
        data: con qué se entrenó (nombres de las clases, cuántos datos, su huella…).
        dtype: el tipo en que se guardan; con `torch.float16` el fichero ocupa la mitad. `None`
            los deja como están.
    """
    tensors = bare_state(model)
    if dtype is not None:
        tensors = {name: value.to(dtype) for name, value in tensors.items()}
    write_weights(
        Path(path),
        tensors,
        {
            "kind": "model",
            "recipe": recipe.to_dict(),
            "shape": list(shape),
            "provenance": dict(provenance or {}),
            "data": dict(data or {}),
        },
    )


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Trained:
    """Lee un modelo guardado con `save_model`, o la EMA de un checkpoint.

    Args:
        path: el fichero `.safetensors`.
        device: dónde se deja la red.

    Returns:
        El modelo, en float32 y listo para generar.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit o sus pesos no casan con su receta.
    """
    path = Path(path).expanduser()
    table, tensors = read_weights(path)
    header = parse_header(table, path)
    if header.kind == "checkpoint":
        tensors = with_prefix(tensors, "ema.")
    tensors = {name: value.float() for name, value in tensors.items()}
    with torch.device("meta"):
        model = header.recipe.build_model()
    load_state(model, tensors, path, assign=True)
    place = choose_device(str(device))
    # En la CPU, una convolución en channels_last tarda menos.
    return Trained(
        model.to(place, memory_format=memory_layout(header.shape)).eval(),  # type: ignore[call-overload]
        header.recipe,
        header.shape,
        header.provenance,
        header.data,
    )


def read_header(path: str | Path) -> Header:
    """Lee lo que un fichero dice de sí mismo, sin cargar los pesos.

    Args:
        path: el fichero `.safetensors`.

    Returns:
        Su cabecera.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit, o es de otra versión del formato.
    """
    path = Path(path).expanduser()
    return parse_header(read_weights_header(path), path)


def parse_header(table: Mapping[str, Any], path: Path) -> Header:
    """La cabecera de un fichero, comprobada.

    Raises:
        ValueError: si le falta algo o su receta no es válida.
    """
    try:
        recipe = recipe_from_dict(table["recipe"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"La receta que guarda «{path}» no es válida: {error}"
        ) from error
    try:
        return Header(
            kind=table["kind"],
            recipe=recipe,
            shape=tuple(table["shape"]),
            provenance=table["provenance"],
            step=table.get("step", table["provenance"].get("steps", 0)),
            ema_updates=table.get("ema_updates", 0),
            data=dict(table.get("data", {})),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"La cabecera de «{path}» está incompleta o dañada ({error})."
        ) from error
