r"""Flow matching y EDM: la misma difusión, con otra escala y con otro reloj.

Un camino va de los datos al ruido, $x_\tau = \alpha_\tau x_0 + \sigma_\tau \epsilon$. DDPM, EDM y
el flujo rectificado son tres filas de `PATHS`. Como solo importa el cociente
$\sigma_\tau/\alpha_\tau$, la red de uno sirve a los otros: `change_path` la traduce, y
`ddpm_velocity` trae las del resto del paquete. `flow_matching` es el bucle que entrena cualquiera
de ellos, e `integrate`, el que genera.

El reloj $\tau$ crece de los datos, $\tau = 0$, al ruido, `Path.end`. En Lipman et al. y en Albergo
y Vanden-Eijnden va al revés.

Fuentes: Lipman et al. 2022 (arXiv:2210.02747), Liu et al. 2022 (arXiv:2209.03003), Albergo y
Vanden-Eijnden 2022 (arXiv:2209.15571) y, para EDM, Karras et al. 2022 (arXiv:2206.00364).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lit.backward import Model, p_mean_variance
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.scheduler import Schedule
from ddpm_lit.training import Batch, Descend, Draw, TrainStep, split_batch

VelocityField = Model
r"""Una velocidad: `velocity(x, tau, **condition)`, de (B, …) y $\tau$ (B,) a (B, …)."""

Step = Callable[[VelocityField, Tensor, float, float], Tensor]
r"""Un paso, `step(velocity, x, now, after)`: del $\tau$ en que está `x` a otro menor."""

# --- Los caminos ----------------------------------------------------------------------------------


class Coefficients(NamedTuple):
    r"""$\alpha_\tau$, $\sigma_\tau$ y sus derivadas respecto a $\tau$, todas de la misma forma."""

    alpha: Tensor
    sigma: Tensor
    alpha_rate: Tensor
    sigma_rate: Tensor


def vp(tau: Tensor) -> Coefficients:
    r"""La varianza se conserva, como en DDPM: $\cos\tau$ y $\operatorname{sen}\tau$."""
    return Coefficients(tau.cos(), tau.sin(), -tau.sin(), tau.cos())


def ve(tau: Tensor) -> Coefficients:
    r"""La varianza explota, como en EDM: los datos no encogen, y $\sigma_\tau = \tau$."""
    one = torch.ones_like(tau)
    return Coefficients(one, tau, torch.zeros_like(tau), one)


def rectified(tau: Tensor) -> Coefficients:
    r"""El flujo rectificado: una recta, $1-\tau$ y $\tau$."""
    one = torch.ones_like(tau)
    return Coefficients(1 - tau, tau, -one, one)


@dataclass(frozen=True)
class Path:
    r"""Un camino de los datos al ruido, $x_\tau = \alpha_\tau x_0 + \sigma_\tau \epsilon$.

    Args:
        name: su nombre.
        curve: de $\tau$ a sus `Coefficients`.
        time: del ángulo $\varphi$ de un nivel, $\tan\varphi = \sigma_\tau/\alpha_\tau$, a su
            $\tau$.
        end: el último $\tau$.
    """

    name: str
    curve: Callable[[Tensor], Coefficients]
    time: Callable[[Tensor], Tensor]
    end: float

    def at(self, tau: Tensor, like: Tensor) -> Coefficients:
        r"""Los coeficientes en $\tau$, (B,), con forma (B, 1, …) para operar con `like`."""
        return self.curve(_column(tau, like))

    def angle(self, tau: Tensor) -> Tensor:
        r"""El ángulo $\varphi$ de cada $\tau$: de 0, los datos, a $\pi/2$, el ruido."""
        there = self.curve(tau)
        return torch.atan2(there.sigma, there.alpha)

    def state(self, x_start: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        r"""$x_\tau = \alpha_\tau x_0 + \sigma_\tau \epsilon$, de forma (B, …)."""
        there = self.at(tau, x_start)
        return there.alpha * x_start + there.sigma * noise

    def velocity(self, x_start: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        r"""La de ese $x_\tau$: $u = \alpha'_\tau x_0 + \sigma'_\tau \epsilon$, (B, …)."""
        there = self.at(tau, x_start)
        return there.alpha_rate * x_start + there.sigma_rate * noise

    def split(
        self, velocity: Tensor, x: Tensor, tau: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""El $\hat x_0$ y el $\hat\epsilon$ que hay en una velocidad.

        $$\hat x_0 = \frac{\sigma'_\tau x_\tau - \sigma_\tau u}
        {\alpha_\tau\sigma'_\tau - \sigma_\tau\alpha'_\tau}, \qquad
        \hat\epsilon = \frac{\alpha_\tau u - \alpha'_\tau x_\tau}
        {\alpha_\tau\sigma'_\tau - \sigma_\tau\alpha'_\tau}$$

        Args:
            velocity: $u$, de forma (B, …).
            x: $x_\tau$, de forma (B, …).
            tau: $\tau$, de forma (B,).

        Returns:
            $\hat x_0$ y $\hat\epsilon$, los dos (B, …).
        """
        alpha, sigma, alpha_rate, sigma_rate = self.at(tau, x)
        turn = alpha * sigma_rate - sigma * alpha_rate
        x_start = (sigma_rate * x - sigma * velocity) / turn
        noise = (alpha * velocity - alpha_rate * x) / turn
        return x_start, noise


