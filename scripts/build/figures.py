"""Dibuja las figuras y animaciones de un capítulo, en claro y en oscuro.

También deja los datos de sus widgets.
"""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from ddpm_lit.files.images import save_mp4, save_png
from scripts.build import models, samples
from scripts.build.provenance import card_path, recorded
from scripts.figures.style import THEMES, Palette, save_figure, themed
from scripts.site.project import PACKAGE, ROOT, build_dir

CHAPTERS = (
    "brand",
    "cover",
    "toolbox",
    "forward",
    "scheduler",
    "posterior",
    "backward",
    "losses",
    "epsilon",
    "training",
    "generation",
    "unet",
    "gallery",
    "improved",
    "guidance",
    "conditioning",
    "editing",
    "ddim",
    "score",
    "continuous",
    "flow",
    "flow_digits",
    "latent",
    "replicas",
)
FPS = 20


def chapter(name: str) -> Any:
    """El módulo que dibuja un capítulo."""
    return import_module(f"scripts.figures.{name}")


def inputs(name: str) -> list[Path]:
    """Los ficheros que leen las figuras de un capítulo."""
    paths: list[Path] = []
    for source in chapter(name).INPUTS:
        if source == "classifier":
            paths.append(models.classifier_path())
        elif source.startswith("samples-"):
            paths.append(samples.samples_path(source.removeprefix("samples-")))
        elif source.startswith("weights-"):
            paths.append(PACKAGE / "weights" / f"{source.removeprefix('weights-')}.safetensors")
        elif source == "replicas":
            paths += sorted((ROOT / "replicas").glob("*.json"))
        elif source.startswith("card-"):
            paths.append(card_path(source.removeprefix("card-")))
        else:
            paths += [models.model_path(source), models.model_path(source).with_suffix(".jsonl")]
    return paths


def names(name: str) -> list[str]:
    """Los artefactos que deja un capítulo."""
    module = chapter(name)
    kinds = ("FIGURES", "ANIMATIONS", "IMAGES", "DATA")
    return [artefact for kind in kinds for artefact in getattr(module, kind, {})]


def draw(name: str) -> None:
    """Dibuja todas las figuras de un capítulo."""
    module = chapter(name)
    entries = [f"scripts.figures.{name}", "scripts.figures.style"]
    figures: dict[str, Callable[[Palette], Figure]] = getattr(module, "FIGURES", {})
    animations: dict[str, Callable[[Palette], list[Image.Image]]] = getattr(
        module, "ANIMATIONS", {}
    )
    posters: dict[str, int] = getattr(module, "POSTERS", {})
    compression: dict[str, int] = getattr(module, "CRF", {})
    images: dict[str, Callable[[], Image.Image]] = getattr(module, "IMAGES", {})
    folder = build_dir() / "figures"
    for figure, draw_figure in figures.items():
        with recorded(figure, "figure", entries, inputs=inputs(name)) as card:
            for palette in THEMES:
                with themed(palette):
                    save_figure(draw_figure(palette), folder / f"{figure}.{palette.name}.svg")
                card["files"].append(f"figures/{figure}.{palette.name}.svg")
    for animation, draw_frames in animations.items():
        with recorded(animation, "animation", entries, inputs=inputs(name)) as card:
            for palette in THEMES:
                stem = f"{animation}.{palette.name}"
                with themed(palette):
                    frames = draw_frames(palette)
                save_mp4(
                    frames,
                    folder / f"{stem}.mp4",
                    fps=FPS,
                    hold_last=2,
                    crf=compression.get(animation, 18),
                )
                save_png(frames[posters.get(animation, -1)], folder / f"{stem}.png")
                card["files"] += [f"figures/{stem}.mp4", f"figures/{stem}.png"]
    for image, draw_image in images.items():
        with recorded(image, "figure", entries, inputs=inputs(name)) as card:
            save_png(draw_image(), folder / f"{image}.png")
            card["files"] = [f"figures/{image}.png"]
    data: dict[str, Callable[[], Any]] = getattr(module, "DATA", {})
    for table, make in data.items():
        with recorded(table, "data", entries, inputs=inputs(name)) as card:
            text = json.dumps(make(), ensure_ascii=False, allow_nan=False)
            (folder / f"{table}.json").write_text(text, encoding="utf-8")
            card["files"] = [f"figures/{table}.json"]
