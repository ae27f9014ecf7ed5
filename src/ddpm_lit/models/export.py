"""Exportar un modelo entrenado para otros programas: a diffusers y a ONNX."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.conditioning import START, wanted_conditions
from ddpm_lit.files.atomic import atomic_folder
from ddpm_lit.files.weights import FORMAT_VERSION, write_atomically
from ddpm_lit.formats.diffusers import VERSION, configs_of
from ddpm_lit.formats.onnx import onnx_bytes, run_onnx
from ddpm_lit.formats.repository import (
    CONFIG,
    INDEX,
    SCHEDULER_CONFIG,
    SCHEDULER_FOLDER,
    UNET_FOLDER,
    WEIGHTS,
)
from ddpm_lit.models.storage import model_table, save_trained
from ddpm_lit.models.trained import Trained

METADATA = "ddpm_lit"
"""El nombre con que un fichero ONNX lleva, en JSON, lo mismo que dice de sí un `.safetensors`."""


def export_diffusers(
    trained: Trained, folder: str | Path, *, half: bool = False
) -> None:
    """Guarda un modelo como una carpeta de diffusers.

    La abre `DDPMPipeline.from_pretrained`. Con clases, esa orden no sabe pedirlas: se usan
    `UNet2DModel` y `DDPMScheduler`, y la última es «sin clase». El fichero de los pesos lleva
    además la receta, así que `load_model` la recupera entera.

    Args:
        trained: el modelo.
        folder: la carpeta; no existe o está vacía.
        half: si los pesos se guardan en float16.

    Raises:
        FileExistsError: si en la carpeta ya hay algo.
        ValueError: si diffusers no puede representar el modelo, genera latentes, o un peso no cabe
            en float16.
    """
    _check_pixels(trained)
    unet, scheduler = configs_of(trained.recipe, trained.shape)
    if half:
        _check_half(trained)
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": VERSION,
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "unet": ["diffusers", unet["_class_name"]],
    }
    with atomic_folder(Path(folder).expanduser()) as new:
        save_trained(
            new / UNET_FOLDER / WEIGHTS,
            trained,
            dtype=torch.float16 if half else None,
        )
        for path, content in (
            (new / UNET_FOLDER / CONFIG, unet),
            (new / SCHEDULER_FOLDER / SCHEDULER_CONFIG, scheduler),
            (new / INDEX, index),
        ):
            text = json.dumps(content, indent=2, ensure_ascii=False)
            write_atomically(path, f"{text}\n".encode())


def export_onnx(
    trained: Trained, path: str | Path, *, half: bool = False
) -> float:
    """Guarda la red de un modelo en un fichero ONNX, y comprueba que da lo mismo.

    En `metadata_props`, el campo «ddpm_lit» lleva en JSON la receta (con el vocabulario), la
    forma de una muestra, la procedencia y los datos (con los nombres de las clases).

    Args:
        trained: el modelo.
        path: el fichero `.onnx`.
        half: si los pesos se guardan en float16, la mitad de espacio; las cuentas siguen en
            float32.

    Returns:
        La mayor diferencia entre la salida de la red y la del fichero, ejecutado con
        onnxruntime, en una tanda de 3 ejemplos al azar.

    Raises:
        ModuleNotFoundError: si falta el extra `onnx`.
        ValueError: si la red lleva una condición que no se sabe escribir o genera latentes, o un
            peso no cabe en float16.
    """
    _check_pixels(trained)
    if half:
        _check_half(trained)
    model = copy.deepcopy(trained.model).cpu().float().eval()
    table = model_table(
        trained.recipe, trained.shape, trained.provenance, trained.data
    )
    content = onnx_bytes(
        model,
        example_inputs(trained, 2),
        metadata={
            METADATA: json.dumps(
                {"format": FORMAT_VERSION, **table}, ensure_ascii=False
            )
        },
        half=half,
    )
    inputs = example_inputs(trained, 3)
    with torch.no_grad():
        expected = model(**inputs)
    difference = float((run_onnx(content, inputs) - expected).abs().max())
    write_atomically(Path(path).expanduser(), content)
    return difference


def example_inputs(
    trained: Trained, batch: int, seed: int = 0
) -> dict[str, Tensor]:
    """Una tanda al azar de lo que recibe la red de un modelo: `x`, `t` y sus condiciones.

    Args:
        trained: el modelo.
        batch: B, cuántos ejemplos.
        seed: la semilla.

    Returns:
        `x` (B, …), `t` int64 (B,) y cada condición, por su nombre.

    Raises:
        ValueError: si la red lleva una condición que no es de las de `ddpm_lit.conditioning`.
    """
    generator = torch.Generator().manual_seed(seed)
    config: Any = trained.recipe.network_config()

    def integers(most: int, *shape: int) -> Tensor:
        return torch.randint(most + 1, shape, generator=generator)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    inputs = {
        "x": normal(batch, *trained.shape),
        "t": integers(len(trained.schedule) - 1, batch),
    }
    for name in wanted_conditions(config):
        match name:
            case "class_labels":
                inputs[name] = integers(config.num_classes, batch)
            case "tokens":
                last = len(config.vocabulary) + START
                inputs[name] = integers(last, batch, config.text_length)
                inputs[name][:, 0] = START
            case "scalars":
                inputs[name] = normal(batch, config.num_scalars).clamp(-1, 1)
                inputs[name][-1] = torch.nan
            case "image":
                channels = config.condition_channels
                inputs[name] = normal(batch, channels, *trained.shape[1:])
            case _:
                raise ValueError(
                    f"El modelo «{trained.recipe.name}» lleva la condición «{name}», que no es de "
                    "las del paquete y no se sabe escribir en ONNX."
                )
    return inputs


def _check_pixels(trained: Trained) -> None:
    source = trained.recipe.data.autoencoder
    if source is not None:
        raise ValueError(
            f"El modelo «{trained.recipe.name}» son dos redes, la que quita el ruido y el "
            f"autoencoder «{source}» que dibuja lo que sale, y aquí solo se exporta una: usa un "
            "modelo de píxeles."
        )


def _check_half(trained: Trained) -> None:
    for name, value in trained.model.state_dict().items():
        largest = float(value.abs().max())
        if largest > torch.finfo(torch.float16).max:
            raise ValueError(
                f"El peso «{name}» llega a {largest:.4g} y en media precisión no caben números tan "
                "grandes: exporta sin ella."
            )
