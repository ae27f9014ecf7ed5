"""Entrenar una receta de principio a fin, o retomarla donde se quedó."""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ddpm_lit.conditioning import carry_words
from ddpm_lit.data import DataDescription, Dataset, describe
from ddpm_lit.data.dataset import check_integer
from ddpm_lit.files.images import save_png
from ddpm_lit.improved import ImportanceSampler
from ddpm_lit.latent import fingerprint, load_autoencoder
from ddpm_lit.machine.devices import BFLOAT16, FLOAT32
from ddpm_lit.machine.memory import (
    keep_freed_memory,
    memory_layout,
    return_freed_memory,
)
from ddpm_lit.machine.processes import Processes, processes_for
from ddpm_lit.models.storage import save_trained
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.recipes.data import (
    check_classes,
    in_latent,
    training_data,
    with_text,
)
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.checkpoint import (
    CHECKPOINT,
    MODEL,
    State,
    load_checkpoint,
    save_checkpoint,
)
from ddpm_lit.runs.interruption import interruptions
from ddpm_lit.runs.log import Log, mean_loss
from ddpm_lit.runs.memory import check_same_data
from ddpm_lit.runs.pictures import drawable, sample_grid
from ddpm_lit.runs.steps import precision, training_steps
from ddpm_lit.training import TrainStep, recompute
from ddpm_lit.unet import BLOCKS

WORDS = "text_encoder.embedding.weight"
"""El parámetro que lleva un vector por palabra, en una red que lee texto."""


ENDS = ("conv_in.weight", "conv_out.weight", "conv_out.bias")
"""Lo que depende de los canales de lo que entra y de lo que sale."""

PIXELS = ("in_channels", "out_channels", "patch_size")
"""Las opciones de las que solo dependen `ENDS`."""


class Consumer(Protocol):
    """Quien quiera enterarse de cada paso: se le llama con los dados, el último y la EMA."""

    def __call__(self, done: int, state: TrainStep, ema: EMA) -> None:
        """Atiende un paso."""


@dataclass(frozen=True)
class Every:
    """Cada cuántos pasos se hace cada cosa.

    Args:
        log: apuntar la pérdida.
        checkpoint: guardar un checkpoint.
        sample: dibujar una rejilla de muestras; 0, nunca.

    Raises:
        ValueError: si alguno no es válido.
        TypeError: si alguno no es un entero.
    """

    log: int = 20
    checkpoint: int = 200
    sample: int = 0

    def __post_init__(self) -> None:
        check_integer("log", self.log, minimum=1)
        check_integer("checkpoint", self.checkpoint, minimum=1)
        check_integer("sample", self.sample, minimum=0)


