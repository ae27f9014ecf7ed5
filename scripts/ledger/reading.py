r"""Del TeX de una página a un árbol: la gramática de la notación del libro.

La gramática es LALR y se queda en lo que el TeX dice sin dudas: relaciones, sumas, productos,
subíndices, fracciones. Lo que depende de la tipografía se pliega después, en `_Fold`: hasta dónde
llega `\log` (hasta el siguiente espacio o función), qué abarca un `\sum` (lo que queda del
producto) y qué es una derivada. Si `f(x)` es una función o un producto lo decide, al evaluar, la
notación.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, Tree
from lark.exceptions import UnexpectedInput, VisitError

from scripts.site.katex import CSS_CLASS, MACROS

Node = Tree[Any]

GRAMMAR = r"""
start: _SEP* statement (_SEP+ statement | IMPLIES statement)* _SEP*
statement: sum (REL sum)*
sum: SIGN? term (SIGN term)*
term: product ((SLASH | CDOT) product)*
product: (SPACE | DOTS | FUNC script* | BIG script* | factor)+
factor: atom (script | PRIME | BANG)*
script: UP group -> up | DOWN group -> down | EVALAT group -> evalat
?atom: group | paren | NUMBER | NAME | LETTER
     | ACCENT atom -> accent
     | FRAC group group -> frac
     | SQRT group -> sqrt
     | LNORM sum RNORM -> norm
     | LFLOOR sum RFLOOR -> floor
     | LCEIL sum RCEIL -> ceil
     | BEGIN row (ROWSEP row)* END -> cases
row: list (COLSEP list)*
group: LBRACE list RBRACE
paren: LP list RP
list: entry ((COMMA | SEMI | MID | COLON | PAR) entry)*
entry: SIGN | REL? sum (REL sum)*

