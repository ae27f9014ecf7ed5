"""Lo que comparan las figuras de los flujos en dígitos: a todas las redes se les dice lo mismo."""

import math

import torch
from scripts.figures.flow_digits import angle_of_noise, middle, told
from torch import Tensor, nn

from ddpm_lit.flow import PATHS, preconditioned
from ddpm_lit.scheduler import make_schedule


class Overheard(nn.Module):
    """Una red que apunta el nivel que se le dice."""

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        self.level = level
        return x


def test_the_same_level_is_told_the_same_way_whatever_the_path() -> None:
    """Como el índice de DDPM con el schedule coseno, salvo lo que este se aparta del ángulo."""
    heard = Overheard()
    index = torch.tensor([20, 300, 600, 900])
    angles = make_schedule("cosine", 1000).sqrt_alphas_cumprod.acos()[index]
    x = torch.zeros(len(index), 1)
    rectified, edm = PATHS["rectified"], PATHS["ve"]
    told(heard, rectified.angle)(x, rectified.time(angles))
    on_the_line = heard.level
    preconditioned(told(heard, angle_of_noise), 0.7)(x.double(), edm.time(angles))
    assert torch.allclose(on_the_line, heard.level, rtol=1e-9)
    assert torch.allclose(on_the_line, 2000 / math.pi * angles, rtol=1e-9)
    assert (on_the_line - index).abs().max() < 12


def test_the_middle_times_are_the_logistic_of_a_normal() -> None:
    """Su densidad es la de la normal en ln(τ/(1-τ)), y la mitad central cae cerca de 1/2."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    tau = middle(u)
    logit = (tau / (1 - tau)).log()
    assert abs(float(logit.mean())) < 1e-9
    assert abs(float(logit.std()) - 1) < 1e-3
    quarter = 1 / (1 + math.exp(0.6744897501960817))
    assert abs(float(tau[25_000]) - quarter) < 1e-4
