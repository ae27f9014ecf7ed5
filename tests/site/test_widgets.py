"""Los widgets, tocados en un navegador con el ratón, con el dedo y con el teclado."""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from scripts.site import frontend

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Locator, Page, Route, expect
from test_twin import packed

from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import slerp
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.forward import q_sample
from ddpm_lit.ideal import ideal_model, ideal_x_start
from ddpm_lit.noise import sampling_noise
from ddpm_lit.posterior import q_posterior
from ddpm_lit.sampling import algorithm2, make_sampler
from ddpm_lit.scheduler import make_schedule

PAGES = {
    "forward": "componentes/forward.html",
    "posterior": "componentes/posterior.html",
    "scheduler": "componentes/scheduler.html",
    "plane": "algoritmos/generacion.html",
    "laboratory": "laboratorio.html",
    "tweedie": "componentes/por-que-epsilon.html",
    "losses": "componentes/perdidas.html",
    "guidance": "despues/cfg.html",
    "ddim": "despues/ddim.html",
    "unet": "unet.html",
}
"""En qué página está cada widget."""

Open = Callable[[str], Locator]


@pytest.fixture(scope="module")
def address(address_without_search: str) -> str:
    return address_without_search


@pytest.fixture
def opened(page: Page, address: str) -> Open:
    """Abre la página de un widget y espera a que esté en su sitio."""

    def show(name: str) -> Locator:
        page.goto(address + PAGES[name])
        place = page.locator(f"dl-widget[name={name}]")
        place.scroll_into_view_if_needed()
        expect(place).to_have_attribute("data-state", "ready")
        return place

    return show


def spanish(value: float, digits: int) -> str:
    """Un número como lo escriben los widgets."""
    return f"{value:.{digits}f}".replace(".", ",").replace("-", "−")


def significant(value: float) -> str:
    """Un número con tres cifras, como lo escriben los widgets cuando no es muy pequeño."""
    return spanish(value, max(0, 2 - math.floor(math.log10(value))))


