"""Flow matching y EDM: una familia de caminos, lo que cuesta cada uno y qué sale al entrenarlos."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_lit.data import load_dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.flow import (
    PATHS,
    Path,
    Step,
    VelocityField,
    change_path,
    ddpm_velocity,
    edm_weight,
    euler,
    flow_matching,
    heun,
    integrate,
    karras_levels,
    log_normal,
    path_schedule,
    path_times,
    preconditioned,
)
from ddpm_lit.ideal import ideal_model
from ddpm_lit.networks.ema import EMA
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.noise import TrainingDraws, batches_of_indices, sampling_noise
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import algorithm1, gradient_step
from scripts.figures.style import Palette, canvas, comma, halo, log_axis, show_points
from scripts.site.project import profile

INPUTS = ()
SMOKE = profile() == "smoke"
VP, VE, RECTIFIED = PATHS["vp"], PATHS["ve"], PATHS["rectified"]
NAMES = {"vp": "DDPM (VP)", "ve": "EDM (VE)", "rectified": "flujo rectificado"}
FIRST = 80.0
r"""El cociente $\sigma/\alpha$ del que salen todos los caminos, el de EDM."""


# --- La familia -----------------------------------------------------------------------------------

SHOWN = math.atan(0.5)
"""El nivel de las nubes: la mitad de ruido que de señal."""


def draw_family(palette: Palette) -> Figure:
    figure, axes = canvas(2, 2, height=7.0)
    panel = axes[0]
    for angle in np.deg2rad((15, 30, 45, 60, 75)):
        end = 1.62 / max(np.cos(angle), np.sin(angle))
        panel.plot(
            [0, end * np.cos(angle)],
            [0, end * np.sin(angle)],
            color=palette.faint,
            linewidth=1.0,
            zorder=1,
        )
    curves = {"vp": math.pi / 2, "ve": 1.6, "rectified": 1.0}
    for number, (name, last) in enumerate(curves.items()):
        tau = torch.linspace(0, last, 100)
        there = PATHS[name].curve(tau)
        color = palette.series[number]
        panel.plot(there.alpha, there.sigma, color=color, label=NAMES[name])
        at = PATHS[name].curve(PATHS[name].time(torch.tensor(SHOWN)))
        panel.plot(at.alpha, at.sigma, "o", color=color, markersize=9, zorder=5)
    panel.set(xlim=(0, 1.62), ylim=(0, 1.62), aspect="equal")
    panel.set(xlabel=r"señal, $\alpha$", ylabel=r"ruido, $\sigma$")
    panel.set_xticks((0, 0.5, 1, 1.5), ("0", "0,5", "1", "1,5"))
    panel.set_yticks((0, 0.5, 1, 1.5), ("0", "0,5", "1", "1,5"))
    panel.grid(False)
    panel.set_title("Cada rayo es un nivel")
    x_0 = load_dataset("swiss_roll", n=1500, seed=0).x
    x_0 = (x_0 - x_0.mean(0)) / x_0.std()
    noise = next(sampling_noise(0, range(len(x_0)), (2,)))
    for number, (name, cloud) in enumerate(zip(curves, axes[1:], strict=True)):
        path = PATHS[name]
        tau = path.time(torch.full((len(x_0),), SHOWN))
        show_points(cloud, path.state(x_0, noise, tau), palette.text, limit=3.2, size=6).set(
            array=x_0.norm(dim=1), cmap="viridis", alpha=0.8
        )
        time = comma(float(tau[0]), 2).replace(",", "{,}")
        cloud.set_title(f"{NAMES[name]}, $\\tau={time}$", color=palette.series[number])
    return figure


# --- Velocidades condicionadas y velocidad media --------------------------------------------------

MODES = torch.tensor([[-0.8], [0.8]], dtype=torch.float64)
BLUR = 0.08
LINES = 44


def ideal_velocity(path: Path, times: Tensor, data: Tensor, bandwidth: float) -> VelocityField:
    """La velocidad ideal de un camino, exacta en unos tiempos (decrecientes; el 0 no cuenta)."""
    diffusion = Diffusion(path_schedule(path, times[times > 0].flip(0)), clip=False)
    return ddpm_velocity(ideal_model(diffusion, data, bandwidth=bandwidth), diffusion, path)


def walk(
    path: Path, times: Tensor, start: Tensor, data: Tensor, bandwidth: float, step: Step = heun
) -> Tensor:
    """Los estados, (K + 1, B, …), de quien sigue la velocidad ideal."""
    velocity = ideal_velocity(path, times, data, bandwidth)
    states = integrate(velocity, start, times, step)
    return torch.stack([start, *(state.x for state in states)])


def draw_velocities(palette: Palette) -> Figure:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(LINES, 1, generator=generator, dtype=torch.float64)
    chosen = torch.randint(2, (LINES,), generator=generator)
    x_0 = MODES[chosen] + BLUR * torch.randn(LINES, 1, generator=generator, dtype=torch.float64)
    figure, axes = canvas(1, 2, height=3.8, sharey=True)
    colors = (palette.data, palette.noise)
    for each in range(LINES):
        color = colors[int(chosen[each])]
        axes[0].plot([0, 1], [x_0[each, 0], noise[each, 0]], color=color, linewidth=1, alpha=0.7)
    times = torch.cat([torch.linspace(0.999, 0.004, 200), torch.zeros(1)]).double()
    states = walk(RECTIFIED, times, noise, MODES, BLUR)[..., 0]
    for each in range(LINES):
        color = colors[int(states[-1, each] > 0)]
        axes[1].plot(times, states[:, each], color=color, linewidth=1, alpha=0.8)
    for panel, title in zip(
        axes, ("Cada pareja, por su recta", "Todas, con la velocidad media"), strict=True
    ):
        panel.set(xlim=(0, 1), ylim=(-2.6, 2.6), xlabel=r"$\tau$ (0, datos; 1, ruido)")
        panel.set_title(title)
        panel.set_xticks((0, 0.5, 1), ("0", "0,5", "1"))
    axes[0].set_ylabel(r"$x_\tau$")
    return figure


# --- Los caminos en el plano ----------------------------------------------------------------------

BANDWIDTH = 0.03
WALKERS = (1, 4, 8, 13, 17)
FEW = 6


@lru_cache
def roll() -> Tensor:
    return load_dataset("swiss_roll", n=300, seed=0).x.double()


def even_times(path: Path, steps: int) -> Tensor:
    """Los tiempos de un camino repartidos por igual, desde el nivel `FIRST` hasta los datos."""
    first = path.time(torch.tensor(math.atan(FIRST), dtype=torch.float64))
    return torch.linspace(float(first), 0, steps + 1, dtype=torch.float64)


def started(path: Path, unit: Tensor) -> Tensor:
    """El mismo punto de partida en cada camino: solo cambia su escala."""
    there = path.curve(even_times(path, 1)[:1])
    return unit * torch.hypot(there.alpha, there.sigma)


def fine_times(path: Path) -> Tensor:
    """Muchos pasos, bien repartidos: la curva exacta, a la vista."""
    return path.time(karras_levels(150 if SMOKE else 300, high=FIRST).atan())


# --- El error según las llamadas ------------------------------------------------------------------

CALLS = (5, 9, 15, 25, 51, 101, 201)
CLOUD = 100 if SMOKE else 400


@lru_cache
def latents() -> Tensor:
    return next(sampling_noise(1, range(CLOUD), (2,))).double()


@lru_cache
def exact_ends() -> Tensor:
    start = started(VE, latents())
    return walk(VE, karras_levels(150 if SMOKE else 600, high=FIRST), start, roll(), BANDWIDTH)[-1]


def steps_for(step: Step, calls: int) -> int:
    """Cuántos pasos se dan con unas llamadas: los de Heun gastan dos, menos el último."""
    return (calls + 1) // 2 if step is heun else calls


def end_error(path: Path, times: Callable[[int], Tensor], step: Step, calls: int) -> float:
    """Lo que se aparta el final del exacto, de media, con unas llamadas a la red."""
    states = walk(
        path, times(steps_for(step, calls)), started(path, latents()), roll(), BANDWIDTH, step
    )
    return float((states[-1] - exact_ends()).norm(dim=1).mean())


def error_axis(panel: Axes) -> None:
    panel.set_yscale("log")
    log_axis(panel, (5, 15, 50, 200))
    panel.set_xlabel("llamadas a la red")


def draw_paths(palette: Palette) -> Figure:
    unit = next(sampling_noise(0, range(40), (2,))).double()[list(WALKERS)]
    figure, axes = canvas(2, 2, height=7.2)
    for panel, name in zip(axes, PATHS, strict=False):
        path = PATHS[name]
        start = started(path, unit)
        exact = walk(path, fine_times(path), start, roll(), BANDWIDTH)
        rough = walk(path, even_times(path, FEW), start, roll(), BANDWIDTH, euler)
        show_points(panel, roll().float(), palette.faint, limit=1.8, size=6, alpha=1.0)
        for walker in range(len(WALKERS)):
            color = palette.series[walker]
            panel.plot(*exact[:, walker].T, color=color, linewidth=1.8)
            panel.plot(
                *rough[:, walker].T,
                color=color,
                linewidth=1.2,
                linestyle=(0, (3, 1.5)),
                marker=".",
                markersize=6,
            )
            for states, marker in ((exact, "o"), (rough, "X")):
                panel.plot(
                    *states[-1, walker],
                    marker,
                    color=color,
                    markersize=8,
                    path_effects=halo(palette, 3),
                )
        panel.set_title(NAMES[name])
    panel = axes[3]
    for number, name in enumerate(PATHS):
        path = PATHS[name]
        errors = [end_error(path, partial(even_times, path), euler, calls) for calls in CALLS]
        panel.plot(
            CALLS,
            errors,
            color=palette.series[number],
            marker="os^"[number],
            markersize=5,
            label=NAMES[name],
        )
    error_axis(panel)
    panel.set_yticks([1, 0.1, 0.01, 0.001], ["1", "0,1", "0,01", "0,001"])
    panel.set_title("Error medio, con Euler")
    panel.legend()
    return figure


RHOS = {
    1.0: r"$\rho=1$ (por igual)",
    3.0: r"$\rho=3$",
    7.0: r"$\rho=7$",
    1000.0: r"$\rho=1000$",
}


def rho_times(rho: float, steps: int) -> Tensor:
    return karras_levels(steps, high=FIRST, rho=rho)


def draw_spread(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.9)
    for row, (rho, label) in enumerate(RHOS.items()):
        color = palette.series[row]
        levels = rho_times(rho, 12)[:-1]
        axes[0].plot([0.002, 80], [row, row], color=palette.faint, linewidth=1.2, zorder=1)
        axes[0].plot(levels, [row] * 12, "o", color=color, markersize=7)
        errors = [end_error(VE, partial(rho_times, rho), heun, calls) for calls in CALLS]
        axes[1].plot(CALLS, errors, marker="os^D"[row], markersize=5, color=color, label=label)
    axes[0].set(xscale="log", ylim=(len(RHOS) - 0.5, -0.6), xlabel=r"nivel de ruido, $\sigma$")
    axes[0].set_xticks((0.01, 0.1, 1, 10), ("0,01", "0,1", "1", "10"))
    axes[0].set_yticks(range(len(RHOS)), [f"$\\rho={rho:.0f}$" for rho in RHOS])
    axes[0].grid(False)
    axes[0].minorticks_off()
    axes[0].spines["left"].set_visible(False)
    axes[0].tick_params(axis="y", length=0)
    axes[0].set_title("Doce niveles")
    error_axis(axes[1])
    axes[1].set_yticks([10, 1, 0.1, 0.01, 0.001], ["10", "1", "0,1", "0,01", "0,001"])
    axes[1].set_title("Error medio, con Heun")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# --- Entrenados, con el mismo coste ---------------------------------------------------------------

SEEDS = (0,) if SMOKE else (0, 1, 2)
STEPS = 20 if SMOKE else 600
BATCH = 256
COSINE = make_schedule("cosine", 1000)
MADE = 100 if SMOKE else 1000
TRAINED_CALLS = (5, 9, 15, 25, 51)


class Contender(NamedTuple):
    """Un método entrenado: su velocidad, por su camino, y por dónde y cómo se genera con él.

    Lo que genera se multiplica por `scale`.
    """

    velocity: VelocityField
    path: Path
    times: Callable[[int], Tensor]
    step: Step
    scale: float = 1.0


def index_times(steps: int) -> Tensor:
    """Índices del schedule coseno repartidos por igual, desde `FIRST`: Euler por ellos es DDIM."""
    levels = path_times(RECTIFIED, COSINE)
    last = int((levels <= even_times(RECTIFIED, 1)[0]).sum()) - 1
    chosen = levels[torch.linspace(last, 0, steps).round().long()]
    return torch.cat([chosen, levels.new_zeros(1)])


METHODS = {
    "epsilon": r"DDPM, $\epsilon$",
    "v": "DDPM, $v$",
    "rectified": "rectificado",
    "rectified-levels": "rect., niveles de EDM",
    "rectified-scaled": "rect., niveles y escala",
    "edm": "EDM",
}


@lru_cache
def data() -> Tensor:
    return load_dataset("swiss_roll", n=20_000, seed=0).x


@lru_cache
def trained(method: str, seed: int) -> Contender:
    """Los mismos pasos, lotes, ruidos y pesos iniciales para todos."""
    discrete, spread = method in ("epsilon", "v"), float(data().std())
    torch.manual_seed(seed)
    network = MLP(MLPConfig(width=64, depth=3, timesteps=len(COSINE) if discrete else 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    descend, draw = gradient_step(optimizer), TrainingDraws(seed)
    rows = batches_of_indices(len(data()), BATCH, seed)
    scale = spread if method == "rectified-scaled" else 1.0
    batches = ({"x": data()[next(rows)] / scale} for _ in range(STEPS))
    rectified = partial(flow_matching, path=RECTIFIED, batches=batches, draw=draw, descend=descend)
    if discrete:
        diffusion = Diffusion(COSINE, method, clip=False)
        loop = algorithm1(network, diffusion, batches, draw, descend)
    elif method == "rectified":
        loop = rectified(network)
    elif method != "edm":
        loop = rectified(network, levels=lambda u: RECTIFIED.time((log_normal(u) / scale).atan()))
    else:
        loop = flow_matching(
            preconditioned(network, spread),
            VE,
            batches,
            draw,
            descend,
            log_normal,
            lambda sigma: edm_weight(sigma, spread),
        )
    ema = EMA(network, 0.99)
    for _ in loop:
        decay.step()
        ema.update(network)
    if discrete:
        velocity = ddpm_velocity(ema.model, diffusion, RECTIFIED)
        return Contender(velocity, RECTIFIED, index_times, euler)
    if method == "edm":
        levels = partial(rho_times, 7.0)
        return Contender(preconditioned(ema.model, spread), VE, levels, heun)
    return Contender(ema.model, RECTIFIED, partial(even_times, RECTIFIED), euler, scale)


def energy(a: Tensor, b: Tensor) -> float:
    """La distancia de energía entre dos nubes, en milésimas."""
    between, within = torch.cdist(a, b).mean(), torch.cdist(a, a).mean() + torch.cdist(b, b).mean()
    return 1000 * float(2 * between - within)


@lru_cache
def held_out() -> Tensor:
    return load_dataset("swiss_roll", n=200 if SMOKE else 3000, seed=9).x


@lru_cache
def made(method: str, seed: int, calls: int, together: bool) -> Tensor:
    """Muestras de un método: a su manera o, si van juntos, Heun por el camino rectificado."""
    velocity, path, times, step, scale = trained(method, seed)
    if together:
        velocity = velocity if path is RECTIFIED else change_path(velocity, path, RECTIFIED)
        path, times, step = RECTIFIED, partial(even_times, RECTIFIED), heun
    unit = next(sampling_noise(2, range(MADE), (2,)))
    walked = times(steps_for(step, calls))
    there = path.curve(walked[:1].float())
    start = unit * torch.hypot(there.alpha, there.sigma)
    *_, end = integrate(velocity, start, walked, step)
    return scale * end.x


def draw_calls(
    panel: Axes,
    palette: Palette,
    calls: Sequence[int],
    methods: Mapping[str, str],
    measure: Callable[[str, int, int], float],
    new_data: tuple[str, float],
) -> None:
    """Una línea por método, con la media y el recorrido de las semillas, y la de unos datos nuevos.

    Args:
        panel: dónde.
        palette: con qué colores.
        calls: las llamadas a la red.
        methods: el rótulo de cada método.
        measure: lo que da un método con una semilla y tantas llamadas.
        new_data: el rótulo y lo que dan unos datos que no se han visto.
    """
    for number, (method, label) in enumerate(methods.items()):
        found = np.array([[measure(method, seed, each) for each in calls] for seed in SEEDS])
        color = palette.series[number]
        panel.fill_between(calls, found.min(0), found.max(0), color=color, alpha=0.16, linewidth=0)
        marker = "os^vPD"[number]
        panel.plot(calls, found.mean(0), color=color, marker=marker, markersize=5, label=label)
    label, value = new_data
    panel.axhline(value, color=palette.text, linewidth=1.2, linestyle=(0, (1, 1.4)), label=label)
    panel.set_yscale("log")
    log_axis(panel, calls)
    panel.set(xlabel="llamadas a la red")


def draw_trained(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=4.6, sharey=True)
    fresh = [load_dataset("swiss_roll", n=MADE, seed=seed).x for seed in range(20, 30)]
    real = float(np.mean([energy(each, held_out()) for each in fresh]))

    def measure(together: bool, method: str, seed: int, calls: int) -> float:
        return energy(made(method, seed, calls, together), held_out())

    for panel, together, title in zip(
        axes, (False, True), ("Cada uno, a su manera", "Todos por el mismo camino"), strict=True
    ):
        each = partial(measure, together)
        draw_calls(panel, palette, TRAINED_CALLS, METHODS, each, ("datos nuevos", real))
        panel.set_yticks((1, 3, 10, 30, 100, 1000), ("1", "3", "10", "30", "100", "1000"))
        panel.set_title(title)
    axes[0].set_ylabel("distancia de energía (milésimas)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


SEEN_CALLS = 25


def draw_clouds(palette: Palette) -> Figure:
    figure, axes = canvas(2, 3, height=5.4)
    for panel, (method, label) in zip(axes, METHODS.items(), strict=True):
        points = made(method, 0, SEEN_CALLS, False)
        show_points(panel, data()[:MADE], palette.faint, limit=1.2, size=4)
        show_points(panel, points, palette.noisy, limit=1.2, size=4)
        number = comma(energy(points, held_out()), 1)
        panel.set_title(f"{label}\n{number}", pad=4, fontsize=10.5)
    return figure


FIGURES = {
    "flujos-familia": draw_family,
    "flujos-velocidades": draw_velocities,
    "flujos-caminos": draw_paths,
    "flujos-reparto": draw_spread,
    "flujos-entrenados": draw_trained,
    "flujos-nubes": draw_clouds,
}
