from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden import ROWS
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide import goals
from orchestrator.decide.resolve import Course, ResolveRule, resolve
from orchestrator.simulate.generator import scenario, study

GOLDEN = np.array(ROWS)
SAVE = ResolveRule((3, 4, 5), 5)
LEANING = goals.SAVE.terms(2).pooling
SAVE_2 = ResolveRule((2, 3, 4, 5), 5, gamma=3, base=4, pooling=LEANING)
SCREEN = replace(SAVE_2, goal="screen", screen=goals.SCREEN.terms(1).screen)
REINVEST = ResolveRule((3, 4, 5, 6, 8, 10, 12), 5, gamma=1, goal="reinvest")


def follow(rule: ResolveRule, values: np.ndarray) -> Course:
    return resolve(rule, values, np.ones(values.shape, dtype=bool))


def test_golden_course() -> None:
    course = follow(SAVE, GOLDEN)
    assert course.finished
    assert (course.wanted, course.ahead) == ((), ())
    assert len(course.needed) == 19
    arms = [course.final[row] for row in range(1, 5)]
    assert [look.action for look in arms] == ["futile", "different", "different", "different"]
    assert [look.number for look in arms] == [3, 3, 4, 4]
    intervals = [(-0.24944, 0.116107), (-1.116107, -0.75056), (0.10052, 0.39948), (-6.087577, -2.262423)]
    for look, interval in zip(arms, intervals, strict=True):
        assert (look.lo, look.hi) == pytest.approx(interval, abs=2e-6)
    assert [look.flagged for look in arms] == [False, False, False, True]


def test_golden_course_of_the_second_version() -> None:
    course = follow(SAVE_2, GOLDEN)
    assert len(course.needed) == 17
    arms = [course.final[row] for row in range(1, 5)]
    assert [look.action for look in arms] == ["futile", "different", "different", "different"]
    assert [look.number for look in arms] == [2, 3, 4, 4]
    intervals = [(-1.457519, 1.307519), (-1.187466, -0.7292), (0.0887, 0.4113), (-6.175867, -2.174133)]
    for look, interval in zip(arms, intervals, strict=True):
        assert (look.lo, look.hi) == pytest.approx(interval, abs=2e-6)


def test_golden_course_of_the_screen() -> None:
    course = follow(SCREEN, GOLDEN)
    assert len(course.needed) == 14
    arms = [course.final[row] for row in range(1, 5)]
    assert [look.action for look in arms] == ["screened out", "different", "futile", "different"]
    assert [look.number for look in arms] == [1, 3, 2, 4]
    intervals = [(-1.331404, -0.585262), (-18.367739, 18.717739), (-6.175867, -2.174133)]
    for look, interval in zip(arms[1:], intervals, strict=True):
        assert (look.lo, look.hi) == pytest.approx(interval, abs=2e-6)
    # five eighths of the pair, three eighths of what the baseline's other three seeds say
    assert arms[0].mean == pytest.approx(93.8 - (0.625 * 93.9 + 0.375 * 94.1))
    assert (arms[0].n, arms[0].lo, arms[0].p, arms[0].level, arms[0].se) == (1, None, None, None, None)
    assert arms[0].power is not None
    assert arms[0].power < 0.4


@pytest.mark.parametrize("margin", [None, 3.0])
def test_the_second_screen_decides_as_the_first_and_shows_open_arms_as_they_were_judged(
    margin: float | None,
) -> None:
    rules = [replace(SCREEN, margin=margin, screen=goals.SCREEN.terms(version).screen) for version in (1, 2)]
    made = [study(scenario("S1"), 5, 0, index).curves[:, :5, -1] for index in range(6)]
    seen = set()
    for values in (GOLDEN, *made):
        courses = [follow(rule, values) for rule in rules]
        for first, second in zip(*(course.looks for course in courses), strict=True):
            assert replace(second, lo=first.lo, hi=first.hi) == first
            if second.lo is None or second.hi is None:
                continue
            seen.add(second.action)
            if second.action in ("different", "equivalent"):
                assert (second.lo, second.hi) == (first.lo, first.hi)
                assert second.action == "equivalent" or second.lo > 0 or second.hi < 0
            else:
                assert second.lo <= 0 <= second.hi
                assert second.hi - second.lo > first.hi - first.lo
    assert seen >= {"different", "futile", "continue"}


