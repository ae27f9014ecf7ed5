"""Entre dos líneas del registro nadie espera al dispositivo: ni por mirar ni por copiar.

Una GPU calcula por su cuenta mientras nadie le pregunte. Aquí hace sus veces el dispositivo
`meta`, que no tiene números (mirar uno es un error), con una guardia que además prohíbe copiar
tensores entre él y la CPU. El primer paso puede llevar tablas al dispositivo; los demás, no.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ddpm_lit.runs.steps as pieces
import ddpm_lit.runs.train as runs
import tiny
from ddpm_lit.backward import Denoiser
from ddpm_lit.conditioning import null_condition
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import repaint
from ddpm_lit.flow import PATHS, change_path, ddpm_velocity, integrate, karras_levels
from ddpm_lit.flow import heun as follow
from ddpm_lit.guidance import classifier_free, classifier_guided, dynamic_threshold
from ddpm_lit.improved import ImportanceSampler
from ddpm_lit.machine.processes import Processes
from ddpm_lit.networks.ema import EMA
from ddpm_lit.noise import sampling_noise
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.sampling import SAMPLERS, algorithm2, make_sampler
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import TrainStep

META = torch.device("meta")
SHAPE = (3, 8, 8)


class NoWaiting(TorchDispatchMode):
    """Falla si se mira un número del dispositivo, o si un tensor va o viene de la CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        device = [leaf for leaf in given if leaf.device.type != "cpu"]
        looks = func.overloadpacket in (
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.masked_select,
            torch.ops.aten.equal,
        )
        assert not (looks and device), f"{func} mira un número del dispositivo"
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == "cpu":
                assert not device, f"{func} trae un tensor del dispositivo"
            elif isinstance(leaf, Tensor):
                copied = [each for each in given if each.device.type == "cpu" and each.ndim > 0]
                assert not copied, f"{func} lleva un tensor al dispositivo"
        return result


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x + torch.ones(3).to(META),
    ],
    ids=["float", "bool", "tolist", "máscara", "cpu", "to"],
)
def test_the_guard_sees_who_waits(wait: Any) -> None:
    with (
        pytest.raises((AssertionError, RuntimeError, NotImplementedError)),
        NoWaiting(),
    ):
        wait(torch.zeros(3, device=META))


# --- Entrenar -----------------------------------------------------------------------------------


def importance(**training: Any) -> Recipe:
    table = tiny.digits(**training).to_dict()
    learned = {"variance": "learned_range", "loss": "hybrid", "timestep_sampling": "importance"}
    table["diffusion"] |= learned
    table["model"]["options"] |= {"out_channels": 2}
    return recipe_from_dict(table)


def weighted(**training: Any) -> Recipe:
    table = tiny.digits(**training).to_dict()
    table["diffusion"] |= {"weighting": "min_snr"}
    return recipe_from_dict(table)


