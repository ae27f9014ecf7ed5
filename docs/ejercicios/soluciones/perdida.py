from collections.abc import Callable

from torch import Tensor


def training_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    alphas_cumprod: Tensor,
    x_start: Tensor,
    t: Tensor,
    noise: Tensor,
) -> Tensor:
    bar = alphas_cumprod[t].reshape(-1, 1, 1, 1)
    x_t = bar.sqrt() * x_start + (1 - bar).sqrt() * noise
    return (model(x_t, t) - noise).square().mean((1, 2, 3))
