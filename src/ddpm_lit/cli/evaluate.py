"""`ddpm-lit evaluate`: medir un modelo entrenado."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ddpm_lit.cli.options import (
    Amount,
    Generation,
    amount_options,
    at_least,
    ending_in,
    generation_options,
    open_model,
)
from ddpm_lit.cli.spanish import duration, integer


@click.command(
    "evaluate",
    short_help="Mide un modelo entrenado.",
    options_metavar="[OPCIONES]",
)
@click.argument("model", metavar="MODELO")
@click.option(
    "--data",
    metavar="DATOS|CARPETA",
    help="Con qué se compara: un conjunto (ddpm-lit info los enseña) o una carpeta de imágenes; si "
    "no se dice, los de la receta.",
)
@amount_options("Cuántas muestras se miden.", type=at_least(4), default=1000)
@generation_options
@click.option(
    "--bits",
    metavar="N",
    type=at_least(1),
    help="Mide también la verosimilitud de N datos, en bits por dimensión: T evaluaciones de la "
    "red por dato.",
)
@click.option(
    "--out",
    metavar="JSON",
    callback=ending_in(".json"),
    help="Todas las medidas, en JSON.",
)
def evaluate_command(
    model: str,
    data: str | None,
    amount: Amount,
    generation: Generation,
    bits: int | None,
    out: Path | None,
) -> None:
    """Genera muestras con un MODELO y las mide frente a los datos con que se entrenó.

    Con imágenes que tienen clases: la distancia de Fréchet, la precisión y la cobertura, en los
    rasgos de una red pequeña que se entrena con los mismos datos (no es el FID de Inception: solo
    se compara consigo misma), y el acuerdo de clase. Con puntos del plano, un contraste de que
    siguen la misma distribución. Y, siempre, la distancia al dato más parecido, que dice si el
    modelo copia. Si la receta apartó datos, se miden también: es lo que daría un modelo perfecto.
    Lo que cambia con el número de imágenes se compara siempre con el mismo número de unas y otras.

    \b
    Ejemplos:
      ddpm-lit evaluate runs/digits-class --sampler ddim --steps 50
      ddpm-lit evaluate runs/digits-class --guidance 1 --out medidas.json
      ddpm-lit evaluate runs/digits -n 100 --bits 200
    """
    import torch

    from ddpm_lit.evaluation.measure import (
        conditions_of,
        evaluate_samples,
        feature_network,
        left_out,
        likelihood,
        reference_data,
    )
    from ddpm_lit.files.weights import write_atomically
    from ddpm_lit.machine.devices import choose_device
    from ddpm_lit.noise import batch_indices

    where, seed = choose_device(amount.device), amount.seed
    count = amount.count or 0
    trained = open_model(model, where)
    config = trained.sampling(**generation.changes())
    generation.check(config.guidance)
    train_set, held_out = reference_data(trained, data, note=_say)
    classifier = feature_network(train_set, note=_say)
    for sentence in left_out(train_set, held_out, classifier):
        _say(sentence)
    report: dict[str, Any] = {
        "model": trained.recipe.name,
        "data": data or trained.recipe.data.name,
        "trained_on_data": data is None,
        "samples": count,
        "seed": seed,
        **vars(config),
    }
    if bits is not None:
        # Antes de generar: si no se pueden medir, se sabe en seguida.
        measured = held_out or train_set
        amount_of_bits = min(bits, len(measured))
        report["bits"] = likelihood(
            trained,
            measured.subset(
                batch_indices(len(measured), amount_of_bits, seed, 0)
            ),
            seed=seed,
            batch_size=amount.batch_size,
            device=where,
            progress=sys.stderr.isatty(),
        )
    # Se piden las condiciones de datos reales al azar: cada una, tanto como aparece en ellos.
    rows = torch.tensor(batch_indices(len(train_set), count, seed, 0))
    condition: dict[str, Any] = dict(conditions_of(trained, train_set, rows))
    if condition.pop("tokens", None) is not None:
        condition["text"] = [train_set.captions[row] for row in rows.tolist()]

    started = time.perf_counter()
    samples = trained.sample(
        count,
        seed=seed,
        device=where,
        batch_size=amount.batch_size,
        progress=sys.stderr.isatty(),
        **condition,
        **generation.changes(),
    )
    report["seconds"] = round(time.perf_counter() - started, 1)
    report["device"] = str(where)
    asked = (
        train_set.labels[rows]
        if condition and train_set.labels is not None
        else None
    )
    report |= evaluate_samples(
        samples,
        train_set,
        held_out,
        labels=asked,
        classifier=classifier,
        seed=seed,
    )
    for line in _lines(report):
        click.echo(line)
    if out is not None:
        content = json.dumps(report, ensure_ascii=False, indent=1)
        write_atomically(out, f"{content}\n".encode())
        click.echo(f"Todo, en «{out}».")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Las medidas, una por línea, con lo que daría un modelo perfecto si se sabe."""
    yield (
        f"{report['model']}: {integer(report['samples'])} muestras en {report['steps']} pasos de "
        f"{report['sampler']} ({duration(report['seconds'])}, {report['device']})."
    )
    if "energy" in report:
        energy = report["energy"]
        verdict = (
            "no se distinguen de"
            if energy["p_value"] >= 0.05
            else "no siguen la de"
        )
        yield (
            f"Distribución: las muestras {verdict} los datos (distancia de energía "
            f"{_short(energy['statistic'])}, valor p {_short(energy['p_value'])})."
        )
    if "frechet" in report:
        yield from _frechet(report["frechet"], report["trained_on_data"])
        if "precision_recall" in report:
            yield from _quality(report["precision_recall"])
        yield f"Diversidad (distancia media entre dos muestras): {_beside(report['diversity'])}."
    if "agreement" in report:
        yield f"Acuerdo con la clase pedida: {_beside(report['agreement'], '{:.1%}')}."
    nearest = report["nearest"]
    medians = {
        name: value and value["median"] for name, value in nearest.items()
    }
    of = " de entrenamiento" if report["trained_on_data"] else ""
    yield (
        f"Distancia al dato{of} más parecido: {_beside(medians)}; la menor, "
        f"{_short(nearest['samples']['min'])}."
    )
    if "bits" in report:
        bits = report["bits"]
        error = bits["standard_error"]
        yield (
            f"Bits por dimensión de {integer(bits['data'])} datos: {bits['total']:.3f}"
            f"{'' if error is None else f' ± {error:.3f}'} (L_T {_short(bits['prior'])}, L_(t-1) "
            f"{_short(bits['middle'])}, L_0 {_short(bits['reconstruction'])})."
        )


