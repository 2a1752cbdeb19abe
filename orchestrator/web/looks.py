"""What the pages show of recorded studies, as plain data that templates can draw."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.deleted import deleted
from orchestrator.record.events import Assigned, AttemptFailed, Decided, Noted, TrialEnd
from orchestrator.record.journal import Line, newest_first
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.numbers import DASH, duration
from orchestrator.reporting.standing import GLYPHS, StudyStanding
from orchestrator.reporting.standingwords import answered
from orchestrator.web.kept import KeptStudies, KeptStudy

LATEST_EVENTS = 25
MOST_ARMS, MOST_ROWS, MOST_CHIPS, MOST_GONE = 100, 100, 400, 5
"""A page of a study with thousands of cells stays one that a phone can draw: arms at once, rows of a table of
cells, cells that have a sign each, deleted directories that are named."""


Drawn = dict[str, Any]
"""What a template draws, by name."""


def list_studies(studies: KeptStudies) -> list[Drawn]:
    """Every study below the storage, those that run first."""
    lines = [_line(studies, entry.name) for entry in studies.storage.list() if entry.is_dir]
    there = [line for line in lines if line is not None]
    return sorted(there, key=lambda line: (not line["found"] or line["found"].driver is None, line["name"]))


def _line(studies: KeptStudies, name: str) -> Drawn | None:
    """Return one study in the list, or None where there is none. `problem`: why it cannot be read."""
    shown = os.fsencode(name).decode(errors="backslashreplace")
    try:
        kept = studies.named(name)
        if kept is None:
            return None
        if shown != name:
            return {"name": shown, "found": None, "problem": "the name of its directory is no text"}
        return {"name": name, **_summary(kept, kept.status())}
    except OrchestratorError as error:
        told = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
        return {"name": shown, "found": None, "problem": told}


def _summary(kept: KeptStudy, found: StudyStanding) -> Drawn:
    """`share`: of the cells that are answered; `counts`: glyph, state, cells; `report`: whether it exists."""
    counts = found.counts()
    answered = sum(number for state, number in counts.items() if TrialState(state).answered)
    return {
        "found": found,
        "version": kept.version,
        "share": answered / max(1, len(found.cells)),
        "counts": [(GLYPHS[state], state, number) for state, number in counts.items()],
        "report": kept.run.storage.exists(kept.run.paths.report_html),
    }


def _counts(cells: Iterable[TrialRecord]) -> list[tuple[str, str, int]]:
    tally = Counter(cell.state for cell in cells)
    return [(GLYPHS[state], state.value, tally[state]) for state in TrialState if tally[state]]


def look_at(kept: KeptStudy, words: str = "", first: int = 0) -> Drawn:
    """Everything for the page of one study. Raises `StudyError` when its record is damaged.

    Args:
        words: only arms with this in their names.
        first: how many of them are on the pages before this one.
    """
    found, run = kept.status(), kept.run
    by_arm: dict[str, list[TrialRecord]] = {
        arm: [] for arm in found.arms if words.casefold() in arm.casefold()
    }
    for cell in found.cells:
        if cell.arm in by_arm:
            by_arm[cell.arm].append(cell)
    arms = list(by_arm)[first : first + MOST_ARMS]
    cells = [cell for mine in by_arm.values() for cell in mine]
    quiet = (TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED, TrialState.RUNNING)
    running = [cell for cell in cells if cell.state is TrialState.RUNNING]
    noted = [cell for cell in cells if cell.state not in quiet]
    chips = sum(len(by_arm[arm]) for arm in arms) <= MOST_CHIPS
    linked = (cell for arm in arms for cell in by_arm[arm]) if chips else ()
    drawn = {cell.cell: cell for cell in (*linked, *running[:MOST_ROWS], *noted[:MOST_ROWS])}
    gone = {cell.cell for cell in deleted(run.storage, run.paths, drawn.values())}
    return {
        **_summary(kept, found),
        "arms": [_known_arm(kept, found, arm, by_arm[arm], gone if chips else None) for arm in arms],
        "part": {"words": words, "first": first, "all": len(by_arm), "most": MOST_ARMS},
        "running": [_row(found, cell, gone) for cell in running[:MOST_ROWS]],
        "noted": [_row(found, cell, gone) for cell in noted[:MOST_ROWS]],
        "hidden": {"running": len(running[MOST_ROWS:]), "noted": len(noted[MOST_ROWS:])},
        "gone": [*found.gone[:MOST_GONE], *_more(len(found.gone) - MOST_GONE)],
        "events": _events(kept),
        "effects": _effects(kept, set(found.arms).difference(arms)),
    }


def _more(number: int) -> list[str]:
    return [f"and {number} more deleted directories"] if number > 0 else []


def _known_arm(
    kept: KeptStudy, found: StudyStanding, arm: str, cells: list[TrialRecord], gone: set[str] | None
) -> Drawn:
    """Return one arm; where nothing has happened to its cells since the last look, as it was then."""
    if gone is not None:
        return _arm(found, arm, cells, gone)
    drawn: Drawn = kept.once(f"arm {arm}", tuple(cells), lambda: _arm(found, arm, cells, None))
    return drawn


def _arm(found: StudyStanding, arm: str, cells: list[TrialRecord], gone: set[str] | None) -> Drawn:
    """Return one arm: the cells of each phase, and the mean of the finished values of the last one.

    `gone`: cells without a directory, where each has a chip; None: they are counted.
    """
    phases: dict[str, list[TrialRecord]] = {}
    for cell in cells:
        phases.setdefault(cell.phase, []).append(cell)
    last = list(phases.values())[-1] if phases else []
    values = [cell.value for cell in last if cell.state is TrialState.DONE and cell.value is not None]
    return {
        "arm": arm,
        "phases": [
            (phase, [] if gone is None else [_chip(found, cell, gone) for cell in mine], _counts(mine))
            for phase, mine in phases.items()
        ],
        "answered": answered(cells),
        "mean": _number(sum(values) / len(values) if values else None),
        "wall": duration(sum(cell.wall_s for cell in cells)),
    }


def _chip(found: StudyStanding, cell: TrialRecord, gone: set[str]) -> Drawn:
    """Return a cell in the table of arms: a glyph in the colour of its state."""
    at = "" if cell.length is None else f" at {_number(cell.length)} {found.unit}"
    value = "" if cell.value is None else f", {found.metric_of(cell)} {_number(cell.value)}"
    lost = ", its directory is gone" if cell.cell in gone else ""
    return {**_cell(cell, gone), "title": f"{cell.name}: {cell.state}{at}{value}{lost}"}


def _cell(cell: TrialRecord, gone: set[str]) -> Drawn:
    """`href`: the trial's directory, below the files of its study; empty where there is none."""
    href = f"files/{quote(cell.trial_dir)}/" if cell.begun and cell.cell not in gone else ""
    return {"glyph": GLYPHS[cell.state], "state": cell.state.value, "href": href}


