"""La línea de órdenes `ddpm-lit`: entrenar, generar, medir, exportar, consultar y practicar.

Nada de lo que hay aquí hace cuentas: cada orden lee sus opciones, llama al paquete y
cuenta lo que ha pasado. PyTorch se importa cuando una orden lo necesita, para que la
ayuda salga al momento.

| código de salida | significado |
| --- | --- |
| 0 | todo ha ido bien |
| 1 | algo ha fallado; el porqué está en una línea, «Error: …» |
| 2 | la orden está mal escrita |
| 130 | se ha interrumpido con Ctrl-C |
"""

import io
import sys
from collections.abc import Sequence

import click

from ddpm_lit import __version__
from ddpm_lit.cli.evaluate import evaluate_command
from ddpm_lit.cli.exercise import exercise_command
from ddpm_lit.cli.export import export_command
from ddpm_lit.cli.info import info_command
from ddpm_lit.cli.launch import INTERRUPTED, first_speaks
from ddpm_lit.cli.sample import sample_command
from ddpm_lit.cli.spanish import explain, in_spanish, plain_warnings
from ddpm_lit.cli.train import train_command

__all__ = ["main"]


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
    },
    options_metavar="[OPCIONES]",
    subcommand_metavar="ORDEN [ARGUMENTOS]...",
)
@click.option(
    "--traceback",
    is_flag=True,
    help="Si algo falla, enseña también en qué línea del programa ha sido.",
)
@click.version_option(
    __version__,
    message="ddpm-lit %(version)s",
    help="Enseña la versión y termina.",
)
def ddpm_lit(traceback: bool) -> None:
    """Modelos de difusión (DDPM): se entrenan, generan muestras, se miden, exportan y consultan.

    \b
    Para empezar:
      ddpm-lit info
      ddpm-lit train swiss-roll
      ddpm-lit sample runs/swiss-roll --animation espiral.gif
    """


ddpm_lit.add_command(train_command)
ddpm_lit.add_command(sample_command)
ddpm_lit.add_command(evaluate_command)
ddpm_lit.add_command(export_command)
ddpm_lit.add_command(info_command)
ddpm_lit.add_command(exercise_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ejecuta `ddpm-lit` y termina el proceso con su código de salida.

    Args:
        arguments: los argumentos, sin el nombre del programa; `None` los toma de la
            línea de órdenes.

    Raises:
        SystemExit: siempre, con uno de los códigos de la tabla de arriba.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Un terminal sin UTF-8 no conoce la ε: mejor un «?» que un fallo.
            stream.reconfigure(errors="replace")
    with in_spanish(), plain_warnings(), first_speaks():
        sys.exit(_run(words))


def _run(words: list[str]) -> int:
    try:
        code = ddpm_lit.main(
            words, prog_name="ddpm-lit", standalone_mode=False, obj=words
        )
        return code if isinstance(code, int) else 0
    except click.Abort as abort:
        click.echo(str(abort.__cause__ or "") or "Interrumpido.", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        message = explain(error)
        if message is None or "--traceback" in words[:1]:
            raise
        click.echo(f"Error: {message}", err=True)
        return 1
