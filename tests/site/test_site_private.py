"""Cada cosa que la web toca por dentro de MkDocs, su tema y sus plugins sigue estando donde estaba.

Se prueba sobre webs diminutas, construidas aquí mismo, con esos paquetes de verdad.
"""

import ast
import json
import re
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs")

import material
import mkdocstrings_handlers.python
from scripts.site import notebook, private, search
from small_sites import Build

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "scripts" / "site"
MATERIAL = Path(material.__file__).parent / "templates"


def changed(package: str, what: str) -> str:
    """El mensaje de un apoyo que ha dejado de estar."""
    version = distribution(package).version
    return (
        f"{package} {version} (comprobado con {private.CHECKED[package]}) ya no {what}; revisa "
        "scripts/site/private.py"
    )


def test_versions_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.M))
    different = {name: pinned.get(name) for name in private.CHECKED}
    assert different == private.CHECKED, (
        "requirements.lock pide otras versiones que las comprobadas: si estos tests pasan con "
        "ellas, apúntalas en scripts/site/private.py"
    )


def test_no_other_module_of_the_site_reaches_inside() -> None:
    inside = {"mdx_configs", "search_index", "add_entry_from_context", "typeset", "get_toc"}
    found = []
    for path in SITE.glob("*.py"):
        if path.name == "private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
                hidden = node.attr.startswith("_") and not node.attr.startswith("__")
                if node.attr in inside or (hidden and not own):
                    found.append(f"{where}: .{node.attr}")
            elif isinstance(node, ast.alias) and node.name in inside:
                found.append(f"{where}: {node.name}")
            elif isinstance(node, ast.Constant) and str(node.value).lstrip(".").startswith("jp-"):
                found.append(f"{where}: {node.value}")
    assert not found, "esto ha de ir a scripts/site/private.py:\n" + "\n".join(found)


# --- MkDocs ------------------------------------------------------------------------------------


def test_headings_take_our_anchors(tiny: Build) -> None:
    hooks = """def on_config(config):
    private.set_slugify(config, lambda text, separator: "ancla-nuestra")
"""
    made = tiny({"index.md": "# Título\n"}, hooks)
    assert 'id="ancla-nuestra"' in made.read("index.html"), changed(
        "mkdocs", "lee de mdx_configs las opciones de toc"
    )


def test_the_conversion_of_a_page_can_be_replaced(tiny: Build) -> None:
    hooks = """def on_page_markdown(markdown, page, config, files):
    def render(original, files):
        original()
        seen.append((page.content, page.title, [item.id for item in page.toc]))
        page.content, page.title = "<p>cambiado</p>", "Otro título"
    private.intercept_render(page, render)
"""
    made = tiny({"a.md": "# Título\n\nTexto.\n"}, hooks)
    assert made.hooks.seen, changed("mkdocs", "convierte las páginas con page.render")
    ((content, title, ids),) = made.hooks.seen
    assert "<p>Texto.</p>" in content and title == "Título" and ids
    page = made.read("a.html")
    assert "<p>cambiado</p>" in page and "<title>Otro título" in page, changed(
        "mkdocs", "usa lo que deja page.render"
    )


def test_a_table_of_contents_made_apart_is_like_its_own(tiny: Build) -> None:
    hooks = """def on_page_content(html, page, config, files):
    seen.append(page.toc)
"""
    made = tiny({"index.md": "# Uno\n\n## Dos\n"}, hooks)
    (own,) = made.hooks.seen
    children = [{"level": 2, "id": "dos", "name": "Dos", "children": []}]
    ours = private.table_of_contents(
        [{"level": 1, "id": "uno", "name": "Uno", "children": children}]
    )

    def listed(items: Any) -> list[Any]:
        return [(item.title, item.url, item.level, listed(item.children)) for item in items]

    assert listed(ours) == listed(own), changed("mkdocs", "hace el índice con get_toc")


# --- Material ----------------------------------------------------------------------------------

