"""Las afirmaciones de los artículos y las reglas que las juzgan.

Cada afirmación se parte en comparaciones. De cada una se mira, semilla a semilla, por cuánto se
cumple (en tanto por uno; negativo, si sale al revés):

- **se sostiene** si en todas las semillas se cumple por más del margen;
- **no se sostiene** si en todas sale al revés por más del margen;
- **no concluyente** en los demás casos, y **pendiente** si faltan resultados.

A lo que solo tiene una semilla (los mil pasos) se le exige el triple de margen. El margen es el
mismo si lo que se compara es una cantidad con su tope (el doble, 1,15 veces…).

Una afirmación se sostiene si se sostienen todas sus comparaciones y no se sostiene si alguna no se
sostiene. Ni lo uno ni lo otro, sino no concluyente, si no se puede confiar en lo que se compara:

- alguna de las redes de la afirmación no llega a `BAR`: en sus muestras no se leen las clases;
- la comparación es de bits y alguna de las dos redes gasta más que la exacta que solo sabe el
  histograma de cada píxel, con el mismo schedule y la misma varianza;
- la comparación es de una red entrenada con imágenes lisas y esa red no imita a la exacta.

Lo primero se escribió antes de medir, salvo que entonces solo se miraba el modelo de partida y
solo para negar; lo demás, después. De las afirmaciones, la de las imágenes lisas de 128×128 se
añadió después de medir.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from scripts.replicas.recipes import SNAPSHOTS
from scripts.replicas.results import Results, value
from scripts.replicas.units import (
    DDPM_VARIANTS,
    DROPOUTS,
    RECONSTRUCTION_STEPS,
    SAME_STEPS,
    SEEDS,
    WEIGHTS,
)

MARGIN = 0.05
"""Lo que se exige. Se eligió antes de medir; no sale de medir el azar de las muestras."""
BITS_MARGIN = 0.01
ALONE = 3
"""Por cuánto se multiplica el margen si solo hay una semilla."""
SIMILAR = 1.15
"""Dos distancias son parecidas si una no llega a esta cantidad de veces la otra."""
BAR = 0.9
"""La parte de las muestras de una red en las que hay que leer la clase pedida."""
EXTREMES = 0.1
"""La parte de las imágenes lisas cuya luminancia debería pasar de 0,9 en valor absoluto."""
FAITHFUL = EXTREMES / 5
"""Cuánto puede alejarse de esa parte de la exacta una red entrenada para que cuente."""
EXTRA_SEEDS = (*SEEDS, 2)
FIXED = ("fixed_small", "fixed_large")
"""Las varianzas que no se aprenden."""
SPENDS_MORE = "alguna de las dos redes gasta más que la exacta que solo sabe el histograma"
UNFAITHFUL = "la red entrenada no imita a la exacta"
AS_IN_THE_PAPER = "no cuenta: es la comparación del artículo, con otra varianza en cada red"


class Outcome(StrEnum):
    """En qué queda una comparación o una afirmación."""

    HOLDS = "se sostiene"
    FAILS = "no se sostiene"
    UNCLEAR = "no concluyente"
    PENDING = "pendiente"


@dataclass(frozen=True)
class Comparison:
    """Una comparación.

    Args:
        text: qué se compara.
        gaps: por cuánto se cumple en cada semilla; vacío si faltan resultados.
        margin: cuánto se exige.
        doubt: por qué no se puede juzgar, si no se puede.
        aside: por qué no cuenta para su afirmación, si no cuenta.
    """

    text: str
    gaps: tuple[float, ...]
    margin: float = MARGIN
    doubt: str = ""
    aside: str = ""

    @property
    def outcome(self) -> Outcome:
        """El resultado, según la regla."""
        if not self.gaps:
            return Outcome.PENDING
        if self.doubt:
            return Outcome.UNCLEAR
        margin = self.margin if len(self.gaps) > 1 else ALONE * self.margin
        if all(gap > margin for gap in self.gaps):
            return Outcome.HOLDS
        if all(gap < -margin for gap in self.gaps):
            return Outcome.FAILS
        return Outcome.UNCLEAR


class Network(NamedTuple):
    """Una red cuyas muestras entran en una afirmación, y dónde está su acuerdo de clase."""

    label: str
    unit: str
    path: str = "agreement"


@dataclass(frozen=True)
class Claim:
    """Una afirmación.

    Args:
        text: lo que dice el artículo.
        compare: las comparaciones en que se parte.
        networks: todas las redes que se comparan en ella; ninguna si no hay clases que leer.
    """

    text: str
    compare: Callable[[Results], Iterable[Comparison]]
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class Verdict:
    """El veredicto de una afirmación, con sus comparaciones y las redes que no dan la talla.

    De cada una de esas redes está su nombre y su peor acuerdo de clase.
    """

    outcome: Outcome
    comparisons: tuple[Comparison, ...]
    below: Mapping[str, float]


def judge(claim: Claim, results: Results) -> Verdict:
    """Aplica la regla a los resultados que haya."""
    comparisons = tuple(claim.compare(results))
    outcomes = {comparison.outcome for comparison in comparisons if not comparison.aside}
    below = {}
    for network in claim.networks:
        agreement = by_seed(results, network.unit, network.path)
        if not agreement:
            outcomes.add(Outcome.PENDING)
        elif min(agreement.values()) < BAR:
            below[network.label] = min(agreement.values())
    if Outcome.PENDING in outcomes:
        outcome = Outcome.PENDING
    elif below:
        outcome = Outcome.UNCLEAR
    elif Outcome.FAILS in outcomes:
        outcome = Outcome.FAILS
    else:
        outcome = Outcome.UNCLEAR if Outcome.UNCLEAR in outcomes else Outcome.HOLDS
    return Verdict(outcome, comparisons, below)


# --- Con qué se comparan dos números ------------------------------------------------------------


def relative_gap(smaller: float, larger: float) -> float:
    """Por cuánto `smaller` es menor que `larger`, en tanto por uno del mayor de los dos."""
    if smaller == larger:
        return 0.0
    if math.isinf(smaller) or math.isinf(larger):
        return math.copysign(1.0, larger - smaller)
    return (larger - smaller) / max(abs(smaller), abs(larger))


def lower(
    text: str,
    smaller: Mapping[int, float],
    larger: Mapping[int, float],
    *,
    margin: float = MARGIN,
    factor: float = 1.0,
    seeds: int = len(SEEDS),
) -> Comparison:
    """Se afirma que `factor` veces uno es menor que el otro, en cada semilla.

    Args:
        text: qué se compara.
        smaller: lo que se afirma que es menor, por semilla.
        larger: lo otro.
        margin: por cuánto, como poco.
        factor: por cuánto se multiplica antes el primero.
        seeds: cuántas semillas hacen falta; con menos está pendiente.
    """
    common = sorted(smaller.keys() & larger.keys())
    gaps = tuple(relative_gap(factor * smaller[seed], larger[seed]) for seed in common)
    return Comparison(text, gaps if len(gaps) >= seeds else (), margin)


def at_most(
    text: str,
    found: Mapping[int, float],
    limit: float,
    *,
    seeds: int = len(SEEDS),
) -> Comparison:
    """Se afirma que algo no pasa de un límite."""
    return lower(text, found, dict.fromkeys(found, limit), seeds=seeds)


def at_least(
    text: str,
    found: Mapping[int, float],
    limit: float,
    *,
    seeds: int = len(SEEDS),
) -> Comparison:
    """Se afirma que algo llega a un límite."""
    return lower(text, dict.fromkeys(found, limit), found, seeds=seeds)


class Spent(NamedTuple):
    """Los bits por dimensión de una red, por semilla, y los de la exacta con que se compara.

    La exacta es la de píxeles independientes, que solo sabe el histograma de cada uno.
    """

    bits: Mapping[int, float]
    exact: Mapping[int, float]


def spent(results: Results, unit: str, variances: Sequence[str] = ()) -> Spent:
    """Los bits de una red con la mejor de unas varianzas, y los de la exacta con esa misma.

    La exacta no aprende ninguna: a la red que aprende la suya se la compara con la mejor de las
    dos fijas.

    Args:
        results: los resultados.
        unit: la familia de unidades de la red.
        variances: entre cuáles se elige; si no se dicen, la que aprende o las dos fijas.
    """
    chosen_from = variances or (("learned_range",) if "hybrid" in unit else FIXED)
    schedule = "cosine" if "cosine" in unit else "linear"
    known = {
        name: number
        for name in FIXED
        if (number := value(results, "reference", f"independent/{schedule}/{name}")) is not None
    }
    if known:
        known["learned_range"] = min(known.values())
    found = {name: by_seed(results, unit, f"bits/{name}") for name in chosen_from}
    bits: dict[int, float] = {}
    exact: dict[int, float] = {}
    for seed in sorted(set.intersection(*(set(each) for each in found.values()))):
        bits[seed], chosen = min((found[name][seed], name) for name in chosen_from)
        if known:
            exact[seed] = known[chosen]
    return Spent(bits, exact)


def fewer_bits(text: str, smaller: Spent, larger: Spent) -> Comparison:
    """Se afirma que una red gasta menos bits que otra, si las dos gastan menos que la exacta.

    Args:
        text: qué se compara.
        smaller: los bits que se afirma que son menos.
        larger: los otros.
    """
    comparison = lower(f"bits por dimensión{text}", smaller.bits, larger.bits, margin=BITS_MARGIN)
    if not smaller.exact or not larger.exact:
        return replace(comparison, gaps=())
    if any(each.bits[seed] >= each.exact[seed] for each in (smaller, larger) for seed in each.bits):
        return replace(comparison, doubt=SPENDS_MORE)
    return comparison


def ratio(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Cuántas veces es uno el otro, por semilla."""
    return {seed: a[seed] / b[seed] for seed in a.keys() & b.keys()}