def slide(place: Locator, label: str, value: float) -> None:
    """Pone un mando deslizante en un valor, como si se arrastrara."""
    place.get_by_role("slider", name=label, exact=True).evaluate(
        "(mando, valor) => { mando.value = valor;"
        " mando.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


# --- Todos ----------------------------------------------------------------------------------------


def test_every_widget_has_its_page() -> None:
    assert {path.stem for path in (frontend.SOURCES / "widgets").glob("*.ts")} == PAGES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_it_takes_the_place_of_its_figure_and_asks_nobody_else(
    page: Page, opened: Open, address: str, name: str
) -> None:
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    place = opened(name)
    expect(place.locator(".dl-widget__figura")).to_be_hidden()
    expect(place.locator(f"dl-{name}")).to_be_visible()
    expect(place.locator(".prueba")).to_be_visible()
    assert problems == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_there_is_the_figure(page: Page, opened: Open, name: str) -> None:
    place = opened(name)
    page.emulate_media(media="print")
    expect(place.locator(".dl-widget__figura")).to_be_visible()
    expect(place.locator(f"dl-{name}")).to_be_hidden()


@pytest.mark.parametrize("name", PAGES)
def test_without_script_there_is_the_figure(browser: Browser, address: str, name: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + PAGES[name])
    expect(page.locator(f"dl-widget[name={name}] .dl-widget__figura")).to_be_visible()
    context.close()


def test_from_the_disk_it_says_what_it_needs(page: Page, site_dir: Path) -> None:
    page.goto((site_dir / PAGES["posterior"]).resolve().as_uri())
    place = page.locator("dl-widget[name=posterior]")
    expect(place.locator(".dl-widget__figura")).to_be_visible()
    expect(place.locator(".dl-widget__aviso")).to_contain_text("viene de un servidor")


@pytest.mark.parametrize("name", PAGES)
def test_if_it_does_not_arrive_the_figure_stays(page: Page, address: str, name: str) -> None:
    page.route(re.compile(rf"/widgets/{name}-\w+\.js"), lambda route: route.abort())
    page.goto(address + PAGES[name])
    place = page.locator(f"dl-widget[name={name}]")
    place.scroll_into_view_if_needed()
    expect(place).to_have_attribute("data-state", "failed")
    expect(place.locator(".dl-widget__figura")).to_be_visible()
    expect(place.get_by_role("status")).to_contain_text("no se ha podido cargar")


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_nothing_sticks_out(browser: Browser, address: str, name: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(address + PAGES[name])
    place = page.locator(f"dl-widget[name={name}]")
    place.scroll_into_view_if_needed()
    expect(place).to_have_attribute("data-state", "ready")
    box = place.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


FOCUSED = """(name) => {
  const place = document.querySelector(`dl-widget[name=${name}]`);
  let focused = document.activeElement;
  if (!place.contains(focused)) return null;
  while (focused.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  const seen = focused.closest("label") ?? focused;
  const box = seen.getBoundingClientRect();
  const header = document.querySelector(".md-header").getBoundingClientRect().bottom;
  return {
    name: (focused.getAttribute("aria-label") ?? seen.innerText).trim(),
    shown: box.top >= header && (box.bottom <= innerHeight || box.height > innerHeight / 2),
    outlined: [focused, seen].some((each) => getComputedStyle(each).outlineStyle === "solid")
      || focused.matches("g"),
  };
}"""


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_alone_goes_all_over_it_on_a_phone(
    browser: Browser, address: str, name: str
) -> None:
    """De ida y de vuelta, lo que tiene el foco se ve: ni fuera de la pantalla ni tapado."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(address + PAGES[name])
    place = page.locator(f"dl-widget[name={name}]")
    place.scroll_into_view_if_needed()
    expect(place).to_have_attribute("data-state", "ready")
    expect(place.locator("input, button, [tabindex='0']").first).to_be_visible(timeout=20_000)
    place.evaluate(
        "(place) => { const before = document.createElement('a'); before.href = '#';"
        " place.before(before); before.focus({ preventScroll: true }); }"
    )
    walks = []
    for key in ("Tab", "Shift+Tab"):
        walk = []
        page.keyboard.press(key)
        while (found := page.evaluate(FOCUSED, name)) is not None:
            assert found["shown"] and found["outlined"] and found["name"], (key, found)
            walk.append(found["name"])
            page.keyboard.press(key)
        walks.append(walk)
    there, back = walks
    assert len(there) >= 2 and len(back) == len(there)
    context.close()


# --- Forward --------------------------------------------------------------------------------------


def test_the_numbers_of_forward_are_those_of_the_schedule(page: Page, opened: Open) -> None:
    place = opened("forward")
    bars = make_schedule("linear", 1000).alphas_cumprod
    control = place.get_by_role("slider", name="t", exact=True)
    control.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    bar = float(bars[151])
    expect(control).to_have_attribute("aria-valuetext", "152")
    expect(place.locator(".cuentas")).to_contain_text(f"= {spanish(bar**0.5, 3)} ·")
    expect(place.locator(".cuentas")).to_contain_text(f"+ {spanish((1 - bar) ** 0.5, 3)} ·")
    expect(place.get_by_role("status")).to_contain_text(
        f"t = 152: {spanish(bar**0.5, 2)} de la imagen"
    )
    page.keyboard.press("Home")
    expect(place.locator(".cuentas")).to_contain_text("(SNR) = 1,000 / 0,000 = ∞")


def test_the_pixels_of_forward_are_those_of_the_package(opened: Open) -> None:
    place = opened("forward")
    slide(place, "t", 300)
    expect(place.locator(".cuentas")).to_contain_text("SNR")
    stored = place.locator("dl-forward").evaluate("async ({ data }) => (await fetch(data)).json()")
    image = next(iter(stored.values()))
    values = torch.frombuffer(bytearray(b64decode(image["values"])), dtype=torch.float32)
    x_0 = values.reshape(1, image["channels"], image["height"], image["width"])
    noise = next(sampling_noise(0, [0], x_0.shape[1:]))
    x_t = q_sample(make_schedule("linear", 1000), x_0, torch.tensor([299]), noise)
    expected = ((x_t[0, 0].clamp(-1, 1) + 1) * 127.5).flatten()
    shown = place.locator("canvas").evaluate(
        "(lienzo) => [...lienzo.getContext('2d').getImageData(0, 0, lienzo.width, lienzo.height)"
        ".data].filter((_, k) => k % 4 === 0)"
    )
    assert (torch.tensor(shown) - expected).abs().max() <= 0.51


def test_an_image_of_the_reader_is_used_and_one_that_is_not_is_refused(
    opened: Open, tmp_path: Path
) -> None:
    from PIL import Image

    place = opened("forward")
    picture, text = tmp_path / "gato.png", tmp_path / "notas.png"
    Image.new("RGB", (90, 60), (200, 30, 30)).save(picture)
    text.write_text("no soy una imagen")
    chooser = place.locator("input[type=file]")
    chooser.set_input_files(text)
    expect(place.get_by_role("alert")).to_contain_text("«notas.png» no es una imagen")
    chooser.set_input_files(picture)
    expect(place.get_by_role("radio", name="la vuestra")).to_be_checked()
    expect(place.get_by_role("alert")).to_have_count(0)
    slide(place, "t", 0)
    expect(place.locator(".cuentas")).to_contain_text("∞")
    colour = place.locator("canvas").evaluate(
        "(lienzo) => [...lienzo.getContext('2d').getImageData(48, 48, 1, 1).data]"
    )
    assert colour == [200, 30, 30, 255]


def test_without_its_images_forward_still_takes_one(page: Page, address: str) -> None:
    page.route("**/widget-forward.json", lambda route: route.fulfill(status=404))
    page.goto(address + PAGES["forward"])
    place = page.locator("dl-widget[name=forward]")
    place.scroll_into_view_if_needed()
    expect(place.get_by_role("alert")).to_contain_text("No han llegado las imágenes")
    expect(place.get_by_text("Poner una vuestra", exact=True)).to_be_visible()


# --- Posterior ------------------------------------------------------------------------------------


def posterior_text(x_0: float, x_t: float, t: int) -> str:
    schedule = make_schedule("linear", 50)
    found = q_posterior(
        schedule, torch.tensor([[x_0]]), torch.tensor([[x_t]]), torch.tensor([t - 1])
    )
    return f"= {spanish(found.mean.item(), 3)} "


def test_the_posterior_is_the_one_of_the_package(opened: Open) -> None:
    place = opened("posterior")
    for x_0, x_t, t in ((-0.8, 1.2, 20), (0.5, -2.0, 2), (-1.0, -1.0, 50)):
        slide(place, "x sub cero", x_0)
        slide(place, "x sub t", x_t)
        slide(place, "t", t)
        expect(place.locator(".cuentas")).to_contain_text(posterior_text(x_0, x_t, t))


@pytest.mark.parametrize("pointer", ["mouse", "touch"])
def test_the_points_are_dragged(browser: Browser, address: str, pointer: str) -> None:
    touch = pointer == "touch"
    context = browser.new_context(has_touch=touch, viewport={"width": 900, "height": 800})
    page = context.new_page()
    page.goto(address + PAGES["posterior"])
    place = page.locator("dl-widget[name=posterior]")
    place.scroll_into_view_if_needed()
    handle = place.locator("circle.asa.x0")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    drawing = place.locator("svg.grafica").bounding_box()
    assert box and drawing
    start = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # Los ejes van de -4 a 4 entre los márgenes del dibujo, que tiene 640 de ancho.
    unit = drawing["width"] / 640 * (640 - 40 - 10) / 8
    target = (start[0] + 1.3 * unit, start[1])
    if not touch:
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*target, steps=4)
        page.mouse.up()
    else:
        drag_with_a_finger(page, start, target)
    expect(place.get_by_role("slider", name="x sub cero")).to_have_attribute(
        "aria-valuetext", "0,50"
    )
    expect(place.locator(".cuentas")).to_contain_text(posterior_text(0.5, 1.2, 20))
    context.close()


def drag_with_a_finger(page: Page, start: tuple[float, float], target: tuple[float, float]) -> None:
    """Arrastra con un dedo, como lo hace una pantalla: con los eventos del navegador."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", start)
    middle = ((start[0] + target[0]) / 2, (start[1] + target[1]) / 2)
    touch("touchMove", middle)
    touch("touchMove", target)
    touch("touchEnd")


# --- Scheduler ------------------------------------------------------------------------------------


def test_the_schedules_are_compared(opened: Open) -> None:
    place = opened("scheduler")
    status = place.get_by_role("status")
    left = {
        name: float(make_schedule(name, 25).alphas_cumprod[-1]) ** 0.5
        for name in ("linear", "cosine")
    }
    slide(place, "T", 0)
    linear, cosine = (significant(left[name]) for name in ("linear", "cosine"))
    expect(status).to_contain_text(
        f"T = 25. Señal que queda en t = T, √ᾱ: lineal, {linear}; coseno, {cosine}"
    )
    # También se ve, en la fila de cada uno, con el t de cada imagen encima.
    expect(place.locator(".tira", has_text="coseno")).to_contain_text(f"queda √ᾱ = {cosine}")
    assert place.locator(".tiempos").inner_text().split() == ["3", "6", "10", "14", "18", "21", "T"]
    place.get_by_role("checkbox", name="sigmoide").check(force=True)
    expect(place.locator("svg .curva")).to_have_count(3)
    place.get_by_role("checkbox", name="coseno").uncheck(force=True)
    expect(place.locator("svg .curva")).to_have_count(2)
    place.get_by_role("checkbox", name="sin señal en T").check()
    expect(status).to_contain_text("lineal, 0; sigmoide, 0")
    for quantity in ("β", "log₁₀ SNR", "ᾱ"):
        place.get_by_role("radio", name=quantity).check(force=True)
        assert "NaN" not in place.locator("svg").first.inner_html()
    expect(place.locator("dl-imagen")).to_have_count(14)


# --- El plano -------------------------------------------------------------------------------------


def plane_data(browser: Browser, name: str, count: int = 320) -> torch.Tensor:
    """Los puntos de unos datos del plano, preguntados a su módulo."""
    page = browser.new_page()
    page.add_script_tag(content=packed(extra=("plane/distributions",)))
    values = page.evaluate("(asked) => [...twin.distributions.dataOf(...asked)]", [name, count])
    page.close()
    return torch.tensor(values).reshape(-1, 2)


@pytest.mark.parametrize("sampler", ["DDPM", "DDIM", "Heun", "DPM-Solver++"])
def test_a_particle_ends_where_the_package_says(
    page: Page, browser: Browser, opened: Open, sampler: str
) -> None:
    place = opened("plane")
    group = place.get_by_role("group", name="Sampler:")
    group.get_by_role("radio", name=sampler, exact=True).check(force=True)
    slide(place, "pasos", 20)
    canvas = place.locator("canvas")
    canvas.focus()
    for key, times in (("ArrowRight", 7), ("ArrowUp", 4)):
        for _ in range(times):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(place.get_by_role("status")).to_contain_text("Vuestra partícula", timeout=20_000)
    slide(place, "t", 20)
    expect(place.get_by_role("status")).to_contain_text("paso 20 de 20")
    told = place.get_by_role("status").inner_text()
    found = re.search(r"Vuestra partícula está en \((−?[\d,]+); (−?[\d,]+)\)", told)
    assert found, told
    where = [float(text.replace("−", "-").replace(",", ".")) for text in found.groups()]

    whole = Diffusion(make_schedule("linear", 200), "epsilon", clip=False)
    model = ideal_model(whole, plane_data(browser, "espiral"), bandwidth=0.04)
    noises = sampling_noise(0, [0], (2,))
    next(noises)
    names = {"DDPM": "ddpm", "DDIM": "ddim", "Heun": "heun", "DPM-Solver++": "dpm++2m"}
    steps = algorithm2(
        Denoiser(model, whole.respaced(20)),
        torch.tensor([[0.7, 0.4]]),
        noises,
        make_sampler(names[sampler]),
    )
    *_, last = steps
    assert where == pytest.approx(last.x_t[0].tolist(), abs=0.011)


def test_the_particles_go_and_come_back(page: Page, opened: Open) -> None:
    place = opened("plane")
    status = place.get_by_role("status")
    expect(status).to_contain_text("t = 200, paso 0 de 50", timeout=20_000)
    place.get_by_role("button", name="Un paso").click()
    expect(status).to_contain_text("paso 1 de 50")
    place.get_by_role("button", name="Reproducir").click()
    expect(place.get_by_role("button", name="Pausar")).to_be_visible()
    expect(status).to_contain_text("t = 0, paso 50 de 50", timeout=20_000)
    place.get_by_role("radio", name="de los datos al ruido").check(force=True)
    expect(status).to_contain_text("t = 0, paso 0 de 200", timeout=20_000)
    for each in ("estelas", "hacia dónde tira el score"):
        place.get_by_role("checkbox", name=each).check()
    slide(place, "t", 120)
    expect(status).to_contain_text("t = 120")


def test_data_are_drawn_by_hand(page: Page, opened: Open) -> None:
    place = opened("plane")
    place.get_by_role("radio", name="los que dibujéis").check(force=True)
    expect(place.get_by_role("status")).to_contain_text("Dibujad unos datos")
    canvas = place.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=12)
    page.mouse.up()
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 50", timeout=20_000)
    points = place.locator("dl-plane").evaluate("(plano) => plano.points.length / 2")
    assert 5 < points < 60
    place.get_by_role("button", name="Borrar").click()
    expect(place.get_by_role("status")).to_contain_text("Dibujad unos datos")


