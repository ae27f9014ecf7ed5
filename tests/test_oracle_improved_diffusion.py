"""Comparación con una implementación independiente: la de Nichol y Dhariwal (2021).

`fixtures/improved_diffusion.json` guarda lo que dio su código, improved-diffusion, en float32, con
datos y una «red» definidos por una fórmula. Aquí se calcula lo mismo con `ddpm_lit`.
"""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpm_lit.backward import Denoiser, p_mean_variance
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.losses import prior_term, vb_term
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices

ORACLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "fixtures" / "improved_diffusion.json").read_text("utf-8")
)
PREDICTION_NAMES = {"PREVIOUS_X": "posterior_mean", "START_X": "x_start", "EPSILON": "epsilon"}
DTYPES = (torch.float64, torch.float32)
CASES: list[dict[str, Any]] = ORACLE["cases"]

schedule_of = cache(make_schedule)


def case_name(case: dict[str, Any]) -> str:
    clip = "clip" if case["clip"] else "free"
    return f"{case['schedule']}-{case['predicts']}-{case['variance']}-{clip}-{case['t']}"


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Los datos y el ruido, por su fórmula."""
    k = torch.arange(96, dtype=torch.float64)
    x_start = ((0.9 * torch.sin(0.7 * k + 0.1) + 1) * 127.5).round() / 127.5 - 1
    noise = 1.2 * torch.sin(1.3 * k + 0.5)
    return x_start.reshape(2, 3, 4, 4).to(dtype), noise.reshape(2, 3, 4, 4).to(dtype)


def network(x: Tensor, t: Tensor, case: dict[str, Any]) -> Tensor:
    s = (t / 1000).to(x.dtype).reshape(-1, 1, 1, 1)
    m = 0.6 * x + 0.3 * torch.cos(3 * x) * (1 - s) - 0.1
    if case["variance"].startswith("FIXED"):
        return m
    return torch.cat([m, torch.tanh(x + s)], dim=1)


def approximate_cdf(x: Tensor) -> Tensor:
    """La aproximación de Φ con la tangente hiperbólica que usa aquel código."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def expected(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_inputs_are_those_of_the_oracle(agree: Callable[..., None]) -> None:
    x_start, noise = inputs(torch.float64)
    assert len(CASES) == 288
    agree(x_start.flatten(), expected(ORACLE["inputs"]["x0"]), rtol=0, atol=2e-7)
    agree(noise.flatten(), expected(ORACLE["inputs"]["noise"]), rtol=0, atol=2e-7)


@pytest.mark.equation(
    "scheduler-lineal", "scheduler-coseno", "posterior-varianza", "posterior-media"
)
@pytest.mark.parametrize("name", list(ORACLE["schedules"]))
def test_schedules(name: str, agree: Callable[..., None]) -> None:
    kind, timesteps = name.split("-")
    schedule = make_schedule(kind, int(timesteps))
    values = dict(ORACLE["schedules"][name])
    index = torch.tensor(values.pop("index"))
    assert len(values) == 7
    for table, numbers in values.items():
        agree(getattr(schedule, table)[index], expected(numbers), rtol=1e-9)


@pytest.mark.equation("perdidas-cota", "perdidas-bits")
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_prior_term(name: str, agree: Callable[..., None]) -> None:
    prior = prior_term(schedule_of(name, 1000), inputs(torch.float64)[0])
    agree(prior, expected(ORACLE["posterior"][name]["prior_bpd"]), rtol=1e-5, atol=1e-8)


