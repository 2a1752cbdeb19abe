from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from golden import golden
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.fixed import fixed_effects, summarise
from orchestrator.stats.results import Effect
from orchestrator.study.designs import Contrast

ARMS = golden("a1", "a2", "a3", "a4")
BASELINE = ARMS.pop("baseline")


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def difference(arm: str) -> Contrast:
    return Contrast(arm, "main", (arm,), {arm: 1, "baseline": -1}, "baseline")


def compared(reference, arms, mode: str = "max", **options) -> tuple[Effect, ...]:  # type: ignore[no-untyped-def]
    values = {"baseline": reference, **arms}
    contrasts = [difference(arm) for arm in arms]
    return fixed_effects(values, contrasts, mode, **{"alpha": 0.05, **options})  # type: ignore[arg-type]


def golden(mode: str = "max", **options) -> tuple[Effect, ...]:  # type: ignore[no-untyped-def]
    return compared(
        by_seed(BASELINE), {arm: by_seed(values) for arm, values in ARMS.items()}, mode, **options
    )


def test_the_strict_mode_against_scipy() -> None:
    for effect in golden(variance="per_arm"):
        test = stats.ttest_rel(ARMS[effect.arm], BASELINE)
        interval = test.confidence_interval(0.95)
        assert effect.delta == pytest.approx(np.mean(ARMS[effect.arm]) - np.mean(BASELINE))
        assert (effect.lo, effect.hi) == pytest.approx((interval.low, interval.high))
        assert effect.p == pytest.approx(test.pvalue)
        assert (effect.n, effect.seeds, effect.method) == (5, (0, 1, 2, 3, 4), "paired t")
        wide = test.confidence_interval(1 - 0.05 / 4)
        assert (effect.wide_lo, effect.wide_hi) == pytest.approx((wide.low, wide.high))


def test_the_plain_paired_t_stands_beside_the_moderated_one() -> None:
    moderated, strict = golden(), golden(variance="per_arm")
    for effect, plain in zip(moderated, strict, strict=True):
        assert effect.plain is not None
        assert (effect.plain.p, effect.plain.lo, effect.plain.hi) == (plain.p, plain.lo, plain.hi)
    assert [effect.method for effect in moderated] == ["moderated paired t"] * 3 + ["paired t"]
    assert moderated[3].flags == ("noisy",)


def test_verdicts_name_the_direction_of_the_intervention() -> None:
    assert [effect.verdict for effect in golden()] == ["unresolved", "hurts", "helps", "hurts"]
    assert [effect.verdict for effect in golden("min")] == ["unresolved", "helps", "hurts", "helps"]


def test_a_margin_decides_what_a_difference_is_worth() -> None:
    verdicts = [effect.verdict for effect in golden(margin=0.3)]
    assert verdicts == ["practically equivalent", "hurts", "different, size unclear", "hurts"]
    assert all(effect.p_equivalent is not None for effect in golden(margin=0.3))
    assert all(effect.p_equivalent is None for effect in golden())


def test_mode_min_is_a_mirror() -> None:
    negated = {arm: by_seed([-y for y in values]) for arm, values in ARMS.items()}
    mirrored = compared(by_seed([-y for y in BASELINE]), negated, "min", margin=0.3)
    for one, other in zip(golden(margin=0.3), mirrored, strict=True):
        assert (one.verdict, one.p, one.p_equivalent, one.wins) == (
            other.verdict, other.p, other.p_equivalent, other.wins,
        )  # fmt: skip
        assert (one.delta, one.lo, one.wide_lo) == (-other.delta, -other.hi, -other.wide_hi)
        assert (one.percent, one.d_sd, one.g_z) == (-other.percent, -other.d_sd, -other.g_z)
        assert (one.plain.mean, one.plain.lo) == (-other.plain.mean, -other.plain.hi)


def test_equivalence_against_statsmodels() -> None:
    from statsmodels.stats.weightstats import ttost_paired

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p, _, _ = ttost_paired(np.array(ARMS["a1"]), np.array(BASELINE), -0.3, 0.3)
    (effect,) = compared(by_seed(BASELINE), {"a1": by_seed(ARMS["a1"])}, margin=0.3)
    assert effect.p_equivalent == pytest.approx(p)


