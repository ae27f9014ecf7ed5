"""Varios procesos que entrenan juntos: lo mismo que uno solo, y nada se pierde si uno muere."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tiny
from ddpm_lit.machine.processes import Processes
from ddpm_lit.models.storage import load_model, read_header
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL
from ddpm_lit.runs.train import train

WORDS = (
    *("train", "digits-class", "--profile", "smoke", "--device", "cpu", "--log-every", "1"),
    *("--set", "model.options.dropout=0.0", "--set", "training.decay=constant"),
    *("--set", "training.batch_size=15", "--set", "training.accumulate=2"),
)
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


def command(folder: Path, steps: int, processes: int) -> list[str]:
    return [
        *(sys.executable, "-m", "ddpm_lit", *WORDS, "--run-dir", str(folder)),
        *("--set", f"training.steps={steps}", "--processes", str(processes)),
    ]


def run(folder: Path, steps: int, processes: int) -> str:
    done = subprocess.run(
        command(folder, steps, processes),
        capture_output=True,
        text=True,
        env=ALONE,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("count", "size"), [(1, 5), (2, 5), (3, 5), (4, 4), (8, 100)])
def test_the_rows_of_all_are_the_whole_batch(count: int, size: int) -> None:
    accelerators = [
        SimpleNamespace(process_index=index, num_processes=count) for index in range(count)
    ]
    parts = [Processes(torch.device("cpu"), each).rows(size) for each in accelerators]
    assert [row for part in parts for row in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_two_processes_train_as_one_and_another_number_goes_on(tmp_path: Path) -> None:
    """Lote impar, a trozos, a media época; con dos, y a la mitad con uno solo."""
    run(tmp_path / "one", 6, 1)
    said = run(tmp_path / "two", 3, 2)
    assert said.count("Modelo terminado") == 1
    assert load_model(tmp_path / "two" / MODEL).provenance["processes"] == 2
    run(tmp_path / "two", 6, 1)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in two] == list(range(1, 7))
    for name in ("loss", "grad_norm"):
        expected = [line[name] for line in one]
        assert [line[name] for line in two] == pytest.approx(expected, rel=1e-3)
    # Lo que cuenta es el ruido: con otra semilla la curva es otra.
    assert abs(one[0]["loss"] / two[1]["loss"] - 1) > 1e-3


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.1)


def started(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*command(folder, 10**6, 2), "--checkpoint-every", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ALONE,
        start_new_session=True,
    )
    wait_for((folder / CHECKPOINT).is_file, process)
    return process


def workers(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


def test_a_killed_process_stops_the_others_and_loses_nothing(tmp_path: Path) -> None:
    process = started(tmp_path)
    found = workers(process)
    assert len(found) == 2
    os.kill(found[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "el proceso 1 ha muerto con la señal SIGKILL" in errors
    assert "Traceback" not in errors
    step = read_header(tmp_path / CHECKPOINT).step
    run(tmp_path, step + 1, 2)
    assert load_model(tmp_path / MODEL).provenance["steps"] == step + 1


def test_control_c_stops_all_at_the_same_step(tmp_path: Path) -> None:
    process = started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert errors.count("Entrenamiento detenido tras el paso") == 1
    assert f"tras el paso {read_header(tmp_path / CHECKPOINT).step}." in errors


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (tiny.toy(batch_size=3), "Un lote de 3 ejemplos no se puede repartir entre 4"),
        (
            replace(
                tiny.toy(),
                diffusion=replace(tiny.toy().diffusion, timestep_sampling="importance"),
            ),
            "cada proceso vería solo las suyas",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(
    recipe: Recipe, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = Processes(
        torch.device("cpu"), SimpleNamespace(process_index=0, num_processes=4, device="cpu")
    )
    monkeypatch.setattr("ddpm_lit.runs.train.processes_for", lambda choose: four)
    with pytest.raises(ValueError, match=words):
        train(recipe, tmp_path)


def test_without_accelerate_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install accelerate .*«procesos»"):
        train(tiny.toy(), tmp_path)
