r"""Medir un modelo: generar muestras y compararlas con los datos de su receta.

Aquí no hay ninguna medida nueva; se decide qué se compara con qué. Las medidas de las muestras
están en `ddpm_lit.evaluation.metrics`, y la verosimilitud, en `ddpm_lit.improved`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpm_lit.conditioning import wanted_conditions, words
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.evaluation.metrics import (
    ClassifierConfig,
    SmallClassifier,
    accuracy,
    class_agreement,
    energy_distance_test,
    features,
    frechet_distance,
    mean_pairwise_distance,
    nearest_neighbours,
    precision_recall,
    train_classifier,
)
from ddpm_lit.files.atomic import atomic_path, user_cache_dir
from ddpm_lit.improved import bits_per_dimension
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.mlp import MLPConfig
from ddpm_lit.recipes.data import with_text

CLASSIFIER_STEPS = 800


def reference_data(
    trained: Trained, source: str | Path | None = None
) -> tuple[Dataset, Dataset | None]:
    """Los datos con que se compara un modelo.

    Args:
        trained: el modelo.
        source: un conjunto de `load_dataset` o una carpeta de imágenes; `None`, los datos de la
            receta, con sus opciones y su reparto.

    Returns:
        Los datos de entrenamiento y los que se apartaron, o `None` si no se apartó ninguno. Los
        dos llevan las condiciones que pide la receta; de los apartados se quitan los que la red
        no puede leer, porque tienen palabras que no conoce.

    Raises:
        ValueError: si los datos no existen o no tienen la forma de las muestras.
        ModuleNotFoundError: si falta un paquete para cargarlos.
    """
    recipe, held_out = trained.recipe, None
    if source is None:
        data = load_dataset(recipe.data.name, **recipe.data.options)
        if recipe.data.held_out > 0:
            data, held_out = split(
                data, recipe.data.held_out, recipe.data.split_seed
            )
    elif Path(source).is_dir() and len(trained.shape) == 3:
        color = "gray" if trained.shape[0] == 1 else "rgb"
        data = load_dataset(
            "folder", path=source, size=trained.shape[-1], color=color
        )
    else:
        data = load_dataset(str(source))
    if data.image_shape != trained.shape:
        raise ValueError(
            f"Los datos «{source or recipe.data.name}» tienen forma {data.image_shape} y las "
            f"muestras de «{recipe.name}», {trained.shape}: compara con datos como los suyos."
        )
    if held_out is not None:
        held_out = _readable(trained, held_out)
    return _prepared(trained, data), held_out and _prepared(trained, held_out)


def _readable(trained: Trained, data: Dataset) -> Dataset | None:
    config = trained.recipe.network_config()
    if (
        isinstance(config, MLPConfig)
        or not config.vocabulary
        or not data.captions
    ):
        return data
    known = set(config.vocabulary)
    found = [words(caption) for caption in data.captions]
    kept = [
        row
        for row, each in enumerate(found)
        if known.issuperset(each) and len(each) < config.text_length
    ]
    return data.subset(kept) if kept else None


def _prepared(trained: Trained, data: Dataset) -> Dataset:
    recipe = trained.recipe
    return conditioned(with_text(recipe, data)[1], recipe.data.conditions)


def conditions_of(
    trained: Trained, data: Dataset, rows: Tensor
) -> dict[str, Tensor]:
    """Las condiciones de unos datos que la red de un modelo admite, por su nombre.

    Args:
        trained: el modelo.
        data: los datos, como los da `reference_data`.
        rows: qué filas, int64 (N,).

    Returns:
        Tensores (N, …); ninguno, si la red no es condicional.
    """
    batch = data.batch(rows)
    wanted = wanted_conditions(trained.recipe.network_config())
    return {name: batch[name] for name in wanted if name in batch}


def likelihood(
    trained: Trained,
    data: Dataset,
    *,
    seed: int = 0,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> dict[str, float | None]:
    r"""La cota de unos datos en bits por dimensión, con sus tres partes.

    Args:
        trained: el modelo.
        data: los datos, como los da `reference_data`.
        seed: la semilla del ruido.
        batch_size: cuántos datos se evalúan a la vez.
        device: dónde se calcula.
        progress: si se enseña una barra de progreso.

    Returns:
        `total` y su `standard_error` (`None` con un solo dato); `prior` ($L_T$), `middle` (la
        suma de los $L_{t-1}$) y `reconstruction` ($L_0$), que suman el total, y `data`, cuántos
        datos son. Con datos continuos los bits son de una densidad y pueden ser negativos.
    """
    measured = bits_per_dimension(
        trained.model.to(device),
        trained.diffusion,
        data.x,
        seed=seed,
        batch_size=batch_size,
        condition=conditions_of(trained, data, torch.arange(len(data))),
        device=device,
        progress=progress,
        levels=data.levels,
    )
    return {
        "total": measured.total,
        "standard_error": measured.standard_error if len(data) > 1 else None,
        "prior": measured.prior,
        "middle": float(measured.terms[1:].sum()),
        "reconstruction": float(measured.terms[0]),
        "data": len(data),
    }


def evaluate_samples(
    samples: Tensor,
    train_set: Dataset,
    held_out: Dataset | None = None,
    *,
    labels: Tensor | None = None,
    classifier: SmallClassifier | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Mide unas muestras frente a los datos.

    Args:
        samples: las muestras, (N, …).
        train_set: los datos con que se entrenó el modelo, de la misma forma.
        held_out: los que no vio, si los hay: dicen qué daría un modelo perfecto.
        labels: la clase que se pidió a cada muestra, int64 (N,).
        classifier: la red de rasgos (véase `feature_network`); sin ella no hay distancia de
            Fréchet, ni precisión, ni acuerdo de clase.
        seed: semilla de las permutaciones del contraste.

    Returns:
        Un diccionario que admite JSON, con una entrada por medida: `energy` si los datos son
        puntos; `frechet`, `precision_recall`, `diversity` y `agreement` si hay red de rasgos, y
        `nearest`.
    """
    report: dict[str, Any] = {}
    if samples.ndim == 2:
        reference = held_out if held_out is not None else train_set
        test = energy_distance_test(samples, reference.x, seed=seed)
        report["energy"] = {
            "statistic": test.statistic,
            "p_value": test.p_value,
        }
    if classifier is not None:
        real, made = (
            features(classifier, train_set.x),
            features(classifier, samples),
        )
        unseen = None if held_out is None else features(classifier, held_out.x)
        report["frechet"] = {
            "samples": frechet_distance(made, real),
            "held_out": None
            if unseen is None
            else frechet_distance(unseen, real),
        }
        report["precision_recall"] = precision_recall(real, made)._asdict()
        report["diversity"] = {
            "samples": mean_pairwise_distance(made),
            "held_out": None
            if unseen is None
            else mean_pairwise_distance(unseen),
        }
        if labels is not None:
            report["agreement"] = {
                "samples": class_agreement(classifier, samples, labels),
                "held_out": None
                if held_out is None
                else accuracy(classifier, held_out),
            }
    report["nearest"] = {
        "samples": _distances(samples, train_set),
        "held_out": None
        if held_out is None
        else _distances(held_out.x, train_set),
    }
    return report


