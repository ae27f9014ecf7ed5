r"""La interfaz única de todos los datos: un `Dataset` y su reparto en dos.

Todos los datos del paquete viven en $[-1, 1]$, como en Ho et al. 2020 (arXiv:2006.11239,
sección 3.3): así la red recibe entradas a la escala de $x_T \sim \mathcal{N}(0, I)$.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHECKED_AT_ONCE = 2**18
_EIGHT_BITS = 256


@dataclass(frozen=True, eq=False)
class Dataset:
    r"""Un conjunto de datos entero en memoria.

    Attributes:
        x: datos, float32 de forma (N, ...) en $[-1, 1]$; imágenes como (N, C, H, W), puntos
            como (N, 2).
        labels: clase de cada dato, int64 de forma (N,), o `None` si no hay clases.
        label_names: nombre de cada clase; `labels` son índices en esta tupla.
        captions: descripción en español de cada dato, N en total, o vacía.
        groups: grupo de cada dato, N en total, o vacía.
        conditions: lo demás que la red recibe con cada dato, por su nombre: tensores (N, …).
        levels: número de valores distintos que puede tomar cada componente, repartidos por
            igual en $[-1, 1]$ (256 en imágenes de 8 bits), o `None` si son continuos.
        attribution: a quién se deben los datos y con qué licencia.
        content_keys: huella del contenido de cada dato, N en total, o vacía; si las hay, `split`
            aparta por ellas.

    Raises:
        ValueError: si algún campo no cumple lo anterior.
        TypeError: si `x` o `labels` no tienen el tipo debido.
    """

    x: Tensor = field(repr=False)
    labels: Tensor | None = field(default=None, repr=False)
    label_names: tuple[str, ...] = ()
    captions: tuple[str, ...] = field(default=(), repr=False)
    groups: tuple[str, ...] = field(default=(), repr=False)
    conditions: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    levels: int | None = None
    attribution: str = ""
    content_keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_values(self.x, self.levels)
        _check_labels(self.labels, self.label_names, len(self.x))
        for name in ("captions", "groups", "content_keys"):
            texts = getattr(self, name)
            if texts and len(texts) != len(self.x):
                raise ValueError(
                    f"«{name}» tiene {len(texts)} elementos y hay {len(self.x)} datos: da uno "
                    "por dato o deja la tupla vacía."
                )
        for name, value in self.conditions.items():
            if name in ("x", "class_labels"):
                raise ValueError(
                    f"Una condición no se puede llamar «{name}»: así se llaman los propios datos y "
                    "sus clases."
                )
            if len(value) != len(self.x):
                raise ValueError(
                    f"La condición «{name}» tiene {len(value)} filas y hay {len(self.x)} datos: da "
                    "una por dato."
                )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Forma de un dato, sin la dimensión N: (C, H, W) en imágenes, (2,) en puntos."""
        return tuple(self.x.shape[1:])

    @property
    def num_classes(self) -> int | None:
        """Número de clases, o `None` si no las hay."""
        return None if self.labels is None else len(self.label_names)

    def batch(self, indices: Tensor | Sequence[int]) -> dict[str, Tensor]:
        """Un lote listo para la red.

        Args:
            indices: índices de los datos, (B,).

        Returns:
            Diccionario con `x`, (B, ...), si hay clases `class_labels`, int64 (B,), y las demás
            condiciones.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        result = {"x": self.x[chosen]}
        if self.labels is not None:
            result["class_labels"] = self.labels[chosen]
        return result | {
            name: value[chosen] for name, value in self.conditions.items()
        }

    def subset(self, indices: Tensor | Sequence[int]) -> "Dataset":
        """El mismo conjunto con solo algunos de sus datos, en el orden pedido.

        Args:
            indices: índices de los datos, (M,); al menos uno.

        Returns:
            Un `Dataset` de M datos con los mismos nombres de clase.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        positions: list[int] = chosen.tolist()
        return replace(
            self,
            x=self.x[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            conditions={
                name: value[chosen] for name, value in self.conditions.items()
            },
            captions=_chosen(self.captions, positions),
            groups=_chosen(self.groups, positions),
            content_keys=_chosen(self.content_keys, positions),
        )

    def fingerprint(self) -> str:
        """Huella del contenido: cambia si cambian los datos, su orden, sus clases o sus textos.

        No depende de dónde esté guardado ni de cómo se repartan los tensores en la memoria. Los
        datos continuos se miran con 8 bits, para que el último bit de un seno, que varía de una
        máquina a otra, no cuente como un cambio. Las condiciones no cuentan: salen de los datos.

        Returns:
            16 cifras hexadecimales.
        """
        levels = self.levels or _EIGHT_BITS
        digest = hashlib.sha256(
            repr((tuple(self.x.shape), self.levels)).encode()
        )
        for part in _parts(self.x):
            position = ((part + 1) * ((levels - 1) / 2)).round()
            kind = np.uint8 if levels <= _EIGHT_BITS else np.uint16
            digest.update(position.numpy().astype(kind).tobytes())
        classes = None if self.labels is None else self.labels.tolist()
        digest.update(repr((classes, self.label_names, self.captions)).encode())
        return digest.hexdigest()[:16]


def split(
    dataset: Dataset, fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Reparte un conjunto en entrenamiento y reserva, siempre igual con la misma semilla.

    Los datos que pueden crecer, como una carpeta, llevan `content_keys`, y entonces se aparta
    por el contenido: cada dato va a la reserva si lo dice un número que sale de la semilla y de su
    huella. Así, añadir datos no mueve ninguno de los que había, y las copias de uno caen siempre
    en el mismo lado. La parte que se aparta es `fraction` solo por término medio. Cada clase
    conserva para entrenar al menos el dato de número mayor, y si la fracción no aparta ninguno se
    aparta el de número menor; esas dos excepciones solo cuentan con muy pocos datos.

    Los demás conjuntos no cambian, y se aparta por la posición. Si hay clases, el reparto es
    estratificado: cada una cede a la reserva su parte proporcional (los restos, a las clases que
    más cerca se quedaron de un dato más) y conserva al menos un dato para entrenar. El orden sale
    de los bits de Philox, que NumPy garantiza estables entre versiones.

    Args:
        dataset: el conjunto que se reparte.
        fraction: parte que va a la reserva, entre 0 y 1 sin incluirlos.
        seed: semilla, un entero no negativo.

    Returns:
        `(train, held_out)`: dos conjuntos disjuntos que juntos son el original; cada uno
        guarda los datos en el orden original.

    Raises:
        ValueError: si `fraction` o `seed` no son válidos, o si alguna parte queda vacía.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"La fracción de reserva es {fraction!r} y debe estar entre 0 y 1, sin incluirlos: "
            "por ejemplo, 0.2."
        )
    check_integer("seed", seed, minimum=0)
    n = len(dataset)
    labels = (
        np.zeros(n, np.int64)
        if dataset.labels is None
        else dataset.labels.numpy()
    )
    if dataset.content_keys:
        held = _held_by_content(dataset.content_keys, labels, fraction, seed)
    else:
        held = _held_by_position(labels, fraction, seed)
    if not held.any() or held.all():
        raise ValueError(
            f"Con {n} datos y una fracción de {fraction!r}, una de las dos partes queda vacía: "
            "usa más datos u otra fracción."
        )
    return (
        dataset.subset(torch.from_numpy(np.flatnonzero(~held))),
        dataset.subset(torch.from_numpy(np.flatnonzero(held))),
    )


def check_integer(name: str, value: object, *, minimum: int) -> int:
    """Comprueba una opción entera.

    Args:
        name: nombre de la opción, para el mensaje.
        value: lo que se ha recibido.
        minimum: valor más pequeño que se admite.

    Returns:
        El mismo valor.

    Raises:
        TypeError: si no es un entero.
        ValueError: si es menor que `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"«{name}» debe ser un número entero y ha llegado {value!r}."
        )
    if value < minimum:
        raise ValueError(
            f"«{name}» vale {value} y debe ser al menos {minimum}."
        )
    return int(value)


def _held_by_position(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    order = np.argsort(
        np.random.Philox(key=seed).random_raw(len(labels)), kind="stable"
    )
    held = np.zeros(len(labels), dtype=bool)
    for label, amount in enumerate(_apportion(np.bincount(labels), fraction)):
        members = order[labels[order] == label]
        held[members[:amount]] = True
    return held


def _held_by_content(
    keys: Sequence[str], labels: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Cada dato por su número, de 0 a 1, que sale de la semilla y de su huella."""
    digests = [
        hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8] for key in keys
    ]
    number = np.array([int.from_bytes(digest) / 2**64 for digest in digests])
    largest = [number[labels == label].max() for label in np.unique(labels)]
    free = ~np.isin(number, largest)
    held = free & (number < fraction)
    if free.any() and not held.any():
        held = number == number[free].min()
    return held


