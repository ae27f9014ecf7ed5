"""Lo que añaden Nichol y Dhariwal: la varianza aprendida, las pérdidas con la cota, el muestreo de
t por importancia y los bits por dimensión, contra formas cerradas."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Normal

import tiny
from ddpm_lit.backward import p_mean_variance, split_output
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.improved import (
    LOSSES,
    ImportanceSampler,
    bits_per_dimension,
    hybrid_loss,
    make_loss,
    rate_distortion,
    vlb_loss,
)
from ddpm_lit.losses import normal_log_density, simple_loss, variational_bound, vb_term
from ddpm_lit.noise import training_draws
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.posterior import q_posterior
from ddpm_lit.recipes.reading import load_recipe, recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL
from ddpm_lit.runs.train import train
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices
from ddpm_lit.variance import VARIANCES

LN2 = math.log(2)
LEARNED = [name for name, variance in VARIANCES.items() if variance.learned]


def batch(schedule: Schedule, channels: int = 2) -> tuple[Tensor, ...]:
    """x_0, ruido, x_t, una salida de red con el doble de canales y t: un ejemplo por índice."""
    generator = torch.Generator().manual_seed(12)
    size = (len(schedule), channels, 3)
    x_start = 2 * torch.rand(size, dtype=torch.float64, generator=generator) - 1
    noise = torch.randn(size, dtype=torch.float64, generator=generator)
    output = torch.randn(
        len(schedule), 2 * channels, 3, dtype=torch.float64, generator=generator
    ).tanh()
    t = torch.arange(len(schedule))
    return x_start, noise, q_sample(schedule, x_start, t, noise), output, t


# --- La varianza aprendida ------------------------------------------------------------------------


@pytest.mark.equation("improved-rango")
def test_the_range_goes_from_one_fixed_variance_to_the_other(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """o = -1 da β̃_t, o = 1 da β_t y o = 0, su media geométrica."""
    t = torch.arange(1, 1000)
    like = torch.ones(999, 1, dtype=torch.float64)
    small, _ = VARIANCES["fixed_small"](schedule, t, like)
    large, _ = VARIANCES["fixed_large"](schedule, t, like)
    for output, expected in ((-1.0, small), (1.0, large), (0.0, (small * large).sqrt())):
        variance, log_variance = VARIANCES["learned_range"](schedule, t, output * like)
        agree(variance, expected, rtol=1e-12)
        agree(log_variance.exp(), expected, rtol=1e-12)
    beyond, _ = VARIANCES["learned_range"](schedule, t, 3 * like)
    agree(beyond, large**2 / small, rtol=1e-11)


@pytest.mark.equation("improved-rango")
def test_the_first_step_has_a_finite_range(schedule: Schedule, agree: Callable[..., None]) -> None:
    """En el índice 0 el extremo inferior es β̃_2, no β̃_1 = 0."""
    first = torch.tensor([0])
    like = torch.ones(1, 1, dtype=torch.float64)
    lowest, _ = VARIANCES["learned_range"](schedule, first, -like)
    highest, _ = VARIANCES["learned_range"](schedule, first, like)
    agree(lowest, schedule.posterior_variance[1], rtol=1e-12)
    agree(highest, schedule.betas[0], rtol=1e-12)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
@pytest.mark.parametrize("variance", LEARNED)
def test_the_step_splits_the_channels(
    linear: Schedule, prediction: str, variance: str, agree: Callable[..., None]
) -> None:
    """La primera mitad es la predicción de siempre; la segunda, solo varianza."""
    _, _, x_t, output, t = batch(linear)
    step = p_mean_variance(Diffusion(linear, prediction, variance), output, x_t, t)
    plain = p_mean_variance(Diffusion(linear, prediction), output[:, :2], x_t, t)
    assert torch.equal(step.mean, plain.mean)
    assert torch.equal(step.x_start, plain.x_start)
    assert torch.equal(step.epsilon, plain.epsilon)
    expected = VARIANCES[variance](linear, t, output[:, 2:])
    assert torch.equal(step.variance, expected[0])
    assert step.variance.shape == x_t.shape
    agree(step.variance, step.log_variance.exp())


def test_points_of_the_plane_split_their_coordinates(linear: Schedule) -> None:
    x_t, output = torch.zeros(3, 2), torch.arange(12.0).reshape(3, 4)
    predicted, channels = split_output(VARIANCES["learned"], output, x_t)
    assert predicted.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert channels.tolist() == [[2, 3], [6, 7], [10, 11]]
    t = torch.tensor([0, 5, 999])
    step = p_mean_variance(Diffusion(linear, "x_start", "learned"), output, x_t, t)
    assert torch.equal(step.log_variance, channels)


@pytest.mark.parametrize(
    ("output", "x_t"), [((3, 2), (3, 2)), ((3, 3), (3, 2)), ((2, 4), (3, 2)), ((6,), (3,))]
)
def test_outputs_of_other_shapes_are_refused(output: tuple[int, ...], x_t: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="el doble de canales que x_t"):
        split_output(VARIANCES["learned_range"], torch.zeros(output), torch.zeros(x_t))


def test_a_fixed_variance_asks_for_no_channels() -> None:
    x_t, output = torch.zeros(3, 2), torch.arange(6.0).reshape(3, 2)
    for name in ("fixed_small", "fixed_large"):
        predicted, like = split_output(VARIANCES[name], output, x_t)
        assert predicted is output
        assert like is x_t
        with pytest.raises(ValueError, match=rf"\(3, 4\).*«{name}» deben ser iguales"):
            split_output(VARIANCES[name], torch.zeros(3, 4), x_t)


# --- Las pérdidas ---------------------------------------------------------------------------------


@pytest.mark.equation("improved-hibrida")
@pytest.mark.parametrize("variance", LEARNED)
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_the_hybrid_loss_is_its_formula(
    linear: Schedule, prediction: str, variance: str, agree: Callable[..., None]
) -> None:
    x_start, noise, x_t, output, t = batch(linear)
    diffusion = Diffusion(linear, prediction, variance)
    value = hybrid_loss(diffusion, output, x_start, noise, t, levels=17)
    plain = Diffusion(linear, prediction)
    simple = simple_loss(plain, output[:, :2], x_start, noise, t)
    unclipped = replace(diffusion, clip=False)
    term = vb_term(unclipped, output, x_start, x_t, t, levels=17)
    agree(value, simple.double() + term, rtol=1e-6)  # λT = 1 con T = 1000


@pytest.mark.equation("improved-hibrida")
@pytest.mark.parametrize("variance", LEARNED)
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_the_bound_inside_the_hybrid_does_not_move_the_mean(
    linear: Schedule, prediction: str, variance: str
) -> None:
    """Respecto a la media, el gradiente de la híbrida es, bit a bit, el de L_simple."""
    x_start, noise, _, output, t = batch(linear)
    diffusion, plain = Diffusion(linear, prediction, variance), Diffusion(linear, prediction)

    def gradient(loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        leaf = output.clone().requires_grad_()
        (result,) = torch.autograd.grad(loss(leaf).sum(), leaf)
        mean, channels = result.chunk(2, dim=1)
        return mean, channels

    mean, channels = gradient(
        lambda out: hybrid_loss(diffusion, out, x_start, noise, t, vlb_weight=0.25)
    )
    simple, nothing = gradient(lambda out: simple_loss(plain, out[:, :2], x_start, noise, t))
    through, whole = gradient(lambda out: vlb_loss(diffusion, out, x_start, noise, t))
    assert torch.equal(mean, simple)
    assert not nothing.any()
    torch.testing.assert_close(channels, 0.25 * whole, rtol=1e-12, atol=0)
    assert whole[1:].abs().min() > 0
    assert through[1:].abs().min() > 0


@pytest.mark.equation("improved-vlb")
def test_the_vlb_loss_estimates_the_bound(short: Schedule, agree: Callable[..., None]) -> None:
    """La media de T·L_{t-1} sobre todos los t, más L_T, es la cota entera."""
    generator = torch.Generator().manual_seed(8)
    x_start = torch.linspace(-1, 1, 17, dtype=torch.float64).reshape(1, 17)
    noises = torch.randn(50, 1, 17, dtype=torch.float64, generator=generator)
    diffusion = Diffusion(short, variance="learned_range", clip=False)
    bound = variational_bound(
        lambda x, t: torch.cat([0.8 * x, 0.1 * x], dim=1),
        diffusion,
        x_start,
        lambda index: noises[index],
        levels=17,
    )
    t = torch.arange(50)
    x_t = q_sample(short, x_start.expand(50, 17), t, noises[:, 0])
    output = torch.cat([0.8 * x_t, 0.1 * x_t], dim=1)
    losses = vlb_loss(diffusion, output, x_start.expand(50, 17), noises[:, 0], t, levels=17)
    agree(losses.mean() + bound.prior, bound.total, rtol=1e-12)


@pytest.mark.equation("improved-optima")
def test_the_best_variance_adds_the_error_of_the_mean(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """El término de la cota deja de bajar donde σ² = β̃ + (μ̃ - μ)²."""
    x_start, _, x_t, output, t = (value[1:] for value in batch(linear))
    output = 0.01 * output
    diffusion = Diffusion(linear, "x_start", "learned", clip=False)
    step = p_mean_variance(diffusion, output, x_t, t)
    true = q_posterior(linear, x_start, x_t, t)
    best = (true.variance + (true.mean - step.mean).square()).log()

    def term(log_variance: Tensor) -> Tensor:
        full = torch.cat([output[:, :2], log_variance], dim=1)
        return vb_term(diffusion, full, x_start, x_t, t)

    leaf = best.clone().requires_grad_()
    (slope,) = torch.autograd.grad(term(leaf).sum(), leaf)
    agree(slope, torch.zeros_like(slope), atol=1e-12)
    # Y donde no vale 0 es, por píxel y en nats, (1/σ² - σ*²/σ⁴)/2.
    elsewhere = (best + 0.4 * torch.sin(best)).requires_grad_()
    (slope,) = torch.autograd.grad(term(elsewhere).sum(), elsewhere)
    sigma2 = elsewhere.detach().exp()
    expected = (1 / sigma2 - best.exp() / sigma2**2) / 2
    agree(slope / sigma2 * best[0].numel() * LN2, expected, rtol=1e-6)
    assert (term(best + 0.1) > term(best)).all()
    assert (term(best - 0.1) > term(best)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_name(linear: Schedule, name: str) -> None:
    x_start, noise, _, output, t = batch(linear)
    if name == "mse":
        plain = Diffusion(linear)
        loss = make_loss(name, weighting="min_snr")
        expected = simple_loss(plain, output[:, :2], x_start, noise, t, weighting="min_snr")
        assert torch.equal(loss(plain, output[:, :2], x_start, noise, t), expected)
        assert not torch.equal(expected, simple_loss(plain, output[:, :2], x_start, noise, t))
        return
    diffusion = Diffusion(linear, variance="learned_range")
    options = {"levels": 17} | ({"vlb_weight": 0.5} if name == "hybrid" else {})
    loss = make_loss(name, **options)
    function = {"hybrid": hybrid_loss, "vlb": vlb_loss}[name]
    expected = function(diffusion, output, x_start, noise, t, **options)
    assert torch.equal(loss(diffusion, output, x_start, noise, t), expected)
    assert not torch.equal(expected, function(diffusion, output, x_start, noise, t))


def test_senseless_losses_are_refused(linear: Schedule) -> None:
    x_start, noise, _, output, t = batch(linear)
    with pytest.raises(ValueError, match=r"«otra».*mse, hybrid, vlb"):
        make_loss("otra")
    with pytest.raises(ValueError, match="«fixed_small» no se aprende"):
        hybrid_loss(Diffusion(linear), output[:, :2], x_start, noise, t)
    with pytest.raises(ValueError, match=r"«vlb» no admite «weighting».*levels"):
        make_loss("vlb", weighting="min_snr")
    with pytest.raises(ValueError, match=r"«mse» no admite «levels».*weighting"):
        make_loss("mse", levels=17)
    with pytest.raises(ValueError, match=r"«mse» nada enseña la varianza «learned_range»"):
        simple_loss(Diffusion(linear, variance="learned_range"), output, x_start, noise, t)


def test_bfloat16_outputs_are_lifted(linear: Schedule) -> None:
    x_start, noise, _, output, t = (value.float() for value in batch(linear))
    rough = output.bfloat16()
    t = t.long()
    diffusion = Diffusion(linear, variance="learned_range")
    for loss in (hybrid_loss, vlb_loss):
        value = loss(diffusion, rough, x_start, noise, t)
        assert value.dtype == torch.float32
        torch.testing.assert_close(
            value, loss(diffusion, rough.float(), x_start, noise, t), rtol=1e-6, atol=0
        )


# --- La cota en formas cerradas: datos normales ---------------------------------------------------

NODES = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
MASSES = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)


def remaining_variance(schedule: Schedule, std: float) -> Tensor:
    """Var[x_0|x_t] de datos N(m, s²), en cada t."""
    bar = schedule.alphas_cumprod
    return std**2 * (1 - bar) / (bar * std**2 + 1 - bar)


def exact_reverse_variance(schedule: Schedule, std: float) -> Tensor:
    """Var[x_{t-1}|x_t] de datos N(m, s²): por la regla de Bayes con dos normales."""
    before = schedule.alphas_cumprod_prev * std**2 + 1 - schedule.alphas_cumprod_prev
    return before * schedule.betas / (schedule.alphas * before + schedule.betas)


def expected_bound(
    schedule: Schedule, mean: float, std: float, variance: str, channels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """E[L] de datos N(m, s²) con el ε exacto, en nats: el total y los términos.

    Cada término es cuadrático en (x_0, ε), así que tres nodos por variable dan su media exacta.
    """
    grid, mass = torch.cartesian_prod(NODES, NODES), torch.cartesian_prod(MASSES, MASSES).prod(1)
    bar = schedule.alphas_cumprod

    def model(x: Tensor, t: Tensor) -> Tensor:
        index = torch.searchsorted(schedule.timesteps, t)
        b = bar[index].unsqueeze(1)
        epsilon = (1 - b).sqrt() * (x - b.sqrt() * mean) / (b * std**2 + 1 - b)
        if channels is None:
            return epsilon
        return torch.cat([epsilon, channels[index].unsqueeze(1)], dim=1)

    bound = variational_bound(
        model,
        Diffusion(schedule, variance=variance, clip=False),
        mean + std * grid[:, :1],
        lambda index: grid[:, 1:],
        levels=None,
    )
    return (bound.total * mass).sum() * LN2, (bound.terms * mass.unsqueeze(1)).sum(0) * LN2


HUNDRED = {name: make_schedule(name, 100) for name in ("linear", "cosine")}
HUNDRED["half"] = respace(HUNDRED["cosine"], range(50))  # y aún queda señal en x_T
GAUSSIANS = pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 0.4), (-0.5, 2.0)])


@pytest.mark.equation("improved-entropia")
@GAUSSIANS
@pytest.mark.parametrize("name", HUNDRED)
@pytest.mark.parametrize("steps", [1, 10, 100])
def test_with_the_exact_reverse_variance_the_bound_is_tight(
    name: str, steps: int, mean: float, std: float, agree: Callable[..., None]
) -> None:
    """H(q(x_0)) + KL(q(x_T)‖N(0, 1)): no se pierde nada más, ni siquiera con un solo paso."""
    whole = HUNDRED[name]
    schedule = respace(whole, spaced_indices(len(whole), min(steps, len(whole))))
    channels = exact_reverse_variance(schedule, std).log()
    total, _ = expected_bound(schedule, mean, std, "learned", channels)
    bar = schedule.alphas_cumprod[-1]
    last = bar * std**2 + 1 - bar
    entropy = 0.5 * math.log(2 * math.pi * math.e * std**2)
    divergence = 0.5 * (last + bar * mean**2 - 1 - last.log())
    agree(total, entropy + divergence, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("improved-entropia", "improved-rango")
@pytest.mark.parametrize("std", [0.05, 0.4, 1.0])
def test_the_range_reaches_the_exact_reverse_variance(
    std: float, agree: Callable[..., None]
) -> None:
    """Con datos de varianza a lo sumo 1, la varianza exacta cae entre β̃ y β: v está en [0, 1]."""
    linear = HUNDRED["linear"]
    log_variance = exact_reverse_variance(linear, std).log()
    small, large = linear.posterior_log_variance_clipped, linear.log_betas
    v = (log_variance - small) / (large - small)
    assert v[1:].min() >= -1e-9
    assert v[1:].max() <= 1 + 1e-9
    exact, _ = expected_bound(linear, 0.3, std, "learned", log_variance)
    ranged, _ = expected_bound(linear, 0.3, std, "learned_range", 2 * v - 1)
    agree(ranged, exact, rtol=1e-9, atol=1e-9)


@GAUSSIANS
@pytest.mark.parametrize("name", HUNDRED)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_the_bound_is_the_sum_of_its_gaussian_divergences(
    variance: str, name: str, mean: float, std: float, agree: Callable[..., None]
) -> None:
    """Con datos normales y el ε exacto cada término es una cuenta con varianzas."""
    schedule = HUNDRED[name]
    total, terms = expected_bound(schedule, mean, std, variance)
    like = torch.ones(len(schedule), dtype=torch.float64)
    _, log_sigma2 = VARIANCES[variance](schedule, torch.arange(len(schedule)), like)
    sigma2, small = log_sigma2.exp(), schedule.posterior_variance
    error = schedule.posterior_mean_coef1**2 * remaining_variance(schedule, std)
    divergences = 0.5 * ((sigma2 / small).log() + (small + error) / sigma2 - 1)
    decoder = 0.5 * ((2 * math.pi * sigma2).log() + error / sigma2)
    expected = torch.cat([decoder[:1], divergences[1:]])
    bar = schedule.alphas_cumprod[-1]
    prior = 0.5 * (bar * (mean**2 + std**2) - bar - (1 - bar).log())
    agree(terms, expected, rtol=1e-7, atol=1e-10)
    agree(total, expected.sum() + prior, rtol=1e-7)


@GAUSSIANS
def test_fixed_variances_cost_more_than_the_exact_one(mean: float, std: float) -> None:
    linear = HUNDRED["linear"]
    channels = exact_reverse_variance(linear, std).log()
    _, exact = expected_bound(linear, mean, std, "learned", channels)
    for variance in ("fixed_small", "fixed_large"):
        _, terms = expected_bound(linear, mean, std, variance)
        assert (terms > exact - 1e-12).all()
        if variance == "fixed_large" and std == 1.0:  # es la exacta, salvo en el índice 0
            assert (terms - exact)[1:].sum() == pytest.approx(0, abs=1e-9)
        else:
            assert (terms - exact)[1:].sum() > 5e-3


def test_the_normal_density() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    mean, std = torch.tensor(0.3).double(), torch.tensor(0.7).double()
    torch.testing.assert_close(
        normal_log_density(x, mean, std.log()), Normal(mean, std).log_prob(x), rtol=1e-12, atol=0
    )


# --- El muestreo por importancia ------------------------------------------------------------------


def filled(losses: Tensor, **options: Any) -> ImportanceSampler:
    """Un muestreo que ha visto cada fila de `losses`, (n, T), en orden."""
    sampler = ImportanceSampler(losses.shape[1], **options)
    for row in losses:
        sampler.update(torch.arange(losses.shape[1]), row)
    return sampler


@pytest.mark.equation("improved-importancia")
def test_probabilities_follow_the_size_of_the_loss(agree: Callable[..., None]) -> None:
    generator = torch.Generator().manual_seed(2)
    losses = torch.rand(13, 20, dtype=torch.float64, generator=generator) * torch.arange(1, 21)
    sampler = filled(losses, uniform=0.0)
    size = losses[-10:].square().mean(dim=0).sqrt()
    agree(sampler.probabilities(), size / size.sum(), rtol=1e-12)
    mixed = filled(losses, uniform=0.1).probabilities()
    agree(mixed, 0.9 * size / size.sum() + 0.1 / 20, rtol=1e-12)


def test_it_is_uniform_until_every_history_is_full() -> None:
    sampler = filled(torch.rand(10, 5).double() * torch.arange(1, 6))
    assert sampler.probabilities().std() > 0.01
    nearly = filled(torch.rand(9, 5).double() * torch.arange(1, 6))
    nearly.update(torch.tensor([0, 1, 2, 3, 3]), torch.ones(5))
    assert torch.equal(nearly.probabilities(), torch.full((5,), 0.2, dtype=torch.float64))
    assert torch.equal(nearly.weights(torch.tensor([0, 4])), torch.ones(2, dtype=torch.float64))
    nearly.update(torch.tensor([4]), torch.ones(1))
    assert nearly.probabilities().std() > 0.01


def test_losses_that_are_all_zero_leave_it_uniform() -> None:
    assert filled(torch.zeros(10, 4)).probabilities().tolist() == [0.25] * 4


@pytest.mark.equation("improved-importancia")
def test_the_weighted_loss_keeps_its_mean(agree: Callable[..., None]) -> None:
    """Σ_t p_t · (1/(T p_t)) · L_t = media de L_t, sea lo que sea p."""
    generator = torch.Generator().manual_seed(6)
    sampler = filled(torch.rand(10, 50, dtype=torch.float64, generator=generator) ** 3)
    other = torch.randn(50, dtype=torch.float64, generator=generator)
    weights = sampler.weights(torch.arange(50))
    agree((sampler.probabilities() * weights * other).sum(), other.mean(), rtol=1e-9)
    assert weights.max() > 2


@pytest.mark.equation("improved-importancia")
def test_no_other_distribution_has_less_variance(agree: Callable[..., None]) -> None:
    """El segundo momento del estimador, Σ E[L_t²]/(T²p_t), es el menor posible."""
    generator = torch.Generator().manual_seed(7)
    losses = torch.rand(10, 30, dtype=torch.float64, generator=generator)
    losses *= torch.logspace(-2, 2, 30, dtype=torch.float64)
    moments = losses.square().mean(dim=0)

    def second_moment(p: Tensor) -> float:
        return float((moments / (30**2 * p)).sum())

    best = filled(losses, uniform=0.0).probabilities()
    agree(second_moment(best), float(moments.sqrt().sum() / 30) ** 2, rtol=1e-12)
    for _ in range(200):
        p = best * torch.exp(0.2 * torch.randn(30, dtype=torch.float64, generator=generator))
        assert second_moment(p / p.sum()) > second_moment(best)
    assert second_moment(torch.full((30,), 1 / 30).double()) > 3 * second_moment(best)


def test_steady_losses_leave_no_variance(agree: Callable[..., None]) -> None:
    """Si la pérdida de cada t no cambia, la pérdida pesada es siempre la misma, salga el t que
    salga: se estima la media con un solo ejemplo."""
    losses = torch.logspace(-3, 3, 40, dtype=torch.float64)
    sampler = filled(losses.expand(10, 40), uniform=0.0)
    weighted = sampler.weights(torch.arange(40)) * losses
    agree(weighted, losses.mean().expand(40), rtol=1e-10)


@pytest.mark.equation("improved-importancia")
def test_drawn_times_follow_the_probabilities() -> None:
    """χ² con 5 grados de libertad: por encima de 20,5 solo el 0,1 % de las veces."""
    p = torch.tensor([0.02, 0.5, 0.08, 0.1, 0.05, 0.25], dtype=torch.float64)
    t, noise = training_draws(3, 11, range(20_000), (2,), 6, p)
    counts = torch.bincount(t, minlength=6).double()
    assert ((counts - 20_000 * p).square() / (20_000 * p)).sum() < 20.5
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(torch.stack([t.float(), noise[:, 0]]))[0, 1].abs() < 0.03


def test_drawn_times_are_keyed() -> None:
    p = torch.arange(1, 8, dtype=torch.float64) / 28
    whole = training_draws(3, 11, range(10), (2,), 7, p)
    half = training_draws(3, 11, range(5, 10), (2,), 7, p)
    assert torch.equal(whole[0][5:], half[0])
    assert torch.equal(whole[1][5:], half[1])
    assert not torch.equal(whole[0], training_draws(3, 12, range(10), (2,), 7, p)[0])
    certain = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert training_draws(0, 0, range(50), (), 3, certain)[0].unique().tolist() == [2]
    with pytest.raises(ValueError, match=r"\(7,\) y se espera \(3,\)"):
        training_draws(0, 0, range(2), (), 3, p)


def test_reweighting_uses_the_probabilities_of_the_draw() -> None:
    """El peso es el de antes de apuntar las pérdidas del lote."""
    sampler = filled(torch.arange(1, 5).double().expand(10, 4), uniform=0.0)
    t = torch.tensor([3, 0])
    weights = sampler.weights(t)
    losses = torch.tensor([2.0, 100.0], requires_grad=True)
    result = sampler.reweight(t, losses)
    assert result.tolist() == pytest.approx([2 * 10 / 16, 100 * 10 / 4])
    assert result.requires_grad
    assert (sampler.weights(t) != weights).all()


def test_a_batch_is_recorded_loss_by_loss() -> None:
    """De golpe, lo mismo que de una en una: también un t que llena su historia en un solo lote."""
    generator = torch.Generator().manual_seed(4)
    sampler, expected, counts = ImportanceSampler(5, history=3), torch.zeros(5, 3), [0] * 5
    for size in (1, 4, 30, 2, 12):
        t = torch.randint(0, 5, (size,), generator=generator)
        losses = torch.rand(size, generator=generator)
        sampler.update(t, losses)
        for index, loss in zip(t.tolist(), losses.tolist(), strict=True):
            expected[index, counts[index] % 3] = loss
            counts[index] += 1
        assert sampler.counts.tolist() == counts
        assert torch.equal(sampler.losses.float(), expected)


def test_the_state_comes_back() -> None:
    sampler = filled(torch.rand(12, 6).double(), history=4)
    copy = ImportanceSampler(6, history=4)
    copy.load_state_dict({name: value.clone() for name, value in sampler.state_dict().items()})
    for both in (sampler, copy):
        both.update(torch.tensor([2, 2, 5]), torch.tensor([9.0, 0.1, 3.0]))
    assert torch.equal(sampler.probabilities(), copy.probabilities())
    with pytest.raises(ValueError, match=r"forma \(6, 4\) y este, \(6, 10\)"):
        ImportanceSampler(6).load_state_dict(sampler.state_dict())


def test_impossible_samplers_are_refused() -> None:
    for options in ({"timesteps": 0}, {"timesteps": 3, "history": 0}):
        with pytest.raises(ValueError, match="al menos 1"):
            ImportanceSampler(**options)
    with pytest.raises(ValueError, match="una fracción entre 0 y 1"):
        ImportanceSampler(3, uniform=1.5)
    with pytest.raises(ValueError, match="una por índice"):
        ImportanceSampler(3).update(torch.tensor([1, 2]), torch.ones(3))


# --- En el entrenamiento --------------------------------------------------------------------------


def learned_recipe(steps: int = 12, **diffusion: Any) -> Recipe:
    """Puntos del plano con la varianza aprendida y pocos t: la historia se llena pronto."""
    table = tiny.toy_table(steps=steps, batch_size=64, decay="constant")
    table["model"]["options"]["out_dim"] = 4
    learned = {"timesteps": 4, "variance": "learned_range", "loss": "hybrid"}
    table["diffusion"] |= learned | {"timestep_sampling": "importance"} | diffusion
    return recipe_from_dict(table)


def run(recipe: Recipe, folder: Path, **options: Any) -> Any:
    return train(recipe, folder, device="cpu", progress=False, **options)


@pytest.mark.parametrize("loss", ["hybrid", "vlb"])
def test_a_resumed_training_continues_exactly(loss: str, tmp_path: Path) -> None:
    """Bit a bit, también lo que el muestreo de t recuerda."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = run(learned_recipe(loss=loss), tmp_path / "entero")
    for steps in (7, 12):
        run(learned_recipe(steps, loss=loss), tmp_path / "partes")
    torch.set_num_threads(threads)
    state = load_file(tmp_path / "entero" / CHECKPOINT)
    assert state["importance.counts"].sum() == 12 * 64
    assert (state["importance.counts"] >= 10).all()
    for name in (MODEL, CHECKPOINT):
        whole, parts = (load_file(tmp_path / folder / name) for folder in ("entero", "partes"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert trained.sample(3).isfinite().all()


def test_importance_changes_which_times_are_trained(tmp_path: Path) -> None:
    even, chosen = (
        run(learned_recipe(timestep_sampling=name), tmp_path / name)
        for name in ("uniform", "importance")
    )
    pairs = zip(even.model.parameters(), chosen.model.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert "importance.counts" not in load_file(tmp_path / "uniform" / CHECKPOINT)


def test_senseless_recipes_are_refused() -> None:
    for change, message in (
        ({"loss": "mse"}, r"«mse» nada enseña la varianza «learned_range»"),
        ({"loss": "hybrid", "variance": "fixed_small"}, r"«fixed_small».*debe tener 2 canales"),
        ({"loss": "vlb", "weighting": "min_snr"}, r"ya trae sus pesos.*«min_snr»"),
        ({"loss": "vlb", "variance": "fixed_large"}, r"debe tener 2 canales y tiene 4.*out_dim"),
        ({"weighting": "vlb"}, r"«learned_range» la aprende"),
        ({"loss": "otra"}, r"ninguna pérdida «otra».*mse, hybrid, vlb"),
        ({"timestep_sampling": "otro"}, r"timestep_sampling.*uniform, importance"),
        ({"vlb_weight": 0.0}, r"vlb_weight.*positivo"),
    ):
        with pytest.raises(ValueError, match=message):
            learned_recipe(**change)
    overrides = {"model.options.out_channels": 1}
    with pytest.raises(ValueError, match=r"debe tener 2 canales y tiene 1.*out_channels = 2"):
        load_recipe("digits-learned", overrides=overrides)


# --- Bits por dimensión ---------------------------------------------------------------------------


def levels_data(count: int, levels: int = 17) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(levels, (count, 1, 2, 2), generator=generator) * (2 / (levels - 1)) - 1


@pytest.mark.equation("perdidas-bits")
def test_bits_of_a_model_that_knows_nothing(agree: Callable[..., None]) -> None:
    """Un solo paso, de ruido puro a N(0, 1): cada valor cuesta la masa de su intervalo."""
    schedule = Schedule.from_betas([1.0])
    x = levels_data(11)
    likelihood = bits_per_dimension(
        lambda x_t, t: torch.zeros_like(x_t),
        Diffusion(schedule, "x_start", "fixed_large"),
        x,
        levels=17,
    )
    normal = Normal(0.0, 1.0)
    edges = torch.linspace(-1, 1, 17) - 1 / 16
    upper = torch.cat([normal.cdf(edges[1:]), torch.ones(1)])
    lower = torch.cat([torch.zeros(1), normal.cdf(edges[1:])])
    bits = -(upper - lower).log2()[((x + 1) * 8).long()]
    agree(likelihood.per_example, bits.flatten(1).mean(dim=1), rtol=1e-5)
    assert likelihood.total == pytest.approx(bits.mean().item(), rel=1e-5)
    assert likelihood.prior == 0
    expected = bits.flatten(1).mean(dim=1).std().item() / math.sqrt(11)
    assert likelihood.standard_error == pytest.approx(expected, rel=1e-4)


def half_model(x: Tensor, t: Tensor, shift: Tensor | None = None) -> Tensor:
    return 0.5 * x if shift is None else 0.5 * x + shift.reshape(-1, 1, 1, 1)


def test_bits_do_not_depend_on_the_batches(short: Schedule, agree: Callable[..., None]) -> None:
    x, shift = levels_data(7).double(), torch.linspace(-1, 1, 7, dtype=torch.float64)
    options: dict[str, Any] = {"levels": 17, "condition": {"shift": shift}, "seed": 4}
    whole = bits_per_dimension(half_model, Diffusion(short, variance="fixed_large"), x, **options)
    parts = bits_per_dimension(
        half_model, Diffusion(short, variance="fixed_large"), x, batch_size=3, **options
    )
    agree(parts.per_example, whole.per_example, rtol=1e-12)
    agree(parts.terms, whole.terms, rtol=1e-12)
    agree(parts.x_start_errors, whole.x_start_errors, rtol=1e-12)
    assert parts.prior == pytest.approx(whole.prior, rel=1e-12)
    agree(whole.total, whole.prior + whole.terms.sum(), rtol=1e-12)
    other = bits_per_dimension(
        half_model, Diffusion(short, variance="fixed_large"), x, levels=17, seed=4
    )
    assert abs(other.total - whole.total) > 0.01
    assert (
        bits_per_dimension(
            half_model, Diffusion(short, variance="fixed_large"), x, **options | {"seed": 5}
        ).total
        != whole.total
    )


def test_bits_need_data(short: Schedule) -> None:
    with pytest.raises(ValueError, match="Hay 0 datos"):
        bits_per_dimension(half_model, Diffusion(short, variance="fixed_large"), levels_data(3)[:0])
    with pytest.raises(ValueError, match="«shift» tiene 2 filas y hay 3 datos"):
        bits_per_dimension(
            half_model,
            Diffusion(short, variance="fixed_large"),
            levels_data(3),
            condition={"shift": torch.ones(2)},
        )


@pytest.mark.equation("improved-tasa")
def test_rate_and_distortion(short: Schedule, agree: Callable[..., None]) -> None:
    x = levels_data(6).double()
    likelihood = bits_per_dimension(
        half_model, Diffusion(short, variance="fixed_large"), x, levels=17
    )
    rate, distortion = rate_distortion(likelihood)
    for index in (0, 20, 49):
        paid = likelihood.prior + likelihood.terms[index + 1 :].sum()
        assert rate[index].item() == pytest.approx(float(paid), rel=1e-9)
    assert rate[0].item() + likelihood.terms[0].item() == pytest.approx(likelihood.total)
    assert (rate.diff() <= 0).all()
    agree(distortion, likelihood.x_start_errors.sqrt() * 127.5, rtol=1e-12)


@pytest.mark.equation("improved-tasa")
def test_distortion_of_known_models(short: Schedule, agree: Callable[..., None]) -> None:
    """Quien responde siempre 0 se equivoca en la raíz de E[x²]; quien acierta, en nada."""
    x = levels_data(6).double()
    options: dict[str, Any] = {"levels": 17, "batch_size": 6}
    diffusion = Diffusion(short, "x_start")
    blind = bits_per_dimension(lambda x_t, t: torch.zeros_like(x_t), diffusion, x, **options)
    spread = x.square().mean().sqrt()
    agree(rate_distortion(blind).distortion, 127.5 * spread.expand(50), rtol=1e-9)
    agree(rate_distortion(blind, data_range=2).distortion, spread.expand(50), rtol=1e-9)
    perfect = bits_per_dimension(lambda x_t, t: x, diffusion, x, **options)
    agree(rate_distortion(perfect).distortion, torch.zeros(50), atol=1e-12)
    prior = torch.full((50,), perfect.prior, dtype=torch.float64)
    agree(rate_distortion(perfect).rate, prior, rtol=1e-9)
