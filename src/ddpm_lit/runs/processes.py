r"""Varios procesos que entrenan juntos: cada uno hace su parte de cada lote.

El lote global, su orden y su ruido son los de un solo proceso, porque dependen de la semilla, del
paso y del índice de cada ejemplo en el lote: con 1, con 2 o con 8 procesos la curva de la pérdida
es la misma salvo redondeo, y un entrenamiento se puede parar con unos y seguir con otros. (El
*dropout* de las capas sí es de cada proceso.)

El motor es `accelerate`: si quien lanza el programa ha puesto varios procesos (`torchrun`,
`accelerate launch` o `ddpm-lit train --processes N`, que los lanza), aquí se entera.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lit.backward import Model
from ddpm_lit.machine.extras import require


class Processes:
    """Este proceso, entre los que entrenan juntos.

    Attributes:
        index: cuál es, desde 0.
        count: cuántos hay.
        device: dónde calcula.
    """

    index, count = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def main(self) -> bool:
        """Si es el que escribe los ficheros y habla con quien mira."""
        return self.index == 0

    def rows(self, size: int) -> range:
        """Los ejemplos de un lote global de `size` que le tocan: seguidos, y a partes iguales."""
        whole, more = divmod(size, self.count)
        first = self.index * whole + min(self.index, more)
        return range(first, first + whole + (self.index < more))

    def parallel(self, model: nn.Module, parts: int) -> Model:
        """La red, que al derivar el último de los `parts` trozos promedia los gradientes."""
        return model

    def mean(self, values: Tensor) -> Tensor:
        """La media de lo que tiene cada proceso."""
        return values

    def any(self, flag: bool) -> bool:
        """Si es cierto en alguno."""
        return flag

    def wait(self) -> None:
        """Espera a que todos lleguen hasta aquí."""


class Together(Processes):
    """Este proceso, entre varios que ha lanzado `accelerate`."""

    def __init__(self, accelerator: Any) -> None:
        super().__init__(accelerator.device)
        self.accelerator = accelerator
        self.index, self.count = accelerator.process_index, accelerator.num_processes

    def parallel(self, model: nn.Module, parts: int) -> Model:
        shared = self.accelerator.prepare_model(model)
        turn = 0

        def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
            nonlocal turn
            turn = (turn + 1) % parts
            with self.accelerator.no_sync(shared) if turn else nullcontext():
                out: Tensor = shared(x_t, t, **condition)
                return out

        return call

    def mean(self, values: Tensor) -> Tensor:
        reduced: Tensor = self.accelerator.reduce(values, "mean")
        return reduced

    def any(self, flag: bool) -> bool:
        asked = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


def processes(choose: Callable[[], torch.device]) -> Processes:
    """Los procesos que han lanzado con este, o él solo.

    Args:
        choose: el dispositivo de un proceso que está solo.

    Returns:
        Este proceso, con los demás.

    Raises:
        ModuleNotFoundError: si hay varios y no está `accelerate`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(choose())
    accelerate = require(
        "accelerate",
        package="accelerate",
        extra="procesos",
        purpose="Entrenar con varios procesos",
    )
    return Together(accelerate.Accelerator(cpu=choose().type == "cpu"))
