"""La línea de órdenes, de principio a fin y toda en español."""

import gettext
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import babel.messages.extract
import babel.messages.mofile
import babel.messages.pofile
import click
import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file

import ddpm_lit
import tiny
from ddpm_lit.cli import ddpm_lit as ddpm_lit_command
from ddpm_lit.cli.options import PRECISIONS, SAMPLERS, SPACINGS
from ddpm_lit.cli.spanish import DOMAIN, LOCALE, duration, integer
from ddpm_lit.data import DATASETS
from ddpm_lit.editing import inpaint, redraw
from ddpm_lit.evaluation import measure as evaluation
from ddpm_lit.evaluation.card import read_card
from ddpm_lit.evaluation.measure import conditions_of, reference_data
from ddpm_lit.evaluation.metrics import (
    class_agreement,
    energy_distance_test,
    features,
    frechet_distance,
    nearest_neighbours,
)
from ddpm_lit.files.images import grid, save_png
from ddpm_lit.formats.hub import is_hub_id
from ddpm_lit.machine.devices import PRECISIONS as LIBRARY_PRECISIONS
from ddpm_lit.models import pretrained
from ddpm_lit.models.storage import load_model, read_header, save_model
from ddpm_lit.noise import batch_indices
from ddpm_lit.recipes.reading import recipe_from_dict, recipe_names
from ddpm_lit.recipes.recipe import Recipe, SamplingConfig
from ddpm_lit.runs.checkpoint import CHECKPOINT, MODEL
from ddpm_lit.runs.log import METRICS
from ddpm_lit.sampling import SAMPLERS as LIBRARY_SAMPLERS
from ddpm_lit.scheduler import SPACINGS as LIBRARY_SPACINGS
from terminal import Result, invoker

CATALOGUE = LOCALE / "es" / "LC_MESSAGES" / f"{DOMAIN}.po"
ENGLISH = re.compile(
    r"\b(usage|options|commands|show|this|message|exit|error:.*\b(no such|missing|invalid)|"
    r"try|help for|default|required|does not|is not|argument)\b",
    re.IGNORECASE,
)

TOY = """
name = "toy"
description = "Puntos para los tests."
[data]
name = "swiss_roll"
options = { n = 50 }
[model]
kind = "mlp"
options = { width = 16, depth = 1 }
[diffusion]
schedule = "cosine"
timesteps = 20
prediction = "v"
clip = false
[training]
steps = 6
batch_size = 8
[profile.smoke.training]
steps = 2
[expect.cpu]
loss = 0.5
seconds = 75
source = "medido en dos núcleos"
"""

