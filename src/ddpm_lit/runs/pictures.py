"""Muestras por el camino: una rejilla para ver cómo va un entrenamiento."""

from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor

from ddpm_lit.files.images import grid, points_image
from ddpm_lit.models.trained import Trained


def drawable(shape: tuple[int, ...]) -> bool:
    """Si unas muestras se pueden dibujar: imágenes de 1 o 3 canales, o puntos del plano."""
    return shape == (2,) or (len(shape) == 3 and shape[0] in (1, 3))


def sample_grid(
    trained: Trained,
    *,
    device: torch.device,
    count: int = 25,
    conditions: Mapping[str, Tensor] | None = None,
) -> Image.Image:
    """Una rejilla de muestras en 50 pasos como mucho, para ver cómo va un entrenamiento.

    Si la red conoce clases, las recorre en orden; si recibe una imagen o unos números, son los
    de los primeros datos (`conditions`). Con datos que son puntos del plano, la imagen es la
    nube de 2 000 puntos.
    """
    points = len(trained.shape) == 1
    total = 2000 if points else count
    given = {
        name: value[torch.arange(total) % len(value)]
        for name, value in (conditions or {}).items()
        if name not in ("tokens", "class_labels")
    }
    samples = trained.sample(
        total,
        condition=given,
        device=device,
        steps=min(50, len(trained.schedule)),
        batch_size=total,
    )
    if points:
        return points_image(samples)
    return grid(samples, columns=int(count**0.5))
