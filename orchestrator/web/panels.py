"""The panels of a study's page: what people look at while it runs, as plain data that a template draws.

What is counted is worked out in `orchestrator.reporting`; here it is put into words, and bounded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of
from orchestrator.decide.timeleft import MeasuredPace
from orchestrator.errors import OrchestratorError
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.reporting import plain
from orchestrator.reporting.costs import Costs, costs
from orchestrator.reporting.incidents import FailedAttempt, Incidents
from orchestrator.reporting.numbers import DASH, duration
from orchestrator.reporting.rungs import Place, RungStanding, Spared, Stopping, expected_rungs
from orchestrator.reporting.running import LaneNow, NodeNow, RunNow, run_now
from orchestrator.reporting.standing import StudyStanding
from orchestrator.reporting.tally import Tally
from orchestrator.study.spec import StudySpec
from orchestrator.study.visible import gist, shortened, visible
from orchestrator.web.kept import KeptStudy

MOST_ROWS, MOST_NAMED, MOST_LETTERS = 40, 5, 200
"""Of a table of a panel; trials, files and lines that are named; letters of a text."""
_LOST_WORKERS = (
    *(FaultKind.WORKER_KILLED, FaultKind.NODE_LOST, FaultKind.PREEMPTED),
    *(FaultKind.HOST_MEMORY, FaultKind.HANG, FaultKind.CONNECTION),
)
_CONDITIONS = ("lost", "set aside")
_USES = {"load": "load", "memory": "memory", "gpu": "GPUs busy", "gpu_memory": "GPU memory"}
"""Columns of what nodes have in use: there where one of them has said so."""

Drawn = dict[str, Any]
"""What a template draws, by name."""


def panels(kept: KeptStudy, found: StudyStanding) -> Drawn:
    """Return what all panels of a study show. `problem`: why what needs the study's packages is not there."""
    recorded, incidents = kept.recorded, kept.incidents()
    now = run_now(found, kept.progress, incidents)
    drawn: Drawn = {"lanes": _lanes(found, now, incidents), "faults": _faults(kept, found, incidents)}
    try:
        spec = recorded.study
    except OrchestratorError as error:
        return {**drawn, "problem": brief(gist(str(error))), "stopping": None, "budget": None}
    tally: Tally = kept.once("tally", recorded, lambda: _tally(kept, spec, recorded.state))
    cost = costs(spec, tally, recorded.state, now)
    return {
        **drawn,
        "problem": "",
        "stopping": _stopping(spec, found, recorded.state, tally.stopping, cost.pace),
        "budget": _budget(spec, found, cost, incidents),
    }


def _tally(kept: KeptStudy, spec: StudySpec, state: StudyState) -> Tally:
    """Count all trials; of an arm to which nothing has happened since the last look the sums are known."""
    by_arm: dict[str, list[TrialRecord]] = {}
    for record in state.cells.values():
        by_arm.setdefault(record.arm, []).append(record)
    arms: list[Tally] = [
        kept.once(f"tally of {arm}", (spec, *mine), partial(Tally.of, spec, mine))
        for arm, mine in by_arm.items()
    ]
    return sum(arms, Tally())


def brief(text: str) -> str:
    """Return a text that somebody else has written as a line of bounded length."""
    return shortened(visible(" ".join(text[: 2 * MOST_LETTERS].split())), MOST_LETTERS)


def moment(t: float | None) -> str:
    """Return a time of the journal by this machine's clock; a dash where there is none that makes sense."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(t)) if t else DASH
    except (ValueError, OverflowError, OSError):
        return DASH


def _some(lines: Iterable[str], what: str, count: int) -> list[str]:
    named = [brief(line) for line, _ in zip(lines, range(MOST_NAMED), strict=False)]
    return [*named, *([f"and {count - len(named)} more {what}"] if count > len(named) else [])]


def _trial(cell: TrialRecord) -> Drawn:
    """Return a trial with the address of its page, below that of the study."""
    return {"name": brief(cell.name), "cell": cell.cell}


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


# ---- stopping -------------------------------------------------------------------------------------------


def _stopping(
    spec: StudySpec, found: StudyStanding, state: StudyState, stopping: Stopping, pace: MeasuredPace | None
) -> Drawn:
    judged = stopping.rungs
    places = dict.fromkeys((*expected_rungs(spec, dict.fromkeys(arm for arm, _ in judged if arm)), *judged))
    rows = [
        _rung(found, place, judged.get(place, RungStanding()), state, pace)
        for place, _ in zip(places, range(MOST_ROWS), strict=False)
    ]
    return {
        "says": brief(rule_of(spec).describe(spec)),
        "arms": any(arm for arm, _ in places),
        "metric": brief(found.metric),
        "rows": rows,
        "more": len(places) - len(rows),
        "spared": [
            *_spared(found, stopping.stopped, "stopped at rungs", pace),
            *_spared(found, stopping.skipped, "not needed any more", pace),
        ],
    }


def _rung(
    found: StudyStanding, place: Place, there: RungStanding, state: StudyState, pace: MeasuredPace | None
) -> Drawn:
    """Return one rung, scores in the metric's units."""
    (arm, rung), sign, last = place, 1.0 if found.mode == "max" else -1.0, None
    if there.stop is not None:
        trial, made = there.stop
        score = state.rung_table.get(rung, {}).get(trial.cell)
        value = plain.number(None if score is None else sign * score)
        last = {**_trial(trial), "how": f"at {value}, rank {made.rank} of {made.peers}"}
    return {
        "arm": brief(arm) or "all arms",
        "rung": brief(plain.length(rung, found.unit)),
        "judged": there.judged,
        "passed": there.passed,
        "stopped": there.stopped,
        "diverged": there.diverged,
        "cutoff": plain.number(None if there.cutoff is None else sign * there.cutoff),
        "last": last,
        "spared": _time_of(there.spared, pace) if there.spared.trials else DASH,
    }


