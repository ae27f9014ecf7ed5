"""Calidad con el mismo tiempo: lo que se entrena en diez minutos con Fashion-MNIST.

Primero se mide, por turnos y con la máquina en reposo, cuántos pasos le caben a cada participante
en `SECONDS` segundos (`fashion-pace`). Después cada uno da los suyos, que salen igual aunque la
máquina esté ocupada, y genera `SAMPLES` imágenes con `CALLS` llamadas a la red; se mide su
distancia de Fréchet a las imágenes de prueba, que nadie ha visto, en las características de un
clasificador pequeño. De los rivales se miden los pesos crudos y los de su EMA, y tres tasas de
aprendizaje con decaimiento además de lo que traen por defecto, y se compara con lo mejor de cada
uno.

Son unidades sueltas, que se piden por su nombre y en orden: `python -m benchmarks 'fashion-*'`. Lo
entrenado queda en `build/benchmarks/fashion/`.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.jobs import Job
from benchmarks.records import BUILD, FOLDER, load
from ddpm_lit.data import Dataset, load_dataset
from ddpm_lit.evaluation.metrics import (
    SmallClassifier,
    features,
    frechet_distance,
    train_classifier,
)
from ddpm_lit.files.weights import load_state, read_weights, write_weights
from ddpm_lit.models.storage import load_model, save_trained
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import Every, train

SECONDS, SAMPLES, CALLS, BATCH = 600.0, 2000, 50, 64
TURNS, TURN = 3, 20.0
"""Cuántos turnos tiene cada uno para medir su paso, y cuántos segundos dura cada turno."""

RATES = (1e-3, 3e-4, 1e-4)
TEST = 10_000
NEVER = 10**9


PARTICIPANTS = ("ddpm_lit", "diffusers", "lucidrains")


class Measurement(NamedTuple):
    """Una unidad: su nombre, qué mide y cómo."""

    name: str
    what: str
    run: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Contest:
    """Con qué datos, cuánto tiempo y cuántas muestras.

    Args:
        seconds: el tiempo de cada uno.
        turn: cuánto dura cada uno de los `TURNS` turnos en que se mide su paso.
        samples: cuántas imágenes genera.
        calls: con cuántas llamadas a la red.
        device: dónde.
        folder: dónde queda lo entrenado.
        data: las imágenes de entrenamiento y las de prueba.
        pace: los pasos que caben en `seconds`, por el nombre de cada uno.
        classifier_steps: los pasos del clasificador con que se mide.
    """

    seconds: float
    turn: float
    samples: int
    calls: int
    device: str
    folder: Path
    data: Callable[[], tuple[Dataset, Dataset]]
    pace: Callable[[], Mapping[str, int]]
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


def measured_pace() -> Mapping[str, int]:
    """Los pasos que ha medido la unidad `fashion-pace`."""
    results = load(FOLDER)
    if "fashion-pace" not in results:
        raise ValueError(
            "Falta medir cuántos pasos le caben a cada uno: python -m benchmarks fashion-pace, "
            "con la máquina en reposo."
        )
    steps: dict[str, int] = results["fashion-pace"]["values"]["steps"]
    return steps


def measurements(device: str = "cpu", *, dry: bool = False) -> Iterator[Measurement]:
    """Las unidades de calidad; en el ensayo, solo las nuestras, con dígitos y en segundos."""
    who = ("ddpm_lit",) if dry else PARTICIPANTS
    contest = (
        Contest(
            1.0,
            0.1,
            16,
            2,
            device,
            BUILD / "ensayo",
            digits,
            lambda: {"ddpm_lit": 3},
            classifier_steps=2,
        )
        if dry
        else Contest(
            SECONDS, TURN, SAMPLES, CALLS, device, BUILD / "fashion", fashion, measured_pace
        )
    )
    yield Measurement("fashion-pace", "pasos que caben en el tiempo", lambda: pace(contest, who))
    yield Measurement(
        "fashion-real", "distancia entre las imágenes reales", lambda: real_distance(contest)
    )
    yield Measurement("fashion-ddpm_lit", "ddpm_lit, entrenado y medido", lambda: ours(contest))
    if dry:
        return
    for peer in PARTICIPANTS[1:]:
        for label, rate in (("default", None), *((f"{rate:g}", rate) for rate in RATES)):
            name = f"fashion-{peer}-{label}"
            train_it = _bound(train_peer, contest, peer, name, rate)
            yield Measurement(f"{name}-train", f"{peer}, {label}: entrenado", train_it)
            for weights in ("raw", "ema"):
                what = f"{peer}, {label}, pesos {weights}"
                measure_it = _bound(measure_peer, contest, peer, name, weights)
                yield Measurement(f"{name}-{weights}", what, measure_it)


def _bound(function: Callable[..., dict[str, Any]], *given: Any) -> Callable[[], dict[str, Any]]:
    return lambda: function(*given)


# --- La distancia ---------------------------------------------------------------------------------


@cache
def judge(contest: Contest) -> tuple[SmallClassifier, Tensor]:
    """El clasificador en cuyas características se mide, y las de las imágenes de prueba."""
    train_set, test_set = contest.data()
    # También si quien mide va sin gradientes: el clasificador se entrena aquí.
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
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


# --- Cuántos pasos caben --------------------------------------------------------------------------


def pace(contest: Contest, who: tuple[str, ...] = PARTICIPANTS) -> dict[str, Any]:
    """Cuántos pasos le caben a cada uno en `contest.seconds`, a su paso mediano.

    Se mide por turnos: lo que frene a la máquina los frena a todos.
    """
    times: dict[str, list[float]] = {each: [] for each in who}
    for _ in range(TURNS):
        for each in who:
            times[each] += turn(contest, each)
    return {
        "steps": {each: int(contest.seconds / median(found)) for each, found in times.items()},
        "seconds": {each: median(found) for each, found in times.items()},
    }


class EnoughError(Exception):
    """Se ha acabado el turno."""


def step_times(begin: Callable[[Callable[..., None]], object], seconds: float) -> list[float]:
    """Lo que tardan los pasos de un entrenamiento, sin el primero, que prepara y compila.

    Args:
        begin: lo que entrena; recibe la función a la que ha de llamar al acabar cada paso.
        seconds: cuándo se detiene, con dos pasos al menos.

    Returns:
        Los segundos de cada paso.
    """
    stamps: list[float] = []

    def watch(*_: object) -> None:
        stamps.append(time.perf_counter())
        if len(stamps) > 2 and stamps[-1] - stamps[0] > seconds:
            raise EnoughError

    with suppress(EnoughError):
        begin(watch)
    return [after - before for before, after in pairwise(stamps)]


def turn(contest: Contest, who: str) -> list[float]:
    """Lo que tardan los pasos de un participante en su turno."""

    def rival(watch: Callable[..., None]) -> None:
        model, loss_of = peer(who, contest.device)
        for _ in peer_steps(contest, who, model, loss_of, None, NEVER):
            watch()

    begin = partial(train_ours, contest, NEVER) if who == "ddpm_lit" else rival
    return step_times(begin, contest.turn)


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
                    "block_out_channels": [48, 96],
                    "layers_per_block": 1,
                    "attention": [False, True],
                    "norm_num_groups": 16,
                    "patch_size": 2,
                },
            },
            "diffusion": {"schedule": "cosine", "prediction": "v", "variance": "fixed_small"},
            "training": {
                "steps": steps,
                "batch_size": BATCH,
                "learning_rate": 2e-3,
                "warmup_steps": min(50, steps - 1),
                "decay": "cosine",
                "ema_decay": 0.995,
                "amp": "auto",
            },
            "sampling": {"sampler": "ddim", "steps": CALLS},
        }
    )


def train_ours(contest: Contest, steps: int, watch: Callable[..., None] | None = None) -> Trained:
    """Lo nuestro, entrenado `steps` pasos; `watch` se entera de cada uno."""
    train_set, _ = contest.data()
    data = Dataset(train_set.x, levels=train_set.levels)
    with TemporaryDirectory() as folder:
        return train(
            recipe(data.image_shape, steps),
            folder,
            dataset=data,
            device=contest.device,
            every=Every(checkpoint=NEVER),
            progress=False,
            consumers=[] if watch is None else [watch],
        )


def ours(contest: Contest) -> dict[str, Any]:
    """Da los pasos que caben en el tiempo y mide la EMA, que es lo que guarda `train`."""
    steps, path = contest.pace()["ddpm_lit"], contest.folder / "ddpm_lit.safetensors"
    trained = train_ours(contest, steps)
    save_trained(path, trained)
    samples = load_model(path, contest.device).sample(
        contest.samples, sampler="ddim", steps=contest.calls, device=contest.device
    )
    return {
        "steps": steps,
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


def peer_steps(
    contest: Contest,
    who: str,
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    rate: float | None,
    steps: int,
) -> Iterator[EMA]:
    """Los pasos de un rival; da, en cada uno, la EMA de sus pesos.

    Sin tasa, con la suya por defecto, constante; con ella, con el mismo calentamiento y el mismo
    decaimiento hasta 0 que la nuestra.
    """
    train_set, _ = contest.data()
    own = 1e-4 if who == "diffusers" else 8e-5
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate or own, weight_decay=0.0)
    average = EMA(model, 0.995)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        if rate is not None:
            shape = min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = rate * shape
        rows = torch.randint(len(train_set), (BATCH,), generator=generator)
        loss = loss_of(train_set.x[rows].to(contest.device))
        peers.descend(loss, model, optimizer)
        average.update(model)
        yield average


def train_peer(contest: Contest, who: str, name: str, rate: float | None) -> dict[str, Any]:
    """Da los pasos que le caben a un rival; guarda sus pesos y los de su EMA."""
    steps = contest.pace()[who]
    torch.manual_seed(0)
    model, loss_of = peer(who, contest.device)
    *_, average = peer_steps(contest, who, model, loss_of, rate, steps)
    for weights, network in (("raw", model), ("ema", average.model)):
        path = contest.folder / f"{name}-{weights}.safetensors"
        write_weights(path, dict(network.state_dict()), {"peer": who, "steps": steps})
    return {"steps": steps, "parameters": sum(p.numel() for p in model.parameters())}


@torch.no_grad()
def measure_peer(contest: Contest, who: str, name: str, weights: str) -> dict[str, Any]:
    """Genera con los pesos de un rival, con DDIM y las mismas llamadas, y mide la distancia."""
    path = contest.folder / f"{name}-{weights}.safetensors"
    model, _ = peer(who, contest.device)
    load_state(model, read_weights(path)[1], path)
    model.eval()
    torch.manual_seed(0)
    parts = [
        _peer_samples(who, model, min(200, contest.samples - start), contest.calls)
        for start in range(0, contest.samples, 200)
    ]
    return {"frechet": distance(contest, torch.cat(parts).cpu())}


def _peer_samples(who: str, model: Any, size: int, calls: int) -> Tensor:
    if who == "lucidrains":
        made: Tensor = model.sample(batch_size=size)
        return made * 2 - 1
    return peers.diffusers_ddim(model, size, calls)
