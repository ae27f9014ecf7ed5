"""Cómo va la construcción: un `reporter` de doit con una barra para todo y otra por entrenamiento.

Cada tarea trae en `meta` su título, los segundos que se esperan de ella y, si entrena, sus pasos y
el registro donde los va apuntando. Lo que queda se calcula con esos segundos, corregidos por lo que
han tardado de verdad las tareas ya hechas. Sin terminal, en lugar de barras, una línea de vez en
cuando.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from doit.exceptions import BaseFail
from doit.reporter import ConsoleReporter
from doit.task import Task
from tqdm import tqdm

from ddpm_lit.cli.spanish import duration, integer
from scripts.build.expected import workers

REFRESH, LINE = 1.0, 20.0
"""Cada cuántos segundos se mueven las barras y, sin terminal, se escribe una línea."""

CAUTION = 20.0
"""Los segundos de trabajo que hacen falta para creerse la velocidad de esta máquina."""

FULL = 0.97
"""Lo más que se da por hecho de una tarea que no dice por dónde va."""


@dataclass(frozen=True)
class Work:
    """Una tarea de la construcción.

    Args:
        title: qué hace, en español.
        seconds: los segundos que se esperan de ella en un núcleo.
        steps: los pasos que da, si entrena un modelo.
        log: el registro de ese entrenamiento.
    """

    title: str
    seconds: float
    steps: int = 0
    log: str = ""

    def step(self) -> int:
        """Por qué paso va su entrenamiento, según el registro; 0 si aún no ha empezado."""
        try:
            last = Path(self.log).read_text(encoding="utf-8").splitlines()[-1]
            return int(json.loads(last)["step"])
        except (OSError, IndexError, ValueError, KeyError, TypeError):
            return 0


@dataclass
class Estimate:
    """Cuánto va hecho y cuánto queda.

    Args:
        work: las tareas que hay que hacer, por su nombre.
        workers: cuántas se hacen a la vez.
    """

    work: dict[str, Work]
    workers: int = 1
    started: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)

    def start(self, name: str, now: float) -> None:
        """Apunta que una tarea ha empezado en el segundo `now`."""
        self.started[name] = now

    def finish(self, name: str, now: float) -> float:
        """Apunta que una tarea ha acabado.

        Returns:
            Los segundos que ha tardado.
        """
        self.finished[name] = now - self.started.pop(name, now)
        return self.finished[name]

    def skip(self, name: str) -> None:
        """Quita una tarea que ya estaba hecha."""
        self.work.pop(name, None)

    def fraction(self, now: float) -> float:
        """La parte del trabajo que va hecha, de 0 a 1."""
        total = sum(work.seconds for work in self.work.values())
        return 1 - sum(self._remaining(now).values()) / total if total else 1.0

    def left(self, now: float) -> float:
        """Los segundos que quedan: los de todas las tareas entre quienes las hacen o, si son más,
        los de la más larga."""
        remaining = self._remaining(now)
        longest = max(remaining.values(), default=0.0)
        slowness = self._slowness(now)
        return slowness * max(sum(remaining.values()) / self.workers, longest)

    def _slowness(self, now: float) -> float:
        """Cuántas veces más de lo esperado se está tardando."""
        expected = taken = CAUTION
        for name, seconds in self.finished.items():
            expected += self.work[name].seconds
            taken += seconds
        for name, began in self.started.items():
            work, elapsed = self.work[name], now - began
            if work.step() or (not work.steps and elapsed > work.seconds):
                expected += work.seconds * self._done(name, now)
                taken += elapsed
        return taken / expected

    def _remaining(self, now: float) -> dict[str, float]:
        return {
            name: work.seconds * (1 - self._done(name, now))
            for name, work in self.work.items()
            if name not in self.finished
        }

    def _done(self, name: str, now: float) -> float:
        if name not in self.started:
            return 0.0
        work = self.work[name]
        if work.steps:
            return work.step() / work.steps
        return min((now - self.started[name]) / work.seconds, FULL)


class Progress(ConsoleReporter):  # type: ignore[misc]
    """Enseña por dónde va la construcción mientras doit la hace."""

    desc = "una barra para todo y otra por entrenamiento"

    def __init__(
        self,
        outstream: TextIO,
        options: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(outstream, {**options, "failure_verbosity": 2})
        self.estimate = Estimate({}, workers())
        self.clock = clock
        self.began = clock()
        self.bars: dict[str, tqdm[Any]] = {}
        self.visible = outstream.isatty()
        self._stop = threading.Event()
        self._ticker: threading.Thread | None = None
        self._lock = threading.RLock()

    def initialize(self, tasks: Mapping[str, Task], selected_tasks: Iterable[str]) -> None:
        """Apunta las tareas que se van a mirar: las pedidas y aquellas de las que dependen."""
        pending = list(selected_tasks)
        wanted: set[str] = set()
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending += tasks[name].task_dep
        self.estimate.work = {
            name: Work(**tasks[name].meta) for name in tasks if name in wanted and tasks[name].meta
        }

    def execute_task(self, task: Task) -> None:
        """Una tarea empieza."""
        # El hilo que mueve las barras nace aquí, con los procesos de doit ya en marcha: un proceso
        # que se bifurca con otro hilo dentro puede heredar un cerrojo echado para siempre.
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        if task.name in self.estimate.work:
            with self._lock:
                self.estimate.start(task.name, self.clock())
                self._say(f"…  {self.estimate.work[task.name].title}", always=False)
                self._refresh()

    def add_success(self, task: Task) -> None:
        """Una tarea acaba bien."""
        if task.name in self.estimate.work:
            with self._lock:
                seconds = self.estimate.finish(task.name, self.clock())
                self._close(task.name)
                self._say(f"✓  {self.estimate.work[task.name].title}: {_about(seconds)}")
                self._refresh()

    def skip_uptodate(self, task: Task) -> None:
        """Una tarea no hace falta."""
        with self._lock:
            self.estimate.skip(task.name)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Una tarea acaba mal."""
        with self._lock:
            self.estimate.started.pop(task.name, None)
            self._close(task.name)
            super().add_failure(task, fail)

    def write(self, text: str) -> None:
        """Escribe sin estropear las barras."""
        tqdm.write(text, file=self.outstream, end="")

    def complete_run(self) -> None:
        """Todo ha terminado, bien o mal."""
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join()
        for name in list(self.bars):
            self._close(name)
        made = len(self.estimate.finished)
        spent = _about(self.clock() - self.began)
        self._say(
            f"Construcción: {made} de {len(self.estimate.work)} tareas hechas en {spent}."
            if self.estimate.work
            else "Construcción: todo estaba hecho."
        )
        super().complete_run()

    def line(self) -> str:
        """Cómo va la construcción, en una línea."""
        now = self.clock()
        parts = [
            f"{integer(len(self.estimate.finished))} de {integer(len(self.estimate.work))} tareas",
            f"quedan {_about(self.estimate.left(now))}",
        ]
        parts += [self._state(name) for name in self.estimate.started]
        return f"[{_about(now - self.began)}] {'; '.join(parts)}"

    def _state(self, name: str) -> str:
        work = self.estimate.work[name]
        if not work.steps:
            return work.title
        return f"{work.title}, paso {integer(work.step())} de {integer(work.steps)}"

    def _tick(self) -> None:
        last = self.clock()
        while not self._stop.wait(REFRESH):
            with self._lock:
                if self.visible:
                    self._refresh()
                elif self.clock() - last >= LINE:
                    last = self.clock()
                    self._say(self.line())

    def _refresh(self) -> None:
        if not self.visible:
            return
        now = self.clock()
        whole = self._bar("", "Construcción", total=100)
        whole.n = round(100 * self.estimate.fraction(now))
        done, total = len(self.estimate.finished), len(self.estimate.work)
        left = _about(self.estimate.left(now))
        whole.set_postfix_str(f"{done} de {total} tareas, quedan {left}")
        for name in self.estimate.started:
            work = self.estimate.work[name]
            bar = self._bar(name, f"  {work.title}", total=work.steps)
            bar.n = work.step()
            bar.refresh()

    def _bar(self, name: str, title: str, total: int) -> "tqdm[Any]":
        if name not in self.bars:
            layout = "{desc}: {percentage:3.0f} %|{bar}| "
            layout += "{n_fmt} de {total_fmt} pasos" if name else "{postfix}"
            self.bars[name] = tqdm(
                total=total or None,
                desc=title,
                file=self.outstream,
                bar_format=layout if total else "{desc} [{elapsed}]",
                dynamic_ncols=True,
                leave=False,
            )
        return self.bars[name]

    def _close(self, name: str) -> None:
        if name in self.bars:
            self.bars.pop(name).close()

    def _say(self, text: str, always: bool = True) -> None:
        if always or not self.visible:
            self.write(f"{text}\n")
            self.outstream.flush()


def _about(seconds: float) -> str:
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 60 else duration(whole)
