"""Scheduler."""

import numpy as np

from ddpm_lit.scheduler import (
    Schedule,
    cosine_betas,
    linear_betas,
    quadratic_betas,
    rescale_zero_terminal_snr,
    respace,
    scaled_linear_betas,
    sigmoid_betas,
)
from scripts.ledger.check import Row
from scripts.ledger.notation import package
from scripts.ledger.scope import Meaning
from scripts.ledger.world import Setting

LINEAR = tuple(Setting("linear", T=T, t=t) for T, t in ((40, 7), (1000, 613)))
RANGE = {"β_min": 1e-4, "β_max": 0.02}
QUADRATIC = (Setting("quadratic", T=40, t=9), Setting("quadratic", T=100, t=60))
SHORTER = (0, 2, 3, 4)
SPACED = {
    "k": 2,
    "S": Meaning(at=lambda scope, k: SHORTER[k]),
    "β'": Meaning(
        at=lambda scope, k: _respaced(scope.world.schedule).betas[k - 1].item(),
        source=package(respace),
    ),
    "ᾱ'": Meaning(
        at=lambda scope, k: _respaced(scope.world.schedule).alphas_cumprod[k - 1].item(),
        source=package(respace),
    ),
}


def _respaced(schedule: Schedule) -> Schedule:
    return respace(schedule, [s - 1 for s in SHORTER[1:]])


NAMES = {
    "λ": Meaning(
        at=lambda scope, t: scope.world.schedule.log_snr[t - 1].item(),
        source="ddpm_lit.scheduler.Schedule.log_snr",
    )
}
ROWS = {
    "scheduler-lineal": Row(RANGE, worlds=LINEAR, source=package(linear_betas)),
    "scheduler-suma": Row(RANGE, worlds=LINEAR, source=package(linear_betas)),
    "scheduler-limite": Row(RANGE, worlds=LINEAR, source=package(linear_betas)),
    "scheduler-coseno": Row(
        worlds=(Setting("cosine", T=30, t=11), Setting("cosine", T=8, t=3)),
        source=package(cosine_betas),
    ),
    "scheduler-sigmoide": Row(
        {
            "S": Meaning(call=lambda scope, x: 1 / (1 + np.exp(-x))),
            "a": lambda world: dict(world.setting.options).get("start", -3.0),
            "b": lambda world: dict(world.setting.options).get("end", 3.0),
            "τ": lambda world: dict(world.setting.options).get("tau", 1.0),
        },
        worlds=(
            Setting("sigmoid", T=30, t=11),
            Setting("sigmoid", 8, 3, options=(("start", -2.0), ("end", 4.0), ("tau", 0.7))),
        ),
        source=package(sigmoid_betas),
    ),
    "scheduler-cuadratico": Row(
        {
            "c": lambda world: 1 if world.setting.options else 1000 / world.T,
            "β_min": lambda world: dict(world.setting.options).get("beta_start", 1e-4),
            "β_max": lambda world: dict(world.setting.options).get("beta_end", 0.02),
        },
        worlds=(
            *QUADRATIC,
            Setting("scaled_linear", 50, 20, options=(("beta_start", 0.003), ("beta_end", 0.05))),
        ),
        source=f"{package(quadratic_betas)}, {package(scaled_linear_betas)}",
    ),
    "scheduler-terminal": Row(
        {
            "ᾱ'": Meaning(
                at=lambda scope, t: (
                    rescale_zero_terminal_snr(scope.world.schedule).alphas_cumprod[t - 1].item()
                ),
                source=package(rescale_zero_terminal_snr),
            )
        }
    ),
    "scheduler-salto-intermedio": Row(SPACED),
    "scheduler-reespaciado": Row(SPACED),
    "scheduler-telescopio": Row(SPACED),
}
