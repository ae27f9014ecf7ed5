"""Los modelos que vienen dentro del paquete: sus pesos, sus fichas y cómo se meten en él."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.build import ship
from scripts.build.shipped import measure
from scripts.site import project
from scripts.site.project import PACKAGE

import tiny
from ddpm_lit.models import pretrained
from ddpm_lit.models.pretrained import CARD_FIELDS, card, load_pretrained, pretrained_names
from ddpm_lit.models.storage import load_model, save_model

WEIGHTS = PACKAGE / "weights"
LIMIT = 24_000_000
MEASURED = {
    "openmoji-texto": {"nearest_of_ten", "held_out_pairs"},
    "openmoji-latente": {"nearest_of_ten", "held_out_pairs"},
    "emoji-sr": {"mse", "mse_of_the_condition"},
    "emoji-color": {"mse", "mse_of_the_condition"},
    "fashion-mnist": {"nearest_of_its_class"},
    "digits-ink": {"ink_correlation"},
    "digits-learned": {"bits_per_dimension", "bits_per_dimension_fixed_large"},
    "digits-sr": {"mse", "mse_of_the_condition"},
}
"""Qué se mide de cada modelo del paquete."""
SHIPPED = set(MEASURED)


def provenance(**more: Any) -> dict[str, Any]:
    return {
        "steps": 12,
        "seconds": 3.0,
        "device": "cpu",
        "threads": 1,
        "torch": torch.__version__,
        "ddpm_lit": "0",
    } | more


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Una carpeta de pesos con un modelo diminuto, `cifras`, en el lugar de la del paquete."""
    torch.manual_seed(0)
    recipe = tiny.digits()
    model = recipe.build_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    first = provenance(steps=100, seconds=7.0, device="NVIDIA H200")
    source = tmp_path / "entero.safetensors"
    save_model(source, model, recipe, (1, 8, 8), provenance(continues=first))
    ship.ship(str(source), "cifras", {"frechet": {"samples": 1.5}}, tmp_path / "weights")
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path / "weights")
    return tmp_path


# --- Lo que se envía de verdad --------------------------------------------------------------------


def test_everything_fits_in_twenty_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) <= LIMIT
    files = [path for path in WEIGHTS.glob("*") if path.is_file()]
    stems = {path.stem for path in files}
    assert stems == SHIPPED
    assert {path.name for path in files} == {
        f"{stem}{suffix}" for stem in stems for suffix in (".json", ".safetensors")
    }


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_measures_of_the_card_are_those_of_the_weights(name: str) -> None:
    written, found = card(name)["metrics"], measure(load_pretrained(name))
    assert found.keys() >= MEASURED[name]
    for measured, value in found.items():
        counted = measured in ("nearest_of_ten", "held_out_pairs")
        margin = 0.051 if counted else 0.002
        assert value == pytest.approx(written[measured], rel=0.02, abs=margin), measured


def test_the_small_models_do_what_they_are_for() -> None:
    """La tinta se obedece, ampliar mejora la imagen pequeña y la varianza aprendida ahorra bits."""
    assert card("digits-ink")["metrics"]["ink_correlation"] > 0.9
    enlarged = card("digits-sr")["metrics"]
    assert enlarged["mse"] < enlarged["mse_of_the_condition"] / 2
    bits = card("digits-learned")["metrics"]
    assert bits["bits_per_dimension"] < bits["bits_per_dimension_fixed_large"] - 0.1


def test_the_text_model_composes_what_it_never_saw() -> None:
    """De las parejas apartadas acierta siete de cada diez dibujos o más; de lo visto, todo."""
    measured = card("openmoji-texto")["metrics"]["composition"]
    assert measured["held_out"]["drawings"] == 400
    assert measured["held_out"]["right"] >= 280
    assert measured["held_out"]["pairs_right"] >= 70
    assert measured["seen"]["exact"] >= 0.99 * measured["seen"]["count"]


@pytest.mark.parametrize("name", pretrained_names())
def test_every_shipped_model_loads_and_its_card_says_the_truth(name: str) -> None:
    trained, known = load_pretrained(name), card(name)
    assert set(known) == set(CARD_FIELDS)
    assert known["name"] == name
    assert all(known[field] not in ("", None, [], {}) for field in CARD_FIELDS)
    assert known["recipe"] == trained.recipe.name
    assert known["seed"] == trained.recipe.seed
    assert known["parameters"] == sum(p.numel() for p in trained.model.parameters())
    assert known["steps"] == sum(segment["steps"] for segment in known["segments"])
    assert known["seconds"] == pytest.approx(sum(part["seconds"] for part in known["segments"]))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trained.model.parameters())


# --- Cómo se lee ----------------------------------------------------------------------------------