def train(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    dataset: Dataset | None = None,
    weights: Trained | None = None,
    device: str | None = None,
    every: Every | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    consumers: Iterable[Consumer] = (),
) -> Trained:
    """Entrena una receta de principio a fin, o la continúa donde se quedó.

    Si en `run_dir` hay un checkpoint, se reanuda desde él: en la CPU el resultado es, bit a
    bit, el de un entrenamiento que no se hubiera parado. Con Ctrl-C se termina el paso en
    curso, se guarda un checkpoint y se sale con `KeyboardInterrupt`.

    En `run_dir` quedan `model.safetensors` (la EMA, al terminar), `checkpoint.safetensors`,
    `metrics.jsonl`, y si se piden `samples/` y los registros de TensorBoard.

    Args:
        recipe: qué entrenar.
        run_dir: carpeta del entrenamiento; se crea si no existe.
        dataset: los datos de entrenamiento; por defecto, los de la receta sin la parte
            apartada.
        weights: un modelo ya entrenado con la misma red, para partir de sus pesos en vez de
            empezar de cero; la procedencia del resultado cuenta los dos tramos. Si lee texto, sus
            palabras pueden ser otras: las que ya conocía conservan su vector. Y si lo que entra o
            sale no tiene los mismos canales, como al pasar de píxeles a latentes, la convolución
            que lo lee o lo escribe empieza de cero.
        device: dispositivo; `None` elige el mejor que haya.
        every: cada cuántos pasos se apunta, se guarda y se dibuja.
        tensorboard: si se escriben también registros de TensorBoard.
        progress: si se enseña una barra de progreso.
        consumers: funciones a las que se llama tras cada paso.

    Returns:
        El modelo entrenado (los pesos de la EMA).

    Raises:
        FloatingPointError: si la pérdida o el gradiente dejan de ser finitos; dice en qué
            paso, y el último checkpoint bueno se conserva.
        ValueError: si el checkpoint de `run_dir` es de otra receta, de otros datos o ya tiene
            más pasos; si hay un checkpoint y además se dan pesos de partida; si las clases de
            los datos no son las de la red, o las muestras que se piden no se pueden dibujar.
    """
    for name, value, kind in (
        ("recipe", recipe, Recipe),
        ("dataset", dataset, Dataset),
        ("weights", weights, Trained),
        ("every", every, Every),
    ):
        _check_kind(name, value, kind)
    every, run_dir = every or Every(), Path(run_dir).expanduser()
    processes = processes_for(device)
    _check_split(recipe, processes)
    where = processes.device
    if recipe.training.checkpoint_gradients:
        return_freed_memory()
    else:
        keep_freed_memory()
    data = dataset if dataset is not None else training_data(recipe)
    recipe, data = with_text(recipe, data)
    check_classes(recipe, data)
    if every.sample and not drawable(data.image_shape):
        raise ValueError(
            f"Los datos tienen forma {data.image_shape} y solo se dibujan imágenes (1 o "
            "3, alto, ancho) y puntos (2,): quita las muestras por el camino "
            "(every.sample = 0)."
        )
    provenance = _provenance(processes, weights)
    description = describe(data)
    if recipe.data.autoencoder is not None:
        autoencoder = load_autoencoder(recipe.data.autoencoder)
        provenance["autoencoder"] = fingerprint(autoencoder)
        data = in_latent(data, autoencoder)
    shape = data.image_shape
    state = _new_state(recipe, where, shape, weights)
    first_step = _resume(
        run_dir, state, recipe, description, weights, provenance
    )
    chosen = provenance.get("precision") or precision(
        recipe, data, state, where
    )
    rough = processes.any(chosen == BFLOAT16)
    provenance["precision"] = BFLOAT16 if rough else FLOAT32
    if processes.main:
        for leftover in run_dir.glob(".*.tmp.*"):
            leftover.unlink()

    def trained() -> Trained:
        return Trained(
            state.ema.model, recipe, shape, provenance, asdict(description)
        )

    def save(step: int, seconds: float) -> None:
        provenance.update(steps=step, seconds=round(seconds, 1))
        if not processes.main:
            return
        save_checkpoint(
            run_dir / CHECKPOINT,
            state,
            step=step,
            recipe=recipe,
            shape=shape,
            provenance=provenance,
            data=asdict(description),
        )

    total, batch_size = recipe.training.steps, recipe.training.batch_size
    steps = training_steps(
        recipe, data, state, processes, first_step, rough=rough
    )
    started = time.perf_counter() - provenance["seconds"]
    pending: list[TrainStep] = []
    with (
        interruptions() as interrupted,
        tqdm(
            total=total,
            initial=first_step,
            desc=recipe.name,
            unit="paso",
            disable=not (progress and processes.main),
        ) as bar,
        Log(run_dir, first_step, tensorboard)
        if processes.main
        else nullcontext() as log,
    ):
        for done, each in enumerate(steps, first_step + 1):
            state.ema.update(state.model)
            pending.append(each)
            for consumer in consumers:
                consumer(done, each, state.ema)
            bar.update()
            noted = done == total or done % every.log == 0
            # Varios procesos solo se preguntan si alguno se para cuando ya se esperan.
            asked = noted or processes.count == 1
            stopped = asked and processes.any(interrupted.is_set())
            keep = stopped or done == total or done % every.checkpoint == 0
            if keep or noted:
                seconds = time.perf_counter() - started
                loss = mean_loss(pending, done, run_dir)
                if log is not None:
                    rate = len(pending) * batch_size / max(log.lap(), 1e-9)
                    log.write(
                        done,
                        loss=loss,
                        grad_norm=float(each.grad_norm),
                        learning_rate=state.optimizer.param_groups[0]["lr"],
                        images_per_second=round(rate, 1),
                        seconds=round(seconds, 1),
                    )
                    bar.set_postfix_str(
                        f"pérdida {loss:.4f}, {rate:.0f} ejemplos/s"
                    )
                pending.clear()
            if keep:
                save(done, seconds)
            drawn = every.sample and done % every.sample == 0
            if drawn and processes.main:
                picture = sample_grid(
                    trained(), device=where, conditions=data.conditions
                )
                save_png(picture, run_dir / "samples" / f"{done:07d}.png")
            if stopped:
                processes.wait()
                raise KeyboardInterrupt(
                    f"Entrenamiento detenido tras el paso {done}. Se reanuda "
                    "con la misma orden: el checkpoint está en "
                    f"«{run_dir / CHECKPOINT}»."
                )
    finished = trained()
    if processes.main:
        save_trained(run_dir / MODEL, finished)
    processes.wait()
    return finished


def _check_kind(name: str, value: object, kind: type) -> None:
    """Cada argumento es un valor ya leído, no su nombre ni su ruta."""
    makers = {
        "recipe": 'load_recipe("swiss-roll")',
        "dataset": "Dataset(x)",
        "weights": 'load_model("model.safetensors")',
        "every": "Every(log=5)",
    }
    if not isinstance(value, kind) and (name == "recipe" or value is not None):
        raise TypeError(
            f"«{name}» es un {type(value).__name__} y debe ser un {kind.__name__}: por ejemplo, "
            f"{makers[name]}."
        )


