"""Las configuraciones de diffusers y las recetas de aquí: de unas a otras, campo a campo.

diffusers (https://github.com/huggingface/diffusers) guarda un modelo en dos configuraciones, la
de la red (`UNet2DModel`) y la del scheduler. Lo que dicen se traduce a una `Recipe`, o se rechaza
por el nombre del campo. Nada de esto necesita el paquete `diffusers`; los valores que tiene un
campo si no se dice son los suyos.
"""

from collections.abc import Mapping
from typing import Any

from ddpm_lit.formats.settings import Settings
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.unet import UNetConfig

UNKNOWN_DATA = "desconocidos"
"""Los datos de una receta que sale de un modelo de diffusers, que no los dice."""

LEVELS, CHANNELS, LAYERS, SIDE = 12, 8192, 16, 8192
CLASSES, TIMESTEPS = 100_000, 100_000
"""Lo más grande que se admite: por encima, una configuración no es de una red que exista."""

VERSION = "0.42.1"
"""La versión de diffusers que se dice al exportar: aquella con que se comprueba."""

DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
UP = {"UpBlock2D": False, "AttnUpBlock2D": True}
"""Los bloques de cada nivel, y si llevan atención."""

SAMPLERS = {
    "DDPMScheduler": "ddpm",
    "DDPMParallelScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "DDIMParallelScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpm++2m",
}
"""Los schedulers, y el sampler de aquí que da sus pasos."""

SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
}
PREDICTIONS = {"epsilon": "epsilon", "sample": "x_start", "v_prediction": "v"}
VARIANCES = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned_range",
}
SPACINGS = {name: name for name in ("leading", "linspace", "trailing")}

_FIXED_UNET: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "class_embed_type": (None,),
}
"""De la red: lo que solo puede valer una cosa; la primera es la que vale si no se dice."""

_UNET_FIELDS = frozenset(_FIXED_UNET) | {
    "sample_size", "in_channels", "out_channels", "block_out_channels", "layers_per_block",
    "down_block_types", "up_block_types", "attention_head_dim", "norm_num_groups", "norm_eps",
    "attn_norm_num_groups", "downsample_padding", "flip_sin_to_cos", "freq_shift", "dropout",
    "resnet_time_scale_shift", "num_class_embeds", "time_embedding_dim", "num_train_timesteps",
}  # fmt: skip

_FIXED_SCHEDULER: dict[str, tuple[Any, ...]] = {
    "trained_betas": (None,),
    "thresholding": (False,),
    "set_alpha_to_one": (True,),
    "timestep_values": (None,),
}
_FIXED_SOLVER: dict[str, tuple[Any, ...]] = {
    "solver_order": (2,),
    "algorithm_type": ("dpmsolver++",),
    "solver_type": ("midpoint",),
    "final_sigmas_type": ("zero",),
    "lower_order_final": (True,),
    "euler_at_final": (False,),
    "use_karras_sigmas": (False,),
    "use_exponential_sigmas": (False,),
    "use_beta_sigmas": (False,),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
    "lambda_min_clipped": (float("-inf"),),
}
"""Del scheduler, y de `DPMSolverMultistepScheduler` además: lo que solo puede valer una cosa."""

_SCHEDULER_FIELDS = frozenset(_FIXED_SCHEDULER) | frozenset(_FIXED_SOLVER) | {
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type",
    "predict_epsilon", "variance_type", "clip_sample", "clip_sample_range", "timestep_spacing",
    "steps_offset", "rescale_betas_zero_snr",
    # Sin umbral dinámico ni flujos, no cambian nada.
    "dynamic_thresholding_ratio", "sample_max_value", "flow_shift", "time_shift_type",
    "tensor_format",
}  # fmt: skip


# --- De diffusers a una receta --------------------------------------------------------------------


