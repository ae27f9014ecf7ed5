"""La ficha de una evaluación: todo lo que hace falta para repetirla y saber qué difiere.

Es un JSON que se puede leer. Dice qué se pidió (`Protocol`), qué modelo se midió y frente a qué
datos, con sus huellas, con qué redes se miraron, en qué máquina y con qué versiones, y qué salió
con cada semilla.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddpm_lit.data.dataset import check_integer
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.recipes.fields import build
from ddpm_lit.recipes.recipe import SamplingConfig

FORMAT = "ddpm_lit.evaluation"
VERSION = 1
MOST_BYTES = 16 * 2**20
MOST_SAMPLES, MOST_SEEDS = 10**7, 1000


@dataclass(frozen=True)
class Protocol:
    """Lo que se pide al medir; con el mismo modelo, los mismos datos y la misma máquina, da igual.

    Args:
        model: de dónde sale el modelo, como se escribió.
        data: con qué se compara, como se escribió; `None`, los datos de la receta.
        sampling: cómo se genera, entero.
        samples: cuántas muestras, de 4 a diez millones.
        seed: la primera semilla.
        seeds: con cuántas semillas seguidas se repite todo, de 1 a mil.
        batch_size: cuántas muestras se generan a la vez.
        bits: de cuántos datos se mide la verosimilitud; `None`, de ninguno.
        fid: si se miden el FID y el KID.
        feature_steps: con cuántos pasos se entrena la red de rasgos; `None`, con los de siempre.

    Raises:
        ValueError: si algún número no está en su intervalo.
    """

    model: str
    data: str | None
    sampling: SamplingConfig
    samples: int = 1000
    seed: int = 0
    seeds: int = 1
    batch_size: int = 128
    bits: int | None = None
    fid: bool = False
    feature_steps: int | None = None

    def __post_init__(self) -> None:
        check_integer("samples", self.samples, minimum=4)
        check_integer("seed", self.seed, minimum=0)
        check_integer("seeds", self.seeds, minimum=1)
        check_integer("batch_size", self.batch_size, minimum=1)
        for name in ("bits", "feature_steps"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), minimum=1)
        most = {
            "samples": MOST_SAMPLES,
            "bits": MOST_SAMPLES,
            "feature_steps": MOST_SAMPLES,
            "seeds": MOST_SEEDS,
        }
        for name, limit in most.items():
            value = getattr(self, name)
            if value is not None and value > limit:
                raise ValueError(
                    f"«{name}» vale {value} y debe ser como mucho {limit}."
                )
        if self.seed + self.seeds > 2**64:
            raise ValueError(
                f"Desde la semilla {self.seed} no hay {self.seeds}: llegan hasta 2**64 - 1."
            )


@dataclass(frozen=True)
class Card:
    """Una evaluación, con todo lo que la determina.

    Args:
        protocol: lo que se pidió.
        model: el modelo: su huella, su receta, sus pasos, la EMA y el lote global con que se
            entrenó, y en cuántos procesos.
        reference: los datos con que se compara, y los apartados, con sus huellas.
        extractors: las redes con que se miran las imágenes, con la huella de sus pesos.
        environment: el dispositivo, los hilos, los procesos y las versiones.
        calls: cuántas veces ha pasado por la red cada muestra, contadas.
        seconds: lo que han tardado en generarse todas.
        results: las medidas con cada semilla.
        spread: de cada cifra que cambia con la semilla, su media y su desviación típica.
        format: qué fichero es.
        version: de qué versión del formato.

    Raises:
        ValueError: si es de otro formato, o sus resultados no son uno por semilla o no son cifras.
    """

    protocol: Protocol
    model: dict[str, Any]
    reference: dict[str, Any]
    extractors: dict[str, Any]
    environment: dict[str, Any]
    calls: float
    seconds: float
    results: tuple[dict[str, Any], ...]
    spread: dict[str, Any]
    format: str = FORMAT
    version: int = VERSION

    def __post_init__(self) -> None:
        if len(self.results) != self.protocol.seeds:
            raise ValueError(
                f"Hay {len(self.results)} resultados y {self.protocol.seeds} semillas: debe haber "
                "uno por semilla."
            )
        for name in ("calls", "seconds"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"«{name}» vale {value} y debe ser un número no negativo."
                )
        for result in self.results:
            figures(result)


class Change(NamedTuple):
    """Un campo que no es el mismo en dos fichas; `None`, si en una no está."""

    name: str
    before: Any
    after: Any


def write_card(card: Card, path: Path) -> None:
    """Escribe una ficha, entera o nada."""
    content = json.dumps(asdict(card), ensure_ascii=False, indent=1)
    write_atomically(path, f"{content}\n".encode())


def read_card(path: str | Path) -> Card:
    """Lee una ficha, comprobándola.

    Args:
        path: el fichero.

    Returns:
        La ficha.

    Raises:
        FileNotFoundError: si no existe.
        ValueError: si no es una ficha, es de otra versión o algún campo no tiene sentido.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No existe la ficha «{path}»: da el JSON que dejó «ddpm-lit evaluate»."
        )
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(
            f"«{path}» ocupa {path.stat().st_size / 2**20:.0f} MiB y una ficha no pasa de "
            f"{MOST_BYTES // 2**20}: da el JSON que dejó «ddpm-lit evaluate»."
        )
    try:
        table = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"La ficha «{path}» está dañada o no es JSON ({error}): vuelve a medir con «ddpm-lit "
            "evaluate»."
        ) from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError(
            f"«{path}» es un JSON, pero no la ficha de una evaluación: da el que dejó «ddpm-lit "
            "evaluate»."
        )
    if table.get("version") != VERSION:
        raise ValueError(
            f"La ficha «{path}» es de la versión {table.get('version')!r} y este ddpm_lit lee la "
            f"{VERSION}: actualiza ddpm_lit o vuelve a medir."
        )
    try:
        card: Card = build(Card, table, "", "ficha")
    except (ValueError, TypeError) as error:
        raise ValueError(f"La ficha «{path}» no es válida: {error}") from error
    return card


