"""Los widgets de las páginas: el TypeScript de `frontend/`, comprobado y empaquetado."""

import shutil
import subprocess
import sys
from pathlib import Path

from .assets import NODE_MODULES, ensure_node_modules, node_environment
from .project import CACHE, ROOT, files_digest

SOURCES = ROOT / "frontend"
BUNDLE = CACHE / "widgets"
META = BUNDLE / "meta.json"
"""Lo que esbuild cuenta de los paquetes: de qué ficheros sale cada uno."""
SITE_FOLDER = "assets/widgets"
TARGET = "es2022"


class FrontendError(RuntimeError):
    """El TypeScript no se puede empaquetar."""


def npm_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ejecuta una herramienta de `node_modules` en la raíz del proyecto."""
    return subprocess.run(
        [NODE_MODULES / ".bin" / name, *arguments],
        cwd=ROOT,
        env=node_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def bundle(folder: Path = BUNDLE) -> dict[str, Path]:
    """Empaqueta los widgets, cada uno en su fichero, y dice adónde van dentro de la web.

    Si no ha cambiado nada desde la última vez, vale lo que hay.

    Raises:
        FrontendError: Si esbuild encuentra un error; lleva lo que ha dicho.
    """
    sources = [*SOURCES.rglob("*.ts"), SOURCES / "tsconfig.json", ROOT / "package-lock.json"]
    made, stamp = folder / "huella.txt", files_digest([*sources, Path(__file__)])
    if not (made.is_file() and made.read_text(encoding="utf-8") == stamp):
        _bundle(folder)
        made.write_text(stamp, encoding="utf-8")
    return {f"{SITE_FOLDER}/{path.name}": path for path in sorted(folder.glob("*.js"))}


def is_widget(uri: str) -> bool:
    """Si un fichero de la web es del paquete de los widgets."""
    return uri.startswith(f"{SITE_FOLDER}/")


def _bundle(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    entries = [SOURCES / "main.ts", *sorted((SOURCES / "workers").glob("*.ts"))]
    esbuild(
        *map(str, entries),
        "--splitting",
        "--format=esm",
        "--minify",
        "--entry-names=[name]",
        "--chunk-names=[name]-[hash]",
        f"--outdir={folder}",
        f"--metafile={folder / META.name}",
    )


def esbuild(*arguments: str) -> str:
    """Empaqueta con esbuild y devuelve lo que escribe, si no lo escribe en un fichero.

    Raises:
        FrontendError: Si encuentra un error; lleva lo que ha dicho.
    """
    common = (f"--target={TARGET}", "--charset=utf8", "--legal-comments=none")
    made = npm_tool("esbuild", *arguments, "--bundle", "--log-level=warning", *common)
    if made.returncode:
        raise FrontendError(f"esbuild no ha podido empaquetar los widgets:\n{made.stderr.strip()}")
    return made.stdout


def check() -> int:
    """Comprueba los tipos, las reglas y el formato; devuelve el código de salida."""
    failed = 0
    for tool, *arguments in (("tsc", "--project", str(SOURCES)), ("biome", "ci", "--colors=off")):
        done = npm_tool(tool, *arguments)
        print(done.stdout + done.stderr, end="")
        failed |= done.returncode
    return failed


if __name__ == "__main__":
    ensure_node_modules()
    sys.exit(check())
