r"""Solvers: la ecuación diferencial de DDIM, con métodos de segundo orden.

DDIM con $\eta = 0$ es el método de Euler sobre una ecuación diferencial ordinaria (Song
et al. 2020, arXiv:2010.02502, ec. 14). Aquí están los dos métodos que se usan para llegar
al mismo sitio con menos pasos: cada uno es un sampler, con los argumentos de
`sampling.ancestral`, y no saca números aleatorios.

Con $\alpha = \sqrt{\bar\alpha}$ y $\sigma = \sqrt{1-\bar\alpha}$, `dpm_solver_2m` trabaja en la
variable $\lambda = \log(\alpha/\sigma)$ e interpola $\hat x_0$; `heun`, en el ángulo
$\phi = \arccos\alpha$, con $\hat v$.
"""

import math
from collections.abc import Iterator

from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim


def dpm_solver_2m(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Un paso de DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algoritmo 2).

    Usa también el $\hat x_0$ del paso anterior: es de segundo orden con una sola evaluación
    de la red. Al ir de $t$ a $t-1$, con $h = \lambda_{t-1}-\lambda_t$ y
    $r = (\lambda_t-\lambda_{t+1})/h$:

    $$x_{t-1} = \frac{\sigma_{t-1}}{\sigma_t}\,x_t - \alpha_{t-1}\left(e^{-h}-1\right)
    \left[\left(1+\frac{1}{2r}\right)\hat x_0(x_t) - \frac{1}{2r}\,\hat x_0(x_{t+1})\right]$$

    El primer paso no tiene anterior, y el último lleva a $\lambda = \infty$: los dos son de
    primer orden, el paso de DDIM con $\eta = 0$.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: no se usa.
        previous: $\hat x_0$ del paso anterior (en el nivel `index + 1`), o `None`.

    Returns:
        $x_{t-1}$ y $\hat x_0$, los dos (B, …).
    """
    if previous is None or index == 0:
        return ddim(denoise, x_t, index, noises)
    x_start = denoise(x_t, index).x_start
    bar = denoise.schedule.alphas_cumprod[index - 1 : index + 2]
    h, last_h = (0.5 * (bar / (1 - bar)).log()).diff().neg().tolist()
    half_slope = h / (2 * last_h)
    ahead = (1 + half_slope) * x_start - half_slope * previous
    (alpha, alpha_t, _), (sigma, sigma_t, _) = (
        bar.sqrt().tolist(),
        (1 - bar).sqrt().tolist(),
    )
    # α_{t-1}(1 - e^{-h}), escrito sin exponenciales.
    gain = alpha - alpha_t * sigma / sigma_t
    return sigma / sigma_t * x_t + gain * ahead, x_start


def heun(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Un paso de Heun: primero el de DDIM, y después la media de las dos pendientes.

    La ecuación se integra en el ángulo $\phi$, con $\alpha = \cos\phi$ y $\sigma = \sin\phi$,
    donde la pendiente es $\mathrm{d}x/\mathrm{d}\phi = \hat v = \cos\phi\,\hat\epsilon -
    \sin\phi\,\hat x_0$ (Salimans y Ho 2022, arXiv:2202.00512). No hay en ella nada que crezca
    sin límite, como crece $\sigma/\alpha$ en la forma de Karras et al. (2022, arXiv:2206.00364):

    $$x_{t-1} = x_t + (\phi_{t-1}-\phi_t)\,\frac{\hat v(x_t, t) + \hat v(x'_{t-1}, t-1)}{2}$$

    con $x'_{t-1}$ el paso de DDIM con $\eta = 0$. La red se evalúa dos veces por paso, salvo en
    el último, que lleva a $\sigma = 0$, donde no hay nivel en que evaluarla: es el de DDIM.

    Args:
        denoise: la red con su proceso.
        x_t: el estado, (B, …).
        index: el nivel en que está, de `len(schedule) - 1` a 0.
        noises: no se usa.
        previous: no se usa.

    Returns:
        $x_{t-1}$ y el $\hat x_0$ que la red vio en $x_t$, los dos (B, …).
    """
    if index == 0:
        return ddim(denoise, x_t, index, noises)
    phi, phi_t = (
        denoise.schedule.alphas_cumprod[index - 1 : index + 1]
        .sqrt()
        .acos()
        .tolist()
    )
    now = denoise(x_t, index)
    after = denoise(
        math.cos(phi) * now.x_start + math.sin(phi) * now.epsilon, index - 1
    )
    slopes = (
        math.cos(phi_t) * now.epsilon
        - math.sin(phi_t) * now.x_start
        + math.cos(phi) * after.epsilon
        - math.sin(phi) * after.x_start
    )
    return x_t + (phi - phi_t) / 2 * slopes, now.x_start
