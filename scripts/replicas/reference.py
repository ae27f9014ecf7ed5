r"""Lo que da cada medida sin entrenar ninguna red de difusión.

Los bits de no saber nada, de un histograma y de la red perfecta para píxeles independientes; la
distancia de Fréchet de quien copia los dígitos de entrenamiento; y lo que cambia en la cota de un
schedule a otro.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ddpm_lit.data import Dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.evaluation.metrics import frechet_distance
from ddpm_lit.losses import discretized_gaussian_log_likelihood, loss_weight
from ddpm_lit.scheduler import make_schedule
from scripts.replicas.exact import independent_model
from scripts.replicas.measures import (
    SAMPLES,
    digits,
    likelihood_images,
    likelihoods,
    reference,
    requested_classes,
    unseen,
)

SCHEDULES = ("linear", "cosine")
DRAWS = 20


def level_numbers(data: Dataset) -> Tensor:
    """El nivel de cada píxel, de 0 a L - 1, en una tabla (N, D)."""
    assert data.levels is not None
    return ((data.x + 1) / 2 * (data.levels - 1)).round().long().flatten(1)


def pixel_histograms(data: Dataset) -> Tensor:
    """La probabilidad de cada nivel en cada píxel, (D, L).

    A lo contado se le añade un dato repartido entre todos los niveles, para que ninguno salga
    imposible.
    """
    assert data.levels is not None
    counts = torch.nn.functional.one_hot(level_numbers(data), data.levels).sum(dim=0).double()
    return (counts + 1 / data.levels) / (len(data) + 1)


def histogram_bits(probabilities: Tensor, numbers: Tensor) -> float:
    """Bits por dimensión de unos niveles (N, D) con las probabilidades (D, L) de cada píxel."""
    pixels = torch.arange(numbers.shape[1]).expand_as(numbers)
    return float(-probabilities[pixels, numbers].log2().mean())


def ignorance() -> dict[str, float]:
    r"""Bits de los modelos que no son de difusión, de menos a más informados.

    `uniform` reparte por igual entre los niveles; `normal` es el ruido de partida,
    $x_0 \sim \mathcal{N}(0, I)$, con la probabilidad de cada nivel que da el decodificador
    discreto; `shared_histogram` sabe la frecuencia de cada nivel, y `pixel_histogram`, la de cada
    nivel en cada píxel.
    """
    train_set, chosen = digits()[0], likelihood_images()
    assert chosen.levels is not None
    zeros = torch.zeros_like(chosen.x, dtype=torch.float64)
    normal = discretized_gaussian_log_likelihood(
        chosen.x.double(), zeros, zeros, levels=chosen.levels
    )
    each = pixel_histograms(train_set)
    shared = each.mean(dim=0).expand_as(each)
    numbers = level_numbers(chosen)
    return {
        "uniform": math.log2(chosen.levels),
        "normal": -float(normal.mean()) / math.log(2),
        "shared_histogram": histogram_bits(shared, numbers),
        "pixel_histogram": histogram_bits(each, numbers),
    }


def independent_bits() -> dict[str, dict[str, float]]:
    """Bits de la red perfecta para píxeles independientes, con el mismo código que las demás."""
    histograms = pixel_histograms(digits()[0])
    found = {}
    for name in SCHEDULES:
        schedule = make_schedule(name, 1000)
        model = independent_model(schedule, histograms)
        measured = likelihoods(model, schedule, "x_start", ("fixed_small", "fixed_large"))
        found[name] = {variance: bound.total for variance, bound in measured.items()}
    return found


def schedule_facts() -> dict[str, dict[str, float]]:
    r"""De cada schedule, $\mathrm{SNR}_1$ y qué parte del peso de la cota se lleva $t = T$."""
    found = {}
    for name in SCHEDULES:
        schedule = make_schedule(name, 1000)
        weights = loss_weight(Diffusion(schedule, "epsilon", "fixed_large"), "vlb")
        found[name] = {
            "snr_1": float(schedule.snr[0]),
            "last_weight": float(weights[-1] / weights.sum()),
            "first_weight": float(weights[0] / weights.sum()),
        }
    return found


def silent_error() -> dict[str, float]:
    r"""El error de $\epsilon$ en $t = 1$ de quien responde siempre 0: lo que acierta el recorte."""
    found = {}
    for name in SCHEDULES:
        schedule = make_schedule(name, 1000)
        (bound,) = likelihoods(_silent, schedule, "epsilon", ("fixed_small",)).values()
        found[name] = float(bound.x_start_errors[0] * schedule.snr[0])
    return found


def _silent(x_t: Tensor, t: Tensor, **_: Tensor) -> Tensor:
    return torch.zeros_like(x_t)


def rounding_bits(facts: dict[str, dict[str, float]]) -> float:
    r"""Bits de más del coseno por cada unidad de error de $\epsilon$ con poco ruido.

    Con el tiempo continuo la cota es $\frac{1}{2}\int \mathrm{MSE}_\epsilon\,d\log\mathrm{SNR}$
    nats por dimensión; si el error no cambia entre los dos $\mathrm{SNR}_1$, lo que se añade es
    $\frac{1}{2}\log_2$ de su cociente por ese error.
    """
    return 0.5 * math.log2(facts["cosine"]["snr_1"] / facts["linear"]["snr_1"])


def copying() -> dict[str, dict[str, float]]:
    """La distancia de Fréchet de unos dígitos de entrenamiento sacados con repetición.

    Es lo que sacaría quien solo copiara, con las mismas clases que se piden a los modelos: a los
    de entrenamiento y a los apartados, con tantas copias como dígitos apartados hay y con tantas
    como muestras se piden.
    """
    labels = digits()[0].labels
    assert labels is not None
    rows = [(labels == label).nonzero().flatten() for label in range(10)]
    generator = torch.Generator().manual_seed(0)
    found: dict[str, dict[str, float]] = {"train": {}, "held_out": {}}
    for count in (len(unseen()), SAMPLES):
        distances: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(DRAWS):
            copies = reference()[_rows_of(requested_classes(count), rows, generator)]
            distances["train"].append(frechet_distance(copies, reference()))
            distances["held_out"].append(frechet_distance(copies, unseen()))
        for name, measured in distances.items():
            found[name][str(count)] = sum(measured) / DRAWS
    return found


def _rows_of(wanted: Tensor, rows: list[Tensor], generator: torch.Generator) -> Tensor:
    """Una fila al azar de cada clase pedida."""
    chosen = torch.rand(len(wanted), generator=generator, dtype=torch.float64)
    sizes = torch.tensor([len(each) for each in rows])[wanted]
    positions = (chosen * sizes).long().tolist()
    return torch.stack(
        [rows[label][i] for label, i in zip(wanted.tolist(), positions, strict=True)]
    )


def reference_rows() -> dict[str, Any]:
    """Todo lo anterior."""
    facts = schedule_facts()
    return {
        "bits": ignorance(),
        "independent": independent_bits(),
        "schedules": facts,
        "silent_error": silent_error(),
        "rounding_bits": rounding_bits(facts),
        "copies": copying(),
    }
