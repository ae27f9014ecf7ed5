"""La construcción: qué se hace a la vez, cuánto se espera que tarde y cómo se cuenta."""

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doit.exceptions import TaskFailed
from doit.task import Task
from scripts.build import __main__ as command
from scripts.build import expected, figures, models, progress
from scripts.build.progress import Estimate, Progress, Work
from scripts.site.project import ROOT

from ddpm_lit.models.pretrained import pretrained_names


def work(seconds: float, **more: Any) -> Work:
    return Work("algo", seconds, **more)


def log(path: Path, step: int) -> str:
    path.write_text(f"{json.dumps({'step': 1})}\n{json.dumps({'step': step})}\n", encoding="utf-8")
    return str(path)


# --- Lo que queda ---------------------------------------------------------------------------------


def test_what_is_left_is_shared_among_the_workers() -> None:
    tasks = {"a": work(100), "b": work(60), "c": work(40)}
    assert Estimate(dict(tasks), 1).left(0) == pytest.approx(200)
    assert Estimate(dict(tasks), 2).left(0) == pytest.approx(100)
    assert Estimate(dict(tasks), 8).left(0) == pytest.approx(100)


def test_a_slow_machine_corrects_the_estimate() -> None:
    estimate = Estimate({"a": work(100), "b": work(300)})
    estimate.start("a", 0.0)
    assert estimate.finish("a", 200.0) == 200
    slowness = (200 + progress.CAUTION) / (100 + progress.CAUTION)
    assert estimate.left(200.0) == pytest.approx(300 * slowness)
    assert estimate.fraction(200.0) == pytest.approx(0.25)


def test_a_training_is_followed_by_its_log(tmp_path: Path) -> None:
    estimate = Estimate({"a": work(100, steps=50, log=log(tmp_path / "a.jsonl", 25))})
    estimate.start("a", 0.0)
    assert estimate.fraction(1.0) == pytest.approx(0.5)
    slowness = (150 + progress.CAUTION) / (50 + progress.CAUTION)
    assert estimate.left(150.0) == pytest.approx(50 * slowness)


def test_a_task_that_lasts_too_long_says_that_the_machine_is_slow() -> None:
    estimate = Estimate({"a": work(10), "b": work(100)})
    estimate.start("a", 0.0)
    assert estimate.left(10.0) == pytest.approx(100 + 10 * (1 - progress.FULL))
    assert estimate.left(200.0) > 500


