"""Generar y medir entre varios procesos: lo mismo que uno solo, y nada a medias si uno muere."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import shared_work
import tiny
from ddpm_lit.cli import launch
from ddpm_lit.evaluation.card import figures, read_card
from ddpm_lit.machine.ahead import cores
from ddpm_lit.machine.processes import ALONE, Processes
from ddpm_lit.models.storage import save_model
from ddpm_lit.models.together import sample_together
from terminal import Run, invoker

HERE = Path(__file__).parent
COUNT = 3
ALONE_IN_A_CORE = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return invoker(capfd)


def python(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env=ALONE_IN_A_CORE,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Desde Python ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """La carpeta en que tres procesos han dejado lo que hacen juntos."""
    folder = tmp_path_factory.mktemp("juntos")
    python(str(HERE / "shared_work.py"), str(folder), str(COUNT))
    return folder


def test_three_processes_generate_and_measure_as_one(shared: Path) -> None:
    alone = shared_work.results(ALONE)
    for index in range(COUNT):
        together = load_file(shared / f"{index}.safetensors")
        assert together.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(
                together[name], expected, rtol=1e-5, atol=5e-6, msg=lambda text, name=name: name
            )
    # Si una muestra ocupara el lugar de otra, se habría notado.
    for name, value in shared_work.generated(ALONE):
        flat = value.flatten(1)
        assert (torch.cdist(flat, flat) + torch.eye(len(flat)) > 0.05).all(), name


def test_the_card_is_the_one_of_a_single_process(shared: Path, tmp_path: Path) -> None:
    (alone, _) = shared_work.cards(ALONE, tmp_path)
    expected = figures(alone["results"][0])
    assert {"inception.fid.to_data", "bits.total", "frechet.samples.to_data"} <= expected.keys()
    for index in range(COUNT):
        cards = json.loads((shared / f"{index}.json").read_text(encoding="utf-8"))
        for card in cards:
            assert figures(card["results"][0]) == pytest.approx(expected, rel=1e-4)
            assert card["calls"] == alone["calls"] == 5
            assert card["environment"]["processes"] == COUNT
    assert alone["environment"]["processes"] == 1


def in_two(**attributes: Any) -> Processes:
    """El primero de dos procesos que no están."""
    accelerator = SimpleNamespace(process_index=0, num_processes=2, **attributes)
    return Processes(torch.device("cpu"), accelerator)


def test_only_one_place_is_said() -> None:
    model = shared_work.model(tiny.toy(), (2,))
    with pytest.raises(ValueError, match=r"device = 'cpu' y processes.*processes_for"):
        model.sample(3, device="cpu", processes=in_two())


@pytest.mark.parametrize("rows", [3, 5])
def test_a_condition_is_checked_before_it_is_shared(rows: int) -> None:
    model = shared_work.model(tiny.conditional(num_classes=10))
    condition = {"class_labels": torch.zeros(rows, dtype=torch.int64)}
    with pytest.raises(ValueError, match=f"tiene {rows} filas y se han pedido 4 muestras"):
        sample_together(
            in_two(), model.model, model.diffusion, (1, 8, 8), indices=range(4), condition=condition
        )


def test_what_is_joined_keeps_its_order_and_its_bits() -> None:
    """Ni -0 ni NaN se pierden, y las partes pueden ser desiguales."""
    mine, others = torch.tensor([[-0.0, torch.nan]] * 3), torch.tensor([[1.0, -2.0]] * 2)

    def gather(padded: Tensor) -> Tensor:
        assert torch.equal(padded.nan_to_num(7), mine.nan_to_num(7))
        return torch.cat([padded, others, torch.zeros(1, 2)])

    found = in_two(gather=gather).joined(mine, 5)
    assert found.numpy().tobytes() == torch.cat([mine, others]).numpy().tobytes()


# --- La orden -------------------------------------------------------------------------------------


def saved(folder: Path) -> str:
    recipe = tiny.toy()
    save_model(folder / "puntos.safetensors", tiny.shaken(recipe), recipe, (2,), {})
    return str(folder / "puntos.safetensors")


def test_with_more_processes_than_samples_the_files_are_written_once(
    run: Run, tmp_path: Path
) -> None:
    words = ("sample", "digits-ink", "-n", "2", "--steps", "3", "--sampler", "ddim")
    files = [("--out", "png"), ("--animation", "gif"), ("--tensors", "safetensors")]
    made = {
        who: [word for option, kind in files for word in (option, str(tmp_path / f"{who}.{kind}"))]
        for who in ("uno", "tres")
    }
    assert run(*words, "--device", "cpu", *made["uno"]).code == 0
    said = python(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"),
        *("-m", "ddpm_lit", *words, "--device", "cpu", *made["tres"]),
    )
    assert len(said.splitlines()) == len(files)
    assert "2 muestras en 3 pasos de ddim" in said
    assert "cpu, 3 procesos" in said
    one, three = (load_file(tmp_path / f"{who}.safetensors") for who in made)
    assert one.keys() == three.keys()
    torch.testing.assert_close(three["samples"], one["samples"], rtol=1e-5, atol=5e-6)
    one_film, three_film = (Image.open(tmp_path / f"{who}.gif") for who in made)
    assert one_film.n_frames == three_film.n_frames == 4
    assert one_film.size == three_film.size


def test_a_card_is_repeated_with_other_processes_and_says_so(run: Run, tmp_path: Path) -> None:
    words = ("-n", "9", "--steps", "4", "--device", "cpu", "--out", "antes.json")
    before = run("evaluate", saved(tmp_path), *words)
    assert before.code == 0, before.err
    orders = ("evaluate", "--card", "antes.json", "--processes", "2", "--out", "luego.json")
    said = python("-m", "ddpm_lit", *orders)
    assert "(cpu, 2 procesos)" in re.sub(r"\(\S+ s, ", "(", said)
    assert "environment.processes: «1» → «2»" in said
    assert said.count("luego.json") == 1
    cards = [read_card(name) for name in ("antes.json", "luego.json")]
    old, new = (figures(card.results[0]) for card in cards)
    assert new == pytest.approx(old, rel=1e-4)
    assert cards[1].environment["processes"] == 2


@contextmanager
def endless(folder: Path, announced: Path) -> Iterator[subprocess.Popen[str]]:
    """Una orden en dos procesos que no acabaría en días, y que escribiría en `muestras.png`."""
    order = ("sample", saved(folder), "-n", "1000000", "--batch-size", "1", "--device", "cpu")
    process = subprocess.Popen(
        [
            *(sys.executable, str(HERE / "announced.py"), str(announced)),
            *(*order, "--processes", "2", "--out", str(folder / "muestras.png")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ALONE_IN_A_CORE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def born(process: subprocess.Popen[str]) -> list[int]:
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "spawn_main" in line]


@pytest.mark.parametrize(
    ("when", "signal_name", "code", "words"),
    [
        ("generando", "SIGKILL", 1, "proceso [01] ha muerto con la señal SIGKILL .*Ningún fichero"),
        ("generando", "SIGINT", 130, "Interrumpido"),
        # Aún no han importado nada, ni han quedado entre ellos.
        ("al nacer", "SIGINT", 130, "Interrumpido"),
    ],
)
def test_a_stop_leaves_nothing_half_done(
    when: str, signal_name: str, code: int, words: str, tmp_path: Path
) -> None:
    announced = tmp_path / "generando"
    announced.mkdir()
    out = tmp_path / "muestras.png"
    out.write_bytes(b"las de antes")
    with endless(tmp_path, announced) as process:
        kept = sorted(tmp_path.iterdir())
        limit = time.monotonic() + 240
        while len(born(process) if when == "al nacer" else [*announced.iterdir()]) < 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.1)
        if signal_name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(max(born(process)), signal.SIGKILL)
        said, errors = process.communicate(timeout=240)
    assert process.returncode == code
    assert len(re.findall(words, errors)) == 1
    assert "Traceback" not in errors
    assert said == ""
    assert sorted(tmp_path.iterdir()) == kept
    assert out.read_bytes() == b"las de antes"


# --- De qué se entera quien mira ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "failed", "heard", "code", "words"),
    [
        # El primero echa en falta al que ha muerto, y falla antes de que se le detenga.
        ([1, -signal.SIGKILL], 0, {}, 1, "proceso 1 ha muerto con la señal SIGKILL .*Y esto"),
        ([-signal.SIGTERM, -signal.SIGTERM], 1, {}, 1, "proceso 1 ha muerto con la señal SIGTERM"),
        # Los dos se quejan de lo mismo, y lo del primero ya se ha visto.
        ([-signal.SIGTERM, 2], 1, {0: "", 1: "Error: no."}, 1, "^$"),
        ([-signal.SIGTERM, 2], 1, {1: "Error: no."}, 2, "^Error: no.$"),
        ([1, 2], 0, {1: "Error: no."}, 2, "^Error: no.$"),
        # Un fallo del programa, que enseña quien lo recibe.
        ([1, -signal.SIGTERM], 0, {}, None, "^$"),
    ],
)
def test_the_reason_is_said_once(
    codes: list[int],
    failed: int,
    heard: dict[int, str],
    code: int | None,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index, text in heard.items():
        (tmp_path / str(index)).write_text(text, encoding="utf-8")
    assert launch._reason(codes, failed, tmp_path, "Y esto se hace.") == code
    assert re.search(words, capsys.readouterr().err)


@pytest.mark.parametrize(("rank", "shown"), [("0", "hola\n"), ("1", "")])
def test_only_the_first_speaks(
    rank: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", rank)
    with launch.first_speaks():
        print("solo")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with launch.first_speaks():
        print("hola")
    assert capsys.readouterr().out == f"solo\n{shown}"


@pytest.mark.parametrize("asked", [None, "5"])
def test_the_cores_are_shared_unless_the_threads_are_said(
    asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    launch._take_cores(2)
    share = max(1, cores() // 2)
    assert threads == ([share] if asked is None else [])
    assert os.environ["OMP_NUM_THREADS"] == (asked or str(share))
