"""Las dos profundidades de una página y lo que se tarda en leerlas.

Lo que está entre `/// mas` y `///` es para quien quiera más: se ve plegado. El resto es la línea
principal. `python -m scripts.site.reading` imprime cuánto hay de cada cosa en cada capítulo.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from .equations import DISPLAY, FENCE

FOLD = re.compile(r"^/// mas\b.*?^///[ \t]*$", re.M | re.S)
ASIDE = re.compile(r"^@\[.*?\]@[ \t]*$", re.M)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
MARKUP = re.compile(r"\]\([^)]*\)|<[^>]+>|\{[^}]*\}|^[ \t]*!!!.*?\"|[#*`|\[\]]", re.M)
INLINE_MATH = re.compile(r"\$[^$\n]+\$")
WORD = re.compile(r"[^\W\d_]+")

WORDS_PER_MINUTE = 230
SECONDS_PER_ASIDE = 12
"""Lo que se mira una fórmula destacada, una celda, un código o una figura, además del texto."""

LAST, CONSULTED = "despues/cfg.md", "introduccion/caja.md"
"""Dónde acaba la línea principal del libro, y el capítulo de antes que no se lee: se consulta."""


class Reading(NamedTuple):
    """Palabras de prosa y cosas que se miran (fórmulas, código, figuras) de un texto."""

    words: int
    asides: int

    @property
    def minutes(self) -> int:
        """Minutos de lectura, al menos uno."""
        seconds = 60 * self.words / WORDS_PER_MINUTE + SECONDS_PER_ASIDE * self.asides
        return max(1, round(seconds / 60))


def measure(text: str) -> Reading:
    """Lo que hay que leer en un trozo de Markdown; cada fórmula de una línea es una palabra."""
    asides = 0
    for pattern in (FENCE, DISPLAY, ASIDE):
        text, found = pattern.subn("", text)
        asides += found
    text = MARKUP.sub(" ", INLINE_MATH.sub(" fórmula ", text))
    return Reading(len(WORD.findall(text)), asides)


def depths(page: str) -> tuple[Reading, Reading]:
    """La línea principal de una página y lo que tiene plegado."""
    page = FRONT_MATTER.sub("", page)
    return measure(FOLD.sub("", page)), measure("\n".join(FOLD.findall(page)))


def chapters() -> dict[str, tuple[Reading, Reading]]:
    """Las dos profundidades de cada capítulo, en el orden de la navegación."""
    from .project import ROOT
    from .sentinels import read_book

    book = read_book(ROOT / "mkdocs.yml")
    return {page: depths(book.source(page)) for page in book.chapters if page.endswith(".md")}


def main_line(rows: Mapping[str, tuple[Reading, Reading]]) -> Reading:
    """Lo que hay que leer de la línea principal del libro."""
    pages = list(rows)
    read = [rows[page][0] for page in pages[: pages.index(LAST) + 1] if page != CONSULTED]
    return Reading(sum(each.words for each in read), sum(each.asides for each in read))


def main() -> None:
    """Imprime la tabla de los capítulos."""
    rows = chapters()
    print(f"{'página':36s} línea principal          plegado")
    for page, (shown, folded) in rows.items():
        print(
            f"{page:36s} {shown.words:6d} ({shown.minutes:3d} min)  "
            f"{folded.words:6d} ({folded.minutes if folded.words else 0:3d} min)"
        )
    read = main_line(rows)
    print(f"hasta {LAST}, sin {CONSULTED}: {read.words} palabras, {read.minutes} min")


if __name__ == "__main__":
    main()
