"""El cuaderno: se prepara para mkdocs-jupyter y después se viste como las demás páginas."""

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import private
from .plaintext import slugify
from .project import CACHE

MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<![\\$])\$(?![\s$])((?:[^$\\]|\\.)+?)(?<!\s)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]",
    re.S,
)
VERBATIM = re.compile(r"<(pre|code|script|style|svg)\b.*?</\1>|<[^>]+>", re.S)


@dataclass(frozen=True)
class Ledger:
    """Apunta en un fichero con qué contenido se ejecutaron los cuadernos por última vez."""

    path: Path
    signature: str

    def matches(self) -> bool:
        """Dice si la última ejecución fue con este mismo contenido."""
        return self.path.is_file() and self.path.read_text(encoding="utf-8") == self.signature

    def write(self) -> None:
        """Apunta que se han ejecutado con este contenido."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.signature, encoding="utf-8")


def read(path: Path) -> Any:
    """Lee un cuaderno en formato percent."""
    import jupytext  # type: ignore[import-untyped]

    return jupytext.read(path)


def markdown_of(path: Path) -> str:
    """Texto de sus celdas de Markdown, en orden."""
    return "\n\n".join(
        cell["source"] for cell in read(path).cells if cell["cell_type"] == "markdown"
    )


def as_ipynb(path: Path) -> str:
    """El mismo cuaderno como `.ipynb` sin ejecutar, para descargarlo."""
    import jupytext

    notebook = read(path)
    notebook.metadata.pop("jupytext", None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"celda-{number}"
        cell["metadata"].pop("smoke", None)
    text: str = jupytext.writes(notebook, fmt="ipynb")
    return text


def for_smoke(path: Path) -> Path:
    """Copia del cuaderno para el perfil smoke: cada celda con `smoke="…"` acaba con ese código.

    Así el perfil de prueba puede acortar el entrenamiento sin que el lector lo vea.
    """
    out: list[str] = []
    for cell in re.split(r"^(?=# %%)", path.read_text(encoding="utf-8"), flags=re.M):
        extra = re.search(r'\bsmoke="([^"]*)"', cell.partition("\n")[0])
        out.append(f"{cell.rstrip()}\n{extra[1]}\n\n" if extra else cell)
    target = CACHE / "smoke" / path.parent.name / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(out), encoding="utf-8")
    return target


def alts(path: Path) -> list[str]:
    """Texto alternativo (`alt="…"` en la cabecera) de cada celda de código, en orden."""
    return [
        cell["metadata"].get("alt", "") for cell in read(path).cells if cell["cell_type"] == "code"
    ]


PRINTED = '<div class="dl-salida" role="group" aria-label="Salida"><pre>'
PRINTED_END = "</pre></div>"


def mark_math(page_html: str) -> str:
    """Marca las fórmulas entre dólares del HTML como hace arithmatex, fuera del código."""

    def replace(match: re.Match[str]) -> str:
        block, inline, round_, square = match.groups()
        if block or square:
            return f'<div class="arithmatex">\\[{block or square}\\]</div>'
        return f'<span class="arithmatex">\\({inline or round_}\\)</span>'

    out: list[str] = []
    position = 0
    for verbatim in VERBATIM.finditer(page_html):
        out.append(page_html[position : verbatim.start()])
        out.append(verbatim[0])
        position = verbatim.end()
    out.append(page_html[position:])
    marked = "".join(part if part.startswith("<") else MATH.sub(replace, part) for part in out)
    return re.sub(r'<p>\s*(<div class="arithmatex">.*?</div>)\s*</p>', r"\1", marked, flags=re.S)


def restyle(page_html: str, texts: list[str]) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Viste la página de nbconvert como las demás: sin sus estilos ni guiones.

    Args:
        page_html: Lo que deja mkdocs-jupyter.
        texts: Texto alternativo de cada celda de código.

    Returns:
        El HTML, sus encabezados (como los da la extensión toc) y un aviso por cada imagen
        sin texto alternativo.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page_html, "html.parser")
    problems: list[str] = []
    for tag in soup.find_all(["style", "script", "link", "meta"]):
        tag.decompose()
    for tag in soup.select(", ".join(private.CELL_EXTRAS)):
        tag.decompose()
    parts: list[str] = []
    headings: list[dict[str, Any]] = []
    code_cells = 0
    for cell in soup.select(private.CELL):
        if cell.select_one(private.CELL):
            continue
        if text := cell.select_one(private.CELL_TEXT):
            for link in text.select("a.anchor-link"):
                link.decompose()
            parts.append(_headings(mark_math(text.decode_contents()), headings))
            continue
        alt = texts[code_cells] if code_cells < len(texts) else ""
        code_cells += 1
        if source := cell.select_one(private.CELL_SOURCE):
            inner = source.decode_contents().strip("\n")
            parts.append(f'<div class="highlight"><pre><code>{inner}</code></pre></div>')
        for output in cell.select(private.CELL_OUTPUT):
            _append(parts, _output(output, alt, code_cells, problems))
    return "\n".join(part for part in parts if part), headings, problems


def _headings(text: str, found: list[dict[str, Any]]) -> str:
    """Pone a los encabezados las anclas del resto de la web y los apunta, anidados, en `found`."""

    def replace(match: re.Match[str]) -> str:
        level, inner = int(match[1]), match[2].strip()
        name = slugify(inner, "-")
        heading: dict[str, Any] = {"level": level, "id": name, "name": inner, "children": []}
        siblings = found
        while siblings and siblings[-1]["level"] < level:
            siblings = siblings[-1]["children"]
        siblings.append(heading)
        permalink = f'<a class="headerlink" href="#{name}" title="Enlace permanente">¶</a>'
        return f'<h{level} id="{name}">{inner}{permalink}</h{level}>'

    return re.sub(r"<h([1-6])\b[^>]*>(.*?)</h\1>", replace, text, flags=re.S)


def _output(output: Any, alt: str, number: int, problems: list[str]) -> str:
    if output.find(["img", "svg"]):
        for image in output.find_all("img"):
            image["alt"] = alt
            image["loading"] = "lazy"
        for drawing in output.find_all("svg"):
            drawing["role"] = "img"
            drawing["aria-label"] = alt
        if not alt:
            problems.append(
                f"la celda de código {number} dibuja una figura sin texto alternativo; "
                'ponle alt="…"'
            )
        drawn = output.decode_contents().strip()
        return f'<figure class="dl-figura dl-figura--cuaderno">{drawn}</figure>'
    text = output.get_text().strip("\n")
    if not text.strip():
        return ""
    return f"{PRINTED}{html.escape(text, quote=False)}{PRINTED_END}"


def _append(parts: list[str], part: str) -> None:
    """Añade una salida; si es texto y la anterior también, las une en un solo recuadro."""
    if parts and part.startswith(PRINTED) and parts[-1].startswith(PRINTED):
        parts[-1] = f"{parts[-1].removesuffix(PRINTED_END)}\n{part.removeprefix(PRINTED)}"
    else:
        parts.append(part)


def download_bar(name: str) -> str:
    """Enlaces para descargar el cuaderno en sus dos formatos."""
    return (
        '<p class="dl-descargas">Descargar el cuaderno: '
        f'<a href="{name}.ipynb" download>{name}.ipynb</a> · '
        f'<a href="{name}.py" download>{name}.py</a></p>'
    )
