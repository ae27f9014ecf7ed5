"""Fórmulas dibujadas al construir la web: KaTeX dentro de QuickJS, sin guion en la página."""

import html
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .assets import NODE_MODULES
from .project import CACHE, digest

CSS_CLASS = {
    "dato": "q-x0",
    "ruidoso": "q-xt",
    "orange": "q-eps",
    "media": "q-mu",
    "sched": "q-beta",
}
MACROS = {
    **{rf"\{name}": rf"\htmlClass{{{css}}}{{#1}}" for name, css in CSS_CLASS.items()},
    r"\xo": r"\dato{x_0}",
    r"\xt": r"\ruidoso{x_t}",
    r"\xtm": r"\ruidoso{x_{t-1}}",
    r"\xT": r"\ruidoso{x_T}",
    r"\ep": r"\orange{\epsilon}",
    r"\ept": r"\orange{\epsilon_t}",
    r"\epth": r"\orange{\epsilon_\theta}",
    r"\mut": r"\media{\tilde\mu_t}",
    r"\muth": r"\media{\mu_\theta}",
    r"\bt": r"\sched{\beta_t}",
    r"\btil": r"\sched{\tilde\beta_t}",
    r"\alt": r"\sched{\alpha_t}",
    r"\abt": r"\sched{\bar\alpha_t}",
    r"\abtm": r"\sched{\bar\alpha_{t-1}}",
}

ERROR_COLOUR = "#cc0000"
"""Color con que KaTeX señala, sin dar error, las órdenes en las que no confía."""

RENDERER = """
function dibujar(tex, display, macros) {
  try {
    return JSON.stringify({html: katex.renderToString(tex, {
      displayMode: display,
      output: "htmlAndMathml",
      throwOnError: true,
      macros: JSON.parse(macros),
      strict: code => code === "htmlExtension" ? "ignore" : "error",
      trust: context => context.command === "\\\\htmlClass",
    })});
  } catch (error) {
    return JSON.stringify({error: String(error.message || error)});
  }
}
"""


class FormulaError(ValueError):
    """Una fórmula que KaTeX no entiende."""


@cache
def version() -> str:
    """Versión instalada de KaTeX."""
    package = json.loads((NODE_MODULES / "katex" / "package.json").read_text(encoding="utf-8"))
    return str(package["version"])


@cache
def _renderer() -> Callable[[str, bool, str], str]:
    import quickjs

    context = quickjs.Context()
    context.eval((NODE_MODULES / "katex" / "dist" / "katex.min.js").read_text(encoding="utf-8"))
    context.eval(RENDERER)
    draw: Callable[[str, bool, str], str] = context.get("dibujar")
    return draw


class FormulaCache:
    """Fórmulas ya dibujadas, en memoria y en un fichero JSON que guarda solo las usadas."""

    def __init__(self, folder: Path = CACHE) -> None:
        self.folder = folder
        self.path = folder
        self.known: dict[str, str] = {}
        self.used: dict[str, str] = {}

    def open(self) -> None:
        """Lee lo guardado por la misma versión de KaTeX con las mismas macros."""
        signature = digest(version(), json.dumps(MACROS), RENDERER)
        path = self.folder / f"katex-{signature[:12]}.json"
        if path != self.path:
            self.path = path
            self.known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def render(self, tex: str, display: bool) -> str:
        """Dibuja una fórmula (o la recupera).

        Raises:
            FormulaError: Si KaTeX la rechaza; el mensaje dice por qué y dónde.
        """
        key = ("D" if display else "I") + tex
        if key not in self.used:
            self.used[key] = self.known.get(key) or render(tex, display)
        return self.used[key]

    def save(self, *, forget: bool = True) -> None:
        """Guarda en disco las fórmulas usadas desde la última vez; con `forget`, solo esas."""
        wanted = self.used if forget else self.known | self.used
        if wanted and wanted != self.known:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".tmp")
            partial.write_text(json.dumps(wanted, ensure_ascii=False), encoding="utf-8")
            partial.replace(self.path)
            self.known = dict(wanted)
        self.used = {}


def render(tex: str, display: bool) -> str:
    """Dibuja una fórmula con KaTeX: HTML y MathML, con las macros del libro.

    Raises:
        FormulaError: Si KaTeX la rechaza.
    """
    answer = json.loads(_renderer()(tex, display, json.dumps(MACROS)))
    if "error" in answer:
        raise FormulaError(answer["error"])
    drawn = str(answer["html"])
    if ERROR_COLOUR in drawn:
        raise FormulaError("usa una orden que este libro no admite")
    return drawn


ARITHMATEX = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def unwrap(content: str) -> str:
    r"""Devuelve el TeX que hay entre `\(…\)` o `\[…\]`, con las entidades HTML deshechas."""
    tex = html.unescape(content).strip()
    if tex[:2] in {r"\(", r"\["}:
        tex = tex[2:-2]
    return tex.strip()


SHORT_AND_SIGN = re.compile(r'(<span class="arithmatex">[^<]{1,40}</span>)([.,;:?!)»]+)', re.DOTALL)


def glue_punctuation(page_html: str) -> str:
    """Une cada fórmula corta con los signos que la siguen, para que no empiecen una línea.

    Las largas se dejan: tienen que poder partirse en una pantalla estrecha.
    """
    return SHORT_AND_SIGN.sub(r'<span class="dl-pegado">\1\2</span>', page_html)
