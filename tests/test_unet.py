import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.unet import (
    CELEBAHQ256_CONFIG,
    CIFAR10_CONFIG,
    Downsample,
    ResidualBlock,
    SelfAttention,
    UNet,
    UNetConfig,
    Upsample,
    describe,
)

DIFFUSERS = json.loads(
    (Path(__file__).parent / "fixtures" / "unet_diffusers.json").read_text(encoding="utf-8")
)["cases"]

SMALL = UNetConfig(
    in_channels=1,
    block_out_channels=(16, 24),
    attention=(False, True),
    norm_num_groups=8,
    layers_per_block=1,
    num_classes=10,
)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Da a todos los parámetros, también a los que nacen nulos, un valor que se note."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(config: UNetConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UNet(config).parameters())


# --- Los pesos y las salidas de diffusers -----------------------------------------------


def test_the_two_configurations_of_the_paper_have_their_parameters() -> None:
    assert parameters(CIFAR10_CONFIG) == 35_746_307
    assert parameters(CELEBAHQ256_CONFIG) == 113_673_219


def test_blocks_whose_shortcut_is_a_convolution() -> None:
    """En la de CIFAR-10, 13 de los 22 bloques: uno al bajar y todos los de la subida."""
    with torch.device("meta"):
        blocks = {
            name: isinstance(module.conv_shortcut, nn.Conv2d)
            for name, module in UNet(CIFAR10_CONFIG).named_modules()
            if isinstance(module, ResidualBlock)
        }
    assert (len(blocks), sum(blocks.values())) == (22, 13)
    assert all(convolved for name, convolved in blocks.items() if name.startswith("up_blocks"))


def fixture_config(case: str) -> UNetConfig:
    return UNetConfig(**DIFFUSERS[case]["config"])


def fill(model: nn.Module) -> None:
    """La fórmula con la que se rellenó también la red de diffusers."""
    for k, (name, parameter) in enumerate(sorted(model.named_parameters())):
        i = torch.arange(parameter.numel(), dtype=torch.int64)
        bits = ((i * i + (2 * k + 1) * i + k) * 2654435761) & 0xFFFFFFFF
        u = (bits.double() / 2**31 - 1).reshape(parameter.shape)
        if parameter.ndim == 1:
            value = 0.2 * u + ("norm" in name and name.endswith("weight"))
        elif name == "class_embedding.weight":
            value = u
        else:
            value = u * math.sqrt(3 / parameter[0].numel())
        with torch.no_grad():
            parameter.copy_(value)


@pytest.mark.parametrize("case", ["cifar10", "clases"])
def test_parameters_have_the_names_and_shapes_of_diffusers(case: str) -> None:
    with torch.device("meta"):
        ours = UNet(fixture_config(case)).state_dict()
    shapes = {name: "×".join(map(str, tensor.shape)) for name, tensor in ours.items()}
    assert shapes == DIFFUSERS[case]["parameters"]


@pytest.mark.parametrize("case", list(DIFFUSERS))
def test_outputs_are_those_of_diffusers(case: str) -> None:
    expected = DIFFUSERS[case]
    model = UNet(fixture_config(case)).eval()
    fill(model)
    n = torch.arange(math.prod(expected["shape"]), dtype=torch.float64)
    x = torch.sin(0.37 * n + 0.002 * n * n).float().reshape(expected["shape"])
    labels = expected["class_labels"]
    with torch.no_grad():
        out = model(
            x,
            torch.tensor(expected["t"]),
            None if labels is None else torch.tensor(labels),
        )
    flat = out.flatten().double()
    values = torch.tensor(expected["output"]["values"], dtype=torch.float64)
    # La salida tiene desviación 0,6: lo que queda es el redondeo de float32.
    torch.testing.assert_close(flat[:: expected["output"]["stride"]], values, atol=1e-5, rtol=0)
    assert flat.mean().item() == pytest.approx(expected["output"]["mean"], abs=1e-5)
    assert flat.std(correction=0).item() == pytest.approx(expected["output"]["std"], abs=1e-5)


# --- El embedding sinusoidal ------------------------------------------------------------


