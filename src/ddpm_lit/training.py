r"""Entrenamiento: el Algoritmo 1 de Ho et al. (2020, arXiv:2006.11239).

`algorithm1` es el bucle del artículo, escrito como un generador: da un paso de
gradiente y entrega la pérdida. Todo lo demás (EMA, barra de progreso, registro, muestras
por el camino, checkpoints, reanudar) lo hace `train`, que lo consume.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ddpm_lit.conditioning import (
    build_vocabulary,
    drop_condition,
    null_condition,
    tokenize,
)
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data.conditions import conditioned
from ddpm_lit.data.dataset import check_integer
from ddpm_lit.files.images import grid, points_image, save_png
from ddpm_lit.forward import q_sample
from ddpm_lit.improved import ImportanceSampler, Loss, make_loss
from ddpm_lit.losses import simple_loss
from ddpm_lit.machine.devices import autocast, choose_device
from ddpm_lit.models.storage import (
    Trained,
    load_checkpoint,
    save_checkpoint,
    save_model,
    write_atomically,
)
from ddpm_lit.networks.ema import EMA
from ddpm_lit.noise import (
    Stream,
    batch_indices,
    condition_draws,
    keyed_generator,
    training_draws,
)
from ddpm_lit.recipes.recipe import Recipe, TrainingConfig
from ddpm_lit.scheduler import Schedule

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
METRICS = "metrics.jsonl"


class TrainStep(NamedTuple):
    """Lo que deja un paso de entrenamiento.

    `step` es su número, desde 0; `loss` y `grad_norm` (la norma del gradiente antes de
    recortarlo) son escalares en el dispositivo de la red.
    """

    step: int
    loss: Tensor
    grad_norm: Tensor


def algorithm1(
    model: Callable[..., Tensor],
    schedule: Schedule,
    batches: Iterable[Mapping[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    prediction: str = "epsilon",
    weighting: str = "uniform",
    variance: str = "fixed_large",
    objective: Loss = simple_loss,
    importance: ImportanceSampler | None = None,
    seed: int = 0,
    first_step: int = 0,
    condition_dropout: float = 0.0,
    num_classes: int | None = None,
    grad_clip: float = 0.0,
    amp: bool = False,
) -> Iterator[TrainStep]:
    r"""Algoritmo 1: se repite, hasta que se acaban los lotes, un paso de gradiente.

    $$x_0 \sim q, \quad t \sim \mathcal{U}\{1, \dots, T\}, \quad
    \epsilon \sim \mathcal{N}(0, I), \qquad
    \nabla_\theta \left\lVert \epsilon - \epsilon_\theta\!\left(\sqrt{\bar\alpha_t}\,x_0
    + \sqrt{1-\bar\alpha_t}\,\epsilon,\ t\right)\right\rVert^2$$

    Args:
        model: la red, `model(x_t, t, **condition)`.
        schedule: las varianzas $\beta_t$.
        batches: lotes `{"x": x_0, …}` ya en el dispositivo de la red; lo que no es `"x"` se
            pasa a la red por su nombre.
        optimizer: el optimizador de los parámetros de `model`.
        prediction: qué predice la red.
        weighting: el peso $w(t)$ de la pérdida.
        variance: qué varianza lleva el paso atrás, si la pérdida la usa.
        objective: la pérdida, por ejemplo (véase `ddpm_lit.improved.make_loss`); por defecto,
            la del artículo.
        importance: de dónde se sacan los $t$ si no son uniformes; aprende de cada paso.
        seed: semilla de $t$, de $\epsilon$ y del *dropout*.
        first_step: número del primer paso (al reanudar, los que ya se dieron).
        condition_dropout: probabilidad de apagar la condición de cada ejemplo.
        num_classes: cuántas clases conoce la red, si las conoce.
        grad_clip: norma máxima del gradiente; 0 no lo recorta.
        amp: precisión mixta bfloat16, si los datos están en CUDA.

    Yields:
        Un `TrainStep` por lote, después de actualizar los parámetros.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for step, batch in enumerate(batches, start=first_step):
        x_0 = batch["x"]
        condition = {name: value for name, value in batch.items() if name != "x"}
        torch.manual_seed(int(keyed_generator(seed, Stream.LAYERS, step).integers(2**63)))
        probabilities = importance.probabilities() if importance is not None else None
        t, noise = training_draws(
            seed, step, range(len(x_0)), x_0.shape[1:], len(schedule), probabilities
        )
        original_t = schedule.timesteps[t].to(x_0.device)
        t, noise = t.to(x_0.device), noise.to(x_0.device)
        if condition_dropout > 0:
            dropped = condition_draws(seed, step, range(len(x_0))) < condition_dropout
            null = null_condition(condition, num_classes)
            condition = drop_condition(condition, null, dropped.to(x_0.device))

        with autocast(x_0.device, amp):
            output = model(q_sample(schedule, x_0, t, noise), original_t, **condition)
        losses = objective(
            schedule,
            output,
            x_0,
            noise,
            t,
            prediction=prediction,
            weighting=weighting,
            variance=variance,
        )
        if importance is not None:
            losses = importance.reweight(t, losses)
        loss = losses.mean()

        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = nn.utils.clip_grad_norm_(parameters, grad_clip or math.inf)
        optimizer.step()
        yield TrainStep(step, loss.detach(), grad_norm.detach())


