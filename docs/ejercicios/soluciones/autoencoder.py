from collections.abc import Callable

from torch import Tensor


def autoencoder_loss(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    x: Tensor,
    noise: Tensor,
    kl_weight: float,
) -> Tensor:
    mean, log_variance = encode(x)
    z = mean + (log_variance / 2).exp() * noise
    error = (x - decode(z)).abs()
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    return error.flatten(1).mean(1) + kl_weight * kl.flatten(1).mean(1)