def _distances(x: Tensor, train_set: Dataset) -> dict[str, float]:
    distances = nearest_neighbours(x, train_set.x).distances[:, 0]
    return {"min": float(distances.min()), "median": float(distances.median())}


def feature_network(
    data: Dataset,
    *,
    cache_dir: str | Path | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> SmallClassifier | None:
    """La red cuyos rasgos se comparan: un clasificador entrenado con los mismos datos.

    Se guarda en la caché, con un nombre que depende de los datos y de los pasos.

    Args:
        data: imágenes con clases.
        cache_dir: la carpeta de la caché; `None`, la del usuario.
        note: recibe una frase si hay que entrenarla.

    Returns:
        La red, o `None` si los datos no son imágenes de al menos 8×8 con clases.
    """
    if data.labels is None or data.x.ndim != 4 or min(data.image_shape[1:]) < 8:
        return None
    content = hashlib.sha256(f"{CLASSIFIER_STEPS} {data.label_names}".encode())
    for tensor in (data.x, data.labels):
        content.update(tensor.contiguous().numpy().tobytes())
    path = (
        Path(cache_dir or user_cache_dir())
        / f"rasgos-{content.hexdigest()[:16]}.safetensors"
    )
    classifier = SmallClassifier(
        ClassifierConfig(
            in_channels=data.image_shape[0], num_classes=len(data.label_names)
        )
    )
    if path.is_file():
        try:
            classifier.load_state_dict(load_file(path))
            return classifier.eval()
        except (SafetensorError, RuntimeError):
            note(
                f"La red de rasgos de «{path}» está dañada y se vuelve a entrenar."
            )
    note(
        "Entrenando la red de rasgos, que queda en la caché para la próxima vez…"
    )
    classifier = train_classifier(data, steps=CLASSIFIER_STEPS)
    try:
        with atomic_path(path) as temporary:
            save_file(
                {k: v.contiguous() for k, v in classifier.state_dict().items()},
                temporary,
            )
    except OSError as error:
        note(f"No se ha podido guardar la red de rasgos en «{path}» ({error}).")
    return classifier
