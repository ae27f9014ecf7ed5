"""De TeX a texto sencillo: lo que se lee en la pestaña, el índice, la navegación y la búsqueda."""

import html
import re
import unicodedata

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ", "chi": "χ", "psi": "ψ",
    "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ",
    "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "mid": "|", "vert": "|", "Vert": "‖", "|": "‖",
    "cdot": "·", "cdots": "…", "ldots": "…", "dots": "…", "times": "×", "to": "→", "sim": "∼",
    "approx": "≈", "neq": "≠", "ne": "≠", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥",
    "in": "∈", "infty": "∞", "sum": "∑", "prod": "∏", "int": "∫", "nabla": "∇", "partial": "∂",
    "propto": "∝", "pm": "±", "quad": " ", "qquad": " ", "ell": "ℓ", "log": "log", "exp": "exp",
    "min": "mín", "max": "máx", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒",
    "equiv": "≡", "odot": "⊙", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|",
    "xo": "x₀", "xt": "xₜ", "xtm": "xₜ₋₁", "xT": "x_T", "ep": "ε", "ept": "εₜ", "epth": "ε_θ",
    "mut": "μ̃ₜ", "muth": "μ_θ", "bt": "βₜ", "btil": "β̃ₜ", "alt": "αₜ", "abt": "ᾱₜ",
    "abtm": "ᾱₜ₋₁",
}  # fmt: skip
ACCENTS = {"bar": "\u0304", "overline": "\u0304", "tilde": "\u0303", "hat": "\u0302"}
SUBSCRIPTS = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
SUPERSCRIPTS = str.maketrans("0123456789+-=()nijT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱʲᵀ")
TOKEN = re.compile(r"\\([A-Za-z]+)\s*|\\(.)|([{}_^])|(.)", re.DOTALL)


def _script(text: str, table: dict[int, int], mark: str) -> str:
    if text and all(ord(c) in table for c in text):
        return text.translate(table)
    return f"{mark}{text}" if len(text) <= 1 else f"{mark}({text})"


def _parse(tokens: list[tuple[str, str]], start: int, closing: bool) -> tuple[str, int]:
    out: list[str] = []
    i = start
    while i < len(tokens):
        kind = tokens[i][0]
        if kind == "}":
            if closing:
                return "".join(out), i + 1
            i += 1
        elif kind in {"_", "^"}:
            text, i = _argument(tokens, i + 1)
            table, mark = (SUBSCRIPTS, "_") if kind == "_" else (SUPERSCRIPTS, "^")
            out.append(_script(text, table, mark))
        else:
            text, i = _argument(tokens, i)
            out.append(text)
    return "".join(out), i


def _argument(tokens: list[tuple[str, str]], i: int) -> tuple[str, int]:
    """Lee una unidad: un grupo, una orden con sus argumentos o un carácter."""
    if i >= len(tokens):
        return "", i
    kind, value = tokens[i]
    if kind == "{":
        return _parse(tokens, i + 1, closing=True)
    if kind != "command":
        return value, i + 1
    if value in SYMBOLS:
        return SYMBOLS[value], i + 1
    if value in ACCENTS:
        text, i = _argument(tokens, i + 1)
        return unicodedata.normalize("NFC", text[:1] + ACCENTS[value] + text[1:]), i
    if value in {"frac", "tfrac", "dfrac"}:
        top, i = _argument(tokens, i + 1)
        bottom, i = _argument(tokens, i)
        return f"{_group(top)}/{_group(bottom)}", i
    if value == "sqrt":
        text, i = _argument(tokens, i + 1)
        return f"√{_group(text)}", i
    if value == "label":
        _, i = _argument(tokens, i + 1)
        return "", i
    return "", i + 1


def _group(text: str) -> str:
    return text if len(text) <= 2 else f"({text})"


def tex_to_text(tex: str) -> str:
    r"""Aproxima una fórmula con Unicode: `q(x_t \mid x_{t-1})` da «q(xₜ|xₜ₋₁)»."""
    tokens: list[tuple[str, str]] = []
    for command, escaped, special, char in TOKEN.findall(tex):
        if command:
            tokens.append(("command", command))
        elif escaped:
            tokens.append(("char", SYMBOLS.get(escaped, " " if escaped in ",;:! \\" else escaped)))
        elif special:
            tokens.append((special, special))
        else:
            tokens.append(("char", " " if char in "&~\n" else char))
    text, _ = _parse(tokens, 0, closing=False)
    return re.sub(r"\s*\|\s*", "|", re.sub(r"\s+", " ", text)).strip()


DELIMITED = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)


def plain_math(text: str, escaped: bool = False) -> str:
    r"""Sustituye cada `\(…\)` y `\[…\]` por su versión en texto (`escaped`: el texto es HTML)."""

    def replace(match: re.Match[str]) -> str:
        tex = match[1] or match[2]
        if escaped:
            return html.escape(tex_to_text(html.unescape(tex)), quote=False)
        return tex_to_text(tex)

    return DELIMITED.sub(replace, text)


def fold(text: str) -> str:
    """Quita tildes y diéresis y pasa a minúsculas, pero conserva la ñ."""
    out = []
    for char in text.lower():
        out.append(char if char == "ñ" else unicodedata.normalize("NFD", char)[0])
    return "".join(out)


def slugify(text: str, separator: str) -> str:
    """Ancla legible de un encabezado: sin fórmulas, sin tildes, en minúsculas."""
    text = re.sub(r"<[^>]+>", "", html.unescape(text))
    text = DELIMITED.sub(" ", text)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", separator, text).strip(separator)


def first_paragraph(page_html: str, limit: int = 160) -> str:
    """Primer párrafo de una página, como texto de una línea y recortado por una palabra."""
    match = re.search(r"<p>(.*?)</p>", page_html, re.S)
    if not match:
        return ""
    text = html.unescape(re.sub(r"<[^>]+>", "", plain_math(match[1], escaped=True)))
    text = re.sub(r"\\(?:eqref|figref)\{[^{}]*\}|\s+", " ", text).strip()
    if len(text) <= limit:
        return text
    return text[:limit].rsplit(" ", 1)[0].rstrip(" ,;:.") + "…"
