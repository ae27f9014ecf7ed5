"""Guía: contra formas cerradas.

El caso en que todo se sabe: los datos son N(0, 1) y la condición es una medida c = x_0 + ruido de
varianza τ². Sin condición, todos los x_t son N(0, 1); con ella, x_0 es N(m, v), con
v = τ²/(1 + τ²) y m = (1 - v) c. Las dos redes perfectas son rectas, y la ley inclinada
p(x_t|c) p(c|x_t)^w es una normal, a cualquier nivel de ruido.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from ddpm_lit.backward import Denoiser, p_mean_variance, to_score
from ddpm_lit.conditioning import null_condition
from ddpm_lit.data import load_dataset, split
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.guidance import (
    classifier_free,
    classifier_guided,
    dynamic_threshold,
    guidance_weight,
    guided_mean,
    log_prob_gradient,
    rescale_guidance,
)
from ddpm_lit.noisy_classifier import NoisyClassifier, train_noisy_classifier
from ddpm_lit.parametrisation import PARAMETRISATIONS, convert
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule, rescale_zero_terminal_snr, respace
from ddpm_lit.unet import UNet, UNetConfig

V = 0.25
MEASURED = 0.8
MEAN = (1 - V) * MEASURED


def bars(schedule: Schedule, t: Tensor) -> Tensor:
    return schedule.alphas_cumprod[t][:, None]


def exact_model(schedule: Schedule, prediction: str = "epsilon") -> Callable[..., Tensor]:
    """La red perfecta del caso de arriba: lee `scalars`, donde NaN es «sin condición»."""

    def model(x_t: Tensor, t: Tensor, scalars: Tensor) -> Tensor:
        bar = bars(schedule, t)
        known = ~scalars.isnan()
        mean = bar.sqrt() * (1 - V) * torch.where(known, scalars, 0.0)
        variance = torch.where(known, bar * V + 1 - bar, 1.0)
        epsilon = (1 - bar).sqrt() * (x_t - mean) / variance
        return convert(schedule, epsilon, x_t, t, "epsilon", prediction)

    return model


def log_likelihood(schedule: Schedule) -> Callable[..., Tensor]:
    """log p(c|x_t): c sabiendo x_t es una normal, por regresión lineal."""

    def log_prob(x_t: Tensor, t: Tensor, scalars: Tensor) -> Tensor:
        bar, noise = bars(schedule, t), V / (1 - V)
        law = Normal(bar.sqrt() * x_t, (1 - bar + noise).sqrt())
        return law.log_prob(scalars).sum(1)

    return log_prob


def tilted(schedule: Schedule, t: Tensor, w: float) -> tuple[Tensor, Tensor]:
    """Media y varianza de p(x_t|c) p(c|x_t)^w ∝ p(x_t|c)^(1+w) p(x_t)^(-w)."""
    bar = bars(schedule, t)
    conditional = bar * V + 1 - bar
    precision = (1 + w) / conditional - w
    return (1 + w) * bar.sqrt() * MEAN / conditional / precision, 1 / precision


def points(count: int = 200, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(count, 1, dtype=torch.float64, generator=generator)
    t = torch.randint(1000, (count,), generator=generator)
    return x_t, t, torch.full_like(x_t, MEASURED)


def counted(model: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], list[int]]:
    """Una red que apunta de qué tamaño es cada tanda que recibe."""
    sizes: list[int] = []

    def watched(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        assert all(len(value) == len(x_t) for value in (t, *condition.values()))
        sizes.append(len(x_t))
        return model(x_t, t, **condition)

    return watched, sizes


# --- Un paso guiado es el de la normal inclinada --------------------------------------------------


@pytest.mark.equation("cfg-epsilon", "cfg-inclinada")
@pytest.mark.parametrize("w", [0.5, 2.0, 7.5, -1.0, -0.5])
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_a_guided_step_is_the_tilted_gaussians(
    linear: Schedule, w: float, prediction: str, agree: Callable[..., None]
) -> None:
    x_t, t, scalars = points()
    guided = classifier_free(exact_model(linear, prediction), w, null=null_condition)
    output = guided(x_t, t, scalars=scalars)
    step = p_mean_variance(Diffusion(linear, prediction, clip=False), output, x_t, t)
    mean, variance = tilted(linear, t, w)
    agree(to_score(linear, step.epsilon, t), (mean - x_t) / variance, rtol=1e-7, atol=1e-8)
    beta = linear.betas[t][:, None]
    expected = (x_t + beta * (mean - x_t) / variance) / (1 - beta).sqrt()
    agree(step.mean, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.equation("cfg-afin")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_guiding_any_prediction_guides_the_same_estimate(
    linear: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """La salida es afín en x_0 dado x_t, y los coeficientes suman 1: x̂_0 es el mismo."""
    x_t, t, scalars = points()
    options = {"w": 3.0, "null": null_condition}
    output = classifier_free(exact_model(linear, prediction), **options)(x_t, t, scalars=scalars)
    both = [
        PARAMETRISATIONS["epsilon"].x_start(linear, exact_model(linear)(x_t, t, scalars=c), x_t, t)
        for c in (scalars, scalars * torch.nan)
    ]
    agree(
        PARAMETRISATIONS[prediction].x_start(linear, output, x_t, t), 4 * both[0] - 3 * both[1],
        rtol=1e-7, atol=1e-8,
    )  # fmt: skip


@pytest.mark.equation("cfg-implicito", "cfg-epsilon-clasificador", "cfg-epsilon")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
@pytest.mark.parametrize("w", [0.0, 1.0, 4.0])
def test_the_implicit_classifier_is_the_classifier(
    linear: Schedule, w: float, prediction: str, agree: Callable[..., None]
) -> None:
    """CFG con w es la guía por clasificador con s = 1 + w sobre la red sin condición."""
    x_t, t, scalars = points()
    model = exact_model(linear, prediction)
    free = classifier_free(model, w, null=null_condition)(x_t, t, scalars=scalars)
    log_prob, diffusion = log_likelihood(linear), Diffusion(linear, prediction)
    on_unconditional = classifier_guided(
        model, log_prob, diffusion, scale=1 + w, null=null_condition
    )
    on_conditional = classifier_guided(model, log_prob, diffusion, scale=w)
    for guided in (on_unconditional, on_conditional):
        agree(guided(x_t, t, scalars=scalars), free, rtol=1e-7, atol=1e-8)


@pytest.mark.equation("cfg-convenios")
def test_the_two_conventions(linear: Schedule) -> None:
    x_t, t, scalars = points(20)
    model = exact_model(linear)
    with_c, without = model(x_t, t, scalars=scalars), model(x_t, t, scalars=scalars * torch.nan)
    by_s = classifier_free(model, s=7.5, null=null_condition)(x_t, t, scalars=scalars)
    by_w = classifier_free(model, w=6.5, null=null_condition)(x_t, t, scalars=scalars)
    assert torch.equal(by_s, by_w)
    torch.testing.assert_close(by_s, without + 7.5 * (with_c - without), rtol=1e-12, atol=1e-12)
    assert guidance_weight(s=1.0) == guidance_weight(w=0.0) == 0
    assert guidance_weight(s=0.0) == -1


def test_w_zero_costs_one_batch_and_changes_nothing(linear: Schedule) -> None:
    x_t, t, scalars = points(7)
    model, sizes = counted(exact_model(linear))
    plain = exact_model(linear)(x_t, t, scalars=scalars)
    for scale in ({"w": 0.0}, {"s": 1.0}):
        output = classifier_free(model, null=null_condition, rescale=0.7, **scale)(
            x_t, t, scalars=scalars
        )
        assert torch.equal(output, plain)
    assert sizes == [7, 7]


def test_minus_one_is_unconditional(linear: Schedule) -> None:
    x_t, t, scalars = points(7)
    model = exact_model(linear)
    output = classifier_free(model, -1.0, null=null_condition)(x_t, t, scalars=scalars)
    assert torch.equal(output, model(x_t, t, scalars=scalars * torch.nan))


def small_unet() -> UNet:
    """Una U-Net con pesos al azar en todas partes, también donde empezaría en 0."""
    torch.manual_seed(0)
    config = UNetConfig(
        in_channels=1,
        out_channels=2,
        block_out_channels=(8,),
        layers_per_block=1,
        attention=(False,),
        norm_num_groups=4,
        num_classes=10,
    )
    unet = UNet(config).eval()
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return unet


@torch.no_grad()
@pytest.mark.equation("cfg-epsilon")
def test_one_doubled_batch_is_two_calls_and_spares_the_variance() -> None:
    """Con 2C canales se guía la media; los canales de la varianza son los condicionados."""
    unet = small_unet()
    model, sizes = counted(unet)
    x_t, t = torch.randn(5, 1, 8, 8), torch.tensor([3, 99, 500, 0, 998])
    labels, empty = torch.tensor([0, 4, 9, 2, 2]), torch.full((5,), 10)
    null = partial(null_condition, num_classes=10)
    output = classifier_free(model, 2.0, null=null)(x_t, t, class_labels=labels)
    assert sizes == [10]
    with_c, without = unet(x_t, t, class_labels=labels), unet(x_t, t, class_labels=empty)
    assert not torch.allclose(with_c[:, 1:], without[:, 1:], atol=1e-3)
    expected = 3 * with_c[:, :1] - 2 * without[:, :1]
    torch.testing.assert_close(output[:, :1], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output[:, 1:], with_c[:, 1:], rtol=1e-5, atol=1e-5)
    everything = classifier_free(unet, 2.0, null=null, channels=2)(x_t, t, class_labels=labels)
    torch.testing.assert_close(everything, 3 * with_c - 2 * without, rtol=1e-4, atol=1e-4)


@pytest.mark.equation("cfg-intervalo")
def test_guidance_in_an_interval(linear: Schedule) -> None:
    x_t, _, scalars = points(5)
    t = torch.tensor([0, 299, 300, 700, 701])
    model, sizes = counted(exact_model(linear))
    everywhere = classifier_free(exact_model(linear), 2.0, null=null_condition)
    guided = classifier_free(model, 2.0, null=null_condition, interval=(300, 700))
    output = guided(x_t, t, scalars=scalars)
    plain, always = (f(x_t, t, scalars=scalars) for f in (exact_model(linear), everywhere))
    assert torch.equal(output[[2, 3]], always[[2, 3]])
    assert torch.equal(output[[0, 1, 4]], plain[[0, 1, 4]])
    assert not torch.allclose(plain, always)
    outside = guided(x_t[:2], t[:2], scalars=scalars[:2])
    assert torch.equal(outside, plain[:2])
    assert sizes == [10, 2]


@pytest.mark.equation("cfg-intervalo")
def test_the_interval_chooses_whole_images() -> None:
    def model(x_t: Tensor, t: Tensor, scalars: Tensor) -> Tensor:
        return x_t * scalars.nan_to_num(2.0)[:, :, None, None]

    x_t, t = torch.ones(3, 1, 2, 2), torch.tensor([1, 5, 9])
    guided = classifier_free(model, 2.0, null=null_condition, interval=(5, 8))
    output = guided(x_t, t, scalars=torch.full((3, 1), 7.0))
    assert output.shape == x_t.shape
    assert [image.unique().tolist() for image in output] == [[7.0], [3 * 7.0 - 2 * 2.0], [7.0]]


def test_the_interval_counts_original_indices(linear: Schedule) -> None:
    """Con menos pasos, la red (y el intervalo) siguen viendo los índices originales."""
    walk = respace(linear, [0, 400, 600, 999])
    model, sizes = counted(exact_model(linear))
    guided = classifier_free(model, 1.0, null=null_condition, interval=(400, 600))
    noises = iter(torch.zeros(9, 3, 1, dtype=torch.float64))
    condition = {"scalars": torch.full((3, 1), MEASURED)}
    list(algorithm2(Denoiser(guided, Diffusion(walk, clip=False), condition), next(noises), noises))
    assert sizes == [3, 6, 6, 3]


# --- Remedios -------------------------------------------------------------------------------------


@pytest.mark.equation("cfg-reescalada")
def test_rescaling_gives_the_deviation_back() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.5, 1.0, 3.0, 9.0]).view(-1, 1, 1, 1)
    guided = scales * torch.randn(4, 3, 8, 8, generator=generator) + 0.3
    conditional = torch.randn(4, 3, 8, 8, generator=generator) * 2
    wanted, found = (x.flatten(1).numpy().std(axis=1) for x in (conditional, guided))
    for phi in (0.0, 0.25, 0.7, 1.0):
        output = rescale_guidance(guided, conditional, phi)
        assert output.flatten(1).numpy().std(axis=1) == pytest.approx(
            phi * wanted + (1 - phi) * found, rel=1e-5
        )
        ratio = output / guided
        torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))


@pytest.mark.equation("cfg-reescalada")
@torch.no_grad()
def test_the_wrapper_rescales_only_the_mean_part() -> None:
    unet = small_unet()
    x_t, t, labels = torch.randn(3, 1, 8, 8), torch.tensor([3, 99, 500]), torch.tensor([0, 4, 9])
    null = partial(null_condition, num_classes=10)
    conditional = unet(x_t, t, class_labels=labels)
    output = classifier_free(unet, 6.0, null=null, rescale=1.0)(x_t, t, class_labels=labels)
    plain = classifier_free(unet, 6.0, null=null)(x_t, t, class_labels=labels)
    torch.testing.assert_close(
        output[:, 0].flatten(1).std(1), conditional[:, 0].flatten(1).std(1), rtol=1e-4, atol=0
    )
    assert not torch.allclose(plain[:, 0].std(), conditional[:, 0].std(), rtol=0.1)
    torch.testing.assert_close(output[:, 1:], conditional[:, 1:], rtol=1e-5, atol=1e-5)


@pytest.mark.equation("cfg-umbral")
def test_dynamic_threshold_against_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 8, 8, generator=generator)
    x = x * torch.tensor([0.2, 0.5, 1.0, 4.0, 30.0]).view(-1, 1, 1, 1)
    for percentile in (0.5, 0.9, 0.995, 1.0):
        output = dynamic_threshold(percentile)(x)
        for image, clipped in zip(x, output, strict=True):
            ordered = image.abs().flatten().sort().values.double()
            place = percentile * (len(ordered) - 1)
            low = int(place)
            high = min(low + 1, len(ordered) - 1)
            s = max(float(ordered[low].lerp(ordered[high], place - low)), 1.0)
            expected = image.double().clamp(-s, s) / s
            torch.testing.assert_close(clipped.double(), expected, rtol=1e-5, atol=1e-6)
    assert dynamic_threshold(0.995)(x).abs().max() <= 1
    inside = x[:1].clamp(-1, 1)
    assert torch.equal(dynamic_threshold(0.9)(inside), inside)


# --- Con un clasificador --------------------------------------------------------------------------


@pytest.mark.equation("cfg-epsilon-clasificador")
def test_the_gradient_of_a_gaussian_classifier(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    """∇ log p(c|x_t), a mano: √ᾱ (c - √ᾱ x_t)/(1 - ᾱ + τ²)."""
    x_t, t, scalars = points()
    with torch.no_grad():
        gradient = log_prob_gradient(log_likelihood(linear), x_t, t, scalars=scalars)
    bar = bars(linear, t)
    exact = bar.sqrt() * (MEASURED - bar.sqrt() * x_t) / (1 - bar + V / (1 - V))
    agree(gradient, exact, rtol=1e-10, atol=1e-12)
    assert not x_t.requires_grad
    output = classifier_guided(
        exact_model(linear),
        log_likelihood(linear),
        Diffusion(linear),
        scale=2.5,
        null=null_condition,
    )(x_t, t, scalars=scalars)
    agree(output, (1 - bar).sqrt() * (x_t - 2.5 * exact), rtol=1e-9, atol=1e-10)


@pytest.mark.equation("cfg-media")
def test_moving_the_mean_is_exact_for_a_straight_classifier() -> None:
    """N(μ, Σ) e^(s g·x) es N(μ + sΣg, Σ): se compara con el producto de densidades."""
    mean, variance, slope, scale = 0.4, 0.3, -1.7, 2.0
    x = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    product = Normal(mean, variance**0.5).log_prob(x).exp() * (scale * slope * x).exp()
    product = product / product.sum()
    moved = guided_mean(torch.tensor(mean), torch.tensor(variance), torch.tensor(slope), scale)
    centre = (product * x).sum()
    assert float(moved) == pytest.approx(float(centre), abs=1e-6)
    assert float((product * (x - centre) ** 2).sum()) == pytest.approx(variance, abs=1e-6)


@pytest.mark.equation("cfg-dos-formas")
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_the_two_forms_differ_by_the_root_of_alpha(
    linear: Schedule, prediction: str, agree: Callable[..., None]
) -> None:
    """La forma de ε mueve la media β/√α s∇; la de la media, con Σ = β, β s∇."""
    x_t, t, scalars = points()
    model, log_prob = exact_model(linear, prediction), log_likelihood(linear)
    diffusion = Diffusion(linear, prediction, "fixed_large", clip=False)
    guided = classifier_guided(model, log_prob, diffusion, scale=3.0)
    gradient = log_prob_gradient(log_prob, x_t, t, scalars=scalars)
    steps = [
        p_mean_variance(diffusion, network(x_t, t, scalars=scalars), x_t, t)
        for network in (model, guided)
    ]
    moved = guided_mean(steps[0].mean, steps[0].variance, gradient, 3.0)
    root = linear.sqrt_alphas[t][:, None]
    agree(steps[1].mean - steps[0].mean, (moved - steps[0].mean) / root, rtol=1e-6, atol=1e-9)


def test_a_classifier_spares_the_learned_variance(linear: Schedule) -> None:
    x_t, t, scalars = points(6)

    def model(x: Tensor, t: Tensor, **_: Tensor) -> Tensor:
        return torch.cat([x, 5 * x], 1)

    diffusion = Diffusion(linear, variance="learned")
    guided = classifier_guided(model, log_likelihood(linear), diffusion)
    output = guided(x_t, t, scalars=scalars)
    gradient = log_prob_gradient(log_likelihood(linear), x_t, t, scalars=scalars)
    expected = x_t - (1 - bars(linear, t)).sqrt() * gradient
    torch.testing.assert_close(output[:, :1], expected)
    assert torch.equal(output[:, 1:], 5 * x_t)


def test_a_noisy_classifier_learns_in_a_few_steps() -> None:
    train, held_out = split(load_dataset("digits"), 0.2, 0)
    schedule = make_schedule("cosine", 1000)
    config = UNetConfig(
        in_channels=1,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention=(False, False),
        norm_num_groups=8,
        num_classes=10,
    )
    classifier = train_noisy_classifier(train, schedule, config, steps=60, learning_rate=5e-3)
    labels = held_out.labels
    assert labels is not None
    noise = torch.randn(held_out.x.shape, generator=torch.Generator().manual_seed(0))
    right = []
    for level in (0, 200, 500, 999):
        t = torch.full((len(labels),), level)
        x_t = q_sample(schedule, held_out.x, t, noise)
        with torch.no_grad():
            logits = classifier(x_t, t)
        right.append(float((logits.argmax(1) == labels).double().mean()))
        log_prob = classifier.log_prob(x_t, t, labels)
        expected = F.log_softmax(logits, 1)[range(len(labels)), labels]
        torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5)
    assert min(right[:2]) > 0.7
    assert right[2] > 0.53  # entrenado solo con datos limpios se queda por debajo
    assert right[3] < 0.25  # de ruido puro no se saca nada
    again = train_noisy_classifier(train, schedule, config, steps=2, learning_rate=5e-3)
    other = train_noisy_classifier(train, schedule, config, steps=2, learning_rate=5e-3)
    assert all(map(torch.equal, again.state_dict().values(), other.state_dict().values()))


# --- La trayectoria -------------------------------------------------------------------------------


def law_of_the_walk(schedule: Schedule, w: float, *, deterministic: bool) -> tuple[float, float]:
    """Media y varianza de x_0 tras la cadena guiada: cada paso es una recta y basta evaluarla.

    El paso determinista es el de DDIM con η = 0.
    """
    guided = classifier_free(exact_model(schedule), w, null=null_condition)
    t = torch.arange(len(schedule)).flip(0)
    ends = []
    for value in (0.0, 1.0):
        x_t = torch.full((len(t), 1), value, dtype=torch.float64)
        output = guided(x_t, t, scalars=torch.full_like(x_t, MEASURED))
        step = p_mean_variance(
            Diffusion(schedule, variance="fixed_large", clip=False), output, x_t, t
        )
        previous = schedule.alphas_cumprod_prev[t][:, None]
        straight = previous.sqrt() * step.x_start + (1 - previous).sqrt() * step.epsilon
        ends.append((straight if deterministic else step.mean)[:, 0])
    added = torch.where(t > 0, schedule.betas[t], 0.0) * (not deterministic)
    mean, variance = 0.0, 1.0
    for low, high, noise in zip(*ends, added, strict=True):
        mean, variance = low + (high - low) * mean, (high - low) ** 2 * variance + noise
    return float(mean), float(variance)


@pytest.mark.equation("cfg-final-ddpm", "cfg-final-ddim", "cfg-inclinada-final")
@pytest.mark.parametrize("w", [0.0, 0.5, 2.0, 5.0])
def test_the_guided_walk_does_not_sample_the_tilted_law(w: float) -> None:
    """La ley final es exacta (recursión lineal), y no es p(x|c) p(c|x)^w salvo con w = 0."""
    fine = make_schedule("cosine", 8000)
    tilted_law = ((1 + w) * MEAN / (1 + w * (1 - V)), V / (1 + w * (1 - V)))
    exact = tilted(Schedule.from_betas([1e-12]), torch.tensor([0]), w)
    assert tilted_law == pytest.approx(tuple(map(float, exact)), rel=1e-9)
    ancestral = law_of_the_walk(fine, w, deterministic=False)
    assert ancestral == pytest.approx(
        (
            MEAN * (1 - V ** (1 + w)) / (1 - V),
            V * (1 - V ** (1 + 2 * w)) / ((1 - V) * (1 + 2 * w)),
        ),
        rel=6e-3,
    )
    straight = law_of_the_walk(fine, w, deterministic=True)
    assert straight[1] == pytest.approx(V ** (1 + w), rel=2e-2)
    if w == 0:
        assert ancestral == pytest.approx(tilted_law, rel=6e-3)
    else:
        assert ancestral[1] < 0.9 * tilted_law[1]
        assert straight[1] < 0.9 * ancestral[1]
        assert ancestral[0] > 1.02 * tilted_law[0]
    if w == 2:
        assert straight[0] == pytest.approx(MEAN * (1 + 2 * V), rel=5e-3)


@pytest.mark.equation("cfg-final-ddpm")
def test_the_walk_of_the_package_has_that_law() -> None:
    """Y eso es lo que sale de verdad del Algoritmo 2 guiado: Monte Carlo."""
    schedule = make_schedule("linear", 200)
    count, w = 40_000, 2.0
    generator = torch.Generator().manual_seed(0)
    guided = classifier_free(exact_model(schedule), w, null=null_condition)

    def noises():
        while True:
            yield torch.randn(count, 1, dtype=torch.float64, generator=generator)

    draws = noises()
    condition = {"scalars": torch.full((count, 1), MEASURED, dtype=torch.float64)}
    diffusion = Diffusion(schedule, variance="fixed_large", clip=False)
    *_, last = algorithm2(Denoiser(guided, diffusion, condition), next(draws), draws)
    mean, variance = law_of_the_walk(schedule, w, deterministic=False)
    assert last.x_t.mean().item() == pytest.approx(mean, abs=5 * (variance / count) ** 0.5)
    assert last.x_t.var().item() == pytest.approx(variance, rel=5 * (2 / count) ** 0.5)


@pytest.mark.equation("cfg-final-ddim")
@pytest.mark.parametrize("w", [0.0, 0.5, 2.0])
def test_the_straight_walk_of_the_package_has_that_law(
    w: float, agree: Callable[..., None]
) -> None:
    """Con DDIM guiado, lo que sale es una recta de x_T, y su pendiente, la desviación."""
    schedule = make_schedule("cosine", 1000)
    guided = classifier_free(exact_model(schedule), w, null=null_condition)
    condition = {"scalars": torch.full((2, 1), MEASURED, dtype=torch.float64)}
    denoise = Denoiser(guided, Diffusion(schedule, clip=False), condition)
    x_T = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    *_, last = algorithm2(denoise, x_T, iter(()), ddim)
    start, end = last.x_t.flatten().tolist()
    mean, variance = law_of_the_walk(schedule, w, deterministic=True)
    agree(start, mean, rtol=1e-5)
    agree((end - start) ** 2, variance, rtol=1e-5)
    assert (end - start) ** 2 == pytest.approx(V ** (1 + w), rel=0.1)


@pytest.mark.equation("cfg-inclinada-final")
@pytest.mark.parametrize("w", [0.0, 0.5, 3.0])
def test_without_noise_the_guided_score_is_that_of_the_tilted_data(
    w: float, agree: Callable[..., None]
) -> None:
    """Casi sin ruido, la red guiada apunta a N(m̃_0, ṽ_0): el límite de la ley inclinada."""
    schedule = Schedule.from_betas([1e-9])
    x = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)[:, None]
    t = torch.zeros(13, dtype=torch.int64)
    guided = classifier_free(exact_model(schedule), w, null=null_condition)
    score = to_score(schedule, guided(x, t, scalars=torch.full_like(x, MEASURED)), t)
    scale = 1 + w * (1 - V)
    mean, variance = (1 + w) * MEAN / scale, V / scale
    agree(score, (mean - x) / variance, rtol=1e-5, atol=1e-5)


@pytest.mark.equation("cfg-reescalada")
def test_rescaling_a_constant_output_leaves_it() -> None:
    """Sin desviación no hay nada que devolver: ni NaN ni infinito, y las demás siguen igual."""
    guided, conditional = torch.randn(
        2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0)
    ).unbind()
    guided = guided.clone()
    guided[0], guided[1] = 0.0, 0.7
    out = rescale_guidance(guided, conditional, 0.7)
    assert torch.equal(out[:2], guided[:2])
    alone = rescale_guidance(guided[2:], conditional[2:], 0.7)
    torch.testing.assert_close(out[2:], alone, rtol=1e-6, atol=0)
    assert not torch.allclose(out[2], guided[2])


# --- Lo que se rechaza ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({}, "ha llegado nada"),
        ({"w": 1.0, "s": 2.0}, r"w = 1\.0 y s = 2\.0"),
        ({"guidance_scale": 7.5}, "«guidance_scale» no dice en qué convenio"),
        ({"w": 1.0, "cfg": 7.5}, "«cfg» no dice en qué convenio"),
        ({"s": float("nan")}, "s es nan"),
    ],
)
def test_an_unclear_weight_is_refused(scale: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guidance_weight(**scale)
    with pytest.raises(ValueError, match=message):
        classifier_free(lambda x_t, t: x_t, null=null_condition, **scale)


def test_bad_options_are_refused(linear: Schedule) -> None:
    x_t, t, scalars = points(3)
    model = exact_model(linear)
    options = {"w": 1.0, "null": null_condition}
    with pytest.raises(ValueError, match=r"rescale es 1\.5"):
        classifier_free(model, **options, rescale=1.5)
    for interval in ((500, 100), (-3, 100)):
        with pytest.raises(ValueError, match="no negativos y en orden"):
            classifier_free(model, **options, interval=interval)
    with pytest.raises(ValueError, match="ninguna condición"):
        classifier_free(model, **options)(x_t, t)
    with pytest.raises(ValueError, match="mismos nombres y formas"):
        classifier_free(model, w=1.0, null=lambda c: {})(x_t, t, scalars=scalars)
    with pytest.raises(ValueError, match="El percentil es 99"):
        dynamic_threshold(99)
    with pytest.raises(ValueError, match="x_T no dice nada de la clase"):
        rescaled = Diffusion(rescale_zero_terminal_snr(linear), "v")
        classifier_guided(model, log_likelihood(linear), rescaled)
    with pytest.raises(ValueError, match=r"\(3, 1\) y se esperaba \(3,\)"):
        log_prob_gradient(lambda x, t: x, x_t, t)


def test_a_noisy_classifier_refuses_what_it_cannot_learn() -> None:
    with pytest.raises(ValueError, match="da num_classes"):
        NoisyClassifier(UNetConfig(block_out_channels=(32,), attention=(False,)))
    with pytest.raises(ValueError, match="no tiene clases"):
        train_noisy_classifier(load_dataset("swiss_roll", n=10), make_schedule("cosine", 10))
