"""Checkpoints: todo lo que hace falta para retomar un entrenamiento exactamente donde estaba.

El orden de los datos y el ruido no se guardan porque son función de la semilla y del número de
paso (véase `ddpm_lit.noise`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lit.files.weights import (
    bare_state,
    load_state,
    read_weights,
    with_prefix,
    write_weights,
)
from ddpm_lit.improved import ImportanceSampler
from ddpm_lit.models.storage import Header, parse_header
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.recipe import Recipe

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"

_FREE = (
    "name",
    "description",
    "expect",
    "sampling",
    "training.steps",
    # Dónde están los datos da igual: lo que cuenta es su huella (`ddpm_lit.runs.memory`).
    "data.options.path",
)


@dataclass(frozen=True)
class State:
    """Lo que cambia mientras se entrena.

    Args:
        model: la red que se entrena.
        ema: su media móvil.
        optimizer: el optimizador, con un solo grupo de parámetros.
        importance: el muestreo de t, si es por importancia.
    """

    model: nn.Module
    ema: EMA
    optimizer: torch.optim.Optimizer
    importance: ImportanceSampler | None = None


def save_checkpoint(
    path: str | Path,
    state: State,
    *,
    step: int,
    recipe: Recipe,
    shape: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Guarda todo lo que hace falta para reanudar un entrenamiento tras `step` pasos.

    Args:
        path: el fichero `.safetensors`.
        state: lo que cambia mientras se entrena.
        step: cuántos pasos se han dado.
        recipe: la receta.
        shape: la forma de una muestra.
        provenance: de dónde sale; valores que admitan JSON.
        data: con qué se entrena (véase `ddpm_lit.runs.memory`).
    """
    write_weights(
        Path(path),
        state_tensors(state),
        {
            "kind": "checkpoint",
            "recipe": recipe.to_dict(),
            "shape": list(shape),
            "provenance": dict(provenance or {}),
            "data": dict(data or {}),
            "step": step,
            "ema_updates": state.ema.updates,
        },
    )


def state_tensors(state: State) -> dict[str, Tensor]:
    """Lo que cambia mientras se entrena, con un nombre por tensor."""
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": bare_state(state.model),
        "ema": bare_state(state.ema.model),
    }
    for index, moments in state.optimizer.state_dict()["state"].items():
        parts[f"optimizer.{index}"] = moments
    if state.importance is not None:
        parts["importance"] = state.importance.state_dict()
    return {
        f"{part}.{name}": value
        for part, each in parts.items()
        for name, value in each.items()
    }


def load_checkpoint(path: str | Path, state: State, recipe: Recipe) -> Header:
    """Deja la red, la EMA y el optimizador como estaban al guardar el checkpoint.

    Args:
        path: el fichero `.safetensors`.
        state: la red recién construida, su EMA, su optimizador y su muestreo de t.
        recipe: la receta con que se quiere continuar.

    Returns:
        La cabecera: los pasos que ya se habían dado, la procedencia y los datos.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un checkpoint, o es de otra receta (pueden diferir el
            nombre, la descripción, lo que cabe esperar, cómo se genera y el número de pasos).
    """
    path = Path(path)
    table, tensors = read_weights(path)
    header = parse_header(table, path)
    if header.kind != "checkpoint":
        raise ValueError(
            f"«{path}» guarda solo un modelo: no se puede reanudar un entrenamiento desde él."
        )
    differences = _differences(header.recipe.to_dict(), recipe.to_dict())
    if differences:
        raise ValueError(
            f"El checkpoint «{path}» es de otra receta: difieren {', '.join(differences)}. "
            "Reanuda con los mismos valores o entrena en otra carpeta."
        )
    state.ema.updates = header.ema_updates
    restore_state(state, tensors, path)
    return header


def restore_state(
    state: State, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Deja lo que cambia mientras se entrena como lo guardó `state_tensors`.

    Args:
        state: la red recién construida, su EMA, su optimizador y su muestreo de t.
        tensors: los tensores.
        path: de qué fichero salen, para el error.

    Raises:
        ValueError: si no son los de esa red.
    """
    load_state(state.model, with_prefix(tensors, "model."), path)
    load_state(state.ema.model, with_prefix(tensors, "ema."), path)
    if state.importance is not None:
        state.importance.load_state_dict(with_prefix(tensors, "importance."))
    (group,) = state.optimizer.param_groups
    for index, parameter in enumerate(group["params"]):
        # Los momentos deben tener la disposición en memoria de su parámetro, y el optimizador
        # fundido quiere hasta el contador de pasos en su dispositivo.
        counter_device = parameter.device if group.get("fused") else "cpu"
        moments = with_prefix(tensors, f"optimizer.{index}.")
        state.optimizer.state[parameter] = {
            name: value.to(counter_device)
            if value.ndim == 0
            else torch.zeros_like(parameter).copy_(value)
            for name, value in moments.items()
        }


def _differences(
    a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    names: list[str] = []
    for name in sorted(a.keys() | b.keys()):
        left, right = a.get(name), b.get(name)
        if prefix + name in _FREE:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            names += _differences(left, right, f"{prefix}{name}.")
        elif json.dumps(left) != json.dumps(right):
            names.append(prefix + name)
    return names
