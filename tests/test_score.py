"""Score matching: el teorema, Langevin y la escalera, con densidades que se saben enteras."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, repeat

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
    integral,
    mixture_density,
    normal_density,
    x_t,
)
from ddpm_lit.backward import Denoiser, p_mean_variance, to_score
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.ideal import ideal_model
from ddpm_lit.losses import simple_loss
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import ancestral
from ddpm_lit.scheduler import Schedule, make_schedule
from ddpm_lit.score import (
    annealed_langevin,
    ladder,
    langevin,
    level_score,
    score_matching_error,
    score_matching_floor,
)
from exact import Mixture, unit_noises

LINEAR = make_schedule("linear", 1000)
WHOLE = Diffusion(LINEAR, clip=False)
SIGMAS = [math.sqrt(1 / bar - 1) for bar in LINEAR.alphas_cumprod.tolist()]
WEIGHTS, MEANS, VARIANCES = (0.2, 0.5, 0.3), (-0.9, 0.1, 0.8), (0.02, 0.05, 0.01)
DENSITY = mixture_density(WEIGHTS, MEANS, VARIANCES)
MIXTURE = Mixture(*zip(WEIGHTS, MEANS, VARIANCES, strict=True))
STEP = 1e-30


def slope(log_density: Callable[[complex], complex], value: float) -> float:
    """La derivada por el paso complejo: sin restas, con todas las cifras."""
    return float(np.log(log_density(value + 1j * STEP)).imag / STEP)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- Qué es ---------------------------------------------------------------------------------------


@pytest.mark.equation("score-constante")
def test_the_constant_goes_away() -> None:
    x, mass = sp.symbols("x Z", positive=True)
    unnormalised = sp.exp(-(x**4)) + 3 * sp.exp(-((x - 2) ** 2))
    assert_chain(
        sp.diff(sp.log(unnormalised / mass), x),
        sp.diff(sp.log(unnormalised) - sp.log(mass), x),
        sp.diff(sp.log(unnormalised), x),
    )


@pytest.mark.equation("score-mezcla")
@pytest.mark.parametrize("value", [-1.1, -0.4, 0.3, 0.95])
def test_the_score_of_a_mixture_is_the_mean_of_the_scores(value: float) -> None:
    parts = [
        weight * float(normal_density(value, mean, variance))
        for weight, mean, variance in zip(WEIGHTS, MEANS, VARIANCES, strict=True)
    ]
    mean = sum(
        part / sum(parts) * -(value - mean) / variance
        for part, mean, variance in zip(parts, MEANS, VARIANCES, strict=True)
    )
    assert mean == pytest.approx(slope(DENSITY, value), rel=1e-12)


@pytest.mark.equation("score-mezcla")
def test_far_apart_the_score_does_not_know_the_weights() -> None:
    """Cerca de las modas no se nota el reparto; en el desierto, sí."""
    few, many = (mixture_density((p, 1 - p), (-1, 1), (0.01, 0.01)) for p in (0.1, 0.9))
    for value in (-1.2, -0.8, 0.85, 1.1):
        assert slope(few, value) == pytest.approx(slope(many, value), rel=1e-12)
    assert abs(slope(few, 0.0) - slope(many, 0.0)) > 100


# --- Langevin -------------------------------------------------------------------------------------


@pytest.mark.equation("score-langevin")
def test_one_step_for_each_noise(agree: Callable[..., None]) -> None:
    x, noises = numbers(3, 2, seed=1), list(numbers(4, 3, 2, seed=2))
    states = list(langevin(torch.sin, x, 0.36, iter(noises)))
    assert len(states) == 4
    for state, z in zip(states, noises, strict=True):
        x = x + 0.18 * torch.sin(x) + 0.6 * z
        agree(state, x, rtol=1e-12)


def linear_variance(v: float, step_size: float, steps: int) -> float:
    """La varianza exacta tras unos pasos, con el score de N(0, v) y saliendo de 0."""
    start = torch.zeros(steps + 2, dtype=torch.float64)
    *_, last = langevin(lambda x: -x / v, start, step_size, islice(unit_noises(steps), steps))
    return float((last**2).sum())


@pytest.mark.equation("score-langevin", "score-varianza")
@pytest.mark.parametrize("ratio", [0.01, 0.2, 1.0, 3.5])
def test_the_variance_it_reaches(ratio: float) -> None:
    v = 0.3
    reached = linear_variance(v, ratio * v, 1500)
    assert reached == pytest.approx(v / (1 - ratio / 4), rel=1e-5)


@pytest.mark.equation("score-varianza")
def test_too_long_a_step_never_settles() -> None:
    assert linear_variance(0.3, 4.4 * 0.3, 200) > 1e6
    v, step_size, total = sp.symbols("v delta V", positive=True)
    (found,) = sp.solve(sp.Eq(total, (1 - step_size / (2 * v)) ** 2 * total + step_size), total)
    assert_chain(found, v / (1 - step_size / (4 * v)))
    assert_chain(
        ((1 - step_size / (2 * v)) ** 2 * total + step_size) - total,
        (-step_size / v + step_size**2 / (4 * v**2)) * total + step_size,
    )


@pytest.mark.equation("score-langevin")
def test_it_samples_a_density_that_is_not_normal() -> None:
    """Dos modas que se tocan, de distinto peso: con pasos cortos, cada cuantil en su sitio."""
    law = Mixture((0.7, -0.5, 0.16), (0.3, 0.6, 0.09))

    def score(x: Tensor) -> Tensor:
        gaps = x - law.means
        share = (law.weights.log() - law.variances.log() / 2 - gaps**2 / law.variances / 2).softmax(
            -1
        )
        return -(share * gaps / law.variances).sum(-1, keepdim=True)

    count = 8000
    noises = (z.double() for z in sampling_noise(0, range(count), (1,)))
    *_, x = langevin(score, 2 * next(noises), 0.01, islice(noises, 1200))
    probabilities = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    wanted = law.quantile(1.0, probabilities)
    below = (x < wanted).double().mean(0)
    # Cuatro errores típicos y el sesgo del paso.
    assert (below - probabilities).abs().max() < 4 * math.sqrt(0.25 / count) + 0.005


# --- El teorema de Vincent ------------------------------------------------------------------------

DATA, MASS = np.array([-1.0, 0.2, 0.7]), np.array([0.5, 0.2, 0.3])
GRID = np.linspace(-14, 14, 56_001)


def logistic(gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Un ruido que no es normal: su densidad y la derivada del logaritmo."""
    density = 1 / (0.4 * 4 * np.cosh(gap / 0.8) ** 2)
    return density, -np.tanh(gap / 0.8) / 0.4


