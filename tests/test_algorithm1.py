"""El Algoritmo 1 sobre datos normales: la pérdida y su gradiente se saben en papel.

La pérdida es de segundo grado en (x_0, ε), así que con x_0 = m ± s, cuatro ε de media 0 y varianza
1, y todos los t, una sola tanda da su esperanza exacta.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.noise import TrainingDraws, training_draws
from ddpm_lit.scheduler import Schedule, make_schedule, respace
from ddpm_lit.training import ConditionDropout, algorithm1, gradient_step

MEAN, STD = 0.3, 0.6
SIGNS = torch.tensor([-1.0, 1.0], dtype=torch.float64)
NOISES = SIGNS[:, None] * torch.tensor([1.2, math.sqrt(2 - 1.2**2)], dtype=torch.float64)
PAIRS = torch.cartesian_prod(MEAN + STD * SIGNS, NOISES.flatten())


def whole_batch(timesteps: int) -> tuple[dict[str, Tensor], Callable[..., tuple[Tensor, Tensor]]]:
    """x_0 y un sorteo que no lo es: cada t con los ocho pares de x_0 y ε."""
    x_0 = PAIRS[:, :1].repeat(timesteps, 1)
    t = torch.arange(timesteps).repeat_interleave(len(PAIRS))
    noise = PAIRS[:, 1:].repeat(timesteps, 1)
    return {"x": x_0}, lambda x, total: (t, noise) if total == timesteps else (t, 0 * noise)


class Line(nn.Module):
    """ε̂ = w x_t, con w un parámetro."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.weight * x


def loss_and_slope(schedule: Schedule, w: float) -> tuple[float, float]:
    """E‖ε - w x_t‖² y su derivada respecto a w: E[ε x_t] = √(1-ᾱ), E[x_t²] = ᾱ(m²+s²) + 1 - ᾱ."""
    losses, slopes = [], []
    bar = 1.0
    for beta in schedule.betas.tolist():
        bar *= 1 - beta
        cross, square = math.sqrt(1 - bar), bar * (MEAN**2 + STD**2) + 1 - bar
        losses.append(1 - 2 * w * cross + w**2 * square)
        slopes.append(-2 * cross + 2 * w * square)
    return sum(losses) / len(losses), sum(slopes) / len(slopes)


@pytest.mark.equation("entrenamiento-algoritmo")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_step_follows_the_gradient_of_the_expected_error(
    name: str, agree: Callable[..., None]
) -> None:
    """Dos pasos: en el segundo no queda nada del gradiente del primero."""
    schedule = make_schedule(name, 60)
    batch, draw = whole_batch(60)
    model, weight, rate = Line(0.7), 0.7, 0.1
    descend = gradient_step(torch.optim.SGD(model.parameters(), lr=rate))
    steps = algorithm1(model, Diffusion(schedule), [batch, batch], draw, descend)
    for step in steps:
        loss, slope = loss_and_slope(schedule, weight)
        agree(step.loss, loss, rtol=1e-6)
        agree(step.grad_norm, abs(slope), rtol=1e-5)
        weight -= rate * slope
        agree(model.weight.detach(), weight, rtol=1e-5)


@pytest.mark.equation("perdidas-simple")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_perfect_network_is_left_with_what_cannot_be_known(
    name: str, agree: Callable[..., None]
) -> None:
    """E[ε|x_t] es una recta, y lo que falta por saber, Var(ε|x_t) = ᾱs²/(ᾱs² + 1 - ᾱ)."""
    schedule = make_schedule(name, 60)
    bars = torch.tensor((1 - schedule.betas).tolist(), dtype=torch.float64).cumprod(0)
    unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def model(x: Tensor, t: Tensor) -> Tensor:
        bar = bars[t][:, None]
        gap = x - bar.sqrt() * MEAN
        return (1 - bar).sqrt() * gap / (bar * STD**2 + 1 - bar) + 0 * unused

    batch, draw = whole_batch(60)
    descend = gradient_step(torch.optim.SGD([unused], lr=0.1))
    (step,) = algorithm1(model, Diffusion(schedule), [batch], draw, descend)
    left = bars * STD**2 / (bars * STD**2 + 1 - bars)
    agree(step.loss, left.mean(), rtol=1e-6)


@pytest.mark.equation("perdidas-simple", "entrenamiento-algoritmo")
def test_the_draws_are_uniform_and_normal() -> None:
    """χ² con 9 grados de libertad: por encima de 27,9 solo el 0,1 % de las veces."""
    draw, x_0, timesteps = TrainingDraws(11), torch.zeros(500, 2), 10
    drawn = [draw(x_0, timesteps) for _ in range(40)]
    t = torch.cat([each[0] for each in drawn])
    noise = torch.cat([each[1] for each in drawn])
    counts = torch.bincount(t, minlength=timesteps).double()
    assert len(counts) == timesteps
    assert ((counts - 2000).square() / 2000).sum() < 27.9
    assert noise.mean().abs() < 4 / math.sqrt(noise.numel())
    assert noise.square().mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / noise.numel()))
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.2)
    assert torch.corrcoef(torch.cat([noise, t[:, None]], dim=1).T).triu(1).abs().max() < 0.03
    assert not torch.equal(drawn[0][1], drawn[1][1])


def test_the_draws_go_on_where_they_were() -> None:
    """Quien sortea lleva su cuenta: una segunda vuelta no repite t ni ε."""
    x_0 = torch.zeros(6, 2)
    draw = TrainingDraws(7, step=5)
    for step in (5, 6):
        expected = training_draws(7, step, range(6), (2,), 100)
        for found, wanted in zip(draw(x_0, 100), expected, strict=True):
            assert torch.equal(found, wanted)


def test_the_network_sees_the_original_times() -> None:
    walk = respace(make_schedule("cosine", 50), [3, 20, 49])
    seen = []
    unused = nn.Parameter(torch.zeros(()))

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t.tolist())
        return 0 * x + unused

    descend = gradient_step(torch.optim.SGD([unused], lr=0.1))
    t = torch.tensor([2, 0, 1])
    list(
        algorithm1(
            model,
            Diffusion(walk),
            [{"x": torch.zeros(3, 2)}],
            lambda x, total: (t, torch.zeros(3, 2)),
            descend,
        )
    )
    assert seen == [[49, 3, 20]]


def test_conditions_are_dropped_example_by_example() -> None:
    """En una misma tanda unos ejemplos se quedan sin condición y otros no, cada uno por su lado."""
    size, times, probability = 40, 200, 0.3
    drop = ConditionDropout(
        probability, lambda condition: {name: -value for name, value in condition.items()}
    )
    batch = {"x": torch.zeros(size, 2), "class_labels": torch.ones(size)}
    dropped = torch.stack([drop(batch)["class_labels"] < 0 for _ in range(times)]).double()
    per_batch = dropped.mean(dim=1)
    assert ((per_batch > 0) & (per_batch < 1)).all()
    assert per_batch.var().item() == pytest.approx(0.21 / size, rel=0.5)
    per_example = dropped.mean(dim=0)
    assert (per_example - probability).abs().max() < 4.5 * math.sqrt(0.21 / times)
    assert dropped.mean().item() == pytest.approx(probability, abs=4 * math.sqrt(0.21 / 8000))
    between = torch.corrcoef(dropped.T)
    assert (between - torch.eye(size)).abs().max() < 5 / math.sqrt(times)
