r"""Un clasificador de datos ruidosos, $p(y|x_t)$, para la guía por clasificador.

Uno corriente no sirve: en $t$ grande solo ha visto ruido y su gradiente no significa nada.
Este recibe también $t$ y se entrena con los $x_t$ del forward process. Es la mitad de
bajada de la U-Net, como en Dhariwal y Nichol 2021 (arXiv:2105.05233).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lit.data.dataset import Dataset, check_integer
from ddpm_lit.forward import q_sample
from ddpm_lit.networks.embeddings import (
    TimeEmbedding,
    check_times,
    sinusoidal_embedding,
)
from ddpm_lit.noise import batches_of_indices, training_draws
from ddpm_lit.scheduler import Schedule
from ddpm_lit.unet import (
    DownBlock,
    UNetConfig,
    check_images,
    group_norm,
    initialize,
)


class NoisyClassifier(nn.Module):
    r"""La bajada de una U-Net, una media y una capa de clases: $\log p(y|x_t)$ sin normalizar.

    Args:
        config: la de una U-Net; de ella salen los canales, los niveles y `num_classes`.

    Raises:
        ValueError: si `config` no dice cuántas clases hay.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if config.num_classes is None:
            raise ValueError(
                "Un clasificador necesita saber cuántas clases hay: da "
                "num_classes."
            )
        self.config = config
        widths = config.block_out_channels
        time_dim = 4 * widths[0]
        self.time_embedding = TimeEmbedding(widths[0], time_dim)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(
                widths[max(level - 1, 0)],
                width,
                time_dim,
                config,
                attention=config.attention[level],
                downsample=level < len(widths) - 1,
            )
            for level, width in enumerate(widths)
        )
        self.norm_out = group_norm(widths[-1], config)
        self.head = nn.Linear(widths[-1], config.num_classes)
        self.apply(initialize)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logaritmos sin normalizar de las probabilidades de cada clase.

        Args:
            x: $x_t$, de forma (B, C, H, W).
            t: instantes, (B,): índices de código del schedule original.

        Returns:
            (B, num_classes).

        Raises:
            ValueError: si las formas no encajan con la red.
        """
        check_images(x, self.config)
        check_times(t, x)
        emb = sinusoidal_embedding(t, self.config.block_out_channels[0])
        emb = self.time_embedding(emb.to(x.dtype))
        h = self.conv_in(x)
        for block in self.down_blocks:
            h = block(h, emb)[-1]
        logits: Tensor = self.head(F.silu(self.norm_out(h)).mean(dim=(2, 3)))
        return logits

    def log_prob(self, x: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        r"""$\log p(y|x_t)$ de la clase pedida en cada muestra: lo que pide la guía.

        Args:
            x: $x_t$, de forma (B, C, H, W).
            t: instantes, (B,).
            class_labels: la clase $y$ de cada muestra, int64 (B,).

        Returns:
            (B,).
        """
        return -F.cross_entropy(self(x, t), class_labels, reduction="none")


def train_noisy_classifier(
    dataset: Dataset,
    schedule: Schedule,
    config: UNetConfig | None = None,
    *,
    seed: int = 0,
    steps: int = 400,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
) -> NoisyClassifier:
    r"""Entrena un `NoisyClassifier` con datos a todos los niveles de ruido, $t$ uniforme.

    Args:
        dataset: imágenes (N, C, H, W) con clases.
        schedule: el de la red a la que va a guiar.
        config: la forma de la red; por defecto, una pequeña de dos niveles.
        seed: semilla de los pesos, los lotes, $t$ y $\epsilon$.
        steps: pasos de optimización.
        batch_size: imágenes por paso.
        learning_rate: el mayor ritmo de aprendizaje del ciclo.

    Returns:
        El clasificador, en modo de evaluación y en la CPU.

    Raises:
        ValueError: si los datos no tienen clases o una opción no es válida.
    """
    check_integer("steps", steps, minimum=1)
    check_integer("batch_size", batch_size, minimum=1)
    if dataset.labels is None:
        raise ValueError(
            "El conjunto no tiene clases, y el clasificador las necesita."
        )
    shape = dataset.image_shape
    if config is None:
        config = UNetConfig(
            in_channels=shape[0],
            block_out_channels=(32, 64),
            layers_per_block=1,
            attention=(False, False),
            norm_num_groups=8,
            num_classes=dataset.num_classes,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = NoisyClassifier(config)
        optimizer = torch.optim.AdamW(
            classifier.parameters(), weight_decay=0.05
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=learning_rate, total_steps=max(steps, 2)
        )
        batches = batches_of_indices(len(dataset), batch_size, seed)
        for step, chosen in zip(range(steps), batches, strict=False):
            t, noise = training_draws(
                seed, step, range(batch_size), shape, len(schedule)
            )
            batch = dataset.batch(chosen)
            x_t = q_sample(schedule, batch["x"], t, noise)
            loss = -classifier.log_prob(x_t, t, batch["class_labels"]).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            cycle.step()
    return classifier.eval()
