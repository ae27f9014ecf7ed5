"""Los ejercicios de un capítulo: de su fichero de datos, `docs/ejercicios/`, a HTML.

Sin JavaScript se leen igual: las pistas y las respuestas van plegadas. `frontend/exercises.ts` los
convierte en algo que se contesta.
"""

import ast
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import markdown  # type: ignore[import-untyped]

from .project import PACKAGE, ROOT, digest

FOLDER = ROOT / "docs" / "ejercicios"
SOLUTIONS = FOLDER / "soluciones"
STARTS = PACKAGE / "exercises" / "starts"

Inline = Callable[[str], str]
"""Lo que convierte un texto corto de Markdown en HTML."""


@dataclass(frozen=True)
class Option:
    """Una respuesta de una pregunta, y por qué lo es o no lo es."""

    texto: str
    razon: str
    bien: bool = False


@dataclass(frozen=True)
class Question:
    """Una pregunta que se contesta con un clic."""

    enunciado: str
    opciones: tuple[Option, ...]
    pista: str


@dataclass(frozen=True)
class Slip:
    """Un error corriente en una cuenta: la expresión que lo comete, y cuál es."""

    valor: str
    razon: str


@dataclass(frozen=True)
class Calculation:
    """Una cuenta; `valor` es el código que la hace, y su última línea, el número."""

    enunciado: str
    valor: str
    decimales: int
    pista: str
    solucion: str
    errores: tuple[Slip, ...] = ()


@dataclass(frozen=True)
class Code:
    """Un ejercicio de código, que se comprueba con `ddpm-lit ejercicio NOMBRE`."""

    nombre: str
    enunciado: str
    pista: str


@dataclass(frozen=True)
class Chapter:
    """Los ejercicios de un capítulo."""

    preguntas: tuple[Question, ...]
    cuentas: tuple[Calculation, ...]
    codigo: tuple[Code, ...]

    def __iter__(self) -> Iterator["Question | Calculation | Code"]:
        yield from self.preguntas
        yield from self.cuentas
        yield from self.codigo

    def __len__(self) -> int:
        return sum(1 for _ in self)


def load(chapter: str, folder: Path = FOLDER) -> Chapter:
    """Lee los ejercicios de un capítulo.

    Args:
        chapter: el nombre del fichero, sin `.toml`.
        folder: dónde está.

    Raises:
        LookupError: si no hay tal fichero.
        ValueError: si está mal escrito; dice dónde.
    """
    path = folder / f"{chapter}.toml"
    if not path.is_file():
        raise LookupError(f"no existe {path.name} en docs/ejercicios")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        questions = [
            Question(**{**each, "opciones": tuple(Option(**o) for o in each["opciones"])})
            for each in given.pop("pregunta", [])
        ]
        calculations = [
            Calculation(**{**each, "errores": tuple(Slip(**e) for e in each.get("errores", []))})
            for each in given.pop("cuenta", [])
        ]
        code = [Code(**each) for each in given.pop("codigo", [])]
    except (tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} está mal escrito: {error}") from error
    if given:
        raise ValueError(f"{path.name} tiene {', '.join(given)}, que no es nada conocido")
    found = Chapter(tuple(questions), tuple(calculations), tuple(code))
    for problem in _problems(found):
        raise ValueError(f"{path.name}: {problem}")
    return found


def _problems(chapter: Chapter) -> list[str]:
    problems = []
    for question in chapter.preguntas:
        right = sum(option.bien for option in question.opciones)
        start = question.enunciado[:40].strip()
        if right != 1:
            problems.append(f"«{start}…» tiene {right} respuestas buenas y debe tener una")
        if not all(o.texto.strip() and o.razon.strip() for o in question.opciones):
            problems.append(f"«{start}…» tiene una opción sin texto o sin razón")
    for each in chapter:
        if not (each.enunciado.strip() and each.pista.strip()):
            problems.append("hay un ejercicio sin enunciado o sin pista")
    for code in chapter.codigo:
        if not (STARTS / f"{code.nombre}.py").is_file():
            problems.append(f"no hay fichero de partida de «{code.nombre}»")
        if not (SOLUTIONS / f"{code.nombre}.py").is_file():
            problems.append(f"no hay solución de «{code.nombre}»")
    return problems


def values(calculation: Calculation) -> tuple[float, list[float]]:
    """El número de una cuenta, y el de cada uno de sus errores corrientes.

    Raises:
        ValueError: si el código no acaba en una expresión, o no da un número.
    """
    names: dict[str, Any] = {}
    tree = ast.parse(calculation.valor)
    last = tree.body.pop()
    if not isinstance(last, ast.Expr):
        raise ValueError(f"«{calculation.valor.strip()}» no acaba en una expresión")
    exec(compile(tree, "<cuenta>", "exec"), names)
    right = float(eval(compile(ast.Expression(last.value), "<cuenta>", "eval"), names))
    wrong = [float(eval(slip.valor.strip(), names)) for slip in calculation.errores]
    if not all(map(math.isfinite, (right, *wrong))):
        raise ValueError(f"«{calculation.valor.strip()}» no da un número")
    return right, wrong


