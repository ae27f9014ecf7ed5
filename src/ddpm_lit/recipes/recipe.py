"""Recetas: configuraciones de entrenamiento completas y con nombre.

Una receta es un fichero TOML. Las que trae el paquete están en esta misma carpeta;
`load_recipe` acepta el nombre de una de ellas o la ruta de un fichero propio, y encima
se puede cambiar cualquier valor (`{"training.steps": 200}`).
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ddpm_lit.backward import LEARNED_VARIANCES, VARIANCES
from ddpm_lit.improved import LOSSES, TIMESTEP_SAMPLINGS
from ddpm_lit.losses import WEIGHTINGS, loss_weight
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.scheduler import Schedule, make_schedule
from ddpm_lit.unet import UNet, UNetConfig

PROFILES = ("smoke", "cpu", "gpu")


@dataclass(frozen=True)
class DataConfig:
    """Con qué datos se entrena.

    Args:
        name: nombre de un conjunto de `ddpm_lit.data`.
        held_out: fracción que ningún modelo ve, entre 0 y 1.
        split_seed: semilla de esa partición.
        options: argumentos de la función que carga el conjunto.
        conditions: lo que la red recibe además de cada dato: `text` (su descripción) y lo
            que prepara `ddpm_lit.data.conditions`.
    """

    name: str
    held_out: float = 0.0
    split_seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelConfig:
    """Qué red se entrena.

    Args:
        kind: `"unet"` o `"mlp"`.
        options: los campos de `UNetConfig` o de `MLPConfig`.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DiffusionConfig:
    """El proceso y lo que se aprende de él.

    Args:
        schedule: nombre de un schedule de `make_schedule`.
        timesteps: T.
        options: las demás opciones del schedule.
        prediction: qué predice la red.
        variance: qué varianza lleva cada paso atrás.
        weighting: el peso de la pérdida.
        loss: `"mse"`, `"hybrid"` o `"vlb"` (véase `ddpm_lit.improved.make_loss`). Una varianza
            aprendida pide una de las dos últimas.
        vlb_weight: cuánto pesa la cota en la pérdida híbrida.
        timestep_sampling: cómo se reparten los t, `"uniform"` o `"importance"`.
        clip: si se recorta la estimación de x_0 a [-1, 1] al generar.
    """

    schedule: str = "linear"
    timesteps: int = 1000
    options: dict[str, Any] = field(default_factory=dict)
    prediction: str = "epsilon"
    variance: str = "fixed_large"
    weighting: str = "uniform"
    loss: str = "mse"
    vlb_weight: float = 0.001
    timestep_sampling: str = "uniform"
    clip: bool = True


