"""UNET: qué hace con las formas, y cómo recibe el tiempo."""

import re
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.unet import CIFAR10_CONFIG, BlockSummary, describe
from scripts.figures.style import Palette, canvas

INPUTS = ()
SIZE = 32


class Stage(NamedTuple):
    """Un tramo de la red: dónde está, qué forma sale de él y qué lleva dentro."""

    side: str
    level: int
    shape: tuple[int, ...]
    blocks: int
    attention: int
    parameters: int
    attention_parameters: int


def stages() -> list[Stage]:
    """Las piezas de la U-Net del artículo, reunidas por tramos, en orden de ejecución."""
    levels = len(CIFAR10_CONFIG.block_out_channels)
    groups: dict[tuple[str, int], list[BlockSummary]] = {}
    for row in describe(CIFAR10_CONFIG, SIZE):
        match = re.match(r"(down|up)_blocks\.(\d)", row.block)
        if match:
            number = int(match[2])
            key = (match[1], number if match[1] == "down" else levels - 1 - number)
        elif row.block.startswith("mid_block"):
            key = ("mid", levels - 1)
        else:
            continue
        groups.setdefault(key, []).append(row)
    found = []
    for (side, level), rows in groups.items():
        inside = [row for row in rows if "samplers" not in row.block]
        attended = [row for row in inside if "attentions" in row.block]
        found.append(
            Stage(
                side,
                level,
                inside[-1].shape,
                len(inside) - len(attended),
                len(attended),
                sum(row.parameters for row in rows),
                sum(row.parameters for row in attended),
            )
        )
    return found


def draw_shapes(palette: Palette) -> Figure:
    figure, (panel,) = canvas(1, 1, height=4.3)
    colors = {"down": palette.series[0], "mid": palette.series[3], "up": palette.series[2]}
    column = {"down": 0.0, "mid": 3.3, "up": 6.6}
    width, height, rise = 2.7, 0.72, 1.12

    def box(x: float, y: float, title: str, detail: str, color: str) -> None:
        panel.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=(color, 0.16),
                edgecolor=color,
                linewidth=1.4,
            )
        )
        panel.text(x + width / 2, y + height * 0.68, title, ha="center", va="center", fontsize=11.5)
        panel.text(x + width / 2, y + height * 0.27, detail, ha="center", va="center", fontsize=9.5)

    def arrow(start: tuple[float, float], end: tuple[float, float], **style: object) -> None:
        panel.annotate(
            "",
            end,
            start,
            arrowprops={"arrowstyle": "-|>", "shrinkA": 2, "shrinkB": 2, "linewidth": 1.4}
            | {"color": palette.text}
            | style,
        )

    middle = width / 2
    bottom = -len(CIFAR10_CONFIG.block_out_channels) * rise
    for stage in stages():
        channels, side, _ = stage.shape
        x = column[stage.side]
        y = bottom if stage.side == "mid" else -stage.level * rise
        detail = f"{stage.blocks} residuales"
        if stage.attention:
            detail += " + atención"
        box(x, y, f"{side}×{side}×{channels}", detail, colors[stage.side])
        if stage.side == "down":
            arrow(
                (x + width, y + height / 2),
                (column["up"], y + height / 2),
                linestyle=(0, (4, 2)),
                linewidth=1.1,
            )
        if stage.side != "mid" and stage.level > 0:
            low, high = (x + middle, y + height), (x + middle, y + rise)
            arrow(*((high, low) if stage.side == "down" else (low, high)))
    deepest = bottom + rise
    panel.plot(
        [middle, middle, column["mid"]],
        [deepest, bottom + height / 2, bottom + height / 2],
        color=palette.text,
        linewidth=1.4,
    )
    arrow((column["mid"] - 0.2, bottom + height / 2), (column["mid"], bottom + height / 2))
    end = column["up"] + middle
    panel.plot(
        [column["mid"] + width, end, end],
        [bottom + height / 2, bottom + height / 2, deepest - 0.2],
        color=palette.text,
        linewidth=1.4,
    )
    arrow((end, deepest - 0.25), (end, deepest))
    top = height + 0.5
    panel.text(middle, top + 0.06, "$x_t$", color=palette.noisy, ha="center", fontsize=15)
    panel.text(
        end, top + 0.06, r"$\epsilon_\theta(x_t, t)$", color=palette.noise, ha="center", fontsize=15
    )
    arrow((middle, top), (middle, height))
    arrow((end, height), (end, top))
    panel.text(
        column["mid"] + middle,
        height / 2 + 0.06,
        "lo guardado en la bajada",
        ha="center",
        va="bottom",
        fontsize=9.5,
    )
    panel.text(
        column["mid"] + middle,
        height / 2 - 2.5 * rise,
        "el instante $t$ entra en\ntodos los bloques residuales",
        ha="center",
        va="center",
        fontsize=9.5,
    )
    panel.set(xlim=(-0.1, column["up"] + width + 0.1), ylim=(bottom - 0.1, top + 0.45))
    panel.axis("off")
    return figure


def draw_embedding(palette: Palette) -> Figure:
    table = sinusoidal_embedding(torch.arange(0, 1000, 2), 128)
    figure, (panel,) = canvas(1, 1, height=3.3)
    image = panel.imshow(
        table.T, aspect="auto", extent=(1, 1000, 128, 0), cmap="RdBu_r", vmin=-1, vmax=1,
        rasterized=True,
    )  # fmt: skip
    panel.grid(False)
    panel.set(xlabel="$t$", ylabel="componente", yticks=(0, 32, 64, 96, 128))
    panel.set_xticks((1, 250, 500, 750, 1000))
    panel.axhline(64, color=palette.text, linewidth=1)
    for y, text in ((32, "senos"), (96, "cosenos")):
        panel.text(1015, y, text, rotation=270, va="center", fontsize=11)
    figure.colorbar(image, ax=panel, ticks=(-1, 0, 1), pad=0.06, shrink=0.9)
    return figure


def draw_parameters(palette: Palette) -> Figure:
    names = {"down": "bajada", "mid": "centro", "up": "subida"}
    found = stages()
    total = sum(row.parameters for row in describe(CIFAR10_CONFIG, SIZE))
    labels = [
        names[stage.side] + ("" if stage.side == "mid" else f" {stage.shape[1]}×{stage.shape[2]}")
        for stage in found
    ]
    residual = np.array([stage.parameters - stage.attention_parameters for stage in found]) / 1e6
    attention = np.array([stage.attention_parameters for stage in found]) / 1e6
    rest = total / 1e6 - residual.sum() - attention.sum()
    labels.append("lo demás")
    residual, attention = np.append(residual, rest), np.append(attention, 0)
    figure, (panel,) = canvas(1, 1, height=3.6)
    rows = range(len(labels))
    panel.barh(rows, residual, height=0.68, color=palette.series[0], label="residuales y escalas")
    panel.barh(
        rows, attention, left=residual, height=0.68, color=palette.series[1], label="atención"
    )
    for row, value in zip(rows, residual + attention, strict=True):
        panel.text(value + 0.1, row, f"{value:.1f}".replace(".", ","), va="center")
    panel.set(yticks=rows, yticklabels=labels, xlim=(0, 8), xlabel="millones de parámetros")
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.tick_params(axis="y", length=0)
    panel.legend(loc="upper right")
    return figure


FIGURES = {
    "unet-formas": draw_shapes,
    "unet-embedding": draw_embedding,
    "unet-parametros": draw_parameters,
}
