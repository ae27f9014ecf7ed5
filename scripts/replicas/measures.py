"""Con qué se mide: las muestras, frente a los dígitos; y los dígitos, en bits."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from ddpm_lit.backward import Sampler
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.evaluation.metrics import (
    ClassifierConfig,
    SmallClassifier,
    class_agreement,
    features,
    frechet_distance,
    mean_pairwise_distance,
    precision_recall,
    train_classifier,
)
from ddpm_lit.files.weights import write_atomically
from ddpm_lit.improved import Likelihood, bits_per_dimension
from ddpm_lit.models.trained import Trained
from ddpm_lit.sampling import ancestral, sample
from ddpm_lit.scheduler import Schedule
from scripts.replicas.results import FOLDER
from scripts.site.project import digest

SAMPLES = 1000
STEPS = 50
LIKELIHOOD_IMAGES = 180
CLASSIFIER_STEPS = 800
CLASSIFIER = FOLDER / "classifier.safetensors"


@cache
def digits() -> tuple[Dataset, Dataset]:
    """Los dígitos que ven los modelos y el 20 % que no ve ninguno."""
    return split(load_dataset("digits"), 0.2, 0)


@cache
def classifier() -> SmallClassifier:
    """La red de rasgos. Se guarda con los resultados: sin ella no se podrían comparar."""
    if not CLASSIFIER.is_file():
        trained = train_classifier(digits()[0], seed=0, steps=CLASSIFIER_STEPS)
        state = {name: tensor.contiguous() for name, tensor in trained.state_dict().items()}
        write_atomically(CLASSIFIER, save(state))
    network = SmallClassifier(ClassifierConfig())
    network.load_state_dict(load_file(CLASSIFIER))
    return network.eval()


def classifier_digest() -> str:
    """La huella de la red de rasgos con que se ha medido."""
    classifier()
    return digest(CLASSIFIER.read_bytes())


@cache
def reference() -> Tensor:
    """Los rasgos de los dígitos de entrenamiento, (N, D)."""
    return features(classifier(), digits()[0].x)


@cache
def unseen() -> Tensor:
    """Los rasgos de los dígitos apartados, (N, D)."""
    return features(classifier(), digits()[1].x)


def requested_classes(count: int) -> Tensor:
    """Las clases que se piden: 0, 1, …, 9, 0, 1, …"""
    return torch.arange(count) % 10


def measure(x: Tensor, labels: Tensor) -> dict[str, float]:
    """Todas las medidas de unas muestras, ya recortadas a [-1, 1] como cualquier imagen.

    `frechet` se mide con los dígitos de entrenamiento y `frechet_held_out`, con los apartados;
    `diversity` es la distancia media entre dos muestras de la misma clase; `log_probability`, lo
    segura que está la red de rasgos de que son de la clase que se pidió.
    """
    x = torch.nan_to_num(x).clamp(-1, 1)
    made = features(classifier(), x)
    with torch.no_grad():
        log_probabilities = F.log_softmax(classifier().head(made), dim=1)
    classes = sorted(set(labels.tolist()))
    quality = precision_recall(reference(), made)
    return {
        "frechet": frechet_distance(made, reference()),
        "frechet_held_out": frechet_distance(made, unseen()),
        "precision": quality.precision,
        "recall": quality.recall,
        "agreement": class_agreement(classifier(), x, labels),
        "log_probability": float(log_probabilities.gather(1, labels[:, None]).mean()),
        "diversity": sum(mean_pairwise_distance(made[labels == c]) for c in classes) / len(classes),
    }


def draw(
    trained: Trained,
    *,
    seed: int,
    count: int = SAMPLES,
    steps: int = STEPS,
    model: Callable[..., Tensor] | None = None,
    variance: str | None = None,
    sampler: Sampler = ancestral,
) -> tuple[Tensor, Tensor]:
    r"""Genera muestras, con sus clases.

    Si la red predice $\tilde\mu_t$ y se saltan pasos, su salida se pasa antes a $\hat x_0$: la
    media que ha aprendido es la del paso anterior del proceso entero, no la del salto.

    Args:
        trained: el modelo.
        seed: la semilla del ruido.
        count: cuántas muestras.
        steps: en cuántos pasos.
        model: otra red en lugar de la suya (p. ej. guiada).
        variance: otra varianza en lugar de la suya.
        sampler: qué se hace en cada paso.
    """
    labels = requested_classes(count)
    network = model or trained.model
    learned = trained.diffusion
    jumps = learned.prediction.name == "posterior_mean" and steps < len(trained.schedule)
    if jumps:
        network = _seen_as_x_start(network, trained)
    diffusion = Diffusion(
        trained.schedule,
        "x_start" if jumps else learned.prediction,
        variance or learned.variance,
        learned.clip,
    )
    x = sample(
        network,
        diffusion,
        trained.shape,
        indices=range(count),
        seed=seed,
        steps=steps,
        batch_size=count,
        condition={"class_labels": labels},
        sampler=sampler,
    )
    return x, labels


def _seen_as_x_start(network: Callable[..., Tensor], trained: Trained) -> Callable[..., Tensor]:
    schedule, prediction = trained.schedule, trained.diffusion.prediction

    def predict(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        return prediction.x_start(schedule, network(x_t, t, **condition), x_t, t)

    return predict


def likelihood_images() -> Dataset:
    """La parte de los dígitos apartados con que se miden los bits."""
    return digits()[1].subset(range(0, 2 * LIKELIHOOD_IMAGES, 2))


def likelihoods(
    model: Callable[..., Tensor], schedule: Schedule, prediction: str, variances: Sequence[str]
) -> dict[str, Likelihood]:
    """La cota de `likelihood_images` con cada varianza.

    La red se evalúa una sola vez por paso: con otra varianza, lo que predice es lo mismo.
    """
    chosen = likelihood_images()
    outputs: dict[int, Tensor] = {}

    def remembered(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        key = int(t[0])
        if key not in outputs:
            outputs[key] = model(x_t, t, **condition)
        return outputs[key]

    batch = chosen.batch(range(len(chosen)))
    return {
        variance: bits_per_dimension(
            remembered,
            Diffusion(schedule, prediction, variance),
            chosen.x,
            seed=1,
            batch_size=len(chosen),
            condition={"class_labels": batch["class_labels"]},
            levels=chosen.levels,
        )
        for variance in variances
    }


def bits(trained: Trained, variances: Sequence[str]) -> dict[str, Likelihood]:
    """La cota de los mismos dígitos con un modelo entrenado."""
    prediction = trained.recipe.diffusion.prediction
    return likelihoods(trained.model, trained.schedule, prediction, variances)


def variances_of(trained: Trained) -> tuple[str, ...]:
    """Con qué varianzas se puede recorrer un modelo: la que ha aprendido, o las dos fijas."""
    variance = trained.diffusion.variance
    return (variance.name,) if variance.learned else ("fixed_small", "fixed_large")
