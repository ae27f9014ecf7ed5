"""`python -m scripts.mutants`: ¿notan los tests de cada ecuación los errores de su código?"""

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch

from scripts.mutants.run import Job, Outcome, Runner, run
from scripts.mutants.table import Equivalent, equivalents, implementations, mutants


def all_jobs(patterns: Sequence[str] = ()) -> list[Job]:
    """Los mutantes de cada ecuación, o solo de las que encajan con algún patrón."""
    return [
        Job(label, mutant)
        for label, places in implementations().items()
        if not patterns or any(fnmatch(label, pattern) for pattern in patterns)
        for mutant in dict.fromkeys(mutant for place in places for mutant in mutants(place))
    ]


def judge(
    jobs: Sequence[Job], outcomes: Sequence[Outcome], listed: Sequence[Equivalent]
) -> list[str]:
    """Lo que está mal: mutantes que nadie nota, y equivalentes que no lo son o no existen.

    Args:
        jobs: todos los mutantes que hay, se hayan probado o no.
        outcomes: los que se han probado.
        listed: los que se dan por equivalentes.
    """

    def is_listed(job: Job) -> bool:
        return any(row.covers(job.label, job.mutant) for row in listed)

    survivors = [outcome.job for outcome in outcomes if not outcome.killed]
    noticed = [outcome.job for outcome in outcomes if outcome.killed]
    return (
        [f"{job.label}: nadie nota {job.mutant}" for job in survivors if not is_listed(job)]
        + [f"{job.label}: no es equivalente {job.mutant}" for job in noticed if is_listed(job)]
        + [
            f"ya no existe el equivalente {row.symbol}: {row.change}"
            for row in listed
            if not any(row.covers(job.label, job.mutant) for job in jobs)
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Lee las opciones, prueba los mutantes y dice cuántos han sobrevivido."""
    parser = argparse.ArgumentParser(description="Prueba los mutantes de cada ecuación.")
    parser.add_argument("labels", nargs="*", help="solo estas ecuaciones; admite comodines")
    parser.add_argument("--list", action="store_true", help="solo dice qué mutantes hay")
    parser.add_argument("--sample", type=int, help="solo tantos, elegidos al azar")
    parser.add_argument("--seed", type=int, default=0, help="semilla de --sample")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="cuántos a la vez")
    options = parser.parse_args(arguments)
    jobs = all_jobs(options.labels)
    if options.list:
        for job in jobs:
            print(f"{job.label}: {job.mutant}")
        print(f"{len({job.mutant for job in jobs})} mutantes, {len(jobs)} comprobaciones.")
        return 0
    chosen = jobs
    if options.sample is not None and options.sample < len(jobs):
        chosen = random.Random(options.seed).sample(jobs, options.sample)
    started = time.monotonic()
    runner = Runner(chosen, options.processes or 1, Progress(len(chosen)))
    run(runner)
    seconds = time.monotonic() - started
    problems = runner.problems or judge(all_jobs(), runner.outcomes, equivalents())
    killed = {outcome.job: outcome.killed for outcome in runner.outcomes}
    unique = {job.mutant for job in killed}
    print(*problems, sep="\n")
    print(
        f"{len(unique)} mutantes y {len(killed)} comprobaciones (mutante y ecuación): "
        f"{sum(killed.values())} notadas, {len(killed) - sum(killed.values())} no, "
        f"en {seconds:.0f} s."
    )
    return 1 if problems or not killed else 0


class Progress:
    """Dice enseguida qué mutante no ha notado nadie y, de vez en cuando, cuánto falta."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    def __call__(self, outcome: Outcome) -> None:
        """Cuenta un resultado."""
        self.done += 1
        if not outcome.killed:
            print(f"  sigue vivo: {outcome.job.label}: {outcome.job.mutant}", flush=True)
        if self.done % 100 == 0:
            seconds = time.monotonic() - self.started
            print(f"{self.done} de {self.total}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