def _frechet(measure: dict[str, Any], trained_on_data: bool) -> Iterator[str]:
    """Las distancias de Fréchet, cada una con su número de imágenes."""
    whole, fair = measure["samples"], measure["same_size"]
    data = "los de entrenamiento" if trained_on_data else "estos datos"
    text = f"a {data}, {_short(whole['to_data'])}"
    if whole["to_held_out"] is not None:
        text += f"; a los apartados, {_short(whole['to_held_out'])}"
    yield (
        f"Distancia de Fréchet con {integer(whole['n'])} muestras: {text} (rasgos de una red "
        "pequeña: no es el FID de Inception, y depende de cuántas muestras sean)."
    )
    if fair is None:
        yield (
            "  Sin datos apartados no se sabe qué distancia daría un modelo perfecto, y la "
            "distancia a los datos que vio premia copiarlos."
        )
        return
    near, far = fair["to_data"], fair["to_held_out"]
    yield (
        f"  Con {integer(fair['n'])} imágenes, a {data} (premia copiarlos): las muestras, "
        f"{_short(near['samples'])}; los datos apartados, {_short(near['held_out'])}."
    )
    yield (
        f"  Con {integer(fair['n'])} imágenes, a los apartados: las muestras, "
        f"{_short(far['samples'])}; {data}, {_short(far['data'])}."
    )


def _quality(measure: dict[str, Any]) -> Iterator[str]:
    """La precisión y la cobertura, con su número de imágenes."""
    whole, fair = measure["samples"], measure["same_size"]
    yield f"Precisión y cobertura con {integer(whole['n'])} muestras: {_both(whole)}."
    if fair is not None:
        yield (
            f"  Con {integer(fair['n'])} imágenes: las muestras, {_both(fair['samples'])}; los "
            f"datos apartados, {_both(fair['held_out'])}."
        )


def _both(quality: dict[str, float]) -> str:
    return f"{quality['precision']:.0%} y {quality['recall']:.0%}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def _beside(pair: dict[str, float | None], style: str = "{:.3g}") -> str:
    """La medida de las muestras y, si se apartaron datos, la de esos datos."""
    text = style.format(pair["samples"])
    if pair["held_out"] is not None:
        text += f"; los datos apartados, {style.format(pair['held_out'])}"
    return text
