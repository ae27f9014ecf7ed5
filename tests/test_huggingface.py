"""Los conjuntos de Hugging Face, con el paquete `datasets` de verdad y sin red."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lit.data import huggingface as module
from ddpm_lit.data import load_dataset
from ddpm_lit.data import prepared as prepared_module

COUNT = 23
NAMES = ["gato", "pez", "ave"]


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(index: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(index)).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, contents: list[bytes], **columns: list) -> Path:
    """Un conjunto en una carpeta, como los del Hub: un fichero Parquet con sus imágenes dentro."""
    import datasets

    names = columns.pop("names", NAMES)
    count = len(contents)
    rows = {
        "foto": [{"bytes": content, "path": None} for content in contents],
        "clase": [index % len(NAMES) for index in range(count)],
        "texto": [f"la imagen {index}" for index in range(count)],
    } | columns
    kind = datasets.ClassLabel(names=names) if names else None
    features = {
        "foto": datasets.Image(),
        "clase": kind or datasets.Value("string" if "clase" in columns else "int64"),
        "texto": datasets.Value("string"),
    }
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    (folder / "data").mkdir(parents=True)
    made.to_parquet(str(folder / "data/train-00000-of-00001.parquet"))
    return folder


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def loaded(folder: Path, **options):
    given = {
        "path": str(folder),
        "image_column": "foto",
        "label_column": "clase",
        "caption_column": "texto",
        "size": 8,
        "cache_dir": folder.parent / "caché",
    }
    return load_dataset("huggingface", **(given | options))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_set_is_prepared_whole_and_in_order(tmp_path, streaming):
    data = loaded(write(tmp_path / "c", [png(k) for k in range(COUNT)]), streaming=streaming)
    expected = np.stack([picture(k).transpose(2, 0, 1) for k in range(COUNT)])
    assert np.array_equal(data.stored_batch(range(COUNT))["x"].numpy(), expected)
    assert data.store.descriptor is not None
    assert data.labels.tolist() == [k % 3 for k in range(COUNT)]
    assert data.label_names == tuple(NAMES)
    assert data.captions == tuple(f"la imagen {k}" for k in range(COUNT))
    assert data.levels == 256


def test_the_second_time_nothing_is_opened(tmp_path, monkeypatch):
    folder = write(tmp_path / "c", [png(k) for k in range(COUNT)])
    first = loaded(folder)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert loaded(folder).fingerprint() == first.fingerprint()
    with pytest.raises(ModuleNotFoundError, match=r"pip install datasets .*«hub»"):
        loaded(folder, size=4)


def test_another_content_is_prepared_again(tmp_path):
    first = loaded(write(tmp_path / "c", [png(k) for k in range(COUNT)]))
    for path in (tmp_path / "c").rglob("*.parquet"):
        path.unlink()
    (tmp_path / "c/data").rmdir()
    second = loaded(write(tmp_path / "c", [png(k + 100) for k in range(5)]))
    assert (len(first), len(second)) == (23, 5)
    assert len(list((tmp_path / "caché").iterdir())) == 1


@pytest.mark.parametrize("streaming", [False, True])
def test_a_cut_continues(tmp_path, monkeypatch, streaming):
    monkeypatch.setattr(prepared_module, "_CHUNK", 4)
    folder = write(tmp_path / "c", [png(k) for k in range(COUNT)])
    original, opened = module.open_image, []

    def breaks(file):
        opened.append(1)
        if len(opened) == 15:
            raise KeyboardInterrupt
        return original(file)

    monkeypatch.setattr(module, "open_image", breaks)
    with pytest.raises(KeyboardInterrupt):
        loaded(folder, streaming=streaming)
    monkeypatch.setattr(module, "open_image", lambda file: opened.append(2) or original(file))
    data = loaded(folder, streaming=streaming)
    assert opened.count(2) in (COUNT - 8, COUNT - 12)
    expected = np.stack([picture(k).transpose(2, 0, 1) for k in range(COUNT)])
    assert np.array_equal(data.stored_batch(range(COUNT))["x"].numpy(), expected)


def test_classes_may_be_numbers_or_words_or_nothing(tmp_path):
    contents = [png(k) for k in range(4)]
    numbers = loaded(write(tmp_path / "n", contents, names=[]))
    assert numbers.label_names == ("0", "1", "2")
    words = loaded(write(tmp_path / "t", contents, names=[], clase=["pez", "ave", "pez", "oso"]))
    assert words.label_names == ("ave", "oso", "pez")
    assert words.labels.tolist() == [2, 0, 2, 1]
    plain = loaded(tmp_path / "t", label_column=None, caption_column=None)
    assert (plain.labels, plain.captions) == (None, ())
    assert torch.equal(plain.x, words.x)


def test_what_is_wrong_is_named(tmp_path):
    folder = write(tmp_path / "c", [png(0), b"\x89PNG rota", png(2)])
    with pytest.raises(ValueError, match=r"La imagen 1 de «.*» no se puede leer: no es de un form"):
        loaded(folder)
    with pytest.raises(ValueError, match=r"no tiene la columna «imagen».*foto, clase, texto"):
        loaded(folder, image_column="imagen")
    with pytest.raises(ValueError, match="«rgb» o «gray»"):
        loaded(folder, color="cmyk")
