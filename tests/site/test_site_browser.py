"""La web construida, mirada con un navegador: en claro y oscuro, ancha y estrecha."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Page, expect
from scripts.site.browser import pages
from scripts.site.sentinels import RAW

WITH_MATHS = (
    "componentes/forward.html",
    "componentes/posterior.html",
    "componentes/backward.html",
    "componentes/scheduler.html",
    "componentes/perdidas.html",
    "componentes/por-que-epsilon.html",
    "algoritmos/entrenamiento.html",
    "algoritmos/generacion.html",
    "cuadernos/primer-ddpm.html",
    "api/forward.html",
)

# Lo que se lee en la página, sin el código ni las fórmulas ya dibujadas.
VISIBLE_TEXT = """() => {
  const copy = document.querySelector("body").cloneNode(true);
  copy.querySelectorAll("pre, code, script, style, .katex, .highlight").forEach(e => e.remove());
  return copy.textContent;
}"""
OVERFLOWING = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  const clipped = e => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (getComputedStyle(p).overflowX !== "visible") return true;
    return false;
  };
  return [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > wide + 1 && !clipped(e))
    .map(e => e.tagName + "." + e.className).slice(0, 5).concat(["se sale de la pantalla"]);
}"""
IMAGES = """() => {
  const problems = [];
  for (const image of document.querySelectorAll("article img")) {
    if (!(image.getAttribute("alt") || "").trim())
      problems.push("sin alt: " + image.src.slice(0, 90));
    if (getComputedStyle(image).display !== "none" && image.complete && !image.naturalWidth)
      problems.push("no carga: " + image.src.slice(0, 90));
  }
  for (const drawing of document.querySelectorAll("article .dl-figura svg[role=img]"))
    if (!(drawing.getAttribute("aria-label") || "").trim()) problems.push("svg sin aria-label");
  return problems;
}"""

# Cuánto sobresale cada bloque de código del libro y cuál es su línea más larga.
SCROLLING_CODE = """() => [...document.querySelectorAll("article pre > code")]
  .filter(code => code.scrollWidth > code.clientWidth)
  .map(code => {
    const lines = code.textContent.split("\\n");
    const longest = lines.reduce((a, b) => (b.length > a.length ? b : a), "");
    return `${longest.length} columnas: ${longest.trim()}`;
  })"""
COLUMNS = """() => {
  const code = document.querySelector("article pre > code"), style = getComputedStyle(code);
  const ruler = document.createElement("span");
  ruler.textContent = "x".repeat(100);
  code.append(ruler);
  const column = ruler.getBoundingClientRect().width / 100;
  ruler.remove();
  const padding = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  return (code.clientWidth - padding) / column;
}"""
WIDE = 1280 - 15
"""Lo que deja libre, en un escritorio, la barra de desplazamiento, que aquí no se dibuja."""
UNFOLD = "document.querySelectorAll('article details').forEach((fold) => { fold.open = true })"

View = Callable[[str, int], tuple[Page, list[str]]]


@pytest.fixture
def view(
    new_context: Callable[..., Any], address: str, address_without_search: str
) -> Iterator[View]:
    """Abre una pestaña en un modo y una anchura, y apunta todo lo que vaya mal en ella."""

    def open_view(scheme: str, width: int) -> tuple[Page, list[str]]:
        context = new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(10_000)
        problems: list[str] = []
        hosts = {urlsplit(own).netloc for own in (address, address_without_search)}

        def on_request(request: Any) -> None:
            parts = urlsplit(request.url)
            if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc not in hosts:
                problems.append(f"{page.url} pide {request.url}")

        def on_console(message: Any) -> None:
            if message.type == "error" and not message.location.get("url", "").endswith(
                "favicon.ico"
            ):
                problems.append(f"{page.url}, consola: {message.text}")

        page.on("request", on_request)
        page.on("console", on_console)
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on(
            "response",
            lambda r: (
                problems.append(f"{page.url}: {r.status} {r.url}") if r.status >= 400 else None
            ),
        )
        return page, problems

    yield open_view


