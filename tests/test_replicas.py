"""Las réplicas: las reglas que juzgan, los resultados confirmados y lo que enseña la página."""

import copy
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scripts.replicas import __main__ as runner
from scripts.replicas import claims, exact, measures, recipes, reference, results, tables, units
from scripts.replicas.claims import CLAIMS, Claim, Comparison, Outcome, judge
from scripts.site import macros
from torch import nn

from ddpm_lit.data import Dataset
from ddpm_lit.forward import q_sample
from ddpm_lit.improved import Likelihood
from ddpm_lit.losses import normal_kl
from ddpm_lit.models.storage import Trained
from ddpm_lit.posterior import q_posterior
from ddpm_lit.scheduler import Schedule, make_schedule

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "despues" / "replicas.md"
UNITS = {unit.name: unit for unit in units.units()}


# --- Un mundo de mentira en que todo sale como dicen los artículos, o todo al revés --------------


def quality(frechet: float, agreement: float = 0.99, **others: float) -> dict[str, float]:
    return {"frechet": frechet, "agreement": agreement, **others}


REFERENCE = {
    "bits": {"uniform": 30.0, "normal": 25.0, "shared_histogram": 22.0, "pixel_histogram": 20.0},
    "independent": {
        schedule: {"fixed_small": 21.0, "fixed_large": 22.0} for schedule in ("linear", "cosine")
    },
    "schedules": {
        schedule: {"snr_1": snr, "last_weight": 0.5, "first_weight": 0.1}
        for schedule, snr in (("linear", 100.0), ("cosine", 400.0))
    },
    "silent_error": {"linear": 0.7, "cosine": 0.7},
    "rounding_bits": 1.0,
    "copies": {target: {"359": 0.2, "1000": 0.1} for target in ("train", "held_out")},
}
"""Unas redes exactas a las que ganan todas las del mundo de mentira."""


def values_of(name: str, good: bool, agreement: float) -> dict:
    """Los valores de una unidad: a favor de su afirmación o en contra."""
    low, high = (1.0, 3.0) if good else (3.0, 1.0)
    if name == "baseline":
        return {"classifier_accuracy": 0.99, "held_out": quality(0.3)}
    if name == "reference":
        return REFERENCE
    if name.startswith("ddpm-mean"):
        variants = (*units.MEAN_VARIANTS, units.LONG_MEAN, "copy")
        return {kind: {str(level): 2.0 for level in units.MEAN_LEVELS} for kind in variants}
    if name.startswith("long"):
        bits = dict.fromkeys(("fixed_small", "fixed_large", "learned_range"), 2.0)
        return quality(3.0) | {"bits": bits}
    if name.startswith("ddpm"):
        ours = "epsilon-simple" in name
        bits = {"epsilon-simple": high, "epsilon-vlb": low}.get(name[5:-3], 2.0)
        return quality(2 * low if ours else 2 * high, agreement) | {
            "bits": {"fixed_small": bits, "fixed_large": bits}
        }
    if name.startswith("iddpm-linear-hybrid"):
        return quality(2.1 if good else 20.0, agreement) | {
            "bits": {"learned_range": 0.5 if good else 9.0}
        }
    if name.startswith("iddpm-cosine-simple"):
        both = 1.0 if good else 5.0
        return quality(1.0 if good else 9.0, agreement) | {
            "bits": {"fixed_small": both, "fixed_large": both}
        }
    if name.startswith("iddpm-cosine-hybrid"):
        return quality(1.05 if good else 20.0, agreement) | {
            "bits": {"learned_range": 0.5 if good else 9.0}
        }
    if name.startswith("iddpm-variances"):
        return same_variance_values(name[16:-3], good)
    if name.startswith("iddpm-bits"):
        parts = ("total", "decoder", "low_noise", "rest", "epsilon_error_1", "epsilon_error_2")
        return dict.fromkeys(parts, 1.0) | {"low_noise_terms": 9}
    if name.startswith("iddpm-steps"):
        heights = {"fixed_large": high, "fixed_small": low, "learned_range": low}
        return {
            variance: {str(steps): quality(height) for steps in units.FEW_STEPS}
            for variance, height in heights.items()
        }
    if name.startswith("iddpm-gradient"):
        return {
            kind: {"covariance": scale, "loss_deviation": 1.0}
            for kind, scale in (("importance", low), ("uniform", high))
        }
    if name.startswith(("ddim-grid", "ddim-long")):
        heights = dict.fromkeys(units.ETAS, 2.0) | {
            "0": low,
            "1": high,
            "sigma": 3 * high if good else 0.3,
        }
        return {
            eta: {str(steps): quality(height) for steps in units.FEW_STEPS}
            for eta, height in heights.items()
        }
    if name.startswith("ddim-full"):
        eta = name.split("-")[2]
        return {eta: {"1000": quality(9.0 if eta == "1" and not good else 1.5)}}
    if name.startswith("ddim-reconstruction"):
        steps = units.RECONSTRUCTION_STEPS
        return {"error": {str(k): 1 / k if good else float(k) for k in steps}}
    if name.startswith("cfg"):
        return {f"{w:g}": cfg_values(w, name[4:7], good, agreement) for w in units.WEIGHTS}
    if name.startswith("min-snr"):
        speed = {"x-constant": 2.0, "x-min-snr": low, "epsilon-constant": 2.0}[name[8:-3]]
        return {str(step): quality(speed / step, agreement) for step in recipes.SNAPSHOTS}
    if name.startswith("zero-snr-exact"):
        return {
            schedule: {
                str(taken): {"extreme": extreme(schedule, good)}
                for taken in (*units.UNIFORM_PIXELS, "few_steps")
            }
            for schedule in recipes.UNIFORM_SCHEDULES
        }
    if name.startswith("zero-snr-emoji"):
        data = {"data": {"luminance": 0.5, "bright": 0.25}}
        return data | {
            schedule: {"luminance": 0.5, "bright": 2.5 * extreme(schedule, good)}
            for schedule in recipes.UNIFORM_SCHEDULES
        }
    schedule = name.removeprefix("zero-snr-")[:-3]
    return {
        "extreme": extreme(schedule, good),
        "deviation": 0.5,
        "luminance": [-0.5, 0.0, 0.5],
    }


def same_variance_values(variant: str, good: bool) -> dict:
    low, high = (1.0, 3.0) if good else (3.0, 1.0)
    heights = {
        "fixed_small": 0.5 if good else 20.0,
        "fixed_large": high,
        "learned_range": low,
    }
    return {
        variance: {
            str(steps): quality(heights[variance], frechet_held_out=heights[variance])
            for steps in counts
        }
        for variance, counts in units.SAME_VARIANCE[variant].items()
    }