UP: "^"
DOWN: "_"
EVALAT: "\\evalat"
LBRACE: "{"
RBRACE: "}"
LP: "(" | "[" | "\\{"
RP: ")" | "]" | "\\}"
LNORM: "\\lVert"
RNORM: "\\rVert"
LFLOOR: "\\lfloor"
RFLOOR: "\\rfloor"
LCEIL: "\\lceil"
RCEIL: "\\rceil"
BEGIN: /\\begin\{(cases|pmatrix)\}/
END: /\\end\{(cases|pmatrix)\}/
COLSEP: "&"
ROWSEP: "\\\\"
_SEP: "\\sep"
COMMA: ","
SEMI: ";"
COLON: ":"
MID: "\\mid" | "|"
PAR: /\\par(?![a-z])/
SPACE: /\\[,;:]|\\quad/
IMPLIES: /\\(Longleftrightarrow|Longrightarrow|Rightarrow)/
REL.2: /=|<|>|\\(leftarrow|longmapsto|approx|propto|sim|le|ge|to)(?![a-zA-Z])/
SIGN: "+" | "-"
SLASH: "/"
CDOT: /\\(cdot|odot)(?![a-zA-Z])|\*/
DOTS: /\\(cdots|dots|ldots)(?![a-zA-Z])/
BANG: "!"
PRIME: "'"
FRAC: "\\frac"
SQRT: "\\sqrt"
ACCENT: /\\(bar|hat|tilde)(?![a-zA-Z])/
FUNC.3: /\\(log|ln|exp|cos|min|max)(?![a-zA-Z])|\\operatorname\{(sen|E|Var|Cov|std)\}/
BIG.3: /\\(sum|prod|int|nabla)(?![a-zA-Z])/
NAME.-1: /\\(operatorname|mathrm|mathcal|text|texttt)\{[^{}]*\}|\\mathcal ?[A-Z]|\\[a-zA-Z]+/
NUMBER: /\d+(\{,\}\d+|\\,\d{3})*/
LETTER: /[a-zA-Z]/
%ignore /\s+/
"""

SYMBOLS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η"},
    **{"theta": "θ", "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ"},
    **{"phi": "φ", "varphi": "φ", "omega": "ω", "varsigma": "ς", "Delta": "Δ", "Sigma": "Σ"},
    **{"Gamma": "Γ", "Theta": "Θ", "Lambda": "Λ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω"},
    **{"partial": "∂", "ell": "ℓ", "infty": "∞", "varnothing": "∅", "top": "⊤", "kappa": "κ"},
}
MARKS = {r"\bar": "\u0304", r"\hat": "\u0302", r"\tilde": "\u0303"}
BIG = {"sum": "total", "prod": "prod", "nabla": "grad"}
APPLIED = {"log", "ln", "exp", "cos", "sen"}


# --- El texto -----------------------------------------------------------------------------------


def expand(tex: str) -> str:
    """El TeX con las macros del libro expandidas y sin colores."""
    for name, meaning in MACROS.items():
        if "#1" not in meaning:
            tex = re.sub(
                re.escape(name) + r"(?![A-Za-z])", "{" + meaning.replace("\\", r"\\") + "}", tex
            )
    return re.sub(rf"\\({'|'.join(CSS_CLASS)})(?![A-Za-z])", "", tex)


def _without_underbraces(tex: str) -> str:
    while (start := tex.find(r"\underbrace")) >= 0:
        inner = _closing(tex, tex.index("{", start))
        note = re.compile(r"\s*_").match(tex, inner + 1)
        end = _closing(tex, tex.index("{", inner + 1)) if note else inner
        content = tex[start + len(r"\underbrace") : inner + 1]
        signed = re.fullmatch(r"\{\{\}(.*)\}", content, re.S)  # `{}- x`: un sumando con su signo
        tex = tex[:start] + (signed[1] if signed else content) + tex[end + 1 :]
    return tex


def _closing(tex: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(tex)):
        depth += {"{": 1, "}": -1}.get(tex[place], 0) if tex[place - 1] != "\\" else 0
        if depth == 0:
            return place
    raise ValueError("Hay una llave sin cerrar.")


CLEANING = [
    (r"\\quad\s*\(\\texttt\{[^}]*\}\)", ""),
    (r"\\left\s*\\\|", r"\\lVert "),
    (r"\\right\s*\\\|", r"\\rVert "),
    (r"\\middle\s*\|", r"\\mid "),
    (r"\\[bB]igg?\|\s*_", r"\\evalat"),
    (r"\\\|([^|]*?\\operatorname\{slerp\})\\\|", r"\\lVert \1\\rVert "),
    (r"\\\|", r"\\par "),
    (r"\\(left|right|[bB]igg?[lr]?)(?![a-zA-Z])", ""),
    (r"\\!", ""),
    (r"\\qquad", r"\\quad"),
    (r"(?<!\\)\\\s", r"\\, "),
    (r"([_^]\{)\\(min|max)\}", r"\1\\text{\2}}"),
    (r"(\\begin|\\end)\{(aligned|gathered)\}", ""),
    (r"\\\\\[\d+pt\]", r"\\\\"),
    (r"\\[td]frac", r"\\frac"),
    (r"\\frac\s*(\w)\s*(\w|\\[a-z]+)", r"\\frac{\1}{\2}"),
    (r"\\frac\s*(\w)\s*\{", r"\\frac{\1}{"),
    (r"\\frac\{(.)\}\s*(\w)", r"\\frac{\1}{\2}"),
    (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
    (r"([_^])\s*([+*-])", r"\1{\\text{\2}}"),
    (r"([_^])\s*(\w|\\[a-zA-Z]+)", r"\1{\2}"),
    (r"(?<=[^_^}])\{\}", ""),
    (r"\\nabla\s*\\cdot", r"\\nabla "),
    (r"\\Delta\s*\\tau", r"\\mathrm{Δτ}"),
    (r"\\Delta\s*x", r"\\mathrm{Δx}"),
    (r"\\longrightarrow", r"\\to"),
]


def clean(tex: str) -> str:
    """El TeX en la forma en que lo espera la gramática."""
    tex = _without_underbraces(expand(tex))
    tex = tex.replace(r"\{,\}", "{,}").replace(r"\iint", r"\int\int")
    if r"\int" in tex:  # lo que se integra llega hasta la d, también tras un producto escalar
        tex = re.sub(r"(?<!\\nabla)\\cdot(?![a-z])", r"\\;", tex)
    if re.match(r"\s*dx\s*=", tex):  # una ecuación estocástica: dx, dτ y dW son tres números
        tex = re.sub(r"(?<![a-zA-Z\\])d(?:\\bar\s*)?(x|\\tau|W)(?![a-zA-Z])", _differential, tex)
    for pattern, replacement in CLEANING:
        tex = re.sub(pattern, replacement, tex)
    return tex


def _differential(found: re.Match[str]) -> str:
    return r"\mathrm{d" + found[1].replace(r"\tau", "τ") + "}"


# --- Los espacios y los separadores -------------------------------------------------------------

OPENING = {"LBRACE", "LP", "LNORM", "LFLOOR", "LCEIL"}
CLOSING = {"RBRACE", "RP", "RNORM", "RFLOOR", "RCEIL"}
STARTS = OPENING | {"NUMBER", "NAME", "LETTER", "ACCENT", "FRAC", "SQRT", "FUNC", "BIG", "BEGIN"}
ENDS = CLOSING | {"NUMBER", "NAME", "LETTER", "PRIME", "BANG", "END"}


class _Punctuation:
    """Decide qué separa dos afirmaciones y quita los espacios que no separan factores."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        tokens = list(self._separators(stream))
        for number, token in enumerate(tokens):
            if token.type == "SPACE":
                before = tokens[number - 1].type if number else ""
                after = next((t.type for t in tokens[number + 1 :] if t.type != "SPACE"), "")
                if before not in ENDS or after not in STARTS | {"DOTS"}:
                    continue
            yield token

    def _separators(self, stream: Iterator[Token]) -> Iterator[Token]:
        tokens = list(stream)
        depth = inside = 0
        last = ""
        for number, token in enumerate(tokens):
            inside += (token.type == "BEGIN") - (token.type == "END")
            depth += (token.type in OPENING) - (token.type in CLOSING)
            top = depth == 0 and not inside
            following = tokens[number + 1].type if number + 1 < len(tokens) else ""
            after = next((t.type for t in tokens[number + 1 :] if t.type != "COLSEP"), "")
            if token.type == "COLSEP" and not inside:
                continue
            if token.type == "ROWSEP" and not inside:
                if top and after not in ("REL", "SIGN", "SPACE"):
                    yield Token("_SEP", "")
            elif top and (
                token.type == "COMMA"
                or (_is_text(token) and following != "DOWN")
                or str(token) == r"\quad"
            ):
                if following not in ("IMPLIES", "REL") and last != "IMPLIES":
                    yield Token("_SEP", "")
            elif str(token) == r"\quad" or (inside and token.type == "COMMA" and not depth):
                continue
            else:
                last = token.type
                yield token


