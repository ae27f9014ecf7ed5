"""DDIM: el paso, la inversión y la interpolación, contra sus fórmulas y contra datos normales."""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim, ddim_inversion, ddim_sigma, interpolate_latents, reconstruct, slerp
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.sampling import SAMPLERS, algorithm2, make_sampler
from ddpm_lit.scheduler import (
    Schedule,
    make_schedule,
    rescale_zero_terminal_snr,
    respace,
    spaced_indices,
)
from exact import Mixture, exact_marginals, log_snr_grid, slope

ORACLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "fixtures" / "improved_diffusion.json").read_text("utf-8")
)
SPACINGS = ("linspace", "leading", "trailing", "quadratic")
DATA = (0.3, 0.25)
NORMAL = Mixture((1.0, *DATA))
OPTIONS = [{"eta": 0.0}, {"eta": 0.3}, {"eta": 1.0}, {"sigma_hat": True}]


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def walk_of(schedule: Schedule, steps: int, spacing: str) -> Schedule:
    return respace(schedule, spaced_indices(len(schedule), steps, spacing))


def step_of(
    schedule: Schedule, index: int, *, clip: bool = False, **options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Un paso desde un estado cualquiera: x_t, ε, z, x_{t-1} y los ruidos que se pidieron."""
    x_t, output, z = numbers(3, 4, 2, seed=1)
    asked: list[Tensor] = []

    def noises() -> Iterator[Tensor]:
        while True:
            asked.append(z)
            yield z

    predict = Denoiser(lambda x, t: output, Diffusion(schedule, clip=clip))
    x_prev, _ = ddim(predict, x_t, index, noises(), **options)
    return x_t, output, z, x_prev, asked


# --- El paso -------------------------------------------------------------------------------------


@pytest.mark.equation("ddim-paso", "ddim-sigma")
@pytest.mark.parametrize("eta", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_step_is_equation_twelve(
    schedule: Schedule, eta: float, spacing: str, agree: Callable[..., None]
) -> None:
    """El nivel anterior es el de la lista, no t - T/K ni t - 1."""
    indices = spaced_indices(1000, 30, spacing).tolist()
    walk = respace(schedule, indices)
    for level in (29, 17, 1):
        x_t, epsilon, z, x_prev, _ = step_of(walk, level, eta=eta)
        bar = schedule.alphas_cumprod[indices[level]].item()
        before = schedule.alphas_cumprod[indices[level - 1]].item()
        sigma = eta * math.sqrt((1 - before) / (1 - bar)) * math.sqrt(1 - bar / before)
        x_start = (x_t - math.sqrt(1 - bar) * epsilon) / math.sqrt(bar)
        expected = math.sqrt(before) * x_start + sigma * z
        expected = expected + math.sqrt(1 - before - sigma**2) * epsilon
        agree(x_prev, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.equation("ddim-sigma-hat")
def test_sigma_hat_only_changes_the_random_term(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """La parte determinista conserva σ(1); solo crece lo que multiplica a z."""
    walk = walk_of(schedule, 20, "leading")
    for level in (19, 8, 1):
        *_, z, noisier, _ = step_of(walk, level, sigma_hat=True)
        *_, plain, _ = step_of(walk, level, eta=1.0)
        ratio = (walk.alphas_cumprod[level] / walk.alphas_cumprod[level - 1]).item()
        sigma = math.sqrt(walk.posterior_variance[level].item())
        agree(noisier - plain, (math.sqrt(1 - ratio) - sigma) * z, rtol=1e-6, atol=1e-9)
        assert math.sqrt(1 - ratio) > sigma


@pytest.mark.equation("ddim-sigma", "ddim-eta-uno")
def test_with_eta_one_the_variance_is_the_posterior_one(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    for walk in (schedule, walk_of(schedule, 13, "trailing")):
        sigmas = torch.tensor([ddim_sigma(walk, level) for level in range(len(walk))])
        agree(sigmas.double() ** 2, walk.posterior_variance, rtol=1e-6)
        halves = [ddim_sigma(walk, level, 0.5) for level in range(len(walk))]
        agree(torch.tensor(halves), sigmas / 2, rtol=1e-6)
        assert sigmas[0] == 0


@pytest.mark.equation("ddim-paso")
@pytest.mark.parametrize(
    ("level", "options", "count"),
    [
        (9, {"eta": 1.0}, 1),
        (9, {"sigma_hat": True}, 1),
        (9, {"eta": 0.0}, 0),
        (0, {"eta": 1.0}, 0),
        (0, {"sigma_hat": True}, 0),
    ],
)
def test_noise_is_asked_for_only_when_used(
    linear: Schedule, level: int, options: dict[str, Any], count: int, agree: Callable[..., None]
) -> None:
    walk = walk_of(linear, 10, "linspace")
    x_t, epsilon, _, x_prev, asked = step_of(walk, level, **options)
    assert len(asked) == count
    if level == 0:
        bar = walk.alphas_cumprod[0].item()
        agree(x_prev, (x_t - math.sqrt(1 - bar) * epsilon) / math.sqrt(bar), rtol=1e-9)


@pytest.mark.equation("ddim-paso")
def test_the_noise_is_derived_again_after_clipping(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """Con recorte, x_{t-1} se compone con el ε̂ que corresponde al x̂_0 recortado, no con el de la
    red: con η = 0, el ruido que hay en x_t y en x_{t-1} es el mismo."""
    walk = walk_of(linear, 10, "linspace")
    level = 8
    x_t, output, _, x_prev, _ = step_of(walk, level, clip=True)
    bar, before = walk.alphas_cumprod[level].item(), walk.alphas_cumprod[level - 1].item()
    raw = (x_t - math.sqrt(1 - bar) * output) / math.sqrt(bar)
    x_start = raw.clamp(-1, 1)
    assert (raw.abs() > 1).any()
    noise = (x_t - math.sqrt(bar) * x_start) / math.sqrt(1 - bar)
    agree(x_prev, math.sqrt(before) * x_start + math.sqrt(1 - before) * noise, rtol=1e-9)
    wrong = math.sqrt(before) * x_start + math.sqrt(1 - before) * output
    assert (x_prev - wrong).abs().max() > 0.1


@pytest.mark.equation("ddim-paso")
@pytest.mark.parametrize("prediction", ["x_start", "v"])
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++2m"])
def test_zero_terminal_snr_is_no_problem(
    linear: Schedule, prediction: str, name: str, agree: Callable[..., None]
) -> None:
    """Sin señal en x_T, el primer paso sale de x̂_0 y de ε̂ = x_T; nada es infinito."""
    walk = walk_of(rescale_zero_terminal_snr(linear), 10, "trailing")
    x_T = numbers(5, seed=2)
    states = list(
        algorithm2(
            Denoiser(lambda x, t: torch.tanh(x), Diffusion(walk, prediction)),
            x_T,
            iter(()),
            make_sampler(name),
        )
    )
    assert all(state.x_t.isfinite().all() for state in states)
    before = walk.alphas_cumprod[-2].item()
    x_start = torch.tanh(x_T) if prediction == "x_start" else -torch.tanh(x_T)
    if name != "heun":
        agree(states[0].x_t, math.sqrt(before) * x_start + math.sqrt(1 - before) * x_T, rtol=1e-9)


# --- Datos normales y ε exacto: las distribuciones se saben ---------------------------------------


@pytest.mark.equation("ddim-familia", "ddim-marginal")
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_member_of_the_family_has_the_same_marginals(
    linear: Schedule, eta: float, spacing: str, agree: Callable[..., None]
) -> None:
    """Con un solo dato, y saliendo de q(x_T|x_0), se pasa por todos los q(x_t|x_0), con cualquier
    η."""
    walk = walk_of(linear, 9, spacing)
    bar = walk.alphas_cumprod
    model = Mixture((1.0, 0.7, 0.0)).model(linear)
    start = (bar[-1].sqrt().item() * 0.7, 1 - bar[-1].item())
    means, variances = exact_marginals(model, walk, partial(ddim, eta=eta), start)
    expected = bar[:-1].flip(0)
    agree(torch.tensor(means[:-1]).double(), expected.sqrt() * 0.7, rtol=1e-6)
    agree(torch.tensor(variances[:-1]).double(), 1 - expected, rtol=1e-6)
    assert means[-1] == pytest.approx(0.7, rel=1e-9)
    assert variances[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("ddim-familia")
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_knowing_the_data_the_step_is_drawn_from_the_family(
    schedule: Schedule, eta: float, agree: Callable[..., None]
) -> None:
    """Con una red que sabe x_0: la media y la desviación de q_σ(x_{t-1}|x_t, x_0), para x_t y z
    cualesquiera; el ruido que ya había conserva su signo."""
    walk = walk_of(schedule, 12, "leading")
    x_t, x_0, z = numbers(3, 5, seed=10)
    denoise = Denoiser(lambda x, t: x_0, Diffusion(walk, "x_start", clip=False))
    for level in (11, 6, 1):
        bar, before = walk.alphas_cumprod[level].item(), walk.alphas_cumprod[level - 1].item()
        sigma = ddim_sigma(walk, level, eta)
        gap = (x_t - math.sqrt(bar) * x_0) / math.sqrt(1 - bar)
        mean = math.sqrt(before) * x_0 + math.sqrt(1 - before - sigma**2) * gap
        quiet, _ = ddim(denoise, x_t, level, iter([0 * z]), eta=eta)
        agree(quiet, mean, rtol=1e-9, atol=1e-9)
        drawn, _ = ddim(denoise, x_t, level, iter([z]), eta=eta)
        agree(drawn - quiet, sigma * z, rtol=1e-6, atol=1e-9)


@pytest.mark.equation("ddim-sigma-hat")
def test_sigma_hat_leaves_too_much_variance(linear: Schedule) -> None:
    """σ̂ no es de la familia: con un solo dato, todos los estados llevan ruido de más."""
    for steps in (10, 100):
        walk = walk_of(linear, steps, "leading")
        bar = walk.alphas_cumprod
        model = Mixture((1.0, 0.7, 0.0)).model(linear)
        start = (bar[-1].sqrt().item() * 0.7, 1 - bar[-1].item())
        sampler = partial(ddim, sigma_hat=True)
        _, variances = exact_marginals(model, walk, sampler, start)
        excess = torch.tensor(variances[:-1]) - (1 - bar[:-1].flip(0))
        assert (excess > 0).all()


def by_hand(
    walk: Schedule, eta: float, sigma_hat: bool, data: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """La recursión del artículo para datos N(m, v), solo con las ᾱ; x_T es N(0, 1)."""
    m, v = data
    bars = [1.0, *walk.alphas_cumprod.tolist()]
    mean, var = 0.0, 1.0
    means, variances = [], []
    for bar, before in zip(bars[:0:-1], bars[-2::-1], strict=True):
        total = bar * v + 1 - bar
        signal = math.sqrt(bar) * v / total
        noise = math.sqrt(1 - bar) / total
        sigma2 = (1 - before) / (1 - bar) * (1 - bar / before)
        deterministic = sigma2 if sigma_hat else eta**2 * sigma2
        added = (1 - bar / before) if sigma_hat else eta**2 * sigma2
        gain = math.sqrt(before) * signal + math.sqrt(1 - before - deterministic) * noise
        mean = math.sqrt(before) * m + gain * (mean - math.sqrt(bar) * m)
        var = gain**2 * var + (added if before < 1 else 0.0)
        means.append(mean)
        variances.append(var)
    return means, variances


@pytest.mark.equation("ddim-paso", "ddim-sigma", "ddim-sigma-hat")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("data", [(0.0, 1.0), (0.3, 0.04), (-0.5, 2.0)])
@pytest.mark.parametrize("spacing", ["linspace", "quadratic"])
def test_gaussian_marginals(
    linear: Schedule,
    options: dict[str, Any],
    data: tuple[float, float],
    spacing: str,
    agree: Callable[..., None],
) -> None:
    walk = walk_of(linear, 25, spacing)
    actual = exact_marginals(
        Mixture((1.0, *data)).model(linear), walk, make_sampler("ddim", **options)
    )
    expected = by_hand(walk, options.get("eta", 0.0), options.get("sigma_hat", False), data)
    agree(torch.tensor(actual), torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.equation("ddim-paso", "ddim-eta-uno")
@pytest.mark.parametrize(
    ("name", "options"), [*(("ddim", option) for option in OPTIONS), ("ddpm", {})], ids=str
)
def test_samples_have_those_marginals(
    linear: Schedule, name: str, options: dict[str, Any], generator: torch.Generator
) -> None:
    """40.000 muestras de verdad: media y varianza a menos de 4,5 errores típicos."""
    walk, count = walk_of(linear, 12, "linspace"), 40_000

    def draws() -> Iterator[Tensor]:
        while True:
            yield torch.randn(count, dtype=torch.float64, generator=generator)

    noises = draws()
    sampler = make_sampler(name, **options)
    states = algorithm2(
        Denoiser(NORMAL.model(linear), Diffusion(walk, clip=False)), next(noises), noises, sampler
    )
    eta = options.get("eta", 1.0 if name == "ddpm" else 0.0)
    means, variances = by_hand(walk, eta, options.get("sigma_hat", False), DATA)
    for state, mean, var in zip(states, means, variances, strict=True):
        assert abs(state.x_t.mean().item() - mean) < 4.5 * math.sqrt(var / count)
        assert abs(state.x_t.var().item() - var) < 4.5 * var * math.sqrt(2 / count)


@pytest.mark.equation("ddim-edo")
def test_in_the_limit_it_is_the_flow_of_the_ode() -> None:
    """Con datos normales la ecuación diferencial conserva (x_t - √ᾱ m)/desviación: DDIM con todos
    los pasos se acerca a eso, y el error baja como 1/T."""
    m, v = DATA
    errors, sizes = [], [250, 1000, 4000]
    for timesteps in sizes:
        schedule = make_schedule("linear", timesteps)
        bar = schedule.alphas_cumprod
        x_T = torch.tensor([-1.5, 0.2, 2.0], dtype=torch.float64)
        *_, last = algorithm2(
            Denoiser(NORMAL.model(schedule), Diffusion(schedule, clip=False)), x_T, iter(()), ddim
        )
        std_T = (bar[-1] * v + 1 - bar[-1]).sqrt()
        exact = m + math.sqrt(v) * (x_T - bar[-1].sqrt() * m) / std_T
        errors.append((last.x_t - exact).abs().max().item())
    assert errors[-1] < 2e-3
    assert slope(sizes, errors) == pytest.approx(1, abs=0.1)


@pytest.mark.equation("ddim-edo")
def test_each_quantile_goes_to_its_quantile() -> None:
    """Con una mezcla de dos normales, en una dimensión, y convergencia de primer orden."""
    mixture = Mixture((0.4, -0.7, 0.04), (0.6, 0.5, 0.09))
    probabilities = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    sizes, errors = [80, 160, 320], []
    for steps in sizes:
        grid = log_snr_grid(steps)
        x_T = mixture.quantile(grid.alphas_cumprod[-1].item(), probabilities)
        *_, before, _ = algorithm2(
            Denoiser(mixture.model(grid), Diffusion(grid, clip=False)), x_T, iter(()), ddim
        )
        exact = mixture.quantile(grid.alphas_cumprod[0].item(), probabilities)
        errors.append((before.x_t - exact).abs().max().item())
    assert slope(sizes, errors) == pytest.approx(1, abs=0.05)


# --- Subsucesiones --------------------------------------------------------------------------------


@pytest.mark.equation("ddim-cuadratica")
@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 10), (1000, 50), (100, 100), (37, 5)])
def test_quadratic_indices(timesteps: int, steps: int) -> None:
    """⌊c i²⌋ con c = (T - 1)/(K - 1)², o i donde el suelo repetiría un índice."""
    indices = spaced_indices(timesteps, steps, "quadratic").tolist()
    last = timesteps - 1
    floors = [last * i**2 // (steps - 1) ** 2 for i in range(steps)]
    assert indices == [max(floor, i) for i, floor in enumerate(floors)]
    assert indices[0] == 0
    assert indices[-1] == last
    assert len(set(indices)) == steps


@pytest.mark.equation("ddim-cuadratica")
def test_quadratic_indices_of_the_paper() -> None:
    assert spaced_indices(1000, 10, "quadratic").tolist() == [
        0, 12, 49, 111, 197, 308, 444, 604, 789, 999,
    ]  # fmt: skip
    assert spaced_indices(1000, 1, "quadratic").tolist() == [999]
    for steps in range(1, 101):
        assert (spaced_indices(100, steps, "quadratic").diff() > 0).all()


# --- Otra implementación --------------------------------------------------------------------------


@pytest.mark.equation("ddim-paso")
@pytest.mark.parametrize(
    "case", ORACLE["ddim"], ids=lambda case: f"{case['schedule']}-{case['spacing']}"
)
def test_loops_of_improved_diffusion(case: dict[str, Any], agree: Callable[..., None]) -> None:
    spacing = "leading" if case["spacing"].startswith("ddim") else "linspace"
    steps = int(case["spacing"].removeprefix("ddim"))
    walk = walk_of(make_schedule(case["schedule"], 1000), steps, spacing)
    agree(walk.betas, torch.tensor(case["betas"], dtype=torch.float64), rtol=1e-7)
    k = torch.arange(96, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        x_T = (1.2 * torch.sin(1.3 * k + 0.5)).reshape(2, 3, 4, 4).to(dtype)
        *_, last = algorithm2(
            Denoiser(
                lambda x, t: 0.5 * x * torch.cos(t / 300).reshape(-1, 1, 1, 1).to(x.dtype),
                Diffusion(walk),
            ),
            x_T,
            iter(()),
            ddim,
        )
        agree(last.x_t.flatten()[:8], torch.tensor(case["x0_head"]), rtol=1e-5, atol=1e-6)
        agree(last.x_t.abs().sum(), case["abs_sum"], rtol=1e-5)


# --- Inversión ------------------------------------------------------------------------------------


@pytest.mark.equation("ddim-inversion")
def test_one_step_up(linear: Schedule, agree: Callable[..., None]) -> None:
    """Se sube con el ε̂ del estado y del nivel de salida; el primero, con el del nivel más bajo."""
    walk = respace(linear, [5, 300, 999])
    seen: list[int] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return torch.sin(x) * (t[0] + 1) / 1000

    x_0 = numbers(4, seed=3)
    levels = list(ddim_inversion(Denoiser(model, Diffusion(walk, clip=False)), x_0))
    assert seen == [5, 5, 300]
    assert len(levels) == 3
    x, bar = x_0, 1.0
    for after, original, level in zip(walk.alphas_cumprod.tolist(), seen, levels, strict=True):
        noise = torch.sin(x) * (original + 1) / 1000
        x_start = (x - math.sqrt(1 - bar) * noise) / math.sqrt(bar)
        x = math.sqrt(after) * x_start + math.sqrt(1 - after) * noise
        agree(level, x, rtol=1e-9)
        bar = after


@pytest.mark.equation("ddim-inversion")
def test_inversion_finds_the_latent_of_gaussian_data(linear: Schedule) -> None:
    """El x_T exacto es el del flujo, y de ahí no se aleja: al crecer los pasos, el error baja."""
    m, v = DATA
    x_0 = torch.tensor([-0.6, 0.3, 1.0], dtype=torch.float64)
    errors, sizes = [], [37, 111, 333, 999]
    for intervals in sizes:
        walk = walk_of(linear, intervals + 1, "linspace")
        bar = walk.alphas_cumprod[-1]
        predict = Denoiser(NORMAL.model(linear), Diffusion(walk, clip=False))
        *_, x_T = ddim_inversion(predict, x_0)
        exact = bar.sqrt() * m + (bar * v + 1 - bar).sqrt() * (x_0 - m) / math.sqrt(v)
        errors.append((x_T - exact).abs().max().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 5e-3


@pytest.mark.equation("ddim-inversion", "ddim-edo")
@pytest.mark.parametrize("mixture", [NORMAL, Mixture((0.4, -0.7, 0.04), (0.6, 0.5, 0.09))])
def test_reconstruction_tends_to_the_identity(mixture: Mixture) -> None:
    """Subir y bajar, y bajar y subir: los dos errores, de primer orden."""
    probabilities = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    sizes, there, back = [80, 160, 320], [], []
    for steps in sizes:
        grid = log_snr_grid(steps, high=7.0)
        predict = Denoiser(mixture.model(grid), Diffusion(grid, clip=False))
        x_0 = mixture.quantile(1.0, probabilities)
        there.append((reconstruct(predict, x_0) - x_0).abs().max().item())
        x_T = mixture.quantile(grid.alphas_cumprod[-1].item(), probabilities)
        *_, last = algorithm2(
            Denoiser(mixture.model(grid), Diffusion(grid, clip=False)), x_T, iter(()), ddim
        )
        *_, returned = ddim_inversion(predict, last.x_t)
        back.append((returned - x_T).abs().max().item())
    assert there[-1] < 5e-2
    assert slope(sizes, there) == pytest.approx(1, abs=0.15)
    assert slope(sizes, back) == pytest.approx(1, abs=0.15)


def test_inversion_leaves_no_graph(linear: Schedule) -> None:
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    walk = walk_of(linear, 5, "linspace")
    predict = Denoiser(lambda x, t: weight * x, Diffusion(walk, clip=False))
    x_0 = numbers(2, 3, seed=5)
    assert not any(x.requires_grad for x in ddim_inversion(predict, x_0))
    assert not reconstruct(predict, x_0).requires_grad


# --- Interpolación --------------------------------------------------------------------------------


@pytest.mark.equation("ddim-slerp")
def test_slerp_walks_the_arc_at_constant_speed(agree: Callable[..., None]) -> None:
    """En el plano: de 20° a 110°, un cuarto del camino está en 42,5°, en cada muestra aparte."""
    degrees = torch.tensor([[20.0, 110.0], [-30.0, 90.0]], dtype=torch.float64)
    radians = degrees.deg2rad()
    points = torch.stack([radians.cos(), radians.sin()], dim=-1)
    for fraction in (0.0, 0.25, 0.5, 1.0):
        angle = radians[:, 0] + fraction * (radians[:, 1] - radians[:, 0])
        expected = torch.stack([angle.cos(), angle.sin()], dim=-1)
        agree(slerp(points[:, 0], points[:, 1], fraction), expected, atol=1e-12)
    each = slerp(points[:, 0], points[:, 1], torch.tensor([0.25, 1.0]))
    agree(each[0], slerp(points[:, 0], points[:, 1], 0.25)[0])
    agree(each[1], points[1, 1], atol=1e-12)


@pytest.mark.equation("ddim-slerp", "ddim-slerp-norma")
def test_slerp_keeps_the_norm_of_gaussian_noise(generator: torch.Generator) -> None:
    """‖x‖² sigue siendo una χ² de d grados: media d, varianza 2d; la mezcla lineal pierde norma."""
    count, shape = 4000, (3, 8, 8)
    size = math.prod(shape)
    a, b = (torch.randn(count, *shape, dtype=torch.float64, generator=generator) for _ in range(2))
    for fraction in (0.2, 0.5, 0.8):
        squares = slerp(a, b, fraction).flatten(1).pow(2).sum(dim=1)
        assert squares.mean().item() == pytest.approx(size, rel=5 * math.sqrt(2 / size / count))
        straight = ((1 - fraction) * a + fraction * b).flatten(1).pow(2).sum(dim=1)
        kept = (1 - fraction) ** 2 + fraction**2
        assert straight.mean().item() == pytest.approx(size * kept, rel=0.01)
    mixed = slerp(a, b, 0.5).flatten()
    assert mixed.mean().abs() < 4 / math.sqrt(mixed.numel())
    assert mixed.pow(4).mean().item() == pytest.approx(3, rel=0.02)


@pytest.mark.equation("ddim-slerp-norma")
def test_slerp_between_equal_norms_is_exact(agree: Callable[..., None]) -> None:
    a, b = (x / x.norm(dim=1, keepdim=True) for x in numbers(2, 5, 40, seed=4))
    for fraction in torch.linspace(0, 1, 7).tolist():
        agree(slerp(a, b, fraction).norm(dim=1), torch.ones(5), rtol=1e-12)


@pytest.mark.equation("ddim-slerp")
def test_slerp_between_parallel_vectors_is_linear(agree: Callable[..., None]) -> None:
    """También si, al redondear, el coseno de su ángulo pasa de 1."""
    a = numbers(500, 3, seed=6)
    agree(slerp(a, a, 0.3), a)
    agree(slerp(a, 3 * a, 0.5), 2 * a)
    agree(slerp(a, 3 * a, 0.25), 1.5 * a)
    assert slerp(a.float(), 2 * a.float(), 0.1).dtype == torch.float32


def test_slerp_refuses_what_has_no_arc() -> None:
    a = numbers(2, 3, seed=6)
    with pytest.raises(ValueError, match=r"\(2, 3\) y \(1, 3\)"):
        slerp(a, a[:1], 0.5)
    for vector in (a[0], torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"con una muestra por fila.*a\[None\]"):
            slerp(vector, vector, 0.5)
    for b in (-a, torch.zeros_like(a)):
        with pytest.raises(ValueError, match="único arco"):
            slerp(a, b, 0.5)


@pytest.mark.equation("ddim-slerp")
def test_interpolation_includes_both_ends(agree: Callable[..., None]) -> None:
    a, b = numbers(2, 4, 5, seed=8)
    path = interpolate_latents(a, b, 5)
    assert path.shape == (5, 4, 5)
    agree(path[0], a)
    agree(path[-1], b)
    agree(path[1], slerp(a, b, 0.25))
    with pytest.raises(ValueError, match="se han pedido 1"):
        interpolate_latents(a, b, 1)


# --- El registro ----------------------------------------------------------------------------------


def test_samplers_by_name(linear: Schedule) -> None:
    assert list(SAMPLERS) == ["ddpm", "ddim", "dpm++2m", "heun"]
    walk = walk_of(linear, 4, "linspace")
    predict = Denoiser(NORMAL.model(linear), Diffusion(walk, clip=False))
    x_t, z = numbers(2, 3, seed=9)
    for name, function in SAMPLERS.items():
        named = make_sampler(name)(predict, x_t, 2, iter([z]), None)
        assert torch.equal(named[0], function(predict, x_t, 2, iter([z]), None)[0])
    half = make_sampler("ddim", eta=0.5)(predict, x_t, 2, iter([z]), None)
    assert torch.equal(half[0], ddim(predict, x_t, 2, iter([z]), eta=0.5)[0])


def test_samplers_refuse_what_they_do_not_know(linear: Schedule) -> None:
    with pytest.raises(ValueError, match=r"«euler».*ddpm, ddim, dpm\+\+2m, heun"):
        make_sampler("euler")
    with pytest.raises(ValueError, match=r"«ddpm» no admite «eta».*ninguna"):
        make_sampler("ddpm", eta=0.5)
    with pytest.raises(ValueError, match=r"no admite «etta», «w».*eta, sigma_hat, final_alpha"):
        make_sampler("ddim", etta=0.5, w=1)
    for eta in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"de 0 .* a 1 .*sigma_hat=True"):
            make_sampler("ddim", eta=eta)
        with pytest.raises(ValueError, match="ha llegado"):
            ddim_sigma(linear, 3, eta)
    for final in (0.0, 1.2):
        with pytest.raises(ValueError, match="ᾱ₀"):
            ddim_sigma(linear, 0, final_alpha_cumprod=final)
