"""Tablas: lo que es independiente en los artículos es una fila de una tabla.

Un schedule, una parametrización, una varianza, un peso, una pérdida, un sampler o una condición
son entradas de un diccionario. Añadir otra, también desde fuera del paquete, es
`TABLA["nombre"] = fila`: nadie más tiene que enterarse.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

Row = TypeVar("Row")


def row(table: Mapping[str, Row], name: str | Row, missing: str) -> Row:
    """La fila de una tabla que se llama así; si ya es una fila, ella misma.

    Args:
        table: la tabla.
        name: el nombre que se pide, o una fila que no hace falta que esté en la tabla.
        missing: cómo empieza el error si no está, p. ej. `"No hay ningún sampler"`.

    Returns:
        La fila.

    Raises:
        ValueError: si no está; dice cuáles hay.
    """
    if not isinstance(name, str):
        return name
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, n=1)
    hint = f" ¿Querías decir «{close[0]}»?" if close else ""
    raise ValueError(
        f"{missing} «{name}».{hint} Hay: {', '.join(table)}. Una tuya se añade "
        "a la tabla por su nombre antes de usarla."
    )


def options_of(function: Callable[..., Any]) -> list[str]:
    """Las opciones de una fila que es una función: sus argumentos de solo nombre."""
    parameters = inspect.signature(function).parameters.values()
    return [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]


def configured(
    function: Callable[..., Row], options: Mapping[str, Any], owner: str
) -> Callable[..., Row]:
    """Una fila que es una función, con algunas de sus opciones ya puestas.

    Args:
        function: la fila.
        options: las opciones, por su nombre.
        owner: de quién se habla si alguna sobra, p. ej. `"El sampler «ddim»"`.

    Returns:
        La función con esas opciones.

    Raises:
        ValueError: si no admite alguna.
    """
    admitted = options_of(function)
    unknown = [name for name in options if name not in admitted]
    if unknown:
        raise ValueError(
            f"{owner} no admite «{'», «'.join(unknown)}». Sus opciones: "
            f"{', '.join(admitted) or 'ninguna'}."
        )
    return partial(function, **options)
