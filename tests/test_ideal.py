"""La red ideal: E[x_0|x_t] en forma cerrada, frente a integrales y frente a lo que genera."""

import math
from typing import Any

import pytest
import torch

from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.ideal import ideal_model, ideal_x_start
from ddpm_lit.sampling import sample
from ddpm_lit.scheduler import make_schedule

SCHEDULE = make_schedule("linear", 100)
DATA = torch.tensor([[-1.0], [0.25], [0.9]])


def integrated(x_t: float, alpha_bar: float, bandwidth: float) -> float:
    """E[x_0|x_t] con una suma de Riemann sobre x_0, sin ninguna fórmula del paquete."""
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    density = sum(torch.exp(-((x - float(each)) ** 2) / (2 * bandwidth**2)) for each in DATA[:, 0])
    seen = torch.exp(-((x_t - math.sqrt(alpha_bar) * x) ** 2) / (2 * (1 - alpha_bar)))
    weights = density * seen
    return float((weights * x).sum() / weights.sum())


@pytest.mark.equation("epsilon-ideal")
@pytest.mark.parametrize("index", [0, 20, 60, 99])
@pytest.mark.parametrize("x_t", [-1.3, 0.1, 0.7])
def test_it_is_the_mean_of_all_that_could_have_been(index: int, x_t: float) -> None:
    bar = float(SCHEDULE.alphas_cumprod[index])
    states, t = torch.tensor([[x_t]], dtype=torch.float64), torch.tensor([index])
    found = ideal_x_start(SCHEDULE, DATA.double(), states, t, bandwidth=0.2)
    assert found.item() == pytest.approx(integrated(x_t, bar, 0.2), abs=1e-9)


def test_with_one_blurred_point_it_is_the_posterior_of_a_normal() -> None:
    x_t, t = torch.randn(6, 2, dtype=torch.float64), torch.arange(0, 96, 16)
    point = torch.tensor([[0.4, -0.7]], dtype=torch.float64)
    bar = SCHEDULE.alphas_cumprod[t][:, None]
    # Precisiones que se suman: la de los datos y la de x_t.
    precision = 1 / 0.09 + bar / (1 - bar)
    expected = (point / 0.09 + bar.sqrt() * x_t / (1 - bar)) / precision
    found = ideal_x_start(SCHEDULE, point, x_t, t, bandwidth=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.equation("epsilon-ideal")
def test_without_blur_each_data_point_weighs_what_bayes_says() -> None:
    """Con las densidades de PyTorch, dato a dato."""
    x_t, index = torch.randn(7, 2, dtype=torch.float64), 30
    data = torch.randn(5, 2, dtype=torch.float64)
    bar = SCHEDULE.alphas_cumprod[index]
    found = ideal_x_start(SCHEDULE, data, x_t, torch.full((7,), index))
    for row, x in zip(found, x_t, strict=True):
        normal = torch.distributions.Normal(bar.sqrt() * data, (1 - bar).sqrt())
        density = normal.log_prob(x).sum(1).exp()
        expected = (density[:, None] * data).sum(0) / density.sum()
        torch.testing.assert_close(row, expected, rtol=1e-10, atol=1e-12)


def test_without_blur_it_never_leaves_the_data() -> None:
    torch.manual_seed(1)
    x_t = torch.randn(50, 1) * 3
    found = ideal_x_start(SCHEDULE, DATA, x_t, torch.full((50,), 30))
    assert DATA.min() <= found.min() and found.max() <= DATA.max()
    # Con muy poco ruido, el más cercano se lo lleva todo, salvo cerca de la mitad entre dos.
    near = ideal_x_start(SCHEDULE, DATA, x_t, torch.zeros(50, dtype=torch.int64))
    first, second = (x_t - DATA.T).abs().sort(dim=1).values[:, :2].T
    clear = second**2 - first**2 > 0.05
    nearest = DATA[(x_t - DATA.T).abs().argmin(1)]
    torch.testing.assert_close(near[clear], nearest[clear], atol=1e-3, rtol=0)


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v", "posterior_mean"])
def test_it_answers_what_is_asked(prediction: str) -> None:
    diffusion = Diffusion(SCHEDULE, prediction, clip=False)
    model = ideal_model(diffusion, DATA, bandwidth=0.2)
    x_t = torch.randn(5, 1)
    step = Denoiser(model, diffusion)(x_t, 40)
    expected = ideal_x_start(SCHEDULE, DATA, x_t, torch.full((5,), 40), bandwidth=0.2)
    torch.testing.assert_close(step.x_start, expected, atol=1e-5, rtol=1e-5)


def test_it_minimises_the_error_of_the_noise() -> None:
    """Con muchos datos de verdad, ninguna corrección suya baja la pérdida."""
    torch.manual_seed(0)
    x_0 = DATA[torch.randint(3, (40_000,))] + 0.2 * torch.randn(40_000, 1)
    noise, t = torch.randn(40_000, 1), torch.full((40_000,), 25)
    x_t = q_sample(SCHEDULE, x_0, t, noise)
    diffusion = Diffusion(SCHEDULE, "epsilon", clip=False)
    answer = ideal_model(diffusion, DATA, bandwidth=0.2)(x_t, t)
    rest = noise - answer
    # El error que queda no se puede predecir: es ortogonal a cualquier función de x_t.
    for function in (torch.ones_like(x_t), x_t, x_t.sin(), answer):
        correlation = (rest * function).mean() / (rest.std() * function.norm() / 200)
        assert abs(float(correlation)) < 4 / 200


def test_what_it_generates_are_the_data() -> None:
    diffusion = Diffusion(make_schedule("linear", 200), "epsilon", clip=False)
    points = torch.tensor([[-0.8, 0.1], [0.5, 0.6], [0.4, -0.7]])
    model = ideal_model(diffusion, points)
    options: dict[str, Any] = {"indices": range(600), "seed": 1}
    made = sample(model, diffusion, (2,), **options)
    distance, which = torch.cdist(made, points).min(1)
    assert distance.max() < 0.02
    counts = which.bincount(minlength=3) / 600
    assert (counts - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 600)
    straight = sample(model, diffusion, (2,), sampler=ddim, **options)
    assert torch.cdist(straight, points).min(1).values.max() < 0.02


def test_what_makes_no_sense_is_refused() -> None:
    x_t, t = torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"Los datos tienen forma \(3, 1\) y x_t, \(2, 2\)"):
        ideal_x_start(SCHEDULE, DATA, torch.zeros(2, 2), t)
    with pytest.raises(ValueError, match="con N ≥ 1"):
        ideal_x_start(SCHEDULE, DATA[:0], x_t, t)
    with pytest.raises(ValueError, match="bandwidth es -1"):
        ideal_x_start(SCHEDULE, DATA, x_t, t, bandwidth=-1)
