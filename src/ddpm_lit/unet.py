r"""UNET: la red $\epsilon_\theta(x_t, t)$ de Ho et al. (2020), apéndice B.

Una U-Net baja la resolución de la imagen por niveles, pasa por un bloque central y
vuelve a subirla; en la subida, cada bloque residual recibe también la activación que
su gemelo de la bajada dejó guardada. El instante $t$ entra, como un vector, en todos
los bloques residuales. La red no sabe nada de difusión: recibe $(x_t, t)$ y devuelve
un tensor con la forma de $x_t$; qué significa ese tensor lo decide quien la entrena.

Los nombres de los parámetros son los de `UNet2DModel` de diffusers, de modo que los
pesos de una biblioteca se cargan en la otra sin traducir nada. La configuración por
defecto es la de los checkpoints originales: normalización con $\varepsilon = 10^{-6}$,
una sola cabeza de atención y reducción con relleno solo abajo y a la derecha.

Fuentes: Ho et al. 2020 (arXiv:2006.11239) y el código de sus autores; Vaswani et al.
2017 (arXiv:1706.03762) para el embedding sinusoidal y la atención.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.conditioning import (
    Text,
    TextEncoder,
    check_data,
    null_condition,
)
from ddpm_lit.networks.embeddings import (
    ScalarEmbedding,
    TimeEmbedding,
    check_embedding_dim,
    check_floating,
    check_times,
    embed_classes,
    embed_scalars,
    in_its_precision,
    sinusoidal_embedding,
    tracing,
)
from ddpm_lit.networks.normalisation import GroupNorm

# --- La configuración -------------------------------------------------------------------


@dataclass(frozen=True)
class UNetConfig:
    r"""Lo que define una U-Net. Con los valores por defecto, la de CIFAR-10 del artículo.

    Args:
        in_channels: canales de la entrada. Si la condición se concatena a $x_t$, la suma.
        out_channels: canales de la salida; `None` significa los de la entrada. Una red
            que predice además la varianza pide el doble.
        block_out_channels: canales de cada nivel, del más fino al más grueso. Entre un
            nivel y el siguiente, la resolución se divide por 2.
        layers_per_block: bloques residuales por nivel en la bajada (en la subida, uno más).
        attention: para cada nivel, si lleva atención detrás de cada bloque residual. El
            bloque central la lleva siempre.
        dropout: probabilidad de apagar cada activación, en $[0, 1)$; solo al entrenar.
        norm_num_groups: grupos de GroupNorm; debe dividir a los canales de cada nivel.
        num_classes: número de clases, o `None` si la red no es condicional. El embedding
            tiene una fila más, la última, que significa «sin clase».
        attention_head_dim: canales de cada cabeza de atención; `None` es una sola cabeza.
        scale_shift: si el instante (y lo que se le suma) multiplica y desplaza las activaciones,
            FiLM (Perez et al. 2018), en vez de solo sumarse a ellas.
        num_scalars: cuántos números recibe como condición; 0, ninguno.
        condition_channels: canales de la imagen que recibe como condición; 0, ninguna.
        vocabulary: las palabras que sabe leer; vacío, la red no lee texto.
        text_dim: dimensión de los vectores de las palabras.
        text_layers: capas del codificador de texto.
        text_length: tokens de una frase, contando el de inicio.
        cross_attention: si, donde hay atención, los píxeles miran también a las palabras; si
            no, la frase llega solo resumida, sumada al embedding del instante.
        patch_size: lado del parche que se pliega en canales antes de la red y se despliega
            después (*space-to-depth*), sin parámetros. Con 2, una imagen 28×28×1 entra
            como 14×14×4: cuatro veces menos trabajo por canal, muy útil en CPU, a cambio
            de algo de detalle fino. El artículo usa 1.
        norm_eps: el $\varepsilon$ de GroupNorm.
        downsample_padding: el relleno de la reducción: 0, una fila abajo y una columna a la
            derecha; 1, también arriba y a la izquierda.
        flip_sin_to_cos: si en el embedding del instante van delante los cosenos.
        freq_shift: lo que se resta a $h$ en sus frecuencias, 0 o 1 (véase
            `sinusoidal_embedding`).

    Raises:
        ValueError: si un valor no es posible o no encaja con los demás.
        TypeError: si un valor no es del tipo que se espera.
    """

    in_channels: int = 3
    out_channels: int | None = None
    block_out_channels: tuple[int, ...] = (128, 256, 256, 256)
    layers_per_block: int = 2
    attention: tuple[bool, ...] = (False, True, False, False)
    dropout: float = 0.0
    norm_num_groups: int = 32
    num_classes: int | None = None
    attention_head_dim: int | None = None
    scale_shift: bool = False
    num_scalars: int = 0
    condition_channels: int = 0
    vocabulary: tuple[str, ...] = field(default=(), repr=False)
    text_dim: int = 128
    text_layers: int = 2
    text_length: int = 12
    cross_attention: bool = True
    patch_size: int = 1
    norm_eps: float = 1e-6
    downsample_padding: int = 0
    flip_sin_to_cos: bool = False
    freq_shift: int = 1

    def __post_init__(self) -> None:
        # Un fichero TOML da listas; las tuplas hacen que la configuración sea
        # inmutable.
        expected = dict.fromkeys(
            ("block_out_channels", "attention"), "con un valor por nivel"
        )
        for name, contents in (
            expected | {"vocabulary": "de palabras"}
        ).items():
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):
                raise TypeError(
                    f"{name} es {value!r}, y se esperaba una tupla {contents}."
                )
            object.__setattr__(self, name, tuple(value))
        for name in (
            *(
                "in_channels",
                "layers_per_block",
                "norm_num_groups",
                "patch_size",
            ),
            *("text_dim", "text_layers", "text_length"),
        ):
            check_positive(name, getattr(self, name))
        for name in ("num_scalars", "condition_channels"):
            if getattr(self, name) != 0:
                check_positive(name, getattr(self, name))
        for name in ("out_channels", "num_classes", "attention_head_dim"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if not self.block_out_channels:
            raise ValueError(
                "block_out_channels está vacío: la U-Net necesita al menos un "
                "nivel."
            )
        for channels in self.block_out_channels:
            check_positive("block_out_channels", channels)
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"Un nivel tiene {channels} canales, que no se reparten en "
                    f"norm_num_groups={self.norm_num_groups} grupos iguales: "
                    f"usa un múltiplo de {self.norm_num_groups}, u otro número "
                    "de grupos (por ejemplo "
                    f"{math.gcd(*self.block_out_channels, 32)})."
                )
        check_embedding_dim("block_out_channels[0]", self.block_out_channels[0])
        if len(self.attention) != len(self.block_out_channels):
            raise ValueError(
                f"attention tiene {len(self.attention)} valores y "
                f"block_out_channels {len(self.block_out_channels)}: hace "
                "falta uno por nivel."
            )
        if not all(isinstance(value, bool) for value in self.attention):
            raise TypeError(
                f"attention es {self.attention}: cada valor debe ser True o "
                "False."
            )
        check_dropout(self.dropout)
        check_positive_number("norm_eps", self.norm_eps)
        for name in ("downsample_padding", "freq_shift"):
            if getattr(self, name) not in (0, 1):
                raise ValueError(
                    f"{name} vale {getattr(self, name)!r}, y debe ser 0 o 1."
                )
        if self.attention_head_dim is not None:
            levels = zip(self.block_out_channels, self.attention, strict=True)
            attended = [channels for channels, attends in levels if attends]
            for channels in (*attended, self.block_out_channels[-1]):
                if channels % self.attention_head_dim:
                    raise ValueError(
                        f"Un nivel con atención tiene {channels} canales, que "
                        "no se reparten en cabezas de "
                        f"attention_head_dim={self.attention_head_dim}: usa un "
                        f"divisor de {channels}, o None para una sola cabeza."
                    )

    @property
    def downsampling(self) -> int:
        """Cuánto se reduce la imagen en el punto más profundo; ha de dividir a sus lados."""
        halvings: int = 2 ** (len(self.block_out_channels) - 1)
        return self.patch_size * halvings


# --- La imagen de la condición ----------------------------------------------------------


def with_image(x: Tensor, image: Tensor | None, channels: int) -> Tensor:
    r"""Pega a $x_t$, en los canales, la imagen de la condición.

    Args:
        x: $x_t$, de forma (B, C, H, W).
        image: (B, channels, H, W), o `None` si `channels` es 0.
        channels: cuántos canales de condición lleva la red.

    Returns:
        Tensor de forma (B, C + channels, H, W).

    Raises:
        ValueError: si la imagen falta, sobra, no tiene la forma debida o no está en [-1, 1].
    """
    if image is None and channels == 0:
        return x
    expected = (len(x), channels, *x.shape[2:])
    if channels == 0 or image is None or image.shape != expected:
        came = (
            "ninguna" if image is None else f"una de forma {tuple(image.shape)}"
        )
        wanted = f"una de forma {expected}" if channels else "ninguna"
        raise ValueError(
            f"La red espera {wanted} como imagen de la condición (image) y ha "
            f"llegado {came}."
        )
    if not image.is_floating_point():
        check_data("image", image)
    return torch.cat([x, image.to(x)], dim=1)


# --- Las piezas -------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    r"""Bloque residual con el tiempo sumado entre sus dos convoluciones.

    $$h = \mathrm{conv}_1(\mathrm{SiLU}(\mathrm{GN}_1(x))) + W\,\mathrm{SiLU}(e) + b$$

    $$y = \mathrm{atajo}(x) + \mathrm{conv}_2(\mathrm{drop}(\mathrm{SiLU}(\mathrm{GN}_2(h))))$$

    donde $e$ es el embedding del instante y el atajo es la identidad, o una convolución
    1×1 cuando cambian los canales. Con `scale_shift`, $e$ no se suma: da una escala
    $\gamma$ y un desplazamiento $\beta$ por canal, $\mathrm{GN}_2(h)\,(1+\gamma)+\beta$.

    Args:
        in_channels: canales de la entrada.
        out_channels: canales de la salida.
        time_dim: dimensión del embedding del instante.
        config: de aquí salen `norm_num_groups`, `dropout` y `scale_shift`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int,
        config: UNetConfig,
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, config)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.scale_shift = config.scale_shift
        self.time_emb_proj = nn.Linear(
            time_dim, out_channels * (2 if self.scale_shift else 1)
        )
        self.norm2 = group_norm(out_channels, config)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1)
            if in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """De (B, in_channels, H, W) y (B, time_dim) a (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        moved = self.time_emb_proj(F.silu(emb))[:, :, None, None]
        if self.scale_shift:
            scale, shift = moved.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + moved)
        h = self.conv2(self.dropout(F.silu(h)))
        out: Tensor = self.conv_shortcut(x) + h
        return out


class SelfAttention(nn.Module):
    r"""Atención de cada píxel a todos los demás, sumada a la entrada.

    $$y = x + \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right)V\,W_o, \qquad
    Q, K, V = \text{proyecciones lineales de } \mathrm{GN}(x)$$

    Los $H \cdot W$ píxeles son los elementos de la secuencia y $d$ son los canales de
    una cabeza. Con una sola cabeza, $d$ son todos los canales.

    Args:
        channels: canales de la entrada y de la salida.
        config: de aquí salen `norm_num_groups` y `attention_head_dim`.
    """

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads = channels // (config.attention_head_dim or channels)
        self.group_norm = group_norm(channels, config)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """De (B, channels, H, W) a la misma forma."""
        height, width = x.shape[-2:]
        # En channels_last, (B, C, H, W) ya está en memoria como (B, H·W, C):
        # nada se copia.
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            project(pixels).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        attended = (
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        )
        out: Tensor = (
            self.to_out[0](attended)
            .transpose(1, 2)
            .unflatten(2, (height, width))
        )
        return x + out


class CrossAttention(nn.Module):
    r"""Atención de cada píxel a las palabras de la frase, sumada a la entrada.

    $$y = x + \mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{d}}\right)V\,W_o$$

    Las preguntas $Q$ son una proyección de los píxeles, y $K$ y $V$, dos proyecciones de los
    vectores de las palabras (Rombach et al. 2022, arXiv:2112.10752). El relleno no se mira.

    Args:
        channels: canales de la entrada y de la salida.
        config: de aquí salen `norm_num_groups`, `attention_head_dim` y `text_dim`.
    """

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads = channels // (config.attention_head_dim or channels)
        self.group_norm = group_norm(channels, config)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(config.text_dim, channels)
        self.to_v = nn.Linear(config.text_dim, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, text: Text) -> Tensor:
        """De (B, channels, H, W) a la misma forma."""
        height, width = x.shape[-2:]
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (
                self.to_q(pixels),
                self.to_k(text.tokens),
                self.to_v(text.tokens),
            )
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=text.mask)
        attended = attended.transpose(1, 2).flatten(2)
        out: Tensor = (
            self.to_out[0](attended)
            .transpose(1, 2)
            .unflatten(2, (height, width))
        )
        return x + out


class Downsample(nn.Module):
    """Divide la resolución por 2 con una convolución 3×3 de paso 2.

    Con `padding` 0 el relleno va solo abajo y a la derecha, como el «SAME» de TensorFlow con
    el que se entrenaron los checkpoints originales; con 1, por los cuatro lados.

    Args:
        channels: canales de la entrada y de la salida.
        padding: 0 o 1.
    """

    def __init__(self, channels: int, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """De (B, channels, H, W) a (B, channels, H/2, W/2)."""
        if self.conv.padding == (0, 0):
            x = F.pad(x, (0, 1, 0, 1))
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Multiplica la resolución por 2: repite cada píxel y aplica una convolución 3×3.

    Args:
        channels: canales de la entrada y de la salida.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """De (B, channels, H, W) a (B, channels, 2H, 2W)."""
        out: Tensor = self.conv(
            F.interpolate(x, scale_factor=2.0, mode="nearest")
        )
        return out


def cross_attentions(
    channels: int, count: int, config: UNetConfig, *, attention: bool
) -> nn.ModuleList:
    """La atención al texto de `count` bloques, o ninguna si la red no la lleva ahí."""
    wanted = attention and config.cross_attention and bool(config.vocabulary)
    return nn.ModuleList(
        CrossAttention(channels, config) for _ in range(count * wanted)
    )


def group_norm(channels: int, config: UNetConfig) -> nn.GroupNorm:
    """GroupNorm con los grupos y el épsilon de la configuración."""
    return GroupNorm(config.norm_num_groups, channels, eps=config.norm_eps)


# --- Los niveles ------------------------------------------------------------------------


class DownBlock(nn.Module):
    """Un nivel de la bajada: bloques residuales, atención si la lleva, y reducción.

    Args:
        in_channels: canales que llegan del nivel anterior.
        out_channels: canales de este nivel.
        time_dim: dimensión del embedding del instante.
        config: la configuración de la U-Net.
        attention: si este nivel lleva atención.
        downsample: si acaba en una reducción (todos menos el último).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int,
        config: UNetConfig,
        *,
        attention: bool,
        downsample: bool,
    ) -> None:
        super().__init__()
        channels = [in_channels] + [out_channels] * config.layers_per_block
        self.resnets = nn.ModuleList(
            ResidualBlock(before, after, time_dim, config)
            for before, after in pairwise(channels)
        )
        self.attentions = nn.ModuleList(
            SelfAttention(out_channels, config) if attention else nn.Identity()
            for _ in self.resnets
        )
        self.cross_attentions = cross_attentions(
            out_channels, len(self.resnets), config, attention=attention
        )
        self.downsamplers = nn.ModuleList(
            [Downsample(out_channels, config.downsample_padding)]
            if downsample
            else []
        )

    def forward(
        self, h: Tensor, emb: Tensor, text: Text | None = None
    ) -> list[Tensor]:
        """Las activaciones del nivel, en orden; la última es su salida."""
        states = []
        for index, resnet in enumerate(self.resnets):
            h = self.attentions[index](resnet(h, emb))
            if self.cross_attentions:
                h = self.cross_attentions[index](h, text)
            states.append(h)
        for downsampler in self.downsamplers:
            h = downsampler(h)
            states.append(h)
        return states


