r"""GroupNorm (Wu y He 2018, arXiv:1803.08494), también donde la de PyTorch se queda corta.

En CUDA, la de PyTorch quiere los canales de cada imagen por separado, y lo que llega en
`channels_last` lo reordena, y la convolución siguiente lo vuelve a reordenar. Con lotes grandes eso
cuesta más que la propia red. Aquí, entonces, se hace por canales, que se leen en el orden en que
están.
"""

import torch
from torch import Tensor, nn

LARGE = 2**21
"""Desde cuántos valores compensa en CUDA; con menos cuestan más las órdenes que los datos."""


class GroupNorm(nn.GroupNorm):
    """La de PyTorch, con los mismos parámetros, que en CUDA no desordena lo que es grande."""

    def forward(self, x: Tensor) -> Tensor:
        """De (B, C, H, W), o (B, C), a la misma forma."""
        cuda = x.device.type == "cuda" and x.ndim == 4
        compiling = torch.compiler.is_compiling()
        if cuda and (compiling or x.numel() >= LARGE):
            return group_norm_by_channels(
                x, self.num_groups, self.weight, self.bias, self.eps
            )
        return super().forward(x)


def group_norm_by_channels(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    r"""GroupNorm, con las medias y las varianzas de los canales en el lugar de los píxeles.

    La media de un grupo es la de las medias $m_c$ de sus canales. Su varianza, por la ley de la
    varianza total, es la media de las varianzas $v_c$ más la varianza de las medias:

    $$\mu = \frac{1}{n}\sum_c m_c, \qquad
    \sigma^2 = \frac{1}{n}\sum_c \left(v_c + (m_c - \mu)^2\right)$$

    Y después, en cada canal, se multiplica por un número y se suma otro. Se calcula en float32,
    aunque los datos tengan menos cifras.

    Args:
        x: (B, C, H, W).
        groups: en cuántos grupos se reparten los canales; divide a C.
        weight: el factor de cada canal, (C,).
        bias: lo que se suma a cada canal, (C,).
        eps: lo que se suma a las varianzas.

    Returns:
        (B, C, H, W), del tipo de `x` y con su disposición en memoria.
    """
    with torch.autocast("cuda", enabled=False):
        fine = x.to(torch.promote_types(x.dtype, torch.float32))
        statistics = torch.var_mean(fine, dim=(2, 3), correction=0)
        variances, means = (
            each.reshape(len(x), groups, -1) for each in statistics
        )
        mean = means.mean(2, keepdim=True)
        spread = variances + (means - mean).square()
        inverse = (spread.mean(2, keepdim=True) + eps).rsqrt()
        scale = inverse * weight.view(groups, -1)
        shift = bias.view(groups, -1) - mean * scale
        scale, shift = (
            each.flatten(1)[:, :, None, None] for each in (scale, shift)
        )
        return torch.addcmul(shift, fine, scale).to(x.dtype)
