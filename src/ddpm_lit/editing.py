r"""Editar sin entrenar: RePaint y SDEdit.

Un modelo que solo sabe generar sabe también rellenar huecos y rehacer bocetos. No hay que
tocar la red: basta con intervenir en el bucle de la generación (`ddpm_lit.sampling`).

- **RePaint** completa una imagen de la que se conoce una parte: en cada paso sustituye lo
  conocido por el original con su ruido (`keep_known`) y, para que las dos partes casen,
  desanda y repite tramos del camino (`repaint_path`).
- **SDEdit** parte de una imagen guía con ruido, en vez de partir del ruido puro
  (`noised_levels`).

Fuentes: Lugmayr et al. 2022 (arXiv:2201.09865) y Meng et al. 2021 (arXiv:2108.01073).
"""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from ddpm_lit.backward import Predict, Sampler
from ddpm_lit.forward import diffuse
from ddpm_lit.scheduler import Schedule


def keep_known(sampler: Sampler, known: Tensor, mask: Tensor) -> Sampler:
    r"""Un sampler que da el paso de otro y repone lo conocido (Lugmayr et al., ec. 8).

    $$x_{t-1} = m \odot x_{t-1}^{\text{conocido}} + (1 - m) \odot x_{t-1}^{\text{sampler}},
    \qquad x_{t-1}^{\text{conocido}} \sim q(x_{t-1}|x_0)$$

    Lo conocido lleva el ruido del nivel al que se llega, $t-1$: en el último paso es $x_0$, sin
    nada de ruido. El algoritmo impreso usa ahí $\bar\alpha_t$, y olvida una raíz.

    Args:
        sampler: el paso que se da.
        known: los datos originales $x_0$, (B, …); donde la máscara es 0, da igual qué haya.
        mask: $m$, (B, …): 1 en lo conocido y 0 en lo que hay que inventar.

    Returns:
        Otro sampler, que toma un ruido más por paso (menos en el último). El $\hat x_0$ que da
        es el de la red, sin reponer nada.
    """

    def step(
        predict: Predict,
        schedule: Schedule,
        x_t: Tensor,
        index: int,
        noises: Iterator[Tensor],
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x, x_start = sampler(predict, schedule, x_t, index, noises, previous)
        original = known
        if index > 0:
            original = diffuse(schedule, known, -1, index - 1, next(noises))
        return mask * original + (1 - mask) * x, x_start

    return step


def repaint_path(steps: int, jump: int = 10, resamplings: int = 10) -> list[int]:
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
        Los niveles en que se da un paso, en orden: el `path` de `sampling.algorithm2`.

    Raises:
        ValueError: si un número no es positivo o no cabe ningún salto.
    """
    if steps < 1 or jump < 1 or resamplings < 1:
        raise ValueError(
            f"steps, jump y resamplings deben ser al menos 1 y han llegado {steps}, {jump} y "
            f"{resamplings}."
        )
    if resamplings > 1 and jump >= steps:
        raise ValueError(
            f"Un salto de {jump} niveles no cabe en un proceso de {steps} pasos: usa un jump "
            f"menor que {steps}, o resamplings=1 para no saltar."
        )
    bottoms = range(0, steps - jump, jump)
    path = list(range(steps - 1, bottoms[-1] + jump if bottoms else 0, -1))
    for bottom in reversed(bottoms):
        path += list(range(bottom + jump, bottom, -1)) * resamplings
    return [*path, 0]


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
            f"strength vale {strength} y debe ser mayor que 0 y como mucho 1: cerca de 0 casi no "
            "cambia la imagen, y con 1 se hace otra de nuevo."
        )
    # Redondear antes evita que 0.07 · 100 = 7.000000000000001 pida un nivel más.
    return math.ceil(round(strength * steps, 9))


def check_known(
    known: Tensor | None, mask: Tensor | None, shape: Sequence[int]
) -> tuple[Tensor, Tensor] | None:
    """Comprueba lo que se quiere conservar y le da una fila por muestra.

    Args:
        known: los datos originales; (N, …), o algo que se repita hasta esa forma.
        mask: 1 en lo conocido y 0 en lo que hay que inventar; los valores intermedios mezclan.
        shape: (N, …), la forma de lo que se va a generar.

    Returns:
        `known` y `mask`, los dos (N, …), o `None` si no se da ninguno.

    Raises:
        ValueError: si falta uno de los dos, no tienen la forma debida o la máscara se sale de
            [0, 1].
    """
    if known is None and mask is None:
        return None
    if known is None or mask is None:
        given, missing = ("mask", "known") if known is None else ("known", "mask")
        raise ValueError(
            f"Ha llegado «{given}» sin «{missing}»: para rellenar una imagen hacen falta lo que se "
            "conoce (known) y dónde se conoce (mask)."
        )
    known = _expanded("known", known, shape)
    mask = _expanded("mask", mask.to(known), shape)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError(
            f"La máscara va de {mask.min():.4g} a {mask.max():.4g} y debe estar en [0, 1]: 1 donde "
            "la imagen se conoce y 0 donde hay que inventarla."
        )
    return known, mask


def check_guide(
    initial: Tensor | None, strength: float | None, shape: Sequence[int], steps: int
) -> tuple[Tensor, int] | None:
    """Comprueba la guía de SDEdit y le da una fila por muestra.

    Args:
        initial: la imagen de partida; (N, …), o algo que se repita hasta esa forma.
        strength: qué fracción del proceso se rehace, en (0, 1].
        shape: (N, …), la forma de lo que se va a generar.
        steps: los niveles del proceso.

    Returns:
        La guía, (N, …), y cuántos niveles de ruido se le añaden, o `None` si no se da nada.

    Raises:
        ValueError: si falta uno de los dos, `strength` no está en (0, 1] o la forma no encaja.
    """
    if initial is None and strength is None:
        return None
    if initial is None or strength is None:
        given, missing = ("strength", "initial") if initial is None else ("initial", "strength")
        raise ValueError(
            f"Ha llegado «{given}» sin «{missing}»: para partir de una imagen hace falta la imagen "
            "(initial) y cuánto rehacer de ella (strength, de 0 a 1)."
        )
    return _expanded("initial", initial, shape), noised_levels(steps, strength)


def _expanded(name: str, value: Tensor, shape: Sequence[int]) -> Tensor:
    if not value.is_floating_point():
        raise ValueError(f"«{name}» es de tipo {value.dtype} y debe ser de coma flotante.")
    if not bool(value.isfinite().all()):
        raise ValueError(f"«{name}» tiene valores que no son finitos (NaN o infinito).")
    try:
        return value.expand(*shape)
    except RuntimeError as error:
        raise ValueError(
            f"«{name}» tiene forma {tuple(value.shape)} y se esperaba {tuple(shape)}: una fila por "
            "muestra, o una sola forma que se repita en todas."
        ) from error