class MidBlock(nn.Module):
    """El centro de la U-Net: bloque residual, atención, bloque residual.

    Args:
        channels: canales del último nivel.
        time_dim: dimensión del embedding del instante.
        config: la configuración de la U-Net.
    """

    def __init__(
        self, channels: int, time_dim: int, config: UNetConfig
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, channels, time_dim, config)
            for _ in range(2)
        )
        self.attentions = nn.ModuleList([SelfAttention(channels, config)])
        self.cross_attentions = cross_attentions(
            channels, 1, config, attention=True
        )

    def forward(
        self, h: Tensor, emb: Tensor, text: Text | None = None
    ) -> Tensor:
        """De (B, channels, H, W) a la misma forma."""
        h = self.attentions[0](self.resnets[0](h, emb))
        for cross_attention in self.cross_attentions:
            h = cross_attention(h, text)
        h = self.resnets[1](h, emb)
        return h


class UpBlock(nn.Module):
    """Un nivel de la subida: bloques residuales que gastan lo guardado, y ampliación.

    Args:
        in_channels: canales que llegan del nivel inferior.
        out_channels: canales de este nivel.
        skip_channels: canales de cada activación guardada, en el orden en que se gastan.
        time_dim: dimensión del embedding del instante.
        config: la configuración de la U-Net.
        attention: si este nivel lleva atención.
        upsample: si acaba en una ampliación (todos menos el último).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skip_channels: list[int],
        time_dim: int,
        config: UNetConfig,
        *,
        attention: bool,
        upsample: bool,
    ) -> None:
        super().__init__()
        channels = [in_channels] + [out_channels] * (len(skip_channels) - 1)
        self.resnets = nn.ModuleList(
            ResidualBlock(before + skip, out_channels, time_dim, config)
            for before, skip in zip(channels, skip_channels, strict=True)
        )
        self.attentions = nn.ModuleList(
            SelfAttention(out_channels, config) if attention else nn.Identity()
            for _ in self.resnets
        )
        self.cross_attentions = cross_attentions(
            out_channels, len(self.resnets), config, attention=attention
        )
        self.upsamplers = nn.ModuleList(
            [Upsample(out_channels)] if upsample else []
        )

    def forward(
        self,
        h: Tensor,
        emb: Tensor,
        skips: list[Tensor],
        text: Text | None = None,
    ) -> Tensor:
        """Saca de `skips`, por el final, una activación por bloque residual."""
        for index, resnet in enumerate(self.resnets):
            h = self.attentions[index](
                resnet(torch.cat([h, skips.pop()], dim=1), emb)
            )
            if self.cross_attentions:
                h = self.cross_attentions[index](h, text)
        for upsampler in self.upsamplers:
            h = upsampler(h)
        return h


# --- La U-Net ---------------------------------------------------------------------------


class UNet(nn.Module):
    r"""La U-Net de Ho et al. (2020, apéndice B).

    Recién creada devuelve exactamente 0 para cualquier entrada: las últimas capas nacen
    nulas. En CPU es más rápida en `channels_last`
    (`model.to(memory_format=torch.channels_last)`, y lo mismo con los datos).

    Args:
        config: la configuración; se guarda en `model.config`.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.block_out_channels
        levels = range(len(channels))
        time_dim = 4 * channels[0]
        pixels = config.patch_size**2
        out_channels = config.out_channels or config.in_channels

        self.time_embedding = TimeEmbedding(channels[0], time_dim)
        self.class_embedding = (
            nn.Embedding(config.num_classes + 1, time_dim)
            if config.num_classes
            else None
        )
        self.scalar_embedding = (
            ScalarEmbedding(config.num_scalars, channels[0], time_dim)
            if config.num_scalars
            else None
        )
        self.text_encoder = (
            TextEncoder(
                len(config.vocabulary),
                dim=config.text_dim,
                layers=config.text_layers,
                length=config.text_length,
                dropout=config.dropout,
            )
            if config.vocabulary
            else None
        )
        self.text_proj = (
            nn.Linear(config.text_dim, time_dim) if config.vocabulary else None
        )
        self.patchify = (
            nn.PixelUnshuffle(config.patch_size)
            if pixels > 1
            else nn.Identity()
        )
        read_channels = config.in_channels + config.condition_channels
        self.conv_in = nn.Conv2d(
            read_channels * pixels, channels[0], 3, padding=1
        )

        self.down_blocks = nn.ModuleList()
        skip_channels = [channels[0]]
        for level in levels:
            last = level == levels[-1]
            self.down_blocks.append(
                DownBlock(
                    skip_channels[-1],
                    channels[level],
                    time_dim,
                    config,
                    attention=config.attention[level],
                    downsample=not last,
                )
            )
            skip_channels += [channels[level]] * (
                config.layers_per_block + (not last)
            )

        self.mid_block = MidBlock(channels[-1], time_dim, config)

        self.up_blocks = nn.ModuleList()
        below = channels[-1]
        for level in reversed(levels):
            self.up_blocks.append(
                UpBlock(
                    below,
                    channels[level],
                    [
                        skip_channels.pop()
                        for _ in range(config.layers_per_block + 1)
                    ],
                    time_dim,
                    config,
                    attention=config.attention[level],
                    upsample=level > 0,
                )
            )
            below = channels[level]

        self.conv_norm_out = group_norm(channels[0], config)
        self.conv_out = nn.Conv2d(
            channels[0], out_channels * pixels, 3, padding=1
        )
        self.unpatchify = (
            nn.PixelShuffle(config.patch_size) if pixels > 1 else nn.Identity()
        )
        self.apply(initialize)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        class_labels: Tensor | None = None,
        *,
        scalars: Tensor | None = None,
        tokens: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        r"""Evalúa la red, $\epsilon_\theta(x_t, t)$ si es eso lo que aprendió a predecir.

        Una condición que no se da es la nula (véase `ddpm_lit.conditioning`), menos la
        imagen, que es obligatoria si la red la lleva.

        Args:
            x: $x_t$, de forma (B, in_channels, H, W), con H y W múltiplos de
                `config.downsampling`.
            t: instantes, de forma (B,): índices de código del schedule original.
            class_labels: int64 (B,) en $[0, \texttt{num\_classes}]$; el último valor, o
                `None`, significa «sin clase».
            scalars: (B, num_scalars); NaN significa «sin dato».
            tokens: int64 (B, text_length), como los da `tokenize`.
            image: (B, condition_channels, H, W).

        Returns:
            Tensor de forma (B, out_channels, H, W).

        Raises:
            ValueError: si las formas no encajan, o llega una condición que la red no lleva.
        """
        check_images(x, self.config)
        check_times(t, x)
        if x.dtype != self.conv_in.weight.dtype:
            return in_its_precision(
                self,
                self.conv_in.weight,
                x,
                t,
                class_labels=class_labels,
                scalars=scalars,
                tokens=tokens,
                image=image,
            )
        time = sinusoidal_embedding(
            t,
            self.config.block_out_channels[0],
            flip=self.config.flip_sin_to_cos,
            shift=self.config.freq_shift,
        )
        emb = self.time_embedding(time.to(x.dtype))
        emb = embed_classes(emb, self.class_embedding, class_labels)
        emb = embed_scalars(emb, self.scalar_embedding, scalars)
        emb, text = self._read(emb, tokens)

        h = self.conv_in(
            self.patchify(with_image(x, image, self.config.condition_channels))
        )
        skips = [h]
        for block in self.down_blocks:
            skips += block(skips[-1], emb, text)
        h = self.mid_block(skips[-1], emb, text)
        for block in self.up_blocks:
            h = block(h, emb, skips, text)
        h = self.conv_out(F.silu(self.conv_norm_out(h)))
        out: Tensor = self.unpatchify(h)
        return out

    def _read(
        self, emb: Tensor, tokens: Tensor | None
    ) -> tuple[Tensor, Text | None]:
        """Lee la frase y suma su resumen al embedding; sin frase, lee la que no dice nada."""
        if self.text_encoder is None or self.text_proj is None:
            if tokens is not None:
                raise ValueError(
                    "Esta red no lee texto y ha recibido tokens: créala con "
                    "un vocabulary, o llámala sin ellos."
                )
            return emb, None
        if tokens is None:
            tokens = torch.zeros(
                len(emb),
                self.config.text_length,
                dtype=torch.int64,
                device=emb.device,
            )
            tokens = null_condition({"tokens": tokens})["tokens"]
        if len(tokens) != len(emb):
            raise ValueError(
                f"Han llegado {len(tokens)} frases para {len(emb)} muestras: "
                "hace falta una por muestra."
            )
        text: Text = self.text_encoder(tokens)
        return emb + self.text_proj(text.summary), text


