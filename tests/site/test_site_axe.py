"""La accesibilidad de la web, con axe: WCAG 2.2 AA y buenas prácticas, con los widgets puestos."""

import pytest
from scripts.site import assets

pytest.importorskip("playwright")

from playwright.sync_api import Browser
from scripts.site.axe import SCHEMES, SCREENS, violations

PAGES = (
    "index.html",
    "instalacion.html",
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
    "laboratorio.html",
    "rendimiento.html",
    "galeria.html",
    "api/forward.html",
    "cuadernos/primer-ddpm.html",
)
"""Una página de cada clase, y todas las que llevan un widget."""


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(browser: Browser, address: str, screen: str, scheme: str) -> None:
    assets.ensure_node_modules()
    found = violations(
        browser, [address + page for page in PAGES], screens=(screen,), schemes=(scheme,)
    )
    assert [f"{where}: {rule}: {place}" for where, rule, place in found] == []
