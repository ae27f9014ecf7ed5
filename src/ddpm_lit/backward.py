r"""Backwards process: el paso atrás que da la red, $p_\theta(x_{t-1}|x_t)$.

Aquí viven dos decisiones independientes, que se combinan como se quiera:

- **qué predice la red** (`PREDICTIONS`): el ruido $\epsilon$, los datos $x_0$, la
  velocidad $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$ o la media
  $\tilde\mu_t$ del posterior. Dado $x_t$, cualquiera de ellas determina las demás;
- **qué varianza lleva el paso** (`VARIANCES`): fija y pequeña ($\tilde\beta_t$), fija y
  grande ($\beta_t$), o aprendida, y entonces la red da el doble de canales: la mitad son
  su predicción y la otra mitad, la varianza.

Fuentes: Ho et al. 2020 (arXiv:2006.11239), ecuaciones 1, 11 y 15; Salimans y Ho 2022
(arXiv:2202.00512) para $v$; Nichol y Dhariwal 2021 (arXiv:2102.09672), ecuación 15, para la
varianza aprendida.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from ddpm_lit.forward import check_shapes
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule

PREDICTIONS = ("epsilon", "x_start", "v", "posterior_mean")
FIXED_VARIANCES = ("fixed_small", "fixed_large")
LEARNED_VARIANCES = ("learned", "learned_range")
VARIANCES = FIXED_VARIANCES + LEARNED_VARIANCES

Clip = bool | Callable[[Tensor], Tensor]
r"""Qué se hace con $\hat x_0$: nada (`False`), recortarlo a $[-1, 1]$ (`True`) o una función."""


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


Predict = Callable[[Tensor, int], ReverseStep]
r"""La red vista desde un sampler: `predict(x_t, index)`, con `index` de un schedule."""

Sampler = Callable[
    [Predict, Schedule, Tensor, int, Iterator[Tensor], Tensor | None], tuple[Tensor, Tensor]
]
r"""Un sampler: la función `paso(predict, schedule, x_t, index, noises, previous)`.

Da un paso del nivel `index` de `schedule` al anterior y devuelve $x_{t-1}$ y el $\hat x_0$
que vio. `predict(x_t, index)` evalúa la red; `noises` entrega ruido (B, …) a quien lo pida,
y `previous` es el $\hat x_0$ del paso anterior, o `None` si no lo hubo.
"""


def check_prediction(schedule: Schedule, prediction: str) -> None:
    r"""Rechaza las predicciones desconocidas y las que no tienen sentido con el schedule.

    Raises:
        ValueError: si `prediction` no está en `PREDICTIONS`, o si la red predice
            $\epsilon$ y el schedule no deja señal en $T$: allí $x_T = \epsilon$, acertar el
            ruido no dice nada de $x_0$ y la ecuación 15 divide entre 0.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(
            f"La red no puede predecir «{prediction}». Lo que puede predecir: "
            f"{', '.join(PREDICTIONS)}."
        )
    if prediction == "epsilon" and schedule.zero_terminal_snr:
        raise ValueError(
            "Con señal terminal nula (ᾱ_T = 0) no se puede predecir ε: en el último paso x_T ya "
            "es solo ruido y x̂₀ = (x_T - ε)/0 no existe. Usa la predicción «v» o «x_start»."
        )


# --- De una predicción a otra -------------------------------------------------------------------


def to_x_start(
    schedule: Schedule, prediction: str, model_output: Tensor, x_t: Tensor, t: Tensor
) -> Tensor:
    r"""La estimación $\hat x_0$ que hay en la salida de la red.

    - `"epsilon"`: $\hat x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta)/\sqrt{\bar\alpha_t}$
      (Ho et al., ec. 15)
    - `"v"`: $\hat x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1-\bar\alpha_t}\,v_\theta$
    - `"posterior_mean"`: se despeja $x_0$ de $\tilde\mu_t$ (Ho et al., ec. 7)

    Args:
        schedule: las varianzas $\beta_t$.
        prediction: qué predice la red, una de `PREDICTIONS`.
        model_output: la salida de la red, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        $\hat x_0$, de forma (B, …), sin recortar.

    Raises:
        ValueError: si la predicción no existe o no tiene sentido con el schedule, o las
            formas no casan.
    """
    check_prediction(schedule, prediction)
    check_shapes(t, model_output=model_output, x_t=x_t)
    match prediction:
        case "epsilon":
            return (
                schedule.at("sqrt_recip_alphas_cumprod", t, x_t) * x_t
                - schedule.at("sqrt_recipm1_alphas_cumprod", t, x_t) * model_output
            )
        case "v":
            return (
                schedule.at("sqrt_alphas_cumprod", t, x_t) * x_t
                - schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t) * model_output
            )
        case "posterior_mean":
            coef1 = schedule.at("posterior_mean_coef1", t, x_t)
            return (model_output - schedule.at("posterior_mean_coef2", t, x_t) * x_t) / coef1
        case _:
            return model_output


