"""`ddpm-lit export`: un modelo entrenado, para otros programas."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_lit.cli.options import ending_in, open_model

if TYPE_CHECKING:
    from ddpm_lit.models.trained import Trained


def _destination(
    ctx: click.Context, parameter: click.Parameter, value: str
) -> Path:
    """Un fichero `.onnx` que se podrá escribir, o una carpeta, según el formato."""
    if ctx.params.get("kind") == "onnx":
        ending_in(".onnx")(ctx, parameter, value)
    return Path(value).expanduser()


@click.command(
    "export",
    short_help="Guarda un modelo para otros programas.",
    options_metavar="[OPCIONES]",
)
@click.argument("model", metavar="MODELO")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["diffusers", "onnx"]),
    required=True,
    is_eager=True,
    help="diffusers: una carpeta que abre DDPMPipeline. onnx: un fichero que se ejecuta sin "
    "PyTorch, también en el navegador; guarda cualquier red.",
)
@click.option(
    "--out",
    metavar="CARPETA|ONNX",
    required=True,
    callback=_destination,
    help="Dónde: una carpeta nueva, o un fichero .onnx.",
)
@click.option(
    "--half",
    is_flag=True,
    help="Los pesos en float16: la mitad de espacio. Las cuentas siguen en float32.",
)
def export_command(model: str, kind: str, out: Path, half: bool) -> None:
    """Guarda un MODELO para otros programas: diffusers u onnxruntime.

    Lo que diffusers no puede representar (texto, parches…) se rechaza diciendo qué es. Una
    carpeta exportada se abre aquí otra vez, con su receta.

    \b
    Ejemplos:
      ddpm-lit export runs/digits --format diffusers --out digits-diffusers
      ddpm-lit export openmoji-texto --format onnx --half --out emoji.onnx
    """
    trained = open_model(model)
    if kind == "onnx":
        _export_onnx(trained, out, half)
    else:
        _export_diffusers(trained, out, half)


def _export_diffusers(trained: "Trained", folder: Path, half: bool) -> None:
    from ddpm_lit.models.export import export_diffusers

    export_diffusers(trained, folder, half=half)
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    click.echo(f"{folder}: {len(files)} ficheros, {size / 1e6:.1f} MB.")
    if trained.num_classes is None:
        click.echo(f'Para abrirla: DDPMPipeline.from_pretrained("{folder}")')
    else:
        click.echo(
            "DDPMPipeline no sabe pedir clases: usa UNet2DModel, con class_labels de 0 a "
            f"{trained.num_classes - 1} ({trained.num_classes}, sin clase), y DDPMScheduler."
        )


def _export_onnx(trained: "Trained", path: Path, half: bool) -> None:
    from ddpm_lit.models.export import example_inputs, export_onnx

    difference = export_onnx(trained, path, half=half)
    inputs = ", ".join(example_inputs(trained, 1))
    click.echo(
        f"{path}: {os.path.getsize(path) / 1e6:.1f} MB; entradas: {inputs}; salida: output."
    )
    click.echo(
        f"Comprobado con onnxruntime: la mayor diferencia es {difference:.1e}."
    )
