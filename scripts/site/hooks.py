"""Ganchos de MkDocs: solo llaman, en su momento, a las funciones de este paquete."""

import html
import logging
import os
import posixpath
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import FileSystemBytecodeCache
from mkdocs.plugins import CombinedEvent, event_priority
from mkdocs.structure.files import File

if str(Path(__file__).resolve().parents[2]) not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.build.provenance import mark_freshness
from scripts.site import (
    artefacts,
    assets,
    cells,
    equations,
    frontend,
    katex,
    licences,
    macros,
    notebook,
    plaintext,
    private,
    project,
    search,
)
from scripts.site.pagecache import PageCache

log = logging.getLogger("mkdocs.ddpm_lit")


@dataclass
class State:
    """Lo que dura entre ganchos; las tres memorias duran además entre reconstrucciones."""

    serving: bool = False
    runner: cells.CellRunner = field(default_factory=cells.CellRunner)
    pages: PageCache = field(default_factory=PageCache)
    formulas: katex.FormulaCache = field(default_factory=katex.FormulaCache)
    context: macros.PageContext = field(default_factory=macros.PageContext)
    book: dict[str, equations.Equation] = field(default_factory=dict)
    chapters: dict[str, int] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    notebooks: dict[str, Path] = field(default_factory=dict)
    ledger: notebook.Ledger | None = None
    dressed: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, tuple[str, int]] = field(default_factory=dict)
    signature: str = ""
    code: str = ""
    text: str = ""


state = State()


def on_startup(command: str, dirty: bool) -> None:
    """Con `mkdocs serve` se guardan las páginas convertidas de una vez para la siguiente."""
    state.serving = command == "serve"
    # MkDocs quita esta carpeta tras cargar los ganchos, y de ella salen también los benchmarks.
    if str(project.ROOT) not in sys.path:
        sys.path.insert(0, str(project.ROOT))


def on_config(config: Any) -> Any:
    """Perfil, KaTeX, macros, celdas, anclas y huellas: todo lo que depende de la configuración."""
    assets.ensure_node_modules()
    state.formulas.open()
    manifest = artefacts.load_manifest()
    mark_freshness(manifest.artefacts)
    manifest_digest = project.files_digest([manifest.folder / "manifest.json"])
    state.code, state.text = project.code_digest(), project.text_digest()
    own = Path(__file__).parent.rglob("*")
    state.signature = project.digest(
        project.files_digest(path for path in own if path.suffix in {".py", ".jinja"}),
        project.files_digest([Path(config.config_file_path)]),
        manifest_digest,
        project.profile(),
    )
    state.runner.folder = project.CACHE / "celdas" / project.profile()
    state.runner.begin_build(manifest_digest)
    state.context.manifest = manifest
    config.extra["perfil"] = project.profile()
    for name in ("logo", "favicon"):
        for drawn in manifest.artefacts.get(name, {}).get("files", [])[:1]:
            config.theme[name] = f"assets/{Path(drawn).name}"
    private.set_slugify(config, plaintext.slugify)
    config.plugins["macros"].register_macros(macros.bind(state.context))
    _configure_notebooks(config)
    private.set_cell_formatter(config, format_python)
    if state.serving:
        private.intercept_search(config.plugins, state.pages.index)
    return config


def _configure_notebooks(config: Any) -> None:
    """El cuaderno se ejecuta una vez por contenido; al servir no se ejecuta: se enseña sin salidas.

    Las salidas de una ejecución anterior solo se enseñan si nada de lo que las decide ha cambiado:
    los cuadernos, el código del paquete y, si las nombran, sus recetas.
    """
    jupyter = private.notebook_options(config.plugins)
    folder = project.CACHE / "cuadernos" / project.profile()
    sources = sorted((Path(config.docs_dir) / "cuadernos").glob("*.py"))
    recipes = any("recipe" in path.read_text(encoding="utf-8") for path in sources)
    signature = project.code_digest(recipes=recipes)
    contents = project.digest(signature, *(path.read_bytes() for path in sources))
    state.ledger = notebook.Ledger(folder / "ejecutados.txt", contents)
    quick = state.serving or bool(os.environ.get("DDPM_SIN_CUADERNO"))
    jupyter["execute"] = not quick or state.ledger.matches()
    jupyter["cache_dir"] = str(folder if jupyter["execute"] else folder / "sin-ejecutar")
    jupyter["highlight_extra_classes"] = f"fuente-{signature[:16]}"


def format_python(
    source: str, language: str, css_class: str, options: dict[str, Any], md: Any, **_: Any
) -> str:
    """Formateador de las celdas `python` de markdown-exec, con memoria."""
    return cells.format_cell(state.runner, source, options, md)


