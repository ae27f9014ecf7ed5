"""Las redes del laboratorio: en ONNX y a media precisión, para que las ejecute el navegador."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ddpm_lit.data import load_dataset
from ddpm_lit.models.export import export_onnx
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.data import split_data
from scripts.build import models
from scripts.build.provenance import recorded
from scripts.site.project import PACKAGE, build_dir

NAME = "laboratory"
SHIPPED = {
    "openmoji-texto": "emojis, con una frase",
    "fashion-mnist": "prendas, por su clase",
    "emoji-sr": "ampliar un emoji",
    "emoji-color": "colorear un emoji",
}
TRAINED = {"digits-class": "dígitos, por su clase"}
"""Las redes y cómo se llaman: las que vienen en el paquete y las que entrena el sitio."""

EXAMPLES = (
    "corazón verde",
    "perro azul",
    "dos gatos",
    "manzana amarilla pequeña",
    "pingüino",
    "cara sonriendo con gafas de sol",
)
"""Frases que se ofrecen a quien no sabe qué pedir."""
PICTURE = "perro"
"""El emoji con que empieza quien quiera ampliar o colorear: ninguna red lo vio al entrenar."""


def sources() -> list[Path]:
    """Los ficheros de los pesos."""
    shipped = [PACKAGE / "weights" / f"{name}.safetensors" for name in SHIPPED]
    return [*shipped, *(models.model_path(name) for name in TRAINED)]


def folder() -> Path:
    """Dónde quedan los ficheros ONNX y su lista."""
    return build_dir() / NAME


def networks() -> Iterator[tuple[str, str, Trained]]:
    """Cada red, con su nombre y cómo se llama."""
    for name, title in SHIPPED.items():
        yield name, title, load_pretrained(name)
    for name, title in TRAINED.items():
        yield name, title, models.load(name)


def described(name: str, title: str, trained: Trained) -> dict[str, Any]:
    """Lo que el navegador necesita saber de una red para generar con ella."""
    config, diffusion = trained.recipe.network_config(), trained.recipe.diffusion
    vocabulary = getattr(config, "vocabulary", ())
    numbers = map(str, range(trained.num_classes or 0))
    # Los datos pueden tener nombres de clases que la red no lee.
    classes = (trained.class_names or tuple(numbers)) if trained.num_classes else ()
    options = diffusion.options
    sampling = trained.sampling()
    return {
        "name": name,
        "title": title,
        "shipped": name in SHIPPED,
        "shape": trained.shape,
        "schedule": diffusion.schedule,
        "timesteps": diffusion.timesteps,
        "scheduleOptions": {camel(key): value for key, value in options.items()},
        "prediction": diffusion.prediction,
        "variance": diffusion.variance,
        "clip": diffusion.clip,
        "sampling": {
            "sampler": sampling.sampler,
            "steps": sampling.steps,
            "spacing": sampling.spacing,
            "guidance": sampling.guidance,
            "rescale": sampling.rescale,
        },
        "vocabulary": vocabulary,
        "textLength": getattr(config, "text_length", 0) if vocabulary else 0,
        "classes": classes,
        "examples": EXAMPLES if vocabulary else (),
        "image": image_condition(trained),
    }


def image_condition(trained: Trained) -> dict[str, Any] | None:
    """Lo que ve de una imagen una red que parte de ella, y un dibujo que no vio al entrenar."""
    recipe = trained.recipe
    wanted = dict(recipe.data.conditions)
    if "image" not in wanted:
        return None
    _, unseen = split_data(recipe, load_dataset(recipe.data.name, **recipe.data.options))
    assert unseen is not None, f"la receta «{recipe.name}» no aparta nada"
    levels = ((unseen.x[unseen.captions.index(PICTURE)] + 1) * 127.5).round().to(torch.uint8)
    return {
        "kind": wanted["image"],
        "factor": wanted.get("factor", 1),
        "example": levels.flatten().tolist(),
    }


def camel(name: str) -> str:
    """Un nombre como se escribe en TypeScript: de `max_beta` a `maxBeta`."""
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def export() -> None:
    """Exporta cada red y deja la lista que lee la página."""
    with recorded(NAME, "data", ["scripts.build.laboratory"], inputs=sources()) as card:
        folder().mkdir(parents=True, exist_ok=True)
        rows, errors = [], {}
        for name, title, trained in networks():
            path = folder() / f"{name}.onnx"
            errors[name] = export_onnx(trained, path, half=True)
            content = path.read_bytes()
            file = {
                "file": path.name,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            rows.append(described(name, title, trained) | file)
        text = json.dumps(rows, ensure_ascii=False, allow_nan=False)
        (folder() / "redes.json").write_text(text, encoding="utf-8")
        files = ["redes.json", *(row["file"] for row in rows)]
        card["files"] = [f"{NAME}/{file}" for file in files]
        card["values"] |= {"errors": errors}
