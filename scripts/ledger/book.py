"""Las ecuaciones del libro, tal como están en las páginas, y los tests que las nombran."""

import ast
from functools import cache

from scripts.site.equations import Equation, collect
from scripts.site.notebook import markdown_of
from scripts.site.project import ROOT


def sources() -> dict[str, str]:
    """El Markdown de cada página que puede tener ecuaciones, y el del cuaderno."""
    docs = ROOT / "docs"
    pages = sorted(path for path in docs.rglob("*.md") if "api" not in path.parts)
    found = {path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8") for path in pages}
    for path in sorted((docs / "cuadernos").glob("*.py")):
        found[path.relative_to(docs).as_posix()] = markdown_of(path)
    return found


@cache
def equations() -> dict[str, Equation]:
    """Todas las ecuaciones etiquetadas, por su nombre y en el orden de las páginas y el cuaderno.

    Raises:
        ValueError: si alguna está mal etiquetada o repetida.
    """
    pages = sources()
    found, problems = collect(pages, dict.fromkeys(pages, 1))
    if problems:
        raise ValueError("\n".join(problems))
    return found


@cache
def marked_tests() -> dict[str, tuple[str, ...]]:
    """De cada etiqueta, los ficheros de tests que la nombran con `@pytest.mark.equation`."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "equation"
            ):
                for argument in node.args:
                    if not isinstance(argument, ast.Constant):
                        raise ValueError(f"{path}: una etiqueta no es un texto.")
                    found.setdefault(str(argument.value), {})[path.name] = None
    return {label: tuple(files) for label, files in found.items()}
