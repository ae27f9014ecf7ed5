r"""De dónde sale el azar: una sola regla para todo el paquete.

El ruido es un argumento de las matemáticas. Donde se saca, que es aquí, no sale de un
generador global sino de un contador (Philox) que se sitúa con una clave:

- el del **entrenamiento** ($t$, $\epsilon$, qué condiciones se apagan y qué imágenes se
  voltean), con (semilla, paso, índice en el lote global);
- el de la **generación**, con (semilla, índice de la muestra).

Así la muestra 7 de la semilla 0 es siempre la misma, se genere sola o con otras cien, y
partir un lote entre procesos no cambia el ruido que recibe cada ejemplo.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """Para qué se usa el azar: cada uso tiene su secuencia, aunque la semilla coincida."""

    TRAINING = 0
    SAMPLING = 1
    ORDER = 2
    LAYERS = 3
    CONDITION = 4
    FLIP = 5


def keyed_generator(
    seed: int, stream: Stream, *counter: int
) -> np.random.Generator:
    """El generador que corresponde a una semilla, un uso y hasta tres números más.

    Args:
        seed: semilla, entre 0 y 2**64 - 1.
        stream: para qué se va a usar.
        *counter: hasta tres enteros no negativos que sitúan el contador.

    Returns:
        Un generador de NumPy sobre Philox.

    Raises:
        TypeError: si la semilla no es un entero.
        ValueError: si la semilla no cabe en 64 bits sin signo o algún número es negativo.
    """
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"La semilla debe ser un entero y ha llegado {seed!r}.")
    if not 0 <= seed < 2**64:
        raise ValueError(
            f"La semilla debe estar entre 0 y 2**64 - 1 y ha llegado {seed}."
        )
    if any(number < 0 for number in counter):
        raise ValueError(
            "Los índices y los pasos empiezan en 0 y han llegado "
            f"{', '.join(map(str, counter))}."
        )
    words = np.zeros(4, dtype=np.uint64)
    words[1 : 1 + len(counter)] = counter
    key = np.array([seed, int(stream)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=words, key=key))


def training_draws(
    seed: int,
    step: int,
    indices: Sequence[int],
    shape: Sequence[int],
    timesteps: int,
    probabilities: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Lo que el Algoritmo 1 saca al azar en un paso: $t$ y $\epsilon$.

    $$t \sim \mathcal{U}\{1, \dots, T\}, \qquad \epsilon \sim \mathcal{N}(0, I)$$

    Args:
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.
        indices: el índice de cada ejemplo en el lote global (0, 1, …, B - 1 si el lote no
            se reparte).
        shape: forma de un ejemplo, sin la dimensión del lote.
        timesteps: T; los índices de código salen de 0 a T - 1.
        probabilities: la probabilidad de cada índice, float64 (T,); `None`, todos igual de
            probables.

    Returns:
        `t` int64 (B,) y `noise` float32 (B, *shape), en la CPU.

    Raises:
        ValueError: si no hay T probabilidades.
    """
    if probabilities is not None and probabilities.shape != (timesteps,):
        raise ValueError(
            "Las probabilidades de los instantes tienen forma "
            f"{tuple(probabilities.shape)} y se espera ({timesteps},): una por "
            "instante."
        )
    cumulative = (
        None if probabilities is None else probabilities.cumsum(0).numpy()
    )
    t = np.empty(len(indices), dtype=np.int64)
    noise = np.empty((len(indices), *shape), dtype=np.float32)
    for row, index in enumerate(indices):
        generator = keyed_generator(seed, Stream.TRAINING, index, step)
        if cumulative is None:
            t[row] = generator.integers(timesteps)
        else:
            t[row] = np.searchsorted(
                cumulative[:-1], generator.random(), side="right"
            )
        generator.standard_normal(dtype=np.float32, out=noise[row, ...])
    return torch.from_numpy(t), torch.from_numpy(noise)


