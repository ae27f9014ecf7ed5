"""Las medidas: contra fórmulas cerradas, contra fuerza bruta y contra su propia estadística."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats

from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.evaluation.metrics import (
    ClassifierConfig,
    SmallClassifier,
    accuracy,
    class_agreement,
    energy_distance_test,
    features,
    frechet_distance,
    gaussian,
    mean_pairwise_distance,
    nearest_neighbours,
    precision_recall,
    predict,
    train_classifier,
)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape))


# --- El clasificador --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return split(load_dataset("digits"), 0.2, seed=0)


@pytest.fixture(scope="module")
def classifier(digits):
    return train_classifier(digits[0], seed=0, steps=200)


def test_classifier_reads_unseen_digits(classifier, digits):
    assert not classifier.training
    assert accuracy(classifier, digits[1]) >= 0.97


def test_class_agreement_counts_matches(classifier, digits):
    held = digits[1]
    guess = predict(classifier, held.x)
    assert class_agreement(classifier, held.x, guess) == 1
    assert class_agreement(classifier, held.x, (guess + 1) % 10) == 0
    mixed = torch.where(torch.arange(len(held)) < 59, guess, (guess + 1) % 10)
    assert class_agreement(classifier, held.x, mixed) == pytest.approx(59 / len(held))
    with pytest.raises(ValueError, match="una por muestra"):
        class_agreement(classifier, held.x, guess[:-1])


def test_classifier_training_is_deterministic_and_leaves_the_global_seed(digits):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first, second = (train_classifier(digits[0], seed=4, steps=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = train_classifier(digits[0], seed=5, steps=5)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_features_are_those_that_feed_the_classes(classifier, digits):
    held = digits[1]
    values = features(classifier, held.x)
    assert values.shape == (len(held), classifier.config.num_features)
    with torch.no_grad():
        assert torch.allclose(classifier.head(values), classifier(held.x), atol=1e-5)
    assert torch.equal(classifier.head(values).argmax(dim=1), predict(classifier, held.x))
    # El Fréchet separa ruido de dígitos reales que la red no ha visto.
    real = features(classifier, digits[0].x)
    noise = features(classifier, normal(0, 359, 1, 8, 8).float().clamp(-1, 1))
    assert frechet_distance(real, noise) > 20 * frechet_distance(real, values)


def test_features_leave_the_mode_alone(digits):
    network = SmallClassifier(ClassifierConfig()).train()
    features(network, digits[1].x[:4])
    assert network.training


@pytest.mark.parametrize("side", [8, 16, 28, 32])
def test_classifier_takes_every_size_and_colour(side):
    network = SmallClassifier(ClassifierConfig(in_channels=3, num_classes=4, width=8))
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 4)


def test_classifier_refuses_what_it_cannot_learn(digits):
    points = load_dataset("moons", n=50)
    with pytest.raises(ValueError, match="al menos 8×8"):
        train_classifier(points, steps=1)
    unlabelled = Dataset(x=torch.zeros(4, 1, 8, 8))
    with pytest.raises(ValueError, match="no tiene clases"):
        train_classifier(unlabelled, steps=1)
    with pytest.raises(ValueError, match="«steps» vale 0"):
        train_classifier(digits[0], steps=0)


# --- Vecinos ----------------------------------------------------------------------------


def test_nearest_neighbours_match_brute_force():
    samples, reference = normal(1, 1100, 2, 3, 3).float(), normal(2, 700, 2, 3, 3).float()
    distances, indices = nearest_neighbours(samples, reference, k=4)
    a, b = samples.flatten(1).double(), reference.flatten(1).double()
    brute = (a[:, None] - b[None]).square().sum(dim=2).sqrt().sort(dim=1)
    assert torch.equal(indices, brute.indices[:, :4])
    assert torch.allclose(distances, brute.values[:, :4], rtol=1e-12)


def test_a_copy_is_at_distance_exactly_zero():
    reference = normal(3, 500, 64).float() + 100
    distances, indices = nearest_neighbours(reference[[7, 400]], reference, k=2)
    assert distances[:, 0].tolist() == [0, 0]
    assert indices[:, 0].tolist() == [7, 400]
    assert torch.all(distances[:, 1] > 0)


def test_nearest_neighbours_refuse_bad_input():
    with pytest.raises(ValueError, match="deben coincidir"):
        nearest_neighbours(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="solo hay 2"):
        nearest_neighbours(torch.zeros(2, 3), torch.zeros(2, 3), k=3)
    with pytest.raises(ValueError, match="«k» vale 0"):
        nearest_neighbours(torch.zeros(2, 3), torch.zeros(2, 3), k=0)


# --- La distancia de energía ------------------------------------------------------------


def brute_energy(x: torch.Tensor, y: torch.Tensor) -> float:
    between = torch.cdist(x, y).mean()
    within = torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
    n, m = len(x), len(y)
    return n * m / (n + m) * float(2 * between - within)


@pytest.mark.parametrize(("n", "m", "dim"), [(40, 70, 2), (1500, 900, 2), (300, 200, 50)])
def test_energy_statistic_matches_its_definition(n, m, dim):
    x, y = normal(n, n, dim) + 50, 1.2 * normal(m + 1, m, dim) + 50.1
    result = energy_distance_test(x, y, permutations=1)
    assert result.statistic == pytest.approx(brute_energy(x, y), rel=2e-3)


def test_energy_of_one_dimension_matches_scipy():
    x, y = normal(5, 400, 1), 1.5 * normal(6, 300, 1)
    expected = 400 * 300 / 700 * stats.energy_distance(x.flatten(), y.flatten()) ** 2
    assert energy_distance_test(x, y, 1).statistic == pytest.approx(expected, rel=1e-3)


def test_energy_p_values_are_uniform_when_nothing_differs():
    values = [
        energy_distance_test(normal(2 * i, 60, 2), normal(2 * i + 1, 60, 2), 199, seed=i).p_value
        for i in range(200)
    ]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert np.mean(np.array(values) <= 0.05) < 0.1


def test_energy_test_sees_a_shift_a_scale_and_a_shape():
    x = normal(10, 1000, 2)
    for y in (
        normal(11, 1000, 2) + 0.25,
        1.3 * normal(12, 1000, 2),
        normal(13, 1000, 2).sign() + 0.01 * normal(14, 1000, 2),
    ):
        assert energy_distance_test(x, y, 199).p_value == 1 / 200


def test_energy_test_on_identical_samples_and_repeatability():
    x = normal(20, 300, 2)
    same = energy_distance_test(x, x.flip(0), 99)
    assert same.statistic == pytest.approx(0, abs=1e-4)
    assert same.p_value > 0.9
    y = normal(21, 300, 2)
    assert energy_distance_test(x, y, 99, seed=1) == energy_distance_test(x, y, 99, seed=1)


def test_energy_test_accepts_five_thousand_points():
    x, y = (load_dataset("gaussian_mixture", n=5000, seed=seed).x for seed in (1, 2))
    assert energy_distance_test(x, y, 199).p_value > 0.01
    # Entre modas tan separadas pesa más el azar de las proporciones que la forma de cada moda:
    # un desplazamiento como el radio de la menor se ve, y un ruido de la mitad, no.
    assert energy_distance_test(x, y + 0.05, 199).p_value < 0.01


def test_energy_test_refuses_bad_input():
    with pytest.raises(ValueError, match="deben coincidir"):
        energy_distance_test(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="dos datos"):
        energy_distance_test(torch.zeros(1, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="finitos"):
        energy_distance_test(torch.full((5, 2), math.nan), torch.zeros(5, 2))


# --- La distancia de Fréchet ------------------------------------------------------------


def with_moments(seed: int, n: int, mean: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """Puntos cuya media y covarianza muestrales son exactamente `mean` y `root @ root.T`."""
    z = normal(seed, n, len(mean))
    z = z - z.mean(dim=0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T
    return z @ root.T + mean


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    mean_a, mean_b = normal(30, 5), normal(31, 5)
    std_a, std_b = normal(32, 5).abs() + 0.1, normal(33, 5).abs() + 0.1
    a = with_moments(34, 200, mean_a, torch.diag(std_a))
    b = with_moments(35, 300, mean_b, torch.diag(std_b))
    expected = (mean_a - mean_b).square().sum() + (std_a - std_b).square().sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_of_full_covariances_matches_the_matrix_square_root():
    root_a, root_b = normal(36, 6, 6), normal(37, 6, 6)
    a = with_moments(38, 100, normal(39, 6), root_a)
    b = with_moments(40, 100, normal(41, 6), root_b)
    cov_a, cov_b = root_a @ root_a.T, root_b @ root_b.T
    trace = np.trace(linalg.sqrtm((cov_a @ cov_b).numpy())).real
    expected = (normal(39, 6) - normal(41, 6)).square().sum() + cov_a.trace() + cov_b.trace()
    assert frechet_distance(a, b) == pytest.approx(float(expected - 2 * trace), rel=1e-8)


@pytest.mark.parametrize("count", [3, 200])
def test_the_gaussian_has_the_moments_of_the_features(count):
    points = normal(45, count, 7) @ normal(46, 7, 7) + 5
    mean, root = gaussian(points)
    assert root.shape == (min(count, 7), 7)
    assert torch.allclose(mean, points.mean(dim=0))
    assert torch.allclose(root.T @ root, torch.cov(points.T), rtol=1e-9, atol=1e-12)
    assert frechet_distance(gaussian(points), points + 1) == pytest.approx(7, rel=1e-9)


def test_frechet_is_a_distance_also_for_singular_covariances():
    flat = torch.cat([normal(42, 50, 3), torch.zeros(50, 40)], dim=1)
    other = normal(43, 20, 43)
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(flat, other) == pytest.approx(frechet_distance(other, flat), rel=1e-6)
    assert frechet_distance(flat, flat + 2) == pytest.approx(4 * 43, rel=1e-9)
    line = normal(44, 30, 1)
    assert frechet_distance(line, line + 3) == pytest.approx(9)


def test_frechet_refuses_bad_input():
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        frechet_distance(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="finitas"):
        frechet_distance(torch.full((5, 2), math.inf), torch.zeros(5, 2))


# --- Precisión, cobertura y diversidad --------------------------------------------------


def test_precision_recall_on_a_line_is_what_the_balls_say():
    # Cada real está a 1 de su vecino, así que las bolas cubren [-1, 4].
    real = torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None]
    # Las dos primeras distan 0,5 (bolas de radio 0,5); la tercera está a 9,5 de ellas.
    made = torch.tensor([0.0, 0.5, 10.0])[:, None]
    result = precision_recall(real, made, k=1)
    assert result.precision == pytest.approx(2 / 3)  # el 10 queda fuera de [-1, 4]
    # Cubren [-0,5, 1] y [0,5, 19,5]: todos los reales están dentro.
    assert result.recall == 1
    tight = torch.tensor([0.0, 0.1])[:, None]
    assert precision_recall(real, tight, k=1) == (1, pytest.approx(1 / 4))
    wide = torch.tensor([-1.0, 4.0, 4.01, -1.01])[:, None]
    assert precision_recall(real, wide, k=1) == (pytest.approx(1 / 2), 0)
    # La segunda bola de cada real llega hasta 2 (los extremos) o hasta 1: cubren [-2, 5].
    assert precision_recall(real, wide, k=2).precision == 1


def test_precision_recall_of_a_set_with_itself_and_of_two_far_ones():
    a = normal(50, 300, 8)
    assert precision_recall(a, a) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)


def test_precision_and_recall_see_different_defects():
    real = torch.cat([normal(51, 400, 4), normal(52, 400, 4) + 20])
    one_mode = normal(53, 800, 4)
    missing = precision_recall(real, one_mode)
    assert missing.precision > 0.9 and missing.recall == pytest.approx(0.5, abs=0.05)
    # Al revés: la mitad de las muestras están donde no hay ningún dato.
    extra = precision_recall(one_mode, real)
    assert extra == (missing.recall, missing.precision)


def test_precision_recall_matches_brute_force():
    real, made = normal(54, 1200, 5), 1.3 * normal(55, 900, 5) + 0.2
    for points, centres, value in (
        (made, real, precision_recall(real, made).precision),
        (real, made, precision_recall(real, made).recall),
    ):
        radius = torch.cdist(centres, centres).sort(dim=1).values[:, 3]
        inside = (points[:, None] - centres[None]).square().sum(dim=2).sqrt() <= radius
        assert value == pytest.approx(float(inside.any(dim=1).double().mean()))


def test_mean_pairwise_distance_is_the_closed_form():
    line = torch.tensor([0.0, 1.0, 3.0])[:, None]
    assert mean_pairwise_distance(line) == pytest.approx((1 + 3 + 2) / 3, rel=1e-6)
    assert mean_pairwise_distance(torch.ones(5, 3)) == 0
    # En dos dimensiones, ‖a - b‖ con a y b normales estándar tiene de media √π.
    assert mean_pairwise_distance(normal(56, 3000, 2)) == pytest.approx(math.pi**0.5, rel=0.02)
    assert mean_pairwise_distance(3 * normal(57, 50, 9)) == pytest.approx(
        3 * mean_pairwise_distance(normal(57, 50, 9)), rel=1e-6
    )


def test_feature_measures_refuse_bad_input():
    with pytest.raises(ValueError, match="más de k"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2), k=3)
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        precision_recall(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        mean_pairwise_distance(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="finitas"):
        mean_pairwise_distance(torch.full((5, 2), math.nan))
