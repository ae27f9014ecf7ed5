"""Las cuentas del capítulo «Improving diffusion», signo igual a signo igual.

Los datos son normales, donde todo se sabe, o de unos pocos valores, donde las medias se hacen
con cuadratura.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor

from algebra import alpha_bar, alpha_bar_prev, assert_chain, beta, integral, normal_density
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices

sqrt = sp.sqrt
sigma2, small, delta2 = sp.symbols("sigma2 betatilde delta2", positive=True)
TERM = (sp.log(sigma2 / small) + (small + delta2) / sigma2 - 1) / 2


# --- La cota, leída al revés ----------------------------------------------------------------------


class GaussianChain:
    """x_0 ~ N(m, s²), el forward process y un modelo lineal p(x_{t-1}|x_t) = N(k_t x_t + c_t, v_t).

    `mean` y `cov` son las de (x_0, …, x_T), que es una normal.
    """

    def __init__(self, mean: float, std: float, betas: list[float]) -> None:
        self.betas, self.steps = betas, len(betas)
        factor = torch.zeros(self.steps + 1, self.steps + 1, dtype=torch.float64)
        self.mean = torch.zeros(self.steps + 1, dtype=torch.float64)
        factor[0, 0], self.mean[0] = std, mean
        for t, b in enumerate(betas, start=1):
            factor[t] = math.sqrt(1 - b) * factor[t - 1]
            factor[t, t] = math.sqrt(b)
            self.mean[t] = math.sqrt(1 - b) * self.mean[t - 1]
        self.cov = factor @ factor.T
        generator = torch.Generator().manual_seed(3)
        uniform = torch.rand((3, self.steps), dtype=torch.float64, generator=generator)
        self.k, self.c, self.v = 0.5 + 0.5 * uniform[0], uniform[1] - 0.5, 0.3 + uniform[2]

    def backward(self, t: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pendiente, ordenada y varianza de q(x_{t-1}|x_t): la recta de regresión."""
        slope = self.cov[t - 1, t] / self.cov[t, t]
        residual = self.cov[t - 1, t - 1] - slope * self.cov[t, t - 1]
        return slope, self.mean[t - 1] - slope * self.mean[t], residual

    def expected_log(
        self, target: int, given: int, slope: Tensor, shift: Tensor, v: Tensor
    ) -> Tensor:
        """E_q[log N(x_target; slope·x_given + shift, v)]."""
        bias = self.mean[target] - slope * self.mean[given] - shift
        spread = (
            self.cov[target, target]
            - 2 * slope * self.cov[target, given]
            + slope**2 * self.cov[given, given]
        )
        return -0.5 * ((2 * math.pi * v).log() + (bias**2 + spread) / v)


CHAIN = GaussianChain(0.4, 0.6, [0.1, 0.25, 0.4, 0.7])


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.equation("improved-al-reves")
def test_the_chain_read_backwards_is_markov(agree: Callable[..., None]) -> None:
    """Sabiendo todo lo que viene después, x_{t-1} solo mira a x_t; y los productos coinciden."""
    mean, cov = CHAIN.mean, CHAIN.cov
    x = mean + torch.linspace(-2, 2, 5, dtype=torch.float64) * torch.tensor([1, -1, 0.5, 2, 1])
    joint = torch.distributions.MultivariateNormal(mean, cov)
    total = torch.distributions.Normal(mean[-1], cov[-1, -1].sqrt()).log_prob(x[-1])
    for t in range(1, CHAIN.steps + 1):
        slope, shift, residual = CHAIN.backward(t)
        weights = torch.linalg.solve(cov[t:, t:], cov[t:, t - 1])
        agree(weights, torch.nn.functional.pad(slope.reshape(1), (0, CHAIN.steps - t)), atol=1e-12)
        step = torch.distributions.Normal(slope * x[t] + shift, residual.sqrt())
        total = total + step.log_prob(x[t - 1])
    agree(total, joint.log_prob(x), rtol=1e-10)


@pytest.mark.equation("improved-descomposicion")
def test_the_bound_is_entropy_plus_what_each_step_gets_wrong(agree: Callable[..., None]) -> None:
    chain, one, zero = CHAIN, number(1.0), number(0.0)
    bound = -chain.expected_log(chain.steps, 0, zero, zero, one)
    for t, b in enumerate(chain.betas, start=1):
        forward = chain.expected_log(t, t - 1, number(math.sqrt(1 - b)), zero, number(b))
        model = chain.expected_log(t - 1, t, chain.k[t - 1], chain.c[t - 1], chain.v[t - 1])
        bound = bound + forward - model
    last_mean, last = chain.mean[-1], chain.cov[-1, -1]
    parts = 0.5 * (2 * math.pi * math.e * chain.cov[0, 0]).log()
    parts = parts + 0.5 * (last + last_mean**2 - 1 - last.log())
    for t in range(1, chain.steps + 1):
        slope, shift, residual = chain.backward(t)
        gap, offset = slope - chain.k[t - 1], shift - chain.c[t - 1]
        square = gap**2 * chain.cov[t, t] + (gap * chain.mean[t] + offset) ** 2
        v = chain.v[t - 1]
        parts = parts + 0.5 * ((v / residual).log() + (residual + square) / v - 1)
    agree(bound, parts, rtol=1e-12)


