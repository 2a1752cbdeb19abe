"""One line that says what a study has found, the same in every form of its report."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.words import HERE_ONLY, here_only
from orchestrator.stats.results import (
    DETERMINISTIC,
    EQUIVALENT,
    FAILS,
    HELPS,
    HURTS,
    INTERACTS,
    RUNG_ONLY,
    SCREENED,
    SIZE_UNCLEAR,
    UNRESOLVED,
    Effect,
)
from orchestrator.study.registered import DESIGNS

_NAMED = 4
_DIFFERENT = (HURTS, HELPS, SIZE_UNCLEAR)


def headline(report: StudyReport) -> str:
    """`1 of 7 components matters: batch normalisation, −8.7 pp; 6 unresolved.`; empty without effects."""
    effects = report.ordered(report.first.effects)
    if not effects:
        return ""
    retuned = ", each arm with its own tuned settings" if report.first.phase == "retuned" else ""
    if not any(effect.p is not None or effect.verdict in (FAILS, SCREENED) for effect in effects):
        said = _without_claim(report, effects)
    else:
        said = "; ".join([_found(report, effects), *_others(report, effects)])
    return f"{'' if report.complete else 'So far: '}{said}{retuned}."


def _found(report: StudyReport, effects: Sequence[Effect]) -> str:
    """Return what makes a difference, the largest first."""
    different = [effect for effect in effects if effect.verdict in _DIFFERENT]
    total = _total(report, effects)
    if not different:
        one = f"{name_of(report, effects[0])} is not shown to matter"
        return one if len(effects) == 1 else f"None of {total} is shown to matter"
    matter = "matters" if len(different) == 1 else "matter"
    comma = "," if len(different) == 1 else ""
    named = [_named(report, effect, comma) for effect in different[:_NAMED]]
    more = [f"and {len(different) - _NAMED} more"] if len(different) > _NAMED else []
    return f"{len(different)} of {total} {matter}: {', '.join([*named, *more])}"


def _total(report: StudyReport, effects: Sequence[Effect]) -> str:
    """`7 components`, `7 changes` where some are exchanged for something, `7 arms` of any table."""
    kinds = {arm.kind for effect in effects if (arm := report.arm(effect.arm)) is not None}
    noun = "arm" if "arm" in kinds else "change" if "swap" in kinds else "component"
    return f"{len(effects)} {noun}{'' if len(effects) == 1 else 's'}"


def _named(report: StudyReport, effect: Effect, comma: str = "") -> str:
    delta = "" if effect.delta is None else f"{comma} {report.scale.amount(effect.delta, sign=True)}"
    unclear = " (size unclear)" if effect.verdict == SIZE_UNCLEAR else ""
    here = f" ({HERE_ONLY})" if here_only(report.first, effect) else ""
    return f"{name_of(report, effect)}{delta}{unclear}{here}"


def name_of(report: StudyReport, effect: Effect) -> str:
    """Return what an effect is about: its component, where one is taken away or added, else its arm."""
    arm = report.arm(effect.arm)
    kind = arm.kind if arm else "without" if effect.arm.startswith("no-") else "swap"
    component = next(iter(effect.components), arm.component if arm else None)
    if effect.kind == "main" and kind in ("without", "only") and component is not None:
        return report.labels.get(component, component)
    return report.called(effect)


def _others(report: StudyReport, effects: Sequence[Effect]) -> list[str]:
    """Return how many there are of everything else, and the pairs that interact."""
    said = []
    failing = [name_of(report, effect) for effect in effects if effect.verdict == FAILS]
    if failing:
        verb = "with" if DESIGNS.get(report.design).strips else "without"
        said.append(f"every run fails {verb} {' or '.join(failing)}")
    margin = f" (±{report.scale.amount(report.margin)})" if report.margin is not None else ""
    counts = {f"practically equivalent{margin}": EQUIVALENT, "unresolved": UNRESOLVED}
    counts["screened out after one seed"] = SCREENED
    told = {*_DIFFERENT, FAILS, *counts.values()}
    for words, verdict in counts.items():
        number = sum(effect.verdict == verdict for effect in effects)
        said += [f"{number} {words}"] if number else []
    rest = sum(effect.verdict not in told for effect in effects)
    said += [f"{rest} without a finding"] if rest else []
    pairs = report.ordered(report.first.interactions)
    joint = [effect for effect in pairs if effect.verdict in (INTERACTS, SIZE_UNCLEAR)]
    if joint:
        named = ", ".join(_named(report, effect) for effect in joint[:_NAMED])
        more = f" and {len(joint) - _NAMED} more" if len(joint) > _NAMED else ""
        verb = "interacts" if len(joint) == 1 else "interact"
        said.append(f"{len(joint)} of {len(pairs)} pairs {verb}: {named}{more}")
    return said


def _without_claim(report: StudyReport, effects: Sequence[Effect]) -> str:
    """Return why nothing can be claimed, and the largest difference all the same."""
    verdicts = {effect.verdict for effect in effects}
    why = "nothing to compare yet"
    if report.tier == RUNG_ONLY:
        why = "no claim at full length, because unpromising runs were stopped"
    elif DETERMINISTIC in verdicts:
        why = "seeds change nothing, so that there is no interval"
    elif len(report.seeds) == 1:
        why = "one seed shows no difference beyond chance"
    elif any("zero variance" in effect.flags for effect in effects):
        why = "all differences are equal, so that there is no interval"
    elif effects[0].delta is not None:
        why = "too few runs for an interval"
    largest = (
        "" if effects[0].delta is None else f"; the largest difference: {_named(report, effects[0], ',')}"
    )
    return f"{why[0].upper()}{why[1:]}{largest}"
