"""Las cuentas de los capítulos de pérdidas, de ε, de los algoritmos y de la U-Net.

Como en `test_derivations_components.py`: cada test copia lo que imprime la página y comprueba
cada signo igual. Las esperanzas sobre cadenas son exactas, porque el modelo es lineal y normal.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from algebra import (
    alpha,
    alpha_bar,
    alpha_bar_prev,
    assert_chain,
    beta,
    epsilon,
    expectation,
    integral,
    jump,
    mixture_density,
    normal_density,
    posterior_mean,
    variance,
    x_0,
    x_t,
)
from ddpm_lit.backward import Denoiser, p_mean_variance
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_mean_variance, q_sample
from ddpm_lit.losses import normal_kl
from ddpm_lit.networks.ema import EMA
from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.noise import training_draws
from ddpm_lit.parametrisation import PARAMETRISATIONS, convert
from ddpm_lit.posterior import q_posterior
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule
from ddpm_lit.variance import VARIANCES

sqrt = sp.sqrt
x_hat, epsilon_hat = sp.symbols("xhat_0 epsilon_theta", real=True)
SNR = alpha_bar / (1 - alpha_bar)


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


# --- Una cadena en la que todo es normal ----------------------------------------------------------


class Chain:
    """El forward process de un píxel y un modelo lineal, p(x_{t-1}|x_t) = N(k_t x_t + c_t, v_t).

    Las cadenas van en tensores (…, T + 1), de x_0 a x_T.
    """

    def __init__(self, betas: list[float]) -> None:
        self.schedule = Schedule.from_betas(betas)
        self.steps = len(betas)
        generator = torch.Generator().manual_seed(0)
        uniform = torch.rand((3, self.steps), dtype=torch.float64, generator=generator)
        self.k, self.c, self.v = 0.5 + 0.5 * uniform[0], uniform[1] - 0.5, 0.3 + uniform[2]

    def from_noise(self, x_start: float, noise: Tensor) -> Tensor:
        """Las cadenas hacia delante que hacen unos ruidos (…, T)."""
        states = [torch.full_like(noise[..., 0], x_start)]
        for t in range(1, self.steps + 1):
            b = self.schedule.betas[t - 1]
            states.append((1 - b).sqrt() * states[-1] + b.sqrt() * noise[..., t - 1])
        return torch.stack(states, -1)

    def log_q_step(self, x: Tensor, t: int) -> Tensor:
        """log q(x_t | x_{t-1})."""
        b = self.schedule.betas[t - 1]
        return Normal((1 - b).sqrt() * x[..., t - 1], b.sqrt()).log_prob(x[..., t])

    def log_q_jump(self, x: Tensor, t: int) -> Tensor:
        """log q(x_t | x_0)."""
        q = q_mean_variance(self.schedule, x[..., 0].flatten(), torch.tensor([t - 1]))
        density = Normal(q.mean.reshape(x[..., 0].shape), q.variance.sqrt())
        return density.log_prob(x[..., t])

    def log_q_posterior(self, x: Tensor, t: int) -> Tensor:
        """log q(x_{t-1} | x_t, x_0), con t > 1."""
        q = q_posterior(
            self.schedule, x[..., 0].flatten(), x[..., t].flatten(), torch.tensor([t - 1])
        )
        density = Normal(q.mean.reshape(x[..., 0].shape), q.variance.sqrt())
        return density.log_prob(x[..., t - 1])

    def log_p_step(self, x: Tensor, t: int) -> Tensor:
        """log p(x_{t-1} | x_t)."""
        mean = self.k[t - 1] * x[..., t] + self.c[t - 1]
        return Normal(mean, self.v[t - 1].sqrt()).log_prob(x[..., t - 1])

    def log_p_last(self, x: Tensor) -> Tensor:
        """log p(x_T)."""
        return Normal(0.0, 1.0).log_prob(x[..., -1])

    def log_q(self, x: Tensor) -> Tensor:
        """log q(x_{1:T} | x_0)."""
        return sum(self.log_q_step(x, t) for t in range(1, self.steps + 1))

    def log_p(self, x: Tensor) -> Tensor:
        """log p(x_{0:T})."""
        return self.log_p_last(x) + sum(self.log_p_step(x, t) for t in range(1, self.steps + 1))

    def forward_gaussian(self, x_start: float) -> MultivariateNormal:
        """q(x_{1:T} | x_0) como una normal de T dimensiones."""
        noise = torch.cat([torch.zeros(1, self.steps), torch.eye(self.steps)]).double()
        states = self.from_noise(x_start, noise)[:, 1:]
        factor = (states[1:] - states[0]).T
        return MultivariateNormal(states[0], factor @ factor.T)

    def model_gaussian(self) -> tuple[Tensor, Tensor]:
        """Media y covarianza de p(x_{0:T})."""
        mean, factor = [torch.zeros(()).double()], [torch.eye(self.steps + 1).double()[0]]
        for t in range(self.steps, 0, -1):
            mean.append(self.k[t - 1] * mean[-1] + self.c[t - 1])
            fresh = self.v[t - 1].sqrt() * torch.eye(self.steps + 1).double()[self.steps + 1 - t]
            factor.append(self.k[t - 1] * factor[-1] + fresh)
        rows = torch.stack(factor[::-1])
        return torch.stack(mean[::-1]), rows @ rows.T

    def log_likelihood(self, x_start: float) -> Tensor:
        """log p(x_0), la marginal."""
        mean, cov = self.model_gaussian()
        return Normal(mean[0], cov[0, 0].sqrt()).log_prob(
            torch.tensor(x_start, dtype=torch.float64)
        )

    def model_given(self, x_start: float) -> MultivariateNormal:
        """p(x_{1:T} | x_0), por regresión."""
        mean, cov = self.model_gaussian()
        slope = cov[1:, 0] / cov[0, 0]
        return MultivariateNormal(
            mean[1:] + slope * (x_start - mean[0]),
            cov[1:, 1:] - torch.outer(slope, cov[0, 1:]),
        )


SHORT = Chain([0.3, 0.6])
LONG = Chain([0.1, 0.2, 0.15, 0.4, 0.5])
START = 0.7


def gauss_hermite(nodes: int = 60) -> tuple[Tensor, Tensor]:
    """Los ruidos de las cadenas de dos pasos y sus pesos, para hacer medias sin azar."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    z1, z2 = np.meshgrid(points, points, indexing="ij")
    product = np.outer(weights, weights) / (2 * math.pi)
    return torch.tensor(np.stack([z1, z2], -1)), torch.tensor(product)


