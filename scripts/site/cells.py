"""Celdas de las páginas: se ejecutan al construir y su resultado se guarda por contenido.

Una celda es un bloque `python` con `exec="1"`. Las de una misma `session` comparten variables.
Si no han cambiado ni la celda, ni las anteriores de su sesión, ni el paquete, ni los artefactos,
no se ejecuta nada.
"""

import ast
import contextlib
import html
import importlib
import io
import json
import linecache
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .macros import FIGURE_NUMBER, inline_markdown
from .project import CACHE, ROOT, SRC, code_digest, digest

log = logging.getLogger("mkdocs.ddpm_lit")

TABLES = (
    "scheduler.BETAS",
    "parametrisation.PARAMETRISATIONS",
    "variance.VARIANCES",
    "losses.WEIGHTINGS",
    "improved.LOSSES",
    "sampling.SAMPLERS",
    "conditioning.CONDITIONS",
    "networks.registry.NETWORKS",
    "data.DATASETS",
)
"""Las tablas del paquete a las que una celda puede añadir filas."""

SLOW = 2.0
"""Segundos a partir de los cuales se avisa de que una celda es lenta."""

# Colores centinela: matplotlib los escribe tal cual en el SVG y aquí se cambian por variables de
# CSS, para que la misma figura se lea en claro y en oscuro.
INK, GRID = "#010203", "#010204"
SERIES = [f"#0102{number:02x}" for number in range(0x11, 0x19)]
CSS_COLOURS = {
    INK: "var(--dl-fig-tinta)",
    GRID: "var(--dl-fig-rejilla)",
    **{colour: f"var(--dl-fig-{i})" for i, colour in enumerate(SERIES, start=1)},
}


class CellError(RuntimeError):
    """Una celda que ha fallado; el mensaje es su traza."""


@dataclass
class Namespace:
    """Variables vivas de una sesión y celdas que ya ha ejecutado."""

    variables: dict[str, Any]
    executed: list[str] = field(default_factory=list)
    random_state: Any = None
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class CellRunner:
    """Ejecuta celdas o recupera su resultado; vive mientras viva el proceso de MkDocs."""

    folder: Path = CACHE / "celdas"
    signature: str = ""
    page: str = ""
    previous: dict[str, list[str]] = field(default_factory=dict)
    live: dict[tuple[str, str], Namespace] = field(default_factory=dict)
    runs: int = 0
    used: set[str] = field(default_factory=set)

    def begin_build(self, artefacts: str) -> None:
        """Empieza una construcción y olvida lo vivo si el paquete o los artefactos han cambiado."""
        code = code_digest()
        signature = digest(code, artefacts, Path(__file__).read_text(encoding="utf-8"))
        if signature != self.signature:
            self.signature = signature
            self.live.clear()
            for name in [n for n in sys.modules if n == "ddpm_lit" or n.startswith("ddpm_lit.")]:
                del sys.modules[name]
            importlib.invalidate_caches()
        self.runs = 0
        self.used = set()

    def begin_page(self, page: str) -> None:
        """Empieza una página: sus sesiones no ven las de otras."""
        self.page = page
        self.previous = {}

    def result(self, code: str, session: str) -> dict[str, Any]:
        """Salida de una celda: `{"text": str, "figures": [svg…]}`.

        Raises:
            CellError: Si la celda falla; los fallos no se guardan.
        """
        before = list(self.previous.get(session, [])) if session else []
        if session:
            self.previous.setdefault(session, []).append(code)
        key = digest(self.signature, json.dumps([*before, code]))
        self.used.add(key)
        path = self.folder / f"{key}.json"
        if path.is_file():
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return stored
        output = self._run(code, session, before)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(output, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
        return output

    def end_build(self) -> None:
        """Borra de la memoria en disco lo que ninguna página ha usado."""
        for path in self.folder.glob("*.json"):
            if path.stem not in self.used:
                path.unlink()

    def _run(self, code: str, session: str, before: list[str]) -> dict[str, Any]:
        namespace = self.live.get((self.page, session)) if session else None
        if namespace is None or before[: len(namespace.executed)] != namespace.executed:
            namespace = new_namespace()
        try:
            for earlier in before[len(namespace.executed) :]:
                self._execute(earlier, namespace, session)
            output = self._execute(code, namespace, session)
        except CellError:
            self.live.pop((self.page, session), None)
            raise
        if session:
            self.live[self.page, session] = namespace
        return output

    def _execute(self, code: str, namespace: Namespace, session: str) -> dict[str, Any]:
        self.runs += 1
        name = f"<celda {len(namespace.executed) + 1} de {session or 'una sola'} en {self.page}>"
        start = time.monotonic()
        output = execute(code, namespace, name)
        if (seconds := time.monotonic() - start) > SLOW:
            log.info("%s: una celda tarda %.1f s (%s).", self.page, seconds, name)
        namespace.executed.append(code)
        return output


def new_namespace() -> Namespace:
    """Variables vacías, con torch en un solo hilo y la semilla a cero."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    if str(SRC) not in sys.path:
        sys.path.insert(0, str(SRC))
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Namespace({"__name__": "__celda__"}, random_state=torch.get_rng_state())


@contextlib.contextmanager
def own_tables(kept: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Las tablas del paquete como las dejó la sesión en `kept`; al salir, las de todos."""
    tables: dict[str, dict[str, Any]] = {}
    for place in TABLES:
        module, name = place.rsplit(".", 1)
        tables[place] = getattr(importlib.import_module(f"ddpm_lit.{module}"), name)
    everyone = {place: dict(table) for place, table in tables.items()}
    for place, rows in kept.items():
        _refill(tables[place], rows)
    try:
        yield
    finally:
        for place, table in tables.items():
            kept[place] = dict(table)
            _refill(table, everyone[place])


def _refill(table: dict[str, Any], rows: dict[str, Any]) -> None:
    table.clear()
    table.update(rows)


def execute(code: str, namespace: Namespace, name: str) -> dict[str, Any]:
    """Ejecuta una celda como un cuaderno: lo impreso, el último valor y las figuras abiertas.

    Raises:
        CellError: Si algo falla, con la traza limpia.
    """
    import matplotlib
    import torch
    from matplotlib import pyplot as plt

    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    buffer = io.StringIO()
    torch.set_rng_state(namespace.random_state)
    plt.close("all")
    try:
        tree = ast.parse(code, filename=name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with (
            contextlib.redirect_stdout(buffer),
            contextlib.chdir(ROOT),
            own_tables(namespace.tables),
            matplotlib.rc_context(figure_style()),
        ):
            exec(compile(tree, name, "exec"), namespace.variables)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), namespace.variables)
                if value is not None and not _is_plot(value):
                    print(repr(value), file=buffer)
            figures = [figure_svg(plt.figure(number)) for number in plt.get_fignums()]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise CellError(_trace(error)) from error
    finally:
        plt.close("all")
    namespace.random_state = torch.get_rng_state()
    return {"text": buffer.getvalue(), "figures": figures}


