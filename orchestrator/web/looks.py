"""What the pages show of recorded studies, as plain data that templates can draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from urllib.parse import quote

from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.deleted import deleted
from orchestrator.record.events import Assigned, AttemptFailed, Decided, Noted, TrialEnd
from orchestrator.record.journal import Line
from orchestrator.record.journalparts import newest_first
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.numbers import DASH, duration
from orchestrator.reporting.standing import GLYPHS, StudyStanding
from orchestrator.reporting.standingwords import answered
from orchestrator.study.visible import shortened, visible
from orchestrator.web.again import named_cells, rests
from orchestrator.web.curvefigure import WEIGHTS
from orchestrator.web.kept import KeptStudy
from orchestrator.web.lookwords import looks_of
from orchestrator.web.panels import panels
from orchestrator.web.summary import Drawn
from orchestrator.web.summary import clock as _clock
from orchestrator.web.summary import number as _number
from orchestrator.web.summary import summary as _summary
from orchestrator.web.tables import Asked, TableColumn, natural, part_of

LATEST_EVENTS = 25
MOST_CHIPS, MOST_NAMED, MOST_LETTERS = 400, 5, 300
"""A page of a study with thousands of cells stays one that a phone can draw, whatever they say: cells that
have a sign each; deleted directories and oddities that are named; letters of what a cell says."""
ASKED_OF_A_STUDY = (
    *("arm", "state", "arms", "arms_first", "cells", "cells_first"),
    *("smooth", "log", "first"),
)
"""What the address of its page may ask for: a part of names, a state, orders and parts of tables, figures."""

_Arm = tuple[str, tuple[TrialRecord, ...]]
_FIRST = (
    *(TrialState.RUNNING, TrialState.FAILED, TrialState.DIVERGED, TrialState.STOPPED, TrialState.CANCELLED),
    *(TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED),
)
"""States in the order that somebody who looks in wants to see."""
_PLACES = {state: place for place, state in enumerate(_FIRST)}
_ARMS: tuple[TableColumn[_Arm], ...] = (
    TableColumn("name", "arm", lambda arm: natural(arm[0])),
    TableColumn("seeds", "seeds"),
    TableColumn("answered", "answered", lambda arm: _share(arm[1]), number=True),
    TableColumn("mean", "mean", lambda arm: _mean(arm[1]), number=True),
    TableColumn("time", "time", lambda arm: sum(cell.wall_s for cell in arm[1]), number=True),
)


def _share(cells: Sequence[TrialRecord]) -> float:
    return sum(cell.state.answered for cell in cells) / max(1, len(cells))


def _counts(cells: Iterable[TrialRecord]) -> list[tuple[str, str, int]]:
    tally = Counter(cell.state for cell in cells)
    return [(GLYPHS[state], state.value, tally[state]) for state in TrialState if tally[state]]


def look_at(kept: KeptStudy, asked: Asked) -> Drawn:
    """Everything for the page of one study. Raises `StudyError` when its record is damaged.

    Args:
        kept: the study.
        asked: a part of the arms' names, the state of cells, and order and part of both tables.
    """
    found, run = kept.standing, kept.run
    words, state = asked["arm"].casefold(), asked["state"] if asked["state"] in set(TrialState) else ""
    by_arm = {arm: mine for arm, mine in kept.arms().items() if words in arm.casefold()}
    in_state: dict[str, list[TrialRecord]] = {one: [] for one in _FIRST}
    for mine in by_arm.values():
        for cell in mine:
            in_state[cell.state].append(cell)
    every = in_state[state] if state else [cell for some in in_state.values() for cell in some]
    arms = part_of("arms", _ARMS, list(by_arm.items()), asked)
    cells = part_of("cells", _cell_columns(found), every, asked)
    chips = sum(len(mine) for _, mine in arms.rows) <= MOST_CHIPS
    drawn = (cell for _, mine in arms.rows for cell in mine) if chips else ()
    gone = {cell.cell for cell in deleted(run.storage, run.paths, drawn)}
    named: frozenset[str] = kept.once("named", (plan := kept.recorded.plan), lambda: named_cells(plan.cells))
    at_rest = rests(run, found)
    on_this_page = {arm for arm, _ in arms.rows}
    return {
        **_summary(kept, found),
        "arms": arms.drawn(lambda arm: _known_arm(kept, found, *arm, gone if chips else None)),
        "cells": cells.drawn(
            lambda cell: {
                **_row(found, cell),
                "again": at_rest and cell.state.terminal and cell.cell in named,
            }
        ),
        "states": [state.value for state in _FIRST],
        "left": found.driver is None and any(cell.state is TrialState.RUNNING for cell in found.cells),
        "gone": _some(found.gone, "deleted directories"),
        "odd": _some(found.oddities(), "oddities"),
        "events": _events(kept),
        "effects": _effects(kept, set(found.arms).difference(on_this_page)),
        "looks": _looks(kept),
        "weights": [f"{weight:g}" for weight in WEIGHTS],
        "panels": panels(kept, found),
    }


def _cell_columns(found: StudyStanding) -> tuple[TableColumn[TrialRecord], ...]:
    return (
        TableColumn(
            "name", "cell", lambda cell: (natural(cell.arm), cell.phase, cell.sample or 0, cell.seed)
        ),
        TableColumn("state", "state", lambda cell: _PLACES[cell.state]),
        TableColumn("at", f"at ({found.unit})", lambda cell: cell.length, number=True),
        TableColumn("value", found.metric, lambda cell: cell.value if cell.has_value else None, number=True),
        TableColumn("attempts", "attempt", lambda cell: cell.attempts, number=True),
        TableColumn("time", "time", lambda cell: cell.wall_s, number=True),
        TableColumn("reason", "reason", lambda cell: reason_of(found, cell) or None),
        TableColumn("again", "again"),
    )


def _some(lines: Sequence[str], what: str) -> list[str]:
    more = len(lines) - MOST_NAMED
    return [*lines[:MOST_NAMED], *([f"and {more} more {what}"] if more > 0 else [])]


def _known_arm(
    kept: KeptStudy, found: StudyStanding, arm: str, cells: tuple[TrialRecord, ...], gone: set[str] | None
) -> Drawn:
    """Return one arm; where nothing has happened to its cells since the last look, as it was then."""
    if gone is not None:
        return _arm(found, arm, cells, gone)
    drawn: Drawn = kept.once(f"arm {arm}", cells, lambda: _arm(found, arm, cells, None))
    return drawn


def _arm(found: StudyStanding, arm: str, cells: Sequence[TrialRecord], gone: set[str] | None) -> Drawn:
    """Return one arm: the cells of each phase, and the mean of the finished values of the last one.

    `gone`: cells without a directory, where each has a chip; None: they are counted.
    """
    phases: dict[str, list[TrialRecord]] = {}
    for cell in cells:
        phases.setdefault(cell.phase, []).append(cell)
    return {
        "arm": arm,
        "phases": [
            (phase, [] if gone is None else [_chip(found, cell, gone) for cell in mine], _counts(mine))
            for phase, mine in phases.items()
        ],
        "answered": answered(cells),
        "mean": _number(_mean(cells)),
        "wall": duration(sum(cell.wall_s for cell in cells)),
    }


def _mean(cells: Sequence[TrialRecord]) -> float | None:
    """Return the mean of the finished values of the last phase."""
    last = list(dict.fromkeys(cell.phase for cell in cells))[-1:]
    finished = (cell for cell in cells if cell.phase in last and cell.state is TrialState.DONE)
    values = [cell.value for cell in finished if cell.value is not None]
    return sum(values) / len(values) if values else None


def _chip(found: StudyStanding, cell: TrialRecord, gone: set[str]) -> Drawn:
    """Return a cell in the table of arms: a glyph in the colour of its state."""
    at = "" if cell.length is None else f" at {_number(cell.length)} {found.unit}"
    value = "" if cell.value is None else f", {found.metric_of(cell)} {_number(cell.value)}"
    lost = ", its directory is gone" if cell.cell in gone else ""
    title = _short(f"{cell.name}: {cell.state}{at}{value}{lost}")
    return {**_cell(cell), "title": title, **({} if cell.begun else {"href": ""})}


def _cell(cell: TrialRecord) -> Drawn:
    """`href`: the trial's page; one that has not begun is linked where cells are rows."""
    return {"glyph": GLYPHS[cell.state], "state": cell.state.value, "href": trial_address(cell.cell)}


