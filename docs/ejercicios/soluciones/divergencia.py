from torch import Tensor


def normal_kl(
    mean1: Tensor, log_var1: Tensor, mean2: Tensor, log_var2: Tensor
) -> Tensor:
    gap = (mean1 - mean2) ** 2
    ratio = (log_var1 - log_var2).exp()
    return 0.5 * (log_var2 - log_var1 + ratio + gap / log_var2.exp() - 1)
