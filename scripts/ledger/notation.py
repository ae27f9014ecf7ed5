r"""El diccionario: qué número es cada símbolo del libro.

Vale para todas las páginas. Lo que calcula el paquete se le pide al paquete (`source` dice a qué
función), y así una fórmula que lo nombre se compara con él.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lark import Token, Tree
from torch import Tensor

from ddpm_lit.backward import p_mean_variance
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.posterior import q_posterior
from scripts.ledger import arithmetic, calculus  # noqa: F401  (apuntan sus reglas)
from scripts.ledger.expectations import integrate, split_bar, variables
from scripts.ledger.reading import read
from scripts.ledger.scope import Meaning, Scope, Unreadable, evaluate, value
from scripts.ledger.world import CLASS, Law, Variable, World, affine


def package(function: Callable[..., Any]) -> str:
    """El nombre completo de una función del paquete."""
    return f"{function.__module__}.{function.__qualname__}"


def table(name: str) -> Meaning:
    """Una tabla del schedule, en el paso t; ᾱ_0 es 1."""

    def at(scope: Scope, t: int) -> Any:
        if t == 0 and name == "alphas_cumprod":
            return 1.0
        like = torch.zeros(1, dtype=torch.float64)
        return scope.world.schedule.at(name, scope.world.steps(t), like).item()

    return Meaning(at=at, source=f"ddpm_lit.scheduler.Schedule.{name}")


def chain(name: str) -> Meaning:
    """Las variables aleatorias x_t, z_t y ε_t."""
    return Meaning(
        at=lambda scope, t: Meaning(variable=(name, t)), source="ddpm_lit.forward.q_step"
    )


def expression(tex: str) -> Any:
    """El árbol de una expresión; el de un símbolo es por lo que se deriva, como en «∇_x»."""
    return read(tex).children[0].children[0]


def formula(tex: str) -> Meaning:
    """Lo que el texto de la página dice que es un símbolo, como «m = E[y | x_t]»."""
    node = expression(tex)
    return Meaning(bare=lambda scope: evaluate(scope, node))


def tensor(x: Any) -> Tensor:
    """(…, D, B) → (… B, D), como quiere el paquete."""
    return torch.from_numpy(np.moveaxis(np.asarray(x, dtype=float), -2, -1).copy()).flatten(0, -2)


def array(values: Tensor, like: Any) -> Any:
    """De vuelta, con la forma de `like`; lo que es un número por ejemplo, (…, 1, B)."""
    shape = np.shape(like)
    if values.ndim == 1:
        return values.double().numpy().reshape(*shape[:-2], 1, shape[-1])
    return np.moveaxis(values.double().numpy().reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2)


# --- La red y lo que se deduce de su respuesta --------------------------------------------------


def x_t(scope: Scope) -> Any:
    return scope.value_of(("x", scope.number("t")))


def network(scope: Scope, x: Any = None, t: Any = None, label: Any = None) -> Any:
    """ε_θ(x_t, t), una red afín."""
    return scope.world.network(
        x_t(scope) if x is None else x, scope.number("t") if t is None else t, label
    )


def linear(world: World, key: Any, function: Callable[..., Tensor], inputs: int) -> Any:
    """Los coeficientes de una función afín del paquete, que se miran una vez por mundo."""
    if key not in world.cache:
        world.cache[key] = affine(function, inputs)
    return world.cache[key]


def reverse_step(part: str) -> Callable[..., Any]:
    """La media o el x̂_0 del paso de vuelta, con la respuesta de la red o con la que se le dé."""

    def call(scope: Scope, x: Any = None, t: Any = None, label: Any = None) -> Any:
        world = scope.world
        x = x_t(scope) if x is None else x
        t = scope.number("t") if t is None else t
        return reverse_part(world, part, x, network(scope, x, t, label), t)

    return call


def reverse_part(world: World, part: str, x: Any, output: Any, t: int) -> Any:
    """Un campo de `p_mean_variance`, de x_t y de la respuesta de la red."""

    def function(x: Tensor, output: Tensor) -> Any:
        step = p_mean_variance(world.diffusion, output, x, world.steps(t, len(x)))
        return getattr(step, part)

    a, b, c = linear(world, (part, t), function, 2)
    return a * x + b * output + c


def posterior_mean(scope: Scope, t: int, x: Any, x_start: Any) -> Any:
    """μ̃_t(x_t, x_0)."""
    world = scope.world

    def mean(noisy: Tensor, clean: Tensor) -> Tensor:
        return q_posterior(world.schedule, clean, noisy, world.steps(t, len(clean))).mean

    a, b, _ = linear(world, ("posterior", t), mean, 2)
    return a * x + b * x_start


def _posterior_mean_at(scope: Scope, t: int) -> Meaning:
    return Meaning(
        bare=lambda inner: posterior_mean(
            inner, t, inner.value_of(("x", t)), inner.value_of(("x", 0))
        ),
        call=lambda inner, x, x_start: posterior_mean(inner, t, x, x_start),
    )


def posterior_variance(scope: Scope, t: int) -> Any:
    """β̃_t."""
    zeros = torch.zeros(1, 1, dtype=torch.float64)
    return q_posterior(scope.world.schedule, zeros, zeros, scope.world.steps(t)).variance.item()


def velocity(scope: Scope) -> Any:
    """v, lo que la red debería responder si predice v."""
    world, t = scope.world, scope.number("t")

    def target(x_start: Tensor, noise: Tensor) -> Tensor:
        steps = world.steps(t, len(noise))
        return PARAMETRISATIONS["v"].target(world.schedule, x_start, noise, steps)

    a, b, _ = linear(world, ("v", t), target, 2)
    return a * scope.value_of(("x", 0)) + b * scope.value_of(("ε", t))


# --- Densidades ---------------------------------------------------------------------------------


def normal_density(x: Any, mean: Any, variance: Any) -> Any:
    """La densidad de N(mean, variance I), con los píxeles independientes."""
    density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return np.prod(np.atleast_2d(density), axis=-2, keepdims=True)


def _normal(scope: Scope, inner: Any) -> Any:
    entries = [e for e in inner.children if not isinstance(e, Token)]
    if len(entries) != 3:
        raise Unreadable("Una normal sin el valor en que se mira.")
    return normal_density(*(evaluate(scope, entry) for entry in entries))


def density(law: Callable[[World], Law]) -> Callable[[Scope, Any], Any]:
    """`q(… | …)`: la densidad de unas variables sabiendo otras, según una ley."""

    def form(scope: Scope, inner: Any) -> Any:
        before, after = split_bar(scope, Tree("paren", [inner]))
        names, given = (variables(scope, nodes) for nodes in (before, after))
        return law(scope.world).density(
            {v: scope.value_of(v) for v in names}, {v: scope.value_of(v) for v in given}
        )

    return form


def normal(
    moments: Callable[[Scope], tuple[Any, Any]], variable: Variable, *given: Variable
) -> Meaning:
    """`q(… | …)`, donde una de las densidades es una normal cuyos momentos da el paquete."""
    others = density(LAWS["q"])

    def form(scope: Scope, inner: Any) -> Any:
        before, after = split_bar(scope, Tree("paren", [inner]))
        if variables(scope, before) == [variable] and variables(scope, after) == list(given):
            return normal_density(scope.value_of(variable), *moments(scope))
        return others(scope, inner)

    return Meaning(form=form)


LAWS: dict[str, Callable[[World], Law]] = {
    "q": lambda world: world.law,
    "p": lambda world: world.reverse,
    "p_θ": lambda world: world.reverse,
}


def divergence(scope: Scope, inner: Any) -> Any:
    """KL(q ‖ p), por cuadratura en las variables de q; las densidades suman los píxeles."""
    first, _, second = inner.children
    call = first.children[0]
    ratio = Tree("func", [Token("FUNC", "log"), Tree("frac", [call, second.children[0]]), None])
    law, names, given = distribution(scope, call)
    return integrate(scope, law, names, given, ratio)


def distribution(scope: Scope, call: Any) -> tuple[Law, list[Variable], dict[Variable, Any]]:
    """La ley, las variables y la condición de `q(x | y)`."""
    function, argument = call.children
    sub = function.children[1]
    name = str(function.children[0]) + ("" if sub is None else "_" + str(sub.children[0]))
    before, after = split_bar(scope, argument)
    given = {v: scope.value_of(v) for v in variables(scope, after)}
    return LAWS[name](scope.world), variables(scope, before), given


def entropy(scope: Scope, inner: Any) -> Any:
    """H(q), por cuadratura."""
    call = inner.children[0].children[0]
    law, names, given = distribution(scope, call)
    log = Tree("func", [Token("FUNC", "log"), call, None])
    return -integrate(scope, law, names, given, log)


# --- El diccionario -----------------------------------------------------------------------------

POSTERIOR = package(q_posterior)
REVERSE = package(p_mean_variance)

COMMON: dict[str, Any] = {
    "I": 1.0,
    "π": np.pi,
    "∞": np.inf,
    "β": table("betas"),
    "α": table("alphas"),
    "ᾱ": table("alphas_cumprod"),
    "β̃": Meaning(at=posterior_variance, source=POSTERIOR),
    "μ̃": Meaning(at=_posterior_mean_at, source=POSTERIOR),
    "μ̃_t": Meaning(
        bare=lambda scope: value(scope, _posterior_mean_at(scope, scope.number("t"))),
        call=lambda scope, *xs: posterior_mean(scope, scope.number("t"), *xs),
        source=POSTERIOR,
    ),
    "x": chain("x"),
    "z": Meaning(variable=("z", 0), at=lambda scope, t: Meaning(variable=("z", t))),
    "z'": Meaning(variable=("z'", 0)),
    "ε": Meaning(
        bare=lambda scope: Meaning(variable=("ε", scope.number("t"))),
        at=lambda scope, t: Meaning(variable=("ε", t)),
    ),
    "ε'": Meaning(bare=lambda scope: Meaning(variable=("ε", scope.number("t") - 1))),
    "c": Meaning(variable=CLASS),
    "ε_θ": Meaning(bare=network, call=network, arity=(2, 3)),
    "μ_θ": Meaning(
        bare=reverse_step("mean"), call=reverse_step("mean"), source=REVERSE, arity=(2,)
    ),
    "x̂_0": Meaning(
        bare=reverse_step("x_start"), call=reverse_step("x_start"), source=REVERSE, arity=(1, 3)
    ),
    "σ": Meaning(
        at=lambda scope, t: np.sqrt(scope.world.reverse_variance(t)),
        source="ddpm_lit.variance.FixedLarge",
    ),
    "SNR": Meaning(
        call=lambda scope, t: table("snr").looked_up(scope, t),
        source="ddpm_lit.scheduler.Schedule.snr",
    ),
    "N": Meaning(form=_normal),
    "q": Meaning(form=density(LAWS["q"]), source="ddpm_lit.forward.q_step"),
    "p_θ": Meaning(form=density(LAWS["p_θ"]), source=REVERSE),
    "D_KL": Meaning(form=divergence),
    "H": Meaning(form=entropy),
}
