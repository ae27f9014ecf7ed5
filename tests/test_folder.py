"""Una carpeta de imágenes de verdad: lo que se lee, lo que se explica y lo que no se mueve."""

import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lit.data import load_dataset, split
from resident import measured, needs_proc


def save(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def test_folder_reads_exact_pixels_in_order(tmp_path):
    root = tmp_path / "imágenes de niños 日本"
    generator = np.random.default_rng(0)
    pictures = {
        name: generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for name in ("ñandú.png", "árbol.png", "casa.png", "más/otra.png")
    }
    for name, pixels in pictures.items():
        save(root / name, pixels)
    save(root / ".oculta.png", pictures["casa.png"])
    (root / "notas.txt").write_text("esto no es una imagen")
    dataset = load_dataset("folder", path=root, size=8)
    assert dataset.captions == ("casa", "otra", "árbol", "ñandú")
    assert dataset.labels is None
    assert dataset.levels == 256
    for x, name in zip(dataset.x, sorted(pictures), strict=True):
        pixels = ((x + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, pictures[name])


def test_folder_captions_are_the_words_of_the_name(tmp_path):
    for name in ("animales/gato_gris-01.png", "animales/_.png", "una casa.v2.JPG"):
        save(tmp_path / name, np.zeros((8, 8), np.uint8))
    assert load_dataset("folder", path=tmp_path, size=8).captions == (
        "_",
        "gato gris 01",
        "una casa.v2",
    )


def test_folder_crops_the_centre_and_resizes(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    wide[:10, 20:40] = 100
    save(tmp_path / "ancha.png", wide)
    x = load_dataset("folder", path=tmp_path, size=20, color="gray").x
    assert x.shape == (1, 1, 20, 20)
    assert torch.allclose(x[0, 0, :10], torch.tensor(100 / 127.5 - 1))
    assert torch.allclose(x[0, 0, 10:], torch.tensor(200 / 127.5 - 1))
    small = load_dataset("folder", path=tmp_path, size=4, color="gray").x[0, 0]
    with Image.open(tmp_path / "ancha.png") as opened:
        square = opened.convert("L").crop((20, 0, 40, 20)).resize((4, 4), Image.Resampling.LANCZOS)
    assert torch.allclose(small, torch.from_numpy(np.asarray(square) / 127.5 - 1).float())


def test_folder_handles_alpha_sixteen_bits_palette_and_rotation(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    save(tmp_path / "a_transparente.png", clear)
    deep = np.full((8, 8), 65535 // 2, np.uint16)
    save(tmp_path / "b_dieciseis.png", deep)
    Image.new("RGB", (8, 8), (255, 0, 0)).quantize(4).save(tmp_path / "c_paleta.gif")
    half = np.zeros((8, 8, 3), np.uint8)
    half[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # el visor debe girarla 90° a la derecha
    save(tmp_path / "d_girada.png", half, exif=exif)
    alpha, deep_x, palette, turned = load_dataset("folder", path=tmp_path, size=8).x
    assert torch.all(alpha == 1)
    assert torch.allclose(deep_x, torch.zeros_like(deep_x), atol=0.01)
    assert palette[:, 0, 0].tolist() == [1, -1, -1]
    assert torch.all(turned[:, :4] == 1)
    assert torch.all(turned[:, 4:] == -1)


def test_folder_classes_are_its_subfolders(tmp_path):
    for name in ("perro/1.png", "gato/1.png", "gato/lejos/2.png", "niño/1.png"):
        save(tmp_path / name, np.zeros((8, 8), np.uint8))
    dataset = load_dataset("folder", path=tmp_path, size=8, color="gray", classes=True)
    assert dataset.label_names == ("gato", "niño", "perro")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    save(tmp_path / "suelta.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"sueltas.*suelta\.png"):
        load_dataset("folder", path=tmp_path, classes=True)


def test_folder_names_broken_images_or_skips_them(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        save(tmp_path / f"buena{index}.png", pixels)
    whole = (tmp_path / "buena0.png").read_bytes()
    (tmp_path / "mala_cortada.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "mala_texto.jpg").write_text("no soy un JPEG")
    with pytest.raises(ValueError, match=r"mala_cortada\.png.*dañada.*skip_errors"):
        load_dataset("folder", path=tmp_path)
    said = r"De las 5 .*omitido 2.*mala_cortada\.png: .*dañada.*; mala_texto\.jpg: no es de un"
    with pytest.warns(UserWarning, match=said):
        dataset = load_dataset("folder", path=tmp_path, skip_errors=True)
    assert dataset.captions == ("buena0", "buena1", "buena2")
    assert len(dataset.content_keys) == 3


BROKEN_EXIF = {
    "direcciones fuera del fichero": b"Exif\0\0MM\0*\0\0\xff\xff",
    "una cabecera cortada": b"Exif\0\0MM\0",
    "nada reconocible": b"Exif\0\0esto no es un EXIF",
    "una entrada que no cabe": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0",
    "otra que lleva fuera": (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        b"\x69\x87\x04\0\x01\0\0\0\xff\xff\xff\x7f\0\0\0\0"
    ),
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_a_broken_exif_does_not_spoil_the_pixels(tmp_path, name, kind):
    shades = np.full((8, 8), 90, np.uint8)
    Image.fromarray(shades).save(tmp_path / "a.img", format=kind, exif=BROKEN_EXIF[name])
    (tmp_path / "a.img").rename(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = load_dataset("folder", path=tmp_path, size=8, color="gray").x
    assert torch.allclose(x, torch.tensor(90 / 127.5 - 1), atol=0.02)


def broken(kind: str) -> bytes:
    """Un fichero que empieza bien y acaba en una excepción que no es de imágenes."""
    header = b"DDS " + np.array([124, 0x1007, 8, 8], "<u4").tobytes() + bytes(56)
    formats = {
        "dds: formato desconocido": np.array([32, 4, 0x51515151], "<u4").tobytes(),
        "dds: sin máscaras": np.array([32, 0x40, 0, 17, 0, 0, 0, 0], "<u4").tobytes(),
        "dds: cabecera cortada": b"",
    }
    if kind in formats:
        return header + formats[kind] + bytes(30)
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, format=kind.split(":", maxsplit=1)[0])
    content = bytearray(stream.getvalue())
    if kind.endswith("cortado"):
        return bytes(content[: len(content) // 2])
    content[40:120] = bytes(255 - byte for byte in content[40:120])
    return bytes(content)


@pytest.mark.parametrize(
    "kind",
    [
        "dds: formato desconocido",
        "dds: sin máscaras",
        "dds: cabecera cortada",
        *(
            f"{name}: {damage}"
            for name in ("avif", "webp", "tiff", "gif", "bmp", "jpeg2000", "ico", "tga", "qoi")
            for damage in ("cortado", "alterado")
        ),
    ],
)
def test_a_damaged_image_is_explained_or_skipped(tmp_path, kind):
    name = kind.split(":")[0]
    Image.init()
    if name != "dds" and name.upper() not in Image.SAVE:
        pytest.skip(f"este Pillow no escribe {name}")
    save(tmp_path / "buena.png", np.zeros((8, 8), np.uint8))
    (tmp_path / f"mala.{'jp2' if name == 'jpeg2000' else name}").write_bytes(broken(kind))
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        dataset = load_dataset("folder", path=tmp_path, size=8, skip_errors=True)
    # Un fichero alterado puede seguir siendo una imagen; lo que no puede es parar con otro error.
    if len(dataset) == 2:
        assert not notices
        return
    assert dataset.captions == ("buena",)
    assert len(notices) == 1
    with pytest.raises(ValueError, match=r"La imagen '.*mala.*' no se puede leer: .*skip_errors"):
        load_dataset("folder", path=tmp_path, size=8)


def test_what_looks_like_a_picture_and_cannot_be_read_is_said(tmp_path):
    save(tmp_path / "foto.png", np.zeros((8, 8), np.uint8))
    for name in ("a.HEIC", "b.heic", "viaje/c.dng", "d.pdf", "e.mpg", "f.h5", "notas.txt", "sin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n%PDF-1.7 lo que sea")
    with pytest.warns(
        UserWarning, match=r"quedado fuera .*\(1 \.dng, 2 \.heic y 1 \.pdf\)"
    ) as notices:
        dataset = load_dataset("folder", path=tmp_path, size=8)
    assert len(notices) == 1
    assert dataset.captions == ("foto",)
    (tmp_path / "foto.png").unlink()
    with pytest.raises(
        ValueError, match=r"hay 1 sin extensión, 1 \.dng, 1 \.h5, 2 \.heic, 1 \.mpg"
    ):
        load_dataset("folder", path=tmp_path, size=8)


def test_only_pictures_are_opened_whatever_their_extension(tmp_path):
    (tmp_path / "dibujo.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with Image.open(tmp_path / "dibujo.png") as opened:
        assert opened.format == "EPS"
    with pytest.raises(ValueError, match="no es de un formato de imagen que se sepa leer"):
        load_dataset("folder", path=tmp_path)


# --- Los enlaces de una carpeta ---------------------------------------------------------


def test_linked_folders_are_followed_once(tmp_path):
    root, elsewhere = tmp_path / "datos", tmp_path / "disco"
    save(root / "propia.png", np.zeros((8, 8), np.uint8))
    save(elsewhere / "ajena.png", np.zeros((8, 8), np.uint8))
    save(elsewhere / "dentro/otra.png", np.zeros((8, 8), np.uint8))
    (root / "b").symlink_to(elsewhere, target_is_directory=True)
    (root / "foto.png").symlink_to(elsewhere / "ajena.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_dataset("folder", path=root, size=8)
    assert dataset.captions == ("ajena", "otra", "foto", "propia")
    (root / "a_bucle").symlink_to(root, target_is_directory=True)
    (elsewhere / "vuelta").symlink_to(root, target_is_directory=True)
    (root / "c").symlink_to(elsewhere / "dentro", target_is_directory=True)
    with pytest.warns(UserWarning, match="carpetas ya leídas, por enlaces: a_bucle; c; b/vuelta"):
        again = load_dataset("folder", path=root, size=8)
    # Lo de «dentro» cuelga de «b» o de «c», pero solo una vez.
    assert sorted(again.captions) == sorted(dataset.captions)


def test_a_broken_link_is_not_silent(tmp_path):
    save(tmp_path / "buena.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "rota.png").symlink_to(tmp_path / "nada.png")
    with pytest.raises(ValueError, match=r"rota\.png' no se puede leer: no existe"):
        load_dataset("folder", path=tmp_path)


def test_a_folder_that_cannot_be_read_is_not_silent(tmp_path, monkeypatch):
    save(tmp_path / "buena.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "cerrada").mkdir()
    listed = Path.iterdir

    def closed(folder):
        if folder.name == "cerrada":
            raise PermissionError(13, "no hay permiso", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(ValueError, match=r"cerrada' no se puede leer: .*no hay permiso"):
        load_dataset("folder", path=tmp_path)
    with pytest.warns(UserWarning, match="omitido 1.*cerrada: "):
        assert len(load_dataset("folder", path=tmp_path, skip_errors=True)) == 1


# --- La escala de los enteros -----------------------------------------------------------


def tiff(values: np.ndarray, bits: int, *, signed: bool = False, photometric: int = 1) -> bytes:
    """Un TIFF de gris, de una sola tira, escrito a mano."""
    if bits == 12:
        pairs = values.astype(np.uint32).reshape(-1, 2)
        joined = pairs[:, 0] << 12 | pairs[:, 1]
        data = b"".join(int(number).to_bytes(3, "big") for number in joined)
    else:
        data = values.astype(f"<{'i' if signed else 'u'}{bits // 8}").tobytes()
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1,
            278: height, 279: len(data), 339: 2 if signed else 1}  # fmt: skip
    data += b"\0" * (len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("bits", "signed", "full"),
    [
        (12, False, 2**12 - 1),
        (16, False, 2**16 - 1),
        (16, True, 2**15 - 1),
        (32, False, 2**32 - 1),
        (32, True, 2**31 - 1),
        (32, True, 2**16 - 1),
        (32, False, 2**16 - 1),
    ],
)
def test_the_white_of_an_integer_tiff_is_white(tmp_path, bits, signed, full):
    values = (RAMP * full).round().astype(np.int64)
    (tmp_path / "a.tif").write_bytes(tiff(values, bits, signed=signed))
    x = load_dataset("folder", path=tmp_path, size=8, color="gray").x[0, 0]
    expected = torch.from_numpy((values / full * 255).round() / 127.5 - 1).float()
    assert torch.allclose(x, expected, atol=1e-6)


def test_a_tiff_whose_zero_is_white(tmp_path):
    values = (RAMP * 65535).round().astype(np.int64)
    (tmp_path / "a.tif").write_bytes(tiff(values, 16, photometric=0))
    x = load_dataset("folder", path=tmp_path, size=8, color="gray").x[0, 0]
    assert x[0, 0] == 1
    assert x[-1, -1] == -1


@pytest.mark.parametrize(("low", "high"), [(0, 200), (0, 100_000), (-5, 60_000)])
def test_an_unknown_scale_is_refused(tmp_path, low, high):
    values = (low + RAMP * (high - low)).round().astype(np.int64)
    (tmp_path / "a.tif").write_bytes(tiff(values, 32, signed=True))
    with pytest.raises(ValueError, match=f"32 bits van de {low} a {high} y no se sabe.*8 o 16"):
        load_dataset("folder", path=tmp_path)
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="coma flotante y no se sabe a qué escala"):
        load_dataset("folder", path=tmp_path)


def test_colours_that_are_not_rgb_are_converted(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "b.tif")
    for x in load_dataset("folder", path=tmp_path, size=8).x:
        assert torch.allclose(x[:, 4, 4], torch.tensor([1.0, -1.0, -1.0]), atol=0.03)


def test_all_black_needs_no_scale(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((8, 8)), 32))
    assert torch.all(load_dataset("folder", path=tmp_path, size=8).x == -1)


def test_sixteen_bits_in_a_pgm(tmp_path):
    values = (RAMP * 1000).round().astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 1000\n" + values.tobytes())
    x = load_dataset("folder", path=tmp_path, size=8, color="gray").x[0, 0]
    assert torch.allclose(x, torch.from_numpy(RAMP * 2 - 1).float(), atol=0.01)


# --- El tamaño y las opciones -----------------------------------------------------------


def test_a_huge_picture_is_refused_with_its_limit(tmp_path, monkeypatch):
    save(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_dataset("folder", path=tmp_path, size=8)) == 1
    monkeypatch.undo()
    Image.new("1", (20_000, 10_000)).save(tmp_path / "enorme.png")
    with pytest.raises(ValueError, match=r"enorme.*más de 178 millones de píxeles.*redúcela"):
        load_dataset("folder", path=tmp_path)
    with pytest.warns(UserWarning, match=r"omitido 1.*enorme\.png: tiene más de 178 millones"):
        assert len(load_dataset("folder", path=tmp_path, skip_errors=True)) == 1


def test_the_user_folder_is_understood(tmp_path, monkeypatch):
    save(tmp_path / "fotos/a.png", np.zeros((8, 8), np.uint8))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_dataset("folder", path="~/fotos", size=8).captions == ("a",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": 2024}, "«path» debe ser el nombre de una carpeta, entre comillas.*2024"),
        ({"path": ""}, "«path» debe ser el nombre de una carpeta"),
        ({"path": ".", "classes": "false"}, "«classes» debe ser true o false.*'false'"),
        ({"path": ".", "skip_errors": 1}, "«skip_errors» debe ser true o false.*1"),
    ],
)
def test_folder_options_of_another_type_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        load_dataset("folder", **options)


def test_a_folder_that_does_not_fit_is_explained(tmp_path, monkeypatch):
    save(tmp_path / "a.png", np.zeros((8, 8), np.uint8))

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(ValueError, match="1 imágenes de 13000×13000 ocupan 1 GB y no caben"):
        load_dataset("folder", path=tmp_path, size=13_000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="este sistema no tiene tuberías con nombre")
@pytest.mark.filterwarnings("error")
def test_what_is_neither_a_file_nor_a_folder_is_not_opened(tmp_path):
    save(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    os.mkfifo(tmp_path / "b.png")
    assert load_dataset("folder", path=tmp_path, size=8).captions == ("a",)


@needs_proc
def test_loading_a_folder_takes_little_more_than_the_data(tmp_path):
    for index in range(100):
        save(tmp_path / f"{index}.png", np.full((8, 8), index, np.uint8))
    script = (
        "from ddpm_lit.data import load_dataset\n"
        "load_dataset('folder', path=sys.argv[1], size=8)\n"
        "before = memory()\n"
        "data = load_dataset('folder', path=sys.argv[1], size=512)\n"
        "print((memory('VmHWM') - before) / data.store.nbytes)\n"
    )
    assert 0.9 < measured(script, tmp_path) < 1.4


def test_images_added_to_a_folder_move_none_of_the_held_out(tmp_path):
    def add(count, folder):
        for index in range(count):
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
            save(tmp_path / folder / f"{index}.png", pixels)

    add(60, "gato")
    train, held = split(load_dataset("folder", path=tmp_path, size=8, classes=True), 0.3, 0)
    add(90, "ave")  # los mismos 60 y 30 más, en una clase que va antes
    more = load_dataset("folder", path=tmp_path, size=4, classes=True)
    more_train, more_held = split(more, 0.3, 0)
    assert set(train.content_keys) < set(more_train.content_keys)
    assert set(held.content_keys) < set(more_held.content_keys)
    assert not set(more_train.content_keys) & set(more_held.content_keys)
    assert len(set(more.content_keys)) == 90


def test_the_fingerprint_does_not_care_where_the_folder_is(tmp_path):
    for place in ("aquí", "allí/lejos"):
        for index in range(3):
            save(tmp_path / place / f"{index}.png", np.full((8, 8), index, np.uint8))
    marks = {
        load_dataset("folder", path=tmp_path / place).fingerprint()
        for place in ("aquí", "allí/lejos")
    }
    assert len(marks) == 1


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no existe"):
        load_dataset("folder", path=tmp_path / "nada")
    with pytest.raises(ValueError, match="no hay ninguna imagen"):
        load_dataset("folder", path=tmp_path)
    (tmp_path / "mala.png").write_bytes(b"")
    with pytest.raises(ValueError, match="Ninguna de las 1"):
        load_dataset("folder", path=tmp_path, skip_errors=True)
    with pytest.raises(ValueError, match="«rgb» o «gray»"):
        load_dataset("folder", path=tmp_path, color="RGBA")
