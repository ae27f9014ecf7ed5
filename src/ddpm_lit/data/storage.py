r"""Cómo se guardan los datos: en 8 bits o en float32, en la memoria o en un fichero.

Una imagen de 8 bits ocupa la cuarta parte que en float32. Se guarda así, y solo se convierte lo
que se pide, cuando se pide y donde se va a usar.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

_PART = 2**18
_AT_ONCE = 4


def to_float(values: Tensor) -> Tensor:
    r"""De enteros de 8 bits a $[-1, 1]$: $v / 127{,}5 - 1$, en float32.

    Da lo mismo, bit a bit, en cualquier dispositivo: por eso el divisor es un tensor. Por un
    número, PyTorch no divide en CUDA, sino que multiplica por el inverso, que redondea distinto.

    Args:
        values: uint8 de cualquier forma, o float32, que se queda como está.

    Returns:
        float32 de la misma forma y en el mismo dispositivo.
    """
    if values.dtype != torch.uint8:
        return values
    half = torch.full((), 127.5, device=values.device)
    return values.to(torch.float32).div_(half).sub_(1)


def send(values: Tensor, device: torch.device | None) -> Tensor:
    """Lleva un tensor a un dispositivo; a CUDA, por memoria fijada y sin esperar.

    Args:
        values: el tensor.
        device: el dispositivo; `None`, donde esté.

    Returns:
        El tensor en el dispositivo; el mismo, si ya estaba.
    """
    if device is None or values.device == device:
        return values
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def deliver(
    stored: Mapping[str, Tensor], device: torch.device | None
) -> dict[str, Tensor]:
    """Un lote tal como está guardado (`Dataset.stored_batch`), listo para la red.

    Args:
        stored: los tensores del lote; los datos, en `x`.
        device: dónde se entrega; `None`, donde esté.

    Returns:
        Los mismos en el dispositivo, con `x` en float32: los 8 bits se convierten ya allí.
    """
    sent = {name: send(value, device) for name, value in stored.items()}
    return sent | {"x": to_float(sent["x"])}


@dataclass(frozen=True, eq=False)
class Store:
    """Datos tal como están guardados, y cuáles de ellos y en qué orden.

    Attributes:
        values: lo guardado, uint8 o float32, de forma (M, …).
        rows: posiciones en `values`, int64 (N,); `None`, todas en su orden.
        mapping: el fichero del que `values` es la imagen en la memoria, o `None` si no lo es.
        digest: suma SHA-256 de ese fichero, o vacía.
    """

    values: Tensor
    rows: Tensor | None = None
    mapping: mmap.mmap | None = None
    digest: str = ""

    @classmethod
    def from_file(
        cls, path: Path, shape: tuple[int, ...], digest: str = ""
    ) -> "Store":
        """Un fichero de bytes como datos de 8 bits, que el sistema trae según se piden.

        Args:
            path: el fichero, que mide lo que dice `shape`.
            shape: (M, …).
            digest: su suma SHA-256.

        Raises:
            OSError: si el fichero no se puede abrir.
            ValueError: si está vacío o no mide lo que se espera.
        """
        with open(path, "rb") as file:
            # Una copia privada, en la que nadie escribe: PyTorch no quiere memoria de solo lectura.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        flat = torch.frombuffer(mapping, dtype=torch.uint8)
        if flat.numel() != torch.Size(shape).numel():
            raise ValueError(
                f"El fichero «{path}» mide {flat.numel()} bytes y se esperaban "
                f"{torch.Size(shape).numel()}."
            )
        return cls(flat.view(shape), mapping=mapping, digest=digest)

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """La forma de los datos elegidos, (N, …)."""
        return (len(self), *self.values.shape[1:])

    @property
    def nbytes(self) -> int:
        """Lo que ocupan los datos elegidos, en bytes."""
        return torch.Size(self.shape).numel() * self.values.element_size()

    def take(self, indices: Tensor) -> Tensor:
        """Una copia de los datos pedidos, tal como están guardados.

        Args:
            indices: posiciones entre los N elegidos, int64 (B,).

        Returns:
            uint8 o float32, (B, …).
        """
        chosen = indices if self.rows is None else self.rows[indices]
        if self.mapping is None:
            return self.values[chosen]
        shape = (len(chosen), *self.values.shape[1:])
        taken = torch.empty(shape, dtype=torch.uint8)
        # El sistema trae megabytes alrededor de cada dato. Se le devuelven cada pocas filas: se
        # quedan en su caché, pero no en la memoria de este proceso.
        parts = torch.split(taken, _AT_ONCE)
        for rows, part in zip(
            torch.split(chosen, _AT_ONCE), parts, strict=True
        ):
            part.copy_(self.values[rows])
            if hasattr(mmap, "MADV_DONTNEED"):
                self.mapping.madvise(mmap.MADV_DONTNEED)
        return taken

    def subset(self, indices: Tensor) -> "Store":
        """Solo algunos de los datos, sin copiarlos.

        Args:
            indices: posiciones entre los N elegidos, int64 (M,).
        """
        return replace(
            self, rows=indices if self.rows is None else self.rows[indices]
        )

    def parts(self) -> Iterator[Tensor]:
        """Todos los datos, de unas cuantas filas en unas cuantas."""
        each = max(1, torch.Size(self.shape[1:]).numel())
        for rows in torch.split(torch.arange(len(self)), max(1, _PART // each)):
            yield self.take(rows)

    def copy(self, device: torch.device | str) -> Tensor:
        """Todos los datos elegidos, como están guardados, en otro dispositivo y por partes."""
        return self._gathered(self.values.dtype, device)

    def floats(self) -> Tensor:
        """Todos los datos a la vez, en float32; sin copiarlos, si ya estaban así."""
        if self.rows is None and self.values.dtype != torch.uint8:
            return self.values
        return self._gathered(torch.float32, self.values.device)

    def _gathered(
        self, dtype: torch.dtype, device: torch.device | str
    ) -> Tensor:
        whole = torch.empty(self.shape, dtype=dtype, device=device)
        start = 0
        for part in self.parts():
            rows = whole[start : start + len(part)]
            rows.copy_(part if dtype == part.dtype else to_float(part))
            start += len(part)
        return whole
