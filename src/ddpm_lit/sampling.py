r"""Generación: el Algoritmo 2 de Ho et al. (2020, arXiv:2006.11239).

`algorithm2` es el bucle del artículo, escrito como un generador: entrega cada $x_t$
y el $\hat x_0$ que le corresponde, y quien lo consume decide si los guarda, los dibuja
o para a mitad. Qué se hace en cada paso es otra pieza, el *sampler*; el del artículo es
`ancestral`. `sample` y `sample_trajectory` son los dos consumidores habituales.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ddpm_lit.backward import Denoiser, Model, Sampler
from ddpm_lit.ddim import check_eta, ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.networks.embeddings import in_its_precision
from ddpm_lit.noise import sampling_noise
from ddpm_lit.solvers import dpm_solver_2m, heun
from ddpm_lit.tables import configured, row


class SampleStep(NamedTuple):
    r"""Lo que deja un paso de la generación.

    `t` es el índice de código del paso que se acaba de dar (de T - 1 a 0); `x_t`, la
    muestra que ha resultado (el $x_{t-1}$ del artículo); `x_start`, el $\hat x_0$ que la
    red veía, y `before`, el estado del que se salió; los tres últimos, de forma (B, …).
    """

    t: int
    x_t: Tensor
    x_start: Tensor
    before: Tensor


class Trajectory(NamedTuple):
    r"""Todos los estados de una generación.

    `x_t` tiene forma (K + 1, B, …) y empieza por el estado de partida; `x_start` es (K, B, …), un
    $\hat x_0$ por paso.
    """

    x_t: Tensor
    x_start: Tensor


def ancestral(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""El paso de DDPM: $x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z$, sin ruido en el último.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: de donde se toma $z$.
        previous: no se usa.

    Returns:
        $x_{t-1}$ y $\hat x_0$, los dos (B, …).
    """
    step = denoise(x_t, index)
    if index == 0:
        return step.mean, step.x_start
    z = next(noises)
    return step.mean + step.variance.sqrt() * z, step.x_start


@torch.no_grad()
def algorithm2(
    denoise: Denoiser,
    x_T: Tensor,
    noises: Iterator[Tensor],
    sampler: Sampler = ancestral,
) -> Iterator[SampleStep]:
    r"""Algoritmo 2: de $x_T \sim \mathcal{N}(0, I)$ a $x_0$, paso a paso.

    $$x_{t-1} = \mu_\theta(x_t, t) + \sigma_t z, \qquad
    z \sim \mathcal{N}(0, I) \text{ si } t > 1, \text{ y } z = 0 \text{ si } t = 1$$

    El bucle es siempre este; lo que se hace en cada paso lo decide `sampler`.

    Args:
        denoise: la red con su proceso; si este es más corto (`Diffusion.respaced`), se dan
            menos pasos.
        x_T: el ruido de partida, (B, …).
        noises: de donde se toma cada $z$, de forma (B, …); no se consume en el último paso.
        sampler: qué se hace en cada paso; por defecto, lo que dice el artículo.

    Yields:
        Un `SampleStep` por paso; el último lleva la muestra terminada.
    """
    x_t, x_start = x_T, None
    for index in reversed(range(len(denoise.schedule))):
        before = x_t
        x_t, x_start = sampler(denoise, x_t, index, noises, x_start)
        yield SampleStep(index, x_t, x_start, before)


# --- Los samplers, por su nombre ------------------------------------------------------------------

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
    step = row(SAMPLERS, name, "No hay ningún sampler")
    if "eta" in options:
        check_eta(options["eta"])
    return configured(step, options, f"El sampler «{name}»")


# --- Generar por lotes y con semilla --------------------------------------------------------------


class Edit(NamedTuple):
    """Otra manera de recorrer el camino (véase `ddpm_lit.editing`).

    `loop(denoise, x_T, noises, sampler, **tensors)` es el bucle que va en el lugar de
    `algorithm2`; `tensors`, lo que recibe además, con una fila por muestra o algo que se repita
    hasta ahí, y `path` da, con los pasos del proceso, los niveles en que se dará un paso.
    """

    loop: Callable[..., Iterator[SampleStep]]
    tensors: Mapping[str, Tensor]
    path: Callable[[int], Sequence[int]]


