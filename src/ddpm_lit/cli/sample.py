"""`ddpm-lit sample`: generar muestras con un modelo entrenado."""

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_lit.cli.options import (
    DEVICE_HELP,
    FEW_STEPS,
    at_least,
    check_generation,
    classes,
    ending_in,
    generation_arguments,
    generation_options,
    number,
    open_model,
)
from ddpm_lit.cli.spanish import duration, integer

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ddpm_lit.files.images import Picture
    from ddpm_lit.models.storage import Trained
    from ddpm_lit.sampling import SampleStep

IMAGES, POINTS = 16, 2000
FRAMES, FRAMES_PER_SECOND = 60, 20
STRENGTH, JUMP, RESAMPLINGS = 0.6, 5, 5


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
    "--text",
    "texts",
    metavar="FRASE",
    multiple=True,
    help="Qué se pide a un modelo que lee texto; se puede repetir, y con varias se recorren por "
    "turno.",
)
@click.option(
    "--image",
    "source",
    metavar="IMAGEN",
    help="De qué imagen parte un modelo que la necesita, como los que amplían o colorean.",
)
@generation_options
@click.option(
    "--inpaint",
    metavar="IMAGEN",
    help="Rellena el hueco de una imagen: lo que diga --mask o, sin ella, sus píxeles "
    "transparentes.",
)
@click.option(
    "--mask",
    metavar="IMAGEN",
    help="El hueco de --inpaint: en blanco lo que se rellena, en negro lo que se queda.",
)
@click.option(
    "--jump",
    metavar="N",
    type=at_least(1),
    help=f"Al rellenar, cuántos pasos se desandan cada vez; si no se dice, {JUMP}.",
)
@click.option(
    "--resamplings",
    metavar="N",
    type=at_least(1),
    help=f"Al rellenar, cuántas veces se da cada tramo; si no se dice, {RESAMPLINGS}. Con 1 no se "
    "desanda nada: es más rápido y casa peor.",
)
@click.option("--from-image", metavar="IMAGEN", help="Rehace una imagen a partir de ella.")
@click.option(
    "--strength",
    metavar="F",
    type=number(0, 1),
    help="Cuánto se rehace de --from-image, de 0 (casi nada) a 1 (todo); si no se dice, "
    f"{STRENGTH}.",
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
    texts: tuple[str, ...],
    source: str | None,
    guidance: float | None,
    guidance_rescale: float | None,
    sampler: str,
    steps: int | None,
    eta: float | None,
    spacing: str,
    inpaint: str | None,
    mask: str | None,
    jump: int | None,
    resamplings: int | None,
    from_image: str | None,
    strength: float | None,
    batch_size: int,
    device: str | None,
    out: Path,
    animation: Path | None,
    tensors: Path | None,
) -> None:
    """Genera muestras con un MODELO: el nombre de uno que ya viene entrenado (ddpm-lit info los
    enseña), un fichero .safetensors o la carpeta de un entrenamiento.

    La misma semilla da siempre las mismas muestras. Las imágenes pequeñas se amplían, sin
    suavizar, para que se vean.

    \b
    Ejemplos:
      ddpm-lit sample runs/digits-class --class 0-9 -n 100
      ddpm-lit sample runs/digits-class --class 3 --guidance 2 --sampler ddim
      ddpm-lit sample runs/digits --animation digitos.gif --steps 100
      ddpm-lit sample runs/digits --inpaint roto.png --mask hueco.png --steps 50
      ddpm-lit sample runs/digits --from-image boceto.png --strength 0.5
    """
    from ddpm_lit.files.images import save_gif, save_mp4, save_png
    from ddpm_lit.machine.devices import choose_device

    check_generation(guidance, guidance_rescale, sampler, eta)
    _check_editing(inpaint, mask, jump, resamplings, from_image, strength)
    if animation is not None and animation.suffix.lower() == ".mp4":
        from ddpm_lit.machine.extras import require

        require("imageio_ffmpeg", package="imageio-ffmpeg", extra="video", purpose="Guardar en MP4")
    where = choose_device(device)
    trained = open_model(model, where)
    _check_drawable(trained)
    if inpaint is not None and steps is None:
        steps = min(FEW_STEPS, len(trained.schedule))
    arguments = generation_arguments(
        trained, guidance, guidance_rescale, sampler, steps, eta, spacing
    )
    _check_conditions(trained, texts, source, guidance)
    if inpaint is not None:
        arguments |= _hole(trained, inpaint, mask)
        arguments["jump"] = jump or max(1, min(JUMP, arguments["steps"] - 1))
        arguments["resamplings"] = resamplings or RESAMPLINGS
    if from_image is not None:
        arguments["initial"] = _read(trained, from_image, "--from-image").x
        arguments["strength"] = STRENGTH if strength is None else strength

    if not wanted and trained.num_classes is not None:
        wanted = list(range(trained.num_classes))
    turns = max(len(wanted), len(texts))
    total = count or _default_count(trained, turns)
    labels = _in_turn(wanted, total)
    if source is not None:
        image = _condition_image(trained, source)
        arguments["image"] = image.expand(total, *image.shape[1:])
    film = _Film(trained, seed, total, batch_size, arguments)
    started = time.perf_counter()
    samples = trained.sample(
        total,
        seed=seed,
        class_labels=labels,
        text=_in_turn(texts, total),
        device=where,
        batch_size=batch_size,
        callback=film.record if animation is not None else None,
        progress=sys.stderr.isatty(),
        **arguments,
    )
    elapsed = time.perf_counter() - started
    columns = turns if turns > 1 else None
    save_png(_draw(samples, columns), out)
    click.echo(
        f"{out}: {integer(total)} muestras en {integer(film.steps)} pasos ({duration(elapsed)}, "
        f"{where})."
    )
    if animation is not None:
        save = save_gif if animation.suffix.lower() == ".gif" else save_mp4
        frames = [_draw(state, columns, size=384, limit=2.0) for state in film.states()]
        save(frames, animation, fps=FRAMES_PER_SECOND)
        click.echo(f"{animation}: {len(frames)} fotogramas, de {film.start} a x_0.")
    if tensors is not None:
        _save_tensors(tensors, samples, labels)
        click.echo(f"{tensors}: tensor «samples» de forma {tuple(samples.shape)}.")