def _apportion(counts: np.ndarray, fraction: float) -> np.ndarray:
    """Cuántos datos de cada clase van a la reserva: cociente entero y restos mayores."""
    exact = counts * fraction
    quota = np.floor(exact).astype(np.int64)
    missing = round(float(counts.sum()) * fraction) - int(quota.sum())
    for label in np.argsort(quota - exact, kind="stable"):
        if missing > 0 and quota[label] + 1 < counts[label]:
            quota[label] += 1
            missing -= 1
    return quota


def _check_values(x: Tensor, levels: int | None) -> None:
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"Los datos deben ser un tensor float32 y han llegado como {kind}."
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"Los datos tienen forma {tuple(x.shape)} y se espera (N, ...), con al menos un "
            "dato y una dimensión más que la N."
        )
    low, high = (float(bound) for bound in x.aminmax())
    if not (low >= -1 and high <= 1):
        raise ValueError(
            f"Los datos van de {low:.4g} a {high:.4g} y deben estar en [-1, 1] y ser finitos: "
            "reescálalos antes (una imagen de 8 bits v, como v / 127.5 - 1)."
        )
    if levels is not None:
        if check_integer("levels", levels, minimum=2) > 2**16:
            raise ValueError(
                f"«levels» vale {levels} y debe ser como mucho 65536."
            )
        for part in _parts(x):
            position = (part + 1) * ((levels - 1) / 2)
            if (
                float((position - position.round()).abs().max())
                <= levels * 1e-6
            ):
                continue
            raise ValueError(
                f"Hay datos que no caen en ninguno de los {levels} valores repartidos por "
                "igual en [-1, 1]: corrige «levels», o usa None si los datos son continuos."
            )


