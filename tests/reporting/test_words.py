from __future__ import annotations

import math
from dataclasses import replace

import pytest

from orchestrator.reporting import numbers
from orchestrator.reporting.said import SaidEffect, Style
from orchestrator.stats.results import EQUIVALENT, INTERACTS, SIZE_UNCLEAR, UNRESOLVED

BASE = {0: 0.934, 1: 0.931, 2: 0.937}
WORSE = {0: 0.914, 1: 0.915, 2: 0.919}


def said(report) -> str:
    return sentence(report, report.first.effects[0])


def sentence(report, effect) -> str:
    return SaidEffect(report, report.first, effect).sentence(Style(emphasise=lambda name: f"*{name}*"))


def test_the_sentence_of_a_claim(study) -> None:
    report = study({"baseline": BASE, "no-batchnorm": WORSE}).report
    assert said(report) == (
        "Removing *batchnorm* lowers val/accuracy by 1.80 pp "
        "(95 % CI 1.30–2.30 for new seeds; n = 3 of 3 seeds; Holm p = .004)."
    )


def test_a_percentage_is_not_multiplied(study) -> None:
    def percent(values):
        return {seed: 100 * value for seed, value in values.items()}

    report = study({"baseline": percent(BASE), "no-batchnorm": percent(WORSE)}).report
    assert "by 1.80 pp" in said(report)


@pytest.mark.parametrize("metric", ["val/loss", "dice", "accountability"])
def test_other_metrics_keep_their_units(study, metric: str) -> None:
    report = study({"baseline": BASE, "no-bn": WORSE}, metric={"name": metric, "mode": "max"}).report
    assert f"lowers {metric} by 0.0180 (95 %" in said(report)


def test_one_value_that_is_no_share_changes_no_unit_and_is_named(study) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.8, 1: 0.81, 2: 93.0}}).report
    assert report.scale.unit == "pp"
    [note] = [note for note in report.notes if "percentage points" in note]
    assert "no-bn seed 2 (93) cannot be one" in note


def test_mode_min_turns_the_verdict_only(study) -> None:
    report = study({"baseline": BASE, "no-bn": WORSE}, metric={"name": "loss", "mode": "min"}).report
    assert report.first.effects[0].verdict == "helps"
    assert "lowers loss" in said(report)


def test_an_unresolved_effect_is_never_called_none(study) -> None:
    report = study({"baseline": BASE, "no-bn": {0: 0.93, 1: 0.935, 2: 0.936}}).report
    assert said(report).startswith(
        "Removing *bn*: unresolved; val/accuracy differs by 0.0 pp (95 % CI −1.0 to +1.0"
    )
    assert "no effect" not in said(report)


def test_an_interval_beside_zero_is_explained(study) -> None:
    outcomes = {"baseline": BASE, "no-bn": {0: 0.92, 1: 0.922, 2: 0.925}}
    others = {f"no-c{i}": {} for i in range(9)}
    report = study(outcomes | others).report
    assert report.first.effects[0].hi < 0
    assert said(report).endswith("alone excludes 0; among 10 arms that is not enough.")


def test_one_seed_has_no_interval_and_says_so(study) -> None:
    report = study({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, seeds=1).report
    assert said(report) == (
        "Removing *bn*: unresolved; val/accuracy differs by −10 pp, without an interval (n = 1 of 1 seed)."
    )
    assert report.notes[0].startswith("One seed")


def test_swaps_and_additions_are_named(study) -> None:
    swap = {"optimizer": {"swap": {"sgd": {"opt": "sgd"}}}}
    report = study({"baseline": BASE, "optimizer=sgd": WORSE}, components=swap).report
    assert said(report).startswith("Exchanging *optimizer* for *sgd* lowers")
    only = {"bn": {"without": {"opt": "none"}}}
    report = study({"stripped": BASE, "only-bn": WORSE}, components=only, design="add-one-in").report
    assert said(report).startswith("Adding *bn* lowers")


def test_rung_only_and_failures_are_named(study, ended) -> None:
    rule = {"rule": "asha", "max": 9, "grace": 1}
    stopped = dict.fromkeys(range(3), ended(0.5, "stopped", length=1))
    report = study({"baseline": BASE, "no-bn": stopped}, stopping=rule).report
    assert said(report) == (
        "Removing *bn*: rung-only, no claim at full length; no pair of runs reached full length (3 stopped)."
    )
    report = study({"baseline": BASE, "no-bn": {**stopped, 0: 0.9}}, stopping=rule).report
    assert "among the seeds that reached it val/accuracy differs by −3.4 pp (n = 1 of 3 seeds)" in said(
        report
    )
    broken = dict.fromkeys(range(3), ended(state="failed", cause="user"))
    assert said(study({"baseline": BASE, "no-bn": broken}).report) == (
        "Removing *bn* fails (3 of 3 seeds: 3 failed)."
    )


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((1e-9, 2e-9), "1.0e−9"),
        ((3e8, 5e8), "2.0e8"),
        ((-5.0, -7.0), "−2.00"),
        ((0.0, 0.0), "0.0"),
    ],
)
def test_sizes_far_from_one(study, values, written) -> None:
    low, high = values
    report = study(
        {"baseline": {0: low, 1: low}, "no-bn": {0: high, 1: high * (1 + 1e-3)}},
        seeds=2,
        metric={"name": "x", "mode": "max"},
    ).report
    effect = report.first.effects[0]
    assert written.rstrip("0") in report.scale.number(effect.delta)


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0, "< .001"), (0.0021, ".002"), (0.05, ".050"), (0.9999, "1"), (1.0, "1")]
)
def test_p_values(p: float | None, text: str) -> None:
    assert numbers.p_value(p) == text