def gaussian(gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return normal_density(gap, 0.0, 0.64), -gap / 0.64


@pytest.mark.equation("score-cruzado", "score-vincent", "score-suelo")
@pytest.mark.parametrize("kernel", [gaussian, logistic])
@pytest.mark.parametrize("candidate", [np.sin, np.tanh, lambda x: -3 * x, lambda x: 0 * x])
def test_the_theorem_with_any_noise_and_any_candidate(
    kernel: Callable[..., tuple[np.ndarray, np.ndarray]], candidate: Callable[..., np.ndarray]
) -> None:
    parts = [kernel(GRID - 0.8 * each) for each in DATA]
    joint = [mass * density for mass, (density, _) in zip(MASS, parts, strict=True)]
    marginal = sum(joint)
    # La derivada de q(x_t), por diferencias: no usa la de ninguna condicionada.
    exact = np.gradient(np.log(marginal), GRID, edge_order=2)
    s = candidate(GRID)

    def conditional(function: Callable[[np.ndarray], np.ndarray]) -> float:
        return sum(
            integral(density * function(known), GRID)
            for density, (_, known) in zip(joint, parts, strict=True)
        )

    def plain(values: np.ndarray) -> float:
        return integral(marginal * values, GRID)

    assert plain(s * exact) == pytest.approx(conditional(lambda known: s * known), abs=1e-5)
    floor = conditional(np.square) - plain(exact**2)
    paid = conditional(lambda known: (s - known) ** 2)
    assert paid == pytest.approx(plain((s - exact) ** 2) + floor, rel=1e-5)
    assert floor == pytest.approx(conditional(lambda known: (exact - known) ** 2), rel=1e-4)


def quadrature(schedule: Schedule, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Todas las parejas (x_0, ε) de una mezcla, con su peso: ε y el emborronado, por Hermite."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    mass = mass / mass.sum()
    mode, blur, noise = np.meshgrid(range(3), range(80), range(80), indexing="ij")
    weight = np.array(WEIGHTS)[mode] * mass[blur] * mass[noise]
    x_0 = np.array(MEANS)[mode] + np.sqrt(VARIANCES)[mode] * nodes[blur]
    x_start, epsilon, weight = (
        torch.from_numpy(each.ravel()) for each in (x_0, nodes[noise], weight)
    )
    bar = schedule.alphas_cumprod[index]
    noisy = bar.sqrt() * x_start + (1 - bar).sqrt() * epsilon
    return noisy[:, None], epsilon[:, None], weight, torch.full((len(noisy),), index)


@pytest.mark.equation("score-suelo")
@pytest.mark.parametrize("index", [150, 400, 700])
def test_the_floor_is_what_the_exact_score_pays(index: int) -> None:
    noisy, epsilon, weight, t = quadrature(LINEAR, index)
    best = to_score(LINEAR, MIXTURE.model(LINEAR)(noisy[:, 0], t[:1])[:, None], t)
    floor = float((weight * score_matching_floor(LINEAR, best, epsilon, t)).sum())
    bar = float(LINEAR.alphas_cumprod[index])
    grid = np.linspace(-6, 6, 24_001)
    q = DENSITY(grid, math.sqrt(bar), 1 - bar)
    derivative = np.imag(DENSITY(grid + 1j * STEP, math.sqrt(bar), 1 - bar)) / STEP
    wanted = 1 / (1 - bar) - integral(derivative**2 / q, grid)
    assert floor == pytest.approx(wanted, abs=1e-6)
    for factor in (1.0, 0.7, 0.0, -0.5):
        paid = score_matching_error(LINEAR, factor * best, epsilon, t)
        missing = (1 - factor) ** 2 * best.square().sum(1)
        assert float((weight * (paid - missing)).sum()) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.equation("score-suelo")
@pytest.mark.parametrize("shape", [(6,), (3, 4, 4)])
def test_the_floor_of_normal_data(shape: tuple[int, ...]) -> None:
    """Con datos N(0, s²) en cada píxel, D ᾱs²/((1-ᾱ)(ᾱs² + 1 - ᾱ)); sumado, no promediado."""
    spread, count = 0.6, 40_000 // math.prod(shape)
    t = torch.tensor([99, 699] * count)
    noise, x_0 = numbers(2 * count, *shape, seed=3), spread * numbers(2 * count, *shape, seed=4)
    bar = LINEAR.at("alphas_cumprod", t, noise)
    variance = bar * spread**2 + 1 - bar
    best = -(bar.sqrt() * x_0 + (1 - bar).sqrt() * noise) / variance
    found = score_matching_floor(LINEAR, best, noise, t)
    assert found.shape == (2 * count,)
    size = math.prod(shape)
    for half in (0, 1):
        a = float(LINEAR.alphas_cumprod[t[half]])
        wanted = size * a * spread**2 / ((1 - a) * (a * spread**2 + 1 - a))
        mine = found[half::2]
        assert float(mine.mean()) == pytest.approx(
            wanted, abs=4 * float(mine.std()) / math.sqrt(count)
        )
    # Con t grande, el azar que queda es menor que el que habría con D/(1-ᾱ) a secas.
    assert mine.std() < (size / (1 - a) - best.flatten(1).square().sum(1)[1::2]).std()


@pytest.mark.equation("score-simple")
@pytest.mark.parametrize("shape", [(2,), (3, 4, 4)])
def test_the_loss_of_ddpm_is_a_weighted_score_matching(
    shape: tuple[int, ...], agree: Callable[..., None]
) -> None:
    x_0, noise, answer = (numbers(5, *shape, seed=seed) for seed in (1, 2, 3))
    t = torch.tensor([0, 10, 300, 700, 999])
    weight = 1 - LINEAR.alphas_cumprod[t]
    score = -answer / weight.sqrt().reshape(-1, *[1] * len(shape))
    error = score_matching_error(LINEAR, score, noise, t)
    agree(weight * error, (noise - answer).square().flatten(1).sum(1), rtol=1e-9)
    mean = simple_loss(WHOLE, answer, x_0, noise, t)
    agree(weight * error / math.prod(shape), mean.double(), rtol=1e-5)


# --- La escala de NCSN ----------------------------------------------------------------------------


@pytest.mark.equation("score-escalas", "score-nivel")
@pytest.mark.parametrize("index", [0, 200, 600, 999])
def test_the_same_density_in_two_scales(index: int) -> None:
    """x̄ = x_0 + ς ε: su densidad es la de x_t estirada, y su score, el del campo del nivel."""
    bar = float(LINEAR.alphas_cumprod[index])
    score = level_score(Denoiser(MIXTURE.model(LINEAR), WHOLE), index)
    for value in (-1.3, 0.05, 0.4, 2.2):
        grown = float(DENSITY(value, 1.0, SIGMAS[index] ** 2))
        shrunk = float(DENSITY(math.sqrt(bar) * value, math.sqrt(bar), 1 - bar))
        assert grown == pytest.approx(math.sqrt(bar) * shrunk, rel=1e-9)
        wanted = slope(lambda v: DENSITY(v, 1.0, SIGMAS[index] ** 2), value)
        found = score(torch.tensor([value], dtype=torch.float64)).item()
        assert found == pytest.approx(wanted, rel=1e-7)


@pytest.mark.equation("score-escalas")
def test_undoing_the_shrinking() -> None:
    x_0, noise = sp.symbols("x_0 epsilon", real=True)
    sigma = sp.sqrt((1 - alpha_bar) / alpha_bar)
    noisy = sp.sqrt(alpha_bar) * x_0 + sp.sqrt(1 - alpha_bar) * noise
    assert_chain(noisy / sp.sqrt(alpha_bar), x_0 + sigma * noise)


def test_the_levels_of_a_shorter_process_are_those_of_the_network() -> None:
    """El campo pregunta a la red por el índice original, con x_t en su escala."""
    seen = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x.tolist(), t.tolist()))
        return torch.ones_like(x)

    short = replace(WHOLE, schedule=ladder(LINEAR, 5, 2.0))
    index = 3
    original = int(short.schedule.timesteps[index])
    score = level_score(Denoiser(model, short), index)
    x = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    found = score(x)
    bar = float(LINEAR.alphas_cumprod[original])
    assert seen[0][1] == [original]
    assert seen[0][0][0] == pytest.approx([2 * math.sqrt(bar), -math.sqrt(bar)], rel=1e-9)
    assert found.flatten().tolist() == pytest.approx([-1 / SIGMAS[original]] * 2, rel=1e-9)