def recipe_from(
    name: str, unet: Settings, scheduler: Settings
) -> tuple[Recipe, tuple[int, int, int]]:
    """La receta que dicen las dos configuraciones de un modelo, y la forma de una muestra.

    De cómo se entrenó no dicen nada: `data` y `training` no cuentan. Una red con clases las
    conoce todas; la fila «sin clase», que allí no existe, es una más (véase `padded`).

    El sampler es el del scheduler, con dos diferencias que no están en su configuración: DDIM
    vuelve a calcular el ruido tras recortar (allí, `use_clipped_model_output=True`), y los pasos
    de DPM-Solver se reparten como los demás.

    Args:
        name: cómo se llamará la receta.
        unet: la configuración de la red.
        scheduler: la del scheduler; vacía, la de `DDPMScheduler` tal como viene.

    Returns:
        La receta y la forma, (C, alto, ancho).

    Raises:
        ValueError: si algún campo vale algo que aquí no se puede representar; dice cuál.
    """
    options, shape = _read_unet(unet)
    diffusion, sampling = _read_scheduler(scheduler)
    learned = diffusion["variance"] == "learned_range"
    expected = options["in_channels"] * (2 if learned else 1)
    outputs = unet.integer("out_channels", 3, most=2 * CHANNELS)
    if outputs != expected:
        raise unet.refusal(
            "out_channels",
            outputs,
            f"{expected}: con esa varianza del scheduler, la red da "
            + ("el doble de canales de los" if learned else "los canales")
            + " que recibe",
        )
    if learned:
        options["out_channels"] = outputs
    table = {
        "name": name,
        "description": "Un modelo de diffusers; no dice con qué datos se entrenó.",
        "data": {"name": UNKNOWN_DATA},
        "model": {"kind": "unet", "options": options},
        "diffusion": diffusion | ({"loss": "hybrid"} if learned else {}),
        "training": {"steps": 1},
        "sampling": sampling,
    }
    try:
        return recipe_from_dict(table), shape
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"«{unet.file}» y su scheduler no casan, o no son de una red posible: {error}"
        ) from error


def _read_unet(unet: Settings) -> tuple[dict[str, Any], tuple[int, int, int]]:
    unet.only("_class_name", "UNet2DModel", "UNet2DModel")
    unet.nothing_else(_UNET_FIELDS)
    for name, admitted in _FIXED_UNET.items():
        unet.only(name, admitted[0], *admitted)
    widths = unet.several("block_out_channels", most=LEVELS)
    channels = [
        Settings({"block_out_channels": width}, unet.file).integer(
            "block_out_channels", None, most=CHANNELS
        )
        for width in widths
    ]
    levels = len(channels)
    attention = _block_types(unet, "down_block_types", DOWN, levels)
    if _block_types(unet, "up_block_types", UP, levels) != attention[::-1]:
        raise unet.refusal(
            "up_block_types",
            unet.values["up_block_types"],
            "la atención en los mismos niveles que en down_block_types, al revés",
        )
    groups = unet.integer("norm_num_groups", 32, most=CHANNELS)
    scale_shift = unet.choice(
        "resnet_time_scale_shift",
        "default",
        {"default": False, "scale_shift": True},
    )
    # Sin decirlo, con scale_shift la atención central no lleva normalización.
    unet.only("attn_norm_num_groups", None if scale_shift else groups, groups)
    unet.only("time_embedding_dim", 4 * channels[0], 4 * channels[0])
    heads = unet.values.get("attention_head_dim", 8)
    classes = unet.values.get("num_class_embeds")
    in_channels = unet.integer("in_channels", 3, most=CHANNELS)
    options = {
        "in_channels": in_channels,
        "block_out_channels": channels,
        "layers_per_block": unet.integer("layers_per_block", 2, most=LAYERS),
        "attention": attention,
        "attention_head_dim": None
        if heads is None
        else unet.integer("attention_head_dim", 8, most=CHANNELS),
        "norm_num_groups": groups,
        "norm_eps": unet.number("norm_eps", 1e-5, most=1),
        "downsample_padding": unet.integer(
            "downsample_padding", 1, least=0, most=1
        ),
        "flip_sin_to_cos": unet.flag("flip_sin_to_cos", True),
        "freq_shift": unet.integer("freq_shift", 0, least=0, most=1),
        "scale_shift": scale_shift,
        "dropout": unet.number("dropout", 0.0, most=1)
        if unet.get("dropout", 0.0) != 0
        else 0.0,
    }
    if classes is not None:
        options["num_classes"] = unet.integer(
            "num_class_embeds", None, most=CLASSES
        )
    return options, (in_channels, *_sides(unet, levels))


