"""La accesibilidad de la web, con axe: WCAG 2.2 AA y buenas prácticas, con los widgets puestos."""

from pathlib import Path

import pytest
from scripts.site import assets

pytest.importorskip("playwright")

from playwright.sync_api import Browser
from scripts.site.axe import SCHEMES, SCREENS, violations
from scripts.site.browser import pages

KINDS = (
    "index.html",
    "introduccion/caja.html",
    "componentes/forward.html",
    "componentes/posterior.html",
    "componentes/scheduler.html",
    "componentes/perdidas.html",
    "componentes/por-que-epsilon.html",
    "algoritmos/generacion.html",
    "unet.html",
    "despues/cfg.html",
    "despues/ddim.html",
    "despues/replicas.html",
    "recetas/mis-imagenes.html",
    "laboratorio.html",
    "rendimiento.html",
    "galeria.html",
    "libro-mayor.html",
    "glosario.html",
    "fuentes.html",
    "api/forward.html",
    "cuadernos/primer-ddpm.html",
)
"""Una página de cada clase, y todas las que llevan un widget."""
WHOLE = ("escritorio", "light")
"""Cómo se miran todas; de las otras tres maneras cambian el color y el sitio, no la página."""


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(
    browser: Browser, address_without_search: str, site_dir: Path, screen: str, scheme: str
) -> None:
    assets.ensure_node_modules()
    whole = (screen, scheme) == WHOLE
    looked = [page for page in pages(site_dir) if page != "404.html"] if whole else KINDS
    addresses = [address_without_search + page for page in looked]
    found = violations(browser, addresses, screens=(screen,), schemes=(scheme,))
    assert [f"{where}: {rule}: {place}" for where, rule, place in found] == []


def test_every_widget_is_looked_at_in_all_ways(site_dir: Path) -> None:
    with_widget = {
        page
        for page in pages(site_dir)
        if "<dl-widget" in (site_dir / page).read_text(encoding="utf-8")
    }
    assert with_widget <= set(KINDS)
