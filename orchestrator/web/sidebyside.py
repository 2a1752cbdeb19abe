"""Two to four studies side by side, as plain data that a template can draw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.reporting.compare import differences, evaluations_beside
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.numbers import DASH, duration, quantity
from orchestrator.reporting.standing import StudyStanding
from orchestrator.stats.between import Gap
from orchestrator.stats.results import Effect
from orchestrator.study.changes import MISSING, leaves
from orchestrator.study.visible import shortened
from orchestrator.web.form import shown
from orchestrator.web.kept import KeptStudy
from orchestrator.web.studylist import driven_of, entrypoint_of, environment, state_of
from orchestrator.web.summary import Drawn, interval, moment, number, summary

FEWEST, MOST = 2, 4
"""Studies on one page."""
MOST_ROWS, MOST_LETTERS = 200, 200
"""Settings and arms that are shown, and letters of a setting."""
_NO_SETTINGS = ("name", "storage")
"""Keys of a study file that tell studies apart and change no result."""


@dataclass(frozen=True)
class Compared:
    """One of the studies: its name, and what was seen of it, once."""

    name: str
    kept: KeptStudy
    found: StudyStanding

    @classmethod
    def of(cls, name: str, kept: KeptStudy) -> Compared:
        """Look at a study. Raises `StudyError` when its record is damaged."""
        return cls(name, kept, kept.status())


def compare_studies(studies: Sequence[Compared], arm: str) -> Drawn:
    """Return everything for the page. `arm`: whose curves are drawn beside those of the references."""
    found = [(one.name, one.kept.report()) for one in studies]
    reports = [(name, report) for name, report in found if isinstance(report, StudyReport)]
    arms = arms_of(studies)
    chosen = arm if arm in arms else next(iter(arms), "")
    return {
        "names": [one.name for one in studies],
        "facts": _facts(studies),
        "settings": settings_of([one.kept.recorded.spec for one in studies]),
        "problems": [(name, _why(report)) for name, report in found if not isinstance(report, StudyReport)],
        "groups": [_group(one) for one in _alike(reports)],
        "arms": arms[:MOST_ROWS],
        "chosen": chosen,
        "figures": [[one.name for one in group] for group in same_axes(studies)],
    }


def arms_of(studies: Sequence[Compared]) -> list[str]:
    """Return the arms beside the references, those that most of the studies have first."""
    named = [one.found.arms[1:] for one in studies]
    there = dict.fromkeys(arm for arms in named for arm in arms)
    return sorted(there, key=lambda arm: -sum(arm in arms for arms in named))


def same_axes(studies: Sequence[Compared]) -> list[list[Compared]]:
    """Return the studies in groups whose curves are of one metric over one unit."""

    def axes(one: Compared) -> tuple[str, str]:
        return one.found.metric, one.found.unit

    return [list(group) for _, group in groupby(sorted(studies, key=axes), axes)]


def settings_of(specs: Sequence[Mapping[str, Any]]) -> Drawn:
    """Return the settings in which studies differ, by dotted key, and how many are the same in all.

    Of a key that a study does not have there is a dash.
    """
    flat = [
        {key: value for key, value in leaves(spec) if key.partition(".")[0] not in _NO_SETTINGS}
        for spec in specs
    ]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    values = {key: [one.get(key, MISSING) for one in flat] for key in keys}
    differ = {key: found for key, found in values.items() if any(_other(found[0], one) for one in found)}
    rows = [(key, [_setting(value) for value in found]) for key, found in list(differ.items())[:MOST_ROWS]]
    return {"rows": rows, "same": len(keys) - len(differ), "more": len(differ) - len(rows)}


def _other(value: Any, other: Any) -> bool:
    return bool(value != other) or isinstance(value, bool) != isinstance(other, bool)  # True is 1


def _setting(value: Any) -> str:
    """Return a setting as a study file has it; a word in quotes where it would read as something else."""
    if value is MISSING:
        return DASH
    is_word = isinstance(value, str) and value not in ("true", "false", "null")
    text = value if is_word else json.dumps(value, ensure_ascii=False)
    return shortened(" ".join(text.split()), MOST_LETTERS)


def _facts(studies: Sequence[Compared]) -> list[Drawn]:
    """Return one row for each fact: `differs` where the studies do."""
    columns = [_facts_of(one.kept, one.found) for one in studies]
    return [
        {"what": what, "said": (said := [one[what] for one in columns]), "differs": len(set(said)) > 1}
        for what in columns[0]
    ]


def _facts_of(kept: KeptStudy, found: StudyStanding) -> dict[str, str]:
    recorded, env = kept.recorded, environment(kept)
    spec, driven, said = recorded.spec, driven_of(kept), summary(kept, found)
    stopping, accepted = spec["stopping"], recorded.state.accepted_code
    gpu_s, last = sum(cell.gpu_s for cell in found.cells), said["last"]
    commit = env.git.commit if env.git else None
    answered = sum(cell.state.answered for cell in found.cells)
    return {
        "state": state_of(found),
        "metric": f"{found.claimed or found.metric} ({found.mode})",
        "full length": quantity(found.max_length, found.unit),
        "design": str(spec.get("design", "")),
        "seeds": shown(spec["seeds"]),
        "rule": str(stopping.get("rule", "")),
        "goal": str(stopping.get("goal", "")) if stopping.get("rule") == "resolve" else DASH,
        "entrypoint": entrypoint_of(spec),
        "code": (accepted[-1] if accepted else recorded.code_hash or DASH)[:12],
        "commit": f"{commit[:12]}{', with changes' if env.git and env.git.dirty else ''}" if commit else DASH,
        "cells": f"{answered} of {len(found.cells)} answered",
        "compute spent": duration(sum(cell.wall_s for cell in found.cells))
        + (f", {gpu_s / 3600:.3g} GPU-hours" if gpu_s else ""),
        "duration": DASH if driven is None or last is None else duration(driven.wall_s(last)),
        "begun": moment(driven.began) if driven is not None else DASH,
        "owner": env.by or DASH,
    }


def _why(report: StudyReport | OrchestratorError | None) -> str:
    if report is None:
        return "its effects are being worked out, and come here by themselves"
    return " ".join(str(report).split())


def _alike(reports: Sequence[tuple[str, StudyReport]]) -> list[list[tuple[str, StudyReport]]]:
    """Return the studies in groups whose effects are of one metric in one direction: others are not alike."""
    groups: dict[tuple[str, str], list[tuple[str, StudyReport]]] = {}
    for name, report in reports:
        groups.setdefault((report.metric, report.mode), []).append((name, report))
    return list(groups.values())


def _group(named: Sequence[tuple[str, StudyReport]]) -> Drawn:
    """Return the effects of studies with one metric: a row for each arm, a column for each study."""
    reports = [report for _, report in named]
    taken = evaluations_beside(reports)
    first = reports[0]
    effects = [{effect.arm: effect for effect in one.all_effects} for one in taken]
    gaps = [
        {row.arm: row.gap for row in differences(first, taken[0], report, evaluation)}
        for report, evaluation in zip(reports[1:], taken[1:], strict=True)
    ]
    arms = sorted(
        dict.fromkeys(arm for one in effects for arm in one),
        key=lambda arm: -sum(arm in one for one in effects),
    )
    rows = []
    for arm in arms[:MOST_ROWS]:
        cells = [_effect(one.get(arm), gap.get(arm)) for one, gap in zip(effects, [{}, *gaps], strict=True)]
        rows.append({"arm": arm, "cells": cells, "lacking": any(cell is None for cell in cells)})
    return {
        "metric": first.metric,
        "mode": first.mode,
        "studies": [{"name": name, "told": _told(*one)} for (name, _), one in _paired(named, taken)],
        "rows": rows,
        "more": len(arms) - len(rows),
    }


def _paired(
    named: Sequence[tuple[str, StudyReport]], taken: Sequence[ReportedEvaluation]
) -> list[tuple[tuple[str, StudyReport], tuple[StudyReport, ReportedEvaluation]]]:
    return [(one, (one[1], evaluation)) for one, evaluation in zip(named, taken, strict=True)]


def _told(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Return what the Δ of a study are against, and what they rest on."""
    sample = evaluation.samples.get(report.reference.arm)
    mean = DASH if sample is None else number(sample.mean)
    so_far = "" if report.complete else f"; so far, {report.ended} of {report.total} cells"
    return f"{report.reference.arm}: {mean}, {evaluation.phase}{so_far}"


def _effect(effect: Effect | None, gap: Gap | None) -> Drawn | None:
    """Return an effect in one study, and how it differs from that in the first one."""
    if effect is None:
        return None
    return {
        "delta": number(effect.delta),
        "interval": interval(effect.lo, effect.hi),
        "n": effect.n,
        "verdict": "; ".join((effect.verdict, *effect.flags)),
        "gap": "" if gap is None else f"{number(gap.delta)} {interval(gap.lo, gap.hi)}",
    }
