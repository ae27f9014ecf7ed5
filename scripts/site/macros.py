"""Macros de las páginas: código por su nombre, figuras, animaciones, valores y vídeos externos."""

import ast
import html
import logging
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import markdown  # type: ignore[import-untyped]

from . import bibliography, exercises, glossary, opening, reading
from .artefacts import COMMAND, SITE_FOLDER, ArtefactError, Manifest, dimensions, variants
from .equations import Equation
from .frontend import SOURCES
from .project import PACKAGE, ROOT, SRC, digest, package_files

log = logging.getLogger("mkdocs.ddpm_lit")

CALL = re.compile(r"^([ \t]*)@\[(.+?)\]@[ \t]*$|@\[(.+?)\]@", re.M)
FIGURE_NUMBER = "<!--figura-->"


def protect_calls(page: str) -> str:
    r"""Prepara las llamadas para Jinja: las barras de TeX son literales y se respeta la sangría."""

    def replace(match: re.Match[str]) -> str:
        indent, alone, inline = match.groups()
        expression = (alone or inline).replace("\\", "\\\\")
        if alone and indent:
            return f"{indent}@[ ({expression}) | indent({len(indent)}) ]@"
        return f"{indent or ''}@[{expression}]@"

    return CALL.sub(replace, page)


@dataclass
class PageContext:
    """Página que se está escribiendo: para los avisos y para los enlaces relativos."""

    source: str = ""
    url: str = ""
    markdown: str = ""
    notebook: bool = False
    manifest: Manifest = field(default_factory=lambda: Manifest(Path()))
    titles: dict[str, str] = field(default_factory=dict)
    """El título de cada página en la navegación, en su orden."""
    sources: dict[str, str] = field(default_factory=dict)
    book: dict[str, Equation] = field(default_factory=dict)
    """Las ecuaciones, por su nombre y con su número."""

    def link(self, target: str) -> str:
        """Dirección de un fichero de la web, relativa a la página."""
        return posixpath.relpath(target, posixpath.dirname(self.url) or ".")

    def warn(self, message: str) -> None:
        """Aviso con el nombre de la página; con `--strict`, detiene la construcción."""
        log.warning("%s: %s.", self.source, message)


@cache
def _caption_converter() -> markdown.Markdown:
    return markdown.Markdown(
        extensions=["attr_list", "pymdownx.arithmatex"],
        extension_configs={"pymdownx.arithmatex": {"generic": True}},
    )


@lru_cache(maxsize=8192)
def inline_markdown(text: str) -> str:
    """Convierte un texto corto (negrita, código, fórmulas, enlaces) en HTML de una línea.

    Un enlace a `otra.md` lleva a su página, como en el resto del texto.
    """
    converter = _caption_converter()
    converter.reset()
    body = converter.convert(" ".join(text.split()))
    body = re.sub(r'(href="(?!\w+:)[^"#]*)\.md(?=["#])', r"\1.html", body)
    return re.sub(r"^<p>(.*)</p>$", r"\1", body, flags=re.S).replace("\n", " ")


def missing(context: PageContext, error: Exception) -> str:
    """Avisa de lo que falta y deja en la página un hueco visible."""
    context.warn(str(error))
    text = inline_markdown(str(error)[0].upper() + str(error)[1:] + ".")
    return f'<div class="dl-falta" role="note">{text}</div>'


# --- Código ------------------------------------------------------------------------------------


def module_path(symbol: str) -> tuple[Path, list[str]]:
    """Fichero y resto del nombre de `ddpm_lit.modulo.Clase.metodo`.

    Raises:
        LookupError: Si no hay tal módulo.
    """
    parts = symbol.split(".")
    for size in range(len(parts), min(2, len(parts)) - 1, -1):
        base = SRC.joinpath(*parts[:size])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path, parts[size:]
    raise LookupError(f"no existe el módulo de «{symbol}»; revisa el nombre")


@lru_cache(maxsize=64)
def _parsed(path: Path, mtime_ns: int, size: int) -> tuple[str, Any, set[int]]:
    """Texto, árbol de griffe y líneas de docstrings de un módulo; se leen una vez por versión."""
    import griffe

    text = path.read_text(encoding="utf-8")
    return text, griffe.visit(path.stem, filepath=path, code=text), docstring_lines(text)


