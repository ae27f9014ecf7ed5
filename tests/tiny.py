"""Recetas diminutas, para que los tests entrenen en décimas de segundo."""

from typing import Any

import torch
from torch import nn

from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe

_DIFFUSION = {"schedule": "cosine", "timesteps": 20, "prediction": "v", "variance": "fixed_small"}


def toy_table(**training: Any) -> dict[str, Any]:
    """Puntos del plano con un MLP, como la tabla de un TOML."""
    return {
        "name": "toy",
        "description": "Puntos para los tests.",
        "data": {"name": "swiss_roll", "options": {"n": 50}},
        "model": {"kind": "mlp", "options": {"width": 16, "depth": 1}},
        "diffusion": _DIFFUSION | {"clip": False},
        "training": {
            "steps": 12,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "warmup_steps": 3,
            "decay": "cosine",
            "ema_decay": 0.9,
        }
        | training,
    }


def toy(**training: Any) -> Recipe:
    """La receta de `toy_table`."""
    return recipe_from_dict(toy_table(**training))


def digits(**training: Any) -> Recipe:
    """Dígitos con clase y una U-Net con dropout y atención."""
    return recipe_from_dict(
        {
            "name": "digits-tiny",
            "description": "Dígitos para los tests.",
            "data": {"name": "digits", "held_out": 0.9},
            "model": {
                "kind": "unet",
                "options": {
                    "in_channels": 1,
                    "block_out_channels": [8, 16],
                    "layers_per_block": 1,
                    "attention": [False, True],
                    "norm_num_groups": 4,
                    "dropout": 0.2,
                    "num_classes": 10,
                },
            },
            "diffusion": _DIFFUSION,
            "training": {
                "steps": 12,
                "batch_size": 8,
                "learning_rate": 1e-2,
                "decay": "linear",
                "ema_decay": 0.9,
            }
            | training,
        }
    )


def conditional(
    name: str = "condicional",
    *,
    conditions: dict[str, Any] | None = None,
    dropout: float = 0.1,
    **options: Any,
) -> Recipe:
    """La U-Net de `digits` con otras condiciones: `num_classes`, `vocabulary`…, o ninguna."""
    table = digits(condition_dropout=dropout).to_dict()
    del table["model"]["options"]["num_classes"]
    table["model"]["options"] |= options
    table["data"] |= {"held_out": 0.2, "conditions": conditions or {}}
    return recipe_from_dict(table | {"name": name})


def reader() -> Recipe:
    """Una U-Net que lee el nombre de una cifra."""
    words = ("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve")
    return conditional(
        "lee", conditions={"text": True}, vocabulary=words, text_dim=16, text_length=4
    )


def enlarger() -> Recipe:
    """Una U-Net que amplía dígitos de 4×4 a 8×8."""
    conditions = {"image": "low_resolution", "factor": 2}
    return conditional("amplia", conditions=conditions, dropout=0.0, condition_channels=1)


def shaken(recipe: Recipe) -> nn.Module:
    """La red de una receta, sin entrenar y con todos sus pesos distintos de 0."""
    torch.manual_seed(0)
    model = recipe.build_model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Da a todos los parámetros un valor que se note, también a los que nacen nulos o a 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                scale = "norm" in name and name.endswith("weight")
                parameter.copy_(0.3 * noise + scale)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
    return model.eval()
