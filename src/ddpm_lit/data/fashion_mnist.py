"""Fashion-MNIST: 70.000 fotografías de prendas en gris, de 28×28, en diez clases."""

from pathlib import Path

import numpy as np
import torch

from ddpm_lit.data.dataset import Dataset
from ddpm_lit.data.idx import read_idx
from ddpm_lit.files.atomic import user_cache_dir
from ddpm_lit.files.download import Remote, fetched

CLASSES = (
    "camiseta", "pantalón", "jersey", "vestido", "abrigo", "sandalia", "camisa", "zapatilla",
    "bolso", "botín",
)  # fmt: skip
ATTRIBUTION = (
    "Fashion-MNIST, de H. Xiao, K. Rasul y R. Vollgraf, de Zalando (2017, arXiv:1708.07747). "
    "Licencia MIT (https://github.com/zalandoresearch/fashion-mnist)."
)
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
FILES = {
    "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
"""Los cuatro ficheros, y la suma que publican sus autores de cada uno comprimido."""

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Donde los deja el paquete `dataset-fashion-mnist` de Debian."""

_LIMIT = 64 * 2**20


def load_fashion_mnist(
    path: str | Path | None = None, cache_dir: str | Path | None = None
) -> Dataset:
    """Fashion-MNIST: 70.000 prendas en gris de 28×28, en diez clases.

    Los ficheros son los de `path`; si no se da, los de Debian, si están, y si no, los que haya en
    la caché, adonde se descargan la primera vez (30 MB) comprobando su suma.

    Args:
        path: una carpeta con los cuatro ficheros IDX, comprimidos o no.
        cache_dir: carpeta de la caché; `None`, la del usuario (`user_cache_dir`).

    Returns:
        Imágenes (70000, 1, 28, 28) de 8 bits, con su clase, también como descripción. Las 10.000
        últimas son las de test, y vienen apartadas (`reserved`).

    Raises:
        FileNotFoundError: si en `path` falta algún fichero.
        ConnectionError: si no se pueden descargar.
        ValueError: si un fichero está dañado o no es lo que dice.
    """
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(
            read_idx(_file(f"{part}-images-idx3-ubyte", path, cache_dir), 3)
        )
        labels.append(
            read_idx(_file(f"{part}-labels-idx1-ubyte", path, cache_dir), 1)
        )
        if len(images[-1]) != len(labels[-1]):
            raise ValueError(
                f"En la parte «{part}» de Fashion-MNIST hay {len(images[-1])} imágenes y "
                f"{len(labels[-1])} clases: los ficheros no son del mismo conjunto."
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        raise ValueError(
            f"Las imágenes de entrenamiento de Fashion-MNIST miden {images[0].shape[1:]} y las de "
            f"test, {images[1].shape[1:]}: los ficheros no son del mismo conjunto."
        )
    numbers = np.concatenate(labels).astype(np.int64)
    if numbers.max(initial=0) >= len(CLASSES):
        raise ValueError(
            f"Las clases de Fashion-MNIST van de 0 a {len(CLASSES) - 1} y en los ficheros está la "
            f"{numbers.max()}: no son los suyos."
        )
    return Dataset(
        x=torch.from_numpy(np.concatenate(images)[:, None]),
        labels=torch.from_numpy(numbers),
        label_names=CLASSES,
        captions=tuple(CLASSES[number] for number in numbers),
        attribution=ATTRIBUTION,
        reserved=torch.arange(len(numbers)) >= len(labels[0]),
    )


def _file(
    name: str, path: str | Path | None, cache_dir: str | Path | None
) -> Path:
    """Dónde está uno de los cuatro ficheros; si no está y se puede, se descarga."""
    folder = DEBIAN if path is None else Path(path).expanduser()
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    if path is not None:
        raise FileNotFoundError(
            f"En «{folder}» no está «{name}», ni comprimido («{name}.gz»): da en «path» la carpeta "
            "de los cuatro ficheros de Fashion-MNIST, o no des ninguna y se descargarán."
        )
    urls = tuple(f"{mirror}{name}.gz" for mirror in MIRRORS)
    cache = Path(cache_dir or user_cache_dir()).expanduser()
    return fetched(
        Remote(urls, FILES[name], _LIMIT),
        cache / "fashion-mnist" / f"{name}.gz",
    )