def learning_rate(step: int, config: TrainingConfig) -> float:
    """La tasa de aprendizaje del paso `step` (desde 0): calentamiento y decaimiento.

    Sube en línea recta durante `warmup_steps` y después se queda (`"constant"`) o baja
    hasta 0 al final del entrenamiento, en línea recta o en media onda de coseno.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    remaining = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
    }[config.decay]
    return config.learning_rate * remaining


class Consumer(Protocol):
    """Quien quiera enterarse de cada paso: se le llama con el paso y con la EMA."""

    def __call__(self, state: TrainStep, ema: EMA) -> None:
        """Atiende un paso."""


def train(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    dataset: Dataset | None = None,
    weights: Trained | None = None,
    device: str | None = None,
    log_every: int = 20,
    checkpoint_every: int = 200,
    sample_every: int = 0,
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
            empezar de cero; la procedencia del resultado cuenta los dos tramos.
        device: dispositivo; `None` elige el mejor que haya.
        log_every: cada cuántos pasos se registra la pérdida.
        checkpoint_every: cada cuántos pasos se guarda un checkpoint.
        sample_every: cada cuántos pasos se dibuja una rejilla de muestras; 0, nunca.
        tensorboard: si se escriben también registros de TensorBoard.
        progress: si se enseña una barra de progreso.
        consumers: funciones a las que se llama tras cada paso.

    Returns:
        El modelo entrenado (los pesos de la EMA).

    Raises:
        FloatingPointError: si la pérdida o el gradiente dejan de ser finitos; dice en qué
            paso, y el último checkpoint bueno se conserva.
        ValueError: si el checkpoint de `run_dir` es de otra receta o ya tiene más pasos, las
            clases de los datos no son las de la red, o una frecuencia no es válida.
    """
    check_integer("log_every", log_every, minimum=1)
    check_integer("checkpoint_every", checkpoint_every, minimum=1)
    check_integer("sample_every", sample_every, minimum=0)
    run_dir = Path(run_dir)
    where = choose_device(device)
    data = dataset if dataset is not None else training_data(recipe)
    recipe, data = with_text(recipe, data)
    _check_classes(recipe, data)
    shape = tuple(data.x.shape[1:])
    layout = torch.channels_last if len(shape) == 3 else torch.preserve_format

    torch.manual_seed(recipe.seed)
    model = recipe.build_model().to(where, memory_format=layout)  # type: ignore[call-overload]
    if weights is not None:
        _start_from(model, recipe, weights)
    ema = EMA(model, recipe.training.ema_decay)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.training.learning_rate,
        betas=recipe.training.betas,
        weight_decay=recipe.training.weight_decay,
        fused=where.type in ("cpu", "cuda"),
    )
    importance = (
        ImportanceSampler(recipe.diffusion.timesteps)
        if recipe.diffusion.timestep_sampling == "importance"
        else None
    )
    first_step, provenance = 0, _provenance(where, weights)
    if (run_dir / CHECKPOINT).is_file():
        first_step, saved = load_checkpoint(
            run_dir / CHECKPOINT,
            model=model,
            ema=ema,
            optimizer=optimizer,
            recipe=recipe,
            importance=importance,
        )
        if first_step > recipe.training.steps:
            raise ValueError(
                f"El checkpoint de «{run_dir}» ya lleva {first_step} pasos y la receta pide "
                f"{recipe.training.steps}: pide más pasos o entrena en otra carpeta."
            )
        provenance.update(seconds=saved["seconds"], steps=first_step)
    for leftover in run_dir.glob(".*.tmp.*"):
        leftover.unlink()
    logger = _Logger(run_dir, first_step, tensorboard)

    def save(step: int, seconds: float) -> None:
        provenance.update(steps=step, seconds=round(seconds, 1))
        save_checkpoint(
            run_dir / CHECKPOINT,
            model=model,
            ema=ema,
            optimizer=optimizer,
            step=step,
            recipe=recipe,
            shape=shape,
            provenance=provenance,
            importance=importance,
        )

    def batches() -> Iterator[dict[str, Tensor]]:
        for step in range(first_step, recipe.training.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe.training)
            chosen = batch_indices(len(data), recipe.training.batch_size, recipe.seed, step)
            batch = {name: value.to(where) for name, value in data.batch(chosen).items()}
            batch["x"] = batch["x"].contiguous(memory_format=layout)
            if recipe.model.options.get("num_classes") is None:
                batch.pop("class_labels", None)
            yield batch

    steps = algorithm1(
        model.train(),
        recipe.schedule(),
        batches(),
        optimizer,
        prediction=recipe.diffusion.prediction,
        weighting=recipe.diffusion.weighting,
        variance=recipe.diffusion.variance,
        objective=make_loss(
            recipe.diffusion.loss, levels=data.levels, vlb_weight=recipe.diffusion.vlb_weight
        ),
        importance=importance,
        seed=recipe.seed,
        first_step=first_step,
        condition_dropout=recipe.training.condition_dropout,
        num_classes=recipe.model.options.get("num_classes"),
        grad_clip=recipe.training.grad_clip,
        amp=recipe.training.amp,
    )
    started = time.perf_counter() - provenance["seconds"]
    pending: list[TrainStep] = []
    done = first_step
    with (
        _interruptions() as interrupted,
        tqdm(
            total=recipe.training.steps,
            initial=first_step,
            desc=recipe.name,
            unit="paso",
            disable=not progress,
        ) as bar,
        logger,
    ):
        for state in steps:
            ema.update(model)
            pending.append(state)
            done = state.step + 1
            for consumer in consumers:
                consumer(state, ema)
            bar.update()
            last = done == recipe.training.steps or interrupted.is_set()
            keep = last or done % checkpoint_every == 0
            if keep or done % log_every == 0:
                seconds = time.perf_counter() - started
                rate = len(pending) * recipe.training.batch_size / max(logger.lap(), 1e-9)
                loss = _mean_loss(pending, run_dir)
                logger.write(
                    done,
                    loss=loss,
                    grad_norm=float(pending[-1].grad_norm),
                    learning_rate=optimizer.param_groups[0]["lr"],
                    images_per_second=round(rate, 1),
                    seconds=round(seconds, 1),
                )
                bar.set_postfix_str(f"pérdida {loss:.4f}, {rate:.0f} ejemplos/s")
                pending.clear()
            if keep:
                save(done, seconds)
            if sample_every and done % sample_every == 0:
                trained = Trained(ema.model, recipe, shape, provenance)
                picture = sample_grid(trained, device=where, conditions=data.conditions)
                save_png(picture, run_dir / "samples" / f"{done:07d}.png")
            if interrupted.is_set():
                raise KeyboardInterrupt(
                    f"Entrenamiento detenido tras el paso {done}. Se reanuda con la misma orden: "
                    f"el checkpoint está en «{run_dir / CHECKPOINT}»."
                )
    if not (run_dir / CHECKPOINT).is_file():
        save(done, time.perf_counter() - started)
    save_model(run_dir / MODEL, ema.model, recipe, shape, provenance)
    return Trained(ema.model, recipe, shape, provenance)


