"""`ddpm-lit train`: entrenar una receta."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_lit.cli.info import expectation_lines
from ddpm_lit.cli.launch import already_launched, share
from ddpm_lit.cli.options import (
    DEVICE_HELP,
    at_least,
    default_profile,
    grouped,
    open_model,
    overrides,
)
from ddpm_lit.cli.spanish import duration, integer

if TYPE_CHECKING:
    from ddpm_lit.networks.ema import EMA
    from ddpm_lit.recipes.recipe import Recipe
    from ddpm_lit.runs.train import Consumer
    from ddpm_lit.training import TrainStep


@dataclass(frozen=True)
class Frequencies:
    """Cada cuántos pasos se dibuja, se guarda y se apunta."""

    sample_every: int
    checkpoint_every: int
    log_every: int


@dataclass(frozen=True)
class Variant:
    """Qué variante de la receta se entrena."""

    changes: dict[str, Any]
    profile: str | None


@dataclass(frozen=True)
class Start:
    """Desde dónde se empieza."""

    weights: str | None
    restart: bool


@click.command(
    "train", short_help="Entrena una receta.", options_metavar="[OPCIONES]"
)
@click.argument("recipe", metavar="RECETA")
@click.option(
    "--run-dir",
    metavar="CARPETA",
    type=click.Path(path_type=Path),
    help="Dónde se guarda todo; si no se dice, runs/NOMBRE.",
)
@grouped(
    "variant",
    Variant,
    click.option(
        "--set",
        "changes",
        metavar="NOMBRE=VALOR",
        multiple=True,
        callback=overrides,
        help="Cambia un valor de la receta, p. ej. training.steps=200; se puede repetir.",
    ),
    click.option(
        "--profile",
        type=click.Choice(["cpu", "gpu", "smoke"]),
        help="Variante de la receta; si no se dice, gpu si hay CUDA. smoke solo prueba el camino.",
    ),
)
@click.option("--device", metavar="DISPOSITIVO", help=DEVICE_HELP)
@click.option(
    "--processes",
    metavar="N",
    type=at_least(1),
    default=1,
    help="Reparte cada lote entre N procesos: en CUDA, uno por GPU.",
)
@grouped(
    "frequencies",
    Frequencies,
    click.option(
        "--sample-every",
        metavar="N",
        type=at_least(0),
        default=0,
        help="Dibuja una rejilla de muestras cada N pasos; 0, nunca.",
    ),
    click.option(
        "--checkpoint-every",
        metavar="N",
        type=at_least(1),
        default=200,
        help="Guarda un checkpoint cada N pasos.",
    ),
    click.option(
        "--log-every",
        metavar="N",
        type=at_least(1),
        default=20,
        help="Apunta la pérdida cada N pasos.",
    ),
)
@grouped(
    "start",
    Start,
    click.option(
        "--weights",
        metavar="MODELO",
        help="Parte de los pesos de otro modelo con la misma red: uno que ya viene, un fichero, "
        "una carpeta o el id de uno de diffusers.",
    ),
    click.option(
        "--restart",
        is_flag=True,
        help="Empieza de cero: borra el checkpoint que haya en la carpeta.",
    ),
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Escribe también registros de TensorBoard.",
)
def train_command(
    recipe: str,
    run_dir: Path | None,
    variant: Variant,
    device: str | None,
    processes: int,
    frequencies: Frequencies,
    start: Start,
    tensorboard: bool,
) -> None:
    """Entrena una RECETA: el nombre de una del paquete o un fichero .toml.

    Si en la carpeta hay un checkpoint, continúa desde él. Con Ctrl-C se guarda uno antes
    de salir, y la misma orden sigue donde se quedó.

    \b
    Ejemplos:
      ddpm-lit train digits-class
      ddpm-lit train digits --set training.steps=200 --run-dir runs/prueba
      ddpm-lit train mi-receta.toml --device cuda --sample-every 500
      ddpm-lit train cifar10 --processes 8
    """
    from ddpm_lit.data import describe, summary
    from ddpm_lit.recipes.data import split_data, whole_data
    from ddpm_lit.recipes.reading import load_recipe
    from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL
    from ddpm_lit.runs.train import Every, train

    chosen = load_recipe(
        recipe,
        profile=variant.profile or default_profile(device),
        overrides=variant.changes,
    )
    plain = (
        chosen.name not in ("", "..") and Path(chosen.name).name == chosen.name
    )
    if run_dir is None and not plain:
        raise click.UsageError(
            f"La receta se llama «{chosen.name}», que no puede ser el nombre de una carpeta: di "
            "dónde se guarda con --run-dir."
        )
    folder = (run_dir or Path("runs") / chosen.name).expanduser()
    if processes > 1 and start.restart and not already_launched():
        _announce(folder / CHECKPOINT, start)
    share(
        processes,
        "Lo guardado no se pierde: la misma orden sigue desde el último checkpoint.",
        without=["--restart"],
    )
    click.echo(f"{chosen.name}: {chosen.description}")
    for line in expectation_lines(chosen):
        click.echo(line)
    # Antes de borrar nada: los pesos pueden ser los de este mismo checkpoint.
    weights = None if start.weights is None else open_model(start.weights)
    _announce(folder / CHECKPOINT, start)
    whole = whole_data(chosen)
    data, held_out = split_data(chosen, whole)
    apart = f", de los que se apartan {len(held_out)}" if held_out else ""
    click.echo(f"Datos: {summary(describe(whole))}{apart}.")
    visible = sys.stderr.isatty()
    every = Every(
        frequencies.log_every,
        frequencies.checkpoint_every,
        frequencies.sample_every,
    )
    trained = train(
        chosen,
        folder,
        dataset=data,
        weights=weights,
        device=device,
        every=every,
        tensorboard=tensorboard,
        progress=visible,
        consumers=() if visible else (_report(chosen, every.log),),
    )
    provenance = trained.provenance
    model = folder / MODEL
    click.echo(
        f"Modelo terminado en «{model}»: {integer(provenance['steps'])} pasos en "
        f"{duration(provenance['seconds'])} ({provenance['device']})."
    )
    click.echo(
        f"Para generar muestras:\n  ddpm-lit sample {shlex.quote(click.format_filename(model))}"
    )


def _announce(checkpoint: Path, start: Start) -> None:
    """Dice desde dónde se empieza, y borra el checkpoint si se ha pedido."""
    from ddpm_lit.models.storage import read_header

    if checkpoint.is_file() and start.restart:
        checkpoint.unlink()
        click.echo(f"Se empieza de cero: se ha borrado «{checkpoint}».")
    elif checkpoint.is_file() and start.weights is not None:
        raise click.UsageError(
            f"En «{checkpoint.parent}» ya hay un checkpoint y se continúa desde él, así que "
            "--weights no serviría de nada: quítalo, añade --restart para empezar de cero con "
            "esos pesos o entrena en otra carpeta (--run-dir)."
        )
    elif checkpoint.is_file():
        done = read_header(checkpoint).step
        click.echo(
            f"Se reanuda desde «{checkpoint}», que lleva {integer(done)} pasos."
        )
    if start.weights is not None:
        click.echo(f"Se parte de los pesos de «{start.weights}».")


def _report(recipe: "Recipe", log_every: int) -> "Consumer":
    """Sin un terminal delante, una línea cada `log_every` pasos en lugar de la barra."""
    total = recipe.training.steps

    def report(done: int, state: "TrainStep", ema: "EMA") -> None:
        if done % log_every == 0 or done == total:
            loss = float(state.loss)
            click.echo(f"paso {done} de {total}: pérdida {loss:.4f}", err=True)

    return report
