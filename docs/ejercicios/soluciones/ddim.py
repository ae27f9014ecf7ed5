import torch
from torch import Tensor


def ddim_step(
    alphas_cumprod: Tensor,
    index: int,
    previous: int,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    eta: float,
) -> Tensor:
    bar = alphas_cumprod[index]
    prev = alphas_cumprod[previous] if previous >= 0 else torch.ones(())
    x_start = (x_t - (1 - bar).sqrt() * epsilon) / bar.sqrt()
    sigma = eta * ((1 - prev) / (1 - bar) * (1 - bar / prev)).sqrt()
    old = (1 - prev - sigma**2).sqrt()
    return prev.sqrt() * x_start + old * epsilon + sigma * z
