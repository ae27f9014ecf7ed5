"""Las fichas: se escribe todo, se repite lo mismo y se dice qué difiere."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scripts.build.ship import read_metrics

import ddpm_lit
import tiny
from ddpm_lit.data import load_dataset, split
from ddpm_lit.evaluation import measure
from ddpm_lit.evaluation.card import (
    Card,
    Protocol,
    changed_figures,
    changed_settings,
    figures,
    mean_result,
    read_card,
    spread,
    write_card,
)
from ddpm_lit.evaluation.evaluate import evaluate, model_fingerprint
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.recipe import SamplingConfig
from terminal import Run, invoker


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "CLASSIFIER_STEPS", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caché"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return invoker(capfd)


def trained(**options: Any) -> Trained:
    recipe = tiny.conditional(num_classes=10, **options)
    return Trained(tiny.shaken(recipe), recipe, (1, 8, 8), {"steps": 7, "processes": 2})


def protocol(**options: Any) -> Protocol:
    sampling = SamplingConfig("ddim", steps=2)
    return Protocol("modelo", None, **{"sampling": sampling, "samples": 12} | options)


def saved(name: str = "modelo.safetensors") -> str:
    model = trained()
    save_model(name, model.model, model.recipe, model.shape, model.provenance)
    return name


# --- Qué lleva ------------------------------------------------------------------------------------


def test_the_card_says_what_was_measured_and_with_what() -> None:
    model = trained()
    card = evaluate(model, protocol(bits=3, seed=5))
    train_set, held_out = split(load_dataset("digits"), 0.2, 0)
    assert card.reference == {
        "name": "digits",
        "trained_on": True,
        "fingerprint": train_set.fingerprint(),
        "count": len(train_set),
        "shape": [1, 8, 8],
        "held_out_fingerprint": held_out.fingerprint(),
        "held_out_count": len(held_out),
    }
    assert card.model["fingerprint"] == model_fingerprint(model)
    assert card.model["global_batch"] == model.recipe.training.batch_size
    assert card.model["ema_decay"] == model.recipe.training.ema_decay
    assert (card.model["training_steps"], card.model["training_processes"]) == (7, 2)
    expected = {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "processes": 1,
        "ddpm_lit": ddpm_lit.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    assert expected.items() <= card.environment.items()
    assert len(card.extractors["small"]["fingerprint"]) == 16
    assert {"frechet", "precision_recall", "agreement", "nearest", "bits"} <= set(card.results[0])
    assert card.results[0]["bits"]["data"] == 3


@pytest.mark.parametrize(
    ("sampling", "calls"),
    [
        (SamplingConfig("ddim", steps=4), 4),
        (SamplingConfig("ddim", steps=4, guidance=1.0), 8),
        (SamplingConfig("ddpm", steps=3), 3),
        # El último paso de Heun es de Euler.
        (SamplingConfig("heun", steps=4), 7),
    ],
)
def test_the_calls_are_counted(sampling: SamplingConfig, calls: int) -> None:
    card = evaluate(trained(), protocol(sampling=sampling, batch_size=5))
    assert card.calls == calls


def test_the_fingerprint_is_of_what_the_model_does() -> None:
    model = trained()
    before = model_fingerprint(model)
    loaded = load_model(saved("otro-nombre.safetensors"))
    assert model_fingerprint(loaded) == before
    renamed = replace(model, recipe=replace(model.recipe, name="otro"), provenance={})
    assert model_fingerprint(renamed) == before
    diffusion = replace(model.recipe.diffusion, prediction="epsilon")
    other = replace(model, recipe=replace(model.recipe, diffusion=diffusion))
    assert model_fingerprint(other) != before
    with torch.no_grad():
        next(loaded.model.parameters()).view(-1)[0] += 1e-6
    assert model_fingerprint(loaded) != before


def test_a_card_is_the_same_after_a_file() -> None:
    card = evaluate(trained(), protocol(seeds=2))
    write_card(card, Path("f.json"))
    back = read_card("f.json")
    assert changed_settings(card, back) == changed_figures(card, back) == []
    assert back == replace(card, results=back.results)
    assert json.loads(Path("f.json").read_text(encoding="utf-8"))["version"] == 1


# --- Varias semillas ------------------------------------------------------------------------------


def test_each_seed_is_what_it_would_be_alone() -> None:
    model = trained()
    both = evaluate(model, protocol(seed=3, seeds=2))
    alone = [evaluate(model, protocol(seed=seed)).results[0] for seed in (3, 4)]
    assert list(both.results) == alone
    name = "nearest.samples.median"
    values = [figures(each)[name] for each in alone]
    assert values[0] != values[1]
    found = both.spread[name]
    assert found["mean"] == pytest.approx(sum(values) / 2)
    assert found["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert "nearest.samples.n" not in both.spread, "lo que no cambia no tiene desviación"
    assert evaluate(model, protocol()).spread == {}


def test_the_mean_and_the_spread_are_those_of_three_numbers() -> None:
    results = [
        {"a": {"b": value, "n": 5}, "c": extra, "d": True}
        for value, extra in ((1.0, None), (2.0, 3.0), (6.0, 4.0))
    ]
    assert mean_result(results) == {"a": {"b": 3.0, "n": 5}, "c": None, "d": True}
    assert spread(results) == {"a.b": {"mean": 3.0, "deviation": pytest.approx(7**0.5)}}


def test_the_command_says_how_much_a_seed_changes(run: Run) -> None:
    done = run("evaluate", saved(), "-n", "8", "--steps", "2", "--seeds", "3", "--out", "f.json")
    assert done.code == 0, done.err
    assert "8 muestras con cada una de 3 semillas" in done.out
    assert "De una semilla a otra (3), media ± desviación típica:" in done.out
    found = read_card("f.json").spread["nearest.samples.median"]
    said = f"  distancia al dato más parecido: {found['mean']:.3g} ± {found['deviation']:.2g}"
    assert said in done.out.splitlines()


# --- Repetirla ------------------------------------------------------------------------------------


def measured(run: Run, *words: str) -> Card:
    done = run("evaluate", saved(), "-n", "8", "--steps", "2", "--out", "antes.json", *words)
    assert done.code == 0, done.err
    return read_card("antes.json")


def test_repeating_it_gives_the_same_figures(run: Run) -> None:
    words = ("--sampler", "ddim", "--eta", "0.3", "--guidance", "1", "--bits", "2", "--seed", "4")
    card = measured(run, *words, "--batch-size", "3")
    done = run("evaluate", "--card", "antes.json")
    assert done.code == 0, done.err
    assert "nada de lo que se apunta ha cambiado" in done.out
    assert f"Las {len(figures(card.results[0]))} cifras son las mismas." in done.out
    again = read_card("ficha-condicional.json")
    assert again.protocol == card.protocol
    assert again.results == card.results


def edited(change: Callable[[dict[str, Any]], None]) -> None:
    """Cambia algo de «antes.json»."""
    table = json.loads(Path("antes.json").read_text(encoding="utf-8"))
    change(table)
    Path("antes.json").write_text(json.dumps(table), encoding="utf-8")


def test_what_changed_is_said_with_before_and_after(run: Run) -> None:
    measured(run)

    def older(table: dict[str, Any]) -> None:
        table["environment"]["torch"] = "1.0"
        del table["environment"]["numpy"]
        table["results"][0]["nearest"]["samples"]["min"] += 0.5
        table["results"][0]["agreement"]["nueva"] = 3

    before = read_card("antes.json").results[0]["nearest"]["samples"]["min"]
    edited(older)
    done = run("evaluate", "--card", "antes.json")
    lines = done.out.splitlines()
    assert f"  environment.torch: «1.0» → «{torch.__version__}»" in lines
    assert f"  environment.numpy: nada → «{np.__version__}»" in lines
    assert f"  nearest.samples.min: {before + 0.5:.6g} → {before:.6g} (-0.5)" in lines
    assert "  agreement.nueva: «3» → nada" in lines
    assert any(line.startswith("  Cambian 2 cifras de ") for line in lines)


def test_another_model_is_another_fingerprint(run: Run) -> None:
    card = measured(run)
    model = trained()
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.mul_(1.1)
    save_model("otro.safetensors", model.model, model.recipe, model.shape, model.provenance)
    done = run("evaluate", "otro.safetensors", "--card", "antes.json", "--batch-size", "5")
    after = model_fingerprint(model)
    assert f"  model.fingerprint: «{card.model['fingerprint']}» → «{after}»" in done.out
    assert "  protocol.model: «modelo.safetensors» → «otro.safetensors»" in done.out
    assert "  protocol.batch_size: «128» → «5»" in done.out
    assert "distancia de Fréchet (frechet.samples.to_data): " in done.out


def test_a_card_of_a_device_that_is_not_here_is_repeated_where_it_can(run: Run) -> None:
    measured(run)
    edited(lambda table: table["environment"].update(device="cuda:7"))
    done = run("evaluate", "--card", "antes.json", "--out", "f.json")
    assert done.code == 0, done.err
    assert "Se midió en «cuda:7», que aquí no hay." in done.err
    assert "  environment.device: «cuda:7» → «cpu»" in done.out


def test_with_a_card_nothing_else_can_be_asked(run: Run) -> None:
    measured(run)
    for words in (("-n", "9"), ("--steps", "3"), ("--fid",), ("--seeds", "2"), ("--seed", "1")):
        done = run("evaluate", "--card", "antes.json", *words)
        assert done.code == 2
        assert f"--card repite una evaluación tal como fue: quita {words[0]}" in done.err
    done = run("evaluate")
    assert done.code == 2
    assert "Falta el MODELO, o una ficha con --card" in done.err


def test_no_card_is_written_over(run: Run) -> None:
    words = ("evaluate", saved(), "-n", "4", "--steps", "1")
    for name in ("ficha-condicional.json", "ficha-condicional-2.json", "ficha-condicional-3.json"):
        done = run(*words)
        assert f"Todo, en la ficha «{name}»." in done.out
    assert len(list(Path().glob("ficha-*.json"))) == 3


# --- Fichas rotas ---------------------------------------------------------------------------------


def broken(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Cambia un campo por su camino, con «__» por punto; `...` lo quita."""

    def change(table: dict[str, Any]) -> None:
        for path, value in changes.items():
            *folders, last = path.split("__")
            inside = table
            for name in folders:
                inside = inside[name]
            if value is ...:
                del inside[last]
            else:
                inside[last] = value

    return change


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, r"es de la versión 2 y este ddpm_lit lee la 1"),
        ({"format": "otra"}, "no la ficha de una evaluación"),
        ({"format": ...}, "no la ficha de una evaluación"),
        ({"protocol": ...}, "A la ficha le falta el valor «protocol»"),
        ({"protocol__samples": 10**9}, "«samples» vale 1000000000 y debe ser como mucho"),
        ({"protocol__samples": -1}, "«samples» vale -1 y debe ser al menos 4"),
        ({"protocol__samples": "muchas"}, "debe ser un número entero y ha llegado 'muchas'"),
        ({"protocol__seeds": 0}, "«seeds» vale 0"),
        ({"protocol__seeds": 3}, "Hay 1 resultados y 3 semillas"),
        ({"protocol__seed": 2**64}, "Desde la semilla"),
        ({"protocol__fid": 1}, "debe ser true o false"),
        ({"protocol__muestras": 3}, "No existe el valor «protocol.muestras» en una ficha"),
        ({"protocol__sampling__sampler": "ddjm"}, "ddjm"),
        ({"protocol__sampling__steps": -3}, "sampling.steps"),
        ({"results": []}, "Hay 0 resultados"),
        ({"results": [3]}, r"results\[0\]» debe ser una tabla"),
        ({"results": [{"a": {"b": "mucho"}}]}, "«a.b» debe ser un número finito"),
        ({"calls": -1}, "«calls» vale -1"),
        ({"environment": "cpu"}, "«environment» debe ser una tabla"),
        ({"otra": 1}, "No existe el valor «otra» en una ficha"),
    ],
)
def test_absurd_cards_are_explained(run: Run, changes: dict[str, Any], said: str) -> None:
    card = evaluate(trained(), protocol(samples=4, sampling=SamplingConfig("ddim", steps=1)))
    write_card(card, Path("antes.json"))
    edited(broken(**changes))
    with pytest.raises(ValueError, match=said):
        read_card("antes.json")
    done = run("evaluate", "--card", "antes.json")
    assert done.code == 1
    assert done.err.startswith("Error: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no es JSON"),
        (b"{", "no es JSON"),
        (b"\xff\xfe\x00", "no es JSON"),
        (b"[" * 100_000, "no es JSON"),
        (b'{"format": NaN}', "NaN"),
        (b"[1, 2]", "no la ficha de una evaluación"),
        (b" " * (16 * 2**20 + 1), "ocupa 16 MiB"),
    ],
)
def test_files_that_are_not_cards_are_explained(run: Run, content: bytes, said: str) -> None:
    Path("f.json").write_bytes(content)
    done = run("evaluate", "--card", "f.json")
    assert done.code == 1
    assert said in done.err
    assert len(done.err) < 500


def test_a_card_that_is_not_there_is_explained(run: Run) -> None:
    Path("carpeta.json").mkdir()
    for name in ("nada.json", "carpeta.json"):
        done = run("evaluate", "--card", name)
        assert done.code == 1
        assert f"No existe la ficha «{name}»" in done.err


def test_the_measures_of_a_shipped_model_come_from_its_card() -> None:
    card = evaluate(trained(), protocol(seeds=2))
    write_card(card, Path("medidas.json"))
    metrics = read_metrics(Path("medidas.json"))
    assert metrics == mean_result(card.results)
    Path("otras.json").write_text('{"nota": 7}', encoding="utf-8")
    assert read_metrics(Path("otras.json")) == {"nota": 7}


def test_a_card_has_no_figures_that_are_not_numbers() -> None:
    card = evaluate(trained(), protocol(samples=4, sampling=SamplingConfig("ddim", steps=1)))
    for result in card.results:
        found = figures(result)
        assert len(found) > 20
        assert all(np.isfinite(list(found.values())))
    assert "NaN" not in json.dumps(asdict(card))