def test_particles_are_dropped_one_after_another_also_on_own_data(page: Page, opened: Open) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    place = opened("plane")
    status = place.get_by_role("status")
    canvas = place.locator("canvas")
    expect(status).to_contain_text("paso 0 de 50", timeout=20_000)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.click(*at(0.7, 0.3))
    page.wait_for_timeout(700)
    place.get_by_role("button", name="Pausar").click()
    page.mouse.click(*at(0.3, 0.6))
    expect(status).to_contain_text("Vuestra partícula está en", timeout=20_000)
    place.get_by_role("radio", name="los que dibujéis").check(force=True)
    page.mouse.move(*at(0.3, 0.5))
    page.mouse.down()
    page.mouse.move(*at(0.7, 0.5))  # De una vez: los puntos de en medio los pone el trazo.
    page.mouse.up()
    assert place.locator("dl-plane").evaluate("(plano) => plano.points.length / 2") > 30
    place.get_by_role("checkbox", name="soltar partículas").check(force=True)
    page.mouse.click(*at(0.5, 0.2))
    expect(status).to_contain_text("Vuestra partícula está en", timeout=20_000)
    assert problems == []


def test_a_worker_that_fails_says_so_and_the_page_goes_on(page: Page, address: str) -> None:
    def broken(route: Route) -> None:
        route.fulfill(content_type="text/javascript", body="throw new Error('roto')")

    page.route("**/widgets/plane.js", broken)
    page.goto(address + PAGES["plane"])
    place = page.locator("dl-widget[name=plane]")
    place.scroll_into_view_if_needed()
    expect(place.get_by_role("alert")).to_contain_text("El cálculo se ha parado")
    page.unroute("**/widgets/plane.js")
    place.get_by_role("radio", name="dos lunas").check(force=True)
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 50", timeout=20_000)
    expect(place.get_by_role("alert")).to_have_count(0)


