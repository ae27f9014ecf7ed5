"""La prueba de los mutantes, por dentro: qué cambia, dónde y con qué ecuación."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.mutants.__main__ import judge
from scripts.mutants.operators import mutations
from scripts.mutants.run import Job, Outcome
from scripts.mutants.table import (
    Equivalent,
    Mutant,
    Place,
    equivalents,
    implementations,
    mutants,
)

from test_book import book_equations

CODE = '''
from functools import cached_property


def outer(x, t):
    """Resta 1 - x."""
    if x < 0:
        raise ValueError("x - 1")
    y = 2 * x
    def inner(z):
        return z - y
    return inner(t)


class Table:
    @cached_property
    def betas(self):
        return [4, 5, 6][1:]
'''


def changes(expression: str) -> list[str]:
    tree = ast.parse(expression)
    return [ast.unparse(new) for _, new in mutations(tree)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", ["a - b"]),
        ("a * b", ["a / b", "a", "b"]),
        ("2 * a", ["2 / a", "2", "a"]),
        ("a / b", ["a * b", "a"]),
        ("1 - a", ["1 + a", "a"]),
        ("index - 1", ["index + 1", "index"]),
        ("-a", ["a"]),
        ("a ** 2", ["a"]),
        ("a < b", ["a <= b"]),
        ("a == b", ["a != b"]),
        ("x[1:]", ["x", "x[:-1]"]),
        ("x[:-1]", ["x", "x[1:]", "1"]),
        ("x[0]", ["x[1]"]),
        ("a.sqrt()", ["a", "a.square()"]),
        ("math.sqrt(a)", ["a"]),
        ("torch.where(c, a, b)", ["torch.where(c, b, a)"]),
        ("a.clamp(max=g)", ["a", "a.clamp(min=g)"]),
        ("s.alphas_cumprod_prev", ["s.alphas_cumprod"]),
        ("s.at('posterior_mean_coef1', t)", ["'posterior_mean_coef2'"]),
        ("normal_kl(m, v, n, u)", ["normal_kl(n, u, m, v)"]),
        ("check_shapes(1 - a)", []),
        ("x_start.mean(a, b, c)", []),
    ],
)
def test_what_each_operator_changes(expression: str, expected: list[str]) -> None:
    assert changes(expression) == expected


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "mutante_de_prueba"
    (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)
    mutants.cache_clear()


def test_a_mutant_changes_one_thing_of_the_living_function(module: str) -> None:
    """También lo que está en una función de dentro; no los errores ni la documentación."""
    outer = importlib.import_module(module).outer
    found = mutants(Place(f"{module}.outer"))
    assert [mutant.change for mutant in found] == [
        *("2 * x → 2 / x", "2 * x → 2", "2 * x → x"),
        "z - y → z + y",
    ]
    assert outer(3, 10) == 4
    found[-1].apply()
    assert outer(3, 10) == 16
    with pytest.raises(ValueError, match="x - 1"):
        outer(-1, 0)


def test_a_place_can_be_some_lines_or_a_property(module: str) -> None:
    assert [m.change for m in mutants(Place.parse(f"{module}.outer: return z"))] == [
        "z - y → z + y"
    ]
    sliced, moved = mutants(Place.parse(f"{module}.Table.betas"))
    assert (sliced.change, moved.change) == (
        "[4, 5, 6][1:] → [4, 5, 6]",
        "[4, 5, 6][1:] → [4, 5, 6][:-1]",
    )
    moved.apply()
    assert importlib.import_module(module).Table().betas == [4, 5]


def test_places_that_do_not_exist_are_refused(module: str) -> None:
    with pytest.raises(ValueError, match="no es ninguna función"):
        mutants(Place(f"{module}.nadie"))
    with pytest.raises(ValueError, match="Ninguna línea"):
        mutants(Place.parse(f"{module}.outer: w ="))


def test_survivors_and_wrong_equivalents_are_told() -> None:
    alive, dead = (Mutant("m.f", number, 0, 1, f"{number} → 0") for number in (1, 2))
    jobs = [Job("uno", alive), Job("uno", dead), Job("dos", dead)]
    outcomes = [Outcome(job, job.mutant == dead, 0.0) for job in jobs]
    assert judge(jobs, outcomes, []) == ["uno: nadie nota m.f (línea 1): 1 → 0"]
    assert judge(jobs, outcomes, [Equivalent("m.f", "1 → 0", "da igual")]) == []
    wrong = [
        Equivalent("m.f", "1 → 0", "da igual"),
        Equivalent("m.f", "2 → 0", "no da igual", "dos"),
    ]
    assert judge(jobs, outcomes, wrong) == ["dos: no es equivalente m.f (línea 1): 2 → 0"]
    gone = [Equivalent("m.f", "1 → 0", "da igual"), Equivalent("m.f", "9 → 0", "da igual")]
    assert judge(jobs, outcomes, gone) == ["ya no existe el equivalente m.f: 9 → 0"]


def test_every_tested_equation_says_where_it_is_implemented() -> None:
    labels = {name for kind, name, _ in book_equations() if kind == "comprobada"}
    assert set(implementations()) == labels
    for places in implementations().values():
        assert places
        for place in places:
            mutants(place)


def test_every_equivalent_has_its_reason_and_is_a_mutant() -> None:
    known = {
        (label, mutant)
        for label, places in implementations().items()
        for place in places
        for mutant in mutants(place)
    }
    for row in equivalents():
        assert len(row.reason) > 10
        assert any(row.covers(label, mutant) for label, mutant in known), row
