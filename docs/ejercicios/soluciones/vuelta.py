from torch import Tensor


def reverse_step(
    beta: float,
    alpha_cumprod: float,
    x_t: Tensor,
    epsilon: Tensor,
    z: Tensor,
    kappa: float,
) -> Tensor:
    score = -epsilon / (1 - alpha_cumprod) ** 0.5
    climb = (1 + kappa**2) / 2 * beta * score
    return x_t + beta / 2 * x_t + climb + kappa * beta**0.5 * z
