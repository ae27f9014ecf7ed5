"""El libro mayor: cada ecuación del libro corre desde el TeX de su página, y nota sus erratas."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scripts.ledger import page
from scripts.ledger.__main__ import line
from scripts.ledger.book import equations, marked_tests
from scripts.ledger.check import Result, Row, check, world
from scripts.ledger.ledger import Entry, Outcome, assumed, entries, outcomes
from scripts.ledger.mutants import mutants
from scripts.ledger.notation import COMMON
from scripts.ledger.reading import read
from scripts.ledger.rows import CHAPTERS
from scripts.ledger.scope import Scope, evaluate
from scripts.ledger.world import SETTINGS, Variable

ROOT = Path(__file__).resolve().parents[1]
RUNNING = 269
"""Cuántas ecuaciones corren desde su TeX. Puede subir; no debe bajar."""


@cache
def ledger() -> tuple[Entry, ...]:
    return tuple(entries())


@cache
def mutated() -> tuple[Outcome, ...]:
    return tuple(o for entry in ledger() if entry.state == "ejecutada" for o in outcomes(entry))


def value_of(
    tex: str, seen: Mapping[Variable, object] | None = None, **names: object
) -> np.ndarray:
    here = world(SETTINGS[0])
    scope = Scope(here, {**COMMON, "T": here.T, "t": here.t, **names}, seen or {})
    return np.asarray(evaluate(scope, read(tex).children[0].children[0]))


def is_green(tex: str, **names: object) -> bool:
    return check(read(tex), Row(names), {}).green


# --- El libro -------------------------------------------------------------------------------------


def test_no_equation_is_red() -> None:
    red = {e.equation.name: e.result for e in ledger() if e.state == "roja"}
    assert red == {}


def test_as_many_equations_run_as_before() -> None:
    assert sum(entry.state == "ejecutada" for entry in ledger()) >= RUNNING


def test_every_checked_equation_runs_and_meets_the_package() -> None:
    checked = [entry for entry in ledger() if entry.equation.kind == "comprobada"]
    assert [e.equation.name for e in checked if e.state != "ejecutada"] == []
    assert [e.equation.name for e in checked if e.result and not e.result.sources] == []


def test_what_is_only_read_has_a_reason_and_a_test() -> None:
    tests = marked_tests()
    for entry in ledger():
        if entry.state == "leída":
            assert len(entry.row.read) > 20
            assert entry.equation.kind == "citada" or entry.equation.name in tests


def test_rows_name_equations_that_exist() -> None:
    assert set(CHAPTERS) <= {equation.page for equation in equations().values()}
    for uri, chapter in CHAPTERS.items():
        for name in [*chapter.ROWS, *getattr(chapter, "EQUIVALENT", {})]:
            assert chapter is CHAPTERS[equations()[name].page], (uri, name)


# --- Las erratas ----------------------------------------------------------------------------------


def test_typos_turn_equations_red() -> None:
    judged = [outcome for outcome in mutated() if not outcome.reason]
    alive = [f"{o.name}: {o.change}" for o in judged if not o.noticed]
    assert len(judged) > 3800
    assert len(alive) <= 0.003 * len(judged), alive


def test_every_running_equation_notices_some_typo() -> None:
    noticed = {outcome.name for outcome in mutated() if outcome.noticed}
    assert {e.equation.name for e in ledger() if e.state == "ejecutada"} - noticed == set()


def test_the_typos_that_change_nothing_are_still_that() -> None:
    found = {(o.name, o.change): o.noticed for o in mutated() if o.reason}
    listed = {
        (name, change)
        for chapter in CHAPTERS.values()
        for name, changes in getattr(chapter, "EQUIVALENT", {}).items()
        for change in changes
    }
    assert set(found) == listed
    assert [key for key, noticed in found.items() if noticed] == []


# --- La gramática ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\frac12 \cdot 6", 3.0),
        (r"2^{\,2} + 10\,000", 10004.0),
        (r"0{,}5 - (1 - 3)^2", -3.5),
        (r"\frac D2", 2.0),
        (r"\log\frac{D}{2}\,D", 4 * np.log(2)),
        (r"\cos\varphi\; D", 4 * np.cos(0.3)),
        (r"\operatorname{sen}^2\varphi + \cos^2\varphi", 1.0),
        (r"\sum_{s=1}^{3} s^2", 14.0),
        (r"\sum_{t>1} 1", 4.0),
        (r"\prod_{s=1}^{D} 2", 16.0),
        (r"1 \cdot 2 \cdots D", 24.0),
        (r"D!", 24.0),
        (r"e^{-1/2D}", np.exp(-1 / 8)),
        (r"\min\left(D,\ 3\right)", 3.0),
        (r"\underbrace{D - 1}_{\text{lo que sea}} \cdot 2", 6.0),
        (r"\begin{cases} 7 & D > 5 \\ 8 & D \le 5 \end{cases}", 8.0),
        (r"\lfloor D/3 \rfloor + \lceil D/3 \rceil", 3.0),
        (r"\frac{d}{d\varphi}\left(\varphi^2\right)", 0.6),
        (r"\int_{0}^{D} x^2\, dx", 64 / 3),
        (r"\int_{0}^{D} x \cdot x\, dx", 64 / 3),
        (r"\frac{\partial^2 \varphi^3}{\partial \varphi^2}", 1.8),
        (r"\frac{\partial (\varphi\,\varphi)}{\partial \varphi}", 0.6),
        (r"\nabla_\varphi \log \varphi \; D", 4 / 0.3),
        (r"\min_a \lVert a - \varphi\rVert^2 + D", 4.0),
        (r"D \cdot 1 \cdot 2 \cdots D", 96.0),
    ],
)
def test_arithmetic(tex: str, expected: float) -> None:
    assert value_of(tex, D=4, φ=0.3) == pytest.approx(expected, rel=1e-12)


def test_subscripts_look_up_the_schedule() -> None:
    betas = world(SETTINGS[0]).schedule.betas.numpy()
    t = SETTINGS[0].t
    assert value_of(r"\sched{\beta_{t-1}}") == pytest.approx(betas[t - 2], rel=1e-15)
    assert value_of(r"\abt") == pytest.approx(np.prod(1 - betas[:t]), rel=1e-14)
    assert value_of(r"\sched{\bar\alpha_0}") == 1


def test_expectations_are_those_of_the_chain() -> None:
    """Contra un millón de cadenas simuladas."""
    setting = SETTINGS[0]
    betas = world(setting).schedule.betas.numpy()
    generator = np.random.default_rng(0)
    weights, means, variances = map(np.array, zip(*setting.data, strict=True))
    kind = generator.choice(len(weights), size=1_000_000, p=weights)
    x_0 = x = means[kind] + np.sqrt(variances[kind]) * generator.normal(size=kind.size)
    for beta in betas[: setting.t]:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * generator.normal(size=kind.size)
    assert value_of(r"\operatorname{E}[\xo\,\xt^3]") == pytest.approx((x_0 * x**3).mean(), abs=0.02)
    assert value_of(r"\operatorname{Var}(\xt)") == pytest.approx(x.var(), abs=0.005)
    together = np.cov(x_0, x)[0, 1]
    assert value_of(r"\operatorname{Cov}(\xo, \xt)") == pytest.approx(together, abs=0.005)
    near = np.abs(x - 0.4) < 0.01
    given = value_of(r"\operatorname{E}[\xo \mid \xt]", seen={("x", setting.t): np.array([[0.4]])})
    assert given == pytest.approx(x_0[near].mean(), abs=0.02)


# --- La prueba ------------------------------------------------------------------------------------


def test_a_definition_alone_proves_nothing() -> None:
    assert not is_green("A = b + c")
    assert is_green("A = b + c = c + b")


def test_a_condition_must_hold_somewhere() -> None:
    assert not is_green(r"1 = 2 \;\Rightarrow\; 1 = 1")
    assert is_green(r"\operatorname{Var}(\xo) = 1 \;\Rightarrow\; \operatorname{Var}(\xt) = 1")


@pytest.mark.parametrize(
    "tex",
    [
        r"\xt = \sqrt{\abt}\,\xo - \sqrt{1-\abt}\;\ep",
        r"\btil = \frac{1-\abt}{1-\abtm}\,\bt",
        r"q(\xt \mid \xo) = \mathcal N(\xt;\ \sqrt{\alt}\,\xo,\ (1-\abt) I)",
        r"\operatorname{E}[\xo] \le \operatorname{E}[\xo] - 1",
        r"\ep \sim \mathcal N(0, 2 I)",
        r"\abt = \frac{1}{0}",
    ],
)
def test_what_is_false_is_red(tex: str) -> None:
    assert not is_green(tex)


def test_a_sign_changed_in_the_page_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """De punta a punta: se cambia un signo en el Markdown y el libro mayor se pone rojo."""
    path = ROOT / "docs" / "componentes" / "forward.md"
    original = path.read_text(encoding="utf-8")
    wrong = original.replace(r"\xt = \sqrt{\abt}\,\xo + ", r"\xt = \sqrt{\abt}\,\xo - ")
    assert wrong != original
    read_text = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *a, **k: wrong if self == path else read_text(self, *a, **k),
    )
    equations.cache_clear()
    try:
        (entry,) = entries(["forward-muestra"])
        assert entry.state == "roja"
    finally:
        equations.cache_clear()


@pytest.mark.parametrize("tex", [r"\xt = \frac{1}{2", r"\xt = (1 + 2", r"\xt = \int \xo"])
def test_what_is_not_understood_is_red_and_says_where(
    tex: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = equations()["forward-muestra"]
    broken = {"forward-muestra": replace(original, tex=tex)}
    monkeypatch.setattr("scripts.ledger.ledger.equations", lambda: broken)
    (entry,) = entries()
    assert entry.state == "roja"
    assert "componentes/forward.md" in line(entry)
    assert "forward-muestra" in line(entry)


def test_typos_are_of_every_kind() -> None:
    changes = {str(m) for m in mutants(read(r"\frac{\sqrt{\alt}\,(x - 1)^2}{\btil} + \xtm"))}
    assert "√{α_t} → α_t" in changes
    assert "α_t → ᾱ_t" in changes
    assert "β̃_t → β_t" in changes
    assert "x-1 → x+1" in changes
    assert "(x-1)^{2} → (x-1)" in changes
    assert "x_t-1 → x_t" in changes
    changes |= {str(m) for m in mutants(read(r"\nabla f'(x) = \operatorname{E}[x]"))}
    assert "E (x) → Var (x)" in changes
    assert "f' → f" in changes
    assert any(change.endswith(" → f'(x)") for change in changes)
    assert any(change.startswith("{√") and "}/{√" in change for change in changes)


# --- La página ------------------------------------------------------------------------------------


def test_the_page_has_a_row_per_equation_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "entries", lambda: iter(ledger()))
    found = page.records(tmp_path)
    monkeypatch.setattr(page, "entries", lambda: pytest.fail("Se prueba todo otra vez."))
    assert page.records(tmp_path) == found
    titles = {equation.page: equation.page for equation in equations().values()}
    table = page.table(found, titles, equations())
    for name in equations():
        assert table.count(f'id="{page.anchor(name)}"') == 1
    assert page.count(found, "todas") == str(len(equations()))
    assert page.count(found, "ejecutadas") == str(sum(e.state == "ejecutada" for e in ledger()))


def test_the_page_links_to_pages_that_exist() -> None:
    for source in {s for entry in ledger() if entry.result for s in entry.result.sources}:
        module = source.split(".")[1]
        assert (ROOT / "docs" / "api" / f"{module}.md").is_file(), source


@pytest.mark.parametrize(("error", "shown"), [(0.0, "0"), (3.2e-16, "3·10⁻¹⁶"), (0.002, "2·10⁻³")])
def test_errors_as_they_are_written(error: float, shown: str) -> None:
    assert page.power_of_ten(error) == shown


def test_a_red_equation_says_what_it_took_for_any_number() -> None:
    """En el giro de dos ruidos, el ángulo y lo que sobra los pone la propia ecuación."""
    (entry,) = entries(["forward-rotacion"])
    assert assumed(entry) == ["w", "φ"]
    wrong = replace(entry, result=Result(1.0, 2.0, 1))
    assert line(wrong).endswith("tomados por números cualesquiera: w, φ")
    assert "cualesquiera" not in line(entry)
