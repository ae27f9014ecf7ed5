"""Una fila de cada tabla, añadida desde fuera del paquete: se entrena y se genera con ella."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from ddpm_lit.backward import Denoiser, p_mean_variance
from ddpm_lit.conditioning import CONDITIONS, Condition, wanted_conditions
from ddpm_lit.data import DATASETS, Dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.improved import LOSSES
from ddpm_lit.losses import WEIGHTINGS, simple_loss, weighted_error
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.networks.mlp import MLPConfig
from ddpm_lit.networks.registry import NETWORKS, Network
from ddpm_lit.noise import TrainingDraws
from ddpm_lit.parametrisation import PARAMETRISATIONS, Parametrisation
from ddpm_lit.recipes.reading import recipe_from_dict
from ddpm_lit.recipes.recipe import ModelConfig
from ddpm_lit.runs.train import train
from ddpm_lit.sampling import SAMPLERS, sample
from ddpm_lit.scheduler import BETAS, Schedule
from ddpm_lit.training import algorithm1
from ddpm_lit.variance import VARIANCES, Variance


class Score(Parametrisation):
    """El gradiente de log q(x_t): el ruido, cambiado de signo y de escala."""

    name = "score"

    def target(self, schedule: Schedule, x_start: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return -noise / schedule.at("sqrt_one_minus_alphas_cumprod", t, noise)

    def x_start(self, schedule: Schedule, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        variance = 1 - schedule.at("alphas_cumprod", t, x_t)
        return (x_t + variance * output) / schedule.at("sqrt_alphas_cumprod", t, x_t)

    def slope(self, schedule: Schedule) -> Tensor:
        bar = schedule.alphas_cumprod
        return bar.sqrt() / (1 - bar)


class Geometric(Variance):
    """La media geométrica de las dos fijas."""

    name = "geometric"

    def __call__(self, schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        small, large = (
            VARIANCES[name](schedule, t, like) for name in ("fixed_small", "fixed_large")
        )
        return (small[0] * large[0]).sqrt(), (small[1] + large[1]) / 2


def square_root_betas(timesteps: int = 10) -> Tensor:
    return torch.linspace(0.1, 0.8, timesteps, dtype=torch.float64) ** 2


def by_variance(diffusion: Diffusion) -> Tensor:
    """El peso que convierte el error del score en el del ruido."""
    return 1 - diffusion.schedule.alphas_cumprod


def huber(
    diffusion: Diffusion,
    output: Tensor,
    x_start: Tensor,
    noise: Tensor,
    t: Tensor,
    *,
    weighting: Any = "uniform",
) -> Tensor:
    return (1 + weighted_error(diffusion, output, x_start, noise, t, weighting)).sqrt() - 1


def quiet(
    denoise: Denoiser,
    x_t: Tensor,
    index: int,
    noises: Iterator[Tensor],
    previous: Tensor | None = None,
    *,
    amount: float = 0.5,
) -> tuple[Tensor, Tensor]:
    step = denoise(x_t, index)
    if index == 0:
        return step.mean, step.x_start
    return step.mean + amount * step.variance.sqrt() * next(noises), step.x_start


@dataclass(frozen=True)
class TinyConfig:
    width: int = 16
    turned: bool = True


class Tiny(nn.Module):
    """Una red de fuera, con su propia condición."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, config.width), nn.SiLU(), nn.Linear(config.width, 2)
        )

    def forward(self, x: Tensor, t: Tensor, turn: Tensor) -> Tensor:
        seen = torch.cat([x, t[:, None] / 10, turn.nan_to_num()[:, None]], dim=1)
        out: Tensor = self.layers(seen)
        return out


def arcs(n: int = 64) -> Dataset:
    turn = torch.linspace(-1, 1, n)
    x = torch.stack([turn.cos(), turn.sin()], dim=1) * 0.9
    return Dataset(x=x, conditions={"turn": turn})


ROWS: tuple[tuple[dict[str, Any], str, Any], ...] = (
    (BETAS, "square_root", square_root_betas),
    (PARAMETRISATIONS, "score", Score()),
    (VARIANCES, "geometric", Geometric()),
    (WEIGHTINGS, "by_variance", by_variance),
    (LOSSES, "huber", huber),
    (SAMPLERS, "quiet", quiet),
    (
        CONDITIONS,
        "turn",
        Condition(
            lambda value, num_classes: torch.full_like(value, torch.nan),
            lambda config: bool(getattr(config, "turned", False)),
        ),
    ),
    (NETWORKS, "tiny", Network(TinyConfig, Tiny, "out", lambda config: (2, 2))),
    (DATASETS, "arcs", arcs),
)

TABLE: dict[str, Any] = {
    "name": "de fuera",
    "description": "Todo de fuera del paquete.",
    "data": {"name": "arcs"},
    "model": {"kind": "tiny"},
    "diffusion": {
        "schedule": "square_root",
        "timesteps": 10,
        "prediction": "score",
        "variance": "geometric",
        "weighting": "by_variance",
        "loss": "huber",
        "clip": False,
    },
    "training": {
        "steps": 60,
        "batch_size": 32,
        "learning_rate": 1e-2,
        "ema_decay": 0.5,
        "condition_dropout": 0.2,
    },
    "sampling": {"sampler": "quiet", "guidance": 0.5},
}


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, name, row in ROWS:
        monkeypatch.setitem(table, name, row)


