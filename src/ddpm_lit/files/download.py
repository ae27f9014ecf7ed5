"""Descargar un fichero público: entero y comprobado, o nada."""

import hashlib
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ddpm_lit.files.atomic import atomic_path

_CHUNK = 2**18
_TIMEOUT = 30.0


class Remote(NamedTuple):
    """Un fichero público: de dónde se puede bajar, su suma y lo más que puede medir.

    `digest` es el algoritmo y la suma en hexadecimal, «sha256:…» o «md5:…»; `limit`, en bytes.
    """

    urls: tuple[str, ...]
    digest: str
    limit: int


def fetched(remote: Remote, path: Path, *, timeout: float = _TIMEOUT) -> Path:
    """El fichero, que se descarga si no está o si está dañado.

    Se escribe de forma atómica, y solo después de comprobar su suma: si algo falla, lo que hubiera
    en `path` sigue ahí.

    Args:
        remote: el fichero público.
        path: dónde se deja.
        timeout: segundos que se espera a un servidor que no da señales.

    Returns:
        `path`.

    Raises:
        ConnectionError: si no se ha podido bajar de ningún sitio; dice qué ha pasado en cada uno y
            dónde dejar el fichero si se descarga a mano.
        OSError: si no se puede escribir.
    """
    if path.is_file():
        if _digest(path, remote.digest) == remote.digest:
            return path
        warnings.warn(
            f"«{path}» está dañado (su suma no es la publicada) y se descarga otra vez.",
            stacklevel=3,
        )
    reasons = []
    for url in remote.urls:
        try:
            with atomic_path(path) as temporary:
                _download(url, temporary, remote, timeout)
            return path
        except _FailedError as error:
            reasons.append(f"{url}: {error}")
    raise ConnectionError(
        f"No se ha podido descargar «{path.name}». {'; '.join(reasons)}. Si tienes el fichero, "
        f"déjalo en «{path.parent}»."
    )


class _FailedError(Exception):
    pass


def _download(
    url: str, temporary: Path, remote: Remote, timeout: float
) -> None:
    with open(temporary, "wb") as file:
        for chunk in _received(url, remote.limit, timeout):
            file.write(chunk)
    digest = _digest(temporary, remote.digest)
    if digest != remote.digest:
        raise _FailedError(
            f"lo que llega no es el fichero publicado (su suma es {digest} y debía ser "
            f"{remote.digest})"
        )


def _received(url: str, limit: int, timeout: float) -> Iterator[bytes]:
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            total = int(response.headers.get("Content-Length") or 0)
            with tqdm(
                total=total or None,
                desc=f"Descargando {url.rpartition('/')[2]}",
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar:
                while chunk := response.read(_CHUNK):
                    received += len(chunk)
                    if received > limit:
                        raise _FailedError(
                            f"llegan más de {limit} bytes, y el fichero publicado no los tiene"
                        )
                    bar.update(len(chunk))
                    yield chunk
    except urllib.error.HTTPError as error:
        raise _FailedError(f"responde con el error {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            reason = f"no responde en {timeout:g} s"
        raise _FailedError(str(reason).strip()) from error
    if received < total:
        raise _FailedError(
            f"se ha cortado: han llegado {received} bytes de {total}"
        )


def _digest(path: Path, like: str) -> str:
    """La suma de un fichero, con el algoritmo y el aspecto de otra."""
    algorithm = like.partition(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"{algorithm}:{digest.hexdigest()}"