def initialize(module: nn.Module) -> None:
    r"""Inicialización de Ho et al. (código de los autores), para `Module.apply`.

    Las capas lineales y las convoluciones parten de la uniforme de Glorot y de sesgo 0;
    las últimas de cada rama (`conv2`, `to_out`, `conv_out`) parten de 0, de modo que
    al empezar cada bloque residual es solo su atajo y la red devuelve 0.

    Args:
        module: un módulo cualquiera; los que no son de la lista quedan como estaban.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    # `apply` visita a los hijos antes que al padre: este puede anular su
    # última capa.
    elif isinstance(module, ResidualBlock):
        zero_(module.conv2)
    elif isinstance(module, (SelfAttention, CrossAttention)):
        zero_(module.to_out)
    elif isinstance(module, UNet):
        zero_(module.conv_out)


def zero_(module: nn.Module) -> None:
    """Pone a 0 todos los parámetros de un módulo."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


# --- Qué hace la U-Net con las formas ---------------------------------------------------


BLOCKS = (ResidualBlock, SelfAttention, CrossAttention, Downsample, Upsample)


class BlockSummary(NamedTuple):
    """Una pieza de la U-Net: su nombre, la forma de su salida (sin B) y sus parámetros."""

    block: str
    shape: tuple[int, ...]
    parameters: int


