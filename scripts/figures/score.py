"""Score matching: la pendiente de log q, lo que se hace con ella y cómo se aprende."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.backward import Denoiser, Model, to_score
from ddpm_lit.data import load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.ideal import ideal_model
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import sample
from ddpm_lit.score import (
    annealed_langevin,
    ladder,
    langevin,
    score_matching_error,
    score_matching_floor,
)
from scripts.build import models
from scripts.figures import mixture
from scripts.figures.style import (
    WIDTH,
    DecimalComma,
    Palette,
    bare,
    canvas,
    comma,
    halo,
    log_axis,
    show_points,
)

INPUTS = ("swiss-roll",)


# --- Dos modas, con la densidad conocida ----------------------------------------------------------

CENTRES = torch.tensor([[-0.6, -0.3], [0.6, 0.35]])
SHARE = torch.tensor([0.8, 0.2])
NARROW, WIDE = 0.1, 0.28
WINDOW = 1.2


def log_parts(x: Tensor, spread: float, share: Tensor = SHARE) -> Tensor:
    """Lo que pone cada moda en q(x), sin constante y en logaritmos: (N, 2)."""
    return share.log() - (x[:, None] - CENTRES).square().sum(-1) / (2 * spread**2)


def two_modes(x: Tensor, spread: float, share: Tensor = SHARE) -> Tensor:
    """El score de la mezcla, (N, 2): tira hacia cada centro según lo que le toca."""
    return (log_parts(x, spread, share).softmax(1) @ CENTRES - x) / spread**2


def shades(palette: Palette) -> LinearSegmentedColormap:
    """Del fondo de la página al color de los datos, sin llegar a taparlo todo."""
    return LinearSegmentedColormap.from_list("datos", [palette.data + "00", palette.data + "b0"])


def draw_field(palette: Palette) -> Figure:
    """El campo en el plano y su corte de una moda a otra, con dos repartos de la masa."""
    figure = plt.figure(figsize=(WIDTH, 3.9))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    axes = figure.subplot_mosaic([["plane", "q"], ["plane", "slope"]], width_ratios=(1.35, 1))
    plane = axes["plane"]
    ticks = torch.linspace(-WINDOW, WINDOW, 121)
    density = log_parts(torch.cartesian_prod(ticks, ticks), WIDE).logsumexp(1)
    table = density.reshape(len(ticks), -1).T
    plane.contourf(ticks, ticks, table, np.linspace(-8, 0, 9), cmap=shades(palette))
    few = torch.linspace(-0.93 * WINDOW, 0.93 * WINDOW, 13)
    where = torch.cartesian_prod(few, few)
    plane.quiver(
        *where.T, *two_modes(where, WIDE).T, color=palette.text, pivot="mid", width=0.006, scale=240
    )
    bare(plane).set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW), aspect="equal")
    plane.set_title("La densidad y su score", fontsize=13)

    along = torch.linspace(-0.3, 1.3, 400)
    step = CENTRES[1] - CENTRES[0]
    line = CENTRES[0] + along[:, None] * step
    styles = ((SHARE, palette.mean, "-"), (SHARE.flip(0), palette.noise, (0, (3, 2))))
    for share, color, style in styles:
        q = log_parts(line, NARROW, share).exp().sum(1)
        slope = two_modes(line, NARROW, share) @ (step / step.norm())
        axes["q"].plot(along, q, color=color, linestyle=style)
        axes["slope"].plot(along, slope, color=color, linestyle=style)
    for panel, title in ((axes["q"], "$q$, de una moda a otra"), (axes["slope"], "y su score")):
        panel.set(xlim=(-0.3, 1.3), yticks=())
        panel.set_title(title, fontsize=13)
        panel.set_xticks((0, 1), ["una moda", "la otra"], fontsize=12.5)
        panel.axhline(0, color=palette.faint, linewidth=0.8)
        panel.spines["left"].set_visible(False)
    axes["q"].set_ylim(0, 0.9)
    axes["q"].tick_params(axis="x", labelbottom=False)
    return figure


# --- Langevin -------------------------------------------------------------------------------------

CLOUD = 2000
STEPS = 400


@cache
def walk() -> Tensor:
    """Los estados de Langevin, (STEPS + 1, CLOUD, 2), desde un cuadrado."""
    grid = torch.linspace(-WINDOW, WINDOW, 45)
    start = torch.cartesian_prod(grid, grid)[:CLOUD]
    noises = islice(sampling_noise(0, range(len(start)), (2,)), STEPS)
    score = lambda x: two_modes(x, NARROW)  # noqa: E731
    return torch.stack([start, *langevin(score, start, 0.2 * NARROW**2, noises)])


def write_shares(panel: Axes, cloud: Tensor, palette: Palette) -> None:
    """Al lado de cada moda, qué parte de los puntos tiene."""
    nearest = torch.cdist(cloud, CENTRES).argmin(1)
    parts = nearest.bincount(minlength=2) / len(cloud)
    for centre, part in zip(CENTRES, parts.tolist(), strict=True):
        panel.annotate(
            f"{100 * part:.0f} %",
            centre.tolist(),
            xytext=(0, 25),
            textcoords="offset points",
            ha="center",
            fontsize=14,
            path_effects=halo(palette, 3),
        )


def draw_langevin(palette: Palette) -> Figure:
    states = walk()
    chosen = torch.arange(CLOUD) % 5 < 4
    truth = CENTRES[(~chosen).long()] + NARROW * next(sampling_noise(1, range(CLOUD), (2,)))
    figure, axes = canvas(1, 3, height=2.75)
    for panel, cloud, title in zip(
        axes,
        (truth, states[-1], states[-1]),
        ("Los datos", f"{STEPS} pasos de Langevin", "Cuatro de los caminos"),
        strict=True,
    ):
        color = palette.noisy if panel is axes[1] else palette.data
        show_points(panel, cloud, color, limit=WINDOW, size=4, alpha=0.5)
        panel.set_title(title, fontsize=13)
    write_shares(axes[0], truth, palette)
    write_shares(axes[1], states[-1], palette)
    for number, walker in enumerate((220, 1020, 1137, 1804)):
        path = states[:, walker].T
        color = palette.series[number]
        axes[2].plot(*path, color=color, linewidth=1.1)
        axes[2].plot(*path[:, 0], "s", color=color, markersize=6, path_effects=halo(palette, 3))
    axes[2].collections[0].set_visible(False)
    return figure


# --- La espiral: el score exacto y el aprendido ---------------------------------------------------

BLUR = 0.02
"""La desviación del ruido con que se hacen los datos de `swiss_roll`."""


@cache
def skeleton() -> Tensor:
    """La espiral sin ruido: con `BLUR`, da la densidad de los datos."""
    return load_dataset("swiss_roll", n=1500, seed=7, noise=0.0).x


def exact_model(diffusion: Diffusion) -> Model:
    return ideal_model(diffusion, skeleton(), bandwidth=BLUR)


@cache
def floors() -> tuple[Tensor, ...]:
    """Los t y, por píxel y con el peso 1 - ᾱ, lo que se paga, el suelo y lo que falta."""
    trained = models.load("swiss-roll")
    schedule, exact = trained.schedule, exact_model(trained.diffusion)
    x_0 = load_dataset("swiss_roll", n=6000, seed=5).x
    noise = next(sampling_noise(3, range(len(x_0)), (2,)))
    times = sorted({round(1000 ** (k / 39)) for k in range(40)})
    rows = []
    for time in times:
        t = torch.full((len(x_0),), time - 1)
        x_t = q_sample(schedule, x_0, t, noise)
        with torch.no_grad():
            said, best = (to_score(schedule, m(x_t, t), t) for m in (trained.model, exact))
        paid = score_matching_error(schedule, said, noise, t).mean()
        floor = score_matching_floor(schedule, best, noise, t).mean()
        missing = (said - best).square().sum(1).mean()
        weight = (1 - schedule.alphas_cumprod[time - 1]) / 2
        rows.append(weight * torch.stack([paid, floor, missing]))
    return torch.tensor(times), *torch.stack(rows).T


def draw_floor(palette: Palette) -> Figure:
    times, paid, floor, missing = floors()
    figure, (panel,) = canvas(height=3.3)
    panel.fill_between(times, 1e-5, floor, color=palette.faint, alpha=0.55, linewidth=0)
    panel.plot(times, paid, color=palette.noise, label="lo que paga la red")
    panel.plot(
        times,
        floor,
        color=palette.text,
        linestyle=(0, (3, 2)),
        label="el suelo: lo que paga el exacto",
    )
    panel.plot(times, missing, color=palette.mean, label="lo que le falta por aprender")
    log_axis(panel, (1, 10, 100, 1000))
    panel.set_yscale("log")
    panel.set(
        xlim=(1, 1000),
        ylim=(3e-5, 2),
        xlabel="$t$",
        ylabel=r"pérdida de $\epsilon$, por coordenada",
    )
    panel.yaxis.set_major_formatter(DecimalComma())
    panel.set_yticks((1e-4, 1e-3, 1e-2, 1e-1, 1), ["0,0001", "0,001", "0,01", "0,1", "1"])
    panel.minorticks_off()
    panel.legend(loc="lower left", fontsize=11.5)
    return figure


FAR = (8, 150, 500)


def draw_far(palette: Palette) -> Figure:
    """El error relativo del score aprendido en cada sitio, a tres niveles."""
    trained = models.load("swiss-roll")
    schedule, exact = trained.schedule, exact_model(trained.diffusion)
    x_0 = load_dataset("swiss_roll", n=500, seed=1).x
    noise = next(sampling_noise(0, range(len(x_0)), (2,)))
    ticks = torch.linspace(-2, 2, 101)
    where = torch.cartesian_prod(ticks, ticks)
    figure, axes = canvas(1, 3, height=3.35)
    for panel, time in zip(axes, FAR, strict=True):
        t = torch.full((len(where),), time - 1)
        with torch.no_grad():
            said, best = (m(where, t) for m in (trained.model, exact))
        error = (said - best).norm(dim=1) / best.norm(dim=1)
        shown = panel.imshow(
            error.reshape(len(ticks), -1).T.clamp(max=1),
            extent=(-2, 2, -2, 2),
            origin="lower",
            cmap="magma",
            vmin=0,
            vmax=1,
        )
        x_t = q_sample(schedule, x_0, torch.tensor([time - 1]), noise)
        show_points(panel, x_t, "#ffffff", limit=2, size=4, alpha=0.8)
        panel.set_title(f"$t={time}$", fontsize=14)
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=30)
    bar.set_ticks([0, 0.5, 1], labels=["0", "50 %", "100 % o más"], fontsize=12.5)
    bar.outline.set_visible(False)
    return figure


# --- Recocer --------------------------------------------------------------------------------------

LEVELS, EACH = 10, 10
SPIRAL = 1500
LARGEST = 3.0


def annealed(rate: float) -> Callable[[Model, Diffusion], Tensor]:
    def generate(model: Model, diffusion: Diffusion) -> Tensor:
        steps = ladder(diffusion.schedule, LEVELS, LARGEST)
        denoise = Denoiser(model, replace(diffusion, schedule=steps))
        noises = sampling_noise(0, range(SPIRAL), (2,))
        start = float(steps.sqrt_recipm1_alphas_cumprod[-1]) * next(noises)
        *_, last = annealed_langevin(denoise, start, noises, steps=EACH, rate=rate)
        return last

    return generate


def ancestral_cloud(model: Model, diffusion: Diffusion) -> Tensor:
    return sample(
        model, diffusion, (2,), indices=range(SPIRAL), steps=LEVELS * EACH, batch_size=SPIRAL
    )


WAYS = (
    ("recocido, $r=0{,}2$", annealed(0.2)),
    ("recocido, $r=1$", annealed(1.0)),
    ("DDPM", ancestral_cloud),
)


@cache
def clouds() -> tuple[Tensor, ...]:
    """Las seis nubes: por filas, el score exacto y el aprendido."""
    trained = models.load("swiss-roll")
    sources = (exact_model(trained.diffusion), trained.model)
    return tuple(way(model, trained.diffusion) for model in sources for _, way in WAYS)


def draw_annealed(palette: Palette) -> Figure:
    figure, axes = canvas(2, 3, height=5.6)
    for number, (panel, cloud) in enumerate(zip(axes, clouds(), strict=True)):
        show_points(panel, cloud, palette.data, limit=1.15, size=3, alpha=0.55)
        away = torch.cdist(cloud, skeleton()).amin(1) > 3 * BLUR
        panel.set_xlabel(
            f"fuera, el {comma(100 * float(away.double().mean()), 1)} %", fontsize=12.5
        )
        if number < 3:
            panel.set_title(WAYS[number][0], fontsize=13)
    for panel, label in ((axes[0], "score exacto"), (axes[3], "score aprendido")):
        panel.set_ylabel(label, fontsize=13)
    return figure


# --- Dos escalas del mismo objeto -----------------------------------------------------------------


def draw_scales(palette: Palette) -> Figure:
    """La densidad de x_t y la de x_t/√ᾱ, de los datos a un ruido tres veces mayor que ellos."""
    sigmas = np.geomspace(0.01, LARGEST, 220)
    bars = 1 / (1 + sigmas**2)
    figure, axes = canvas(1, 2, height=3.2)
    for panel, scale, top, name in (
        (axes[0], np.ones_like(bars), 2.6, "$x_t$, la escala de DDPM"),
        (axes[1], np.sqrt(bars), 7.0, r"$x_t/\sqrt{\bar\alpha_t}$, la de NCSN"),
    ):
        x = np.linspace(-top, top, 301)
        columns = [mixture.density(s * x, b) * s for s, b in zip(scale, bars, strict=True)]
        table = np.stack([column / column.max() for column in columns], axis=1)
        bands = panel.contourf(sigmas, x, table, np.linspace(0.03, 1, 11), cmap=shades(palette))
        bands.set_rasterized(True)
        panel.set(xscale="log")
        panel.set_xlabel(r"$\varsigma$", fontsize=14)
        panel.set_title(name, fontsize=13)
        panel.set_xticks((0.01, 0.1, 1), ["0,01", "0,1", "1"])
        panel.minorticks_off()
        panel.grid(False)
    return figure


FIGURES = {
    "score-campo": draw_field,
    "score-langevin": draw_langevin,
    "score-suelo": draw_floor,
    "score-lejos": draw_far,
    "score-escalas": draw_scales,
    "score-recocido": draw_annealed,
}
