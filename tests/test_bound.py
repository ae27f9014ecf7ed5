"""La cota entera contra su definición, sin divergencias ni posterior (Ho et al. 2020, ec. 3).

Con datos normales y una red lineal, (x_0, …, x_T) es una normal y cada logaritmo de

$$L = E_q[-log p(x_T) - Σ_t log p(x_{t-1}|x_t) + Σ_t log q(x_t|x_{t-1})]$$

es un polinomio de segundo grado: su esperanza solo pide medias y covarianzas. Cada término de la
cota del paquete lo es en (x_0, ε), así que dos valores de cada uno dan su media exacta.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import hybrid_loss, vlb_loss
from ddpm_lit.losses import variational_bound
from ddpm_lit.scheduler import Schedule, make_schedule

LN2 = math.log(2)
MEAN, STD = 0.3, 0.4
SIGNS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)


def expected_log_normal(mean: float, spread: float, variance: float) -> float:
    """E[log N(y; 0, variance)] cuando y tiene esta media y esta varianza."""
    return -0.5 * (math.log(2 * math.pi * variance) + (spread + mean**2) / variance)


def bound_by_definition(
    schedule: Schedule, guess: Callable[[int], tuple[float, float]], variance: str
) -> float:
    """L en nats, para x_0 ~ N(MEAN, STD²) y x̂_0 = a x_t + b, con (a, b) = guess(índice)."""
    betas = schedule.betas.tolist()
    mean, second = MEAN, STD**2
    total, bar = 0.0, 1.0
    for index, beta in enumerate(betas):
        before, bar = bar, bar * (1 - beta)
        root = math.sqrt(1 - beta)
        covariance, moved = root * second, root**2 * second + beta
        # log q(x_t|x_{t-1}): lo que se aparta es el ruido, de media 0 y varianza β.
        total += expected_log_normal(0.0, beta, beta)
        # log p(x_{t-1}|x_t), con la media k x_t + c.
        slope, shift = guess(index)
        from_data = math.sqrt(before) * beta / (1 - bar)
        k = from_data * slope + root * (1 - before) / (1 - bar)
        gap = mean - k * root * mean - from_data * shift
        spread = second - 2 * k * covariance + k**2 * moved
        small = beta * (1 - before) / (1 - bar)
        if index == 0:  # β̃_1 = 0: en las dos varianzas se pone β̃_2
            small = betas[1] * beta / (1 - (1 - beta) * (1 - betas[1]))
        model = small if variance == "fixed_small" or index == 0 else beta
        total -= expected_log_normal(gap, spread, model)
        mean, second = root * mean, moved
    return total - expected_log_normal(mean, second, 1.0)


@pytest.mark.equation("perdidas-cota", "perdidas-bits")
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_bound_is_its_definition(name: str, variance: str, agree: Callable[..., None]) -> None:
    """Con una red que no es la mejor: una divergencia al revés, de más o de menos se notaría."""
    schedule = make_schedule(name, 40)

    def guess(index: int) -> tuple[float, float]:
        return 0.9 - index / 60, 0.1 + index / 400

    def model(x: Tensor, t: Tensor) -> Tensor:
        slope, shift = guess(int(t[0]))
        return slope * x + shift

    bound = variational_bound(
        model,
        Diffusion(schedule, "x_start", variance, clip=False),
        MEAN + STD * SIGNS[:, :1],
        lambda index: SIGNS[:, 1:],
        levels=None,
    )
    agree(bound.total.mean() * LN2, bound_by_definition(schedule, guess, variance), rtol=1e-10)


@pytest.mark.equation("perdidas-cota", "perdidas-bits")
def test_the_bound_of_two_pixels_is_the_mean_of_theirs(agree: Callable[..., None]) -> None:
    """Los bits son por dimensión: la misma ley en dos componentes independientes no los cambia."""
    schedule = make_schedule("cosine", 12)
    diffusion = Diffusion(schedule, "x_start", clip=False)
    x_start = MEAN + STD * SIGNS[:, :1]
    noises = torch.linspace(-2, 2, 12, dtype=torch.float64)[:, None, None] * SIGNS[:, 1:]
    one, both = (
        variational_bound(
            lambda x, t: 0.7 * x,
            diffusion,
            x_start.expand(4, pixels),
            lambda index, pixels=pixels: noises[index].expand(4, pixels),
            levels=None,
        )
        for pixels in (1, 2)
    )
    agree(both.total, one.total)
    agree(both.terms, one.terms)


@pytest.mark.equation("improved-hibrida")
@pytest.mark.parametrize("timesteps", [25, 1000, 4000])
def test_the_hybrid_loss_counts_the_whole_bound(timesteps: int, agree: Callable[..., None]) -> None:
    """λ multiplica a T términos, haya los pasos que haya: no a 1000 ni a 1."""
    diffusion = Diffusion(make_schedule("cosine", timesteps), "x_start", "learned", clip=False)
    t = torch.tensor([1, timesteps // 2, timesteps - 1])
    schedule = diffusion.schedule
    x_start = torch.tensor([[0.4], [-0.9], [0.1]], dtype=torch.float64)
    noise = torch.tensor([[0.7], [-0.2], [1.3]], dtype=torch.float64)
    guess, log_variance = 0.5 * x_start + 0.2, torch.tensor([[-3.0], [-2.0], [-1.0]]).double()
    output = torch.cat([guess, log_variance], dim=1)

    beta, bar, before = (
        table[t][:, None]
        for table in (schedule.betas, schedule.alphas_cumprod, schedule.alphas_cumprod_prev)
    )
    true = torch.distributions.Normal(
        torch.zeros(()).double(), (beta * (1 - before) / (1 - bar)).sqrt()
    )
    shift = before.sqrt() * beta / (1 - bar) * (guess - x_start)
    model = torch.distributions.Normal(shift, (0.5 * log_variance).exp())
    bits = torch.distributions.kl_divergence(true, model)[:, 0] / LN2
    error = (guess - x_start)[:, 0] ** 2
    for weight in (0.001, 0.2):
        found = hybrid_loss(diffusion, output, x_start, noise, t, vlb_weight=weight)
        agree(found, error + weight * timesteps * bits, rtol=1e-6)
    agree(vlb_loss(diffusion, output, x_start, noise, t), timesteps * bits, rtol=1e-9)
