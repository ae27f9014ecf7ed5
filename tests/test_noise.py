"""De dónde sale el azar: cada cosa con su clave, y nada dos veces."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from ddpm_lit.noise import (
    Stream,
    TrainingDraws,
    batch_indices,
    batches_of_indices,
    box_muller,
    condition_draws,
    first_words,
    index_tensor,
    keyed_generator,
    normals,
    philox,
    sampling_noise,
    training_draws,
    uniform,
)
from ddpm_lit.training import seeded

# --- El generador: los enteros, bit a bit --------------------------------------------------------

WORD = 2**32 - 1

# Random123, tests/kat_vectors: las tres líneas de «philox4x32 10» (contador, clave, resultado).
KNOWN = {
    "ceros": (
        "00000000 00000000 00000000 00000000 00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    "unos": (
        "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    "pi": (
        "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
}


def by_hand(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4×32-10 con los enteros de Python, que no dan la vuelta."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


@pytest.mark.parametrize("name", KNOWN)
def test_the_published_vectors(name: str) -> None:
    given, expected = ([int(word, 16) for word in line.split()] for line in KNOWN[name])
    assert by_hand(given[:4], given[4:]) == expected
    c0, c1, c2, c3 = (torch.tensor([word]) for word in given[:4])
    for counter in ((c0, c1, c2, c3), (c0, given[1], c2, given[3])):
        for key in ((given[4], given[5]), (torch.tensor(given[4]), torch.tensor(given[5]))):
            assert [int(word) for word in philox(counter, key)] == expected


def test_any_counter_and_key_as_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 2**32, (6, 200), generator=generator)
    words[:, :64] = torch.tensor([0, 1, WORD - 1, WORD])[
        torch.randint(0, 4, (6, 64), generator=generator)
    ]
    c0, c1, c2, c3, k0, k1 = words
    found = torch.stack(philox((c0, c1, c2, c3), (k0, k1)))
    expected = [by_hand(column[:4], column[4:]) for column in words.T.tolist()]
    assert found.T.tolist() == expected


def test_the_counter_is_block_number_index_and_stream() -> None:
    """Y la clave, la semilla: de ahí salen, una a una, las normales que dice el módulo."""
    seed, number, index, stream = 0x0123456789ABCDEF, 5, 70_000, Stream.SAMPLING
    found = normals(seed, stream, number, torch.tensor([3, index]), (2, 5))[1].flatten()
    expected: list[float] = []
    for block in range(3):
        words = by_hand([block, number, index, int(stream)], [0x89ABCDEF, 0x01234567])
        u = [(word + 1) / 2**32 for word in words]
        for a, b in ((u[0], u[1]), (u[2], u[3])):
            radius, angle = math.sqrt(-2 * math.log(a)), 2 * math.pi * b
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
    assert found.tolist() == pytest.approx(expected[:10], abs=2e-6)


def test_times_and_conditions_as_by_hand() -> None:
    indices, timesteps = range(40, 300), 1000
    t, _ = training_draws(7, 12, indices, (1,), timesteps)
    words = [by_hand([0, 12, index, int(Stream.TIMES)], [7, 0])[0] for index in indices]
    assert t.tolist() == [word * timesteps // 2**32 for word in words]
    assert first_words(7, Stream.TIMES, 12, index_tensor(indices)).tolist() == words
    words = [by_hand([0, 12, index, int(Stream.CONDITION)], [7, 0])[0] for index in indices]
    u = [np.float32(word + 1) * np.float32(2**-32) for word in words]
    assert condition_draws(7, 12, indices).tolist() == [float(each) for each in u]


def test_uniforms_never_reach_0_and_may_reach_1() -> None:
    u = uniform(torch.tensor([0, 1, 2**31 - 1, WORD - 1, WORD]))
    assert u.dtype == torch.float32
    assert u.tolist() == [2.0**-32, 2.0**-31, 0.5, 1.0, 1.0]
    for v in (2.0**-32, 0.25, 1.0):
        for value in box_muller(u, torch.full_like(u, v)):
            assert value.isfinite().all()
    assert float(box_muller(u[:1], torch.ones(1))[0]) == pytest.approx(math.sqrt(64 * math.log(2)))


def test_times_drawn_with_probabilities_as_by_hand() -> None:
    p = torch.tensor([0.1, 0.0, 0.4, 0.3, 0.2, 0.0], dtype=torch.float64)
    t, _ = training_draws(3, 1, range(500), (), 6, p)
    limits = p.cumsum(0).tolist()
    words = first_words(3, Stream.TIMES, 1, index_tensor(range(500))).tolist()
    expected = [sum(word >= int(limit * 2**32) for limit in limits[:-1]) for word in words]
    assert t.tolist() == expected
    assert set(expected) == {0, 2, 3, 4}


# --- Ni el dispositivo, ni los hilos, ni los trozos ----------------------------------------------


def test_threads_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ejemplo por trozo, todos en uno, con uno o dos hilos: los mismos bits."""
    import ddpm_lit.noise

    indices = torch.arange(37)
    expected = normals(5, Stream.TRAINING, 2, indices, (3, 30, 31))
    before = torch.get_num_threads()
    for chunk in (1, 10_000, 10**9):
        monkeypatch.setattr(ddpm_lit.noise, "_CHUNK", chunk)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            try:
                again = normals(5, Stream.TRAINING, 2, indices, (3, 30, 31))
            finally:
                torch.set_num_threads(before)
            assert torch.equal(again, expected)


