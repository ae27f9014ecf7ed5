"""Órdenes raras en la terminal: o se atienden, o se dice qué hacer antes de perder el tiempo."""

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ddpm_lit
import tiny
from ddpm_lit.cli.options import _toml_value, classes
from ddpm_lit.data.conditions import low_resolution
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import train
from terminal import Result, Run, invoker

NAMES = ("gato", "perro", *map(str, range(2, 10)))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Ejecuta una orden en una carpeta vacía."""
    monkeypatch.chdir(tmp_path)

    return invoker(capfd)


def saved(recipe: Recipe, names: tuple[str, ...] = (), shape: tuple[int, ...] = (1, 8, 8)) -> str:
    path = f"{recipe.name}.safetensors"
    save_model(path, tiny.shaken(recipe), recipe, shape, data={"label_names": names})
    return path


def toy() -> str:
    return saved(tiny.toy(), shape=(2,))


def refused(done: Result, words: str, code: int = 1) -> None:
    assert done.code == code, done.err
    assert re.search(words, done.err, re.DOTALL), done.err
    assert "Traceback" not in done.err


# --- Imágenes pequeñas y modelos que amplían ------------------------------------------------------


def picture(side: int, path: str = "foto.png") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def enlarged(run: Run, source: str) -> tuple[torch.Tensor, str]:
    words = ("--image", source, "-n", "1", "--steps", "3", "--tensors", "t.safetensors")
    done = run("sample", saved(tiny.enlarger()), *words)
    assert done.code == 0, done.err
    return load_file("t.safetensors")["samples"], done.err


def test_what_is_already_small_is_enlarged_as_it_is(run: Run) -> None:
    """La condición es la de los datos: cada píxel, en su bloque, sin ir y volver por Lanczos."""
    pixels = picture(4)
    found, said = enlarged(run, "foto.png")
    assert said == "", "no se le ha hecho nada"
    small = torch.from_numpy(pixels)[None, None].float() / 127.5 - 1
    blocks = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = load_model("amplia.safetensors").sample(1, image=blocks, steps=3, device="cpu")
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_has_the_size_of_the_model_is_reduced_as_the_data(run: Run) -> None:
    pixels = picture(8)
    found, said = enlarged(run, "foto.png")
    assert said == ""
    blocks = low_resolution(torch.from_numpy(pixels)[None, None].float() / 127.5 - 1, 2)
    expected = load_model("amplia.safetensors").sample(1, image=blocks, steps=3, device="cpu")
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (3, "mide 3×3: se lleva a 4×4, lo que amplía el modelo"),
        (6, "mide 6×6: se lleva a 4×4, lo que amplía el modelo"),
        (20, "mide 20×20: se lleva a 8×8, el tamaño del modelo"),
    ],
)
def test_it_says_the_size_that_a_picture_ends_up_with(run: Run, side: int, words: str) -> None:
    picture(side)
    assert words in enlarged(run, "foto.png")[1]


# --- Rellenar en un paso --------------------------------------------------------------------------


def hollow() -> None:
    image = Image.new("RGBA", (8, 8), (200, 200, 200, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 4))
    image.save("roto.png")


def test_filling_in_one_step_is_filling_without_going_back(run: Run) -> None:
    hollow()
    model = saved(tiny.conditional())
    done = run("sample", model, "--inpaint", "roto.png", "--steps", "1", "-n", "2")
    assert done.code == 0, done.err
    assert "2 muestras en 1 pasos" in done.out


def test_what_is_asked_for_is_not_forgotten_in_silence(run: Run) -> None:
    hollow()
    words = ("--inpaint", "roto.png", "--steps", "1", "--resamplings", "3")
    done = run("sample", saved(tiny.conditional()), *words)
    refused(done, "Con un solo paso no hay ningún tramo que repetir 3 veces: da más pasos")
    assert not Path("muestras.png").exists()


# --- --set ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/fotos", "/fotos"),
        ("/mis fotos/el 1º", "/mis fotos/el 1º"),
        ("~/fotos", "~/fotos"),
        ("./fotos", "./fotos"),
        ("../a.b", "../a.b"),
        (r"C:\fotos", r"C:\fotos"),
        ("2024-fotos", "2024-fotos"),
        ("2024-01-31", "2024-01-31"),
        ("12:30:00", "12:30:00"),
        ("año", "año"),
        ("a#b", "a#b"),
        ("/a#b", "/a#b"),
        ("dpm++2m", "dpm++2m"),
        ("200", 200),
        (" 200 ", 200),
        ("1e-3", 1e-3),
        ("true", True),
        ("True", "True"),
        ('"2024"', "2024"),
        ("'a # b'", "a # b"),
        ("[1, 2]", [1, 2]),
        ("{ n = 3 }", {"n": 3}),
    ],
)
def test_a_value_is_toml_or_plain_text(text: str, value: object) -> None:
    found = _toml_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", " ", "[1,", "{a", '"sin cerrar', "'a", "1\nb = 2", "a\nb"])
def test_a_value_that_is_half_written_is_refused(run: Run, text: str) -> None:
    refused(run("train", "digits", "--set", f"seed={text}"), "no es un valor de TOML", code=2)


def test_a_folder_with_spaces_is_given_without_quotes(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mis fotos" / "2024 (1)"
    folder.mkdir(parents=True)
    for shade in range(4):
        Image.new("L", (8, 8), 60 * shade).save(folder / f"{shade}.png")
    Path("caras.toml").write_text(
        """
