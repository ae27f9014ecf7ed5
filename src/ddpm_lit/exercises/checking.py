"""Comparar lo que da la función del lector con lo que debe dar, y reconocer errores corrientes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Value = Tensor | float

SHOWN = 6
"""Cuántos números se enseñan de un tensor."""

SHAPE = (
    "la forma del resultado es la que dice el fichero de partida: ¿hay una dimensión que falta, "
    "que sobra o que se ha repetido?"
)


class MistakeError(Exception):
    """Lo que la función del lector hace mal: las líneas que se le dicen."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def expect(
    asked: str,
    found: Any,
    right: Value,
    mistakes: Mapping[str, Value] | None = None,
    *,
    shape: str = SHAPE,
    tolerance: float = 1e-4,
) -> None:
    """Comprueba un resultado del lector.

    Args:
        asked: qué se le ha pedido, p. ej. `"x_t, con x_0 = 0.5 y t = 500"`.
        found: lo que ha dado.
        right: lo que debía dar: un tensor o un número.
        mistakes: las pistas y, para cada una, lo que da quien comete ese error.
        shape: la pista de quien lo da con otra forma.
        tolerance: el error relativo que se admite; el absoluto es cien veces menor.

    Raises:
        MistakeError: si no es lo que debía.
    """
    expected = torch.as_tensor(right)
    if not isinstance(found, Tensor | float | int):
        hint = "¿Falta el return?" if found is None else ""
        kind = "un tensor" if expected.ndim else "un número"
        raise _mistake(asked, _name(found), kind, hint)
    given = torch.as_tensor(found).detach()
    if given.shape != expected.shape:
        raise _mistake(
            asked,
            f"un tensor de forma {tuple(given.shape)}",
            f"uno de forma {tuple(expected.shape)}",
            shape,
        )
    if _same(given, expected, tolerance):
        return
    for hint, wrong in (mistakes or {}).items():
        if _same(given, torch.as_tensor(wrong), tolerance):
            raise _mistake(asked, _shown(given), _shown(expected), hint)
    raise _mistake(asked, _shown(given), _shown(expected), _general(given))


def two(asked: str, found: Any) -> tuple[Any, Any]:
    """Los dos resultados de una función que da dos.

    Raises:
        MistakeError: si no son dos.
    """
    if not isinstance(found, tuple) or len(found) != 2:
        raise _mistake(asked, _name(found), "dos cosas: return a, b", "")
    return found


def require(
    right: bool, asked: str, found: str, expected: str, hint: str
) -> None:
    """Comprueba algo que no es un número: qué se le ha dado a la red, cuántas veces…

    Args:
        right: si es como debe.
        asked: qué se mira.
        found: lo que ha pasado.
        expected: lo que debía pasar.
        hint: la pista.

    Raises:
        MistakeError: si no es como debe.
    """
    if not right:
        raise _mistake(asked, found, expected, hint)


def _mistake(asked: str, found: str, expected: str, hint: str) -> MistakeError:
    lines = [
        f"Se pide: {asked}.",
        f"Sale:    {found}",
        f"Debe:    {expected}",
    ]
    return MistakeError(*lines, *([f"Pista:   {hint}"] if hint else []))


def _same(given: Tensor, expected: Tensor, tolerance: float) -> bool:
    return given.shape == expected.shape and torch.allclose(
        given.double(),
        expected.double(),
        rtol=tolerance,
        atol=tolerance / 100,
        equal_nan=True,
    )


def _general(given: Tensor) -> str:
    """La pista de lo que no se reconoce."""
    if not bool(given.double().isfinite().all()):
        return "Hay números que no son finitos: ¿se divide entre 0, o se hace el logaritmo de 0?"
    return ""


def _shown(value: Tensor) -> str:
    numbers = [f"{number:.5g}" for number in value.flatten()[:SHOWN].tolist()]
    if value.ndim == 0:
        return numbers[0]
    more = ", …" if value.numel() > SHOWN else ""
    return f"[{', '.join(numbers)}{more}]"


def _name(value: Any) -> str:
    return "None" if value is None else f"algo de tipo {type(value).__name__}"