@pytest.mark.equation("score-escalera")
@pytest.mark.parametrize(("levels", "sigma_max"), [(2, 5.0), (10, 1.0), (12, 3.0), (20, 150.0)])
def test_each_rung_is_the_nearest_level(levels: int, sigma_max: float) -> None:
    found = ladder(LINEAR, levels, sigma_max)
    assert len(found) == levels
    first = SIGMAS[0]
    for i, original in enumerate(found.timesteps.tolist()):
        wanted = first * (sigma_max / first) ** (i / (levels - 1))
        distances = [abs(math.log(sigma / wanted)) for sigma in SIGMAS]
        assert distances[original] == min(distances)
        assert found.sqrt_recipm1_alphas_cumprod[i].item() == pytest.approx(
            SIGMAS[original], rel=1e-9
        )
    assert found.timesteps[0] == 0


def test_a_ladder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="Se piden 1 niveles"):
        ladder(LINEAR, 1, 3.0)
    for sigma_max in (0.001, 1e4, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"va de 0\.01 a 157"):
            ladder(LINEAR, 10, sigma_max)
    with pytest.raises(ValueError, match="no tiene 60 niveles distintos"):
        ladder(LINEAR, 60, 3.0)


# --- El recocido ----------------------------------------------------------------------------------


def annealed_variance(v: float, schedule: Schedule, steps: int, rate: float) -> list[float]:
    """Las varianzas exactas de los estados, con datos N(0, v) y saliendo de 0."""
    total = len(schedule) * steps
    start = torch.zeros(total + 2, dtype=torch.float64)
    noises: Iterator[Tensor] = unit_noises(total)
    model = Mixture((1.0, 0.0, v)).model(schedule)
    states = annealed_langevin(
        Denoiser(model, Diffusion(schedule, clip=False)), start, noises, steps=steps, rate=rate
    )
    return [float((state**2).sum()) for state in states]


