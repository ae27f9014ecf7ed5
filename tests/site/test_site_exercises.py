"""Los ejercicios de las páginas: bien formados, con sus cuentas bien hechas, y contestados."""

import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from scripts.site import exercises
from scripts.site.exercises import Calculation, Chapter, Option, Question

from ddpm_lit.exercises.table import EXERCISES

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

DOCS = exercises.ROOT / "docs"
CALL = re.compile(r'^## Ejercicios\n\n@\[ ejercicios\("([^"]+)"\) \]@\n\Z', re.M)
PAGES = {
    found[1]: path.relative_to(DOCS).with_suffix(".html").as_posix()
    for path in sorted(DOCS.rglob("*.md"))
    if (found := CALL.search(path.read_text(encoding="utf-8")))
}
"""De cada capítulo con ejercicios, su página."""

BY_HAND: dict[str, list[float]] = {
    "forward": [0.8 * 0.1 + 0.2],
    "posterior": [1 / (1 / 0.5 + 0.8 / 0.2)],  # la suma de las precisiones, del revés
    "backward": [0.05 * math.tan(math.acos(0.1))],
    "scheduler": [1 - 0.6 / 0.8 * 0.2 / 0.6],
    "perdidas": [math.log2(math.e) * 8000 / 3072, 5 / 20],
    "por-que-epsilon": [
        (math.exp(-((0.5 - 0.5**0.5) ** 2)) - math.exp(-((0.5 + 0.5**0.5) ** 2)))
        / (math.exp(-((0.5 - 0.5**0.5) ** 2)) + math.exp(-((0.5 + 0.5**0.5) ** 2)))
    ],
    "entrenamiento": [math.factorial(2) * math.factorial(9) / math.factorial(11)],
    "generacion": [0.9 * 0.8 * 0.7],
    "unet": [(64 * 64) ** 2 / (16 * 16) ** 2],
    "improved": [0.5 * (2 - 1 - math.log(2))],
    "cfg": [6.5],
    "condiciones": [1 / (1 + math.exp(-8 / 4))],
    "editar": [100 + 4 * 10 * math.ceil((100 - 10) / 10)],
    "ddim": [1 - 2 * 0.25 * 0.75, 0.5 * (0.5 / 0.6 * 0.2) ** 0.5],
    "score": [0.25 / 0.8, 5 - 2.5],
    "continuo": [math.exp(-(0.1 * 0.5 + 19.9 * 0.5**2 / 2)), (4 - 1) / 2],
    "flujos": [2 / 3, 0.2 / math.sqrt(1 / 2**2 + 1 / 0.5**2)],
    "latente": [(512 / 64) ** 2 * 3 / 4, 5**2 / (1 / 0.1 - 1)],
}
"""Las cuentas de cada capítulo, hechas aquí sin el paquete."""


# --- Los datos ------------------------------------------------------------------------------------


def test_every_file_is_on_its_page() -> None:
    assert {path.stem for path in exercises.FOLDER.glob("*.toml")} == PAGES.keys()


@pytest.mark.parametrize("chapter", PAGES)
def test_each_chapter_has_at_least_five(chapter: str) -> None:
    found = exercises.load(chapter)
    assert len(found) >= 5
    assert len(found.preguntas) >= 3 and found.cuentas


def test_every_code_exercise_is_on_one_page() -> None:
    named = [code.nombre for chapter in PAGES for code in exercises.load(chapter).codigo]
    assert sorted(named) == sorted(EXERCISES)


@pytest.mark.parametrize("chapter", PAGES)
def test_the_right_answer_is_not_always_in_the_same_place(chapter: str) -> None:
    places = {
        [option.bien for option in question.opciones].index(True)
        for question in exercises.load(chapter).preguntas
    }
    assert len(places) > 1


@pytest.mark.parametrize("chapter", PAGES)
def test_the_sums_come_out_the_same_by_hand(chapter: str) -> None:
    found = [exercises.values(each)[0] for each in exercises.load(chapter).cuentas]
    assert found == pytest.approx(BY_HAND[chapter], rel=1e-5)


