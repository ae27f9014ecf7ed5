"""Editar sin entrenar: rellenar con RePaint, rehacer con SDEdit y lo que da cada uno, exacto."""

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.conditioning import null_condition
from ddpm_lit.editing import inpaint, noised_levels, redraw, repaint_path
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.sampling import sample
from ddpm_lit.scheduler import make_schedule
from scripts.build import emoji_samples, models
from scripts.figures.mixture import normal
from scripts.figures.mosaic import image_rows
from scripts.figures.style import Palette, Row, canvas, image_table
from scripts.site.project import profile

INPUTS = ("digits-class", "weights-openmoji-texto")
SMOKE = profile() == "smoke"
STEPS = 8 if SMOKE else 50
JUMP = 2 if SMOKE else 5
MANY = 2 if SMOKE else 10
COLUMNS = 10


def generate(indices: range, **options: Any) -> Tensor:
    """Muestras de la red de dígitos, sin decirle la clase."""
    trained = models.load("digits-class")
    nothing = torch.zeros(len(indices), dtype=torch.int64)
    return sample(
        trained.model,
        trained.diffusion,
        trained.shape,
        indices=indices,
        condition=null_condition({"class_labels": nothing}, COLUMNS),
        steps=STEPS,
        **options,
    )


# --- El camino ----------------------------------------------------------------------------------


def draw_path(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.2)
    for resamplings, color, dashes in (
        (1, palette.text, (0, (1, 1.4))),
        (3, palette.noisy, "-"),
    ):
        times, levels = [0], [50]
        for number, index in enumerate(repaint_path(50, 10, resamplings)):
            times += [number, number + 1]
            levels += [index + 1, index]
        label = "sin repetir" if resamplings == 1 else f"cada tramo, {resamplings} veces"
        panel.plot(times, levels, color=color, linestyle=dashes, label=label)
    panel.set(xlim=(0, None), ylim=(0, 50), xlabel="llamadas a la red")
    panel.set_ylabel("nivel de ruido, $t$")
    panel.legend(loc="upper right")
    return figure


# --- Dos píxeles normales: la ley exacta --------------------------------------------------------

CORRELATION, STD, SEEN = 0.8, 0.5, 0.6
GAUSSIAN = make_schedule("linear", 250)


@cache
def repaint_law(jump: int, resamplings: int) -> tuple[float, float]:
    """Media y desviación del píxel que RePaint inventa, sin azar.

    Los datos son dos píxeles normales correlados y la red es la exacta: cada paso es lineal, y
    la media y la covarianza se llevan de nivel en nivel.
    """
    identity = torch.eye(2, dtype=torch.float64)
    data = STD**2 * (CORRELATION + (1 - CORRELATION) * identity)
    bars = [1.0, *GAUSSIAN.alphas_cumprod.tolist()]
    mean, spread, level = torch.zeros(2, dtype=torch.float64), identity, len(GAUSSIAN) - 1
    for index in repaint_path(len(GAUSSIAN), jump, resamplings):
        if index > level:
            ratio = bars[index + 1] / bars[level + 1]
            mean, spread = math.sqrt(ratio) * mean, ratio * spread + (1 - ratio) * identity
        bar, before = bars[index + 1], bars[index]
        beta = float(GAUSSIAN.betas[index])
        gain = torch.linalg.inv(bar * data + (1 - bar) * identity)
        step = (identity - beta * gain) / math.sqrt(1 - beta)
        mean = step @ mean
        spread = step @ spread @ step.T + beta * (1 - before) / (1 - bar) * identity
        # Lo conocido se repone: ya no guarda relación con lo inventado.
        mean[0] = math.sqrt(before) * SEEN
        spread = torch.diag(torch.stack([spread.new_tensor(1 - before), spread[1, 1]]))
        level = index - 1
    return float(mean[1]), math.sqrt(float(spread[1, 1]))


def draw_laws(palette: Palette) -> Figure:
    true = CORRELATION * SEEN, STD * math.sqrt(1 - CORRELATION**2)
    x = np.linspace(-0.8, 1.6, 481)
    figure, axes = canvas(1, 2, height=3.5)
    axes[0].fill_between(
        x,
        normal(x, true[0], true[1] ** 2),
        color=palette.data,
        alpha=0.25,
        linewidth=0,
        label="$p(x_2|x_1)$",
    )
    shades = (palette.noise, palette.mean, palette.noisy)
    for resamplings, color, dashes in zip(
        (1, 3, 10), shades, ((0, (1, 1.4)), (0, (5, 1.8)), "-"), strict=True
    ):
        mean, std = repaint_law(10, resamplings)
        axes[0].plot(
            x, normal(x, mean, std**2), color=color, linestyle=dashes, label=f"$r={resamplings}$"
        )
    axes[0].set(xlim=(x[0], x[-1]), ylim=(0, None), yticks=[], xlabel="$x_2$")
    axes[0].set_title("Lo que se inventa ($j=10$)")
    axes[0].spines["left"].set_visible(False)
    axes[0].legend(loc="upper left")
    times = (1, 2, 3, 4, 5, 7, 10, 14, 20, 30)
    for jump, color, dashes in zip(
        (20, 10, 5), shades, ((0, (1, 1.4)), (0, (5, 1.8)), "-"), strict=True
    ):
        errors = [true[0] - repaint_law(jump, r)[0] for r in times]
        axes[1].plot(times, errors, color=color, linestyle=dashes, label=f"$j={jump}$")
    axes[1].set(xlim=(1, times[-1]), ylim=(0, None), xlabel="$r$, veces por tramo")
    axes[1].set_title("Lo que falta hasta la media")
    axes[1].legend()
    return figure


