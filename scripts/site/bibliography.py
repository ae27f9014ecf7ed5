"""Las fuentes del libro: de `docs/fuentes.bib` sale la página que las enumera."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bibtexparser.entrypoint import parse_file
from bibtexparser.middlewares import NameParts, SeparateCoAuthors, SplitNameParts

from .project import ROOT

SOURCE = ROOT / "docs" / "fuentes.bib"
PAGE = "fuentes.md"
READING = "aprender"
"""El apartado de las lecturas, que no se citan en los capítulos."""
SECTIONS = (READING, "origen", "perdidas", "muestreo", "condiciones", "latente", "red", "medidas")
LANGUAGES = {"spanish": "en español", "english": "en inglés"}
REQUIRED = ("author", "title", "langid", "keywords", "annotation")
ARTICLE = re.compile(
    r"https?://(?:arxiv\.org/(?:abs|pdf)/(?P<arxiv>\d{4}\.\d{4,5})|(?:dx\.)?doi\.org/(?P<doi>[^\s)>\"]+)"
    r"|(?P<other>(?:openreview\.net|proceedings\.\S+?|papers\.n(?:eur)?ips\.cc|aclanthology\.org"
    r"|www\.jmlr\.org|dl\.acm\.org|openaccess\.thecvf\.com)/[^\s)>\"]+))"
)
SHOWN_AUTHORS = 4


class BibliographyError(ValueError):
    """Una entrada de `fuentes.bib` mal escrita o incompleta."""


@dataclass(frozen=True)
class Work:
    """Un trabajo: quién, qué, cuándo, dónde está, en qué idioma, en qué apartado y para qué."""

    key: str
    authors: tuple[NameParts, ...]
    title: str
    year: str
    arxiv: str
    doi: str
    url: str
    language: str
    section: str
    note: str

    @property
    def address(self) -> str:
        """Dónde se lee."""
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    @property
    def identifier(self) -> str:
        """Con qué se reconoce en un enlace: su número de arXiv, su DOI o su dirección."""
        return self.arxiv or self.doi or self.url


def load(path: Path = SOURCE) -> list[Work]:
    """Lee los trabajos, en el orden del fichero.

    Raises:
        BibliographyError: Si una entrada no se entiende, le falta un campo o su apartado no existe.
    """
    library = parse_file(str(path), append_middleware=[SeparateCoAuthors(), SplitNameParts()])
    if library.failed_blocks:
        lines = ", ".join(str((block.start_line or 0) + 1) for block in library.failed_blocks)
        raise BibliographyError(f"{path.name}: no se entiende lo que hay en la línea {lines}.")
    works = []
    for entry in library.entries:
        found = {field.key.lower(): field.value for field in entry.fields}
        if lacking := [name for name in REQUIRED if not found.get(name)]:
            raise BibliographyError(f"{path.name}: a «{entry.key}» le falta {', '.join(lacking)}.")
        work = Work(
            entry.key,
            tuple(found["author"]),
            _bare(found["title"]),
            *(found.get(name, "") for name in ("year", "eprint", "doi", "url")),
            *(found[name] for name in REQUIRED[2:]),
        )
        if not work.identifier or work.section not in SECTIONS or work.language not in LANGUAGES:
            raise BibliographyError(
                f"{path.name}: «{entry.key}» necesita `eprint`, `doi` o `url`; un apartado, "
                f"{', '.join(SECTIONS)}, y un idioma, {', '.join(LANGUAGES)}."
            )
        works.append(work)
    return works


def cited(markdown: str) -> set[str]:
    """Los artículos que enlaza una página: sus números de arXiv, sus DOI o sus direcciones."""
    return {
        match["arxiv"] or match["doi"] or f"https://{match['other']}"
        for match in ARTICLE.finditer(markdown)
    }


def listing(works: Iterable[Work], sources: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """La lista de unos trabajos, en Markdown.

    Args:
        works: Los trabajos.
        sources: El texto de las páginas en que pueden estar citados.
        titles: Cómo se llama cada página.
    """
    found = {uri: cited(text) for uri, text in sources.items()}
    lines = []
    for work in works:
        pages = [uri for uri, links in found.items() if work.identifier in links]
        where = ", ".join(f"[{titles[uri]}]({uri})" for uri in pages)
        lines.append(f"- {_reference(work)}" + (f" Se cita en {where}." if where else ""))
    return "\n".join(lines)


def _reference(work: Work) -> str:
    number = f"arXiv:{work.arxiv}" if work.arxiv else work.doi and f"DOI {work.doi}"
    details = ", ".join(filter(None, (work.year, number, LANGUAGES[work.language])))
    return f"{people(work.authors)}, [«{work.title}»]({work.address}) ({details}). {work.note}"


def people(authors: Iterable[NameParts]) -> str:
    """Los autores como se escriben en español: «J. Ho, A. Jain y P. Abbeel»; si son muchos, uno."""
    names = [_name(author) for author in authors]
    if len(names) > SHOWN_AUTHORS or names[-1] == "others":
        return f"{names[0]} et al."
    return " y ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _name(author: NameParts) -> str:
    initials = ["-".join(f"{part[0]}." for part in name.split("-")) for name in author.first]
    return _bare(" ".join([*initials, *author.von, *author.last]))


def _bare(text: str) -> str:
    """Sin las llaves con que BibTeX protege mayúsculas y apellidos."""
    return re.sub(r"[{}]", "", text)
