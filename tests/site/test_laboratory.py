"""El laboratorio: lo que genera el navegador, frente a la orden que la página enseña."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Download, Locator, Page, Route, expect
from test_widgets import slide

from ddpm_lit.backward import Denoiser
from ddpm_lit.cli import ddpm_lit
from ddpm_lit.ddim import slerp
from ddpm_lit.editing import repaint_path
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.noise import Stream, normals
from ddpm_lit.sampling import algorithm2, make_sampler

ADDRESS = "laboratorio.html"
SLOW = 90_000
"""Lo que puede tardar una red en llegar, prepararse y generar, con los dos núcleos ocupados."""

Open = Callable[..., Locator]


@pytest.fixture(scope="module")
def address(address_without_search: str) -> str:
    return address_without_search


@pytest.fixture
def laboratory(page: Page, address: str) -> Open:
    """Abre el laboratorio con lo que diga la dirección."""

    def show(query: str = "") -> Locator:
        page.goto(address + ADDRESS + query)
        place = page.locator("dl-widget[name=laboratory]")
        place.scroll_into_view_if_needed()
        expect(place).to_have_attribute("data-state", "ready")
        expect(place.get_by_role("button", name="Generar")).to_be_visible()
        return place

    return show


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    expect.set_options(timeout=15_000)
    yield
    expect.set_options(timeout=5_000)


def generated(place: Locator) -> torch.Tensor:
    """Genera con lo que haya puesto y espera a que acabe: las muestras, en una fila."""
    place.get_by_role("button", name="Generar").click()
    expect(place.locator(".estado")).to_contain_text("s en este navegador", timeout=SLOW)
    return shown(place)


def shown(place: Locator) -> torch.Tensor:
    values = place.locator("dl-laboratory").evaluate("(widget) => [...widget.seen.xT]")
    return torch.tensor(values)


@pytest.mark.parametrize(
    "query",
    [
        "?modelo=openmoji-texto&texto=coraz%C3%B3n+verde&semilla=7&muestras=1&pasos=50",
        "?modelo=fashion-mnist&clase=8&muestras=2&pasos=10&semilla=123456789012&sampler=ddpm",
        "?modelo=digits-class&clase=3&muestras=3&pasos=6&sampler=heun&guia=0",
    ],
)
def test_the_command_gives_what_the_page_shows(
    laboratory: Open, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = laboratory(query)
    found = generated(place)
    program, order, model, *words = command_of(place)
    assert (program, order) == ("ddpm-lit", "sample")
    if model == "runs/digits-class":
        from scripts.build import models

        model = str(models.model_path("digits-class"))
    monkeypatch.chdir(tmp_path)
    command = [order, model, *words, "--tensors", "muestras.safetensors", "--device", "cpu"]
    done = CliRunner().invoke(ddpm_lit, command)
    assert done.exit_code == 0, done.output
    expected = load_file("muestras.safetensors")["samples"].flatten()
    assert found.shape == expected.shape
    assert (found - expected).clamp(-1, 1).abs().mean() < 2 / 255, "más de un nivel de 256"


@pytest.mark.parametrize(
    "words",
    [
        ["openmoji-texto", "--text", "perro azul", "--seed", "5", "-n", "2", "--steps", "8"],
        ["fashion-mnist", "--class", "8", "-n", "1", "--sampler", "ddim", "--eta", "0.5"],
    ],
)
def test_the_terminal_says_where_to_see_what_it_makes(
    laboratory: Open, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["sample", *words, "--tensors", "m.safetensors", "--device", "cpu"]
    done = CliRunner().invoke(ddpm_lit, command)
    assert done.exit_code == 0, done.output
    told = re.search(r"laboratorio\.html(\?\S+)", done.output)
    assert told, done.output
    found = generated(laboratory(told[1]))
    expected = load_file("m.safetensors")["samples"].flatten()
    assert (found - expected).clamp(-1, 1).abs().mean() < 2 / 255


def command_of(place: Locator) -> list[str]:
    """La orden que enseña la página, ya partida."""
    place.get_by_text("La misma generación, en la terminal").click()
    return shlex.split(place.locator("code.orden").inner_text())


@pytest.mark.parametrize("mode", ["rellenando un hueco", "rehaciendo un dibujo"])
def test_what_is_painted_is_finished_as_the_terminal_does(
    laboratory: Open, page: Page, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = laboratory("?modelo=fashion-mnist&clase=0&muestras=1&pasos=8&sampler=ddpm&guia=0")
    generated(place)
    place.get_by_role("radio", name=mode).check(force=True)
    paint(place, page)
    found = generated(place)
    words = command_of(place)[3:]
    names = ["imagen.png", "hueco.png"] if mode == "rellenando un hueco" else ["imagen.png"]
    save_painted(place, page, tmp_path, names)
    expected = made_by_terminal("fashion-mnist", words, tmp_path, monkeypatch)
    assert (found - expected).clamp(-1, 1).abs().mean() < 2 / 255


@pytest.mark.parametrize("network", ["emoji-sr", "emoji-color"])
def test_a_picture_is_enlarged_or_coloured_as_the_terminal_does(
    laboratory: Open, page: Page, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = laboratory(f"?modelo={network}&muestras=1&pasos=8&semilla=3")
    expect(place.get_by_role("group", name="Se genera:")).to_have_count(0)
    seen = place.locator("canvas.condicion")
    before = seen.evaluate("canvas => canvas.toDataURL()")
    paint(place, page)
    assert seen.evaluate("canvas => canvas.toDataURL()") != before
    found = generated(place)
    words = command_of(place)[3:]
    assert "--guidance" not in words
    save_painted(place, page, tmp_path, ["imagen.png"])
    expected = made_by_terminal(network, words, tmp_path, monkeypatch)
    assert (found - expected).clamp(-1, 1).abs().mean() < 2 / 255


def test_a_network_that_sees_a_picture_is_not_guided(laboratory: Open) -> None:
    place = laboratory("?modelo=emoji-sr&guia=3")
    expect(place.get_by_role("alert")).to_contain_text("no se puede guiar")
    place.get_by_text("Cómo se genera").click()
    expect(place.get_by_role("slider", name="guía")).to_have_count(0)


def paint(place: Locator, page: Page) -> None:
    """Pinta en el tablero con el ratón y con el teclado."""
    board = place.locator("dl-tablero canvas")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1], steps=5)
    page.mouse.up()
    board.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")


def save_painted(place: Locator, page: Page, folder: Path, names: list[str]) -> None:
    """Guarda lo pintado, como lo lee la terminal."""
    saved: list[Download] = []

    def keep(download: Download) -> None:
        saved.append(download)

    page.on("download", keep)
    place.get_by_role("button", name="Guardar lo pintado").click()
    page.wait_for_timeout(1000)
    assert sorted(each.suggested_filename for each in saved) == sorted(names)
    for each in saved:
        each.save_as(folder / each.suggested_filename)


def made_by_terminal(
    model: str, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> torch.Tensor:
    """Lo que da la orden que enseña la página, en una fila."""
    monkeypatch.chdir(folder)
    command = ["sample", model, *words, "--tensors", "m.safetensors", "--device", "cpu"]
    done = CliRunner().invoke(ddpm_lit, command)
    assert done.exit_code == 0, done.output
    return load_file("m.safetensors")["samples"].flatten()


def test_a_hole_is_needed_to_fill_it(laboratory: Open) -> None:
    place = laboratory("?modelo=digits-class&pasos=2&muestras=1")
    place.get_by_role("radio", name="rellenando un hueco").check(force=True)
    place.get_by_role("button", name="Generar").click()
    expect(place.get_by_role("alert")).to_contain_text("No hay ningún hueco")


def test_the_path_is_walked_back_and_saved(laboratory: Open, page: Page, tmp_path: Path) -> None:
    from PIL import Image

    place = laboratory("?modelo=digits-class&pasos=6&muestras=1&sampler=ddim")
    last = generated(place)
    walk = place.get_by_role("slider", name="el camino")
    expect(walk).to_have_attribute("aria-valuetext", "paso 6")
    walk.focus()
    page.keyboard.press("Home")
    expect(walk).to_have_attribute("aria-valuetext", "paso 1")
    assert not torch.equal(shown(place), last)
    page.keyboard.press("End")
    assert torch.equal(shown(place), last)
    with page.expect_download() as saving:
        place.get_by_role("button", name="Guardar GIF").click()
    saving.value.save_as(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 6 and image.size == (64, 64)


def test_it_stops_goes_on_and_steps(laboratory: Open) -> None:
    place = laboratory("?modelo=digits-class&pasos=200&sampler=ddim&muestras=4")
    state = place.locator(".estado")
    place.get_by_role("button", name="Generar").click()
    expect(state).to_contain_text("Paso", timeout=SLOW)
    place.get_by_role("button", name="Pausar").click()
    expect(state).to_contain_text("(en pausa)")
    place.page.wait_for_timeout(500)
    before = step_of(state)
    place.page.wait_for_timeout(500)
    assert step_of(state) == before
    place.get_by_role("button", name="Un paso").click()
    expect(state).to_contain_text(f"Paso {before + 1} de 200")
    place.page.wait_for_timeout(300)
    assert step_of(state) == before + 1
    place.get_by_role("button", name="Seguir").click()
    expect(state).not_to_contain_text("(en pausa)")
    place.get_by_role("button", name="Cancelar").click()
    expect(place.get_by_role("button", name="Generar")).to_be_enabled()
    place.page.wait_for_timeout(500)
    assert state.inner_text().startswith("Se ha quedado ahí. Paso ")


def step_of(state: Locator) -> int:
    found = re.search(r"Paso (\d+) de", state.inner_text())
    assert found
    return int(found[1])


def test_what_is_asked_travels_in_the_address(laboratory: Open, page: Page) -> None:
    place = laboratory("?modelo=digits-class&clase=4&pasos=3&muestras=1")
    place.get_by_role("spinbutton", name="Semilla", exact=True).fill("11")
    place.get_by_role("spinbutton", name="Semilla", exact=True).blur()
    # Lo que se pone queda ya en la dirección.
    assert "semilla=11" in page.url
    first = generated(place)
    assert "semilla=11" in page.url and "clase=4" in page.url and "pasos=3" in page.url
    again = generated(laboratory("?" + page.url.partition("?")[2]))
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?modelo=inventado", "no hay ninguna red «inventado»"),
        ("?modelo=fashion-mnist&clase=99", "no hay ninguna clase 99"),
        ("?pasos=-3&eta=mucho&sampler=euler", "«pasos» vale «-3»"),
        ("?sampler=euler", "no hay ningún sampler «euler»"),
        ("?semilla=1.5", "«semilla» vale «1.5»"),
    ],
)
def test_an_impossible_address_is_told_and_the_rest_is_kept(
    laboratory: Open, query: str, said: str
) -> None:
    place = laboratory(query)
    expect(place.get_by_role("alert")).to_contain_text(said)
    expect(place.get_by_role("button", name="Generar")).to_be_enabled()


def test_unknown_words_are_told(laboratory: Open) -> None:
    place = laboratory("?modelo=openmoji-texto")
    place.get_by_role("combobox", name="Frase").fill("abracadabra verde")
    expect(place.get_by_text("no conoce «abracadabra»")).to_be_visible()
    place.get_by_role("combobox", name="Frase").fill("corazón verde")
    expect(place.get_by_text("no conoce")).to_have_count(0)
    place.get_by_role("combobox", name="Frase").fill("coraz")
    offered = place.locator("datalist option").evaluate_all("(all) => all.map((o) => o.value)")
    assert "corazon" in offered


def test_a_phrase_half_known_is_generated_twice(laboratory: Open, page: Page) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    place = laboratory("?modelo=openmoji-texto&pasos=2&muestras=1")
    for phrase in ("perro xyzzy", "perro kkkk"):
        place.get_by_role("combobox", name="Frase").fill(phrase)
        generated(place)
        expect(place.get_by_text(f"no conoce «{phrase.split()[1]}»")).to_be_visible()
    assert problems == []


def test_what_cannot_be_read_or_used_is_told(laboratory: Open) -> None:
    place = laboratory("?modelo=openmoji-texto&pasos=2&muestras=1&semilla=42")
    phrase = place.get_by_role("combobox", name="Frase")
    phrase.fill("perro 🐶")
    place.get_by_role("button", name="Generar").click()
    expect(place.get_by_role("alert")).to_contain_text("la frase lleva «🐶»")
    phrase.fill("")
    expect(place.get_by_text("Sin frase, la red dibuja lo que le parezca")).to_be_visible()
    seed = place.get_by_role("spinbutton", name="Semilla", exact=True)
    for wrong in ("-5", "1.5", "1e30"):
        seed.fill(wrong)
        seed.blur()
        expect(place.get_by_role("alert")).to_contain_text("La semilla tiene que ser un entero")
        expect(seed).to_have_value("42")


def test_after_looking_back_it_goes_on_from_the_last_step(laboratory: Open, page: Page) -> None:
    place = laboratory("?modelo=digits-class&pasos=200&sampler=ddim&muestras=4")
    state = place.locator(".estado")
    place.get_by_role("button", name="Generar").click()
    expect(state).to_contain_text("Paso", timeout=SLOW)
    place.get_by_role("button", name="Pausar").click()
    page.wait_for_timeout(500)
    last = step_of(state)
    walk = place.get_by_role("slider", name="el camino")
    walk.focus()
    page.keyboard.press("Home")
    expect(state).to_contain_text("Paso 1 de 200")
    place.get_by_role("button", name="Un paso").click()
    expect(state).to_contain_text(f"Paso {last + 1} de 200")
    place.get_by_role("button", name="Cancelar").click()


@pytest.mark.parametrize("fault", ["missing", "corrupt", "short", "worker"])
def test_what_does_not_arrive_is_told_and_can_be_tried_again(
    page: Page, laboratory: Open, fault: str
) -> None:
    pattern = "**/laboratory.js" if fault == "worker" else "**/*.onnx"
    page.route(
        pattern,
        lambda route: route.fulfill(
            status=404 if fault == "missing" else 200,
            body=b"throw 1" if fault == "worker" else b"x" * (100 if fault == "short" else 9),
            content_type="text/javascript" if fault == "worker" else "application/octet-stream",
        ),
    )
    place = laboratory("?modelo=digits-class&pasos=2&muestras=1")
    place.get_by_role("button", name="Generar").click()
    expect(place.get_by_role("alert")).to_contain_text("No se ha podido generar", timeout=SLOW)
    page.unroute(pattern)
    assert generated(place).isfinite().all()
    expect(place.get_by_role("alert")).to_have_count(0)


def test_the_picture_is_saved(laboratory: Open, page: Page, tmp_path: Path) -> None:
    from PIL import Image

    place = laboratory("?modelo=digits-class&pasos=2&muestras=4")
    generated(place)
    with page.expect_download() as saving:
        place.get_by_role("button", name="Guardar PNG").click()
    path = tmp_path / "guardada.png"
    saving.value.save_as(path)
    with Image.open(path) as image:
        assert image.size == (17 * 8, 17 * 8)


def test_it_walks_between_two_seeds(laboratory: Open) -> None:
    place = laboratory("?modelo=fashion-mnist&clase=8&muestras=2&pasos=8&semilla=3&guia=1")
    place.get_by_role("radio", name="entre dos semillas").check(force=True)
    other = place.get_by_role("spinbutton", name="Otra semilla")
    other.fill("11")
    other.press("Enter")
    slide(place, "cuánto se anda hacia ella", 0.3)
    found = generated(place)
    model = load_pretrained("fashion-mnist")
    start, end = (
        normals(seed, Stream.SAMPLING, 0, torch.arange(2), model.shape) for seed in (3, 11)
    )
    network = model.guided(1.0)
    condition = {"class_labels": torch.full((2,), 8)}
    denoise = Denoiser(network, model.diffusion.respaced(8), condition)
    *_, last = algorithm2(denoise, slerp(start, end, 0.3), iter(()), make_sampler("ddim"))
    assert float((found - last.x_t.flatten()).abs().mean()) < 2 / 255
    assert place.page.url.split("#")[0].endswith("&hacia=11&tramo=0.3")
    place.get_by_role("button", name="Poner al lado").click()
    expect(
        place.locator("figcaption", has_text="de la semilla 3 a la 11, al 30 % del camino")
    ).to_be_visible()
    place.page.reload()
    place = place.page.locator("dl-widget[name=laboratory]")
    expect(place.get_by_role("radio", name="entre dos semillas")).to_be_checked(timeout=SLOW)
    expect(place.get_by_role("spinbutton", name="Otra semilla")).to_have_value("11")
    generated(place)
    expect(place.locator("details", has_text="La misma generación")).to_contain_text(
        "La terminal parte siempre de una sola semilla"
    )


def test_two_settings_are_seen_side_by_side(laboratory: Open) -> None:
    place = laboratory(
        "?modelo=digits-class&clase=3&muestras=1&pasos=4&semilla=5&guia=2&sampler=ddim"
    )
    expect(place.get_by_role("button", name="Poner al lado")).to_have_attribute(
        "aria-disabled", "true"
    )
    first = generated(place)
    place.get_by_role("button", name="Poner al lado").click()
    caption = place.locator("figcaption", has_text="semilla 5")
    expect(caption).to_have_text("clase 3; semilla 5; DDIM, 4 pasos; w = 2,0")
    place.get_by_role("combobox", name="Clase").select_option("8")
    second = generated(place)
    beside, actual = (
        place.locator(f"canvas.{name}").evaluate(
            "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]"
        )
        for name in ("dejada", "actual")
    )
    assert beside != actual and not torch.equal(first, second)
    shades = ((first.clamp(-1, 1) + 1) * 127.5).round().tolist()
    assert beside[::4] == pytest.approx(shades, abs=1)
    place.get_by_role("button", name="Quitar la de al lado").click()
    expect(caption).to_have_count(0)


def test_the_command_says_what_it_gives_and_is_copied(laboratory: Open, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    place = laboratory("?modelo=digits-class&clase=3&muestras=1&pasos=4&semilla=5")
    assert "--seed 5" in " ".join(command_of(place))
    place.get_by_role("spinbutton", name="Semilla", exact=True).fill("6")
    place.get_by_role("spinbutton", name="Semilla", exact=True).blur()
    expect(place.locator("code.orden")).to_contain_text("--seed 6")
    generated(place)
    expect(place.locator(".resumen")).to_have_text(re.compile("^clase 3; semilla 6; .*, 4 pasos"))
    late = place.get_by_text("aún no se ha generado")
    expect(late).to_have_count(0)
    place.get_by_role("combobox", name="Clase").select_option("8")
    expect(late).to_be_visible()
    expect(place.locator("code.orden")).to_contain_text("--class 3")
    place.get_by_role("button", name="Copiar la orden").click()
    expect(place.get_by_role("button", name="Copiada")).to_be_visible()
    assert (
        page.evaluate("navigator.clipboard.readText()") == place.locator("code.orden").inner_text()
    )


def test_a_stroke_is_undone(laboratory: Open, page: Page) -> None:
    place = laboratory("?modelo=digits-class&muestras=1&pasos=10")
    place.get_by_role("radio", name="rellenando un hueco").check(force=True)
    holed = "(widget) => widget.board.holed"
    widget = place.locator("dl-laboratory")
    assert widget.evaluate(holed) is False
    place.locator("dl-tablero canvas").focus()
    page.keyboard.press(" ")
    expect(place.locator("dl-tablero").get_by_role("status")).to_contain_text("Hueco: ")
    assert widget.evaluate(holed) is True
    place.get_by_role("button", name="Deshacer").click()
    assert widget.evaluate(holed) is False


def test_before_painting_it_says_what_is_missing_and_how_long_it_takes(laboratory: Open) -> None:
    place = laboratory("?modelo=digits-class&muestras=1&pasos=10")
    place.get_by_role("radio", name="rellenando un hueco").check(force=True)
    advice = place.locator(".pintar .consejo")
    expect(advice).to_contain_text("Aquí no hay nada todavía")
    long = len(list(repaint_path(10, 5, 5)))
    expect(advice).to_contain_text(f"serán {long} pasos en lugar de 10")
    assert "--inpaint imagen.png --mask hueco.png" in " ".join(command_of(place))
    place.get_by_role("radio", name="desde el ruido").check(force=True)
    generated(place)
    place.get_by_role("radio", name="rellenando un hueco").check(force=True)
    expect(advice).not_to_contain_text("Aquí no hay nada todavía")


# --- Navegadores en apuros ------------------------------------------------------------------------

SHORT = "?modelo=openmoji-texto&texto=coraz%C3%B3n+verde&muestras=1&pasos=4"


def test_without_memory_it_says_so_and_the_page_goes_on(laboratory: Open, page: Page) -> None:
    def scarce(route: Route) -> None:
        body = (
            "WebAssembly.instantiate = WebAssembly.instantiateStreaming = () => Promise.reject("
            "new RangeError('WebAssembly.Memory(): could not allocate memory'));\n"
        )
        route.fulfill(
            content_type="text/javascript", body=body + (route.fetch().body().decode("utf-8"))
        )

    page.route("**/widgets/laboratory.js", scarce)
    place = laboratory(SHORT)
    place.get_by_role("button", name="Generar").click()
    expect(place.get_by_role("alert")).to_contain_text("no hay memoria suficiente", timeout=SLOW)
    page.unroute("**/widgets/laboratory.js")
    generated(place)
    expect(place.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    "trouble",
    [
        # En una pestaña que no se ve no hay fotogramas.
        "window.requestAnimationFrame = () => 0;"
        "Object.defineProperty(document, 'hidden', { value: true });"
        "Object.defineProperty(document, 'visibilityState', { value: 'hidden' });",
        "for (const name of ['localStorage', 'sessionStorage']) {"
        " Object.defineProperty(window, name, {"
        " get() { throw new DOMException('prohibido', 'SecurityError'); } }); }",
        "Storage.prototype.setItem = () => {"
        " throw new DOMException('lleno', 'QuotaExceededError'); };",
    ],
    ids=["en segundo plano", "sin permiso para guardar", "sin sitio para guardar"],
)
def test_it_draws_all_the_same(laboratory: Open, page: Page, trouble: str) -> None:
    page.add_init_script(trouble)
    place = laboratory(SHORT)
    assert generated(place).isfinite().all()
    expect(page.locator("h1")).to_be_visible()


def test_a_slow_phone_draws_an_emoji(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(address + ADDRESS + SHORT.replace("pasos=4", "pasos=20"))
    place = page.locator("dl-widget[name=laboratory]")
    expect(place).to_have_attribute("data-state", "ready", timeout=SLOW)
    button = place.get_by_role("button", name="Generar")
    button.scroll_into_view_if_needed()
    button.tap()
    expect(place.locator(".estado")).to_contain_text("s en este navegador", timeout=SLOW)
    picture = shown(place)
    # Un corazón verde: más verde que rojo y azul, y con fondo blanco.
    red, green, blue = picture.reshape(3, 32, 32)
    ink = picture.reshape(3, 32, 32).mean(0) < 0.5
    assert 50 < int(ink.sum()) < 900
    assert float(green[ink].mean()) > max(float(red[ink].mean()), float(blue[ink].mean()))
    context.close()
