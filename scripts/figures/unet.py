"""UNET: qué hace con las formas, y cómo recibe el tiempo."""

import base64
import re
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from safetensors.torch import load_file
from torch import Tensor, nn

from ddpm_lit.forward import q_sample
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.networks.embeddings import sinusoidal_embedding
from ddpm_lit.noise import sampling_noise
from ddpm_lit.unet import CIFAR10_CONFIG, BlockSummary, SelfAttention, UNetConfig, describe
from scripts.build.samples import samples_path
from scripts.figures.style import Palette, Row, canvas, image_table

INPUTS = ("weights-fashion-mnist", "samples-fashion-mnist")
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


# --- Lo que ve cada bloque ------------------------------------------------------------------------

NETWORK, GARMENT = "fashion-mnist", 8
TIMES = (50, 300, 600, 900)
CHANNELS = 6
TITLES = {
    "conv_in": "convolución de entrada",
    "resnets": "bloque residual",
    "attentions": "atención",
    "downsamplers": "reducción",
    "upsamplers": "ampliación",
    "conv_out": "convolución de salida",
}
SIDES = {"down_blocks": "bajada", "mid_block": "centro", "up_blocks": "subida"}


def reaches(blocks: list[str], patch: int) -> list[int | None]:
    """Cuántos píxeles de lado de la imagen influyen en una posición de la salida de cada bloque.

    Por las convoluciones y las conexiones de atajo, sin contar la normalización; `None`, todos,
    que es lo que hace la atención.
    """
    everything = 10**6
    side = step = patch
    kept: list[int] = []
    found: list[int | None] = []
    for block in blocks:
        if block.startswith("up_blocks") and "resnets" in block:
            side = max(side, kept.pop())
        if "attentions" in block:
            side = everything
        elif "resnets" in block:
            side += 4 * step
        elif "upsamplers" in block:
            step //= 2
            side += 2 * step
        else:
            side += 2 * step
            step *= 2 if "downsamplers" in block else 1
        if block == "conv_in" or block.startswith("down_blocks"):
            # La atención de un bloque no guarda otra activación: cambia la suya.
            kept = kept[:-1] if "attentions" in block else kept
            kept.append(side)
        found.append(side if side < everything else None)
    return found


