"""Las recetas de las réplicas: una sola red y un solo presupuesto; cambia lo que se compara."""

from typing import Any

from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe

STEPS = 800
LONG_STEPS = 4000
SNAPSHOTS = (100, 200, 300, 400, 600, 800, 1200)
"""Pasos de entrenamiento en que se mide la calidad (min-SNR)."""

NETWORK: dict[str, Any] = {
    "kind": "unet",
    "options": {
        "in_channels": 1,
        "block_out_channels": [48, 64],
        "layers_per_block": 1,
        "attention": [False, False],
        "norm_num_groups": 8,
        "dropout": 0.1,
        "num_classes": 10,
        "patch_size": 2,
    },
}
TRAINING: dict[str, Any] = {
    "steps": STEPS,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "warmup_steps": 50,
    "decay": "cosine",
    "ema_decay": 0.995,
}
LEARNED = {"variance": "learned_range", "loss": "hybrid"}
CONSTANT_RATE = {"steps": SNAPSHOTS[-1], "decay": "constant", "ema_decay": 0.99}
"""Con la tasa constante, lo que hay en cada paso no depende de cuándo se va a parar."""

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "mu-vlb": {"diffusion": {"prediction": "posterior_mean", "weighting": "vlb"}},
    "mu-mse": {"diffusion": {"prediction": "posterior_mean"}},
    "epsilon-vlb": {"diffusion": {"weighting": "vlb"}},
    "epsilon-simple": {},
    "linear-hybrid": {"diffusion": LEARNED},
    "cosine-simple": {"diffusion": {"schedule": "cosine"}},
    "cosine-hybrid": {"diffusion": {"schedule": "cosine", **LEARNED}},
    **{
        f"guidance-{p}": {
            "diffusion": {"schedule": "cosine"},
            "training": {"condition_dropout": p},
        }
        for p in (0.1, 0.2, 0.5)
    },
    **{
        name: {
            "diffusion": {"schedule": "cosine", "prediction": prediction, "weighting": weighting},
            "training": CONSTANT_RATE,
        }
        for name, prediction, weighting in (
            ("x-constant", "x_start", "uniform"),
            ("x-min-snr", "x_start", "min_snr"),
            ("epsilon-constant", "epsilon", "uniform"),
        )
    },
}
"""Lo que cada variante cambia de la receta común, que es la de Ho et al. con $L_{simple}$."""

LONGER = (
    "epsilon-simple",
    "epsilon-vlb",
    "mu-vlb",
    "linear-hybrid",
    "cosine-simple",
    "cosine-hybrid",
)
"""Las variantes que también se entrenan cinco veces más."""
VARIANTS |= {
    f"{name}-long": VARIANTS[name] | {"training": {"steps": LONG_STEPS}} for name in LONGER
}

UNIFORM_SCHEDULES: dict[str, dict[str, Any]] = {
    "scaled_linear": {"schedule": "scaled_linear"},
    "linear": {"schedule": "linear"},
    "cosine": {"schedule": "cosine"},
    "rescaled": {"schedule": "scaled_linear", "options": {"zero_terminal_snr": True}},
}


def digits_recipe(variant: str, seed: int) -> Recipe:
    """La receta de una variante con dígitos."""
    changes = VARIANTS[variant]
    diffusion = {
        "schedule": "linear",
        "timesteps": 1000,
        "prediction": "epsilon",
        "variance": "fixed_large",
    } | changes.get("diffusion", {})
    outputs = {"out_channels": 2} if diffusion["variance"] == "learned_range" else {}
    return recipe_from_dict(
        {
            "name": variant,
            "description": "",
            "seed": seed,
            "data": {"name": "digits", "held_out": 0.2},
            "model": NETWORK | {"options": NETWORK["options"] | outputs},
            "diffusion": diffusion,
            "training": TRAINING | changes.get("training", {}),
        }
    )


def uniform_recipe(name: str, seed: int) -> Recipe:
    """La receta de las imágenes lisas de 32×32 con uno de los schedules.

    La red predice $x_0$, que es lo único que se puede predecir con los cuatro.
    """
    options = {
        "in_channels": 1,
        "block_out_channels": [48],
        "layers_per_block": 1,
        "attention": [False],
        "norm_num_groups": 8,
        "patch_size": 8,
    }
    return recipe_from_dict(
        {
            "name": f"uniform-{name}",
            "description": "",
            "seed": seed,
            "data": {"name": "uniform"},
            "model": {"kind": "unet", "options": options},
            "diffusion": {
                "timesteps": 1000,
                "prediction": "x_start",
                "variance": "fixed_small",
                **UNIFORM_SCHEDULES[name],
            },
            "training": TRAINING,
        }
    )
