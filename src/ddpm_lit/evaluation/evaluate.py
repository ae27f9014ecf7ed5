"""Una evaluación entera: de un modelo y lo que se pide, a su ficha."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lit.data import Dataset
from ddpm_lit.evaluation.card import Card, Protocol, spread
from ddpm_lit.evaluation.inception import (
    LAYER,
    PREPROCESSING,
    Inception,
    check_images,
    inception_features,
    load_inception,
)
from ddpm_lit.evaluation.measure import (
    conditions_of,
    evaluate_samples,
    feature_network,
    inception_measures,
    left_out,
    likelihood,
    reference_data,
    silent,
)
from ddpm_lit.evaluation.metrics import SmallClassifier
from ddpm_lit.evaluation.reference import Reference, reference_features
from ddpm_lit.files.weights import add_weights
from ddpm_lit.machine.processes import ALONE, Processes
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import batch_indices


def evaluate(
    trained: Trained,
    protocol: Protocol,
    *,
    processes: Processes = ALONE,
    inception: str | Path | None = None,
    cache_dir: str | Path | None = None,
    note: Callable[[str], None] = silent,
    progress: bool = False,
) -> Card:
    """Genera muestras de un modelo, las mide y lo apunta todo.

    Con la misma semilla, el mismo modelo, los mismos datos y el mismo entorno salen las mismas
    cifras. Todo lo que se puede saber antes de generar (si están los datos y los pesos, si se
    pueden medir los bits) falla antes de generar.

    Entre varios procesos se reparten las muestras, sus rasgos de Inception y los bits; las
    cuentas que quedan las hacen todos, y todos dan la misma ficha.

    Args:
        trained: el modelo.
        protocol: lo que se pide.
        processes: este proceso, con los demás, y dónde calcula (véase `processes_for`).
        inception: el fichero de pesos de Inception (véase `inception_file`).
        cache_dir: la carpeta de la caché; `None`, la del usuario.
        note: recibe, en el principal, una frase por cada cosa que haya que saber.
        progress: si el principal enseña barras de progreso.

    Returns:
        La ficha.

    Raises:
        ValueError: si los datos no sirven para medir ese modelo, o se pide el FID y no son
            imágenes.
        FileNotFoundError: si se pide el FID y no están los pesos de Inception.
        ImportError: si falta un paquete.
    """
    if not processes.main:
        note = silent
    train_set, held_out = reference_data(trained, protocol.data, note=note)
    network = None
    if protocol.fid:
        check_images(train_set.image_shape)
        if len(train_set) < 2:
            raise ValueError(
                "El FID se mide frente a dos datos o más, y solo hay uno."
            )
        network = load_inception(inception, processes.device)
    classifier = feature_network(
        train_set, steps=protocol.feature_steps, cache_dir=cache_dir, note=note
    )
    for sentence in left_out(train_set, held_out, classifier):
        note(sentence)

    def seen_by_inception(data: Dataset | None) -> Reference | None:
        if network is None or data is None or len(data) < 2:
            return None
        return reference_features(
            network,
            data,
            processes=processes,
            cache_dir=cache_dir,
            note=note,
            progress=progress,
        )

    real, unseen = map(seen_by_inception, (train_set, held_out))
    results, seconds, rows_seen = [], 0.0, 0
    for seed in range(protocol.seed, protocol.seed + protocol.seeds):
        result: dict[str, Any] = {}
        if protocol.bits is not None:
            result["bits"] = _bits(
                trained,
                protocol,
                held_out or train_set,
                seed,
                processes,
                progress,
            )
        rows = torch.tensor(
            batch_indices(len(train_set), protocol.samples, seed, 0)
        )
        condition = _asked(trained, train_set, rows)
        started = time.perf_counter()
        with _counting(trained.model) as seen:
            samples = trained.sample(
                protocol.samples,
                seed=seed,
                processes=processes,
                batch_size=protocol.batch_size,
                progress=progress,
                **condition,
                **_changes(trained, protocol),
            )
        seconds += time.perf_counter() - started
        rows_seen += sum(seen)
        labels = (
            train_set.labels[rows]
            if condition and train_set.labels is not None
            else None
        )
        result |= evaluate_samples(
            samples,
            train_set,
            held_out,
            labels=labels,
            classifier=classifier,
            seed=seed,
        )
        if network is not None and real is not None:
            mine = processes.rows(len(samples))
            part = inception_features(
                network,
                samples[mine.start : mine.stop],
                progress=progress and processes.main,
            )
            made = processes.joined(part, len(samples))
            result["inception"] = inception_measures(
                made, real, unseen, labels=labels, seed=seed
            )
        results.append(result)
    calls = int(processes.sum(torch.tensor(rows_seen)))
    return Card(
        protocol=protocol,
        model=_model(trained),
        reference=_reference(trained, protocol, train_set, held_out),
        extractors=_extractors(classifier, network),
        environment=_environment(processes, network),
        calls=calls / (protocol.samples * protocol.seeds),
        seconds=round(seconds, 1),
        results=tuple(results),
        spread=spread(results) if len(results) > 1 else {},
    )


def model_fingerprint(trained: Trained) -> str:
    """Huella de lo que un modelo hace: sus pesos, su red y su proceso, sea cual sea su fichero.

    Returns:
        16 cifras hexadecimales.
    """
    recipe = trained.recipe.to_dict()
    known = {name: recipe[name] for name in ("model", "diffusion")}
    digest = hashlib.sha256(
        json.dumps([known, trained.shape], sort_keys=True).encode()
    )
    add_weights(digest, trained.model)
    return digest.hexdigest()[:16]


def _bits(
    trained: Trained,
    protocol: Protocol,
    data: Dataset,
    seed: int,
    processes: Processes,
    progress: bool,
) -> dict[str, float | None]:
    count = min(protocol.bits or 0, len(data))
    return likelihood(
        trained,
        data.subset(batch_indices(len(data), count, seed, 0)),
        seed=seed,
        batch_size=protocol.batch_size,
        processes=processes,
        progress=progress,
    )


def _asked(trained: Trained, data: Dataset, rows: Tensor) -> dict[str, Any]:
    """Las condiciones de datos reales al azar: cada una, tanto como aparece en ellos."""
    condition: dict[str, Any] = dict(conditions_of(trained, data, rows))
    if condition.pop("tokens", None) is not None:
        condition["text"] = [data.captions[row] for row in rows.tolist()]
    return condition


def _changes(trained: Trained, protocol: Protocol) -> dict[str, Any]:
    """Lo que se pide al generar que no es lo que el modelo lleva."""
    own = trained.recipe.sampling
    return {
        name: value
        for name, value in asdict(protocol.sampling).items()
        if value != getattr(own, name)
    }


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[int]]:
    """Apunta cuántas filas recibe una red cada vez que se la llama, mientras dura."""
    seen: list[int] = []

    def count(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.append(len(arguments[0]))

    handle = model.register_forward_pre_hook(count)
    try:
        yield seen
    finally:
        handle.remove()


def _model(trained: Trained) -> dict[str, Any]:
    recipe, provenance = trained.recipe, trained.provenance
    return {
        "name": recipe.name,
        "fingerprint": model_fingerprint(trained),
        "parameters": sum(each.numel() for each in trained.model.parameters()),
        "training_seed": recipe.seed,
        "training_steps": provenance.get("steps"),
        "global_batch": recipe.training.batch_size,
        "training_processes": provenance.get("processes", 1),
        "ema_decay": recipe.training.ema_decay,
        "training_device": provenance.get("device"),
        "training_torch": provenance.get("torch"),
    }


def _reference(
    trained: Trained,
    protocol: Protocol,
    data: Dataset,
    held_out: Dataset | None,
) -> dict[str, Any]:
    return {
        "name": protocol.data or trained.recipe.data.name,
        "trained_on": protocol.data is None,
        "fingerprint": data.fingerprint(),
        "count": len(data),
        "shape": list(data.image_shape),
        "held_out_fingerprint": held_out and held_out.fingerprint(),
        "held_out_count": len(held_out) if held_out else 0,
    }


def _extractors(
    classifier: SmallClassifier | None, network: Inception | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if classifier is not None:
        digest = hashlib.sha256()
        add_weights(digest, classifier)
        found["small"] = {
            "name": "SmallClassifier",
            "fingerprint": digest.hexdigest()[:16],
        }
    if network is not None:
        found["inception"] = {
            "name": f"torch-fidelity, InceptionV3, {LAYER}",
            "fingerprint": network.fingerprint,
            "published": network.published,
            "preprocessing": PREPROCESSING,
        }
    return found


def _environment(
    processes: Processes, network: Inception | None
) -> dict[str, Any]:
    from ddpm_lit import __version__

    device = processes.device
    cuda = device.type == "cuda"
    found = {
        "device": str(device),
        "hardware": torch.cuda.get_device_name(device)
        if cuda
        else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "ddpm_lit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
    if network is not None:
        found["torch_fidelity"] = _fidelity_version()
    return found


def _fidelity_version() -> str:
    from importlib.metadata import version

    return version("torch-fidelity")
