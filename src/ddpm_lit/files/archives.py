"""Leer lo que se espera de un archivo .tar.gz ajeno, sin escribir nada en el disco.

Un archivo de fuera puede traer rutas que se salen de su carpeta, enlaces, dispositivos o unos
cuantos kilobytes que se descomprimen en terabytes. Aquí no se extrae: se leen a la memoria los
ficheros que se buscan, con un límite, y lo demás hace que se rechace entero.
"""

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO, cast

_CHUNK = 2**20


def read_members(
    path: Path, wanted: Collection[str], *, each: int, limit: int
) -> dict[str, bytes]:
    """El contenido de algunos ficheros de un .tar.gz, por su nombre sin la carpeta.

    Args:
        path: el archivo.
        wanted: los nombres que se buscan.
        each: lo más que puede medir uno, en bytes.
        limit: lo más que puede medir el archivo descomprimido, en bytes.

    Returns:
        Los que estén, enteros.

    Raises:
        ValueError: si el archivo está dañado o cortado, pasa de los límites, o lleva algo que no
            sea un fichero o una carpeta corrientes dentro de sí mismo.
        OSError: si el sistema no deja abrirlo.
    """
    contents: dict[str, bytes] = {}
    try:
        with gzip.open(path) as unzipped:
            limited = _Limited(unzipped, path, limit)
            with tarfile.open(
                fileobj=cast(IO[bytes], limited), mode="r|"
            ) as archive:
                for member in archive:
                    _check_member(member, path)
                    name = PurePosixPath(member.name).name
                    if not member.isfile() or name not in wanted:
                        continue
                    if member.size > each:
                        raise ValueError(
                            f"«{member.name}», dentro de «{path}», dice medir {member.size} bytes "
                            f"y se admiten {each}: no es el archivo que se espera."
                        )
                    stream = archive.extractfile(member)
                    contents[name] = stream.read() if stream else b""
            while limited.read(_CHUNK):
                pass  # gzip comprueba su suma al llegar al final
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"El archivo «{path}» está dañado o cortado ({error}): bórralo y vuelve a descargarlo."
        ) from error
    return contents


def _check_member(member: tarfile.TarInfo, path: Path) -> None:
    name = PurePosixPath(member.name)
    outside = name.is_absolute() or ".." in name.parts or "\\" in member.name
    kinds = {
        "es un enlace": member.issym() or member.islnk(),
        "es un dispositivo": member.isdev(),
        "se sale de su carpeta": outside,
        "no es un fichero corriente": not (member.isreg() or member.isdir()),
    }
    for reason, guilty in kinds.items():
        if guilty:
            raise ValueError(
                f"El archivo «{path}» lleva «{member.name}», que {reason}: no es el archivo que se "
                "espera y no se usa. Descárgalo otra vez de su página."
            )


class _Limited:
    """Un flujo que no da más bytes de los debidos."""

    def __init__(self, stream: gzip.GzipFile, path: Path, limit: int) -> None:
        self.stream, self.path, self.limit = stream, path, limit
        self.left = limit

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(
                f"El archivo «{self.path}» se descomprime en más de {self.limit} bytes: no es el "
                "que se espera."
            )
        return data
