r"""De aquí a Stable Diffusion: difundir en el latente de un autoencoder.

El `Autoencoder` lleva una imagen a unos pocos números, el *latente*, y de ellos la dibuja otra
vez. Se entrena antes, con `train_autoencoder`, y después ya no cambia. La difusión no sabe que
existe: recibe latentes, que para ella son datos como otros cualesquiera.

Fuentes: Kingma y Welling 2013 (arXiv:1312.6114) para el autoencoder variacional; Rombach et al.
2022 (arXiv:2112.10752) para difundir en su latente.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lit.files.weights import (
    SUFFIX,
    add_weights,
    load_state,
    names_in,
    read_weights,
    write_weights,
)
from ddpm_lit.losses import normal_kl
from ddpm_lit.machine.memory import memory_layout
from ddpm_lit.networks.normalisation import GroupNorm
from ddpm_lit.training import Batch, Descend, Draw, TrainStep
from ddpm_lit.unet import Downsample, Upsample, check_positive, zero_

KL_WEIGHT = 1e-4
"""Cuánto pesa la KL frente a la reconstrucción."""

LOG_VARIANCES = (-20.0, 10.0)
r"""Entre qué valores se deja $\log\sigma^2$: así $\sigma$ ni se anula ni desborda."""

_FOLDER = resources.files("ddpm_lit") / "weights" / "autoencoders"

# --- El autoencoder -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AutoencoderConfig:
    """Lo que define un autoencoder.

    Args:
        in_channels: canales de la imagen.
        latent_channels: canales del latente.
        block_channels: canales de cada nivel, del más fino al más grueso. Entre un nivel y el
            siguiente, la resolución se divide por 2.
        blocks: bloques residuales por nivel del codificador; el decodificador lleva uno más.
        patch_size: lado del parche que se pliega en canales antes del primer nivel, como en la
            U-Net.
        norm_num_groups: grupos de GroupNorm; divide a los canales de cada nivel.

    Raises:
        ValueError: si un valor no es posible o no encaja con los demás.
        TypeError: si un valor no es del tipo que se espera.
    """

    in_channels: int = 3
    latent_channels: int = 4
    block_channels: tuple[int, ...] = (32, 64)
    blocks: int = 1
    patch_size: int = 2
    norm_num_groups: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_channels", tuple(self.block_channels))
        for name in (
            "in_channels",
            "latent_channels",
            "blocks",
            "patch_size",
            "norm_num_groups",
        ):
            check_positive(name, getattr(self, name))
        if not self.block_channels:
            raise ValueError(
                "block_channels está vacío: el autoencoder necesita al menos un nivel."
            )
        for channels in self.block_channels:
            check_positive("block_channels", channels)
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"Un nivel tiene {channels} canales, que no se reparten en "
                    f"norm_num_groups={self.norm_num_groups} grupos iguales."
                )

    @property
    def factor(self) -> int:
        """Por cuánto se divide cada lado de la imagen."""
        halvings: int = 2 ** (len(self.block_channels) - 1)
        return self.patch_size * halvings


class Posterior(NamedTuple):
    r"""$q(z|x)$: la media y $\log\sigma^2$ de cada número del latente, (B, C, h, w)."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        r"""Un latente sorteado: $z = \mu + \sigma\epsilon$, (B, C, h, w)."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Tensor:
        r"""$D_{KL}(q(z|x)\,\|\,\mathcal{N}(0, 1))$ de cada número, (B, C, h, w), en nats."""
        zero = torch.zeros_like(self.mean)
        return normal_kl(self.mean, self.log_variance, zero, zero)