@pytest.mark.parametrize(("scheme", "first", "then"), [("light", WIDE, 360), ("dark", 360, WIDE)])
def test_every_page(
    view: View, address_without_search: str, site_dir: Path, scheme: str, first: int, then: int
) -> None:
    """Cada página, en claro y en oscuro: abierta en una anchura y llevada a la otra."""
    page, problems = view(scheme, first)
    expected = {"light": "claro", "dark": "slate"}[scheme]
    for name in pages(site_dir):
        page.set_viewport_size({"width": first, "height": 800})
        page.goto(address_without_search + name, wait_until="load")
        page.wait_for_function("document.fonts.status === 'loaded'")
        if page.evaluate("document.body.dataset.mdColorScheme") != expected:
            problems.append(f"{name}: no está en modo {expected}")
        text = page.evaluate(VISIBLE_TEXT)
        for raw in RAW:
            if raw in text:
                at = text.index(raw)
                problems.append(f"{name}: se lee «{raw}» en «…{text[max(0, at - 40) : at + 40]}…»")
        if page.locator(".dl-falta").count():
            problems.append(f"{name}: falta un artefacto o una fórmula no se entiende")
        if page.locator("h1").count() != 1:
            problems.append(f"{name}: {page.locator('h1').count()} títulos de primer nivel")
        page.evaluate(UNFOLD)
        for width in (first, then):
            page.set_viewport_size({"width": width, "height": 800})
            found = [*page.evaluate(OVERFLOWING), *page.evaluate(IMAGES)]
            if width == WIDE and not name.startswith("api/"):
                found += page.evaluate(SCROLLING_CODE)
            problems += [f"{name}, con {width} px: {problem}" for problem in found]
    assert not problems, "\n".join(problems)


def test_eighty_columns_of_code_fit(view: View, address: str) -> None:
    page, _ = view("light", WIDE)
    page.goto(address + "componentes/forward.html")
    assert page.evaluate(COLUMNS) >= 80


def test_the_cover_moves_only_if_wanted_and_can_be_stopped(view: View, address: str) -> None:
    for motion, moves in (("reduce", False), ("no-preference", True)):
        page, _ = view("light", 1280)
        page.emulate_media(color_scheme="light", reduced_motion=motion)
        page.goto(address + "index.html")
        video = page.locator("article .dl-figura video:visible").first
        button = page.locator(".dl-pausa")
        button.wait_for()
        waiting = "document.querySelector('.dl-pausa').textContent.includes('▶')"
        page.wait_for_function(f"{waiting} === {str(not moves).lower()}")
        assert video.evaluate("video => video.paused") is not moves
        assert not video.evaluate("video => video.controls")
        button.click()
        page.wait_for_function(f"{waiting} === {str(moves).lower()}")
        assert video.evaluate("video => video.paused") is moves


@pytest.mark.parametrize(("width", "shown"), [(1280, "portada-emoji."), (360, "-estrecha.")])
def test_the_cover_fits_the_screen(view: View, address: str, width: int, shown: str) -> None:
    page, problems = view("dark", width)
    page.goto(address + "index.html")
    videos = page.locator("article .dl-figura video:visible")
    assert videos.count() == 1
    assert shown in str(videos.first.get_attribute("src"))
    assert "dark" in str(videos.first.get_attribute("src"))
    assert not problems, "\n".join(problems)


def test_maths_is_drawn_without_scripts(view: View, address_without_search: str) -> None:
    page, problems = view("light", 1280)
    for name in WITH_MATHS:
        page.goto(address_without_search + name)
        page.wait_for_function("document.fonts.status === 'loaded'")
        if not page.locator(".katex .katex-html").count():
            problems.append(f"{name}: no hay fórmulas dibujadas")
        if not page.locator(".katex math annotation").count():
            problems.append(f"{name}: las fórmulas no llevan MathML")
        if not page.evaluate("document.fonts.check('16px KaTeX_Main')"):
            problems.append(f"{name}: no se ha cargado la letra de KaTeX")
        scripts = page.evaluate(
            "[...document.scripts].map(s => s.src).filter(s => /katex|mathjax/i.test(s))"
        )
        problems += [f"{name}: carga {script}" for script in scripts]
    assert not problems, "\n".join(problems)


