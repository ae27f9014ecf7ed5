"""CIFAR-10: sus tres formas, y los archivos que no son lo que dicen."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lit.data import cifar10 as module
from ddpm_lit.data import load_dataset, official_split
from ddpm_lit.data.cifar10 import CLASSES
from ddpm_lit.files.archives import read_members

NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
EACH = 4


def batches() -> dict[str, tuple[np.ndarray, list[int]]]:
    generator = np.random.default_rng(0)
    return {
        name: (
            generator.integers(0, 256, (EACH, 3072), dtype=np.uint8),
            generator.integers(0, 10, EACH).tolist(),
        )
        for name in NAMES
    }


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def python2(pixels: np.ndarray, labels: list[int], order: str = "C") -> bytes:
    """El pickle que escribe Python 2, opcode a opcode: como los ficheros reales."""
    raw = pixels.tobytes(order=order)  # type: ignore[arg-type]
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + b"cnumpy\nndarray\n"
        + b"K\x00\x85"
        + short(b"b")
        + b"\x87R("
        + b"K\x01"
        + b"M" + struct.pack("<H", len(pixels)) + b"M" + struct.pack("<H", 3072) + b"\x86"
        + b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R"
        + b"(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if order == "F" else b"\x89")
        + b"T" + struct.pack("<i", len(raw)) + raw
        + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}(" + short(b"data") + array + short(b"labels") + numbers
        + short(b"batch_label") + short(b"training batch 1 of 5")
        + short(b"filenames") + b"](" + short(b"leptodactylus_s_000004.png") + b"e" + b"u."
    )  # fmt: skip


def python3(pixels: np.ndarray, labels: list[int], protocol: int = 2) -> bytes:
    table = {"data": pixels, "labels": labels, "batch_label": "uno", "filenames": ["a.png"]}
    return pickle.dumps(table, protocol)


def binary(pixels: np.ndarray, labels: list[int]) -> bytes:
    return b"".join(
        bytes([label]) + row.tobytes() for row, label in zip(pixels, labels, strict=True)
    )


def archive(
    path: Path, contents: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None
) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        folder = tarfile.TarInfo("cifar-10-batches-py")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra or []:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def in_folder(path: Path, contents: dict[str, bytes]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "el archivo de Python": lambda path: archive(
        path / "a.tar.gz", {name: python2(*batch) for name, batch in batches().items()}
    ),
    "por columnas": lambda path: archive(
        path / "a.tar.gz", {name: python2(*batch, order="F") for name, batch in batches().items()}
    ),
    "hecho con Python 3": lambda path: archive(
        path / "a.tar.gz", {name: python3(*batch) for name, batch in batches().items()}
    ),
    "con el último protocolo": lambda path: archive(
        path / "a.tar.gz", {name: python3(*batch, 4) for name, batch in batches().items()}
    ),
    "su carpeta": lambda path: in_folder(
        path / "cifar-10-batches-py", {name: python2(*batch) for name, batch in batches().items()}
    ),
    "la carpeta que la contiene": lambda path: (
        in_folder(
            path / "cifar-10-batches-py",
            {name: python2(*batch) for name, batch in batches().items()},
        ).parent
    ),
    "la versión binaria": lambda path: archive(
        path / "b.tar.gz", {f"{name}.bin": binary(*batch) for name, batch in batches().items()}
    ),
    "la carpeta de la binaria": lambda path: in_folder(
        path / "cifar-10-batches-bin",
        {f"{name}.bin": binary(*batch) for name, batch in batches().items()},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_set_is_the_same_set(tmp_path, form):
    data = load_dataset("cifar10", path=FORMS[form](tmp_path))
    expected = np.concatenate([pixels for pixels, _ in batches().values()])
    assert data.image_shape == (3, 32, 32)
    stored = data.stored_batch(range(len(data)))["x"]
    assert np.array_equal(stored.numpy().reshape(-1, 3072), expected)
    assert data.labels.tolist() == [label for _, labels in batches().values() for label in labels]
    assert data.label_names == CLASSES
    assert (CLASSES[0], CLASSES[9]) == ("avión", "camión")
    assert data.captions[0] == CLASSES[data.labels[0]]
    train_set, held_out = official_split(data)
    assert (len(train_set), len(held_out)) == (5 * EACH, EACH)
    assert torch.equal(held_out.store.floats(), data.x[-EACH:])


def test_it_is_downloaded_with_its_sum(tmp_path, monkeypatch):
    source = FORMS["el archivo de Python"](tmp_path)
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    (tmp_path / "caché").mkdir()
    (tmp_path / "caché/cifar-10-python.tar.gz").write_bytes(source.read_bytes())
    nowhere = ("http://127.0.0.1:9/cifar-10-python.tar.gz",)
    monkeypatch.setattr(module, "ARCHIVE", module.Remote(nowhere, digest, 2**20))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert len(load_dataset("cifar10", cache_dir=tmp_path / "caché")) == 6 * EACH
    with pytest.raises(ConnectionError, match=r"«cifar-10-python\.tar\.gz».*déjalo en «.*otra»"):
        load_dataset("cifar10", cache_dir=tmp_path / "otra")


def test_what_is_missing_is_named(tmp_path):
    contents = {
        name: python2(*batch) for name, batch in batches().items() if name != "data_batch_4"
    }
    with pytest.raises(FileNotFoundError, match=r"no está «data_batch_4», ni «data_batch_4\.bin»"):
        load_dataset("cifar10", path=archive(tmp_path / "a.tar.gz", contents))
    with pytest.raises(FileNotFoundError, match=r"No existe «.*nada»"):
        load_dataset("cifar10", path=tmp_path / "nada")


# --- Pickles con código -----------------------------------------------------------------


class Runs:
    """Al abrirse con el intérprete de siempre, ejecuta lo que se le diga."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def hostile(witness: Path) -> dict[str, bytes]:
    command = f"touch '{witness}'"
    pixels, labels = batches()["data_batch_1"]
    good = python2(pixels, labels)
    return {
        "os.system": pickle.dumps({"data": Runs(os.system, command)}, 2),
        "eval": pickle.dumps(Runs(eval, f"open({str(witness)!r}, 'w')"), 2),
        "open": pickle.dumps([Runs(open, str(witness), "w")], 4),
        "escondido en las clases": pickle.dumps(
            {"data": pixels, "labels": [Runs(os.system, command)]}, 2
        ),
        "INST": b"(S" + repr(command).encode() + b"\nios\nsystem\n.",
        "con una ruta": b"\x80\x04\x8c\x05numpy\x8c\x13core.os.system.real\x93.",
        "numpy que carga ficheros": pickle.dumps(Runs(np.fromfile, str(witness)), 2),
        "detrás de unos datos buenos": good[:-1]
        + b"cos\nsystem\n"
        + short(command.encode())
        + b"\x85R.",
        "un atributo cambiado": (
            b"\x80\x02cnumpy\ndtype\n(N}" + short(b"__setstate__") + b"cos\nsystem\nstb."
        ),
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_a_pickle_with_code_does_not_run_it(tmp_path, name):
    witness = tmp_path / "testigo"
    content = hostile(witness)[name]
    if name in ("os.system", "eval", "escondido en las clases", "INST"):
        pickle.loads(content, encoding="bytes")  # el de siempre sí cae
        assert witness.exists()
        witness.unlink()
    contents = {each: python2(*batch) for each, batch in batches().items()}
    path = archive(tmp_path / "a.tar.gz", contents | {"data_batch_2": content})
    with pytest.raises(ValueError, match=r"data_batch_2» no se puede leer.*pide usar «.*ejecutado"):
        load_dataset("cifar10", path=path)
    assert not witness.exists()


def test_what_a_pickle_does_to_what_it_is_given_does_not_last(tmp_path):
    """Cambiar los atributos de lo que se admite solo cambia la copia de ese pickle."""
    evil = b"\x80\x02cnumpy\nndarray\nN}X\x06\x00\x00\x00valuesK\x07s\x86b."
    contents = {each: python2(*batch) for each, batch in batches().items()}
    with pytest.raises(ValueError, match=r"test_batch» no lleva en «data» una tabla"):
        load_dataset("cifar10", path=in_folder(tmp_path / "a", contents | {"test_batch": evil}))
    assert module._Array.values is None
    assert len(load_dataset("cifar10", path=in_folder(tmp_path / "b", contents))) == 6 * EACH


PIXELS, LABELS = batches()["data_batch_1"]
WRONG = {
    "vacío": (b"", "no se puede leer"),
    "cortado": (python2(PIXELS, LABELS)[:-4000], "no se puede leer"),
    "otra cosa": (b"\x89PNG\r\n\x1a\n", "no se puede leer"),
    "una lista": (pickle.dumps([1, 2], 2), "no lleva en «data» una tabla de bytes"),
    "sin datos": (pickle.dumps({"labels": LABELS}, 2), "no lleva en «data»"),
    "datos que son una lista": (
        pickle.dumps({"data": PIXELS.tolist(), "labels": LABELS}, 2),
        "no lleva en «data»",
    ),
    "coma flotante": (python3(PIXELS.astype(np.float64), LABELS), "solo se admiten bytes"),
    "objetos": (
        pickle.dumps({"data": np.array([[{}] * 3072]), "labels": [0]}, 2),
        "solo se admiten bytes",
    ),
    "otro tamaño": (python3(PIXELS[:, :3000], LABELS), "no lleva en «data»"),
    "una forma que no cuadra": (
        python2(PIXELS, LABELS).replace(b"M\x04\x00M\x00\x0c", b"M\x05\x00M\x00\x0c"),
        "no se puede leer",
    ),
    "clases de menos": (python2(PIXELS, LABELS[:-1]), "no lleva una clase, de 0 a 9, por cada"),
    "una clase que no hay": (python2(PIXELS, [10, 1, 2, 3]), "no lleva una clase"),
    "clases que son textos": (python3(PIXELS, ["a"] * EACH), "no lleva una clase"),  # type: ignore[list-item]
    "una memoria descomunal": (b"\x80\x02Nr\xff\xff\xff\x7f.", "pide recordar"),
    "un texto que dice medir 8 EB": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "no se puede leer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_pickle_that_is_something_else_is_explained(tmp_path, name):
    content, message = WRONG[name]
    contents = {each: python2(*batch) for each, batch in batches().items()}
    path = in_folder(tmp_path / "a", contents | {"data_batch_3": content})
    with pytest.raises(ValueError, match=f"data_batch_3».*{message}"):
        load_dataset("cifar10", path=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "mide 0 bytes"), (bytes(3072), "mide 3072 bytes"), (b"\x0a" + bytes(3072), "una clase")],
)
def test_a_binary_that_lies_is_explained(tmp_path, content, message):
    contents = {f"{name}.bin": binary(*batch) for name, batch in batches().items()}
    path = in_folder(tmp_path / "a", contents | {"test_batch.bin": content})
    with pytest.raises(ValueError, match=rf"test_batch\.bin».*{message}"):
        load_dataset("cifar10", path=path)