def trial_address(cell: str) -> str:
    """Return where a trial's page lies, from that of its study."""
    plain = cell.isascii() and cell.isalnum()  # nearly always
    return f"trial?cell={cell if plain else quote(cell, errors='replace')}"


def _row(found: StudyStanding, cell: TrialRecord) -> Drawn:
    """Return a cell in the table of cells. `done`: share of its length, 0 to 1."""
    return {
        **_cell(cell),
        "cell": cell.cell,
        "name": cell.name,
        "at": _number(cell.length),
        "value": _number(cell.value),
        "reason": _short(reason_of(found, cell)),
        "attempts": cell.attempts,
        "wall": duration(cell.wall_s) if cell.begun else DASH,
        "done": min(1.0, (cell.length or 0.0) / found.max_length),
    }


def reason_of(found: StudyStanding, cell: TrialRecord) -> str:
    """Return why a cell has ended otherwise than well, or does not go on."""
    if cell.state is TrialState.RUNNING and found.driver is None:
        return "its driver is gone: start the same study again"
    stop = found.stop(cell)
    if stop is not None:
        where = f"{stop.rule}, rung {_number(stop.rung)}, cut-off {_number(stop.cutoff)}"
        return f"{where}, rank {stop.rank} of {stop.peers}"
    return f"{cell.cause}: {cell.reason or ''}" if cell.cause else cell.reason or ""


def _short(text: str) -> str:
    return shortened(visible(" ".join(text.split())), MOST_LETTERS)


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


def _looks(kept: KeptStudy) -> list[Drawn]:
    """Return where the looks at the arms stand; nothing where there are no effects, or no looks."""
    report = kept.report()
    if not isinstance(report, StudyReport):
        return []
    found: list[Drawn] = kept.once("looks", report, lambda: looks_of(kept.recorded.study, report))
    return found


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
    told = ((line, _words(line, view.state.cells)) for line in lines)
    return list(islice(((_clock(line), _short(words)) for line, words in told if words), LATEST_EVENTS))


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
    cell = cells.get(line.event.cell)
    return f"{cell.name if cell else line.event.cell}: {words}{f'; {reason}' if reason else ''}"
