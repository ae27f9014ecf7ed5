"""Entrena unas recetas a la vez, cada una en su proceso, y deja sus pesos, su curva y sus muestras.

Las que se entrenan para quedarse dan los pasos que caben en el tiempo; las que se comparan con la
CPU, con bfloat16 y sin él, dan siempre los mismos. Una red pequeña no llena una GPU: a la vez se
estorban poco.

    python -m scripts.gpu.training NOMBRE --out salida --seconds 100 --device cuda
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from benchmarks.quality import NEVER, step_times
from benchmarks.records import machine

from ddpm_lit.data import Dataset
from ddpm_lit.files.images import save_png
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.models.storage import load_model, save_trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import CHECKPOINT
from ddpm_lit.runs.pictures import sample_grid
from ddpm_lit.runs.train import Every, train
from ddpm_lit.training import TrainStep
from scripts.site.project import ROOT

LARGEST_FILE = 16_000_000
MARGIN = 0.85
"""Qué parte del tiempo se reparte en pasos: lo demás es arrancar, compilar, dibujar y guardar."""


class Run(NamedTuple):
    """Un entrenamiento: una receta, con otros valores si se quiere.

    `steps` son los pasos; `None`, los que quepan en el tiempo.
    """

    recipe: str
    steps: int | None = None
    amp: bool = True


RUNS = {
    "openmoji-64": Run("openmoji-64"),
    "fashion-mnist": Run("fashion-mnist"),
    "digits-class": Run("digits-class", 2000),
    "digits-class-float32": Run("digits-class", 2000, amp=False),
    "openmoji-texto": Run("openmoji-texto", 400),
    "openmoji-texto-float32": Run("openmoji-texto", 400, amp=False),
}
REHEARSED = ("digits-class",)


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """La misma receta con otros pasos; el calentamiento cabe en ellos."""
    warmup = min(recipe.training.warmup_steps, steps - 1)
    return replace(recipe, training=replace(recipe.training, steps=steps, warmup_steps=warmup))


def steps_within(recipe: Recipe, data: Dataset, seconds: float, device: str) -> int:
    """Cuántos pasos de una receta caben en un tiempo, midiendo los primeros; al menos 2."""

    def begin(watch: Callable[..., None]) -> None:
        with TemporaryDirectory() as folder:
            train(
                recipe,
                folder,
                dataset=data,
                device=device,
                every=Every(log=NEVER, checkpoint=NEVER),
                progress=False,
                consumers=[watch],
            )

    return max(2, int(seconds / mean(step_times(begin, min(20.0, seconds / 10)))))


def train_for(
    name: str, seconds: float, device: str, out: Path, *, profile: str = "gpu"
) -> dict[str, Any]:
    """Entrena uno de `RUNS` y guarda el modelo.

    Si el tiempo se acaba antes que los pasos, se queda con lo que hay.

    Args:
        name: cuál.
        seconds: el tiempo que hay para entrenar; antes, como mucho una décima parte más se va en
            medir la velocidad.
        device: el dispositivo.
        out: la carpeta donde quedan `NOMBRE.safetensors`, `NOMBRE.png` y `NOMBRE.jsonl`.
        profile: el perfil de la receta.

    Returns:
        Los pasos, los segundos, la última pérdida y lo que ocupan los pesos.

    Raises:
        ValueError: si los pesos pasan de 16 MB.
    """
    chosen = RUNS[name]
    folder = os.environ.get("FASHION_MNIST")
    own = {"data.options.path": folder} if folder and chosen.recipe == "fashion-mnist" else {}
    changes: dict[str, Any] = {"training.amp": chosen.amp, **own}
    recipe = load_recipe(chosen.recipe, profile=profile, overrides=changes)
    data = training_data(recipe)
    steps = chosen.steps if profile == "gpu" else None
    if steps is None:
        steps = steps_within(with_steps(recipe, NEVER), data, MARGIN * seconds, device)

    deadline = time.perf_counter() + seconds

    def stop_in_time(done: int, state: TrainStep, ema: EMA) -> None:
        if time.perf_counter() > deadline:
            signal.raise_signal(signal.SIGINT)

    with TemporaryDirectory() as run_dir:
        try:
            trained = train(
                with_steps(recipe, steps),
                run_dir,
                dataset=data,
                device=device,
                every=Every(log=max(1, steps // 100), checkpoint=NEVER),
                progress=False,
                consumers=[stop_in_time],
            )
        except KeyboardInterrupt:
            trained = load_model(Path(run_dir) / CHECKPOINT, device)
        curve = (Path(run_dir) / "metrics.jsonl").read_text(encoding="utf-8")
    write_atomically(out / f"{name}.jsonl", curve.encode())
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
    last = json.loads(curve.splitlines()[-1])
    return {
        "steps": trained.provenance["steps"],
        "planned": steps,
        "seconds": trained.provenance["seconds"],
        "bytes": size,
        **{k: v for k, v in last.items() if k in ("loss", "images_per_second")},
    }


def main(
    out: Path, seconds: float, device: str, *, dry: bool = False, names: Sequence[str] = ()
) -> int:
    """Entrena a la vez los que se digan, o todos; uno que falla no detiene a los demás.

    En el ensayo, si no se nombra ninguno, solo el primero de `REHEARSED`.
    """
    names = names or (REHEARSED if dry else tuple(RUNS))
    seconds = 4.0 if dry else seconds
    running = {}
    for name in names:
        command = [sys.executable, "-m", "scripts.gpu.training", name, "--out", str(out)]
        command += ["--seconds", str(seconds), "--device", device, *(["--dry"] if dry else [])]
        running[name] = subprocess.Popen(command, cwd=ROOT)
    failed = sum(each.wait() != 0 for each in running.values())
    done: dict[str, Any] = {"machine": machine()}
    for name in names:
        part = out / f"{name}.json"
        if part.is_file():
            done[name] = json.loads(part.read_text(encoding="utf-8"))
    _write(out / "training.json", done)
    return 1 if failed else 0


def command() -> int:
    """Un entrenamiento, en este proceso."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    profile = "smoke" if given.dry else "gpu"
    try:
        done = train_for(given.name, given.seconds, given.device, given.out, profile=profile)
    except Exception:
        done = {"error": traceback.format_exc(limit=4)}
    print(f"{given.name}: {done}", flush=True)
    _write(given.out / f"{given.name}.json", done)
    return 1 if "error" in done else 0


def _write(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, ensure_ascii=False, indent=1)
    write_atomically(path, f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(command())
