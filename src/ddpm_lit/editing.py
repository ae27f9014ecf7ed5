r"""Editar sin entrenar: RePaint y SDEdit.

Un modelo que solo sabe generar sabe también rellenar huecos y rehacer bocetos. No hay que
tocar la red: basta con recorrer el camino de la generación de otra manera.

- **RePaint** completa una imagen de la que se conoce una parte: en cada paso sustituye lo
  conocido por el original con su ruido y, para que las dos partes casen, desanda y repite
  tramos del camino (`repaint`, `repaint_path`).
- **SDEdit** parte de una imagen guía con ruido, en vez de partir del ruido puro (`sdedit`).

`inpaint` y `redraw` los preparan para el argumento `edit` de `ddpm_lit.sampling.sample`.

Fuentes: Lugmayr et al. 2022 (arXiv:2201.09865) y Meng et al. 2021 (arXiv:2108.01073).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, Sampler
from ddpm_lit.conditioning import check_data, check_finite
from ddpm_lit.forward import diffuse
from ddpm_lit.sampling import WHOLE, Edit, SampleStep, algorithm2, ancestral

# --- RePaint --------------------------------------------------------------------------------------


@torch.no_grad()
def repaint(
    denoise: Denoiser,
    x_T: Tensor,
    noises: Iterator[Tensor],
    sampler: Sampler = ancestral,
    *,
    known: Tensor,
    mask: Tensor,
    jump: int = 10,
    resamplings: int = 1,
) -> Iterator[SampleStep]:
    r"""RePaint (Lugmayr et al., algoritmo 1): generar sin tocar lo que se conoce.

    $$x_{t-1} = m \odot x_{t-1}^{\text{conocido}} + (1 - m) \odot x_{t-1}^{\text{sampler}},
    \qquad x_{t-1}^{\text{conocido}} \sim q(x_{t-1}|x_0)$$

    Lo conocido lleva el ruido del nivel al que se llega, $t-1$: en el último paso es $x_0$, sin
    nada de ruido. El algoritmo impreso usa ahí $\bar\alpha_t$, y olvida una raíz. Cuando el camino
    sube, se vuelve a añadir el ruido de los niveles que se suben.

    Args:
        denoise: la red con su proceso.
        x_T: el ruido de partida, (B, …).
        noises: de donde se toma cada ruido, de forma (B, …).
        sampler: qué se hace en cada paso.
        known: los datos originales $x_0$, (B, …); donde la máscara es 0, da igual qué haya.
        mask: $m$, (B, …): 1 en lo conocido y 0 en lo que hay que inventar.
        jump: cuántos niveles se suben cada vez que se repite un tramo (véase `repaint_path`).
        resamplings: cuántas veces se recorre cada tramo; con 1 no se repite nada.

    Yields:
        Un `SampleStep` por paso. El $\hat x_0$ que lleva es el de la red, sin reponer nada.
    """
    schedule = denoise.schedule
    x_t, x_start, level = x_T, None, len(schedule) - 1
    for index in repaint_path(len(schedule), jump, resamplings):
        if index > level:
            x_start = None
            x_t = diffuse(schedule, x_t, level, index, next(noises))
        before, level = x_t, index - 1
        x_t, x_start = sampler(denoise, x_t, index, noises, x_start)
        original = known
        if index > 0:
            original = diffuse(schedule, known, -1, level, next(noises))
        x_t = mask * original + (1 - mask) * x_t
        yield SampleStep(index, x_t, x_start, before)


def repaint_path(
    steps: int, jump: int = 10, resamplings: int = 10
) -> list[int]:
    r"""El camino de RePaint: bajar, volver a subir y repetir (Lugmayr et al., sección 4.2).

    Cada vez que se han bajado $j$ niveles se vuelve a añadir el ruido de esos $j$ y se bajan
    otra vez, hasta que el tramo se ha recorrido $r$ veces. Los tramos empiezan a contarse por
    abajo, a un nivel de los datos: el último paso se da una sola vez. Con $K$ pasos se evalúa la
    red

    $$K + (r - 1)\, j \left\lceil \frac{K - j}{j} \right\rceil \text{ veces.}$$

    Args:
        steps: $K$, los niveles del proceso.
        jump: $j$, cuántos niveles se suben de golpe; 1 es el algoritmo 1 del artículo.
        resamplings: $r$, cuántas veces se recorre cada tramo; 1 baja sin subir nunca.

    Returns:
        Los niveles en que se da un paso, en orden.

    Raises:
        ValueError: si un número no es positivo o no cabe ningún salto.
    """
    if steps < 1 or jump < 1 or resamplings < 1:
        raise ValueError(
            "steps, jump y resamplings deben ser al menos 1 y han llegado "
            f"{steps}, {jump} y {resamplings}."
        )
    if resamplings > 1 and steps == 1:
        raise ValueError(
            "Con un solo paso no hay ningún tramo que repetir "
            f"{resamplings} veces: da más pasos, o usa resamplings=1."
        )
    if resamplings > 1 and jump >= steps:
        raise ValueError(
            f"Un salto de {jump} niveles no cabe en un proceso de {steps} "
            f"pasos: usa un jump menor que {steps}, o resamplings=1 para no "
            "saltar."
        )
    bottoms = range(0, steps - jump, jump)
    path = list(range(steps - 1, bottoms[-1] + jump if bottoms else 0, -1))
    for bottom in reversed(bottoms):
        path += list(range(bottom + jump, bottom, -1)) * resamplings
    return [*path, 0]


# --- SDEdit ---------------------------------------------------------------------------------------


def noised_levels(steps: int, strength: float) -> int:
    r"""Cuántos niveles de ruido se añaden a la guía de SDEdit: $\lceil s K\rceil$.

    Args:
        steps: $K$, los niveles del proceso.
        strength: $s$, la fracción del proceso que se rehace, en (0, 1]; con 1 de la guía no
            queda más que lo que quede de los datos en $x_T$.

    Returns:
        Un número $k$ de 1 a `steps`: la guía se lleva al índice $k - 1$ y desde él se dan $k$
        pasos.

    Raises:
        ValueError: si `strength` no está en (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(
            f"strength vale {strength} y debe ser mayor que 0 y como mucho 1: "
            "cerca de 0 casi no cambia la imagen, y con 1 se hace otra de "
            "nuevo."
        )
    # Redondear antes evita que 0.07 · 100 = 7.000000000000001 pida un nivel
    # más.
    return math.ceil(round(strength * steps, 9))


def sdedit(
    denoise: Denoiser,
    noise: Tensor,
    noises: Iterator[Tensor],
    sampler: Sampler = ancestral,
    *,
    initial: Tensor,
    strength: float,
    loop: Callable[..., Iterator[SampleStep]] = algorithm2,
    **tensors: Tensor,
) -> Iterator[SampleStep]:
    r"""SDEdit (Meng et al. 2021, algoritmo 1): el camino de siempre, desde una guía con ruido.

    Args:
        denoise: la red con su proceso.
        noise: el ruido que se le añade a la guía, (B, …).
        noises: de donde se toma cada ruido, de forma (B, …).
        sampler: qué se hace en cada paso.
        initial: la guía, (B, …).
        strength: qué fracción del proceso se rehace (véase `noised_levels`).
        loop: el bucle con que se baja desde ahí.
        **tensors: lo que recibe además ese bucle.

    Yields:
        Un `SampleStep` por paso, desde la guía con ruido.
    """
    levels = noised_levels(len(denoise.schedule), strength)
    x_t = diffuse(denoise.schedule, initial, -1, levels - 1, noise)
    below = replace(denoise, diffusion=denoise.diffusion.first(levels))
    yield from loop(below, x_t, noises, sampler, **tensors)


# --- Para `sampling.sample` -----------------------------------------------------------------------


def inpaint(
    known: Tensor, mask: Tensor, *, jump: int = 10, resamplings: int = 1
) -> Edit:
    """Rellenar los huecos de una imagen con `repaint`: el `edit` de `sampling.sample`.

    Args:
        known: los datos originales, en [-1, 1]; (N, …), o algo que se repita hasta esa forma.
        mask: 1 en lo conocido y 0 en lo que hay que inventar; los valores intermedios mezclan.
        jump: cuántos niveles se suben cada vez que se repite un tramo.
        resamplings: cuántas veces se recorre cada tramo.

    Returns:
        El camino, para el argumento `edit`.

    Raises:
        ValueError: si algo no es de coma flotante o finito, los datos no están en [-1, 1] o la
            máscara se sale de [0, 1].
    """
    check_data("known", known)
    mask = mask.to(known.dtype)
    check_finite("mask", mask)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError(
            f"La máscara va de {mask.min():.4g} a {mask.max():.4g} y debe "
            "estar en [0, 1]: 1 donde la imagen se conoce y 0 donde hay que "
            "inventarla."
        )
    return Edit(
        partial(repaint, jump=jump, resamplings=resamplings),
        {"known": known, "mask": mask},
        partial(repaint_path, jump=jump, resamplings=resamplings),
    )


def redraw(initial: Tensor, strength: float, edit: Edit = WHOLE) -> Edit:
    """Rehacer una imagen con `sdedit`: el `edit` de `sampling.sample`.

    Args:
        initial: la imagen de que se parte, en [-1, 1]; (N, …), o algo que se repita hasta ahí.
        strength: qué fracción del proceso se rehace, en (0, 1].
        edit: cómo se baja desde ahí; con `inpaint(…)` se rehace solo un hueco.

    Returns:
        El camino, para el argumento `edit`.

    Raises:
        ValueError: si `strength` no está en (0, 1], o la imagen no está en [-1, 1].
    """
    check_data("initial", initial)
    noised_levels(1, strength)
    return Edit(
        partial(sdedit, strength=strength, loop=edit.loop),
        {"initial": initial, **edit.tensors},
        lambda steps: edit.path(noised_levels(steps, strength)),
    )