WHOLE = Edit(algorithm2, {}, lambda steps: range(steps)[::-1])
"""Lo de siempre: todo el camino, del ruido a los datos."""


def sample(
    model: Model,
    diffusion: Diffusion,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    seed: int = 0,
    steps: int | None = None,
    spacing: str = "linspace",
    sampler: str | Sampler = ancestral,
    condition: Mapping[str, Tensor] | None = None,
    edit: Edit = WHOLE,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    callback: Callable[[SampleStep], None] | None = None,
    progress: bool = False,
) -> Tensor:
    """Genera muestras, por lotes y con semilla.

    La muestra de un índice depende solo de la semilla y de ese índice, no de cuántas se
    pidan ni de cómo se repartan en lotes.

    Args:
        model: la red, ya en `device` y en modo de evaluación.
        diffusion: el proceso con que se entrenó.
        shape: forma de una muestra, p. ej. (1, 8, 8).
        indices: el índice de cada muestra, p. ej. `range(100)`.
        seed: la semilla.
        steps: cuántos pasos dar; `None` los da todos.
        spacing: cómo se reparten esos pasos (véase `spaced_indices`).
        sampler: qué se hace en cada paso: un nombre de `SAMPLERS`, o la función.
        condition: tensores (N, …), una fila por muestra, que la red recibe por su nombre.
        edit: qué camino se recorre: rellenar una imagen (`editing.inpaint`) o rehacerla
            (`editing.redraw`); por defecto, el camino entero desde el ruido.
        batch_size: cuántas muestras se generan a la vez.
        device: dónde se calcula.
        callback: función que recibe cada `SampleStep` de cada lote.
        progress: si se enseña una barra de progreso.

    Returns:
        Las muestras, (N, *shape), en la CPU.

    Raises:
        TypeError: si los índices no son una secuencia, o el sampler no se llama como todos o no
            devuelve dos tensores.
        ValueError: si una condición no tiene una fila por muestra, o algún otro argumento no
            es válido.
    """
    _check_indices(indices)
    if batch_size < 1:
        raise ValueError(
            f"Se pide generar de {batch_size} en {batch_size}: debe ser al "
            "menos 1."
        )
    check_condition(condition, len(indices))
    short = diffusion.respaced(steps, spacing)
    step = make_sampler(sampler) if isinstance(sampler, str) else sampler
    step, network = _checked(step), _in_its_precision(model)
    tensors = {
        name: expanded(name, value, (len(indices), *shape))
        for name, value in edit.tensors.items()
    }
    starts = range(0, len(indices), batch_size)
    total = len(starts) * len(edit.path(len(short.schedule)))
    finished = []
    with tqdm(
        total=total, desc="Generando", unit="paso", disable=not progress
    ) as bar:
        for start in starts:
            rows = slice(start, start + batch_size)
            noises = sampling_noise(seed, indices[rows], shape, device)
            part = {
                name: value[rows].to(device)
                for name, value in (condition or {}).items()
            }
            known = {
                name: value[rows].to(device) for name, value in tensors.items()
            }
            denoise = Denoiser(network, short, part)
            states = edit.loop(denoise, next(noises), noises, step, **known)
            state = None
            for state in states:
                bar.update()
                if callback is not None:
                    callback(state)
            if state is not None:
                finished.append(state.x_t.cpu())
    return torch.cat(finished) if finished else torch.empty(0, *shape)


