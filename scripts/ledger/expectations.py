r"""Esperanzas, varianzas y las variables aleatorias que nombra una fórmula.

Una esperanza se calcula así: se evalúa su contenido una vez, apuntando qué variables aleatorias
consulta; se piden a la ley de la cadena sus nodos y sus pesos, sabiendo lo que va detrás de la
barra, y se vuelve a evaluar en ellos.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from lark import Token, Tree

from scripts.ledger.reading import symbol, text
from scripts.ledger.scope import Scope, Unreadable, evaluate, find, value, variable_of
from scripts.ledger.world import Law, Variable


def split_bar(scope: Scope, argument: Any) -> tuple[list[Any], list[Any]]:
    """Lo que va delante y detrás de la barra vertical de `E[y | x]`."""
    if argument.data != "paren":
        return [argument], []
    before: list[Any] = []
    after: list[Any] = []
    current = before
    for child in argument.children[0].children:
        if isinstance(child, Token):
            current = after if child.type == "MID" else current
        else:
            current.append(child.children[0] if len(child.children) == 1 else child)
    return before, after


def variables(scope: Scope, nodes: list[Any]) -> list[Variable]:
    """Las variables aleatorias que nombran unos nodos; `x_{1:T}` son T."""
    found: list[Variable] = []
    for place, node in enumerate(nodes):
        if node.data == "dots":  # x_t, …, x_T
            (name, low), ((_, high),) = found[-1], variables(scope, [nodes[place + 1]])
            found += [(name, k) for k in range(low + 1, high)]
            continue
        sub = node.children[1] if node.data == "symbol" else None
        if sub is not None and sub.data == "list" and len(sub.children) == 3:
            low, high = (round(float(evaluate(scope, sub.children[n]))) for n in (0, 2))
            found += [(str(node.children[0]), k) for k in range(low, high + 1)]
            continue
        variable = variable_of(scope, find(scope, node)) if node.data == "symbol" else None
        if variable is None:
            raise Unreadable(f"«{text(node)}» no es una variable aleatoria.")
        found.append(variable)
    return found


def moment(scope: Scope, name: str, argument: Any, sub: Any) -> Any:
    """E, Var o Cov (en una dimensión, lo mismo), con condición o sin ella."""
    times = _times(scope, sub)
    if times is not None:
        return sum(
            weight * moment(scope.named(**clock), name, argument, None) for clock, weight in times
        )
    inside, bar = split_bar(scope, argument)
    if name == "Cov" and len(inside) == 2 and not bar:
        product, *means = (
            moment(scope, "E", node, sub) for node in (Tree("product", inside), *inside)
        )
        return product - means[0] * means[1]
    (body,) = inside
    only = None if sub is None or symbol(sub) in ("q", None) else variables(scope, [sub])
    given = condition(scope, bar)
    if symbol(sub) == "q":
        given |= {v: scope.value_of(v) for v in scope.names.get("E_q", ())}
    if only is not None:
        given = {v: scope.value_of(v) for v in traced(scope, body, scope.fixed) if v not in only}
        given |= {v: x for v, x in scope.fixed.items() if v not in only}
    needed = only or sorted(traced(scope, body, given))
    return integrate(scope, scope.names.get("ley", scope.world.law), needed, given, body, name)


def condition(scope: Scope, nodes: list[Any]) -> dict[Variable, Any]:
    """Lo que se sabe, detrás de la barra: `x`, con el valor que tenga, o `x_t = x`."""
    given: dict[Variable, Any] = {}
    for node in nodes:
        name, place = node.children[::2] if node.data == "entry" else (node, None)
        for v in variables(scope, [name]):
            given[v] = scope.value_of(v) if place is None else evaluate(scope, place)
    return given


def traced(scope: Scope, body: Any, fixed: Mapping[Variable, Any]) -> set[Variable]:
    """Las variables aleatorias que consulta un nodo, además de las fijadas."""
    inner = replace(scope, fixed=dict(fixed), traced=set())
    evaluate(inner, body)
    return inner.traced or set()


def integrate(
    scope: Scope,
    law: Law,
    needed: list[Variable],
    given: Mapping[Variable, Any],
    body: Any,
    name: str = "E",
) -> Any:
    """La esperanza o la varianza de un nodo en unas variables, sabiendo otras."""
    weights, values = law.nodes(needed, given)
    pixels = scope.world.setting.pixels
    if pixels > 1:
        values = {v: np.repeat(x, pixels // x.shape[-2], axis=-2) for v, x in values.items()}
    inner = replace(scope, fixed={**given, **values})
    result = evaluate(inner, body)
    mean = (weights * result).sum(axis=0)
    return mean if name == "E" else (weights * (result - mean) ** 2).sum(axis=0)


def _times(scope: Scope, sub: Any) -> list[tuple[dict[str, Any], Any]] | None:
    """Si la esperanza es también en t o en τ, sus valores y sus probabilidades."""
    if sub is None or sub.data not in ("list", "symbol"):
        return None
    entries = [e for e in sub.children if isinstance(e, Tree) and e.data == "entry"]
    clock = symbol(entries[0].children[0]) if entries else None
    if clock == "τ":
        return [({"τ": tau}, weight) for tau, weight in scope.names["relojes"]]
    if clock != "t":
        return None
    relation = entries[0].children[1:]
    T = scope.world.T
    if relation and symbol(relation[1]) == "p":
        law = scope.names["p"]
        return [({"t": t}, value(scope, law.looked_up(scope, t))) for t in range(1, T + 1)]
    return [({"t": t}, 1 / T) for t in range(1, T + 1)]
