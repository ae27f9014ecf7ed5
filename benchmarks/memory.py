"""Cuánta memoria ocupa entrenar con una carpeta de cien mil imágenes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.jobs import Job
from benchmarks.ours import folder_options
from benchmarks.race import race
from benchmarks.records import BUILD
from ddpm_lit.data.folder import load_folder

IMAGES, SIDE = 100_000, 64
PER_FOLDER = 1000
ROUNDS = 6
NETWORKS = {"folder-recipe": 16, "folder-wide": 32, "folder-whole": 16}
"""Las redes que entrenan, cada una con su lote."""

WAYS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "-returned": {"returned": True},
    "-checkpoints": {"switches": {"checkpoint_gradients": True}},
}
"""Cómo se entrena: como viene, devolviendo la memoria que se suelta o sin guardar activaciones."""


def write_images(folder: Path, count: int = IMAGES) -> None:
    """Llena una carpeta de imágenes de ruido, (64, 64, 3), en subcarpetas de mil."""
    random = np.random.default_rng(0)
    for number in range(count):
        inside = folder / f"{number // PER_FOLDER:03d}"
        inside.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(inside / f"{number:06d}.png", compress_level=1)


def runners(folder: str) -> Iterator[tuple[str, Job]]:
    """Quiénes corren: nadie, quien solo abre la carpeta y quienes entrenan con ella."""
    nobody = Job("ddpm_lit", "open", "folder-recipe")
    yield "libraries", nobody
    yield "folder", replace(nobody, folder=folder)
    for network, batch in NETWORKS.items():
        job = Job("ddpm_lit", "train", network, batch, folder=folder)
        for way, options in WAYS.items():
            yield f"{network}{way}", replace(job, **options)


def measured(*, dry: bool) -> dict[str, Any]:
    """Lo más que ocupa cada proceso, de uno en uno, con la carpeta ya preparada.

    Args:
        dry: un ensayo: una carpeta de cien imágenes y dos pasos de una red diminuta.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=BUILD) as parent:
        folder, count = Path(parent) / "imágenes", 100 if dry else IMAGES
        write_images(folder, count)
        jobs = dict(runners(str(folder)))
        if dry:
            tiny: dict[str, Any] = {"network": "tiny", "side": SIDE, "batch": 4}
            jobs = {name: replace(job, **tiny) for name, job in islice(jobs.items(), 2 + len(WAYS))}
        load_folder(**folder_options(jobs["folder"]))
        found = race(jobs, 2 if dry else ROUNDS, together=False)
    for record in found.values():
        # De la carpeta se recuerda lo que era: dónde estaba no le importa a nadie.
        record["job"]["folder"] = record["job"]["folder"] and f"{count} imágenes"
    return found
