"""Las cuentas de los capítulos forward, posterior, backward y scheduler, signo igual a signo igual.

Cada test copia lo que imprime la página y comprueba que los dos lados son iguales: con SymPy
lo que es álgebra, con cuadratura lo que es una integral y, además, con las funciones del
paquete donde la ecuación habla de una de ellas.
"""

import itertools
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
    integral,
    jump,
    mixture_density,
    normal_density,
    posterior_mean,
    variance,
    x_0,
    x_prev,
    x_t,
)
from ddpm_lit.backward import p_mean_variance
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample, q_step
from ddpm_lit.parametrisation import PARAMETRISATIONS, to_epsilon
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import (
    Schedule,
    linear_betas,
    make_schedule,
    rescale_zero_terminal_snr,
    respace,
)

sqrt, Eq = sp.sqrt, sp.Eq
z, z_other, z_prev, phi, s = sp.symbols("z z' z_{t-1} phi s", real=True)
cos, sen = sp.cos(phi), sp.sin(phi)


def numbers(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dtype=torch.float64, generator=generator)


def step_moments(
    mean: sp.Expr, var: sp.Expr, gain: sp.Expr, noise: sp.Expr
) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """De y ~ N(mean, var) y w = gain·y + ruido de varianza noise: E[w], Var(w) y Cov(y, w)."""
    return gain * mean, gain**2 * var + noise, gain * var


def gaussian_given(
    mean: sp.Expr, var: sp.Expr, gain: sp.Expr, noise: sp.Expr, seen: sp.Expr
) -> tuple[sp.Expr, sp.Expr]:
    """Media y varianza de y sabiendo w, por la recta de regresión (sin pasar por Bayes)."""
    mean_w, var_w, cov = step_moments(mean, var, gain, noise)
    return mean + cov / var_w * (seen - mean_w), var - cov**2 / var_w


def assert_same_density(
    left: list[tuple[sp.Expr, sp.Expr, sp.Expr]], right: list[tuple[sp.Expr, sp.Expr, sp.Expr]]
) -> None:
    """Dos productos de normales, dadas por (x, media, varianza), son la misma función."""

    def exponent(factors: list[tuple[sp.Expr, sp.Expr, sp.Expr]]) -> sp.Expr:
        return sum((x - m) ** 2 / v for x, m, v in factors)

    assert len(left) == len(right)
    assert_chain(exponent(left), exponent(right))
    assert_chain(sp.prod(v for _, _, v in left), sp.prod(v for _, _, v in right))


# --- forward --------------------------------------------------------------------------------------


@pytest.mark.equation("forward-reparametrizacion")
def test_reparametrization(schedule: Schedule, agree: Callable[..., None]) -> None:
    """La densidad de √α x_{t-1} + √(1-α) z, por cambio de variable, es la de (forward-paso)."""
    solved = sp.solve(Eq(x_t, sqrt(alpha) * x_prev + sqrt(1 - alpha) * z), z)[0]
    assert_chain(solved**2, (x_t - sqrt(1 - beta) * x_prev) ** 2 / beta)
    assert_chain(sp.diff(solved, x_t), 1 / sqrt(beta))

    t = torch.arange(1000)
    previous, noise = numbers(1000, 1), numbers(1000, 2)
    formula = schedule.alphas.sqrt() * previous + (1 - schedule.alphas).sqrt() * noise
    agree(q_step(schedule, previous, t, noise), formula)


@pytest.mark.equation("forward-varianza-paso")
def test_variance_of_a_step() -> None:
    a, b, mean = sp.symbols("a b m", real=True)
    var = sp.Symbol("V", positive=True)
    moments = {x_prev: (mean, var + mean**2), z: (0, 1)}
    assert_chain(variance(a * x_prev + b * z, moments), a**2 * var + b**2)


@pytest.mark.equation("forward-varianza-contraccion")
def test_the_distance_to_one_contracts() -> None:
    var = sp.Symbol("V", positive=True)
    moments = {x_prev: (0, var), z: (0, 1)}
    step = sqrt(1 - beta) * x_prev + sqrt(beta) * z
    assert_chain(variance(step, moments) - 1, (1 - beta) * (var - 1))


@pytest.mark.equation("forward-dos-pasos")
def test_two_steps() -> None:
    alpha_prev = sp.Symbol("alpha_{t-1}", positive=True)
    x_prev2 = sp.Symbol("x_{t-2}", real=True)
    one_step = sqrt(alpha_prev) * x_prev2 + sqrt(1 - alpha_prev) * z_prev
    assert_chain(
        (sqrt(alpha) * x_prev + sqrt(1 - alpha) * z).subs(x_prev, one_step),
        sqrt(alpha) * (sqrt(alpha_prev) * x_prev2 + sqrt(1 - alpha_prev) * z_prev)
        + sqrt(1 - alpha) * z,
        sqrt(alpha * alpha_prev) * x_prev2
        + sqrt(alpha * (1 - alpha_prev)) * z_prev
        + sqrt(1 - alpha) * z,
    )


@pytest.mark.equation("forward-rotacion")
def test_a_rotation_keeps_the_distance() -> None:
    rotated, w = cos * z + sen * z_other, -sen * z + cos * z_other
    assert_chain(rotated**2 + w**2, z**2 + z_other**2)
    # Un giro tampoco cambia las áreas: su determinante es 1.
    assert_chain(sp.Matrix([rotated, w]).jacobian([z, z_other]).det(), 1)


