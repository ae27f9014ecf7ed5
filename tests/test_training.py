"""El entrenamiento: el Algoritmo 1 y lo que `train` hace a su alrededor."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import tiny
from ddpm_lit.data import Dataset, load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.files.images import save_png
from ddpm_lit.forward import q_sample
from ddpm_lit.machine.devices import bfloat16_pays
from ddpm_lit.models.storage import load_model, read_header
from ddpm_lit.networks.ema import EMA
from ddpm_lit.noise import (
    Stream,
    TrainingDraws,
    batch_indices,
    keyed_generator,
    training_draws,
)
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe, TrainingConfig
from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL
from ddpm_lit.runs.log import METRICS
from ddpm_lit.runs.steps import learning_rate
from ddpm_lit.runs.train import Every, train
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import (
    ConditionDropout,
    TrainStep,
    algorithm1,
    gradient_step,
    in_parts,
    joined,
    part_shares,
    recompute,
    seeded,
)
from ddpm_lit.unet import BLOCKS

RECIPES = {"toy": tiny.toy, "digits": tiny.digits}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(recipe: Recipe, folder: Path, **options: Any) -> Any:
    return train(recipe, folder, device="cpu", progress=False, **options)


def assert_same_files(one: Path, other: Path) -> None:
    """Bit a bit: la red, la EMA y el optimizador."""
    for name in (MODEL, CHECKPOINT):
        expected, actual = load_file(one / name), load_file(other / name)
        assert actual.keys() == expected.keys()
        different = [key for key in expected if not torch.equal(actual[key], expected[key])]
        assert not different, f"{name}: {different[:3]}"
    assert read_header(one / CHECKPOINT).ema_updates == read_header(other / CHECKPOINT).ema_updates


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


# --- El Algoritmo 1 -----------------------------------------------------------------------------


def linear_model() -> nn.Module:
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.layer(torch.cat([x, t[:, None] / 100], dim=1))

    return Model()


@pytest.mark.equation("entrenamiento-algoritmo")
@pytest.mark.parametrize("prediction", ["epsilon", "x_start"])
def test_one_step_is_the_gradient_of_the_simple_loss(prediction: str) -> None:
    schedule = make_schedule("linear", 100)
    diffusion = Diffusion(schedule, prediction)
    x_0 = torch.rand(6, 2) * 2 - 1
    model, twin = linear_model(), linear_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    draw = TrainingDraws(7, step=5)
    (step,) = algorithm1(model, diffusion, [{"x": x_0}], draw, gradient_step(optimizer))

    t, noise = training_draws(7, 5, range(6), (2,), 100)
    wanted = {"epsilon": noise, "x_start": x_0}[prediction]
    loss = (twin(q_sample(schedule, x_0, t, noise), t) - wanted).square().mean()
    loss.backward()
    assert draw.step == 6
    assert torch.allclose(step.loss, loss.detach(), rtol=1e-6)
    norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    assert torch.allclose(step.grad_norm, norm, rtol=1e-5)
    for trained, parameter in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(trained, parameter - 0.1 * parameter.grad, atol=1e-7)


def test_it_yields_one_step_per_batch_and_the_caller_can_stop() -> None:
    diffusion = Diffusion(make_schedule("linear", 100))
    model = linear_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    taken = 0

    def batches() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield {"x": torch.zeros(4, 2)}

    draw = TrainingDraws()
    steps = algorithm1(model, diffusion, batches(), draw, gradient_step(optimizer))
    for done in (1, 2, 3):
        assert isinstance(next(steps), TrainStep)
        assert (taken, draw.step) == (done, done)


def test_the_gradient_is_clipped_to_the_norm_that_is_asked() -> None:
    diffusion = Diffusion(make_schedule("linear", 100))
    model = linear_model()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch = {"x": torch.ones(4, 2)}
    descend = gradient_step(optimizer, clip=1e-3)
    (step,) = algorithm1(model, diffusion, [batch], TrainingDraws(), descend)
    moved = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)])
    assert step.grad_norm > 1e-2
    assert math.isclose(float(moved.norm().detach()), 1e-3, rel_tol=1e-2)


def test_no_gradient_takes_room_while_the_network_is_evaluated() -> None:
    """Al empezar cada paso los parámetros no tienen gradiente, ni el de antes ni el del paso."""
    layer = linear_model()
    weight = next(layer.parameters())
    weight.grad = torch.ones_like(weight)
    held = []

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        held.extend(parameter.grad for parameter in layer.parameters())
        out: Tensor = layer(x_t, t)
        return out

    descend = gradient_step(torch.optim.SGD(layer.parameters(), lr=0.1))
    batches = [{"x": torch.ones(4, 2)}] * 2
    list(algorithm1(model, Diffusion(make_schedule("linear")), batches, TrainingDraws(), descend))
    assert len(held) > 2 and all(gradient is None for gradient in held)


def test_the_network_receives_the_original_time_and_the_condition() -> None:
    whole = Diffusion(make_schedule("cosine", 50))
    short = whole.respaced(5)
    layer = nn.Linear(2, 2)
    seen: dict[str, Tensor] = {}

    def model(x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        seen.update(condition, t=t)
        return layer(x)

    labels = torch.arange(5)
    batch = {"x": torch.zeros(5, 2), "class_labels": labels}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for diffusion in (whole, short):
        draw = TrainingDraws(3)
        list(algorithm1(model, diffusion, [batch], draw, gradient_step(optimizer)))
        drawn = training_draws(3, 0, range(5), (2,), len(diffusion.schedule))[0]
        assert torch.equal(seen["class_labels"], labels)
        assert torch.equal(seen["t"], diffusion.schedule.original(drawn))


def test_dropout_depends_on_the_seed_and_the_step_only() -> None:
    diffusion = Diffusion(make_schedule("cosine", 50))

    def losses(first_step: int, disturb: bool) -> list[float]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(2, 64), nn.Dropout(0.5), nn.Linear(64, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        found = []
        for state in algorithm1(
            seeded(lambda x, t: model(x), step=first_step),
            diffusion,
            [{"x": torch.ones(4, 2)}] * 3,
            TrainingDraws(step=first_step),
            gradient_step(optimizer),
        ):
            found.append(float(state.loss))
            if disturb:
                torch.rand(5)
        return found

    assert losses(0, disturb=False) == losses(0, disturb=True)
    assert losses(0, disturb=False)[1:] == losses(1, disturb=False)[:2]


def test_every_step_has_a_dropout_of_its_own() -> None:
    layer = nn.Linear(2, 2)
    masks = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        masks.append(nn.functional.dropout(torch.ones(40), 0.5))
        return layer(x)

    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    batches = [{"x": torch.ones(4, 2)}] * 3
    diffusion = Diffusion(make_schedule("cosine", 50))
    list(algorithm1(seeded(model), diffusion, batches, TrainingDraws(), gradient_step(optimizer)))
    assert len({tuple(mask.tolist()) for mask in masks}) == 3


def test_every_epoch_has_times_and_noise_of_its_own() -> None:
    """Llamado época a época, con el mismo azar, sigue donde estaba: nada se repite."""
    diffusion = Diffusion(make_schedule("cosine", 50))
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    draw, dropout = TrainingDraws(7), ConditionDropout(0.5, dict, seed=7)
    seen: list[tuple[Tensor, Tensor]] = []

    def remembered(x_0: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        seen.append(draw(x_0, timesteps))
        return seen[-1]

    epoch = [{"x": torch.zeros(6, 2)}] * 2
    for _ in range(3):
        batches = map(dropout, epoch)
        descend = gradient_step(optimizer)
        list(algorithm1(lambda x, t: layer(x), diffusion, batches, remembered, descend))
    assert draw.step == dropout.step == len(seen) == 6
    for step, (t, noise) in enumerate(seen):
        expected = training_draws(7, step, range(6), (2,), 50)
        assert torch.equal(t, expected[0])
        assert torch.equal(noise, expected[1])
    assert len({tuple(noise.flatten().tolist()) for _, noise in seen}) == 6


def test_the_global_generator_of_torch_is_left_alone(tmp_path: Path) -> None:
    recipe = tiny.digits(steps=2, condition_dropout=0.5)
    assert recipe.model.options["dropout"] > 0
    before = torch.get_rng_state()
    run(recipe, tmp_path, every=Every(log=1, checkpoint=1, sample=1))
    assert torch.equal(torch.get_rng_state(), before)

    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = torch.get_rng_state()
    list(
        algorithm1(
            seeded(lambda x, t: nn.functional.dropout(layer(x), 0.5)),
            Diffusion(make_schedule("cosine", 50)),
            [{"x": torch.ones(4, 2)}] * 2,
            TrainingDraws(),
            gradient_step(optimizer),
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


# --- La tasa de aprendizaje ---------------------------------------------------------------------


def test_learning_rate_warms_up_and_decays() -> None:
    def rates(decay: str) -> list[float]:
        config = TrainingConfig(steps=12, learning_rate=8.0, warmup_steps=4, decay=decay)
        return [learning_rate(step, config) for step in range(12)]

    for decay in ("constant", "linear", "cosine"):
        assert rates(decay)[:5] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert rates("constant")[5:] == [8.0] * 7
    assert rates("linear")[5:] == [8.0 * (8 - k) / 8 for k in range(1, 8)]
    expected = [4.0 * (1 + math.cos(math.pi * k / 8)) for k in range(1, 8)]
    assert rates("cosine")[5:] == pytest.approx(expected)


def test_learning_rate_without_warm_up_starts_at_its_value() -> None:
    assert learning_rate(0, TrainingConfig(steps=5, learning_rate=3.0)) == 3.0


# --- Lo que train deja en la carpeta ------------------------------------------------------------


def test_what_a_training_leaves(tmp_path: Path) -> None:
    trained = run(tiny.toy(), tmp_path / "a", every=Every(log=4, checkpoint=5))
    assert {file.name for file in (tmp_path / "a").iterdir()} == {CHECKPOINT, METRICS, MODEL}
    lines = metrics(tmp_path / "a")
    assert [line["step"] for line in lines] == [4, 5, 8, 10, 12]
    assert lines[0].keys() == {
        "step",
        "loss",
        "grad_norm",
        "learning_rate",
        "images_per_second",
        "seconds",
    }
    assert lines[-1]["learning_rate"] == pytest.approx(learning_rate(11, tiny.toy().training))
    assert trained.provenance["steps"] == 12
    assert trained.shape == (2,)
    assert not trained.model.training
    reloaded = load_model(tmp_path / "a" / MODEL)
    assert reloaded.recipe == tiny.toy()
    assert torch.equal(reloaded.sample(3), trained.sample(3))


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path: Path) -> None:
    losses: list[float] = []
    run(
        tiny.toy(),
        tmp_path,
        every=Every(log=4),
        consumers=[lambda done, state, ema: losses.append(float(state.loss))],
    )
    for index, line in enumerate(metrics(tmp_path)):
        assert line["loss"] == pytest.approx(sum(losses[4 * index : 4 * index + 4]) / 4, rel=1e-5)


def test_the_loss_goes_down(tmp_path: Path) -> None:
    run(tiny.toy(steps=300, learning_rate=5e-3, batch_size=64), tmp_path, every=Every(log=10))
    lines = metrics(tmp_path)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_neither_logs_nor_samples_nor_checkpoints_change_the_result(tmp_path: Path) -> None:
    run(tiny.digits(steps=5), tmp_path / "a")
    run(
        tiny.digits(steps=5),
        tmp_path / "b",
        every=Every(log=1, checkpoint=1, sample=2),
        tensorboard=True,
    )
    assert_same_files(tmp_path / "a", tmp_path / "b")
    for step in (2, 4):
        with Image.open(tmp_path / "b" / "samples" / f"{step:07d}.png") as image:
            assert min(image.size) >= 5 * 64
    assert list((tmp_path / "b" / "tensorboard").glob("events*"))


def test_points_are_drawn_as_a_cloud(tmp_path: Path) -> None:
    run(tiny.toy(steps=2), tmp_path, every=Every(sample=2))
    with Image.open(tmp_path / "samples" / "0000002.png") as image:
        assert image.mode == "RGB"


def test_the_data_are_taken_in_the_order_of_the_seed(tmp_path: Path) -> None:
    """Reproduce a mano los dos primeros pasos, con los lotes que dice `batch_indices`."""
    recipe = tiny.toy(steps=2)
    data = training_data(recipe)
    seen: list[Tensor] = []
    run(recipe, tmp_path, consumers=[lambda done, state, ema: seen.append(state.loss)])

    torch.manual_seed(recipe.seed)
    model = recipe.build_model()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)

    def batches() -> Any:
        for step in range(2):
            optimizer.param_groups[0]["lr"] = learning_rate(step, recipe.training)
            yield data.batch(batch_indices(len(data), 8, recipe.seed, step))

    expected = [
        state.loss
        for state in algorithm1(
            model,
            recipe.make_diffusion(),
            batches(),
            TrainingDraws(recipe.seed),
            gradient_step(optimizer, clip=1.0),
        )
    ]
    assert torch.allclose(torch.stack(seen), torch.stack(expected), rtol=1e-6)


def test_a_dataset_of_ones_own(tmp_path: Path) -> None:
    data = Dataset(x=torch.rand(20, 2) * 2 - 1)
    assert run(tiny.toy(steps=2), tmp_path, dataset=data).shape == (2,)


def test_the_held_out_part_is_not_trained_on() -> None:
    whole = load_dataset("digits")
    part = training_data(tiny.digits())
    assert len(part) == len(whole) - round(0.9 * len(whole))


def test_classes_that_the_network_does_not_know_are_not_passed(tmp_path: Path) -> None:
    data = load_dataset("moons", n=20)
    run(tiny.toy(steps=1), tmp_path, dataset=data)


# --- Los interruptores --------------------------------------------------------------------------


def still(**training: Any) -> Recipe:
    """`tiny.digits` sin *dropout* en las capas: no hay más azar que el de los ejemplos."""
    table = tiny.digits(condition_dropout=0.3, **training).to_dict()
    table["model"]["options"]["dropout"] = 0.0
    return recipe_from_dict(table)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / MODEL)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_batch_in_parts_is_the_whole_batch(parts: int) -> None:
    """Con SGD y en float64 se ve: mismos t, mismo ruido, mismo gradiente, misma pérdida."""
    diffusion = Diffusion(make_schedule("linear", 100))
    x = torch.rand(4, 7, 2, dtype=torch.float64) * 2 - 1
    found = []
    for count in (1, parts):
        model = linear_model().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        shares = part_shares(7, count)
        assert sum(shares) == pytest.approx(1)
        pieces = list(in_parts([{"x": batch} for batch in x], count))
        assert [len(piece["x"]) / 7 for piece in pieces[:count]] == pytest.approx(shares)
        draw = TrainingDraws(3, rows=range(7))
        descend = gradient_step(optimizer, clip=0.5, shares=shares)
        steps = list(joined(algorithm1(model, diffusion, pieces, draw, descend), shares))
        assert len(steps) == draw.step == 4
        found.append((steps, [p.detach() for p in model.parameters()]))
    (whole, expected), (split, actual) = found
    for one, other in zip(whole, split, strict=True):
        torch.testing.assert_close(other.loss, one.loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(other.grad_norm, one.grad_norm, rtol=1e-6, atol=0)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


def test_accumulating_trains_the_same(tmp_path: Path) -> None:
    run(still(), tmp_path / "entero", every=Every(log=1))
    run(still(accumulate=3), tmp_path / "trozos", every=Every(log=1))
    for whole, split in zip(
        metrics(tmp_path / "entero"), metrics(tmp_path / "trozos"), strict=True
    ):
        assert split["loss"] == pytest.approx(whole["loss"], rel=1e-3)
        assert split["learning_rate"] == whole["learning_rate"]
    first = [metrics(tmp_path / name)[0] for name in ("entero", "trozos")]
    assert first[1]["loss"] == pytest.approx(first[0]["loss"], rel=1e-6)
    assert first[1]["grad_norm"] == pytest.approx(first[0]["grad_norm"], rel=1e-5)


def saved_bytes(recipe: Recipe) -> int:
    """Lo que un paso guarda para derivar."""
    model = recipe.build_model().train()
    if recipe.training.checkpoint_gradients:
        recompute(model, BLOCKS)
    total = 0

    def pack(value: Tensor) -> Tensor:
        nonlocal total
        total += value.nbytes
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        model(torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64))
    return total


def test_recomputing_changes_the_memory_and_nothing_else(tmp_path: Path) -> None:
    """También con *dropout*: al calcular otra vez sale la misma máscara."""
    kept, again = tiny.digits(), tiny.digits(checkpoint_gradients=True)
    assert saved_bytes(again) < 0.4 * saved_bytes(kept)
    run(kept, tmp_path / "a")
    before = torch.get_rng_state()
    run(again, tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), before)
    expected, actual = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_a_network_without_blocks_cannot_recompute_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MLP y no tiene ninguno.*checkpoint_gradients"):
        run(tiny.toy(checkpoint_gradients=True), tmp_path)


def test_compiling_is_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sin generar código, que tarda: se traza la red y se ejecuta lo trazado."""
    compiled: list[nn.Module] = []
    real = torch.compile

    def traced(model: nn.Module) -> Any:
        compiled.append(model)
        return real(model, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    run(tiny.toy(steps=3), tmp_path / "a")
    assert compiled == []
    run(tiny.toy(steps=3, compile=True), tmp_path / "b")
    assert len(compiled) == 1
    expected, actual = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-6)


