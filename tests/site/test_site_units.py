"""Las funciones que convierten `docs/` en la web, una a una y sin navegador."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("mkdocs")

from scripts.build import provenance
from scripts.site import (
    artefacts,
    assets,
    cells,
    equations,
    katex,
    macros,
    notebook,
    plaintext,
    project,
    search,
)

ROOT = Path(__file__).resolve().parents[2]


# --- Fórmulas ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def node_modules() -> None:
    assets.ensure_node_modules()


def test_lock_names_no_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


def test_formula_is_html_and_mathml_with_colour_classes() -> None:
    drawn = katex.render(r"\xt = \sqrt{\abt}\,\xo + \ept + \muth", display=True)
    assert "<math" in drawn
    for css in ("q-xt", "q-beta", "q-x0", "q-eps", "q-mu"):
        assert css in drawn


@pytest.mark.parametrize("name", sorted(katex.MACROS))
def test_every_macro_draws(name: str) -> None:
    argument = "{x}" if name[1:] in katex.CSS_CLASS else ""
    assert "katex" in katex.render(name + argument, display=False)
    assert plaintext.tex_to_text(name + argument)


@pytest.mark.parametrize("tex", [r"\frac{a}{b", r"\noexiste", r"x^2^3", "a $ b", r"\htmlId{a}{b}"])
def test_bad_formulas_are_refused(tex: str) -> None:
    with pytest.raises(katex.FormulaError):
        katex.render(tex, display=False)


def test_formula_cache_writes_only_what_was_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = katex.FormulaCache(tmp_path)
    cache.open()
    first = cache.render("x_t", False)
    cache.save()
    again = katex.FormulaCache(tmp_path)
    again.open()
    monkeypatch.setattr(
        katex, "render", lambda tex, display: pytest.fail("la fórmula ya estaba dibujada")
    )
    assert again.render("x_t", False) == first
    assert json.loads(again.path.read_text(encoding="utf-8")) == {"Ix_t": first}


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"q(x_t|x_{t-1})", "q(xₜ|xₜ₋₁)"),
        (r"p_\theta(x_{t-1} \mid x_t)", "p_θ(xₜ₋₁|xₜ)"),
        (r"\orange{\epsilon_t}", "εₜ"),
        (r"\tilde\mu_t", "μ̃ₜ"),
        (r"\frac{1}{\sqrt{\abt}}", "1/(√ᾱₜ)"),
    ],
)
def test_formulas_in_plain_text(tex: str, text: str) -> None:
    assert plaintext.tex_to_text(tex) == text


def test_slugs_have_no_formulas_nor_accents() -> None:
    assert (
        plaintext.slugify(r"¿Por qué predecir \(\epsilon_t\)? Año 1", "-")
        == "por-que-predecir-ano-1"
    )


def test_fold_keeps_the_letter_enye() -> None:
    assert plaintext.fold("Difusión, pingüino y AÑO") == "difusion, pinguino y año"


# --- Ecuaciones --------------------------------------------------------------------------------

PAGE = r"""# Capítulo

$$
a = b
\label{comprobada:primera}
$$

```python
x = "$$ sin etiqueta $$"
```

En línea `$$ código $$` y <!-- $$ comentario $$ -->.

- En una lista:

    $$ c = d \label{derivada:segunda} $$
