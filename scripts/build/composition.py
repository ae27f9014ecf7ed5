"""Si el modelo de texto compone: parejas de objeto y color que no vio al entrenar.

    python -m scripts.build.composition MODELO --out medidas.json
    python -m scripts.build.composition MODELO --guidance 1 2 4 --sheet lamina.png
    python -m scripts.build.composition MODELO --exam CARPETA

Se piden las cien primeras parejas apartadas, con la frase más simple («corazón verde») y los
índices 0 a 3 de la semilla 0, sin escoger. Un dibujo acierta si, entre los de todos los objetos con
todos los colores, el más cercano píxel a píxel (distancia euclídea en los 32×32×3 valores) es el
que se ha pedido. Se mira también si los nombres que sí vio salen como siempre: el emoji más
cercano, de todos los de OpenMoji, es el que se pidió. `--exam` no mide: escribe el primer dibujo de
cada pareja en láminas numeradas y barajadas, para que alguien diga, sin ninguna lista, qué es y de
qué color; y, aparte, las soluciones. MODELO es el nombre de uno del paquete, un
fichero o la carpeta de un entrenamiento.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ddpm_lit.cli.options import open_model
from ddpm_lit.data import load_dataset
from ddpm_lit.data.compositions import Pair, Part, caption_of, draw, every_pair, held_out
from ddpm_lit.evaluation.metrics import nearest_neighbours
from ddpm_lit.files.images import grid, save_png
from ddpm_lit.models.trained import Trained
from ddpm_lit.noise import Stream, keyed_generator
from scripts.build.emoji_samples import SEEDS as SEEN_SEEDS
from scripts.build.emoji_samples import SEEN

PAIRS = 100
SEEDS = 4
PER_SHEET = 50


def exam_pairs(count: int = PAIRS) -> tuple[Pair, ...]:
    """Las parejas del examen: las primeras de las apartadas."""
    return held_out()[:count]


def drawings(trained: Trained, pairs: Sequence[Pair], seeds: int, **options: Any) -> Tensor:
    """Lo que dibuja el modelo de cada pareja: (parejas · seeds, 3, 32, 32)."""
    captions = [caption_of(*pair) for pair in pairs for _ in range(seeds)]
    return trained.sample(list(range(seeds)) * len(pairs), text=captions, batch_size=64, **options)


def found_pairs(x: Tensor) -> list[Pair]:
    """El objeto y el color del dibujo más cercano a cada uno."""
    pairs = every_pair()
    known = draw([(Part(*pair),) for pair in pairs], x.shape[-1])
    return [pairs[int(i)] for i in nearest_neighbours(x, known).indices[:, 0]]


def found_emoji(x: Tensor) -> list[str]:
    """El nombre del emoji de OpenMoji más cercano a cada dibujo."""
    emoji = load_dataset("openmoji", size=x.shape[-1])
    return [emoji.captions[int(i)] for i in nearest_neighbours(x, emoji.x).indices[:, 0]]


def as_asked(x: Tensor, asked: Sequence[str]) -> list[bool]:
    """Si cada dibujo, (N, 3, 32, 32), es el de su frase.

    De un objeto con su color, lo es si no hay pareja más cercana; de cualquier otra frase, si no lo
    es otro emoji de OpenMoji.
    """
    coloured = {caption_of(*pair): pair for pair in every_pair()}
    return [
        pair == coloured[text] if text in coloured else name == text
        for text, name, pair in zip(asked, found_emoji(x), found_pairs(x), strict=True)
    ]


def score(asked: Sequence[Pair], found: Sequence[Pair], seeds: int) -> dict[str, Any]:
    """Cuánto acierta: en dibujos, en parejas (más de la mitad de sus dibujos) y por partes.

    Args:
        asked: las parejas pedidas.
        found: la que se parece más a cada dibujo, `seeds` por pareja.
        seeds: dibujos por pareja.
    """
    wanted = [pair for pair in asked for _ in range(seeds)]
    right = torch.tensor([a == b for a, b in zip(wanted, found, strict=True)])
    both = list(zip(wanted, found, strict=True))
    return {
        "pairs": len(asked),
        "drawings": len(found),
        "right": int(right.sum()),
        "pairs_right": int((2 * right.view(-1, seeds).sum(1) > seeds).sum()),
        "thing_right": sum(a[0] == b[0] for a, b in both),
        "colour_right": sum(a[1] == b[1] for a, b in both),
    }


def seen_names(trained: Trained, **options: Any) -> dict[str, int]:
    """En cuántos dibujos de los diez nombres que vio el emoji más cercano es el que se pidió."""
    asked = [name for name in SEEN for _ in range(SEEN_SEEDS)]
    x = trained.sample(list(range(SEEN_SEEDS)) * len(SEEN), text=asked, batch_size=50, **options)
    exact = sum(name == text for name, text in zip(found_emoji(x), asked, strict=True))
    return {"exact": exact, "count": len(asked)}


def measure(trained: Trained, **options: Any) -> tuple[dict[str, Any], Tensor]:
    """Las dos medidas, y los dibujos de las parejas."""
    pairs = exam_pairs()
    x = drawings(trained, pairs, SEEDS, **options)
    measured = {
        "held_out": score(pairs, found_pairs(x), SEEDS),
        "seen": seen_names(trained, **options),
    }
    return measured, x


def exam(trained: Trained, folder: Path, **options: Any) -> None:
    """Escribe en láminas el primer dibujo de cada pareja, barajados, y aparte las soluciones."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = exam_pairs()
    order = keyed_generator(0, Stream.ORDER).permutation(len(pairs))
    x = drawings(trained, pairs, 1, **options)[torch.from_numpy(order)]
    for number, part in enumerate(torch.split(x, PER_SHEET), start=1):
        numbered(part).save(folder / f"lamina-{number}.png")
    solutions = [caption_of(*pairs[int(i)]) for i in order]
    text = json.dumps(solutions, ensure_ascii=False, indent=1)
    (folder / "soluciones.json").write_text(f"{text}\n", encoding="utf-8")


