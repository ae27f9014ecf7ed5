from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def generate(
    model: Callable[[Tensor, Tensor], Tensor],
    betas: Tensor,
    x_T: Tensor,
    noises: Iterator[Tensor],
) -> Tensor:
    bars = (1 - betas).cumprod(0)
    x = x_T
    for index in reversed(range(len(betas))):
        t = torch.full((len(x),), index)
        removed = betas[index] / (1 - bars[index]).sqrt() * model(x, t)
        x = (x - removed) / (1 - betas[index]).sqrt()
        if index > 0:
            x = x + betas[index].sqrt() * next(noises)
    return x
