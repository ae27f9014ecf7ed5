"""Derivadas, de paso complejo (exactas) o por diferencias, e integrales por cuadratura."""

from dataclasses import replace
from typing import Any

import numpy as np
from lark import Tree

from scripts.ledger.expectations import variables
from scripts.ledger.scope import Scope, Unreadable, evaluate, find, key_of, rule, value, variable_of

STEP = 1e-40
SHIFT = 2e-3
REACH = 9.0
"""Hasta dónde se integra lo que no tiene límites."""


@rule("grad")
def _grad(scope: Scope, down: Any, up: Any, body: Any) -> Any:
    point = next(body.find_data("evalat"), None)
    if point is not None:
        content, condition = point.children
        by, _, place = condition.children[0].children
        variable = variable_of(scope, find(scope, by))
        if variable is None:
            raise Unreadable("Se evalúa en un punto algo que no es una variable.")
        inner = replace(scope, fixed={**scope.fixed, variable: evaluate(scope, place)})
        return derivative(inner, _without(body, point, content), by)
    return derivative(scope, body, down if down is not None else scope.names["∇"])


def _without(node: Any, old: Any, new: Any) -> Any:
    if node is old:
        return new
    if not isinstance(node, Tree):
        return node
    return Tree(node.data, [_without(child, old, new) for child in node.children])


@rule("deriv")
def _deriv(scope: Scope, body: Any, by: Any) -> Any:
    if body is None:
        raise Unreadable("Una derivada sin función.")
    return derivative(scope, body, by)


def derivative(scope: Scope, body: Any, by: Any) -> Any:
    """La derivada de un nodo respecto a un símbolo."""
    by, scale = _inner_variable(scope, by)
    meaning = find(scope, by)
    variable = variable_of(scope, meaning)
    start = scope.value_of(variable) if variable else value(scope, meaning)

    def at(x: Any) -> Any:
        if variable:
            return evaluate(replace(scope, fixed={**scope.fixed, variable: x}), body)
        return evaluate(scope.named(**{key_of(by): x}), body)

    again = any(n.data in ("grad", "deriv") for n in body.iter_subtrees()) or np.iscomplexobj(start)
    if again or "diferencias" in scope.names:
        h = scope.names.get("diferencias", SHIFT)
        return (8 * (at(start + h) - at(start - h)) - at(start + 2 * h) + at(start - 2 * h)) / (
            12 * h * scale
        )
    return np.imag(at(start + STEP * 1j)) / STEP / scale


def _inner_variable(scope: Scope, by: Any) -> tuple[Any, Any]:
    """`d/dσ²` es `d/dσ` entre 2σ."""
    if by.data != "power":
        return by, 1.0
    base, exponent = by.children
    n = evaluate(scope, exponent)
    return base, n * evaluate(scope, base) ** (n - 1)


@rule("int")
def _int(scope: Scope, low: Any, high: Any, body: Any, by: Any) -> Any:
    """Una integral: entre límites, Gauss-Legendre; sin ellos, la regla del trapecio."""
    if low is None:
        many = variables(scope, [by])
        line = np.arange(-REACH, REACH + 1e-9, 0.02 if len(many) == 1 else 0.1)
        grid = np.meshgrid(*[line] * len(many), indexing="ij")
        depth = max((np.ndim(x) for x in scope.fixed.values()), default=0)
        points = [axis.reshape(-1, *[1] * max(2, depth)) for axis in grid]
        inner = replace(scope, fixed={**scope.fixed, **dict(zip(many, points, strict=True))})
        return (evaluate(inner, body) * (line[1] - line[0]) ** len(many)).sum(axis=0)
    ends = [np.clip(evaluate(scope, limit), -REACH, REACH) for limit in (low, high)]
    half, middle = (ends[1] - ends[0]) / 2, (ends[1] + ends[0]) / 2
    if any(node.children[0] == "E" for node in body.find_data("func")):
        nodes, mass = np.polynomial.legendre.leggauss(40)
        values = (evaluate(scope.named(**{key_of(by): x}), body) for x in nodes * half + middle)
        return sum(m * half * x for m, x in zip(mass, values, strict=True))
    nodes, mass = np.polynomial.legendre.leggauss(300)
    shape = (len(mass), *[1] * max(2, np.ndim(half)))
    inner = scope.named(**{key_of(by): nodes.reshape(shape) * half + middle})
    return (mass.reshape(shape) * half * evaluate(inner, body)).sum(axis=0)
