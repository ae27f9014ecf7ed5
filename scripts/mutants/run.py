"""Prueba los mutantes: recoge los tests una vez y abre un proceso hijo por mutante."""

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import pytest
import torch.distributed.tensor  # noqa: F401 - `assert_close` la carga al fallar, y tarda

from scripts.mutants.table import Mutant
from scripts.site.project import ROOT

PASSED, FAILED, BROKEN = 0, 1, 2


@dataclass(frozen=True)
class Job:
    """Un mutante y la ecuación cuyos tests lo han de notar."""

    label: str
    mutant: Mutant


@dataclass(frozen=True)
class Outcome:
    """Lo que ha pasado con un mutante: si algún test ha fallado, y en cuántos segundos."""

    job: Job
    killed: bool
    seconds: float


@dataclass(eq=False)
class Runner:
    """Un plugin de pytest que, en vez de pasar los tests, los usa contra los mutantes.

    Args:
        jobs: lo que hay que probar.
        processes: cuántos hijos a la vez.
        report: a quién se le cuenta cada resultado.
        limit: cuántas veces más que sin mutar pueden tardar los tests de una ecuación, de más de
            diez segundos.
    """

    jobs: Sequence[Job]
    processes: int
    report: Callable[[Outcome], None]
    limit: float = 5.0
    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Apunta los ficheros que no se han podido leer."""
        if report.failed:
            self.problems.append(f"{report.nodeid}: {report.longrepr}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Sustituye al bucle de pytest."""
        session.config.option.tbstyle = "native"  # nadie va a leer los fallos
        tests: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            for label in {label for mark in item.iter_markers("equation") for label in mark.args}:
                tests.setdefault(label, []).append(item)
        labels = {job.label for job in self.jobs}
        self.problems += [f"{label}: no tiene tests." for label in sorted(labels - set(tests))]
        if self.problems:
            return True
        tests = {label: tests[label] for label in labels}
        seconds = self._measure([*{i.nodeid: i for row in tests.values() for i in row}.values()])
        if self.problems:
            return True
        gc.freeze()
        order = {label: _order(items, seconds) for label, items in tests.items()}
        allowed = {
            label: 10 + self.limit * sum(seconds[item.nodeid] for item in items)
            for label, items in tests.items()
        }
        for outcome in self._race(order, allowed):
            self.outcomes.append(outcome)
            self.report(outcome)
        return True

    def _measure(self, items: list[pytest.Item]) -> dict[str, float]:
        """Los segundos de cada test sin mutar nada; si alguno falla, es un problema."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            measured = [(item.nodeid, *_run(item)) for item in items]
            with os.fdopen(writer, "w") as pipe:
                json.dump(measured, pipe)
            os._exit(PASSED)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            measured = json.load(pipe)
        os.waitpid(child, 0)
        broken = [name for name, passed, _ in measured if not passed]
        self.problems += [f"{name}: falla sin mutar nada." for name in broken]
        return {name: seconds for name, _, seconds in measured}

    def _race(
        self, order: dict[str, list[pytest.Item]], allowed: dict[str, float]
    ) -> Iterator[Outcome]:
        pending = sorted(self.jobs, key=lambda job: allowed[job.label])
        running: dict[int, tuple[Job, float]] = {}
        while pending or running:
            while pending and len(running) < self.processes:
                job = pending.pop()
                child = os.fork()
                if child == 0:
                    _try(job.mutant, order[job.label], allowed[job.label])
                running[child] = (job, time.monotonic())
            child, status = os.wait()
            job, started = running.pop(child)
            yield Outcome(job, status != PASSED, time.monotonic() - started)


def _order(items: list[pytest.Item], seconds: dict[str, float]) -> list[pytest.Item]:
    """Primero lo rápido, y de cada test con parámetros, antes uno de cada que todos los de uno."""
    turns: dict[str, int] = {}
    ranks = {}
    for item in sorted(items, key=lambda item: seconds[item.nodeid]):
        test = item.nodeid.partition("[")[0]
        turns[test] = turns.get(test, 0) + 1
        ranks[item.nodeid] = (turns[test].bit_length(), seconds[item.nodeid])
    return sorted(items, key=lambda item: ranks[item.nodeid])


def _try(mutant: Mutant, items: list[pytest.Item], allowed: float) -> NoReturn:
    """En el hijo: muta, y pasa los tests hasta que uno falle o se acabe su tiempo de procesador."""
    signal.setitimer(signal.ITIMER_PROF, allowed)
    try:
        mutant.apply()
    except BaseException:
        os._exit(BROKEN)
    os._exit(PASSED if all(_run(item)[0] for item in items) else FAILED)


def _run(item: pytest.Item) -> tuple[bool, float]:
    """Si un test pasa, y en cuántos segundos de procesador."""
    outcome: list[bool] = []

    class Listener:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            outcome.append(not report.failed)

    listener = Listener()
    item.config.pluginmanager.register(listener)
    started = time.process_time()
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    item.config.pluginmanager.unregister(listener)
    return all(outcome), time.process_time() - started


def test_files(labels: set[str]) -> list[str]:
    """Los ficheros de tests que nombran alguna de estas ecuaciones."""
    return [
        str(path)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if any(f'"{label}"' in path.read_text(encoding="utf-8") for label in labels)
    ]


def run(runner: Runner) -> None:
    """Recoge los tests y lo prueba todo; los resultados quedan en `runner`."""
    options = ["-p", "no:terminal", "-p", "no:cacheprovider", "-o", "addopts="]
    files = test_files({job.label for job in runner.jobs})
    pytest.main([*options, "--capture=no", *files], plugins=[runner])
