"""Muestreo con el score exacto: lo que sale es la distribución de la que se partió.

Una mezcla de gaussianas tiene marginales y score en forma cerrada a cualquier nivel de
ruido, calculados aquí con independencia del paquete. Con ese score, el Algoritmo 2 debe dar
muestras que un contraste de dos muestras no distinga de las verdaderas; y el mismo
muestreo con las betas corridas un índice debe ser rechazado.
"""

import pytest
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.data import GaussianMixture
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.evaluation.metrics import energy_distance_test
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule

N = 5000
MIXTURE = GaussianMixture(
    weights=torch.tensor([0.4, 0.35, 0.25], dtype=torch.float64),
    means=torch.tensor([[1.1, 0.3], [-0.9, 0.6], [-0.1, -1.1]], dtype=torch.float64),
    stds=torch.tensor([0.6, 0.55, 0.5], dtype=torch.float64),
)
SCHEDULE = make_schedule("linear", 30)


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


def mixture_samples(count: int, generator: torch.Generator) -> Tensor:
    """Muestras verdaderas de la mezcla, float64 (count, 2)."""
    component = torch.multinomial(MIXTURE.weights, count, replacement=True, generator=generator)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return MIXTURE.means[component] + MIXTURE.stds[component, None] * noise


def true_samples(seed: int) -> Tensor:
    return mixture_samples(N, torch.Generator().manual_seed(seed))


def generated_samples(schedule: Schedule, score_schedule: Schedule, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def noises():
        while True:
            yield torch.randn(N, 2, generator=generator, dtype=torch.float64)

    draws = noises()
    *_, last = algorithm2(
        Denoiser(
            exact_epsilon(score_schedule), Diffusion(schedule, variance="fixed_large", clip=False)
        ),
        next(draws),
        draws,
    )
    return last.x_t


def p_value(x: Tensor, y: Tensor) -> float:
    return energy_distance_test(x, y, permutations=199).p_value


@pytest.mark.parametrize("seed", [1, 2])
def test_exact_score_gives_the_data_distribution(seed: int) -> None:
    generated = generated_samples(SCHEDULE, SCHEDULE, seed)
    assert p_value(generated, true_samples(seed + 100)) > 0.01


@pytest.mark.parametrize("shift", ["hacia delante", "hacia atrás"])
def test_betas_shifted_by_one_index_are_rejected(shift: str) -> None:
    betas = SCHEDULE.betas
    later, earlier = torch.cat([betas[1:], betas[-1:]]), torch.cat([betas[:1], betas[:-1]])
    shifted = Schedule.from_betas(later if shift == "hacia delante" else earlier)
    generated = generated_samples(shifted, SCHEDULE, seed=1)
    assert p_value(generated, true_samples(101)) < 0.01


def test_two_true_samples_are_not_rejected() -> None:
    assert p_value(true_samples(3), true_samples(4)) > 0.01