WORKER_HOST = """
var self = globalThis, answers = [], listeners = [], location = {hash: ""};
function addEventListener(type, listener) { listeners.push(listener); }
function postMessage(message) { answers.push(message); }
function importScripts() {}
console = {warn: function () {}, log: function () {}};
"""
ASK = """
function send(type, data) {
  var event = {data: {type: type, data: data}};
  listeners.forEach(function (listener) { listener(event); });
}
function answered() { return JSON.stringify(answers); }
"""


@pytest.fixture(scope="module")
def ask() -> Callable[[str], list[str]]:
    """El guion de búsqueda de Material, con el nuestro delante, contestando a una consulta."""
    import quickjs

    workers = [
        path
        for path in MATERIAL.rglob("*.js")
        if private.SEARCH_WORKER.fullmatch(path.relative_to(MATERIAL).as_posix())
    ]
    assert len(workers) == 1, changed("mkdocs-material", "tiene un solo guion de búsqueda")
    context = quickjs.Context()
    context.eval(WORKER_HOST)
    context.eval(search.WORKER_PRELUDE + workers[0].read_text(encoding="utf-8"))
    context.eval(ASK)
    send, answered = context.get("send"), context.get("answered")
    settings = {"lang": ["en"], "separator": r"[\s\-,:;.]+", "pipeline": [], "fields": {}}
    settings["fields"] = {"title": {"boost": 1000.0}, "text": {"boost": 1.0}}
    docs = [
        {"location": "a.html", "title": "Difusión", "text": "Un ruido pequeño"},
        {"location": "b.html", "title": "Otra", "text": "sin nada"},
    ]
    index = {"config": settings, "docs": docs, "options": {"suggest": False}}
    context.eval(f"send(0, {json.dumps(index)})")

    def query(text: str) -> list[str]:
        send(2, text)
        while context.execute_pending_job():
            pass
        last = json.loads(answered())[-1]
        assert last["type"] == 3, last
        return [group[0]["location"] for group in last["data"]["items"]]

    while context.execute_pending_job():
        pass
    return query


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("difusión", ["a.html"]),
        ("DIFUSION", ["a.html"]),
        ("pequeño", ["a.html"]),
        ("pequeno", []),
        ("nada", ["b.html"]),
    ],
)
def test_the_search_worker_folds_accents(
    ask: Callable[[str], list[str]], query: str, found: list[str]
) -> None:
    assert ask(query) == found, changed("mkdocs-material", "busca como se esperaba")


def test_the_table_of_contents_shows_formulas(tiny: Build) -> None:
    hooks = """def on_page_content(html, page, config, files):
    for item in page.toc.items[0].children:
        private.set_typeset(item, "<b>dibujada</b>")
"""
    made = tiny({"index.md": "# Uno\n\n## Dos\n\n## Tres\n"}, hooks, theme="material")
    assert "<b>dibujada</b>" in made.read("index.html"), changed(
        "mkdocs-material", "dibuja en el índice el atributo typeset"
    )


def test_the_reading_of_a_page_for_the_search_can_be_replaced(tiny: Build) -> None:
    hooks = """def on_config(config):
    def add(original, page, entries):
        if page.file.src_uri == "a.md":
            original()
            seen.extend(dict(entry) for entry in entries)
    private.intercept_search(config.plugins, add)
"""
    made = tiny(
        {"index.md": "# Portada\n", "a.md": "# Una\n\nTexto.\n"},
        hooks,
        plugins=["material/search"],
        theme="material",
    )
    lost = changed("mkdocs-material", "apunta cada página con search_index")
    assert {entry["location"].partition("#")[0] for entry in made.hooks.seen} == {"a.html"}, lost
    written = json.loads(made.read("search/search_index.json"))["docs"]
    assert written == made.hooks.seen, lost


# --- autorefs y mkdocstrings -------------------------------------------------------------------


