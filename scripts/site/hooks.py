"""Ganchos de MkDocs: solo llaman, en su momento, a las funciones de este paquete."""

import html
import json
import logging
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
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
    bibliography,
    cells,
    chapter_notebook,
    equations,
    frontend,
    glossary,
    katex,
    licences,
    macros,
    notebook,
    plaintext,
    private,
    project,
    revisions,
    search,
)
from scripts.site.pagecache import PageCache, Templates, Warnings

log = logging.getLogger("mkdocs.ddpm_lit")


@dataclass
class State:
    """Lo que dura entre ganchos; las memorias duran además entre reconstrucciones."""

    serving: bool = False
    runner: cells.CellRunner = field(default_factory=cells.CellRunner)
    pages: PageCache = field(default_factory=PageCache)
    formulas: katex.FormulaCache = field(default_factory=katex.FormulaCache)
    context: macros.PageContext = field(default_factory=macros.PageContext)
    book: dict[str, equations.Equation] = field(default_factory=dict)
    chapters: dict[str, int] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    notebooks: dict[str, Path] = field(default_factory=dict)
    own_notebooks: dict[str, str] = field(default_factory=dict)
    ledger: notebook.Ledger | None = None
    dressed: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, tuple[str, int]] = field(default_factory=dict)
    terms: tuple[glossary.Term, ...] = ()
    revised: dict[str, date] = field(default_factory=dict)
    stamp: str = ""
    fresh: dict[str, bool] = field(default_factory=dict)
    signature: str = ""
    code: str = ""
    text: str = ""
    shared: str = ""
    expansion: str = ""
    warnings: Warnings = field(default_factory=Warnings)


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
    manifest_digest = project.files_digest([manifest.folder / "manifest.json"])
    _mark_freshness(manifest, manifest_digest)
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
    state.terms = glossary.load().terms
    state.revised = revisions.dates()
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


def _mark_freshness(manifest: artefacts.Manifest, manifest_digest: str) -> None:
    """Anota qué artefactos son los del código de ahora; solo se mira si cambia algún fichero."""
    files = [path for place in (project.SRC, project.ROOT / "scripts") for path in place.rglob("*")]
    sources = sorted(path for path in files if path.suffix in {".py", ".toml"})
    stamp = project.digest(manifest_digest, *(f"{p} {p.stat().st_mtime_ns}" for p in sources))
    if stamp != state.stamp:
        mark_freshness(manifest.artefacts)
        state.stamp = stamp
        state.fresh = {name: each["fresh"] for name, each in manifest.artefacts.items()}
    for name, artefact in manifest.artefacts.items():
        artefact["fresh"] = state.fresh[name]


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
    state.context.titles = {
        page.file.src_uri: page.title or getattr(page.parent, "title", "") for page in nav.pages
    }
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
    state.context.titles = _titles(nav, sources)
    state.context.sources = {uri: text for uri, text in sources.items() if uri != bibliography.PAGE}
    state.chapters = equations.number_chapters(pages, config.extra["capitulos"])
    state.book, problems = equations.collect(sources, state.chapters)
    for problem in problems:
        log.warning(problem)
    state.context.book = state.book
    if state.serving:
        _mark_shared(nav, config)
    return nav


EVERY_PAGE = re.compile(r"@\[\s*(?:mayor|fuentes)\(")
"""Las macros que miran lo que dicen todas las páginas."""
FOLDERS = ("docs", "src", "scripts", "overrides", "benchmarks", "replicas")


def _mark_shared(nav: Any, config: Any) -> None:
    """Anota la huella de lo que comparten las páginas: lo que no es su texto, y sus nombres."""
    files = [path for name in FOLDERS for path in (project.ROOT / name).rglob("*.*")]
    others = sorted(path for path in files if path.suffix not in {".md", ".pyc"})
    state.shared = project.digest(
        state.signature,
        *(f"{path} {path.stat().st_mtime_ns}" for path in others),
        *map(str, sorted((frontend.SOURCES / "widgets").iterdir())),
        *(f"{uri} {state.urls[uri]} {title}" for uri, title in state.context.titles.items()),
        *(f"{name} {each.tag} {each.page}" for name, each in state.book.items()),
        *map(str, [nav, config.extra_css, config.extra_javascript, config.site_url]),
    )


def _titles(nav: Any, sources: dict[str, str]) -> dict[str, str]:
    """El título de cada página: el suyo en la navegación, el de su sección o el de su texto."""
    first = {uri: re.search(r"^# (.+)", text, re.M) for uri, text in sources.items()}
    titles = {uri: match[1] for uri, match in first.items() if match}
    for page in nav.pages:
        if title := page.title or (page.parent and page.parent.title):
            titles[page.file.src_uri] = title
    return titles


@event_priority(0)
def _compiled_templates(env: Any, config: Any, files: Any) -> Any:
    """Plantillas ya compiladas, en disco, y las fechas en español."""
    folder = project.CACHE / "plantillas"
    folder.mkdir(parents=True, exist_ok=True)
    env.bytecode_cache = FileSystemBytecodeCache(str(folder))
    env.filters["fecha"] = revisions.in_spanish
    return env


@event_priority(-100)
def _remember_templates(env: Any, config: Any, files: Any) -> Any:
    """Con `mkdocs serve`, la plantilla de una página que no ha cambiado no se escribe otra vez."""
    return Templates(env, _write_page) if state.serving else env


def _write_page(name: str, context: Any, render: Callable[[], str]) -> str:
    page = context["page"]
    around = [page.previous_page, page.next_page]
    key = project.digest(
        state.shared,
        name,
        page.content,
        *map(str, [page.meta, page.title, page.edit_url, around, context.get("revisada")]),
    )
    return state.pages.wrapped.make(page.file.src_uri, key, render)


