"""Una carpeta cualquiera de imágenes."""

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.files.opening import fit, image_suffixes, on_white, open_image

_MODES = {"rgb": "RGB", "gray": "L"}
_OTHER_PICTURES = frozenset({
    ".ai", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif",
    ".hif", ".jxl", ".jxr", ".nef", ".orf", ".pdf", ".ps", ".raf", ".raw", ".rw2", ".svg", ".svgz",
    ".webp", ".xcf",
})  # fmt: skip
"""Extensiones que alguien esperaría ver entre las imágenes, y que quizá no se sepan leer."""


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
    animación se toma el primer fotograma. Se siguen los enlaces a otras carpetas, sin entrar dos
    veces en la misma. No se miran los ficheros ocultos ni los que no tienen extensión de imagen;
    de los que podrían parecerlo y no se saben leer, como HEIC, se avisa.

    La descripción de cada imagen es el nombre de su fichero, sin la extensión y con espacios en
    vez de guiones: de `gatos/gato_gris.png`, «gato gris».

    Args:
        path: la carpeta; «~» es la del usuario.
        size: lado de las imágenes, en píxeles.
        color: «rgb» o «gray».
        classes: cada subcarpeta directa es una clase, con su nombre.
        skip_errors: omite con un aviso las imágenes que no se pueden leer, en vez de parar.

    Returns:
        Imágenes (N, 3 o 1, size, size) en el orden de sus rutas relativas, con su descripción en
        `captions` y la huella de cada fichero en `content_keys`; con `classes`, también sus
        clases.

    Raises:
        FileNotFoundError: si la carpeta no existe.
        ValueError: si no hay imágenes, una no se puede leer, no caben en la memoria o una opción
            no es válida.
        TypeError: si una opción no es del tipo debido.
    """
    check_integer("size", size, minimum=1)
    if color not in _MODES:
        raise ValueError(f"«color» vale {color!r} y debe ser «rgb» o «gray».")
    for name, value in (("classes", classes), ("skip_errors", skip_errors)):
        if not isinstance(value, bool):
            raise TypeError(
                f"«{name}» debe ser true o false, y ha llegado {value!r}."
            )
    root = _folder(path)
    found = _explore(root)
    _check_found(root, found, classes=classes, skip_errors=skip_errors)
    x, kept, failures = _read_images(
        root, found, size, _MODES[color], skip_errors=skip_errors
    )
    for notice in _notices(root, found, failures):
        warnings.warn(notice, stacklevel=3)
    names: tuple[str, ...] = ()
    labels = None
    if classes:
        folders = [_relative(file, root).split("/")[0] for file in kept]
        names = tuple(sorted(set(folders)))
        numbers = {name: number for number, name in enumerate(names)}
        labels = torch.tensor(
            [numbers[name] for name in folders], dtype=torch.int64
        )
    return Dataset(
        x=torch.from_numpy(x),
        labels=labels,
        label_names=names,
        captions=tuple(_caption(file) for file in kept),
        levels=256,
        content_keys=tuple(_content_key(file) for file in kept),
    )


class _Found(NamedTuple):
    """Lo que hay en una carpeta.

    Las imágenes, los demás ficheros por su extensión, las carpetas que se repiten detrás de un
    enlace y las que no se pueden leer, con el motivo.
    """

    images: list[Path]
    others: Counter[str]
    repeated: list[Path]
    closed: list[tuple[Path, str]]


def _folder(path: str | Path) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise TypeError(
            f"«path» debe ser el nombre de una carpeta, entre comillas, y ha llegado {path!r}."
        )
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        raise FileNotFoundError(
            f"La carpeta de imágenes {str(root)!r} no existe o no es una carpeta: revisa «path»."
        )
    return root


def _explore(root: Path) -> _Found:
    """Recorre la carpeta, sus subcarpetas y, al final, las que están detrás de un enlace.

    Una carpeta a la que se llega dos veces cuenta solo la primera: así un enlace que vuelve atrás
    no hace un bucle, ni una imagen cuenta dos veces.
    """
    suffixes = image_suffixes()
    found = _Found([], Counter(), [], [])
    seen: set[str] = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            found.repeated.append(folder)
            continue
        seen.add(real)
        try:
            entries = [
                (entry, _kind(entry)) for entry in sorted(folder.iterdir())
            ]
        except OSError as error:
            found.closed.append(
                (folder, f"el sistema no deja abrirla ({error.strerror})")
            )
            continue
        for entry, kind in entries:
            if kind == "folder":
                (links if entry.is_symlink() else folders).append(entry)
            elif kind == "file" and entry.suffix.lower() in suffixes:
                found.images.append(entry)
            elif kind == "file":
                found.others[entry.suffix.lower()] += 1
    found.images.sort(key=lambda file: _relative(file, root))
    return found


def _kind(entry: Path) -> str | None:
    """«folder», «file» (también un enlace roto) o, de lo oculto y lo demás, `None`."""
    if entry.name.startswith("."):
        return None
    if entry.is_dir():
        return "folder"
    return "file" if entry.is_file() or entry.is_symlink() else None


def _check_found(
    root: Path, found: _Found, *, classes: bool, skip_errors: bool
) -> None:
    for folder, reason in found.closed:
        if folder == root or not skip_errors:
            raise ValueError(
                f"La carpeta {str(folder)!r} no se puede leer: {reason}. Quítala, o usa "
                "«skip_errors = true» para omitir lo que falle."
            )
    if not found.images:
        what = (
            f"hay {_counted(found.others)}" if found.others else "no hay nada"
        )
        raise ValueError(
            f"En la carpeta {str(root)!r} no hay ninguna imagen (PNG, JPEG, WebP, GIF…): {what}."
        )
    loose = [file.name for file in found.images if file.parent == root]
    if classes and loose:
        raise ValueError(
            f"Con «classes», cada imagen debe estar en la subcarpeta de su clase, y "
            f"{len(loose)} están sueltas en {str(root)!r} (la primera, {loose[0]!r})."
        )


def _read_images(
    root: Path, found: _Found, size: int, mode: str, *, skip_errors: bool
) -> tuple[NDArray[np.float32], list[Path], list[str]]:
    """Las imágenes (N, C, size, size), sus ficheros y lo que no se ha podido leer."""
    x = _room(len(found.images), len(mode), size)
    kept: list[Path] = []
    failures = [
        f"{_relative(folder, root)}: {reason}"
        for folder, reason in found.closed
    ]
    for file in found.images:
        try:
            _read_image(file, mode, out=x[len(kept)])
        except ValueError as error:
            if not skip_errors:
                raise ValueError(
                    f"La imagen {str(file)!r} no se puede leer: {error}. Quítala de la carpeta o "
                    "usa «skip_errors = true» para omitir las que fallen."
                ) from error
            failures.append(f"{_relative(file, root)}: {error}")
        else:
            kept.append(file)
    if not kept:
        raise ValueError(
            f"Ninguna de las {len(found.images)} imágenes de {str(root)!r} se puede leer. "
            f"{failures[0]}."
        )
    return x[: len(kept)], kept, failures


def _notices(root: Path, found: _Found, failures: list[str]) -> Iterable[str]:
    """Lo que se ha dejado fuera y hay que saber."""
    if failures:
        yield (
            f"De las {len(found.images)} imágenes de {str(root)!r} se han omitido "
            f"{len(failures)}, que no se pueden leer: {_first(failures)}"
        )
    unread = Counter(
        {s: n for s, n in found.others.items() if s in _OTHER_PICTURES}
    )
    if unread:
        yield (
            f"En la carpeta {str(root)!r} han quedado fuera ficheros que no se saben leer "
            f"({_counted(unread)}): pásalos a PNG o a JPEG si quieres que cuenten."
        )
    if found.repeated:
        links = [_relative(folder, root) for folder in found.repeated]
        yield f"No se ha entrado otra vez en carpetas ya leídas, por enlaces: {_first(links)}"


def _counted(suffixes: Counter[str]) -> str:
    counts = [
        f"{count} {suffix or 'sin extensión'}"
        for suffix, count in sorted(suffixes.items())
    ]
    return " y ".join(
        [", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts
    )


def _first(names: list[str]) -> str:
    return "; ".join(names[:5]) + ("…" if len(names) > 5 else "")


def _relative(file: Path, root: Path) -> str:
    """Ruta relativa con «/» y en NFC, para que el orden no dependa del sistema."""
    return unicodedata.normalize("NFC", file.relative_to(root).as_posix())


def _caption(file: Path) -> str:
    stem = unicodedata.normalize("NFC", file.stem)
    return re.sub(r"[\s_-]+", " ", stem).strip() or stem


def _content_key(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _room(count: int, channels: int, size: int) -> NDArray[np.float32]:
    try:
        return np.empty((count, channels, size, size), dtype=np.float32)
    except MemoryError as error:
        gigabytes = 4 * count * channels * size**2 / 1e9
        raise ValueError(
            f"{count} imágenes de {size}×{size} ocupan {gigabytes:.0f} GB y no caben en la "
            "memoria: usa un «size» menor o menos imágenes."
        ) from error


def _read_image(file: Path, mode: str, out: NDArray[np.float32]) -> None:
    """Lee una imagen y la deja en `out`, (C, size, size), en [-1, 1]."""
    image = on_white(open_image(file)).convert(mode)
    values = np.asarray(fit(image, out.shape[1:], Image.Resampling.LANCZOS))
    planes = values[None] if mode == "L" else values.transpose(2, 0, 1)
    np.divide(planes, np.float32(127.5), out=out)
    out -= 1