def describe(
    config: UNetConfig, sample_size: int | tuple[int, int]
) -> list[BlockSummary]:
    """Recorre la U-Net y anota qué sale de cada pieza y cuántos parámetros tiene.

    La red se construye y se ejecuta en el dispositivo `meta`, que solo lleva cuenta de
    las formas: no gasta memoria ni tiempo, ni con la configuración de 256×256.

    Args:
        config: la configuración.
        sample_size: lado de la imagen, o (alto, ancho).

    Returns:
        Una fila por pieza, en orden de ejecución; los parámetros suman los de la red.

    Raises:
        ValueError: si la imagen no mide un múltiplo de `config.downsampling`.
    """
    height, width = (
        (sample_size, sample_size)
        if isinstance(sample_size, int)
        else sample_size
    )
    with torch.device("meta"):
        model = UNet(config)
        x, t = torch.empty(1, config.in_channels, height, width), torch.zeros(1)
        labels = (
            torch.zeros(1, dtype=torch.int64) if config.num_classes else None
        )
        image = torch.empty(1, config.condition_channels, height, width)
    rows: list[BlockSummary] = []

    def watch(name: str, module: nn.Module) -> None:
        def note(
            _module: nn.Module, _args: tuple[Tensor, ...], output: Any
        ) -> None:
            output = output.summary if isinstance(output, Text) else output
            parameters = sum(
                parameter.numel() for parameter in module.parameters()
            )
            rows.append(BlockSummary(name, tuple(output.shape[1:]), parameters))

        module.register_forward_hook(note)

    containers = (nn.Identity, nn.ModuleList, MidBlock)
    for name, module in model.named_modules():
        outermost = (
            name != ""
            and "." not in name
            and not isinstance(module, containers)
        )
        if outermost or isinstance(module, BLOCKS):
            watch(name, module)
    model(x, t, labels, image=image if config.condition_channels else None)
    return rows