def numbered(images: Tensor, side: int = 150, columns: int = 10) -> Image.Image:
    """Una lámina con las imágenes ampliadas y numeradas desde 1."""
    cell = side + 18
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * cell, rows * (cell + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left, top = index % columns * cell + 9, index // columns * (cell + 8)
        pen.text((left, top), str(index + 1), fill="black")
        picture = grid(image[None]).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top + 14))
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Las órdenes de arriba."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--guidance", type=float, nargs="+", default=[2.0])
    parser.add_argument("--steps", type=int, default=20, help="los pasos de DDIM")
    parser.add_argument("--out", type=Path, help="dónde se escriben las medidas")
    parser.add_argument("--sheet", type=Path, help="dónde se dibujan las parejas")
    parser.add_argument("--exam", type=Path, help="dónde se escriben las láminas numeradas")
    chosen = parser.parse_args(arguments)
    trained = open_model(chosen.model)
    if chosen.exam:
        how = {"guidance": chosen.guidance[0], "steps": chosen.steps, "sampler": "ddim"}
        exam(trained, chosen.exam, **how)
        return
    results = []
    for guidance in chosen.guidance:
        how = {"guidance": guidance, "steps": chosen.steps, "sampler": "ddim"}
        measured, x = measure(trained, **how)
        results.append(how | measured)
        print(json.dumps(results[-1], ensure_ascii=False), flush=True)
        if chosen.sheet:
            name = f"{chosen.sheet.stem}-{guidance:g}{chosen.sheet.suffix}"
            save_png(grid(x, columns=5 * SEEDS), chosen.sheet.with_name(name))
    if chosen.out:
        best = max(results, key=lambda each: int(each["held_out"]["right"]))
        text = json.dumps({"composition": best}, ensure_ascii=False, indent=1)
        chosen.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