def forward_mean(function: Callable[[Tensor], Tensor]) -> Tensor:
    """E_q de una función de las cadenas de SHORT que salen de START."""
    noise, weights = gauss_hermite()
    return (weights * function(SHORT.from_noise(START, noise))).sum()


def long_chains() -> Tensor:
    return LONG.from_noise(START, numbers(50, LONG.steps, seed=1))


# --- perdidas -------------------------------------------------------------------------------------


@pytest.mark.equation("perdidas-importancia")
def test_likelihood_as_a_mean_over_forward_chains(agree: Callable[..., None]) -> None:
    line = torch.linspace(-9, 9, 401, dtype=torch.float64)
    x = torch.stack(
        [torch.full_like(line.expand(401, 401), START), *torch.meshgrid(line, line, indexing="ij")],
        -1,
    )
    log_q, log_p = SHORT.log_q(x), SHORT.log_p(x)
    whole = (log_q.exp() * (log_p.exp() / log_q.exp())).sum() * (line[1] - line[0]) ** 2
    mean = forward_mean(lambda chain: SHORT.log_p(chain).exp() / SHORT.log_q(chain).exp())
    agree(whole, SHORT.log_likelihood(START).exp(), rtol=1e-9)
    agree(mean, whole, rtol=1e-6)


@pytest.mark.equation("perdidas-jensen")
def test_jensen() -> None:
    """La tangente queda por encima del logaritmo, y de ahí la desigualdad de las medias."""
    y, m = sp.symbols("y m", positive=True)
    gap = sp.log(m) + (y - m) / m - sp.log(y)
    assert sp.solve(sp.diff(gap, y), y) == [m]
    assert sp.diff(gap, y, 2).is_positive
    assert_chain(gap.subs(y, m), 0)

    # Una Y con tres valores cualesquiera: la media de la tangente, y qué queda con m = E[Y].
    values, (p_1, p_2) = sp.symbols("y1:4", positive=True), sp.symbols("p1:3", positive=True)
    chances = (p_1, p_2, 1 - p_1 - p_2)
    mean = sum(p * value for p, value in zip(chances, values, strict=True))
    tangent = sum(
        p * (sp.log(m) + (value - m) / m) for p, value in zip(chances, values, strict=True)
    )
    printed = sp.log(m) + (mean - m) / m
    assert_chain(tangent, printed)
    assert_chain(printed.subs(m, mean), sp.log(mean))

    samples = numbers(1000, seed=2).exp()
    m_value = samples.mean()
    middle = m_value.log() + (samples.mean() - m_value) / m_value
    assert samples.log().mean() <= middle - 0.1
    torch.testing.assert_close(middle, samples.mean().log())


