"""Editar sin entrenar: RePaint y SDEdit, con leyes normales que se saben enteras."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from ddpm_lit import sampling
from ddpm_lit.backward import Denoiser
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import inpaint, noised_levels, redraw, repaint, repaint_path
from ddpm_lit.forward import q_sample
from ddpm_lit.noise import sampling_noise
from ddpm_lit.sampling import SAMPLERS, Edit, algorithm2, make_sampler, sample, sample_trajectory
from ddpm_lit.scheduler import Schedule, make_schedule, respace, spaced_indices

SHAPE = (1, 8, 8)
LEFT = torch.zeros(SHAPE)
LEFT[..., :4] = 1


def shaken_digits() -> torch.nn.Module:
    """Una red sin entrenar, con los pesos movidos para que responda algo."""
    torch.manual_seed(0)
    model = tiny.digits().build_model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


MODEL = shaken_digits()
COSINE = make_schedule("cosine", 10)
DIGITS = 2 * torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(3)) - 1


def generate(indices: Sequence[int] = range(7), **options: Any) -> Tensor:
    return sample(MODEL, Diffusion(COSINE, "v"), SHAPE, indices=indices, **options)


# --- Lo conocido se conserva --------------------------------------------------------------------


@pytest.mark.equation("editar-repaint")
@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("resamplings", [1, 3])
def test_the_known_part_is_kept_exactly(name: str, resamplings: int) -> None:
    sampler = make_sampler(name)
    edit = inpaint(DIGITS, LEFT, jump=3, resamplings=resamplings)
    out = generate(sampler=sampler, edit=edit, batch_size=3)
    inside = LEFT.bool().expand_as(out)
    assert torch.equal(out[inside], DIGITS[inside])
    assert (out[~inside] - DIGITS[~inside]).abs().mean() > 0.1


@pytest.mark.equation("editar-repaint")
@pytest.mark.parametrize("index", [0, 1, 4, 9])
def test_the_known_part_has_the_noise_of_the_level_it_reaches(
    index: int, agree: Callable[..., None]
) -> None:
    """Ni el nivel del que se viene ni la raíz olvidada del algoritmo impreso."""
    seen = torch.tensor([0.5], dtype=torch.float64)
    denoise = Denoiser(MODEL, Diffusion(COSINE, "v"))
    given = []

    def inner(*received: Any) -> tuple[Tensor, Tensor]:
        given.append(received)
        return torch.full((1, 4), 7.0, dtype=torch.float64), seen

    x_T = torch.zeros(1, 4, dtype=torch.float64)
    known = torch.tensor([[0.3, -0.9, 0.1, 0.6]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.25]], dtype=torch.float64)
    draws = torch.randn(9, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noises = iter(draws)
    states = list(repaint(denoise, x_T, noises, inner, known=known, mask=mask))
    assert list(noises) == []
    state = states[9 - index]
    bar = math.prod((1 - COSINE.betas[:index]).tolist())
    noise = draws[9 - index] if index > 0 else 0
    original = math.sqrt(bar) * known + math.sqrt(1 - bar) * noise
    agree(state.x_t, mask * original + (1 - mask) * 7)
    assert state.t == index
    assert state.x_start is seen
    before = x_T if index == 9 else states[8 - index].x_t
    assert state.before is before
    received = given[9 - index]
    expected = (denoise, before, index, noises, None if index == 9 else seen)
    assert all(one is other for one, other in zip(received, expected, strict=True))


def test_after_climbing_there_is_no_previous_estimate() -> None:
    """Un sampler de varios pasos no puede usar el x̂_0 de antes de volver a subir."""
    path, previous = repaint_path(10, 3, 2), []

    def inner(_: Any, x: Tensor, index: int, noises: Any, last: Tensor | None) -> Any:
        previous.append(last)
        return x, x

    noises = iter(torch.randn(100, 1, 2))
    denoise = Denoiser(MODEL, Diffusion(COSINE, "v"))
    still = {"known": torch.zeros(1, 2), "mask": torch.zeros(1, 2)}
    states = list(repaint(denoise, torch.ones(1, 2), noises, inner, **still, jump=3, resamplings=2))
    assert [state.t for state in states] == path
    ups = [after > before - 1 for before, after in pairwise(path)]
    assert sum(ups) == 3
    assert [last is None for last in previous] == [True, *ups]


def test_an_empty_mask_changes_nothing_but_the_noise() -> None:
    """Con la máscara a 0 y un sampler sin ruido, la muestra es la de siempre."""
    ddim = make_sampler("ddim")
    edit = inpaint(DIGITS, torch.zeros(SHAPE))
    assert torch.equal(generate(sampler=ddim, edit=edit), generate(sampler=ddim))


# --- El camino -----------------------------------------------------------------------------------


def walked(steps: int, jump: int, resamplings: int) -> list[int]:
    """El camino de RePaint contado con marcas, de nivel en nivel."""
    pending = dict.fromkeys(range(0, steps - jump, jump), resamplings - 1)
    level, path = steps - 1, []
    while level >= 0:
        path.append(level)
        level -= 1
        if pending.get(level, 0) > 0:
            pending[level] -= 1
            level += jump
    return path


@pytest.mark.equation("editar-pasos")
@pytest.mark.parametrize("steps", [2, 7, 20, 50, 250])
@pytest.mark.parametrize("jump", [1, 3, 10])
@pytest.mark.parametrize("resamplings", [1, 2, 10])
def test_the_path_and_its_length(steps: int, jump: int, resamplings: int) -> None:
    if resamplings > 1 and jump >= steps:
        with pytest.raises(ValueError, match=rf"salto de {jump} niveles.*menor que {steps}"):
            repaint_path(steps, jump, resamplings)
        return
    path = repaint_path(steps, jump, resamplings)
    assert path == walked(steps, jump, resamplings)
    jumps = math.ceil(max(steps - jump, 0) / jump)
    assert len(path) == steps + (resamplings - 1) * jump * jumps
    ups = [after - before for before, after in pairwise(path) if after >= before]
    assert ups == [jump - 1] * ((resamplings - 1) * jumps)
    assert (path[0], path[-1], path.count(0)) == (steps - 1, 0, 1)


def test_the_path_of_the_paper() -> None:
    assert repaint_path(6, 1, 2) == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0]
    assert repaint_path(7, 3, 2) == [6, 5, 4, 6, 5, 4, 3, 2, 1, 3, 2, 1, 0]
    assert len(repaint_path(250, 10, 10)) == 2410


# --- Datos normales: la ley exacta ---------------------------------------------------------------


RHO, SCALE, SEEN = 0.8, 0.5, 0.6
DATA = SCALE**2 * torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
TRUE_MEAN, TRUE_STD = RHO * SEEN, SCALE * math.sqrt(1 - RHO**2)


def exact_epsilon(schedule: Schedule, covariance: Tensor) -> Callable[..., Tensor]:
    """E[ε | x_t] para x_0 ~ N(0, Σ): √(1-ᾱ) (ᾱΣ + (1-ᾱ)I)^{-1} x_t."""
    identity = torch.eye(len(covariance), dtype=torch.float64)

    def model(x: Tensor, t: Tensor) -> Tensor:
        bar = schedule.alphas_cumprod[int(t[0])]
        gain = torch.linalg.inv(bar * covariance + (1 - bar) * identity)
        return (1 - bar).sqrt() * x @ gain.to(x)

    return model


def basis_noise(
    seed: int, indices: Sequence[int], shape: Sequence[int], device: str = "cpu"
) -> Iterator[Tensor]:
    """En vez de ruido, la muestra 0 recibe ceros, y la i, un 1 en el sorteo i-ésimo."""
    width, draw = math.prod(shape), 0
    while True:
        flat = torch.zeros(len(indices), width, dtype=torch.float64)
        for row, index in enumerate(indices):
            if draw * width < index <= (draw + 1) * width:
                flat[row, index - 1 - draw * width] = 1
        draw += 1
        yield flat.reshape(len(indices), *shape)


def exact_law(
    monkeypatch: pytest.MonkeyPatch,
    schedule: Schedule,
    covariance: Tensor,
    *,
    draws: int,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Media y covarianza de lo que da `sample`, sin azar: es una función afín de su ruido."""
    monkeypatch.setattr(sampling, "sampling_noise", basis_noise)
    size = len(covariance)
    out = sample(
        exact_epsilon(schedule, covariance),
        Diffusion(schedule, clip=False),
        (size,),
        indices=range(1 + draws * size),
        batch_size=10**6,
        **options,
    )
    responses = out[1:] - out[0]
    return out[0], responses.T @ responses


