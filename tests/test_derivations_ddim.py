"""Las cuentas del capítulo de DDIM, signo igual a signo igual."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor

from algebra import (
    POSTERIOR_VARIANCE,
    alpha,
    alpha_bar,
    alpha_bar_prev,
    assert_chain,
    beta,
    epsilon,
    expectation,
    jump,
    normal_density,
    posterior_mean,
    variance,
    x_0,
    x_t,
)
from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.losses import normal_kl
from ddpm_lit.sampling import algorithm2
from exact import Mixture, log_snr_grid

sqrt, exp = sp.sqrt, sp.exp
sigma = sp.Symbol("sigma_t", positive=True)
z, x_hat, epsilon_hat = sp.symbols("z xhat_0 epsilon_theta", real=True)
old = sqrt(1 - alpha_bar_prev - sigma**2)
NORMAL = [0, 1]


def family_mean(x_start: sp.Expr, noisy: sp.Expr = x_t) -> sp.Expr:
    """La media de (ddim-familia)."""
    return sqrt(alpha_bar_prev) * x_start + old * (noisy - sqrt(alpha_bar) * x_start) / sqrt(
        1 - alpha_bar
    )


# --- La familia -----------------------------------------------------------------------------------


@pytest.mark.equation("ddim-mezcla", "ddim-familia")
def test_mixing_old_and_new_noise() -> None:
    """El ruido de x_{t-1} tiene la varianza debida, y despejar ε da la media de la familia."""
    mixed = sqrt(alpha_bar_prev) * x_0 + old * epsilon + sigma * z
    moments = {epsilon: NORMAL, z: NORMAL}
    assert_chain(expectation(mixed, moments), sqrt(alpha_bar_prev) * x_0)
    assert_chain(variance(mixed, moments), 1 - alpha_bar_prev)
    assert_chain(mixed, family_mean(x_0, jump(x_0, epsilon)) + sigma * z)


@pytest.mark.equation("ddim-marginal-media", "ddim-marginal")
def test_the_induction_step() -> None:
    """Con x_t de media √ᾱ_t x_0 y varianza 1 - ᾱ_t, los de x_{t-1} no dependen de σ."""
    mean, spread = sqrt(alpha_bar) * x_0, 1 - alpha_bar
    moments = {x_t: [mean, mean**2 + spread], z: NORMAL}
    step = family_mean(x_0) + sigma * z
    assert_chain(
        expectation(step, moments),
        sqrt(alpha_bar_prev) * x_0 + old * (mean - sqrt(alpha_bar) * x_0) / sqrt(1 - alpha_bar),
        sqrt(alpha_bar_prev) * x_0,
    )
    factor = (1 - alpha_bar_prev - sigma**2) / (1 - alpha_bar)
    assert_chain(
        variance(step, moments),
        factor * spread + sigma**2,
        factor * (1 - alpha_bar) + sigma**2,
        1 - alpha_bar_prev,
    )


BAR, BEFORE, SEEN = 0.5, 0.8, 0.4
STATES = np.linspace(-8, 8, 4001)


def step_up(data: float, noise: float) -> np.ndarray:
    """q_σ(x_t|x_{t-1}, x_0) por la regla de Bayes, en la rejilla de x_t y con x_{t-1} = SEEN."""
    gap = (STATES - math.sqrt(BAR) * data) / math.sqrt(1 - BAR)
    mean = math.sqrt(BEFORE) * data + math.sqrt(1 - BEFORE - noise**2) * gap
    back = normal_density(SEEN, mean, noise**2)
    marginal = normal_density(STATES, math.sqrt(BAR) * data, 1 - BAR)
    return back * marginal / normal_density(SEEN, math.sqrt(BEFORE) * data, 1 - BEFORE)


@pytest.mark.equation("ddim-adelante")
@pytest.mark.parametrize("noise", [0.2, 0.3, 0.42])
def test_the_forward_step_looks_at_the_data(noise: float) -> None:
    """El cociente es una densidad de x_t, y cambia con x_0 a igualdad de x_{t-1}."""
    densities = [step_up(data, noise) for data in (0.6, -0.2)]
    for density in densities:
        assert density.sum() * (STATES[1] - STATES[0]) == pytest.approx(1, rel=1e-9)
    assert np.abs(densities[0] - densities[1]).max() > 0.05


@pytest.mark.equation("ddim-adelante")
def test_only_the_noise_of_ddpm_forgets_the_data() -> None:
    """Con σ² = β̃ el cociente es el paso de DDPM, N(√α x_{t-1}, β), sea cual sea x_0."""
    step = BAR / BEFORE
    markov = normal_density(STATES, math.sqrt(step) * SEEN, 1 - step)
    noise = math.sqrt((1 - BEFORE) / (1 - BAR) * (1 - step))
    for data in (0.6, -0.2, 3.0):
        assert np.abs(step_up(data, noise) - markov).max() < 1e-12
        for other in (0.99 * noise, 1.01 * noise):
            assert np.abs(step_up(data, other) - markov).max() > 1e-3


@pytest.mark.equation("ddim-adelante")
def test_without_noise_the_next_state_is_known() -> None:
    """Sabiendo x_{t-1} y x_0 se despeja ε, y x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε es el único posible."""
    for data in (0.6, -0.2):
        noise = (SEEN - math.sqrt(BEFORE) * data) / math.sqrt(1 - BEFORE)
        known = math.sqrt(BAR) * data + math.sqrt(1 - BAR) * noise
        density = step_up(data, 0.01)
        mass = density / density.sum()
        assert (mass * STATES).sum() == pytest.approx(known, abs=1e-2)
        assert (mass * (STATES - known) ** 2).sum() < 1e-3


@pytest.mark.equation("ddim-perdida")
def test_the_bound_is_a_weighted_noise_error(agree: Callable[..., None]) -> None:
    seen_hat = (x_t - sqrt(1 - alpha_bar) * epsilon_hat) / sqrt(alpha_bar)
    seen = (x_t - sqrt(1 - alpha_bar) * epsilon) / sqrt(alpha_bar)
    gap = epsilon - epsilon_hat
    assert_chain(seen - seen_hat, -sqrt((1 - alpha_bar) / alpha_bar) * gap)
    weight = (old - sqrt(alpha_bar_prev * (1 - alpha_bar) / alpha_bar)) ** 2 / (2 * sigma**2)
    assert_chain(
        (sqrt(alpha_bar_prev) * (seen - seen_hat) + old * gap) ** 2 / (2 * sigma**2),
        weight * gap**2,
    )
    values = {alpha: 0.7, alpha_bar_prev: 0.6, sigma: 0.4, x_t: 0.3, epsilon: 1.1, epsilon_hat: 0.2}
    means = [
        float(family_mean(where).subs(values))
        for where in (seen.subs(values), seen_hat.subs(values))
    ]
    log_variance = torch.tensor(2 * math.log(0.4), dtype=torch.float64)
    divergence = normal_kl(
        torch.tensor(means[0]).double(),
        log_variance,
        torch.tensor(means[1]).double(),
        log_variance,
    )
    agree(divergence, float((weight * gap**2).subs(values)), rtol=1e-5)


# --- η = 1 ----------------------------------------------------------------------------------------


@pytest.mark.equation("ddim-eta-uno", "ddim-sigma")
def test_the_old_noise_of_ddpm() -> None:
    ratio = alpha_bar / alpha_bar_prev
    assert_chain((1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - ratio), POSTERIOR_VARIANCE)
    assert_chain(
        1 - alpha_bar_prev - POSTERIOR_VARIANCE,
        (1 - alpha_bar_prev) * (1 - beta / (1 - alpha_bar)),
        (1 - alpha_bar_prev) * (1 - alpha_bar - beta) / (1 - alpha_bar),
        alpha * (1 - alpha_bar_prev) ** 2 / (1 - alpha_bar),
    )


@pytest.mark.equation("ddim-eta-uno-media")
def test_the_mean_of_ddpm() -> None:
    coefficient = sqrt(alpha) * (1 - alpha_bar_prev)
    assert_chain(
        sqrt(alpha_bar_prev) * x_0
        + coefficient / sqrt(1 - alpha_bar) * (x_t - sqrt(alpha_bar) * x_0) / sqrt(1 - alpha_bar),
        coefficient / (1 - alpha_bar) * x_t
        + sqrt(alpha_bar_prev) * (1 - alpha * (1 - alpha_bar_prev) / (1 - alpha_bar)) * x_0,
        coefficient / (1 - alpha_bar) * x_t + sqrt(alpha_bar_prev) * beta / (1 - alpha_bar) * x_0,
        posterior_mean(x_0),
    )


# --- La ecuación diferencial ----------------------------------------------------------------------


def spread(bar: sp.Expr) -> sp.Expr:
    """ς = √((1-ᾱ)/ᾱ)."""
    return sqrt((1 - bar) / bar)


@pytest.mark.equation("ddim-euler")
def test_a_step_without_noise_is_euler() -> None:
    estimate = (x_t - sqrt(1 - alpha_bar) * epsilon_hat) / sqrt(alpha_bar)
    step = sqrt(alpha_bar_prev) * estimate + sqrt(1 - alpha_bar_prev) * epsilon_hat
    assert_chain(
        step / sqrt(alpha_bar_prev),
        estimate + sqrt(1 - alpha_bar_prev) / sqrt(alpha_bar_prev) * epsilon_hat,
        x_t / sqrt(alpha_bar) + (spread(alpha_bar_prev) - spread(alpha_bar)) * epsilon_hat,
    )


@pytest.mark.equation("ddim-edo")
def test_the_slope_of_the_path(agree: Callable[..., None]) -> None:
    """Con datos N(m, v), la solución x̄ = m + k √(v + ς²) tiene por pendiente el ε óptimo."""
    m, v, k, noise = sp.symbols("m v k varsigma", positive=True)
    path = m + k * sqrt(v + noise**2)
    bar = 1 / (1 + noise**2)
    optimal = sqrt(1 - bar) * (sqrt(bar) * path - sqrt(bar) * m) / (bar * v + 1 - bar)
    assert_chain(sp.diff(path, noise), sp.simplify(optimal))
    grid = log_snr_grid(2000)
    *_, before, _ = algorithm2(
        Denoiser(Mixture((1.0, 0.3, 0.25)).model(grid), Diffusion(grid, clip=False)),
        torch.tensor([1.5], dtype=torch.float64),
        iter(()),
        ddim,
    )
    ends = []
    for level, state in ((-1, torch.tensor([1.5]).double()), (0, before.x_t)):
        value = grid.alphas_cumprod[level]
        ends.append((state / value.sqrt() - 0.3) / (0.25 + 1 / value - 1).sqrt())
    agree(ends[1], ends[0], rtol=2e-2)


@pytest.mark.equation("ddim-calor")
def test_the_density_carried_along_is_the_blurred_one() -> None:
    """Emborronar cumple ∂p = ς p'', y la velocidad -ς (log p)' da lo mismo por continuidad."""
    x, noise = sp.symbols("x varsigma", real=True, positive=True)
    blurred = sp.Rational(0)
    for weight, mean, var in (("2/5", "-7/10", "1/25"), ("3/5", "1/2", "9/100")):
        total = sp.Rational(var) + noise**2
        gap = x - sp.Rational(mean)
        blurred += sp.Rational(weight) * exp(-(gap**2) / (2 * total)) / sqrt(2 * sp.pi * total)
    velocity = -noise * sp.diff(sp.log(blurred), x)
    sides = (
        sp.diff(blurred, noise),
        -sp.diff(blurred * velocity, x),
        noise * sp.diff(blurred, x, 2),
    )
    for point in ({x: 0.3, noise: 0.2}, {x: 1.1, noise: 0.9}, {x: 0.05, noise: 2.5}):
        values = [float(side.subs(point).evalf(30)) for side in sides]
        assert values[0] == pytest.approx(values[1], rel=1e-10)
        assert values[0] == pytest.approx(values[2], rel=1e-10)


