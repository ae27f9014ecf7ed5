r"""Score matching: la difusión contada desde la pendiente de $\log q$.

El *score* de una densidad, $\nabla\log q(x)$, es el vector que dice hacia dónde crece. Con él se
generan muestras (`langevin`), y se aprende sin conocerlo: basta ensuciar los datos
(`score_matching_error`). Una red que predice el ruido ya lo ha aprendido
(`backward.to_score`), así que aquí no hay ninguna red nueva: hay otra manera de usar la misma.

Las *escaleras* van en las coordenadas sin encoger, $\bar x = x_t/\sqrt{\bar\alpha_t} = x_0 +
\varsigma_t\,\epsilon$, con $\varsigma_t = \sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$: en ellas un
nivel es solo cuánto ruido se suma, que es como lo escriben Song y Ermon.

Fuentes: Hyvärinen 2005 (JMLR 6, 695-709), Vincent 2011 (Neural Computation 23, 1661-1674), y Song
y Ermon 2019 (arXiv:1907.05600).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, to_score
from ddpm_lit.scheduler import Schedule, respace

Score = Callable[[Tensor], Tensor]
r"""Un campo $s(x) \approx \nabla\log q(x)$: recibe $x$, (B, …), y da otro tensor igual."""


@torch.no_grad()
def langevin(
    score: Score, x: Tensor, step_size: float, noises: Iterable[Tensor]
) -> Iterator[Tensor]:
    r"""Dinámica de Langevin: subir la cuesta y temblar, un paso por cada ruido que se le dé.

    $$x \leftarrow x + \frac{\delta}{2}\,s(x) + \sqrt{\delta}\,z$$

    Si $\delta$ es pequeño y los pasos son muchos, $x$ acaba siendo una muestra de $q$. Con datos
    normales de varianza $v$, la varianza a la que llega es $v/(1-\delta/4v)$.

    Args:
        score: $s$.
        x: el punto de partida, (B, …).
        step_size: $\delta$, en las unidades de $x$ al cuadrado.
        noises: los $z$, (B, …); se da un paso con cada uno.

    Yields:
        Los estados, (B, …), sin el de partida.

    Raises:
        ValueError: si $\delta$ no es positivo.
    """
    if not step_size > 0:
        raise ValueError(
            f"El paso de Langevin es {step_size} y debe ser mayor que 0."
        )
    for z in noises:
        x = x + step_size / 2 * score(x) + math.sqrt(step_size) * z
        yield x


def score_matching_error(
    schedule: Schedule, score: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    r"""Lo que se aparta un score del de $x_t$ sabiendo $x_0$ (Vincent 2011).

    $$\left\|s(x_t) - \nabla_{x_t}\log q(x_t|x_0)\right\|^2 =
    \left\|s(x_t) + \frac{\epsilon}{\sqrt{1-\bar\alpha_t}}\right\|^2$$

    Su media se minimiza en $\nabla\log q(x_t)$, que no aparece en ella, y por $1-\bar\alpha_t$ es
    $L_{simple}$ (sumado en los píxeles).

    Args:
        schedule: las varianzas $\beta_t$.
        score: $s(x_t)$, de forma (B, …).
        noise: el $\epsilon$ con que se hizo $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        El error de cada ejemplo, sumado en los píxeles: (B,).
    """
    gap = score - to_score(schedule, noise, t)
    return gap.flatten(1).square().sum(dim=1)


def score_matching_floor(
    schedule: Schedule, score: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    r"""Lo que el score exacto paga en `score_matching_error`, y nadie puede dejar de pagar.

    $$C_t = \operatorname{E}\|\nabla\log q(x_t|x_0)\|^2 - \operatorname{E}\|\nabla\log q(x_t)\|^2$$

    El primer sumando es $D/(1-\bar\alpha_t)$, con $D$ píxeles. Aquí se calcula con el ruido de cada
    ejemplo: con $t$ grande los dos sumandos son casi iguales, y así su azar también se resta.

    Args:
        schedule: las varianzas $\beta_t$.
        score: $\nabla\log q(x_t)$, el exacto, de forma (B, …).
        noise: el $\epsilon$ con que se hizo $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        Un número por ejemplo, (B,); $C_t$ es su media.
    """
    known = to_score(schedule, noise, t)
    return (known.square() - score.square()).flatten(1).sum(dim=1)


def ladder(schedule: Schedule, levels: int, sigma_max: float) -> Schedule:
    r"""Una escalera de niveles, cada uno con el mismo múltiplo de ruido que el anterior.

    $$\varsigma_i = \varsigma_1 \left(\frac{\varsigma_L}{\varsigma_1}\right)^{(i-1)/(L-1)}$$

    con $\varsigma_1$ el ruido menor del schedule y $\varsigma_L$ el que se pida (Song y Ermon los
    numeran al revés). De cada peldaño se toma el nivel del schedule que más se le parece, así que
    vale para una red ya entrenada.

    Args:
        schedule: el schedule con que se entrenó.
        levels: $L$, al menos 2.
        sigma_max: $\varsigma_L$; conviene que sea mayor que la distancia entre los datos.

    Returns:
        Los niveles, como un schedule de L pasos que recuerda los índices originales.

    Raises:
        ValueError: si hay menos de 2 peldaños, el schedule no llega a ese ruido o dos peldaños
            caen en el mismo nivel.
    """
    sigmas = schedule.sqrt_recipm1_alphas_cumprod
    low, high = float(sigmas[0]), float(sigmas[-1])
    if levels < 2 or not low < sigma_max <= high:
        raise ValueError(
            f"Se piden {levels} niveles hasta σ = {sigma_max}: deben ser al "
            f"menos 2, y este schedule va de {low:.3g} a {high:.3g}."
        )
    wanted = torch.linspace(
        math.log(low), math.log(sigma_max), levels, dtype=torch.float64
    )
    indices = (sigmas.log()[:, None] - wanted).abs().argmin(dim=0)
    if not bool((indices.diff() > 0).all()):
        raise ValueError(
            f"Entre σ = {low:.3g} y {sigma_max:.3g} este schedule no tiene "
            f"{levels} niveles distintos con esa separación: pide menos."
        )
    return respace(schedule, indices)


def level_score(denoise: Denoiser, index: int) -> Score:
    r"""El score de un nivel en las coordenadas sin encoger, $\bar x = x_0 + \varsigma\,\epsilon$.

    $$\nabla_{\bar x}\log p_\varsigma(\bar x) \approx
    -\frac{\hat\epsilon(\sqrt{\bar\alpha}\,\bar x,\ t)}{\varsigma}$$

    Args:
        denoise: la red con su proceso.
        index: el nivel del schedule.

    Returns:
        El campo, que recibe $\bar x$, (B, …), y evalúa la red una vez.
    """
    schedule = denoise.schedule
    signal = float(schedule.sqrt_alphas_cumprod[index])
    sigma = float(schedule.sqrt_recipm1_alphas_cumprod[index])

    def score(x: Tensor) -> Tensor:
        return -denoise(signal * x, index).epsilon / sigma

    return score


@torch.no_grad()
def annealed_langevin(
    denoise: Denoiser,
    x: Tensor,
    noises: Iterator[Tensor],
    *,
    steps: int,
    rate: float = 0.2,
) -> Iterator[Tensor]:
    r"""Langevin recocido: unos pasos en cada nivel, del más ruidoso al menos.

    Es el algoritmo 1 de Song y Ermon (2019), con el paso de cada nivel en proporción a su
    varianza:

    $$\delta_i = r\,\varsigma_i^2$$

    Ellos escriben $\epsilon\,\sigma_i^2/\sigma_L^2$ con $\epsilon = 2 \cdot 10^{-5}$ y
    $\sigma_L = 0{,}01$: es $r = 0{,}2$.

    Args:
        denoise: la red con su proceso; los niveles son los de su schedule (véase `ladder`).
        x: el punto de partida, sin encoger: ruido de desviación $\varsigma_L$, (B, …).
        noises: de donde se toma cada $z$, (B, …).
        steps: cuántos pasos se dan en cada nivel; cada uno es una llamada a la red.
        rate: $r$, entre 0 y 4 (con 4 o más, Langevin se aleja sin límite).

    Yields:
        Los estados, (B, …), sin encoger: `steps` por nivel. El último conserva el ruido del
        nivel más bajo.

    Raises:
        ValueError: si $r$ no está entre 0 y 4.
    """
    if not 0 < rate < 4:
        raise ValueError(
            f"rate es {rate} y debe estar entre 0 y 4: por encima, cada paso "
            "se pasa de largo más de lo que corrige."
        )
    sigmas, state = denoise.schedule.sqrt_recipm1_alphas_cumprod.tolist(), x
    for index in reversed(range(len(sigmas))):
        score = level_score(denoise, index)
        step_size = rate * sigmas[index] ** 2
        walk = langevin(score, state, step_size, islice(noises, steps))
        for state in walk:
            yield state
