"""Añadir información condicional."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.conditioning import Text
from ddpm_lit.networks.embeddings import (
    ScalarEmbedding,
    TimeEmbedding,
    embed_classes,
    embed_scalars,
)
from ddpm_lit.networks.normalisation import GroupNorm
from ddpm_lit.unet import CrossAttention, ResidualBlock, UNetConfig, with_image
from scripts.ledger.arithmetic import matrix
from scripts.ledger.check import Row
from scripts.ledger.notation import LAWS, array, density, formula, package, tensor
from scripts.ledger.rows.unet import (
    DIM,
    EMB,
    IMAGE,
    SOFTMAX,
    applied,
    image,
    numbers,
    rows,
    seeded,
    weight,
)
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import MIXTURE, SETTINGS, Setting

WIDTH, CLASSES, LABEL, T, NUMBER = 5, 3, 2, 3, 0.2

# --- La clase y el número -----------------------------------------------------------------------

TIME = seeded(TimeEmbedding(DIM, WIDTH))
TABLE = seeded(nn.Embedding(CLASSES + 1, WIDTH), 1)
SCALARS = seeded(ScalarEmbedding(1, DIM, WIDTH), 2)


def embedded(scope: Scope) -> Tensor:
    """e, según `embed_classes`."""
    time = torch.as_tensor(np.asarray(EMB.applied(scope, scope.number("t"))))
    return embed_classes(TIME(time)[None], TABLE, torch.tensor([LABEL]))


def with_class(scope: Scope) -> Any:
    return embedded(scope)[0].detach().numpy()


def with_number(scope: Scope) -> Any:
    """e, según `embed_scalars`."""
    scalar = torch.tensor([[NUMBER]], dtype=torch.float64)
    return embed_scalars(embedded(scope), SCALARS, scalar)[0].detach().numpy()


EMBEDDING: dict[str, Any] = {
    "emb": EMB,
    "MLP": applied(TIME),
    "E_c": TABLE.weight[LABEL].detach().numpy(),
}

# --- FiLM ---------------------------------------------------------------------------------------

CONFIG = UNetConfig(norm_num_groups=2, dropout=0.0, scale_shift=True, text_dim=3)


def _with_bare_end(block: nn.Module) -> Any:
    """El bloque, sin más segunda convolución que la identidad.

    El desplazamiento se hace grande para que SiLU, que ahí crece, se pueda deshacer.
    """
    with torch.no_grad():
        for name, value in block.named_parameters():
            if name == "time_emb_proj.bias":
                value[4:] = 12.0
            if name.startswith("conv2"):
                value.zero_()
            if name == "conv2.weight":
                value[range(4), range(4), 1, 1] = 1.0
    return block


BLOCK = _with_bare_end(seeded(ResidualBlock(4, 4, WIDTH, CONFIG)))
CODE = numbers("código", 3, WIDTH)


def modulated(scope: Scope) -> Any:
    """Lo que entra en el último SiLU de `ResidualBlock`: se deshace con el método de Newton."""
    with torch.no_grad():
        after = BLOCK(torch.as_tensor(IMAGE), torch.as_tensor(CODE)) - torch.as_tensor(IMAGE)
    x = after.clone()
    for _ in range(50):
        gate = x.sigmoid()
        x = x - (x * gate - after) / (gate * (1 + x * (1 - gate)))
    return x.numpy()


def part(which: int) -> Meaning:
    """γ(e) o β(e)."""

    def function(e: Tensor) -> Any:
        return BLOCK.time_emb_proj(F.silu(e)).chunk(2, dim=1)[which][:, :, None, None]

    return applied(function)


# --- La atención cruzada y las imágenes pegadas -------------------------------------------------

ATTENTION = seeded(CrossAttention(4, CONFIG), 3)
PIXELS, WORDS = numbers("píxeles", 6, 4), numbers("palabras", 5, 3)


def crossed(scope: Scope) -> Any:
    """Lo que `CrossAttention` suma a su entrada, con la última matriz igual a la identidad."""
    with torch.no_grad():
        for name, layer in ATTENTION.named_modules():
            if isinstance(layer, nn.Linear):
                layer.bias.zero_()
                if name == "to_out.0":
                    layer.weight.copy_(torch.eye(4))
        words = torch.as_tensor(WORDS)[None]
        text = Text(words, words.mean(1), torch.ones(1, 1, 1, 5, dtype=torch.bool))
        return rows(ATTENTION(image(PIXELS), text) - image(PIXELS))


class Convolution:
    """Los pesos de una convolución; `W * x` la aplica."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = torch.as_tensor(kernel)

    def __mul__(self, x: Any) -> Any:
        return F.conv2d(torch.as_tensor(x), self.kernel, padding=1).numpy()


