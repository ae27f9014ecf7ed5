"""Ficheros de pesos: tensores con una cabecera en JSON, en un safetensors.

Un fichero safetensors no puede ejecutar código al abrirse, y se escribe entero o no se escribe.
Los de otros se leen también de un pickle, que solo se abre sin dejarle hacer nada.
Aquí no se sabe qué es lo que se guarda: de eso se ocupan `ddpm_lit.models` (los modelos) y
`ddpm_lit.runs` (los checkpoints).
"""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_lit.files.atomic import atomic_path

FORMAT_VERSION = "1"
SUFFIX = ".safetensors"


def names_in(folder: Traversable) -> list[str]:
    """Los nombres de los ficheros de pesos de una carpeta, por orden; si no existe, ninguno."""
    files = folder.iterdir() if folder.is_dir() else iter(())
    return sorted(
        file.name.removesuffix(SUFFIX)
        for file in files
        if file.name.endswith(SUFFIX)
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Escribe un fichero de modo que se vea entero o no se vea (véase `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Escribe unos tensores con su cabecera.

    Args:
        path: el fichero.
        tensors: los tensores, por su nombre.
        header: lo que el fichero dirá de sí mismo; valores que admitan JSON.

    Raises:
        TypeError: si algún valor no lo admite.
    """
    try:
        table = json.dumps(
            {"format": FORMAT_VERSION, **header}, ensure_ascii=False
        )
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Lo que «{path}» iba a decir de sí mismo no se puede escribir en JSON ({error}): usa "
            "números, textos, listas y diccionarios."
        ) from error
    content = save(
        {
            name: value.detach().cpu().contiguous()
            for name, value in tensors.items()
        },
        metadata={"ddpm_lit": table},
    )
    write_atomically(path, content)


def read_weights_header(path: Path) -> dict[str, Any]:
    """La cabecera de un fichero de pesos, sin cargar los tensores.

    Args:
        path: el fichero.

    Returns:
        Lo que se le dio a `write_weights`.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un safetensors, no lo escribió ddpm_lit o es de otra versión.
    """
    with _opened(path) as file:
        return _header(file, path)


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """La cabecera y los tensores de un fichero de pesos (véase `read_weights_header`)."""
    with _opened(path) as file:
        return _header(file, path), {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 (no es un diccionario: no se puede recorrer)
        }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Los tensores de un fichero de pesos de quien sea, en float32.

    Args:
        path: un `.safetensors`, o un pickle de PyTorch. De un pickle solo se admiten tensores:
            el código que traiga no se ejecuta.

    Returns:
        Los tensores, por su nombre.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si está dañado, miente sobre su tamaño o guarda otra cosa.
    """
    if path.suffix == ".safetensors":
        with _opened(path) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    else:
        tensors = _unpickled(path)
    for name, value in tensors.items():
        if not value.is_floating_point() or value.layout != torch.strided:
            raise ValueError(
                f"En «{path}», «{name}» es de tipo {value.dtype} ({value.layout}), y unos pesos "
                "son números de coma flotante, uno detrás de otro."
            )
    return {name: value.float() for name, value in tensors.items()}


def _unpickled(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"No existe el fichero de pesos «{path}».")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
        size = path.stat().st_size
        if inside > size:
            raise ValueError(
                f"«{path}» ocupa {size} bytes y dice guardar {inside}: unos pesos no van "
                "comprimidos, así que está dañado o es una trampa."
            )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"«{path}» no guarda solo tensores: trae código, que no se ha ejecutado, u otros "
            "objetos. Usa el «.safetensors» del mismo modelo, si lo hay."
        ) from error
    except (
        Exception
    ) as error:  # un pickle dañado puede acabar en cualquier excepción
        raise ValueError(
            f"«{path}» no es un fichero de pesos de PyTorch, o está dañado "
            f"({type(error).__name__}): vuelve a descargarlo."
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in content.items()
    ):
        raise ValueError(
            f"«{path}» no es un diccionario de tensores por su nombre, y unos pesos lo son."
        )
    return dict(content)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.is_dir():
        raise IsADirectoryError(
            f"«{path}» es una carpeta, y se esperaba un fichero de pesos: da el «.safetensors» que "
            "haya dentro."
        )
    if not path.is_file():
        raise FileNotFoundError(f"No existe el fichero de pesos «{path}».")
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"«{path}» no es un fichero safetensors o está dañado ({error}). Los modelos de "
            "ddpm-lit acaban en «.safetensors»: da uno, o la carpeta de un entrenamiento."
        ) from error


def _header(file: Any, path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads((file.metadata() or {})["ddpm_lit"])
        written = table["format"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"«{path}» es un fichero safetensors, pero no lo ha escrito ddpm_lit: le falta la "
            "receta con que se entrenó, y sin ella no se sabe qué red es."
        ) from error
    if written != FORMAT_VERSION:
        raise ValueError(
            f"«{path}» está escrito en la versión {written} del formato y este ddpm_lit lee la "
            f"{FORMAT_VERSION}: actualiza ddpm_lit o vuelve a entrenar el modelo."
        )
    return table


def with_prefix(
    tensors: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """Los tensores cuyo nombre empieza así, ya sin ese principio."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def bare_state(model: nn.Module) -> dict[str, Tensor]:
    """Los pesos de una red con sus nombres de siempre, aunque esté envuelta.

    `torch.compile` antepone `_orig_mod.` a los nombres, y `DataParallel` y DDP, `module.`; un
    fichero con esos nombres no lo podría abrir nadie más.

    Args:
        model: la red, envuelta o no.

    Returns:
        Su `state_dict`, con los nombres de la red de dentro.
    """
    wrappers = ("_orig_mod", "module")
    while len(children := dict(model.named_children())) == 1 and (
        (name := next(iter(children))) in wrappers
        and not dict(model.named_parameters(recurse=False))
    ):
        model = children[name]
    return model.state_dict()


def add_weights(digest: "hashlib._Hash", model: nn.Module) -> None:
    """Añade a una huella los pesos de una red, con sus nombres, sus tipos y sus formas.

    Args:
        digest: la huella que se está calculando.
        model: la red.
    """
    for name, value in sorted(model.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.view(-1).view(torch.uint8).numpy().tobytes())


def load_state(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    assign: bool = False,
) -> None:
    """Pone unos pesos en una red, comprobando antes que son los suyos.

    Args:
        model: la red.
        tensors: los pesos, por su nombre.
        path: de qué fichero salen, para el error.
        assign: si la red se queda con los tensores mismos en vez de copiarlos.

    Raises:
        ValueError: si falta o sobra algún peso, o no tiene la forma debida.
    """
    expected = model.state_dict()
    problems = [f"falta «{name}»" for name in expected.keys() - tensors.keys()]
    problems += [f"sobra «{name}»" for name in tensors.keys() - expected.keys()]
    problems += [
        f"«{name}» es {tuple(tensors[name].shape)} y se espera {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        more = len(problems) - 3
        raise ValueError(
            f"Los pesos de «{path}» no casan con la red de su receta: {'; '.join(problems[:3])}"
            f"{f' y {more} diferencias más' if more > 0 else ''}."
        )
    with torch.no_grad():
        model.load_state_dict(dict(tensors), assign=assign)
