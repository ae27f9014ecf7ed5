"""Centinelas: la web terminada, comparada con sus fuentes.

    python -m scripts.site.sentinels [CARPETA]

Un generador que no conozca los ganchos puede hacer una web y salir sin error, con las fórmulas, el
código y las figuras sin poner. Esto no pregunta a los ganchos: lee `mkdocs.yml` y `docs/`, sabe por
ellos qué debe haber en cada página y lo busca en el HTML. Si falta algo, lo dice y sale con error.
"""

import ast
import json
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml  # type: ignore[import-untyped]

from . import equations, exercises, notebook, private, reading
from .macros import symbol_source
from .project import ROOT, profile

RAW = (r"\(", r"\[", "$$", r"\label", r"\eqref", r"\figref", "@[", "]@", "¿?", "In [1]:", "Copied!")
"""Lo que no se debe leer en ninguna página, fuera del código y de las fórmulas dibujadas."""

SYMBOL = re.compile(
    r'@\[\s*fuente\(\s*"([^"]+)"\s*(?:,\s*(?:docstring\s*=\s*)?(True|False)\s*)?\)\s*\]@'
)
FIGURE = re.compile(r'@\[\s*(?:figura|video)\(\s*"([^"]+)"')
EXERCISES = re.compile(r'@\[\s*ejercicios\(\s*"([^"]+)"')
MEMBER = re.compile(r"^::: (\S+)", re.M)
CELL = re.compile(r'\s*[`~]{3,}\s*python\b.*\bexec="1"')
INLINE_MATHS = re.compile(r"(?<![\\$\w])\$(?![\s$])[^$\n]+(?<!\s)\$(?![\d$])")

VOID = frozenset(
    ("area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr")
)
HIDDEN_TAGS = frozenset(("pre", "code", "script", "style", "title", "svg"))
HIDDEN_CLASSES = frozenset(("katex", "highlight"))


@dataclass
class Element:
    """Un elemento abierto de la página que se lee."""

    tag: str
    classes: frozenset[str]
    attributes: dict[str, str]
    hidden: bool