def on_files(files: Any, config: Any) -> Any:
    """Añade a la web KaTeX, lo construido, el cuaderno descargable y el guion de búsqueda."""

    def add(uri: str, origin: Path | str) -> None:
        if known := files.get_file_from_path(uri):
            files.remove(known)
        if isinstance(origin, str):
            files.append(File.generated(config, uri, content=origin))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(origin)))

    copied = assets.site_files() | frontend.bundle() | licences.site_files()
    for uri, origin in copied.items():
        add(uri, origin)
    manifest = state.context.manifest
    for name, artefact in manifest.artefacts.items():
        if artefact["kind"] not in {"figure", "animation", "data"}:
            continue
        for relative in artefact["files"]:
            path = manifest.folder / relative
            if path.is_file():
                add(f"{artefacts.SITE_FOLDER}/{relative}", path)
                if name in {"hero", "logo", "favicon"} and path.name == f"{name}{path.suffix}":
                    add(f"assets/{path.name}", path)
    state.notebooks = {}
    for file in list(files):
        if private.SEARCH_WORKER.fullmatch(file.src_uri):
            add(
                file.src_uri,
                search.WORKER_PRELUDE + Path(file.abs_src_path).read_text(encoding="utf-8"),
            )
        elif file.src_uri.startswith("cuadernos/") and file.src_uri.endswith(".py"):
            state.notebooks[file.src_uri] = Path(file.abs_src_path)
            if project.profile() == "smoke":
                private.read_notebook_from(file, notebook.for_smoke(Path(file.abs_src_path)))
    return files


def on_nav(nav: Any, config: Any, files: Any) -> Any:
    """Numera los capítulos y sus ecuaciones, y avisa de las mal etiquetadas."""
    pages = [page.file.src_uri for page in nav.pages]
    rest = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in pages)
    sources: dict[str, str] = {}
    state.urls, state.figures = {}, {}
    for uri in [*pages, *rest]:
        file = files.get_file_from_path(uri)
        state.urls[uri] = file.url
        if uri in state.notebooks:
            sources[uri] = notebook.markdown_of(state.notebooks[uri])
        elif not uri.startswith("api/"):
            sources[uri] = file.content_string
    state.chapters = equations.number_chapters(pages, config.extra["capitulos"])
    state.book, problems = equations.collect(sources, state.chapters)
    for problem in problems:
        log.warning(problem)
    return nav


def on_env(env: Any, config: Any, files: Any) -> Any:
    """Plantillas ya compiladas, en disco."""
    folder = project.CACHE / "plantillas"
    folder.mkdir(parents=True, exist_ok=True)
    env.bytecode_cache = FileSystemBytecodeCache(str(folder))
    return env


def on_serve(server: Any, config: Any, builder: Any) -> Any:
    """Con `mkdocs serve`, una construcción nueva también recarga las páginas."""
    manifest = state.context.manifest.folder / "manifest.json"
    if manifest.is_file():
        server.watch(str(manifest))
    return server


