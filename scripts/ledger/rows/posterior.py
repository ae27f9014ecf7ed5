"""Posterior."""

import numpy as np

from scripts.ledger.check import Row
from scripts.ledger.notation import POSTERIOR, normal, posterior_mean, posterior_variance
from scripts.ledger.scope import Meaning, Scope


def exponent(scope: Scope) -> object:
    """E: menos el doble del logaritmo de q(x_{t-1} | x_t, x_0), sin lo que la normaliza."""
    law, t = scope.world.law, scope.number("t")
    given = {v: scope.value_of(v) for v in (("x", t), ("x", 0))}
    x = {("x", t - 1): scope.value_of(("x", t - 1))}
    weights, nodes = law.nodes(list(x), given)
    (values,) = nodes.values()
    mean = (weights * values).sum(0)
    variance = (weights * (values - mean) ** 2).sum(0)
    return -2 * np.log(law.density(x, given)) - np.log(2 * np.pi * variance)


def moments(scope: Scope) -> tuple[object, object]:
    """Media y varianza de q(x_{t-1} | x_t, x_0), según `q_posterior`."""
    t = scope.number("t")
    mean = posterior_mean(scope, t, scope.value_of(("x", t)), scope.value_of(("x", 0)))
    return mean, posterior_variance(scope, t)


NAMES = {"E": Meaning(bare=exponent)}
ROWS = {
    "posterior-bayes": Row(
        {"q": lambda world: normal(moments, ("x", world.t - 1), ("x", world.t), ("x", 0))},
        source=POSTERIOR,
    ),
    "posterior-normal": Row(uses=("posterior-coeficientes",)),
    "posterior-reparto": Row(uses=("posterior-coeficientes",)),
}

EQUIVALENT = {
    "posterior-primer-paso": dict.fromkeys(
        (
            "{1·β_1}/{β_1}·x_0+{√{α_1}·0}/{β_1}·x_1 → {1·β_1}/{β_1}·x_0-{√{α_1}·0}/{β_1}·x_1",
            "{1·β_1}/{β_1} → {β_1}/{1·β_1}",
            "√{α_1} → α_1",
            "β_1 → β̃_1 (5)",
        ),
        "Es un factor 1 o multiplica a 0.",
    )
}
