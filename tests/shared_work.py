"""Lo mismo en un proceso o en varios: lo lanza `test_together.py`.

    python shared_work.py CARPETA PROCESOS

deja en la carpeta, de cada proceso, sus tensores y sus fichas.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

import tiny
from ddpm_lit.data import Dataset
from ddpm_lit.editing import inpaint, redraw
from ddpm_lit.evaluation import evaluate as evaluation
from ddpm_lit.evaluation.card import Protocol
from ddpm_lit.evaluation.inception import Inception
from ddpm_lit.evaluation.metrics import ClassifierConfig, SmallClassifier
from ddpm_lit.machine.processes import Processes, processes_for
from ddpm_lit.models.together import bits_together
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.recipe import Recipe, SamplingConfig

SHAPE = (1, 8, 8)
# Ni 7 ni 2 se reparten por igual entre tres, y con 2 sobra un proceso.
COUNT, FEW = 7, 2


class Stand(nn.Module):
    """En el lugar de Inception, con tantas componentes: una cuenta por imagen, y ningún azar."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        values = (pixels.float() * self.scale).flatten(1)
        places = torch.arange(2048)
        return ((values[:, places % values.shape[1]] * (places + 1)).cos(),)


def model(recipe: Recipe, shape: tuple[int, ...] = SHAPE) -> Trained:
    return Trained(tiny.shaken(recipe), recipe, shape, {})


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def generated(processes: Processes) -> Iterator[tuple[str, Tensor]]:
    classes = model(tiny.conditional(num_classes=10))
    points = model(tiny.toy(), (2,))
    for name in ("ddpm", "ddim", "dpm++2m", "heun"):
        steps = {} if name == "ddpm" else {"steps": 4}
        yield name, points.sample(COUNT, sampler=name, processes=processes, **steps)
    options: dict[str, Any] = {"sampler": "ddim", "steps": 3, "processes": processes}
    labels = [3, 1, 4, 1, 5, 9, 2]
    for batch_size in (1, 128):
        yield (
            f"clase, de {batch_size} en {batch_size}",
            classes.sample(
                COUNT, class_labels=labels, guidance=1.5, batch_size=batch_size, **options
            ),
        )
    yield "otros índices", classes.sample([40, 3, 17, 8], seed=5, **options)
    words = ["tres", "uno", "cuatro", "uno", "cinco", "nueve", "dos"]
    yield "texto", model(tiny.reader()).sample(COUNT, text=words, guidance=1.0, **options)
    small = images(COUNT, 1)
    yield "imagen", model(tiny.enlarger()).sample(COUNT, image=small, **options)
    yield "pocas", classes.sample(FEW, **options)
    yield "ninguna", classes.sample(0, **options)
    mask = torch.ones(8, 8).tril()
    each = inpaint(images(COUNT, 2), mask, jump=1, resamplings=2)
    yield "rellenar, cada una lo suyo", classes.sample(COUNT, edit=each, **options)
    same = redraw(images(1, 3)[0], 0.7, inpaint(images(1, 4)[0], mask))
    yield "rehacer, todas lo mismo", classes.sample(COUNT, edit=same, **options)


def measured(processes: Processes) -> Iterator[tuple[str, Tensor]]:
    trained = model(tiny.conditional(num_classes=10))
    for count in (COUNT, FEW):
        bits = bits_together(
            processes,
            trained.model,
            trained.diffusion,
            images(count, 6),
            condition={"class_labels": torch.arange(count)},
            levels=None,
            seed=2,
        )
        for name in ("per_example", "terms", "x_start_errors"):
            yield f"{count} bits, {name}", getattr(bits, name)
        yield f"{count} bits, prior", torch.tensor(bits.prior)


def digits(count: int, seed: int) -> Dataset:
    """Como los dígitos, que ni se leen ni se entrena nada con ellos: cargarían media biblioteca."""
    names = tuple(map(str, range(10)))
    return Dataset(images(count, seed), torch.arange(count) % 10, label_names=names)


def cards(processes: Processes, cache: Path) -> list[dict[str, Any]]:
    """Dos evaluaciones con todo, la segunda con la referencia ya en la caché."""
    protocol = Protocol(
        *("modelo", None, SamplingConfig("heun", steps=3)),
        **{"samples": 11, "bits": 5, "fid": True},
    )
    torch.manual_seed(0)
    classifier = SmallClassifier(ClassifierConfig()).eval()
    instead = {
        "reference_data": lambda *_, **__: (digits(40, 7), digits(12, 8)),
        "feature_network": lambda *_, **__: classifier,
        "load_inception": lambda *_: Inception(Stand(), "la de los tests", False),
    }
    trained = model(tiny.conditional(num_classes=10))
    with patch.multiple(evaluation, **instead):
        both = [
            evaluation.evaluate(trained, protocol, processes=processes, cache_dir=cache)
            for _ in range(2)
        ]
    return [asdict(card) for card in both]


def results(processes: Processes) -> dict[str, Tensor]:
    return dict([*generated(processes), *measured(processes)])


def work(index: int, count: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    processes = processes_for("cpu")
    assert (processes.index, processes.count) == (index, count)
    save_file(results(processes), Path(folder) / f"{index}.safetensors")
    made = cards(processes, Path(folder) / "caché")
    (Path(folder) / f"{index}.json").write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    count = int(sys.argv[2])
    start_processes(work, (count, port, sys.argv[1]), nprocs=count, start_method="spawn")
