"""Las recetas: las que trae el paquete, las propias y los cambios sobre ellas."""

import dataclasses
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.gpu.training import LARGEST_FILE

import tiny
from ddpm_lit.backward import split_output
from ddpm_lit.data import DATASETS, load_dataset
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.files.images import grid, save_png
from ddpm_lit.latent import load_autoencoder
from ddpm_lit.losses import loss_weight
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.recipes.data import in_latent, whole_data, with_text
from ddpm_lit.recipes.reading import (
    PROFILES,
    load_recipe,
    recipe_from_dict,
    recipe_names,
)
from ddpm_lit.recipes.recipe import Recipe, SamplingConfig, TrainingConfig
from ddpm_lit.unet import CELEBAHQ256_CONFIG, UNet, describe
from test_cifar10 import FORMS
from test_fashion_mnist import tables as fashion_tables
from test_fashion_mnist import write as fashion_files

SHIPPED = recipe_names()


# --- Las del paquete ----------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_builds(name: str, profile: str) -> None:
    recipe = load_recipe(name, profile=profile)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    assert recipe.data.name in DATASETS
    assert len(recipe.schedule()) == recipe.diffusion.timesteps
    with torch.device("meta"):
        model = recipe.build_model()
    assert sum(p.numel() for p in model.parameters()) > 0


