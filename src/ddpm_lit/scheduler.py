r"""Scheduler: cuánto ruido se añade en cada paso.

Un *schedule* es la tabla de varianzas $\beta_1, \dots, \beta_T$ del proceso que
destruye los datos, y todo lo que se deduce de ella. Este es el único lugar donde
se fija la correspondencia entre el código y los artículos:

**el índice de código $0$ es el $t = 1$ del artículo**, y el índice $T - 1$ es su
$t = T$. El $t = 0$ del artículo (los datos limpios) no tiene índice: cuando una
fórmula pide $\bar\alpha_{t-1}$ en el primer paso, la tabla
`alphas_cumprod_prev` guarda ahí un $1$.

Las tablas se calculan en float64 y se entregan ya convertidas al tipo y al
dispositivo de los datos. No son parámetros ni *buffers* de ninguna red: ni la EMA
ni los checkpoints las tocan.

Fuentes: Ho et al. 2020 (arXiv:2006.11239), Nichol y Dhariwal 2021
(arXiv:2102.09672), Lin et al. 2023 (arXiv:2305.08891).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.tables import row

LONGEST = 1_000_000
"""El T mayor que se admite; un proceso de verdad no llega."""

# --- Las tablas de betas ----------------------------------------------------------------


def linear_betas(
    timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    r"""Schedule lineal de Ho et al. (2020, sección 4), reescalado si $T \neq 1000$.

    $$\beta_t = \frac{1000}{T}\left(\beta_{\min} + \frac{t-1}{T-1}
    (\beta_{\max} - \beta_{\min})\right)$$

    El factor $1000/T$ mantiene $\bar\alpha_T$ casi igual sea cual sea $T$: sin él,
    con pocos pasos quedaría señal en $x_T$.

    Args:
        timesteps: número de pasos $T$.
        beta_start: $\beta_{\min}$, la primera varianza para $T = 1000$.
        beta_end: $\beta_{\max}$, la última varianza para $T = 1000$.

    Returns:
        Betas en float64, de forma (T,).

    Raises:
        ValueError: si alguna beta reescalada llega a 1 (con los valores del
            artículo, cuando $T \le 20$).
    """
    scale = _rescaling("lineal", timesteps, max(beta_start, beta_end))
    return torch.linspace(
        scale * beta_start, scale * beta_end, timesteps, dtype=torch.float64
    )


def scaled_linear_betas(
    timesteps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
) -> Tensor:
    r"""Lineal en $\sqrt{\beta_t}$, el schedule de los modelos de difusión latente.

    $$\beta_t = \left(\sqrt{\beta_{\min}} + \frac{t-1}{T-1}
    \left(\sqrt{\beta_{\max}} - \sqrt{\beta_{\min}}\right)\right)^2$$

    No lleva a señal nula: con los valores por defecto $\sqrt{\bar\alpha_T} = 0{,}068$
    (véase `rescale_zero_terminal_snr`).

    Args:
        timesteps: número de pasos $T$.
        beta_start: primera varianza.
        beta_end: última varianza.

    Returns:
        Betas en float64, de forma (T,).

    Raises:
        ValueError: si los extremos no están entre 0 y 1.
    """
    _check_timesteps(timesteps)
    if not (0 < beta_start < 1 and 0 < beta_end < 1):
        raise ValueError(
            f"Han llegado beta_start = {beta_start} y beta_end = {beta_end}, y "
            "son varianzas: deben estar entre 0 y 1."
        )
    roots = torch.linspace(
        math.sqrt(beta_start),
        math.sqrt(beta_end),
        timesteps,
        dtype=torch.float64,
    )
    return roots**2


def quadratic_betas(
    timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    r"""Schedule cuadrático que Ho et al. (2020) compararon con el lineal.

    Tiene la misma fórmula que `scaled_linear_betas`, con los extremos del
    artículo de DDPM y el mismo reescalado $1000/T$ que `linear_betas`.

    Args:
        timesteps: número de pasos $T$.
        beta_start: primera varianza para $T = 1000$.
        beta_end: última varianza para $T = 1000$.

    Returns:
        Betas en float64, de forma (T,).

    Raises:
        ValueError: si alguna beta reescalada llega a 1, como en `linear_betas`.
    """
    scale = _rescaling("cuadrático", timesteps, max(beta_start, beta_end))
    return scaled_linear_betas(timesteps, scale * beta_start, scale * beta_end)


def constant_betas(timesteps: int = 1000, beta: float = 0.01) -> Tensor:
    r"""Schedule constante, $\beta_t = \beta$, la tercera opción que probaron Ho et al. (2020).

    Args:
        timesteps: número de pasos $T$.
        beta: varianza para $T = 1000$; se multiplica por $1000/T$.

    Returns:
        Betas en float64, de forma (T,).

    Raises:
        ValueError: si la beta reescalada llega a 1, como en `linear_betas`.
    """
    scale = _rescaling("constante", timesteps, beta)
    return torch.full((timesteps,), scale * beta, dtype=torch.float64)


def cosine_betas(
    timesteps: int = 1000, s: float = 0.008, max_beta: float = 0.999
) -> Tensor:
    r"""Schedule coseno de Nichol y Dhariwal (2021, ec. 17).

    $$\bar\alpha_t = \frac{f(t)}{f(0)}, \qquad
    f(t) = \cos^2\left(\frac{t/T + s}{1 + s}\cdot\frac{\pi}{2}\right), \qquad
    \beta_t = \min\left(1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}},\ \beta_{\max}\right)$$

    Args:
        timesteps: número de pasos $T$.
        s: desplazamiento que impide que $\beta_1$ sea demasiado pequeña.
        max_beta: recorte de las últimas betas, que si no llegarían a 1.

    Returns:
        Betas en float64, de forma (T,).
    """
    _check_timesteps(timesteps)
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alphas_cumprod = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=max_beta)


def sigmoid_betas(
    timesteps: int = 1000,
    start: float = -3.0,
    end: float = 3.0,
    tau: float = 1.0,
    max_beta: float = 0.999,
) -> Tensor:
    r"""Schedule sigmoide de Jabri et al. (2022, arXiv:2212.11972), definido por $\bar\alpha_t$.

    $$\bar\alpha_t = \frac{\sigma(e/\tau) - \sigma\big((s + (e - s)\,t/T)/\tau\big)}
    {\sigma(e/\tau) - \sigma(s/\tau)}$$

    donde $\sigma$ es la función logística, $s$ es `start` y $e$ es `end`.

    Args:
        timesteps: número de pasos $T$.
        start: extremo izquierdo de la sigmoide.
        end: extremo derecho, mayor que `start`.
        tau: temperatura; cuanto menor, más brusca es la caída.
        max_beta: recorte de las últimas betas.

    Returns:
        Betas en float64, de forma (T,).

    Raises:
        ValueError: si `end` no es mayor que `start` o `tau` no es positiva.
    """
    _check_timesteps(timesteps)
    if end <= start or tau <= 0:
        raise ValueError(
            "El schedule sigmoide necesita start < end y tau > 0; han llegado "
            f"start = {start}, end = {end} y tau = {tau}."
        )
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    curve = torch.sigmoid((start + (end - start) * u) / tau)
    alphas_cumprod = (curve[-1] - curve) / (curve[-1] - curve[0])
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=max_beta)


BETAS: dict[str, Callable[..., Tensor]] = {
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "quadratic": quadratic_betas,
    "constant": constant_betas,
    "cosine": cosine_betas,
    "sigmoid": sigmoid_betas,
}
"""Los schedules que tienen nombre: el nombre y la función que calcula sus betas."""


# --- El schedule y lo que se deduce de él -------------------------------------------------


@dataclass(frozen=True, eq=False)
class Schedule:
    r"""Las betas de un proceso de difusión y todas las tablas que se deducen de ellas.

    Se construye con `make_schedule`, `Schedule.from_betas` o
    `Schedule.from_alphas_cumprod`. Todas las tablas son tensores (T,) en float64; el
    índice $0$ es el $t = 1$ del artículo. `schedule.at(nombre, t, x)` entrega las
    entradas de un lote, listas para multiplicar.

    Args:
        betas: varianzas $\beta_t \in (0, 1]$, de forma (T,). Solo la última puede
            valer 1 (señal nula al final).
        timesteps: el índice original, int64 de forma (T,), que ve la red en cada
            paso. Es `arange(T)` salvo en un schedule que ha pasado por `respace`.

    Raises:
        ValueError: si las betas no son una tabla de números entre 0 y 1, o los
            índices originales no son crecientes.
    """

    betas: Tensor
    timesteps: Tensor
    _tables: dict[tuple[str, torch.dtype, torch.device], Tensor] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        _check_betas(self.betas)
        if self.timesteps.shape != self.betas.shape:
            raise ValueError(
                f"Hay {tuple(self.betas.shape)} betas y "
                f"{tuple(self.timesteps.shape)} índices originales: debe haber "
                "uno por beta."
            )
        if not bool((self.timesteps.diff() > 0).all()):
            raise ValueError(
                "Los índices originales deben ser estrictamente crecientes y "
                f"han llegado {self.timesteps.tolist()[:12]}."
            )
        object.__setattr__(self, "betas", self.betas.detach().cpu().double())
        object.__setattr__(
            self, "timesteps", self.timesteps.detach().to("cpu", torch.int64)
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"Un Schedule no tiene «{name}». Si lo has dado donde se espera un "
            "proceso entero, envuélvelo: Diffusion(schedule)."
        )

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float]) -> "Schedule":
        r"""Crea un schedule a partir de cualquier tabla de $\beta_t$ de forma (T,)."""
        table = torch.as_tensor(betas, dtype=torch.float64)
        return cls(table, torch.arange(table.numel()))

    @classmethod
    def from_alphas_cumprod(
        cls, alphas_cumprod: Tensor | Sequence[float]
    ) -> "Schedule":
        r"""Crea un schedule a partir de $\bar\alpha_1, \dots, \bar\alpha_T$ (sin $\bar\alpha_0$).

        $$\beta_t = 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}}, \qquad \bar\alpha_0 = 1$$

        Args:
            alphas_cumprod: tabla estrictamente decreciente de forma (T,), menor que 1;
                solo el último valor puede ser 0.

        Returns:
            El schedule con esas $\bar\alpha_t$.

        Raises:
            ValueError: si la tabla no decrece o empieza en 1.
        """
        table = torch.as_tensor(alphas_cumprod, dtype=torch.float64)
        previous = torch.cat(
            [torch.ones(1, dtype=torch.float64), table.flatten()[:-1]]
        )
        if (
            table.ndim != 1
            or not bool((table < previous).all())
            or not bool((table >= 0).all())
        ):
            raise ValueError(
                "La tabla de ᾱ debe ser de una dimensión, estrictamente "
                "decreciente, menor que 1 y no negativa. Si la tuya empieza "
                "por ᾱ₀ = 1, quita ese primer valor."
            )
        return cls.from_betas(1 - table / previous)

    def __len__(self) -> int:
        return self.betas.numel()

    @property
    def zero_terminal_snr(self) -> bool:
        r"""Si en el último paso no queda señal: $\bar\alpha_T = 0$."""
        return bool(self.betas[-1] == 1)

    @cached_property
    def alphas(self) -> Tensor:
        r"""$\alpha_t = 1 - \beta_t$."""
        return 1 - self.betas

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        r"""$\bar\alpha_t = \prod_{s=1}^{t} \alpha_s$."""
        return torch.cumprod(self.alphas, dim=0)

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        r"""$\bar\alpha_{t-1}$, con $\bar\alpha_0 = 1$ en el índice 0."""
        return torch.cat(
            [torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]]
        )

    @cached_property
    def sqrt_alphas(self) -> Tensor:
        r"""$\sqrt{\alpha_t}$, lo que un paso conserva de la señal."""
        return self.alphas.sqrt()

    @cached_property
    def sqrt_betas(self) -> Tensor:
        r"""$\sqrt{\beta_t}$, la desviación típica del ruido de un paso."""
        return self.betas.sqrt()

    @cached_property
    def sqrt_alphas_cumprod(self) -> Tensor:
        r"""$\sqrt{\bar\alpha_t}$, lo que queda de señal."""
        return self.alphas_cumprod.sqrt()

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> Tensor:
        r"""$\sqrt{1 - \bar\alpha_t}$, la desviación típica del ruido acumulado."""
        return (1 - self.alphas_cumprod).sqrt()

    @cached_property
    def sqrt_recip_alphas_cumprod(self) -> Tensor:
        r"""$1/\sqrt{\bar\alpha_t}$; infinito donde no queda señal."""
        return self.alphas_cumprod.rsqrt()

    @cached_property
    def sqrt_recipm1_alphas_cumprod(self) -> Tensor:
        r"""$\sqrt{1/\bar\alpha_t - 1}$; infinito donde no queda señal."""
        return (1 / self.alphas_cumprod - 1).sqrt()

    @cached_property
    def posterior_variance(self) -> Tensor:
        r"""$\tilde\beta_t = \beta_t(1 - \bar\alpha_{t-1})/(1 - \bar\alpha_t)$ (Ho et al., ec. 7).

        Vale 0 en el primer paso: si se conoce $x_0$, no queda duda de $x_0$.
        """
        return (
            (1 - self.alphas_cumprod_prev)
            / (1 - self.alphas_cumprod)
            * self.betas
        )

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        r"""$\log\tilde\beta_t$, con $\log\tilde\beta_2$ donde iría $\log\tilde\beta_1 = -\infty$.

        Es la elección del código de Ho et al. (2020), que hereda el de Nichol y Dhariwal (2021).
        En el primer paso no se añade ruido, así que ninguna muestra depende de ella; sí
        depende el término $L_0$ de la cota, que necesita una varianza positiva.
        """
        if len(self) == 1:
            return self.betas.log()
        return torch.cat(
            [self.posterior_variance[1:2], self.posterior_variance[1:]]
        ).log()

    @cached_property
    def log_betas(self) -> Tensor:
        r"""$\log\beta_t$."""
        return self.betas.log()

    @cached_property
    def log_betas_clipped(self) -> Tensor:
        r"""$\log\beta_t$, con $\log\tilde\beta_2$ en el índice 0, como en la tabla anterior."""
        return torch.cat(
            [self.posterior_log_variance_clipped[:1], self.log_betas[1:]]
        )

    @cached_property
    def posterior_mean_coef1(self) -> Tensor:
        r"""Lo que $x_0$ pesa en $\tilde\mu_t$ (Ho et al., ec. 7).

        $$\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}$$
        """
        return (
            self.alphas_cumprod_prev.sqrt()
            * self.betas
            / (1 - self.alphas_cumprod)
        )

    @cached_property
    def posterior_mean_coef2(self) -> Tensor:
        r"""Lo que $x_t$ pesa en $\tilde\mu_t$ (Ho et al., ec. 7).

        $$\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}$$
        """
        return (
            self.sqrt_alphas
            * (1 - self.alphas_cumprod_prev)
            / (1 - self.alphas_cumprod)
        )

    @cached_property
    def snr(self) -> Tensor:
        r"""Relación señal-ruido, $\mathrm{SNR}(t) = \bar\alpha_t / (1 - \bar\alpha_t)$."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @cached_property
    def log_snr(self) -> Tensor:
        r"""$\log\mathrm{SNR}(t)$ (logaritmo natural); $-\infty$ donde no queda señal."""
        return self.snr.log()

    def at(self, name: str, t: Tensor, like: Tensor) -> Tensor:
        """Entradas `t` de la tabla `name`, con forma (B, 1, …, 1) para operar con `like`.

        Args:
            name: nombre de una tabla del schedule, p. ej. `"sqrt_alphas_cumprod"`.
            t: índices de código int64, de forma (B,), entre 0 y T - 1.
            like: tensor (B, …) que da el tipo, el dispositivo y las dimensiones.

        Returns:
            Tensor (B, 1, …, 1) del tipo y el dispositivo de `like`.

        Raises:
            TypeError: si `t` no es un tensor de enteros o `like` no es de coma flotante.
            ValueError: si `t` no es de forma (B,) o, en la CPU, se sale de la tabla (en
                una GPU mirarlo obligaría a esperarla).
        """
        if not like.is_floating_point():
            raise TypeError(
                "Los datos deben ser de coma flotante, con valores en [-1, "
                f"1], y son {like.dtype}."
            )
        if t.dtype not in (torch.int64, torch.int32):
            raise TypeError(
                "t debe ser un tensor de índices enteros (int64) y ha llegado "
                f"{t.dtype}. Recuerda que el índice 0 es el t = 1 del artículo."
            )
        if t.ndim != 1:
            raise ValueError(
                "t debe tener forma (B,), un índice por ejemplo, y ha llegado "
                f"{tuple(t.shape)}."
            )
        if t.device.type == "cpu" and bool(((t < 0) | (t >= len(self))).any()):
            raise ValueError(
                f"t debe estar entre 0 y {len(self) - 1} (el índice 0 es el t "
                f"= 1 del artículo) y han llegado valores entre {int(t.min())} "
                f"y {int(t.max())}."
            )
        key = (name, like.dtype, like.device)
        if key not in self._tables:
            # Primero el tipo: no todos los dispositivos tienen float64.
            table: Tensor = getattr(self, name)
            self._tables[key] = table.to(like.dtype).to(like.device)
        return self._tables[key][t.to(like.device)].reshape(
            -1, *[1] * (like.ndim - 1)
        )

    def original(self, t: Tensor) -> Tensor:
        """Los índices que ve la red: los del schedule con que se entrenó, int64 (B,)."""
        key = ("timesteps", torch.int64, t.device)
        if key not in self._tables:
            self._tables[key] = self.timesteps.to(t.device)
        return self._tables[key][t]

    def descending(
        self, batch_size: int, device: torch.device | str
    ) -> Iterator[Tensor]:
        """Los índices T - 1, …, 1, 0, cada uno repetido para un lote: tensores (B,)."""
        for index in reversed(range(len(self))):
            yield torch.full(
                (batch_size,), index, dtype=torch.int64, device=device
            )


