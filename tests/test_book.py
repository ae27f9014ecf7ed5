"""El libro por dentro: cada ecuación destacada tiene etiqueta, clase y, si la pide, un test."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from scripts.site.equations import displayed, parse_label

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "api" not in path.parts)


def book_equations() -> list[tuple[str, str, str]]:
    """Clase, nombre y página de cada ecuación destacada del libro."""
    return [
        (*parse_label(tex), page.relative_to(ROOT).as_posix())
        for page in PAGES
        for _, tex in displayed(page.read_text(encoding="utf-8"))
    ]


def equations_with_tests() -> dict[str, list[str]]:
    """De cada etiqueta, los tests que la nombran con `@pytest.mark.equation`."""
    tested: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_mark = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "equation"
            )
            if is_mark:
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{path}: etiqueta no literal"
                    tested.setdefault(argument.value, []).append(path.name)
    return tested


def test_every_equation_has_a_unique_label_and_a_kind() -> None:
    equations = book_equations()
    assert len(equations) > 60
    repeated = [name for name, n in Counter(name for _, name, _ in equations).items() if n > 1]
    assert repeated == []


@pytest.mark.parametrize("kind", ["comprobada", "derivada"])
def test_every_claimed_equation_has_a_test(kind: str) -> None:
    tested = equations_with_tests()
    missing = [
        f"{page}: {name}" for k, name, page in book_equations() if k == kind and name not in tested
    ]
    assert missing == []


def test_no_test_names_an_unknown_equation() -> None:
    known = {name for _, name, _ in book_equations()}
    unknown = {name: files for name, files in equations_with_tests().items() if name not in known}
    assert unknown == {}


def test_quoted_equations_need_no_test() -> None:
    tested = equations_with_tests()
    assert [name for kind, name, _ in book_equations() if kind == "citada" and name in tested] == []
