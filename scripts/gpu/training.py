"""Entrena unas recetas lo que den los minutos y deja sus pesos, su ficha y unas muestras."""

import json
import os
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks.quality import NEVER, steps_within
from benchmarks.records import machine

from ddpm_lit.data import Dataset
from ddpm_lit.files.images import save_png
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.models.storage import save_trained
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.pictures import sample_grid
from ddpm_lit.runs.train import Every, train

RECIPES = ("digits-class", "fashion-mnist", "openmoji-64")
LARGEST_FILE = 16_000_000


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """La misma receta con otros pasos; el calentamiento cabe en ellos."""
    warmup = min(recipe.training.warmup_steps, steps - 1)
    return replace(recipe, training=replace(recipe.training, steps=steps, warmup_steps=warmup))


def train_for(
    name: str, seconds: float, device: str, out: Path, *, profile: str = "gpu"
) -> dict[str, Any]:
    """Entrena una receta del paquete el tiempo que haya y guarda el modelo.

    Args:
        name: la receta.
        seconds: el tiempo que hay; una décima parte se va en medir la velocidad.
        device: el dispositivo.
        out: la carpeta donde quedan `NOMBRE.safetensors` y `NOMBRE.png`.
        profile: el perfil de la receta.

    Returns:
        Los pasos, los segundos, la última pérdida y lo que ocupan los pesos.

    Raises:
        ValueError: si los pesos pasan de 16 MB.
    """
    folder = os.environ.get("FASHION_MNIST")
    own = {"data.options.path": folder} if folder and name == "fashion-mnist" else {}
    recipe = load_recipe(name, profile=profile, overrides=own)
    data: Dataset = training_data(recipe)
    steps = steps_within(with_steps(recipe, NEVER), data, seconds, device)
    with TemporaryDirectory() as folder:
        trained = train(
            with_steps(recipe, steps),
            folder,
            dataset=data,
            device=device,
            every=Every(log=max(1, steps // 50), checkpoint=NEVER),
            progress=False,
        )
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    weights = out / f"{name}.safetensors"
    save_trained(weights, trained, dtype=torch.float16)
    save_png(
        sample_grid(trained, device=torch.device(device), conditions=data.conditions),
        out / f"{name}.png",
    )
    size = weights.stat().st_size
    if size > LARGEST_FILE:
        weights.unlink()
        raise ValueError(f"Los pesos de «{name}» ocupan {size} bytes, más de {LARGEST_FILE}.")
    return {
        "steps": steps,
        "seconds": trained.provenance["seconds"],
        "bytes": size,
        **{k: v for k, v in json.loads(lines[-1]).items() if k in ("loss", "images_per_second")},
    }


def main(
    out: Path, seconds: float, device: str, *, dry: bool = False, names: Sequence[str] = ()
) -> int:
    """Entrena las recetas, a partes iguales; una que falla no detiene a las demás.

    En el ensayo, si no se nombra ninguna, solo la primera.
    """
    names = names or (RECIPES[:1] if dry else RECIPES)
    profile, share = ("smoke", 0.5) if dry else ("gpu", seconds / len(names))
    done: dict[str, Any] = {"machine": machine()}
    failed = 0
    for name in names:
        try:
            done[name] = train_for(name, share, device, out, profile=profile)
        except Exception:
            failed += 1
            done[name] = {"error": traceback.format_exc(limit=4)}
        print(f"{name}: {done[name]}", flush=True)
        text = json.dumps(done, ensure_ascii=False, indent=1)
        write_atomically(out / "training.json", f"{text}\n".encode())
    return 1 if failed else 0