def spread(*found: Mapping[int, float]) -> dict[int, float]:
    """El mayor entre el menor, por semilla."""
    common = set.intersection(*(set(each) for each in found))
    return {
        seed: max(each[seed] for each in found) / min(each[seed] for each in found)
        for seed in common
    }


def best(found: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """El menor de varios, por semilla."""
    common = set.intersection(*(set(each) for each in found))
    return {seed: min(each[seed] for each in found) for seed in common}


def steps_to_reach(curve: Sequence[tuple[int, float]], target: float) -> float:
    """Pasos con que una curva decreciente llega a un valor; infinito si no llega.

    Entre dos medidas se interpola en línea recta, con los dos ejes en logaritmos.
    """
    before: tuple[int, float] | None = None
    for step, height in curve:
        if height <= target:
            if before is None or before[1] == height:
                return float(step)
            fraction = math.log(before[1] / target) / math.log(before[1] / height)
            return float(before[0] * (step / before[0]) ** fraction)
        before = (step, height)
    return math.inf


def by_seed(
    results: Results, unit: str, path: str, seeds: Sequence[int] = EXTRA_SEEDS
) -> dict[int, float]:
    """Un valor de una familia de unidades, `unit` con `{seed}` en el nombre, por semilla."""
    found = {seed: value(results, unit.format(seed=seed), path) for seed in seeds}
    return {seed: number for seed, number in found.items() if number is not None}


# --- DDPM -----------------------------------------------------------------------------------------

LABELS = {
    "epsilon-simple": r"$\epsilon$ con $L_{\text{simple}}$",
    "epsilon-vlb": r"$\epsilon$ con $L$",
    "mu-vlb": r"$\tilde\mu$ con $L$",
    "mu-mse": r"$\tilde\mu$ con error sin pesar",
}


def _ddpm_quality(results: Results) -> Iterable[Comparison]:
    for unit, steps, seeds in (("ddpm-{}-s{{seed}}", 50, 2), ("ddpm-full-{}-s{{seed}}", 1000, 1)):
        ours = by_seed(results, unit.format("epsilon-simple"), "frechet")
        for other in DDPM_VARIANTS[1:]:
            yield lower(
                f"Fréchet a {steps} pasos: {LABELS['epsilon-simple']} < {LABELS[other]}",
                ours,
                by_seed(results, unit.format(other), "frechet"),
                seeds=seeds,
            )


def _ddpm_bits(results: Results) -> Iterable[Comparison]:
    yield fewer_bits(
        f": {LABELS['epsilon-vlb']} < {LABELS['epsilon-simple']}",
        spent(results, "ddpm-epsilon-vlb-s{seed}", ("fixed_large",)),
        spent(results, LINEAR, ("fixed_large",)),
    )


# --- Improved DDPM ----------------------------------------------------------------------------

LINEAR, COSINE = "ddpm-epsilon-simple-s{seed}", "iddpm-cosine-simple-s{seed}"


def with_small_variance(results: Results, unit: str, name: str = "frechet") -> dict[int, float]:
    r"""Una medida de las muestras de una red a 50 pasos y con $\tilde\beta_t$, por semilla."""
    if "hybrid" not in unit:
        return by_seed(results, unit, name)
    return by_seed(results, unit.replace("iddpm", "iddpm-variances"), f"fixed_small/50/{name}")


def hybrid_cost(results: Results, hybrid: str, simple: str, *, learned: bool) -> dict[int, float]:
    r"""Cuántas veces el Fréchet de $L_{simple}$ es el de $L_{híbrida}$, a 50 pasos, por semilla.

    La red de $L_{simple}$ se genera con $\tilde\beta_t$; la otra, con la que aprende (`learned`) o
    con esa misma.
    """
    found = by_seed(results, hybrid, "frechet") if learned else with_small_variance(results, hybrid)
    return ratio(found, by_seed(results, simple, "frechet"))


def _hybrid(results: Results) -> Iterable[Comparison]:
    no_more = r"no pasa de 1,15 veces el de $L_{\text{simple}}$"
    for name, simple, hybrid in (
        ("lineal", LINEAR, HYBRID_NETWORKS[0].unit),
        ("coseno", COSINE, HYBRID_NETWORKS[1].unit),
    ):
        yield fewer_bits(
            rf", {name}: $L_{{\text{{híbrida}}}}$ < $L_{{\text{{simple}}}}$",
            spent(results, hybrid),
            spent(results, simple),
        )
        yield at_most(
            rf"Fréchet, {name}, las dos redes con $\tilde\beta_t$: el de "
            rf"$L_{{\text{{híbrida}}}}$ {no_more}",
            hybrid_cost(results, hybrid, simple, learned=False),
            SIMILAR,
            seeds=1,
        )
        learned = at_most(
            rf"Fréchet, {name}: el de $L_{{\text{{híbrida}}}}$, con su varianza aprendida, "
            f"{no_more}",
            hybrid_cost(results, hybrid, simple, learned=True),
            SIMILAR,
        )
        yield replace(learned, aside=AS_IN_THE_PAPER)


def _cosine(results: Results) -> Iterable[Comparison]:
    yield lower(
        "Fréchet: coseno < lineal",
        by_seed(results, COSINE, "frechet"),
        by_seed(results, LINEAR, "frechet"),
    )
    yield fewer_bits(": coseno < lineal", spent(results, COSINE), spent(results, LINEAR))


def _few_steps(results: Results) -> Iterable[Comparison]:
    names = {"fixed_small": r"$\tilde\beta_t$", "learned_range": "la aprendida"}
    networks = (
        (COSINE_NETWORK.label, "iddpm-steps-s{seed}", ("fixed_small",)),
        (HYBRID_NETWORKS[0].label, "iddpm-variances-linear-hybrid-s{seed}", tuple(names)),
    )
    for steps in SAME_STEPS:
        for label, unit, variances in networks:
            for variance in variances:
                yield lower(
                    rf"Fréchet a {steps} pasos, la red {label}: {names[variance]} < $\beta_t$",
                    by_seed(results, unit, f"{variance}/{steps}/frechet"),
                    by_seed(results, unit, f"fixed_large/{steps}/frechet"),
                )


def _gradient(results: Results) -> Iterable[Comparison]:
    yield lower(
        "ruido del gradiente, schedule lineal: por importancia < uniforme",
        by_seed(results, "iddpm-gradient-linear-s{seed}", "importance/covariance"),
        by_seed(results, "iddpm-gradient-linear-s{seed}", "uniform/covariance"),
    )


# --- DDIM -----------------------------------------------------------------------------------------


def ddim_frechet(results: Results, eta: str, steps: int) -> dict[int, float]:
    """El Fréchet de un η con un número de pasos, por semilla."""
    unit = f"ddim-full-{eta}-s{{seed}}" if steps == 1000 else "ddim-grid-s{seed}"
    return by_seed(results, unit, f"{eta}/{steps}/frechet")


def _eta(results: Results) -> Iterable[Comparison]:
    for steps in (10, 20):
        yield lower(
            rf"Fréchet a {steps} pasos: $\eta = 0$ < $\eta = 1$",
            ddim_frechet(results, "0", steps),
            ddim_frechet(results, "1", steps),
        )


def _sigma(results: Results) -> Iterable[Comparison]:
    for steps in (10, 20):
        yield lower(
            rf"Fréchet a {steps} pasos: el doble del de $\eta = 1$ < el de $\hat\sigma$",
            ddim_frechet(results, "1", steps),
            ddim_frechet(results, "sigma", steps),
            factor=2,
        )


def _thousand(results: Results) -> Iterable[Comparison]:
    yield at_most(
        r"Fréchet a 1000 pasos: el mayor de $\eta = 0$, $\eta = 1$ y $\hat\sigma$ no llega al "
        "doble del menor",
        spread(*(ddim_frechet(results, eta, 1000) for eta in ("0", "1", "sigma"))),
        2.0,
        seeds=1,
    )


def _reconstruction(results: Results) -> Iterable[Comparison]:
    errors = {
        steps: by_seed(results, "ddim-reconstruction-s{seed}", f"error/{steps}")
        for steps in RECONSTRUCTION_STEPS
    }
    *steps, last = RECONSTRUCTION_STEPS
    for fewer, more in pairwise(steps):
        yield lower(
            f"error de reconstrucción: {more} pasos < {fewer} pasos", errors[more], errors[fewer]
        )
    yield at_most(
        f"error de reconstrucción: el de {last} pasos no pasa de 1,15 veces el de {steps[-1]}",
        ratio(errors[last], errors[steps[-1]]),
        SIMILAR,
    )


# --- CFG ------------------------------------------------------------------------------------------

SMALL_WEIGHTS = ("0.1", "0.2", "0.3", "0.5")
LARGE_WEIGHTS = ("1", "2", "4")


def cfg_values(results: Results, p: float, w: str, name: str) -> dict[int, float]:
    """Una medida de CFG, por semilla."""
    return by_seed(results, f"cfg-{p}-s{{seed}}", f"{w}/{name}")


def _cfg_best(results: Results, p: float, weights: Sequence[str]) -> dict[int, float]:
    return best([cfg_values(results, p, w, "frechet") for w in weights])


def _class(results: Results) -> Iterable[Comparison]:
    surprise = {
        w: {seed: -x for seed, x in cfg_values(results, 0.1, w, "log_probability").items()}
        for w in ("0", "0.5", "2")
    }
    for less, more in (("0", "0.5"), ("0.5", "2")):
        yield lower(
            rf"$-\log p$ de la clase pedida: $w = {_number(more)}$ < "
            f"$w = {_number(less)}$",
            surprise[more],
            surprise[less],
        )
    unguided = cfg_values(results, 0.1, "0", "agreement")
    guided = cfg_values(results, 0.1, "2", "agreement")
    yield at_least(
        "acuerdo de clase: el de $w = 2$ no baja más de 5 milésimas del de $w = 0$",
        {seed: 1 + guided[seed] - unguided[seed] for seed in guided.keys() & unguided.keys()},
        0.995,
    )


def _diversity(results: Results) -> Iterable[Comparison]:
    for less, more in (("0", "1"), ("1", "4")):
        yield lower(
            f"distancia entre muestras de una clase: $w = {more}$ < $w = {less}$",
            cfg_values(results, 0.1, more, "diversity"),
            cfg_values(results, 0.1, less, "diversity"),
        )


def _small_weights(results: Results) -> Iterable[Comparison]:
    for p in DROPOUTS:
        small = _cfg_best(results, p, SMALL_WEIGHTS)
        yield lower(
            f"$p = {_number(str(p))}$: el menor Fréchet con $w$ de 0,1 a 0,5 < el de $w = 0$",
            small,
            cfg_values(results, p, "0", "frechet"),
        )
        yield lower(
            f"$p = {_number(str(p))}$: el menor Fréchet con $w$ de 0,1 a 0,5 < el menor con "
            r"$w \ge 1$",
            small,
            _cfg_best(results, p, LARGE_WEIGHTS),
        )


def _dropouts(results: Results) -> Iterable[Comparison]:
    weights = [f"{w:g}" for w in WEIGHTS]
    found = {p: _cfg_best(results, p, weights) for p in DROPOUTS}
    yield at_most(
        "el menor Fréchet, con cualquier $w$, de $p = 0{,}1$ y el de $p = 0{,}2$: el mayor no pasa "
        "de 1,15 veces el menor",
        spread(found[0.1], found[0.2]),
        SIMILAR,
    )
    for p in (0.1, 0.2):
        yield lower(
            f"el menor Fréchet, con cualquier $w$: $p = {_number(str(p))}$ < $p = 0{{,}}5$",
            found[p],
            found[0.5],
        )


# --- Min-SNR --------------------------------------------------------------------------------------


def learning_curves(results: Results, variant: str) -> dict[int, list[tuple[int, float]]]:
    """El Fréchet en cada paso medido de un entrenamiento, por semilla."""
    heights = {
        step: by_seed(results, f"min-snr-{variant}-s{{seed}}", f"{step}/frechet")
        for step in SNAPSHOTS
    }
    return {
        seed: [(step, heights[step][seed]) for step in SNAPSHOTS] for seed in heights[SNAPSHOTS[0]]
    }


def steps_to_same_distance(results: Results, variant: str) -> dict[int, float]:
    """Los pasos con que se llega a la distancia final del peso constante, por semilla."""
    constant = learning_curves(results, "x-constant")
    return {
        seed: steps_to_reach(curve, constant[seed][-1][1])
        for seed, curve in learning_curves(results, variant).items()
        if seed in constant
    }


def _min_snr(results: Results) -> Iterable[Comparison]:
    yield lower(
        "pasos hasta el Fréchet final del peso constante: con min-SNR, 0,8 veces o menos",
        steps_to_same_distance(results, "x-min-snr"),
        steps_to_same_distance(results, "x-constant"),
        factor=1 / 0.8,
    )


# --- Señal terminal nula --------------------------------------------------------------------------

SCHEDULE_NAMES = {
    "scaled_linear": "escalado",
    "linear": "lineal",
    "cosine": "coseno",
    "rescaled": "escalado y corregido",
}


SMALL, LARGE = 32 * 32, 128 * 128
"""Píxeles de las imágenes lisas con que se juzga."""


def extremes(
    results: Results, name: str, *, exact: bool, pixels: int | str = SMALL
) -> dict[int, float]:
    """La parte de imágenes lisas muy oscuras o muy claras, por semilla.

    Los píxeles, con la red exacta y mil pasos; con "few_steps", los pasos de la entrenada.
    """
    if exact:
        path = f"{name}/{pixels}/extreme"
        found = (value(results, unit, path) for unit in ("zero-snr-exact", "zero-snr-exact-s1"))
        return {seed: x for seed, x in zip(SEEDS, found, strict=True) if x is not None}
    return by_seed(results, f"zero-snr-{name}-s{{seed}}", "extreme", SEEDS)


def _like_the_exact(results: Results, name: str, comparison: Comparison) -> Comparison:
    """La comparación de una red entrenada, que solo cuenta si imita a la exacta."""
    trained = extremes(results, name, exact=False)
    exact = extremes(results, name, exact=True, pixels="few_steps")
    if not exact:
        return replace(comparison, gaps=())
    target = sum(exact.values()) / len(exact)
    if any(abs(found - target) > FAITHFUL for found in trained.values()):
        return replace(comparison, doubt=UNFAITHFUL)
    return comparison


def _cannot(results: Results, pixels: int, *, trained: bool) -> Iterable[Comparison]:
    side = math.isqrt(pixels)
    text = (
        "imágenes muy oscuras o claras de ${0} \\times {0}$, red {1}, schedule escalado: menos de "
        "la mitad de las que debería haber"
    )
    yield at_most(
        text.format(side, "exacta"),
        extremes(results, "scaled_linear", exact=True, pixels=pixels),
        EXTREMES / 2,
    )
    if trained:
        comparison = at_most(
            text.format(side, "entrenada"),
            extremes(results, "scaled_linear", exact=False),
            EXTREMES / 2,
        )
        yield _like_the_exact(results, "scaled_linear", comparison)


def _enough(results: Results, names: Sequence[str]) -> Iterable[Comparison]:
    text = (
        "imágenes muy oscuras o claras de ${0} \\times {0}$, red {1}, schedule {2}: al menos "
        "cuatro quintos de las que debería haber"
    )
    for name in names:
        label = SCHEDULE_NAMES[name]
        for pixels in (LARGE, SMALL):
            yield at_least(
                text.format(math.isqrt(pixels), "exacta", label),
                extremes(results, name, exact=True, pixels=pixels),
                0.8 * EXTREMES,
            )
        comparison = at_least(
            text.format(math.isqrt(SMALL), "entrenada", label),
            extremes(results, name, exact=False),
            0.8 * EXTREMES,
        )
        yield _like_the_exact(results, name, comparison)


def _emoji(results: Results) -> Iterable[Comparison]:
    def bright(name: str) -> dict[int, float]:
        return by_seed(results, "zero-snr-emoji", f"{name}/bright", (0,))

    yield at_most(
        "emojis más claros, schedule escalado: menos de la mitad de los que debería haber",
        bright("scaled_linear"),
        0.5 * 0.25,
        seeds=1,
    )
    for name in ("linear", "cosine", "rescaled"):
        yield at_least(
            f"emojis más claros, schedule {SCHEDULE_NAMES[name]}: al menos cuatro quintos de los "
            "que debería haber",
            bright(name),
            0.8 * 0.25,
            seeds=1,
        )


def _number(text: str) -> str:
    return text.replace(".", "{,}")


# --- Todas ----------------------------------------------------------------------------------------

LINEAR_NETWORK = Network(r"lineal, $L_{\text{simple}}$", LINEAR)
COSINE_NETWORK = Network(r"coseno, $L_{\text{simple}}$", COSINE)
DDPM_NETWORKS = {name: Network(label, f"ddpm-{name}-s{{seed}}") for name, label in LABELS.items()}
HYBRID_NETWORKS = tuple(
    Network(rf"{label}, $L_{{\text{{híbrida}}}}$", f"iddpm-{name}-hybrid-s{{seed}}")
    for name, label in (("linear", "lineal"), ("cosine", "coseno"))
)
CFG_NETWORKS = tuple(
    Network(f"$p = {_number(str(p))}$", f"cfg-{p}-s{{seed}}", "0/agreement") for p in DROPOUTS
)

CLAIMS: dict[str, Claim] = {
    "ddpm-quality": Claim(
        r"predecir $\epsilon$ con $L_{\text{simple}}$ da mejores muestras que predecir "
        r"$\tilde\mu$ y que predecir $\epsilon$ con la cota, $L$",
        _ddpm_quality,
        tuple(DDPM_NETWORKS.values()),
    ),
    "ddpm-bits": Claim(
        r"predecir $\epsilon$ con la cota, $L$, gana en verosimilitud a hacerlo con "
        r"$L_{\text{simple}}$",
        _ddpm_bits,
        (LINEAR_NETWORK, DDPM_NETWORKS["epsilon-vlb"]),
    ),
    "iddpm-hybrid": Claim(
        r"entrenar con $L_{\text{híbrida}}$ mejora los bits por dimensión y apenas cuesta calidad",
        _hybrid,
        (LINEAR_NETWORK, COSINE_NETWORK, *HYBRID_NETWORKS),
    ),
    "iddpm-cosine": Claim(
        "con imágenes pequeñas, el schedule coseno mejora al lineal",
        _cosine,
        (LINEAR_NETWORK, COSINE_NETWORK),
    ),
    "iddpm-steps": Claim(
        r"a 10, 20 y 50 pasos, la peor varianza es la fija grande, $\beta_t$",
        _few_steps,
        (COSINE_NETWORK, HYBRID_NETWORKS[0]),
    ),
    "iddpm-gradient": Claim(
        r"el muestreo por importancia quita ruido al gradiente de $L_{\text{vlb}}$",
        _gradient,
        (HYBRID_NETWORKS[0],),
    ),
    "ddim-eta": Claim(r"a 10 y 20 pasos, $\eta = 0$ gana a $\eta = 1$", _eta, (LINEAR_NETWORK,)),
    "ddim-sigma": Claim(r"a 10 y 20 pasos, $\hat\sigma$ se hunde", _sigma, (LINEAR_NETWORK,)),
    "ddim-thousand": Claim(
        r"a 1000 pasos, $\eta = 0$, $\eta = 1$ y $\hat\sigma$ quedan a menos del doble",
        _thousand,
        (LINEAR_NETWORK,),
    ),
    "ddim-reconstruction": Claim(
        "el error de reconstrucción baja con el número de pasos",
        _reconstruction,
        (LINEAR_NETWORK,),
    ),
    "cfg-class": Claim("con $w$ sube el acuerdo con la clase", _class, (CFG_NETWORKS[0],)),
    "cfg-diversity": Claim("con $w$ baja la diversidad", _diversity, (CFG_NETWORKS[0],)),
    "cfg-small": Claim(
        "la mejor distancia está en un $w$ pequeño, de 0,5 como mucho",
        _small_weights,
        CFG_NETWORKS,
    ),
    "cfg-dropout": Claim(
        "da igual apagar la condición una vez de cada diez que de cada cinco; una de cada dos es "
        "peor",
        _dropouts,
        CFG_NETWORKS,
    ),
    "min-snr": Claim(
        "prediciendo $x_0$, min-SNR llega antes a la distancia en que acaba el peso constante",
        _min_snr,
        tuple(
            Network(label, f"min-snr-{name}-s{{seed}}", f"{SNAPSHOTS[-1]}/agreement")
            for name, label in (("x-constant", "$x_0$, peso constante"), ("x-min-snr", "min-SNR"))
        ),
    ),
    "zero-snr-cannot": Claim(
        r"en imágenes lisas de $128 \times 128$ y con la red exacta, el schedule escalado da menos "
        "de la mitad de las muy oscuras y muy claras (añadida después de medir)",
        partial(_cannot, pixels=LARGE, trained=False),
        (),
    ),
    "zero-snr-cannot-32": Claim(
        r"en imágenes lisas de $32 \times 32$, con la red exacta y con una entrenada, el schedule "
        "escalado da menos de la mitad de las muy oscuras y muy claras",
        partial(_cannot, pixels=SMALL, trained=True),
        (),
    ),
    "zero-snr-hardly": Claim(
        "con el lineal y el coseno apenas se pierden imágenes muy oscuras ni muy claras",
        lambda results: _enough(results, ("linear", "cosine")),
        (),
    ),
    "zero-snr-fixed": Claim(
        "con el escalado, corregido para que no deje señal, tampoco",
        lambda results: _enough(results, ("rescaled",)),
        (),
    ),
    "zero-snr-emoji": Claim(
        "los emojis de fondo blanco pierden los más claros con el escalado, y no con los demás "
        "(no es del artículo)",
        _emoji,
        (),
    ),
}
