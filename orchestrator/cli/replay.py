"""`orchestrate simulate --from`: a recorded study under other rules, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.api.recorded import open_study
from orchestrator.cli import console
from orchestrator.reporting import plain

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.simulate.recorded import RecordedVerdict, Replay
    from orchestrator.study.spec import StudySpec

_SHOWN = 6
"""Missing runs that are named one by one."""


def show(study: str, storage: str, rules: Sequence[str], *, as_json: bool) -> None:
    """Replay a study and print what each rule would have cost and said.

    Raises:
        InputError: no such study, an unknown rule, or a design that cannot be replayed.
    """
    recorded = open_study(study, storage)
    spec = recorded.spec
    count = recorded.slots()
    found = recorded.replay(rules, count)
    if as_json:
        console.data_json(document(spec.name, found, count))
        return
    stopped = dict.fromkeys(one.rule for one in found if one.follows.stops_at_rungs)
    slots_said = f"; {', '.join(stopped)} on {count} slots" if stopped else ""
    metric = f"{spec.metric.name} ({spec.metric.mode})"
    console.data(f"{spec.name}: {metric}, as recorded, nothing is resampled{slots_said}")
    for group in _groups(found):
        console.show(costs(spec, group), "")
        console.show(verdicts(spec, group), "")
        for one in group:
            if one.missing:
                console.data(_gaps(one))


def document(study: str, found: Sequence[Replay], lanes: int) -> dict[str, Any]:
    """`simulate --from --json`: every rule on every phase and family, with what it lacks and says."""
    return {
        "study": study,
        "lanes": lanes,
        "replays": [
            {**asdict(one), "finished": one.finished, "agreement": _agreement(one, found)} for one in found
        ],
    }


def _agreement(one: Replay, found: Sequence[Replay]) -> dict[str, int] | None:
    """Count the arms of which a rule says what the grid says; None where there is no other grid."""
    from orchestrator.simulate.recorded import agreement

    where = (one.phase, one.family)
    grids = (g for g in found if not g.follows.drops_runs and (g.phase, g.family) == where)
    grid = next(grids, one)
    return None if grid is one else agreement(one, grid)


def _groups(found: Sequence[Replay]) -> list[list[Replay]]:
    """Return the replays by phase and family, each with all of its rules."""
    places = dict.fromkeys((one.phase, one.family) for one in found)
    return [[one for one in found if (one.phase, one.family) == place] for place in places]


def costs(spec: StudySpec, group: Sequence[Replay]) -> Table:
    """One row per rule: runs, trained length, and how far it says what the grid says."""
    rows = []
    for one in group:
        runs, trained = f"{one.runs} of {one.grid_runs}", plain.length(one.length, spec.stopping.unit)
        share = f"{one.length / one.grid_length:.2f}" if one.grid_length else plain.number(None)
        share += "" if one.finished else " so far"
        rows.append((one.title, runs, trained, share, _agrees(one, group)))
    headings = "rule", "runs", "trained", "of the grid", "says what the grid says"
    return console.table(headings, rows, range(1, len(headings)), wrap=False)


def _agrees(one: Replay, group: Sequence[Replay]) -> str:
    found = _agreement(one, group)
    if found is None or not found["arms"]:
        return plain.number(None)
    opposite = f", {found['opposite']} opposite" if found["opposite"] else ""
    return f"{found['same']} of {found['arms']} arms{opposite}"


def verdicts(spec: StudySpec, group: Sequence[Replay]) -> Table:
    """One row per arm, one column per rule."""
    unit = spec.stopping.unit
    rows = [
        (said.arm, *(_said(one.said[number], unit) for one in group))
        for number, said in enumerate(group[0].said)
    ]
    return console.table(["arm", *(one.title for one in group)], rows)


def _said(said: RecordedVerdict, unit: str) -> str:
    if said.verdict is None:
        return "(cannot be replayed)"
    if said.delta is None:
        return said.verdict
    interval = "" if said.lo is None else f" [{plain.number(said.lo)}, {plain.number(said.hi)}]"
    where = "" if said.rung is None else f" at {unit} {plain.number(said.rung)}"
    return f"{said.verdict}{where}: {said.delta:+.5g}{interval}, n = {said.n}"


def _gaps(one: Replay) -> str:
    names = [f"{arm} seed {seed}" for arm, seed in one.missing[:_SHOWN]]
    more = len(one.missing) - len(names)
    rest = f" and {more} more" if more > 0 else ""
    return (
        f"{one.title}: stops there; it asks for runs that were never made in full: {', '.join(names)}{rest}"
    )
