"""El libro por dentro: cada ecuación destacada tiene etiqueta, clase y, si la pide, un test."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from scripts.ledger.book import marked_tests
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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_says_of_itself_can_be_read(page: Path) -> None:
    header = re.match(r"---\n(.*?)\n---\n", page.read_text(encoding="utf-8"), re.DOTALL)
    assert header is None or yaml.safe_load(header[1])["description"]


def test_every_equation_has_a_unique_label_and_a_kind() -> None:
    equations = book_equations()
    assert len(equations) > 60
    repeated = [name for name, n in Counter(name for _, name, _ in equations).items() if n > 1]
    assert repeated == []


@pytest.mark.parametrize("kind", ["comprobada", "derivada"])
def test_every_claimed_equation_has_a_test(kind: str) -> None:
    tested = marked_tests()
    missing = [
        f"{page}: {name}" for k, name, page in book_equations() if k == kind and name not in tested
    ]
    assert missing == []


def test_no_test_names_an_unknown_equation() -> None:
    known = {name for _, name, _ in book_equations()}
    unknown = {name: files for name, files in marked_tests().items() if name not in known}
    assert unknown == {}


def test_quoted_equations_need_no_test() -> None:
    tested = marked_tests()
    assert [name for kind, name, _ in book_equations() if kind == "citada" and name in tested] == []
