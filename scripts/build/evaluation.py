"""Mide las muestras de dígitos: ¿se leen?, ¿son copias del entrenamiento?"""

from torch import Tensor

from ddpm_lit.evaluation.metrics import class_agreement, nearest_neighbours, predict
from scripts.build import models, samples
from scripts.build.provenance import recorded


def distance_to_training(x: Tensor) -> dict[str, float]:
    """Distancia L2 de unas imágenes a la más parecida del entrenamiento: mediana y extremos."""
    train_set, _ = models.digits_split()
    distances = nearest_neighbours(x, train_set.x).distances[:, 0]
    return {
        "median": float(distances.median()),
        "min": float(distances.min()),
        "max": float(distances.max()),
    }


def evaluate() -> None:
    """Deja en el manifiesto el acuerdo de clase y las distancias al entrenamiento."""
    inputs = [
        models.classifier_path(),
        samples.samples_path("digits"),
        samples.samples_path("digits-class"),
    ]
    with recorded("evaluation", "values", ["scripts.build.evaluation"], inputs=inputs) as card:
        classifier = models.load_classifier()
        _, held_out = models.digits_split()
        conditional = samples.load("digits-class")
        unconditional = samples.load("digits")
        classes = predict(classifier, unconditional["x"])
        agreement = class_agreement(classifier, conditional["x"], conditional["labels"])
        card["values"] = {
            "agreement": agreement,
            "agreed": round(agreement * len(conditional["labels"])),
            "asked": len(conditional["labels"]),
            "classes_seen": len(set(classes.tolist())),
            "distance": {
                "held_out": distance_to_training(held_out.x),
                "digits": distance_to_training(unconditional["x"]),
                "digits-class": distance_to_training(conditional["x"]),
            },
        }