name = "caras"
description = "Fotos para los tests."
[data]
name = "folder"
options = { size = 8, color = "gray" }
[model]
kind = "unet"
[model.options]
in_channels = 1
block_out_channels = [4, 4]
layers_per_block = 1
attention = [false, false]
norm_num_groups = 2
[diffusion]
schedule = "cosine"
timesteps = 10
prediction = "v"
[training]
steps = 1
batch_size = 2
""",
        encoding="utf-8",
    )
    done = run("train", "caras.toml", "--set", f"data.options.path={folder}", "--device", "cpu")
    assert done.code == 0, done.err


def test_a_number_that_is_not_one_reaches_who_knows(run: Run) -> None:
    done = run("train", "digits", "--set", "training.steps=20O")
    refused(done, "«training.steps» debe ser un número entero y ha llegado '20O'")


# --- Órdenes que se proponen ----------------------------------------------------------------------


def test_what_is_suggested_has_its_quotes() -> None:
    """Toda orden que se propone con algo dentro lo lleva entre comillas si hacen falta."""
    proposed = 0
    for path in Path(ddpm_lit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            for before, value in pairwise(node.values):
                text = before.value if isinstance(before, ast.Constant) else ""
                if re.search(r"ddpm-lit (train|sample|evaluate|info)[^»\n]* $", str(text)):
                    assert isinstance(value, ast.FormattedValue)
                    assert ast.unparse(value.value).startswith("shlex.quote("), path
                    proposed += 1
    assert proposed > 0


# --- Ficheros -------------------------------------------------------------------------------------


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nadie llega a generar nada."""

    def generate(*_: object, **__: object) -> None:
        raise AssertionError("Se ha generado para nada.")

    monkeypatch.setattr("ddpm_lit.models.trained.Trained.sample", generate)


@pytest.mark.parametrize(
    ("order", "option", "name"),
    [
        ("sample", "--out", "m.png"),
        ("sample", "--animation", "m.gif"),
        ("sample", "--tensors", "m.safetensors"),
        ("evaluate", "--out", "m.json"),
    ],
)
def test_where_nothing_can_be_written_is_known_before_generating(
    run: Run, untouched: None, monkeypatch: pytest.MonkeyPatch, order: str, option: str, name: str
) -> None:
    model = toy()
    Path("fichero").write_text("")
    refused(run(order, model, option, f"fichero/{name}"), "«.*fichero» es un fichero, no una", 2)
    Path(name).mkdir()
    refused(run(order, model, option, name), f"«{re.escape(name)}» es una carpeta", 2)
    Path("cerrada").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "cerrada")
    done = run(order, model, option, f"cerrada/nueva/{name}")
    refused(done, "no hay permiso en la carpeta «.*cerrada»", 2)
    assert not Path("cerrada/nueva").exists()


def test_a_model_is_not_written_over(run: Run, untouched: None) -> None:
    model = toy()
    before = Path(model).read_bytes()
    done = run("sample", model, "--tensors", model)
    refused(done, "«toy.safetensors» es un modelo, y se perdería", 2)
    assert Path(model).read_bytes() == before


def test_samples_may_be_written_over_samples(run: Run) -> None:
    words = ("sample", toy(), "-n", "3", "--steps", "2", "--tensors", "t.safetensors")
    assert run(*words).code == run(*words).code == 0


def test_a_folder_called_like_a_model_is_a_folder(run: Run) -> None:
    Path("m.safetensors").mkdir()
    for order in ("sample", "info", "evaluate"):
        refused(run(order, "m.safetensors"), "En la carpeta «m.safetensors» no hay ni")
    with pytest.raises(IsADirectoryError, match="es una carpeta, y se esperaba un fichero"):
        load_model("m.safetensors")


