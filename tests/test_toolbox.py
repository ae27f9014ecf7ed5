"""Las herramientas que el libro da por sabidas, con distribuciones finitas y exactas."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Los cálculos, en float64; después, como estaba."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def joint() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Los valores de X (5,), los de Y (7,) y su probabilidad conjunta (5, 7), sin independencia."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, generator=generator), torch.randn(7, generator=generator)
    weights = torch.rand(5, 7, generator=generator) + torch.eye(5, 7)
    return x, y, weights / weights.sum()


def mean(values: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return (values * p).sum()


def variance(values: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return mean((values - mean(values, p)) ** 2, p)


@pytest.mark.equation("caja-lineal", "caja-varianza")
def test_mean_and_variance_of_a_sum(joint) -> None:
    x, y, p = joint
    a, b = 1.7, -0.6
    total = a * x[:, None] + b * y
    e_x, e_y = mean(x, p.sum(1)), mean(y, p.sum(0))
    assert mean(total, p) == pytest.approx(float(a * e_x + b * e_y))
    covariance = mean((x[:, None] - e_x) * (y - e_y), p)
    assert abs(covariance) > 0.01
    expected = a**2 * variance(x, p.sum(1)) + b**2 * variance(y, p.sum(0)) + 2 * a * b * covariance
    assert variance(total, p) == pytest.approx(float(expected))
    apart = p.sum(1)[:, None] * p.sum(0)
    expected = a**2 * variance(x, p.sum(1)) + b**2 * variance(y, p.sum(0))
    assert variance(total, apart) == pytest.approx(float(expected))


@pytest.mark.equation("caja-bayes")
def test_bayes_turns_a_question_around(joint) -> None:
    _, _, p = joint
    given_b = p / p.sum(0)
    given_a = p / p.sum(1, keepdim=True)
    assert torch.allclose(given_b, given_a * p.sum(1, keepdim=True) / p.sum(0))


@pytest.mark.equation("caja-total")
def test_total_mean_and_total_variance(joint) -> None:
    _, y, p = joint
    groups = p.sum(1)
    given = p / groups[:, None]
    means = given @ y
    inside = ((y - means[:, None]) ** 2 * given).sum(1)
    assert mean(means, groups) == pytest.approx(float(mean(y, p.sum(0))))
    total = mean(inside, groups) + variance(means, groups)
    assert variance(y, p.sum(0)) == pytest.approx(float(total))
    # Ninguna otra función de X se equivoca menos.
    for shift in (-0.1, 0.1):
        worse = ((y - means[:, None] - shift) ** 2 * p).sum()
        assert worse > mean(inside, groups)


@pytest.mark.equation("caja-regresion")
def test_the_best_line_leaves_what_the_formula_says(joint) -> None:
    x, y, p = joint
    x, y = x - mean(x, p.sum(1)), y - mean(y, p.sum(0))
    covariance, spread = mean(x[:, None] * y, p), variance(x, p.sum(1))

    def error(slope: float) -> float:
        return float(mean((y - slope * x[:, None]) ** 2, p))

    best = float(covariance / spread)
    left = variance(y, p.sum(0)) - covariance**2 / spread
    assert error(best) == pytest.approx(float(left))
    assert error(best) < min(error(best - 0.05), error(best + 0.05))


@pytest.mark.equation("caja-kl")
def test_divergence_is_never_negative_nor_symmetric() -> None:
    generator = torch.Generator().manual_seed(1)
    p, q = torch.rand(2, 200, 6, generator=generator).softmax(-1)
    forward = (p * (p / q).log()).sum(-1)
    assert (forward > 0).all()
    assert torch.allclose((p * (p / p).log()).sum(-1), torch.zeros(200))
    assert not torch.allclose(forward, (q * (q / p).log()).sum(-1), rtol=0.01)
    # Es la media del logaritmo del cociente, y torch la define igual.
    reference = torch.nn.functional.kl_div(q.log(), p, reduction="none").sum(-1)
    assert torch.allclose(forward, reference)


@pytest.mark.equation("caja-score")
def test_the_score_of_a_bell_leads_to_its_centre() -> None:
    x = torch.linspace(-3, 3, 11, requires_grad=True)
    log_density = torch.distributions.Normal(0.7, 1.3).log_prob(x).sum()
    (score,) = torch.autograd.grad(log_density, x)
    assert torch.allclose(score, -(x.detach() - 0.7) / 1.3**2)


@pytest.mark.equation("caja-euler")
def test_half_the_step_is_a_quarter_of_the_error_and_half_of_the_total() -> None:
    def solution(t: float) -> float:  # de dx/dt = -x
        return float(torch.tensor(-t).exp())

    single = [abs((1 - h) - solution(h)) for h in (0.02, 0.01)]
    assert single[0] / single[1] == pytest.approx(4, rel=0.01)
    whole = [abs((1 - 1 / steps) ** steps - solution(1.0)) for steps in (100, 200)]
    assert whole[0] / whole[1] == pytest.approx(2, rel=0.01)
