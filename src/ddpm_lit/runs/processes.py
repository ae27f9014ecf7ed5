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
    """Este proceso, solo o entre los que entrenan juntos.

    Attributes:
        device: dónde calcula.
        index: cuál es, desde 0.
        count: cuántos hay.

    Args:
        device: dónde calcula.
        accelerator: el `Accelerator` de `accelerate`, si hay varios.
    """

    def __init__(self, device: torch.device, accelerator: Any = None) -> None:
        self.device, self._accelerator = device, accelerator
        self.index, self.count = 0, 1
        if accelerator is not None:
            self.index = accelerator.process_index
            self.count = accelerator.num_processes

    @property
    def main(self) -> bool:
        """Si es el que escribe los ficheros y habla con quien mira."""
        return self.index == 0

    def rows(self, size: int) -> range:
        """Los ejemplos de un lote global de `size` que le tocan: seguidos y a partes iguales."""
        whole, more = divmod(size, self.count)
        first = self.index * whole + min(self.index, more)
        return range(first, first + whole + (self.index < more))

    def parallel(self, model: nn.Module, parts: int) -> Model:
        """Una red que, al derivar el último de los `parts` trozos de un lote, promedia gradientes.

        Args:
            model: la red.
            parts: en cuántos trozos hace este proceso lo suyo de cada lote.

        Returns:
            La misma red si el proceso está solo.
        """
        if self._accelerator is None:
            return model
        shared, turn = self._accelerator.prepare_model(model), 0

        def call(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
            nonlocal turn
            turn = (turn + 1) % parts
            waiting = (
                self._accelerator.no_sync(shared) if turn else nullcontext()
            )
            with waiting:
                out: Tensor = shared(x_t, t, **condition)
                return out

        return call

    def mean(self, value: Tensor) -> Tensor:
        """La media de lo que tiene cada proceso."""
        if self._accelerator is None:
            return value
        shared: Tensor = self._accelerator.reduce(value, "mean")
        return shared

    def any(self, flag: bool) -> bool:
        """Si es cierto en alguno."""
        if self._accelerator is None:
            return flag
        asked = torch.tensor(float(flag), device=self.device)
        return bool(self._accelerator.reduce(asked, "sum") > 0)

    def wait(self) -> None:
        """Espera a que todos lleguen hasta aquí."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


def processes_for(choose: Callable[[], torch.device]) -> Processes:
    """Los procesos que se han lanzado con este, o él solo.

    Args:
        choose: el dispositivo de un proceso que está solo.

    Returns:
        Este proceso, con los demás.

    Raises:
        ModuleNotFoundError: si hay varios y no está `accelerate`.
    """
    device = choose()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device)
    accelerate = require(
        "accelerate",
        package="accelerate",
        extra="procesos",
        purpose="Entrenar con varios procesos",
    )
    accelerator = accelerate.Accelerator(cpu=device.type == "cpu")
    return Processes(accelerator.device, accelerator)