def _is_plot(value: Any) -> bool:
    if isinstance(value, list | tuple) and value:
        return _is_plot(value[0])
    return type(value).__module__.startswith("matplotlib")


def _trace(error: BaseException) -> str:
    frames = traceback.TracebackException.from_exception(error)
    start = next(
        (i for i, frame in enumerate(frames.stack) if frame.filename.startswith("<celda")), 0
    )
    frames.stack = traceback.StackSummary.from_list(frames.stack[start:])
    return "".join(frames.format()).strip()


def figure_style() -> Any:
    """Estilo de las celdas: fondo transparente y colores que luego son variables de CSS."""
    from cycler import cycler

    return {
        "figure.figsize": (6.4, 3.2),
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "savefig.transparent": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "lines.color": SERIES[0],
        "patch.edgecolor": INK,
        "font.size": 10,
        "image.cmap": "gray",
        "svg.fonttype": "path",
        "svg.hashsalt": "ddpm_lit",
    }


def figure_svg(figure: Any) -> str:
    """Figura de matplotlib como SVG para incrustar: sin prólogo ni fecha y con colores de CSS."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    prefix = "f" + digest(svg)[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href=")#([^"]+)"', rf'\1#{prefix}-\2"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    for colour, variable in CSS_COLOURS.items():
        svg = svg.replace(colour, variable)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()  # type: ignore[union-attr]
    pixels = f'width="{round(float(width) * 4 / 3)}" height="{round(float(height) * 4 / 3)}"'
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f"<svg {pixels}", 1)


# --- Presentación ------------------------------------------------------------------------------


def output_html(output: dict[str, Any], alt: str, caption: str, raw: bool) -> str:
    """HTML de lo que deja una celda: lo impreso y las figuras, con su alternativa y su pie."""
    parts: list[str] = []
    if output["text"].strip():
        text = output["text"].rstrip("\n")
        printed = html.escape(text, quote=False)
        parts.append(
            text
            if raw
            else '<div class="dl-salida" role="group" aria-label="Salida">'
            f"<pre>{printed}</pre></div>"
        )
    for svg in output["figures"]:
        body = svg.replace(
            "<svg", f'<svg role="img" aria-label="{html.escape(alt, quote=True)}"', 1
        )
        legend = (
            f'<figcaption><strong class="dl-figura__numero">{FIGURE_NUMBER}</strong> '
            f"{inline_markdown(caption)}</figcaption>"
            if caption
            else ""
        )
        parts.append(f'<figure class="dl-figura dl-figura--celda">{body}{legend}</figure>')
    return "".join(parts)


def format_cell(runner: CellRunner, source: str, options: dict[str, Any], md: Any) -> str:
    """Formateador de markdown-exec: muestra el código donde se pida y después su resultado."""
    from markdown_exec import MarkdownConverter, add_source, code_block

    extra = dict(options.get("extra", {}))
    alt, caption = extra.pop("alt", ""), extra.pop("pie", "")
    location = options.get("source", "")
    converter = MarkdownConverter(md, update_toc=False)
    try:
        output = runner.result(source, options.get("session", ""))
    except CellError as error:
        log.warning("%s: ha fallado una celda:\n\n%s\n\nCódigo:\n\n%s", runner.page, error, source)
        shown = code_block("python", source) + "\n\n" + code_block("text", str(error))
        return str(converter.convert(shown))
    if output["figures"] and not alt:
        log.warning(
            '%s: una celda dibuja una figura sin texto alternativo; añade alt="…" al bloque.',
            runner.page,
        )
    body = output_html(output, alt, caption, raw=bool(options.get("html")))
    if not location:
        return body
    placeholder = '<div class="dl-hueco"></div>'
    text = add_source(
        source=source,
        location=location,
        output=placeholder,
        language="python",
        tabs=("Código", "Resultado"),
        **extra,
    )
    return str(converter.convert(text, stash={placeholder: body}))
