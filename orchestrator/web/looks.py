"""What the pages show of recorded studies, as plain data that templates can draw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.events import Assigned, AttemptFailed, Decided, Noted, TrialEnd
from orchestrator.record.journal import Line
from orchestrator.record.jsonlines import from_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.report.numbers import DASH, duration
from orchestrator.report.palette import STATES
from orchestrator.report.standing import GLYPHS, StudyStanding

LATEST_EVENTS = 25
_MOST_ROWS = 200
"""Rows of a table of cells: a page of a study with thousands of cells stays one that a phone can draw."""


@dataclass(frozen=True)
class Chip:
    """One cell of the table of arms: a glyph in the colour of its state."""

    glyph: str
    state: str
    title: str
    href: str


@dataclass(frozen=True)
class ArmRow:
    """One arm. `phases`: the chips of each phase; `mean` of the finished values of the last one."""

    arm: str
    phases: tuple[tuple[str, tuple[Chip, ...]], ...]
    answered: str
    mean: str
    wall: str


@dataclass(frozen=True)
class CellRow:
    """One cell that runs or has ended otherwise than well. `done`: share of its length, 0 to 1, or None."""

    name: str
    state: str
    glyph: str
    at: str
    value: str
    reason: str
    attempts: int
    done: float | None
    href: str


@dataclass(frozen=True)
class EffectRow:
    """One effect as `effects.json` has it."""

    arm: str
    delta: str
    interval: str
    n: int
    verdict: str


@dataclass(frozen=True)
class StudyLook:
    """One study, for its page."""

    found: StudyStanding
    share: float
    counts: tuple[tuple[str, str, int], ...]
    arms: tuple[ArmRow, ...]
    running: tuple[CellRow, ...]
    noted: tuple[CellRow, ...]
    events: tuple[tuple[str, str], ...]
    effects: tuple[EffectRow, ...]
    report: bool


@dataclass(frozen=True)
class StudyLine:
    """One study in the list. `problem`: why it cannot be read."""

    name: str
    found: StudyStanding | None
    share: float
    counts: tuple[tuple[str, str, int], ...]
    effects: bool
    report: bool
    problem: str = ""


def run_named(storage: Storage, name: str) -> OpenedStudy | None:
    """Return the recorded study of this name, or None: one folder directly below the storage."""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        return None
    paths = StudyPaths(name)
    return OpenedStudy(storage, paths) if storage.exists(paths.plan_json) else None


def list_studies(storage: Storage) -> list[StudyLine]:
    """Every study below the storage, those that run first."""
    runs = [run_named(storage, entry.name) for entry in storage.list() if entry.is_dir]
    lines = [_line(run) for run in runs if run is not None]
    return sorted(lines, key=lambda line: (line.found is None or line.found.driver is None, line.name))


def _line(run: OpenedStudy) -> StudyLine:
    name, report = run.paths.root, run.storage.exists(run.paths.report_html)
    try:
        found = run.status()
    except OrchestratorError as error:
        return StudyLine(name, None, 0.0, (), False, report, " ".join(str(error).split()))
    return StudyLine(name, found, _share(found), _counts(found), bool(_effects(run)), report)


def look_at(run: OpenedStudy) -> StudyLook:
    """Everything for the page of one study. Raises `StudyError` when its record is damaged."""
    found = run.status()
    cells = found.cells
    quiet = (TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED, TrialState.RUNNING)
    return StudyLook(
        found=found,
        share=_share(found),
        counts=_counts(found),
        arms=tuple(_arm(found, arm) for arm in found.arms),
        running=tuple(_row(found, cell) for cell in cells if cell.state is TrialState.RUNNING)[:_MOST_ROWS],
        noted=tuple(_row(found, cell) for cell in cells if cell.state not in quiet)[:_MOST_ROWS],
        events=_events(run, {cell.cell: cell.name for cell in cells}),
        effects=_effects(run),
        report=run.storage.exists(run.paths.report_html),
    )


def _share(found: StudyStanding) -> float:
    return sum(cell.state.answered for cell in found.cells) / max(1, len(found.cells))


def _counts(found: StudyStanding) -> tuple[tuple[str, str, int], ...]:
    return tuple((GLYPHS[state], state, number) for state, number in found.counts().items())


def _arm(found: StudyStanding, arm: str) -> ArmRow:
    cells = [cell for cell in found.cells if cell.arm == arm]
    phases = list(dict.fromkeys(cell.phase for cell in cells))
    last = [cell for cell in cells if cell.phase == phases[-1]] if phases else []
    values = [cell.value for cell in last if cell.state is TrialState.DONE and cell.value is not None]
    return ArmRow(
        arm=arm,
        phases=tuple(
            (phase, tuple(_chip(found, cell) for cell in cells if cell.phase == phase)) for phase in phases
        ),
        answered=f"{sum(cell.state.answered for cell in cells)}/{len(cells)}",
        mean=_number(sum(values) / len(values) if values else None),
        wall=duration(sum(cell.wall_s for cell in cells)),
    )


def _chip(found: StudyStanding, cell: TrialRecord) -> Chip:
    at = "" if cell.length is None else f" at {_number(cell.length)} {found.unit}"
    value = "" if cell.value is None else f", {found.metric} {_number(cell.value)}"
    title = f"{cell.name}: {cell.state}{at}{value}"
    return Chip(GLYPHS[cell.state], cell.state.value, title, _folder(cell))


def _row(found: StudyStanding, cell: TrialRecord) -> CellRow:
    running = cell.state is TrialState.RUNNING
    reason = " ".join((cell.reason or "").split())
    stop = found.stop(cell)
    if stop is not None:
        reason = (
            f"{stop.rule}, rung {_number(stop.rung)}, cut-off {_number(stop.cutoff)}, "
            f"rank {stop.rank} of {stop.peers}"
        )
    if running and found.driver is None:
        reason = "its driver is gone: start the same study again"
    return CellRow(
        name=cell.name,
        state=cell.state.value,
        glyph=GLYPHS[cell.state],
        at=_number(cell.length),
        value=_number(cell.value),
        reason=f"{cell.cause}: {reason}" if cell.cause else reason,
        attempts=cell.attempts,
        done=min(1.0, (cell.length or 0.0) / found.max_length) if running else None,
        href=_folder(cell),
    )


def _folder(cell: TrialRecord) -> str:
    """Return the trial's directory, below the files of its study."""
    return f"files/{quote(cell.trial_dir)}/" if cell.attempts else ""


def _effects(run: OpenedStudy) -> tuple[EffectRow, ...]:
    try:
        data = from_json(run.storage.read_bytes(run.paths.effects_json))
        return tuple(_effect(effect) for effect in data["effects"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ()


def _effect(effect: Mapping[str, Any]) -> EffectRow:
    lo, hi = effect.get("lo"), effect.get("hi")
    ends = f"[{_number(lo)}, {_number(hi)}]" if lo is not None and hi is not None else DASH
    return EffectRow(
        arm=str(effect["arm"]),
        delta=_number(effect.get("delta")),
        interval=ends,
        n=int(effect.get("n") or 0),
        verdict=str(effect.get("verdict") or DASH),
    )


def _events(run: OpenedStudy, names: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(clock time, words) of the latest events, the newest first. `names`: of the cells."""
    found: list[tuple[str, str]] = []
    for line in reversed(run.view().journal.lines):
        words = _words(line, names)
        if words is not None:
            found.append((_clock(line), words))
        if len(found) == LATEST_EVENTS:
            break
    return tuple(found)


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


def state_colours() -> dict[str, str]:
    """Colour of each state, as in the report's figures."""
    return {state.value: colour for state, colour in STATES.items()}