@pytest.mark.equation("perdidas-jensen-cadena")
def test_variational_bound(agree: Callable[..., None]) -> None:
    first = forward_mean(lambda x: -(SHORT.log_p(x) - SHORT.log_q(x)))
    assert -SHORT.log_likelihood(START) < first

    def second_line(chain: Chain, x: Tensor) -> Tensor:
        return -chain.log_p_last(x) - sum(
            chain.log_p_step(x, t) - chain.log_q_step(x, t) for t in range(1, chain.steps + 1)
        )

    agree(forward_mean(lambda x: second_line(SHORT, x)), first, rtol=1e-10)
    x = long_chains()
    agree(second_line(LONG, x), LONG.log_q(x) - LONG.log_p(x), rtol=1e-10)


@pytest.mark.equation("perdidas-hueco")
def test_gap_of_the_bound(agree: Callable[..., None]) -> None:
    bound = forward_mean(lambda x: SHORT.log_q(x) - SHORT.log_p(x))
    q, p = SHORT.forward_gaussian(START), SHORT.model_given(START)
    gap = forward_mean(lambda x: q.log_prob(x[..., 1:]) - p.log_prob(x[..., 1:]))
    agree(bound, -SHORT.log_likelihood(START) + gap, rtol=1e-10)
    agree(gap, kl_divergence(q, p), rtol=1e-10)
    assert gap > 0


@pytest.mark.equation("perdidas-bayes")
def test_forward_step_by_bayes(agree: Callable[..., None]) -> None:
    x = numbers(50, LONG.steps + 1, seed=3)
    for t in range(2, LONG.steps + 1):
        right = LONG.log_q_posterior(x, t) + LONG.log_q_jump(x, t) - LONG.log_q_jump(x, t - 1)
        agree(LONG.log_q_step(x, t).exp(), right.exp(), rtol=1e-8)


@pytest.mark.equation("perdidas-telescopio")
def test_product_of_quotients(agree: Callable[..., None]) -> None:
    x = numbers(50, LONG.steps + 1, seed=4)
    q = {t: LONG.log_q_jump(x, t).exp() for t in range(1, LONG.steps + 1)}
    product = math.prod(q[t] / q[t - 1] for t in range(2, LONG.steps + 1))
    agree(product, q[2] / q[1] * (q[3] / q[2]) * (q[4] / q[3]) * (q[5] / q[4]), rtol=1e-10)
    agree(product, q[5] / q[1], rtol=1e-10)


@pytest.mark.equation("perdidas-cadena")
def test_forward_chain_written_backwards(agree: Callable[..., None]) -> None:
    x = numbers(50, LONG.steps + 1, seed=5)
    later = range(2, LONG.steps + 1)
    forwards = LONG.log_q_jump(x, 1) + sum(LONG.log_q_step(x, t) for t in later)
    backwards = LONG.log_q_jump(x, LONG.steps) + sum(LONG.log_q_posterior(x, t) for t in later)
    agree(LONG.log_q(x), forwards, rtol=1e-10)
    agree(forwards, backwards, rtol=1e-10)


@pytest.mark.equation("perdidas-parejas")
def test_terms_in_pairs(agree: Callable[..., None]) -> None:
    """La igualdad vale cadena a cadena, así que también para las medias."""

    def paired(chain: Chain, x: Tensor) -> Tensor:
        return (
            (chain.log_q_jump(x, chain.steps) - chain.log_p_last(x))
            + sum(
                chain.log_q_posterior(x, t) - chain.log_p_step(x, t)
                for t in range(2, chain.steps + 1)
            )
            - chain.log_p_step(x, 1)
        )

    for x in (long_chains(), numbers(50, LONG.steps + 1, seed=6)):
        agree(paired(LONG, x), LONG.log_q(x) - LONG.log_p(x), rtol=1e-9)
    bound = forward_mean(lambda x: SHORT.log_q(x) - SHORT.log_p(x))
    agree(forward_mean(lambda x: paired(SHORT, x)), bound, rtol=1e-10)


