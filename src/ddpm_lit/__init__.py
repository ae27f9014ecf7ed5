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
    "p_mean_variance": "backward",
    "UNet": "unet",
    "UNetConfig": "unet",
    "MLP": "networks.mlp",
    "MLPConfig": "networks.mlp",
    "EMA": "networks.ema",
    "algorithm1": "training",
    "train": "training",
    "algorithm2": "sampling",
    "make_sampler": "sampling",
    "sample": "sampling",
    "sample_trajectory": "sampling",
    "ddim_inversion": "ddim",
    "reconstruct": "ddim",
    "slerp": "ddim",
    "classifier_free": "guidance",
    "bits_per_dimension": "improved",
    "load_dataset": "data",
    "load_recipe": "recipes.recipe",
    "recipe_names": "recipes.recipe",
    "load_model": "models.storage",
    "save_model": "models.storage",
    "load_pretrained": "models.pretrained",
    "pretrained_names": "models.pretrained",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604

if TYPE_CHECKING:
    from ddpm_lit.backward import p_mean_variance
    from ddpm_lit.data import load_dataset
    from ddpm_lit.ddim import ddim_inversion, reconstruct, slerp
    from ddpm_lit.forward import q_sample
    from ddpm_lit.guidance import classifier_free
    from ddpm_lit.improved import bits_per_dimension
    from ddpm_lit.models.pretrained import load_pretrained, pretrained_names
    from ddpm_lit.models.storage import load_model, save_model
    from ddpm_lit.networks.ema import EMA
    from ddpm_lit.networks.mlp import MLP, MLPConfig
    from ddpm_lit.posterior import q_posterior
    from ddpm_lit.recipes.recipe import load_recipe, recipe_names
    from ddpm_lit.sampling import algorithm2, make_sampler, sample, sample_trajectory
    from ddpm_lit.scheduler import Schedule, make_schedule, respace
    from ddpm_lit.training import algorithm1, train
    from ddpm_lit.unet import UNet, UNetConfig


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"El paquete ddpm_lit no tiene nada que se llame «{name}».")
    return getattr(import_module(f"ddpm_lit.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
