"""Añadir información condicional: la atención cruzada."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import expect


def check_attention(attention: Callable[..., Any]) -> None:
    """Tres píxeles que miran a cuatro palabras, con una o dos de relleno."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 4, generator=generator).double()
    k, v = torch.randn(2, 2, 4, 4, generator=generator).double()
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    likeness = q @ k.mT
    right = _attend(likeness / 2, mask) @ v
    expect(
        "lo que recogen tres píxeles de cuatro palabras, con d = 4 y relleno",
        attention(q, k, v, mask),
        right,
        {
            "falta dividir los parecidos entre √d.": _attend(likeness, mask)
            @ v,
            "los parecidos se dividen entre √d, no entre d.": (
                _attend(likeness / 4, mask) @ v
            ),
            "el relleno también se mira: hay que quitarlo con la máscara.": (
                (likeness / 2).softmax(-1) @ v
            ),
            "la máscara está del revés: True es una palabra y False, relleno.": (
                _attend(likeness / 2, ~mask) @ v
            ),
            "el softmax va por las palabras: los pesos de cada píxel suman 1.": (
                (likeness / 2)
                .masked_fill(~mask[:, None], -torch.inf)
                .softmax(1)
                .nan_to_num()
                @ v
            ),
            "el relleno se quita antes del softmax, con −∞. Después, los pesos de cada píxel ya no "
            "suman 1.": (((likeness / 2).softmax(-1) * mask[:, None]) @ v),
            "poner a 0 el parecido con el relleno no lo quita: e⁰ es 1. Se pone a −∞.": (
                (likeness / 2).masked_fill(~mask[:, None], 0.0).softmax(-1) @ v
            ),
        },
        shape="sale un vector por píxel: (B, P, D).",
    )


def _attend(likeness: Tensor, mask: Tensor) -> Tensor:
    return likeness.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
