"""Páginas ya convertidas, en memoria: con `mkdocs serve` solo se convierte lo que cambia."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .project import digest


@dataclass
class Rendered:
    """Lo que deja `Page.render`, y las anclas que registró autorefs mientras tanto."""

    content: str | None
    toc: Any
    title: str | None
    anchors: set[str] | None
    links: Any
    references: list[tuple[str, str, list[str]]]
    titles: dict[str, str]


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

    def wrap(self, page: Any, key: str, autorefs: Any) -> None:
        """Hace que la página se convierta una sola vez mientras `key` no cambie.

        Una conversión que da avisos no se guarda, para que vuelvan a verse la próxima vez.
        """
        original: Callable[..., None] = page.render
        source = page.file.src_uri

        def render(config: Any, files: Any) -> None:
            stored = self.pages.get(source)
            if stored and stored[0] == key:
                self.hits += 1
                restore(page, stored[1], files, autorefs)
                return
            self.misses += 1
            self.pages.pop(source, None)
            before = snapshot(autorefs)
            counter = _Counter()
            logger = logging.getLogger("mkdocs")
            logger.addHandler(counter)
            try:
                original(config, files)
            finally:
                logger.removeHandler(counter)
            if not counter.count:
                self.pages[source] = (key, capture(page, before, autorefs))

        page.render = render

    def remember_search(self, index: Any) -> None:
        """Hace que el índice de búsqueda solo vuelva a leer las páginas que han cambiado."""
        original: Callable[[Any], None] = index.add_entry_from_context

        def add(page: Any) -> None:
            key = digest(page.url, str(page.title), str(page.meta), page.content)
            stored = self.searches.get(page.file.src_uri)
            if stored and stored[0] == key:
                index.entries.extend(dict(entry) for entry in stored[1])
                return
            start = len(index.entries)
            original(page)
            self.searches[page.file.src_uri] = (
                key,
                [dict(entry) for entry in index.entries[start:]],
            )

        index.add_entry_from_context = add


MAPS = ("_primary_url_map", "_secondary_url_map")


@dataclass(frozen=True)
class Anchors:
    """Anclas y títulos que conoce autorefs en un momento dado."""

    maps: dict[str, dict[str, list[str]]]
    titles: dict[str, str]


def snapshot(autorefs: Any) -> Anchors:
    """Copia de lo que conoce autorefs en este momento."""
    maps = {name: {k: list(v) for k, v in getattr(autorefs, name).items()} for name in MAPS}
    return Anchors(maps, dict(autorefs._title_map))


def capture(page: Any, before: Anchors, autorefs: Any) -> Rendered:
    """Guarda lo que dejó la conversión de una página."""
    references = []
    for name in MAPS:
        for identifier, urls in getattr(autorefs, name).items():
            new = [url for url in urls if url not in before.maps[name].get(identifier, [])]
            if new:
                references.append((name, identifier, new))
    titles = {k: v for k, v in autorefs._title_map.items() if k not in before.titles}
    links = None
    if page.links_to_anchors is not None:
        links = {file.src_uri: dict(anchors) for file, anchors in page.links_to_anchors.items()}
    anchors = set(page.present_anchor_ids) if page.present_anchor_ids is not None else None
    title = getattr(page, "_title_from_render", None)
    toc = copy.deepcopy(page.toc)
    return Rendered(page.content, toc, title, anchors, links, references, titles)


def restore(page: Any, rendered: Rendered, files: Any, autorefs: Any) -> None:
    """Devuelve a una página lo que dejó su última conversión."""
    page.content = rendered.content
    page.toc = copy.deepcopy(rendered.toc)
    page._title_from_render = rendered.title
    page.present_anchor_ids = set(rendered.anchors) if rendered.anchors is not None else None
    if rendered.links is not None:
        found = {files.get_file_from_path(uri): anchors for uri, anchors in rendered.links.items()}
        page.links_to_anchors = {
            file: dict(anchors) for file, anchors in found.items() if file is not None
        }
    for name, identifier, urls in rendered.references:
        known = getattr(autorefs, name).setdefault(identifier, [])
        known.extend(url for url in urls if url not in known)
    autorefs._title_map.update(rendered.titles)