"""


def test_equations_are_numbered_per_chapter() -> None:
    chapters = equations.number_chapters(["index.md", "a.md", "b/c.md"], ["a.md", "b/*"])
    assert chapters == {"a.md": 1, "b/c.md": 2}
    other = "$$ e \\label{citada:tercera} $$"
    book, problems = equations.collect({"a.md": PAGE, "b/c.md": other}, chapters)
    assert not problems
    assert {name: equation.tag for name, equation in book.items()} == {
        "primera": "1.1",
        "segunda": "1.2",
        "tercera": "2.1",
    }
    assert book["primera"].tex == "a = b"
    assert book["segunda"].anchor == "eq-segunda"


@pytest.mark.parametrize(
    ("tex", "message"),
    [
        ("a = b", "tiene 0 etiquetas"),
        (r"a \label{comprobada:x} \label{comprobada:y}", "tiene 2 etiquetas"),
        (r"a \label{inventada:x}", "clase conocida"),
        (r"a \label{x}", "clase conocida"),
        (r"a \label{citada:Con Mayúsculas}", "minúsculas"),
    ],
)
def test_bad_labels_are_reported_with_their_line(tex: str, message: str) -> None:
    _, problems = equations.collect({"a.md": f"# Uno\n\n$$ {tex} $$\n"}, {"a.md": 1})
    assert len(problems) == 1
    assert problems[0].startswith("a.md, línea 3:")
    assert message in problems[0]


def test_repeated_labels_and_equations_outside_the_book_are_reported() -> None:
    equation = r"$$ a \label{citada:x} $$"
    _, problems = equations.collect({"a.md": equation, "b.md": equation}, {"a.md": 1, "b.md": 2})
    assert "ya se usa en a.md" in problems[0]
    _, problems = equations.collect({"c.md": equation}, {})
    assert "fuera de los capítulos" in problems[0]


def test_references_skip_code() -> None:
    page = r"<p>\eqref{x}</p><code>\eqref{x}</code><pre>\figref{y}</pre><p>\figref{y}</p>"
    linked = equations.link_references(page, lambda command, name: f"[{command} {name}]")
    assert linked == r"<p>[eqref x]</p><code>\eqref{x}</code><pre>\figref{y}</pre><p>[figref y]</p>"


# --- Macros ------------------------------------------------------------------------------------


def test_tex_in_macro_calls_is_literal_and_indentation_is_kept() -> None:
    protected = macros.protect_calls('@[ figura("a", pie="$\\xt$") ]@\n\n    @[ fuente("x") ]@\n')
    assert '"$\\\\xt$"' in protected
    assert '    @[ ( fuente("x") ) | indent(4) ]@' in protected


@pytest.fixture
def context(tmp_path: Path) -> macros.PageContext:
    return macros.PageContext("pagina.md", "componentes/pagina.html", artefacts.Manifest(tmp_path))


@pytest.mark.parametrize(
    "call",
    [
        lambda c: macros.figura(c, "no-hay", alt="a", pie="b"),
        lambda c: macros.video(c, "no-hay", alt="a", pie="b"),
        lambda c: macros.valor(c, "no-hay.x", "{:.1f}"),
    ],
)
def test_missing_artefact_warns_with_the_command(
    call: Any, context: macros.PageContext, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        shown = call(context)
    assert "dl-falta" in shown
    assert "make site" in caplog.text
    assert "pagina.md" in caplog.text


def manifest(folder: Path, **changes: Any) -> artefacts.Manifest:
    (folder / "figures").mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        (folder / "figures" / f"una.{scheme}.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 150"></svg>', encoding="utf-8"
        )
    figure = {
        "kind": "figure",
        "files": ["figures/una.light.svg", "figures/una.dark.svg"],
        "values": {"error": 0.125, "dentro": {"n": 3}},
        "fresh": True,
    }
    document = {"profile": "cpu", "artefacts": {"una": {**figure, **changes}}}
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return artefacts.load_manifest(folder)


def test_figure_has_both_schemes_size_alt_and_caption(
    tmp_path: Path, context: macros.PageContext
) -> None:
    context.manifest = manifest(tmp_path)
    shown = macros.figura(
        context, "una", alt='Una "cosa"', pie=r"Con $\xt$ y **negrita**.", ancho=300
    )
    assert shown.count("<img") == 2
    assert "dl-claro" in shown and "dl-oscuro" in shown
    assert 'src="../assets/construido/figures/una.light.svg"' in shown
    assert 'width="400" height="200"' in shown
    assert 'loading="lazy"' in shown
    assert 'alt="Una &quot;cosa&quot;"' in shown
    assert '<span class="arithmatex">' in shown and "<strong>negrita</strong>" in shown
    assert "\n" not in shown
    numbered, names = macros.number_figures(f"<p>{shown}</p>{shown.replace('una', 'otra')}")
    assert "Figura 1." in numbered and "Figura 2." in numbered
    assert names == {"una": 1, "otra": 2}
    assert "<p>" not in numbered


def test_an_animation_can_have_a_narrow_version_and_a_button(
    tmp_path: Path, context: macros.PageContext
) -> None:
    (tmp_path / "figures").mkdir()
    moving = {}
    for name in ("ancha", "estrecha"):
        files = [f"figures/{name}.{scheme}" for scheme in ("light", "dark")]
        for file in files:
            Image.new("RGB", (8, 4)).save(tmp_path / f"{file}.png")
            (tmp_path / f"{file}.mp4").write_bytes(b"")
        listed = [file + suffix for file in files for suffix in (".mp4", ".png")]
        moving[name] = {"kind": "animation", "files": listed, "values": {}}
    context.manifest = artefacts.Manifest(tmp_path, moving)
    shown = macros.video(context, "ancha", alt="a", pie="b", estrecha="estrecha", mandos=False)
    for css in ("dl-claro dl-ancha", "dl-oscuro dl-ancha", "dl-claro dl-estrecha"):
        assert shown.count(f'class="{css}"') == 1
    assert shown.count(" controls ") == shown.count(" data-boton>") == 4
    assert shown.count("<figure") == 1
    alone = macros.video(context, "ancha", alt="a", pie="b")
    assert "dl-ancha" not in alone and "data-boton" not in alone


def test_values_and_stale_artefacts(tmp_path: Path, context: macros.PageContext) -> None:
    context.manifest = manifest(tmp_path)
    assert macros.valor(context, "una.error", "{:.2f}") == "0,12"
    assert macros.valor(context, "una.dentro.n") == "3"
    with pytest.raises(artefacts.ArtefactError, match="no tiene el valor"):
        context.manifest.value("una.otra")
    stale = manifest(tmp_path, fresh=False)
    with pytest.raises(artefacts.ArtefactError, match="anticuado; rehazlo con `make site`"):
        stale.files("una")


def test_source_of_a_symbol_is_what_the_file_says() -> None:
    code, path, first, last = macros.symbol_source("ddpm_lit.forward.q_sample", docstring=True)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert code.splitlines() == lines[first - 1 : last]
    short, *_ = macros.symbol_source("ddpm_lit.forward.q_sample")
    assert '"""' in code and '"""' not in short
    compile(short, "q_sample", "exec")


def test_source_of_a_method_is_dedented() -> None:
    code, *_ = macros.symbol_source("ddpm_lit.scheduler.Schedule.at")
    assert code.startswith("def at(")


@pytest.mark.parametrize("symbol", ["ddpm_lit.nada.x", "ddpm_lit.forward.nada"])
def test_unknown_symbols_are_refused(symbol: str) -> None:
    with pytest.raises(LookupError, match="revisa el nombre"):
        macros.symbol_source(symbol)


def test_external_video_asks_nothing_before_the_click(context: macros.PageContext) -> None:
    shown = macros.youtube(context, "abc", titulo="Un vídeo")
    assert "<iframe" not in shown and "<img" not in shown and "src=" not in shown


# --- Celdas ------------------------------------------------------------------------------------


@pytest.fixture
def runner(tmp_path: Path) -> cells.CellRunner:
    made = cells.CellRunner(folder=tmp_path / "celdas")
    made.begin_build("sin artefactos")
    made.begin_page("pagina.md")
    return made


def test_cells_of_a_session_share_variables_and_run_once(runner: cells.CellRunner) -> None:
    assert runner.result("x = 2\nprint('hola')", "s")["text"] == "hola\n"
    assert runner.result("x + 1", "s")["text"] == "3\n"
    assert runner.runs == 2
    runner.begin_build("sin artefactos")
    runner.begin_page("pagina.md")
    assert runner.result("x = 2\nprint('hola')", "s")["text"] == "hola\n"
    assert runner.result("x + 1", "s")["text"] == "3\n"
    assert runner.runs == 0


def test_changing_a_cell_runs_it_and_the_later_ones(runner: cells.CellRunner) -> None:
    for code in ("x = 2", "y = x * 10", "y"):
        runner.result(code, "s")
    runner.begin_build("sin artefactos")
    runner.begin_page("pagina.md")
    runner.result("x = 2", "s")
    assert runner.runs == 0
    runner.result("y = x * 100", "s")
    assert runner.result("y", "s")["text"] == "200\n"
    runner.live.clear()


def test_a_cell_that_hits_no_cache_first_runs_the_earlier_ones(runner: cells.CellRunner) -> None:
    runner.result("x = 5", "s")
    runner.live.clear()
    runner.begin_page("pagina.md")
    runner.result("x = 5", "s")
    assert runner.result("x", "s")["text"] == "5\n"


def test_sessions_are_local_to_the_page(runner: cells.CellRunner) -> None:
    runner.result("secreto = 1", "s")
    runner.begin_page("otra.md")
    with pytest.raises(cells.CellError, match="NameError"):
        runner.result("secreto", "s")


def test_the_rows_of_a_session_are_its_own(runner: cells.CellRunner) -> None:
    look = "from ddpm_lit.sampling import SAMPLERS\nprint('mío' in SAMPLERS, 'ddim' in SAMPLERS)"
    add = "from ddpm_lit.sampling import SAMPLERS\nSAMPLERS['mío'] = SAMPLERS.pop('ddim')"
    assert runner.result(look, "s")["text"] == "False True\n"
    runner.result(add, "s")
    assert runner.result(look, "s")["text"] == "True False\n"
    assert runner.result(look, "otra")["text"] == "False True\n"
    with pytest.raises(cells.CellError):
        runner.result(add + "\n1 / 0", "mala")
    runner.begin_page("otra.md")
    assert runner.result(look, "s")["text"] == "False True\n"


def test_every_table_that_the_book_tells_of_is_looked_after() -> None:
    page = (ROOT / "docs" / "como-esta-hecho.md").read_text(encoding="utf-8")
    told = re.findall(r"(?m)^\| [^|]+ \| `([a-z_.]+\.[A-Z]+)` \|", page)
    assert len(told) > 5 and sorted(told) == sorted(cells.TABLES)


def test_artefacts_and_package_are_part_of_the_key(
    runner: cells.CellRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.result("1", "s")
    for change in ("artefactos", "paquete"):
        if change == "paquete":
            monkeypatch.setattr(cells, "code_digest", lambda: "otro")
        runner.begin_build("artefactos nuevos")
        runner.begin_page("pagina.md")
        runner.result("1", "s")
        assert runner.runs == 1, change


def test_errors_show_the_cell_and_are_not_kept(runner: cells.CellRunner) -> None:
    for _ in range(2):
        with pytest.raises(cells.CellError) as caught:
            runner.result("a = 1\nraise ValueError('mal')", "s")
        assert "raise ValueError('mal')" in str(caught.value)
        assert "ValueError: mal" in str(caught.value)
        assert "site-packages" not in str(caught.value)
        runner.begin_page("pagina.md")
    assert runner.runs == 2


def test_random_numbers_do_not_depend_on_other_sessions(runner: cells.CellRunner) -> None:
    draw = "import torch\ntorch.rand(1).item()"
    first = runner.result(draw, "a")["text"]
    second = runner.result(draw, "a")["text"]
    runner.begin_page("otra.md")
    shutil.rmtree(runner.folder)
    assert runner.result(draw, "a")["text"] == first
    assert runner.result("torch.rand(3)", "a")["text"]
    runner.begin_page("mas.md")
    shutil.rmtree(runner.folder)
    runner.result(draw, "a")
    runner.result(draw, "b")
    assert runner.result(draw, "a")["text"] == second


def test_figures_become_inline_svg_with_css_colours(runner: cells.CellRunner) -> None:
    code = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])"
    output = runner.result(code, "")
    assert output["text"] == ""
    (svg,) = output["figures"]
    assert svg.startswith("<svg") and "<?xml" not in svg and "<metadata" not in svg
    assert "var(--dl-fig-1)" in svg and "var(--dl-fig-tinta)" in svg
    assert "#0102" not in svg
    shown = cells.output_html(output, "Una recta", r"Pie con $\bt$", raw=False)
    assert 'role="img" aria-label="Una recta"' in shown
    assert "arithmatex" in shown


def test_code_digest_ignores_docstrings_and_comments(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    module.write_text('def f():\n    """Uno."""\n    return 1\n', encoding="utf-8")
    code, text = project.code_digest(tmp_path), project.text_digest(tmp_path)
    module.write_text('def f():\n    """Otro."""\n    # nota\n    return 1\n', encoding="utf-8")
    assert project.code_digest(tmp_path) == code
    assert project.text_digest(tmp_path) != text
    module.write_text("def f():\n    return 2\n", encoding="utf-8")
    assert project.code_digest(tmp_path) != code


# --- Cuaderno y búsqueda -----------------------------------------------------------------------


# --- Procedencia -------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Un paquete de dos módulos en lugar del de verdad: `uno` importa `dos`."""
    folder = tmp_path / "src" / "ddpm_lit"
    folder.mkdir(parents=True)
    (folder / "uno.py").write_text("from ddpm_lit.dos import x\n", encoding="utf-8")
    (folder / "dos.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return folder


def fresh(artefact: dict[str, Any]) -> bool:
    provenance.mark_freshness({"a": artefact})
    found: bool = artefact["fresh"]
    return found


def test_an_artefact_is_stale_only_if_the_code_it_reaches_changes(package: Path) -> None:
    provenance.code_hash.cache_clear()
    provenance.used_modules.cache_clear()
    card = {"entries": ["ddpm_lit.uno"], "code": provenance.code_hash("ddpm_lit.uno")}
    artefact: dict[str, Any] = {"provenance": card | {"recipe": None}}
    (package / "dos.py").write_text('"""Texto."""\n\nx = 1  # uno\n', encoding="utf-8")
    (package / "tres.py").write_text("y = 2\n", encoding="utf-8")
    assert fresh(artefact)
    (package / "dos.py").write_text("x = 20\n", encoding="utf-8")
    assert not fresh(artefact)


def test_freshness_reads_again_only_the_files_that_have_changed(package: Path) -> None:
    artefacts_ = {
        name: {"provenance": {"entries": ["ddpm_lit.uno"], "code": "", "recipe": None}}
        for name in "ab"
    }
    provenance.mark_freshness(artefacts_)
    before = project._code_at.cache_info().misses
    provenance.mark_freshness(artefacts_)
    assert project._code_at.cache_info().misses == before
    (package / "dos.py").write_text("x = 300\n", encoding="utf-8")
    provenance.mark_freshness(artefacts_)
    assert project._code_at.cache_info().misses == before + 1


def test_notebook_maths_is_marked_outside_code() -> None:
    page = "<p>Con $x_t$, 5$ y 6$.</p><pre>$no$</pre><p>$$ a &lt; b $$</p>"
    marked = notebook.mark_math(page)
    assert r'<span class="arithmatex">\(x_t\)</span>' in marked
    assert "5$ y 6$" in marked and "<pre>$no$</pre>" in marked
    assert r'<div class="arithmatex">\[ a &lt; b \]</div>' in marked


NOTEBOOK = """# %% [markdown]
# # Título con $x_t$
# ## Segunda sección

# %% alt="Una recta" smoke="pasos = 1"
pasos = 100
"""


def test_notebook_for_smoke_and_for_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "CACHE", tmp_path / "cache")
    path = tmp_path / "cuaderno.py"
    path.write_text(NOTEBOOK, encoding="utf-8")
    assert notebook.alts(path) == ["Una recta"]
    assert "pasos = 100\npasos = 1" in notebook.for_smoke(path).read_text(encoding="utf-8")
    downloaded = json.loads(notebook.as_ipynb(path))
    assert "smoke" not in json.dumps(downloaded)
    assert downloaded["cells"][1]["source"] in ("pasos = 100", ["pasos = 100"])


