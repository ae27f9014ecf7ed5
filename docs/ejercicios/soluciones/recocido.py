from collections.abc import Callable, Iterator

from torch import Tensor


def annealed_langevin(
    score: Callable[[Tensor, float], Tensor],
    sigmas: list[float],
    x: Tensor,
    noises: Iterator[Tensor],
    steps: int,
    rate: float,
) -> Tensor:
    for sigma in reversed(sigmas):
        delta = rate * sigma**2
        for _ in range(steps):
            x = x + delta / 2 * score(x, sigma) + delta**0.5 * next(noises)
    return x