# --- Comprobaciones ---------------------------------------------------------------------


def check_images(x: Tensor, config: UNetConfig) -> None:
    """Rechaza con una frase los datos que la U-Net no puede procesar."""
    if tracing():
        return
    check_floating(x)
    if x.ndim != 4 or x.shape[1] != config.in_channels:
        raise ValueError(
            f"La entrada tiene forma {tuple(x.shape)}, y esta U-Net espera "
            f"(B, {config.in_channels}, alto, ancho)."
        )
    factor = config.downsampling
    height, width = x.shape[2:]
    if height % factor or width % factor or not height or not width:
        below, above = (
            "×".join(
                str(max(1, rounded(side / factor)) * factor)
                for side in (height, width)
            )
            for rounded in (math.floor, math.ceil)
        )
        raise ValueError(
            f"La imagen mide {height}×{width} y esta U-Net la reduce {factor} "
            f"veces: alto y ancho deben ser múltiplos de {factor}. Los tamaños "
            f"válidos más cercanos son {below} y {above}."
        )


def check_positive(name: str, value: object) -> None:
    """Exige que una opción sea un entero mayor que 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name} es {value!r}, y se esperaba un entero mayor que 0."
        )
    if value < 1:
        raise ValueError(
            f"{name} vale {value}, y debe ser un entero mayor que 0."
        )


def check_positive_number(name: str, value: float) -> None:
    """Exige que una opción sea un número mayor que 0 y finito."""
    if not 0 < value < math.inf:
        raise ValueError(
            f"{name} vale {value}, y debe ser un número mayor que 0."
        )


def check_dropout(dropout: float) -> None:
    """Exige una probabilidad en [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout vale {dropout}, y debe estar en [0, 1).")


# --- Las configuraciones del artículo ---------------------------------------------------

CIFAR10_CONFIG = UNetConfig(dropout=0.1)
"""La red de CIFAR-10 del artículo (32×32): 35 746 307 parámetros."""

CELEBAHQ256_CONFIG = UNetConfig(
    block_out_channels=(128, 128, 256, 256, 512, 512),
    attention=(False, False, False, False, True, False),
)
"""La red de CelebA-HQ y LSUN del artículo (256×256): 113 673 219 parámetros."""
