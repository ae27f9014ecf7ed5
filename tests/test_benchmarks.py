"""Los benchmarks: las cuentas, la carrera, lo que se guarda y lo que enseña la página."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import memory, ours, profile, quality, race, records, tables, units, worker
from benchmarks.jobs import Job
from benchmarks.race import Runner, ratio, share, speed, spread
from scripts.site import macros
from torch import nn

from ddpm_lit.unet import SelfAttention

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "rendimiento.md").read_text(encoding="utf-8")


def runner(seconds: list[float], flops: int = 10, **more: Any) -> dict[str, Any]:
    return {"job": asdict(Job("ddpm_lit")), "seconds": seconds, "flops": flops} | more


# --- Las cuentas ----------------------------------------------------------------------------------


def test_a_ratio_is_made_within_each_round() -> None:
    """Si la máquina se frena a la mitad de la carrera, la proporción no se entera."""
    ours, theirs = runner([1.0, 1.0, 3.0, 3.0]), runner([2.0, 2.0, 6.0, 6.0])
    assert ratio(ours, theirs) == (0.5, 0.5, 0.5)
    assert ratio(ours, runner([2.0, 2.0, 6.0, 6.0], flops=5), per_flop=True).median == 0.25


def test_quartiles_speed_and_share_of_the_peak() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == (3.0, 2.0, 4.0)
    assert spread([7.0]) == (7.0, 7.0, 7.0)
    assert speed(runner([2.0, 2.0], flops=8)).median == 4.0
    # A 4 operaciones por segundo, donde un producto de matrices da 10.
    assert share(runner([2.0], flops=8), runner([1.0], flops=10)).median == pytest.approx(0.4)


def operations(job: Job) -> int:
    """Los FLOP de una llamada a la red con una imagen, contados capa a capa."""
    total = 0

    def count(module: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, SelfAttention):
            _, channels, height, width = output.shape
            total += 2 * 2 * channels * (height * width) ** 2
        else:
            # Cada valor de la salida es un producto escalar tan largo como un filtro.
            total += 2 * output.numel() * module.weight[0].numel()

    with torch.device("meta"):
        model = ours.network(job)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | SelfAttention):
                module.register_forward_hook(count)
        model(torch.empty(1, *job.shape), torch.zeros(1))
    return total


def test_operations_and_parameters_are_those_of_the_network() -> None:
    forward = worker.facts(Job("ddpm_lit", "sample", batch=1, calls=1))
    training = worker.facts(Job("ddpm_lit", "train", batch=2))
    assert forward["parameters"] == 35_746_307
    assert forward["flops"] == operations(Job("ddpm_lit"))
    # La derivada cuesta el doble, salvo la de la entrada, que no hace falta.
    assert training["flops"] == pytest.approx(2 * 3 * forward["flops"], rel=0.01)
    assert worker.facts(Job("matmul"))["flops"] == 2 * worker.MATRIX["cpu"] ** 3


def test_a_network_grows_with_its_width_and_keeps_its_groups_whole() -> None:
    config = Job("ddpm_lit", width=48).config
    assert config.block_out_channels == (48, 96, 96, 96)
    assert all(width % config.norm_num_groups == 0 for width in config.block_out_channels)
    assert Job("ddpm_lit", network="small", side=56).shape == (1, 56, 56)


def test_mixed_precision_does_not_remember_the_weights_of_another_step() -> None:
    weight = torch.nn.Parameter(torch.ones(1, 1))
    with worker.mixed(Job("ddpm_lit", precision="bfloat16")):
        before = torch.nn.functional.linear(torch.ones(1, 1), weight)
        with torch.no_grad():
            weight.mul_(3)
        after = torch.nn.functional.linear(torch.ones(1, 1), weight)
    assert before.dtype == torch.bfloat16
    assert (before.item(), after.item()) == (1.0, 3.0)


def test_every_operation_has_its_kind() -> None:
    assert profile.kind_of("aten::mkldnn_convolution") == "convoluciones"
    assert profile.kind_of("aten::native_group_norm_backward") == "GroupNorm"
    assert profile.kind_of("aten::_foreach_lerp_") == "EMA y recorte del gradiente"
    assert profile.kind_of("aten::copy_") == "copias y concatenaciones"
    assert profile.kind_of("aten::arange") == "lo demás"


def test_the_profile_shares_the_time_out() -> None:
    found = profile.profiled(Job("ddpm_lit", "train", "tiny", batch=2), warmup=1, steps=1)
    assert sum(found["kinds"].values()) == pytest.approx(1)
    assert found["kinds"]["convoluciones"] > 0.1
    assert any("convolution_backward" in row["name"] for row in found["operations"])


# --- La carrera -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Un ensayo de dos carreras, en procesos de verdad."""
    folder = tmp_path_factory.mktemp("resultados")
    names = ["train-cifar10", "growth-width"]
    assert command.main([*names, "--dry", "--out", str(folder)]) == 0
    return folder


