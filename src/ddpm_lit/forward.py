r"""Forward process: cómo se destruyen los datos, $q(x_t|x_{t-1})$ y $q(x_t|x_0)$.

Ninguna función de este módulo saca números aleatorios: el ruido
$\epsilon \sim \mathcal{N}(0, I)$ es un argumento. `t` es siempre un tensor (B,) de
índices de código (el índice 0 es el $t = 1$ del artículo) y los datos pueden tener
cualquier forma (B, …). Si `x_start` tiene un solo ejemplo, (1, …), y `t` varios, se
obtiene ese ejemplo en todos esos pasos a la vez.

Fuente: Ho et al. 2020 (arXiv:2006.11239), ecuaciones 2 y 4.
"""

import math
from typing import NamedTuple

from torch import Tensor

from ddpm_lit.scheduler import Schedule


class Gaussian(NamedTuple):
    """Una normal con covarianza diagonal.

    La media tiene la forma de los datos, (B, …); la varianza y su logaritmo se
    pueden difundir (*broadcast*) con ella.
    """

    mean: Tensor
    variance: Tensor
    log_variance: Tensor


def check_shapes(t: Tensor, **tensors: Tensor) -> None:
    """Rechaza tensores que no se pueden combinar ejemplo a ejemplo.

    Sin esta comprobación, PyTorch repetiría en silencio lo que le pareciera que encaja.

    Args:
        t: índices de código (B,), o (1,) si valen para todos los ejemplos.
        **tensors: los tensores, por su nombre; cada uno (B, …), o (1, …) si vale para todos
            los índices.

    Raises:
        ValueError: si las formas no coinciden, salvo por repetir un solo ejemplo.
    """
    (name, first), *others = tensors.items()
    for other, tensor in others:
        if tensor.shape[1:] != first.shape[1:] or tensor.ndim != first.ndim:
            raise ValueError(
                f"«{other}» tiene forma {tuple(tensor.shape)} y «{name}» "
                f"{tuple(first.shape)}: deben ser de la misma forma."
            )
    sizes = {
        label: len(tensor)
        for label, tensor in {"t": t, **tensors}.items()
        if tensor.ndim
    }
    if len(set(sizes.values()) - {1}) > 1:
        listed = ", ".join(
            f"{size} en «{label}»" for label, size in sizes.items()
        )
        raise ValueError(
            f"El número de ejemplos no coincide: hay {listed}. Hace falta un "
            "índice t por ejemplo."
        )


def q_step(
    schedule: Schedule, x_prev: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    r"""Un paso del proceso: una muestra de $q(x_t|x_{t-1})$ (Ho et al., ec. 2).

    $$x_t = \sqrt{1 - \beta_t}\,x_{t-1} + \sqrt{\beta_t}\,\epsilon$$

    Args:
        schedule: las varianzas $\beta_t$.
        x_prev: $x_{t-1}$, de forma (B, …).
        t: índices de código (B,) del paso que se da.
        noise: $\epsilon$, ruido normal estándar de forma (B, …).

    Returns:
        $x_t$, de forma (B, …).

    Raises:
        ValueError: si las formas no casan o `t` se sale del schedule.
    """
    check_shapes(t, x_prev=x_prev, noise=noise)
    signal = schedule.at("sqrt_alphas", t, x_prev)
    return signal * x_prev + schedule.at("sqrt_betas", t, x_prev) * noise


def q_sample(
    schedule: Schedule, x_start: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    r"""El salto directo: una muestra de $q(x_t|x_0)$ (Ho et al., ec. 4).

    $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$$

    Args:
        schedule: las varianzas $\beta_t$.
        x_start: $x_0$, de forma (B, …), con valores en $[-1, 1]$.
        t: índices de código (B,).
        noise: $\epsilon$, ruido normal estándar de forma (B, …).

    Returns:
        $x_t$, de forma (B, …).

    Raises:
        ValueError: si las formas no casan o `t` se sale del schedule.
    """
    check_shapes(t, x_start=x_start, noise=noise)
    signal = schedule.at("sqrt_alphas_cumprod", t, x_start)
    return (
        signal * x_start
        + schedule.at("sqrt_one_minus_alphas_cumprod", t, x_start) * noise
    )


def q_mean_variance(schedule: Schedule, x_start: Tensor, t: Tensor) -> Gaussian:
    r"""La distribución $q(x_t|x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\,x_0, (1-\bar\alpha_t) I)$.

    Args:
        schedule: las varianzas $\beta_t$.
        x_start: $x_0$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        Media (B, …), varianza y log-varianza (B, 1, …, 1).
    """
    check_shapes(t, x_start=x_start)
    mean = schedule.at("sqrt_alphas_cumprod", t, x_start) * x_start
    std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_start)
    return Gaussian(mean, std**2, 2 * std.log())


def diffuse(
    schedule: Schedule, x: Tensor, source: int, target: int, noise: Tensor
) -> Tensor:
    r"""Añade ruido de golpe, de un nivel a otro más alto: una muestra de $q(x_t|x_s)$, $s < t$.

    $$x_t = \sqrt{\frac{\bar\alpha_t}{\bar\alpha_s}}\,x_s
    + \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}\,\epsilon$$

    Args:
        schedule: las varianzas $\beta_t$.
        x: $x_s$, de forma (B, …).
        source: índice de código de $s$; -1 son los datos, $x_0$.
        target: índice de código de $t$.
        noise: $\epsilon$, ruido normal estándar de forma (B, …).

    Returns:
        $x_t$, de forma (B, …).

    Raises:
        ValueError: si los niveles no suben o se salen del schedule, o las formas no casan.
    """
    if not -1 <= source < target < len(schedule):
        raise ValueError(
            "Para añadir ruido hay que subir de nivel: se pide ir del "
            f"{source} al {target} en un proceso cuyos niveles van de -1 (los "
            f"datos) a {len(schedule) - 1}."
        )
    if x.shape != noise.shape:
        raise ValueError(
            f"x tiene forma {tuple(x.shape)} y el ruido, {tuple(noise.shape)}: "
            "deben ser iguales."
        )
    before = float(schedule.alphas_cumprod[source]) if source >= 0 else 1.0
    ratio = float(schedule.alphas_cumprod[target]) / before
    return math.sqrt(ratio) * x + math.sqrt(1 - ratio) * noise
