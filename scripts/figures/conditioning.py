"""Condiciones: lo que cambia al saber una, y redes que obedecen a una clase, un número, otra
imagen o una frase."""

from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data.conditions import conditioned, ink
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.trained import Trained
from ddpm_lit.scheduler import make_schedule
from scripts.build import samples
from scripts.build.emoji_samples import SEEN, training_emoji, unseen
from scripts.figures.mixture import normal
from scripts.figures.mosaic import captioned, image_rows, show_mosaic
from scripts.figures.style import Palette, canvas
from scripts.site.project import profile

INPUTS = (
    "weights-digits-ink",
    "weights-digits-sr",
    "weights-emoji-sr",
    "weights-emoji-color",
    "samples-openmoji-texto",
)
SMOKE = profile() == "smoke"
STEPS = 2 if SMOKE else 50
COLUMNS = 10

# --- Dos clases en una recta: todo exacto -------------------------------------------------------

MEANS, STD = (-0.6, 0.6), 0.25
SCHEDULE = make_schedule("cosine", 1000)


def guesses(x: np.ndarray, bar: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """La densidad de x_t y E[x_0 | x_t] sin clase, (M,), y E[x_0 | x_t, clase], (2, M)."""
    variance = bar * STD**2 + 1 - bar
    densities = np.stack([normal(x, np.sqrt(bar) * mean, variance) / 2 for mean in MEANS])
    pull = np.sqrt(bar) * STD**2 / variance
    known = np.stack([mean + pull * (x - np.sqrt(bar) * mean) for mean in MEANS])
    density = densities.sum(0)
    return density, (densities * known).sum(0) / density, known


def draw_guesses(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.5)
    x = np.linspace(-3, 3, 601)
    _, unknown, known = guesses(x, 0.3)
    for line, color, label in zip(
        known, (palette.noise, palette.mean), ("clase A", "clase B"), strict=True
    ):
        axes[0].plot(x, line, color=color, linestyle=(0, (5, 1.8)), label=label)
    axes[0].plot(x, unknown, color=palette.data, label="sin clase")
    axes[0].set(xlim=(-3, 3), ylim=(-1.05, 1.75), xlabel="$x_t$")
    axes[0].set_title(r"La mejor apuesta, $\hat{x}_0$")
    axes[0].legend(loc="upper left")

    levels = np.arange(4, 1000, 5)
    grid = np.linspace(-6, 6, 2401)
    losses = np.array([_losses(grid, float(SCHEDULE.alphas_cumprod[level])) for level in levels])
    fractions = (levels + 1) / len(SCHEDULE)
    axes[1].plot(fractions, losses[:, 0], color=palette.data, label="sin clase")
    axes[1].plot(
        fractions, losses[:, 1], color=palette.noisy, linestyle=(0, (5, 1.8)), label="con clase"
    )
    axes[1].set(xlim=(0, 1), ylim=(0, 1.02), xlabel="$t/T$")
    axes[1].set_title(r"La menor pérdida posible")
    axes[1].legend(loc="upper right")
    return figure


def _losses(x: np.ndarray, bar: float) -> tuple[float, float]:
    """E[Var(ε | x_t)] y E[Var(ε | x_t, clase)]."""
    density, unknown, known = guesses(x, bar)
    inside = STD**2 * (1 - bar) / (bar * STD**2 + 1 - bar)
    share = (unknown - known[0]) / (known[1] - known[0])
    between = share * (1 - share) * (known[1] - known[0]) ** 2
    scale = bar / (1 - bar)
    total = inside + float((density * between).sum() * (x[1] - x[0]))
    return scale * total, scale * inside


# --- Un número: la cantidad de tinta ------------------------------------------------------------

INKS = (-0.5, -0.42, -0.34, -0.26)


def with_ink(inks: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
    """Dígitos con una clase y una tinta cada uno."""
    return load_pretrained("digits-ink").sample(
        len(inks),
        seed=seed,
        class_labels=labels,
        scalars=inks[:, None],
        sampler="ddim",
        steps=STEPS,
        device="cpu",
    )


@cache
def inked() -> list[Tensor]:
    """Las diez cifras con cada cantidad de tinta y siempre los mismos diez ruidos."""
    labels = torch.arange(COLUMNS)
    return [with_ink(torch.full((COLUMNS,), amount), labels) for amount in INKS]


def draw_ink(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=2.95)
    show_mosaic(
        panel,
        torch.cat(inked()),
        COLUMNS,
        left=[f"${amount:.2f}$".replace(".", "{,}") for amount in INKS],
    )
    panel.tick_params(axis="y", labelsize=12, pad=5)
    panel.set_ylabel("la tinta que se pide", labelpad=6)
    return figure


@cache
def obeyed() -> tuple[Tensor, Tensor]:
    """La tinta pedida y la obtenida en 200 dígitos de clase cualquiera."""
    count = 10 if SMOKE else 200
    asked = torch.linspace(-0.6, -0.2, count)
    return asked, ink(with_ink(asked, torch.arange(count) % 10, seed=1))[:, 0]


def draw_obeyed(palette: Palette) -> Figure:
    asked, obtained = obeyed()
    figure, (panel,) = canvas(height=3.3)
    panel.plot(asked, asked, color=palette.text, linestyle=(0, (1, 1.4)), label="obediencia total")
    panel.scatter(asked, obtained, color=palette.data, s=14, alpha=0.75, label="200 dígitos")
    panel.set(xlabel="tinta pedida", ylabel="tinta obtenida")
    panel.legend(loc="upper left")
    return figure


# --- Otra imagen --------------------------------------------------------------------------------


def held_out(trained: Trained) -> Dataset:
    """Los datos que una red no ha visto, con sus condiciones."""
    data = trained.recipe.data
    _, rest = split(load_dataset(data.name, **data.options), data.held_out, data.split_seed)
    return conditioned(rest, data.conditions)


def from_images(trained: Trained, rows: list[int], repeats: int) -> tuple[Dataset, list[Tensor]]:
    """Los datos elegidos, y lo que la red hace a partir de su imagen, con varias semillas."""
    chosen = held_out(trained).subset(rows)
    outputs = [
        trained.sample(
            len(rows),
            seed=seed,
            image=chosen.conditions["image"],
            steps=STEPS,
            device="cpu",
        )
        for seed in range(repeats)
    ]
    return chosen, outputs


def restored(before: str, after: str, chosen: Dataset, outputs: list[Tensor]) -> Figure:
    """Lo que recibe la red, dos cosas que hace con ello y el original."""
    first, second = outputs
    return image_rows(
        {
            before: chosen.conditions["image"],
            after: first,
            "otra semilla": second,
            "el original": chosen.x,
        }
    )


@cache
def enlarged() -> tuple[Dataset, list[Tensor]]:
    trained = load_pretrained("digits-sr")
    labels = held_out(trained).labels
    assert labels is not None
    rows = [int((labels == label).nonzero()[3, 0]) for label in range(COLUMNS)]
    return from_images(trained, rows, 2)


def draw_enlarged(palette: Palette) -> Figure:
    chosen, outputs = enlarged()
    return restored("4×4", "a 8×8", chosen, outputs)


EMOJI = list(range(5, 165, 20))


@cache
def emoji(name: str) -> tuple[Dataset, list[Tensor]]:
    return from_images(load_pretrained(name), EMOJI, 2)


def draw_emoji_enlarged(palette: Palette) -> Figure:
    chosen, outputs = emoji("emoji-sr")
    return restored("8×8", "a 32×32", chosen, outputs)


def draw_emoji_coloured(palette: Palette) -> Figure:
    chosen, outputs = emoji("emoji-color")
    return restored("en gris", "coloreado", chosen, outputs)


# --- Una frase ----------------------------------------------------------------------------------

SEEDS = 6
LABEL = 1.5


def draw_seen(palette: Palette) -> Figure:
    drawn = samples.load("openmoji-texto")["seen"][:, :SEEDS]
    return image_rows(captioned(SEEN, drawn), label_width=LABEL)


def draw_unseen(palette: Palette) -> Figure:
    drawn = samples.load("openmoji-texto")
    nearest = training_emoji().x[drawn["unseen_nearest"][:, :1]]
    images = torch.cat([drawn["unseen"][:, :SEEDS], nearest], dim=1)
    return image_rows(
        captioned(unseen(), images), top=[""] * SEEDS + ["más cercano"], label_width=LABEL
    )


FIGURES = {
    "condiciones-apuesta": draw_guesses,
    "condiciones-tinta": draw_ink,
    "condiciones-obediencia": draw_obeyed,
    "condiciones-ampliar": draw_enlarged,
    "condiciones-emoji-ampliar": draw_emoji_enlarged,
    "condiciones-emoji-colorear": draw_emoji_coloured,
    "condiciones-texto-vistas": draw_seen,
    "condiciones-texto-nuevas": draw_unseen,
}
