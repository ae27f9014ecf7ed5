"""Los métodos de segundo orden, contra la ecuación que resuelven."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from algebra import Array
from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices
from ddpm_lit.solvers import dpm_solver_2m, heun
from exact import Mixture, exact_marginals, log_snr_grid, slope

SOLVERS = {"2m": dpm_solver_2m, "heun": heun}
MIXTURE = Mixture((0.4, -0.7, 0.04), (0.6, 0.5, 0.09))
PROBABILITIES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def coefficients(bar: float) -> tuple[float, float, float]:
    """α, σ y λ de un nivel, por su definición."""
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    return alpha, sigma, math.log(alpha / sigma)


# --- El paso, como en los artículos ---------------------------------------------------------------


@pytest.mark.equation("ddim-2m")
@pytest.mark.parametrize("spacing", ["linspace", "quadratic"])
def test_the_multistep_formula(
    schedule: Schedule, spacing: str, agree: Callable[..., None]
) -> None:
    walk = respace(schedule, spaced_indices(1000, 12, spacing))
    x_t, output, previous = numbers(3, 5, 2, seed=1)
    predict = Denoiser(lambda x, t: output, Diffusion(walk, "x_start", clip=False))
    for level in (10, 6, 1):
        bars = walk.alphas_cumprod[[level + 1, level, level - 1]].tolist()
        (_, _, last), (_, sigma_s, now), (alpha, sigma, after) = map(coefficients, bars)
        h = after - now
        r = (now - last) / h
        ahead = (1 + 1 / (2 * r)) * output - 1 / (2 * r) * previous
        expected = sigma / sigma_s * x_t - alpha * math.expm1(-h) * ahead
        x_prev, x_start = dpm_solver_2m(predict, x_t, level, iter(()), previous)
        agree(x_prev, expected, rtol=1e-7, atol=1e-9)
        assert torch.equal(x_start, output)


@pytest.mark.equation("ddim-2m")
def test_first_and_last_multistep_are_ddim(linear: Schedule) -> None:
    walk = respace(linear, spaced_indices(1000, 10))
    x_t, previous = numbers(2, 5, seed=2)
    predict = Denoiser(lambda x, t: torch.sin(x), Diffusion(walk))
    for level, before in ((9, None), (4, None), (0, None), (0, previous)):
        actual = dpm_solver_2m(predict, x_t, level, iter(()), before)
        expected = ddim(predict, x_t, level, iter(()))
        assert torch.equal(actual[0], expected[0])
        assert torch.equal(actual[1], expected[1])
    changed = dpm_solver_2m(predict, x_t, 4, iter(()), previous)[0]
    assert (changed - ddim(predict, x_t, 4, iter(()))[0]).abs().max() > 1e-3


@pytest.mark.equation("ddim-2m")
def test_a_constant_prediction_is_integrated_exactly(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """Si x̂_0 no cambia, la parte lineal es exacta: no importa cuántos pasos se den."""
    x_T, x_start = numbers(2, 6, seed=3)
    levels = []
    for steps in (3, 28, 1000):
        walk = respace(linear, spaced_indices(1000, steps))
        *_, before, last = algorithm2(
            Denoiser(lambda x, t: x_start, Diffusion(walk, "x_start", clip=False)),
            x_T,
            iter(()),
            dpm_solver_2m,
        )
        agree(last.x_t, x_start, rtol=1e-12)
        levels.append(before.x_t)
    agree(levels[0], levels[2], rtol=1e-9)
    agree(levels[1], levels[2], rtol=1e-9)


@pytest.mark.equation("ddim-heun")
@pytest.mark.parametrize("clip", [False, True])
def test_the_heun_formula(schedule: Schedule, clip: bool, agree: Callable[..., None]) -> None:
    """Con √ᾱ = cos φ: la media de v en los dos extremos del paso, cada una en su nivel."""
    walk = respace(schedule, [100, 400, 800])
    x_t = numbers(6, seed=4)
    seen: list[int] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return torch.sin(x) * (1 + t[0] / 1000)

    predict = Denoiser(model, Diffusion(walk, clip=clip))
    for level, originals in ((2, [800, 400]), (1, [400, 100])):
        seen.clear()
        x_prev, x_start = heun(predict, x_t, level, iter(()), None)
        assert seen == originals
        before, bar = walk.alphas_cumprod[level - 1 : level + 1].tolist()
        slopes = []
        first = predict(x_t, level)
        euler = math.sqrt(before) * first.x_start + math.sqrt(1 - before) * first.epsilon
        for step, value in ((first, bar), (predict(euler, level - 1), before)):
            slopes.append(math.sqrt(value) * step.epsilon - math.sqrt(1 - value) * step.x_start)
        stride = math.acos(math.sqrt(before)) - math.acos(math.sqrt(bar))
        agree(x_prev, x_t + stride * (slopes[0] + slopes[1]) / 2, rtol=1e-8)
        assert torch.equal(x_start, first.x_start)
    seen.clear()
    last = heun(predict, x_t, 0, iter(()), None)
    assert seen == [100]
    assert torch.equal(last[0], ddim(predict, x_t, 0, iter(()))[0])


# --- Datos normales: cada estado, con la recursión a mano ---------------------------------------


def by_hand(name: str, walk: Schedule, m: float, v: float) -> tuple[list[float], list[float]]:
    """Con datos N(m, v) cada estado es x = a + b x_T; se siguen a y b, y x_T es N(0, 1)."""
    bars = walk.alphas_cumprod.tolist()
    one = np.array([1.0, 0.0])

    def see(x: Array, alpha: float, sigma: float) -> tuple[Array, Array, Array]:
        """La media de x_0, la de ε y la de v, para quien ve x."""
        surprise = (x - alpha * m * one) / (alpha**2 * v + sigma**2)
        x_start, noise = m * one + alpha * v * surprise, sigma * surprise
        return x_start, noise, alpha * noise - sigma * x_start

    x, signals, states = np.array([0.0, 1.0]), [], []
    for level in reversed(range(len(bars))):
        alpha, sigma, now = coefficients(bars[level])
        x_start, noise, velocity = see(x, alpha, sigma)
        if level == 0:
            x = x_start
        else:
            alpha_p, sigma_p, after = coefficients(bars[level - 1])
            first_order = alpha_p * x_start + sigma_p * noise
            if name == "heun":
                stride = math.acos(alpha_p) - math.acos(alpha)
                x = x + stride * (velocity + see(first_order, alpha_p, sigma_p)[2]) / 2
            elif not signals:
                x = first_order
            else:
                weight = (after - now) / (2 * (now - coefficients(bars[level + 1])[2]))
                ahead = x_start + weight * (x_start - signals[-1])
                x = sigma_p / sigma * x + alpha_p * (1 - math.exp(now - after)) * ahead
        signals.append(x_start)
        states.append(x)
    return [float(x[0]) for x in states], [float(x[1]) ** 2 for x in states]


@pytest.mark.equation("ddim-2m", "ddim-heun")
@pytest.mark.parametrize("name", list(SOLVERS))
@pytest.mark.parametrize("data", [(0.0, 1.0), (0.3, 0.04), (-0.5, 2.0)])
def test_gaussian_marginals(
    linear: Schedule, name: str, data: tuple[float, float], agree: Callable[..., None]
) -> None:
    walk = respace(linear, spaced_indices(1000, 25, "quadratic"))
    actual = exact_marginals(Mixture((1.0, *data)).model(linear), walk, SOLVERS[name])
    expected = by_hand(name, walk, *data)
    agree(torch.tensor(actual), torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.equation("ddim-2m", "ddim-heun")
@pytest.mark.parametrize("name", list(SOLVERS))
def test_samples_have_those_marginals(
    linear: Schedule, name: str, generator: torch.Generator
) -> None:
    walk, count = respace(linear, spaced_indices(1000, 12)), 40_000
    x_T = torch.randn(count, dtype=torch.float64, generator=generator)
    model = Mixture((1.0, 0.3, 0.25)).model(linear)
    states = algorithm2(Denoiser(model, Diffusion(walk, clip=False)), x_T, iter(()), SOLVERS[name])
    for state, mean, var in zip(states, *by_hand(name, walk, 0.3, 0.25), strict=True):
        assert abs(state.x_t.mean().item() - mean) < 4.5 * math.sqrt(var / count)
        assert abs(state.x_t.var().item() - var) < 4.5 * var * math.sqrt(2 / count)


# --- El orden ------------------------------------------------------------------------------------


def solver_error(sampler: Callable[..., tuple[Tensor, Tensor]], steps: int) -> float:
    """Lo más que se aparta un cuantil de su sitio, antes del último paso."""
    grid = log_snr_grid(steps)
    x_T = MIXTURE.quantile(grid.alphas_cumprod[-1].item(), PROBABILITIES)
    *_, before, _ = algorithm2(
        Denoiser(MIXTURE.model(grid), Diffusion(grid, clip=False)), x_T, iter(()), sampler
    )
    exact = MIXTURE.quantile(grid.alphas_cumprod[0].item(), PROBABILITIES)
    return (before.x_t - exact).abs().max().item()


@pytest.mark.equation("ddim-2m", "ddim-heun", "ddim-edo")
@pytest.mark.parametrize(("name", "order"), [("2m", 2), ("heun", 2), ("ddim", 1)])
def test_order_of_convergence(name: str, order: int) -> None:
    """La pendiente del error en escala logarítmica: 1 en DDIM y 2 en los dos métodos nuevos."""
    sampler = {**SOLVERS, "ddim": ddim}[name]
    sizes = [80, 160, 320]
    errors = [solver_error(sampler, steps) for steps in sizes]
    assert slope(sizes[:2], errors[:2]) == pytest.approx(order, abs=0.2)
    assert slope(sizes, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.equation("ddim-2m", "ddim-heun")
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_second_order_pays_off(kind: str) -> None:
    """Con el mismo número de evaluaciones del ε exacto, 27 o 28, y hasta los datos limpios."""
    schedule = make_schedule(kind, 1000)
    exact = MIXTURE.quantile(1.0, PROBABILITIES)
    errors = []
    for sampler, steps in ((ddim, 28), (heun, 14), (dpm_solver_2m, 28)):
        walk = respace(schedule, spaced_indices(1000, steps, "quadratic"))
        x_T = MIXTURE.quantile(walk.alphas_cumprod[-1].item(), PROBABILITIES)
        *_, last = algorithm2(
            Denoiser(MIXTURE.model(schedule), Diffusion(walk, clip=False)), x_T, iter(()), sampler
        )
        errors.append((last.x_t - exact).abs().mean().item())
    assert errors[1] < 0.25 * errors[0]
    assert errors[2] < 0.25 * errors[0]