def _is_text(token: Token) -> bool:
    return token.type == "NAME" and token.startswith(r"\text{")


# --- El árbol -----------------------------------------------------------------------------------


def symbol(node: Any) -> str | None:
    """El nombre de un símbolo sin subíndice, o `None` si no lo es."""
    return str(node.children[0]) if isinstance(node, Tree) and node.data == "symbol" else None


def text(node: Any) -> str:
    """Una fórmula en una línea, sin espacios; de un símbolo, el nombre con que se busca."""
    if isinstance(node, Token) or node is None:
        return str(node or "")
    parts = [text(child) for child in node.children]
    match node.data:
        case "symbol":
            return parts[0] + (f"_{parts[1]}" if parts[1] else "")
        case "paren":
            return f"({parts[0]})"
        case "frac":
            return f"{{{parts[0]}}}/{{{parts[1]}}}"
        case "sqrt":
            return f"√{{{parts[0]}}}"
        case "power":
            return f"{parts[0]}^{{{parts[1]}}}"
        case "norm":
            return f"‖{parts[0]}‖"
        case "func":
            return f"{parts[0]} {parts[1]}"
        case "product":
            return ("" if all(len(part) == 1 for part in parts) else "·").join(parts)
        case "total" | "prod":
            return (
                f"{'Σ' if node.data == 'total' else 'Π'}_{{{parts[0]}}}^{{{parts[1]}}} {parts[2]}"
            )
        case "dots":
            return "…"
    return "".join(parts)