@pytest.mark.parametrize("chapter", PAGES)
def test_no_slip_is_taken_for_the_answer_nor_for_another(chapter: str) -> None:
    for each in exercises.load(chapter).cuentas:
        right, wrong = exercises.values(each)
        numbers = sorted([right, *wrong])
        gaps = [after - before for before, after in pairwise(numbers)]
        assert all(gap > 2 * exercises.tolerance(each) for gap in gaps), each.enunciado


WELL = (
    '[[pregunta]]\nenunciado = "¿?"\npista = "a"\nopciones = ['
    '{ texto = "sí", razon = "r", bien = true }, { texto = "no", razon = "r" }]\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WELL.replace(", bien = true", ""), "tiene 0 respuestas buenas"),
        (WELL.replace('"r" }]', '"r", bien = true }]'), "tiene 2 respuestas buenas"),
        (WELL.replace('razon = "r" }]', 'razon = " " }]'), "sin texto o sin razón"),
        (WELL.replace('pista = "a"', 'pista = ""'), "sin enunciado o sin pista"),
        (WELL.replace('pista = "a"\n', ""), "mal escrito"),
        (WELL.replace("[[pregunta]]", "[[preguntas]]"), "preguntas, que no es nada conocido"),
        (WELL + '[[codigo]]\nnombre = "x"\nenunciado = "a"\npista = "a"\n', "solución de «x»"),
        (WELL + "[[", "mal escrito"),
    ],
)
def test_what_is_badly_written_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "malo.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"malo\.toml") as told:
        exercises.load("malo", tmp_path)
    assert said in str(told.value) or "fichero de partida de «x»" in str(told.value)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "bueno.toml").write_text(WELL, encoding="utf-8")
    options = (Option("sí", "r", True), Option("no", "r"))
    assert exercises.load("bueno", tmp_path) == Chapter((Question("¿?", options, "a"),), (), ())


@pytest.mark.parametrize("code", ["x = 1", "float('nan')"])
def test_a_sum_without_a_number_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=re.escape(code)):
        exercises.values(Calculation("a", code, 2, "b", "c"))


def test_a_sum_is_the_value_of_its_last_line() -> None:
    slip = exercises.Slip("x", "r")
    sum_ = Calculation("a", "import math\nx = 2.0\nmath.sqrt(x)", 2, "b", "c", (slip,))
    assert exercises.values(sum_) == (math.sqrt(2), [2.0])