def cfg_values(w: float, p: str, good: bool, agreement: float) -> dict[str, float]:
    worse = {"0.1": 1.0, "0.2": 1.02 if good else 2.0, "0.5": 1.5 if good else 0.5}[p]
    if good:
        return quality(
            worse * (0.5 + abs(w - 0.1)),
            agreement - 0.07 * max(0, 1 - w),
            log_probability=-1 / (1 + w),
            diversity=4 - w / 2,
        )
    shape = 0.5 if w == 0 else 2.0 if w < 1 else 1.0
    return quality(worse * shape, agreement - 0.01 * w, log_probability=-1.0 - w, diversity=4 + w)


def extreme(schedule: str, good: bool) -> float:
    return 0.01 if (schedule == "scaled_linear") == good else 0.1


def world(good: bool, agreement: float = 0.99) -> dict[str, dict]:
    return {
        name: {"unit": name, "values": values_of(name, good, agreement), "seconds": 60.0}
        for name in UNITS
    }


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_holds_when_the_papers_are_right(name):
    verdict = judge(CLAIMS[name], world(good=True))
    assert {each.text: each.outcome for each in verdict.comparisons} == {
        each.text: Outcome.HOLDS for each in verdict.comparisons
    }
    assert verdict.outcome is Outcome.HOLDS


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_fails_when_all_is_backwards(name):
    verdict = judge(CLAIMS[name], world(good=False))
    assert verdict.outcome is Outcome.FAILS
    assert Outcome.HOLDS not in {each.outcome for each in verdict.comparisons}


def spoilt(results: dict[str, dict], unit: str, path: str, changed: float) -> dict[str, dict]:
    """Los mismos resultados con un valor cambiado en las semillas de una unidad."""
    copied = copy.deepcopy(results)
    for seed in claims.EXTRA_SEEDS:
        table = copied.get(unit.format(seed=seed), {}).get("values")
        *folders, last = path.split("/")
        for part in folders:
            table = table and table[part]
        if table:
            table[last] = changed
    return copied


@pytest.mark.parametrize("good", [True, False], ids=["a favor", "en contra"])
@pytest.mark.parametrize(
    ("name", "network"),
    [(name, network) for name, claim in CLAIMS.items() for network in claim.networks],
    ids=str,
)
def test_each_network_below_the_bar_leaves_the_claim_open(name, network, good):
    sound = world(good)
    assert judge(CLAIMS[name], sound).below == {}
    for agreement, below in ((claims.BAR, False), (claims.BAR - 0.01, True)):
        verdict = judge(CLAIMS[name], spoilt(sound, network.unit, network.path, agreement))
        assert set(verdict.below) == ({network.label} if below else set())
        if below:
            assert verdict.outcome is Outcome.UNCLEAR


def test_one_bad_seed_is_enough_to_be_below_the_bar():
    results = world(good=True)
    results["ddpm-epsilon-simple-s1"]["values"]["agreement"] = 0.5
    verdict = judge(CLAIMS["ddim-eta"], results)
    assert verdict.outcome is Outcome.UNCLEAR
    assert verdict.below == {claims.LINEAR_NETWORK.label: 0.5}


def network_of(unit: str) -> str:
    """La familia de unidades en que está el acuerdo de clase de la red de otra unidad."""
    family = re.sub(r"-s\d$", "", unit)
    for pattern, network in (
        (r"ddpm-full-(.+)", r"ddpm-\1"),
        (r"iddpm-variances-(.+)", r"iddpm-\1"),
        (r"iddpm-steps", "iddpm-cosine-simple"),
        (r"iddpm-gradient-linear", "iddpm-linear-hybrid"),
        (r"ddim-(grid|full|reconstruction).*", "ddpm-epsilon-simple"),
    ):
        if re.fullmatch(pattern, family):
            return f"{re.sub(pattern, network, family)}-s{{seed}}"
    return f"{family}-s{{seed}}"


def shaken(values: dict, seed: int = 0) -> dict:
    """Todas las medidas, menos el acuerdo, cada una por un número distinto entre 1 y 2."""
    draws = random.Random(seed)
    return {
        name: shaken(item, seed + place)
        if isinstance(item, dict)
        else item
        if name == "agreement" or isinstance(item, list)
        else (1 + draws.random()) * item
        for place, (name, item) in enumerate(values.items(), start=1)
    }


def test_every_network_compared_has_to_pass_the_bar():
    """Si lo que mide una unidad cambia una comparación, a su red se le pide el listón."""
    sound = world(good=True)
    seen = set()
    for name, claim in CLAIMS.items():
        before = {each.text: each.gaps for each in claim.compare(sound)}
        for unit, record in sound.items():
            if unit.startswith(("zero-snr", "reference")):
                continue
            moved = sound | {unit: record | {"values": shaken(record["values"])}}
            if {each.text: each.gaps for each in claim.compare(moved)} != before:
                assert network_of(unit) in {network.unit for network in claim.networks}, unit
                seen.add(name)
    assert seen == {name for name, claim in CLAIMS.items() if claim.networks}


# --- Los bits -------------------------------------------------------------------------------------

BITS_CLAIMS = ("ddpm-bits", "iddpm-hybrid", "iddpm-cosine")


def bits_comparisons(name: str, results: dict[str, dict]) -> list[Comparison]:
    return [each for each in CLAIMS[name].compare(results) if each.text.startswith("bits")]


def with_better_exact(results: dict[str, dict], bits: float = 0.1) -> dict[str, dict]:
    """Los mismos resultados, con las redes exactas gastando menos que las demás."""
    for schedule in reference.SCHEDULES:
        for variance in claims.FIXED:
            results = spoilt(results, "reference", f"independent/{schedule}/{variance}", bits)
    return results


@pytest.mark.parametrize("good", [True, False], ids=["a favor", "en contra"])
def test_bits_worse_than_the_exact_network_decide_nothing(good):
    found = [
        each for name in CLAIMS for each in bits_comparisons(name, with_better_exact(world(good)))
    ]
    assert len(found) == 4
    assert {each.outcome for each in found} == {Outcome.UNCLEAR}
    assert {each.doubt for each in found} == {claims.SPENDS_MORE}
    # Y no por otra cosa: con unas exactas a las que ganan, deciden.
    decided = {each.outcome for name in CLAIMS for each in bits_comparisons(name, world(good))}
    assert decided == {Outcome.HOLDS if good else Outcome.FAILS}


