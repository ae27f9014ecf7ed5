"""Abrir una imagen: derecha, con 8 bits por canal y con una sola clase de error.

Pillow sabe abrir más cosas que imágenes (PDF, MPEG, HDF5…), y un fichero dañado puede acabar en
casi cualquier excepción. Aquí solo se abren formatos de píxeles, y todo lo que sale mal es un
`ValueError` con una frase.
"""

import os
import warnings
from collections.abc import Sequence
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

RASTER_FORMATS = frozenset({
    "AVIF", "BMP", "CUR", "DCX", "DDS", "DIB", "GIF", "HEIF", "ICNS", "ICO", "JPEG", "JPEG2000",
    "JXL", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM",
    "XPM",
})  # fmt: skip
"""Los formatos de píxeles, con el nombre que les da Pillow; HEIF y JXL, si hay un complemento."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INTEGERS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PLAIN_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = (
    258,
    262,
    339,
)  # etiquetas de TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def image_suffixes() -> frozenset[str]:
    """Las extensiones de los formatos de píxeles que se saben abrir aquí, en minúsculas."""
    extensions = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, name in extensions.items()
        if name in RASTER_FORMATS and name in Image.OPEN
    )


def open_image(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """Abre una imagen derecha, según su EXIF, y con 8 bits por canal.

    Un EXIF dañado se pasa por alto: la imagen queda como está guardada. Los enteros de 16 bits
    van de 0 a 65535, y los de otra anchura se reescalan según lo que diga el fichero.

    Args:
        file: el fichero, o un flujo con su contenido; de una animación se toma el primer
            fotograma.

    Returns:
        Imagen de Pillow, con su transparencia si la tenía.

    Raises:
        ValueError: si no se puede leer, o si no se sabe a qué escala están sus píxeles; el
            mensaje es solo el motivo, para que lo complete quien conoce el fichero.
    """
    with warnings.catch_warnings():
        # Los avisos de Pillow hablan de metadatos dañados y de tamaños que aquí sí se admiten.
        warnings.simplefilter("ignore")
        try:
            return _upright(file)
        except _UnknownScaleError:
            raise
        except (
            Exception
        ) as error:  # un fichero dañado puede acabar en cualquier excepción
            raise ValueError(_reason(error)) from error


def on_white(image: Image.Image) -> Image.Image:
    """Funde sobre blanco la transparencia de una imagen, si la tiene."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def fit(
    image: Image.Image, side: Sequence[int], resampling: Image.Resampling
) -> Image.Image:
    """El mayor rectángulo centrado con la proporción de `side`, (alto, ancho), a ese tamaño.

    Se recorta antes de reducir: con `ImageOps.fit`, el filtro mezcla lo de fuera del recorte.
    """
    height, width = side
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    with warnings.catch_warnings():
        # Hay versiones de Pillow que también miran el tamaño al recortar.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        part = image.crop((left, top, left + across, top + down))
    return part.resize((width, height), resampling)


class _UnknownScaleError(ValueError):
    pass


def _upright(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    Image.init()
    with Image.open(
        file, formats=sorted(RASTER_FORMATS & Image.OPEN.keys())
    ) as opened:
        opened.load()
        image: Image.Image = opened
        if image.mode in _INTEGERS:
            image = _to_eight_bits(opened)
        elif image.mode == "F":
            raise _UnknownScaleError(
                "sus píxeles son de coma flotante y no se sabe a qué escala están; guárdala con 8 "
                "o 16 bits"
            )
        elif image.mode not in _PLAIN_MODES:
            image = image.convert("RGB")
        turn = _TURNS.get(_orientation(opened))
        return image.copy() if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # un EXIF dañado puede acabar en cualquier excepción, y no toca los píxeles
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Reescala los enteros de más de 8 bits; `convert` los recortaría a 255."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    values = np.asarray(image)
    if bits == 32 and not signed:
        values = values.view(np.uint32)  # Pillow los deja en enteros con signo
    white = _white(int(values.min()), int(values.max()), bits, signed=signed)
    levels = (values / (white / 255)).round().astype(np.uint8)
    return Image.fromarray(
        255 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels
    )


def _white(low: int, high: int, bits: int, *, signed: bool) -> int:
    """El valor que es blanco: el mayor que cabe.

    En 32 bits suelen guardarse datos de menos: lo que cabe en 16 se toma por 16, y lo que no
    deja saber cuántos son, por ejemplo un máximo de 200, no se admite.
    """
    full = 2 ** (bits - signed) - 1
    if low >= 0:
        if bits < 32 or high == 0 or high > full // 256:
            return int(full)
        if 255 < high <= 65535:
            return 65535
    raise _UnknownScaleError(
        f"sus enteros de {bits} bits van de {low} a {high} y no se sabe a qué escala están; "
        "guárdala con 8 o 16 bits"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no es de un formato de imagen que se sepa leer; usa un PNG, un JPEG o un WebP"
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"tiene más de {limit} millones de píxeles, el máximo que se lee; redúcela antes"
    if isinstance(error, MemoryError):
        return "no cabe en la memoria; redúcela antes"
    if isinstance(error, FileNotFoundError):
        return "no existe"
    if isinstance(error, OSError) and error.errno is not None:
        return f"el sistema no deja abrirla: {error.strerror}"
    return f"está dañada o incompleta ({type(error).__name__}: {error})"
