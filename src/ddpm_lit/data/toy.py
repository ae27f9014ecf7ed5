r"""Conjuntos 2-D que se generan al momento: solo NumPy y una semilla.

La escala de cada uno es fija, no depende de los puntos que salgan: con el ruido por defecto,
el cuerpo de la figura queda a más de seis desviaciones típicas del borde de $[-1, 1]$. Las
colas gaussianas no tienen fin, así que con un `noise` mayor los pocos puntos que se salen se
recortan al borde. La mezcla `gaussian_mixture` nunca se recorta: su densidad es la exacta.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lit.data.dataset import Dataset, check_integer

Array = NDArray[np.float64]


class GaussianMixture(NamedTuple):
    r"""Mezcla de gaussianas isótropas, $\sum_k w_k\, \mathcal{N}(\mu_k, \sigma_k^2 I)$.

    Attributes:
        weights: pesos $w_k$, float64 (K,); suman 1.
        means: medias $\mu_k$, float64 (K, 2).
        stds: desviaciones típicas $\sigma_k$, float64 (K,).
    """

    weights: Tensor
    means: Tensor
    stds: Tensor


def gaussian_mixture_parameters() -> GaussianMixture:
    r"""Parámetros exactos del conjunto «gaussian_mixture».

    Con ellos se conoce la densidad de $x_t$ a cualquier nivel de ruido, y por tanto el *score*
    exacto $\nabla \log q(x_t)$: cada componente sigue siendo una gaussiana, de media
    $\sqrt{\bar\alpha_t}\,\mu_k$ y varianza $\bar\alpha_t \sigma_k^2 + 1 - \bar\alpha_t$.

    Returns:
        Pesos, medias y desviaciones típicas de las cuatro componentes. Todas las medias están
        a más de seis desviaciones típicas del borde de $[-1, 1]$.
    """
    return GaussianMixture(
        weights=torch.tensor([0.35, 0.30, 0.20, 0.15], dtype=torch.float64),
        means=torch.tensor(
            [[0.45, 0.35], [-0.45, 0.30], [-0.25, -0.45], [0.40, -0.40]],
            dtype=torch.float64,
        ),
        stds=torch.tensor([0.07, 0.06, 0.08, 0.05], dtype=torch.float64),
    )


def load_gaussian_mixture(n: int = 10_000, seed: int = 0) -> Dataset:
    """Puntos de una mezcla de cuatro gaussianas de parámetros conocidos, sin recortar.

    Args:
        n: número de puntos.
        seed: semilla.

    Returns:
        Puntos (n, 2), con la componente de la que salió cada uno como clase.
    """
    generator = _generator(n, seed)
    weights, means, stds = (
        table.numpy() for table in gaussian_mixture_parameters()
    )
    component = generator.choice(len(weights), size=n, p=weights)
    points = means[component] + stds[
        component, None
    ] * generator.standard_normal((n, 2))
    return _points(
        points, component, tuple(f"componente {k}" for k in range(len(weights)))
    )


def load_swiss_roll(
    n: int = 10_000, seed: int = 0, noise: float = 0.02
) -> Dataset:
    r"""El rollo suizo en el plano: la espiral $r = t$, de una vuelta y media.

    Args:
        n: número de puntos.
        seed: semilla.
        noise: desviación típica del ruido gaussiano que se suma a cada coordenada.

    Returns:
        Puntos (n, 2), sin clases; el final de la espiral queda a distancia 0,85 del centro.
    """
    generator = _generator(n, seed)
    turn = 1.5 * np.pi * (1 + 2 * generator.random(n))
    points = 0.85 / (4.5 * np.pi) * turn[:, None] * _unit(turn)
    return _points(_blur(points, noise, generator))


def load_moons(n: int = 10_000, seed: int = 0, noise: float = 0.03) -> Dataset:
    """Dos medias lunas enlazadas.

    Args:
        n: número de puntos.
        seed: semilla.
        noise: desviación típica del ruido gaussiano que se suma a cada coordenada.

    Returns:
        Puntos (n, 2), con la luna de cada uno como clase.
    """
    generator = _generator(n, seed)
    moon = generator.integers(0, 2, size=n)
    arc = _unit(np.pi * generator.random(n))
    side = np.where(moon == 0, 1.0, -1.0)[:, None]
    points = 0.53 * side * (arc - np.array([0.5, 0.25]))
    return _points(_blur(points, noise, generator), moon, ("arriba", "abajo"))


def load_eight_gaussians(
    n: int = 10_000, seed: int = 0, noise: float = 0.04
) -> Dataset:
    """Ocho gaussianas iguales en los vértices de un octógono de radio 0,7.

    Args:
        n: número de puntos.
        seed: semilla.
        noise: desviación típica de cada gaussiana.

    Returns:
        Puntos (n, 2), con la gaussiana de cada uno como clase.
    """
    generator = _generator(n, seed)
    mode = generator.integers(0, 8, size=n)
    points = 0.7 * _unit(2 * np.pi * mode / 8)
    names = tuple(f"{45 * k}°" for k in range(8))
    return _points(_blur(points, noise, generator), mode, names)


def load_ring(n: int = 10_000, seed: int = 0, noise: float = 0.03) -> Dataset:
    """Un anillo de radio 0,8.

    Args:
        n: número de puntos.
        seed: semilla.
        noise: desviación típica del ruido gaussiano que se suma a cada coordenada.

    Returns:
        Puntos (n, 2), sin clases.
    """
    generator = _generator(n, seed)
    points = 0.8 * _unit(2 * np.pi * generator.random(n))
    return _points(_blur(points, noise, generator))


def load_letters(
    n: int = 10_000, seed: int = 0, noise: float = 0.0, text: str = "DDPM"
) -> Dataset:
    """Puntos repartidos por igual sobre la tinta de un texto corto.

    Se dibuja con la letra que trae Pillow, a gran tamaño, y se escala para que el lado mayor
    vaya de -0,9 a 0,9 sin deformarlo.

    Args:
        n: número de puntos.
        seed: semilla.
        noise: desviación típica del ruido gaussiano que se suma a cada coordenada.
        text: el texto, de hasta 20 caracteres en una línea.

    Returns:
        Puntos (n, 2), con la posición de su letra en el texto como clase.

    Raises:
        ValueError: si el texto está vacío, es demasiado largo o no deja tinta.
    """
    generator = _generator(n, seed)
    pixels, letter = _ink(text)
    chosen = generator.integers(0, len(pixels), size=n)
    points = pixels[chosen] + generator.random((n, 2))
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    points = (
        1.8
        / (high - low).max()
        * (points - (low + high) / 2)
        * np.array([1.0, -1.0])
    )
    names = tuple(
        f"{position}: {character}"
        for position, character in enumerate(text, start=1)
    )
    return _points(_blur(points, noise, generator), letter[chosen], names)


def _ink(text: str) -> tuple[Array, NDArray[np.int64]]:
    """Píxeles (M, 2) con tinta, como (columna, fila), y la letra a la que pertenece cada uno."""
    if (
        not isinstance(text, str)
        or not text.strip()
        or len(text) > 20
        or "\n" in text
    ):
        raise ValueError(
            f"El texto es {text!r} y se espera una línea de 1 a 20 caracteres visibles."
        )
    font = ImageFont.load_default(size=200)
    size = (int(font.getlength(text)) + 200, 400)
    pixels, letters = [], []
    for position, character in enumerate(text):
        canvas = Image.new("L", size)
        start = 100 + font.getlength(text[:position])
        ImageDraw.Draw(canvas).text((start, 50), character, fill=255, font=font)
        rows, columns = np.nonzero(np.asarray(canvas) > 127)
        pixels.append(np.stack([columns, rows], axis=1).astype(np.float64))
        letters.append(np.full(len(rows), position, dtype=np.int64))
    if not sum(len(part) for part in pixels):
        raise ValueError(
            f"El texto {text!r} no deja tinta: usa letras que se vean."
        )
    return np.concatenate(pixels), np.concatenate(letters)


def _generator(n: int, seed: int) -> np.random.Generator:
    check_integer("n", n, minimum=1)
    check_integer("seed", seed, minimum=0)
    return np.random.Generator(np.random.Philox(seed))


def _unit(angle: Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _blur(points: Array, noise: float, generator: np.random.Generator) -> Array:
    if not 0 <= noise < np.inf:
        raise ValueError(
            f"«noise» vale {noise!r} y debe ser un número finito, 0 o mayor."
        )
    return np.clip(
        points + noise * generator.standard_normal(points.shape), -1, 1
    )


def _points(
    points: Array,
    labels: NDArray[np.int64] | None = None,
    names: tuple[str, ...] = (),
) -> Dataset:
    return Dataset(
        x=torch.from_numpy(points.astype(np.float32)),
        labels=None
        if labels is None
        else torch.from_numpy(labels.astype(np.int64)),
        label_names=names,
        attribution="Puntos generados por ddpm_lit a partir de una semilla.",
    )


TOY_DATASETS: dict[str, Callable[..., Dataset]] = {
    "swiss_roll": load_swiss_roll,
    "moons": load_moons,
    "eight_gaussians": load_eight_gaussians,
    "ring": load_ring,
    "letters": load_letters,
    "gaussian_mixture": load_gaussian_mixture,
}