def test_a_claim_only_on_bits_is_open_whatever_the_numbers():
    for good in (True, False):
        results = with_better_exact(world(good))
        assert judge(CLAIMS["ddpm-bits"], results).outcome is Outcome.UNCLEAR


def test_no_claim_compares_bits_without_the_exact_network():
    """Cambiar unos bits solo puede mover comparaciones a las que se les pide la exacta."""
    results = world(good=True)
    weak = with_better_exact(results)
    for name, claim in CLAIMS.items():
        before = {each.text: each.gaps for each in claim.compare(results)}
        for unit in UNITS:
            moved = copy.deepcopy(results)
            found = moved[unit]["values"].get("bits")
            if unit == "reference" or not found or isinstance(next(iter(found.values())), dict):
                continue
            moved[unit]["values"]["bits"] = {kind: 1.3 * bits for kind, bits in found.items()}
            after = {each.text: each.gaps for each in claim.compare(moved)}
            touched = {text for text, gaps in after.items() if gaps != before[text]}
            doubtful = {each.text for each in claim.compare(weak) if each.doubt}
            assert touched <= doubtful
            assert not touched or name in BITS_CLAIMS


@pytest.mark.parametrize("side", ["smaller", "larger"])
def test_both_networks_must_beat_their_exact_network(side):
    exact_bits = {0: 2.0, 1: 2.0}
    sides = {
        "smaller": claims.Spent({0: 1.0, 1: 1.0}, exact_bits),
        "larger": claims.Spent({0: 1.5, 1: 1.5}, exact_bits),
    }
    assert claims.fewer_bits("", **sides).outcome is Outcome.HOLDS
    for seed in (0, 1):
        beaten = sides[side]._replace(exact=exact_bits | {seed: sides[side].bits[seed]})
        assert claims.fewer_bits("", **sides | {side: beaten}).doubt == claims.SPENDS_MORE
    unknown = sides | {side: sides[side]._replace(exact={})}
    assert claims.fewer_bits("", **unknown).outcome is Outcome.PENDING


@pytest.mark.parametrize(
    ("unit", "bits", "expected", "exact_bits"),
    [
        (claims.LINEAR, {"fixed_small": 9.0, "fixed_large": 8.0}, 8.0, 2.0),
        (claims.LINEAR, {"fixed_small": 7.0, "fixed_large": 8.0}, 7.0, 1.0),
        (claims.COSINE, {"fixed_small": 9.0, "fixed_large": 8.0}, 8.0, 4.0),
        (claims.HYBRID_NETWORKS[0].unit, {"learned_range": 6.0}, 6.0, 1.0),
        (claims.HYBRID_NETWORKS[1].unit, {"learned_range": 6.0}, 6.0, 3.0),
    ],
)
def test_bits_are_held_to_the_exact_network_of_the_same_schedule_and_variance(
    unit, bits, expected, exact_bits
):
    independent = {
        "linear": {"fixed_small": 1.0, "fixed_large": 2.0},
        "cosine": {"fixed_small": 3.0, "fixed_large": 4.0},
    }
    known = {"reference": {"values": {"independent": independent}}}
    network = {unit.format(seed=1): {"values": {"bits": bits}}}
    assert claims.spent(known | network, unit) == ({1: expected}, {1: exact_bits})
    assert claims.spent(network, unit) == ({1: expected}, {})


def test_the_bits_of_ddpm_are_those_of_the_large_variance():
    better = world(good=True)
    for name in ("epsilon-simple", "epsilon-vlb"):
        better = spoilt(better, f"ddpm-{name}-s{{seed}}", "bits/fixed_small", 0.01)
    claim = CLAIMS["ddpm-bits"]
    assert judge(claim, better) == judge(claim, world(good=True))
    for variance, outcome in (("fixed_small", Outcome.HOLDS), ("fixed_large", Outcome.UNCLEAR)):
        known = spoilt(better, "reference", f"independent/linear/{variance}", 0.1)
        assert judge(claim, known).outcome is outcome


# --- Las demás reglas -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_pending_until_its_units_are_done(name):
    # La tercera semilla es de propina: sin ella ya se puede juzgar.
    enough = {unit: record for unit, record in world(good=True).items() if unit[-3:] != "-s2"}
    assert judge(CLAIMS[name], enough).outcome is Outcome.HOLDS
    assert judge(CLAIMS[name], {}).outcome is Outcome.PENDING
    outcomes = {
        judge(CLAIMS[name], {k: v for k, v in enough.items() if k != gone}).outcome
        for gone in enough
    }
    assert outcomes == {Outcome.HOLDS, Outcome.PENDING}


def test_a_comparison_needs_all_its_seeds_beyond_the_margin():
    outcomes = {
        (0.06, 0.2): Outcome.HOLDS,
        (0.04, 0.2): Outcome.UNCLEAR,
        (-0.2, 0.2): Outcome.UNCLEAR,
        (-0.06, -0.2): Outcome.FAILS,
        (-0.04, -0.2): Outcome.UNCLEAR,
        (0.14,): Outcome.UNCLEAR,
        (0.16,): Outcome.HOLDS,
        (-0.16,): Outcome.FAILS,
        (): Outcome.PENDING,
    }
    assert {gaps: Comparison("", gaps).outcome for gaps in outcomes} == outcomes


def test_limits_carry_the_same_margin():
    for found, outcome in ((0.94, Outcome.HOLDS), (0.96, Outcome.UNCLEAR), (1.06, Outcome.FAILS)):
        assert claims.at_most("", {0: found, 1: found}, 1.0).outcome is outcome
    for found, outcome in ((1.06, Outcome.HOLDS), (1.04, Outcome.UNCLEAR), (0.94, Outcome.FAILS)):
        assert claims.at_least("", {0: found, 1: found}, 1.0).outcome is outcome


@pytest.mark.parametrize("name", CLAIMS)
def test_a_single_seed_has_triple_margin_everywhere(name):
    """Ninguna comparación con una sola semilla decide por menos del triple del margen."""
    for each in CLAIMS[name].compare(world(good=True)):
        assert each.margin in (claims.MARGIN, claims.BITS_MARGIN)
        for sign, decided in ((1, Outcome.HOLDS), (-1, Outcome.FAILS)):
            alone = [replace(each, gaps=(sign * k * each.margin,)).outcome for k in (2.9, 3.1)]
            assert alone == [Outcome.UNCLEAR, decided]