def test_a_race_keeps_every_time_and_says_where_it_was(rehearsal: Path) -> None:
    record = records.load(rehearsal)["train-cifar10"]
    found = record["values"]
    assert {"ddpm_lit", "matmul"} <= found.keys()
    assert not [name for name in found if name.startswith(("diffusers", "lucidrains"))]
    assert all(len(each["seconds"]) == 2 for each in found.values())
    assert all(seconds > 0 for each in found.values() for seconds in each["seconds"])
    assert found["ddpm_lit"]["memory"] > 50 * 2**20
    assert record["machine"]["cores"] >= 1 and record["versions"]["torch"] == torch.__version__


def test_what_is_done_is_not_done_again(
    rehearsal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (rehearsal / "train-cifar10.json").read_bytes()
    assert command.main(["train-cifar10", "--dry", "--out", str(rehearsal)]) == 0
    assert "1 unidades hechas y 0 pendientes" in capsys.readouterr().out
    assert (rehearsal / "train-cifar10.json").read_bytes() == before


def test_a_unit_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("se ha roto")

    both = (units.Unit("rota", "", broken), units.Unit("buena", "", lambda: {"x": 1}))
    monkeypatch.setattr(command, "units", lambda *_, **__: both)
    assert command.main(["--alone", "--out", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["buena.json"]
    assert "no ha salido (RuntimeError: se ha roto)" in capsys.readouterr().out


def test_a_runner_that_dies_is_named() -> None:
    dead = Runner(Job("ddpm_lit", network="no existe"))
    with pytest.raises(RuntimeError, match=r"se ha parado.*python -m benchmarks\.worker"):
        dead.ready()
    dead.stop()


def test_one_by_one_the_runners_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """En una GPU arrancan todos a la vez y corren de uno en uno, dejando sitio al siguiente."""
    told: list[str] = []

    class Fake:
        facts: ClassVar[dict[str, int]] = {"flops": 1}

        def __init__(self, job: Job) -> None:
            self.job = job
            told.append(f"arranca {job.who}")

        def ready(self) -> None: ...

        def stop(self) -> None: ...

        def step(self) -> dict[str, float]:
            told.append(self.job.who)
            return {"seconds": 1.0, "faults": 0}

        def finish(self) -> int:
            told.append(f"acaba {self.job.who}")
            return 0

    monkeypatch.setattr(race, "Runner", Fake)
    jobs = {"a": Job("ddpm_lit"), "b": Job("matmul")}
    starts = ["arranca ddpm_lit", "arranca matmul"]
    alone = race.race(jobs, 2, warmup=1, together=False)
    first, second = ([who] * 3 + [f"acaba {who}"] for who in ("ddpm_lit", "matmul"))
    assert told == [*starts, *first, *second]
    told.clear()
    turns = race.race(jobs, 2, warmup=1)
    assert told == [*starts, *["ddpm_lit", "matmul"] * 3, "acaba ddpm_lit", "acaba matmul"]
    assert alone == turns and alone["a"]["seconds"] == [1.0, 1.0]


def test_steps_asked_in_groups_are_timed_one_by_one() -> None:
    """Varios pasos de una vez: se contesta una sola, con lo que toca a cada uno."""
    runner = Runner(Job("ddpm_lit", network="tiny", batch=2, group=3))
    alone = Runner(Job("ddpm_lit", network="tiny", batch=2))
    for each in (runner, alone):
        each.ready()
        each.step()
    started = time.perf_counter()
    several = [runner.step()["seconds"] for _ in range(4)]
    taken = time.perf_counter() - started
    assert runner.facts == alone.facts
    assert 3 * sum(several) <= taken
    for each in (runner, alone):
        each.finish()


def test_the_memory_of_a_runner_does_not_start_with_that_of_who_launched_it() -> None:
    weight = torch.ones(150_000_000)  # 600 MB
    runner = Runner(Job("ddpm_lit", "open", "tiny"))
    runner.ready()
    runner.step()
    occupied = runner.finish()
    assert 50e6 < occupied < 4 * weight.numel()
    assert worker.peak_memory(Job("ddpm_lit")) > 4 * weight.numel()


def test_giving_memory_back_costs_pages() -> None:
    job = Job("ddpm_lit", "train", "tiny", batch=512)
    both = race.race({"kept": job, "returned": Job(**asdict(job) | {"returned": True})}, 3)
    kept, returned = (median(both[name]["faults"]) for name in ("kept", "returned"))
    assert kept < returned / 2
    shown = tables.table("freed", {"freed": {"values": both}})
    assert f"| {tables.thousands(returned)} |" in shown


def test_the_memory_of_a_folder_is_measured_and_shown(tmp_path: Path) -> None:
    assert command.main(["memory", "--dry", "--out", str(tmp_path)]) == 0
    found = records.load(tmp_path)["memory"]["values"]
    assert found["folder"]["memory"] > found["libraries"]["memory"] * 0.9
    assert found["folder-recipe"]["memory"] > found["folder"]["memory"]
    assert found["folder"]["job"]["folder"] == "100 imágenes", "y no dónde estaban"
    results = {"memory": {"values": found}}
    recipe = tables.megabytes(found["folder-recipe"]["memory"])
    assert f"| entrenar una red de 0,0 M, sin parches | 4 | {recipe} |" in tables.table(
        "memory", results
    )
    assert tables.memory("memory/folder-recipe", results) == recipe
    assert tables.memory("memory/folder-recipe", {}) == tables.PENDING


def test_the_networks_of_the_folder_are_three_sizes_of_the_recipe() -> None:
    jobs = dict(memory.runners("fotos"))
    sizes = {name: worker.facts(jobs[name])["parameters"] for name in memory.NETWORKS}
    assert sizes == {
        "folder-recipe": 1_960_844,
        "folder-wide": 5_452_780,
        "folder-whole": 3_951_267,
    }
    assert jobs["folder-wide"].config.patch_size == 2
    assert jobs["folder-whole"].config.patch_size == 1
    assert jobs["folder-wide-checkpoints"].switches == {"checkpoint_gradients": True}
    assert jobs["folder-wide-returned"].returned and not jobs["folder-wide"].returned


def test_on_a_card_there_are_bfloat16_and_compiled_runners() -> None:
    runners = units.everyone(Job("", device="cuda"))
    assert runners["ddpm_lit-bf16-compiled"].compiled
    assert runners["ddpm_lit-bf16-compiled"].precision == "bfloat16"
    assert runners["diffusers-channels-last-bf16"].channels_last
    assert not any(job.graph for job in runners.values())
    recorded = units.everyone(Job("", "sample", device="cuda"))["ddpm_lit-bf16-graph"]
    assert recorded.graph and recorded.precision == "bfloat16"


def test_each_switch_is_turned_on_alone_and_reaches_the_recipe() -> None:
    runners = units.switched(Job("", "train", "tiny", batch=8))
    usual = asdict(ours.recipe_of(runners.pop("ddpm_lit")).training)
    assert runners.keys() == {"amp", "accumulate", "checkpoint_gradients", "compile"}
    for name, job in runners.items():
        own = asdict(ours.recipe_of(Job(**json.loads(json.dumps(asdict(job))))).training)
        assert {key for key in own if own[key] != usual[key]} == {name}
    assert runners["amp"].switches == {"amp": "auto"}
    assert units.switched(Job("", device="cuda"))["amp"].switches == {"amp": True}


def test_the_table_of_the_switches_compares_with_none() -> None:
    assert tables.table("switches", {}) == f"{tables.PENDING}\n"
    job = asdict(Job("ddpm_lit", switches={"accumulate": 4}))
    values = {
        "ddpm_lit": runner([1.0, 2.0], memory=2**30),
        "accumulate": runner([1.1, 2.2], memory=2**29) | {"job": job},
    }
    shown = tables.table("switches", {"switches": {"values": values}})
    assert "| ninguno | 1,50 (1,25 a 1,75) | — | 1,00 | — |" in shown
    assert "| `accumulate = 4` | 1,65 (1,38 a 1,93) | 1,10 (1,10 a 1,10) | 0,50 | 0,50 |" in shown


# --- La calidad -----------------------------------------------------------------------------------


def contest(folder: Path, **changes: Any) -> quality.Contest:
    usual = quality.Contest(
        *(100.0, 0.1, 16, 2, "cpu", folder, quality.digits, lambda: {"ddpm_lit": 2}, 2)
    )
    return replace(usual, **changes)


def test_the_steps_that_fit_are_measured_by_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A dos pasos por segundo, en cien segundos caben doscientos; el primero no cuenta."""
    turns = 0
    clock = iter(30.0 + 0.5 * tick for tick in range(1000))

    def fake(*_: Any, consumers: list[Callable[..., None]], **__: Any) -> None:
        nonlocal turns
        turns += 1
        for done in range(1, 100):
            consumers[0](done, None, None)

    monkeypatch.setattr(quality, "train", fake)
    monkeypatch.setattr(quality.time, "perf_counter", lambda: next(clock))
    found = quality.pace(contest(tmp_path, turn=10.0), ("ddpm_lit",))
    assert turns == quality.TURNS
    assert found == {"steps": {"ddpm_lit": 200}, "seconds": {"ddpm_lit": 0.5}}


def test_the_judge_learns_even_if_who_asks_does_not_want_gradients(tmp_path: Path) -> None:
    with torch.no_grad():
        classifier, real = quality.judge(contest(tmp_path / "sin-gradientes"))
    assert all(p.requires_grad for p in classifier.parameters()) and real.isfinite().all()


def test_our_quality_unit_trains_and_measures(tmp_path: Path) -> None:
    found = quality.ours(contest(tmp_path))
    assert found["steps"] == 2 and found["frechet"] > 0
    assert (tmp_path / "ddpm_lit.safetensors").is_file()


def test_without_a_measured_pace_nobody_trains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quality, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="python -m benchmarks fashion-pace"):
        quality.ours(contest(tmp_path, pace=quality.measured_pace))


def test_the_units_of_quality_are_asked_by_name() -> None:
    names = [unit.name for unit in units.units() if not unit.main]
    assert "fashion-diffusers-0.001-ema" in names and "fashion-lucidrains-default-raw" in names
    assert not any(name.startswith("fashion") for name in (u.name for u in units.units() if u.main))


# --- Lo que se enseña -----------------------------------------------------------------------------


def test_the_tables_show_what_was_measured(rehearsal: Path) -> None:
    results = records.load(rehearsal)
    found = results["growth-width"]["values"]
    assert f"| {units.WIDTHS[0]} |" in tables.table("growth-width", with_diffusers(results))
    runners = results["train-cifar10"]["values"]
    for record in runners.values():
        record["seconds"] = [0.0234, 0.0234]
    shown = tables.table("train-cifar10", results)
    assert "| ddpm_lit | 23,4 (" in shown and "milisegundos" in shown
    runners["matmul"]["seconds"] = [1.5, 1.5]
    assert "| ddpm_lit | 0,02 (" in tables.table("train-cifar10", results)
    assert "diffusers" not in shown and set(found) == {f"ddpm_lit/{n}" for n in units.WIDTHS}


def with_diffusers(results: dict[str, Any]) -> dict[str, Any]:
    """Los mismos resultados, con un diffusers que tarda el doble."""
    copied = json.loads(json.dumps(results))
    for name, record in list(copied["growth-width"]["values"].items()):
        slow = record | {"seconds": [2 * s for s in record["seconds"]]}
        copied["growth-width"]["values"][name.replace("ddpm_lit", "diffusers")] = slow
    return copied


def test_a_ratio_of_the_page_is_the_one_of_the_file() -> None:
    values = {"ddpm_lit": runner([1.0, 2.0]), "diffusers": runner([2.0, 4.0], flops=5)}
    results = {"train-cifar10": {"values": values}}
    assert tables.measured("train-cifar10/ddpm_lit/diffusers", results) == "0,50"
    assert tables.measured("train-cifar10/ddpm_lit/diffusers/flop", results) == "0,25"
    assert tables.measured("train-small/ddpm_lit/diffusers", results) == tables.PENDING


def test_the_best_of_a_peer_is_the_one_compared() -> None:
    results = {
        f"fashion-diffusers-{name}": {"values": {"frechet": value}}
        for name, value in (("default-raw", 90.0), ("default-ema", 80.0), ("0.001-ema", 40.0))
    }
    results["fashion-pace"] = {"values": {"steps": {"diffusers": 951}}}
    shown = tables.table("quality", results)
    assert "| diffusers, tal como viene | 951 | 80,0 |" in shown
    assert "| diffusers, afinado | 951 | 40,0 |" in shown
    assert "| ddpm_lit | *pendiente* | *pendiente* |" in shown


def test_every_number_of_the_page_is_found() -> None:
    """Cada llamada de la página da algo, y ninguna da un hueco."""
    context = macros.PageContext(source="rendimiento.md", url="rendimiento/")
    calls = re.findall(r"@\[ (medida\(.*?\)) \]@", PAGE)
    assert len(calls) > 5
    for call in calls:
        shown = eval(call, {"medida": lambda *args: macros.medida(context, *args)})
        assert shown and "dl-falta" not in shown, call


@pytest.mark.parametrize(
    ("folder", "device"), [(records.FOLDER, "cpu"), (records.GPU, "cuda")], ids=["cpu", "gpu"]
)
def test_the_committed_results_are_whole(folder: Path, device: str) -> None:
    found = records.load(folder)
    assert found
    names = {unit.name for unit in units.units(device)} | (
        {"checks"} if device == "cuda" else set()
    )
    for name, record in found.items():
        assert name in names
        assert record.keys() == {"unit", "values", "machine", "versions", "commit", "date"}
        assert (folder / f"{name}.json").stat().st_size < 100_000


def test_what_was_checked_on_the_card_is_shown() -> None:
    assert tables.table("checks", {}) == f"{tables.PENDING}\n"
    found = records.load(records.GPU)
    assert all(check["passed"] for check in found["checks"]["values"].values())
    shown = tables.table("checks", found)
    error = found["checks"]["values"]["gradients"]["whole"]
    assert f"| {tables.number(100 * error, 1)}{tables.PERCENT} |" in shown
    assert "| los pesos tras cortar y reanudar, respecto a no cortar, como mucho | 0 |" in shown
    assert tables.power(4.1e-5) == r"$4 \cdot 10^{-5}$"


def test_images_are_the_same_for_everyone() -> None:
    job = Job("ddpm_lit", network="tiny")
    assert torch.equal(ours.images(job), ours.images(Job("diffusers", network="tiny")))
    assert ours.images(job).min() >= -1 and ours.images(job).max() <= 1