def _check_editing(
    inpaint: str | None,
    mask: str | None,
    jump: int | None,
    resamplings: int | None,
    from_image: str | None,
    strength: float | None,
) -> None:
    alone = {"--mask": mask, "--jump": jump, "--resamplings": resamplings}
    for name, value in alone.items():
        if value is not None and inpaint is None:
            raise click.UsageError(f"{name} solo sirve para rellenar una imagen: añade --inpaint.")
    if strength is not None and from_image is None:
        raise click.UsageError("--strength dice cuánto rehacer de una imagen: añade --from-image.")


def _check_drawable(trained: "Trained") -> None:
    shape = trained.shape
    if shape != (2,) and not (len(shape) == 3 and shape[0] in (1, 3)):
        raise ValueError(
            f"Las muestras de «{trained.recipe.name}» tienen forma {shape} y solo se dibujan "
            "imágenes (1 o 3, alto, ancho) y puntos (2,): genera desde Python con load_model."
        )


def _check_conditions(
    trained: "Trained", texts: Sequence[str], source: str | None, guidance: float | None
) -> None:
    """Rechaza lo que el modelo no sabe atender; lo demás lo comprueba `Trained.sample`."""
    name, options = trained.recipe.name, trained.recipe.model.options
    if source is not None and not options.get("condition_channels"):
        raise ValueError(
            f"El modelo «{name}» no parte de ninguna imagen: quita --image. Para rehacer una, usa "
            "--from-image."
        )
    if source is None and options.get("condition_channels"):
        raise ValueError(f"El modelo «{name}» parte de una imagen: dásela con --image.")
    if options.get("vocabulary") and not texts:
        if trained.recipe.training.condition_dropout == 0:
            raise ValueError(f"El modelo «{name}» dibuja lo que lee: dile qué con --text.")
        if guidance:
            raise ValueError(
                f"No hay nada hacia lo que guiar al modelo «{name}»: dile qué dibujar con --text, "
                "o quita --guidance."
            )


def _condition_image(trained: "Trained", source: str) -> "Tensor":
    """La condición que sale de una imagen, preparada como en el entrenamiento, (1, C, H, W)."""
    from ddpm_lit.data import Dataset
    from ddpm_lit.data.conditions import conditioned

    asked = trained.recipe.data.conditions
    wanted = {name: value for name, value in asked.items() if name in ("image", "factor")}
    picture = Dataset(_read(trained, source, "--image").x[None])
    return conditioned(picture, wanted).conditions.get("image", picture.x)