def test_a_doubt_leaves_a_comparison_open_but_not_done():
    assert Comparison("", (1.0, 1.0), doubt="no se puede").outcome is Outcome.UNCLEAR
    assert Comparison("", (-1.0, -1.0), doubt="no se puede").outcome is Outcome.UNCLEAR
    assert Comparison("", (), doubt="no se puede").outcome is Outcome.PENDING


def test_an_aside_is_shown_and_decides_nothing():
    told = Comparison("", (1.0, 1.0))
    for gap in (1.0, 0.0, -1.0):
        aside = Comparison("", (gap, gap), aside="no cuenta")
        assert judge(Claim("", lambda _, aside=aside: [told, aside], ()), {}) == claims.Verdict(
            Outcome.HOLDS, (told, aside), {}
        )
    unmeasured = Comparison("", (), aside="no cuenta")
    assert judge(Claim("", lambda _: [told, unmeasured], ()), {}).outcome is Outcome.HOLDS


def test_hybrid_is_judged_under_the_same_variance_and_shown_under_its_own():
    """Lo que salga con la varianza aprendida, que es lo que compara el artículo, no decide."""
    claim = CLAIMS["iddpm-hybrid"]
    before = judge(claim, world(good=True))
    unit = "iddpm-variances-linear-hybrid-s{seed}"
    results = spoilt(world(good=True), unit, "learned_range/50/frechet", 99.0)
    for variant in ("linear-hybrid", "cosine-hybrid"):
        results = spoilt(results, f"iddpm-{variant}-s{{seed}}", "frechet", 99.0)
    verdict = judge(claim, results)
    assert verdict.outcome is before.outcome is Outcome.HOLDS
    counted = [each for each in verdict.comparisons if not each.aside]
    assert counted == [each for each in before.comparisons if not each.aside]
    asides = [each for each in verdict.comparisons if each.aside]
    assert [each.outcome for each in asides] == [Outcome.FAILS] * 2
    shown = tables.verdict("iddpm-hybrid", results)
    assert shown.count(f"| no se sostiene ({claims.AS_IN_THE_PAPER}) |") == 2
    for variant in ("linear-hybrid", "cosine-hybrid"):
        unit = f"iddpm-variances-{variant}-s{{seed}}"
        worse = spoilt(results, unit, "fixed_small/50/frechet", 99.0)
        assert judge(claim, worse).outcome is Outcome.FAILS


def test_few_steps_compare_variances_of_one_network():
    """En cada comparación las dos varianzas son de la misma red."""
    results = world(good=True)
    for unit in ("iddpm-steps-s{seed}", "iddpm-variances-linear-hybrid-s{seed}"):
        moved = results
        for steps in units.SAME_STEPS:
            moved = spoilt(moved, unit, f"fixed_large/{steps}/frechet", 0.01)
        claim = CLAIMS["iddpm-steps"]
        failed = {each.text for each in claim.compare(moved) if each.outcome is Outcome.FAILS}
        label = {"iddpm-steps-s{seed}": claims.COSINE_NETWORK.label}.get(
            unit, claims.HYBRID_NETWORKS[0].label
        )
        assert failed == {each.text for each in claim.compare(results) if label in each.text}


def test_importance_is_judged_with_the_linear_schedule():
    results = world(good=True)
    for schedule, outcome in (("", Outcome.HOLDS), ("linear-", Outcome.FAILS)):
        unit = f"iddpm-gradient-{schedule}s{{seed}}"
        changed = spoilt(results, unit, "importance/covariance", 99.0)
        assert judge(CLAIMS["iddpm-gradient"], changed).outcome is outcome


@pytest.mark.parametrize(
    ("name", "pixels", "other"),
    [("zero-snr-cannot", 128**2, 32**2), ("zero-snr-cannot-32", 32**2, 128**2)],
)
def test_dark_images_are_judged_at_their_own_size(name, pixels, other):
    results = world(good=True)
    for changed, outcome in ((other, Outcome.HOLDS), (pixels, Outcome.FAILS)):
        moved = results
        for unit in ("zero-snr-exact", "zero-snr-exact-s1"):
            moved = spoilt(moved, unit, f"scaled_linear/{changed}/extreme", 0.1)
        trained = "zero-snr-scaled_linear-s{seed}"
        if changed == 32**2:
            moved = spoilt(moved, trained, "extreme", 0.1)
            for unit in ("zero-snr-exact", "zero-snr-exact-s1"):
                moved = spoilt(moved, unit, "scaled_linear/few_steps/extreme", 0.1)
        assert judge(CLAIMS[name], moved).outcome is outcome


def test_a_trained_network_that_does_not_imitate_the_exact_one_decides_nothing():
    results = world(good=True)
    for found, doubt in ((0.029, ""), (0.031, claims.UNFAITHFUL)):
        moved = spoilt(results, "zero-snr-scaled_linear-s{seed}", "extreme", found)
        trained = list(CLAIMS["zero-snr-cannot-32"].compare(moved))[1]
        assert "entrenada" in trained.text
        assert trained.doubt == doubt
        assert trained.outcome is (Outcome.UNCLEAR if doubt else Outcome.HOLDS)


@pytest.mark.parametrize(("taken", "doubt"), [("1024", ""), ("few_steps", claims.UNFAITHFUL)])
def test_a_trained_network_is_compared_with_the_exact_one_at_its_own_steps(taken, doubt):
    moved = world(good=True)
    for unit in ("zero-snr-exact", "zero-snr-exact-s1"):
        moved = spoilt(moved, unit, f"scaled_linear/{taken}/extreme", 0.04)
    trained = list(CLAIMS["zero-snr-cannot-32"].compare(moved))[1]
    assert trained.doubt == doubt


@pytest.mark.parametrize("p", units.DROPOUTS)
def test_the_best_weight_is_judged_with_every_dropout(p):
    moved = world(good=True)
    for w in claims.LARGE_WEIGHTS:
        moved = spoilt(moved, f"cfg-{p}-s{{seed}}", f"{w}/frechet", 0.01)
    assert judge(CLAIMS["cfg-small"], moved).outcome is Outcome.FAILS


@pytest.mark.parametrize("w", [f"{w:g}" for w in units.WEIGHTS])
def test_dropouts_are_compared_at_their_best_weight_whatever_it_is(w):
    moved = spoilt(world(good=True), "cfg-0.5-s{seed}", f"{w}/frechet", 0.01)
    assert judge(CLAIMS["cfg-dropout"], moved).outcome is Outcome.FAILS


