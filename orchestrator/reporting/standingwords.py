"""Where a study stands, in words: what `status` and `watch` print, and what a notebook shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.decide.states import TrialState
from orchestrator.reporting import codes, plain
from orchestrator.reporting.standing import GLYPHS, StudyStanding
from orchestrator.study.naming import seeds_name

if TYPE_CHECKING:
    from orchestrator.record.state import TrialRecord

MOST_LINES, _LAST_LINES = 200, 20


def headline(found: StudyStanding) -> str:
    """One line: the study, who runs it, how many cells are in which state."""
    counts = ", ".join(f"{number} {state}" for state, number in found.counts().items())
    driver = f"run by {found.driver}" if found.driver else "nobody runs it now"
    return f"{found.study} ({found.root}): {counts} of {len(found.cells)} cells; {driver}"


def headings(found: StudyStanding) -> tuple[str, ...]:
    """Of the columns of `arm_rows`."""
    phases = _phases(found)
    mean = f"mean {found.claimed or found.metric}{f' ({phases[-1]})' if len(phases) > 1 else ''}"
    return ("arm", *(phases if len(phases) > 1 else ["seeds"]), "answered", mean, "wall")


def arm_rows(found: StudyStanding) -> list[tuple[str, ...]]:
    """Arms × seeds as glyphs, phase by phase, with the mean of the finished values of the last one."""
    phases = _phases(found)
    rows = []
    by_arm: dict[str, list[TrialRecord]] = {arm: [] for arm in found.arms}
    for cell in found.cells:
        by_arm[cell.arm].append(cell)
    for arm, cells in by_arm.items():
        last = [cell for cell in cells if cell.phase == phases[-1]]
        values = [cell.value for cell in last if cell.state is TrialState.DONE and cell.value is not None]
        rows.append(
            (
                arm,
                *("".join(GLYPHS[cell.state] for cell in cells if cell.phase == phase) for phase in phases),
                answered(cells),
                plain.number(sum(values) / len(values) if values else None),
                plain.duration(sum(cell.wall_s for cell in cells)),
            )
        )
    return rows


def answered(cells: Sequence[TrialRecord]) -> str:
    """Return `3/8, 5 skipped`: a trial that was not needed has an answer, but was not trained."""
    skipped = sum(cell.state is TrialState.SKIPPED for cell in cells)
    trained = sum(cell.state.answered for cell in cells) - skipped
    return f"{trained}/{len(cells)}" + (f", {skipped} skipped" if skipped else "")


def _phases(found: StudyStanding) -> list[str]:
    return list(dict.fromkeys(cell.phase for cell in found.cells))


def explanations(found: StudyStanding) -> list[str]:
    """One line for every cell that runs or ended early, skipped ones together; what was saved or is odd.

    Of thousands the middle is left out, which nobody reads to its end.
    """
    quiet = (TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED)
    lines = [_explain(found, cell) for cell in found.cells if cell.state not in quiet]
    lines += _skipped(found)
    if found.waits:
        lines.append(f"{GLYPHS['pending']} the other trials wait for {found.waits}")
    if found.saved:
        whole = found.max_length * len(found.cells)
        saved = plain.length(found.saved, found.unit)
        lines.append(f"saved by stopping early: {saved} of {plain.number(whole)} ({found.saved / whole:.0%})")
    lines += codes.note(found.cells)
    lines += [*(f"journal: {problem}" for problem in found.oddities()), *found.gone, *found.shared]
    hidden = len(lines) - MOST_LINES
    if hidden <= 0:
        return lines
    told = f"and {hidden} more; `orchestrate status --json` has all"
    return [*lines[: MOST_LINES - _LAST_LINES], told, *lines[-_LAST_LINES:]]


def _skipped(found: StudyStanding) -> list[str]:
    alike: dict[tuple[str, str, str | None, float | None], list[TrialRecord]] = {}
    for cell in found.cells:
        if cell.state is TrialState.SKIPPED:
            alike.setdefault((cell.arm, cell.phase, cell.reason, cell.length), []).append(cell)
    return [
        _explain(found, cells[0], seeds_name(arm, [cell.seed for cell in cells], phase))
        for (arm, phase, *_), cells in alike.items()
    ]


def _explain(found: StudyStanding, cell: TrialRecord, name: str | None = None) -> str:
    name = f"{GLYPHS[cell.state]} {name or cell.name}: {cell.state}"
    at = "" if cell.length is None else f" at {plain.length(cell.length, found.unit)}"
    value = "" if cell.value is None else f", {found.metric} {plain.number(cell.value)}"
    attempt = f", attempt {cell.attempts}" if cell.attempts > 1 else ""
    if cell.state is TrialState.RUNNING:
        gone = "" if found.driver else ", its driver is gone: run `orchestrate ablate` again"
        far = f"{at} of {plain.number(found.max_length)}" if at else ", nothing reported yet"
        return f"{name}{far}{value}{attempt}{gone}"
    stop = found.stop(cell) if cell.state is TrialState.STOPPED else None
    if stop is not None:
        return (
            f"{name} by {stop.rule} at rung {plain.length(stop.rung, found.unit)}{value},"
            f" cut-off {plain.number(stop.cutoff)}, rank {stop.rank} of {stop.peers}"
        )
    cause = f" ({cell.cause})" if cell.cause else ""
    reason = f": {' '.join(cell.reason.split())}" if cell.reason else ""
    log = f"; {cell.trial_dir}/log.txt" if cell.state is TrialState.FAILED else ""
    return f"{name}{cause}{at}{value}{attempt}{reason}{log}"
