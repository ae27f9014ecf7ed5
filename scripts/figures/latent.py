"""De aquí a Stable Diffusion: el autoencoder, la escala de su latente y las cinco piezas juntas."""

import textwrap
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.sampling import sample, sample_trajectory
from scripts.build import latent_samples, samples
from scripts.build.emoji_samples import SEEN, unseen
from scripts.figures.mosaic import image_rows, show_mosaic
from scripts.figures.style import Palette, bare, canvas, show_image

INPUTS = ("samples-openmoji-latente", "samples-openmoji-texto")
NAME, STEPS, GUIDANCE = latent_samples.NAME, latent_samples.STEPS, latent_samples.GUIDANCE
SPREAD = 2.5
"""Hasta qué valor del latente llegan los grises."""


def as_picture(z: Tensor) -> Tensor:
    """Los canales de un latente, uno al lado de otro y debajo, en grises: (1, 2h, 2w)."""
    top, bottom = (torch.cat(list(pair), dim=-1) for pair in (z[:2], z[2:]))
    return (torch.cat([top, bottom], dim=-2) / SPREAD).clamp(-1, 1)[None]


# --- Ir y volver ----------------------------------------------------------------------------------


def draw_round_trip(palette: Palette) -> Figure:
    found = samples.load(NAME)
    before, after = found["original"], found["restored"]
    codes = torch.stack([as_picture(z) for z in found["code"]])
    return image_rows(
        {
            "64×64×3": before,
            "16×16×4": codes.repeat_interleave(2, -1).repeat_interleave(2, -2),
            "la vuelta": after,
            "lo perdido": 1 - (before - after).abs(),
        }
    )


# --- Las cinco piezas -----------------------------------------------------------------------------

PHRASE = "corazón verde"
SHOWN = (0, 0.4, 0.7, 1)
"""En qué momentos del camino se mira."""


@cache
def walk() -> tuple[Tensor, Tensor]:
    """El camino de una frase, en los momentos de `SHOWN`, (K, C, h, w), y su imagen, (C, H, W)."""
    trained = load_pretrained(NAME)
    states = sample_trajectory(
        trained.guided(GUIDANCE),
        trained.diffusion,
        trained.shape,
        indices=[0],
        condition=trained.text_condition(PHRASE, 1),
        sampler="ddim",
        steps=STEPS,
    ).x_t[:, 0]
    chosen = [round(part * (len(states) - 1)) for part in SHOWN]
    return states[chosen], trained.decode(states[-1:])[0]


def draw_pieces(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.1)
    bare(panel).set(xlim=(0, 10), ylim=(0, 4.3))
    states, image = walk()

    def box(x: float, y: float, width: float, text: str, color: str) -> None:
        panel.text(
            x + width / 2,
            y,
            text,
            ha="center",
            va="center",
            color=color,
            fontsize=9.5,
            linespacing=1.35,
            bbox={
                "boxstyle": "round,pad=0.45",
                "facecolor": palette.background,
                "edgecolor": color,
                "linewidth": 1.3,
            },
        )

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        panel.annotate(
            "",
            end,
            start,
            arrowprops={"arrowstyle": "->", "color": palette.text, "linewidth": 1.2},
        )

    panel.text(0.9, 3.75, f"«{PHRASE}»", ha="center", va="center", fontsize=10)
    box(2.4, 3.75, 1.7, "1 · codificador\nde texto", palette.schedule)
    box(4.65, 3.75, 1.3, "2 · guía", palette.noisy)
    box(4.65, 2.55, 1.3, "3 · U-Net", palette.noise)
    box(2.05, 2.55, 1.3, "4 · solver", palette.mean)
    box(8.05, 2.55, 1.6, "5 · decodificador", palette.data)
    arrow((1.85, 3.75), (2.3, 3.75))
    arrow((4.2, 3.75), (4.72, 3.75))
    arrow((5.3, 3.4), (5.3, 2.95))
    arrow((3.35, 2.65), (4.6, 2.65))
    arrow((4.6, 2.42), (3.35, 2.42))
    for place, state in enumerate(states):
        x = 0.15 + 1.95 * place
        inside = panel.inset_axes((x, 0.3, 1.55, 1.55), transform=panel.transData)
        show_image(inside, as_picture(state))
        if place:
            arrow((x - 0.38, 1.08), (x - 0.03, 1.08))
    inside = panel.inset_axes((8.15, 0.3, 1.55, 1.55), transform=panel.transData)
    _framed(inside, palette)
    show_image(inside, image)
    arrow((7.55, 1.85), (8.5, 2.15))
    arrow((8.9, 2.15), (8.9, 1.9))
    panel.text(0.92, 0.08, "ruido", ha="center", va="center", color=palette.noise)
    panel.text(6.8, 0.08, "latente", ha="center", va="center", color=palette.mean)
    panel.text(8.92, 0.08, "imagen", ha="center", va="center", color=palette.data)
    return figure


def _framed(panel: Axes, palette: Palette) -> None:
    for spine in panel.spines.values():
        spine.set(visible=True, color=palette.faint)


# --- Lo que dibuja --------------------------------------------------------------------------------

EACH, COMPARED = 3, 8


def draw_gallery(palette: Palette) -> Figure:
    """Los nombres vistos y, debajo, las parejas nuevas: una columna por frase."""
    found = samples.load(NAME)
    figure, axes = canvas(2, 1, height=6.1)
    for panel, group, names in zip(axes, ("seen", "unseen"), (SEEN, unseen()), strict=True):
        drawn = found[group][:, :EACH].transpose(0, 1).flatten(0, 1)
        labels = [textwrap.fill(name, 10) for name in names]
        show_mosaic(panel, drawn, len(names), top=labels)
        panel.tick_params(labelsize=8)
    return figure


def draw_compared(palette: Palette) -> Figure:
    """Las mismas frases en el modelo de píxeles, a 32×32, y en el latente, a 64×64."""
    small, large = samples.load("openmoji-texto"), samples.load(NAME)
    rows = {}
    for group, kind in (("seen", "vistos"), ("unseen", "nuevas")):
        pixels = small[group][:COMPARED, 0]
        rows[f"{kind},\n32×32"] = pixels.repeat_interleave(2, -1).repeat_interleave(2, -2)
        rows[f"{kind},\n64×64"] = large[group][:COMPARED, 0]
    return image_rows(rows)


# --- El recorte -----------------------------------------------------------------------------------


def draw_clipped(palette: Palette) -> Figure:
    """Las mismas frases y el mismo ruido, sin recortar y recortando el latente."""
    trained, names = load_pretrained(NAME), unseen()[:8]
    process = trained.diffusion
    clipped = Diffusion(process.schedule, process.prediction, process.variance, clip=True)
    rows = {}
    for label, diffusion in (("sin recorte", process), ("a [-1, 1]", clipped)):
        z = sample(
            trained.guided(GUIDANCE),
            diffusion,
            trained.shape,
            indices=[0] * len(names),
            condition=trained.text_condition(names, len(names)),
            sampler="ddim",
            steps=STEPS,
        )
        rows[label] = trained.decode(z)
    return image_rows(rows)


FIGURES = {
    "latente-piezas": draw_pieces,
    "latente-ida-y-vuelta": draw_round_trip,
    "latente-recorte": draw_clipped,
    "latente-galeria": draw_gallery,
    "latente-comparacion": draw_compared,
}