def attention_of_the_middle(module: SelfAttention, x: Tensor) -> Tensor:
    """A qué posiciones mira la del centro, de media en las cabezas: (H, W), que suma 1."""
    height, width = x.shape[-2:]
    pixels = module.group_norm(x).flatten(2).transpose(1, 2)
    q, k = (
        project(pixels)[0].unflatten(1, (module.heads, -1))
        for project in (module.to_q, module.to_k)
    )
    middle = (height // 2) * width + width // 2
    scores = torch.einsum("hd,nhd->hn", q[middle], k) / q.shape[-1] ** 0.5
    return torch.softmax(scores, -1).mean(0).reshape(height, width)


def eight_bits(x: Tensor) -> str:
    """Valores en [-1, 1] como los lee el navegador: un byte cada uno, en base64."""
    levels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return base64.b64encode(levels.contiguous().numpy().tobytes()).decode()


def busiest(output: Tensor) -> Tensor:
    """Los canales de la salida de un bloque, (1, C, H, W), que más cambian de un sitio a otro."""
    return output[0].flatten(1).var(1).topk(min(CHANNELS, output.shape[1])).indices


def seen_by(module: nn.Module, x: Tensor, output: Tensor, chosen: Tensor) -> dict[str, Any]:
    """Unos canales de la salida de un bloque y, si es atención, adónde mira."""
    shown = output[0, chosen]
    scale = 2 * shown.flatten(1).std(1)[:, None, None].clamp(min=1e-6)
    centred = (shown - shown.flatten(1).mean(1)[:, None, None]) / scale
    found: dict[str, Any] = {"channels": chosen.tolist(), "values": eight_bits(centred)}
    if isinstance(module, SelfAttention):
        looked = attention_of_the_middle(module, x)
        found["looked"] = eight_bits(2 * looked / looked.max() - 1)
    return found


@cache
def anatomy() -> dict[str, Any]:
    """Los bloques de una red de verdad, con lo que ven de una prenda en varios t."""
    trained = load_pretrained(NETWORK)
    config: UNetConfig = trained.recipe.network_config()
    modules = dict(trained.model.named_modules())
    size = trained.shape[-1]
    rows = [row for row in describe(config, size) if any(kind in row.block for kind in TITLES)]
    reach = reaches([row.block for row in rows], config.patch_size)
    blocks = []
    for row, side in zip(rows, reach, strict=True):
        place, *_ = row.block.partition(".")
        kind = next(kind for kind in TITLES if kind in row.block)
        blocks.append(
            {
                "name": row.block,
                "title": TITLES[kind],
                "kind": kind,
                "side": SIDES.get(place, ""),
                "shape": list(row.shape),
                "parameters": row.parameters,
                "reach": side,
            }
        )
    x_0 = load_file(samples_path(NETWORK))["x"][GARMENT : GARMENT + 1].clamp(-1, 1)
    noise = next(sampling_noise(0, [0], trained.shape))
    label = torch.tensor([GARMENT % len(trained.class_names)])
    seen: list[dict[str, Any]] = []
    # Los mismos canales en todos los t: los que más cambian en el primero.
    chosen: dict[str, Tensor] = {}
    for time in TIMES:
        t = torch.tensor([time - 1])
        x_t = q_sample(trained.schedule, x_0, t, noise)
        found: dict[str, dict[str, Any]] = {}

        def watch(module: nn.Module, given: Any, output: Tensor, name: str = "") -> None:
            channels = chosen.setdefault(name, busiest(output))
            found[name] = seen_by(module, given[0], output, channels)  # noqa: B023 de esta vuelta

        handles = [
            modules[row.block].register_forward_hook(partial(watch, name=row.block)) for row in rows
        ]
        with torch.no_grad():
            trained.model(x_t, t, class_labels=label)
        for handle in handles:
            handle.remove()
        image = {"values": eight_bits(x_t[0])}
        seen.append({"t": time, "image": image, "blocks": [found[row.block] for row in rows]})
    return {"shape": list(trained.shape), "blocks": blocks, "seen": seen}


def draw_activations(palette: Palette) -> Figure:
    """Lo que entra y lo que ven tres bloques, en varios t."""
    found = anatomy()
    names = [block["name"] for block in found["blocks"]]
    shapes = [block["shape"][1:] for block in found["blocks"]]

    def first_channel(name: str, field: str = "values") -> Tensor:
        k = names.index(name)
        height, width = shapes[k]
        images = [decoded(seen["blocks"][k][field]) for seen in found["seen"]]
        return torch.stack([each[: height * width].reshape(1, height, width) for each in images])

    x_t = torch.stack([decoded(seen["image"]["values"]) for seen in found["seen"]])
    first, attention = "down_blocks.0.resnets.0", "down_blocks.1.attentions.0"
    last = [name for name in names if name.startswith("up_blocks") and "resnets" in name][-1]
    rows = [
        Row("$x_t$", palette.noisy, x_t.reshape(-1, *found["shape"])),
        Row("bajada", palette.text, first_channel(first)),
        Row("atención", palette.text, first_channel(attention, "looked")),
        Row("subida", palette.text, first_channel(last)),
    ]
    return image_table(rows, [f"$t={time}$" for time in TIMES], label_width=0.85)


def decoded(text: str) -> Tensor:
    """Lo contrario de `eight_bits`, en una fila."""
    levels = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return torch.from_numpy(levels.astype(np.float32)) / 127.5 - 1


DATA = {"widget-unet": anatomy}
FIGURES = {
    "unet-formas": draw_shapes,
    "unet-embedding": draw_embedding,
    "unet-parametros": draw_parameters,
    "unet-activaciones": draw_activations,
}