def _block_types(
    unet: Settings, name: str, known: Mapping[str, bool], levels: int
) -> list[bool]:
    """Qué niveles llevan atención, en el orden del campo."""
    names = [
        str(each).removeprefix("UNetRes")
        for each in unet.several(name, most=LEVELS)
    ]
    if len(names) != levels:
        raise unet.refusal(
            name, names, f"un bloque por nivel de block_out_channels: {levels}"
        )
    for each in names:
        if each not in known:
            raise unet.refusal(name, each, " o ".join(known))
    return [known[each] for each in names]


def _sides(unet: Settings, levels: int) -> tuple[int, int]:
    """El alto y el ancho de una muestra, múltiplos de lo que la red la reduce."""
    size = unet.values.get("sample_size")
    sides: list[Any]
    sides = size if isinstance(size, list) and len(size) == 2 else [size, size]
    factor: int = 2 ** (levels - 1)
    for side in sides:
        whole = isinstance(side, int) and not isinstance(side, bool)
        if not whole or not 0 < side <= SIDE or side % factor:
            raise unet.refusal(
                "sample_size",
                size,
                f"el lado de la imagen, o [alto, ancho], en píxeles: múltiplos de {factor} que no "
                f"pasen de {SIDE}",
            )
    return sides[0], sides[1]


def _read_scheduler(
    scheduler: Settings,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Las tablas `diffusion` y `sampling` de la receta."""
    kind = scheduler.get("_class_name", "DDPMScheduler")
    sampler = scheduler.choice("_class_name", kind, SAMPLERS)
    scheduler.nothing_else(_SCHEDULER_FIELDS)
    solver = sampler == "dpm++2m"
    fixed = _FIXED_SCHEDULER | (_FIXED_SOLVER if solver else {})
    for name, admitted in fixed.items():
        scheduler.only(name, admitted[0], *admitted)
    timesteps = scheduler.integer("num_train_timesteps", 1000, most=TIMESTEPS)
    schedule = scheduler.choice("beta_schedule", "linear", SCHEDULES)
    # Aquí los extremos de «linear» son los de T = 1000 y se reescalan.
    scale = timesteps / 1000 if schedule == "linear" else 1.0
    options: dict[str, Any] = {}
    if schedule != "cosine":
        options = {
            "beta_start": scale * scheduler.number("beta_start", 1e-4, most=1),
            "beta_end": scale * scheduler.number("beta_end", 0.02, most=1),
        }
    if scheduler.flag("rescale_betas_zero_snr", False):
        options["zero_terminal_snr"] = True
    # Antes de prediction_type, el ruido o los datos se elegían así.
    old = "epsilon" if scheduler.flag("predict_epsilon", True) else "sample"
    clip = False if solver else scheduler.flag("clip_sample", True)
    if clip:
        scheduler.only("clip_sample_range", 1.0, 1)
    spacing = scheduler.choice(
        "timestep_spacing", "linspace" if solver else "leading", SPACINGS
    )
    if spacing == "leading":
        scheduler.only("steps_offset", 0, 0)
    diffusion = {
        "schedule": schedule,
        "timesteps": timesteps,
        "options": options,
        "prediction": scheduler.choice("prediction_type", old, PREDICTIONS),
        "variance": scheduler.choice("variance_type", "fixed_small", VARIANCES),
        "clip": clip,
    }
    return diffusion, {"sampler": sampler, "spacing": spacing}


# --- De una receta a diffusers --------------------------------------------------------------------


def configs_of(
    recipe: Recipe, shape: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Las dos configuraciones, de la red y del scheduler, de un modelo de aquí.

    La red con clases tiene una más que ellas, la última: es «sin clase».

    Args:
        recipe: la receta del modelo.
        shape: la forma de una muestra, (C, alto, ancho).

    Returns:
        Lo que se escribe en `unet/config.json` y en `scheduler/scheduler_config.json`.

    Raises:
        ValueError: si diffusers no puede representar la red o el proceso; dice por qué, y que
            con ONNX sí se puede.
    """
    network = recipe.network_config()
    if not isinstance(network, UNetConfig):
        raise _unrepresentable(recipe, "su red no es una U-Net")
    for name, nothing, what in (
        ("vocabulary", (), "lee texto"),
        ("num_scalars", 0, "recibe números como condición"),
        ("condition_channels", 0, "recibe una imagen como condición"),
        ("patch_size", 1, "pliega la imagen en parches"),
    ):
        if getattr(network, name) != nothing:
            raise _unrepresentable(recipe, f"su red {what} ({name})")
    return _unet_config(network, shape), _scheduler_config(recipe)


def _unet_config(network: UNetConfig, shape: tuple[int, ...]) -> dict[str, Any]:
    down, up = (
        {attends: name for name, attends in table.items()}
        for table in (DOWN, UP)
    )
    height, width = shape[1:]
    classes = network.num_classes
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        "sample_size": height if height == width else [height, width],
        "in_channels": network.in_channels,
        "out_channels": network.out_channels or network.in_channels,
        "center_input_sample": False,
        "time_embedding_type": "positional",
        "freq_shift": network.freq_shift,
        "flip_sin_to_cos": network.flip_sin_to_cos,
        "down_block_types": [down[each] for each in network.attention],
        "up_block_types": [up[each] for each in reversed(network.attention)],
        "block_out_channels": list(network.block_out_channels),
        "layers_per_block": network.layers_per_block,
        "mid_block_scale_factor": 1,
        "downsample_padding": network.downsample_padding,
        "dropout": network.dropout,
        "act_fn": "silu",
        "attention_head_dim": network.attention_head_dim,
        "norm_num_groups": network.norm_num_groups,
        "attn_norm_num_groups": network.norm_num_groups,
        "norm_eps": network.norm_eps,
        "resnet_time_scale_shift": "scale_shift"
        if network.scale_shift
        else "default",
        "num_class_embeds": None if classes is None else classes + 1,
    }


