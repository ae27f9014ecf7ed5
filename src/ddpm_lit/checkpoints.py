"""Guardar y leer pesos: un fichero safetensors, escrito entero o no escrito.

Hay dos clases de fichero, y las dos llevan dentro la receta que los hizo:

- el **modelo** (`save_model`, `load_model`): los pesos con que se generan muestras;
- el **checkpoint** (`save_checkpoint`, `load_checkpoint`): además, los pesos sin
  promediar, el estado del optimizador y el número de paso, para reanudar exactamente.

Un fichero safetensors no puede ejecutar código al abrirse.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_lit.devices import choose_device
from ddpm_lit.ema import EMA
from ddpm_lit.recipes import Recipe, recipe_from_dict
from ddpm_lit.sampling import sample
from ddpm_lit.scheduler import Schedule

FORMAT_VERSION = "1"


@dataclass(frozen=True)
class Trained:
    """Un modelo entrenado, con lo que hace falta para usarlo.

    Args:
        model: la red, en modo de evaluación.
        recipe: la receta con que se entrenó.
        shape: la forma de una muestra, p. ej. (1, 8, 8).
        provenance: de dónde sale (pasos, segundos, versiones…).
    """

    model: nn.Module
    recipe: Recipe
    shape: tuple[int, ...]
    provenance: dict[str, Any]

    @property
    def schedule(self) -> Schedule:
        """El schedule con que se entrenó."""
        return self.recipe.schedule()

    @property
    def num_classes(self) -> int | None:
        """Cuántas clases conoce la red, o `None` si no es condicional."""
        classes: int | None = self.recipe.model.options.get("num_classes")
        return classes

    def options(self) -> dict[str, Any]:
        """Los argumentos `prediction`, `variance` y `clip` que pide `algorithm2`."""
        diffusion = self.recipe.diffusion
        return {
            "prediction": diffusion.prediction,
            "variance": diffusion.variance,
            "clip": diffusion.clip,
        }

    def sample(
        self,
        indices: int | Sequence[int],
        *,
        seed: int = 0,
        class_labels: int | Sequence[int] | Tensor | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> Tensor:
        """Genera muestras con el Algoritmo 2.

        Args:
            indices: cuántas muestras, o el índice de cada una.
            seed: la semilla.
            class_labels: la clase de todas, o una por muestra; solo si la red conoce clases.
            device: dónde se calcula; `None` elige el mejor dispositivo que haya.
            **options: los demás argumentos de `ddpm_lit.sampling.sample`.

        Returns:
            Las muestras, (N, *shape), en la CPU.

        Raises:
            ValueError: si se pide una clase que no existe, o la red no conoce clases.
        """
        chosen = range(indices) if isinstance(indices, int) else indices
        where = choose_device(str(device) if device is not None else None)
        return sample(
            self.model.to(where),
            self.schedule,
            self.shape,
            indices=chosen,
            seed=seed,
            device=where,
            condition=self.class_condition(class_labels, len(chosen)),
            **self.options() | options,
        )

    def class_condition(
        self, class_labels: int | Sequence[int] | Tensor | None, count: int
    ) -> dict[str, Tensor]:
        """La condición `{"class_labels": …}` de `count` muestras, comprobada.

        Args:
            class_labels: la clase de todas, o una por muestra, o `None`.
            count: cuántas muestras son.

        Returns:
            Un diccionario vacío si no hay clases, o con un tensor int64 (count,).

        Raises:
            ValueError: si se pide una clase que no existe, o la red no conoce clases.
        """
        if class_labels is None:
            return {}
        if self.num_classes is None:
            raise ValueError(
                f"El modelo «{self.recipe.name}» no conoce clases: no se le puede pedir ninguna."
            )
        labels = torch.as_tensor(class_labels, dtype=torch.int64)
        labels = labels.expand(count) if labels.ndim == 0 else labels
        outside = labels[(labels < 0) | (labels >= self.num_classes)]
        if outside.numel() > 0:
            raise ValueError(
                f"El modelo «{self.recipe.name}» conoce las clases de 0 a {self.num_classes - 1} "
                f"y se ha pedido la {int(outside[0])}."
            )
        return {"class_labels": labels}


def write_atomically(path: Path, content: bytes) -> None:
    """Escribe un fichero de modo que se vea entero o no se vea.

    Se escribe en un temporal de la misma carpeta, se vuelca al disco y se renombra. Si
    algo falla a mitad, el fichero que hubiera antes sigue intacto.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_model(
    path: str | Path,
    model: nn.Module,
    recipe: Recipe,
    shape: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Guarda los pesos de una red con su receta.

    Args:
        path: el fichero `.safetensors`.
        model: la red (normalmente, la del EMA).
        recipe: la receta con que se entrenó.
        shape: la forma de una muestra.
        provenance: de dónde sale; valores que admitan JSON.
    """
    _write(
        Path(path),
        model.state_dict(),
        kind="model",
        recipe=recipe,
        shape=list(shape),
        provenance=dict(provenance or {}),
    )


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Trained:
    """Lee un modelo guardado con `save_model`, o el EMA de un checkpoint.

    Args:
        path: el fichero `.safetensors`.
        device: dónde se deja la red.

    Returns:
        El modelo, listo para generar.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit o sus pesos no casan con su receta.
    """
    tensors, metadata = _read(Path(path))
    if metadata["kind"] == "checkpoint":
        tensors = _with_prefix(tensors, "ema.")
    recipe = recipe_from_dict(metadata["recipe"])
    model = recipe.build_model()
    _load_weights(model, tensors, Path(path))
    return Trained(
        model.to(device).eval(), recipe, tuple(metadata["shape"]), metadata["provenance"]
    )


def save_checkpoint(
    path: str | Path,
    *,
    model: nn.Module,
    ema: EMA,
    optimizer: torch.optim.Optimizer,
    step: int,
    recipe: Recipe,
    shape: Sequence[int],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Guarda todo lo que hace falta para reanudar un entrenamiento tras `step` pasos.

    El orden de los datos y el ruido no se guardan porque son función de la semilla y del
    número de paso (véase `ddpm_lit.noise`).

    Args:
        path: el fichero `.safetensors`.
        model: la red que se entrena.
        ema: su media móvil.
        optimizer: el optimizador, con un solo grupo de parámetros.
        step: cuántos pasos se han dado.
        recipe: la receta.
        shape: la forma de una muestra.
        provenance: de dónde sale; valores que admitan JSON.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    _write(
        Path(path),
        tensors,
        kind="checkpoint",
        recipe=recipe,
        shape=list(shape),
        provenance=dict(provenance or {}),
        step=step,
        ema_updates=ema.updates,
    )


def load_checkpoint(
    path: str | Path, *, model: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> tuple[int, dict[str, Any]]:
    """Deja la red, el EMA y el optimizador como estaban al guardar el checkpoint.

    Args:
        path: el fichero `.safetensors`.
        model: la red, recién construida.
        ema: su EMA.
        optimizer: su optimizador.
        recipe: la receta con que se quiere continuar.

    Returns:
        Los pasos que ya se habían dado y la procedencia guardada.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un checkpoint, o es de otra receta (pueden diferir el
            nombre, la descripción, lo que cabe esperar y el número de pasos).
    """
    tensors, metadata = _read(Path(path))
    if metadata["kind"] != "checkpoint":
        raise ValueError(
            f"«{path}» guarda solo un modelo: no se puede reanudar un entrenamiento desde él."
        )
    saved = recipe_from_dict(metadata["recipe"])
    differences = [
        name for name in _differences(saved.to_dict(), recipe.to_dict()) if name not in _FREE
    ]
    if differences:
        raise ValueError(
            f"El checkpoint «{path}» es de otra receta: difieren {', '.join(differences)}. "
            "Reanuda con los mismos valores o entrena en otra carpeta."
        )
    _load_weights(model, _with_prefix(tensors, "model."), Path(path))
    _load_weights(ema.model, _with_prefix(tensors, "ema."), Path(path))
    ema.updates = metadata["ema_updates"]
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        state = _with_prefix(tensors, f"optimizer.{index}.")
        # Los momentos deben tener la disposición en memoria de su parámetro.
        optimizer.state[parameter] = {
            name: value if value.ndim == 0 else torch.zeros_like(parameter).copy_(value)
            for name, value in state.items()
        }
    return metadata["step"], metadata["provenance"]


_FREE = ("name", "description", "expect", "training.steps")


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name in sorted(a.keys() | b.keys()):
        left, right = a.get(name), b.get(name)
        if prefix + name in _FREE:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            names += _differences(left, right, f"{prefix}{name}.")
        elif json.dumps(left) != json.dumps(right):
            names.append(prefix + name)
    return names


def _write(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, recipe: Recipe, **metadata: Any
) -> None:
    header = {"kind": kind, "format": FORMAT_VERSION, "recipe": recipe.to_dict(), **metadata}
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={"ddpm_lit": json.dumps(header, ensure_ascii=False)},
    )
    write_atomically(path, content)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"No existe el fichero de pesos «{path}».")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["ddpm_lit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"«{path}» no es un fichero safetensors válido o está dañado ({error})."
        ) from error
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"«{path}» es un fichero safetensors, pero no lo ha escrito ddpm_lit: le falta la receta."
        ) from error
    return tensors, metadata


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"Los pesos de «{path}» no casan con su receta: {error}") from error
