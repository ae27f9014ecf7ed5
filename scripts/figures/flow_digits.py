"""Flow matching y EDM en los dígitos, al lado de DDPM: la misma U-Net y los mismos pasos."""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ddpm_lit.diffusion import Diffusion
from ddpm_lit.evaluation.metrics import (
    Gaussian,
    SmallClassifier,
    features,
    frechet_distance,
    gaussian,
)
from ddpm_lit.flow import (
    ddpm_velocity,
    edm_weight,
    euler,
    flow_matching,
    heun,
    integrate,
    log_normal,
    preconditioned,
)
from ddpm_lit.networks.ema import EMA
from ddpm_lit.noise import TrainingDraws, batches_of_indices, sampling_noise
from ddpm_lit.training import algorithm1, gradient_step
from ddpm_lit.unet import UNet, UNetConfig
from scripts.build import models
from scripts.figures.flow import (
    COSINE,
    RECTIFIED,
    VE,
    Contender,
    draw_calls,
    even_times,
    index_times,
    rho_times,
    steps_for,
)
from scripts.figures.mosaic import image_rows
from scripts.figures.style import Palette, canvas
from scripts.site.project import profile

INPUTS = ("classifier",)
SMOKE = profile() == "smoke"
STEPS = 4 if SMOKE else 300
BATCH = 64
MADE = 80 if SMOKE else 300
CALLS = (5, 9) if SMOKE else (5, 9, 15, 25)
SHAPE = (1, 8, 8)
CONFIG = UNetConfig(
    in_channels=1,
    block_out_channels=(16, 32),
    layers_per_block=1,
    attention=(False, False),
    norm_num_groups=8,
)
METHODS = {
    "epsilon": r"DDPM, $\epsilon$",
    "v": "DDPM, $v$",
    "rectified": "rectificado",
    "rectified-middle": r"rect., $\tau$ de en medio",
    "edm": "EDM",
}


# --- Entrenar -------------------------------------------------------------------------------------


def told(network: nn.Module, angle: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """La red, a la que el nivel se le dice siempre igual: su ángulo, de 0 a 1000.

    Con el schedule coseno es casi el índice de DDPM, que tampoco cambia.

    Args:
        network: la U-Net.
        angle: del reloj del método al ángulo.
    """

    def call(x: Tensor, clock: Tensor) -> Tensor:
        answer: Tensor = network(x, 1000 / (math.pi / 2) * angle(clock))
        return answer

    return call


def angle_of_noise(noise: Tensor) -> Tensor:
    r"""El ángulo de un nivel de EDM, que dice $\tfrac14\ln\sigma$."""
    return (4 * noise).exp().atan()


def middle(u: Tensor) -> Tensor:
    r"""Los $\tau$ de en medio más a menudo: la logística de una normal (Esser et al. 2024)."""
    normal: Tensor = torch.special.ndtri(u)
    return normal.sigmoid()


@lru_cache
def digits() -> Tensor:
    return models.digits_split()[0].x


@lru_cache
def trained(method: str, seed: int) -> Contender:
    """Los mismos pasos, lotes, ruidos y pesos iniciales para todos."""
    torch.manual_seed(seed)
    network = UNet(CONFIG)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    ema, spread = EMA(network, 0.99), float(digits().std())
    rows = batches_of_indices(len(digits()), BATCH, seed)
    batches = ({"x": digits()[next(rows)]} for _ in range(STEPS))
    draw, descend = TrainingDraws(seed), gradient_step(optimizer)
    if method in ("epsilon", "v"):
        diffusion = Diffusion(COSINE, method, clip=False)
        loop = algorithm1(network, diffusion, batches, draw, descend)
        velocity = ddpm_velocity(ema.model, diffusion, RECTIFIED)
        contender = Contender(velocity, RECTIFIED, index_times, euler)
    elif method == "edm":
        own, kept = (
            preconditioned(told(each, angle_of_noise), spread) for each in (network, ema.model)
        )
        weight = partial(edm_weight, sigma_data=spread)
        loop = flow_matching(own, VE, batches, draw, descend, log_normal, weight)
        contender = Contender(kept, VE, partial(rho_times, 7.0), heun)
    else:
        own, kept = (told(each, RECTIFIED.angle) for each in (network, ema.model))
        levels = middle if method == "rectified-middle" else None
        loop = flow_matching(own, RECTIFIED, batches, draw, descend, levels)
        contender = Contender(kept, RECTIFIED, partial(even_times, RECTIFIED), euler)
    for _ in loop:
        decay.step()
        ema.update(network)
    return contender


# --- Medir ----------------------------------------------------------------------------------------


@lru_cache
def made(method: str, seed: int, calls: int) -> Tensor:
    """Muestras de un método a su manera, con los píxeles entre -1 y 1."""
    velocity, path, times, step, _ = trained(method, seed)
    walked = times(steps_for(step, calls))
    there = path.curve(walked[:1].float())
    unit = next(sampling_noise(2, range(MADE), SHAPE))
    *_, end = integrate(velocity, unit * torch.hypot(there.alpha, there.sigma), walked, step)
    return end.x.clamp(-1, 1)


@lru_cache
def classifier() -> SmallClassifier:
    return models.load_classifier()


@lru_cache
def real() -> Gaussian:
    return gaussian(features(classifier(), digits()))


def frechet(x: Tensor) -> float:
    """La distancia de Fréchet hasta los dígitos del entrenamiento."""
    return frechet_distance(features(classifier(), x), real())


def draw_digits(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=4.2)
    new_digits = frechet(models.digits_split()[1].x)
    draw_calls(
        panel,
        palette,
        CALLS,
        METHODS,
        lambda method, seed, calls: frechet(made(method, seed, calls)),
        ("dígitos nuevos", new_digits),
    )
    panel.set_yticks((0.3, 1, 3, 10, 30), ("0,3", "1", "3", "10", "30"))
    panel.set_ylabel("distancia de Fréchet")
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


SEEN_CALLS = 9
SEEN = 12


def draw_samples(palette: Palette) -> Figure:
    rows = {label: made(method, 0, SEEN_CALLS)[:SEEN] for method, label in METHODS.items()}
    return image_rows(rows, label_width=2.4)


FIGURES = {"flujos-digitos": draw_digits, "flujos-digitos-muestras": draw_samples}
