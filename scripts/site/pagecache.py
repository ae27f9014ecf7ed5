"""Páginas ya hechas, en memoria: con `mkdocs serve` solo se hace otra vez lo que cambia.

Una página se hace en tres veces (sus macros, su conversión a HTML y la plantilla que la envuelve),
y lo que da cada una se guarda con la huella de todo lo que influye en ello.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .private import Anchor, recorded_anchors
from .project import digest


@dataclass(frozen=True)
class Rendered:
    """Lo que deja la conversión de una página, y las anclas que apuntó autorefs mientras tanto."""

    content: str | None
    toc: Any
    title: str | None
    ids: set[str] | None
    links: dict[str, dict[str, str]] | None
    anchors: Sequence[Anchor]


class Warnings(logging.Handler):
    """Cuenta los avisos que da MkDocs desde `start` hasta `stop`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1

    def start(self) -> None:
        self.count = 0
        logging.getLogger("mkdocs").addHandler(self)

    def stop(self) -> int:
        logging.getLogger("mkdocs").removeHandler(self)
        return self.count


class Memory:
    """El último texto de cada página, con la huella de todo lo que influye en él."""

    def __init__(self) -> None:
        self.texts: dict[str, tuple[str, str]] = {}

    def get(self, source: str, key: str) -> str | None:
        """El texto de una página, si `key` no ha cambiado."""
        stored = self.texts.get(source)
        return stored[1] if stored and stored[0] == key else None

    def keep(self, source: str, key: str, text: str) -> str:
        """Guarda el texto de una página, y lo devuelve."""
        self.texts[source] = (key, text)
        return text

    def make(self, source: str, key: str, write: Callable[[], str]) -> str:
        """El texto de una página, que se escribe una vez mientras `key` no cambie.

        Si escribirlo da avisos no se guarda, para que vuelvan a verse la próxima vez.
        """
        stored = self.get(source, key)
        if stored is not None:
            return stored
        warnings = Warnings()
        warnings.start()
        try:
            text = write()
        finally:
            told = warnings.stop()
        return text if told else self.keep(source, key, text)


class Templates:
    """Las plantillas de Jinja; las de las páginas se escriben con `write(nombre, contexto, …)`.

    Args:
        env: las de verdad.
        write: de una plantilla y su contexto, la página; recibe también cómo escribirla.
    """

    def __init__(
        self, env: Any, write: Callable[[str, Mapping[str, Any], Callable[[], str]], str]
    ) -> None:
        self.env, self.own = env, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def get_template(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Una plantilla de las que tienen página se escribe con lo que se recuerda."""
        template = self.env.get_template(name, *arguments, **options)
        return _Template(name, template, self.own)


@dataclass(frozen=True)
class _Template:
    name: str
    template: Any
    write: Callable[[str, Mapping[str, Any], Callable[[], str]], str]

    def render(self, context: Mapping[str, Any]) -> str:
        if context.get("page") is None:
            return str(self.template.render(context))
        return self.write(self.name, context, lambda: str(self.template.render(context)))


@dataclass
class PageCache:
    """Lo último que se hizo de cada página, y la huella de todo lo que influye en ello."""

    expanded: Memory = field(default_factory=Memory)
    pages: dict[str, tuple[str, Rendered]] = field(default_factory=dict)
    wrapped: Memory = field(default_factory=Memory)
    finished: Memory = field(default_factory=Memory)
    searches: dict[str, tuple[str, list[dict[str, Any]]]] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0

    def renderer(
        self, page: Any, key: str, autorefs: Any
    ) -> Callable[[Callable[[], None], Any], None]:
        """Una conversión que se hace una sola vez mientras `key` no cambie.

        Una conversión que da avisos no se guarda, para que vuelvan a verse la próxima vez.

        Returns:
            Lo que espera `private.intercept_render`.
        """
        source = page.file.src_uri

        def render(original: Callable[[], None], files: Any) -> None:
            stored = self.pages.get(source)
            if stored and stored[0] == key:
                self.hits += 1
                restore(page, stored[1], files, autorefs)
                return
            self.misses += 1
            self.pages.pop(source, None)
            warnings = Warnings()
            warnings.start()
            try:
                with recorded_anchors(autorefs) as anchors:
                    original()
            finally:
                told = warnings.stop()
            if not told:
                self.pages[source] = (key, capture(page, anchors))

        return render

    def index(self, original: Callable[[], None], page: Any, entries: list[Any]) -> None:
        """Apunta una página en el índice de búsqueda, y solo la lee si ha cambiado.

        Es lo que espera `private.intercept_search`.
        """
        key = digest(page.url, str(page.title), str(page.meta), page.content)
        stored = self.searches.get(page.file.src_uri)
        if stored and stored[0] == key:
            entries.extend(dict(entry) for entry in stored[1])
            return
        start = len(entries)
        original()
        self.searches[page.file.src_uri] = (key, [dict(entry) for entry in entries[start:]])


def capture(page: Any, anchors: Sequence[Anchor]) -> Rendered:
    """Guarda lo que dejó la conversión de una página."""
    links = None
    if page.links_to_anchors is not None:
        links = {file.src_uri: dict(found) for file, found in page.links_to_anchors.items()}
    ids = set(page.present_anchor_ids) if page.present_anchor_ids is not None else None
    return Rendered(page.content, copy.deepcopy(page.toc), page.title, ids, links, tuple(anchors))


def restore(page: Any, rendered: Rendered, files: Any, autorefs: Any) -> None:
    """Devuelve a una página lo que dejó su última conversión."""
    page.content = rendered.content
    page.toc = copy.deepcopy(rendered.toc)
    page.title = rendered.title
    page.present_anchor_ids = set(rendered.ids) if rendered.ids is not None else None
    if rendered.links is not None:
        found = {files.get_file_from_path(uri): anchors for uri, anchors in rendered.links.items()}
        page.links_to_anchors = {
            file: dict(anchors) for file, anchors in found.items() if file is not None
        }
    for anchor in rendered.anchors:
        autorefs.register_anchor(page, *anchor.arguments, **anchor.options)
