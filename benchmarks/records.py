"""Los resultados: un JSON por unidad, escrito entero o no escrito, con la máquina que lo hizo."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from scripts.site.project import ROOT, commit

from ddpm_lit.files.weights import write_atomically

FOLDER = ROOT / "benchmarks" / "results"
GPU = FOLDER / "gpu"
BUILD = ROOT / "build" / "benchmarks"
PEERS = BUILD / "rivales"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
PINNED = (ROOT / "benchmarks" / "requirements.txt").read_text(encoding="utf-8").splitlines()

Record = dict[str, Any]


def machine() -> Record:
    """En qué máquina se mide: procesador, núcleos, hilos, instrucciones y tarjeta."""
    cuda = torch.cuda.is_available()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    table = {name.strip(): value.strip() for name, value in found.items()}
    flags = table.get("flags", "").split()
    return {
        "cpu": table.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
    }


def versions() -> dict[str, str]:
    """Las versiones de Python, PyTorch y ddpm_lit, y las fijadas de los rivales."""
    pinned = dict(line.split("==") for line in PINNED if "==" in line)
    found = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        found["ddpm_lit"] = version("ddpm_lit")
    except PackageNotFoundError:
        from ddpm_lit import __version__ as own

        found["ddpm_lit"] = own
    return found | {name: pinned[name] for name in ("diffusers", "denoising-diffusion-pytorch")}


def save(unit: str, values: Record, folder: Path = FOLDER) -> Path:
    """Guarda lo que ha medido una unidad, con su máquina, sus versiones y su fecha."""
    record = {
        "unit": unit,
        "values": values,
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }
    text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
    path = folder / f"{unit}.json"
    write_atomically(path, f"{text}\n".encode())
    return path


def load(folder: Path = FOLDER) -> dict[str, Record]:
    """Los resultados que hay, por el nombre de su unidad."""
    records = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    return {record["unit"]: record for record in sorted(records, key=lambda r: str(r["unit"]))}
