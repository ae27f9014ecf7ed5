import math

import torch
from torch import Tensor


def cosine_betas(timesteps: int, s: float = 0.008) -> Tensor:
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)