@pytest.mark.parametrize("text", ["", "{", '{"loss": 1}\n', "[]\n"])
def test_an_unfinished_log_is_step_zero(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    assert work(1, steps=10, log=str(tmp_path / "a.jsonl")).step() == 0
    assert work(1, steps=10, log=str(tmp_path / "no.jsonl")).step() == 0


def test_what_was_done_does_not_count() -> None:
    estimate = Estimate({"a": work(100), "b": work(100)})
    estimate.skip("a")
    assert estimate.left(0) == 100
    estimate.start("b", 0.0)
    assert 0 < estimate.left(1000.0) < 100
    estimate.finish("b", 1000.0)
    assert (estimate.left(1000.0), estimate.fraction(1000.0)) == (0, 1)


# --- Lo que se dice -------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def task(name: str, **meta: Any) -> Task:
    return Task(name, None, meta={"title": f"hacer {name}", "seconds": 10.0, **meta})


def reporter(stream: io.StringIO, *tasks: Task) -> tuple[Progress, list[float]]:
    """Un `Progress` de unas tareas y su reloj, que se mueve a mano."""
    now = [0.0]
    made = Progress(stream, {}, clock=lambda: now[0])
    made.estimate.workers = 1
    known = {each.name: each for each in tasks}
    known["group"] = Task("group", None, task_dep=[each.name for each in tasks])
    known["aparte"] = task("aparte")
    made.initialize(known, ["group"])
    return made, now


def test_a_log_says_what_starts_what_ends_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REFRESH", 3600.0)
    stream = io.StringIO()
    training = task("train:a", steps=100, log=log(tmp_path / "a.jsonl", 40))
    other = task("draw:b")
    made, now = reporter(stream, training, other)
    made.execute_task(training)
    now[0] = 8.0
    assert made.line() == ("[8 s] 0 de 2 tareas; quedan 19 s; hacer train:a, paso 40 de 100")
    made.add_success(training)
    made.skip_uptodate(other)
    made.complete_run()
    assert stream.getvalue().splitlines() == [
        "…  hacer train:a",
        "✓  hacer train:a: 8 s",
        "Construcción: 1 de 1 tareas hechas en 8 s.",
    ]


def test_a_terminal_has_a_bar_for_everything_and_one_for_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REFRESH", 3600.0)
    stream = Terminal()
    training = task("train:a", steps=100, log=log(tmp_path / "a.jsonl", 40))
    made, _ = reporter(stream, training, task("draw:b"))
    made.execute_task(training)
    shown = stream.getvalue()
    assert "Construcción:  20 %" in shown
    assert "0 de 2 tareas, quedan 13 s" in shown
    assert "hacer train:a:  40 %" in shown
    assert "40 de 100 pasos" in shown
    made.complete_run()
    assert made.bars == {}


def test_lines_go_on_coming_while_a_task_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REFRESH", 0.01)
    monkeypatch.setattr(progress, "LINE", 0.05)
    stream = io.StringIO()
    known = {"draw:a": task("draw:a")}
    made = Progress(stream, {})
    made.initialize(known, ["draw:a"])
    made.execute_task(known["draw:a"])
    for _ in range(500):
        if stream.getvalue().count("0 de 1 tareas; quedan") >= 2:
            break
        made._stop.wait(0.01)
    made.complete_run()
    assert stream.getvalue().count("0 de 1 tareas; quedan") >= 2


def test_a_failure_is_written_with_its_reason() -> None:
    stream = io.StringIO()
    made, _ = reporter(stream, wrong := task("draw:a"))
    made.execute_task(wrong)
    made.add_failure(wrong, TaskFailed("se ha roto"))
    made.complete_run()
    assert "draw:a" in stream.getvalue()
    assert "se ha roto" in stream.getvalue()


# --- Cuánto se espera -----------------------------------------------------------------------------


def test_expected_seconds_come_from_the_recipe_and_then_from_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDPM_PROFILE", "cpu")
    monkeypatch.setattr(expected, "card_path", lambda name: tmp_path / f"{name}.json")
    recipe = models.recipe("digits").expect["cpu"]["seconds"]
    assert expected.seconds("train:digits", ["digits"]) == expected.ONE_CORE * recipe
    assert expected.seconds("draw:nueva", ["una", "otra"]) == expected.OTHERS
    for name, seconds in (("una", 7.5), ("otra", 2.0)):
        card = {"provenance": {"seconds": seconds}}
        (tmp_path / f"{name}.json").write_text(json.dumps(card), encoding="utf-8")
    assert expected.seconds("draw:nueva", ["una", "otra"]) == 9.5


@pytest.mark.parametrize(("profile", "workers"), [("cpu", 6), ("smoke", 6), ("gpu", 4)])
def test_as_many_tasks_as_cores_and_four_if_they_share_a_gpu(
    monkeypatch: pytest.MonkeyPatch, profile: str, workers: int
) -> None:
    monkeypatch.setenv("DDPM_PROFILE", profile)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert expected.workers() == workers


def test_expected_seconds_name_tasks_that_exist() -> None:
    names = {f"draw:{name}" for name in figures.CHAPTERS}
    for task_name in expected.SECONDS:
        assert task_name in names or task_name.startswith(("train:", "sample:", "evaluate"))


# --- Las tareas -----------------------------------------------------------------------------------


@pytest.fixture
def dodo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Las tareas de doit, en el perfil de los tests."""
    monkeypatch.setenv("DDPM_PROFILE", "smoke")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sys.modules.pop("scripts.build.dodo", None)
    yield importlib.import_module("scripts.build.dodo")
    sys.modules.pop("scripts.build.dodo", None)


def test_every_task_says_what_it_does_and_the_longest_come_first(dodo: Any) -> None:
    groups = [list(dodo.task_train()), list(dodo.task_sample()), list(dodo.task_draw())]
    for tasks in [*groups, [dodo.task_evaluate()]]:
        described = [Work(**each["meta"]) for each in tasks]
        assert all(each.title and each.seconds > 0 for each in described)
        assert described == sorted(described, key=lambda each: -each.seconds)


def test_only_the_models_of_the_chapters_are_trained(dodo: Any) -> None:
    trained = {each["name"]: Work(**each["meta"]) for each in dodo.task_train()}
    assert trained.keys() == {"swiss-roll", "digits", "digits-class", "classifier"}
    for name in models.MODELS:
        assert trained[name].steps == models.recipe(name).training.steps
        assert trained[name].log == str(models.training_log(name))
    assert not trained.keys() & set(pretrained_names())


def test_one_task_for_each_core_and_one_thread_for_each_task(dodo: Any) -> None:
    assert dodo.DOIT_CONFIG["num_process"] == expected.workers()
    code = "import scripts.build.dodo, torch; print(torch.get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "1"


def test_ctrl_c_says_that_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.DoitMain, "run", interrupted)
    assert command.main([]) == 130
    assert "no se repite" in capsys.readouterr().err