class Page(HTMLParser):
    """Lo que interesa de una página terminada, en una lectura.

    Attributes:
        text: lo que se lee, sin el código ni las fórmulas.
        ids: las anclas.
        classes: cuántas veces está cada clase.
        figures: el número que se lee en el pie de cada figura con nombre.
        equations: el número que se lee junto a cada ecuación.
        code: el código de cada bloque mostrado por su símbolo.
        links: lo que la página nombra: otras páginas, imágenes, vídeos, guiones y estilos.
        profile: el perfil con que dice haberse construido.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Element] = []
        self.pieces: list[str] = []
        self.ids: set[str] = set()
        self.classes: Counter[str] = Counter()
        self.figures: dict[str, str] = {}
        self.equations: dict[str, str] = {}
        self.code: list[str] = []
        self.links: list[str] = []
        self.profile = ""
        self.feed(text)
        self.close()
        self.text = "".join(self.pieces)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        classes = frozenset(attributes.get("class", "").split())
        self.classes.update(classes)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        if tag == "meta" and attributes.get("name") == "ddpm-perfil":
            self.profile = attributes.get("content", "")
        if "data-figura" in attributes:
            self.figures[attributes["data-figura"]] = ""
        self.links += _linked(tag, attributes)
        if tag in VOID:
            return
        hidden = bool(self.open and self.open[-1].hidden)
        hidden = hidden or tag in HIDDEN_TAGS or bool(classes & HIDDEN_CLASSES)
        self.open.append(Element(tag, classes, attributes, hidden))
        if tag == "code" and self._inside("dl-fuente") and self._inside("highlight"):
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        for place in range(len(self.open) - 1, -1, -1):
            if self.open[place].tag == tag:
                del self.open[place:]
                return

    def handle_data(self, data: str) -> None:
        if not self.open:
            return
        if not self.open[-1].hidden:
            self.pieces.append(data)
        elif self.code and self._inside("dl-fuente") and self._inside("highlight"):
            self.code[-1] += data
        if self._inside("dl-figura__numero"):
            self._label("data-figura", self.figures, data)
        if self._inside("dl-eq__numero"):
            self._label("id", self.equations, data)

    def _inside(self, css: str) -> bool:
        return any(css in element.classes for element in self.open)

    def _label(self, attribute: str, labels: dict[str, str], data: str) -> None:
        for element in reversed(self.open):
            if attribute in element.attributes:
                name = element.attributes[attribute]
                labels[name] = labels.get(name, "") + data.strip()
                return


def _linked(tag: str, attributes: dict[str, str]) -> list[str]:
    wanted = {
        "a": ("href",),
        "img": ("src",),
        "video": ("src", "poster"),
        "script": ("src",),
        "source": ("srcset",),
    }
    names = wanted.get(tag, ())
    if tag == "link" and set(attributes.get("rel", "").split()) & {"stylesheet", "icon"}:
        names = ("href",)
    return [attributes[name] for name in names if attributes.get(name)]


@dataclass(frozen=True)
class Book:
    """Lo que dicen del libro `mkdocs.yml` y sus fuentes.

    Args:
        docs: la carpeta de las fuentes.
        pages: las páginas, en el orden de la navegación, y al final las que no están en ella.
        chapters: el número de capítulo de las que lo tienen.
        equations: las ecuaciones numeradas, por su nombre.
    """

    docs: Path
    pages: tuple[str, ...]
    chapters: dict[str, int]
    equations: dict[str, equations.Equation]

    def source(self, page: str) -> str:
        """El Markdown de una página; de un cuaderno, el de sus celdas de texto."""
        path = self.docs / page
        if path.suffix == ".py":
            return notebook.markdown_of(path)
        return path.read_text(encoding="utf-8")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML sin las etiquetas de MkDocs (`!ENV`…), que aquí no hacen falta."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def read_book(config: Path, docs: Path | None = None, nav: Sequence[Any] | None = None) -> Book:
    """Lee de `mkdocs.yml` y de las fuentes qué páginas, capítulos y ecuaciones hay.

    Args:
        config: el fichero `mkdocs.yml`.
        docs: la carpeta de las fuentes, si no es la suya.
        nav: la navegación, si no es la suya.
    """
    settings = yaml.load(config.read_text(encoding="utf-8"), _Loader)
    docs = docs or config.parent / settings["docs_dir"]
    listed = list(_flattened(settings["nav"] if nav is None else nav))
    found = (path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    drafts = settings.get("draft_docs", "").split()
    rest = sorted(page for page in found if page not in drafts)
    pages = (*listed, *(page for page in rest if page not in listed))
    chapters = equations.number_chapters(listed, settings["extra"]["capitulos"])
    book = Book(docs, pages, chapters, {})
    sources = {page: book.source(page) for page in pages if not page.startswith("api/")}
    book.equations.update(equations.collect(sources, chapters)[0])
    return book


def _flattened(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _flattened(item)


def check(book: Book, site: Path) -> list[str]:
    """Lo que le falta a una web terminada: una frase por cosa, con su página."""
    problems = []
    for uri in book.pages:
        name = Path(uri).with_suffix(".html").as_posix()
        if (site / name).is_file():
            found = _page_problems(book, site, uri, name)
            problems += [f"{name}: {problem}." for problem in found]
        else:
            problems.append(f"{name}: falta la página entera.")
    return problems + [f"search/search_index.json: {p}." for p in _search_problems(book, site)]


def _page_problems(book: Book, site: Path, uri: str, name: str) -> Iterator[str]:
    source = book.source(uri)
    page = Page((site / name).read_text(encoding="utf-8"))
    prose = equations.prose(source)
    if page.profile != profile():
        yield f"no dice que su perfil sea «{profile()}», sino «{page.profile}»"
    if uri in book.chapters and "dl-capitulo" not in page.classes:
        yield f"no lleva su número de capítulo, {book.chapters[uri]}"
    for raw in RAW:
        if (at := page.text.find(raw)) >= 0:
            around = " ".join(page.text[max(0, at - 30) : at + 30].split())
            yield f"se lee «{raw}» sin interpretar, en «{around}»"
    if missing := page.classes["dl-falta"]:
        yield f"tiene {missing} huecos de algo que falta"
    yield from _maths_problems(book, uri, prose, page)
    yield from _code_problems(prose, page)
    yield from _figure_problems(prose, page)
    yield from _exercise_problems(prose, page)
    yield from _cell_problems(source, page)
    yield from _depth_problems(prose, page)
    for symbol in MEMBER.findall(prose):
        if symbol not in page.ids:
            yield f"no documenta `{symbol}`"
    if uri.endswith(".py"):
        yield from _notebook_problems(site / name, page)
    for link in page.links:
        if not _exists(site / name, link):
            yield f"no existe el fichero «{link}» que nombra"


def _maths_problems(book: Book, uri: str, prose: str, page: Page) -> Iterator[str]:
    displayed = len(equations.displayed(prose))
    drawn = page.classes["katex-display"]
    if drawn < displayed:
        yield f"tiene {drawn} fórmulas en bloque dibujadas, y en su fuente hay {displayed}"
    elif INLINE_MATHS.search(prose) and not page.classes["katex"]:
        yield "no tiene ninguna fórmula dibujada, y en su fuente las hay"
    if page.classes["katex"] and not any("katex" in link for link in page.links):
        yield "tiene fórmulas y no carga la hoja de estilo de KaTeX"
    for equation in book.equations.values():
        if equation.page != uri:
            continue
        shown = page.equations.get(equation.anchor)
        if shown is None:
            yield f"la ecuación «{equation.name}» no lleva número ni ancla"
        elif shown != f"({equation.tag})":
            yield f"la ecuación «{equation.name}» lleva el número {shown} y es la ({equation.tag})"


def _code_problems(prose: str, page: Page) -> Iterator[str]:
    shown = Counter(code.strip("\n") for code in page.code)
    for symbol, docstring in SYMBOL.findall(prose):
        code = symbol_source(symbol, docstring == "True")[0]
        if not shown[code]:
            yield f"no enseña el código de `{symbol}`"


def _figure_problems(prose: str, page: Page) -> Iterator[str]:
    for name in FIGURE.findall(prose):
        if name not in page.figures:
            yield f"falta la figura «{name}»"
        elif not re.fullmatch(r"Figura \d+\.", page.figures[name]):
            yield f"la figura «{name}» no está numerada"


def _depth_problems(prose: str, page: Page) -> Iterator[str]:
    folded = len(reading.FOLD.findall(prose))
    if page.classes["mas"] != folded:
        yield f"pliega {page.classes['mas']} trozos, y en su fuente hay {folded}"
    if "@[ apertura(" in prose and "dl-apertura" not in page.classes:
        yield "no empieza diciendo qué se sabrá, qué hace falta y dónde está"


def _exercise_problems(prose: str, page: Page) -> Iterator[str]:
    wanted = sum(len(exercises.load(chapter)) for chapter in EXERCISES.findall(prose))
    if page.classes["dl-ejercicio"] != wanted:
        yield f"enseña {page.classes['dl-ejercicio']} ejercicios de los {wanted} que hay"


def _cell_problems(source: str, page: Page) -> Iterator[str]:
    printing = drawing = 0
    for match in equations.FENCE.finditer(source):
        header, *code, _ = match[0].splitlines()
        if CELL.match(header):
            printing += "html=" not in header and _prints(textwrap.dedent("\n".join(code)))
            drawing += "alt=" in header
    if page.classes["dl-salida"] < printing:
        yield f"enseña {page.classes['dl-salida']} salidas de sus {printing} celdas que escriben"
    if page.classes["dl-figura--celda"] < drawing:
        drawn = page.classes["dl-figura--celda"]
        yield f"enseña {drawn} figuras de sus {drawing} celdas que dibujan"


def _prints(code: str) -> bool:
    """Dice si un código escribe algo al ejecutarse, y no solo dentro de sus funciones."""
    return any(
        isinstance(node, ast.Name) and node.id == "print"
        for statement in ast.parse(code).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
    )


def _notebook_problems(path: Path, page: Page) -> Iterator[str]:
    if "dl-descargas" not in page.classes:
        yield "el cuaderno no se puede descargar"
    for suffix in (".py", ".ipynb"):
        if not path.with_suffix(suffix).is_file():
            yield f"falta {path.with_suffix(suffix).name}, el cuaderno que se descarga"
    if undressed := sorted(css for css in page.classes if css.startswith(private.CELL_PREFIX)):
        yield f"el cuaderno está sin vestir: tiene la clase «{undressed[0]}»"
    if not page.classes["highlight"]:
        yield "el cuaderno no enseña su código"
    if not page.classes["dl-salida"]:
        yield "el cuaderno no enseña lo que escribe: está sin ejecutar"


def _exists(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc or not parts.path:
        return True
    return (page.parent / unquote(parts.path)).is_file()


def _search_problems(book: Book, site: Path) -> Iterator[str]:
    path = site / "search" / "search_index.json"
    if not path.is_file():
        yield "falta el índice de búsqueda"
        return
    entries = json.loads(path.read_text(encoding="utf-8"))["docs"]
    found = {entry["location"].partition("#")[0] for entry in entries}
    for uri in book.pages:
        name = Path(uri).with_suffix(".html").as_posix()
        if name not in found:
            yield f"no está «{name}»"
    for entry in entries:
        text = equations.VERBATIM.sub("", f"{entry['title']} {entry['text']}")
        if raw := next((raw for raw in (r"\(", r"\eqref", r"\label") if raw in text), None):
            yield f"en «{entry['location']}» se lee «{raw}» sin interpretar"


def main(arguments: Sequence[str]) -> int:
    """Comprueba una web terminada; devuelve 1 si le falta algo."""
    site = Path(arguments[0]) if arguments else ROOT / "site"
    book = read_book(ROOT / "mkdocs.yml")
    problems = check(book, site)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(
            f"A la web de {site} le faltan {len(problems)} cosas: el generador no ha hecho todo "
            "lo que piden los ganchos (scripts/site/hooks.py).",
            file=sys.stderr,
        )
        return 1
    print(f"Centinelas: {len(book.pages)} páginas y {len(book.equations)} ecuaciones, en su sitio.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