def test_a_parked_arm_comes_back_when_no_other_is_active() -> None:
    values = np.random.default_rng(0).normal(size=(7, 5))
    values[:, 0] = [0.0, 1.4, 0.1, -0.1, 0.2, 0.1, -0.2]
    values[0, 1:4] = [1.2, -1.2, 0.3]
    values[1:, 1:] = values[0, 1:] + 0.05 * values[1:, 1:]
    values[1, 1:] += 1.4
    values[6] -= 20
    course = follow(SCREEN, values)
    taken = [(look.arm, look.round, look.number, look.action) for look in course.looks]
    assert taken[:6] == [(row, 1, 1, "parked") for row in range(1, 6)] + [(6, 1, 1, "continue")]
    back = next(index for index, look in enumerate(taken) if look[0] == 1 and look[2] == 2)
    assert back > max(index for index, look in enumerate(taken) if look[0] == 6)
    assert course.final[1].action == "different"
    assert {course.final[row].action for row in (2, 3, 4, 5)} == {"screened out"}


@pytest.mark.parametrize("lost", [(2, 0), (0, 0), (0, 3)])
def test_what_a_failure_hides_is_not_parked(lost: tuple[int, int]) -> None:
    values = np.tile([0.0, 1, 2, 3, 4], (5, 1)) + 0.01 * np.arange(5)[:, None]
    assert {look.action for look in follow(SCREEN, values).looks[:4]} == {"parked"}
    values[lost] = np.nan
    first = {look.arm: look.action for look in follow(SCREEN, values).looks[:4]}
    missed = {1, 2, 3, 4} if lost[0] == 0 else {lost[0]}
    assert {row for row, action in first.items() if action == "continue"} == missed


def test_a_baseline_without_spread_parks_nothing() -> None:
    values = np.full((5, 5), 0.1) + np.array([0, 0, 0.01, 0.02, 0.03])[:, None]
    assert {look.action for look in follow(SCREEN, values).looks[:4]} == {"continue"}


def test_a_verdict_passes_its_alpha_on() -> None:
    """At the first look arm 2 is compared with π(α/4), then the others with π(α/3)."""
    looks = {(look.arm, look.number): look for look in follow(SAVE, GOLDEN).looks}
    share = (3 / 5) ** 2
    assert looks[2, 3].level == pytest.approx(share * 0.05 / 4)
    assert looks[1, 3].level == looks[3, 3].level == pytest.approx(share * 0.05 / 3)


def test_equivalence_within_the_margin_ends_an_arm() -> None:
    course = follow(ResolveRule((3, 4, 5), 5, margin=0.5), GOLDEN)
    assert course.final[1].action == "equivalent"
    assert course.final[1].p_equivalent < 0.01  # type: ignore[operator]


def test_futility_can_be_switched_off() -> None:
    course = follow(ResolveRule((3, 4, 5), 5, futility=0), GOLDEN)
    assert (course.final[1].action, course.final[1].number) == ("last look", 5)
    assert course.final[1].seeds_needed is not None


def test_two_seeds_have_one_look() -> None:
    course = follow(ResolveRule((2,), 2), GOLDEN[:, :2])
    assert {look.number for look in course.looks} == {2}
    assert course.finished


def test_a_study_without_arms_runs_its_reference() -> None:
    ended = np.zeros((1, 5), dtype=bool)
    course = resolve(SAVE, GOLDEN[:1], ended)
    assert course.wanted == tuple((0, seed) for seed in range(5))
    assert follow(SAVE, GOLDEN[:1]).finished


def test_the_reference_starts_then_pairs_complete_seed_by_seed() -> None:
    course = resolve(SAVE, np.full((3, 5), np.nan), np.zeros((3, 5), dtype=bool))
    first = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
    assert list(course.wanted) == [*first, (0, 3), (0, 4)]
    assert list(course.ahead) == [(1, 3), (2, 3), (1, 4), (2, 4)]


