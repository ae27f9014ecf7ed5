"""`python -m scripts.replicas`: ejecuta las unidades que faltan, de una en una."""

import argparse
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from scripts.build.provenance import code_hash, versions
from scripts.replicas.measures import classifier_digest
from scripts.replicas.results import FOLDER, load_results, save_result
from scripts.replicas.units import Unit, units
from scripts.site.project import commit


def perform(unit: Unit, origin: dict[str, Any], folder: Path) -> float:
    """Ejecuta una unidad y guarda su resultado; devuelve los segundos que ha tardado."""
    started = time.perf_counter()
    values = unit.run()
    seconds = round(time.perf_counter() - started, 1)
    save_result(
        {
            "unit": unit.name,
            "experiment": unit.experiment,
            "seed": unit.seed,
            "parameters": unit.parameters,
            "values": values,
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            **origin,
        },
        folder,
    )
    return seconds


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Lee las opciones y recorre las unidades pendientes.

    Una unidad que falla no detiene a las demás; el código de salida lo dice.
    """
    parser = argparse.ArgumentParser(description="Ejecuta las réplicas que faltan.")
    parser.add_argument("names", nargs="*", help="solo estas unidades; admite comodines")
    parser.add_argument("--list", action="store_true", help="solo dice cómo está cada una")
    options = parser.parse_args(arguments)
    chosen = [
        unit
        for unit in units()
        if not options.names or any(fnmatch(unit.name, pattern) for pattern in options.names)
    ]
    done = load_results(folder)
    pending = [unit for unit in chosen if unit.name not in done]
    if options.list:
        for unit in chosen:
            seconds = f"{done[unit.name]['seconds']:.0f} s" if unit.name in done else "pendiente"
            print(f"{unit.name}: {seconds}")
    print(f"{len(chosen) - len(pending)} unidades hechas y {len(pending)} pendientes.", flush=True)
    if options.list or not pending:
        return 0
    # Se anota ahora: el código que se ejecuta es el que había al empezar.
    origin = {
        "versions": versions("torch", "numpy"),
        "code": code_hash("scripts.replicas.units"),
        "commit": commit(),
        "features": classifier_digest(),
    }
    failed = 0
    for number, unit in enumerate(pending, start=1):
        label = f"[{number}/{len(pending)}] {unit.name}"
        print(f"{label}…", flush=True)
        try:
            print(f"{label}: {perform(unit, origin, folder):.0f} s", flush=True)
        except Exception as error:
            failed += 1
            print(f"{label}: no ha salido ({type(error).__name__}: {error})", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
