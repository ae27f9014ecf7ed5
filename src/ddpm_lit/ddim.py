r"""DDIM: la misma red con menos pasos y con tanto azar como se quiera.

El paso de Song et al. (2020, arXiv:2010.02502) es un sampler como los demás (véase
`ddpm_lit.sampling`); sus opciones se fijan con `functools.partial` o con
`sampling.make_sampler`. Con $\eta = 0$ no hay azar: el camino del ruido a los datos se
puede desandar (`ddim_inversion`) y dos ruidos se pueden mezclar (`slerp`).

El $\alpha_t$ de ese artículo es el $\bar\alpha_t$ de DDPM, que es el que se usa aquí. El
paso va siempre de un nivel del schedule al anterior **de ese mismo schedule**: si es
más corto (`scheduler.respace`), al anterior de la lista.
"""

import math
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.scheduler import Schedule


def check_eta(eta: float) -> None:
    r"""Rechaza un $\eta$ que no esté entre 0 (sin azar) y 1 (DDPM).

    Raises:
        ValueError: si $\eta$ no está en $[0, 1]$.
    """
    if not 0 <= eta <= 1:
        raise ValueError(
            "η va de 0 (DDIM, sin azar) a 1 (el azar de DDPM) y ha llegado "
            f"{eta}. Para la varianza mayor del artículo, σ̂, usa "
            "sigma_hat=True."
        )


def previous_alpha_cumprod(
    schedule: Schedule, index: int, final_alpha_cumprod: float = 1.0
) -> float:
    r"""El $\bar\alpha$ al que lleva un paso: el del nivel anterior de la lista.

    Args:
        schedule: el schedule que se recorre.
        index: el nivel del que se sale.
        final_alpha_cumprod: el que se toma como $\bar\alpha_0$, al que lleva el último paso.

    Returns:
        $\bar\alpha_{t-1}$.

    Raises:
        ValueError: si `final_alpha_cumprod` no está entre 0 y 1.
    """
    if not 0 < final_alpha_cumprod <= 1:
        raise ValueError(
            "El último paso lleva a ᾱ₀, que es 1 o poco menos, y ha llegado "
            f"{final_alpha_cumprod}."
        )
    return (
        float(schedule.alphas_cumprod[index - 1])
        if index > 0
        else final_alpha_cumprod
    )


def ddim_sigma(
    schedule: Schedule,
    index: int,
    eta: float = 1.0,
    *,
    final_alpha_cumprod: float = 1.0,
) -> float:
    r"""La desviación típica del ruido de un paso (Song et al. 2020, ec. 16).

    $$\sigma_t(\eta) = \eta\,\sqrt{\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}}\,
    \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}}}$$

    Args:
        schedule: el schedule que se recorre.
        index: el nivel del que se sale.
        eta: $\eta$, entre 0 y 1; con 1 es $\sqrt{\tilde\beta_t}$.
        final_alpha_cumprod: el que se toma como $\bar\alpha_0$.

    Returns:
        $\sigma_t(\eta)$; 0 en el último paso.

    Raises:
        ValueError: si $\eta$ no está en $[0, 1]$.
    """
    check_eta(eta)
    bar = float(schedule.alphas_cumprod[index])
    before = previous_alpha_cumprod(schedule, index, final_alpha_cumprod)
    return eta * math.sqrt(
        (1 - before) / (1 - bar) * max(1 - bar / before, 0.0)
    )


