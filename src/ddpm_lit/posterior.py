r"""Posterior: el paso atrás cuando se conoce el destino, $q(x_{t-1}|x_t, x_0)$.

Fuente: Ho et al. 2020 (arXiv:2006.11239), ecuaciones 6 y 7.
"""

from torch import Tensor

from ddpm_lit.forward import Gaussian, check_shapes
from ddpm_lit.scheduler import Schedule


def q_posterior(
    schedule: Schedule, x_start: Tensor, x_t: Tensor, t: Tensor
) -> Gaussian:
    r"""La normal $q(x_{t-1}|x_t, x_0) = \mathcal{N}(\tilde\mu_t, \tilde\beta_t I)$.

    $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\,x_0
    + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\,x_t, \qquad
    \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t$$

    En el índice 0 ($t = 1$) la media es $x_0$ y la varianza, 0; como su logaritmo no
    existe, `log_variance` lleva ahí la de $t = 2$ (véase
    `Schedule.posterior_log_variance_clipped`).

    Args:
        schedule: las varianzas $\beta_t$.
        x_start: $x_0$, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        Media (B, …), varianza y log-varianza (B, 1, …, 1).

    Raises:
        ValueError: si las formas no casan o `t` se sale del schedule.
    """
    check_shapes(t, x_start=x_start, x_t=x_t)
    mean = (
        schedule.at("posterior_mean_coef1", t, x_t) * x_start
        + schedule.at("posterior_mean_coef2", t, x_t) * x_t
    )
    return Gaussian(
        mean,
        schedule.at("posterior_variance", t, x_t),
        schedule.at("posterior_log_variance_clipped", t, x_t),
    )
