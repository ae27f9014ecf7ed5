"""Lo propio de cada ecuación, un módulo por capítulo: la notación de la página y sus filas.

La mayoría de las ecuaciones no tiene fila: el diccionario común las resuelve. Una fila nunca
escribe la fórmula; dice qué es un símbolo, o con qué función del paquete se compara.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from scripts.ledger.check import Row
from scripts.ledger.rows import (
    backward,
    conditioning,
    continuous,
    ddim,
    editing,
    epsilon,
    flow,
    forward,
    generation,
    guidance,
    improved,
    introduction,
    latent,
    losses,
    notebook,
    posterior,
    scheduler,
    score,
    toolbox,
    training,
    unet,
)

CHAPTERS: dict[str, ModuleType] = {
    "introduccion/caja.md": toolbox,
    "componentes/index.md": introduction,
    "componentes/forward.md": forward,
    "componentes/posterior.md": posterior,
    "componentes/backward.md": backward,
    "componentes/scheduler.md": scheduler,
    "componentes/por-que-epsilon.md": epsilon,
    "componentes/perdidas.md": losses,
    "despues/improved.md": improved,
    "despues/ddim.md": ddim,
    "despues/editar.md": editing,
    "unet.md": unet,
    "despues/cfg.md": guidance,
    "despues/condiciones.md": conditioning,
    "despues/score.md": score,
    "despues/flujos.md": flow,
    "despues/continuo.md": continuous,
    "despues/stable-diffusion.md": latent,
    "despues/replicas.md": introduction,
    "cuadernos/primer-ddpm.py": notebook,
    "algoritmos/entrenamiento.md": training,
    "algoritmos/generacion.md": generation,
}
DEFAULT = Row()


def row_of(name: str) -> Row:
    """La fila de una ecuación; si no tiene, la de todas."""
    rows = [chapter.ROWS[name] for chapter in CHAPTERS.values() if name in chapter.ROWS]
    return rows[0] if rows else DEFAULT


def names_of(page: str) -> Mapping[str, Any]:
    """Lo que significan en una página los símbolos que no son de todo el libro."""
    return getattr(CHAPTERS.get(page), "NAMES", {})


def equivalents_of(name: str) -> Mapping[str, str]:
    """Los mutantes de una ecuación que no cambian nada, con su porqué."""
    for chapter in CHAPTERS.values():
        listed: Mapping[str, Mapping[str, str]] = getattr(chapter, "EQUIVALENT", {})
        if name in listed:
            return listed[name]
    return {}