def test_equation_links_lead_to_their_equation(view: View, address: str, site_dir: Path) -> None:
    page, problems = view("light", 1280)
    links = 0
    for name in pages(site_dir):
        source = (site_dir / name).read_text(encoding="utf-8")
        for href in re.findall(r'class="dl-ref" href="([^"]*)"', source):
            links += 1
            path, _, anchor = href.partition("#")
            target = (site_dir / name).parent / path if path else site_dir / name
            if f'id="{anchor}"' not in target.read_text(encoding="utf-8"):
                problems.append(f"{name}: {href} no existe")
    if not links:
        problems.append("ninguna página enlaza con una ecuación")
    page.goto(address + "componentes/forward.html")
    number = page.locator(".dl-eq__numero").first
    assert re.fullmatch(r"\(\d+\.\d+\)", number.inner_text().strip())
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("query", ["difusión", "difusion", "DIFUSIÓN", "ruído", "pequeña"])
def test_search(view: View, address: str, query: str) -> None:
    page, problems = view("light", 1280)
    page.goto(address + "index.html")
    assert found(page, query), f"la búsqueda de «{query}» no encuentra nada"
    assert not problems, "\n".join(problems)


def found(page: Page, query: str) -> list[str]:
    """Los títulos que encuentra la búsqueda, con la casilla vacía y la consulta de una vez.

    Letra a letra, lo que se lee puede ser aún la respuesta a las primeras.
    """
    box = page.locator("[data-md-component=search-query]")
    box.click()
    for text, answered in (("", "/Teclee/.test({})"), (query, "!/Inicializando|Teclee/.test({})")):
        box.fill(text)
        box.press("End")
        meta = "document.querySelector('.md-search-result__meta').textContent"
        page.wait_for_function(answered.format(meta))
    return page.locator(".md-search-result__item h1").all_inner_texts()


def test_search_keeps_accents_in_titles_and_the_letter_enye(view: View, address: str) -> None:
    page, _ = view("light", 1280)
    page.goto(address + "index.html")
    assert any("Función" in title for title in found(page, "funcion de perdidas"))
    assert not found(page, "pequena")


def test_search_works_from_disk(new_context: Callable[..., Any], site_dir: Path) -> None:
    page = new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto((site_dir / "index.html").resolve().as_uri())
    assert found(page, "difusion")


def test_banner_only_in_smoke_profile(site_dir: Path) -> None:
    profile = re.search(
        r'<meta name="ddpm-perfil" content="(\w+)">',
        (site_dir / "index.html").read_text(encoding="utf-8"),
    )
    assert profile, "la portada no dice con qué perfil se ha construido"
    assert profile[1] == os.environ.get("DDPM_PROFILE", profile[1])
    wrong = [
        name
        for name in pages(site_dir)
        if ('data-perfil="smoke"' in (site_dir / name).read_text(encoding="utf-8"))
        != (profile[1] == "smoke")
    ]
    assert not wrong, f"el aviso del perfil smoke está mal en {wrong}"


def test_external_video_loads_only_on_click(view: View, address: str) -> None:
    page, problems = view("light", 1280)
    page.route(
        "https://www.youtube-nocookie.com/**", lambda route: route.fulfill(body="<p>vídeo</p>")
    )
    page.goto(address + "fuentes.html")
    assert page.locator("iframe").count() == 0
    assert not problems
    button = page.locator(".dl-externo__boton").first
    button.focus()
    page.keyboard.press("Enter")
    frame = page.locator(".dl-externo iframe").first
    frame.wait_for()
    assert str(frame.get_attribute("src")).startswith("https://www.youtube-nocookie.com/embed/")
    assert frame.get_attribute("title")


def test_instant_navigation_keeps_maths(view: View, address: str) -> None:
    page, problems = view("light", 1280)
    page.goto(address + "componentes/forward.html")
    page.locator(".md-footer__link--next").click()
    page.wait_for_url("**/posterior.html")
    page.locator("h1 .katex-html").first.wait_for()
    assert "Posterior" in page.title()
    assert not problems, "\n".join(problems)


def test_reading_neither_moves_the_page_nor_asks_for_it_again(view: View, address: str) -> None:
    """El tema apunta en la dirección la sección; lo que cambie en la página no salta a ella."""
    page, problems = view("light", 360)
    page.goto(address + "componentes/forward.html")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.querySelector('.md-content').dataset.mine = ''")
    page.evaluate("scrollTo(0, 4000)")
    page.wait_for_function("location.hash !== ''")
    page.evaluate("document.body.append(document.createElement('p'))")
    page.wait_for_timeout(800)
    assert page.evaluate("scrollY") == 4000
    assert page.locator(".md-content[data-mine]").count() == 1
    assert problems == []


# Si se ve lo que tiene el foco: en la pantalla y sin nada encima.
SEEN = """() => {
  const focused = document.activeElement, box = focused.getBoundingClientRect();
  const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  return focused.contains(top);
}"""
IN_MENU = "document.activeElement.closest('.md-sidebar--primary') !== null"


