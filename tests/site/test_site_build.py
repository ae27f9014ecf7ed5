"""Lo que deja la construcción de una web pequeña, y los errores de los que avisa."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

from small_sites import GOOD, build


def test_a_good_site_passes_strict_and_reads_well(tmp_path: Path) -> None:
    run = build(tmp_path, GOOD)
    assert run.returncode == 0, run.stderr
    site = tmp_path / "site"
    page = (site / "introduccion" / "a.html").read_text(encoding="utf-8")
    assert 'id="eq-uno" data-kind="comprobada"' in page
    assert ">(1.1)</a>" in page and "Capítulo 1" in page
    assert "una celda" in page
    assert 'title="Enlace permanente"' in page
    assert re.search(r"<title>Paso q\(xₜ\|xₜ₋₁\) y difusión - ddpm_lit</title>", page)
    assert r"\(" not in re.sub(r"<annotation.*?</annotation>", "", page, flags=re.S)
    assert 'href="introduccion/a.html#eq-uno">(1.1)</a>' in (site / "index.html").read_text("utf-8")
    other = (site / "introduccion" / "b.html").read_text("utf-8")
    assert 'href="a.html#eq-uno">(1.1)</a>' in other and 'href="#eq-dos">(2.1)</a>' in other
    assert "Perfil smoke" not in page
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    assert any(entry["title"] == "Paso q(xₜ|xₜ₋₁) y difusión" for entry in index["docs"])
    assert "https://" not in " ".join(re.findall(r'(?:src|<link[^>]*href)="([^"]*)"', page))


def test_every_kind_of_mistake_is_a_warning_that_stops_strict(tmp_path: Path) -> None:
    mistakes = {
        "index.md": "# Portada\n",
        "introduccion/a.md": """# Errores

$$ x = 1 $$

$$ x \\label{nada:b} $$

$$ \\frac{a}{b \\label{citada:mala} $$

Una \\eqref{desconocida}, un [enlace](no-existe.md), un [ancla](../index.md#no) y $\\noexiste$.

@[ figura("no-hay", alt="a", pie="b") ]@

@[ fuente("ddpm_lit.forward.no_hay") ]@

```python exec="1"
raise ValueError("celda rota")
```

```python exec="1"
import matplotlib.pyplot as plt
plt.subplots()
```
""",
    }
    run = build(tmp_path, mistakes)
    assert run.returncode != 0
    for message in (
        "tiene 0 etiquetas",
        "clase conocida",
        "Unexpected end of input",
        r"\noexiste",
        r"\eqref{desconocida} no se refiere a nada",
        "no-existe.md",
        "#no",
        "falta el artefacto «no-hay»",
        "«ddpm_lit.forward.no_hay» no está en",
        "ValueError: celda rota",
        "figura sin texto alternativo",
    ):
        assert message in run.stderr, f"no avisa de «{message}»:\n{run.stderr}"


def test_smoke_profile_says_so_on_every_page(tmp_path: Path) -> None:
    run = build(tmp_path, GOOD, profile="smoke")
    assert run.returncode == 0, run.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        assert "Perfil smoke: modelos entrenados unos segundos; no publicar" in page.read_text(
            "utf-8"
        )


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    run = build(tmp_path, GOOD, profile="otro")
    assert run.returncode != 0
    assert "DDPM_PROFILE vale «otro»" in run.stderr


def test_a_second_build_executes_no_cell(tmp_path: Path) -> None:
    pages = {name: GOOD[name] for name in ("index.md", "introduccion/a.md", "api/forward.md")}
    code = 'print("una celda")'
    counted = code + f'\nopen({str(tmp_path / "veces")!r}, "a").write("x")'
    pages["introduccion/a.md"] = pages["introduccion/a.md"].replace(code, counted)
    assert build(tmp_path, pages).returncode == 0
    pages["introduccion/a.md"] += "\nUna frase más.\n"
    assert build(tmp_path, pages).returncode == 0
    assert (tmp_path / "veces").read_text() == "x"
    pages["introduccion/a.md"] = pages["introduccion/a.md"].replace("una celda", "otra celda")
    assert build(tmp_path, pages).returncode == 0
    assert (tmp_path / "veces").read_text() == "xx"
