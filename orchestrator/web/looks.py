"""What the pages show of recorded studies, as plain data that templates can draw."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.events import Assigned, AttemptFailed, Decided, Noted, TrialEnd
from orchestrator.record.journal import Line
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.numbers import DASH, duration
from orchestrator.reporting.standing import GLYPHS, StudyStanding
from orchestrator.reporting.standingwords import answered

LATEST_EVENTS = 25
_MOST_ROWS = 200
"""Rows of a table of cells: a page of a study with thousands of cells stays one that a phone can draw."""


Drawn = dict[str, Any]
"""What a template draws, by name."""


def run_named(storage: Storage, name: str) -> OpenedStudy | None:
    """Return the recorded study of this name, or None: one folder directly below the storage."""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        return None
    paths = StudyPaths(name)
    return OpenedStudy(storage, paths) if storage.exists(paths.plan_json) else None


def list_studies(storage: Storage) -> list[Drawn]:
    """Every study below the storage, those that run first."""
    lines = [_line(storage, entry.name) for entry in storage.list() if entry.is_dir]
    there = [line for line in lines if line is not None]
    return sorted(there, key=lambda line: (not line["found"] or line["found"].driver is None, line["name"]))


def _line(storage: Storage, name: str) -> Drawn | None:
    """Return one study in the list, or None where there is none. `problem`: why it cannot be read."""
    shown = os.fsencode(name).decode(errors="backslashreplace")
    try:
        run = run_named(storage, name)
        if run is None:
            return None
        if shown != name:
            return {"name": shown, "found": None, "problem": "the name of its directory is no text"}
        return {"name": name, **_summary(run, run.status())}
    except OrchestratorError as error:
        told = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
        return {"name": shown, "found": None, "problem": told}


def _summary(run: OpenedStudy, found: StudyStanding) -> Drawn:
    """`share`: of the cells that are answered; `counts`: glyph, state, cells; `report`: whether it exists."""
    return {
        "found": found,
        "share": sum(cell.state.answered for cell in found.cells) / max(1, len(found.cells)),
        "counts": [(GLYPHS[state], state, number) for state, number in found.counts().items()],
        "report": run.storage.exists(run.paths.report_html),
    }


def look_at(run: OpenedStudy) -> Drawn:
    """Everything for the page of one study. Raises `StudyError` when its record is damaged."""
    found = run.status()
    quiet = (TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED, TrialState.RUNNING)
    running = [cell for cell in found.cells if cell.state is TrialState.RUNNING]
    noted = [cell for cell in found.cells if cell.state not in quiet]
    return {
        **_summary(run, found),
        "arms": [_arm(found, arm) for arm in found.arms],
        "running": [_row(found, cell) for cell in running[:_MOST_ROWS]],
        "noted": [_row(found, cell) for cell in noted[:_MOST_ROWS]],
        "events": _events(run, {cell.cell: cell.name for cell in found.cells}),
        "effects": _effects(run),
    }


def _arm(found: StudyStanding, arm: str) -> Drawn:
    """Return one arm: the chips of each phase, and the mean of the finished values of the last one."""
    cells = [cell for cell in found.cells if cell.arm == arm]
    phases: dict[str, list[TrialRecord]] = {}
    for cell in cells:
        phases.setdefault(cell.phase, []).append(cell)
    last = list(phases.values())[-1] if phases else []
    values = [cell.value for cell in last if cell.state is TrialState.DONE and cell.value is not None]
    return {
        "arm": arm,
        "phases": [(phase, [_chip(found, cell) for cell in mine]) for phase, mine in phases.items()],
        "answered": answered(cells),
        "mean": _number(sum(values) / len(values) if values else None),
        "wall": duration(sum(cell.wall_s for cell in cells)),
    }


def _chip(found: StudyStanding, cell: TrialRecord) -> Drawn:
    """Return a cell in the table of arms: a glyph in the colour of its state."""
    at = "" if cell.length is None else f" at {_number(cell.length)} {found.unit}"
    value = "" if cell.value is None else f", {found.metric_of(cell)} {_number(cell.value)}"
    return {**_cell(cell), "title": f"{cell.name}: {cell.state}{at}{value}"}


def _cell(cell: TrialRecord) -> Drawn:
    """`href`: the trial's directory, below the files of its study; empty where it has not begun."""
    href = f"files/{quote(cell.trial_dir)}/" if cell.begun else ""
    return {"glyph": GLYPHS[cell.state], "state": cell.state.value, "href": href}


def _row(found: StudyStanding, cell: TrialRecord) -> Drawn:
    """Return a cell that runs or has ended otherwise than well. `done`: share of its length, 0 to 1."""
    reason = " ".join((cell.reason or "").split())
    stop = found.stop(cell)
    if stop is not None:
        where = f"{stop.rule}, rung {_number(stop.rung)}, cut-off {_number(stop.cutoff)}"
        reason = f"{where}, rank {stop.rank} of {stop.peers}"
    if cell.state is TrialState.RUNNING and found.driver is None:
        reason = "its driver is gone: start the same study again"
    return {
        **_cell(cell),
        "name": cell.name,
        "at": _number(cell.length),
        "value": _number(cell.value),
        "reason": f"{cell.cause}: {reason}" if cell.cause else reason,
        "attempts": cell.attempts,
        "done": min(1.0, (cell.length or 0.0) / found.max_length),
    }


def _effects(run: OpenedStudy) -> Drawn:
    """Return the effects of what is recorded now. `so_far`: how many cells they rest on, unless all."""
    try:
        report = run.report(curves=False, new_data=False)
    except OrchestratorError as error:
        return {"problem": " ".join(str(error).split()), "rows": []}
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


def _events(run: OpenedStudy, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(clock time, words) of the latest events, the newest first. `names`: of the cells."""
    told = ((_clock(line), _words(line, names)) for line in reversed(run.view().journal.lines))
    return list(islice(((clock, words) for clock, words in told if words is not None), LATEST_EVENTS))


def _words(line: Line, names: Mapping[str, str]) -> str | None:
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
    return f"{names.get(line.event.cell, line.event.cell)}: {words}{f'; {reason}' if reason else ''}"


def _clock(line: Line) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(line.t)) if line.t else ""
    except (ValueError, OverflowError):
        return ""


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.5g}".replace("-", "−")
