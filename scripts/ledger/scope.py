r"""Lo que significa un símbolo, y dónde se busca.

Un símbolo se busca con su subíndice («x̂_0») y, si no está, sin él, y el subíndice es entonces una
consulta a una tabla (`β_{t-1}` es β en t - 1). Lo que se encuentra es un número o un `Meaning`.
Lo que no está en ningún sitio es un número cualquiera: las identidades valen para todos.

Cada clase de nodo del árbol tiene su regla, en `arithmetic`, `expectations` o `calculus`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from scripts.ledger.reading import text
from scripts.ledger.world import Variable, World

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Apunta una función como la que evalúa una clase de nodo: `f(scope, *hijos)`."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return add


class Unreadable(ValueError):
    """Una fórmula que no se sabe evaluar."""


@dataclass(frozen=True)
class Meaning:
    """Lo que significa un símbolo, según cómo se use.

    Args:
        bare: su valor, sin más.
        at: su valor (o su significado) en un índice.
        call: su valor aplicado a unos argumentos ya evaluados.
        form: su valor a partir del árbol de lo que va entre paréntesis.
        variable: la variable aleatoria que es, si lo es.
        source: la función del paquete de la que sale.
        arity: cuántos argumentos admite `call`.
    """

    bare: Callable[["Scope"], Any] | None = None
    at: Callable[["Scope", int], Any] | None = None
    call: Callable[..., Any] | None = None
    form: Callable[["Scope", Any], Any] | None = None
    variable: Variable | None = None
    source: str = ""
    arity: tuple[int, ...] = ()

    def looked_up(self, scope: "Scope", index: int) -> Any:
        """Su valor en un índice.

        Raises:
            Unreadable: si no es una tabla.
        """
        if self.at is None:
            raise Unreadable("Una consulta a algo que no es una tabla.")
        return self.at(scope, index)

    def applied(self, scope: "Scope", *arguments: Any) -> Any:
        """Su valor aplicado a unos argumentos.

        Raises:
            Unreadable: si no es una función.
        """
        if self.call is None:
            raise Unreadable("Unos argumentos para algo que no es una función.")
        return self.call(scope, *arguments)


@dataclass(frozen=True)
class Scope:
    """Dónde se evalúa: el mundo, los nombres y lo que se ha fijado."""

    world: World
    names: Mapping[str, Any]
    fixed: Mapping[Variable, Any] = field(default_factory=dict)
    traced: set[Variable] | None = None
    sources: set[str] = field(default_factory=set)

    def named(self, **names: Any) -> "Scope":
        """Otro igual, con más nombres; `x` puede ser un número sin que `x_t` deje de ser tabla."""
        for name, new in names.items():
            old = self.names.get(name)
            if isinstance(old, Meaning) and old.at and not isinstance(new, Meaning):
                names[name] = replace(old, bare=partial(_constant, new))
        return replace(self, names={**self.names, **names})

    def value_of(self, variable: Variable) -> Any:
        """El valor de una variable aleatoria: el fijado o el de la tirada."""
        if variable in self.fixed:
            return self.fixed[variable]
        if self.traced is not None:
            self.traced.add(variable)
        return self.world.sample(variable)

    def number(self, name: str) -> Any:
        """El valor de un nombre ya conocido, como `t`."""
        return value(self, self.names[name])


def value(scope: Scope, found: Any) -> Any:
    """El valor de lo encontrado, si se usa sin argumentos."""
    if not isinstance(found, Meaning):
        return found
    if found.source:
        scope.sources.add(found.source)
    if found.variable is not None:
        return scope.value_of(found.variable)
    if found.bare is None:
        raise Unreadable("Una función sin argumentos.")
    return value(scope, found.bare(scope))


def _constant(new: Any, _: Scope) -> Any:
    return new


def variable_of(scope: Scope, found: Any) -> Variable | None:
    """La variable aleatoria que es un símbolo, o `None`."""
    while isinstance(found, Meaning) and found.variable is None and found.bare is not None:
        try:
            found = found.bare(scope)
        except Unreadable:
            return None
    return found.variable if isinstance(found, Meaning) else None


def find(scope: Scope, node: Any) -> Any:
    """Lo que significa un símbolo, con su subíndice."""
    name, sub = str(node.children[0]), node.children[1]
    key = key_of(node)
    if key in scope.names:
        found = scope.names[key]
        only_table = isinstance(found, Meaning) and found == Meaning(
            at=found.at, source=found.source
        )
        return scope.world.number(key) if only_table else found
    if sub is None:
        return scope.world.number(key)
    base = scope.names.get(name)
    if isinstance(base, Meaning) and base.at is not None:
        if base.source:
            scope.sources.add(base.source)
        index = evaluate(scope, sub)
        whole = round(float(np.real(index)))
        if abs(index - whole) > 1e-9:
            raise Unreadable(f"El índice {key} no es entero.")
        return base.at(scope, whole)
    return scope.world.number(key)


def evaluate(scope: Scope, node: Any) -> Any:
    """El valor de un nodo."""
    return RULES[node.data](scope, *node.children)


def key_of(node: Any) -> str:
    """El nombre con que se busca un símbolo entero."""
    sub = node.children[1]
    return str(node.children[0]) + ("" if sub is None else f"_{text(sub)}")