def symbol_source(symbol: str, docstring: bool = False) -> tuple[str, Path, int, int]:
    """Código fuente de un símbolo, extraído sin ejecutar nada.

    Args:
        symbol: Nombre completo, como `ddpm_lit.forward.q_sample`.
        docstring: Si es falso, se quita el docstring del símbolo y los de dentro.

    Returns:
        El código sin sangría sobrante, su fichero y sus líneas primera y última.

    Raises:
        LookupError: Si el símbolo no existe.
    """
    path, names = module_path(symbol)
    stat = path.stat()
    text, node, docstrings = _parsed(path, stat.st_mtime_ns, stat.st_size)
    for name in names:
        if name not in node.members:
            raise LookupError(f"«{symbol}» no está en {path.relative_to(ROOT)}; revisa el nombre")
        node = node.members[name]
    lines = text.splitlines()
    first, last = (
        (1, len(lines)) if not names else (int(node.lineno or 1), int(node.endlineno or 1))
    )
    drop = set() if docstring else docstrings
    kept = [
        line for number, line in enumerate(lines[first - 1 : last], first) if number not in drop
    ]
    indent = min((len(line) - len(line.lstrip()) for line in kept if line.strip()), default=0)
    return "\n".join(line[indent:] for line in kept).strip("\n"), path, first, last


