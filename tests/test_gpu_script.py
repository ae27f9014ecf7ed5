"""El guion de la GPU, ensayado entero en la CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import records
from scripts.gpu import __main__ as command
from scripts.gpu import checks, training
from torch import nn

from ddpm_lit.models.storage import load_model

ROOT = Path(__file__).resolve().parents[1]
PLACE = checks.where("cpu", dry=True)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Las tres fases, cada una en su proceso, con `--dry`."""
    folder = tmp_path_factory.mktemp("gpu")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.gpu", "--dry", "--out", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_check_passes_and_says_what_it_measured(output: Path) -> None:
    found = records.load(output / "results")["checks"]["values"]
    assert set(checks.CHECKS) == set(found)
    assert all(found[name]["passed"] for name in checks.CHECKS)
    # En la CPU son igualdades exactas.
    assert found["resuming"]["error"] == found["noise"]["error"] == 0
    assert found["sampling"]["largest"] == found["graphs"]["largest"] == 0
    assert 0 < found["sampling"]["bfloat16"] < 0.1
    assert found["strides"]["lost"] == 0
    assert 0 < found["gradients"]["whole"] < 0.05


def test_the_table_is_filled(output: Path) -> None:
    names = {path.stem for path in (output / "results").iterdir()}
    assert names == {"checks", "train-cifar10", "profile-train-cifar10"}


def test_the_weights_come_back_and_load(output: Path) -> None:
    told = json.loads((output / "weights" / "training.json").read_text(encoding="utf-8"))
    trained = load_model(output / "weights" / "digits-class.safetensors")
    assert trained.provenance["steps"] == told["digits-class"]["steps"] >= 2
    curve = (output / "weights" / "digits-class.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(curve[-1])["loss"] == told["digits-class"]["loss"]
    assert trained.sample(2, sampler="ddim", steps=2, device="cpu").shape == (2, 1, 8, 8)
    assert (output / "weights" / "digits-class.png").is_file()
    assert all(path.stat().st_size < 16_000_000 for path in output.rglob("*.*"))


# --- Cada comprobación nota lo suyo ---------------------------------------------------------------


def test_strides_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = nn.GroupNorm.forward
    monkeypatch.setattr(nn.GroupNorm, "forward", lambda self, x: usual(self, x).contiguous())
    assert checks.strides(PLACE)["lost"] > 0


def test_a_wrong_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(place: checks.Where, **how: Any) -> nn.Module:
        model = random_network(place, **how)
        if how:
            weight = dict(model.named_parameters())["mid_block.resnets.0.conv1.weight"]
            weight.register_hook(lambda gradient: -gradient)
        return model

    random_network = checks.random_network
    monkeypatch.setattr(checks, "random_network", damaged)
    with pytest.raises(AssertionError, match=r"mid_block\.resnets\.0\.conv1\.weight"):
        checks.gradients(PLACE)


def test_another_noise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter((torch.zeros(64, 3, 8, 8), torch.ones(64, 3, 8, 8)))

    class Draws:
        def __init__(self, seed: int, *, step: int) -> None: ...

        def __call__(self, x: torch.Tensor, timesteps: int) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(64), next(draws)

    monkeypatch.setattr(checks, "TrainingDraws", Draws)
    with pytest.raises(AssertionError, match="el ruido se aparta"):
        checks.noise(PLACE)


def test_a_check_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(place: checks.Where) -> checks.Measured:
        raise AssertionError("no sale")

    monkeypatch.setattr(checks, "CHECKS", {"rota": broken, "noise": checks.noise})
    assert checks.main(tmp_path, "cpu", dry=True) == 1
    found = records.load(tmp_path)["checks"]["values"]
    assert (found["rota"]["error"], found["noise"]["passed"]) == ("no sale", True)


def test_a_recipe_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    assert training.main(tmp_path, 1.0, "cpu", dry=True, names=("no-existe", "digits-class")) == 1
    found = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert "no-existe" in found["no-existe"]["error"] and found["digits-class"]["steps"] >= 2


def test_when_the_time_is_over_what_there_is_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "steps_within", lambda *_: 10_000)
    found = training.train_for("digits-class", 1.0, "cpu", tmp_path, profile="smoke")
    assert 1 <= found["steps"] < found["planned"] == 10_000
    trained = load_model(tmp_path / "digits-class.safetensors")
    assert trained.provenance["steps"] == found["steps"]


def test_the_runs_compared_with_the_cpu_differ_only_in_their_precision() -> None:
    for name in ("digits-class", "openmoji-texto"):
        mixed, exact = training.RUNS[name], training.RUNS[f"{name}-float32"]
        assert mixed.amp and not exact.amp and mixed.steps is not None
        assert mixed._replace(amp=False) == exact


def test_weights_that_are_too_big_do_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LARGEST_FILE", 1000)
    with pytest.raises(ValueError, match="más de 1000"):
        training.train_for("digits-class", 0.1, "cpu", tmp_path, profile="smoke")
    assert not (tmp_path / "digits-class.safetensors").exists()


def test_an_unknown_phase_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["entrenar", "--out", "x"])
    assert "no hay ninguna fase «entrenar»" in capsys.readouterr().err
