"""Los tipos de las opciones y cómo se lee cada una."""

import re
import tomllib
from pathlib import Path
from typing import Any

import click

DEVICE_HELP = "cpu, cuda, cuda:1 o mps; si no se dice, el mejor que haya."


def at_least(minimum: int) -> click.IntRange:
    """Un entero no menor que `minimum`."""
    kind = click.IntRange(min=minimum)
    kind.name = "número entero"
    return kind


class Override(click.ParamType):
    """`camino.al.valor=VALOR`, donde VALOR se escribe como en TOML (una palabra, sin comillas)."""

    name = "cambio"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """De `"training.steps=200"` a `("training.steps", 200)`."""
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"«{value}» debe ser NOMBRE=VALOR, p. ej. training.steps=200.", param, ctx)
        if re.fullmatch(r"[A-Za-z_][\w-]*", text) and text not in ("true", "false", "inf", "nan"):
            return name.strip(), text
        try:
            table = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            table = {}
        if list(table) != ["value"]:
            self.fail(
                f"«{text}» no es un valor de TOML: escribe 200, 1e-3, true, \"texto\" o [64, 128].",
                param,
                ctx,
            )
        return name.strip(), table["value"]


class Classes(click.ParamType):
    """Una clase, varias o un intervalo: `3`, `1,4,7`, `0-9`."""

    name = "clases"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """De `"0-2,7"` a `[0, 1, 2, 7]`."""
        chosen: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part, re.ASCII)
            if match is None or (match[2] and int(match[2]) < int(match[1])):
                self.fail(
                    f"«{value}» no dice qué clases: escribe una (3), varias (1,4,7) o un "
                    "intervalo (0-9).",
                    param,
                    ctx,
                )
            chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
        return chosen


class Destination(click.ParamType):
    """Un fichero que se va a escribir, con una de varias extensiones."""

    name = "fichero"

    def __init__(self, *suffixes: str) -> None:
        self.suffixes = suffixes

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """De `"muestras.png"` a su ruta, si la extensión es de las buenas."""
        path = Path(value)
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"«{value}» debe acabar en {' o '.join(self.suffixes)}.", param, ctx)
        return path


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