def test_on_a_phone_the_menu_is_walked_by_keyboard_and_only_what_is_seen(
    view: View, address: str
) -> None:
    page, problems = view("light", 360)
    page.goto(address + "componentes/forward.html")
    opener = page.get_by_role("button", name="Menú", exact=True)
    expect(opener).to_have_attribute("aria-expanded", "false")
    walked = []
    for _ in range(20):
        page.keyboard.press("Tab")
        walked.append(page.evaluate(IN_MENU))
    assert not any(walked)
    for key in ("Enter", "Space"):
        opener.focus()
        page.keyboard.press(key)
        expect(opener).to_have_attribute("aria-expanded", "true")
        page.wait_for_timeout(400)
        # El panel de la sección en que se está.
        assert "Componentes" in (page.evaluate("document.activeElement.ariaLabel") or "")
        names = []
        while page.evaluate(IN_MENU):
            assert page.evaluate(SEEN), names
            names.append(page.evaluate("document.activeElement.textContent.trim()"))
            page.keyboard.press("Tab")
        assert "Posterior" in names and "Portada" not in names
        page.keyboard.press("Escape")
        expect(opener).to_have_attribute("aria-expanded", "false")
        expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Entrar en Componentes principales")).to_be_focused()
    page.wait_for_timeout(400)
    page.keyboard.press("Tab")
    assert page.evaluate(SEEN)
    assert page.evaluate("document.activeElement.textContent.trim()") == "Algoritmos"
    page.set_viewport_size({"width": WIDE, "height": 800})
    link = page.locator(".md-sidebar--primary").get_by_role("link", name="Galería")
    link.focus()
    expect(link).to_be_focused()
    assert page.locator("button[for]:not([tabindex='-1'])").count() == 0
    assert problems == []


def test_not_found_page_is_in_spanish(site_dir: Path) -> None:
    text = (site_dir / "404.html").read_text(encoding="utf-8")
    assert "Aquí solo hay ruido" in text
    assert "Not found" not in text


@pytest.mark.parametrize("name", ["index.html", "componentes/forward.html"])
def test_link_preview(site_dir: Path, name: str) -> None:
    text = (site_dir / name).read_text(encoding="utf-8")
    for tag in ("og:title", "og:description", "twitter:card", 'name="description"', "theme-color"):
        assert tag in text, f"{name} no lleva {tag}"
    assert r"\(" not in re.findall(r"<title>(.*?)</title>", text, re.S)[0]


# --- El glosario -------------------------------------------------------------------------------

DEFINED = "componentes/forward.html"


def definition(page: Page) -> str:
    """Lo que se lee en la definición abierta."""
    shown = page.locator(".md-tooltip2--active [role=tooltip], .md-tooltip2--active[role=tooltip]")
    shown.wait_for()
    return shown.inner_text().strip()


def test_a_definition_opens_with_the_mouse_and_with_the_keyboard(view: View, address: str) -> None:
    page, problems = view("light", 1280)
    page.goto(address + DEFINED)
    term = page.locator("a.dl-termino").first
    expected = term.get_attribute("title")
    term.hover()
    assert definition(page) == expected
    assert page.locator(f"#{term.get_attribute('aria-describedby')}").inner_text() == expected
    page.mouse.move(0, 0)
    page.locator(".md-tooltip2--active").wait_for(state="hidden")
    page.locator("article h1").click()
    page.keyboard.press("Tab")
    while page.evaluate("!document.activeElement.matches('.dl-termino')"):
        page.keyboard.press("Tab")
    assert definition(page) == expected
    page.keyboard.press("Enter")
    page.wait_for_url("**/glosario.html#termino-*")
    assert not problems


def test_the_first_touch_opens_a_definition_and_the_second_follows_it(
    new_context: Callable[..., Any], address: str
) -> None:
    page = new_context(viewport={"width": 360, "height": 800}, has_touch=True).new_page()
    page.goto(address + DEFINED)
    term = page.locator("a.dl-termino").first
    expected = term.get_attribute("title")
    term.tap()
    assert definition(page) == expected
    assert page.url.endswith(DEFINED)
    box = page.locator(".md-tooltip2--active .md-tooltip2__inner").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360
    term.tap()
    page.wait_for_url("**/glosario.html#termino-*")
