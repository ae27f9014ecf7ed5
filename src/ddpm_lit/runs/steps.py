"""Los pasos de un entrenamiento: el Algoritmo 1 con las piezas que pide una receta."""

import copy
import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from ddpm_lit.conditioning import null_condition
from ddpm_lit.data import Dataset
from ddpm_lit.data.loading import flipped, load_batches
from ddpm_lit.machine.devices import (
    BFLOAT16,
    FLOAT32,
    bfloat16_pays,
    in_bfloat16,
)
from ddpm_lit.machine.memory import memory_layout
from ddpm_lit.machine.processes import Processes
from ddpm_lit.noise import TrainingDraws, batches_of_indices, flip_draws
from ddpm_lit.recipes.recipe import Recipe, TrainingConfig
from ddpm_lit.runs.checkpoint import State
from ddpm_lit.training import (
    Batch,
    ConditionDropout,
    TrainStep,
    algorithm1,
    gradient_step,
    in_parts,
    joined,
    part_shares,
    seeded,
    split_batch,
)


def training_steps(
    recipe: Recipe,
    data: Dataset,
    state: State,
    processes: Processes,
    first_step: int,
    *,
    rough: bool,
) -> Iterator[TrainStep]:
    """El Algoritmo 1 con las piezas que pide la receta, desde el paso en que se está.

    Cada proceso hace sus ejemplos del lote global, con el ruido que les toca por su índice en él.

    Args:
        recipe: la receta.
        data: los datos de entrenamiento.
        state: lo que cambia mientras se entrena.
        processes: los procesos que entrenan juntos.
        first_step: cuántos pasos se han dado ya.
        rough: si la red calcula en bfloat16.

    Yields:
        Un `TrainStep` por lote, el mismo en todos los procesos.
    """
    training, seed = recipe.training, recipe.seed
    rows, parts = processes.rows(training.batch_size), training.accumulate
    draw = TrainingDraws(seed, step=first_step, rows=rows)
    objective = recipe.make_loss(data.levels)
    if state.importance is not None:
        draw.probabilities = state.importance.probabilities
        objective = state.importance.objective(objective)
    batches: Iterator[Batch] = _batches(
        recipe, data, state, processes.device, first_step, rows
    )
    if training.condition_dropout > 0:
        classes = recipe.model.options.get("num_classes")
        null = partial(null_condition, num_classes=classes)
        dropout = ConditionDropout(
            training.condition_dropout,
            null,
            seed=seed,
            step=first_step,
            rows=rows,
        )
        batches = map(dropout, batches)
    # Los gradientes de los procesos se promedian: lo que es una suma se multiplica por cuántos son.
    whole = processes.count * len(rows) / training.batch_size
    shares = [whole * share for share in part_shares(len(rows), parts)]
    if training.compile:
        state.model.compile()
    model = in_bfloat16(processes.parallel(state.model, parts), rough)
    steps = algorithm1(
        seeded(
            model, seed=seed, step=first_step * parts, process=processes.index
        ),
        recipe.make_diffusion(),
        in_parts(batches, parts),
        draw,
        gradient_step(state.optimizer, clip=training.grad_clip, shares=shares),
        objective,
    )
    for step in joined(steps, shares):
        yield TrainStep(processes.mean(step.loss), step.grad_norm)


def learning_rate(step: int, config: TrainingConfig) -> float:
    """La tasa de aprendizaje del paso `step` (desde 0): calentamiento y decaimiento.

    Sube en línea recta durante `warmup_steps` y después se queda (`"constant"`) o baja
    hasta 0 al final del entrenamiento, en línea recta o en media onda de coseno.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(config.steps - warmup, 1)
    remaining = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
    }[config.decay]
    return config.learning_rate * remaining


def precision(
    recipe: Recipe, data: Dataset, state: State, device: torch.device
) -> str:
    """La precisión de un entrenamiento que empieza; en la CPU, si hace falta, se mide."""
    amp = recipe.training.amp
    if device.type != "cpu" or amp != "auto":
        rough = device.type == "cuda" and bool(amp)
        return BFLOAT16 if rough else FLOAT32
    size = -(-recipe.training.batch_size // recipe.training.accumulate)
    rows = range(min(size, len(data)))
    x, condition = split_batch(_for_network(recipe, data.batch(rows, device)))
    t = torch.zeros(len(x), dtype=torch.int64)
    model = copy.deepcopy(state.model)

    def step(rough: bool) -> None:
        output = in_bfloat16(model, rough)(x, t, **condition)
        torch.autograd.backward(output.square().mean())

    with torch.random.fork_rng(devices=[]):
        return BFLOAT16 if bfloat16_pays(step) else FLOAT32


def _batches(
    recipe: Recipe,
    data: Dataset,
    state: State,
    device: torch.device,
    first_step: int,
    rows: range,
) -> Iterator[dict[str, Tensor]]:
    """Lo que toca aquí de cada lote; antes de cada uno se pone la tasa de aprendizaje."""
    size, seed = recipe.training.batch_size, recipe.seed
    steps = range(first_step, recipe.training.steps)
    chosen = (
        batch[rows.start : rows.stop]
        for batch in batches_of_indices(len(data), size, seed, first_step)
    )
    loaded = load_batches(data, islice(chosen, len(steps)), device)
    for step, stored in zip(steps, loaded, strict=True):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.training)
        batch = stored
        if recipe.data.flip:
            batch = flipped(stored, flip_draws(seed, step, rows, device))
        yield _for_network(recipe, batch)


def _for_network(recipe: Recipe, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Un lote con la disposición en memoria que quiere la red, y solo con lo que ella recibe."""
    shape = tuple(batch["x"].shape[1:])
    batch["x"] = batch["x"].contiguous(memory_format=memory_layout(shape))
    if recipe.model.options.get("num_classes") is None:
        batch.pop("class_labels", None)
    return batch
