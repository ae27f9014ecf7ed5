"""`ddpm-lit evaluate`: medir un modelo entrenado."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_lit.cli.launch import share
from ddpm_lit.cli.options import (
    Amount,
    Generation,
    amount_options,
    at_least,
    check_writable,
    ending_in,
    generation_options,
    grouped,
    open_model,
)
from ddpm_lit.cli.spanish import duration, integer, place

if TYPE_CHECKING:
    from ddpm_lit.evaluation.card import Card, Change, Protocol
    from ddpm_lit.models.trained import Trained

NAMES = {
    "inception.fid.to_data": "FID",
    "inception.kid.mean": "KID",
    "frechet.samples.to_data": "distancia de Fréchet",
    "frechet.samples.to_held_out": "distancia de Fréchet a los apartados",
    "precision_recall.samples.precision": "precisión",
    "precision_recall.samples.recall": "cobertura",
    "diversity.samples": "diversidad",
    "agreement.samples": "acuerdo con la clase pedida",
    "energy.statistic": "distancia de energía",
    "nearest.samples.median": "distancia al dato más parecido",
    "bits.total": "bits por dimensión",
}
"""Las cifras que se enseñan con su desviación si se piden varias semillas."""


@dataclass(frozen=True)
class Measures:
    """Qué se mide además de lo de siempre, y cuántas veces."""

    bits: int | None
    fid: bool
    inception: Path | None
    seeds: int


@dataclass(frozen=True)
class Record:
    """La ficha que se repite y la que se escribe."""

    card: Path | None
    out: Path | None


@click.command(
    "evaluate",
    short_help="Mide un modelo entrenado.",
    options_metavar="[OPCIONES]",
)
@click.argument("model", metavar="MODELO", required=False)
@click.option(
    "--data",
    metavar="DATOS|CARPETA",
    help="Con qué se compara: un conjunto (ddpm-lit info los enseña) o una carpeta de imágenes; si "
    "no se dice, los de la receta.",
)
@amount_options("Cuántas muestras se miden.", type=at_least(4), default=1000)
@generation_options
@grouped(
    "measures",
    Measures,
    click.option(
        "--bits",
        metavar="N",
        type=at_least(1),
        help="Mide también la verosimilitud de N datos, en bits por dimensión: T evaluaciones de "
        "la red por dato.",
    ),
    click.option(
        "--fid",
        is_flag=True,
        help="Mide también el FID y el KID, con la Inception de torch-fidelity.",
    ),
    click.option(
        "--inception",
        metavar="FICHERO",
        type=click.Path(path_type=Path),
        help="Los pesos de Inception; si no se dice, donde los deja torch-fidelity.",
    ),
    click.option(
        "--seeds",
        metavar="N",
        type=at_least(1),
        default=1,
        help="Lo mide todo con N semillas seguidas y dice cuánto cambia de una a otra.",
    ),
)
@grouped(
    "record",
    Record,
    click.option(
        "--card",
        metavar="FICHA",
        type=click.Path(path_type=Path),
        help="Repite la evaluación de una ficha y dice qué difiere. Se puede dar otro MODELO, otro "
        "sitio de los mismos datos (--data), --inception, --batch-size, --device y --processes.",
    ),
    click.option(
        "--out",
        metavar="JSON",
        callback=ending_in(".json"),
        help="La ficha: todas las medidas y con qué se han hecho. Si no se dice, "
        "ficha-MODELO.json, con un número si ya la hay.",
    ),
)
def evaluate_command(
    model: str | None,
    data: str | None,
    amount: Amount,
    generation: Generation,
    measures: Measures,
    record: Record,
) -> None:
    """Genera muestras con un MODELO y las mide frente a los datos con que se entrenó.

    Con imágenes que tienen clases: la distancia de Fréchet, la precisión y la cobertura, en los
    rasgos de una red pequeña que se entrena con los mismos datos (no es el FID de Inception: solo
    se compara consigo misma), y el acuerdo de clase. Con puntos del plano, un contraste de que
    siguen la misma distribución. Y, siempre, la distancia al dato más parecido, que dice si el
    modelo copia. Si la receta apartó datos, se miden también: es lo que daría un modelo perfecto.
    Lo que cambia con el número de imágenes se compara siempre con el mismo número de unas y otras.

    Todo queda en una ficha, que se puede repetir.

    \b
    Ejemplos:
      ddpm-lit evaluate runs/digits-class --sampler ddim --steps 50
      ddpm-lit evaluate runs/digits-class --fid --seeds 3 --out antes.json
      ddpm-lit evaluate --card antes.json
      ddpm-lit evaluate runs/digits -n 100 --bits 200
    """
    from ddpm_lit.evaluation.card import read_card, write_card
    from ddpm_lit.evaluation.evaluate import evaluate
    from ddpm_lit.machine.processes import processes_for

    before: Card | None = None
    if record.card is None:
        if model is None:
            raise click.UsageError("Falta el MODELO, o una ficha con --card.")
        if measures.inception is not None and not measures.fid:
            raise click.UsageError(
                "--inception dice dónde están los pesos con que se mide el FID: añade --fid."
            )
        share(amount.processes)
        processes = processes_for(amount.device)
        trained = open_model(model, processes.device)
        protocol = _protocol(model, trained, data, amount, generation, measures)
    else:
        _refuse_with_card()
        before = read_card(record.card)
        share(amount.processes)
        processes = processes_for(amount.device or _same_device(before))
        protocol = _repeated(before.protocol, model, data, amount)
        trained = open_model(protocol.model, processes.device)
    out = record.out or _free_path(trained.recipe.name)
    check_writable(out)
    card = evaluate(
        trained,
        protocol,
        processes=processes,
        inception=measures.inception,
        note=_say,
        progress=sys.stderr.isatty(),
    )
    if not processes.main:
        return
    for line in _lines(card):
        click.echo(line)
    if before is not None:
        for line in _differences(before, card, str(record.card)):
            click.echo(line)
    write_card(card, out)
    click.echo(f"Todo, en la ficha «{out}».")


def _protocol(
    model: str,
    trained: "Trained",
    data: str | None,
    amount: Amount,
    generation: Generation,
    measures: Measures,
) -> "Protocol":
    """Lo que se ha pedido, con lo que lleve el modelo en lo que no se ha dicho."""
    from ddpm_lit.evaluation.card import Protocol

    config = trained.sampling(**generation.changes())
    generation.check(config.guidance)
    return Protocol(
        model=model,
        data=data,
        sampling=config,
        samples=amount.count or 0,
        seed=amount.seed,
        seeds=measures.seeds,
        batch_size=amount.batch_size,
        bits=measures.bits,
        fid=measures.fid,
    )


CHANGED_WITH_CARD = {
    *("model", "data", "batch_size", "device", "processes"),
    *("inception", "card", "out"),
}


def _refuse_with_card() -> None:
    """Con una ficha no se puede pedir otra cosa: ya no sería repetirla."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    for parameter in context.command.params:
        name = parameter.name or ""
        asked = context.get_parameter_source(name) is given
        if asked and name not in CHANGED_WITH_CARD:
            raise click.UsageError(
                f"--card repite una evaluación tal como fue: quita {parameter.opts[0]}, o quita "
                "--card para medir otra cosa."
            )