def tolerance(calculation: Calculation) -> float:
    """Cuánto se puede apartar una respuesta: una unidad del último decimal que se pide."""
    return 10.0**-calculation.decimales if calculation.decimales else 0.5


# --- HTML -----------------------------------------------------------------------------------------


def render(chapter: str, inline: Inline) -> str:
    """El HTML de los ejercicios de un capítulo.

    Args:
        chapter: el nombre del fichero, sin `.toml`.
        inline: la función que convierte un texto corto de Markdown.
    """
    parts = []
    for number, each in enumerate(load(chapter), start=1):
        anchor = f"ejercicio-{chapter}-{number}"
        kind, body = _body(each, inline)
        key = digest(repr(each))[:12]
        title = f"{anchor}-enunciado"
        parts.append(
            f'<div class="dl-ejercicio" id="{anchor}" data-clase="{kind}" data-clave="{key}"'
            f' role="group" aria-labelledby="{title}">'
            f'<p class="dl-ejercicio__enunciado" id="{title}">'
            f'<b class="dl-ejercicio__numero">{number}.</b> {inline(each.enunciado)}</p>'
            f"{body}</div>"
        )
    return (
        '<div class="dl-ejercicios"><dl-ejercicios data-search-exclude>'
        f"{''.join(parts)}</dl-ejercicios></div>"
    )


def _body(exercise: Question | Calculation | Code, inline: Inline) -> tuple[str, str]:
    if isinstance(exercise, Question):
        return "pregunta", _question(exercise, inline)
    if isinstance(exercise, Calculation):
        return "cuenta", _calculation(exercise, inline)
    return "codigo", _code(exercise, inline)


def _folded(css: str, title: str, body: str) -> str:
    return f'<details class="dl-ejercicio__{css}"><summary>{title}</summary>{body}</details>'


def _question(question: Question, inline: Inline) -> str:
    options, reasons = [], []
    for option in question.opciones:
        options.append(f"<li>{inline(option.texto)}</li>")
        verdict, mark = ("Eso es.", " data-bien") if option.bien else ("No es eso.", "")
        reasons.append(f"<li{mark}><b>{verdict}</b> {inline(option.razon)}</li>")
    return (
        f'<ol class="dl-ejercicio__opciones" type="a">{"".join(options)}</ol>'
        + _folded("pista", "Una pista", f"<p>{inline(question.pista)}</p>")
        + _folded(
            "solucion",
            "La respuesta, y por qué las demás no",
            f'<ol type="a">{"".join(reasons)}</ol>',
        )
    )


def _calculation(calculation: Calculation, inline: Inline) -> str:
    right, wrong = values(calculation)
    digits = calculation.decimales

    def shown(value: float) -> str:
        text = f"{value:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if digits else text
        return text.replace(".", ",").replace("-", "−")

    slips = "".join(
        f'<li data-valor="{value!r}"><b>{shown(value)}.</b> {inline(slip.razon)}</li>'
        for value, slip in zip(wrong, calculation.errores, strict=True)
    )
    solution = inline(calculation.solucion.replace("{valor}", shown(right)))
    slack = f" (se admite ±{shown(tolerance(calculation))})" if digits else ""
    return (
        f'<p class="dl-ejercicio__respuesta" data-valor="{right!r}"'
        f' data-tolerancia="{tolerance(calculation)!r}">{_asked(digits)}{slack}.</p>'
        + _folded("pista", "Una pista", f"<p>{inline(calculation.pista)}</p>")
        + _folded(
            "solucion",
            "La cuenta",
            f"<p>{solution}</p>"
            + (f"<p>Si os ha salido otra cosa:</p><ul>{slips}</ul>" if slips else "")
            + f"<p>Con {'el paquete' if 'ddpm_lit' in calculation.valor else 'Python'}:</p>"
            + _highlighted("python", calculation.valor),
        )
    )


def _asked(digits: int) -> str:
    words = ("Un número entero", "Con un decimal", "Con dos decimales", "Con tres decimales")
    return words[digits] if digits < len(words) else f"Con {digits} decimales"


def _code(code: Code, inline: Inline) -> str:
    start = (STARTS / f"{code.nombre}.py").read_text(encoding="utf-8")
    solution = (SOLUTIONS / f"{code.nombre}.py").read_text(encoding="utf-8")
    return (
        _highlighted("bash", f"ddpm-lit ejercicio {code.nombre}")
        + f"<p>La primera vez, la orden deja en vuestra carpeta <code>{code.nombre}.py</code>, con "
        "la función por completar; desde entonces, la corrige.</p>"
        + _folded("partida", "El fichero de partida", _highlighted("python", start))
        + _folded("pista", "Una pista", f"<p>{inline(code.pista)}</p>")
        + _folded("solucion", "Una solución", _highlighted("python", solution))
    )


@cache
def _code_converter() -> markdown.Markdown:
    return markdown.Markdown(
        extensions=["pymdownx.highlight", "pymdownx.superfences"],
        extension_configs={"pymdownx.highlight": {"pygments_lang_class": True}},
    )


def _highlighted(language: str, code: str) -> str:
    converter = _code_converter()
    converter.reset()
    return str(converter.convert(f"``````{language}\n{code.strip()}\n``````"))
