r"""Las cifras de los artículos que enseña la página de réplicas, contra una transcripción aparte.

`fixtures/papers.json` está copiado de las tablas de los artículos, no del código. Se compara lo
que lee quien abre la página: la cabecera de cada columna y lo que hay en cada celda.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripts.replicas import tables

PAPERS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "fixtures" / "papers.json").read_text("utf-8")
)
PREDICTIONS = {r"$\epsilon$": "epsilon", r"$\tilde\mu$": "mean"}
LOSSES = {
    r"$L_{\text{simple}}$": "simple",
    r"$L_{\text{híbrida}}$": "hybrid",
    "$L$": "vlb",
    "error sin pesar": "mse",
}


def shown(name: str) -> list[dict[str, str]]:
    """Las filas de una tabla de la página, por la cabecera de cada columna."""
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in tables.table(name, {}).splitlines()
    )
    return [dict(zip(header, row, strict=True)) for row in rows]


def figures(text: str) -> list[float]:
    return [float(number.replace(",", ".")) for number in re.findall(r"\d+(?:,\d+)?", text)]


def quoted(row: dict[str, str]) -> dict[str, float | None]:
    """Lo que una fila dice que da el artículo: de cada cosa («FID», «bits»), su cifra."""
    found: dict[str, float | None] = {}
    for header, text in row.items():
        if header.startswith("artículo: "):
            names = header.removeprefix("artículo: ").split(" / ")
            numbers = figures(text) or [None] * len(names)
            found |= dict(zip(names, numbers, strict=True))
    return found


def test_the_table_of_ddpm() -> None:
    found = []
    for row in shown("ddpm"):
        predicts, loss = row["la red predice…"].split(" con ")
        numbers = quoted(row)
        found.append(
            {"predicts": PREDICTIONS[predicts], "loss": LOSSES[loss]}
            | {"fid": numbers["FID"], "bits": numbers["bits"]}
        )
    assert found == PAPERS["ddpm"]["rows"]


def test_the_table_of_improved_diffusion() -> None:
    schedules = {"lineal": "linear", "coseno": "cosine"}
    found = []
    for row in shown("iddpm"):
        numbers = quoted(row)
        found.append(
            {"schedule": schedules[row["schedule"]], "loss": LOSSES[row["pérdida"]]}
            | {"bits": numbers["bits"], "fid": numbers["FID"]}
        )
    assert found == PAPERS["iddpm"]["rows"]


@pytest.mark.parametrize("name", ["ddim", "cfg"])
def test_the_tables_with_several_figures_in_a_cell(name: str) -> None:
    paper = PAPERS[name]
    columns = paper["steps"] if name == "ddim" else paper["dropout"]
    rows = shown(name)
    assert len(rows) >= 5
    for row in rows:
        (header,) = (key for key in row if key.startswith("artículo: FID con "))
        first = figures(next(iter(row.values())).replace("{,}", ","))
        label = f"{first[0]:g}" if first else "sigma"
        assert figures(header) == columns
        assert figures(row[header]) == paper["rows"][label]


def test_the_reconstruction_error_of_ddim() -> None:
    """La página lo multiplica por 10⁴."""
    paper, _ = shown("ddim-reconstruction")
    assert paper.pop("pasos") == "artículo (CIFAR-10)"
    errors = {
        steps: pytest.approx(1e4 * e)
        for steps, e in PAPERS["ddim-reconstruction"]["errors"].items()
    }
    assert {steps: float(text) for steps, text in paper.items()} == errors