def training_data(recipe: Recipe) -> Dataset:
    """Los datos con que se entrena una receta, con sus condiciones y sin la parte apartada."""
    dataset = load_dataset(recipe.data.name, **recipe.data.options)
    dataset = conditioned(dataset, recipe.data.conditions)
    if recipe.data.held_out == 0:
        return dataset
    return split(dataset, recipe.data.held_out, recipe.data.split_seed)[0]


def with_text(recipe: Recipe, data: Dataset) -> tuple[Recipe, Dataset]:
    """Prepara el texto, si la receta lo pide: el vocabulario de la red y los tokens de los datos.

    Si la receta no trae vocabulario, es el de las descripciones de los datos. Si no pide texto,
    todo queda como estaba.

    Raises:
        ValueError: si los datos no tienen descripciones, o la red no puede leerlas.
    """
    if not recipe.data.conditions.get("text"):
        return recipe, data
    if not data.captions:
        raise ValueError(
            f"La receta «{recipe.name}» pide texto y los datos «{recipe.data.name}» no tienen "
            "descripciones: usa «openmoji» o quita data.conditions.text."
        )
    options = {"vocabulary": build_vocabulary(data.captions)} | recipe.model.options
    recipe = replace(recipe, model=replace(recipe.model, options=options))
    length = getattr(recipe.network_config(), "text_length", None)
    if length is None:
        raise ValueError(f"La red de la receta «{recipe.name}» no lee texto: usa una «unet».")
    tokens = tokenize(data.captions, options["vocabulary"], length)
    return recipe, replace(data, conditions={**data.conditions, "tokens": tokens})


