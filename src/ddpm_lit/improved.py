r"""Improving diffusion: aprender la varianza, repartir los $t$ y medir en bits.

- Las pérdidas que usan la cota: $L_{\text{vlb}}$ y $L_{\text{híbrida}}$ (`vlb_loss`,
  `hybrid_loss`), con la misma llamada que `ddpm_lit.losses.simple_loss`. La varianza
  aprendida en sí está en `ddpm_lit.variance.LearnedRange`.
- El muestreo de $t$ por importancia (`ImportanceSampler`).
- Los bits por dimensión de un conjunto de datos y su curva de tasa y distorsión
  (`bits_per_dimension`, `rate_distortion`).

Fuentes: Nichol y Dhariwal 2021 (arXiv:2102.09672), secciones 3.1 y 3.3; Ho et al. 2020
(arXiv:2006.11239), sección 4.3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_lit.backward import Model, split_output
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.losses import (
    Loss,
    simple_loss,
    variational_bound,
    vb_term,
    weighted_error,
)
from ddpm_lit.noise import sampling_noise
from ddpm_lit.tables import configured, row
from ddpm_lit.variance import VARIANCES

TIMESTEP_SAMPLINGS = ("uniform", "importance")

# --- Las pérdidas ---------------------------------------------------------------------------------


def vlb_loss(
    diffusion: Diffusion,
    model_output: Tensor,
    x_start: Tensor,
    noise: Tensor,
    t: Tensor,
    *,
    levels: int | None = 256,
) -> Tensor:
    r"""$L_{\text{vlb}}$: la cota, estimada con un solo término por ejemplo, en bits por dimensión.

    $$\ell_i = T\,L_{t_i - 1}$$

    Con $t$ uniforme su media es la cota entera salvo $L_T$, que no depende de la red. El
    gradiente llega a todo, media y varianza. $\hat x_0$ no se recorta: donde se recortara
    no habría gradiente. Con el schedule coseno, casi todo el gradiente sale de $t = T$, donde
    $\beta_T$ es casi 1.

    Args:
        diffusion: el proceso.
        model_output: la salida de la red: (B, C, …), o (B, 2C, …) si aprende la varianza.
        x_start: $x_0$, (B, C, …).
        noise: $\epsilon$, (B, C, …).
        t: índices de código (B,).
        levels: niveles de los datos, o `None` si son continuos (véase `vb_term`).

    Returns:
        Pérdidas (B,), una por ejemplo.

    Raises:
        ValueError: si las formas no casan.
    """
    schedule = diffusion.schedule
    unclipped = replace(diffusion, clip=False)
    x_t = q_sample(schedule, x_start, t, noise)
    output = model_output.to(x_t.dtype)
    term = vb_term(unclipped, output, x_start, x_t, t, levels=levels)
    return len(schedule) * term


def hybrid_loss(
    diffusion: Diffusion,
    model_output: Tensor,
    x_start: Tensor,
    noise: Tensor,
    t: Tensor,
    *,
    weighting: str | Callable[[Diffusion], Tensor] = "uniform",
    levels: int | None = 256,
    vlb_weight: float = 0.001,
) -> Tensor:
    r"""La híbrida, $L_{\text{simple}} + \lambda L_{\text{vlb}}$ (Nichol y Dhariwal 2021, ec. 16).

    Dentro de $L_{\text{vlb}}$ la predicción es una constante (*stop-gradient*): la media la
    enseña $L_{\text{simple}}$, y la cota, solo la varianza. Como `vlb_loss` es $T$ veces el
    término, con $\lambda = 0{,}001$ el término lleva delante $T/1000$: el mismo factor que
    en el código de los autores.

    Args:
        diffusion: el proceso, con una varianza que se aprenda.
        model_output: la salida de la red, (B, 2C, …).
        x_start: $x_0$, (B, C, …).
        noise: $\epsilon$, (B, C, …).
        t: índices de código (B,).
        weighting: el peso de $L_{\text{simple}}$ (véase `loss_weight`).
        levels: niveles de los datos, o `None` si son continuos.
        vlb_weight: $\lambda$.

    Returns:
        Pérdidas (B,), una por ejemplo.

    Raises:
        ValueError: si la varianza no se aprende o las formas no casan.
    """
    variance = diffusion.variance
    if not variance.learned:
        learned = [name for name, each in VARIANCES.items() if each.learned]
        raise ValueError(
            f"La pérdida «hybrid» enseña la varianza y «{variance.name}» no se "
            f"aprende. Usa una de {', '.join(learned)}, o la pérdida «mse»."
        )
    output, channels = split_output(variance, model_output, x_start)
    simple = weighted_error(diffusion, output, x_start, noise, t, weighting)
    frozen = torch.cat([output.detach(), channels], dim=1)
    bound = vlb_loss(diffusion, frozen, x_start, noise, t, levels=levels)
    return simple + vlb_weight * bound


LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": simple_loss,
    "hybrid": hybrid_loss,
    "vlb": vlb_loss,
}
r"""Las pérdidas, por su nombre: $L_{\text{simple}}$ y sus pesos, la híbrida y la cota."""


def make_loss(name: str = "mse", **options: Any) -> Loss:
    r"""Una pérdida por su nombre, con sus opciones ya puestas.

    Args:
        name: uno de `LOSSES`: `"mse"`, `"hybrid"` o `"vlb"`.
        **options: las opciones de esa pérdida; p. ej. `levels=17` para `"vlb"`.

    Returns:
        La función `loss(diffusion, output, x_start, noise, t)`.

    Raises:
        ValueError: si la pérdida no existe o no admite alguna opción.
    """
    function = row(LOSSES, name, "No hay ninguna pérdida")
    return configured(function, options, f"La pérdida «{name}»")


# --- Qué instantes se entrenan --------------------------------------------------------------------


class ImportanceSampler:
    r"""Muestreo de $t$ por importancia: se entrena más donde la pérdida es mayor.

    $$p_t \propto \sqrt{\mathbb{E}[L_t^2]}, \qquad
    L = \mathbb{E}_{t \sim p}\left[\frac{1}{T p_t}\,L_t\right]$$

    La media es la de las últimas pérdidas de cada $t$. Hasta que todos tienen su historia
    completa, los $t$ se reparten por igual; después, una fracción pequeña lo sigue
    haciendo, para que ningún $t$ se quede sin visitar (Nichol y Dhariwal 2021, ec. 18).

    Las pérdidas se apuntan donde se calculan, sin esperar a una GPU: las tablas se van allí con
    el primer lote (en float32; en la CPU, en float64).

    Args:
        timesteps: $T$.
        history: cuántas pérdidas se recuerdan de cada $t$.
        uniform: la fracción que se reparte por igual, entre 0 y 1.

    Raises:
        ValueError: si algún valor no es posible.
    """

    def __init__(
        self, timesteps: int, *, history: int = 10, uniform: float = 0.001
    ) -> None:
        if timesteps < 1 or history < 1 or not 0 <= uniform <= 1:
            raise ValueError(
                f"Han llegado timesteps = {timesteps}, history = {history} y "
                f"uniform = {uniform}: los dos primeros deben ser al menos 1 y "
                "el último, una fracción entre 0 y 1."
            )
        self.uniform = uniform
        self.losses = torch.zeros(timesteps, history, dtype=torch.float64)
        self.counts = torch.zeros(timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """La probabilidad de cada t, (T,); suman 1."""
        timesteps, history = self.losses.shape
        size = self.losses.square().mean(dim=1).sqrt()
        even = torch.full_like(size, 1 / timesteps)
        ready = (self.counts >= history).all() & (size.sum() > 0)
        uneven = (1 - self.uniform) * size / size.sum() + self.uniform * even
        return torch.where(ready, uneven, even)

    def weights(self, t: Tensor) -> Tensor:
        r"""El peso $1/(Tp_t)$ de cada ejemplo: con él la pérdida no cambia de media.

        Args:
            t: índices de código (B,), donde estén las tablas.

        Returns:
            Pesos (B,).
        """
        return 1 / (len(self.counts) * self.probabilities()[t])

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Apunta las pérdidas de un lote, sin sus pesos.

        Args:
            t: índices de código (B,).
            losses: la pérdida de cada ejemplo, (B,).

        Raises:
            ValueError: si no hay una pérdida por índice.
        """
        if t.shape != losses.shape:
            raise ValueError(
                f"Han llegado {tuple(t.shape)} índices y {tuple(losses.shape)} "
                "pérdidas: hace falta una por índice."
            )
        self._go_to(t.device)
        timesteps, history = self.losses.shape
        # Un t puede salir varias veces en un lote: cuántas antes y cuántas
        # después de cada una.
        same = t[:, None] == t[None, :]
        before = same.tril(-1).sum(dim=1)
        after = same.triu(1).sum(dim=1)
        place = t * history + (self.counts[t] + before) % history
        # Las que otras de este lote van a tapar se apuntan en una casilla de
        # más.
        place = torch.where(after < history, place, timesteps * history)
        table = torch.cat([self.losses.flatten(), self.losses.new_zeros(1)])
        table[place] = losses.to(table)
        self.losses = table[:-1].view(timesteps, history)
        self.counts = self.counts.index_add(0, t, torch.ones_like(t))

    def reweight(self, t: Tensor, losses: Tensor) -> Tensor:
        """Las pérdidas de un lote con su peso, y las apunta para los lotes que vengan.

        Args:
            t: índices de código (B,), sacados con `probabilities`.
            losses: la pérdida de cada ejemplo, (B,).

        Returns:
            Pérdidas (B,) cuya media estima lo mismo que con t uniforme.
        """
        self._go_to(t.device)
        weights = self.weights(t)
        self.update(t, losses.detach())
        return losses * weights.to(losses)

    def objective(self, loss: Loss) -> Loss:
        """Una pérdida que apunta lo que ve y lleva los pesos de este muestreo.

        Args:
            loss: la pérdida que se quiere bajar.

        Returns:
            Otra pérdida, para dársela a `training.algorithm1`.
        """

        def reweighted(
            diffusion: Diffusion,
            output: Tensor,
            x_start: Tensor,
            noise: Tensor,
            t: Tensor,
        ) -> Tensor:
            losses = loss(diffusion, output, x_start, noise, t)
            return self.reweight(t, losses)

        return reweighted

    def _go_to(self, device: torch.device) -> None:
        """Lleva las tablas a donde están las pérdidas; fuera de la CPU no hay float64."""
        if self.losses.device != device:
            exact = device.type == "cpu"
            kind = torch.float64 if exact else torch.float32
            self.losses = self.losses.to(kind).to(device)
            self.counts = self.counts.to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """Lo que hay que guardar para seguir exactamente igual."""
        return {"losses": self.losses, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Deja el muestreo como estaba al llamar a `state_dict`.

        Args:
            state: los tensores guardados.

        Raises:
            ValueError: si son de otro número de pasos o de otra historia.
        """
        for name, mine in self.state_dict().items():
            if state[name].shape != mine.shape:
                raise ValueError(
                    f"El muestreo por importancia guardado tiene «{name}» de "
                    f"forma {tuple(state[name].shape)} y este, "
                    f"{tuple(mine.shape)}."
                )
            mine.copy_(state[name])


# --- Cuánto ocupa un conjunto de datos ------------------------------------------------------------


class Likelihood(NamedTuple):
    r"""La cota de un conjunto de datos, en bits por dimensión.

    `per_example` es la cota de cada dato, (N,); `prior` es $L_T$, y `terms`, (T,), la media de
    los demás términos: $L_0$ en el índice 0 y $L_{t-1}$ en los otros. `x_start_errors`, (T,),
    es el error cuadrático medio de $\hat x_0$ visto desde cada $x_t$. Todo en float64.
    """

    per_example: Tensor
    prior: float
    terms: Tensor
    x_start_errors: Tensor

    @property
    def total(self) -> float:
        """La cota media del conjunto."""
        return float(self.per_example.mean())

    @property
    def standard_error(self) -> float:
        """El error típico de `total` por haber visto solo estos datos; NaN con uno solo."""
        return float(self.per_example.std()) / math.sqrt(len(self.per_example))


def bits_per_dimension(
    model: Model,
    diffusion: Diffusion,
    x: Tensor,
    *,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int = 128,
    condition: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
    levels: int | None = 256,
) -> Likelihood:
    r"""Los bits por dimensión de unos datos: $L_T + \sum_{t>1} L_{t-1} + L_0$, por lotes.

    Se evalúan los $T$ términos de cada dato, con un ruido distinto en cada uno. Ese ruido
    depende solo de la semilla y del número del dato, no de cómo se repartan en lotes.

    Args:
        model: la red, ya en `device` y en modo de evaluación.
        diffusion: el proceso; si es más corto (`Diffusion.respaced`), la cota es la de ese
            recorrido.
        x: los datos, (N, …), en $[-1, 1]$.
        indices: el número de cada dato; `None`, de 0 a N - 1.
        seed: la semilla del ruido.
        batch_size: cuántos datos se evalúan a la vez.
        condition: tensores (N, …) que la red recibe por su nombre.
        device: dónde se calcula.
        progress: si se enseña una barra de progreso.
        levels: cuántos valores distintos toman los datos (`Dataset.levels`), o `None` si son
            continuos: entonces son bits de una densidad y pueden ser negativos.

    Returns:
        La cota de cada dato y la media de cada término.

    Raises:
        ValueError: si no hay datos, o una condición no tiene una fila por dato.
    """
    if len(x) == 0 or batch_size < 1:
        raise ValueError(
            f"Hay {len(x)} datos y se evalúan de {batch_size} en {batch_size}: "
            "los dos números deben ser al menos 1."
        )
    for name, value in (condition or {}).items():
        if len(value) != len(x):
            raise ValueError(
                f"La condición «{name}» tiene {len(value)} filas y hay "
                f"{len(x)} datos: hace falta una por dato."
            )
    totals, prior = [], 0.0
    terms = torch.zeros(len(diffusion.schedule), dtype=torch.float64)
    errors = torch.zeros_like(terms)
    numbers = range(len(x)) if indices is None else indices
    starts = range(0, len(x), batch_size)
    for start in tqdm(
        starts, desc="Bits por dimensión", unit="lote", disable=not progress
    ):
        x_start = x[start : start + batch_size].to(device)
        rows = slice(start, start + len(x_start))
        noises = sampling_noise(seed, numbers[rows], x.shape[1:], device)
        bound = variational_bound(
            model,
            diffusion,
            x_start,
            lambda index, noises=noises, like=x_start: next(noises).to(like),  # type: ignore[misc]
            levels=levels,
            condition={
                name: value[rows].to(device)
                for name, value in (condition or {}).items()
            },
        )
        totals.append(bound.total.cpu().double())
        prior += float(bound.prior.cpu().double().sum()) / len(x)
        terms += bound.terms.cpu().double().sum(dim=0) / len(x)
        errors += bound.x_start_errors.cpu().double().sum(dim=0) / len(x)
    return Likelihood(torch.cat(totals), prior, terms, errors)


class RateDistortion(NamedTuple):
    r"""Tasa y distorsión en cada $x_t$, de forma (T,): el índice 0 es $x_1$.

    `rate` son los bits por dimensión que cuesta conocer $x_t$; `distortion`, el error
    (RMSE) de $\hat x_0$ visto desde ahí.
    """

    rate: Tensor
    distortion: Tensor


def rate_distortion(
    likelihood: Likelihood, *, data_range: float = 255.0
) -> RateDistortion:
    r"""La curva de tasa y distorsión de una generación (Ho et al. 2020, figura 5 y tabla 4).

    $$\text{tasa}_t = L_T + \sum_{s > t} L_{s-1}, \qquad
    \text{distorsión}_t = \sqrt{\mathbb{E}\,\tfrac{1}{D}\lVert x_0 - \hat x_0(x_t)\rVert^2}$$

    Args:
        likelihood: lo que ha medido `bits_per_dimension`.
        data_range: cuánto mide el intervalo $[-1, 1]$ en las unidades de la distorsión: 255
            la da en niveles de una imagen de 8 bits; 2, en las de los datos.

    Returns:
        Las dos curvas, float64 (T,).
    """
    later = likelihood.terms.flip(0).cumsum(0).flip(0) - likelihood.terms
    return RateDistortion(
        likelihood.prior + later,
        likelihood.x_start_errors.sqrt() * data_range / 2,
    )
