"""Descargar con un servidor de verdad, en esta máquina, que acierta o que hace de las suyas."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ddpm_lit.files.download import Remote, fetched

CONTENT = bytes(range(256)) * 2000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
LIMIT = 2 * len(CONTENT)


class Handler(BaseHTTPRequestHandler):
    """Cada ruta es un servidor distinto."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "mudo":
            time.sleep(3)
            return
        if kind == "falta":
            self.send_error(404)
            return
        if kind == "basura":
            self.wfile.write(b"esto no es HTTP\r\n\r\n")
            return
        content = {"otro": CONTENT[::-1], "enorme": CONTENT * 9}.get(kind, CONTENT)
        self.send_response(200)
        if kind != "sin-longitud":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "corta":
            content = content[: len(content) // 2]
        if kind == "se-calla":
            self.wfile.write(content[:1000])
            self.wfile.flush()
            time.sleep(3)
            return
        with suppress(ConnectionError):
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Sin ruido en los tests."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked.clear()


def get(server: str, *kinds: str, path: Path, digest: str = DIGEST) -> Path:
    urls = tuple(f"{server}/{kind}/datos.bin" for kind in kinds)
    return fetched(Remote(urls, digest, LIMIT), path / "datos.bin", timeout=0.5)


@pytest.mark.parametrize("kind", ["bien", "sin-longitud"])
@pytest.mark.parametrize("digest", [DIGEST, f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_file_arrives_whole_and_only_once(server, tmp_path, kind, digest):
    for _ in range(2):
        assert get(server, kind, path=tmp_path, digest=digest).read_bytes() == CONTENT
    assert Handler.asked == [f"/{kind}/datos.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["datos.bin"]


FAILURES = {
    "corta": f"se ha cortado: han llegado {len(CONTENT) // 2} bytes de {len(CONTENT)}",
    "otro": "lo que llega no es el fichero publicado",
    "mudo": r"no responde en 0\.5 s",
    "se-calla": r"no responde en 0\.5 s",
    "falta": "responde con el error 404",
    "basura": "esto no es HTTP",
    "enorme": f"llegan más de {LIMIT} bytes",
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_bad_server_leaves_nothing_and_is_explained(server, tmp_path, kind):
    said = rf"«datos\.bin».*/{kind}/datos\.bin: {FAILURES[kind]}.*déjalo en «"
    with pytest.raises(ConnectionError, match=said):
        get(server, kind, path=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FAILURES)
def test_after_a_bad_server_comes_the_mirror(server, tmp_path, kind):
    assert get(server, kind, "bien", path=tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [f"/{kind}/datos.bin", "/bien/datos.bin"]


def test_a_damaged_file_is_fetched_again_and_kept_if_it_cannot_be(server, tmp_path):
    (tmp_path / "datos.bin").write_bytes(b"a medias")
    with (
        pytest.warns(UserWarning, match=r"datos\.bin» está dañado"),
        pytest.raises(ConnectionError),
    ):
        get(server, "falta", "otro", path=tmp_path)
    assert (tmp_path / "datos.bin").read_bytes() == b"a medias"
    with pytest.warns(UserWarning, match="está dañado"):
        assert get(server, "bien", path=tmp_path).read_bytes() == CONTENT


def test_without_a_network_every_place_is_named(tmp_path):
    remote = Remote(("http://127.0.0.1:9/a.gz", "http://127.0.0.1:9/b.gz"), DIGEST, LIMIT)
    with pytest.raises(ConnectionError, match=r"9/a\.gz: .*; http.*9/b\.gz: .*déjalo en «"):
        fetched(remote, tmp_path / "a.gz", timeout=0.5)


def test_a_place_that_cannot_be_written_is_not_the_fault_of_the_server(server, tmp_path):
    (tmp_path / "fichero").write_text("no es una carpeta")
    with pytest.raises(OSError, match="fichero") as error:
        get(server, "bien", path=tmp_path / "fichero")
    assert not isinstance(error.value, ConnectionError)
