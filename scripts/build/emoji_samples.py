"""Los emojis que dibuja el modelo de texto: nombres que vio al entrenar y parejas que no."""

from collections.abc import Callable, Sequence
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ddpm_lit.data import Dataset, load_dataset
from ddpm_lit.data.compositions import GROUP, Part, caption_of, every_pair, held_out
from ddpm_lit.data.compositions import draw as draw_parts
from ddpm_lit.data.emoji_phrases import COLOURS, THINGS
from ddpm_lit.evaluation.metrics import nearest_neighbours
from ddpm_lit.models.pretrained import card as card_of
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.recipes.data import training_data
from ddpm_lit.recipes.reading import load_recipe
from scripts.build.provenance import recorded
from scripts.build.samples import samples_path
from scripts.site.project import PACKAGE, profile

NAME = "openmoji-texto"
SEEN = (
    "cara sonriendo con gafas de sol",
    "pingüino",
    "manzana roja",
    "coche de policía",
    "balón de fútbol",
    "candado cerrado",
    "flecha hacia la derecha",
    "bandera japón",
    "mujer rubia",
    "nube con lluvia",
)
"""Diez nombres del entrenamiento, de grupos distintos, elegidos antes de entrenar."""

SHOWN_PAIRS = 10
SEEDS = 10
STEPS = {"smoke": 2, "cpu": 50, "gpu": 50}
GUIDANCE = 2.0
SOURCES = [PACKAGE / "weights" / f"{NAME}{suffix}" for suffix in (".safetensors", ".json")]


def excluded() -> tuple[str, ...]:
    """Los diez emojis que la receta aparta del entrenamiento por su nombre."""
    names: tuple[str, ...] = tuple(load_recipe(NAME).data.options["exclude"])
    return names


def unseen() -> tuple[str, ...]:
    """Las diez primeras parejas de objeto y color apartadas, con la frase más simple."""
    return tuple(caption_of(*pair) for pair in held_out()[:SHOWN_PAIRS])


GROUPS: dict[str, Callable[[], tuple[str, ...]]] = {"seen": lambda: SEEN, "unseen": unseen}


def training_emoji() -> Dataset:
    """Los dibujos con que se entrenó el modelo."""
    return training_data(load_recipe(NAME))


def every_emoji() -> Dataset:
    """Los emojis de OpenMoji tal cual, también los que la receta aparta."""
    return load_dataset("openmoji", size=load_recipe(NAME).data.options["size"])


def found_names(x: Tensor, group: str) -> list[str]:
    """El nombre del dibujo más parecido a cada uno: un emoji, o un objeto con su color."""
    if group == "seen":
        emoji = every_emoji()
        names, known = emoji.captions, emoji.x
    else:
        names = tuple(caption_of(*pair) for pair in every_pair())
        known = draw_parts([(Part(*pair),) for pair in every_pair()])
    return [names[int(i)] for i in nearest_neighbours(x, known).indices[:, 0]]


def draw(names: tuple[str, ...], guidance: float = GUIDANCE) -> Tensor:
    """Los dibujos de unos nombres, índices 0 a 9 de la semilla 0: (nombres, 10, 3, 32, 32)."""
    trained = load_pretrained(NAME)
    wanted = [name for name in names for _ in range(SEEDS)]
    x = trained.sample(
        list(range(SEEDS)) * len(names),
        text=wanted,
        guidance=guidance,
        sampler="ddim",
        steps=STEPS[profile()],
        batch_size=50,
    )
    return x.reshape(len(names), SEEDS, *x.shape[1:])


def answers(names: Sequence[str], found: Sequence[str]) -> dict[str, Any]:
    """Lo que se apunta de un grupo: qué se ha hallado en cada dibujo y cuántas veces es lo pedido.

    `found` lleva los de cada nombre seguidos, los mismos de cada uno.
    """
    asked = [name for name in names for _ in range(len(found) // len(names))]
    return {
        "names": list(names),
        "nearest": list(found),
        "exact": sum(a == b for a, b in zip(found, asked, strict=True)),
        "count": len(asked),
    }


def generate() -> None:
    """Dibuja los diez nombres vistos y las diez parejas que no, y busca lo más parecido."""
    parameters = {"guidance": GUIDANCE, "steps": STEPS[profile()], "seed": 0}
    with recorded(
        f"samples-{NAME}",
        "values",
        ["scripts.build.emoji_samples"],
        inputs=SOURCES,
        parameters=parameters,
    ) as card:
        train_set, metrics = training_emoji(), card_of(NAME)["metrics"]
        tensors = {}
        for group, listed in GROUPS.items():
            names = listed()
            x = draw(names)
            tensors[group] = x
            nearest = nearest_neighbours(x.flatten(0, 1), train_set.x).indices[:, 0]
            tensors[f"{group}_nearest"] = nearest.reshape(len(names), SEEDS)
            found = found_names(x.flatten(0, 1), group)
            card["values"][group] = answers(names, found)
        samples_path(NAME).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, samples_path(NAME))
        card["files"] = [f"samples/{NAME}.safetensors"]
        card["values"] |= parameters | {
            "composition": metrics["composition"],
            "things": len(THINGS),
            "colours": len(COLOURS),
            "phrases": train_set.groups.count(GROUP),
            "held_out": len(held_out()),
        }