def recursion(
    schedule: Schedule,
    covariance: Tensor,
    mean: Tensor,
    spread: Tensor,
    path: Sequence[int],
    seen: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Lo mismo a mano: media y covarianza de nivel en nivel, solo a partir de las betas."""
    bars = [1.0]
    for beta in schedule.betas.tolist():
        bars.append(bars[-1] * (1 - beta))
    identity = torch.eye(len(covariance), dtype=torch.float64)
    level = path[0]
    for index in path:
        if index > level:
            ratio = bars[index + 1] / bars[level + 1]
            mean, spread = math.sqrt(ratio) * mean, ratio * spread + (1 - ratio) * identity
        bar, before, beta = bars[index + 1], bars[index], float(schedule.betas[index])
        gain = torch.linalg.inv(bar * covariance + (1 - bar) * identity)
        step = (identity - beta * gain) / math.sqrt(1 - beta)
        sigma2 = beta * (1 - before) / (1 - bar)
        mean, spread = step @ mean, step @ spread @ step.T + sigma2 * identity
        if seen is not None:
            mean[0], spread[0], spread[:, 0] = math.sqrt(before) * seen, 0, 0
            spread[0, 0] = 1 - before
        level = index - 1
    return mean, spread


def repaint_law(schedule: Schedule, jump: int, resamplings: int) -> tuple[float, float]:
    """Media y desviación de la coordenada que RePaint inventa."""
    path = repaint_path(len(schedule), jump, resamplings)
    start = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    mean, spread = recursion(schedule, DATA, *start, path, seen=SEEN)
    return float(mean[1]), math.sqrt(spread[1, 1])


@pytest.mark.equation("editar-repaint")
@pytest.mark.parametrize(("jump", "resamplings"), [(1, 1), (1, 2), (4, 3)])
def test_repaint_has_the_law_of_the_recursion(
    monkeypatch: pytest.MonkeyPatch, jump: int, resamplings: int, agree: Callable[..., None]
) -> None:
    schedule = make_schedule("linear", 25)
    mean, spread = exact_law(
        monkeypatch,
        schedule,
        DATA,
        draws=3 * len(repaint_path(25, jump, resamplings)),
        edit=inpaint(
            torch.tensor([[SEEN, 0.0]], dtype=torch.float64),
            torch.tensor([1, 0]),
            jump=jump,
            resamplings=resamplings,
        ),
    )
    path = repaint_path(25, jump, resamplings)
    start = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    expected = recursion(schedule, DATA, *start, path, seen=SEEN)
    agree(mean, expected[0], rtol=1e-9, atol=1e-12)
    agree(spread, expected[1], rtol=1e-9, atol=1e-12)
    assert mean[0] == SEEN


def test_resampling_moves_the_invented_part_towards_the_true_conditional() -> None:
    """Sin repetir, lo inventado apenas ha visto lo conocido; repitiendo, la media casi acierta."""
    schedule = make_schedule("linear", 250)
    laws = {r: repaint_law(schedule, 10, r) for r in (1, 2, 5, 10)}
    errors = [TRUE_MEAN - mean for mean, _ in laws.values()]
    assert errors[0] > 0.15
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < 0.03
    assert laws[1][1] > TRUE_STD + 0.03
    assert abs(laws[10][1] - TRUE_STD) < 0.015


def test_long_jumps_stop_short_of_the_true_conditional() -> None:
    """Por muchas veces que se repita queda un sesgo, tanto mayor cuanto más largo es el salto."""
    schedule = make_schedule("linear", 250)
    errors = [TRUE_MEAN - repaint_law(schedule, jump, 100)[0] for jump in (5, 10, 20)]
    assert errors == sorted(errors)
    assert 0 < errors[0] < 0.01
    assert errors[-1] > 0.05


# --- SDEdit --------------------------------------------------------------------------------------


@pytest.mark.equation("editar-sdedit")
@pytest.mark.parametrize("strength", [0.05, 0.3, 0.5, 1.0])
def test_sdedit_has_the_law_of_the_recursion(
    monkeypatch: pytest.MonkeyPatch, strength: float, agree: Callable[..., None]
) -> None:
    schedule = make_schedule("linear", 40)
    guide = torch.tensor([1.4, -0.7], dtype=torch.float64)
    mean, spread = exact_law(monkeypatch, schedule, DATA, draws=42, edit=redraw(guide, strength))
    levels = math.ceil(strength * 40)
    bar = math.prod((1 - schedule.betas[:levels]).tolist())
    start = math.sqrt(bar) * guide, (1 - bar) * torch.eye(2, dtype=torch.float64)
    expected = recursion(schedule, DATA, *start, range(levels - 1, -1, -1))
    agree(mean, expected[0], rtol=1e-9, atol=1e-12)
    agree(spread, expected[1], rtol=1e-9, atol=1e-12)


def test_strength_trades_the_guide_for_the_data() -> None:
    """Con datos N(0, s²) y la guía lejos, al subir strength la muestra pasa de la guía a los datos.

    La media que queda de la guía solo baja, y la dispersión solo sube, hasta la de los datos.
    """
    schedule = make_schedule("linear", 1000)
    data = torch.tensor([[0.25]], dtype=torch.float64)
    guide = torch.tensor([2.0], dtype=torch.float64)
    means, stds = [], []
    for strength in (0.001, 0.1, 0.3, 0.6, 1.0):
        levels = noised_levels(1000, strength)
        bar = float(schedule.alphas_cumprod[levels - 1])
        start = math.sqrt(bar) * guide, (1 - bar) * torch.eye(1, dtype=torch.float64)
        mean, spread = recursion(schedule, data, *start, range(levels - 1, -1, -1))
        means.append(float(mean))
        stds.append(float(spread.sqrt()))
    assert means == sorted(means, reverse=True)
    assert stds == sorted(stds)
    assert means[0] == pytest.approx(2.0, abs=1e-3)
    assert stds[0] == pytest.approx(0.01, rel=1e-3)
    assert means[-1] == pytest.approx(0.0, abs=1e-3)
    assert stds[-1] == pytest.approx(0.5, abs=1e-2)


@pytest.mark.equation("editar-sdedit")
def test_full_strength_is_the_usual_generation_from_a_noised_guide() -> None:
    out = generate(edit=redraw(DIGITS, 1.0))
    noises = sampling_noise(0, range(7), SHAPE)
    x_T = q_sample(COSINE, DIGITS, torch.full((7,), 9), next(noises))
    *_, last = algorithm2(Denoiser(MODEL, Diffusion(COSINE, "v")), x_T, noises)
    torch.testing.assert_close(out, last.x_t, rtol=0, atol=1e-6)


def test_a_tiny_strength_almost_returns_the_guide() -> None:
    """Con un solo paso y la red exacta, lo que cambia es del tamaño del ruido de ese paso."""
    schedule = make_schedule("linear", 1000)
    guide = torch.tensor([[0.4, -0.2]], dtype=torch.float64)
    out = sample(
        exact_epsilon(schedule, DATA),
        Diffusion(schedule, clip=False),
        (2,),
        indices=range(200),
        edit=redraw(guide, 0.001),
    )
    change = (out - guide).std()
    assert 0.8 * schedule.sqrt_betas[0] < change < 1.2 * schedule.sqrt_betas[0]


@pytest.mark.parametrize(
    ("steps", "strength", "levels"),
    [(100, 0.07, 7), (100, 0.071, 8), (1000, 1e-9, 1), (50, 1.0, 50), (3, 0.5, 2), (10, 0.3, 3)],
)
def test_how_many_levels(steps: int, strength: float, levels: int) -> None:
    assert noised_levels(steps, strength) == levels


def test_the_noise_is_that_of_the_shortened_schedule() -> None:
    """Con menos pasos, la fracción se cuenta sobre los que se dan."""
    seen = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return torch.zeros_like(x)

    schedule = make_schedule("linear", 1000)
    sample(
        model,
        Diffusion(schedule),
        (2,),
        indices=[0],
        steps=10,
        edit=redraw(torch.zeros(2), 0.4),
    )
    assert seen == spaced_indices(1000, 10).tolist()[3::-1]


# --- El azar y los lotes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: inpaint(DIGITS[rows], LEFT, jump=3, resamplings=2),
        lambda rows: redraw(DIGITS[rows], 0.6),
        lambda rows: redraw(
            DIGITS.flip(0)[rows],
            0.5,
            inpaint(DIGITS[rows], (DIGITS > 0)[rows], jump=2, resamplings=3),
        ),
    ],
)
def test_a_sample_does_not_depend_on_the_batch(edit: Callable[[slice], Edit]) -> None:
    whole = generate(edit=edit(slice(None)))
    for size in (1, 3):
        parts = generate(batch_size=size, edit=edit(slice(None)))
        torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)
    alone = generate([4], edit=edit(slice(4, 5)))
    torch.testing.assert_close(alone, whole[4:5], rtol=0, atol=2e-5)


def test_redrawing_only_a_hole_keeps_the_rest() -> None:
    """Las dos ediciones se combinan: desde la guía, y sin tocar lo conocido."""
    edit = redraw(DIGITS.flip(0), 0.5, inpaint(DIGITS, LEFT, jump=2, resamplings=3))
    out = generate(edit=edit)
    inside = LEFT.bool().expand_as(out)
    assert torch.equal(out[inside], DIGITS[inside])
    other = generate(edit=inpaint(DIGITS, LEFT, jump=2, resamplings=3))
    assert (out - other)[~inside].abs().mean() > 0.1
    assert edit.path(10) == repaint_path(5, 2, 3)


def test_one_image_serves_every_sample() -> None:
    once = generate(edit=inpaint(DIGITS[0], LEFT[0]))
    repeated = generate(edit=inpaint(DIGITS[:1].expand(7, *SHAPE), LEFT.expand(7, *SHAPE)))
    assert torch.equal(once, repeated)
    assert once.std(dim=0)[..., 4:].min() > 0


def test_the_trajectory_starts_at_the_noised_guide() -> None:
    schedule = respace(COSINE, spaced_indices(10, 6))
    options: dict[str, Any] = {"indices": range(7), "edit": redraw(DIGITS, 0.5), "steps": 6}
    trajectory = sample_trajectory(MODEL, Diffusion(COSINE, "v"), SHAPE, **options)
    noise = next(sampling_noise(0, range(7), SHAPE))
    start = q_sample(schedule, DIGITS, torch.full((7,), 2), noise)
    assert len(trajectory.x_t) == 4
    torch.testing.assert_close(trajectory.x_t[0], start, rtol=0, atol=1e-6)
    end = sample(MODEL, Diffusion(COSINE, "v"), SHAPE, **options)
    assert torch.equal(trajectory.x_t[-1], end)


# --- Malas entradas ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: redraw(DIGITS, 0.0), "strength vale 0.0"),
        (lambda: redraw(DIGITS, 1.2), "strength vale 1.2"),
        (lambda: redraw(DIGITS, math.nan), "strength vale nan"),
        (lambda: redraw(DIGITS[:3], 0.5), r"\(3, 1, 8, 8\) y se esperaba \(7, 1, 8, 8\)"),
        (lambda: redraw(127.5 * DIGITS, 0.5), r"«initial» llega hasta 127.*/ 127\.5 - 1"),
        (lambda: inpaint(127.5 * DIGITS, LEFT), r"«known» llega hasta 127.*/ 127\.5 - 1"),
        (lambda: inpaint(DIGITS, torch.zeros(4, 4)), r"«mask» tiene forma \(4, 4\)"),
        (lambda: inpaint(DIGITS, 2 * LEFT), "va de 0 a 2 y debe estar en"),
        (lambda: inpaint(DIGITS, LEFT * torch.nan), "«mask» tiene valores que no son finitos"),
        (lambda: inpaint(DIGITS * math.inf, LEFT), "«known» tiene valores que no son finitos"),
        (lambda: inpaint(DIGITS.long(), LEFT), "«known» es de tipo torch.int64"),
        (lambda: inpaint(DIGITS, LEFT, jump=10, resamplings=2), "salto de 10 niveles"),
        (lambda: inpaint(DIGITS, LEFT, resamplings=0), "al menos 1"),
    ],
)
def test_bad_edits_are_refused(edit: Callable[[], Edit], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(edit=edit())


def test_masks_of_any_kind_of_number() -> None:
    whole = generate(edit=inpaint(DIGITS, LEFT))
    for mask in (LEFT.bool(), LEFT.int(), LEFT.double()):
        assert torch.equal(generate(edit=inpaint(DIGITS, mask)), whole)


def test_a_partial_sampler_can_be_decorated() -> None:
    ddim = partial(SAMPLERS["ddim"], eta=0.5)
    out = generate(edit=inpaint(DIGITS, LEFT), sampler=ddim, steps=5)
    assert torch.equal(out[..., :4], DIGITS[..., :4])