# --- La precisión -------------------------------------------------------------------------------


def test_on_the_cpu_it_is_float32_unless_it_is_asked(tmp_path: Path) -> None:
    for name, amp in (("a", True), ("b", False)):
        assert run(tiny.digits(steps=2, amp=amp), tmp_path / name).provenance["precision"] == (
            "float32"
        )
    expected, actual = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


@pytest.mark.parametrize("pays", [True, False])
def test_what_is_measured_is_kept(
    pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Se mide una vez, no altera nada, se guarda y al reanudar no se vuelve a medir."""
    measured: list[bool] = []

    def fixed(step: Callable[[bool], object]) -> bool:
        step(True)
        step(False)
        measured.append(pays)
        return pays

    monkeypatch.setattr("ddpm_lit.runs.steps.bfloat16_pays", fixed)
    before = torch.get_rng_state()
    for name, steps in (("entera", 12), ("parada", 5), ("parada", 12)):
        trained = run(tiny.digits(amp="auto", steps=steps, decay="constant"), tmp_path / name)
        assert trained.provenance["precision"] == ("bfloat16" if pays else "float32")
    assert measured == [pays, pays]
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_files(tmp_path / "entera", tmp_path / "parada")
    run(tiny.digits(amp=False, decay="constant"), tmp_path / "float32")
    expected, actual = weights(tmp_path / "float32"), weights(tmp_path / "entera")
    same = [torch.equal(actual[name], value) for name, value in expected.items()]
    assert all(same) is not pays
    assert all(value.dtype == torch.float32 for value in actual.values())


def test_bfloat16_pays_when_it_is_faster() -> None:
    def step(rough: bool) -> None:
        calls.append(rough)
        # La primera vez, de calentamiento, el más rápido es el otro: no cuenta.
        fast = (rough is faster) != (calls.count(rough) == 1)
        time.sleep(0.01 if fast else 0.04)

    for faster in (True, False):
        calls: list[bool] = []
        assert bfloat16_pays(step) is faster
        assert calls == [True, False] * 4


# --- Parar y reanudar ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "switches",
    [{"accumulate": 3}, {"checkpoint_gradients": True}, {"accumulate": 2, "batch_size": 50}],
    ids=str,
)
def test_every_switch_resumes_exactly(switches: dict[str, Any], tmp_path: Path) -> None:
    """Parada a media época (son 180 dígitos), con *dropout* y condiciones que se apagan."""
    options = {"condition_dropout": 0.3, "decay": "constant"} | switches
    run(tiny.digits(steps=8, **options), tmp_path / "entera")
    for steps in (3, 5, 8):
        run(tiny.digits(steps=steps, **options), tmp_path / "parada")
    assert_same_files(tmp_path / "entera", tmp_path / "parada")


@pytest.mark.parametrize("kind", RECIPES)
def test_killed_ten_times_it_ends_bit_for_bit_the_same(kind: str, tmp_path: Path) -> None:
    """SIGKILL tras un paso, a mitad de escribir, al renombrar y en un momento cualquiera."""
    worker = Path(__file__).with_name("killed_training.py")
    finished = subprocess.run(
        [sys.executable, str(worker), kind, str(tmp_path), "20200619"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    history = json.loads(finished.stdout)["history"]
    assert len(history) == 10
    steps = [step for _, step in history]
    assert steps == sorted(steps)
    assert 0 < steps[-1] < 90
    assert_same_files(tmp_path / "entera", tmp_path / "matada")
    # El registro tampoco tiene huecos, repeticiones ni líneas partidas.
    whole = {line["step"]: line["loss"] for line in metrics(tmp_path / "entera")}
    killed = [line["step"] for line in metrics(tmp_path / "matada")]
    assert killed == sorted(set(killed))
    assert set(whole) <= set(killed)
    leftovers = [file.name for file in (tmp_path / "matada").iterdir() if ".tmp" in file.name]
    assert leftovers == []


class Stop(Exception):
    pass


def stop_after(step: int) -> Callable[[int, TrainStep, EMA], None]:
    def consumer(done: int, state: TrainStep, ema: EMA) -> None:
        if done == step:
            raise Stop

    return consumer


@pytest.mark.parametrize("kind", RECIPES)
def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint(kind: str, tmp_path: Path) -> None:
    recipe = RECIPES[kind](steps=7)
    run(recipe, tmp_path / "entera")

    def interrupt(done: int, state: TrainStep, ema: EMA) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"tras el paso 3.*misma orden.*checkpoint"):
        run(recipe, tmp_path / "parada", consumers=[interrupt])
    assert read_header(tmp_path / "parada" / CHECKPOINT).step == 3
    assert not (tmp_path / "parada" / MODEL).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run(recipe, tmp_path / "parada")
    assert_same_files(tmp_path / "entera", tmp_path / "parada")


def test_the_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def interrupt(done: int, state: TrainStep, ema: EMA) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(tiny.toy(), tmp_path, consumers=[interrupt])
    assert str(caught.value) == ""
    assert not (tmp_path / CHECKPOINT).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_lines_after_the_checkpoint_are_dropped_when_resuming(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        every = Every(log=2, checkpoint=4)
        run(tiny.toy(), tmp_path, every=every, consumers=[stop_after(7)])
    assert [line["step"] for line in metrics(tmp_path)] == [2, 4, 6]
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 7, "lo')
    run(tiny.toy(), tmp_path, every=Every(log=6))
    assert [line["step"] for line in metrics(tmp_path)] == [2, 4, 6, 12]


def test_running_a_finished_training_again_changes_nothing(tmp_path: Path) -> None:
    first = run(tiny.toy(), tmp_path)
    model = load_file(tmp_path / MODEL)
    again = run(tiny.toy(), tmp_path)
    assert again.provenance["steps"] == 12
    assert again.provenance["seconds"] == first.provenance["seconds"]
    assert all(
        torch.equal(value, model[name]) for name, value in load_file(tmp_path / MODEL).items()
    )
    assert [line["step"] for line in metrics(tmp_path)] == [12]


def test_a_training_can_be_extended_but_not_shortened(tmp_path: Path) -> None:
    run(tiny.toy(decay="constant"), tmp_path / "corta")
    run(tiny.toy(decay="constant", steps=20), tmp_path / "corta")
    run(tiny.toy(decay="constant", steps=20), tmp_path / "larga")
    assert_same_files(tmp_path / "larga", tmp_path / "corta")
    with pytest.raises(ValueError, match="ya lleva 20 pasos y la receta pide 12"):
        run(tiny.toy(decay="constant"), tmp_path / "corta")


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tiny.toy(steps=1), tmp_path)
    with pytest.raises(ValueError, match=r"otra receta: difieren training\.learning_rate"):
        run(tiny.toy(learning_rate=0.5), tmp_path)


def test_the_path_of_a_training_may_start_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "casa"))
    monkeypatch.chdir(tmp_path)
    run(tiny.toy(steps=1), Path("~/runs/a"))
    assert {file.name for file in (tmp_path / "casa/runs/a").iterdir()} == {
        CHECKPOINT,
        METRICS,
        MODEL,
    }
    assert not Path("~").exists()
    assert load_model("~/runs/a/model.safetensors").recipe == tiny.toy(steps=1)
    assert read_header("~/runs/a/model.safetensors").step == 1


def test_a_training_refuses_other_classes(tmp_path: Path) -> None:
    data = training_data(tiny.digits())
    run(tiny.digits(steps=1), tmp_path, dataset=data)
    renamed = replace(data, label_names=tuple("abcdefghij"))
    with pytest.raises(ValueError, match=r"No se puede seguir el entrenamiento .* otras clases"):
        run(tiny.digits(steps=2), tmp_path, dataset=renamed)
    assert read_header(tmp_path / CHECKPOINT).step == 1
    assert run(tiny.digits(steps=2), tmp_path, dataset=data).provenance["steps"] == 2
    assert load_model(tmp_path / MODEL).class_names == data.label_names


def test_a_training_says_that_its_data_have_changed_and_goes_on(tmp_path: Path) -> None:
    data = training_data(tiny.digits())
    run(tiny.digits(steps=1), tmp_path, dataset=data)
    with pytest.warns(UserWarning, match=f"{len(data)}.*50.* sigue con los datos de ahora"):
        run(tiny.digits(steps=2), tmp_path, dataset=data.subset(range(50)))
    assert read_header(tmp_path / CHECKPOINT).data["count"] == 50


def test_a_folder_that_has_moved_is_the_same_data(tmp_path: Path) -> None:
    recipes = []
    for place in ("aqui", "alli"):
        for number in range(6):
            shade = Image.new("L", (8, 8), 40 * number)
            save_png(shade, tmp_path / place / f"{number}.png")
        table = tiny.digits(steps=len(recipes) + 1).to_dict()
        del table["model"]["options"]["num_classes"]
        options = {"path": str(tmp_path / place), "size": 8, "color": "gray"}
        table["data"] = {"name": "folder", "options": options}
        recipes.append(recipe_from_dict(table))
    run(recipes[0], tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(recipes[1], tmp_path / "run").provenance["steps"] == 2


# --- Partir de otros pesos ----------------------------------------------------------------------


def test_a_resumed_training_still_says_where_its_weights_came_from(tmp_path: Path) -> None:
    first = run(tiny.toy(steps=3), tmp_path / "primero")
    recipe = tiny.toy(steps=4)
    with pytest.raises(Stop):
        run(
            recipe,
            tmp_path / "parado",
            weights=first,
            every=Every(checkpoint=2),
            consumers=[stop_after(3)],
        )
    assert read_header(tmp_path / "parado" / CHECKPOINT).step == 2
    resumed = run(recipe, tmp_path / "parado")
    whole = run(recipe, tmp_path / "entero", weights=first)
    assert_same_files(tmp_path / "entero", tmp_path / "parado")
    for trained in (whole, resumed, load_model(tmp_path / "parado" / MODEL)):
        assert trained.provenance["steps"] == 4
        assert trained.provenance["continues"] == first.provenance
    assert first.provenance["continues"] is None


def test_weights_are_refused_where_there_is_a_checkpoint(tmp_path: Path) -> None:
    first = run(tiny.toy(steps=1), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(
        ValueError, match=r"ya hay un checkpoint y se piden además pesos de partida"
    ):
        run(tiny.toy(steps=2), tmp_path, weights=first)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


# --- Lo que va mal ------------------------------------------------------------------------------


def poisoned(step: int, data: Dataset) -> Dataset:
    """Los mismos datos, con un infinito en el lote de ese paso y solo en él."""
    x = data.x.clone()
    earlier = {i for s in range(step) for i in batch_indices(len(data), 8, 0, s)}
    index = next(i for i in batch_indices(len(data), 8, 0, step) if i not in earlier)
    result = Dataset(x=x)
    x[index] = math.inf
    return result


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    recipe = tiny.toy()
    data = poisoned(4, training_data(recipe))
    with pytest.raises(FloatingPointError, match=r"La pérdida del paso 5 .*learning_rate") as error:
        run(recipe, tmp_path, dataset=data, every=Every(log=20, checkpoint=3))
    assert str(tmp_path / CHECKPOINT) in str(error.value)
    assert read_header(tmp_path / CHECKPOINT).step == 3
    assert all(value.isfinite().all() for value in load_file(tmp_path / CHECKPOINT).values())
    assert not (tmp_path / MODEL).exists()


def test_a_gradient_that_is_not_finite_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """La pérdida del último paso es finita, pero los pesos que deja ya no sirven."""
    import ddpm_lit.training

    def broken(parameters: Any, max_norm: float) -> Tensor:
        for parameter in parameters:
            parameter.grad.fill_(math.nan)
        return torch.tensor(math.nan)

    monkeypatch.setattr(ddpm_lit.training.nn.utils, "clip_grad_norm_", broken)
    with pytest.raises(FloatingPointError, match=r"El gradiente del paso 1 .*ningún checkpoint"):
        run(tiny.toy(), tmp_path, every=Every(checkpoint=1))
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("kind", ["señales", "imágenes de dos canales"])
def test_samples_that_cannot_be_drawn_are_refused_before_training(
    kind: str, tmp_path: Path
) -> None:
    if kind == "señales":
        table = tiny.toy_table(steps=1)
        table["model"]["options"]["dim"] = 7
        data = Dataset(x=torch.rand(20, 7) * 2 - 1)
    else:
        table = tiny.digits(steps=1).to_dict()
        table["model"]["options"] |= {"in_channels": 2, "num_classes": None}
        data = Dataset(x=torch.rand(20, 2, 8, 8) * 2 - 1)
    recipe = recipe_from_dict(table)
    seen: list[int] = []
    consumers = [lambda done, state, ema: seen.append(done)]
    with pytest.raises(ValueError, match=r"solo se dibujan.*every\.sample = 0"):
        run(
            recipe,
            tmp_path / "a",
            dataset=data,
            every=Every(sample=1),
            consumers=consumers,
        )
    assert seen == []
    assert not (tmp_path / "a").exists()
    run(recipe, tmp_path / "a", dataset=data, consumers=consumers)
    assert seen == [1]


def test_without_tensorboard_the_message_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install tensorboard .*«tensorboard»"):
        run(tiny.toy(), tmp_path, tensorboard=True)


def test_layers_have_a_stream_of_their_own() -> None:
    """La semilla del dropout de un paso no es la del ruido de ese paso."""
    layers = keyed_generator(0, Stream.LAYERS, 3).integers(2**63)
    assert layers != keyed_generator(0, Stream.TRAINING, 3).integers(2**63)