x, mu_1, mu_2 = sp.symbols("x mu_1 mu_2", real=True)
var_1, var_2 = sp.symbols("sigma_1^2 sigma_2^2", positive=True)


@pytest.mark.equation("perdidas-kl-cociente")
def test_log_quotient_of_two_normals() -> None:
    def log_normal(mean: sp.Expr, var: sp.Expr) -> sp.Expr:
        return sp.log(sp.exp(-((x - mean) ** 2) / (2 * var)) / sqrt(2 * sp.pi * var))

    quotient = log_normal(mu_1, var_1) - log_normal(mu_2, var_2)
    printed = (
        sp.log(var_2 / var_1) / 2 - (x - mu_1) ** 2 / (2 * var_1) + (x - mu_2) ** 2 / (2 * var_2)
    )
    assert_chain(sp.expand_log(quotient, force=True), sp.expand_log(printed, force=True))


@pytest.mark.equation("perdidas-kl-momento")
def test_second_moment_around_another_centre() -> None:
    known = {x: (mu_1, var_1 + mu_1**2)}
    assert_chain(
        expectation((x - mu_2) ** 2, known),
        expectation((x - mu_1) ** 2, known)
        + 2 * (mu_1 - mu_2) * expectation(x - mu_1, known)
        + (mu_1 - mu_2) ** 2,
        var_1 + (mu_1 - mu_2) ** 2,
    )


@pytest.mark.equation("perdidas-kl-dimensiones")
@pytest.mark.parametrize("dimensions", [1, 2, 7])
def test_divergence_in_several_dimensions(dimensions: int, agree: Callable[..., None]) -> None:
    mean1, mean2 = numbers(dimensions, seed=7), numbers(dimensions, seed=8)
    var1, var2 = torch.tensor([0.4, 1.7], dtype=torch.float64)
    printed = (mean1 - mean2).square().sum() / (2 * var2) + dimensions / 2 * (
        (var2 / var1).log() + var1 / var2 - 1
    )
    identity = torch.eye(dimensions, dtype=torch.float64)
    exact = kl_divergence(
        MultivariateNormal(mean1, var1 * identity), MultivariateNormal(mean2, var2 * identity)
    )
    agree(exact, printed)
    agree(normal_kl(mean1, var1.log(), mean2, var2.log()).sum(), printed)


@pytest.mark.equation("perdidas-resta-medias")
def test_difference_of_the_two_means(linear: Schedule, agree: Callable[..., None]) -> None:
    def mean_from(noise: sp.Expr) -> sp.Expr:
        return posterior_mean((x_t - sqrt(1 - alpha_bar) * noise) / sqrt(alpha_bar))

    assert_chain(
        mean_from(epsilon) - mean_from(epsilon_hat),
        (x_t - beta / sqrt(1 - alpha_bar) * epsilon) / sqrt(alpha)
        - (x_t - beta / sqrt(1 - alpha_bar) * epsilon_hat) / sqrt(alpha),
        -beta / (sqrt(alpha) * sqrt(1 - alpha_bar)) * (epsilon - epsilon_hat),
    )

    t = torch.arange(1000)
    x_start, noise, guess = (numbers(1000, seed=seed) for seed in (9, 10, 11))
    noisy = q_sample(linear, x_start, t, noise)
    difference = (
        q_posterior(linear, x_start, noisy, t).mean
        - p_mean_variance(Diffusion(linear, clip=False), guess, noisy, t).mean
    )
    factor = -linear.betas / (linear.alphas.sqrt() * (1 - linear.alphas_cumprod).sqrt())
    agree(difference, factor * (noise - guess), rtol=1e-8, atol=1e-11)


