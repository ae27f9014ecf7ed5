"""Las órdenes del libro que dibujan una frase: lo que sale es lo que se pide."""

import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts.build.composition import as_asked
from scripts.build.emoji_samples import every_emoji

from ddpm_lit.cli import main
from ddpm_lit.files.images import grid, save_png
from test_cli import commands_of_the_book

DRAWN = [
    command
    for command in commands_of_the_book()
    if command.startswith("ddpm-lit sample") and "--text" in command
]
ENOUGH = 0.75
"""La parte de los dibujos que han de ser lo que se pide."""


def test_the_book_draws_some_texts() -> None:
    assert len(DRAWN) >= 3


@pytest.mark.parametrize("command", DRAWN)
def test_what_is_drawn_is_what_is_asked(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    asked = [word for option, word in pairwise(words) if option == "--text"]
    few = [] if "-n" in words else ["-n", str(2 * len(asked))]
    emoji = every_emoji()
    monkeypatch.chdir(tmp_path)
    if "--inpaint" in words:
        half = emoji.x[emoji.captions.index(asked[0])].clone()
        half[:, :, 16:] = 0
        hole = torch.full((1, 1, 32, 32), -1.0)
        hole[..., 16:] = 1
        save_png(grid(half[None], padding=0, scale=1), words[words.index("--inpaint") + 1])
        save_png(grid(hole, padding=0, scale=1), words[words.index("--mask") + 1])
    with pytest.raises(SystemExit) as stop:
        main([*words, *few, "--tensors", "muestras.safetensors"])
    assert stop.value.code == 0
    drawn = load_file("muestras.safetensors")["samples"]
    right = as_asked(drawn, [asked[i % len(asked)] for i in range(len(drawn))])
    assert sum(right) >= ENOUGH * len(right), right
