"""Un módulo diminuto, para probar la referencia."""


def sumar(a: int, b: int) -> int:
    """La suma de dos números."""
    return a + b
