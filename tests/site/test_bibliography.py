"""Las fuentes: lo que enlazan las páginas está en `fuentes.bib`, y allí no sobra nada."""

import re
from pathlib import Path

import pytest
from scripts.site import bibliography, equations, sentinels

ROOT = Path(__file__).resolve().parents[2]
WORKS = bibliography.load()
BOOK = sentinels.read_book(ROOT / "mkdocs.yml")
SOURCES = {
    uri: BOOK.source(uri)
    for uri in BOOK.pages
    if uri != bibliography.PAGE and not uri.startswith("api/")
}
ENTRY = """@article{{Uno,
  author = {{{author}}},
  title = {{Un {{DDPM}} cualquiera}},
  year = {{2020}},
  eprint = {{2006.11239}},
  langid = {{english}},
  keywords = {{{keywords}}},
  annotation = {{Para probar.}},
}}
"""


def written(folder: Path, author: str = "Jonathan Ho", keywords: str = "origen") -> Path:
    path = folder / "fuentes.bib"
    path.write_text(ENTRY.format(author=author, keywords=keywords), encoding="utf-8")
    return path


def test_every_article_that_a_page_links_is_listed_and_nothing_is_left_over() -> None:
    linked = set().union(*map(bibliography.cited, SOURCES.values()))
    listed = {work.identifier for work in WORKS if work.section != bibliography.READING}
    assert linked - {work.identifier for work in WORKS} == set(), "falta en docs/fuentes.bib"
    assert listed - linked == set(), "no lo cita ninguna página"


def test_no_work_is_twice() -> None:
    assert len({work.key for work in WORKS}) == len(WORKS)
    assert len({work.identifier for work in WORKS}) == len(WORKS)
    assert len({work.title.lower() for work in WORKS}) == len(WORKS)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.key)
def test_a_citation_in_the_text_names_its_first_author(work: bibliography.Work) -> None:
    """«[Ho et al. (2020)](…2006.11239)»: quien abre el enlace con su nombre es su autor."""
    link = re.compile(r"\[([^\[\]]+?)\s*\(?,? ?(\d{4})\)?\]\(" + re.escape(work.address) + r"\)")
    for text in SOURCES.values():
        for name, year in link.findall(equations.prose(text)):
            first = re.split(r",| y | et al", name)[0].split()[-1]
            assert first in work.authors[0].last, (name, work.key)
            assert abs(int(year) - int(work.year)) <= 1, (name, year, work.key)


def test_each_section_is_in_the_page() -> None:
    asked = re.findall(r'@\[ fuentes\("([^"]+)"\) \]@', BOOK.source(bibliography.PAGE))
    assert tuple(asked) == bibliography.SECTIONS
    assert {work.section for work in WORKS} == set(bibliography.SECTIONS)


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        ("Jonathan Ho", "J. Ho"),
        ("Jonathan Ho and Tim Salimans", "J. Ho y T. Salimans"),
        ("Ho, Jonathan and Jain, Ajay and Abbeel, Pieter", "J. Ho, A. Jain y P. Abbeel"),
        ("Harm de Vries and Luc {Van Gool}", "H. de Vries y L. Van Gool"),
        ("Jun-Yan Zhu", "J.-Y. Zhu"),
        ("A B and C D and E F and G H and I J", "A. B et al."),
        ("Chitwan Saharia and others", "C. Saharia et al."),
    ],
)
def test_authors_are_written_as_in_spanish(tmp_path: Path, author: str, shown: str) -> None:
    (work,) = bibliography.load(written(tmp_path, author))
    assert bibliography.people(work.authors) == shown


def test_an_entry_says_where_it_is_cited(tmp_path: Path) -> None:
    works = bibliography.load(written(tmp_path))
    sources = {
        "a.md": "Según [Ho](https://arxiv.org/pdf/2006.11239.pdf).",
        "b.md": "Nada.",
        "c.md": "Otra vez [Ho](https://arxiv.org/abs/2006.11239v2)",
    }
    shown = bibliography.listing(works, sources, {"a.md": "La a", "c.md": "La c"})
    assert shown == (
        "- J. Ho, [«Un DDPM cualquiera»](https://arxiv.org/abs/2006.11239) (2020, "
        "arXiv:2006.11239, en inglés). Para probar. Se cita en [La a](a.md), [La c](c.md)."
    )


@pytest.mark.parametrize(
    ("link", "identifier"),
    [
        ("https://arxiv.org/abs/2006.11239", "2006.11239"),
        ("http://arxiv.org/pdf/2510.21890v2", "2510.21890"),
        ("https://doi.org/10.1145/2063384.2063405", "10.1145/2063384.2063405"),
        ("https://openreview.net/forum?id=abc", "https://openreview.net/forum?id=abc"),
        ("https://proceedings.mlr.press/v37/x.html", "https://proceedings.mlr.press/v37/x.html"),
    ],
)
def test_an_article_is_known_by_its_link(link: str, identifier: str) -> None:
    assert bibliography.cited(f"Lo dice [alguien]({link}), y [otro](https://ejemplo.es/a).") == {
        identifier
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("annotation", "nota", "a «Uno» le falta annotation"),
        ("keywords = {origen}", "keywords = {inventado}", "«Uno» necesita"),
        ("langid = {english}", "langid = {klingon}", "«Uno» necesita"),
        ("  eprint = {2006.11239},\n", "", "«Uno» necesita"),
        ("@article{Uno,\n", "@article{Uno, author = {", "no se entiende"),
    ],
)
def test_a_bad_entry_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(bibliography.BibliographyError, match=message):
        bibliography.load(path)


def test_the_page_of_the_site_lists_them_all_and_offers_the_file(site_dir: Path) -> None:
    page = (site_dir / "fuentes.html").read_text(encoding="utf-8")
    for work in WORKS:
        assert page.count(f'href="{work.address}"') == 1, work.key
    assert (site_dir / "fuentes.bib").read_bytes() == bibliography.SOURCE.read_bytes()
