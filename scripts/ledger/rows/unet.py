"""La U-Net."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.unet import ResidualBlock, SelfAttention, UNetConfig
from scripts.ledger.arithmetic import Vector, matrix
from scripts.ledger.check import Row
from scripts.ledger.notation import package
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import World

DIM, GROUPS = 8, 2


def seeded(module: nn.Module, seed: int = 0) -> Any:
    """Un módulo en float64, con pesos normales."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return module.double().eval()


def numbers(name: str, *shape: int) -> Any:
    """Números normales con una forma, siempre los mismos para el mismo nombre."""
    return np.random.default_rng([*name.encode()]).normal(size=shape)


def applied(function: Callable[[Tensor], Tensor]) -> Meaning:
    """Una capa, de arrays a arrays."""

    def call(scope: Scope, x: Any) -> Any:
        with torch.no_grad():
            return function(torch.as_tensor(np.asarray(x))).numpy()

    return Meaning(call=call, arity=(1,))


class Linear:
    """Una capa lineal sin sesgo: `W x` es un número por canal de una imagen."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer

    def __mul__(self, x: Any) -> Any:
        with torch.no_grad():
            moved = torch.as_tensor(x) @ self.layer.weight.T
        return moved[:, :, None, None].numpy()


def embedding(scope: Scope, t: Any) -> Any:
    """emb(t), según `sinusoidal_embedding` (float32)."""
    values = sinusoidal_embedding(torch.tensor([float(t)]), DIM)
    return values[0].double().numpy().view(Vector)


CONFIG = UNetConfig(norm_num_groups=GROUPS, dropout=0.0)
BLOCK = seeded(ResidualBlock(4, 6, 5, CONFIG))
IMAGE, EMBEDDING = numbers("imagen", 3, 4, 5, 5), numbers("embedding", 3, 5)
ATTENTION = seeded(SelfAttention(4, CONFIG), 1)
PIXELS = numbers("píxeles", 6, 4)


def block(scope: Scope) -> Any:
    """y, según `ResidualBlock.forward`."""
    with torch.no_grad():
        return BLOCK(torch.as_tensor(IMAGE), torch.as_tensor(EMBEDDING)).numpy()


def image(rows: Any) -> Tensor:
    """De una fila por píxel, (HW, C), a una imagen (1, C, HW, 1)."""
    return torch.as_tensor(np.asarray(rows)).T[None, :, :, None]


def rows(x: Tensor) -> Any:
    """De vuelta."""
    return matrix(x[0, :, :, 0].T.detach().numpy())


def attention(scope: Scope) -> Any:
    """y, según `SelfAttention.forward`, con los sesgos a 0."""
    return rows(_without_bias(ATTENTION)(image(PIXELS)))


def _without_bias(module: nn.Module) -> Any:
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.bias.zero_()
    return module


def weight(module: Any, name: str) -> Any:
    """La matriz de una capa lineal, con los vectores en filas: `x W`."""
    return matrix(module.get_submodule(name).weight.detach().numpy().T)


SOFTMAX = Meaning(
    call=lambda scope, scores: matrix(torch.softmax(torch.as_tensor(scores), 1).numpy())
)


def normal(name: str) -> Callable[[World], Meaning]:
    """q_i o k_i: normales estándar independientes."""

    def meaning(world: World) -> Meaning:
        for i in (1, 2):
            source = ("z", i) if name == "q" else ("z'", 0) if i == 1 else ("ε''", 0)
            world.combination((name, i), {source: 1.0})
        return Meaning(
            at=lambda scope, i: Meaning(variable=(name, i)),
            bare=lambda scope: np.stack([scope.value_of((name, i)) for i in (1, 2)]).view(Dot),
        )

    return meaning


class Dot(np.ndarray[Any, Any]):
    """Un vector de variables aleatorias: el primer eje son sus componentes."""

    def __mul__(self, other: Any) -> Any:
        return np.asarray(super().__mul__(other)).sum(0)


BLOCK_NAMES = {
    "GN_1": applied(BLOCK.norm1),
    "GN_2": applied(BLOCK.norm2),
    "conv_1": applied(lambda x: F.conv2d(x, BLOCK.conv1.weight, BLOCK.conv1.bias, padding=1)),
    "conv_2": applied(BLOCK.conv2),
    "atajo": applied(BLOCK.conv_shortcut),
    "drop": applied(lambda x: x),
    "SiLU": applied(F.silu),
    "W": lambda world: Linear(BLOCK.time_emb_proj),
    "b": BLOCK.time_emb_proj.bias.detach().numpy()[None, :, None, None],
    "x": lambda world: IMAGE,
    "e": lambda world: EMBEDDING,
    "y": Meaning(bare=block, source=package(ResidualBlock.forward)),
}
EMB = Meaning(call=embedding, source=package(sinusoidal_embedding))
ROWS = {
    "unet-embedding": Row({"emb": EMB, "d": DIM}, tolerance=1e-5),
    "unet-parecido": Row({"emb": EMB, "d": DIM, "s": 7}, uses=("unet-embedding",), tolerance=1e-5),
    "unet-residual": Row(BLOCK_NAMES, define=("h",)),
    "unet-atencion": Row(
        {
            "y": Meaning(bare=attention, source=package(SelfAttention.forward)),
            "x": lambda world: matrix(PIXELS),
            "GN": Meaning(call=lambda scope, x: rows(ATTENTION.group_norm(image(x)))),
            "softmax": SOFTMAX,
            "d": 4,
            "W_q": lambda world: weight(ATTENTION, "to_q"),
            "W_k": lambda world: weight(ATTENTION, "to_k"),
            "W_v": lambda world: weight(ATTENTION, "to_v"),
            "W_o": lambda world: weight(ATTENTION, "to_out.0"),
        }
    ),
    "unet-atencion-escala": Row({"q": normal("q"), "k": normal("k"), "d": 2}),
}
