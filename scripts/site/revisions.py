"""Cuándo se cambió por última vez cada página, según el repositorio."""

import subprocess
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from .project import ROOT

MONTHS = (
    *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
    *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
)


def dates(root: Path = ROOT) -> dict[str, date]:
    """La fecha del último commit de cada fichero de `docs/`, por su ruta dentro de esa carpeta.

    Fuera de un repositorio de git no hay ninguna.
    """
    git = ["git", "-c", "core.quotePath=false"]
    command = [*git, "log", "--format=*%cs", "--name-only", "--", "docs"]
    try:
        told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return newest(told.stdout.splitlines())


def newest(lines: Iterable[str]) -> dict[str, date]:
    """Lo que dice `git log`, del último al primero: una `*fecha` por commit y sus ficheros."""
    found: dict[str, date] = {}
    day = date.min
    for line in filter(None, lines):
        if line.startswith("*"):
            day = date.fromisoformat(line[1:])
        else:
            found.setdefault(line.removeprefix("docs/"), day)
    return found


def in_spanish(day: date) -> str:
    """Una fecha como se escribe en español: «27 de noviembre de 2026»."""
    return f"{day.day} de {MONTHS[day.month - 1]} de {day.year}"
