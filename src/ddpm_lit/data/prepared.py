"""Imágenes que se preparan una vez: una caché de 8 bits en un fichero, que luego se mapea.

Una caché es una carpeta con dos ficheros: los píxeles, uno detrás de otro, y un índice en JSON que
dice qué son. El índice se escribe al final y de una vez, así que una caché está entera o no está.
Mientras se prepara hay un diario: si se corta, la vez siguiente continúa donde iba.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ddpm_lit.data.storage import Store
from ddpm_lit.files.atomic import atomic_path
from ddpm_lit.files.locking import locked

_INDEX, _JOURNAL = "index.json", "journal.part"
_PIXELS, _LOCK = "pixels.part", "lock"
_FINGERPRINTS = "fingerprints.json"
_VERSION = 1
_CHUNK, _CHUNK_BYTES = 256, 8 * 2**20
_REMEMBERED = 64

Pixels = NDArray[np.uint8]


class Entry(NamedTuple):
    """Lo que se recuerda de una imagen: su nombre, su nota y si sus píxeles están."""

    name: str
    note: Any
    kept: bool


class Item(NamedTuple):
    """Una imagen que se prepara.

    `name` la distingue de las demás; `note` es lo que hay que recordar de ella, cualquier cosa
    que quepa en JSON; `pixels` es uint8 (C, H, W), o `None` si se ha omitido.
    """

    name: str
    note: Any
    pixels: Pixels | None

    @property
    def entry(self) -> Entry:
        """Lo que se recuerda de ella."""
        return Entry(self.name, self.note, self.pixels is not None)


class Prepared(NamedTuple):
    """Una caché lista.

    `store` tiene los píxeles de las que están, en orden; `entries`, una entrada por imagen, estén
    o no, y `memory` es el fichero en que se recuerdan las huellas (véase `remembered`), o `None`
    si no se guarda.
    """

    store: Store
    entries: list[Entry]
    memory: Path | None


Known = Callable[[str], Item | None]
"""De un nombre a la imagen que ya estaba preparada, si estaba."""


class CacheWriteError(OSError):
    """No se ha podido escribir la caché: falta sitio, o permiso."""


def prepare(
    folder: Path,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    produce: Callable[[int, Known], Iterator[Item]],
    *,
    names: Sequence[str] | None = None,
    total: int | None = None,
) -> Prepared:
    """La caché de una carpeta: la que hay, si sirve; si no, se prepara o se continúa.

    Sirve si es de esta versión, está intacta, se hizo con las mismas opciones y, si se dan los
    nombres, con las mismas imágenes. Si solo han cambiado unas cuantas, las demás se aprovechan.
    Si está dañada o es de otra versión, se avisa y se hace otra vez. Con dos procesos a la vez, uno
    la prepara y el otro espera.

    Args:
        folder: la carpeta de esta caché; se crea si no existe.
        options: lo que decide cómo son los píxeles; debe caber en JSON.
        shape: forma de una imagen, (C, H, W).
        produce: de una posición, y de lo que ya estaba preparado, a las imágenes desde ella.
        names: el nombre de cada imagen, en su orden; `None`, no se saben hasta que se recorren.
        total: cuántas son, si se sabe.

    Returns:
        La caché. Si se han omitido todas las imágenes, está vacía y no se guarda.

    Raises:
        CacheWriteError: si no se puede escribir; no deja nada a medias.
    """
    options = json.loads(json.dumps(options))
    found, _ = _read(folder, options, shape)
    if found is not None and _same(found, names):
        return found
    with ExitStack() as stack:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / _LOCK))
        found, complaint = _read(folder, options, shape)
        if found is not None and _same(found, names):
            return found
        if complaint:
            warnings.warn(
                f"La caché de imágenes «{folder}» {complaint} y se prepara otra vez.",
                stacklevel=4,
            )
        with _writing(folder):
            entries = _resume(folder, options, shape, names)
            if total is not None:
                _check_room(folder, shape, total - len(entries))
        items = produce(len(entries), _known(found))
        together = min(
            _CHUNK, max(1, _CHUNK_BYTES // torch.Size(shape).numel())
        )
        with tqdm(
            total=total,
            initial=len(entries),
            desc="Preparando imágenes",
            unit="imagen",
            disable=None,
            delay=1,
        ) as bar:
            while chunk := list(islice(items, together)):
                with _writing(folder):
                    _append(folder, chunk)
                entries += [item.entry for item in chunk]
                bar.update(len(chunk))
        with _writing(folder):
            return _finish(folder, options, shape, entries)


def remembered(path: Path, key: str, compute: Callable[[], str]) -> str:
    """Una huella que se calcula una vez y se guarda con la caché.

    Args:
        path: el fichero en que se guardan; si no se puede leer o escribir, se calcula cada vez.
        key: de qué es la huella.
        compute: cómo se calcula.

    Returns:
        La huella.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    if isinstance(known.get(key), str):
        return str(known[key])
    value = compute()
    latest = [*known.items()][1 - _REMEMBERED :]
    with suppress(OSError), atomic_path(path) as temporary:
        text = json.dumps(dict(latest) | {key: value})
        temporary.write_text(text, encoding="utf-8")
    return value


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Si algo no se puede escribir, no deja nada a medias y lo explica."""
    try:
        yield
    except OSError as error:
        for name in (_JOURNAL, _PIXELS):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        if not (folder / _INDEX).is_file():
            with suppress(OSError):
                (folder / _LOCK).unlink(missing_ok=True)
                folder.rmdir()
        raise CacheWriteError(
            f"No se puede escribir la caché de imágenes «{folder}»: "
            f"{error.strerror or error}. Elige otra carpeta con «cache_dir» o con la variable "
            "XDG_CACHE_HOME."
        ) from error


def _same(found: Prepared, names: Sequence[str] | None) -> bool:
    return names is None or [entry.name for entry in found.entries] == [*names]


def _read(
    folder: Path, options: Mapping[str, Any], shape: tuple[int, ...]
) -> tuple[Prepared | None, str]:
    """La caché que hay, si es de estas opciones; y si no se puede usar, por qué."""
    path = folder / _INDEX
    if not path.is_file():
        return None, ""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["version"] != _VERSION:
            return None, "es de otra versión"
        if index["options"] != options:
            return None, ""
        entries = [Entry(*each) for each in index["entries"]]
        digest = index["digest"]
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(f"la suma {digest!r} no lo es")
        pixels = folder / f"{digest}.bin"
        state = pixels.stat()
        untouched = (state.st_size, state.st_mtime_ns) == (
            index["bytes"],
            index["mtime_ns"],
        )
        # Si alguien lo ha copiado o lo ha cambiado, y solo entonces, se vuelve a leer entero.
        if not untouched and _digest(pixels) != digest:
            raise ValueError("sus píxeles no son los que se guardaron")
        count = sum(entry.kept for entry in entries)
        store = Store.from_file(pixels, (count, *shape), digest)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return None, f"está dañada ({type(error).__name__}: {error})"
    return Prepared(store, entries, folder / _FINGERPRINTS), ""


def _known(found: Prepared | None) -> Known:
    """Las imágenes que ya estaban en la caché anterior, por su nombre."""
    if found is None:
        return lambda name: None
    kept = [entry for entry in found.entries if entry.kept]
    rows = {entry.name: row for row, entry in enumerate(kept)}

    def known(name: str) -> Item | None:
        row = rows.get(name)
        if row is None:
            return None
        pixels = found.store.take(torch.tensor([row]))[0].numpy()
        return Item(name, kept[row].note, pixels)

    return known


def _resume(
    folder: Path,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    names: Sequence[str] | None,
) -> list[Entry]:
    """Lo que se preparó antes de un corte y sigue valiendo; lo demás se borra del disco."""
    row = torch.Size(shape).numel()
    pixels, journal = folder / _PIXELS, folder / _JOURNAL
    header = {"version": _VERSION, "options": options}
    entries: list[Entry] = []
    if pixels.is_file() and journal.is_file():
        room = pixels.stat().st_size // row
        lines = journal.read_text(encoding="utf-8", errors="replace")
        entries = _prefix(lines.splitlines(), header, names, room)
    with open(pixels, "ab") as file:
        file.truncate(row * sum(entry.kept for entry in entries))
    with atomic_path(journal) as temporary:
        kept = [json.dumps(each) for each in (header, *entries)]
        temporary.write_text("\n".join([*kept, ""]), encoding="utf-8")
    return entries


def _prefix(
    lines: Sequence[str],
    header: Mapping[str, Any],
    names: Sequence[str] | None,
    room: int,
) -> list[Entry]:
    """Las primeras entradas de un diario, mientras sean las que ahora se piden y estén enteras."""
    entries: list[Entry] = []
    try:
        if not lines or json.loads(lines[0]) != header:
            return entries
        for position, line in enumerate(lines[1:]):
            entry = Entry(*json.loads(line))
            room -= entry.kept
            expected = None if names is None else names[position]
            if room < 0 or expected not in (None, entry.name):
                break
            entries.append(entry)
    except (ValueError, TypeError, IndexError, RecursionError):
        pass  # una línea a medias, o más líneas que imágenes: vale lo anterior
    return entries


def _append(folder: Path, items: Sequence[Item]) -> None:
    """Primero los píxeles, hasta el disco, y después lo que dice que están."""
    with open(folder / _PIXELS, "ab") as pixels:
        for item in items:
            if item.pixels is not None:
                pixels.write(item.pixels.tobytes())
        pixels.flush()
        os.fsync(pixels.fileno())
    with open(folder / _JOURNAL, "a", encoding="utf-8") as journal:
        journal.writelines(f"{json.dumps(item.entry)}\n" for item in items)


def _check_room(folder: Path, shape: tuple[int, ...], count: int) -> None:
    needed, free = (
        torch.Size(shape).numel() * count,
        shutil.disk_usage(folder).free,
    )
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"hacen falta {needed / 1e9:.2f} GB y quedan {free / 1e9:.2f}",
        )


def _finish(
    folder: Path,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    entries: list[Entry],
) -> Prepared:
    """Deja la caché lista: hasta que el índice no está escrito, no hay caché nueva."""
    if not any(entry.kept for entry in entries):
        (folder / _PIXELS).unlink()
        (folder / _JOURNAL).unlink()
        nothing = torch.empty((0, *shape), dtype=torch.uint8)
        return Prepared(Store(nothing), entries, None)
    digest = _digest(folder / _PIXELS)
    final = folder / f"{digest}.bin"
    os.replace(folder / _PIXELS, final)
    state = final.stat()
    index = {
        "version": _VERSION,
        "options": options,
        "digest": digest,
        "bytes": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "entries": entries,
    }
    try:
        with atomic_path(folder / _INDEX) as temporary:
            temporary.write_text(json.dumps(index), encoding="utf-8")
    except OSError:
        final.unlink()
        raise
    (folder / _JOURNAL).unlink()
    for old in folder.glob("*.bin"):
        if old != final:
            with suppress(
                OSError
            ):  # Windows no borra lo que alguien tiene abierto
                old.unlink()
    count = sum(entry.kept for entry in entries)
    store = Store.from_file(final, (count, *shape), digest)
    return Prepared(store, entries, folder / _FINGERPRINTS)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
