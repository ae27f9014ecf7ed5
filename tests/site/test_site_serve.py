"""Lo que ve quien escribe: `mkdocs serve` enseña enseguida un cambio y no repite celdas."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import logging, sys
from mkdocs.commands.serve import serve
logging.basicConfig(level=logging.INFO)
serve("mkdocs.yml", docs_dir=sys.argv[1], dev_addr=sys.argv[2])
"""


class Server:
    """Un `mkdocs serve` sobre una copia de `docs/`, o de otra carpeta."""

    def __init__(self, folder: Path, docs: Path = ROOT / "docs") -> None:
        self.docs = folder / "docs"
        shutil.copytree(docs, self.docs)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        cache = folder / "cache"
        if (ROOT / ".cache" / "sitio").is_dir():
            shutil.copytree(ROOT / ".cache" / "sitio", cache)
        self.log = folder / "registro.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(self.docs), self.address],
            cwd=ROOT,
            env={
                **os.environ,
                "DDPM_CACHE": str(cache),
                "NO_MKDOCS_2_WARNING": "1",
                "PYTHONUNBUFFERED": "1",
            },
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def read(self, name: str) -> str:
        """Página tal y como se sirve ahora; vacía si todavía no hay servidor."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/{name}", timeout=60) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def wait(self, name: str, text: str, limit: float) -> None:
        """Espera, como mucho `limit` segundos, a que un texto aparezca en una página."""
        start = time.monotonic()
        while text not in self.read(name):
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() - start < limit, self.log.read_text(encoding="utf-8")[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        """Lo para, y espera a que acabe."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def work(self) -> list[tuple[int, int]]:
        """Celdas ejecutadas y páginas convertidas en cada construcción."""
        log = self.log.read_text(encoding="utf-8")
        counts = re.findall(r"Celdas ejecutadas: (\d+)\. Páginas convertidas: (\d+)", log)
        return [(int(cells), int(pages)) for cells, pages in counts]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("servir"))
    try:
        running.wait("index.html", "</html>", 300)
        yield running
    finally:
        running.stop()


def test_a_change_of_prose_converts_one_page_and_runs_no_cell(server: Server) -> None:
    pages = [path for path in server.docs.rglob("*.md") if "exec=" in path.read_text("utf-8")]
    longest = max(pages, key=lambda path: path.stat().st_size)
    name = longest.relative_to(server.docs).with_suffix(".html").as_posix()
    original = longest.read_text(encoding="utf-8")
    marks = ("Frase nueva, la primera.", "Frase nueva, la segunda.")
    for mark in marks:
        longest.write_text(f"{original}\n{mark}\n", encoding="utf-8")
        server.wait(name, mark, 60)
        time.sleep(1)
    assert server.work()[1:] == [(0, 1)] * len(marks)


OWN = re.compile(r"livereload\(.*?\)|127\.0\.0\.1(?::|%3A)\d+")
"""Lo que cada servidor pone de suyo: su dirección y por qué construcción va."""
EQUATION = "$$\n\\xt = \\xt\n\\label{citada:prueba-servir}\n$$\n"


def test_what_is_kept_is_what_would_be_made_again(server: Server, tmp_path: Path) -> None:
    """Otra ecuación, que cambia el número de las demás, y otro título, que cambia la navegación."""
    forward, resumen = (
        server.docs / name for name in ("componentes/forward.md", "introduccion/resumen.md")
    )
    kept = {path: path.read_text(encoding="utf-8") for path in (forward, resumen)}
    seen = ("componentes/forward.html", "componentes/posterior.html", "libro-mayor.html")
    seen += ("introduccion/resumen.html", "introduccion/que-no-es.html", "search/search_index.json")
    head, _, rest = kept[forward].partition("\n## ")
    forward.write_text(f"{head}\n{EQUATION}\n## {rest}", encoding="utf-8")
    server.wait(seen[0], "prueba-servir", 60)
    resumen.write_text(re.sub(r"(?m)^# .*", "# Otro título", kept[resumen], count=1), "utf-8")
    server.wait(seen[3], "Otro título", 60)
    other = Server(tmp_path, server.docs)
    try:
        other.wait("index.html", "</html>", 300)
        for name in seen:
            before, after = (OWN.sub("", each.read(name)) for each in (server, other))
            assert len(before) > 1000 and before == after, name
    finally:
        other.stop()
        for path, text in kept.items():
            path.write_text(text, encoding="utf-8")
