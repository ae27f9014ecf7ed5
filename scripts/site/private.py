"""Lo que la web toca por dentro de MkDocs, de su tema y de sus plugins, todo junto.

Cada función de este módulo se apoya en algo que nadie promete conservar, y dice qué hace, en qué se
apoya y por qué no hay otra manera. Los demás módulos del sitio usan solo lo que esos paquetes
documentan. `CHECKED` dice con qué versiones se ha comprobado; tests/site/test_site_private.py
comprueba cada apoyo por separado, y falla también si `requirements.lock` pide otra versión: al
subir una, se ejecutan esos tests y, si pasan, se apunta aquí.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

CHECKED = {
    "mkdocs": "1.6.1",
    "mkdocs-material": "9.8.1",
    "mkdocs-autorefs": "1.4.5",
    "mkdocs-jupyter": "0.26.3",
    "mkdocstrings": "1.0.8",
    "mkdocstrings-python": "2.0.11",
    "markdown-exec": "1.12.6",
    "nbconvert": "7.17.2",
}
"""Versión de cada paquete con que se ha comprobado todo lo de este módulo."""


# --- MkDocs ------------------------------------------------------------------------------------


def set_slugify(config: Any, slugify: Callable[[str, str], str]) -> None:
    """Hace que las anclas de los encabezados las escriba `slugify`.

    Se apoya en `config.mdx_configs`, que MkDocs declara privado. En mkdocs.yml se podría nombrar
    la función con `!!python/name`, pero entonces `scripts` tendría que poder importarse antes de
    que MkDocs lea sus ganchos, y la orden `mkdocs` no lo permite.
    """
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify


def intercept_render(page: Any, render: Callable[[Callable[[], None], Any], None]) -> None:
    """Pone `render(original, files)` en lugar de la conversión de una página.

    Se apoya en que MkDocs llama a `page.render(config, files)` por su nombre, como hace también
    mkdocs-jupyter. Ningún evento permite saltarse la conversión de una página.
    """
    original = page.render
    page.render = lambda config, files: render(lambda: original(config, files), files)


def table_of_contents(headings: list[Any]) -> Any:
    """El índice de una página a partir de sus encabezados, como los da la extensión toc.

    Se apoya en `mkdocs.structure.toc.get_toc`, sin documentar: es la función con que el propio
    MkDocs hace el índice, y no hay otra manera de dar uno hecho fuera de su conversión.
    """
    from mkdocs.structure.toc import get_toc

    return get_toc(headings)


# --- Material ----------------------------------------------------------------------------------

SEARCH_WORKER = re.compile(r"assets/javascripts/workers/search\..*\.js")
"""El guion de búsqueda de Material, al que `search.WORKER_PRELUDE` se antepone.