class _Fold(Transformer[Token, Node]):
    """Los nodos que quedan: symbol, number, sum, product, frac, power, func, big, deriv…"""

    def NUMBER(self, token: Token) -> Node:
        return Tree("number", [Token("NUMBER", token.replace("{,}", ".").replace(r"\,", ""))])

    def NAME(self, token: Token) -> Node:
        name = re.sub(r"\\(operatorname|mathrm|mathcal|text|texttt) ?|[{}]", "", token)
        name = SYMBOLS.get(name.lstrip("\\"), name.lstrip("\\"))
        return Tree("symbol", [Token("NAME", name), None])

    def LETTER(self, token: Token) -> Node:
        return Tree("symbol", [Token("NAME", str(token)), None])

    def accent(self, children: list[Any]) -> Node:
        mark, node = children
        name, sub = node.children
        renamed = unicodedata.normalize("NFC", str(name) + MARKS[mark])
        return Tree("symbol", [Token("NAME", renamed), sub])

    def group(self, children: list[Any]) -> Any:
        return self._only(children[1])

    def _only(self, node: Node) -> Any:
        entries = node.children
        if len(entries) == 1 and len(entries[0].children) == 1:
            return entries[0].children[0]
        return node

    def paren(self, children: list[Any]) -> Node:
        return Tree("paren", [children[1]])

    def entry(self, children: list[Any]) -> Node:
        return Tree("entry", children)

    def factor(self, children: list[Any]) -> Any:
        node, *scripts = children
        for script in scripts:
            node = self._scripted(node, script)
        return node

    def _scripted(self, node: Any, script: Any) -> Node:
        if isinstance(script, Token):
            if script.type == "BANG":
                return Tree("factorial", [node])
            name, sub = node.children[:2]
            return Tree("symbol", [Token("NAME", f"{name}'"), sub])
        content = script.children[1]
        if script.data == "evalat":
            return Tree("evalat", [node, content])
        is_symbol = isinstance(node, Tree) and node.data == "symbol"
        if script.data == "down":
            if is_symbol and node.children[1] is None:
                return Tree("symbol", [node.children[0], content])
            raise ValueError(f"Un subíndice sobre algo que no es un símbolo: {text(content)}")
        mark = text(content)
        if is_symbol and (
            mark in ("*", "i", "A", "B", "red", "EMA", "DDIM") or mark.startswith("'")
        ):
            return Tree("symbol", [Token("NAME", f"{node.children[0]}^{mark}"), node.children[1]])
        return Tree("power", [node, content])

    def frac(self, children: list[Any]) -> Node:
        _, over, under = children
        top = over.children if _data(over) == "product" else [over]
        bottom = under.children if _data(under) == "product" else [under]
        if _data(top[0]) == "call" and symbol(top[0].children[0]) == "∂":  # ∂(fq)/∂x
            top = [*top[0].children, *top[1:]]
        if _data(top[0]) == "power" and symbol(top[0].children[0]) == "∂" and bottom[1:]:  # ∂²q/∂x²
            by = bottom[1].children[0]
            return Tree("deriv", [Tree("deriv", [_product(top[1:]), by]), by])
        if symbol(top[0]) in ("d", "∂") and symbol(bottom[0]) == symbol(top[0]) and bottom[1:]:
            return Tree("deriv", [_product(top[1:]) if top[1:] else None, bottom[1]])
        return Tree("frac", [over, under])

    def sqrt(self, children: list[Any]) -> Node:
        return Tree("sqrt", [children[1]])

    def norm(self, children: list[Any]) -> Node:
        return Tree("norm", [children[1]])

    def floor(self, children: list[Any]) -> Node:
        return Tree("floor", [children[1]])

    def ceil(self, children: list[Any]) -> Node:
        return Tree("ceil", [children[1]])

    def cases(self, children: list[Any]) -> Node:
        rows = [child for child in children[1:-1] if not isinstance(child, Token)]
        return Tree("matrix" if "pmatrix" in children[0] else "cases", rows)

    def row(self, children: list[Any]) -> Node:
        return Tree("row", [child for child in children if not isinstance(child, Token)])

    def sum(self, children: list[Any]) -> Any:
        return children[0] if len(children) == 1 else Tree("sum", children)

    def term(self, children: list[Any]) -> Any:
        node, *rest = children
        for operator, other in zip(rest[::2], rest[1::2], strict=True):
            if operator.type == "CDOT":
                left = node.children if _data(node) == "product" else [node]
                right = other.children if _data(other) == "product" else [other]
                node = Tree("product", [*left, *right])
            else:
                node = Tree("frac", [node, other])
        return node

    def product(self, children: list[Any]) -> Any:
        return _product(list(_fold(children)))

    def start(self, children: list[Any]) -> Node:
        return Tree("start", children)


def _data(node: Any) -> str:
    return node.data if isinstance(node, Tree) else ""


