r"""Cómo de buenas son las muestras: medidas que no dependen de ninguna red descargada.

- Un clasificador pequeño, entrenado con datos reales, dice si una muestra condicionada es de la
  clase pedida, y sus características sirven para una distancia de Fréchet (Heusel et al. 2017,
  arXiv:1706.08500, que usan las de Inception: véase `ddpm_lit.evaluation.inception`).
- La distancia de núcleo (Bińkowski et al. 2018, arXiv:1801.01401) mide lo mismo sin que importe
  cuántas muestras sean.
- El vecino real más cercano dice si el modelo copia.
- La precisión y la cobertura (Kynkäänniemi et al. 2019, arXiv:1904.06991) separan lo que el
  Fréchet mezcla: si las muestras son creíbles y si están todas; la distancia media entre pares
  dice cuánto varían.
- La distancia de energía (Székely y Rizzo 2004) contrasta si dos nubes de puntos siguen la misma
  distribución.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_lit.data.dataset import Dataset, check_integer

_CHUNK = 1024


@dataclass(frozen=True)
class ClassifierConfig:
    """Configuración de `SmallClassifier`.

    Attributes:
        in_channels: canales de la imagen.
        num_classes: número de clases.
        width: canales de la primera etapa; la segunda tiene el doble.
        num_features: tamaño del vector de características.
    """

    in_channels: int = 1
    num_classes: int = 10
    width: int = 32
    num_features: int = 64


class SmallClassifier(nn.Module):
    """Red convolucional pequeña para imágenes de 8×8 a 32×32.

    Dos etapas de dos convoluciones 3×3 (normalización por lotes y ReLU), con un máximo 2×2 tras
    cada una; después una media por cuadrantes, una capa oculta y la capa de clases.

    Args:
        config: véase `ClassifierConfig`.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Sequential(
            *_convolution(config.in_channels, width),
            *_convolution(width, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, config.num_features),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(config.num_features, config.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Características de la penúltima capa.

        Args:
            x: imágenes (B, C, H, W) en [-1, 1].

        Returns:
            (B, num_features).
        """
        result: Tensor = self.stem(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Logaritmos sin normalizar de las probabilidades de cada clase.

        Args:
            x: imágenes (B, C, H, W) en [-1, 1].

        Returns:
            (B, num_classes).
        """
        result: Tensor = self.head(self.dropout(self.features(x)))
        return result


def train_classifier(
    dataset_train: Dataset,
    seed: int = 0,
    steps: int = 800,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
) -> SmallClassifier:
    """Entrena un `SmallClassifier`; con la misma semilla da el mismo, en la CPU.

    (Con el mismo número de hilos: sumar en otro orden cambia el redondeo.) Usa AdamW con el ritmo
    de aprendizaje de un ciclo, y cada imagen se gira, escala y desplaza un poco al azar (hasta
    10°, un 10 % y la doceava parte del lado).

    Args:
        dataset_train: imágenes (N, C, H, W) con clases.
        seed: semilla de los pesos, los lotes y las deformaciones.
        steps: pasos de optimización.
        batch_size: imágenes por paso.
        learning_rate: el mayor ritmo de aprendizaje del ciclo.

    Returns:
        El clasificador, en modo de evaluación y en la CPU.

    Raises:
        ValueError: si los datos no son imágenes con clases o una opción no es válida.
    """
    check_integer("seed", seed, minimum=0)
    check_integer("steps", steps, minimum=1)
    check_integer("batch_size", batch_size, minimum=1)
    labels = _labels(dataset_train)
    shape = dataset_train.image_shape
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ValueError(
            f"El clasificador espera imágenes (N, C, H, W) de al menos 8×8 y han llegado datos de "
            f"forma {(len(dataset_train), *shape)}."
        )
    generator = np.random.Generator(np.random.Philox(seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = SmallClassifier(
            ClassifierConfig(
                in_channels=dataset_train.image_shape[0],
                num_classes=len(dataset_train.label_names),
            )
        )
        optimizer = torch.optim.AdamW(
            classifier.parameters(), weight_decay=0.05
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=learning_rate, total_steps=max(steps, 2)
        )
        classifier.train()
        for _ in range(steps):
            chosen = torch.from_numpy(
                generator.integers(0, len(dataset_train), batch_size)
            )
            x = _deform(dataset_train.batch(chosen)["x"], generator)
            loss = F.cross_entropy(
                classifier(x), labels[chosen], label_smoothing=0.05
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return classifier.eval()


def features(classifier: SmallClassifier, x: Tensor) -> Tensor:
    """Características de un conjunto de imágenes, por trozos y sin gradiente.

    Args:
        classifier: el clasificador, que se usa en modo de evaluación.
        x: imágenes (N, C, H, W) en [-1, 1].

    Returns:
        float32 (N, num_features), en la CPU.
    """
    was_training = classifier.training
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.no_grad():
        parts = [
            classifier.features(part.to(device)).cpu()
            for part in torch.split(x, _CHUNK)
        ]
    classifier.train(was_training)
    return torch.cat(parts)


def predict(classifier: SmallClassifier, x: Tensor) -> Tensor:
    """Clase más probable de cada imagen.

    Args:
        classifier: el clasificador.
        x: imágenes (N, C, H, W) en [-1, 1].

    Returns:
        int64 (N,), en la CPU.
    """
    head = classifier.head
    with torch.no_grad():
        logits: Tensor = head(features(classifier, x).to(head.weight.device))
    return logits.argmax(dim=1).cpu()


def accuracy(classifier: SmallClassifier, dataset: Dataset) -> float:
    """Fracción de imágenes reales cuya clase acierta el clasificador.

    Args:
        classifier: el clasificador.
        dataset: imágenes con clases.

    Returns:
        Un número de 0 a 1.

    Raises:
        ValueError: si el conjunto no tiene clases.
    """
    return class_agreement(classifier, dataset.x, _labels(dataset))


def class_agreement(
    classifier: SmallClassifier, samples: Tensor, labels: Tensor
) -> float:
    """Fracción de muestras que el clasificador asigna a la clase que se pidió.

    Args:
        classifier: el clasificador.
        samples: imágenes (N, C, H, W) en [-1, 1].
        labels: clase pedida de cada una, int64 (N,).

    Returns:
        Un número de 0 a 1.

    Raises:
        ValueError: si no hay una clase por muestra.
    """
    if labels.shape != (len(samples),):
        raise ValueError(
            f"Hay {len(samples)} muestras y las clases tienen forma {tuple(labels.shape)}: se "
            "espera una por muestra."
        )
    return float((predict(classifier, samples) == labels.cpu()).double().mean())


class Neighbours(NamedTuple):
    """Los vecinos más cercanos: `distances`, float64 (N, k), e `indices`, int64 (N, k)."""

    distances: Tensor
    indices: Tensor


def nearest_neighbours(
    samples: Tensor, reference: Tensor, k: int = 1
) -> Neighbours:
    r"""Los $k$ datos de referencia más cercanos a cada muestra, en distancia $L_2$.

    Los candidatos se eligen con $\|a\|^2 - 2ab + \|b\|^2$, que es un producto de matrices, y su
    distancia se vuelve a calcular con $\|a - b\|$: esa resta da un 0 exacto para una copia.

    Args:
        samples: muestras (N, ...).
        reference: datos (M, ...) de la misma forma.
        k: cuántos vecinos, de 1 a M.

    Returns:
        Distancias y posiciones en `reference`, de más cerca a más lejos.

    Raises:
        ValueError: si las formas no casan o `k` no es válido.
    """
    if samples.shape[1:] != reference.shape[1:] or 0 in (
        len(samples),
        len(reference),
    ):
        raise ValueError(
            f"Las muestras tienen forma {tuple(samples.shape)} y la referencia "
            f"{tuple(reference.shape)}: deben coincidir salvo en la primera dimensión."
        )
    if check_integer("k", k, minimum=1) > len(reference):
        raise ValueError(
            f"Se piden {k} vecinos y solo hay {len(reference)} datos de referencia."
        )
    points = reference.detach().cpu().flatten(1).double()
    squares = points.square().sum(dim=1)
    parts = []
    for part in torch.split(samples.detach().cpu().flatten(1).double(), _CHUNK):
        # Falta ‖a‖², que es igual para todos los candidatos de una muestra.
        candidates = (
            (squares - 2 * part @ points.T).topk(k, largest=False).indices
        )
        exact = torch.stack(
            [
                torch.linalg.vector_norm(points[column] - part, dim=1)
                for column in candidates.T
            ],
            dim=1,
        )
        distances, order = exact.sort(dim=1, stable=True)
        parts.append((distances, candidates.gather(1, order)))
    return Neighbours(
        distances=torch.cat([distances for distances, _ in parts]),
        indices=torch.cat([indices for _, indices in parts]),
    )


class EnergyTest(NamedTuple):
    """Resultado de `energy_distance_test`: el estadístico y su valor p."""

    statistic: float
    p_value: float


def energy_distance_test(
    x: Tensor, y: Tensor, permutations: int = 499, seed: int = 0
) -> EnergyTest:
    r"""Contraste de permutaciones de que dos muestras siguen la misma distribución.

    El estadístico es la distancia de energía (Székely y Rizzo 2004),

    $$\frac{nm}{n+m}\Big(\frac{2}{nm}\sum_{ij}\|x_i - y_j\| - \frac{1}{n^2}\sum_{ij}\|x_i - x_j\|
    - \frac{1}{m^2}\sum_{ij}\|y_i - y_j\|\Big)$$

    Con $h_i = 1/n$ en los puntos de $x$ y $-1/m$ en los de $y$, el paréntesis es
    $-h^\top D h$, donde $D$ son las distancias entre todos. Permutar las muestras es permutar
    $h$, así que todas las permutaciones salen de un solo producto de matrices por bloques.

    Args:
        x: primera muestra, (n, ...).
        y: segunda muestra, (m, ...), de la misma forma.
        permutations: permutaciones $P$ al azar; el menor valor p posible es $1/(P+1)$.
        seed: semilla de las permutaciones.

    Returns:
        El estadístico, que no es negativo, y el valor p, $(1 + \#\{E_p \ge E\})/(1 + P)$.

    Raises:
        ValueError: si las formas no casan, hay valores no finitos o una opción no es válida.
    """
    if x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"Las muestras tienen formas {tuple(x.shape)} y {tuple(y.shape)}: deben coincidir "
            "salvo en la primera dimensión y tener al menos dos datos cada una."
        )
    check_integer("permutations", permutations, minimum=1)
    check_integer("seed", seed, minimum=0)
    n, m = len(x), len(y)
    pooled = torch.cat([x, y]).detach().cpu().flatten(1).double()
    pooled = (pooled - pooled.mean(dim=0)).float()
    if not torch.isfinite(pooled).all():
        raise ValueError(
            "Hay valores que no son finitos, y la distancia no está definida."
        )
    generator = np.random.Generator(np.random.Philox(seed))
    signs = np.empty((n + m, permutations + 1), dtype=np.float32)
    signs[:, 0] = np.repeat([1 / n, -1 / m], [n, m])
    for permutation in range(1, permutations + 1):
        signs[:, permutation] = generator.permutation(signs[:, 0])
    energies = (
        n * m / (n + m) * -_quadratic_forms(pooled, torch.from_numpy(signs))
    )
    # Una permutación que solo baraja dentro de cada muestra empata salvo redondeo.
    reached = energies[1:] >= energies[0] - 1e-6 * abs(float(energies[0]))
    return EnergyTest(
        statistic=max(0.0, float(energies[0])),
        p_value=(1 + int(reached.sum())) / (1 + permutations),
    )


class Gaussian(NamedTuple):
    """La gaussiana ajustada a unas características, float64.

    `mean` es su media, (D,), y `root`, (K, D), una raíz de su covarianza: `root.T @ root`.
    """

    mean: Tensor
    root: Tensor


def gaussian(features_made: Tensor) -> Gaussian:
    """La media y la covarianza (con N - 1) de unas características.

    Args:
        features_made: (N, D), al menos dos filas; conviene que N sea varias veces D.

    Returns:
        La gaussiana, en la CPU, con K el menor de N y D.

    Raises:
        ValueError: si no hay dos filas o hay valores no finitos.
    """
    points, _ = _feature_matrices(features_made, features_made)
    mean = points.mean(dim=0)
    triangular = torch.linalg.qr(points - mean, mode="r").R
    return Gaussian(mean, triangular / math.sqrt(len(points) - 1))


def frechet_distance(
    features_a: Tensor | Gaussian, features_b: Tensor | Gaussian
) -> float:
    r"""Distancia de Fréchet entre las gaussianas ajustadas a dos conjuntos de características.

    $$\|\mu_a - \mu_b\|^2 + \operatorname{tr}\big(\Sigma_a + \Sigma_b
    - 2\,(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}\big)$$

    Con $\Sigma = R^\top R$, la traza de la raíz es la suma de los valores singulares de
    $R_a R_b^\top$: no hay raíces complejas ni matrices casi singulares, y con pocas filas cuesta
    poco. Con las características de Inception es el FID de Heusel et al. 2017; con otras, sus
    valores no se comparan con los de Inception.

    Args:
        features_a: (N, D), o su `gaussian`.
        features_b: (M, D), o su `gaussian`.

    Returns:
        La distancia (al cuadrado), 0 o mayor.

    Raises:
        ValueError: si las formas no casan o hay valores no finitos.
    """
    a, b = (
        each if isinstance(each, Gaussian) else gaussian(each)
        for each in (features_a, features_b)
    )
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"Las características tienen {len(a.mean)} y {len(b.mean)} componentes: se espera "
            "(N, D) y (M, D)."
        )
    means = (a.mean - b.mean).square().sum()
    traces = a.root.square().sum() + b.root.square().sum()
    trace_root = torch.linalg.svdvals(a.root @ b.root.T).sum()
    return max(0.0, float(means + traces - 2 * trace_root))


class KernelDistance(NamedTuple):
    """Resultado de `kernel_distance`: media y desviación entre los trozos, y su tamaño."""

    mean: float
    deviation: float
    subset_size: int


def kernel_distance(
    features_made: Tensor,
    features_real: Tensor,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    r"""El KID de Bińkowski et al. 2018 (arXiv:1801.01401): MMD² sin sesgo con un núcleo cúbico.

    $$\frac{\sum_{i \ne j} k(x_i, x_j) + \sum_{i \ne j} k(y_i, y_j)}{m(m-1)}
    - \frac{2}{m^2}\sum_{ij} k(x_i, y_j), \qquad k(x, y) = \Big(\frac{x^\top y}{D} + 1\Big)^3$$

    Se promedia en trozos de $m$ filas de cada conjunto, sacadas sin repetir. A diferencia de la
    distancia de Fréchet, su media no depende de cuántas muestras haya, y puede ser negativa. Los
    trozos son, con los valores por defecto, los de torch-fidelity.

    Args:
        features_made: características de las muestras, (N, D).
        features_real: las de los datos, (M, D).
        subsets: cuántos trozos.
        subset_size: $m$; si no hay tantas filas, las que haya.
        seed: semilla de los trozos.

    Returns:
        La media y la desviación típica entre los trozos.

    Raises:
        ValueError: si las formas no casan o hay valores no finitos.
    """
    made, real = _feature_matrices(features_made, features_real)
    check_integer("subsets", subsets, minimum=1)
    size = min(
        check_integer("subset_size", subset_size, minimum=2),
        *(len(made), len(real)),
    )
    # El generador antiguo de NumPy, que no cambiará: los mismos trozos que saca torch-fidelity.
    generator = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x, y = (
            each[generator.choice(len(each), size, replace=False)]
            for each in (made, real)
        )
        inside = [
            kernel.sum() - kernel.diagonal().sum()
            for kernel in (_cubic(x, x), _cubic(y, y))
        ]
        across = _cubic(x, y).mean()
        values.append(float(sum(inside) / (size * (size - 1)) - 2 * across))
    return KernelDistance(float(np.mean(values)), float(np.std(values)), size)


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


class PrecisionRecall(NamedTuple):
    """Resultado de `precision_recall`, dos fracciones de 0 a 1.

    `precision` es cuántas muestras caen entre los datos reales y `recall` (cobertura), cuántos
    datos reales caen entre las muestras.
    """

    precision: float
    recall: float


def precision_recall(
    features_real: Tensor, features_made: Tensor, k: int = 3
) -> PrecisionRecall:
    r"""Precisión y cobertura por los $k$ vecinos (Kynkäänniemi et al. 2019, ecs. 1 y 2).

    Cada conjunto se rodea de bolas: una por punto, que llega hasta su $k$-ésimo vecino dentro
    del mismo conjunto. La precisión es la fracción de muestras dentro de alguna bola real, y la
    cobertura (*recall*), la de datos reales dentro de alguna bola de las muestras.

    Args:
        features_real: características de los datos, (N, D).
        features_made: las de las muestras, (M, D).
        k: qué vecino fija el radio, de 1 al menor de N - 1 y M - 1.

    Returns:
        La precisión y la cobertura.

    Raises:
        ValueError: si las formas no casan, hay valores no finitos o `k` no es válido.
    """
    real, made = _feature_matrices(features_real, features_made)
    if not 1 <= check_integer("k", k, minimum=1) < min(len(real), len(made)):
        raise ValueError(
            f"Se pide el vecino número {k} y hay {len(real)} datos y {len(made)} muestras: hacen "
            "falta más de k de cada."
        )
    return PrecisionRecall(
        precision=_inside_fraction(made, real, k),
        recall=_inside_fraction(real, made, k),
    )


def mean_pairwise_distance(features_made: Tensor) -> float:
    r"""Diversidad: la distancia media entre dos puntos distintos de un conjunto.

    $$\frac{1}{N(N-1)}\sum_{i \ne j}\|f_i - f_j\|$$

    Args:
        features_made: características, (N, D), al menos dos.

    Returns:
        La distancia media; 0 si todos los puntos son el mismo.

    Raises:
        ValueError: si no hay dos filas o hay valores no finitos.
    """
    points, _ = _feature_matrices(features_made, features_made)
    ones = torch.ones(len(points), 1, dtype=torch.float64)
    return float(_quadratic_forms(points, ones)[0]) / (
        len(points) * (len(points) - 1)
    )


def _feature_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Dos tablas de características en float64 y en la CPU, comprobadas."""
    if (
        a.ndim != 2
        or b.ndim != 2
        or a.shape[1] != b.shape[1]
        or min(len(a), len(b)) < 2
    ):
        raise ValueError(
            f"Las características tienen formas {tuple(a.shape)} y {tuple(b.shape)}: se espera "
            "(N, D) y (M, D), con al menos dos filas."
        )
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("Hay características que no son finitas.")
    return a, b


def _inside_fraction(points: Tensor, centres: Tensor, k: int) -> float:
    """Fracción de `points` dentro de alguna bola de `centres`."""
    # El vecino 0 de cada centro es él mismo.
    radii = nearest_neighbours(centres, centres, k + 1).distances[:, k]
    inside = [
        (
            torch.cdist(
                part, centres, compute_mode="donot_use_mm_for_euclid_dist"
            )
            <= radii
        ).any(dim=1)
        for part in torch.split(points, _CHUNK)
    ]
    return float(torch.cat(inside).double().mean())


def _quadratic_forms(points: Tensor, vectors: Tensor) -> Tensor:
    r"""$v^\top D v$ de cada columna $v$, con $D$ las distancias entre todos los puntos.

    $D$ nunca está entera en memoria, y solo se calcula su mitad: es simétrica.
    """
    # Con pocas coordenadas, restar es tan rápido como multiplicar matrices y más exacto.
    mode = (
        "donot_use_mm_for_euclid_dist"
        if points.shape[1] <= 32
        else "use_mm_for_euclid_dist"
    )
    total = torch.zeros(vectors.shape[1], dtype=torch.float64)
    for start in range(0, len(points), _CHUNK):
        stop = start + _CHUNK
        rows = vectors[start:stop]
        block = torch.cdist(
            points[start:stop], points[start:], compute_mode=mode
        )
        inside = block[:, : len(rows)] @ rows
        outside = block[:, len(rows) :] @ vectors[stop:]
        total += (rows * (inside + 2 * outside)).sum(dim=0, dtype=torch.float64)
    return total


def _convolution(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _deform(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Gira, escala y desplaza cada imagen al azar, repitiendo el borde."""
    size = len(x)
    angle = math.radians(10) * generator.uniform(-1, 1, size)
    zoom = 1 + 0.1 * generator.uniform(-1, 1, size)
    # Las coordenadas van de -1 a 1, así que la doceava parte del lado son 2/12.
    shift = 2 / 12 * generator.uniform(-1, 1, (size, 2))
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    affine = np.stack(
        [
            np.stack([cosine, -sine, shift[:, 0]], axis=1),
            np.stack([sine, cosine, shift[:, 1]], axis=1),
        ],
        axis=1,
    )
    where = F.affine_grid(
        torch.from_numpy(affine).float(), list(x.shape), align_corners=False
    )
    return F.grid_sample(x, where, padding_mode="border", align_corners=False)


def _labels(dataset: Dataset) -> Tensor:
    if dataset.labels is None:
        raise ValueError(
            "El conjunto no tiene clases, y el clasificador las necesita."
        )
    return dataset.labels
