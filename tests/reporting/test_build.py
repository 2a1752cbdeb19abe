from __future__ import annotations

import math
import shutil
from typing import Any

import pytest

from orchestrator.decide.agenda import agenda, in_words
from orchestrator.decide.states import TrialState
from orchestrator.reporting.build import build_report
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.page import to_html
from orchestrator.reporting.words import caption, cost_line

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
RESOLVE = {"rule": "resolve", "version": 1, "max": 9}


def test_effects_come_from_finished_runs_only(study, ended) -> None:
    report = study(
        {
            "baseline": BASE,
            "no-bn": {
                0: 0.80,
                1: ended(0.1, "stopped", reason="rank 9 of 9", length=3),
                2: ended(0.2, "failed", "user", "ValueError: no", length=1),
            },
            "no-aug": {0: 0.85, 1: 0.86, 2: ended(math.nan, "diverged", reason="not finite", length=2)},
        }
    ).report
    bn, aug = report.first.effects
    assert (bn.n, bn.seeds, bn.delta) == (1, (0,), pytest.approx(-0.1))
    assert (aug.n, aug.delta) == (2, pytest.approx(-0.055))
    assert bn.flags == ("no interval", "1 failed", "1 stopped", "conditional")
    left_out = {(arm.arm, run.seed, run.state) for arm, run in report.left_out}
    assert left_out == {
        ("no-bn", 1, TrialState.STOPPED),
        ("no-bn", 2, TrialState.FAILED),
        ("no-aug", 2, TrialState.DIVERGED),
    }
    assert report.complete
    assert report.ledger.spent == 6 * 9 + 3 + 1 + 2 - 9 + 9
    assert report.ledger.saved == pytest.approx((6 + 7) / 81)


def test_a_done_run_without_a_finite_value_is_listed(study, ended) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.8, 1: ended(math.nan), 2: ended(None)}}).report
    assert report.first.effects[0].n == 1
    assert [run.seed for _, run in report.left_out] == [1, 2]


def test_what_is_left_to_run_makes_it_incomplete(study, ended) -> None:
    report = study(
        {
            "baseline": BASE,
            "no-bn": {0: ended(state="running"), 1: ended(state="failed", cause="infra"), 2: 0.8},
            "no-aug": {0: ended(state="cancelled"), 1: ended(state="failed", cause="user")},
        }
    ).report
    assert (report.ended, report.total, report.complete) == (5, 9, False)


def test_a_lost_reference_run_takes_its_pair_from_every_arm(study, ended) -> None:
    report = study(
        {"baseline": {**BASE, 1: ended(state="failed", cause="oom")}, "no-bn": BASE, "no-aug": BASE}
    ).report
    assert [effect.seeds for effect in report.first.effects] == [(0, 2), (0, 2)]
    assert any("no value for seed 1" in note for note in report.notes)


def test_a_reference_run_beyond_its_last_look_is_not_lost(study, ended) -> None:
    """The reference gets all its seeds, an arm may need fewer: that takes no pair from anybody."""
    arms = {"no-bn": {0: 0.50, 1: 0.53, 2: 0.51}, "no-aug": {0: 0.60, 1: 0.61, 2: 0.61}}
    skipped = {seed: ended(state="skipped") for seed in (3, 4)}
    values = {"baseline": {**BASE, 3: 0.9, 4: 0.91}, **{arm: row | skipped for arm, row in arms.items()}}
    report = study(values, seeds=5, stopping=RESOLVE).report
    assert [effect.verdict for effect in report.first.effects] == ["hurts", "hurts"]
    assert [run.seed for _, run in report.left_out] == [3, 4]
    assert not any("no value" in note for note in report.notes)


def test_an_arm_that_always_fails_says_so(study, ended) -> None:
    broken = dict.fromkeys(range(3), ended(state="failed", cause="user", reason="boom"))
    report = study({"baseline": BASE, "no-bn": broken, "no-aug": {}}).report
    assert [effect.verdict for effect in report.first.effects] == ["fails", "no data"]


def test_asha_makes_no_claim(study, ended) -> None:
    report = study(
        {
            "baseline": BASE,
            "no-bn": dict.fromkeys(range(3), ended(0.5, "stopped", length=1)),
            "no-aug": {0: 0.5, 1: 0.5, 2: 0.49},
        },
        stopping={"rule": "asha", "max": 9, "grace": 1},
    ).report
    assert report.tier == "rung-only"
    assert {effect.verdict for effect in report.first.effects} == {"rung-only"}
    assert all(
        effect.lo is None and effect.p is None and effect.p_holm is None for effect in report.first.effects
    )
    assert report.ledger.saved == pytest.approx(3 * 8 / 81)


