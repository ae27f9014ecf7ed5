"""De una tabla de valores a una `dataclass`, con los nombres y los tipos comprobados."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any


def build(
    cls: type[Any],
    table: Mapping[str, Any],
    where: str,
    document: str = "receta",
) -> Any:
    """Crea la dataclass `cls` con los valores de `table`.

    Args:
        cls: la `dataclass`.
        table: sus valores, por su nombre; las tablas de dentro son otras `dataclass`.
        where: de qué parte del documento se trata, para los errores.
        document: qué es: una «receta», una «ficha»…

    Returns:
        Un `cls`.

    Raises:
        ValueError: si un valor sobra, falta o no es del tipo que se espera.
    """
    prefix = f"{where}." if where else ""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in fields:
            raise ValueError(
                f"No existe el valor «{prefix}{name}» en una {document}."
                f"{suggestion(name, list(fields))} Los que hay: "
                f"{', '.join(prefix + f for f in fields)}."
            )
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(
                table[name], hints[name], prefix + name, document
            )
        elif spec.default is spec.default_factory is dataclasses.MISSING:
            raise ValueError(
                f"A la {document} le falta el valor «{prefix}{name}»."
            )
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"En «{where}»: {error}") from error


_KINDS = {
    int: "un número entero",
    float: "un número",
    bool: "true o false",
    str: "un texto",
    tuple: "una lista",
    dict: "una tabla",
}


def _convert(value: Any, hint: Any, where: str, document: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ValueError(
                f"«{where}» debe ser {_KINDS[dict]} y ha llegado {value!r}."
            )
        return build(hint, value, where, document)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        if isinstance(value, str) and str in args:
            return value
        hint = next(arg for arg in args if arg is not type(None))
        return _convert(value, hint, where, document)
    if origin is tuple and isinstance(value, list | tuple):
        inner = args[0]
        return tuple(
            _convert(item, inner, f"{where}[{i}]", document)
            for i, item in enumerate(value)
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    wrong_bool = isinstance(value, bool) and expected is not bool
    if expected is not Any and (wrong_bool or not isinstance(value, expected)):
        raise ValueError(
            f"«{where}» debe ser {_KINDS[expected]} y ha llegado {value!r}."
        )
    return dict(value) if expected is dict else value


def suggestion(name: str, known: list[str]) -> str:
    """«¿Querías decir…?» con el nombre conocido que más se parece, o nada."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" ¿Querías decir «{close[0]}»?" if close else ""
