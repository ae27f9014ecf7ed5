r"""Medir un modelo: generar muestras y compararlas con los datos de su receta.

Aquí no hay ninguna medida nueva; se decide qué se compara con qué. Las medidas de las muestras
están en `ddpm_lit.evaluation.metrics`, y la verosimilitud, en `ddpm_lit.improved`. Una evaluación
entera, con su ficha, es `ddpm_lit.evaluation.evaluate`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpm_lit.conditioning import wanted_conditions, words
from ddpm_lit.data import DATASETS, Dataset, load_dataset
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.data.storage import to_float
from ddpm_lit.evaluation.metrics import (
    ClassifierConfig,
    Gaussian,
    SmallClassifier,
    accuracy,
    class_agreement,
    energy_distance_test,
    features,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_neighbours,
    precision_recall,
    train_classifier,
)
from ddpm_lit.evaluation.reference import KEPT, Reference
from ddpm_lit.files.atomic import atomic_path, user_cache_dir
from ddpm_lit.files.opening import image_suffixes
from ddpm_lit.formats.diffusers import UNKNOWN_DATA
from ddpm_lit.machine.processes import ALONE, Processes
from ddpm_lit.models.together import bits_together
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import Stream, batch_indices, keyed_generator
from ddpm_lit.recipes.data import split_data, with_text

CLASSIFIER_STEPS = 800
"""Los pasos con que se entrena la red de rasgos, si no se dice otra cosa."""

NEIGHBOUR = 3
"""El vecino que fija los radios de la precisión y la cobertura."""


def silent(message: str) -> None:
    """Nadie escucha."""


def reference_data(
    trained: Trained,
    source: str | Path | None = None,
    *,
    note: Callable[[str], None] = silent,
) -> tuple[Dataset, Dataset | None]:
    """Los datos con que se compara un modelo.

    Las clases se numeran como las del modelo, por su nombre; si alguna no es suya, se dejan como
    están y el modelo no las recibe (véase `conditions_of`). Las descripciones que la red no puede
    leer se quitan con sus datos.

    Args:
        trained: el modelo.
        source: un conjunto de `load_dataset` o una carpeta de imágenes; `None`, los datos de la
            receta, con sus opciones y su reparto.
        note: recibe una frase por cada cosa que se deja fuera.

    Returns:
        Los datos de entrenamiento (o los de `source`) y los que se apartaron, o `None` si no se
        apartó ninguno. Los dos llevan las condiciones que pide la receta.

    Raises:
        ValueError: si los datos no existen o no tienen la forma de las muestras, o el modelo
            necesita una frase y ninguna de las de los datos se puede leer.
        ModuleNotFoundError: si falta un paquete para cargarlos.
    """
    recipe, held_out = trained.recipe, None
    if source is None and recipe.data.name == UNKNOWN_DATA:
        raise ValueError(
            f"El modelo «{recipe.name}» viene de diffusers y no dice con qué datos se entrenó: di "
            "con cuáles se compara (--data)."
        )
    if source is None:
        data = load_dataset(recipe.data.name, **recipe.data.options)
        data, held_out = split_data(recipe, data)
    else:
        data = _outside_data(trained, source)
    if data.image_shape != trained.image_shape:
        raise ValueError(
            f"Los datos «{source or recipe.data.name}» tienen forma {data.image_shape} y las "
            f"muestras de «{recipe.name}», {trained.image_shape}: compara con datos como los suyos."
        )
    prepared = _prepared(trained, data, note)
    if prepared is None:
        if recipe.training.condition_dropout == 0:
            raise ValueError(
                f"El modelo «{recipe.name}» dibuja lo que lee, y ninguna descripción de "
                f"«{source or recipe.data.name}» tiene solo palabras que conozca: mídelo con "
                "otros datos."
            )
        note(
            f"El modelo «{recipe.name}» no puede leer ninguna descripción de estos datos: se mide "
            "lo que dibuja sin frase."
        )
        prepared = conditioned(data, recipe.data.conditions)
    return prepared, held_out and _prepared(trained, held_out, silent)


def _outside_data(trained: Trained, source: str | Path) -> Dataset:
    """Un conjunto con nombre o, si no hay ninguno que se llame así, una carpeta de imágenes."""
    folder = Path(source).expanduser()
    if str(source) == "folder":
        raise ValueError(
            "«folder» es cualquier carpeta de imágenes: da la carpeta misma."
        )
    if str(source) in DATASETS or not folder.is_dir():
        return load_dataset(str(source))
    if len(trained.image_shape) != 3:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» genera datos de forma {trained.image_shape} y "
            f"«{source}» es una carpeta de imágenes: compara con datos como los suyos."
        )
    color = "gray" if trained.image_shape[0] == 1 else "rgb"
    return load_dataset(
        "folder",
        path=folder,
        size=trained.image_shape[1:],
        color=color,
        classes=_in_classes(folder),
    )


def _in_classes(folder: Path) -> bool:
    """Si una carpeta no tiene imágenes sueltas y sí varias subcarpetas: una por clase."""
    suffixes = image_suffixes()
    seen = [each for each in folder.iterdir() if not each.name.startswith(".")]
    loose = any(
        each.is_file() and each.suffix.lower() in suffixes for each in seen
    )
    return not loose and sum(each.is_dir() for each in seen) > 1


def _prepared(
    trained: Trained, data: Dataset, note: Callable[[str], None]
) -> Dataset | None:
    """Los datos con las clases y las condiciones del modelo; `None` si no puede leer ninguno."""
    recipe = trained.recipe
    data = conditioned(_renumbered(trained, data, note), recipe.data.conditions)
    if not recipe.data.conditions.get("text"):
        return data
    kept = _readable(trained, data)
    if not kept:
        return None
    if len(kept) < len(data):
        note(
            f"De {len(data)} descripciones se quitan {len(data) - len(kept)}, que tienen palabras "
            "que el modelo no conoce."
        )
        data = data.subset(kept)
    return with_text(recipe, data)[1]


def _renumbered(
    trained: Trained, data: Dataset, note: Callable[[str], None]
) -> Dataset:
    if trained.num_classes is None or data.labels is None:
        return data
    known = _class_names(trained)
    unknown = [name for name in data.label_names if name not in known]
    if unknown:
        note(
            f"El modelo «{trained.recipe.name}» no tiene las clases de estos datos (le falta "
            f"«{unknown[0]}»): recorre las suyas por turno, y no se mide el acuerdo con la clase "
            "pedida."
        )
        return data
    numbers = torch.tensor([known.index(name) for name in data.label_names])
    return replace(data, labels=numbers[data.labels], label_names=known)


def _class_names(trained: Trained) -> tuple[str, ...]:
    """Los nombres de las clases de un modelo; si no los lleva, sus números."""
    numbers = map(str, range(trained.num_classes or 0))
    return trained.class_names or tuple(numbers)


def _readable(trained: Trained, data: Dataset) -> list[int]:
    """Qué datos tienen una descripción que la red puede leer entera."""
    config = trained.recipe.network_config()
    known = set(getattr(config, "vocabulary", ()))
    longest = getattr(config, "text_length", 0) - 1
    found = [words(caption) for caption in data.captions]
    return [
        row
        for row, each in enumerate(found)
        if 0 < len(each) <= longest and known.issuperset(each)
    ]


def conditions_of(
    trained: Trained, data: Dataset, rows: Tensor
) -> dict[str, Tensor]:
    """Las condiciones de unos datos que la red de un modelo admite, por su nombre.

    Las clases, solo si son las del modelo, con sus números.

    Args:
        trained: el modelo.
        data: los datos, como los da `reference_data`.
        rows: qué filas, int64 (N,).

    Returns:
        Tensores (N, …); ninguno, si la red no es condicional.
    """
    batch = data.batch(rows)
    wanted = wanted_conditions(trained.recipe.network_config())
    if data.label_names != _class_names(trained):
        batch.pop("class_labels", None)
    return {name: batch[name] for name in wanted if name in batch}


def likelihood(
    trained: Trained,
    data: Dataset,
    *,
    seed: int = 0,
    batch_size: int = 128,
    processes: Processes = ALONE,
    progress: bool = False,
) -> dict[str, float | None]:
    r"""La cota de unos datos en bits por dimensión, con sus tres partes.

    Args:
        trained: el modelo.
        data: los datos, como los da `reference_data`.
        seed: la semilla del ruido.
        batch_size: cuántos datos se evalúan a la vez.
        processes: los procesos entre los que se reparten, y dónde se calcula.
        progress: si se enseña una barra de progreso.

    Returns:
        `total` y su `standard_error` (`None` con un solo dato); `prior` ($L_T$), `middle` (la
        suma de los $L_{t-1}$) y `reconstruction` ($L_0$), que suman el total, y `data`, cuántos
        datos son. Con datos continuos los bits son de una densidad y pueden ser negativos.

    Raises:
        ValueError: si la red necesita la clase de los datos, y no son las suyas, o lo que genera
            son latentes.
    """
    if trained.autoencoder is not None:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» difunde latentes: sus bits serían los de un "
            "latente y no los de una imagen. No los pidas."
        )
    condition = conditions_of(trained, data, torch.arange(len(data)))
    unknown = (
        trained.num_classes is not None and "class_labels" not in condition
    )
    if unknown and trained.recipe.training.condition_dropout == 0:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» necesita saber la clase de los datos, y las de "
            "estos no son las suyas: sus bits no se pueden medir."
        )
    measured = bits_together(
        processes,
        trained.model.to(processes.device),
        trained.diffusion,
        data.x,
        seed=seed,
        batch_size=batch_size,
        condition=condition,
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


def left_out(
    data: Dataset, held_out: Dataset | None, classifier: SmallClassifier | None
) -> list[str]:
    """Lo que no se puede medir con tan pocos datos, una frase por cosa.

    Se sabe antes de generar ninguna muestra; `evaluate_samples` lo deja fuera.

    Args:
        data: los datos con que se compara.
        held_out: los que se apartaron, si los hay.
        classifier: la red de rasgos, o `None` si no la hay.

    Returns:
        Las frases.
    """
    said = []
    points = len(data.image_shape) == 1
    unseen = held_out and len(held_out)
    if points and len(data) < 2:
        said.append("Con un solo punto no se puede contrastar la distribución.")
    if len(data.image_shape) == 3 and classifier is None:
        said.append(
            "Estos datos no son imágenes de al menos 8×8 repartidas en dos clases o más, y sin "
            "eso no hay red de rasgos: no se miden la distancia de Fréchet, la precisión, la "
            "cobertura ni la diversidad."
        )
    if classifier is not None and len(data) <= NEIGHBOUR:
        said.append(
            f"Con {len(data)} datos no se miden la precisión ni la cobertura: hacen falta más de "
            f"{NEIGHBOUR}."
        )
    if classifier is not None and unseen == 1:
        said.append(
            "Solo hay un dato apartado: no se sabe qué distancia de Fréchet ni qué diversidad "
            "daría un modelo perfecto."
        )
    return said


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

    La distancia de Fréchet, la precisión y la cobertura dependen de cuántas imágenes se comparen:
    con menos, salen peores. Por eso cada una va con su `n`, y la comparación con lo que darían
    datos reales está aparte, en `same_size`, con el mismo número de todos; y, si se sabe qué clase
    se pidió a cada muestra, con las mismas de cada clase.

    Args:
        samples: las muestras, (N, …).
        train_set: los datos con que se entrenó el modelo, de la misma forma.
        held_out: los que no vio, si los hay: dicen qué daría un modelo perfecto.
        labels: la clase que se pidió a cada muestra, int64 (N,).
        classifier: la red de rasgos (véase `feature_network`); sin ella no hay distancia de
            Fréchet, ni precisión, ni acuerdo de clase.
        seed: semilla de las permutaciones del contraste y de los sorteos de `same_size`.

    Returns:
        Un diccionario que admite JSON, con una entrada por medida que se pueda tomar (véase
        `left_out`): `energy` si los datos son puntos; `frechet`, `precision_recall`, `diversity`
        y `agreement` si hay red de rasgos, y `nearest`. Dentro de `frechet` y de
        `precision_recall`, `samples` son todas las muestras, y `same_size`, la comparación, o
        `None` si no hay datos apartados. `to_data` es la distancia a los datos de entrenamiento,
        que premia copiarlos, y `to_held_out`, a los apartados.

    Raises:
        ValueError: si alguna muestra no es finita.
    """
    broken = int((~samples.flatten(1).isfinite().all(dim=1)).sum())
    if broken:
        raise ValueError(
            f"{broken} de {len(samples)} muestras tienen valores que no son finitos (NaN o "
            "infinito), y no se pueden medir: prueba con otro sampler o con menos guía, o revisa "
            "el entrenamiento."
        )
    report: dict[str, Any] = {}
    if samples.ndim == 2 and min(len(samples), len(train_set)) > 1:
        enough = held_out is not None and len(held_out) > 1
        reference = held_out if held_out is not None and enough else train_set
        test = energy_distance_test(samples, reference.x, seed=seed)
        report["energy"] = {
            "statistic": test.statistic,
            "p_value": test.p_value,
        }
    if classifier is not None:
        report |= _in_features(
            _Featured(features(classifier, samples), labels),
            _Featured(features(classifier, train_set.x), train_set.labels),
            None
            if held_out is None
            else _Featured(features(classifier, held_out.x), held_out.labels),
            seed,
        )
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


