r"""Parametrización: qué se le pide a la red, y cómo se lee lo que responde.

Dado $x_t$, el ruido $\epsilon$, los datos $x_0$, la velocidad
$v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$ y la media $\tilde\mu_t$ del
posterior dicen lo mismo: cada uno es una función afín de los demás. Cada fila de
`PARAMETRISATIONS` lleva juntas sus fórmulas: el objetivo del entrenamiento, $\hat x_0$,
$\hat\epsilon$ y cuánto cambia la respuesta cuando cambia $x_0$.

Fuentes: Ho et al. 2020 (arXiv:2006.11239), ecuaciones 7 y 15; Salimans y Ho 2022
(arXiv:2202.00512) para $v$.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ddpm_lit.forward import check_shapes, q_sample
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule
from ddpm_lit.tables import row


def to_epsilon(
    schedule: Schedule, x_start: Tensor, x_t: Tensor, t: Tensor
) -> Tensor:
    r"""El ruido que lleva de $x_0$ a $x_t$.

    $$\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}}$$

    Args:
        schedule: las varianzas $\beta_t$.
        x_start: $x_0$ o su estimación, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        $\epsilon$, de forma (B, …).
    """
    check_shapes(t, x_start=x_start, x_t=x_t)
    signal = schedule.at("sqrt_alphas_cumprod", t, x_t) * x_start
    noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)
    return (x_t - signal) / noise_std


class Parametrisation(ABC):
    r"""Una fila: lo que predice la red y sus fórmulas, que solo dependen del schedule.

    Los tensores son (B, …) y `t`, índices de código (B,). Una fila propia hereda de esta clase,
    da su nombre, su objetivo, su $\hat x_0$ y su pendiente, y se añade a `PARAMETRISATIONS`.
    """

    name: ClassVar[str]

    @abstractmethod
    def target(
        self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        r"""Lo que la red debería responder, cuando se conocen $x_0$ y $\epsilon$."""

    @abstractmethod
    def x_start(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""La estimación $\hat x_0$ que hay en la respuesta, sin recortar."""

    @abstractmethod
    def slope(self, schedule: Schedule) -> Tensor:
        r"""Cuánto cambia la respuesta por unidad de $x_0$, con $x_t$ fijo: float64 (T,).

        El error cuadrático de la respuesta es el de $\hat x_0$ por el cuadrado de esta
        pendiente. Donde vale 0, la respuesta no dice nada de $x_0$.
        """

    def epsilon(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""La estimación $\hat\epsilon$ que hay en la respuesta."""
        x_start = self.x_start(schedule, output, x_t, t)
        return to_epsilon(schedule, x_start, x_t, t)

    def mean(
        self,
        schedule: Schedule,
        output: Tensor,
        x_start: Tensor,
        x_t: Tensor,
        t: Tensor,
    ) -> Tensor:
        r"""La media del paso atrás: la del posterior con $\hat x_0$ en el lugar de $x_0$."""
        return q_posterior(schedule, x_start, x_t, t).mean


class Epsilon(Parametrisation):
    r"""El ruido $\epsilon$ (Ho et al., ecs. 14 y 15).

    $$\hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}$$
    """

    name = "epsilon"

    def target(
        self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\epsilon$."""
        return noise

    def x_start(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""$(x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$."""
        return (
            schedule.at("sqrt_recip_alphas_cumprod", t, x_t) * x_t
            - schedule.at("sqrt_recipm1_alphas_cumprod", t, x_t) * output
        )

    def epsilon(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\epsilon_\theta$."""
        return output

    def slope(self, schedule: Schedule) -> Tensor:
        r"""$-\sqrt{\bar\alpha_t/(1-\bar\alpha_t)}$."""
        return -schedule.snr.sqrt()


class XStart(Parametrisation):
    r"""Los datos $x_0$."""

    name = "x_start"

    def target(
        self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        r"""$x_0$."""
        return x_start

    def x_start(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""La respuesta misma."""
        return output

    def slope(self, schedule: Schedule) -> Tensor:
        r"""1."""
        return torch.ones_like(schedule.betas)


class Velocity(Parametrisation):
    r"""La velocidad $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$.

    Fuente: Salimans y Ho 2022 (arXiv:2202.00512).

    $$\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v_\theta, \qquad
    \hat\epsilon = \sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,v_\theta$$
    """

    name = "v"

    def target(
        self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$."""
        signal = schedule.at("sqrt_alphas_cumprod", t, x_start)
        noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_start)
        return signal * noise - noise_std * x_start

    def x_start(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v_\theta$."""
        signal = schedule.at("sqrt_alphas_cumprod", t, x_t)
        noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)
        return signal * x_t - noise_std * output

    def epsilon(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\sqrt{1-\bar\alpha_t}\,x_t + \sqrt{\bar\alpha_t}\,v_\theta$."""
        signal = schedule.at("sqrt_alphas_cumprod", t, x_t)
        noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)
        return noise_std * x_t + signal * output

    def slope(self, schedule: Schedule) -> Tensor:
        r"""$-1/\sqrt{1-\bar\alpha_t}$."""
        return -1 / schedule.sqrt_one_minus_alphas_cumprod


class PosteriorMean(Parametrisation):
    r"""La media $\tilde\mu_t$ del posterior (Ho et al., ec. 7): la respuesta es ya la media.

    $$\hat x_0 = \frac{\mu_\theta - \texttt{coef2}_t\,x_t}{\texttt{coef1}_t}$$
    """

    name = "posterior_mean"

    def target(
        self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor
    ) -> Tensor:
        r"""$\tilde\mu_t(x_t, x_0)$."""
        x_t = q_sample(schedule, x_start, t, noise)
        return q_posterior(schedule, x_start, x_t, t).mean

    def x_start(
        self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        r"""El $x_0$ que se despeja de $\tilde\mu_t$."""
        rest = output - schedule.at("posterior_mean_coef2", t, x_t) * x_t
        return rest / schedule.at("posterior_mean_coef1", t, x_t)

    def slope(self, schedule: Schedule) -> Tensor:
        r"""El coeficiente de $x_0$ en $\tilde\mu_t$."""
        return schedule.posterior_mean_coef1

    def mean(
        self,
        schedule: Schedule,
        output: Tensor,
        x_start: Tensor,
        x_t: Tensor,
        t: Tensor,
    ) -> Tensor:
        r"""La respuesta misma: el recorte de $\hat x_0$ no la toca."""
        return output


PARAMETRISATIONS: dict[str, Parametrisation] = {
    each.name: each
    for each in (Epsilon(), XStart(), Velocity(), PosteriorMean())
}
"""Lo que puede predecir una red, por su nombre."""


def check_informative(schedule: Schedule, prediction: Parametrisation) -> None:
    r"""Rechaza una predicción que con ese schedule no dice nada de $x_0$ en algún paso.

    Raises:
        ValueError: si la pendiente no es una tabla (T,), o vale 0 en algún paso; p. ej., con
            $\epsilon$ y señal terminal nula: allí $x_T = \epsilon$, acertar el ruido no dice nada
            de $x_0$ y la ecuación 15 divide entre 0.
    """
    slope = prediction.slope(schedule)
    if getattr(slope, "shape", None) != schedule.betas.shape:
        raise ValueError(
            f"La pendiente de «{prediction.name}» (slope) debe ser un tensor "
            f"({len(schedule)},), un valor por paso del schedule, y ha llegado "
            f"{slope!r}."
        )
    silent = (slope == 0).nonzero()
    if len(silent) and not schedule.zero_terminal_snr:
        raise ValueError(
            f"La pendiente de «{prediction.name}» (slope) vale 0 en t = "
            f"{int(silent[-1]) + 1}: ahí lo que responde la red no dice nada "
            "de x₀, y x̂₀ no existe."
        )
    if len(silent):
        raise ValueError(
            "Con señal terminal nula (ᾱ_T = 0) no se puede predecir "
            f"«{prediction.name}»: en t = {int(silent[-1]) + 1} x_t ya es solo "
            "ruido, lo que responde la red no dice nada de x₀ y x̂₀ no "
            "existe. Usa la predicción «v» o «x_start»."
        )


def convert(
    schedule: Schedule,
    output: Tensor,
    x_t: Tensor,
    t: Tensor,
    source: str | Parametrisation,
    target: str | Parametrisation,
) -> Tensor:
    r"""Traduce la respuesta de una red de una parametrización a otra.

    Es lo que la red habría respondido en la otra si estuviera igual de equivocada.

    Args:
        schedule: las varianzas $\beta_t$.
        output: la respuesta, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).
        source: qué predice la red.
        target: qué se quiere.

    Returns:
        La respuesta traducida, de forma (B, …).

    Raises:
        ValueError: si una parametrización no existe o no tiene sentido con el schedule, o las
            formas no casan.
    """
    check_shapes(t, output=output, x_t=x_t)
    said, wanted = (
        row(PARAMETRISATIONS, name, "La red no puede predecir")
        for name in (source, target)
    )
    check_informative(schedule, said)
    if said is wanted:
        return output
    x_start = said.x_start(schedule, output, x_t, t)
    epsilon = said.epsilon(schedule, output, x_t, t)
    return wanted.target(schedule, x_start, epsilon, t)
