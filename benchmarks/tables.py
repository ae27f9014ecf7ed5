"""Lo que la página enseña de los resultados, en Markdown. Lo que falta sale como «pendiente»."""

import json
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks.jobs import Job
from benchmarks.memory import NETWORKS, WAYS
from benchmarks.race import Record, Spread, ratio, share, speed, spread
from benchmarks.units import BATCHES, SIDES, WIDTHS

PENDING = "*pendiente*"
SWITCHES, FREED, MEMORY, CHECKS = "switches", "freed", "memory", "checks"
THIN = "\N{NARROW NO-BREAK SPACE}"
PERCENT = f"{THIN}%"
NAMES = {
    "ddpm_lit": "ddpm_lit",
    "diffusers": "diffusers",
    "diffusers-channels-last": "diffusers, en `channels_last`",
    "lucidrains": "lucidrains",
    "matmul": "un producto de matrices",
    "ddpm_lit-bf16": "ddpm_lit, bfloat16",
    "diffusers-channels-last-bf16": "diffusers, en `channels_last`, bfloat16",
    "matmul-bf16": "un producto de matrices, bfloat16",
    "ddpm_lit-bf16-compiled": "ddpm_lit, bfloat16 y compilado",
    "ddpm_lit-bf16-graph": "ddpm_lit, bfloat16, grabado y repetido",
}

Results = Mapping[str, Record]


def number(x: float, digits: int = 2) -> str:
    """Un número con coma decimal."""
    return f"{x:.{digits}f}".replace(".", ",")


def range_(found: Spread, digits: int = 2, scale: float = 1.0) -> str:
    """La mediana y, entre paréntesis, sus cuartiles."""
    middle, low, high = (number(scale * x, digits) for x in found)
    return f"{middle} ({low} a {high})"


def thousands(x: float) -> str:
    """Un número grande, sin decimales y con las cifras de tres en tres."""
    return f"{x:_.0f}".replace("_", THIN)


def megabytes(x: float) -> str:
    """Unos bytes, en MB."""
    return thousands(x / 1e6)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Una tabla de Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def race_table(race: str, results: Results) -> str:
    """Una fila por corredor: tiempo, proporción, velocidad, parte del pico y memoria."""
    runners = results[race]["values"]
    ours = runners["ddpm_lit"]
    quick = all(median(record["seconds"]) < 1 for record in runners.values())
    unit, scale = ("milisegundos", 1000.0) if quick else ("segundos", 1.0)
    rows = []
    for name, record in runners.items():
        rough = "-bf16" in name
        peak = runners["matmul-bf16" if rough else "matmul"]
        alone = record is ours or record["job"]["who"] == "matmul"
        # En CUDA, las convoluciones de float32 son de TF32, y el producto de matrices, no.
        other = record["job"]["device"] == "cuda" and not rough
        reached = number(100 * share(record, peak).median, 0) + PERCENT
        rows.append(
            [
                NAMES[name],
                range_(spread(record["seconds"]), 1 if quick else 2, scale),
                "—" if alone else range_(ratio(record, ours, per_flop=True)),
                thousands(speed(record).median / 1e9),
                "—" if other else reached,
                number(record["memory"] / 2**30, 1),
            ]
        )
    header = ["", unit, "por operación, respecto a ddpm_lit", "GFLOP/s", "del pico", "GiB"]
    return markdown(header, rows)


def switches_table(results: Results) -> str:
    """Una fila por interruptor: el tiempo y la memoria de un paso, y respecto a no tocar nada."""
    if SWITCHES not in results:
        return f"{PENDING}\n"
    runners = results[SWITCHES]["values"]
    usual = runners["ddpm_lit"]
    rows = []
    for name, record in runners.items():
        memory = record["memory"]
        value = json.dumps(record["job"]["switches"].get(name))
        rows.append(
            [
                "ninguno" if name == "ddpm_lit" else f"`{name} = {value}`",
                range_(spread(record["seconds"])),
                "—" if record is usual else range_(ratio(record, usual)),
                number(memory / 2**30, 2),
                "—" if record is usual else number(memory / usual["memory"]),
            ]
        )
    header = ["interruptor", "segundos", "respecto a ninguno", "GiB", "respecto a ninguno"]
    return markdown(header, rows)


def freed_table(results: Results) -> str:
    """Los segundos y los fallos de página de un paso, conservando la memoria o devolviéndola."""
    if FREED not in results:
        return f"{PENDING}\n"
    runners = results[FREED]["values"]
    rows = [
        [
            title,
            range_(spread(runners[name]["seconds"])),
            range_(ratio(runners[name], runners["kept"])) if name != "kept" else "—",
            thousands(median(runners[name]["faults"])),
        ]
        for name, title in (("kept", "conservarla, lo normal"), ("returned", "devolverla"))
    ]
    return markdown(["", "segundos", "respecto a conservarla", "páginas de 4 KiB"], rows)


