"""Que dos procesos no preparen lo mismo a la vez."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Espera a que ningún otro proceso tenga este cerrojo, y lo tiene mientras dura el bloque.

    El sistema lo suelta si el proceso muere. En Windows no hace nada.

    Args:
        path: el fichero que hace de cerrojo; se crea si no existe.

    Raises:
        OSError: si no se puede crear.
    """
    with open(path, "ab") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