class TrainingDraws:
    r"""Quien saca $t$ y $\epsilon$ en el entrenamiento; lleva su propia cuenta de los pasos.

    Llamar a `training.algorithm1` época a época con el mismo objeto sigue donde estaba, en vez de
    repetir los mismos $t$ y $\epsilon$.

    Args:
        seed: la semilla del entrenamiento.
        step: cuántos pasos se han dado ya (al reanudar).
        probabilities: la probabilidad de cada índice, que se pregunta en cada paso; `None`, todos
            igual de probables. La da, por ejemplo, `improved.ImportanceSampler.probabilities`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        step: int = 0,
        probabilities: Callable[[], Tensor] | None = None,
    ) -> None:
        self.seed, self.step = seed, step
        self.probabilities = probabilities

    def __call__(self, x_0: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        r"""Los $t$, int64 (B,), y el ruido, float32 (B, …), del siguiente paso."""
        t, noise = training_draws(
            self.seed,
            self.step,
            range(len(x_0)),
            x_0.shape[1:],
            timesteps,
            None if self.probabilities is None else self.probabilities(),
        )
        self.step += 1
        return t.to(x_0.device), noise.to(x_0.device)


def condition_draws(seed: int, step: int, indices: Sequence[int]) -> Tensor:
    r"""El número $u \sim \mathcal{U}[0, 1)$ con que se decide apagar la condición de cada ejemplo.

    Args:
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.
        indices: el índice de cada ejemplo en el lote global.

    Returns:
        float64 (B,), en la CPU.
    """
    draws = [
        keyed_generator(seed, Stream.CONDITION, index, step).random()
        for index in indices
    ]
    return torch.tensor(draws, dtype=torch.float64)


def flip_draws(seed: int, step: int, indices: Sequence[int]) -> Tensor:
    """Qué imágenes de un lote se voltean: cada una, con probabilidad 1/2.

    Args:
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.
        indices: el índice de cada ejemplo en el lote global.

    Returns:
        bool (B,), en la CPU.
    """
    draws = [
        keyed_generator(seed, Stream.FLIP, index, step).random()
        for index in indices
    ]
    return torch.tensor(draws, dtype=torch.float64) < 0.5


def sampling_noise(
    seed: int,
    indices: Sequence[int],
    shape: Sequence[int],
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    r"""El ruido de la generación: primero $x_T$ y después, cada vez que se pide, otro $z$.

    Args:
        seed: la semilla de la generación.
        indices: el índice de cada muestra.
        shape: forma de una muestra, sin la dimensión del lote.
        device: dónde se entregan los tensores.

    Yields:
        Tensores float32 (B, *shape) de ruido normal estándar, sin fin.
    """
    generators = [
        keyed_generator(seed, Stream.SAMPLING, index) for index in indices
    ]
    while True:
        noise = np.empty((len(generators), *shape), dtype=np.float32)
        for row, generator in enumerate(generators):
            generator.standard_normal(dtype=np.float32, out=noise[row, ...])
        yield torch.from_numpy(noise).to(device)


def batch_indices(
    size: int, batch_size: int, seed: int, step: int
) -> list[int]:
    """Los ejemplos del lote de un paso: se recorre el conjunto barajado, época tras época.

    No guarda estado: el lote es función de la semilla y del paso, así que reanudar un
    entrenamiento no necesita más que el número de paso.

    Args:
        size: cuántos ejemplos hay.
        batch_size: B, el tamaño del lote; puede ser mayor que `size`.
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.

    Returns:
        B índices entre 0 y `size` - 1.

    Raises:
        ValueError: si no hay ejemplos o el lote está vacío.
    """
    if size < 1 or batch_size < 1:
        raise ValueError(
            f"Hay {size} ejemplos y se pide un lote de {batch_size}: los dos "
            "números deben ser al menos 1."
        )
    first, last = step * batch_size, (step + 1) * batch_size
    chosen: list[int] = []
    for epoch in range(first // size, (last - 1) // size + 1):
        order = keyed_generator(seed, Stream.ORDER, epoch).permutation(size)
        start = max(first - epoch * size, 0)
        chosen.extend(order[start : last - epoch * size].tolist())
    return chosen
