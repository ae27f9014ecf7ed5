"""Páginas ya convertidas, en memoria: con `mkdocs serve` solo se convierte lo que cambia."""

import copy
import logging
from collections.abc import Callable, Sequence
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


class _Counter(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


@dataclass
class PageCache:
    """La última conversión de cada página y la huella de todo lo que influye en ella."""

    pages: dict[str, tuple[str, Rendered]] = field(default_factory=dict)
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
            counter = _Counter()
            logger = logging.getLogger("mkdocs")
            logger.addHandler(counter)
            try:
                with recorded_anchors(autorefs) as anchors:
                    original()
            finally:
                logger.removeHandler(counter)
            if not counter.count:
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
