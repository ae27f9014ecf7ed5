"""Lo que deja la construcción en `build/<perfil>/`: leerlo, medirlo y ofrecerlo a las páginas."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .project import build_dir, profile

COMMAND = "make site"
SITE_FOLDER = "assets/construido"


class ArtefactError(LookupError):
    """Un artefacto que falta o que ya no corresponde al código."""


@dataclass(frozen=True)
class Manifest:
    """Contenido de `manifest.json`: un artefacto por nombre."""

    folder: Path
    artefacts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, name: str) -> dict[str, Any]:
        """Artefacto con ese nombre.

        Raises:
            ArtefactError: Si falta o está anticuado.
        """
        artefact = self.artefacts.get(name)
        if artefact is None:
            raise ArtefactError(
                f"falta el artefacto «{name}» (perfil {profile()}); créalo con `{COMMAND}`"
            )
        if not artefact.get("fresh", True):
            raise ArtefactError(
                f"el artefacto «{name}» (perfil {profile()}) está anticuado; "
                f"rehazlo con `{COMMAND}`"
            )
        return artefact

    def files(self, name: str) -> list[Path]:
        """Ficheros del artefacto, comprobando que existen.

        Raises:
            ArtefactError: Si falta el artefacto o alguno de sus ficheros.
        """
        paths = [self.folder / relative for relative in self.get(name).get("files", [])]
        for path in paths:
            if not path.is_file():
                raise ArtefactError(
                    f"falta el fichero {path.name} de «{name}»; créalo con `{COMMAND}`"
                )
        return paths

    def value(self, key: str) -> Any:
        """Valor `artefacto.campo[.subcampo…]` de los que midió la construcción.

        Raises:
            ArtefactError: Si no está.
        """
        name, _, rest = key.partition(".")
        value: Any = self.get(name).get("values", {})
        for part in rest.split("."):
            if isinstance(value, dict) and part in value:
                value = value[part]
            else:
                raise ArtefactError(
                    f"el artefacto «{name}» no tiene el valor «{rest}»; créalo con `{COMMAND}`"
                )
        return value


def load_manifest(folder: Path | None = None) -> Manifest:
    """Lee el manifiesto del perfil actual; si aún no existe, devuelve uno vacío."""
    folder = folder or build_dir()
    path = folder / "manifest.json"
    if not path.is_file():
        return Manifest(folder)
    return Manifest(folder, json.loads(path.read_text(encoding="utf-8"))["artefacts"])


def variants(paths: list[Path]) -> dict[str, list[Path]]:
    """Reparte los ficheros de un artefacto en `light`, `dark` y `both` según su nombre."""
    groups: dict[str, list[Path]] = {"light": [], "dark": [], "both": []}
    for path in paths:
        middle = path.suffixes[-2][1:] if len(path.suffixes) > 1 else ""
        groups[middle if middle in {"light", "dark"} else "both"].append(path)
    return groups


def dimensions(path: Path) -> tuple[int, int]:
    """Anchura y altura en píxeles de una imagen (de un SVG, las de su `viewBox`)."""
    if path.suffix == ".svg":
        head = path.read_text(encoding="utf-8")[:4000]
        if box := re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', head):
            return round(float(box[1]) * 4 / 3), round(float(box[2]) * 4 / 3)
        raise ValueError(f"{path.name} no tiene viewBox: no se puede saber cuánto ocupa.")
    from PIL import Image

    with Image.open(path) as image:
        return image.size
