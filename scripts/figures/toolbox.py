"""Caja de herramientas: un dibujo por cada cosa que el libro da por sabida."""

import numpy as np
from matplotlib.figure import Figure

from scripts.figures.mixture import normal
from scripts.figures.style import Palette, bare, canvas, comma, halo

INPUTS = ()
WEIGHTS, CENTRES, WIDTHS = (0.7, 0.3), (-0.6, 1.5), (0.5, 0.35)


def draw_mean(palette: Palette) -> Figure:
    figure, (left, right) = canvas(1, 2, height=2.9, width_ratios=(1, 1.1))
    x = np.linspace(-2.4, 2.9, 300)
    parts = zip(WEIGHTS, CENTRES, WIDTHS, strict=True)
    density = sum(weight * normal(x, centre, width**2) for weight, centre, width in parts)
    mean = float(np.dot(WEIGHTS, CENTRES))
    left.fill_between(x, density, color=palette.data, alpha=0.25, linewidth=0)
    left.plot(x, density, color=palette.data)
    left.plot([mean], [0], "^", color=palette.mean, markersize=14, clip_on=False, zorder=5)
    left.annotate(
        r"$\mathrm{E}[X]$",
        (mean, 0),
        (0, -14),
        textcoords="offset points",
        ha="center",
        va="top",
        color=palette.mean,
        fontsize=12,
    )
    left.set(xlim=(-2.4, 2.9), ylim=(0, None), xticks=(), yticks=(), title="El punto de equilibrio")
    left.grid(False)
    rng = np.random.default_rng(0)
    second = rng.random((40, 1000)) < WEIGHTS[1]
    draws = np.where(second, CENTRES[1], CENTRES[0])
    draws = draws + np.where(second, WIDTHS[1], WIDTHS[0]) * rng.standard_normal(draws.shape)
    count = np.arange(1, 1001)
    right.plot(count, (draws.cumsum(1) / count).T, color=palette.data, alpha=0.25, linewidth=0.9)
    right.axhline(mean, color=palette.mean)
    right.set(xscale="log", xlim=(1, 1000), xlabel="sorteos", title="La media de muchos sorteos")
    right.set_xticks((1, 10, 100, 1000), ("1", "10", "100", "1000"))
    return figure


def draw_variance(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.5)
    rng = np.random.default_rng(1)
    z = rng.standard_normal((2, 900))
    for panel, correlation in zip(axes, (0.0, 0.8), strict=True):
        x, y = z[0], correlation * z[0] + np.sqrt(1 - correlation**2) * z[1]
        panel.scatter(x, y, s=5, color=palette.data, alpha=0.5, linewidths=0, rasterized=True)
        exact = np.sqrt(2 + 2 * correlation)
        panel.set(xlim=(-3.4, 3.4), ylim=(-3.4, 3.4), aspect="equal", xlabel="$X$", ylabel="$Y$")
        panel.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        panel.set_title(
            ("Independientes" if correlation == 0 else "Van juntas")
            + f": $X+Y$ tiene desviación {comma(exact, 2)}",
            fontsize=10,
        )
    return figure


def draw_normal(palette: Palette) -> Figure:
    figure, (left, right) = canvas(1, 2, height=3.0)
    x = np.linspace(-4, 5.5, 400)
    left.plot(x, normal(x, -1.0, 0.36), color=palette.data, label="una")
    left.plot(x, normal(x, 1.6, 0.64), color=palette.noise, label="otra")
    left.plot(x, normal(x, 0.6, 1.0), color=palette.mean, linewidth=2.8, label="su suma")
    left.legend(fontsize=9.5, handlelength=1.2)
    left.set(xlim=(-4, 5.5), ylim=(0, None), yticks=(0, 0.3, 0.6))
    rng = np.random.default_rng(2)
    for size, color in zip((2, 64, 1024), palette.series, strict=False):
        length = np.linalg.norm(rng.standard_normal((4000, size)), axis=1) / np.sqrt(size)
        right.hist(
            length, bins=np.linspace(0, 2.4, 121).tolist(), density=True, histtype="step",
            color=color, linewidth=1.8, label=f"$D={size}$",
        )  # fmt: skip
    right.legend(fontsize=9.5, handlelength=1.2)
    right.set(xlim=(0, 2.4), ylim=(0, 19), yticks=(), xlabel=r"longitud $/\sqrt{D}$")
    return figure


def draw_bayes(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=2.9)
    x = np.linspace(-3.2, 4.2, 400)
    (m1, v1), (m2, v2) = (-0.8, 1.0), (1.4, 0.45)
    variance = 1 / (1 / v1 + 1 / v2)
    mean = variance * (m1 / v1 + m2 / v2)
    panel.plot(x, normal(x, m1, v1), color=palette.data, label="$p(a)$, lo que se creía")
    panel.plot(x, normal(x, m2, v2), color=palette.noisy, label=r"$p(b|a)$, lo que dice la medida")
    after = normal(x, mean, variance)
    panel.fill_between(x, after, color=palette.mean, alpha=0.25, linewidth=0)
    panel.plot(x, after, color=palette.mean, label=r"$p(a|b)$, lo que se cree")
    panel.legend(loc="upper left", fontsize=9.5)
    panel.set(xlim=(-3.2, 4.2), ylim=(0, None), xlabel="$a$", yticks=(0, 0.3, 0.6))
    return figure


def wave(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.tanh(1.8 * x))


