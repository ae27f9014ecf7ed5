"""El formato IDX, el de MNIST y los que se hacen como él.

Un fichero empieza por dos ceros, el tipo de sus números y cuántas dimensiones tiene la tabla;
siguen las dimensiones, en 32 bits con el byte más significativo delante, y los números. Puede estar
comprimido con gzip.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_GZIP = b"\x1f\x8b"
_BYTES = 0x08
_LIMIT = 2**30


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Una tabla de bytes.

    Args:
        path: el fichero, comprimido o no.
        dimensions: cuántas dimensiones debe tener.

    Returns:
        uint8, con la forma que dice el fichero.

    Raises:
        ValueError: si no es un fichero IDX de bytes con esas dimensiones, o no mide lo que dice.
        OSError: si el sistema no deja abrirlo.
    """
    with open(path, "rb") as raw:
        zipped = raw.read(2) == _GZIP
        raw.seek(0)
        try:
            if not zipped:
                return _read(path, raw, dimensions)
            with gzip.open(raw) as unzipped:
                return _read(path, unzipped, dimensions)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"El fichero «{path}» está dañado o cortado ({error}): vuelve a descargarlo."
            ) from error


def _read(
    path: Path, stream: BinaryIO | gzip.GzipFile, dimensions: int
) -> NDArray[np.uint8]:
    expected = bytes((0, 0, _BYTES, dimensions))
    header = stream.read(4 + 4 * dimensions)
    if header[:4] != expected or len(header) < 4 + 4 * dimensions:
        raise ValueError(
            f"El fichero «{path}» empieza por {header[:4].hex(' ') or 'nada'} y un IDX de bytes "
            f"con {dimensions} dimensiones empieza por {expected.hex(' ')}, seguido de ellas: no "
            "es el fichero que se espera."
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if size > _LIMIT:
        raise ValueError(
            f"El fichero «{path}» dice tener {'×'.join(map(str, shape))} bytes, y se leen como "
            f"mucho {_LIMIT}: su cabecera está mal."
        )
    # Lo que dice la cabecera puede ser mentira: se lee eso, y un byte más por si sobra.
    data = stream.read(size + 1)
    if len(data) != size:
        came = f"{len(data)}" if len(data) < size else "más"
        raise ValueError(
            f"El fichero «{path}» dice tener {size} bytes de datos y tiene {came}: está cortado o "
            "su cabecera está mal."
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
