"""Grabar la red y repetirla: sin GPU, que todo siga igual, y con una de mentira, qué se hace."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from ddpm_lit.machine import graphs
from ddpm_lit.machine.graphs import replayed
from ddpm_lit.models.pretrained import load_pretrained


def network(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
    return x_t * t[:, None] + condition.get("scalars", torch.zeros(()))


def test_off_the_card_it_is_the_same_network() -> None:
    x, t = torch.randn(3, 2), torch.arange(3)
    assert replayed(network, False) is network
    assert torch.equal(replayed(network)(x, t), network(x, t))


def test_a_model_gives_the_same_images() -> None:
    model = load_pretrained("digits-ink")
    options: dict[str, Any] = {"sampler": "ddim", "steps": 2, "device": "cpu"}
    recorded = model.sample(2, cuda_graph=True, **options)
    assert torch.equal(recorded, model.sample(2, **options))


class OnACard(Tensor):
    """Un tensor que dice estar en una GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


class FakeGraph:
    """Un grafo que, al repetirse, vuelve a llamar a la red con lo que haya en sus entradas."""

    replays: ClassVar[int] = 0

    def __init__(self, inputs: dict[str, Tensor], output: Tensor) -> None:
        self.inputs, self.output = inputs, output

    def replay(self) -> None:
        FakeGraph.replays += 1
        held = dict(self.inputs)
        self.output.copy_(network(held.pop("x_t"), held.pop("t"), **held))


def test_each_shape_is_recorded_once_and_what_comes_out_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[tuple[int, ...]] = []

    def record(model: Any, given: dict[str, Tensor]) -> graphs._Recording:
        recorded.append(tuple(given["x_t"].shape))
        inputs = {name: each.as_subclass(Tensor).clone() for name, each in given.items()}
        output = torch.empty_like(inputs["x_t"])
        return graphs._Recording(FakeGraph(inputs, output), inputs, output)  # type: ignore[arg-type]

    monkeypatch.setattr(graphs, "_record", record)
    model = replayed(network)

    def call(x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        return model(x.as_subclass(OnACard), t, **condition)

    first, second = torch.randn(3, 2), torch.randn(3, 2)
    t = torch.arange(1, 4)
    one, two = call(first, t), call(second, t)
    # Lo que salió la primera vez no cambia al repetir.
    assert torch.equal(one, network(first, t)) and torch.equal(two, network(second, t))
    assert recorded == [(3, 2)] and FakeGraph.replays == 2
    call(first[:2], t[:2])
    scalars = torch.ones(3, 2)
    assert torch.equal(call(first, t, scalars=scalars), network(first, t, scalars=scalars))
    assert recorded == [(3, 2), (2, 2), (3, 2)]
