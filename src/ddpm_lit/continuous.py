r"""El límite continuo: DDPM cuando los pasos se hacen infinitos y cada uno, diminuto.

El tiempo es $\tau$, de 0 (datos) a 1 (ruido), y el nivel $t$ de $T$ está en $\tau = t/T$. Aquí
están la ecuación estocástica de la ida (`forward_sde`) y la de su densidad (`fokker_planck_step`);
la vuelta, con azar o sin él (`reverse_sde`), y con correcciones (`predictor_corrector`); la
verosimilitud exacta de la ecuación sin azar (`log_likelihood`), y la cota escrita con la SNR
(`snr_weights`, `bound_multiple`).

Las redes se siguen evaluando en los niveles de un schedule: lo continuo se integra sobre ellos.

Fuentes: Anderson 1982 (Stochastic Processes and their Applications 12, 313-326), Song et al. 2021
(arXiv:2011.13456), Kingma et al. 2021 (arXiv:2107.00630) y Kingma y Gao 2023 (arXiv:2303.00848).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, Sampler
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.losses import loss_weight, normal_log_density
from ddpm_lit.sampling import SampleStep, ancestral
from ddpm_lit.scheduler import Schedule
from ddpm_lit.variance import Variance

# --- La ida ---------------------------------------------------------------------------------------


def linear_rate(
    tau: float, beta_min: float = 0.1, beta_max: float = 20.0
) -> float:
    r"""El ruido por unidad de tiempo del schedule lineal, $\beta(\tau)$ (Song et al. 2021, ec. 32).

    $$\beta(\tau) = \beta_{\min} + (\beta_{\max} - \beta_{\min})\,\tau$$

    Con $T$ pasos, $\beta_t = \beta(\tau)/T$: los valores por defecto son los de Ho et al. (2020),
    $10^{-4}$ y $0{,}02$, por sus mil pasos.

    Args:
        tau: $\tau$, de 0 a 1.
        beta_min: $\beta(0)$.
        beta_max: $\beta(1)$.

    Returns:
        $\beta(\tau)$.
    """
    return beta_min + (beta_max - beta_min) * tau


def linear_alpha_bar(
    tau: float, beta_min: float = 0.1, beta_max: float = 20.0
) -> float:
    r"""La $\bar\alpha(\tau)$ del schedule lineal continuo.

    $$\bar\alpha(\tau) = \exp\left(-\int_0^\tau \beta(s)\,\mathrm{d}s\right)
    = \exp\left(-\beta_{\min}\tau - \tfrac12(\beta_{\max}-\beta_{\min})\,\tau^2\right)$$

    Args:
        tau: $\tau$, de 0 a 1.
        beta_min: $\beta(0)$.
        beta_max: $\beta(1)$.

    Returns:
        $\bar\alpha(\tau)$.
    """
    return math.exp(-beta_min * tau - (beta_max - beta_min) * tau**2 / 2)


def forward_sde(
    x: Tensor,
    increments: Tensor,
    rate: Callable[[float], float] = linear_rate,
) -> Iterator[Tensor]:
    r"""La ecuación estocástica de la ida, a pasos cortos (método de Euler-Maruyama).

    $$x \leftarrow x - \tfrac12\beta(\tau)\,x\,\Delta\tau + \sqrt{\beta(\tau)}\;\Delta W$$

    Recorre $\tau$ de 0 a 1, un paso por incremento; $\tau$ es el de la mitad de cada paso.

    Args:
        x: $x(0)$, de forma (B, …).
        increments: los $\Delta W$, (K, B, …), de varianza $\Delta\tau = 1/K$.
        rate: $\beta(\tau)$.

    Yields:
        Los K estados, (B, …), sin el de partida.
    """
    step = 1 / len(increments)
    for number, increment in enumerate(increments):
        beta = rate((number + 0.5) * step)
        x = x - beta / 2 * x * step + math.sqrt(beta) * increment
        yield x


def fokker_planck_step(
    density: Tensor, spacing: float, amount: float
) -> Tensor:
    r"""La densidad un instante después, sin sortear nada.

    $$\frac{\partial q}{\partial\tau} = \frac{\beta}{2}\,\frac{\partial}{\partial x}
    \left(x\,q + \frac{\partial q}{\partial x}\right)$$

    Se escribe como un balance: por cada frontera entre dos casillas cruza $x\,q + \partial q$, y
    cada casilla gana la diferencia entre sus dos fronteras. Por los extremos no cruza nada.

    Args:
        density: $q$ en el centro de N casillas iguales, alrededor de $x = 0$; (N,).
        spacing: lo que mide cada casilla.
        amount: $\beta\,\Delta\tau$; para que no se desboque, no más que `spacing` al cuadrado.

    Returns:
        La densidad siguiente, (N,).

    Raises:
        ValueError: si el paso es demasiado largo para esas casillas.
    """
    if not 0 <= amount <= spacing**2:
        raise ValueError(
            f"El paso es β Δτ = {amount:.3g} y con casillas de {spacing:.3g} "
            f"debe estar entre 0 y {spacing**2:.3g}: da pasos más cortos."
        )
    edges = (torch.arange(1, len(density)) - len(density) / 2) * spacing
    average = (density[1:] + density[:-1]) / 2
    crossing = edges * average + density.diff() / spacing
    crossing = torch.nn.functional.pad(crossing, (1, 1))
    return density + amount / 2 * crossing.diff() / spacing


# --- La vuelta ------------------------------------------------------------------------------------


def reverse_sde(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
    *,
    noise: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Un paso atrás de Euler-Maruyama, con tanto azar como se quiera (Song et al. 2021, ec. 6).

    $$x_{t-1} = x_t + \tfrac12\beta_t\,x_t + \tfrac{1+\kappa^2}{2}\,\beta_t\,\nabla\log q(x_t)
    + \kappa\sqrt{\beta_t}\,z$$

    Con $\kappa = 1$ es la SDE inversa; con 0, la EDO del flujo de probabilidad. Es un sampler,
    con los argumentos de `sampling.ancestral`.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: de donde se toma $z$; nunca en el último paso, ni si $\kappa = 0$.
        previous: no se usa.
        noise: $\kappa$, cero o mayor.

    Returns:
        $x_{t-1}$ y $\hat x_0$, los dos (B, …).

    Raises:
        ValueError: si $\kappa$ es negativo.
    """
    if not noise >= 0:
        raise ValueError(f"El azar es κ = {noise} y debe ser 0 o mayor.")
    step = denoise(x_t, index)
    beta = float(denoise.schedule.betas[index])
    score = -step.epsilon / _noise_std(denoise, index)
    x_prev = x_t + beta / 2 * x_t + (1 + noise**2) / 2 * beta * score
    if index > 0 and noise > 0:
        x_prev = x_prev + noise * math.sqrt(beta) * next(noises)
    return x_prev, step.x_start


