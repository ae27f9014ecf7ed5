"""Lo que un entrenamiento recuerda de sus datos, y qué hace si han cambiado."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_lit.data import Dataset


def describe(data: Dataset) -> dict[str, Any]:
    """Lo que se guarda de unos datos: cuántos son y cómo se llaman sus clases."""
    return {"count": len(data), "label_names": list(data.label_names)}


def check_same_data(
    before: Mapping[str, Any], data: Dataset, run_dir: Path
) -> None:
    """Comprueba que unos datos son aquellos con los que se empezó.

    Args:
        before: lo que guardó `describe`; vacío si no se sabe.
        data: los datos de ahora.
        run_dir: la carpeta del entrenamiento, para el error.

    Raises:
        ValueError: si no lo son.
    """
    now = describe(data)
    if before and dict(before) != now:
        raise ValueError(
            f"Los datos de «{run_dir}» han cambiado: {before} → {now}."
        )