def test_the_search_does_not_find_wrong_answers(site_dir: Path) -> None:
    index = json.loads((site_dir / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert not [entry for entry in index["docs"] if "No es eso." in entry["text"]]


# --- En el navegador ------------------------------------------------------------------------------

Open = Callable[[str], Locator]


@pytest.fixture
def opened(page: Page, address: str) -> Open:
    """Abre los ejercicios de un capítulo y espera a que se puedan contestar."""

    def show(chapter: str) -> Locator:
        page.goto(address + PAGES[chapter])
        place = page.locator("dl-ejercicios")
        place.scroll_into_view_if_needed()
        expect(place).to_have_attribute("data-state", "ready")
        return place

    return show


def shown(place: Locator, kind: str, number: int = 0) -> Locator:
    return place.locator(f".dl-ejercicio[data-clase={kind}]").nth(number)


@pytest.mark.parametrize("chapter", PAGES)
def test_every_option_says_its_reason(opened: Open, chapter: str) -> None:
    place = opened(chapter)
    for number, question in enumerate(exercises.load(chapter).preguntas):
        exercise = shown(place, "pregunta", number)
        for option, button in zip(
            question.opciones, exercise.locator(".dl-ejercicio__opcion").all(), strict=True
        ):
            button.click()
            lead = "Eso es." if option.bien else "No es eso."
            verdict = exercise.get_by_role("status")
            expect(verdict).to_contain_text(lead)
            expect(button).to_have_attribute("aria-pressed", "true")
            expect(exercise.locator('[aria-pressed="true"]')).to_have_count(1)
            plain = re.split(r"\$|\\|`|\*", option.razon)[0].strip()
            expect(verdict).to_contain_text(plain)


@pytest.mark.parametrize("chapter", PAGES)
def test_every_sum_takes_its_answer_and_knows_its_slips(opened: Open, chapter: str) -> None:
    place = opened(chapter)
    for number, each in enumerate(exercises.load(chapter).cuentas):
        exercise = shown(place, "cuenta", number)
        field, check = exercise.get_by_role("textbox"), exercise.get_by_role("button")
        verdict = exercise.get_by_role("status")
        right, wrong = exercises.values(each)
        for value, slip in zip(wrong, each.errores, strict=True):
            field.fill(f"{value:.{each.decimales}f}")
            check.click()
            expect(verdict).to_contain_text("No es eso.")
            expect(verdict).to_contain_text(re.split(r"\$|\\|`|\*", slip.razon)[0].strip())
        field.fill(f"{right:.{each.decimales}f}".replace(".", ","))
        check.click()
        expect(verdict).to_contain_text("Eso es.")
        expect(field).to_have_attribute("aria-invalid", "false")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.28", "Eso es."),
        (" 0,28 ", "Eso es."),
        ("2,8e-1", "Eso es."),
        (",289", "Eso es."),
        ("−0,28", "Repasad la cuenta"),
        ("0,25", "Repasad la cuenta"),
        ("un cuarto", "Hace falta un número"),
        ("", "Hace falta un número"),
        ("0,2,8", "Hace falta un número"),
    ],
)
def test_how_a_number_is_read(opened: Open, text: str, said: str) -> None:
    exercise = shown(opened("forward"), "cuenta")
    exercise.get_by_role("textbox").fill(text)
    exercise.get_by_role("textbox").press("Enter")
    expect(exercise.get_by_role("status")).to_contain_text(said)


def test_with_the_keyboard(page: Page, opened: Open) -> None:
    exercise = shown(opened("forward"), "pregunta")
    options = exercise.locator(".dl-ejercicio__opcion")
    options.first.focus()
    page.keyboard.press("Tab")
    expect(options.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(exercise.get_by_role("status")).to_contain_text("No es eso.")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(exercise.get_by_role("status")).to_contain_text("Eso es.")
    expect(options.first).to_be_focused()


def test_the_solution_comes_after_a_try_or_the_hint(opened: Open) -> None:
    place = opened("forward")
    tried, hinted = shown(place, "pregunta"), shown(place, "pregunta", 1)
    for exercise in (tried, hinted):
        expect(exercise.locator(".dl-ejercicio__pista")).to_be_visible()
        expect(exercise.locator(".dl-ejercicio__solucion")).to_be_hidden()
    tried.locator(".dl-ejercicio__opcion").nth(1).click()
    expect(tried.locator(".dl-ejercicio__solucion")).to_be_visible()
    hinted.get_by_text("Una pista").click()
    expect(hinted.locator(".dl-ejercicio__solucion")).to_be_visible()


def test_what_is_answered_is_kept_and_can_be_forgotten(page: Page, opened: Open) -> None:
    place = opened("forward")
    score = place.locator(".dl-ejercicios__marcador")
    expect(score).to_contain_text("Acertados: 0 de 4")
    shown(place, "pregunta").locator(".dl-ejercicio__opcion").first.click()
    shown(place, "cuenta").get_by_role("textbox").fill("0,3")
    shown(place, "cuenta").get_by_role("button").click()
    expect(score).to_contain_text("Acertados: 1 de 4")
    place = opened("forward")
    expect(score).to_contain_text("Acertados: 1 de 4")
    expect(shown(place, "pregunta").get_by_role("status")).to_contain_text("Eso es.")
    expect(shown(place, "cuenta").get_by_role("textbox")).to_have_value("0,3")
    score.get_by_role("button").click()
    expect(score).to_contain_text("Acertados: 0 de 4")
    expect(shown(place, "pregunta").get_by_role("status")).to_have_text("")
    place = opened("forward")
    expect(score).to_contain_text("Acertados: 0 de 4")
    expect(place.locator("[data-resultado]")).to_have_count(0)


@pytest.mark.parametrize(
    "spoil",
    [
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })",
        "localStorage.setItem('ddpm-lit:ejercicios', '{')",
        "localStorage.setItem('ddpm-lit:ejercicios', '[1]')",
    ],
)
def test_without_anywhere_to_keep_it_works_the_same(page: Page, opened: Open, spoil: str) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.add_init_script(spoil)
    exercise = shown(opened("forward"), "pregunta")
    exercise.locator(".dl-ejercicio__opcion").first.click()
    expect(exercise.get_by_role("status")).to_contain_text("Eso es.")
    ours = [problem for problem in problems if problem != "no"]
    assert ours == []


