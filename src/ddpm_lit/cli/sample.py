"""`ddpm-lit sample`: generar muestras con un modelo entrenado."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_lit.cli.launch import share
from ddpm_lit.cli.options import (
    Amount,
    Generation,
    amount_options,
    at_least,
    classes,
    ending_in,
    generation_options,
    grouped,
    number,
    open_model,
)
from ddpm_lit.cli.spanish import duration, integer, place

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ddpm_lit.files.images import Picture
    from ddpm_lit.machine.processes import Processes
    from ddpm_lit.models.trained import Trained
    from ddpm_lit.recipes.recipe import SamplingConfig
    from ddpm_lit.sampling import Edit, SampleStep

IMAGES, POINTS = 16, 2000
FRAMES, FRAMES_PER_SECOND = 60, 20
STRENGTH, JUMP, RESAMPLINGS = 0.6, 5, 5
LABORATORY, MOST = ("openmoji-texto", "fashion-mnist"), 9
"""Los modelos que están también en el laboratorio del sitio, y cuántas muestras caben en él."""


@dataclass(frozen=True)
class Wanted:
    """Qué se le pide al modelo."""

    wanted: list[str]
    texts: tuple[str, ...]
    source: str | None


@dataclass(frozen=True)
class Editing:
    """Qué imagen se rellena o se rehace, y cuánto."""

    inpaint: str | None
    mask: str | None
    jump: int | None
    resamplings: int | None
    from_image: str | None
    strength: float | None

    @property
    def given(self) -> bool:
        """Si se edita alguna imagen."""
        return self.inpaint is not None or self.from_image is not None

    def __post_init__(self) -> None:
        alone = {
            "--mask": self.mask,
            "--jump": self.jump,
            "--resamplings": self.resamplings,
        }
        for name, value in alone.items():
            if value is not None and self.inpaint is None:
                raise click.UsageError(
                    f"{name} solo sirve para rellenar una imagen: añade --inpaint."
                )
        if self.strength is not None and self.from_image is None:
            raise click.UsageError(
                "--strength dice cuánto rehacer de una imagen: añade --from-image."
            )


@dataclass(frozen=True)
class Output:
    """Qué ficheros se escriben."""

    out: Path
    animation: Path | None
    tensors: Path | None


@click.command(
    "sample",
    short_help="Genera muestras con un modelo entrenado.",
    options_metavar="[OPCIONES]",
)
@click.argument("model", metavar="MODELO")
@amount_options(
    f"Cuántas muestras; si no se dice, {IMAGES} imágenes o {POINTS} puntos.",
    type=at_least(1),
)
@grouped(
    "wanted",
    Wanted,
    click.option(
        "--class",
        "wanted",
        metavar="CLASES",
        multiple=True,
        callback=classes,
        help="Qué clase se pide: 3, 1,4,7 o 0-9, o su nombre; se puede repetir. Con varias se "
        "recorren por turno, y si no se dice, todas las que el modelo conoce.",
    ),
    click.option(
        "--text",
        "texts",
        metavar="FRASE",
        multiple=True,
        help="Qué se pide a un modelo que lee texto; se puede repetir, y con varias se recorren "
        "por turno.",
    ),
    click.option(
        "--image",
        "source",
        metavar="IMAGEN",
        help="De qué imagen parte un modelo que la necesita, como los que amplían o colorean.",
    ),
)
@generation_options
@grouped(
    "editing",
    Editing,
    click.option(
        "--inpaint",
        metavar="IMAGEN",
        help="Rellena el hueco de una imagen: lo que diga --mask o, sin ella, sus píxeles "
        "transparentes.",
    ),
    click.option(
        "--mask",
        metavar="IMAGEN",
        help="El hueco de --inpaint: en blanco lo que se rellena, en negro lo que se queda.",
    ),
    click.option(
        "--jump",
        metavar="N",
        type=at_least(1),
        help=f"Al rellenar, cuántos pasos se desandan cada vez; si no se dice, {JUMP}.",
    ),
    click.option(
        "--resamplings",
        metavar="N",
        type=at_least(1),
        help=f"Al rellenar, cuántas veces se da cada tramo; si no se dice, {RESAMPLINGS}. Con 1 no "
        "se desanda nada: es más rápido y casa peor.",
    ),
    click.option(
        "--from-image",
        metavar="IMAGEN",
        help="Rehace una imagen a partir de ella.",
    ),
    click.option(
        "--strength",
        metavar="F",
        type=number(0, 1),
        help="Cuánto se rehace de --from-image, de 0 (casi nada) a 1 (todo); si no se dice, "
        f"{STRENGTH}.",
    ),
)
@grouped(
    "output",
    Output,
    click.option(
        "--out",
        metavar="PNG",
        callback=ending_in(".png"),
        default="muestras.png",
        help="Imagen con las muestras.",
    ),
    click.option(
        "--animation",
        metavar="GIF|MP4",
        callback=ending_in(".gif", ".mp4"),
        help="Animación de cómo se va el ruido.",
    ),
    click.option(
        "--tensors",
        metavar="SAFETENSORS",
        callback=ending_in(".safetensors"),
        help="Las muestras como tensores, para seguir con ellas en otro programa.",
    ),
)
def sample_command(
    model: str,
    amount: Amount,
    wanted: Wanted,
    generation: Generation,
    editing: Editing,
    output: Output,
) -> None:
    """Genera muestras con un MODELO: el nombre de uno que ya viene entrenado (ddpm-lit info los
    enseña), un fichero .safetensors, la carpeta de un entrenamiento, o la carpeta o el id del hub
    (usuario/nombre) de un modelo de diffusers.

    Cada modelo lleva dicho cómo se genera mejor con él; con --sampler ddpm se dan todos los pasos
    del artículo. La misma semilla da siempre las mismas muestras. Las imágenes pequeñas se
    amplían, sin suavizar, para que se vean.

    \b
    Ejemplos:
      ddpm-lit sample runs/digits-class --class 0-9 -n 100
      ddpm-lit sample runs/digits-class --class 3 --guidance 2 --sampler ddim
      ddpm-lit sample runs/digits --animation digitos.gif --sampler ddpm
      ddpm-lit sample runs/digits --inpaint roto.png --mask hueco.png --steps 50
      ddpm-lit sample runs/digits --from-image boceto.png --strength 0.5
    """
    from ddpm_lit.files.images import save_png
    from ddpm_lit.machine.processes import processes_for

    if output.animation is not None:
        _check_video(output.animation)
    if output.tensors is not None:
        _check_not_a_model(output.tensors)
    share(amount.processes)
    processes = processes_for(amount.device)
    trained = open_model(model, processes.device)
    _check_drawable(trained)
    _check_editable(trained, editing)
    _check_conditions(trained, wanted, generation.guidance)
    labels = _classes(trained, wanted.wanted)
    turns = max(len(labels), len(wanted.texts))
    total = amount.count or _default_count(trained, turns)
    changes = _changes(generation, editing, trained)
    config = trained.sampling(**changes)
    generation.check(config.guidance)
    steps = config.steps or len(trained.schedule)
    edit = _edit(trained, editing, steps)
    film = _Film(len(edit.path(steps)), trained.shape)
    started = time.perf_counter()
    samples = trained.sample(
        total,
        seed=amount.seed,
        class_labels=_in_turn(labels, total),
        text=_in_turn(wanted.texts, total),
        image=_condition_image(trained, wanted.source, total),
        edit=edit,
        batch_size=amount.batch_size,
        processes=processes,
        callback=film.record if output.animation is not None else None,
        progress=sys.stderr.isatty(),
        **changes,
    )
    elapsed = time.perf_counter() - started
    frames = (
        [trained.decode(each) for each in film.states(processes, total)]
        if output.animation is not None
        else []
    )
    if not processes.main:
        return
    titles = _titles(trained, wanted.texts or labels, total)
    save_png(_draw(samples, titles), output.out)
    click.echo(
        f"{output.out}: {integer(total)} muestras en {integer(film.steps)} pasos de "
        f"{config.sampler} ({duration(elapsed)}, "
        f"{place(processes.device, processes.count)})."
    )
    if model in LABORATORY and not editing.given and total <= MOST:
        query = _query(model, wanted.texts, labels, total, amount.seed, config)
        if query is not None:
            click.echo(f"En el laboratorio del sitio: laboratorio.html?{query}")
    if output.animation is not None:
        _animate(frames, output.animation, titles, editing)
    if output.tensors is not None:
        _save_tensors(output.tensors, samples, _in_turn(labels, total))
        click.echo(
            f"{output.tensors}: tensor «samples» de forma {tuple(samples.shape)}."
        )


def _query(
    model: str,
    texts: Sequence[str],
    labels: Sequence[int],
    total: int,
    seed: int,
    config: "SamplingConfig",
) -> str | None:
    """Lo que pide, en la dirección del laboratorio, estas mismas muestras.

    `None` si allí no se pueden pedir: son de varias frases o de varias clases.
    """
    from urllib.parse import urlencode

    if len({*texts}) > 1 or len({*labels}) > 1:
        return None
    wanted = {"clase": labels[0]} if labels else {"texto": "".join(texts[:1])}
    asked: dict[str, object] = {"modelo": model, **wanted}
    asked |= {"semilla": seed, "muestras": total, "sampler": config.sampler}
    asked |= {"pasos": config.steps, "eta": f"{config.eta or 0:g}"}
    asked |= {"guia": f"{config.guidance:g}"}
    return urlencode(asked | {"reescalada": f"{config.rescale:g}"})


def _check_video(path: Path) -> None:
    if path.suffix.lower() == ".mp4":
        from ddpm_lit.machine.extras import require

        require(
            "imageio_ffmpeg",
            package="imageio-ffmpeg",
            extra="video",
            purpose="Guardar en MP4",
        )


def _check_not_a_model(path: Path) -> None:
    """Rechaza escribir las muestras encima de un modelo, que se perdería."""
    from ddpm_lit.models.storage import read_header

    try:
        read_header(path)
    except (OSError, ValueError):
        return
    raise click.BadParameter(
        f"«{path}» es un modelo, y se perdería: escribe las muestras en otro fichero.",
        param_hint="'--tensors'",
    )


def _changes(
    generation: Generation, editing: Editing, trained: "Trained"
) -> dict[str, Any]:
    """Lo que se ha pedido; al rellenar hacen falta pasos de sobra para desandar tramos."""
    from ddpm_lit.models.trained import FEW_STEPS

    changes = generation.changes()
    if editing.inpaint is not None and "steps" not in changes:
        changes["steps"] = min(FEW_STEPS, len(trained.schedule))
    return changes


def _edit(trained: "Trained", editing: Editing, steps: int) -> "Edit":
    """El camino que se recorre: el de siempre, con un hueco o desde una imagen."""
    from ddpm_lit.editing import inpaint, noised_levels, redraw
    from ddpm_lit.sampling import WHOLE

    edit, levels = WHOLE, steps
    strength = STRENGTH if editing.strength is None else editing.strength
    if editing.from_image is not None:
        levels = noised_levels(steps, strength)
    if editing.inpaint is not None:
        resamplings = editing.resamplings or RESAMPLINGS
        if levels == 1 and editing.resamplings is None:
            resamplings = 1
        edit = inpaint(
            *_known_and_mask(trained, editing.inpaint, editing.mask),
            jump=editing.jump or max(1, min(JUMP, levels - 1)),
            resamplings=resamplings,
        )
    if editing.from_image is not None:
        picture = _read(trained, editing.from_image, "--from-image")
        edit = redraw(picture.x, strength, edit)
    return edit


def _check_drawable(trained: "Trained") -> None:
    shape = trained.image_shape
    if shape != (2,) and not (len(shape) == 3 and shape[0] in (1, 3)):
        raise ValueError(
            f"Las muestras de «{trained.recipe.name}» tienen forma {shape} y solo se dibujan "
            "imágenes (1 o 3, alto, ancho) y puntos (2,): genera desde Python con load_model."
        )


def _check_editable(trained: "Trained", editing: Editing) -> None:
    if editing.given and trained.autoencoder is not None:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» genera latentes, y una imagen no se edita en "
            "ellos: quita --inpaint y --from-image, o usa un modelo de píxeles."
        )


def _check_conditions(
    trained: "Trained", wanted: Wanted, guidance: float | None
) -> None:
    """Rechaza lo que el modelo no sabe atender; lo demás lo comprueba `Trained.sample`."""
    name, options = trained.recipe.name, trained.recipe.model.options
    if wanted.source is not None and not options.get("condition_channels"):
        raise ValueError(
            f"El modelo «{name}» no parte de ninguna imagen: quita --image. Para rehacer una, usa "
            "--from-image."
        )
    if wanted.source is None and options.get("condition_channels"):
        raise ValueError(
            f"El modelo «{name}» parte de una imagen: dásela con --image."
        )
    if options.get("vocabulary") and not wanted.texts:
        if trained.recipe.training.condition_dropout == 0:
            raise ValueError(
                f"El modelo «{name}» dibuja lo que lee: dile qué con --text."
            )
        if guidance:
            raise ValueError(
                f"No hay nada hacia lo que guiar al modelo «{name}»: dile qué dibujar con --text, "
                "o quita --guidance."
            )


def _classes(trained: "Trained", asked: Sequence[str]) -> list[int]:
    """Los números de las clases que se piden, por su número o por su nombre; si no, todas."""
    if not asked:
        return list(range(trained.num_classes or 0))
    return [trained.class_number(each) for each in asked]


def _condition_image(
    trained: "Trained", source: str | None, total: int
) -> "Tensor | None":
    """La condición que sale de una imagen, preparada como en el entrenamiento, (N, C, H, W)."""
    from ddpm_lit.data import Dataset
    from ddpm_lit.data.conditions import block_side, conditioned

    if source is None:
        return None
    asked = trained.recipe.data.conditions
    wanted = {
        name: value
        for name, value in asked.items()
        if name in ("image", "factor")
    }
    read = _read(trained, source, "--image", factor=block_side(wanted))
    picture = Dataset(read.x[None])
    image = conditioned(picture, wanted).conditions.get("image", picture.x)
    return image.expand(total, *image.shape[1:])


def _read(
    trained: "Trained", path: str, option: str, *, factor: int = 1
) -> "Picture":
    """Lee una imagen al tamaño del modelo, y dice lo que ha hecho con ella.

    Con un `factor`, una imagen más pequeña se queda en el tamaño del que el modelo amplía.
    """
    from ddpm_lit.files.images import load_picture

    if len(trained.shape) != 3:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» genera puntos, no imágenes: quita {option}."
        )
    picture = load_picture(path, trained.shape, factor=factor)
    width, height = picture.size
    channels, rows, columns = trained.shape
    size = "el tamaño del modelo"
    if factor > 1 and (width < columns or height < rows):
        rows, columns = rows // factor, columns // factor
        size = "lo que amplía el modelo"
    if (height, width) != (rows, columns):
        cropped = (
            ""
            if width * rows == height * columns
            else "se recorta el centro y "
        )
        click.echo(
            f"«{path}» mide {width}×{height}: {cropped}se lleva a {columns}×{rows}, {size}.",
            err=True,
        )
    if channels == 1 and picture.colored:
        click.echo(
            f"«{path}» está en color y el modelo es de grises: se pasa a gris.",
            err=True,
        )
    return picture


def _known_and_mask(
    trained: "Trained", inpaint: str, mask: str | None
) -> "tuple[Tensor, Tensor]":
    """Lo que se conoce de una imagen con un hueco, como lo pide `editing.inpaint`."""
    from ddpm_lit.files.images import load_mask

    picture = _read(trained, inpaint, "--inpaint")
    hole = (
        picture.hole
        if mask is None
        else load_mask(mask, trained.shape, picture.size)
    )
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
    return picture.x, (~hole).float().expand(trained.shape)


def _default_count(trained: "Trained", turns: int) -> int:
    if len(trained.shape) == 1:
        return POINTS
    return math.ceil(IMAGES / turns) * turns if turns else IMAGES


def _in_turn(values: Sequence[Any], total: int) -> list[Any] | None:
    return (
        [values[index % len(values)] for index in range(total)]
        if values
        else None
    )


def _titles(trained: "Trained", asked: Sequence[Any], total: int) -> list[str]:
    """Lo que se ha pedido en cada columna, si se han pedido varias cosas."""
    if len(asked) < 2:
        return []
    names = trained.class_names
    return [
        names[each]
        if isinstance(each, int) and each < len(names)
        else str(each)
        for each in asked[:total]
    ]


def _draw(
    samples: "Tensor",
    titles: Sequence[str],
    *,
    size: int = 512,
    limit: float = 1.2,
) -> "Image":
    from ddpm_lit.files.images import grid, points_image, with_titles

    if samples.ndim == 2:
        return points_image(samples, size=size, limit=limit)
    if not titles:
        return grid(samples)
    return with_titles(grid(samples, columns=len(titles)), titles)


class _Film:
    """Guarda los estados de una generación que saldrán en la animación, lote a lote."""

    def __init__(self, steps: int, shape: Sequence[int]) -> None:
        self.steps, self._shape = steps, shape
        last = max(min(FRAMES, steps) - 1, 1)
        self._first: list[Tensor] = []
        self._kept: dict[int, list[Tensor]] = {
            round(index * (steps - 1) / last): [] for index in range(last + 1)
        }
        self._seen = 0

    def record(self, state: "SampleStep") -> None:
        done = self._seen % self.steps
        if done == 0:
            self._first.append(state.before.cpu())
        if done in self._kept:
            self._kept[done].append(state.x_t.cpu())
        self._seen += 1

    def states(self, processes: "Processes", total: int) -> "list[Tensor]":
        """Los estados de las `total` muestras, con los que han guardado los demás procesos."""
        import torch

        none = torch.empty(0, *self._shape)
        return [
            processes.joined(torch.cat([none, *parts]), total)
            for parts in (self._first, *self._kept.values())
        ]


def _animate(
    states: "list[Tensor]", path: Path, titles: Sequence[str], editing: Editing
) -> None:
    from ddpm_lit.files.images import save_gif, save_mp4

    save = save_gif if path.suffix.lower() == ".gif" else save_mp4
    frames = [_draw(state, titles, size=384, limit=2.0) for state in states]
    save(frames, path, fps=FRAMES_PER_SECOND)
    start = "x_T" if editing.from_image is None else "la imagen con ruido"
    click.echo(f"{path}: {len(frames)} fotogramas, de {start} a x_0.")


def _save_tensors(
    path: Path, samples: "Tensor", labels: list[int] | None
) -> None:
    import torch
    from safetensors.torch import save

    from ddpm_lit.files.weights import write_atomically

    content = {"samples": samples.contiguous()}
    if labels is not None:
        content["class_labels"] = torch.tensor(labels)
    write_atomically(path, save(content))
