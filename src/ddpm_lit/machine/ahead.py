"""Hacer por delante, en otros hilos, lo que se va a pedir después."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cuántos núcleos puede usar este proceso, que pueden ser menos que los de la máquina."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int = 1,
    depth: int = 2,
) -> Iterator[R]:
    """Lo mismo que `map`, y en el mismo orden, pero con los siguientes ya en marcha.

    Sirve cuando la función suelta el intérprete: leer del disco, copiar memoria, descomprimir.

    Args:
        function: la función.
        items: lo que se le da; se va pidiendo según hace falta.
        workers: cuántos hilos.
        depth: cuántos resultados se preparan por delante del que se espera.

    Yields:
        Los resultados. Si la función falla, la excepción sale cuando le toca a su resultado, y lo
        que aún no ha empezado no se hace.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
