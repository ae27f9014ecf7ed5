r"""De dónde sale el azar: una sola regla para todo el paquete.

El ruido es un argumento de las matemáticas. Donde se saca, que es aquí, no sale de un generador
global que avanza, sino de un contador: cada número es función de una clave y de su sitio.

- el del **entrenamiento** ($t$, $\epsilon$, qué condiciones se apagan y qué imágenes se
  voltean), de (semilla, paso, índice en el lote global);
- el de la **generación**, de (semilla, número de sorteo, índice de la muestra).

Así la muestra 7 de la semilla 0 es siempre la misma, se genere sola o con otras cien, en una CPU
o en una GPU, y partir un lote entre procesos no cambia el ruido que recibe cada ejemplo.

**El generador** es Philox 4×32-10 (Salmon et al. 2011, «Parallel random numbers: as easy as 1, 2,
3», el de Random123), escrito con operaciones de tensores: se calcula en el dispositivo que va a
usar el ruido. La clave son las dos mitades de la semilla, primero la baja. El contador son cuatro
palabras de 32 bits: (bloque, paso o número de sorteo, índice, `Stream`). Cada bloque da otras
cuatro, $w_0, \dots, w_3$.

**De las palabras a los números:**

- un uniforme en $(0, 1]$ es $u_k = (w_k + 1)\,2^{-32}$, redondeado a float32;
- los valores $4b, \dots, 4b + 3$ de un ejemplo, recorrido por filas, son las cuatro normales del
  bloque $b$ (Box y Muller 1958), con todo en float32 y $2\pi$ también redondeado:
  $\sqrt{-2\ln u_0}\,\cos(2\pi u_1)$, $\sqrt{-2\ln u_0}\,\sin(2\pi u_1)$,
  $\sqrt{-2\ln u_2}\,\cos(2\pi u_3)$ y $\sqrt{-2\ln u_2}\,\sin(2\pi u_3)$;
- un índice uniforme entre 0 y $T - 1$ es la parte entera de $w_0 T / 2^{32}$: ninguno sale más
  de $T/2^{32}$ veces, en proporción, lo que debería.

Las palabras son enteros, los mismos en cualquier máquina, y con ellos los $t$. Las normales pueden
diferir en las últimas cifras (unos $10^{-6}$), que es lo que difieren sus logaritmos y senos.

El orden de los datos y el *dropout* de las capas se deciden en la CPU, con el Philox de NumPy
(`keyed_generator`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from itertools import count, islice

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
    TIMES = 5
    FLIP = 6


def keyed_generator(
    seed: int, stream: Stream, *counter: int
) -> np.random.Generator:
    """El generador de la CPU de una semilla, un uso y hasta tres números más.

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
    _key(seed)
    _check_counters(counter)
    words = np.zeros(4, dtype=np.uint64)
    words[1 : 1 + len(counter)] = counter
    key = np.array([seed, int(stream)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=words, key=key))


# --- Philox -------------------------------------------------------------------

WORD = 0xFFFFFFFF
"""La máscara de una palabra de 32 bits."""


