"""Modelos de diffusers para los tests: redes pequeñas, con todos los parámetros al azar."""

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from tiny import randomised

GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
"""La configuración de `google/ddpm-cifar10-32`, como está publicada."""

CELEBAHQ = GOOGLE | {
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
    "sample_size": 256,
}
"""La del artículo a 256×256, con las opciones de la anterior."""

SMALL: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}
"""Una red pequeña, con lo demás como viene en diffusers."""

NETWORKS: dict[str, dict[str, Any]] = {
    "pequeña": SMALL,
    # La imagen es más pequeña que la del artículo; la red, la misma.
    "cifar10": GOOGLE | {"sample_size": 16},
    # Lo que usa el guion de entrenamiento de diffusers: cabezas de 8, relleno simétrico…
    "cabezas": SMALL
    | {"in_channels": 3, "out_channels": 3, "block_out_channels": (24, 40), "layers_per_block": 2},
    "clases": SMALL | {"num_class_embeds": 7, "attention_head_dim": None},
    "escala": SMALL
    | {
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 8,
        "sample_size": [8, 16],
        "freq_shift": 1,
        "norm_eps": 1e-3,
    },
    "honda": SMALL
    | {
        "block_out_channels": (8, 16, 16, 24),
        "down_block_types": ("AttnDownBlock2D", "DownBlock2D") * 2,
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D") * 2,
        "layers_per_block": 3,
        "downsample_padding": 0,
        "dropout": 0.3,
    },
    # La forma de la de CelebA-HQ, con la octava parte de los canales.
    "ddpm-256": CELEBAHQ
    | {
        "block_out_channels": [16, 16, 32, 32, 64, 64],
        "norm_num_groups": 8,
        "sample_size": 64,
    },
}
"""Las redes que se comparan con `UNet2DModel`."""


def peer(name: str, **changes: Any) -> UNet2DModel:
    """Una de las redes, en diffusers y con los parámetros al azar."""
    torch.manual_seed(0)
    network: UNet2DModel = randomised(UNet2DModel(**NETWORKS[name] | changes))
    return network


def inputs(network: UNet2DModel, batch: int = 3) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, t y las clases, si la red las conoce."""
    generator = torch.Generator().manual_seed(1)
    config = network.config
    size = config.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    x = torch.randn(batch, config.in_channels, *sides, generator=generator)
    t = torch.randint(1000, (batch,), generator=generator)
    classes = config.num_class_embeds
    labels = None
    if classes is not None:
        labels = torch.randint(classes, (batch,), generator=generator)
    return x, t, labels


def saved(network: UNet2DModel, folder: Path, **options: Any) -> Path:
    """La red, guardada por diffusers en una carpeta plana."""
    network.save_pretrained(folder, **options)
    return folder