def _parts(x: Tensor) -> Iterator[Tensor]:
    """Los datos, de unas cuantas filas en unas cuantas, para que mirarlos no ocupe como ellos."""
    yield from torch.split(x, max(1, _CHECKED_AT_ONCE // max(1, x[0].numel())))


def _chosen(texts: tuple[str, ...], positions: list[int]) -> tuple[str, ...]:
    return tuple(texts[i] for i in positions) if texts else ()


def _check_labels(
    labels: Tensor | None, names: tuple[str, ...], n: int
) -> None:
    if labels is None:
        if names:
            raise ValueError(
                "Hay «label_names» pero no «labels»: da las dos o ninguna."
            )
        return
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = (
            labels.dtype
            if isinstance(labels, Tensor)
            else type(labels).__name__
        )
        raise TypeError(
            f"Las clases deben ser un tensor int64 y han llegado como {kind}."
        )
    if labels.shape != (n,):
        raise ValueError(
            f"Las clases tienen forma {tuple(labels.shape)} y se espera ({n},): una por dato."
        )
    if not names:
        raise ValueError(
            "Hay «labels» pero no «label_names»: da el nombre de cada clase, en su orden; si no "
            'tienen, valen sus números, ("0", "1", …).'
        )
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"Dos clases se llaman «{repeated}»: da a cada una un nombre distinto."
        )
    low, high = (int(bound) for bound in labels.aminmax())
    if low < 0 or high >= len(names):
        raise ValueError(
            f"Las clases van de {low} a {high} y hay {len(names)} nombres: deben ir de 0 a "
            f"{len(names) - 1}."
        )