def make_schedule(
    name: str = "linear", timesteps: int = 1000, **options: Any
) -> Schedule:
    """Crea un schedule por su nombre.

    Args:
        name: `"linear"`, `"scaled_linear"`, `"quadratic"`, `"constant"`, `"cosine"` o
            `"sigmoid"`.
        timesteps: número de pasos T.
        **options: los demás argumentos de la función de betas; con
            `zero_terminal_snr=True` el schedule se reescala después.

    Returns:
        El schedule, con T = `timesteps`.

    Raises:
        ValueError: si el nombre o una opción no existen, o alguna beta sale de (0, 1).
    """
    function = row(BETAS, name, "No hay ningún schedule")
    zero_terminal_snr = options.pop("zero_terminal_snr", False)
    try:
        betas = function(timesteps, **options)
    except TypeError as error:
        raise ValueError(
            f"El schedule «{name}» no admite las opciones {sorted(options)} "
            f"({error})."
        ) from error
    schedule = Schedule.from_betas(betas)
    return (
        rescale_zero_terminal_snr(schedule) if zero_terminal_snr else schedule
    )


def rescale_zero_terminal_snr(schedule: Schedule) -> Schedule:
    r"""Reescala un schedule para que no quede señal al final (Lin et al. 2023, algoritmo 1).

    $$\sqrt{\bar\alpha'_t} = \left(\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_T}\right)
    \frac{\sqrt{\bar\alpha_1}}{\sqrt{\bar\alpha_1} - \sqrt{\bar\alpha_T}}$$

    El primer valor no cambia y el último pasa a ser 0. Con el resultado no se puede
    predecir $\epsilon$ (en $t = T$ no dice nada de $x_0$): usa `"v"` o `"x_start"`.

    Args:
        schedule: cualquier schedule con T ≥ 2.

    Returns:
        Otro schedule, con $\bar\alpha_T = 0$.

    Raises:
        ValueError: si el schedule tiene un solo paso.
    """
    if len(schedule) == 1:
        raise ValueError(
            "Un schedule de un solo paso no se puede reescalar: su primera ᾱ "
            "debería conservarse y valer 0 a la vez. Usa T ≥ 2."
        )
    roots = schedule.sqrt_alphas_cumprod
    rescaled = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    betas = Schedule.from_alphas_cumprod(rescaled**2).betas
    return Schedule(betas, schedule.timesteps)


