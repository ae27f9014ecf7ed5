"""Modelos que vienen entrenados dentro del paquete: se cargan sin red y sin entrenar nada.

Cada uno son dos ficheros de la carpeta `weights`: `NOMBRE.safetensors`, con los pesos en
float16, y `NOMBRE.json`, su ficha de procedencia.
"""

import difflib
import json
from contextlib import AbstractContextManager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch

from ddpm_lit.files.weights import SUFFIX, names_in
from ddpm_lit.formats.hub import is_hub_id
from ddpm_lit.models.storage import load_model
from ddpm_lit.models.trained import Trained

CARD_FIELDS = (
    "name",
    "description",
    "recipe",
    "seed",
    "steps",
    "parameters",
    "segments",
    "hardware",
    "seconds",
    "data",
    "license",
    "metrics",
    "versions",
    "commit",
)
"""Los campos de una ficha.

`segments` son los tramos del entrenamiento, cada uno con sus pasos, sus segundos y su
dispositivo; `data`, el conjunto y a quién se debe; `license`, la de los pesos, y `commit`, el
estado del repositorio que los hizo.
"""


def pretrained_names() -> list[str]:
    """Los nombres de los modelos que trae el paquete, en orden alfabético."""
    return names_in(_folder())


def load_pretrained(name: str, device: str | torch.device = "cpu") -> Trained:
    """Carga uno de los modelos que trae el paquete, o uno de diffusers del hub.

    Args:
        name: su nombre (véase `pretrained_names`), o un id del hub, `usuario/nombre`.
        device: dónde se deja la red.

    Returns:
        El modelo, en float32 y listo para generar.

    Raises:
        FileNotFoundError: si el paquete no trae ningún modelo con ese nombre, o el del hub no se
            puede traer.
    """
    if is_hub_id(name):
        return load_model(name, device)
    with weights_file(name) as path:
        return load_model(path, device)


def weights_file(name: str) -> AbstractContextManager[Path]:
    """El fichero de pesos de un modelo, mientras dura el `with`.

    Args:
        name: su nombre (véase `pretrained_names`).

    Raises:
        FileNotFoundError: si el paquete no trae ningún modelo con ese nombre.
    """
    return resources.as_file(_find(name, SUFFIX))


def card(name: str) -> dict[str, Any]:
    """La ficha de procedencia de un modelo: con qué, dónde y cuánto se entrenó, y qué medidas da.

    Args:
        name: su nombre (véase `pretrained_names`).

    Returns:
        Un diccionario con los campos de `CARD_FIELDS`.

    Raises:
        FileNotFoundError: si el paquete no trae ningún modelo con ese nombre.
    """
    content: dict[str, Any] = json.loads(
        _find(name, ".json").read_text(encoding="utf-8")
    )
    return content


def _folder() -> Traversable:
    return resources.files("ddpm_lit") / "weights"


def _find(name: str, suffix: str) -> Traversable:
    names = pretrained_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" ¿Querías decir «{close[0]}»?" if close else ""
        listed = (
            f"Los que hay: {', '.join(names)}."
            if names
            else "Esta instalación no trae ninguno."
        )
        raise FileNotFoundError(
            f"El paquete no trae ningún modelo «{name}».{hint} {listed}"
        )
    return _folder() / f"{name}{suffix}"