def _repeated(
    protocol: "Protocol", model: str | None, data: str | None, amount: Amount
) -> "Protocol":
    """Lo mismo, con el modelo y los datos donde se diga que están ahora."""
    from dataclasses import replace

    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    batch = context.get_parameter_source("batch_size") is given
    return replace(
        protocol,
        model=model or protocol.model,
        data=data or protocol.data,
        batch_size=amount.batch_size if batch else protocol.batch_size,
    )


def _same_device(card: "Card") -> str | None:
    """El dispositivo de una ficha, si esta máquina lo tiene."""
    from ddpm_lit.machine.devices import choose_device

    wanted = card.environment.get("device")
    try:
        return str(choose_device(str(wanted)))
    except ValueError:
        _say(f"Se midió en «{wanted}», que aquí no hay.")
        return None


def _free_path(name: str) -> Path:
    """El nombre de la ficha de un modelo en la carpeta actual, sin pisar ninguna."""
    stem = "ficha-" + re.sub(r"[^\w.-]+", "-", name)
    path, number = Path(f"{stem}.json"), 2
    while path.exists():
        path, number = Path(f"{stem}-{number}.json"), number + 1
    return path


def _say(text: str) -> None:
    click.echo(text, err=True)


def _lines(card: "Card") -> Iterator[str]:
    """Las medidas, una por línea, con lo que daría un modelo perfecto si se sabe."""
    from ddpm_lit.evaluation.card import mean_result

    protocol, report = card.protocol, mean_result(card.results)
    trained_on_data = card.reference["trained_on"]
    environment = card.environment
    where = place(environment["device"], environment["processes"])
    several = f" con cada una de {protocol.seeds} semillas"
    yield (
        f"{card.model['name']}: {integer(protocol.samples)} muestras"
        f"{several if protocol.seeds > 1 else ''} en {protocol.sampling.steps} pasos de "
        f"{protocol.sampling.sampler} ({duration(card.seconds)}, {where})."
    )
    if protocol.seeds > 1:
        yield "Las cifras son las medias de todas las semillas."
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
    if "inception" in report:
        published = card.extractors["inception"]["published"]
        yield from _inception(report["inception"], trained_on_data, published)
    if "frechet" in report:
        yield from _frechet(report["frechet"], trained_on_data)
        if "precision_recall" in report:
            yield from _quality(report["precision_recall"])
        yield f"Diversidad (distancia media entre dos muestras): {_beside(report['diversity'])}."
    if "agreement" in report:
        yield f"Acuerdo con la clase pedida: {_beside(report['agreement'], '{:.1%}')}."
    nearest = report["nearest"]
    medians = {
        name: value and value["median"] for name, value in nearest.items()
    }
    of = " de entrenamiento" if trained_on_data else ""
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
    shown = {name: card.spread[name] for name in NAMES if name in card.spread}
    if shown:
        yield f"De una semilla a otra ({protocol.seeds}), media ± desviación típica:"
    for name, each in shown.items():
        mean, deviation = each["mean"], each["deviation"]
        yield f"  {NAMES[name]}: {_short(mean)} ± {deviation:.2g}"