def _check_split(recipe: Recipe, processes: Processes) -> None:
    """Comprueba que un entrenamiento se puede repartir entre los procesos que hay."""
    training, count = recipe.training, processes.count
    if training.batch_size < count * training.accumulate:
        raise ValueError(
            f"Un lote de {training.batch_size} ejemplos no se puede repartir entre {count} "
            f"procesos y {training.accumulate} trozos: agranda training.batch_size."
        )
    if count > 1 and recipe.diffusion.timestep_sampling == "importance":
        raise ValueError(
            "El muestreo por importancia recuerda las pérdidas de cada t, y cada proceso vería "
            "solo las suyas: entrena con un proceso, o con diffusion.timestep_sampling = «uniform»."
        )


def _new_state(
    recipe: Recipe,
    device: torch.device,
    shape: tuple[int, ...],
    weights: Trained | None,
) -> State:
    """La red recién creada, o con los pesos de otra, y lo que la acompaña."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = recipe.build_model()
    model = model.to(device, memory_format=memory_layout(shape))  # type: ignore[call-overload]
    if weights is not None:
        _start_from(model, recipe, weights)
    training = recipe.training
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    importance = (
        ImportanceSampler(recipe.diffusion.timesteps)
        if recipe.diffusion.timestep_sampling == "importance"
        else None
    )
    ema = EMA(model, training.ema_decay)
    if training.checkpoint_gradients:
        recompute(model, BLOCKS)
    return State(model.train(), ema, optimizer, importance)


def _resume(
    run_dir: Path,
    state: State,
    recipe: Recipe,
    description: DataDescription,
    weights: Trained | None,
    provenance: dict[str, Any],
) -> int:
    """Si hay un checkpoint, deja todo como estaba; devuelve los pasos que ya se habían dado."""
    path = run_dir / CHECKPOINT
    if not path.is_file():
        return 0
    if weights is not None:
        raise ValueError(
            f"En «{run_dir}» ya hay un checkpoint y se piden además pesos de "
            "partida, que no servirían de nada: entrena en otra carpeta, "
            "empieza de cero o no los pidas."
        )
    header = load_checkpoint(path, state, recipe)
    if header.step > recipe.training.steps:
        raise ValueError(
            f"El checkpoint de «{run_dir}» ya lleva {header.step} pasos y la "
            f"receta pide {recipe.training.steps}: pide más pasos o entrena en "
            "otra carpeta."
        )
    check_same_data(header.data, description, run_dir)
    if header.provenance.get("autoencoder") != provenance.get("autoencoder"):
        raise ValueError(
            f"El entrenamiento de «{run_dir}» empezó con otro autoencoder: los latentes ya no son "
            "los mismos. Devuélvelo a su sitio o entrena en otra carpeta."
        )
    provenance.update(
        seconds=header.provenance["seconds"],
        steps=header.step,
        continues=header.provenance.get("continues"),
    )
    if "precision" in header.provenance:
        provenance["precision"] = header.provenance["precision"]
    return header.step


def _start_from(
    model: torch.nn.Module, recipe: Recipe, weights: Trained
) -> None:
    """Deja en la red los pesos de otra igual, que puede conocer otras palabras y otros datos."""
    wanted, had = recipe.network_config(), weights.recipe.network_config()
    if _shape_of(wanted) != _shape_of(had):
        raise ValueError(
            f"La red de la receta «{recipe.name}» no es la de los pesos de "
            f"partida, que son de «{weights.recipe.name}»: solo se puede "
            "seguir desde una red igual."
        )
    own, state = model.state_dict(), dict(weights.model.state_dict())
    for name in ENDS:
        if name in state and state[name].shape != own[name].shape:
            state[name] = own[name]
    if WORDS in state and wanted.vocabulary != had.vocabulary:
        new = own[WORDS]
        state[WORDS] = carry_words(
            new, wanted.vocabulary, state[WORDS].to(new.device), had.vocabulary
        )
    model.load_state_dict(state)


def _shape_of(config: Any) -> dict[str, Any]:
    """Lo que una red tiene que compartir con otra para tomar sus pesos.

    El dropout no tiene pesos, así que cada tramo puede llevar el suyo; de las palabras que lee
    solo cuenta que las lea, y de los canales no dependen más que los extremos de la red.
    """
    values = vars(config)
    reads = bool(values.get("vocabulary"))
    free = dict.fromkeys((*PIXELS, "dropout"))
    return {**values, **free, "vocabulary": reads}


def _provenance(
    processes: Processes, weights: Trained | None
) -> dict[str, Any]:
    from ddpm_lit import __version__

    device = processes.device
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else device.type
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "processes": processes.count,
        "ddpm_lit": __version__,
        "torch": torch.__version__,
        "seconds": 0.0,
        "steps": 0,
        "continues": None if weights is None else weights.provenance,
    }