@pytest.mark.equation("unet-embedding")
@pytest.mark.parametrize("variant", [{}, {"flip": True}, {"shift": 0}])
def test_sinusoidal_embedding_is_its_closed_form(variant: dict[str, Any]) -> None:
    dim, times = 12, [0, 1, 7, 500, 999]
    ours = sinusoidal_embedding(torch.tensor(times), dim, **variant)
    assert ours.shape == (5, 12) and ours.dtype == torch.float32
    sines, cosines = (6, 0) if variant.get("flip") else (0, 6)
    for row, t in zip(ours, times, strict=True):
        for k in range(6):
            angle = t * 10_000 ** (-k / (6 - variant.get("shift", 1)))
            # float32 guarda t·ω con un error de 6e-8·t.
            close = {"abs": 1e-7 * (t + 5)}
            assert row[sines + k].item() == pytest.approx(math.sin(angle), **close)
            assert row[cosines + k].item() == pytest.approx(math.cos(angle), **close)


@pytest.mark.equation("unet-parecido")
def test_sinusoidal_embedding_products_depend_only_on_the_distance_between_times() -> None:
    emb = sinusoidal_embedding(torch.arange(1000), 64).double()
    products = emb @ emb.T
    frequencies = 10_000.0 ** (-torch.arange(32, dtype=torch.float64) / 31)
    distance = torch.arange(1000)[:, None] - torch.arange(1000)
    expected = torch.cos(torch.arange(1000)[:, None] * frequencies).sum(1)[distance.abs()]
    torch.testing.assert_close(products, expected, atol=5e-4, rtol=0)
    assert (products.fill_diagonal_(0) < 31.9).all(), "dos instantes tienen el mismo embedding"


def test_integer_and_real_times_give_the_same_embedding() -> None:
    t = torch.tensor([3, 250])
    assert torch.equal(sinusoidal_embedding(t, 8), sinusoidal_embedding(t.double(), 8))


@pytest.mark.parametrize(("t", "dim"), [(torch.zeros(2, 1), 8), (torch.zeros(2), 7)])
def test_sinusoidal_embedding_refuses_bad_input(t: Tensor, dim: int) -> None:
    with pytest.raises(ValueError, match=r"se esperaba un vector|necesita un número par"):
        sinusoidal_embedding(t, dim)


# --- Las piezas -------------------------------------------------------------------------


def explicit_group_norm(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    groups = x.reshape(len(x), norm.num_groups, -1)
    variance = groups.var(2, correction=0, keepdim=True)
    normal = (groups - groups.mean(2, keepdim=True)) / torch.sqrt(variance + 1e-6)
    return normal.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@pytest.mark.equation("unet-residual")
@pytest.mark.parametrize("out_channels", [16, 24])
def test_residual_block_is_its_formula(out_channels: int) -> None:
    block = ResidualBlock(16, out_channels, 20, SMALL).double()
    randomize(block)
    x, emb = images(2, 16, 5, 6).double(), images(2, 20).double()
    h = F.conv2d(
        silu(explicit_group_norm(x, block.norm1)), block.conv1.weight, block.conv1.bias, padding=1
    )
    time = silu(emb) @ block.time_emb_proj.weight.T + block.time_emb_proj.bias
    h = silu(explicit_group_norm(h + time.reshape(2, out_channels, 1, 1), block.norm2))
    h = F.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = x
    if out_channels != 16:
        matrix = block.conv_shortcut.weight[:, :, 0, 0]
        shortcut = torch.einsum("oc,bchw->bohw", matrix, x)
        shortcut = shortcut + block.conv_shortcut.bias[:, None, None]
    torch.testing.assert_close(block(x, emb), shortcut + h, atol=1e-12, rtol=0)


@pytest.mark.equation("unet-atencion")
@pytest.mark.parametrize("head_dim", [None, 4])
def test_attention_is_an_explicit_softmax(head_dim: int | None) -> None:
    config = dataclasses.replace(SMALL, attention_head_dim=head_dim)
    block = SelfAttention(16, config).double()
    randomize(block)
    x = images(2, 16, 3, 5).double()
    normal = explicit_group_norm(x, block.group_norm)
    attended = torch.zeros_like(x)
    size = head_dim or 16
    for first in range(0, 16, size):
        head = slice(first, first + size)
        q, k, v = (
            torch.einsum("dc,bchw->bdhw", layer.weight[head], normal) + layer.bias[head, None, None]
            for layer in (block.to_q, block.to_k, block.to_v)
        )
        scores = torch.einsum("bdij,bdkl->bijkl", q, k) / math.sqrt(size)
        weights = scores.exp() / scores.exp().sum((3, 4), keepdim=True)
        attended[:, head] = torch.einsum("bijkl,bdkl->bdij", weights, v)
    out = block.to_out[0]
    expected = x + torch.einsum("dc,bchw->bdhw", out.weight, attended) + out.bias[:, None, None]
    torch.testing.assert_close(block(x), expected, atol=1e-12, rtol=0)


def test_attention_does_not_know_where_each_pixel_is() -> None:
    block = SelfAttention(16, SMALL).double()
    randomize(block)
    x = images(2, 16, 4, 4).double()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))

    def shuffle(y: Tensor) -> Tensor:
        return y.flatten(2)[:, :, order].reshape(y.shape)

    torch.testing.assert_close(block(shuffle(x)), shuffle(block(x)), atol=1e-12, rtol=0)


