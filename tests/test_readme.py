"""El README, tal cual: sus órdenes en un entorno vacío, y lo que sale de cada una."""

import os
import re
import shlex
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts.build.composition import as_asked
from torch import Tensor

from ddpm_lit.data import load_dataset
from ddpm_lit.files.images import grid, save_png

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
USE, BUILD = (
    README.split(f"## {title}\n")[1].split("\n## ")[0]
    for title in ("Usar el paquete", "Construir el sitio")
)
SHORTER = {"ddpm-lit train digits-class": " --set training.steps=40 --log-every 5"}
"""Lo que se añade a las órdenes que tardan minutos."""


def commands(section: str) -> list[str]:
    """Las órdenes de los bloques de terminal de un apartado, una por línea y en orden."""
    blocks = re.findall(r"```bash\n(.*?)```", section, re.S)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line]


INSTALL, *USAGE = commands(USE)


class Clone:
    """Una copia del repositorio, con un entorno virtual activo que empieza vacío."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repositorio"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.folder / name)
        venv.create(folder / "entorno", with_pip=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DDPM_"))}
        # La misma versión de torch que los demás tests: la rueda ya está descargada.
        constraints = folder / "versiones.txt"
        constraints.write_text(f"torch=={torch.__version__.split('+')[0]}\n", encoding="utf-8")
        self.environment = kept | {
            "VIRTUAL_ENV": str(folder / "entorno"),
            "PATH": f"{folder / 'entorno' / 'bin'}{os.pathsep}{kept['PATH']}",
            "PIP_NO_COMPILE": "1",
            "PIP_CONSTRAINT": " ".join(
                filter(None, [kept.get("PIP_CONSTRAINT"), str(constraints)])
            ),
        }

    def run(self, command: str) -> str:
        """Lo que escribe una orden de la terminal, que tiene que acabar bien."""
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Una copia donde ya se ha dado la primera orden del README, que lo instala."""
    copy = Clone(tmp_path_factory.mktemp("clon"))
    copy.run(INSTALL)
    return copy


@pytest.fixture(scope="module")
def said(clone: Clone) -> dict[str, str]:
    """Lo que escribe cada orden de «Usar el paquete», dadas todas en orden."""
    three = load_dataset("digits").x[3]
    save_png(grid(three[None], padding=0, scale=1), clone.folder / "roto.png")
    hole = torch.full((1, 8, 8), -1.0)
    hole[:, 4:] = 1
    save_png(grid(hole[None], padding=0, scale=1), clone.folder / "hueco.png")
    written = {}
    for number, command in enumerate(USAGE):
        order = command.split(" #")[0].rstrip()
        kept = f" --tensors {number}.safetensors" if order.startswith("ddpm-lit sample") else ""
        written[order] = clone.run(f"{order}{SHORTER.get(order, '')}{kept}")
    return written


def samples(clone: Clone, text: str) -> Tensor:
    """Las muestras de la única orden `ddpm-lit sample` que lleva un texto."""
    (number,) = [
        n for n, line in enumerate(USAGE) if line.startswith("ddpm-lit sample") and text in line
    ]
    return load_file(clone.folder / f"{number}.safetensors")["samples"]


def test_the_first_command_installs_the_package_of_the_repository(clone: Clone) -> None:
    where = "import ddpm_lit; print(ddpm_lit.__file__)"
    assert str(clone.folder.parent / "entorno") in clone.run(f"cd / && python -c '{where}'")
    digits = "from ddpm_lit import load_dataset; print(len(load_dataset('digits')))"
    assert clone.run(f"cd / && python -c {shlex.quote(digits)}").strip() == "1797"


def test_the_python_example_learns_and_prints_points(clone: Clone) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", USE, flags=re.S)
    (clone.folder / "ejemplo.py").write_text(example, encoding="utf-8")
    output = clone.run("python ejemplo.py")
    losses = [float(value) for value in re.findall(r"pérdida ([\d.]+)", output)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    points = [float(value) for value in re.findall(r"-?\d+\.\d+(?=[,\]])", output)]
    assert len(points) == 8
    assert all(abs(value) < 2 for value in points)


def test_the_model_that_is_trained_learns_and_its_samples_are_drawn(
    clone: Clone, said: dict[str, str]
) -> None:
    losses = [
        float(value) for value in re.findall(r'"loss": ([\d.]+)', _log(clone, "digits-class"))
    ]
    assert losses[-1] < 0.7 * losses[0]
    drawn = samples(clone, "--out treses.png")
    assert drawn.shape == (16, 1, 8, 8)
    assert (clone.folder / "treses.png").read_bytes().startswith(b"\x89PNG")
    assert drawn.abs().max() <= 1
    assert len(drawn.flatten(1).unique(dim=0)) == 16


def test_guided_samples_look_like_their_class_more_often_than_by_chance(
    clone: Clone, said: dict[str, str]
) -> None:
    data = load_dataset("digits")
    assert data.labels is not None
    means = torch.stack([data.x[data.labels == label].mean(0) for label in range(10)])
    guided = samples(clone, "--guidance 1")
    nearest = torch.cdist(guided.flatten(1), means.flatten(1)).argmin(dim=1)
    assert (nearest == 3).float().mean() >= 0.3


def test_inpainting_keeps_what_was_known(clone: Clone, said: dict[str, str]) -> None:
    known = load_dataset("digits").x[3][:, :4]
    filled = samples(clone, "--inpaint")
    assert torch.allclose(filled[:, :, :4], known.expand_as(filled[:, :, :4]), atol=0.01)
    assert filled[:, :, 4:].std(dim=0).mean() > 0.01


def test_evaluating_says_how_good_the_model_is(said: dict[str, str]) -> None:
    (text,) = [text for order, text in said.items() if order.startswith("ddpm-lit evaluate")]
    assert re.search(r"\d+[.,]\d+", text)


def test_the_exported_folder_opens_again(clone: Clone, said: dict[str, str]) -> None:
    (text,) = [text for order, text in said.items() if order.startswith("ddpm-lit export")]
    assert "UNet2DModel" in text
    assert "modelo de diffusers" in clone.run("ddpm-lit info digits-diffusers")


def test_the_drawing_is_the_one_that_was_asked(clone: Clone, said: dict[str, str]) -> None:
    (order,) = [order for order in said if "--text" in order]
    asked, drawn = re.findall(r'--text "([^"]+)"', order), samples(clone, "--text")
    assert all(as_asked(drawn, [asked[i % len(asked)] for i in range(len(drawn))]))


def test_the_commands_of_the_repository_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = commands(BUILD)
    assert listed
    for command in listed:
        make, target, *_ = command.split()
        assert make == "make"
        assert re.search(rf"^{target}:", makefile, re.M), f"el Makefile no tiene «{target}»"


def _log(clone: Clone, name: str) -> str:
    return (clone.folder / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8")
