"""Las características de Inception, con que se miden el FID y el KID que publican los artículos.

La red y sus cuentas son las de torch-fidelity (extra `fid`), que repite las de la implementación
original en TensorFlow hasta el redondeo. Aquí se buscan sus pesos en esta máquina, se abren sin
ejecutar nada de lo que lleven, y las imágenes de $[-1, 1]$ pasan a ser las de 8 bits que espera.
"""

import hashlib
import io
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ddpm_lit.data.dataset import check_integer
from ddpm_lit.files.images import to_uint8
from ddpm_lit.machine.extras import require

LAYER = "2048"
"""La capa de torch-fidelity de que se toman: la última media, de 2048 componentes."""

PREPROCESSING = "uint8, RGB, 299×299 (bilinear, TensorFlow 1)"
"""Lo que se hace con cada imagen antes de la red; si cambiara, cambiarían las cifras."""


class Inception(NamedTuple):
    """La red de torch-fidelity, lista para usarse.

    `fingerprint` son las 16 primeras cifras del sha256 del fichero de sus pesos, y `published`, si
    es el que publica torch-fidelity: con otros pesos, el FID no se compara con el de nadie.
    """

    network: nn.Module
    fingerprint: str
    published: bool


def inception_file(path: str | Path | None = None) -> Path:
    """El fichero de los pesos de Inception en esta máquina.

    Args:
        path: dónde está; `None`, donde lo deja torch-fidelity: la carpeta `checkpoints` de
            `torch.hub`, que se cambia con la variable `TORCH_HOME`.

    Returns:
        La ruta, de un fichero que existe.

    Raises:
        FileNotFoundError: si no está; dice de dónde se descarga y dónde se deja.
        ImportError: si falta torch-fidelity, o no se puede importar.
    """
    address = _inception_module().URL_INCEPTION_V3
    name = address.rsplit("/", 1)[-1]
    usual = Path(torch.hub.get_dir()) / "checkpoints" / name
    found = usual if path is None else Path(path).expanduser()
    if found.is_file():
        return found
    raise FileNotFoundError(
        f"No están los pesos de Inception en «{found}»: descarga {address} y déjalo en «{usual}» "
        "(la variable TORCH_HOME cambia esa carpeta), o di con --inception en qué fichero están."
    )


def load_inception(
    path: str | Path | None = None, device: torch.device | str = "cpu"
) -> Inception:
    """Carga la red con los pesos que haya en esta máquina.

    Args:
        path: el fichero de pesos (véase `inception_file`).
        device: dónde se deja la red.

    Returns:
        La red, en float32 y en modo de evaluación.

    Raises:
        FileNotFoundError: si no están los pesos.
        ImportError: si falta torch-fidelity, o no se puede importar.
        ValueError: si el fichero está dañado o no es de esa red.
    """
    module, file = _inception_module(), inception_file(path)
    fingerprint = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    # Un fichero dañado puede acabar en cualquier excepción.
    except Exception as error:
        raise ValueError(
            f"Los pesos de Inception de «{file}» no se pueden leer ({_first_line(error)}): borra "
            f"el fichero y vuelve a descargar {module.URL_INCEPTION_V3}."
        ) from error
    # torch-fidelity abre el fichero que se le diga ejecutando lo que lleve: recibe esta copia.
    safe = io.BytesIO()
    torch.save(weights, safe)
    safe.seek(0)
    try:
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = module.FeatureExtractorInceptionV3(
                "inception-v3", [LAYER], feature_extractor_weights_path=safe
            )
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Los pesos de «{file}» no son los de la Inception de torch-fidelity "
            f"({_first_line(error)}): descarga {module.URL_INCEPTION_V3}."
        ) from error
    # El nombre del fichero que se publica acaba en el principio de su sha256.
    expected = Path(module.URL_INCEPTION_V3).stem.rsplit("-", 1)[-1]
    published = fingerprint.startswith(expected)
    return Inception(network.to(device), fingerprint, published)


def inception_features(
    inception: Inception,
    x: Tensor,
    *,
    batch_size: int = 64,
    progress: bool = False,
) -> Tensor:
    r"""Las características de unas imágenes.

    Cada imagen pasa a 8 bits con $\operatorname{round}(127{,}5\,(x + 1))$, como al guardarla en un
    PNG; la gris se repite en los tres canales. Del cambio de tamaño se ocupa la red.

    Args:
        inception: la red.
        x: imágenes (N, C, H, W) en [-1, 1], con C = 1 (gris) o 3 (RGB); lo que se salga se
            recorta.
        batch_size: cuántas se miran a la vez.
        progress: si se enseña una barra de progreso.

    Returns:
        float32 (N, 2048), en la CPU.

    Raises:
        ValueError: si no son imágenes de uno o tres canales, o hay valores no finitos.
    """
    check_images(tuple(x.shape[1:]))
    check_integer("batch_size", batch_size, minimum=1)
    device = next(inception.network.parameters()).device
    parts = []
    with (
        torch.no_grad(),
        tqdm(total=len(x), desc="Inception", disable=not progress) as bar,
    ):
        for start in range(0, len(x), batch_size):
            part = x[start : start + batch_size]
            pixels = to_uint8(part).expand(-1, 3, -1, -1).to(device)
            (found,) = inception.network(pixels)
            parts.append(found.cpu())
            bar.update(len(part))
    return torch.cat(parts) if parts else torch.empty(0, int(LAYER))


def check_images(shape: tuple[int, ...]) -> None:
    """Comprueba que unos datos son imágenes que Inception puede mirar.

    Args:
        shape: la forma de un dato, (C, H, W).

    Raises:
        ValueError: si no son imágenes de uno o tres canales.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"El FID se mide en imágenes de uno o tres canales, (C, H, W), y estos datos tienen "
            f"forma {shape}: mídelos sin --fid."
        )


def _inception_module() -> ModuleType:
    """El módulo de torch-fidelity con la red; el error distingue lo que falta de lo que no casa."""
    name = "torch_fidelity.feature_extractor_inceptionv3"
    try:
        return require(
            name, package="torch-fidelity", extra="fid", purpose="El FID"
        )
    except ModuleNotFoundError:
        raise
    # Una torchvision de otro torch falla de varias maneras.
    except Exception as error:
        raise ImportError(
            f"El FID usa torch-fidelity, que está instalado y no se puede importar "
            f"({_first_line(error)}). Suele ser una torchvision que no es la de este torch, "
            f"{torch.__version__}: instala las dos a la vez y del mismo sitio."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
