"""Cómo se lee cada opción, y qué se responde si está mal escrita."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import date, time
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

    from ddpm_lit.models.trained import Trained

MANY = 10_000
DEVICE_HELP = "cpu, cuda, cuda:1 o mps; si no se dice, el mejor que haya."
# Los mismos que `sampling.SAMPLERS`, `scheduler.SPACINGS` y `machine.devices.PRECISIONS`, sin
# importar PyTorch para la ayuda.
SAMPLERS = ("ddpm", "ddim", "dpm++2m", "heun")
SPACINGS = ("linspace", "leading", "trailing", "quadratic")
PRECISIONS = ("float32", "bfloat16")


def at_least(minimum: int) -> click.IntRange:
    """Un entero no menor que `minimum`."""
    kind = click.IntRange(min=minimum)
    kind.name = "número entero"
    return kind


def number(
    minimum: float | None = None, maximum: float | None = None
) -> click.FloatRange:
    """Un número entre `minimum` y `maximum`, los dos incluidos."""
    kind = click.FloatRange(minimum, maximum)
    kind.name = "número"
    return kind


# --- Grupos de opciones: la orden recibe un solo valor por grupo ----------------------------------


@dataclass(frozen=True)
class Generation:
    """Cómo se genera; `None` es lo que lleve el modelo."""

    guidance: float | None
    guidance_rescale: float | None
    sampler: str | None
    steps: int | None
    eta: float | None
    spacing: str | None
    precision: str | None
    cuda_graph: bool | None

    def __post_init__(self) -> None:
        if self.eta is not None and self.sampler not in (None, "ddim"):
            raise click.UsageError(
                f"--eta es el azar de ddim, y «{self.sampler}» no lo tiene: quita --eta o añade "
                "--sampler ddim."
            )

    def check(self, guidance: float) -> None:
        """Rechaza corregir la guía si, con lo que se pide y lo que lleva el modelo, no la hay."""
        if self.guidance_rescale is not None and guidance == 0:
            raise click.UsageError(
                "--guidance-rescale corrige la guía, y no la hay: añade --guidance."
            )

    def changes(self) -> dict[str, Any]:
        """Lo que se pide, como argumentos de `Trained.sampling`."""
        asked = {
            "sampler": self.sampler
            or ("ddim" if self.eta is not None else None),
            "steps": self.steps,
            "spacing": self.spacing,
            "eta": self.eta,
            "guidance": self.guidance,
            "rescale": self.guidance_rescale,
            "precision": self.precision,
            "cuda_graph": self.cuda_graph,
        }
        return {
            name: value for name, value in asked.items() if value is not None
        }


@dataclass(frozen=True)
class Amount:
    """Cuántas muestras, con qué semilla, dónde y entre cuántos procesos."""

    count: int | None
    seed: int
    batch_size: int
    device: str | None
    processes: int


def grouped(
    parameter: str, build: type[Any], *options: Callable[[Any], Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declara unas opciones de `click` y se las da a la orden juntas, en un solo valor.

    Args:
        parameter: cómo se llama ese valor en la orden.
        build: su clase, una `dataclass` con un campo por opción.
        *options: las opciones, con los nombres de los campos.

    Returns:
        El decorador.
    """
    names = [each.name for each in fields(build)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def call(**arguments: Any) -> None:
            values = {name: arguments.pop(name) for name in names}
            command(**arguments, **{parameter: build(**values)})

        for option in reversed(options):
            call = option(call)
        return call

    return decorate


generation_options = grouped(
    "generation",
    Generation,
    click.option(
        "--guidance",
        metavar="W",
        type=number(-1),
        help="Guía sin clasificador: el w del artículo. 0 no guía y -1 olvida la condición; "
        "otros programas dan 1 + w. Si no se dice, la que lleve el modelo.",
    ),
    click.option(
        "--guidance-rescale",
        metavar="F",
        type=number(0, 1),
        help="Cuánto se corrige el contraste que añade la guía, de 0 a 1.",
    ),
    click.option(
        "--sampler",
        type=click.Choice(SAMPLERS),
        help="Cómo se da cada paso; si no se dice, como mejor le vaya al modelo. ddpm es el del "
        "artículo.",
    ),
    click.option(
        "--steps",
        metavar="N",
        type=at_least(1),
        help="Pasos de la generación; si no se dice, los que lleve el modelo o, con otro sampler, "
        "los T del proceso con ddpm y 50 con los demás.",
    ),
    click.option(
        "--eta",
        metavar="F",
        type=number(0, 1),
        help="Azar de ddim, de 0 (ninguno; lo normal) a 1 (el de ddpm).",
    ),
    click.option(
        "--spacing",
        type=click.Choice(SPACINGS),
        help="Cómo se reparten los pasos; si no se dice, como lleve el modelo (linspace).",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="Con qué precisión calcula la red; si no se dice, como lleve el modelo (float32). "
        "bfloat16 es más rápida en una GPU, y en un procesador que la acelere.",
    ),
    click.option(
        "--cuda-graph",
        is_flag=True,
        default=None,
        help="En una GPU de NVIDIA, graba la red y la repite: una pequeña genera en mucho menos "
        "tiempo.",
    ),
)
"""Las opciones que dicen cómo se genera, comunes a `sample` y a `evaluate`."""


def amount_options(
    help_text: str, **count: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Las opciones que dicen cuánto y dónde, comunes a `sample` y a `evaluate`.

    Args:
        help_text: la ayuda de `-n`.
        **count: los demás argumentos de `-n`.
    """
    return grouped(
        "amount",
        Amount,
        click.option("-n", "count", metavar="N", help=help_text, **count),
        click.option(
            "--seed",
            metavar="N",
            type=at_least(0),
            default=0,
            help="Semilla del ruido.",
        ),
        click.option(
            "--batch-size",
            metavar="N",
            type=at_least(1),
            default=128,
            help="Muestras a la vez.",
        ),
        click.option("--device", metavar="DISPOSITIVO", help=DEVICE_HELP),
        click.option(
            "--processes",
            metavar="N",
            type=at_least(1),
            default=1,
            help="Reparte las muestras entre N procesos: en CUDA, uno por GPU.",
        ),
    )


# --- Cómo se lee cada opción ----------------------------------------------------------------------


def overrides(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Los cambios `camino.al.valor=VALOR`, donde VALOR es de TOML o un texto sin comillas.

    De `("training.steps=200",)` a `{"training.steps": 200}`, y de `("data.options.path=/mis
    fotos",)` a `{"data.options.path": "/mis fotos"}`.
    """
    changes: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(
                f"«{value}» debe ser NOMBRE=VALOR, p. ej. training.steps=200."
            )
        changes[name.strip()] = _toml_value(text)
    return changes


def _toml_value(text: str) -> Any:
    """Un valor de TOML o, si no lo es ni empieza como uno, el propio texto: una ruta, p. ej."""
    text = text.strip()
    if "#" in text and text[:1] not in "\"'[{":
        return text
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        table = {"value": text}
        if not text or text[0] in "\"'[{" or not text.isprintable():
            table = {}
    if list(table) != ["value"]:
        raise click.BadParameter(
            f'«{text}» no es un valor de TOML: escribe 200, 1e-3, true, "texto" o [64, 128].'
        )
    value = table["value"]
    # Una carpeta puede llamarse como una fecha.
    return text if isinstance(value, date | time) else value


def classes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[str]:
    """Las clases que se piden, en orden: de `("0-2", "gato")` a `["0", "1", "2", "gato"]`."""
    chosen: list[str] = []
    for part in ",".join(values).split(",") if values else []:
        match = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part, re.ASCII)
        if match is None and part.strip():
            chosen.append(part.strip())
        elif match is None or not 0 <= int(match[2]) - int(match[1]) < MANY:
            raise click.BadParameter(
                f"«{part}» no dice qué clases: escribe una (3), varias (1,4,7), un intervalo "
                f"(0-9) de menos de {MANY} o un nombre."
            )
        else:
            chosen += map(str, range(int(match[1]), int(match[2]) + 1))
    return chosen


def ending_in(
    *suffixes: str,
) -> Callable[[click.Context, click.Parameter, str | None], Path | None]:
    """Comprueba que un fichero acaba en una de estas extensiones y que se podrá escribir."""

    def check(
        ctx: click.Context, parameter: click.Parameter, value: str | None
    ) -> Path | None:
        if value is None:
            return None
        path = Path(value).expanduser()
        if path.suffix.lower() not in suffixes:
            raise click.BadParameter(
                f"«{value}» debe acabar en {' o '.join(suffixes)}."
            )
        check_writable(path)
        return path

    return check


def check_writable(path: Path) -> None:
    """Comprueba que se podrá escribir un fichero, antes de hacer lo que se guardará en él."""
    if path.is_dir():
        raise click.BadParameter(f"«{path}» es una carpeta: da un fichero.")
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir():
        raise click.BadParameter(
            f"«{path}» no se puede escribir: «{folder}» es un fichero, no una carpeta."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.BadParameter(
            f"«{path}» no se puede escribir: no hay permiso en la carpeta «{folder}»."
        )


def find_weights(source: str) -> Path:
    """El fichero de pesos que se pide: el propio fichero, o el más avanzado de una carpeta.

    Args:
        source: un `.safetensors`, la carpeta de un entrenamiento, la de un modelo de diffusers o
            el id de uno del hub.

    Returns:
        La ruta del fichero; de un modelo de diffusers, la de su carpeta.

    Raises:
        FileNotFoundError: si no existe, o la carpeta no tiene ni modelo ni checkpoint.
    """
    from ddpm_lit.formats.hub import find_repository
    from ddpm_lit.models.pretrained import pretrained_names
    from ddpm_lit.models.storage import read_header
    from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL

    path = Path(source).expanduser()
    if (folder := find_repository(path)) is not None:
        return folder
    if path.is_dir():
        candidates = [
            path / name
            for name in (MODEL, CHECKPOINT)
            if (path / name).is_file()
        ]
        if not candidates:
            raise FileNotFoundError(
                f"En la carpeta «{source}» no hay ni {MODEL} ni {CHECKPOINT}: no es la de un "
                "entrenamiento, o todavía no ha guardado nada."
            )
        return max(candidates, key=lambda file: read_header(file).step)
    if not path.is_file():
        names = pretrained_names()
        close = difflib.get_close_matches(source, names, n=1)
        hint = f" ¿Querías decir «{close[0]}»?" if close else ""
        shipped = (
            f", un modelo que viene entrenado ({', '.join(names)})"
            if names
            else ""
        )
        raise FileNotFoundError(
            f"No existe el modelo «{source}».{hint} Da un fichero .safetensors{shipped}, la "
            "carpeta de un modelo de diffusers o la de un entrenamiento (si aún no hay ninguno, "
            "empieza por «ddpm-lit train»)."
        )
    return path


def open_model(source: str, device: "str | torch.device" = "cpu") -> "Trained":
    """Carga el modelo que se pide: un fichero, una carpeta, el nombre de uno que ya viene o un id.

    Un fichero o una carpeta que se llame como uno de los que vienen va antes.

    Args:
        source: lo que se ha escrito.
        device: dónde se deja la red.

    Returns:
        El modelo.

    Raises:
        FileNotFoundError: si no hay nada que se llame así.
        ValueError: si el fichero no es un modelo.
    """
    from ddpm_lit.models.pretrained import load_pretrained, pretrained_names
    from ddpm_lit.models.storage import load_model

    if not Path(source).exists() and source in pretrained_names():
        return load_pretrained(source, device)
    return load_model(find_weights(source), device)


def default_profile(device: str | None) -> str:
    """El perfil de las recetas que corresponde al dispositivo: `"gpu"` con CUDA."""
    from ddpm_lit.machine.devices import choose_device

    return "gpu" if choose_device(device).type == "cuda" else "cpu"
