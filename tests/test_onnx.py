"""Los ficheros ONNX de cada clase de red, contra onnxruntime."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tiny
from ddpm_lit.conditioning import null_condition
from ddpm_lit.models.export import METADATA, example_inputs, export_onnx
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.storage import parse_header, save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from terminal import Run, invoker


def everything() -> Recipe:
    """Todas las condiciones a la vez, y lo que cambia la U-Net por dentro."""
    words = tuple(sorted(("cero", "uno", "dos", "tres")))
    return tiny.conditional(
        "todo",
        conditions={"text": True},
        vocabulary=words,
        text_dim=16,
        text_length=5,
        num_classes=3,
        num_scalars=2,
        condition_channels=1,
        scale_shift=True,
        patch_size=2,
        attention_head_dim=4,
        flip_sin_to_cos=True,
        freq_shift=0,
        downsample_padding=1,
    )


def points() -> Recipe:
    table = tiny.toy_table()
    table["model"]["options"]["num_classes"] = 3
    return recipe_from_dict(table)


NETWORKS = {
    "mlp": (points, (2,)),
    "clases": (tiny.digits, (1, 8, 8)),
    "texto": (tiny.reader, (1, 8, 8)),
    "imagen": (tiny.enlarger, (1, 8, 8)),
    "todo": (everything, (1, 8, 8)),
    "apaisada": (lambda: tiny.conditional("apaisada", dropout=0.0), (1, 4, 12)),
}


def trained(name: str) -> Trained:
    make, shape = NETWORKS[name]
    recipe = make()
    return Trained(
        tiny.randomised(recipe.build_model()),
        recipe,
        shape,
        {"steps": 3},
        {"label_names": ["a", "b", "ç"]},
    )


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run_both(one: Trained, path: Path, inputs: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    given = {name: value.numpy() for name, value in inputs.items()}
    (found,) = session(path).run(None, given)
    with torch.no_grad():
        return found, one.model(**inputs).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_gives_what_the_network_gives(name: str, tmp_path: Path) -> None:
    one, path = trained(name), tmp_path / "red.onnx"
    said = export_onnx(one, path)
    assert said <= 1e-4
    onnx.checker.check_model(onnx.load(path), full_check=True)
    for batch in (1, 2, 16):
        found, expected = run_both(one, path, example_inputs(one, batch, seed=batch))
        assert found.shape == (batch, *one.shape)
        assert expected.std() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_a_condition_that_says_nothing_is_the_null_one(tmp_path: Path) -> None:
    one, path = trained("todo"), tmp_path / "red.onnx"
    export_onnx(one, path)
    inputs = example_inputs(one, 4)
    named = {name: value for name, value in inputs.items() if name not in ("x", "t")}
    null = null_condition(named, num_classes=3)
    found, expected = run_both(one, path, inputs | null)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    with torch.no_grad():
        absent = one.model(inputs["x"], inputs["t"], image=inputs["image"]).numpy()
    np.testing.assert_allclose(found, absent, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["mlp", "todo"])
def test_half_precision_rounds_the_weights_and_nothing_else(name: str, tmp_path: Path) -> None:
    one = trained(name)
    whole, half = tmp_path / "float32.onnx", tmp_path / "float16.onnx"
    export_onnx(one, whole)
    difference = export_onnx(one, half, half=True)
    inputs = example_inputs(one, 3)
    found, _ = run_both(one, half, inputs)
    assert found.dtype == np.float32
    rounded = Trained(one.model.half().float(), one.recipe, one.shape, {})
    expected = run_both(rounded, whole, inputs)[1]
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert 1e-5 < difference < 0.1
    (kept,) = {each.data_type for each in onnx.load(half).graph.initializer}
    assert kept == onnx.TensorProto.FLOAT16


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    one, path = trained("todo"), tmp_path / "red.onnx"
    export_onnx(one, path)
    metadata = session(path).get_modelmeta().custom_metadata_map
    table = json.loads(metadata[METADATA])
    header = parse_header(table, path)
    assert json.dumps(header.recipe.to_dict()) == json.dumps(one.recipe.to_dict())
    assert header.recipe.network_config().vocabulary == ("cero", "dos", "tres", "uno")
    assert (header.shape, header.data) == (one.shape, one.data)
    names = [each.name for each in session(path).get_inputs()]
    assert names == ["x", "t", "class_labels", "tokens", "scalars", "image"]
    assert all(each.shape[0] == "batch" for each in session(path).get_inputs())


def test_exporting_leaves_the_model_and_the_generator_as_they_were(tmp_path: Path) -> None:
    one = trained("texto")
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    state, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    export_onnx(one, tmp_path / "red.onnx", half=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    after = one.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_shipped_text_model_fits_in_eight_megabytes(tmp_path: Path) -> None:
    """Sus pesos ya vienen en float16: guardarlos así no cambia nada."""
    one, path = load_pretrained("openmoji-texto"), tmp_path / "emoji.onnx"
    assert export_onnx(one, path, half=True) <= 1e-4
    assert path.stat().st_size <= 8_000_000
    found, expected = run_both(one, path, example_inputs(one, 2, seed=5))
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["onnx", "diffusers"])
def test_a_weight_that_half_precision_cannot_hold_is_said(kind: str, tmp_path: Path) -> None:
    from ddpm_lit.models.export import export_diffusers

    recipe = tiny.conditional("sola", dropout=0.0)
    one = Trained(recipe.build_model(), recipe, (1, 8, 8), {})
    with torch.no_grad():
        one.model.conv_in.bias[0] = 1e5
    export = {"onnx": export_onnx, "diffusers": export_diffusers}[kind]
    out = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match=r"conv_in\.bias.*1e\+05"):
        export(one, out, half=True)
    assert not out.exists()


def test_a_condition_of_ones_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddpm_lit.conditioning import CONDITIONS, Condition

    own = Condition(lambda value, num_classes: value, lambda config: True)
    monkeypatch.setitem(CONDITIONS, "angulo", own)
    with pytest.raises(ValueError, match="«angulo»"):
        example_inputs(trained("clases"), 2)


def test_the_command_writes_the_file_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run: Run = invoker(capfd)
    one = trained("texto")
    save_model("m.safetensors", one.model, one.recipe, one.shape)
    done = run("export", "m.safetensors", "--format", "onnx", "--half", "--out", "red.onnx")
    assert done.code == 0, done.err
    assert "entradas: x, t, tokens; salida: output." in done.out
    assert re.search(r"la mayor diferencia es \d\.\de-\d\d\.", done.out)
    done = run("export", "m.safetensors", "--format", "onnx", "--out", "red.bin")
    assert done.code == 2 and "debe acabar en .onnx" in done.err
    done = run("export", "m.safetensors", "--format", "diffusers", "--out", "a")
    assert done.code == 1 and "lee texto" in done.err and "--format onnx" in done.err


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_it_says_which_one(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "a.onnx"
    with pytest.raises(ModuleNotFoundError, match=r"pip install \w+ .*«onnx»"):
        export_onnx(trained("mlp"), out)
    assert not out.exists()