def test_only_the_moderated_test_rejects() -> None:
    random = np.random.default_rng(1)
    base = random.normal(size=3)
    arms = {f"x{i}": by_seed(list(base + 0.1 * random.normal(size=3))) for i in range(6)}
    arms["y"] = by_seed(list(base + np.array([0.25, 0.3, 0.37])))
    effect = compared(by_seed(list(base)), arms)[-1]
    assert effect.verdict == "helps"
    assert effect.plain.p > 0.05 / 7  # type: ignore[union-attr]
    assert effect.flags == ("moderated only",)


def test_interactions_are_a_family_of_their_own() -> None:
    random = np.random.default_rng(0)
    values = {arm: by_seed(list(random.normal(size=5))) for arm in ("baseline", "a", "b", "ab")}
    values["ab"] = {seed: value + 20 for seed, value in values["ab"].items()}
    joint = Contrast("ab", "interaction", ("a", "b"), {"ab": 1, "a": -1, "b": -1, "baseline": 1}, "baseline")
    *mains, interaction = fixed_effects(values, [difference("a"), difference("b"), joint], "max", alpha=0.05)
    D = [values["ab"][s] - values["a"][s] - values["b"][s] + values["baseline"][s] for s in range(5)]
    assert interaction.delta == pytest.approx(np.mean(D))
    assert (interaction.p_holm, interaction.verdict) == (interaction.p, "interacts")
    assert interaction.wins is None
    assert min(effect.p_holm for effect in mains) == pytest.approx(2 * min(effect.p for effect in mains))


def test_a_main_effect_of_a_factorial_design_is_compared_with_its_low_level() -> None:
    values = {
        "00": by_seed([1.0, 2, 3]),
        "10": by_seed([2.0, 3, 5]),
        "01": by_seed([1.0, 2, 2]),
        "11": by_seed([3.0, 4, 4]),
    }
    weights = {"00": -0.5, "10": 0.5, "01": -0.5, "11": 0.5}
    (effect,) = fixed_effects(
        values, [Contrast("a", "main", ("a",), weights, "without a")], "max", alpha=0.05
    )
    low = np.mean([[1, 2, 3], [1, 2, 2]])
    assert effect.percent == pytest.approx(100 * effect.delta / low)  # type: ignore[operator]
    assert (effect.d_sd, effect.failures) == (None, None)


def test_only_common_seeds_with_finite_values_are_paired() -> None:
    reference = {0: 1.0, 1: 2.0, 2: math.nan, 3: 4.0}
    (effect,) = compared(reference, {"x": {3: 4.5, 2: 1.0, 1: math.inf, 0: 1.25, 9: 7.0}})
    assert (effect.seeds, effect.n) == ((0, 3), 2)
    assert effect.delta == pytest.approx(0.375)


def test_one_pair_has_no_interval() -> None:
    (effect,) = compared({7: 1.0}, {"x": {7: 0.5}})
    assert (effect.n, effect.delta, effect.lo, effect.hi, effect.p) == (1, -0.5, None, None, None)
    assert (effect.verdict, effect.flags) == ("unresolved", ("no interval",))


def test_no_pair_is_no_data() -> None:
    first, second = compared({0: 1.0, 1: 2.0}, {"x": {}, "y": {5: 1.0}}, "min")
    assert {first.verdict, second.verdict} == {"no data"}
    assert (first.n, first.delta, first.p_holm) == (0, None, None)
    assert compared({}, {}) == ()


def test_failures_are_outcomes() -> None:
    failures = {"baseline": (0, 5), "x": (5, 5), "y": (2, 5)}
    base = by_seed(BASELINE)
    lost, partly = compared(base, {"x": {}, "y": {0: 90.0, 2: 91.0, 4: 90.5}}, failures=failures)
    assert (lost.verdict, lost.flags) == ("fails", ("5 failed",))
    assert partly.flags[-2:] == ("2 failed", "conditional")
    for effect, failed in ((lost, 5), (partly, 2)):
        found = effect.failures
        assert found is not None
        assert (found.failed, found.runs, found.reference_failed, found.reference_runs) == (failed, 5, 0, 5)
        assert found.p == pytest.approx(stats.fisher_exact([[failed, 5 - failed], [0, 5]]).pvalue)


