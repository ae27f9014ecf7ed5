"""El paquete tal como lo recibe quien hace `pip install`: la rueda, sola, en un entorno vacío."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from scripts.site import chapter_notebook

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path, timeout: int = 600, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        timeout=timeout,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel_python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """El Python de un entorno vacío donde solo se ha instalado la rueda, sin extras."""
    folder = tmp_path_factory.mktemp("entorno")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    torch_version = torch.__version__.split("+")[0]
    install = (python, "-m", "pip", "install", "-q", "--no-compile")
    run(*install, f"torch=={torch_version}", wheel, cwd=folder)
    return python


def test_wheel_carries_everything_it_needs(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "src" / "ddpm_lit").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.name != "ruff.toml":
            assert path.relative_to(ROOT / "src").as_posix() in names
    assert not any(name.endswith("ruff.toml") for name in names), "es solo para el desarrollo"
    assert not any(name.startswith(("tests", "scripts", "docs")) for name in names)


def test_sdist_carries_the_sources_and_the_licence(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/ddpm_lit/scheduler.py"} <= names


def test_command_trains_and_samples_from_the_wheel(wheel_python: Path, tmp_path: Path) -> None:
    command = wheel_python.parent / "ddpm-lit"
    run(command, "train", "swiss-roll", "--set", "training.steps=5", "--run-dir", "r", cwd=tmp_path)
    run(
        *(command, "sample", "r/model.safetensors", "-n", "50", "--steps", "5"),
        *("--out", "puntos.png", "--animation", "puntos.gif"),
        cwd=tmp_path,
    )
    assert (tmp_path / "puntos.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "puntos.gif").read_bytes().startswith(b"GIF8")


# Lo que hace quien usa un modelo enviado, en un proceso que no puede abrir ninguna conexión.
SHIPPED = """
import socket

def refuse(*_, **__):
    raise OSError("este proceso no tiene red")

socket.socket.connect = refuse

import torch
from ddpm_lit import load_pretrained, pretrained_names
from ddpm_lit.models.pretrained import card

for name in pretrained_names():
    trained = load_pretrained(name)
    channels = trained.recipe.model.options.get("condition_channels")
    image = torch.zeros(2, channels, *trained.shape[1:]) if channels else None
    samples = trained.sample(2, image=image, sampler="ddim", steps=2, device="cpu")
    assert samples.shape == (2, *trained.image_shape) and samples.isfinite().all(), name
    print(name, card(name)["license"], sep=": ")
"""


def test_shipped_weights_load_and_sample_from_the_wheel_without_network(
    wheel_python: Path, tmp_path: Path
) -> None:
    shipped = {path.stem for path in (ROOT / "src/ddpm_lit/weights").glob("*.safetensors")}
    lines = run(wheel_python, "-c", SHIPPED, cwd=tmp_path).splitlines()
    assert {line.split(": ")[0] for line in lines} == shipped
    command = wheel_python.parent / "ddpm-lit"
    listed = run(command, "info", cwd=tmp_path)
    for name in shipped:
        assert f"  {name} " in listed
        assert "modelo que viene entrenado" in run(command, "info", name, cwd=tmp_path)


CHAPTERS = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if chapter_notebook.has_one(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_the_notebook_of_each_chapter_runs_on_the_wheel(
    dist: Path, page: Path, tmp_path: Path
) -> None:
    (wheel,) = dist.glob("*.whl")
    stubs = dict.fromkeys(("valor", "replica", "medida"), lambda *_: "0")
    text = page.read_text(encoding="utf-8")
    notebook = chapter_notebook.notebook_of(text, {}, stubs, page.name)
    codes = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(codes) > 1
    unpacked = tmp_path / "rueda"
    zipfile.ZipFile(wheel).extractall(unpacked)
    check = "import ddpm_lit; assert 'rueda' in ddpm_lit.__file__, ddpm_lit.__file__"
    run(
        *(sys.executable, "-c", "\n\n".join([check, *codes])),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"},
    )


def test_missing_extra_is_named(wheel_python: Path, tmp_path: Path) -> None:
    code = (
        "from ddpm_lit import load_dataset\n"
        "try: load_dataset('digits')\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    assert "pip install scikit-learn" in run(wheel_python, "-c", code, cwd=tmp_path)
