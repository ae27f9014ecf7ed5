"""Las prendas que dibuja `fashion-mnist`: diez de cada clase, los índices 0, 1, 2… sin escoger."""

from safetensors.torch import save_file

from ddpm_lit.models.pretrained import card as card_of
from ddpm_lit.models.pretrained import load_pretrained
from scripts.build.provenance import recorded
from scripts.build.samples import samples_path
from scripts.site.project import PACKAGE, profile

NAME = "fashion-mnist"
EACH = 10
STEPS = {"smoke": 2, "cpu": 50, "gpu": 50}
SOURCES = [PACKAGE / "weights" / f"{NAME}{suffix}" for suffix in (".safetensors", ".json")]


def generate() -> None:
    """Dibuja diez prendas de cada clase, por filas de las diez clases."""
    trained = load_pretrained(NAME)
    names = trained.class_names
    parameters = {
        "steps": STEPS[profile()],
        "seed": 0,
        "guidance": trained.recipe.sampling.guidance,
    }
    with recorded(
        f"samples-{NAME}",
        "values",
        ["scripts.build.garment_samples"],
        inputs=SOURCES,
        parameters=parameters,
    ) as card:
        x = trained.sample(
            EACH * len(names),
            class_labels=list(range(len(names))) * EACH,
            steps=STEPS[profile()],
            batch_size=50,
        )
        samples_path(NAME).parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": x.contiguous()}, samples_path(NAME))
        card["files"] = [f"samples/{NAME}.safetensors"]
        known = card_of(NAME)
        card["values"] |= parameters | {
            "names": list(names),
            "parameters": known["parameters"],
            "metrics": known["metrics"],
        }
