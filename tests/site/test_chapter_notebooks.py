"""El cuaderno de cada capítulo: se lee en cualquier programa y da lo que dice la página."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat  # type: ignore[import-untyped]
import pytest
from scripts.site.chapter_notebook import has_one, plain_tex
from scripts.site.project import ROOT

DOCS = ROOT / "docs"
CHAPTERS = sorted(
    page.relative_to(DOCS).with_suffix("").as_posix()
    for page in DOCS.rglob("*.md")
    if has_one(page.read_text(encoding="utf-8"))
)
ONLY_ON_THE_SITE = re.compile(r"@\[|^///|^!!!|\\label|\\eqref|\\xt\b|\\dato|\]\(\.\.?/", re.M)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_it_can_be_read_anywhere(site_dir: Path, chapter: str) -> None:
    notebook = nbformat.read(site_dir / f"{chapter}.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = ONLY_ON_THE_SITE.search(cell.source)
            assert found is None, cell.source[max(0, found.start() - 60) : found.end() + 60]
    page = (site_dir / f"{chapter}.html").read_text(encoding="utf-8")
    assert f'href="{chapter.rpartition("/")[2]}.ipynb" download' in page


@pytest.mark.parametrize("chapter", ["componentes/posterior", "despues/ddim"])
def test_it_prints_what_the_page_shows(site_dir: Path, tmp_path: Path, chapter: str) -> None:
    from bs4 import BeautifulSoup

    page = BeautifulSoup((site_dir / f"{chapter}.html").read_text(encoding="utf-8"), "html.parser")
    shown = [output.get_text().strip() for output in page.select(".dl-salida")]
    notebook = json.loads((site_dir / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    codes = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    run = subprocess.run(
        [sys.executable, "-c", "\n\n".join(["import torch; torch.set_num_threads(1)", *codes])],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == " ".join(shown).split()


def test_the_tex_is_the_one_everybody_reads() -> None:
    assert plain_tex(r"\xt = \sqrt{\abt}\,\xo") == r"{x_t} = \sqrt{{\bar\alpha_t}}\,{x_0}"
    assert plain_tex(r"\ept \neq \epth") == r"{\epsilon_t} \neq {\epsilon_\theta}"