@dataclass(frozen=True)
class TrainingConfig:
    """Cómo se optimiza.

    Args:
        steps: número de pasos.
        batch_size: tamaño del lote.
        learning_rate: tasa de aprendizaje de AdamW tras el calentamiento.
        warmup_steps: pasos en que la tasa sube desde 0.
        decay: `"constant"`, o `"cosine"` o `"linear"` hasta 0 en el último paso.
        weight_decay: decaimiento de pesos de AdamW.
        betas: los dos momentos de AdamW.
        grad_clip: norma máxima del gradiente; 0 no lo recorta.
        ema_decay: decaimiento de la EMA.
        condition_dropout: probabilidad de apagar la condición de cada ejemplo, entre 0 y 1; hace
            falta para guiar sin clasificador.
        amp: precisión mixta bfloat16 (solo actúa en CUDA).
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    decay: str = "constant"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: float = 1.0
    ema_decay: float = 0.9999
    condition_dropout: float = 0.0
    amp: bool = True


@dataclass(frozen=True)
class Recipe:
    """Una configuración completa: con ella y una semilla, el resultado está determinado.

    Args:
        name: nombre de la receta.
        description: qué entrena, en una frase.
        data: los datos.
        model: la red.
        diffusion: el proceso.
        training: la optimización.
        seed: semilla de los pesos, del orden de los datos y del ruido.
        expect: lo que cabe esperar (pérdida, segundos) en cada dispositivo, y si se
            midió o se extrapoló.

    Raises:
        ValueError: si algún valor no existe o no tiene sentido con los demás.
    """

    name: str
    description: str
    data: DataConfig
    model: ModelConfig
    diffusion: DiffusionConfig
    training: TrainingConfig
    seed: int = 0
    expect: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        training = self.training
        _check(self.model.kind in ("unet", "mlp"), "model.kind", self.model.kind, "unet o mlp")
        schedule = self.schedule()
        self.network_config()
        for name, known in (
            ("variance", VARIANCES),
            ("weighting", WEIGHTINGS),
            ("loss", LOSSES),
            ("timestep_sampling", TIMESTEP_SAMPLINGS),
        ):
            chosen = getattr(self.diffusion, name)
            _check(chosen in known, f"diffusion.{name}", chosen, ", ".join(known))
        weight = self.diffusion.vlb_weight
        _check(0 < weight < math.inf, "diffusion.vlb_weight", weight, "un número positivo")
        _check(
            training.decay in ("constant", "cosine", "linear"),
            "training.decay",
            training.decay,
            "constant, cosine o linear",
        )
        held_out = self.data.held_out
        _check(0 <= held_out < 1, "data.held_out", held_out, "una fracción de 0 a 1, sin el 1")
        _check(0 <= self.seed < 2**64, "seed", self.seed, "un entero entre 0 y 2**64 - 1")
        for name in ("steps", "batch_size", "learning_rate"):
            value = getattr(training, name)
            _check(0 < value < math.inf, f"training.{name}", value, "un número positivo")
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            value = getattr(training, name)
            _check(0 <= value < math.inf, f"training.{name}", value, "0 o un número positivo")
        decay = training.ema_decay
        _check(0 <= decay < 1, "training.ema_decay", decay, "un número de 0 a 1, sin el 1")
        dropout = training.condition_dropout
        _check(0 <= dropout <= 1, "training.condition_dropout", dropout, "un número de 0 a 1")
        _check(
            len(training.betas) == 2 and all(0 <= beta < 1 for beta in training.betas),
            "training.betas",
            training.betas,
            "una lista de dos números de 0 a 1, sin el 1",
        )
        loss_weight(
            schedule,
            torch.zeros(1, dtype=torch.int64),
            weighting=self.diffusion.weighting,
            prediction=self.diffusion.prediction,
            variance=self.diffusion.variance,
        )
        self._check_loss()

    def _check_loss(self) -> None:
        """La pérdida, la varianza y los canales de la red se piden unos a otros."""
        diffusion = self.diffusion
        learned = diffusion.variance in LEARNED_VARIANCES
        if learned and diffusion.loss == "mse":
            raise ValueError(
                f"Con diffusion.loss = «mse» nada enseña la varianza «{diffusion.variance}». Usa "
                "la pérdida «hybrid» o «vlb», o una varianza fija."
            )
        if diffusion.loss == "hybrid" and not learned:
            raise ValueError(
                f"Con la varianza fija «{diffusion.variance}» la pérdida «hybrid» no enseña nada "
                "que no enseñe «mse». Usa esta, o una varianza que se aprenda: "
                f"{', '.join(LEARNED_VARIANCES)}."
            )
        if diffusion.loss == "vlb" and diffusion.weighting != "uniform":
            raise ValueError(
                f"La pérdida «vlb» ya trae sus pesos y diffusion.weighting es "
                f"«{diffusion.weighting}». Déjalo en «uniform», o usa la pérdida «mse»."
            )
        config = self.network_config()
        name, inputs, outputs = (
            ("out_dim", config.dim, config.out_dim or config.dim)
            if isinstance(config, MLPConfig)
            else ("out_channels", config.in_channels, config.out_channels or config.in_channels)
        )
        expected = 2 * inputs if learned else inputs
        if outputs != expected:
            raise ValueError(
                f"Con la varianza «{diffusion.variance}» la salida de la red debe tener {expected} "
                f"canales y tiene {outputs}: pon model.options.{name} = {expected}."
            )

    def schedule(self) -> Schedule:
        """El schedule de la receta."""
        return make_schedule(
            self.diffusion.schedule, self.diffusion.timesteps, **self.diffusion.options
        )

    def network_config(self) -> UNetConfig | MLPConfig:
        """La configuración de la red; un MLP toma su T del proceso si no se le da otro."""
        options = self.model.options
        if self.model.kind == "mlp":
            options = {"timesteps": self.diffusion.timesteps} | options
        cls = MLPConfig if self.model.kind == "mlp" else UNetConfig
        config: UNetConfig | MLPConfig = _build(cls, options, "model.options")
        return config

    def build_model(self) -> nn.Module:
        """La red de la receta, con pesos nuevos sacados del generador global de PyTorch."""
        config = self.network_config()
        return MLP(config) if isinstance(config, MLPConfig) else UNet(config)

    def to_dict(self) -> dict[str, Any]:
        """La receta como diccionario de valores simples, apto para JSON y para TOML."""
        return dataclasses.asdict(self)


def recipe_names() -> list[str]:
    """Los nombres de las recetas que trae el paquete, en orden alfabético."""
    files = resources.files("ddpm_lit.recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(
    source: str | Path, *, profile: str = "cpu", overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """Lee una receta por su nombre o desde un fichero TOML.

    Args:
        source: nombre de una receta del paquete (véase `recipe_names`) o ruta de un
            fichero `.toml`.
        profile: `"cpu"` lee los valores tal cual; `"smoke"` y `"gpu"` aplican encima los
            de la tabla `[profile.smoke]` o `[profile.gpu]`, si está.
        overrides: valores que mandan sobre todo lo anterior, con el camino separado por
            puntos: `{"training.steps": 200, "diffusion.options.s": 0.01}`.

    Returns:
        La receta.

    Raises:
        FileNotFoundError: si no hay ninguna receta con ese nombre ni ese fichero.
        ValueError: si el TOML no se puede leer, o algún valor sobra, falta o no es válido.
    """
    path = Path(source)
    if path.suffix == ".toml":
        if not path.is_file():
            raise FileNotFoundError(f"No existe el fichero de receta «{path}».")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"El fichero de receta «{path}» no es texto UTF-8: guárdalo con esa codificación."
            ) from error
    elif str(source) in recipe_names():
        text = (resources.files("ddpm_lit.recipes") / f"{source}.toml").read_text(encoding="utf-8")
    else:
        raise FileNotFoundError(
            f"No hay ninguna receta «{source}».{_suggestion(str(source), recipe_names())} "
            f"Las que hay: {', '.join(recipe_names())}; o da la ruta de un fichero .toml."
        )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        where = f"en la línea {place[1]}, columna {place[2]}" if place else "al final"
        raise ValueError(
            f"La receta «{source}» no es TOML válido: hay algo que no se entiende {where}."
        ) from error
    profiles = table.pop("profile", {})
    if profile not in PROFILES:
        raise ValueError(f"No hay ningún perfil «{profile}». Los que hay: {', '.join(PROFILES)}.")
    for dotted, value in _flatten(profiles.get(profile, {})):
        _set(table, dotted, value)
    for dotted, value in (overrides or {}).items():
        _set(table, dotted, value)
    return recipe_from_dict(table)


def recipe_from_dict(table: Mapping[str, Any]) -> Recipe:
    """Construye una receta a partir de un diccionario como el de `Recipe.to_dict`.

    Raises:
        ValueError: si algún valor sobra, falta o no es válido.
    """
    recipe: Recipe = _build(Recipe, table, "")
    return recipe


def _build(cls: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """Crea la dataclass `cls` con los valores de `table`, comprobando nombres y tipos."""
    prefix = f"{where}." if where else ""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in table:
        if name not in fields:
            raise ValueError(
                f"No existe el valor «{prefix}{name}» en una receta."
                f"{_suggestion(name, list(fields))} Los que hay: "
                f"{', '.join(prefix + f for f in fields)}."
            )
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in table:
            values[name] = _convert(table[name], hints[name], prefix + name)
        elif spec.default is spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"A la receta le falta el valor «{prefix}{name}».")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"En «{where}»: {error}") from error


_KINDS = {
    int: "un número entero",
    float: "un número",
    bool: "true o false",
    str: "un texto",
    tuple: "una lista",
    dict: "una tabla",
}


def _convert(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ValueError(f"«{where}» debe ser {_KINDS[dict]} y ha llegado {value!r}.")
        return _build(hint, value, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in args if arg is not type(None))
        return _convert(value, hint, where)
    if origin is tuple and isinstance(value, list | tuple):
        inner = args[0]
        return tuple(_convert(item, inner, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    wrong_bool = isinstance(value, bool) and expected is not bool
    if expected is not Any and (wrong_bool or not isinstance(value, expected)):
        raise ValueError(f"«{where}» debe ser {_KINDS[expected]} y ha llegado {value!r}.")
    return dict(value) if expected is dict else value


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _set(table: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"No existe el valor «{dotted}»: «{name}» no es una tabla.")
    table[last] = value


def _check(condition: bool, where: str, value: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"El valor «{where}» de la receta es {value!r}; debe ser {expected}.")


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" ¿Querías decir «{close[0]}»?" if close else ""
