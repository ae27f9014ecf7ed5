r"""Backwards process: el paso atrás que da la red, $p_\theta(x_{t-1}|x_t)$.

La respuesta de la red se lee como diga su parametrización (`ddpm_lit.parametrisation`), y la
varianza del paso sale de `ddpm_lit.variance`; las dos viajan dentro de un `Diffusion`.

Fuentes: Ho et al. 2020 (arXiv:2006.11239), ecuaciones 1, 11 y 15.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.parametrisation import to_epsilon
from ddpm_lit.scheduler import Schedule
from ddpm_lit.variance import Variance

Model = Callable[..., Tensor]
"""Una red: cualquier función `model(x_t, t, **condition)` que devuelve un tensor como `x_t`."""


class ReverseStep(NamedTuple):
    r"""Lo que se sabe de un paso atrás: $p_\theta(x_{t-1}|x_t)$, $\hat x_0$ y $\hat\epsilon$.

    `mean`, `x_start` y `epsilon` tienen la forma de los datos, (B, …); `variance` y
    `log_variance` se pueden difundir con ella.
    """

    mean: Tensor
    variance: Tensor
    log_variance: Tensor
    x_start: Tensor
    epsilon: Tensor


def p_mean_variance(
    diffusion: Diffusion, model_output: Tensor, x_t: Tensor, t: Tensor
) -> ReverseStep:
    r"""El paso atrás $p_\theta(x_{t-1}|x_t) = \mathcal{N}(\mu_\theta, \sigma_t^2 I)$.

    Si la varianza se aprende, $\sigma_t^2$ es distinta en cada componente: la covarianza es
    diagonal.

    La red se traduce a $\hat x_0$, se recorta, y $\mu_\theta$ es la media del posterior
    con ese $\hat x_0$ en el lugar de $x_0$. Sin recorte y prediciendo $\epsilon$ eso es,
    exactamente, la ecuación 11 de Ho et al. (2020):

    $$\mu_\theta(x_t, t) = \frac{1}{\sqrt{\alpha_t}}\left(x_t -
    \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t, t)\right)$$

    Después de recortar, $\hat\epsilon$ se vuelve a calcular a partir de $\hat x_0$: los dos
    cuentan la misma historia. Si la red predice $\tilde\mu_t$, la media es su salida tal
    cual, y el recorte solo afecta al $\hat x_0$ y al $\hat\epsilon$ que se devuelven.

    Args:
        diffusion: el proceso.
        model_output: la salida de la red, de forma (B, C, …), o (B, 2C, …) si la varianza
            se aprende.
        x_t: $x_t$, de forma (B, C, …).
        t: índices de código (B,) de `diffusion.schedule`.

    Returns:
        Media, varianza, log-varianza, $\hat x_0$ y $\hat\epsilon$.

    Raises:
        ValueError: si la salida de la red no tiene la forma que pide la varianza.
        TypeError: si no es un tensor.
    """
    schedule, prediction = diffusion.schedule, diffusion.prediction
    output, channels = split_output(diffusion.variance, model_output, x_t)
    x_start = diffusion.clipped(prediction.x_start(schedule, output, x_t, t))
    epsilon = (
        to_epsilon(schedule, x_start, x_t, t)
        if diffusion.clip
        else prediction.epsilon(schedule, output, x_t, t)
    )
    mean = prediction.mean(schedule, output, x_start, x_t, t)
    variance, log_variance = diffusion.variance(schedule, t, channels)
    return ReverseStep(mean, variance, log_variance, x_start, epsilon)


def split_output(
    variance: Variance, model_output: Tensor, x_t: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Separa, en la dimensión 1, lo que la red predice y los canales de la varianza.

    Args:
        variance: la varianza del paso atrás.
        model_output: la salida de la red: como `x_t` si la varianza es fija; con el doble de
            canales, (B, 2C, …), si se aprende.
        x_t: $x_t$, de forma (B, C, …).

    Returns:
        La predicción y los canales de la varianza, los dos con la forma de `x_t`; si la varianza
        es fija no hay canales, y en su lugar va `x_t`.

    Raises:
        ValueError: si la forma de la salida no es esa.
        TypeError: si la red no ha devuelto un tensor.
    """
    if not isinstance(model_output, Tensor):
        raise TypeError(
            f"La red ha devuelto un {type(model_output).__name__} y debe "
            "devolver un tensor con la forma de x_t. Si el tensor va dentro, "
            "envuelve la red: lambda x_t, t: red(x_t, t).sample."
        )
    shape = tuple(x_t.shape)
    if not variance.learned:
        if model_output.shape != x_t.shape:
            raise ValueError(
                f"La salida de la red tiene forma {tuple(model_output.shape)} "
                f"y x_t tiene {shape}: con la varianza «{variance.name}» deben "
                "ser iguales."
            )
        return model_output, x_t
    if x_t.ndim < 2 or model_output.shape != (
        shape[0],
        2 * shape[1],
        *shape[2:],
    ):
        raise ValueError(
            f"La salida de la red tiene forma {tuple(model_output.shape)} y "
            f"x_t tiene {shape}: con la varianza «{variance.name}» la red debe "
            "dar el doble de canales que x_t (dimensión 1), la mitad para su "
            "predicción y la mitad para la varianza."
        )
    output, channels = model_output.chunk(2, dim=1)
    return output, channels


