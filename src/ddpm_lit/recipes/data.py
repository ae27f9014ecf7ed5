"""Los datos de una receta: con sus condiciones, su texto y la parte que nadie ve."""

from dataclasses import replace

import torch

from ddpm_lit.conditioning import build_vocabulary, tokenize
from ddpm_lit.data import Dataset, load_dataset, official_split, split
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.data.storage import Store
from ddpm_lit.latent import Autoencoder
from ddpm_lit.recipes.recipe import Recipe

ENCODED = 64
"""Cuántas imágenes se codifican a la vez."""


def whole_data(recipe: Recipe) -> Dataset:
    """Todos los datos de una receta, con sus condiciones y sin repartir."""
    data = load_dataset(recipe.data.name, **recipe.data.options)
    return conditioned(data, recipe.data.conditions)


def split_data(recipe: Recipe, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """La parte de unos datos con que se entrena una receta y la que aparta, si aparta alguna.

    Los datos que ya traen su reparto, como los que tienen un conjunto de test, se reparten así.

    Raises:
        ValueError: si la receta pide apartar una fracción de unos datos que ya traen su reparto.
    """
    if data.reserved is not None:
        if recipe.data.held_out > 0:
            raise ValueError(
                f"Los datos «{recipe.data.name}» ya traen su parte apartada, de "
                f"{int(data.reserved.sum())}: deja data.held_out = 0 en la receta."
            )
        return official_split(data)
    if recipe.data.held_out == 0:
        return data, None
    return split(data, recipe.data.held_out, recipe.data.split_seed)


def training_data(recipe: Recipe) -> Dataset:
    """Los datos con que se entrena una receta, con sus condiciones y sin la parte apartada."""
    return split_data(recipe, whole_data(recipe))[0]


def with_text(recipe: Recipe, data: Dataset) -> tuple[Recipe, Dataset]:
    """Prepara el texto, si la receta lo pide: el vocabulario de la red y los tokens de los datos.

    Si la receta no trae vocabulario, es el de las descripciones de los datos. Si no pide texto,
    todo queda como estaba.

    Raises:
        ValueError: si los datos no tienen descripciones, o la red no puede leerlas.
    """
    if not recipe.data.conditions.get("text"):
        return recipe, data
    if not data.captions:
        raise ValueError(
            f"La receta «{recipe.name}» pide texto y los datos «{recipe.data.name}» no tienen "
            "descripciones: usa «openmoji» o quita data.conditions.text."
        )
    vocabulary = build_vocabulary(data.captions)
    options = {"vocabulary": vocabulary} | recipe.model.options
    recipe = replace(recipe, model=replace(recipe.model, options=options))
    length = getattr(recipe.network_config(), "text_length", None)
    if length is None:
        raise ValueError(
            f"La red de la receta «{recipe.name}» no lee texto: usa una «unet»."
        )
    tokens = tokenize(data.captions, options["vocabulary"], length)
    conditions = {**data.conditions, "tokens": tokens}
    return recipe, replace(data, conditions=conditions)


def check_classes(recipe: Recipe, data: Dataset) -> None:
    """Comprueba que la red de una receta conoce las clases de unos datos.

    Raises:
        ValueError: si los datos no tienen clases y la red sí, o tienen más que ella.
    """
    classes = recipe.model.options.get("num_classes")
    if classes is None:
        return
    if data.labels is None:
        raise ValueError(
            f"La red de la receta «{recipe.name}» conoce {classes} clases y los datos no las "
            "tienen: usa otros datos o quita model.options.num_classes."
        )
    largest = int(data.labels.max())
    if largest >= classes:
        raise ValueError(
            f"La red de la receta «{recipe.name}» conoce las clases de 0 a {classes - 1} y en los "
            f"datos está la {largest}: pon model.options.num_classes = {data.num_classes}."
        )


@torch.no_grad()
def in_latent(data: Dataset, autoencoder: Autoencoder) -> Dataset:
    """Unos datos, con el latente de cada imagen en su lugar.

    Args:
        data: imágenes en [-1, 1].
        autoencoder: el que las codifica (véase `ddpm_lit.latent.load_autoencoder`).

    Returns:
        Los latentes, continuos y sin acotar, con las descripciones, las clases y las condiciones
        de sus imágenes.

    Raises:
        ValueError: si las imágenes no son como las del autoencoder.
    """
    rows = torch.split(torch.arange(len(data)), ENCODED)
    latents = [autoencoder.encode(data.batch(each)["x"]) for each in rows]
    return replace(
        data,
        store=Store(torch.cat(latents)),
        levels=None,
        bounded=False,
        memory=None,
    )
