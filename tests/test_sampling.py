"""La generación: el Algoritmo 2 y sus dos consumidores."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from ddpm_lit.backward import Denoiser, p_mean_variance
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.models.storage import Trained
from ddpm_lit.noise import sampling_noise
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.sampling import SampleStep, algorithm2, sample, sample_trajectory
from ddpm_lit.scheduler import make_schedule, respace, spaced_indices


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shaken(recipe: Recipe, shape: tuple[int, ...]) -> Trained:
    """Un modelo sin entrenar, con todos sus pesos distintos de 0 para que responda algo."""
    torch.manual_seed(0)
    model = recipe.build_model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Trained(model, recipe, shape, {})


TOY = shaken(tiny.toy(), (2,))
DIGITS = shaken(tiny.digits(), (1, 8, 8))


def zeros(x: Tensor, t: Tensor, **_: Any) -> Tensor:
    return torch.zeros_like(x)


def draws(shape: tuple[int, ...]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(shape, generator=generator)


# --- El bucle -----------------------------------------------------------------------------------


@pytest.mark.equation("generacion-algoritmo")
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_each_state_comes_from_the_line_of_the_paper(
    name: str, variance: str, agree: Callable[..., None]
) -> None:
    """Con la línea escrita a mano, solo a partir de las betas, y una red que mira x_t y t."""
    schedule = make_schedule(name, 30)

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x) + t[:, None].double() / 50

    z = torch.randn(30, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    diffusion = Diffusion(schedule, "epsilon", variance, clip=False)
    states = algorithm2(Denoiser(model, diffusion), z[0], iter(z[1:]))
    betas = schedule.betas.tolist()
    x = z[0]
    for index, state, noise in zip(reversed(range(30)), states, [*z[1:], 0 * z[0]], strict=True):
        beta = betas[index]
        before = math.prod(1 - b for b in betas[:index])
        bar = before * (1 - beta)
        epsilon = torch.tanh(x) + index / 50
        sigma2 = beta if variance == "fixed_large" else beta * (1 - before) / (1 - bar)
        x_start = (x - math.sqrt(1 - bar) * epsilon) / math.sqrt(bar)
        x = (x - beta / math.sqrt(1 - bar) * epsilon) / math.sqrt(1 - beta)
        x = x + math.sqrt(sigma2) * noise
        agree(state.x_t, x, rtol=1e-7, atol=1e-9)
        agree(state.x_start, x_start, rtol=1e-7, atol=1e-9)
        x = state.x_t


@pytest.mark.equation("generacion-algoritmo")
@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_it_is_the_algorithm_of_the_paper(prediction: str, variance: str) -> None:
    schedule = make_schedule("cosine", 12)
    noises = draws((5, 2))
    x = x_T = next(noises)
    steps = list(
        algorithm2(
            Denoiser(TOY.model, Diffusion(schedule, prediction, variance, clip=False)), x_T, noises
        )
    )
    z = draws((5, 2))
    next(z)
    with torch.no_grad():
        for state, index in zip(steps, reversed(range(12)), strict=True):
            t = torch.full((5,), index)
            step = p_mean_variance(
                Diffusion(schedule, prediction, variance, clip=False), TOY.model(x, t), x, t
            )
            x = step.mean + (step.variance.sqrt() * next(z) if index > 0 else 0)
            assert state.t == index
            assert torch.equal(state.x_t, x)
            assert torch.equal(state.x_start, step.x_start)


def test_the_last_step_adds_no_noise_and_asks_for_none() -> None:
    schedule = make_schedule("linear", 30)
    asked = []

    def count() -> Iterator[Tensor]:
        while True:
            asked.append(1)
            yield torch.full((1, 2), 7.0)

    *_, last = algorithm2(
        Denoiser(zeros, Diffusion(schedule, clip=False)), torch.ones(1, 2), count()
    )
    assert len(asked) == 29
    assert last.t == 0
    assert torch.allclose(last.x_t, last.x_start, rtol=1e-5)


def test_it_is_a_generator_that_can_be_left_half_way() -> None:
    called = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        called.append(int(t[0]))
        return x

    states = algorithm2(
        Denoiser(model, Diffusion(make_schedule("linear", 100))), torch.ones(1, 2), draws((1, 2))
    )
    assert called == []
    assert [next(states).t, next(states).t] == [99, 98]
    states.close()
    assert called == [99, 98]


def test_no_graph_is_built() -> None:
    weight = torch.ones(1, requires_grad=True)
    schedule = make_schedule("linear", 25)
    states = algorithm2(
        Denoiser(lambda x, t: weight * x, Diffusion(schedule)), torch.ones(1, 2), draws((1, 2))
    )
    assert not next(states).x_t.requires_grad
    assert torch.is_grad_enabled()


def test_a_respaced_schedule_tells_the_network_the_original_time() -> None:
    seen = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return torch.zeros_like(x)

    schedule = respace(make_schedule("linear", 100), [0, 40, 99])
    states = list(algorithm2(Denoiser(model, Diffusion(schedule)), torch.ones(1, 2), draws((1, 2))))
    assert seen == [99, 40, 0]
    assert [state.t for state in states] == [2, 1, 0]


def test_the_condition_reaches_the_network() -> None:
    labels = torch.tensor([4, 7])

    def model(x: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        assert torch.equal(class_labels, labels)
        return torch.zeros_like(x)

    schedule = make_schedule("linear", 25)
    condition = {"class_labels": labels}
    list(
        algorithm2(Denoiser(model, Diffusion(schedule), condition), torch.ones(2, 2), draws((2, 2)))
    )


def test_x_start_is_clipped_or_not() -> None:
    schedule = make_schedule("linear", 25)
    x_T = torch.full((1, 2), 5.0)
    clipped = next(algorithm2(Denoiser(zeros, Diffusion(schedule)), x_T, draws((1, 2))))
    free = next(algorithm2(Denoiser(zeros, Diffusion(schedule, clip=False)), x_T, draws((1, 2))))
    halved = next(
        algorithm2(Denoiser(zeros, Diffusion(schedule, clip=lambda x: x / 2)), x_T, draws((1, 2)))
    )
    assert torch.equal(clipped.x_start, torch.ones(1, 2))
    assert (free.x_start > 5).all()
    assert torch.equal(halved.x_start, free.x_start / 2)


# --- La semilla y el índice lo dicen todo -------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 128])
def test_points_are_the_same_for_any_batch_size(batch_size: int) -> None:
    """Con batch de 1 la multiplicación de matrices suma en otro orden: ahí, salvo redondeo."""
    whole = TOY.sample(10, seed=3)
    split = TOY.sample(10, seed=3, batch_size=batch_size)
    assert torch.allclose(split, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 128])
def test_points_are_exactly_the_same_when_the_network_is(batch_size: int) -> None:
    """Si la red trata cada ejemplo por su cuenta, la igualdad es bit a bit."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x.flip(1) * 1.5) + t[:, None] / 1000

    schedule = make_schedule("cosine", 40)
    whole = sample(model, Diffusion(schedule), (2,), indices=range(10), seed=3)
    split = sample(
        model, Diffusion(schedule), (2,), indices=range(10), seed=3, batch_size=batch_size
    )
    assert torch.equal(split, whole)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_are_the_same_for_any_batch_size(batch_size: int) -> None:
    labels = [0, 3, 3, 9, 5]
    whole = DIGITS.sample(5, class_labels=labels)
    split = DIGITS.sample(5, class_labels=labels, batch_size=batch_size)
    assert torch.allclose(split, whole, rtol=0, atol=1e-5)