def figures(result: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Las cifras de un resultado, cada una con su camino: `frechet.samples.to_data`.

    Args:
        result: diccionarios de números; `None` y los que dicen sí o no se pasan por alto.
        prefix: el camino hasta ellos.

    Raises:
        ValueError: si hay algo que no sea un número finito.
    """
    found: dict[str, float] = {}
    for name, value in result.items():
        where = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= figures(value, f"{where}.")
        elif value is None or isinstance(value, bool):
            continue
        elif isinstance(value, int | float) and math.isfinite(value):
            found[where] = value
        else:
            raise ValueError(
                f"«{where}» debe ser un número finito y ha llegado {value!r}."
            )
    return found


def mean_result(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Un resultado con la media de cada cifra; las que coinciden, tal cual."""
    merged: dict[str, Any] = {}
    for name, value in results[0].items():
        values = [each.get(name) for each in results]
        if isinstance(value, Mapping):
            inside = [each for each in values if isinstance(each, Mapping)]
            merged[name] = (
                mean_result(inside) if len(inside) == len(values) else None
            )
        elif all(each == value for each in values):
            merged[name] = value
        else:
            numbers = [each for each in values if each is not None]
            whole = len(numbers) == len(values)
            merged[name] = float(np.mean(numbers)) if whole else None
    return merged


def spread(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """La media y la desviación típica (con N - 1) de cada cifra que cambia con la semilla."""
    tables = [figures(each) for each in results]
    common = [
        name for name in tables[0] if all(name in each for each in tables)
    ]
    rows = {name: [each[name] for each in tables] for name in common}
    return {
        name: {
            "mean": float(np.mean(values)),
            "deviation": float(np.std(values, ddof=1)),
        }
        for name, values in rows.items()
        if len(set(values)) > 1
    }


def changed_settings(before: Card, after: Card) -> list[Change]:
    """Los campos que no son los mismos en dos fichas, sin los resultados ni lo que se tardó."""
    tables = []
    for card in (before, after):
        table = asdict(card)
        for name in ("results", "spread", "seconds", "format", "version"):
            del table[name]
        tables.append(dict(_leaves(table)))
    return _changes(*tables)


def changed_figures(before: Card, after: Card) -> list[Change]:
    """Las cifras que no son iguales en dos fichas; con varias semillas, sus medias."""
    one, other = (
        figures(mean_result(card.results)) for card in (before, after)
    )
    return _changes(one, other)


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[Change]:
    names = dict.fromkeys((*before, *after))
    changes = (
        Change(each, before.get(each), after.get(each)) for each in names
    )
    return [change for change in changes if change.before != change.after]


def _leaves(
    table: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            # De una lista y de una tupla sale el mismo JSON.
            plain = list(value) if isinstance(value, tuple) else value
            yield f"{prefix}{name}", plain


def _no_constant(name: str) -> float:
    raise ValueError(f"lleva «{name}», que no es un número de JSON")