def test_search_index_reads_well(tmp_path: Path) -> None:
    path = tmp_path / "search_index.json"
    entry = {
        "location": "a",
        "title": r"Paso \(q(x_t|x_{t-1})\)",
        "text": r"Véase \eqref{salto}: \(a &lt; b\)",
    }
    path.write_text(json.dumps({"docs": [entry]}), encoding="utf-8")
    search.clean_index(path, {"salto": "(3.2)"})
    (clean,) = json.loads(path.read_text(encoding="utf-8"))["docs"]
    assert clean == {"location": "a", "title": "Paso q(xₜ|xₜ₋₁)", "text": "Véase (3.2): a &lt; b"}


# --- Colores -----------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palette(scheme: str) -> dict[str, str]:
    css = (ROOT / "docs" / "assets" / "sitio.css").read_text(encoding="utf-8")
    block = re.search(rf'^\[data-md-color-scheme="{scheme}"\] \{{(.*?)^\}}', css, re.S | re.M)
    assert block
    return dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})\s*;", block[1]))


@pytest.mark.parametrize(("scheme", "name"), [("claro", "LIGHT"), ("slate", "DARK")])
def test_pages_and_figures_share_their_colours(scheme: str, name: str) -> None:
    figures = getattr(pytest.importorskip("scripts.figures.style"), name)
    colours = palette(scheme)
    expected = {
        "--dl-x0": figures.data,
        "--dl-xt": figures.noisy,
        "--dl-eps": figures.noise,
        "--dl-mu": figures.mean,
        "--dl-beta": figures.schedule,
        "--dl-papel": figures.background,
        "--md-default-bg-color": figures.background,
        "--dl-fig-tinta": figures.text,
        "--dl-fig-rejilla": figures.faint,
        **{f"--dl-fig-{i}": colour for i, colour in enumerate(figures.series, start=1)},
    }
    assert {key: colours[key] for key in expected} == expected


