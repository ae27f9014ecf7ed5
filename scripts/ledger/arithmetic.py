"""Las cuentas: sumas, productos, potencias, listas, casos, funciones, sumatorios y productorios."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from lark import Token, Tree
from scipy.optimize import minimize_scalar

from scripts.ledger.expectations import moment
from scripts.ledger.reading import symbol, text
from scripts.ledger.scope import Meaning, Scope, Unreadable, evaluate, find, rule, value
from scripts.ledger.world import CLASSES


@rule("sum")
def _sum(scope: Scope, *children: Any) -> Any:
    result: Any = None
    sign = "+"
    for place, child in enumerate(children):
        if isinstance(child, Token):
            sign = str(child)
            continue
        if child.data == "dots":
            return _dots(scope, children[:place], children[place + 1 :], np.sum)
        term = evaluate(scope, child)
        term = -term if sign == "-" else term
        result = term if result is None else result + term
    return result


@rule("product")
def _product(scope: Scope, *children: Any) -> Any:
    result: Any = None
    for place, child in enumerate(children):
        if child.data == "dots":
            return _dots(scope, children[:place], children[place + 1 :], np.prod)
        factor = evaluate(scope, child)
        result = factor if result is None else result * factor
    return result


def _dots(scope: Scope, before: Any, after: Any, join: Callable[..., Any]) -> Any:
    """`a₁ · a₂ ⋯ aₙ` o, si la pauta la da solo el último, `b · a₁ ⋯ aₙ`."""
    if "-" in (*before, *after):
        raise Unreadable("Unos puntos suspensivos con signos menos.")
    terms = [n for n in before if not isinstance(n, Token)]
    last = [n for n in after if not isinstance(n, Token)]
    start = len(terms) - 1
    values = _between(scope, terms[-1], last[0])
    if start and _same_shape(terms[-2], last[0]):
        start, values = start - 1, _between(scope, terms[-2], last[0])
        if not np.allclose(values[1], evaluate(scope, terms[-1]), rtol=1e-12):
            raise Unreadable("El segundo término no sigue la pauta.")
    others = [evaluate(scope, node) for node in (*terms[:start], *last[1:])]
    return join(np.array(np.broadcast_arrays(*values, *others)), axis=0)


def _same_shape(a: Any, b: Any) -> bool:
    """Si dos términos solo se diferencian en números o en símbolos."""
    return all(_at(a, p).data != "list" for p in _differences(a, b) if isinstance(_at(a, p), Tree))


def _between(scope: Scope, first: Any, final: Any) -> list[Any]:
    """Los valores de un término a otro, en los que solo cambia un número, de uno en uno."""
    places = _differences(first, final)
    if not all(isinstance(_at(first, place), Tree) for place in places):
        raise Unreadable("Los puntos suspensivos no llevan de un término a otro.")
    start, end = (
        [round(float(evaluate(scope, _at(n, p)))) for p in places] for n in (first, final)
    )
    steps = {b - a for a, b in zip(start, end, strict=True)}
    if len(steps) != 1:
        raise Unreadable("Los puntos suspensivos no llevan de un término a otro.")
    values = []
    for step in range(steps.pop() + 1):
        node = first
        for path, number in zip(places, start, strict=True):
            node = _with(node, path, Tree("number", [Token("NUMBER", str(number + step))]))
        values.append(evaluate(scope, node))
    return values


Path = tuple[int, ...]


def _differences(a: Any, b: Any, path: Path = ()) -> list[Path]:
    if isinstance(a, Tree) and isinstance(b, Tree) and a.data == b.data and a.data != "number":
        if len(a.children) == len(b.children) and a.data != "symbol":
            pairs = enumerate(zip(a.children, b.children, strict=True))
            return [p for n, (x, y) in pairs for p in _differences(x, y, (*path, n))]
        if a.data == "symbol" and a.children[0] == b.children[0] and a.children[1] is not None:
            return _differences(a.children[1], b.children[1], (*path, 1))
    return [] if a == b else [path]


def _at(node: Any, path: Path) -> Any:
    for place in path:
        node = node.children[place]
    return node


def _with(node: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    children = list(node.children)
    children[path[0]] = _with(children[path[0]], path[1:], new)
    return Tree(node.data, children)


@rule("number")
def _number(scope: Scope, digits: str) -> Any:
    return float(digits) if "." in digits else int(digits)


@rule("frac")
def _frac(scope: Scope, over: Any, under: Any) -> Any:
    return np.divide(evaluate(scope, over), evaluate(scope, under))


@rule("sqrt")
def _sqrt(scope: Scope, node: Any) -> Any:
    return np.sqrt(evaluate(scope, node))


@rule("norm")
def _norm(scope: Scope, node: Any) -> Any:
    return np.sqrt(squared_norm(evaluate(scope, node)))


@rule("floor")
def _floor(scope: Scope, node: Any) -> Any:
    return np.floor(evaluate(scope, node))


@rule("ceil")
def _ceil(scope: Scope, node: Any) -> Any:
    return np.ceil(evaluate(scope, node))


@rule("power")
def _power(scope: Scope, base: Any, exponent: Any) -> Any:
    if symbol(exponent) == "⊤":
        found = evaluate(scope, base)
        return found.T if isinstance(found, Matrix) else found
    if base.data == "norm" and text(exponent) == "2":
        return squared_norm(evaluate(scope, base.children[0]))
    if symbol(base) == "e" and "e" not in scope.names:
        return np.exp(evaluate(scope, exponent))
    return np.asarray(evaluate(scope, base)) ** evaluate(scope, exponent)


def squared_norm(x: Any) -> Any:
    """‖x‖², la suma sobre los píxeles."""
    return (np.atleast_2d(x) ** 2).sum(axis=-2, keepdims=True)


@rule("factorial")
def _factorial(scope: Scope, node: Any) -> Any:
    return math.gamma(evaluate(scope, node) + 1)


@rule("paren")
def _paren(scope: Scope, inner: Any) -> Any:
    entries = [e for e in inner.children if not isinstance(e, Token)]
    if len(entries) == 1:
        return evaluate(scope, entries[0])
    if all(token == ";" for token in inner.children[1::2]):
        return np.concatenate([evaluate(scope, entry) for entry in entries], axis=1)
    if not all(token == "," for token in inner.children[1::2]):
        raise Unreadable("Una lista donde se esperaba un número.")
    values: list[Any] = []
    for place, entry in enumerate(entries):
        if entry.children[0].data == "dots":
            first, last = (entries[n].children[0] for n in (place - 1, place + 1))
            values += _between(scope, first, last)[1:-1]
        else:
            values.append(evaluate(scope, entry))
    return np.array(values).view(Vector)


class Vector(np.ndarray[Any, Any]):
    """Un vector, cuyo producto por otro es el escalar."""

    def __mul__(self, other: Any) -> Any:
        return np.dot(self, other) if isinstance(other, Vector) else super().__mul__(other)


class Matrix(np.ndarray[Any, Any]):
    """Una matriz, cuyo producto por otra es el de matrices."""

    def __mul__(self, other: Any) -> Any:
        return np.matmul(self, other) if isinstance(other, Matrix) else super().__mul__(other)


def matrix(rows: Any) -> Matrix:
    """Una matriz, de sus filas."""
    return np.array(rows, dtype=float).view(Matrix)


@rule("matrix")
def _matrix(scope: Scope, *rows: Any) -> Any:
    return matrix([[evaluate(scope, item) for item in row.children] for row in rows])


@rule("entry")
def _entry(scope: Scope, *children: Any) -> Any:
    if len(children) != 1:
        raise Unreadable("Una relación donde se esperaba un número.")
    return evaluate(scope, children[0])


@rule("list")
def _list(scope: Scope, *children: Any) -> Any:
    return _paren(scope, Tree("list", list(children)))


@rule("symbol")
def _symbol(scope: Scope, *children: Any) -> Any:
    return value(scope, find(scope, Tree("symbol", list(children))))


@rule("call")
def _call(scope: Scope, function: Any, argument: Any) -> Any:
    """`f(x)^n`: una función aplicada o, si el símbolo no es una función, un producto."""
    found = find(scope, function)
    paren, exponent = argument.children if argument.data == "power" else (argument, None)
    if isinstance(found, Meaning) and (found.call or found.form):
        if found.source:
            scope.sources.add(found.source)
        result = _applied(scope, found, paren.children[0])
        if result is not None:
            return result if exponent is None else result ** evaluate(scope, exponent)
    return value(scope, found) * evaluate(scope, argument)


def _applied(scope: Scope, found: Meaning, inner: Any) -> Any:
    if found.form is not None:
        return found.form(scope, inner)
    nodes = [entry for entry in inner.children if not isinstance(entry, Token)]
    if found.call is None or (found.arity and len(nodes) not in found.arity):
        return None
    return found.call(scope, *(evaluate(scope, node) for node in nodes))


@rule("cases")
def _cases(scope: Scope, *rows: Any) -> Any:
    """Una llave con casos: de cada elemento, el primero que se cumple."""
    contents = [evaluate(scope, row.children[0]) for row in rows]
    conditions = [
        holds(scope, row.children[1].children[0]) if row.children[1:] else True for row in rows
    ]
    shape = np.broadcast_shapes(*(np.shape(item) for item in (*contents, *conditions)))
    conditions = [np.broadcast_to(item, shape) for item in conditions]
    if not np.any(conditions, axis=0).all():
        raise Unreadable("Ningún caso se cumple.")
    return np.select(conditions, [np.broadcast_to(item, shape) for item in contents])


ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "=": np.equal,
    "<": np.less,
    ">": np.greater,
    r"\le": np.less_equal,
    r"\ge": np.greater_equal,
}


def holds(scope: Scope, condition: Any) -> Any:
    """Dónde se cumple una condición; una que es solo texto («en los demás casos»), siempre."""
    sides = condition.children[::2]
    if len(sides) == 1:
        return True
    values = [evaluate(scope, side) for side in sides]
    relations = map(str, condition.children[1::2])
    held = [ORDER[r](a, b) for r, (a, b) in zip(relations, pairwise(values), strict=True)]
    return np.all(np.broadcast_arrays(*held), axis=0)


# --- Funciones, sumas y productos ---------------------------------------------------------------


ELEMENTARY: dict[str, Callable[[Any], Any]] = {
    "log": np.log,
    "ln": np.log,
    "exp": np.exp,
    "cos": np.cos,
    "sen": np.sin,
}


@rule("func")
def _func(scope: Scope, name: Any, argument: Any, sub: Any) -> Any:
    if str(name) in ELEMENTARY:
        return ELEMENTARY[str(name)](evaluate(scope, argument))
    if name == "min" and sub is not None:
        return least(scope, argument, sub)
    if name in ("min", "max"):
        inner = argument.children[0]
        values = [evaluate(scope, e) for e in inner.children if not isinstance(e, Token)]
        return (np.minimum if name == "min" else np.maximum)(*values)
    if name == "std":
        return np.std(evaluate(scope, argument), axis=-2, keepdims=True)
    if str(name) in scope.names:  # la varianza de los píxeles de una imagen, y no la de una ley
        return scope.names[str(name)].applied(scope, evaluate(scope, argument))
    return moment(scope, str(name), argument, sub)


def least(scope: Scope, body: Any, by: Any) -> Any:
    """El menor valor de un nodo, buscándolo en un símbolo."""
    found = minimize_scalar(
        lambda x: float(np.squeeze(evaluate(scope.named(**{text(by): x}), body)))
    )
    return found.fun


@rule("total")
def _total(scope: Scope, down: Any, up: Any, body: Any) -> Any:
    return sum(evaluate(inner, body) for inner in indexed(scope, down, up))


@rule("prod")
def _prod(scope: Scope, down: Any, up: Any, body: Any) -> Any:
    result: Any = 1.0
    for inner in indexed(scope, down, up):
        result = result * evaluate(inner, body)
    return result


def indexed(scope: Scope, down: Any, up: Any) -> list[Scope]:
    """Un ámbito por cada valor del índice de una suma o un producto."""
    node, relation, low = down, "", None
    if down.data == "list":
        content = down.children[0].children
        node, relation, low = (*content, "", None)[:3] if len(content) == 1 else content
    name = str(node.children[0])
    known = scope.names.get(name)
    if isinstance(known, Meaning) and known.variable in CLASSES:
        return [
            replace(scope, fixed={**scope.fixed, known.variable: k})
            for k in range(len(scope.world.law.weights))
        ]
    first = 1 if low is None else round(float(evaluate(scope, low))) + (relation == ">")
    if relation not in ("", "=", ">", r"\ge"):
        raise Unreadable(f"Una suma con {relation}.")
    last = scope.world.T if up is None else round(float(evaluate(scope, up)))
    return [scope.named(**{name: k}) for k in range(first, last + 1)]
