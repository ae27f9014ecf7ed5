r"""Diffusion: el proceso que se aprende, en un solo valor que viaja por todo el paquete.

Es el producto de cuatro decisiones independientes: el schedule, qué predice la red, qué varianza
lleva el paso atrás y qué se hace con $\hat x_0$. Se comprueba una vez, al crearlo; quien lo
recibe no vuelve a preguntar.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from ddpm_lit.parametrisation import (
    PARAMETRISATIONS,
    Parametrisation,
    check_informative,
)
from ddpm_lit.scheduler import Schedule, respace, spaced_indices
from ddpm_lit.tables import row
from ddpm_lit.variance import VARIANCES, Variance

Clip = bool | Callable[[Tensor], Tensor]
r"""Qué se hace con $\hat x_0$: nada (`False`), recortarlo a $[-1, 1]$ (`True`) o una función."""


@dataclass(frozen=True, init=False, eq=False)
class Diffusion:
    r"""Un proceso de difusión entero: schedule × predicción × varianza × recorte.

    Args:
        schedule: las varianzas $\beta_t$.
        prediction: qué predice la red: un nombre de `PARAMETRISATIONS`, o una fila propia.
        variance: qué varianza lleva el paso atrás: un nombre de `VARIANCES`, o una fila propia.
        clip: `True` recorta $\hat x_0$ a $[-1, 1]$; `False` lo deja; una función lo transforma.

    Raises:
        ValueError: si un nombre no existe, o con ese schedule la predicción no dice nada de
            $x_0$ en algún paso (p. ej. $\epsilon$ con señal terminal nula: allí
            $x_T = \epsilon$, acertar el ruido no dice nada de $x_0$ y la ecuación 15 divide
            entre 0).
        TypeError: si `clip` no es ni un valor lógico ni una función.
    """

    schedule: Schedule
    prediction: Parametrisation
    variance: Variance
    clip: Clip

    def __init__(
        self,
        schedule: Schedule,
        prediction: str | Parametrisation = "epsilon",
        variance: str | Variance = "fixed_small",
        clip: Clip = True,
    ) -> None:
        values = {
            "schedule": schedule,
            "prediction": row(
                PARAMETRISATIONS, prediction, "La red no puede predecir"
            ),
            "variance": row(VARIANCES, variance, "No hay ninguna varianza"),
            "clip": clip,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name, kind in (
            ("prediction", Parametrisation),
            ("variance", Variance),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(
                    f"{name} es {value!r}, y debe ser un nombre o una fila de "
                    f"su tabla: un objeto de una clase que herede de "
                    f"{kind.__name__} (el objeto, no la clase)."
                )
        if not (isinstance(clip, bool) or callable(clip)):
            raise TypeError(
                f"clip es {clip!r} y debe ser True, False o una función de x̂₀."
            )
        check_informative(schedule, self.prediction)

    def clipped(self, x_start: Tensor) -> Tensor:
        r"""$\hat x_0$ como pide `clip`."""
        if callable(self.clip):
            return self.clip(x_start)
        return x_start.clamp(-1, 1) if self.clip else x_start

    def respaced(
        self, steps: int | None, spacing: str = "linspace"
    ) -> "Diffusion":
        """El mismo proceso en menos pasos (véase `scheduler.spaced_indices`).

        Args:
            steps: cuántos; `None` los deja todos.
            spacing: cómo se reparten.

        Returns:
            Otro `Diffusion`, cuyo schedule recuerda los índices originales.

        Raises:
            ValueError: si no hay tantos pasos, o el reparto no existe.
        """
        total = len(self.schedule)
        if steps is None or steps == total:
            return self
        chosen = spaced_indices(total, steps, spacing)
        return replace(self, schedule=respace(self.schedule, chosen))

    def first(self, levels: int) -> "Diffusion":
        """El mismo proceso, pero solo con sus primeros niveles de ruido."""
        return replace(self, schedule=respace(self.schedule, range(levels)))
