"""`ddpm-lit`, que además avisa de que ya está generando; lo lanza `test_together.py`.

    python announced.py CARPETA ORDEN…

Cada proceso deja en la carpeta un fichero vacío con su número, el que tiene en el sistema.
"""

import os
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpm_lit.cli import main
from ddpm_lit.models import together

sample = together.sample


def announced(*arguments: Any, **options: Any) -> Tensor:
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    return sample(*arguments, **options)


# Los procesos que se lanzan ejecutan también estas líneas.
together.sample = announced
if __name__ == "__main__":
    main(sys.argv[2:])
