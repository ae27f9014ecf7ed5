"""La caché de imágenes: se prepara una vez, continúa si se corta y se rehace si se daña."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.data import folder as folder_module
from ddpm_lit.data import prepared as prepared_module
from ddpm_lit.data.prepared import CacheWriteError, Item, prepare
from resident import SOURCE, measured, needs_proc

SHAPE = (1, 2, 3)
OPTIONS = {"size": [2, 3]}


def pixels(number: int) -> np.ndarray:
    return np.full(SHAPE, number % 256, np.uint8)


class Source:
    """Imágenes que se fabrican, y cuántas veces: la que hace `break_at` rompe."""

    def __init__(self, names: list[str], break_at: int | None = None) -> None:
        self.names, self.break_at = names, break_at
        self.made: list[str] = []

    def __call__(self, start, known) -> Iterator[Item]:
        for position in range(start, len(self.names)):
            name = self.names[position]
            if position == self.break_at:
                raise ValueError(f"{name} está rota")
            item = known(name)
            if item is None:
                self.made.append(name)
                skipped = name.startswith("mala")
                item = Item(name, f"nota de {name}", None if skipped else pixels(hash_of(name)))
            yield item


def hash_of(name: str) -> int:
    return sum(map(ord, name))


def made(folder: Path, source: Source, **options) -> prepared_module.Prepared:
    return prepare(folder, OPTIONS, SHAPE, source, names=source.names, **options)


def check(prepared: prepared_module.Prepared, names: list[str]) -> None:
    kept = [name for name in names if not name.startswith("mala")]
    assert [entry.name for entry in prepared.entries] == names
    assert [entry.note for entry in prepared.entries] == [f"nota de {name}" for name in names]
    assert [entry.name for entry in prepared.entries if entry.kept] == kept
    expected = np.stack([pixels(hash_of(name)) for name in kept])
    assert np.array_equal(torch.cat([*prepared.store.parts()]).numpy(), expected)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


NAMES = [f"imagen {k}" for k in range(40)]


def test_it_is_prepared_once(tmp_path):
    source = Source([*NAMES, "mala uno"])
    check(made(tmp_path / "c", source), source.names)
    assert source.made == source.names
    again = Source(source.names)
    check(made(tmp_path / "c", again), source.names)
    assert again.made == []
    digest = json.loads((tmp_path / "c/index.json").read_text())["digest"]
    assert files(tmp_path) == sorted(["index.json", "lock", f"{digest}.bin"])


def test_only_what_changes_is_prepared_again(tmp_path):
    made(tmp_path, Source([*NAMES, "mala uno"]))
    changed = Source(["nueva", *NAMES[5:20], "otra", *NAMES[30:][::-1], "mala uno"])
    check(made(tmp_path, changed), changed.names)
    assert changed.made == ["nueva", "otra", "mala uno"]
    assert len([name for name in files(tmp_path) if name.endswith(".bin")]) == 1


def test_with_other_options_nothing_is_reused(tmp_path):
    made(tmp_path, Source(NAMES))
    source = Source(NAMES)
    prepare(tmp_path, {"size": [9, 9]}, SHAPE, source, names=NAMES)
    assert source.made == NAMES


def test_without_names_it_is_read_until_the_end_and_reused(tmp_path):
    for expected in (NAMES, []):
        source = Source(NAMES)
        check(prepare(tmp_path, OPTIONS, SHAPE, source), NAMES)
        assert source.made == expected


# --- Cortes -----------------------------------------------------------------------------


def test_what_was_done_before_an_error_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_module, "_CHUNK", 4)
    with pytest.raises(ValueError, match="imagen 30 está rota"):
        made(tmp_path, Source(NAMES, break_at=30))
    # La rota se quita de la carpeta: lo de antes sigue valiendo.
    rest = Source([name for name in NAMES if name != "imagen 30"])
    check(made(tmp_path, rest), rest.names)
    assert rest.made == NAMES[28:30] + NAMES[31:]


def test_a_change_before_the_cut_starts_from_the_change(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_module, "_CHUNK", 4)
    with pytest.raises(ValueError, match="rota"):
        made(tmp_path, Source(NAMES, break_at=30))
    other = Source([*NAMES[:10], "otra", *NAMES[11:]])
    check(made(tmp_path, other), other.names)
    assert other.made == other.names[10:]


def test_it_is_not_continued_with_other_options(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_module, "_CHUNK", 4)
    with pytest.raises(ValueError, match="rota"):
        made(tmp_path, Source(NAMES, break_at=30))
    source = Source(NAMES)
    prepare(tmp_path, {"size": "otro"}, SHAPE, source, names=NAMES)
    assert source.made == NAMES


@pytest.mark.parametrize(
    "damage",
    [
        lambda part, journal: part.write_bytes(part.read_bytes()[:-9]),
        lambda part, journal: journal.write_text(journal.read_text()[:-7]),
        lambda part, journal: journal.write_text(journal.read_text() + '["a", 3'),
        lambda part, journal: journal.write_text(journal.read_text() + '["imagen 28"]\n'),
        lambda part, journal: journal.write_bytes(b"\xff\x00 esto no es un diario"),
        lambda part, journal: journal.write_text(""),
        lambda part, journal: part.write_bytes(part.read_bytes() + bytes(5)),
        lambda part, journal: part.unlink(),
    ],
)
def test_a_damaged_cut_is_continued_from_what_is_whole(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(prepared_module, "_CHUNK", 4)
    with pytest.raises(ValueError, match="rota"):
        made(tmp_path, Source(NAMES, break_at=30))
    damage(tmp_path / "pixels.part", tmp_path / "journal.part")
    source = Source(NAMES)
    check(made(tmp_path, source), NAMES)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="este sistema no tiene SIGKILL")
def test_a_killed_preparation_continues(tmp_path):
    for index in range(300):
        noise = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        save(tmp_path / f"datos/{index:03}.png", noise)
    script = (
        "import os, signal, sys\n"
        "from ddpm_lit.data import folder, load_dataset, prepared\n"
        "prepared._CHUNK, folder._AT_ONCE = 32, 0\n"
        "original, times = prepared._append, []\n"
        "def append(*given):\n"
        "    original(*given)\n"
        "    times.append(1)\n"
        "    if len(times) == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepared._append = append\n"
        "load_dataset('folder', path=sys.argv[1], size=8, cache_dir=sys.argv[2])\n"
    )
    environment = os.environ | {"PYTHONPATH": SOURCE}
    arguments = [sys.executable, "-c", script, tmp_path / "datos", tmp_path / "caché"]
    done = subprocess.run(arguments, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        original = folder_module.open_image
        patch.setattr(
            folder_module, "open_image", lambda file: opened.append(file.name) or original(file)
        )
        patch.setattr(folder_module, "_AT_ONCE", 0)
        options = {"path": tmp_path / "datos", "size": 8}
        data = load_dataset("folder", cache_dir=tmp_path / "caché", **options)
        assert sorted(opened) == [f"{index:03}.png" for index in range(160, 300)]
        patch.setattr(folder_module, "_AT_ONCE", 2**30)
        assert torch.equal(data.x, load_dataset("folder", **options).x)


def test_two_processes_at_once_prepare_it_once(tmp_path):
    for index in range(200):
        save(tmp_path / f"datos/{index:03}.png", np.full((16, 16), index, np.uint8))
    script = (
        "import sys\n"
        "from ddpm_lit.data import folder, load_dataset\n"
        "folder._AT_ONCE = 0\n"
        "original, times = folder.open_image, []\n"
        "folder.open_image = lambda file: times.append(1) or original(file)\n"
        "data = load_dataset('folder', path=sys.argv[1], size=8, cache_dir=sys.argv[2])\n"
        "print(len(times), data.fingerprint())\n"
    )
    environment = os.environ | {"PYTHONPATH": SOURCE}
    arguments = [sys.executable, "-c", script, tmp_path / "datos", tmp_path / "caché"]
    running = [
        subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(process.communicate()[0].split() for process in running)
    assert [count for count, _ in said] == ["0", "200"]
    assert said[0][1] == said[1][1]


# --- Daños ------------------------------------------------------------------------------


def edited(folder: Path, **changes) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | changes))


def pixel_file(folder: Path) -> Path:
    (path,) = folder.glob("*.bin")
    return path


def altered(folder: Path) -> None:
    content = bytearray(pixel_file(folder).read_bytes())
    content[7] ^= 1
    pixel_file(folder).write_bytes(content)


DAMAGES = {
    "otra versión": (lambda f: edited(f, version=99), "es de otra versión"),
    "índice cortado": (
        lambda f: (f / "index.json").write_bytes((f / "index.json").read_bytes()[:-20]),
        "está dañada",
    ),
    "índice que no es JSON": (lambda f: (f / "index.json").write_bytes(b"\xff\xfe"), "dañada"),
    "índice que es una lista": (lambda f: (f / "index.json").write_text("[]"), "está dañada"),
    "índice sin fondo": (lambda f: (f / "index.json").write_text("[" * 10**5), "está dañada"),
    "un píxel cambiado": (altered, "sus píxeles no son los que se guardaron"),
    "píxeles cortados": (
        lambda f: pixel_file(f).write_bytes(pixel_file(f).read_bytes()[:-3]),
        "sus píxeles no son los que se guardaron",
    ),
    "sin píxeles": (lambda f: pixel_file(f).unlink(), "FileNotFoundError"),
    "píxeles vacíos": (lambda f: pixel_file(f).write_bytes(b""), "está dañada"),
    "entradas de más": (lambda f: edited(f, entries=[["a", "n", True]] * 99), "está dañada"),
    "entradas mal hechas": (lambda f: edited(f, entries=[["a"]]), "está dañada"),
    "cuenta imposible": (lambda f: edited(f, entries=[["a", "n", 10**30]]), "está dañada"),
    "una ruta que se escapa": (lambda f: edited(f, digest="../../../etc/passwd"), "está dañada"),
    "la suma es un número": (lambda f: edited(f, digest=3), "está dañada"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cache_is_rebuilt_and_says_why(tmp_path, name):
    damage, reason = DAMAGES[name]
    made(tmp_path, Source(NAMES))
    damage(tmp_path)
    source = Source(NAMES)
    with pytest.warns(UserWarning, match=rf"La caché de imágenes .*{reason}.*se prepara otra vez"):
        check(made(tmp_path, source), NAMES)
    assert source.made == NAMES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(made(tmp_path, Source(NAMES)), NAMES)


def test_a_copied_cache_is_read_and_not_rebuilt(tmp_path):
    made(tmp_path / "a", Source(NAMES))
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    source = Source(NAMES)
    check(made(tmp_path / "b", source), NAMES)
    assert source.made == []


# --- Sin sitio y sin permiso ------------------------------------------------------------


def test_without_room_it_says_so_before_starting(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(prepared_module.shutil, "disk_usage", lambda _: usage)
    source = Source(NAMES)
    with pytest.raises(CacheWriteError, match=r"hacen falta 0\.00 GB y quedan.*«cache_dir»"):
        made(tmp_path / "c", source, total=len(NAMES))
    assert source.made == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="este sistema no pone ese límite")
def test_a_disk_that_fills_up_leaves_nothing_half_done(tmp_path):
    """Con un límite de verdad, del sistema: a los 100 bytes, no se escribe más."""
    script = (
        "import pathlib, resource, sys\n"
        "import test_prepared as t\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n"
        "    t.made(pathlib.Path(sys.argv[1]), t.Source(t.NAMES))\n"
        "except t.CacheWriteError as error:\n"
        "    print(error)\n"
    )
    paths = os.pathsep.join([SOURCE, str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "c"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No se puede escribir la caché de imágenes" in done.stdout
    assert "Elige otra carpeta" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_cache_there_was(tmp_path, monkeypatch):
    made(tmp_path, Source(NAMES))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared_module.os, "fsync", full)
    with pytest.raises(CacheWriteError, match="No space left"):
        made(tmp_path, Source([*NAMES, "otra"]))
    monkeypatch.undo()
    again = Source(NAMES)
    check(made(tmp_path, again), NAMES)
    assert again.made == []
    assert not list(tmp_path.glob("*.part"))


def test_a_place_that_is_not_a_folder_is_explained(tmp_path):
    (tmp_path / "fichero").write_text("no es una carpeta")
    with pytest.raises(CacheWriteError, match="No se puede escribir la caché"):
        made(tmp_path / "fichero" / "c", Source(NAMES))
    assert (tmp_path / "fichero").read_text() == "no es una carpeta"


def test_nothing_to_keep_is_not_kept(tmp_path):
    prepared = made(tmp_path, Source(["mala uno", "mala dos"]))
    assert len(prepared.store) == 0
    assert [entry.kept for entry in prepared.entries] == [False, False]
    assert not list(tmp_path.glob("*.bin"))


# --- Una carpeta de imágenes ------------------------------------------------------------


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(folder_module, "_AT_ONCE", 0)
    for index in range(30):
        noise = np.random.default_rng(index).integers(0, 256, (20, 31, 3), dtype=np.uint8)
        save(tmp_path / f"datos/{'gato' if index % 3 else 'pez'}/foto_{index:02}.png", noise)
    return tmp_path / "datos"


def loaded(pictures: Path, **options) -> Dataset:
    options = {"size": 8, "classes": True} | options
    return load_dataset("folder", path=pictures, cache_dir=pictures.parent / "caché", **options)


def test_a_prepared_folder_is_the_folder(pictures, monkeypatch):
    prepared = loaded(pictures)
    monkeypatch.setattr(folder_module, "_AT_ONCE", 2**30)
    read = loaded(pictures)
    assert prepared.store.descriptor is not None
    assert read.store.descriptor is None
    assert torch.equal(prepared.x, read.x)
    assert prepared.labels.tolist() == read.labels.tolist()
    for name in ("captions", "label_names", "content_keys", "levels"):
        assert getattr(prepared, name) == getattr(read, name)
    assert prepared.fingerprint() == read.fingerprint()
    parts = zip(split(prepared, 0.2, 0), split(read, 0.2, 0), strict=True)
    assert all(one.fingerprint() == other.fingerprint() for one, other in parts)


def test_a_folder_is_read_once_and_again_only_where_it_changes(pictures, monkeypatch):
    first = loaded(pictures)
    opened: list[str] = []
    original = folder_module.open_image
    monkeypatch.setattr(
        folder_module, "open_image", lambda file: opened.append(file.name) or original(file)
    )
    assert torch.equal(loaded(pictures).x, first.x)
    assert opened == []
    save(pictures / "pez/nueva.png", np.full((9, 9, 3), 200, np.uint8))
    (pictures / "gato/foto_01.png").unlink()
    save(pictures / "gato/foto_02.png", np.full((9, 9, 3), 100, np.uint8))
    changed = loaded(pictures)
    assert sorted(opened) == ["foto_02.png", "nueva.png"]
    kept = [name for name in first.captions if name not in ("foto 01", "foto 02")]
    assert sorted(changed.captions) == sorted([*kept, "foto 02", "nueva"])
    for name, value in (("foto 02", 100), ("nueva", 200)):
        row = changed.x[changed.captions.index(name)]
        assert torch.allclose(row, torch.tensor(value / 127.5 - 1), atol=1e-6)
    for name in kept:
        one, other = first.captions.index(name), changed.captions.index(name)
        assert torch.equal(first.x[one], changed.x[other])
        assert first.content_keys[one] == changed.content_keys[other]


@pytest.mark.parametrize("size", [[6, 10], (10, 6)])
def test_images_that_are_not_square(pictures, size, monkeypatch):
    prepared = loaded(pictures, size=size, color="gray")
    assert prepared.image_shape == (1, *size)
    with Image.open(pictures / "gato/foto_01.png") as opened:
        height, width = size
        scale = min(31 / width, 20 / height)
        across, down = round(width * scale), round(height * scale)
        left, top = (31 - across) // 2, (20 - down) // 2
        part = opened.convert("L").crop((left, top, left + across, top + down))
        expected = np.asarray(part.resize((width, height), Image.Resampling.LANCZOS))
    got = prepared.stored_batch([prepared.captions.index("foto 01")])["x"]
    assert np.array_equal(got[0, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ([8], ValueError, "«size» tiene 1 números"),
        ([8, 8, 3], ValueError, "«size» tiene 3 números"),
        ([8, 0], ValueError, "«size» vale 0"),
        ([8, 4.5], TypeError, r"«size» debe ser un número entero y ha llegado 4\.5"),
        ("8", TypeError, "«size» debe ser un número entero y ha llegado '8'"),
    ],
)
def test_bad_sizes_are_refused(pictures, size, error, message):
    with pytest.raises(error, match=message):
        loaded(pictures, size=size)


def test_what_was_skipped_is_remembered_and_said(pictures):
    (pictures / "pez/rota.png").write_bytes(b"\x89PNG esto no es un PNG")
    with pytest.raises(ValueError, match=r"rota\.png' no se puede leer.*skip_errors"):
        loaded(pictures)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"De las 31 .*omitido 1.*pez/rota\.png"):
            assert len(loaded(pictures, skip_errors=True)) == 30
    with pytest.raises(ValueError, match=r"rota\.png' no se puede leer.*skip_errors"):
        loaded(pictures)


def test_without_a_cache_a_small_folder_goes_on_and_a_big_one_stops(pictures, monkeypatch):
    (pictures.parent / "caché").write_text("no es una carpeta")
    with pytest.warns(UserWarning, match="No se puede escribir la caché .* Se sigue sin ella"):
        assert len(loaded(pictures)) == 30
    monkeypatch.setattr(folder_module, "_WITHOUT_CACHE", 100)
    with pytest.raises(ValueError, match=r"No se puede escribir la caché.*las 30 imágenes ocupan"):
        loaded(pictures)


def test_warnings_are_not_silenced_by_reading_in_threads(pictures):
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        loaded(pictures)
        assert list(warnings.filters) == before
        warnings.warn("sigo aquí", stacklevel=1)
    assert [str(notice.message) for notice in notices] == ["sigo aquí"]


def test_a_decompression_bomb_is_named(pictures):
    Image.new("1", (20_000, 10_000)).save(pictures / "pez/bomba.png")
    with pytest.raises(ValueError, match=r"bomba\.png.*más de 178 millones de píxeles"):
        loaded(pictures)
    with pytest.warns(UserWarning, match=r"omitido 1.*bomba\.png"):
        assert len(loaded(pictures, skip_errors=True)) == 30


@needs_proc
def test_a_prepared_folder_trains_with_little_memory(tmp_path):
    """4.000 imágenes de 64×64 (49 MB): una época entera, huella incluida, con menos de la mitad."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    for index in range(4000):
        path = tmp_path / "datos" / f"{index:04}.bmp"
        save(path, np.roll(noise[index % 40], index, axis=0))
    script = (
        "import torch\n"
        "from ddpm_lit.data import describe, load_dataset, split\n"
        "from ddpm_lit.data.loading import load_batches\n"
        "from ddpm_lit.noise import batch_indices\n"
        "options = dict(path=sys.argv[1], cache_dir=sys.argv[2])\n"
        "load_dataset('folder', size=4, **options)\n"
        "before = most = memory()\n"
        "data, held = split(load_dataset('folder', size=64, **options), 0.05, 0)\n"
        "describe(data)\n"
        "chosen = [batch_indices(len(data), 16, 0, step) for step in range(240)]\n"
        "for batch in load_batches(data, chosen, torch.device('cpu')):\n"
        "    assert batch['x'].shape == (16, 3, 64, 64)\n"
        "    most = max(most, memory())\n"
        "assert data.store.descriptor is not None\n"
        "print((most - before) / (4000 * 3 * 64 * 64))\n"
    )
    assert measured(script, tmp_path / "datos", tmp_path / "caché") < 0.5
