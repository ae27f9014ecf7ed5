"""Datos: todos con la misma interfaz, `load_dataset(nombre, **opciones)`.

Los conjuntos 2-D se generan con NumPy; «digits», «openmoji» y «openmoji-compuesto» necesitan el
extra `datos`; «fashion_mnist» y «cifar10» se descargan o se leen de donde estén; «folder» lee
cualquier carpeta de imágenes, y «huggingface», cualquier conjunto de `datasets` (extra `hub`).
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ddpm_lit.data.cifar10 import load_cifar10
from ddpm_lit.data.compositions import load_compositions
from ddpm_lit.data.dataset import Dataset, official_split, split
from ddpm_lit.data.description import (
    DataDescription,
    describe,
    explain_change,
    summary,
)
from ddpm_lit.data.digits import load_digits
from ddpm_lit.data.fashion_mnist import load_fashion_mnist
from ddpm_lit.data.folder import load_folder
from ddpm_lit.data.huggingface import load_huggingface
from ddpm_lit.data.openmoji import load_openmoji
from ddpm_lit.data.toy import (
    TOY_DATASETS,
    GaussianMixture,
    gaussian_mixture_parameters,
)

__all__ = [
    "DATASETS",
    "DataDescription",
    "Dataset",
    "GaussianMixture",
    "describe",
    "explain_change",
    "gaussian_mixture_parameters",
    "load_dataset",
    "official_split",
    "split",
    "summary",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    **TOY_DATASETS,
    "digits": load_digits,
    "openmoji": load_openmoji,
    "openmoji-compuesto": load_compositions,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "folder": load_folder,
    "huggingface": load_huggingface,
}


def load_dataset(name: str, **options: Any) -> Dataset:
    """Carga un conjunto de datos por su nombre.

    Args:
        name: uno de los nombres de `DATASETS`.
        **options: opciones de ese conjunto; son los argumentos de su función en `DATASETS`.

    Returns:
        El conjunto entero, con los datos en [-1, 1].

    Raises:
        ValueError: si el conjunto o alguna opción no existen, o falta una obligatoria.
        ModuleNotFoundError: si el conjunto necesita un paquete que no está instalado.
    """
    if name not in DATASETS:
        raise ValueError(
            _unknown(f"El conjunto de datos {name!r} no existe", name, DATASETS)
        )
    loader = DATASETS[name]
    parameters = inspect.signature(loader).parameters
    for option in options:
        if option not in parameters:
            raise ValueError(
                _unknown(
                    f"El conjunto «{name}» no tiene la opción {option!r}",
                    option,
                    parameters,
                )
            )
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(
                f"El conjunto «{name}» necesita la opción «{option}»: dala a load_dataset o, en "
                f"una receta, en [data.options] (--set data.options.{option}=… en la terminal)."
            )
    return loader(**options)


def _unknown(complaint: str, given: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f" ¿Querías decir «{close[0]}»?" if close else ""
    listed = f"Hay: {', '.join(names)}." if names else "No admite ninguna."
    return f"{complaint}.{hint} {listed}"