@pytest.mark.equation("perdidas-error-x0")
def test_error_in_x_start_from_the_error_in_epsilon(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    guess = (jump(x_0, epsilon) - sqrt(1 - alpha_bar) * epsilon_hat) / sqrt(alpha_bar)
    assert_chain(
        (x_0 - guess) ** 2,
        (1 - alpha_bar) / alpha_bar * (epsilon - epsilon_hat) ** 2,
        1 / SNR * (epsilon - epsilon_hat) ** 2,
    )

    t = torch.arange(1000)
    x_start, noise, said = (numbers(1000, 5, seed=seed) for seed in (12, 13, 14))
    noisy = q_sample(schedule, x_start, t, noise)
    error = (
        (x_start - PARAMETRISATIONS["epsilon"].x_start(schedule, said, noisy, t)).square().sum(1)
    )
    agree(error, (noise - said).square().sum(1) / schedule.snr, rtol=1e-8)


# --- epsilon --------------------------------------------------------------------------------------


def v_of(x_start: sp.Expr, noise: sp.Expr) -> sp.Expr:
    """(backward-v)."""
    return sqrt(alpha_bar) * noise - sqrt(1 - alpha_bar) * x_start


def noise_in(x_start: sp.Expr) -> sp.Expr:
    """El ruido que, con ese x_0, explica x_t."""
    return (x_t - sqrt(alpha_bar) * x_start) / sqrt(1 - alpha_bar)


# Cuatro errores «verdad menos predicción», con el mismo x_t y un x̂_0 cualquiera.
DELTA_X0 = x_0 - x_hat
DELTA_EPSILON = noise_in(x_0) - noise_in(x_hat)
DELTA_V = v_of(x_0, noise_in(x_0)) - v_of(x_hat, noise_in(x_hat))
DELTA_MU = posterior_mean(x_0) - posterior_mean(x_hat)


@pytest.mark.equation("epsilon-errores")
def test_how_errors_translate(linear: Schedule, agree: Callable[..., None]) -> None:
    assert_chain(DELTA_X0, -sqrt(1 - alpha_bar) / sqrt(alpha_bar) * DELTA_EPSILON)
    assert_chain(DELTA_X0, -sqrt(1 - alpha_bar) * DELTA_V)
    assert_chain(DELTA_MU, sqrt(alpha_bar_prev) * beta / (1 - alpha_bar) * DELTA_X0)

    t = torch.arange(1000)
    truth, guess, noisy = (numbers(1000, seed=seed) for seed in (15, 16, 17))
    bar, previous = linear.alphas_cumprod, linear.alphas_cumprod_prev
    delta = {
        name: convert(linear, truth, noisy, t, "x_start", name)
        - convert(linear, guess, noisy, t, "x_start", name)
        for name in ("x_start", "epsilon", "v", "posterior_mean")
    }
    agree(delta["x_start"], -(1 - bar).sqrt() / bar.sqrt() * delta["epsilon"], rtol=1e-8)
    agree(delta["x_start"], -(1 - bar).sqrt() * delta["v"], rtol=1e-8)
    coefficient = previous.sqrt() * linear.betas / (1 - bar)
    agree(delta["posterior_mean"], coefficient * delta["x_start"], rtol=1e-8)


@pytest.mark.equation("epsilon-moneda")
def test_errors_in_the_currency_of_x_start() -> None:
    assert_chain(DELTA_EPSILON**2, SNR * DELTA_X0**2)
    assert_chain(DELTA_V**2, (SNR + 1) * DELTA_X0**2)


@pytest.mark.equation("epsilon-callada")
def test_a_network_that_says_nothing() -> None:
    known = {x_0: (0, 1), epsilon: (0, 1)}
    noisy = jump(x_0, epsilon)
    assert_chain(expectation((x_0 - 0) ** 2, known), 1)
    assert_chain(expectation((x_0 - noisy / sqrt(alpha_bar)) ** 2, known), 1 / SNR)
    assert_chain(expectation((x_0 - sqrt(alpha_bar) * noisy) ** 2, known), 1 - alpha_bar)
    # Son las respuestas de una red que dice 0.
    for prediction, guess in (
        ("x_start", 0),
        ("epsilon", x_t / sqrt(alpha_bar)),
        ("v", sqrt(alpha_bar) * x_t),
    ):
        said = {"x_start": x_hat, "epsilon": noise_in(x_hat), "v": v_of(x_hat, noise_in(x_hat))}
        assert_chain(sp.solve(said[prediction], x_hat)[0], guess)


density = mixture_density([0.35, 0.65], [-0.8, 0.7], [0.03, 0.06])
GRID = np.linspace(-12, 12, 8001)


@pytest.mark.equation("epsilon-tamano")
@pytest.mark.parametrize("bar", [0.999, 0.9, 0.5, 0.1, 0.02])
def test_how_big_the_best_answer_is(bar: float) -> None:
    """Con x_0 = ±1: lo que explica E[ε | x_t] y lo que le queda por explicar suman 1."""
    bell, noise_std = normal_density(GRID, 0.0, 1.0), math.sqrt(1 - bar)
    size = left = 0.0
    for sign in (1, -1):
        noisy = sign * math.sqrt(bar) + noise_std * GRID
        best = noisy - math.sqrt(bar) * np.tanh(math.sqrt(bar) * noisy / (1 - bar))
        best = best / noise_std
        size += integral(best**2 * bell, GRID) / 2
        left += integral((GRID - best) ** 2 * bell, GRID) / 2
    assert size == pytest.approx(1 - left, rel=1e-9)
    if bar < 0.95:  # con menos ruido, ±1 no se confunden y no queda nada por explicar
        assert 0.01 < left < 0.99


@pytest.mark.equation("epsilon-tamano")
def test_how_big_the_best_answer_is_with_normal_data() -> None:
    """Con datos N(0, 1): la recta de regresión explica 1 - ᾱ y deja ᾱ."""
    known = {x_0: (0, 1), epsilon: (0, 1)}
    best = sqrt(1 - alpha_bar) * jump(x_0, epsilon)
    assert_chain(expectation(best**2, known), 1 - alpha_bar)
    assert_chain(1 - expectation((epsilon - best) ** 2, known), 1 - alpha_bar)


levels = pytest.mark.parametrize(
    ("bar", "noisy"), list(itertools.product([0.9, 0.5, 0.1], [-1.3, 0.1, 0.9]))
)


def mean_of_data(bar: float, noisy: float) -> float:
    """E[x_0 | x_t], por Bayes y cuadratura en x_0."""
    joint = density(GRID) * normal_density(noisy, math.sqrt(bar) * GRID, 1 - bar)
    return integral(GRID * joint, GRID) / integral(joint, GRID)


@levels
@pytest.mark.equation("epsilon-media")
def test_conditional_mean_of_x_t(bar: float, noisy: float) -> None:
    """E[ε | x_t], con su propia cuadratura en ε."""
    joint = normal_density(GRID, 0.0, 1.0) * density(
        (noisy - math.sqrt(1 - bar) * GRID) / math.sqrt(bar)
    )
    mean_noise = integral(GRID * joint, GRID) / integral(joint, GRID)
    printed = math.sqrt(bar) * mean_of_data(bar, noisy) + math.sqrt(1 - bar) * mean_noise
    assert printed == pytest.approx(noisy, abs=1e-9)


@levels
@pytest.mark.equation("epsilon-tweedie")
def test_tweedie(bar: float, noisy: float) -> None:
    score = np.log(density(noisy + 1e-30j, math.sqrt(bar), 1 - bar)).imag / 1e-30
    printed = (noisy + (1 - bar) * score) / math.sqrt(bar)
    assert mean_of_data(bar, noisy) == pytest.approx(printed, abs=1e-9)


@pytest.mark.equation("epsilon-tweedie", "epsilon-media")
def test_tweedie_with_two_points() -> None:
    """Con x_0 = ±1, E[x_0 | x_t] es la tangente hiperbólica de la página."""
    bells = [
        sp.exp(-((x_t - sign * sqrt(alpha_bar)) ** 2) / (2 * (1 - alpha_bar))) for sign in (1, -1)
    ]
    mean = (bells[0] - bells[1]) / sum(bells)
    noises = [(x_t - sign * sqrt(alpha_bar)) / sqrt(1 - alpha_bar) for sign in (1, -1)]
    mean_noise = sum(b * e for b, e in zip(bells, noises, strict=True)) / sum(bells)
    assert_chain(x_t, sqrt(alpha_bar) * mean + sqrt(1 - alpha_bar) * mean_noise)
    score = sp.diff(sp.log(sum(bells)), x_t)
    assert_chain(mean, (x_t + (1 - alpha_bar) * score) / sqrt(alpha_bar))
    hyperbolic = sp.tanh(sqrt(alpha_bar) * x_t / (1 - alpha_bar))
    assert_chain(mean.rewrite(sp.exp), hyperbolic.rewrite(sp.exp))


# --- entrenamiento --------------------------------------------------------------------------------


@pytest.mark.equation("entrenamiento-insesgado")
def test_one_random_time_is_unbiased(agree: Callable[..., None]) -> None:
    timesteps, draws = 5, 20_000
    schedule = make_schedule("cosine", timesteps)
    torch.manual_seed(0)
    layer = nn.Linear(2, 1).double()
    x_start, noise = numbers(1, seed=18), numbers(1, seed=19)

    def loss(index: int) -> Tensor:
        t = torch.tensor([index])
        noisy = q_sample(schedule, x_start, t, noise)
        return (noise - layer(torch.cat([noisy, t / timesteps]))).square().sum()

    def gradient(value: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, layer.parameters())])

    gradients = torch.stack([gradient(loss(index)) for index in range(timesteps)])
    middle = (gradients / timesteps).sum(0)
    agree(middle, gradient(sum(loss(index) for index in range(timesteps)) / timesteps))

    t, _ = training_draws(3, 0, range(draws), (), timesteps)
    tolerance = 5 * gradients.std(0, correction=0) / math.sqrt(draws)
    assert ((gradients[t].mean(0) - middle).abs() < tolerance).all()
    assert (tolerance < 0.05 * middle.abs()).all()