PATHS: dict[str, Path] = {
    "vp": Path("vp", vp, lambda angle: angle, math.pi / 2),
    "ve": Path("ve", ve, torch.tan, 80.0),
    "rectified": Path(
        "rectified",
        rectified,
        lambda angle: angle.sin() / (angle.sin() + angle.cos()),
        1.0,
    ),
}
"""Los caminos, por su nombre: DDPM en coordenadas de ángulo, EDM y el flujo rectificado."""


# --- La red de uno sirve a los otros --------------------------------------------------------------


def change_path(
    velocity: VelocityField, source: Path, target: Path
) -> VelocityField:
    r"""La velocidad de un camino, sacada de la de otro.

    Un nivel es un ángulo: donde coincide, $x^A/\sqrt{\alpha_A^2+\sigma_A^2} =
    x^B/\sqrt{\alpha_B^2+\sigma_B^2}$, y $\hat x_0$ y $\hat\epsilon$ son los mismos.

    Args:
        velocity: la del camino que se tiene.
        source: ese camino.
        target: el camino que se quiere.

    Returns:
        La velocidad de `target`. Con `source = PATHS["ve"]`, no llega al ruido puro,
        $\varphi = \pi/2$, que en ese camino está en el infinito.
    """

    def moved(x: Tensor, tau: Tensor, **condition: Tensor) -> Tensor:
        there = source.time(target.angle(tau))
        seen = x * _size(source, there, x) / _size(target, tau, x)
        answer = velocity(seen, there, **condition)
        return target.velocity(*source.split(answer, seen, there), tau)

    return moved


def ddpm_velocity(
    model: Model, diffusion: Diffusion, path: Path
) -> VelocityField:
    r"""La velocidad de un camino, sacada de una red de DDPM.

    $$u = \alpha'_\tau\hat x_0 + \sigma'_\tau\hat\epsilon$$

    La red solo conoce los niveles de su schedule, y se usa el más próximo: en los `path_times`
    es exacto.

    Args:
        model: la red, `model(x_t, t, **condition)`.
        diffusion: su proceso; da igual qué prediga.
        path: el camino que se quiere.

    Returns:
        La velocidad, `velocity(x, tau, **condition)`.
    """
    schedule = diffusion.schedule
    angles = path_times(PATHS["vp"], schedule)
    between = (angles[1:] + angles[:-1]) / 2

    def velocity(x: Tensor, tau: Tensor, **condition: Tensor) -> Tensor:
        nonlocal between
        angle = path.angle(tau)
        between = between.to(angle)  # Al dispositivo, una sola vez.
        t = torch.bucketize(angle, between)
        x_t = x / _size(path, tau, x)
        output = model(x_t, schedule.original(t), **condition)
        step = p_mean_variance(diffusion, output, x_t, t)
        return path.velocity(step.x_start, step.epsilon, tau)

    return velocity


def path_times(path: Path, schedule: Schedule) -> Tensor:
    r"""En qué $\tau$ de un camino está cada nivel de un schedule: float64 (T,), creciente."""
    return path.time(schedule.sqrt_alphas_cumprod.acos())


def path_schedule(path: Path, times: Tensor) -> Schedule:
    r"""Un schedule con los niveles de un camino, para usarlos con todo lo demás del paquete.

    $$\bar\alpha = \cos^2\varphi = \frac{\alpha_\tau^2}{\alpha_\tau^2 + \sigma_\tau^2}$$

    Args:
        path: el camino.
        times: unos $\tau$ crecientes y positivos, (T,).

    Returns:
        El schedule, con T pasos.

    Raises:
        ValueError: si los $\tau$ no crecen o alguno no es positivo.
    """
    return Schedule.from_alphas_cumprod(path.angle(times.double()).cos() ** 2)