def _time_of(spared: Spared, pace: MeasuredPace | None) -> str:
    priced = spared.priced(pace)
    if priced is None:
        return "time not known yet"
    of_gpus = f", {_gpu_hours(priced.gpu_s)}" if priced.gpu_s else ""
    return f"{duration(priced.wall_s)}{of_gpus}"


def _spared(found: StudyStanding, spared: Spared, why: str, pace: MeasuredPace | None) -> list[str]:
    if not spared.trials:
        return []
    length = brief(plain.length(spared.length, found.unit))
    return [f"{_many(spared.trials, 'trial')} {why}: {length} not trained, {_time_of(spared, pace)}"]


# ---- lanes and nodes ------------------------------------------------------------------------------------


def _lanes(found: StudyStanding, now: RunNow, incidents: Incidents) -> Drawn:
    nodes = sorted(now.nodes, key=lambda node: node.condition not in _CONDITIONS)
    busy = Counter(node for lane in now.lanes for node in lane.nodes)
    lost = sum(incidents.failed.get(kind, 0) for kind in _LOST_WORKERS)
    losses = [f"nodes lost: {incidents.nodes_lost:,}"] if incidents.nodes_lost else []
    losses += [f"attempts that lost their workers: {lost:,}"] if lost else []
    return {
        "runs": found.driver is not None,
        "says": _lanes_in_words(now),
        "waits": None if found.waits is None else brief(found.waits),
        "rows": [_lane(found, lane) for lane in now.lanes[:MOST_ROWS]],
        "more": max(0, len(now.lanes) - MOST_ROWS),
        "nodes": [_node(node, busy[node.name]) for node in nodes[:MOST_ROWS]],
        "columns": [it for it in _USES.items() if any(getattr(node, it[0]) is not None for node in nodes)],
        "more_nodes": max(0, len(nodes) - MOST_ROWS),
        "losses": "; ".join(losses),
        "news": [(moment(t), brief(text)) for t, text in incidents.nodes[:MOST_NAMED]],
    }


def _lanes_in_words(now: RunNow) -> str:
    have = f"{_many(len(now.lanes), 'lane')} {'has' if len(now.lanes) == 1 else 'have'} a trial"
    idle = [f"{now.idle} of {now.fit} idle" if now.idle else "none is idle"] if now.fit is not None else []
    waiting = [] if now.waiting is None else [f"{_many(now.waiting, 'trial')} waiting for one"]
    return ", ".join([have, *idle, *waiting])


def _lane(found: StudyStanding, lane: LaneNow) -> Drawn:
    cell = lane.trial
    began = "from the beginning" if lane.step is None else f"from step {lane.step:,}"
    return {
        **_trial(cell),
        "lane": brief(lane.lane or "workers start"),
        "node": brief(", ".join(lane.nodes[:MOST_NAMED])) or DASH,
        "done": min(1.0, max(0.0, (cell.length or 0.0) / found.max_length)),
        "at": brief(plain.length(cell.length, found.unit)) if cell.length is not None else "no report yet",
        "since": moment(lane.since),
        "attempt": f"{cell.attempts}, {began}" if lane.since is not None else str(cell.attempts),
    }


def _node(node: NodeNow, lanes: int) -> Drawn:
    return {
        "name": brief(node.name),
        "cpus": f"{node.cpus:g}",
        "gpus": f"{node.gpus:g}",
        "lanes": lanes,
        "condition": brief(node.condition),
        "bad": node.condition in _CONDITIONS,
        "load": None if node.load is None else f"{node.load:g}",
        "memory": _of(node.memory),
        "gpu": None if node.gpu is None else {"share": node.gpu, "words": f"{100 * node.gpu:.0f} %"},
        "gpu_memory": _of(node.gpu_memory),
    }


def _of(used: tuple[float, float] | None) -> Drawn | None:
    """Return memory that is in use as a bar and in words."""
    if used is None:
        return None
    some, total = (size / 2**30 for size in used)
    words = f"{some:,.0f} of {total:,.0f} GiB" if total >= 100 else f"{some:.2g} of {total:.2g} GiB"
    return {"share": used[0] / used[1], "words": words}


# ---- time and budget ------------------------------------------------------------------------------------


def _gpu_hours(gpu_s: float) -> str:
    return f"{gpu_s / 3600:.3g} GPU-hours"


