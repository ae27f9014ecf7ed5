r"""Media móvil exponencial (EMA) de los pesos: la red con la que se generan las muestras.

Ho et al. (2020, apéndice B) usan un decaimiento de 0,9999. Al principio esa media sería
casi toda pesos iniciales (de ellos queda $0{,}9999^{10\,000} = 37\,\%$ tras diez mil
pasos), así que aquí el decaimiento empieza bajo y crece con el número de pasos.
"""

import copy

import torch
from torch import nn


class EMA:
    r"""Copia de una red cuyos parámetros son una media móvil de los de la original.

    $$\theta_{\text{EMA}} \leftarrow d_n\,\theta_{\text{EMA}} + (1 - d_n)\,\theta, \qquad
    d_n = \min\left(d,\ \frac{1 + n}{10 + n}\right)$$

    donde $n$ es el número de actualizaciones ya hechas. Los *buffers* no se promedian:
    se copian.

    Args:
        model: la red que se entrena.
        decay: $d$, el decaimiento al que se tiende, en $[0, 1)$.

    Raises:
        ValueError: si `decay` no está en $[0, 1)$.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                "El decaimiento de la EMA debe estar en [0, 1) y ha llegado "
                f"{decay}."
            )
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Acerca la media a los pesos de `model` y copia sus buffers."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages: list[torch.Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(averages, list(model.parameters()), 1 - decay)
        if copies := list(self.model.buffers()):
            torch._foreach_copy_(copies, list(model.buffers()))
        self.updates += 1
