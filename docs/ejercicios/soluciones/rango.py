from torch import Tensor


def learned_variance(betas: Tensor, index: int, output: Tensor) -> Tensor:
    bars = (1 - betas).cumprod(0)
    tilde = (1 - bars[:-1]) / (1 - bars[1:]) * betas[1:]  # desde t = 2
    small, large = tilde[max(index - 1, 0)], betas[index]
    v = (output + 1) / 2
    return (v * large.log() + (1 - v) * small.log()).exp()
