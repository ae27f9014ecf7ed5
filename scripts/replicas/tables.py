"""Lo que la página enseña de los resultados, en Markdown: tablas, veredictos y valores.

Una unidad que falta sale como «pendiente». Las cifras de los artículos están copiadas de sus
tablas.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean, stdev

from scripts.replicas.claims import (
    CLAIMS,
    COSINE,
    COSINE_NETWORK,
    HYBRID_NETWORKS,
    LABELS,
    LINEAR,
    SCHEDULE_NAMES,
    Comparison,
    Outcome,
    by_seed,
    cfg_values,
    ddim_frechet,
    extremes,
    hybrid_cost,
    judge,
    learning_curves,
    ratio,
    spent,
    steps_to_same_distance,
    with_small_variance,
)
from scripts.replicas.measures import SAMPLES
from scripts.replicas.measures import STEPS as SAMPLING_STEPS
from scripts.replicas.recipes import LONG_STEPS, LONGER, SNAPSHOTS, STEPS, digits_recipe
from scripts.replicas.results import Results, value
from scripts.replicas.units import (
    ETAS,
    FEW_STEPS,
    IDDPM_VARIANTS,
    LONG_ETAS,
    LONG_MEAN,
    LOW_NOISE,
    MEAN_LEVELS,
    MEAN_VARIANTS,
    RECONSTRUCTION_STEPS,
    SAME_STEPS,
    UNIFORM_PIXELS,
    units,
)

PENDING = "*pendiente*"
PERCENT = "\N{NARROW NO-BREAK SPACE}%"
ETA_NAMES = {eta: f"$\\eta = {eta.replace('.', '{,}')}$" for eta in ETAS} | {
    "sigma": r"$\hat\sigma$"
}


# --- Celdas ---------------------------------------------------------------------------------------


def number(x: float, digits: int, infinite: str = "diverge") -> str:
    """Un número con coma decimal; si es infinito, lo que se diga."""
    if math.isinf(x):
        return infinite
    return f"{x:.{digits}f}".replace(".", ",").replace("-", "\N{MINUS SIGN}")


def cell(
    found: Mapping[int, float], digits: int = 2, scale: float = 1.0, infinite: str = "diverge"
) -> str:
    """La media de las semillas y, si hay varias, su desviación típica."""
    values = [scale * x for x in found.values()]
    if not values:
        return PENDING
    if len(values) == 1 or any(math.isinf(x) for x in values):
        return " / ".join(number(x, digits, infinite) for x in values)
    space = "\N{NO-BREAK SPACE}"
    return f"{number(mean(values), digits)}{space}±{space}{number(stdev(values), digits)}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Una tabla de Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


# --- Las tablas -----------------------------------------------------------------------------------

BITS_REFERENCES = {
    "bits/uniform": "los 17 niveles, igual de probables",
    "bits/normal": r"el ruido de partida: cada píxel, $\mathcal N(0, 1)$",
    "bits/shared_histogram": "un histograma para todos los píxeles",
    "bits/pixel_histogram": "**un histograma para cada píxel**",
} | {
    f"independent/{schedule}/{variance}": (
        rf"la red exacta de píxeles independientes, {name}, ${symbol}$"
    )
    for schedule, name in (("cosine", "coseno"), ("linear", "lineal"))
    for variance, symbol in (("fixed_small", r"\tilde\beta_t"), ("fixed_large", r"\beta_t"))
}
"""Lo que no es una red entrenada, por su camino en la unidad `reference`."""


def _reference(results: Results) -> str:
    rows = [
        (label, "—", cell(by_seed(results, "reference", path, (0,))))
        for path, label in BITS_REFERENCES.items()
    ]
    for label, unit in BITS_NETWORKS.items():
        for steps, found in ((STEPS, unit), (LONG_STEPS, long_unit(unit))):
            rows.append((label, str(steps), cell(spent(results, found).bits)))
    return markdown(("", "pasos de entrenamiento", "bits por dimensión"), rows)


def long_unit(unit: str) -> str:
    """La unidad de la misma red con más entrenamiento."""
    return f"long-{unit.split('-', 1)[1].removesuffix('-s{seed}')}-long-s{{seed}}"


def _rounding(results: Results) -> str:
    parts = ("total", "decoder", "low_noise", "rest", "epsilon_error_1")
    return markdown(
        (
            r"red de $L_{\text{híbrida}}$",
            "bits",
            "$L_0$",
            rf"términos con $\mathrm{{SNR}}_t > {LOW_NOISE}$",
            "los demás",
            r"$\mathrm{MSE}_\epsilon$ en $t = 1$",
            rf"cuántos términos con $\mathrm{{SNR}}_t > {LOW_NOISE}$",
        ),
        [
            (
                label,
                *(cell(where_bits_go(results, name, part)) for part in parts),
                cell(where_bits_go(results, name, "low_noise_terms"), 0),
            )
            for name, label in (("linear", "lineal"), ("cosine", "coseno"))
        ],
    )


def where_bits_go(results: Results, schedule: str, part: str) -> dict[int, float]:
    """Una parte de los bits de la red que aprende su varianza, por semilla."""
    return by_seed(results, f"iddpm-bits-{schedule}-hybrid-s{{seed}}", part)


def _copies(results: Results) -> str:
    rows = [
        (
            f"{label}: {count}",
            *(
                cell(by_seed(results, "reference", f"copies/{target}/{count}", (0,)), 3)
                for target in ("train", "held_out")
            ),
        )
        for count, label in (
            ("1000", "copias de los de entrenamiento"),
            ("359", "copias de los de entrenamiento"),
        )
    ]
    unseen = cell(by_seed(results, "baseline", "held_out/frechet", (0,)), 3)
    rows.append(("dígitos apartados: 359", unseen, "0"))
    for network in HYBRID_NETWORKS:
        rows.append(
            (
                f"muestras de la red {network.label}: {SAMPLES}",
                *(
                    cell(with_small_variance(results, network.unit, measure), 3)
                    for measure in ("frechet", "frechet_held_out")
                ),
            )
        )
    return markdown(("", "a los de entrenamiento", "a los apartados"), rows)


def _ddpm(results: Results) -> str:
    paper = {
        "epsilon-simple": ("3,17", "3,75"),
        "epsilon-vlb": ("13,51", "3,70"),
        "mu-vlb": ("13,22", "—"),
        "mu-mse": ("inestable", "—"),
    }
    return markdown(
        (
            "la red predice…",
            "artículo: FID",
            "artículo: bits",
            "aquí: Fréchet, 50 pasos",
            "Fréchet, 1000 pasos",
            "bits",
            "acuerdo (%)",
        ),
        [
            (
                label,
                *paper[name],
                cell(by_seed(results, f"ddpm-{name}-s{{seed}}", "frechet")),
                cell(by_seed(results, f"ddpm-full-{name}-s{{seed}}", "frechet")),
                cell(_bits_of(results, f"ddpm-{name}-s{{seed}}", "fixed_large")),
                cell(by_seed(results, f"ddpm-{name}-s{{seed}}", "agreement"), 1, 100),
            )
            for name, label in LABELS.items()
        ],
    )


def _ddpm_mean(results: Results) -> str:
    rows = [(LABELS[name], "ddpm-mean-s{seed}", name) for name in MEAN_VARIANTS]
    label = f"{LABELS['mu-vlb']}, {LONG_STEPS} pasos de entrenamiento"
    rows.append((label, "ddpm-mean-long-s{seed}", LONG_MEAN))
    return markdown(
        ("la red predice…", *(f"$t = {level}$" for level in MEAN_LEVELS)),
        [
            (
                label,
                *(
                    cell(
                        ratio(
                            by_seed(results, unit, f"{name}/{level}"),
                            by_seed(results, unit, f"copy/{level}"),
                        )
                    )
                    for level in MEAN_LEVELS
                ),
            )
            for label, unit, name in rows
        ],
    )


def _bits_of(results: Results, unit: str, variance: str) -> dict[int, float]:
    return by_seed(results, unit, f"bits/{variance}")


def _iddpm(results: Results) -> str:
    simple, hybrid = r"$L_{\text{simple}}$", r"$L_{\text{híbrida}}$"
    rows = (
        ("lineal", simple, "3,77 / 31,3", LINEAR),
        ("lineal", hybrid, "3,66 / 32,2", "iddpm-linear-hybrid-s{seed}"),
        ("coseno", simple, "3,68 / 27,0", COSINE),
        ("coseno", hybrid, "3,62 / 28,0", "iddpm-cosine-hybrid-s{seed}"),
    )

    return markdown(
        (
            "schedule",
            "pérdida",
            "artículo: bits / FID",
            "aquí: bits",
            r"Fréchet con $\tilde\beta_t$",
            "Fréchet con la aprendida",
            r"acuerdo con $\tilde\beta_t$ (%)",
        ),
        [
            (
                schedule,
                loss,
                paper,
                cell(spent(results, unit).bits),
                cell(with_small_variance(results, unit)),
                cell(by_seed(results, unit, "frechet")) if loss == hybrid else "—",
                cell(with_small_variance(results, unit, "agreement"), 1, 100),
            )
            for schedule, loss, paper, unit in rows
        ],
    )


def _iddpm_steps(results: Results) -> str:
    names = {
        "fixed_large": r"$\beta_t$",
        "fixed_small": r"$\tilde\beta_t$",
        "learned_range": "la aprendida",
    }
    networks = (
        (COSINE_NETWORK.label, "iddpm-steps-s{seed}", ("fixed_large", "fixed_small")),
        (HYBRID_NETWORKS[0].label, "iddpm-variances-linear-hybrid-s{seed}", tuple(names)),
        (HYBRID_NETWORKS[1].label, "iddpm-steps-s{seed}", ("learned_range",)),
    )
    return markdown(
        ("red", "varianza", *(f"{steps} pasos" for steps in SAME_STEPS)),
        [
            (
                loss,
                names[variance],
                *(
                    cell(by_seed(results, unit, f"{variance}/{steps}/frechet"))
                    for steps in SAME_STEPS
                ),
            )
            for loss, unit, variances in networks
            for variance in variances
        ],
    )


def _iddpm_gradient(results: Results) -> str:
    names = {"uniform": "uniforme", "importance": "por importancia"}
    units = {"lineal": "iddpm-gradient-linear-s{seed}", "coseno": "iddpm-gradient-s{seed}"}
    return markdown(
        (
            "schedule",
            "reparto de $t$",
            "ruido del gradiente, frente al uniforme",
            "desviación de la pérdida",
        ),
        [
            (
                schedule,
                label,
                cell(
                    ratio(
                        by_seed(results, unit, f"{name}/covariance"),
                        by_seed(results, unit, "uniform/covariance"),
                    ),
                    3,
                ),
                cell(by_seed(results, unit, f"{name}/loss_deviation"), 3),
            )
            for schedule, unit in units.items()
            for name, label in names.items()
        ],
    )


def _ddim(results: Results) -> str:
    paper = {
        "0": "13,36 / 6,84 / 4,67 / 4,16 / 4,04",
        "0.2": "14,04 / 7,11 / 4,77 / 4,25 / 4,09",
        "0.5": "16,66 / 8,35 / 5,25 / 4,46 / 4,29",
        "1": "41,07 / 18,36 / 8,01 / 5,78 / 4,73",
        "sigma": "367,43 / 133,37 / 32,72 / 9,99 / 3,17",
    }
    measured = ("0", "1", "sigma")
    return markdown(
        (
            "",
            "artículo: FID con 10 / 20 / 50 / 100 / 1000",
            *(f"aquí: {steps}" if steps == FEW_STEPS[0] else str(steps) for steps in FEW_STEPS),
            "1000",
        ),
        [
            (
                ETA_NAMES[eta],
                paper[eta],
                *(cell(ddim_frechet(results, eta, steps)) for steps in FEW_STEPS),
                cell(ddim_frechet(results, eta, 1000)) if eta in measured else "—",
            )
            for eta in ETAS
        ],
    )


def _ddim_reconstruction(results: Results) -> str:
    paper = ("140", "65", "23", "9", "4", "1", "1")
    unit = "ddim-reconstruction-s{seed}"
    return markdown(
        ("pasos", *(str(steps) for steps in RECONSTRUCTION_STEPS)),
        [
            ("artículo (CIFAR-10)", *paper),
            (
                "aquí",
                *(
                    cell(by_seed(results, unit, f"error/{steps}"), 2, 1e4)
                    for steps in RECONSTRUCTION_STEPS
                ),
            ),
        ],
    )


def _cfg(results: Results) -> str:
    paper = {
        "0": "1,80 / 1,80 / 2,21",
        "0.1": "1,55 / 1,62 / 1,91",
        "0.2": "2,04 / 2,10 / 2,08",
        "0.3": "3,03 / 2,93 / 2,65",
        "0.5": "5,74 / 5,19 / 4,34",
        "1": "12,6 / 11,21 / 9,13",
        "2": "21,03 / 18,79 / 16,16",
        "4": "26,22 / 23,84 / 21,48",
    }
    return markdown(
        (
            "$w$",
            "artículo: FID con $p$ = 0,1 / 0,2 / 0,5",
            "aquí: Fréchet, $p$ = 0,1",
            "0,2",
            "0,5",
            "acuerdo (%)",
            "log p(clase)",
            "diversidad",
        ),
        [
            (
                w.replace(".", ","),
                fid,
                *(cell(cfg_values(results, p, w, "frechet")) for p in (0.1, 0.2, 0.5)),
                cell(cfg_values(results, 0.1, w, "agreement"), 1, 100),
                cell(cfg_values(results, 0.1, w, "log_probability"), 3),
                cell(cfg_values(results, 0.1, w, "diversity")),
            )
            for w, fid in paper.items()
        ],
    )


def _min_snr(results: Results) -> str:
    names = {
        "x-constant": "$x_0$, peso constante",
        "x-min-snr": "$x_0$, min-SNR",
        "epsilon-constant": r"$\epsilon$, peso constante",
    }
    rows = []
    for name, label in names.items():
        curves = learning_curves(results, name)
        rows.append(
            (
                label,
                *(
                    cell({seed: curve[i][1] for seed, curve in curves.items()})
                    for i in range(len(SNAPSHOTS))
                ),
                cell(steps_to_same_distance(results, name), 0, infinite="no llega"),
            )
        )
    return markdown(
        ("entrenamiento", *(f"{step} pasos" for step in SNAPSHOTS), "pasos hasta igualar"), rows
    )


def _zero_snr(results: Results) -> str:
    unit = "zero-snr-{}-s{{seed}}"
    return markdown(
        (
            "schedule",
            "red entrenada: muy oscuras o claras (%)",
            "red entrenada: desviación de la luminancia",
            f"la exacta, con los mismos {SAMPLING_STEPS} pasos: muy oscuras o claras (%)",
        ),
        [
            (
                label,
                cell(extremes(results, name, exact=False), 1, 100),
                cell(by_seed(results, unit.format(name), "deviation"), 3),
                cell(extremes(results, name, exact=True, pixels="few_steps"), 1, 100),
            )
            for name, label in SCHEDULE_NAMES.items()
        ]
        + [("lo que debería salir", "10,0", number(1 / math.sqrt(3), 3), "10,0")],
    )


def _zero_snr_exact(results: Results) -> str:
    sides = [math.isqrt(pixels) for pixels in UNIFORM_PIXELS]
    return markdown(
        ("schedule", *(f"${side} \\times {side}$" for side in sides)),
        [
            (
                label,
                *(
                    cell(extremes(results, name, exact=True, pixels=pixels), 1, 100)
                    for pixels in UNIFORM_PIXELS
                ),
            )
            for name, label in SCHEDULE_NAMES.items()
        ]
        + [("lo que debería salir", *("10,0" for _ in UNIFORM_PIXELS))],
    )


def _zero_snr_emoji(results: Results) -> str:
    unit = "zero-snr-emoji"
    return markdown(
        ("", "luminancia media", "tan claras como la cuarta parte más clara (%)"),
        [
            (
                label,
                cell(by_seed(results, unit, f"{name}/luminance", (0,)), 3),
                cell(by_seed(results, unit, f"{name}/bright", (0,)), 1, 100),
            )
            for name, label in {"data": "los emojis", **SCHEDULE_NAMES}.items()
        ],
    )


def _ddim_long(results: Results) -> str:
    return markdown(
        (
            f"con {LONG_STEPS} pasos de entrenamiento",
            *(f"{steps} pasos" for steps in FEW_STEPS),
        ),
        [
            (
                ETA_NAMES[eta],
                *(
                    cell(by_seed(results, "ddim-long-s{seed}", f"{eta}/{steps}/frechet"))
                    for steps in FEW_STEPS
                ),
            )
            for eta in LONG_ETAS
        ],
    )


def _long(results: Results) -> str:
    def row(variant: str) -> tuple[str, ...]:
        experiment = "iddpm" if variant in IDDPM_VARIANTS else "ddpm"
        unit = f"{experiment}-{variant}-s{{seed}}"
        units = (unit, long_unit(unit))
        found = (
            *(by_seed(results, unit, "frechet") for unit in units),
            *(spent(results, unit).bits for unit in units),
        )
        agreement = by_seed(results, units[1], "agreement")
        return (
            LONG_LABELS[variant],
            *(cell(only_first(each)) for each in found),
            cell(only_first(agreement), 1, 100),
        )

    def only_first(found: Mapping[int, float]) -> dict[int, float]:
        return {seed: number for seed, number in found.items() if seed == 0}

    return markdown(
        (
            "",
            f"Fréchet, {STEPS} pasos de entrenamiento",
            str(LONG_STEPS),
            f"bits, {STEPS} pasos de entrenamiento",
            str(LONG_STEPS),
            f"acuerdo (%), {LONG_STEPS} pasos de entrenamiento",
        ),
        [row(variant) for variant in LONGER],
    )


LONG_LABELS = {
    "linear-hybrid": r"lineal, $L_{\text{híbrida}}$",
    "cosine-simple": r"coseno, $L_{\text{simple}}$",
    "cosine-hybrid": r"coseno, $L_{\text{híbrida}}$",
} | {name: f"lineal, {label}" for name, label in LABELS.items()}

BITS_NETWORKS = {
    r"lineal, $\epsilon$ con $L_{\text{simple}}$": LINEAR,
    r"lineal, $\epsilon$ con $L$": "ddpm-epsilon-vlb-s{seed}",
    r"lineal, $L_{\text{híbrida}}$": "iddpm-linear-hybrid-s{seed}",
    r"coseno, $L_{\text{simple}}$": COSINE,
    r"coseno, $L_{\text{híbrida}}$": "iddpm-cosine-hybrid-s{seed}",
}
"""Las redes entrenadas que dan bits de una magnitud razonable, por su unidad."""

TABLES: dict[str, Callable[[Results], str]] = {
    "reference": _reference,
    "copies": _copies,
    "rounding": _rounding,
    "ddpm": _ddpm,
    "ddpm-mean": _ddpm_mean,
    "iddpm": _iddpm,
    "iddpm-steps": _iddpm_steps,
    "iddpm-gradient": _iddpm_gradient,
    "ddim": _ddim,
    "ddim-long": _ddim_long,
    "ddim-reconstruction": _ddim_reconstruction,
    "cfg": _cfg,
    "min-snr": _min_snr,
    "zero-snr": _zero_snr,
    "zero-snr-exact": _zero_snr_exact,
    "zero-snr-emoji": _zero_snr_emoji,
    "long": _long,
}


# --- Veredictos y recuento ------------------------------------------------------------------------

TONES = {
    Outcome.HOLDS: "success",
    Outcome.FAILS: "failure",
    Outcome.UNCLEAR: "warning",
    Outcome.PENDING: "note",
}


def table(name: str, results: Results) -> str:
    """Una tabla de la página, por su nombre.

    Raises:
        KeyError: si no existe.
    """
    return TABLES[name](results)


def verdict(name: str, results: Results) -> str:
    """El veredicto de una afirmación y en qué se basa, en un recuadro.

    Raises:
        KeyError: si la afirmación no existe.
    """
    claim = CLAIMS[name]
    judged = judge(claim, results)
    text = claim.text[0].upper() + claim.text[1:]
    lines = [
        f'!!! {TONES[judged.outcome]} "{judged.outcome.capitalize()}"',
        "",
        f"    **{text}.**",
        "",
        *(
            f"    {line}"
            for line in markdown(
                ("comparación", "por cuánto, en cada semilla", "resultado"),
                [_comparison(each) for each in judged.comparisons],
            ).splitlines()
        ),
    ]
    if judged.below:
        names = "; ".join(
            f"{label} ({number(100 * agreement, 1)}{PERCENT})"
            for label, agreement in judged.below.items()
        )
        reason = "Por debajo del listón del acuerdo, en su peor semilla"
        lines += ["", f"    No se puede juzgar. {reason}: {names}."]
    return "\n".join(lines) + "\n"


SECTIONS = {
    "ddpm": "DDPM",
    "iddpm": "Improved DDPM",
    "ddim": "DDIM",
    "cfg": "CFG",
    "min-snr": "Min-SNR",
    "zero-snr": "Señal terminal nula",
}
"""Las secciones de la página, por su ancla; el nombre de una afirmación empieza por la suya."""


def summary(results: Results) -> str:
    """Todas las afirmaciones, con la sección donde se juzgan y su veredicto."""
    return markdown(
        ("sección", "afirmación", "veredicto"),
        [
            (f"[{title}](#{anchor})", claim.text, f"**{judge(claim, results).outcome}**")
            for anchor, title in SECTIONS.items()
            for name, claim in CLAIMS.items()
            if name.startswith(anchor)
        ],
    )


def progress(results: Results) -> str:
    """Cuántas unidades hay hechas y cuánto han tardado."""
    names = [unit.name for unit in units()]
    done = [results[name] for name in names if name in results]
    minutes = sum(record["seconds"] for record in done) / 60
    return (
        f"Están hechas {len(done)} de las {len(names)} unidades (cada una es un entrenamiento o "
        "una medida), y han llevado "
        f"{number(minutes, 0)} minutos con un solo hilo"
    )


def measured(path: str, digits: int, results: Results, scale: float = 1.0) -> str:
    """Un valor suelto, `unidad/camino`."""
    unit, _, rest = path.partition("/")
    found = value(results, unit, rest)
    return PENDING if found is None else number(scale * found, digits)


def fact(name: str, results: Results) -> str:
    """Un dato de la prosa que sale de varios resultados.

    Raises:
        KeyError: si no existe.
    """
    found = FACTS[name](results)
    return PENDING if found is None else found


def _network_bits_range(results: Results) -> str | None:
    found = [
        bits
        for unit in (LINEAR, COSINE, *(network.unit for network in HYBRID_NETWORKS))
        for bits in spent(results, unit).bits.values()
    ]
    return f"entre {number(min(found), 2)} y {number(max(found), 2)}" if found else None


def _cosine_excess(results: Results) -> str | None:
    linear, cosine = (spent(results, unit).bits for unit in (LINEAR, COSINE))
    if not linear or not cosine:
        return None
    return number(mean(cosine.values()) - mean(linear.values()), 2)


def _hybrid_cost(results: Results, *, learned: bool) -> str | None:
    found = [
        hybrid_cost(results, network.unit, simple, learned=learned).values()
        for network, simple in zip(HYBRID_NETWORKS, (LINEAR, COSINE), strict=True)
    ]
    if not all(found):
        return None
    linear, cosine = (f"entre {number(min(x), 2)} y {number(max(x), 2)}" for x in found)
    return f"{linear} con el lineal y {cosine} con el coseno"


def _long_hybrid_cost(results: Results) -> str | None:
    changes = []
    for network, simple in zip(HYBRID_NETWORKS, (LINEAR, COSINE), strict=True):
        short = hybrid_cost(results, network.unit, simple, learned=True)
        long = hybrid_cost(results, long_unit(network.unit), long_unit(simple), learned=True)
        if 0 not in short or 0 not in long:
            return None
        changes.append(f"de {number(short[0], 2)} a {number(long[0], 2)}")
    linear, cosine = changes
    return f"{linear} con el lineal y {cosine} con el coseno"


def _vlb_agreement(results: Results) -> str | None:
    found = by_seed(results, "ddpm-epsilon-vlb-s{seed}", "agreement")
    return number(100 * mean(found.values()), 0) if found else None


def _in_both_schedules(results: Results, part: str) -> tuple[float, float] | None:
    """Una parte de los bits con el schedule lineal y con el coseno, si están los dos."""
    linear, cosine = (where_bits_go(results, name, part) for name in ("linear", "cosine"))
    if not linear or not cosine:
        return None
    return mean(linear.values()), mean(cosine.values())


def _first_epsilon_error(results: Results) -> str | None:
    errors = _in_both_schedules(results, "epsilon_error_1")
    if errors is None:
        return None
    linear, cosine = errors
    return f"{number(linear, 2)} con el lineal y {number(cosine, 2)} con el coseno"


def _silent_error(results: Results) -> str | None:
    linear, cosine = (
        value(results, "reference", f"silent_error/{name}") for name in ("linear", "cosine")
    )
    if linear is None or cosine is None:
        return None
    return f"{number(linear, 2)} y {number(cosine, 2)}"


def _ddim_thousand(results: Results) -> str | None:
    found = [ddim_frechet(results, eta, 1000) for eta in ("0", "1", "sigma")]
    if not all(found):
        return None
    means = [mean(each.values()) for each in found]
    return number(max(means) / min(means), 2)


def _cosine_rounding(results: Results) -> str | None:
    errors = where_bits_go(results, "cosine", "epsilon_error_1")
    each = value(results, "reference", "rounding_bits")
    return None if each is None or not errors else number(each * mean(errors.values()), 2)


def _cosine_more(results: Results, part: str) -> str | None:
    found = _in_both_schedules(results, part)
    if found is None:
        return None
    linear, cosine = found
    return number(cosine - linear, 2)


def _clipping(_: Results) -> str:
    return number(digits_recipe("epsilon-simple", 0).training.grad_clip, 0)


FACTS: dict[str, Callable[[Results], str | None]] = {
    "bits-de-las-redes": _network_bits_range,
    "bits-de-mas-del-coseno": _cosine_excess,
    "bits-de-no-redondear": _cosine_rounding,
    "acuerdo-con-la-cota": _vlb_agreement,
    "hibrida-con-la-misma-varianza": partial(_hybrid_cost, learned=False),
    "hibrida-con-la-aprendida": partial(_hybrid_cost, learned=True),
    "hibrida-con-mas-entrenamiento": _long_hybrid_cost,
    "ddim-mil-pasos": _ddim_thousand,
    "error-de-epsilon-en-1": _first_epsilon_error,
    "error-de-no-responder": _silent_error,
    "bits-de-mas-con-poco-ruido": partial(_cosine_more, part="low_noise"),
    "bits-de-mas-con-lo-demas": partial(_cosine_more, part="rest"),
    "bits-de-mas-de-las-dos": partial(_cosine_more, part="total"),
    "recorte-del-gradiente": _clipping,
}


def _comparison(comparison: Comparison) -> tuple[str, str, str]:
    gaps = "; ".join(f"{number(100 * gap, 1)}{PERCENT}" for gap in comparison.gaps)
    doubt = f": {comparison.doubt}" if comparison.gaps and comparison.doubt else ""
    aside = f" ({comparison.aside})" if comparison.aside else ""
    return comparison.text, gaps or "—", f"{comparison.outcome}{doubt}{aside}"