@pytest.mark.equation("ddim-angulo", "ddim-edo")
def test_the_slope_in_the_angle_is_v() -> None:
    """x = cos φ x̄(tan φ), derivado por la regla de la cadena."""
    phi, barred = sp.symbols("varphi barx", real=True)
    stretched = sp.Function("xbar")(sp.Symbol("s"))
    composed = sp.cos(phi) * stretched.subs(sp.Symbol("s"), sp.tan(phi))
    slope = sp.diff(composed, phi).doit()
    estimate = x_hat + sp.tan(phi) * epsilon_hat
    by_chain = -sp.sin(phi) * barred + sp.cos(phi) * epsilon_hat / sp.cos(phi) ** 2
    line = sp.Lambda(sp.Symbol("s"), x_hat + sp.Symbol("s") * epsilon_hat)
    concrete = slope.subs(sp.Function("xbar"), line).doit()
    assert_chain(
        concrete,
        by_chain.subs(barred, estimate),
        -sp.sin(phi) * x_hat + (1 - sp.sin(phi) ** 2) / sp.cos(phi) * epsilon_hat,
        sp.cos(phi) * epsilon_hat - sp.sin(phi) * x_hat,
    )


# --- Interpolación --------------------------------------------------------------------------------


@pytest.mark.equation("ddim-recta")
def test_the_straight_line_loses_norm() -> None:
    """Componente a componente: E[((1-f) a + f b)²] con a y b normales estándar."""
    f, a, b = sp.symbols("f a b", real=True)
    square = expectation(((1 - f) * a + f * b) ** 2, {a: NORMAL, b: NORMAL})
    assert_chain(square, (1 - f) ** 2 + f**2)
    assert square.subs(f, sp.Rational(1, 2)) == sp.Rational(1, 2)