def test_equal_differences_claim_nothing_and_are_flagged() -> None:
    reference = {0: 0.3, 1: 0.4, 2: 0.5}
    found = compared(reference, {"same": reference, "shifted": {0: 0.2, 1: 0.3, 2: 0.4}}, margin=0.05)
    for effect in found:
        assert (effect.p, effect.lo, effect.p_equivalent) == (None, None, None)
        assert effect.verdict == "unresolved"
        assert effect.flags == ("no interval", "zero variance")


@pytest.mark.slow
@pytest.mark.parametrize("margin", [None, 1.0])
def test_a_coarse_metric_makes_no_false_claims(margin: float | None) -> None:
    """Steps of half an SD, two seeds, each arm alone: equal differences come about by chance."""
    random = np.random.default_rng(0)
    studies, truth = 500, 1.0 if margin else 0.0
    wrong = 0
    for _ in range(studies):
        Y = np.round(2 * (random.normal(size=(5, 2)) + truth * np.array([[0], [1], [1], [1], [1]]))) / 2
        rows = {f"arm {i}": by_seed(row) for i, row in enumerate(Y[1:])}
        found = compared(by_seed(Y[0]), rows, variance="per_arm", margin=margin)
        claims = {effect.verdict for effect in found}
        wrong += bool(claims & ({"practically equivalent"} if margin else {"hurts", "helps"}))
    assert wrong / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_missing_arms_stay_in_the_family() -> None:
    two = {"x": by_seed(ARMS["a2"]), "y": by_seed(ARMS["a3"])}
    alone = compared(by_seed(BASELINE), two)[0]
    crowd = compared(by_seed(BASELINE), {**two, "z": {}})[0]
    assert alone.p_holm == pytest.approx(2 * alone.p)
    assert crowd.p_holm == pytest.approx(3 * alone.p)
    assert crowd.q == pytest.approx(3 * alone.p)


def test_what_is_unresolved_says_how_many_seeds_it_takes() -> None:
    unresolved, different, *_ = golden()
    assert different.seeds_needed is None
    assert unresolved.seeds_needed > 5  # type: ignore[operator]


def test_without_a_claim_there_is_neither_interval_nor_p() -> None:
    for effect in golden(no_claim="rung-only"):
        assert (effect.verdict, effect.method) == ("rung-only", "mean difference")
        assert effect.delta is not None
        assert (effect.lo, effect.hi, effect.p, effect.p_holm) == (None,) * 4


@pytest.mark.slow
@given(
    st.dictionaries(st.integers(0, 5), st.floats(), max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 5), st.floats(), max_size=6)),
    st.sampled_from(["max", "min"]),
    st.sampled_from([None, 1.0]),
)
def test_whatever_comes_in_there_is_one_effect_per_arm(reference, arms, mode, margin) -> None:  # type: ignore[no-untyped-def]
    effects = compared(reference, arms, mode, margin=margin)
    assert [effect.arm for effect in effects] == list(arms)
    for effect in effects:
        assert (effect.lo is None) == (effect.hi is None) == (effect.p is None)
        assert effect.p is None or 0 <= effect.p <= effect.p_holm <= 1  # type: ignore[operator]
        assert effect.lo is None or effect.lo <= effect.delta <= effect.hi  # type: ignore[operator]
        assert effect.lo is None or effect.wide_lo <= effect.lo <= effect.hi <= effect.wide_hi  # type: ignore[operator]


@pytest.mark.slow
@given(st.floats(1e-12, 1e12), st.floats(-1e6, 1e6))
def test_p_does_not_depend_on_the_unit(scale: float, shift: float) -> None:
    assume(abs(shift) < 1e6 * scale)
    moved = {arm: by_seed([scale * y + shift for y in values]) for arm, values in ARMS.items()}
    effects = compared(by_seed([scale * y + shift for y in BASELINE]), moved)
    for effect, plain in zip(effects, golden(), strict=True):
        assert effect.p == pytest.approx(plain.p, rel=1e-3)
        assert effect.delta == pytest.approx(scale * plain.delta, rel=1e-3)


def test_summaries() -> None:
    assert summarise("x", {}) == summarise("x", {0: math.nan})
    assert summarise("x", {0: 2.0}).sd is None
    sample = summarise("x", {0: 1.0, 1: 3.0, 2: math.inf})
    assert (sample.n, sample.mean, sample.sd) == (2, 2.0, pytest.approx(math.sqrt(2)))
