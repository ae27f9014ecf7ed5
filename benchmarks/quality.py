"""Calidad con el mismo tiempo: diez minutos de Fashion-MNIST para cada uno.

Cada participante entrena `SECONDS` segundos y genera `SAMPLES` imágenes con `CALLS` llamadas a la
red, y se mide su distancia de Fréchet a las imágenes de prueba, que nadie ha visto, en las
características de un clasificador pequeño. De los rivales se miden los pesos crudos y los de su
EMA, y tres tasas de aprendizaje con decaimiento además de lo que traen por defecto, y se compara
con lo mejor de cada uno.

Son unidades sueltas, que se piden por su nombre y en orden: `python -m benchmarks 'fashion-*'`. Lo
entrenado queda en `build/benchmarks/fashion/`.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.jobs import Job
from benchmarks.records import BUILD
from ddpm_lit.data import Dataset, load_dataset
from ddpm_lit.evaluation.metrics import (
    SmallClassifier,
    features,
    frechet_distance,
    train_classifier,
)
from ddpm_lit.files.weights import load_state, read_weights, write_weights
from ddpm_lit.models.storage import load_model, save_trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import Every, train
from ddpm_lit.training import TrainStep

SECONDS, SAMPLES, CALLS, BATCH = 600.0, 2000, 50, 64
RATES = (1e-3, 3e-4, 1e-4)
TEST = 10_000
NEVER = 10**9


class Measurement(NamedTuple):
    """Una unidad: su nombre, qué mide y cómo."""

    name: str
    what: str
    run: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Contest:
    """Con qué datos, cuánto tiempo y cuántas muestras; `folder` es donde queda lo entrenado."""

    seconds: float
    samples: int
    calls: int
    device: str
    folder: Path
    data: Callable[[], tuple[Dataset, Dataset]]
    classifier_steps: int = 800


def fashion() -> tuple[Dataset, Dataset]:
    """Las imágenes de entrenamiento y las de prueba, que son las diez mil últimas.

    Si están ya en el disco, su carpeta se dice en la variable `FASHION_MNIST`.
    """
    folder = os.environ.get("FASHION_MNIST")
    everything = load_dataset("fashion_mnist", **({"path": folder} if folder else {}))
    first = len(everything) - TEST
    return everything.subset(range(first)), everything.subset(range(first, len(everything)))


def digits() -> tuple[Dataset, Dataset]:
    """Para el ensayo: los dígitos, que están siempre."""
    everything = load_dataset("digits")
    return everything.subset(range(1000)), everything.subset(range(1000, 1797))


def measurements(device: str = "cpu", *, dry: bool = False) -> Iterator[Measurement]:
    """Las unidades de calidad; en el ensayo, solo las nuestras, con dígitos y en segundos."""
    contest = (
        Contest(1.0, 16, 2, device, BUILD / "ensayo", digits, classifier_steps=2)
        if dry
        else Contest(SECONDS, SAMPLES, CALLS, device, BUILD / "fashion", fashion)
    )
    yield Measurement(
        "fashion-real", "distancia entre las imágenes reales", lambda: real_distance(contest)
    )
    yield Measurement("fashion-ddpm_lit", "ddpm_lit, entrenado y medido", lambda: ours(contest))
    if dry:
        return
    for who in ("diffusers", "lucidrains"):
        for label, rate in (("default", None), *((f"{rate:g}", rate) for rate in RATES)):
            name = f"fashion-{who}-{label}"
            train_it = _bound(train_peer, contest, who, name, rate)
            yield Measurement(f"{name}-train", f"{who}, {label}: diez minutos", train_it)
            for weights in ("raw", "ema"):
                what = f"{who}, {label}, pesos {weights}"
                measure_it = _bound(measure_peer, contest, who, name, weights)
                yield Measurement(f"{name}-{weights}", what, measure_it)


def _bound(function: Callable[..., dict[str, Any]], *given: Any) -> Callable[[], dict[str, Any]]:
    return lambda: function(*given)


# --- La distancia ---------------------------------------------------------------------------------


@cache
def judge(contest: Contest) -> tuple[SmallClassifier, Tensor]:
    """El clasificador en cuyas características se mide, y las de las imágenes de prueba."""
    train_set, test_set = contest.data()
    with torch.random.fork_rng(devices=[]):
        classifier = train_classifier(train_set, steps=contest.classifier_steps)
    return classifier, features(classifier, test_set.x)


def distance(contest: Contest, x: Tensor) -> float:
    """La distancia de Fréchet de unas imágenes a las de prueba."""
    classifier, real = judge(contest)
    return frechet_distance(real, features(classifier, x))


def real_distance(contest: Contest) -> dict[str, Any]:
    """Lo que dan otras tantas imágenes de entrenamiento: el suelo de la medida."""
    train_set, _ = contest.data()
    chosen = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(0))
    return {"frechet": distance(contest, train_set.x[chosen[: contest.samples]])}


# --- ddpm_lit -------------------------------------------------------------------------------------


def recipe(shape: tuple[int, ...], steps: int) -> Recipe:
    """La nuestra: predicción v, schedule coseno y parches de 2×2, sin clases como los rivales."""
    return recipe_from_dict(
        {
            "name": "fashion-benchmark",
            "description": "Fashion-MNIST en diez minutos, sin clases.",
            "data": {"name": "folder"},
            "model": {
                "kind": "unet",
                "options": {
                    "in_channels": shape[0],
                    "block_out_channels": [64, 128],
                    "layers_per_block": 1,
                    "attention": [False, True],
                    "norm_num_groups": 16,
                    "patch_size": 2,
                },
            },
            "diffusion": {"schedule": "cosine", "prediction": "v", "variance": "fixed_small"},
            "training": {
                "steps": steps,
                "batch_size": 128,
                "learning_rate": 1e-3,
                "warmup_steps": min(50, steps - 1),
                "decay": "cosine",
                "ema_decay": 0.995,
                "amp": "auto",
            },
            "sampling": {"sampler": "ddim", "steps": CALLS},
        }
    )


class EnoughError(Exception):
    """Ya se ha visto a qué velocidad va."""


def steps_within(recipe: Recipe, dataset: Dataset, seconds: float, device: str) -> int:
    """Cuántos pasos de una receta caben en un tiempo, midiendo los primeros.

    Args:
        recipe: la receta.
        dataset: los datos.
        seconds: el tiempo que hay.
        device: el dispositivo.

    Returns:
        Los pasos, al menos 2: los que caben en lo que hay, menos un 3 % de margen.
    """
    stamps: list[float] = []

    def watch(done: int, state: TrainStep, ema: EMA) -> None:
        stamps.append(time.perf_counter())
        enough = stamps[-1] - stamps[0] > min(20.0, seconds / 10)
        if len(stamps) > 2 and enough:
            raise EnoughError

    with TemporaryDirectory() as folder, suppress(EnoughError):
        train(
            recipe,
            folder,
            dataset=dataset,
            device=device,
            every=Every(log=NEVER, checkpoint=NEVER),
            progress=False,
            consumers=[watch],
        )
    # El primero, que prepara la memoria y compila, no cuenta.
    each = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    return max(2, int(0.97 * seconds / each))


def ours(contest: Contest) -> dict[str, Any]:
    """Entrena lo que cabe en el tiempo y mide la EMA, que es lo que guarda `train`."""
    train_set, _ = contest.data()
    data = Dataset(train_set.x, levels=train_set.levels)
    steps = steps_within(recipe(data.image_shape, NEVER), data, contest.seconds, contest.device)
    path = contest.folder / "ddpm_lit.safetensors"
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        trained = train(
            recipe(data.image_shape, steps),
            folder,
            dataset=data,
            device=contest.device,
            every=Every(checkpoint=NEVER),
            progress=False,
        )
    seconds = time.perf_counter() - started
    save_trained(path, trained)
    started = time.perf_counter()
    samples = load_model(path, contest.device).sample(
        contest.samples, sampler="ddim", steps=contest.calls, device=contest.device
    )
    return {
        "steps": steps,
        "seconds": seconds,
        "sampling": time.perf_counter() - started,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "frechet": distance(contest, samples),
    }


# --- Los rivales ----------------------------------------------------------------------------------


def peer(who: str, device: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """La red de un rival y su pérdida, la de sus valores por defecto: de un lote, un escalar."""
    job = Job(who, network="small", device=device)
    if who == "lucidrains":
        diffusion = peers.lucidrains_diffusion(job, sampling_timesteps=CALLS)
        return diffusion, lambda clean: diffusion((clean + 1) / 2)
    network = peers.diffusers_network(job).to(device)
    return network, peers.diffusers_loss(network)


def train_peer(contest: Contest, who: str, name: str, rate: float | None) -> dict[str, Any]:
    """Entrena un rival el mismo tiempo; guarda sus pesos y los de su EMA.

    Sin tasa, con la suya por defecto, constante; con ella, con el mismo calentamiento y el mismo
    decaimiento hasta 0 que la nuestra.
    """
    train_set, _ = contest.data()
    model, loss_of = peer(who, contest.device)
    own = 1e-4 if who == "diffusers" else 8e-5
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate or own, weight_decay=0.0)
    average = EMA(model, 0.995)
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    for step in count():
        elapsed = (time.perf_counter() - started) / contest.seconds
        if elapsed >= 1:
            break
        if rate is not None:
            shape = min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * elapsed))
            for group in optimizer.param_groups:
                group["lr"] = rate * shape
        rows = torch.randint(len(train_set), (BATCH,), generator=generator)
        loss = loss_of(train_set.x[rows].to(contest.device))
        peers.descend(loss, model, optimizer)
        average.update(model)
    seconds = time.perf_counter() - started
    for weights, network in (("raw", model), ("ema", average.model)):
        path = contest.folder / f"{name}-{weights}.safetensors"
        write_weights(path, dict(network.state_dict()), {"peer": who, "steps": step})
    return {
        "steps": step,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


@torch.no_grad()
def measure_peer(contest: Contest, who: str, name: str, weights: str) -> dict[str, Any]:
    """Genera con los pesos de un rival, con DDIM y las mismas llamadas, y mide la distancia."""
    path = contest.folder / f"{name}-{weights}.safetensors"
    model, _ = peer(who, contest.device)
    load_state(model, read_weights(path)[1], path)
    model.eval()
    torch.manual_seed(0)
    started = time.perf_counter()
    parts = [
        _peer_samples(who, model, min(200, contest.samples - start), contest.calls)
        for start in range(0, contest.samples, 200)
    ]
    seconds = time.perf_counter() - started
    return {"sampling": seconds, "frechet": distance(contest, torch.cat(parts).cpu())}


def _peer_samples(who: str, model: Any, size: int, calls: int) -> Tensor:
    if who == "lucidrains":
        made: Tensor = model.sample(batch_size=size)
        return made * 2 - 1
    return peers.diffusers_ddim(model, size, calls)
