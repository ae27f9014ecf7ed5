r"""Generación: el Algoritmo 2 de Ho et al. (2020, arXiv:2006.11239).

`algorithm2` es el bucle del artículo, escrito como un generador: entrega cada $x_t$
y el $\hat x_0$ que le corresponde, y quien lo consume decide si los guarda, los dibuja
o para a mitad. `sample` y `sample_trajectory` son sus dos consumidores habituales.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_lit.backward import Clip, Predict, ReverseStep, Sampler, p_mean_variance
from ddpm_lit.ddim import check_eta, ddim
from ddpm_lit.editing import check_guide, check_known, keep_known, repaint_path
from ddpm_lit.forward import diffuse
from ddpm_lit.noise import sampling_noise
from ddpm_lit.scheduler import Schedule, respace, spaced_indices
from ddpm_lit.solvers import dpm_solver_2m, heun

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


def predictor(
    model: Model,
    schedule: Schedule,
    *,
    prediction: str = "epsilon",
    variance: str = "fixed_small",
    clip: Clip = True,
    condition: Mapping[str, Tensor] | None = None,
) -> Predict:
    r"""Lo que un sampler necesita de la red: `predict(x_t, index)`, que da un `ReverseStep`.

    Args:
        model: la red, `model(x_t, t, **condition)`; recibe el índice original del paso.
        schedule: el schedule que se recorre.
        prediction: qué predice la red.
        variance: qué varianza lleva el paso.
        clip: qué se hace con $\hat x_0$.
        condition: lo que la red recibe además, p. ej. `{"class_labels": …}`.

    Returns:
        Una función de $x_t$, (B, …), y de un índice de `schedule`, igual para todo el lote.
    """

    def predict(x_t: Tensor, index: int) -> ReverseStep:
        t = torch.full((x_t.shape[0],), index, device=x_t.device)
        output = model(x_t, schedule.timesteps.to(x_t.device)[t], **(condition or {}))
        return p_mean_variance(
            schedule, output, x_t, t, prediction=prediction, variance=variance, clip=clip
        )

    return predict


def ancestral(
    predict: Predict,
    schedule: Schedule,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""El paso de DDPM: $x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z$, sin ruido en el último.

    Args:
        predict: la red (véase `predictor`).
        schedule: el schedule que se recorre; aquí no hace falta.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: de donde se toma $z$.
        previous: no se usa.

    Returns:
        $x_{t-1}$ y $\hat x_0$, los dos (B, …).
    """
    step = predict(x_t, index)
    if index == 0:
        return step.mean, step.x_start
    return step.mean + step.variance.sqrt() * next(noises), step.x_start


SAMPLERS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "ddpm": ancestral,
    "ddim": ddim,
    "dpm++2m": dpm_solver_2m,
    "heun": heun,
}
"""Los samplers, por su nombre."""


def make_sampler(name: str, **options: Any) -> Sampler:
    """Un sampler por su nombre, con sus opciones ya puestas.

    Args:
        name: uno de `SAMPLERS`: `"ddpm"`, `"ddim"`, `"dpm++2m"` o `"heun"`.
        **options: las opciones de ese sampler; p. ej. `eta=0.5` para `"ddim"`.

    Returns:
        La función que da un paso, para `algorithm2` y para `sample`.

    Raises:
        ValueError: si el sampler no existe, no admite alguna opción o `eta` no está entre
            0 y 1.
    """
    if name not in SAMPLERS:
        raise ValueError(f"No hay ningún sampler «{name}». Los que hay: {', '.join(SAMPLERS)}.")
    step = SAMPLERS[name]
    parameters = inspect.signature(step).parameters.values()
    admitted = [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]
    unknown = [option for option in options if option not in admitted]
    if unknown:
        raise ValueError(
            f"El sampler «{name}» no admite «{'», «'.join(unknown)}». Sus opciones: "
            f"{', '.join(admitted) or 'ninguna'}."
        )
    if "eta" in options:
        check_eta(options["eta"])
    return partial(step, **options)


@torch.no_grad()
def algorithm2(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    noises: Iterator[Tensor],
    *,
    sampler: Sampler = ancestral,
    path: Sequence[int] | None = None,
    prediction: str = "epsilon",
    variance: str = "fixed_small",
    clip: Clip = True,
    condition: Mapping[str, Tensor] | None = None,
) -> Iterator[SampleStep]:
    r"""Algoritmo 2: de $x_T \sim \mathcal{N}(0, I)$ a $x_0$, paso a paso.

    $$x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z, \qquad
    z \sim \mathcal{N}(0, I) \text{ si } t > 1, \text{ y } z = 0 \text{ si } t = 1$$

    El bucle es siempre este; lo que se hace en cada paso lo decide `sampler`.

    Args:
        model: la red, `model(x_t, t, **condition)`; recibe el índice original del paso.
        schedule: las varianzas $\beta_t$; si es más corto (`respace`), se dan menos pasos.
        x_T: el ruido de partida, (B, …).
        noises: de donde se toma cada $z$, de forma (B, …); no se consume en el último paso.
        sampler: qué se hace en cada paso; por defecto, lo que dice el artículo.
        path: los niveles en que se da un paso, en orden; por defecto, todos, del último al 0.
            Si el siguiente queda por encima, antes se vuelve a añadir ruido hasta él.
        prediction: qué predice la red.
        variance: qué varianza lleva el paso.
        clip: qué se hace con $\hat x_0$.
        condition: lo que la red recibe además, p. ej. `{"class_labels": …}`.

    Yields:
        Un `SampleStep` por paso; el último lleva la muestra terminada.
    """
    predict = predictor(
        model,
        schedule,
        prediction=prediction,
        variance=variance,
        clip=clip,
        condition=condition,
    )
    x_t, previous = x_T, None
    level = len(schedule) if path is None or not path else path[0]
    for index in reversed(range(len(schedule))) if path is None else path:
        if index > level:
            x_t, previous = diffuse(schedule, x_t, level, index, next(noises)), None
        x_t, previous = sampler(predict, schedule, x_t, index, noises, previous)
        level = index - 1
        yield SampleStep(index, x_t, previous)


