"""Genera las muestras que enseña el sitio: siempre los índices 0, 1, 2… de la semilla 0."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import algorithm2, sample
from scripts.build import models
from scripts.build.provenance import recorded
from scripts.site.project import build_dir, profile

SEED = 0
COUNTS = {"swiss-roll": 2000, "digits": 100, "digits-class": 100}
KEPT_TRAJECTORIES = {"swiss-roll": 2000, "digits": 10, "digits-class": 10}
KEPT_STATES = 101
SMOKE_STEPS = 20


def samples_path(name: str) -> Path:
    """Dónde quedan las muestras de un modelo."""
    return build_dir() / "samples" / f"{name}.safetensors"


def load(name: str) -> dict[str, Tensor]:
    """Las muestras de un modelo.

    Returns:
        `x` (N, …), las muestras; `labels` (N,), si las hay; y, de las primeras, la
        trayectoria: `times` (K,), cuántos pasos quedan por dar en cada estado (de T a 0);
        `x_t` (K, M, …), los estados; y `x_start` (K, M, …), la estimación de x_0 que la
        red hace en ellos (en el último, la propia muestra).
    """
    return load_file(samples_path(name))


def generate(name: str) -> None:
    """Genera las muestras de un modelo con el Algoritmo 2, con todos sus pasos."""
    trained = models.load(name)
    count, kept = COUNTS[name], KEPT_TRAJECTORIES[name]
    condition = trained.class_condition(None, count)
    diffusion = trained.diffusion
    if profile() == "smoke":
        diffusion = diffusion.respaced(SMOKE_STEPS)
    total = len(diffusion.schedule)
    wanted = {round(i * total / (KEPT_STATES - 1)) for i in range(KEPT_STATES)}

    entries = ["scripts.build.samples"]
    parameters = {"model": name, "seed": SEED, "steps": total}
    inputs = [models.model_path(name)]
    with recorded(
        f"samples-{name}", "values", entries, inputs=inputs, parameters=parameters
    ) as card:
        noises = sampling_noise(SEED, range(kept), trained.shape)
        x_t = next(noises)
        times, states, estimates = [], [], []
        first = {key: value[:kept] for key, value in condition.items()}
        walk = algorithm2(Denoiser(trained.model, diffusion, first), x_t, noises)
        for left, state in zip(range(total, 0, -1), walk, strict=True):
            if left in wanted:
                times.append(left)
                states.append(x_t)
                estimates.append(state.x_start)
            x_t = state.x_t
        tensors = {
            "x_t": torch.stack([*states, x_t]),
            "x_start": torch.stack([*estimates, x_t]),
            "times": torch.tensor([*times, 0]),
        }
        rest = {key: value[kept:] for key, value in condition.items()}
        others = sample(
            trained.model,
            diffusion,
            trained.shape,
            indices=range(kept, count),
            seed=SEED,
            condition=rest,
        )
        tensors["x"] = torch.cat([x_t, others])
        if "class_labels" in condition:
            tensors["labels"] = condition["class_labels"]
        samples_path(name).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, samples_path(name))
        card["files"] = [f"samples/{name}.safetensors"]
        card["values"] = {"count": count, "steps": total, "seed": SEED}