def test_the_second_version_needs_four_seeds_of_the_reference_for_every_look() -> None:
    course = resolve(SAVE_2, np.full((3, 5), np.nan), np.zeros((3, 5), dtype=bool))
    first = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (2, 1), (0, 2), (0, 3)]
    assert list(course.wanted) == first
    assert course.awaited == len(first)
    assert list(course.ahead) == [(1, 2), (2, 2), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4)]


def test_the_screen_needs_one_seed_of_every_arm() -> None:
    course = resolve(SCREEN, np.full((3, 5), np.nan), np.zeros((3, 5), dtype=bool))
    assert list(course.wanted) == [(0, 0), (0, 1), (1, 0), (2, 0), (0, 2), (0, 3)]
    assert course.awaited == len(course.wanted)
    assert list(course.ahead)[:4] == [(1, 1), (2, 1), (1, 2), (2, 2)]


def test_failed_seeds_take_their_place() -> None:
    values = GOLDEN.copy()
    values[2, 1:3] = np.nan  # one pair at the first look: no test; two at the second
    values[3] = np.nan
    course = follow(SAVE, values)
    looks = {(look.arm, look.number): look for look in course.looks}
    assert (looks[2, 3].n, looks[2, 3].p, looks[2, 3].action) == (1, None, "continue")
    assert (looks[2, 4].n, looks[2, 4].mean) == (2, pytest.approx(-0.95))
    assert (looks[3, 3].action, course.final[3].number) == ("futile", 3)
    assert (course.final[3].n, course.final[3].mean, course.final[3].seeds_needed) == (0, None, None)


def test_a_failed_reference_seed_takes_every_pair() -> None:
    values = GOLDEN.copy()
    values[0, 0] = np.nan
    assert {look.n for look in follow(SAVE, values).looks if look.number == 3} == {2}


def test_a_look_ignores_seeds_beyond_it() -> None:
    changed = GOLDEN.copy()
    changed[:, 4] = -1e6
    changed[1:3, 3] = 1e6
    assert follow(SAVE, changed).looks == follow(SAVE, GOLDEN).looks


def test_no_run_of_the_reference_is_left_out() -> None:
    changed = GOLDEN.copy()
    changed[0, 3] -= 1
    looks = [follow(SAVE_2, values).looks[0] for values in (GOLDEN, changed)]
    assert [look.number for look in looks] == [2, 2]
    # arm 1, two of four seeds: a quarter of a difference that half of the further seeds see
    assert looks[1].mean == pytest.approx(looks[0].mean + 0.125)  # type: ignore[operator]


def test_a_seed_under_which_an_arm_failed_is_none_of_the_further_ones() -> None:
    failed = GOLDEN.copy()
    failed[1, 1] = np.nan
    rule = replace(SAVE_2, looks=(4, 5))
    look = next(look for look in follow(rule, failed).looks if look.arm == 1)
    assert (look.number, look.n) == (4, 3)
    assert look.mean == pytest.approx(np.mean((GOLDEN[1] - GOLDEN[0])[[0, 2, 3]]))


def test_a_look_waits_for_the_reference() -> None:
    ended = np.ones(GOLDEN.shape, dtype=bool)
    ended[0, 2] = False
    course = resolve(SAVE, GOLDEN, ended)
    assert (course.looks, course.wanted, course.final) == ((), ((0, 2),), {})


def test_equal_results_are_no_reason_to_go_on_and_equal_differences_no_proof() -> None:
    course = follow(SAVE, np.array([GOLDEN[0], GOLDEN[0], GOLDEN[0] - 0.1]))
    assert [course.final[row].action for row in (1, 2)] == ["futile", "last look"]
    assert [course.final[row].number for row in (1, 2)] == [3, 5]
    assert all(look.p is None for look in course.looks)


def test_the_strict_mode_uses_the_union_bound() -> None:
    rule = ResolveRule((3, 4, 5), 5, variance="per_arm")
    assert sum(rule.levels(0.05)) == pytest.approx(0.05)
    assert all(look.df == look.n - 1 for look in follow(rule, GOLDEN).looks)


