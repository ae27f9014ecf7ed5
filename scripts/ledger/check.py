r"""Probar una ecuación: evaluar sus lados en varios mundos y ver si la relación se cumple.

Una fórmula es una lista de afirmaciones. La que dice qué es un símbolo que nadie conoce
(`A = …`, `f(t) = …`) lo define, y las demás lo usan; de las otras se comparan los lados, de dos en
dos. El error de una igualdad es la mayor diferencia, relativa al mayor de los dos lados.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from lark import Token, Tree

from scripts.ledger.expectations import moment
from scripts.ledger.notation import COMMON
from scripts.ledger.reading import Node, symbol, text
from scripts.ledger.scope import Meaning, Scope, evaluate
from scripts.ledger.world import SETTINGS, Setting, World

FAILURES = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError)
TOLERANCE = 1e-9
SMALL = 1e-6
"""Por debajo de este tamaño, el error de una igualdad deja de ser relativo."""


@dataclass(frozen=True)
class Row:
    """Lo que el diccionario común no puede saber de una ecuación.

    Args:
        names: símbolos que solo significan eso aquí: un número, un `Meaning` o una función del
            mundo que da una de las dos cosas.
        value: lo que da el paquete para el primer lado de la primera afirmación que no define
            nada (el valor nuevo, en un «←»), o para el de varias, por su número.
        each: los nombres que cambian de una afirmación a otra, por su número, o de una relación
            a otra, por los dos.
        tight: en qué mundos un «≤» ha de ser una igualdad, por la afirmación y su lugar en ella.
        slack: lo que se admite en una sola relación, por la afirmación y su lugar en ella.
        source: la función del paquete con la que se compara (o varias, separadas por comas), si
            `names` o `value` la llaman.
        define: símbolos conocidos que la fórmula vuelve a definir.
        uses: ecuaciones de la misma página cuyas definiciones usa.
        worlds: los mundos en que se prueba, si no son los de siempre.
        tolerance: el error que se admite.
        approx: el error que se admite en un «≈»; sin él, no se compara.
        read: por qué se lee y no se ejecuta.
    """

    names: Mapping[str, Any] = field(default_factory=dict)
    value: Callable[[Scope], Any] | Mapping[int, Callable[[Scope], Any]] | None = None
    each: Mapping[int | tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)
    tight: Mapping[tuple[int, int], Callable[[World], bool]] = field(default_factory=dict)
    slack: Mapping[tuple[int, int], float] = field(default_factory=dict)
    source: str = ""
    define: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    worlds: tuple[Setting, ...] = SETTINGS
    tolerance: float = TOLERANCE
    approx: float | None = None
    read: str = ""


@dataclass(frozen=True)
class Result:
    """Lo que ha salido de probar una ecuación.

    Args:
        error: el mayor error de sus relaciones.
        excess: el mayor cociente entre un error y lo que se le admite.
        checks: cuántas afirmaciones se han probado.
        sources: las funciones del paquete que han dado algún número.
        problem: por qué no se ha podido probar.
    """

    error: float
    excess: float
    checks: int
    sources: tuple[str, ...] = ()
    problem: str = ""

    @property
    def green(self) -> bool:
        """Si se ha probado algo y todo se cumple."""
        return not self.problem and self.checks > 0 and self.excess <= 1


@cache
def world(setting: Setting) -> World:
    return World(setting)


# --- Afirmaciones -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """Unos lados y las relaciones que los unen; con `only_if`, la condición de la siguiente."""

    sides: tuple[Any, ...]
    relations: tuple[str, ...]
    condition: bool = False


def statements(tree: Node) -> list[Statement]:
    """Las afirmaciones de una fórmula."""
    found: list[Statement] = []
    for place, child in enumerate(tree.children):
        if isinstance(child, Token):
            continue
        after = tree.children[place + 1] if place + 1 < len(tree.children) else None
        found += [Statement(s.sides, s.relations, isinstance(after, Token)) for s in _split(child)]
    return _without_ranges(_unpacked(found))


def _unpacked(found: list[Statement]) -> list[Statement]:
    """«Q, K, V = a, b, c» son tres igualdades."""
    for place, statement in enumerate(found):
        names = 0
        while place - names > 0 and _is_lone_symbol(found[place - names - 1]):
            names += 1
        after = found[place + 1 : place + 1 + names]
        if names and len(statement.sides) == 2 and [len(s.sides) for s in after] == [1] * names:
            lefts = [s.sides[0] for s in (*found[place - names : place], statement)][: names + 1]
            rights = [statement.sides[1], *(s.sides[0] for s in after)]
            equalities = [
                Statement((left, right), ("=",)) for left, right in zip(lefts, rights, strict=True)
            ]
            return [*found[: place - names], *equalities, *found[place + 1 + names :]]
    return found


def _is_lone_symbol(statement: Statement) -> bool:
    return len(statement.sides) == 1 and symbol(statement.sides[0]) is not None


def _without_ranges(found: list[Statement]) -> list[Statement]:
    """Sin «i = 0, …, K - 1», que no afirma nada."""
    dots = [n for n, s in enumerate(found) if getattr(s.sides[0], "data", "") == "dots"]
    dropped = {n + side for n in dots for side in (-1, 0, 1)}
    return [statement for n, statement in enumerate(found) if n not in dropped]


def _split(node: Any) -> Iterable[Statement]:
    children = list(node.children)
    if len(children) == 1 and isinstance(children[0], Tree):
        only = children[0]
        if only.data == "list" and len(only.children) == 1:
            yield from _split(only.children[0])
            return
        if only.data == "cases" and all(len(row.children) == 1 for row in only.children):
            for row in only.children:
                yield from _split(row.children[0].children[0])
            return
        if only.data == "product" and _is_piecewise(only.children[-1]):
            return
    yield Statement(tuple(children[::2]), tuple(map(str, children[1::2])))


def _is_piecewise(node: Any) -> bool:
    """`z` con una llave: de qué se saca en cada caso. No es una igualdad."""
    return node.data == "cases" and isinstance(
        node.children[0].children[0].children[0].children[0], Token
    )


# --- Definiciones -------------------------------------------------------------------------------


def definition(scope: Scope, statement: Statement, define: tuple[str, ...]) -> dict[str, Any]:
    """El símbolo que define una afirmación, si lo hace."""
    if len(statement.sides) < 2 or statement.relations[0] != "=":
        return {}
    left, right = statement.sides[:2]
    if left.data == "symbol":
        name, sub = str(left.children[0]), left.children[1]
        key = text(left)
        if not _is_new(scope, left, define):
            return {}
        index = symbol(sub) if sub is not None else None
        if index in ("i", "j", "k"):
            return {name: Meaning(at=lambda s, k: evaluate(s.named(**{str(index): k}), right))}
        return {key: Meaning(bare=lambda s: evaluate(s, right))}
    if left.data == "call" and _is_new(scope, left.children[0], define):
        entries = [e for e in left.children[1].children[0].children if not isinstance(e, Token)]
        parameters = [entry.children[0] for entry in entries]
        if all(p.data == "symbol" for p in parameters):
            names = [text(p) for p in parameters]
            return {
                text(left.children[0]): Meaning(
                    bare=lambda s: evaluate(s, right),
                    call=lambda s, *xs: evaluate(
                        s.named(**dict(zip(names, xs, strict=True))), right
                    ),
                    arity=(len(names),),
                )
            }
    return {}


def _is_new(scope: Scope, node: Any, define: tuple[str, ...]) -> bool:
    key, name = text(node), str(node.children[0])
    if key in define:
        return True
    base = scope.names.get(name)
    return key not in scope.names and not (isinstance(base, Meaning) and base.at)


# --- La prueba ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """Una afirmación en un mundo: los errores de sus relaciones, cada uno con lo admitido."""

    number: int
    errors: tuple[tuple[float, float], ...]
    skipped: bool = False

    @property
    def excess(self) -> float:
        return max((error / allowed for error, allowed in self.errors), default=0.0)


def check(tree: Node, row: Row, page: Mapping[str, Any], borrowed: Iterable[Node] = ()) -> Result:
    """Prueba una fórmula en los mundos de su fila; deja de probar en cuanto falla en uno.

    Args:
        tree: la fórmula, el árbol de la página o un mutante suyo.
        row: su fila.
        page: lo que significan los símbolos en su página.
        borrowed: las fórmulas cuyas definiciones usa.
    """
    trials: list[Trial] = []
    sources: set[str] = set()
    for setting in row.worlds:
        try:
            with np.errstate(all="ignore"):
                found, used = _check_in(world(setting), tree, row, page, borrowed)
        except FAILURES as error:
            return Result(np.inf, np.inf, 0, (), f"{type(error).__name__}: {error}")
        trials += found
        sources |= used
        if any(not trial.excess <= 1 for trial in found if not trial.skipped):
            break
    tried = {trial.number for trial in trials if trial.errors and not trial.skipped}
    wanted = {trial.number for trial in trials if trial.errors or trial.skipped}
    held = [trial for trial in trials if not trial.skipped]
    return Result(
        max((error for trial in held for error, _ in trial.errors), default=0.0),
        max((trial.excess for trial in held), default=0.0),
        len(tried),
        tuple(sorted({*row.source.split(", ")} - {""} | sources)),
        "" if tried == wanted else "una condición no se cumple en ningún mundo",
    )


def _check_in(
    here: World, tree: Node, row: Row, page: Mapping[str, Any], borrowed: Iterable[Node]
) -> tuple[list[Trial], set[str]]:
    """Las afirmaciones de una fórmula, probadas en un mundo, y las funciones que se han usado.

    Si una condición (`… ⇒`) no se cumple, ni ella ni lo que depende de ella se prueban ahí.
    """
    names: dict[str, Any] = {**COMMON, "T": here.T, "t": here.t, "∇": Tree("symbol", XT)}
    names |= _in_world(here, {**page, **row.names})
    known = Scope(here, dict(names))
    for statement in (s for other in borrowed for s in statements(other)):
        names |= definition(known, statement, row.define)
    known = Scope(here, dict(names))
    mine = statements(tree)
    defined = [definition(known, statement, row.define) for statement in mine]
    for found in defined:
        names |= found
    scope = Scope(here, names)
    first = next((number for number, found in enumerate(defined) if not found), -1)
    values = row.value if isinstance(row.value, Mapping) else {first: row.value}
    trials: list[Trial] = []
    skip = False
    for number, statement in enumerate(mine):
        if skip:
            trials.append(Trial(number, (), skipped=True))
            skip = statement.condition
            continue
        errors = _errors(scope, number, statement, row, values.get(number), bool(defined[number]))
        trial = Trial(number, tuple(errors))
        skip = statement.condition and trial.excess > 1
        trials.append(replace(trial, skipped=skip))
    return trials, scope.sources


def _in_world(here: World, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found(here) if callable(found) else found for name, found in names.items()}


XT = [Token("NAME", "x"), Tree("symbol", [Token("NAME", "t"), None])]
ASSIGNMENTS = (r"\leftarrow", r"\longmapsto")


def _errors(
    scope: Scope,
    number: int,
    statement: Statement,
    row: Row,
    value: Callable[[Scope], Any] | None,
    is_definition: bool,
) -> Iterator[tuple[float, float]]:
    """El error de cada relación de una afirmación, y lo que se le admite."""
    assigned = statement.relations[:1] in [(arrow,) for arrow in ASSIGNMENTS]
    if value is not None and not is_definition:
        inner = _for_link(scope, row, (number, 0))
        side = evaluate(inner, statement.sides[int(assigned)])
        yield difference(side, value(inner)), row.tolerance
    for place, relation in enumerate(statement.relations):
        link = (number, place)
        if place == 0 and (is_definition or assigned):
            continue
        if relation == r"\approx" and row.approx is None:
            continue
        inner = _for_link(scope, row, link)
        left, right = statement.sides[place : place + 2]
        allowed = row.slack.get(link, row.tolerance)
        if relation == r"\approx" and row.approx is not None:
            allowed = row.approx
        if relation == r"\sim":
            yield from ((error, allowed) for error in _same_law(inner, left, right))
            continue
        tight = link in row.tight and row.tight[link](scope.world)
        compare = difference if tight else RELATIONS[relation]
        yield compare(evaluate(inner, left), evaluate(inner, right)), allowed


def _for_link(scope: Scope, row: Row, link: tuple[int, int]) -> Scope:
    """El ámbito en que se prueba una relación."""
    own = {**row.each.get(link[0], {}), **row.each.get(link, {})}
    return scope.named(**_in_world(scope.world, own)) if own else scope


def difference(left: Any, right: Any) -> float:
    """La mayor diferencia entre dos valores, relativa al mayor."""
    gap = float(np.max(np.abs(np.subtract(left, right))))
    return gap / _scale(left, right) if np.isfinite(gap) else np.inf


def _scale(left: Any, right: Any) -> float:
    return float(max(np.max(np.abs(left)), np.max(np.abs(right)), SMALL))


def _excess(left: Any, right: Any) -> float:
    gap = float(np.max(np.real(np.subtract(left, right))))
    return max(gap, 0.0) / _scale(left, right) if np.isfinite(gap) else np.inf


def _ratio(left: Any, right: Any) -> float:
    ratio = np.log(np.divide(left, right))
    spread = float(np.max(ratio) - np.min(ratio))
    return spread if np.isfinite(spread) else np.inf


RELATIONS: dict[str, Callable[[Any, Any], float]] = {
    "=": difference,
    r"\approx": difference,
    r"\to": difference,
    r"\le": _excess,
    r"\ge": lambda left, right: _excess(right, left),
    r"\propto": _ratio,
}


def _same_law(scope: Scope, left: Any, right: Any) -> Iterable[float]:
    """`z ~ N(m, v)`: la media y la varianza de z, según la ley de la cadena."""
    if right.data != "call" or text(right.children[0]) != "N":
        return
    mean, variance = (
        evaluate(scope, e) for e in right.children[1].children[0].children if isinstance(e, Tree)
    )
    yield abs(float(np.max(np.abs(moment(scope, "E", left, None) - mean))))
    yield difference(moment(scope, "Var", left, None), variance)
