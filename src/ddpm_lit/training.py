r"""Entrenamiento: el Algoritmo 1 de Ho et al. (2020, arXiv:2006.11239).

`algorithm1` es el bucle del artículo, escrito como un generador: da un paso de gradiente y
entrega la pérdida. Lo que el artículo no dice se le da hecho, en piezas que se combinan fuera:
de dónde salen $t$ y $\epsilon$ (`noise.TrainingDraws`), cómo se da el paso de gradiente
(`gradient_step`), qué condiciones se apagan (`ConditionDropout`), con qué semilla el *dropout* de
las capas (`seeded`), con qué precisión (`machine.devices.in_bfloat16`) y si un lote se hace a
trozos (`in_parts`). Registros, checkpoints y muestras por el camino los hace quien lo consume:
`ddpm_lit.runs`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddpm_lit.backward import Model
from ddpm_lit.conditioning import drop_condition
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.losses import Loss, simple_loss
from ddpm_lit.noise import Stream, condition_draws, keyed_generator

Batch = Mapping[str, Tensor]
"""Un lote: `{"x": x_0, …}`; lo que no es `"x"` se pasa a la red por su nombre."""

Draw = Callable[[Tensor, int], tuple[Tensor, Tensor]]
r"""De $x_0$, (B, …), y $T$ a los índices $t$, (B,), y el ruido $\epsilon$, (B, …)."""

Descend = Callable[[Tensor], Tensor]
"""De una pérdida a un paso de gradiente; devuelve la norma que tenía el gradiente."""


class TrainStep(NamedTuple):
    """Lo que deja un paso de entrenamiento: dos escalares en el dispositivo de la red.

    `loss` es la pérdida media del lote y `grad_norm`, la norma del gradiente antes de recortarlo.
    """

    loss: Tensor
    grad_norm: Tensor


def algorithm1(
    model: Model,
    diffusion: Diffusion,
    batches: Iterable[Batch],
    draw: Draw,
    descend: Descend,
    objective: Loss = simple_loss,
) -> Iterator[TrainStep]:
    r"""Algoritmo 1: se repite, hasta que se acaban los lotes, un paso de gradiente.

    $$x_0 \sim q, \quad t \sim \mathcal{U}\{1, \dots, T\}, \quad
    \epsilon \sim \mathcal{N}(0, I), \qquad
    \nabla_\theta \left\lVert \epsilon - \epsilon_\theta\!\left(\sqrt{\bar\alpha_t}\,x_0
    + \sqrt{1-\bar\alpha_t}\,\epsilon,\ t\right)\right\rVert^2$$

    Args:
        model: la red, `model(x_t, t, **condition)`; recibe el índice original del paso.
        diffusion: el proceso.
        batches: lotes `{"x": x_0, …}` ya en el dispositivo de la red; lo que no es `"x"` se
            pasa a la red por su nombre.
        draw: de dónde salen $t$ y $\epsilon$ (véase `noise.TrainingDraws`).
        descend: el paso de gradiente (véase `gradient_step`).
        objective: la pérdida de cada ejemplo; por defecto, la del artículo.

    Yields:
        Un `TrainStep` por lote, después de actualizar los parámetros.
    """
    schedule = diffusion.schedule
    for batch in batches:
        x_0, condition = split_batch(batch)
        t, noise = draw(x_0, len(schedule))
        x_t = q_sample(schedule, x_0, t, noise)
        output = model(x_t, schedule.original(t), **condition)
        loss = objective(diffusion, output, x_0, noise, t).mean()
        yield TrainStep(loss.detach(), descend(loss))


def split_batch(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Los datos de un lote y su condición.

    Raises:
        TypeError: si el lote no es un diccionario con sus datos en `"x"`.
    """
    if not isinstance(batch, Mapping) or "x" not in batch:
        came = (
            f"un diccionario con {', '.join(map(repr, batch))}"
            if isinstance(batch, Mapping)
            else f"un {type(batch).__name__}"
        )
        raise TypeError(
            "Un lote debe ser un diccionario con los datos en «x» y ha "
            f"llegado {came}. Si tu "
            'DataLoader da tuplas, conviértelas: ({"x": x} for x, *_ in lotes).'
        )
    condition = {name: value for name, value in batch.items() if name != "x"}
    return batch["x"], condition


def gradient_step(
    optimizer: torch.optim.Optimizer,
    *,
    clip: float = 0.0,
    shares: Sequence[float] = (1.0,),
) -> Descend:
    """El paso de gradiente de siempre: derivar, recortar y actualizar.

    Args:
        optimizer: el optimizador de los parámetros de la red.
        clip: norma máxima del gradiente; 0 no lo recorta.
        shares: qué parte del lote es cada uno de sus trozos, si se hace a trozos (véase
            `part_shares`); los gradientes se acumulan, y el paso se da con el último.

    Returns:
        Una función de la pérdida, que devuelve la norma del gradiente antes de recortarlo; con
        un trozo que no es el último, 0.
    """
    groups = optimizer.param_groups
    parameters = [p for group in groups for p in group["params"]]
    turn = 0
    optimizer.zero_grad()

    def descend(loss: Tensor) -> Tensor:
        nonlocal turn
        torch.autograd.backward(shares[turn] * loss)
        turn = (turn + 1) % len(shares)
        if turn > 0:
            return torch.zeros_like(loss)
        norm = nn.utils.clip_grad_norm_(parameters, clip or math.inf)
        optimizer.step()
        optimizer.zero_grad()
        return norm.detach()

    return descend


