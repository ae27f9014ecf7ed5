"""Lo que la página del libro mayor enseña: una fila por ecuación, con su prueba y su error.

Se prueba todo al construir la web y se guarda por contenido: no se repite mientras no cambien las
fórmulas, el paquete ni este código.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import networkx as nx  # type: ignore[import-untyped]

from scripts.ledger import graph
from scripts.ledger.book import equations, marked_tests
from scripts.ledger.drawing import Line, listing, numbers
from scripts.ledger.ledger import Entry, entries
from scripts.site import project
from scripts.site.equations import Equation

SCHEDULE = "ddpm_lit.scheduler.Schedule."
STEP = "ddpm_lit.forward.q_step"
COLUMNS = ("ecuación", "clase", "sale de", "la usan", "del paquete", "error", "test")
HEAD = (f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}")


@dataclass(frozen=True)
class Record:
    """Una fila: la ecuación, qué es, con qué se compara, su error y, si se lee, por qué."""

    name: str
    page: str
    kind: str
    state: str
    error: float
    sources: tuple[str, ...]
    reason: str


def records(folder: Path = project.CACHE) -> list[Record]:
    """Todas las filas, en el orden de las páginas; se prueban solo si algo ha cambiado."""
    code = project.files_digest(Path(__file__).parent.rglob("*.py"))
    formulas = [f"{e.page} {e.kind} {e.name} {e.tex}" for e in equations().values()]
    path = (
        folder / f"libro-mayor-{project.digest(code, project.code_digest(), *formulas)[:12]}.json"
    )
    if not path.is_file():
        found = [asdict(_record(entry)) for entry in entries()]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        partial.replace(path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Record(**{**row, "sources": tuple(row["sources"])}) for row in rows]


def _record(entry: Entry) -> Record:
    equation, result = entry.equation, entry.result
    return Record(
        equation.name,
        equation.page,
        equation.kind,
        entry.state,
        result.error if result else 0.0,
        _main(result.sources if result else ()),
        (result.problem if result else entry.row.read),
    )


def _main(sources: Sequence[str]) -> tuple[str, ...]:
    """Las funciones que importan: las tablas del schedule y `q_step`, solo si no hay otra cosa."""
    own = [s for s in sources if not s.startswith(SCHEDULE) and s != STEP]
    return tuple(own or [s for s in sources if s == STEP] or sources)


def table(found: Sequence[Record], titles: Mapping[str, str], book: Mapping[str, Equation]) -> str:
    """Por cada página, en el orden de `titles`, su dibujo plegado y una tabla en Markdown."""
    parts = []
    for page, title in titles.items():
        rows = [record for record in found if record.page == page]
        if rows:
            lines = [_row(record, book) for record in rows]
            head = f"### {title} {{ #{_section(page)} }}"
            parts.append("\n".join([head, "", _folded(title, page, book), "", *HEAD, *lines]))
    return "\n\n".join(parts) + "\n"


def _row(record: Record, book: Mapping[str, Equation]) -> str:
    files = marked_tests().get(record.name, ())
    tests = ", ".join(f"`{name.removeprefix('test_').removesuffix('.py')}`" for name in files)
    compared = ", ".join(map(_link, record.sources)) or "—"
    error = power_of_ten(record.error)
    if record.state == "leída":
        compared, error = f"leída: {record.reason}", "—"
    found = graph.graph()
    origins = _rows(found.pred[record.name], book) or graph.load().roots.get(record.name, "—")
    return (
        f'| <span id="{anchor(record.name)}"></span>\\eqref{{{record.name}}} | {record.kind} '
        f"| {origins} | {_rows(found.succ[record.name], book) or '—'} "
        f"| {compared} | {error} | {tests or '—'} |"
    )


def _rows(names: Iterable[str], book: Mapping[str, Equation]) -> str:
    """Unas ecuaciones, en el orden del libro: su número, que lleva a su fila."""
    wanted = set(names)
    return numbers(
        (f"#{anchor(name)}", equation.tag) for name, equation in book.items() if name in wanted
    )


# --- El grafo -------------------------------------------------------------------------------------


def _section(page: str) -> str:
    """El ancla del apartado de una página."""
    return "filas-" + page.rpartition(".")[0].rpartition("/")[2]


def _lines(names: Iterable[str], book: Mapping[str, Equation]) -> dict[str, Line]:
    """Las filas de un dibujo; cada una dice de qué ecuaciones sale que no están en él."""
    wanted = set(names)
    return {
        name: Line(
            f"#{anchor(name)}",
            equation.tag,
            name,
            equation.kind,
            _rows(set(graph.graph().pred[name]) - wanted, book),
        )
        for name, equation in book.items()
        if name in wanted
    }


def _drawn(names: Iterable[str], book: Mapping[str, Equation], label: str) -> str:
    lines = _lines(names, book)
    pred = graph.graph().pred
    arrows = {name: {other: 1 for other in pred[name] if other in lines} for name in lines}
    return listing(lines, arrows, label)


def _folded(title: str, page: str, book: Mapping[str, Equation]) -> str:
    names = [name for name, equation in book.items() if equation.page == page]
    drawing = _drawn(names, book, f"De dónde sale cada ecuación de «{title}»")
    return (
        '<details class="dl-grafo-capitulo"><summary>De dónde sale cada una</summary>'
        f"{drawing}</details>"
    )


def origin(name: str, book: Mapping[str, Equation]) -> str:
    """El dibujo de todo lo que hace falta para llegar a una ecuación.

    Raises:
        LookupError: si no es ninguna.
    """
    if name not in book:
        raise LookupError(f"no hay ninguna ecuación «{name}»")
    wanted = nx.ancestors(graph.graph(), name) | {name}
    return _drawn(wanted, book, f"De dónde sale la ecuación {book[name].tag}")


def chapters(titles: Mapping[str, str], book: Mapping[str, Equation]) -> str:
    """El dibujo de las páginas: de cuáles sale cada una, y con cuántas flechas."""
    crossing = Counter(
        (book[a].page, book[b].page) for a, b in graph.graph().edges if book[a].page != book[b].page
    )
    linked = {page for pair in crossing for page in pair}
    lines, arrows = {}, {}
    for page, title in titles.items():
        if page in linked:
            number = next(e.chapter for e in book.values() if e.page == page)
            short = title.partition(":")[0]
            lines[page] = Line(f"#{_section(page)}", str(number), short)
            arrows[page] = {a: count for (a, b), count in crossing.items() if b == page}
    return listing(lines, arrows, "Qué capítulos usan ecuaciones de cuáles")


def longest() -> list[str]:
    """La cadena más larga del libro, de una ecuación a otra que sale de ella."""
    return list(nx.dag_longest_path(graph.graph()))


def power_of_ten(error: float) -> str:
    """`3e-16` como se escribe en la página: 3·10⁻¹⁶."""
    if not error:
        return "0"
    digit, exponent = f"{error:.0e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digit}·10{raised}"


def anchor(name: str) -> str:
    """El ancla de la fila de una ecuación."""
    return f"fila-{name}"


def _link(source: str) -> str:
    module, _, function = source.removeprefix("ddpm_lit.").partition(".")
    return f"[`{function.rpartition('.')[2]}`](api/{module}.md)"


def count(found: Sequence[Record], what: str) -> str:
    """Cuántas ecuaciones hay, de un estado o de una clase que corre, y cuántas flechas.

    Raises:
        LookupError: si no es ninguna de esas cosas.
    """
    arrows = graph.graph().number_of_edges()
    declared = sum(map(len, graph.load().added.values()))
    ways = {
        "todas": len(found),
        "ejecutadas": sum(record.state == "ejecutada" for record in found),
        "leídas": sum(record.state == "leída" for record in found),
        **{
            f"{kind}s": sum(r.state == "ejecutada" and r.kind == kind for r in found)
            for kind in ("comprobada", "derivada", "citada")
        },
        "flechas": arrows,
        "flechas citadas": arrows - declared,
        "flechas declaradas": declared,
        "de ninguna": len(graph.load().roots),
        "cadena": len(longest()),
    }
    return str(ways[what])
