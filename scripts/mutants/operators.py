"""Los operadores: en qué se puede equivocar quien escribe una fórmula."""

import ast
import copy
from collections.abc import Iterator

SWAPPED_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
SWAPPED_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
DROPPED_CALLS = (
    *("sqrt", "square", "rsqrt", "exp", "log", "expm1", "abs", "neg", "detach"),
    *("flip", "clamp", "softmax", "round", "cumsum"),
)
RENAMED_CALLS = {
    "sqrt": "square",
    "square": "sqrt",
    "rsqrt": "sqrt",
    "exp": "expm1",
    "expm1": "exp",
    "sin": "cos",
    "cos": "sin",
    "acos": "asin",
    "min": "max",
    "max": "min",
    "maximum": "minimum",
    "minimum": "maximum",
    "mean": "sum",
    "sum": "mean",
    "ones": "zeros",
    "zeros": "ones",
    "ones_like": "zeros_like",
    "zeros_like": "ones_like",
    "ceil": "floor",
    "floor": "ceil",
    "cumprod": "cumsum",
}
NEIGHBOURS = {
    "alphas": ("betas", "alphas_cumprod"),
    "betas": ("alphas", "posterior_variance"),
    "alphas_cumprod": ("alphas", "alphas_cumprod_prev", "sqrt_alphas_cumprod"),
    "alphas_cumprod_prev": ("alphas_cumprod",),
    "sqrt_alphas": ("alphas", "sqrt_betas", "sqrt_alphas_cumprod"),
    "sqrt_betas": ("betas", "sqrt_alphas", "sqrt_one_minus_alphas_cumprod"),
    "sqrt_alphas_cumprod": ("alphas_cumprod", "sqrt_alphas", "sqrt_one_minus_alphas_cumprod"),
    "sqrt_one_minus_alphas_cumprod": ("sqrt_betas", "sqrt_alphas_cumprod"),
    "sqrt_recip_alphas_cumprod": ("sqrt_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    "sqrt_recipm1_alphas_cumprod": ("sqrt_recip_alphas_cumprod",),
    "posterior_mean_coef1": ("posterior_mean_coef2",),
    "posterior_mean_coef2": ("posterior_mean_coef1",),
    "posterior_variance": ("betas", "posterior_log_variance_clipped"),
    "posterior_log_variance_clipped": ("log_betas_clipped", "posterior_variance"),
    "log_betas": ("log_betas_clipped", "posterior_log_variance_clipped"),
    "log_betas_clipped": ("log_betas", "posterior_log_variance_clipped"),
    "snr": ("log_snr", "alphas_cumprod"),
    "x_start": ("epsilon",),
    "epsilon": ("x_start",),
    "variance": ("log_variance",),
    "log_variance": ("variance",),
    "timesteps": ("betas",),
}
LIBRARIES = ("math", "torch", "F", "nn")


def mutations(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Los cambios posibles en las expresiones de un árbol: el nodo y el que va en su lugar.

    No se tocan las anotaciones, la documentación ni lo que solo comprueba los argumentos.
    """
    called = {id(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
    for node in expressions(function):
        if not (isinstance(node, ast.Attribute) and id(node) in called):
            yield from ((node, other) for other in _replacements(node))


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Las expresiones que calculan algo, de fuera a dentro."""
    if isinstance(node, ast.expr):
        yield node
    for name, child in _children(node):
        if name not in ("annotation", "returns", "decorator_list", "defaults", "kw_defaults"):
            yield from expressions(child)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.Expr) and (
        isinstance(node.value, ast.Constant) or _name(node.value).lstrip("_").startswith("check_")
    ):
        return
    checks = isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)
    for name, value in ast.iter_fields(node):
        if checks and name in ("test", "body"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _replacements(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp():
            yield from _arithmetic(node)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                if type(operator) in SWAPPED_COMPARISONS:
                    other = copy.copy(node)
                    other.ops = list(node.ops)
                    other.ops[place] = SWAPPED_COMPARISONS[type(operator)]()
                    yield other
        case ast.Subscript():
            yield from _subscripts(node)
        case ast.Call():
            yield from _calls(node)
        case ast.Attribute(ctx=ast.Load(), value=owner) if ast.unparse(owner) != "diffusion":
            for name in NEIGHBOURS.get(node.attr, ()):
                yield _like(node, attr=name)
        case ast.Constant(value=str(text)):
            for name in NEIGHBOURS.get(text, ()):
                yield _like(node, value=name)


def _arithmetic(node: ast.BinOp) -> Iterator[ast.expr]:
    if isinstance(node.op, ast.Pow):
        yield node.left
        return
    if type(node.op) in SWAPPED_OPERATORS:
        yield _like(node, op=SWAPPED_OPERATORS[type(node.op)]())
    factors = isinstance(node.op, ast.Mult)
    if factors or isinstance(node.op, ast.Div) or _number(node.right) is not None:
        yield node.left
    if factors or _number(node.left) is not None:
        yield node.right


def _subscripts(node: ast.Subscript) -> Iterator[ast.expr]:
    index = node.slice
    if isinstance(index, ast.Slice):
        if index.lower is None and index.upper is None:
            return
        yield node.value
        lower, upper = (_number(bound) if bound else None for bound in (index.lower, index.upper))
        if index.upper is None and lower is not None:
            yield _like(node, slice=ast.Slice(upper=ast.Constant(-lower)))
        if index.lower is None and upper is not None and upper < 0:
            yield _like(node, slice=ast.Slice(lower=ast.Constant(-upper)))
    elif (number := _number(index)) is not None:
        yield _like(node, slice=ast.Constant(number + 1))


def _calls(node: ast.Call) -> Iterator[ast.expr]:
    name = _name(node)
    function = node.func
    is_method = isinstance(function, ast.Attribute) and not (
        isinstance(function.value, ast.Name) and function.value.id in LIBRARIES
    )
    if name in DROPPED_CALLS:
        if is_method:
            assert isinstance(function, ast.Attribute)
            yield function.value
        else:
            yield node.args[0]
    only_method = name in ("sqrt", "rsqrt", "square")
    if name in RENAMED_CALLS and (is_method or not only_method) and len(node.args) <= 2:
        renamed = (
            _like(function, attr=RENAMED_CALLS[name])
            if isinstance(function, ast.Attribute)
            else ast.Name(RENAMED_CALLS[name], ast.Load())
        )
        yield _like(node, func=renamed)
    if name == "clamp":
        swapped = {"min": "max", "max": "min"}
        keywords = [ast.keyword(swapped[item.arg or ""], item.value) for item in node.keywords]
        if keywords:
            yield _like(node, keywords=keywords)
    if name == "cat" and isinstance(node.args[0], ast.List):
        backwards = ast.List(node.args[0].elts[::-1], ast.Load())
        yield _like(node, args=[backwards, *node.args[1:]])
    elif name == "where":
        yield _like(node, args=[node.args[0], node.args[2], node.args[1]])
    elif name == "normal_kl":
        yield _like(node, args=[*node.args[2:], *node.args[:2]])
    elif name == "linspace":
        yield _like(node, args=[node.args[1], node.args[0], *node.args[2:]])


def _like(node: ast.expr, **changes: object) -> ast.expr:
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _name(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
        case _:
            return ""


def _number(node: ast.AST) -> float | None:
    match node:
        case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))):
            return -value
        case _:
            return None
