"""`python -m benchmarks`: mide lo que falta, unidad a unidad."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from scripts.site.project import ROOT

from benchmarks.records import FOLDER, PEERS, load, save
from benchmarks.units import units

REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"


def install_peers() -> None:
    """Instala los rivales en su carpeta, si no están o si han cambiado las versiones fijadas.

    Las unidades de calidad los importan aquí mismo; los corredores, en su proceso.
    """
    sys.path.insert(0, str(PEERS))
    stamp = PEERS / "requirements.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*command, "--target", str(PEERS), "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted, encoding="utf-8")


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Lee las opciones y recorre las unidades pendientes.

    Una unidad que falla no detiene a las demás; el código de salida lo dice.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Mide lo que falta de la tabla; la calidad se pide por su nombre.",
    )
    parser.add_argument("names", nargs="*", help="solo estas unidades; admite comodines")
    parser.add_argument("--list", action="store_true", help="solo dice cómo está cada una")
    parser.add_argument("--again", action="store_true", help="repite también las que ya están")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=folder, help="dónde se guardan los JSON")
    parser.add_argument(
        "--dry", action="store_true", help="ensayo en segundos, con redes diminutas"
    )
    parser.add_argument("--alone", action="store_true", help="sin rivales")
    options = parser.parse_args(arguments)
    alone = options.alone or options.dry
    chosen = [
        unit
        for unit in units(options.device, dry=options.dry, alone=alone)
        if (unit.main and not options.names)
        or any(fnmatch(unit.name, pattern) for pattern in options.names)
    ]
    if not chosen:
        parser.error(f"ninguna unidad se llama {', '.join(options.names)}; véanse con --list '*'.")
    done = {} if options.again else load(options.out)
    if options.list:
        for unit in chosen:
            print(f"{unit.name}: {'hecha' if unit.name in done else 'pendiente'}; {unit.what}")
        return 0
    pending = [unit for unit in chosen if unit.name not in done]
    print(f"{len(chosen) - len(pending)} unidades hechas y {len(pending)} pendientes.", flush=True)
    if pending and not alone:
        install_peers()
    failed = 0
    for number, unit in enumerate(pending, start=1):
        label = f"[{number}/{len(pending)}] {unit.name}"
        print(f"{label}: {unit.what}…", flush=True)
        started = time.perf_counter()
        try:
            save(unit.name, unit.run(), options.out)
            print(f"{label}: {time.perf_counter() - started:.0f} s", flush=True)
        except Exception as error:
            failed += 1
            print(f"{label}: no ha salido ({type(error).__name__}: {error})", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