def sample(
    model: Model,
    schedule: Schedule,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    seed: int = 0,
    steps: int | None = None,
    spacing: str = "linspace",
    batch_size: int = 128,
    condition: Mapping[str, Tensor] | None = None,
    sampler: Sampler = ancestral,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    jump: int = 10,
    resamplings: int = 1,
    initial: Tensor | None = None,
    strength: float | None = None,
    device: torch.device | str = "cpu",
    callback: Callable[[SampleStep], None] | None = None,
    progress: bool = False,
    **options: Any,
) -> Tensor:
    """Genera muestras, por lotes y con semilla.

    La muestra de un índice depende solo de la semilla y de ese índice, no de cuántas se
    pidan ni de cómo se repartan en lotes. Con `known` y `mask` se completa una imagen
    (RePaint), y con `initial` y `strength` se rehace (SDEdit); véase `ddpm_lit.editing`.

    Args:
        model: la red, ya en `device` y en modo de evaluación.
        schedule: el schedule con que se entrenó.
        shape: forma de una muestra, p. ej. (1, 8, 8).
        indices: el índice de cada muestra, p. ej. `range(100)`.
        seed: la semilla.
        steps: cuántos pasos dar; `None` los da todos.
        spacing: cómo se reparten esos pasos (véase `spaced_indices`).
        batch_size: cuántas muestras se generan a la vez.
        condition: tensores (N, …), una fila por muestra, que la red recibe por su nombre.
        sampler: qué se hace en cada paso (véase `make_sampler`).
        known: lo que se conserva: (N, *shape), o algo que se repita hasta esa forma.
        mask: 1 donde `known` se conserva y 0 donde se inventa; de la misma forma que `known`, o
            de otra que se repita hasta ella.
        jump: cuántos niveles se sube cada vez que se repite un tramo del camino.
        resamplings: cuántas veces se recorre cada tramo; con 1 no se repite nada.
        initial: la imagen de que se parte, con la forma de `known`.
        strength: qué fracción del proceso se rehace desde `initial`, en (0, 1].
        device: dónde se calcula.
        callback: función que recibe cada `SampleStep` de cada lote.
        progress: si se enseña una barra de progreso.
        **options: `prediction`, `variance` y `clip`, como en `algorithm2`.

    Returns:
        Las muestras, (N, *shape), en la CPU.

    Raises:
        ValueError: si una condición no tiene una fila por muestra, o algún otro argumento no
            es válido.
    """
    if batch_size < 1:
        raise ValueError(f"Se pide generar de {batch_size} en {batch_size}: debe ser al menos 1.")
    _check_condition(condition, len(indices))
    short = _shortened(schedule, steps, spacing)
    edited = check_known(known, mask, (len(indices), *shape))
    guide = check_guide(initial, strength, (len(indices), *shape), len(short))
    if resamplings != 1 and edited is None:
        raise ValueError(
            f"resamplings={resamplings} repite tramos para que lo inventado case con lo conocido, "
            "y no se conoce nada: da known y mask, o deja resamplings=1."
        )
    path = repaint_path(len(short) if guide is None else guide[1], jump, resamplings)
    starts = range(0, len(indices), batch_size)
    finished = []
    with tqdm(
        total=len(starts) * len(path), desc="Generando", unit="paso", disable=not progress
    ) as bar:
        for start in starts:
            rows = slice(start, start + batch_size)
            noises = sampling_noise(seed, indices[rows], shape, device)
            part = {name: value[rows].to(device) for name, value in (condition or {}).items()}
            step, x, state = sampler, next(noises), None
            if edited is not None:
                step = keep_known(sampler, *(value[rows].to(x) for value in edited))
            if guide is not None:
                x = diffuse(short, guide[0][rows].to(x), -1, path[0], x)
            for state in algorithm2(
                model, short, x, noises, sampler=step, path=path, condition=part, **options
            ):
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
    short = _shortened(schedule, options.get("steps"), options.get("spacing", "linspace"))
    guide = check_guide(
        options.get("initial"), options.get("strength"), tuple(x_T.shape), len(short)
    )
    if guide is not None:
        x_T = diffuse(short, guide[0].to(x_T), -1, guide[1] - 1, x_T)
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


def _shortened(schedule: Schedule, steps: int | None, spacing: str) -> Schedule:
    if steps is None or steps == len(schedule):
        return schedule
    return respace(schedule, spaced_indices(len(schedule), steps, spacing))


def _check_condition(condition: Mapping[str, Tensor] | None, count: int) -> None:
    for name, value in (condition or {}).items():
        if value.shape[0] != count:
            raise ValueError(
                f"La condición «{name}» tiene {value.shape[0]} filas y se han pedido {count} "
                "muestras: hace falta una fila por muestra."
            )
