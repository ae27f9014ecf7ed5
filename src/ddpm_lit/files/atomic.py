"""Ficheros que nunca quedan a medias, y la carpeta de caché del usuario."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Escritura atómica: se escribe en un temporal vecino y al final se renombra.

    Quien lea `path` ve el fichero anterior entero o el nuevo entero, nunca una mezcla, aunque
    el proceso muera a mitad. El temporal conserva la extensión (hay bibliotecas que eligen el
    formato por ella) y se borra si el bloque `with` falla.

    Args:
        path: destino; su carpeta se crea si no existe.

    Yields:
        La ruta temporal en la que hay que escribir.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(
        f".{target.stem}.{secrets.token_hex(6)}.tmp{target.suffix}"
    )
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Una carpeta que se ve entera o no se ve: se llena otra, vecina, y al final se renombra.

    Args:
        path: la carpeta; no existe o está vacía, para que no haya nada que perder.

    Yields:
        La carpeta temporal en la que hay que escribir.

    Raises:
        FileExistsError: si ya tiene algo, o es un fichero.
    """
    target = Path(path)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(
            f"«{target}» ya existe y no es una carpeta vacía: da otra, o quita antes lo que haya."
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def user_cache_dir() -> Path:
    """Carpeta de caché de `ddpm_lit`.

    Es `$XDG_CACHE_HOME/ddpm_lit` si la variable está definida; si no, la que acostumbra cada
    sistema: `%LOCALAPPDATA%` en Windows, `~/Library/Caches` en macOS y `~/.cache` en los demás.

    Returns:
        La ruta; puede que la carpeta no exista todavía.
    """
    if configured := os.environ.get("XDG_CACHE_HOME"):
        base = Path(configured)
    elif sys.platform == "win32":
        base = Path(
            os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")
        )
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "ddpm_lit"
