"""Capturas de todas las páginas, en claro y oscuro, en un móvil y en un escritorio, para mirarlas.

Uso: `python -m scripts.site.screenshots CARPETA [--site site] [--only componentes/forward.html …]`
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

from .browser import ARGUMENTS, find_chromium, pages, serve

WIDTHS = {360: 780, 1280: 900}


def capture(
    site: Path, target: Path, only: list[str], schemes: list[str], widths: list[int]
) -> int:
    """Guarda una captura completa por página, modo y anchura; devuelve cuántas."""
    chromium = find_chromium()
    if chromium is None:
        raise FileNotFoundError(
            "No hay Chromium: instálalo (apt install chromium) o ejecuta `playwright install`."
        )
    count = 0
    with serve(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        for scheme in schemes:
            for width in widths:
                context = browser.new_context(
                    viewport={"width": width, "height": WIDTHS.get(width, 900)},
                    color_scheme="dark" if scheme == "oscuro" else "light",
                    reduced_motion="reduce",
                )
                page = context.new_page()
                for name in only or pages(site):
                    page.goto(address + name)
                    page.wait_for_function("document.fonts.ready.then(() => true)")
                    page.evaluate(
                        "document.querySelectorAll('img[loading=lazy]')"
                        ".forEach(image => { image.loading = 'eager' })"
                    )
                    page.wait_for_load_state("networkidle")
                    path = (
                        target
                        / f"{scheme}-{width}"
                        / f"{name.removesuffix('.html').replace('/', '-')}.png"
                    )
                    path.parent.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=str(path), full_page=True)
                    count += 1
                context.close()
        browser.close()
    return count


def main() -> None:
    """Lee las opciones y hace las capturas."""
    parser = argparse.ArgumentParser(description="Captura todas las páginas de la web construida.")
    parser.add_argument("target", type=Path, help="carpeta donde se guardan")
    parser.add_argument(
        "--site", type=Path, default=Path("site"), help="web construida (por defecto, site)"
    )
    parser.add_argument("--only", nargs="*", default=[], help="solo estas páginas (rutas .html)")
    parser.add_argument(
        "--schemes", nargs="*", default=["claro", "oscuro"], choices=["claro", "oscuro"]
    )
    parser.add_argument("--widths", nargs="*", type=int, default=[360, 1280])
    arguments = parser.parse_args()
    count = capture(
        arguments.site, arguments.target, arguments.only, arguments.schemes, arguments.widths
    )
    print(f"{count} capturas en {arguments.target}")


if __name__ == "__main__":
    main()
