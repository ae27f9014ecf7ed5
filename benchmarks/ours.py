"""ddpm_lit en la carrera: los mismos `train` y `sample` que usa cualquiera."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from benchmarks.jobs import Job
from ddpm_lit.data import Dataset
from ddpm_lit.data.folder import load_folder
from ddpm_lit.machine.memory import return_freed_memory
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.networks.ema import EMA
from ddpm_lit.networks.registry import NETWORKS
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import Every, train
from ddpm_lit.training import TrainStep
from ddpm_lit.unet import UNet, UNetConfig

NEVER = 10**9
EXAMPLES = 256
"""Imágenes entre las que se eligen los lotes; son ruido: su contenido no cambia el tiempo."""


def network(job: Job) -> nn.Module:
    """La red, con los pesos recién sorteados."""
    return UNet(job.config)


def _compiled(config: UNetConfig) -> nn.Module:
    model = UNet(config)
    model.compile()
    return model


NETWORKS["benchmark-compiled"] = NETWORKS["unet"]._replace(network=_compiled)


def folder_options(job: Job) -> dict[str, Any]:
    """La carpeta de un corredor, como la pide `[data.options]`; su caché queda a su lado."""
    if not job.folder:
        return {}
    channels, side, _ = job.shape
    return {
        "path": job.folder,
        "size": side,
        "color": "gray" if channels == 1 else "rgb",
        "cache_dir": f"{job.folder}-preparada",
    }


def recipe_of(job: Job) -> Recipe:
    """La receta de un corredor: la del artículo, sin más adornos que la EMA."""
    options = {k: v for k, v in asdict(job.config).items() if v is not None}
    return recipe_from_dict(
        {
            "name": "benchmark",
            "description": "Para medir el tiempo.",
            "data": {"name": "folder", "options": folder_options(job)},
            "model": {
                "kind": "benchmark-compiled" if job.compiled else "unet",
                "options": options,
            },
            "diffusion": {"variance": "fixed_large"},
            # La precisión la pone el corredor, igual para todos, si no la pide un interruptor.
            "training": {"steps": NEVER, "batch_size": job.batch, "amp": False, **job.switches},
        }
    )


def images(job: Job, count: int = EXAMPLES) -> torch.Tensor:
    """Imágenes de ruido en [-1, 1], (count, C, lado, lado), las mismas para todos."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand((count, *job.shape), generator=generator) * 2 - 1


def train_steps(job: Job, pause: Callable[[], None]) -> None:
    """Un entrenamiento sin fin: lotes, ruido, pérdida, gradiente, AdamW y EMA."""

    def after(done: int, state: TrainStep, ema: EMA) -> None:
        pause()

    # Lo que `checkpoint_gradients` pide además de no guardar activaciones, sin lo demás.
    keeping = patch("ddpm_lit.runs.train.keep_freed_memory", return_freed_memory)
    with keeping if job.returned else nullcontext(), TemporaryDirectory() as folder:
        train(
            recipe_of(job),
            folder,
            dataset=None if job.folder else Dataset(images(job)),
            device=job.device,
            every=Every(log=NEVER, checkpoint=NEVER),
            progress=False,
            consumers=[after],
        )


def opened(job: Job, pause: Callable[[], None]) -> None:
    """Nada, con la carpeta abierta si la hay: lo que ocupa un proceso antes de entrenar."""
    data = load_folder(**folder_options(job)) if job.folder else None
    while data is None or len(data) > 0:
        pause()


def generations(job: Job, pause: Callable[[], None]) -> None:
    """Generaciones con el Algoritmo 2, de un modelo guardado y vuelto a leer."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, network(job), recipe_of(job), job.shape)
        trained = load_model(path, job.device)
    while True:
        trained.sample(
            job.batch,
            sampler="ddpm",
            steps=job.calls,
            precision=job.precision,
            cuda_graph=job.graph,
            batch_size=job.batch,
            device=job.device,
        )
        pause()
