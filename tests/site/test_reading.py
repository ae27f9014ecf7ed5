"""Las dos profundidades del libro: lo que se lee, lo que está plegado y cómo empieza y acaba."""

import re
import time

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from scripts.site.opening import HERE, NAMES, PLACES, drawn_map, where
from scripts.site.project import ROOT
from scripts.site.reading import Reading, chapters, depths, main_line, measure

CHAPTERS = sorted(page for page in HERE if (ROOT / "docs" / page).is_file())
FOLDED = "componentes/backward.html"


def source(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_only_prose_is_counted() -> None:
    page = (
        "---\ndescription: no cuenta\n---\n# Un título\n\n"
        "Tres palabras $\\alpha + \\beta$ [enlazadas](otra.md).\n\n"
        '```python exec="1"\nno = "cuenta"\n```\n\n'
        "$$\nx = y\n\\label{derivada:a-b}\n$$\n\n"
        '@[ figura("no", pie="cuenta") ]@\n\n'
        "/// mas | Para quien quiera más: algo\n\nDos más.\n\n///\n"
    )
    shown, folded = depths(page)
    # «Un título», «Tres palabras fórmula enlazadas»; la celda, la ecuación y la figura.
    assert shown == Reading(6, 3)
    # «mas», el título del pliegue y lo de dentro.
    assert folded.words == 8 and folded.asides == 0


def test_minutes_add_words_and_what_is_looked_at() -> None:
    assert Reading(460, 0).minutes == 2
    assert Reading(460, 5).minutes == 3
    assert measure("una").minutes == 1


def test_the_main_line_is_read_in_two_hours() -> None:
    """Es lo que promete «Primeras aclaraciones»; lo que se añada, plegado o a cambio de algo."""
    read = main_line(chapters())
    assert 10_000 < read.words <= 18_000 and read.minutes <= 120


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapters_open_and_close(page: str) -> None:
    text = source(page)
    assert re.match(r"---\n.*?\n---\n\n# [^\n]+\n\n@\[ apertura\(", text, re.S)
    closing = text.split("## Lo que hay que recordar { #recordar }\n\n")
    assert len(closing) == 2
    points = re.match(r"((?:- [^\n]+\n)+)\nY una fórmula[^\n]*: \$.+\$\.\n", closing[1])
    assert points and points[1].count("\n") == 3


@pytest.mark.parametrize("page", CHAPTERS)
def test_folds_are_closed(page: str) -> None:
    text = source(page)
    assert len(re.findall(r"^/// mas \| Para quien quiera más: ", text, re.M)) == len(
        re.findall(r"^///$", text, re.M)
    )


def test_the_map_lights_what_it_names() -> None:
    assert set(PLACES) == set(NAMES)
    for page, lit in HERE.items():
        assert drawn_map(page).count("dl-mapa__aqui") == len(lit)
        assert all(NAMES[place] in where(page) for place in lit)
    with pytest.raises(LookupError, match="opening"):
        drawn_map("no-hay.md")


def test_folds_open_together_and_are_remembered(page: Page, address: str) -> None:
    page.goto(address + FOLDED)
    folds = page.locator("details.mas")
    assert folds.count() > 3
    assert page.locator("details.mas[open]").count() == 0
    page.get_by_role("button", name="Abrir todo lo de «Para quien quiera más»").click()
    assert page.locator("details.mas[open]").count() == folds.count()
    page.goto(address + "componentes/perdidas.html")
    button = page.get_by_role("button", name="Plegar todo lo de «Para quien quiera más»")
    assert page.locator("details.mas:not([open])").count() == 0
    button.press("Enter")
    assert page.locator("details.mas[open]").count() == 0


def test_a_link_opens_the_fold_it_leads_to(page: Page, address: str) -> None:
    page.goto(address + FOLDED + "#eq-backward-covarianza")
    expect(page.locator("#eq-backward-covarianza")).to_be_in_viewport()
    page.goto(address + FOLDED)
    page.evaluate("location.hash = 'eq-backward-giro'")
    expect(page.locator("#eq-backward-giro")).to_be_in_viewport()


def test_what_is_searched_is_seen(page: Page, address: str) -> None:
    """También si el índice, que el tema necesita para señalar, llega tarde."""

    def late(route: Route) -> None:
        time.sleep(2)
        route.continue_()

    page.route("**/search_index.json", late)
    page.goto(address + FOLDED + "?h=diagonal")
    expect(page.locator("details.mas[open] mark").first).to_be_visible(timeout=30_000)


def test_folds_are_printed_open(page: Page, address: str) -> None:
    page.goto(address + FOLDED)
    page.get_by_role("button", name="Abrir todo lo de").wait_for()
    equation = page.locator("#eq-backward-covarianza")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(equation).to_be_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(equation).to_be_hidden()


def test_folds_open_without_scripts(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + FOLDED)
    page.get_by_text("Para quien quiera más: el giro, con sus ángulos").click()
    expect(page.locator("#eq-backward-giro")).to_be_visible()
    context.close()
