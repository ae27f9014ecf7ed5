"""ddpm_lit: los modelos de difusión (DDPM), explicados en español y en código que se ejecuta.

Cada capítulo del libro es un módulo, y cada módulo tiene sus tests. Lo que se usa a
diario está también aquí arriba; se carga cuando se pide, para que `import ddpm_lit` no
cueste nada.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Schedule": "scheduler",
    "make_schedule": "scheduler",
    "respace": "scheduler",
    "q_sample": "forward",
    "q_posterior": "posterior",
    "Diffusion": "diffusion",
    "Denoiser": "backward",
    "p_mean_variance": "backward",
    "UNet": "unet",
    "UNetConfig": "unet",
    "MLP": "networks.mlp",
    "MLPConfig": "networks.mlp",
    "EMA": "networks.ema",
    "algorithm1": "training",
    "gradient_step": "training",
    "TrainingDraws": "noise",
    "sampling_noise": "noise",
    "train": "runs.train",
    "algorithm2": "sampling",
    "make_sampler": "sampling",
    "sample": "sampling",
    "sample_trajectory": "sampling",
    "inpaint": "editing",
    "redraw": "editing",
    "ddim_inversion": "ddim",
    "reconstruct": "ddim",
    "slerp": "ddim",
    "classifier_free": "guidance",
    "bits_per_dimension": "improved",
    "load_dataset": "data",
    "load_recipe": "recipes.reading",
    "recipe_names": "recipes.reading",
    "load_model": "models.storage",
    "save_model": "models.storage",
    "export_diffusers": "models.export",
    "export_onnx": "models.export",
    "load_pretrained": "models.pretrained",
    "pretrained_names": "models.pretrained",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604

if TYPE_CHECKING:
    from ddpm_lit.backward import Denoiser, p_mean_variance
    from ddpm_lit.data import load_dataset
    from ddpm_lit.ddim import ddim_inversion, reconstruct, slerp
    from ddpm_lit.diffusion import Diffusion
    from ddpm_lit.editing import inpaint, redraw
    from ddpm_lit.forward import q_sample
    from ddpm_lit.guidance import classifier_free
    from ddpm_lit.improved import bits_per_dimension
    from ddpm_lit.models.export import export_diffusers, export_onnx
    from ddpm_lit.models.pretrained import load_pretrained, pretrained_names
    from ddpm_lit.models.storage import load_model, save_model
    from ddpm_lit.networks.ema import EMA
    from ddpm_lit.networks.mlp import MLP, MLPConfig
    from ddpm_lit.noise import TrainingDraws, sampling_noise
    from ddpm_lit.posterior import q_posterior
    from ddpm_lit.recipes.reading import load_recipe, recipe_names
    from ddpm_lit.runs.train import train
    from ddpm_lit.sampling import (
        algorithm2,
        make_sampler,
        sample,
        sample_trajectory,
    )
    from ddpm_lit.scheduler import Schedule, make_schedule, respace
    from ddpm_lit.training import algorithm1, gradient_step
    from ddpm_lit.unet import UNet, UNetConfig


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(
            f"El paquete ddpm_lit no tiene nada que se llame «{name}»."
        )
    return getattr(import_module(f"ddpm_lit.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
