"""Mide las muestras de dígitos: ¿se leen?, ¿son copias del entrenamiento?

Y el primer paso de la generación de puntos, que va sin recorte.
"""

import torch
from torch import Tensor

from ddpm_lit.evaluation.metrics import class_agreement, nearest_neighbours, predict
from ddpm_lit.noise import sampling_noise
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


@torch.no_grad()
def first_step(name: str, count: int = 4000) -> dict[str, float]:
    r"""Lo que una red que predice $\epsilon$ falla en $x_T$, que es solo ruido, y en qué acaba.

    `error` es la raíz del error cuadrático medio; `std`, la desviación típica de $x_{T-1}$ sin
    recortar y con varianza $\beta_T$.
    """
    trained = models.load(name)
    schedule = trained.schedule
    x_T = next(sampling_noise(3, range(count), trained.shape))
    predicted = trained.model(x_T, torch.full((count,), int(schedule.timesteps[-1])))
    gain = schedule.betas[-1] / schedule.sqrt_one_minus_alphas_cumprod[-1]
    mean = (x_T.double() - gain * predicted.double()) / schedule.sqrt_alphas[-1]
    return {
        "error": float((predicted - x_T).square().mean().sqrt()),
        "std": float((mean.var() + schedule.betas[-1]).sqrt()),
    }


def evaluate() -> None:
    """Deja en el manifiesto el acuerdo de clase, las distancias y el primer paso de los puntos."""
    inputs = [
        models.model_path("swiss-roll"),
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
            "first_step": first_step("swiss-roll"),
            "distance": {
                "held_out": distance_to_training(held_out.x),
                "digits": distance_to_training(unconditional["x"]),
                "digits-class": distance_to_training(conditional["x"]),
            },
        }
