"""Scheduler: los schedules, comparados."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_lit.data import load_dataset
from ddpm_lit.forward import q_sample
from ddpm_lit.noise import sampling_noise
from ddpm_lit.scheduler import Schedule, make_schedule, rescale_zero_terminal_snr
from scripts.figures.style import Palette, Row, canvas, comma, halo, image_table, log_axis

INPUTS = ()
T = 1000
NAMES = {
    "linear": "lineal",
    "scaled_linear": "lineal en la raíz",
    "quadratic": "cuadrático",
    "constant": "constante",
    "cosine": "coseno",
    "sigmoid": "sigmoide",
}
DASHES = ("-", (0, (6, 1.5)), (0, (3, 1.5)), (0, (1, 1.2)), "-", (0, (5, 1.5, 1, 1.5)))
DIGIT = 3


def compare(panel: Axes, table: str) -> None:
    """Una tabla de los seis schedules a lo largo de t."""
    for name, dash in zip(NAMES, DASHES, strict=True):
        values = getattr(make_schedule(name, T), table)
        panel.plot(np.arange(1, T + 1), values, linestyle=dash, label=NAMES[name])
    panel.set(xlim=(0, T), xlabel="$t$", xticks=(0, 250, 500, 750, 1000))


def draw_curves(palette: Palette) -> Figure:
    figure, (betas, signal) = canvas(1, 2, height=3.6)
    compare(betas, "betas")
    betas.set(yscale="log", ylim=(3e-5, 1.5))
    betas.set_title(r"$\beta_t$: ruido de cada paso", color=palette.schedule)
    compare(signal, "sqrt_alphas_cumprod")
    signal.set(ylim=(0, 1.02))
    signal.set_title(r"$\sqrt{\bar\alpha_t}$: señal que queda", color=palette.schedule)
    figure.legend(*betas.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_snr(palette: Palette) -> Figure:
    figure, (panel,) = canvas(1, 1, height=3.7)
    compare(panel, "log_snr")
    panel.axhline(0, color=palette.text, linewidth=1)
    panel.text(
        985, 0.25, "tanta señal como ruido", ha="right", va="bottom", path_effects=halo(palette)
    )
    panel.set(ylim=(-13, 10), ylabel=r"$\log\,\mathrm{SNR}(t)$")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_digit(palette: Palette) -> Figure:
    times = (100, 200, 300, 450, 600, 800)
    x_0 = load_dataset("digits").x[DIGIT : DIGIT + 1]
    noise = next(sampling_noise(0, [0], x_0.shape[1:]))
    t = torch.tensor(times) - 1
    rows = [
        Row(NAMES[name], palette.text, q_sample(make_schedule(name, T), x_0, t, noise))
        for name in ("linear", "cosine", "sigmoid")
    ]
    return image_table(rows, [f"$t={time}$" for time in times], label_width=0.92)


def draw_terminal(palette: Palette) -> Figure:
    before = make_schedule("scaled_linear", T)
    after = rescale_zero_terminal_snr(before)
    steps = np.arange(1, T + 1)
    figure, (whole, end) = canvas(1, 2, height=3.1)
    for panel in (whole, end):
        panel.plot(
            steps,
            before.sqrt_alphas_cumprod,
            color=palette.schedule,
            linestyle=(0, (5, 2)),
            label="tal cual",
        )
        panel.plot(steps, after.sqrt_alphas_cumprod, color=palette.schedule, label="reescalado")
        panel.set_xlabel("$t$")
    whole.set(xlim=(0, T), ylim=(0, 1.02), xticks=(0, 500, 1000))
    whole.set_ylabel(r"$\sqrt{\bar\alpha_t}$", color=palette.schedule)
    whole.set_title("El proceso entero")
    whole.legend()
    rest = float(before.sqrt_alphas_cumprod[-1])
    end.set(xlim=(850, 1012), ylim=(-0.034, 0.2), xticks=(850, 900, 950, 1000))
    end.set_title("El final")
    end.plot([T, T], [rest, 0], "o", color=palette.schedule, clip_on=False, zorder=5)
    for value, text in ((rest, comma(rest, 3)), (0.0, "0")):
        end.text(
            T - 2,
            value - 0.007,
            text,
            color=palette.schedule,
            ha="right",
            va="top",
            path_effects=halo(palette),
        )
    return figure


def draw_few_steps(palette: Palette) -> Figure:
    counts = np.unique(np.geomspace(21, T, 60).astype(int))

    def left(schedule: Schedule) -> float:
        return float(schedule.sqrt_alphas_cumprod[-1])

    rescaled = [left(make_schedule("linear", int(n))) for n in counts]
    # Con los extremos divididos por el factor 1000/T, el reescalado se anula.
    plain = [
        left(make_schedule("linear", int(n), beta_start=1e-4 * n / T, beta_end=0.02 * n / T))
        for n in counts
    ]
    figure, (panel,) = canvas(1, 1, height=3.0)
    panel.plot(counts, plain, color=palette.series[0], linestyle=(0, (5, 2)))
    panel.plot(counts, rescaled, color=palette.schedule)
    log_axis(panel, (21, 50, 100, 200, 500, 1000))
    panel.set(xlim=(21, T), ylim=(-0.05, 1.02), xlabel="número de pasos, $T$")
    panel.set_ylabel(r"señal que queda en $x_T$, $\sqrt{\bar\alpha_T}$")
    panel.text(75, 0.76, r"las mismas $\beta$ que con $T=1000$", color=palette.series[0])
    panel.text(75, 0.06, r"$\beta$ multiplicadas por $1000/T$", color=palette.schedule)
    return figure


FIGURES = {
    "scheduler-curvas": draw_curves,
    "scheduler-snr": draw_snr,
    "scheduler-digito": draw_digit,
    "scheduler-terminal": draw_terminal,
    "scheduler-pocos-pasos": draw_few_steps,
}
