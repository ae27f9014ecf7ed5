"""El registro de cambios: la versión del paquete está en él, con su fecha, y en CITATION.cff."""

import re
from datetime import date
from pathlib import Path

import ddpm_lit

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
ENTRY = re.compile(r"^## \[(\d+\.\d+\.\d+)\] – (\d{4}-\d{2}-\d{2})$", re.M)
KINDS = {"Añadido", "Cambiado", "Obsoleto", "Eliminado", "Corregido", "Seguridad"}


def test_the_version_of_the_package_is_the_last_one() -> None:
    entries = ENTRY.findall(CHANGELOG)
    assert entries[0][0] == ddpm_lit.__version__
    assert f"\nversion: {ddpm_lit.__version__}\n" in CITATION
    assert f"\ndate-released: {entries[0][1]}\n" in CITATION


def test_versions_go_from_the_newest_to_the_oldest() -> None:
    entries = ENTRY.findall(CHANGELOG)
    numbers = [tuple(map(int, version.split("."))) for version, _ in entries]
    dates = [date.fromisoformat(day) for _, day in entries]
    assert numbers == sorted(set(numbers), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_it_keeps_the_format() -> None:
    titles = re.findall(r"^## (.+)$", CHANGELOG, re.M)
    assert titles[0] == "[Sin publicar]"
    assert len(titles) - 1 == len(ENTRY.findall(CHANGELOG))
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.M)) <= KINDS
    for body in re.split(r"^## \[\d.*$", CHANGELOG, flags=re.M)[1:]:
        assert re.search(r"^- ", body, re.M)
