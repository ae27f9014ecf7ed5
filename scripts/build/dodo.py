"""Las tareas de la construcción, para `doit`: qué depende de qué.

Una tarea se repite solo si cambia su código (la huella de `provenance.code_hash`, que no
mira docstrings ni comentarios), su receta o alguno de los ficheros que lee.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from doit.tools import config_changed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.build import emoji_samples, evaluation, figures, models, samples  # noqa: E402
from scripts.build.provenance import card_path, code_hash, recipe_digest, write_manifest  # noqa: E402
from scripts.site.project import build_dir, profile  # noqa: E402

build_dir().mkdir(parents=True, exist_ok=True)
DOIT_CONFIG = {
    "default_tasks": ["manifest"],
    "dep_file": str(build_dir() / "doit.db"),
    "backend": "json",
    "verbosity": 2,
}
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

Task = dict[str, Any]


def _task(name: str, targets: list[Path], sources: list[Path], **depends: Any) -> Task:
    return {
        "name": name,
        "targets": [str(path) for path in targets],
        "file_dep": [str(path) for path in sources],
        "uptodate": [config_changed({"profile": profile(), **depends})],
        "clean": True,
    }


def task_train() -> Iterator[Task]:
    """Entrena los modelos del sitio."""
    for name in models.MODELS:
        path = models.model_path(name)
        yield _task(
            name,
            [path, path.with_suffix(".jsonl"), card_path(name)],
            [],
            code=code_hash("ddpm_lit.runs.train"),
            recipe=recipe_digest(name),
        ) | {"actions": [(models.train_model, [name])]}
    yield _task(
        "classifier",
        [models.classifier_path(), card_path("classifier")],
        [],
        code=code_hash("ddpm_lit.evaluation.metrics", "ddpm_lit.data"),
        steps=models.CLASSIFIER_STEPS[profile()],
        data=asdict(models.recipe("digits").data),
    ) | {"actions": [models.train_digit_classifier]}


def task_sample() -> Iterator[Task]:
    """Genera las muestras de los modelos que las enseñan."""
    for name in samples.COUNTS:
        yield _task(
            name,
            [samples.samples_path(name), card_path(f"samples-{name}")],
            [models.model_path(name)],
            code=code_hash("scripts.build.samples"),
        ) | {"actions": [(samples.generate, [name])]}
    yield _task(
        emoji_samples.NAME,
        [samples.samples_path(emoji_samples.NAME), card_path(f"samples-{emoji_samples.NAME}")],
        emoji_samples.SOURCES,
        code=code_hash("scripts.build.emoji_samples"),
    ) | {"actions": [emoji_samples.generate]}


def task_evaluate() -> Task:
    """Mide las muestras de dígitos y el primer paso de los puntos."""
    task = _task(
        "evaluation",
        [card_path("evaluation")],
        [
            models.model_path("swiss-roll"),
            models.classifier_path(),
            samples.samples_path("digits"),
            samples.samples_path("digits-class"),
        ],
        code=code_hash("scripts.build.evaluation"),
    ) | {"actions": [evaluation.evaluate]}
    del task["name"]
    return task


def task_draw() -> Iterator[Task]:
    """Dibuja las figuras de cada capítulo."""
    for name in figures.CHAPTERS:
        yield _task(
            name,
            [card_path(artefact) for artefact in figures.names(name)],
            figures.inputs(name),
            code=code_hash(f"scripts.figures.{name}", "scripts.figures.style"),
        ) | {"actions": [(figures.draw, [name])]}


def artefacts() -> list[str]:
    """Los nombres de todos los artefactos del sitio."""
    drawn = [artefact for name in figures.CHAPTERS for artefact in figures.names(name)]
    sampled = [f"samples-{name}" for name in (*samples.COUNTS, emoji_samples.NAME)]
    return [*models.MODELS, "classifier", *sampled, "evaluation", *drawn]


def task_manifest() -> Task:
    """Reúne las fichas de todos los artefactos."""
    names = artefacts()
    return {
        "actions": [(write_manifest, [names])],
        "file_dep": [str(card_path(name)) for name in names],
        "targets": [str(build_dir() / "manifest.json")],
    }
