"""Condiciones que se sacan de los propios datos: otra imagen o un número.

Con ellas, un conjunto cualquiera sirve para aprender a ampliar imágenes, a colorearlas o a
obedecer a un número (`[data.conditions]` en una receta). Cada fila depende solo de su dato.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.data.storage import to_float

# Luminancia de la televisión digital (recomendación ITU-R BT.601), la «L» de
# Pillow.
LUMA = (0.299, 0.587, 0.114)


def low_resolution(x: Tensor, factor: int = 2) -> Tensor:
    """La imagen con menos resolución, al mismo tamaño: la media de cada bloque, repetida.

    Es la condición de la super-resolución (Saharia et al. 2021, arXiv:2104.07636).

    Args:
        x: imágenes (N, C, H, W).
        factor: lado de los bloques; divide a H y a W.

    Returns:
        Tensor de forma (N, C, H, W).

    Raises:
        ValueError: si no son imágenes o `factor` no divide a sus lados.
        TypeError: si `factor` no es un entero.
    """
    _check_images(x)
    check_integer("factor", factor, minimum=1)
    if x.shape[2] % factor or x.shape[3] % factor:
        raise ValueError(
            f"Una imagen de {x.shape[2]}×{x.shape[3]} no se divide en bloques "
            f"de {factor}×{factor}: usa un factor que divida a sus dos lados."
        )
    blocks = F.avg_pool2d(x, factor)
    return blocks.repeat_interleave(factor, dim=2).repeat_interleave(
        factor, dim=3
    )


def greyscale(x: Tensor) -> Tensor:
    r"""La imagen en gris: $0{,}299\,R + 0{,}587\,G + 0{,}114\,B$.

    Los pesos suman 1, así que el gris de $[-1, 1]$ está en $[-1, 1]$. Es la condición con que
    se colorea (Saharia et al. 2022, arXiv:2111.05826).

    Args:
        x: imágenes en color (N, 3, H, W).

    Returns:
        Tensor de forma (N, 1, H, W).

    Raises:
        ValueError: si no son imágenes de tres canales.
    """
    _check_images(x)
    if x.shape[1] != len(LUMA):
        raise ValueError(
            f"Las imágenes tienen {x.shape[1]} canales y solo se pueden pasar "
            f"a gris las de color, de {len(LUMA)}."
        )
    return (x * x.new_tensor(LUMA).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


def ink(x: Tensor) -> Tensor:
    """La cantidad de tinta: la media de los píxeles, de -1 (ninguna) a 1 (todo pintado).

    Args:
        x: imágenes (N, C, H, W).

    Returns:
        Tensor de forma (N, 1): un escalar por imagen.

    Raises:
        ValueError: si no son imágenes.
    """
    _check_images(x)
    return x.flatten(1).mean(dim=1, keepdim=True)


IMAGES: dict[str, Callable[..., Tensor]] = {
    "low_resolution": low_resolution,
    "greyscale": greyscale,
}
"""Las condiciones que son otra imagen, por su nombre."""

SCALARS: dict[str, Callable[[Tensor], Tensor]] = {"ink": ink}
"""Las condiciones que son un número, por su nombre."""


def conditioned(dataset: Dataset, conditions: Mapping[str, Any]) -> Dataset:
    """El mismo conjunto con las condiciones que pide una receta en `[data.conditions]`.

    Args:
        dataset: los datos.
        conditions: `image`, una de `IMAGES`, con `factor` si es `"low_resolution"`; y
            `scalars`, una de `SCALARS`. `text` no se mira: de las descripciones se ocupa
            `training.with_text`, que conoce el vocabulario de la red.

    Returns:
        Otro `Dataset`, con `image` (N, C, H, W) y `scalars` (N, S) entre sus condiciones.

    Raises:
        ValueError: si una condición no existe o no se puede sacar de estos datos.
    """
    unknown = sorted(conditions.keys() - {"image", "factor", "scalars", "text"})
    if unknown:
        raise ValueError(
            f"No existe la condición «data.conditions.{unknown[0]}». Las que "
            "hay: image (con factor), scalars y text."
        )
    if "factor" in conditions and conditions.get("image") != "low_resolution":
        raise ValueError(
            "«data.conditions.factor» es el lado de los bloques de image = "
            "«low_resolution», y la imagen pedida es "
            f"{conditions.get('image')!r}: quita factor o cambia image."
        )
    added: dict[str, Tensor] = {}
    if "image" in conditions:
        options = {
            name: conditions[name] for name in ("factor",) if name in conditions
        }
        image = partial(_named(IMAGES, "image", conditions), **options)
        added["image"] = _of_each(image, dataset)
    if "scalars" in conditions:
        scalars = _named(SCALARS, "scalars", conditions)
        added["scalars"] = _of_each(scalars, dataset)
    return replace(dataset, conditions={**dataset.conditions, **added})


def _of_each(function: Callable[[Tensor], Tensor], dataset: Dataset) -> Tensor:
    parts = dataset.store.parts()
    return torch.cat([function(to_float(part)) for part in parts])


def block_side(conditions: Mapping[str, Any]) -> int:
    """El lado de los bloques de los que parte un modelo que amplía; 1 en los demás.

    Una imagen que viene de fuera se lee con `files.images.load_picture(…, factor=block_side(…))`:
    la que ya es pequeña se queda como está.

    Args:
        conditions: `[data.conditions]` de una receta, como en `conditioned`.

    Returns:
        El factor de `low_resolution`, o 1 si la imagen de partida es otra o no la hay.
    """
    if conditions.get("image") != "low_resolution":
        return 1
    default: int = (
        inspect.signature(low_resolution).parameters["factor"].default
    )
    return int(conditions.get("factor", default))


def _named(
    functions: Mapping[str, Callable[..., Tensor]],
    kind: str,
    conditions: Mapping[str, Any],
) -> Callable[..., Tensor]:
    name = conditions[kind]
    if name not in functions:
        raise ValueError(
            f"«data.conditions.{kind}» vale {name!r} y debe ser una de: "
            f"{', '.join(functions)}."
        )
    return functions[name]


def _check_images(x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(
            f"Los datos tienen forma {tuple(x.shape)}, y esta condición es "
            "para imágenes, de forma (N, C, H, W)."
        )
