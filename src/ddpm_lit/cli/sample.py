"""`ddpm-lit sample`: generar muestras con un modelo entrenado."""

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_lit.cli.options import DEVICE_HELP, at_least, classes, ending_in, find_weights
from ddpm_lit.cli.spanish import duration, integer

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ddpm_lit.checkpoints import Trained
    from ddpm_lit.sampling import SampleStep

IMAGES, POINTS = 16, 2000
FRAMES, FRAMES_PER_SECOND = 60, 20


@click.command(
    "sample", short_help="Genera muestras con un modelo entrenado.", options_metavar="[OPCIONES]"
)
@click.argument("model", metavar="MODELO")
@click.option(
    "-n",
    "count",
    metavar="N",
    type=at_least(1),
    help=f"Cuántas muestras; si no se dice, {IMAGES} imágenes o {POINTS} puntos.",
)
@click.option("--seed", metavar="N", type=at_least(0), default=0, help="Semilla del ruido.")
@click.option(
    "--class",
    "wanted",
    metavar="CLASES",
    multiple=True,
    callback=classes,
    help="Qué clase se pide: 3, 1,4,7 o 0-9; se puede repetir. Con varias se recorren por turno, "
    "y si no se dice, todas las que el modelo conoce.",
)
@click.option(
    "--steps",
    metavar="N",
    type=at_least(1),
    help="Pasos de la generación; si no se dice, los T del proceso.",
)
@click.option("--batch-size", metavar="N", type=at_least(1), default=128, help="Muestras a la vez.")
@click.option("--device", metavar="DISPOSITIVO", help=DEVICE_HELP)
@click.option(
    "--out",
    metavar="PNG",
    callback=ending_in(".png"),
    default="muestras.png",
    help="Imagen con las muestras.",
)
@click.option(
    "--animation",
    metavar="GIF|MP4",
    callback=ending_in(".gif", ".mp4"),
    help="Animación de cómo se va el ruido.",
)
@click.option(
    "--tensors",
    metavar="SAFETENSORS",
    callback=ending_in(".safetensors"),
    help="Las muestras como tensores, para seguir con ellas en otro programa.",
)
def sample_command(
    model: str,
    count: int | None,
    seed: int,
    wanted: list[int],
    steps: int | None,
    batch_size: int,
    device: str | None,
    out: Path,
    animation: Path | None,
    tensors: Path | None,
) -> None:
    """Genera muestras con un MODELO: un fichero .safetensors o la carpeta de un entrenamiento.

    La misma semilla da siempre las mismas muestras. Las imágenes pequeñas se amplían, sin
    suavizar, para que se vean.

    \b
    Ejemplos:
      ddpm-lit sample runs/digits-class --class 0-9 -n 100
      ddpm-lit sample runs/digits --animation digitos.gif --steps 100
    """
    from ddpm_lit.checkpoints import load_model
    from ddpm_lit.devices import choose_device
    from ddpm_lit.images import save_gif, save_mp4, save_png

    if animation is not None and animation.suffix.lower() == ".mp4":
        from ddpm_lit.data.extras import require

        require("imageio_ffmpeg", package="imageio-ffmpeg", extra="video", purpose="Guardar en MP4")
    where = choose_device(device)
    trained = load_model(find_weights(model), where)
    _check_drawable(trained)
    if not wanted and trained.num_classes is not None:
        wanted = list(range(trained.num_classes))
    total = count or _default_count(trained, len(wanted))
    labels = [wanted[index % len(wanted)] for index in range(total)] if wanted else None

    film = _Film(trained, seed, total, steps or len(trained.schedule))
    started = time.perf_counter()
    samples = trained.sample(
        total,
        seed=seed,
        class_labels=labels,
        device=where,
        steps=steps,
        batch_size=batch_size,
        callback=film.record if animation is not None else None,
        progress=sys.stderr.isatty(),
    )
    elapsed = time.perf_counter() - started
    columns = len(wanted) if len(wanted) > 1 else None
    save_png(_draw(samples, columns), out)
    click.echo(
        f"{out}: {integer(total)} muestras en {integer(film.steps)} pasos ({duration(elapsed)}, "
        f"{where})."
    )
    if animation is not None:
        save = save_gif if animation.suffix.lower() == ".gif" else save_mp4
        frames = [_draw(state, columns, size=384, limit=2.0) for state in film.states()]
        save(frames, animation, fps=FRAMES_PER_SECOND)
        click.echo(f"{animation}: {len(frames)} fotogramas, de x_T a x_0.")
    if tensors is not None:
        _save_tensors(tensors, samples, labels)
        click.echo(f"{tensors}: tensor «samples» de forma {tuple(samples.shape)}.")


def _check_drawable(trained: "Trained") -> None:
    shape = trained.shape
    if shape != (2,) and not (len(shape) == 3 and shape[0] in (1, 3)):
        raise ValueError(
            f"Las muestras de «{trained.recipe.name}» tienen forma {shape} y solo se dibujan "
            "imágenes (1 o 3, alto, ancho) y puntos (2,): genera desde Python con load_model."
        )


def _default_count(trained: "Trained", classes: int) -> int:
    if len(trained.shape) == 1:
        return POINTS
    return math.ceil(IMAGES / classes) * classes if classes else IMAGES


def _draw(
    samples: "Tensor", columns: int | None, *, size: int = 512, limit: float = 1.2
) -> "Image":
    from ddpm_lit.images import grid, points_image

    if samples.ndim == 2:
        return points_image(samples, size=size, limit=limit)
    return grid(samples, columns=columns)


class _Film:
    """Guarda los estados de una generación que saldrán en la animación, lote a lote."""

    def __init__(self, trained: "Trained", seed: int, total: int, steps: int) -> None:
        self.steps = steps
        self._noise = (seed, range(total), trained.shape)
        last = max(min(FRAMES, steps) - 1, 1)
        self._kept: dict[int, list[Tensor]] = {
            round(index * (steps - 1) / last): [] for index in reversed(range(last + 1))
        }

    def record(self, state: "SampleStep") -> None:
        if state.t in self._kept:
            self._kept[state.t].append(state.x_t.cpu())

    def states(self) -> "list[Tensor]":
        import torch

        from ddpm_lit.noise import sampling_noise

        return [next(sampling_noise(*self._noise)), *map(torch.cat, self._kept.values())]


def _save_tensors(path: Path, samples: "Tensor", labels: list[int] | None) -> None:
    import torch
    from safetensors.torch import save

    from ddpm_lit.checkpoints import write_atomically

    content = {"samples": samples.contiguous()}
    if labels is not None:
        content["class_labels"] = torch.tensor(labels)
    write_atomically(path, save(content))