def test_downsample_pads_only_below_and_to_the_right() -> None:
    block = Downsample(2).double()
    randomize(block)
    x = images(1, 2, 4, 6).double()
    out = block(x)
    assert out.shape == (1, 2, 2, 3)
    for i in range(2):
        for j in range(3):
            window = x[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            kernel = block.conv.weight[:, :, : window.shape[1], : window.shape[2]]
            expected = (kernel * window).sum((1, 2, 3)) + block.conv.bias
            torch.testing.assert_close(out[0, :, i, j], expected, atol=1e-12, rtol=0)


def test_downsample_can_pad_on_the_four_sides() -> None:
    block = Downsample(2, padding=1).double()
    randomize(block)
    x = images(1, 2, 4, 6).double()
    framed = torch.zeros(1, 2, 6, 8, dtype=torch.float64)
    framed[..., 1:5, 1:7] = x
    out = block(x)
    assert out.shape == (1, 2, 2, 3)
    for i in range(2):
        for j in range(3):
            window = framed[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            expected = (block.conv.weight * window).sum((1, 2, 3)) + block.conv.bias
            torch.testing.assert_close(out[0, :, i, j], expected, atol=1e-12, rtol=0)


def test_the_epsilon_of_the_configuration_is_that_of_every_normalisation() -> None:
    with torch.device("meta"):
        model = UNet(dataclasses.replace(SMALL, norm_eps=0.5))
    norms = [each for each in model.modules() if isinstance(each, nn.GroupNorm)]
    assert len(norms) > 10 and {each.eps for each in norms} == {0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [("norm_eps", 0.0), ("norm_eps", math.inf), ("downsample_padding", 2), ("freq_shift", -1)],
)
def test_the_variants_of_the_network_have_few_values(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(SMALL, **{name: value})


def test_upsample_repeats_each_pixel_before_its_convolution() -> None:
    block = Upsample(3)
    nn.init.dirac_(block.conv.weight)
    nn.init.zeros_(block.conv.bias)
    x = images(2, 3, 4, 5)
    expected = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(block(x), expected)


# --- La inicialización ------------------------------------------------------------------


@pytest.mark.parametrize("patch_size", [1, 2])
def test_a_new_network_returns_exactly_zero(patch_size: int) -> None:
    model = UNet(dataclasses.replace(SMALL, patch_size=patch_size))
    out = model(images(3, 1, 8, 8), torch.tensor([0, 500, 999]), torch.tensor([0, 9, 10]))
    assert out.shape == (3, 1, 8, 8) and torch.equal(out, torch.zeros_like(out))


def test_every_residual_branch_is_born_silent() -> None:
    model = UNet(SMALL)
    x, emb = images(2, 16, 4, 4), images(2, 64)
    assert torch.equal(model.up_blocks[1].resnets[0].conv2.weight.abs().max(), torch.tensor(0.0))
    resnet = model.down_blocks[0].resnets[0]
    assert torch.equal(resnet(x, emb), x)
    attention = model.mid_block.attentions[0]
    y = images(2, 24, 4, 4)
    assert torch.equal(attention(y), y)


def test_the_other_weights_follow_the_uniform_of_glorot() -> None:
    torch.manual_seed(0)
    model = UNet(dataclasses.replace(SMALL, block_out_channels=(64, 128)))
    conv, linear = model.down_blocks[1].resnets[0].conv1, model.time_embedding.linear_1
    for layer, fans in ((conv, (64 + 128) * 9), (linear, 64 + 256)):
        bound = math.sqrt(6 / fans)
        assert layer.weight.abs().max().item() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert not layer.bias.any()


# --- Lo que la red entera cumple --------------------------------------------------------


def test_dropout_acts_in_training_only() -> None:
    model = UNet(dataclasses.replace(SMALL, dropout=0.5))
    without = UNet(SMALL)
    randomize(model)
    randomize(without)
    x, t = images(2, 1, 8, 8), torch.tensor([5, 700])
    model.train()
    assert not torch.equal(model(x, t), model(x, t))
    model.eval()
    assert torch.equal(model(x, t), without(x, t))


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    model = UNet(SMALL).double()
    randomize(model)
    x, t, labels = images(3, 1, 8, 8).double(), torch.tensor([0, 40, 999]), torch.tensor([3, 10, 0])
    together = model(x, t, labels)
    order = torch.tensor([2, 0, 1])
    permuted = model(x[order], t[order], labels[order])
    torch.testing.assert_close(permuted, together[order], atol=1e-12, rtol=0)
    alone = torch.cat([model(x[[i]], t[[i]], labels[[i]]) for i in range(3)])
    torch.testing.assert_close(alone, together, atol=1e-12, rtol=0)


def test_mirrored_kernels_see_the_mirrored_image() -> None:
    # Con un solo nivel no hay reducción, que es lo único que distingue izquierda y derecha.
    config = dataclasses.replace(SMALL, block_out_channels=(16,), attention=(True,))
    model, mirror = UNet(config).double(), UNet(config).double()
    randomize(model)
    weights = model.state_dict()
    mirror.load_state_dict({k: v.flip(3) if v.ndim == 4 else v for k, v in weights.items()})
    x, t = images(2, 1, 5, 7).double(), torch.tensor([10, 900])
    torch.testing.assert_close(mirror(x.flip(3), t), model(x, t).flip(3), atol=1e-12, rtol=0)


def test_the_output_depends_on_the_time_and_on_the_class() -> None:
    model = UNet(SMALL)
    randomize(model)
    x = images(1, 1, 8, 8).expand(4, -1, -1, -1)
    t, labels = torch.tensor([0, 1, 1, 1]), torch.tensor([3, 3, 4, 10])
    out = model(x, t, labels)
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max().item() > 1e-3


def test_without_labels_every_sample_has_no_class() -> None:
    model = UNet(SMALL)
    randomize(model)
    x, t = images(2, 1, 8, 8), torch.tensor([5, 700])
    out = model(x, t)
    assert torch.equal(out, model(x, t, torch.full((2,), 10)))
    out.square().sum().backward()
    assert model.class_embedding is not None and model.class_embedding.weight.grad is not None
    used = model.class_embedding.weight.grad.abs().sum(1) > 0
    assert used.tolist() == [False] * 10 + [True]


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        UNetConfig(
            in_channels=2,
            out_channels=4,
            block_out_channels=(16, 16, 32),
            attention=(True, False, True),
            norm_num_groups=4,
            attention_head_dim=8,
            patch_size=2,
        ),
    ],
)
def test_the_gradient_reaches_every_parameter(config: UNetConfig) -> None:
    model = UNet(config)
    randomize(model)
    # Con un solo píxel en el centro no habría a qué atender.
    x = images(11, config.in_channels, 16, 16)
    labels = torch.arange(11) if config.num_classes else None
    model(x, torch.arange(11) * 90, labels).square().sum().backward()
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # El softmax no nota una constante sumada a las claves: su gradiente es 0 sin redondeo.
    assert [name for name in dead if not name.endswith("to_k.bias")] == []
    if model.class_embedding is not None:
        assert (model.class_embedding.weight.grad.abs().sum(1) > 0).all()  # type: ignore[union-attr]


def test_training_from_zero_moves_every_parameter() -> None:
    torch.manual_seed(0)
    model = UNet(dataclasses.replace(SMALL, num_classes=None))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, t = images(4, 1, 8, 8), torch.tensor([0, 100, 500, 999])
    losses = []
    for _ in range(12):
        loss = F.mse_loss(model(x, t), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(x.square().mean().item())
    assert losses[-1] < 0.7 * losses[0]
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (SMALL, (2, 6)),
        (dataclasses.replace(SMALL, in_channels=5, out_channels=1), (4, 4)),
        (dataclasses.replace(SMALL, in_channels=3, out_channels=6), (8, 2)),
        (dataclasses.replace(SMALL, block_out_channels=(8,), attention=(False,)), (5, 7)),
        (dataclasses.replace(SMALL, block_out_channels=(32, 48), norm_num_groups=16), (4, 6)),
        (dataclasses.replace(SMALL, patch_size=2), (12, 4)),
        (dataclasses.replace(SMALL, patch_size=3, layers_per_block=3), (6, 12)),
    ],
)
def test_any_size_divisible_by_the_downsampling_works(
    config: UNetConfig, size: tuple[int, int]
) -> None:
    model = UNet(config)
    randomize(model)
    out = model(images(2, config.in_channels, *size), torch.tensor([0, 999]))
    assert out.shape == (2, config.out_channels or config.in_channels, *size)
    assert out.isfinite().all() and out.std() > 0


