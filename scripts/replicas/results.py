"""Los resultados: un JSON por unidad, escrito entero o no escrito."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_lit.files.weights import write_atomically
from scripts.site.project import ROOT

FOLDER = ROOT / "replicas"
FIELDS: dict[str, type | tuple[type, ...]] = {
    "unit": str,
    "experiment": str,
    "seed": (int, type(None)),
    "parameters": dict,
    "values": dict,
    "seconds": (int, float),
    "threads": int,
    "versions": dict,
    "code": str,
    "commit": str,
    "features": str,
}

Record = dict[str, Any]
Results = Mapping[str, Record]


def result_path(unit: str, folder: Path = FOLDER) -> Path:
    """Dónde está el resultado de una unidad."""
    return folder / f"{unit}.json"


def save_result(record: Record, folder: Path = FOLDER) -> None:
    """Guarda un resultado, si está completo."""
    problems = check_result(record)
    if problems:
        raise ValueError(f"El resultado de «{record.get('unit')}» no vale: {'; '.join(problems)}.")
    text = json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(result_path(record["unit"], folder), f"{text}\n".encode())


def load_results(folder: Path = FOLDER) -> dict[str, Record]:
    """Los resultados que hay, por el nombre de su unidad."""
    records = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    return {record["unit"]: record for record in sorted(records, key=lambda r: str(r["unit"]))}


def check_result(record: Record) -> list[str]:
    """Lo que le falta o le sobra a un resultado; ninguna frase si está bien."""
    problems = [f"falta «{name}»" for name in FIELDS if name not in record]
    problems += [f"sobra «{name}»" for name in record if name not in FIELDS]
    problems += [
        f"«{name}» es {record[name]!r}"
        for name, kind in FIELDS.items()
        if name in record and not isinstance(record[name], kind)
    ]
    if not record.get("values"):
        problems.append("no hay ningún valor")
    problems += [f"«{name}» no es finito" for name in _not_finite(record.get("values", {}))]
    return problems


def value(results: Results, unit: str, path: str) -> float | None:
    """Un valor de una unidad, con el camino separado por barras.

    Returns:
        El valor; `None` si la unidad está pendiente. Infinito si está escrito como `null`: es lo
        que vale una distancia cuando el modelo ha divergido.
    """
    if unit not in results:
        return None
    found: Any = results[unit]["values"]
    for part in path.split("/"):
        found = found[part]
    return math.inf if found is None else float(found)


def _not_finite(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, item in table.items():
        if isinstance(item, Mapping):
            names += _not_finite(item, f"{prefix}{name}/")
        elif isinstance(item, float) and not math.isfinite(item):
            names.append(prefix + name)
    return names