def pictures(folder: Path, count: int) -> Path:
    """Unas imágenes de ruido, de 40×50."""
    noise = torch.rand(count, 3, 40, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for number, x in enumerate(noise):
        save_png(grid(x[None], padding=0, scale=1), folder / f"{number}.png")
    return folder


WRITTEN = {
    "fashion_mnist": lambda folder: fashion_files(folder, fashion_tables()),
    "cifar10": FORMS["la versión binaria"],
    "folder": lambda folder: pictures(folder, 3),
}
"""Los datos que no vienen con ningún paquete, en pequeño: cómo se escriben en una carpeta."""


@pytest.mark.parametrize("name", SHIPPED)
def test_the_network_of_every_shipped_recipe_takes_its_data(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, profile="smoke")
    options = dict(recipe.data.options)
    if "n" in options:
        options["n"] = 20
    if recipe.data.name in WRITTEN:
        options["path"] = WRITTEN[recipe.data.name](tmp_path)
    data = conditioned(load_dataset(recipe.data.name, **options), recipe.data.conditions)
    recipe, data = with_text(recipe, data)
    if recipe.data.autoencoder is not None:
        data = in_latent(data.subset(range(2)), load_autoencoder(recipe.data.autoencoder))
    batch = data.batch(range(2))
    if recipe.model.options.get("num_classes") is None:
        batch.pop("class_labels", None)
    else:
        assert recipe.model.options["num_classes"] == data.num_classes
    model, x = recipe.build_model(), batch.pop("x")
    output = model(x, torch.tensor([0, recipe.diffusion.timesteps - 1]), **batch)
    assert split_output(recipe.make_diffusion().variance, output, x)[0].shape == x.shape


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_say_everything_that_matters(name: str) -> None:
    """Quien lee el TOML ve el schedule, la predicción, la varianza y toda la optimización."""
    text = (resources.files("ddpm_lit.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    assert {"name", "description", "seed", "data", "model", "diffusion", "training"} <= set(table)
    assert {"schedule", "timesteps", "prediction", "variance"} <= set(table["diffusion"])
    assert {"steps", "batch_size", "learning_rate", "ema_decay"} <= set(table["training"])
    assert set(table.get("profile", {})) <= set(PROFILES)
    assert "smoke" in table["profile"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_smoke_profile_takes_seconds(name: str) -> None:
    recipe = load_recipe(name, profile="smoke")
    assert recipe.training.steps <= 100
    assert recipe.training.steps < load_recipe(name).training.steps


def test_the_digits_recipe_is_the_one_of_the_paper_in_small() -> None:
    recipe = load_recipe("digits")
    assert (recipe.diffusion.schedule, recipe.diffusion.timesteps) == ("cosine", 1000)
    assert recipe.diffusion.prediction == "epsilon"
    assert recipe.diffusion.weighting == "uniform"
    assert recipe.model.options.get("num_classes") is None
    assert isinstance(recipe.build_model(), UNet)


def test_the_cifar10_recipe_is_the_one_of_the_paper() -> None:
    """Ho et al. 2020, apéndice B y código de los autores: la red tiene sus mismos parámetros."""
    recipe = load_recipe("cifar10")
    with torch.device("meta"):
        model = recipe.build_model()
    assert sum(p.numel() for p in model.parameters()) == 35_746_307
    assert recipe.model.options["dropout"] == 0.1
    assert recipe.data.flip
    diffusion, training = recipe.diffusion, recipe.training
    assert (diffusion.schedule, diffusion.timesteps) == ("linear", 1000)
    assert (diffusion.prediction, diffusion.variance) == ("epsilon", "fixed_large")
    assert recipe.schedule().betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert (training.steps, training.batch_size) == (800_000, 128)
    assert (training.learning_rate, training.warmup_steps) == (2e-4, 5000)
    assert (training.decay, training.weight_decay, training.grad_clip) == ("constant", 0.0, 1.0)
    assert training.ema_decay == 0.9999
    assert (recipe.sampling.sampler, recipe.sampling.steps) == ("ddpm", None)


def test_the_celebahq_recipe_is_the_one_of_the_paper() -> None:
    """Ho et al. 2020, apéndice B, y la varianza de su código: con 256×256 es la pequeña."""
    recipe = load_recipe("celebahq-256")
    assert recipe.network_config() == CELEBAHQ256_CONFIG
    with torch.device("meta"):
        model = recipe.build_model()
    assert sum(p.numel() for p in model.parameters()) == 113_673_219
    assert recipe.data.flip and recipe.data.options == {"size": 256}
    diffusion, training = recipe.diffusion, recipe.training
    assert (diffusion.schedule, diffusion.timesteps) == ("linear", 1000)
    assert (diffusion.prediction, diffusion.variance) == ("epsilon", "fixed_small")
    assert recipe.schedule().betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert (training.steps, training.batch_size) == (500_000, 64)
    assert (training.learning_rate, training.warmup_steps) == (2e-5, 5000)
    assert (training.decay, training.weight_decay, training.grad_clip) == ("constant", 0.0, 1.0)
    assert training.ema_decay == 0.9999
    assert (recipe.sampling.sampler, recipe.sampling.steps) == ("ddpm", None)


def test_the_celebahq_recipe_asks_for_its_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"«folder» necesita la opción «path».*\[data\.options\]"):
        whole_data(load_recipe("celebahq-256"))
    own = {"data.options.path": str(pictures(tmp_path, 2))}
    data = whole_data(load_recipe("celebahq-256", overrides=own))
    assert data.store.shape == (2, 3, 256, 256)


@pytest.mark.parametrize(("profile", "patch"), [("cpu", 2), ("gpu", 1)])
def test_openmoji_64_attends_at_the_same_sides_on_both_devices(profile: str, patch: int) -> None:
    """A 16×16 y a 8×8; los pesos de la GPU, en float16, caben donde los devuelve su guion."""
    recipe = load_recipe("openmoji-64", profile=profile)
    config = recipe.network_config()
    assert config.patch_size == patch
    rows = describe(config, recipe.data.options["size"])
    sides = {
        row.shape[1:] for row in rows if "down_blocks" in row.block and "attentions" in row.block
    }
    assert sides == {(16, 16), (8, 8)}
    assert 2 * sum(row.parameters for row in rows) < LARGEST_FILE


def test_names_are_sorted_and_known() -> None:
    assert sorted(SHIPPED) == SHIPPED
    assert {"cifar10", "celebahq-256", "digits", "fashion-mnist", "openmoji-64"} <= set(SHIPPED)


# --- Cambiar valores ----------------------------------------------------------------------------


def test_overrides_win_over_the_profile_and_the_profile_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'name = "r"\ndescription = "D."\n[data]\nname = "moons"\n[model]\nkind = "mlp"\n'
        "[diffusion]\n[training]\nsteps = 1\nbatch_size = 2\nlearning_rate = 1\n"
        "[profile.gpu.training]\nsteps = 10\nbatch_size = 20\n",
        encoding="utf-8",
    )
    training = load_recipe(path, profile="gpu", overrides={"training.steps": 100}).training
    assert (training.steps, training.batch_size, training.learning_rate) == (100, 20, 1.0)
    training = load_recipe(path).training
    assert (training.steps, training.batch_size) == (1, 2)


def test_overrides_reach_any_depth() -> None:
    recipe = load_recipe(
        "digits-class",
        overrides={
            "seed": 7,
            "diffusion.options.s": 0.01,
            "model.options.block_out_channels": [32, 64],
            "training.betas": [0.5, 0.9],
            "training.learning_rate": 1,
        },
    )
    assert recipe.seed == 7
    assert recipe.diffusion.options == {"s": 0.01}
    assert recipe.model.options["block_out_channels"] == [32, 64]
    assert recipe.training.betas == (0.5, 0.9)
    assert isinstance(recipe.training.learning_rate, float)


def test_a_recipe_survives_json_and_a_toml_of_ones_own(tmp_path: Path) -> None:
    for recipe in (tiny.toy(), tiny.digits(), *map(load_recipe, SHIPPED)):
        assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_defaults_are_the_documented_ones() -> None:
    table = tiny.toy_table()
    table["training"] = {"steps": 5}
    table["diffusion"] = {}
    recipe = recipe_from_dict(table)
    assert recipe.training == TrainingConfig(steps=5)
    assert recipe.training.batch_size == 128
    assert recipe.training.ema_decay == 0.9999
    assert recipe.diffusion.schedule == "linear"
    assert recipe.diffusion.variance == "fixed_small"
    assert recipe.sampling == SamplingConfig()
    assert (recipe.sampling.sampler, recipe.sampling.steps) == ("ddpm", None)
    assert recipe.sampling.guidance == 0.0
    assert recipe.seed == 0
    assert recipe.data.held_out == 0.0


def test_the_mlp_knows_the_length_of_the_process() -> None:
    config = tiny.toy().network_config()
    assert isinstance(config, MLPConfig)
    assert config.timesteps == 20
    table = tiny.toy_table()
    table["model"]["options"]["timesteps"] = 7
    explicit = recipe_from_dict(table).build_model()
    assert isinstance(explicit, MLP)
    assert explicit.config.timesteps == 7


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.toy().seed = 3  # type: ignore[misc]


# --- Lo que no vale -----------------------------------------------------------------------------


def changed(**values: Any) -> Recipe:
    """La receta diminuta con otros valores: `training__steps=…` es `training.steps`."""
    table = tiny.toy_table()
    for name, value in values.items():
        *path, last = name.split("__")
        inner = table
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return recipe_from_dict(table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": 1}, "No existe el valor «color».*Los que hay: name, description"),
        ({"training__step": 1}, r"«training\.step».*¿Querías decir «training\.steps»|«steps»"),
        ({"training__steps": "muchos"}, r"«training\.steps» debe ser un número entero.*'muchos'"),
        ({"training__steps": True}, r"«training\.steps» debe ser un número entero.*True"),
        ({"training__steps": 1.5}, r"«training\.steps» debe ser un número entero.*1\.5"),
        ({"training__learning_rate": "a"}, r"«training\.learning_rate» debe ser un número"),
        ({"training__amp": 1}, r"«training\.amp» debe ser true o false"),
        ({"training__amp": "siempre"}, r"«training\.amp».*'siempre'.*true, false o «auto»"),
        ({"training__accumulate": 0}, r"«training\.accumulate».*0.*de 1 a 8, el tamaño del lote"),
        ({"training__accumulate": 9}, r"«training\.accumulate».*9.*de 1 a 8"),
        (
            {"training__accumulate": 2, "diffusion__timestep_sampling": "importance"},
            r"«training\.accumulate».*1 si diffusion\.timestep_sampling es «importance»",
        ),
        ({"training__betas": 0.9}, r"«training\.betas» debe ser una lista"),
        ({"training__betas": [0.9, "b"]}, r"«training\.betas\[1\]» debe ser un número"),
        ({"training": 3}, "«training» debe ser una tabla"),
        ({"data__options": [1]}, r"«data\.options» debe ser una tabla"),
        ({"name": 3}, "«name» debe ser un texto"),
        (
            {"training__batch_size": 10**9},
            r"«training\.batch_size».*1000000000.*como mucho 1048576",
        ),
        ({"training__steps": 0}, r"«training\.steps».*0.*un número positivo"),
        ({"training__learning_rate": float("nan")}, "nan.*un número positivo"),
        ({"training__learning_rate": float("inf")}, "inf.*un número positivo"),
        ({"training__warmup_steps": -1}, r"«training\.warmup_steps».*-1.*0 o un número positivo"),
        ({"training__grad_clip": -1.0}, r"«training\.grad_clip».*0 o un número positivo"),
        ({"training__ema_decay": 1.0}, r"«training\.ema_decay».*sin el 1"),
        ({"training__betas": [0.9]}, r"«training\.betas».*dos números"),
        ({"training__decay": "steps"}, r"«training\.decay».*'steps'.*constant, cosine, linear"),
        ({"data__held_out": 1.0}, r"«data\.held_out».*sin el 1"),
        ({"seed": -1}, "«seed».*-1.*entre 0 y 2"),
        ({"model__kind": "gan"}, r"ninguna red \(model\.kind\) «gan».*unet, mlp"),
        ({"model__options": {"ancho": 3}}, r"«model\.options\.ancho»"),
        ({"model__options": {"width": 7}}, "width vale 7.*par"),
        ({"model__options": {"depth": 0}}, "depth vale 0"),
        ({"diffusion__schedule": "lineal"}, "No hay ningún schedule «lineal»"),
        ({"diffusion__timesteps": 0}, "T debe ser un entero positivo"),
        ({"diffusion__options": {"beta": 1}}, "cosine.*no admite las opciones.*beta"),
        ({"diffusion__prediction": "ruido"}, "no puede predecir «ruido».*epsilon"),
        (
            {"diffusion__variance": "aprendida"},
            "ninguna varianza «aprendida».*fixed_small, fixed_large, learned",
        ),
        ({"diffusion__weighting": "p2"}, "ningún peso «p2».*uniform, vlb, min_snr"),
        (
            {"diffusion__weighting": "vlb", "diffusion__loss": "vlb"},
            r"La pérdida «vlb» ya trae sus pesos y diffusion\.weighting es «vlb»",
        ),
        ({"sampling__pasos": 3}, r"«sampling\.pasos».*sampling\.steps"),
        ({"sampling__sampler": "euler"}, "ningún sampler «euler».*ddpm, ddim"),
        ({"sampling__steps": 0}, r"«sampling\.steps».*un número positivo"),
        ({"sampling__steps": 1.5}, r"«sampling\.steps» debe ser un número entero.*1\.5"),
        ({"sampling__spacing": "raro"}, r"«sampling\.spacing».*'raro'.*linspace, leading"),
        ({"sampling__sampler": "ddim", "sampling__eta": 1.5}, r"η va de 0.*1\.5"),
        ({"sampling__sampler": "heun", "sampling__eta": 0.5}, "«heun» no admite «eta»"),
        (
            {"diffusion__options": {"zero_terminal_snr": True}, "diffusion__prediction": "epsilon"},
            "no se puede predecir «epsilon».*«v» o «x_start»",
        ),
    ],
    ids=str,
)
def test_values_that_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**values)


