"""La página «Licencias» dice lo que la web reparte, y con el texto de cada licencia."""

import json
import re
from pathlib import Path

import pytest
from scripts.site import assets, frontend, licences
from scripts.site.project import ROOT


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    assets.ensure_node_modules()


def test_everything_that_is_bundled_or_copied_is_there() -> None:
    found = {each.name: each for each in licences.licences()}
    assert {"lit", "d3-scale", "gifenc", "onnxruntime-web", "katex", assets.FONT} <= found.keys()
    locked = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, each in found.items():
        if name == "Material for MkDocs":
            continue
        package = locked[f"node_modules/{name}"]
        assert (each.version, each.kind) == (package["version"], package["license"])
        # Las herramientas con que se hace no se reparten.
        assert not package.get("dev")


def test_each_has_its_text_and_its_place() -> None:
    files = licences.site_files()
    assert len(files) == len(licences.licences())
    for uri, path in files.items():
        assert re.fullmatch(r"assets/licencias/[a-z0-9-]+\.txt", uri)
        text = Path(path).read_text(encoding="utf-8")
        assert re.search(r"copyright|licen[cs]e", text, re.I), uri


def test_the_widgets_import_nothing_that_is_not_listed() -> None:
    """Cada paquete que un widget importa por su nombre está en la lista."""
    names = {each.name for each in licences.licences()}
    for path in frontend.SOURCES.rglob("*.ts"):
        for name in re.findall(r'from "([^."][^"]*)"', path.read_text(encoding="utf-8")):
            parts = name.split("/")
            assert "/".join(parts[: 2 if name.startswith("@") else 1]) in names, path


def test_a_package_without_its_licence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "suelto"
    folder.mkdir()
    (folder / "package.json").write_text('{"version": "1.0.0", "license": "MIT"}')
    monkeypatch.setattr(assets, "NODE_MODULES", tmp_path)
    with pytest.raises(FileNotFoundError, match="«suelto» no trae su licencia"):
        licences._of_npm("suelto")


def test_the_page_links_to_files_of_the_site(site_dir: Path) -> None:
    page = (site_dir / "licencias.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="(assets/licencias/[^"]+)"', page))
    assert linked == licences.site_files().keys()
    assert all((site_dir / each).is_file() for each in linked)
