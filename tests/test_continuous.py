"""El límite continuo: las ecuaciones, frente a densidades conocidas y formas cerradas."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor

from algebra import (
    alpha,
    alpha_bar,
    alpha_bar_prev,
    assert_chain,
    beta,
    expectation,
    mixture_density,
)
from ddpm_lit.backward import Denoiser
from ddpm_lit.continuous import (
    EveryBeta,
    bound_multiple,
    correct,
    divergence,
    flow_slope,
    fokker_planck_step,
    forward_sde,
    linear_alpha_bar,
    linear_rate,
    log_likelihood,
    predictor_corrector,
    reverse_sde,
    snr_weights,
)
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.ideal import ideal_model
from ddpm_lit.losses import loss_weight, variational_bound, vb_term
from ddpm_lit.sampling import algorithm2, ancestral
from ddpm_lit.scheduler import Schedule, make_schedule
from exact import Mixture, exact_marginals, slope

x, tau, step = sp.symbols("x tau Delta", real=True)
rate = sp.Symbol("beta", positive=True)
MIXTURE = Mixture((0.4, -0.7, 0.04), (0.6, 0.5, 0.09))
DENSITY = mixture_density((0.4, 0.6), (-0.7, 0.5), (0.04, 0.09))


def even(steps: int, high: float = 10.0, low: float = -10.0, power: float = 1.0) -> Schedule:
    """Niveles con log-SNR entre dos extremos, repartidos según una potencia."""
    u = torch.linspace(0, 1, steps, dtype=torch.float64) ** power
    return Schedule.from_alphas_cumprod((high + (low - high) * u).sigmoid())


# --- La ida ---------------------------------------------------------------------------------------


@pytest.mark.equation("continuo-taylor")
def test_a_short_step_is_a_drift_and_a_wiener_increment() -> None:
    z = sp.Symbol("epsilon", real=True)
    change = sp.sqrt(1 - rate * step) * x + sp.sqrt(rate * step) * z - x
    rest = change + rate * x * step / 2 - sp.sqrt(rate) * sp.sqrt(step) * z
    assert sp.limit(sp.simplify(rest) / step**2, step, 0, "+") == -(rate**2) * x / 8


@pytest.mark.equation("continuo-sde")
def test_two_steps_of_the_sde_by_hand() -> None:
    start, increments = torch.tensor([0.7, -1.2]), torch.tensor([[0.3, -0.1], [-0.5, 0.8]])
    found = list(forward_sde(start, increments, lambda tau: 1 + 3 * tau))
    first = start - 1.75 / 2 * start * 0.5 + math.sqrt(1.75) * increments[0]
    second = first - 3.25 / 2 * first * 0.5 + math.sqrt(3.25) * increments[1]
    torch.testing.assert_close(torch.stack(found), torch.stack([first, second]))


def sde_moments(steps: int) -> Tensor:
    """Señal y varianza de x(1), exactas: la respuesta a x(0) y a cada incremento por separado."""
    start = torch.zeros(steps + 1, dtype=torch.float64)
    start[0] = 1
    increments = torch.eye(steps + 1, dtype=torch.float64)[1:] / math.sqrt(steps)
    slow = partial(linear_rate, beta_max=2.0)
    *_, last = forward_sde(start, increments, slow)
    return torch.stack([last[0], last[1:].square().sum()])


@pytest.mark.equation("continuo-sde", "continuo-abar")
def test_the_sde_has_the_marginals_of_the_jump() -> None:
    bar = linear_alpha_bar(1.0, beta_max=2.0)
    exact = torch.tensor([math.sqrt(bar), 1 - bar], dtype=torch.float64)
    errors = [(sde_moments(steps) - exact).abs() for steps in (200, 400)]
    assert errors[1].max() < 1e-3
    torch.testing.assert_close(
        errors[0] / errors[1], torch.full((2,), 2.0).double(), rtol=0.05, atol=0
    )


@pytest.mark.equation("continuo-sde")
def test_the_rate_is_the_linear_schedule_per_unit_of_time() -> None:
    for steps in (100, 1000):
        betas = make_schedule("linear", steps).betas
        for t in (0, 7, steps - 1):
            assert linear_rate(t / (steps - 1)) / steps == pytest.approx(float(betas[t]))


@pytest.mark.equation("continuo-abar")
@pytest.mark.parametrize("ends", [(0.1, 20.0), (0.5, 3.0)])
def test_the_signal_is_the_exponential_of_the_integral(ends: tuple[float, float]) -> None:
    for end in (0.0, 0.3, 1.0):
        grid = np.linspace(0, end, 1001)
        total = np.trapezoid([linear_rate(s, *ends) for s in grid], grid)
        assert linear_alpha_bar(end, *ends) == pytest.approx(math.exp(-total), rel=1e-9)


@pytest.mark.equation("continuo-abar")
def test_the_tables_tend_to_it() -> None:
    gaps = []
    for steps in (1000, 2000, 4000):
        table = make_schedule("linear", steps).alphas_cumprod
        gaps.append(float(table[steps // 5 - 1]) - linear_alpha_bar(0.2))
    assert slope([1000, 2000, 4000], [abs(gap) for gap in gaps]) == pytest.approx(1, abs=0.05)
    assert abs(gaps[-1]) < 2e-4


# --- Fokker-Planck --------------------------------------------------------------------------------


def flowed(cells: int, total: float = 0.4) -> tuple[Tensor, Tensor]:
    """La mezcla tras ∫β = total, según la ecuación y según su forma cerrada."""
    spacing = 12 / cells
    grid = (np.arange(cells) + 0.5) * spacing - 6
    density = torch.from_numpy(DENSITY(grid))
    steps = math.ceil(total / (0.5 * spacing**2))
    for _ in range(steps):
        density = fokker_planck_step(density, spacing, total / steps)
    bar = math.exp(-total)
    return density, torch.from_numpy(DENSITY(grid, math.sqrt(bar), 1 - bar))


@pytest.mark.equation("continuo-fokker-planck")
def test_the_density_flows_to_the_known_one() -> None:
    errors = []
    for cells in (121, 240, 480):
        found, exact = flowed(cells)
        errors.append(float((found - exact).abs().max()))
    assert errors[-1] < 5e-4
    assert slope([121, 240, 480], errors) == pytest.approx(2, abs=0.15)


@pytest.mark.equation("continuo-fokker-planck")
def test_nobody_is_lost_not_even_at_the_ends() -> None:
    density = torch.rand(30, dtype=torch.float64)
    after = fokker_planck_step(density, 0.1, 0.01)
    assert float(after.sum()) == pytest.approx(float(density.sum()), rel=1e-12)
    torch.testing.assert_close(fokker_planck_step(density, 0.1, 0.0), density)
    # Una casilla a la derecha del centro: lo que cruza sus dos fronteras, a mano.
    single = torch.zeros(4, dtype=torch.float64)
    single[2] = 1.0
    left, right = 0 * 0.5 + 1 / 0.5, 0.5 * 0.5 - 1 / 0.5
    expected = torch.tensor([0, left, right - left, -right], dtype=torch.float64) * 0.2 / 2 / 0.5
    torch.testing.assert_close(fokker_planck_step(single, 0.5, 0.2), single + expected)


def test_too_long_a_step_is_refused() -> None:
    for amount in (0.011, -0.001):
        with pytest.raises(ValueError, match=r"debe estar entre 0 y 0\.01"):
            fokker_planck_step(torch.ones(10), 0.1, amount)


@pytest.mark.equation("continuo-prueba")
def test_the_square_of_the_noise_counts() -> None:
    """Con un polinomio por función de prueba, la media es exacta y se lee el término en Δτ."""
    z, push, shake = sp.symbols("z f g", real=True)
    test = x**4 - 2 * x**3 + x
    moved = test.subs(x, x + push * step**2 + shake * step * z)  # step² es Δτ
    change = sp.expand(expectation(moved, {z: [0, 1, 0, 3]}) - test)
    first_order = sp.diff(test, x) * push + sp.diff(test, x, 2) * shake**2 / 2
    assert_chain(change.coeff(step, 2), first_order)
    assert [change.coeff(step, power) for power in (0, 1, 3)] == [0, 0, 0]


@pytest.mark.equation("continuo-partes", "continuo-fokker-planck")
def test_integrating_by_parts_leaves_the_equation() -> None:
    """Con la mezcla, que se sabe cómo cambia: los tres lados, integrados."""
    s = sp.Symbol("s", positive=True)  # ∫β, con β = 1
    bar, density = sp.exp(-s), sp.Integer(0)
    for weight, mean, var in ((0.4, -0.7, 0.04), (0.6, 0.5, 0.09)):
        total = bar * var + 1 - bar
        gap = x - sp.sqrt(bar) * mean
        density += weight * sp.exp(-(gap**2) / (2 * total)) / sp.sqrt(2 * sp.pi * total)
    test, push = sp.exp(-((x - sp.Rational(1, 3)) ** 2)) * (1 + x), -x / 2
    sides = (
        test * sp.diff(density, s),
        (sp.diff(test, x) * push + sp.diff(test, x, 2) / 2) * density,
        test * (-sp.diff(push * density, x) + sp.diff(density, x, 2) / 2),
    )
    grid = np.linspace(-9, 9, 3001)
    values = [np.trapezoid(sp.lambdify(x, side.subs(s, 0.3))(grid), grid) for side in sides]
    assert abs(values[0]) > 0.05
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-9)
    # Y punto por punto, la ecuación escrita como balance.
    balance = sp.diff(x * density + sp.diff(density, x), x) / 2
    for point in (-1.0, 0.2, 0.7):
        at = {x: point, s: 0.3}
        assert float(sp.diff(density, s).subs(at)) == pytest.approx(float(balance.subs(at)))


# --- La vuelta ------------------------------------------------------------------------------------


@pytest.mark.equation("continuo-paso-atras")
def test_the_step_back_for_short_steps() -> None:
    score = sp.Symbol("s", real=True)
    exact, short = (x + rate * score) / sp.sqrt(1 - rate), x + rate * x / 2 + rate * score
    remainder = sp.series(exact - short, rate, 0, 3).removeO()
    assert_chain(remainder, rate**2 * (3 * x / 8 + score / 2))


@pytest.mark.equation("continuo-edo")
def test_the_density_also_moves_without_noise() -> None:
    density = sp.Function("q", positive=True)(x)
    velocity = -rate / 2 * (x + sp.diff(sp.log(density), x))
    assert_chain(
        rate / 2 * sp.diff(x * density + sp.diff(density, x), x),
        -sp.diff(density * velocity, x),
    )


@pytest.mark.equation("continuo-kappa")
def test_what_the_push_gains_the_shaking_loses() -> None:
    kappa, density = sp.Symbol("kappa", real=True), sp.Function("q", positive=True)(x)
    push = rate * x / 2 + (1 + kappa**2) / 2 * rate * sp.diff(sp.log(density), x)
    spread = kappa**2 * rate / 2 * sp.diff(density, x, 2)
    inside = rate / 2 * x * density + (1 + kappa**2) / 2 * rate * sp.diff(density, x)
    assert_chain(
        -sp.diff(push * density, x) + spread,
        -sp.diff(inside, x) + spread,
        -rate / 2 * sp.diff(x * density + sp.diff(density, x), x),
    )


def mixture_score(states: Tensor, bar: float) -> Tensor:
    """El score de la mezcla, con un paso imaginario y la densidad escrita a mano."""
    tiny, values = 1e-30, states.numpy()
    moved = DENSITY(values + 1j * tiny, math.sqrt(bar), 1 - bar)
    return torch.from_numpy(moved.imag / tiny / moved.real)


@pytest.mark.equation("continuo-familia")
@pytest.mark.parametrize("kappa", [0.0, 0.6, 1.0])
def test_a_step_back_by_hand(kappa: float) -> None:
    schedule = make_schedule("linear", 50)
    denoise = Denoiser(MIXTURE.model(schedule), Diffusion(schedule, clip=False))
    states, z = torch.linspace(-1.5, 1.5, 7).double(), torch.randn(7, dtype=torch.float64)
    for index in (0, 20, 49):
        noises = iter([z])
        found, x_start = reverse_sde(denoise, states, index, noises, noise=kappa)
        size = float(schedule.betas[index])
        score = mixture_score(states, float(schedule.alphas_cumprod[index]))
        mean = states + size * states / 2 + (1 + kappa**2) / 2 * size * score
        trembles = index > 0 and kappa > 0
        torch.testing.assert_close(found, mean + trembles * kappa * math.sqrt(size) * z)
        torch.testing.assert_close(x_start, denoise(states, index).x_start)
        assert len(list(noises)) == (0 if trembles else 1)


@pytest.mark.equation("continuo-familia", "continuo-inversa", "continuo-kappa")
@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_any_amount_of_noise_gives_the_data(kappa: float) -> None:
    """Con datos normales y sin sortear: media y varianza de lo generado, con pasos más cortos."""
    data = Mixture((1.0, 0.4, 0.3))
    sampler, gaps = partial(reverse_sde, noise=kappa), []
    for steps in (250, 500, 1000):
        schedule = make_schedule("linear", steps)
        bar = float(schedule.alphas_cumprod[-1])
        start = math.sqrt(bar) * 0.4, bar * 0.3 + 1 - bar
        means, variances = exact_marginals(data.model(schedule), schedule, sampler, start)
        half = steps // 2
        level = float(schedule.alphas_cumprod[half - 1])
        gaps.append(
            abs(means[-1] - 0.4)
            + abs(variances[-1] - 0.3)
            + abs(variances[half] - (level * 0.3 + 1 - level))
        )
    assert gaps[-1] < 0.02
    assert slope([250, 500, 1000], gaps) > 0.85


@pytest.mark.equation("continuo-edo", "continuo-familia")
def test_without_noise_each_quantile_goes_to_its_own() -> None:
    probabilities = torch.linspace(0.05, 0.95, 13, dtype=torch.float64)
    errors = []
    for steps in (500, 1000, 2000):
        schedule = make_schedule("linear", steps)
        x_T = MIXTURE.quantile(float(schedule.alphas_cumprod[-1]), probabilities)
        denoise = Denoiser(MIXTURE.model(schedule), Diffusion(schedule, clip=False))
        *_, last = algorithm2(denoise, x_T, iter(()), partial(reverse_sde, noise=0.0))
        errors.append(float((last.x_t - MIXTURE.quantile(1.0, probabilities)).abs().max()))
    assert errors[-1] < 5e-3
    assert slope([500, 1000, 2000], errors) == pytest.approx(1, abs=0.15)


@pytest.mark.equation("continuo-paso-atras")
def test_ddpm_and_euler_differ_in_the_square_of_beta() -> None:
    states, z = torch.linspace(-1, 1, 5).double(), torch.randn(5, dtype=torch.float64)
    gaps = []
    for steps in (500, 1000, 2000):
        schedule = make_schedule("linear", steps)
        diffusion = Diffusion(schedule, "epsilon", "fixed_large", clip=False)
        denoise = Denoiser(MIXTURE.model(schedule), diffusion)
        index = steps // 2
        one, other = (
            sampler(denoise, states, index, iter([z]))[0] for sampler in (ancestral, reverse_sde)
        )
        gaps.append(float((one - other).abs().max()))
    assert slope([500, 1000, 2000], gaps) == pytest.approx(2, abs=0.05)


def test_negative_noise_is_refused() -> None:
    schedule = make_schedule("linear", 30)
    denoise = Denoiser(lambda x, t: x, Diffusion(schedule))
    with pytest.raises(ValueError, match="κ = -1"):
        reverse_sde(denoise, torch.zeros(1, 1), 3, iter(()), noise=-1.0)


# --- La verosimilitud -----------------------------------------------------------------------------


@pytest.mark.equation("continuo-cambio")
def test_the_density_along_a_path_changes_by_the_divergence() -> None:
    y = sp.Symbol("y", real=True)
    p = sp.Function("p", positive=True)(x, y, tau)
    u, v = sp.Function("u")(x, y, tau), sp.Function("v")(x, y, tau)
    along = u * sp.diff(p, x) + v * sp.diff(p, y)
    opening = sp.diff(u, x) + sp.diff(v, y)
    continuity = -sp.diff(p * u, x) - sp.diff(p * v, y)
    assert_chain(
        (continuity + along) / p,
        (-p * opening - along + along) / p,
        -opening,
    )


@pytest.mark.equation("continuo-verosimilitud")
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("low", [-10.0, -1.0])
def test_normal_data_have_the_density_of_their_path(
    prediction: str, low: float, agree: Callable[..., None]
) -> None:
    """La EDO es x_T = √ᾱ m + √(V_T/V_0)(x_0 - m), también si el camino acaba a medias."""
    mean, std = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64), 0.4
    data = mean + std * torch.randn(6, 3, dtype=torch.float64)
    errors = []
    for steps in (100, 200, 400):
        diffusion = Diffusion(even(steps, low=low), prediction, clip=False)
        denoise = Denoiser(ideal_model(diffusion, mean, bandwidth=std), diffusion)
        bar = diffusion.schedule.alphas_cumprod[-1]
        ratio = (bar * std**2 + 1 - bar) / std**2
        x_T = bar.sqrt() * mean + ratio.sqrt() * (data - mean)
        exact = torch.distributions.Normal(0.0, 1.0).log_prob(x_T).sum(1) + 1.5 * ratio.log()
        found = log_likelihood(denoise, data)
        errors.append(float((found - exact).abs().max()))
    assert slope([100, 200, 400], errors) > 1.8
    agree(found, exact, rtol=2e-3, atol=2e-3)


@pytest.mark.equation("continuo-verosimilitud")
def test_a_mixture_in_the_plane_has_its_own_density(agree: Callable[..., None]) -> None:
    points = torch.tensor([[-0.5, 0.2], [0.4, 0.4], [0.3, -0.5]], dtype=torch.float64)
    data = points[torch.arange(12) % 3] + 0.15 * torch.randn(12, 2, dtype=torch.float64)
    diffusion = Diffusion(even(600), clip=False)
    denoise = Denoiser(ideal_model(diffusion, points, bandwidth=0.15), diffusion)
    squares = torch.cdist(data, points).square() / (2 * 0.15**2)
    exact = (-squares).logsumexp(1) - math.log(3 * 2 * math.pi * 0.15**2)
    agree(log_likelihood(denoise, data), exact, rtol=3e-3, atol=3e-3)


@pytest.mark.equation("continuo-verosimilitud")
def test_the_slope_is_the_velocity() -> None:
    schedule = make_schedule("cosine", 40)
    states, output = torch.randn(2, 4, 2, dtype=torch.float64)
    denoise = Denoiser(lambda x, t: output, Diffusion(schedule, "v", clip=False))
    torch.testing.assert_close(flow_slope(denoise, states, 25), output)


@pytest.mark.equation("continuo-hutchinson")
def test_the_divergence_of_a_linear_field_is_its_trace() -> None:
    matrix = torch.randn(3, 3, dtype=torch.float64)
    points = torch.randn(5, 3, dtype=torch.float64)

    def field(x: Tensor) -> Tensor:
        return x @ matrix.T

    value, exact = divergence(field, points)
    torch.testing.assert_close(value, points @ matrix.T)
    torch.testing.assert_close(exact, matrix.trace().expand(5))
    assert not points.requires_grad and not value.requires_grad and not exact.requires_grad
    torch.testing.assert_close(divergence(field, points[:1])[1], exact[:1])
    # Con todos los signos posibles, la media es exacta; con uno, es zᵀJz.
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    _, average = divergence(field, points, signs[:, None].expand(-1, 5, -1))
    torch.testing.assert_close(average, exact)
    for z in signs[:2]:
        _, single = divergence(field, points, z.expand(1, 5, 3))
        torch.testing.assert_close(single, (z @ matrix @ z).expand(5))


@pytest.mark.equation("continuo-hutchinson")
def test_the_divergence_changes_from_place_to_place() -> None:
    points = torch.randn(4, 2, 3, dtype=torch.float64)
    value, found = divergence(lambda x: x.sin() * x.flatten(1).sum(1)[:, None, None], points)
    flat = points.flatten(1)
    total = flat.sum(1, keepdim=True)
    torch.testing.assert_close(found, (flat.cos() * total + flat.sin()).sum(1))
    assert value.shape == points.shape


@pytest.mark.equation("continuo-verosimilitud", "continuo-hutchinson")
def test_probes_do_not_bias_the_likelihood() -> None:
    points = torch.tensor([[-0.5, 0.2], [0.4, 0.4]], dtype=torch.float64)
    diffusion = Diffusion(even(60), clip=False)
    denoise = Denoiser(ideal_model(diffusion, points, bandwidth=0.2), diffusion)
    data = points + 0.1
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
    found = log_likelihood(denoise, data, signs[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(found, log_likelihood(denoise, data))
    one = log_likelihood(denoise, data, signs[:1, None].expand(-1, 2, -1))
    assert (one - found).abs().max() > 1e-2


@pytest.mark.equation("continuo-verosimilitud")
def test_the_bound_comes_down_to_the_likelihood() -> None:
    """Con la red ideal: la cota, siempre por encima salvo el azar, y cada vez más cerca."""
    torch.manual_seed(0)
    points = torch.tensor([[-0.6], [0.5]], dtype=torch.float64)
    data = points[torch.arange(4000) % 2] + 0.1 * torch.randn(4000, 1, dtype=torch.float64)
    gaps = []
    for steps in (10, 40, 160):
        diffusion = Diffusion(even(steps), "epsilon", EveryBeta(), clip=False)
        model = ideal_model(diffusion, points, bandwidth=0.1)
        bound = variational_bound(
            model, diffusion, data, lambda t: torch.randn_like(data), levels=None
        ).total
        squares = (data - points.T).square() / (2 * 0.1**2)
        exact = (-squares).logsumexp(1) - math.log(2 * 0.1 * math.sqrt(2 * math.pi))
        gap = bound + exact / math.log(2)
        gaps.append(float(gap.mean()))
    assert float(gap.std()) / math.sqrt(4000) < 0.05
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


# --- Predictor-corrector --------------------------------------------------------------------------


@pytest.mark.equation("continuo-corrector")
def test_a_correction_by_hand() -> None:
    schedule = make_schedule("linear", 50)
    denoise = Denoiser(MIXTURE.model(schedule), Diffusion(schedule, clip=False))
    states, z = torch.linspace(-1.5, 1.5, 7).double(), torch.randn(7, dtype=torch.float64)
    for index, size in ((5, 0.1), (30, 0.7)):
        bar = float(schedule.alphas_cumprod[index])
        length = size * (1 - bar)
        expected = states + length / 2 * mixture_score(states, bar) + math.sqrt(length) * z
        torch.testing.assert_close(correct(denoise, states, index, z, size), expected)
    default = correct(denoise, states, 5, z)
    torch.testing.assert_close(default, correct(denoise, states, 5, z, 0.1))


@pytest.mark.equation("continuo-corrector")
def test_corrections_settle_where_they_should() -> None:
    """Datos normales: la varianza acaba en v/(1 - δ_t/4v), venga de donde venga."""
    data, schedule, size = Mixture((1.0, 0.4, 0.3)), make_schedule("linear", 50), 0.2
    denoise = Denoiser(data.model(schedule), Diffusion(schedule, clip=False))
    bar = float(schedule.alphas_cumprod[20])
    mean, spread, v = 3.0, 5.0, bar * 0.3 + 1 - bar
    # La corrección es afín: se lee su respuesta a x y a z.
    probes, zs = torch.tensor([0.0, 1.0, 0.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    base, to_x, to_z = correct(denoise, probes, 20, zs, size).tolist()
    for _ in range(400):
        mean = base + (to_x - base) * mean
        spread = (to_x - base) ** 2 * spread + (to_z - base) ** 2
    assert mean == pytest.approx(math.sqrt(bar) * 0.4)
    assert spread == pytest.approx(v / (1 - size * (1 - bar) / (4 * v)))
    assert 0 < spread / v - 1 <= size / (4 - size)


@pytest.mark.equation("continuo-corrector")
def test_it_corrects_in_the_level_it_has_reached() -> None:
    schedule = make_schedule("linear", 30)
    diffusion = Diffusion(schedule, clip=False).respaced(3)
    seen: list[int] = []

    def model(states: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return MIXTURE.model(schedule)(states, t)

    def noises() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(3)
        while True:
            yield torch.randn(5, generator=generator, dtype=torch.float64)

    denoise, x_T = Denoiser(model, diffusion), torch.linspace(-1, 1, 5).double()
    steps = list(predictor_corrector(denoise, x_T, noises(), corrections=2, step=0.3))
    middle = int(diffusion.schedule.timesteps[1])
    assert seen == [29, *[middle] * 3, *[0] * 3]
    drawn, state = noises(), x_T
    for index, found in zip((2, 1, 0), steps, strict=True):
        assert found.t == index
        torch.testing.assert_close(found.before, state)
        state, x_start = ancestral(denoise, state, index, drawn)
        torch.testing.assert_close(found.x_start, x_start)
        if index > 0:
            for _ in range(2):
                state = correct(denoise, state, index - 1, next(drawn), 0.3)
        torch.testing.assert_close(found.x_t, state)
    plain = predictor_corrector(denoise, x_T, noises(), corrections=0)
    for one, other in zip(plain, algorithm2(denoise, x_T, noises()), strict=True):
        assert torch.equal(one.x_t, other.x_t)
    once = list(predictor_corrector(denoise, x_T, noises()))
    same = list(predictor_corrector(denoise, x_T, noises(), corrections=1, step=0.1))
    assert all(torch.equal(one.x_t, other.x_t) for one, other in zip(once, same, strict=True))


# --- La cota, con la SNR --------------------------------------------------------------------------


@pytest.mark.equation("continuo-snr-cuenta")
def test_the_weight_is_a_difference_of_two_ratios() -> None:
    small = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta
    weight = sp.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar)
    assert_chain(
        weight**2 / (2 * small),
        (1 - alpha_bar)
        / (2 * (1 - alpha_bar_prev) * beta)
        * (alpha_bar_prev * beta**2 / (1 - alpha_bar) ** 2),
        alpha_bar_prev * beta / (2 * (1 - alpha_bar_prev) * (1 - alpha_bar)),
        (alpha_bar_prev - alpha_bar) / (2 * (1 - alpha_bar_prev) * (1 - alpha_bar)),
        (alpha_bar_prev / (1 - alpha_bar_prev) - alpha_bar / (1 - alpha_bar)) / 2,
    )
    assert_chain(1 - alpha_bar / alpha_bar_prev, 1 - alpha, beta)


@pytest.mark.equation("continuo-snr")
def test_each_term_is_a_height_by_a_base(schedule: Schedule, agree: Callable[..., None]) -> None:
    """El término de la cota, con un x̂_0 cualquiera y la varianza pequeña."""
    weights = snr_weights(schedule)
    assert weights.shape == (1000,) and weights[0] == math.inf
    diffusion = Diffusion(schedule, "x_start", "fixed_small", clip=False)
    t = torch.tensor([1, 10, 500, 990])
    x_0, said, noise = torch.randn(3, 4, 2, dtype=torch.float64)
    x_t = q_sample(schedule, x_0, t, noise)
    nats = vb_term(diffusion, said, x_0, x_t, t, levels=None) * 2 * math.log(2)
    agree(weights[t] * (x_0 - said).square().sum(1), nats, rtol=1e-8)


@pytest.mark.equation("continuo-integral")
def test_only_the_ends_of_the_schedule_count() -> None:
    """Con datos N(0, v) el error es v/(1 + vS), y el área, ½ log((1 + v S_máx)/(1 + v S_mín))."""
    v, high, low = 0.3, 6.0, -5.0
    area = 0.5 * math.log((1 + v * math.exp(high)) / (1 + v * math.exp(low)))
    for power in (1.0, 2.0):
        sums = []
        for steps in (1000, 2000, 4000):
            schedule = even(steps, high, low, power)
            errors = v / (1 + v * schedule.snr)
            sums.append(float((snr_weights(schedule) * errors)[1:].sum()))
        assert sums[0] > sums[1] > sums[2] > area
        assert sums[2] == pytest.approx(area, rel=5e-3)
        assert slope([1000, 2000, 4000], [each - area for each in sums]) == pytest.approx(
            1, abs=0.1
        )
    clock = np.linspace(0, 1, 200_001)
    ratio = np.exp(high + (low - high) * clock**2)
    slopes = np.gradient(ratio, clock, edge_order=2)
    by_clock = -0.5 * np.trapezoid(slopes * v / (1 + v * ratio), clock)
    assert by_clock == pytest.approx(area, rel=1e-6)


@pytest.mark.equation("continuo-multiplo")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_how_many_times_the_bound_a_loss_weighs(name: str) -> None:
    schedule = make_schedule(name, 200)
    snr = schedule.snr
    base = (snr[:-1] - snr[1:]) / 2  # lo que la cota pesa el error de x_0
    for prediction, weighting, weight in (
        ("x_start", "uniform", torch.ones_like(snr)),
        ("epsilon", "uniform", snr),
        ("v", "uniform", snr + 1),
        ("epsilon", "min_snr", snr.clamp(max=5)),
        ("v", "min_snr", snr.clamp(max=5)),
    ):
        found = bound_multiple(Diffusion(schedule, prediction), weighting)[1:]
        torch.testing.assert_close(found, weight[1:] / base)
    # La propia cota es una vez la cota, prediga lo que prediga la red.
    for prediction in ("epsilon", "v"):
        found = bound_multiple(Diffusion(schedule, prediction), "vlb")[1:]
        torch.testing.assert_close(found, torch.ones_like(found))


@pytest.mark.equation("continuo-multiplo", "continuo-coseno-v")
def test_v_with_the_cosine_is_monotone_and_epsilon_is_not() -> None:
    schedule = make_schedule("cosine", 4000, s=0.0)
    seen = (schedule.log_snr > -7) & (schedule.log_snr < 7)
    weight = bound_multiple(Diffusion(schedule, "v"), "uniform")[seen]
    constant = weight * (schedule.log_snr[seen] / 2).exp()
    assert float(constant.max() / constant.min()) < 1.04
    assert bool((weight.diff() > 0).all())
    other = bound_multiple(Diffusion(schedule, "epsilon"), "uniform")[seen].diff()
    assert bool((other > 0).any() and (other < 0).any())


@pytest.mark.equation("continuo-coseno-v")
def test_the_weight_of_v_with_the_cosine() -> None:
    clock = sp.Symbol("tau", positive=True)
    angle = sp.pi * clock / 2
    snr = sp.cos(angle) ** 2 / sp.sin(angle) ** 2
    log_snr = -2 * sp.log(sp.tan(angle))
    assert_chain(sp.diff(log_snr, clock), -2 * sp.pi / sp.sin(sp.pi * clock))
    root = sp.cos(angle) / sp.sin(angle)
    assert_chain(sp.sin(sp.pi * clock), 2 * root / (snr + 1))
    assert_chain(
        (snr + 1) / snr * sp.sin(sp.pi * clock) / (2 * sp.pi),
        1 / (sp.pi * root),
        sp.exp(-log_snr / 2) / sp.pi,
    )


@pytest.mark.equation("continuo-mezcla-cotas")
def test_a_weighted_loss_is_a_mixture_of_bounds() -> None:
    """Con el error de unos datos normales y un peso que no baja al subir el ruido."""
    lam = np.linspace(-6, 6, 40_001)
    snr = np.exp(lam)
    inside = 0.5 * snr * 0.3 / (1 + 0.3 * snr)
    weight = 1 / (1 + np.exp(lam - 1))
    cumulative = np.concatenate([[0], np.cumsum((inside[1:] + inside[:-1]) / 2)]) * (
        lam[1] - lam[0]
    )
    falls = -np.gradient(weight, lam, edge_order=2)
    assert (falls >= 0).all()
    loss = np.trapezoid(weight * inside, lam)
    mixed = weight[-1] * cumulative[-1] + np.trapezoid(falls * cumulative, lam)
    assert mixed == pytest.approx(loss, rel=1e-6)
    assert loss < 0.9 * cumulative[-1]


@pytest.mark.equation("continuo-cota-ruidosa")
@pytest.mark.parametrize("skill", [1.0, 0.8])
def test_the_bound_of_noisy_data(skill: float) -> None:
    """Una red afín, buena o mala: lo que genera en cada nivel, y lo que la cota dice que cuesta."""
    v, schedule = 0.3, even(60, 5.0, -4.0)
    bars = schedule.alphas_cumprod
    spread = bars * v + 1 - bars
    gain = skill * bars.sqrt() * v / spread  # x̂_0 = gain · x_t

    def epsilon(states: Tensor, t: Tensor) -> Tensor:
        level = int(t[0]) if t.ndim else int(t)
        return (1 - bars[level].sqrt() * gain[level]) / (1 - bars[level]).sqrt() * states

    _, variances = exact_marginals(epsilon, schedule, ancestral)
    errors = v - 2 * gain * bars.sqrt() * v + gain.square() * spread
    terms = snr_weights(schedule) * errors
    prior = (bars[-1] * v - bars[-1] - (1 - bars[-1]).log()) / 2
    gaps = []
    for level in (5, 20, 40):
        made = variances[len(schedule) - 2 - level]
        real = float(spread[level])
        cost = 0.5 * (math.log(2 * math.pi * made) + real / made)
        entropy = 0.5 * math.log(2 * math.pi * math.e * float(1 - bars[level]))
        gaps.append(float(prior + terms[level + 1 :].sum()) + entropy - cost)
    assert all(gap > 0 for gap in gaps)
    assert max(gaps) < (0.2 if skill == 1 else 1.0)
    assert loss_weight(Diffusion(schedule, "x_start"), "vlb")[level].item() == pytest.approx(
        float(snr_weights(schedule)[level])
    )


@pytest.mark.equation("continuo-markov")
def test_the_way_back_is_also_a_markov_chain() -> None:
    """Cuatro instantes y tres estados: la conjunta entera, contada."""
    generator = np.random.default_rng(0)
    start = generator.dirichlet(np.ones(3))
    steps = [generator.dirichlet(np.ones(3), size=3) for _ in range(3)]
    joint = np.einsum("a,ab,bc,cd->abcd", start, *steps)
    given_all = joint / joint.sum(axis=0)
    one, two = np.einsum("abcd->ab", joint), np.einsum("abcd->b", joint)
    bayes = start[:, None] * steps[0] / two
    assert np.allclose(bayes, one / two)
    assert np.allclose(given_all, bayes[:, :, None, None])


def test_every_beta_keeps_the_first_one() -> None:
    schedule = even(50)
    like, t = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0, 1, 49])
    variance, log_variance = EveryBeta()(schedule, t, like)
    torch.testing.assert_close(variance[:, 0], schedule.betas[t])
    torch.testing.assert_close(log_variance.exp(), variance)