def _inception(
    measure: dict[str, Any], trained_on_data: bool, published: bool
) -> Iterator[str]:
    """El FID y el KID, con lo que dan otros datos reales del mismo tamaño."""
    fid, kid, fair = measure["fid"], measure["kid"], measure["same_size"]
    data = "los de entrenamiento" if trained_on_data else "estos datos"
    text = f"a {data}, {_short(fid['to_data'])}"
    if fid["to_held_out"] is not None:
        text += f"; a los apartados, {_short(fid['to_held_out'])}"
    yield (
        f"FID con {integer(fid['n'])} muestras: {text}. Depende mucho de cuántas sean: solo se "
        "compara con otro de las mismas."
    )
    if fair is not None:
        real = "los apartados" if fair["held_out"] else "otros datos reales"
        against = (
            data if fair["held_out"] else f"otras {integer(fair['n'])} reales"
        )
        yield (
            f"  Con {integer(fair['n'])} imágenes, a {against}: las muestras, "
            f"{_short(fair['samples']['fid'])}; {real}, {_short(fair['real']['fid'])}."
        )
    yield (
        f"KID, en trozos de {integer(kid['subset_size'])}: {_short(kid['mean'])} ± "
        f"{kid['deviation']:.2g} (no depende de cuántas sean)."
    )
    quality = measure["precision_recall"]
    if quality is not None:
        yield (
            f"Precisión y cobertura en los rasgos de Inception con {integer(quality['n'])} "
            f"muestras: {_both(quality)}."
        )
    if not published:
        yield (
            "Los pesos de Inception no son los que publica torch-fidelity: estas cifras no se "
            "comparan con las de nadie."
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


def _differences(before: "Card", after: "Card", name: str) -> Iterator[str]:
    """Qué ha cambiado desde una ficha: los campos y las cifras."""
    from ddpm_lit.evaluation.card import (
        changed_figures,
        changed_settings,
        figures,
    )

    settings = changed_settings(before, after)
    yield (
        f"Frente a la ficha «{name}»:"
        if settings
        else f"Frente a la ficha «{name}», nada de lo que se apunta ha cambiado."
    )
    for each in settings:
        yield f"  {each.name}: {_value(each.before)} → {_value(each.after)}"
    changed = changed_figures(before, after)
    total = len(figures(after.results[0]))
    if not changed:
        yield f"  Las {total} cifras son las mismas."
        return
    yield f"  Cambian {len(changed)} cifras de {total}:"
    for each in changed:
        yield f"  {_figure(each)}"


def _figure(change: "Change") -> str:
    name, before, after = change
    label = f"{NAMES[name]} ({name})" if name in NAMES else name
    if before is None or after is None:
        return f"{label}: {_value(before)} → {_value(after)}"
    return f"{label}: {before:.6g} → {after:.6g} ({after - before:+.2g})"


def _value(value: Any) -> str:
    return "nada" if value is None else f"«{value}»"
