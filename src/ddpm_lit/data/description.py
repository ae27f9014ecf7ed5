"""Qué datos son: lo que un entrenamiento recuerda de ellos y lo que cuenta si luego son otros."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ddpm_lit.data.dataset import Dataset

_SHOWN = 3


@dataclass(frozen=True)
class DataDescription:
    """Lo que basta recordar de un conjunto para saber si otro es el mismo.

    Se guarda con `dataclasses.asdict` y vuelve con `DataDescription(**guardado)`, también si por
    el camino ha sido un JSON.

    Attributes:
        count: número de datos.
        shape: forma de un dato, (C, H, W) en imágenes.
        label_names: nombre de cada clase, o vacía.
        class_counts: cuántos datos hay de cada clase, o vacía.
        fingerprint: huella del contenido (`Dataset.fingerprint`).
    """

    count: int
    shape: tuple[int, ...]
    label_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        for name in ("shape", "label_names", "class_counts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


def describe(dataset: Dataset) -> DataDescription:
    """La descripción de unos datos, para guardarla y compararla con `explain_change`.

    Args:
        dataset: los datos.

    Returns:
        Su número, su forma, sus clases y su huella.
    """
    counts: list[int] = []
    if dataset.labels is not None:
        counts = torch.bincount(
            dataset.labels, minlength=len(dataset.label_names)
        ).tolist()
    return DataDescription(
        count=len(dataset),
        shape=dataset.image_shape,
        label_names=dataset.label_names,
        class_counts=tuple(counts),
        fingerprint=dataset.fingerprint(),
    )


def summary(data: DataDescription) -> str:
    """Unos datos en una frase: «130 imágenes de 32×32 en color; 2 clases: gato (70) y …».

    Args:
        data: la descripción.

    Returns:
        La frase, sin punto final.
    """
    text = f"{data.count} {_noun(data, data.count)} {_size(data.shape)}"
    if not data.label_names:
        return text
    each = zip(data.label_names, data.class_counts, strict=True)
    word = "clase" if len(data.label_names) == 1 else "clases"
    listed = _list([f"{name} ({count})" for name, count in each], shown=10)
    return f"{text}; {len(data.label_names)} {word}: {listed}"


def explain_change(before: DataDescription, now: DataDescription) -> str | None:
    """En qué se distinguen unos datos de los que había.

    Args:
        before: la descripción de los datos de entonces.
        now: la de los de ahora.

    Returns:
        Una frase que empieza por «Los datos han cambiado: », o `None` si son los mismos.
    """
    if before == now:
        return None
    changes = []
    if before.shape != now.shape:
        changes.append(
            f"eran {_size(before.shape)} y ahora son {_size(now.shape)}"
        )
    if before.count != now.count:
        noun = _noun(before, before.count)
        changes.append(f"había {before.count} {noun} y ahora hay {now.count}")
    changes += _class_changes(before, now)
    if not changes:
        changes.append(
            f"sigue habiendo {now.count} {_noun(now, now.count)} con las mismas clases, pero su "
            "contenido, su orden, sus etiquetas o sus descripciones no son los de antes"
        )
    return f"Los datos han cambiado: {'; '.join(changes)}."


def _class_changes(before: DataDescription, now: DataDescription) -> list[str]:
    old, new = before.label_names, now.label_names
    added = [f"«{name}»" for name in new if name not in old]
    removed = [f"«{name}»" for name in old if name not in new]
    changes = []
    if added:
        which = (
            "hay una clase nueva:" if len(added) == 1 else "hay clases nuevas:"
        )
        changes.append(f"{which} {_list(added)}")
    if removed:
        which = (
            "ya no está la clase"
            if len(removed) == 1
            else "ya no están las clases"
        )
        changes.append(f"{which} {_list(removed)}")
    moved = [
        f"la clase «{name}» era la {old.index(name)} y ahora es la {number}"
        for number, name in enumerate(new)
        if name in old and old.index(name) != number
    ]
    if len(moved) > _SHOWN:
        moved = [
            *moved[:_SHOWN],
            f"y otras {len(moved) - _SHOWN} han cambiado de número",
        ]
    return changes + moved


def _noun(data: DataDescription, count: int) -> str:
    if len(data.shape) == 3:
        return "imagen" if count == 1 else "imágenes"
    if data.shape == (2,):
        return "punto" if count == 1 else "puntos"
    return "dato" if count == 1 else "datos"


def _size(shape: Sequence[int]) -> str:
    if shape == (2,):
        return "del plano"
    if len(shape) != 3:
        return f"de forma {tuple(shape)}"
    channels, height, width = shape
    colors = {1: " en gris", 3: " en color"}.get(
        channels, f" de {channels} canales"
    )
    return f"de {width}×{height}{colors}"


def _list(words: Sequence[str], shown: int = _SHOWN) -> str:
    """Palabras unidas con comas y una «y»; si son muchas, solo las primeras."""
    if len(words) > shown:
        return f"{', '.join(words[:shown])} y otras {len(words) - shown}"
    return " y ".join(
        [", ".join(words[:-1]), words[-1]] if len(words) > 1 else words
    )
