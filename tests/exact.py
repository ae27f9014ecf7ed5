"""Datos de los que se conoce el ε óptimo, y lo que un sampler hace con ellos, sin azar.

Con datos normales el ε óptimo es lineal y el bucle entero es una función afín de x_T y de los
ruidos: evaluado en una base, se conoce la distribución exacta de cada estado. Con una mezcla en una
dimensión, la ecuación diferencial lleva cada cuantil a su cuantil, y también se sabe dónde acaba.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.sampling import Sampler, algorithm2
from ddpm_lit.scheduler import Schedule

Model = Callable[[Tensor, Tensor], Tensor]


def log_snr_grid(steps: int, low: float = -5.0, high: float = 5.0) -> Schedule:
    """Un schedule con λ = log(√ᾱ/√(1-ᾱ)) repartida por igual, de `high` a `low`."""
    grid = torch.linspace(high, low, steps, dtype=torch.float64)
    return Schedule.from_alphas_cumprod((2 * grid).sigmoid())


class Mixture:
    """Una mezcla de normales en una dimensión; con una sola componente, datos normales."""

    def __init__(self, *components: tuple[float, float, float]) -> None:
        """Cada componente es (peso, media, varianza)."""
        table = torch.tensor(components, dtype=torch.float64)
        self.weights, self.means, self.variances = table.T

    def components(self, bar: Tensor) -> tuple[Tensor, Tensor]:
        """Medias y varianzas de las componentes de q(x_t); `bar` es ᾱ_t, (…, 1)."""
        return bar.sqrt() * self.means, bar * self.variances + 1 - bar

    def model(self, schedule: Schedule) -> Model:
        """E[ε | x_t], la red perfecta; recibe índices del schedule entero."""

        def epsilon(x: Tensor, t: Tensor) -> Tensor:
            bar = schedule.alphas_cumprod[t].reshape(-1, *[1] * x.ndim)
            means, variances = self.components(bar)
            gaps = x[..., None] - means
            share = (self.weights.log() - variances.log() / 2 - gaps**2 / variances / 2).softmax(-1)
            return (1 - bar[..., 0]).sqrt() * (share * gaps / variances).sum(-1)

        return epsilon

    def quantile(self, bar: float, probabilities: Tensor) -> Tensor:
        """Los cuantiles de q(x_t), por bisección."""
        means, variances = self.components(torch.tensor(bar, dtype=torch.float64))
        low = torch.full_like(probabilities, -20.0)
        high = -low
        for _ in range(80):
            middle = (low + high) / 2
            z = (middle[:, None] - means) / variances.sqrt()
            below = (self.weights * torch.special.ndtr(z)).sum(-1) < probabilities
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


def unit_noises(steps: int) -> Iterator[Tensor]:
    """El ruido k vale 1 en la fila 2 + k y 0 en las demás."""
    for row in range(2, steps + 2):
        yield torch.nn.functional.one_hot(torch.tensor(row), steps + 2).double()


def exact_marginals(
    model: Model, schedule: Schedule, sampler: Sampler, start: tuple[float, float] = (0.0, 1.0)
) -> tuple[list[float], list[float]]:
    """Media y varianza de x_{T-1}, …, x_0 con el bucle del paquete; x_T es N(*start)."""
    steps = len(schedule)
    x_T = torch.zeros(steps + 2, dtype=torch.float64)
    x_T[1] = 1.0
    states = algorithm2(
        Denoiser(model, Diffusion(schedule, clip=False)), x_T, unit_noises(steps), sampler
    )
    means, variances = [], []
    for state in states:
        response = state.x_t[1:] - state.x_t[0]
        means.append((state.x_t[0] + response[0] * start[0]).item())
        variances.append((response[0] ** 2 * start[1] + (response[1:] ** 2).sum()).item())
    return means, variances


def slope(sizes: list[int], errors: list[float]) -> float:
    """El orden de convergencia entre los dos últimos puntos: error ∝ pasos^-orden."""
    return math.log(errors[-2] / errors[-1]) / math.log(sizes[-1] / sizes[-2])