@pytest.mark.equation("score-recocido", "score-langevin")
@pytest.mark.parametrize("rate", [0.2, 0.7, 1.5])
def test_every_step_of_normal_data(rate: float) -> None:
    """La varianza, nivel a nivel, con la recurrencia escrita a mano."""
    sigmas = [0.05, 0.3, 2.0]
    schedule = Schedule.from_alphas_cumprod([1 / (1 + s**2) for s in sigmas])
    found = annealed_variance(0.04, schedule, 4, rate)
    expected, total = [], 0.0
    for sigma in reversed(sigmas):
        for _ in range(4):
            size = rate * sigma**2
            total = (1 - size / (2 * (0.04 + sigma**2))) ** 2 * total + size
            expected.append(total)
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.equation("score-recocido")
def test_the_excess_is_the_same_on_every_rung() -> None:
    """Con todos los datos en un punto, cada nivel acaba con ς²/(1 - r/4)."""
    sigmas = [0.01, 0.1, 1.0]
    schedule = Schedule.from_alphas_cumprod([1 / (1 + s**2) for s in sigmas])
    found = annealed_variance(0.0, schedule, 150, 0.2)
    for sigma, reached in zip(reversed(sigmas), found[149::150], strict=True):
        assert reached / sigma**2 == pytest.approx(1 / (1 - 0.05), rel=1e-5)


