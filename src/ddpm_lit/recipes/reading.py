"""Leer recetas: del nombre de una del paquete, o de un fichero TOML, a una `Recipe`.

Las que trae el paquete están en esta misma carpeta; encima se puede cambiar cualquier valor
(`{"training.steps": 200}`).
"""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ddpm_lit.recipes.fields import build, suggestion
from ddpm_lit.recipes.recipe import Recipe

PROFILES = ("smoke", "cpu", "gpu")


def recipe_names() -> list[str]:
    """Los nombres de las recetas que trae el paquete, en orden alfabético."""
    files = resources.files("ddpm_lit.recipes").iterdir()
    return sorted(
        file.name.removesuffix(".toml")
        for file in files
        if file.name.endswith(".toml")
    )


def load_recipe(
    source: str | Path,
    *,
    profile: str = "cpu",
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """Lee una receta por su nombre o desde un fichero TOML.

    Args:
        source: nombre de una receta del paquete (véase `recipe_names`) o ruta de un
            fichero `.toml`.
        profile: `"cpu"` lee los valores tal cual; `"smoke"` y `"gpu"` aplican encima los
            de la tabla `[profile.smoke]` o `[profile.gpu]`, si está.
        overrides: valores que mandan sobre todo lo anterior, con el camino separado por
            puntos: `{"training.steps": 200, "diffusion.options.s": 0.01}`.

    Returns:
        La receta.

    Raises:
        FileNotFoundError: si no hay ninguna receta con ese nombre ni ese fichero.
        ValueError: si el TOML no se puede leer, o algún valor sobra, falta o no es válido.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() == ".toml":
        if not path.is_file():
            raise FileNotFoundError(f"No existe el fichero de receta «{path}».")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"El fichero de receta «{path}» no es texto UTF-8: guárdalo con esa codificación."
            ) from error
    elif str(source) in recipe_names():
        text = (
            resources.files("ddpm_lit.recipes") / f"{source}.toml"
        ).read_text(encoding="utf-8")
    else:
        raise FileNotFoundError(
            f"No hay ninguna receta «{source}».{suggestion(str(source), recipe_names())} "
            f"Las que hay: {', '.join(recipe_names())}; o da la ruta de un fichero .toml."
        )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        where = (
            f"en la línea {place[1]}, columna {place[2]}"
            if place
            else "al final"
        )
        raise ValueError(
            f"La receta «{source}» no es TOML válido: hay algo que no se entiende {where}."
        ) from error
    profiles = table.pop("profile", {})
    if profile not in PROFILES:
        raise ValueError(
            f"No hay ningún perfil «{profile}». Los que hay: {', '.join(PROFILES)}."
        )
    for dotted, value in _flatten(profiles.get(profile, {})):
        _set(table, dotted, value)
    for dotted, value in (overrides or {}).items():
        _set(table, dotted, value)
    return recipe_from_dict(table)


def recipe_from_dict(table: Mapping[str, Any]) -> Recipe:
    """Construye una receta a partir de un diccionario como el de `Recipe.to_dict`.

    Raises:
        ValueError: si algún valor sobra, falta o no es válido.
    """
    recipe: Recipe = build(Recipe, table, "")
    return recipe


def _flatten(
    table: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _set(table: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(
                f"No existe el valor «{dotted}»: «{name}» no es una tabla."
            )
    table[last] = value
