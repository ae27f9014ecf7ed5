"""Un capítulo recién empezado con la plantilla pasa todas las comprobaciones, sin tocar nada."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.chapter.__main__ import FILES, LINES, TEMPLATE, TakenError, start
from scripts.site.project import ROOT

COPIED = ("src", "scripts", "docs", "tests", "mkdocs.yml", "pyproject.toml", "palabras.txt")
PAGE = "despues/senal"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Una copia del proyecto con un capítulo nuevo."""
    root = tmp_path_factory.mktemp("proyecto")
    ignored = shutil.ignore_patterns("__pycache__", "weights")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, root / name)
    (root / "src/ddpm_lit/weights").symlink_to(ROOT / "src/ddpm_lit/weights")
    start(root, "signal", PAGE, "Cuánta señal queda")
    return root


def run(project: Path, *words: str) -> str:
    paths = os.pathsep.join([str(project / "src"), str(project)])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_code_is_clean_and_in_its_place(project: Path) -> None:
    for words in (("check",), ("format", "--check")):
        run(project, "-m", "ruff", *words, "src", "scripts", "tests")
    walls = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert "0 broken" in run(project, "-c", walls)


def test_its_equation_is_tested_from_its_page_and_its_code(project: Path) -> None:
    assert "2 passed" in run(project, "-m", "pytest", "-q", "tests/test_signal.py")
    run(project, "-m", "pytest", "-q", "tests/test_book.py")
    said = run(project, "-m", "scripts.ledger", "--mutants", "senal-*")
    assert "1 ecuaciones: 1 ejecutadas. De las ejecutadas, 1 comprobadas" in said
    said = run(project, "-m", "scripts.mutants", "senal-*")
    assert "0 no" in said and ": 0 notadas" not in said


def test_its_page_opens_closes_and_asks(project: Path) -> None:
    for tests, which in (
        ("test_reading", "close or map or main_line"),
        ("test_site_exercises", "senal and not chromium"),
    ):
        run(project, "-m", "pytest", "-q", f"tests/site/{tests}.py", "-k", which)


def test_its_figure_is_drawn(project: Path) -> None:
    run(
        project,
        "-c",
        "from scripts.build.figures import CHAPTERS\n"
        "from scripts.figures.signal import FIGURES\n"
        "from scripts.figures.style import THEMES, themed\n"
        "assert 'signal' in CHAPTERS\n"
        "for palette in THEMES:\n"
        "    with themed(palette):\n"
        "        assert [draw(palette) for draw in FIGURES.values()]\n",
    )


def test_everything_of_the_template_is_used() -> None:
    assert {path.name.removesuffix(".txt") for path in TEMPLATE.iterdir()} == FILES.keys()
    assert len({(where, before) for where, before, _ in LINES}) == len(LINES)


@pytest.mark.parametrize(
    ("module", "page", "said"),
    [
        ("Señal", "despues/otra", "debe ser un nombre de Python"),
        ("other", "../otra", "debe ser una ruta en docs/"),
        ("score", "despues/otra", r"ya existe src/ddpm_lit/score\.py"),
        ("other", PAGE, r"ya existe docs/despues/senal\.md"),
    ],
)
def test_what_cannot_be_started_changes_nothing(
    project: Path, module: str, page: str, said: str
) -> None:
    before = (project / "mkdocs.yml").read_bytes()
    with pytest.raises(TakenError, match=said):
        start(project, module, page, "Otro")
    assert (project / "mkdocs.yml").read_bytes() == before
