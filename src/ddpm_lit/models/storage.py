"""Guardar y leer modelos: los pesos con que se generan muestras, y la receta que los hizo.

Se leen también los de diffusers: una carpeta, o un id del hub (véase `ddpm_lit.formats`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lit.files.weights import (
    bare_state,
    load_state,
    read_weights,
    read_weights_header,
    with_prefix,
    write_weights,
)
from ddpm_lit.formats.diffusers import configs_of
from ddpm_lit.formats.hub import find_repository
from ddpm_lit.formats.repository import (
    Repository,
    read_repository,
    read_state,
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
        model_table(recipe, shape, provenance, data),
    )


def save_trained(
    path: str | Path, trained: Trained, *, dtype: torch.dtype | None = None
) -> None:
    """Guarda un modelo entrenado con todo lo que se sabe de él, como lo lee `load_model`.

    Args:
        path: el fichero `.safetensors`.
        trained: el modelo.
        dtype: el tipo en que se guardan los pesos; con `torch.float16` el fichero ocupa la mitad.
            `None` los deja como están.
    """
    save_model(
        path,
        trained.model,
        trained.recipe,
        trained.shape,
        trained.provenance,
        data=trained.data,
        dtype=dtype,
    )


def model_table(
    recipe: Recipe,
    shape: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Lo que el fichero de un modelo dice de sí mismo, como lo lee `parse_header`."""
    return {
        "kind": "model",
        "recipe": recipe.to_dict(),
        "shape": list(shape),
        "provenance": dict(provenance or {}),
        "data": dict(data or {}),
    }


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Trained:
    """Lee un modelo guardado con `save_model`, la EMA de un checkpoint, o uno de diffusers.

    Los nombres de los pesos de diffusers, viejos y nuevos, y sus tipos se entienden todos; sus
    pickles se abren sin ejecutar nada (véase `ddpm_lit.formats`).

    Args:
        path: el fichero `.safetensors`, la carpeta de un modelo de diffusers o su id del hub,
            `usuario/nombre`.
        device: dónde se deja la red.

    Returns:
        El modelo, en float32 y listo para generar.

    Raises:
        FileNotFoundError: si no existe, o el id no se puede traer.
        ValueError: si no es un fichero de ddpm_lit ni una carpeta de diffusers, dice algo que
            aquí no se puede representar, o sus pesos no casan con su red.
    """
    folder = find_repository(path)
    path = Path(path).expanduser() if folder is None else folder
    if folder is None:
        table, tensors = read_weights(path)
        header = parse_header(table, path)
        if header.kind == "checkpoint":
            tensors = with_prefix(tensors, "ema.")
        tensors = {name: value.float() for name, value in tensors.items()}
    else:
        repository = read_repository(folder)
        header = _repository_header(repository)
        classes = header.recipe.model.options.get("num_classes")
        tensors = read_state(repository.weights, classes)
    _check_sizes(header.recipe, tensors, path)
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


def _check_sizes(
    recipe: Recipe, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Rechaza, antes de construirla, una red con tamaños que sus pesos no pueden tener.

    Una que solo sea otra red se construye, y `load_state` dice en qué no casa.
    """
    held = sum(value.numel() for value in tensors.values())
    for name, value in recipe.model.options.items():
        if name == "timesteps":
            continue  # no es de la red: es el T del proceso
        sizes = value if isinstance(value, list | tuple) else [value]
        most = max(held, 10_000)
        if name in ("layers_per_block", "text_layers", "depth"):
            most = max(len(tensors), 100)
        for size in sizes:
            if isinstance(size, int) and size > most:
                raise ValueError(
                    f"Los pesos de «{path}» son {held} números, y en la red de su receta {name} "
                    f"vale {size}: la receta está dañada."
                )


def read_header(path: str | Path) -> Header:
    """Lee lo que un fichero dice de sí mismo, sin cargar los pesos.

    Args:
        path: el fichero `.safetensors`, la carpeta de un modelo de diffusers o su id del hub.

    Returns:
        Su cabecera; la de diffusers sale de sus configuraciones.

    Raises:
        FileNotFoundError: si no existe.
        ValueError: si no es un fichero de ddpm_lit, es de otra versión del formato, o es una
            carpeta de diffusers que no se puede representar.
    """
    folder = find_repository(path)
    if folder is not None:
        return _repository_header(read_repository(folder))
    path = Path(path).expanduser()
    return parse_header(read_weights_header(path), path)


def _repository_header(repository: Repository) -> Header:
    """Lo que dice una carpeta de diffusers; si la escribió `export_diffusers`, su receta entera."""
    own = _exported_header(repository)
    if own is not None:
        return own
    scheduler = repository.scheduler.get("_class_name", "DDPMScheduler")
    provenance = {
        "diffusers": str(repository.unet.get("_diffusers_version", "?")),
        "scheduler": scheduler
        if repository.scheduled
        else "ninguno; se supone el de Ho et al. (2020)",
    }
    return Header(
        "model", repository.recipe, repository.shape, provenance, 0, 0, {}
    )


def _exported_header(repository: Repository) -> Header | None:
    """La cabecera que dejó aquí `export_diffusers`, si las configuraciones siguen siendo suyas."""
    path = repository.weights
    try:
        header = parse_header(read_weights_header(path), path)
        written = configs_of(header.recipe, header.shape)
    except ValueError:
        return None
    found = (repository.unet.values, repository.scheduler.values)
    same = all(
        {**ours, "_diffusers_version": None}
        == {**theirs, "_diffusers_version": None}
        for ours, theirs in zip(written, found, strict=True)
    )
    return header if same else None


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