def test_patches_are_folded_into_channels_and_unfolded_after() -> None:
    folded = UNet(dataclasses.replace(SMALL, patch_size=2))
    plain = UNet(dataclasses.replace(SMALL, in_channels=4))
    randomize(folded)
    plain.load_state_dict(folded.state_dict())
    x, t = images(2, 1, 8, 12), torch.tensor([3, 600])
    corners = [x[:, :, i::2, j::2] for i in range(2) for j in range(2)]
    inner = plain(torch.cat(corners, dim=1), t)
    expected = torch.empty_like(x)
    for channel, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        expected[:, 0, i::2, j::2] = inner[:, channel]
    assert torch.equal(folded(x, t), expected)


def test_channels_last_is_kept_by_every_piece_and_changes_no_result() -> None:
    config = dataclasses.replace(SMALL, in_channels=2, patch_size=2)
    model = UNet(config)
    randomize(model)
    x, t = images(2, 2, 16, 16), torch.tensor([3, 600])
    expected = model(x, t)
    model = model.to(memory_format=torch.channels_last)
    copied = []

    def check(module: nn.Module, _args: object, output: object) -> None:
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and not output.is_contiguous(memory_format=torch.channels_last)
        ):
            copied.append(type(module).__name__)

    for module in model.modules():
        module.register_forward_hook(check)
    out = model(x.to(memory_format=torch.channels_last), t)
    assert copied == []
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_output_has_the_type_of_the_network(dtype: torch.dtype) -> None:
    model = UNet(SMALL)
    randomize(model)
    x, t = images(2, 1, 8, 8), torch.tensor([3, 600])
    expected = model(x, t)
    out = model.to(dtype)(x.to(dtype), t)
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(out.float(), expected, atol=tolerance, rtol=0)


