"""Entrena el autoencoder de la difusión latente y lo mete en el paquete.

    python -m scripts.build.autoencoder CARPETA --steps 1500
    python -m scripts.build.autoencoder CARPETA --steps 1500 --commit ESTADO

Se entrena con las imágenes de la receta que lo usa; si se corta, la misma orden sigue donde estaba.
Los pesos quedan en float16, con su ficha, en la carpeta `autoencoders` de los pesos del paquete.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.data import Dataset
from ddpm_lit.data.compositions import Part, draw, held_out
from ddpm_lit.data.openmoji import ATTRIBUTION
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.latent import (
    Autoencoder,
    AutoencoderConfig,
    load_autoencoder,
    save_autoencoder,
)
from ddpm_lit.recipes.data import ENCODED, training_data
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.runs.autoencoder import fit_autoencoder
from scripts.build.ship import LICENSES, current_commit
from scripts.site.project import PACKAGE, ROOT

RECIPE, NAME = "openmoji-latente", "openmoji"
MEASURED = 500


def images() -> Dataset:
    """Las imágenes con que se entrena: las de la receta, cada una una vez."""
    return training_data(load_recipe(RECIPE))


def unseen(size: int = 64) -> Tensor:
    """Los dibujos de las parejas apartadas, que no vio nadie: (N, 3, size, size)."""
    return draw([(Part(*pair),) for pair in held_out()], size)


def measure(model: Autoencoder, data: Dataset) -> dict[str, float]:
    """Lo que se pierde al ir y volver, y la escala del latente.

    Args:
        model: el autoencoder.
        data: las imágenes con que se entrenó.

    Returns:
        De unas cuantas de esas imágenes, repartidas por igual: el error absoluto medio; la PSNR, en
        decibelios, con los píxeles de 0 a 1, y la media y la desviación de sus latentes. Y la PSNR
        de las que no vio.
    """
    seen = data.batch(range(0, len(data), len(data) // MEASURED))["x"]
    x, z = there_and_back(model, seen)
    return {
        "absolute_error": float((x - seen).abs().mean()),
        "psnr": psnr(x, seen),
        "psnr_unseen": psnr(there_and_back(model, unseen())[0], unseen()),
        "latent_mean": float(z.mean()),
        "latent_std": float(z.std()),
        "images": float(len(x)),
    }


@torch.no_grad()
def there_and_back(model: Autoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Unas imágenes después de pasar por el latente, y sus latentes."""
    z = torch.cat([model.encode(part) for part in torch.split(x, ENCODED)])
    back = [model.decode(part).clamp(-1, 1) for part in torch.split(z, ENCODED)]
    return torch.cat(back), z


def psnr(a: Tensor, b: Tensor) -> float:
    """La relación señal-ruido de pico entre imágenes en [-1, 1], en decibelios."""
    return float(-10 * ((a - b) / 2).square().mean().log10())


def ship(model: Autoencoder, provenance: dict[str, Any], data: Dataset, commit: str) -> list[Path]:
    """Escribe los dos ficheros del autoencoder: sus pesos y su ficha."""
    weights = PACKAGE / "weights" / "autoencoders" / f"{NAME}.safetensors"
    save_autoencoder(weights, model, provenance, dtype=torch.float16)
    # Se miden los pesos que quedan en el paquete, ya redondeados.
    metrics = measure(load_autoencoder(weights), data)
    recipe = load_recipe(RECIPE).data
    card = {
        "name": NAME,
        "description": "Autoencoder de emoji: de 64×64×3 a un latente de 16×16×4, y al revés.",
        "config": asdict(model.config),
        "seed": provenance["seed"],
        "steps": provenance["steps"],
        "parameters": sum(each.numel() for each in model.parameters()),
        "hardware": provenance["device"],
        "threads": provenance["threads"],
        "seconds": provenance["seconds"],
        "data": {"name": recipe.name, "attribution": ATTRIBUTION},
        "license": LICENSES[recipe.name],
        "metrics": metrics,
        "versions": {name: provenance[name] for name in ("torch", "ddpm_lit")},
        "commit": commit,
    }
    written = json.dumps(card, ensure_ascii=False, indent=1)
    write_atomically(weights.with_suffix(".json"), f"{written}\n".encode())
    return [weights, weights.with_suffix(".json")]


def main(arguments: Sequence[str] | None = None) -> None:
    """La orden de arriba."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--commit", help="el estado del repositorio que lo entrenó")
    chosen = parser.parse_args(arguments)
    data = images()
    model, provenance = fit_autoencoder(
        AutoencoderConfig(), data, chosen.folder, steps=chosen.steps, progress=sys.stderr.isatty()
    )
    for path in ship(model, provenance, data, chosen.commit or current_commit()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
