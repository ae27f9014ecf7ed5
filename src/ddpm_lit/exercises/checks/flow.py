"""Flow matching y EDM: una red de DDPM en el camino recto, y generar con Heun."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect, require

TIMES = [1.0, 0.7, 0.3, 0.0]


def check_rectified(velocity: Callable[..., Any]) -> None:
    """La velocidad cerca de los datos y cerca del ruido."""
    x = torch.tensor([[0.6, -1.2], [0.1, 0.9]], dtype=torch.float64)
    for tau in (0.3, 0.8):
        signal, size = 1 - tau, ((1 - tau) ** 2 + tau**2) ** 0.5
        bar = (signal / size) ** 2
        epsilon = _network(x / size, bar)
        right = _straight(x, epsilon, tau)
        expect(
            f"la velocidad en τ = {tau:g}",
            velocity(_network, x, tau),
            right,
            {
                "la velocidad es ε − x̂_0: el reloj crece hacia el ruido.": -right,
                "la red espera la x de DDPM: falta dividirla entre √((1 − τ)² + τ²).": _straight(
                    x, _network(x, bar), tau
                ),
                "(1 − τ)² no es ᾱ_t: en DDPM los dos cuadrados suman 1.": _straight(
                    x, _network(x / size, signal**2), tau
                ),
                "la señal de DDPM es √ᾱ_t, así que ᾱ_t es su cuadrado.": _straight(
                    x, _network(x / size, signal / size), tau
                ),
                "x̂_0 se despeja en una sola escala, y se han mezclado las dos.": (
                    epsilon - (x / size - tau * epsilon) / signal
                ),
                "eso es ε; falta restarle x̂_0.": epsilon,
            },
        )


def _network(x: Tensor, bar: float) -> Tensor:
    return torch.tanh(x) + 0.4 * bar


def _straight(x: Tensor, epsilon: Tensor, tau: float) -> Tensor:
    return epsilon - (x - tau * epsilon) / (1 - tau)


def check_heun(generate: Callable[..., Any]) -> None:
    """Tres pasos desiguales con una velocidad curva, y el último, que lleva a los datos."""
    x = torch.tensor([[0.9, -1.4], [0.2, 0.6]], dtype=torch.float64)

    def velocity(x: Tensor, tau: float) -> Tensor:
        require(
            tau > 0,
            "los τ en que se pregunta la velocidad",
            f"τ = {tau:g}",
            "ninguno es 0",
            "en los datos no hay ruido que quitar: el paso que llega a τ = 0 es el de Euler.",
        )
        return _velocity(x, tau)

    expect(
        "el estado en τ = 0, pasando por 1, 0.7 y 0.3",
        generate(velocity, x, TIMES),
        _run(x),
        {
            "eso es Euler: falta la pendiente del sitio adonde se llega.": _run(
                x, ahead=0.0
            ),
            "se ha usado solo la segunda pendiente; es la media de las dos.": _run(
                x, ahead=1.0
            ),
            "las dos pendientes se han sumado: falta dividir entre 2.": _run(
                x, total=2.0
            ),
            "la segunda pendiente se mira donde llega el paso de Euler, no en x.": _run(
                x, there=False
            ),
            "la segunda pendiente se pregunta con el τ de llegada.": _run(
                x, late=False
            ),
            "el paso se da desde el sitio de partida, no desde donde llegó Euler.": _run(
                x, twice=True
            ),
            "el paso es τ' − τ, que es negativo: se ha ido hacia el otro lado.": _run(
                x, total=-1.0
            ),
        },
    )


def _velocity(x: Tensor, tau: float) -> Tensor:
    return torch.sin(x) * (1 + tau) + tau**2


def _run(
    x: Tensor,
    *,
    ahead: float = 0.5,
    total: float = 1.0,
    there: bool = True,
    late: bool = True,
    twice: bool = False,
) -> Tensor:
    """Heun, bien o con uno de los errores de siempre."""
    for now, after in pairwise(TIMES):
        slope = _velocity(x, now)
        start = x
        if after > 0:
            step = min(total, 1.0) * (after - now)
            reached = x + step * slope
            second = _velocity(reached if there else x, after if late else now)
            slope = abs(total) * ((1 - ahead) * slope + ahead * second)
            start = reached if twice else x
        x = start + min(total, 1.0) * (after - now) * slope
    return x
