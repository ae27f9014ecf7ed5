from torch import Tensor


def q_sample(
    betas: Tensor, x_start: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    bar = (1 - betas).cumprod(0)[t].reshape(-1, 1, 1, 1)
    return bar.sqrt() * x_start + (1 - bar).sqrt() * noise