def to_epsilon(schedule: Schedule, x_start: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
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
    return (x_t - signal) / schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)


def from_x_start(
    schedule: Schedule, prediction: str, x_start: Tensor, x_t: Tensor, t: Tensor
) -> Tensor:
    r"""Lo que debería predecir la red si los datos fueran `x_start` y se ve $x_t$.

    Es la inversa de `to_x_start`; aplicada al $x_0$ verdadero da el objetivo del
    entrenamiento.

    Args:
        schedule: las varianzas $\beta_t$.
        prediction: qué predice la red, una de `PREDICTIONS`.
        x_start: $x_0$ o su estimación, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).

    Returns:
        $\epsilon$, $x_0$, $v$ o $\tilde\mu_t$, de forma (B, …).

    Raises:
        ValueError: si la predicción no existe o no tiene sentido con el schedule, o las
            formas no casan.
    """
    check_prediction(schedule, prediction)
    check_shapes(t, x_start=x_start, x_t=x_t)
    match prediction:
        case "epsilon":
            return to_epsilon(schedule, x_start, x_t, t)
        case "v":
            signal = schedule.at("sqrt_alphas_cumprod", t, x_t)
            noise_std = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t)
            return (signal * x_t - x_start) / noise_std
        case "posterior_mean":
            return q_posterior(schedule, x_start, x_t, t).mean
        case _:
            return x_start


def convert(
    schedule: Schedule, model_output: Tensor, x_t: Tensor, t: Tensor, source: str, target: str
) -> Tensor:
    r"""Traduce la salida de una red entre $\epsilon$, $x_0$, $v$ y $\tilde\mu_t$.

    Args:
        schedule: las varianzas $\beta_t$.
        model_output: la salida de la red, de forma (B, …).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,).
        source: qué predice la red, una de `PREDICTIONS`.
        target: qué se quiere, una de `PREDICTIONS`.

    Returns:
        La predicción traducida, de forma (B, …).

    Raises:
        ValueError: si una predicción no existe o no tiene sentido con el schedule.
    """
    if source == target:
        check_prediction(schedule, source)
        return model_output
    x_start = to_x_start(schedule, source, model_output, x_t, t)
    return from_x_start(schedule, target, x_start, x_t, t)


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
    return -epsilon / schedule.at("sqrt_one_minus_alphas_cumprod", t, epsilon)


# --- La varianza y el paso completo ---------------------------------------------------------------


def fixed_variance(
    schedule: Schedule, variance: str, t: Tensor, like: Tensor
) -> tuple[Tensor, Tensor]:
    r"""La varianza $\sigma_t^2$ de un paso atrás, cuando no se aprende, y su logaritmo.

    - `"fixed_small"`: $\tilde\beta_t$, la óptima si los datos son un solo punto;
    - `"fixed_large"`: $\beta_t$, la óptima si los datos son $\mathcal{N}(0, I)$.

    En el índice 0 las dos llevan el logaritmo de $\tilde\beta_2$, como el código de los
    artículos (véase `Schedule.posterior_log_variance_clipped`).

    Args:
        schedule: las varianzas $\beta_t$.
        variance: una de `FIXED_VARIANCES`.
        t: índices de código (B,).
        like: tensor (B, …) que da el tipo, el dispositivo y las dimensiones.

    Returns:
        $\sigma_t^2$ y $\log\sigma_t^2$, de forma (B, 1, …, 1).

    Raises:
        ValueError: si `variance` no está en `FIXED_VARIANCES`.
    """
    check_variance(variance)
    match variance:
        case "fixed_small":
            names = ("posterior_variance", "posterior_log_variance_clipped")
        case "fixed_large":
            names = ("betas", "log_betas_clipped")
        case _:
            raise ValueError(
                f"La varianza «{variance}» la aprende la red, así que no es una tabla que se pueda "
                f"consultar. Las que sí lo son: {', '.join(FIXED_VARIANCES)}."
            )
    return schedule.at(names[0], t, like), schedule.at(names[1], t, like)


