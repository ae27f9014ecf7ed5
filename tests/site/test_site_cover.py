"""La animación de la portada: dice la verdad de lo que enseña y enlaza en bucle."""

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("matplotlib")

from scripts.build.emoji_samples import training_emoji, unseen
from scripts.figures import cover
from scripts.figures.style import DARK, LIGHT, Palette, themed

NAMES = [name for act in cover.ACTS for name in act]


def test_every_sentence_was_seen_in_training() -> None:
    captions = set(training_emoji().captions)
    assert set(NAMES) <= captions
    assert not set(NAMES) & set(unseen())


def test_the_sentences_share_one_noise_and_the_forward_process_joins_the_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cover, "STEPS", 1)
    cover.journeys.cache_clear()
    drawn, undone = cover.journeys()
    cover.journeys.cache_clear()
    assert torch.equal(drawn[0], drawn[0, :1].expand_as(drawn[0]))
    previous = drawn[-1].roll(len(cover.ACTS[0]), dims=0)
    assert (undone[0] - previous).abs().mean() < 0.1
    assert (undone[-1] - drawn[0]).abs().mean() < 0.01


def coloured(levels: Tensor) -> Tensor:
    """Una imagen lisa por nivel: (niveles, 3, 32, 32)."""
    return levels[:, None, None, None].expand(-1, 3, 32, 32)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=lambda palette: palette.name)
@pytest.mark.parametrize("columns", [2, 4])
def test_the_film_loops_and_ends_each_act_with_its_drawings(
    monkeypatch: pytest.MonkeyPatch, palette: Palette, columns: int
) -> None:
    levels = torch.linspace(-0.9, 0.9, len(NAMES))
    drawn = torch.stack([coloured(torch.zeros(len(NAMES))), coloured(levels)])
    previous = coloured(levels.roll(len(cover.ACTS[0])))
    undone = torch.stack([previous] * cover.DISSOLVE)
    monkeypatch.setattr(cover, "journeys", lambda: (drawn, undone))
    with themed(palette):
        film = cover.animate(palette, columns=columns)
    frames = np.stack([np.asarray(frame) for frame in film[:: cover.HELD]]).astype(float)
    assert np.array_equal(np.asarray(film[0]), np.asarray(film[-1]))

    side, gap = (round(length * cover.DPI) for length in (cover.SIDE, cover.GAP))
    card = round(cover.CARD * cover.DPI)
    middles = [
        (n // columns * card + side // 2, n % columns * (side + gap) + side // 2) for n in range(4)
    ]
    shown = np.stack([frames[:, row, column, 0] for row, column in middles], axis=1)
    for act in range(len(cover.ACTS)):
        wanted = 127.5 * (levels[4 * act : 4 * act + 4].numpy() + 1)
        assert (np.abs(shown - wanted) < 1.5).all(axis=1).sum() >= cover.HOLD // 2
    background = np.asarray(film[0])[-1, 0].astype(float)
    below = frames[:, side + 8 : card - 4, :side]
    ink = (np.abs(below - background).max(axis=3) > 60).sum(axis=(1, 2))
    assert ink.max() > 100, "no se lee la frase"
    assert ink.min() == 0, "la frase no llega a borrarse"


def test_a_sentence_fits_under_its_drawing() -> None:
    with themed(LIGHT):
        page = cover.plt.figure(figsize=(4, 3), dpi=cover.DPI).add_axes((0, 0, 1, 1))
        for name in NAMES:
            lines = cover.typeset(page, name)
            assert len(lines) <= cover.LINES, name
            assert " ".join(line.text for line in lines) == f"«{name}»"
            assert all(line.indent > -cover.GAP / 2 for line in lines), name
        cover.plt.close("all")