# --- La mejor varianza ----------------------------------------------------------------------------


@pytest.mark.equation("improved-termino")
@pytest.mark.parametrize("variances", [(0.3, 0.3), (0.3, 0.5), (0.2, 0.09)])
def test_the_term_of_one_pixel_is_the_mean_of_its_divergence(
    variances: tuple[float, float],
) -> None:
    """∫ q log(q/p), integrada en una rejilla, de media sobre tres errores de la media."""
    posterior, model = variances
    grid = np.linspace(-6, 6, 6001)
    errors, shares = (-0.4, 0.1, 0.7), (0.2, 0.5, 0.3)
    q = normal_density(grid, 0.15, posterior)
    log_p = [np.log(normal_density(grid, 0.15 + error, model)) for error in errors]
    mean = sum(
        share * integral(q * (np.log(q) - each), grid)
        for share, each in zip(shares, log_p, strict=True)
    )
    square = sum(share * error**2 for share, error in zip(shares, errors, strict=True))
    found = TERM.subs({sigma2: model, small: posterior, delta2: square})
    assert float(found) == pytest.approx(mean, rel=1e-9)


@pytest.mark.equation("improved-optima")
def test_where_the_derivative_vanishes() -> None:
    slope = sp.diff(TERM, sigma2)
    assert_chain(slope, (1 / sigma2 - (small + delta2) / sigma2**2) / 2)
    assert sp.solve(slope, sigma2) == [small + delta2]
    best = small + delta2
    assert sp.simplify(slope.subs(sigma2, best / 2)) < 0
    assert sp.simplify(slope.subs(sigma2, 2 * best)) > 0


@pytest.mark.equation("improved-exceso")
def test_what_another_variance_costs() -> None:
    best = small + delta2
    ratio = best / sigma2
    assert_chain(
        sp.expand_log(TERM - TERM.subs(sigma2, best), force=True),
        sp.expand_log((ratio - 1 - sp.log(ratio)) / 2, force=True),
    )


