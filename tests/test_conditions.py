"""Las condiciones que se sacan de los datos: otra imagen o un número."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data.conditions import block_side, conditioned, greyscale, ink, low_resolution
from ddpm_lit.files.images import grid, load_picture, save_png
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.runs.train import Every, train

COLOUR = 2 * torch.rand(5, 3, 8, 12, generator=torch.Generator().manual_seed(1)) - 1


# --- Menos resolución ---------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_low_resolution_is_the_mean_of_each_block(factor: int) -> None:
    out = low_resolution(COLOUR, factor)
    assert out.shape == COLOUR.shape
    for row in range(0, 8, factor):
        for column in range(0, 12, factor):
            rows, columns = slice(row, row + factor), slice(column, column + factor)
            mean = COLOUR[:, :, rows, columns].mean(dim=(2, 3), keepdim=True)
            block = out[:, :, rows, columns]
            torch.testing.assert_close(block, mean.expand_as(block), rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_low_resolution_is_a_projection(factor: int) -> None:
    """Repetirla no quita nada más, conserva la media y lo que quita es ortogonal a lo que deja."""
    once = low_resolution(COLOUR, factor)
    torch.testing.assert_close(low_resolution(once, factor), once)
    torch.testing.assert_close(once.mean(dim=(2, 3)), COLOUR.mean(dim=(2, 3)))
    dot = (once * (COLOUR - once)).flatten(1).sum(1)
    torch.testing.assert_close(dot, torch.zeros(5), rtol=0, atol=1e-4)


# --- Gris ---------------------------------------------------------------------------------------


def test_greyscale_is_the_luma_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L")).copy()).float()
    levels = (greyscale(x)[0, 0] + 1) * 127.5
    assert (levels - expected).abs().max() <= 0.51


def test_greyscale_of_a_grey_image_is_itself() -> None:
    grey = torch.linspace(-1, 1, 24).reshape(1, 1, 4, 6)
    torch.testing.assert_close(greyscale(grey.expand(1, 3, 4, 6)), grey)


# --- Tinta --------------------------------------------------------------------------------------


def test_ink_counts_the_painted_fraction() -> None:
    x = torch.full((9, 1, 8, 8), -1.0)
    for row in range(9):
        x.flatten(1)[row, : 8 * row] = 1
    assert torch.equal(ink(x), torch.linspace(-1, 1, 9)[:, None])


def test_a_low_resolution_image_has_the_same_ink() -> None:
    x = load_dataset("digits").x[:50]
    torch.testing.assert_close(ink(low_resolution(x, 2)), ink(x))


# --- El conjunto entero -------------------------------------------------------------------------


def digits(**conditions: Any) -> Dataset:
    return conditioned(load_dataset("digits"), conditions)


def test_the_conditions_travel_with_their_data() -> None:
    data = digits(image="low_resolution", factor=4, scalars="ink")
    for part in (data, *split(data, 0.2, 0), data.subset([9, 3, 3])):
        batch = part.batch([2, 0, 1])
        assert batch.keys() == {"x", "class_labels", "image", "scalars"}
        assert torch.equal(batch["image"], low_resolution(batch["x"], 4))
        assert torch.equal(batch["scalars"], ink(batch["x"]))


def test_the_default_factor_is_two() -> None:
    data = digits(image="low_resolution")
    assert torch.equal(data.conditions["image"], low_resolution(data.x, 2))
    assert "scalars" not in data.conditions


def test_conditions_are_added_to_those_there_were() -> None:
    first = digits(scalars="ink")
    both = conditioned(first, {"image": "low_resolution"})
    assert both.conditions.keys() == {"scalars", "image"}
    assert conditioned(both, {"text": True}).conditions.keys() == {"scalars", "image"}
    assert first.conditions.keys() == {"scalars"}


@pytest.mark.parametrize(
    ("conditions", "side"),
    [
        ({}, 1),
        ({"image": "greyscale"}, 1),
        ({"scalars": "ink", "text": True}, 1),
        ({"image": "low_resolution"}, 2),
        ({"image": "low_resolution", "factor": 4}, 4),
    ],
)
def test_the_side_of_the_blocks_is_that_of_the_recipe(
    conditions: dict[str, Any], side: int
) -> None:
    assert block_side(conditions) == side
    if side > 1:
        x = COLOUR[:, :, :8, :8]
        made = conditioned(Dataset(x), conditions).conditions["image"]
        assert torch.equal(made, low_resolution(x, side))


def condition_of(path: Path, conditions: dict[str, Any]) -> Tensor:
    """La condición de un modelo de 32×32 en color, de una imagen que viene de fuera."""
    picture = load_picture(path, (3, 32, 32), factor=block_side(conditions))
    return conditioned(Dataset(picture.x[None]), conditions).conditions["image"]


def test_a_picture_from_outside_becomes_the_condition_of_the_training(tmp_path: Path) -> None:
    conditions = {"image": "low_resolution", "factor": 4}
    pixels = torch.randint(
        0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    save_png(grid(pixels, padding=0, scale=1), tmp_path / "grande.png")
    expected = low_resolution(pixels / 127.5 - 1, 4)
    assert torch.equal(condition_of(tmp_path / "grande.png", conditions), expected)
    # La misma imagen, ya reducida y con 8 bits: cada píxel, repetido en su bloque.
    small = ((expected[:, :, ::4, ::4] + 1) * 127.5).round().to(torch.uint8)
    save_png(grid(small, padding=0, scale=1), tmp_path / "chica.png")
    repeated = (small / 127.5 - 1).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(condition_of(tmp_path / "chica.png", conditions), repeated)
    assert (repeated - expected).abs().max() <= 0.51 / 127.5


@pytest.mark.parametrize(
    ("name", "condition", "channels"), [("digits-sr", "image", 1), ("digits-ink", "scalars", None)]
)
def test_the_recipes_bring_their_condition(name: str, condition: str, channels: int | None) -> None:
    recipe = load_recipe(name)
    batch = training_data(recipe).batch(range(4))
    value: Tensor = batch.pop(condition)
    expected = low_resolution(batch["x"], 2) if channels else ink(batch["x"])
    assert torch.equal(value, expected)
    model = recipe.build_model().eval()
    with torch.no_grad():
        out = model(batch["x"], torch.zeros(4, dtype=torch.int64), **{condition: value})
    assert out.shape == batch["x"].shape


@pytest.mark.parametrize("name", ["digits-sr", "digits-ink"])
def test_the_samples_drawn_while_training_get_their_condition(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, profile="smoke", overrides={"training.steps": 1})
    train(recipe, tmp_path, device="cpu", every=Every(sample=1), progress=False)
    with Image.open(tmp_path / "samples" / "0000001.png") as picture:
        assert picture.size[0] == picture.size[1] > 5 * 8


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            {"imagen": "greyscale"},
            r"«data.conditions.imagen».*image \(con factor\)",
        ),
        ({"image": "gris"}, "vale 'gris' y debe ser una de: low_resolution, greyscale"),
        ({"scalars": "peso"}, "vale 'peso' y debe ser una de: ink"),
        ({"image": "greyscale"}, "tienen 1 canales"),
        ({"image": "greyscale", "factor": 2}, "quita factor o cambia image"),
        ({"factor": 2}, "la imagen pedida es None"),
        ({"image": "low_resolution", "factor": 3}, "8×8 no se divide en bloques de 3×3"),
        ({"image": "low_resolution", "factor": 0}, "«factor» vale 0"),
    ],
)
def test_bad_conditions_are_refused(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits(**conditions)


def test_a_fractional_factor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"«factor».*2.5"):
        digits(image="low_resolution", factor=2.5)


@pytest.mark.parametrize("function", [low_resolution, greyscale, ink])
def test_points_have_no_such_conditions(function: Any) -> None:
    with pytest.raises(ValueError, match=r"\(10, 2\), y esta condición es para imágenes"):
        function(torch.zeros(10, 2))
