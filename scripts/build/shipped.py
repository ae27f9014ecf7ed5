"""Qué se mide de cada modelo que viene en el paquete; los tests lo vuelven a medir."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.data import load_dataset, split
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.models.trained import Trained
from scripts.build.emoji_samples import SEEN

STEPS = 20
SHOWN = 20
SEEDS = 2
GUIDANCE = 2.0


def measure(trained: Trained) -> dict[str, float]:
    """Las medidas de un modelo, según lo que reciba; tardan segundos.

    Args:
        trained: el modelo.

    Returns:
        Un diccionario de números, para su ficha.
    """
    conditions = trained.recipe.data.conditions
    measures: dict[str, Callable[[Trained], dict[str, float]]] = {
        "text": recognised_names,
        "image": restored_images,
    }
    chosen = [measures[name] for name in measures if name in conditions]
    return {name: value for function in chosen for name, value in function(trained).items()}


def restored_images(trained: Trained) -> dict[str, float]:
    """El error cuadrático en veinte imágenes que no vio, y el de no hacer nada."""
    config = trained.recipe.data
    data = conditioned(load_dataset(config.name, **config.options), config.conditions)
    _, held_out = split(data, config.held_out, config.split_seed)
    truth, image = held_out.x[:SHOWN], held_out.conditions["image"][:SHOWN]
    made = trained.sample(len(truth), image=image, sampler="ddim", steps=STEPS)
    return {
        "mse": _mse(made, truth),
        "mse_of_the_condition": _mse(image.expand_as(truth), truth),
        "images": float(len(truth)),
    }


def recognised_names(trained: Trained) -> dict[str, float]:
    """En cuántos dibujos el emoji más parecido, de diez, es el que se pidió."""
    data = load_dataset(trained.recipe.data.name, **trained.recipe.data.options)
    references = torch.stack([data.x[data.captions.index(name)] for name in SEEN])
    x = trained.sample(
        list(range(SEEDS)) * len(SEEN),
        text=[name for name in SEEN for _ in range(SEEDS)],
        guidance=GUIDANCE,
        sampler="ddim",
        steps=STEPS,
    )
    nearest = torch.cdist(x.flatten(1), references.flatten(1)).argmin(dim=1)
    asked = torch.arange(len(SEEN)).repeat_interleave(SEEDS)
    return {"nearest_of_ten": float((nearest == asked).float().mean()), "images": float(len(x))}


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())
