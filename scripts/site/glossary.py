"""El glosario: de `docs/glosario.toml` salen su página y las definiciones de las demás."""

import html
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .plaintext import slugify, tex_to_text
from .project import ROOT

SOURCE = ROOT / "docs" / "glosario.toml"
PAGE = "glosario.md"
SKIPPED_PAGES = (PAGE, "api/", "licencias.md", "fuentes.md")
SKIPPED = re.compile(
    r"<(?:(?:a|autoref|button|code|dl-ejercicios|dl-widget|figure|h[1-6]|pre|script|style|summary|svg|th)\b"
    r'|[^>]*\sclass="(?:[^"]* )?(?:admonition-title|arithmatex|dl-(?:descargas|externo|falta|fuente'
    r'|salida)|highlight|tabbed-labels)[ "])'
)
"""Las etiquetas de lo que no es prosa: títulos, código, fórmulas, figuras, enlaces…"""
PIECE = re.compile(r"<!--.*?-->|<[^>]*>", re.S)
TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)")


@dataclass(frozen=True)
class Term:
    """Un término: cómo se dice, qué es, qué capítulo lo explica y con qué formas aparece."""

    name: str
    spanish: str
    english: str
    page: str
    text: str
    forms: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Su ancla en la página del glosario."""
        return f"termino-{slugify(self.name, '-')}"

    @property
    def plain(self) -> str:
        """Su definición sin fórmulas, para un atributo de HTML."""
        return re.sub(r"\$(.+?)\$", lambda match: tex_to_text(match[1]), self.text)


@dataclass(frozen=True)
class Symbol:
    """Un símbolo, con las macros del libro: qué es y dónde se presenta."""

    tex: str
    page: str
    text: str


@dataclass(frozen=True)
class Letter:
    """Una letra que significa varias cosas."""

    name: str
    uses: tuple[Symbol, ...]


@dataclass(frozen=True)
class Glossary:
    """Todo lo que hay en `docs/glosario.toml`; los términos, por orden alfabético."""

    terms: tuple[Term, ...]
    symbols: tuple[Symbol, ...]
    letters: tuple[Letter, ...]


def load(path: Path = SOURCE) -> Glossary:
    """Lee el glosario."""
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    terms = [Term(**{**each, "forms": tuple(each.get("forms", ()))}) for each in read["term"]]
    return Glossary(
        tuple(sorted(terms, key=lambda term: slugify(term.name, " "))),
        tuple(Symbol(**each) for each in read["symbol"]),
        tuple(
            Letter(each["name"], tuple(Symbol(**use) for use in each["uses"]))
            for each in read["letter"]
        ),
    )


# --- La página ---------------------------------------------------------------------------------


def term_list(terms: Sequence[Term], titles: Mapping[str, str]) -> str:
    """Los términos y sus definiciones, en Markdown."""
    return "\n\n".join(
        f"**{term.name}** <small>{_other_names(term)}</small> {{ #{term.anchor} }}\n"
        f":   {term.text} {_chapter(term.page, titles)}."
        for term in terms
    )


def _other_names(term: Term) -> str:
    names = [f"*{term.english}*"] if term.english != term.name else []
    if term.spanish != term.name:
        names.insert(0, term.spanish)
    return " · ".join(names)


def symbol_table(symbols: Sequence[Symbol], titles: Mapping[str, str]) -> str:
    """La tabla de símbolos, en Markdown."""
    rows = [f"| ${each.tex}$ | {_told(each, titles)} |" for each in symbols]
    return "\n".join(["| símbolo | qué es y dónde se presenta |", "| --- | --- |", *rows])


def letter_table(letters: Sequence[Letter], titles: Mapping[str, str]) -> str:
    """La tabla de las letras que significan varias cosas, en Markdown."""
    rows = [
        f"| {'' if number else letter.name} | ${use.tex}$ | {_told(use, titles)} |"
        for letter in letters
        for number, use in enumerate(letter.uses)
    ]
    head = ["| letra | escrita | qué es, y en qué capítulo |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _told(symbol: Symbol, titles: Mapping[str, str]) -> str:
    return f"{symbol.text} ({_chapter(symbol.page, titles)})"


def _chapter(page: str, titles: Mapping[str, str]) -> str:
    return f"[{titles[page.partition('#')[0]]}]({page})"


# --- Las definiciones en las demás páginas -----------------------------------------------------


def is_annotated(uri: str) -> bool:
    """Dice si en una página se abren las definiciones."""
    return not uri.startswith(SKIPPED_PAGES)


@lru_cache(maxsize=256)
def annotate(page_html: str, terms: tuple[Term, ...], glossary: str) -> str:
    """Enlaza la primera aparición de cada término con su definición, que va en `title`.

    No toca títulos, código, fórmulas, figuras ni lo que ya es un enlace. Se acuerda de las páginas
    que ya ha visto: mientras se escribe una, las demás no cambian.

    Args:
        page_html: El contenido de la página.
        terms: Los términos.
        glossary: Dónde está el glosario, desde la página.
    """
    pattern, by_group = _matcher(terms)
    seen: set[str] = set()

    def mark(match: re.Match[str]) -> str:
        term = by_group[str(match.lastgroup)]
        if term.name in seen:
            return match[0]
        seen.add(term.name)
        return (
            f'<a class="dl-termino" href="{glossary}#{term.anchor}"'
            f' title="{html.escape(term.plain, quote=True)}">{match[0]}</a>'
        )

    out: list[str] = []
    position = 0
    skipping: str | None = None
    depth = 0
    for piece in PIECE.finditer(page_html):
        text = page_html[position : piece.start()]
        out += [text if skipping else pattern.sub(mark, text), piece[0]]
        position = piece.end()
        tag = TAG.match(piece[0])
        if not tag or piece[0].endswith("/>"):
            continue
        closing, name = bool(tag[1]), tag[2].lower()
        if skipping:
            depth += (name == skipping) * (-1 if closing else 1)
            skipping = skipping if depth else None
        elif not closing and SKIPPED.match(piece[0]):
            skipping, depth = name, 1
    return "".join(out) + pattern.sub(mark, page_html[position:])


@lru_cache(maxsize=4)
def _matcher(terms: tuple[Term, ...]) -> tuple[re.Pattern[str], dict[str, Term]]:
    """Una expresión con todas las formas, las largas antes, y el término de cada grupo suyo."""
    forms = [(form, term) for term in terms for form in term.forms]
    forms.sort(key=lambda each: -len(each[0]))
    groups: dict[str, Any] = {f"f{number}": term for number, (_, term) in enumerate(forms)}
    written = (
        form if any(char.isupper() for char in form) else f"(?i:{form})" for form, _ in forms
    )
    either = "|".join(f"(?P<f{number}>{form})" for number, form in enumerate(written))
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])"), groups