def sample_grid(
    trained: Trained,
    *,
    device: torch.device,
    count: int = 25,
    conditions: Mapping[str, Tensor] | None = None,
) -> Any:
    """Una rejilla de muestras en 50 pasos, para ver cómo va un entrenamiento.

    Si la red conoce clases, las recorre en orden; si recibe una imagen o unos números, son los
    de los primeros datos (`conditions`). Con datos que son puntos del plano, la imagen es la
    nube de 2 000 puntos.
    """
    points = len(trained.shape) == 1
    total = 2000 if points else count
    given = {
        name: value[torch.arange(total) % len(value)]
        for name, value in (conditions or {}).items()
        if name in ("image", "scalars")
    }
    samples = trained.sample(
        total,
        **given,  # type: ignore[arg-type]
        device=device,
        steps=min(50, len(trained.schedule)),
        batch_size=total,
    )
    return points_image(samples) if points else grid(samples, columns=int(count**0.5))


class _Logger:
    """Escribe las métricas en JSON por líneas y, si se pide, en TensorBoard."""

    def __init__(self, run_dir: Path, first_step: int, tensorboard: bool) -> None:
        self.path = run_dir / METRICS
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        kept = [line for line in lines if _logged_step(line) <= first_step]
        write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())
        self._file = self.path.open("a", encoding="utf-8")
        self._writer: Any = _tensorboard_writer(run_dir, first_step) if tensorboard else None
        self._lap = time.perf_counter()

    def __enter__(self) -> "_Logger":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._writer is not None:
            self._writer.close()

    def lap(self) -> float:
        """Los segundos desde la última vez que se preguntó."""
        now = time.perf_counter()
        elapsed, self._lap = now - self._lap, now
        return elapsed

    def write(self, step: int, **metrics: float) -> None:
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)


def _logged_step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf


def _tensorboard_writer(run_dir: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "Para escribir registros de TensorBoard falta instalarlo: "
            'pip install "ddpm_lit[tensorboard]".'
        ) from error
    return SummaryWriter(run_dir / "tensorboard", purge_step=first_step)


def _check_classes(recipe: Recipe, data: Dataset) -> None:
    classes = recipe.model.options.get("num_classes")
    if classes is None:
        return
    if data.labels is None:
        raise ValueError(
            f"La red de la receta «{recipe.name}» conoce {classes} clases y los datos no las "
            "tienen: usa otros datos o quita model.options.num_classes."
        )
    largest = int(data.labels.max())
    if largest >= classes:
        raise ValueError(
            f"La red de la receta «{recipe.name}» conoce las clases de 0 a {classes - 1} y en los "
            f"datos está la {largest}: pon model.options.num_classes = {data.num_classes}."
        )


def _mean_loss(states: list[TrainStep], run_dir: Path) -> float:
    """La pérdida media desde el último registro, si todos los pasos han sido finitos.

    También se mira el gradiente: con una pérdida finita, uno que no lo es estropea los pesos.
    """
    losses = torch.stack([state.loss for state in states]).cpu()
    norms = torch.stack([state.grad_norm for state in states]).cpu()
    for state, loss, norm in zip(states, losses.tolist(), norms.tolist(), strict=True):
        if not math.isfinite(loss + norm):
            what, value = ("El gradiente", norm) if math.isfinite(loss) else ("La pérdida", loss)
            checkpoint = run_dir / CHECKPOINT
            kept = (
                f"El último checkpoint bueno sigue en «{checkpoint}»."
                if checkpoint.is_file()
                else "Todavía no había ningún checkpoint."
            )
            raise FloatingPointError(
                f"{what} del paso {state.step + 1} deja de ser un número finito ({value}). {kept} "
                "Prueba con una tasa de aprendizaje menor (training.learning_rate) o más "
                "calentamiento (training.warmup_steps)."
            )
    return float(losses.mean())


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Convierte Ctrl-C en una señal que se atiende al acabar el paso en curso.

    El segundo Ctrl-C ya no espera.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(*_: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)


def _start_from(model: nn.Module, recipe: Recipe, weights: Trained) -> None:
    if recipe.network_config() != weights.recipe.network_config():
        raise ValueError(
            f"La red de la receta «{recipe.name}» no es la de los pesos de partida, que son de "
            f"«{weights.recipe.name}»: solo se puede seguir desde una red igual."
        )
    model.load_state_dict(weights.model.state_dict())


def _provenance(device: torch.device, weights: Trained | None) -> dict[str, Any]:
    from ddpm_lit import __version__

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "ddpm_lit": __version__,
        "torch": torch.__version__,
        "seconds": 0.0,
        "steps": 0,
        "continues": None if weights is None else weights.provenance,
    }