@pytest.mark.usefixtures("extended")
def test_one_row_of_each_kind_trains_and_samples(tmp_path: Path) -> None:
    losses: list[float] = []
    trained = train(
        recipe_from_dict(TABLE),
        tmp_path / "run",
        device="cpu",
        progress=False,
        consumers=[lambda done, state, ema: losses.append(float(state.loss))],
    )
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    save_model(tmp_path / "fuera.safetensors", trained.model, trained.recipe, trained.shape)
    again = load_model(tmp_path / "fuera.safetensors")
    assert again.sampling().sampler == "quiet"
    x = again.sample(500, condition={"turn": torch.full((500,), 0.8)}, device="cpu")
    # Lo generado mira hacia donde se pide, y no es la nube de partida.
    assert x.isfinite().all()
    assert x.mean(dim=0)[1] > 0.2
    assert x.std() < 1


@pytest.mark.usefixtures("extended")
def test_a_row_of_another_file_is_missed_by_its_name() -> None:
    del PARAMETRISATIONS["score"]
    with pytest.raises(ValueError, match=r"no puede predecir «score».*Hay: epsilon"):
        recipe_from_dict(TABLE)


def test_a_row_needs_no_table() -> None:
    diffusion = Diffusion(Schedule.from_betas(square_root_betas()), Score(), Geometric())
    assert diffusion.prediction.name == "score"
    assert diffusion.variance.name == "geometric"


def test_the_score_is_refused_where_it_says_nothing() -> None:
    with pytest.raises(ValueError, match="señal terminal nula"):
        Diffusion(Schedule.from_betas([0.5, 1.0]), Score())


class SilentScore(Score):
    def slope(self, schedule: Schedule) -> Tensor:
        return torch.zeros_like(schedule.betas)


class ShortScore(Score):
    def slope(self, schedule: Schedule) -> Tensor:
        return torch.ones(7)


SCHEDULE = Schedule.from_betas(square_root_betas())
X = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        (Score, TypeError, "el objeto, no la clase"),
        (3, TypeError, "prediction es 3, y debe ser un nombre o una fila"),
        (SilentScore(), ValueError, r"slope\) vale 0 en t = 10"),
        (ShortScore(), ValueError, r"debe ser un tensor \(10,\)"),
    ],
)
def test_a_wrong_row_is_explained(row: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Diffusion(SCHEDULE, row)


def test_a_condition_is_not_called_as_the_data() -> None:
    with pytest.raises(ValueError, match="no se puede llamar «x»"):
        Dataset(x=torch.zeros(3, 2), conditions={"x": torch.zeros(3, 2)})


@pytest.mark.parametrize(
    ("paso", "error", "words"),
    [
        (lambda d, x, *_: (x[:1], x), ValueError, r"x_\{t-1\} .* \(1, 2\) y debe .* \(2, 2\)"),
        (lambda d, x, *_: (x, None), ValueError, "x̂₀ que ha devuelto .* es NoneType"),
        (lambda d, x, *_: x, TypeError, "ha devuelto un Tensor y debe devolver dos"),
        (lambda d, x, index: (x, x), TypeError, r"cinco argumentos, paso\(denoise, x_t, index"),
        (3, TypeError, "«int» no se puede llamar"),
    ],
)
def test_a_sampler_of_another_is_checked(paso: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        sample(lambda x, t: x, Diffusion(SCHEDULE), (2,), indices=range(2), sampler=paso)


@pytest.mark.parametrize(
    "use",
    [
        lambda: next(algorithm1(lambda x, t: x, SCHEDULE, [{"x": X}], TrainingDraws(), print)),
        lambda: sample(lambda x, t: x, SCHEDULE, (2,), indices=range(2)),
        lambda: simple_loss(SCHEDULE, X, X, X, torch.zeros(2, dtype=torch.int64)),
        lambda: p_mean_variance(SCHEDULE, X, X, torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_a_schedule_is_not_a_whole_process(use: Callable[[], object]) -> None:
    with pytest.raises(AttributeError, match=r"envuélvelo: Diffusion\(schedule\)"):
        use()
    assert not hasattr(copy.deepcopy(SCHEDULE), "variance")


def test_a_network_of_another_kind_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "mine", torch.nn.Linear)
    with pytest.raises(TypeError, match=r"La fila «mine» de NETWORKS es .*Linear.* y debe ser"):
        replace(tiny.toy(), model=ModelConfig("mine"))


def test_a_sampler_by_its_name() -> None:
    arguments: Any = (lambda x, t: x, Diffusion(SCHEDULE), (2,))
    named = sample(*arguments, indices=range(4), sampler="ddim")
    assert torch.equal(named, sample(*arguments, indices=range(4), sampler=SAMPLERS["ddim"]))


def test_a_row_that_asks_for_another_field_does_not_break_other_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strict = Condition(lambda value, num_classes: value, lambda config: bool(config.turned))
    monkeypatch.setitem(CONDITIONS, "turn", strict)
    assert wanted_conditions(MLPConfig(num_classes=3)) == ["class_labels"]
    assert wanted_conditions(TinyConfig()) == ["turn"]
