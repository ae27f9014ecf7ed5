r"""El grafo del libro mayor: de qué ecuaciones sale cada una.

Una flecha va de lo que se usa a lo que sale. Las más son citas de la página: los `\eqref` de la
*derivación* de una ecuación, que es el texto que hay entre la anterior y ella, dentro de su
sección. Lo que la página no dice así está en `origins.toml`.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import networkx as nx  # type: ignore[import-untyped]

from scripts.ledger.book import equations, sources
from scripts.site.equations import DISPLAY, Equation, parse_label, prose

ORIGINS = Path(__file__).with_name("origins.toml")
CITATION = re.compile(r"\\eqref\{([^{}]*)\}")
SECTION = re.compile(r"^(?:#{1,6} |///).*$", re.M)
CALL = re.compile(r"@\[.*?\]@", re.S)


@dataclass(frozen=True)
class Origins:
    """Lo que se declara: más flechas, citas que no lo son y ecuaciones que no salen de otra."""

    added: Mapping[str, tuple[str, ...]]
    mentions: Mapping[str, tuple[str, ...]]
    roots: Mapping[str, str]


@cache
def load(path: Path = ORIGINS) -> Origins:
    """Lee las declaraciones, una vez."""
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    added, mentions = (
        {name: tuple(others) for name, others in given[key].items()} for key in ("sale", "menciona")
    )
    return Origins(added, mentions, given["base"])


def derivations(markdown: str) -> dict[str, str]:
    """De cada ecuación de una página, su derivación, con la fórmula: sin código, macros ni pies."""
    text = CALL.sub("", prose(markdown))
    found, start = {}, 0
    for display in DISPLAY.finditer(text):
        sections = [m.end() for m in SECTION.finditer(text, start, display.start())]
        name = parse_label(display[0])[1]
        found[name] = text[sections[-1] if sections else start : display.end()]
        start = display.end()
    return found


@cache
def citations() -> dict[str, tuple[str, ...]]:
    """De cada ecuación, las que cita su derivación, en su orden."""
    texts = {}
    for markdown in sources().values():
        texts.update(derivations(markdown))
    return {name: tuple(dict.fromkeys(CITATION.findall(text))) for name, text in texts.items()}


def build(
    book: Mapping[str, Equation], cited: Mapping[str, tuple[str, ...]], origins: Origins
) -> nx.DiGraph:
    """El grafo: los nodos son las ecuaciones, y las flechas, las citas y lo declarado."""
    graph = nx.DiGraph()
    graph.add_nodes_from(book)
    for name in book:
        mentions = origins.mentions.get(name, ())
        arrows = [other for other in cited.get(name, ()) if other not in mentions]
        for other in [*arrows, *origins.added.get(name, ())]:
            graph.add_edge(other, name)
    return graph


def problems(
    book: Mapping[str, Equation], cited: Mapping[str, tuple[str, ...]], origins: Origins
) -> Iterator[str]:
    """Lo que no cuadra: flechas sin destino, declaraciones de más, ciclos y derivadas sueltas."""
    graph = build(book, cited, origins)
    for name in {*origins.added, *origins.mentions, *origins.roots, *graph} - book.keys():
        yield f"«{name}» no es ninguna ecuación"
    for name, others in origins.added.items():
        for other in set(others) & set(cited.get(name, ())):
            yield f"«{name}» ya cita «{other}» en su página: sobra declararlo"
    for name, others in origins.mentions.items():
        for other in set(others) - set(cited.get(name, ())):
            yield f"«{name}» no menciona «{other}» en su derivación"
    for name, equation in book.items():
        alone = graph.in_degree(name) == 0
        if name in origins.roots and not (alone and equation.kind == "derivada"):
            yield f"«{name}» no es una derivada que no salga de nada"
        if alone and equation.kind == "derivada" and name not in origins.roots:
            yield f"«{name}» es derivada y no dice de dónde sale"
    if not nx.is_directed_acyclic_graph(graph):
        loop = " → ".join(origin for origin, _ in nx.find_cycle(graph))
        yield f"hay un ciclo: {loop}"


@cache
def graph() -> nx.DiGraph:
    """El grafo del libro.

    Raises:
        ValueError: si algo no cuadra.
    """
    origins = load()
    found = sorted(problems(equations(), citations(), origins))
    if found:
        raise ValueError("\n".join(found))
    return build(equations(), citations(), origins)
