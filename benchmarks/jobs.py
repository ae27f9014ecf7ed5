"""Qué hace un corredor: quién es, con qué red, qué tarea y con qué tamaños."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.unet import CIFAR10_CONFIG, UNetConfig

_OPENMOJI_64: UNetConfig = load_recipe("openmoji-64").network_config()
FOLDER = {
    "folder-recipe": _OPENMOJI_64,
    "folder-wide": replace(_OPENMOJI_64, block_out_channels=(64, 96, 160)),
    "folder-whole": replace(
        _OPENMOJI_64,
        block_out_channels=(32, 64, 96, 128),
        attention=(False, False, True, True),
        patch_size=1,
    ),
}
"""Las redes para imágenes de 64×64: la de la receta `openmoji-64`, una más ancha y una sin
parches."""

NETWORKS = {
    "cifar10": (replace(CIFAR10_CONFIG, dropout=0.0), 32),
    "small": (
        UNetConfig(
            in_channels=1,
            block_out_channels=(32, 64, 64),
            layers_per_block=1,
            attention=(False, True, True),
            norm_num_groups=8,
        ),
        28,
    ),
    "tiny": (
        UNetConfig(
            in_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            attention=(False, True),
            norm_num_groups=4,
        ),
        8,
    ),
    **{name: (config, 64) for name, config in FOLDER.items()},
}
"""Las redes y el lado de sus imágenes: la de CIFAR-10 del artículo, sin *dropout* (35,7 M); una
pequeña (1,2 M); para ensayar, una diminuta; y, para una carpeta, las de `FOLDER`."""


@dataclass(frozen=True)
class Job:
    """Lo que hace un corredor en cada paso.

    Args:
        who: `"ddpm_lit"`, `"diffusers"`, `"lucidrains"` o `"matmul"`, que solo multiplica matrices
            y da el pico de la máquina.
        task: `"train"`, un paso de entrenamiento; `"sample"`, una generación; u `"open"`, solo
            importar y, si la hay, abrir la carpeta.
        network: una de `NETWORKS`; la de lucidrains tiene los mismos parámetros, no la misma forma.
        batch: imágenes de cada lote.
        calls: llamadas a la red de cada generación.
        side: lado de las imágenes; 0, el de la red.
        width: canales del primer nivel; 0, los de la red.
        channels_last: si la red de diffusers se pone en `channels_last`; la de ddpm_lit lo está
            siempre.
        precision: `"float32"`, o `"bfloat16"` para la precisión mixta de `torch.autocast`.
        compiled: si la red pasa por `torch.compile`.
        graph: si al generar en CUDA la red se graba y se repite.
        switches: los valores de `[training]` que se le cambian a la receta de ddpm_lit.
        folder: la carpeta de imágenes con que entrena; vacía, unas cuantas de ruido.
        group: cuántos pasos seguidos se piden de una vez: en CUDA la CPU los encarga por delante.
        returned: si en la CPU la memoria que se suelta se devuelve al sistema.
        device: `"cpu"` o `"cuda"`.
    """

    who: str
    task: str = "train"
    network: str = "cifar10"
    batch: int = 8
    calls: int = 5
    side: int = 0
    width: int = 0
    channels_last: bool = False
    precision: str = "float32"
    compiled: bool = False
    graph: bool = False
    switches: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    returned: bool = False
    group: int = 1
    device: str = "cpu"

    @property
    def config(self) -> UNetConfig:
        """La configuración de la red, a la anchura pedida."""
        config, _ = NETWORKS[self.network]
        if not self.width:
            return config
        first = config.block_out_channels[0]
        channels = tuple(width * self.width // first for width in config.block_out_channels)
        groups = gcd(config.norm_num_groups, *channels)
        return replace(config, block_out_channels=channels, norm_num_groups=groups)

    @property
    def shape(self) -> tuple[int, int, int]:
        """La forma de una imagen, (C, lado, lado)."""
        config, side = NETWORKS[self.network]
        return (config.in_channels, self.side or side, self.side or side)
