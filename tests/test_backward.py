"""El paso atrás: conversiones entre predicciones, la media de la ecuación 11 y el Algoritmo 2 sobre
datos normales, donde todo tiene forma cerrada."""

import itertools
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, p_mean_variance, split_output, to_score
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.parametrisation import PARAMETRISATIONS, Epsilon, XStart, convert, to_epsilon
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import (
    Schedule,
    make_schedule,
    rescale_zero_terminal_snr,
    respace,
    spaced_indices,
)
from ddpm_lit.variance import VARIANCES, FixedLarge

FIXED = [name for name, variance in VARIANCES.items() if not variance.learned]


def batch(schedule: Schedule, shape: tuple[int, ...] = (3,)) -> tuple[Tensor, ...]:
    """Un x_0, un ruido y su x_t para cada índice del schedule, en float64."""
    generator = torch.Generator().manual_seed(7)
    size = (len(schedule), *shape)
    x_start = 2 * torch.rand(size, dtype=torch.float64, generator=generator) - 1
    noise = torch.randn(size, dtype=torch.float64, generator=generator)
    t = torch.arange(len(schedule))
    return x_start, noise, q_sample(schedule, x_start, t, noise), t


def table(values: Tensor) -> Tensor:
    return values.reshape(-1, 1)


def training_target(
    schedule: Schedule, prediction: str, x_start: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    return PARAMETRISATIONS[prediction].target(schedule, x_start, noise, t)


def to_x_start(
    schedule: Schedule, prediction: str, output: Tensor, x_t: Tensor, t: Tensor
) -> Tensor:
    return PARAMETRISATIONS[prediction].x_start(schedule, output, x_t, t)


# --- Las cuatro predicciones -------------------------------------------------------------------


@pytest.mark.equation("backward-v", "backward-x0", "posterior-media")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_what_the_network_should_say(
    schedule: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """El objetivo del entrenamiento, por su definición, y lo que se deduce de x_0 y x_t."""
    x_start, noise, x_t, t = batch(schedule)
    bar = table(schedule.alphas_cumprod)
    expected = {
        "epsilon": noise,
        "x_start": x_start,
        "v": bar.sqrt() * noise - (1 - bar).sqrt() * x_start,
        "posterior_mean": q_posterior(schedule, x_start, x_t, t).mean,
    }[prediction]
    scale = 1 / (1 - schedule.alphas_cumprod[0]).sqrt().item()
    agree(training_target(schedule, prediction, x_start, noise, t), expected)
    from_x_start = training_target(
        schedule, prediction, x_start, to_epsilon(schedule, x_start, x_t, t), t
    )
    agree(from_x_start, expected, rtol=0, atol=1e-15 * scale)
    recovered = to_x_start(schedule, prediction, expected, x_t, t)
    agree(recovered, x_start, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(PARAMETRISATIONS, repeat=2)))
def test_the_sixteen_conversions(
    schedule: Schedule, source: str, target: str, agree: Callable[..., None]
) -> None:
    """Ir y volver no pierde nada, con salidas cualesquiera, no solo con las verdaderas."""
    x_start, noise, x_t, t = batch(schedule)
    output = noise.flip(0) * 0.8 + 0.1
    translated = convert(schedule, output, x_t, t, source, target)
    back = convert(schedule, translated, x_t, t, target, source)
    agree(back, output, rtol=1e-10, atol=1e-10)
    truth = training_target(schedule, source, x_start, noise, t)
    expected = training_target(schedule, target, x_start, noise, t)
    agree(convert(schedule, truth, x_t, t, source, target), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("backward-x0", "backward-v")
def test_closed_forms_of_x_start(schedule: Schedule, agree: Callable[..., None]) -> None:
    """Las ecuaciones como se escriben en el papel, sobre salidas cualesquiera."""
    _, output, _, t = batch(schedule)
    x_t = output.flip(0)
    bar = table(schedule.alphas_cumprod)
    agree(
        to_x_start(schedule, "epsilon", output, x_t, t),
        (x_t - (1 - bar).sqrt() * output) / bar.sqrt(),
        rtol=1e-10,
        atol=1e-10,
    )
    agree(
        to_x_start(schedule, "v", output, x_t, t),
        bar.sqrt() * x_t - (1 - bar).sqrt() * output,
    )
    assert to_x_start(schedule, "x_start", output, x_t, t) is output
    agree(
        to_epsilon(schedule, output, x_t, t),
        (x_t - bar.sqrt() * output) / (1 - bar).sqrt(),
    )


@pytest.mark.equation("backward-v")
def test_v_is_a_rotation(schedule: Schedule, agree: Callable[..., None]) -> None:
    """(x_t, v) es (x_0, ε) girado un ángulo φ con cos φ = √ᾱ: las longitudes se conservan."""
    x_start, noise, x_t, t = batch(schedule)
    v = training_target(schedule, "v", x_start, noise, t)
    agree(x_t**2 + v**2, x_start**2 + noise**2, rtol=1e-10)
    agree(
        x_t * v,
        (noise**2 - x_start**2)
        * table(schedule.sqrt_alphas_cumprod)
        * table(schedule.sqrt_one_minus_alphas_cumprod)
        + x_start * noise * table(2 * schedule.alphas_cumprod - 1),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.equation("backward-v")
def test_turning_back_gives_the_data_and_the_noise(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """De (x_t, v) se vuelve a (x_0, ε) con el giro contrario, sin dividir entre nada."""
    x_start, noise, x_t, t = batch(schedule)
    velocity = PARAMETRISATIONS["v"]
    v = velocity.target(schedule, x_start, noise, t)
    agree(velocity.x_start(schedule, v, x_t, t), x_start, rtol=0, atol=1e-12)
    agree(velocity.epsilon(schedule, v, x_t, t), noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", ["x_start", "v", "posterior_mean"])
def test_zero_terminal_snr_leaves_three_predictions(
    linear: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    rescaled = rescale_zero_terminal_snr(linear)
    x_start, noise, x_t, t = batch(rescaled)
    output = training_target(rescaled, prediction, x_start, noise, t)
    step = p_mean_variance(Diffusion(rescaled, prediction), output, x_t, t)
    assert all(value.isfinite().all() for value in (step.mean, step.x_start, step.epsilon))
    agree(step.x_start, x_start, rtol=0, atol=1e-9)
    agree(step.epsilon, noise, rtol=0, atol=1e-9)


def test_epsilon_with_zero_terminal_snr_is_refused(linear: Schedule) -> None:
    rescaled = rescale_zero_terminal_snr(linear)
    with pytest.raises(ValueError, match=r"señal terminal nula.*t = 1000.*«v» o «x_start»"):
        Diffusion(rescaled)
    for change in ({"prediction": Epsilon()}, {"prediction": "epsilon"}):
        with pytest.raises(ValueError, match="señal terminal nula"):
            replace(Diffusion(rescaled, "v"), **change)
    with pytest.raises(ValueError, match="señal terminal nula"):
        replace(Diffusion(linear), schedule=rescaled)


def test_with_zero_terminal_snr_the_noise_is_still_known(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """De v, x_0 o μ̃ a ε se puede ir aunque no quede señal: lo imposible es volver."""
    rescaled = rescale_zero_terminal_snr(linear)
    x_start, noise, x_t, t = batch(rescaled)
    for prediction in ("x_start", "v", "posterior_mean"):
        output = training_target(rescaled, prediction, x_start, noise, t)
        translated = convert(rescaled, output, x_t, t, prediction, "epsilon")
        agree(translated, noise, rtol=0, atol=1e-9)


def test_unknown_names_and_wrong_shapes_are_refused(linear: Schedule) -> None:
    _, noise, x_t, t = batch(linear)
    for call in (
        lambda: Diffusion(linear, "ruido"),
        lambda: replace(Diffusion(linear), prediction="ruido"),
        lambda: convert(linear, noise, x_t, t, "ruido", "ruido"),
        lambda: convert(linear, noise, x_t, t, "v", "ruido"),
    ):
        with pytest.raises(ValueError, match=r"«ruido».*epsilon, x_start, v, posterior_mean"):
            call()
    with pytest.raises(ValueError, match=r"«ruido».*fixed_small, fixed_large, learned"):
        Diffusion(linear, variance="ruido")
    for clip in ("sí", 1, None):
        with pytest.raises(TypeError, match=r"clip es .* y debe ser True, False o una función"):
            Diffusion(linear, clip=clip)
    with pytest.raises(ValueError, match=r"\(1000, 6\) y x_t tiene \(1000, 3\)"):
        p_mean_variance(Diffusion(linear), noise.repeat(1, 2), x_t, t)
    with pytest.raises(ValueError, match=r"output"):
        convert(linear, noise[:, :2], x_t, t, "v", "epsilon")


def test_an_output_that_is_no_tensor_is_refused(linear: Schedule) -> None:
    """Hay redes que devuelven el tensor dentro de otra cosa: se dice cómo sacarlo."""
    x_t = torch.zeros(2, 3)
    for output in ((x_t,), {"sample": x_t}, None):
        kind = type(output).__name__
        for variance in VARIANCES.values():
            with pytest.raises(TypeError, match=rf"ha devuelto un {kind} .*\.sample"):
                split_output(variance, output, x_t)
        with pytest.raises(TypeError, match="debe devolver un tensor"):
            Denoiser(lambda x, t, output=output: output, Diffusion(linear))(x_t, 3)


# --- El proceso, en un solo valor ----------------------------------------------------------------


@pytest.mark.equation("backward-x0", "backward-v", "posterior-media")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_the_slope_is_the_derivative_of_the_output(
    schedule: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """d respuesta/d x_0 con x_t fijo, por diferenciación automática; al cuadrado, el factor que
    convierte el error de x̂_0 en el de la respuesta."""
    x_start, noise, x_t, t = batch(schedule)
    row = PARAMETRISATIONS[prediction]
    slope = row.slope(schedule)
    assert (slope.dtype, slope.shape) == (torch.float64, (1000,))

    def answer(x: Tensor) -> Tensor:
        return row.target(schedule, x, to_epsilon(schedule, x, x_t, t), t)

    leaf = x_start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(answer(leaf).sum(), leaf)
    agree(gradient, table(slope).expand_as(gradient), rtol=1e-8)
    error = 0.3 * noise.flip(0)
    paid = (answer(x_start + error) - answer(x_start)).square().mean(dim=1)
    agree(paid, slope**2 * error.square().mean(dim=1), rtol=1e-6)


def test_a_diffusion_is_a_frozen_product(linear: Schedule) -> None:
    diffusion = Diffusion(linear)
    assert diffusion.prediction is PARAMETRISATIONS["epsilon"]
    assert diffusion.variance is VARIANCES["fixed_small"]
    assert diffusion.clip is True
    assert Diffusion(linear, XStart(), FixedLarge()).variance.name == "fixed_large"
    with pytest.raises(FrozenInstanceError):
        diffusion.clip = False  # type: ignore[misc]
    other = replace(diffusion, prediction="v")
    assert (other.prediction.name, other.variance, other.schedule) == (
        "v",
        diffusion.variance,
        linear,
    )
    x = torch.tensor([-2.0, 0.5, 3.0])
    assert diffusion.clipped(x).tolist() == [-1, 0.5, 1]
    assert replace(diffusion, clip=False).clipped(x) is x
    assert replace(diffusion, clip=lambda value: value / 2).clipped(x).tolist() == [-1, 0.25, 1.5]


def test_a_diffusion_in_fewer_steps(linear: Schedule) -> None:
    diffusion = Diffusion(linear, "v", "fixed_large", clip=False)
    assert diffusion.respaced(None) is diffusion
    short = diffusion.respaced(7, "trailing")
    assert short.schedule.timesteps.tolist() == spaced_indices(1000, 7, "trailing").tolist()
    first = diffusion.first(3)
    assert first.schedule.timesteps.tolist() == [0, 1, 2]
    torch.testing.assert_close(first.schedule.betas, linear.betas[:3], rtol=1e-9, atol=0)
    for other in (short, first):
        assert other.prediction is diffusion.prediction
        assert other.variance is diffusion.variance
        assert other.clip is False
    with pytest.raises(ValueError, match="1001"):
        diffusion.respaced(1001)


def test_the_denoiser_is_the_network_with_its_process(linear: Schedule) -> None:
    """La red recibe el índice original y la condición; lo que sale es el paso atrás."""
    diffusion = Diffusion(linear, "v").respaced(5)
    seen = []

    def model(x: Tensor, t: Tensor, shift: Tensor) -> Tensor:
        seen.append(t.tolist())
        return torch.sin(x) + shift

    shift = torch.tensor([[0.1], [-0.4]])
    denoise = Denoiser(model, diffusion, {"shift": shift})
    assert denoise.schedule is diffusion.schedule
    x_t = torch.linspace(-2, 2, 6).reshape(2, 3)
    for index in (4, 2, 0):
        t = torch.full((2,), index)
        expected = p_mean_variance(diffusion, torch.sin(x_t) + shift, x_t, t)
        for one, other in zip(denoise(x_t, index), expected, strict=True):
            assert torch.equal(one, other)
    assert seen == [[int(diffusion.schedule.timesteps[index])] * 2 for index in (4, 2, 0)]
    plain = Denoiser(lambda x, t: torch.sin(x), diffusion)
    assert torch.isfinite(plain(x_t, 1).mean).all()


# --- El paso completo -------------------------------------------------------------------------


@pytest.mark.equation("backward-paso", "backward-media-epsilon")
def test_the_mean_is_equation_eleven(schedule: Schedule, agree: Callable[..., None]) -> None:
    """Sin recorte, pasar por x̂_0 y por el posterior es la resta del Algoritmo 2."""
    _, noise, x_t, t = batch(schedule)
    output = noise.flip(0)
    step = p_mean_variance(Diffusion(schedule, clip=False), output, x_t, t)
    beta, bar = table(schedule.betas), table(schedule.alphas_cumprod)
    expected = (x_t - beta / (1 - bar).sqrt() * output) / (1 - beta).sqrt()
    agree(step.mean, expected, rtol=1e-9, atol=1e-10)
    agree(step.epsilon, output, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("backward-media-epsilon")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_every_prediction_gives_the_same_step(
    schedule: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    x_start, noise, x_t, t = batch(schedule)
    output = training_target(schedule, prediction, x_start, noise, t)
    step = p_mean_variance(Diffusion(schedule, prediction, clip=False), output, x_t, t)
    agree(step.mean, q_posterior(schedule, x_start, x_t, t).mean, rtol=0, atol=1e-10)
    agree(step.x_start, x_start, rtol=0, atol=1e-10)
    agree(step.epsilon, noise, rtol=0, atol=1e-9)


@pytest.mark.equation("backward-coeficiente-epsilon", "backward-x0")
@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_only_epsilon_makes_errors_grow(
    schedule: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """Un error de 1 en la salida: con v y con x_0 nada crece; con ε, lo que dice la ecuación 11."""
    x_start, noise, x_t, t = batch(schedule)
    diffusion = Diffusion(schedule, prediction, clip=False)
    output = diffusion.prediction.target(schedule, x_start, noise, t)
    right, wrong = (p_mean_variance(diffusion, output + error, x_t, t) for error in (0, 1))
    estimate, mean = (wrong.x_start - right.x_start).abs(), (wrong.mean - right.mean).abs()
    if prediction == "epsilon":
        beta, bar = table(schedule.betas), table(schedule.alphas_cumprod)
        agree(estimate, ((1 - bar) / bar).sqrt().expand_as(estimate), rtol=1e-9)
        growth = beta / ((1 - beta) * (1 - bar)).sqrt()
        agree(mean, growth.expand_as(mean), rtol=0, atol=1e-9)
    else:
        assert estimate.max() < 1 + 1e-9
        assert mean.max() < 1 + 1e-9


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_clipping_and_the_noise_derived_again(
    schedule: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """Tras recortar x̂_0, la media y ε̂ cuentan la misma historia: x_t = √ᾱ x̂_0 + √(1-ᾱ) ε̂."""
    _, noise, x_t, t = batch(schedule)
    output = 3 * noise.flip(0)
    raw = to_x_start(schedule, prediction, output, x_t, t)
    step = p_mean_variance(Diffusion(schedule, prediction), output, x_t, t)
    assert (raw.abs() > 1).any()
    assert torch.equal(step.x_start, raw.clamp(-1, 1))
    agree(q_sample(schedule, step.x_start, t, step.epsilon), x_t, rtol=0, atol=1e-12)
    agree(step.mean, q_posterior(schedule, step.x_start, x_t, t).mean)


def test_a_predicted_mean_is_not_clipped(linear: Schedule) -> None:
    _, noise, x_t, t = batch(linear)
    output = 3 * noise.flip(0)
    step = p_mean_variance(Diffusion(linear, "posterior_mean"), output, x_t, t)
    assert torch.equal(step.mean, output)
    assert step.x_start.abs().max() == 1
    raw = to_x_start(linear, "posterior_mean", output, x_t, t)
    assert torch.equal(step.x_start, raw.clamp(-1, 1))


def test_clip_can_be_a_function(linear: Schedule) -> None:
    _, noise, x_t, t = batch(linear)
    halving = Diffusion(linear, "x_start", clip=lambda x: x / 2)
    halved = p_mean_variance(halving, noise, x_t, t)
    assert torch.equal(halved.x_start, noise / 2)
    untouched = p_mean_variance(replace(halving, clip=False), noise, x_t, t)
    assert torch.equal(untouched.x_start, noise)


def test_any_shape_and_precision(linear: Schedule) -> None:
    for shape in ((), (2,), (1, 28), (3, 8, 8)):
        x_start, noise, x_t, t = (value[::111] for value in batch(linear, shape))
        exact = p_mean_variance(Diffusion(linear), noise, x_t, t)
        rounded = p_mean_variance(Diffusion(linear), noise.float(), x_t.float(), t)
        assert exact.mean.shape == x_start.shape
        assert exact.variance.shape == (len(t), *[1] * len(shape))
        for one, other in zip(exact, rounded, strict=True):
            assert other.dtype == torch.float32
            torch.testing.assert_close(other.double(), one, rtol=1e-4, atol=1e-4)


@pytest.mark.equation("backward-sigma")
def test_fixed_variances(schedule: Schedule, agree: Callable[..., None]) -> None:
    t = torch.arange(1000)
    like = torch.empty(1000, dtype=torch.float64)
    beta = schedule.betas
    bar = schedule.alphas_cumprod
    small, log_small = VARIANCES["fixed_small"](schedule, t, like)
    large, log_large = VARIANCES["fixed_large"](schedule, t, like)
    agree(small[1:], beta[1:] * (1 - bar[:-1]) / (1 - bar[1:]))
    assert small[0] == 0
    agree(large, beta)
    agree(log_small[1:], small[1:].log())
    agree(log_large[1:], beta[1:].log())
    assert log_small[0] == log_large[0] == small[1].log()
    assert (small < large).all()
    image = torch.empty(1000, 3, 8, 8)
    assert VARIANCES["fixed_large"](schedule, t, image)[1].shape == (1000, 1, 1, 1)


# --- Datos normales: el óptimo es lineal y todo se sabe ------------------------------------------


def optimal_epsilon(schedule: Schedule, x_t: Tensor, t: Tensor, mean: float, var: float) -> Tensor:
    """E[ε | x_t] cuando x_0 ~ N(mean, var), por regresión lineal exacta."""
    bar = schedule.alphas_cumprod[t]
    return (1 - bar).sqrt() * (x_t - bar.sqrt() * mean) / (bar * var + 1 - bar)


def reverse_marginals(
    schedule: Schedule,
    data: tuple[float, float],
    start: tuple[float, float],
    variance: str,
    prediction: str = "epsilon",
) -> tuple[Tensor, Tensor]:
    """Media y varianza de x_{T-1}, …, x_0 en el Algoritmo 2, sin sacar ni una muestra.

    El paso atrás es afín en x_t: evaluado en 0 y en 1 se conoce entero.
    """
    diffusion = Diffusion(schedule, prediction, variance, clip=False)
    t = torch.arange(len(schedule)).flip(0)
    ends = []
    for value in (0.0, 1.0):
        x_t = torch.full(t.shape, value, dtype=torch.float64)
        epsilon = optimal_epsilon(schedule, x_t, t, *data)
        output = convert(schedule, epsilon, x_t, t, "epsilon", prediction)
        step = p_mean_variance(diffusion, output, x_t, t)
        ends.append(step.mean)
    added = torch.where(t > 0, step.variance, 0.0)
    intercepts, slopes = ends[0], ends[1] - ends[0]
    mean, var = (torch.tensor(value, dtype=torch.float64) for value in start)
    means, variances = [], []
    for intercept, slope, noise in zip(intercepts, slopes, added, strict=True):
        mean, var = intercept + slope * mean, slope**2 * var + noise
        means.append(mean)
        variances.append(var)
    return torch.stack(means), torch.stack(variances)


def analytic_marginals(
    schedule: Schedule, data: tuple[float, float], start: tuple[float, float], variance: str
) -> tuple[Tensor, Tensor]:
    """Lo mismo con la ecuación 11 escrita a mano, solo a partir de las betas."""
    betas = schedule.betas.tolist()
    bars = [1.0]
    for beta in betas:
        bars.append(bars[-1] * (1 - beta))
    data_mean, data_var = data
    mean, var = start
    means, variances = [], []
    for beta, bar, prev in zip(betas[::-1], bars[:0:-1], bars[-2::-1], strict=True):
        gain = beta / (bar * data_var + 1 - bar)
        slope = (1 - gain) / math.sqrt(1 - beta)
        intercept = gain * math.sqrt(bar) * data_mean / math.sqrt(1 - beta)
        sigma2 = beta if variance == "fixed_large" else beta * (1 - prev) / (1 - bar)
        mean, var = intercept + slope * mean, slope**2 * var + (sigma2 if prev < 1 else 0)
        means.append(mean)
        variances.append(var)
    return torch.tensor([means, variances], dtype=torch.float64).unbind()


@pytest.mark.equation("backward-paso", "backward-media-epsilon", "backward-sigma")
@pytest.mark.parametrize("variance", FIXED)
@pytest.mark.parametrize("data", [(0.0, 1.0), (0.3, 0.04), (-0.5, 0.25), (0.2, 4.0)])
def test_gaussian_marginals(
    schedule: Schedule, variance: str, data: tuple[float, float], agree: Callable[..., None]
) -> None:
    means, variances = reverse_marginals(schedule, data, (0.0, 1.0), variance)
    expected = analytic_marginals(schedule, data, (0.0, 1.0), variance)
    agree(means, expected[0], rtol=1e-9, atol=1e-9)
    agree(variances, expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.equation("backward-paso", "backward-media-epsilon")
@pytest.mark.parametrize("variance", FIXED)
@pytest.mark.parametrize("data", [(0.3, 0.25), (-0.5, 0.49)])
def test_thousand_steps_recover_the_data(variance: str, data: tuple[float, float]) -> None:
    """Con T = 1000 la normal que sale es casi la de los datos; con 20 pasos, peor."""
    linear = make_schedule("linear", 1000)
    errors = []
    for schedule in (linear, respace(linear, spaced_indices(1000, 20))):
        means, variances = reverse_marginals(schedule, data, (0.0, 1.0), variance)
        errors.append(abs(variances[-1].item() / data[1] - 1))
        assert means[-1].item() == pytest.approx(data[0], abs=0.02)
    assert errors[0] < 0.02
    assert errors[1] > 5 * errors[0]


@pytest.mark.parametrize("prediction", ["x_start", "v", "posterior_mean"])
def test_gaussian_marginals_do_not_depend_on_the_prediction(
    short: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    data, start = (0.3, 0.09), (0.0, 1.0)
    reference = reverse_marginals(short, data, start, "fixed_small")
    other = reverse_marginals(short, data, start, "fixed_small", prediction)
    agree(torch.stack(other), torch.stack(reference), rtol=1e-9, atol=1e-10)


@pytest.mark.equation("backward-sigma")
def test_the_large_variance_is_exact_on_standard_normal_data(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """Con datos N(0, I) cada x_t es N(0, I); el último paso, sin ruido, deja 1 - β_1."""
    means, variances = reverse_marginals(schedule, (0.0, 1.0), (0.0, 1.0), "fixed_large")
    agree(means, torch.zeros(1000), atol=1e-12)
    agree(variances[:-1], torch.ones(999), rtol=1e-10)
    agree(variances[-1], 1 - schedule.betas[0], rtol=1e-10)
    _, narrower = reverse_marginals(schedule, (0.0, 1.0), (0.0, 1.0), "fixed_small")
    assert narrower[-2] < 1


@pytest.mark.equation("backward-sigma")
def test_the_small_variance_is_exact_on_a_single_point(
    schedule: Schedule, agree: Callable[..., None]
) -> None:
    """Con un solo dato, y saliendo de q(x_T|x_0), se pasa por todos los q(x_t|x_0)."""
    point = 0.7
    bar = schedule.alphas_cumprod
    start = (bar[-1].sqrt().item() * point, 1 - bar[-1].item())
    means, variances = reverse_marginals(schedule, (point, 0.0), start, "fixed_small")
    agree(means[:-1], bar[:-1].flip(0).sqrt() * point, rtol=1e-8)
    agree(variances[:-1], 1 - bar[:-1].flip(0), rtol=1e-8)
    assert means[-1].item() == pytest.approx(point, rel=1e-9)
    assert variances[-1].item() == pytest.approx(0, abs=1e-12)
    _, wider = reverse_marginals(schedule, (point, 0.0), start, "fixed_large")
    assert (wider[1:-1] > variances[1:-1]).all()


@pytest.mark.equation("backward-sigma", "scheduler-reespaciado")
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_a_single_point_survives_respacing(
    linear: Schedule, spacing: str, agree: Callable[..., None]
) -> None:
    """Al saltarse pasos, los marginales de un solo dato siguen siendo exactos."""
    walk = respace(linear, spaced_indices(1000, 13, spacing))
    bar = linear.alphas_cumprod[walk.timesteps]
    start = (bar[-1].sqrt().item() * 0.7, 1 - bar[-1].item())
    means, variances = reverse_marginals(walk, (0.7, 0.0), start, "fixed_small")
    agree(means[:-1], bar[:-1].flip(0).sqrt() * 0.7, rtol=1e-9)
    agree(variances[:-1], 1 - bar[:-1].flip(0), rtol=1e-9)


@pytest.mark.equation("backward-score")
def test_score_of_a_gaussian(schedule: Schedule, agree: Callable[..., None]) -> None:
    """-ε*/√(1-ᾱ) es el gradiente del logaritmo de la densidad de x_t, que aquí se conoce."""
    t = torch.arange(1000)
    x_t = torch.linspace(-3, 3, 1000, dtype=torch.float64, requires_grad=True)
    bar = schedule.alphas_cumprod
    mean, var = 0.3, 0.2
    marginal = torch.distributions.Normal(bar.sqrt() * mean, (bar * var + 1 - bar).sqrt())
    (gradient,) = torch.autograd.grad(marginal.log_prob(x_t).sum(), x_t)
    epsilon = optimal_epsilon(schedule, x_t.detach(), t, mean, var)
    agree(to_score(schedule, epsilon, t), gradient, rtol=1e-10)
    image = torch.ones(2, 3, 4, 4)
    assert to_score(schedule, image, t[:2]).shape == image.shape