def in_parts(batches: Iterable[Batch], parts: int) -> Iterator[Batch]:
    """Los mismos lotes, cada uno en trozos seguidos que ocupan menos memoria.

    Args:
        batches: los lotes.
        parts: en cuántos trozos; sus tamaños son los de `torch.tensor_split`.

    Yields:
        Los trozos, en orden.
    """
    for batch in batches:
        split = {name: each.tensor_split(parts) for name, each in batch.items()}
        for pieces in zip(*split.values(), strict=True):
            yield dict(zip(split, pieces, strict=True))


def part_shares(size: int, parts: int) -> list[float]:
    """Qué parte de un lote de `size` ejemplos es cada uno de sus `parts` trozos."""
    whole, more = divmod(size, parts)
    return [(whole + (part < more)) / size for part in range(parts)]


def joined(
    steps: Iterable[TrainStep], shares: Sequence[float]
) -> Iterator[TrainStep]:
    """Los pasos de unos lotes que se han hecho a trozos, uno por lote.

    Args:
        steps: los de `algorithm1`, uno por trozo.
        shares: qué parte del lote es cada trozo.

    Yields:
        La pérdida media del lote entero y la norma de su gradiente.
    """
    steps = iter(steps)
    while pieces := list(islice(steps, len(shares))):
        losses = [
            share * piece.loss
            for share, piece in zip(shares, pieces, strict=True)
        ]
        yield TrainStep(torch.stack(losses).sum(), pieces[-1].grad_norm)


def recompute(model: nn.Module, blocks: tuple[type[nn.Module], ...]) -> None:
    """Hace que unos bloques no guarden sus activaciones: al derivar se calculan otra vez.

    Ocupa mucha menos memoria y tarda una evaluación más; los gradientes son los mismos (Chen et
    al. 2016, arXiv:1604.06174). Cambia la red que se le da, no sus pesos ni los nombres de estos.

    Args:
        model: la red que se va a entrenar.
        blocks: de qué clases son los bloques, p. ej. `unet.BLOCKS`.

    Raises:
        ValueError: si la red no tiene ninguno.
    """
    found = [each for each in model.modules() if isinstance(each, blocks)]
    if not found:
        raise ValueError(
            f"La red es {type(model).__name__} y no tiene ninguno de los "
            f"bloques {', '.join(kind.__name__ for kind in blocks)}: quita "
            "training.checkpoint_gradients."
        )
    for block in found:
        forward = partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = forward


class ConditionDropout:
    """Apaga la condición de unos cuantos ejemplos de cada lote, para aprender también sin ella.

    Se usa sobre los lotes, `map(ConditionDropout(…), lotes)`, y lleva su propia cuenta de los
    pasos: llamarlo época a época sigue donde estaba.

    Args:
        probability: la de apagar la condición de cada ejemplo, entre 0 y 1.
        null: de una condición a la condición nula (véase `conditioning.null_condition`).
        seed: la semilla del entrenamiento.
        step: cuántos lotes se han visto ya.
        rows: qué ejemplos del lote global son los que llegan; `None`, todos.
    """

    def __init__(
        self,
        probability: float,
        null: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
        *,
        seed: int = 0,
        step: int = 0,
        rows: range | None = None,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(
                f"La probabilidad de apagar la condición es {probability} y "
                "debe estar entre 0 y 1."
            )
        self.probability, self.null = probability, null
        self.seed, self.step, self.rows = seed, step, rows

    def __call__(self, batch: Batch) -> Batch:
        """El mismo lote, con las condiciones que toque apagadas."""
        x_0, condition = split_batch(batch)
        rows = range(len(x_0)) if self.rows is None else self.rows
        drawn = condition_draws(self.seed, self.step, rows, x_0.device)
        self.step += 1
        dropped = drawn <= self.probability
        null = self.null(condition)
        return {"x": x_0, **drop_condition(condition, null, dropped)}


def seeded(
    model: Model, *, seed: int = 0, step: int = 0, process: int = 0
) -> Model:
    """Una red cuyo *dropout* depende solo de la semilla y de cuántas veces se la ha llamado.

    El generador global de PyTorch se queda como estaba.

    Args:
        model: la red.
        seed: la semilla del entrenamiento.
        step: cuántas veces se la ha llamado ya.
        process: cuál de los procesos que entrenan juntos la llama.

    Returns:
        Otra red, que se llama igual.
    """
    calls = step

    def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        nonlocal calls
        key = keyed_generator(seed, Stream.LAYERS, calls, process)
        calls += 1
        devices = [x_t.device] if x_t.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(key.integers(2**63)))
            return model(x_t, t, **condition)

    return call