def to_score(schedule: Schedule, epsilon: Tensor, t: Tensor) -> Tensor:
    r"""El *score* $\nabla_{x_t} \log q(x_t)$ que corresponde a una predicción del ruido.

    $$\nabla_{x_t} \log q(x_t) \approx -\frac{\epsilon_\theta(x_t, t)}{\sqrt{1-\bar\alpha_t}}$$

    Args:
        schedule: las varianzas $\beta_t$.
        epsilon: $\epsilon_\theta(x_t, t)$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        El score, de forma (B, …).
    """
    noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, epsilon)
    return -epsilon / noise_std


@dataclass(frozen=True)
class TimedModel:
    r"""Una red que en unos instantes es otra, y lo sabe sin mirar los $t$ del dispositivo.

    Args:
        model: la red que mira los $t$ de cada ejemplo, `model(x_t, t, **condition)`.
        at_time: de un índice original, el mismo para todo el lote, a la red que basta en él.
    """

    model: Model
    at_time: Callable[[int], Model]

    def __call__(self, x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """Evalúa la red."""
        return self.model(x_t, t, **condition)


@dataclass(frozen=True)
class Denoiser:
    r"""Una red con su proceso y su condición: todo lo que un sampler necesita.

    `denoise(x_t, index)` evalúa la red en un nivel, igual para todo el lote, y da el paso atrás.

    Args:
        model: la red, `model(x_t, t, **condition)`; recibe el índice original del paso.
        diffusion: el proceso que se recorre.
        condition: lo que la red recibe además, p. ej. `{"class_labels": …}`.
    """

    model: Model
    diffusion: Diffusion
    condition: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def schedule(self) -> Schedule:
        """El schedule que se recorre."""
        return self.diffusion.schedule

    def __call__(self, x_t: Tensor, index: int) -> ReverseStep:
        r"""El paso atrás desde $x_t$, (B, …), en el nivel `index` del schedule."""
        t = torch.full((x_t.shape[0],), index, device=x_t.device)
        times = self.schedule.original(t)
        model = self.model
        if isinstance(model, TimedModel):
            model = model.at_time(int(self.schedule.timesteps[index]))
        output = model(x_t, times, **self.condition)
        return p_mean_variance(self.diffusion, output, x_t, t)


Sampler = Callable[
    [Denoiser, Tensor, int, Iterator[Tensor], Tensor | None],
    tuple[Tensor, Tensor],
]
r"""Un sampler: la función `paso(denoise, x_t, index, noises, previous)`.

Da un paso del nivel `index` de `denoise.schedule` al anterior y devuelve $x_{t-1}$ y el
$\hat x_0$ que vio. `denoise(x_t, index)` evalúa la red; `noises` entrega ruido (B, …) a quien lo
pida, y `previous` es el $\hat x_0$ del paso anterior, o `None` si no lo hubo.
"""
