"""Los schedules contra sus fórmulas, calculadas aquí por otro camino y con más precisión."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_lit.scheduler import (
    BETAS,
    SPACINGS,
    Schedule,
    constant_betas,
    cosine_betas,
    linear_betas,
    make_schedule,
    quadratic_betas,
    rescale_zero_terminal_snr,
    respace,
    scaled_linear_betas,
    sigmoid_betas,
    spaced_indices,
)


def table(values: object) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float64))


def extended(betas: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Las betas y las ᾱ_0, ᾱ_1, …, ᾱ_T en la precisión extendida de NumPy."""
    beta = betas.numpy().astype(np.longdouble)
    return beta, np.concatenate([[np.longdouble(1)], np.cumprod(1 - beta)])


# --- Las betas de cada schedule -------------------------------------------------------------


@pytest.mark.equation("scheduler-lineal")
@pytest.mark.parametrize("timesteps", [21, 100, 1000, 4000])
def test_linear_formula(timesteps: int, agree: Callable[..., None]) -> None:
    expected = [
        1000 / timesteps * (1e-4 + t / (timesteps - 1) * (0.02 - 1e-4)) for t in range(timesteps)
    ]
    betas = linear_betas(timesteps)
    assert betas.dtype == torch.float64
    assert betas.shape == (timesteps,)
    agree(betas, table(expected))


@pytest.mark.equation("scheduler-lineal")
def test_linear_terminal_signal_of_the_paper(linear: Schedule, agree: Callable[..., None]) -> None:
    agree(linear.alphas_cumprod[-1], 4.036e-5, rtol=2e-4)
    agree(linear.sqrt_alphas_cumprod[-1], 0.00635, rtol=1e-3)


@pytest.mark.equation("scheduler-lineal")
def test_linear_rescaling_keeps_the_terminal_signal() -> None:
    """Con el factor 1000/T queda siempre muy poca señal; sin él, con pocos pasos queda mucha."""
    for timesteps in (50, 100, 200, 500, 2000, 4000):
        terminal = make_schedule("linear", timesteps).alphas_cumprod[-1]
        assert 4e-6 < terminal < 5e-5
    for timesteps, terminal in ((100, 0.364), (200, 0.132), (300, 0.048), (500, 0.0064)):
        unscaled = Schedule.from_betas(torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64))
        assert unscaled.alphas_cumprod[-1].item() == pytest.approx(terminal, rel=2e-2)
    annotated = Schedule.from_betas(torch.linspace(1e-4, 0.02, 300, dtype=torch.float64))
    assert annotated.sqrt_alphas_cumprod[-1].item() == pytest.approx(0.22, abs=0.005)


@pytest.mark.parametrize("name", ["linear", "quadratic"])
@pytest.mark.parametrize("timesteps", [1, 2, 19, 20])
def test_rescaled_schedules_refuse_twenty_steps_or_fewer(name: str, timesteps: int) -> None:
    with pytest.raises(ValueError, match=rf"no existe para T = {timesteps}.*Usa T ≥ 21"):
        make_schedule(name, timesteps)
    assert make_schedule(name, 21).betas[-1] == pytest.approx(20 / 21)


def test_constant_refuses_ten_steps() -> None:
    with pytest.raises(ValueError, match=r"constante reescalado.*Usa T ≥ 11"):
        constant_betas(10)
    assert constant_betas(11)[0] == pytest.approx(10 / 11)


def test_linear_refuses_a_descending_table_above_one() -> None:
    with pytest.raises(ValueError, match="sería 2"):
        linear_betas(10, beta_start=0.02, beta_end=1e-4)


@pytest.mark.equation("scheduler-cuadratico")
@pytest.mark.parametrize("timesteps", [100, 1000])
def test_quadratic_formula(timesteps: int, agree: Callable[..., None]) -> None:
    low, high = math.sqrt(1e-4), math.sqrt(0.02)
    expected = [
        1000 / timesteps * (low + t / (timesteps - 1) * (high - low)) ** 2 for t in range(timesteps)
    ]
    agree(quadratic_betas(timesteps), table(expected))


