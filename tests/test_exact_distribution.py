"""Muestreo con el score exacto: lo que sale es la distribución de la que se partió.

Una mezcla de gaussianas tiene marginales y score en forma cerrada a cualquier nivel de
ruido, calculados aquí con independencia del paquete. Con ese score, el Algoritmo 2 debe dar
muestras que un contraste de dos muestras no distinga de las verdaderas; y el mismo
muestreo con las betas corridas un índice debe ser rechazado.
"""

import pytest
import torch
from ddpm_lit.data import gaussian_mixture_parameters
from ddpm_lit.metrics import energy_distance_test
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule
from scipy.stats import mannwhitneyu
from torch import Tensor

N = 5000
MIXTURE = gaussian_mixture_parameters()


def exact_epsilon(schedule: Schedule):
    """El ε óptimo, E[ε | x_t], de la mezcla: -√(1-ᾱ) ∇ log q(x_t)."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        alpha_bar = schedule.alphas_cumprod[t].reshape(-1, 1)
        variances = alpha_bar * MIXTURE.stds**2 + 1 - alpha_bar
        offsets = x[:, None] - alpha_bar.sqrt()[..., None] * MIXTURE.means
        log_joint = (
            MIXTURE.weights.log() - offsets.square().sum(-1) / (2 * variances) - variances.log()
        )
        score = -(log_joint.softmax(-1)[..., None] * offsets / variances[..., None]).sum(1)
        return -(1 - alpha_bar).sqrt() * score

    return model


def true_samples(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    component = torch.multinomial(MIXTURE.weights, N, replacement=True, generator=generator)
    noise = torch.randn(N, 2, generator=generator, dtype=torch.float64)
    return MIXTURE.means[component] + MIXTURE.stds[component, None] * noise


def generated_samples(schedule: Schedule, score_schedule: Schedule, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def noises():
        while True:
            yield torch.randn(N, 2, generator=generator, dtype=torch.float64)

    draws = noises()
    *_, last = algorithm2(
        exact_epsilon(score_schedule),
        schedule,
        next(draws),
        draws,
        variance="fixed_large",
        clip=False,
    )
    return last.x_t


def standardized_radius(x: Tensor) -> Tensor:
    """Distancia al centro de la componente más próxima, en desviaciones típicas."""
    return ((x[:, None] - MIXTURE.means).norm(dim=-1) / MIXTURE.stds).amin(dim=1)


def radius_p_value(x: Tensor, y: Tensor) -> float:
    return float(mannwhitneyu(standardized_radius(x), standardized_radius(y)).pvalue)


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    """Log-SNR en línea recta: el reparto con que menos error deja cada paso."""
    log_snr = torch.linspace(8, -9, 100, dtype=torch.float64)
    return Schedule.from_alphas_cumprod(torch.sigmoid(log_snr))


@pytest.mark.equation("generacion-algoritmo")
def test_exact_score_gives_the_data_distribution(schedule: Schedule) -> None:
    generated, truth = generated_samples(schedule, schedule, seed=1), true_samples(seed=2)
    assert energy_distance_test(generated, truth, permutations=199).p_value > 0.01
    assert radius_p_value(generated, truth) > 0.01


def test_betas_shifted_by_one_index_are_rejected(schedule: Schedule) -> None:
    betas = schedule.betas
    shifted = Schedule.from_betas(torch.cat([betas[:1], betas[:-1]]))
    generated, truth = generated_samples(shifted, schedule, seed=1), true_samples(seed=2)
    assert radius_p_value(generated, truth) < 0.01


def test_two_true_samples_are_not_rejected() -> None:
    first, second = true_samples(seed=3), true_samples(seed=4)
    assert energy_distance_test(first, second, permutations=199).p_value > 0.01
    assert radius_p_value(first, second) > 0.01