on_env = CombinedEvent(_compiled_templates, _remember_templates)


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
    state.context.markdown = markdown
    state.runner.begin_page(page.file.src_uri)
    if state.serving:
        everyone = state.context.sources.values() if EVERY_PAGE.search(markdown) else ()
        state.expansion = project.digest(state.shared, markdown, str(page.meta), *everyone)
        if state.pages.expanded.get(page.file.src_uri, state.expansion) is not None:
            return ""
        state.warnings.start()
    state.context.notebook = chapter_notebook.has_one(markdown)
    if state.context.notebook:
        made = chapter_notebook.notebook_of(
            markdown, state.book, macros.bind(state.context), page.file.src_uri
        )
        state.own_notebooks[page.file.src_uri] = json.dumps(made, ensure_ascii=False, indent=1)
    return markdown if page.file.src_uri in state.notebooks else macros.protect_calls(markdown)


@event_priority(-100)
def _after_macros(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Tras las macros: la página se convertirá solo si ha cambiado algo que influya en ella."""
    if state.serving:
        markdown = _expanded(markdown, page.file.src_uri)
    if page.file.src_uri in state.notebooks:
        return markdown
    documented = re.compile(r"^::: (\S+)(?:\n {4}.*)*", re.M)
    if state.serving:
        # Los trozos de los widgets cambian de nombre con cada cambio, y a ellos nadie enlaza.
        names = {file.src_uri for file in files if not frontend.is_widget(file.src_uri)}
        parts = [state.signature, markdown, str(page.meta), *sorted(names)]
        if "exec=" in markdown:
            parts.append(state.code)
        if documented.search(markdown):
            parts.append(state.text)
        render = state.pages.renderer(page, project.digest(*parts), config.plugins["autorefs"])
        private.intercept_render(page, render)
    return documented.sub(_documented, markdown)


def _expanded(markdown: str, source: str) -> str:
    """El texto con sus macros: el de ahora, que se guarda si no ha dado avisos, o el de antes."""
    stored = state.pages.expanded.get(source, state.expansion)
    if stored is None and not state.warnings.stop():
        state.pages.expanded.keep(source, state.expansion, markdown)
    return markdown if stored is None else stored


on_page_markdown = CombinedEvent(_before_macros, _after_macros)


def _documented(match: re.Match[str]) -> str:
    try:
        macros.module_path(match[1])
    except LookupError as error:
        return macros.missing(state.context, error)
    return match[0]


def on_page_content(html_text: str, page: Any, config: Any, files: Any) -> str:
    """Cuaderno vestido, figuras numeradas, definiciones, índice con fórmulas y descripción."""
    uri = page.file.src_uri
    if uri in state.notebooks:
        html_text = _notebook_page(html_text, page, config)
    html_text, names = macros.number_figures(html_text)
    if glossary.PAGE in state.urls and glossary.is_annotated(uri):
        where = state.context.link(state.urls[glossary.PAGE])
        html_text = glossary.annotate(html_text, state.terms, where)
    state.figures.update({name: (uri, number) for name, number in names.items()})
    anchors = {e.anchor for e in state.book.values() if e.page == uri} | {f"fig-{n}" for n in names}
    page.present_anchor_ids = (page.present_anchor_ids or set()) | anchors
    _typeset(page.toc)
    if r"\(" in str(page.title):
        page.title = plaintext.plain_math(page.title)
    if "description" not in page.meta and (text := plaintext.first_paragraph(html_text)):
        page.meta["description"] = text
    return html_text


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> Any:
    """Cuándo se revisó la página; lo que se genera del código no tiene fecha propia."""
    if not page.file.src_uri.startswith("api/"):
        context["revisada"] = state.revised.get(page.file.src_uri)
    return context


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
    """La página, acabada, y sus cuadernos al lado."""
    uri = page.file.src_uri
    if state.serving:
        names = [state.shared, *map(str, state.figures.items())]
        key = project.digest(output, *names)
        output = state.pages.finished.make(uri, key, lambda: _finished(output, page))
    else:
        output = _finished(output, page)
    _put_notebooks(page)
    return output


def _finished(output: str, page: Any) -> str:
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
            return equations.wrap(equation, drawn, row_of(equation.name))
        return (
            f'<div class="dl-eq"><div class="dl-eq__cuerpo">{drawn}</div></div>'
            if display
            else drawn
        )

    def row_of(name: str) -> str:
        if "libro-mayor.md" not in state.urls:
            return ""
        return f"{posixpath.relpath(state.urls['libro-mayor.md'], here)}#fila-{name}"

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
    return output


def _put_notebooks(page: Any) -> None:
    """Los cuadernos que se descargan de una página, en la carpeta de la web en que está."""
    uri = page.file.src_uri
    if uri in state.own_notebooks:
        target = Path(page.file.abs_dest_path).with_suffix(".ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(state.own_notebooks[uri], encoding="utf-8")
    if uri in state.notebooks:
        original = state.notebooks[uri]
        target = Path(page.file.abs_dest_path).parent
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, target / original.name)
        (target / f"{original.stem}.ipynb").write_text(
            notebook.as_ipynb(original), encoding="utf-8"
        )


@event_priority(-50)
def on_post_build(config: Any) -> None:
    """Índice de búsqueda legible y memorias en disco al día."""
    references = {name: f"({equation.tag})" for name, equation in state.book.items()}
    search.clean_index(Path(config.site_dir) / "search" / "search_index.json", references)
    state.formulas.save(forget=not state.serving)
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
