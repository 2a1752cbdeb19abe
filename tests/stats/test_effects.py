from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.effects import paired_effects, paired_t, summarise

# statistics of the project, golden data: baseline and four arms over five seeds
BASELINE = [93.9, 94.1, 94.0, 94.2, 93.8]
ARMS = {
    "a1": [93.8, 94.1, 93.9, 94.1, 93.9],
    "a2": [92.9, 93.2, 93.1, 93.3, 92.7],
    "a3": [94.2, 94.2, 94.3, 94.5, 93.9],
    "a4": [90.1, 89.0, 90.9, 89.5, 90.2],
}


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def golden(mode: str = "max", **options: str):  # type: ignore[no-untyped-def]
    arms = {arm: by_seed(values) for arm, values in ARMS.items()}
    return paired_effects(by_seed(BASELINE), arms, mode, 0.05, **options)  # type: ignore[arg-type]


def test_against_scipy() -> None:
    for effect in golden():
        test = stats.ttest_rel(ARMS[effect.arm], BASELINE)
        interval = test.confidence_interval(0.95)
        assert effect.delta == pytest.approx(np.mean(ARMS[effect.arm]) - np.mean(BASELINE))
        assert (effect.lo, effect.hi) == pytest.approx((interval.low, interval.high))
        assert effect.p == pytest.approx(test.pvalue)
        assert (effect.n, effect.seeds, effect.method) == (5, (0, 1, 2, 3, 4), "paired t")


def test_verdicts_name_the_direction_of_the_intervention() -> None:
    assert [effect.verdict for effect in golden()] == ["unresolved", "hurts", "helps", "hurts"]
    assert [effect.verdict for effect in golden("min")] == ["unresolved", "helps", "hurts", "helps"]


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=12),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_paired_t_is_scipys(pairs: list[tuple[float, float]], alpha: float) -> None:
    treated, control = (np.array(column) for column in zip(*pairs, strict=True))
    assume(np.std(treated - control) > 1e-6 * max(1.0, np.abs(pairs).max()))
    ours, test = paired_t(treated, control, alpha), stats.ttest_rel(treated, control)
    interval = test.confidence_interval(1 - alpha)
    assert ours.p == pytest.approx(test.pvalue, rel=1e-6)
    assert (ours.lo, ours.hi) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


def test_only_common_seeds_with_finite_values_are_paired() -> None:
    reference = {0: 1.0, 1: 2.0, 2: math.nan, 3: 4.0}
    (effect,) = paired_effects(reference, {"x": {3: 4.5, 2: 1.0, 1: math.inf, 0: 1.25, 9: 7.0}}, "max", 0.05)
    assert (effect.seeds, effect.n) == ((0, 3), 2)
    assert effect.delta == pytest.approx(0.375)


def test_one_pair_has_no_interval() -> None:
    (effect,) = paired_effects({7: 1.0}, {"x": {7: 0.5}}, "max", 0.05)
    assert (effect.n, effect.delta, effect.lo, effect.hi, effect.p) == (1, -0.5, None, None, None)
    assert (effect.verdict, effect.flags) == ("unresolved", ("no interval",))


def test_no_pair_is_no_data() -> None:
    first, second = paired_effects({0: 1.0, 1: 2.0}, {"x": {}, "y": {5: 1.0}}, "min", 0.05)
    assert {first.verdict, second.verdict} == {"no data"}
    assert (first.n, first.delta, first.p_holm) == (0, None, None)
    assert paired_effects({}, {}, "max", 0.05) == ()


def test_zero_variance_is_certain_and_flagged() -> None:
    reference = {0: 0.3, 1: 0.4, 2: 0.5}
    same, shifted = paired_effects(
        reference, {"same": reference, "shifted": {0: 0.2, 1: 0.3, 2: 0.4}}, "max", 0.05
    )
    assert (same.delta, same.lo, same.hi, same.p, same.verdict) == (0, 0, 0, 1, "unresolved")
    assert (shifted.p, shifted.verdict, shifted.lo) == (0, "hurts", shifted.hi)
    assert same.flags == shifted.flags == ("zero variance",)


def test_missing_arms_stay_in_the_family() -> None:
    two = {"x": by_seed(ARMS["a2"]), "y": by_seed(ARMS["a3"])}
    alone = paired_effects(by_seed(BASELINE), two, "max", 0.05)[0]
    crowd = paired_effects(by_seed(BASELINE), {**two, "z": {}}, "max", 0.05)[0]
    assert alone.p_holm == pytest.approx(2 * alone.p)
    assert crowd.p_holm == pytest.approx(3 * alone.p)


def test_without_a_claim_there_is_neither_interval_nor_p() -> None:
    for effect in golden(no_claim="rung-only"):
        assert effect.verdict == "rung-only"
        assert effect.delta is not None
        assert (effect.lo, effect.hi, effect.p, effect.p_holm) == (None,) * 4


@given(
    st.dictionaries(st.integers(0, 5), st.floats(), max_size=6),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 5), st.floats(), max_size=6)),
    st.sampled_from(["max", "min"]),
)
def test_whatever_comes_in_there_is_one_effect_per_arm(reference, arms, mode) -> None:  # type: ignore[no-untyped-def]
    effects = paired_effects(reference, arms, mode, 0.05)
    assert [effect.arm for effect in effects] == list(arms)
    for effect in effects:
        assert (effect.lo is None) == (effect.hi is None) == (effect.p is None)
        assert effect.p is None or 0 <= effect.p <= effect.p_holm <= 1  # type: ignore[operator]
        assert effect.lo is None or effect.lo <= effect.delta <= effect.hi  # type: ignore[operator]


@given(st.floats(1e-12, 1e12), st.floats(-1e6, 1e6))
def test_p_does_not_depend_on_the_unit(scale: float, shift: float) -> None:
    assume(abs(shift) < 1e6 * scale)
    moved = {arm: by_seed([scale * y + shift for y in values]) for arm, values in ARMS.items()}
    effects = paired_effects(by_seed([scale * y + shift for y in BASELINE]), moved, "max", 0.05)
    for effect, plain in zip(effects, golden(), strict=True):
        assert effect.p == pytest.approx(plain.p, rel=1e-3)
        assert effect.delta == pytest.approx(scale * plain.delta, rel=1e-3)


def test_summaries() -> None:
    assert summarise("x", {}) == summarise("x", {0: math.nan})
    assert summarise("x", {0: 2.0}).sd is None
    sample = summarise("x", {0: 1.0, 1: 3.0, 2: math.inf})
    assert (sample.n, sample.mean, sample.sd) == (2, 2.0, pytest.approx(math.sqrt(2)))
