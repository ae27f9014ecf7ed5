"""La animación de la portada: frases en español que se vuelven emoji, y emoji que se deshacen."""

import textwrap
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from torch import Tensor

from ddpm_lit.forward import q_sample
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.noise import sampling_noise
from scripts.figures.style import WIDTH, Palette, frames_of
from scripts.site.project import profile

MODEL = "openmoji-texto"
INPUTS = (f"weights-{MODEL}",)
ACTS = (
    (
        "cara sonriendo con gafas de sol",
        "pingüino",
        "manzana roja",
        "globo terráqueo mostrando europa y áfrica",
    ),
    ("calabaza de halloween", "gato llorando de risa", "copa de vino", "balón de fútbol"),
    ("tarta de cumpleaños", "zorro", "tren bala", "corazón con flecha"),
)
"""Doce nombres del entrenamiento, de los que la red dibuja bien; cuatro por acto."""

SEED, INDEX, GUIDANCE = 0, 0, 2.0
STEPS = 2 if profile() == "smoke" else 32

HELD = 2
DISSOLVE, WRITE, DRAW, LAG, HOLD = 7, 9, 20, 3, 16
"""Momentos de cada parte de un acto, de `HELD` fotogramas cada uno: deshacer lo anterior, escribir
la frase, dibujar y esperar; `LAG` es lo que cada dibujo empieza después del anterior."""

SIDE, DPI = 1.6, 120
"""Lado de un dibujo, en pulgadas, y resolución: cada píxel de la red ocupa seis del vídeo."""

GAP = (WIDTH - SIDE * len(ACTS[0])) / (len(ACTS[0]) - 1)
MARGIN = 0.02
BELOW, LEADING, LINES, CHARACTERS = 0.13, 0.19, 3, 19
TEXT: Any = {"fontsize": 10.5, "va": "top"}


@lru_cache
def journeys() -> tuple[Tensor, Tensor]:
    """Los caminos del ruido a cada emoji y los del emoji al ruido del acto siguiente.

    Returns:
        Los estados de la red, (K + 1, 12, 3, 32, 32), del ruido al dibujo; y los del proceso
        directo, (`DISSOLVE`, 12, 3, 32, 32), del dibujo del acto anterior al ruido de este.
    """
    trained = load_pretrained(MODEL)
    names = [name for act in ACTS for name in act]
    indices = [INDEX + position for position, _ in enumerate(names)]
    x_T = next(sampling_noise(SEED, indices, trained.shape))
    states = [x_T]
    trained.sample(
        indices,
        seed=SEED,
        text=names,
        guidance=GUIDANCE,
        sampler="dpm++2m",
        steps=STEPS,
        device="cpu",
        callback=lambda state: states.append(state.x_t),
    )
    before = states[-1].roll(len(ACTS[0]), dims=0)
    last = len(trained.schedule) - 1
    levels = torch.linspace(0, last, DISSOLVE).round().long()
    undone = [
        q_sample(trained.schedule, before, level.expand(len(names)), x_T) for level in levels
    ]
    return torch.stack(states), torch.stack(undone)


def between(states: Tensor, progress: float) -> Tensor:
    """El estado a una fracción del camino, de 0 a 1; entre dos, su media ponderada."""
    place = progress * (len(states) - 1)
    first = min(int(place), len(states) - 2)
    return states[first].lerp(states[first + 1], place - first)



def pixels(image: Tensor) -> np.ndarray:
    """Una imagen (3, H, W) en [-1, 1] como colores, (H, W, 3)."""
    shown: np.ndarray = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
    return shown


class Line(NamedTuple):
    """Un renglón de una frase: su texto y dónde empieza para que, entero, quede centrado."""

    text: str
    left: float


def typeset(page: Axes, sentence: str) -> list[Line]:
    """Parte una frase en renglones y los mide; su centro es el 0."""
    measured = []
    for row in textwrap.wrap(f"«{sentence}»", CHARACTERS):
        probe = page.text(0, 0, row, **TEXT)
        measured.append(Line(row, -probe.get_window_extent().width / DPI / 2))
        probe.remove()
    return measured


def animate_sentences(palette: Palette) -> list[Image.Image]:
    """Tres actos que enlazan en bucle: se deshace lo anterior, se escribe y se dibuja."""
    drawn, undone = journeys()
    columns = range(len(ACTS[0]))
    height = MARGIN + SIDE + BELOW + LEADING * LINES
    figure = plt.figure(figsize=(WIDTH, height), dpi=DPI, layout="none")
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    centres = [column * (SIDE + GAP) + SIDE / 2 for column in columns]
    sentences = [[typeset(page, sentence) for sentence in act] for act in ACTS]
    images, borders = zip(*(_tile(page, centre, palette) for centre in centres), strict=True)
    lines = [
        [page.text(0, MARGIN + SIDE + BELOW + LEADING * n, "", **TEXT) for n in range(LINES)]
        for _ in columns
    ]
    page.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")

    def write(column: int, sentence: list[Line], share: float, opacity: float) -> None:
        left = round(share * sum(len(row.text) for row in sentence))
        for artist in lines[column]:
            artist.set_text("")
        for artist, row in zip(lines[column], sentence, strict=False):
            caret = "▏" if 0 < left < len(row.text) else ""
            artist.set(text=row.text[:left] + caret, x=centres[column] + row.left, alpha=opacity)
            left = max(0, left - len(row.text))

    def update(moment: tuple[int, int]) -> None:
        act, time = moment
        for column in columns:
            place = act * len(columns) + column
            if time < DISSOLVE:
                images[column].set_data(pixels(undone[time, place]))
                write(column, sentences[act - 1][column], 1, 1 - time / (DISSOLVE - 1))
            else:
                share = (time - DISSOLVE - WRITE - LAG * column) / DRAW
                eased = 1 - (1 - min(max(share, 0), 1)) ** 1.6
                images[column].set_data(pixels(between(drawn[:, place], eased)))
                write(column, sentences[act][column], min((time - DISSOLVE) / WRITE, 1), 1)

    finished = DISSOLVE + WRITE + DRAW + LAG * columns[-1]
    moments = [(act, time) for act in range(len(ACTS)) for time in range(finished + 1)]
    artists = [*images, *borders, *chain.from_iterable(lines)]
    film = []
    for (_, time), frame in zip(
        moments, frames_of(figure, palette, artists, moments, update), strict=True
    ):
        film += [frame] * HELD * (HOLD if time == finished else 1)
    # El último dibujo no espera aquí: ya espera quien guarda la animación.
    return film[: -HELD * HOLD + 1]


def _tile(page: Axes, centre: float, palette: Palette) -> tuple[AxesImage, FancyBboxPatch]:
    """El hueco de un dibujo, con las esquinas redondeadas, y su borde."""
    left = centre - SIDE / 2
    border = FancyBboxPatch(
        (left, MARGIN),
        SIDE,
        SIDE,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor="none",
        edgecolor=palette.faint,
    )
    image = page.imshow(
        np.ones((1, 1, 3)),
        extent=(left, left + SIDE, MARGIN + SIDE, MARGIN),
        interpolation="none",
    )
    image.set_clip_path(page.add_patch(border))
    return image, border


ANIMATIONS = {"portada-emoji": animate_sentences}
CRF = {"portada-emoji": 27}
