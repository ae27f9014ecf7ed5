"""El libro mayor en un navegador: el grafo se lee y se recorre, también sin guion y en un móvil."""

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect

PATH = "libro-mayor.html"


@pytest.mark.parametrize("script", [True, False])
def test_a_name_in_a_drawing_leads_to_its_row_and_back(
    browser: Browser, address: str, script: bool
) -> None:
    """También en un ordenador lento, en el que el tema envuelve las tablas después de pulsar."""
    context = browser.new_context(locale="es-ES", java_script_enabled=script)
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})
    page.goto(address + PATH)
    page.locator("ol.dl-grafo").first.get_by_role("link", name="posterior-media").click()
    row = page.locator("tr:has(#fila-posterior-media)")
    expect(row).to_be_in_viewport()
    expect(row).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
    origin = row.locator('a[href$="#fila-posterior-reparto"]')
    origin.click()
    expect(page.locator("tr:has(#fila-posterior-reparto)")).to_be_in_viewport()
    expect(page.locator("#fila-posterior-reparto:target")).to_have_count(1)
    context.close()


def test_the_arcs_end_where_their_rows_are(page: Page, address: str) -> None:
    """En la página, con el alto que dé la hoja de estilo: cada arco empieza en otro punto."""
    page.goto(address + PATH)
    gaps = page.evaluate(
        """() => {
          const list = document.querySelector("ol.dl-grafo");
          const middle = (shape) => {
            const box = shape.getBoundingClientRect();
            return (box.top + box.bottom) / 2;
          };
          const dots = [...list.querySelectorAll("circle")].map(middle);
          return [...list.querySelectorAll("path:not(.dl-grafo__punta)")].flatMap((arc) =>
            [0, arc.getTotalLength()].map((length) => {
              const point = arc.getPointAtLength(length).matrixTransform(arc.getScreenCTM());
              return Math.min(...dots.map((dot) => Math.abs(dot - point.y)));
            }),
          );
        }"""
    )
    assert len(gaps) > 60
    assert max(gaps) < 1


def test_only_the_arcs_of_the_row_under_the_pointer_light_up(page: Page, address: str) -> None:
    page.goto(address + PATH)
    rows = page.locator("ol.dl-grafo").first.locator("li")
    lit = "row => [...row.querySelectorAll('path')].map((p) => getComputedStyle(p).opacity)"
    row = rows.filter(has_text="posterior-media")
    before = set(row.evaluate(lit))
    row.hover()
    assert "0.4" in before and set(row.evaluate(lit)) == {"1"}
    other = rows.filter(has_text="backward-sustitucion")
    assert "0.4" in other.evaluate(lit)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_nor_is_cut(browser: Browser, address: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, locale="es-ES")
    page = context.new_page()
    page.goto(address + PATH)
    page.evaluate(
        "document.querySelectorAll('.dl-grafo-capitulo').forEach((d) => { d.open = true })"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll("ol.dl-grafo li > a > span")]
          .filter((name) => name.scrollWidth > name.clientWidth + 1)
          .map((name) => name.textContent)"""
    )
    assert cut == []
    context.close()
