"""Los flujos de trabajo de GitHub: llaman a órdenes que existen y dicen lo que el proyecto."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PORTABLE = (ROOT / "tests" / "portable.txt").read_text(encoding="utf-8").split()
INSTALLED = {"ddpm_lit", "numpy", "PIL", "pytest", "safetensors", "scipy", "sympy", "torch"}
"""Lo que hay donde se pasan los tests de `tests/portable.txt`."""


def jobs(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(WORKFLOWS[name])["jobs"])


def orders(name: str) -> list[str]:
    """Lo que ejecutan los trabajos de un flujo, con cada valor de su matriz en su sitio."""
    told = []
    for job in jobs(name).values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job.get("steps", []):
            run = step.get("run", "")
            variable = re.search(r"\$\{\{ matrix\.(\w+) \}\}", run)
            values = matrix[variable[1]] if variable else [""]
            told += [run.replace(variable[0], value) if variable else run for value in values]
    return told


def made(text: str) -> list[str]:
    """Los objetivos que se piden a make en un guion, en orden."""
    lines = re.findall(r"^\s*(?:time )?make ((?:\w+ ?)+)$", text, re.M)
    return [target for line in lines for target in line.split()]


def test_every_order_of_make_exists() -> None:
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.M))
    asked = {target for name in WORKFLOWS for run in orders(name) for target in made(run)}
    assert asked and asked <= targets


def test_the_integration_makes_what_a_clone_does() -> None:
    here = [target for run in orders("ci.yml") for target in made(run) if target != "ready"]
    assert here == made((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert here == ["lint", "test", "mutants", "site", "browser"]


def test_the_package_is_tried_in_every_python_it_says_it_admits() -> None:
    matrix = jobs("package.yml")["tests"]["strategy"]["matrix"]
    said = [
        classifier.rpartition(" :: ")[2]
        for classifier in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", classifier)
    ]
    assert matrix["python"] == said
    assert PROJECT["requires-python"] == f">={said[0]}"
    assert [system.partition("-")[0] for system in matrix["system"]] == [
        *("ubuntu", "macos", "windows")
    ]


def test_the_site_is_made_with_the_oldest_python() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    for name, text in WORKFLOWS.items():
        for version in re.findall(r'python-version: "([\d.]+)"', text):
            assert version == oldest, name


def test_every_action_has_its_version_and_nothing_more_than_it_needs() -> None:
    for name, text in WORKFLOWS.items():
        for action in re.findall(r"uses: (\S+)", text):
            assert re.fullmatch(r"\./\S+\.yml|[\w-]+/[\w-]+@(v\d+|release/v1)", action), action
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, name
        assert "secrets." not in text, name


def test_only_a_tag_publishes() -> None:
    for name, text in WORKFLOWS.items():
        when = yaml.safe_load(text)[True]  # YAML lee «on» como «sí»
        writing = [
            job for job in jobs(name).values() if "write" in (job.get("permissions") or {}).values()
        ]
        assert not writing or when == {"push": {"tags": ["v*"]}}, name
    publishing = jobs("release.yml")
    assert {"pypi", "pages"} <= publishing.keys()
    for job in ("pypi", "pages"):
        assert publishing[job]["permissions"]["id-token"] == "write"
        assert "package" in publishing[job]["needs"]


def test_the_tag_is_compared_with_the_version_of_the_package() -> None:
    (order,) = (run for run in orders("release.yml") if "GITHUB_REF_NAME" in run)
    pattern = re.search(r'"(__version__ = .+)" (\S+)$', order)
    assert pattern
    version = re.search(r'^__version__ = "(.+)"', (ROOT / pattern[2]).read_text("utf-8"), re.M)
    assert version
    line = pattern[1].replace('\\"', '"').replace("${GITHUB_REF_NAME#v}", version[1])
    assert line in (ROOT / pattern[2]).read_text("utf-8").splitlines()


def test_no_address_of_the_site_is_invented() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name in ("site", "repo"):
        variable = f"DDPM_{name.upper()}_URL"
        assert f'{name}_url: !ENV [{variable}, ""]' in settings
        (value,) = re.findall(rf"{variable}: (.+)", WORKFLOWS["release.yml"])
        assert value.startswith("${{ "), value


@pytest.mark.parametrize("path", PORTABLE)
def test_a_portable_test_needs_only_what_is_installed(path: str) -> None:
    """Nada de la web, de los extras ni de lo que solo hay en un sistema."""
    own = {each.stem for each in (ROOT / "tests").glob("*.py")} | {"tests"}
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    wanted = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
        if name
    }
    assert wanted <= INSTALLED | own | set(sys.stdlib_module_names) - {"fcntl", "resource", "pwd"}


def test_each_chapter_of_mathematics_is_tried_everywhere() -> None:
    first = {"scheduler", "forward", "posterior", "backward", "losses", "unet"}
    later = {"improved", "guidance", "conditioning", "ddim", "editing"}
    assert {f"tests/test_{name}.py" for name in first | later} <= set(PORTABLE)
