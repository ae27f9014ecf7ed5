"""Un cuaderno por capítulo: el texto y las celdas de su página, para ejecutarlos en casa."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .equations import LABEL, REFERENCE, Equation
from .katex import CSS_CLASS, MACROS
from .macros import symbol_source
from .reading import FRONT_MATTER

CALL = re.compile(r"@\[ (?P<name>\w+)\((?P<arguments>.*?)\) \]@", re.S)
CELL = re.compile(r'^```python exec="1"[^\n]*\n(?P<code>.*?)^```$', re.M | re.S)
CAPTION = re.compile(r'pie="((?:[^"\\]|\\.)*)"')
ADMONITION = re.compile(
    r'^(!!!|\?\?\?)\+? \w+ "(?P<title>[^"]*)"\n+(?P<body>(?:    .*\n|\n)*)', re.M
)
FOLD = re.compile(r"^/// mas \| (?P<title>.*)$", re.M)
EXERCISES = re.compile(r"^## Ejercicios\b.*?(?=^## |\Z)", re.M | re.S)
INTERNAL = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:)[^)]*\)")
SYMBOL = re.compile(r"\[([^\]]*)\]\[ddpm_lit[^\]]*\]")
NAMED = re.compile(
    "|".join(f"{re.escape(name)}(?![A-Za-z])" for name, tex in MACROS.items() if "#1" not in tex)
)
SEED = "import torch\n\ntorch.manual_seed(0)  # con ella, los números de la página"

Macros = Mapping[str, Callable[..., str]]


def has_one(markdown: str) -> bool:
    """Dice si una página tiene su cuaderno: los capítulos que tienen celdas."""
    return "@[ apertura(" in markdown and CELL.search(markdown) is not None


def plain_tex(text: str) -> str:
    """El TeX del libro sin sus macros ni sus colores, como lo lee cualquier programa."""
    for _ in range(2):
        text = NAMED.sub(lambda found: MACROS[found[0]], text)
    return re.sub(rf"\\(?:{'|'.join(CSS_CLASS)})(?=\{{)", "", text)


def notebook_of(
    markdown: str, equations: Mapping[str, Equation], macros: Macros, address: str
) -> dict[str, Any]:
    """El cuaderno de una página, sin ejecutar.

    Args:
        markdown: La página, tal como se escribe.
        equations: Las ecuaciones del libro, por su nombre.
        macros: Las que dan valores dentro del texto, por su nombre.
        address: Cómo se llama la página en la web.

    Returns:
        El cuaderno, en el formato 4.5 de Jupyter.
    """
    cells = [_cell(kind, source) for kind, source in _pieces(markdown, equations, macros)]
    heading = f'*Cuaderno de `{address}`. Hace falta `pip install ".[datos]"`, en el repositorio.*'
    cells[1:1] = [_cell("markdown", heading), _cell("code", SEED)]
    for number, cell in enumerate(cells):
        cell["id"] = f"celda-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _pieces(
    markdown: str, equations: Mapping[str, Equation], macros: Macros
) -> Iterator[tuple[str, str]]:
    """El texto y el código, en su orden; el título va solo, el primero."""
    page = ADMONITION.sub(_quoted, EXERCISES.sub("", FRONT_MATTER.sub("", markdown)))
    page = re.sub(r"^    (```python exec.*?^    ```)$", _dedented, page, flags=re.M | re.S)
    title, rest = re.match(r"\s*(# [^\n]+)\n(.*)", page, re.S).groups()  # type: ignore[union-attr]
    yield "markdown", plain_tex(title)
    place = 0
    for found in CELL.finditer(rest):
        if text := _text(rest[place : found.start()], equations, macros):
            yield "markdown", text
        yield "code", found["code"].strip("\n")
        place = found.end()
    if text := _text(rest[place:], equations, macros):
        yield "markdown", text


def _quoted(found: re.Match[str]) -> str:
    """Un recuadro como cita; si lleva celdas, su texto sin sangría."""
    body = "\n".join(line.removeprefix("    ") for line in found["body"].splitlines())
    if "exec=" in body:
        return f"**{found['title']}**\n\n{body}\n\n"
    return "\n".join(f"> {line}".rstrip() for line in (f"**{found['title']}**\n\n{body}").strip()
                     .splitlines()) + "\n\n"  # fmt: skip


def _dedented(found: re.Match[str]) -> str:
    return "\n".join(line.removeprefix("    ") for line in found[0].splitlines())


def _text(text: str, equations: Mapping[str, Equation], macros: Macros) -> str:
    """Un trozo de la página como lo lee un cuaderno."""

    def called(found: re.Match[str]) -> str:
        name, arguments = found["name"], found["arguments"]
        if name == "fuente":
            code = symbol_source(arguments.split('"')[1])[0]
            return f"```python\n{code}\n```"
        if name in {"figura", "widget", "video"}:
            caption = CAPTION.search(arguments)
            return f"> *Figura, en la página.* {caption[1] if caption else ''}"
        if name in macros:
            given = eval(f"(lambda *a, **k: (a, k))({arguments})", {"__builtins__": {}})
            return macros[name](*given[0], **given[1])
        return ""

    def referred(found: re.Match[str]) -> str:
        equation = equations.get(found[2])
        return f"({equation.tag})" if equation else "la figura"

    def labelled(found: re.Match[str]) -> str:
        equation = equations.get(found[1].partition(":")[2])
        return rf"\tag{{{equation.tag}}}" if equation else ""

    text = CALL.sub(called, text)
    text = LABEL.sub(labelled, REFERENCE.sub(referred, text))
    text = FOLD.sub(r"**\g<title>**", re.sub(r"^///$", "", text, flags=re.M))
    text = SYMBOL.sub(r"\1", INTERNAL.sub(r"\1", text))
    text = re.sub(r"^(#+ .*?) *\{ ?#[\w-]+ ?\}$", r"\1", text, flags=re.M)
    text = re.sub(r"\+\+(\w+)\+(\w+)\+\+", r"`\1+\2`", text)
    return re.sub(r"\n{3,}", "\n\n", plain_tex(text)).strip()