def correct(
    denoise: Denoiser, x_t: Tensor, index: int, z: Tensor, step: float = 0.1
) -> Tensor:
    r"""Un paso de Langevin sin moverse de nivel: sube la cuesta y tiembla.

    $$x_t \leftarrow x_t + \frac{\delta_t}{2}\,\nabla\log q(x_t) + \sqrt{\delta_t}\;z,
    \qquad \delta_t = \delta\,(1-\bar\alpha_t)$$

    Deja quieta la distribución $q(x_t)$, salvo por lo que el paso tiene de largo: con datos
    normales, la varianza sobra como mucho en una fracción $\delta/(4-\delta)$.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: su nivel.
        z: ruido normal estándar, (B, …).
        step: $\delta$, el paso en varianzas del ruido que hay.

    Returns:
        El estado corregido, (B, …).
    """
    std = _noise_std(denoise, index)
    epsilon = denoise(x_t, index).epsilon
    return x_t - step / 2 * std * epsilon + math.sqrt(step) * std * z


@torch.no_grad()
def predictor_corrector(
    denoise: Denoiser,
    x_T: Tensor,
    noises: Iterator[Tensor],
    sampler: Sampler = ancestral,
    *,
    corrections: int = 1,
    step: float = 0.1,
) -> Iterator[SampleStep]:
    r"""Generar prediciendo y corrigiendo (Song et al. 2021, algoritmo 1).

    Cada paso del sampler baja un nivel, y unos pasos de Langevin ponen la muestra donde debe estar
    en el nivel al que ha llegado. Es un bucle como `sampling.algorithm2`; para dárselo a `sample`,
    `Edit(partial(predictor_corrector, corrections=2), {}, WHOLE.path)`.

    Args:
        denoise: la red con su proceso.
        x_T: el ruido de partida, (B, …).
        noises: de donde se toma cada ruido, (B, …).
        sampler: el predictor.
        corrections: pasos de Langevin en cada nivel; tras el último paso, que deja en los datos, no
            se da ninguno.
        step: $\delta$ (véase `correct`).

    Yields:
        Un `SampleStep` por nivel, ya corregido.
    """
    x_t, x_start = x_T, None
    for index in reversed(range(len(denoise.schedule))):
        before = x_t
        x_t, x_start = sampler(denoise, x_t, index, noises, x_start)
        for _ in range(corrections if index > 0 else 0):
            x_t = correct(denoise, x_t, index - 1, next(noises), step)
        yield SampleStep(index, x_t, x_start, before)