@pytest.mark.equation("entrenamiento-varianza-lote")
def test_variance_of_the_mean_of_a_batch() -> None:
    """Todos los sorteos posibles de un lote, uno a uno y con fracciones."""
    losses = [Fraction(7, 3), Fraction(-1, 2), Fraction(5, 4), Fraction(2)]
    batch = 4

    def var(values: list[Fraction]) -> Fraction:
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / len(values)

    draws = list(itertools.product(losses, repeat=batch))
    of_the_mean = var([sum(draw) / batch for draw in draws])
    of_each = [var([draw[i] for draw in draws]) for i in range(batch)]
    assert of_the_mean == Fraction(1, batch**2) * sum(of_each)
    assert of_the_mean == var(losses) / batch


@pytest.mark.equation("entrenamiento-ema-inicial")
def test_what_is_left_of_the_first_weights() -> None:
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(network.weight)
    ema = EMA(network, decay=0.9999)
    nn.init.zeros_(network.weight)
    for count in range(1, 31):
        product = math.prod(Fraction(1 + n, 10 + n) for n in range(count))
        numerator, denominator = math.prod(range(1, count + 1)), math.prod(range(10, count + 10))
        assert product == Fraction(numerator, denominator)
        assert product == Fraction(
            math.factorial(count) * math.factorial(9), math.factorial(count + 9)
        )
        ema.update(network)
        assert ema.model.weight.item() == pytest.approx(float(product), rel=1e-9)


