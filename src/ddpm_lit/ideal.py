r"""La red ideal: lo mejor que se puede responder, cuando se conocen todos los datos.

Ninguna red puede saber de $x_0$ más que su media entre todo lo que podría haber sido,
$\operatorname{E}[x_0|x_t]$. Si los datos son un conjunto de puntos, esa media se calcula: es la de
los puntos, cada uno con lo probable que es haber salido de él. Es a lo que tiende una red que se
los aprende de memoria, y la verdad con la que comparar una de verdad.

Fuentes: la fórmula de Tweedie (Efron 2011) y el «ideal denoiser» de Karras et al. 2022
(arXiv:2206.00364, apéndice B.3).
"""

import torch
from torch import Tensor

from ddpm_lit.backward import Model
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.parametrisation import to_epsilon
from ddpm_lit.scheduler import Schedule


def ideal_x_start(
    schedule: Schedule,
    data: Tensor,
    x_t: Tensor,
    t: Tensor,
    *,
    bandwidth: float = 0.0,
) -> Tensor:
    r"""$\operatorname{E}[x_0|x_t]$ cuando $x_0$ es uno de los datos, emborronado.

    Con $x_0 \sim \frac1N \sum_i \mathcal{N}(d_i, s^2 I)$ y $v = \bar\alpha_t s^2 + 1 -
    \bar\alpha_t$, la varianza de $x_t$ alrededor de $\sqrt{\bar\alpha_t}\,d_i$,

    $$w_i \propto e^{-\|x_t - \sqrt{\bar\alpha_t}\,d_i\|^2/2v}, \qquad
    \operatorname{E}[x_0|x_t] = \sum_i w_i \left(d_i + \frac{\sqrt{\bar\alpha_t}\,s^2}{v}
    \left(x_t - \sqrt{\bar\alpha_t}\,d_i\right)\right)$$

    Args:
        schedule: las varianzas $\beta_t$.
        data: los datos $d_i$, de forma (N, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).
        bandwidth: $s$, cuánto se emborrona cada dato; con 0, son los datos y nada más.

    Returns:
        La media, de forma (B, …).

    Raises:
        ValueError: si no hay datos, no tienen la forma de $x_t$ o $s$ es negativo.
    """
    if data.shape[1:] != x_t.shape[1:] or len(data) == 0:
        raise ValueError(
            f"Los datos tienen forma {tuple(data.shape)} y x_t, "
            f"{tuple(x_t.shape)}: deben ser (N, …) y (B, …), con N ≥ 1."
        )
    if not bandwidth >= 0:
        raise ValueError(
            f"bandwidth es {bandwidth} y es una desviación típica: debe ser "
            "0 o mayor."
        )
    points, states = data.flatten(1), x_t.flatten(1)
    signal = schedule.at("sqrt_alphas_cumprod", t, states)
    noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, states)
    variance = (signal * bandwidth) ** 2 + noise_std**2
    # La distancia a √ᾱ d_i, sin el término ‖x_t‖², que es el mismo en todos.
    closeness = signal * states @ points.T
    closeness = closeness - signal**2 / 2 * points.square().sum(1)
    mean = torch.softmax(closeness / variance, dim=1) @ points
    pull = signal * bandwidth**2 / variance
    return (mean + pull * (states - signal * mean)).reshape(x_t.shape)


def ideal_model(
    diffusion: Diffusion, data: Tensor, *, bandwidth: float = 0.0
) -> Model:
    """La red ideal de unos datos: responde lo que el proceso pide que se prediga.

    Args:
        diffusion: el proceso entero, el que se entrenaría.
        data: los datos, de forma (N, …).
        bandwidth: cuánto se emborrona cada uno (véase `ideal_x_start`).

    Returns:
        Una función `model(x_t, t)` que se usa como cualquier red.

    Raises:
        ValueError: al llamarla, si los datos no valen (véase `ideal_x_start`).
    """
    schedule, prediction = diffusion.schedule, diffusion.prediction

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        points = data.to(x_t)
        x_start = ideal_x_start(schedule, points, x_t, t, bandwidth=bandwidth)
        noise = to_epsilon(schedule, x_start, x_t, t)
        return prediction.target(schedule, x_start, noise, t)

    return model
