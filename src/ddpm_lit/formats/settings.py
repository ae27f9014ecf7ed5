"""Un fichero de configuración ajeno: se lee con cuidado y se rechaza por el nombre del campo."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_FILE = 8 * 2**20
"""Los bytes que puede ocupar una configuración: una de verdad no llega a cien mil."""


@dataclass(frozen=True)
class Settings:
    """Los valores de un fichero de configuración, con su nombre para los errores.

    Los campos que empiezan por «_» son notas de quien lo escribió, y uno nulo es uno que falta
    si su valor por defecto no es nulo.

    Args:
        values: los valores, por el nombre del campo.
        file: cómo se llama el fichero.
    """

    values: Mapping[str, Any]
    file: str

    def refusal(self, name: str, value: Any, admitted: str) -> ValueError:
        """El error de un campo que no vale: dónde está, cuánto vale y qué se admite."""
        return ValueError(
            f"En «{self.file}», el campo «{name}» vale {_shown(value)}, y se admite {admitted}."
        )

    def get(self, name: str, default: Any) -> Any:
        """El valor de un campo, o el que tiene si no se dice."""
        value = self.values.get(name)
        return default if value is None else value

    def integer(
        self, name: str, default: Any, *, most: int, least: int = 1
    ) -> int:
        """Un entero entre `least` y `most`.

        Raises:
            ValueError: si no lo es.
        """
        value = self.get(name, default)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= most:
            raise self.refusal(name, value, f"un entero de {least} a {most}")
        return int(value)

    def number(self, name: str, default: Any, *, most: float) -> float:
        """Un número mayor que 0 y menor que `most`.

        Raises:
            ValueError: si no lo es.
        """
        value = self.get(name, default)
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if not numeric or not 0 < value < most:
            raise self.refusal(
                name, value, f"un número mayor que 0 y menor que {most:g}"
            )
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Un valor lógico.

        Raises:
            ValueError: si no lo es.
        """
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refusal(name, value, "true o false")
        return value

    def several(self, name: str, *, most: int) -> list[Any]:
        """Una lista de 1 a `most` valores, que no puede faltar.

        Raises:
            ValueError: si no lo es.
        """
        value = self.values.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.refusal(name, value, f"una lista de 1 a {most} valores")
        return value

    def choice(
        self, name: str, default: Any, meanings: Mapping[Any, Any]
    ) -> Any:
        """Lo que significa el valor de un campo, que es uno de unos pocos.

        Args:
            name: el campo.
            default: el valor que tiene si no se dice.
            meanings: lo que significa cada valor admitido.

        Raises:
            ValueError: si no es ninguno.
        """
        value = self.get(name, default)
        if not isinstance(value, str) or value not in meanings:
            raise self.refusal(name, value, ", ".join(map(_shown, meanings)))
        return meanings[value]

    def only(self, name: str, default: Any, *admitted: Any) -> None:
        """Exige que un campo, se diga o no, valga lo único que se sabe representar.

        Args:
            name: el campo.
            default: el valor que tiene si no se dice.
            *admitted: los valores con que nada cambia.

        Raises:
            ValueError: si vale otra cosa.
        """
        value = self.get(name, default)
        same = (
            value == each and isinstance(value, bool) == isinstance(each, bool)
            for each in admitted
        )
        if not any(same):
            raise self.refusal(name, value, " o ".join(map(_shown, admitted)))

    def nothing_else(self, known: Collection[str]) -> None:
        """Rechaza un campo que no se conoce, si dice algo.

        Raises:
            ValueError: si hay alguno.
        """
        for name, value in self.values.items():
            if (
                name not in known
                and not name.startswith("_")
                and value is not None
            ):
                raise ValueError(
                    f"En «{self.file}» hay un campo que no se sabe qué significa, «{name}» "
                    f"(vale {_shown(value)}): quítalo si no cambia nada, o usa un modelo sin él."
                )


def read_json(path: Path) -> Settings:
    """Lee un fichero JSON, que debe ser un diccionario.

    Raises:
        FileNotFoundError: si no existe.
        ValueError: si es enorme, no es JSON o no es un diccionario.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Falta el fichero «{path}».")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise ValueError(
            f"«{path}» ocupa {size / 2**20:.0f} MiB, y una configuración no llega a "
            f"{LARGEST_FILE // 2**20}: no lo es, o está dañada."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"«{path}» no es JSON, o está a medias ({error}): vuelve a descargarlo."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(
            f"«{path}» guarda un {type(values).__name__}, y se esperaba un diccionario: no es una "
            "configuración de diffusers."
        )
    return Settings(values, str(path))


def _shown(value: Any) -> str:
    """Un valor como está escrito en el fichero, recortado."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}…"