def test_one_failure_sinks_a_claim_and_one_doubt_leaves_it_open():
    def of(*gaps: float) -> Outcome:
        comparisons = [Comparison("", (gap, gap)) for gap in gaps]
        return judge(Claim("", lambda _: comparisons, ()), {}).outcome

    assert of(1, 1) is Outcome.HOLDS
    assert of(1, 0) is Outcome.UNCLEAR
    assert of(1, 0, -1) is Outcome.FAILS


def test_relative_gap_is_a_fraction_of_the_larger():
    assert claims.relative_gap(3, 4) == pytest.approx(0.25)
    assert claims.relative_gap(4, 3) == pytest.approx(-0.25)
    assert claims.relative_gap(0, 0) == 0
    # Un modelo que ha divergido está a una distancia infinita.
    assert claims.relative_gap(3, math.inf) == 1
    assert claims.relative_gap(math.inf, 3) == -1
    assert claims.relative_gap(math.inf, math.inf) == 0


def test_steps_to_reach_interpolates_a_power_law():
    curve = [(k, 100 / k) for k in (100, 200, 400, 800)]
    assert claims.steps_to_reach(curve, 100 / 300) == pytest.approx(300)
    assert claims.steps_to_reach(curve, 1.0) == 100
    assert claims.steps_to_reach(curve, 100 / 800) == pytest.approx(800)
    assert claims.steps_to_reach(curve, 0.01) == math.inf


# --- Los resultados confirmados -------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(results.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_follow_the_schema(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert results.check_result(record) == []
    assert record["unit"] == path.stem and path.stem in UNITS
    assert (record["experiment"], record["seed"]) == (
        UNITS[path.stem].experiment,
        UNITS[path.stem].seed,
    )
    assert record["threads"] == 1


def test_committed_results_are_measured_with_the_same_features():
    found = {record["features"] for record in results.load_results().values()}
    assert len(found) <= 1
    if found:
        assert found == {measures.digest(measures.CLASSIFIER.read_bytes())}


def test_the_prose_on_trained_networks_of_plain_images():
    """Con la exacta sola se sostendrían dos afirmaciones, y el coseno entrenado no puede."""
    found = results.load_results()
    for name in ("zero-snr-hardly", "zero-snr-fixed"):
        outcomes = {each.text: each.outcome for each in judge(CLAIMS[name], found).comparisons}
        exact_only = {outcome for text, outcome in outcomes.items() if "red exacta" in text}
        assert exact_only == {Outcome.HOLDS}
        assert judge(CLAIMS[name], found).outcome is Outcome.UNCLEAR
    short = claims.extremes(found, "cosine", exact=True, pixels="few_steps").values()
    assert sum(short) / len(short) + claims.FAITHFUL < 0.8 * claims.EXTREMES


def test_no_network_spends_less_than_its_exact_network():
    """Lo dice la prosa de los bits, de todas las de la tabla y de las que se entrenan más."""
    found = results.load_results()
    for unit in tables.BITS_NETWORKS.values():
        for family in (unit, tables.long_unit(unit)):
            bits, exact_bits = claims.spent(found, family)
            assert bits and bits.keys() == exact_bits.keys()
            assert all(bits[seed] > exact_bits[seed] for seed in bits)


def complete_record(**changes) -> dict:
    record = {
        "unit": "una",
        "experiment": "ddpm",
        "seed": 0,
        "parameters": {},
        "values": {"a": {"b": 1.5}, "diverge": None},
        "seconds": 1.0,
        "threads": 1,
        "versions": {},
        "code": "x",
        "commit": "y",
        "features": "z",
    }
    return record | changes


def test_results_are_written_whole_and_read_back(tmp_path):
    results.save_result(complete_record(), tmp_path)
    assert results.load_results(tmp_path) == {"una": complete_record()}
    found = results.load_results(tmp_path)
    assert results.value(found, "una", "a/b") == 1.5
    assert results.value(found, "una", "diverge") == math.inf
    assert results.value(found, "otra", "a/b") is None
    with pytest.raises(KeyError):
        results.value(found, "una", "a/c")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"values": {}}, "ningún valor"),
        ({"values": {"a": {"b": math.nan}}}, "«a/b» no es finito"),
        ({"seed": "0"}, "«seed» es '0'"),
        ({"nota": 1}, "sobra «nota»"),
    ],
)
def test_bad_results_are_refused(tmp_path, changes, problem):
    with pytest.raises(ValueError, match=problem):
        results.save_result(complete_record(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- Lo que no necesita entrenar nada -------------------------------------------------------------


@pytest.mark.equation("replicas-bits-snr")
def test_the_bound_is_the_error_of_the_noise_over_the_log_snr():
    """Con datos normales la red óptima se sabe, y los dos lados también."""
    variance = 0.3
    ends = (1e4, 1e-4)
    octaves = [math.log2(1 + variance * end) for end in ends]
    # ∫ MSE_ε d log SNR, con MSE_ε = SNR · MSE_x₀ = SNR · σ² / (1 + σ² SNR).
    integral = 0.5 * (octaves[0] - octaves[1])
    excess = []
    for timesteps in (1000, 4000):
        log_snr = torch.linspace(*map(math.log, ends), timesteps, dtype=torch.float64)
        schedule = Schedule.from_alphas_cumprod(log_snr.sigmoid())
        t = torch.arange(1, timesteps)
        x_t = torch.randn(timesteps - 1, 200, generator=torch.Generator().manual_seed(0)).double()
        x_start = (
            variance**0.5
            * torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1)).double()
        )
        x_t = q_sample(schedule, x_start, t, x_t)
        bar = schedule.alphas_cumprod[t][:, None]
        best = bar.sqrt() * variance * x_t / (1 - bar + variance * bar)
        true, found = (q_posterior(schedule, x, x_t, t) for x in (x_start, best))
        kl = normal_kl(true.mean, true.log_variance, found.mean, found.log_variance)
        excess.append(float(kl.mean(dim=1).sum()) / math.log(2) / integral - 1)
    assert abs(excess[1]) < 0.02
    assert abs(excess[0]) < 0.04


def test_a_constant_error_over_a_stretch_costs_half_its_octaves():
    facts = {"linear": {"snr_1": 100.0}, "cosine": {"snr_1": 1600.0}}
    assert reference.rounding_bits(facts) == 2.0


def small_data() -> Dataset:
    return Dataset(x=torch.tensor([[-1.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]])[:, None], levels=3)


