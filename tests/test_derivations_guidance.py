"""Las cuentas del capítulo de la guía, signo igual a signo igual.

Las que valen para cualquier ley se comprueban con una mezcla de tres clases en una dimensión, con
gradientes por diferenciación automática; las del caso normal, con SymPy o con muchas cifras.
"""

import math
from collections.abc import Callable

import pytest
import sympy as sp
import torch
from torch import Tensor
from torch.distributions import Normal

from algebra import alpha, alpha_bar, alpha_bar_prev, assert_chain, beta, expectation, variance
from ddpm_lit.backward import p_mean_variance, to_score
from ddpm_lit.conditioning import drop_condition, null_condition
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.guidance import classifier_free, classifier_guided
from ddpm_lit.scheduler import Schedule

WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([-0.7, 0.1, 0.8], dtype=torch.float64)
STDS = torch.tensor([0.2, 0.35, 0.25], dtype=torch.float64)

u, v, m, w = sp.symbols("u v m w", positive=True)
r = (1 + u) / (v + u)
h = (v + u) ** (1 + w) / (1 + u) ** w
tilted_variance = 1 / ((1 + w) / (v + u) - w / (1 + u))
tilted_mean = tilted_variance * (1 + w) * m / (v + u)
POINTS = (
    {u: "0.3", v: "0.25", m: "0.6", w: "2"},
    {u: "2.7", v: "0.9", m: "1.3", w: "0.5"},
    {u: "0.01", v: "0.4", m: "0.2", w: "6.5"},
    {u: "40", v: "0.1", m: "0.7", w: "1.7"},
)


def same(*sides: sp.Expr) -> None:
    """Varias expresiones con potencias de exponente w son iguales: con treinta cifras."""
    for point in POINTS:
        values = [sp.N(side.subs({k: sp.Rational(x) for k, x in point.items()}), 30)
                  for side in map(sp.sympify, sides)]  # fmt: skip
        for value in values[1:]:
            assert abs(value - values[0]) < 1e-22 * (1 + abs(values[0]))


# --- Bayes, con una mezcla ------------------------------------------------------------------------


def log_given(x: Tensor, bar: Tensor, kind: int) -> Tensor:
    """log p(x_t | c)."""
    std = (bar * STDS[kind] ** 2 + 1 - bar).sqrt()
    return Normal(bar.sqrt() * MEANS[kind], std).log_prob(x)


def log_marginal(x: Tensor, bar: Tensor) -> Tensor:
    """log p(x_t)."""
    parts = [log_given(x, bar, kind) + WEIGHTS[kind].log() for kind in range(3)]
    return torch.stack(parts).logsumexp(0)


def log_class(x: Tensor, bar: Tensor, kind: int) -> Tensor:
    """log p(c | x_t), por Bayes."""
    return log_given(x, bar, kind) + WEIGHTS[kind].log() - log_marginal(x, bar)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        place = x.detach().clone().requires_grad_()
        return torch.autograd.grad(function(place).sum(), place)[0]