def docstring_lines(text: str) -> set[int]:
    """Líneas que ocupan los docstrings, salvo los que son todo el cuerpo de lo que documentan."""
    drop: set[int] = set()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if (
            len(node.body) > 1
            and isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            end = first.end_lineno or first.lineno
            drop.update(range(first.lineno, end + 1))
            if end < len(lines) and not lines[end].strip():
                drop.add(end + 1)
    return drop


def fuente(context: PageContext, symbol: str, docstring: bool = False) -> str:
    """Bloque con el código de un símbolo y un enlace a su entrada en la referencia."""
    try:
        code, path, first, last = symbol_source(symbol, docstring)
    except (LookupError, SyntaxError) as error:
        return missing(context, LookupError(str(error)))
    where = f"{path.relative_to(ROOT).as_posix()}, líneas {first} a {last}"
    return (
        '<div class="dl-fuente" markdown="1">\n'
        f'<div class="dl-fuente__barra" markdown="span">[`{symbol}`][{symbol}]'
        f'<span class="dl-fuente__lugar">{where}</span></div>\n\n'
        f"``````python\n{code}\n``````\n\n</div>\n"
    )


# --- Figuras, animaciones y valores ------------------------------------------------------------


def _image(
    context: PageContext,
    path: Path,
    *,
    alt: str,
    css: str = "",
    width: int | None = None,
    eager: bool = False,
) -> str:
    real_width, real_height = dimensions(path)
    loading = "" if eager else ' loading="lazy"'
    style = f' style="width:{width}px"' if width else ""
    css_class = f' class="{css}"' if css else ""
    return (
        f'<img src="{_url(context, path)}" alt="{html.escape(alt, quote=True)}"{css_class}'
        f' width="{real_width}" height="{real_height}"{style}{loading} decoding="async">'
    )


def _url(context: PageContext, path: Path) -> str:
    return context.link(f"{SITE_FOLDER}/{path.relative_to(context.manifest.folder).as_posix()}")


def _figure(name: str, body: str, caption: str) -> str:
    return (
        f'<figure class="dl-figura" id="fig-{name}" data-figura="{name}">{body}'
        f'<figcaption><strong class="dl-figura__numero">{FIGURE_NUMBER}</strong> '
        f"{inline_markdown(caption)}</figcaption></figure>"
    )


def figura(
    context: PageContext,
    name: str,
    *,
    alt: str,
    pie: str,
    ancho: int | None = None,
    diferida: bool = True,
) -> str:
    """Figura de la construcción, en su versión clara y su versión oscura, numerada y con pie."""
    try:
        images = _themed(context, name, alt=alt, width=ancho, eager=not diferida)
    except ArtefactError as error:
        return missing(context, error)
    return _figure(name, images, pie)


def _themed(context: PageContext, name: str, **options: Any) -> str:
    """Las imágenes de una figura: la clara y la oscura, o la que vale para las dos."""
    groups = variants(context.manifest.files(name))
    return "".join(
        _image(context, path, css=css, **options)
        for group, css in (("light", "dl-claro"), ("dark", "dl-oscuro"), ("both", ""))
        for path in groups[group][:1]
    )


def widget(
    context: PageContext,
    name: str,
    *,
    figura: str,
    alt: str,
    pie: str,
    prueba: str,
    datos: str = "",
    quieta: str = "",
) -> str:
    """Algo que se toca, con una figura de la construcción en su sitio hasta que se carga.

    Args:
        context: Página.
        name: El widget: `frontend/widgets/<name>.ts`.
        figura: La figura que se ve sin él, también al imprimir.
        alt: Qué se ve en ella.
        pie: El pie de las dos cosas.
        prueba: Una frase que dice qué probar, encima de los mandos.
        datos: El artefacto con los datos que necesita, si necesita alguno.
        quieta: Lo que el pie dice solo de la figura.
    """
    if not (SOURCES / "widgets" / f"{name}.ts").is_file():
        return missing(context, LookupError(f"no existe frontend/widgets/{name}.ts"))
    try:
        still = _themed(context, figura, alt=alt)
        data = [_url(context, path) for path in context.manifest.files(datos)] if datos else []
    except ArtefactError as error:
        return missing(context, error)
    given = f' data="{data[0]}"' if data else ""
    body = (
        f'<dl-widget name="{name}" label="{html.escape(prueba, quote=True)}"{given}>'
        f'<div class="dl-widget__figura">{still}</div></dl-widget>'
    )
    still_only = f' <span class="dl-widget__quieta">{quieta}</span>' if quieta else ""
    return _figure(figura, body, pie + still_only)


def video(
    context: PageContext,
    name: str,
    *,
    alt: str,
    pie: str,
    ancho: int | None = None,
    estrecha: str = "",
    mandos: bool = True,
) -> str:
    """Animación de la construcción, con un fotograma fijo para quien no quiera movimiento.

    Args:
        context: Página.
        name: La animación.
        alt: Qué se ve en ella.
        pie: Su pie.
        ancho: Anchura en píxeles, si no es la suya.
        estrecha: La animación que la sustituye en una pantalla estrecha, si hay otra.
        mandos: Si es falso, un botón debajo la para y la pone en marcha, en lugar de los mandos
            del navegador, que tapan su parte de abajo.
    """
    widths = ((name, "dl-ancha"), (estrecha, "dl-estrecha")) if estrecha else ((name, ""),)
    try:
        bodies = [
            _animation(
                context,
                chosen,
                groups[group],
                alt=alt,
                css=f"{css} {width_css}".strip(),
                width=ancho,
                controls=mandos,
            )
            for chosen, width_css in widths
            for groups in [variants(context.manifest.files(chosen))]
            for group, css in (("light", "dl-claro"), ("dark", "dl-oscuro"), ("both", ""))
            if groups[group]
        ]
    except ArtefactError as error:
        return missing(context, error)
    return _figure(name, "".join(bodies), pie)


def _animation(
    context: PageContext,
    name: str,
    paths: list[Path],
    *,
    alt: str,
    css: str,
    width: int | None,
    controls: bool,
) -> str:
    by_suffix = {path.suffix: path for path in paths}
    poster = by_suffix.get(".png") or by_suffix.get(".svg")
    moving = by_suffix.get(".mp4") or by_suffix.get(".webm")
    css_class = f' class="{css}"' if css else ""
    style = f' style="width:{width}px"' if width else ""
    label = html.escape(alt, quote=True)
    if moving:
        still = poster or by_suffix.get(".webp") or by_suffix.get(".gif")
        if not still:
            raise ArtefactError(
                f"la animación «{name}» no tiene fotograma fijo (.png); rehazla con `{COMMAND}`"
            )
        wide, high = dimensions(still)
        button = "" if controls else " data-boton"
        return (
            f'<video{css_class} src="{_url(context, moving)}" poster="{_url(context, still)}"'
            f' width="{wide}" height="{high}"{style} aria-label="{label}"'
            f' controls muted loop playsinline preload="none" data-animacion{button}></video>'
        )
    loop = by_suffix.get(".webp") or by_suffix.get(".gif")
    if not loop or not poster:
        raise ArtefactError(
            f"la animación «{name}» necesita .mp4, .webp o .gif y un .png; rehazla con `{COMMAND}`"
        )
    return (
        f'<picture{css_class}><source media="(prefers-reduced-motion: reduce)"'
        f' srcset="{_url(context, poster)}">'
        f"{_image(context, loop, alt=alt, width=width)}</picture>"
    )


def in_spanish(number: str) -> str:
    """Un número como se escribe en español: coma decimal y espacio fino ante el «%»."""
    return number.replace(".", ",").replace("%", "\u202f%").replace("_", "\u202f")


def apertura(context: PageContext, *, objetivo: str, requisitos: str) -> str:
    """El comienzo de un capítulo: qué se sabrá hacer, qué hace falta, cuánto se tarda y el mapa."""
    shown, folded = reading.depths(context.markdown)
    try:
        return opening.opening(
            context.source,
            able=objetivo,
            needs=requisitos,
            minutes=shown.minutes,
            folded=folded.minutes if folded.words else 0,
            notebook=context.notebook,
        )
    except LookupError as error:
        return missing(context, error)


def valor(context: PageContext, key: str, fmt: str = "{}") -> str:
    """Número medido por la construcción, con el formato pedido."""
    try:
        value = context.manifest.value(key)
        text = fmt.format(value)
        return in_spanish(text) if isinstance(value, int | float) else text
    except (ArtefactError, ValueError, TypeError) as error:
        context.warn(f"valor «{key}»: {error}")
        return '<span class="dl-falta">¿?</span>'


def _stamp(paths: Iterable[Path]) -> str:
    """La huella de cuándo se escribieron unos ficheros."""
    return digest(*sorted(f"{path} {path.stat().st_mtime_ns}" for path in paths))


@lru_cache(maxsize=1)
def _replicas(stamp: str) -> Any:
    """Los resultados de las réplicas; se leen otra vez si cambia `stamp`."""
    from scripts.replicas import results

    return results.load_results()


def replica(context: PageContext, what: str, name: str = "", digits: int = 2) -> str:
    """Lo que dicen los resultados de `replicas/`.

    Args:
        context: Página.
        what: `tabla`, `veredicto` o `dato`, con su `name`; `resumen` o `recuento`, sin él; o
            `valor` o `porcentaje`, y entonces `name` es `unidad/camino`.
        name: Qué tabla, qué afirmación, qué dato o qué valor.
        digits: Decimales de `valor` y de `porcentaje`.
    """
    from scripts.replicas import tables

    found = _replicas(_stamp((ROOT / "replicas").iterdir()))
    return _told(
        context,
        "las réplicas",
        what,
        name,
        {
            "tabla": lambda: tables.table(name, found),
            "veredicto": lambda: tables.verdict(name, found),
            "dato": lambda: tables.fact(name, found),
            "resumen": lambda: tables.summary(found),
            "recuento": lambda: tables.progress(found),
            "valor": lambda: tables.measured(name, digits, found),
            "porcentaje": lambda: tables.measured(name, digits, found, scale=100),
        },
    )


def medida(context: PageContext, what: str, name: str = "") -> str:
    """Lo que dicen los resultados de `benchmarks/results/`.

    Args:
        context: Página.
        what: `tabla`, con su `name`; `razon`, y entonces `name` es `unidad/quién/con quién`;
            `memoria`, y es `unidad/quién`; o `donde`, sin él.
        name: Qué tabla o qué proporción. Si empieza por `gpu`, es de las que se midieron en una.
    """
    from benchmarks import records, tables

    found = records.load(records.GPU if name.startswith("gpu") else records.FOLDER)
    name = name.removeprefix("gpu").removeprefix("/")
    return _told(
        context,
        "los benchmarks",
        what,
        name,
        {
            "tabla": lambda: tables.table(name, found),
            "razon": lambda: tables.measured(name, found),
            "memoria": lambda: tables.memory(name, found),
            "donde": lambda: tables.where(found),
        },
    )


@lru_cache(maxsize=1)
def _records(stamp: str) -> Any:
    """Las filas del libro mayor; se miran otra vez si cambia `stamp`."""
    from scripts.ledger import page

    return page.records()


def mayor(context: PageContext, what: str, name: str = "") -> str:
    """Lo que dice el libro mayor: cada ecuación, con lo que ha salido de probar su TeX.

    Args:
        context: Página; lleva los títulos de las que tienen ecuaciones.
        what: `tabla`; `capítulos`, el dibujo de cuáles salen de cuáles; `origen`, el de todo lo
            que hace falta para una ecuación, que es `name`; `cadena`, la más larga; o `cuenta`, y
            entonces `name` es qué se cuenta (véase `page.count`).
        name: eso.
    """
    from scripts.ledger import page

    found = _records(_stamp(package_files()))
    return _told(
        context,
        "el libro mayor",
        what,
        name,
        {
            "tabla": lambda: page.table(found, context.titles, context.book),
            "capítulos": lambda: page.chapters(context.titles, context.book),
            "origen": lambda: page.origin(name, context.book),
            "cadena": lambda: " → ".join(rf"\eqref{{{each}}}" for each in page.longest()),
            "cuenta": lambda: page.count(found, name),
        },
    )


def licencias(context: PageContext) -> str:
    """Tabla de lo ajeno que la web reparte, con el texto de cada licencia."""
    from . import licences

    return licences.table(context.link)


def glosario(context: PageContext) -> str:
    """Los términos del libro, con su definición y el capítulo que los explica."""
    return glossary.term_list(glossary.load().terms, context.titles)


def simbolos(context: PageContext) -> str:
    """Tabla de los símbolos del libro."""
    return glossary.symbol_table(glossary.load().symbols, context.titles)


def letras(context: PageContext) -> str:
    """Tabla de las letras que significan varias cosas."""
    return glossary.letter_table(glossary.load().letters, context.titles)


@lru_cache(maxsize=1)
def _works(stamp: str) -> list[bibliography.Work]:
    """Los trabajos de `fuentes.bib`; se leen otra vez si cambia `stamp`."""
    return bibliography.load()


def fuentes(context: PageContext, section: str) -> str:
    """Los trabajos de un apartado de `fuentes.bib`, con las páginas que citan cada uno."""
    works = [work for work in _works(_stamp([bibliography.SOURCE])) if work.section == section]
    if not works:
        return missing(context, LookupError(f"fuentes.bib no tiene nada en «{section}»"))
    return bibliography.listing(works, context.sources, context.titles)


def ejercicios(context: PageContext, chapter: str) -> str:
    """Los ejercicios de un capítulo, de `docs/ejercicios/<chapter>.toml`."""
    try:
        return exercises.render(chapter, inline_markdown)
    except (LookupError, ValueError) as error:
        return missing(context, error)


def _told(
    context: PageContext, whose: str, what: str, name: str, ways: dict[str, Callable[[], str]]
) -> str:
    """Lo que unos resultados dicen de algo, o el hueco de lo que no existe."""
    try:
        if what not in ways:
            raise LookupError(f"hay {', '.join(ways)}")
        return ways[what]()
    except (LookupError, TypeError, ValueError) as error:
        return missing(context, LookupError(f"no existe {what} «{name}» de {whose} ({error})"))


def youtube(context: PageContext, video_id: str, titulo: str) -> str:
    """Vídeo de YouTube que no pide nada a nadie hasta que se pulsa."""
    title = html.escape(titulo, quote=True)
    return (
        f'<div class="dl-externo" data-youtube="{html.escape(video_id, quote=True)}"'
        f' data-titulo="{title}"><button type="button" class="dl-externo__boton"'
        f' aria-label="Cargar y reproducir «{title}»">'
        '<span class="dl-externo__icono" aria-hidden="true"></span>'
        f'<span class="dl-externo__titulo">{title}</span></button>'
        '<p class="dl-externo__aviso">Al pulsar se carga el vídeo desde youtube-nocookie.com. '
        f'También podéis <a href="https://www.youtube.com/watch?v={video_id}" rel="noopener">'
        "verlo en YouTube</a>.</p></div>"
    )


def bind(context: PageContext) -> dict[str, Callable[..., str]]:
    """Las macros, atadas a la página que se esté escribiendo."""
    functions = (
        *(apertura, fuente, figura, widget, video, youtube),
        *(valor, replica, medida, licencias, ejercicios, mayor),
        *(glosario, simbolos, letras, fuentes),
    )

    def attach(function: Callable[..., str]) -> Callable[..., str]:
        return lambda *args, **kwargs: function(context, *args, **kwargs)

    return {function.__name__: attach(function) for function in functions}


def number_figures(page_html: str) -> tuple[str, dict[str, int]]:
    """Numera las figuras de una página y las saca del párrafo en que estén encerradas.

    Returns:
        El HTML y el número de cada figura con nombre.
    """
    page_html = re.sub(
        r'<p>\s*((?:<(figure|div) class="dl-(?:figura|falta|externo)\b.*?</\2>\s*)+)</p>',
        r"\1",
        page_html,
        flags=re.S,
    )
    names: dict[str, int] = {}
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if match[1]:
            names[match[1]] = count + 1
            return match[0]
        count += 1
        return f"Figura {count}."

    page_html = re.sub(rf'data-figura="([^"]+)"|{re.escape(FIGURE_NUMBER)}', replace, page_html)
    return page_html, names


__all__ = ["PACKAGE", "PageContext", "bind", "number_figures", "protect_calls", "symbol_source"]