def _read(trained: "Trained", path: str, option: str) -> "Picture":
    """Lee una imagen al tamaño del modelo, y dice lo que ha hecho con ella."""
    from ddpm_lit.files.images import load_picture

    if len(trained.shape) != 3:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» genera puntos, no imágenes: quita {option}."
        )
    picture = load_picture(path, trained.shape)
    width, height = picture.size
    channels, rows, columns = trained.shape
    if (height, width) != (rows, columns):
        cropped = "" if width * rows == height * columns else "se recorta el centro y "
        click.echo(
            f"«{path}» mide {width}×{height}: {cropped}se lleva a {columns}×{rows}, el tamaño del "
            "modelo.",
            err=True,
        )
    if channels == 1 and picture.colored:
        click.echo(f"«{path}» está en color y el modelo es de grises: se pasa a gris.", err=True)
    return picture


def _hole(trained: "Trained", inpaint: str, mask: str | None) -> "dict[str, Tensor]":
    """Lo que se conoce de una imagen con un hueco, como lo pide `sampling.sample`."""
    from ddpm_lit.files.images import load_mask

    picture = _read(trained, inpaint, "--inpaint")
    hole = picture.hole if mask is None else load_mask(mask, trained.shape, picture.size)
    if not hole.any():
        where = (
            "no tiene píxeles transparentes: dile qué rellenar con --mask."
            if mask is None
            else f"no tiene hueco: la máscara «{mask}» no tiene nada en blanco."
        )
        raise ValueError(f"«{inpaint}» {where}")
    if hole.all():
        raise ValueError(
            f"El hueco de «{inpaint}» es la imagen entera, y no queda nada a lo que ajustarse: "
            "genera sin --inpaint."
        )
    return {"known": picture.x, "mask": (~hole).float().expand(trained.shape)}


def _default_count(trained: "Trained", turns: int) -> int:
    if len(trained.shape) == 1:
        return POINTS
    return math.ceil(IMAGES / turns) * turns if turns else IMAGES


def _in_turn(values: Sequence[Any], total: int) -> list[Any] | None:
    return [values[index % len(values)] for index in range(total)] if values else None


def _draw(
    samples: "Tensor", columns: int | None, *, size: int = 512, limit: float = 1.2
) -> "Image":
    from ddpm_lit.files.images import grid, points_image

    if samples.ndim == 2:
        return points_image(samples, size=size, limit=limit)
    return grid(samples, columns=columns)


class _Film:
    """Guarda los estados de una generación que saldrán en la animación, lote a lote."""

    def __init__(
        self, trained: "Trained", seed: int, total: int, batch_size: int, arguments: dict[str, Any]
    ) -> None:
        from ddpm_lit.editing import noised_levels, repaint_path

        levels = arguments["steps"]
        if "initial" in arguments:
            levels = noised_levels(levels, arguments["strength"])
        jump, resamplings = arguments.get("jump", 1), arguments.get("resamplings", 1)
        self.steps = len(repaint_path(levels, jump, resamplings))
        self.start = "la imagen" if "initial" in arguments else "x_T"
        self._initial: Tensor | None = arguments.get("initial")
        self._noise = (seed, range(total), trained.shape)
        last = max(min(FRAMES, self.steps) - 1, 1)
        self._kept: dict[int, list[Tensor]] = {
            round(index * (self.steps - 1) / last): [] for index in range(last + 1)
        }
        self._seen = 0

    def record(self, state: "SampleStep") -> None:
        done = self._seen % self.steps
        if done in self._kept:
            self._kept[done].append(state.x_t.cpu())
        self._seen += 1

    def states(self) -> "list[Tensor]":
        import torch

        from ddpm_lit.noise import sampling_noise

        first = next(sampling_noise(*self._noise))
        if self._initial is not None:
            first = self._initial.expand_as(first)
        return [first, *map(torch.cat, self._kept.values())]


def _save_tensors(path: Path, samples: "Tensor", labels: list[int] | None) -> None:
    import torch
    from safetensors.torch import save

    from ddpm_lit.models.storage import write_atomically

    content = {"samples": samples.contiguous()}
    if labels is not None:
        content["class_labels"] = torch.tensor(labels)
    write_atomically(path, save(content))
