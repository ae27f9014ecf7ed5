"""El forward process: muchos pasos pequeños y un solo salto dan la misma distribución."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ddpm_lit.forward import diffuse, q_mean_variance, q_sample, q_step
from ddpm_lit.scheduler import Schedule, make_schedule, rescale_zero_terminal_snr


def one(value: float) -> torch.Tensor:
    return torch.full((1,), value, dtype=torch.float64)


@pytest.mark.equation("forward-paso")
def test_step_formula(schedule: Schedule, agree: Callable[..., None]) -> None:
    """Al cuadrado, lo que multiplica a x_{t-1} es 1 - β_t y lo que multiplica al ruido, β_t."""
    t = torch.arange(1000)
    signal = q_step(schedule, torch.ones(1000, dtype=torch.float64), t, torch.zeros(1000))
    noise = q_step(schedule, torch.zeros(1000, dtype=torch.float64), t, torch.ones(1000))
    assert (signal > 0).all()
    assert (noise > 0).all()
    agree(signal**2, 1 - schedule.betas)
    agree(noise**2, schedule.betas)


@pytest.mark.equation("forward-muestra")
def test_jump_formula(schedule: Schedule, agree: Callable[..., None]) -> None:
    t = torch.arange(1000)
    x_start = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    noise = torch.linspace(3, -2, 1000, dtype=torch.float64)
    bar = np.cumprod(1 - schedule.betas.numpy().astype(np.longdouble))
    expected = np.sqrt(bar) * x_start.numpy() + np.sqrt(1 - bar) * noise.numpy()
    agree(
        q_sample(schedule, x_start, t, noise),
        torch.tensor(expected.astype(np.float64)),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.equation("forward-paso", "forward-salto", "forward-varianza")
def test_composed_steps_are_the_jump(schedule: Schedule, agree: Callable[..., None]) -> None:
    """Un paso es lineal: aplicado a la media y al ruido por separado, propaga la distribución.

    Con varianza 1 al principio, la de cada x_t sigue siendo 1.
    """
    zero = one(0.0)
    mean, variance, unit_variance = one(1.0), one(0.0), one(1.0)
    means, variances = [], []
    for index in range(1000):
        t = torch.tensor([index])
        slope = q_step(schedule, one(1.0), t, zero)
        noise_variance = q_step(schedule, zero, t, one(1.0)) ** 2
        mean = q_step(schedule, mean, t, zero)
        variance = slope**2 * variance + noise_variance
        unit_variance = slope**2 * unit_variance + noise_variance
        agree(unit_variance, 1.0)
        means.append(mean)
        variances.append(variance)
    jump = q_mean_variance(schedule, torch.ones(1000, dtype=torch.float64), torch.arange(1000))
    agree(jump.mean, torch.cat(means), rtol=1e-10)
    agree(jump.variance, torch.cat(variances), rtol=1e-10)
    agree(jump.log_variance, torch.cat(variances).log(), rtol=1e-10, atol=1e-12)


@pytest.mark.equation("forward-salto", "forward-muestra")
def test_composed_steps_are_the_jump_by_monte_carlo(
    short: Schedule, generator: torch.Generator
) -> None:
    """40.000 caminos paso a paso: media y varianza a menos de cinco errores típicos del salto."""
    paths, last = 40_000, 20
    x_start = torch.full((paths,), 0.7, dtype=torch.float64)
    x = x_start
    for index in range(last + 1):
        t = torch.full((paths,), index)
        x = q_step(short, x, t, torch.randn(paths, dtype=torch.float64, generator=generator))
    jump = q_mean_variance(short, x_start[:1], torch.tensor([last]))
    sampled = q_sample(
        short, x_start, t, torch.randn(paths, dtype=torch.float64, generator=generator)
    )
    variance = jump.variance.item()
    for sample in (x, sampled):
        assert abs(sample.mean() - jump.mean) < 5 * math.sqrt(variance / paths)
        assert abs(sample.var() - variance) < 5 * variance * math.sqrt(2 / paths)


@pytest.mark.equation("forward-varianza")
def test_variance_of_the_jump_is_preserved(schedule: Schedule, agree: Callable[..., None]) -> None:
    """La señal y el ruido son los catetos de un triángulo de hipotenusa 1."""
    t = torch.arange(1000)
    zero, ones = torch.zeros(1000, dtype=torch.float64), torch.ones(1000, dtype=torch.float64)
    signal, noise = q_sample(schedule, ones, t, zero), q_sample(schedule, zero, t, ones)
    agree(signal**2 + noise**2, ones)


@pytest.mark.parametrize("shape", [(), (2,), (5,), (1, 28), (3, 8, 8), (2, 3, 4, 5)])
def test_any_data_shape(
    linear: Schedule, shape: tuple[int, ...], agree: Callable[..., None]
) -> None:
    generator = torch.Generator().manual_seed(1)
    x_start = torch.rand((4, *shape), dtype=torch.float64, generator=generator)
    noise = torch.randn((4, *shape), dtype=torch.float64, generator=generator)
    t = torch.tensor([0, 999, 500, 3])
    for function in (q_sample, q_step):
        whole = function(linear, x_start, t, noise)
        assert whole.shape == x_start.shape
        for row in range(4):
            alone = function(linear, x_start[row], t[row].repeat(max([1, *shape[:1]])), noise[row])
            agree(whole[row], alone.reshape(shape), rtol=0)
    jump = q_mean_variance(linear, x_start, t)
    assert jump.mean.shape == x_start.shape
    assert jump.variance.shape == jump.log_variance.shape == (4, *[1] * len(shape))


def test_one_example_at_several_t(linear: Schedule) -> None:
    generator = torch.Generator().manual_seed(2)
    x_start = torch.rand(1, 3, 4, 4, generator=generator)
    noise = torch.randn(5, 3, 4, 4, generator=generator)
    t = torch.tensor([0, 10, 100, 500, 999])
    at_once = q_sample(linear, x_start, t, noise)
    assert at_once.shape == (5, 3, 4, 4)
    assert torch.equal(at_once, q_sample(linear, x_start.expand(5, -1, -1, -1), t, noise))
    assert q_mean_variance(linear, x_start, t).mean.shape == (5, 3, 4, 4)
    same_noise = q_sample(linear, x_start, t, noise[:1])
    assert torch.equal(same_noise[0], at_once[0])


def test_each_precision_keeps_its_own(linear: Schedule) -> None:
    t = torch.arange(1000)
    exact = q_sample(linear, torch.ones(1000, dtype=torch.float64), t, torch.ones(1000).double())
    for dtype, tolerance in ((torch.float32, 3e-7), (torch.bfloat16, 2e-2)):
        ones = torch.ones(1000, dtype=dtype)
        rounded = q_sample(linear, ones, t, ones)
        assert rounded.dtype == dtype
        torch.testing.assert_close(rounded.double(), exact, rtol=tolerance, atol=0)


@pytest.mark.equation("scheduler-terminal")
def test_nothing_is_left_with_zero_terminal_snr(linear: Schedule) -> None:
    rescaled = rescale_zero_terminal_snr(linear)
    x_start, noise = torch.ones(1, 3), torch.tensor([[0.5, -1.0, 2.0]])
    last = torch.tensor([999])
    assert torch.equal(q_sample(rescaled, x_start, last, noise), noise)
    jump = q_mean_variance(rescaled, x_start, last)
    assert torch.equal(jump.mean, torch.zeros(1, 3))
    assert jump.variance == 1
    assert jump.log_variance == 0


# --- De un nivel a otro ---------------------------------------------------------------------------


def test_diffuse_from_the_data_is_the_direct_jump() -> None:
    x, noise = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    schedule = make_schedule("linear", 100)
    jump = q_sample(schedule, x, torch.tensor([40, 40]), noise)
    assert torch.allclose(diffuse(schedule, x, -1, 40, noise), jump, atol=1e-12)


def test_diffuse_to_the_next_level_is_one_step() -> None:
    x, noise = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    schedule = make_schedule("linear", 100)
    step = q_step(schedule, x, torch.tensor([40, 40]), noise)
    assert torch.allclose(diffuse(schedule, x, 39, 40, noise), step, atol=1e-12)


def test_diffuse_twice_has_the_variance_of_doing_it_once() -> None:
    schedule = make_schedule("cosine", 50)
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    kept = diffuse(schedule, one, 10, 30, zero)
    first = diffuse(schedule, zero, -1, 10, one)
    second = diffuse(schedule, zero, 10, 30, one)
    direct = diffuse(schedule, zero, -1, 30, one)
    assert torch.allclose((kept * first) ** 2 + second**2, direct**2, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), [(5, 5), (6, 5), (-2, 5), (0, 10)])
def test_diffuse_only_goes_up(source: int, target: int) -> None:
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="hay que subir de nivel"):
        diffuse(make_schedule("cosine", 10), x, source, target, x)
