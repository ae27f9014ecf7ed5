"""Paquetes opcionales: se importan al usarse y, si faltan, el error dice cómo instalarlos."""

import importlib
from types import ModuleType


def require(
    module: str, *, package: str, extra: str, purpose: str
) -> ModuleType:
    """Importa un paquete opcional.

    Args:
        module: nombre del módulo que se importa.
        package: nombre del paquete en PyPI.
        extra: extra de `ddpm_lit` que lo instala.
        purpose: para qué hace falta; es el comienzo de la frase del error.

    Returns:
        El módulo.

    Raises:
        ModuleNotFoundError: si no está instalado.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Puede que esté y le falte otro.
        inside = error.name is None or module.startswith(error.name)
        missing = package if inside else error.name
        raise ModuleNotFoundError(
            f"{purpose} necesita el paquete «{missing}», que no está instalado. Instálalo con: "
            f"pip install {missing} (es parte del extra «{extra}» de ddpm_lit).",
            name=module,
        ) from error