# --- Clases ---------------------------------------------------------------------------------------


def test_info_shows_the_classes_with_their_numbers(run: Run) -> None:
    done = run("info", saved(tiny.conditional(num_classes=10), NAMES))
    assert re.search(r"clases +0 gato, 1 perro, 2 2, ", done.out)
    many = tuple(f"clase {number}" for number in range(60))
    done = run("info", saved(tiny.conditional(num_classes=60), many))
    assert "39 clase 39 y otras 20" in done.out
    assert "clases " not in run("info", toy()).out


def test_a_run_shows_and_understands_the_classes_of_its_data(run: Run) -> None:
    train(tiny.digits(steps=1), "runs", device="cpu", progress=False)
    assert re.search(r"clases +0 0, 1 1, 2 2, ", run("info", "runs").out)
    done = run("sample", "runs", "--class", "7", "-n", "1", "--steps", "1")
    assert done.code == 0, done.err


def test_an_unknown_class_says_which_are_near(run: Run, untouched: None) -> None:
    model = saved(tiny.conditional("con-nombres", num_classes=10), NAMES)
    refused(run("sample", model, "--class", "gatos"), r"«gatos».*¿Querías decir «gato»\?.*perro")
    nameless = saved(tiny.conditional("sin-nombres", num_classes=10))
    refused(run("sample", nameless, "--class", "gato"), "no tienen nombre.*de 0 a 9")
    refused(run("sample", toy(), "--class", "gato"), "no conoce clases")


def test_an_endless_range_of_classes_is_refused(run: Run, untouched: None) -> None:
    done = run("sample", toy(), "--class", "0-99999999999")
    refused(done, "no dice qué clases.*de menos de 10000", 2)
    assert classes(None, None, ("0-9999",))[-1] == "9999"  # type: ignore[arg-type]


# --- Frases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "¿?", "❤️"])
def test_a_prompt_without_words_is_refused(run: Run, text: str) -> None:
    done = run("sample", saved(tiny.reader()), "--text", text, "-n", "1", "--steps", "1")
    refused(done, "palabra")
    assert not Path("muestras.png").exists()


def test_all_the_words_that_are_not_known(run: Run) -> None:
    model = saved(tiny.reader())
    said = r"no conoce «unno» \(¿«uno»\?\) y «lapiz»: de «unno lápiz dos» lee solo «dos»"
    with pytest.warns(UserWarning, match=said):
        assert run("sample", model, "--text", "unno lápiz dos").code == 0
    refused(run("sample", model, "--text", "unno lápiz"), "«unno»")


def test_a_warning_is_one_plain_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """En un terminal de verdad, sin la ruta del fichero ni la línea de código de que sale."""
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ddpm_lit", "sample", saved(tiny.reader())),
            *("--text", "uno lápiz", "-n", "1", "--steps", "1", "--out", "a.png"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("Aviso: El modelo")
    assert len(done.stderr.splitlines()) == 1


# --- Recetas que luego no se podrían usar ---------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        ("sampling.steps=5000", "«sampling.steps» de la receta es 5000.*como mucho 1000", 1),
        ("sampling.guidance=nan", "«sampling.guidance» de la receta es nan", 1),
        ("sampling.guidance=2", "pide generar con guía.*condition_dropout = 0.1", 1),
        ("sampling.interval=[5]", "«sampling.interval».*una lista de dos índices", 1),
        ("name=../fuera", "no puede ser el nombre de una carpeta.*--run-dir", 2),
        ("name=", "no es un valor de TOML", 2),
        ('name=""', "no puede ser el nombre de una carpeta", 2),
        ("name=..", "no puede ser el nombre de una carpeta", 2),
        ("name=.", "no puede ser el nombre de una carpeta", 2),
    ],
)
def test_a_recipe_that_could_not_be_used_is_not_trained(
    run: Run, monkeypatch: pytest.MonkeyPatch, change: str, words: str, code: int
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("Se ha entrenado para nada.")

    monkeypatch.setattr("ddpm_lit.runs.train.train", forbidden)
    refused(run("train", "swiss-roll", "--set", change), words, code)


def test_a_device_that_computes_nothing_is_not_one(run: Run, untouched: None) -> None:
    refused(run("sample", toy(), "--device", "meta"), "«meta» no calcula nada")


def test_the_name_of_the_folders_is_not_a_folder(run: Run, untouched: None) -> None:
    done = run("evaluate", saved(tiny.conditional()), "--data", "folder")
    refused(done, "«folder» es cualquier carpeta de imágenes: da la carpeta misma")
