"""Las unidades: qué carrera es cada fila de la tabla. Ninguna tarda más de veinticinco minutos."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks import memory, quality
from benchmarks.jobs import Job
from benchmarks.profile import profiled
from benchmarks.race import race
from benchmarks.records import machine

SIDES = (16, 32, 64)
WIDTHS = (32, 64, 128)
BATCHES = (1, 4, 16)
ROUNDS = 12
GROUP = 4
"""Cuántos pasos seguidos se cronometran en CUDA."""
PARTS = 4
"""En cuántos trozos hace cada lote el interruptor `accumulate`."""


@dataclass(frozen=True)
class Unit:
    """Una medición: su nombre, qué mide y cómo. `main` dice si es de la tabla principal."""

    name: str
    what: str
    run: Callable[[], dict[str, Any]]
    main: bool = True


def everyone(job: Job) -> dict[str, Job]:
    """Los corredores de una carrera: nosotros, los rivales y el producto de matrices.

    Donde el procesador o la tarjeta lo aceleran, también en bfloat16; y en CUDA, compilados.
    """
    theirs = replace(job, who="diffusers")
    runners = {
        "ddpm_lit": replace(job, who="ddpm_lit"),
        "diffusers": theirs,
        "diffusers-channels-last": replace(theirs, channels_last=True),
        "lucidrains": replace(job, who="lucidrains"),
        "matmul": replace(job, who="matmul"),
    }
    if job.device == "cuda" or {"avx512_bf16", "amx_bf16"} & set(machine()["flags"]):
        rough = {
            name: replace(runners[name], precision="bfloat16")
            for name in ("ddpm_lit", "diffusers-channels-last", "matmul")
        }
        runners |= {f"{name}-bf16": each for name, each in rough.items()}
    if job.device == "cuda":
        runners["ddpm_lit-bf16-compiled"] = replace(runners["ddpm_lit-bf16"], compiled=True)
        if job.task == "sample":
            runners["ddpm_lit-bf16-graph"] = replace(runners["ddpm_lit-bf16"], graph=True)
    return runners


def switched(job: Job) -> dict[str, Job]:
    """La misma tarea con cada interruptor de la receta encendido, y sin ninguno."""
    switches: dict[str, Any] = {
        "amp": job.device == "cuda" or "auto",
        "accumulate": PARTS,
        "checkpoint_gradients": True,
        "compile": True,
    }
    ours = replace(job, who="ddpm_lit")
    return {"ddpm_lit": ours} | {
        name: replace(ours, switches={name: value}) for name, value in switches.items()
    }


def growing(job: Job, field: str, values: tuple[int, ...]) -> dict[str, Job]:
    """La misma tarea con varios tamaños, nosotros y diffusers en `channels_last`."""
    return {
        f"{who}/{value}": replace(job, who=who, channels_last=True, **{field: value})  # type: ignore[arg-type]
        for value in values
        for who in ("ddpm_lit", "diffusers")
    }


def rehearsed(job: Job) -> Job:
    """La misma tarea con la red diminuta y un lote pequeño."""
    return replace(job, network="tiny", side=8, width=0, batch=PARTS, calls=2)


def table(device: str, *, dry: bool, alone: bool) -> Iterator[Unit]:
    """Las unidades de la tabla en un dispositivo.

    Args:
        device: `"cpu"` o `"cuda"`.
        dry: un ensayo: dos vueltas, con la red diminuta.
        alone: sin los rivales.
    """
    cuda = device == "cuda"
    rounds = 2 if dry else ROUNDS
    laps = ROUNDS // 2 if cuda else ROUNDS

    def raced(name: str, what: str, jobs: Mapping[str, Job], most: int = ROUNDS) -> Unit:
        chosen = {
            label: rehearsed(job) if dry else job
            for label, job in jobs.items()
            if not alone or job.who in ("ddpm_lit", "matmul")
        }
        # Con una tarjeta para uno solo no hay quien estorbe, y juntos no cabrían.
        return Unit(name, what, lambda: race(chosen, min(rounds, most), together=not cuda))

    if cuda:
        few = Job("", "sample", "small", 16, calls=20, device=device)
        what = "generación de pocas imágenes, la red pequeña"
        yield raced("sample-few", what, everyone(few), laps)
    for network, batch, title in (
        ("cifar10", 512 if cuda else 8, "la red de CIFAR-10 (35,7 M)"),
        ("small", 512 if cuda else 64, "la red pequeña (1,2 M, 28×28)"),
    ):
        for task, verb in (("train", "paso de entrenamiento"), ("sample", "generación")):
            several = GROUP if cuda and task == "train" else 1
            job = Job("", task, network, batch, group=several, device=device)
            what = f"{verb}, {title}"
            yield raced(f"{task}-{network}", what, everyone(job), laps)
            precision = "bfloat16" if cuda else "float32"
            watched = replace(rehearsed(job) if dry else job, who="ddpm_lit", precision=precision)
            watched = replace(watched, group=1, compiled=cuda)
            yield Unit(
                f"profile-{task}-{network}",
                f"en qué se va el tiempo: {what}",
                partial(profiled, watched),
            )
    group, batch = (GROUP, 512) if cuda else (1, 8)
    job = Job("", "train", "cifar10", batch, group=group, device=device)
    yield raced("switches", "lo que gana cada interruptor de la receta", switched(job), laps)
    if not cuda:
        small = Job("ddpm_lit", "train", "small", 64)
        both = {"kept": small, "returned": replace(small, returned=True)}
        yield raced("freed", "lo que cuesta devolver la memoria que se suelta", both)
        yield Unit(
            "memory",
            "cuánta memoria ocupa entrenar con una carpeta",
            partial(memory.measured, dry=dry),
        )
    grown = Job("", "train", "cifar10", batch=128 if cuda else 4, device=device)
    for field, values, title in (
        ("side", SIDES, "el lado de la imagen"),
        ("width", WIDTHS, "la anchura de la red"),
        ("batch", BATCHES, "el lote"),
    ):
        what = f"cuánto crece el paso de entrenamiento con {title}"
        yield raced(f"growth-{field}", what, growing(grown, field, values), 5)


def units(device: str = "cpu", *, dry: bool = False, alone: bool = False) -> tuple[Unit, ...]:
    """Todas: las de la tabla y las de calidad, que son más largas y se piden por su nombre."""
    tried = quality.measurements(device, dry=dry)
    longer = (Unit(*each, main=False) for each in tried)
    return (*table(device, dry=dry, alone=alone), *longer)
