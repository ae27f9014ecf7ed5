"""Modelos de diffusers por su id del hub, `usuario/nombre`: se traen una vez y se guardan.

Hace falta el extra `hub`. Sin él, o sin red, el error dice qué carpeta se puede llenar a mano.
"""

import os
import re
import shutil
from pathlib import Path

from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.formats.repository import (
    CONFIG,
    INDEX,
    SCHEDULER_CONFIG,
    STEM,
    WEIGHTS,
    is_repository,
    missing_shards,
    read_repository,
)
from ddpm_lit.machine.extras import require

SITE = "https://huggingface.co"
PARTS = (
    [INDEX, *(f"{folder}{CONFIG}" for folder in ("", "unet/"))]
    + [f"{folder}{SCHEDULER_CONFIG}" for folder in ("", "scheduler/")],
    [f"{folder}{STEM}*.safetensors*" for folder in ("", "unet/")],
    [f"{folder}{STEM}*.bin*" for folder in ("", "unet/")],
)
"""Lo que se baja, por turno, hasta que el modelo está entero: los pickles, solo si no hay más."""


def find_repository(source: str | Path) -> Path | None:
    """La carpeta de diffusers que se pide: una de aquí, o la de un id del hub.

    Args:
        source: una carpeta o un id, `usuario/nombre`.

    Returns:
        La carpeta, o `None` si lo que se pide no es ni lo uno ni lo otro.

    Raises:
        FileNotFoundError: si es un id y no se puede traer.
    """
    path = Path(source).expanduser()
    if is_repository(path):
        return path
    return fetch(str(source)) if is_hub_id(source) else None


def is_hub_id(source: str | Path) -> bool:
    """Si un texto es un id del hub: `usuario/nombre`, y no una ruta de esta máquina.

    Lo que empieza por una carpeta que existe, o por la de los entrenamientos, es una ruta.
    """
    path = Path(source)
    looks = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(source), re.ASCII)
    file = path.suffix in (".safetensors", ".bin", ".json", ".toml")
    local = path.parent.exists() or path.parent.name == "runs"
    return bool(looks) and not file and not local


def hub_folder(repo_id: str) -> Path:
    """Dónde se guarda un modelo del hub, o se deja a mano."""
    return user_cache_dir() / "hub" / repo_id


def fetch(repo_id: str) -> Path:
    """Trae un modelo del hub, si no se tiene ya.

    Se descarga a una carpeta vecina, que se puede reanudar, y solo cuando está entera toma su
    nombre: una descarga cortada nunca se toma por un modelo.

    Args:
        repo_id: `usuario/nombre`.

    Returns:
        Su carpeta.

    Raises:
        FileNotFoundError: si no se puede traer; dice por qué, y qué carpeta llenar a mano.
    """
    folder = hub_folder(repo_id)
    if is_repository(folder):
        return folder
    partial = folder.with_name(f".{folder.name}.part")
    try:
        hub = require(
            "huggingface_hub",
            package="huggingface-hub",
            extra="hub",
            purpose="Traerlo del hub",
        )
        for patterns in PARTS:
            hub.snapshot_download(
                repo_id,
                local_dir=partial,
                allow_patterns=patterns,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
            if _complete(partial):
                break
        else:
            raise FileNotFoundError(
                "no es el de un modelo DDPM de diffusers, o no trae pesos"
            )
    except (
        Exception
    ) as error:  # sin red, cada versión de huggingface-hub falla a su manera
        raise FileNotFoundError(_by_hand(repo_id, error)) from error
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    os.replace(partial, folder)
    return folder


def _complete(folder: Path) -> bool:
    """Si ya no hay más que bajar: el modelo está entero, o se sabe que no se podrá leer."""
    if not is_repository(folder):
        return False
    try:
        return not missing_shards(read_repository(folder).weights)
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def _by_hand(repo_id: str, error: Exception) -> str:
    reason = str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
    return (
        f"No hay ninguna carpeta «{repo_id}», y el modelo del hub que se llama así no se ha podido "
        f"traer ({reason}). A mano: de {SITE}/{repo_id}/tree/main baja «{CONFIG}» y «{WEIGHTS}» "
        f"(están en «unet», o sueltos) y «{SCHEDULER_CONFIG}», déjalos los tres en "
        f"«{hub_folder(repo_id)}» y repite la orden."
    )