def in_context(browser: Browser, **options: object) -> BrowserContext:
    return browser.new_context(locale="es-ES", **options)  # type: ignore[arg-type]


def test_without_script_everything_is_there_to_read(browser: Browser, address: str) -> None:
    context = in_context(browser, java_script_enabled=False)
    page = context.new_page()
    page.goto(address + PAGES["forward"])
    place = page.locator(".dl-ejercicios")
    expect(place.get_by_role("button")).to_have_count(0)
    for exercise in place.locator(".dl-ejercicio").all():
        solution = exercise.locator(".dl-ejercicio__solucion")
        expect(solution).to_be_visible()
        solution.locator("summary").first.click()
        expect(solution.locator("summary + *")).to_be_visible()
    context.close()


def test_if_it_does_not_arrive_it_stays_as_it_was(page: Page, address: str) -> None:
    page.route(re.compile(r"/widgets/exercises-\w+\.js"), lambda route: route.abort())
    page.goto(address + PAGES["forward"])
    place = page.locator("dl-ejercicios")
    place.scroll_into_view_if_needed()
    expect(place).to_have_attribute("data-state", "failed")
    expect(place.locator(".dl-ejercicio__solucion").first).to_be_visible()


def test_it_is_not_asked_for_until_it_is_near(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + PAGES["forward"])
    page.wait_for_load_state("networkidle")
    assert not any("/exercises-" in url for url in asked)
    page.locator("dl-ejercicios").scroll_into_view_if_needed()
    expect(page.locator("dl-ejercicios")).to_have_attribute("data-state", "ready")
    assert any("/exercises-" in url for url in asked)


@pytest.mark.parametrize("chapter", PAGES)
def test_on_a_desktop_its_code_does_not_scroll(
    browser: Browser, address: str, chapter: str
) -> None:
    context = in_context(browser, viewport={"width": 1265, "height": 900})
    page = context.new_page()
    page.goto(address + PAGES[chapter])
    scrolling = page.evaluate(
        """() => {
          for (const fold of document.querySelectorAll(".dl-ejercicio details")) fold.open = true;
          return [...document.querySelectorAll(".dl-ejercicio pre > code")]
            .filter((code) => code.scrollWidth > code.clientWidth)
            .map((code) => code.textContent);
        }"""
    )
    assert scrolling == []
    context.close()


@pytest.mark.parametrize("chapter", PAGES)
def test_on_a_phone_nothing_sticks_out(browser: Browser, address: str, chapter: str) -> None:
    context = in_context(browser, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto(address + PAGES[chapter])
    place = page.locator("dl-ejercicios")
    place.scroll_into_view_if_needed()
    expect(place).to_have_attribute("data-state", "ready")
    for exercise in place.locator(".dl-ejercicio").all():
        for summary in exercise.locator("summary").all():
            if summary.is_visible():
                summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
