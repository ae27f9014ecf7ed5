import torch
from torch import Tensor


def put_back(
    alphas_cumprod: Tensor,
    index: int,
    x_prev: Tensor,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
) -> Tensor:
    bar = alphas_cumprod[index - 1] if index > 0 else torch.ones(())
    noisy = bar.sqrt() * known + (1 - bar).sqrt() * noise
    return mask * noisy + (1 - mask) * x_prev