Se apoya en que ese guion deja lunr en `self.lunr` antes de usarlo, en que construye el índice con
`lunr.Builder` y en que su mensaje de tipo 2 es una consulta. La configuración del buscador no deja
añadir a lunr un paso propio.
"""


def set_typeset(item: Any, shown: str) -> None:
    """Hace que un elemento del índice se dibuje como el HTML `shown` y no como su título.

    Se apoya en el atributo `typeset` que las plantillas de Material miran en cada elemento, y que
    pone un plugin suyo. Sin él habría que copiar aquí esas plantillas enteras.
    """
    item.typeset = SimpleNamespace(title=shown)


def intercept_search(
    plugins: Any, add: Callable[[Callable[[], None], Any, list[Any]], None]
) -> None:
    """Pone `add(original, page, entries)` en lugar de la lectura de una página para el índice.

    Se apoya en que el plugin de búsqueda guarda en `search_index` un objeto que apunta cada página
    con `add_entry_from_context(page)` en la lista `entries`. No ofrece ninguna memoria.
    """
    index = plugins["material/search"].search_index
    original = index.add_entry_from_context
    index.add_entry_from_context = lambda page: add(lambda: original(page), page, index.entries)


# --- autorefs ----------------------------------------------------------------------------------


class Anchor(NamedTuple):
    """Un ancla que autorefs ha apuntado: los argumentos de `register_anchor`, sin la página."""

    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@contextmanager
def recorded_anchors(autorefs: Any) -> Iterator[list[Anchor]]:
    """Anota las anclas que autorefs y mkdocstrings apuntan mientras dure el bloque.

    Se apoya en que las dos llaman, por su nombre, al método público `register_anchor` del plugin,
    aquí envuelto. No hay manera pública de preguntar qué anclas puso una página.
    """
    original = autorefs.register_anchor
    anchors: list[Anchor] = []

    def register(page: Any, *arguments: Any, **options: Any) -> None:
        anchors.append(Anchor(arguments, options))
        original(page, *arguments, **options)

    autorefs.register_anchor = register
    try:
        yield anchors
    finally:
        autorefs.register_anchor = original


# --- markdown-exec -----------------------------------------------------------------------------


def set_cell_formatter(config: Any, formatter: Callable[..., str]) -> None:
    """Hace que las celdas `python` las escriba `formatter` en lugar de markdown-exec.

    Se apoya en que markdown-exec, antes que nuestros ganchos, añade a superfences un bloque propio
    de nombre `python`. Su configuración no deja cambiar cómo se ejecutan las celdas.

    Raises:
        LookupError: si ese bloque no está.
    """
    fences = config.mdx_configs.get("pymdownx.superfences", {}).get("custom_fences", [])
    chosen = [fence for fence in fences if fence["name"] == "python"]
    if not chosen:
        raise LookupError(
            "markdown-exec no ha añadido su bloque «python» a superfences: las celdas no se "
            f"ejecutarían. Se comprobó con markdown-exec {CHECKED['markdown-exec']}."
        )
    for fence in chosen:
        fence["format"] = formatter


# --- mkdocs-jupyter y nbconvert ----------------------------------------------------------------


def notebook_options(plugins: Any) -> Any:
    """Las opciones de mkdocs-jupyter, para leerlas y cambiarlas al empezar la construcción.

    Se apoya en que el plugin no las mira hasta que convierte un cuaderno. En mkdocs.yml no pueden
    depender de lo que haya cambiado.
    """
    return plugins["mkdocs-jupyter"].config


def read_notebook_from(file: Any, path: Path) -> None:
    """Hace que el cuaderno de una página se lea de otro fichero, del mismo nombre y carpeta.

    Se apoya en que mkdocs-jupyter lee lo que diga `abs_src_path`, y en que decide qué es un
    cuaderno por los dos últimos trozos de esa ruta.
    """
    file.abs_src_path = str(path)


CELL_PREFIX = "jp-"
CELL = ".jp-Cell"
CELL_TEXT = ".jp-RenderedMarkdown, .jp-MarkdownOutput"
CELL_SOURCE = ".jp-InputArea pre"
CELL_OUTPUT = ".jp-OutputArea-output"
CELL_EXTRAS = (
    ".clipboard-copy-txt",
    ".jp-InputPrompt",
    ".jp-OutputPrompt",
    ".jp-Collapser",
    ".zeroclipboard-container",
)
"""Las clases con que nbconvert escribe cada parte de un cuaderno; `CELL_EXTRAS` es lo que sobra.

Casi todas empiezan por `CELL_PREFIX`, que no debe quedar en ninguna página terminada.

Se apoya en su plantilla `lab`. mkdocs-jupyter no deja elegir otra.
"""


# --- mkdocstrings ------------------------------------------------------------------------------

TRANSLATION = "python/material/languages/es.html.jinja"
"""La traducción de los rótulos de la referencia, dentro de `custom_templates`.

Se apoya en que mkdocstrings-python, que no está traducido, busca sus rótulos en una plantilla con
ese nombre y esas claves. No hay opción con la que dárselos.
"""


# --- Lo que el tema dice a quien no ve la pantalla ---------------------------------------------

_PROGRESS = '<div class="md-progress" data-md-component="progress" role="progressbar"></div>'
_PATH = re.compile(r'(<nav class="md-path" aria-label=)"[^"]*"')
_NESTED = re.compile(
    r'aria-labelledby="__nav_\w+_label"([^>]*>\s*<label class="md-nav__title" for="__nav_\w+">'
    r"\s*<span class=\"md-nav__icon md-icon\"></span>)(.*?)(</label>)",
    re.S,
)
_PART = re.compile(r'(<nav class="md-nav" aria-label=")([^"]*)(">)')
_EMPTY_HEADER = re.compile(r"<th(?: [^>]*)?>\s*</th>")


def name_landmarks(page_html: str) -> str:
    """Da nombre a lo que el tema deja sin él, o con el de otra cosa.

    La barra de progreso no dice nada que haya que oír; la ruta y el menú se llaman los dos
    «Navegación»; el menú de una sección con página propia se llama como una etiqueta vacía; lo que
    hay en un apartado de la página se llama como él, que puede ser como una sección; y una tabla
    puede empezar por una casilla vacía, que no es un encabezado.

    Se apoya en las plantillas del tema, que no ofrecen dónde decirlo, y en que Markdown pone `th`
    en toda la primera fila de una tabla.
    """

    def named(match: re.Match[str]) -> str:
        title = html.escape(" ".join(re.sub(r"<[^>]+>", "", match[2]).split()), quote=True)
        return f'aria-label="{title}"{match[1]}{match[2]}{match[3]}'

    page_html = page_html.replace(_PROGRESS, _PROGRESS.replace(' role="progressbar"', ""))
    page_html = _PATH.sub(r'\1"Ruta"', page_html)
    page_html = _NESTED.sub(named, page_html)
    page_html = _PART.sub(r"\1En «\2»\3", page_html)
    return _EMPTY_HEADER.sub("<td></td>", page_html)
