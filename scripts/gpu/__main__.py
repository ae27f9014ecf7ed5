"""`python -m scripts.gpu`: las fases, cada una en su proceso y con su límite de tiempo."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import __main__ as benchmarks
from benchmarks.records import PEERS

from scripts.gpu import checks, training
from scripts.site.project import ROOT


def run_checks(out: Path, seconds: float, dry: bool) -> int:
    """Las comprobaciones."""
    return checks.main(out / "results", "cpu" if dry else "cuda", dry=dry)


def run_table(out: Path, seconds: float, dry: bool) -> int:
    """La tabla de los benchmarks y el perfil de un paso."""
    names = ["profile-train-cifar10", "train-cifar10"]
    # En este orden: primero lo que más falta hace, por si se acaba el tiempo.
    names[1:1] = [] if dry else ["sample-cifar10", "sample-few", "switches"]
    names += [] if dry else ["*-small"]
    options = ["--dry"] if dry else ["--device", "cuda"]
    options += [] if PEERS.is_dir() else ["--alone"]
    parts = [[name, *options, "--out", str(out / "results")] for name in names]
    return max(benchmarks.main(part) for part in parts)


def run_training(out: Path, seconds: float, dry: bool) -> int:
    """Los entrenamientos."""
    return training.main(out / "weights", seconds, "cpu" if dry else "cuda", dry=dry)


PHASES: dict[str, Callable[[Path, float, bool], int]] = {
    "checks": run_checks,
    "table": run_table,
    "train": run_training,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Con una fase, la hace; con varias o ninguna, cada una en su proceso."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.gpu", description="Comprueba, mide y entrena en una GPU."
    )
    parser.add_argument("phases", nargs="*", metavar="FASE", help=f"{', '.join(PHASES)}; o todas")
    parser.add_argument("--out", type=Path, required=True, help="dónde se deja todo")
    parser.add_argument("--minutes", type=float, default=4.0, help="límite de cada fase")
    parser.add_argument("--dry", action="store_true", help="ensayo en la CPU, en segundos")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.phases if name not in PHASES]
    if unknown:
        parser.error(f"no hay ninguna fase «{unknown[0]}». Las que hay: {', '.join(PHASES)}.")
    if len(options.phases) == 1:
        # Lo que tarda en arrancar y en guardar también cuenta.
        return PHASES[options.phases[0]](options.out, 0.8 * 60 * options.minutes, options.dry)
    failed = 0
    for name in options.phases or PHASES:
        command = [sys.executable, "-m", "scripts.gpu", name, "--out", str(options.out)]
        command += ["--minutes", str(options.minutes), *(["--dry"] if options.dry else [])]
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        print(f"== {name}", flush=True)
        try:
            limit = 60 * options.minutes
            environment = os.environ | {"PYTHONPATH": paths}
            done = subprocess.run(command, cwd=ROOT, env=environment, timeout=limit, check=False)
            failed += done.returncode != 0
        except subprocess.TimeoutExpired:
            failed += 1
            print(f"== {name}: se ha acabado su tiempo; queda lo que había guardado", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
