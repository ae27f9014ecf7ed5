"""Las cuentas de los capítulos de condiciones y de edición, signo igual a signo igual."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algebra import (
    alpha_bar,
    assert_chain,
    epsilon,
    expectation,
    integral,
    normal_density,
    variance,
    x_0,
)
from ddpm_lit import sample
from ddpm_lit.conditioning import Text, TextEncoder
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import redraw
from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.unet import CrossAttention, ResidualBlock, UNet, UNetConfig

sqrt = sp.sqrt
STANDARD = [sp.Integer(0), sp.Integer(1), sp.Integer(0), sp.Integer(3)]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def config(**options: object) -> UNetConfig:
    return UNetConfig(
        in_channels=2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention=(False, True),
        norm_num_groups=4,
        **options,  # type: ignore[arg-type]
    )


def shaken(module: nn.Module) -> nn.Module:
    """El mismo módulo con los pesos movidos: recién creado devuelve 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


# --- Dos clases en una recta: la pérdida con condición y sin ella -------------------------------


class TwoClasses:
    """Datos 0,3 N(-0,6; 0,2²) + 0,7 N(0,5; 0,35²) y su ruido, en un nivel, por integración."""

    weights, means, stds = (0.3, 0.7), (-0.6, 0.5), (0.2, 0.35)

    def __init__(self, bar: float) -> None:
        self.bar = bar
        noise, x = np.linspace(-7, 7, 561), np.linspace(-7, 7, 561)
        self.x, self.noise = x, noise
        # p(x_t, ε, clase): dado ε, x_t es x_0 escalado y corrido.
        self.joint = np.stack(
            [
                weight
                * normal_density(noise, 0, 1)[:, None]
                * normal_density(
                    x[None], math.sqrt(bar) * mean + math.sqrt(1 - bar) * noise[:, None], bar * s**2
                )
                for weight, mean, s in zip(self.weights, self.means, self.stds, strict=True)
            ]
        )
        step = noise[1] - noise[0]
        self.density = self.joint.sum(1) * step
        self.mean = (self.joint * noise[:, None]).sum(1) * step / self.density
        self.square = (self.joint * noise[:, None] ** 2).sum(1) * step / self.density
        self.total = self.density.sum(0)
        self.posterior = self.density / self.total

    def over(self, values: np.ndarray) -> float:
        """E[f(x_t, c)], con f de forma (2, M)."""
        return sum(integral(self.density[c] * values[c], self.x) for c in range(2))


@pytest.fixture(params=[0.2, 0.6], scope="module")
def classes(request: pytest.FixtureRequest) -> TwoClasses:
    return TwoClasses(request.param)


@pytest.mark.equation("condiciones-cuadrado", "condiciones-minimo")
def test_the_conditional_loss_is_least_at_the_conditional_mean(classes: TwoClasses) -> None:
    network = np.stack([np.tanh(classes.x + 0.3), 0.5 * classes.x - 0.1])
    gap = classes.mean - network
    residual = classes.noise[None, :, None] - classes.mean[:, None]
    error = classes.noise[None, :, None] - network[:, None]
    cell = (classes.noise[1] - classes.noise[0]) * (classes.x[1] - classes.x[0])

    def mean(values: np.ndarray) -> float:
        return float((classes.joint * values).sum() * cell)

    left = mean(error**2)
    cross = 2 * mean(residual * gap[:, None])
    terms = mean(residual**2), cross, classes.over(gap**2)
    assert left == pytest.approx(sum(terms), rel=1e-9)
    assert cross == pytest.approx(0, abs=1e-9)
    assert left == pytest.approx(terms[0] + terms[2], rel=1e-9)
    assert terms[2] > 0.1


@pytest.mark.equation("condiciones-minimo")
def test_the_conditional_mean_is_the_score_of_the_class(classes: TwoClasses) -> None:
    """E[ε | x_t, c] = -√(1-ᾱ) ∇ log p(x_t | c), con la normal de esa clase."""
    bar = classes.bar
    inside = np.abs(classes.x) < 2
    for c, (mean, std) in enumerate(zip(classes.means, classes.stds, strict=True)):
        score = -(classes.x - math.sqrt(bar) * mean) / (bar * std**2 + 1 - bar)
        expected = -math.sqrt(1 - bar) * score
        np.testing.assert_allclose(classes.mean[c][inside], expected[inside], atol=1e-6)


