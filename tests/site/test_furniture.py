"""Lo que acompaña a un artículo: fechas, metadatos, compartir y, solo si se piden, comentarios."""

import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import small_sites
import yaml
from scripts.site import revisions, sentinels
from scripts.site.browser import serve

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://ejemplo.es/libro/"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Una web con dirección, repositorio y comentarios, como la que se publica."""
    folder = tmp_path_factory.mktemp("publicada")
    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), sentinels._Loader)
    extra = settings["extra"] | {"comentarios": "alguien/libro;R_1;General;DIC_2"}
    extra = {key: value for key, value in extra.items() if value is not None}
    done = small_sites.build(
        folder,
        {"index.md": "---\ntitle: El libro\ndate: 2024-02-23\n---\n\n# Uno\n\nUn párrafo.\n"},
        strict=False,
        site_url=ADDRESS,
        repo_url="https://github.com/alguien/libro",
        extra=extra,
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def meta(page: str) -> dict[str, str]:
    """Los metadatos de una página, por su nombre."""
    return dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)"', page))


def test_the_newest_commit_of_each_file_counts() -> None:
    told = ["*2026-11-27", "", "docs/a.md", "*2026-11-20", "", "docs/a.md", "docs/b/ñ.md"]
    assert revisions.newest(told) == {"a.md": date(2026, 11, 27), "b/ñ.md": date(2026, 11, 20)}


def test_dates_come_from_the_repository_and_there_are_none_outside(tmp_path: Path) -> None:
    assert revisions.dates(tmp_path) == {}
    git = ("git", "-c", "user.name=N", "-c", "user.email=n@ejemplo.es", "-C", str(tmp_path))
    (tmp_path / "docs").mkdir()
    for day in ("2026-01-02", "2026-03-04"):
        (tmp_path / "docs" / "pá.md").write_text(day, encoding="utf-8")
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        stamp = f"--date={day}T12:00:00"
        env = {"GIT_COMMITTER_DATE": f"{day}T12:00:00", "PATH": "/usr/bin:/bin"}
        subprocess.run([*git, "commit", "-qm", day, stamp], check=True, env=env)
    assert revisions.dates(tmp_path) == {"pá.md": date(2026, 3, 4)}


def test_a_date_is_written_in_spanish() -> None:
    assert revisions.in_spanish(date(2026, 1, 9)) == "9 de enero de 2026"
    assert revisions.in_spanish(date(2024, 12, 31)) == "31 de diciembre de 2024"


def test_each_page_says_when_it_was_revised(site_dir: Path) -> None:
    when = revisions.dates()
    if not when:
        pytest.skip("esto no es un repositorio de git")
    book = sentinels.read_book(ROOT / "mkdocs.yml")
    for uri in book.pages:
        page = (site_dir / uri).with_suffix(".html").read_text(encoding="utf-8")
        assert ("dl-pie" in page) == (uri in when and not uri.startswith("api/")), uri
    cover = (site_dir / "index.html").read_text(encoding="utf-8")
    assert "23 de febrero de 2024" in cover and "Explicación · #difusión" in cover


def test_a_site_without_address_invents_none_and_has_no_comments(site_dir: Path) -> None:
    cover = (site_dir / "index.html").read_text(encoding="utf-8")
    told = meta(cover)
    assert {"og:title", "og:description", "twitter:card", "article:section"} <= told.keys()
    assert not {"og:url", "og:image", "twitter:image"} & told.keys()
    for absent in ("bsky.app", "linkedin.com", "dl-comentarios", "md-source"):
        assert absent not in cover


def test_the_published_site_has_its_metadata(published: Path) -> None:
    told = meta((published / "index.html").read_text(encoding="utf-8"))
    assert told["og:title"] == told["twitter:title"] == "El libro"
    assert told["og:url"] == ADDRESS + "index.html"
    assert told["og:image"] == told["twitter:image"] == ADDRESS + "assets/hero.png"
    assert told["og:image:alt"] == told["twitter:image:alt"] != ""
    assert told["article:published_time"] == "2024-02-23"
    assert told["article:section"] == "Explicación"
    assert told["article:tag"] == "difusión"
    assert date.fromisoformat(told["article:modified_time"])


def test_it_can_be_shared_without_scripts_of_others(published: Path) -> None:
    page = (published / "index.html").read_text(encoding="utf-8")
    for place in ("bsky.app/intent", "linkedin.com/sharing", "x.com/intent", "mailto:?"):
        (link,) = re.findall(rf'href="([^"]*{re.escape(place)}[^"]*)"', page)
        assert "ejemplo.es/libro/index.html" in link.replace("%3A", ":").replace("%2F", "/")
    assert not re.search(
        r'<(?:script|img|iframe|link)[^>]+(?:src|href)="https?://(?!ejemplo)', page
    )
    assert 'href="https://github.com/alguien/libro"' in page
    assert 'data-md-component="source"' not in page, "el tema preguntaría a GitHub"


def test_comments_ask_for_nothing_until_they_are_wanted(
    published: Path, new_context: Callable[..., Any]
) -> None:
    page = new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark").new_page()
    asked: list[str] = []
    page.route("https://giscus.app/**", lambda route: route.fulfill(body=""))
    page.on("request", lambda request: asked.append(request.url))
    with serve(published) as address:
        page.goto(address + "index.html")
        page.wait_for_load_state("networkidle")
        assert all(url.startswith(address) for url in asked)
        with page.expect_request("https://giscus.app/client.js"):
            page.locator(".dl-comentarios button").click()
        given = page.evaluate("({...document.querySelector('.dl-comentarios script').dataset})")
    assert given == {
        "repo": "alguien/libro",
        "repoId": "R_1",
        "category": "General",
        "categoryId": "DIC_2",
        "mapping": "pathname",
        "lang": "es",
        "theme": "dark",
    }


def test_without_a_share_menu_the_address_is_copied(
    published: Path, new_context: Callable[..., Any]
) -> None:
    context = new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.add_init_script("delete Navigator.prototype.share")
    with serve(published) as address:
        page.goto(address + "index.html")
        button = page.locator("[data-compartir]")
        button.click()
        page.get_by_text("Dirección copiada").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == address + "index.html"
