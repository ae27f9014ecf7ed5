r"""Añadir información condicional: cómo se escribe una condición para que la red la lea.

Una condición llega a la red por su nombre, y cada una entra de una manera:

- `class_labels`, int64 (B,): una clase; su embedding se suma al del instante.
- `scalars`, float32 (B, S): números; se transforman y se suman al embedding del instante.
- `tokens`, int64 (B, L): una frase en español; la lee un `TextEncoder`, y la U-Net la mira
  con atención cruzada o la recibe resumida en un vector (FiLM).
- `image`, float32 (B, C, H, W): otra imagen, que se concatena a $x_t$ en los canales.

Para guiar sin clasificador (`ddpm_lit.guidance`) hace falta que la red sepa también qué
hacer sin condición: cada una tiene su valor nulo (`CONDITIONS`, `null_condition`), y en el
entrenamiento se apaga, ejemplo a ejemplo, de vez en cuando (`drop_condition`).

Fuentes: Ho y Salimans 2022 (arXiv:2207.12598) para la condición que se apaga; Rombach et
al. 2022 (arXiv:2112.10752) para la atención cruzada; Perez et al. 2018 (arXiv:1709.07871)
para FiLM; Saharia et al. 2021 (arXiv:2104.07636) para la imagen concatenada.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lit.tables import row

# --- Las condiciones y su valor nulo -------------------------------------------------------------

PADDING, START = 0, 1
"""Los dos tokens que no son palabras: el relleno y el que abre toda frase."""


class Condition(NamedTuple):
    """Una fila: cómo es una condición que llega a la red por su nombre.

    `null(value, num_classes)` da, con la forma de `value`, el valor que no dice nada;
    `wanted(config)`, si la lleva la red que tiene esa configuración, p. ej. un `UNetConfig`.
    """

    null: Callable[[Tensor, int | None], Tensor]
    wanted: Callable[[Any], bool]


def _null_class(value: Tensor, num_classes: int | None) -> Tensor:
    if num_classes is None:
        raise ValueError(
            "La condición lleva «class_labels» y no se sabe cuál es la clase "
            "nula: da num_classes, el número de clases de la red."
        )
    return torch.full_like(value, num_classes)


def _null_tokens(value: Tensor, num_classes: int | None) -> Tensor:
    null = torch.full_like(value, PADDING)
    null[:, 0] = START
    return null


CONDITIONS: dict[str, Condition] = {
    "class_labels": Condition(
        _null_class, lambda config: bool(getattr(config, "num_classes", None))
    ),
    "tokens": Condition(
        _null_tokens, lambda config: bool(getattr(config, "vocabulary", ()))
    ),
    "scalars": Condition(
        lambda value, num_classes: torch.full_like(value, torch.nan),
        lambda config: bool(getattr(config, "num_scalars", 0)),
    ),
    # Una imagen concatenada no se anula: sin ella no hay tarea.
    "image": Condition(
        lambda value, num_classes: value,
        lambda config: bool(getattr(config, "condition_channels", 0)),
    ),
}
"""Las condiciones que se conocen, por el nombre con que llegan a la red."""


def null_condition(
    condition: Mapping[str, Tensor], num_classes: int | None = None
) -> dict[str, Tensor]:
    """La condición que no dice nada, con las mismas formas que otra.

    La clase nula es la que sigue a la última; la frase nula, la que no tiene palabras; el
    escalar nulo, NaN. Una imagen concatenada no se anula: sin ella no hay tarea.

    Args:
        condition: las condiciones, por su nombre.
        num_classes: cuántas clases conoce la red; solo hace falta si hay `class_labels`.

    Returns:
        Otro diccionario con las mismas claves y formas.

    Raises:
        ValueError: si una condición no está en `CONDITIONS`, o hay clases y no se sabe cuántas.
    """
    return {
        name: row(
            CONDITIONS, name, "No se sabe cuál es el valor nulo de la condición"
        ).null(value, num_classes)
        for name, value in condition.items()
    }


def wanted_conditions(config: Any) -> list[str]:
    """Los nombres de las condiciones que lleva una red, según su configuración."""
    return [name for name, each in CONDITIONS.items() if _wanted(each, config)]


def _wanted(condition: Condition, config: Any) -> bool:
    try:
        return condition.wanted(config)
    except AttributeError:
        # Una configuración de otra red no tiene por qué conocer ese campo.
        return False


def drop_condition(
    condition: Mapping[str, Tensor], null: Mapping[str, Tensor], dropped: Tensor
) -> dict[str, Tensor]:
    """Apaga la condición de algunos ejemplos: solo la de los que se marcan.

    Args:
        condition: las condiciones, tensores (B, …).
        null: las condiciones nulas, con las mismas formas.
        dropped: qué ejemplos se quedan sin condición, bool (B,).

    Returns:
        Las condiciones, con las filas marcadas tomadas de `null`.
    """
    return {
        name: torch.where(
            dropped.view(-1, *(1,) * (value.ndim - 1)), null[name], value
        )
        for name, value in condition.items()
    }


def check_data(name: str, value: Tensor) -> None:
    """Rechaza con una frase unos datos que no están a la escala de siempre, [-1, 1].

    Args:
        name: cómo se llaman, para el error.
        value: los datos; se admite que se salgan un poco.

    Raises:
        TypeError: si no son un tensor.
        ValueError: si no son de coma flotante o finitos, o se salen mucho.
    """
    check_finite(name, value)
    largest = float(value.abs().max()) if value.numel() else 0.0
    if largest > 2:
        raise ValueError(
            f"«{name}» llega hasta {largest:.4g} y los datos viven en [-1, 1]: "
            "si es una imagen de 0 a 255, pásala por x / 127.5 - 1."
        )


def check_finite(name: str, value: Tensor) -> None:
    """Rechaza con una frase lo que no es un tensor de números finitos (véase `check_data`)."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"«{name}» es un {type(value).__name__} y debe ser un tensor, en "
            "[-1, 1]."
        )
    if not value.is_floating_point():
        raise ValueError(
            f"«{name}» es de tipo {value.dtype} y debe ser de coma flotante, "
            "en [-1, 1]; si es una imagen de 0 a 255, pásala por "
            "x / 127.5 - 1."
        )
    if not bool(value.isfinite().all()):
        raise ValueError(
            f"«{name}» tiene valores que no son finitos (NaN o infinito)."
        )


