import torch
from torch import Tensor


def sinusoidal_embedding(
    t: Tensor, dim: int, max_period: float = 10_000.0
) -> Tensor:
    half = dim // 2
    frequencies = max_period ** (-torch.arange(half) / (half - 1))
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