def test_two_samplers_run_side_by_side_from_the_same_noise(page: Page, opened: Open) -> None:
    place = opened("plane")
    status = place.get_by_role("status")
    expect(status).to_contain_text("paso 0 de 50", timeout=20_000)
    beside = place.get_by_role("group", name="Al lado:")
    beside.get_by_role("radio", name="DDIM", exact=True).check(force=True)
    expect(place.locator("canvas")).to_have_count(2)
    place.locator("canvas.mio").click(position={"x": 60, "y": 40})
    expect(status).to_contain_text("Vuestra partícula", timeout=20_000)
    both = place.locator("dl-plane").evaluate(
        """async (plano) => {
          const whole = () => ["all", "other", "own", "otherOwn"].map((k) => plano.paths.known[k]);
          while (whole().includes(null)) await new Promise((next) => setTimeout(next, 50));
          return whole().map(({ states }) => [[...states[0]], [...states.at(-1)]]);
        }"""
    )
    (start, end), (other_start, other_end), (own, own_end), (other_own, other_own_end) = both
    assert start == other_start and own == other_own
    assert end != other_end and own_end != other_own_end
    place.get_by_role("radio", name="de los datos al ruido").check(force=True)
    expect(place.locator("canvas")).to_have_count(1)


def test_the_address_says_what_is_seen(page: Page, address: str, opened: Open) -> None:
    place = opened("plane")
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 50", timeout=20_000)
    assert page.url.split("#")[0] == address + PAGES["plane"]
    group = place.get_by_role("group", name="Sampler:")
    group.get_by_role("radio", name="DDIM", exact=True).check(force=True)
    slide(place, "pasos", 12)
    assert page.url.split("#")[0].endswith("?sampler=ddim&pasos=12")
    place.get_by_role("radio", name="los que dibujéis").check(force=True)
    canvas = place.locator("canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=6)
    page.mouse.up()
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 12", timeout=20_000)
    points = "(plano) => [...plano.points]"
    drawn = place.locator("dl-plane").evaluate(points)
    assert "datos=dibujo" in page.url and "puntos=" in page.url
    page.reload()
    place = page.locator("dl-widget[name=plane]")
    place.scroll_into_view_if_needed()
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 12", timeout=20_000)
    again = place.locator("dl-plane").evaluate(points)
    assert again == drawn
    assert place.get_by_role("radio", name="DDIM", exact=True).first.is_checked()


@pytest.mark.parametrize("query", ["", "?sampler=heun&al-lado=ddim", "?camino=ida", "drawn"])
def test_a_dropped_particle_travels_in_the_address(page: Page, address: str, query: str) -> None:
    """Quien abre la dirección ve el mismo camino, estado a estado."""
    drawn = query == "drawn"
    page.goto(address + PAGES["plane"] + ("" if drawn else query))
    place = page.locator("dl-widget[name=plane]")
    place.scroll_into_view_if_needed()
    status = place.get_by_role("status")
    expect(status).to_contain_text("paso 0 de", timeout=20_000)
    canvas = place.locator("canvas.mio")
    canvas.scroll_into_view_if_needed()
    if drawn:
        place.get_by_role("radio", name="los que dibujéis").check(force=True)
        box = canvas.bounding_box()
        assert box
        page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=7)
        page.mouse.up()
        expect(status).to_contain_text("paso 0 de 50", timeout=20_000)
        place.get_by_role("checkbox", name="soltar partículas").check(force=True)
    canvas.click(position={"x": 61.3, "y": 43.7})
    states = """async (plano) => {
      const whole = () => [plano.paths.known.own, plano.compares ? plano.paths.known.otherOwn : 0];
      while (whole().includes(null)) await new Promise((next) => setTimeout(next, 50));
      return whole().filter(Boolean).map(({ states }) => states.map((x) => [...x]));
    }"""
    first = place.locator("dl-plane").evaluate(states)
    assert len(first) == (2 if "al-lado" in query else 1) and len(first[0]) > 50
    assert re.search(r"[?&]particula=-?\d\.\d\d_-?\d\.\d\d", page.url)
    page.goto("about:blank#")
    page.go_back()
    place.scroll_into_view_if_needed()
    expect(status).to_contain_text("Vuestra partícula está en", timeout=20_000)
    assert place.locator("dl-plane").evaluate(states) == first
    if not drawn:
        place.get_by_role("radio", name="dos lunas").press(" ")
        assert "particula" not in page.url