@pytest.mark.equation("ddim-slerp-norma")
def test_the_arc_keeps_it() -> None:
    u, v = sp.symbols("u v", real=True)
    su, sv, cu, cv = sp.sin(u), sp.sin(v), sp.cos(u), sp.cos(v)
    assert_chain(
        su**2 + sv**2 + 2 * su * sv * sp.cos(u + v),
        su**2 * (1 - sv**2) + sv**2 * (1 - su**2) + 2 * su * sv * cu * cv,
        (su * cv + sv * cu) ** 2,
        sp.sin(u + v) ** 2,
    )


# --- DPM-Solver++ ---------------------------------------------------------------------------------

w, now, after, h = sp.symbols("w lambda_t lambda_{t-1} h", positive=True)


def signal(log_ratio: sp.Expr) -> sp.Expr:
    """√ᾱ en función de λ."""
    return exp(log_ratio) / sqrt(1 + exp(2 * log_ratio))


def noise_of(log_ratio: sp.Expr) -> sp.Expr:
    """√(1-ᾱ) en función de λ."""
    return 1 / sqrt(1 + exp(2 * log_ratio))


@pytest.mark.equation("ddim-datos")
def test_the_slope_in_w_is_the_data() -> None:
    """d(w x̄)/dw con dx̄ = ε dς y ς = 1/w."""
    spread_of = 1 / w
    stretched = x_hat + spread_of * epsilon_hat
    assert_chain(
        stretched + w * epsilon_hat * sp.diff(spread_of, w),
        stretched + w * epsilon_hat * (-1 / w**2),
        stretched - spread_of * epsilon_hat,
        x_hat,
    )


