"""Guardar y leer: todo vuelve como se fue, y ningún fichero se ve a medias."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import tiny
from ddpm_lit.files.weights import FORMAT_VERSION, bare_state, write_atomically
from ddpm_lit.models.storage import load_model, read_header, save_model
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import State, load_checkpoint, save_checkpoint

RECIPES = {"toy": (tiny.toy(), (2,)), "digits": (tiny.digits(), (1, 8, 8))}


class Parts:
    """Una red que ya ha dado unos pasos, con su EMA y su optimizador."""

    def __init__(self, recipe: Recipe, shape: tuple[int, ...], steps: int) -> None:
        self.recipe, self.shape = recipe, shape
        torch.manual_seed(0)
        layout = torch.channels_last if len(shape) == 3 else torch.preserve_format
        self.model = recipe.build_model().to(memory_format=layout)  # type: ignore[call-overload]
        self.ema = EMA(self.model, 0.9)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, fused=True)
        for _ in range(steps):
            self.step(shape)

    def step(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(1)
        x = torch.linspace(-1, 1, 3 * torch.Size(shape).numel()).reshape(3, *shape)
        self.optimizer.zero_grad()
        (self.model(x, torch.arange(3)) - x).square().mean().backward()
        self.optimizer.step()
        self.ema.update(self.model)

    @property
    def state(self) -> State:
        return State(self.model, self.ema, self.optimizer)

    def save(self, path: Path, *, step: int, **more: Any) -> None:
        save_checkpoint(path, self.state, step=step, recipe=self.recipe, shape=self.shape, **more)

    def tensors(self) -> list[torch.Tensor]:
        moments = [
            value
            for state in self.optimizer.state_dict()["state"].values()
            for _, value in sorted(state.items())
        ]
        return [*self.model.state_dict().values(), *self.ema.model.state_dict().values(), *moments]


@pytest.fixture(params=RECIPES)
def case(request: pytest.FixtureRequest) -> tuple[Recipe, tuple[int, ...]]:
    return RECIPES[request.param]


def test_a_checkpoint_brings_everything_back(
    case: tuple[Recipe, tuple[int, ...]], tmp_path: Path
) -> None:
    recipe, shape = case
    saved = Parts(recipe, shape, steps=3)
    path = tmp_path / "c.safetensors"
    saved.save(path, step=3, provenance={"seconds": 1.5}, data={"count": 7})
    fresh = Parts(recipe, shape, steps=0)
    header = load_checkpoint(path, fresh.state, recipe)
    assert (header.kind, header.step, fresh.ema.updates) == ("checkpoint", 3, 3)
    assert (header.provenance, header.data) == ({"seconds": 1.5}, {"count": 7})
    for parts in (saved, fresh):
        parts.step(shape)
    pairs = list(zip(saved.tensors(), fresh.tensors(), strict=True))
    assert pairs
    for one, other in pairs:
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_a_model_comes_back_with_its_recipe(
    case: tuple[Recipe, tuple[int, ...]], tmp_path: Path
) -> None:
    recipe, shape = case
    model = Parts(recipe, shape, steps=2).model
    save_model(tmp_path / "m.safetensors", model, recipe, shape, {"steps": 2})
    loaded = load_model(tmp_path / "m.safetensors")
    assert (loaded.recipe, loaded.shape, loaded.provenance) == (recipe, shape, {"steps": 2})
    assert not loaded.model.training
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    x = torch.rand(2, *shape)
    t = torch.tensor([0, 19])
    assert torch.allclose(loaded.model(x, t), model.eval()(x, t), atol=1e-6)


def test_reading_a_model_does_not_move_the_global_generator(tmp_path: Path) -> None:
    recipe, shape = RECIPES["toy"]
    save_model(tmp_path / "m.safetensors", recipe.build_model(), recipe, shape)
    before = torch.get_rng_state()
    load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_model_of_a_checkpoint_is_its_average(tmp_path: Path) -> None:
    recipe, shape = RECIPES["toy"]
    parts = Parts(recipe, shape, steps=3)
    path = tmp_path / "c.safetensors"
    parts.save(path, step=3)
    loaded = load_model(path).model.state_dict()
    for name, value in parts.ema.model.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_the_header_is_read_without_the_weights(tmp_path: Path) -> None:
    recipe, shape = RECIPES["digits"]
    model = recipe.build_model()
    save_model(tmp_path / "m.safetensors", model, recipe, shape, {"steps": 12})
    header = read_header(tmp_path / "m.safetensors")
    assert (header.kind, header.recipe, header.shape, header.step) == ("model", recipe, shape, 12)


def test_the_file_is_plain_safetensors_with_the_names_of_the_network(tmp_path: Path) -> None:
    recipe, shape = RECIPES["digits"]
    model = recipe.build_model()
    save_model(tmp_path / "m.safetensors", model, recipe, shape)
    assert load_file(tmp_path / "m.safetensors").keys() == model.state_dict().keys()


# --- Redes envueltas ----------------------------------------------------------------------------


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "sin envolver": lambda model: model,
    "compilada": lambda model: torch.compile(model, backend="eager"),  # type: ignore[return-value]
    "repartida": nn.DataParallel,
    "repartida y compilada": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),  # type: ignore[return-value]
    "compilada y repartida": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("average", [False, True], ids=["la red", "su EMA"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_network_is_saved_as_the_one_inside(
    wrapper: str, average: bool, case: tuple[Recipe, tuple[int, ...]], tmp_path: Path
) -> None:
    recipe, shape = case
    model = tiny.shaken(recipe)
    wrapped = WRAPPERS[wrapper](model)
    saved = EMA(wrapped).model if average else wrapped
    path = tmp_path / "m.safetensors"
    save_model(path, saved, recipe, shape)
    loaded = load_model(path).model.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_checkpoint_of_a_wrapped_network_resumes_without_the_wrapper(
    wrapper: str, tmp_path: Path
) -> None:
    recipe, shape = RECIPES["digits"]
    parts = Parts(recipe, shape, steps=2)
    path = tmp_path / "c.safetensors"
    wrapped = WRAPPERS[wrapper](parts.model)
    state = State(wrapped, EMA(wrapped), parts.optimizer)
    save_checkpoint(path, state, step=2, recipe=recipe, shape=shape)
    fresh = Parts(recipe, shape, steps=0)
    load_checkpoint(path, fresh.state, recipe)
    for name, value in parts.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], value)
        assert torch.equal(fresh.ema.model.state_dict()[name], value)


def test_a_network_with_a_part_called_module_is_not_a_wrapper() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)
            self.scale = nn.Parameter(torch.ones(2))

    assert bare_state(Own()).keys() == {"module.weight", "module.bias", "scale"}


# --- Escribir entero o no escribir --------------------------------------------------------------


@pytest.mark.parametrize("broken", ["write_bytes", "fsync", "replace"])
def test_a_write_that_fails_keeps_the_old_file(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "carpeta" / "f.safetensors"
    write_atomically(path, b"antes")

    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device", str(self))

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    target: Any = Path if broken == "write_bytes" else os
    monkeypatch.setattr(target, broken, half if broken == "write_bytes" else fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"despues")
    monkeypatch.undo()
    assert path.read_bytes() == b"antes"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_never_sees_a_truncated_file(tmp_path: Path) -> None:
    """Mientras un hilo escribe 60 checkpoints seguidos, otro los lee todos enteros."""
    recipe, shape = RECIPES["digits"]
    path = tmp_path / "m.safetensors"
    model = recipe.build_model()
    save_model(path, model, recipe, shape, {"steps": 0})
    finished = threading.Event()

    def write() -> None:
        for number in range(1, 61):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(number)
            save_model(path, model, recipe, shape, {"steps": number})
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not finished.is_set():
        loaded = load_model(path)
        number = loaded.provenance["steps"]
        values = {float(value.min()) for value in loaded.model.state_dict().values()}
        assert number == 0 or values == {float(number)}
        seen.append(number)
    writer.join()
    assert seen == sorted(seen)
    assert list(tmp_path.iterdir()) == [path]


# --- Ficheros viejos y ajenos -------------------------------------------------------------------


def rewritten(path: Path, change: Any) -> Path:
    """El modelo diminuto con la cabecera cambiada."""
    recipe, shape = RECIPES["toy"]
    save_model(path, recipe.build_model(), recipe, shape)
    table = {
        "kind": "model",
        "format": FORMAT_VERSION,
        "recipe": recipe.to_dict(),
        "shape": list(shape),
        "provenance": {},
    }
    save_file(load_file(path), path, metadata={"ddpm_lit": json.dumps(change(table))})
    return path


def test_the_unchanged_header_is_accepted(tmp_path: Path) -> None:
    assert load_model(rewritten(tmp_path / "m.safetensors", lambda table: table)).shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table | {"format": "0"}, "versión 0 del formato.*lee la 1"),
        (lambda table: {"format": "1"}, "La receta que guarda.*no es válida"),
        (lambda table: table | {"recipe": table["recipe"] | {"color": 1}}, "no es válida.*color"),
        (lambda table: table | {"recipe": 3}, "no es válida"),
        (
            lambda table: {k: v for k, v in table.items() if k != "shape"},
            "cabecera.*incompleta.*shape",
        ),
        (lambda table: [1], "no lo ha escrito ddpm_lit"),
        (lambda table: {}, "no lo ha escrito ddpm_lit"),
    ],
)
def test_headers_that_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(rewritten(tmp_path / "m.safetensors", change))


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    with pytest.raises(FileNotFoundError, match="No existe el fichero de pesos"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no lo ha escrito ddpm_lit"):
        load_model(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no es un fichero safetensors o está dañado"):
        load_model(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no es un fichero safetensors o está dañado"):
        load_model(path)
    recipe, shape = RECIPES["toy"]
    save_model(path, recipe.build_model(), recipe, shape)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no es un fichero safetensors o está dañado"):
        load_model(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    recipe, shape = RECIPES["toy"]
    path = tmp_path / "m.safetensors"
    save_model(path, nn.Linear(2, 2), recipe, shape)
    with pytest.raises(ValueError, match=r"no casan con la red.*falta «.*y 13 diferencias más"):
        load_model(path)
    wide = tiny.toy_table()
    wide["model"] = {"kind": "mlp", "options": {"width": 32, "depth": 1}}
    save_model(path, recipe_from_dict(wide).build_model(), recipe, shape)
    with pytest.raises(ValueError, match=r"es \(32,.*y se espera \(16,"):
        load_model(path)


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    recipe, shape = RECIPES["toy"]
    parts = Parts(recipe, shape, steps=0)
    path = tmp_path / "m.safetensors"
    save_model(path, parts.model, recipe, shape)
    with pytest.raises(ValueError, match="guarda solo un modelo: no se puede reanudar"):
        load_checkpoint(path, parts.state, recipe)


def test_names_and_expectations_may_differ_when_resuming(tmp_path: Path) -> None:
    recipe, shape = RECIPES["toy"]
    parts = Parts(recipe, shape, steps=1)
    path = tmp_path / "c.safetensors"
    parts.save(path, step=1)
    renamed = tiny.toy_table(steps=99) | {
        "name": "otra",
        "description": "Otra cosa.",
        "expect": {"cpu": {"loss": 1}},
        "sampling": {"sampler": "ddim", "steps": 5},
    }
    assert load_checkpoint(path, parts.state, recipe_from_dict(renamed)).step == 1