def test_reinvesting_moves_seeds_to_the_open_arms() -> None:
    random = np.random.default_rng(5)
    effects = np.array([0.0, 8, 8, 8, 8, 8, 8, 1.2, 1.2])
    course = follow(REINVEST, random.normal(size=(9, 12)) + effects[:, None])
    runs = [sum(row == arm for row, _ in course.needed) for arm in range(9)]
    assert sum(runs) <= 45
    assert runs[1:7] == [3] * 6
    assert max(runs[7:]) > 5
    assert runs[0] == max(5, *runs[1:])
    rounds = [look.round for look in course.looks if look.action != "budget spent"]
    assert max(rounds.count(number) for number in set(rounds) - {1}) == 2


def test_the_budget_ends_a_study() -> None:
    random = np.random.default_rng(5)
    rule = ResolveRule(REINVEST.looks, 5, gamma=1, goal="reinvest", futility=0)
    course = follow(rule, random.normal(size=(9, 12)))
    assert {look.action for look in course.final.values()} >= {"budget spent"}
    assert 43 <= len(course.needed) <= 45


@pytest.mark.parametrize("row", [0, 2])
def test_what_always_fails_gets_no_more_seeds(row: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, 5))
    values[row] = np.nan
    rule = SAVE
    course = follow(rule, values)
    silent = [2] if row else [1, 2, 3, 4]
    assert all((course.final[arm].action, course.final[arm].number) == ("futile", 3) for arm in silent)
    patient = follow(replace(rule, futility=0.0), values)
    assert all((patient.final[arm].action, patient.final[arm].number) == ("last look", 5) for arm in silent)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds of the last look"):
        resolve(SAVE, GOLDEN[:, :4], np.ones((5, 4), dtype=bool))


def test_an_arm_that_is_noisy_along_its_curve_stands_alone() -> None:
    random = np.random.default_rng(3)
    curves = random.normal(size=(9, 5, 4))
    curves[1, :, :3] *= 60  # not at its end, where nothing shows
    ends = curves[:, :, -1]
    with_curves = resolve(SAVE_2, ends, np.ones(ends.shape, dtype=bool), curves)
    assert [look.flagged for look in follow(SAVE_2, ends).looks if look.arm == 1][:1] == [False]
    assert [look.flagged for look in with_curves.looks if look.arm == 1][:1] == [True]


@pytest.mark.parametrize("lost", ["a rung", "an arm's", "the end alone"])
def test_curves_may_lack_values(lost: str) -> None:
    curves = np.random.default_rng(4).normal(size=(9, 5, 4))
    full = resolve(SAVE_2, curves[:, :, -1], np.ones((9, 5), dtype=bool), curves)
    holes = curves.copy()
    holes[{"a rung": np.s_[:, :, 1], "an arm's": np.s_[2, 1, 0], "the end alone": np.s_[:, :, :3]}[lost]] = (
        np.nan
    )
    found = resolve(SAVE_2, curves[:, :, -1], np.ones((9, 5), dtype=bool), holes)
    assert set(found.final) == set(full.final)
    if lost == "the end alone":
        assert found == follow(SAVE_2, curves[:, :, -1])


