"""La accesibilidad de la web construida, con axe: qué incumple cada página."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from .assets import NODE_MODULES

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
SCREENS = {"escritorio": {"width": 1280, "height": 900}, "móvil": {"width": 360, "height": 740}}
SCHEMES = ("light", "dark")


def violations(
    browser: Browser,
    addresses: list[str],
    *,
    screens: tuple[str, ...] = tuple(SCREENS),
    schemes: tuple[str, ...] = SCHEMES,
) -> Iterator[tuple[str, str, str]]:
    """Lo que axe encuentra en unas páginas, con sus widgets puestos y sus ejercicios contestados.

    Args:
        browser: un navegador.
        addresses: las páginas.
        screens: en qué pantallas de `SCREENS`.
        schemes: en claro, en oscuro o en los dos.

    Yields:
        La página y cómo se mira, la regla y el primer elemento que la incumple.
    """
    source = (NODE_MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    for screen in screens:
        for scheme in schemes:
            context = browser.new_context(
                viewport=SCREENS[screen],  # type: ignore[arg-type]
                color_scheme=scheme,  # type: ignore[arg-type]
                locale="es-ES",
                reduced_motion="reduce",
            )
            page = context.new_page()
            for address in addresses:
                page.goto(address)
                for place in page.locator("dl-widget, dl-ejercicios").all():
                    place.scroll_into_view_if_needed()
                    place.and_(page.locator("[data-state]:not([data-state=loading])")).wait_for()
                _answer(page)
                # Un enlace medio tapado por el borde de un menú desplazado no es más pequeño.
                page.evaluate(
                    "document.querySelectorAll('.md-sidebar__scrollwrap')"
                    ".forEach((menu) => menu.scrollTo(0, 0))"
                )
                page.evaluate(source)
                only = {"type": "tag", "values": TAGS}
                options = json.dumps({"runOnly": only, "resultTypes": ["violations"]})
                # Para axe, un encabezado que es solo una fórmula está vacío: no lee MathML.
                where = json.dumps({"exclude": ["th:has(> .katex)"]})
                found: list[dict[str, Any]] = page.evaluate(
                    f"axe.run({where}, {options}).then((found) => found.violations)"
                )
                for violation in found:
                    place_text = violation["nodes"][0]["html"][:160]
                    yield f"{address} ({screen}, {scheme})", violation["id"], place_text
            context.close()


def _answer(page: Page) -> None:
    """Contesta los ejercicios y despliega lo que llevan, para que se vea todo."""
    for kind in (".dl-ejercicio__opcion:first-child", ".dl-ejercicio__cuenta button"):
        page.evaluate(
            "(kind) => document.querySelectorAll(kind).forEach((each) => each.click())", kind
        )
    page.evaluate(
        "document.querySelectorAll('.dl-ejercicio details').forEach((fold) => { fold.open = true })"
    )


def main() -> None:
    """Escribe lo que encuentra en todas las páginas de `site/`, o de la carpeta que se diga."""
    import sys

    from playwright.sync_api import sync_playwright

    from .browser import ARGUMENTS, find_chromium, pages, serve, without_search

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    with serve(folder, without_search(folder)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        addresses = [url + page for page in pages(folder) if page != "404.html"]
        for where, rule, place in violations(browser, addresses):
            print(f"{where}: {rule}: {place}")


if __name__ == "__main__":
    main()
