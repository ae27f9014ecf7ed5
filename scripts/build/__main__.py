"""`python -m scripts.build [TAREA…]`: hace con doit la construcción, o solo esas tareas."""

import sys
from pathlib import Path

from doit.doit_cmd import DoitMain

DODO = Path(__file__).with_name("dodo.py")


def main(arguments: list[str]) -> int:
    """Lo que devuelve doit: 0 si todo ha ido bien; con Ctrl-C, 130."""
    try:
        return int(DoitMain().run(["run", "-f", str(DODO), *arguments]) or 0)
    except KeyboardInterrupt:
        print("Interrumpida. Lo que ya estaba hecho no se repite.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