def test_histogram_counts_each_pixel_and_leaves_no_level_out():
    found = reference.pixel_histograms(small_data())
    counts = torch.tensor([[3, 0, 0], [0, 1, 2]]).double()
    assert torch.allclose(found, (counts + 1 / 3) / 4)
    numbers = reference.level_numbers(small_data())
    assert numbers.tolist() == [[0, 1], [0, 2], [0, 2]]
    expected = -(3 * found[0, 0].log2() + found[1, 1].log2() + 2 * found[1, 2].log2()) / 6
    assert reference.histogram_bits(found, numbers) == pytest.approx(float(expected))


def test_independent_model_is_the_mean_of_the_levels_given_x_t():
    schedule = make_schedule("linear", 50)
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).double()
    x_t = torch.randn(4, 1, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    bar = float(schedule.alphas_cumprod[20])
    found = exact.independent_model(schedule, probabilities)(x_t, torch.full((4,), 20))
    for pixel in range(2):
        for row in range(4):
            seen = float(x_t[row, 0, 0, pixel])
            mass = [
                float(p) * math.exp(-((seen - bar**0.5 * level) ** 2) / (2 * (1 - bar)))
                for p, level in zip(probabilities[pixel], (-1, 0, 1), strict=True)
            ]
            expected = (mass[2] - mass[0]) / sum(mass)
            assert float(found[row, 0, 0, pixel]) == pytest.approx(expected)


def test_committed_references_are_those_of_the_data():
    committed = results.load_results()["reference"]["values"]
    for name, bits in reference.ignorance().items():
        assert committed["bits"][name] == pytest.approx(bits, rel=1e-6)
    assert reference.schedule_facts() == {
        name: pytest.approx(facts) for name, facts in committed["schedules"].items()
    }
    assert committed["rounding_bits"] == pytest.approx(
        reference.rounding_bits(committed["schedules"])
    )
    # Con mil pasos y una varianza fija, la cota pierde algo frente al propio histograma.
    for found in committed["independent"].values():
        assert min(found.values()) > committed["bits"]["pixel_histogram"]


def test_clipping_alone_takes_half_of_the_noise_of_the_extreme_pixels():
    extremes = float((measures.likelihood_images().x.abs() == 1).double().mean())
    assert 0.3 < extremes < 0.9
    committed = results.load_results()["reference"]["values"]["silent_error"]
    for error in committed.values():
        assert error == pytest.approx(1 - extremes / 2, abs=0.03)


def test_copies_have_the_requested_classes():
    labels = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    rows = [(labels == label).nonzero().flatten() for label in range(3)]
    wanted = torch.arange(300) % 3
    chosen = reference._rows_of(wanted, rows, torch.Generator().manual_seed(0))
    assert torch.equal(labels[chosen], wanted)
    assert set(chosen.tolist()) == set(range(7))


def test_unseen_digits_are_at_no_distance_of_themselves():
    held_out = measures.digits()[1]
    measured = measures.measure(held_out.x, held_out.labels)
    assert measured["frechet_held_out"] == pytest.approx(0, abs=1e-3)
    committed = results.load_results()["baseline"]["values"]["held_out"]["frechet"]
    assert measured["frechet"] == pytest.approx(committed, rel=1e-3)


# --- La página ------------------------------------------------------------------------------------

PAGE_TEXT = PAGE.read_text(encoding="utf-8")
CALLS = re.findall(r'replica\("(\w+)"(?:, "([^"]+)")?', PAGE_TEXT)


def test_page_shows_every_claim_and_every_table_once():
    shown = [name for what, name in CALLS if what == "veredicto"]
    assert sorted(shown) == sorted(CLAIMS)
    assert sorted(name for what, name in CALLS if what == "tabla") == sorted(tables.TABLES)


def test_a_verdict_says_why_it_cannot_be_given():
    weak = with_better_exact(world(good=True))
    why = f"| no concluyente: {claims.SPENDS_MORE} |"
    assert why in tables.verdict("ddpm-bits", weak)
    assert "no concluyente" not in tables.verdict("ddpm-bits", world(good=True))
    assert "No se puede juzgar" not in tables.verdict("ddpm-quality", world(good=True))
    short = spoilt(world(good=True), "ddpm-mu-mse-s{seed}", "agreement", 0.123)
    shown = tables.verdict("ddpm-quality", short)
    assert '"No concluyente"' in shown
    assert "en su peor semilla" in shown
    assert f"{claims.LABELS['mu-mse']} (12,3\N{NARROW NO-BREAK SPACE}%)" in shown


def test_facts_of_the_page_come_from_the_results():
    assert {name for what, name in CALLS if what == "dato"} <= set(tables.FACTS)
    without_training = "recorte-del-gradiente"
    clip = recipes.digits_recipe("mu-vlb", 0).training.grad_clip
    assert float(tables.fact(without_training, {})) == clip > 0
    for name in set(tables.FACTS) - {without_training}:
        assert tables.fact(name, {}) == tables.PENDING
        assert tables.fact(name, world(good=True)) != tables.PENDING
    moved = world(good=True)
    for unit, bits in ((claims.COSINE, 7.5), (claims.LINEAR, 4.0)):
        for variance in claims.FIXED:
            moved = spoilt(moved, unit, f"bits/{variance}", bits)
    assert tables.fact("bits-de-mas-del-coseno", moved) == "3,50"
    assert tables.fact("bits-de-las-redes", moved) == "entre 0,50 y 7,50"
    for part, cosine in (("low_noise", 1.75), ("rest", 0.5), ("total", 1.25)):
        moved["iddpm-bits-cosine-hybrid-s0"]["values"][part] = cosine
    assert tables.fact("bits-de-mas-con-poco-ruido", moved) == "0,75"
    assert tables.fact("bits-de-mas-con-lo-demas", moved) == "−0,50"
    assert tables.fact("bits-de-mas-de-las-dos", moved) == "0,25"
    for seed in units.SEEDS[:1]:
        moved[f"ddim-full-sigma-s{seed}"]["values"]["sigma"]["1000"]["frechet"] = 3.75
    assert tables.fact("ddim-mil-pasos", moved) == "2,50"
    moved = spoilt(moved, "reference", "silent_error/linear", 0.5)
    moved = spoilt(moved, "reference", "silent_error/cosine", 0.25)
    assert tables.fact("error-de-no-responder", moved) == "0,50 y 0,25"
    moved["iddpm-bits-cosine-hybrid-s0"]["values"]["epsilon_error_1"] = 0.75
    expected = "1,00 con el lineal y 0,75 con el coseno"
    assert tables.fact("error-de-epsilon-en-1", moved) == expected
    # 1 bit por unidad de error, y un error de 1.
    assert tables.fact("bits-de-no-redondear", world(good=True)) == "1,00"


def test_facts_about_the_hybrid_loss_and_the_bound():
    moved = world(good=True)
    for seed, agreement in zip(claims.EXTRA_SEEDS, (0.7, 0.75, 0.83), strict=True):
        moved[f"ddpm-epsilon-vlb-s{seed}"]["values"]["agreement"] = agreement
    assert tables.fact("acuerdo-con-la-cota", moved) == "76"
    for unit, heights in {
        claims.LINEAR: (2.0, 2.0),
        claims.COSINE: (1.0, 1.0),
        "iddpm-linear-hybrid-s{seed}": (4.0, 3.0),
        "iddpm-cosine-hybrid-s{seed}": (1.25, 1.5),
    }.items():
        for seed, height in zip(units.SEEDS, heights, strict=True):
            moved[unit.format(seed=seed)]["values"]["frechet"] = height
    expected = "entre 1,50 y 2,00 con el lineal y entre 1,25 y 1,50 con el coseno"
    assert tables.fact("hibrida-con-la-aprendida", moved) == expected
    for schedule, heights in (("linear", (2.2, 1.0)), ("cosine", (0.9, 0.7))):
        for seed, height in zip(units.SEEDS, heights, strict=True):
            table = moved[f"iddpm-variances-{schedule}-hybrid-s{seed}"]["values"]["fixed_small"]
            table["50"]["frechet"] = height
    expected = "entre 0,50 y 1,10 con el lineal y entre 0,70 y 0,90 con el coseno"
    assert tables.fact("hibrida-con-la-misma-varianza", moved) == expected
    for name, height in (("linear-hybrid", 6.0), ("cosine-hybrid", 4.5)):
        moved[f"long-{name}-long-s0"]["values"]["frechet"] = height
    for name, height in (("epsilon-simple", 4.0), ("cosine-simple", 4.0)):
        moved[f"long-{name}-long-s0"]["values"]["frechet"] = height
    expected = "de 2,00 a 1,50 con el lineal y de 1,25 a 1,12 con el coseno"
    assert tables.fact("hibrida-con-mas-entrenamiento", moved) == expected


def test_agreement_is_that_of_the_samples_beside_it():
    """En la tabla de Improved DDPM, el acuerdo de la híbrida es el de la varianza fija."""
    moved = spoilt(
        world(good=True),
        "iddpm-variances-linear-hybrid-s{seed}",
        "fixed_small/50/agreement",
        0.875,
    )
    rows = tables.table("iddpm", moved).splitlines()
    shown = [row.split("|")[-2].strip()[:4] for row in rows[2:]]
    assert shown == ["99,0", "87,5", "99,0", "99,0"]


def test_what_is_missing_is_shown_as_pending():
    for name in tables.TABLES:
        assert tables.PENDING in tables.table(name, {})
    for name in CLAIMS:
        assert '"Pendiente"' in tables.verdict(name, {})
    assert tables.summary({}).count("**pendiente**") == len(CLAIMS)
    anchors = set(re.findall(r"\(#([\w-]+)\)", tables.summary({})))
    assert anchors == set(tables.SECTIONS) <= set(re.findall(r"\{ #([\w-]+) \}", PAGE_TEXT))
    assert tables.progress({}).startswith(f"Están hechas 0 de las {len(UNITS)} unidades")
    loose = [name for what, name in CALLS if what in ("valor", "porcentaje")]
    assert all(tables.measured(name, 2, {}) == tables.PENDING for name in loose)


def test_tables_are_whole_with_all_the_results_and_with_any_of_them_missing():
    complete = world(good=True)
    for name in tables.TABLES:
        lines = tables.table(name, complete).splitlines()
        assert len({line.count("|") for line in lines}) == 1
        assert tables.PENDING not in tables.table(name, complete)
    for gone in complete:
        partial = {name: record for name, record in complete.items() if name != gone}
        for name in tables.TABLES:
            tables.table(name, partial)
        for name in CLAIMS:
            tables.verdict(name, partial)


def test_cells_give_mean_and_deviation_with_a_decimal_comma():
    assert tables.cell({0: 1.0, 1: 2.0}) == "1,50\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0,71"
    assert tables.cell({0: -0.125}, 3) == "−0,125"
    assert tables.cell({0: 0.5}, 1, scale=100) == "50,0"
    assert tables.cell({0: math.inf, 1: 2.0}) == "diverge / 2,00"
    assert tables.cell({0: math.inf}, infinite="no llega") == "no llega"
    assert tables.cell({}) == tables.PENDING


# --- Las unidades ---------------------------------------------------------------------------------


def test_units_have_unique_names_and_their_recipes_exist():
    names = [unit.name for unit in units.units()]
    assert len(names) == len(set(names))
    for variant in recipes.VARIANTS:
        recipe = recipes.digits_recipe(variant, 1)
        assert recipe.seed == 1 and recipe.data.held_out == 0.2
    for name in recipes.UNIFORM_SCHEDULES:
        assert len(recipes.uniform_recipe(name, 0).schedule()) == 1000


def test_only_what_is_missing_is_run_and_a_failure_does_not_stop_the_rest(
    tmp_path, monkeypatch, capsys
):
    ran = []

    def unit(name: str, broken: bool = False) -> units.Unit:
        def run() -> dict:
            ran.append(name)
            if broken:
                raise ValueError("no hay datos")
            return {"x": 1.0}

        return units.Unit(name, "ddpm", 0, run)

    listed = [unit("a"), unit("b", broken=True), unit("c")]
    monkeypatch.setattr(runner, "units", lambda: iter(listed))
    monkeypatch.setattr(runner, "classifier_digest", lambda: "huella")
    assert runner.main([], tmp_path) == 1
    assert ran == ["a", "b", "c"]
    assert "no hay datos" in capsys.readouterr().out
    listed[1] = unit("b")
    ran.clear()
    assert runner.main([], tmp_path) == 0
    assert ran == ["b"]
    assert set(results.load_results(tmp_path)) == {"a", "b", "c"}
    assert runner.main(["--list"], tmp_path) == 0
    assert "0 pendientes" in capsys.readouterr().out


class PosteriorMean(nn.Module):
    """La media del posterior del proceso entero que corresponde a creer que x̂₀ = tanh(x_t)."""

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor):
        schedule = make_schedule("linear", 1000)
        return q_posterior(schedule, x_t.tanh(), x_t, t).mean


