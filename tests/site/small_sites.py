"""Webs pequeñas construidas de verdad.

`build` usa la configuración del libro, en otro proceso; `build_tiny`, en este, solo los plugins que
se le den y unos ganchos escritos para la ocasión.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

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


class Built:
    """Una web diminuta ya construida: su carpeta, su configuración y su módulo de ganchos."""

    def __init__(self, folder: Path, config: Any) -> None:
        self.folder, self.config = folder / "site", config
        self.hooks: Any = config.hooks["ganchos.py"]

    def read(self, name: str) -> str:
        """Texto de uno de sus ficheros."""
        return (self.folder / name).read_text(encoding="utf-8")


Build = Callable[..., Built]


def build_tiny(
    folder: Path,
    pages: Mapping[str, str],
    hooks: str,
    plugins: list[Any] | None = None,
    theme: str = "mkdocs",
    extensions: tuple[str, ...] = (),
) -> Built:
    """Construye una web diminuta; los ganchos tienen a mano `private` y una lista, `seen`.

    Args:
        folder: la carpeta, que ha de ser la de trabajo.
        pages: el texto de cada página.
        hooks: el código de los ganchos.
        plugins: los plugins, como en `mkdocs.yml`.
        theme: el tema.
        extensions: las extensiones de Markdown.
    """
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    for name, text in pages.items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    header = "from scripts.site import private\n\nseen = []\n\n\n"
    (folder / "ganchos.py").write_text(header + hooks, encoding="utf-8")
    settings = {
        "site_name": "prueba",
        "use_directory_urls": False,
        "hooks": ["ganchos.py"],
        "plugins": plugins or [],
        "theme": {"name": theme, **({"font": False} if theme == "material" else {})},
        "markdown_extensions": list(extensions),
    }
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    config = load_config("mkdocs.yml")
    build_site(config)
    return Built(folder, config)
