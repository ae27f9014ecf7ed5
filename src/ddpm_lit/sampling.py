r"""Generación: el Algoritmo 2 de Ho et al. (2020, arXiv:2006.11239).

`algorithm2` es el bucle del artículo, escrito como un generador: entrega cada $x_t$
y el $\hat x_0$ que le corresponde, y quien lo consume decide si los guarda, los dibuja
o para a mitad. `sample` y `sample_trajectory` son sus dos consumidores habituales.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_lit.backward import Clip, p_mean_variance
from ddpm_lit.noise import sampling_noise
from ddpm_lit.scheduler import Schedule, respace, spaced_indices

Model = Callable[..., Tensor]
"""Una red: cualquier función `model(x_t, t, **condition)` que devuelve un tensor como `x_t`."""


class SampleStep(NamedTuple):
    r"""Lo que deja un paso de la generación.

    `t` es el índice de código del paso que se acaba de dar (de T - 1 a 0), `x_t` la
    muestra que ha resultado (el $x_{t-1}$ del artículo) y `x_start` el $\hat x_0$ que la
    red veía; los dos últimos, de forma (B, …).
    """

    t: int
    x_t: Tensor
    x_start: Tensor


class Trajectory(NamedTuple):
    r"""Todos los estados de una generación.

    `x_t` tiene forma (K + 1, B, …) y empieza por $x_T$; `x_start` es (K, B, …), un
    $\hat x_0$ por paso.
    """

    x_t: Tensor
    x_start: Tensor


@torch.no_grad()
def algorithm2(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    noises: Iterator[Tensor],
    *,
    prediction: str = "epsilon",
    variance: str = "fixed_small",
    clip: Clip = True,
    condition: Mapping[str, Tensor] | None = None,
) -> Iterator[SampleStep]:
    r"""Algoritmo 2: de $x_T \sim \mathcal{N}(0, I)$ a $x_0$, paso a paso.

    $$x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z, \qquad
    z \sim \mathcal{N}(0, I) \text{ si } t > 1, \text{ y } z = 0 \text{ si } t = 1$$

    Args:
        model: la red, `model(x_t, t, **condition)`; recibe el índice original del paso.
        schedule: las varianzas $\beta_t$; si es más corto (`respace`), se dan menos pasos.
        x_T: el ruido de partida, (B, …).
        noises: de donde se toma cada $z$, de forma (B, …); no se consume en el último paso.
        prediction: qué predice la red.
        variance: qué varianza lleva el paso.
        clip: qué se hace con $\hat x_0$.
        condition: lo que la red recibe además, p. ej. `{"class_labels": …}`.

    Yields:
        Un `SampleStep` por paso; el último lleva la muestra terminada.
    """
    x_t = x_T
    original_timesteps = schedule.timesteps.to(x_T.device)
    for index in reversed(range(len(schedule))):
        t = torch.full((x_T.shape[0],), index, device=x_T.device)
        output = model(x_t, original_timesteps[t], **(condition or {}))
        step = p_mean_variance(
            schedule, output, x_t, t, prediction=prediction, variance=variance, clip=clip
        )
        x_t = step.mean
        if index > 0:
            x_t = x_t + step.variance.sqrt() * next(noises)
        yield SampleStep(index, x_t, step.x_start)


def sample(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    seed: int = 0,
    steps: int | None = None,
    batch_size: int = 128,
    condition: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    callback: Callable[[SampleStep], None] | None = None,
    progress: bool = False,
    **options: Any,
) -> Tensor:
    """Genera muestras, por lotes y con semilla.

    La muestra de un índice depende solo de la semilla y de ese índice, no de cuántas se
    pidan ni de cómo se repartan en lotes.

    Args:
        model: la red, ya en `device` y en modo de evaluación.
        schedule: el schedule con que se entrenó.
        shape: forma de una muestra, p. ej. (1, 8, 8).
        indices: el índice de cada muestra, p. ej. `range(100)`.
        seed: la semilla.
        steps: cuántos pasos dar, repartidos con `"linspace"`; `None` los da todos.
        batch_size: cuántas muestras se generan a la vez.
        condition: tensores (N, …), una fila por muestra, que la red recibe por su nombre.
        device: dónde se calcula.
        callback: función que recibe cada `SampleStep` de cada lote.
        progress: si se enseña una barra de progreso.
        **options: `prediction`, `variance` y `clip`, como en `algorithm2`.

    Returns:
        Las muestras, (N, *shape), en la CPU.

    Raises:
        ValueError: si una condición no tiene una fila por muestra, o `steps` o `batch_size`
            no son válidos.
    """
    if batch_size < 1:
        raise ValueError(f"Se pide generar de {batch_size} en {batch_size}: debe ser al menos 1.")
    _check_condition(condition, len(indices))
    short = schedule
    if steps is not None and steps != len(schedule):
        short = respace(schedule, spaced_indices(len(schedule), steps))
    starts = range(0, len(indices), batch_size)
    finished = []
    with tqdm(
        total=len(starts) * len(short), desc="Generando", unit="paso", disable=not progress
    ) as bar:
        for start in starts:
            rows = slice(start, start + batch_size)
            noises = sampling_noise(seed, indices[rows], shape, device)
            part = {name: value[rows].to(device) for name, value in (condition or {}).items()}
            state = None
            for state in algorithm2(model, short, next(noises), noises, condition=part, **options):
                bar.update()
                if callback is not None:
                    callback(state)
            if state is not None:
                finished.append(state.x_t.cpu())
    return torch.cat(finished) if finished else torch.empty(0, *shape)


def sample_trajectory(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    seed: int = 0,
    device: torch.device | str = "cpu",
    **options: Any,
) -> Trajectory:
    r"""Genera un lote y guarda todos sus estados: los $x_t$ y los $\hat x_0$.

    Las muestras son las mismas que da `sample` con la misma semilla y los mismos índices.

    Args:
        model: la red, ya en `device` y en modo de evaluación.
        schedule: el schedule con que se entrenó.
        shape: forma de una muestra.
        indices: el índice de cada muestra; todas van en un solo lote.
        seed: la semilla.
        device: dónde se calcula.
        **options: los demás argumentos de `sample`.

    Returns:
        La trayectoria, en la CPU.
    """
    x_T = next(sampling_noise(seed, indices, shape))
    states: list[SampleStep] = []
    sample(
        model,
        schedule,
        shape,
        indices=indices,
        seed=seed,
        device=device,
        batch_size=max(len(indices), 1),
        callback=lambda state: states.append(
            SampleStep(state.t, state.x_t.cpu(), state.x_start.cpu())
        ),
        **options,
    )
    return Trajectory(
        torch.stack([x_T, *(state.x_t for state in states)]),
        torch.stack([state.x_start for state in states]),
    )


def _check_condition(condition: Mapping[str, Tensor] | None, count: int) -> None:
    for name, value in (condition or {}).items():
        if value.shape[0] != count:
            raise ValueError(
                f"La condición «{name}» tiene {value.shape[0]} filas y se han pedido {count} "
                "muestras: hace falta una fila por muestra."
            )
