"""Lo que se recuerda de unos datos de referencia: sus características, calculadas una vez.

Se guardan en la caché por su contenido: la huella de los datos, la de la red y lo que se hace con
cada imagen antes. Si cambia cualquiera de los tres, es otra caché.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpm_lit.data import Dataset
from ddpm_lit.evaluation.inception import (
    PREPROCESSING,
    Inception,
    inception_features,
)
from ddpm_lit.evaluation.metrics import Gaussian, gaussian
from ddpm_lit.files.atomic import atomic_path, user_cache_dir
from ddpm_lit.machine.processes import ALONE, Processes

KEPT = 10_000
"""Cuántas características se guardan de un conjunto mayor; la gaussiana es la de todas."""


class Reference(NamedTuple):
    """Unos datos, vistos por Inception.

    `gaussian` es la de todos; `features`, las de todos o las de `KEPT` al azar si hay más, float32
    (M, 2048), y `labels`, las clases de esos, si las hay.
    """

    gaussian: Gaussian
    features: Tensor
    labels: Tensor | None


def reference_features(
    inception: Inception,
    data: Dataset,
    *,
    batch_size: int = 64,
    processes: Processes = ALONE,
    cache_dir: str | Path | None = None,
    note: Callable[[str], None],
    progress: bool = False,
) -> Reference:
    """Las características de unos datos, de la caché o calculadas ahora.

    Una caché dañada se rehace, y se dice por qué; si no se puede escribir, también se dice.

    Args:
        inception: la red.
        data: al menos dos imágenes.
        batch_size: cuántas se miran a la vez.
        processes: los procesos entre los que se reparten las que haya que calcular; `inception`,
            en el dispositivo de este.
        cache_dir: la carpeta de la caché; `None`, la del usuario.
        note: recibe una frase por cada cosa que haya que saber.
        progress: si se enseña una barra de progreso.

    Returns:
        Las características.
    """
    content = "/".join(
        (data.fingerprint(), inception.fingerprint, PREPROCESSING)
    )
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    path = Path(cache_dir or user_cache_dir()) / f"referencia-{key}.npz"
    rows = _kept_rows(len(data))
    labels = None if data.labels is None else data.labels[rows]
    found = None
    if path.is_file():
        try:
            found = Reference(*_read(path, content), labels)
        except _DAMAGED as error:
            note(
                f"Las estadísticas de referencia de «{path}» están dañadas ({error}) y se rehacen."
            )
    # Si a uno le faltan, las calculan todos.
    missing = processes.any(found is None)
    if found is not None and not missing:
        return found
    # Por partes: los datos pueden no caber enteros en coma flotante.
    mine = torch.tensor(processes.rows(len(data)), dtype=torch.int64)
    part_features = torch.cat(
        [
            inception_features(
                inception,
                data.batch(part)["x"],
                batch_size=batch_size,
                progress=progress and processes.main,
            )
            for part in torch.split(mine, _AT_ONCE)
        ]
    )
    features = processes.joined(part_features, len(data))
    reference = Reference(gaussian(features), features[rows], labels)
    try:
        if processes.main:
            _write(path, reference, content)
    except OSError as error:
        note(
            f"No se han podido guardar las estadísticas de referencia en «{path}» ({error})."
        )
    return reference


def _kept_rows(count: int) -> Tensor:
    if count <= KEPT:
        return torch.arange(count)
    generator = np.random.Generator(np.random.Philox(0))
    chosen = generator.choice(count, KEPT, replace=False)
    return torch.from_numpy(np.sort(chosen))


_DAMAGED = (
    *(OSError, EOFError, KeyError, ValueError, MemoryError),
    zipfile.BadZipFile,
)
_AT_ONCE = 4096
_ARRAYS = ("mean", "root", "features")


def _write(path: Path, reference: Reference, content: str) -> None:
    tensors = (*reference.gaussian, reference.features)
    arrays: dict[str, Any] = {
        name: tensor.numpy()
        for name, tensor in zip(_ARRAYS, tensors, strict=True)
    }
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays, sum=_sum(arrays, content))


def _read(path: Path, content: str) -> tuple[Gaussian, Tensor]:
    if not zipfile.is_zipfile(path):
        raise ValueError("no es un npz, o está cortado")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in _ARRAYS}
        written = file["sum"]
    if not np.array_equal(written, _sum(arrays, content)):
        raise ValueError("su suma no es la de lo que hay")
    mean, root, features = map(torch.from_numpy, arrays.values())
    return Gaussian(mean, root), features


def _sum(arrays: dict[str, NDArray[Any]], content: str) -> NDArray[np.uint8]:
    """El sha256 de unas tablas y de aquello de lo que son, como 32 enteros de 8 bits."""
    digest = hashlib.sha256(content.encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
