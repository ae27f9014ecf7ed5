"""Score matching: Langevin recocido."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, require

SIGMAS = [0.2, 0.6, 1.5]
STEPS = 3
RATE = 0.4


def check_annealing(annealed: Callable[..., Any]) -> None:
    """Tres niveles y tres pasos en cada uno, con un score que apunta dónde se le pregunta."""
    generator = torch.Generator().manual_seed(0)
    x, *noises = torch.randn(10, 2, 2, generator=generator).double()
    seen: list[float] = []

    def score(x: Tensor, sigma: float) -> Tensor:
        seen.append(float(sigma))
        return _score(x, sigma)

    own = (noise.clone() for noise in noises)
    given = annealed(score, SIGMAS, x, own, STEPS, RATE)
    wanted = [sigma for sigma in reversed(SIGMAS) for _ in range(STEPS)]
    require(
        seen == wanted,
        "los ς con que se pregunta el score, en orden",
        str(seen),
        str(wanted),
        "se baja del nivel más ruidoso al menos, y en cada paso se pregunta donde se está.",
    )
    expect(
        "el estado tras tres pasos en cada uno de los tres niveles",
        given,
        _run(x, noises),
        {
            "el paso va con la varianza del nivel: δ = r ς², y falta el cuadrado.": _run(
                x, noises, power=1.0
            ),
            "lo que multiplica al score es la mitad de δ.": _run(
                x, noises, climb=1.0
            ),
            "lo que multiplica a z es la raíz de δ, su desviación típica.": _run(
                x, noises, shake=1.0
            ),
            "falta temblar: sin z se sube a la cumbre y ahí se acaba.": _run(
                x, [torch.zeros_like(z) for z in noises]
            ),
            "cada paso lleva su z, y aquí todos los de un nivel llevan el mismo.": _run(
                x, [noises[i // STEPS] for i in range(len(noises))]
            ),
            "el score se suma: dice hacia dónde crece la densidad.": _run(
                x, noises, climb=-0.5
            ),
        },
    )


def _score(x: Tensor, sigma: float) -> Tensor:
    return (0.3 - x) / (0.25 + sigma**2)


def _run(
    x: Tensor,
    noises: list[Tensor],
    *,
    power: float = 2.0,
    climb: float = 0.5,
    shake: float = 0.5,
) -> Tensor:
    """El recocido, bien o con uno de los errores de siempre."""
    left = iter(noises)
    for sigma in reversed(SIGMAS):
        delta = RATE * sigma**power
        for _ in range(STEPS):
            uphill = climb * delta * _score(x, sigma)
            x = x + uphill + delta**shake * next(left)
    return x
