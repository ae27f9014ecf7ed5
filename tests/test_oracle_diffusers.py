"""Comparación con los valores que publican los tests de diffusers (`tests/schedulers`).

La «red» es x·t/(t + 1), los datos una rampa, y el generador de torch da un tensor entero de ruido
por paso, de t = 999 a t = 1. Se comparan sumas de 768 números, con las tolerancias de allí.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, p_mean_variance
from ddpm_lit.ddim import ddim_sigma
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.sampling import algorithm2, make_sampler
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices

FULL_LOOPS = {
    "epsilon": (258.9606, 0.3372),
    "v": (202.0296, 0.2631),
}


def ramp(values: Tensor) -> Tensor:
    return (values.reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)


def sample() -> Tensor:
    return ramp(torch.arange(768))


def noise() -> Tensor:
    return ramp(torch.arange(768).flip(-1))


def model(x: Tensor, t: Tensor) -> Tensor:
    time = t.reshape(-1, 1, 1, 1)
    return x * time / (time + 1)


def noises() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(4, 3, 8, 8, generator=generator)


def loop(schedule: Schedule, x: Tensor, indices: list[int], prediction: str) -> Tensor:
    """El Algoritmo 2 escrito sin `ddpm_lit.sampling`, desde cualquier índice."""
    draws = noises()
    for index in indices:
        t = torch.full((4,), index)
        step = p_mean_variance(Diffusion(schedule, prediction), model(x, t), x, t)
        x = step.mean if index == 0 else step.mean + step.variance.sqrt() * next(draws)
    return x


def single_precision_tables() -> Schedule:
    """El schedule lineal con los coeficientes del posterior como se calculan allí, en float32."""
    betas = torch.linspace(1e-4, 0.02, 1000)
    bar = torch.cumprod(1 - betas, dim=0)
    previous = torch.cat([torch.ones(1), bar[:-1]])
    alpha = bar / previous
    beta = 1 - alpha
    schedule = make_schedule("linear", 1000)
    vars(schedule).update(
        posterior_mean_coef1=previous**0.5 * beta / (1 - bar),
        posterior_mean_coef2=alpha**0.5 * (1 - previous) / (1 - bar),
        posterior_variance=(1 - previous) / (1 - bar) * beta,
    )
    return schedule


def check(x: Tensor, total: float, mean: float) -> None:
    assert x.abs().sum().item() == pytest.approx(total, abs=1e-2)
    assert x.abs().mean().item() == pytest.approx(mean, abs=1e-3)


@pytest.mark.equation("backward-paso", "backward-x0", "backward-v", "posterior-media")
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_full_loop(linear: Schedule, prediction: str) -> None:
    for schedule in (linear, single_precision_tables()):
        x = loop(schedule, sample(), list(range(999, -1, -1)), prediction)
        check(x, *FULL_LOOPS[prediction])


@pytest.mark.equation("backward-paso")
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_full_loop_of_algorithm2(linear: Schedule, prediction: str) -> None:
    states = list(algorithm2(Denoiser(model, Diffusion(linear, prediction)), sample(), noises()))
    assert [state.t for state in states] == list(range(999, -1, -1))
    check(states[-1].x_t, *FULL_LOOPS[prediction])


@pytest.mark.equation("forward-muestra", "backward-paso")
def test_noise_added_at_index_one_and_removed(linear: Schedule) -> None:
    """Con las tablas de allí sale su número; con las nuestras, 387,967: la diferencia es 1 - α_2.

    Allí β_2 se calcula en float32 como 1 - ᾱ_2/ᾱ_1, con un error relativo de 4e-4.
    """
    noisy = q_sample(linear, sample(), torch.full((4,), 1), noise())
    check(loop(single_precision_tables(), noisy, [1, 0], "epsilon"), 387.9466, 0.5051)
    ours = loop(linear, noisy, [1, 0], "epsilon").abs()
    assert ours.sum().item() == pytest.approx(387.9466, rel=1e-4)
    assert ours.mean().item() == pytest.approx(0.5051, abs=1e-3)


@pytest.mark.equation("posterior-varianza", "backward-sigma")
@pytest.mark.parametrize(("index", "variance"), [(0, 0.0), (487, 0.00979), (999, 0.02)])
def test_variances(linear: Schedule, index: int, variance: float) -> None:
    assert linear.posterior_variance[index].item() == pytest.approx(variance, abs=1e-5)


@pytest.mark.equation("scheduler-reespaciado")
def test_timesteps(linear: Schedule) -> None:
    """Allí se listan de mayor a menor; aquí, como índices crecientes de un schedule más corto."""
    expected = {
        "leading": [900, 800, 700, 600, 500, 400, 300, 200, 100, 0],
        "trailing": [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
        "linspace": [999, 888, 777, 666, 555, 444, 333, 222, 111, 0],
    }
    for spacing, timesteps in expected.items():
        walk = respace(linear, spaced_indices(1000, 10, spacing))
        assert walk.timesteps.flip(0).tolist() == timesteps
    with_offset = spaced_indices(1000, 5, "leading") + 1
    assert with_offset.flip(0).tolist() == [801, 601, 401, 201, 1]


@pytest.mark.equation("scheduler-reespaciado")
@pytest.mark.parametrize("steps", [3, 16, 30, 61, 80, 96, 999])
def test_trailing_timesteps_round_ties_as_there(steps: int) -> None:
    """Con T/K = 62,5 y otros empates: primero se redondea y después se resta 1."""
    expected = [round(1000 - k * (1000 / steps)) - 1 for k in range(steps)]
    assert spaced_indices(1000, steps, "trailing").flip(0).tolist() == expected


@pytest.mark.equation("scheduler-reespaciado", "posterior-varianza")
def test_custom_timesteps(linear: Schedule) -> None:
    """[100, 87, 50, 1, 0]: el paso anterior al último son los datos limpios, ᾱ = 1."""
    walk = respace(linear, [0, 1, 50, 87, 100])
    assert walk.timesteps.flip(0).tolist() == [100, 87, 50, 1, 0]
    assert walk.alphas_cumprod_prev[0] == 1
    assert walk.posterior_variance[0] == 0
    before, now = linear.alphas_cumprod[87], linear.alphas_cumprod[100]
    expected = (1 - before) / (1 - now) * (1 - now / before)
    assert walk.posterior_variance[-1].item() == pytest.approx(expected.item(), rel=1e-9)
    for timesteps in ([100, 87, 50, 51, 1, 0], [1000, 87]):
        with pytest.raises(ValueError, match="estrictamente crecientes"):
            respace(linear, timesteps[::-1])


# --- DDIM -----------------------------------------------------------------------------------------


def ddim_loop(
    schedule: Schedule, x: Tensor, *, prediction: str = "epsilon", levels: int = 10
) -> Tensor:
    """Diez pasos «leading» (900, 800, …, 0) con η = 0, o solo los últimos."""
    short = Diffusion(schedule, prediction).respaced(10, "leading").first(levels)
    *_, last = algorithm2(Denoiser(model, short), x, noises(), make_sampler("ddim"))
    return last.x_t


@pytest.mark.equation("ddim-paso")
@pytest.mark.parametrize(
    ("prediction", "total", "mean"), [("epsilon", 172.0067, 0.223967), ("v", 52.5302, 0.0684)]
)
def test_ddim_ten_steps(linear: Schedule, prediction: str, total: float, mean: float) -> None:
    check(ddim_loop(linear, sample(), prediction=prediction), total, mean)


@pytest.mark.equation("ddim-paso")
@pytest.mark.parametrize(
    ("alpha_one", "total", "mean"), [(True, 149.8295, 0.1951), (False, 149.0784, 0.1941)]
)
def test_ddim_with_a_larger_beta(alpha_one: bool, total: float, mean: float) -> None:
    """β desde 0,01; el último paso lleva a ᾱ_0 = 1 o, en la otra opción, a ᾱ_1."""
    betas = torch.linspace(0.01, 0.02, 1000, dtype=torch.float64)
    short = respace(Schedule.from_betas(betas), spaced_indices(1000, 10, "leading"))
    final = 1.0 if alpha_one else float(short.alphas_cumprod[0])
    sampler = make_sampler("ddim", final_alpha_cumprod=final)
    *_, last = algorithm2(Denoiser(model, Diffusion(short)), sample(), noises(), sampler)
    check(last.x_t, total, mean)


@pytest.mark.equation("ddim-paso")
def test_ddim_from_an_intermediate_level(linear: Schedule) -> None:
    """Ruido hasta t = 100 y los dos últimos pasos de los diez: [100, 0]."""
    noisy = q_sample(linear, sample(), torch.full((4,), 100), noise())
    check(ddim_loop(linear, noisy, levels=2), 354.5418, 0.4616)


@pytest.mark.equation("ddim-sigma")
@pytest.mark.parametrize(
    ("now", "before", "variance"),
    [
        (0, 0, 0.0),
        (420, 400, 0.14771),
        (980, 960, 0.32460),
        (487, 486, 0.00979),
        (999, 998, 0.02),
    ],
)
def test_ddim_variances(linear: Schedule, now: int, before: int, variance: float) -> None:
    """La varianza con η = 1 al ir de `now` a `before`, que es el paso anterior de la lista."""
    if now == before:
        sigma = ddim_sigma(linear, 0, final_alpha_cumprod=float(linear.alphas_cumprod[0]))
    else:
        sigma = ddim_sigma(respace(linear, [before, now]), 1)
    assert sigma**2 == pytest.approx(variance, abs=1e-5)


@pytest.mark.equation("ddim-sigma", "ddim-paso", "ddim-eta-uno")
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing", "quadratic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ddim_with_eta_one_is_ddpm(linear: Schedule, spacing: str, dtype: torch.dtype) -> None:
    """Los mismos 50 pasos, el mismo ruido y recorte: la misma muestra."""
    short = respace(linear, spaced_indices(1000, 50, spacing))
    ends = []
    for sampler in (make_sampler("ddpm"), make_sampler("ddim", eta=1.0)):
        draws = (z.to(dtype) for z in noises())
        *_, last = algorithm2(Denoiser(model, Diffusion(short)), sample().to(dtype), draws, sampler)
        ends.append(last.x_t)
    assert ends[0].abs().max() > 0.5
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(*ends, rtol=0, atol=tolerance)
