"""Modelos ajenos rotos o con mala intención: nada se ejecuta ni se pierde, y se dice qué pasa."""

import errno
import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny
from ddpm_lit.formats.repository import is_repository
from ddpm_lit.formats.settings import LARGEST_FILE
from ddpm_lit.models.export import export_diffusers, export_onnx
from ddpm_lit.models.storage import load_model
from ddpm_lit.models.trained import Trained
from terminal import Run, invoker

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
BIN = "unet/diffusion_pytorch_model.bin"
UNET, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"


@pytest.fixture
def model() -> Trained:
    recipe = tiny.conditional("sola", dropout=0.0)
    return Trained(tiny.randomised(recipe.build_model()), recipe, (1, 8, 8), {})


@pytest.fixture
def folder(model: Trained, tmp_path: Path) -> Path:
    """Un modelo de diffusers sano, que cada test estropea."""
    export_diffusers(model, tmp_path / "modelo")
    # Sin la receta de aquí: como el de otro.
    path = tmp_path / "modelo" / WEIGHTS
    save_file(load_file(path), path)
    assert load_model(tmp_path / "modelo").recipe.data.name == "desconocidos"
    return tmp_path / "modelo"


def refused(folder: Path, match: str, kind: type[Exception] = ValueError) -> str:
    """El modelo no se carga, y la frase dice lo que tiene que decir, en una línea."""
    with pytest.raises(kind, match=match) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "Traceback" not in message and len(message) < 700
    return message


def as_bin(folder: Path, content: Any) -> Path:
    """Los pesos, en un pickle."""
    path = folder / BIN
    torch.save(content, path)
    (folder / WEIGHTS).unlink()
    return path


