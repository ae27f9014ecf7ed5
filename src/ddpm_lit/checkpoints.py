"""Guardar y leer pesos: un fichero safetensors, escrito entero o no escrito.

Hay dos clases de fichero, y las dos llevan dentro la receta que los hizo:

- el **modelo** (`save_model`, `load_model`): los pesos con que se generan muestras;
- el **checkpoint** (`save_checkpoint`, `load_checkpoint`): además, los pesos sin
  promediar, el estado del optimizador y el número de paso, para reanudar exactamente.

Un fichero safetensors no puede ejecutar código al abrirse.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_lit.data.cache import atomic_path
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
            class_labels: la clase de todas, o una por muestra; véase `class_condition`.
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
            class_labels: la clase de todas, o una por muestra; con `None`, una red que conoce
                clases las recorre en orden.
            count: cuántas muestras son.

        Returns:
            Un diccionario con un tensor int64 (count,), o vacío si la red no conoce clases.

        Raises:
            ValueError: si se pide una clase que no existe, o la red no conoce clases.
        """
        if self.num_classes is None:
            if class_labels is None:
                return {}
            raise ValueError(
                f"El modelo «{self.recipe.name}» no conoce clases: no se le puede pedir ninguna."
            )
        if class_labels is None:
            return {"class_labels": torch.arange(count) % self.num_classes}
        labels = torch.as_tensor(class_labels, dtype=torch.int64)
        labels = labels.expand(count) if labels.ndim == 0 else labels
        outside = labels[(labels < 0) | (labels >= self.num_classes)]
        if outside.numel() > 0:
            raise ValueError(
                f"El modelo «{self.recipe.name}» conoce las clases de 0 a {self.num_classes - 1} "
                f"y se ha pedido la {int(outside[0])}."
            )
        return {"class_labels": labels}


class Header(NamedTuple):
    """Lo que un fichero de pesos dice de sí mismo.

    `kind` es `"model"` o `"checkpoint"`; `step`, los pasos que llevaba el entrenamiento, y
    `ema_updates`, cuántas veces se había actualizado la EMA (0 en un modelo).
    """

    kind: str
    recipe: Recipe
    shape: tuple[int, ...]
    provenance: dict[str, Any]
    step: int
    ema_updates: int


def write_atomically(path: Path, content: bytes) -> None:
    """Escribe un fichero de modo que se vea entero o no se vea (véase `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


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
        model: la red (normalmente, la de la EMA).
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
    """Lee un modelo guardado con `save_model`, o la EMA de un checkpoint.

    Args:
        path: el fichero `.safetensors`.
        device: dónde se deja la red.

    Returns:
        El modelo, listo para generar.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit o sus pesos no casan con su receta.
    """
    header, tensors = _read(Path(path))
    if header.kind == "checkpoint":
        tensors = _with_prefix(tensors, "ema.")
    with torch.device("meta"):
        model = header.recipe.build_model()
    _load_weights(model, tensors, Path(path), assign=True)
    return Trained(model.to(device).eval(), header.recipe, header.shape, header.provenance)


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
    path: str | Path,
    *,
    model: nn.Module,
    ema: EMA,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
) -> tuple[int, dict[str, Any]]:
    """Deja la red, la EMA y el optimizador como estaban al guardar el checkpoint.

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
    header, tensors = _read(Path(path))
    if header.kind != "checkpoint":
        raise ValueError(
            f"«{path}» guarda solo un modelo: no se puede reanudar un entrenamiento desde él."
        )
    differences = _differences(header.recipe.to_dict(), recipe.to_dict())
    if differences:
        raise ValueError(
            f"El checkpoint «{path}» es de otra receta: difieren {', '.join(differences)}. "
            "Reanuda con los mismos valores o entrena en otra carpeta."
        )
    _load_weights(model, _with_prefix(tensors, "model."), Path(path))
    _load_weights(ema.model, _with_prefix(tensors, "ema."), Path(path))
    ema.updates = header.ema_updates
    (group,) = optimizer.param_groups
    for index, parameter in enumerate(group["params"]):
        # Los momentos deben tener la disposición en memoria de su parámetro, y el optimizador
        # fundido quiere hasta el contador de pasos en su dispositivo.
        counter_device = parameter.device if group.get("fused") else "cpu"
        optimizer.state[parameter] = {
            name: value.to(counter_device)
            if value.ndim == 0
            else torch.zeros_like(parameter).copy_(value)
            for name, value in _with_prefix(tensors, f"optimizer.{index}.").items()
        }
    return header.step, header.provenance


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


def read_header(path: str | Path) -> Header:
    """Lee lo que un fichero dice de sí mismo, sin cargar los pesos.

    Args:
        path: el fichero `.safetensors`.

    Returns:
        Su cabecera.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit, o es de otra versión del formato.
    """
    with _open(Path(path)) as file:
        return _header(file, Path(path))


def _read(path: Path) -> tuple[Header, dict[str, Tensor]]:
    with _open(path) as file:
        return _header(file, path), {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 (no es un diccionario: no se puede recorrer)
        }


@contextmanager
def _open(path: Path) -> Iterator[Any]:
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


def _header(file: Any, path: Path) -> Header:
    try:
        table = json.loads((file.metadata() or {})["ddpm_lit"])
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
    try:
        recipe = recipe_from_dict(table["recipe"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"La receta que guarda «{path}» no es válida: {error}") from error
    try:
        return Header(
            kind=table["kind"],
            recipe=recipe,
            shape=tuple(table["shape"]),
            provenance=table["provenance"],
            step=table.get("step", table["provenance"].get("steps", 0)),
            ema_updates=table.get("ema_updates", 0),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"La cabecera de «{path}» está incompleta o dañada ({error}).") from error


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _load_weights(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, assign: bool = False
) -> None:
    expected = model.state_dict()
    problems = [f"falta «{name}»" for name in expected.keys() - tensors.keys()]
    problems += [f"sobra «{name}»" for name in tensors.keys() - expected.keys()]
    problems += [
        f"«{name}» es {tuple(tensors[name].shape)} y se espera {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        raise ValueError(
            f"Los pesos de «{path}» no casan con la red de su receta: {'; '.join(problems[:3])}"
            f"{f' y {len(problems) - 3} diferencias más' if len(problems) > 3 else ''}."
        )
    model.load_state_dict(tensors, assign=assign)
