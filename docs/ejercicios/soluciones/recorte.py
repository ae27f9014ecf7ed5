from torch import Tensor


def clipped(
    alpha_cumprod: float, x_t: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    signal, noise = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
    x_start = ((x_t - noise * epsilon) / signal).clamp(-1, 1)
    return x_start, (x_t - signal * x_start) / noise