# --- Rellenar dígitos ---------------------------------------------------------------------------


@cache
def filled() -> dict[str, Tensor]:
    """Diez dígitos que la red no ha visto, su mitad de arriba y cómo se completan."""
    _, held_out = models.digits_split()
    labels = held_out.batch(range(len(held_out)))["class_labels"]
    chosen = torch.stack([(labels == label).nonzero()[1, 0] for label in range(COLUMNS)])
    known = held_out.x[chosen]
    mask = torch.zeros_like(known)
    mask[:, :, :4] = 1

    def fill(resamplings: int, first: int = 0) -> Tensor:
        return generate(
            range(first, first + COLUMNS),
            edit=inpaint(known, mask, jump=JUMP, resamplings=resamplings),
        )

    return {
        "known": known,
        "masked": torch.where(mask.bool(), known, 0.0),
        "once": fill(1),
        "many": fill(MANY),
        "other": fill(MANY, first=COLUMNS),
    }


def draw_filled(palette: Palette) -> Figure:
    images = filled()
    return image_rows(
        {
            "lo que\nse sabe": images["masked"],
            "sin repetir": images["once"],
            f"$r = {MANY}$": images["many"],
            f"$r = {MANY}$,\notra semilla": images["other"],
            "el original": images["known"],
        }
    )


# --- Rellenar emoji -----------------------------------------------------------------------------

EMOJI_RESAMPLINGS = 2 if SMOKE else 4
EMOJI_GUIDANCE = 1.0


@cache
def filled_emoji() -> dict[str, Tensor]:
    """La mitad izquierda de los emojis que el modelo de texto no ha visto, y cómo la completa."""
    trained = load_pretrained(emoji_samples.NAME)
    names = emoji_samples.excluded()
    emoji = emoji_samples.every_emoji()
    known = emoji.x[[emoji.captions.index(name) for name in names]]
    mask = torch.zeros_like(known)
    mask[..., : known.shape[-1] // 2] = 1

    def fill(first: int, **asked: Any) -> Tensor:
        return trained.sample(
            range(first, first + COLUMNS),
            steps=STEPS,
            sampler="ddpm",
            edit=inpaint(known, mask, jump=JUMP, resamplings=EMOJI_RESAMPLINGS),
            batch_size=COLUMNS,
            **asked,
        )

    return {
        "lo que\nse sabe": torch.where(mask.bool(), known, 0.0),
        "con su\nfrase": fill(0, text=names, guidance=EMOJI_GUIDANCE),
        "otro ruido": fill(COLUMNS, text=names, guidance=EMOJI_GUIDANCE),
        "sin frase": fill(0),
        "el original": known,
    }


def draw_filled_emoji(palette: Palette) -> Figure:
    return image_rows(filled_emoji())


# --- Rehacer trazos -----------------------------------------------------------------------------

STROKES = (
    "...##... ...##... ...##... ...##... ...##... ...##... ...##... ...##...",
    ".######. .##..##. .##..##. .##..##. .##..##. .##..##. .##..##. .######.",
    ".######. .....##. ....##.. ....##.. ...##... ...##... ..##.... ..##....",
    ".##..##. .##..##. .##..##. .######. .....##. .....##. .....##. .....##.",
    ".######. .....##. .....##. ..#####. .....##. .....##. .....##. .######.",
)
STRENGTHS = (0.2, 0.4, 0.5, 0.6, 0.8, 1.0)


def strokes() -> Tensor:
    """Los trazos toscos, como imágenes (N, 1, 8, 8): sin grises."""
    rows = [[[1.0 if dot == "#" else -1.0 for dot in line] for line in s.split()] for s in STROKES]
    return torch.tensor(rows)[:, None]


@cache
def redone() -> list[Tensor]:
    """Los trazos rehechos con cada fuerza."""
    guide = strokes()
    return [generate(range(len(guide)), edit=redraw(guide, strength)) for strength in STRENGTHS]


def draw_redone(palette: Palette) -> Figure:
    columns = [strokes(), *redone()]
    titles = ["el boceto", *(f"$s={strength:.1f}$".replace(".", "{,}") for strength in STRENGTHS)]
    titles[-1] = "$s=1$"
    return image_table(
        [
            Row("", palette.data, torch.stack([column[row] for column in columns]))
            for row in range(len(STROKES))
        ],
        titles,
        label_width=0.02,
        first_gap=0.2,
    )


def draw_strength(palette: Palette) -> Figure:
    """Cuánto pesa la guía en lo rehecho, con datos normales de desviación STD."""
    fractions = np.linspace(0.004, 1, 250)
    figure, (panel,) = canvas(height=3.1)
    for name, label, color, dashes in (
        ("cosine", "schedule coseno", palette.schedule, "-"),
        ("linear", "schedule lineal", palette.noise, (0, (5, 1.8))),
    ):
        schedule = make_schedule(name, 1000)
        levels = [noised_levels(1000, float(value)) - 1 for value in fractions]
        signal = schedule.snr[levels].numpy() * STD**2
        kept = signal / (1 + signal)
        panel.plot(fractions, kept, color=color, linestyle=dashes, label=label)
    panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="fracción del proceso que se rehace")
    panel.set_ylabel(r"peso del boceto, $\lambda$")
    panel.legend()
    return figure


FIGURES = {
    "editar-rellenar": draw_filled,
    "editar-emoji": draw_filled_emoji,
    "editar-camino": draw_path,
    "editar-leyes": draw_laws,
    "editar-trazos": draw_redone,
    "editar-fuerza": draw_strength,
}
