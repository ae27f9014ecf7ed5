"""Entrenar el autoencoder de una difusión latente, o retomarlo donde se quedó."""

import math
import time
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lit.data import Dataset, describe
from ddpm_lit.data.loading import load_batches
from ddpm_lit.files.weights import read_weights, write_weights
from ddpm_lit.latent import (
    KL_WEIGHT,
    Autoencoder,
    AutoencoderConfig,
    set_scale,
    train_autoencoder,
)
from ddpm_lit.machine.memory import keep_freed_memory, memory_layout
from ddpm_lit.networks.ema import EMA
from ddpm_lit.noise import TrainingDraws, batches_of_indices
from ddpm_lit.runs.checkpoint import (
    CHECKPOINT,
    State,
    restore_state,
    state_tensors,
)
from ddpm_lit.training import gradient_step

WARMUP, DECAY, CLIP = 50, 0.995, 1.0


def fit_autoencoder(
    config: AutoencoderConfig,
    data: Dataset,
    run_dir: str | Path,
    *,
    steps: int,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    kl_weight: float = KL_WEIGHT,
    seed: int = 0,
    checkpoint_every: int = 100,
    progress: bool = True,
) -> tuple[Autoencoder, dict[str, Any]]:
    """Entrena un autoencoder de principio a fin, o lo continúa donde se quedó.

    Si en `run_dir` hay un checkpoint, se reanuda desde él: el resultado es, bit a bit, el de un
    entrenamiento que no se hubiera parado. Se entrena en la CPU, con AdamW y una tasa que sube
    durante `WARMUP` pasos y después baja hasta 0 en media onda de coseno.

    Args:
        config: el autoencoder.
        data: imágenes en [-1, 1].
        run_dir: la carpeta del entrenamiento.
        steps: cuántos pasos.
        batch_size: B.
        learning_rate: la tasa más alta.
        kl_weight: lo que pesa la KL (véase `latent.autoencoder_loss`).
        seed: la semilla de los pesos, del orden de los datos y del ruido.
        checkpoint_every: cada cuántos pasos se guarda un checkpoint.
        progress: si se enseña una barra de progreso.

    Returns:
        La media móvil del autoencoder, con la escala de sus latentes ya medida, y de dónde sale.
    """
    keep_freed_memory()
    layout = memory_layout(data.image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder(config).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.0, fused=True
    )
    state = State(model, EMA(model, DECAY), optimizer)
    path = Path(run_dir) / CHECKPOINT
    done, seconds = _resume(path, state)
    chosen = islice(
        batches_of_indices(len(data), batch_size, seed, done), steps - done
    )
    batches = (
        {"x": batch["x"].contiguous(memory_format=layout)}
        for batch in load_batches(data, chosen, torch.device("cpu"))
    )
    _set_rate(state, done, steps, learning_rate)
    loop = train_autoencoder(
        model,
        batches,
        TrainingDraws(seed, step=done),
        gradient_step(optimizer, clip=CLIP),
        kl_weight,
    )
    started = time.perf_counter() - seconds
    losses: list[torch.Tensor] = []
    with tqdm(
        total=steps, initial=done, unit="paso", disable=not progress
    ) as bar:
        for each in loop:
            done += 1
            state.ema.update(model)
            losses.append(each.loss)
            _set_rate(state, done, steps, learning_rate)
            bar.update()
            if done % checkpoint_every == 0 or done == steps:
                seconds = time.perf_counter() - started
                loss = float(torch.stack(losses).mean())
                losses.clear()
                bar.set_postfix_str(f"pérdida {loss:.4f}")
                write_weights(
                    path,
                    state_tensors(state),
                    {
                        "kind": "autoencoder-checkpoint",
                        "step": done,
                        "ema_updates": state.ema.updates,
                        "seconds": round(seconds, 1),
                        "loss": loss,
                    },
                )
    trained: Any = state.ema.model
    rows = torch.split(torch.arange(len(data)), 64)
    set_scale(trained, (data.batch(each)["x"] for each in rows))
    return trained, _provenance(data, done, seconds, seed)


def _resume(path: Path, state: State) -> tuple[int, float]:
    """Deja todo como lo dice el checkpoint, si lo hay; los pasos y los segundos que llevaba."""
    if not path.is_file():
        return 0, 0.0
    header, tensors = read_weights(path)
    state.ema.updates = header["ema_updates"]
    restore_state(state, tensors, path)
    return header["step"], header["seconds"]


def _set_rate(state: State, step: int, steps: int, highest: float) -> None:
    """La tasa de aprendizaje del paso `step`, desde 0."""
    rise = min(1.0, (step + 1) / WARMUP)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    for group in state.optimizer.param_groups:
        group["lr"] = highest * rise * fall


def _provenance(
    data: Dataset, steps: int, seconds: float, seed: int
) -> dict[str, Any]:
    from ddpm_lit import __version__

    return {
        "steps": steps,
        "seconds": round(seconds, 1),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "seed": seed,
        "torch": torch.__version__,
        "ddpm_lit": __version__,
        "data": asdict(describe(data)),
    }