@pytest.mark.equation(
    "forward-muestra", "backward-paso", "backward-x0", "backward-sigma", "posterior-media"
)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_reverse_step(case: dict[str, Any], dtype: torch.dtype, agree: Callable[..., None]) -> None:
    schedule = schedule_of(case["schedule"], 1000)
    x_start, noise = inputs(dtype)
    t = torch.full((2,), case["t"])
    x_t = q_sample(schedule, x_start, t, noise)
    step = p_mean_variance(
        Diffusion(
            schedule,
            PREDICTION_NAMES[case["predicts"]],
            case["variance"].lower(),
            clip=case["clip"],
        ),
        network(x_t, t, case),
        x_t,
        t,
    )
    rtol = 1e-5
    unclipped = case["predicts"] == "EPSILON" and not case["clip"]
    if unclipped and case["schedule"] == "cosine" and case["t"] == 999:
        rtol = 1e-4  # 1/√ᾱ_T ≈ 20.000 amplifica el redondeo del oráculo
    agree(x_t.flatten()[:4], expected(case["xt_head"]), rtol=1e-5)
    agree(step.mean.flatten()[:4], expected(case["mean_head"]), rtol=rtol, atol=1e-6)
    agree(step.mean.abs().double().sum(), case["mean_abs_sum"], rtol=rtol)
    agree(step.log_variance.flatten()[:2], expected(case["log_variance_head"])[:2], rtol=1e-5)
    agree(step.x_start.flatten()[:4], expected(case["pred_xstart_head"]), rtol=rtol, atol=1e-5)


@pytest.mark.equation("perdidas-kl", "perdidas-lt", "perdidas-l0", "perdidas-bits")
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case_name(case)}-{dtype_name(dtype)}")
        for case in CASES
        for dtype in DTYPES
        if case["t"] > 0 or dtype == torch.float32
    ],
)
def test_bound_terms(case: dict[str, Any], dtype: torch.dtype, agree: Callable[..., None]) -> None:
    """En t = 0 solo en float32: en las colas, donde Φ satura, el oráculo es su redondeo."""
    schedule = schedule_of(case["schedule"], 1000)
    x_start, noise = inputs(dtype)
    t = torch.full((2,), case["t"])
    x_t = q_sample(schedule, x_start, t, noise)
    term = vb_term(
        Diffusion(
            schedule,
            PREDICTION_NAMES[case["predicts"]],
            case["variance"].lower(),
            clip=case["clip"],
        ),
        network(x_t, t, case),
        x_start,
        x_t,
        t,
        cdf=approximate_cdf,
    )
    agree(term, expected(case["vb_bpd"]), rtol=1e-5, atol=1e-6)


@pytest.mark.equation("scheduler-reespaciado")
@pytest.mark.parametrize("spec", ["10", "50", "250", "ddim50", "ddim25"])
def test_respaced_indices(spec: str) -> None:
    spacing = "leading" if spec.startswith("ddim") else "linspace"
    steps = int(spec.removeprefix("ddim"))
    assert spaced_indices(1000, steps, spacing).tolist() == ORACLE["respacing"][spec]


def test_respaced_indices_by_sections() -> None:
    """«10,15,20»: tantos pasos en cada tercio del proceso, con el resto en el primero."""
    sections = ((0, 334, 10), (334, 333, 15), (667, 333, 20))
    indices = [start + spaced_indices(size, steps) for start, size, steps in sections]
    assert torch.cat(indices).tolist() == ORACLE["respacing"]["10,15,20"]


def walk_of(loop: dict[str, Any]) -> Schedule:
    indices = ORACLE["respacing"].get(loop["spacing"])
    if indices is None:
        steps = int(loop["spacing"].removeprefix("ddim"))
        indices = spaced_indices(1000, steps, "leading")
    return respace(schedule_of(loop["schedule"], 1000), indices)


LOOPS = pytest.mark.parametrize(
    "loop", ORACLE["ddim"], ids=lambda loop: f"{loop['schedule']}-{loop['spacing']}"
)


@pytest.mark.equation("scheduler-reespaciado")
@LOOPS
def test_respaced_betas(loop: dict[str, Any], agree: Callable[..., None]) -> None:
    agree(walk_of(loop).betas, expected(loop["betas"]), rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@LOOPS
def test_ddim_loops(loop: dict[str, Any], dtype: torch.dtype, agree: Callable[..., None]) -> None:
    """El recorrido entero con η = 0; la red recibe el t original."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x * torch.cos(t.to(x.dtype) / 300).reshape(-1, 1, 1, 1)

    (*_, last) = algorithm2(
        Denoiser(model, Diffusion(walk_of(loop))), inputs(dtype)[1], iter(()), ddim
    )
    agree(last.x_t.flatten()[:8], expected(loop["x0_head"]), rtol=1e-5, atol=1e-5)
    agree(last.x_t.abs().double().sum(), loop["abs_sum"], rtol=1e-5)