class ConvBlock(nn.Module):
    """Un bloque residual como el de la U-Net, sin instante.

    Args:
        channels: canales de la entrada y de la salida.
        groups: grupos de GroupNorm.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        zero_(self.layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        """De (B, channels, H, W) a la misma forma."""
        out: Tensor = x + self.layers(x)
        return out


class Autoencoder(nn.Module):
    r"""Un autoencoder variacional de convoluciones (Kingma y Welling 2013).

    Args:
        config: la configuración; se guarda en `model.config`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        channels, groups = config.block_channels, config.norm_num_groups
        pixels = config.in_channels * config.patch_size**2
        latent = config.latent_channels
        down: list[nn.Module] = [
            nn.PixelUnshuffle(config.patch_size),
            nn.Conv2d(pixels, channels[0], 3, padding=1),
            *_blocks(channels[0], config.blocks, groups),
        ]
        for before, after in pairwise(channels):
            down += [Downsample(before), nn.Conv2d(before, after, 1)]
            down += _blocks(after, config.blocks, groups)
        self.encoder = nn.Sequential(
            *down,
            GroupNorm(groups, channels[-1]),
            nn.SiLU(),
            nn.Conv2d(channels[-1], 2 * latent, 1),
        )
        up: list[nn.Module] = [
            nn.Conv2d(latent, channels[-1], 3, padding=1),
            *_blocks(channels[-1], config.blocks + 1, groups),
        ]
        for before, after in pairwise(channels[::-1]):
            up += [nn.Conv2d(before, after, 1), Upsample(after)]
            up += _blocks(after, config.blocks + 1, groups)
        self.decoder = nn.Sequential(
            *up,
            GroupNorm(groups, channels[0]),
            nn.SiLU(),
            nn.Conv2d(channels[0], pixels, 3, padding=1),
            nn.PixelShuffle(config.patch_size),
        )
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def posterior(self, x: Tensor) -> Posterior:
        r"""$q(z|x)$, sin escalar.

        Args:
            x: imágenes en [-1, 1], (B, in_channels, H, W).

        Raises:
            ValueError: si no son imágenes como las suyas, o sus lados no son múltiplos de
                `config.factor`.
        """
        wanted, factor = self.config.in_channels, self.config.factor
        if x.ndim != 4 or x.shape[1] != wanted:
            raise ValueError(
                f"Las imágenes tienen forma {tuple(x.shape)}, y el autoencoder espera (B, "
                f"{wanted}, alto, ancho)."
            )
        if any(side % factor for side in x.shape[2:]):
            raise ValueError(
                f"Las imágenes miden {x.shape[2]}×{x.shape[3]} y el autoencoder las reduce "
                f"{factor} veces: alto y ancho deben ser múltiplos de {factor}."
            )
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*LOG_VARIANCES))

    def encode(self, x: Tensor) -> Tensor:
        r"""El latente de unas imágenes, a la escala de la difusión: $(\mu(x) - m)/s$.

        Args:
            x: imágenes en [-1, 1], (B, in_channels, H, W).

        Returns:
            (B, latent_channels, H / factor, W / factor), de media 0 y desviación 1 en los datos
            con que se llamó a `set_scale`.
        """
        return (self.posterior(x).mean - self.shift) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        r"""Las imágenes de unos latentes como los de `encode`.

        Args:
            z: (B, latent_channels, h, w).

        Returns:
            (B, in_channels, h · factor, w · factor); se pueden salir un poco de [-1, 1].
        """
        out: Tensor = self.decoder(self.scale * z + self.shift)
        return out


def _blocks(channels: int, count: int, groups: int) -> list[nn.Module]:
    return [ConvBlock(channels, groups) for _ in range(count)]


@torch.no_grad()
def set_scale(model: Autoencoder, batches: Iterable[Tensor]) -> None:
    r"""Mide la media $m$ y la desviación $s$ de los latentes de unas imágenes, y se las queda.

    Args:
        model: el autoencoder, ya entrenado.
        batches: imágenes en [-1, 1], en lotes (B, in_channels, H, W).
    """
    means = torch.cat([model.posterior(x).mean.double() for x in batches])
    model.shift.fill_(means.mean())
    model.scale.fill_(means.std())


# --- Entrenarlo -----------------------------------------------------------------------------------


def autoencoder_loss(
    model: Autoencoder,
    x: Tensor,
    noise: Tensor,
    kl_weight: float = KL_WEIGHT,
) -> Tensor:
    r"""Lo que la imagen pierde al volver, y un poco de lo que el latente se aparta de la normal.

    $$\lVert x - D(\mu + \sigma\epsilon)\rVert_1 + \lambda\,
    D_{KL}(\mathcal{N}(\mu, \sigma^2)\,\|\,\mathcal{N}(0, 1))$$

    Los dos términos son medias: el primero, por número de la imagen; el segundo, por número del
    latente.

    Args:
        model: el autoencoder.
        x: imágenes en [-1, 1], (B, in_channels, H, W).
        noise: $\epsilon$, con la forma del latente.
        kl_weight: $\lambda$.

    Returns:
        Las pérdidas, (B,).
    """
    posterior = model.posterior(x)
    restored: Tensor = model.decoder(posterior.draw(noise))
    error = (x - restored).abs()
    divergence = posterior.divergence().flatten(1).mean(1)
    return error.flatten(1).mean(1) + kl_weight * divergence


