"""Editar sin entrenar: reponer lo conocido."""

from collections.abc import Callable
from typing import Any

import torch

from ddpm_lit.exercises.checking import expect


def check_put_back(put_back: Callable[..., Any]) -> None:
    """Un paso de en medio y el último, que lleva a los datos."""
    bars = torch.tensor([0.9, 0.6, 0.3, 0.1], dtype=torch.float64)
    x_prev = torch.tensor([0.3, -0.4, 1.2, 0.1], dtype=torch.float64)
    known = torch.tensor([0.8, -0.6, 0.5, -1.0], dtype=torch.float64)
    noise = torch.tensor([1.1, -0.7, 0.4, 0.9], dtype=torch.float64)
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    signal, spread = bars[1].sqrt(), (1 - bars[1]).sqrt()
    here = bars[2].sqrt() * known + (1 - bars[2]).sqrt() * noise
    right = signal * known + spread * noise
    expect(
        "x_{t-1}, tras un paso desde el índice 2; se conocen los dos primeros píxeles",
        put_back(bars, 2, x_prev, known, mask, noise),
        mask * right + (1 - mask) * x_prev,
        {
            "lo conocido lleva el ruido del nivel de partida; debe llevar el de llegada, ᾱ_{t-1} "
            "(es la primera errata del artículo).": (
                mask * here + (1 - mask) * x_prev
            ),
            "a la desviación del ruido le falta la raíz (es la segunda errata del artículo).": (
                mask * (signal * known + (1 - bars[1]) * noise)
                + (1 - mask) * x_prev
            ),
            "la máscara está del revés: vale 1 en lo que se conoce.": (
                (1 - mask) * right + mask * x_prev
            ),
            "lo conocido se ha puesto limpio, y en ese nivel la red espera ruido.": (
                mask * known + (1 - mask) * x_prev
            ),
        },
    )
    expect(
        "x_0, tras el último paso, desde el índice 0",
        put_back(bars, 0, x_prev, known, mask, noise),
        mask * known + (1 - mask) * x_prev,
        {
            "el último paso lleva a los datos, donde ᾱ_0 = 1. Con el índice -1 se coge ᾱ_T.": (
                mask * (bars[3].sqrt() * known + (1 - bars[3]).sqrt() * noise)
                + (1 - mask) * x_prev
            ),
            "el último paso lleva a los datos, sin ruido: ahí lo conocido vuelve tal cual.": (
                mask * (bars[0].sqrt() * known + (1 - bars[0]).sqrt() * noise)
                + (1 - mask) * x_prev
            ),
        },
    )