def philox(
    counter: tuple[Tensor, Tensor | int, Tensor, Tensor | int],
    key: tuple[Tensor | int, Tensor | int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4×32-10: las cuatro palabras de cada contador (Salmon et al. 2011).

    Un producto de 32×32 bits no cabe en un int64 con signo y da la vuelta; sus 64 bits son, aun
    así, los que hacen falta.

    Args:
        counter: cuatro palabras, int64 entre 0 y 2**32 - 1, que se difunden entre sí.
        key: dos palabras.

    Returns:
        Cuatro tensores int64 con valores entre 0 y 2**32 - 1.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for done in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        if done < 3:  # Las cuatro palabras se están difundiendo todavía.
            c0, c2 = (p1 >> 32) ^ c1, (p0 >> 32) ^ c3
        else:
            torch.bitwise_right_shift(p1, 32, out=c0)
            torch.bitwise_right_shift(p0, 32, out=c2)
            c0 ^= c1
            c2 ^= c3
        c0 ^= k0
        c2 ^= k1
        c0 &= WORD
        c2 &= WORD
        # De estos dos solo cuentan los 32 bits bajos: se limpian al final.
        c1, c3 = p1, p0
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, p1 & WORD, c2, p0 & WORD


def uniform(words: Tensor) -> Tensor:
    r"""De palabras de 32 bits a uniformes en $(0, 1]$: $(w + 1)\,2^{-32}$, float32."""
    return (words + 1).to(torch.float32).mul_(2.0**-32)


def box_muller(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    r"""Dos normales independientes de dos uniformes en $(0, 1]$ (Box y Muller 1958).

    $$\sqrt{-2\ln u}\,\cos(2\pi v), \qquad \sqrt{-2\ln u}\,\sin(2\pi v)$$
    """
    radius, angle = u.log().mul_(-2).sqrt_(), 2 * math.pi * v
    return angle.cos().mul_(radius), angle.sin_().mul_(radius)


_CHUNK = 32_768
"""Cuántos bloques se hacen a la vez en la CPU, para que quepan en la caché."""


def normals(
    seed: int,
    stream: Stream,
    number: int,
    indices: Tensor,
    shape: Sequence[int],
) -> Tensor:
    """El ruido normal estándar de un sorteo, en el dispositivo de los índices.

    Args:
        seed: la semilla, entre 0 y 2**64 - 1.
        stream: para qué se va a usar.
        number: el paso o el número de sorteo, desde 0.
        indices: el índice de cada ejemplo, int64 (B,) (véase `index_tensor`).
        shape: forma de un ejemplo, sin la dimensión del lote.

    Returns:
        float32 (B, *shape).

    Raises:
        TypeError: si la semilla no es un entero.
        ValueError: si la semilla no cabe en 64 bits sin signo, o `number`, en 32.
    """
    _check_counters([number])
    size, device = math.prod(shape), indices.device
    blocks = torch.arange(-(-size // 4), device=device)
    words = (number, *_key(seed))
    numbers: tuple[Tensor | int, ...] = words
    make, rows = _normals, max(1, _CHUNK // max(1, len(blocks)))
    if device.type == "cuda":
        # Un solo núcleo, y ningún número escrito en él: vale para todo paso.
        make, rows = _compiled_normals(), max(1, len(indices))
        numbers = tuple(torch.full((), n, device=device) for n in words)
    parts = [
        make(blocks, indices[i : i + rows, None], int(stream), *numbers)
        for i in range(0, max(1, len(indices)), rows)
    ]
    return torch.cat(parts)[:, :size].reshape(len(indices), *shape)


def _normals(
    blocks: Tensor,
    rows: Tensor,
    stream: int,
    number: Tensor | int,
    low: Tensor | int,
    high: Tensor | int,
) -> Tensor:
    """Las normales de unos bloques, (b,), de unos ejemplos, (B, 1): float32 (B, 4b)."""
    words = philox((blocks, number, rows, stream), (low, high))
    u = [uniform(each) for each in words]
    pairs = (*box_muller(u[0], u[1]), *box_muller(u[2], u[3]))
    return torch.stack(pairs, dim=-1).flatten(1)


@cache
def _compiled_normals() -> Callable[..., Tensor]:
    """`_normals` en un solo núcleo, donde se pueda compilar."""
    if find_spec("triton") is None:
        return _normals
    compiled: Callable[..., Tensor] = torch.compile(_normals, dynamic=True)
    return compiled


def first_words(
    seed: int, stream: Stream, number: int, indices: Tensor
) -> Tensor:
    """La primera palabra del bloque 0 de cada ejemplo, int64 (B,); como `normals`."""
    _check_counters([number])
    counter = (torch.zeros_like(indices), number, indices, int(stream))
    return philox(counter, _key(seed))[0]


def index_tensor(
    indices: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Unos índices, comprobados, como int64 (B,) en el dispositivo.

    Un `range` se hace allí: copiarlo obligaría a esperarlo.

    Raises:
        ValueError: si alguno es negativo o no cabe en 32 bits.
    """
    if isinstance(indices, range):
        _check_counters([*indices[:1], *indices[-1:]])
        order = torch.arange(len(indices), device=device)
        return order * indices.step + indices.start
    _check_counters(indices)
    return torch.tensor(list(indices), dtype=torch.int64, device=device)


def _key(seed: int) -> tuple[int, int]:
    """La clave de una semilla: sus 32 bits bajos y sus 32 bits altos."""
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"La semilla debe ser un entero y ha llegado {seed!r}.")
    if not 0 <= seed < 2**64:
        raise ValueError(
            f"La semilla debe estar entre 0 y 2**64 - 1 y ha llegado {seed}."
        )
    return int(seed) & WORD, int(seed) >> 32


def _check_counters(counters: Sequence[int]) -> None:
    wrong = [number for number in counters if not 0 <= number <= WORD]
    if wrong:
        raise ValueError(
            "Los índices, los pasos y los sorteos van de 0 a 2**32 - 1 y ha "
            f"llegado {wrong[0]}."
        )


# --- Los sorteos --------------------------------------------------------------


def training_draws(
    seed: int,
    step: int,
    indices: Sequence[int],
    shape: Sequence[int],
    timesteps: int,
    probabilities: Tensor | None = None,
    device: torch.device | str = "cpu",
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
        probabilities: la probabilidad de cada índice, (T,); `None`, todos igual de probables.
        device: dónde se calculan.

    Returns:
        `t` int64 (B,) y `noise` float32 (B, *shape).

    Raises:
        ValueError: si no hay T probabilidades.
    """
    if probabilities is not None and probabilities.shape != (timesteps,):
        raise ValueError(
            "Las probabilidades de los instantes tienen forma "
            f"{tuple(probabilities.shape)} y se espera ({timesteps},): una por "
            "instante."
        )
    rows = index_tensor(indices, device)
    words = first_words(seed, Stream.TIMES, step, rows)
    if probabilities is None:
        t = (words * timesteps) >> 32
    else:
        limits = (probabilities.cumsum(0)[:-1] * 2.0**32).long().to(device)
        t = torch.searchsorted(limits, words, right=True)
    return t, normals(seed, Stream.TRAINING, step, rows, shape)


class TrainingDraws:
    r"""Quien saca $t$ y $\epsilon$ en el entrenamiento; lleva su propia cuenta de los pasos.

    Llamar a `training.algorithm1` época a época con el mismo objeto sigue donde estaba, en vez de
    repetir los mismos $t$ y $\epsilon$.

    Args:
        seed: la semilla del entrenamiento.
        step: cuántos pasos se han dado ya (al reanudar).
        probabilities: la probabilidad de cada índice, que se pregunta en cada paso; `None`, todos
            igual de probables. La da, por ejemplo, `improved.ImportanceSampler.probabilities`.
        rows: qué ejemplos del lote global saca, si llegan en varios trozos seguidos o los demás
            los saca otro proceso; `None`, cada llamada es un lote entero.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        step: int = 0,
        probabilities: Callable[[], Tensor] | None = None,
        rows: range | None = None,
    ) -> None:
        self.seed, self.step = seed, step
        self.probabilities = probabilities
        self.rows, self.done = rows, 0

    def __call__(self, x_0: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        r"""Los $t$, int64 (B,), y el ruido, float32 (B, …), que siguen, donde esté `x_0`."""
        rows = range(len(x_0)) if self.rows is None else self.rows
        first, self.done = self.done, self.done + len(x_0)
        drawn = training_draws(
            self.seed,
            self.step,
            rows[first : self.done],
            x_0.shape[1:],
            timesteps,
            None if self.probabilities is None else self.probabilities(),
            x_0.device,
        )
        if self.done >= len(rows):
            self.step, self.done = self.step + 1, 0
        return drawn


def condition_draws(
    seed: int,
    step: int,
    indices: Sequence[int],
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""El número $u \sim \mathcal{U}(0, 1]$ con que se decide apagar la condición de cada ejemplo.

    Args:
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.
        indices: el índice de cada ejemplo en el lote global.
        device: dónde se calculan.

    Returns:
        float32 (B,).
    """
    rows = index_tensor(indices, device)
    return uniform(first_words(seed, Stream.CONDITION, step, rows))


def flip_draws(
    seed: int,
    step: int,
    indices: Sequence[int],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Qué imágenes de un lote se voltean: cada una, con probabilidad 1/2.

    Args:
        seed: la semilla del entrenamiento.
        step: el número de paso, desde 0.
        indices: el índice de cada ejemplo en el lote global.
        device: dónde se calculan.

    Returns:
        bool (B,).
    """
    rows = index_tensor(indices, device)
    return first_words(seed, Stream.FLIP, step, rows) < 2**31


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
        device: dónde se calcula.

    Yields:
        Tensores float32 (B, *shape) de ruido normal estándar, sin fin.
    """
    rows = index_tensor(indices, device)
    for number in count():
        yield normals(seed, Stream.SAMPLING, number, rows, shape)


# --- El orden de los datos ----------------------------------------------------


def shuffled(size: int, seed: int, start: int = 0) -> Iterator[int]:
    """Un conjunto barajado, época tras época y sin fin, desde su ejemplo número `start`.

    Args:
        size: cuántos ejemplos hay.
        seed: la semilla del entrenamiento.
        start: cuántos ejemplos se han visto ya.

    Yields:
        Índices entre 0 y `size` - 1.
    """
    epoch, first = divmod(start, size)
    while True:
        order = keyed_generator(seed, Stream.ORDER, epoch).permutation(size)
        yield from map(int, order[first:])
        epoch, first = epoch + 1, 0


def batches_of_indices(
    size: int, batch_size: int, seed: int, step: int = 0
) -> Iterator[list[int]]:
    """Los lotes de cada paso, desde `step`: los de `batch_indices`, sin barajar en cada uno.

    Args:
        size: cuántos ejemplos hay.
        batch_size: B, el tamaño del lote; puede ser mayor que `size`.
        seed: la semilla del entrenamiento.
        step: el número del primer paso, desde 0.

    Yields:
        B índices entre 0 y `size` - 1.

    Raises:
        ValueError: si no hay ejemplos o el lote está vacío.
    """
    if size < 1 or batch_size < 1:
        raise ValueError(
            f"Hay {size} ejemplos y se pide un lote de {batch_size}: los dos "
            "números deben ser al menos 1."
        )
    examples = shuffled(size, seed, step * batch_size)
    while True:
        yield list(islice(examples, batch_size))


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
    return next(batches_of_indices(size, batch_size, seed, step))