@pytest.mark.equation("scheduler-cuadratico")
def test_scaled_linear_formula_and_its_leftover_signal(agree: Callable[..., None]) -> None:
    low, high = math.sqrt(0.00085), math.sqrt(0.012)
    expected = [(low + t / 999 * (high - low)) ** 2 for t in range(1000)]
    agree(scaled_linear_betas(1000), table(expected))
    leftover = make_schedule("scaled_linear", 1000).sqrt_alphas_cumprod[-1]
    agree(leftover, 0.068265, rtol=1e-5)
    agree(scaled_linear_betas(100, 0.01, 0.04)[[0, -1]], table([0.01, 0.04]))


def test_constant_formula(agree: Callable[..., None]) -> None:
    agree(constant_betas(1000), torch.full((1000,), 0.01, dtype=torch.float64))
    agree(constant_betas(250, beta=0.02), torch.full((250,), 0.08, dtype=torch.float64))


@pytest.mark.equation("scheduler-coseno")
@pytest.mark.parametrize("timesteps", [10, 1000, 4000])
def test_cosine_formula(timesteps: int, agree: Callable[..., None]) -> None:
    def f(t: int) -> float:
        return math.cos((t / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2

    schedule = make_schedule("cosine", timesteps)
    expected = [f(t) / f(0) for t in range(1, timesteps)]
    agree(schedule.alphas_cumprod[:-1], table(expected), rtol=1e-10)
    assert schedule.betas[-1] == 0.999
    assert (schedule.betas == 0.999).sum() == 1


@pytest.mark.equation("scheduler-coseno")
def test_cosine_anchors_of_the_paper() -> None:
    cosine = make_schedule("cosine", 1000)
    assert cosine.alphas_cumprod[-1].item() == pytest.approx(2.4e-9, rel=2e-2)
    assert math.sqrt(cosine.betas[0]) == pytest.approx(0.0064, abs=5e-5)
    assert math.sqrt(cosine.betas[0]) < 1 / 127.5
    assert math.sqrt(cosine_betas(4000)[0]) == pytest.approx(0.0031, abs=5e-5)
    assert 1 / cosine.sqrt_alphas[-1].item() == pytest.approx(31.6, abs=0.05)


@pytest.mark.equation("scheduler-sigmoide")
@pytest.mark.parametrize(("start", "end", "tau"), [(-3.0, 3.0, 1.0), (0.0, 3.0, 0.7)])
def test_the_sigmoid_undone_is_a_straight_line(
    start: float, end: float, tau: float, agree: Callable[..., None]
) -> None:
    """Devuelto ᾱ_t a la curva, su logit recorre en línea recta de a/τ a b/τ."""
    schedule = make_schedule("sigmoid", 500, start=start, end=end, tau=tau)
    low, high = table([start / tau, end / tau]).sigmoid().tolist()
    curve = high - schedule.alphas_cumprod[:-1] * (high - low)
    line = torch.linspace(start, end, 501, dtype=torch.float64)[1:-1] / tau
    agree(curve.logit(), line, rtol=1e-9, atol=1e-9)
    assert schedule.betas[-1] == 0.999
    assert (schedule.betas == 0.999).sum() == 1


@pytest.mark.equation("scheduler-sigmoide")
def test_the_usual_sigmoid_is_a_hyperbolic_tangent(agree: Callable[..., None]) -> None:
    """Entre -b y b, ᾱ_t = (1 + tanh((1 - 2t/T) b/2τ) / tanh(b/2τ)) / 2: a mitad, un medio."""
    schedule = make_schedule("sigmoid", 1000)
    u = np.arange(1, 1000) / 1000
    expected = (1 + np.tanh(1.5 * (1 - 2 * u)) / np.tanh(1.5)) / 2
    agree(schedule.alphas_cumprod[:-1], table(expected), rtol=1e-9)
    agree(schedule.alphas_cumprod[499], 0.5)


@pytest.mark.parametrize("options", [{"start": 3.0}, {"end": -4.0}, {"tau": 0.0}])
def test_sigmoid_refuses_curves_that_do_not_fall(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="start < end y tau > 0"):
        sigmoid_betas(100, **options)


@pytest.mark.parametrize("name", list(BETAS))
@pytest.mark.parametrize("timesteps", [0, -5, 10.5, "mil"])
def test_timesteps_must_be_a_positive_integer(name: str, timesteps: object) -> None:
    with pytest.raises(ValueError, match="T debe ser un entero positivo"):
        make_schedule(name, timesteps)  # type: ignore[arg-type]


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"«lineal».*linear, scaled_linear"):
        make_schedule("lineal")
    with pytest.raises(ValueError, match=r"no admite las opciones \['tau'\]"):
        make_schedule("linear", tau=1.0)


# --- Lo que se deduce de las betas ------------------------------------------------------------


@pytest.mark.equation("scheduler-snr")
def test_derived_tables(schedule: Schedule, agree: Callable[..., None]) -> None:
    beta, bars = extended(schedule.betas)
    bar, prev = bars[1:], bars[:-1]
    expected = {
        "alphas": 1 - beta,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": prev,
        "sqrt_alphas": np.sqrt(1 - beta),
        "sqrt_betas": np.sqrt(beta),
        "sqrt_alphas_cumprod": np.sqrt(bar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - bar),
        "sqrt_recip_alphas_cumprod": 1 / np.sqrt(bar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt((1 - bar) / bar),
        "snr": 1 / (1 / bar - 1),
        "log_snr": np.log(bar) - np.log1p(-bar),
    }
    for name, values in expected.items():
        agree(getattr(schedule, name), table(values), rtol=2e-11, atol=1e-12)


@pytest.mark.equation("posterior-media", "posterior-varianza")
def test_posterior_tables_by_sum_of_precisions(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """Bayes con normales: las precisiones se suman, 1/β̃ = α/β + 1/(1 - ᾱ_{t-1})."""
    beta, bars = extended(schedule.betas)
    beta, prev = beta[1:], bars[1:-1]
    variance = 1 / ((1 - beta) / beta + 1 / (1 - prev))
    agree(schedule.posterior_variance[1:], table(variance), rtol=1e-10)
    agree(schedule.posterior_log_variance_clipped[1:], table(np.log(variance)), rtol=1e-10)
    agree(
        schedule.posterior_mean_coef1[1:], table(variance * np.sqrt(prev) / (1 - prev)), rtol=1e-10
    )
    agree(schedule.posterior_mean_coef2[1:], table(variance * np.sqrt(1 - beta) / beta), rtol=1e-10)


@pytest.mark.equation("posterior-varianza")
def test_index_zero_is_the_first_step_of_the_paper(schedule: Schedule) -> None:
    assert schedule.alphas_cumprod_prev[0] == 1
    assert schedule.alphas_cumprod[0] == 1 - schedule.betas[0]
    assert schedule.posterior_variance[0] == 0
    assert schedule.posterior_mean_coef1[0] == pytest.approx(1, rel=1e-10)
    assert schedule.posterior_mean_coef2[0] == 0
    clipped = schedule.posterior_log_variance_clipped
    assert clipped[0] == clipped[1] == schedule.posterior_variance[1].log()


def test_linear_log_variance_at_the_first_index(linear: Schedule) -> None:
    assert linear.posterior_log_variance_clipped[0].item() == pytest.approx(-9.8167, abs=5e-5)


def test_signal_to_noise_ratio_only_falls(schedule: Schedule) -> None:
    assert (schedule.snr.diff() < 0).all()
    assert (schedule.log_snr.diff() < 0).all()
    half = (schedule.alphas_cumprod - 0.5).abs().argmin()
    assert schedule.log_snr[half].abs() < 0.02


def test_a_schedule_of_one_step() -> None:
    one = Schedule.from_betas([0.3])
    assert len(one) == 1
    assert one.posterior_log_variance_clipped.tolist() == pytest.approx([math.log(0.3)])


def test_from_alphas_cumprod_is_the_inverse(schedule: Schedule, agree: Callable[..., None]) -> None:
    again = Schedule.from_alphas_cumprod(schedule.alphas_cumprod)
    agree(again.betas, schedule.betas, rtol=1e-9)
    agree(again.alphas_cumprod, schedule.alphas_cumprod, rtol=1e-11)
    assert torch.equal(again.timesteps, torch.arange(1000))


@pytest.mark.parametrize(
    "values", [[1.0, 0.5], [0.5, 0.6], [0.5, 0.5], [0.5, -0.1], [math.nan, 0.1], [[0.9, 0.5]]]
)
def test_from_alphas_cumprod_refuses_tables_that_do_not_fall(values: list[float]) -> None:
    with pytest.raises(ValueError, match="estrictamente decreciente"):
        Schedule.from_alphas_cumprod(values)


@pytest.mark.parametrize(
    "values", [[0.0, 0.1], [-0.1], [0.1, 1.5], [0.1, math.nan], [1.0, 0.1], [math.inf]]
)
def test_betas_must_be_variances(values: list[float]) -> None:
    with pytest.raises(ValueError, match="0 < β < 1"):
        Schedule.from_betas(values)


@pytest.mark.parametrize("values", [[], [[0.1, 0.2]]])
def test_betas_must_be_a_table(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"tabla \(T,\)"):
        Schedule.from_betas(values)


def test_original_timesteps_go_with_the_betas() -> None:
    betas = torch.tensor([0.1, 0.2])
    with pytest.raises(ValueError, match="uno por beta"):
        Schedule(betas, torch.arange(3))
    for timesteps in ([5, 5], [5, 3]):
        with pytest.raises(ValueError, match="estrictamente crecientes"):
            Schedule(betas, torch.tensor(timesteps))


def test_a_schedule_cannot_be_changed(linear: Schedule) -> None:
    with pytest.raises(FrozenInstanceError):
        linear.betas = torch.ones(3)  # type: ignore[misc]


def test_tables_are_constants_of_float64_out_of_autograd() -> None:
    betas = torch.tensor([0.1, 0.2], requires_grad=True)
    schedule = Schedule.from_betas(betas)
    assert schedule.betas.dtype == torch.float64
    assert not schedule.betas.requires_grad


# --- Las entradas de un lote ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 8, 8)])
def test_at_gathers_casts_and_reshapes(
    linear: Schedule, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    t = torch.tensor([999, 0, 7])
    values = linear.at("sqrt_alphas_cumprod", t, torch.empty(shape, dtype=dtype))
    assert values.dtype == dtype
    assert values.shape == (3, *[1] * (len(shape) - 1))
    assert torch.equal(values.flatten(), linear.sqrt_alphas_cumprod[t].to(dtype))


def test_at_refuses_what_is_not_an_index(linear: Schedule) -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(TypeError, match="índices enteros"):
        linear.at("betas", torch.tensor([0.0, 1.0]), x)
    with pytest.raises(ValueError, match=r"forma \(B,\)"):
        linear.at("betas", torch.tensor(3), x)
    for t in ([-1, 3], [3, 1000]):
        with pytest.raises(ValueError, match=r"entre 0 y 999.*el índice 0 es el t = 1"):
            linear.at("betas", torch.tensor(t), x)
    with pytest.raises(TypeError, match="coma flotante"):
        linear.at("betas", torch.tensor([0, 1]), x.to(torch.uint8))


def test_descending_goes_from_the_last_index_to_zero(short: Schedule) -> None:
    batches = list(short.descending(3, "cpu"))
    assert [batch.tolist() for batch in batches] == [[t] * 3 for t in range(49, -1, -1)]
    assert batches[0].dtype == torch.int64


def test_tables_made_while_sampling_can_be_used_to_train() -> None:
    """Lo que se guarda dentro de `inference_mode` no estropea un entrenamiento posterior."""
    schedule = make_schedule("linear", 100)
    t = torch.tensor([3])
    with torch.inference_mode():
        schedule.at("sqrt_alphas_cumprod", t, torch.ones(1, dtype=torch.float64))
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (x * schedule.at("sqrt_alphas_cumprod", t, x)).sum().backward()
    assert torch.equal(x.grad, schedule.sqrt_alphas_cumprod[t])


# --- Señal terminal nula -----------------------------------------------------------------------


@pytest.mark.equation("scheduler-terminal")
def test_zero_terminal_snr_formula(schedule: Schedule, agree: Callable[..., None]) -> None:
    rescaled = rescale_zero_terminal_snr(schedule)
    _, bars = extended(schedule.betas)
    root = np.sqrt(bars[1:])
    expected = (root - root[-1]) * root[0] / (root[0] - root[-1])
    agree(rescaled.sqrt_alphas_cumprod, table(expected), rtol=1e-10)
    agree(rescaled.alphas_cumprod[0], schedule.alphas_cumprod[0])
    assert rescaled.alphas_cumprod[-1] == 0
    assert rescaled.snr[-1] == 0
    assert rescaled.log_snr[-1] == -math.inf
    assert rescaled.betas[-1] == 1
    assert rescaled.zero_terminal_snr
    assert not schedule.zero_terminal_snr
    assert torch.equal(rescaled.timesteps, schedule.timesteps)


@pytest.mark.equation("scheduler-terminal")
def test_zero_terminal_snr_again_changes_nothing(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    once = rescale_zero_terminal_snr(linear)
    agree(rescale_zero_terminal_snr(once).betas, once.betas, rtol=1e-9)
    named = make_schedule("linear", 1000, zero_terminal_snr=True)
    assert torch.equal(named.betas, once.betas)
    assert not make_schedule("linear", zero_terminal_snr=False).zero_terminal_snr


def test_zero_terminal_snr_needs_two_steps() -> None:
    with pytest.raises(ValueError, match="Usa T ≥ 2"):
        rescale_zero_terminal_snr(Schedule.from_betas([0.3]))


# --- Subsucesiones -------------------------------------------------------------------------------


@pytest.mark.equation("scheduler-reespaciado")
@pytest.mark.parametrize("spacing", SPACINGS)
def test_respacing_keeps_the_signal(
    schedule: Schedule, spacing: str, agree: Callable[..., None]
) -> None:
    indices = spaced_indices(1000, 37, spacing)
    respaced = respace(schedule, indices)
    _, bars = extended(schedule.betas)
    bar = bars[1:][indices.numpy()]
    agree(respaced.alphas_cumprod, schedule.alphas_cumprod[indices], rtol=1e-9)
    agree(respaced.betas, table(1 - bar / np.concatenate([[1], bar[:-1]])), rtol=1e-9)
    assert torch.equal(respaced.timesteps, indices)
    assert len(respaced) == 37


@pytest.mark.equation("scheduler-reespaciado")
def test_respacing_twice_remembers_the_first_indices(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    agree(respace(linear, range(1000)).betas, linear.betas, rtol=1e-9)
    twice = respace(respace(linear, [0, 10, 400, 999]), [1, 3])
    assert twice.timesteps.tolist() == [10, 999]
    agree(twice.alphas_cumprod, linear.alphas_cumprod[[10, 999]], rtol=1e-11)


@pytest.mark.parametrize("indices", [[3, 2], [3, 3], [-1, 4], [0, 1000], [], [[1, 2]]])
def test_respacing_refuses_indices_that_do_not_grow(linear: Schedule, indices: list[int]) -> None:
    with pytest.raises(ValueError, match=r"estrictamente crecientes y estar entre 0 y 999"):
        respace(linear, indices)


@pytest.mark.parametrize(
    ("spacing", "steps", "expected"),
    [
        ("leading", 10, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
        ("trailing", 10, [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]),
        ("linspace", 10, [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]),
        ("leading", 5, [0, 200, 400, 600, 800]),
        ("leading", 3, [0, 333, 666]),
        ("trailing", 3, [332, 666, 999]),
        ("linspace", 4, [0, 333, 666, 999]),
        ("linspace", 1, [999]),
        ("trailing", 1, [999]),
        ("leading", 1, [0]),
    ],
)
def test_spacing_tables(spacing: str, steps: int, expected: list[int]) -> None:
    indices = spaced_indices(1000, steps, spacing)
    assert indices.tolist() == expected
    assert indices.dtype == torch.int64


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("timesteps", [7, 100, 1000])
def test_spaced_indices_always_grow(spacing: str, timesteps: int) -> None:
    for steps in range(1, timesteps + 1):
        indices = spaced_indices(timesteps, steps, spacing)
        assert len(indices) == steps
        assert (indices.diff() > 0).all()
        assert indices[0] >= 0
        assert indices[-1] <= timesteps - 1
        if spacing == "trailing":
            assert indices[-1] == timesteps - 1
    assert torch.equal(spaced_indices(timesteps, timesteps, spacing), torch.arange(timesteps))


@pytest.mark.parametrize("steps", [0, 1001, -3])
def test_spaced_indices_refuses_too_many_steps(steps: int) -> None:
    with pytest.raises(ValueError, match="pide entre 1 y 1000"):
        spaced_indices(1000, steps)


def test_spaced_indices_refuses_unknown_spacings() -> None:
    with pytest.raises(ValueError, match=r"«quad».*linspace, leading, trailing"):
        spaced_indices(1000, 10, "quad")
