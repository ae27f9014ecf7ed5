"""El corrector: qué lee, qué se salta y qué dice de la lista de palabras."""

from pathlib import Path

import pytest
from scripts.site import spelling
from scripts.site.assets import ensure_node_modules

PAGE = r"""---
description: Una descripsión.
---

# Un títulu con `codigu` y $formulla_t$

Una palavra, un [enlase](direcsion.md), [`nombra`][modulu.nombra] y <b title="etiketa">negritta</b>.

$$ bloqque \label{citada:una} $$

```python
fuente = "cadenna"
```

Otra: `una`, y `partidda
en dos`, y un herror.

@[ figura("nombrre", alt="Un dibuxo.", pie="Con $\bloqque$, un pye.") ]@
@[ valor("artefakto.campo", "{:d}") ]@
"""
MODULE = '''"""Un módulo con un fayo."""

nombrre = "cadenna"  # un comentarrio


def f(argumennto: int) -> int:
    """Devuelve.

    Args:
        argumennto: un númeru.
    """
    return argumennto
'''


@pytest.fixture(scope="module", autouse=True)
def node_modules() -> None:
    ensure_node_modules()


def words(folder: Path, name: str, text: str) -> set[str]:
    (folder / name).write_text(text, encoding="utf-8")
    return set(spelling.unknown(name, root=folder))


def test_the_prose_of_a_page_is_read_and_the_rest_is_not(tmp_path: Path) -> None:
    wrong = words(tmp_path, "pagina.md", PAGE)
    assert wrong == {
        *("descripsión", "títulu", "palavra", "enlase"),
        *("negritta", "herror", "dibuxo", "pye"),
    }


def test_the_docstrings_and_comments_of_a_module_are_read(tmp_path: Path) -> None:
    assert words(tmp_path, "modulo.py", MODULE) == {"fayo", "comentarrio", "númeru"}


def test_accents_and_the_letter_enye_count(tmp_path: Path) -> None:
    text = "La difusion pequena y la difusión pequeña.\n"
    assert words(tmp_path, "pagina.md", text) == {"difusion", "pequena"}


def test_what_is_left_over_repeated_or_out_of_order_is_said() -> None:
    found = {"Ho": "a.md:1", "sampler": "b.md:2"}
    assert spelling.problems(found, ["Ho", "sampler"]) == []
    (wrong,) = spelling.problems(found, ["sampler"])
    assert wrong.startswith("a.md:1: «Ho» no está en el diccionario")
    assert spelling.problems(found, ["Ho", "nadie", "sampler"]) == ["palabras.txt: sobra «nadie»"]
    assert "fuera de orden" in spelling.problems(found, ["sampler", "Ho"])[0]
    assert "repetida" in spelling.problems(found, ["Ho", "Ho", "sampler"])[0]


def test_the_order_does_not_count_accents() -> None:
    assert sorted(["zeta", "épsilon", "Euler", "eco"], key=spelling.in_order) == [
        "eco",
        "épsilon",
        "Euler",
        "zeta",
    ]


def test_a_corrector_that_cannot_work_is_not_a_good_page(tmp_path: Path) -> None:
    with pytest.raises(spelling.SpellingError):
        spelling.unknown("no-hay.md", root=tmp_path)
