"""El español de la línea de órdenes: las palabras de click, los números y los errores.

Las frases propias de click se traducen con gettext, desde el catálogo
`locale/es/LC_MESSAGES/ddpm_lit.po` de este paquete. Para cambiarlo se edita el `.po` y se
vuelve a compilar:

    pybabel compile -d src/ddpm_lit/locale -D ddpm_lit
"""

import errno
import gettext
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCALE = Path(__file__).parent.parent / "locale"
DOMAIN = "ddpm_lit"

_REASONS = {
    errno.EACCES: "no hay permiso",
    errno.EPERM: "no hay permiso",
    errno.EROFS: "ese disco es de solo lectura",
    errno.ENOSPC: "no queda espacio en el disco",
    errno.EISDIR: "es una carpeta y se esperaba un fichero",
    errno.ENOTDIR: "parte de la ruta es un fichero y se esperaba una carpeta",
    errno.EEXIST: "ya hay un fichero con ese nombre y se esperaba una carpeta",
    errno.ENOENT: "no existe",
    errno.ENAMETOOLONG: "el nombre es demasiado largo",
}


@contextmanager
def in_spanish() -> Iterator[None]:
    """Mientras dura, gettext (y con él click) habla español, sea cual sea el del sistema."""
    domain, language = gettext.textdomain(), os.environ.get("LANGUAGE")
    gettext.bindtextdomain(DOMAIN, str(LOCALE))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = "es"
    try:
        yield
    finally:
        gettext.textdomain(domain)
        del os.environ["LANGUAGE"]
        if language is not None:
            os.environ["LANGUAGE"] = language


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Mientras dura, un aviso se escribe en una línea, «Aviso: …», sin más señas."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"Aviso: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def explain(error: Exception) -> str | None:
    """Un error, en una línea para quien usa el programa; `None` si es un fallo del programa."""
    if isinstance(error, OSError) and error.errno is not None:
        reason = _REASONS.get(error.errno, error.strerror)
        return f"No se puede usar «{error.filename}»: {reason}."
    if type(error).__name__ == "OutOfMemoryError" or isinstance(
        error, MemoryError
    ):
        return (
            "No cabe en la memoria. Prueba con un lote menor (--batch-size al generar, "
            "--set training.batch_size=… al entrenar) o con otro dispositivo (--device cpu)."
        )
    expected = (ValueError, TypeError, OSError, ImportError, FloatingPointError)
    return " ".join(str(error).split()) if isinstance(error, expected) else None


def integer(value: int) -> str:
    """Un entero con los millares separados: 35 746 307."""
    return f"{value:,}".replace(",", " ")


def place(device: object, processes: int) -> str:
    """Dónde se ha calculado: «cpu», «cuda, 8 procesos»."""
    return f"{device}, {processes} procesos" if processes > 1 else str(device)


def duration(seconds: float) -> str:
    """Un tiempo como lo diría una persona: «4.2 s», «3 min 20 s», «1 h 5 min»."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