def memory_table(results: Results) -> str:
    """Los MB de cada proceso: una fila por red, y antes, lo que hay sin entrenar."""
    if MEMORY not in results:
        return f"{PENDING}\n"
    runners = results[MEMORY]["values"]
    rows = [
        [title, "—", megabytes(runners[name]["memory"]), "—", "—"]
        for name, title in (
            ("libraries", "nada: PyTorch y las demás bibliotecas"),
            ("folder", "la carpeta, abierta"),
        )
    ]
    for network in (name for name in NETWORKS if name in runners):
        job = Job(**runners[network]["job"])
        patch = job.config.patch_size
        size = number(runners[network]["parameters"] / 1e6, 1)
        cut = "sin parches" if patch == 1 else rf"parches de ${patch} \times {patch}$"
        cells = [megabytes(runners[f"{network}{way}"]["memory"]) for way in WAYS]
        rows.append([f"entrenar una red de {size} M, {cut}", str(job.batch), *cells])
    header = ["", "lote", "como viene", "devolviendo la memoria", "con `checkpoint_gradients`"]
    return markdown(header, rows)


def growth_table(field: str, results: Results) -> str:
    """Cuánto tarda un paso con cada tamaño, y respecto a diffusers."""
    runners = results[f"growth-{field}"]["values"]
    values, title = GROWTHS[field]
    rows = []
    for value in values:
        ours, theirs = runners[f"ddpm_lit/{value}"], runners[f"diffusers/{value}"]
        rows.append(
            [
                str(value),
                range_(spread(ours["seconds"])),
                number(speed(ours).median / 1e9, 0),
                range_(ratio(ours, theirs)),
                number(ours["memory"] / 2**30, 1),
            ]
        )
    against = "respecto a diffusers en `channels_last`"
    return markdown([title, "segundos", "GFLOP/s", against, "GiB"], rows)


GROWTHS = {
    "side": (SIDES, "lado"),
    "width": (WIDTHS, "canales"),
    "batch": (BATCHES, "lote"),
}


COMPARISONS = (
    ("train-cifar10", "ddpm_lit", "diffusers", False, "entrenar, frente a diffusers"),
    (
        "train-cifar10",
        "ddpm_lit",
        "diffusers-channels-last",
        False,
        "entrenar, frente a diffusers en `channels_last`",
    ),
    ("train-cifar10", "ddpm_lit-bf16", "ddpm_lit", False, "entrenar, bfloat16 frente a float32"),
    (
        "train-cifar10",
        "ddpm_lit-bf16",
        "diffusers",
        False,
        "entrenar, bfloat16 frente a diffusers en float32",
    ),
    (
        "train-cifar10",
        "ddpm_lit",
        "lucidrains",
        True,
        "entrenar, frente a lucidrains, por operación",
    ),
    (
        "train-cifar10",
        "ddpm_lit-bf16",
        "lucidrains",
        True,
        "entrenar, bfloat16 frente a lucidrains en float32, por operación",
    ),
    ("sample-cifar10", "ddpm_lit", "diffusers", False, "generar, frente a la tubería de diffusers"),
    ("sample-cifar10", "ddpm_lit-bf16", "ddpm_lit", False, "generar, bfloat16 frente a float32"),
    (
        "sample-cifar10",
        "ddpm_lit-bf16",
        "diffusers",
        False,
        "generar, bfloat16 frente a la tubería de diffusers en float32",
    ),
)
"""Qué se compara: la tarea, quién, con quién, si es por operación y cómo se llama."""


def targets_table(results: Results) -> str:
    """Las proporciones que resumen lo demás, con la red de CIFAR-10 y con la pequeña."""
    rows = []
    for unit, ours, theirs, per_flop, label in COMPARISONS:
        cells = []
        for network in ("cifar10", "small"):
            found = results.get(unit.replace("cifar10", network), {}).get("values", {})
            both = ours in found and theirs in found
            cells.append(
                range_(ratio(found[ours], found[theirs], per_flop=per_flop)) if both else PENDING
            )
        rows.append([label, *cells])
    return markdown(["tiempo de ddpm_lit al…", "red de CIFAR-10", "red pequeña"], rows)


def quality_table(results: Results) -> str:
    """La distancia de Fréchet de cada uno; de los rivales, la mejor de sus pesos y sus tasas."""
    steps = results.get("fashion-pace", {}).get("values", {}).get("steps", {})
    rows = [["imágenes reales", "", _frechet(results, "fashion-real")]]
    rows.append(["ddpm_lit", _steps(steps, "ddpm_lit"), _frechet(results, "fashion-ddpm_lit")])
    for who in ("diffusers", "lucidrains"):
        for label, title in (("default", "tal como viene"), ("tuned", "afinado")):
            rows.append([f"{who}, {title}", _steps(steps, who), _best(results, who, label)])
    return markdown(["", "pasos", "distancia de Fréchet"], rows)


