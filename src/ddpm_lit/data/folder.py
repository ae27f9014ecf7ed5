"""Una carpeta cualquiera de imágenes."""

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.data.prepared import (
    CacheWriteError,
    Entry,
    Item,
    Known,
    Pixels,
    Prepared,
    prepare,
)
from ddpm_lit.data.storage import Store
from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.files.opening import fit, image_suffixes, on_white, open_image
from ddpm_lit.machine.ahead import ahead, cores

T = TypeVar("T")
R = TypeVar("R")

MODES = {"rgb": "RGB", "gray": "L"}
"""El modo de Pillow de cada valor de `color`."""

_AT_ONCE = 8 * 2**20
_WITHOUT_CACHE = 512 * 2**20
_TOGETHER = 16
_OTHER_PICTURES = frozenset({
    ".ai", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif",
    ".hif", ".jxl", ".jxr", ".nef", ".orf", ".pdf", ".ps", ".raf", ".raw", ".rw2", ".svg", ".svgz",
    ".webp", ".xcf",
})  # fmt: skip
"""Extensiones que alguien esperaría ver entre las imágenes, y que quizá no se sepan leer."""


def load_folder(
    path: str | Path,
    size: int | Sequence[int] = 32,
    color: str = "rgb",
    classes: bool = False,
    skip_errors: bool = False,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Todas las imágenes de una carpeta y de sus subcarpetas, recortadas al mismo tamaño.

    Cada imagen se gira según su EXIF, se recorta el mayor rectángulo centrado de la proporción
    pedida y se lleva a ese tamaño con un filtro de Lanczos. La transparencia se funde sobre blanco,
    y de una animación se toma el primer fotograma. Se siguen los enlaces a otras carpetas, sin
    entrar dos veces en la misma. No se miran los ficheros ocultos ni los que no tienen extensión de
    imagen; de los que podrían parecerlo y no se saben leer, como HEIC, se avisa.

    La descripción de cada imagen es el nombre de su fichero, sin la extensión y con espacios en
    vez de guiones: de `gatos/gato_gris.png`, «gato gris».

    Si los ficheros pasan de 8 MB, las imágenes se preparan una vez y quedan en una caché, de la
    que luego se traen según hacen falta. Si se corta, la vez siguiente continúa; si cambian unos
    cuantos ficheros, se preparan solo esos. Un fichero ha cambiado si cambian su nombre, su tamaño
    o su fecha.

    Args:
        path: la carpeta; «~» es la del usuario.
        size: lado de las imágenes, en píxeles, o su alto y su ancho.
        color: «rgb» o «gray».
        classes: cada subcarpeta directa es una clase, con su nombre.
        skip_errors: omite con un aviso las imágenes que no se pueden leer, en vez de parar.
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (N, 3 o 1, alto, ancho), de 8 bits, en el orden de sus rutas relativas, con su
        descripción en `captions` y la huella de cada fichero en `content_keys`; con `classes`,
        también sus clases.

    Raises:
        FileNotFoundError: si la carpeta no existe.
        ValueError: si no hay imágenes, una no se puede leer, no caben en la memoria ni en la caché
            o una opción no es válida.
        TypeError: si una opción no es del tipo debido.
    """
    side = check_side(size)
    if color not in MODES:
        raise ValueError(f"«color» vale {color!r} y debe ser «rgb» o «gray».")
    for name, value in (("classes", classes), ("skip_errors", skip_errors)):
        if not isinstance(value, bool):
            raise TypeError(
                f"«{name}» debe ser true o false, y ha llegado {value!r}."
            )
    root = _folder(path)
    found = _explore(root)
    _check_found(root, found, classes=classes, skip_errors=skip_errors)
    reading = _Reading(root, MODES[color], side, skip_errors)
    prepared = _prepared(reading, found.images, cache_dir)
    kept, failures = _sorted_out(reading, found, prepared.entries)
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
        store=prepared.store,
        labels=labels,
        label_names=names,
        captions=tuple(_caption(file) for file in kept),
        content_keys=tuple(
            entry.note for entry in prepared.entries if entry.kept
        ),
        memory=prepared.memory,
    )


def check_side(size: int | Sequence[int]) -> tuple[int, int]:
    """El alto y el ancho que pide una opción: dos enteros, o uno si es cuadrado.

    Raises:
        TypeError: si no son enteros.
        ValueError: si no son uno o dos, o alguno no es positivo.
    """
    if not isinstance(size, Sequence) or isinstance(size, str):
        size = (size, size)
    if len(size) != 2:
        raise ValueError(
            f"«size» tiene {len(size)} números y debe ser el lado, o el alto y el ancho."
        )
    height, width = (check_integer("size", side, minimum=1) for side in size)
    return height, width


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


def _prepared(
    reading: "_Reading", files: list[Path], cache_dir: str | Path | None
) -> Prepared:
    """Las imágenes de unos ficheros: de la caché o, si son cuatro cosas, leídas en el momento."""
    names, total = [], 0
    for file in files:
        name, size = _identity(file, reading.root)
        names.append(name)
        total += size

    def produce(start: int, known: Known) -> Iterator[Item]:
        return reading.items(files[start:], names[start:], known)

    shape = (len(reading.mode), *reading.side)
    needed = len(files) * torch.Size(shape).numel()
    if total <= _AT_ONCE and needed <= _WITHOUT_CACHE:
        return _in_memory(produce(0, lambda name: None), len(files), shape)
    options = {
        "root": os.path.realpath(reading.root),
        "mode": reading.mode,
        "size": reading.side,
    }
    key = hashlib.sha256(repr(options).encode("utf-8", "surrogateescape"))
    folder = Path(cache_dir or user_cache_dir()).expanduser()
    try:
        return prepare(
            folder / f"carpeta-{key.hexdigest()[:16]}",
            options,
            shape,
            produce,
            names=names,
            total=len(files),
        )
    except CacheWriteError as error:
        if needed > _WITHOUT_CACHE:
            raise ValueError(
                f"{error} Sin ella no se puede: las {len(files)} imágenes ocupan "
                f"{needed / 1e9:.1f} GB."
            ) from error
        warnings.warn(
            f"{error} Se sigue sin ella: las imágenes se leerán otra vez la próxima.",
            stacklevel=4,
        )
        return _in_memory(produce(0, lambda name: None), len(files), shape)


def _in_memory(
    items: Iterable[Item], count: int, shape: tuple[int, ...]
) -> Prepared:
    pixels = _room(count, shape)
    entries = []
    row = 0
    for item in items:
        if item.pixels is not None:
            pixels[row] = item.pixels
            row += 1
        entries.append(item.entry)
    return Prepared(Store(torch.from_numpy(pixels[:row])), entries, None)


class _Reading(NamedTuple):
    """Cómo se leen las imágenes de una carpeta; `side` es el alto y el ancho."""

    root: Path
    mode: str
    side: tuple[int, int]
    skip_errors: bool

    def items(
        self, files: Sequence[Path], names: Sequence[str], known: Known
    ) -> Iterator[Item]:
        """Las imágenes, en su orden; las que no se conocen se leen en varios hilos."""

        def read(rows: range) -> list[Item]:
            return [
                known(names[row]) or self._read(files[row], names[row])
                for row in rows
            ]

        each = len(self.mode) * self.side[0] * self.side[1]
        together = max(1, min(_TOGETHER, 2**20 // each))
        several = [
            range(start, min(start + together, len(files)))
            for start in range(0, len(files), together)
        ]
        for items in in_threads(read, several):
            yield from items

    def _read(self, file: Path, name: str) -> Item:
        try:
            pixels = image_pixels(open_image(file), self.mode, self.side)
            return Item(name, _content_key(file), pixels)
        except (ValueError, OSError, MemoryError) as error:
            if not self.skip_errors:
                raise self.failure(file, error) from error
            return Item(name, str(error), None)

    def failure(self, file: Path, reason: object) -> ValueError:
        return ValueError(
            f"La imagen {str(file)!r} no se puede leer: {reason}. Quítala de la carpeta o "
            "usa «skip_errors = true» para omitir las que fallen."
        )


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` con tantos hilos como núcleos, para funciones que abren imágenes.

    Pillow suelta el intérprete mientras descomprime y reduce, que es casi todo el trabajo, así que
    los hilos bastan.
    """
    workers = cores()
    # Abrir una imagen calla los avisos de Pillow, y al hacerlo en varios hilos podrían quedarse
    # callados: aquí se deshace.
    with warnings.catch_warnings():
        yield from ahead(function, items, workers=workers, depth=2 * workers)


def image_pixels(
    image: Image.Image, mode: str, side: tuple[int, int]
) -> Pixels:
    """Una imagen de Pillow al tamaño y a los canales de un conjunto.

    Args:
        image: la imagen; su transparencia se funde sobre blanco.
        mode: «RGB» o «L».
        side: el alto y el ancho.

    Returns:
        uint8 (3 o 1, alto, ancho).
    """
    flat = on_white(image).convert(mode)
    values = np.asarray(fit(flat, side, Image.Resampling.LANCZOS))
    return values[None] if mode == "L" else values.transpose(2, 0, 1)


def _sorted_out(
    reading: _Reading, found: _Found, entries: Sequence[Entry]
) -> tuple[list[Path], list[str]]:
    """Los ficheros que se han leído y lo que no, con el motivo."""
    failures = [
        f"{_relative(folder, reading.root)}: {reason}"
        for folder, reason in found.closed
    ]
    kept = []
    for file, entry in zip(found.images, entries, strict=True):
        if entry.kept:
            kept.append(file)
        elif not reading.skip_errors:
            raise reading.failure(file, entry.note)
        else:
            failures.append(f"{_relative(file, reading.root)}: {entry.note}")
    if not kept:
        raise ValueError(
            f"Ninguna de las {len(found.images)} imágenes de {str(reading.root)!r} se puede leer. "
            f"{failures[0]}."
        )
    return kept, failures


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


def _identity(file: Path, root: Path) -> tuple[str, int]:
    """Lo que distingue a un fichero sin leerlo, y lo que ocupa; de un enlace roto, solo su ruta."""
    relative = _relative(file, root)
    try:
        state = file.stat()
    except OSError:
        return relative, 0
    return f"{relative}|{state.st_size}|{state.st_mtime_ns}", state.st_size


def _room(count: int, shape: tuple[int, ...]) -> Pixels:
    try:
        return np.empty((count, *shape), dtype=np.uint8)
    except MemoryError as error:
        _, height, width = shape
        gigabytes = count * shape[0] * height * width / 1e9
        raise ValueError(
            f"{count} imágenes de {width}×{height} ocupan {gigabytes:.0f} GB y no caben en la "
            "memoria: usa un «size» menor o menos imágenes."
        ) from error
