"""El comienzo de cada capítulo: qué se sabrá hacer, qué hace falta, cuánto se tarda y dónde está.

El mapa es siempre el mismo dibujo del proceso entero; cambia lo que está encendido.
"""

from pathlib import PurePosixPath

PLACES = {
    "datos": '<rect x="8" y="52" width="64" height="56" rx="8"/><text x="40" y="85">datos</text>',
    "ruido": '<rect x="368" y="52" width="64" height="56" rx="8"/>'
    '<text x="400" y="85">ruido</text>',
    "forward": '<path d="M78 66 H362 m-7 -5 l8 5 l-8 5"/><text x="150" y="56">forward</text>',
    "scheduler": '<path d="M272 38 V61"/><rect x="222" y="12" width="100" height="26" rx="13"/>'
    '<text x="272" y="29">scheduler</text>',
    "backward": '<path d="M362 94 H78 m7 -5 l-8 5 l8 5"/><text x="312" y="86">backward</text>',
    "posterior": '<path class="dl-mapa__fino" d="M72 102 q44 20 88 -4"/>'
    '<text x="122" y="128">posterior</text>',
    "red": '<path d="M220 134 V99 m-5 7 l5 -8 l5 8"/><rect x="190" y="134" width="60" height="30"'
    ' rx="6"/><text x="220" y="153">red</text>',
    "perdida": '<path d="M98 149 H184 m-7 -5 l8 5 l-8 5"/><rect x="8" y="134" width="90"'
    ' height="30" rx="15"/><text x="53" y="153">pérdida</text>',
    "condicion": '<path d="M332 149 H256 m7 -5 l-8 5 l8 5"/><rect x="332" y="134" width="100"'
    ' height="30" rx="15"/><text x="382" y="153">condición</text>',
}
"""Los lugares del mapa, dibujados sobre 440×176."""

HERE = {
    "componentes/forward.md": ("forward",),
    "componentes/posterior.md": ("posterior", "backward"),
    "componentes/backward.md": ("backward", "red"),
    "componentes/scheduler.md": ("scheduler",),
    "componentes/perdidas.md": ("perdida",),
    "componentes/por-que-epsilon.md": ("perdida", "red"),
    "algoritmos/entrenamiento.md": ("datos", "forward", "perdida", "red"),
    "algoritmos/generacion.md": ("ruido", "backward", "red"),
    "unet.md": ("red",),
    "despues/improved.md": ("backward", "perdida"),
    "despues/cfg.md": ("red", "condicion"),
    "despues/condiciones.md": ("condicion",),
    "despues/editar.md": ("datos", "backward"),
    "despues/ddim.md": ("backward",),
    "despues/flujos.md": ("datos", "ruido", "forward", "backward"),
    "despues/stable-diffusion.md": ("datos", "backward", "red", "condicion"),
    "despues/score.md": ("red", "backward"),
    "despues/continuo.md": ("forward", "backward", "scheduler"),
}
"""Qué se enciende en cada capítulo."""

NAMES = {
    "datos": "los datos",
    "ruido": "el ruido",
    "forward": "el forward process",
    "scheduler": "el scheduler",
    "backward": "el backward process",
    "posterior": "el posterior",
    "red": "la red",
    "perdida": "la pérdida",
    "condicion": "la condición",
}


def drawn_map(page: str) -> str:
    """El mapa en SVG, con lo de la página encendido.

    Raises:
        LookupError: Si la página no está en el mapa.
    """
    if page not in HERE:
        raise LookupError(f"«{page}» no está en el mapa; añádela en scripts/site/opening.py")
    places = "".join(
        f'<g class="dl-mapa__{"aqui" if place in HERE[page] else "otro"}">{drawing}</g>'
        for place, drawing in PLACES.items()
    )
    return (
        '<svg class="dl-mapa" viewBox="0 0 440 176" role="img" aria-label="Mapa del proceso">'
        f"{places}</svg>"
    )


def where(page: str) -> str:
    """Lo encendido en el mapa de una página, dicho con palabras."""
    *first, last = (NAMES[place] for place in HERE[page])
    return f"{', '.join(first)} y {last}" if first else last


def opening(page: str, *, able: str, needs: str, minutes: int, folded: int, notebook: bool) -> str:
    """El recuadro del comienzo, en Markdown con HTML.

    Args:
        page: El Markdown de la página, relativo a `docs/`.
        able: Lo que se sabrá hacer.
        needs: Lo que conviene traer sabido.
        minutes: Minutos de la línea principal.
        folded: Minutos de lo plegado; 0 si no hay nada.
        notebook: Si se puede descargar como cuaderno.
    """
    time = f"{minutes} minutos" if minutes > 1 else "Un minuto"
    if folded:
        time += f", y {folded} más si se abre lo plegado"
    name = f"{PurePosixPath(page).stem}.ipynb"
    download = f' Y se ejecuta: <a href="{name}" download>{name}</a>.' if notebook else ""
    rows = {"Sabréis": able, "Os hace falta": needs, "Se lee en": f"{time}.{download}"}
    listed = "\n\n".join(f"{term}\n:   {text}" for term, text in rows.items())
    return (
        '<div class="dl-apertura" markdown="1">\n'
        f'<div class="dl-apertura__texto" markdown="1">\n\n{listed}\n\n</div>\n'
        f'<figure class="dl-apertura__mapa">{drawn_map(page)}'
        f"<figcaption>Estáis aquí: {where(page)}</figcaption></figure>\n</div>\n"
    )