@pytest.mark.parametrize("steps", [20, 1000])
def test_a_posterior_mean_network_can_skip_steps(steps):
    """Genera lo mismo que la red que predice ese x̂₀, con todos los pasos o con menos."""
    trained = Trained(PosteriorMean(), recipes.digits_recipe("mu-mse", 0), (1, 8, 8), {})
    options = {"seed": 0, "count": 3, "steps": steps, "variance": "fixed_small"}
    x, labels = measures.draw(trained, **options)
    recipe = trained.recipe
    named = replace(recipe, diffusion=replace(recipe.diffusion, prediction="x_start"))
    seeing = Trained(lambda x_t, t, **_: x_t.tanh(), named, (1, 8, 8), {})
    expected, _ = measures.draw(seeing, **options)
    assert torch.allclose(x, expected, atol=1e-3)
    assert labels.tolist() == [0, 1, 2]


class MeanAndVariance(nn.Module):
    """Predice ε = x_t / 2 y, si se le deja, una varianza."""

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, class_labels: torch.Tensor):
        return torch.cat([x_t / 2, torch.ones_like(x_t)], dim=1)


def test_a_hybrid_network_can_be_sampled_with_a_fixed_variance(monkeypatch):
    monkeypatch.setattr(units, "measure", lambda x, labels: {"x": x})
    trained = Trained(MeanAndVariance(), recipes.digits_recipe("linear-hybrid", 0), (1, 8, 8), {})
    found = {
        variance: units._with_variance(trained, variance, 0, 3)["x"]
        for variance in ("fixed_small", "fixed_large", "learned_range")
    }
    alone = Trained(MeanAndVariance(), recipes.digits_recipe("epsilon-simple", 0), (1, 8, 8), {})
    for variance in ("fixed_small", "fixed_large"):
        expected, _ = measures.draw(
            alone,
            model=lambda x_t, t, **_: x_t / 2,
            seed=units.sampling_seed(0),
            steps=3,
            variance=variance,
        )
        assert torch.allclose(found[variance], expected)
    # La fracción 1 de la red es la varianza grande, salvo en el último paso.
    assert not torch.allclose(found["learned_range"], found["fixed_small"])