def train_autoencoder(
    model: Autoencoder,
    batches: Iterable[Batch],
    draw: Draw,
    descend: Descend,
    kl_weight: float = KL_WEIGHT,
) -> Iterator[TrainStep]:
    r"""El bucle de `training.algorithm1`, con un autoencoder en el lugar de la red.

    Args:
        model: el autoencoder.
        batches: lotes `{"x": imágenes, …}`.
        draw: de dónde sale $\epsilon$ (véase `noise.TrainingDraws`); del $t$ no se hace caso.
        descend: el paso de gradiente (véase `training.gradient_step`).
        kl_weight: $\lambda$.

    Yields:
        Un `TrainStep` por lote, después de actualizar los parámetros.
    """
    config = model.config
    for batch in batches:
        x = batch["x"]
        height, width = (side // config.factor for side in x.shape[2:])
        like = x.new_empty(len(x), config.latent_channels, height, width)
        _, noise = draw(like, 1)
        loss = autoencoder_loss(model, x, noise, kl_weight).mean()
        yield TrainStep(loss.detach(), descend(loss))


# --- Guardarlo ------------------------------------------------------------------------------------

KIND = "autoencoder"


def save_autoencoder(
    path: str | Path,
    model: Autoencoder,
    provenance: Mapping[str, Any] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Guarda un autoencoder como lo lee `load_autoencoder`.

    Args:
        path: el fichero `.safetensors`.
        model: el autoencoder.
        provenance: de dónde sale; valores que admitan JSON.
        dtype: el tipo en que se guardan los pesos; la media y la desviación del latente van
            siempre como están. `None` deja todo así.
    """
    buffers = dict(model.named_buffers())
    tensors = {
        name: value if dtype is None or name in buffers else value.to(dtype)
        for name, value in model.state_dict().items()
    }
    table = {
        "kind": KIND,
        "config": asdict(model.config),
        "provenance": dict(provenance or {}),
    }
    write_weights(Path(path), tensors, table)


def autoencoder_names() -> list[str]:
    """Los nombres de los autoencoders que trae el paquete, en orden alfabético."""
    return names_in(_FOLDER)


def load_autoencoder(source: str | Path) -> Autoencoder:
    """Lee un autoencoder: uno de los que trae el paquete, o un fichero.

    Args:
        source: su nombre (véase `autoencoder_names`), o la ruta de un `.safetensors` escrito con
            `save_autoencoder`.

    Returns:
        El autoencoder, en float32, en la CPU y en modo de evaluación.

    Raises:
        FileNotFoundError: si no hay ninguno con ese nombre ni ese fichero.
        ValueError: si el fichero no es el de un autoencoder, o está dañado.
    """
    path = Path(source).expanduser()
    if path.suffix != SUFFIX:
        names = autoencoder_names()
        if str(source) not in names:
            raise FileNotFoundError(
                f"El paquete no trae ningún autoencoder «{source}». Los que hay: "
                f"{', '.join(names) or 'ninguno'}; o da la ruta de un fichero .safetensors."
            )
        with resources.as_file(_FOLDER / f"{source}{SUFFIX}") as file:
            return _read(file)
    return _read(path)


def _read(path: Path) -> Autoencoder:
    table, tensors = read_weights(path)
    if table.get("kind") != KIND:
        raise ValueError(
            f"«{path}» no guarda un autoencoder: los escribe "
            "ddpm_lit.latent.save_autoencoder."
        )
    try:
        config = AutoencoderConfig(**table["config"])
        _check_sizes(config, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"La configuración del autoencoder de «{path}» no es válida: {error}"
        ) from error
    with torch.device("meta"):
        model = Autoencoder(config)
    floats = {name: value.float() for name, value in tensors.items()}
    load_state(model, floats, path, assign=True)
    layout = memory_layout((1, 1, 1))
    placed: Autoencoder = model.to(memory_format=layout).eval()  # type: ignore[call-overload]
    return placed.requires_grad_(False)


def _check_sizes(
    config: AutoencoderConfig, tensors: Mapping[str, Tensor]
) -> None:
    """Rechaza, antes de construirlo, un autoencoder que no puede tener esos pesos."""
    held = sum(value.numel() for value in tensors.values())
    sizes = [config.in_channels, config.latent_channels, config.patch_size]
    few = [len(config.block_channels), config.blocks]
    if max(*sizes, *config.block_channels) > held or max(few) > len(tensors):
        raise ValueError(
            f"sus pesos son {held} números, y con esos tamaños serían más."
        )


def fingerprint(model: Autoencoder) -> str:
    """Huella de los pesos de un autoencoder: con otra, los latentes no dicen lo mismo.

    Returns:
        16 cifras hexadecimales.
    """
    digest = hashlib.sha256(repr(model.config).encode())
    add_weights(digest, model)
    return digest.hexdigest()[:16]
