"""Procedencia: de qué código, qué receta y qué datos sale cada artefacto.

Cada artefacto deja una ficha, `build/<perfil>/fichas/NOMBRE.json`, y el manifiesto las
reúne. La huella del código es la de los árboles sintácticos de los módulos que la tarea
alcanza por sus `import`, sin docstrings ni comentarios: cambiar una explicación no
vuelve a entrenar nada.
"""

import json
import platform
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.site.project import ROOT, build_dir, code_of, digest, profile

OWN_PACKAGES = ("ddpm_lit", "scripts")


def module_path(module: str) -> Path | None:
    """El fichero de un módulo del proyecto, o `None` si no es un módulo."""
    base = (ROOT / "src" if module.startswith("ddpm_lit") else ROOT) / module.replace(".", "/")
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@lru_cache
def used_modules(*entries: str) -> tuple[str, ...]:
    """Los módulos del proyecto que se alcanzan desde `entries` siguiendo sus `import`.

    La cara pública del paquete (`ddpm_lit/__init__.py`) no cuenta: solo reexporta.
    """
    found: set[str] = set()
    pending = list(entries)
    while pending:
        module = pending.pop()
        path = module_path(module)
        if module in found or path is None or module in OWN_PACKAGES:
            continue
        found.add(module)
        pending += [name for name in code_of(path).imports if name.split(".")[0] in OWN_PACKAGES]
    return tuple(sorted(found))


@lru_cache
def code_hash(*entries: str) -> str:
    """Huella del código que se alcanza desde `entries`, sin docstrings ni comentarios."""
    parts = []
    for module in used_modules(*entries):
        path = module_path(module)
        assert path is not None
        parts += [module, code_of(path).syntax]
    return digest(*parts)


def recipe_digest(name: str) -> str:
    """Huella de lo que entrena una receta del paquete: ni sus textos ni cómo se genera cuentan."""
    path = ROOT / "src" / "ddpm_lit" / "recipes" / f"{name}.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for free in ("description", "expect", "sampling"):
        table.pop(free, None)
    return digest(json.dumps(table, sort_keys=True), profile())


def versions(*packages: str) -> dict[str, str]:
    """Las versiones instaladas de unos paquetes, y la de Python."""
    from importlib.metadata import version

    return {"python": platform.python_version()} | {
        name: version(name) for name in packages if find_spec(name)
    }


@contextmanager
def recorded(
    name: str,
    kind: str,
    entries: Sequence[str],
    *,
    inputs: Sequence[Path] = (),
    parameters: Mapping[str, Any] | None = None,
    recipe: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Mide una tarea y, si acaba bien, escribe la ficha de su artefacto.

    Args:
        name: nombre del artefacto.
        kind: `"model"`, `"figure"`, `"animation"` o `"values"`.
        entries: los módulos por los que entra la tarea.
        inputs: los ficheros que lee.
        parameters: lo demás de lo que depende (semilla, número de pasos…).
        recipe: el nombre de la receta que entrena, si entrena alguna.

    Yields:
        La ficha; la tarea rellena `files` (rutas dentro de `build/<perfil>`) y `values`.
    """
    card: dict[str, Any] = {"kind": kind, "files": [], "values": {}}
    started = time.perf_counter()
    yield card
    card["provenance"] = {
        "entries": list(entries),
        "code": code_hash(*entries),
        "inputs": {path.name: digest(path.read_bytes()) for path in inputs},
        "parameters": dict(parameters or {}),
        "recipe": recipe and {"name": recipe, "digest": recipe_digest(recipe)},
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions("torch", "numpy", "matplotlib"),
    }
    path = card_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")


def card_path(name: str) -> Path:
    """Dónde está la ficha de un artefacto."""
    return build_dir() / "fichas" / f"{name}.json"


def write_manifest(names: Sequence[str]) -> None:
    """Reúne las fichas en `build/<perfil>/manifest.json`."""
    artefacts = {name: json.loads(card_path(name).read_text(encoding="utf-8")) for name in names}
    manifest = {"profile": profile(), "artefacts": artefacts}
    path = build_dir() / "manifest.json"
    path.write_text(json.dumps(manifest, ensure_ascii=False, indent=1), encoding="utf-8")


def mark_freshness(artefacts: Mapping[str, dict[str, Any]]) -> None:
    """Anota en cada artefacto, en `fresh`, si lo hicieron el código y la receta de ahora."""
    used_modules.cache_clear()
    code_hash.cache_clear()
    for artefact in artefacts.values():
        provenance = artefact["provenance"]
        recipe = provenance["recipe"]
        artefact["fresh"] = code_hash(*provenance["entries"]) == provenance["code"] and (
            recipe is None or recipe_digest(recipe["name"]) == recipe["digest"]
        )
