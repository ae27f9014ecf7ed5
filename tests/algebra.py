"""Herramientas de los tests que comprueban, signo igual a signo igual, las cuentas del libro."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import sympy as sp
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Los símbolos de un paso cualquiera, para un solo píxel. Con α_t y ᾱ_{t-1} se escriben los demás.
alpha = sp.Symbol("alpha_t", positive=True)
alpha_bar_prev = sp.Symbol("alphabar_{t-1}", positive=True)
beta = 1 - alpha
alpha_bar = alpha * alpha_bar_prev
x_0, x_t, x_prev, epsilon = sp.symbols("x_0 x_t x_{t-1} epsilon", real=True)

# Las fórmulas del libro de las que parten las cuentas.
POSTERIOR_VARIANCE = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta


def posterior_mean(x_start: sp.Expr, noisy: sp.Expr = x_t) -> sp.Expr:
    """La media del posterior, (posterior-media)."""
    return (
        sp.sqrt(alpha_bar_prev) * beta / (1 - alpha_bar) * x_start
        + sp.sqrt(alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar) * noisy
    )


def jump(x_start: sp.Expr, noise: sp.Expr) -> sp.Expr:
    """x_t a partir de x_0 y ε, (forward-muestra)."""
    return sp.sqrt(alpha_bar) * x_start + sp.sqrt(1 - alpha_bar) * noise


def assert_chain(*sides: sp.Expr) -> None:
    """Comprueba cada signo igual de una cadena: la diferencia de dos lados seguidos es 0."""
    assert len(sides) > 1
    for number, (left, right) in enumerate(pairwise(map(sp.sympify, sides)), start=1):
        difference = sp.simplify(left - right)
        assert difference == 0, f"signo igual número {number}: sobra {difference}"


def expectation(expression: sp.Expr, moments: dict[sp.Symbol, Sequence[sp.Expr]]) -> sp.Expr:
    """Esperanza de un polinomio en variables independientes.

    `moments[v]` son E[v], E[v²], … hasta el grado que haga falta.
    """
    polynomial = sp.Poly(sp.expand(expression), *moments)
    return sp.expand(
        sum(
            coefficient
            * sp.prod(
                1 if power == 0 else known[power - 1]
                for power, known in zip(powers, moments.values(), strict=True)
            )
            for powers, coefficient in polynomial.terms()
        )
    )


def variance(expression: sp.Expr, moments: dict[sp.Symbol, Sequence[sp.Expr]]) -> sp.Expr:
    """Varianza de un polinomio en variables independientes."""
    mean = expectation(expression, moments)
    return sp.expand(expectation(expression**2, moments) - mean**2)


def integral(values: Array, grid: Array) -> float:
    """Integral de una función lisa que se anula en los extremos de una rejilla uniforme."""
    return float(values.sum() * (grid[1] - grid[0]))


def normal_density(x: Array | complex, mean: Array | float, var: Array | float) -> Array:
    """La densidad de una normal, escrita a mano."""
    return np.exp(-((x - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)


def mixture_density(
    weights: Sequence[float], means: Sequence[float], variances: Sequence[float]
) -> Callable[[Array | complex, float, float], Array]:
    """Densidad de s·x + ruido de varianza n, con x de una mezcla de normales: `f(valor, s, n)`.

    Admite un valor complejo, para derivarla sin restar números parecidos:
    f'(v) = Im f(v + ih)/h con h diminuto.
    """

    def density(value: Array | complex, scale: float = 1.0, noise: float = 0.0) -> Array:
        return sum(
            w * normal_density(value, scale * m, scale**2 * v + noise)
            for w, m, v in zip(weights, means, variances, strict=True)
        )

    return density
