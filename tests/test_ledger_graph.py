"""El grafo del libro mayor: cada flecha está en una página o declarada, y no hay círculos."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
from scripts.ledger import graph, page
from scripts.ledger.book import equations, sources
from scripts.ledger.drawing import ROW, Line, listing
from scripts.ledger.graph import Origins, build, citations, derivations, load, problems
from scripts.ledger.page import Record
from scripts.site.equations import Equation

LINK = re.compile(r'href="#fila-([^"]+)"')

# --- El libro -------------------------------------------------------------------------------------


def test_the_graph_of_the_book_is_sound() -> None:
    assert sorted(problems(equations(), citations(), load())) == []


def test_every_cited_arrow_is_written_in_the_page_before_its_equation() -> None:
    pages, seen = sources(), 0
    for name, others in citations().items():
        text = pages[equations()[name].page]
        end = re.search(rf"\\label\{{\w+:{name}\}}", text)
        assert end is not None
        start = text.rfind("\\label{", 0, end.start()) + 1
        for other in others:
            seen += 1
            assert f"\\eqref{{{other}}}" in text[start : end.end()], (name, other)
    assert seen > 80


def test_every_origin_comes_first_if_one_walks_the_arrows_back() -> None:
    """Sin la biblioteca: se quitan una y otra vez las ecuaciones que no esperan a ninguna."""
    left = {name: set(graph.graph().pred[name]) for name in equations()}
    while free := {name for name, waits in left.items() if not waits}:
        left = {name: waits - free for name, waits in left.items() if name not in free}
    assert left == {}


def test_what_is_taken_as_given_says_why() -> None:
    assert all(len(reason) > 15 for reason in load().roots.values())


# --- Lo que no cuadra -----------------------------------------------------------------------------

BOOK = {
    name: Equation(name, kind, "a.md", 1, number, "")
    for number, (name, kind) in enumerate(
        [("a", "comprobada"), ("b", "derivada"), ("c", "derivada")], start=1
    )
}


def told(cited: dict[str, tuple[str, ...]], **declared: object) -> str:
    origins = Origins(**({"added": {}, "mentions": {}, "roots": {}} | declared))  # type: ignore[arg-type]
    return "\n".join(problems(BOOK, cited, origins))


def test_what_fits_has_nothing_to_tell() -> None:
    cited = {"b": ("a",), "c": ("a", "b")}
    assert told(cited, mentions={"c": ("a",)}) == ""
    arrows = build(BOOK, cited, Origins({}, {"c": ("a",)}, {})).edges
    assert set(arrows) == {("a", "b"), ("b", "c")}
    assert told({"b": ("a",)}, roots={"c": "porque sí"}) == ""


@pytest.mark.parametrize(
    ("cited", "declared", "said"),
    [
        ({"b": ("a",)}, {}, "«c» es derivada y no dice de dónde sale"),
        ({"b": ("c",), "c": ("b",)}, {}, "hay un ciclo: "),
        ({"b": ("z",), "c": ("b",)}, {}, "«z» no es ninguna ecuación"),
        ({"b": ("a",), "c": ("b",)}, {"added": {"c": ("z",)}}, "«z» no es ninguna ecuación"),
        ({"b": ("a",), "c": ("b",)}, {"added": {"z": ("a",)}}, "«z» no es ninguna ecuación"),
        ({"b": ("a",), "c": ("b",)}, {"added": {"c": ("b",)}}, "sobra declararlo"),
        ({"b": ("a",), "c": ("b",)}, {"mentions": {"c": ("a",)}}, "«c» no menciona «a»"),
        ({"b": ("a",), "c": ("b",)}, {"roots": {"c": "x"}}, "«c» no es una derivada que no salga"),
        ({"b": ("a",), "c": ("b",)}, {"roots": {"a": "x"}}, "«a» no es una derivada que no salga"),
    ],
)
def test_what_does_not_fit_is_told(
    cited: dict[str, tuple[str, ...]], declared: dict[str, object], said: str
) -> None:
    assert said in told(cited, **declared)


def test_a_derivation_is_the_text_up_to_the_equation_within_its_section() -> None:
    found = derivations(
        "Antes, \\eqref{no-1}.\n\n## Aquí\n\nDe \\eqref{si-1} y `\\eqref{no-2}`,\n\n"
        "$$\na = b\n\\label{derivada:una}\n$$\n\n"
        '@[ figura("x", pie="Como en \\eqref{no-3}.") ]@\n\n```python\n# \\eqref{no-4}\n```\n\n'
        "Por \\eqref{si-2},\n\n$$\nc = d\n\\label{derivada:otra}\n$$\n\n"
        "Y \\eqref{no-5}.\n\n/// mas | Más\n\nYa.\n\n$$\ne\n\\label{citada:tercera}\n$$\n"
    )
    cited = {name: graph.CITATION.findall(text) for name, text in found.items()}
    assert cited == {"una": ["si-1"], "otra": ["si-2"], "tercera": []}


# --- El dibujo ------------------------------------------------------------------------------------


def starts(drawing: str) -> list[list[int]]:
    """De cada fila de un dibujo, cuántas filas más abajo empieza cada uno de sus arcos."""
    return [
        [
            round((float(y) - ROW / 2) / ROW)
            for y in re.findall(r'd="M-4 (-?[\d.]+)C', item.partition("</svg>")[0])
        ]
        for item in drawing.split("<li")[1:]
    ]


def test_every_arc_starts_in_the_row_of_its_origin() -> None:
    lines = {name: Line(f"#{name}", "1", name) for name in "abcd"}
    drawing = listing(lines, {"c": {"a": 1, "d": 4}, "d": {"c": 1}}, "x")
    assert starts(drawing) == [[], [], [-2, 1], [-1]]
    assert drawing.count('class="dl-grafo__sube"') == 1
    assert drawing.count("dl-grafo__punta") == 2
    assert 'stroke-width="1.8"' in drawing and drawing.count('stroke-width="1"') == 2


def test_the_drawing_of_an_origin_has_all_that_is_needed_and_no_more() -> None:
    wanted, pending = set(), ["generacion-algoritmo"]
    while pending:
        name = pending.pop()
        wanted.add(name)
        pending += graph.graph().pred[name]
    drawing = page.origin("generacion-algoritmo", equations())
    rows = re.findall(r'</svg><a href="#fila-([^"]+)"', drawing)
    assert sorted(rows) == sorted(wanted)
    arcs = [(rows[i + step], rows[i]) for i, row in enumerate(starts(drawing)) for step in row]
    within = [(a, b) for a, b in graph.graph().edges if {a, b} <= wanted]
    assert sorted(arcs) == sorted(within)
    with pytest.raises(LookupError, match="ninguna ecuación «nada»"):
        page.origin("nada", equations())


def test_the_longest_chain_is_a_chain_and_there_is_none_longer() -> None:
    chain = page.longest()
    arrows = graph.graph()
    assert all(arrows.has_edge(a, b) for a, b in pairwise(chain))

    @cache
    def depth(name: str) -> int:
        return 1 + max(map(depth, arrows.pred[name]), default=0)

    assert len(chain) == max(map(depth, arrows))


def test_the_arcs_between_chapters_are_as_wide_as_the_arrows_there_are() -> None:
    book = equations()
    titles = {equation.page: equation.page for equation in book.values()}
    crossing = Counter(
        (book[a].page, book[b].page) for a, b in graph.graph().edges if book[a].page != book[b].page
    )
    drawing = page.chapters(titles, book)
    assert sum(map(len, starts(drawing))) == len(crossing)
    assert len(starts(drawing)) == len({p for pair in crossing for p in pair})


# --- La tabla -------------------------------------------------------------------------------------


def test_every_arrow_is_in_the_rows_of_its_two_ends() -> None:
    book = equations()
    records = [Record(e.name, e.page, e.kind, "leída", 0.0, (), "así es") for e in book.values()]
    titles = {equation.page: equation.page for equation in book.values()}
    rows = re.findall(
        r'^\| <span id="fila-([^"]+)"></span>.*? \| \w+ \| (.*?) \| (.*?) \| leída',
        page.table(records, titles, book),
        re.M,
    )
    assert [name for name, *_ in rows] == [
        e.name for p in titles for e in book.values() if e.page == p
    ]
    for name, origins, uses in rows:
        assert sorted(LINK.findall(origins)) == sorted(graph.graph().pred[name])
        assert sorted(LINK.findall(uses)) == sorted(graph.graph().succ[name])
        if book[name].kind == "derivada":
            assert LINK.findall(origins) or origins == load().roots[name]
