"""La animación de la portada: frases en español que se vuelven emoji, y emoji que se deshacen."""

import textwrap
from functools import lru_cache, partial
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
from scripts.figures.style import Palette, frames_of
from scripts.site.project import profile

MODEL = "openmoji-texto"
INPUTS = (f"weights-{MODEL}",)
ACTS = (
    ("calabaza de halloween", "gato llorando de risa", "copa de vino", "balón de fútbol"),
    ("tarta de cumpleaños", "zorro", "tren bala", "corazón con flecha"),
    (
        "cara sonriendo con gafas de sol",
        "pingüino",
        "manzana roja",
        "globo terráqueo mostrando europa y áfrica",
    ),
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

GAP, MARGIN = 4 / 15, 0.02
BELOW, LEADING, LINES, CHARACTERS = 0.13, 0.19, 3, 19
CARD = SIDE + BELOW + LEADING * LINES
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
    indices = [INDEX] * len(names)
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
    undone = [q_sample(trained.schedule, before, level.expand(len(names)), x_T) for level in levels]
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
    """Un renglón de una frase y lo que se sangra para que, entero, quede bajo el centro."""

    text: str
    indent: float


def typeset(page: Axes, sentence: str) -> list[Line]:
    """Parte una frase en renglones y los mide."""
    measured = []
    for row in textwrap.wrap(f"«{sentence}»", CHARACTERS):
        probe = page.text(0, 0, row, **TEXT)
        measured.append(Line(row, (SIDE - probe.get_window_extent().width / DPI) / 2))
        probe.remove()
    return measured


def animate(palette: Palette, columns: int) -> list[Image.Image]:
    """Los actos, que enlazan en bucle: se deshace lo anterior, se escribe y se dibuja."""
    drawn, undone = journeys()
    count = len(ACTS[0])
    width = columns * SIDE + (columns - 1) * GAP
    height = MARGIN + -(-count // columns) * CARD
    figure = plt.figure(figsize=(width, height), dpi=DPI, layout="none")
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    sentences = [[typeset(page, sentence) for sentence in act] for act in ACTS]
    corners = [(n % columns * (SIDE + GAP), MARGIN + n // columns * CARD) for n in range(count)]
    images, borders = zip(*(_tile(page, *corner, palette) for corner in corners), strict=True)
    lines = [
        [page.text(left, top + SIDE + BELOW + LEADING * n, "", **TEXT) for n in range(LINES)]
        for left, top in corners
    ]
    page.set(xlim=(0, width), ylim=(height, 0), aspect="auto")

    def write(card: int, sentence: list[Line], share: float, opacity: float) -> None:
        pending = round(share * sum(len(row.text) for row in sentence))
        for artist in lines[card]:
            artist.set_text("")
        for artist, row in zip(lines[card], sentence, strict=False):
            caret = "▏" if 0 < pending < len(row.text) else ""
            artist.set(
                text=row.text[:pending] + caret, x=corners[card][0] + row.indent, alpha=opacity
            )
            pending = max(0, pending - len(row.text))

    def update(moment: tuple[int, int]) -> None:
        act, time = moment
        for card in range(count):
            place = act * count + card
            if time < DISSOLVE:
                images[card].set_data(pixels(undone[time, place]))
                write(card, sentences[act - 1][card], 1, 1 - time / (DISSOLVE - 1))
            else:
                share = (time - DISSOLVE - WRITE - LAG * card) / DRAW
                eased = 1 - (1 - min(max(share, 0), 1)) ** 1.6
                images[card].set_data(pixels(between(drawn[:, place], eased)))
                write(card, sentences[act][card], min((time - DISSOLVE) / WRITE, 1), 1)

    finished = DISSOLVE + WRITE + DRAW + LAG * (count - 1)
    moments = [(act, time) for act in range(len(ACTS)) for time in range(finished + 1)]
    artists = [*images, *borders, *chain.from_iterable(lines)]
    frames = frames_of(figure, palette, artists, moments, update)
    film = []
    for (_, time), frame in zip(moments, frames, strict=True):
        film += [frame] * HELD * (HOLD if time == finished else 1)
    # El último dibujo no espera aquí: ya espera quien guarda la animación.
    return film[: 1 - HELD * HOLD]


def _tile(
    page: Axes, left: float, top: float, palette: Palette
) -> tuple[AxesImage, FancyBboxPatch]:
    """El hueco de un dibujo, con las esquinas redondeadas, y su borde."""
    border = FancyBboxPatch(
        (left, top),
        SIDE,
        SIDE,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor="none",
        edgecolor=palette.faint,
    )
    image = page.imshow(
        np.ones((1, 1, 3)), extent=(left, left + SIDE, top + SIDE, top), interpolation="none"
    )
    image.set_clip_path(page.add_patch(border))
    return image, border


ANIMATIONS = {
    "portada-emoji": partial(animate, columns=4),
    "portada-emoji-estrecha": partial(animate, columns=2),
}
CRF = dict.fromkeys(ANIMATIONS, 27)
