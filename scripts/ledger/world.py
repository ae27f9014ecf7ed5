r"""Los mundos: números al azar que cumplen las hipótesis del libro.

Un mundo es un schedule, un paso $t$, unos datos (una mezcla de normales) y una tirada de la
cadena entera, $x_0, x_1, \dots, x_T$. La cadena se construye solo con `q_step`, el paso del
paquete: de él se leen sus dos coeficientes, y con ellos todas las variables son combinaciones
lineales de $x_0$ y de ruidos independientes. Así, medias, varianzas y densidades condicionadas son
álgebra de Gauss (`Law`), sin usar ninguna fórmula de las que se quieren probar.

Los valores tienen forma (…, D, B): D píxeles y B tiradas; los nodos de las cuadraturas van delante.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpm_lit.backward import p_mean_variance
from ddpm_lit.continuous import EveryBeta
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_step
from ddpm_lit.scheduler import Schedule, make_schedule

Array = NDArray[Any]
Variable = tuple[str, int]
CLASS: Variable = ("c", 0)
OTHER: Variable = ("c'", 0)
"""La clase por la que corre una suma mientras `CLASS` se queda quieta."""
CLASSES = (CLASS, OTHER)


def affine(function: Callable[..., Tensor], inputs: int) -> tuple[float, ...]:
    """Los coeficientes de una función afín del paquete, y su término independiente.

    Se evalúa en una base, (inputs + 1, 1) cada argumento.
    """
    basis = torch.eye(inputs, dtype=torch.float64)
    columns = torch.cat([basis, torch.zeros(1, inputs, dtype=torch.float64)]).T
    values = function(*(column[:, None] for column in columns)).flatten()
    return (*(values[:-1] - values[-1]).tolist(), values[-1].item())


class Law:
    """Una mezcla de normales en unas variables básicas, y combinaciones lineales de ellas."""

    def __init__(
        self,
        weights: Sequence[float],
        means: Array,
        covariances: Array,
        vectors: Mapping[Variable, tuple[Array, float]],
    ) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances
        self.vectors = dict(vectors)

    def _normal(self, component: int, names: Sequence[Variable]) -> tuple[Array, Array]:
        if not names:
            return np.zeros(0), np.zeros((0, 0))
        rows = np.array([self.vectors[name][0] for name in names])
        shifts = np.array([self.vectors[name][1] for name in names])
        covariance = self.covariances[component]
        return rows @ self.means[component] + shifts, rows @ covariance @ rows.T

    def _joint(self, values: Mapping[Variable, Any]) -> list[Any]:
        """De cada componente, su peso por la densidad de los valores."""
        names = [name for name in values if name not in CLASSES]
        joint = []
        for k, weight in enumerate(self.weights):
            density: Any = weight
            if names:
                mean, covariance = self._normal(k, names)
                inverse = np.linalg.pinv(covariance)
                gaps = [values[name] - m for name, m in zip(names, mean, strict=True)]
                exponent = sum(
                    inverse[i, j] * gaps[i] * gaps[j]
                    for i in range(len(names))
                    for j in range(len(names))
                )
                scale = np.linalg.det(2 * np.pi * covariance) if names else 1.0
                density = weight * np.exp(-exponent / 2) / math.sqrt(abs(scale) or 1.0)
            for label in CLASSES:
                if label in values:
                    density = density * (np.real(values[label]) == k)
            joint.append(density)
        return joint

    def density(self, values: Mapping[Variable, Any], given: Mapping[Variable, Any]) -> Any:
        """La densidad de unas variables sabiendo otras, con los píxeles independientes."""
        over, under = sum(self._joint({**values, **given})), sum(self._joint(given))
        return np.prod(np.atleast_2d(over / under), axis=-2, keepdims=True)

    def nodes(
        self, names: Sequence[Variable], given: Mapping[Variable, Any]
    ) -> tuple[Any, dict[Variable, Any]]:
        """Los nodos y los pesos con que se integran unas variables sabiendo otras."""
        joint = self._joint(given)
        total = sum(joint)
        wanted = [name for name in names if name != CLASS]
        known = [name for name in given if name != CLASS]
        weights: list[Any] = []
        values: dict[Variable, list[Any]] = {name: [] for name in names}
        for k, share in enumerate(joint):
            n = len(wanted)
            mean, covariance = self._normal(k, [*wanted, *known])
            gain = covariance[:n, n:] @ np.linalg.pinv(covariance[n:, n:], rcond=1e-12)
            rest = covariance[:n, :n] - gain @ covariance[n:, :n]
            sizes, axes = np.linalg.eigh(rest)
            kept = sizes > 1e-12 * max(1e-300, float(np.trace(covariance[:n, :n])))
            spread = axes[:, kept] * np.sqrt(sizes[kept])
            points, mass = quadrature(int(kept.sum()))
            shape = (len(mass), *[1] * max(2, np.ndim(total)))
            weights.append(mass.reshape(shape) * (share / total))
            for i, name in enumerate(wanted):
                centre = mean[i] + sum(
                    gain[i, j] * (given[other] - mean[n + j]) for j, other in enumerate(known)
                )
                values[name].append(centre + (points @ spread[i]).reshape(shape))
            if CLASS in values:
                values[CLASS].append(np.full(shape, k))
        sizes_ = [w.shape for w in weights]
        common = np.broadcast_shapes(*(s[1:] for s in sizes_))
        stack = {
            name: np.concatenate(
                [
                    np.broadcast_to(v, (len(w), *np.broadcast_shapes(common, v.shape[1:])))
                    for v, w in zip(found, weights, strict=True)
                ]
            )
            for name, found in values.items()
        }
        spread_weights = [np.broadcast_to(w, (len(w), *common)) for w in weights]
        return np.concatenate(spread_weights), stack


def quadrature(dimensions: int) -> tuple[Array, Array]:
    """Puntos (N, dimensions) y pesos para la normal estándar; la regla del trapecio converge sola.

    Raises:
        ValueError: si son más de tres dimensiones.
    """
    if dimensions == 0:
        return np.zeros((1, 0)), np.ones(1)
    if dimensions > 4:
        raise ValueError(f"Una integral en {dimensions} dimensiones es demasiado.")
    if dimensions >= 3:
        line, mass = np.polynomial.hermite_e.hermegauss({3: 12, 4: 7}[dimensions])
    else:
        line = np.arange(-9, 9.01, {1: 0.12, 2: 0.45}[dimensions])
        mass = np.exp(-(line**2) / 2)
    mass = mass / mass.sum()
    grid = np.meshgrid(*[line] * dimensions, indexing="ij")
    weights = np.meshgrid(*[mass] * dimensions, indexing="ij")
    return np.stack([g.ravel() for g in grid], 1), np.prod(weights, axis=0).ravel()


UNIT = ((1.0, 0.0, 1.0),)
MIXTURE = ((0.35, -0.9, 0.3), (0.65, 0.7, 0.5))
ONE = ((1.0, 0.4, 0.6),)


@dataclass(frozen=True)
class Setting:
    """Cómo es un mundo: el schedule, el paso, los datos (peso, media, varianza) y el tamaño.

    Con `exact`, y los datos `UNIT`, la red y la varianza son las perfectas: p_θ es q.
    """

    schedule: str | tuple[float, ...] = (0.1, 0.25, 0.3, 0.2, 0.4)
    T: int = 5
    t: int = 3
    data: tuple[tuple[float, float, float], ...] = MIXTURE
    pixels: int = 1
    seed: int = 0
    options: tuple[tuple[str, Any], ...] = ()
    exact: bool = False


class World:
    """Un mundo: sus números, los mismos para la misma configuración."""

    draws = 6

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.T, self.t = setting.T, setting.t
        self.schedule = (
            make_schedule(setting.schedule, setting.T, **dict(setting.options))
            if isinstance(setting.schedule, str)
            else Schedule.from_betas(list(setting.schedule))
        )
        variance = EveryBeta() if setting.exact else "fixed_large"
        self.diffusion = Diffusion(self.schedule, "epsilon", variance, clip=False)
        self.component = len(setting.data) - 1
        self.cache: dict[Any, Any] = {}

    def random(self, name: str) -> np.random.Generator:
        """El generador de un nombre: no depende de qué se haya pedido antes."""
        return np.random.default_rng([self.setting.seed, crc32(name.encode())])

    def normal(self, name: str, *leading: int) -> Array:
        """Números normales, (…, D, B)."""
        return self.random(name).normal(size=(*leading, self.setting.pixels, self.draws))

    def number(self, name: str) -> float:
        """Un número positivo cualquiera."""
        return float(self.random(name).uniform(0.3, 1.7))

    def steps(self, t: int, size: int = 1) -> Tensor:
        """El índice de código del paso t, (size,)."""
        if not 1 <= t <= self.T:
            raise IndexError(f"No hay ningún paso {t}.")
        return torch.full((size,), t - 1)

    # --- La ley de la cadena ---

    def step(self, t: int) -> tuple[float, float]:
        """Los coeficientes de x_{t-1} y del ruido en `q_step`."""

        def step(x: Tensor, z: Tensor) -> Tensor:
            return q_step(self.schedule, x, self.steps(t, len(x)), z)

        signal, noise, _ = affine(step, 2)
        return signal, noise

    @cached_property
    def law(self) -> Law:
        """La ley conjunta de x_0, …, x_T y los ruidos, según `q_step`."""
        size = self.T + 1 + len(EXTRA)
        basis = np.eye(size)
        vectors: dict[Variable, tuple[Array, float]] = {("x", 0): (basis[0], 0.0)}
        for t in range(1, self.T + 1):
            signal, noise = self.step(t)
            vectors["z", t] = basis[t], 0.0
            vectors["x", t] = signal * vectors["x", t - 1][0] + noise * basis[t], 0.0
            noises = vectors["x", t][0] * (np.arange(size) > 0)
            vectors["ε", t] = noises / np.linalg.norm(noises), 0.0
        for place, name in enumerate(EXTRA):
            vectors[name] = basis[self.T + 1 + place], 0.0
        data = self.setting.data
        means = np.zeros((len(data), size))
        covariances = np.array([np.eye(size)] * len(data))
        means[:, 0] = [m for _, m, _ in data]
        covariances[:, 0, 0] = [v for _, _, v in data]
        return Law([w for w, _, _ in data], means, covariances, vectors)

    def combination(
        self, name: Variable, parts: Mapping[Variable, float], shift: float = 0.0
    ) -> Variable:
        """Añade a la ley una variable que es combinación de otras."""
        vectors = self.law.vectors
        terms = [scale * vectors[part][0] for part, scale in parts.items()]
        vectors[name] = np.sum(terms, axis=0), shift
        return name

    @cached_property
    def base(self) -> Array:
        """Una tirada de las variables básicas, (n, D, B)."""
        _, mean, variance = self.setting.data[self.component]
        base = self.normal("base", self.law.means.shape[1])
        base[0] = mean + math.sqrt(variance) * base[0]
        return base

    def sample(self, name: Variable) -> Any:
        """El valor de una variable en la tirada de este mundo."""
        if name in CLASSES:
            return self.component
        vector, shift = self.law.vectors[name]
        return np.tensordot(vector, self.base, 1) + shift

    # --- La red y el proceso de vuelta ---

    def network(self, x: Any, t: Any, label: Any = None) -> Any:
        """Una red afín cualquiera, ε_θ(x, t) o ε_θ(x, t, c), con los coeficientes de cada paso."""
        if self.setting.exact:
            return self.schedule.sqrt_one_minus_alphas_cumprod[int(np.real(t)) - 1].item() * x
        slope, shift = self.random("red").uniform(0.2, 0.8, size=(2, self.T + 2))[
            :, int(np.real(t))
        ]
        known = 0.0 if label is None else 1 + np.real(label)
        return (slope + 0.1 * known) * x + shift - 0.3 * known

    @cached_property
    def reverse(self) -> Law:
        """La ley de la cadena de vuelta, p_θ, según `p_mean_variance`."""
        size = self.T + 1
        basis = np.eye(size)
        vectors: dict[Variable, tuple[Array, float]] = {("x", self.T): (basis[self.T], 0.0)}
        for t in range(self.T, 0, -1):
            slope, shift = self.reverse_mean(t)
            vector, constant = vectors["x", t]
            noise = math.sqrt(self.reverse_variance(t))
            vectors["x", t - 1] = slope * vector + noise * basis[t - 1], slope * constant + shift
        return Law([1.0], np.zeros((1, size)), np.eye(size)[None], vectors)

    def reverse_mean(self, t: int) -> tuple[float, float]:
        """La media del paso de vuelta, pendiente y término independiente."""

        def mean(x: Tensor) -> Tensor:
            output = torch.as_tensor(self.network(x.numpy(), t))
            return p_mean_variance(self.diffusion, output, x, self.steps(t, len(x))).mean

        slope, shift = affine(mean, 1)
        return slope, shift

    def reverse_variance(self, t: int) -> float:
        """La varianza del paso de vuelta, σ_t²; en t = 1, la que usa la cota."""
        like = torch.zeros(1, 1, dtype=torch.float64)
        _, log_variance = self.diffusion.variance(self.schedule, self.steps(t), like)
        return log_variance.exp().item()


EXTRA: tuple[Variable, ...] = (("z", 0), ("z'", 0), ("ε''", 0))
SETTINGS = (
    Setting(),
    Setting("cosine", T=6, t=2, data=ONE, seed=1),
    Setting((0.2, 0.15, 0.35, 0.3), T=4, t=3, data=UNIT, seed=2),
)