# --- Entrenar -------------------------------------------------------------------------------------

TICKS = 1 << 20
r"""En cuántas partes se divide el sorteo de $\tau$, que es continuo."""


def flow_matching(
    model: VelocityField,
    path: Path,
    batches: Iterable[Batch],
    draw: Draw,
    descend: Descend,
    levels: Callable[[Tensor], Tensor] | None = None,
    weight: Callable[[Tensor], Tensor] = torch.ones_like,
) -> Iterator[TrainStep]:
    r"""El Algoritmo 1, con la velocidad en el lugar del ruido (Lipman et al. 2022, ec. 9).

    $$\nabla_\theta\; w(\tau) \left\lVert u_\theta(x_\tau, \tau) - (\alpha'_\tau x_0 +
    \sigma'_\tau \epsilon)\right\rVert^2$$

    Args:
        model: la red, `model(x, tau, **condition)`.
        path: el camino.
        batches: lotes `{"x": x_0, …}`, como en `training.algorithm1`.
        draw: de dónde salen los sorteos (véase `noise.TrainingDraws`).
        descend: el paso de gradiente (véase `training.gradient_step`).
        levels: de un uniforme en (0, 1) a $\tau$, los dos (B,); por defecto, $\tau$ se reparte
            por igual de 0 a `path.end`.
        weight: $w$, de $\tau$ (B,) al peso de cada ejemplo, (B,).

    Yields:
        Un `TrainStep` por lote, después de actualizar los parámetros.
    """
    for batch in batches:
        x_0, condition = split_batch(batch)
        ticks, noise = draw(x_0, TICKS)
        u = (ticks + 0.5) / TICKS
        tau = path.end * u if levels is None else levels(u)
        answer = model(path.state(x_0, noise, tau), tau, **condition)
        error = answer - path.velocity(x_0, noise, tau)
        loss = (weight(tau) * error.square().flatten(1).mean(1)).mean()
        yield TrainStep(loss.detach(), descend(loss))


# --- Generar --------------------------------------------------------------------------------------


class FlowStep(NamedTuple):
    r"""Lo que deja un paso de la generación: el $\tau$ al que se ha llegado y $x_\tau$, (B, …)."""

    tau: float
    x: Tensor


def euler(
    velocity: VelocityField, x: Tensor, now: float, after: float
) -> Tensor:
    r"""Un paso de Euler: $x_{\tau'} = x_\tau + (\tau' - \tau)\,u(x_\tau, \tau)$."""
    return x + (after - now) * velocity(x, _times(now, x))


def heun(
    velocity: VelocityField, x: Tensor, now: float, after: float
) -> Tensor:
    r"""Un paso de Heun: la media de las pendientes de los dos extremos.

    $$x_{\tau'} = x_\tau + (\tau' - \tau)\,\frac{u(x_\tau, \tau) + u(x'_{\tau'}, \tau')}{2}$$

    con $x'_{\tau'}$ el paso de Euler. El que lleva a $\tau' = 0$ es el de Euler: ahí no hay nivel
    en que evaluar la red (Karras et al. 2022, algoritmo 1).
    """
    slope = velocity(x, _times(now, x))
    reached = x + (after - now) * slope
    if after == 0:
        return reached
    mean = (slope + velocity(reached, _times(after, x))) / 2
    return x + (after - now) * mean


@torch.no_grad()
def integrate(
    velocity: VelocityField, x: Tensor, times: Tensor, step: Step = euler
) -> Iterator[FlowStep]:
    r"""Del ruido a los datos, siguiendo la velocidad.

    Args:
        velocity: la red, o la que dan `change_path` y `ddpm_velocity`.
        x: el estado de partida, en el primer $\tau$: $\sigma_\tau\epsilon$, (B, …).
        times: los $\tau$ que se recorren, decrecientes, (K + 1,); el último suele ser 0.
        step: cómo se da cada paso: `euler` o `heun`.

    Yields:
        Un `FlowStep` por paso.
    """
    for now, after in pairwise(times.tolist()):
        x = step(velocity, x, now, after)
        yield FlowStep(after, x)


# --- EDM ------------------------------------------------------------------------------------------


