"""Las tareas de la construcción, para `doit`: qué depende de qué.

Una tarea se repite solo si cambia su código (la huella de `provenance.code_hash`, que no
mira docstrings ni comentarios), su receta o alguno de los ficheros que lee.

Se hacen tantas a la vez como núcleos hay, y cada una con un solo hilo. Así ninguna espera a los
hilos de otra, un programa ajeno solo quita el tiempo que usa, y el resultado no depende de
cuántos núcleos haya.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Se lee al cargar torch y NumPy.

from doit.tools import config_changed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.build import (  # noqa: E402
    emoji_samples,
    evaluation,
    expected,
    figures,
    garment_samples,
    laboratory,
    latent_samples,
    models,
    samples,
)
from scripts.build.progress import Progress  # noqa: E402
from scripts.build.provenance import card_path, code_hash, recipe_digest, write_manifest  # noqa: E402
from scripts.site.project import build_dir, profile  # noqa: E402

build_dir().mkdir(parents=True, exist_ok=True)
DOIT_CONFIG = {
    "default_tasks": ["train", "sample", "evaluate", "export", "draw", "manifest"],
    "dep_file": str(build_dir() / "doit.db"),
    "backend": "json",
    "verbosity": 0,
    "reporter": Progress,
    "num_process": expected.workers(),
}

Task = dict[str, Any]

SHIPPED = (emoji_samples, garment_samples, latent_samples)
"""Los módulos que generan con los modelos que vienen en el paquete."""


def _task(
    task: str,
    title: str,
    cards: Sequence[str],
    targets: Sequence[Path],
    sources: Sequence[Path],
    *,
    meta: dict[str, Any] | None = None,
    **depends: Any,
) -> Task:
    """Una tarea: deja las fichas de `cards` y los ficheros `targets`, y lee los de `sources`."""
    return {
        "name": task.partition(":")[2] or None,
        "targets": [str(path) for path in (*targets, *map(card_path, cards))],
        "file_dep": [str(path) for path in sources],
        "uptodate": [config_changed({"profile": profile(), **depends})],
        "clean": True,
        "meta": {"title": title, "seconds": expected.seconds(task, cards), **(meta or {})},
    }


def _longest_first(tasks: list[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: -task["meta"]["seconds"])


def task_train() -> Iterator[Task]:
    """Entrena los modelos del sitio."""
    tasks = []
    for name in models.MODELS:
        path = models.model_path(name)
        tasks.append(
            _task(
                f"train:{name}",
                f"entrenar {name}",
                [name],
                [path, path.with_suffix(".jsonl")],
                [],
                meta={
                    "steps": models.recipe(name).training.steps,
                    "log": str(models.training_log(name)),
                },
                code=code_hash("ddpm_lit.runs.train"),
                recipe=recipe_digest(name),
            )
            | {"actions": [(models.train_model, [name])]}
        )
    tasks.append(
        _task(
            "train:classifier",
            "entrenar el clasificador",
            ["classifier"],
            [models.classifier_path()],
            [],
            code=code_hash("ddpm_lit.evaluation.metrics", "ddpm_lit.data"),
            steps=models.CLASSIFIER_STEPS[profile()],
            data=asdict(models.recipe("digits").data),
        )
        | {"actions": [models.train_digit_classifier]}
    )
    yield from _longest_first(tasks)


def task_sample() -> Iterator[Task]:
    """Genera las muestras de los modelos que las enseñan."""
    tasks = [
        _task(
            f"sample:{name}",
            f"generar {name}",
            [f"samples-{name}"],
            [samples.samples_path(name)],
            [models.model_path(name)],
            code=code_hash("scripts.build.samples"),
        )
        | {"actions": [(samples.generate, [name])]}
        for name in samples.COUNTS
    ]
    tasks += [
        _task(
            f"sample:{module.NAME}",
            f"generar {module.NAME}",
            [f"samples-{module.NAME}"],
            [samples.samples_path(module.NAME)],
            module.SOURCES,
            code=code_hash(module.__name__),
        )
        | {"actions": [module.generate]}
        for module in SHIPPED
    ]
    yield from _longest_first(tasks)


def task_evaluate() -> Task:
    """Mide las muestras de dígitos y el primer paso de los puntos."""
    task = _task(
        "evaluate",
        "medir los dígitos",
        ["evaluation"],
        [],
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
    tasks = [
        _task(
            f"draw:{name}",
            f"dibujar {name}",
            figures.names(name),
            [],
            figures.inputs(name),
            code=code_hash(f"scripts.figures.{name}", "scripts.figures.style"),
        )
        | {"actions": [(figures.draw, [name])]}
        for name in figures.CHAPTERS
    ]
    yield from _longest_first(tasks)


def task_export() -> Task:
    """Exporta las redes del laboratorio para el navegador."""
    task = _task(
        "export",
        "exportar las redes del laboratorio",
        [laboratory.NAME],
        [],
        laboratory.sources(),
        code=code_hash("scripts.build.laboratory"),
    ) | {"actions": [laboratory.export]}
    del task["name"]
    return task


def artefacts() -> list[str]:
    """Los nombres de todos los artefactos del sitio."""
    drawn = [artefact for name in figures.CHAPTERS for artefact in figures.names(name)]
    shipped = [module.NAME for module in SHIPPED]
    sampled = [f"samples-{name}" for name in (*samples.COUNTS, *shipped)]
    return [*models.MODELS, "classifier", *sampled, "evaluation", laboratory.NAME, *drawn]


def task_manifest() -> Task:
    """Reúne las fichas de todos los artefactos."""
    names = artefacts()
    return {
        "actions": [(write_manifest, [names])],
        "file_dep": [str(card_path(name)) for name in names],
        "targets": [str(build_dir() / "manifest.json")],
    }
