"""El glosario: lo que dice de cada página está en ella, y las definiciones caen donde deben."""

import re
import unicodedata
from pathlib import Path

import pytest
from scripts.site import equations, glossary, sentinels

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = glossary.load()
BOOK = sentinels.read_book(ROOT / "mkdocs.yml")
TERM = glossary.Term("red", "red", "network", "unet.md", 'Una «red» de $x_t$ & "pesos".', ("red",))


def source(page: str) -> str:
    return BOOK.source(page.partition("#")[0])


def maths(page: str) -> str:
    """Las fórmulas de una página, juntas."""
    found = re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", equations.prose(source(page)), re.S)
    return "\n".join(block or inline for block, inline in found)


def annotate(page_html: str, *terms: glossary.Term) -> str:
    linked = glossary.annotate(page_html, terms or (TERM,), "")
    return re.sub(r'<a class="dl-termino" [^>]*>(.*?)</a>', r"[\1]", linked)


def test_every_page_of_the_glossary_is_in_the_book() -> None:
    symbols = [*GLOSSARY.symbols, *(use for letter in GLOSSARY.letters for use in letter.uses)]
    for each in (*GLOSSARY.terms, *symbols):
        page, _, anchor = each.page.partition("#")
        assert page in BOOK.pages, each
        assert not anchor or f"{{ #{anchor} }}" in source(page), each


def test_terms_are_different_and_in_alphabetical_order() -> None:
    names = [term.name for term in GLOSSARY.terms]
    assert len({term.anchor for term in GLOSSARY.terms}) == len(names)
    bare = [unicodedata.normalize("NFD", name.lower()) for name in names]
    bare = [re.sub(r"[^a-z0-9]+", " ", re.sub(r"[\u0300-\u036f]", "", name)) for name in bare]
    assert bare == sorted(bare)


@pytest.mark.parametrize("term", GLOSSARY.terms, ids=lambda term: term.anchor)
def test_a_term_is_in_the_chapter_that_explains_it(term: glossary.Term) -> None:
    """Con alguna de sus formas o, si no tiene, con su nombre en español o en inglés."""
    text = equations.prose(source(term.page))
    names = term.forms or re.split(r", | y | o ", f"{term.spanish}, {term.english}, {term.name}")
    assert any(re.search(name, text, re.I) for name in names)
    assert term.text.endswith(".")


@pytest.mark.parametrize(
    "symbol",
    [*GLOSSARY.symbols, *(use for letter in GLOSSARY.letters for use in letter.uses)],
    ids=lambda symbol: f"{symbol.tex} {symbol.page}",
)
def test_a_symbol_is_written_in_its_chapter(symbol: glossary.Symbol) -> None:
    edge = r"(?<![\\A-Za-z{])" if symbol.tex[0].isalpha() else ""
    assert re.search(edge + re.escape(symbol.tex) + r"(?![A-Za-z])", maths(symbol.page))


def test_a_letter_with_several_meanings_has_several_or_a_warning() -> None:
    for letter in GLOSSARY.letters:
        assert len({use.text for use in letter.uses}) > 1 or "**" in letter.uses[0].text


def test_only_the_first_of_each_term_is_linked() -> None:
    assert annotate("<p>Una red y otra red.</p><p>Red.</p>") == (
        "<p>Una [red] y otra red.</p><p>Red.</p>"
    )


@pytest.mark.parametrize(
    "untouched",
    [
        "<h2>La red</h2>",
        "<code>red</code>",
        "<pre><span>red</span></pre>",
        '<a href="x">la <b>red</b></a>',
        '<span class="arithmatex">\\(red\\)</span>',
        '<div class="admonition"><p class="admonition-title">Una red</p></div>',
        '<figure class="dl-figura"><figcaption>red</figcaption></figure>',
        '<img alt="una red">',
        "<!-- red -->",
        "<p>enredado, redes, anti-red, red-2</p>",
    ],
)
def test_what_is_not_prose_is_left_as_it_was(untouched: str) -> None:
    assert annotate(untouched) == untouched
    assert annotate(untouched + "<p>La red.</p>") == untouched + "<p>La [red].</p>"


def test_skipping_ends_where_the_element_does() -> None:
    nested = '<div class="dl-fuente"><div>red</div> red</div> <p>red</p>'
    assert annotate(nested) == nested.replace("<p>red", "<p>[red]")


def test_the_longest_form_wins_and_capitals_count_only_if_the_form_has_them() -> None:
    long = glossary.Term("red ideal", "red ideal", "ideal", "unet.md", "x.", ("red ideal",))
    name = glossary.Term("GAN", "GAN", "GAN", "unet.md", "x.", ("GAN",))
    assert annotate("<p>RED ideal, red, gan, GAN</p>", TERM, long, name) == (
        "<p>[RED ideal], [red], gan, [GAN]</p>"
    )


def test_the_definition_goes_in_the_title_without_formulas() -> None:
    linked = glossary.annotate("<p>red</p>", (TERM,), "g.html")
    assert 'href="g.html#termino-red"' in linked
    assert 'title="Una «red» de xₜ &amp; &quot;pesos&quot;."' in linked


@pytest.mark.parametrize("term", GLOSSARY.terms, ids=lambda term: term.anchor)
def test_a_definition_reads_well_without_formulas(term: glossary.Term) -> None:
    assert not re.search(r"[$\\*\[{]", term.plain)


# --- En la web terminada -----------------------------------------------------------------------


def test_each_page_links_its_terms_once_to_a_definition_that_exists(site_dir: Path) -> None:
    page = (site_dir / "glosario.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<dt id="(termino-[^"]+)"', page))
    assert anchors == {term.anchor for term in GLOSSARY.terms}
    found: set[str] = set()
    for uri in filter(glossary.is_annotated, BOOK.pages):
        text = (site_dir / uri).with_suffix(".html").read_text(encoding="utf-8")
        linked = re.findall(r'<a class="dl-termino" href="[^"]*glosario\.html#([^"]+)"', text)
        assert len(linked) == len(set(linked)), uri
        found |= set(linked)
    assert found <= {term.anchor for term in GLOSSARY.terms if term.forms}
    assert len(found) > len(GLOSSARY.terms) / 2