@pytest.mark.equation("forward-suma-normales")
def test_two_noises_are_one() -> None:
    a, b = sp.symbols("a b", positive=True)
    turned = a / sqrt(a**2 + b**2) * z + b / sqrt(a**2 + b**2) * z_other
    assert_chain(a * z + b * z_other, sqrt(a**2 + b**2) * turned)
    assert_chain((a / sqrt(a**2 + b**2)) ** 2 + (b / sqrt(a**2 + b**2)) ** 2, 1)
    assert_chain(expectation(turned**2, {z: (0, 1), z_other: (0, 1)}), 1)


@pytest.mark.equation("forward-suma-varianzas")
def test_variances_add_up() -> None:
    alpha_prev = sp.Symbol("alpha_{t-1}", positive=True)
    assert_chain(alpha * (1 - alpha_prev) + (1 - alpha), 1 - alpha * alpha_prev)


@pytest.mark.equation("forward-producto")
def test_cumulative_product(schedule: Schedule, agree: Callable[..., None]) -> None:
    index = sp.Symbol("s", integer=True, positive=True)
    alphas = sp.IndexedBase("alpha")
    alpha_bars = [sp.product(alphas[index], (index, 1, t)) for t in range(7)]
    assert alpha_bars[0] == 1
    for t in range(1, 7):
        assert_chain(alpha_bars[t], alphas[t] * alpha_bars[t - 1])

    products = [math.prod((1 - schedule.betas[: t + 1]).tolist()) for t in range(1000)]
    agree(schedule.alphas_cumprod, torch.tensor(products, dtype=torch.float64), rtol=1e-10)
    agree(schedule.alphas_cumprod, schedule.alphas * schedule.alphas_cumprod_prev)
    assert schedule.alphas_cumprod_prev[0] == 1


@pytest.mark.equation("forward-induccion")
def test_induction_of_the_jump() -> None:
    """Las cinco líneas; la cuarta, con el ε que construye el giro de (forward-suma-normales)."""
    old = sp.Symbol("epsilon'", real=True)
    a, b = sqrt(alpha * (1 - alpha_bar_prev)), sqrt(1 - alpha)
    joined = (a * old + b * z) / sqrt(a**2 + b**2)
    hypothesis = sqrt(alpha_bar_prev) * x_0 + sqrt(1 - alpha_bar_prev) * old
    assert_chain(
        (sqrt(alpha) * x_prev + sqrt(1 - alpha) * z).subs(x_prev, hypothesis),
        sqrt(alpha) * (sqrt(alpha_bar_prev) * x_0 + sqrt(1 - alpha_bar_prev) * old)
        + sqrt(1 - alpha) * z,
        sqrt(alpha * alpha_bar_prev) * x_0
        + sqrt(alpha * (1 - alpha_bar_prev)) * old
        + sqrt(1 - alpha) * z,
        sqrt(alpha * alpha_bar_prev) * x_0
        + sqrt(alpha * (1 - alpha_bar_prev) + 1 - alpha) * joined,
        sqrt(alpha_bar) * x_0 + sqrt(1 - alpha_bar) * joined,
    )
    assert_chain(expectation(joined**2, {old: (0, 1), z: (0, 1)}), 1)


# --- posterior ------------------------------------------------------------------------------------

A = alpha / beta + 1 / (1 - alpha_bar_prev)
B = sqrt(alpha) * x_t / beta + sqrt(alpha_bar_prev) * x_0 / (1 - alpha_bar_prev)
C = (
    x_t**2 / beta
    + alpha_bar_prev * x_0**2 / (1 - alpha_bar_prev)
    - (x_t - sqrt(alpha_bar) * x_0) ** 2 / (1 - alpha_bar)
)
E = (
    (x_t - sqrt(alpha) * x_prev) ** 2 / beta
    + (x_prev - sqrt(alpha_bar_prev) * x_0) ** 2 / (1 - alpha_bar_prev)
    - (x_t - sqrt(alpha_bar) * x_0) ** 2 / (1 - alpha_bar)
)
# x_{t-1} sabiendo x_t y x_0, por regresión: el posterior sin haber usado Bayes.
REGRESSION = gaussian_given(sqrt(alpha_bar_prev) * x_0, 1 - alpha_bar_prev, sqrt(alpha), beta, x_t)


@pytest.mark.equation("posterior-conjunta")
def test_both_orders_of_the_joint_density() -> None:
    mean, var = REGRESSION
    assert_same_density(
        [(x_prev, mean, var), (x_t, sqrt(alpha_bar) * x_0, 1 - alpha_bar)],
        [
            (x_t, sqrt(alpha) * x_prev, beta),
            (x_prev, sqrt(alpha_bar_prev) * x_0, 1 - alpha_bar_prev),
        ],
    )


@pytest.mark.equation("posterior-exponente")
def test_exponent_of_the_posterior() -> None:
    """El cociente de (posterior-bayes) por e^{E/2} no depende de x_{t-1}, x_t ni x_0."""

    def normal(x: sp.Expr, mean: sp.Expr, var: sp.Expr) -> sp.Expr:
        return -((x - mean) ** 2) / (2 * var) - sp.log(2 * sp.pi * var) / 2

    log_bayes = (
        normal(x_t, sqrt(alpha) * x_prev, beta)
        + normal(x_prev, sqrt(alpha_bar_prev) * x_0, 1 - alpha_bar_prev)
        - normal(x_t, sqrt(alpha_bar) * x_0, 1 - alpha_bar)
    )
    for variable in (x_prev, x_t, x_0):
        assert_chain(sp.diff(log_bayes, variable), sp.diff(-E / 2, variable))


