"""La memoria que ocupa un proceso nuevo, medida por un guion que se ejecuta en él."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ddpm_lit

SOURCE = str(Path(ddpm_lit.__file__).parents[1])
PREAMBLE = r"""
import re, sys

def memory(name="VmRSS"):
    status = open("/proc/self/status").read()
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", status)[1])
"""
"""Lo que tiene a mano el guion: `memory(nombre)`, un valor de /proc/self/status, en bytes."""

needs_proc = pytest.mark.skipif(
    sys.platform != "linux", reason="la memoria del proceso se lee de /proc"
)


def measured(script: str, *arguments: str | Path) -> float:
    """El número que escribe un guion de Python en un proceso nuevo, con sus argumentos."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, *arguments],
        env=os.environ | {"PYTHONPATH": SOURCE},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)
