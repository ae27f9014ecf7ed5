"""Los modelos que las unidades comparten: se entrenan cuando hacen falta y se guardan en build/."""

import shutil
from pathlib import Path

import torch

from ddpm_lit.data import Dataset
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import MODEL
from ddpm_lit.runs.train import Consumer, Every, train
from ddpm_lit.training import TrainStep
from scripts.replicas.recipes import SNAPSHOTS, digits_recipe, uniform_recipe
from scripts.site.project import ROOT

FOLDER = ROOT / "build" / "replicas"
CHECKPOINT_EVERY = 100
UNIFORM_SIDE = 32
UNIFORM_IMAGES = 4000


def digits_model(variant: str, seed: int) -> Trained:
    """Un modelo de dígitos ya entrenado, o que se entrena ahora."""
    return _trained(f"{variant}-s{seed}", digits_recipe(variant, seed))


def uniform_model(name: str, seed: int) -> Trained:
    """Un modelo de imágenes lisas."""
    return _trained(f"uniform-{name}-s{seed}", uniform_recipe(name, seed), uniform_images())


def snapshots(variant: str, seed: int) -> dict[int, Trained]:
    """Un mismo entrenamiento de dígitos, parado en cada uno de `SNAPSHOTS`."""
    recipe = digits_recipe(variant, seed)
    paths = {
        step: FOLDER / "models" / f"{variant}-s{seed}-{step}.safetensors" for step in SNAPSHOTS
    }

    def keep(done: int, state: TrainStep, ema: EMA) -> None:
        if done in paths:
            save_model(paths[done], ema.model, recipe, (1, 8, 8))

    _trained(f"{variant}-s{seed}", recipe, consumers=(keep,), needed=tuple(paths.values()))
    return {step: load_model(path) for step, path in paths.items()}


def uniform_images() -> Dataset:
    """Imágenes lisas cuya luminancia es uniforme en [-1, 1]."""
    luminance = torch.linspace(-1, 1, UNIFORM_IMAGES)
    return Dataset(x=luminance[:, None, None, None].repeat(1, 1, UNIFORM_SIDE, UNIFORM_SIDE))


def _trained(
    name: str,
    recipe: Recipe,
    dataset: Dataset | None = None,
    consumers: tuple[Consumer, ...] = (),
    needed: tuple[Path, ...] = (),
) -> Trained:
    path = FOLDER / "models" / f"{name}.safetensors"
    if not all(file.is_file() for file in (path, *needed)):
        run = FOLDER / "runs" / name
        train(
            recipe,
            run,
            dataset=dataset,
            device="cpu",
            every=Every(checkpoint=CHECKPOINT_EVERY),
            progress=False,
            consumers=consumers,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / MODEL, path)
        shutil.rmtree(run)
    return load_model(path)