def edited(folder: Path, file: str, **changes: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- Pickles --------------------------------------------------------------------------------------


class Bomb:
    """Lo que se deserializa escribe un fichero testigo."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.witness),))


@pytest.mark.parametrize("where", ["solo", "junto a los pesos", "sin zip", "de un nombre"])
def test_a_pickle_with_code_is_not_executed(where: str, folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "testigo"
    bomb = Bomb(witness)
    state: dict[Any, Any] = dict(load_file(folder / WEIGHTS))
    content = {
        "solo": bomb,
        "junto a los pesos": state | {"extra": bomb},
        "sin zip": state | {"extra": bomb},
        "de un nombre": {"state_dict": [bomb]},
    }[where]
    path = as_bin(folder, content)
    if where == "sin zip":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    message = refused(folder, "no se ha ejecutado")
    assert "diffusion_pytorch_model.bin" in message and "safetensors" in message
    assert not witness.exists()
    torch.load(path, weights_only=False)
    assert witness.exists(), "el testigo funciona: sin cuidado, se habría ejecutado"


def test_a_bare_pickle_with_code_is_not_executed(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "testigo"
    (folder / WEIGHTS).unlink()
    (folder / BIN).write_bytes(pickle.dumps(Bomb(witness), protocol=2))
    refused(folder, "no se ha ejecutado|no es un fichero de pesos")
    assert not witness.exists()
    pickle.loads((folder / BIN).read_bytes())
    assert witness.exists()


def test_a_compressed_pickle_is_not_inflated(folder: Path) -> None:
    """Una bomba: cien millones de ceros en unos pocos kilobytes."""
    path = as_bin(folder, load_file(folder / WEIGHTS))
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/999", bytes(100_000_000))
    assert path.stat().st_size < 2_000_000
    refused(folder, "dice guardar 100.*trampa")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no es un fichero de pesos|no guarda solo"),
        (b"hola, soy texto", "no es un fichero de pesos|no guarda solo"),
        (b"PK\x03\x04" + bytes(200), "no es un fichero de pesos|no guarda solo"),
    ],
)
def test_a_broken_pickle_is_said(content: bytes, match: str, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / BIN).write_bytes(content)
    refused(folder, match)


def test_a_truncated_pickle_is_said(folder: Path) -> None:
    path = as_bin(folder, load_file(folder / WEIGHTS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(folder, "no es un fichero de pesos|no guarda solo")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.zeros(2)], "no es un diccionario de tensores"),
        ({"conv_in.weight": [1.0]}, "no es un diccionario de tensores"),
        ({3: torch.zeros(2)}, "no es un diccionario de tensores"),
        ({"conv_in.weight": torch.zeros(2, dtype=torch.int64)}, "torch.int64"),
        ({"conv_in.weight": torch.zeros(2, 2).to_sparse()}, "sparse"),
    ],
)
def test_a_pickle_of_other_things_is_said(content: Any, match: str, folder: Path) -> None:
    as_bin(folder, content)
    refused(folder, match)


# --- Safetensors ----------------------------------------------------------------------------------


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LYING = {
    "vacío": b"",
    "la cabecera mide más que el fichero": safetensors({}, length=2**40),
    "la cabecera mide más de lo que cabe": safetensors({}, length=2**64 - 1),
    "la cabecera no es JSON": safetensors(b"{no es json"),
    "los datos no están": safetensors({"conv_in.weight": tensor(0, 400, [100])}),
    "la forma no es la de los datos": safetensors(
        {"conv_in.weight": tensor(0, 8, [100])}, bytes(8)
    ),
    "la forma desborda": safetensors({"conv_in.weight": tensor(0, 8, [2**40, 2**40])}, bytes(8)),
    "acaba antes de empezar": safetensors({"conv_in.weight": tensor(8, 0, [2])}, bytes(8)),
    "se pisan": safetensors({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
    "sobran datos": safetensors({"a": tensor(0, 8, [2])}, bytes(800)),
    "un tipo inventado": safetensors({"a": tensor(0, 8, [2], "F33")}, bytes(8)),
    "forma negativa": safetensors({"a": tensor(0, 8, [-2])}, bytes(8)),
}


@pytest.mark.parametrize("what", LYING)
def test_a_lying_header_is_said(what: str, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(LYING[what])
    refused(folder, "no es un fichero safetensors o está dañado")


def test_a_truncated_file_is_said(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    refused(folder, "está dañado")


def test_integers_are_not_weights(folder: Path) -> None:
    path = folder / WEIGHTS
    state = load_file(path)
    save_file({name: value.to(torch.int32) for name, value in state.items()}, path)
    refused(folder, "torch.int32")


# --- Pesos que no casan ---------------------------------------------------------------------------


def without_one(state: dict[str, Tensor]) -> None:
    del state["conv_in.weight"]


def one_more(state: dict[str, Tensor]) -> None:
    state["conv_en.weight"] = torch.zeros(2)


def another_shape(state: dict[str, Tensor]) -> None:
    state["conv_in.weight"] = torch.zeros(8, 1, 3, 5)


def twice(state: dict[str, Tensor]) -> None:
    attention = "mid_block.attentions.0"
    state[f"{attention}.query.weight"] = state[f"{attention}.to_q.weight"].clone()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (without_one, "falta «conv_in.weight»"),
        (one_more, "sobra «conv_en.weight»"),
        (another_shape, r"«conv_in.weight» es \(8, 1, 3, 5\) y se espera \(8, 1, 3, 3\)"),
        (twice, "dos veces"),
    ],
)
def test_weights_that_are_not_of_the_network_are_said(
    spoil: Callable[[dict[str, Tensor]], None], match: str, folder: Path
) -> None:
    path = folder / WEIGHTS
    state = load_file(path)
    spoil(state)
    save_file(state, path)
    refused(folder, match)


# --- Configuraciones ------------------------------------------------------------------------------

ABSURD: list[tuple[str, dict[str, Any]]] = [
    (UNET, {"block_out_channels": [2**40, 16]}),
    (UNET, {"block_out_channels": [8] * 1000}),
    (UNET, {"block_out_channels": [8, -16]}),
    (UNET, {"block_out_channels": [8, 16.5]}),
    (UNET, {"block_out_channels": "muchos"}),
    (UNET, {"block_out_channels": []}),
    (UNET, {"block_out_channels": None}),
    (UNET, {"down_block_types": [["DownBlock2D"], 3]}),
    (UNET, {"layers_per_block": 10**9}),
    (UNET, {"layers_per_block": True}),
    (UNET, {"layers_per_block": "2"}),
    (UNET, {"in_channels": 10**12}),
    (UNET, {"out_channels": 0}),
    (UNET, {"sample_size": 10**9}),
    (UNET, {"sample_size": [8, 8, 8]}),
    (UNET, {"sample_size": -8}),
    (UNET, {"sample_size": "8"}),
    (UNET, {"num_class_embeds": 10**12}),
    (UNET, {"attention_head_dim": 0}),
    (UNET, {"norm_eps": -1}),
    (UNET, {"norm_eps": float("nan")}),
    (UNET, {"norm_num_groups": 0}),
    (UNET, {"dropout": 2}),
    (UNET, {"flip_sin_to_cos": "sí"}),
    (UNET, {"resnet_time_scale_shift": {"a": 1}}),
    (SCHEDULER, {"num_train_timesteps": 10**12}),
    (SCHEDULER, {"num_train_timesteps": 0}),
    (SCHEDULER, {"num_train_timesteps": 3.5}),
    (SCHEDULER, {"beta_schedule": "linear", "beta_start": 7}),
    (SCHEDULER, {"beta_schedule": "linear", "beta_end": float("inf")}),
    (SCHEDULER, {"beta_schedule": ["linear"]}),
    (SCHEDULER, {"clip_sample": "no"}),
    (SCHEDULER, {"_class_name": 7}),
]


@pytest.mark.parametrize(("file", "changes"), ABSURD)
def test_an_absurd_configuration_is_refused_before_it_takes_memory(
    file: str, changes: dict[str, Any], folder: Path
) -> None:
    edited(folder, file, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(folder, list(changes)[-1])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, "en KiB"
    assert file.split("/")[1] in message and "se admite" in message


@pytest.mark.parametrize("file", [UNET, SCHEDULER, INDEX])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no es JSON"),
        (b'{"_class_name": "UNet2DModel", ', "no es JSON"),
        (b"\xff\xfe\x00", "no es JSON"),
        (b"[" * 100_000, "no es JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "no es JSON"),
        (b"[1, 2]", "se esperaba un diccionario"),
        (b"7", "se esperaba un diccionario"),
        (b'{"a": "' + b"x" * LARGEST_FILE + b'"}', "no lo es, o está dañada"),
    ],
    ids=["vacío", "a medias", "binario", "listas", "anidado", "lista", "número", "enorme"],
)
def test_a_broken_json_is_said(file: str, content: bytes, match: str, folder: Path) -> None:
    (folder / file).write_bytes(content)
    assert Path(file).name in refused(folder, match)


def test_a_model_with_other_pieces_is_said(folder: Path) -> None:
    edited(folder, INDEX, vae=["diffusers", "AutoencoderKL"])
    refused(folder, "«vae».*unet y scheduler")


def test_missing_files_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused(folder, "faltan sus pesos.*diffusion_pytorch_model.safetensors", FileNotFoundError)
    (folder / UNET).unlink()
    refused(folder, "Falta el fichero.*config.json", FileNotFoundError)


def test_a_receipt_of_ours_that_lies_is_not_believed(folder: Path) -> None:
    """La receta que llevan los pesos no vale si no es la de las configuraciones."""
    path = folder / WEIGHTS
    for table in ("{", "[]", '{"format": "1"}', '{"format": "1", "recipe": {"name": 3}}'):
        save_file(load_file(path), path, metadata={"ddpm_lit": table})
        assert load_model(folder).recipe.data.name == "desconocidos"


# --- Pesos repartidos -----------------------------------------------------------------------------


def split(folder: Path, name: Any, *, weight_map: Any = None) -> Path:
    """Un índice que dice que todos los pesos están en `name`."""
    state = load_file(folder / WEIGHTS)
    index = folder / f"{WEIGHTS}.index.json"
    table = dict.fromkeys(state, name) if weight_map is None else weight_map
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    os.replace(folder / WEIGHTS, folder / "unet" / "uno.safetensors")
    return index


def test_an_index_is_followed(folder: Path, model: Trained) -> None:
    split(folder, "uno.safetensors")
    state = load_model(folder).model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in model.model.state_dict().items())


@pytest.mark.parametrize(
    "name",
    [
        "../fuera.safetensors",
        "../../fuera.safetensors",
        "sub/../../fuera.safetensors",
        "..\\fuera.safetensors",
        ".oculto.safetensors",
        "C:fuera.safetensors",
        "uno.bin",
        "uno.safetensors\n",
        "",
        3,
        None,
        ["uno.safetensors"],
    ],
)
def test_an_index_cannot_leave_its_folder(name: Any, folder: Path) -> None:
    fuera = folder / "fuera.safetensors"
    save_file(load_file(folder / WEIGHTS), fuera)
    split(folder, name)
    refused(folder, "weight_map.*de su misma carpeta, sin ruta")


def test_an_index_cannot_name_an_absolute_path(folder: Path) -> None:
    target = folder / "fuera.safetensors"
    save_file(load_file(folder / WEIGHTS), target)
    split(folder, str(target))
    refused(folder, "weight_map")


@pytest.mark.parametrize("table", [{}, [], "uno.safetensors", 7])
def test_an_index_that_is_not_one_is_said(table: Any, folder: Path) -> None:
    split(folder, "", weight_map=table)
    refused(folder, "weight_map")


def test_a_missing_part_is_named(folder: Path) -> None:
    split(folder, "dos.safetensors")
    refused(folder, "dos.safetensors", FileNotFoundError)


# --- Al exportar ----------------------------------------------------------------------------------


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """El disco se llena a mitad de cualquier fichero de más de mil bytes."""
    whole = Path.write_bytes

    def write(self: Path, data: bytes) -> int:
        if len(data) > 1000:
            whole(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return invoker(capfd)


def test_a_full_disk_does_not_lose_the_earlier_file(
    model: Trained, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_onnx(model, "red.onnx")
    before = Path("red.onnx").read_bytes()
    full_disk(monkeypatch)
    done = run("export", "modelo", "--format", "onnx", "--out", "red.onnx")
    assert done.code == 1 and "no queda espacio en el disco" in done.err
    assert Path("red.onnx").read_bytes() == before
    done = run("export", "modelo", "--format", "diffusers", "--out", "otra")
    assert done.code == 1 and "no queda espacio en el disco" in done.err
    assert sorted(each.name for each in Path().iterdir()) == ["modelo", "red.onnx"]


def test_the_limit_of_the_system_does_not_leave_half_a_file(model: Trained, tmp_path: Path) -> None:
    """Lo mismo sin tocar el programa: el sistema corta la escritura."""
    export_onnx(model, tmp_path / "red.onnx")
    before = (tmp_path / "red.onnx").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError):
            export_onnx(model, tmp_path / "red.onnx")
        with pytest.raises(OSError):
            export_diffusers(model, tmp_path / "otra")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "red.onnx").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["red.onnx"]


def test_without_permission_nothing_is_left(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", forbidden)
        done = run("export", "modelo", "--format", "diffusers", "--out", "otra")
        assert done.code == 1 and "no hay permiso" in done.err
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", forbidden)
        done = run("export", "modelo", "--format", "onnx", "--out", "red.onnx")
        assert done.code == 1 and "no hay permiso" in done.err
    done = run("export", "modelo", "--format", "onnx", "--out", f"modelo/{UNET}/red.onnx")
    assert done.code == 2 and "es un fichero, no una carpeta" in done.err
    assert [each.name for each in Path().iterdir()] == ["modelo"]


def test_a_folder_with_something_is_not_overwritten(
    model: Trained, folder: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="da otra, o quita antes"):
        export_diffusers(model, folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "fichero").write_text("hola")
    with pytest.raises(FileExistsError):
        export_diffusers(model, tmp_path / "fichero")
    (tmp_path / "vacía").mkdir()
    export_diffusers(model, tmp_path / "vacía")
    assert is_repository(tmp_path / "vacía")


def test_every_complaint_fits_in_one_line_of_the_terminal(folder: Path, run: Run) -> None:
    (folder / WEIGHTS).write_bytes(b"nada")
    for order in ("info", "sample", "evaluate"):
        done = run(order, "modelo")
        if order == "info":  # no lee los pesos
            assert done.code == 0
            continue
        assert done.code == 1
        assert done.err.startswith("Error: ") and done.err.count("\n") == 1
