import torch
from torch import Tensor


def cross_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    likeness = q @ k.mT / q.shape[-1] ** 0.5
    likeness = likeness.masked_fill(~mask[:, None], -torch.inf)
    return likeness.softmax(-1) @ v
