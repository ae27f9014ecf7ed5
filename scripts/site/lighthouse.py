"""Las notas que Lighthouse pone a la web construida, página a página.

python -m scripts.site.lighthouse site
"""

import json
import subprocess
import sys
from pathlib import Path

from .assets import NODE_MODULES, ensure_node_modules, node_environment
from .browser import ARGUMENTS, find_chromium, serve
from .project import ROOT

CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
PAGES = (
    "index.html",
    "componentes/forward.html",
    "algoritmos/generacion.html",
    "despues/replicas.html",
    "laboratorio.html",
    "galeria.html",
    "api/forward.html",
    "cuadernos/primer-ddpm.html",
)
"""Una página de cada clase."""


def audit(address: str) -> tuple[dict[str, int], list[str]]:
    """Lo que Lighthouse dice de una página, vista en un móvil.

    Args:
        address: la página, ya servida.

    Returns:
        La nota de cada categoría, de 0 a 100, y lo que le resta en las que no son de velocidad.

    Raises:
        RuntimeError: si Lighthouse no termina, o no hay un Chromium que usar.
    """
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError("no hay Chromium: instálalo (apt install chromium).")
    command = [
        *("node", str(NODE_MODULES / "lighthouse" / "cli" / "index.js"), address),
        *("--quiet", "--output=json", "--output-path=stdout", "--disable-full-page-screenshot"),
        f"--only-categories={','.join(CATEGORIES)}",
        f"--chrome-flags={' '.join(('--headless=new', *ARGUMENTS))}",
    ]
    done = subprocess.run(
        command,
        env=node_environment() | {"CHROME_PATH": chromium},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Lighthouse no ha podido mirar «{address}»:\n{done.stderr[-2000:]}")
    report = json.loads(done.stdout)
    found = report["categories"]
    marks = {name: round(100 * found[name]["score"]) for name in CATEGORIES}
    wrong = [
        f"{name}: {audit['title']}"
        for name in CATEGORIES[1:]
        for part in found[name]["auditRefs"]
        if part["weight"] > 0
        and (audit := report["audits"][part["id"]])["score"] is not None
        and audit["score"] < 1
    ]
    return marks, wrong


def main() -> None:
    """Escribe las notas de `site/`, o de la carpeta que se diga."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    ensure_node_modules()
    with serve(folder) as address:
        for page in PAGES:
            marks, wrong = audit(address + page)
            told = ", ".join(f"{name} {mark}" for name, mark in marks.items())
            print(f"{page}: {told}", flush=True)
            for each in wrong:
                print(f"    {each}", flush=True)


if __name__ == "__main__":
    main()