def test_min_snr_is_defined_for_every_prediction() -> None:
    for prediction in PARAMETRISATIONS:
        recipe = changed(diffusion__weighting="min_snr", diffusion__prediction=prediction)
        weight = loss_weight(recipe.make_diffusion(), "min_snr")
        assert weight.shape == (20,)
        assert (weight > 0).all()


@pytest.mark.parametrize("name", ["name", "data", "model", "diffusion", "training"])
def test_nothing_essential_may_be_missing(name: str) -> None:
    table = tiny.toy_table()
    del table[name]
    with pytest.raises(ValueError, match=f"A la receta le falta el valor «{name}»"):
        recipe_from_dict(table)


def test_unknown_names_come_with_a_suggestion() -> None:
    with pytest.raises(FileNotFoundError, match="¿Querías decir «digits»") as error:
        load_recipe("digit")
    assert all(name in str(error.value) for name in SHIPPED)
    with pytest.raises(FileNotFoundError, match=r"No existe el fichero de receta «nada\.toml»"):
        load_recipe("nada.toml")
    with pytest.raises(ValueError, match=r"ningún perfil «tpu».*smoke, cpu, gpu"):
        load_recipe("digits", profile="tpu")


def test_files_as_other_programs_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Con marca de orden de bytes, con la extensión en mayúsculas, o en la carpeta de casa."""
    text = (resources.files("ddpm_lit.recipes") / "digits.toml").read_text(encoding="utf-8")
    path = tmp_path / "RECETA.TOML"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_recipe(path) == load_recipe("digits")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_recipe("~/RECETA.TOML") == load_recipe("digits")
    assert load_recipe(Path("~/RECETA.TOML")) == load_recipe("digits")


def test_files_that_are_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("name = \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no es TOML válido.*línea 1"):
        load_recipe(path)
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(ValueError, match="no es texto UTF-8"):
        load_recipe(path)


def test_an_override_inside_a_value_that_is_no_table() -> None:
    with pytest.raises(ValueError, match=r"«training\.steps\.x»: «steps» no es una tabla"):
        load_recipe("digits", overrides={"training.steps.x": 1})