def learned_variance(
    schedule: Schedule, variance: str, channels: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    r"""La varianza $\sigma_t^2$ de un paso atrás que ha dado la red, y su logaritmo.

    - `"learned"`: los canales $o$ son $\log\sigma_t^2$;
    - `"learned_range"`: son un número entre $-1$ y $1$ (no se recorta) que elige un punto
      entre $\log\tilde\beta_t$ y $\log\beta_t$ (Nichol y Dhariwal 2021, ec. 15):

    $$\log\sigma_t^2 = v\log\beta_t + (1-v)\log\tilde\beta_t, \qquad v = \frac{o+1}{2}$$

    En el índice 0, $\log\tilde\beta_1 = -\infty$ se sustituye por $\log\tilde\beta_2$ (véase
    `Schedule.posterior_log_variance_clipped`).

    Args:
        schedule: las varianzas $\beta_t$.
        variance: una de `LEARNED_VARIANCES`.
        channels: los canales de la varianza, (B, …), con la forma de $x_t$.
        t: índices de código (B,).

    Returns:
        $\sigma_t^2$ y $\log\sigma_t^2$, de forma (B, …).

    Raises:
        ValueError: si `variance` no está en `LEARNED_VARIANCES`.
    """
    check_variance(variance)
    match variance:
        case "learned":
            log_variance = channels
        case "learned_range":
            v = (channels + 1) / 2
            largest = schedule.at("log_betas", t, channels)
            smallest = schedule.at("posterior_log_variance_clipped", t, channels)
            log_variance = v * largest + (1 - v) * smallest
        case _:
            raise ValueError(
                f"La varianza «{variance}» es fija: la red no tiene canales para ella. Las que se "
                f"aprenden: {', '.join(LEARNED_VARIANCES)}."
            )
    return log_variance.exp(), log_variance


def split_output(model_output: Tensor, x_t: Tensor, variance: str) -> tuple[Tensor, Tensor | None]:
    r"""Separa, en la dimensión 1, lo que la red predice y los canales de la varianza.

    Args:
        model_output: la salida de la red: como `x_t` si la varianza es fija; con el doble de
            canales, (B, 2C, …), si se aprende.
        x_t: $x_t$, de forma (B, C, …).
        variance: una de `VARIANCES`.

    Returns:
        La predicción, con la forma de `x_t`, y los canales de la varianza, con la misma
        forma, o `None` si es fija.

    Raises:
        ValueError: si la varianza no existe o la forma de la salida no es esa.
    """
    check_variance(variance)
    shape = tuple(x_t.shape)
    if variance in FIXED_VARIANCES:
        if model_output.shape != x_t.shape:
            raise ValueError(
                f"La salida de la red tiene forma {tuple(model_output.shape)} y x_t tiene {shape}: "
                f"con la varianza «{variance}» deben ser iguales."
            )
        return model_output, None
    if x_t.ndim < 2 or model_output.shape != (shape[0], 2 * shape[1], *shape[2:]):
        raise ValueError(
            f"La salida de la red tiene forma {tuple(model_output.shape)} y x_t tiene {shape}: con "
            f"la varianza «{variance}» la red debe dar el doble de canales que x_t (dimensión 1), "
            "la mitad para su predicción y la mitad para la varianza."
        )
    prediction, channels = model_output.chunk(2, dim=1)
    return prediction, channels


def check_variance(variance: str) -> None:
    """Rechaza las varianzas desconocidas.

    Raises:
        ValueError: si `variance` no está en `VARIANCES`.
    """
    if variance not in VARIANCES:
        raise ValueError(
            f"No hay ninguna varianza «{variance}». Las que hay: {', '.join(VARIANCES)}."
        )


def p_mean_variance(
    schedule: Schedule,
    model_output: Tensor,
    x_t: Tensor,
    t: Tensor,
    *,
    prediction: str = "epsilon",
    variance: str = "fixed_small",
    clip: Clip = True,
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
        schedule: las varianzas $\beta_t$.
        model_output: la salida de la red, de forma (B, C, …), o (B, 2C, …) si la varianza
            se aprende.
        x_t: $x_t$, de forma (B, C, …).
        t: índices de código (B,).
        prediction: qué predice la red, una de `PREDICTIONS`.
        variance: una de `VARIANCES`.
        clip: `True` recorta $\hat x_0$ a $[-1, 1]$; `False` lo deja; una función lo
            transforma.

    Returns:
        Media, varianza, log-varianza, $\hat x_0$ y $\hat\epsilon$.

    Raises:
        ValueError: si la predicción o la varianza no existen, no casan con el
            schedule, o la salida de la red no tiene la forma que pide la varianza.
    """
    predicted, channels = split_output(model_output, x_t, variance)
    x_start = to_x_start(schedule, prediction, predicted, x_t, t)
    if callable(clip):
        x_start = clip(x_start)
    elif clip:
        x_start = x_start.clamp(-1, 1)
    mean = predicted
    if prediction != "posterior_mean":
        mean = q_posterior(schedule, x_start, x_t, t).mean
    sigma2, log_sigma2 = (
        fixed_variance(schedule, variance, t, x_t)
        if channels is None
        else learned_variance(schedule, variance, channels, t)
    )
    return ReverseStep(
        mean,
        sigma2,
        log_sigma2,
        x_start,
        to_epsilon(schedule, x_start, x_t, t),
    )