def test_every_anchor_of_a_page_is_recorded_and_can_be_given_back(tiny: Build) -> None:
    from mkdocs_autorefs import AutorefsPlugin

    hooks = """def on_page_markdown(markdown, page, config, files):
    def render(original, files):
        with private.recorded_anchors(config.plugins["autorefs"]) as anchors:
            original()
        seen.append((page, anchors))
    private.intercept_render(page, render)
"""
    made = tiny(
        {"index.md": "# Mi título\n\n[](){#otro-nombre}\n\n## Dos\n\n::: modulo.sumar\n"},
        hooks,
        plugins=[
            "autorefs",
            {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT / "tests" / "site")]}}}},
        ],
        extensions=("attr_list",),
    )
    ((page, anchors),) = made.hooks.seen
    named = {anchor.arguments[0] for anchor in anchors}
    assert {"mi-titulo", "otro-nombre", "modulo.sumar"} <= named, changed(
        "mkdocs-autorefs", f"apunta las anclas con register_anchor (solo {sorted(named)})"
    )
    fresh = AutorefsPlugin()
    for anchor in anchors:
        fresh.register_anchor(page, *anchor.arguments, **anchor.options)
    for name in named:
        own = made.config.plugins["autorefs"].get_item_url(name, from_url="b.html")
        assert fresh.get_item_url(name, from_url="b.html") == own, changed(
            "mkdocs-autorefs", "guarda todo lo de un ancla en register_anchor"
        )


def test_the_spanish_labels_are_those_of_the_reference() -> None:
    own = Path(mkdocstrings_handlers.python.__file__).parent / "templates"
    languages = own / "material" / "_base" / "languages"

    def keys(path: Path) -> set[str]:
        return set(re.findall(r'"([^"]+)": ', path.read_text(encoding="utf-8")))

    english, spanish = (
        keys(path)
        for path in (languages / "en.html.jinja", SITE / "templates" / private.TRANSLATION)
    )
    assert english, changed(
        "mkdocstrings-python", "guarda sus rótulos en _base/languages/en.html.jinja"
    )
    assert spanish >= english, changed(
        "mkdocstrings-python", f"tiene los mismos rótulos: faltan {sorted(english - spanish)}"
    )


# --- markdown-exec -----------------------------------------------------------------------------

CELL = '# Una\n\n```python exec="1"\nprint(1)\n```\n'


def test_cells_are_written_by_our_formatter(tiny: Build) -> None:
    hooks = """def on_config(config):
    def write(source, language, css_class, options, md, **_):
        seen.append((source, options))
        return "<p>nuestra</p>"
    private.set_cell_formatter(config, write)
"""
    made = tiny(
        {"index.md": CELL},
        hooks,
        plugins=[{"markdown-exec": {"languages": ["python"]}}],
        extensions=("pymdownx.superfences",),
    )
    assert "<p>nuestra</p>" in made.read("index.html"), changed(
        "markdown-exec", "pone su bloque en los de superfences"
    )
    ((source, _),) = made.hooks.seen
    assert source == "print(1)"


def test_without_the_fence_of_the_cells_there_is_no_site(tiny: Build) -> None:
    hooks = """def on_config(config):
    private.set_cell_formatter(config, print)
"""
    with pytest.raises(LookupError, match="las celdas no se ejecutarían"):
        tiny({"index.md": CELL}, hooks, extensions=("pymdownx.superfences",))


# --- mkdocs-jupyter y nbconvert ----------------------------------------------------------------

PERCENT = "# %% [markdown]\n# # Cuaderno {}\n\n# %%\nx = 1\n"
DRAWN = {
    "output_type": "display_data",
    "metadata": {},
    "data": {"image/png": "iVBORw0KGgo=", "text/plain": ["<Figure>"]},
}
IPYNB = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "P"}},
    "cells": [
        {"id": "a", "cell_type": "markdown", "metadata": {}, "source": ["# Título\n", "$x$"]},
        {
            "id": "b",
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": ["print('hola')\n", "x"],
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["hola\n"]},
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": {"text/plain": ["7"]},
                },
                DRAWN,
            ],
        },
    ],
}


