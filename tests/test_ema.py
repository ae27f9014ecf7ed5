"""La media móvil de los pesos, contra su fórmula cerrada."""

import pytest
import torch
from torch import nn

from ddpm_lit.networks.ema import EMA


def decays(decay: float, count: int) -> list[float]:
    return [min(decay, (1 + n) / (10 + n)) for n in range(count)]


@pytest.mark.equation("entrenamiento-ema")
@pytest.mark.parametrize("decay", [0.0, 0.05, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("count", [1, 7, 300])
def test_closed_form_with_warm_up(decay: float, count: int) -> None:
    r"""$\theta_n = \prod d_i\,\theta_0 + \sum_k (1 - d_k) \prod_{i>k} d_i\,\theta_k$."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    ema = EMA(model, decay)
    visited = [model.weight.detach().clone()]
    for _ in range(count):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3))
        visited.append(model.weight.detach().clone())
        ema.update(model)

    ds = decays(decay, count)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for k, weights in enumerate(visited):
        share = torch.tensor(ds[k:], dtype=torch.float64).prod()
        expected += weights * (share if k == 0 else share * (1 - ds[k - 1]))
    assert torch.allclose(ema.model.weight, expected, rtol=1e-12, atol=1e-12)
    assert ema.updates == count


def test_with_constant_weights_the_start_fades_as_the_product_of_the_decays() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    ema = EMA(model, 0.9)
    nn.init.ones_(model.weight)
    for _ in range(50):
        ema.update(model)
    left = torch.tensor(decays(0.9, 50), dtype=torch.float64).prod()
    assert torch.allclose(1 - ema.model.weight.detach(), left.expand(1, 1), rtol=1e-9)


def test_the_first_steps_follow_the_network_closely() -> None:
    """El 0,9999 del artículo, sin calentamiento, dejaría casi todo el peso inicial."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    ema = EMA(model)
    nn.init.ones_(model.weight)
    for _ in range(100):
        ema.update(model)
    assert 0.99 < float(ema.model.weight.detach()) <= 1


def test_buffers_are_copied_and_never_averaged() -> None:
    model = nn.BatchNorm1d(2)
    ema = EMA(model, 0.9)
    model.train()(torch.tensor([[10.0, 0.0], [30.0, 0.0]]))
    ema.update(model)
    assert torch.equal(ema.model.running_mean, model.running_mean)
    assert torch.equal(ema.model.num_batches_tracked, model.num_batches_tracked)
    assert ema.model.num_batches_tracked.dtype == torch.int64


def test_it_is_a_copy_in_evaluation_mode_without_gradients() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    ema = EMA(model)
    assert not ema.model.training
    assert model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    nn.init.ones_(model[0].weight)
    assert not torch.equal(ema.model[0].weight, model[0].weight)


def test_half_precision_and_channels_last_are_kept() -> None:
    model = nn.Conv2d(4, 4, 3).to(torch.bfloat16).to(memory_format=torch.channels_last)
    ema = EMA(model)
    ema.update(model)
    assert ema.model.weight.dtype == torch.bfloat16
    assert ema.model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_a_decay_outside_the_interval_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decaimiento de la EMA debe estar en \[0, 1\)"):
        EMA(nn.Linear(1, 1), decay)