def mixture_model(schedule: Schedule) -> Callable[..., Tensor]:
    """La red perfecta de la mezcla; la clase 3 es «sin clase»."""

    def model(x_t: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        bar = schedule.alphas_cumprod[t][:, None]
        scores = [gradient(lambda x, k=k: log_given(x, bar, k), x_t) for k in range(3)]
        scores.append(gradient(lambda x: log_marginal(x, bar), x_t))
        chosen = torch.stack(scores)[class_labels, torch.arange(len(t))]
        return -(1 - bar).sqrt() * chosen

    return model


def batch(count: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(count, 1, dtype=torch.float64, generator=generator)
    return x_t, torch.randint(1000, (count,), generator=generator)


def null(condition: dict[str, Tensor]) -> dict[str, Tensor]:
    return null_condition(condition, num_classes=3)


@pytest.mark.equation("cfg-bayes")
def test_bayes_with_gradients(linear: Schedule, agree: Callable[..., None]) -> None:
    x_t, t = batch()
    bar = linear.alphas_cumprod[t][:, None]
    for kind in range(3):
        likelihood = gradient(lambda x, k=kind: log_class(x, bar, k), x_t)
        prior = gradient(lambda x: log_marginal(x, bar), x_t)
        agree(
            gradient(lambda x, k=kind: log_given(x, bar, k), x_t), prior + likelihood,
            rtol=1e-9, atol=1e-11,
        )  # fmt: skip


def powered(p: Tensor, s: float) -> Tensor:
    """(cfg-potencia), con s real."""
    return p**s / (p**s).sum()


@pytest.mark.equation("cfg-potencia")
def test_a_power_is_asking_several_times(agree: Callable[..., None]) -> None:
    """Un clasificador que repite cinco veces su respuesta, creído cada vez como si fuera nueva."""
    p = torch.tensor([0.6, 0.4], dtype=torch.float64)
    belief = torch.full((2,), 0.5, dtype=torch.float64)
    for _ in range(5):
        belief = belief * p / (belief * p).sum()
    agree(powered(p, 5), belief)
    assert float(belief[0] / belief[1]) == pytest.approx(7.6, abs=0.01)


@pytest.mark.equation("cfg-potencia")
@pytest.mark.parametrize("s", [0.5, 2.0, 5.0])
def test_a_power_trades_certainty_for_entropy(s: float, agree: Callable[..., None]) -> None:
    """De todas las leyes, hace máximo s E[log p] más la entropía, y el máximo es log Σ pˢ."""
    generator = torch.Generator().manual_seed(4)
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)

    def score(q: Tensor) -> Tensor:
        return (q * (s * p.log() - q.log())).sum()

    best = powered(p, s)
    agree(score(best), (p**s).sum().log())
    for _ in range(100):
        q = best * torch.exp(0.3 * torch.randn(4, dtype=torch.float64, generator=generator))
        assert score(q / q.sum()) < score(best)


@pytest.mark.equation("cfg-potencia")
def test_guidance_keeps_only_the_numerator(linear: Schedule) -> None:
    """s∇log p es ∇log pˢ; el denominador, que también depende de x_t, tiene su gradiente."""
    x_t, t = batch()
    bar = linear.alphas_cumprod[t][:, None]

    def denominator(x: Tensor) -> Tensor:
        return torch.stack([4 * log_class(x, bar, kind) for kind in range(3)]).logsumexp(0)

    for kind in range(3):
        once = gradient(lambda x, k=kind: log_class(x, bar, k), x_t)
        numerator = gradient(lambda x, k=kind: log_class(x, bar, k).exp().pow(4).log(), x_t)
        whole = gradient(lambda x, k=kind: 4 * log_class(x, bar, k) - denominator(x), x_t)
        torch.testing.assert_close(numerator, 4 * once)
        assert (numerator - whole).abs().max() > 0.5


@pytest.mark.equation("cfg-taylor")
def test_the_tangent_moves_the_bell() -> None:
    x, mu, sigma, g = sp.symbols("x mu Sigma g", real=True)
    assert_chain(
        -((x - mu) ** 2) / (2 * sigma) + g * (x - mu),
        -((x - mu - sigma * g) ** 2) / (2 * sigma) + sigma * g**2 / 2,
    )


@pytest.mark.equation("cfg-dos-formas")
def test_the_noise_form_on_the_mean() -> None:
    x_t, noise, s, g = sp.symbols("x_t epsilon s g", real=True)

    def mean(epsilon: sp.Expr) -> sp.Expr:
        return (x_t - beta / sp.sqrt(1 - alpha_bar) * epsilon) / sp.sqrt(alpha)

    guided = noise - sp.sqrt(1 - alpha_bar) * s * g
    assert_chain(mean(guided), mean(noise) + beta / sp.sqrt(alpha) * s * g)


@pytest.mark.equation("cfg-implicito", "cfg-sustitucion", "cfg-ley")
@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_implicit_classifier_and_the_tilted_law(
    linear: Schedule, weight: float, agree: Callable[..., None]
) -> None:
    x_t, t = batch()
    bar = linear.alphas_cumprod[t][:, None]
    model = mixture_model(linear)
    for kind in range(3):
        labels = torch.full_like(t, kind)
        with_c = model(x_t, t, class_labels=labels)
        difference = with_c - model(x_t, t, class_labels=labels * 0 + 3)
        implicit = gradient(lambda x, k=kind: log_class(x, bar, k), x_t)
        agree(-difference / (1 - bar).sqrt(), implicit, rtol=1e-8, atol=1e-10)
        guided = classifier_free(model, weight, null=null)(x_t, t, class_labels=labels)
        agree(with_c - (1 - bar).sqrt() * weight * implicit, guided, rtol=1e-8, atol=1e-10)
        agree(with_c + weight * difference, guided, rtol=1e-8, atol=1e-10)

        def first(x: Tensor, k: int = kind) -> Tensor:
            return log_given(x, bar, k) + weight * log_class(x, bar, k)

        def second(x: Tensor, k: int = kind) -> Tensor:
            return (1 + weight) * log_given(x, bar, k) - weight * log_marginal(x, bar)

        # Proporcionales: la diferencia de los logaritmos no depende de x.
        agree(first(x_t) - second(x_t), weight * WEIGHTS[kind].log(), rtol=1e-8)
        score = to_score(linear, guided, t)
        for law in (first, second):
            agree(gradient(law, x_t), score, rtol=1e-7, atol=1e-9)


@pytest.mark.equation("cfg-convenios", "cfg-implicito")
def test_classifier_guidance_counts_with_s(linear: Schedule, agree: Callable[..., None]) -> None:
    x_t, t = batch()
    model = mixture_model(linear)
    labels = torch.full_like(t, 2)

    def log_prob(x: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        return log_class(x, linear.alphas_cumprod[t][:, None], 2)[:, 0]

    by_classifier = classifier_guided(model, log_prob, Diffusion(linear), scale=4.0, null=null)
    by_itself = classifier_free(model, s=4.0, null=null)
    arguments = {"class_labels": labels}
    agree(by_classifier(x_t, t, **arguments), by_itself(x_t, t, **arguments), rtol=1e-8, atol=1e-9)


# --- Apagar la condición --------------------------------------------------------------------------


@pytest.mark.equation("cfg-apagada")
@pytest.mark.parametrize("p", [0.1, 0.35])
def test_the_loss_splits_in_two(p: float, agree: Callable[..., None]) -> None:
    """Sumando sobre todas las maneras de apagar una tanda, cada una con su probabilidad."""
    count = 6
    generator = torch.Generator().manual_seed(0)
    noise, x_t = torch.randn(2, count, dtype=torch.float64, generator=generator)
    condition = {"scalars": torch.rand(count, 1, dtype=torch.float64, generator=generator)}
    empty = null_condition(condition)

    def errors(seen: dict[str, Tensor]) -> Tensor:
        c = seen["scalars"][:, 0]
        return (noise - torch.where(c.isnan(), torch.tanh(x_t), c * x_t)) ** 2

    expected = torch.zeros((), dtype=torch.float64)
    for number in range(2**count):
        dropped = torch.tensor([bool(number >> bit & 1) for bit in range(count)])
        chance = p ** int(dropped.sum()) * (1 - p) ** int((~dropped).sum())
        expected += chance * errors(drop_condition(condition, empty, dropped)).mean()
    agree(expected, (1 - p) * errors(condition).mean() + p * errors(empty).mean())


@pytest.mark.equation("cfg-lote")
def test_the_fraction_without_condition() -> None:
    p, size = sp.symbols("p B", positive=True)
    assert_chain(p * 1**2 + (1 - p) * 0 - p**2, p * (1 - p))
    for count in (2, 5):
        k = sp.Symbol("k", integer=True, nonnegative=True)
        law = sp.binomial(count, k) * p**k * (1 - p) ** (count - k)
        mean = sum((law * k / count).subs(k, i) for i in range(count + 1))
        square = sum((law * (k / sp.Integer(count)) ** 2).subs(k, i) for i in range(count + 1))
        assert_chain(square - mean**2, (p * (1 - p) / size).subs(size, count))


# --- El caso normal -------------------------------------------------------------------------------


@pytest.mark.equation("cfg-nivel", "cfg-coordenadas")
def test_the_step_in_the_comfortable_coordinates(
    linear: Schedule, agree: Callable[..., None]
) -> None:
    delta = (1 - alpha_bar) / alpha_bar - (1 - alpha_bar_prev) / alpha_bar_prev
    assert_chain(
        delta, 1 / alpha_bar - 1 / alpha_bar_prev, (1 - alpha) / alpha_bar, beta / alpha_bar
    )
    x_t, score, z = sp.symbols("x_t S z", real=True)
    y = x_t / sp.sqrt(alpha_bar)
    assert_chain(
        (x_t + beta * score / sp.sqrt(alpha_bar)) / sp.sqrt(alpha * alpha_bar_prev)
        + sp.sqrt(beta / alpha_bar_prev) * z,
        y + beta / alpha_bar * score + sp.sqrt(alpha * beta / alpha_bar) * z,
    )
    # Y con el paso del paquete.
    t = torch.arange(1, 1000)
    generator = torch.Generator().manual_seed(0)
    state, epsilon = torch.randn(2, 999, dtype=torch.float64, generator=generator)
    step = p_mean_variance(Diffusion(linear, variance="fixed_large", clip=False), epsilon, state, t)
    bar, before = linear.alphas_cumprod[t], linear.alphas_cumprod[t - 1]
    width = 1 / bar - 1 / before
    in_y = -epsilon / (1 - bar).sqrt() * bar.sqrt()
    agree(step.mean / before.sqrt(), state / bar.sqrt() + width * in_y, rtol=1e-8, atol=1e-9)
    agree(step.variance / before, linear.alphas[t] * width, rtol=1e-9)


@pytest.mark.equation("cfg-no-conmuta")
def test_powers_and_noise_do_not_commute() -> None:
    initial = tilted_variance.subs(u, 0)
    k = w * (1 - v)
    assert_chain(
        tilted_variance - (initial + u),
        -w * (1 + w) * (1 - v) ** 2 * u / ((1 + k) * (1 + k + u)),
    )


@pytest.mark.equation("cfg-recursion")
def test_many_small_steps_are_two_equations() -> None:
    """Un paso de (cfg-coordenadas), del nivel u al u - Δ, visto como cociente de incrementos."""
    delta, spread = sp.symbols("Delta V", positive=True)
    tilt_v, tilt_m = sp.symbols("vtilde mtilde", positive=True)
    y, z, mean = sp.symbols("y z M", real=True)
    lower = u - delta
    alpha_t = (1 + lower) / (1 + u)  # ᾱ_t/ᾱ_{t-1}, con ᾱ = 1/(1 + u)
    score = sp.diff(-((y - tilt_m) ** 2) / (2 * tilt_v), y)
    moved = y + delta * score + sp.sqrt(alpha_t * delta) * z
    moments = {y: [mean, mean**2 + spread], z: [sp.Integer(0), sp.Integer(1)]}
    mean_rate = (expectation(moved, moments) - mean) / (lower - u)
    spread_rate = (variance(moved, moments) - spread) / (lower - u)
    assert_chain(sp.limit(mean_rate, delta, 0), (mean - tilt_m) / tilt_v)
    assert_chain(sp.limit(spread_rate, delta, 0), 2 * spread / tilt_v - 1)


@pytest.mark.equation("cfg-factor")
def test_the_integrating_factor() -> None:
    assert_chain(sp.diff(sp.expand_log(sp.log(h), force=True), u), 1 / tilted_variance)
    same(h, (v + u) * r**-w)
    assert_chain(sp.diff(r, u), -(1 - v) / (v + u) ** 2)


@pytest.mark.equation("cfg-integrar", "cfg-recursion", "cfg-final-ddpm")
def test_the_two_equations_are_solved() -> None:
    power, double = m * r ** (1 + w) / (1 - v), r ** (1 + 2 * w) / ((1 + 2 * w) * (1 - v))
    same(
        -tilted_mean / (tilted_variance * h),
        -(1 + w) * m * r**w / (v + u) ** 2,
        sp.diff(power, u),
    )
    same(-1 / h**2, -(r ** (2 * w)) / (v + u) ** 2, sp.diff(double, u))
    mean = h * (power - m / (1 - v))
    variance = h**2 * (double - 1 / ((1 + 2 * w) * (1 - v)))
    same(sp.diff(mean, u), (mean - tilted_mean) / tilted_variance)
    same(sp.diff(variance, u), 2 * variance / tilted_variance - 1)
    # El principio: la media no es nada al lado de la desviación, y la varianza es u.
    far = {v: sp.Rational(1, 4), m: sp.Rational(3, 5), w: 2}
    assert sp.limit((mean / h).subs(far), u, sp.oo) == 0
    assert sp.limit((variance / u).subs(far), u, sp.oo) == 1
    # El final.
    same(mean.subs(u, 0), m * (1 - v ** (1 + w)) / (1 - v))
    same(variance.subs(u, 0), v * (1 - v ** (1 + 2 * w)) / ((1 + 2 * w) * (1 - v)))


@pytest.mark.equation("cfg-final-ddim", "cfg-final-ddpm", "cfg-inclinada-final")
def test_the_final_laws_in_words() -> None:
    """Lo que el texto dice de ellas: el orden, y la mitad de la varianza con w grande."""
    initial = tilted_variance.subs(u, 0)
    k = 1 + w * (1 - v)
    assert_chain(initial, v / k)
    assert_chain(tilted_mean.subs(u, 0), (1 + w) * m / k)
    same(h.subs(u, 0), v ** (1 + w))
    walk = v * (1 - v ** (1 + 2 * w)) / ((1 + 2 * w) * (1 - v))
    for share in (0.1, 0.25, 0.6, 0.9):
        for weight in (0.1, 1.0, 4.0, 9.0):
            place = {v: share, w: weight}
            sizes = [float(law.subs(place)) for law in (v ** (1 + w), walk, initial, v)]
            assert sizes == sorted(sizes)
            means = (m / m * (1 + w) / k, (1 - v ** (1 + w)) / (1 - v))
            assert float(means[0].subs(place)) < float(means[1].subs(place))
    assert float((walk / initial).subs({v: 0.25, w: 10**6})) == pytest.approx(0.5, abs=1e-4)
    # El paso recto: dV/du = V/ṽ conserva V/h.
    same(sp.diff(sp.log(h), u), 1 / tilted_variance)
    assert sp.limit((h / u).subs({v: sp.Rational(1, 4), w: 2}), u, sp.oo) == 1
    root_now, root_next = sp.symbols("a b", positive=True)
    score = sp.Symbol("S")
    step = (root_next - root_now) * (-root_now * score)
    half = (root_now**2 - root_next**2) / 2 * score
    assert sp.limit(step / half, root_next, root_now) == 1
    assert math.sqrt(0.25**6) < 0.02  # con w = 5 las muestras son casi la misma
