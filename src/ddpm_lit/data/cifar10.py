"""CIFAR-10: 60.000 fotografías en color de 32×32, en diez clases. Son los datos del artículo."""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ddpm_lit.data.dataset import Dataset
from ddpm_lit.files.archives import read_members
from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.files.download import Remote, fetched

CLASSES = (
    "avión", "coche", "pájaro", "gato", "ciervo", "perro", "rana", "caballo", "barco", "camión",
)  # fmt: skip
ATTRIBUTION = (
    "CIFAR-10, de A. Krizhevsky, V. Nair y G. Hinton. Su página "
    "(https://www.cs.toronto.edu/~kriz/cifar.html) no da una licencia y pide que se cite «Learning "
    "Multiple Layers of Features from Tiny Images», de A. Krizhevsky (2009)."
)
ARCHIVE = Remote(
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    256 * 2**20,
)

_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")
_NAMES = (*_TRAIN, "test_batch")
_PIXELS = 3 * 32 * 32
_EACH, _LIMIT = 64 * 2**20, 512 * 2**20
_MEMORY = 2**20

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_cifar10(
    path: str | Path | None = None, cache_dir: str | Path | None = None
) -> Dataset:
    """CIFAR-10: 60.000 fotografías en color de 32×32, en diez clases.

    Los ficheros son los de `path`; si no se da, el archivo de la caché, adonde se descarga la
    primera vez (170 MB) comprobando su suma. Los de la versión de Python son pickles, que podrían
    ejecutar cualquier cosa: se leen con un intérprete que solo entiende diccionarios, listas,
    números, textos y tablas de bytes.

    Args:
        path: `cifar-10-python.tar.gz` o `cifar-10-binary.tar.gz`, o la carpeta de cualquiera de los
            dos.
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (60000, 3, 32, 32) de 8 bits, con su clase, también como descripción. Las 10.000
        últimas son las de test, y vienen apartadas (`reserved`).

    Raises:
        FileNotFoundError: si `path` no existe o le falta algún fichero.
        ConnectionError: si no se puede descargar.
        ValueError: si un fichero está dañado o no es lo que se espera.
    """
    if path is None:
        cache = Path(cache_dir or user_cache_dir()).expanduser()
        source = fetched(ARCHIVE, cache / "cifar-10-python.tar.gz")
    else:
        source = Path(path).expanduser()
    contents = _contents(source)
    batches = []
    for name in _NAMES:
        if name in contents:
            batches.append(_from_pickle(contents.pop(name), f"{source}/{name}"))
        elif f"{name}.bin" in contents:
            binary = contents.pop(f"{name}.bin")
            batches.append(_from_binary(binary, f"{source}/{name}.bin"))
        else:
            raise FileNotFoundError(
                f"En «{source}» no está «{name}», ni «{name}.bin»: da en «path» el archivo de "
                "CIFAR-10 o su carpeta, o no des ninguno y se descargará."
            )
    labels = np.concatenate([labels for _, labels in batches])
    pixels = np.concatenate([pixels for pixels, _ in batches])
    return Dataset(
        x=torch.from_numpy(pixels.reshape(-1, 3, 32, 32)),
        labels=torch.from_numpy(labels),
        label_names=CLASSES,
        captions=tuple(CLASSES[label] for label in labels),
        attribution=ATTRIBUTION,
        reserved=torch.arange(len(labels)) >= len(labels) - len(batches[-1][1]),
    )


def _contents(source: Path) -> dict[str, bytes]:
    """Los ficheros de datos de un archivo o de una carpeta, por su nombre."""
    wanted = {*_NAMES, *(f"{name}.bin" for name in _NAMES)}
    if source.is_file():
        return read_members(source, wanted, each=_EACH, limit=_LIMIT)
    if not source.is_dir():
        raise FileNotFoundError(
            f"No existe «{source}»: da en «path» el archivo de CIFAR-10 o su carpeta."
        )
    contents = {}
    for folder in (source, *(source / name for name in _FOLDERS)):
        for name in wanted:
            file = folder / name
            if not file.is_file():
                continue
            if file.stat().st_size > _EACH:
                raise ValueError(
                    f"«{file}» mide {file.stat().st_size} bytes y se admiten {_EACH}: no es un "
                    "fichero de CIFAR-10."
                )
            contents[name] = file.read_bytes()
    return contents


