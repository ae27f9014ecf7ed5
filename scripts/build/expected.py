"""Cuánto se espera que tarde cada tarea de la construcción, y cuántas se hacen a la vez."""

import json
import os
from collections.abc import Iterable

from scripts.build import models
from scripts.build.provenance import card_path
from scripts.site.project import profile

SECONDS = {
    "train:classifier": 15,
    "sample:swiss-roll": 15,
    "sample:digits": 60,
    "sample:digits-class": 60,
    "sample:openmoji-texto": 60,
    "sample:fashion-mnist": 60,
    "sample:openmoji-latente": 60,
    "draw:brand": 15,
    "draw:continuous": 40,
    "draw:score": 40,
    "draw:flow": 75,
    "draw:flow_digits": 240,
}
"""Los de las tareas que no son de una receta, en un núcleo; las que no están duran `OTHERS`."""

OTHERS = 5.0
SMOKE = 2.0
ONE_CORE = 1.7
"""Cuántas veces más que con dos núcleos, que es como se miden las recetas, tarda uno solo."""

GPU_TASKS = 4


def workers() -> int:
    """Cuántas tareas se hacen a la vez: una por núcleo, y no más de cuatro si comparten una GPU."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return min(cores, GPU_TASKS) if profile() == "gpu" else cores


def seconds(task: str, cards: Iterable[str]) -> float:
    """Los segundos que se esperan de una tarea.

    Args:
        task: su nombre, p. ej. `"draw:forward"`.
        cards: los artefactos que deja.

    Returns:
        Los que tardó la última vez; si no se ha hecho nunca, los de su receta o los de `SECONDS`.
    """
    try:
        return max(sum(_recorded(name) for name in cards), 0.1)
    except (OSError, ValueError, KeyError):
        pass
    if profile() == "smoke":
        return SMOKE
    kind, _, name = task.partition(":")
    if kind == "train" and name in models.MODELS:
        expected = models.recipe(name).expect
        return ONE_CORE * float({**expected["cpu"], **expected.get(profile(), {})}["seconds"])
    return SECONDS.get(task, OTHERS)


def _recorded(name: str) -> float:
    card = json.loads(card_path(name).read_text(encoding="utf-8"))
    return float(card["provenance"]["seconds"])