def test_it_takes_the_noise_it_needs_and_no_more() -> None:
    noises = iter(list(numbers(30, 2, 1)))
    short = replace(WHOLE, schedule=ladder(LINEAR, 4, 2.0))
    denoise = Denoiser(lambda x, t: x, short)
    states = list(annealed_langevin(denoise, next(noises), noises, steps=5))
    assert len(states) == 20
    assert len(list(noises)) == 9
    assert not any(state.requires_grad for state in states)


def test_annealing_mends_the_split_that_langevin_cannot() -> None:
    centres = torch.tensor([[-0.6, -0.3], [0.6, 0.35]])
    model = ideal_model(WHOLE, centres[[0, 0, 0, 0, 1]], bandwidth=0.1)

    def split(x: Tensor) -> float:
        return float((torch.cdist(x, centres).argmin(1) == 0).double().mean())

    count = 2000
    noises = sampling_noise(0, range(count), (2,))
    alone = level_score(Denoiser(model, WHOLE), 0)
    *_, x = langevin(alone, 1.2 * next(noises), 0.002, islice(noises, 300))
    assert 0.45 < split(x) < 0.55
    denoise = Denoiser(model, replace(WHOLE, schedule=ladder(LINEAR, 20, 3.0)))
    *_, x = annealed_langevin(denoise, 3 * next(noises), noises, steps=30, rate=0.5)
    assert split(x) == pytest.approx(0.8, abs=0.035)