def test_a_whole_range_and_a_list_are_the_same_indices() -> None:
    for indices in (range(5), range(8, 2, -3), range(0), range(1000, 1002)):
        assert torch.equal(index_tensor(indices), torch.tensor(list(indices), dtype=torch.int64))


def test_it_is_drawn_on_the_device_that_uses_it() -> None:
    """En `meta` no hay números, pero sí se ve de dónde sale cada tensor."""
    t, noise = training_draws(0, 0, range(4), (3, 8, 8), 10, device="meta")
    assert (t.device.type, noise.device.type) == ("meta", "meta")
    assert (t.dtype, noise.dtype, noise.shape) == (torch.int64, torch.float32, (4, 3, 8, 8))
    assert next(sampling_noise(0, range(4), (2,), "meta")).device.type == "meta"
    assert condition_draws(0, 0, range(4), "meta").device.type == "meta"
    t, noise = TrainingDraws()(torch.empty(4, 2, device="meta"), 10)
    assert (t.device.type, noise.device.type) == ("meta", "meta")


@pytest.mark.parametrize("number", [-1, 2**32])
def test_what_does_not_fit_in_a_word_is_refused(number: int) -> None:
    for wrong in (
        lambda: training_draws(0, number, [0], (2,), 10),
        lambda: training_draws(0, 0, [0, number], (2,), 10),
        lambda: training_draws(0, 0, range(number, number + 1), (2,), 10),
    ):
        with pytest.raises(ValueError, match=rf"de 0 a 2\*\*32 - 1 y ha llegado {number}\."):
            wrong()
    noise = training_draws(0, 2**32 - 1, [2**32 - 1], (2,), 10)[1]
    assert noise.isfinite().all()


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


def test_a_step_may_be_drawn_piece_by_piece() -> None:
    """En trozos, los índices son los del lote global, y el paso acaba con el último ejemplo."""
    whole, pieces = TrainingDraws(3, step=2), TrainingDraws(3, step=2, rows=range(7))
    for _ in range(2):
        t, noise = whole(torch.zeros(7, 2, 2), 1000)
        drawn = [pieces(torch.zeros(size, 2, 2), 1000) for size in (3, 3, 1)]
        assert torch.equal(torch.cat([piece[0] for piece in drawn]), t)
        assert torch.equal(torch.cat([piece[1] for piece in drawn]), noise)
    assert pieces.step == whole.step == 4


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
    first = [float(next(sampling_noise(seed << 32, [0], (1,)))) for seed in range(3000)]
    assert stats.kstest(first, "norm").pvalue > 0.01


def test_sampling_noise_is_standard_normal_at_every_step() -> None:
    noises = sampling_noise(2, range(200), (30,))
    for _ in range(3):
        assert stats.kstest(next(noises).flatten().numpy(), "norm").pvalue > 0.01


def test_the_moments_of_a_million() -> None:
    """Media, varianza, asimetría y curtosis, a menos de 4,5 errores típicos de las de la normal."""
    noise = normals(11, Stream.SAMPLING, 0, torch.arange(250), (4000,)).double().flatten()
    n = noise.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)):
        found = float((noise**power).mean())
        assert abs(found - moment) < 4.5 * math.sqrt(variance / n), (power, found)
    # Las colas: de un millón se esperan 2700 más allá de 3 y 63 más allá de 4.
    for limit in (1.0, 2.0, 3.0, 4.0):
        expected = n * math.erfc(limit / math.sqrt(2))
        assert abs(float((noise.abs() > limit).sum()) - expected) < 4.5 * math.sqrt(expected)


