from collections.abc import Callable

from torch import Tensor


def rectified_velocity(
    model: Callable[[Tensor, float], Tensor], x: Tensor, tau: float
) -> Tensor:
    size = ((1 - tau) ** 2 + tau**2) ** 0.5
    epsilon = model(x / size, ((1 - tau) / size) ** 2)
    x_start = (x - tau * epsilon) / (1 - tau)
    return epsilon - x_start
