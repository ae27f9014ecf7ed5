"""Los rivales, escritos como sus propios guiones de entrenamiento y sus tuberías de generación."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.jobs import Job
from benchmarks.ours import EXAMPLES, images

LUCIDRAINS = {
    "cifar10": {"dim": 64, "dim_mults": (1, 2, 4, 8)},
    "small": {"dim": 24, "dim_mults": (1, 2, 3)},
    "tiny": {"dim": 8, "dim_mults": (1, 2)},
}
"""La red de lucidrains que tiene, casi, los mismos parámetros que cada una de las nuestras."""


# --- diffusers ------------------------------------------------------------------------------------


def diffusers_network(job: Job) -> Any:
    """`UNet2DModel` con la misma arquitectura y los nombres de sus opciones."""
    config, side = job.config, job.shape[1]
    kinds = [("Attn" if attends else "") for attends in config.attention]
    return _diffusers().UNet2DModel(
        sample_size=side,
        in_channels=config.in_channels,
        out_channels=config.out_channels or config.in_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        norm_num_groups=config.norm_num_groups,
        norm_eps=1e-6,
        attention_head_dim=config.attention_head_dim,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def diffusers_loss(call: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """La pérdida de `train_unconditional.py`: de un lote de imágenes en [-1, 1], un escalar."""
    scheduler = _diffusers().DDPMScheduler(num_train_timesteps=1000)

    def loss(clean: Tensor) -> Tensor:
        noise = torch.randn_like(clean)
        t = torch.randint(0, 1000, (len(clean),), device=clean.device)
        noisy = scheduler.add_noise(clean, noise, t)
        return F.mse_loss(call(noisy, t).sample.float(), noise)

    return loss


def diffusers_ddim(model: Any, size: int, calls: int) -> Tensor:
    """Muestras en [-1, 1], (size, C, lado, lado), con su tubería de DDIM."""
    package = _diffusers()
    pipeline = package.DDIMPipeline(model, package.DDIMScheduler(num_train_timesteps=1000))
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(batch_size=size, num_inference_steps=calls, output_type="np").images
    return torch.from_numpy(made).permute(0, 3, 1, 2) * 2 - 1


def diffusers_train(job: Job, pause: Callable[[], None]) -> None:
    """El bucle de `train_unconditional.py`, con su AdamW, su EMA y su recorte del gradiente."""
    averages: Any = import_module("diffusers.training_utils")

    model = _placed(diffusers_network(job), job)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
    )
    ema = averages.EMAModel(
        model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
    )
    ema.to(job.device)
    loss_of = diffusers_loss(torch.compile(model) if job.compiled else model)
    for clean in _batches(job):
        loss = loss_of(clean)
        descend(loss, model, optimizer)
        ema.step(model.parameters())
        loss.item()
        pause()


def diffusers_sample(job: Job, pause: Callable[[], None]) -> None:
    """Su tubería, `DDPMPipeline`, sin pasar a PIL lo que sale."""
    package = _diffusers()
    model = _placed(diffusers_network(job).eval(), job)
    if job.compiled:
        model.compile()
    pipeline = package.DDPMPipeline(model, package.DDPMScheduler(num_train_timesteps=1000))
    pipeline.set_progress_bar_config(disable=True)
    while True:
        pipeline(batch_size=job.batch, num_inference_steps=job.calls, output_type="np")
        pause()


def _diffusers() -> Any:
    return import_module("diffusers")


# --- lucidrains -----------------------------------------------------------------------------------


def lucidrains_network(job: Job) -> Any:
    """Su `Unet`, con los parámetros más parecidos."""
    package = _lucidrains()
    network: Any = package.Unet(channels=job.config.in_channels, **LUCIDRAINS[job.network])
    return network


def lucidrains_train(job: Job, pause: Callable[[], None]) -> None:
    """El bucle de su `Trainer`, con su Adam, su EMA y su recorte del gradiente."""
    averages: Any = import_module("ema_pytorch")
    diffusion = lucidrains_diffusion(job)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
    ema = averages.EMA(diffusion, beta=0.995, update_every=10).to(job.device)
    for clean in _batches(job):
        loss = diffusion((clean + 1) / 2)
        descend(loss, diffusion, optimizer)
        ema.update()
        loss.item()
        pause()


def lucidrains_sample(job: Job, pause: Callable[[], None]) -> None:
    """Su generación, que con menos pasos que T es DDIM."""
    diffusion = lucidrains_diffusion(job, sampling_timesteps=job.calls).eval()
    while True:
        diffusion.sample(batch_size=job.batch)
        pause()


def lucidrains_diffusion(job: Job, **options: Any) -> Any:
    """Su red con su proceso, que es quien sabe entrenarla y generar."""
    network = _placed(lucidrains_network(job), job)
    diffusion = _lucidrains().GaussianDiffusion(network, image_size=job.shape[1], **options)
    return diffusion.to(job.device)


def _lucidrains() -> Any:
    """Su módulo principal, sin los que solo usa para leer imágenes y medir el FID.

    El paquete importa al empezar torchvision y pytorch-fid, que aquí no hacen falta: en su lugar se
    le dan módulos vacíos.
    """
    for name in ("torchvision", "pytorch_fid"):
        if name not in sys.modules:
            sys.modules.update(_hollow(name))
    return import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")


def _hollow(name: str) -> dict[str, ModuleType]:
    """Un paquete vacío, con los nombres que lucidrains importa de él."""
    contents = {
        "torchvision": ("transforms", "utils", "datasets"),
        "pytorch_fid": ("fid_score", "inception"),
    }
    root = ModuleType(name)
    modules = {name: root}
    for part in contents[name]:
        module = modules[f"{name}.{part}"] = ModuleType(f"{name}.{part}")
        setattr(root, part, module)
    if name == "pytorch_fid":
        modules["pytorch_fid.fid_score"].calculate_frechet_distance = None  # type: ignore[attr-defined]
        modules["pytorch_fid.inception"].InceptionV3 = None  # type: ignore[attr-defined]
    return modules


# --- Lo que tienen en común -----------------------------------------------------------------------


def _placed(model: Any, job: Job) -> Any:
    layout = torch.channels_last if job.channels_last else torch.preserve_format
    return model.to(job.device, memory_format=layout)


def _batches(job: Job) -> Iterator[Tensor]:
    """Lotes ya en el dispositivo; el cuarto de millar de imágenes se recorre una y otra vez."""
    everything = images(job).to(job.device)
    for step in count():
        rows = torch.arange(step * job.batch, (step + 1) * job.batch) % EXAMPLES
        batch = everything[rows.to(job.device)]
        yield batch.to(memory_format=torch.channels_last) if job.channels_last else batch


def descend(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """El paso de gradiente de los dos guiones."""
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
