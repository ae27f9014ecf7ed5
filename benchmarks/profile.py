"""En qué se va el tiempo de un paso, según el perfilador de PyTorch."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks import ours
from benchmarks.jobs import Job
from benchmarks.worker import FinishedError, mixed

KINDS = {
    "atención": ("attention", "flash", "softmax", "sdpa"),
    "operaciones fundidas": ("triton",),
    "convoluciones": ("conv", "cudnn", "fprop", "dgrad", "wgrad"),
    "GroupNorm": ("group_norm", "groupnorm", "moments"),
    "SiLU": ("silu",),
    "capas lineales": ("addmm", "mm", "linear", "gemm", "nvjet"),
    "AdamW": ("adam",),
    "EMA y recorte del gradiente": ("lerp", "foreach", "norm", "clip"),
    "ampliación": ("upsample",),
    "copias y concatenaciones": ("cat", "copy", "contiguous", "fill", "zero", "pad"),
    "sumas y productos": ("add", "mul", "sum", "sub", "div"),
}
"""Cómo se reparten las operaciones: la primera clase con un trozo de su nombre."""


def kind_of(operation: str) -> str:
    """La clase de una operación de PyTorch, por su nombre."""
    name = operation.lower()
    return next(
        (kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "lo demás"
    )


def profiled(job: Job, warmup: int = 2, steps: int = 3) -> dict[str, Any]:
    """Reparte el tiempo propio de cada operación de unos pasos nuestros.

    Args:
        job: la tarea.
        warmup: pasos que no se miran.
        steps: pasos que sí.

    Returns:
        Los segundos de un paso, la parte de cada clase de operaciones y las quince operaciones que
        más tardan, con su parte y sus llamadas por paso.
    """
    activities = [ProfilerActivity.CPU]
    if job.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    watch = profile(activities=activities)
    done = 0

    def pause() -> None:
        nonlocal done
        done += 1
        if done == warmup:
            watch.start()
        if done == warmup + steps:
            watch.stop()
            raise FinishedError

    run: Callable[..., None] = ours.train_steps if job.task == "train" else ours.generations
    with suppress(FinishedError), mixed(job):
        run(job, pause)
    attribute = "self_device_time_total" if job.device == "cuda" else "self_cpu_time_total"
    averages = watch.key_averages()
    if job.device == "cuda":
        # Cada operación y los núcleos que lanza salen por separado: basta con los núcleos.
        averages = [row for row in averages if row.device_type.name == "CUDA"] or averages
    rows = [(row.key, getattr(row, attribute) / 1e6, row.count) for row in averages]
    total = sum(seconds for _, seconds, _ in rows)
    kinds: defaultdict[str, float] = defaultdict(float)
    for name, seconds, _ in rows:
        kinds[kind_of(name)] += seconds / total
    rows.sort(key=lambda row: -row[1])
    return {
        "seconds": total / steps,
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "operations": [
            {"name": name, "share": seconds / total, "calls": calls / steps}
            for name, seconds, calls in rows[:15]
        ],
    }
