"""Caja de herramientas."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from ddpm_lit.losses import normal_kl, normal_log_density
from scripts.ledger.check import Row
from scripts.ledger.notation import LAWS, density, normal_density, package
from scripts.ledger.scope import Meaning, Scope, evaluate
from scripts.ledger.world import ONE, SETTINGS, Setting, World

OTHER = (-0.2, 1.3)
"""La media y la varianza de la otra normal, q."""
CENTRED = ((0.4, -0.75, 0.3), (0.6, 0.5, 0.4))


def later(world: World) -> Meaning:
    """Una cantidad que depende de x_0: x_t."""
    return Meaning(variable=("x", world.t))


def bell(scope: Scope, inner: Any) -> Any:
    """N(x; m, s²), según `normal_log_density`, o su curva si x es complejo."""
    x, mean, variance = (evaluate(scope, entry) for entry in inner.children[::2])
    if np.iscomplexobj(x):
        return normal_density(x, mean, variance)
    values = (torch.tensor(float(v), dtype=torch.float64) for v in (x, mean, np.log(variance) / 2))
    return normal_log_density(*values).exp().item()


def apart(scope: Scope, _: object) -> float:
    """La divergencia entre los datos, una normal, y la otra, según `normal_kl`."""
    _, mean, variance = scope.world.setting.data[0]
    values = (mean, np.log(variance), OTHER[0], np.log(OTHER[1]))
    return normal_kl(*(torch.tensor(float(v), dtype=torch.float64) for v in values)).item()


def best_slope(scope: Scope) -> float:
    """La pendiente con menos error, buscada en la ley de X e Y."""
    world = scope.world
    weights, nodes = world.law.nodes([("x", 0), ("x", world.t)], {})
    x, y = nodes["x", world.t], nodes["x", 0]
    return float(minimize_scalar(lambda a: float((weights * (y - a * x) ** 2).sum())).x)


NAMES = {"X": later, "Y": Meaning(variable=("x", 0))}
ROWS = {
    "caja-esperanza": Row(
        {
            "X": Meaning(variable=("x", 0)),
            "x": Meaning(variable=("x", 0)),
            "f": Meaning(call=lambda scope, x: np.sin(x) + x**2),
            "p": Meaning(form=density(LAWS["q"])),
        }
    ),
    "caja-normal": Row({"N": Meaning(form=bell, source=package(normal_log_density))}),
    "caja-bayes": Row(
        {"p": Meaning(form=density(LAWS["q"])), "a": Meaning(variable=("x", 0)), "b": later}
    ),
    "caja-regresion": Row(
        {"a": Meaning(bare=best_slope)},
        worlds=tuple(Setting(s.schedule, s.T, s.t, CENTRED, seed=s.seed) for s in SETTINGS),
        tolerance=1e-6,
    ),
    "caja-kl": Row(
        {
            "x": Meaning(variable=("x", 0)),
            "p": Meaning(form=density(LAWS["q"])),
            "q": Meaning(call=lambda scope, x: normal_density(x, *OTHER)),
            "D_KL": Meaning(form=apart),
        },
        source=package(normal_kl),
        worlds=tuple(Setting(s.schedule, s.T, s.t, ONE, seed=s.seed) for s in SETTINGS),
    ),
    "caja-euler": Row(  # una parábola: lo que se tira es justo h²
        {
            "x": Meaning(call=lambda scope, t: t**2),
            "f": Meaning(call=lambda scope, x, t: x / t + t),
            "O": Meaning(call=lambda scope, x: x),
        }
    ),
}

EQUIVALENT = {
    "caja-regresion": {"Y-aX → Y+aX": "El mínimo es el mismo, en la pendiente contraria."},
}