def _product(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else Tree("product", items)


def _base(node: Any) -> Any:
    return node.children[0] if _data(node) in ("power", "evalat") else node


def _is_space(item: Any) -> bool:
    return isinstance(item, Token) and item.type == "SPACE"


def _fold(items: list[Any]) -> Iterator[Any]:
    """Da a cada función y a cada operador grande lo que abarca."""
    while items:
        item, items = items[0], items[1:]
        if _is_space(item):
            continue
        if isinstance(item, Token):
            folded, items = _operator(item, items)
        elif _data(item) == "deriv" and item.children[0] is None:
            folded, items = Tree("deriv", [_product(list(_fold(items))), item.children[1]]), []
        elif symbol(item) and items and _data(_base(items[0])) == "paren":
            folded, items = _call(item, items[0]), items[1:]
        else:
            folded = item
        yield folded


def _call(function: Node, argument: Node) -> Node:
    """`f(x)`, `f(x)^2` o `f(x)|_{x=a}`."""
    if argument.data == "evalat":
        paren, place = argument.children
        return Tree("evalat", [Tree("call", [function, paren]), place])
    return Tree("call", [function, argument])


def _operator(token: Token, items: list[Any]) -> tuple[Node, list[Any]]:
    """Una función o un operador grande con lo que abarca, y lo que sobra."""
    if token.type == "DOTS":
        return Tree("dots", []), items
    scripts = {"up": None, "down": None}
    while items and (_data(items[0]) in scripts or _is_space(items[0])):
        if not _is_space(items[0]):
            scripts[items[0].data] = items[0].children[1]
        items = items[1:]
    up, down = scripts["up"], scripts["down"]
    name = re.sub(r"\\(operatorname)?|[{}]", "", token)
    if token.type == "FUNC":
        return _function(name, down, up, items)
    if name == "int":
        end = next(n for n in range(len(items) - 1, -1, -1) if symbol(items[n]) == "d")
        body = _product(list(_fold(items[:end])))
        return Tree("int", [down, up, body, items[end + 1]]), items[end + 2 :]
    if name == "nabla" and items and getattr(items[0], "type", "") == "FUNC":
        body, items = _operator(items[0], items[1:])
        return Tree("grad", [down, up, body]), items
    return Tree(BIG[name], [down, up, _product(list(_fold(items)))]), []


def _function(name: str, down: Any, up: Any, items: list[Any]) -> tuple[Node, list[Any]]:
    """`cos^2 φ`, `E[x]^2`: el exponente es del resultado."""
    argument, items = _argument(name, items)
    outer = None
    if name not in APPLIED and _data(argument) == "power" and _data(_base(argument)) == "paren":
        argument, outer = argument.children
    node = Tree("func", [Token("FUNC", name), argument, down])
    for exponent in (up, outer):
        node = Tree("power", [node, exponent]) if exponent is not None else node
    return node, items


def _argument(name: str, items: list[Any]) -> tuple[Any, list[Any]]:
    """Lo que abarca una función sin paréntesis, y el resto."""
    first = items[0]
    if isinstance(first, Token):  # log E[…], log Σ…
        return _operator(first, items[1:])
    if name == "E" and _data(_base(first)) not in ("paren", "norm"):  # E_t w(t) ‖…‖²
        return _product(list(_fold(items))), []
    if name not in APPLIED or _data(first) in ("paren", "power", "frac", "norm"):
        return first, items[1:]
    size = next(
        (n for n, item in enumerate(items) if isinstance(item, Token) or _data(item) == "dots"),
        len(items),
    )
    return _product(list(_fold(items[:size]))), items[size:]


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="basic", postlex=_Punctuation())


def read(tex: str) -> Node:
    """El árbol de una fórmula de la página, tal como está escrita.

    Raises:
        lark.exceptions.LarkError: si no se entiende.
    """
    return _Fold().transform(_parser().parse(clean(tex)))


def complaint(tex: str, error: Exception) -> str:
    """Qué no se entiende de una fórmula y, si se sabe, en qué sitio, en una línea."""
    if isinstance(error, UnexpectedInput) and error.pos_in_stream is not None:
        place, cleaned = error.pos_in_stream, clean(tex)
        around = f"{cleaned[max(0, place - 30) : place]} ⟶ {cleaned[place : place + 30]}"
        return " ".join(around.split())
    cause = error.orig_exc if isinstance(error, VisitError) else error
    return f"{type(cause).__name__}: {cause}"
