"""Los lotes de un entrenamiento: que el dispositivo no espere a los datos."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ddpm_lit.data.dataset import Dataset
from ddpm_lit.data.storage import deliver
from ddpm_lit.machine.ahead import ahead

_ROOM = 4


def load_batches(
    dataset: Dataset,
    chosen: Iterable[Sequence[int]],
    device: torch.device,
) -> Iterator[dict[str, Tensor]]:
    """Los lotes pedidos, en su orden y ya en el dispositivo; los mismos que `Dataset.batch`.

    Los datos que ocupan menos de la cuarta parte de la memoria libre de una GPU se llevan a ella
    enteros, una vez. Los demás de una GPU, y en cualquier dispositivo los de un fichero, los
    prepara un hilo aparte mientras se usa el lote anterior.

    Args:
        dataset: los datos.
        chosen: los índices de cada lote.
        device: dónde se entregan.

    Yields:
        Un lote por cada elemento de `chosen`.
    """
    cuda = device.type == "cuda"
    if cuda and _size(dataset) * _ROOM < torch.cuda.mem_get_info(device)[0]:
        dataset = dataset.to(device)
    elif cuda or dataset.store.mapping is not None:

        def prepare(indices: Sequence[int]) -> dict[str, Tensor]:
            stored = dataset.stored_batch(indices)
            if not cuda:
                return stored
            return {name: value.pin_memory() for name, value in stored.items()}

        for stored in ahead(prepare, chosen):
            yield deliver(stored, device)
        return
    for indices in chosen:
        yield dataset.batch(indices, device)


def flipped(batch: Mapping[str, Tensor], flips: Tensor) -> dict[str, Tensor]:
    """Un lote con algunas de sus imágenes como en un espejo; la condición que es imagen, también.

    Args:
        batch: el lote, con imágenes (B, C, H, W) en `x`.
        flips: cuáles se voltean, bool (B,) (véase `noise.flip_draws`).

    Returns:
        Otro lote.

    Raises:
        ValueError: si los datos no son imágenes.
    """
    if batch["x"].ndim != 4:
        raise ValueError(
            f"Los datos tienen forma {tuple(batch['x'].shape[1:])} y solo se voltean imágenes, "
            "(C, H, W): quita data.flip de la receta."
        )
    mirrored = flips.to(batch["x"].device).view(-1, 1, 1, 1)
    return {
        name: torch.where(mirrored, value.flip(-1), value)
        if value.ndim == 4
        else value
        for name, value in batch.items()
    }


def _size(dataset: Dataset) -> int:
    conditions = sum(value.nbytes for value in dataset.conditions.values())
    return dataset.store.nbytes + conditions
