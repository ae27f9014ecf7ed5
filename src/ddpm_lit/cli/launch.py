"""`--processes N`: la misma orden, en varios procesos que trabajan juntos."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch.multiprocessing.spawn import ProcessExitedException


INTERRUPTED = 130
"""El código de salida de lo que se interrumpe con Ctrl-C."""


def already_launched() -> bool:
    """Si este proceso es ya uno de los que trabajan juntos."""
    return "WORLD_SIZE" in os.environ


def launch(words: Sequence[str], count: int) -> int:
    """Ejecuta una orden en varios procesos y espera a que terminen.

    Solo habla el primero; de los demás se enseña lo que digan si acaban mal. Si uno muere, se
    detiene a los otros.

    Args:
        words: la orden, tal como la leerá cada proceso.
        count: cuántos procesos.

    Returns:
        El código de salida: 0, o el del primero que haya acabado mal.
    """
    from torch.multiprocessing.spawn import (
        ProcessExitedException,
        start_processes,
    )

    with tempfile.TemporaryDirectory() as folder:
        context = start_processes(  # type: ignore[no-untyped-call]
            _work,
            args=(count, _free_port(), list(words), folder),
            nprocs=count,
            join=False,
            start_method="spawn",
        )
        # Ctrl-C llega a todos: cada uno guarda lo suyo, y aquí se les espera.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while not context.join():
                pass
        except ProcessExitedException as error:
            return _explained(error, Path(folder))
        finally:
            signal.signal(signal.SIGINT, previous)
    return 0


def _work(
    index: int, count: int, port: int, words: list[str], folder: str
) -> None:
    from ddpm_lit.cli import main

    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if index == 0:
        main(words)
    said = Path(folder) / str(index)
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        said.open("w", encoding="utf-8") as file,
    ):
        sys.stdout, sys.stderr = nowhere, file
        try:
            main(words)
        except SystemExit as stop:
            # De que se ha interrumpido avisa el primero.
            if stop.code != INTERRUPTED:
                raise


def _explained(error: "ProcessExitedException", folder: Path) -> int:
    index, code = error.error_index, error.exit_code
    if error.signal_name is not None:
        click.echo(
            f"Error: el proceso {index} ha muerto con la señal {error.signal_name} y se ha "
            "detenido a los demás. Lo guardado no se pierde: la misma orden sigue desde el último "
            "checkpoint.",
            err=True,
        )
        return 1
    said = folder / str(index)
    if said.is_file():
        click.echo(said.read_text(encoding="utf-8"), err=True, nl=False)
    return int(code)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
