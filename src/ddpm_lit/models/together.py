"""Generar y medir entre varios procesos: cada uno hace sus filas, y se juntan en orden.

Todos llaman a estas funciones con lo mismo, y a todos les llega el resultado entero. Con menos
filas que procesos, los que sobran solo esperan.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.backward import Model
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import Likelihood, bits_per_dimension
from ddpm_lit.machine.processes import Processes
from ddpm_lit.sampling import WHOLE, Edit, check_condition, expanded, sample


def sample_together(
    processes: Processes,
    model: Model,
    diffusion: Diffusion,
    shape: Sequence[int],
    *,
    indices: Sequence[int],
    condition: Mapping[str, Tensor] | None = None,
    edit: Edit = WHOLE,
    progress: bool = False,
    **options: Any,
) -> Tensor:
    """Las muestras de `ddpm_lit.sampling.sample`, hechas entre varios procesos.

    Cada uno genera las de unos índices, con su parte de las condiciones y de lo que se edita.

    Args:
        processes: este proceso, con los demás (véase `processes_for`).
        model: la red, ya en `processes.device` y en modo de evaluación.
        diffusion: el proceso con que se entrenó.
        shape: forma de una muestra.
        indices: el índice de cada muestra.
        condition: tensores (N, …), una fila por muestra.
        edit: qué camino se recorre.
        progress: si el principal enseña una barra de progreso, la de su parte.
        **options: los demás argumentos de `sample`; a `callback` le llega solo lo de cada proceso.

    Returns:
        Las muestras, (N, *shape), en la CPU.

    Raises:
        ValueError: si una condición no tiene una fila por muestra, o algún otro argumento no
            es válido.
    """
    total = len(indices)
    mine = _slice(processes.rows(total))
    tensors = {
        name: expanded(name, value, (total, *shape))[mine]
        for name, value in edit.tensors.items()
    }
    part = sample(
        model,
        diffusion,
        shape,
        indices=indices[mine],
        condition=_rows(condition, total, mine),
        edit=edit._replace(tensors=tensors),
        device=processes.device,
        progress=progress and processes.main,
        **options,
    )
    return processes.joined(part, total)


def bits_together(
    processes: Processes,
    model: Model,
    diffusion: Diffusion,
    x: Tensor,
    *,
    condition: Mapping[str, Tensor] | None = None,
    progress: bool = False,
    **options: Any,
) -> Likelihood:
    """La cota de `ddpm_lit.improved.bits_per_dimension`, medida entre varios procesos.

    Args:
        processes: este proceso, con los demás (véase `processes_for`).
        model: la red, ya en `processes.device` y en modo de evaluación.
        diffusion: el proceso.
        x: los datos, (N, …), al menos uno.
        condition: tensores (N, …), una fila por dato.
        progress: si el principal enseña una barra de progreso, la de su parte.
        **options: los demás argumentos de `bits_per_dimension`.

    Returns:
        La cota de cada dato y la media de cada término.

    Raises:
        ValueError: si no hay datos, o una condición no tiene una fila por dato.
    """
    rows, steps = processes.rows(len(x)), len(diffusion.schedule)
    mine = _slice(rows)
    part = Likelihood(
        *(torch.empty(0, dtype=torch.float64), 0.0),
        *torch.zeros(2, steps, dtype=torch.float64),
    )
    # Si al primero no le toca ningún dato, no los hay, y eso es un error.
    if rows or processes.main:
        part = bits_per_dimension(
            model,
            diffusion,
            x[mine],
            indices=rows,
            condition=_rows(condition, len(x), mine),
            device=processes.device,
            progress=progress and processes.main,
            **options,
        )
    prior = torch.tensor([part.prior], dtype=torch.float64)
    sums = torch.stack([prior.expand(steps), part.terms, part.x_start_errors])
    means = processes.sum(sums * (len(rows) / len(x)))
    return Likelihood(
        processes.joined(part.per_example, len(x)),
        float(means[0, 0]),
        means[1],
        means[2],
    )


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)


def _rows(
    condition: Mapping[str, Tensor] | None, total: int, mine: slice
) -> dict[str, Tensor]:
    check_condition(condition, total)
    return {name: value[mine] for name, value in (condition or {}).items()}