# --- Qué hace con las formas ------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "size"),
    [(CIFAR10_CONFIG, 32), (CELEBAHQ256_CONFIG, 256), (SMALL, (4, 6))],
)
def test_description_adds_up_to_the_whole_network(
    config: UNetConfig, size: int | tuple[int, int]
) -> None:
    rows = describe(config, size)
    assert sum(row.parameters for row in rows) == parameters(config)
    height, width = (size, size) if isinstance(size, int) else size
    assert rows[-1].block == "conv_out"
    assert rows[-1].shape == (config.in_channels, height, width)


def test_description_tells_each_piece_in_order() -> None:
    rows = describe(dataclasses.replace(SMALL, num_classes=None, patch_size=2), 16)
    assert [(row.block, row.shape) for row in rows] == [
        ("time_embedding", (64,)),
        ("patchify", (4, 8, 8)),
        ("conv_in", (16, 8, 8)),
        ("down_blocks.0.resnets.0", (16, 8, 8)),
        ("down_blocks.0.downsamplers.0", (16, 4, 4)),
        ("down_blocks.1.resnets.0", (24, 4, 4)),
        ("down_blocks.1.attentions.0", (24, 4, 4)),
        ("mid_block.resnets.0", (24, 4, 4)),
        ("mid_block.attentions.0", (24, 4, 4)),
        ("mid_block.resnets.1", (24, 4, 4)),
        ("up_blocks.0.resnets.0", (24, 4, 4)),
        ("up_blocks.0.attentions.0", (24, 4, 4)),
        ("up_blocks.0.resnets.1", (24, 4, 4)),
        ("up_blocks.0.attentions.1", (24, 4, 4)),
        ("up_blocks.0.upsamplers.0", (24, 8, 8)),
        ("up_blocks.1.resnets.0", (16, 8, 8)),
        ("up_blocks.1.resnets.1", (16, 8, 8)),
        ("conv_norm_out", (16, 8, 8)),
        ("conv_out", (4, 8, 8)),
        ("unpatchify", (1, 16, 16)),
    ]
    assert rows[1].parameters == 0
    assert rows[2].parameters == 16 * (4 * 9 + 1)


