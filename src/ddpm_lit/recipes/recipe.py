"""Una receta: una configuración de entrenamiento completa y comprobada."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import LOSSES, TIMESTEP_SAMPLINGS, make_loss
from ddpm_lit.losses import Loss, loss_weight
from ddpm_lit.machine.devices import PRECISIONS
from ddpm_lit.networks.registry import NETWORKS, Network
from ddpm_lit.recipes.fields import build
from ddpm_lit.sampling import make_sampler
from ddpm_lit.scheduler import SPACINGS, Schedule, make_schedule
from ddpm_lit.tables import options_of, row

DECAYS = ("constant", "cosine", "linear")
LARGEST_BATCH = 2**20


@dataclass(frozen=True)
class DataConfig:
    """Con qué datos se entrena.

    Args:
        name: nombre de un conjunto de `ddpm_lit.data`.
        held_out: fracción que ningún modelo ve, entre 0 y 1.
        split_seed: semilla de esa partición.
        flip: si cada imagen se voltea al azar, la mitad de las veces que se ve, como en un espejo.
        options: argumentos de la función que carga el conjunto.
        conditions: lo que la red recibe además de cada dato: `text` (su descripción) y lo
            que prepara `ddpm_lit.data.conditions`.
        autoencoder: el que lleva las imágenes al latente en que se difunde, por su nombre o la
            ruta de su fichero (véase `ddpm_lit.latent.load_autoencoder`); `None`, se difunden los
            propios datos.
    """

    name: str
    held_out: float = 0.0
    split_seed: int = 0
    flip: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    autoencoder: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Qué red se entrena.

    Args:
        kind: un nombre de `ddpm_lit.networks.registry.NETWORKS`: `"unet"` o `"mlp"`.
        options: los campos de su configuración: `UNetConfig` o `MLPConfig`.
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
    variance: str = "fixed_small"
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
        amp: precisión mixta bfloat16: `True`, solo en CUDA; `"auto"`, también en la CPU si allí
            compensa, que se mide al empezar; `False`, nunca. La que se elige se guarda con el
            entrenamiento, y al reanudarlo es la misma, aunque sea en otro dispositivo.
        accumulate: en cuántos trozos se hace cada lote. Ocupa menos memoria, y el paso es el del
            lote entero salvo redondeo (y salvo el *dropout* de las capas, que es de cada trozo).
        checkpoint_gradients: si los bloques de la U-Net no guardan sus activaciones y las calculan
            otra vez al derivar: ocupa menos memoria y tarda una evaluación más. En la CPU, además,
            la memoria que se suelta se devuelve (véase `machine.memory.return_freed_memory`).
        compile: si la red se compila con `torch.compile`, que tarda en empezar; en la CPU no
            suele compensar.
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
    amp: bool | str = True
    accumulate: int = 1
    checkpoint_gradients: bool = False
    compile: bool = False


@dataclass(frozen=True)
class SamplingConfig:
    r"""Cómo se genera, si no se pide otra cosa: lo que mejor le va al modelo.

    Args:
        sampler: un nombre de `ddpm_lit.sampling.SAMPLERS`.
        steps: cuántos pasos; `None`, los T del proceso con `"ddpm"` y 50 con los demás.
        spacing: cómo se reparten (véase `ddpm_lit.scheduler.spaced_indices`).
        eta: el azar de `"ddim"`, de 0 a 1; `None` deja el suyo, 0.
        guidance: $w$, el peso de la guía sin clasificador; 0 no guía.
        rescale: $\varphi$, cuánto se reescala la guía.
        interval: `(menor, mayor)`, los índices de $t$ en que se guía; `None`, en todos.
        precision: `"float32"`, o `"bfloat16"` para la precisión mixta, más rápida donde el
            procesador o la tarjeta la aceleran; las muestras no son entonces las mismas, bit a
            bit.
        cuda_graph: si en CUDA la red se graba una vez y después se repite entera (véase
            `machine.graphs.replayed`): una red pequeña genera en mucho menos tiempo.

    Raises:
        ValueError: si algún valor no existe o no tiene sentido con los demás.
    """

    sampler: str = "ddpm"
    steps: int | None = None
    spacing: str = "linspace"
    eta: float | None = None
    guidance: float = 0.0
    rescale: float = 0.0
    interval: tuple[int, int] | None = None
    precision: str = "float32"
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        make_sampler(
            self.sampler, **({} if self.eta is None else {"eta": self.eta})
        )
        _check(
            self.spacing in SPACINGS,
            "sampling.spacing",
            self.spacing,
            ", ".join(SPACINGS),
        )
        _check(
            self.steps is None
            or (isinstance(self.steps, int) and self.steps > 0),
            "sampling.steps",
            self.steps,
            "un número positivo y entero",
        )
        _check(
            self.interval is None or len(self.interval) == 2,
            "sampling.interval",
            self.interval,
            "una lista de dos índices, el menor y el mayor",
        )
        _check(
            self.precision in PRECISIONS,
            "sampling.precision",
            self.precision,
            ", ".join(PRECISIONS),
        )
        _check(
            isinstance(self.cuda_graph, bool),
            "sampling.cuda_graph",
            self.cuda_graph,
            "true o false",
        )


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
        sampling: cómo se genera después, si no se pide otra cosa.
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
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    expect: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        diffusion, training = self.diffusion, self.training
        self._check_network()
        process = self.make_diffusion()
        self._check_output(process)
        _check(
            diffusion.timestep_sampling in TIMESTEP_SAMPLINGS,
            "diffusion.timestep_sampling",
            diffusion.timestep_sampling,
            ", ".join(TIMESTEP_SAMPLINGS),
        )
        _check(
            0 < diffusion.vlb_weight < math.inf,
            "diffusion.vlb_weight",
            diffusion.vlb_weight,
            "un número positivo",
        )
        _check(
            training.decay in DECAYS,
            "training.decay",
            training.decay,
            ", ".join(DECAYS),
        )
        held_out = self.data.held_out
        _check(
            0 <= held_out < 1,
            "data.held_out",
            held_out,
            "una fracción de 0 a 1, sin el 1",
        )
        _check(
            0 <= self.seed < 2**64,
            "seed",
            self.seed,
            "un entero entre 0 y 2**64 - 1",
        )
        for name in ("steps", "batch_size", "learning_rate"):
            value = getattr(training, name)
            _check(
                0 < value < math.inf,
                f"training.{name}",
                value,
                "un número positivo",
            )
        _check(
            training.batch_size <= LARGEST_BATCH,
            "training.batch_size",
            training.batch_size,
            f"como mucho {LARGEST_BATCH}",
        )
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            value = getattr(training, name)
            _check(
                0 <= value < math.inf,
                f"training.{name}",
                value,
                "0 o un número positivo",
            )
        decay = training.ema_decay
        _check(
            0 <= decay < 1,
            "training.ema_decay",
            decay,
            "un número de 0 a 1, sin el 1",
        )
        dropout = training.condition_dropout
        _check(
            0 <= dropout <= 1,
            "training.condition_dropout",
            dropout,
            "un número de 0 a 1",
        )
        _check(
            len(training.betas) == 2
            and all(0 <= beta < 1 for beta in training.betas),
            "training.betas",
            training.betas,
            "una lista de dos números de 0 a 1, sin el 1",
        )
        _check(
            training.amp in (True, False, "auto"),
            "training.amp",
            training.amp,
            "true, false o «auto»",
        )
        _check(
            1 <= training.accumulate <= training.batch_size,
            "training.accumulate",
            training.accumulate,
            f"un número de 1 a {training.batch_size}, el tamaño del lote",
        )
        _check(
            training.accumulate == 1
            or diffusion.timestep_sampling == "uniform",
            "training.accumulate",
            training.accumulate,
            "1 si diffusion.timestep_sampling es «importance»: los pesos cambiarían de un "
            "trozo al siguiente",
        )
        self._check_loss(process)
        self._check_sampling()
        if self.data.autoencoder is not None:
            self._check_latent()

    def _check_latent(self) -> None:
        """Lo que vale para imágenes y no para sus latentes."""
        _check(
            not self.diffusion.clip,
            "diffusion.clip",
            self.diffusion.clip,
            "false: los latentes no viven en [-1, 1]",
        )
        _check(
            not self.data.flip,
            "data.flip",
            self.data.flip,
            "false: el latente de una imagen en un espejo no es el suyo en un espejo",
        )
        _check(
            "image" not in self.data.conditions,
            "data.conditions.image",
            self.data.conditions.get("image"),
            "ninguna: una imagen no tiene la forma de un latente",
        )

    def _check_sampling(self) -> None:
        """Cómo se genera, frente al proceso y a lo que la red aprende."""
        sampling, total = self.sampling, self.diffusion.timesteps
        _check(
            sampling.steps is None or sampling.steps <= total,
            "sampling.steps",
            sampling.steps,
            f"como mucho {total}, los pasos del proceso",
        )
        _check(
            -1 <= sampling.guidance < math.inf,
            "sampling.guidance",
            sampling.guidance,
            "un número no menor que -1",
        )
        if sampling.guidance != 0 and self.training.condition_dropout == 0:
            raise ValueError(
                f"La receta «{self.name}» pide generar con guía (sampling.guidance = "
                f"{sampling.guidance:g}) y la red no aprende a generar sin condición: pon "
                "training.condition_dropout = 0.1, o quita la guía."
            )

    def _check_network(self) -> None:
        network = row(
            NETWORKS, self.model.kind, "No hay ninguna red (model.kind)"
        )
        if not isinstance(network, Network):
            raise TypeError(
                f"La fila «{self.model.kind}» de NETWORKS es {network!r} y debe ser un "
                "Network(configuración, red, nombre de la opción de salida, canales)."
            )

    def _check_output(self, process: Diffusion) -> None:
        """La varianza dice cuántos canales debe dar la red."""
        network, variance = NETWORKS[self.model.kind], process.variance
        inputs, outputs = network.channels(self.network_config())
        expected = 2 * inputs if variance.learned else inputs
        if outputs != expected:
            raise ValueError(
                f"Con la varianza «{variance.name}» la salida de la red debe tener {expected} "
                f"canales y tiene {outputs}: pon model.options.{network.outputs} = {expected}."
            )

    def _check_loss(self, process: Diffusion) -> None:
        """La pérdida se prueba: si no tiene sentido con el proceso, lo dice ella."""
        function = row(LOSSES, self.diffusion.loss, "No hay ninguna pérdida")
        loss_weight(process, self.diffusion.weighting)
        if (
            self.diffusion.weighting != "uniform"
            and "weighting" not in options_of(function)
        ):
            raise ValueError(
                f"La pérdida «{self.diffusion.loss}» ya trae sus pesos y diffusion.weighting es "
                f"«{self.diffusion.weighting}». Déjalo en «uniform», o usa la pérdida «mse»."
            )
        x = torch.zeros(1, 1, 2)
        output = torch.zeros(1, 2 if process.variance.learned else 1, 2)
        t = torch.zeros(1, dtype=torch.int64)
        self.make_loss()(process, output, x, x, t)

    def schedule(self) -> Schedule:
        """El schedule de la receta."""
        return make_schedule(
            self.diffusion.schedule,
            self.diffusion.timesteps,
            **self.diffusion.options,
        )

    def make_diffusion(self) -> Diffusion:
        """El proceso de la receta."""
        return Diffusion(
            self.schedule(),
            self.diffusion.prediction,
            self.diffusion.variance,
            self.diffusion.clip,
        )

    def make_loss(self, levels: int | None = 256) -> Loss:
        """La pérdida de la receta.

        Args:
            levels: cuántos valores distintos toman los datos, o `None` si son continuos.

        Returns:
            La función `loss(diffusion, output, x_start, noise, t)`.
        """
        diffusion = self.diffusion
        options = {
            "weighting": diffusion.weighting,
            "vlb_weight": diffusion.vlb_weight,
            "levels": levels,
        }
        admitted = options_of(LOSSES[diffusion.loss])
        given = {k: v for k, v in options.items() if k in admitted}
        return make_loss(diffusion.loss, **given)

    def network_config(self) -> Any:
        """La configuración de la red; si pide una T y no se le da, es la del proceso."""
        config = NETWORKS[self.model.kind].config
        options = self.model.options
        if "timesteps" in {each.name for each in dataclasses.fields(config)}:
            options = {"timesteps": self.diffusion.timesteps} | options
        return build(config, options, "model.options")

    def build_model(self) -> nn.Module:
        """La red de la receta, con pesos nuevos sacados del generador global de PyTorch."""
        return NETWORKS[self.model.kind].network(self.network_config())

    def to_dict(self) -> dict[str, Any]:
        """La receta como diccionario de valores simples, apto para JSON y para TOML."""
        return dataclasses.asdict(self)


def _check(condition: bool, where: str, value: Any, expected: str) -> None:
    if not condition:
        raise ValueError(
            f"El valor «{where}» de la receta es {value!r}; debe ser {expected}."
        )
