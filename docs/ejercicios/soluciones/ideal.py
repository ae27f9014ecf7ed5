from torch import Tensor


def ideal_x_start(alpha_cumprod: float, data: Tensor, x_t: Tensor) -> Tensor:
    centres = alpha_cumprod**0.5 * data
    squared = (x_t[:, None] - centres).square().sum(-1)
    return (-squared / (2 * (1 - alpha_cumprod))).softmax(1) @ data
