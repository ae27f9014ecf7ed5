"""Un navegador y un servidor local para mirar y probar la web ya construida."""

import functools
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)


def find_chromium() -> str | None:
    """Ruta del Chromium del sistema o del de Playwright; `None` si no hay ninguno."""
    for name in CANDIDATES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if own and os.path.exists(own) else None


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, instead: Mapping[str, bytes], **kwargs: Any) -> None:
        self.instead = instead
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if (body := self.instead.get(self.path)) is None:
            super().do_GET()
        else:
            self._send(200, self.guess_type(self.path), body)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        page = Path(self.directory) / "404.html"
        if code != 404 or not page.is_file():
            super().send_error(code, message, explain)
            return
        self._send(404, "text/html; charset=utf-8", page.read_bytes())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quien cierra una pestaña a medias no es un error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(folder: Path, instead: Mapping[str, bytes] | None = None) -> Iterator[str]:
    """Sirve una carpeta en un puerto libre de esta máquina mientras dure el bloque.

    Args:
        folder: La carpeta.
        instead: Lo que se da en vez de algunos ficheros, por su ruta en la web.
    """
    handler = functools.partial(_Quiet, directory=str(folder), instead=instead or {})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def without_search(folder: Path) -> dict[str, bytes]:
    """El índice de búsqueda, vacío; el de verdad se trae y se ordena entero en cada página."""
    name = "search/search_index.json"
    index = json.loads((folder / name).read_text(encoding="utf-8"))
    return {f"/{name}": json.dumps(index | {"docs": []}).encode()}


def pages(folder: Path) -> list[str]:
    """Páginas de una web construida, como rutas relativas."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