def sample_trajectory(
    model: Model,
    diffusion: Diffusion,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    seed: int = 0,
    **options: Any,
) -> Trajectory:
    r"""Genera un lote y guarda todos sus estados: los $x_t$ y los $\hat x_0$.

    Las muestras son las mismas que da `sample` con la misma semilla y los mismos índices.

    Args:
        model: la red, ya en el dispositivo y en modo de evaluación.
        diffusion: el proceso con que se entrenó.
        shape: forma de una muestra.
        indices: el índice de cada muestra; todas van en un solo lote.
        seed: la semilla.
        **options: los demás argumentos de `sample`.

    Returns:
        La trayectoria, en la CPU.
    """
    _check_indices(indices)
    states: list[SampleStep] = []
    sample(
        model,
        diffusion,
        shape,
        indices=indices,
        seed=seed,
        batch_size=max(len(indices), 1),
        callback=states.append,
        **options,
    )
    return Trajectory(
        torch.stack([states[0].before, *(state.x_t for state in states)]).cpu(),
        torch.stack([state.x_start for state in states]).cpu(),
    )


def _checked(sampler: Sampler) -> Sampler:
    """El mismo sampler, que quizá ha escrito otro: se mira cómo se llama y qué devuelve."""
    name = getattr(sampler, "__name__", type(sampler).__name__)
    try:
        inspect.signature(sampler).bind(*range(5))
    except TypeError as error:
        raise TypeError(
            f"El sampler «{name}» no se puede llamar con cinco argumentos, "
            f"paso(denoise, x_t, index, noises, previous): {error}."
        ) from error

    def step(
        denoise: Denoiser,
        x_t: Tensor,
        index: int,
        noises: Iterator[Tensor],
        previous: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        result = sampler(denoise, x_t, index, noises, previous)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"El sampler «{name}» ha devuelto un {type(result).__name__} y "
                "debe devolver dos tensores, x_{t-1} y x̂₀."
            )
        for each, what in zip(result, ("x_{t-1}", "x̂₀"), strict=True):
            came = getattr(each, "shape", None)
            if came != x_t.shape:
                raise ValueError(
                    f"El {what} que ha devuelto el sampler «{name}» es "
                    f"{type(each).__name__ if came is None else tuple(came)} y "
                    f"debe ser un tensor de forma {tuple(x_t.shape)}, la de x_t."
                )
        return result

    return step


def _in_its_precision(model: Model) -> Model:
    """La red, que con pesos de media precisión recibe los datos en la suya."""
    if not isinstance(model, nn.Module):
        return model
    floats = (w for w in model.parameters() if w.is_floating_point())
    weight = next(floats, None)
    if weight is None or weight.dtype == torch.float32:
        return model
    return partial(in_its_precision, model, weight)


def _check_indices(indices: Sequence[int]) -> None:
    if isinstance(indices, int):
        raise TypeError(
            f"indices es {indices} y debe decir el índice de cada muestra: "
            f"para las {indices} primeras, range({indices})."
        )


def check_condition(condition: Mapping[str, Tensor] | None, count: int) -> None:
    """Comprueba que unas condiciones tienen una fila por muestra.

    Args:
        condition: tensores (N, …), por su nombre.
        count: N.

    Raises:
        ValueError: si alguna no tiene N filas.
    """
    for name, value in (condition or {}).items():
        if value.shape[0] != count:
            raise ValueError(
                f"La condición «{name}» tiene {value.shape[0]} filas y se han "
                f"pedido {count} muestras: hace falta una fila por muestra."
            )


def expanded(name: str, value: Tensor, shape: Sequence[int]) -> Tensor:
    """Lo que se edita, repetido hasta que haya una fila por muestra.

    Args:
        name: cómo se llama.
        value: un tensor que se pueda repetir hasta `shape`.
        shape: la forma de todas las muestras, (N, …).

    Returns:
        El tensor, (N, …), sin copiar nada.

    Raises:
        ValueError: si no se puede repetir hasta esa forma.
    """
    try:
        return value.expand(*shape)
    except RuntimeError as error:
        raise ValueError(
            f"«{name}» tiene forma {tuple(value.shape)} y se esperaba "
            f"{tuple(shape)}: una fila por muestra, o una sola forma que se "
            "repita en todas."
        ) from error
