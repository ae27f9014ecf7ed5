"""Los caminos, su velocidad y EDM, frente a formas cerradas, integrales y DDIM."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor, nn

from algebra import assert_chain, expectation, integral, mixture_density
from ddpm_lit.backward import Denoiser
from ddpm_lit.ddim import ddim
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.flow import (
    PATHS,
    TICKS,
    Coefficients,
    Path,
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
    preconditioning,
)
from ddpm_lit.ideal import ideal_model
from ddpm_lit.noise import TrainingDraws
from ddpm_lit.sampling import algorithm2
from ddpm_lit.scheduler import Schedule, make_schedule
from exact import Mixture, slope

# Otro camino, que no está en la tabla y con un reloj sin nada de particular: el de DDPM, con
# τ entre 0 y 1 y el doble de grande.
ODD = Path(
    "odd",
    lambda tau: Coefficients(
        2 * (math.pi / 2 * tau).cos(),
        2 * (math.pi / 2 * tau).sin(),
        -math.pi * (math.pi / 2 * tau).sin(),
        math.pi * (math.pi / 2 * tau).cos(),
    ),
    lambda angle: angle / (math.pi / 2),
    1.0,
)
EVERY = [*PATHS.values(), ODD]
by_name = pytest.mark.parametrize("path", EVERY, ids=lambda path: path.name)
TAUS = {
    "vp": (0.05, 0.7, 1.5),
    "ve": (0.05, 0.9, 30.0),
    "rectified": (0.03, 0.4, 0.97),
    "odd": (0.1, 0.5, 0.9),
}
BY_HAND = {
    "vp": (math.cos, math.sin),
    "ve": (lambda tau: 1.0, lambda tau: tau),
    "rectified": (lambda tau: 1 - tau, lambda tau: tau),
    "odd": (
        lambda tau: 2 * math.cos(math.pi * tau / 2),
        lambda tau: 2 * math.sin(math.pi * tau / 2),
    ),
}
MEAN, STD = 0.3, 0.6


def numbers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def taus(path: Path) -> Tensor:
    return torch.tensor(TAUS[path.name], dtype=torch.float64)


def normal_velocity(path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """E[u|x] con datos N(MEAN, STD²), por regresión y con las derivadas de sympy."""
    tau = sp.Symbol("tau", positive=True)
    alpha, sigma = {
        "vp": (sp.cos(tau), sp.sin(tau)),
        "ve": (sp.Integer(1), tau),
        "rectified": (1 - tau, tau),
        "odd": (2 * sp.cos(sp.pi * tau / 2), 2 * sp.sin(sp.pi * tau / 2)),
    }[path.name]
    total = alpha**2 * STD**2 + sigma**2
    gain = (sp.diff(alpha, tau) * alpha * STD**2 + sp.diff(sigma, tau) * sigma) / total
    functions = [sp.lambdify(tau, each) for each in (alpha, sp.diff(alpha, tau), gain)]

    def velocity(x: Tensor, at: Tensor) -> Tensor:
        rows = [[float(f(float(each))) for each in at] for f in functions]
        a, rate, g = (torch.tensor(row, dtype=x.dtype).reshape(-1, 1) for row in rows)
        return rate * MEAN + g * (x - a * MEAN)

    return velocity


# --- Los caminos ---------------------------------------------------------------------------------


@pytest.mark.equation("flujos-camino")
@by_name
def test_a_state_is_the_mixture_it_says(path: Path, agree: Callable[..., None]) -> None:
    x_0, noise = numbers(2, 3, 4, 2, seed=1)
    found = path.state(x_0, noise, taus(path))
    alpha, sigma = BY_HAND[path.name]
    for row, tau in enumerate(TAUS[path.name]):
        agree(found[row], alpha(tau) * x_0[row] + sigma(tau) * noise[row])


@pytest.mark.equation("flujos-velocidad")
@by_name
def test_the_velocity_is_the_derivative_of_the_state(
    path: Path, agree: Callable[..., None]
) -> None:
    x_0, noise = numbers(2, 3, 4, seed=2)
    tau = taus(path)
    _, derivative = torch.func.jvp(
        lambda at: path.state(x_0, noise, at), (tau,), (torch.ones_like(tau),)
    )
    agree(path.velocity(x_0, noise, tau), derivative)


@pytest.mark.equation("flujos-despejar")
@by_name
def test_a_velocity_holds_the_data_and_the_noise(path: Path, agree: Callable[..., None]) -> None:
    x_0, noise = numbers(2, 3, 4, seed=3)
    tau = taus(path)
    velocity, x = path.velocity(x_0, noise, tau), path.state(x_0, noise, tau)
    found = path.split(velocity, x, tau)
    agree(found[0], x_0, rtol=1e-9)
    agree(found[1], noise, rtol=1e-9)


@by_name
def test_a_level_is_an_angle(path: Path, agree: Callable[..., None]) -> None:
    alpha, sigma = BY_HAND[path.name]
    expected = torch.tensor([math.atan(sigma(tau) / alpha(tau)) for tau in TAUS[path.name]])
    agree(path.angle(taus(path)), expected.double(), rtol=1e-6)
    agree(path.time(path.angle(taus(path))), taus(path), rtol=1e-10)
    assert path.time(torch.zeros(1)).item() == 0
    if path.name != "ve":
        right = torch.tensor([math.pi / 2], dtype=torch.float64)
        agree(path.time(right), torch.tensor([path.end]).double(), rtol=1e-6)


@pytest.mark.equation("flujos-escala")
def test_only_the_ratio_matters() -> None:
    alpha, sigma, other, x_0, noise = sp.symbols("a s b x_0 e", positive=True)
    x = alpha * x_0 + sigma * noise
    # Otro camino en el nivel de igual cociente: β y β·σ/α.
    y = other * x_0 + other * sigma / alpha * noise
    assert_chain(x / alpha, x_0 + sigma / alpha * noise, y / other)
    # Y, con las dos escalas, lo mismo dividido entre √(α² + σ²).
    sizes = (sp.sqrt(alpha**2 + sigma**2), sp.sqrt(other**2 + (other * sigma / alpha) ** 2))
    assert_chain(x / sizes[0], y / sizes[1])


# --- La red de uno sirve a los otros -------------------------------------------------------------


@pytest.mark.equation("flujos-traducir")
@pytest.mark.parametrize("source", EVERY, ids=lambda path: path.name)
@pytest.mark.parametrize("target", EVERY, ids=lambda path: path.name)
def test_the_ideal_network_of_one_path_is_that_of_another(
    source: Path, target: Path, agree: Callable[..., None]
) -> None:
    x, tau = numbers(3, 1, seed=4), taus(target)
    found = change_path(normal_velocity(source), source, target)(x, tau)
    agree(found, normal_velocity(target)(x, tau), rtol=1e-9)


DATA = torch.tensor([[-1.0], [0.25], [0.9]], dtype=torch.float64)


def integrated(path: Path, x: float, tau: float, bandwidth: float) -> float:
    """E[u|x_τ] con una suma de Riemann sobre x_0, sin ninguna fórmula del paquete."""
    alpha, sigma = (curve(tau) for curve in BY_HAND[path.name])
    h = 1e-5 * tau
    rates = [(curve(tau + h) - curve(tau - h)) / (2 * h) for curve in BY_HAND[path.name]]
    x_0 = np.linspace(-4, 4, 200_001)
    prior = mixture_density([1 / 3] * 3, DATA[:, 0].tolist(), [bandwidth**2] * 3)(x_0)
    weights = prior * np.exp(-((x - alpha * x_0) ** 2) / (2 * sigma**2))
    velocity = rates[0] * x_0 + rates[1] * (x - alpha * x_0) / sigma
    return float((weights * velocity).sum() / weights.sum())


@pytest.mark.equation("flujos-traducir", "flujos-media")
@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
@by_name
def test_a_ddpm_network_gives_the_mean_velocity(
    path: Path, prediction: str, agree: Callable[..., None]
) -> None:
    tau = taus(path)
    diffusion = Diffusion(path_schedule(path, tau), prediction, clip=False)
    velocity = ddpm_velocity(ideal_model(diffusion, DATA, bandwidth=0.2), diffusion, path)
    x = torch.tensor([[-0.4], [0.5], [1.1]], dtype=torch.float64)
    expected = [integrated(path, x[i].item(), tau[i].item(), 0.2) for i in range(3)]
    agree(velocity(x, tau)[:, 0], torch.tensor(expected), rtol=1e-6)


def test_between_two_levels_the_nearest_one_answers() -> None:
    schedule = make_schedule("cosine", 20)
    seen: list[int] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.extend(t.tolist())
        return x

    path = PATHS["rectified"]
    angles = schedule.sqrt_alphas_cumprod.acos()
    nearer = torch.stack([0.6 * angles[4] + 0.4 * angles[5], 0.4 * angles[4] + 0.6 * angles[5]])
    ends = torch.tensor([0.0, math.pi / 2], dtype=torch.float64)
    tau = path.time(torch.cat([nearer, ends]))
    ddpm_velocity(model, Diffusion(schedule), path)(torch.zeros(4, 2).double(), tau)
    assert seen == [4, 5, 0, 19]


@by_name
def test_a_path_and_a_schedule_have_the_same_levels(path: Path, agree: Callable[..., None]) -> None:
    tau = taus(path)
    schedule = path_schedule(path, tau)
    alpha, sigma = BY_HAND[path.name]
    ratios = torch.tensor([(sigma(each) / alpha(each)) ** 2 for each in TAUS[path.name]])
    agree(1 / schedule.alphas_cumprod - 1, ratios.double(), rtol=1e-6)
    agree(path_times(path, schedule), tau, rtol=1e-9)
    with pytest.raises(ValueError, match="estrictamente decreciente"):
        path_schedule(path, tau.flip(0))


# --- Entrenar ------------------------------------------------------------------------------------


@pytest.mark.equation("flujos-perdida")
@by_name
@pytest.mark.parametrize("chosen", [False, True])
def test_the_loss_of_a_step(path: Path, chosen: bool, agree: Callable[..., None]) -> None:
    """Con los sorteos a la vista, la pérdida de un lote, ejemplo a ejemplo."""
    x_0, noise, label = *numbers(2, 3, 2, 2, seed=5), torch.tensor([[1.0], [2.0], [3.0]])
    ticks = torch.tensor([0, TICKS // 3, TICKS - 1])
    losses = []
    one = torch.ones((), requires_grad=True)

    def model(x: Tensor, tau: Tensor, label: Tensor) -> Tensor:
        return x.sin() * tau[:, None, None] + one * label[:, :, None]

    def descend(loss: Tensor) -> Tensor:
        losses.append(loss)
        return torch.tensor(7.0)

    def draw(x: Tensor, ticks_wanted: int) -> tuple[Tensor, Tensor]:
        assert x is x_0 and ticks_wanted == TICKS
        return ticks, noise

    options = {"levels": lambda u: 0.2 + 0.7 * u, "weight": lambda tau: 1 + tau} if chosen else {}
    (step,) = flow_matching(model, path, [{"x": x_0, "label": label}], draw, descend, **options)
    alpha, sigma = BY_HAND[path.name]
    expected = []
    for row in range(3):
        u = (ticks[row].item() + 0.5) / TICKS
        tau = 0.2 + 0.7 * u if chosen else path.end * u
        h = 1e-6
        rate_a, rate_s = ((c(tau + h) - c(tau - h)) / (2 * h) for c in (alpha, sigma))
        x = alpha(tau) * x_0[row] + sigma(tau) * noise[row]
        miss = x.sin() * tau + label[row] - rate_a * x_0[row] - rate_s * noise[row]
        expected.append((1 + tau if chosen else 1) * miss.square().mean())
    agree(step.loss, torch.stack(expected).mean(), rtol=1e-5)
    assert losses[0].item() == step.loss.item() and step.grad_norm == 7
    assert losses[0].requires_grad and not step.loss.requires_grad


@pytest.mark.equation("flujos-perdida", "flujos-media")
def test_the_network_learns_the_mean_velocity() -> None:
    """Con datos normales y un solo nivel, el mínimo es la recta de la regresión."""
    torch.manual_seed(0)
    path, tau = PATHS["rectified"], 0.4
    line = nn.Linear(1, 1)

    def descend(loss: Tensor) -> Tensor:
        # Un paso de Newton: la pérdida es una parábola en los dos pesos.
        parameters = list(line.parameters())
        first = torch.autograd.grad(loss, parameters, create_graph=True)
        flat = torch.cat([each.flatten() for each in first])
        rows = [torch.autograd.grad(each, parameters, retain_graph=True) for each in flat]
        hessian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        move = torch.linalg.solve(hessian, flat.detach())
        with torch.no_grad():
            line.weight -= move[0]
            line.bias -= move[1]
        return flat.detach().norm()

    x_0 = MEAN + STD * torch.randn(200_000, 1)
    levels = lambda u: torch.full_like(u, tau)  # noqa: E731
    model = lambda x, at: line(x)  # noqa: E731
    list(flow_matching(model, path, [{"x": x_0}], TrainingDraws(0), descend, levels))
    points = torch.tensor([[-1.0], [0.0], [1.0]])
    expected = normal_velocity(path)(points, torch.full((3,), tau))
    torch.testing.assert_close(line(points), expected, atol=0.02, rtol=0)


def test_the_times_are_drawn_evenly() -> None:
    seen: list[Tensor] = []

    def model(x: Tensor, tau: Tensor) -> Tensor:
        seen.append(tau)
        return x

    batches = ({"x": torch.zeros(5000, 1)} for _ in range(4))
    list(flow_matching(model, PATHS["vp"], batches, TrainingDraws(3), lambda loss: loss))
    drawn = torch.cat(seen).sort().values / (math.pi / 2)
    even = (torch.arange(20_000) + 0.5) / 20_000
    assert (drawn - even).abs().max() < 1.63 / math.sqrt(20_000)  # Kolmogórov, al 1 %
    assert drawn[0] > 0 and drawn[-1] < 1


# --- Por qué la velocidad media transporta la densidad -------------------------------------------


@pytest.mark.equation("flujos-debil")
@by_name
def test_the_mean_velocity_moves_every_average(path: Path) -> None:
    """Las tres caras de la igualdad, por integración, con una mezcla de dos normales."""
    weights, means, variances = np.array([0.4, 0.6]), np.array([-0.8, 0.5]), np.array([0.05, 0.1])
    alpha, sigma = BY_HAND[path.name]
    tau, h = TAUS[path.name][1], 1e-4
    rates = [(curve(tau + h) - curve(tau - h)) / (2 * h) for curve in (alpha, sigma)]
    x = np.linspace(-12, 12, 40_001)

    def density(at: float) -> np.ndarray:
        return mixture_density(weights, means, variances)(x, alpha(at), sigma(at) ** 2)

    def velocity(at: float) -> np.ndarray:
        total = alpha(at) ** 2 * variances + sigma(at) ** 2
        gap = x[:, None] - alpha(at) * means
        share = weights * np.exp(-(gap**2) / (2 * total)) / np.sqrt(total)
        share /= share.sum(1, keepdims=True)
        gain = (rates[0] * alpha(at) * variances + rates[1] * sigma(at)) / total
        return (share * (rates[0] * means + gain * gap)).sum(1)

    # E[∇f·u] con x_0 y ε a la vista: el ruido, con Gauss-Hermite, y x_0, componente a componente.
    nodes, quadrature = np.polynomial.hermite_e.hermegauss(80)
    quadrature = quadrature / quadrature.sum()
    for f, gradient in (
        (np.sin, np.cos),
        (lambda y: np.exp(-(y**2) / 3), lambda y: -2 * y / 3 * np.exp(-(y**2) / 3)),
    ):
        moved = (integral(density(tau + h) * f(x), x) - integral(density(tau - h) * f(x), x)) / (
            2 * h
        )
        flux = integral(density(tau) * gradient(x) * velocity(tau), x)
        seen = 0.0
        for weight, mean, variance in zip(weights, means, variances, strict=True):
            x_0 = mean + math.sqrt(variance) * nodes[:, None]
            state = alpha(tau) * x_0 + sigma(tau) * nodes
            u = rates[0] * x_0 + rates[1] * nodes
            seen += weight * float(quadrature @ (gradient(state) * u) @ quadrature)
        assert moved == pytest.approx(seen, rel=1e-5, abs=1e-7)
        assert seen == pytest.approx(flux, rel=1e-5, abs=1e-7)


# --- Generar -------------------------------------------------------------------------------------


def bent(x: Tensor, tau: Tensor) -> Tensor:
    return x.sin() + (tau**2)[:, None]


@pytest.mark.equation("flujos-euler", "flujos-heun")
def test_the_steps_by_hand(agree: Callable[..., None]) -> None:
    x = numbers(4, 2, seed=6)
    first = x + (0.3 - 0.8) * (x.sin() + 0.8**2)
    agree(euler(bent, x, 0.8, 0.3), first)
    mean = (x.sin() + 0.8**2 + first.sin() + 0.3**2) / 2
    agree(heun(bent, x, 0.8, 0.3), x - 0.5 * mean)
    agree(heun(bent, x, 0.8, 0.0), euler(bent, x, 0.8, 0.0))


def test_the_walk_visits_the_times_and_ends_at_zero() -> None:
    asked: list[float] = []

    def field(x: Tensor, tau: Tensor) -> Tensor:
        asked.append(tau[0].item())
        return torch.ones_like(x)

    steps = list(integrate(field, torch.zeros(2, 1), torch.tensor([1.0, 0.5, 0.0]), heun))
    assert [step.tau for step in steps] == [0.5, 0.0]
    assert [step.x[0].item() for step in steps] == [-0.5, -1.0]
    assert asked == [1.0, 0.5, 0.5]


@pytest.mark.equation("flujos-normal", "flujos-euler", "flujos-heun")
@by_name
def test_normal_data_are_reached_with_the_order_of_each_method(path: Path) -> None:
    """Cada cuantil va a su cuantil: x_τ - α_τ m es siempre el mismo múltiplo de su desviación."""
    alpha, sigma = BY_HAND[path.name]
    first, last = TAUS[path.name][2] if path.name != "ve" else 5.0, TAUS[path.name][0]

    def law(tau: float) -> tuple[float, float]:
        return alpha(tau) * MEAN, math.sqrt(alpha(tau) ** 2 * STD**2 + sigma(tau) ** 2)

    quantiles = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    (m, s), (end_m, end_s) = law(first), law(last)
    for step, order in ((euler, 1), (heun, 2)):
        errors = []
        for count in (40, 80):
            times = torch.linspace(first, last, count + 1, dtype=torch.float64)
            *_, end = integrate(normal_velocity(path), m + s * quantiles, times, step)
            errors.append((end.x - (end_m + end_s * quantiles)).abs().max().item())
        assert slope([40, 80], errors) == pytest.approx(order, abs=0.3)


@pytest.mark.equation("flujos-recta")
def test_with_one_datum_a_step_is_exact_on_a_straight_path(agree: Callable[..., None]) -> None:
    datum, noise = numbers(1, 3, seed=7), numbers(5, 3, seed=8)
    for name in ("rectified", "ve", "vp"):
        path = PATHS[name]
        time = 0.99 * path.end
        schedule = path_schedule(path, torch.tensor([time], dtype=torch.float64))
        diffusion = Diffusion(schedule, clip=False)
        velocity = ddpm_velocity(ideal_model(diffusion, datum), diffusion, path)
        tau = torch.full((5,), time, dtype=torch.float64)
        x = path.state(datum.expand(5, 3), noise, tau)
        *_, end = integrate(velocity, x, torch.tensor([time, 0.0], dtype=torch.float64))
        if name == "vp":
            assert (end.x - datum).abs().mean() > 0.3
            continue
        agree(end.x, datum.expand(5, 3), rtol=1e-9)
        if name == "rectified":
            agree(velocity(x, tau), (x - datum) / time, rtol=1e-9)


@pytest.mark.equation("flujos-ddim")
@pytest.mark.parametrize("name", ["rectified", "ve"])
def test_euler_on_a_straight_path_is_ddim(name: str, agree: Callable[..., None]) -> None:
    path = PATHS[name]
    schedule = make_schedule("cosine", 12)
    diffusion = Diffusion(schedule, clip=False)
    x_T = numbers(6, 2, seed=9)
    model = lambda x, t: torch.sin(3 * x) * (1 + t[:, None])  # noqa: E731
    tau = path_times(path, schedule)
    here = path.curve(tau[-1])
    start = x_T * torch.hypot(here.alpha, here.sigma)
    times = torch.cat([tau.flip(0), torch.zeros(1, dtype=torch.float64)])
    *_, end = integrate(ddpm_velocity(model, diffusion, path), start, times)
    *_, expected = algorithm2(Denoiser(model, diffusion), x_T, iter(()), ddim)
    agree(end.x, expected.x_t, rtol=1e-9)


@pytest.mark.equation("flujos-ddim")
def test_euler_keeps_both_estimates() -> None:
    alpha, sigma, rate_a, rate_s, h, x_0, noise = sp.symbols("a s p q h x_0 e", real=True)
    step = alpha * x_0 + sigma * noise + h * (rate_a * x_0 + rate_s * noise)
    assert_chain(step, (alpha + h * rate_a) * x_0 + (sigma + h * rate_s) * noise)


@pytest.mark.equation("flujos-primer-paso")
def test_a_single_step_from_pure_noise_reaches_the_mean(agree: Callable[..., None]) -> None:
    path = PATHS["rectified"]
    data = numbers(7, 2, seed=10)
    schedule = Schedule.from_alphas_cumprod([0.5, 0.0])
    diffusion = Diffusion(schedule, "v", clip=False)
    velocity = ddpm_velocity(ideal_model(diffusion, data), diffusion, path)
    x = numbers(9, 2, seed=11)
    agree(velocity(x, torch.ones(9).double()), x - data.mean(0), rtol=1e-9)
    *_, end = integrate(velocity, x, torch.tensor([1.0, 0.0]))
    agree(end.x, data.mean(0).expand(9, 2), rtol=1e-9)


# --- EDM -----------------------------------------------------------------------------------------

sigma, sigma_d, c_skip, c_out, c_in = sp.symbols("sigma sigma_d c_skip c_out c_in", positive=True)
data, eps = sp.symbols("x_0 epsilon", real=True)
MOMENTS = {data: [0, sigma_d**2], eps: [0, 1]}
BEST = {
    c_skip: sigma_d**2 / (sigma**2 + sigma_d**2),
    c_out: sigma * sigma_d / sp.sqrt(sigma**2 + sigma_d**2),
}


@pytest.mark.equation("flujos-cin")
def test_the_input_has_variance_one() -> None:
    seen = expectation((c_in * (data + sigma * eps)) ** 2, MOMENTS)
    assert_chain(seen, c_in**2 * (sigma_d**2 + sigma**2))
    assert_chain(seen.subs(c_in, 1 / sp.sqrt(sigma**2 + sigma_d**2)), 1)


@pytest.mark.equation("flujos-cout")
def test_the_target_has_variance_one() -> None:
    target = (data - c_skip * (data + sigma * eps)) / c_out
    assert_chain(target, ((1 - c_skip) * data - c_skip * sigma * eps) / c_out)
    needed = (1 - c_skip) ** 2 * sigma_d**2 + c_skip**2 * sigma**2
    assert_chain(expectation(target**2, MOMENTS), needed / c_out**2)
    assert_chain(expectation(target**2, MOMENTS).subs(c_out, sp.sqrt(needed)), 1)


@pytest.mark.equation("flujos-cskip")
def test_the_skip_is_the_one_that_amplifies_least() -> None:
    needed = (1 - c_skip) ** 2 * sigma_d**2 + c_skip**2 * sigma**2
    slope_of_it = -2 * (1 - c_skip) * sigma_d**2 + 2 * c_skip * sigma**2
    assert_chain(sp.diff(needed, c_skip), slope_of_it)
    assert sp.solve(slope_of_it, c_skip) == [BEST[c_skip]]
    assert sp.diff(needed, c_skip, 2).subs({sigma: 1, sigma_d: 1}) > 0
    assert_chain(needed.subs(c_skip, BEST[c_skip]), BEST[c_out] ** 2)


@pytest.mark.equation("flujos-objetivo")
def test_the_inner_network_learns_minus_the_velocity_of_ddpm() -> None:
    target = (data - c_skip * (data + sigma * eps)) / c_out
    size = sp.sqrt(sigma**2 + sigma_d**2)
    velocity = sigma_d / size * eps - sigma / size * data / sigma_d
    assert_chain(
        target.subs(BEST),
        (sigma**2 * data - sigma_d**2 * sigma * eps) / (sigma * sigma_d * size),
        sigma / size * data / sigma_d - sigma_d / size * eps,
        -velocity,
    )


@pytest.mark.equation("flujos-edm")
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_coefficients_and_what_they_wrap(scale: float, agree: Callable[..., None]) -> None:
    levels = torch.tensor([0.01, 0.5, 7.0], dtype=torch.float64)
    c = preconditioning(levels, scale)
    for row, level in enumerate(levels.tolist()):
        size = math.hypot(level, scale)
        agree(c.skip[row], (scale / size) ** 2)
        agree(c.out[row], level * scale / size)
        agree(c.into[row], 1 / size)
        agree(c.noise[row], math.log(level) / 4)
    x = numbers(3, 2, seed=12)
    network = lambda y, noise: torch.sin(y) + noise[:, None]  # noqa: E731
    inside = torch.sin(c.into[:, None] * x) + c.noise[:, None]
    denoised = c.skip[:, None] * x + c.out[:, None] * inside
    found = preconditioned(network, scale)(x, levels)
    agree(found, (x - denoised) / levels[:, None])
    # La velocidad del camino «ve» es ε̂, y x̂_0 es lo que EDM llama D.
    agree(PATHS["ve"].split(found, x, levels)[0], denoised, rtol=1e-10)


@pytest.mark.equation("flujos-edm")
def test_the_ideal_network_inside_normal_data_answers_zero(agree: Callable[..., None]) -> None:
    """Con datos N(0, σ_d²), c_skip x ya es E[x_0|x]: a la red no le queda nada que decir."""
    levels = torch.tensor([0.05, 0.6, 20.0], dtype=torch.float64)
    x = numbers(3, 2, seed=13)
    found = preconditioned(lambda y, noise: 0 * y, STD)(x, levels)
    agree(found, levels[:, None] / (levels[:, None] ** 2 + STD**2) * x, rtol=1e-9)


@pytest.mark.equation("flujos-peso")
def test_with_its_weight_every_level_of_the_inner_network_counts_the_same(
    agree: Callable[..., None],
) -> None:
    """La pérdida del bucle es el error cuadrático de F, el de Karras et al. con λ = 1/c_out²."""
    x_0, noise = numbers(2, 5, 3, seed=14)
    ticks = torch.arange(5) * (TICKS // 5)
    seen: list[Tensor] = []

    def network(y: Tensor, at: Tensor) -> Tensor:
        seen[:] = [torch.cos(y) - at[:, None], (4 * at).exp()]
        return seen[0]

    (step,) = flow_matching(
        preconditioned(network, STD),
        PATHS["ve"],
        [{"x": x_0}],
        lambda x, ticks_wanted: (ticks, noise),
        lambda loss: loss,
        log_normal,
        lambda at: edm_weight(at, STD),
    )
    level = seen[1].double()[:, None]
    size = torch.hypot(level, torch.tensor(STD).double())
    x, out = x_0 + level * noise, level * STD / size
    target = (x_0 - (STD / size) ** 2 * x) / out
    agree(step.loss, (seen[0] - target).square().mean(), rtol=1e-4)
    denoised = (STD / size) ** 2 * x + out * seen[0]
    agree(step.loss, ((denoised - x_0) / out).square().mean(), rtol=1e-4)


def test_the_levels_of_training_are_log_normal(agree: Callable[..., None]) -> None:
    u = torch.tensor([0.5, 0.8413447460685429, 0.022750131948179195], dtype=torch.float64)
    expected = torch.tensor([-1.2, 0.0, -3.6], dtype=torch.float64).exp()
    agree(log_normal(u), expected, rtol=1e-9)
    agree(log_normal(u[1:2], 0.3, 0.5), torch.tensor([0.8], dtype=torch.float64).exp(), rtol=1e-9)


@pytest.mark.equation("flujos-karras")
def test_the_levels_of_generation(agree: Callable[..., None]) -> None:
    levels = karras_levels(18)
    assert len(levels) == 19 and levels[-1] == 0
    agree(levels[[0, 17]], torch.tensor([80.0, 0.002], dtype=torch.float64), rtol=1e-9)
    # Sus raíces séptimas están a la misma distancia.
    gaps = (levels[:-1] ** (1 / 7)).diff()
    agree(gaps, gaps.mean().expand(17), rtol=1e-9)
    even = torch.linspace(3, 1, 5, dtype=torch.float64)
    agree(karras_levels(5, 1.0, 3.0, rho=1.0)[:-1], even, rtol=1e-9)
    # Con un exponente enorme se reparten por igual los logaritmos.
    steps = karras_levels(9, 0.1, 10.0, rho=1e6)[:-1].log().diff()
    agree(steps, torch.full((8,), -math.log(100) / 8, dtype=torch.float64), rtol=1e-4)
    assert karras_levels(1).tolist() == [pytest.approx(80.0), 0.0]


def test_edm_generates_a_mixture_from_quantile_to_quantile() -> None:
    """Todo junto: red ideal, su traducción al camino de EDM, sus niveles y Heun."""
    mixture = Mixture((0.4, -0.7, 0.04), (0.6, 0.5, 0.09))
    levels = karras_levels(80)
    path = PATHS["ve"]
    schedule = path_schedule(path, levels[:-1].flip(0))
    velocity = ddpm_velocity(mixture.model(schedule), Diffusion(schedule, clip=False), path)
    probabilities = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    bar = schedule.alphas_cumprod[-1].item()
    start = mixture.quantile(bar, probabilities) / math.sqrt(bar)
    *_, end = integrate(velocity, start, levels, heun)
    assert (end.x - mixture.quantile(1.0, probabilities)).abs().max() < 2e-3


def test_a_whole_training_generates_normal_data() -> None:
    """Del bucle a las muestras, con datos N(MEAN, STD²)."""
    torch.manual_seed(1)
    path = PATHS["rectified"]
    network = nn.Sequential(
        nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    model = lambda x, tau: network(torch.cat([x, tau[:, None]], 1))  # noqa: E731

    def descend(loss: Tensor) -> Tensor:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    def batches() -> Iterator[dict[str, Tensor]]:
        for _ in range(600):
            yield {"x": MEAN + STD * torch.randn(256, 1)}

    losses = [
        s.loss.item() for s in flow_matching(model, path, batches(), TrainingDraws(0), descend)
    ]
    # La pérdida mínima no es 0: es la media de Var(u|x), que aquí se integra.
    tau = torch.linspace(0, 1, 2001, dtype=torch.float64)
    floor = (STD**2 / ((1 - tau) ** 2 * STD**2 + tau**2)).mean().item()
    assert np.mean(losses[-200:]) == pytest.approx(floor, rel=0.06)
    x = torch.randn(4000, 1)
    *_, end = integrate(model, x, torch.linspace(1, 0, 21), heun)
    assert end.x.mean().item() == pytest.approx(MEAN, abs=0.06)
    assert end.x.std().item() == pytest.approx(STD, abs=0.06)