def test_an_impossible_address_says_so(page: Page, address: str) -> None:
    page.goto(
        f"{address}{PAGES['plane']}?datos=elefante&sampler=ddim&pasos=0&puntos=%C3%B1&eta="
        "&particula=9_0"
    )
    place = page.locator("dl-widget[name=plane]")
    place.scroll_into_view_if_needed()
    alert = place.get_by_role("alert")
    expect(alert).to_contain_text("«datos» no puede ser «elefante»; «pasos» no puede ser «0»")
    expect(alert).to_contain_text("«particula» no puede ser «9_0»")
    expect(place.get_by_role("status")).to_contain_text("paso 0 de 50", timeout=20_000)
    assert place.get_by_role("radio", name="DDIM", exact=True).first.is_checked()
    slide(place, "pasos", 20)
    expect(alert).to_have_count(0)


def energy(x: torch.Tensor, y: torch.Tensor) -> float:
    """La distancia de energía entre dos nubes de puntos."""
    between = torch.cdist(x, y).mean()
    return float(2 * between - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def landed(place: Locator) -> torch.Tensor:
    """Adónde han llegado las partículas."""
    values = place.locator("dl-plane").evaluate("(plano) => [...plano.travelled.states.at(-1)]")
    return torch.tensor(values).reshape(-1, 2)


def test_a_network_learns_in_the_page(browser: Browser, opened: Open) -> None:
    place = opened("plane")
    status = place.get_by_role("status")
    expect(status).to_contain_text("paso 0 de 50", timeout=20_000)
    place.get_by_role("radio", name="una que aprende aquí").check(force=True)
    expect(place.locator(".leccion")).to_contain_text("Aún no sabe nada")
    group = place.get_by_role("group", name="Sampler:")
    group.get_by_role("radio", name="DDIM", exact=True).check(force=True)
    slide(place, "pasos", 25)
    expect(status).to_contain_text("de 25", timeout=20_000)
    data = plane_data(browser, "espiral")
    untrained = energy(landed(place), data)
    place.get_by_role("button", name="Entrenar").click()
    lesson = place.locator(".leccion")
    expect(lesson).to_contain_text(
        re.compile(
            r"\d+ pasos de entrenamiento; pérdida, 0,\d{3} "
            r"\(la de la red ideal, 0,\d{3}\); quedan \d s"
        )
    )
    # Mientras aprende se ve adónde llegan; en voz alta, solo cuando acaba.
    position = "(plano) => plano.position === plano.travelled.states.length - 1"
    assert place.locator("dl-plane").evaluate(position)
    expect(lesson).to_have_text(
        re.compile(
            r"^\d+ pasos de entrenamiento; pérdida, 0,\d{3} \(la de la red ideal, 0,\d{3}\)\.$"
        ),
        timeout=30_000,
    )
    expect(place.get_by_role("button", name="Seguir entrenando")).to_be_visible()
    place.locator("dl-plane").evaluate(
        "async (plano) => { while (plano.travelled.states.at(-1).length < 4000)"
        " await new Promise((next) => setTimeout(next, 50)); }"
    )
    trained = energy(landed(place), data)
    assert trained < 0.02 < 0.1 * untrained, (trained, untrained)
    # Se compara con la ideal y se vuelve sin perder lo aprendido.
    told = lesson.inner_text()
    place.get_by_role("radio", name="la ideal").check(force=True)
    expect(lesson).to_have_count(0)
    place.get_by_role("radio", name="una que aprende aquí").check(force=True)
    expect(lesson).to_have_text(told)
    # Con otros datos hay que volver a aprender.
    place.get_by_role("radio", name="dos lunas").check(force=True)
    expect(lesson).to_contain_text("Aún no sabe nada")


def test_the_place_is_kept_when_something_else_changes(opened: Open) -> None:
    place = opened("plane")
    slide(place, "pasos", 20)
    status = place.get_by_role("status")
    expect(status).to_contain_text("de 20", timeout=20_000)
    slide(place, "t", 10)
    expect(status).to_contain_text("paso 10 de 20")
    place.get_by_role("group", name="Sampler:").get_by_role("radio", name="Heun").check(force=True)
    expect(status).to_contain_text("paso 10 de 20")
    slide(place, "pasos", 40)
    expect(status).to_contain_text("paso 20 de 40", timeout=20_000)


def test_arrows_with_shift_go_ten_at_a_time(page: Page, opened: Open) -> None:
    place = opened("plane")
    steps = place.get_by_role("slider", name="pasos")
    steps.focus()
    before = int(steps.input_value())
    page.keyboard.press("Shift+ArrowLeft")
    expect(steps).to_have_value(str(before - 10))
    page.keyboard.press("ArrowLeft")
    expect(steps).to_have_value(str(before - 11))
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(steps).to_have_value(str(before + 9))


def test_the_lesson_is_left_at_any_time(opened: Open) -> None:
    place = opened("plane")
    place.get_by_role("radio", name="una que aprende aquí").check(force=True)
    place.get_by_role("button", name="Entrenar").click()
    expect(place.locator(".leccion")).to_contain_text("quedan", timeout=20_000)
    place.get_by_role("button", name="Dejar de entrenar").click()
    expect(place.locator(".leccion")).not_to_contain_text("quedan")
    steps = "(plano) => plano.lessons.progress.step"
    before = place.locator("dl-plane").evaluate(steps)
    # Sigue por donde iba.
    place.get_by_role("button", name="Seguir entrenando").click()
    # El tiempo vuelve a empezar, y con 9 s ya ha llegado algún aviso de los pasos nuevos.
    expect(place.locator(".leccion")).to_contain_text("quedan 9 s", timeout=20_000)
    assert place.locator("dl-plane").evaluate(steps) > before > 0
    place.get_by_role("button", name="Dejar de entrenar").click()
    place.get_by_role("radio", name="la ideal").check(force=True)
    expect(place.locator(".leccion")).to_have_count(0)


def test_the_one_beside_learns_too_and_the_end_stays_in_sight(opened: Open) -> None:
    place = opened("plane")
    for group in ("Sampler:", "Al lado:"):
        chosen = place.get_by_role("group", name=group)
        chosen.get_by_role("radio", name="DDIM", exact=True).check(force=True)
    slide(place, "pasos", 10)
    place.get_by_role("radio", name="una que aprende aquí").check(force=True)
    place.get_by_role("button", name="Entrenar").click()
    plane = place.locator("dl-plane")
    arrived = "(plano, cual) => [...plano.paths.known[cual]?.states.at(-1) ?? []]"
    lesson = place.locator(".leccion")
    expect(lesson).to_contain_text("quedan", timeout=20_000)
    found = set()
    while re.search(r"quedan? \d", lesson.inner_text()):
        found.add(tuple(plane.evaluate(arrived, "other")))
        place.page.wait_for_timeout(200)
    # Antes de entrenar, y unas cuantas veces mientras entrena.
    assert len(found - {()}) >= 3
    expect(place.get_by_role("status")).to_contain_text("paso 10 de 10", timeout=20_000)
    # El mismo ruido, la misma red y el mismo sampler: llegan al mismo sitio.
    place.page.wait_for_timeout(2000)
    assert plane.evaluate(arrived, "all") == plane.evaluate(arrived, "other")


def test_a_lesson_that_fails_says_so_and_can_be_tried_again(page: Page, opened: Open) -> None:
    page.route(
        "**/widgets/learning.js",
        lambda route: route.fulfill(content_type="text/javascript", body="throw new Error('x')"),
    )
    place = opened("plane")
    place.get_by_role("radio", name="una que aprende aquí").check(force=True)
    place.get_by_role("button", name="Entrenar").click()
    expect(place.get_by_role("alert")).to_contain_text("El entrenamiento se ha parado")
    page.unroute("**/widgets/learning.js")
    place.get_by_role("button", name="Entrenar").click()
    expect(place.locator(".leccion")).to_contain_text("quedan", timeout=20_000)


# --- Tweedie --------------------------------------------------------------------------------------


def test_the_estimate_is_the_mean_of_all_that_could_have_been(
    page: Page, browser: Browser, opened: Open
) -> None:
    place = opened("tweedie")
    data = plane_data(browser, "lunas", 64)
    schedule = make_schedule("linear", 200)
    canvas = place.locator("canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    x_t = torch.tensor([[0.2, 0.5]])
    for t in (10, 60, 200):
        slide(place, "t", t)
        x, y = ideal_x_start(schedule, data, x_t, torch.tensor([t - 1]))[0].tolist()
        expect(place.locator("li:has(.x0)").first).to_contain_text(
            f"({spanish(x, 2)}; {spanish(y, 2)})"
        )
    expect(place.get_by_role("status")).to_contain_text("t = 200")
    box = canvas.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    slide(place, "t", 1)
    expect(place.get_by_role("status")).to_contain_text("el 90 %")


# --- Pérdidas -------------------------------------------------------------------------------------


def test_each_weighting_looks_somewhere_else(page: Page, opened: Open) -> None:
    place = opened("losses")
    stored = place.locator("dl-losses").evaluate("async ({ data }) => (await fetch(data)).json()")
    assert sum(stored["width"]) == stored["t"][-1]
    chosen = place.get_by_role("slider", name="El t que se mira")
    chosen.focus()
    page.keyboard.press("Home")
    for name, label in (
        ("vlb", "el peso de la cota"),
        ("min_snr", "min-SNR"),
        ("uniform", "L simple"),
    ):
        place.get_by_role("radio", name=label).check(force=True)
        parts = [
            error * width * weight
            for error, width, weight in zip(
                stored["error"], stored["width"], stored["weights"][name], strict=True
            )
        ]
        each = [
            part / width
            for part, width in zip(parts, stored["width"], strict=True)
            for _ in range(width)
        ]
        sums = torch.tensor(each, dtype=torch.float64).cumsum(0)
        half = 1 + int((sums < sum(parts) / 2 - 1e-9).sum())
        share = 100 * parts[0] / sum(parts)
        expect(place.locator("p.cuentas").last).to_contain_text(f"≤ {half}.")
        expect(chosen).to_have_attribute("aria-valuetext", re.compile(rf"{spanish(share, 1)} %"))
    chosen.focus()
    page.keyboard.press("End")
    expect(chosen).to_have_attribute("aria-valuenow", str(stored["t"][-1]))
    # Se toca a cualquier altura, también donde una columna apenas se ve.
    touched = place.locator("rect.toque")
    touched.scroll_into_view_if_needed()
    box = touched.bounding_box()
    assert box
    page.mouse.click(box["x"] + 2, box["y"] + 10)
    expect(chosen).to_have_attribute("aria-valuenow", str(stored["t"][0]))


# --- Guía -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["DDPM", "DDIM"])
def test_what_is_sampled_is_not_the_tilted_law(opened: Open, sampler: str) -> None:
    """Las dos leyes que da el capítulo en fórmula: la inclinada y lo que sale."""
    place = opened("guidance")
    place.get_by_role("radio", name=sampler).check(force=True)
    mean, v = 0.6, 0.25
    for w in (0.0, 1.0, 3.0):
        slide(place, "w", w)
        k = 1 + w * (1 - v)
        tilted = f"{spanish((1 + w) * mean / k, 2)} ± {spanish((v / k) ** 0.5, 2)}"
        expect(place.get_by_role("status")).to_contain_text(f"w = {spanish(w, 2)}")
        expect(place.get_by_role("status")).to_contain_text(f"inclinada es {tilted}; lo que sale")
        place.page.wait_for_timeout(700)
        told = place.get_by_role("status").inner_text()
        found = re.search(r"lo que sale, (−?[\d,]+) ± ([\d,]+)", told)
        assert found, told
        deviation = float(found[2].replace(",", "."))
        law = {
            "DDPM": v * (1 - v ** (1 + 2 * w)) / ((1 + 2 * w) * (1 - v)),
            "DDIM": v ** (1 + w),
        }[sampler]
        assert deviation == pytest.approx(law**0.5, abs=0.03)


# --- DDIM -----------------------------------------------------------------------------------------


def test_the_same_noise_with_other_steps_and_the_walk_between_two(opened: Open) -> None:
    """Cada casilla y cada punto del paseo, frente al paquete con los mismos números."""
    from scripts.build import models

    place = opened("ddim")
    place.get_by_role("radio", name="7").check(force=True)
    place.get_by_label("Semilla", exact=True).fill("5")
    place.get_by_role("button", name="Generar").click()
    expect(place.get_by_role("status")).to_contain_text("de 12 maneras", timeout=60_000)
    trained = models.load("digits-class")
    guidance = trained.sampling().guidance
    widget = place.locator("dl-ddim")
    for eta, steps in ((0.0, 10), (1.0, 5), (0.5, 20)):
        found = widget.evaluate("(w, key) => [...w.cells.get(key).values]", f"{eta:g} {steps}")
        options = {"sampler": "ddim", "eta": eta, "steps": steps, "guidance": guidance}
        expected = trained.sample(1, class_labels=7, seed=5, device="cpu", **options)
        assert (torch.tensor(found) - expected.flatten()).abs().mean() < 2 / 255
    slide(place, "de un ruido al otro", 0.3)
    expect(place.get_by_role("status")).to_contain_text("0,30")
    place.page.wait_for_timeout(1500)
    noises = [next(sampling_noise(seed, [0], trained.shape)) for seed in (5, 1)]
    diffusion = trained.diffusion.respaced(20, trained.sampling().spacing)
    labels = {"class_labels": torch.tensor([7])}
    denoise = Denoiser(trained.guided(guidance), diffusion, labels)
    steps_given = algorithm2(denoise, slerp(*noises, 0.3), iter(()), make_sampler("ddim"))
    *_, last = steps_given
    found = widget.evaluate("(w) => [...w.between.values]")
    assert (torch.tensor(found) - last.x_t.flatten()).abs().mean() < 2 / 255


# --- U-Net ----------------------------------------------------------------------------------------


def test_every_block_says_what_it_is(page: Page, opened: Open) -> None:
    from ddpm_lit.models.pretrained import load_pretrained
    from ddpm_lit.unet import describe

    place = opened("unet")
    rows = {
        row.block: row
        for row in describe(load_pretrained("fashion-mnist").recipe.network_config(), 28)
    }
    stored = place.locator("dl-unet").evaluate("async ({ data }) => (await fetch(data)).json()")
    blocks = place.locator(".bloque")
    expect(blocks).to_have_count(len(stored["blocks"]))
    for k in (0, 3, len(stored["blocks"]) - 1):
        block = stored["blocks"][k]
        row = rows[block["name"]]
        blocks.nth(k).click()
        channels, height, width = row.shape
        # En español, un número de cuatro cifras no lleva punto.
        many = f"{row.parameters:,}".replace(",", "\u202f" if row.parameters > 9999 else "")
        expect(place.locator(".ficha")).to_contain_text(
            f"{channels} {'canal' if channels == 1 else 'canales'} de {height} × {width}. "
            f"Tiene {many} parámetros"
        )
    page.keyboard.press("Home")
    expect(blocks.first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(blocks.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(blocks.nth(1)).to_be_focused()
    attention = next(k for k, block in enumerate(stored["blocks"]) if block["kind"] == "attentions")
    blocks.nth(attention).click()
    expect(place.locator(".ficha")).to_contain_text("Adónde mira la posición del centro")
    expect(place.locator(".ficha")).to_contain_text("le llega toda la imagen")
    # Un cuadrado mayor que la imagen no llega entero a las posiciones del borde.
    wide = next(k for k, block in enumerate(stored["blocks"]) if (block["reach"] or 0) >= 28)
    assert wide < attention
    blocks.nth(wide).click()
    side = stored["blocks"][wide]["reach"]
    expect(place.locator(".ficha")).to_contain_text(f"un cuadrado de {side}\u00a0×\u00a0{side}")
    expect(place.locator(".ficha")).to_contain_text("a las del centro, toda la imagen")
    place.get_by_role("radio", name="900").check(force=True)
    expect(place.get_by_role("status")).to_contain_text("t = 900")


@pytest.fixture(autouse=True)
def patient(page: Page) -> Iterator[None]:
    """Con dos núcleos ocupados, un widget puede tardar unos segundos en llegar."""
    expect.set_options(timeout=15_000)
    yield
    expect.set_options(timeout=5_000)


def test_the_numbers_are_written_in_spanish() -> None:
    assert spanish(-0.5, 2) == "−0,50"
