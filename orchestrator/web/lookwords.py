"""The looks of a sequential rule, as the page says them: taken, to come, and the level that is asked for."""

from __future__ import annotations

from typing import Any

from orchestrator.decide.resolve import ResolveRule
from orchestrator.decide.stopping import rule_of
from orchestrator.reporting.model import ReportedLook, StudyReport
from orchestrator.reporting.numbers import DASH
from orchestrator.study.spec import StudySpec

MOST_ARMS = 40
"""Whose looks a page lists: those with the largest Δ."""
GOES_ON, PARKED, DIFFERENT = "goes on", "parked", "different"
"""Of what `agenda.in_words` says, what ends no arm; and what passes its level on to the others."""


def looks_of(spec: StudySpec, report: StudyReport) -> list[dict[str, Any]]:
    """Return a row per arm of the evaluation that is read first; none where the rule looks once, at the end.

    `level`: what p has to be at or below at the next look, as long as no other arm is resolved first: then it
    is higher.
    """
    evaluation = report.evaluations[0]
    taken: dict[str, list[ReportedLook]] = {}
    for look in evaluation.decisions:
        taken.setdefault(look.arm, []).append(look)
    rows: list[dict[str, Any]] = []
    for family in evaluation.families:
        rule = rule_of(spec).on_seeds(spec, len(family)) if family else None
        if rule is None:
            continue
        claimed = sum(look.action == DIFFERENT for arm in family for look in taken.get(arm, [])[-1:])
        left = max(1, len(family) - claimed)
        rows += [_row(arm, taken.get(arm, []), rule, left) for arm in family]
    place = {effect.arm: number for number, effect in enumerate(report.ordered(evaluation.effects))}
    return sorted(rows, key=lambda row: place.get(row["arm"], len(place)))[:MOST_ARMS]


def _row(arm: str, looks: list[ReportedLook], rule: ResolveRule, left: int) -> dict[str, Any]:
    """`left`: arms of the family that are not found different yet."""
    steps = rule.steps
    last = looks[-1] if looks else None
    row: dict[str, Any] = {
        "arm": arm,
        "said": "no look yet",
        "p": DASH,
        "asked": DASH,
        "action": "",
        "next": DASH,
    }
    if last is not None:
        number = steps.index(last.number) + 1 if last.number in steps else len(steps)
        row["said"] = f"{number} of {len(steps)}, at {last.number} seed{'' if last.number == 1 else 's'}"
        row["p"], row["asked"], row["action"] = _p(last.p), _p(last.level), last.action
        if last.action not in (GOES_ON, PARKED):
            return row
    then = rule.next_look(last.number if last is not None else 0)
    if then is not None and (last is None or last.action == GOES_ON):
        level = rule.levels(rule.alpha / left)[rule.looks.index(then)] if then in rule.looks else None
        asked = "" if level is None else f", p ≤ {_p(level)}"
        row["next"] = f"at {then} seed{'' if then == 1 else 's'}{asked}"
    return row


def _p(value: float | None) -> str:
    return DASH if value is None else f"{value:.2g}"
