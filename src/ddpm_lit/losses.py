r"""Función de pérdidas: qué se le pide a la red y cuánto vale cada error.

De la cota variacional $L = L_T + \sum_{t>1} L_{t-1} + L_0$ (Ho et al. 2020, ec. 5) a
$L_{\text{simple}}$ (ec. 14), que es un error cuadrático con peso 1 en todo $t$. Los
términos de la cota se dan en bits por dimensión.

Fuentes: Ho et al. 2020 (arXiv:2006.11239); Nichol y Dhariwal 2021 (arXiv:2102.09672);
Hang et al. 2023 (arXiv:2303.09556) para min-SNR.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lit.backward import (
    Denoiser,
    Model,
    ReverseStep,
    p_mean_variance,
    split_output,
)
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import check_shapes, q_mean_variance, q_sample
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule
from ddpm_lit.tables import row

Loss = Callable[[Diffusion, Tensor, Tensor, Tensor, Tensor], Tensor]
r"""Una pérdida: la función `loss(diffusion, output, x_start, noise, t)`, que da (B,)."""


# --- Cuánto pesa el error de cada t -----------------------------------------------------------


def uniform(diffusion: Diffusion) -> Tensor:
    r"""$w = 1$ en todo $t$; con $\epsilon$ es $L_{\text{simple}}$ (Ho et al., ec. 14)."""
    return torch.ones_like(diffusion.schedule.betas)


def vlb_weight(diffusion: Diffusion) -> Tensor:
    r"""El peso que la cota da a cada $t$, si la varianza es fija.

    Para la media es $1/(2\sigma_t^2)$ (Ho et al., ec. 8); para $\epsilon$,
    $\beta_t^2/(2\sigma_t^2\alpha_t(1-\bar\alpha_t))$ (ec. 12). Con la varianza pequeña,
    $\sigma_1^2 = \tilde\beta_1 = 0$ y el peso sería infinito en $t = 1$. Ahí está, en su lugar,
    $\tilde\beta_2$: la misma que usa el decodificador discreto de $L_0$.

    Raises:
        ValueError: si la varianza se aprende.
    """
    schedule, variance = diffusion.schedule, diffusion.variance
    if variance.learned:
        raise ValueError(
            "El peso «vlb» se calcula con una varianza fija y "
            f"«{variance.name}» la aprende la red: usa la pérdida «vlb» o "
            "«hybrid», o el peso «uniform»."
        )
    every_t = torch.arange(len(schedule))
    sigma2, log_sigma2 = variance(schedule, every_t, schedule.betas)
    sigma2 = torch.where(sigma2 > 0, sigma2, log_sigma2.exp())
    mean_error = schedule.posterior_mean_coef1**2
    slope = diffusion.prediction.slope(schedule)
    return mean_error / (2 * sigma2) / slope**2


def min_snr(diffusion: Diffusion, gamma: float = 5.0) -> Tensor:
    r"""$\min(\mathrm{SNR}, \gamma)$ para el error de $x_0$ (Hang et al. 2023, sección 3.4).

    Se traduce a lo que la red predice con el cuadrado de su pendiente: para $\epsilon$ es
    $\min(1, \gamma/\mathrm{SNR})$ y para $v$, $\min(\mathrm{SNR}, \gamma)/(\mathrm{SNR}+1)$.
    """
    snr = diffusion.schedule.snr
    slope = diffusion.prediction.slope(diffusion.schedule)
    return snr.clamp(max=gamma) / slope**2


WEIGHTINGS: dict[str, Callable[[Diffusion], Tensor]] = {
    "uniform": uniform,
    "vlb": vlb_weight,
    "min_snr": min_snr,
}
r"""Los pesos $w(t)$, por su nombre: funciones de un proceso que dan una tabla float64 (T,)."""


def loss_weight(
    diffusion: Diffusion,
    weighting: str | Callable[[Diffusion], Tensor] = "uniform",
) -> Tensor:
    r"""El peso $w(t)$ del error cuadrático de la predicción, para cada $t$.

    Los pesos se definen para una predicción y se traducen a las demás: el error de cualquiera de
    ellas es el de $x_0$ por un factor que solo depende de $t$ (`Parametrisation.slope`, al
    cuadrado).

    Args:
        diffusion: el proceso.
        weighting: un nombre de `WEIGHTINGS`, o una función como las suyas.

    Returns:
        Pesos float64 de forma (T,), en la CPU.

    Raises:
        ValueError: si el peso no existe, o no tiene sentido con el proceso.
    """
    return row(WEIGHTINGS, weighting, "No hay ningún peso")(diffusion)


# --- El error que se entrena ------------------------------------------------------------------


def weighted_mse(
    model_output: Tensor, target: Tensor, weight: Tensor | None = None
) -> Tensor:
    r"""Error cuadrático medio de cada ejemplo, por su peso.

    $$\ell_i = w(t_i)\,\frac{1}{D}\,\lVert \text{salida}_i - \text{objetivo}_i \rVert^2$$

    Args:
        model_output: salida de la red, (B, …).
        target: lo que debería haber salido, (B, …).
        weight: pesos (B,), o `None` si todos valen 1.

    Returns:
        Pérdidas float32 de forma (B,), una por ejemplo; su media es la pérdida del lote.

    Raises:
        ValueError: si las formas no coinciden.
    """
    if model_output.shape != target.shape:
        raise ValueError(
            f"La salida de la red tiene forma {tuple(model_output.shape)} y el "
            f"objetivo {tuple(target.shape)}: deben ser iguales."
        )
    if weight is not None and weight.shape != target.shape[:1]:
        raise ValueError(
            f"Los pesos tienen forma {tuple(weight.shape)} y se espera "
            f"({len(target)},): uno por ejemplo."
        )
    errors = _mean_of_each((model_output.float() - target.float()).square())
    return errors if weight is None else errors * weight.to(errors)


def weighted_error(
    diffusion: Diffusion,
    output: Tensor,
    x_start: Tensor,
    noise: Tensor,
    t: Tensor,
    weighting: str | Callable[[Diffusion], Tensor] = "uniform",
) -> Tensor:
    r"""El error cuadrático de lo que predice la red, por el peso de su $t$.

    Args:
        diffusion: el proceso; de la varianza solo cuenta la que suponga el peso.
        output: lo que la red predice, sin canales de varianza, (B, …).
        x_start: $x_0$, (B, …).
        noise: $\epsilon$, (B, …).
        t: índices de código (B,).
        weighting: un nombre de `WEIGHTINGS`, o una función como las suyas.

    Returns:
        Pérdidas float32 (B,).

    Raises:
        ValueError: si el peso no existe o las formas no casan.
    """
    schedule = diffusion.schedule
    check_shapes(t, x_start=x_start, noise=noise)
    target = diffusion.prediction.target(schedule, x_start, noise, t)
    weight = _weight_on(t.device, diffusion, weighting)
    return weighted_mse(output, target, weight[t])


def _weight_on(
    device: torch.device,
    diffusion: Diffusion,
    weighting: str | Callable[[Diffusion], Tensor],
) -> Tensor:
    """Los pesos, float32 (T,), en un dispositivo."""
    if device.type != "cpu":
        return _kept_weight(device, diffusion, weighting)
    return loss_weight(diffusion, weighting).to(torch.float32)


@lru_cache(maxsize=32)
def _kept_weight(
    device: torch.device,
    diffusion: Diffusion,
    weighting: str | Callable[[Diffusion], Tensor],
) -> Tensor:
    """Los pesos que ya están allí: llevarlos en cada paso obligaría a esperarlo."""
    return loss_weight(diffusion, weighting).to(torch.float32).to(device)


def simple_loss(
    diffusion: Diffusion,
    model_output: Tensor,
    x_start: Tensor,
    noise: Tensor,
    t: Tensor,
    *,
    weighting: str | Callable[[Diffusion], Tensor] = "uniform",
) -> Tensor:
    r"""El error cuadrático de cada ejemplo; con $\epsilon$ y peso 1, $L_{\text{simple}}$.

    Args:
        diffusion: el proceso.
        model_output: salida de la red, (B, …).
        x_start: $x_0$, (B, …).
        noise: $\epsilon$, (B, …).
        t: índices de código (B,).
        weighting: un nombre de `WEIGHTINGS`, o una función como las suyas.

    Returns:
        Pérdidas float32 (B,).

    Raises:
        ValueError: si la varianza se aprende (aquí nada la enseña), el peso no existe o las
            formas no casan.
    """
    if diffusion.variance.learned:
        raise ValueError(
            "Con la pérdida «mse» nada enseña la varianza "
            f"«{diffusion.variance.name}». Usa la pérdida «hybrid» o «vlb», o "
            "una varianza fija."
        )
    output, _ = split_output(diffusion.variance, model_output, x_start)
    return weighted_error(diffusion, output, x_start, noise, t, weighting)


# --- La cota variacional, término a término ---------------------------------------------------


def normal_kl(
    mean1: Tensor, log_var1: Tensor, mean2: Tensor, log_var2: Tensor
) -> Tensor:
    r"""$D_{KL}(\mathcal{N}_1 \,\|\, \mathcal{N}_2)$ de normales de una dimensión, en nats.

    $$\frac{1}{2}\left(\log\frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2}{\sigma_2^2}
    + \frac{(\mu_1-\mu_2)^2}{\sigma_2^2} - 1\right)$$

    Args:
        mean1: $\mu_1$, de cualquier forma.
        log_var1: $\log\sigma_1^2$.
        mean2: $\mu_2$.
        log_var2: $\log\sigma_2^2$.

    Returns:
        La divergencia elemento a elemento, con la forma común.
    """
    excess = _exp_minus_tangent(log_var1 - log_var2)
    return 0.5 * (excess + (mean1 - mean2).square() * (-log_var2).exp())


def _exp_minus_tangent(r: Tensor) -> Tensor:
    """$e^r - 1 - r$; cerca de 0, donde esa resta se queda sin cifras, con la serie de Taylor."""
    small = r.clamp(-0.5, 0.5)
    series = torch.ones_like(small)
    for n in range(14, 2, -1):
        series = 1 + small / n * series
    return torch.where(r == small, small.square() / 2 * series, r.expm1() - r)


def normal_cdf(x: Tensor) -> Tensor:
    r"""Función de distribución $\Phi(x)$ de la normal estándar, con la función error."""
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def discretized_gaussian_log_likelihood(
    x: Tensor,
    mean: Tensor,
    log_scale: Tensor,
    *,
    levels: int = 256,
    cdf: Callable[[Tensor], Tensor] = normal_cdf,
    floor: float = 1e-12,
) -> Tensor:
    r"""Log-probabilidad de datos discretos bajo una normal, en nats (Ho et al. 2020, ec. 13).

    Los datos toman `levels` valores repartidos por igual en $[-1, 1]$ y a cada uno le
    toca la probabilidad de su intervalo, $x \pm 1/(\text{levels} - 1)$; los dos de los
    extremos se alargan hasta $\pm\infty$. Con 256 niveles es $\pm 1/255$; los dígitos de
    scikit-learn tienen 17, así que es $\pm 1/16$.

    Args:
        x: datos en $[-1, 1]$, de cualquier forma.
        mean: medias de la normal, de la misma forma.
        log_scale: logaritmo de la desviación típica, $\log\sigma$.
        levels: cuántos valores distintos pueden tomar los datos.
        cdf: la función de distribución $\Phi$; por defecto, la exacta.
        floor: probabilidad mínima que se toma antes del logaritmo.

    Returns:
        Log-probabilidades elemento a elemento.

    Raises:
        ValueError: si `levels` es menor que 2.
    """
    if levels < 2:
        raise ValueError(
            f"Hacen falta al menos 2 niveles y han llegado {levels}."
        )
    half_bin = 1 / (levels - 1)
    inverse_scale = (-log_scale).exp()
    upper = cdf((x - mean + half_bin) * inverse_scale)
    lower = cdf((x - mean - half_bin) * inverse_scale)
    is_lowest = x < -1 + half_bin
    is_highest = x > 1 - half_bin
    probability = torch.where(
        is_lowest, upper, torch.where(is_highest, 1 - lower, upper - lower)
    )
    return probability.clamp(min=floor).log()


def normal_log_density(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    r"""Log-densidad de datos continuos bajo una normal, en nats.

    $$-\frac{1}{2}\left(\frac{(x-\mu)^2}{\sigma^2} + \log(2\pi\sigma^2)\right)$$

    Args:
        x: datos, de cualquier forma.
        mean: medias de la normal.
        log_scale: logaritmo de la desviación típica, $\log\sigma$.

    Returns:
        Log-densidades elemento a elemento.
    """
    standard = (x - mean) * (-log_scale).exp()
    return -0.5 * (standard.square() + math.log(2 * math.pi)) - log_scale


def _bits_per_dimension(nats: Tensor) -> Tensor:
    return _mean_of_each(nats) / math.log(2)


def _mean_of_each(values: Tensor) -> Tensor:
    return values.reshape(values.shape[0], -1).mean(dim=1)


def prior_term(schedule: Schedule, x_start: Tensor) -> Tensor:
    r"""$L_T = D_{KL}(q(x_T|x_0)\,\|\,\mathcal{N}(0, I))$ en bits por dimensión.

    No depende de la red: mide la señal que el proceso deja en $x_T$.

    Args:
        schedule: las varianzas $\beta_t$.
        x_start: $x_0$, de forma (B, …).

    Returns:
        $L_T$ de cada ejemplo, de forma (B,).
    """
    last = torch.full(
        (x_start.shape[0],), len(schedule) - 1, device=x_start.device
    )
    q_last = q_mean_variance(schedule, x_start, last)
    zero = torch.zeros_like(x_start)
    return _bits_per_dimension(
        normal_kl(q_last.mean, q_last.log_variance, zero, zero)
    )


def vb_term(
    diffusion: Diffusion,
    model_output: Tensor,
    x_start: Tensor,
    x_t: Tensor,
    t: Tensor,
    *,
    levels: int | None = 256,
    cdf: Callable[[Tensor], Tensor] = normal_cdf,
) -> Tensor:
    r"""El término de la cota que corresponde a cada $t$, en bits por dimensión.

    Para $t > 1$ es $L_{t-1} = D_{KL}(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t))$; para
    $t = 1$ (índice 0) es $L_0 = -\log p_\theta(x_0|x_1)$ con el decodificador discreto
    (Ho et al. 2020, ecs. 5 y 13).

    Args:
        diffusion: el proceso.
        model_output: salida de la red para `x_t`, (B, …).
        x_start: $x_0$, (B, …), en $[-1, 1]$.
        x_t: una muestra de $q(x_t|x_0)$, (B, …).
        t: índices de código (B,).
        levels: niveles del decodificador discreto; `None`, datos continuos: $L_0$ usa la
            densidad de la normal, y puede ser negativo.
        cdf: función de distribución del decodificador; por defecto, la exacta.

    Returns:
        El término de cada ejemplo, de forma (B,).
    """
    step = p_mean_variance(diffusion, model_output, x_t, t)
    return term_of_step(
        diffusion.schedule, step, x_start, x_t, t, levels=levels, cdf=cdf
    )


def term_of_step(
    schedule: Schedule,
    step: ReverseStep,
    x_start: Tensor,
    x_t: Tensor,
    t: Tensor,
    *,
    levels: int | None = 256,
    cdf: Callable[[Tensor], Tensor] = normal_cdf,
) -> Tensor:
    r"""El término de la cota de un paso atrás que ya se conoce (véase `vb_term`)."""
    true = q_posterior(schedule, x_start, x_t, t)
    kl = normal_kl(true.mean, true.log_variance, step.mean, step.log_variance)
    log_scale = 0.5 * step.log_variance
    log_likelihood = (
        normal_log_density(x_start, step.mean, log_scale)
        if levels is None
        else discretized_gaussian_log_likelihood(
            x_start, step.mean, log_scale, levels=levels, cdf=cdf
        )
    )
    return torch.where(
        t == 0,
        -_bits_per_dimension(log_likelihood),
        _bits_per_dimension(kl),
    )


class Bound(NamedTuple):
    r"""La cota variacional por términos, en bits por dimensión.

    `total` tiene forma (B,), `prior` ($L_T$) también y `terms` es (B, T): en la columna
    `t` está el término del índice de código `t` ($L_0$ en la 0). `x_start_errors`, (B, T),
    es el error cuadrático medio de cada $\hat x_0$, el que se ve desde ese $x_t$.
    """

    total: Tensor
    prior: Tensor
    terms: Tensor
    x_start_errors: Tensor


@torch.no_grad()
def variational_bound(
    model: Model,
    diffusion: Diffusion,
    x_start: Tensor,
    noise_at: Callable[[int], Tensor],
    *,
    levels: int | None = 256,
    condition: Mapping[str, Tensor] | None = None,
) -> Bound:
    r"""La cota $L = L_T + \sum_{t>1} L_{t-1} + L_0$, con una muestra de $x_t$ por término.

    Args:
        model: la red, `model(x_t, t, **condition)`, que recibe el índice original del paso.
        diffusion: el proceso.
        x_start: $x_0$, (B, …), en $[-1, 1]$.
        noise_at: función que da el ruido (B, …) para el índice de código `t`; se la llama
            de $T - 1$ a 0.
        levels: niveles del decodificador discreto, o `None` con datos continuos.
        condition: lo que la red recibe además, una fila por ejemplo.

    Returns:
        La cota de cada ejemplo y sus términos.
    """
    schedule = diffusion.schedule
    denoise = Denoiser(model, diffusion, condition or {})
    terms = x_start.new_empty(x_start.shape[0], len(schedule))
    x_start_errors = torch.empty_like(terms)
    for index in reversed(range(len(schedule))):
        t = torch.full((len(x_start),), index, device=x_start.device)
        x_t = q_sample(schedule, x_start, t, noise_at(index))
        step = denoise(x_t, index)
        terms[:, index] = term_of_step(
            schedule, step, x_start, x_t, t, levels=levels
        )
        x_start_errors[:, index] = _mean_of_each(
            (step.x_start - x_start).square()
        )
    prior = prior_term(schedule, x_start)
    total = prior + terms.sum(dim=1)
    return Bound(total, prior, terms, x_start_errors)
