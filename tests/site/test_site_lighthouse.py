"""Lo que Lighthouse dice de cada clase de página; la velocidad depende de la máquina."""

import pytest
from scripts.site import assets

pytest.importorskip("playwright")

from scripts.site.lighthouse import PAGES, audit


@pytest.mark.parametrize("page", PAGES)
def test_lighthouse_is_content(address: str, page: str) -> None:
    assets.ensure_node_modules()
    marks, wrong = audit(address + page)
    assert marks["accessibility"] == 100, wrong
    assert marks["best-practices"] >= 95 and marks["seo"] >= 95, wrong
