"""Lo que comparten los tests de la web: la web construida y un navegador que la mira."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from scripts.site.browser import ARGUMENTS, find_chromium, serve, without_search  # noqa: E402
from small_sites import Build, build_tiny  # noqa: E402

LONGEST = ("test_site_axe.py", "test_widgets.py", "test_laboratory.py")
"""Los ficheros que más tardan: se empieza por ellos para que ninguno acabe solo."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pone delante los tests de los ficheros que más tardan."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def skip_or_fail(reason: str) -> None:
    """Sin navegador o sin web se salta el test; en la integración continua eso es un fallo."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"En la integración continua no se salta nada: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def site_dir() -> Path:
    """Web construida: la de `DDPM_SITE_DIR`, o `site/`."""
    folder = ROOT / os.environ.get("DDPM_SITE_DIR", "site")
    if not (folder / "index.html").is_file():
        skip_or_fail(f"no hay web construida en {folder}; ejecuta `make site`.")
    return folder


@pytest.fixture(scope="session")
def address(site_dir: Path) -> Iterator[str]:
    """Dirección local de la web mientras duran los tests."""
    with serve(site_dir) as url:
        yield url


@pytest.fixture(scope="session")
def address_without_search(site_dir: Path) -> Iterator[str]:
    """La misma web sin su índice de búsqueda, para abrir muchas páginas en las que no se busca."""
    with serve(site_dir, without_search(site_dir)) as url:
        yield url


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Arranca el Chromium del sistema o el de Playwright."""
    chromium = find_chromium()
    if chromium is None:
        skip_or_fail("no hay Chromium; instálalo (apt install chromium) o `playwright install`.")
    return {**browser_type_launch_args, "executable_path": chromium, "args": list(ARGUMENTS)}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    """Navegador en español y sin animaciones."""
    return {**browser_context_args, "locale": "es-ES", "reduced_motion": "reduce"}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Construye en este proceso webs diminutas, en una carpeta propia (véase `build_tiny`)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    return partial(build_tiny, tmp_path)


@pytest.fixture(autouse=True)
def same_modules() -> Iterator[None]:
    """Las celdas vuelven a importar el paquete; los demás tests siguen con el suyo."""
    before = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    yield
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]
    sys.modules.update(before)


def _is_ours(name: str) -> bool:
    return name == "ddpm_lit" or name.startswith("ddpm_lit.")
