"""El registro de un entrenamiento: métricas en JSON por líneas y, si se pide, en TensorBoard."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from ddpm_lit.files.weights import write_atomically
from ddpm_lit.machine.extras import require
from ddpm_lit.runs.checkpoint import CHECKPOINT
from ddpm_lit.training import TrainStep

METRICS = "metrics.jsonl"


class Log:
    """Escribe las métricas de un entrenamiento, a partir del paso en que se retoma.

    Args:
        run_dir: la carpeta del entrenamiento.
        first_step: cuántos pasos se han dado ya; lo que hubiera apuntado después se olvida.
        tensorboard: si se escribe también para TensorBoard.
    """

    def __init__(
        self, run_dir: Path, first_step: int, tensorboard: bool
    ) -> None:
        self.path = run_dir / METRICS
        lines: list[str] = []
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _logged_step(line) <= first_step]
        content = "".join(f"{line}\n" for line in kept)
        write_atomically(self.path, content.encode())
        self._file = self.path.open("a", encoding="utf-8")
        self._writer: Any = (
            _tensorboard_writer(run_dir, first_step) if tensorboard else None
        )
        self._lap = time.perf_counter()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._writer is not None:
            self._writer.close()

    def lap(self) -> float:
        """Los segundos desde la última vez que se preguntó."""
        now = time.perf_counter()
        elapsed, self._lap = now - self._lap, now
        return elapsed

    def write(self, step: int, **metrics: float) -> None:
        """Apunta unas métricas tras `step` pasos."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf


def _tensorboard_writer(run_dir: Path, first_step: int) -> Any:
    module = require(
        "torch.utils.tensorboard",
        package="tensorboard",
        extra="tensorboard",
        purpose="Escribir registros de TensorBoard",
    )
    return module.SummaryWriter(run_dir / "tensorboard", purge_step=first_step)


def mean_loss(states: list[TrainStep], last_step: int, run_dir: Path) -> float:
    """La pérdida media de unos pasos seguidos, si todos han sido finitos.

    También se mira el gradiente: con una pérdida finita, uno que no lo es estropea los pesos.

    Args:
        states: los pasos.
        last_step: cuántos pasos se habían dado tras el último.
        run_dir: la carpeta del entrenamiento, para decir dónde está el último checkpoint.

    Returns:
        La media.

    Raises:
        FloatingPointError: si alguna pérdida o algún gradiente no es finito.
    """
    losses = torch.stack([state.loss for state in states]).cpu()
    norms = torch.stack([state.grad_norm for state in states]).cpu()
    pairs = zip(losses.tolist(), norms.tolist(), strict=True)
    for step, (loss, norm) in enumerate(pairs, last_step - len(states) + 1):
        if not math.isfinite(loss + norm):
            what, value = (
                ("El gradiente", norm)
                if math.isfinite(loss)
                else ("La pérdida", loss)
            )
            checkpoint = run_dir / CHECKPOINT
            kept = (
                f"El último checkpoint bueno sigue en «{checkpoint}»."
                if checkpoint.is_file()
                else "Todavía no había ningún checkpoint."
            )
            raise FloatingPointError(
                f"{what} del paso {step} deja de ser un número finito ({value}). {kept} "
                "Prueba con una tasa de aprendizaje menor (training.learning_rate) o más "
                "calentamiento (training.warmup_steps)."
            )
    return float(losses.mean())
