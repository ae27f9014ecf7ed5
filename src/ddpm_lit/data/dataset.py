r"""La interfaz única de todos los datos: un `Dataset` y su reparto en dos.

Todos los datos del paquete viven en $[-1, 1]$, como en Ho et al. 2020 (arXiv:2006.11239,
sección 3.3): así la red recibe entradas a la escala de $x_T \sim \mathcal{N}(0, I)$.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpm_lit.data.prepared import remembered
from ddpm_lit.data.storage import Store, deliver, send

_EIGHT_BITS = 256


@dataclass(frozen=True, eq=False, init=False)
class Dataset:
    r"""Un conjunto de datos.

    Attributes:
        x: datos, float32 de forma (N, ...) en $[-1, 1]$; imágenes como (N, C, H, W), puntos
            como (N, 2). Se puede dar en 8 bits, uint8, que significa $v / 127{,}5 - 1$: así se
            queda guardado, y se convierte lo que se pide con `batch`. Leer `x` los convierte
            todos, la primera vez que se hace.
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
        reserved: los datos que aparta quien los publica, bool (N,), o `None` si no aparta
            ninguno (véase `official_split`).
        bounded: si los datos tienen que vivir en $[-1, 1]$; los latentes de un autoencoder no
            lo hacen.
        store: los datos tal como están guardados; se da en lugar de `x`.
        memory: fichero en que se recuerdan las huellas ya calculadas, si los datos son los de una
            caché.

    Raises:
        ValueError: si algún campo no cumple lo anterior.
        TypeError: si `x`, `labels` o `reserved` no tienen el tipo debido.
    """

    store: Store = field(repr=False)
    labels: Tensor | None = field(repr=False)
    label_names: tuple[str, ...]
    captions: tuple[str, ...] = field(repr=False)
    groups: tuple[str, ...] = field(repr=False)
    conditions: Mapping[str, Tensor] = field(repr=False)
    levels: int | None
    attribution: str
    content_keys: tuple[str, ...] = field(repr=False)
    reserved: Tensor | None = field(repr=False)
    bounded: bool
    memory: Path | None = field(repr=False)

    def __init__(
        self,
        x: Tensor | None = None,
        labels: Tensor | None = None,
        label_names: tuple[str, ...] = (),
        captions: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        conditions: Mapping[str, Tensor] | None = None,
        levels: int | None = None,
        attribution: str = "",
        content_keys: tuple[str, ...] = (),
        reserved: Tensor | None = None,
        bounded: bool = True,
        store: Store | None = None,
        memory: Path | None = None,
    ) -> None:
        # Con `dataclasses.replace(datos, x=…)` llegan los dos, y los datos nuevos son `x`.
        if x is not None or store is None:
            store, memory = Store(_tensor(x)), None
        if store.values.dtype == torch.uint8 and levels is None:
            levels = _EIGHT_BITS
        values = {
            "store": store,
            "labels": labels,
            "label_names": label_names,
            "captions": captions,
            "groups": groups,
            "conditions": {} if conditions is None else conditions,
            "levels": levels,
            "attribution": attribution,
            "content_keys": content_keys,
            "reserved": reserved,
            "bounded": bounded,
            "memory": memory,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        n = len(self)
        _check_values(self.store, self.levels, self.bounded)
        _check_labels(self.labels, self.label_names, n)
        for name in ("captions", "groups", "content_keys"):
            texts = getattr(self, name)
            if texts and len(texts) != n:
                raise ValueError(
                    f"«{name}» tiene {len(texts)} elementos y hay {n} datos: da uno "
                    "por dato o deja la tupla vacía."
                )
        for name, value in self.conditions.items():
            if name in ("x", "class_labels"):
                raise ValueError(
                    f"Una condición no se puede llamar «{name}»: así se llaman los propios datos y "
                    "sus clases."
                )
            if len(value) != n:
                raise ValueError(
                    f"La condición «{name}» tiene {len(value)} filas y hay {n} datos: da "
                    "una por dato."
                )
        if self.reserved is not None and (
            self.reserved.dtype != torch.bool or self.reserved.shape != (n,)
        ):
            raise TypeError(
                f"«reserved» es {self.reserved.dtype} de forma {tuple(self.reserved.shape)} y debe "
                f"ser bool de forma ({n},): cierto en los datos que se apartan."
            )

    def __len__(self) -> int:
        return len(self.store)

    @cached_property
    def x(self) -> Tensor:
        """Todos los datos, float32 (N, …); se convierten la primera vez y se quedan así."""
        return self.store.floats()

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Forma de un dato, sin la dimensión N: (C, H, W) en imágenes, (2,) en puntos."""
        return self.store.shape[1:]

    @property
    def num_classes(self) -> int | None:
        """Número de clases, o `None` si no las hay."""
        return None if self.labels is None else len(self.label_names)

    def batch(
        self,
        indices: Tensor | Sequence[int],
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Un lote listo para la red.

        Args:
            indices: índices de los datos, (B,).
            device: dónde se entrega; `None`, donde estén los datos. A CUDA llegan en 8 bits, por
                memoria fijada y sin esperar, y allí se convierten.

        Returns:
            Diccionario con `x`, float32 (B, ...), si hay clases `class_labels`, int64 (B,), y las
            demás condiciones.
        """
        where = None if device is None else torch.device(device)
        return deliver(self.stored_batch(indices), where)

    def stored_batch(
        self, indices: Tensor | Sequence[int]
    ) -> dict[str, Tensor]:
        """Un lote tal como está guardado: `x` puede ser uint8, y `storage.deliver` lo termina.

        Args:
            indices: índices de los datos, (B,).

        Returns:
            Lo mismo que `batch`, sin convertir.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        chosen = send(chosen, self.store.values.device)
        result = {"x": self.store.take(chosen)}
        if self.labels is not None:
            result["class_labels"] = self.labels[chosen]
        return result | {
            name: value[chosen] for name, value in self.conditions.items()
        }

    def subset(self, indices: Tensor | Sequence[int]) -> "Dataset":
        """El mismo conjunto con solo algunos de sus datos, en el orden pedido y sin copiarlos.

        Args:
            indices: índices de los datos, (M,); al menos uno.

        Returns:
            Un `Dataset` de M datos con los mismos nombres de clase.
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        positions: list[int] = chosen.tolist()
        return replace(
            self,
            store=self.store.subset(chosen),
            labels=None if self.labels is None else self.labels[chosen],
            conditions={
                name: value[chosen] for name, value in self.conditions.items()
            },
            captions=_chosen(self.captions, positions),
            groups=_chosen(self.groups, positions),
            content_keys=_chosen(self.content_keys, positions),
            reserved=None if self.reserved is None else self.reserved[chosen],
        )

    def to(self, device: torch.device) -> "Dataset":
        """El mismo conjunto con sus tensores en un dispositivo, aún en 8 bits si lo estaban.

        Args:
            device: el dispositivo.
        """
        return replace(
            self,
            store=Store(self.store.copy(device)),
            labels=None if self.labels is None else self.labels.to(device),
            conditions={
                name: value.to(device)
                for name, value in self.conditions.items()
            },
        )

    def fingerprint(self) -> str:
        """Huella del contenido: cambia si cambian los datos, su orden, sus clases o sus textos.

        No depende de dónde esté guardado ni de cómo se repartan los tensores en la memoria. Los
        datos continuos se miran con 8 bits, para que el último bit de un seno, que varía de una
        máquina a otra, no cuente como un cambio. Las condiciones no cuentan: salen de los datos.
        La de unos datos que están en una caché se calcula una vez y se guarda con ellos.

        Returns:
            16 cifras hexadecimales.
        """
        classes = None if self.labels is None else self.labels.tolist()
        texts = repr((classes, self.label_names, self.captions)).encode()
        if self.memory is None or not self.store.digest:
            return self._fingerprint(texts)
        rows = self.store.rows
        key = hashlib.sha256(self.store.digest.encode())
        key.update(repr(self.store.shape).encode())
        key.update(b"" if rows is None else rows.numpy().tobytes())
        key.update(texts)
        return remembered(
            self.memory, key.hexdigest()[:32], lambda: self._fingerprint(texts)
        )

    def _fingerprint(self, texts: bytes) -> str:
        levels = self.levels or _EIGHT_BITS
        digest = hashlib.sha256(repr((self.store.shape, self.levels)).encode())
        kind: type[np.integer[Any]]
        kind = np.uint8 if levels <= _EIGHT_BITS else np.uint16
        kind = kind if self.bounded else np.int32
        for part in self.store.parts():
            position = part
            if part.dtype != torch.uint8:
                position = ((part + 1) * ((levels - 1) / 2)).round()
            values = position.numpy().astype(kind, copy=False)
            digest.update(np.ascontiguousarray(values).data)
        digest.update(texts)
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


def official_split(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Reparte un conjunto como lo hace quien lo publica: la parte de test es la apartada.

    Args:
        dataset: un conjunto con `reserved`.

    Returns:
        `(train, held_out)`, cada uno en el orden original.

    Raises:
        ValueError: si el conjunto no trae su reparto, o una de las dos partes está vacía.
    """
    reserved = dataset.reserved
    if reserved is None or not reserved.any() or reserved.all():
        raise ValueError(
            "Estos datos no traen su propia parte apartada: pide una fracción con «held_out»."
        )
    whole = replace(dataset, reserved=None)
    return (
        whole.subset((~reserved).nonzero().flatten()),
        whole.subset(reserved.nonzero().flatten()),
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


def _tensor(x: object) -> Tensor:
    if not isinstance(x, Tensor) or x.dtype not in (
        torch.float32,
        torch.uint8,
    ):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"Los datos deben ser un tensor float32, o uint8 si son imágenes de 8 bits, y han "
            f"llegado como {kind}."
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"Los datos tienen forma {tuple(x.shape)} y se espera (N, ...), con al menos un "
            "dato y una dimensión más que la N."
        )
    return x


def _check_values(store: Store, levels: int | None, bounded: bool) -> None:
    if len(store) == 0:
        raise ValueError(
            f"Los datos tienen forma {store.shape} y se espera al menos un dato."
        )
    if (
        levels is not None
        and check_integer("levels", levels, minimum=2) > 2**16
    ):
        raise ValueError(f"«levels» vale {levels} y debe ser como mucho 65536.")
    if store.values.dtype == torch.uint8:
        if levels != _EIGHT_BITS:
            raise ValueError(
                f"«levels» vale {levels} y los datos de 8 bits tienen {_EIGHT_BITS}: no lo des, o "
                "da los datos en float32."
            )
        return
    for part in store.parts():
        low, high = (float(bound) for bound in part.aminmax())
        if not bounded and math.isfinite(high - low):
            continue
        if not (low >= -1 and high <= 1):
            raise ValueError(
                f"Los datos van de {low:.4g} a {high:.4g} y deben estar en [-1, 1] y ser finitos: "
                "reescálalos antes (una imagen de 8 bits v, como v / 127.5 - 1) o, si son "
                "imágenes de 8 bits, dalos como uint8."
            )
        if levels is None:
            continue
        position = (part + 1) * ((levels - 1) / 2)
        if float((position - position.round()).abs().max()) > levels * 1e-6:
            raise ValueError(
                f"Hay datos que no caen en ninguno de los {levels} valores repartidos por "
                "igual en [-1, 1]: corrige «levels», o usa None si los datos son continuos."
            )


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