@pytest.mark.parametrize("rate", [0.0, -1.0, 4.0, math.nan])
def test_a_rate_that_never_settles_is_refused(rate: float) -> None:
    denoise = Denoiser(lambda x, t: x, WHOLE)
    with pytest.raises(ValueError, match="debe estar entre 0 y 4"):
        next(
            annealed_langevin(
                denoise, torch.zeros(1, 1), repeat(torch.zeros(1, 1)), steps=1, rate=rate
            )
        )


@pytest.mark.parametrize("step_size", [0.0, -1.0, math.nan])
def test_a_step_that_is_not_positive_is_refused(step_size: float) -> None:
    with pytest.raises(ValueError, match="debe ser mayor que 0"):
        next(langevin(torch.sin, torch.zeros(1), step_size, repeat(torch.zeros(1))))


# --- DDPM, en esa escala --------------------------------------------------------------------------


@pytest.mark.equation("score-ddpm")
def test_the_mean_of_ddpm_without_shrinking() -> None:
    pull = sp.Symbol("S", real=True)
    before, after = ((1 - bar) / bar for bar in (alpha_bar_prev, alpha_bar))
    mean = (x_t + beta * pull / sp.sqrt(alpha_bar)) / sp.sqrt(alpha)
    assert_chain(
        mean / sp.sqrt(alpha_bar_prev),
        x_t / sp.sqrt(alpha_bar) + beta / alpha_bar * pull,
        x_t / sp.sqrt(alpha_bar) + (after - before) * pull,
    )
    assert_chain(beta / alpha_bar_prev, alpha * (after - before))


@pytest.mark.equation("score-ddpm", "score-mitades")
@pytest.mark.parametrize("index", [1, 300, 999])
def test_a_step_of_ddpm_is_one_of_langevin_and_one_of_ddim(index: int) -> None:
    """Con los samplers del paquete: restarles a los dos el estado y comparar los movimientos."""
    diffusion = replace(WHOLE, variance=Diffusion(LINEAR, variance="fixed_large").variance)
    denoise = Denoiser(MIXTURE.model(LINEAR), diffusion)
    signal, before = (math.sqrt(float(LINEAR.alphas_cumprod[i])) for i in (index, index - 1))
    x = torch.tensor([0.7], dtype=torch.float64)
    zero = iter([torch.zeros_like(x)])
    ddpm = ancestral(denoise, signal * x, index, zero)[0] / before - x
    straight = ddim(denoise, signal * x, index, iter(()))[0] / before - x
    gap = SIGMAS[index] - SIGMAS[index - 1]
    delta = SIGMAS[index] ** 2 - SIGMAS[index - 1] ** 2
    pull = level_score(denoise, index)
    *_, up = langevin(pull, x, delta, [torch.zeros_like(x)])
    left_over = gap**2 / 2 * pull(x)
    assert (ddpm - delta * pull(x)).abs().item() < 1e-9 * max(1, ddpm.abs().item())
    torch.testing.assert_close(ddpm, (up - x) + straight - left_over, rtol=1e-7, atol=1e-9)
    t = torch.tensor([index])
    step = p_mean_variance(diffusion, torch.zeros(1, 1).double(), torch.zeros(1, 1).double(), t)
    noise = float(step.variance.flatten()[0]) / before**2
    assert noise == pytest.approx(float(LINEAR.alphas[index]) * delta, rel=1e-6)


@pytest.mark.equation("score-mitades")
def test_the_two_halves() -> None:
    before, after, pull = sp.symbols("s_before s_after S", positive=True)
    delta = after**2 - before**2
    assert_chain(
        delta * pull,
        delta / 2 * pull + after * (after - before) * pull - (after - before) ** 2 / 2 * pull,
    )