# --- Los errores ------------------------------------------------------------------------


def test_configuration_takes_lists_and_cannot_be_changed() -> None:
    config = UNetConfig(block_out_channels=[32, 64], attention=[False, True])  # type: ignore[arg-type]
    assert config == UNetConfig(block_out_channels=(32, 64), attention=(False, True))
    assert hash(config) and config.downsampling == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dropout = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"block_out_channels": (48, 64)}, ValueError, "48 canales.*por ejemplo 16"),
        ({"block_out_channels": ()}, ValueError, "al menos un nivel"),
        ({"block_out_channels": 64}, TypeError, "una tupla con un valor por nivel"),
        ({"block_out_channels": (32.0, 64)}, TypeError, "block_out_channels es 32.0"),
        ({"block_out_channels": (3, 6), "norm_num_groups": 3}, ValueError, "número par"),
        ({"attention": (True,)}, ValueError, "attention tiene 1 valores.*2: hace falta uno"),
        ({"attention": (0, 1)}, TypeError, "debe ser True o False"),
        ({"in_channels": 0}, ValueError, "in_channels vale 0"),
        ({"layers_per_block": True}, TypeError, "layers_per_block es True"),
        ({"out_channels": -3}, ValueError, "out_channels vale -3"),
        ({"num_classes": 0}, ValueError, "num_classes vale 0"),
        ({"patch_size": 1.5}, TypeError, "patch_size es 1.5"),
        ({"dropout": 1.0}, ValueError, r"dropout vale 1.0, y debe estar en \[0, 1\)"),
        ({"attention_head_dim": 24}, ValueError, "64 canales.*attention_head_dim=24"),
    ],
)
def test_impossible_configurations_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    valid = {"block_out_channels": (32, 64), "attention": (False, True)}
    with pytest.raises(error, match=message):
        UNetConfig(**{**valid, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "t", "labels", "error", "message"),
    [
        ((1, 1, 9, 8), 1, None, ValueError, "9×8.*múltiplos de 2.*8×8 y 10×8"),
        ((1, 1, 1, 1), 1, None, ValueError, "son 2×2"),
        ((1, 3, 8, 8), 1, None, ValueError, r"\(1, 3, 8, 8\).*\(B, 1, alto, ancho\)"),
        ((1, 8, 8), 1, None, ValueError, r"espera \(B, 1, alto, ancho\)"),
        ((2, 1, 8, 8), 3, None, ValueError, r"t tiene forma \(3,\), y se esperaba \(2,\)"),
        ((2, 1, 8, 8), 2, [1], ValueError, r"class_labels tiene forma \(1,\)"),
        ((2, 1, 8, 8), 2, [1, 11], ValueError, "de 1 a 11.*de 0 a 9, o 10 para «sin clase»"),
        ((2, 1, 8, 8), 2, [-1, 3], ValueError, "de -1 a 3"),
        ((2, 1, 8, 8), 2, [1.0, 2.0], TypeError, "torch.float32.*conviértelo con .long()"),
    ],
)
def test_impossible_inputs_are_refused(
    x: tuple[int, ...],
    t: int,
    labels: list[float] | None,
    error: type[Exception],
    message: str,
) -> None:
    model = UNet(SMALL)
    with pytest.raises(error, match=message):
        model(torch.zeros(x), torch.zeros(t), None if labels is None else torch.tensor(labels))


def test_an_unconditional_network_refuses_labels() -> None:
    model = UNet(dataclasses.replace(SMALL, num_classes=None))
    with pytest.raises(ValueError, match="no es condicional"):
        model(torch.zeros(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
