"""Los modelos del hub: con uno de mentira en esta máquina, sin red, a medias y a mano."""

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import tiny
from ddpm_lit.formats import hub
from ddpm_lit.formats.hub import fetch, hub_folder, is_hub_id
from ddpm_lit.models.export import export_diffusers
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.storage import load_model, read_header
from ddpm_lit.models.trained import Trained
from terminal import Run, invoker

REPO = "alguien/cifras"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Un hub con los ficheros de una carpeta; `cut` son los que corta a la mitad."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.cut: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *words: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPO}"):
            names = [
                file.relative_to(self.server.folder).as_posix()
                for file in sorted(self.server.folder.rglob("*"))
                if file.is_file()
            ]
            listed = [{"rfilename": name} for name in names]
            answer = {"id": REPO, "sha": COMMIT, "siblings": listed}
            if "/tree/" in path:
                answer = [
                    {
                        "type": "file",
                        "path": name,
                        "size": (self.server.folder / name).stat().st_size,
                        "oid": "0" * 40,
                    }
                    for name in names
                ]
            self.send(json.dumps(answer).encode(), "application/json", body)
            return
        name = path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        name = name.removeprefix(f"/{REPO}/resolve/main/")
        file = self.server.folder / name
        if not file.is_file():
            self.send_error(404)
            return
        if body:
            self.server.asked.append(name)
        content = file.read_bytes()
        cut = name in self.server.cut
        self.send(content, "application/octet-stream", body, cut=cut)

    def send(self, content: bytes, kind: str, body: bool, *, cut: bool = False) -> None:
        start = 0
        asked = self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            rest = content[start:]
            self.wfile.write(rest[: len(rest) // 2] if cut else rest)
        if cut:
            self.close_connection = True


@pytest.fixture
def model(tmp_path: Path) -> Trained:
    recipe = tiny.conditional("cifras", dropout=0.0)
    return Trained(tiny.randomised(recipe.build_model()), recipe, (1, 8, 8), {"steps": 2})


@pytest.fixture
def server(model: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Un hub con el modelo, y una caché y una carpeta de trabajo vacías."""
    export_diffusers(model, tmp_path / "publicado")
    fake = FakeHub(tmp_path / "publicado")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    (tmp_path / "aqui").mkdir()
    monkeypatch.chdir(tmp_path / "aqui")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.shutdown()
    fake.server_close()
    thread.join()


def leave_by_hand(server: FakeHub) -> None:
    """Deja los tres ficheros que dice el error, sueltos, en la carpeta que dice."""
    folder = hub_folder(REPO)
    folder.mkdir(parents=True)
    for file in (
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ):
        shutil.copy(server.folder / file, folder)


def test_a_model_of_the_hub_is_brought_once(server: FakeHub, model: Trained) -> None:
    first = load_model(REPO)
    assert first.recipe == model.recipe
    state = model.model.state_dict()
    assert all((value == state[name]).all() for name, value in first.model.state_dict().items())
    asked = len(server.asked)
    assert asked == 4
    assert load_pretrained(REPO).recipe == model.recipe
    assert read_header(REPO).shape == (1, 8, 8)
    assert len(server.asked) == asked, "ya se tenía"
    assert not (hub_folder(REPO) / ".cache").exists()


def test_only_what_is_needed_is_brought(server: FakeHub) -> None:
    (server.folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"no hace falta")
    (server.folder / "README.md").write_text("hola")
    (server.folder / "vae").mkdir()
    (server.folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"tampoco")
    load_model(REPO)
    assert len(server.asked) == 4
    assert not any("bin" in name or "vae" in name or "README" in name for name in server.asked)


def test_a_model_of_another_kind_is_refused_before_its_weights(server: FakeHub) -> None:
    index = json.loads((server.folder / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "CLIPTextModel"]
    (server.folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="text_encoder"):
        load_model(REPO)
    assert not any("safetensors" in name for name in server.asked)


def test_a_server_that_stops_half_way_loses_nothing(server: FakeHub, model: Trained) -> None:
    server.cut = {"unet/diffusion_pytorch_model.safetensors"}
    with pytest.raises(FileNotFoundError, match="A mano") as caught:
        load_model(REPO)
    assert str(hub_folder(REPO)) in str(caught.value)
    assert not hub_folder(REPO).exists(), "una descarga a medias no es un modelo"
    server.cut = set()
    assert load_model(REPO).recipe == model.recipe


def test_a_server_that_never_gives_the_scheduler_is_not_taken_for_whole(server: FakeHub) -> None:
    server.cut = {"scheduler/scheduler_config.json"}
    with pytest.raises(FileNotFoundError, match="no se ha podido traer"):
        load_model(REPO)
    assert not hub_folder(REPO).exists()


def test_an_unknown_model_says_so(server: FakeHub) -> None:
    with pytest.raises(FileNotFoundError, match="No hay ninguna carpeta «alguien/otras»"):
        load_model("alguien/otras")


def test_a_repository_without_weights_says_so(server: FakeHub) -> None:
    (server.folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no trae pesos"):
        load_model(REPO)


def test_without_network_the_folder_to_fill_by_hand_is_named(
    server: FakeHub, model: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError) as caught:
        load_model(REPO)
    message = str(caught.value)
    folder = hub_folder(REPO)
    for word in (REPO, str(folder), "config.json", "scheduler_config.json", "safetensors"):
        assert word in message
    leave_by_hand(server)
    assert load_model(REPO).recipe == model.recipe


def test_without_the_package_the_extra_and_the_folder_are_named(
    server: FakeHub, model: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"pip install huggingface-hub .*«hub».*A mano"):
        load_model(REPO)
    leave_by_hand(server)
    assert load_model(REPO).recipe == model.recipe


def test_a_path_of_this_machine_is_never_asked_for(
    server: FakeHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(repo_id: str) -> Path:
        raise AssertionError(f"se ha pedido {repo_id}")

    monkeypatch.setattr(hub, "fetch", refuse)
    Path("modelos").mkdir()
    for text in (
        "modelos/nada",
        "runs/nada",
        "./a/b",
        "../a/b",
        "a/b/c",
        "a/b.safetensors",
        "nada",
        "/a/b",
        "a/../b",
        "https://a/b",
    ):
        assert not is_hub_id(text), text
    assert is_hub_id("google/ddpm-cifar10-32")
    run: Run = invoker(capfd)
    done = run("sample", "modelos/nada")
    assert done.code == 1 and "No existe el modelo «modelos/nada»" in done.err


def test_the_commands_take_an_id(server: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
    run: Run = invoker(capfd)
    done = run("info", REPO)
    assert done.code == 0 and "(1, 8, 8)" in done.out, done.err
    done = run("sample", REPO, "-n", "2", "--steps", "2", "--device", "cpu", "--out", "m.png")
    assert done.code == 0 and Path("m.png").is_file()
    done = run("info", "alguien/otras")
    assert done.code == 1 and done.err.count("\n") == 1 and "A mano" in done.err


def test_fetching_what_is_already_there_needs_no_package(
    server: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_by_hand(server)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert fetch(REPO) == hub_folder(REPO)