def _noise_std(denoise: Denoiser, index: int) -> float:
    r"""$\sqrt{1-\bar\alpha_t}$ de un nivel."""
    return float(denoise.schedule.sqrt_one_minus_alphas_cumprod[index])


# --- La verosimilitud de la EDO -------------------------------------------------------------------


def flow_slope(denoise: Denoiser, x: Tensor, index: int) -> Tensor:
    r"""La pendiente de la EDO en el ángulo $\varphi$, con $\cos\varphi = \sqrt{\bar\alpha}$.

    $$\frac{\mathrm{d}x}{\mathrm{d}\varphi} = \hat v = \cos\varphi\;\hat\epsilon -
    \operatorname{sen}\varphi\;\hat x_0$$

    Args:
        denoise: la red con su proceso.
        x: el estado, (B, …).
        index: su nivel.

    Returns:
        $\hat v$, (B, …).
    """
    step = denoise(x, index)
    signal = float(denoise.schedule.sqrt_alphas_cumprod[index])
    return signal * step.epsilon - _noise_std(denoise, index) * step.x_start


def divergence(
    field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Un campo y su divergencia, exacta o con el estimador de Hutchinson.

    $$\nabla\cdot u = \sum_{i=1}^{D} e_i^\top J\,e_i = \operatorname{E}\left[z^\top J\,z\right],
    \qquad J_{ij} = \frac{\partial u_i}{\partial x_j}$$

    Exacta, cuesta $D$ gradientes; con sondas, uno por sonda.

    Args:
        field: $u$, que trata cada ejemplo por separado: recibe (B, …) y da lo mismo.
        x: dónde se mide, (B, …).
        probes: las $z$, (K, B, …), de media 0 y covarianza $I$ (p. ej. signos al azar); `None`, la
            suma exacta.

    Returns:
        $u(x)$, (B, …), y la divergencia de cada ejemplo, (B,).
    """
    if probes is None:
        basis = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
        directions = basis.reshape(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
        count = 1
    else:
        directions, count = probes, len(probes)
    total = x.new_zeros(len(x))
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = field(x)
        for z in directions:
            (row,) = torch.autograd.grad(value, x, z, retain_graph=True)
            total = total + (row * z).flatten(1).sum(dim=1)
    return value.detach(), total / count


def log_likelihood(
    denoise: Denoiser, x: Tensor, probes: Tensor | None = None
) -> Tensor:
    r"""La log-verosimilitud exacta de unos datos con la EDO, en nats (Song et al. 2021, ec. 39).

    $$\log p(x_0) = \log \mathcal{N}(x_T;\,0, I) +
    \int_0^{\varphi_T} \nabla\cdot\hat v\;\mathrm{d}\varphi$$

    La EDO se integra hacia el ruido por los niveles del schedule, con la regla del trapecio y una
    llamada a la red por nivel: la pendiente de cada uno se mide donde lleva el paso de Euler. Sin
    ruido ($\varphi = 0$) la pendiente es 0, que es lo que vale si los datos tienen densidad.

    Args:
        denoise: la red con su proceso, sin recorte. Con más niveles, menos error de integración.
        x: los datos, (B, …).
        probes: las sondas de `divergence`, las mismas en todos los niveles; `None`, exacta.

    Returns:
        $\log p(x_0)$ de cada ejemplo, (B,).
    """
    angles = denoise.schedule.sqrt_alphas_cumprod.acos().tolist()
    slope, spread = torch.zeros_like(x), x.new_zeros(len(x))
    gathered = x.new_zeros(len(x))
    for index, (now, after) in enumerate(pairwise([0.0, *angles])):
        half = (after - now) / 2
        there = partial(flow_slope, denoise, index=index)
        ahead, its_spread = divergence(there, x + 2 * half * slope, probes)
        x = x + half * (slope + ahead)
        gathered = gathered + half * (spread + its_spread)
        slope, spread = ahead, its_spread
    zero = torch.zeros_like(x)
    prior = normal_log_density(x, zero, zero).flatten(1).sum(dim=1)
    return prior + gathered


# --- La cota, con la SNR --------------------------------------------------------------------------


class EveryBeta(Variance):
    r"""$\beta_t$ en todos los pasos, también en el de $t = 1$.

    `FixedLarge` pone ahí $\tilde\beta_2$, como el código de los artículos. Si los niveles se
    juntan sin que cambie el primero, $\tilde\beta_2$ tiende a 0 y $L_0$ se dispara; con
    $\beta_1 = 1 - \bar\alpha_1$ la cota tiene límite.
    """

    name = "every_beta"

    def __call__(
        self, schedule: Schedule, t: Tensor, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""$\beta_t$ y su logaritmo, (B, 1, …, 1)."""
        return schedule.at("betas", t, like), schedule.at("log_betas", t, like)


def snr_weights(schedule: Schedule) -> Tensor:
    r"""Lo que pesa en la cota el error de $\hat x_0$ en cada $t$ (Kingma et al. 2021, ec. 13).

    $$\tfrac12\left(\mathrm{SNR}(t-1) - \mathrm{SNR}(t)\right)$$

    Args:
        schedule: las varianzas $\beta_t$.

    Returns:
        Los pesos, float64 (T,); el del índice 0 es infinito, porque $x_0$ no tiene ruido: ese
        término de la cota es $L_0$, y no un error cuadrático.
    """
    clean = torch.tensor([math.inf], dtype=torch.float64)
    before = torch.cat([clean, schedule.snr])
    return -before.diff() / 2


def bound_multiple(
    diffusion: Diffusion, weighting: str | Callable[[Diffusion], Tensor]
) -> Tensor:
    r"""Cuántas veces más que la cota pesa una pérdida cada $t$ (Kingma y Gao 2023, ec. 8).

    Si crece con $t$ (no baja nunca al subir el ruido), la pérdida es una mezcla de cotas de los
    datos con ruido.

    Args:
        diffusion: el proceso; de la varianza no depende.
        weighting: el peso de la pérdida (véase `losses.loss_weight`).

    Returns:
        El cociente, float64 (T,), salvo un factor que depende de la pérdida. En el índice 0 la cota
        no es un error cuadrático, y no quiere decir nada.
    """
    slope = diffusion.prediction.slope(diffusion.schedule)
    bound = snr_weights(diffusion.schedule) / slope**2
    return loss_weight(diffusion, weighting) / bound
