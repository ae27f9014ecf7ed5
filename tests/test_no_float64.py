"""El float64 vive en la CPU: en un dispositivo que no lo tiene, nada lo pide.

Apple Silicon (MPS) rechaza los tensores float64. Aquí hace sus veces el dispositivo `meta`, que
solo lleva cuenta de formas y tipos, con una guardia que mira cada operación.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm_lit.backward import Denoiser
from ddpm_lit.conditioning import null_condition
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import repaint, sdedit
from ddpm_lit.flow import (
    PATHS,
    change_path,
    ddpm_velocity,
    flow_matching,
    heun,
    integrate,
    log_normal,
)
from ddpm_lit.flow import Path as FlowPath
from ddpm_lit.guidance import classifier_free, classifier_guided, dynamic_threshold
from ddpm_lit.improved import LOSSES, ImportanceSampler, make_loss
from ddpm_lit.losses import WEIGHTINGS, simple_loss, variational_bound
from ddpm_lit.noise import TrainingDraws
from ddpm_lit.parametrisation import PARAMETRISATIONS, convert
from ddpm_lit.sampling import SAMPLERS, algorithm2, make_sampler
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.score import annealed_langevin, score_matching_error, score_matching_floor
from ddpm_lit.training import algorithm1
from ddpm_lit.variance import VARIANCES

SOURCES = sorted((Path(__file__).resolve().parents[1] / "src" / "ddpm_lit").rglob("*.py"))
SCHEDULE = make_schedule("linear", 30)
META = torch.device("meta")
X = torch.zeros(4, 3, 8, 8, device=META)
T = torch.zeros(4, dtype=torch.int64, device=META)


class NoFloat64(TorchDispatchMode):
    """Falla en cuanto un tensor float64 sale de la CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.dtype == torch.float64:
                assert leaf.device.type == "cpu", f"{func} usa float64 en {leaf.device}"
        return result


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    with NoFloat64():
        yield


def model(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
    return x_t * t.view(-1, 1, 1, 1)


def doubled(x_t: Tensor, t: Tensor) -> Tensor:
    return torch.cat([x_t, x_t], dim=1)


def noises() -> Iterator[Tensor]:
    while True:
        yield torch.empty_like(X)


def test_the_guard_sees_float64() -> None:
    with pytest.raises(AssertionError, match="float64"):
        X.double()


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_weighting_of_every_prediction(prediction: str, weighting: str) -> None:
    diffusion = Diffusion(SCHEDULE, prediction, "fixed_large")
    assert simple_loss(diffusion, X, X, X, T, weighting=weighting).shape == (4,)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_every_variance(loss: str, variance: str) -> None:
    diffusion = Diffusion(SCHEDULE, "epsilon", variance)
    learned = diffusion.variance.learned
    if (loss == "mse" and learned) or (loss == "hybrid" and not learned):
        with pytest.raises(ValueError, match="varianza"):
            make_loss(loss)(diffusion, X, X, X, T)
        return
    output = torch.cat([X, X], dim=1) if learned else X
    assert make_loss(loss)(diffusion, output, X, X, T).shape == (4,)


@pytest.mark.parametrize("source", PARAMETRISATIONS)
@pytest.mark.parametrize("target", PARAMETRISATIONS)
def test_every_translation(source: str, target: str) -> None:
    assert convert(SCHEDULE, X, X, T, source, target).shape == X.shape


def test_one_training_step() -> None:
    batches = [{"x": X, "scalars": torch.zeros(4, 1, device=META)}]
    steps = algorithm1(
        model, Diffusion(SCHEDULE, "v"), batches, TrainingDraws(), lambda loss: loss.detach()
    )
    assert next(steps).loss.device == META


def test_importance_sampling_keeps_its_table_on_the_cpu() -> None:
    importance = ImportanceSampler(len(SCHEDULE))
    t = torch.zeros(4, dtype=torch.int64)
    weights = importance.weights(t)
    assert weights.dtype == torch.float64
    assert weights.to(torch.float32).to(META).device == META


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("clip", [True, False, dynamic_threshold()])
def test_every_sampler(name: str, variance: str, clip: Any) -> None:
    diffusion = Diffusion(SCHEDULE, "v", variance, clip).respaced(5)
    network = doubled if diffusion.variance.learned else model
    states = algorithm2(Denoiser(network, diffusion), X, noises(), make_sampler(name))
    assert len(list(states)) == 5


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_with_noise(eta: float) -> None:
    denoise = Denoiser(model, Diffusion(SCHEDULE).respaced(5))
    assert len(list(algorithm2(denoise, X, noises(), make_sampler("ddim", eta=eta)))) == 5


def test_score_matching() -> None:
    diffusion = Diffusion(SCHEDULE, "epsilon", clip=False)
    denoise = Denoiser(model, diffusion)
    assert len(list(annealed_langevin(denoise, X, noises(), steps=2))) == 2 * len(SCHEDULE)
    for measure in (score_matching_error, score_matching_floor):
        assert measure(SCHEDULE, X, X, T).shape == (4,)


def test_editing() -> None:
    denoise = Denoiser(model, Diffusion(SCHEDULE).respaced(6))
    known = {"known": X, "mask": torch.ones_like(X)}
    assert list(repaint(denoise, X, noises(), **known, jump=2, resamplings=2))
    assert list(sdedit(denoise, X, noises(), initial=X, strength=0.5))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_every_path(path: FlowPath) -> None:
    velocity = ddpm_velocity(model, Diffusion(SCHEDULE, "v"), path)
    moved = change_path(velocity, path, PATHS["rectified"])
    assert len(list(integrate(moved, X, torch.linspace(0.9, 0, 4).double(), heun))) == 3
    steps = flow_matching(
        model, path, [{"x": X}], TrainingDraws(), lambda loss: loss.detach(), log_normal
    )
    assert next(steps).loss.device == META


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_guidance(rescale: float) -> None:
    guided = classifier_free(model, 2.0, null=null_condition, rescale=rescale)
    assert guided(X, T, scalars=torch.zeros(4, 1, device=META)).shape == X.shape


def test_classifier_guidance() -> None:
    def log_prob(x_t: Tensor, t: Tensor) -> Tensor:
        return x_t.square().flatten(1).sum(dim=1)

    guided = classifier_guided(model, log_prob, Diffusion(SCHEDULE, "v"))
    assert guided(X, T).shape == X.shape


@pytest.mark.parametrize("levels", [256, None])
def test_the_bound(levels: int | None) -> None:
    bound = variational_bound(model, Diffusion(SCHEDULE, "v"), X, lambda index: X, levels=levels)
    assert bound.terms.dtype == torch.float32


def test_no_value_becomes_float64_before_reaching_the_cpu() -> None:
    """Lo que acaba en una cuenta en float64 pasa antes por la CPU: `.cpu()…double()`."""
    wrong = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "cpu":
                continue
            chain = ast.unparse(node.func.value)
            if ".double()" in chain or "float64" in chain:
                wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []
