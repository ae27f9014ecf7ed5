"""El grafo del libro mayor, dibujado: una lista en el orden del libro, con arcos al margen.

Cada fila lleva los arcos de las que sale, que vienen casi siempre de arriba; los que suben son los
de una demostración que va después de lo que demuestra. No hace falta guion: los arcos de una fila
se encienden con el puntero o el foco.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ROW = 28
"""El alto de una fila en las unidades de los arcos; en la página, lo dice la hoja de estilo."""
REACH = 70
"""Lo más que un arco se aparta de los puntos."""


@dataclass(frozen=True)
class Line:
    """Una fila del dibujo: adónde lleva, lo que dice y, si la hay, su clase."""

    target: str
    number: str
    name: str
    kind: str = ""
    note: str = ""


def listing(lines: Mapping[str, Line], arrows: Mapping[str, Mapping[str, int]], label: str) -> str:
    """Las filas con sus arcos.

    Args:
        lines: cada fila, por su clave y en su orden.
        arrows: de cada clave, las claves de las que sale y el grueso de su arco.
        label: lo que el dibujo es, para quien no lo ve.
    """
    order = list(lines)
    longest = max(
        (abs(order.index(a) - order.index(b)) for b in order for a in arrows.get(b, ())), default=1
    )
    items = "".join(
        _item(line, _arcs(order, key, arrows.get(key, {}), longest)) for key, line in lines.items()
    )
    shown = html.escape(label, quote=True)
    return f'<ol class="dl-grafo" aria-label="{shown}" data-search-exclude>{items}</ol>'


def _item(line: Line, arcs: str) -> str:
    kind = f' data-kind="{line.kind}"' if line.kind else ""
    note = f'<span class="dl-grafo__fuera">{line.note}</span>' if line.note else ""
    return (
        f'<li{kind}><svg viewBox="-{REACH + 8} 0 {REACH + 16} {ROW}" aria-hidden="true">'
        f'{arcs}<circle cx="0" cy="{ROW // 2}" r="4"/></svg>'
        f'<a href="{html.escape(line.target, quote=True)}"><b>{line.number}</b>'
        f"<span>{line.name}</span></a>"
        f"{note}</li>"
    )


def _arcs(order: Sequence[str], key: str, origins: Mapping[str, int], longest: int) -> str:
    here, middle = order.index(key), ROW / 2
    parts = []
    for origin, weight in origins.items():
        rows = order.index(origin) - here
        start = middle + rows * ROW
        bend = 4 / 3 * REACH * math.sqrt(abs(rows) / max(longest, 9))
        rising = ' class="dl-grafo__sube"' if rows > 0 else ""
        parts.append(
            f'<path{rising} d="M-4 {start:g}C{-bend:.1f} {start:g} {-bend:.1f} {middle:g} -5'
            f' {middle:g}" stroke-width="{_width(weight):g}"/>'
        )
    tip = f'<path class="dl-grafo__punta" d="M-4 {middle:g}l-6 -3.2v6.4z"/>' if parts else ""
    return "".join(parts) + tip


def _width(weight: int) -> float:
    return round(1 + 0.4 * math.log2(weight), 1)


def numbers(links: Iterable[tuple[str, str]]) -> str:
    """Unos números con enlace, separados por comas; cada uno es un destino y su texto."""
    return ", ".join(f'<a href="{target}">{text}</a>' for target, text in links)
