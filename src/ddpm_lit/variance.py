r"""Varianza del paso atrás: $\sigma_t^2$, fija o aprendida.

Cada fila de `VARIANCES` sabe dar $\sigma_t^2$ y su logaritmo. Si se aprende (`learned`), la red
da el doble de canales: la mitad son su predicción y la otra mitad, la varianza.

Fuentes: Ho et al. 2020 (arXiv:2006.11239), sección 3.2; Nichol y Dhariwal 2021
(arXiv:2102.09672), ecuación 15.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ddpm_lit.scheduler import Schedule


class Variance(ABC):
    r"""Una fila: cómo se obtienen $\sigma_t^2$ y su logaritmo.

    Una fila propia hereda de esta clase, da su nombre, dice si se aprende y se añade a
    `VARIANCES`.
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$\sigma_t^2$ y $\log\sigma_t^2$.

        Args:
            schedule: las varianzas $\beta_t$.
            t: índices de código (B,).
            like: si se aprende, los canales de la varianza, (B, C, …); si es fija, cualquier
                tensor (B, …) que dé el tipo, el dispositivo y las dimensiones.

        Returns:
            Los dos, de forma (B, 1, …, 1), o (B, C, …) si la varianza se aprende.
        """


class FixedSmall(Variance):
    r"""$\tilde\beta_t$, la del posterior: la óptima si los datos son un solo punto.

    En el índice 0, donde vale 0, el logaritmo es el de $\tilde\beta_2$, como en el código de los
    artículos (véase `Schedule.posterior_log_variance_clipped`).
    """

    name = "fixed_small"

    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$\tilde\beta_t$ y su logaritmo, (B, 1, …, 1)."""
        variance = schedule.at("posterior_variance", t, like)
        return variance, schedule.at("posterior_log_variance_clipped", t, like)


class FixedLarge(Variance):
    r"""$\beta_t$: la óptima si los datos son $\mathcal{N}(0, I)$.

    En el índice 0 el logaritmo es el de $\tilde\beta_2$, como en `FixedSmall`.
    """

    name = "fixed_large"

    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$\beta_t$ y su logaritmo, (B, 1, …, 1)."""
        variance = schedule.at("betas", t, like)
        return variance, schedule.at("log_betas_clipped", t, like)


class Learned(Variance):
    r"""La que diga la red: sus canales son $\log\sigma_t^2$."""

    name = "learned"
    learned = True

    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$e^o$ y $o$, los canales, (B, C, …)."""
        return like.exp(), like


class LearnedRange(Variance):
    r"""Un punto entre $\log\tilde\beta_t$ y $\log\beta_t$ (Nichol y Dhariwal 2021, ec. 15).

    Los canales $o$ son un número entre $-1$ y $1$, que no se recorta:

    $$\log\sigma_t^2 = v\log\beta_t + (1-v)\log\tilde\beta_t, \qquad v = \frac{o+1}{2}$$

    En el índice 0, $\log\tilde\beta_1 = -\infty$ se sustituye por $\log\tilde\beta_2$.
    """

    name = "learned_range"
    learned = True

    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$\sigma_t^2$ y su logaritmo, (B, C, …)."""
        v = (like + 1) / 2
        largest = schedule.at("log_betas", t, like)
        smallest = schedule.at("posterior_log_variance_clipped", t, like)
        log_variance = v * largest + (1 - v) * smallest
        return log_variance.exp(), log_variance


VARIANCES: dict[str, Variance] = {
    each.name: each
    for each in (FixedSmall(), FixedLarge(), Learned(), LearnedRange())
}
"""Las varianzas del paso atrás, por su nombre."""
