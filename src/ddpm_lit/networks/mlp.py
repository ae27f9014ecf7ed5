r"""MLP: la red $\epsilon_\theta(x_t, t)$ para puntos y vectores.

Es la pareja pequeña de la U-Net, con la misma llamada `model(x, t, class_labels)`: con
ella, los datos de juguete en 2-D recorren exactamente el mismo camino que las imágenes.
Cada bloque residual recibe el instante igual que los de la U-Net, sumado entre sus dos
capas.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.networks.embeddings import (
    TimeEmbedding,
    check_embedding_dim,
    check_floating,
    check_times,
    embed_classes,
    fourier_features,
    in_its_precision,
    sinusoidal_embedding,
)
from ddpm_lit.unet import check_positive, zero_


@dataclass(frozen=True)
class MLPConfig:
    r"""Lo que define un MLP.

    Args:
        dim: dimensión de los datos (2 para puntos del plano).
        width: neuronas de cada capa, y dimensión del embedding del instante; par.
        depth: número de bloques residuales.
        num_classes: número de clases, o `None` si la red no es condicional. El embedding
            tiene una fila más, la última, que significa «sin clase».
        timesteps: $T$ del schedule con el que se usa.
        out_dim: dimensión de la salida; `None` significa la de los datos. Una red que
            aprende también la varianza da el doble.
        frequencies: cuántas ondas de cada coordenada recibe además (véase `fourier_features`).

    Raises:
        ValueError: si un valor no es posible.
        TypeError: si un valor no es entero.
    """

    dim: int = 2
    width: int = 128
    depth: int = 3
    num_classes: int | None = None
    timesteps: int = 1000
    out_dim: int | None = None
    frequencies: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "width", "depth", "timesteps"):
            check_positive(name, getattr(self, name))
        for name in ("num_classes", "out_dim"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.frequencies != 0:
            check_positive("frequencies", self.frequencies)
        check_embedding_dim("width", self.width)


class ResidualLayer(nn.Module):
    r"""Bloque residual de dos capas con el tiempo sumado entre ellas.

    $$y = x + W_2\,\mathrm{SiLU}\big(W_1\,\mathrm{SiLU}(x) + b_1
    + W_e\,\mathrm{SiLU}(e) + b_e\big) + b_2$$

    Args:
        width: dimensión de la entrada, de la salida y del embedding $e$ del instante.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, width)
        self.time_emb_proj = nn.Linear(width, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """De (B, width) y (B, width) a (B, width)."""
        h = self.linear_1(F.silu(x)) + self.time_emb_proj(F.silu(emb))
        out: Tensor = x + self.linear_2(F.silu(h))
        return out


class MLP(nn.Module):
    r"""Red residual para datos vectoriales, con la misma llamada que `UNet`.

    Recién creada devuelve exactamente 0. No lleva normalización: la norma de $x_t$ es
    justo lo que dice dónde está el punto.

    Args:
        config: la configuración; se guarda en `model.config`.
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.time_embedding = TimeEmbedding(width, width)
        self.class_embedding = (
            nn.Embedding(config.num_classes + 1, width)
            if config.num_classes
            else None
        )
        features = config.dim * (1 + 2 * config.frequencies)
        self.linear_in = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            ResidualLayer(width) for _ in range(config.depth)
        )
        self.linear_out = nn.Linear(width, config.out_dim or config.dim)
        zero_(self.linear_out)

    def forward(
        self, x: Tensor, t: Tensor, class_labels: Tensor | None = None
    ) -> Tensor:
        r"""Evalúa la red en una tanda de puntos.

        El embedding recibe $1000\,t/T$: así las frecuencias cubren el proceso por igual
        sea cual sea $T$.

        Args:
            x: $x_t$, de forma (B, dim).
            t: instantes, de forma (B,): índices de código del schedule original.
            class_labels: int64 (B,) en $[0, \texttt{num\_classes}]$; el último valor, o
                `None`, significa «sin clase».

        Returns:
            Tensor de forma (B, dim), o (B, out_dim) si se ha pedido otra salida.

        Raises:
            ValueError: si las formas no encajan, o si hay etiquetas y la red no es
                condicional.
        """
        if x.ndim != 2 or x.shape[1] != self.config.dim:
            raise ValueError(
                f"La entrada tiene forma {tuple(x.shape)}, y este MLP espera "
                f"(B, {self.config.dim})."
            )
        check_floating(x)
        check_times(t, x)
        if x.dtype != self.linear_in.weight.dtype:
            return in_its_precision(
                self, self.linear_in.weight, x, t, class_labels=class_labels
            )
        time = sinusoidal_embedding(
            t * (1000 / self.config.timesteps), self.config.width
        )
        emb = self.time_embedding(time.to(x.dtype))
        emb = embed_classes(emb, self.class_embedding, class_labels)
        h = self.linear_in(fourier_features(x, self.config.frequencies))
        for block in self.blocks:
            h = block(h, emb)
        out: Tensor = self.linear_out(F.silu(h))
        return out
