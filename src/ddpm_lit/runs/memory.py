"""Lo que un entrenamiento recuerda de sus datos, y qué hace si han cambiado."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_lit.data import DataDescription, explain_change


def check_same_data(
    remembered: Mapping[str, Any], now: DataDescription, run_dir: Path
) -> None:
    """Compara los datos con los que se empezó con los de ahora.

    Con datos nuevos de las mismas clases se puede seguir, y se avisa; con otras clases no: los
    números que la red ha aprendido serían de otra cosa.

    Args:
        remembered: lo que se guardó al empezar, un `DataDescription` como diccionario; vacío si
            el checkpoint no lo dice.
        now: los datos de ahora.
        run_dir: la carpeta del entrenamiento, para el error.

    Raises:
        ValueError: si las clases ya no son las mismas, o están en otro orden.
    """
    if not remembered:
        return
    before = DataDescription(**remembered)
    change = explain_change(before, now)
    if change is None:
        return
    if before.label_names != now.label_names:
        raise ValueError(
            f"{change} No se puede seguir el entrenamiento de «{run_dir}» con otras clases: deja "
            "los datos como estaban o entrena en otra carpeta."
        )
    warnings.warn(
        f"{change} El entrenamiento de «{run_dir}» sigue con los datos de ahora, así que el "
        "resultado ya no es el de un entrenamiento sin pausa.",
        stacklevel=4,
    )