# --- Recorrer menos pasos -------------------------------------------------------------------

SPACINGS = ("linspace", "leading", "trailing", "quadratic")


def spaced_indices(
    timesteps: int, steps: int, spacing: str = "linspace"
) -> Tensor:
    r"""Elige `steps` índices de un proceso de `timesteps` pasos.

    - `"linspace"`: repartidos por igual con los dos extremos, redondeados (Nichol y
      Dhariwal 2021).
    - `"leading"`: 0, s, 2s, … con s = T // K; el último queda lejos de T - 1. Es la
      subsucesión lineal de Song et al. (2020); hay código que le suma 1.
    - `"trailing"`: T - 1, T - 1 - T/K, …; siempre incluye T - 1, como pide la señal
      terminal nula (Lin et al. 2023).
    - `"quadratic"`: $\tau_i = \lfloor c\,i^2 \rfloor$, más densa junto a los datos (Song et al.
      2020, apéndice D.2). Aquí $c = (T-1)/(K-1)^2$, para acabar en T - 1 (el código de sus
      autores acaba en 0,8 T, donde aún queda señal), y si el suelo repite un índice se
      toma $i$.

    Args:
        timesteps: T, los pasos del schedule original.
        steps: K, los que se quieren recorrer; 1 ≤ K ≤ T.
        spacing: la forma de repartirlos.

    Returns:
        Índices de código crecientes, int64 de forma (K,).

    Raises:
        ValueError: si K no está entre 1 y T o el reparto no existe.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(
            f"Se han pedido {steps} pasos de un proceso que tiene {timesteps}: "
            f"pide entre 1 y {timesteps}."
        )
    if spacing not in SPACINGS:
        raise ValueError(
            f"No hay ningún reparto «{spacing}». Los que hay: "
            f"{', '.join(SPACINGS)}."
        )
    ks = torch.arange(steps)
    last = timesteps - 1
    if spacing == "leading":
        return ks * (timesteps // steps)
    if spacing == "trailing":
        return (timesteps - ks.double() * (timesteps / steps)).flip(
            0
        ).round().long() - 1
    if steps == 1:
        return torch.tensor([last])
    if spacing == "quadratic":
        return torch.maximum(last * ks**2 // (steps - 1) ** 2, ks)
    return (ks.double() * (last / (steps - 1))).round().long()


def respace(schedule: Schedule, indices: Tensor | Sequence[int]) -> Schedule:
    r"""Un schedule más corto que pasa por una subsucesión (Nichol y Dhariwal 2021, sección 4).

    $$\beta_{S_k} = 1 - \frac{\bar\alpha_{S_k}}{\bar\alpha_{S_{k-1}}}$$

    Las $\bar\alpha$ elegidas se conservan y `timesteps` recuerda los índices originales,
    que son los que la red conoce.

    Args:
        schedule: el schedule con que se entrenó.
        indices: índices de código de `schedule`, estrictamente crecientes, de forma (K,).

    Returns:
        El schedule de K pasos.

    Raises:
        ValueError: si los índices no crecen o se salen del schedule.
    """
    chosen = torch.as_tensor(indices, dtype=torch.int64)
    if chosen.ndim == 0:
        raise ValueError(
            f"Los índices de la subsucesión son {chosen.item()}, un solo "
            "número, y debe ser una lista: para dar tantos pasos, "
            f"spaced_indices({len(schedule)}, {chosen.item()})."
        )
    inside = bool((chosen >= 0).all()) and bool((chosen < len(schedule)).all())
    if (
        chosen.ndim != 1
        or chosen.numel() == 0
        or not inside
        or not bool((chosen.diff() > 0).all())
    ):
        raise ValueError(
            "Los índices de la subsucesión deben ser estrictamente crecientes "
            f"y estar entre 0 y {len(schedule) - 1}; han llegado "
            f"{chosen.tolist()[:12]}."
        )
    betas = Schedule.from_alphas_cumprod(schedule.alphas_cumprod[chosen]).betas
    return Schedule(betas, schedule.timesteps[chosen])


def _rescaling(name: str, timesteps: int, largest_beta: float) -> float:
    _check_timesteps(timesteps)
    scale = 1000 / timesteps
    if scale * largest_beta >= 1:
        raise ValueError(
            f"El schedule {name} reescalado no existe para T = {timesteps}: su "
            f"mayor beta sería {scale * largest_beta:.3g}, y una varianza debe "
            f"ser menor que 1. Usa T ≥ {math.floor(1000 * largest_beta) + 1}, "
            "o el schedule «cosine»."
        )
    return scale


def _check_timesteps(timesteps: int) -> None:
    if not isinstance(timesteps, int) or timesteps < 1:
        raise ValueError(
            f"T debe ser un entero positivo y ha llegado {timesteps!r}."
        )
    if timesteps > LONGEST:
        raise ValueError(
            f"T es {timesteps}, y se admite hasta {LONGEST}: las tablas de un "
            "proceso tan largo no caben en la memoria."
        )


def _check_betas(betas: Tensor) -> None:
    if betas.ndim != 1 or betas.numel() == 0:
        raise ValueError(
            "Las betas deben formar una tabla (T,) con T ≥ 1 y su forma es "
            f"{tuple(betas.shape)}."
        )
    if not bool(((betas > 0) & (betas <= 1)).all()) or bool(
        (betas[:-1] == 1).any()
    ):
        raise ValueError(
            "Cada beta es una varianza y debe cumplir 0 < β < 1 (solo la "
            "última puede ser 1); han llegado valores entre "
            f"{betas.min().item():.4g} y {betas.max().item():.4g}."
        )
