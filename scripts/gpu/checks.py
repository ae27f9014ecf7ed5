"""Las comprobaciones que solo tienen sentido en una GPU; el ensayo las hace en la CPU.

Cada una es una función de un dispositivo que devuelve lo que ha medido, o falla diciendo qué
esperaba. Las cotas son las de la precisión con que calcula cada una: en CUDA las convoluciones de
float32 usan TF32, con diez bits de mantisa.
"""

import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.jobs import NETWORKS
from benchmarks.records import save
from torch import Tensor, nn

from ddpm_lit.data import load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.machine.devices import in_bfloat16
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.noise import TrainingDraws
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.runs.train import Every, train
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import algorithm1, gradient_step
from ddpm_lit.unet import UNet, UNetConfig

Measured = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """Dónde se comprueba: `network` es la red, `side` su lado y `compiled`, si se compila."""

    device: str
    network: UNetConfig
    side: int
    batch: int
    compiled: bool


def where(device: str, *, dry: bool) -> Where:
    """En la tarjeta, la red de CIFAR-10 compilada; en el ensayo, una diminuta sin compilar."""
    config, side = NETWORKS["tiny" if dry else "cifar10"]
    return Where(device, config, side, 2 if dry else 16, compiled=not dry)


def random_network(place: Where, **how: Any) -> nn.Module:
    """La red con todos sus parámetros sorteados: ninguna rama nace nula."""
    model = UNet(place.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.to(place.device, **how)


def inputs(place: Where) -> tuple[Tensor, Tensor, Tensor]:
    """Unas imágenes, sus instantes y a qué deberían parecerse las respuestas."""
    generator = torch.Generator().manual_seed(1)
    shape = (place.batch, place.network.in_channels, place.side, place.side)
    x, target = (torch.randn(shape, generator=generator).to(place.device) for _ in range(2))
    t = torch.randint(1000, (place.batch,), generator=generator).to(place.device)
    return x, t, target


def expect(condition: bool, message: str) -> None:
    """Falla diciéndolo."""
    if not condition:
        raise AssertionError(message)


# --- La red ---------------------------------------------------------------------------------------


def strides(place: Where) -> Measured:
    """¿Sale en `channels_last` lo que entra en `channels_last`? GroupNorm ha fallado en CUDA."""
    lost: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            x = given[0]
            # Con un lado de 1 o un solo canal las dos disposiciones son la misma.
            if x.ndim == 4 and min(x.shape[1:]) > 1 and _is_last(x) and not _is_last(output):
                lost.append(name)

        return hook

    model = random_network(place, memory_format=torch.channels_last).eval()
    for name, module in model.named_modules():
        if isinstance(module, (nn.GroupNorm, nn.Conv2d)):
            module.register_forward_hook(note(name))
    x, t, _ = inputs(place)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        last = model(x, t)
        plain = random_network(place).eval()(x.contiguous(), t)
    error = _relative(last, plain)
    expect(error < 1e-2, f"channels_last cambia la respuesta en un {error:.2%}")
    return {"error": error, "lost": len(lost), "where": lost[:5]}


def gradients(place: Where) -> Measured:
    """Los gradientes en bfloat16, `channels_last` y compilados, frente a los de float32."""
    x, t, target = inputs(place)
    exact = random_network(place)
    with _without_tf32():
        torch.autograd.backward(F.mse_loss(exact(x, t), target))
    fast = random_network(place, memory_format=torch.channels_last)
    call: Callable[..., Tensor] = torch.compile(fast) if place.compiled else fast
    with torch.autocast(place.device, dtype=torch.bfloat16):
        output = call(x.contiguous(memory_format=torch.channels_last), t)
    torch.autograd.backward(F.mse_loss(output.float(), target))
    worst, name = max(
        (_relative(b.grad, a.grad), name)
        for (name, a), b in zip(exact.named_parameters(), fast.parameters(), strict=True)
        if a.grad is not None and b.grad is not None and float(a.grad.norm()) > 1e-6
    )
    expect(worst < 0.25, f"el gradiente de «{name}» se aparta un {worst:.0%} del de float32")
    whole = _relative(_flat_gradient(fast), _flat_gradient(exact))
    expect(whole < 0.05, f"el gradiente entero se aparta un {whole:.1%} del de float32")
    return {"worst": worst, "of": name, "whole": whole}


def compiled(place: Where) -> Measured:
    """La red compilada responde lo mismo que sin compilar."""
    model = random_network(place, memory_format=torch.channels_last).eval()
    x, t, _ = inputs(place)
    call = torch.compile(model) if place.compiled else model
    with torch.no_grad(), _without_tf32():
        error = _relative(call(x, t), model(x, t))
    expect(error < 1e-4, f"compilada responde otra cosa: un {error:.2e}")
    return {"error": error}


# --- Entrenar y generar ---------------------------------------------------------------------------


def waits(place: Where) -> Measured:
    """Un paso de entrenamiento no espera a la tarjeta."""
    model = random_network(place, memory_format=torch.channels_last)
    x, _, _ = inputs(place)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    steps = algorithm1(
        in_bfloat16(model),
        Diffusion(make_schedule("linear"), "epsilon", "fixed_large"),
        ({"x": x} for _ in range(8)),
        TrainingDraws(0),
        gradient_step(optimizer, clip=1.0),
    )
    losses = [each.loss for each in islice(steps, 2)]
    with _watching_waits(place.device) as seen:
        losses += [each.loss for each in islice(steps, 4)]
    values = [float(loss) for loss in losses]
    expect(all(math.isfinite(value) for value in values), f"pérdidas no finitas: {values}")
    told = sorted(set(seen))[:5]
    expect(not seen, f"en cuatro pasos se espera a la tarjeta {len(seen)} veces: {told}")
    return {"losses": values}


def unattended(place: Where) -> Measured:
    """Un entrenamiento entero no espera a la tarjeta entre dos líneas del registro."""
    recipe = load_recipe("digits-class", profile="smoke", overrides={"training.steps": 12})
    data, watch = load_dataset("digits").subset(range(64)), ExitStack()
    seen: list[str] = []

    def look(done: int, state: Any, ema: Any) -> None:
        nonlocal seen
        if done == 4:
            seen = watch.enter_context(_watching_waits(place.device))
        if done == 10:
            watch.close()

    with TemporaryDirectory() as folder, watch:
        every = Every(log=10**9, checkpoint=10**9)
        train(
            recipe,
            folder,
            dataset=data,
            device=place.device,
            every=every,
            progress=False,
            consumers=[look],
        )
    told = sorted(set(seen))[:5]
    expect(not seen, f"en seis pasos se espera a la tarjeta {len(seen)} veces: {told}")
    return {}


def noise(place: Where) -> Measured:
    """El ruido de la tarjeta es el de la CPU: los t iguales y las normales, hasta el redondeo."""
    x = torch.zeros(64, 3, 8, 8)
    (t, here), (t_there, there) = (
        TrainingDraws(5, step=7)(x.to(device), 1000) for device in ("cpu", place.device)
    )
    expect(bool((t == t_there.cpu()).all()), "los instantes no son los mismos que en la CPU")
    error = float((here - there.cpu()).abs().max())
    expect(error < 1e-4, f"el ruido se aparta {error:.1e} del de la CPU")
    return {"error": error}


def resuming(place: Where) -> Measured:
    """Un entrenamiento cortado y reanudado acaba como uno que no se cortó."""
    recipe = load_recipe("digits-class", profile="smoke", overrides={"training.steps": 6})
    every, data = Every(checkpoint=3), load_dataset("digits").subset(range(64))

    def stop(done: int, state: Any, ema: Any) -> None:
        if done == 4:
            raise KeyboardInterrupt

    def run(folder: Path, **more: Any) -> Tensor:
        trained = train(
            recipe, folder, dataset=data, device=place.device, every=every, progress=False, **more
        )
        return _flat(trained.model.parameters())

    with TemporaryDirectory() as folder:
        whole = run(Path(folder) / "entero")
        with suppress(KeyboardInterrupt):
            run(Path(folder) / "cortado", consumers=[stop])
        resumed = run(Path(folder) / "cortado")
    error = float((whole - resumed).abs().max())
    limit = 0.0 if place.device == "cpu" else 1e-4
    expect(error <= limit, f"reanudar cambia los pesos en {error:.1e}")
    return {"error": error}


def sampling(place: Where) -> Measured:
    """Las imágenes de una semilla son las de la CPU, con el error que se dice."""
    options: dict[str, Any] = {"seed": 0, "sampler": "ddim", "steps": 10}
    model = load_pretrained("digits-ink")
    expected = model.sample(8, device="cpu", **options)
    error = (model.sample(8, device=place.device, **options) - expected).abs()
    largest, mean = float(error.max()), float(error.mean())
    expect(mean < 1e-2, f"las imágenes se apartan de las de la CPU {mean:.1e} de media")
    rough = model.sample(8, device=place.device, precision="bfloat16", **options)
    return {
        "largest": largest,
        "mean": mean,
        "bfloat16": float((rough - expected).abs().mean()),
    }


def graphs(place: Where) -> Measured:
    """Grabada y repetida, la red da las mismas imágenes; con texto, guía y un lote incompleto."""
    model = load_pretrained("openmoji-texto")
    steps = 2 if place.device == "cpu" else 50
    options: dict[str, Any] = {"text": "corazón verde", "steps": steps, "batch_size": 4}
    found, seconds = [], []
    for recorded in (False, True):
        # La primera vez se preparan los algoritmos.
        for _ in range(2):
            started = time.perf_counter()
            images = model.sample(6, device=place.device, cuda_graph=recorded, **options)
            taken = time.perf_counter() - started
        found.append(images)
        seconds.append(taken)
    error = float((found[1] - found[0]).abs().max())
    expect(error < 1e-3, f"repetida, la red da otras imágenes: se apartan hasta {error:.1e}")
    return {"largest": error, "seconds": seconds[0], "recorded": seconds[1]}


CHECKS: dict[str, Callable[[Where], Measured]] = {
    check.__name__: check
    for check in (
        strides,
        gradients,
        compiled,
        waits,
        unattended,
        noise,
        resuming,
        sampling,
        graphs,
    )
}
"""Las comprobaciones, por su nombre."""


def main(folder: Path, device: str, *, dry: bool = False) -> int:
    """Hace todas y las deja en `checks.json`; una que falla no detiene a las demás."""
    place = where(device, dry=dry)
    done: dict[str, Any] = {}
    failed = 0
    for name, check in CHECKS.items():
        try:
            done[name] = {"passed": True, **check(place)}
        except Exception as error:
            failed += 1
            told = traceback.format_exc(limit=-3)
            done[name] = {"passed": False, "error": str(error), "traceback": told}
        print(f"{name}: {done[name]}", flush=True)
        save("checks", done, folder)
    return 1 if failed else 0


# --- Las piezas -----------------------------------------------------------------------------------


def _is_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def _flat(tensors: Iterator[Tensor]) -> Tensor:
    return torch.cat([each.detach().float().cpu().flatten() for each in tensors])


def _flat_gradient(model: nn.Module) -> Tensor:
    return _flat(p.grad for p in model.parameters() if p.grad is not None)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Las convoluciones y los productos de CUDA, en float32 entero."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def _watching_waits(device: str) -> Iterator[list[str]]:
    """Apunta cada vez que la CPU espera a la tarjeta."""
    seen: list[str] = []
    if device != "cuda":
        yield seen
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield seen
        seen += [str(each.message).splitlines()[0] for each in caught]
    finally:
        torch.cuda.set_sync_debug_mode("default")
