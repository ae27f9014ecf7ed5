"""Los 1.797 dígitos manuscritos de 8×8 que trae scikit-learn."""

import numpy as np
import torch

from ddpm_lit.data.dataset import Dataset
from ddpm_lit.machine.extras import require

DIGIT_NAMES = (
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve",
)  # fmt: skip


def load_digits() -> Dataset:
    r"""Dígitos manuscritos de 8×8 con 17 niveles de gris.

    Cada píxel cuenta los puntos de tinta de un bloque de 4×4 del original, de 0 a 16; aquí
    $v \mapsto v / 8 - 1$, exacto en float32. Por eso `levels` es 17 y los intervalos del
    decodificador discreto miden $\pm 1/16$, no los $\pm 1/255$ de las imágenes de 8 bits.

    Returns:
        Imágenes (1797, 1, 8, 8), las clases «0» a «9» y el nombre de cada cifra como
        descripción.

    Raises:
        ModuleNotFoundError: si falta scikit-learn.
    """
    datasets = require(
        "sklearn.datasets",
        package="scikit-learn",
        extra="datos",
        purpose="El conjunto «digits»",
    )
    images, labels = datasets.load_digits(return_X_y=True)
    x = images.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1
    return Dataset(
        x=torch.from_numpy(x),
        labels=torch.from_numpy(labels.astype(np.int64)),
        label_names=tuple(str(digit) for digit in range(10)),
        captions=tuple(DIGIT_NAMES[label] for label in labels),
        levels=17,
        attribution=(
            "Optical Recognition of Handwritten Digits, de E. Alpaydin y C. Kaynak "
            "(UCI Machine Learning Repository, CC BY 4.0), distribuido con scikit-learn."
        ),
    )
