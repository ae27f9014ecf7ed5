"""GroupNorm por canales: la misma que la de PyTorch, y sin cambiar la disposición en memoria."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.networks import normalisation
from ddpm_lit.networks.normalisation import GroupNorm, group_norm_by_channels

GROUPS, CHANNELS, EPS = 8, 24, 1e-6


def example(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unos datos lejos del 0, en channels_last, con sus factores y un gradiente."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x = (2 * draw(4, CHANNELS, 6, 5) + 3).to(memory_format=torch.channels_last)
    return x.to(dtype), draw(CHANNELS), draw(CHANNELS), draw(4, CHANNELS, 6, 5)


@pytest.mark.parametrize(
    ("dtype", "own", "error"),
    [
        (torch.float64, torch.float64, 1e-12),
        (torch.float32, torch.float32, 1e-5),
        (torch.bfloat16, torch.float32, 4e-2),
    ],
)
def test_it_is_the_usual_one_and_so_are_its_gradients(
    dtype: torch.dtype, own: torch.dtype, error: float
) -> None:
    x, weight, bias, pull = example(dtype)
    exact = [each.double().detach().requires_grad_() for each in (x, weight, bias)]
    torch.autograd.backward(F.group_norm(exact[0], GROUPS, exact[1], exact[2], EPS), pull)
    expected = F.group_norm(x.double(), GROUPS, weight, bias, EPS)
    given = (x, weight.to(own), bias.to(own))
    inputs = [each.detach().requires_grad_() for each in given]
    found = group_norm_by_channels(inputs[0], GROUPS, inputs[1], inputs[2], EPS)
    torch.autograd.backward(found, pull.to(dtype))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), expected, rtol=error, atol=error)
    for ours, theirs in zip(inputs, exact, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        torch.testing.assert_close(
            ours.grad.double(), theirs.grad, rtol=10 * error, atol=10 * error
        )


def test_groups_of_one_channel_and_only_one_group() -> None:
    x, weight, bias, _ = example(torch.float64)
    for groups in (1, CHANNELS):
        expected = F.group_norm(x, groups, weight, bias, EPS)
        found = group_norm_by_channels(x, groups, weight, bias, EPS)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_on_the_cpu_it_is_the_one_of_pytorch_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalisation, "LARGE", 1)
    x, *_ = example(torch.float32)
    ours, theirs = GroupNorm(GROUPS, CHANNELS), nn.GroupNorm(GROUPS, CHANNELS)
    assert torch.equal(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


class OnACard(Tensor):
    """Un tensor que dice estar en una GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


def test_on_a_card_only_what_is_large_goes_by_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def noted(x: Tensor, *_: object) -> Tensor:
        seen.append(tuple(x.shape))
        return x

    monkeypatch.setattr(normalisation, "group_norm_by_channels", noted)
    monkeypatch.setattr(normalisation, "LARGE", 4 * CHANNELS * 30)
    norm = GroupNorm(GROUPS, CHANNELS)
    x, *_ = example(torch.float32)
    norm(x.as_subclass(OnACard))
    norm(x[:3].as_subclass(OnACard))
    assert seen == [(4, CHANNELS, 6, 5)]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    norm(x[:3].as_subclass(OnACard))
    assert seen == [(4, CHANNELS, 6, 5), (3, CHANNELS, 6, 5)]
