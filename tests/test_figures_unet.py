"""Lo que el widget de la U-Net dice de cada bloque: hasta dónde ve y adónde mira."""

from typing import Any

import pytest
import torch
from scripts.figures.unet import attention_of_the_middle, reaches
from torch import nn

from ddpm_lit.unet import SelfAttention, UNet, UNetConfig, describe


class Nothing(nn.Module):
    """En el lugar de una normalización, que mezcla todas las posiciones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("patch", [1, 2])
def test_what_reaches_a_position_is_what_its_gradient_touches(patch: int) -> None:
    config = UNetConfig(
        in_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention=(False, True),
        norm_num_groups=4,
        patch_size=patch,
    )
    side = 64 * patch
    names = [row.block for row in describe(config, side) if "embedding" not in row.block]
    names = [name for name in names if name.split(".")[0] not in ("patchify", "unpatchify")]
    names = [name for name in names if name != "conv_norm_out"]
    wanted = dict(zip(names, reaches(names, patch), strict=True))
    model = UNet(config).double()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.GroupNorm):
            model.set_submodule(name, Nothing())
        elif isinstance(module, nn.Conv2d | nn.Linear):
            # Todo positivo: nada se cancela.
            nn.init.constant_(module.weight, 0.01)
    found = {}
    modules = dict(model.named_modules())
    for name in ("conv_in", "down_blocks.0.resnets.0", "down_blocks.0.downsamplers.0"):
        x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
        kept: list[torch.Tensor] = []

        def keep(_: nn.Module, __: Any, output: torch.Tensor, kept: Any = kept) -> None:
            kept.append(output)

        handle = modules[name].register_forward_hook(keep)
        model(x, torch.tensor([5]))
        handle.remove()
        height = kept[0].shape[-1]
        kept[0][0, :, height // 2, height // 2].sum().backward()
        assert x.grad is not None
        touched = x.grad[0, 0].abs().sum(0).nonzero()
        found[name] = int(touched.max() - touched.min()) + 1
    assert found == {name: wanted[name] for name in found}
    assert wanted["down_blocks.1.attentions.0"] is None
    assert wanted["up_blocks.1.resnets.0"] is None, "lo que sube trae toda la imagen"


def test_where_the_middle_looks_is_its_row_of_the_attention() -> None:
    torch.manual_seed(0)
    config = UNetConfig(block_out_channels=(16, 16), attention=(True, True), norm_num_groups=4)
    module = SelfAttention(16, config)
    x = torch.randn(1, 16, 6, 8)
    looked = attention_of_the_middle(module, x).detach()
    assert looked.shape == (6, 8)
    assert float(looked.sum()) == pytest.approx(1)
    # Con los valores y la salida elegidos, la atención devuelve esa misma fila por cada posición.
    nn.init.eye_(module.to_v.weight)
    nn.init.zeros_(module.to_v.bias)
    nn.init.eye_(module.to_out[0].weight)
    nn.init.zeros_(module.to_out[0].bias)
    expected = (module.group_norm(x)[0] * looked).sum((1, 2))
    torch.testing.assert_close((module(x) - x)[0, :, 3, 4], expected, atol=1e-5, rtol=1e-5)
