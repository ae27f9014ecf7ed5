"""Cualquier conjunto de imágenes de Hugging Face `datasets`, también sin descargarlo entero."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ddpm_lit.data.dataset import Dataset
from ddpm_lit.data.folder import MODES, check_side, image_pixels, in_threads
from ddpm_lit.data.prepared import Item, Known, prepare
from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.files.opening import open_image
from ddpm_lit.machine.extras import require


def load_huggingface(
    path: str,
    split: str = "train",
    image_column: str = "image",
    label_column: str | None = None,
    caption_column: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    size: int | Sequence[int] = 32,
    color: str = "rgb",
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Un conjunto de imágenes de Hugging Face, preparado una vez en una caché de 8 bits.

    Se recorre entero una sola vez; después se lee de la caché, sin red. Cada imagen se recorta y
    se reduce como las de una carpeta (`load_folder`).

    Args:
        path: el nombre del conjunto en el Hub, o una carpeta con sus ficheros.
        split: la parte.
        image_column: la columna de las imágenes.
        label_column: la de las clases, enteros con nombre (`ClassLabel`) o sin él, o textos.
        caption_column: la de las descripciones.
        name: la configuración, si el conjunto tiene varias.
        revision: la versión; si no se da y el conjunto cambia, se sigue usando la caché de antes.
        streaming: recorrerlo según llega, sin guardar los ficheros originales.
        size: lado de las imágenes, en píxeles, o su alto y su ancho.
        color: «rgb» o «gray».
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (N, 3 o 1, alto, ancho) de 8 bits, en el orden del conjunto.

    Raises:
        ModuleNotFoundError: si falta el paquete `datasets` (extra `hub`).
        ValueError: si falta una columna o una imagen no se puede leer.
        CacheWriteError: si no se puede escribir la caché.
    """
    side = check_side(size)
    if color not in MODES:
        raise ValueError(f"«color» vale {color!r} y debe ser «rgb» o «gray».")
    mode = MODES[color]
    options = {
        "path": _identity(path),
        "name": name,
        "split": split,
        "revision": revision,
        "columns": [image_column, label_column, caption_column],
        "mode": mode,
        "size": side,
    }

    def produce(start: int, known: Known) -> Iterator[Item]:
        rows = _rows(path, name, split, revision, streaming)
        columns = rows.column_names or []
        for column in (image_column, label_column, caption_column):
            if column is not None and columns and column not in columns:
                raise ValueError(
                    f"«{path}» no tiene la columna «{column}». Las que tiene: "
                    f"{', '.join(columns)}."
                )
        names = _class_names(rows, label_column)
        undecoded = _undecoded(rows, image_column)

        def read(numbered: tuple[int, Any]) -> Item:
            position, row = numbered
            label = None if label_column is None else row[label_column]
            named = names[label] if names and label is not None else label
            caption = None if caption_column is None else row[caption_column]
            pixels = _pixels(row[image_column], mode, side, path, position)
            return Item(str(position), [label, named, caption], pixels)

        rest = undecoded.skip(start) if start else undecoded
        yield from in_threads(read, enumerate(rest, start))

    key = hashlib.sha256(repr(options | {"path": path}).encode())
    folder = Path(cache_dir or user_cache_dir()).expanduser()
    prepared = prepare(
        folder / f"hub-{key.hexdigest()[:16]}",
        options,
        (len(mode), *side),
        produce,
    )
    if len(prepared.store) == 0:
        raise ValueError(f"La parte «{split}» de «{path}» no tiene imágenes.")
    notes = [entry.note for entry in prepared.entries]
    labels, label_names = _numbered(notes) if label_column else (None, ())
    return Dataset(
        store=prepared.store,
        labels=labels,
        label_names=label_names,
        captions=tuple(str(caption) for *_, caption in notes)
        if caption_column
        else (),
        attribution=f"«{path}», de Hugging Face Datasets.",
        memory=prepared.memory,
    )


def _identity(path: str) -> Any:
    """El nombre del conjunto; si es una carpeta, también qué ficheros tiene."""
    root = Path(path).expanduser()
    if not root.is_dir():
        return path
    states = [
        (file, file.stat())
        for file in sorted(root.rglob("*"))
        if file.is_file()
    ]
    return [
        str(root.resolve()),
        *(
            [str(file.relative_to(root)), state.st_size, state.st_mtime_ns]
            for file, state in states
        ),
    ]


def _rows(
    path: str,
    name: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> Any:
    return _datasets().load_dataset(
        path, name, split=split, revision=revision, streaming=streaming
    )


def _undecoded(rows: Any, column: str) -> Any:
    """Las filas con las imágenes como están en su fichero: se abren como las de una carpeta."""
    return rows.cast_column(column, _datasets().Image(decode=False))


def _datasets() -> ModuleType:
    return require(
        "datasets",
        package="datasets",
        extra="hub",
        purpose="El conjunto «huggingface»",
    )


def _class_names(rows: Any, column: str | None) -> Sequence[str] | None:
    feature = (rows.features or {}).get(column)
    names: Sequence[str] | None = getattr(feature, "names", None)
    return names


def _pixels(
    value: Any, mode: str, side: tuple[int, int], path: str, position: int
) -> Any:
    try:
        content = value["bytes"]
        source = value["path"] if content is None else io.BytesIO(content)
        return image_pixels(open_image(source), mode, side)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"La imagen {position} de «{path}» no se puede leer: {error}."
        ) from error


def _numbered(notes: Sequence[Any]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Las clases de las imágenes y sus nombres; los textos se numeran por orden alfabético."""
    found = {(label, str(named)) for label, named, _ in notes}
    if all(isinstance(label, int) for label, _ in found):
        numbers = dict(found)
        names = [numbers.get(k, str(k)) for k in range(max(numbers) + 1)]
        labels = [label for label, *_ in notes]
    else:
        names = sorted({str(named) for _, named in found})
        index = {each: number for number, each in enumerate(names)}
        labels = [index[str(named)] for _, named, _ in notes]
    return torch.tensor(labels, dtype=torch.int64), tuple(names)
