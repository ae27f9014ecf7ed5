"""`--processes N`: la misma orden, en varios procesos que trabajan juntos."""

import io
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import (
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_lit.machine.ahead import cores

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

INTERRUPTED = 130
"""El código de salida de lo que se interrumpe con Ctrl-C."""

STOPPED = "interrumpido"
"""El fichero con que se avisa de Ctrl-C a los procesos que aún no lo atienden."""

GRACE = 10
"""Cuántos segundos se espera, después de Ctrl-C, a que salga cada uno."""


def already_launched() -> bool:
    """Si este proceso es ya uno de los que trabajan juntos."""
    return "WORLD_SIZE" in os.environ


def share(
    count: int,
    remedy: str = "Ningún fichero queda a medias: repite la orden.",
    *,
    without: Sequence[str] = (),
) -> None:
    """Ejecuta la orden en curso en varios procesos, si se piden, y termina con su código.

    Vuelve sin hacer nada si se pide uno, o si este proceso es ya uno de ellos.

    Args:
        count: cuántos procesos.
        remedy: si muere uno, en qué queda lo hecho y cómo se sigue.
        without: palabras de la orden que no les llegan.
    """
    if count == 1 or already_launched():
        return
    context = click.get_current_context()
    words = [word for word in context.obj if word not in without]
    context.exit(launch(words, count, remedy))


@contextmanager
def first_speaks() -> Iterator[None]:
    """Mientras dura, si hay varios procesos, en la salida estándar solo escribe el primero."""
    if not already_launched() or os.environ.get("RANK", "0") == "0":
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
    ):
        yield


def launch(words: Sequence[str], count: int, remedy: str) -> int:
    """Ejecuta una orden en varios procesos y espera a que terminen.

    Solo habla el primero; de los demás se enseña lo que digan si acaban mal y él no ha dicho nada.
    Si uno muere, se detiene a los otros.

    Args:
        words: la orden, tal como la leerá cada proceso.
        count: cuántos procesos.
        remedy: si muere uno, en qué queda lo hecho y cómo se sigue.

    Returns:
        El código de salida: 0, o el del primero que haya acabado mal.
    """
    from torch.multiprocessing.spawn import (
        ProcessExitedException,
        ProcessRaisedException,
        start_processes,
    )

    # De que se detiene a los demás avisa `_reason`.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stopped = folder / STOPPED
        try:
            # Al nacer no atienden Ctrl-C; después llega a todos, y cada uno guarda lo suyo.
            context = start_processes(  # type: ignore[no-untyped-call]
                _work,
                args=(count, _free_port(), list(words), folder),
                nprocs=count,
                join=False,
                start_method="spawn",
            )
            signal.signal(signal.SIGINT, lambda *_: stopped.touch())
            while not context.join():
                if stopped.is_file():
                    _stop_waiting(context.processes)
        except (ProcessExitedException, ProcessRaisedException) as error:
            if stopped.is_file():
                if not (folder / "0").is_file():
                    click.echo("Interrumpido.", err=True)
                return INTERRUPTED
            codes = [process.exitcode for process in context.processes]
            code = _reason(codes, error.error_index, folder, remedy)
            if code is None:
                raise
            return code
        finally:
            signal.signal(signal.SIGINT, previous)
    return 0


def _stop_waiting(processes: Sequence["BaseProcess"]) -> None:
    """Cuando uno ha salido por Ctrl-C, detiene a los que no salen: puede que aún lo esperen."""
    for process in processes:
        process.join(GRACE)
        process.terminate()


def _work(
    index: int, count: int, port: int, words: list[str], folder: Path
) -> None:
    from tqdm import tqdm

    from ddpm_lit.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if (folder / STOPPED).is_file():
        sys.exit(INTERRUPTED)
    # El cerrojo de tqdm entre procesos se quedaría sin cerrar si este muriera; aquí no hace falta.
    tqdm.set_lock(threading.RLock())
    _take_cores(count)
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    heard = io.StringIO()
    try:
        with redirect_stderr(heard) if index else nullcontext():
            main(words)
    except SystemExit as stop:
        # De que se ha interrumpido avisa el primero.
        if index and stop.code == INTERRUPTED:
            return
        if stop.code:
            said = folder / str(index)
            said.write_text(heard.getvalue(), encoding="utf-8")
        raise


def _take_cores(count: int) -> None:
    """Si no se ha dicho cuántos hilos, cada proceso usa su parte de los núcleos."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() // count)
        torch.set_num_threads(threads)
        # Y que `accelerate` no decida otra cosa.
        os.environ["OMP_NUM_THREADS"] = str(threads)


def _reason(
    codes: list[int], failed: int, folder: Path, remedy: str
) -> int | None:
    """Dice por qué ha acabado mal la orden y da su código; `None` si nadie lo ha explicado.

    Al que falla lo echan en falta los demás, que pueden fallar también antes de que les llegue el
    SIGTERM con que se les detiene.
    """
    for index, code in enumerate(codes):
        if code < 0 and (index == failed or -code != signal.SIGTERM):
            name = signal.Signals(-code).name
            click.echo(
                f"Error: el proceso {index} ha muerto con la señal {name} y se ha detenido a los "
                f"demás. {remedy}",
                err=True,
            )
            return 1
    # Del primero no hay que repetir nada: lo suyo ya se ha visto.
    for index, code in enumerate(codes):
        said = folder / str(index)
        if said.is_file():
            click.echo(said.read_text(encoding="utf-8"), err=True, nl=False)
            return max(code, 1)
    return None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