def test_blocks_and_their_four_values_are_independent() -> None:
    """χ² de independencia entre el valor k de un bloque y otros, en cuartiles: 15 grados."""
    noise = normals(12, Stream.TRAINING, 4, torch.arange(20), (4 * 4000,)).view(20, 4000, 4)
    quarter = torch.bucketize(noise, torch.tensor([-0.6744898, 0.0, 0.6744898]))
    pairs = {
        **{(0, k): (quarter[..., 0], quarter[..., k]) for k in (1, 2, 3)},
        "el bloque siguiente": (quarter[:, :-1], quarter[:, 1:]),
        "el ejemplo siguiente": (quarter[:-1], quarter[1:]),
        "el paso siguiente": (
            quarter,
            torch.bucketize(
                normals(12, Stream.TRAINING, 5, torch.arange(20), (16_000,)).view(20, 4000, 4),
                torch.tensor([-0.6744898, 0.0, 0.6744898]),
            ),
        ),
    }
    for name, (a, b) in pairs.items():
        table = torch.bincount((4 * a + b).flatten(), minlength=16).double()
        chi2 = float(((table - a.numel() / 16).square() / (a.numel() / 16)).sum())
        assert stats.chi2.sf(chi2, 15) > 1e-3, (name, chi2)


def test_words_are_uniform_in_every_byte() -> None:
    words = torch.stack(
        philox((torch.arange(40_000), 3, torch.zeros(1, dtype=torch.int64), 1), (9, 0))
    )
    for shift in (0, 8, 16, 24):
        counts = torch.bincount(((words >> shift) & 255).flatten(), minlength=256)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


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


def test_no_two_streams_of_noise_overlap() -> None:
    """Trescientos mil bloques de 128 bits de contadores y claves vecinos: ninguno se repite."""
    rows = torch.arange(20)[:, None]
    found = [
        torch.stack([word.flatten() for word in philox((torch.arange(250), number, rows, s), key)])
        for key in ((0, 0), (1, 0), (0, 1), (WORD, WORD))
        for s in Stream
        for number in (0, 1, 2)
    ]
    blocks = torch.cat(found, dim=1).T.numpy()
    assert len(np.unique(blocks, axis=0)) == len(blocks)


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


@pytest.mark.parametrize(("size", "batch"), [(10, 5), (10, 3), (7, 7), (4, 9), (1, 3), (50, 1)])
def test_walking_the_batches_is_asking_for_each(size: int, batch: int) -> None:
    """El que recorre y el que pregunta ven los mismos lotes, se empiece donde se empiece."""
    asked = [batch_indices(size, batch, 8, step) for step in range(12)]
    for start in (0, 1, 5):
        walked = batches_of_indices(size, batch, 8, start)
        assert list(itertools.islice(walked, 12 - start)) == asked[start:]


def test_an_epoch_is_shuffled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ddpm_lit.noise

    made: list[int] = []

    def counted(seed: int, stream: Stream, epoch: int) -> np.random.Generator:
        made.append(epoch)
        return keyed_generator(seed, stream, epoch)

    monkeypatch.setattr(ddpm_lit.noise, "keyed_generator", counted)
    walked = batches_of_indices(100, 10, 0)
    for _ in range(25):
        next(walked)
    assert made == [0, 1, 2]


def test_the_order_of_always() -> None:
    """La permutación de la época, hecha aparte con NumPy: cambiarla movería los datos."""
    key, counter = np.array([8, 2], np.uint64), np.array([0, 1, 0, 0], np.uint64)
    order = np.random.Generator(np.random.Philox(counter=counter, key=key)).permutation(50)
    assert batch_indices(50, 20, 8, 3)[:20] == order[10:30].tolist()


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
    assert t.tolist() == [165, 585, 875]
    assert noise.flatten().tolist() == pytest.approx(
        [0.991138, -0.924662, 1.06759, -0.425344, -0.627228, -2.643846], abs=1e-6
    )
    assert batch_indices(10, 5, 0, 0) == [1, 4, 8, 7, 9]
