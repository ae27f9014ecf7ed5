"""Las licencias de lo ajeno que la web reparte: lo que de verdad va en ella, y no más."""

import json
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from . import assets, frontend

FOLDER = "assets/licencias"
COPIED = (assets.FONT, "iframe-worker", "katex", "onnxruntime-web")
"""Los paquetes de npm que se copian sin pasar por el empaquetador."""
THEME = "mkdocs-material"
ELSEWHERE = {"onnxruntime-web": ("onnxruntime", "onnxruntime/LICENSE")}
"""Los que no traen su licencia: en qué paquete de Python, del mismo proyecto, está, y dónde."""


class Licence(NamedTuple):
    """Un paquete: su nombre, su versión, su licencia y el fichero que la lleva escrita."""

    name: str
    version: str
    kind: str
    text: Path

    @property
    def uri(self) -> str:
        """Dónde queda su licencia dentro de la web."""
        return f"{FOLDER}/{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')}.txt"


def bundled() -> set[str]:
    """Los paquetes de npm de los que hay código en los widgets, según el empaquetador."""
    if not frontend.META.is_file():
        frontend.bundle()
    inputs = json.loads(frontend.META.read_text(encoding="utf-8"))["inputs"]
    found = (re.search(r"node_modules/((?:@[^/]+/)?[^/]+)/", path) for path in inputs)
    return {match[1] for match in found if match}


def licences() -> list[Licence]:
    """Las licencias de lo que se reparte, por orden.

    Raises:
        FileNotFoundError: Si un paquete no trae la suya.
    """
    return sorted([_of_npm(name) for name in {*bundled(), *COPIED}] + [_of_the_theme()])


def site_files() -> dict[str, Path | str]:
    """Los textos de las licencias, por su ruta dentro de la web."""
    return {each.uri: each.text for each in licences()}


def table(link: Callable[[str], str]) -> str:
    """La tabla de la página «Licencias», en Markdown; `link` da la dirección de un fichero."""
    rows = [
        f'| {each.name} | {each.version} | <a href="{link(each.uri)}">{each.kind}</a> |'
        for each in licences()
    ]
    return "\n".join(["| paquete | versión | licencia |", "| --- | --- | --- |", *rows])


def _of_npm(name: str) -> Licence:
    folder = assets.NODE_MODULES / name
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    if name in ELSEWHERE:
        return Licence(name, package["version"], package["license"], _of_python(*ELSEWHERE[name]))
    found = sorted(folder.glob("LICEN[CS]E*"))
    if not found:
        raise FileNotFoundError(f"El paquete de npm «{name}» no trae su licencia.")
    return Licence(name, package["version"], package["license"], found[0])


def _of_the_theme() -> Licence:
    text = _of_python(THEME, "*.dist-info/licenses/LICENSE")
    return Licence("Material for MkDocs", distribution(THEME).version, "MIT", text)


@cache
def _of_python(package: str, pattern: str) -> Path:
    """El fichero de la licencia de un paquete de Python instalado."""
    found = [each for each in distribution(package).files or [] if each.match(pattern)]
    if not found:
        raise FileNotFoundError(f"El paquete de Python «{package}» no trae su licencia.")
    return Path(str(found[0].locate()))
