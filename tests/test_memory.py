"""La memoria: el orden de los tensores, y que la que se suelta se vuelve a usar."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ddpm_lit.machine.memory import memory_layout
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.storage import load_model, save_model
from resident import measured, needs_proc

FAULTS = """
import resource
import torch
from ddpm_lit.machine.memory import keep_freed_memory

if sys.argv[1] == "si":
    assert keep_freed_memory()

def work():
    kept = [torch.empty(100_000 * n).fill_(1) for n in range(1, 40)]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_used_again() -> None:
    """Treinta y nueve tensores, de 0,4 a 16 MB, tres veces: sin pedirlo, se devuelven cada vez."""
    returned, kept = measured(FAULTS, "no"), measured(FAULTS, "si")
    assert returned > 1000
    assert kept < returned / 2


HELD = """
import torch
from ddpm_lit.machine.memory import keep_freed_memory, return_freed_memory

assert keep_freed_memory()
if sys.argv[1] == "si":
    assert return_freed_memory()
before = memory()
kept = [torch.empty(1_000_000 * n).fill_(1) for n in range(1, 11)]
del kept
print((memory() - before) / 220e6)
"""


@needs_proc
def test_freed_memory_can_be_returned_at_once() -> None:
    """Diez tensores, de 4 a 40 MB: al soltarlos siguen siendo del proceso, o ya no."""
    assert measured(HELD, "no") > 0.9
    assert measured(HELD, "si") < 0.1


TRAINING = """
import torch
from ddpm_lit.data import Dataset
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.runs.train import train

torch.set_num_threads(1)

def trained(steps, recompute):
    options = {"block_out_channels": [16, 16], "attention": [False, False], "norm_num_groups": 8}
    training = {"steps": steps, "batch_size": 16, "checkpoint_gradients": recompute}
    recipe = recipe_from_dict({
        "name": "activaciones",
        "description": "Una red en que casi todo son activaciones.",
        "data": {"name": "folder"},
        "model": {"kind": "unet", "options": options},
        "diffusion": {"prediction": "v"},
        "training": training,
    })
    data = Dataset(torch.zeros(steps, 3, 8 * steps, 8 * steps, dtype=torch.uint8))
    folder = f"{sys.argv[2]}/{steps}"
    train(recipe, folder, dataset=data, device="cpu", progress=False)

trained(1, False)
before = memory()
trained(8, sys.argv[1] == "si")
print(memory("VmHWM") - before)
"""


@needs_proc
def test_recomputing_takes_half_the_memory_of_a_training(tmp_path: Path) -> None:
    """Un entrenamiento entero, desde la receta: 16 imágenes de 64×64 por lote."""
    usual = measured(TRAINING, "no", tmp_path / "no")
    assert usual > 100e6
    assert measured(TRAINING, "si", tmp_path / "si") < usual / 2


def test_only_images_have_their_channels_together() -> None:
    assert memory_layout((3, 8, 8)) is torch.channels_last
    assert memory_layout((2,)) is memory_layout((4, 16)) is torch.preserve_format


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [each for each in model.modules() if isinstance(each, nn.Conv2d)]


def test_a_loaded_model_runs_in_channels_last_and_draws_the_same(tmp_path: Path) -> None:
    loaded = load_pretrained("digits-ink")
    wide = [conv for conv in convolutions(loaded.model) if min(conv.weight.shape) > 1]
    assert wide and all(
        conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in wide
    )
    options = {"seed": 0, "sampler": "ddim", "steps": 5, "device": "cpu"}
    fast = loaded.sample(4, **options)
    loaded.model.to(memory_format=torch.contiguous_format)
    assert not wide[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast, loaded.sample(4, **options), rtol=0, atol=1e-5)
    save_model(tmp_path / "m.safetensors", loaded.model, loaded.recipe, loaded.shape)
    again = load_model(tmp_path / "m.safetensors")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_asked(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ddpm_lit.machine import memory

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    assert memory.keep_freed_memory() is memory.return_freed_memory() is False