# --- Archivos hostiles ------------------------------------------------------------------


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


TRAPS = {
    "sale hacia arriba": (member("../../.bashrc", size=3), "se sale de su carpeta"),
    "sale por el medio": (member("cifar/../../x", size=3), "se sale de su carpeta"),
    "ruta absoluta": (member("/etc/cron.d/x", size=3), "se sale de su carpeta"),
    "ruta de Windows": (member("..\\..\\x", size=3), "se sale de su carpeta"),
    "enlace simbólico": (member("a", tarfile.SYMTYPE, "/etc"), "es un enlace"),
    "enlace duro": (member("a", tarfile.LNKTYPE, "/etc/passwd"), "es un enlace"),
    "dispositivo": (member("a", tarfile.CHRTYPE), "es un dispositivo"),
    "tubería": (member("a", tarfile.FIFOTYPE), "es un dispositivo"),
    "un lote que es un enlace": (
        member("cifar-10-batches-py/data_batch_1", tarfile.SYMTYPE, "/etc/shadow"),
        "es un enlace",
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_an_archive_with_a_trap_is_refused_and_writes_nothing(tmp_path, name, monkeypatch):
    trap, reason = TRAPS[name]
    inside = tmp_path / "dentro"
    inside.mkdir()
    contents = {each: python2(*batch) for each, batch in batches().items()}
    path = archive(inside / "a.tar.gz", contents, [trap])
    monkeypatch.chdir(inside)
    with pytest.raises(ValueError, match=rf"a\.tar\.gz» lleva «.*», que {reason}.*no se usa"):
        load_dataset("cifar10", path=path)
    assert [each.name for each in tmp_path.rglob("*")] == ["dentro", "a.tar.gz"]


def test_an_archive_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LIMIT", 2**20)
    path = archive(tmp_path / "a.tar.gz", {}, [member("relleno", size=2**26)])
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="se descomprime en más de 1048576 bytes"):
        load_dataset("cifar10", path=path)


def test_a_member_that_claims_too_much_is_not_read(tmp_path):
    path = archive(tmp_path / "a.tar.gz", {"data_batch_1": bytes(5000)})
    with pytest.raises(ValueError, match="dice medir 5000 bytes y se admiten 4000"):
        read_members(path, {"data_batch_1"}, each=4000, limit=2**20)
    contents = {"data_batch_1": bytes(module._EACH + 1)}
    with pytest.raises(ValueError, match="mide 67108865 bytes y se admiten"):
        load_dataset("cifar10", path=in_folder(tmp_path / "a", contents))


@pytest.mark.parametrize("damage", ["cortado", "alterado", "no es gzip", "no es tar", "vacío"])
def test_a_damaged_archive_is_explained(tmp_path, damage):
    path = FORMS["el archivo de Python"](tmp_path)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 0xFF
    damages = {
        "cortado": content[: len(content) // 2],
        "alterado": bytes(changed),
        "no es gzip": b"<html>404</html>",
        "no es tar": gzip.compress(b"esto no es un tar" * 100),
        "vacío": b"",
    }
    path.write_bytes(damages[damage])
    with pytest.raises(ValueError, match=r"a\.tar\.gz» está dañado o cortado"):
        load_dataset("cifar10", path=path)
