"""Webs pequeñas construidas de verdad con la configuración del libro, en otro proceso."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, logging, sys
logging.basicConfig(level=logging.WARNING)
from mkdocs.commands.build import build
from mkdocs.config import load_config
options = json.loads(sys.argv[1])
build(load_config("mkdocs.yml", **options))
"""
GOOD = {
    "index.md": "# Portada\n\nVéase \\eqref{uno}.\n",
    "introduccion/a.md": """# Paso $q(x_t|x_{t-1})$ y difusión

Texto con $\\xt$.

$$
\\xt = \\sqrt{\\abt}\\,\\xo
\\label{comprobada:uno}
$$

@[ fuente("ddpm_lit.forward.q_sample") ]@

```python exec="1" source="above" session="s"
print("una celda")
```
""",
    "api/forward.md": "::: ddpm_lit.forward\n",
    "introduccion/b.md": """# Otra

!!! note "Nota"

    $$ a = b \\label{derivada:dos} $$

    Como en \\eqref{uno} y \\eqref{dos}.
""",
}


def build(
    folder: Path,
    pages: dict[str, str],
    profile: str = "cpu",
    strict: bool = True,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Construye una web en `folder`/site, con las fuentes en `folder`/docs.

    Args:
        folder: la carpeta; lo construido se busca en `folder`/build.
        pages: el texto de cada página, en el orden de la navegación.
        profile: el perfil.
        strict: si los avisos son errores.
        **options: lo que cambia de `mkdocs.yml`.
    """
    docs = folder / "docs"
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for asset in ("sitio.css", "sitio.js", "logo.svg"):
        (docs / "assets").mkdir(parents=True, exist_ok=True)
        (docs / "assets" / asset).write_bytes((ROOT / "docs" / "assets" / asset).read_bytes())
    options = {
        **options,
        "docs_dir": str(docs),
        "site_dir": str(folder / "site"),
        "nav": list(pages),
        "strict": strict,
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(options)],
        cwd=ROOT,
        env={
            **os.environ,
            "DDPM_CACHE": str(folder / "cache"),
            "DDPM_BUILD": str(folder / "build"),
            "DDPM_PROFILE": profile,
            "NO_MKDOCS_2_WARNING": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