class Preconditioning(NamedTuple):
    r"""Los coeficientes de EDM en unos niveles $\sigma$, (B,): lo que rodea a la red.

    `skip`, `out` e `into` son $c_{\text{skip}}$, $c_{\text{out}}$ y $c_{\text{in}}$; `noise`, lo
    que la red recibe en el lugar de $\sigma$.
    """

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def preconditioning(sigma: Tensor, sigma_data: float) -> Preconditioning:
    r"""Los coeficientes de Karras et al. 2022 (tabla 1).

    $$c_{\text{skip}} = \frac{\sigma_d^2}{\sigma^2+\sigma_d^2}, \qquad
    c_{\text{out}} = \frac{\sigma\,\sigma_d}{\sqrt{\sigma^2+\sigma_d^2}}, \qquad
    c_{\text{in}} = \frac{1}{\sqrt{\sigma^2+\sigma_d^2}}, \qquad
    c_{\text{noise}} = \frac{\ln\sigma}{4}$$

    Args:
        sigma: niveles de ruido positivos, (B,).
        sigma_data: $\sigma_d$, la desviación típica de los datos.

    Returns:
        Los cuatro, de forma (B,).
    """
    total = sigma**2 + sigma_data**2
    return Preconditioning(
        skip=sigma_data**2 / total,
        out=sigma * sigma_data / total.sqrt(),
        into=1 / total.sqrt(),
        noise=sigma.log() / 4,
    )


def preconditioned(network: Model, sigma_data: float) -> VelocityField:
    r"""La velocidad de EDM, en el camino `"ve"`, a partir de la red que lleva dentro.

    $$D = c_{\text{skip}}\,x + c_{\text{out}}\,F_\theta(c_{\text{in}}\,x, c_{\text{noise}}),
    \qquad u = \frac{x - D}{\sigma}$$

    Args:
        network: $F_\theta$, `network(x, noise, **condition)`.
        sigma_data: $\sigma_d$, la desviación típica de los datos.

    Returns:
        La velocidad; no está definida en $\sigma = 0$.
    """

    def velocity(x: Tensor, sigma: Tensor, **condition: Tensor) -> Tensor:
        c = preconditioning(sigma, sigma_data)
        inside = network(_column(c.into, x) * x, c.noise, **condition)
        x_start = _column(c.skip, x) * x + _column(c.out, x) * inside
        return (x - x_start) / _column(sigma, x)

    return velocity


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    r"""El peso del error de la velocidad con el que todos los niveles de $F_\theta$ pesan igual.

    $$w(\sigma) = \frac{\sigma^2}{c_{\text{out}}^2} = 1 + \frac{\sigma^2}{\sigma_d^2}$$

    Args:
        sigma: niveles de ruido, (B,).
        sigma_data: $\sigma_d$.

    Returns:
        Los pesos, (B,).
    """
    return 1 + (sigma / sigma_data) ** 2


def log_normal(u: Tensor, mean: float = -1.2, std: float = 1.2) -> Tensor:
    r"""Los niveles con que entrena EDM: $\ln\sigma \sim \mathcal{N}(-1{,}2;\ 1{,}2^2)$.

    Args:
        u: uniformes en (0, 1), (B,).
        mean: la media de $\ln\sigma$.
        std: su desviación típica.

    Returns:
        $\sigma$, (B,).
    """
    normal: Tensor = torch.special.ndtri(u)
    return (mean + std * normal).exp()


def karras_levels(
    steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0
) -> Tensor:
    r"""Los niveles que recorre EDM, de `high` a `low`, y después el 0 (Karras et al. 2022, ec. 5).

    $$\sigma_i = \left(\sigma_{\max}^{1/\rho} + \frac{i}{K-1}
    \left(\sigma_{\min}^{1/\rho} - \sigma_{\max}^{1/\rho}\right)\right)^{\rho}$$

    Args:
        steps: $K$, cuántos pasos.
        low: $\sigma_{\min}$.
        high: $\sigma_{\max}$.
        rho: $\rho$; con 1 se reparten por igual, y cuanto mayor, más se juntan abajo.

    Returns:
        float64 (K + 1,), decreciente.
    """
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    top, bottom = high ** (1 / rho), low ** (1 / rho)
    levels = (top + ramp * (bottom - top)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


# --- Formas ---------------------------------------------------------------------------------------


def _column(values: Tensor, like: Tensor) -> Tensor:
    """De (B,) a (B, 1, …), del tipo de `like`."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _size(path: Path, tau: Tensor, like: Tensor) -> Tensor:
    r"""$\sqrt{\alpha_\tau^2 + \sigma_\tau^2}$, con forma (B, 1, …)."""
    there = path.at(tau, like)
    return torch.hypot(there.alpha, there.sigma)


def _times(tau: float, x: Tensor) -> Tensor:
    r"""Un mismo $\tau$ para todo el lote, (B,)."""
    return torch.full((len(x),), tau, dtype=x.dtype, device=x.device)
