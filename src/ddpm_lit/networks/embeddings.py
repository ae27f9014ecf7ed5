r"""Embeddings: cómo se convierten en un vector el instante, la clase y los números.

Ese vector es lo que reciben los bloques residuales de la U-Net y del MLP. Lo que dice la
condición se suma a lo que dice el instante, y la red no distingue de dónde viene cada
parte.

Fuentes: Vaswani et al. 2017 (arXiv:1706.03762) para el embedding sinusoidal; Ho et al. 2020
(arXiv:2006.11239) y el código de sus autores.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoidal_embedding(
    t: Tensor,
    dim: int,
    max_period: float = 10_000.0,
    *,
    flip: bool = False,
    shift: int = 1,
) -> Tensor:
    r"""Convierte cada instante en un vector de senos y cosenos.

    $$\mathrm{emb}(t) = \left[\sin(\omega_0 t), \dots, \sin(\omega_{h-1} t),
    \cos(\omega_0 t), \dots, \cos(\omega_{h-1} t)\right], \qquad
    \omega_k = P^{-k/(h-1)}, \quad h = \frac{d}{2}$$

    Las frecuencias bajan en progresión geométrica desde $1$ hasta $1/P$: las primeras
    distinguen dos instantes vecinos y las últimas sitúan $t$ en el conjunto del proceso.
    Es el embedding de posiciones de Vaswani et al. (2017), en la variante del código de
    Ho et al. (2020), que divide por $h - 1$ y pone todos los senos delante; hay código que
    divide por $h$ (`shift`) o pone delante los cosenos (`flip`).

    Args:
        t: instantes, enteros o reales, de forma (B,).
        dim: dimensión $d$ del embedding; par y al menos 4.
        max_period: $P$.
        flip: si los cosenos van delante.
        shift: lo que se resta a $h$, 0 o 1.

    Returns:
        Tensor float32 de forma (B, dim), con valores en $[-1, 1]$.

    Raises:
        ValueError: si `t` no es un vector o `dim` no es posible.
    """
    if t.ndim != 1:
        raise ValueError(
            f"t tiene forma {tuple(t.shape)}, y se esperaba un vector (B,) con "
            "un instante por muestra."
        )
    check_embedding_dim("dim", dim)
    half = dim // 2
    k = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(max_period) * k / (half - shift))
    angles = t.float()[:, None] * frequencies
    waves = [angles.sin(), angles.cos()]
    return torch.cat(waves[::-1] if flip else waves, dim=1)


def fourier_features(x: Tensor, count: int) -> Tensor:
    r"""Unos puntos con los senos y los cosenos de sus coordenadas, de `count` frecuencias.

    $$\left[x,\ \sin(2^k x),\ \cos(2^k x)\right], \qquad k = 0, \dots, \texttt{count} - 1$$

    A una red le cuesta aprender funciones que cambian deprisa de las coordenadas tal cual; de sus
    ondas, no (Tancik et al. 2020, arXiv:2006.10739).

    Args:
        x: puntos, (B, D).
        count: cuántas frecuencias; con 0, los puntos tal cual.

    Returns:
        (B, D + 2 D count): las coordenadas, los senos y los cosenos.
    """
    if count == 0:
        return x
    scales = 2.0 ** torch.arange(count, device=x.device, dtype=x.dtype)
    angles = (x[:, :, None] * scales).flatten(1)
    return torch.cat([x, angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    r"""MLP que transforma el embedding sinusoidal: $W_2\,\mathrm{SiLU}(W_1 e + b_1) + b_2$.

    Args:
        in_dim: dimensión del embedding sinusoidal.
        out_dim: dimensión del vector que reciben los bloques residuales.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, out_dim)
        self.linear_2 = nn.Linear(out_dim, out_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        """De (B, in_dim) a (B, out_dim)."""
        out: Tensor = self.linear_2(F.silu(self.linear_1(embedding)))
        return out


def embed_classes(
    emb: Tensor,
    class_embedding: nn.Embedding | None,
    class_labels: Tensor | None,
) -> Tensor:
    r"""Suma al embedding del instante el de la clase, si la red es condicional.

    Args:
        emb: embedding del instante, de forma (B, D).
        class_embedding: tabla de num_classes + 1 filas (la última, «sin clase»), o `None`
            si la red no es condicional.
        class_labels: int64 (B,) en $[0, \texttt{num\_classes}]$; `None` equivale a «sin
            clase» en toda la tanda.

    Returns:
        Tensor de forma (B, D).

    Raises:
        ValueError: si la red no es condicional y hay etiquetas, si la forma no encaja o si
            alguna etiqueta se sale del rango.
        TypeError: si las etiquetas no son int64.
    """
    if class_embedding is None:
        if class_labels is not None:
            raise ValueError(
                "Esta red no es condicional y ha recibido class_labels: "
                "créala con num_classes, o llámala sin etiquetas."
            )
        return emb
    num_classes = class_embedding.num_embeddings - 1
    if class_labels is None:
        return emb + class_embedding.weight[num_classes]
    if class_labels.dtype != torch.int64:
        raise TypeError(
            f"class_labels es de tipo {class_labels.dtype}, y se esperaba "
            "torch.int64: conviértelo con .long()."
        )
    if class_labels.shape != (len(emb),):
        raise ValueError(
            f"class_labels tiene forma {tuple(class_labels.shape)}, y se "
            f"esperaba ({len(emb)},): una etiqueta por muestra."
        )
    # Mirar los valores en la GPU obligaría a esperarla en cada paso; al
    # trazar, no los hay.
    looked_at = class_labels.device.type == "cpu" and not tracing()
    if looked_at and len(class_labels) > 0:
        smallest, largest = (int(value) for value in class_labels.aminmax())
        if smallest < 0 or largest > num_classes:
            raise ValueError(
                f"class_labels va de {smallest} a {largest}, y esta red admite "
                f"de 0 a {num_classes - 1}, o {num_classes} para «sin clase»."
            )
    out: Tensor = emb + class_embedding(class_labels)
    return out


class ScalarEmbedding(nn.Module):
    r"""Convierte unos números en un vector como el del instante; NaN es «sin dato».

    Args:
        num_scalars: S, cuántos números.
        dim: frecuencias del embedding sinusoidal de cada uno.
        out_dim: dimensión del vector que da.
    """

    def __init__(self, num_scalars: int, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.null = nn.Parameter(torch.zeros(num_scalars, dim))
        self.mlp = TimeEmbedding(num_scalars * dim, out_dim)

    def forward(self, scalars: Tensor) -> Tensor:
        """De (B, S) a (B, out_dim)."""
        # El embedding sinusoidal separa bien números de 0 a 1000; los
        # escalares van de -1 a 1.
        flat = sinusoidal_embedding(
            500 * (scalars.nan_to_num().flatten() + 1), self.dim
        )
        embedded = flat.reshape(*scalars.shape, self.dim)
        known = torch.where(
            scalars.isnan()[..., None], self.null, embedded.to(self.null)
        )
        out: Tensor = self.mlp(known.flatten(1))
        return out


def embed_scalars(
    emb: Tensor,
    scalar_embedding: ScalarEmbedding | None,
    scalars: Tensor | None,
) -> Tensor:
    """Suma al embedding del instante el de los escalares, si la red los lleva.

    Args:
        emb: embedding del instante, de forma (B, D).
        scalar_embedding: la pieza que los lee, o `None` si la red no los lleva.
        scalars: (B, S), en $[-1, 1]$; NaN, o `None` en toda la tanda, es «sin dato».

    Returns:
        Tensor de forma (B, D).

    Raises:
        ValueError: si la red no lleva escalares y los recibe, o la forma no encaja.
    """
    if scalar_embedding is None:
        if scalars is not None:
            raise ValueError(
                "Esta red no lleva escalares y los ha recibido: créala con "
                "num_scalars, o llámala sin ellos."
            )
        return emb
    expected = (len(emb), len(scalar_embedding.null))
    if scalars is None:
        scalars = emb.new_full(expected, math.nan)
    if scalars.shape != expected:
        raise ValueError(
            f"scalars tiene forma {tuple(scalars.shape)}, y se esperaba "
            f"{expected}: una fila por muestra."
        )
    out: Tensor = emb + scalar_embedding(scalars)
    return out


def in_its_precision(
    model: nn.Module, weight: Tensor, x: Tensor, t: Tensor, **condition: Any
) -> Tensor:
    """Evalúa una red en la precisión de sus pesos, y responde en la de sus datos.

    El ruido y los datos son float32, y los pesos pueden no serlo: `model.half()`, p. ej.

    Args:
        model: la red.
        weight: uno de sus pesos.
        x: $x_t$, de forma (B, …).
        t: instantes, de forma (B,).
        **condition: lo que la red recibe además.

    Returns:
        Tensor del tipo de `x`.
    """
    out: Tensor = model(x.to(weight.dtype), t, **condition)
    return out.to(x.dtype)


# --- Comprobaciones ---------------------------------------------------------------------


def tracing() -> bool:
    """Si la red se está trazando, al exportarla: las formas son del grafo y no se comprueban."""
    state: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return state


def check_floating(x: Tensor) -> None:
    """Rechaza con una frase unos datos que no son de coma flotante."""
    if not x.is_floating_point():
        raise TypeError(
            f"La entrada es de tipo {x.dtype} y debe ser de coma flotante, en "
            "[-1, 1]; si es una imagen de 0 a 255, pásala por x / 127.5 - 1."
        )


def check_times(t: Tensor, x: Tensor) -> None:
    """Rechaza con una frase un `t` que no tiene un instante por muestra."""
    if tracing():
        return
    if t.shape != (len(x),):
        raise ValueError(
            f"t tiene forma {tuple(t.shape)}, y se esperaba ({len(x)},): un "
            "instante por muestra."
        )


def check_embedding_dim(name: str, dim: int) -> None:
    """Exige una dimensión en la que quepan dos frecuencias, con su seno y su coseno."""
    if dim % 2 or dim < 4:
        raise ValueError(
            f"{name} vale {dim}, y el embedding sinusoidal necesita un número "
            "par de al menos 4."
        )