RECIPES = {
    "dígitos": tiny.digits(condition_dropout=0.5),
    "puntos": tiny.toy(),
    "a trozos y recalculando": tiny.digits(accumulate=3, checkpoint_gradients=True),
    "importancia": importance(),
    "con pesos": weighted(),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_step_does_not_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Con todo lo que lleva alrededor: sorteos, condiciones que se apagan, recorte y EMA."""
    recipe = RECIPES[name]
    data = training_data(recipe)
    batch = {key: value.to(META) for key, value in data.batch(range(8)).items()}
    if "num_classes" not in recipe.model.options:
        batch.pop("class_labels", None)
    # Traer el lote es cosa de los datos, que tienen sus propios tests.
    monkeypatch.setattr(
        pieces, "load_batches", lambda _data, chosen, _device: (dict(batch) for _ in chosen)
    )
    state = runs._new_state(recipe, META, data.image_shape, None)
    steps = pieces.training_steps(recipe, data, state, Processes(META), 0, rough=False)

    def some(count: int) -> Iterator[TrainStep]:
        for step in islice(steps, count):
            state.ema.update(state.model)
            yield step

    list(some(1))
    with NoWaiting():
        taken = list(some(3))
    assert len(taken) == 3
    assert all(each.device == META for step in taken for each in step)


def test_the_loop_of_train_looks_at_nothing_between_log_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, state: TrainStep, ema: EMA) -> None:
        if done == 9:
            raise Stop

    def steps(*_: Any, **options: Any) -> Iterator[TrainStep]:
        while True:
            yield TrainStep(torch.zeros((), device=META), torch.zeros((), device=META))

    monkeypatch.setattr(runs, "training_steps", steps)
    with pytest.raises(Stop):
        runs.train(
            tiny.toy(),
            tmp_path,
            device="cpu",
            every=runs.Every(log=10, checkpoint=10),
            consumers=[stop],
        )


def test_the_table_of_importance_goes_where_the_losses_are() -> None:
    """Se va con el primer lote, y en float32: fuera de la CPU no siempre hay float64."""
    sampler = ImportanceSampler(20)
    t, losses = torch.zeros(4, dtype=torch.int64, device=META), torch.zeros(4, device=META)
    sampler.reweight(t, losses)
    with NoWaiting():
        assert sampler.reweight(t, losses).device == META
        assert sampler.probabilities().device == META
    assert sampler.losses.dtype == torch.float32


# --- Generar ------------------------------------------------------------------------------------


def network(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
    return x_t * t.view(-1, 1, 1, 1)


def doubled(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
    return torch.cat([x_t, x_t], dim=1)


def generated(denoise: Denoiser, sampler: str, **options: Any) -> int:
    noises = sampling_noise(0, range(4), SHAPE, META)
    states = algorithm2(denoise, next(noises), noises, make_sampler(sampler, **options))
    return len(list(states))


@pytest.mark.parametrize("variance", ["fixed_small", "learned_range"])
@pytest.mark.parametrize(
    ("sampler", "options"),
    [*((name, {}) for name in SAMPLERS), ("ddim", {"eta": 0.5})],
    ids=str,
)
def test_generating_does_not_wait(sampler: str, options: dict[str, float], variance: str) -> None:
    diffusion = Diffusion(make_schedule("cosine", 30), "v", variance, dynamic_threshold())
    model = doubled if diffusion.variance.learned else network
    guided = classifier_free(
        model, 2.0, null=null_condition, rescale=0.5, interval=(5, 20), channels=3
    )
    condition = {"scalars": torch.zeros(4, 1, device=META)}
    denoise = Denoiser(guided, diffusion.respaced(6), condition)
    generated(denoise, sampler, **options)
    with NoWaiting():
        assert generated(denoise, sampler, **options) == 6


def test_outside_the_interval_the_batch_is_not_doubled() -> None:
    """Aunque no se miren los t: quien genera sabe en qué instante está."""
    sizes: list[int] = []

    def model(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        sizes.append(len(x_t))
        return network(x_t, t)

    guided = classifier_free(model, 2.0, null=null_condition, interval=(5, 20))
    condition = {"scalars": torch.zeros(4, 1, device=META)}
    diffusion = Diffusion(make_schedule("linear", 30)).respaced(6)
    generated(Denoiser(guided, diffusion, condition), "ddpm")
    times = diffusion.schedule.timesteps.flip(0)
    assert sizes == [8 if 5 <= time <= 20 else 4 for time in times.tolist()]
    assert {4, 8} == set(sizes)


def test_a_classifier_does_not_make_it_wait() -> None:
    def log_prob(x_t: Tensor, t: Tensor) -> Tensor:
        return x_t.square().flatten(1).sum(dim=1)

    diffusion = Diffusion(make_schedule("linear", 30), "v")
    denoise = Denoiser(classifier_guided(network, log_prob, diffusion), diffusion.respaced(6))
    generated(denoise, "ddpm")
    with NoWaiting():
        assert generated(denoise, "ddpm") == 6


def test_following_a_velocity_does_not_wait() -> None:
    velocity = ddpm_velocity(network, Diffusion(make_schedule("linear", 30)), PATHS["rectified"])
    moved = change_path(velocity, PATHS["rectified"], PATHS["ve"])
    x, levels = torch.zeros(4, *SHAPE, device=META), karras_levels(5)

    def followed() -> int:
        return len(list(integrate(moved, x, levels, follow)))

    expected = followed()
    with NoWaiting():
        assert followed() == expected


def test_filling_a_hole_does_not_wait() -> None:
    denoise = Denoiser(network, Diffusion(make_schedule("linear", 30)).respaced(6))
    x = torch.zeros(4, *SHAPE, device=META)
    known = {"known": x, "mask": torch.ones_like(x)}

    def filled() -> int:
        noises = sampling_noise(0, range(4), SHAPE, META)
        return len(list(repaint(denoise, next(noises), noises, **known, jump=2, resamplings=2)))

    expected = filled()
    with NoWaiting():
        assert filled() == expected
