"""Las pérdidas: los pesos de cada ecuación, el decodificador discreto y la cota entera en casos
donde se puede calcular sin sacar una muestra."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ddpm_lit.backward import p_mean_variance
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.losses import (
    discretized_gaussian_log_likelihood,
    loss_weight,
    min_snr,
    normal_cdf,
    normal_kl,
    prior_term,
    variational_bound,
    vb_term,
    weighted_mse,
)
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, make_schedule, rescale_zero_terminal_snr, respace
from ddpm_lit.variance import VARIANCES

LN2 = math.log(2)
FIXED = [name for name, variance in VARIANCES.items() if not variance.learned]


def batch(schedule: Schedule) -> tuple[Tensor, ...]:
    """x_0, ruido, x_t, una salida de la red y t, con un ejemplo por índice, en float64."""
    generator = torch.Generator().manual_seed(11)
    size = (len(schedule), 2, 3)
    x_start = 2 * torch.rand(size, dtype=torch.float64, generator=generator) - 1
    noise = torch.randn(size, dtype=torch.float64, generator=generator)
    error = 0.1 * torch.randn(size, dtype=torch.float64, generator=generator)
    t = torch.arange(len(schedule))
    return x_start, noise, q_sample(schedule, x_start, t, noise), error, t


# --- El error que se entrena ----------------------------------------------------------------------


@pytest.mark.equation("perdidas-simple")
@pytest.mark.parametrize("shape", [(), (2,), (3, 8, 8)])
def test_simple_loss_is_the_mean_square_of_each_example(
    linear: Schedule, shape: tuple[int, ...], agree: Callable[..., None]
) -> None:
    generator = torch.Generator().manual_seed(3)
    noise, output, x_start = torch.randn(3, 5, *shape, generator=generator)
    t = torch.tensor([0, 5, 10, 500, 999])
    target = PARAMETRISATIONS["epsilon"].target(linear, x_start, noise, t)
    losses = weighted_mse(output, target, loss_weight(Diffusion(linear))[t])
    expected = [float(((noise[i] - output[i]).double() ** 2).mean()) for i in range(5)]
    assert losses.shape == (5,)
    assert losses.dtype == torch.float32
    agree(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-5)
    assert torch.equal(losses, weighted_mse(output, target))


def test_weights_multiply_each_example_and_gradients_flow() -> None:
    output = torch.tensor([[1.0, 3.0], [2.0, 2.0]], requires_grad=True)
    losses = weighted_mse(output, torch.zeros(2, 2), torch.tensor([2.0, 0.5]).double())
    assert losses.tolist() == [10.0, 2.0]
    losses.sum().backward()
    assert output.grad.tolist() == [[2.0, 6.0], [1.0, 1.0]]


def test_losses_are_float32_even_from_bfloat16() -> None:
    output = torch.full((1, 3), 256.0, dtype=torch.bfloat16)
    assert weighted_mse(output, output + 2).item() == 4.0


def test_weighted_mse_refuses_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(4, 6\) y el objetivo \(4, 3\)"):
        weighted_mse(torch.zeros(4, 6), torch.zeros(4, 3))


@pytest.mark.equation("perdidas-peso")
def test_weights_of_equation_twelve(linear: Schedule) -> None:
    """Los valores para σ² = β: L_simple quita peso a los t pequeños."""
    t = torch.tensor([1, 2, 10, 100, 500, 1000]) - 1
    weights = loss_weight(Diffusion(linear, variance="fixed_large"), "vlb")[t]
    assert weights.tolist() == pytest.approx([0.50, 0.27, 0.074, 0.010, 0.0055, 0.010], rel=0.05)
    assert weights[0].item() == pytest.approx(0.5 / 0.9999, rel=1e-9)


@pytest.mark.equation("perdidas-peso", "perdidas-lt")
@pytest.mark.parametrize("variance", FIXED)
def test_variational_weights(schedule: Schedule, variance: str, agree: Callable[..., None]) -> None:
    """1/(2σ²) para la media (ec. 8) y β²/(2σ²α(1-ᾱ)) para ε (ec. 12); en t = 1, β̃_2 si σ_1 = 0."""
    beta, bar = schedule.betas, schedule.alphas_cumprod
    sigma2 = beta.clone()
    if variance == "fixed_small":
        sigma2[1:] *= (1 - bar[:-1]) / (1 - bar[1:])
        sigma2[0] = sigma2[1]
    weights = loss_weight(Diffusion(schedule, "posterior_mean", variance), "vlb")
    assert weights.dtype == torch.float64
    agree(weights, 1 / (2 * sigma2), rtol=1e-9)
    agree(
        loss_weight(Diffusion(schedule, variance=variance), "vlb"),
        beta**2 / (2 * sigma2 * (1 - beta) * (1 - bar)),
        rtol=1e-9,
    )


@pytest.mark.equation("perdidas-minsnr")
@pytest.mark.parametrize("gamma", [5.0, 1.0])
def test_min_snr_weights(schedule: Schedule, gamma: float, agree: Callable[..., None]) -> None:
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    weighting = partial(min_snr, gamma=gamma)
    agree(
        loss_weight(Diffusion(schedule), weighting),
        (gamma / snr).clamp(max=1),
    )
    agree(
        loss_weight(Diffusion(schedule, "x_start"), weighting),
        snr.clamp(max=gamma),
    )
    agree(
        loss_weight(Diffusion(schedule, "v"), weighting),
        snr.clamp(max=gamma) / (snr + 1),
    )
    if gamma == 5:
        assert torch.equal(
            loss_weight(Diffusion(schedule), "min_snr"),
            loss_weight(Diffusion(schedule), weighting),
        )


@pytest.mark.equation("perdidas-peso", "perdidas-minsnr")
@pytest.mark.parametrize("weighting", ["vlb", "min_snr"])
def test_a_weighted_error_is_the_same_for_every_prediction(
    schedule: Schedule, weighting: str, agree: Callable[..., None]
) -> None:
    """El mismo error de x̂_0, visto como error de ε, de v o de μ̃, paga lo mismo."""
    x_start, noise, x_t, error, t = batch(schedule)
    wrong_noise = (x_t - schedule.at("sqrt_alphas_cumprod", t, x_t) * (x_start + error)) / (
        schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)
    )
    outputs = {
        "epsilon": wrong_noise,
        "x_start": x_start + error,
        "v": PARAMETRISATIONS["v"].target(schedule, x_start + error, wrong_noise, t),
        "posterior_mean": q_posterior(schedule, x_start + error, x_t, t).mean,
    }
    paid = []
    for prediction, output in outputs.items():
        target = PARAMETRISATIONS[prediction].target(schedule, x_start, noise, t)
        weight = loss_weight(Diffusion(schedule, prediction, "fixed_large"), weighting)[t]
        paid.append(weight * (output - target).square().flatten(1).mean(dim=1))
    for other in paid[1:]:
        agree(other, paid[0], rtol=1e-7)


def test_uniform_weights(linear: Schedule) -> None:
    t = torch.tensor([0, 3, 999])
    for prediction in PARAMETRISATIONS:
        weights = loss_weight(Diffusion(linear, prediction))[t]
        assert torch.equal(weights, torch.ones(3, dtype=torch.float64))


def test_weights_that_make_no_sense_are_refused(linear: Schedule) -> None:
    with pytest.raises(ValueError, match=r"«p2».*uniform, vlb, min_snr"):
        loss_weight(Diffusion(linear), "p2")
    for variance in ("learned", "learned_range"):
        with pytest.raises(ValueError, match=f"«{variance}» la aprende"):
            loss_weight(Diffusion(linear, variance=variance), "vlb")


def test_a_weight_can_be_a_function(linear: Schedule) -> None:
    def halved(diffusion: Diffusion) -> Tensor:
        return diffusion.schedule.alphas_cumprod / 2

    assert torch.equal(loss_weight(Diffusion(linear), halved), linear.alphas_cumprod / 2)


@pytest.mark.parametrize("weighting", ["vlb", "min_snr"])
def test_weights_are_finite_with_zero_terminal_snr(linear: Schedule, weighting: str) -> None:
    rescaled = rescale_zero_terminal_snr(linear)
    for prediction in ("x_start", "v"):
        for variance in FIXED:
            weights = loss_weight(Diffusion(rescaled, prediction, variance), weighting)
            assert weights.isfinite().all()
            assert (weights >= 0).all()


# --- Los ladrillos de la cota ---------------------------------------------------------------------


@pytest.mark.equation("perdidas-kl")
def test_kl_between_normals(generator: torch.Generator, agree: Callable[..., None]) -> None:
    mean1, log_var1, mean2, log_var2 = torch.randn(4, 500, dtype=torch.float64, generator=generator)
    expected = kl_divergence(
        Normal(mean1, (log_var1 / 2).exp()), Normal(mean2, (log_var2 / 2).exp())
    )
    agree(normal_kl(mean1, log_var1, mean2, log_var2), expected, rtol=1e-10, atol=1e-13)
    assert (expected >= 0).all()
    assert torch.equal(normal_kl(mean1, log_var1, mean1, log_var1), torch.zeros(500).double())


@pytest.mark.equation("perdidas-kl")
@pytest.mark.parametrize("mean", [0.0, 1e-4])
def test_kl_of_nearly_equal_variances_in_float32(mean: float) -> None:
    """Por poco que se separen las varianzas, float32 da lo que la serie exacta en float64."""
    size = torch.logspace(-8, 0, 81, dtype=torch.float64)
    size = torch.cat([size, torch.tensor([0.499, 0.5, 0.501], dtype=torch.float64)])
    ratio = torch.cat([size, -size]).float().requires_grad_()
    zero, shift = torch.zeros_like(ratio), torch.full_like(ratio, mean)
    kl = normal_kl(shift, ratio, zero, zero)
    r, d = ratio.detach().double(), shift.double()
    expected = (sum(r**n / float(math.factorial(n)) for n in range(2, 30)) + d.square()) / 2
    torch.testing.assert_close(kl.double(), expected, rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(kl.sum(), ratio)
    torch.testing.assert_close(slope.double(), r.expm1() / 2, rtol=1e-6, atol=0)


def test_normal_cdf(agree: Callable[..., None]) -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    agree(normal_cdf(x), torch.special.ndtr(x), rtol=1e-7, atol=1e-15)
    agree(normal_cdf(x) + normal_cdf(-x), torch.ones(101))


@pytest.mark.equation("perdidas-l0")
@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("mean", [-1.4, -1.0, 0.013, 0.9])
@pytest.mark.parametrize("std", [0.003, 0.1, 1.5])
def test_the_decoder_is_a_distribution_over_the_levels(
    levels: int, mean: float, std: float, agree: Callable[..., None]
) -> None:
    values = torch.linspace(-1, 1, levels, dtype=torch.float64)
    log_scale = torch.full_like(values, math.log(std))
    log_probability = discretized_gaussian_log_likelihood(
        values, torch.full_like(values, mean), log_scale, levels=levels, floor=0.0
    )
    agree(log_probability.exp().sum(), 1.0)
    edges = (values[1:] + values[:-1]) / 2
    inner = Normal(*torch.tensor([mean, std], dtype=torch.float64)).cdf(edges)
    expected = torch.cat([inner, torch.ones(1)]) - torch.cat([torch.zeros(1), inner])
    agree(log_probability.exp(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.equation("perdidas-l0")
def test_the_decoder_of_bytes(agree: Callable[..., None]) -> None:
    """256 niveles por defecto: x ± 1/255, y hasta el infinito en los extremos."""
    x = torch.tensor([-1.0, 0.2 - 1 / 255, 1.0], dtype=torch.float64)
    mean, std = torch.tensor([-0.99, 0.2, 0.98], dtype=torch.float64), 0.01
    log_probability = discretized_gaussian_log_likelihood(
        x, mean, torch.full_like(x, math.log(std))
    )
    normal = Normal(mean, std)
    upper, lower = normal.cdf(x + 1 / 255), normal.cdf(x - 1 / 255)
    expected = torch.stack([upper[0], upper[1] - lower[1], 1 - lower[2]])
    agree(log_probability, expected.log(), rtol=1e-10)


def test_the_decoder_floor_keeps_logarithms_finite() -> None:
    x, mean = torch.tensor([0.0]), torch.tensor([0.9])
    log_scale = torch.tensor([-7.0])
    by_default = discretized_gaussian_log_likelihood(x, mean, log_scale)
    assert by_default.item() == pytest.approx(math.log(1e-12), rel=1e-5)
    higher = discretized_gaussian_log_likelihood(x, mean, log_scale, floor=1e-3)
    assert higher.item() == pytest.approx(math.log(1e-3), rel=1e-5)


def test_the_decoder_takes_another_cdf() -> None:
    x, mean, log_scale = torch.tensor([-1.0]), torch.tensor([0.0]), torch.tensor([0.0])
    value = discretized_gaussian_log_likelihood(
        x, mean, log_scale, levels=5, cdf=lambda z: (z + 2) / 4
    )
    assert value.item() == pytest.approx(math.log((-1 + 0.25 + 2) / 4))


def test_the_decoder_needs_two_levels() -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="al menos 2 niveles y han llegado 1"):
        discretized_gaussian_log_likelihood(one, one, one, levels=1)


# --- Los términos de la cota ----------------------------------------------------------------------


@pytest.mark.equation("perdidas-lt", "perdidas-peso", "perdidas-bits")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
@pytest.mark.parametrize("variance", FIXED)
def test_each_term_is_a_weighted_square_error_plus_a_constant(
    schedule: Schedule, prediction: str, variance: str, agree: Callable[..., None]
) -> None:
    """L_{t-1} en nats = w(t)·error cuadrático + C, con C = 0 si la varianza es la del posterior."""
    x_start, noise, x_t, error, t = batch(schedule)
    target = PARAMETRISATIONS[prediction].target(schedule, x_start, noise, t)
    output = target + error
    term = vb_term(Diffusion(schedule, prediction, variance, clip=False), output, x_start, x_t, t)
    weight = loss_weight(Diffusion(schedule, prediction, variance), "vlb")[t]
    bar = schedule.alphas_cumprod
    ratio = torch.ones(999, dtype=torch.float64)
    if variance == "fixed_large":
        ratio = (1 - bar[:-1]) / (1 - bar[1:])
    constant = 0.5 * (ratio - 1 - ratio.log())
    expected = weight[1:] * error.square().flatten(1).mean(dim=1)[1:] + constant
    assert term.shape == (1000,)
    agree(term[1:] * LN2, expected, rtol=1e-7, atol=1e-11)


@pytest.mark.equation("perdidas-l0", "perdidas-bits")
@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize("variance", FIXED)
def test_the_first_term_is_the_decoder(
    linear: Schedule, levels: int, variance: str, agree: Callable[..., None]
) -> None:
    x_start = torch.linspace(-1, 1, levels, dtype=torch.float64)[:16].reshape(2, 8)
    t = torch.tensor([0, 0])
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(2, 8, dtype=torch.float64, generator=generator)
    x_t = q_sample(linear, x_start, t, noise)
    term = vb_term(
        Diffusion(linear, variance=variance), noise * 0.5, x_start, x_t, t, levels=levels
    )
    step = p_mean_variance(Diffusion(linear, variance=variance), noise * 0.5, x_t, t)
    std = linear.posterior_variance[1].sqrt()
    normal, half = Normal(step.mean, std), 1 / (levels - 1)
    upper = torch.where(x_start > 1 - half, 1.0, normal.cdf(x_start + half))
    lower = torch.where(x_start < -1 + half, 0.0, normal.cdf(x_start - half))
    agree(term, -(upper - lower).clamp(min=1e-12).log2().mean(dim=1), rtol=1e-8)


def test_first_and_later_terms_share_a_batch(linear: Schedule) -> None:
    x_start, noise, _, _, _ = (value[:3] for value in batch(linear))
    t = torch.tensor([7, 0, 999])
    x_t = q_sample(linear, x_start, t, noise)
    diffusion = Diffusion(linear, variance="fixed_large")
    together = vb_term(diffusion, noise * 0.9, x_start, x_t, t)
    for row in range(3):
        rows = slice(row, row + 1)
        alone = vb_term(diffusion, noise[rows] * 0.9, x_start[rows], x_t[rows], t[rows])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-12, atol=0)


def test_defaults_clip_and_use_the_small_variance(linear: Schedule) -> None:
    x_start, noise, x_t, _, t = (value[300:310] for value in batch(linear))
    output = 3 * noise
    term = vb_term(Diffusion(linear), output, x_start, x_t, t)
    explicit = Diffusion(linear, "epsilon", "fixed_small", clip=True)
    assert torch.equal(term, vb_term(explicit, output, x_start, x_t, t))
    free = Diffusion(linear, clip=False)
    assert (term < vb_term(free, output, x_start, x_t, t)).all()


@pytest.mark.equation("perdidas-lt", "perdidas-peso", "perdidas-kl")
@pytest.mark.parametrize("variance", FIXED)
@pytest.mark.parametrize("std", [0.2, 1.0, 2.0])
def test_expected_terms_of_gaussian_data(
    schedule: Schedule, variance: str, std: float, agree: Callable[..., None]
) -> None:
    """x_0 ~ N(0, s²) y el ε óptimo: E‖ε - ε*‖² = ᾱs²/(ᾱs² + 1 - ᾱ), y el término se sabe.

    El término es cuadrático en (x_0, ε): la cuadratura de tres nodos da su media exacta.
    """
    nodes = torch.tensor([-math.sqrt(3), 0.0, math.sqrt(3)], dtype=torch.float64)
    masses = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)
    grid, mass = torch.cartesian_prod(nodes, nodes), torch.cartesian_prod(masses, masses).prod(1)
    times = torch.arange(1, 1000)
    t = times.repeat_interleave(9)
    x_start, noise = (std * grid[:, :1]).repeat(999, 1), grid[:, 1:].repeat(999, 1)
    x_t = q_sample(schedule, x_start, t, noise)
    bar = schedule.alphas_cumprod[t].unsqueeze(1)
    output = (1 - bar).sqrt() * x_t / (bar * std**2 + 1 - bar)
    terms = vb_term(Diffusion(schedule, variance=variance, clip=False), output, x_start, x_t, t)
    expected_terms = (terms.reshape(999, 9) * mass).sum(dim=1)
    beta, bars = schedule.betas[1:], schedule.alphas_cumprod
    small = beta * (1 - bars[:-1]) / (1 - bars[1:])
    sigma2 = small if variance == "fixed_small" else beta
    remaining = bars[1:] * std**2 / (bars[1:] * std**2 + 1 - bars[1:])
    weight = beta**2 / (2 * sigma2 * (1 - beta) * (1 - bars[1:]))
    constant = 0.5 * ((sigma2 / small).log() + small / sigma2 - 1)
    agree(expected_terms * LN2, weight * remaining + constant, rtol=1e-8, atol=1e-12)


@pytest.mark.equation("perdidas-cota", "perdidas-bits")
def test_prior_term(schedule: Schedule, agree: Callable[..., None]) -> None:
    x_start = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 4)
    bar = schedule.alphas_cumprod[-1]
    expected = kl_divergence(
        Normal(bar.sqrt() * x_start, (1 - bar).sqrt()), Normal(torch.zeros(()).double(), 1.0)
    )
    agree(
        prior_term(schedule, x_start),
        expected.flatten(1).mean(dim=1) / LN2,
        rtol=1e-6,
        atol=1e-15,
    )


@pytest.mark.equation("perdidas-cota")
def test_prior_term_of_the_paper(linear: Schedule) -> None:
    """L_T ≈ 1e-5 bits por dimensión con imágenes; 0 si no queda señal."""
    x_start = torch.linspace(-1, 1, 256).reshape(1, 16, 16)
    assert prior_term(linear, x_start).item() == pytest.approx(1e-5, rel=0.1)
    assert prior_term(rescale_zero_terminal_snr(linear), x_start).item() == 0


# --- La cota entera -------------------------------------------------------------------------------


def test_the_bound_is_the_sum_of_its_terms(linear: Schedule, agree: Callable[..., None]) -> None:
    """Con un schedule corto, que además le da a la red los índices originales."""
    walk = respace(linear, [0, 30, 400, 999])
    generator = torch.Generator().manual_seed(4)
    x_start = torch.linspace(-1, 1, 34, dtype=torch.float64).reshape(2, 17)
    noises = torch.randn(4, 2, 17, dtype=torch.float64, generator=generator)
    seen: list[int] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return x * (t.to(x.dtype) / 1000).reshape(-1, 1)

    diffusion = Diffusion(walk, "v", clip=False)
    bound = variational_bound(model, diffusion, x_start, lambda index: noises[index], levels=17)
    assert sorted(seen) == [0, 30, 400, 999]
    assert bound.terms.dtype == torch.float64
    assert bound.terms.shape == (2, 4)
    agree(bound.prior, prior_term(walk, x_start))
    agree(bound.total, bound.prior + bound.terms.sum(dim=1))
    for index, original in enumerate([0, 30, 400, 999]):
        t = torch.full((2,), index)
        x_t = q_sample(walk, x_start, t, noises[index])
        output = x_t * (original / 1000)
        expected = vb_term(diffusion, output, x_start, x_t, t, levels=17)
        agree(bound.terms[:, index], expected)


def bound_of_a_coin(schedule: Schedule, factor: float = 1.0) -> float:
    """La cota exacta, integrando el ruido, de un dato que vale -1 o 1 con la misma probabilidad.

    La red óptima es E[x_0|x_t] = tanh(√ᾱ x_t/(1 - ᾱ)); `factor` la estropea.
    """
    noise = torch.linspace(-8, 8, 801, dtype=torch.float64)
    mass = (-(noise**2) / 2).exp()

    def model(x: Tensor, t: Tensor) -> Tensor:
        bar = schedule.alphas_cumprod[t].unsqueeze(1)
        return factor * torch.tanh(bar.sqrt() * x / (1 - bar))

    bound = variational_bound(
        model,
        Diffusion(schedule, "x_start"),
        torch.ones(801, 1, dtype=torch.float64),
        lambda index: noise.unsqueeze(1),
        levels=2,
    )
    return ((bound.total * mass).sum() / mass.sum()).item()


@pytest.mark.equation("perdidas-cota", "perdidas-l0", "perdidas-bits")
def test_the_bound_of_a_coin_falls_to_one_bit() -> None:
    """Lanzar una moneda cuesta un bit: la cota nunca baja de ahí, y se acerca con más pasos."""
    bounds = [bound_of_a_coin(make_schedule("linear", steps)) for steps in (50, 200, 1000)]
    assert bounds[0] > bounds[1] > bounds[2] > 1
    assert bounds[2] < 1.02
    assert bound_of_a_coin(make_schedule("linear", 200), factor=0.9) > bounds[1] + 0.01


def test_the_bound_keeps_no_gradient(short: Schedule) -> None:
    weight = torch.ones(1, requires_grad=True)
    bound = variational_bound(
        lambda x, t: x * weight,
        Diffusion(short, variance="fixed_large"),
        torch.zeros(2, 3),
        lambda index: torch.ones(2, 3),
    )
    assert not bound.total.requires_grad
    assert bound.total.isfinite().all()


def test_the_large_variance_costs_more_when_the_data_are_known(short: Schedule) -> None:
    """Con la red perfecta cada término es 0 con β̃_t, y positivo con β_t."""
    x_start, noise, x_t, _, t = (value[1:] for value in batch(short))
    exact = vb_term(Diffusion(short), noise, x_start, x_t, t)
    loose = vb_term(Diffusion(short, variance="fixed_large"), noise, x_start, x_t, t)
    torch.testing.assert_close(exact, torch.zeros_like(exact), rtol=0, atol=1e-12)
    assert (loose > 0).all()
    assert loose[0] > 0.1
    variance, log_variance = VARIANCES["fixed_large"](short, t, x_t)
    torch.testing.assert_close(variance.log(), log_variance)
