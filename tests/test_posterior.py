"""El posterior contra la regla de Bayes: en una rejilla, con matrices y por simulación."""

import math
from collections.abc import Callable

import pytest
import torch

from ddpm_lit.forward import q_mean_variance, q_sample, q_step
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, rescale_zero_terminal_snr, respace, spaced_indices


def full(value: float, size: int = 1) -> torch.Tensor:
    return torch.full((size,), value, dtype=torch.float64)


@pytest.mark.equation("posterior-media", "posterior-varianza", "posterior-bayes")
@pytest.mark.parametrize("index", [1, 2, 7, 25, 49])
@pytest.mark.parametrize(("x_start", "x_t"), [(0.4, -0.9), (-1.0, 2.0)])
def test_bayes_rule_on_a_grid(
    short: Schedule, index: int, x_start: float, x_t: float, agree: Callable[..., None]
) -> None:
    """q(x_{t-1}|x_t,x_0) ∝ q(x_t|x_{t-1}) q(x_{t-1}|x_0), normalizado por cuadratura."""
    now, before = torch.tensor([index]), torch.tensor([index - 1])
    prior = q_mean_variance(short, full(x_start), before)
    claimed = q_posterior(short, full(x_start), full(x_t), now)
    std = claimed.variance.sqrt()
    grid = claimed.mean + 12 * std * torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    step_mean = q_step(short, grid, now.expand(grid.numel()), torch.zeros(grid.numel()))
    step_variance = q_step(short, full(0.0), now, full(1.0)) ** 2
    log_density = -((x_t - step_mean) ** 2) / (2 * step_variance)
    log_density = log_density - (grid - prior.mean) ** 2 / (2 * prior.variance)
    density = (log_density - log_density.max()).exp()
    density = density / torch.trapezoid(density, grid)
    mean = torch.trapezoid(density * grid, grid)
    agree(claimed.mean, mean, rtol=1e-9, atol=1e-10)
    agree(claimed.variance, torch.trapezoid(density * (grid - mean) ** 2, grid), rtol=1e-9)
    normal = torch.distributions.Normal(claimed.mean, std)
    agree(normal.log_prob(grid).exp(), density, rtol=1e-6, atol=1e-9 * density.max().item())


@pytest.mark.equation("posterior-media", "posterior-varianza", "posterior-bayes")
def test_conditioning_the_joint_gaussian(schedule: Schedule, agree: Callable[..., None]) -> None:
    """(x_{t-1}, x_t) dado x_0 es normal: su media y su covarianza salen del forward process."""
    t = torch.arange(1, 1000)
    x_start, x_t = full(-0.3, 999), torch.linspace(-2, 2, 999, dtype=torch.float64)
    zero, ones = full(0.0, 999), full(1.0, 999)
    prior = q_mean_variance(schedule, x_start, t - 1)
    slope = q_step(schedule, ones, t, zero)
    marginal_variance = slope**2 * prior.variance + q_step(schedule, zero, t, ones) ** 2
    gain = prior.variance * slope / marginal_variance
    posterior = q_posterior(schedule, x_start, x_t, t)
    agree(posterior.mean, prior.mean + gain * (x_t - slope * prior.mean), rtol=1e-8, atol=1e-12)
    agree(posterior.variance, prior.variance * (1 - gain * slope), rtol=1e-8)
    agree(posterior.log_variance, posterior.variance.log())


@pytest.mark.equation("posterior-media", "posterior-varianza")
@pytest.mark.parametrize("index", [1, 10, 40])
def test_regression_by_monte_carlo(short: Schedule, index: int, generator: torch.Generator) -> None:
    """Simulando x_{t-1} y después x_t, la recta de regresión y su residuo son el posterior."""
    paths, value = 100_000, 0.6
    x_start = full(value, paths)
    now = torch.full((paths,), index)
    noise = torch.randn(2, paths, dtype=torch.float64, generator=generator)
    before = q_sample(short, x_start, now - 1, noise[0])
    x_t = q_step(short, before, now, noise[1])
    centred = x_t - x_t.mean()
    slope = (centred * before).sum() / (centred**2).sum()
    residual = before - before.mean() - slope * centred
    claimed = q_posterior(short, full(value), x_t.mean().reshape(1), now[:1])
    claimed_slope = (
        q_posterior(short, full(value), full(1.0), now[:1]).mean
        - q_posterior(short, full(value), full(0.0), now[:1]).mean
    )
    variance = claimed.variance.item()
    assert abs(slope - claimed_slope) < 5 * math.sqrt(variance / (centred**2).sum().item())
    assert abs(before.mean() - claimed.mean) < 5 * math.sqrt(variance / paths)
    assert abs(residual.var() - variance) < 5 * variance * math.sqrt(2 / paths)


@pytest.mark.equation("posterior-varianza")
def test_the_first_step_knows_the_answer(schedule: Schedule, agree: Callable[..., None]) -> None:
    x_start, x_t = full(0.25), full(-3.0)
    posterior = q_posterior(schedule, x_start, x_t, torch.tensor([0]))
    agree(posterior.mean, x_start, rtol=1e-9)
    assert posterior.variance == 0
    assert posterior.log_variance == schedule.posterior_variance[1].log()


@pytest.mark.equation("posterior-media")
def test_last_step_with_zero_terminal_snr_ignores_the_noise(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """Si x_T no lleva señal, el paso T vuelve a q(x_{T-1}|x_0)."""
    rescaled = rescale_zero_terminal_snr(linear)
    posterior = q_posterior(rescaled, full(0.5), full(1.7), torch.tensor([999]))
    before = q_mean_variance(rescaled, full(0.5), torch.tensor([998]))
    agree(posterior.mean, before.mean, rtol=1e-10)
    agree(posterior.variance, before.variance, rtol=1e-10)


@pytest.mark.equation("posterior-media", "posterior-varianza", "scheduler-reespaciado")
def test_posterior_steps_undo_the_jump(schedule: Schedule, agree: Callable[..., None]) -> None:
    """Si x_t ~ q(x_t|x_0), un paso del posterior da x_{t-1} ~ q(x_{t-1}|x_0), también a saltos."""
    for walk in (schedule, respace(schedule, spaced_indices(1000, 13, "trailing"))):
        t = torch.arange(1, len(walk))
        x_start = full(0.8, len(t))
        now, before = q_mean_variance(walk, x_start, t), q_mean_variance(walk, x_start, t - 1)
        moved = q_posterior(walk, x_start, now.mean, t)
        slope = q_posterior(walk, x_start, now.mean + 1, t).mean - moved.mean
        agree(moved.mean, before.mean, rtol=1e-9)
        agree(slope**2 * now.variance + moved.variance, before.variance, rtol=1e-8)


def test_shapes(linear: Schedule) -> None:
    x = torch.zeros(3, 2, 4, 4)
    posterior = q_posterior(linear, x, x, torch.tensor([0, 5, 999]))
    assert posterior.mean.shape == x.shape
    assert posterior.variance.shape == posterior.log_variance.shape == (3, 1, 1, 1)
    one_start = q_posterior(linear, x[:1], x, torch.tensor([0, 5, 999]))
    assert one_start.mean.shape == x.shape
