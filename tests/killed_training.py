"""Entrena, se mata con SIGKILL y se reanuda; lo lanza `test_training.py`.

Cada entrenamiento es un proceso hijo (un `fork` hecho después de importar PyTorch, que así
se importa una sola vez). Al final hay dos carpetas: `entera`, de un entrenamiento que no se
paró, y `matada`, de uno que se mató diez veces.

    python killed_training.py toy|digits CARPETA SEMILLA
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import tiny
from ddpm_lit.models.storage import load_model
from ddpm_lit.recipes.data import training_data
from ddpm_lit.runs.checkpoint import CHECKPOINT
from ddpm_lit.runs.train import Every, train

KILLS = {"step": 3, "write": 2, "rename": 2, "time": 3}
# Más de los que pueden dar, con suerte, todos los hijos que se matan: ninguno llega al final.
STEPS = 90


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_step(countdown: int) -> Callable[..., None]:
    """Consumidor que muere tras unos cuantos pasos, antes de que se guarde el último."""
    left = iter(range(countdown))
    return lambda *_: die() if next(left, None) is None else None


def die_while_writing(countdown: int, fraction: float) -> None:
    """El fichero temporal de un checkpoint se queda a medias."""
    left, write = iter(range(countdown)), Path.write_bytes

    def write_bytes(self: Path, content: Any) -> int:
        if CHECKPOINT.partition(".")[0] in self.name and next(left, None) is None:
            with self.open("wb") as file:
                file.write(content[: int(fraction * len(content))])
            die()
        return write(self, content)

    Path.write_bytes = write_bytes  # type: ignore[method-assign]


def die_when_renaming(countdown: int, after: bool) -> None:
    """El temporal está entero: se muere justo antes, o justo después, de renombrarlo."""
    left, replace = iter(range(countdown)), os.replace

    def replace_and_die(source: Any, target: Any) -> None:
        last = Path(target).name == CHECKPOINT and next(left, None) is None
        if last and not after:
            die()
        replace(source, target)
        if last:
            die()

    os.replace = replace_and_die  # type: ignore[assignment]


def main() -> None:
    kind, folder, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    recipe = {"toy": tiny.toy, "digits": tiny.digits}[kind](steps=STEPS)
    data = training_data(recipe)
    # Lo que PyTorch carga la primera vez que entrena, aquí, y no en cada hijo.
    train(recipe, folder / "calentamiento", dataset=data, device="cpu", progress=False)
    chance = random.Random(seed)

    def start(run_dir: Path, plan: str, checkpoint_every: int) -> int:
        countdown, fraction = chance.randint(0, 3), chance.random()
        child = os.fork()
        if child:
            return child
        consumers = []
        match plan:
            case "step":
                consumers = [die_at_step(countdown)]
            case "time":
                consumers = [die_at_step(8)]
            case "write":
                die_while_writing(countdown, fraction)
            case "rename":
                die_when_renaming(countdown, after=fraction < 0.5)
        train(
            recipe,
            run_dir,
            dataset=data,
            device="cpu",
            every=Every(log=5, checkpoint=checkpoint_every),
            progress=False,
            consumers=consumers,
        )
        os._exit(0)

    started = time.perf_counter()
    child = start(folder / "entera", "none", 200)
    assert os.waitpid(child, 0)[1] == 0
    duration = time.perf_counter() - started

    killed = folder / "matada"
    plans = [plan for plan, times in KILLS.items() for _ in range(times)]
    chance.shuffle(plans)
    history = []
    for plan in plans:
        child = start(killed, plan, chance.randint(1, 3))
        if plan == "time":
            time.sleep(chance.uniform(0, 0.15) * duration)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (plan, status)
        # Lo que haya en el disco tiene que poder leerse entero.
        checkpoint = killed / CHECKPOINT
        step = load_model(checkpoint).provenance["steps"] if checkpoint.is_file() else 0
        history.append((plan, step))
    assert os.waitpid(start(killed, "none", 200), 0)[1] == 0
    print(json.dumps({"history": history, "seconds": duration}))


main()