KERNEL = numbers("núcleo", 6, 7, 3, 3)
GUIDE = numbers("guía", 3, 3, 5, 5)


def glued(scope: Scope) -> Any:
    """La primera convolución, sobre lo que da `with_image`."""
    whole = with_image(torch.as_tensor(IMAGE), torch.as_tensor(GUIDE), 3)
    return F.conv2d(whole, torch.as_tensor(KERNEL), padding=1).numpy()


# --- GroupNorm ----------------------------------------------------------------------------------


def normalised(scope: Scope, x: Any) -> Any:
    """GN, según el paquete, con un grupo y sin pesos."""
    layer = GroupNorm(1, x.shape[-2], eps=0.0, affine=False).double()
    return array(layer(tensor(x)), x)


MIXED = tuple(Setting(s.schedule, s.T, s.t, MIXTURE, seed=s.seed) for s in SETTINGS)
WIDE = tuple(Setting(s.schedule, s.T, s.t, pixels=5, seed=s.seed) for s in SETTINGS)
NAMES = {"p": Meaning(form=density(LAWS["q"]))}
ROWS = {
    "condiciones-perdida": Row(read="citada: es el enunciado de la pérdida, un solo lado"),
    "condiciones-cuadrado": Row({"ε^*": formula(r"\operatorname{E}[\ep \mid \xt]")}),
    "condiciones-minimo": Row({"ε^*": formula(r"\operatorname{E}[\ep \mid \xt, c]")}, worlds=MIXED),
    "condiciones-mezcla": Row(worlds=MIXED),
    "condiciones-varianza": Row(worlds=MIXED),
    "condiciones-clase": Row(
        {**EMBEDDING, "e": Meaning(bare=with_class, source=package(embed_classes))},
        tolerance=1e-6,
    ),
    "condiciones-escalar": Row(
        {
            **EMBEDDING,
            "MLP_s": applied(SCALARS.mlp),
            "s": NUMBER,
            "e": Meaning(bare=with_number, source=package(embed_scalars)),
        },
        tolerance=1e-6,
    ),
    "condiciones-norma": Row(
        {
            "GN": Meaning(call=normalised, source=package(GroupNorm)),
            "h": lambda world: world.normal("h"),
            "h̄": lambda world: world.normal("h").mean(axis=-2, keepdims=True),
            "Var": Meaning(call=lambda scope, x: np.var(x, axis=-2, keepdims=True)),
        },
        worlds=WIDE,
    ),
    "condiciones-film": Row(
        {
            "h": lambda world: (
                BLOCK.conv1(F.silu(BLOCK.norm1(torch.as_tensor(IMAGE)))).detach().numpy()
            ),
            "GN": applied(BLOCK.norm2),
            "γ": part(0),
            "β": part(1),
            "e": lambda world: CODE,
        },
        value=modulated,
        source=package(ResidualBlock.forward),
    ),
    "condiciones-atencion": Row(
        {
            "X": lambda world: rows(ATTENTION.group_norm(image(PIXELS))),
            "Y": lambda world: matrix(WORDS),
            "W_q": lambda world: weight(ATTENTION, "to_q"),
            "W_k": lambda world: weight(ATTENTION, "to_k"),
            "W_v": lambda world: weight(ATTENTION, "to_v"),
            "softmax": SOFTMAX,
            "d": 4,
        },
        value=crossed,
        source=package(CrossAttention.forward),
    ),
    "condiciones-concatenar": Row(
        {
            "W": lambda world: Convolution(KERNEL),
            "W_x": lambda world: Convolution(KERNEL[:, :4]),
            "W_c": lambda world: Convolution(KERNEL[:, 4:]),
            "x_t": lambda world: IMAGE,
            "c": lambda world: GUIDE,
        },
        value=glued,
        source=package(with_image),
    ),
}

EQUIVALENT = {
    "condiciones-cuadrado": dict.fromkeys(
        (
            "E ‖ε-ε^*‖^{2}+2·E ((ε-ε^*)^{⊤}·(ε^*-ε_θ))+E ‖ε^*-ε_θ‖^{2} → "
            "E ‖ε-ε^*‖^{2}-2·E ((ε-ε^*)^{⊤}·(ε^*-ε_θ))+E ‖ε^*-ε_θ‖^{2}",
            "ε^*-ε_θ → ε^*+ε_θ",
        ),
        "La esperanza de en medio vale 0 con cualquier función de x_t.",
    ),
    "condiciones-norma": dict.fromkeys(
        ("h+a → h-a", "h+a → h-a (3)"), "Restar una constante tampoco cambia nada."
    ),
}
