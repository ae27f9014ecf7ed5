from collections.abc import Callable
from itertools import pairwise

from torch import Tensor


def generate(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, times: list[float]
) -> Tensor:
    for now, after in pairwise(times):
        slope = velocity(x, now)
        reached = x + (after - now) * slope
        if after > 0:
            slope = (slope + velocity(reached, after)) / 2
        x = x + (after - now) * slope
    return x