# --- generacion -----------------------------------------------------------------------------------


@pytest.mark.equation("generacion-algoritmo")
@pytest.mark.parametrize("variance_name", ["fixed_small", "fixed_large"])
def test_step_of_algorithm_two(variance_name: str, agree: Callable[..., None]) -> None:
    """Cada paso, con la fórmula de la página y sin pasar por x̂_0."""
    schedule = make_schedule("linear", 40)

    def network(noisy: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(noisy + t.reshape(-1, 1) / 40)

    noises = numbers(41, 3, 2, seed=20)
    current = noises[0]
    states = algorithm2(
        Denoiser(network, Diffusion(schedule, variance=variance_name, clip=False)),
        current,
        iter(noises[1:]),
    )
    for state, z in zip(states, noises[1:], strict=True):
        t = torch.full((3,), state.t)
        a, b, bar = (
            schedule.alphas[state.t],
            schedule.betas[state.t],
            schedule.alphas_cumprod[state.t],
        )
        sigma = VARIANCES[variance_name](schedule, t, current)[0].sqrt()
        mean = (current - b / (1 - bar).sqrt() * network(current, t)) / a.sqrt()
        current = mean + sigma * (z if state.t > 0 else torch.zeros_like(z))
        agree(state.x_t, current, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("generacion-media-normal")
def test_mean_with_standard_normal_data(schedule: Schedule, agree: Callable[..., None]) -> None:
    assert_chain(
        posterior_mean((x_t - sqrt(1 - alpha_bar) * sqrt(1 - alpha_bar) * x_t) / sqrt(alpha_bar)),
        (x_t - beta / sqrt(1 - alpha_bar) * sqrt(1 - alpha_bar) * x_t) / sqrt(alpha),
        (1 - beta) / sqrt(alpha) * x_t,
        sqrt(alpha) * x_t,
    )
    t, noisy = torch.arange(1000), numbers(1000, seed=21)
    best = (1 - schedule.alphas_cumprod).sqrt() * noisy
    mean = p_mean_variance(Diffusion(schedule, clip=False), best, noisy, t).mean
    agree(mean, schedule.alphas.sqrt() * noisy, rtol=1e-9)


@pytest.mark.equation("generacion-varianza")
def test_variance_with_and_without_noise(short: Schedule, agree: Callable[..., None]) -> None:
    """La red perfecta de los datos N(0, I) es lineal: basta seguir un x_T = 1 y un z = 1."""

    def perfect(noisy: Tensor, t: Tensor) -> Tensor:
        return short.at("sqrt_one_minus_alphas_cumprod", t, noisy) * noisy

    def constant(value: float) -> Iterator[Tensor]:
        return itertools.repeat(torch.full((1,), value, dtype=torch.float64))

    assert_chain(alpha * 1 + beta, 1)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for index in range(len(short) - 1, 0, -1):
        cut = Diffusion(
            Schedule.from_betas(short.betas[: index + 1]), variance="fixed_large", clip=False
        )
        kept = next(algorithm2(Denoiser(perfect, cut), one, constant(0.0))).x_t
        added = next(algorithm2(Denoiser(perfect, cut), zero, constant(1.0))).x_t
        agree(kept**2, short.alphas[index], rtol=1e-9)
        agree(kept**2 * 1 + added**2, 1, rtol=1e-9)

    *_, last = algorithm2(
        Denoiser(perfect, Diffusion(short, variance="fixed_large", clip=False)), one, constant(0.0)
    )
    agree(last.x_t**2, math.prod(short.alphas.tolist()), rtol=1e-9)
    agree(math.prod(short.alphas.tolist()), short.alphas_cumprod[-1])


# --- unet -----------------------------------------------------------------------------------------


@pytest.mark.equation("unet-giro")
def test_moving_in_time_is_a_rotation() -> None:
    w, t, delta = sp.symbols("omega t Delta", real=True)
    moved = sp.Matrix([sp.sin(w * (t + delta)), sp.cos(w * (t + delta))])
    turn = sp.Matrix(
        [[sp.cos(w * delta), sp.sin(w * delta)], [-sp.sin(w * delta), sp.cos(w * delta)]]
    )
    product = turn * sp.Matrix([sp.sin(w * t), sp.cos(w * t)])
    for left, right in zip(moved, product, strict=True):
        assert_chain(left, right)


@pytest.mark.equation("unet-parecido")
def test_product_of_two_embeddings(agree: Callable[..., None]) -> None:
    frequencies = sp.symbols("omega_0:3", real=True)
    t, other = sp.symbols("t s", real=True)

    def embed(time: sp.Expr) -> list[sp.Expr]:
        return [f(w * time) for f in (sp.sin, sp.cos) for w in frequencies]

    assert_chain(
        sum(a * b for a, b in zip(embed(t), embed(other), strict=True)),
        sum(sp.cos(w * (t - other)) for w in frequencies),
    )

    half = 32
    times = torch.tensor([0, 3, 50, 417, 998])
    rows = sinusoidal_embedding(times, 2 * half).double()
    speeds = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - 1))
    distances = (times[:, None] - times).double()
    agree(rows @ rows.T, (distances[..., None] * speeds).cos().sum(-1), rtol=0, atol=1e-3)


@pytest.mark.equation("unet-atencion-escala")
@pytest.mark.parametrize("d", [1, 2, 5])
def test_variance_of_a_product_of_vectors(d: int) -> None:
    q, k = sp.symbols(f"q1:{d + 1}", real=True), sp.symbols(f"k1:{d + 1}", real=True)
    known = {component: (0, 1) for component in (*q, *k)}
    pairs = list(zip(q, k, strict=True))
    assert_chain(
        variance(sum(a * b for a, b in pairs), known),
        sum(variance(a * b, known) for a, b in pairs),
        sum(expectation(a**2, known) * expectation(b**2, known) for a, b in pairs),
        d,
    )
