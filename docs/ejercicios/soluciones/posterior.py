import torch
from torch import Tensor


def q_posterior(
    betas: Tensor, x_start: Tensor, x_t: Tensor, index: int
) -> tuple[Tensor, Tensor]:
    alpha, beta = 1 - betas[index], betas[index]
    bars = (1 - betas).cumprod(0)
    bar = bars[index]
    prev = bars[index - 1] if index > 0 else torch.ones_like(bar)
    data = prev.sqrt() * beta / (1 - bar)
    state = alpha.sqrt() * (1 - prev) / (1 - bar)
    return data * x_start + state * x_t, (1 - prev) / (1 - bar) * beta
