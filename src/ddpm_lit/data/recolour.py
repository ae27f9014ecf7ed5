"""Cambiar de color, de tamaño y de sitio un dibujo de OpenMoji, en su SVG.

Los dibujos de OpenMoji son colores planos y un trazo negro. Aquí se cambia el color que más se
ve, y los que son sombra o brillo suyo, y se deja lo demás: el trazo, los ojos, las hojas.
"""

import colorsys
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SIDE = 72
"""El lado del lienzo de un SVG de OpenMoji, en sus unidades."""

LARGE = 0.3
"""La parte de lo pintado desde la que un color es del objeto aunque su tono sea otro."""

SAME_HUE = 28 / 360
"""Cuánto se pueden separar dos tonos, en vueltas, para que uno sea sombra o brillo del otro."""

GREY = 0.15
"""La saturación por debajo de la que un color no tiene tono."""

SAME_LIGHTNESS = 0.06
"""La diferencia de luminancia, de 0 a 1, que no llega a ser sombra ni brillo."""

LINE, WHITE = "#000000", "#ffffff"

_PAINT = re.compile(
    r"""\b(fill|stroke)(="|:\s*)#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b"""
)
_ROOT = re.compile(r"<svg\b[^>]*>")
_PLACE = re.compile(r"""\s(?:x|y|width|height)="[^"]*\"""")


class Palette(NamedTuple):
    """Un color con su sombra y su brillo, en hexadecimal."""

    base: str
    dark: str
    light: str


def paints(svg: str) -> tuple[str, ...]:
    """Los colores de un SVG, sin el negro del trazo, en el orden en que aparecen."""
    found = (_six_digits(digits) for _, _, digits in _PAINT.findall(svg))
    return tuple(colour for colour in dict.fromkeys(found) if colour != LINE)


def dominant(areas: Mapping[str, int]) -> str:
    """El color que más se ve.

    Args:
        areas: cuántos píxeles hay de cada color.

    Raises:
        ValueError: si no hay ninguno.
    """
    if not any(areas.values()):
        raise ValueError(
            "El dibujo no tiene ningún color además del trazo negro, y no se "
            "puede cambiar: elige otro."
        )
    return max(areas, key=lambda colour: areas[colour])


def body(areas: Mapping[str, int]) -> tuple[str, ...]:
    """Los colores del objeto: el que más se ve, sus sombras y brillos, y los que ocupan mucho.

    El blanco de unos ojos o de un reflejo no cuenta, salvo que ocupe mucho.

    Args:
        areas: cuántos píxeles hay de cada color.

    Returns:
        Los colores, con el que más se ve delante.
    """
    main, total = dominant(areas), sum(areas.values())
    others = [
        colour
        for colour, area in areas.items()
        if colour != main
        and (
            area >= LARGE * total
            or (colour != WHITE and _same_hue(colour, main))
        )
    ]
    return (main, *others)


def recolour(svg: str, colours: Iterable[str], palette: Palette) -> str:
    """El mismo dibujo con otros colores.

    Args:
        svg: el dibujo.
        colours: los que cambian, con el principal delante (véase `body`).
        palette: los nuevos. El principal pasa a ser la base; uno más oscuro, la sombra, y uno
            más claro, el brillo.

    Returns:
        El SVG.
    """
    main, *others = colours
    new = {main: palette.base}
    for colour in others:
        difference = luminance(colour) - luminance(main)
        if abs(difference) < SAME_LIGHTNESS:
            new[colour] = palette.base
        else:
            new[colour] = palette.dark if difference < 0 else palette.light

    def painted(match: re.Match[str]) -> str:
        colour = _six_digits(match[3])
        return f"{match[1]}{match[2]}{new.get(colour, colour)}"

    return _PAINT.sub(painted, svg)


class Place(NamedTuple):
    """Dónde va un dibujo: su lado y su esquina de arriba a la izquierda, en partes del lienzo."""

    side: float = 1.0
    left: float = 0.0
    top: float = 0.0


def compose(parts: Iterable[tuple[str, Place]]) -> str:
    """Un SVG con varios dibujos, cada uno en su sitio.

    Args:
        parts: los dibujos y su sitio; lo que se salga del lienzo no se ve.

    Returns:
        El SVG.

    Raises:
        ValueError: si algo no es un SVG.
    """
    placed = "".join(_placed(svg, place) for svg, place in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">'
        f"{placed}</svg>"
    )


def luminance(colour: str) -> float:
    """La luminancia de un color, de 0 a 1 (ITU-R BT.601)."""
    red, green, blue = rgb(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def rgb(colour: str) -> tuple[int, int, int]:
    """Los tres canales de un color en hexadecimal, de 0 a 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _placed(svg: str, place: Place) -> str:
    root = _ROOT.search(svg)
    if root is None:
        raise ValueError(
            f"Esto no es un SVG, porque no tiene <svg …>: {svg[:40]!r}…"
        )
    side, left, top = (round(SIDE * each, 3) for each in place)
    opening = _PLACE.sub("", root[0]).removeprefix("<svg")
    return (
        f'<svg x="{left}" y="{top}" width="{side}" height="{side}"{opening}'
        f"{svg[root.end() :]}"
    )


def _same_hue(one: str, other: str) -> bool:
    (hue, saturation, _), (other_hue, other_saturation, _) = (
        colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb(colour)))
        for colour in (one, other)
    )
    if min(saturation, other_saturation) < GREY:
        return max(saturation, other_saturation) < GREY
    apart = abs(hue - other_hue)
    return min(apart, 1 - apart) <= SAME_HUE


def _six_digits(digits: str) -> str:
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    return f"#{digits.lower()}"
