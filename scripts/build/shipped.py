"""Qué se mide de cada modelo que viene en el paquete; los tests lo vuelven a medir."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data.conditions import conditioned, ink
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import bits_per_dimension
from ddpm_lit.models.trained import Trained
from scripts.build.composition import drawings, exam_pairs, found_pairs, score
from scripts.build.emoji_samples import SEEN

STEPS = 20
SHOWN = 20
SEEDS = 2
GUIDANCE = 2.0
INKS = 100
BOUND, BOUND_STEPS = 64, 50
PAIRS = 40
EACH = 20


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
        "scalars": obeyed_ink,
    }
    chosen = [measures[name] for name in measures if name in conditions]
    if trained.recipe.diffusion.variance.startswith("learned"):
        chosen.append(held_out_bits)
    if trained.recipe.data.name == "openmoji-compuesto":
        chosen.append(composed_pairs)
    if trained.recipe.data.name == "fashion_mnist":
        chosen.append(distinct_classes)
    return {name: value for function in chosen for name, value in function(trained).items()}


def held_out(trained: Trained) -> Dataset:
    """Los datos que un modelo no vio, con sus condiciones."""
    config = trained.recipe.data
    data = conditioned(load_dataset(config.name, **config.options), config.conditions)
    return split(data, config.held_out, config.split_seed)[1]


def restored_images(trained: Trained) -> dict[str, float]:
    """El error cuadrático en veinte imágenes que no vio, y el de no hacer nada."""
    data = held_out(trained)
    truth, image = data.x[:SHOWN], data.conditions["image"][:SHOWN]
    made = trained.sample(len(truth), image=image, sampler="ddim", steps=STEPS)
    return {
        "mse": _mse(made, truth),
        "mse_of_the_condition": _mse(image.expand_as(truth), truth),
        "images": float(len(truth)),
    }


def obeyed_ink(trained: Trained) -> dict[str, float]:
    """La correlación entre la tinta que se pide y la que sale, con las de dígitos que no vio."""
    data = held_out(trained)
    asked = data.conditions["scalars"][:INKS]
    assert data.labels is not None
    made = trained.sample(
        len(asked), class_labels=data.labels[:INKS], scalars=asked, sampler="ddim", steps=STEPS
    )
    both = torch.stack([asked[:, 0], ink(made)[:, 0]])
    return {"ink_correlation": float(torch.corrcoef(both)[0, 1]), "images": float(len(made))}


def held_out_bits(trained: Trained) -> dict[str, float]:
    """La cota, en bits por dimensión, de los dígitos que no vio, en cincuenta pasos.

    Con la varianza que aprendió y, con la misma media, con la fija grande.
    """
    data, channels = held_out(trained), trained.shape[0]
    learned = trained.diffusion.respaced(BOUND_STEPS)
    fixed = Diffusion(learned.schedule, learned.prediction, "fixed_large", learned.clip)

    def mean(x_t: Tensor, t: Tensor) -> Tensor:
        output: Tensor = trained.model(x_t, t)[:, :channels]
        return output

    def bits(model: Callable[..., Tensor], diffusion: Diffusion) -> float:
        return bits_per_dimension(
            model, diffusion, data.x[:BOUND], levels=data.levels, batch_size=BOUND
        ).total

    return {
        "bits_per_dimension": bits(trained.model, learned),
        "bits_per_dimension_fixed_large": bits(mean, fixed),
        "steps": float(BOUND_STEPS),
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


def composed_pairs(trained: Trained) -> dict[str, float]:
    """En cuántas parejas que no vio, con un dibujo de cada una, salen el objeto y el color."""
    pairs = exam_pairs(PAIRS)
    x = drawings(trained, pairs, 1, guidance=GUIDANCE, sampler="ddim", steps=STEPS)
    right = score(pairs, found_pairs(x), 1)["right"]
    return {"held_out_pairs": right / PAIRS, "pairs": float(PAIRS)}


def distinct_classes(trained: Trained) -> dict[str, float]:
    """En cuántas muestras la que más se le parece, de todas las demás, es de su clase.

    No hace falta ningún dato: un modelo que no hiciera caso de la clase acertaría una de cada diez.
    """
    classes = len(trained.class_names)
    asked = torch.arange(classes).repeat(EACH)
    x = trained.sample(len(asked), class_labels=asked.tolist(), sampler="ddim", steps=STEPS)
    distances = torch.cdist(x.flatten(1), x.flatten(1)).fill_diagonal_(torch.inf)
    nearest = asked[distances.argmin(dim=1)]
    return {
        "nearest_of_its_class": float((nearest == asked).float().mean()),
        "images": float(len(x)),
    }


def _mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())