def ddim(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
    *,
    eta: float = 0.0,
    sigma_hat: bool = False,
    final_alpha_cumprod: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""El paso de DDIM (Song et al. 2020, ec. 12).

    $$x_{t-1} = \sqrt{\bar\alpha_{t-1}}\,\hat x_0
    + \sqrt{1-\bar\alpha_{t-1}-\sigma_t^2}\;\hat\epsilon + \sigma_t z$$

    $\hat x_0$ y $\hat\epsilon$ salen de `denoise`, que vuelve a calcular $\hat\epsilon$ tras
    recortar $\hat x_0$; por eso con $\eta = 1$ esto es el paso de DDPM también con recorte.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: de donde se toma $z$; solo se pide si hace falta, y nunca en el último paso.
        previous: no se usa.
        eta: cuánto azar, de 0 (ninguno) a 1 (el de DDPM con $\tilde\beta_t$); véase
            `ddim_sigma`.
        sigma_hat: si $z$ lleva la desviación
            $\hat\sigma_t = \sqrt{1-\bar\alpha_t/\bar\alpha_{t-1}}$, mayor. La parte
            determinista conserva $\sigma_t(1)$, y `eta` no cuenta.
        final_alpha_cumprod: el que se toma como $\bar\alpha_0$; hay código que usa el del
            primer paso, $\bar\alpha_1$, en vez de 1.

    Returns:
        $x_{t-1}$ y $\hat x_0$, los dos (B, …).

    Raises:
        ValueError: si $\eta$ no está en $[0, 1]$.
    """
    schedule, step = denoise.schedule, denoise(x_t, index)
    before = previous_alpha_cumprod(schedule, index, final_alpha_cumprod)
    sigma = ddim_sigma(
        schedule,
        index,
        1.0 if sigma_hat else eta,
        final_alpha_cumprod=final_alpha_cumprod,
    )
    direction = math.sqrt(max(1 - before - sigma**2, 0.0))
    x_prev = math.sqrt(before) * step.x_start + direction * step.epsilon
    if sigma_hat:
        sigma = math.sqrt(1 - float(schedule.alphas_cumprod[index]) / before)
    if index > 0 and sigma > 0:
        x_prev = x_prev + sigma * next(noises)
    return x_prev, step.x_start


@torch.no_grad()
def ddim_inversion(denoise: Denoiser, x_0: Tensor) -> Iterator[Tensor]:
    r"""Desanda DDIM con $\eta = 0$: de los datos al $x_T$ que los generaría.

    $$x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1-\bar\alpha_t}\;\hat\epsilon$$

    con $\hat x_0$ y $\hat\epsilon$ evaluados en el estado del que se sale, $x_{t-1}$, y en
    *su* nivel: es el método de Euler sobre la misma ecuación diferencial. El primer paso sale
    de los datos, que no tienen nivel: $\hat x_0$ son ellos mismos y $\hat\epsilon$ se pide en
    el nivel más bajo. Se da un paso por nivel, y el último deja en $x_T$.

    Args:
        denoise: la red con su proceso, sin recorte: lo que el recorte cambia no se puede
            desandar.
        x_0: los datos, (B, …).

    Yields:
        $x_1, \dots, x_T$ (los niveles 0, …, `len(denoise.schedule) - 1`), cada uno (B, …).
    """
    x_t = x_0
    for index in range(len(denoise.schedule)):
        step = denoise(x_t, max(index - 1, 0))
        x_start = step.x_start if index > 0 else x_0
        bar = float(denoise.schedule.alphas_cumprod[index])
        x_t = math.sqrt(bar) * x_start + math.sqrt(1 - bar) * step.epsilon
        yield x_t


@torch.no_grad()
def reconstruct(denoise: Denoiser, x_0: Tensor) -> Tensor:
    r"""De los datos a $x_T$ y de vuelta, sin azar (Song et al. 2020, sección 5.4).

    Args:
        denoise: la red con su proceso, sin recorte; se recorre hacia arriba y hacia abajo.
        x_0: los datos, (B, …).

    Returns:
        La reconstrucción de `x_0`, (B, …); el error baja al dar más pasos.
    """
    x_t = deque(ddim_inversion(denoise, x_0), maxlen=1).pop()
    for index in reversed(range(len(denoise.schedule))):
        x_t, _ = ddim(denoise, x_t, index, iter(()))
    return x_t


def slerp(a: Tensor, b: Tensor, fraction: float | Tensor) -> Tensor:
    r"""Interpolación esférica, muestra a muestra: por el arco que va de `a` a `b`.

    $$\frac{\sin((1-f)\,\theta)}{\sin\theta}\,a + \frac{\sin(f\,\theta)}{\sin\theta}\,b,
    \qquad \cos\theta = \frac{a \cdot b}{\|a\|\,\|b\|}$$

    Entre dos ruidos independientes no cambia la varianza, que una mezcla lineal dejaría en
    $(1-f)^2 + f^2$. Entre dos tensores paralelos es la mezcla lineal, su límite.

    Args:
        a: un extremo, (B, …); cada muestra es un vector.
        b: el otro, de la misma forma.
        fraction: $f$, de 0 (`a`) a 1 (`b`), igual para todas o de forma (B,).

    Returns:
        La mezcla, (B, …).

    Raises:
        ValueError: si las formas no coinciden, hay un vector nulo o dos extremos son opuestos
            (entre ellos no hay un solo arco).
    """
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(
            f"Los extremos tienen formas {tuple(a.shape)} y {tuple(b.shape)}: "
            "deben ser iguales, (B, …), con una muestra por fila. A un vector "
            "solo, dale su fila: a[None]."
        )
    # En float64, que vive en la CPU: no todos los dispositivos lo tienen.
    rows_a, rows_b = (end.cpu().double().flatten(1) for end in (a, b))
    norms = rows_a.norm(dim=1) * rows_b.norm(dim=1)
    cosine = ((rows_a * rows_b).sum(dim=1) / norms).clamp(-1, 1)
    if not bool((cosine > -1 + 1e-12).all()):
        raise ValueError(
            "Alguna muestra es nula o tiene los extremos opuestos, y entre "
            "ellos no hay un único arco: cambia uno de los dos."
        )
    f = torch.as_tensor(fraction).cpu().double()
    angle = cosine.acos()
    straight = angle < 1e-6
    sine = torch.where(straight, 1.0, angle.sin())
    weight_a = torch.where(straight, 1 - f, ((1 - f) * angle).sin() / sine)
    weight_b = torch.where(straight, f, (f * angle).sin() / sine)
    column = (-1, *[1] * (a.ndim - 1))
    part_a, part_b = (
        weight.to(a.dtype).to(a.device).reshape(column)
        for weight in (weight_a, weight_b)
    )
    return part_a * a + part_b * b


def interpolate_latents(a: Tensor, b: Tensor, count: int) -> Tensor:
    r"""Los puntos de un paseo con `slerp` de `a` a `b`, los dos incluidos.

    Args:
        a: $x_T$ de partida, (B, …).
        b: $x_T$ de llegada, de la misma forma.
        count: cuántos puntos, al menos 2.

    Returns:
        Latentes de forma (count, B, …), para generar desde ellos con $\eta = 0$.

    Raises:
        ValueError: si se piden menos de 2 puntos, o los extremos no valen (véase `slerp`).
    """
    if count < 2:
        raise ValueError(
            f"Un paseo tiene al menos sus 2 extremos y se han pedido {count} "
            "puntos."
        )
    return torch.stack([slerp(a, b, k / (count - 1)) for k in range(count)])