# --- Las palabras -------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Las palabras de una frase, en minúsculas y sin tildes (la ñ se queda).

    De `"Corazón Añil, con 2 lazos"` a `["corazon", "añil", "con", "2", "lazos"]`.
    """
    decomposed = unicodedata.normalize("NFD", text.lower())
    without_accents = re.sub(
        r"(?<!n)\u0303|[\u0300-\u0302\u0304-\u036f]", "", decomposed
    )
    return re.findall(r"\w+", unicodedata.normalize("NFC", without_accents))


def build_vocabulary(captions: Iterable[str]) -> tuple[str, ...]:
    """Las palabras distintas de unas frases, en orden alfabético."""
    return tuple(
        sorted({word for caption in captions for word in words(caption)})
    )


def tokenize(
    captions: Sequence[str], vocabulary: Sequence[str], length: int
) -> Tensor:
    """Convierte frases en números: un token de inicio, uno por palabra y relleno.

    Args:
        captions: N frases.
        vocabulary: las palabras que la red conoce; la primera es el token 2.
        length: L, los tokens de cada frase.

    Returns:
        int64 (N, L).

    Raises:
        ValueError: si una palabra no está en el vocabulario, o una frase no cabe.
    """
    known = {
        word: number for number, word in enumerate(vocabulary, start=START + 1)
    }
    tokens = torch.full((len(captions), length), PADDING)
    tokens[:, 0] = START
    for line, caption in zip(tokens, captions, strict=True):
        found = words(caption)
        unknown = [word for word in dict.fromkeys(found) if word not in known]
        if unknown:
            raise ValueError(_unknown_words(unknown, caption, known))
        if len(found) >= length:
            raise ValueError(
                f"«{caption}» tiene {len(found)} palabras y la red lee como "
                f"mucho {length - 1}: acórtala."
            )
        line[1 : 1 + len(found)] = torch.tensor(
            [known[word] for word in found], dtype=torch.int64
        )
    return tokens


def _unknown_words(
    unknown: Sequence[str], caption: str, known: Collection[str]
) -> str:
    """Qué palabras de una frase no se conocen, y cuáles se les parecen."""
    rest = f"Conoce {len(known)} palabras: usa solo esas."
    if len(unknown) == 1:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        hint = f" ¿Querías decir «{'», «'.join(near)}»?" if near else ""
        return (
            f"La red no conoce la palabra «{unknown[0]}» de «{caption}».{hint} "
            f"{rest}"
        )
    listed = with_nearest(unknown, known)
    return f"La red no conoce las palabras {listed} de «{caption}». {rest}"


def with_nearest(unknown: Sequence[str], known: Collection[str]) -> str:
    """Unas palabras que no se conocen, cada una con las conocidas que se le parecen.

    Por ejemplo, `"«corason» (¿«corazon»?) y «verde»"`.

    Args:
        unknown: las palabras; al menos una.
        known: las que se conocen, sin mayúsculas ni tildes.
    """
    named = []
    for word in unknown:
        near = difflib.get_close_matches(word, known, n=3)
        named.append(
            f"«{word}»" + (f" (¿«{'», «'.join(near)}»?)" if near else "")
        )
    *most, last = named
    return f"{', '.join(most)} y {last}" if most else last


def carry_words(
    rows: Tensor,
    vocabulary: Sequence[str],
    known_rows: Tensor,
    known_vocabulary: Sequence[str],
) -> Tensor:
    r"""Los vectores de un vocabulario, con los que otra red ya aprendió de sus palabras.

    Sirve para seguir entrenando con más palabras: las nuevas se quedan como estaban.

    Args:
        rows: los vectores de las palabras de `vocabulary` y, delante, los de los dos tokens que
            no son palabras: (V + 2, D).
        vocabulary: V palabras.
        known_rows: los de la otra red, (V' + 2, D).
        known_vocabulary: sus V' palabras.

    Returns:
        Tensor de forma (V + 2, D).
    """
    carried = rows.clone()
    carried[: START + 1] = known_rows[: START + 1]
    known = {
        word: number
        for number, word in enumerate(known_vocabulary, start=START + 1)
    }
    for number, word in enumerate(vocabulary, start=START + 1):
        if word in known:
            carried[number] = known_rows[known[word]]
    return carried


# --- El codificador de texto --------------------------------------------------------------------


class Text(NamedTuple):
    r"""Una tanda de frases ya leídas.

    `tokens` (B, L, D) lleva un vector por token; `summary` (B, D), uno por frase, y `mask`
    bool (B, 1, 1, L) dice qué tokens no son relleno.
    """

    tokens: Tensor
    summary: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    r"""Un transformer pequeño que lee frases, entrenado a la vez que la U-Net.

    Cada palabra es un vector que se aprende, más otro que dice en qué lugar está; las capas
    dejan que unas palabras miren a otras (Vaswani et al. 2017, arXiv:1706.03762). El vector
    del token de inicio resume la frase.

    Args:
        vocabulary_size: cuántas palabras conoce.
        dim: D, la dimensión de sus vectores; múltiplo de `heads`.
        layers: cuántas capas de atención.
        length: L, cuántos tokens lee.
        heads: cabezas de atención.
        dropout: probabilidad de apagar cada activación, solo al entrenar.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        dim: int = 128,
        layers: int = 2,
        length: int = 12,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(
            vocabulary_size + START + 1, dim, padding_idx=PADDING
        )
        self.positions = nn.Parameter(torch.randn(length, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            dim,
            heads,
            2 * dim,
            dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Text:
        """Lee int64 (B, L).

        Raises:
            ValueError: si los tokens no tienen forma (B, L) con la L de la red.
        """
        length = len(self.positions)
        if tokens.ndim != 2 or tokens.shape[1] != length:
            raise ValueError(
                f"tokens tiene forma {tuple(tokens.shape)}, y se esperaba (B, "
                f"{length}): usa ddpm_lit.conditioning.tokenize."
            )
        h = self.embedding(tokens) + self.positions
        h = self.norm(self.layers(h, src_key_padding_mask=tokens == PADDING))
        return Text(h, h[:, 0], (tokens != PADDING)[:, None, None, :])