IMAGES = {
    "name": "imágenes",
    "description": "Imágenes para los tests.",
    "data": {"name": "digits"},
    "model": {
        "kind": "unet",
        "options": {
            "in_channels": 1,
            "block_out_channels": [4, 4],
            "layers_per_block": 1,
            "attention": [False, False],
            "norm_num_groups": 2,
            "num_classes": 10,
        },
    },
    "diffusion": {"schedule": "cosine", "timesteps": 12, "prediction": "v"},
    "training": {"steps": 1},
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """Ejecuta una orden en una carpeta vacía donde está `toy.toml`."""
    (tmp_path / "toy.toml").write_text(TOY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    yield invoker(capfd)
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Un modelo de imágenes con clases, sin entrenar."""
    recipe = recipe_from_dict(IMAGES)
    torch.manual_seed(0)
    path = tmp_path / "imagenes.safetensors"
    save_model(path, recipe.build_model(), recipe, (1, 8, 8), {"steps": 1, "seconds": 2.0})
    return str(path)


# --- train --------------------------------------------------------------------------------------


def test_train_leaves_a_model_and_says_how_to_sample_from_it(run: Callable[..., Result]) -> None:
    done = run("train", "toy.toml", "--log-every", "3", "--sample-every", "6")
    assert done.code == 0
    assert "toy: Puntos para los tests." in done.out
    assert "Cabe esperar (cpu): pérdida 0.5, 1 min 15 s, medido en dos núcleos." in done.out
    assert re.search(r"Modelo terminado en «runs/toy/model\.safetensors»: 6 pasos en", done.out)
    assert done.err.count("pérdida") == 2
    folder = Path("runs/toy")
    names = {CHECKPOINT, METRICS, MODEL, "samples"}
    assert {file.name for file in folder.iterdir()} == names
    command = done.out.strip().splitlines()[-1].split()
    assert command[0] == "ddpm-lit"
    sampled = run(*command[1:], "-n", "5")
    assert sampled.code == 0
    assert Path("muestras.png").is_file()


def test_the_command_that_is_suggested_can_be_pasted(run: Callable[..., Result]) -> None:
    done = run("train", "toy.toml", "--run-dir", "mis puntos/el 1º", "--set", "training.steps=1")
    line = done.out.strip().splitlines()[-1]
    assert "'mis puntos/el 1º/model.safetensors'" in line
    name, *words = shlex.split(line)
    assert (name, words[0]) == ("ddpm-lit", "sample")
    assert run(*words, "-n", "3", "--steps", "2").code == 0
    assert "toy: Puntos" in run("info", *words[1:]).out


def test_paths_may_start_at_home(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "casa"))
    done = run("train", "toy.toml", "--run-dir", "~/puntos", "--set", "training.steps=1")
    assert done.code == 0
    assert (tmp_path / "casa/puntos" / MODEL).is_file()
    again = run("train", "~/puntos/../../toy.toml", "--set", "training.steps=1")
    assert again.code == 0
    assert not Path("~").exists()
    words = ("-n", "3", "--steps", "2", "--out", "~/dibujos/p.png")
    assert run("sample", "~/puntos", *words).code == 0
    assert (tmp_path / "casa/dibujos/p.png").is_file()
    for subject in ("~/puntos", f"~/puntos/{MODEL}"):
        assert "pasos        1 de 1" in run("info", subject).out


def test_train_overrides_any_value(run: Callable[..., Result]) -> None:
    done = run(
        "train",
        "toy.toml",
        "--run-dir",
        "otra",
        "--set",
        "training.steps=3",
        "--set",
        "diffusion.prediction=epsilon",
        "--set",
        "training.learning_rate=1e-3",
        "--set",
        "model.options={width = 8, depth = 2}",
        "--set",
        "training.betas=[0.5, 0.9]",
        "--set",
        'description="Otra cosa."',
        "--set",
        "training.amp=false",
    )
    assert done.code == 0
    recipe = read_header(Path("otra") / MODEL).recipe
    assert recipe.training.steps == 3
    assert recipe.diffusion.prediction == "epsilon"
    assert recipe.training.learning_rate == 1e-3
    assert recipe.model.options == {"width": 8, "depth": 2}
    assert recipe.training.betas == (0.5, 0.9)
    assert recipe.description == "Otra cosa."
    assert recipe.training.amp is False


def test_train_takes_the_profile(run: Callable[..., Result]) -> None:
    assert run("train", "toy.toml", "--profile", "smoke").code == 0
    assert read_header(Path("runs/toy") / MODEL).step == 2


def test_ctrl_c_says_so_and_the_same_command_goes_on(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpm_lit.networks.ema import EMA

    update = EMA.update

    def interrupt(self: EMA, model: Any) -> None:
        update(self, model)
        if self.updates == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(EMA, "update", interrupt)
    stopped = run("train", "toy.toml")
    assert stopped.code == 130
    assert "Entrenamiento detenido tras el paso 2" in stopped.err
    assert "Se reanuda con la misma orden" in stopped.err
    assert "Traceback" not in stopped.err
    monkeypatch.setattr(EMA, "update", update)
    resumed = run("train", "toy.toml")
    assert resumed.code == 0
    assert "Se reanuda desde «runs/toy/checkpoint.safetensors», que lleva 2 pasos." in resumed.out

    whole = run("train", "toy.toml", "--run-dir", "entera")
    assert whole.code == 0
    one, other = (load_file(Path(folder) / MODEL) for folder in ("runs/toy", "entera"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_ctrl_c_before_the_first_step(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("ddpm_lit.recipes.data.load_dataset", interrupt)
    stopped = run("train", "toy.toml")
    assert (stopped.code, stopped.err.strip()) == (130, "Interrumpido.")


def test_restart_forgets_the_checkpoint(run: Callable[..., Result]) -> None:
    run("train", "toy.toml")
    refused = run("train", "toy.toml", "--set", "seed=1")
    assert refused.code == 1
    assert "otra receta: difieren seed" in refused.err
    again = run("train", "toy.toml", "--set", "seed=1", "--restart")
    assert again.code == 0
    assert "Se empieza de cero" in again.out
    assert read_header(Path("runs/toy") / MODEL).recipe.seed == 1


def test_restarting_from_the_weights_of_the_same_folder(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=2", "--set", "training.decay=constant")
    Path("runs/toy", MODEL).unlink()
    done = run("train", "toy.toml", "--weights", "runs/toy", "--restart")
    assert done.code == 0
    assert read_header(Path("runs/toy") / MODEL).provenance["continues"]["steps"] == 2


# --- sample -------------------------------------------------------------------------------------


def test_sample_draws_a_grid_of_enlarged_images(run: Callable[..., Result], images: str) -> None:
    done = run("sample", images, "-n", "4", "--class", "3", "--out", "treses.png")
    assert done.code == 0
    assert done.out.startswith("treses.png: 4 muestras en 12 pasos")
    with Image.open("treses.png") as image:
        assert min(image.size) >= 2 * 64
        # Ampliada sin suavizar: los colores son los de los píxeles de 8×8.
        tile = image.crop((2, 2, 66, 66))
        small = tile.resize((8, 8), Image.Resampling.NEAREST)
        assert small.resize((64, 64), Image.Resampling.NEAREST).tobytes() == tile.tobytes()


def test_sample_writes_the_tensors_of_the_library(run: Callable[..., Result], images: str) -> None:
    done = run(
        "sample", images, "-n", "5", "--seed", "7", "--class", "2,4", "--tensors", "t.safetensors"
    )
    assert done.code == 0
    assert "t.safetensors: tensor «samples» de forma (5, 1, 8, 8)." in done.out
    written = load_file("t.safetensors")
    assert written["class_labels"].tolist() == [2, 4, 2, 4, 2]
    expected = load_model(images).sample(5, seed=7, class_labels=[2, 4, 2, 4, 2])
    assert torch.equal(written["samples"], expected)


def test_without_classes_it_goes_through_all_of_them(
    run: Callable[..., Result], images: str
) -> None:
    done = run("sample", images, "--steps", "3", "--tensors", "t.safetensors")
    assert "20 muestras en 3 pasos" in done.out
    assert load_file("t.safetensors")["class_labels"].tolist() == [*range(10)] * 2
    run("sample", images, "--steps", "3", "--class", "0-9", "--tensors", "u.safetensors")
    one, other = load_file("t.safetensors"), load_file("u.safetensors")
    assert torch.equal(one["samples"], other["samples"])


def test_classes_may_be_repeated(run: Callable[..., Result], images: str) -> None:
    run(
        "sample",
        images,
        "--class",
        "9",
        "--class",
        "0-1,5",
        "-n",
        "4",
        "--tensors",
        "t.safetensors",
    )
    assert load_file("t.safetensors")["class_labels"].tolist() == [9, 0, 1, 5]


@pytest.mark.parametrize("batch", ["128", "2"])
def test_the_animation_goes_from_noise_to_the_samples(
    run: Callable[..., Result], images: str, batch: str
) -> None:
    words = ("--class", "1", "-n", "5", "--batch-size", batch)
    done = run("sample", images, *words, "--animation", "a.gif")
    assert done.code == 0
    assert "a.gif: 13 fotogramas, de x_T a x_0." in done.out
    with Image.open("a.gif") as film, Image.open("muestras.png") as still:
        assert film.n_frames == 13
        assert film.size == still.size
        film.seek(12)
        low, high = ImageChops.difference(film.convert("L"), still.convert("L")).getextrema()
        assert (low, high) <= (0, 2)
        film.seek(0)
        assert film.convert("L").tobytes() != still.convert("L").tobytes()


def test_the_animation_can_be_a_video(run: Callable[..., Result], images: str) -> None:
    pytest.importorskip("imageio_ffmpeg")
    done = run("sample", images, "-n", "2", "--steps", "4", "--animation", "a.mp4")
    assert done.code == 0
    assert Path("a.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_long_process_is_shown_in_sixty_frames(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=1", "--set", "diffusion.timesteps=200")
    done = run("sample", "runs/toy", "-n", "10", "--animation", "a.gif")
    assert "a.gif: 61 fotogramas" in done.out


def test_a_single_step(run: Callable[..., Result], images: str) -> None:
    done = run("sample", images, "-n", "1", "--steps", "1", "--animation", "a.gif")
    assert done.code == 0
    assert "a.gif: 2 fotogramas" in done.out


def test_points_are_drawn_as_a_cloud(run: Callable[..., Result]) -> None:
    run("train", "toy.toml")
    done = run("sample", "runs/toy", "--tensors", "t.safetensors", "--animation", "a.gif")
    assert "2 000 muestras en 20 pasos" in done.out
    assert load_file("t.safetensors")["samples"].shape == (2000, 2)
    with Image.open("muestras.png") as image:
        assert image.mode == "RGB"


def test_a_folder_gives_its_most_advanced_weights(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=2")
    assert "pasos        2 de 2" in run("info", "runs/toy").out
    Path("runs/toy", MODEL).rename("viejo.safetensors")
    run("train", "toy.toml")
    Path("viejo.safetensors").replace(Path("runs/toy", MODEL))
    assert "checkpoint de un entrenamiento" in run("info", "runs/toy").out
    assert run("sample", "runs/toy", "-n", "3").code == 0


# --- sample: condiciones, guía y samplers ---------------------------------------------------------


def saved(recipe: Recipe, shape: tuple[int, ...] = (1, 8, 8)) -> str:
    """Un modelo sin entrenar de una receta, en la carpeta del test."""
    path = f"{recipe.name}.safetensors"
    save_model(path, tiny.shaken(recipe), recipe, shape, {"steps": 1, "seconds": 2.0})
    return path


def tensors(run: Callable[..., Result], *words: str) -> torch.Tensor:
    """Las muestras que da `ddpm-lit sample` con esas palabras."""
    done = run("sample", *words, "--tensors", "t.safetensors")
    assert done.code == 0, done.err
    return load_file("t.safetensors")["samples"]


def test_the_names_of_the_options_are_those_of_the_library() -> None:
    assert tuple(LIBRARY_SAMPLERS) == SAMPLERS
    assert LIBRARY_SPACINGS == SPACINGS
    assert LIBRARY_PRECISIONS == PRECISIONS


def test_the_precision_is_asked_and_written_in_the_card(
    run: Callable[..., Result], quick: None
) -> None:
    model = saved(tiny.digits())
    words = (model, "-n", "4", "--steps", "3")
    fine, rough = tensors(run, *words), tensors(run, *words, "--precision", "bfloat16")
    expected = load_model(model).sample(4, steps=3, precision="bfloat16", device="cpu")
    assert torch.equal(rough, expected)
    assert not torch.equal(rough, fine)
    done = run("evaluate", *words, "--precision", "bfloat16", "--out", "m.json")
    assert done.code == 0, done.err
    assert read_card("m.json").protocol.sampling.precision == "bfloat16"
    again = run("evaluate", "--card", "m.json", "--out", "m2.json")
    assert "nada de lo que se apunta ha cambiado" in again.out
    assert "cifras son las mismas" in again.out


def test_the_recorded_network_is_asked_and_written_in_the_card(
    run: Callable[..., Result], quick: None
) -> None:
    """En la CPU no hay nada que grabar: las muestras son las mismas, bit a bit."""
    model = saved(tiny.digits())
    words = (model, "-n", "4", "--steps", "3")
    assert torch.equal(tensors(run, *words), tensors(run, *words, "--cuda-graph"))
    done = run("evaluate", *words, "--cuda-graph", "--out", "m.json")
    assert done.code == 0, done.err
    assert read_card("m.json").protocol.sampling.cuda_graph is True


def test_guidance_is_the_w_of_the_paper(run: Callable[..., Result]) -> None:
    model = saved(tiny.conditional(num_classes=10))
    words = (model, "-n", "3", "--class", "4", "--steps", "5", "--sampler", "ddim")
    options = {"class_labels": 4, "steps": 5, "sampler": "ddim", "device": "cpu"}
    plain, guided = tensors(run, *words), tensors(run, *words, "--guidance", "1.5")
    assert torch.equal(plain, tensors(run, *words, "--guidance", "0"))
    assert torch.equal(guided, load_model(model).sample(3, guidance=1.5, **options))
    assert not torch.allclose(plain, guided, atol=1e-3)
    rescaled = tensors(run, *words, "--guidance", "1.5", "--guidance-rescale", "0.7")
    expected = load_model(model).sample(3, guidance=1.5, rescale=0.7, **options)
    assert torch.equal(rescaled, expected)


def test_text_goes_by_turns(run: Callable[..., Result]) -> None:
    model = saved(tiny.reader())
    words = (model, "--text", "Tres", "--text", "uno dos", "-n", "3", "--steps", "4")
    expected = load_model(model).sample(3, text=["tres", "uno dos", "tres"], steps=4, device="cpu")
    assert torch.equal(tensors(run, *words), expected)
    assert "16 muestras en 4 pasos" in run("sample", model, "--steps", "4").out


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_has_its_steps(run: Callable[..., Result], images: str, sampler: str) -> None:
    done = run("sample", images, "-n", "2", "--sampler", sampler, "--spacing", "trailing")
    assert f"2 muestras en {12} pasos" in done.out
    run("train", "toy.toml", "--set", "training.steps=1", "--set", "diffusion.timesteps=80")
    steps = 80 if sampler == "ddpm" else 50
    assert (
        f"3 muestras en {steps} pasos"
        in run("sample", "runs/toy", "-n", "3", "--sampler", sampler).out
    )


def owner() -> str:
    """Un modelo que dice cómo se genera con él, y cómo se llaman sus clases."""
    recipe = tiny.conditional("propio", num_classes=10)
    own = SamplingConfig("ddim", steps=6, eta=0.5, spacing="trailing", guidance=1.5, rescale=0.7)
    recipe = replace(recipe, sampling=own)
    names = ["gato", "perro", "oso polar", *map(str, range(3, 10))]
    save_model(
        "propio.safetensors",
        tiny.shaken(recipe),
        recipe,
        (1, 8, 8),
        {"steps": 1, "seconds": 2.0},
        data={"label_names": names},
    )
    return "propio.safetensors"


def test_if_nothing_is_said_a_model_samples_as_it_likes(run: Callable[..., Result]) -> None:
    model = owner()
    done = run("sample", model, "-n", "2")
    assert "2 muestras en 6 pasos de ddim" in done.out
    assert torch.equal(
        tensors(run, model, "-n", "2"),
        load_model(model).sample(
            2,
            sampler="ddim",
            steps=6,
            eta=0.5,
            spacing="trailing",
            guidance=1.5,
            rescale=0.7,
            device="cpu",
        ),
    )
    # Otro sampler olvida los pasos y el azar; el resto, lo que no se diga, sigue.
    assert (
        "2 muestras en 20 pasos de ddpm" in run("sample", model, "-n", "2", "--sampler", "ddpm").out
    )
    assert torch.equal(
        tensors(run, model, "-n", "2", "--sampler", "heun", "--steps", "3", "--guidance", "0"),
        load_model(model).sample(
            2, sampler="heun", steps=3, spacing="trailing", guidance=0, rescale=0.7, device="cpu"
        ),
    )


def test_evaluate_samples_as_the_model_likes(run: Callable[..., Result], quick: None) -> None:
    done = run("evaluate", owner(), "-n", "4", "--out", "m.json")
    assert done.code == 0, done.err
    asked = read_card("m.json").protocol.sampling
    assert asked == SamplingConfig("ddim", 6, "trailing", 0.5, 1.5, 0.7)


def test_classes_are_asked_by_their_name(run: Callable[..., Result]) -> None:
    model = owner()
    words = (model, "-n", "4", "--steps", "2")
    by_name = tensors(run, *words, "--class", "oso polar, gato", "--class", "5-6")
    assert load_file("t.safetensors")["class_labels"].tolist() == [2, 0, 5, 6]
    assert torch.equal(by_name, tensors(run, *words, "--class", "2,0,5,6"))


def test_eta_alone_asks_for_ddim(run: Callable[..., Result], images: str) -> None:
    words = (images, "-n", "2", "--steps", "5", "--eta", "0.5")
    assert "2 muestras en 5 pasos de ddim" in run("sample", *words).out
    assert torch.equal(tensors(run, *words), tensors(run, *words, "--sampler", "ddim"))


def test_eta_and_spacing_reach_the_sampler(run: Callable[..., Result], images: str) -> None:
    words = (images, "-n", "2", "--steps", "5", "--sampler", "ddim")
    options = {"steps": 5, "sampler": "ddim", "device": "cpu"}
    model = load_model(images)
    for eta in ("0", "0.5", "1"):
        expected = model.sample(2, eta=float(eta), **options)
        assert torch.equal(tensors(run, *words, "--eta", eta), expected)
    spaced = tensors(run, *words, "--spacing", "quadratic")
    assert torch.equal(spaced, model.sample(2, spacing="quadratic", **options))
    assert not torch.equal(spaced, tensors(run, *words))


# --- sample: partir de una imagen -----------------------------------------------------------------


@pytest.fixture
def photo() -> torch.Tensor:
    """Un dibujo de 8×8, en `foto.png`, con su mitad de abajo en blanco en `hueco.png`."""
    x = torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8)
    save_png(grid(x[None], padding=0, scale=1), "foto.png")
    hole = torch.zeros(1, 8, 8, dtype=torch.uint8)
    hole[:, 4:] = 255
    save_png(grid(hole[None], padding=0, scale=1), "hueco.png")
    return x / 127.5 - 1


def test_inpainting_keeps_what_is_known_and_invents_the_rest(
    run: Callable[..., Result], photo: torch.Tensor
) -> None:
    model = saved(tiny.conditional(dropout=0.0))
    words = (model, "-n", "3", "--inpaint", "foto.png", "--mask", "hueco.png")
    samples = tensors(run, *words)
    assert torch.equal(samples[:, :, :4], photo[:, :4].expand(3, 1, 4, 8))
    assert samples[:, :, 4:].std(dim=0).min() > 0
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    expected = load_model(model).sample(
        3, edit=inpaint(photo, mask, jump=5, resamplings=5), steps=20, device="cpu"
    )
    assert torch.equal(samples, expected)
    # Con 20 niveles, 3 saltos de 5 que se repiten 4 veces más.
    assert "3 muestras en 80 pasos" in run("sample", *words).out
    assert (
        "3 muestras en 6 pasos"
        in run("sample", *words, "--resamplings", "1", "--steps", "6", "--jump", "2").out
    )


def test_without_a_mask_the_hole_is_what_is_transparent(
    run: Callable[..., Result], photo: torch.Tensor
) -> None:
    model = saved(tiny.conditional(dropout=0.0))
    with Image.open("foto.png") as drawn, Image.open("hueco.png") as hole:
        opened = drawn.convert("LA")
        opened.putalpha(hole.point(lambda value: 255 - value))
        opened.save("rota.png")
    words = (model, "-n", "2", "--steps", "6")
    samples = tensors(run, *words, "--inpaint", "rota.png")
    masked = tensors(run, *words, "--inpaint", "foto.png", "--mask", "hueco.png")
    assert torch.equal(samples, masked)


def test_the_animation_of_an_inpainting_goes_forward(
    run: Callable[..., Result], photo: torch.Tensor
) -> None:
    words = ("-n", "3", "--batch-size", "2", "--inpaint", "foto.png", "--mask", "hueco.png")
    done = run("sample", saved(tiny.conditional(dropout=0.0)), *words, "--animation", "a.gif")
    assert done.code == 0
    assert "a.gif: 61 fotogramas, de x_T a x_0." in done.out
    with Image.open("a.gif") as film, Image.open("muestras.png") as still:
        film.seek(film.n_frames - 1)
        low, high = ImageChops.difference(film.convert("L"), still.convert("L")).getextrema()
        assert (low, high) <= (0, 2)


def test_a_picture_is_redone_as_much_as_it_is_asked(
    run: Callable[..., Result], photo: torch.Tensor
) -> None:
    model = saved(tiny.conditional(dropout=0.0))
    words = (model, "-n", "2", "--from-image", "foto.png")
    samples = tensors(run, *words, "--strength", "0.25")
    expected = load_model(model).sample(2, edit=redraw(photo, 0.25), device="cpu")
    assert torch.equal(samples, expected)
    done = run("sample", *words, "--animation", "a.gif")
    assert "2 muestras en 12 pasos" in done.out
    assert "a.gif: 13 fotogramas, de la imagen con ruido a x_0." in done.out


def test_a_model_that_enlarges_takes_a_picture(
    run: Callable[..., Result], photo: torch.Tensor
) -> None:
    model = saved(tiny.enlarger())
    small = photo.unflatten(1, (4, 2)).unflatten(3, (4, 2)).mean(dim=(2, 4))
    blocks = small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    expected = load_model(model).sample(3, image=blocks.expand(3, 1, 8, 8), steps=4, device="cpu")
    samples = tensors(run, model, "-n", "3", "--steps", "4", "--image", "foto.png")
    assert torch.allclose(samples, expected, atol=1e-6)


def test_what_is_done_to_a_picture_is_said(run: Callable[..., Result]) -> None:
    Image.new("RGB", (40, 30), (255, 0, 0)).save("rojo.png")
    model = saved(tiny.conditional(dropout=0.0))
    done = run("sample", model, "-n", "1", "--steps", "2", "--from-image", "rojo.png")
    assert done.code == 0
    assert "«rojo.png» mide 40×30: se recorta el centro y se lleva a 8×8" in done.err
    assert "está en color y el modelo es de grises" in done.err


# --- Los modelos que vienen entrenados ------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Un modelo que viene en el paquete: `cifras`."""
    from scripts.build.ship import ship

    recipe = tiny.conditional("cifras", num_classes=10)
    provenance = {"steps": 12, "seconds": 90.0, "device": "cpu", "threads": 1}
    source = tmp_path / "entero.safetensors"
    save_model(source, tiny.shaken(recipe), recipe, (1, 8, 8), provenance)
    ship(str(source), "cifras", {"frechet": {"samples": 1.5}, "n": 9}, tmp_path / "weights")
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path / "weights")
    return "cifras"


def test_a_shipped_model_is_asked_by_its_name(run: Callable[..., Result], shipped: str) -> None:
    assert torch.equal(
        tensors(run, shipped, "-n", "2", "--class", "5", "--steps", "3"),
        pretrained.load_pretrained(shipped).sample(2, class_labels=5, steps=3, device="cpu"),
    )
    Path(shipped).mkdir()
    hidden = run("sample", shipped)
    assert "En la carpeta «cifras» no hay ni model.safetensors" in hidden.err


def test_info_shows_the_card_of_a_shipped_model(run: Callable[..., Result], shipped: str) -> None:
    assert re.search(r"^  cifras +Dígitos para los tests", run("info").out, re.MULTILINE)
    done = run("info", shipped)
    assert "cifras: modelo que viene entrenado, 0." in done.out
    assert re.search(r"entrenado +12 pasos en 1 min 30 s \(cpu\)", done.out)
    assert re.search(r"licencia +MIT", done.out)
    assert re.search(r"medidas +frechet\.samples = 1\.5; n = 9", done.out)
    assert "cosine, T = 20" in done.out


def test_training_may_start_from_its_weights(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=2", "--run-dir", "uno")
    done = run("train", "toy.toml", "--weights", "uno", "--run-dir", "dos")
    assert done.code == 0
    assert "Se parte de los pesos de «uno»." in done.out
    assert read_header(Path("dos") / MODEL).provenance["continues"]["steps"] == 2
    assert re.search(r"parte de +otro de 2 pasos", run("info", "dos").out)


def test_a_long_list_is_counted_and_not_shown(run: Callable[..., Result]) -> None:
    done = run("info", saved(tiny.reader()))
    assert "vocabulary = 10 valores" in done.out
    assert "cuatro" not in done.out


# --- evaluate -------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evaluation, "CLASSIFIER_STEPS", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caché"))


def test_evaluate_measures_images(run: Callable[..., Result], quick: None) -> None:
    model = saved(tiny.conditional(num_classes=10))
    words = ("evaluate", model, "-n", "12", "--steps", "3", "--bits", "3")
    done = run(*words, "--out", "m.json", "--seed", "2")
    assert done.code == 0, done.err
    assert "Entrenando la red de rasgos" in done.err
    card = read_card("m.json")
    asked, (report,) = card.protocol, card.results
    assert (asked.samples, asked.sampling.steps, asked.sampling.sampler) == (12, 3, "ddpm")

    trained = load_model(model)
    train_set, held_out = reference_data(trained)
    assert held_out is not None
    rows = torch.tensor(batch_indices(len(train_set), 12, 2, 0))
    labels = conditions_of(trained, train_set, rows)["class_labels"]
    assert train_set.labels is not None
    assert torch.equal(labels, train_set.labels[rows])
    samples = trained.sample(12, seed=2, class_labels=labels, steps=3, device="cpu")
    network = evaluation.feature_network(train_set)
    assert network is not None
    made, real = features(network, samples), features(network, train_set.x)
    assert report["frechet"]["samples"]["to_data"] == pytest.approx(frechet_distance(made, real))
    assert report["agreement"]["samples"] == class_agreement(network, samples, labels)
    nearest = nearest_neighbours(samples, train_set.x).distances
    assert report["nearest"]["samples"]["min"] == pytest.approx(float(nearest.min()))
    bits = report["bits"]
    parts = bits["prior"] + bits["middle"] + bits["reconstruction"]
    assert bits["total"] == pytest.approx(parts)
    for text in ("Fréchet", "no es el FID de Inception", "Precisión", "Acuerdo", "parecido", "±"):
        assert text in done.out
    assert "Entrenando" not in run(*words[:4], "--steps", "3").err, "la red está en la caché"


def test_evaluate_asks_for_the_texts_of_the_data(run: Callable[..., Result], quick: None) -> None:
    model = saved(tiny.reader())
    assert run("evaluate", model, "-n", "6", "--steps", "2", "--out", "m.json").code == 0
    (report,) = read_card("m.json").results
    trained = load_model(model)
    train_set, _ = reference_data(trained)
    rows = batch_indices(len(train_set), 6, 0, 0)
    texts = [train_set.captions[row] for row in rows]
    samples = trained.sample(6, text=texts, steps=2, device="cpu")
    nearest = nearest_neighbours(samples, train_set.x).distances
    assert report["nearest"]["samples"]["min"] == pytest.approx(float(nearest.min()))


def test_evaluate_gives_their_picture_to_those_that_need_it(
    run: Callable[..., Result], quick: None
) -> None:
    done = run("evaluate", saved(tiny.enlarger()), "-n", "4", "--steps", "2", "--bits", "1")
    assert done.code == 0, done.err
    assert "Bits por dimensión de 1 datos" in done.out
    assert "±" not in done.out


def test_evaluate_tests_points(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=1", "--set", "data.options.n=400")
    done = run("evaluate", "runs/toy", "-n", "300", "--out", "m.json")
    assert "no siguen la de los datos" in done.out
    (report,) = read_card("m.json").results
    trained = load_model(Path("runs/toy") / MODEL)
    train_set, held_out = reference_data(trained)
    assert held_out is None
    expected = energy_distance_test(trained.sample(300, device="cpu"), train_set.x)
    assert report["energy"]["statistic"] == pytest.approx(expected.statistic)
    assert "frechet" not in report


def test_evaluate_compares_with_other_data(run: Callable[..., Result]) -> None:
    run("train", "toy.toml", "--set", "training.steps=1")
    done = run("evaluate", "runs/toy", "-n", "20", "--data", "moons")
    assert "Distribución" in done.out


# --- info ---------------------------------------------------------------------------------------


def test_info_lists_everything(run: Callable[..., Result]) -> None:
    done = run("info")
    assert done.code == 0
    assert f"ddpm_lit {ddpm_lit.__version__}" in done.out
    assert f"PyTorch {torch.__version__}" in done.out
    assert "Dispositivo:" in done.out
    assert re.search(
        "Extras instalados: datos (sí|no), video (sí|no), tensorboard (sí|no), hub (sí|no), "
        "onnx (sí|no), procesos (sí|no), fid (sí|no)",
        done.out,
    )
    for name in (*recipe_names(), *DATASETS):
        assert re.search(rf"^  {name} +\S", done.out, re.MULTILINE)
    assert "$" not in done.out


@pytest.mark.parametrize("name", recipe_names())
def test_info_knows_every_shipped_recipe(run: Callable[..., Result], name: str) -> None:
    done = run("info", name)
    assert done.code == 0
    assert done.out.startswith(f"{name}: ")
    assert "T = 1000" in done.out


def test_info_says_what_is_done_with_the_data(run: Callable[..., Result]) -> None:
    assert re.search(r"datos +cifar10, con volteos al azar\n", run("info", "cifar10").out)
    assert re.search(r"datos +digits, 20% apartado\n", run("info", "digits").out)


def test_info_of_a_file_of_ones_own(run: Callable[..., Result]) -> None:
    done = run("info", "toy.toml")
    assert re.search(r"parámetros +1 442\n", done.out), done.out
    assert "cosine, T = 20" in done.out
    assert "Cabe esperar (cpu): pérdida 0.5, 1 min 15 s" in done.out


def test_info_of_a_model_and_of_a_run(run: Callable[..., Result], images: str) -> None:
    done = run("info", images)
    assert "imagenes.safetensors: modelo, 0." in done.out
    assert "tensor de forma (1, 8, 8)" in done.out
    assert "tiempo       2.0 s" in done.out
    assert "imágenes: Imágenes para los tests." in done.out
    run("train", "toy.toml")
    done = run("info", "runs/toy")
    assert re.match(r"runs/toy: última pérdida \d\.\d{4}, en el paso 6", done.out)
    assert "dispositivo  cpu" in done.out


# --- En español ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("-h",),
        ("train", "--help"),
        ("sample", "--help"),
        ("evaluate", "--help"),
        ("export", "--help"),
        ("info", "--help"),
        ("ejercicio", "--help"),
        (),
    ],
    ids=" ".join,
)
def test_the_help_has_no_english(run: Callable[..., Result], words: tuple[str, ...]) -> None:
    done = run(*words)
    text = done.out + done.err
    assert "Uso: ddpm-lit" in text
    assert "Opciones:" in text
    assert "Enseña esta ayuda y termina." in text
    assert not ENGLISH.search(text.replace("--help", "").replace("-h", ""))


def test_the_version(run: Callable[..., Result]) -> None:
    assert run("--version").out.strip() == f"ddpm-lit {ddpm_lit.__version__}"


def test_gettext_is_left_as_it_was(run: Callable[..., Result]) -> None:
    before = gettext.textdomain(), os.environ.get("LANGUAGE")
    run("--help")
    assert (gettext.textdomain(), os.environ.get("LANGUAGE")) == before
    assert gettext.gettext("Options") == "Options"


def test_the_compiled_catalogue_is_the_one_of_the_text() -> None:
    with CATALOGUE.open("rb") as file:
        catalogue = babel.messages.pofile.read_po(file, abort_invalid=True)
    compiled = io.BytesIO()
    babel.messages.mofile.write_mo(compiled, catalogue)
    expected = gettext.GNUTranslations(io.BytesIO(compiled.getvalue()))
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    one, other = shipped._catalog, expected._catalog  # type: ignore[attr-defined]
    assert {k: v for k, v in one.items() if k} == {k: v for k, v in other.items() if k}, (
        "Compila el catálogo: pybabel compile -d src/ddpm_lit/locale -D ddpm_lit"
    )


def test_every_phrase_keeps_its_placeholders() -> None:
    with CATALOGUE.open("rb") as file:
        catalogue = babel.messages.pofile.read_po(file)
    for message in catalogue:
        if not message.id:
            continue
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        texts = [message.string] if isinstance(message.string, str) else list(message.string)
        for original, text in zip(ids, texts, strict=True):
            assert text, original
            fields = set(re.findall(r"\{.*?\}|%\(\w+\)s", text))
            assert fields <= set(re.findall(r"\{.*?\}|%\(\w+\)s", original)), text


def test_what_click_says_to_a_user_is_translated() -> None:
    """Las frases de los módulos de click que ve quien escribe mal una orden."""
    with CATALOGUE.open("rb") as file:
        known = {
            message.id if isinstance(message.id, str) else message.id[0]
            for message in babel.messages.pofile.read_po(file)
        }
    folder = Path(click.__file__).parent
    for name in ("exceptions", "parser", "types"):
        with (folder / f"{name}.py").open("rb") as file:
            for _, found, _, _ in babel.messages.extract.extract("python", file):
                # Una frase con plural se busca por su singular.
                text = found if isinstance(found, str) else found[0]
                # Lo que solo puede decir un programa mal escrito no hace falta.
                if "Invalid start character" not in text and "Choice(" not in text:
                    assert text in known, f"click ({name}) dice: {text!r}"


def commands_of_the_book() -> list[str]:
    """Las órdenes `ddpm-lit` que se enseñan en el README y en las páginas."""
    root = Path(__file__).resolve().parents[1]
    commands: list[str] = []
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            joined = re.sub(r"\\\n\s*", "", block)
            commands += re.findall(r"^\s*(ddpm-lit .*?)\s*(?:#.*)?$", joined, re.M)
    return sorted(set(commands))


def recipes_of_the_book() -> list[str]:
    """Los nombres de las recetas que se escriben en las páginas."""
    pages = (Path(__file__).resolve().parents[1] / "docs").rglob("*.md")
    found = [
        re.findall(r'^name = "(.+)"', page.read_text(encoding="utf-8"), re.M) for page in pages
    ]
    return [name for names in found for name in names]


@pytest.mark.parametrize("command", commands_of_the_book())
def test_the_commands_of_the_book_are_well_written(command: str) -> None:
    """Se leen con sus opciones, y los modelos que se llaman por su nombre vienen en el paquete."""
    _, order, *words = shlex.split(command)
    parsed = ddpm_lit_command.commands[order].make_context(order, words)
    model = parsed.params.get("model")
    if model is not None and pretrained.pretrained_names() and not is_hub_id(model):
        recipes = (*recipe_names(), *recipes_of_the_book())
        known = (*pretrained.pretrained_names(), *(f"runs/{name}" for name in recipes))
        assert model.removesuffix(f"/{MODEL}") in known


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.26, "4.3 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (5430, "1 h 30 min"),
    ],
)
def test_durations_are_said_as_a_person_would(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_integers_are_grouped() -> None:
    assert integer(35746307).split() == ["35", "746", "307"]


# --- Ligera al arrancar -------------------------------------------------------------------------


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )


def test_importing_the_package_is_fast_and_does_not_import_torch() -> None:
    code = (
        "import sys, time; t = time.process_time(); import ddpm_lit; dir(ddpm_lit)\n"
        "print(time.process_time() - t); import ddpm_lit.cli; assert 'torch' not in sys.modules"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_help_needs_no_torch_nor_utf8() -> None:
    """Como `python -m ddpm_lit --help` en un terminal sin UTF-8 y con el sistema en inglés."""
    code = (
        "import runpy, sys; sys.argv = ['ddpm-lit', 'train', '--help']\n"
        "try:\n    runpy.run_module('ddpm_lit', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = python(
        code, PYTHONIOENCODING="ascii:strict", LANGUAGE="en", LANG="en_US.UTF-8", PYTHONUTF8="0"
    )
    assert done.returncode == 0, done.stderr
    assert "Uso: ddpm-lit train [OPCIONES] RECETA" in done.stdout


def test_everything_that_is_promised_can_be_imported() -> None:
    for name in ddpm_lit.__all__:
        assert getattr(ddpm_lit, name) is not None
    with pytest.raises(AttributeError, match="no tiene nada que se llame «nada»"):
        ddpm_lit.nada  # noqa: B018
