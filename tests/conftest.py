"""Lo que comparten los tests: los schedules y la comparación que deja escrito su error."""

import signal
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

from ddpm_lit.scheduler import BETAS, Schedule, make_schedule

cached_schedule = cache(make_schedule)


class FailuresAtOnce:
    """Enseña cada fallo en cuanto ocurre; el final los cuenta enteros, como siempre."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        screen = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and screen is not None:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = f": {crash.message.splitlines()[0]}" if crash and crash.message else ""
            screen.write(f"\n{report.nodeid}{reason}\n", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config), "failures-at-once")


@pytest.fixture(scope="session", autouse=True)
def usual_interrupt() -> Iterator[None]:
    """Ctrl-C interrumpe, aunque a pytest lo hayan lanzado en segundo plano, que lo ignora."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", params=list(BETAS))
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """Cada uno de los schedules con nombre, con T = 1000."""
    return cached_schedule(request.param, 1000)


@pytest.fixture(scope="session")
def linear() -> Schedule:
    """El schedule del artículo de DDPM."""
    return cached_schedule("linear", 1000)


@pytest.fixture(scope="session")
def short() -> Schedule:
    """Un schedule de 50 pasos, para lo que hay que recorrer entero."""
    return cached_schedule("linear", 50)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20200619)


@pytest.fixture
def agree(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Compara dos tensores y apunta en el informe de pytest el mayor error que ha visto.

    El error es relativo a la escala de lo esperado: max|a - b| / max|b|. El libro lo enseña
    junto a la ecuación (propiedad `relative_error` del test).
    """
    worst = 0.0

    def check(
        actual: Tensor | float, expected: Tensor | float, *, rtol: float = 1e-12, atol: float = 0.0
    ) -> None:
        nonlocal worst
        a = torch.as_tensor(actual, dtype=torch.float64)
        b = torch.as_tensor(expected, dtype=torch.float64).expand_as(a)
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
        finite = b.isfinite()
        if finite.any():
            scale = b[finite].abs().max().item() or 1.0
            worst = max(worst, ((a - b)[finite].abs().max() / scale).item())
        record_property("relative_error", worst)

    return check
