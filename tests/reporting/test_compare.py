"""Two studies side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.reporting import words
from orchestrator.reporting.compare import compare
from orchestrator.reporting.model import Difference

BASE = {0: 0.90, 1: 0.92, 2: 0.91, 3: 0.915}
WORSE = {0: 0.85, 1: 0.88, 2: 0.86, 3: 0.87}


@pytest.fixture
def pair(study):
    first = study({"baseline": BASE, "no-a": WORSE, "no-b": BASE}, seeds=4).report

    def build(second):
        other = study(second, seeds=4).report
        return first, replace(other, location="elsewhere", provenance=replace(other.provenance, commit="f00"))

    return build


def test_arms_meet_by_name(pair) -> None:
    found = compare(*pair({"baseline": BASE, "no-a": BASE, "no-c": BASE}))
    assert [row.arm for row in found.differences] == ["no-a", "no-b", "no-c"]
    a, b, c = found.differences
    assert a.verdicts_differ
    assert a.disagree
    assert b.second is None
    assert c.first is None
    assert a.gap.delta == pytest.approx(0.185 / 4)
    rows = words.comparison_rows(found)
    assert [row[-1] for row in rows] == ["DISAGREE", "only in one", "only in one"]
    assert "commit: None against f00" in words.comparison_lines(found)


def test_other_metrics_are_not_subtracted(study, pair) -> None:
    first, second = pair({"baseline": BASE, "no-a": BASE})
    found = compare(first, replace(second, metric="loss"))
    assert found.differences[0].gap is None
    assert any("The metrics differ" in note for note in found.notes)


def test_what_is_incomplete_is_said(pair) -> None:
    found = compare(*pair({"baseline": BASE, "no-a": {0: 0.9}}))
    assert any(line.startswith("second: incomplete") for line in words.comparison_lines(found))


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (("hurts", -2), ("helps", 2), True),
        (("hurts", -2), ("practically equivalent", -0.1), True),
        (("hurts", -2), ("different, size unclear", -1), False),
        (("different, size unclear", 0.9), ("hurts", -2), True),
        (("different, size unclear", 0.9), ("practically equivalent", 0.8), False),
        (("interacts", 2), ("interacts", -2), True),
        (("hurts", -2), ("unresolved", 2), False),
    ],
)
def test_what_claims_contradict_each_other(pair, one, other, contradict: bool) -> None:
    first, _ = pair({"baseline": BASE})
    effect = first.first.effects[0]
    left, right = (replace(effect, verdict=verdict, delta=delta) for verdict, delta in (one, other))
    assert Difference("no-a", left, right, None).contradict is contradict
    assert Difference("no-a", left, right, None).disagree is contradict