@pytest.mark.equation("ddim-semilineal")
def test_the_exact_solution(agree: Callable[..., None]) -> None:
    """Con datos N(m, v) se conocen x y x̂_0 a lo largo del camino: los dos lados, numéricamente."""
    m, v, k = 0.3, 0.25, 1.4

    def state(log_ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bar = (2 * log_ratio).sigmoid()
        total = bar * v + 1 - bar
        x = bar.sqrt() * m + k * total.sqrt()
        return x, (1 - bar).sqrt(), m + bar.sqrt() * v / total * (x - bar.sqrt() * m)

    grid = torch.linspace(-1.0, 2.0, 20_001, dtype=torch.float64)
    x, noise, x_start = state(grid)
    integral = torch.trapezoid(grid.exp() * x_start, grid)
    agree(x[-1], noise[-1] / noise[0] * x[0] + noise[-1] * integral, rtol=1e-8)


@pytest.mark.equation("ddim-primer-orden", "ddim-otra-vez")
def test_the_first_order_is_ddim() -> None:
    lam = sp.Symbol("lambda", real=True)
    integral = sp.integrate(exp(lam), (lam, now, after))
    assert_chain(
        noise_of(after) * integral,
        noise_of(after) * (exp(after) - exp(now)),
        signal(after) * (1 - exp(now - after)),
    )
    assert_chain(
        noise_of(after) / noise_of(now) * x_t + signal(after) * (1 - exp(now - after)) * x_hat,
        signal(after) * x_hat + noise_of(after) * (x_t - signal(now) * x_hat) / noise_of(now),
    )


@pytest.mark.equation("ddim-segundo-orden", "ddim-2m")
def test_the_second_order_integral() -> None:
    lam = sp.Symbol("lambda", real=True)
    integral = sp.integrate(exp(lam) * (lam - now), (lam, now, now + h))
    assert_chain(
        noise_of(now + h) * integral,
        signal(now + h) * (h - 1 + exp(-h)),
    )
    exact, replaced = h - 1 + exp(-h), (1 - exp(-h)) * h / 2
    for side in (exact, replaced):
        assert sp.series(side, h, 0, 3).removeO() == h**2 / 2
    assert sp.series(exact - replaced, h, 0, 4).removeO() == h**3 / 12
    r, before = sp.symbols("r xhat_prev", real=True)
    gain = 1 - exp(-h)
    assert_chain(
        gain * x_hat + replaced * (x_hat - before) / (r * h),
        -(exp(-h) - 1) * ((1 + 1 / (2 * r)) * x_hat - before / (2 * r)),
    )