def test_a_rounded_zero_has_no_sign() -> None:
    scale = numbers.Scale(1.0, "", 1, scientific=False)
    assert scale.number(-0.01, sign=True) == scale.number(0.0, sign=True) == "0.0"
    assert scale.number(math.inf) == "inf"


def test_reasons_cannot_steer_the_terminal() -> None:
    assert numbers.one_line("\n\x1b[31mred\x1b[0m \x07bell\nsecond") == "red bell"
    assert numbers.one_line(None) == ""
    assert len(numbers.one_line("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (5.2e-05, "< 0.1 s"), (3.14159, "3.14 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


def verdicts(report, **changes):
    """What is said of the first effect with these changes; the rule is that of a sequential study."""
    (first, *rest) = report.first.effects
    changed = replace(first, **changes)
    report = replace(
        report,
        rule="resolve",
        margin=0.02,
        evaluations=(replace(report.first, effects=(changed, *rest)),),
    )
    return sentence(report, changed)


SEQUENTIAL = "(95 % sequential CI 1.30–2.30 for new seeds; n = 3 of 3 seeds; Holm p = .004)."
CLAIM = f"lowers val/accuracy by 1.80 pp {SEQUENTIAL}"
SAME = {"verdict": EQUIVALENT, "delta": -0.001, "lo": -0.006, "hi": 0.004, "p_equivalent": 0.003}
TOGETHER = {"verdict": INTERACTS, "kind": "interaction", "components": ("bn", "aug")}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"early": True},
            f"Removing *bn* {CLAIM} Stopped early because resolved; early-stopped effects lean large.",
        ),
        (
            {"verdict": SIZE_UNCLEAR, "flags": ("moderated only",)},
            f"Removing *bn* {CLAIM} Different, but whether by more than 2.00 pp is unclear. "
            "Only the moderated test rejects, the plain paired t does not.",
        ),
        (
            {**SAME, "early": True},
            "Removing *bn*: practically equivalent (±2.00 pp); val/accuracy differs by −0.10 pp (95 % "
            "sequential CI −0.60 to +0.40 for new seeds; n = 3 of 3 seeds; TOST p = .003). "
            "Stopped early because resolved.",
        ),
        (
            {"verdict": UNRESOLVED, "p_holm": 0.2, "hi": 0.001, "early": True, "seeds_needed": 14},
            "Removing *bn*: unresolved; val/accuracy differs by −1.8 pp (95 % sequential CI −2.3 to +0.1 "
            "for new seeds; n = 3 of 3 seeds; Holm p = .200). Given up early: the seeds that were left would "
            "hardly have resolved it. About 14 seeds would be needed.",
        ),
        (
            {**TOGETHER, "arm": "no-bn+no-aug"},
            "Removing *bn* and *aug* together lowers val/accuracy by 1.80 pp beyond the sum of both "
            f"{SEQUENTIAL.replace('sequential ', '')}",
        ),
        (
            {**TOGETHER, "arm": "bn=ln+no-aug"},
            "Changing *bn* and *aug* together lowers val/accuracy by 1.80 pp beyond the sum of both "
            f"{SEQUENTIAL.replace('sequential ', '')}",
        ),
    ],
)
def test_the_sentences_of_a_sequential_study(study, changes, said: str) -> None:
    assert verdicts(study({"baseline": BASE, "no-bn": WORSE}).report, **changes) == said
