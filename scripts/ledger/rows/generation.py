"""Generación."""

from typing import Any

import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser
from ddpm_lit.sampling import ancestral
from scripts.ledger.check import Row
from scripts.ledger.notation import array, package, tensor
from scripts.ledger.scope import Meaning, Scope
from scripts.ledger.world import World, affine


def step(scope: Scope) -> Any:
    """x_{t-1}, según `ancestral`."""
    world, t = scope.world, scope.number("t")
    x_t = scope.value_of(("x", t))

    def model(x: Tensor, index: Tensor) -> Any:
        return world.network(x, t)

    denoise = Denoiser(model, world.diffusion)
    noise = tensor(scope.value_of(("z", 0)))
    return array(ancestral(denoise, tensor(x_t), t - 1, iter([noise]))[0], x_t)


def without_noise(world: World) -> Meaning:
    """x_0 sin echar ruido, con la red perfecta de unos datos normales: `ancestral` con z = 0."""

    def generate(x: Tensor) -> Any:
        bar = world.schedule.sqrt_one_minus_alphas_cumprod
        denoise = Denoiser(lambda x, t: bar[t[0]] * x, world.diffusion)
        for index in reversed(range(world.T)):
            x, _ = ancestral(denoise, x, index, iter([torch.zeros_like(x)]))
        return x

    slope, _ = affine(generate, 1)
    return Meaning(variable=world.combination(("generado", 0), {("z", 0): slope}))


ROWS = {
    "generacion-algoritmo": Row({"x_t-1": Meaning(bare=step)}, source=package(ancestral)),
    "generacion-varianza": Row({"x_0": without_noise}, source=package(ancestral)),
}