def _row(found: StudyStanding, cell: TrialRecord, gone: set[str]) -> Drawn:
    """Return a cell that runs or has ended otherwise than well. `done`: share of its length, 0 to 1."""
    reason = " ".join((cell.reason or "").split())
    stop = found.stop(cell)
    if stop is not None:
        where = f"{stop.rule}, rung {_number(stop.rung)}, cut-off {_number(stop.cutoff)}"
        reason = f"{where}, rank {stop.rank} of {stop.peers}"
    if cell.state is TrialState.RUNNING and found.driver is None:
        reason = "its driver is gone: start the same study again"
    return {
        **_cell(cell, gone),
        "name": cell.name,
        "at": _number(cell.length),
        "value": _number(cell.value),
        "reason": f"{cell.cause}: {reason}" if cell.cause else reason,
        "attempts": cell.attempts,
        "done": min(1.0, (cell.length or 0.0) / found.max_length),
    }


def _effects(kept: KeptStudy, elsewhere: set[str]) -> Drawn:
    """Return the effects of what is recorded now. `so_far`: how many cells they rest on, unless all.

    `elsewhere`: arms that are not on this page.
    """
    report = kept.report()
    if report is None:
        return {"problem": "they are being worked out, and come here by themselves", "rows": []}
    if isinstance(report, OrchestratorError):
        return {"problem": " ".join(str(report).split()), "rows": []}
    drawn: Drawn = kept.once("effects", report, lambda: _drawn(report))
    return {**drawn, "rows": [row for row in drawn["rows"] if row["arm"] not in elsewhere]}


def _drawn(report: StudyReport) -> Drawn:
    so_far = (
        ""
        if report.complete
        else f"these rest on {report.ended} of {report.total} cells, and change with the others"
    )
    evaluation = report.evaluations[0]
    rows = []
    for effect in evaluation.all_effects:
        runs = report.behind(effect, evaluation.phase)
        done = sum(one.state is TrialState.DONE for one in runs)
        row = {
            "arm": effect.arm,
            "delta": _number(effect.delta),
            "interval": DASH
            if effect.lo is None or effect.hi is None
            else f"[{_number(effect.lo)}, {_number(effect.hi)}]",
            "n": effect.n,
            "cells": f"{done}/{len(runs)}",
            "verdict": "; ".join((effect.verdict, *effect.flags)),
        }
        rows += [row] if effect.n else []
    return {"problem": "", "rows": rows, "so_far": so_far}


def _events(kept: KeptStudy) -> list[tuple[str, str]]:
    """(clock time, words) of the latest events, the newest first."""
    view = kept.recorded
    lines = newest_first(view.storage, view.journal)
    told = ((_clock(line), _words(line, view.state.cells)) for line in lines)
    return list(islice(((clock, words) for clock, words in told if words is not None), LATEST_EVENTS))


def _words(line: Line, cells: Mapping[str, TrialRecord]) -> str | None:
    """Return what happened; None where it is not worth a line."""
    match line.event:
        case Noted(text=text):
            return text
        case Assigned(attempt=attempt):
            words, reason = f"attempt {attempt} starts", None
        case Decided(action=words, reason=reason):
            pass
        case AttemptFailed(cause=cause):
            words, reason = f"failure ({cause})", None
        case TrialEnd(state=state, reason=reason):
            words = str(state)
        case _:
            return None
    reason = " ".join((reason or "").split())
    cell = cells.get(line.event.cell)
    return f"{cell.name if cell else line.event.cell}: {words}{f'; {reason}' if reason else ''}"


def _clock(line: Line) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(line.t)) if line.t else ""
    except (ValueError, OverflowError):
        return ""


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.5g}".replace("-", "−")