def test_the_parts_of_the_bits_add_up(monkeypatch):
    trained = Trained(MeanAndVariance(), recipes.digits_recipe("linear-hybrid", 0), (1, 8, 8), {})
    terms = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double()
    bound = Likelihood((terms.sum() + 0.25).repeat(2), 0.25, terms, torch.full_like(terms, 2e-5))
    monkeypatch.setattr(units, "digits_model", lambda variant, seed: trained)
    monkeypatch.setattr(units, "bits", lambda trained, variances: dict.fromkeys(variances, bound))
    parts = units.where_bits_go("linear-hybrid", 0)
    assert parts["decoder"] == float(terms[0])
    assert parts["decoder"] + parts["low_noise"] + parts["rest"] == pytest.approx(parts["total"])
    low = parts["low_noise_terms"]
    assert trained.schedule.snr[low] > units.LOW_NOISE >= trained.schedule.snr[low + 1]
    assert parts["low_noise"] == pytest.approx(float(terms[1 : 1 + low].sum()))
    assert parts["epsilon_error_1"] == pytest.approx(2e-5 * 9999, rel=1e-4)


# --- Las leyes exactas ----------------------------------------------------------------------------


@pytest.mark.parametrize("alpha_bar", [2.4e-9, 0.0047, 0.3, 0.99])
def test_uniform_mean_is_the_integral(alpha_bar):
    half_width = 4.0
    grid = torch.linspace(-half_width, half_width, 400_001, dtype=torch.float64)
    x_t = torch.tensor([-7.0, -0.3, 0.0, 0.05, 3.0], dtype=torch.float64)
    log_weights = -0.5 * (x_t[:, None] - alpha_bar**0.5 * grid).square() / (1 - alpha_bar)
    weights = torch.softmax(log_weights, dim=1)
    found = exact.uniform_mean(x_t, alpha_bar, half_width)
    assert torch.allclose(found, weights @ grid, rtol=1e-3, atol=1e-6)


def test_uniform_mean_without_signal_is_that_of_the_data():
    assert exact.uniform_mean(torch.tensor([3.0, -1.0]), 0.0, 2.0).tolist() == [0, 0]


def test_empirical_model_is_the_weighted_mean_of_the_data():
    schedule = make_schedule("linear", 50)
    data = torch.randn(7, 1, 2, 2, dtype=torch.float64)
    x_t = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    bar = schedule.alphas_cumprod[20]
    distances = (x_t[:, None] - bar.sqrt() * data[None]).flatten(2).square().sum(dim=2)
    weights = torch.softmax(-distances / (2 * (1 - bar)), dim=1)
    found = exact.empirical_model(schedule, data)(x_t, torch.full((3,), 20))
    assert torch.allclose(found, torch.einsum("bn,nchw->bchw", weights, data))


def test_exact_generation_recovers_the_law_if_nothing_is_left_at_the_end():
    schedule = make_schedule("cosine", 200)
    like = torch.zeros(4000, 1, dtype=torch.float64)
    x = exact.draw(exact.uniform_model(schedule, 1024), schedule, like, seed=0)[:, 0] / 32
    report = exact.luminance_report(x)
    assert report["extreme"] == pytest.approx(0.1, abs=0.02)
    assert report["deviation"] == pytest.approx(3**-0.5, abs=0.02)
    assert report["distance"] < 0.04


def test_luminance_report_of_the_law_itself():
    report = exact.luminance_report((2 * torch.arange(10_000) + 1) / 10_000 - 1)
    assert report["distance"] == pytest.approx(0, abs=1e-6)
    assert report["extreme"] == pytest.approx(0.1, abs=1e-3)
    assert report["deviation"] == pytest.approx(3**-0.5, abs=1e-3)
    assert exact.luminance_report(torch.zeros(100))["distance"] == pytest.approx(0.5, abs=0.01)


# --- La macro -------------------------------------------------------------------------------------


def test_macro_answers_every_call_of_the_page_and_warns_of_the_others(caplog):
    context = macros.PageContext("despues/replicas.md")
    for what, name in CALLS:
        shown = macros.replica(context, what, name)
        assert shown and "dl-falta" not in shown
    assert not caplog.records
    path = "ddpm-epsilon-simple-s0/agreement"
    agreement = results.value(results.load_results(), *path.split("/"))
    assert macros.replica(context, "porcentaje", path, 1) == tables.number(100 * agreement, 1)
    for what, name in (("tabla", "otra"), ("veredicto", "otro"), ("cosa", "")):
        assert "dl-falta" in macros.replica(context, what, name)
    assert len(caplog.records) == 3