def test_a_deterministic_study_has_no_intervals(study) -> None:
    outcomes = {"baseline": dict.fromkeys(range(3), 0.9), "no-bn": dict.fromkeys(range(3), 0.8)}
    report = study(outcomes).report
    assert report.first.effects[0].verdict == "unresolved"
    assert any(note.startswith("Where all differences are equal") for note in report.notes)
    (effect,) = study(outcomes, deterministic=True).report.first.effects
    assert (effect.verdict, effect.lo, effect.p) == ("deterministic", None, None)


def test_deterministic_kernels_alone_change_nothing(study) -> None:
    outcomes = {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}}
    assert study(outcomes, deterministic=True).report.first.effects == study(outcomes).report.first.effects


def test_add_one_in_is_compared_with_the_stripped_recipe(study) -> None:
    report = study({"stripped": BASE, "only-bn": BASE}, design="add-one-in",
                   components={"bn": {"without": {"opt": "none"}}}).report  # fmt: skip
    assert report.reference.arm == "stripped"
    assert report.first.effects[0].reference == "stripped"


def test_nothing_has_run(study) -> None:
    report = study({"no-bn": {}}).report
    assert (report.ended, report.first.samples[report.reference.arm].n, report.first.effects[0].verdict) == (
        0,
        0,
        "no data",
    )


def test_the_margin_is_tested(study) -> None:
    close = {seed: value + seed / 1e4 for seed, value in BASE.items()}
    report = study({"baseline": BASE, "no-bn": close}, report={"margin": 0.01}).report
    assert report.first.effects[0].verdict == "practically equivalent"


def test_arms_that_were_added_later_are_a_family_of_their_own(study: Any) -> None:
    values = {"baseline": [0.9, 0.91, 0.92], "no-a": [0.8, 0.82, 0.81], "no-b": [0.89, 0.9, 0.92]}
    outcomes = {arm: dict(enumerate(column)) for arm, column in values.items()}
    together = study(outcomes).report
    extended = study(outcomes, plans=[["baseline", "no-a"], ["baseline", "no-a", "no-b"]]).report

    assert together.first.families == (("no-a", "no-b"),)
    assert extended.first.families == (("no-a",), ("no-b",))
    first = {effect.arm: effect for effect in extended.first.effects}["no-a"]
    assert first.p_holm == first.p
    both = {effect.arm: effect for effect in together.first.effects}["no-a"]
    assert both.p_holm == pytest.approx(2 * both.p)
    assert "Holm p over 1 arm (and 1 arm added later)" in caption(extended, extended.first)


def test_an_arm_that_changes_nothing_is_named(study, ended) -> None:
    (told,) = study({"baseline": BASE, "no-bn": BASE, "no-aug": {**BASE, 2: 0.5}}).report.remarks
    assert told.startswith("Equal to baseline to the last bit under every seed: no-bn.")
    assert study({"baseline": {0: 0.9}, "no-bn": {0: 0.9}}).report.remarks == ()


def test_what_failed_is_neither_futile_nor_saved(study, ended) -> None:
    failed = {seed: ended(None, "failed", "user", "ValueError: no", length=0) for seed in range(3)}
    skipped = {seed: ended(None, "skipped", reason="all failed after 3 seeds", length=0) for seed in (3, 4)}
    made = study({"baseline": failed | skipped, "no-bn": failed | skipped}, seeds=5, stopping=RESOLVE)
    assert made.report.ledger.saved == 0
    assert "saved" not in cost_line(made.report)
    todo = agenda(made.spec, made.history.plan, made.history.cells, made.history.families)
    words = {in_words(look) for judged in todo.judged for look in judged.course.final.values()}
    assert words == {"all failed"}
    assert not any("futile" in reason for reason in todo.skip.values())


def test_a_deleted_directory_is_said_in_every_form_and_linked_in_none(study) -> None:
    made = study({"baseline": dict.fromkeys(range(3), 0.9), "no-bn": {0: 0.8, 1: 0.7, 2: 0.8}})
    shutil.rmtree(made.storage.local_path(made.paths.trial("no-bn", 1).root))
    report = build_report(made.storage, made.paths, made.spec, made.history.plan, made.history)
    assert report.first.effects == made.report.first.effects  # what it has ended with still counts
    page, text = to_html(report, charts=[]), to_markdown(report)
    for form in (page, text):
        assert "The directories of no-bn seed 1 are gone" in form
        assert "trials/no-bn/seed-0/" in form
        assert "trials/no-bn/seed-1" not in form
