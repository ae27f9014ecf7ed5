"""Las carpetas de diffusers: qué ficheros hay en ellas, y cómo se llaman dentro los pesos.

Una carpeta es anidada (`unet/config.json`, `scheduler/scheduler_config.json`) o plana
(`config.json`, `scheduler_config.json`); los pesos están junto a la configuración de la red, en
un safetensors o en un pickle, enteros o repartidos con un índice.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lit.files.weights import read_tensors
from ddpm_lit.formats.diffusers import recipe_from
from ddpm_lit.formats.settings import Settings, read_json
from ddpm_lit.recipes.recipe import Recipe

INDEX, UNET_FOLDER, SCHEDULER_FOLDER = "model_index.json", "unet", "scheduler"
CONFIG, SCHEDULER_CONFIG = "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
STEM = "diffusion_pytorch_model"
WEIGHTS_FILES = (
    WEIGHTS,
    f"{STEM}.safetensors.index.json",
    f"{STEM}.fp16.safetensors",
    f"{STEM}.bin",
    f"{STEM}.bin.index.json",
)
"""Los nombres que pueden tener los pesos, en el orden en que se prefieren."""

CLASSES = "class_embedding.weight"

_RENAMED = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
_OLD_NAME = re.compile(r"(attentions\.\d+)\.(query|key|value|proj_attn)\.")
"""Los nombres que tenía la atención hasta 2022."""


class Repository(NamedTuple):
    """Lo que dice una carpeta de diffusers, sin leer los pesos.

    `weights` es el fichero de los pesos, o el de su índice; `scheduled`, si la carpeta trae
    scheduler.
    """

    recipe: Recipe
    shape: tuple[int, int, int]
    weights: Path
    unet: Settings
    scheduler: Settings
    scheduled: bool


def is_repository(path: Path) -> bool:
    """Si una ruta es la carpeta de un modelo de diffusers."""
    marks = (INDEX, f"{UNET_FOLDER}/{CONFIG}", CONFIG)
    return path.is_dir() and any((path / mark).is_file() for mark in marks)


def read_repository(folder: Path) -> Repository:
    """Lee las configuraciones de una carpeta de diffusers y busca sus pesos.

    Args:
        folder: la carpeta.

    Returns:
        Lo que dice.

    Raises:
        FileNotFoundError: si falta la configuración de la red, o los pesos.
        ValueError: si alguna está dañada o dice algo que aquí no se puede representar.
    """
    if (folder / INDEX).is_file():
        _check_pipeline(read_json(folder / INDEX))
    network = folder / UNET_FOLDER
    network = network if (network / CONFIG).is_file() else folder
    unet = read_json(network / CONFIG)
    nested = folder / SCHEDULER_FOLDER / SCHEDULER_CONFIG
    path = nested if nested.is_file() else folder / SCHEDULER_CONFIG
    scheduled = path.is_file()
    scheduler = read_json(path) if scheduled else Settings({}, str(path))
    recipe, shape = recipe_from(folder.absolute().name, unet, scheduler)
    return Repository(
        recipe, shape, _find_weights(network), unet, scheduler, scheduled
    )


def _check_pipeline(index: Settings) -> None:
    """Rechaza un modelo con más piezas que la red y el scheduler, como los de texto."""
    for name, value in index.values.items():
        if (
            not name.startswith("_")
            and name not in ("unet", "scheduler")
            and value
        ):
            raise index.refusal(
                name,
                value,
                "un modelo que solo tenga unet y scheduler (DDPMPipeline, DDIMPipeline): los que "
                "llevan otras piezas son de otra clase",
            )


def _find_weights(folder: Path) -> Path:
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"En «{folder}» está la configuración de un modelo de diffusers y faltan sus pesos: deja "
        f"ahí «{WEIGHTS}» (o «{STEM}.bin»)."
    )


def missing_shards(weights: Path) -> list[str]:
    """Los trozos que nombra un índice de pesos y no están a su lado.

    Args:
        weights: el fichero de los pesos, o el de su índice.

    Raises:
        ValueError: si el índice no se entiende, o nombra un fichero de otro sitio.
    """
    if weights.suffix != ".json":
        return []
    names = _shards(read_json(weights))
    return [name for name in names if not (weights.parent / name).is_file()]


def _shards(index: Settings) -> list[str]:
    """Los ficheros en que están repartidos unos pesos: solo nombres, de la misma carpeta."""
    table = index.values.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise index.refusal(
            "weight_map", table, "el fichero de cada peso, por su nombre"
        )
    suffix = Path(index.file.removesuffix(".index.json")).suffix
    for name in table.values():
        plain = isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)
        if not plain or not name.endswith(suffix) or name.startswith("."):
            raise index.refusal(
                "weight_map",
                name,
                f"el nombre de un fichero «{suffix}» de su misma carpeta, sin ruta",
            )
    return sorted(set(table.values()))


def read_state(weights: Path, num_classes: int | None) -> dict[str, Tensor]:
    """Los pesos de una carpeta de diffusers, en float32 y con los nombres de `UNet`.

    Args:
        weights: el fichero de los pesos, o el de su índice.
        num_classes: las clases de la red. Si solo hay una fila por clase, se añade, con ceros, la
            de «sin clase», que allí no existe.

    Returns:
        Los pesos, por su nombre.

    Raises:
        FileNotFoundError: si falta algún fichero.
        ValueError: si alguno está dañado, o un índice nombra un fichero de otro sitio.
    """
    files = [weights]
    if weights.suffix == ".json":
        files = [weights.parent / name for name in _shards(read_json(weights))]
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_tensors(file)
    tensors = _renamed(tensors, weights)
    table = tensors.get(CLASSES)
    if table is not None and len(table) == num_classes:
        tensors[CLASSES] = torch.cat([table, torch.zeros_like(table[:1])])
    return tensors


def _renamed(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    renamed = {
        _OLD_NAME.sub(
            lambda found: f"{found[1]}.{_RENAMED[found[2]]}.", name
        ): value
        for name, value in tensors.items()
    }
    if len(renamed) < len(tensors):
        raise ValueError(
            f"«{path}» tiene la misma atención dos veces, con los nombres viejos (query, key…) y "
            "con los nuevos (to_q, to_k…): no se sabe cuál vale."
        )
    return renamed