def inception_measures(
    made: Tensor,
    real: Reference,
    unseen: Reference | None = None,
    *,
    labels: Tensor | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """El FID, el KID, la precisión y la cobertura, en las características de Inception.

    Args:
        made: las características de las muestras, (N, 2048).
        real: las de los datos con que se entrenó el modelo.
        unseen: las de los que no vio, al menos dos, si los hay.
        labels: la clase que se pidió a cada muestra, int64 (N,).
        seed: semilla de los sorteos de `same_size`.

    Returns:
        Un diccionario que admite JSON. `fid`, con todas las muestras: `n`, `to_data` y
        `to_held_out`. `kid`, a los datos: `mean`, `deviation` y `subset_size`.
        `precision_recall`, con `n`, `precision` y `recall`. Y `same_size`, con `n` imágenes de
        cada lado, el FID, la precisión y la cobertura de las muestras (`samples`) y de otros datos
        reales (`real`), o `None` si no hay bastantes. Los otros son los apartados o, si no los
        hay, la mitad de los datos frente a la otra mitad; `held_out` dice cuáles.
    """
    few = made[:KEPT]
    report: dict[str, Any] = {
        "fid": {
            "n": len(made),
            "to_data": frechet_distance(real.gaussian, made),
            "to_held_out": None
            if unseen is None
            else frechet_distance(unseen.gaussian, made),
        },
        "kid": kernel_distance(made, real.features)._asdict(),
        "precision_recall": None,
        "same_size": None,
    }
    if min(len(made), len(real.features)) > NEIGHBOUR:
        quality = precision_recall(real.features, few, NEIGHBOUR)
        report["precision_recall"] = {"n": len(few), **quality._asdict()}
    if unseen is None:
        order = real.features[_shuffled(len(real.features), seed)]
        n = min(len(few), len(order) // 2)
        sides = few[_shuffled(len(few), seed)[:n]], order[:n]
        base = order[n : 2 * n]
        target: Tensor | Gaussian = base
    else:
        few_made, _, few_seen = _same_size(
            _Featured(few, None if labels is None else labels[:KEPT]),
            _Featured(real.features, real.labels),
            _Featured(unseen.features, unseen.labels),
            seed,
        )
        sides, n = (few_made, few_seen), len(few_made)
        base, target = real.features, real.gaussian
    if n > NEIGHBOUR:
        report["same_size"] = {"n": n, "held_out": unseen is not None} | {
            name: {
                "fid": frechet_distance(target, side),
                **precision_recall(base, side, NEIGHBOUR)._asdict(),
            }
            for name, side in zip(("samples", "real"), sides, strict=True)
        }
    return report


class _Featured(NamedTuple):
    """Un conjunto visto por la red de rasgos: (N, D), y la clase de cada uno si se sabe."""

    features: Tensor
    labels: Tensor | None


def _in_features(
    made: _Featured, real: _Featured, unseen: _Featured | None, seed: int
) -> dict[str, Any]:
    """Lo que se mide en los rasgos: de las muestras, de los datos y de los apartados."""
    report: dict[str, Any] = {}
    made_x, real_x = made.features, real.features
    if min(len(made_x), len(real_x)) < 2:
        return report
    if unseen is not None and len(unseen.features) < 2:
        unseen = None
    seen_x = None if unseen is None else unseen.features
    report["frechet"] = {
        "samples": {
            "n": len(made_x),
            "to_data": frechet_distance(made_x, real_x),
            "to_held_out": None
            if seen_x is None
            else frechet_distance(made_x, seen_x),
        },
        "same_size": None,
    }
    report["diversity"] = {
        "samples": mean_pairwise_distance(made_x),
        "held_out": None if seen_x is None else mean_pairwise_distance(seen_x),
    }
    if min(len(made_x), len(real_x)) > NEIGHBOUR:
        whole = precision_recall(real_x, made_x, NEIGHBOUR)
        report["precision_recall"] = {
            "samples": {"n": len(made_x), **whole._asdict()},
            "same_size": None,
        }
    if unseen is None or seen_x is None:
        return report
    few_made, few_real, few_seen = _same_size(made, real, unseen, seed)
    n = len(few_made)
    if n > 1:
        report["frechet"]["same_size"] = {
            "n": n,
            "to_data": {
                "samples": frechet_distance(few_made, real_x),
                "held_out": frechet_distance(few_seen, real_x),
            },
            "to_held_out": {
                "samples": frechet_distance(few_made, seen_x),
                "data": frechet_distance(few_real, seen_x),
            },
        }
    if n > NEIGHBOUR:
        report["precision_recall"]["same_size"] = {
            "n": n,
            "samples": precision_recall(real_x, few_made, NEIGHBOUR)._asdict(),
            "held_out": precision_recall(real_x, few_seen, NEIGHBOUR)._asdict(),
        }
    return report


def _same_size(
    made: _Featured, real: _Featured, unseen: _Featured, seed: int
) -> list[Tensor]:
    """Tantas muestras como datos y como apartados, sacadas de modo que la comparación sea justa.

    Los apartados suelen estar repartidos por clases, y unas muestras con otro reparto distarían
    más solo por eso. Si se sabe la clase que se pidió, los tres conjuntos llevan las mismas de
    cada una. Si no, la clase de cada dato se sortea, como le pasa a un modelo que la elige, y se
    usa solo la mitad de los datos, para que el sorteo casi nunca tenga que repetir uno.
    """
    three = (made, real, unseen)
    if all(each.labels is not None for each in three):
        classes = 1 + max(int(_labels(each).max()) for each in three)
        counts = torch.stack(
            [_labels(each).bincount(minlength=classes) for each in three]
        )
        wanted = counts.min(dim=0).values
        return [_rows(each, wanted, seed) for each in three]
    n = min(
        len(made.features), len(real.features) // 2, len(unseen.features) // 2
    )
    few = [made.features[_shuffled(len(made.features), seed)[:n]]]
    for number, each in enumerate((real, unseen)):
        generator = keyed_generator(seed, Stream.ORDER, 0, 1 + number)
        drawn = generator.integers(len(each.features), size=n)
        few.append(_rows(each, _labels(each)[drawn].bincount(), seed))
    return few


def _labels(each: _Featured) -> Tensor:
    """Las clases; sin ellas, todos de una."""
    if each.labels is None:
        return torch.zeros(len(each.features), dtype=torch.int64)
    return each.labels.cpu()


def _rows(each: _Featured, wanted: Tensor, seed: int) -> Tensor:
    """Unas filas al azar: de cada clase, las que se quieren, sin repetir mientras haya."""
    labels = _labels(each)
    order = _shuffled(len(labels), seed)
    chosen = []
    for number, amount in enumerate(wanted.tolist()):
        members = order[labels[order] == number]
        chosen.append(members[torch.arange(amount) % max(len(members), 1)])
    return each.features[torch.cat(chosen)]


def _shuffled(size: int, seed: int) -> Tensor:
    return torch.tensor(batch_indices(size, size, seed, 0))


def _distances(x: Tensor, train_set: Dataset) -> dict[str, float]:
    distances = nearest_neighbours(x, train_set.x).distances[:, 0]
    return {
        "n": len(x),
        "min": float(distances.min()),
        "median": float(distances.median()),
    }


def feature_network(
    data: Dataset,
    *,
    steps: int | None = None,
    cache_dir: str | Path | None = None,
    note: Callable[[str], None] = silent,
) -> SmallClassifier | None:
    """La red cuyos rasgos se comparan: un clasificador entrenado con los mismos datos.

    Se guarda en la caché, con un nombre que depende de los datos y de los pasos.

    Args:
        data: imágenes con clases.
        steps: cuántos pasos se entrena; `None`, `CLASSIFIER_STEPS`.
        cache_dir: la carpeta de la caché; `None`, la del usuario.
        note: recibe una frase si hay que entrenarla.

    Returns:
        La red, o `None` si los datos no son imágenes de al menos 8×8 con dos clases o más.
    """
    if data.labels is None or len(data.image_shape) != 3:
        return None
    if min(data.image_shape[1:]) < 8:
        return None
    if int(data.labels.min()) == int(data.labels.max()):
        return None
    steps = steps or CLASSIFIER_STEPS
    content = hashlib.sha256(f"{steps} {data.label_names}".encode())
    for part in data.store.parts():
        content.update(to_float(part).numpy().tobytes())
    content.update(data.labels.numpy().tobytes())
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
    classifier = train_classifier(data, steps=steps)
    try:
        with atomic_path(path) as temporary:
            save_file(
                {k: v.contiguous() for k, v in classifier.state_dict().items()},
                temporary,
            )
    except OSError as error:
        note(f"No se ha podido guardar la red de rasgos en «{path}» ({error}).")
    return classifier
