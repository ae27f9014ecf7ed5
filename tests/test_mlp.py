import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_lit.networks.embeddings import fourier_features, sinusoidal_embedding
from ddpm_lit.networks.mlp import MLP, MLPConfig


def randomize(model: MLP, seed: int = 0) -> MLP:
    """Da un valor que se note a todos los parámetros, también a los que nacen nulos."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter.shape[1] ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def points(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_new_network_returns_exactly_zero() -> None:
    model = MLP(MLPConfig(dim=3, num_classes=4))
    out = model(points(5, 3), torch.arange(5) * 200, torch.arange(5))
    assert torch.equal(out, torch.zeros(5, 3))


def test_the_network_is_its_formula() -> None:
    model = randomize(MLP(MLPConfig(dim=3, width=8, depth=2, num_classes=4))).double()
    x, t, labels = points(2, 3).double(), torch.tensor([7, 900]), torch.tensor([1, 4])

    def silu(h: Tensor) -> Tensor:
        return h / (1 + torch.exp(-h))

    weights = model.state_dict()

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    time = sinusoidal_embedding(t, 8).double()
    emb = linear("time_embedding.linear_2", silu(linear("time_embedding.linear_1", time)))
    emb = emb + weights["class_embedding.weight"][labels]
    h = linear("linear_in", x)
    for i in range(2):
        inner = linear(f"blocks.{i}.linear_1", silu(h))
        inner = inner + linear(f"blocks.{i}.time_emb_proj", silu(emb))
        h = h + linear(f"blocks.{i}.linear_2", silu(inner))
    expected = linear("linear_out", silu(h))
    torch.testing.assert_close(model(x, t, labels), expected, atol=1e-12, rtol=0)


def test_the_embedding_covers_the_process_whatever_its_length() -> None:
    long, short = (MLP(MLPConfig(timesteps=timesteps)) for timesteps in (1000, 250))
    randomize(long)
    short.load_state_dict(long.state_dict())
    x, t = points(4, 2), torch.tensor([0, 5, 100, 249])
    torch.testing.assert_close(short(x, t), long(x, 4 * t))


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    model = randomize(MLP(MLPConfig(num_classes=3))).double()
    x, t, labels = points(3, 2).double(), torch.tensor([0, 40, 999]), torch.tensor([2, 3, 0])
    together = model(x, t, labels)
    alone = torch.cat([model(x[[i]], t[[i]], labels[[i]]) for i in range(3)])
    torch.testing.assert_close(alone, together, atol=1e-12, rtol=0)


def test_without_labels_every_sample_has_no_class() -> None:
    model = randomize(MLP(MLPConfig(num_classes=3)))
    x, t = points(2, 2), torch.tensor([5, 700])
    torch.testing.assert_close(model(x, t), model(x, t, torch.tensor([3, 3])))
    for label in range(3):
        assert (model(x, t) - model(x, t, torch.full((2,), label))).abs().max() > 1e-3


def test_the_gradient_reaches_every_parameter() -> None:
    model = randomize(MLP(MLPConfig(num_classes=3)))
    model(points(4, 2), torch.tensor([0, 5, 700, 999]), torch.arange(4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert model.class_embedding is not None and model.class_embedding.weight.grad is not None
    assert (model.class_embedding.weight.grad.abs().sum(1) > 0).all()


def test_it_can_hold_the_noise_of_a_gaussian_mixture() -> None:
    r"""Ajuste directo a $\epsilon^*(x_t, t)$ exacto: mide lo que cabe en la red, sin ruido."""
    torch.manual_seed(0)
    angles = torch.arange(4) * (math.pi / 2)
    centres = 0.7 * torch.stack([angles.cos(), angles.sin()], dim=1)
    spread = 0.2
    alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), dim=0)

    def batch(size: int) -> tuple[Tensor, Tensor, Tensor]:
        t = torch.randint(1000, (size,))
        signal = alphas_cumprod[t][:, None]
        x_start = centres[torch.randint(4, (size,))] + spread * torch.randn(size, 2)
        x_t = signal.sqrt() * x_start + (1 - signal).sqrt() * torch.randn(size, 2)
        variance = signal * spread**2 + 1 - signal
        offsets = x_t[:, None] - signal.sqrt()[..., None] * centres
        weights = torch.softmax(-offsets.square().sum(2) / (2 * variance), dim=1)
        score = -(weights[..., None] * offsets).sum(1) / variance
        return x_t, t, -(1 - signal).sqrt() * score

    model = MLP(MLPConfig(width=64))
    steps = 900
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x_t, t, target = batch(256)
        loss = F.mse_loss(model(x_t, t), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    with torch.no_grad():
        x_t, t, target = batch(20_000)
        error = (model(x_t, t) - target).square().mean() / target.square().mean()
    assert error.sqrt().item() < 0.05


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim vale 0"),
        ({"width": 31}, ValueError, r"width vale 31.*número par"),
        ({"depth": 2.0}, TypeError, r"depth es 2\.0"),
        ({"num_classes": 0}, ValueError, "num_classes vale 0"),
        ({"timesteps": -1}, ValueError, "timesteps vale -1"),
    ],
)
def test_impossible_configurations_are_refused(
    options: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MLPConfig(**options)


def test_impossible_inputs_are_refused() -> None:
    model = MLP(MLPConfig(dim=2))
    with pytest.raises(ValueError, match=r"\(4, 3\), y este MLP espera \(B, 2\)"):
        model(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(1,\), y se esperaba \(4,\)"):
        model(torch.zeros(4, 2), torch.zeros(1))
    with pytest.raises(ValueError, match="no es condicional"):
        model(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, dtype=torch.int64))


def test_the_waves_of_a_point() -> None:
    x = torch.tensor([[0.3, -1.1]], dtype=torch.float64)
    expected = [0.3, -1.1]
    for wave in (math.sin, math.cos):
        expected += [wave(2**k * value) for value in (0.3, -1.1) for k in range(3)]
    found = fourier_features(x, 3)
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64))
    assert fourier_features(x, 0) is x


def test_a_network_with_waves_sees_what_changes_fast() -> None:
    """Con las mismas cuentas, aprende un escalón estrecho que sin ellas se le escapa."""
    x = torch.linspace(-1, 1, 400)[:, None]
    target = torch.where(x.abs() < 0.1, 1.0, 0.0)
    errors = {}
    for frequencies in (0, 5):
        torch.manual_seed(0)
        model = MLP(MLPConfig(dim=1, width=32, depth=1, frequencies=frequencies))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(150):
            loss = (model(x, torch.zeros(len(x))) - target).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        errors[frequencies] = float(loss.detach())
    assert errors[5] < 0.5 * errors[0], errors


@pytest.mark.parametrize(("frequencies", "kind"), [(-1, ValueError), (1.5, TypeError)])
def test_the_number_of_waves_is_checked(frequencies: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="frequencies"):
        MLPConfig(frequencies=frequencies)
