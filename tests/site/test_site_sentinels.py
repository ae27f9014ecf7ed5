"""Los centinelas ven cada cosa que falta en una web terminada, y dicen en qué página."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

from scripts.build import provenance
from scripts.site import sentinels
from scripts.site.exercises import FOLDER
from small_sites import GOOD, ROOT, build

NOTEBOOK = """# %% [markdown]
# # Un cuaderno
#
# Con $x_t$ y esta cuenta:
#
# $$ x_t = x_0 \\label{citada:del-cuaderno} $$

# %%
print("lo que escribe")
"""
REFERRED = sorted(set(re.findall(r"\\eqref{(.+?)}", (FOLDER / "forward.toml").read_text("utf-8"))))
PAGES = {
    "index.md": """# Portada

@[ figura("cuadro", alt="Un cuadro.", pie="Un pie con $x$ y [otra](introduccion/a.md#uno).") ]@

Véase \\eqref{uno}.
""",
    **{name: text for name, text in GOOD.items() if name != "index.md"},
    "introduccion/c.md": """# Con ejercicios y una celda que dibuja

@[ ejercicios("forward") ]@
"""
    + "".join(f"\n$$ a = b \\label{{citada:{name}}} $$\n" for name in REFERRED)
    + """

```python exec="1" alt="Una recta."
import matplotlib.pyplot as plt
plt.subplots()
```
""",
    "componentes/forward.md": """# Con dos profundidades

@[ apertura(objetivo="Algo de $x$.", requisitos="[Otra](../introduccion/b.md).") ]@

/// mas | Para quien quiera más: el resto

Plegado.

///
""",
    "cuadernos/cuaderno.py": NOTEBOOK,
}


def draw(folder: Path) -> None:
    """Deja hecha una figura, como la construcción."""
    (folder / "figures").mkdir(parents=True)
    for scheme in ("light", "dark"):
        drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 150"></svg>'
        (folder / "figures" / f"cuadro.{scheme}.svg").write_text(drawing, encoding="utf-8")
    card = {
        "kind": "figure",
        "files": ["figures/cuadro.light.svg", "figures/cuadro.dark.svg"],
        "values": {},
        "provenance": {"entries": [], "code": provenance.code_hash(), "recipe": None},
    }
    manifest = {"profile": "cpu", "artefacts": {"cuadro": card}}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Una web pequeña con una cosa de cada clase, terminada y sin tocar."""
    folder = tmp_path_factory.mktemp("centinelas")
    draw(folder / "build" / "cpu")
    run = build(folder, PAGES)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(autouse=True)
def cpu_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_PROFILE", "cpu")


def problems(folder: Path, site: Path) -> list[str]:
    book = sentinels.read_book(ROOT / "mkdocs.yml", folder / "docs", list(PAGES))
    return sentinels.check(book, site)


def test_a_finished_site_lacks_nothing(finished: Path) -> None:
    assert problems(finished, finished / "site") == []