def test_a_notebook_obeys_its_options_and_is_read_from_elsewhere(
    tiny: Build, tmp_path: Path
) -> None:
    other = tmp_path / "aparte" / "cuadernos" / "uno.py"
    other.parent.mkdir(parents=True)
    other.write_text(PERCENT.format("cambiado"), encoding="utf-8")
    hooks = f"""from pathlib import Path


def on_config(config):
    private.notebook_options(config.plugins)["execute"] = False
    private.notebook_options(config.plugins)["highlight_extra_classes"] = "marca-nuestra"


def on_files(files, config):
    file = files.get_file_from_path("cuadernos/uno.py")
    seen.append(file.abs_src_path)
    private.read_notebook_from(file, Path({str(other)!r}))
"""
    made = tiny(
        {"index.md": "# Portada\n", "cuadernos/uno.py": PERCENT.format("original")},
        hooks,
        plugins=[{"mkdocs-jupyter": {"include": ["cuadernos/*.py"], "execute": True}}],
    )
    page = made.read("cuadernos/uno.html")
    assert "Cuaderno cambiado" in page and "Cuaderno original" not in page, changed(
        "mkdocs-jupyter", "lee el cuaderno de abs_src_path"
    )
    assert "marca-nuestra" in page, changed("mkdocs-jupyter", "mira sus opciones al convertir")


def test_the_notebook_of_the_smoke_profile_is_still_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "CACHE", tmp_path)
    made = notebook.for_smoke(ROOT / "docs" / "cuadernos" / "primer-ddpm.py")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'mkdocs-jupyter:\s+include: \["([^"]+)"\]', text)
    assert made.match(pattern), f"{made} no casa con «{pattern}»: no se convertiría"


def test_the_parts_of_a_notebook_have_the_expected_classes(tiny: Build) -> None:
    from bs4 import BeautifulSoup

    hooks = """def on_page_content(html, page, config, files):
    seen.append(html)
"""
    made = tiny(
        {"index.ipynb": json.dumps(IPYNB)},
        hooks,
        plugins=[{"mkdocs-jupyter": {"include": ["*.ipynb"], "execute": False}}],
    )
    (page,) = made.hooks.seen
    soup = BeautifulSoup(page, "html.parser")
    expected = {
        f"{private.CELL}:not(:has({private.CELL}))": 2,
        private.CELL_TEXT: 1,
        private.CELL_SOURCE: 1,
        private.CELL_OUTPUT: 3,
    }
    counted = {selector: len(soup.select(selector)) for selector in expected}
    assert counted == expected, changed("nbconvert", "escribe las celdas con esas clases")
    missing = [selector for selector in private.CELL_EXTRAS if not soup.select(selector)]
    assert not missing, changed("nbconvert", f"escribe {missing}")
    dressed, headings, problems = notebook.restyle(page, ["Un dibujo"])
    assert not problems
    assert [heading["id"] for heading in headings] == ["titulo"]
    assert "hola\n7" in dressed and 'alt="Un dibujo"' in dressed
    assert "jp-" not in dressed and "In\xa0[" not in dressed


def test_landmarks_are_named_as_the_theme_writes_them() -> None:
    nested = (
        '<nav class="md-nav" data-md-level="1" aria-labelledby="__nav_4_label" aria-expanded="f">'
        '\n<label class="md-nav__title" for="__nav_4">\n<span class="md-nav__icon md-icon"></span>'
        "\n  Componentes <b>principales</b>\n</label>"
    )
    assert 'aria-label="Componentes principales" aria-expanded' in private.name_landmarks(nested)
    path = '<nav class="md-path" aria-label="Navegación" >'
    assert private.name_landmarks(path) == '<nav class="md-path" aria-label="Ruta" >'
    part = '<nav class="md-nav" aria-label="Recetas">'
    assert private.name_landmarks(part) == '<nav class="md-nav" aria-label="En «Recetas»">'
    table = "<thead><tr><th></th><th>x</th></tr></thead>"
    assert private.name_landmarks(table) == "<thead><tr><td></td><th>x</th></tr></thead>"
    for place, text in (
        ("partials/progress.html", 'class="md-progress" data-md-component="progress"'),
        ("partials/path.html", '<nav class="md-path"'),
        ("partials/nav-item.html", 'class="md-nav__icon md-icon"'),
        ("partials/toc-item.html", '<nav class="md-nav" aria-label="'),
    ):
        written = (MATERIAL / place).read_text(encoding="utf-8")
        assert text in written, changed("mkdocs-material", f"escribe {text} en {place}")