@pytest.mark.parametrize("rule", [SAVE_2, SCREEN], ids=lambda rule: rule.goal)
@pytest.mark.parametrize("name", ["S1", "S2"])
def test_studies_as_the_reference_implementation_judges_them(name: str, rule: ResolveRule) -> None:
    frozen = json.loads((Path(__file__).parent / f"{rule.goal}_studies.json").read_text())
    for number, wanted in enumerate(frozen[name]):
        curves = study(scenario(name), 5, 0, number).curves[:, :5]
        course = resolve(rule, curves[:, :, -1], np.ones(curves.shape[:2], dtype=bool), curves)
        assert len(course.needed) == wanted["runs"]
        for row, (seeds, sign, lo, hi) in enumerate(wanted["arms"], start=1):
            end = course.final[row]
            assert (end.number, sign != 0) == (seeds, end.action == "different")
            assert np.sign(end.mean or 0) == sign or not sign
            assert (end.lo, end.hi) == pytest.approx((lo, hi), abs=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "name", "runs", "claims", "seeds"),
    [
        (SAVE_2, "S1", 7988, [2, 1, 3, 175, 35, 160, 287, 300], [661, 654, 667, 1098, 811, 1066, 1009, 655]),
        (SAVE_2, "S2", 6469, [2, 1, 2, 2, 0, 1, 2, 1], [654, 650, 655, 649, 662, 660, 650, 667]),
        (SCREEN, "S1", 6898, [1, 1, 3, 156, 27, 144, 290, 300], [418, 441, 427, 972, 608, 923, 1046, 711]),
        (SCREEN, "S2", 4440, [1, 0, 1, 3, 1, 0, 1, 1], [389, 405, 388, 414, 403, 401, 407, 418]),
    ],
)
def test_three_hundred_golden_studies(
    rule: ResolveRule, name: str, runs: int, claims: list[int], seeds: list[int]
) -> None:
    found, spent, total = np.zeros(8, int), np.zeros(8, int), 0
    for number in range(300):
        curves = study(scenario(name), 5, 0, number).curves[:, :5]
        course = resolve(rule, curves[:, :, -1], np.ones(curves.shape[:2], dtype=bool), curves)
        ends = [course.final[row] for row in range(1, 9)]
        found += [end.action == "different" for end in ends]
        spent += [end.number for end in ends]
        total += len(course.needed)
    assert (total, found.tolist(), spent.tolist()) == (runs, claims, seeds)


@st.composite
def studies(draw: st.DrawFn) -> tuple[ResolveRule, np.ndarray]:
    arms = draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    margin = draw(st.sampled_from([None, 1.5]))
    futility = draw(st.sampled_from([0.1, 0.0]))
    kind = draw(st.sampled_from(["first", "second", "screen", "reinvest"]))
    if kind == "first":
        rule = ResolveRule((2, 3, 5), 5, margin=margin, futility=futility)
    elif kind == "second":
        rule = replace(SAVE_2, margin=margin, futility=futility, few_arms=arms < 4)
    elif kind == "screen":
        rule = replace(SCREEN, margin=margin, futility=futility)
    else:
        looks = (2, 3, 5, 7)
        rule = ResolveRule(looks, 4, gamma=1, margin=margin, futility=futility, goal="reinvest")
    values = random.normal(size=(arms + 1, rule.looks[-1]))
    values += draw(st.sampled_from([0, 1, 4])) * random.normal(size=(arms + 1, 1))
    values[random.random(values.shape) < draw(st.sampled_from([0, 0.15, 0.6]))] = np.nan
    curves = np.concatenate([random.normal(size=(*values.shape, 3)), values[:, :, None]], axis=2)
    curves[random.random(curves.shape) < draw(st.sampled_from([0, 0.01]))] = np.nan
    return rule, values, curves


@pytest.mark.slow
@given(studies(), st.randoms(use_true_random=False))
def test_the_course_does_not_depend_on_who_is_faster(study, random) -> None:  # type: ignore[no-untyped-def]
    rule, values, curves = study

    def so_far(ended: np.ndarray) -> Course:
        there = np.where(ended[:, :, None], curves, np.nan)
        return resolve(rule, np.where(ended, values, np.nan), ended, there)

    ended = np.ones(values.shape, dtype=bool)
    whole = so_far(ended)
    ended[:] = False
    course = so_far(ended)
    while not course.finished:
        assert course.wanted
        for cell in (*course.wanted, *course.ahead):
            assert not ended[cell]
            assert cell[0] not in course.final
        assert len(set(course.wanted) | set(course.ahead)) == len(course.wanted) + len(course.ahead)
        assert set(course.wanted) <= course.needed
        startable = [*course.wanted, *course.ahead]
        for cell in random.sample(startable, random.randint(1, min(4, len(startable)))):
            ended[cell] = True
        after = so_far(ended)
        assert after.looks[: len(course.looks)] == course.looks
        assert course.final.items() <= after.final.items()
        assert course.needed <= after.needed
        course = after
    assert (course.looks, course.final, course.needed) == (whole.looks, whole.final, whole.needed)
    assert (course.wanted, course.ahead) == ((), ())
    assert set(course.final) == set(range(1, len(values)))
    assert all((0, seed) in course.needed for seed in range(rule.reference))
    if rule.goal == "reinvest":
        assert len(course.needed) <= rule.seeds * len(values)
