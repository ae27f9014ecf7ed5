"""Una página que no ha cambiado no se convierte otra vez, y la web sale igual."""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mkdocs")

from scripts.site.katex import FormulaCache
from scripts.site.pagecache import Memory, PageCache, Templates
from small_sites import ROOT, Build

HOOKS = """import memoria


def on_config(config):
    private.intercept_search(config.plugins, memoria.pages.index)


def on_page_markdown(markdown, page, config, files):
    render = memoria.pages.renderer(page, markdown, config.plugins["autorefs"])
    private.intercept_render(page, render)
"""
PLUGINS: list[Any] = [
    {"material/search": {"lang": "es"}},
    "autorefs",
    {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT / "tests" / "site")]}}}},
]
PAGES = {
    "index.md": "# Portada\n\nVéase [la suma][modulo.sumar], [dos][dos] y [otro](a.md#dos).\n",
    "a.md": "# Una\n\n## Dos\n\nTexto.\n",
    "api.md": "# Referencia\n\n::: modulo.sumar\n",
}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> PageCache:
    """Una memoria que dura de una construcción a otra."""
    pages = PageCache()
    monkeypatch.setitem(sys.modules, "memoria", SimpleNamespace(pages=pages))
    return pages


def test_a_second_build_converts_nothing_and_is_the_same(tiny: Build, cache: PageCache) -> None:
    def texts() -> dict[str, str]:
        made = tiny(PAGES, HOOKS, plugins=PLUGINS, theme="material")
        return {
            name: made.read(name)
            for name in ("index.html", "a.html", "api.html", "search/search_index.json")
        }

    first = texts()
    assert (cache.misses, cache.hits) == (3, 0)
    assert 'href="api.html#modulo.sumar"' in first["index.html"]
    second = texts()
    assert (cache.misses, cache.hits) == (3, 3)
    assert second == first


def test_only_the_page_that_changes_is_converted(tiny: Build, cache: PageCache) -> None:
    tiny(PAGES, HOOKS, plugins=PLUGINS, theme="material")
    other = {**PAGES, "a.md": "# Una\n\n## Dos\n\nTexto cambiado.\n"}
    made = tiny(other, HOOKS, plugins=PLUGINS, theme="material")
    assert (cache.misses, cache.hits) == (4, 2)
    assert "Texto cambiado." in made.read("a.html")
    assert "Texto cambiado." in made.read("search/search_index.json")


def test_a_page_with_warnings_is_not_kept(tiny: Build, cache: PageCache) -> None:
    pages = {"index.md": "# Portada\n\nUn [enlace](no-hay.md).\n"}
    for _ in range(2):
        tiny(pages, HOOKS, plugins=PLUGINS, theme="material")
    assert (cache.misses, cache.hits) == (2, 0)


def test_a_text_is_written_once_while_its_key_is_the_same() -> None:
    memory, written = Memory(), iter("abcdef")
    keys = ("1", "1", "2", "1")
    assert [memory.make("a.md", key, lambda: next(written)) for key in keys] == list("aabc")
    assert memory.make("b.md", "1", lambda: next(written)) == "d"


def test_a_text_that_gives_warnings_is_written_again() -> None:
    written = iter("abc")

    def write() -> str:
        logging.getLogger("mkdocs.plugins.x").warning("algo falta")
        return next(written)

    memory = Memory()
    assert [memory.make("a.md", "1", write) for _ in range(3)] == list("abc")


def test_only_the_templates_of_pages_are_remembered() -> None:
    def write(name: str, context: Mapping[str, Any], render: Callable[[], str]) -> str:
        return f"{name}: {render()}"

    real = SimpleNamespace(render=lambda context: f"con {len(context)}")
    env = SimpleNamespace(get_template=lambda name: real, filters={"fecha": str})
    templates = Templates(env, write)
    assert templates.get_template("main.html").render({"page": 1}) == "main.html: con 1"
    assert templates.get_template("404.html").render({"page": None}) == "con 1"
    assert templates.filters is env.filters


def test_formulas_are_kept_while_serving_and_only_the_used_ones_are_after_a_build(
    tmp_path: Path,
) -> None:
    cache = FormulaCache(tmp_path)
    cache.open()
    for tex, forget in (("a", False), ("b", False), ("c", True)):
        cache.render(tex, False)
        cache.save(forget=forget)
        if tex == "b":
            assert set(cache.known) == {"Ia", "Ib"}
    assert set(cache.known) == {"Ic"}
