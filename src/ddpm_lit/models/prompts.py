"""Las frases que se piden a un modelo que lee: que digan algo, y que lo digan con sus palabras."""

import unicodedata
import warnings
from collections.abc import Collection, Sequence

from ddpm_lit.conditioning import with_nearest, words
from ddpm_lit.machine.extras import require


def check_prompts(
    captions: Sequence[str], vocabulary: Collection[str], owner: str
) -> None:
    """Comprueba que cada frase es un texto con alguna palabra y sin símbolos.

    Sin palabras, la red dibujaría cualquier cosa; y un símbolo al lado de ellas se perdería en
    silencio, porque solo lee palabras.

    Args:
        captions: las frases.
        vocabulary: las palabras que conoce el modelo.
        owner: el nombre del modelo, para el error.

    Raises:
        TypeError: si una frase no es un texto.
        ValueError: si no tiene ninguna palabra, o lleva un emoji u otro símbolo; dice cómo se
            llama en español, si se sabe y el modelo conoce esas palabras.
    """
    for caption in captions:
        if not isinstance(caption, str):
            raise TypeError(
                f"Una frase es un texto entre comillas, y ha llegado {caption!r}."
            )
        symbols = "".join(filter(_is_symbol, caption))
        if words(caption) and not symbols:
            continue
        if symbols:
            complaint = f"El modelo «{owner}» lee palabras, y «{caption}» lleva «{symbols}»."
        else:
            complaint = f"«{caption}» no tiene ninguna palabra que el modelo «{owner}» pueda leer."
        name = _spanish_name(caption)
        if name and set(words(name)) <= set(vocabulary):
            advice = f"Prueba con «{name}»."
        elif name:
            advice = f"Se llama «{name}», pero el modelo no conoce esas palabras: usa otras."
        else:
            advice = "Escribe qué quieres, con letras; para no pedir nada, no des ninguna frase."
        raise ValueError(f"{complaint} {advice}")


def known_words(
    captions: Sequence[str], vocabulary: Collection[str], owner: str
) -> list[str]:
    """Las frases con solo las palabras que el modelo conoce; de las demás se avisa.

    El aviso dice las que conoce y se parecen. Una frase de la que no conoce ninguna se queda como
    está, para que quien la convierta en números la rechace.

    Args:
        captions: las frases.
        vocabulary: las palabras que conoce el modelo.
        owner: el nombre del modelo, para el aviso.

    Returns:
        Tantas frases como han llegado.
    """
    known = set(vocabulary)
    readable = {}
    for caption in dict.fromkeys(captions):
        found = words(caption)
        kept = [word for word in found if word in known]
        unknown = [word for word in dict.fromkeys(found) if word not in known]
        readable[caption] = " ".join(kept) if kept and unknown else caption
        if kept and unknown:
            warnings.warn(
                f"El modelo «{owner}» no conoce {with_nearest(unknown, vocabulary)}: de "
                f"«{caption}» lee solo «{readable[caption]}».",
                stacklevel=4,
            )
    return [readable[caption] for caption in captions]


def _is_symbol(character: str) -> bool:
    """Un emoji, otro símbolo, o lo que convierte una cifra en una tecla."""
    return unicodedata.category(character) in ("So", "Me")


def _spanish_name(caption: str) -> str | None:
    """La frase con cada emoji por su nombre, si el paquete `emoji` está y la entiende entera."""
    try:
        emoji = require(
            "emoji", package="emoji", extra="datos", purpose="Nombrar un emoji"
        )
    except ModuleNotFoundError:
        return None
    named: str = emoji.demojize(
        caption, language="es", delimiters=(" ", " ")
    ).replace("_", " ")
    name = " ".join(named.split())
    if name == " ".join(caption.split()) or any(map(_is_symbol, name)):
        return None
    return name
