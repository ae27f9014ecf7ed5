"""De dónde sale el azar: cada cosa con su clave, y nada dos veces."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from ddpm_lit.noise import (
    Stream,
    TrainingDraws,
    batch_indices,
    keyed_generator,
    sampling_noise,
    training_draws,
)
from ddpm_lit.training import seeded

# --- El reparto en lotes o en procesos no cambia nada -------------------------------------------


@pytest.mark.parametrize("parts", [[8], [1] * 8, [3, 5], [2, 2, 4]])
def test_training_draws_do_not_depend_on_the_split(parts: list[int]) -> None:
    t, noise = training_draws(5, 11, range(8), (3, 4), 1000)
    starts = itertools.accumulate(parts, initial=0)
    pieces = [
        training_draws(5, 11, range(start, start + size), (3, 4), 1000)
        for start, size in zip(starts, parts, strict=False)
    ]
    assert torch.equal(torch.cat([piece[0] for piece in pieces]), t)
    assert torch.equal(torch.cat([piece[1] for piece in pieces]), noise)


def test_training_draws_follow_the_index_in_any_order() -> None:
    t, noise = training_draws(0, 3, [6, 0, 6], (2,), 50)
    whole_t, whole_noise = training_draws(0, 3, range(7), (2,), 50)
    assert torch.equal(t, whole_t[[6, 0, 6]])
    assert torch.equal(noise, whole_noise[[6, 0, 6]])


def test_sampling_noise_depends_on_the_seed_and_the_index_only() -> None:
    together = sampling_noise(3, range(6), (2, 2))
    alone = sampling_noise(3, [4], (2, 2))
    for _ in range(5):
        assert torch.equal(next(together)[4:5], next(alone))


def test_the_shape_and_the_type_are_the_ones_asked() -> None:
    t, noise = training_draws(0, 0, range(4), (3, 8, 8), 10)
    assert (t.shape, t.dtype) == ((4,), torch.int64)
    assert (noise.shape, noise.dtype) == ((4, 3, 8, 8), torch.float32)
    noise = next(sampling_noise(0, range(4), (3, 8, 8)))
    assert (noise.shape, noise.dtype) == ((4, 3, 8, 8), torch.float32)


def test_the_draws_of_training_go_on_where_they_were() -> None:
    """Dos épocas con el mismo objeto no repiten nada, y reanudar es decir en qué paso se iba."""
    x_0 = torch.zeros(4, 3, 2)
    draws = TrainingDraws(5)
    walked = [draws(x_0, 1000) for _ in range(6)]
    for step, (t, noise) in enumerate(walked):
        expected = training_draws(5, step, range(4), (3, 2), 1000)
        assert torch.equal(t, expected[0])
        assert torch.equal(noise, expected[1])
    assert draws.step == 6
    resumed = TrainingDraws(5, step=4)
    for t, noise in walked[4:]:
        again = resumed(x_0, 1000)
        assert torch.equal(again[0], t)
        assert torch.equal(again[1], noise)


def test_the_probabilities_are_asked_for_at_each_step() -> None:
    asked = []

    def probabilities() -> torch.Tensor:
        asked.append(1)
        return torch.nn.functional.one_hot(torch.tensor(len(asked) - 1), 3).double()

    draws = TrainingDraws(probabilities=probabilities)
    assert [draws(torch.zeros(9, 1), 3)[0].unique().tolist() for _ in range(3)] == [[0], [1], [2]]


def test_seeded_layers_leave_the_global_generator_alone() -> None:
    """El dropout depende de la semilla y de la vez; el generador global ni se lee ni se mueve."""
    layer = torch.nn.Dropout(0.5)
    x, t = torch.ones(1, 200), torch.zeros(1)

    def model(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return layer(x_t)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    call = seeded(model, seed=3)
    outputs = [call(x, t) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(outputs[0], outputs[1])
    torch.manual_seed(99)
    again = seeded(model, seed=3)
    assert all(torch.equal(again(x, t), output) for output in outputs)
    assert torch.equal(seeded(model, seed=3, step=2)(x, t), outputs[2])
    assert not torch.equal(seeded(model, seed=4)(x, t), outputs[0])


# --- La distribución ----------------------------------------------------------------------------


def test_training_noise_is_standard_normal() -> None:
    noise = torch.cat(
        [training_draws(1, step, range(50), (20,), 10)[1] for step in range(50)]
    ).flatten()
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01


def test_the_first_number_of_each_key_is_normal_too() -> None:
    """Lo que falla con claves vecinas mal mezcladas: pocos números de muchos generadores."""
    first = [float(training_draws(0, step, [0], (1,), 10)[1]) for step in range(3000)]
    assert stats.kstest(first, "norm").pvalue > 0.01
    first = [float(next(sampling_noise(0, [index], (1,)))) for index in range(3000)]
    assert stats.kstest(first, "norm").pvalue > 0.01
    first = [float(next(sampling_noise(seed, [0], (1,)))) for seed in range(3000)]
    assert stats.kstest(first, "norm").pvalue > 0.01


def test_sampling_noise_is_standard_normal_at_every_step() -> None:
    noises = sampling_noise(2, range(200), (30,))
    for _ in range(3):
        assert stats.kstest(next(noises).flatten().numpy(), "norm").pvalue > 0.01


def test_t_is_uniform_and_independent_of_the_noise() -> None:
    draws = [training_draws(4, step, range(100), (1,), 10) for step in range(100)]
    t = torch.cat([draw[0] for draw in draws])
    noise = torch.cat([draw[1] for draw in draws]).flatten()
    assert set(t.tolist()) == set(range(10))
    assert stats.chisquare(t.bincount(minlength=10).numpy()).pvalue > 0.01
    groups = [noise[t == value].numpy() for value in range(10)]
    assert stats.f_oneway(*groups).pvalue > 0.01


def test_neighbouring_keys_are_uncorrelated() -> None:
    def row(seed: int, step: int, index: int) -> np.ndarray:
        return training_draws(seed, step, [index], (4000,), 10)[1][0].numpy()

    base = row(0, 0, 0)
    for other in (row(0, 0, 1), row(0, 1, 0), row(1, 0, 0)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(4000)


# --- Nada sale dos veces ------------------------------------------------------------------------


def test_no_two_streams_overlap() -> None:
    """Un millón de palabras de 64 bits de claves parecidas: ninguna ventana se repite.

    Si dos secuencias se pisaran, compartirían bloques seguidos; aquí no comparten ni una
    palabra, y por azar se esperan 3e-8 coincidencias.
    """
    words = [
        keyed_generator(seed, stream, *counter).bit_generator.random_raw(10_000)
        for seed in (0, 1, 2, 2**63)
        for stream in Stream
        for counter in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 0, 1))
    ]
    merged = np.concatenate(words)
    assert len(np.unique(merged)) == len(merged)


def test_training_and_sampling_share_nothing() -> None:
    training = training_draws(0, 0, [0], (1000,), 10)[1].flatten()
    sampling = next(sampling_noise(0, [0], (1000,))).flatten()
    assert np.intersect1d(training.numpy(), sampling.numpy()).size < 5


def test_successive_noises_differ() -> None:
    noises = sampling_noise(0, range(3), (100,))
    first, second = next(noises), next(noises)
    assert not torch.isin(first, second).float().mean() > 0.01


# --- El orden de los datos ----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "batch"), [(10, 5), (10, 3), (7, 7), (4, 9), (1, 3), (50, 1)])
def test_every_epoch_is_a_permutation(size: int, batch: int) -> None:
    steps = -(-3 * size // batch)
    stream = [i for step in range(steps) for i in batch_indices(size, batch, 8, step)]
    assert all(len(batch_indices(size, batch, 8, step)) == batch for step in range(steps))
    for epoch in range(3):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_and_seeds_have_different_orders() -> None:
    first, second = batch_indices(100, 100, 0, 0), batch_indices(100, 100, 0, 1)
    assert first != second
    assert first != batch_indices(100, 100, 1, 0)
    assert first == batch_indices(100, 100, 0, 0)


def test_every_position_is_equally_likely_to_come_first() -> None:
    first = [batch_indices(5, 1, seed, 0)[0] for seed in range(2000)]
    assert stats.chisquare(np.bincount(first, minlength=5)).pvalue > 0.01


# --- La clave -----------------------------------------------------------------------------------


def test_the_whole_range_of_seeds_is_accepted() -> None:
    ends = [keyed_generator(seed, Stream.TRAINING, 0).random() for seed in (0, 1, 2**64 - 1)]
    assert len(set(ends)) == 3


def test_these_numbers_are_the_same_everywhere() -> None:
    """Philox está especificado: un cambio de estos números cambiaría todos los modelos."""
    t, noise = training_draws(0, 0, range(3), (2,), 1000)
    assert t.tolist() == [34, 969, 321]
    assert noise.flatten().tolist() == pytest.approx(
        [0.01556, -1.164438, -0.262472, 0.194317, 0.47084, 0.86818], abs=1e-6
    )
    assert batch_indices(10, 5, 0, 0) == [1, 4, 8, 7, 9]
