"""Entrena los modelos del sitio y el clasificador con que se miden."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.evaluation.metrics import (
    ClassifierConfig,
    SmallClassifier,
    accuracy,
    train_classifier,
)
from ddpm_lit.models.storage import load_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import MODEL
from ddpm_lit.runs.log import METRICS
from ddpm_lit.runs.train import Every, train
from scripts.build.provenance import recorded
from scripts.site.project import build_dir, profile

MODELS = ("swiss-roll", "digits", "digits-class")
"""Los que entrena la construcción; los demás vienen entrenados en el paquete."""

CLASSIFIER_STEPS = {"smoke": 40, "cpu": 800, "gpu": 800}


def recipe(name: str) -> Recipe:
    """La receta de un modelo del sitio, en el perfil de esta construcción."""
    return load_recipe(name, profile=profile())


def model_path(name: str) -> Path:
    """Dónde queda un modelo."""
    return build_dir() / "models" / f"{name}.safetensors"


def load(name: str) -> Trained:
    """Un modelo ya entrenado por la construcción."""
    return load_model(model_path(name))


def metrics(name: str) -> list[dict[str, float]]:
    """El registro del entrenamiento de un modelo, una entrada por línea."""
    text = (build_dir() / "models" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def run_dir(name: str) -> Path:
    """La carpeta del entrenamiento de un modelo mientras dura."""
    return build_dir() / "runs" / name


def training_log(name: str) -> Path:
    """El registro de ese entrenamiento, que crece mientras dura."""
    return run_dir(name) / METRICS


def train_model(name: str) -> None:
    """Entrena un modelo desde cero y deja sus pesos, su registro y su ficha."""
    what, run = recipe(name), run_dir(name)
    shutil.rmtree(run, ignore_errors=True)
    with recorded(name, "model", ["ddpm_lit.runs.train"], recipe=name) as card:
        trained = train(what, run, every=Every(checkpoint=500), progress=False)
        model_path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / MODEL, model_path(name))
        shutil.copyfile(training_log(name), model_path(name).with_suffix(".jsonl"))
        shutil.rmtree(run)
        log = metrics(name)
        tail = log[-max(len(log) // 10, 1) :]
        card["files"] = [f"models/{name}.safetensors", f"models/{name}.jsonl"]
        card["values"] = {
            "steps": what.training.steps,
            "batch_size": what.training.batch_size,
            "seed": what.seed,
            "parameters": sum(p.numel() for p in trained.model.parameters()),
            "seconds": trained.provenance["seconds"],
            "device": trained.provenance["device"],
            "loss": sum(line["loss"] for line in tail) / len(tail),
        }


def digits_split() -> tuple[Dataset, Dataset]:
    """Los dígitos que ven los modelos y el 20 % que no ve ninguno."""
    config = recipe("digits").data
    return split(load_dataset(config.name, **config.options), config.held_out, config.split_seed)


def classifier_path() -> Path:
    """Dónde queda el clasificador de dígitos."""
    return build_dir() / "models" / "classifier.safetensors"


def load_classifier() -> SmallClassifier:
    """El clasificador de dígitos ya entrenado por la construcción."""
    classifier = SmallClassifier(ClassifierConfig())
    classifier.load_state_dict(load_file(classifier_path()))
    return classifier.eval()


def train_digit_classifier() -> None:
    """Entrena el clasificador con el 80 % de los dígitos y mide su acierto con el resto."""
    train_set, held_out = digits_split()
    steps = CLASSIFIER_STEPS[profile()]
    with recorded(
        "classifier",
        "model",
        ["ddpm_lit.evaluation.metrics", "ddpm_lit.data"],
        parameters={"steps": steps},
    ) as card:
        classifier = train_classifier(train_set, seed=0, steps=steps)
        classifier_path().parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in classifier.state_dict().items()},
            classifier_path(),
        )
        with torch.no_grad():
            card["values"] = {
                "accuracy": accuracy(classifier, held_out),
                "train_size": len(train_set),
                "held_out_size": len(held_out),
            }
        card["files"] = ["models/classifier.safetensors"]
