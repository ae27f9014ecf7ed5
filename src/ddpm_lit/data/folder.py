"""Una carpeta cualquiera de imágenes."""

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ddpm_lit.data.dataset import Dataset, check_integer

_MODES = {"rgb": "RGB", "gray": "L"}
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def load_folder(
    path: str | Path,
    size: int = 32,
    color: str = "rgb",
    classes: bool = False,
    skip_errors: bool = False,
) -> Dataset:
    """Todas las imágenes de una carpeta y de sus subcarpetas, recortadas al mismo tamaño.

    Cada imagen se gira según su EXIF, se recorta el mayor cuadrado centrado y se lleva a
    size × size con un filtro de Lanczos. La transparencia se funde sobre blanco, y de una
    animación se toma el primer fotograma. No se miran los ficheros ocultos ni los que no tienen
    extensión de imagen.

    Args:
        path: la carpeta.
        size: lado de las imágenes, en píxeles.
        color: «rgb» o «gray».
        classes: cada subcarpeta directa es una clase, con su nombre.
        skip_errors: omite con un aviso las imágenes que no se pueden leer, en vez de parar.

    Returns:
        Imágenes (N, 3 o 1, size, size) ordenadas por su ruta relativa, que va en `captions`;
        con `classes`, también sus clases.

    Raises:
        FileNotFoundError: si la carpeta no existe.
        ValueError: si no hay imágenes, una no se puede leer o una opción no es válida.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"La carpeta de imágenes {str(root)!r} no existe o no es una carpeta: revisa «path»."
        )
    check_integer("size", size, minimum=1)
    if color not in _MODES:
        raise ValueError(f"«color» vale {color!r} y debe ser «rgb» o «gray».")
    files = _image_files(root)
    if not files:
        raise ValueError(
            f"En la carpeta {str(root)!r} no hay ninguna imagen (PNG, JPEG, WebP, GIF…)."
        )
    if classes:
        _check_class_folders(root, files)
    pixels: list[NDArray[np.uint8]] = []
    kept: list[Path] = []
    failures: list[str] = []
    for file in files:
        try:
            pixels.append(_read_image(file, size, _MODES[color]))
            kept.append(file)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if not skip_errors:
                raise ValueError(
                    f"La imagen {str(file)!r} no se puede leer ({error}): quítala de la carpeta "
                    "o usa «skip_errors = true» para omitir las que fallen."
                ) from error
            failures.append(_relative(file, root))
    if not kept:
        raise ValueError(f"Ninguna de las {len(files)} imágenes de {str(root)!r} se puede leer.")
    if failures:
        shown = ", ".join(failures[:5]) + ("…" if len(failures) > 5 else "")
        warnings.warn(
            f"Se han omitido {len(failures)} de {len(files)} imágenes que no se pueden leer: "
            f"{shown}",
            stacklevel=3,
        )
    captions = tuple(_relative(file, root) for file in kept)
    names: tuple[str, ...] = ()
    labels = None
    if classes:
        folders = [caption.split("/")[0] for caption in captions]
        names = tuple(sorted(set(folders)))
        labels = torch.tensor([names.index(name) for name in folders], dtype=torch.int64)
    stacked = np.stack(pixels).astype(np.float32) / np.float32(127.5) - 1
    return Dataset(
        x=torch.from_numpy(stacked),
        labels=labels,
        label_names=names,
        captions=captions,
        levels=256,
    )


def _image_files(root: Path) -> list[Path]:
    extensions = Image.registered_extensions()
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in extensions
        ]
    return sorted(found, key=lambda file: _relative(file, root))


def _relative(file: Path, root: Path) -> str:
    """Ruta relativa con «/» y en NFC, para que el orden no dependa del sistema."""
    return unicodedata.normalize("NFC", file.relative_to(root).as_posix())


def _check_class_folders(root: Path, files: list[Path]) -> None:
    loose = [file.name for file in files if file.parent == root]
    if loose:
        raise ValueError(
            f"Con «classes», cada imagen debe estar en la subcarpeta de su clase, y "
            f"{len(loose)} están sueltas en {str(root)!r} (la primera, {loose[0]!r})."
        )


def open_image(file: str | os.PathLike[str]) -> Image.Image:
    """Abre una imagen derecha, según su EXIF, y con 8 bits por canal.

    Args:
        file: el fichero; de una animación se toma el primer fotograma.

    Returns:
        Imagen de Pillow, con su transparencia si la tenía.

    Raises:
        OSError: si el fichero no existe o no es una imagen.
        ValueError: si sus píxeles son de coma flotante.
    """
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in _SIXTEEN_BITS:
            # `convert` recorta los valores de 16 bits a 255 en vez de reescalarlos.
            eight_bits = np.clip(np.asarray(image, dtype=np.float64) / 257, 0, 255).round()
            image = Image.fromarray(eight_bits.astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("los píxeles en coma flotante no tienen una escala conocida")
        image.load()
    return image


def on_white(image: Image.Image) -> Image.Image:
    """Funde sobre blanco la transparencia de una imagen, si la tiene."""
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))


def _read_image(file: Path, size: int, mode: str) -> NDArray[np.uint8]:
    """Una imagen como uint8 (C, size, size)."""
    image = on_white(open_image(file))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Se recorta antes de reducir: con `ImageOps.fit`, el filtro mezcla lo de fuera del recorte.
    square = image.convert(mode).crop((left, top, left + side, top + side))
    values = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    return values[None] if mode == "L" else values.transpose(2, 0, 1)
