"""Las afirmaciones de los artículos y las reglas que las juzgan, escritas antes de medir.

Cada afirmación se parte en comparaciones. De cada una se mira, semilla a semilla, por cuánto se
cumple (en tanto por uno; negativo, si sale al revés):

- **se sostiene** si en todas las semillas se cumple por más del margen;
- **no se sostiene** si en todas sale al revés por más del margen;
- **no concluyente** en los demás casos, y **pendiente** si faltan resultados.

A lo que solo tiene una semilla (los mil pasos) se le exige el triple de margen. Las comparaciones
que traen su propio tope (el doble, 1,15 veces…) no llevan otro margen.

Una afirmación se sostiene si se sostienen todas sus comparaciones. Si alguna no se sostiene,
tampoco ella, pero solo cuando el modelo de partida lee al menos `BAR` de sus clases: con un
modelo malo, que algo no se vea no significa nada.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from scripts.replicas.recipes import SNAPSHOTS
from scripts.replicas.results import Results, value
from scripts.replicas.units import (
    DDPM_VARIANTS,
    RECONSTRUCTION_STEPS,
    SEEDS,
)

MARGIN = 0.05
"""Diferencias menores no se distinguen del azar de las muestras."""
BITS_MARGIN = 0.01
ALONE = 3
"""Por cuánto se multiplica el margen si solo hay una semilla."""
SIMILAR = 1.15
"""Dos distancias son parecidas si una no llega a esta cantidad de veces la otra."""
BAR = 0.9
EXTREMES = 0.1
"""La parte de las imágenes lisas cuya luminancia debería pasar de 0,9 en valor absoluto."""
EXTRA_SEEDS = (*SEEDS, 2)


class Outcome(StrEnum):
    """En qué queda una comparación o una afirmación."""

    HOLDS = "se sostiene"
    FAILS = "no se sostiene"
    UNCLEAR = "no concluyente"
    PENDING = "pendiente"


@dataclass(frozen=True)
class Comparison:
    """Una comparación: qué se compara, por cuánto se cumple en cada semilla y qué se exige."""

    text: str
    gaps: tuple[float, ...]
    margin: float = MARGIN

    @property
    def outcome(self) -> Outcome:
        """El resultado, según la regla."""
        if not self.gaps:
            return Outcome.PENDING
        margin = self.margin if len(self.gaps) > 1 else ALONE * self.margin
        if all(gap > margin for gap in self.gaps):
            return Outcome.HOLDS
        if all(gap < -margin for gap in self.gaps):
            return Outcome.FAILS
        return Outcome.UNCLEAR


@dataclass(frozen=True)
class Claim:
    """Una afirmación.

    Args:
        text: lo que dice el artículo.
        compare: las comparaciones en que se parte.
        baseline: unidad y camino del acuerdo de clase del modelo de partida, o `None` si no hay
            clases que leer.
    """

    text: str
    compare: Callable[[Results], Iterable[Comparison]]
    baseline: tuple[str, str] | None


@dataclass(frozen=True)
class Verdict:
    """El veredicto de una afirmación, con sus comparaciones."""

    outcome: Outcome
    comparisons: tuple[Comparison, ...]
    baseline_met: bool


def judge(claim: Claim, results: Results) -> Verdict:
    """Aplica la regla a los resultados que haya."""
    comparisons = tuple(claim.compare(results))
    outcomes = {comparison.outcome for comparison in comparisons}
    met = claim.baseline is None or all(
        found >= BAR for found in by_seed(results, *claim.baseline, seeds=EXTRA_SEEDS).values()
    )
    if Outcome.PENDING in outcomes:
        outcome = Outcome.PENDING
    elif Outcome.FAILS in outcomes:
        outcome = Outcome.FAILS if met else Outcome.UNCLEAR
    else:
        outcome = Outcome.UNCLEAR if Outcome.UNCLEAR in outcomes else Outcome.HOLDS
    return Verdict(outcome, comparisons, met)


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
    return lower(text, found, dict.fromkeys(found, limit), margin=0.0, seeds=seeds)


def at_least(
    text: str,
    found: Mapping[int, float],
    limit: float,
    *,
    seeds: int = len(SEEDS),
) -> Comparison:
    """Se afirma que algo llega a un límite."""
    return lower(text, dict.fromkeys(found, limit), found, margin=0.0, seeds=seeds)


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
    yield lower(
        f"bits por dimensión: {LABELS['epsilon-vlb']} < {LABELS['epsilon-simple']}",
        by_seed(results, "ddpm-epsilon-vlb-s{seed}", "bits/fixed_large"),
        by_seed(results, "ddpm-epsilon-simple-s{seed}", "bits/fixed_large"),
        margin=BITS_MARGIN,
    )


# --- Improved DDPM ----------------------------------------------------------------------------

LINEAR, COSINE = "ddpm-epsilon-simple-s{seed}", "iddpm-cosine-simple-s{seed}"


def fixed_bits(results: Results, unit: str) -> dict[int, float]:
    """Los bits de un modelo sin varianza aprendida: con la mejor de las dos fijas."""
    return best([by_seed(results, unit, f"bits/{name}") for name in ("fixed_small", "fixed_large")])


def _hybrid(results: Results) -> Iterable[Comparison]:
    for name, simple in (("lineal", LINEAR), ("coseno", COSINE)):
        hybrid = "iddpm-{}-hybrid-s{{seed}}".format("linear" if name == "lineal" else "cosine")
        yield lower(
            rf"bits por dimensión, {name}: $L_{{\text{{híbrida}}}}$ < $L_{{\text{{simple}}}}$",
            by_seed(results, hybrid, "bits/learned_range"),
            fixed_bits(results, simple),
            margin=BITS_MARGIN,
        )
        yield at_most(
            rf"Fréchet, {name}: el de $L_{{\text{{híbrida}}}}$ no pasa de 1,15 veces el de "
            rf"$L_{{\text{{simple}}}}$",
            ratio(by_seed(results, hybrid, "frechet"), by_seed(results, simple, "frechet")),
            SIMILAR,
        )


def _cosine(results: Results) -> Iterable[Comparison]:
    yield lower(
        "Fréchet: coseno < lineal",
        by_seed(results, COSINE, "frechet"),
        by_seed(results, LINEAR, "frechet"),
    )
    yield lower(
        "bits por dimensión: coseno < lineal",
        fixed_bits(results, COSINE),
        fixed_bits(results, LINEAR),
        margin=BITS_MARGIN,
    )


def _few_steps(results: Results) -> Iterable[Comparison]:
    names = {"fixed_small": r"$\tilde\beta_t$", "learned_range": "la aprendida"}
    for steps in (10, 20, 50):
        for variance, name in names.items():
            yield lower(
                rf"Fréchet a {steps} pasos: {name} < $\beta_t$",
                by_seed(results, "iddpm-steps-s{seed}", f"{variance}/{steps}/frechet"),
                by_seed(results, "iddpm-steps-s{seed}", f"fixed_large/{steps}/frechet"),
            )


def _gradient(results: Results) -> Iterable[Comparison]:
    yield lower(
        "ruido del gradiente: por importancia < uniforme",
        by_seed(results, "iddpm-gradient-s{seed}", "importance/covariance"),
        by_seed(results, "iddpm-gradient-s{seed}", "uniform/covariance"),
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
            f"menos log de la probabilidad de la clase pedida: $w = {_number(more)}$ < "
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
    small = _cfg_best(results, 0.1, SMALL_WEIGHTS)
    yield lower(
        "el menor Fréchet con $w$ de 0,1 a 0,5 < el de $w = 0$",
        small,
        cfg_values(results, 0.1, "0", "frechet"),
    )
    yield lower(
        r"el menor Fréchet con $w$ de 0,1 a 0,5 < el menor con $w \ge 1$",
        small,
        _cfg_best(results, 0.1, LARGE_WEIGHTS),
    )


def _dropouts(results: Results) -> Iterable[Comparison]:
    found = {p: _cfg_best(results, p, ("0", *SMALL_WEIGHTS)) for p in (0.1, 0.2, 0.5)}
    yield at_most(
        "el menor Fréchet de $p = 0{,}1$ y el de $p = 0{,}2$: el mayor no pasa de 1,15 veces el "
        "menor",
        spread(found[0.1], found[0.2]),
        SIMILAR,
    )
    for p in (0.1, 0.2):
        yield lower(
            f"el menor Fréchet: $p = {_number(str(p))}$ < $p = 0{{,}}5$", found[p], found[0.5]
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


def steps_to_same_quality(results: Results, variant: str) -> dict[int, float]:
    """Los pasos con que se llega a la calidad final del peso constante, por semilla."""
    constant = learning_curves(results, "x-constant")
    return {
        seed: steps_to_reach(curve, constant[seed][-1][1])
        for seed, curve in learning_curves(results, variant).items()
        if seed in constant
    }


def _min_snr(results: Results) -> Iterable[Comparison]:
    yield lower(
        "pasos hasta el Fréchet final del peso constante: con min-SNR, 0,8 veces o menos",
        steps_to_same_quality(results, "x-min-snr"),
        steps_to_same_quality(results, "x-constant"),
        factor=1 / 0.8,
        margin=0.0,
    )


# --- Señal terminal nula --------------------------------------------------------------------------

SCHEDULE_NAMES = {
    "scaled_linear": "escalado",
    "linear": "lineal",
    "cosine": "coseno",
    "rescaled": "escalado y corregido",
}


def extremes(results: Results, name: str, *, exact: bool, pixels: int = 1024) -> dict[int, float]:
    """La parte de imágenes lisas muy oscuras o muy claras, por semilla."""
    if exact:
        return by_seed(results, "zero-snr-exact", f"{name}/{pixels}/extreme", (0,))
    return by_seed(results, f"zero-snr-{name}-s{{seed}}", "extreme", SEEDS)


def _cannot(results: Results) -> Iterable[Comparison]:
    for exact, who in ((True, "red exacta"), (False, "red entrenada")):
        yield at_most(
            f"imágenes muy oscuras o claras, {who}, schedule escalado: menos de la mitad de las "
            "que debería",
            extremes(results, "scaled_linear", exact=exact),
            EXTREMES / 2,
            seeds=1 if exact else len(SEEDS),
        )


def _enough(results: Results, names: Sequence[str]) -> Iterable[Comparison]:
    for exact, who in ((True, "red exacta"), (False, "red entrenada")):
        for name in names:
            yield at_least(
                f"imágenes muy oscuras o claras, {who}, schedule {SCHEDULE_NAMES[name]}: al menos "
                "cuatro quintos de las que debería",
                extremes(results, name, exact=exact),
                0.8 * EXTREMES,
                seeds=1 if exact else len(SEEDS),
            )


def _emoji(results: Results) -> Iterable[Comparison]:
    def bright(name: str) -> dict[int, float]:
        return by_seed(results, "zero-snr-emoji", f"{name}/bright", (0,))

    yield at_most(
        "emoji más claros, schedule escalado: menos de la mitad de los que debería",
        bright("scaled_linear"),
        0.5 * 0.25,
        seeds=1,
    )
    for name in ("linear", "cosine", "rescaled"):
        yield at_least(
            f"emoji más claros, schedule {SCHEDULE_NAMES[name]}: al menos cuatro quintos de los "
            "que debería",
            bright(name),
            0.8 * 0.25,
            seeds=1,
        )


def _number(text: str) -> str:
    return text.replace(".", "{,}")


# --- Todas ----------------------------------------------------------------------------------------

CLAIMS: dict[str, Claim] = {
    "ddpm-quality": Claim(
        r"predecir $\epsilon$ con $L_{\text{simple}}$ da mejores muestras que predecir "
        r"$\tilde\mu$ y que la cota exacta",
        _ddpm_quality,
        (LINEAR, "agreement"),
    ),
    "ddpm-bits": Claim("la cota exacta gana en verosimilitud", _ddpm_bits, (LINEAR, "agreement")),
    "iddpm-hybrid": Claim(
        r"aprender la varianza con $L_{\text{híbrida}}$ mejora los bits por dimensión y apenas "
        "cuesta calidad",
        _hybrid,
        (COSINE, "agreement"),
    ),
    "iddpm-cosine": Claim(
        "con imágenes pequeñas, el schedule coseno mejora al lineal",
        _cosine,
        (LINEAR, "agreement"),
    ),
    "iddpm-steps": Claim(
        r"con pocos pasos, la que más sufre es la varianza fija grande, $\beta_t$",
        _few_steps,
        (COSINE, "agreement"),
    ),
    "iddpm-gradient": Claim(
        r"el muestreo por importancia quita ruido al gradiente de $L_{\text{vlb}}$",
        _gradient,
        (COSINE, "agreement"),
    ),
    "ddim-eta": Claim(
        r"a 10 y 20 pasos, $\eta = 0$ gana a $\eta = 1$", _eta, (LINEAR, "agreement")
    ),
    "ddim-sigma": Claim(r"a 10 y 20 pasos, $\hat\sigma$ se hunde", _sigma, (LINEAR, "agreement")),
    "ddim-thousand": Claim("a 1000 pasos se juntan", _thousand, (LINEAR, "agreement")),
    "ddim-reconstruction": Claim(
        "el error de reconstrucción baja con el número de pasos",
        _reconstruction,
        (LINEAR, "agreement"),
    ),
    "cfg-class": Claim(
        "con $w$ sube el acuerdo con la clase", _class, ("cfg-0.1-s{seed}", "0/agreement")
    ),
    "cfg-diversity": Claim(
        "con $w$ baja la diversidad", _diversity, ("cfg-0.1-s{seed}", "0/agreement")
    ),
    "cfg-small": Claim(
        "la mejor distancia está en un $w$ pequeño",
        _small_weights,
        ("cfg-0.1-s{seed}", "0/agreement"),
    ),
    "cfg-dropout": Claim(
        "da igual apagar la condición una vez de cada diez que de cada cinco; una de cada dos es "
        "peor",
        _dropouts,
        ("cfg-0.1-s{seed}", "0/agreement"),
    ),
    "min-snr": Claim(
        "prediciendo $x_0$, min-SNR llega antes a la misma calidad que el peso constante",
        _min_snr,
        ("min-snr-x-constant-s{seed}", f"{SNAPSHOTS[-1]}/agreement"),
    ),
    "zero-snr-cannot": Claim(
        "con un schedule que deja señal en $T$ no salen imágenes muy oscuras ni muy claras",
        _cannot,
        None,
    ),
    "zero-snr-hardly": Claim(
        "el lineal y el coseno apenas lo sufren",
        lambda results: _enough(results, ("linear", "cosine")),
        None,
    ),
    "zero-snr-fixed": Claim(
        "el mismo schedule, corregido para que no deje señal, ya puede",
        lambda results: _enough(results, ("rescaled",)),
        None,
    ),
    "zero-snr-emoji": Claim(
        "los emoji de fondo blanco pierden los más claros con el escalado, y no con los demás",
        _emoji,
        None,
    ),
}