def draw_conditional(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.3)
    rng = np.random.default_rng(3)
    x = rng.uniform(-2.2, 2.2, 900)
    y = wave(x) + 0.35 * rng.standard_normal(x.shape)
    panel.scatter(x, y, s=6, color=palette.data, alpha=0.45, linewidths=0, rasterized=True)
    grid = np.linspace(-2.2, 2.2, 200)
    slope = np.trapezoid(grid * wave(grid), grid) / np.trapezoid(grid**2, grid)
    panel.plot(grid, wave(grid), color=palette.mean, linewidth=3, path_effects=halo(palette),
               label=r"$\mathrm{E}[Y|X]$")  # fmt: skip
    panel.plot(grid, slope * grid, color=palette.noise, linestyle=(0, (5, 2)),
               path_effects=halo(palette, 3), label="la mejor recta")  # fmt: skip
    panel.legend(loc="lower right")
    panel.set(xlim=(-2.2, 2.2), xlabel="$X$", ylabel="$Y$", xticks=(-2, -1, 0, 1, 2))
    panel.set_yticks((-1, 0, 1))
    return figure


def draw_regression(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=2.8)
    bare(panel).set(xlim=(-0.6, 5.2), ylim=(-0.5, 2.4), aspect="equal")
    panel.axhline(0, color=palette.faint, linewidth=1.2)
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "linewidth": 2.4}
    ends = {
        "$Y$": ((0, 0), (3.2, 1.9), palette.text, (1.4, 1.25)),
        "$aX$, la predicción": ((0, 0), (3.2, 0), palette.mean, (1.5, -0.3)),
        "el error": ((3.2, 0), (3.2, 1.9), palette.noise, (3.35, 0.9)),
        "$X$": ((3.2, 0), (4.8, 0), palette.data, (4.85, 0.12)),
    }
    for name, (start, end, color, place) in ends.items():
        panel.annotate("", end, start, arrowprops={**arrow, "color": color})
        panel.text(*place, name, color=color, fontsize=12)
    panel.plot([2.98, 2.98, 3.2], [0, 0.22, 0.22], color=palette.text, linewidth=1.1)
    return figure


def draw_divergence(palette: Palette) -> Figure:
    figure, axes = canvas(1, 2, height=3.1, sharey=True)
    x = np.linspace(-7, 7, 1400)
    bells = {"estrecha": (0.0, 0.64, palette.data), "ancha": (0.0, 4.0, palette.noise)}
    for panel, (first, second) in zip(axes, (tuple(bells), tuple(bells)[::-1]), strict=True):
        (m1, v1, c1), (m2, v2, c2) = bells[first], bells[second]
        p, q = normal(x, m1, v1), normal(x, m2, v2)
        summed = p * (np.log(p) - np.log(q))
        total = float(np.trapezoid(summed, x))
        panel.fill_between(x, summed, color=palette.mean, alpha=0.35, linewidth=0)
        panel.plot(x, p, color=c1, label=f"$p$, la {first}")
        panel.plot(x, q, color=c2, label=f"$q$, la {second}")
        panel.axhline(0, color=palette.text, linewidth=0.8)
        panel.set(xlim=(-6, 6), xticks=(-4, 0, 4), yticks=(0, 0.5))
        panel.set_title(rf"$D_{{KL}}(p\,\|\,q) =$ {comma(total, 2)} nats")
        panel.legend(loc="upper right", fontsize=9)
    return figure


def draw_gradient(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.4)
    centres = np.array([[-1.3, -0.3], [1.3, 0.4]])
    spread = 0.45

    def bells(points: np.ndarray) -> np.ndarray:
        away = points[..., None, :] - centres
        return np.asarray(np.exp(-(away**2).sum(-1) / (2 * spread)))

    x, y = np.meshgrid(np.linspace(-3.4, 3.4, 200), np.linspace(-1.7, 1.7, 100))
    density = bells(np.stack([x, y], -1)).sum(-1)
    panel.contour(x, y, density, levels=7, colors=palette.data, linewidths=1, alpha=0.7)
    grid = np.stack(np.meshgrid(np.linspace(-3.1, 3.1, 17), np.linspace(-1.4, 1.4, 8)), -1)
    share = bells(grid)
    share /= share.sum(-1, keepdims=True)
    score = ((centres - grid[..., None, :]) * share[..., None]).sum(-2) / spread
    panel.quiver(
        grid[..., 0], grid[..., 1], score[..., 0], score[..., 1],
        color=palette.mean, angles="xy", scale=70, width=0.0035,
    )  # fmt: skip
    bare(panel).set(xlim=(-3.4, 3.4), ylim=(-1.7, 1.7), aspect="equal")
    return figure


def draw_euler(palette: Palette) -> Figure:
    figure, (panel,) = canvas(height=3.4)
    turn = np.array([[-0.25, -1.0], [1.0, -0.25]])
    start, end = np.array([1.6, 0.0]), 5.2
    t = np.linspace(0, end, 300)
    panel.plot(
        1.6 * np.exp(-0.25 * t) * np.cos(t), 1.6 * np.exp(-0.25 * t) * np.sin(t),
        color=palette.data, linewidth=3, label="la solución",
    )  # fmt: skip
    for steps, color in ((6, palette.noise), (24, palette.mean)):
        path = [start]
        for _ in range(steps):
            path.append(path[-1] + end / steps * turn @ path[-1])
        line = np.array(path)
        panel.plot(line[:, 0], line[:, 1], "o-", color=color, markersize=4, linewidth=1.5,
                   label=f"Euler, {steps} pasos")  # fmt: skip
    panel.plot(*start, "s", color=palette.text, markersize=7, zorder=5)
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    bare(panel).set(aspect="equal")
    return figure


FIGURES = {
    "caja-media": draw_mean,
    "caja-varianza": draw_variance,
    "caja-normal": draw_normal,
    "caja-bayes": draw_bayes,
    "caja-condicionada": draw_conditional,
    "caja-regresion": draw_regression,
    "caja-kl": draw_divergence,
    "caja-gradiente": draw_gradient,
    "caja-euler": draw_euler,
}
