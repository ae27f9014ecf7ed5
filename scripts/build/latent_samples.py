"""Los emojis que dibuja el modelo que difunde en el latente, y lo que cuesta cada llamada."""

import json

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddpm_lit.data.compositions import caption_of
from ddpm_lit.latent import load_autoencoder
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.unet import UNet, UNetConfig
from scripts.build.autoencoder import there_and_back, unseen
from scripts.build.composition import found_emoji, found_pairs
from scripts.build.emoji_samples import GROUPS, answers
from scripts.build.provenance import recorded
from scripts.build.samples import samples_path
from scripts.site.project import PACKAGE, profile

NAME, AUTOENCODER = "openmoji-latente", "openmoji"
SEEDS = 4
SMOKE = profile() == "smoke"
STEPS = 2 if SMOKE else 20
GUIDANCE = 2.0
SIDE = 64
RESTORED = 8
WEIGHTS = PACKAGE / "weights"
CARD = WEIGHTS / "autoencoders" / f"{AUTOENCODER}.json"
SOURCES = [
    *(WEIGHTS / f"{NAME}{suffix}" for suffix in (".safetensors", ".json")),
    *(CARD.with_suffix(suffix) for suffix in (".safetensors", ".json")),
]


def latents(names: tuple[str, ...]) -> Tensor:
    """Los latentes de unas frases, índices 0 a 3 de la semilla 0: (frases · 4, C, h, w)."""
    return load_pretrained(NAME).sample(
        list(range(SEEDS)) * len(names),
        text=[name for name in names for _ in range(SEEDS)],
        guidance=GUIDANCE,
        sampler="ddim",
        steps=STEPS,
        batch_size=40,
        decoded=False,
    )


def millions(network: UNet, side: int) -> float:
    """Los millones de operaciones de una llamada a una U-Net que lee, con un ejemplo.

    Una multiplicación y una suma son dos.
    """
    config = network.config
    x = torch.zeros(1, config.in_channels, side, side)
    tokens = torch.ones(1, config.text_length, dtype=torch.int64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(x, torch.zeros(1, dtype=torch.int64), tokens=tokens)
    return float(counter.get_total_flops()) / 1e6


def costs() -> dict[str, float]:
    """Lo que cuesta llamar a cada red: la del latente, y la misma en píxeles."""
    config = load_pretrained(NAME).recipe.network_config()
    pixels = UNetConfig(**vars(config) | {"in_channels": 3, "patch_size": 2})
    autoencoder, x = load_autoencoder(AUTOENCODER), torch.zeros(1, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as encoding:
        z = autoencoder.encode(x)
    with FlopCounterMode(display=False) as decoding:
        autoencoder.decode(z)
    there, back = (each.get_total_flops() / 1e6 for each in (encoding, decoding))
    latent, picture = millions(UNet(config), z.shape[-1]), millions(UNet(pixels), SIDE)
    return {
        "latent": latent,
        "pixels": picture,
        "ratio": picture / latent,
        "small": millions(UNet(pixels), SIDE // 2),
        "encode": there,
        "decode": back,
    }


def generate() -> None:
    """Dibuja las frases vistas y las parejas que no, y lo que deja el autoencoder de otras."""
    parameters = {"guidance": GUIDANCE, "steps": STEPS, "seed": 0}
    with recorded(
        f"samples-{NAME}",
        "values",
        ["scripts.build.latent_samples"],
        inputs=SOURCES,
        parameters=parameters,
    ) as card:
        trained = load_pretrained(NAME)
        x = unseen()[:: len(unseen()) // RESTORED][:RESTORED].contiguous()
        restored, z = there_and_back(load_autoencoder(AUTOENCODER), x)
        tensors = {"original": x, "restored": restored, "code": z}
        for group, listed in GROUPS.items():
            names = listed()
            z = latents(names)
            x = trained.decode(z)
            tensors[group] = x.reshape(len(names), SEEDS, *x.shape[1:])
            tensors[f"{group}_latents"] = z.reshape(len(names), SEEDS, *z.shape[1:])
            found = (
                found_emoji(x)
                if group == "seen"
                else [caption_of(*pair) for pair in found_pairs(x)]
            )
            card["values"][group] = answers(names, found)
        samples_path(NAME).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, samples_path(NAME))
        card["files"] = [f"samples/{NAME}.safetensors"]
        card["values"] |= parameters | {
            "millions": costs(),
            "training_steps": trained.provenance["steps"],
            "autoencoder": json.loads(CARD.read_text(encoding="utf-8")),
        }
