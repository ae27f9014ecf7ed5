"""Dónde está cada cosa del proyecto y qué huella tiene su contenido."""

import ast
import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PACKAGE = SRC / "ddpm_lit"
CACHE = Path(os.environ.get("DDPM_CACHE") or ROOT / ".cache" / "sitio")
BUILD = Path(os.environ.get("DDPM_BUILD") or ROOT / "build")
UNKNOWN = "desconocido"
PROFILES = ("smoke", "cpu", "gpu")


def profile() -> str:
    """Perfil de construcción: el de la variable `DDPM_PROFILE`, o `cpu`."""
    name = os.environ.get("DDPM_PROFILE") or "cpu"
    if name not in PROFILES:
        raise ValueError(
            f"DDPM_PROFILE vale «{name}», pero los perfiles son {', '.join(PROFILES)}: "
            "elige uno de ellos."
        )
    return name


def build_dir() -> Path:
    """Carpeta donde la construcción deja modelos, figuras y `manifest.json` del perfil actual."""
    return BUILD / profile()


def commit() -> str:
    """El commit de la copia de trabajo; si no es un repositorio de git, `UNKNOWN`."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return output.stdout.strip()


def digest(*parts: str | bytes) -> str:
    """Huella SHA-256 (32 caracteres hexadecimales) de unos trozos, sin ambigüedad al unirlos."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()[:32]


def files_digest(paths: Iterable[Path]) -> str:
    """Huella del nombre y los bytes de unos ficheros; los que no existen cuentan como vacíos."""
    parts: list[str | bytes] = []
    for path in sorted(paths):
        parts += [path.as_posix(), path.read_bytes() if path.is_file() else b""]
    return digest(*parts)


def strip_docstrings(tree: ast.AST) -> ast.AST:
    """Quita de un árbol las cadenas sueltas: docstrings y explicaciones de constantes.

    (Los comentarios ya no están en él.)
    """
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [statement for statement in body if not _is_bare_string(statement)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


def _is_bare_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@dataclass(frozen=True)
class Code:
    """Lo que se sabe de un fichero de código: qué importa y su árbol sintáctico, en texto."""

    imports: tuple[str, ...]
    syntax: str


def code_of(path: Path) -> Code:
    """Lo que dice un fichero de código, sin docstrings ni comentarios; se lee una vez por versión.

    Si no se puede leer como Python, su árbol es su texto y no importa nada.
    """
    stat = path.stat()
    return _code_at(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _code_at(path: Path, mtime_ns: int, size: int) -> Code:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return Code((), path.read_text(encoding="utf-8", errors="replace"))
    return Code(tuple(_imported(tree)), ast.dump(strip_docstrings(tree)))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_files(package: Path = PACKAGE) -> list[Path]:
    """Ficheros del paquete que cuentan para su huella: fuentes y recetas."""
    return sorted(p for p in package.rglob("*") if p.suffix in {".py", ".toml"} and p.is_file())


def code_digest(package: Path = PACKAGE, recipes: bool = True) -> str:
    """Huella de lo que el paquete *hace*: árboles sintácticos sin docstrings, y las recetas."""
    parts: list[str | bytes] = []
    for path in package_files(package):
        if path.suffix != ".py" and not recipes:
            continue
        parts.append(path.relative_to(package).as_posix())
        if path.suffix == ".py":
            parts.append(code_of(path).syntax)
        else:
            parts.append(path.read_bytes())
    return digest(*parts)


def text_digest(package: Path = PACKAGE) -> str:
    """Huella del texto completo del paquete: cambia también con un docstring o un comentario."""
    return files_digest(package_files(package))
