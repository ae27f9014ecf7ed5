"""El libro mayor entero: cada ecuación, con lo que ha salido de probarla y con sus mutantes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from lark.exceptions import LarkError

from scripts.ledger.book import equations, marked_tests
from scripts.ledger.check import Result, Row, check
from scripts.ledger.mutants import sample
from scripts.ledger.notation import COMMON
from scripts.ledger.reading import Node, complaint, read
from scripts.ledger.rows import equivalents_of, names_of, row_of
from scripts.ledger.scope import key_of
from scripts.site.equations import Equation


@dataclass(frozen=True)
class Entry:
    """Una línea del libro mayor; sin `result`, la ecuación es leída."""

    equation: Equation
    row: Row
    result: Result | None

    @property
    def state(self) -> str:
        """`ejecutada`, `leída` o `roja`."""
        if self.result is None:
            return "leída"
        return "ejecutada" if self.result.green else "roja"

    @property
    def tests(self) -> tuple[str, ...]:
        """Los ficheros de tests que la nombran."""
        return marked_tests().get(self.equation.name, ())


@dataclass(frozen=True)
class Outcome:
    """Un mutante: de qué ecuación, qué cambia, si se ha notado y, si no se puede, por qué."""

    name: str
    change: str
    noticed: bool
    reason: str = ""


def entries(patterns: Sequence[str] = ()) -> Iterator[Entry]:
    """Prueba cada ecuación, o solo las que encajan con algún patrón."""
    for name, equation in equations().items():
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns):
            row = row_of(name)
            yield Entry(equation, row, None if row.read else proved(equation, row))


def proved(equation: Equation, row: Row) -> Result:
    """Prueba la fórmula de la página; si la gramática no la entiende, es roja y dice dónde."""
    try:
        return run(equation, row, read(equation.tex))
    except (LarkError, ValueError) as error:
        problem = f"{equation.page}: no se entiende: {complaint(equation.tex, error)}"
        return Result(np.inf, np.inf, 0, (), problem)


def run(equation: Equation, row: Row, tree: Node) -> Result:
    """Prueba un árbol, el de la página o un mutante suyo, con la fila de una ecuación."""
    borrowed = [read(equations()[name].tex) for name in row.uses]
    return check(tree, row, names_of(equation.page), borrowed)


def assumed(entry: Entry) -> list[str]:
    """Los símbolos de una ecuación que nadie dice qué son, y se toman por números cualesquiera."""
    equation, row = entry.equation, entry.row
    known = {*COMMON, *names_of(equation.page), *row.names, *row.define, "t", "T", "∇"}
    symbols = {key_of(node): str(node.children[0]) for node in _symbols(equation)}
    return sorted(key for key, name in symbols.items() if not {key, name} & known)


def _symbols(equation: Equation) -> Iterator[Node]:
    try:
        yield from read(equation.tex).find_data("symbol")
    except (LarkError, ValueError):
        return


def outcomes(entry: Entry, size: int | None = None) -> Iterator[Outcome]:
    """Prueba los mutantes de una ecuación que corre; con `size`, solo tantos."""
    equation, row = entry.equation, entry.row
    reasons = equivalents_of(equation.name)
    for mutant in sample(read(equation.tex), size, equation.name):
        noticed = not run(equation, row, mutant.tree).green
        yield Outcome(equation.name, mutant.change, noticed, reasons.get(mutant.change, ""))
