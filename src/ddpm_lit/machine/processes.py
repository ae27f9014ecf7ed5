r"""Varios procesos que trabajan juntos: cada uno hace su parte de cada lote.

El azar de cada ejemplo y de cada muestra depende de la semilla y de su índice, no de quién lo
calcule: con 1, con 2 o con 8 procesos salen, salvo redondeo, la misma curva de la pérdida y las
mismas muestras, y un entrenamiento se puede parar con unos y seguir con otros. (El *dropout* de las
capas sí es de cada proceso.)

El motor es `accelerate`: si quien lanza el programa ha puesto varios procesos (`torchrun`,
`accelerate launch` o `ddpm-lit … --processes N`, que los lanza), aquí se entera.
"""

import atexit
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lit.machine.devices import choose_device
from ddpm_lit.machine.extras import require

PATIENCE = timedelta(days=30)
"""Cuánto se espera a los demás: siempre. Si muere uno, quien los lanzó detiene al resto."""


class Processes:
    """Este proceso, solo o entre los que trabajan juntos.

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
        """Las filas que le tocan de `size`: seguidas y a partes iguales; quizá, ninguna."""
        return self._shares(size)[self.index]

    def joined(self, part: Tensor, size: int) -> Tensor:
        """Las `size` filas, en orden, con lo que ha hecho cada proceso.

        Args:
            part: lo de este, (len(rows(size)), …); en todos, del mismo tipo y en la CPU.
            size: cuántas filas hay entre todos.

        Returns:
            (size, …), en la CPU y en todos los procesos.
        """
        if self._accelerator is None or size == 0:
            return part
        shares = self._shares(size)
        # Lo que se envía mide lo mismo en todos.
        padded = part.new_zeros(len(shares[0]), *part.shape[1:])
        padded[: len(part)] = part
        found = self._accelerator.gather(padded.to(self.device)).cpu()
        parts = zip(found.split(len(padded)), shares, strict=True)
        return torch.cat([each[: len(rows)] for each, rows in parts])

    def parallel(self, model: nn.Module, parts: int) -> Callable[..., Tensor]:
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

    def sum(self, value: Tensor) -> Tensor:
        """La suma de lo que tiene cada proceso."""
        if self._accelerator is None:
            return value
        shared: Tensor = self._accelerator.reduce(value.to(self.device), "sum")
        return shared.to(value.device)

    def any(self, flag: bool) -> bool:
        """Si es cierto en alguno."""
        return bool(self.sum(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        """Espera a que todos lleguen hasta aquí."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()

    def _shares(self, size: int) -> list[range]:
        """Las filas de cada proceso; las de los primeros, si no son iguales, una más."""
        ends = [
            index * (size // self.count) + min(index, size % self.count)
            for index in range(self.count + 1)
        ]
        return [*map(range, ends, ends[1:])]


ALONE = Processes(torch.device("cpu"))
"""Un proceso solo, que calcula en la CPU."""


def processes_for(device: str | torch.device | None = None) -> Processes:
    """Los procesos que se han lanzado con este, o él solo.

    Args:
        device: el dispositivo de un proceso que está solo; `None`, el mejor que haya. De varios,
            dice si calculan en la CPU; en CUDA, cada uno lo hace en la GPU que le toca.

    Returns:
        Este proceso, con los demás.

    Raises:
        ModuleNotFoundError: si hay varios y no está `accelerate`.
        ValueError: si el dispositivo no existe en esta máquina.
    """
    chosen = choose_device(None if device is None else str(device))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(chosen)
    accelerate = require(
        "accelerate",
        package="accelerate",
        extra="procesos",
        purpose="Trabajar con varios procesos",
    )
    cpu = chosen.type == "cpu"
    accelerator = accelerate.Accelerator(
        cpu=cpu,
        kwargs_handlers=[accelerate.InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    atexit.register(_say_goodbye, accelerator.state)
    return Processes(chosen if cpu else accelerator.device, accelerator)


def _say_goodbye(state: Any) -> None:
    """Deja que los hilos con que hablan suelten lo último que enviaron.

    Para eso necesitan el intérprete, y si lo piden cuando ya se está cerrando, el proceso aborta.
    """
    state.destroy_process_group()
    time.sleep(0.2)
