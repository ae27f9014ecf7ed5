"""Copiar un ejercicio y ejecutar y corregir lo que ha escrito el lector."""

import _thread
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ddpm_lit.exercises.checking import MistakeError
from ddpm_lit.exercises.table import EXERCISES, Exercise

SECONDS = 20.0
"""Cuánto se espera a que la función del lector termine; las buenas no tardan ni uno."""


def start_text(name: str) -> str:
    """El fichero de partida de un ejercicio.

    Args:
        name: un nombre de `EXERCISES`.
    """
    start = resources.files("ddpm_lit.exercises") / "starts" / f"{name}.py"
    return start.read_text(encoding="utf-8")


def copy_start(name: str, folder: Path) -> Path | None:
    """Deja en una carpeta el fichero de partida de un ejercicio; si ya hay uno, no lo toca.

    Args:
        name: un nombre de `EXERCISES`.
        folder: la carpeta.

    Returns:
        El fichero que se ha escrito, o `None` si ya estaba.

    Raises:
        OSError: si en la carpeta no se puede escribir.
    """
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(start_text(name))
    except FileExistsError:
        return None
    return path


def correct(name: str, path: Path, seconds: float = SECONDS) -> list[str]:
    """Ejecuta el fichero del lector y pone a prueba su función.

    Se ejecuta en este mismo proceso, como cualquier fichero de Python.

    Args:
        name: un nombre de `EXERCISES`.
        path: el fichero del lector.
        seconds: cuánto se espera a que termine.

    Returns:
        Lo que está mal, en líneas; ninguna si está todo bien.

    Raises:
        OSError: si el fichero no se puede leer.
    """
    exercise = EXERCISES[name]
    source = path.read_bytes()
    random = torch.get_rng_state()
    try:
        with _time_limit(seconds) as late:
            exercise.check(_on_copies(_function(exercise, path, source)))
    except MistakeError as mistake:
        return list(mistake.lines)
    except KeyboardInterrupt as error:
        if not late.is_set():
            raise
        where = _line_of(error, path)
        return [
            f"A los {seconds:.0f} segundos no había terminado. {where}",
            "Pista:   ¿hay un bucle que no acaba?",
        ]
    except (Exception, SystemExit) as error:
        if isinstance(error, NotImplementedError) and not error.args:
            return [
                f"{exercise.function} está sin hacer: su código va en el lugar del «raise "
                "NotImplementedError»."
            ]
        said = "".join(traceback.format_exception_only(error)).strip()
        return [f"Ha fallado: {said.splitlines()[-1]}", _line_of(error, path)]
    finally:
        torch.set_rng_state(random)
    return []


def _function(
    exercise: Exercise, path: Path, source: bytes
) -> Callable[..., Any]:
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(source, str(path), "exec"), module.__dict__)
    function = getattr(module, exercise.function, None)
    if not callable(function):
        raise MistakeError(
            f"En «{path.name}» no hay ninguna función que se llame {exercise.function}.",
            "Pista:   el nombre y los argumentos, como en el fichero de partida.",
        )
    return cast(Callable[..., Any], function)


def _on_copies(function: Callable[..., Any]) -> Callable[..., Any]:
    """La función, a la que no se le dan los tensores con que se la juzga, sino otros iguales."""

    def call(*arguments: Any) -> Any:
        copies = [
            each.clone() if isinstance(each, Tensor) else each
            for each in arguments
        ]
        return function(*copies)

    return call


@contextmanager
def _time_limit(seconds: float) -> Iterator[threading.Event]:
    """Interrumpe este hilo, como Ctrl-C, si lo de dentro tarda demasiado."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _line_of(error: BaseException, path: Path) -> str:
    """La línea del fichero del lector en que estaba, la más honda."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        number, text = error.lineno or 1, error.text or ""
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            return "No ha sido dentro de la función: ¿tiene los argumentos del fichero de partida?"
        number, text = own[-1].lineno or 1, own[-1].line or ""
    return f"Línea {number}:  {text.strip()}"
