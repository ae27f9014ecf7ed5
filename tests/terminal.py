"""La orden `ddpm-lit`, ejecutada desde un test."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from ddpm_lit.cli import main


class Result(NamedTuple):
    """Con qué código ha acabado una orden y qué ha dicho."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def invoker(capfd: pytest.CaptureFixture[str]) -> Run:
    """Una función que ejecuta la orden con unas palabras."""

    def invoke(*words: str) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(words)
        captured = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return Result(stop.value.code, captured.out, captured.err)

    return invoke
