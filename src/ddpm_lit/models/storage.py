"""Guardar y leer pesos: un fichero safetensors, escrito entero o no escrito.

Hay dos clases de fichero, y las dos llevan dentro la receta que los hizo:

- el **modelo** (`save_model`, `load_model`): los pesos con que se generan muestras;
- el **checkpoint** (`save_checkpoint`, `load_checkpoint`): además, los pesos sin
  promediar, el estado del optimizador y el número de paso, para reanudar exactamente.

Un fichero safetensors no puede ejecutar código al abrirse.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_lit.backward import Sampler
from ddpm_lit.conditioning import null_condition, tokenize
from ddpm_lit.files.atomic import atomic_path
from ddpm_lit.guidance import classifier_free
from ddpm_lit.improved import ImportanceSampler
from ddpm_lit.machine.devices import choose_device
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.recipe import Recipe, recipe_from_dict
from ddpm_lit.sampling import make_sampler, sample
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
        text: str | Sequence[str] | None = None,
        scalars: Tensor | None = None,
        image: Tensor | None = None,
        guidance: float = 0.0,
        rescale: float = 0.0,
        interval: tuple[int, int] | None = None,
        sampler: str | Sampler = "ddpm",
        eta: float | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> Tensor:
        r"""Genera muestras: `trained.sample(16, class_labels=3, guidance=2.0, sampler="ddim")`.

        Args:
            indices: cuántas muestras, o el índice de cada una.
            seed: la semilla.
            class_labels: la clase de todas, o una por muestra; véase `class_condition`.
            text: la frase de todas, o una por muestra.
            scalars: los números que lleva la red, (N, S).
            image: la imagen que se concatena a cada muestra, (N, C, H, W).
            guidance: $w$, el peso de la guía sin clasificador; 0 no guía.
            rescale: $\varphi$, cuánto se reescala la guía.
            interval: `(menor, mayor)`, los índices de $t$ en que se guía; `None`, en todos.
            sampler: un nombre de `ddpm_lit.sampling.SAMPLERS`, o la función que da un paso.
            eta: el azar de `"ddim"`, de 0 a 1; `None` deja el suyo, 0.
            device: dónde se calcula; `None` elige el mejor dispositivo que haya.
            **options: los demás argumentos de `ddpm_lit.sampling.sample`.

        Returns:
            Las muestras, (N, *shape), en la CPU.

        Raises:
            ValueError: si se pide una condición que la red no conoce, o guiar una red que no
                aprendió a generar sin condición.
        """
        chosen = range(indices) if isinstance(indices, int) else indices
        where = choose_device(str(device) if device is not None else None)
        condition: dict[str, Tensor] = self.class_condition(class_labels, len(chosen))
        condition |= self.text_condition(text, len(chosen))
        condition |= {"scalars": scalars} if scalars is not None else {}
        condition |= {"image": image} if image is not None else {}
        return sample(
            self.guided(guidance, rescale=rescale, interval=interval, device=where),
            self.schedule,
            self.shape,
            indices=chosen,
            seed=seed,
            device=where,
            condition=condition,
            sampler=_chosen_sampler(sampler, eta),
            **self.options() | options,
        )

    def guided(
        self, w: float, *, device: torch.device | str = "cpu", **options: Any
    ) -> Callable[..., Tensor]:
        """La red, guiada sin clasificador con peso `w`; con 0, la red tal cual.

        Args:
            w: el peso de la guía.
            device: dónde se deja la red.
            **options: `rescale` e `interval`, como en `ddpm_lit.guidance.classifier_free`.

        Returns:
            Una función `model(x_t, t, **condition)`.

        Raises:
            ValueError: si se quiere guiar una red que no aprendió a generar sin condición.
        """
        model = self.model.to(device)
        if w == 0:
            return model
        if self.recipe.training.condition_dropout == 0:
            raise ValueError(
                f"El modelo «{self.recipe.name}» no se puede guiar: no aprendió a generar sin "
                "condición. Entrénalo con training.condition_dropout = 0.1, o no pidas guía."
            )
        null = partial(null_condition, num_classes=self.num_classes)
        return classifier_free(model, w, null=null, channels=self.shape[0], **options)

    def text_condition(self, text: str | Sequence[str] | None, count: int) -> dict[str, Tensor]:
        """La condición `{"tokens": …}` de `count` muestras, comprobada.

        Args:
            text: la frase de todas, o una por muestra; con `None`, sin texto.
            count: cuántas muestras son.

        Returns:
            Un diccionario con un tensor int64 (count, L), o vacío si la red no lee texto.

        Raises:
            ValueError: si la red no lee texto, hay un número de frases que no es `count`, o
                alguna lleva palabras que la red no conoce.
        """
        config = self.recipe.network_config()
        vocabulary = getattr(config, "vocabulary", ())
        if not vocabulary:
            if text is None:
                return {}
            raise ValueError(
                f"El modelo «{self.recipe.name}» no lee texto: no se le puede pedir ninguna frase."
            )
        length = config.text_length  # type: ignore[union-attr]
        if text is None:
            empty = torch.zeros(count, length, dtype=torch.int64)
            return null_condition({"tokens": empty})
        captions = [text] * count if isinstance(text, str) else list(text)
        if len(captions) != count:
            raise ValueError(
                f"Hay {len(captions)} frases para {count} muestras: da una, o una por muestra."
            )
        return {"tokens": tokenize(captions, vocabulary, length)}

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


def _chosen_sampler(sampler: str | Sampler, eta: float | None) -> Sampler:
    if isinstance(sampler, str):
        return make_sampler(sampler, **({} if eta is None else {"eta": eta}))
    if eta is not None:
        raise ValueError(
            f"Ha llegado eta = {eta} con un sampler que ya es una función: pon eta en él, con "
            'make_sampler("ddim", eta=…).'
        )
    return sampler


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
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Guarda los pesos de una red con su receta.

    Args:
        path: el fichero `.safetensors`.
        model: la red (normalmente, la de la EMA).
        recipe: la receta con que se entrenó.
        shape: la forma de una muestra.
        provenance: de dónde sale; valores que admitan JSON.
        dtype: el tipo en que se guardan; con `torch.float16` el fichero ocupa la mitad. `None`
            los deja como están.
    """
    tensors = model.state_dict()
    if dtype is not None:
        tensors = {name: value.to(dtype) for name, value in tensors.items()}
    _write(
        Path(path),
        tensors,
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
        El modelo, en float32 y listo para generar.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es un fichero de ddpm_lit o sus pesos no casan con su receta.
    """
    header, tensors = _read(Path(path))
    if header.kind == "checkpoint":
        tensors = _with_prefix(tensors, "ema.")
    tensors = {name: value.float() for name, value in tensors.items()}
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
    importance: ImportanceSampler | None = None,
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
        importance: el muestreo de t, si es por importancia.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    if importance is not None:
        tensors |= {f"importance.{name}": value for name, value in importance.state_dict().items()}
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
    importance: ImportanceSampler | None = None,
) -> tuple[int, dict[str, Any]]:
    """Deja la red, la EMA y el optimizador como estaban al guardar el checkpoint.

    Args:
        path: el fichero `.safetensors`.
        model: la red, recién construida.
        ema: su EMA.
        optimizer: su optimizador.
        recipe: la receta con que se quiere continuar.
        importance: el muestreo de t, si es por importancia.

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
    if importance is not None:
        importance.load_state_dict(_with_prefix(tensors, "importance."))
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
