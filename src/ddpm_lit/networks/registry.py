"""Las redes que se pueden pedir por su nombre en una receta."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.unet import UNet, UNetConfig


class Network(NamedTuple):
    """Una fila: la clase de una red y la de su configuración.

    La configuración es una `dataclass`; la red se crea con ella, `network(config)`, y se llama
    `model(x_t, t, **condition)`. `outputs` nombra la opción que dice sus canales de salida, y
    `channels(config)` da los de la entrada y los de la salida.
    """

    config: type[Any]
    network: Callable[[Any], nn.Module]
    outputs: str
    channels: Callable[[Any], tuple[int, int]]


NETWORKS: dict[str, Network] = {
    "unet": Network(
        UNetConfig,
        UNet,
        "out_channels",
        lambda config: (
            config.in_channels,
            config.out_channels or config.in_channels,
        ),
    ),
    "mlp": Network(
        MLPConfig,
        MLP,
        "out_dim",
        lambda config: (config.dim, config.out_dim or config.dim),
    ),
}
"""Las redes, por su nombre."""