def _scheduler_config(recipe: Recipe) -> dict[str, Any]:
    diffusion = recipe.diffusion
    predictions = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    if diffusion.prediction not in predictions:
        raise _unrepresentable(
            recipe, f"predice «{diffusion.prediction}» (diffusion.prediction)"
        )
    if diffusion.variance not in VARIANCES.values():
        raise _unrepresentable(
            recipe,
            f"su varianza es «{diffusion.variance}» (diffusion.variance)",
        )
    spacing = recipe.sampling.spacing
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": VERSION,
        "num_train_timesteps": diffusion.timesteps,
        **_beta_fields(recipe),
        "prediction_type": predictions[diffusion.prediction],
        "variance_type": diffusion.variance,
        "clip_sample": diffusion.clip,
        "clip_sample_range": 1.0,
        "timestep_spacing": spacing if spacing in SPACINGS else "linspace",
        "steps_offset": 0,
    }


def _beta_fields(recipe: Recipe) -> dict[str, Any]:
    """El schedule: por su nombre si diffusers lo tiene, o beta a beta."""
    options = dict(recipe.diffusion.options)
    rescaled = bool(options.pop("zero_terminal_snr", False))
    name = recipe.diffusion.schedule
    betas = make_schedule(name, recipe.diffusion.timesteps, **options).betas
    shapes = {
        "linear": "linear",
        "constant": "linear",
        "scaled_linear": "scaled_linear",
        "quadratic": "scaled_linear",
    }
    fields: dict[str, Any] = {"rescale_betas_zero_snr": rescaled}
    if name in shapes:
        first, last = (float(f"{float(betas[end]):.12g}") for end in (0, -1))
        return fields | {
            "beta_schedule": shapes[name],
            "beta_start": first,
            "beta_end": last,
        }
    if name == "cosine" and not options:
        return fields | {"beta_schedule": "squaredcos_cap_v2"}
    return fields | {"trained_betas": betas.tolist()}


def _unrepresentable(recipe: Recipe, reason: str) -> ValueError:
    return ValueError(
        f"El modelo «{recipe.name}» no cabe en el formato de diffusers: {reason}, y allí no hay "
        "nada que lo represente. Expórtalo a ONNX (--format onnx), que guarda cualquier red."
    )
