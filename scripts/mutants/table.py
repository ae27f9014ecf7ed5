"""Qué líneas implementan cada ecuación, y los mutantes de esas líneas.

`implementations.toml` da, de cada ecuación comprobada, los sitios que la implementan. Un sitio
es el nombre completo de una función (`ddpm_lit.forward.q_sample`), de un método o de una
propiedad; detrás de dos puntos pueden ir trozos de las líneas que importan, separados por ` | `
(`ddpm_lit.forward.diffuse: ratio = | return`): entonces solo cuentan las instrucciones en que
están, tal como las escribe `ast.unparse`.
"""

import ast
import importlib
import inspect
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from scripts.mutants.operators import expressions, mutations

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """Una función, o las líneas de ella que contienen unos trozos de código."""

    symbol: str
    lines: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Lee `módulo.función` o `módulo.función: trozo | trozo`."""
        symbol, _, lines = text.partition(": ")
        return cls(symbol, tuple(lines.split(" | ")) if lines else ())


@dataclass(frozen=True)
class Mutant:
    """Un cambio en la expresión número `position` de una función."""

    symbol: str
    position: int
    option: int
    line: int
    change: str

    def __str__(self) -> str:
        return f"{self.symbol} (línea {self.line}): {self.change}"

    def apply(self) -> None:
        """Cambia la función en este proceso, sin vuelta atrás."""
        function, module = find_function(self.symbol)
        tree = ast.parse(inspect.getsource(module))
        node = _definition(tree, function)
        nodes = list(expressions(node))
        target = nodes[self.position]
        replacement = [new for old, new in mutations(node) if old is target][self.option]
        _Replace(target, replacement).visit(tree)
        ast.fix_missing_locations(tree)
        code = compile(tree, module.__file__ or "", "exec")
        function.__code__ = _find_code(code, function.__code__)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self.old, self.new = old, ast.copy_location(new, old)

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def implementations(path: Path = FOLDER / "implementations.toml") -> dict[str, list[Place]]:
    """Los sitios que implementan cada ecuación, por su etiqueta."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {label: [Place.parse(text) for text in places] for label, places in table.items()}


@dataclass(frozen=True)
class Equivalent:
    """Un mutante que no se puede ver, y por qué; con `equation`, solo desde esa ecuación."""

    symbol: str
    change: str
    reason: str
    equation: str | None = None

    def covers(self, label: str, mutant: Mutant) -> bool:
        return (self.symbol, self.change) == (mutant.symbol, mutant.change) and (
            self.equation in (None, label)
        )


def equivalents(path: Path = FOLDER / "equivalents.toml") -> list[Equivalent]:
    """Los mutantes equivalentes, con su porqué."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Equivalent(**row) for row in table.get("equivalent", [])]


@cache
def mutants(place: Place) -> tuple[Mutant, ...]:
    """Los mutantes de un sitio, en el orden de su código.

    Raises:
        ValueError: si ninguna línea de la función contiene alguno de los trozos.
    """
    function, module = find_function(place.symbol)
    node = _definition(ast.parse(inspect.getsource(module)), function)
    position = {id(expression): number for number, expression in enumerate(expressions(node))}
    allowed = set(position) if not place.lines else _allowed(node, place)
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    options: Counter[int] = Counter()
    for old, new in mutations(node):
        option = options[id(old)]
        options[id(old)] += 1
        change = f"{ast.unparse(old)} → {ast.unparse(ast.copy_location(new, old))}"
        seen[change] += 1
        if seen[change] > 1:
            change += f" ({seen[change]})"
        recursive = isinstance(new, ast.Attribute) and new.attr == function.__name__
        if id(old) in allowed and not recursive:
            found.append(Mutant(place.symbol, position[id(old)], option, old.lineno, change))
    return tuple(found)


def _allowed(function: ast.AST, place: Place) -> set[int]:
    allowed: set[int] = set()
    for text in place.lines:
        chosen = [node for node in ast.walk(function) if _is_line_of(node, text)]
        if not chosen:
            raise ValueError(f"Ninguna línea de {place.symbol} contiene «{text}».")
        for statement in chosen:
            allowed.update(id(expression) for expression in expressions(statement))
    return allowed


def _is_line_of(node: ast.AST, text: str) -> bool:
    """Si es una instrucción que contiene el texto y no lo contiene otra de dentro."""
    if not isinstance(node, ast.stmt) or text not in ast.unparse(node):
        return False
    return not any(
        isinstance(inner, ast.stmt) and text in ast.unparse(inner)
        for inner in ast.walk(node)
        if inner is not node
    )


# --- De un nombre a su código --------------------------------------------------------------------


def find_function(symbol: str) -> tuple[FunctionType, ModuleType]:
    """La función, el método o la propiedad de un nombre completo, y su módulo.

    Raises:
        ValueError: si no existe o no es una función de Python.
    """
    names = symbol.split(".")
    for size in range(len(names) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(names[:size]))
        except ModuleNotFoundError:
            continue
        found: Any = module
        for name in names[size:]:
            found = vars(found).get(name)
            if found is None:
                break
        function = _unwrap(found)
        if isinstance(function, FunctionType):
            return function, module
        break
    raise ValueError(f"«{symbol}» no es ninguna función del paquete.")


def _unwrap(found: Any) -> Any:
    match found:
        case cached_property():
            return inspect.unwrap(found.func)
        case property(fget=function) if function is not None:
            return inspect.unwrap(function)
        case staticmethod() | classmethod():
            return inspect.unwrap(found.__func__)
        case _:
            return inspect.unwrap(found) if callable(found) else None


def _definition(tree: ast.Module, function: FunctionType) -> ast.AST:
    first = function.__code__.co_firstlineno
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", [])
            if first == min(item.lineno for item in [node, *decorators]):
                return node
    raise ValueError(f"No se encuentra el código de {function.__qualname__}.")


def _find_code(code: CodeType, original: CodeType) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            same = constant.co_qualname == original.co_qualname
            if same and constant.co_firstlineno == original.co_firstlineno:
                return constant
            if original.co_qualname.startswith(constant.co_qualname):
                try:
                    return _find_code(constant, original)
                except LookupError:
                    continue
    raise LookupError(original.co_qualname)
