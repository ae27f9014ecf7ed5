from collections.abc import Callable

import torch
from torch import Tensor


def guided(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_t: Tensor,
    t: Tensor,
    labels: Tensor,
    null: int,
    w: float,
) -> Tensor:
    nothing = torch.full_like(labels, null)
    both = torch.cat([labels, nothing])
    output = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
    conditional, unconditional = output.chunk(2)
    return (1 + w) * conditional - w * unconditional