@pytest.mark.parametrize("scheme", ["claro", "slate"])
def test_text_contrast(scheme: str) -> None:
    colours = palette(scheme)
    texts = [n for n in colours if re.fullmatch(r"--dl-(x0|xt|eps|mu|beta)", n)]
    assert len(texts) == 5
    texts += [
        "--md-typeset-color",
        "--md-default-fg-color--light",
        "--md-typeset-a-color",
        "--md-accent-fg-color",
    ]
    code = [n for n in colours if n.startswith("--md-code-hl-") and n not in {"--md-code-hl-color"}]
    pairs = [(n, b) for n in texts for b in ("--dl-papel", "--dl-suave")]
    pairs += [(n, "--md-code-bg-color") for n in [*code, "--md-code-fg-color"]]
    pairs += [("--md-footer-fg-color--light", "--md-footer-bg-color--dark")]
    low = {p: round(contrast(colours[p[0]], colours[p[1]]), 2) for p in pairs}
    assert not {p: c for p, c in low.items() if c < 4.5}


def test_consecutive_prints_of_a_notebook_share_one_box() -> None:
    output = '<div class="jp-OutputArea-output"><pre>{}</pre></div>'
    cell = f'<div class="jp-Cell">{output.format("uno")}{output.format("dos &lt; tres")}</div>'
    page, _, problems = notebook.restyle(cell, [""])
    assert page.count("dl-salida") == 1
    assert "<pre>uno\ndos &lt; tres</pre>" in page
    assert problems == []


def test_punctuation_stays_with_a_short_formula() -> None:
    short, long = r"\(x_t\)", rf"\({'x + ' * 20}y\)"
    page = f'<span class="arithmatex">{short}</span>, <span class="arithmatex">{long}</span>.'
    glued = katex.glue_punctuation(page)
    assert f'<span class="dl-pegado"><span class="arithmatex">{short}</span>,</span> ' in glued
    assert glued.count("dl-pegado") == 1