def _from_binary(content: bytes, where: str) -> Batch:
    """La versión binaria: cada imagen, un byte con su clase y 3.072 con sus píxeles."""
    each = 1 + _PIXELS
    if not content or len(content) % each:
        raise ValueError(
            f"«{where}» mide {len(content)} bytes, que no son imágenes enteras de {each}: está "
            "cortado."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, each)
    return rows[:, 1:], _checked(rows[:, 0].tolist(), len(rows), where)


def _from_pickle(content: bytes, where: str) -> Batch:
    try:
        _check_size(content)
        table = _OnlyArrays(io.BytesIO(content), encoding="bytes").load()
    except (
        Exception
    ) as error:  # un pickle dañado puede acabar en cualquier excepción
        raise ValueError(
            f"«{where}» no se puede leer como datos de CIFAR-10: {error}."
        ) from error
    found = table if isinstance(table, dict) else {}
    array = found.get(b"data", found.get("data"))
    pixels = array.values if isinstance(array, _Array) else None
    if pixels is None or pixels.shape[1:] != (_PIXELS,):
        raise ValueError(
            f"«{where}» no lleva en «data» una tabla de bytes de (N, {_PIXELS}): no es un fichero "
            "de CIFAR-10."
        )
    labels = found.get(b"labels", found.get("labels"))
    return pixels, _checked(labels, len(pixels), where)


def _check_size(content: bytes) -> None:
    """Un pickle puede pedir de golpe gigabytes que luego no usa: se mira antes de abrirlo."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and int(argument or 0) > _MEMORY:
            raise pickle.UnpicklingError(
                f"pide recordar {argument} cosas, y se admiten {_MEMORY}"
            )


def _checked(labels: object, count: int, where: str) -> NDArray[np.int64]:
    if (
        not isinstance(labels, list)
        or len(labels) != count
        or not all(type(each) is int and 0 <= each < 10 for each in labels)
    ):
        raise ValueError(
            f"«{where}» no lleva una clase, de 0 a 9, por cada una de sus {count} imágenes: está "
            "dañado o no es un fichero de CIFAR-10."
        )
    return np.array(labels, dtype=np.int64)


class _Array:
    """Una tabla de NumPy según un pickle, que aquí solo puede ser de bytes."""

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, raw = state
        if not isinstance(kind, _Kind) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("sus tablas no son de bytes")
        order = "F" if columns_first else "C"
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order=order)  # type: ignore[call-overload]


class _Kind:
    """El tipo de una tabla de NumPy según un pickle: solo bytes sin signo."""

    def __init__(self, code: object, *_: object) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(
                f"lleva una tabla de {code!r}, y solo se admiten bytes"
            )

    def __setstate__(self, state: object) -> None:
        """El orden de los bytes y los campos: con un solo byte no dicen nada."""


def _empty_array(*_: object) -> _Array:
    return _Array()


def _latin1(text: object, encoding: object) -> bytes:
    """Como escribe unos bytes un pickle de Python 3 que Python 2 pueda leer."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("sus tablas no son de bytes")
    return text.encode("latin1")


class _OnlyArrays(pickle.Unpickler):
    """Un intérprete de pickles que no puede llamar a nada que no esté aquí."""

    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Lo que un pickle llama por su nombre, si se admite."""
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(
                f"pide usar «{module}.{name}», y solo se admiten tablas de bytes; no se ha "
                "ejecutado nada"
            )
        make = self.allowed[module, name]

        # Una función nueva cada vez: un pickle puede cambiar los atributos de lo que se le da.
        def call(*arguments: Any) -> Any:
            return make(*arguments)

        return call
