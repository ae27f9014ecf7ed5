"""Mete modelos en el paquete: sus pesos, en float16, y su ficha.

    python -m scripts.build.ship runs/openmoji-texto openmoji-texto --metrics otras.json
    python -m scripts.build.ship --train digits-ink digits-sr

La primera orden mete un modelo ya entrenado. La segunda entrena antes cada receta, y si se corta
sigue donde estaba: es lo que hace `make models`. La ficha lleva las medidas de
`scripts.build.shipped`, que los tests repiten, y las del JSON que se dé, p. ej. las que ha hecho
una persona.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ddpm_lit.cli.options import find_weights
from ddpm_lit.data import load_dataset
from ddpm_lit.evaluation.card import FORMAT, mean_result, read_card
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.models.storage import load_model, save_trained
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.runs.train import train
from scripts.build.shipped import measure
from scripts.site.project import PACKAGE, ROOT, UNKNOWN, build_dir, commit, profile

LICENSES = dict.fromkeys(("openmoji", "openmoji-compuesto"), "CC BY-SA 4.0")
OWN_LICENSE = "MIT"


def make_card(name: str, trained: Trained, metrics: dict[str, Any], commit: str) -> dict[str, Any]:
    """La ficha de un modelo (véase `ddpm_lit.models.pretrained.CARD_FIELDS`).

    Los pesos llevan la licencia de los datos, si obliga a compartir igual, o la del paquete.
    """
    recipe, provenance = trained.recipe, trained.provenance
    segments = list(_segments(provenance))
    return {
        "name": name,
        "description": recipe.description,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "steps": sum(segment["steps"] for segment in segments),
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "segments": segments,
        "hardware": ", ".join(dict.fromkeys(str(segment["device"]) for segment in segments)),
        "seconds": round(sum(segment["seconds"] for segment in segments), 1),
        "data": {
            "name": recipe.data.name,
            "attribution": load_dataset(recipe.data.name, **recipe.data.options).attribution,
        },
        "license": LICENSES.get(recipe.data.name, OWN_LICENSE),
        "metrics": metrics,
        "versions": {name: provenance.get(name) for name in ("torch", "ddpm_lit")},
        "commit": commit,
    }


def _segments(provenance: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Los tramos de un entrenamiento, del primero al último."""
    if provenance.get("continues"):
        yield from _segments(provenance["continues"])
    yield {field: provenance[field] for field in ("steps", "seconds", "device", "threads")}


def ship(
    source: str,
    name: str,
    metrics: dict[str, Any],
    folder: Path | None = None,
    commit: str | None = None,
) -> list[Path]:
    """Escribe los dos ficheros de un modelo en la carpeta de pesos del paquete.

    Args:
        source: la carpeta de un entrenamiento, o un `.safetensors`.
        name: el nombre con que se cargará.
        metrics: sus medidas.
        folder: otra carpeta donde escribir.
        commit: el estado del repositorio que lo entrenó; si no se dice, el de ahora.

    Returns:
        Los dos ficheros.
    """
    trained = load_model(find_weights(source))
    content = make_card(name, trained, metrics, commit or current_commit())
    weights = (folder or PACKAGE / "weights") / f"{name}.safetensors"
    save_trained(weights, trained, dtype=torch.float16)
    written = json.dumps(content, ensure_ascii=False, indent=1)
    write_atomically(weights.with_suffix(".json"), f"{written}\n".encode())
    return [weights, weights.with_suffix(".json")]


def current_commit() -> str:
    """El estado del repositorio, que una ficha no puede dejar de decir."""
    found = commit()
    if found == UNKNOWN:
        raise RuntimeError(
            "No se sabe en qué commit está el repositorio, y la ficha lo lleva: ejecuta la orden "
            "en una copia de trabajo de git, o di con --commit el que entrenó el modelo."
        )
    return found


def measure_and_ship(
    source: str, name: str, metrics: dict[str, Any], commit: str | None = None
) -> None:
    """Mete un modelo con sus medidas y dice cuánto ocupa."""
    # Se miden los pesos que quedan en el paquete, ya redondeados a float16.
    weights, _ = ship(source, name, metrics, commit=commit)
    metrics = measure(load_model(weights)) | metrics
    for path in ship(source, name, metrics, commit=commit):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")


def train_and_ship(name: str, commit: str | None = None) -> None:
    """Entrena la receta de un modelo, o la continúa, y lo mete en el paquete."""
    folder = build_dir() / "runs" / name
    train(load_recipe(name, profile=profile()), folder, progress=sys.stderr.isatty())
    measure_and_ship(str(folder), name, {}, commit)


def main(arguments: Sequence[str] | None = None) -> None:
    """Las órdenes de arriba."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--metrics", type=Path)
    parser.add_argument("--commit", help="el estado del repositorio que lo entrenó")
    parser.add_argument("--train", nargs="+", metavar="RECETA", default=[])
    chosen = parser.parse_args(arguments)
    if bool(chosen.train) == bool(chosen.name):
        parser.error("hacen falta un entrenamiento y un nombre, o --train con unas recetas.")
    for name in chosen.train:
        train_and_ship(name, chosen.commit)
    if chosen.name:
        metrics = read_metrics(chosen.metrics) if chosen.metrics else {}
        measure_and_ship(chosen.source, chosen.name, metrics, chosen.commit)


def read_metrics(path: Path) -> dict[str, Any]:
    """Las medidas de un JSON; de la ficha de una evaluación, sus resultados."""
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if table.get("format") == FORMAT:
        return mean_result(read_card(path).results)
    return table


if __name__ == "__main__":
    main()