def _steps(steps: Mapping[str, int], who: str) -> str:
    return number(steps[who], 0) if who in steps else PENDING


def _frechet(results: Results, unit: str) -> str:
    return number(results[unit]["values"]["frechet"], 1) if unit in results else PENDING


def _best(results: Results, who: str, label: str) -> str:
    measured = {
        name: record["values"]["frechet"]
        for name, record in results.items()
        if name.startswith(f"fashion-{who}-")
        and "frechet" in record["values"]
        and (name.startswith(f"fashion-{who}-default-") == (label == "default"))
    }
    return number(min(measured.values()), 1) if measured else PENDING


def profile_table(unit: str, results: Results) -> str:
    """La parte del tiempo que se lleva cada clase de operaciones."""
    kinds = results[unit]["values"]["kinds"]
    rows = [[kind, number(100 * part, 1) + PERCENT] for kind, part in kinds.items()]
    return markdown(["", "parte del tiempo"], rows)


def power(x: float) -> str:
    """Un error, con una cifra y su potencia de diez."""
    if x == 0:
        return "0"
    mantissa, exponent = f"{x:.0e}".split("e")
    return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$"


def checks_table(results: Results) -> str:
    """Lo que se ha comprobado en la tarjeta, y cuánto se aparta."""
    if CHECKS not in results:
        return f"{PENDING}\n"
    found = results[CHECKS]["values"]
    images = "las imágenes de una semilla, respecto a las de la CPU, de media"
    recorded = found["graphs"]["recorded"] / found["graphs"]["seconds"]
    rows = [
        ["el ruido, respecto al de la CPU, como mucho", power(found["noise"]["error"])],
        [images, power(found["sampling"]["mean"])],
        [f"{images}, en bfloat16", power(found["sampling"]["bfloat16"])],
        [
            "el gradiente en bfloat16, `channels_last` y compilado, respecto al de float32",
            number(100 * found["gradients"]["whole"], 1) + PERCENT,
        ],
        ["la red compilada, respecto a la misma sin compilar", power(found["compiled"]["error"])],
        [
            "los pesos tras cortar y reanudar, respecto a no cortar, como mucho",
            power(found["resuming"]["error"]),
        ],
        ["generar con `cuda_graph`, respecto a sin él: el tiempo", number(recorded)],
        ["y las imágenes, como mucho", power(found["graphs"]["largest"])],
    ]
    return markdown(["qué", "cuánto se aparta"], rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "targets": targets_table,
    "quality": quality_table,
    SWITCHES: switches_table,
    FREED: freed_table,
    MEMORY: memory_table,
    CHECKS: checks_table,
}


def table(name: str, results: Results) -> str:
    """La tabla que se llama así: una de `TABLES`, `growth-…` o el nombre de una carrera."""
    if name in TABLES:
        return TABLES[name](results)
    if name not in results:
        return f"{PENDING}\n"
    if name.startswith("growth-"):
        return growth_table(name.removeprefix("growth-"), results)
    if name.startswith("profile-"):
        return profile_table(name, results)
    return race_table(name, results)


def measured(name: str, results: Results) -> str:
    """Una proporción, `unidad/quién/con quién`; acabada en `/flop`, por operación."""
    unit, ours, theirs, *rest = name.split("/")
    runners = results.get(unit, {}).get("values", {})
    if ours not in runners or theirs not in runners:
        return PENDING
    return number(ratio(runners[ours], runners[theirs], per_flop=rest == ["flop"]).median)


def memory(name: str, results: Results) -> str:
    """Los MB que ha llegado a ocupar un corredor, `unidad/quién`."""
    unit, who = name.split("/")
    runners = results.get(unit, {}).get("values", {})
    return megabytes(runners[who]["memory"]) if who in runners else PENDING


def where(results: Results) -> str:
    """En qué máquina y con qué versiones se hizo la tabla."""
    if not results:
        return PENDING
    record: Any = results.get("train-cifar10") or next(iter(results.values()))
    machine, versions = record["machine"], record["versions"]
    flags = ", ".join(machine["flags"]) or "ninguna de las que cuentan"
    peers = ", ".join(f"{name} {versions[name]}" for name in versions if name != "python")
    return (
        f"{machine['gpu'] or machine['cpu']}, {machine['cores']} núcleos "
        f"(instrucciones: {flags}); Python {versions['python']}, {peers}"
    )
