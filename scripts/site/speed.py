"""Lo que tarda la web construida en un navegador: el laboratorio, el plano y cargar una página.

python -m scripts.site.speed site
"""

import gzip
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Response, sync_playwright

from .browser import ARGUMENTS, find_chromium, serve

LABORATORY = "laboratorio.html?modelo=openmoji-texto&texto=coraz%C3%B3n+verde&muestras=1&pasos=20"
PLANE = "algoritmos/generacion.html"
TEXT = ("componentes/forward.html", "componentes/posterior.html")
LONG_TASKS = """
  window.largas = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.largas.push(entry.duration);
  }).observe({ type: "longtask", buffered: true });
"""
FRAMES = """() => new Promise((resolve) => {
  const stamps = [];
  const note = (now) => {
    stamps.push(now);
    if (now - stamps[0] < 3000) requestAnimationFrame(note);
    else resolve(stamps.slice(1).map((stamp, k) => stamp - stamps[k]));
  };
  requestAnimationFrame(note);
})"""


def laboratory(browser: Browser, url: str) -> dict[str, float]:
    """La primera imagen con la caché vacía, y otra ya cargada: segundos y tareas largas (ms)."""
    page = browser.new_page()
    page.add_init_script(LONG_TASKS)
    started = time.perf_counter()
    page.goto(url + LABORATORY)
    place = page.locator("dl-widget[name=laboratory]")
    place.scroll_into_view_if_needed()
    button = place.get_by_role("button", name="Generar")
    button.click()
    state = place.locator(".estado")
    state.filter(has_text="en este navegador").wait_for(timeout=120_000)
    first = time.perf_counter() - started
    page.evaluate("window.largas = []")
    button.click()
    place.locator(".estado").filter(has_text="Paso").first.wait_for()
    state.filter(has_text="en este navegador").wait_for(timeout=120_000)
    told = state.inner_text()
    again = float(told.split(":")[1].split("s en")[0].replace(",", "."))
    longest = page.evaluate("Math.max(0, ...window.largas)")
    page.close()
    return {"primera imagen": first, "20 pasos guiados": again, "tarea más larga (ms)": longest}


def plane(browser: Browser, url: str) -> dict[str, float]:
    """Los fotogramas por segundo del plano en marcha, con dos mil partículas."""
    page = browser.new_page()
    page.goto(url + PLANE)
    place = page.locator("dl-widget[name=plane]")
    place.scroll_into_view_if_needed()
    place.get_by_role("button", name="Reproducir").click()
    gaps: list[float] = page.evaluate(FRAMES)
    page.close()
    gaps.sort()
    return {
        "fotogramas por segundo": 1000 * len(gaps) / sum(gaps),
        "peor fotograma (ms)": gaps[-1],
    }


def weight(page: Page, address: str, known: set[str]) -> float:
    """Lo que pesa lo que una página pide y no se conocía, comprimido con gzip, en KB.

    Sin las imágenes ni el índice de búsqueda.
    """
    responses: list[Response] = []

    def keep(response: Response) -> None:
        responses.append(response)

    page.on("response", keep)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.remove_listener("response", keep)
    total = 0
    for response in responses:
        left_out = response.request.resource_type in ("image", "media")
        if left_out or "search_index" in response.url or response.url in known:
            continue
        known.add(response.url)
        total += len(gzip.compress(response.body()))
    return total / 1000


def pages(browser: Browser, url: str) -> dict[str, float]:
    """Lo que pesan la primera página que se abre y la siguiente."""
    context = browser.new_context()
    page = context.new_page()
    known: set[str] = set()
    found = {
        f"{'primera' if k == 0 else 'siguiente'} página (KB)": weight(page, url + address, known)
        for k, address in enumerate(TEXT)
    }
    context.close()
    return found


def main() -> None:
    """Escribe las medidas de `site/`, o de la carpeta que se diga."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    with serve(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        print(f"{urlsplit(url).netloc}, {browser.version}")
        for measure in (laboratory, plane, pages):
            for name, value in measure(browser, url).items():
                print(f"{name}: {value:.1f}".replace(".", ","))
        browser.close()


if __name__ == "__main__":
    main()
