r"""Mutantes del TeX: la misma fórmula con una sola errata.

Un cambio de signo, un índice que se adelanta o se atrasa, una barra que falta o sobra, un cuadrado,
una raíz, un gradiente o una prima que se pierden, una fracción del revés, un coseno por un seno,
una media por una varianza. Si una ecuación no se pone en rojo con ellos, es que no prueba lo que
está escrito.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lark import Token, Tree

from scripts.ledger.reading import Node, symbol, text

BARRED = {"α": "ᾱ", "ᾱ": "α", "β": "β̃", "β̃": "β"}
RENAMED = {"cos": "sen", "sen": "cos", "min": "max", "max": "min", "E": "Var", "Var": "E"}
INDICES = ("t", "s", "k", "j")


@dataclass(frozen=True)
class Mutant:
    """Una errata: qué ponía, qué pone y el árbol con el cambio."""

    change: str
    tree: Node

    def __str__(self) -> str:
        return self.change


def mutants(tree: Node) -> list[Mutant]:
    """Todas las erratas posibles de una fórmula, de una en una."""
    found = []
    seen: dict[str, int] = {}
    for path, node in _walk(tree):
        for new in _replacements(node):
            change = f"{text(node)} → {text(new)}"
            seen[change] = seen.get(change, 0) + 1
            if seen[change] > 1:
                change += f" ({seen[change]})"
            found.append(Mutant(change, _put(tree, path, new)))
    return found


def sample(tree: Node, size: int | None, seed: str) -> list[Mutant]:
    """Unas cuantas, las mismas con la misma semilla; con `None`, todas."""
    every = mutants(tree)
    if size is None or len(every) <= size:
        return every
    return random.Random(seed).sample(every, size)


def _walk(node: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(node, Tree):
        yield path, node
        for place, child in enumerate(node.children):
            yield from _walk(child, (*path, place))


def _put(node: Any, path: tuple[int, ...], new: Any) -> Any:
    if not path:
        return new
    children = list(node.children)
    children[path[0]] = _put(children[path[0]], path[1:], new)
    return Tree(node.data, children)


def _replacements(node: Node) -> Iterator[Node]:
    children: list[Any] = list(node.children)
    if node.data == "sum":
        for place, child in enumerate(children):
            if isinstance(child, Token):
                flipped = Token("SIGN", "+" if child == "-" else "-")
                yield Tree("sum", [*children[:place], flipped, *children[place + 1 :]])
    elif node.data == "frac":
        yield Tree("frac", children[::-1])
    elif node.data == "sqrt" or (node.data == "power" and text(children[1]) == "2"):
        yield children[0]
    elif node.data == "grad":
        yield children[2]
    elif node.data == "func" and str(children[0]) in RENAMED:
        yield Tree("func", [Token("FUNC", RENAMED[children[0]]), *children[1:]])
    elif node.data == "symbol":
        name, sub = children
        if name.endswith("'") and name != "'":
            yield Tree("symbol", [Token("NAME", name[:-1]), sub])
        if name in BARRED and sub is not None and (name in "ββ̃" or text(sub) != "1"):
            yield Tree("symbol", [Token("NAME", BARRED[name]), sub])
        if symbol(sub) in INDICES and sub.children[1] is None:
            yield Tree("symbol", [name, _minus_one(sub)])
        elif sub is not None and text(sub) in [f"{index}-1" for index in INDICES]:
            yield Tree("symbol", [name, sub.children[0]])


def _minus_one(index: Node) -> Node:
    return Tree("sum", [index, Token("SIGN", "-"), Tree("number", [Token("NUMBER", "1")])])
