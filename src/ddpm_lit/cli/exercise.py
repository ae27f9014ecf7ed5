"""`ddpm-lit ejercicio`: los ejercicios de código del libro."""

from itertools import groupby
from pathlib import Path

import click


@click.command(
    "ejercicio",
    short_help="Los ejercicios de código del libro.",
    options_metavar="",
)
@click.argument("name", metavar="[NOMBRE]", required=False)
def exercise_command(name: str | None) -> int:
    """Enseña los ejercicios de código del libro o, si se dice su NOMBRE, copia uno o lo corrige.

    La primera vez deja en la carpeta en que estás el fichero NOMBRE.py, con una función por
    completar. Las siguientes ejecuta el tuyo y dice si está bien; si no, qué sale, qué debía
    salir y una pista. Nunca escribe encima de un fichero que ya esté. Termina con 0 si está bien
    y con 1 si no.

    \b
    Ejemplos:
      ddpm-lit ejercicio
      ddpm-lit ejercicio salto
    """
    from ddpm_lit.exercises.running import copy_start, correct
    from ddpm_lit.exercises.table import EXERCISES

    if name is None:
        _list()
        return 0
    if name not in EXERCISES:
        raise ValueError(
            f"No hay ningún ejercicio «{name}». Hay: {', '.join(EXERCISES)}."
        )
    path = copy_start(name, Path())
    if path is not None:
        click.echo(
            f"{path}: completa la función {EXERCISES[name].function} y repite la orden "
            "para comprobarla."
        )
        return 0
    problems = correct(name, Path(f"{name}.py"))
    if not problems:
        click.echo(f"{name}: bien.")
        return 0
    click.echo(f"{name}: todavía no.")
    for line in problems:
        click.echo(f"  {line}")
    return 1


def _list() -> None:
    from ddpm_lit.exercises.table import EXERCISES

    click.echo("Ejercicios de código (ddpm-lit ejercicio NOMBRE):")
    width = max(map(len, EXERCISES))
    by_chapter = groupby(EXERCISES.items(), key=lambda item: item[1].chapter)
    for chapter, exercises in by_chapter:
        click.echo(f"\n{chapter}")
        for name, exercise in exercises:
            click.echo(f"  {name:{width}}  {exercise.summary}")