@pytest.mark.equation("posterior-coeficientes")
def test_coefficients_of_the_exponent() -> None:
    assert_chain(E, A * x_prev**2 - 2 * B * x_prev + C)


@pytest.mark.equation("posterior-cuadrado")
def test_completed_square() -> None:
    a, b, c = sp.symbols("A B C", nonzero=True)
    assert_chain(
        a * x_prev**2 - 2 * b * x_prev + c,
        a * (x_prev**2 - 2 * b / a * x_prev + b**2 / a**2) - b**2 / a + c,
        a * (x_prev - b / a) ** 2 + (c - b**2 / a),
    )


@pytest.mark.equation("posterior-normal")
def test_posterior_is_the_normal_of_the_square(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    mean, var = REGRESSION
    assert_same_density([(x_prev, mean, var)], [(x_prev, B / A, 1 / A)])

    t = torch.arange(1, 1000)
    x_start, noisy = numbers(999, 3), numbers(999, 4)
    posterior = q_posterior(linear, x_start, noisy, t)
    a, b, previous = linear.alphas[1:], linear.betas[1:], linear.alphas_cumprod_prev[1:]
    precision = a / b + 1 / (1 - previous)
    pull = a.sqrt() * noisy / b + previous.sqrt() * x_start / (1 - previous)
    agree(posterior.variance, 1 / precision, rtol=1e-10)
    agree(posterior.mean, pull / precision, rtol=1e-8, atol=1e-10)


@pytest.mark.equation("posterior-precision")
def test_precision() -> None:
    assert_chain(
        A,
        alpha / beta + 1 / (1 - alpha_bar_prev),
        (alpha * (1 - alpha_bar_prev) + beta) / (beta * (1 - alpha_bar_prev)),
        (alpha - alpha_bar + 1 - alpha) / (beta * (1 - alpha_bar_prev)),
        (1 - alpha_bar) / (beta * (1 - alpha_bar_prev)),
    )


@pytest.mark.equation("posterior-reparto")
def test_mean_split_in_two() -> None:
    assert_chain(
        REGRESSION[0],
        B / A,
        (sqrt(alpha) * x_t / beta + sqrt(alpha_bar_prev) * x_0 / (1 - alpha_bar_prev))
        * (beta * (1 - alpha_bar_prev) / (1 - alpha_bar)),
        sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t
        + sqrt(alpha_bar_prev) * beta / (1 - alpha_bar) * x_0,
    )


@pytest.mark.equation("posterior-promedio")
def test_mean_as_a_weighted_average(schedule: Schedule, agree: Callable[..., None]) -> None:
    w = beta / (1 - alpha_bar)
    average = w * sqrt(alpha_bar_prev) * x_0 + (1 - w) * x_t / sqrt(alpha)
    assert_chain(posterior_mean(x_0), average)

    x_start, noisy, t = numbers(1000, 5), numbers(1000, 6), torch.arange(1000)
    weight = schedule.betas / (1 - schedule.alphas_cumprod)
    agree(
        q_posterior(schedule, x_start, noisy, t).mean,
        weight * schedule.alphas_cumprod_prev.sqrt() * x_start
        + (1 - weight) * noisy / schedule.alphas.sqrt(),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.equation("posterior-primer-paso")
def test_first_step_of_the_posterior(schedule: Schedule, agree: Callable[..., None]) -> None:
    assert_chain(
        posterior_mean(x_0).subs(alpha_bar_prev, 1),
        1 * beta / beta * x_0 + sqrt(alpha) * 0 / beta * x_t,
        x_0,
    )
    assert_chain(POSTERIOR_VARIANCE.subs(alpha_bar_prev, 1), 0 / beta * beta, 0)

    posterior = q_posterior(schedule, numbers(9, 7), numbers(9, 8), torch.zeros(9).long())
    agree(posterior.mean, numbers(9, 7), rtol=1e-9)
    assert (posterior.variance == 0).all()


# --- backward -------------------------------------------------------------------------------------

# Unos datos con dos modas. De ellos se conoce todo: cada x_t es también una mezcla de normales.
DATA = ([0.35, 0.65], [-0.8, 0.7], [0.03, 0.06])
density = mixture_density(*DATA)
GRID = np.linspace(-9, 9, 6001)


def exact_reverse_step(
    a: float, previous: float, noisy: float, points: np.ndarray = GRID
) -> np.ndarray:
    """q(x_{t-1} | x_t) en unos puntos: una mezcla de normales condicionadas, por regresión."""
    pieces, weights = [], []
    for w, m, v in zip(*DATA, strict=True):
        mean, var = math.sqrt(previous) * m, previous * v + 1 - previous
        mean_t, var_t = math.sqrt(a) * mean, a * var + 1 - a
        cov = math.sqrt(a) * var
        conditional = mean + cov / var_t * (noisy - mean_t), var - cov**2 / var_t
        pieces.append(normal_density(points, *conditional))
        weights.append(w * float(normal_density(noisy, mean_t, var_t)))
    return np.average(pieces, axis=0, weights=weights)


def data_given(bar: float, noisy: float) -> np.ndarray:
    """q(x_0 | x_t) en la rejilla, por Bayes."""
    joint = density(GRID) * normal_density(noisy, math.sqrt(bar) * GRID, 1 - bar)
    return joint / integral(joint, GRID)


def moments(values: np.ndarray) -> tuple[float, float]:
    mean = integral(GRID * values, GRID)
    return mean, integral((GRID - mean) ** 2 * values, GRID)


STEPS = [(0.9, 0.8), (0.7, 0.5), (0.97, 0.2)]  # α_t y ᾱ_{t-1} de tres pasos bastante grandes
cases = pytest.mark.parametrize(("step", "noisy"), list(itertools.product(STEPS, [-1.3, 0.1, 0.9])))


def numeric_posterior(a: float, previous: float, x_start: np.ndarray | float, noisy: float):
    """Media y varianza de (posterior-media) y (posterior-varianza)."""
    b, bar = 1 - a, a * previous
    mean = (
        math.sqrt(previous) * b / (1 - bar) * x_start
        + math.sqrt(a) * (1 - previous) / (1 - bar) * noisy
    )
    return mean, (1 - previous) / (1 - bar) * b


@pytest.mark.equation("backward-bayes")
def test_bayes_for_the_shrunk_variable() -> None:
    mean, u = sp.symbols("m u", real=True)
    var = sp.Symbol("c", positive=True)
    # x_{t-1} ~ N(m, c), así que u ~ N(√α m, α c) y x_t = u + ruido de varianza β.
    marginal = sqrt(alpha) * mean, alpha * var
    seen = gaussian_given(*marginal, sp.Integer(1), beta, x_t)
    q_t = marginal[0], marginal[1] + beta
    assert_same_density([(u, *seen), (x_t, *q_t)], [(u, x_t, beta), (u, *marginal)])


@cases
@pytest.mark.equation("backward-bayes")
def test_bayes_with_two_modes(step: tuple[float, float], noisy: float) -> None:
    a, previous = step
    b, bar = 1 - a, a * previous
    bell = np.exp(-((GRID - noisy) ** 2) / (2 * b)) / math.sqrt(2 * math.pi * b)
    q_u = density(GRID, math.sqrt(bar), a * (1 - previous))
    formula = bell * q_u / density(noisy, math.sqrt(bar), 1 - bar)
    # La densidad de u = √α x_{t-1} es la de x_{t-1} en u/√α, entre √α.
    exact = exact_reverse_step(a, previous, noisy, GRID / math.sqrt(a)) / math.sqrt(a)
    np.testing.assert_allclose(formula, exact, rtol=1e-9, atol=1e-200)
    assert integral(formula, GRID) == pytest.approx(1, abs=1e-9)


@pytest.mark.equation("backward-cuadrado")
def test_square_with_a_slope() -> None:
    u = sp.Symbol("u", real=True)
    assert_chain(
        -((u - x_t) ** 2) / (2 * beta) + s * (u - x_t),
        -((u - x_t - beta * s) ** 2) / (2 * beta) + beta * s**2 / 2,
    )


@pytest.mark.equation("backward-normal")
def test_reverse_step_is_normal_if_the_slope_is_constant() -> None:
    """El exponente de (backward-cuadrado), con u = √α x_{t-1}: aquí no hay aproximación."""
    u = sp.Symbol("u", real=True)
    in_u = -((u - x_t - beta * s) ** 2) / (2 * beta)
    mean, var = (x_t + beta * s) / sqrt(alpha), beta / alpha
    assert_chain(in_u.subs(u, sqrt(alpha) * x_prev), -((x_prev - mean) ** 2) / (2 * var))


@pytest.mark.equation("backward-normal")
def test_reverse_step_is_almost_normal_with_gaussian_data() -> None:
    """Con x_{t-1} ~ N(0, c): la media se equivoca en β² y la varianza, en β."""
    c, b = sp.symbols("c beta", positive=True)
    mean, var = gaussian_given(sp.Integer(0), c, sqrt(1 - b), b, x_t)
    u = sp.Symbol("u", real=True)
    slope = sp.diff(-(u**2) / (2 * (1 - b) * c), u).subs(u, x_t)
    approximate_mean, approximate_var = (x_t + b * slope) / sqrt(1 - b), b / (1 - b)
    mean_error = sp.simplify((approximate_mean - mean) / mean)
    assert sp.limit(mean_error / b, b, 0) == 0
    assert sp.limit(approximate_var / var, b, 0) == 1


@pytest.mark.equation("backward-normal")
@pytest.mark.parametrize("noisy", [-1.0, 0.2, 0.8])
def test_reverse_step_is_almost_normal_with_two_modes(noisy: float) -> None:
    """La distancia en variación total a la normal de la página baja al bajar β."""
    previous = 0.7

    def distance(b: float, sign: float = 1.0) -> float:
        a = 1 - b
        scale = math.sqrt(b)
        u = noisy + scale * np.linspace(-12, 12, 4001)
        scale_u, noise_u = math.sqrt(a * previous), a * (1 - previous)
        slope = np.log(density(noisy + 1e-30j, scale_u, noise_u)).imag / 1e-30
        y = u / math.sqrt(a)
        exact = normal_density(u, noisy, b) * density(u, scale_u, noise_u)
        exact = exact / integral(exact, y)
        printed = normal_density(y, (noisy + sign * b * slope) / math.sqrt(a), b / a)
        return integral(np.abs(exact - printed), y) / 2

    distances = [distance(b) for b in (1e-1, 1e-2, 1e-3, 1e-4)]
    for large, small in itertools.pairwise(distances):
        assert small < large / 4
    assert distances[-1] < 3e-4
    # Con la pendiente cambiada de signo el error no baja a ese ritmo.
    assert distance(1e-4, sign=-1) > 10 * distances[-1]


@cases
@pytest.mark.equation("backward-mezcla")
def test_reverse_step_is_a_mixture_of_posteriors(step: tuple[float, float], noisy: float) -> None:
    a, previous = step
    weights = data_given(a * previous, noisy)
    mean, var = numeric_posterior(a, previous, GRID, noisy)
    points = GRID[1000:5001:200]
    mixed = [integral(normal_density(point, mean, var) * weights, GRID) for point in points]
    np.testing.assert_allclose(
        mixed, exact_reverse_step(a, previous, noisy)[1000:5001:200], rtol=1e-8, atol=1e-12
    )


@cases
@pytest.mark.equation("backward-media-total")
def test_mean_of_the_reverse_step(step: tuple[float, float], noisy: float) -> None:
    a, previous = step
    weights = data_given(a * previous, noisy)
    of_the_step = moments(exact_reverse_step(a, previous, noisy))[0]
    means, _ = numeric_posterior(a, previous, GRID, noisy)
    of_the_means = integral(means * weights, GRID)
    of_the_data, _ = numeric_posterior(a, previous, moments(weights)[0], noisy)
    assert of_the_step == pytest.approx(of_the_means, abs=1e-9)
    assert of_the_means == pytest.approx(of_the_data, abs=1e-9)


@pytest.mark.equation("backward-minimo")
def test_best_constant_is_the_mean() -> None:
    y, c, m = sp.symbols("y c m", real=True)
    var = sp.Symbol("V", positive=True)
    known = {y: (m, var + m**2)}
    assert_chain(expectation((y - c) ** 2, known), variance(y, known) + (m - c) ** 2)


@pytest.mark.equation("backward-x0-de-media")
def test_x_start_from_the_posterior_mean(schedule: Schedule, agree: Callable[..., None]) -> None:
    said = sp.Symbol("mu_theta", real=True)
    assert_chain(
        sp.solve(Eq(said, posterior_mean(x_0)), x_0)[0],
        (1 - alpha_bar)
        / (sqrt(alpha_bar_prev) * beta)
        * (said - sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t),
    )
    mean, noisy, t = numbers(1000, 9), numbers(1000, 10), torch.arange(1000)
    bar, previous = schedule.alphas_cumprod, schedule.alphas_cumprod_prev
    formula = (1 - bar) / (previous.sqrt() * schedule.betas)
    formula = formula * (mean - schedule.alphas.sqrt() * (1 - previous) / (1 - bar) * noisy)
    agree(
        PARAMETRISATIONS["posterior_mean"].x_start(schedule, mean, noisy, t),
        formula,
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.equation("backward-velocidad")
def test_velocity_is_the_derivative_of_x_t() -> None:
    moving = cos * x_0 + sen * epsilon
    velocity = -sen * x_0 + cos * epsilon
    assert_chain(sp.diff(moving, phi), velocity)
    # Con el ángulo de la página son x_t, (forward-muestra), y v, (backward-v).
    angle = {cos: sqrt(alpha_bar), sen: sqrt(1 - alpha_bar)}
    assert_chain(moving.subs(angle), jump(x_0, epsilon))
    assert_chain(velocity.subs(angle), sqrt(alpha_bar) * epsilon - sqrt(1 - alpha_bar) * x_0)


@pytest.mark.equation("backward-giro")
def test_turning_back() -> None:
    noisy, v = cos * x_0 + sen * epsilon, -sen * x_0 + cos * epsilon
    assert_chain(
        cos * noisy - sen * v,
        (cos**2 + sen**2) * x_0 + (cos * sen - sen * cos) * epsilon,
        x_0,
    )
    assert_chain(
        sen * noisy + cos * v,
        (sen * cos - cos * sen) * x_0 + (sen**2 + cos**2) * epsilon,
        epsilon,
    )


SUBSTITUTED = (
    sqrt(alpha_bar_prev)
    * beta
    / (1 - alpha_bar)
    * ((x_t - sqrt(1 - alpha_bar) * epsilon) / sqrt(alpha_bar))
    + sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * x_t
)


@pytest.mark.equation("backward-sustitucion")
def test_estimate_inside_the_posterior_mean(schedule: Schedule, agree: Callable[..., None]) -> None:
    x_hat = sp.solve(Eq(x_t, jump(x_0, epsilon)), x_0)[0]
    assert_chain(
        posterior_mean(x_hat),
        SUBSTITUTED,
        (x_t - beta / sqrt(1 - alpha_bar) * epsilon) / sqrt(alpha),
    )
    noise, noisy, t = numbers(1000, 11), numbers(1000, 12), torch.arange(1000)
    bar, previous, b = schedule.alphas_cumprod, schedule.alphas_cumprod_prev, schedule.betas
    formula = previous.sqrt() * b / (1 - bar) * ((noisy - (1 - bar).sqrt() * noise) / bar.sqrt())
    formula = formula + schedule.alphas.sqrt() * (1 - previous) / (1 - bar) * noisy
    mean = p_mean_variance(Diffusion(schedule, clip=False), noise, noisy, t).mean
    agree(mean, formula, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("backward-coeficiente-xt")
def test_coefficient_of_x_t() -> None:
    assert_chain(
        sp.diff(SUBSTITUTED, x_t),
        beta / (sqrt(alpha) * (1 - alpha_bar))
        + sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar),
        (beta + alpha * (1 - alpha_bar_prev)) / (sqrt(alpha) * (1 - alpha_bar)),
        (1 - alpha + alpha - alpha_bar) / (sqrt(alpha) * (1 - alpha_bar)),
        1 / sqrt(alpha),
    )


@pytest.mark.equation("backward-coeficiente-epsilon")
def test_coefficient_of_epsilon() -> None:
    assert_chain(
        sp.diff(SUBSTITUTED, epsilon),
        -beta / (sqrt(alpha) * (1 - alpha_bar)) * sqrt(1 - alpha_bar),
        -1 / sqrt(alpha) * (beta / sqrt(1 - alpha_bar)),
    )


@pytest.mark.equation("backward-sigma-normal")
def test_exponent_with_standard_normal_data() -> None:
    assert_chain(
        (x_t - sqrt(alpha) * x_prev) ** 2 / beta + x_prev**2,
        (alpha / beta + 1) * x_prev**2 - 2 * sqrt(alpha) * x_t / beta * x_prev + x_t**2 / beta,
        1 / beta * (x_prev**2 - 2 * sqrt(alpha) * x_t * x_prev + x_t**2),
        (x_prev - sqrt(alpha) * x_t) ** 2 / beta + x_t**2,
    )


@cases
@pytest.mark.equation("backward-varianza-total")
def test_total_variance_with_two_modes(step: tuple[float, float], noisy: float) -> None:
    a, previous = step
    bar = a * previous
    _, total = moments(exact_reverse_step(a, previous, noisy))
    _, doubt = moments(data_given(bar, noisy))
    _, small = numeric_posterior(a, previous, 0.0, noisy)
    printed = small + (math.sqrt(previous) * (1 - a) / (1 - bar)) ** 2 * doubt
    assert total == pytest.approx(printed, rel=1e-8)


@pytest.mark.equation("backward-varianza-total")
def test_total_variance_with_gaussian_data() -> None:
    mean = sp.Symbol("m", real=True)
    c = sp.Symbol("c", positive=True)
    _, doubt = gaussian_given(mean, c, sqrt(alpha_bar), 1 - alpha_bar, x_t)
    marginal = sqrt(alpha_bar_prev) * mean, alpha_bar_prev * c + 1 - alpha_bar_prev
    _, total = gaussian_given(*marginal, sqrt(alpha), beta, x_t)
    assert_chain(
        total,
        POSTERIOR_VARIANCE + (sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)) ** 2 * doubt,
    )


# Cuatro puntos del plano, dos a dos en línea: los píxeles van juntos, pero no del todo.
POINTS = torch.tensor([[0.9, 0.7], [-0.8, -0.5], [0.6, -0.9], [-0.7, -0.8]], dtype=torch.float64)
planar = pytest.mark.parametrize(
    ("step", "noisy"), list(itertools.product(STEPS, [(0.3, -0.1), (-1.2, -0.4)]))
)


def two_steps(step: tuple[float, float]) -> Schedule:
    """El schedule de dos pasos cuyo segundo tiene ese α_t y ese ᾱ_{t-1}."""
    a, previous = step
    return Schedule.from_betas([1 - previous, 1 - a])


def reverse_covariance(step: tuple[float, float], noisy: Tensor) -> Tensor:
    """Cov(x_{t-1} | x_t) con los datos `POINTS`: Bayes e integración en una rejilla del plano."""
    a, previous = step
    axis = torch.linspace(-9, 9, 601, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    jumps = torch.cdist(plane, math.sqrt(previous) * POINTS).square() / (2 * (1 - previous))
    last = (noisy - math.sqrt(a) * plane).square().sum(1) / (2 * (1 - a))
    weights = (torch.logsumexp(-jumps, 1) - last).softmax(0)
    return torch.cov(plane.T, correction=0, aweights=weights)


@planar
@pytest.mark.equation("backward-covarianza")
def test_covariance_of_the_true_reverse_step(
    step: tuple[float, float], noisy: tuple[float, float], agree: Callable[..., None]
) -> None:
    schedule, x, t = two_steps(step), torch.tensor(noisy, dtype=torch.float64), torch.tensor([1])
    exact = reverse_covariance(step, x)

    bar = schedule.alphas_cumprod[1]
    credible = (-(x - bar.sqrt() * POINTS).square().sum(1) / (2 * (1 - bar))).softmax(0)
    steps = [q_posterior(schedule, point[None], x[None], t) for point in POINTS]
    means = torch.cat([known.mean for known in steps])
    assert len({known.variance.item() for known in steps}) == 1
    inside = steps[0].variance.item() * torch.eye(2, dtype=torch.float64)
    agree(inside + torch.cov(means.T, correction=0, aweights=credible), exact, rtol=1e-9)

    a, previous = step
    coefficient = math.sqrt(previous) * (1 - a) / (1 - a * previous)
    doubt = torch.cov(POINTS.T, correction=0, aweights=credible)
    small = (1 - previous) / (1 - a * previous) * (1 - a)
    agree(small * torch.eye(2, dtype=torch.float64) + coefficient**2 * doubt, exact, rtol=1e-9)
    assert exact[0, 1].abs() > 1e-5  # no es diagonal


@pytest.mark.equation("backward-sigma-coincide")
def test_total_variance_with_standard_normal_data_is_beta() -> None:
    _, doubt = gaussian_given(sp.Integer(0), sp.Integer(1), sqrt(alpha_bar), 1 - alpha_bar, x_t)
    assert_chain(doubt, 1 - alpha_bar)
    assert_chain(
        POSTERIOR_VARIANCE + alpha_bar_prev * beta**2 / (1 - alpha_bar) ** 2 * (1 - alpha_bar),
        beta / (1 - alpha_bar) * (1 - alpha_bar_prev + alpha_bar_prev * beta),
        beta / (1 - alpha_bar) * (1 - alpha * alpha_bar_prev),
        beta,
    )


@pytest.mark.equation("backward-epsilon-recortado")
def test_noise_that_matches_the_clipped_estimate(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    x_hat, noise_hat = sp.symbols("xhat_0 epsilonhat", real=True)
    noise = (x_t - sqrt(alpha_bar) * x_hat) / sqrt(1 - alpha_bar)
    noisy = sqrt(alpha_bar) * x_hat + sqrt(1 - alpha_bar) * noise_hat
    assert_chain(noisy.subs(noise_hat, noise), x_t)
    assert_chain(noise.subs(x_t, noisy), noise_hat)

    t, observed = torch.arange(1000), 3 * numbers(1000, 13)
    clipped = p_mean_variance(Diffusion(schedule), numbers(1000, 14), observed, t)
    assert clipped.x_start.abs().max() <= 1
    bar = schedule.alphas_cumprod
    formula = (observed - bar.sqrt() * clipped.x_start) / (1 - bar).sqrt()
    agree(to_epsilon(schedule, clipped.x_start, observed, t), formula)
    agree(clipped.epsilon, formula)
    agree(q_sample(schedule, clipped.x_start, t, clipped.epsilon), observed, rtol=0, atol=1e-12)


@pytest.mark.equation("backward-score-salto")
def test_derivative_of_the_jump() -> None:
    jump_density = sp.exp(-((x_t - sqrt(alpha_bar) * x_0) ** 2) / (2 * (1 - alpha_bar)))
    jump_density = jump_density / sqrt(2 * sp.pi * (1 - alpha_bar))
    gradient = sp.diff(jump_density, x_t)
    middle = -(x_t - sqrt(alpha_bar) * x_0) / (1 - alpha_bar)
    assert_chain(gradient / jump_density, middle)
    assert_chain(middle.subs(x_t, jump(x_0, epsilon)), -epsilon / sqrt(1 - alpha_bar))


@pytest.mark.equation("backward-media-exacta")
@pytest.mark.parametrize("noisy", [-1.3, 0.1, 0.9])
@pytest.mark.parametrize("step", [*STEPS, (0.5, 0.9), (0.05, 0.6)])
def test_the_mean_of_the_reverse_step_is_exact_for_any_beta(
    step: tuple[float, float], noisy: float, agree: Callable[..., None]
) -> None:
    """Los dos lados de la flecha, con dos modas: la cuadratura de Bayes y el score por autograd."""
    a, previous = step
    b, bar = 1 - a, a * previous
    x = torch.tensor(noisy, dtype=torch.float64, requires_grad=True)
    weights, means, variances = torch.tensor(DATA, dtype=torch.float64)
    marginal = torch.distributions.Normal(
        math.sqrt(bar) * means, (bar * variances + 1 - bar).sqrt()
    )
    log_q = torch.logsumexp(weights.log() + marginal.log_prob(x), 0)
    (score,) = torch.autograd.grad(log_q, x)

    joint = density(GRID, math.sqrt(previous), 1 - previous)
    joint = joint * normal_density(noisy, math.sqrt(a) * GRID, b)
    joint = joint / integral(joint, GRID)
    gap = integral((noisy - math.sqrt(a) * GRID) / b * joint, GRID)
    agree(score, -gap, rtol=1e-9)
    agree((noisy + b * score) / math.sqrt(a), integral(GRID * joint, GRID), rtol=1e-9)


@planar
@pytest.mark.equation("backward-media-exacta")
def test_the_perfect_network_gives_the_exact_mean(
    step: tuple[float, float], noisy: tuple[float, float], agree: Callable[..., None]
) -> None:
    """Con cuatro datos en el plano: la media del paso de la red perfecta, y la del score."""
    schedule, t = two_steps(step), torch.tensor([1])
    x = torch.tensor([noisy], dtype=torch.float64, requires_grad=True)
    bar = schedule.alphas_cumprod[1]
    log_terms = -(x - bar.sqrt() * POINTS).square().sum(1) / (2 * (1 - bar))
    (score,) = torch.autograd.grad(torch.logsumexp(log_terms, 0), x)
    x = x.detach()
    estimate = log_terms.detach().softmax(0) @ POINTS
    epsilon = (x - bar.sqrt() * estimate) / (1 - bar).sqrt()
    mean = p_mean_variance(Diffusion(schedule, clip=False), epsilon, x, t).mean
    agree((x + schedule.betas[1] * score) / schedule.alphas[1].sqrt(), mean, rtol=1e-12)


# --- scheduler ------------------------------------------------------------------------------------


@pytest.mark.equation("scheduler-snr-inversa")
def test_alpha_bar_is_the_logistic_function_of_log_snr(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    bar = sp.Symbol("alphabar_t", positive=True)
    log_snr = sp.log(bar / (1 - bar))
    assert_chain(bar, sp.exp(log_snr) / (1 + sp.exp(log_snr)), 1 / (1 + sp.exp(-log_snr)))
    agree(schedule.alphas_cumprod, 1 / (1 + (-schedule.log_snr).exp()), rtol=1e-11)


LOW, HIGH = sp.symbols("beta_min beta_max", positive=True)
T, t_index = sp.symbols("T t", integer=True, positive=True)
LINEAR = 1000 / T * (LOW + (t_index - 1) / (T - 1) * (HIGH - LOW))


@pytest.mark.equation("scheduler-suma")
def test_sum_of_the_linear_betas(agree: Callable[..., None]) -> None:
    assert_chain(
        sp.summation(sp.expand(LINEAR), (t_index, 1, T)),
        T * (1000 / T) * ((LOW + HIGH) / 2),
        500 * (LOW + HIGH),
    )
    for timesteps in (21, 100, 1000, 4000):
        agree(linear_betas(timesteps).sum(), 500 * (1e-4 + 0.02))


@pytest.mark.equation("scheduler-limite")
def test_last_linear_beta(agree: Callable[..., None]) -> None:
    assert_chain(LINEAR.subs(t_index, T), 1000 / T * HIGH)
    for timesteps in (21, 100, 1000, 4000):
        agree(linear_betas(timesteps)[-1], 1000 / timesteps * 0.02)
        agree(linear_betas(timesteps)[-1], 20 / timesteps)


@pytest.mark.equation("scheduler-betas")
def test_betas_from_alpha_bar(schedule: Schedule, agree: Callable[..., None]) -> None:
    assert_chain(beta, 1 - alpha, 1 - alpha_bar / alpha_bar_prev)
    agree(schedule.betas, 1 - schedule.alphas)
    ratio = schedule.alphas_cumprod / schedule.alphas_cumprod_prev
    agree(schedule.betas, 1 - ratio, rtol=0, atol=1e-15)
    again = Schedule.from_alphas_cumprod(schedule.alphas_cumprod)
    agree(again.betas, schedule.betas, rtol=0, atol=1e-15)


@pytest.mark.equation("scheduler-recta")
def test_line_to_zero_terminal_snr(agree: Callable[..., None]) -> None:
    first, last = sp.symbols("r_1 r_T", positive=True)
    p, r = sp.symbols("p r")
    (solution,) = sp.solve([Eq(p * last + r, 0), Eq(p * first + r, first)], [p, r], dict=True)
    slope = first / (first - last)
    assert_chain(solution[p], slope)
    assert_chain(solution[r], -slope * last)

    before = make_schedule("scaled_linear", 1000)
    roots = before.sqrt_alphas_cumprod
    slope_value = roots[0] / (roots[0] - roots[-1])
    after = rescale_zero_terminal_snr(before).sqrt_alphas_cumprod
    agree(after, slope_value * roots - slope_value * roots[-1], rtol=1e-9, atol=1e-12)


SUBSEQUENCE = [0, 3, 4, 17, 29, 48]  # índices de código de S_1, …, S_K en un schedule de 50 pasos


@pytest.mark.equation("scheduler-salto-intermedio")
def test_jump_between_two_steps(short: Schedule, agree: Callable[..., None]) -> None:
    """Los pasos que hay en medio, dados uno a uno, son uno solo con media √A x y varianza 1-A."""
    respaced = respace(short, SUBSEQUENCE)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    starts = [-1, *SUBSEQUENCE[:-1]]
    for k, (start, end) in enumerate(zip(starts, SUBSEQUENCE, strict=True)):
        product = math.prod(short.alphas[start + 1 : end + 1].tolist())
        before = short.alphas_cumprod[start] if start >= 0 else one[0]
        agree(torch.tensor(product, dtype=torch.float64), short.alphas_cumprod[end] / before)

        signal, noise_variance = one, zero
        for index in range(start + 1, end + 1):
            t = torch.tensor([index])
            slope = q_step(short, one, t, zero)
            signal = slope * signal
            noise_variance = slope**2 * noise_variance + q_step(short, zero, t, one) ** 2
        agree(signal, math.sqrt(product))
        agree(noise_variance, 1 - product)
        agree(respaced.alphas[k], product)


@pytest.mark.equation("scheduler-telescopio")
def test_respaced_product_telescopes(short: Schedule, agree: Callable[..., None]) -> None:
    bars = [sp.Integer(1), *sp.symbols("alphabar_1:7", positive=True)]
    for k in range(1, 7):
        assert_chain(sp.prod(bars[j] / bars[j - 1] for j in range(1, k + 1)), bars[k])

    respaced = respace(short, SUBSEQUENCE)
    agree(respaced.alphas_cumprod, short.alphas_cumprod[SUBSEQUENCE])
