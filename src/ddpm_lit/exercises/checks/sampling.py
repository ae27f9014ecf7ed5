"""Generación: el Algoritmo 2."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, require
from ddpm_lit.scheduler import Schedule


def check_generation(generate: Callable[..., Any]) -> None:
    """Cinco pasos con una red de mentira que apunta los t que recibe."""
    schedule = Schedule.from_betas([0.1, 0.15, 0.2, 0.3, 0.4])
    generator = torch.Generator().manual_seed(0)
    x_T, *noises = torch.randn(6, 2, 2, generator=generator).double()
    seen: list[list[int]] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        require(
            isinstance(t, Tensor) and t.shape == (2,),
            "los t que recibe la red",
            f"{t!r}",
            "un tensor (B,)",
            "la red quiere un índice por ejemplo: torch.full((len(x),), index).",
        )
        seen.append(t.tolist())
        return _answer(x, int(t[0]))

    own = (noise.clone() for noise in noises)
    given = generate(model, schedule.betas, x_T, own)
    order = [row[0] for row in seen]
    require(
        order == [4, 3, 2, 1, 0],
        "los índices que recibe la red, en orden",
        str(order),
        "[4, 3, 2, 1, 0]",
        "se empieza en t = T, que es el índice T - 1, y se acaba en t = 1, que es el 0: son T "
        "llamadas.",
    )
    expect(
        "x_0, tras cinco pasos",
        given,
        _run(schedule, x_T, noises),
        {
            "en el último paso, t = 1, no se añade ruido: nadie lo quitaría después.": _run(
                schedule, x_T, noises, last=True
            ),
            "lo que multiplica a z es la desviación típica, √β_t, no la varianza.": _run(
                schedule, x_T, noises, power=1.0
            ),
            "falta el ruido de cada paso: sin él todo acaba apelotonado en la media.": _run(
                schedule, x_T, noises, scale=0.0
            ),
            "la media se divide entre √α_t, y falta la raíz.": _run(
                schedule, x_T, noises, divisor=1.0
            ),
            "delante de ε va β_t entre √(1 − ᾱ_t), y falta la raíz.": _run(
                schedule, x_T, noises, under=1.0
            ),
            "se resta el ruido entero; se quita solo β_t/√(1 − ᾱ_t) de él.": _run(
                schedule, x_T, noises, whole=True
            ),
            "la división entre √α_t es de toda la media, también del ruido que se quita.": _run(
                schedule, x_T, noises, only_state=True
            ),
        },
    )


def _answer(x: Tensor, index: int) -> Tensor:
    return torch.tanh(x) + 0.1 * index


def _run(
    schedule: Schedule,
    x: Tensor,
    noises: list[Tensor],
    *,
    last: bool = False,
    power: float = 0.5,
    scale: float = 1.0,
    divisor: float = 0.5,
    under: float = 0.5,
    whole: bool = False,
    only_state: bool = False,
) -> Tensor:
    """El Algoritmo 2, bien o con uno de los errores de siempre."""
    left: Iterator[Tensor] = iter(noises)
    for index in reversed(range(len(schedule))):
        beta, bar = schedule.betas[index], schedule.alphas_cumprod[index]
        part = 1.0 if whole else beta / (1 - bar) ** under
        removed = part * _answer(x, index)
        root = schedule.alphas[index] ** divisor
        x = x / root - removed if only_state else (x - removed) / root
        if index > 0 or last:
            x = x + scale * beta**power * next(left)
    return x