def _budget(spec: StudySpec, found: StudyStanding, cost: Costs, incidents: Incidents) -> list[Drawn]:
    """Return rows: name, words, and the share of it that is spent, or None."""
    budget, whole = spec.budget, brief(plain.length(cost.grid, found.unit))
    rows = [
        {"name": "time left", "words": _left_in_words(found, cost), "share": None},
        _row("trained", f"{plain.number(cost.spent)} of {whole} of the full grid", cost.spent, cost.grid),
    ]
    grid = "" if cost.grid_wall_s is None else f"; the full grid takes about {duration(cost.grid_wall_s)}"
    rows.append(_row("time on lanes", f"{duration(cost.wall_s)}{grid}", cost.wall_s, cost.grid_wall_s))
    if budget.gpu_hours is not None:
        words = f"{_gpu_hours(cost.gpu_s)} of the budget of {budget.gpu_hours:g}"
        rows.append(_row("GPU budget", words, cost.gpu_s, 3600 * budget.gpu_hours))
    if cost.gpu_s:
        grid = "" if not cost.grid_gpu_s else f"; the full grid takes about {cost.grid_gpu_s / 3600:.3g}"
        rows.append(_row("GPU time", f"{_gpu_hours(cost.gpu_s)}{grid}", cost.gpu_s, cost.grid_gpu_s))
    if budget.wall_s is not None:
        rows.append({"name": "time budget", "words": _wall_in_words(found, budget.wall_s, incidents)})
    return [{"share": None, **row} for row in rows]


def _row(name: str, words: str, spent: float, of: float | None) -> Drawn:
    """Return a row with a bar; without one where failures have taken more than the whole was to take."""
    return {"name": name, "words": words, "share": spent / of if of and 0 <= spent <= of else None}


def _left_in_words(found: StudyStanding, cost: Costs) -> str:
    left = f"{_many(cost.runs_left, 'trial')} left"
    if not cost.runs_left:
        return "nothing is left to run"
    if found.driver is None:
        return f"nobody runs it now, {left}"
    more = "; results may call for more of them, or for fewer" if cost.open_ended else ""
    if cost.pace is None:
        return f"not known yet: half a trial has to be trained first; {left}{more}"
    if cost.left is None:
        return f"not known: no lane fits now; {left}{more}"
    return f"{plain.between(cost.left.low_s, cost.left.high_s)}, {left}{more}"


def _wall_in_words(found: StudyStanding, wall_s: float, incidents: Incidents) -> str:
    most = f"{duration(wall_s)} for each start"
    if found.driver is None or incidents.began is None:
        return most
    return f"{most}: this one began {moment(incidents.began)} and stops by {moment(incidents.began + wall_s)}"


# ---- failures -------------------------------------------------------------------------------------------


def _faults(kept: KeptStudy, found: StudyStanding, incidents: Incidents) -> Drawn:
    failed, again = sum(incidents.failed.values()), sum(incidents.again.values())
    journal, cells = kept.recorded.journal, kept.recorded.state.cells
    waiting = [cell for cell in found.cells if cell.state is TrialState.PENDING and cell.begun]
    damaged = [f"line {number:,}" for number in journal.damaged[: MOST_NAMED + 1]]
    return {
        "says": _faults_in_words(failed, again, incidents.resumed),
        "kinds": [
            {"kind": kind.value, "failed": count, "again": incidents.again.get(kind, 0)}
            for kind, count in sorted(incidents.failed.items(), key=lambda one: -one[1])
        ],
        "rows": [_failure(one, cells.get(one.cell), found) for one in incidents.latest],
        "waiting": _some((cell.name for cell in waiting), "trials", len(waiting)),
        "damaged": _some(damaged, "lines", found.damaged_lines),
        "shared": _some(found.shared, "files", len(found.shared)),
    }


def _faults_in_words(failed: int, again: int, resumed: int) -> str:
    words = [f"{_many(failed, 'attempt')} failed, {again or 'none'} tried again by itself" if failed else ""]
    words += [f"{_many(resumed, 'attempt')} went on from a checkpoint" if resumed else ""]
    return "; ".join(filter(None, words)) or "No attempt has failed."


def _failure(one: FailedAttempt, cell: TrialRecord | None, found: StudyStanding) -> Drawn:
    trial = {"name": one.cell, "cell": ""} if cell is None else _trial(cell)
    return {
        **trial,
        "when": moment(one.t),
        "attempt": one.attempt,
        "kind": one.kind.value,
        "node": brief(one.node or "") or DASH,
        "message": brief(gist(one.message)),
        "then": _then(one, cell, found),
    }


def _then(one: FailedAttempt, cell: TrialRecord | None, found: StudyStanding) -> str:
    if one.went_on:
        return "began anew" if one.step is None else f"went on from step {one.step:,}"
    if one.again:
        return "goes on with the next start" if found.driver is None else "waits for its next attempt"
    if cell is not None and cell.state is TrialState.FAILED and cell.is_left(retry_failed=False):
        return "the next start takes it up"
    return "not tried again by itself"
