"""La carrera: los corredores dan sus pasos por turnos, y las cuentas se hacen vuelta a vuelta."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median, quantiles
from typing import Any, NamedTuple

from scripts.site.project import ROOT

from benchmarks.jobs import Job
from benchmarks.records import PEERS

Record = dict[str, Any]


class Spread(NamedTuple):
    """La mediana de unos valores y sus cuartiles."""

    median: float
    low: float
    high: float


class Runner:
    """Un corredor en su propio proceso; `facts` es lo que sabe de su red."""

    def __init__(self, job: Job) -> None:
        paths = [str(ROOT), str(ROOT / "src"), *([] if job.who == "ddpm_lit" else [str(PEERS)])]
        inherited = os.environ.get("PYTHONPATH")
        self.job = job
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(job))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else []))}
            | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"},
        )
        self.facts: dict[str, int] = {}

    def ready(self) -> None:
        """Espera a que el corredor diga qué red tiene."""
        self.facts = self._answer()

    def step(self) -> Record:
        """Pide un paso y devuelve lo que ha costado: sus `seconds` y sus `faults`."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def finish(self) -> int:
        """Para el corredor y devuelve los bytes que llegó a ocupar."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        memory = int(self._answer()["memory"])
        self.process.wait()
        return memory

    def stop(self) -> None:
        """Acaba con el corredor, haya terminado o no."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"El corredor {self.job} se ha parado; lo que ha dicho está arriba. Para verlo "
                f"solo: python -m benchmarks.worker '{json.dumps(asdict(self.job))}'"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def race(
    jobs: Mapping[str, Job], rounds: int, warmup: int = 2, *, together: bool = True
) -> dict[str, Record]:
    """Corre unas vueltas, en cada una un paso de cada corredor.

    Args:
        jobs: los corredores, por su nombre.
        rounds: vueltas que se apuntan.
        warmup: vueltas de calentamiento, que no.
        together: si corren por turnos; si no, cada uno da todos sus pasos y deja sitio al
            siguiente.

    Returns:
        De cada corredor, lo que hacía, los segundos y los fallos de página de cada vuelta, los
        parámetros, los FLOP de un paso y los bytes de memoria.
    """
    # Todos arrancan a la vez: hasta que se les pide un paso, no tocan la tarjeta.
    runners = {name: Runner(job) for name, job in jobs.items()}
    try:
        for runner in runners.values():
            runner.ready()
        turns = [runners] if together else [{name: each} for name, each in runners.items()]
        parts = [_laps(each, rounds, warmup) for each in turns]
    finally:
        for runner in runners.values():
            runner.stop()
    return {name: record for part in parts for name, record in part.items()}


def _laps(runners: Mapping[str, Runner], rounds: int, warmup: int) -> dict[str, Record]:
    """Las vueltas de unos corredores, que al acabar dejan su sitio."""
    for _ in range(warmup):
        for runner in runners.values():
            runner.step()
    laps: dict[str, list[Record]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            laps[name].append(runner.step())
    return {
        name: {
            "job": asdict(runner.job),
            "seconds": [round(lap["seconds"], 6) for lap in laps[name]],
            "faults": [lap["faults"] for lap in laps[name]],
            "memory": runner.finish(),
            **runner.facts,
        }
        for name, runner in runners.items()
    }


# --- Las cuentas ----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> Spread:
    """La mediana y los cuartiles de unos valores."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratio(ours: Record, theirs: Record, *, per_flop: bool = False) -> Spread:
    """Cuánto tarda uno respecto a otro, vuelta a vuelta; con `per_flop`, por cada operación."""
    scale = theirs["flops"] / ours["flops"] if per_flop else 1.0
    pairs = zip(ours["seconds"], theirs["seconds"], strict=True)
    return spread([scale * a / b for a, b in pairs])


def speed(record: Record) -> Spread:
    """Operaciones por segundo de un corredor."""
    return spread([record["flops"] / seconds for seconds in record["seconds"]])


def share(record: Record, peak: Record) -> Spread:
    """Qué parte de la velocidad de un producto de matrices alcanza un corredor."""
    pairs = zip(record["seconds"], peak["seconds"], strict=True)
    return spread([record["flops"] / peak["flops"] * b / a for a, b in pairs])