def test_half_precision_costs_half_and_comes_back_as_float32(shipped: Path) -> None:
    (small,) = (shipped / "weights").glob("*.safetensors")
    exact = load_model(shipped / "entero.safetensors")
    read = load_pretrained("cifras")
    whole = sum(4 * p.numel() for p in exact.model.parameters())
    saved = (shipped / "entero.safetensors").stat().st_size - small.stat().st_size
    assert abs(saved - whole / 2) < 200
    for one, other in zip(exact.model.parameters(), read.model.parameters(), strict=True):
        assert other.dtype == torch.float32
        assert torch.equal(one.half().float(), other)
    assert (read.recipe, read.shape) == (exact.recipe, exact.shape)
    samples = read.sample(4, steps=3, device="cpu")
    assert torch.allclose(samples, exact.sample(4, steps=3, device="cpu"), atol=0.05)


def test_the_names_are_those_of_the_folder(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained_names() == ["cifras"]
    monkeypatch.setattr(pretrained, "_folder", lambda: shipped / "nada")
    assert pretrained_names() == []
    with pytest.raises(
        FileNotFoundError, match=r"ningún modelo «cifras»\. Esta instalación no trae ninguno\."
    ):
        load_pretrained("cifras")


@pytest.mark.parametrize("read", [load_pretrained, card])
def test_an_unknown_name_suggests_the_closest(shipped: Path, read: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"«cifra».*¿Querías decir «cifras».*Los que hay"):
        read("cifra")
    with pytest.raises(FileNotFoundError, match=r"«\.\./entero»"):
        read("../entero")


# --- Cómo se mete ---------------------------------------------------------------------------------


def test_the_card_has_every_field_and_every_segment(shipped: Path) -> None:
    known = card("cifras")
    assert tuple(known) == CARD_FIELDS
    assert [(part["steps"], part["device"]) for part in known["segments"]] == [
        (100, "NVIDIA H200"),
        (12, "cpu"),
    ]
    assert (known["steps"], known["seconds"]) == (112, 10.0)
    assert known["hardware"] == "NVIDIA H200, cpu"
    assert known["license"] == "MIT"
    assert "Alpaydin" in known["data"]["attribution"]
    assert known["metrics"] == {"frechet": {"samples": 1.5}}
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PACKAGE, capture_output=True, text=True, check=True
    )
    assert known["commit"] == head.stdout.strip()


def test_weights_learnt_from_share_alike_data_keep_its_licence() -> None:
    for name in ("openmoji", "openmoji-compuesto"):
        assert ship.LICENSES[name] == "CC BY-SA 4.0"


def test_the_script_takes_a_run_and_its_measures(
    shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measures = shipped / "medidas.json"
    measures.write_text(json.dumps({"samples": 10}), encoding="utf-8")
    monkeypatch.setattr(ship, "PACKAGE", shipped)
    monkeypatch.setattr(ship, "ROOT", shipped)
    monkeypatch.setattr(ship, "commit", lambda: "abc")
    ship.main([str(shipped / "entero.safetensors"), "otro", "--metrics", str(measures)])
    assert "weights/otro.safetensors: 0." in capsys.readouterr().out
    assert card("otro")["metrics"] == {"samples": 10}
    assert card("otro")["commit"] == "abc"


@pytest.fixture
def package(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """El proyecto, para el guion, es una carpeta vacía."""
    for name in ("PACKAGE", "ROOT"):
        monkeypatch.setattr(ship, name, shipped)
    monkeypatch.setattr(ship, "build_dir", lambda: shipped / "build")
    return shipped


def test_the_script_says_which_commit_made_the_weights(package: Path) -> None:
    ship.main([str(package / "entero.safetensors"), "otro", "--commit", "1234abc"])
    assert card("otro")["commit"] == "1234abc"


def test_a_card_never_leaves_its_commit_out(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "ROOT", package)
    with pytest.raises(RuntimeError, match=r"No se sabe en qué commit.*--commit"):
        ship.main([str(package / "entero.safetensors"), "otro"])
    assert pretrained_names() == ["cifras"]


def test_the_script_trains_a_recipe_and_goes_on_where_it_was_cut(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "load_recipe", lambda name, profile: tiny.digits())
    monkeypatch.setattr(ship, "current_commit", lambda: "abc")
    ship.main(["--train", "otro"])
    assert card("otro")["steps"] == tiny.digits().training.steps
    first = load_pretrained("otro")
    ship.main(["--train", "otro"])
    again = load_pretrained("otro")
    assert again.provenance["seconds"] == first.provenance["seconds"]


@pytest.mark.parametrize("words", [[], ["entero.safetensors"], ["a", "b", "--train", "c"]])
def test_the_script_needs_to_know_what_to_put(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        ship.main(words)
