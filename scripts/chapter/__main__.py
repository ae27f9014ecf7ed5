"""`python -m scripts.chapter MODULO PAGINA TÍTULO`: empieza un capítulo con la plantilla.

Escribe su página, su módulo, sus tests, sus figuras, sus ejercicios y sus filas del libro mayor, y
lo apunta donde hay que apuntarlo. Después se cambia todo, poco a poco y en verde.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.site.project import ROOT

TEMPLATE = Path(__file__).parent / "plantilla"

FILES = {
    "pagina.md": "docs/@PAGINA@.md",
    "modulo.py": "src/ddpm_lit/@MODULO@.py",
    "tests.py": "tests/test_@MODULO@.py",
    "figuras.py": "scripts/figures/@MODULO@.py",
    "filas.py": "scripts/ledger/rows/@MODULO@.py",
    "ejercicios.toml": "docs/ejercicios/@NOMBRE@.toml",
}
"""Dónde va cada fichero de la plantilla."""

LINES = (
    (
        "mkdocs.yml",
        "      - Réplicas: despues/replicas.md\n",
        '      - "@TITULO@": @PAGINA@.md\n',
    ),
    ("mkdocs.yml", "      - tables: api/tables.md\n", "      - @MODULO@: api/@MODULO@.md\n"),
    (
        "docs/api/index.md",
        "\n## Lo que los sostiene\n",
        "| @TITULO_MINUSCULA@ | [`@MODULO@`](@MODULO@.md) |\n",
    ),
    ("docs/api/@MODULO@.md", "", "::: ddpm_lit.@MODULO@\n"),
    ("pyproject.toml", '    "ddpm_lit.continuous | ', '    "ddpm_lit.@MODULO@",\n'),
    ("scripts/build/figures.py", '    "replicas",\n)', '    "@MODULO@",\n'),
    (
        "scripts/site/opening.py",
        '}\n"""Qué se enciende en cada capítulo."""',
        '    "@PAGINA@.md": ("forward",),\n',
    ),
    ("scripts/ledger/rows/__init__.py", "    unet,\n)\n", "    @MODULO@,\n"),
    (
        "scripts/ledger/rows/__init__.py",
        '    "despues/replicas.md": ',
        '    "@PAGINA@.md": @MODULO@,\n',
    ),
    (
        "scripts/mutants/implementations.toml",
        "",
        '\n# --- @TITULO@ ---\n@NOMBRE@-parte = ["ddpm_lit.@MODULO@.signal_share"]\n',
    ),
    (
        "tests/site/test_site_exercises.py",
        '}\n"""Las cuentas de cada capítulo, hechas aquí sin el paquete."""',
        '    "@NOMBRE@": [0.8 / 1.4, 0.6 / 1.4],\n',
    ),
)
"""Qué línea se añade en cada fichero, y delante de qué; sin nada delante de qué, al final."""


class TakenError(ValueError):
    """Lo que se pide no se puede empezar."""


def start(root: Path, module: str, page: str, title: str) -> list[Path]:
    """Escribe un capítulo.

    Args:
        root: la raíz del repositorio.
        module: el nombre de su módulo en `ddpm_lit`, en inglés.
        page: su página dentro de `docs/`, sin extensión, p. ej. `despues/mi-capitulo`.
        title: su título.

    Returns:
        Los ficheros nuevos.

    Raises:
        TakenError: si un nombre no vale, ya hay un capítulo así o falta dónde apuntarlo. No se
            escribe nada.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module):
        raise TakenError(f"el módulo es «{module}» y debe ser un nombre de Python, en minúsculas.")
    if not re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*", page):
        raise TakenError(
            f"la página es «{page}» y debe ser una ruta en docs/, en minúsculas y sin extensión, "
            "como despues/mi-capitulo."
        )
    words = {
        "MODULO": module,
        "PAGINA": page,
        "NOMBRE": page.rpartition("/")[2],
        "RAIZ": "../" * page.count("/"),
        "TITULO": title,
        "TITULO_MINUSCULA": title[:1].lower() + title[1:],
    }

    def filled(text: str) -> str:
        return re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text)

    made = {
        root / filled(where): filled((TEMPLATE / f"{name}.txt").read_text(encoding="utf-8"))
        for name, where in FILES.items()
    }
    for path in made:
        if path.exists():
            raise TakenError(f"ya existe {path.relative_to(root)}: elige otro nombre.")
    changed: dict[Path, str] = {}
    for where, before, line in ([filled(each) for each in row] for row in LINES):
        path = root / where
        text = changed.get(path) or (path.read_text(encoding="utf-8") if path.exists() else "")
        if before and text.count(before) != 1:
            raise TakenError(f"en {where} no está una sola vez «{before.strip()}».")
        at = text.index(before) if before else len(text)
        changed[path] = text[:at] + line + text[at:]
    for path, text in (made | changed).items():
        path.write_text(text, encoding="utf-8")
    # Dónde cae cada import depende de cómo se llame el módulo.
    code = [str(path) for path in made | changed if path.suffix == ".py"]
    sort = [sys.executable, "-m", "ruff", "check", "--quiet", "--select", "I", "--fix", *code]
    subprocess.run(sort, check=True, cwd=root)
    return list(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Lee las opciones, escribe el capítulo y dice qué queda por hacer."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chapter",
        description="Empieza un capítulo con una plantilla que pasa todas las comprobaciones.",
    )
    parser.add_argument("modulo", help="el nombre del módulo, en inglés: signal")
    parser.add_argument("pagina", help="la página, dentro de docs/: despues/senal")
    parser.add_argument("titulo", help="el título: «Cuánta señal queda»")
    options = parser.parse_args(arguments)
    try:
        made = start(ROOT, options.modulo, options.pagina, options.titulo)
    except TakenError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("Escrito:")
    for path in made:
        print(f"  {path.relative_to(ROOT)}")
    print(
        "Ahora, make serve para verlo, y a cambiarlo. A mano quedan su frase en "
        "docs/despues/index.md, lo que enciende en el mapa (scripts/site/opening.py), su módulo en "
        "la tabla de docs/como-esta-hecho.md, su línea en CHANGELOG.md y, si cita algo nuevo, "
        "docs/fuentes.bib."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