def replaced(pattern: str, by: str, count: int = 0) -> Callable[[Path], None]:
    """Cambia en un fichero lo que casa con una expresión regular, que ha de estar."""

    def change(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        new, times = re.subn(pattern, by, text, count=count, flags=re.S)
        assert times, f"«{pattern}» no está en {path.name}"
        path.write_text(new, encoding="utf-8")

    return change


def without_page_in_index(path: Path) -> None:
    index = json.loads(path.read_text(encoding="utf-8"))
    index["docs"] = [doc for doc in index["docs"] if not doc["location"].startswith("api/")]
    path.write_text(json.dumps(index), encoding="utf-8")


A, B, C = (f"introduccion/{letter}.html" for letter in "abc")
DEPTHS = "componentes/forward.html"
NOTE = "cuadernos/cuaderno.html"
BLOCK = r'<div class="dl-eq"[^>]*>.*?</a></div>'


@pytest.mark.parametrize(
    ("name", "spoil", "sentence"),
    [
        (A, Path.unlink, f"{A}: falta la página entera"),
        (A, replaced(BLOCK, "", 1), f"{A}: tiene 0 fórmulas en bloque dibujadas, y en su fuente"),
        (A, replaced(BLOCK, r"<p>\\[ x_t = x_0 \\]</p>", 1), rf"{A}: se lee «\[» sin interpretar"),
        (A, replaced(r'class="katex[^"]*"', ""), f"{A}: tiene 0 fórmulas en bloque"),
        (A, replaced(r"<link[^>]*katex[^>]*>", ""), f"{A}: tiene fórmulas y no carga la hoja"),
        (A, replaced(r"\(1\.1\)", "(7.7)"), f"{A}: la ecuación «uno» lleva el número (7.7)"),
        (A, replaced("dl-eq__numero", "otra"), f"{A}: la ecuación «uno» no lleva número"),
        (B, replaced('id="eq-dos"', ""), f"{B}: la ecuación «dos» no lleva número"),
        (
            A,
            replaced(r'<div class="dl-fuente">.*?</code></pre></div>\s*</div>', ""),
            f"{A}: no enseña el código de `ddpm_lit.forward.q_sample`",
        ),
        (A, replaced(">signal</span>", ">otra</span>", 1), f"{A}: no enseña el código de"),
        (A, replaced("Texto con", "@[ fuente() ]@"), f"{A}: se lee «@[» sin interpretar"),
        (A, replaced(r'class="dl-salida"', ""), f"{A}: enseña 0 salidas de sus 1 celdas"),
        (A, replaced("dl-capitulo", ""), f"{A}: no lleva su número de capítulo, 1"),
        (A, replaced('content="cpu"', 'content="smoke"'), f"{A}: no dice que su perfil sea «cpu»"),
        (C, replaced("dl-figura--celda", ""), f"{C}: enseña 0 figuras de sus 1 celdas"),
        (DEPTHS, replaced('class="mas"', ""), f"{DEPTHS}: pliega 0 trozos, y en su fuente hay 1"),
        (DEPTHS, replaced('class="dl-apertura"', ""), f"{DEPTHS}: no empieza diciendo qué se"),
        (C, replaced('"dl-ejercicio"', '"otra"', 1), f"{C}: enseña "),
        ("index.html", replaced('id="fig-cuadro" data-figura="cuadro"', ""), "la figura «cuadro»"),
        ("index.html", replaced(r"Figura 1\.", "<!--figura-->"), "«cuadro» no está numerada"),
        (
            "assets/construido/figures/cuadro.dark.svg",
            Path.unlink,
            "index.html: no existe el fichero «assets/construido/figures/cuadro.dark.svg»",
        ),
        ("assets/katex/katex.min.css", Path.unlink, "no existe el fichero"),
        (
            "index.html",
            replaced('href="introduccion/a.html#uno"', 'href="introduccion/a.md#uno"'),
            "index.html: no existe el fichero «introduccion/a.md#uno»",
        ),
        ("api/forward.html", replaced('id="ddpm_lit.forward"', ""), "no documenta `ddpm_lit.forw"),
        (NOTE, replaced("dl-descargas", ""), f"{NOTE}: el cuaderno no se puede descargar"),
        (NOTE, replaced("dl-salida", ""), f"{NOTE}: el cuaderno no enseña lo que escribe"),
        (NOTE, replaced('class="highlight"', 'class="jp-Cell highlight"'), "está sin vestir"),
        (NOTE, replaced("dl-eq__numero", ""), f"{NOTE}: la ecuación «del-cuaderno» no lleva"),
        (NOTE, replaced("<h1", '<div class="dl-falta">x</div><h1'), f"{NOTE}: tiene 1 huecos"),
        ("cuadernos/cuaderno.ipynb", Path.unlink, f"{NOTE}: falta cuaderno.ipynb"),
        ("search/search_index.json", Path.unlink, "falta el índice de búsqueda"),
        ("search/search_index.json", without_page_in_index, "no está «api/forward.html»"),
        (
            "search/search_index.json",
            replaced("Paso q", r"Paso \\\\(q"),
            r"se lee «\(» sin interpretar",
        ),
    ],
)
def test_each_missing_thing_is_told_with_its_page(
    finished: Path, tmp_path: Path, name: str, spoil: Callable[[Path], None], sentence: str
) -> None:
    site = tmp_path / "site"
    shutil.copytree(finished / "site", site)
    spoil(site / name)
    told = problems(finished, site)
    assert any(sentence in problem for problem in told), "\n".join(told) or "no dice nada"


def test_a_generator_that_ignores_the_hooks_is_found_out(tmp_path: Path) -> None:
    pages = {"index.md": "# Portada\n", "introduccion/a.md": GOOD["introduccion/a.md"]}
    run = build(tmp_path, pages, hooks=[], plugins=["search"], use_directory_urls=False)
    assert run.returncode == 0, run.stderr
    book = sentinels.read_book(ROOT / "mkdocs.yml", tmp_path / "docs", list(pages))
    told = "\n".join(sentinels.check(book, tmp_path / "site"))
    for sentence in (
        "no dice que su perfil sea «cpu», sino «»",
        r"se lee «\(» sin interpretar",
        "se lee «@[» sin interpretar",
        "tiene 0 fórmulas en bloque dibujadas",
        "la ecuación «uno» no lleva número ni ancla",
        "no enseña el código de `ddpm_lit.forward.q_sample`",
        "enseña 0 salidas de sus 1 celdas que escriben",
        "no existe el fichero «../assets/katex/katex.min.css»",
    ):
        assert sentence in told


def test_the_command_fails_with_a_summary(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentinels.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "index.html: falta la página entera" in said
    assert "scripts/site/hooks.py" in said