def test_a_sample_is_the_same_alone_or_among_others() -> None:
    whole = TOY.sample(8, seed=1)
    assert torch.allclose(TOY.sample([7, 2], seed=1), whole[[7, 2]], atol=1e-5)


def test_seeds_give_different_samples_and_the_same_seed_the_same() -> None:
    assert torch.equal(TOY.sample(4, seed=5), TOY.sample(4, seed=5))
    assert not torch.isclose(TOY.sample(4, seed=5), TOY.sample(4, seed=6)).any()
    samples = TOY.sample(6)
    assert len({tuple(row) for row in samples.tolist()}) == 6


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = TOY.sample(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(TOY.sample(3), first)


# --- sample y sample_trajectory -----------------------------------------------------------------


def test_the_trajectory_ends_in_the_sample() -> None:
    options = {"seed": 2, "condition": {"class_labels": torch.tensor([1, 2, 3])}}
    arguments = (DIGITS.model, DIGITS.diffusion, DIGITS.shape)
    whole = sample(*arguments, indices=range(3), **options)
    trajectory = sample_trajectory(*arguments, indices=range(3), **options)
    assert trajectory.x_t.shape == (21, 3, 1, 8, 8)
    assert trajectory.x_start.shape == (20, 3, 1, 8, 8)
    assert torch.equal(trajectory.x_t[0], next(sampling_noise(2, range(3), (1, 8, 8))))
    assert torch.equal(trajectory.x_t[-1], whole)
    assert trajectory.x_start.abs().max() <= 1


def test_fewer_steps_are_spread_over_the_process() -> None:
    seen: list[int] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        seen.append(int(t[0]))
        return torch.zeros_like(x)

    schedule = make_schedule("linear", 100)
    sample(model, Diffusion(schedule), (2,), indices=[0], steps=7)
    assert seen == spaced_indices(100, 7).flip(0).tolist()
    trajectory = sample_trajectory(zeros, Diffusion(schedule), (2,), indices=[0], steps=7)
    assert trajectory.x_t.shape == (8, 1, 2)


def test_the_callback_sees_every_step_of_every_batch() -> None:
    seen: list[SampleStep] = []
    samples = TOY.sample(5, batch_size=2, callback=seen.append)
    assert [state.t for state in seen] == [*reversed(range(20))] * 3
    assert [len(state.x_t) for state in seen[::20]] == [2, 2, 1]
    finished = torch.cat([state.x_t for state in seen if state.t == 0])
    assert torch.equal(finished, samples)


def test_the_progress_bar_counts_steps(capsys: pytest.CaptureFixture[str]) -> None:
    TOY.sample(3, batch_size=2, progress=True)
    shown = capsys.readouterr().err
    assert "Generando" in shown
    assert "40/40" in shown
    TOY.sample(3)
    assert capsys.readouterr().err == ""


def test_each_step_remembers_where_it_started() -> None:
    """`before` es el estado del que se salió: el x_t del paso anterior, y x_T en el primero."""
    seen: list[SampleStep] = []
    TOY.sample(3, seed=4, callback=seen.append)
    assert torch.equal(seen[0].before, next(sampling_noise(4, range(3), (2,))))
    for one, other in pairwise(seen):
        assert torch.equal(other.before, one.x_t)
        assert not torch.equal(other.before, other.x_t)


def test_the_indices_are_a_sequence() -> None:
    for function in (sample, sample_trajectory):
        with pytest.raises(TypeError, match=r"indices es 5 .*range\(5\)"):
            function(zeros, Diffusion(make_schedule("cosine", 10)), (2,), indices=5)


def test_no_samples_is_an_empty_tensor() -> None:
    assert DIGITS.sample(0).shape == (0, 1, 8, 8)


def test_one_class_for_all_or_one_for_each() -> None:
    assert torch.equal(
        DIGITS.sample(3, class_labels=4), DIGITS.sample(3, class_labels=torch.tensor([4, 4, 4]))
    )
    assert not torch.equal(DIGITS.sample(3, class_labels=4), DIGITS.sample(3, class_labels=5))


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 4, 5)])
def test_any_shape_of_data(shape: tuple[int, ...]) -> None:
    samples = sample(zeros, Diffusion(make_schedule("cosine", 10)), shape, indices=range(2))
    assert samples.shape == (2, *shape)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_the_perfect_network_of_a_single_point_returns_it(variance: str) -> None:
    schedule = make_schedule("linear", 200)
    point = torch.tensor([0.3, -0.8])
    samples = sample(
        lambda x, t: point.expand_as(x),
        Diffusion(schedule, "x_start", variance),
        (2,),
        indices=range(5),
    )
    assert torch.allclose(samples, point.expand(5, 2), atol=1e-5)


def test_the_perfect_network_of_a_gaussian_gives_that_gaussian() -> None:
    """Con datos N(0, s²) la mejor x̂_0 es lineal en x_t; las muestras deben tener su s."""
    schedule, s = make_schedule("linear", 200), 0.5
    bar = schedule.alphas_cumprod.float()

    def model(x: Tensor, t: Tensor) -> Tensor:
        a = bar[t][:, None]
        return x * a.sqrt() * s**2 / (a * s**2 + 1 - a)

    samples = sample(
        model,
        Diffusion(schedule, "x_start", "fixed_large", clip=False),
        (1,),
        indices=range(4000),
        batch_size=4000,
    )
    assert abs(float(samples.mean())) < 4 * s / math.sqrt(4000)
    assert float(samples.std()) == pytest.approx(s, rel=0.05)
