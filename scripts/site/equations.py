r"""Ecuaciones numeradas: `$$ … \label{comprobada:forward-salto} … $$` y `\eqref{forward-salto}`."""

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch

KINDS = {
    "comprobada": "comprobada: el código la implementa y un test la compara con una referencia",
    "derivada": "derivada: paso de una demostración; un test comprueba que los dos lados coinciden",
    "citada": "citada: tomada de un artículo",
}
LABEL = re.compile(r"\\label\{([^{}]*)\}")
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?^[ \t]*(?P=ticks)[`~]*[ \t]*$",
    re.M | re.S,
)
INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
COMMENT = re.compile(r"<!--.*?-->", re.S)
DISPLAY = re.compile(r"\$\$(.+?)\$\$|^[ \t]*\\\[(.+?)\\\]", re.S | re.M)
REFERENCE = re.compile(r"\\(eqref|figref)\{([^{}]*)\}")
VERBATIM = re.compile(r"<(pre|code|script|style|title|annotation)\b.*?</\1>", re.S)


@dataclass(frozen=True)
class Equation:
    """Una ecuación del libro: su etiqueta, su clase, dónde está y qué número tiene."""

    name: str
    kind: str
    page: str
    chapter: int
    number: int
    tex: str

    @property
    def tag(self) -> str:
        """Número visible, como «3.2»."""
        return f"{self.chapter}.{self.number}"

    @property
    def anchor(self) -> str:
        """Ancla de la ecuación en su página."""
        return f"eq-{self.name}"


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def prose(markdown: str) -> str:
    """Deja en blanco, sin mover líneas, el código y los comentarios de una página."""
    for pattern in (FENCE, COMMENT, INLINE_CODE):
        markdown = pattern.sub(_blank, markdown)
    return markdown


def displayed(markdown: str) -> list[tuple[int, str]]:
    """Fórmulas en bloque de una página: línea en que empiezan (desde 1) y su TeX."""
    text = prose(markdown)
    return [
        (text.count("\n", 0, m.start()) + 1, (m[1] or m[2]).strip()) for m in DISPLAY.finditer(text)
    ]


def parse_label(tex: str) -> tuple[str, str]:
    """Separa la etiqueta de una fórmula en clase y nombre.

    Raises:
        ValueError: Si no hay exactamente una etiqueta `clase:nombre` bien escrita.
    """
    labels = LABEL.findall(tex)
    if len(labels) != 1:
        raise ValueError(
            f"la ecuación tiene {len(labels)} etiquetas y ha de tener una: "
            "añade \\label{clase:nombre}"
        )
    kind, _, name = labels[0].partition(":")
    if kind not in KINDS:
        raise ValueError(
            f"la etiqueta «{labels[0]}» no empieza por una clase conocida: escribe "
            + ", ".join(f"«{k}:…»" for k in KINDS)
        )
    if not NAME.fullmatch(name):
        raise ValueError(f"el nombre «{name}» de una ecuación ha de ir en minúsculas y con guiones")
    return kind, name


def number_chapters(pages: Iterable[str], patterns: Iterable[str]) -> dict[str, int]:
    """Numera, en el orden de la navegación, las páginas que son capítulos del libro."""
    patterns = list(patterns)
    chapters = [page for page in pages if any(fnmatch(page, pattern) for pattern in patterns)]
    return {page: number for number, page in enumerate(chapters, start=1)}


def collect(
    sources: dict[str, str], chapters: dict[str, int]
) -> tuple[dict[str, Equation], list[str]]:
    """Recorre las páginas y numera sus ecuaciones.

    Args:
        sources: Markdown de cada página, en el orden de la navegación.
        chapters: Número de capítulo de cada página que lo tiene.

    Returns:
        Las ecuaciones por nombre, y un aviso por cada una mal etiquetada o repetida.
    """
    equations: dict[str, Equation] = {}
    problems: list[str] = []
    for page, markdown in sources.items():
        number = 0
        for line, tex in displayed(markdown):
            try:
                kind, name = parse_label(tex)
            except ValueError as error:
                problems.append(f"{page}, línea {line}: {error}.")
                continue
            if name in equations:
                first = equations[name].page
                problems.append(
                    f"{page}, línea {line}: la etiqueta «{name}» ya se usa en {first}; elige otra."
                )
                continue
            if page not in chapters:
                problems.append(
                    f"{page}, línea {line}: la ecuación «{name}» está fuera de los capítulos "
                    "del libro (`extra.capitulos` en mkdocs.yml)."
                )
                continue
            number += 1
            equations[name] = Equation(
                name, kind, page, chapters[page], number, LABEL.sub("", tex).strip()
            )
    return equations, problems


def wrap(equation: Equation, drawn: str, row: str = "") -> str:
    """Rodea una fórmula ya dibujada con su ancla, su número y su enlace permanente.

    Args:
        equation: la ecuación.
        drawn: su HTML.
        row: la dirección de su fila en el libro mayor, si la tiene.
    """
    proof = (
        f'<a class="dl-eq__fila" href="{html.escape(row, quote=True)}" title="Cómo se prueba"'
        f' aria-label="Cómo se prueba la ecuación {equation.tag}">≡</a>'
        if row
        else ""
    )
    title = html.escape(f"Ecuación {KINDS[equation.kind]}", quote=True)
    return (
        f'<div class="dl-eq" id="{equation.anchor}" data-kind="{equation.kind}" role="group"'
        f' aria-label="Ecuación {equation.tag}"><div class="dl-eq__cuerpo">{drawn}</div>{proof}'
        f'<a class="dl-eq__numero" href="#{equation.anchor}" title="{title}">'
        f"({equation.tag})</a></div>"
    )


def link_references(page_html: str, resolve: Callable[[str, str], str]) -> str:
    r"""Sustituye en el HTML cada `\eqref{…}` y `\figref{…}` por `resolve(orden, nombre)`.

    Lo que está dentro de código, guiones o títulos de documento se deja como está.
    """
    out: list[str] = []
    position = 0
    for verbatim in VERBATIM.finditer(page_html):
        out.append(
            REFERENCE.sub(lambda m: resolve(m[1], m[2]), page_html[position : verbatim.start()])
        )
        out.append(verbatim[0])
        position = verbatim.end()
    out.append(REFERENCE.sub(lambda m: resolve(m[1], m[2]), page_html[position:]))
    return "".join(out)
