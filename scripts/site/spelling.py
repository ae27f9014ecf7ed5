"""La ortografía de las páginas y de los docstrings: cspell, con un diccionario de español.

Qué se lee y qué se salta (código, fórmulas, enlaces…) lo dice `cspell.json`. Lo que no está en el
diccionario tiene que estar en `palabras.txt`, en orden y sin que sobre nada.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .assets import ensure_node_modules
from .frontend import npm_tool
from .plaintext import fold
from .project import ROOT

WORDS = ROOT / "palabras.txt"
FOUND = re.compile(r"^(?P<place>.+:\d+):\d+ - Unknown word \((?P<word>[^)]+)\)", re.M)


class SpellingError(RuntimeError):
    """El corrector no ha podido trabajar; lleva lo que ha dicho."""


def unknown(*files: str, root: Path = ROOT) -> dict[str, str]:
    """Las palabras que no están en el diccionario y el primer sitio de cada una.

    Args:
        *files: Los ficheros; si no se dan, los de `cspell.json`.
        root: La carpeta en que están.

    Raises:
        SpellingError: Si cspell no acaba.
    """
    options = ("--no-progress", "--no-color", "--relative", "--disable-dictionary=libro")
    where = (f"--config={ROOT / 'cspell.json'}", f"--root={root}")
    made = npm_tool("cspell", "lint", *options, *where, *files)
    if made.returncode not in (0, 1) or "Files checked: 0" in made.stderr:
        raise SpellingError(f"cspell no ha podido leer las páginas:\n{made.stderr.strip()}")
    found: dict[str, str] = {}
    for match in FOUND.finditer(made.stdout):
        found.setdefault(match["word"], match["place"])
    return found


def problems(found: Mapping[str, str], words: Iterable[str]) -> list[str]:
    """Lo que hay que arreglar: palabras desconocidas, y lo que sobra o está mal puesto en la lista.

    Args:
        found: Las que no están en el diccionario, con su sitio.
        words: Las de la lista del proyecto, en su orden.
    """
    words = list(words)
    known, seen = {word.lower() for word in words}, {word.lower() for word in found}
    wrong = [
        f"{place}: «{word}» no está en el diccionario; corrígela o, si está bien, ponla en "
        f"{WORDS.name}"
        for word, place in found.items()
        if word.lower() not in known
    ]
    wrong += [f"{WORDS.name}: sobra «{word}»" for word in words if word.lower() not in seen]
    wanted = sorted(set(words), key=in_order)
    wrong += [
        f"{WORDS.name}: «{here}» está fuera de orden o repetida"
        for here, there in zip(words, wanted, strict=False)
        if here != there
    ][:1]
    return wrong


def in_order(word: str) -> tuple[str, str]:
    """Clave del orden alfabético, sin contar tildes ni mayúsculas."""
    return fold(word), word


def check(words: Path = WORDS) -> int:
    """Comprueba la ortografía; devuelve el código de salida."""
    wrong = problems(unknown(), words.read_text(encoding="utf-8").split())
    for each in wrong:
        print(f"{each}.")
    return int(bool(wrong))


if __name__ == "__main__":
    ensure_node_modules()
    sys.exit(check())