@event_priority(100)
def _before_macros(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Antes de las macros: qué página es, y las barras de TeX que llevan dentro."""
    state.context.source, state.context.url = page.file.src_uri, page.url
    state.runner.begin_page(page.file.src_uri)
    return markdown if page.file.src_uri in state.notebooks else macros.protect_calls(markdown)


@event_priority(-100)
def _after_macros(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Tras las macros: la página se convertirá solo si ha cambiado algo que influya en ella."""
    if page.file.src_uri in state.notebooks:
        return markdown
    documented = re.compile(r"^::: (\S+)(?:\n {4}.*)*", re.M)
    if state.serving:
        parts = [state.signature, markdown, str(page.meta), *sorted(file.src_uri for file in files)]
        if "exec=" in markdown:
            parts.append(state.code)
        if documented.search(markdown):
            parts.append(state.text)
        render = state.pages.renderer(page, project.digest(*parts), config.plugins["autorefs"])
        private.intercept_render(page, render)
    return documented.sub(_documented, markdown)


on_page_markdown = CombinedEvent(_before_macros, _after_macros)


def _documented(match: re.Match[str]) -> str:
    try:
        macros.module_path(match[1])
    except LookupError as error:
        return macros.missing(state.context, error)
    return match[0]


def on_page_content(html_text: str, page: Any, config: Any, files: Any) -> str:
    """Cuaderno vestido, figuras numeradas, índice con fórmulas y descripción de la página."""
    uri = page.file.src_uri
    if uri in state.notebooks:
        html_text = _notebook_page(html_text, page, config)
    html_text, names = macros.number_figures(html_text)
    state.figures.update({name: (uri, number) for name, number in names.items()})
    anchors = {e.anchor for e in state.book.values() if e.page == uri} | {f"fig-{n}" for n in names}
    page.present_anchor_ids = (page.present_anchor_ids or set()) | anchors
    _typeset(page.toc)
    if r"\(" in str(page.title):
        page.title = plaintext.plain_math(page.title)
    if "description" not in page.meta and (text := plaintext.first_paragraph(html_text)):
        page.meta["description"] = text
    return html_text


def _notebook_page(html_text: str, page: Any, config: Any) -> str:
    original = state.notebooks[page.file.src_uri]
    key = project.digest(html_text, original.read_bytes())
    if state.dressed.get(page.file.src_uri, ("",))[0] != key:
        state.dressed[page.file.src_uri] = (
            key,
            *notebook.restyle(html_text, notebook.alts(original)),
        )
    body: str
    _, body, headings, problems = state.dressed[page.file.src_uri]
    for problem in problems:
        log.warning("%s: %s.", page.file.src_uri, problem)
    page.toc = private.table_of_contents(headings)
    page.present_anchor_ids = set(re.findall(r'\bid="([^"]+)"', body))
    bar = notebook.download_bar(original.stem)
    if not private.notebook_options(config.plugins)["execute"]:
        error = LookupError("el cuaderno se enseña sin ejecutar; ejecútalo con `make site`")
        bar += macros.missing(state.context, error)
    return body.replace("</h1>", "</h1>" + bar, 1)


def _typeset(items: Any) -> None:
    """Índice de la página: texto sencillo en los atributos y fórmulas dibujadas donde se ven."""
    for item in items:
        if r"\(" in item.title:
            shown = html.unescape(re.sub(r"<[^>]+>", "", item.title))
            private.set_typeset(item, macros.inline_markdown(shown))
            item.title = html.escape(plaintext.plain_math(shown), quote=False)
        _typeset(item.children)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Fórmulas dibujadas, referencias enlazadas y número de capítulo."""
    uri = page.file.src_uri
    here = posixpath.dirname(page.url) or "."

    def draw(match: re.Match[str]) -> str:
        tex = katex.unwrap(match[2])
        display = match[1] == "div"
        equation = None
        if display and not uri.startswith("api/"):
            names = equations.LABEL.findall(tex)
            equation = state.book.get(names[0].partition(":")[2]) if names else None
        try:
            drawn = state.formulas.render(equations.LABEL.sub("", tex).strip(), display)
        except katex.FormulaError as error:
            log.warning("%s: fórmula que KaTeX no entiende: %s", uri, error)
            return f'<code class="dl-falta">{html.escape(tex, quote=False)}</code>'
        if equation:
            return equations.wrap(equation, drawn)
        return (
            f'<div class="dl-eq"><div class="dl-eq__cuerpo">{drawn}</div></div>'
            if display
            else drawn
        )

    def resolve(command: str, name: str) -> str:
        if command == "eqref" and name in state.book:
            equation = state.book[name]
            target, anchor, text = equation.page, equation.anchor, f"({equation.tag})"
        elif command == "figref" and name in state.figures:
            target, anchor, text = (
                state.figures[name][0],
                f"fig-{name}",
                f"figura {state.figures[name][1]}",
            )
        else:
            log.warning("%s: \\%s{%s} no se refiere a nada; revisa el nombre.", uri, command, name)
            return f'<span class="dl-falta">({html.escape(name)})</span>'
        path = "" if target == uri else posixpath.relpath(state.urls[target], here)
        return f'<a class="dl-ref" href="{path}#{anchor}">{text}</a>'

    output = private.name_landmarks(output)
    output = katex.ARITHMATEX.sub(draw, katex.glue_punctuation(output))
    output = equations.link_references(output, resolve)
    if uri in state.chapters:
        mark = f'<p class="dl-capitulo" data-search-exclude>Capítulo {state.chapters[uri]}</p>'
        output = re.sub(r"<h1\b", lambda m: mark + m[0], output, count=1)
    if uri in state.notebooks:
        original = state.notebooks[uri]
        target = Path(page.file.abs_dest_path).parent
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, target / original.name)
        (target / f"{original.stem}.ipynb").write_text(
            notebook.as_ipynb(original), encoding="utf-8"
        )
    return output


@event_priority(-50)
def on_post_build(config: Any) -> None:
    """Índice de búsqueda legible y memorias en disco al día."""
    references = {name: f"({equation.tag})" for name, equation in state.book.items()}
    search.clean_index(Path(config.site_dir) / "search" / "search_index.json", references)
    state.formulas.save()
    if private.notebook_options(config.plugins)["execute"] and state.ledger:
        state.ledger.write()
    if not state.serving:
        state.runner.end_build()
    log.info(
        "Celdas ejecutadas: %d. Páginas convertidas: %d; recuperadas: %d.",
        state.runner.runs,
        state.pages.misses,
        state.pages.hits,
    )
    state.pages.hits = state.pages.misses = 0
