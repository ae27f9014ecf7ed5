"""Fashion-MNIST y el formato IDX: lo que se lee, lo que se descarga y lo que miente."""

import gzip
import hashlib
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from ddpm_lit.data import fashion_mnist as module
from ddpm_lit.data import idx as idx_module
from ddpm_lit.data import load_dataset, official_split
from ddpm_lit.data.fashion_mnist import CLASSES, FILES
from ddpm_lit.data.idx import read_idx
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import recipe_from_dict


def idx(values: np.ndarray) -> bytes:
    """Un fichero IDX escrito según su definición."""
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def tables(train: int = 30, test: int = 12) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    made = {}
    for part, count in (("train", train), ("t10k", test)):
        made[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (count, 28, 28))
        made[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 10
    return made


def write(folder: Path, made: dict[str, np.ndarray], *, zipped: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in made.items():
        content = idx(values)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_the_four_files_are_one_set_with_its_official_split(tmp_path, zipped):
    made = tables()
    data = load_dataset("fashion_mnist", path=write(tmp_path, made, zipped=zipped))
    assert data.x.shape == (42, 1, 28, 28)
    images = np.concatenate([made["train-images-idx3-ubyte"], made["t10k-images-idx3-ubyte"]])
    assert np.array_equal(data.stored_batch(range(42))["x"][:, 0].numpy(), images)
    expected = np.divide(images.astype(np.uint8), np.float32(127.5), dtype=np.float32) - 1
    assert np.array_equal(data.x[:, 0].numpy(), expected)
    assert data.label_names == CLASSES
    assert CLASSES[0] == "camiseta"
    assert CLASSES[9] == "botín"
    assert data.captions[30:33] == ("camiseta", "pantalón", "jersey")
    assert (data.levels, data.store.values.dtype) == (256, torch.uint8)
    assert "MIT" in data.attribution
    train_set, held_out = official_split(data)
    assert (len(train_set), len(held_out)) == (30, 12)
    assert torch.equal(held_out.x, data.x[30:])


def test_a_recipe_trains_without_the_test_set(tmp_path):
    table = tiny.digits().to_dict()
    table["data"] = {"name": "fashion_mnist", "options": {"path": str(write(tmp_path, tables()))}}
    assert len(training_data(recipe_from_dict(table))) == 30


def test_the_files_of_debian_are_found_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEBIAN", write(tmp_path / "debian", tables(10, 10)))
    assert len(load_dataset("fashion_mnist", cache_dir=tmp_path / "nada")) == 20
    assert not (tmp_path / "nada").exists()


def test_what_is_missing_is_named(tmp_path):
    made = tables()
    del made["t10k-labels-idx1-ubyte"]
    with pytest.raises(FileNotFoundError, match="no está «t10k-labels-idx1-ubyte», ni comprimido"):
        load_dataset("fashion_mnist", path=write(tmp_path, made))


def test_it_is_downloaded_once_and_again_if_it_is_damaged(tmp_path, monkeypatch):
    source = write(tmp_path / "público", tables())
    handler = partial(SimpleHTTPRequestHandler, directory=str(source))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in FILES:
        content = (source / f"{name}.gz").read_bytes()
        monkeypatch.setitem(FILES, name, f"md5:{hashlib.md5(content).hexdigest()}")
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setattr(module, "MIRRORS", (nowhere, f"http://127.0.0.1:{server.server_port}/"))
    monkeypatch.setattr(module, "DEBIAN", tmp_path / "nada")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    try:
        first = load_dataset("fashion_mnist", cache_dir=tmp_path / "caché")
        labels = tmp_path / "caché/fashion-mnist/t10k-labels-idx1-ubyte.gz"
        labels.write_bytes(labels.read_bytes()[:-4])
        with pytest.warns(UserWarning, match="está dañado"):
            again = load_dataset("fashion_mnist", cache_dir=tmp_path / "caché")
    finally:
        server.shutdown()
        server.server_close()
    assert first.fingerprint() == again.fingerprint()
    offline = load_dataset("fashion_mnist", cache_dir=tmp_path / "caché")
    assert offline.fingerprint() == first.fingerprint()
    with pytest.raises(ConnectionError, match=r"train-images-idx3-ubyte\.gz.*déjalo en «"):
        load_dataset("fashion_mnist", cache_dir=tmp_path / "otra")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train-labels-idx1-ubyte": np.zeros(29)}, "«train» .* hay 30 imágenes y 29 clases"),
        ({"t10k-images-idx3-ubyte": np.zeros((12, 14, 14))}, r"\(28, 28\) y las de test"),
        ({"t10k-labels-idx1-ubyte": np.full(12, 10)}, "van de 0 a 9 y en los ficheros está la 10"),
        ({"train-images-idx3-ubyte": np.zeros((0, 28, 28))}, "0 imágenes y 30 clases"),
        ({"train-images-idx3-ubyte": np.zeros(30)}, "empieza por 00 00 08 01 y un IDX"),
        ({"train-labels-idx1-ubyte": np.zeros((30, 2))}, "empieza por 00 00 08 02 y un IDX"),
    ],
)
def test_files_that_do_not_go_together_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("fashion_mnist", path=write(tmp_path, tables() | changes))