@pytest.mark.equation("condiciones-mezcla")
def test_the_network_without_condition_votes(classes: TwoClasses) -> None:
    step = classes.noise[1] - classes.noise[0]
    weighted = (classes.joint.sum(0) * classes.noise[:, None]).sum(0) * step
    unknown = weighted / (classes.joint.sum((0, 1)) * step)
    expected = (classes.posterior * classes.mean).sum(0)
    np.testing.assert_allclose(unknown, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.equation("condiciones-varianza")
def test_knowing_the_condition_leaves_less_to_guess(classes: TwoClasses) -> None:
    unknown = (classes.posterior * classes.mean).sum(0)
    square = (classes.posterior * classes.square).sum(0)
    without = integral(classes.total * (square - unknown**2), classes.x)
    within = classes.over(classes.square - classes.mean**2)
    between = classes.over((classes.mean - unknown) ** 2)
    assert without == pytest.approx(within + between, rel=1e-9)
    assert between > 0.01


# --- Por dónde entra cada condición -------------------------------------------------------------


def blocks_embedding(model: UNet, **condition: Tensor) -> Tensor:
    """El vector e que reciben los bloques residuales."""
    seen: list[Tensor] = []
    handle = model.mid_block.resnets[0].register_forward_pre_hook(
        lambda _, given: seen.append(given[1])
    )
    with torch.no_grad():
        model(numbers(3, 2, 8, 8), torch.tensor([0, 40, 999]), **condition)
    handle.remove()
    return seen[0]


@pytest.mark.equation("condiciones-clase", "condiciones-escalar")
def test_a_class_and_a_number_are_added_to_the_time(agree: Callable[..., None]) -> None:
    model = shaken(UNet(config(num_classes=4, num_scalars=2)))
    assert isinstance(model, UNet)
    scalars = torch.tensor([[-1.0, 1.0], [0.25, -0.5], [torch.nan, 0.1]])
    classes = torch.tensor([3, 0, 4])
    parts = dict(model.named_parameters())

    def mlp(values: Tensor, name: str) -> Tensor:
        first = values @ parts[f"{name}.linear_1.weight"].T + parts[f"{name}.linear_1.bias"]
        hidden = first * torch.sigmoid(first)
        return hidden @ parts[f"{name}.linear_2.weight"].T + parts[f"{name}.linear_2.bias"]

    with torch.no_grad():
        time = mlp(sinusoidal_embedding(torch.tensor([0, 40, 999]), 8), "time_embedding")
        rows = parts["class_embedding.weight"][classes]
        read = [sinusoidal_embedding(500 * (scalars[:, i] + 1), 8) for i in range(2)]
        read[0][2] = parts["scalar_embedding.null"][0]
        expected = time + rows + mlp(torch.cat(read, dim=1), "scalar_embedding.mlp")
    given = blocks_embedding(model, class_labels=classes, scalars=scalars)
    agree(given, expected, rtol=1e-5, atol=1e-5)
    agree(
        blocks_embedding(model, class_labels=classes) - blocks_embedding(model),
        rows - parts["class_embedding.weight"][4],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.equation("condiciones-norma")
def test_what_is_added_to_a_whole_group_is_lost(agree: Callable[..., None]) -> None:
    """En el bloque de la U-Net, con sus pesos: solo se pierde lo que es igual en todo el grupo."""
    block = shaken(ResidualBlock(8, 8, 16, config())).double()
    assert isinstance(block, ResidualBlock)
    x, emb = numbers(2, 8, 5, 5).double(), numbers(2, 16, seed=1).double()
    with torch.no_grad():
        before = block(x, emb)

        def moved_by(*amounts: float) -> Tensor:
            bias = block.time_emb_proj.bias
            saved = bias.clone()
            bias.add_(torch.tensor(amounts, dtype=torch.float64))
            after = block(x, emb)
            bias.copy_(saved)
            return after

        # Cuatro grupos de dos canales: una cantidad por grupo, y después una que no es de grupo.
        agree(moved_by(0.7, 0.7, -2, -2, 5, 5, 0, 0), before, rtol=1e-9, atol=1e-9)
        assert (moved_by(0.7, 0, 0, 0, 0, 0, 0, 0) - before).abs().max() > 0.1
        assert (moved_by(0.7, -0.7, 0, 0, 0, 0, 0, 0) - before).abs().max() > 0.1


@pytest.mark.equation("condiciones-norma")
def test_a_normalised_group_has_mean_zero_and_variance_one(agree: Callable[..., None]) -> None:
    """De todas las rectas crecientes de h, es la única: por eso da igual lo que se le sumó."""
    h = 3 * numbers(3, 6, 4, 4).double() + 5
    groups = nn.GroupNorm(2, 6, eps=0).double()(h).view(6, -1)
    agree(groups.mean(1), torch.zeros(6), rtol=0, atol=1e-12)
    agree(groups.square().mean(1), torch.ones(6), rtol=1e-12)
    pairs = torch.stack([groups, h.view(6, -1)], dim=1)
    for pair in pairs:
        agree(torch.corrcoef(pair)[0, 1], 1.0, rtol=1e-12)


@pytest.mark.equation("condiciones-film")
def test_film_scales_and_shifts_each_channel(agree: Callable[..., None]) -> None:
    block = shaken(ResidualBlock(8, 8, 16, config(scale_shift=True)))
    assert isinstance(block, ResidualBlock)
    x, emb = numbers(2, 8, 5, 5), numbers(2, 16, seed=1)
    with torch.no_grad():
        moved = F.silu(emb) @ block.time_emb_proj.weight.T + block.time_emb_proj.bias
        gamma, beta = moved[:, :8, None, None], moved[:, 8:, None, None]
        h = block.conv1(F.silu(block.norm1(x)))
        h = (1 + gamma) * block.norm2(h) + beta
        agree(block(x, emb), x + block.conv2(F.silu(h)), rtol=1e-5, atol=1e-5)


@pytest.mark.equation("condiciones-atencion")
def test_cross_attention_by_hand(agree: Callable[..., None]) -> None:
    """Una cabeza, píxel a píxel y palabra a palabra; el relleno no cuenta."""
    layer = shaken(CrossAttention(8, config(text_dim=6)))
    assert isinstance(layer, CrossAttention)
    x, words = numbers(1, 8, 2, 3), numbers(1, 4, 6, seed=1)
    mask = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
    with torch.no_grad():
        pixels = layer.group_norm(x)[0].reshape(8, 6).T.double()
        known = words[0, :3].double()

        def project(rows: Tensor, linear: nn.Linear) -> Tensor:
            return rows @ linear.weight.T.double() + linear.bias.double()

        q, k, v = (
            project(rows, linear)
            for rows, linear in ((pixels, layer.to_q), (known, layer.to_k), (known, layer.to_v))
        )
        weights = (q @ k.T / math.sqrt(8)).exp()
        attended = (weights / weights.sum(1, keepdim=True)) @ v
        out = project(attended, layer.to_out[0])
        expected = x[0].double() + out.T.reshape(8, 2, 3)
        agree(layer(x, Text(words, words[:, 0], mask))[0], expected, rtol=1e-5, atol=1e-5)


def test_padding_says_nothing() -> None:
    """Con más relleno, lo que se lee de una frase es lo mismo."""
    encoder = shaken(TextEncoder(10, dim=8, layers=1, length=6))
    tokens = torch.tensor([[1, 4, 7, 0, 0, 0]])
    with torch.no_grad():
        whole = encoder(tokens)
        encoder.positions.data[3:] += 1  # type: ignore[union-attr]
        encoder.embedding.weight.data[0] += 1  # type: ignore[union-attr]
        moved = encoder(tokens)
    torch.testing.assert_close(moved.summary, whole.summary)
    torch.testing.assert_close(moved.tokens[:, :3], whole.tokens[:, :3])
    assert whole.mask.flatten().tolist() == [True, True, True, False, False, False]


@pytest.mark.equation("condiciones-concatenar")
def test_gluing_channels_is_adding_two_convolutions(agree: Callable[..., None]) -> None:
    model = shaken(UNet(config(condition_channels=3)))
    assert isinstance(model, UNet)
    x, image = numbers(2, 2, 8, 8), numbers(2, 3, 8, 8, seed=1).tanh()
    weight, bias = model.conv_in.weight, model.conv_in.bias
    with torch.no_grad():
        seen: list[Tensor] = []
        model.conv_in.register_forward_hook(lambda *given: seen.append(given[2]))
        model(x, torch.tensor([3, 500]), image=image)
        separate = F.conv2d(x, weight[:, :2], padding=1) + F.conv2d(image, weight[:, 2:], padding=1)
        assert bias is not None
        agree(seen[0], separate + bias[:, None, None], rtol=1e-5, atol=1e-5)


# --- Editar --------------------------------------------------------------------------------------


@pytest.mark.equation("editar-sesgo")
def test_what_the_network_can_know_of_the_known_pixel() -> None:
    rho, first, second = sp.symbols("rho x_1 z", real=True)
    seen = sqrt(alpha_bar) * first + sqrt(1 - alpha_bar) * epsilon
    other = rho * first + sqrt(1 - rho**2) * second
    moments = dict.fromkeys((first, second, epsilon), STANDARD)
    assert_chain(variance(seen, moments), 1)
    slope = expectation(sp.expand(seen * other), moments) / variance(seen, moments)
    assert_chain(slope, rho * sqrt(alpha_bar))
    guess = expectation(sp.expand(slope * seen), {epsilon: STANDARD})
    assert_chain(guess, rho * sqrt(alpha_bar) * sqrt(alpha_bar) * first, alpha_bar * rho * first)


SIGMA = sp.Symbol("sigma", positive=True)
LAMBDA = alpha_bar * SIGMA**2 / (alpha_bar * SIGMA**2 + 1 - alpha_bar)


@pytest.mark.equation("editar-vuelta")
def test_the_way_back_of_a_normal_pixel() -> None:
    noisy = sqrt(alpha_bar) * x_0 + sqrt(1 - alpha_bar) * epsilon
    moments = {x_0: [0, SIGMA**2, 0, 3 * SIGMA**4], epsilon: STANDARD}
    slope = expectation(sp.expand(noisy * x_0), moments) / variance(noisy, moments)
    printed = sqrt(alpha_bar) * SIGMA**2 / (alpha_bar * SIGMA**2 + 1 - alpha_bar)
    assert_chain(slope, printed, LAMBDA / sqrt(alpha_bar))
    assert_chain(SIGMA**2 - slope**2 * variance(noisy, moments), SIGMA**2 * (1 - LAMBDA))


@pytest.mark.equation("editar-varianza")
def test_the_variance_of_what_is_redone() -> None:
    free = sp.Symbol("lambda", positive=True)
    ratio = (1 - alpha_bar) / alpha_bar
    assert_chain(ratio, SIGMA**2 * (1 - LAMBDA) / LAMBDA)
    assert_chain(
        SIGMA**2 * (1 - free) + free**2 * (SIGMA**2 * (1 - free) / free),
        SIGMA**2 * (1 - free) * (1 + free),
        SIGMA**2 * (1 - free**2),
    )


@pytest.mark.equation("editar-sdedit-ley")
@pytest.mark.parametrize("strength", [0.2, 0.5])
def test_the_law_of_sdedit(strength: float) -> None:
    """Con mil pasos y la red exacta, lo que sale es N(λg, σ²(1-λ²)): 2000 muestras."""
    schedule, sigma, guide = make_schedule("cosine", 1000), 0.5, 1.5

    def exact(x: Tensor, t: Tensor) -> Tensor:
        bar = schedule.alphas_cumprod[t].to(x)[:, None]
        return (1 - bar).sqrt() * x / (bar * sigma**2 + 1 - bar)

    out = sample(
        exact,
        Diffusion(schedule, variance="fixed_large", clip=False),
        (4,),
        indices=range(500),
        batch_size=500,
        edit=redraw(torch.full((4,), guide), strength),
    ).double()
    bar = float(schedule.alphas_cumprod[round(1000 * strength) - 1])
    weight = bar * sigma**2 / (bar * sigma**2 + 1 - bar)
    std = sigma * math.sqrt(1 - weight**2)
    assert abs(float(out.mean()) - weight * guide) < 4 * std / math.sqrt(2000)
    assert abs(float(out.std()) - std) < 4 * std / math.sqrt(4000)
