"""De tensores a ficheros de imagen: se escriben de verdad y se vuelven a leer."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ddpm_lit.files.images import (
    grid,
    load_mask,
    load_picture,
    points_image,
    save_gif,
    save_mp4,
    save_png,
    to_uint8,
    with_titles,
)
from ddpm_lit.files.opening import open_image


def frames(count: int = 5, size: tuple[int, int] = (20, 16)) -> list[Image.Image]:
    shades = np.linspace(0, 250, count).astype(np.uint8)
    return [Image.new("RGB", size, (int(shade), 0, 255 - int(shade))) for shade in shades]


def test_to_uint8_is_exact_at_every_level():
    values = torch.arange(256)
    assert torch.equal(to_uint8(values / 127.5 - 1), values.to(torch.uint8))
    assert to_uint8(torch.tensor([-3.0, -1.0, 0.001, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]


def test_to_uint8_rounds_to_the_nearest_level():
    digits = torch.arange(17) / 8 - 1
    expected = [round(255 * level / 16) for level in range(17)]
    assert to_uint8(digits, levels=17).tolist() == expected
    assert torch.equal(to_uint8(digits + 0.06, levels=17), to_uint8(digits, levels=17))
    assert to_uint8(torch.linspace(-1, 1, 1001), levels=2).unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("x", "levels", "error", "message"),
    [
        (torch.tensor([float("nan")]), None, ValueError, "NaN"),
        (torch.tensor([float("-inf")]), None, ValueError, "infinito"),
        (torch.tensor([1]), None, TypeError, "coma flotante"),
        (torch.zeros(1), 1, ValueError, "al menos 2"),
    ],
)
def test_to_uint8_refuses_bad_values(x, levels, error, message):
    with pytest.raises(error, match=message):
        to_uint8(x, levels)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_drawn_alike(kind):
    x = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8).to(kind)
    assert torch.equal(to_uint8(x), to_uint8(x.float()))
    assert torch.equal(to_uint8(x, levels=17), to_uint8(x.float(), levels=17))
    assert np.array_equal(np.asarray(grid(x)), np.asarray(grid(x.float())))
    points = x.reshape(-1, 2)
    assert np.array_equal(
        np.asarray(points_image(points)), np.asarray(points_image(points.float()))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_puts_each_image_in_its_place_and_png_reads_back_equal(tmp_path, channels):
    images = torch.randint(0, 256, (5, channels, 3, 4), dtype=torch.uint8)
    picture = grid(images, columns=2, padding=1, scale=3, background=77)
    assert picture.size == (2 * 13 + 1, 3 * 10 + 1)
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    path = tmp_path / "carpeta nueva" / "cuadrícula.png"
    save_png(picture, path)
    with Image.open(path) as opened:
        pixels = np.asarray(opened)
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    assert np.all(pixels[0] == 77)
    assert np.all(pixels[:, 0] == 77)
    assert np.all(pixels[21:, 14:] == 77)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = 1 + index // 2 * 10, 1 + index % 2 * 13
        tile = pixels[top : top + 9, left : left + 12]
        assert np.array_equal(tile, image.repeat(3, axis=0).repeat(3, axis=1))


def test_grid_defaults_are_square_and_visible():
    picture = grid(torch.zeros(9, 1, 8, 8))
    assert picture.size == (3 * 66 + 2, 3 * 66 + 2)
    assert grid(torch.zeros(2, 3, 100, 100), padding=0).size == (200, 100)
    assert grid(torch.zeros(2, 3, 8, 8), columns=10, padding=0, scale=1).size == (16, 8)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 8), {}),
        ((2, 2, 8, 8), {}),
        ((0, 1, 8, 8), {}),
        ((2, 1, 8, 8), {"columns": 0}),
        ((2, 1, 8, 8), {"scale": 0}),
        ((2, 1, 8, 8), {"padding": -1}),
        ((2, 1, 8, 8), {"background": 300}),
    ],
)
def test_grid_refuses_bad_input(shape, options):
    with pytest.raises(ValueError, match=r"forma|columns"):
        grid(torch.zeros(shape), **options)


def test_points_land_where_they_should():
    corner = points_image(torch.tensor([[0.9, 0.9]]), size=100, limit=1.0, opacity=1.0)
    dark_rows, dark_columns = np.nonzero(np.asarray(corner)[:, :, 0] < 200)
    assert dark_columns.mean() == pytest.approx(94.5, abs=1)
    assert dark_rows.mean() == pytest.approx(4.5, abs=1)
    assert np.asarray(corner).min() == 0


def test_overlapping_points_follow_the_stated_opacity():
    for count in (1, 3):
        picture = points_image(
            torch.zeros(count, 2), size=51, opacity=0.5, radius=3, color=(0, 0, 0)
        )
        assert np.asarray(picture)[25, 25, 0] == round(255 * 0.5**count)


def test_points_outside_are_left_out_and_bad_points_refused():
    outside = points_image(torch.tensor([[5.0, 0.0], [0.0, -1.3], [1.2, 1.2]]), radius=0.4)
    assert np.all(np.asarray(outside) == 255)
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        points_image(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="finitos"):
        points_image(torch.full((1, 2), float("inf")))
    with pytest.raises(ValueError, match="positivos"):
        points_image(torch.zeros(1, 2), limit=0)
    assert points_image(torch.zeros(0, 2), size=8).size == (8, 8)


def test_gif_has_its_frames_and_times(tmp_path):
    path = tmp_path / "ruido.gif"
    save_gif(frames(), path, fps=10, hold_last=2)
    with Image.open(path) as opened:
        assert opened.n_frames == 5
        assert opened.info["loop"] == 0
        durations = []
        for index, frame in enumerate(frames()):
            opened.seek(index)
            durations.append(opened.info["duration"])
            assert opened.convert("RGB").getpixel((3, 3)) == frame.getpixel((3, 3))
    assert durations == [100, 100, 100, 100, 2100]


def test_grey_gif(tmp_path):
    path = tmp_path / "gris.gif"
    save_gif([grid(torch.full((1, 1, 8, 8), value)) for value in (-1.0, 0.5)], path)
    with Image.open(path) as opened:
        assert opened.n_frames == 2


def test_mp4_has_its_size_frames_and_colours(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "ruido.mp4"
    save_mp4(frames(size=(65, 47)), path, fps=10, hold_last=0.5)
    count, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert count == 10
    assert seconds == pytest.approx(1.0, abs=0.05)
    reader = ffmpeg.read_frames(str(path))
    assert next(reader)["size"] == (66, 48)
    first = np.frombuffer(next(reader), np.uint8).reshape(48, 66, 3)
    reader.close()
    assert np.abs(first.astype(int) - [0, 0, 255]).mean() < 6
    assert [file.name for file in tmp_path.iterdir()] == ["ruido.mp4"]


def test_a_larger_crf_gives_a_smaller_mp4(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = []
    for crf in (5, 18, 35):
        path = tmp_path / f"{crf}.mp4"
        save_mp4([Image.fromarray(noise)], path, hold_last=0, crf=crf)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[2]
    with pytest.raises(ValueError, match="crf = 52: debe ir de 0"):
        save_mp4(frames(2), tmp_path / "a.mp4", crf=52)


def test_mp4_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install imageio-ffmpeg .*«video»"):
        save_mp4(frames(), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("writer", [save_gif, save_mp4])
@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ([], {}, "ningún fotograma"),
        ([*frames(1), *frames(1, size=(4, 4))], {}, "no son iguales"),
        (frames(2), {"fps": 0}, "fps = 0"),
        (frames(2), {"hold_last": -1}, "hold_last = -1"),
    ],
)
def test_bad_animations_are_refused(tmp_path, writer, pictures, options, message):
    path = tmp_path / "a.gif"
    with pytest.raises(ValueError, match=message):
        writer(pictures, path, **options)
    assert not path.exists()


def test_gif_refuses_what_browsers_slow_down(tmp_path):
    with pytest.raises(ValueError, match="50 como mucho"):
        save_gif(frames(), tmp_path / "a.gif", fps=60)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_png(frames()[0], path)
    before = path.read_bytes()

    def fail(self, target, **_):
        target.write_bytes(b"a medias")
        raise OSError("disco lleno")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disco lleno"):
        save_png(frames()[1], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


# --- De un fichero a un tensor -------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_size_of_the_model_is_read_exactly(tmp_path, channels):
    images = torch.randint(0, 256, (1, channels, 6, 9), dtype=torch.uint8)
    save_png(grid(images, padding=0, scale=1), tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png", (channels, 6, 9))
    assert torch.equal(picture.x, images[0] / 127.5 - 1)
    assert picture.size == (9, 6)
    assert picture.colored is (channels == 3)
    assert not picture.hole.any()


def test_a_bigger_picture_loses_its_sides_and_shrinks(tmp_path):
    # Una franja central de 20×20, en dos mitades, entre dos bandas que el recorte quita.
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :20], pixels[:, 40:] = 255, 255
    pixels[:10, 20:40] = (200, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    x = load_picture(tmp_path / "a.png", (3, 4, 4)).x
    assert torch.allclose(x[:, 0], torch.tensor([200 / 127.5 - 1, -1, -1])[:, None], atol=0.06)
    assert torch.allclose(x[:, 3], -torch.ones(3, 4), atol=0.06)


def test_transparent_pixels_are_a_hole_and_shrink_without_vanishing(tmp_path):
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[3, 5, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = load_picture(tmp_path / "a.png", (1, 8, 8)).hole
    assert whole.nonzero().tolist() == [[3, 5]]
    small = load_picture(tmp_path / "a.png", (1, 4, 4)).hole
    assert small.nonzero().tolist() == [[1, 2]]


def test_a_mask_is_white_where_there_is_something_to_fill(tmp_path):
    mask = Image.new("L", (8, 4), 0)
    mask.paste(255, (0, 0, 2, 4))
    mask.save(tmp_path / "m.png")
    hole = load_mask(tmp_path / "m.png", (3, 2, 4), (8, 4))
    assert hole.dtype == torch.bool
    assert hole.tolist() == [[True, False, False, False]] * 2


def painted(colour: tuple[int, int, int], *, background: int = 0) -> Image.Image:
    """Una máscara de 8×4 con sus dos primeras columnas pintadas sobre una capa transparente."""
    mask = Image.new("RGBA", (8, 4), (0, 0, 0, background))
    mask.paste((*colour, 255), (0, 0, 2, 4))
    return mask


@pytest.mark.parametrize(
    ("mask", "columns"),
    [
        (painted((255, 255, 255)), 2),
        (painted((255, 255, 255), background=255), 2),
        (painted((0, 0, 0), background=255), 0),
        (painted((255, 255, 255)).quantize(4), 2),
        (painted((255, 255, 255)).convert("LA"), 2),
    ],
)
def test_a_mask_painted_white_on_a_clear_layer_is_understood(tmp_path, mask, columns):
    mask.save(tmp_path / "m.png")
    hole = load_mask(tmp_path / "m.png", (3, 4, 8), (8, 4))
    assert hole.tolist() == [[True] * columns + [False] * (8 - columns)] * 4


@pytest.mark.parametrize(
    "mask", [painted((0, 0, 0)), painted((255, 0, 0)), Image.new("RGBA", (8, 4), (255,) * 3 + (0,))]
)
def test_a_mask_of_another_colour_on_a_clear_layer_is_refused(tmp_path, mask):
    mask.save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png» tiene partes transparentes.*Pinta de blanco"):
        load_mask(tmp_path / "m.png", (3, 4, 8), (8, 4))


# --- Imágenes para modelos que amplían ----------------------------------------------------------


def picture_of(pixels: torch.Tensor, path) -> torch.Tensor:
    """Guarda una imagen (C, H, W) de 8 bits y devuelve sus valores en [-1, 1]."""
    save_png(grid(pixels[None], padding=0, scale=1), path)
    return pixels / 127.5 - 1


def noise(channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_small_picture_is_used_as_it_is(tmp_path, channels, factor):
    x = picture_of(noise(channels, 32 // factor, 64 // factor), tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png", (channels, 32, 64), factor=factor)
    expected = x.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    assert torch.equal(picture.x, expected)
    assert picture.size == (64 // factor, 32 // factor)
    assert picture.hole.shape == (32, 64)


def test_a_picture_of_the_size_of_the_model_keeps_its_pixels(tmp_path):
    x = picture_of(noise(3, 32, 32), tmp_path / "a.png")
    assert torch.equal(load_picture(tmp_path / "a.png", (3, 32, 32), factor=4).x, x)


def test_a_picture_between_the_two_sizes_is_averaged(tmp_path):
    x = picture_of(noise(1, 16, 16), tmp_path / "a.png")
    means = torch.nn.functional.avg_pool2d(x, 2)
    blocks = load_picture(tmp_path / "a.png", (1, 32, 32), factor=4).x
    assert torch.equal(blocks[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2), blocks)
    # Pillow redondea a 8 bits al reducir a lo ancho y otra vez a lo alto.
    assert torch.allclose(blocks[:, ::4, ::4], means, rtol=0, atol=1.01 / 127.5)


def test_a_smaller_picture_is_enlarged_only_up_to_the_blocks(tmp_path):
    picture_of(noise(1, 5, 5), tmp_path / "a.png")
    blocks = load_picture(tmp_path / "a.png", (1, 32, 32), factor=4).x
    eight = load_picture(tmp_path / "a.png", (1, 8, 8)).x
    assert torch.equal(blocks, eight.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2))


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    picture_of(noise(1, 8, 8), tmp_path / "a.png")
    for factor in (3, 0):
        with pytest.raises(ValueError, match=f"no se divide en bloques de {factor}×{factor}"):
            load_picture(tmp_path / "a.png", (1, 8, 8), factor=factor)


# --- Lo que no se puede leer --------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
def test_a_picture_is_opened_upright(tmp_path, orientation, kind):
    shades = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    shades.save(tmp_path / "a", format=kind, exif=exif)
    with Image.open(tmp_path / "a") as opened:
        expected = ImageOps.exif_transpose(opened)
    upright = open_image(tmp_path / "a")
    assert upright.size == ((4, 6) if orientation in range(5, 9) else (6, 4))
    assert np.array_equal(np.asarray(upright), np.asarray(expected))


def test_bad_pictures_are_refused(tmp_path):
    (tmp_path / "a.png").write_text("esto no es un PNG")
    Image.new("L", (4, 4)).save(tmp_path / "m.png")
    for path, message in (("a.png", "no se puede leer como imagen"), ("nada.png", "No existe la")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_picture(tmp_path / path, (1, 8, 8))
    with pytest.raises(ValueError, match=r"4×4 y 8×8 píxeles: deben medir lo mismo"):
        load_mask(tmp_path / "m.png", (1, 8, 8), (8, 8))
    with pytest.raises(ValueError, match=r"forma \(2,\)"):
        load_picture(tmp_path / "m.png", (2,))


def test_a_huge_picture_says_how_much_is_too_much(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "enorme.png")
    with pytest.raises(ValueError, match=r"enorme\.png» .*más de 178 millones.*redúcela"):
        load_picture(tmp_path / "enorme.png", (1, 8, 8))


def test_a_picture_of_the_user_folder_is_found(tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_picture("~/a.png", (1, 8, 8)).size == (8, 8)


def test_titles_stand_above_their_columns_and_lose_no_letter() -> None:
    from ddpm_lit.files.images import _font, _wrapped

    columns = torch.full((4, 1, 16, 16), -1.0)
    bare = grid(columns, columns=2, padding=0, scale=4)
    titled = with_titles(bare, ["", "ñandú con sombrero de copa"])
    band = titled.height - bare.height
    assert titled.size == (bare.width, bare.height + band)
    pixels = np.asarray(titled)
    assert (pixels[band:] == np.asarray(bare)).all()
    # Toda la tinta del segundo título está sobre la segunda columna.
    assert (pixels[:band, :64] == 255).all()
    assert (pixels[:band, 64:] < 255).any()
    font, _ = _font(12)
    for text in ("ñandú con sombrero de copa", "extraordinariamentelargo y corto"):
        lines = _wrapped(text, font, 60)
        assert all(font.getlength(line) <= 60 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_titles_without_a_system_font_lose_only_their_accents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ddpm_lit.files.images._FONTS", ())
    bare = grid(torch.zeros(2, 3, 8, 8), columns=2)
    plain = with_titles(bare, ["ñandú", "pingüino"])
    assert plain.tobytes() == with_titles(bare, ["nandu", "pinguino"]).tobytes()


def test_titles_are_not_empty() -> None:
    with pytest.raises(ValueError, match="un título por columna"):
        with_titles(grid(torch.zeros(1, 1, 8, 8)), [])
