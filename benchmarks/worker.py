"""Un corredor: da un paso cada vez que se le pide, por la entrada, y dice cuánto ha tardado.

    python -m benchmarks.worker '{"who": "ddpm_lit"}'

Contesta en JSON, una línea por respuesta: primero lo que se sabe de su red; después, de cada paso,
los segundos y las páginas de memoria que le ha entregado el sistema; y cuando la entrada se acaba,
la memoria más alta que ha ocupado.
"""

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import ours, peers
from benchmarks.jobs import Job

MATRIX = {"cpu": 3072, "cuda": 8192}
"""Lado de las matrices con que se mide el pico."""


class FinishedError(Exception):
    """Ya no se piden más pasos."""


def multiply(job: Job, pause: Callable[[], None]) -> None:
    """El pico de la máquina: un producto de dos matrices por paso."""
    side = MATRIX[job.device]
    dtype = torch.bfloat16 if job.precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=job.device, dtype=dtype) for _ in range(2))
    while True:
        a @ b
        pause()


RUNNERS: dict[tuple[str, str], Callable[[Job, Callable[[], None]], None]] = {
    ("ddpm_lit", "train"): ours.train_steps,
    ("ddpm_lit", "sample"): ours.generations,
    ("ddpm_lit", "open"): ours.opened,
    ("diffusers", "train"): peers.diffusers_train,
    ("diffusers", "sample"): peers.diffusers_sample,
    ("lucidrains", "train"): peers.lucidrains_train,
    ("lucidrains", "sample"): peers.lucidrains_sample,
    ("matmul", "train"): multiply,
    ("matmul", "sample"): multiply,
}
"""Cada corredor es una función que da pasos sin fin y llama a `pause` tras cada uno."""

NETWORKS: dict[str, Callable[[Job], Callable[..., Any]]] = {
    "ddpm_lit": ours.network,
    "diffusers": peers.diffusers_network,
    "lucidrains": peers.lucidrains_network,
}


def mixed(job: Job) -> torch.autocast:
    """La precisión de un corredor, la misma para todos."""
    # Sin memoria: el contexto dura muchos pasos, y los pesos de cada uno son otros.
    rough = job.precision == "bfloat16"
    return torch.autocast(job.device, torch.bfloat16, enabled=rough, cache_enabled=False)


def facts(job: Job) -> dict[str, int]:
    """Los parámetros de la red y los FLOP de un paso, contados en `meta`, que no calcula nada."""
    if job.who == "matmul":
        return {"parameters": 0, "flops": 2 * MATRIX[job.device] ** 3}
    with torch.device("meta"):
        network: Any = NETWORKS[job.who](job)
        x, t = torch.empty(1, *job.shape), torch.zeros(1)
        with FlopCounterMode(display=False) as counter:
            output = network(x, t)
            output = getattr(output, "sample", output)
            if job.task == "train":
                output.sum().backward()
    times = job.batch if job.task == "train" else job.batch * job.calls
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops() * times}


def peak_memory(job: Job) -> int:
    """Los bytes que ha llegado a ocupar: los del proceso o, en CUDA, los de la tarjeta."""
    if job.device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # `ru_maxrss` no vale: en Linux empieza con lo que ocupaba el proceso que lanzó a este.
    (line,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.M)
    return int(line) * 1024


def page_faults() -> int:
    """Cuántas páginas le ha entregado el sistema desde que empezó, sin ir al disco."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(description: str) -> None:
    """Corre hasta que se acabe la entrada."""
    job = Job(**json.loads(description))
    answers, sys.stdout = sys.stdout, sys.stderr
    started, faults, given = 0.0, 0, 0

    def say(**values: float) -> None:
        print(json.dumps(values), file=answers, flush=True)

    def wait() -> None:
        nonlocal started, faults
        if not sys.stdin.readline():
            raise FinishedError
        started, faults = time.perf_counter(), page_faults()

    def pause() -> None:
        nonlocal given
        given += 1
        if given % job.group:
            return
        if job.device == "cuda":
            torch.cuda.synchronize()
        seconds, pages = time.perf_counter() - started, page_faults() - faults
        say(seconds=seconds / job.group, faults=pages / job.group)
        wait()

    say(**facts(job))
    try:
        wait()
        with mixed(job):
            RUNNERS[job.who, job.task](job, pause)
    except FinishedError:
        say(memory=peak_memory(job))


if __name__ == "__main__":
    main(sys.argv[1])
