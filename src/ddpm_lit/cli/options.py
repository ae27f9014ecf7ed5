"""Cómo se lee cada opción, y qué se responde si está mal escrita."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEVICE_HELP = "cpu, cuda, cuda:1 o mps; si no se dice, el mejor que haya."


def at_least(minimum: int) -> click.IntRange:
    """Un entero no menor que `minimum`."""
    kind = click.IntRange(min=minimum)
    kind.name = "número entero"
    return kind


def overrides(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Los cambios `camino.al.valor=VALOR`, donde VALOR es de TOML o una palabra sin comillas.

    De `("training.steps=200",)` a `{"training.steps": 200}`.
    """
    changes: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"«{value}» debe ser NOMBRE=VALOR, p. ej. training.steps=200.")
        changes[name.strip()] = _toml_value(text)
    return changes


def _toml_value(text: str) -> Any:
    if re.fullmatch(r"[A-Za-z_][\w-]*", text) and text not in ("true", "false", "inf", "nan"):
        return text
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        table = {}
    if list(table) != ["value"]:
        raise click.BadParameter(
            f'«{text}» no es un valor de TOML: escribe 200, 1e-3, true, "texto" o [64, 128].'
        )
    return table["value"]


def classes(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[int]:
    """Las clases que se piden, en orden: de `("0-2,7", "5")` a `[0, 1, 2, 7, 5]`."""
    chosen: list[int] = []
    for part in ",".join(values).split(",") if values else []:
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part, re.ASCII)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise click.BadParameter(
                f"«{part}» no dice qué clases: escribe una (3), varias (1,4,7) o un intervalo "
                "(0-9)."
            )
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return chosen


def ending_in(
    *suffixes: str,
) -> Callable[[click.Context, click.Parameter, str | None], Path | None]:
    """Comprueba que un fichero que se va a escribir acaba en una de estas extensiones."""

    def check(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
        if value is None:
            return None
        path = Path(value)
        if path.suffix.lower() not in suffixes:
            raise click.BadParameter(f"«{value}» debe acabar en {' o '.join(suffixes)}.")
        return path

    return check


def find_weights(source: str) -> Path:
    """El fichero de pesos que se pide: el propio fichero, o el más avanzado de una carpeta.

    Args:
        source: un `.safetensors` o la carpeta de un entrenamiento.

    Returns:
        La ruta del fichero.

    Raises:
        FileNotFoundError: si no existe, o la carpeta no tiene ni modelo ni checkpoint.
    """
    from ddpm_lit.checkpoints import read_header
    from ddpm_lit.training import CHECKPOINT, MODEL

    path = Path(source)
    if path.is_dir():
        candidates = [path / name for name in (MODEL, CHECKPOINT) if (path / name).is_file()]
        if not candidates:
            raise FileNotFoundError(
                f"En la carpeta «{source}» no hay ni {MODEL} ni {CHECKPOINT}: no es la de un "
                "entrenamiento, o todavía no ha guardado nada."
            )
        return max(candidates, key=lambda file: read_header(file).step)
    if not path.is_file():
        raise FileNotFoundError(
            f"No existe el modelo «{source}»: da un fichero .safetensors o la carpeta de un "
            "entrenamiento (si aún no hay ninguno, empieza por «ddpm-lit train»)."
        )
    return path


def default_profile(device: str | None) -> str:
    """El perfil de las recetas que corresponde al dispositivo: `"gpu"` con CUDA."""
    from ddpm_lit.devices import choose_device

    return "gpu" if choose_device(device).type == "cuda" else "cpu"
