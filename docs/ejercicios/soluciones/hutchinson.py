from collections.abc import Callable

import torch
from torch import Tensor


def divergence(
    field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor
) -> Tensor:
    x = x.detach().requires_grad_()
    value = field(x)
    total = torch.zeros(len(x), dtype=x.dtype)
    for z in probes:
        (row,) = torch.autograd.grad(value, x, z, retain_graph=True)
        total = total + (row * z).sum(1)
    return total / len(probes)