# --- Ficheros IDX que mienten -----------------------------------------------------------

WHOLE = idx(np.arange(24).reshape(2, 3, 4))


def test_an_idx_is_read_as_written(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    for content in (WHOLE, gzip.compress(WHOLE)):
        (tmp_path / "a").write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / "a", 3), values)


LIES = {
    "vacío": (b"", "empieza por nada"),
    "una página web": (b"<!DOCTYPE html><html>", "empieza por 3c 21 44 4f"),
    "solo la cabecera": (WHOLE[:9], "empieza por 00 00 08 03 .*, seguido de ellas"),
    "números de otro tipo": (b"\0\0\x0d\x03" + WHOLE[4:], "empieza por 00 00 0d 03"),
    "cortado": (WHOLE[:-1], "dice tener 24 bytes de datos y tiene 23"),
    "con bytes de más": (WHOLE + b"x", "dice tener 24 bytes de datos y tiene más"),
    "una tabla imposible": (
        b"\0\0\x08\x03" + b"\xff" * 12,
        r"dice tener 4294967295×4294967295×4294967295 bytes, y se leen como mucho",
    ),
    "gzip cortado": (gzip.compress(WHOLE)[:-12], "dañado o cortado"),
    "gzip con un byte cambiado": (
        gzip.compress(WHOLE)[:-8] + b"\0\0\0\0" + gzip.compress(WHOLE)[-4:],
        "dañado o cortado",
    ),
    "gzip que no lo es": (b"\x1f\x8b" + b"\0" * 40, "dañado o cortado"),
}


@pytest.mark.parametrize("name", LIES)
def test_an_idx_that_lies_is_explained(tmp_path, name):
    content, message = LIES[name]
    (tmp_path / "datos").write_bytes(content)
    with pytest.raises(ValueError, match=f"datos.*{message}"):
        read_idx(tmp_path / "datos", 3)


def test_a_gzip_bomb_is_not_inflated(tmp_path, monkeypatch):
    """Dice 24 bytes y lleva 64 MB: se leen 25."""
    (tmp_path / "datos").write_bytes(gzip.compress(WHOLE + bytes(2**26), 1))
    read: list[int] = []
    original = idx_module.gzip.GzipFile.read

    def counted(self, size=-1):
        data = original(self, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(idx_module.gzip.GzipFile, "read", counted)
    with pytest.raises(ValueError, match="dice tener 24 bytes de datos y tiene más"):
        read_idx(tmp_path / "datos", 3)
    assert sum(read) == 16 + 25