def discrete_doubt(schedule: Schedule, values: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Con x_0 igual de probable en cada valor: x_t (rejilla), sus pesos y E[x_0|x_t]."""
    bar = schedule.alphas_cumprod[index]
    noise = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    grid = bar.sqrt() * values.unsqueeze(1) + (1 - bar).sqrt() * noise
    mass = (-0.5 * noise**2).exp().expand_as(grid)
    spread = grid.unsqueeze(-1) - bar.sqrt() * values
    belief = torch.softmax(-0.5 * spread**2 / (1 - bar), dim=-1)
    return grid, mass / mass.sum(), (belief * values).sum(-1)


DATASETS = {
    "un punto": torch.tensor([0.4], dtype=torch.float64),
    "moneda": torch.tensor([-1.0, 1.0], dtype=torch.float64),
    "trucada": torch.tensor([-0.9, 0.5, 0.6, 0.6], dtype=torch.float64),
    "niveles": torch.linspace(-1, 1, 17, dtype=torch.float64),
}


def mean_doubt(schedule: Schedule, values: Tensor, index: int) -> Tensor:
    """E[Var(x_0|x_t)]: el error cuadrático de la mejor estimación."""
    _, mass, best = discrete_doubt(schedule, values, index)
    return (mass * (best - values.unsqueeze(1)) ** 2).sum()


@pytest.mark.equation("improved-delta")
@pytest.mark.parametrize("index", [1, 5, 30])
@pytest.mark.parametrize("name", DATASETS)
def test_the_error_of_the_best_mean(
    name: str, index: int, short: Schedule, agree: Callable[..., None]
) -> None:
    values = DATASETS[name]
    grid, mass, best = discrete_doubt(short, values, index)
    t = torch.full((grid.numel(),), index)
    truth = q_posterior(short, values.repeat_interleave(grid.shape[1]), grid.flatten(), t).mean
    guess = q_posterior(short, best.flatten(), grid.flatten(), t).mean
    error = (mass.flatten() * (truth - guess) ** 2).sum()
    coefficient = short.posterior_mean_coef1[index] ** 2
    agree(error, coefficient * mean_doubt(short, values, index), rtol=1e-9, atol=1e-18)


@pytest.mark.equation("improved-regresion")
def test_the_regression_line() -> None:
    spread = sp.Symbol("s", positive=True)
    total = alpha_bar * spread**2 + 1 - alpha_bar
    assert_chain(
        spread**2 - (sqrt(alpha_bar) * spread**2) ** 2 / total,
        spread**2 - alpha_bar * spread**4 / total,
        spread**2 * (1 - alpha_bar) / total,
    )
    assert_chain(total - spread**2, (1 - alpha_bar) * (1 - spread**2))
    largest = (sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)) ** 2 * (1 - alpha_bar)
    posterior = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta
    assert_chain(posterior + largest, beta)


@pytest.mark.equation("improved-regresion", "improved-intervalo")
@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("name", DATASETS)
def test_the_best_variance_lies_between_the_fixed_ones(name: str, kind: str) -> None:
    """Con datos que no son normales, en un recorrido de veinte pasos."""
    schedule = respace(make_schedule(kind, 1000), spaced_indices(1000, 20))
    values = DATASETS[name]
    spread = values.var(correction=0)
    for index in range(1, 20):
        bar = schedule.alphas_cumprod[index]
        doubt = mean_doubt(schedule, values, index)
        line = spread * (1 - bar) / (bar * spread + 1 - bar)
        assert doubt <= line * (1 + 1e-9) + 1e-15
        if 0.1 < bar < 0.9 and len(values) > 1:
            assert doubt < (1 - 1e-6) * line  # la recta no es lo mejor si los datos no son normales
        best = (
            schedule.posterior_variance[index] + schedule.posterior_mean_coef1[index] ** 2 * doubt
        )
        assert schedule.posterior_variance[index] <= best <= schedule.betas[index] * (1 + 1e-12)


@pytest.mark.equation("improved-intervalo")
@pytest.mark.parametrize(("std", "inside"), [(0.2, True), (1.0, True), (2.0, False)])
def test_gaussian_data_wider_than_one_leave_the_interval(std: float, inside: bool) -> None:
    schedule = make_schedule("linear", 1000)
    bar = schedule.alphas_cumprod
    doubt = std**2 * (1 - bar) / (bar * std**2 + 1 - bar)
    best = (schedule.posterior_variance + schedule.posterior_mean_coef1**2 * doubt)[1:]
    assert bool((best <= schedule.betas[1:] * (1 + 1e-12)).all()) is inside
    assert (best >= schedule.posterior_variance[1:]).all()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_best_variance_seen_from_one_point_can_leave_the_interval(kind: str) -> None:
    """Con x_0 = ±1: desde x_t = 0 hace falta más que β en todo t; de media, no."""
    schedule, values = make_schedule(kind, 1000), torch.tensor([-1.0, 1.0], dtype=torch.float64)
    bar = schedule.alphas_cumprod
    gaps = (0 - bar.sqrt()[:, None] * values).square() / (2 * (1 - bar[:, None]))
    credible = (-gaps).softmax(dim=1)
    doubt = credible @ values**2 - (credible @ values) ** 2
    best = schedule.posterior_variance + schedule.posterior_mean_coef1**2 * doubt
    assert (best > schedule.betas)[1:].all()


# --- El muestreo por importancia ------------------------------------------------------------------


def two_valued_losses() -> tuple[Tensor, Tensor]:
    """Cada L_t toma dos valores igual de probables, (2, T); y unas p_t cualesquiera."""
    generator = torch.Generator().manual_seed(9)
    losses = torch.rand(2, 7, dtype=torch.float64, generator=generator) * torch.arange(1, 8) ** 2
    p = torch.rand(7, dtype=torch.float64, generator=generator) + 0.05
    return losses, p / p.sum()


@pytest.mark.equation("improved-insesgada", "improved-momento")
def test_moments_of_the_weighted_loss(agree: Callable[..., None]) -> None:
    """Todos los casos, uno a uno, con su probabilidad."""
    losses, p = two_valued_losses()
    first = second = number(0.0)
    for t in range(7):
        for loss in losses[:, t]:
            value = loss / (7 * p[t])
            first = first + 0.5 * p[t] * value
            second = second + 0.5 * p[t] * value**2
    agree(first, losses.mean(dim=0).mean())
    agree(second, (losses.square().mean(dim=0) / p).sum() / 49)


@pytest.mark.equation("improved-cauchy")
def test_cauchy_schwarz(agree: Callable[..., None]) -> None:
    """La diferencia de los dos lados es una suma de cuadrados, que solo es 0 si a ∝ b."""
    a, b = sp.symbols("a1:4", real=True), sp.symbols("b1:4", real=True)
    product = sum(x * y for x, y in zip(a, b, strict=True))
    squares = sum((a[i] * b[j] - a[j] * b[i]) ** 2 for i in range(3) for j in range(3) if i < j)
    assert_chain(sum(x**2 for x in a) * sum(y**2 for y in b) - product**2, squares)

    losses, p = two_valued_losses()
    moments = losses.square().mean(dim=0)
    floor = moments.sqrt().sum() ** 2
    assert floor < (moments / p).sum()
    best = moments.sqrt() / moments.sqrt().sum()
    agree((moments / best).sum(), floor)
