r"""Tres leyes cuyo $\hat x_0$ óptimo se sabe: con ellas, lo que falle es culpa del schedule.

- Las imágenes lisas de luminancia uniforme. De una imagen de $D$ píxeles solo informa su media:
  el problema es el de una dimensión, $\sqrt{D}\,u$ con $u \sim \mathcal{U}(-1, 1)$.
- Un conjunto finito de imágenes: $\hat x_0$ es su media, cada una con el peso que le da $x_t$.
- Los píxeles independientes y de pocos niveles: $\hat x_0$ es, en cada píxel, la media de los
  niveles, con el peso que les dan su histograma y $x_t$.
"""

import math
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, Model
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule


def uniform_mean(x_t: Tensor, alpha_bar: float, half_width: float) -> Tensor:
    r"""$\mathbb{E}[x_0|x_t]$ si $x_0 \sim \mathcal{U}(-h, h)$: la media de una normal truncada.

    Args:
        x_t: $x_t$, float64, de cualquier forma.
        alpha_bar: $\bar\alpha_t$.
        half_width: $h$.
    """
    if alpha_bar == 0:
        return torch.zeros_like(x_t)
    # Por simetría basta el lado positivo; ahí las colas se calculan sin perder cifras.
    centre = x_t.abs() / math.sqrt(alpha_bar)
    scale = math.sqrt((1 - alpha_bar) / alpha_bar)
    low, high = (-half_width - centre) / scale, (half_width - centre) / scale
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    log_mass = log_high + torch.log(-torch.expm1(log_low - log_high))
    constant = 0.5 * math.log(2 * math.pi)
    densities = [(-0.5 * z.square() - constant - log_mass).exp() for z in (low, high)]
    mean = centre + scale * (densities[0] - densities[1])
    result: Tensor = mean.clamp(-half_width, half_width) * x_t.sign()
    return result


def uniform_model(schedule: Schedule, pixels: int) -> Model:
    r"""La red perfecta para las imágenes lisas, proyectadas: predice $\sqrt{D}\,u$."""

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = float(schedule.alphas_cumprod[int(t[0])])
        return uniform_mean(x_t, alpha_bar, math.sqrt(pixels))

    return model


def empirical_model(schedule: Schedule, data: Tensor) -> Model:
    """La red perfecta para un conjunto finito de imágenes (N, …), todas igual de probables."""
    flat = data.flatten(1)
    squares = flat.square().sum(dim=1)

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        alpha_bar = float(schedule.alphas_cumprod[int(t[0])])
        scores = math.sqrt(alpha_bar) * x_t.flatten(1) @ flat.T - alpha_bar / 2 * squares
        weights = torch.softmax(scores / (1 - alpha_bar), dim=1)
        return (weights @ flat).view_as(x_t)

    return model


def independent_model(schedule: Schedule, probabilities: Tensor) -> Model:
    """La red perfecta para unos datos de píxeles independientes.

    Args:
        schedule: las varianzas.
        probabilities: la probabilidad de cada nivel en cada píxel, float64 (D, L); los niveles
            están repartidos por igual en [-1, 1].
    """
    levels = torch.linspace(-1, 1, probabilities.shape[1], dtype=torch.float64)
    log_prior = probabilities.log()

    def model(x_t: Tensor, t: Tensor, **_: Tensor) -> Tensor:
        alpha_bar = float(schedule.alphas_cumprod[int(t[0])])
        distances = (x_t.double().flatten(1)[..., None] - math.sqrt(alpha_bar) * levels).square()
        weights = torch.softmax(log_prior - distances / (2 * (1 - alpha_bar)), dim=-1)
        return (weights @ levels).view_as(x_t).to(x_t.dtype)

    return model


def draw(model: Model, schedule: Schedule, like: Tensor, seed: int) -> Tensor:
    """Genera con todos los pasos de `schedule` tantas muestras, (N, …), como tiene `like`."""
    noises = _noises(like, seed)
    denoise = Denoiser(model, Diffusion(schedule, "x_start", clip=False))
    steps = algorithm2(denoise, next(noises), noises)
    return deque(steps, maxlen=1).pop().x_t


def luminance_report(luminance: Tensor) -> dict[str, float]:
    r"""Cuánto se aleja una muestra de luminancias de $\mathcal{U}(-1, 1)$.

    `extreme` es la parte con $|u| > 0{,}9$, que debería ser 0,1; `deviation`, la desviación
    típica, que debería ser 0,577, y `distance`, la distancia de Wasserstein.
    """
    ordered = luminance.double().sort().values
    quantiles = (2 * torch.arange(len(ordered)).double() + 1) / len(ordered) - 1
    return {
        "extreme": float((ordered.abs() > 0.9).double().mean()),
        "deviation": float(ordered.std()),
        "distance": float((ordered - quantiles).abs().mean()),
    }


def _noises(like: Tensor, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(like.shape, generator=generator, dtype=like.dtype)
