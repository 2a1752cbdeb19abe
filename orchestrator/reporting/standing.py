"""Where a recorded study stands, as plain data: what `status` and `watch` print and the page draws."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState

if TYPE_CHECKING:
    from orchestrator.record.events import Decided
    from orchestrator.record.recorded import RecordedStudy
    from orchestrator.record.run import Run
    from orchestrator.record.state import TrialRecord


GLYPHS: dict[str, str] = {
    "pending": "·",
    "running": "▶",
    "done": "✓",
    "stopped": "■",
    "diverged": "≈",
    "failed": "✗",
    "cancelled": "○",
    "skipped": "–",
}
"""One character per state of a trial."""


STOP_IN_JSON = ("rule", "rung", "cutoff", "rank", "peers")
"""What `status --json` says of the rule that has ended a trial."""
CELL_IN_JSON = (
    *("cell", "arm", "seed", "phase", "sample", "state", "cause", "reason", "length", "value", "attempts"),
    *("wall_s", "gpu_s", "trial_dir", "code"),
)
"""What it says of a trial."""


@dataclass(frozen=True)
class StudyStanding:
    """The study. `driver`: who runs it now, if anybody; `saved`: training length that stops have spared.

    `waits`: what trials wait for although there is room; `claimed`: the metric of finished trials where
    `metric` only selects;
    `gone`: trials whose directory was deleted; `shared`: files that trials share and have changed;
    `damaged_lines`, `torn_bytes`: what could not be read of the journal; an unfinished last line is no fault.
    `cells`: the trials in the plan's order; of those that run, length, value and seconds as the driver last
    said.
    """

    study: str
    root: str
    metric: str
    mode: str
    unit: str
    max_length: float
    driver: str | None
    arms: tuple[str, ...]
    cells: tuple[TrialRecord, ...]
    saved: float
    problems: tuple[str, ...]
    damaged_lines: int = 0
    torn_bytes: int = 0
    gone: tuple[str, ...] = ()
    claimed: str | None = None
    shared: tuple[str, ...] = ()
    waits: str | None = None

    def metric_of(self, cell: TrialRecord) -> str:
        """Return what the value of a trial is: of a finished one what is claimed, unless it is a sample."""
        claims = cell.state is TrialState.DONE and cell.sample is None
        return self.claimed if claims and self.claimed else self.metric

    def counts(self) -> dict[str, int]:
        """Cells per state; states without cells are left out."""
        tally = Counter(cell.state for cell in self.cells)
        return {state.value: tally[state] for state in TrialState if tally[state]}

    def oddities(self) -> list[str]:
        """Say what in the journal makes no sense."""
        lines = f"{self.damaged_lines} line{'s' * (self.damaged_lines > 1)} cannot be read"
        return [*([lines] if self.damaged_lines else []), *self.problems]

    def stop(self, cell: TrialRecord) -> Decided | None:
        """Why a rule ended a trial, its cut-off in the user's units; None where none did."""
        last = cell.stop
        if last is None or cell.state not in (TrialState.STOPPED, TrialState.DIVERGED):
            return None
        return last if last.cutoff is None or self.mode == "max" else replace(last, cutoff=-last.cutoff)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status --json`."""
        cells = [
            {**picked(cell, CELL_IN_JSON), "stop": stop and picked(stop, STOP_IN_JSON)}
            for cell, stop in ((cell, self.stop(cell)) for cell in self.cells)
        ]
        whole = picked(self, [field.name for field in fields(self)])
        return {**whole, "cells": cells, "counts": self.counts()}

    def _repr_html_(self) -> str:
        from orchestrator.reporting.notebook import standing_html

        return standing_html(self)


def picked(found: object, names: Iterable[str]) -> dict[str, Any]:
    """Return these attributes, by name."""
    return {name: getattr(found, name) for name in names}


@dataclass(frozen=True)
class Pulse:
    """What a standing is worked out of: while this stays the same, so does that."""

    recorded: RecordedStudy
    driver: str | None
    progress: Mapping[str, Any] | None


def pulse(run: Run, clock: Callable[[], float] = time.time) -> Pulse:
    """Read what is new of a study. Raises `StudyError` when its record is damaged."""
    from orchestrator.record.lease import describe, is_alive, read_lease

    recorded, lease = run.view(), read_lease(run.storage, run.paths)
    if lease is None or not is_alive(lease, clock()):
        return Pulse(recorded, None, None)
    return Pulse(recorded, describe(lease), recorded.progress())


def standing(run: Run, felt: Pulse | None = None, gone: Iterable[TrialRecord] | None = None) -> StudyStanding:
    """Read where a study stands. Raises `StudyError` when its record is damaged.

    `gone`: trials without a directory, if that is known.
    """
    from orchestrator.record.deleted import deleted
    from orchestrator.record.shared import DOUBTFUL, shared_files

    felt = felt or pulse(run)
    recorded, progress = felt.recorded, felt.progress
    spec, plan, history, journal = recorded.spec, recorded.plan, recorded.state, recorded.journal
    records = history.cells.values()
    cells = tuple(records if progress is None else (_latest(record, progress) for record in records))
    maximum = float(spec["stopping"]["max"])
    waits = (progress or {}).get("waits")
    return StudyStanding(
        study=plan.study,
        root=(root := run.root),
        metric=spec["metric"]["name"],
        mode=spec["metric"]["mode"],
        unit=spec["stopping"]["unit"],
        max_length=maximum,
        driver=felt.driver,
        arms=tuple(arm.name for arm in plan.arms),
        cells=cells,
        saved=sum(maximum - (cell.length or 0.0) for cell in cells if cell.state is TrialState.STOPPED),
        problems=tuple(history.problems),
        damaged_lines=len(journal.damaged),
        torn_bytes=journal.torn,
        gone=tuple(
            f"{cell.name}: {cell.trial_dir} is gone, with its curves, log and checkpoints; its end still "
            f"counts; again: {shlex.join(['orchestrate', *retry_words(root, cell)])}"
            for cell in (deleted(run.storage, run.paths, cells) if gone is None else gone)
        ),
        claimed=spec["metric"].get("test"),
        shared=tuple(f"{file}; {DOUBTFUL}" for file in shared_files(cells)),
        waits=str(waits.get("for")) if isinstance(waits, Mapping) else None,
    )


def retry_words(study: str, cell: TrialRecord) -> list[str]:
    """Return the words of the command that runs one trial of a study again."""
    sample = [] if cell.sample is None else ["--sample", str(cell.sample)]
    return ["retry", study, cell.arm, str(cell.seed), *sample]


def _latest(record: TrialRecord, progress: Mapping[str, Any]) -> TrialRecord:
    """Return a running trial with what its driver last said of it."""
    if record.state is not TrialState.RUNNING:
        return record
    now = progress.get(record.cell)
    if not isinstance(now, Mapping):
        return record
    said = {name: now[name] for name in ("length", "value") if _is_number(now.get(name, ""), none=True)}
    if _is_number(now.get("wall_s")) and now["wall_s"] >= record.wall_s:
        said["wall_s"] = now["wall_s"]
    return replace(record, **said)


def _is_number(said: object, *, none: bool = False) -> bool:
    """Return whether it is a number that a float can be; somebody else has written it."""
    return (
        isinstance(said, float) or (isinstance(said, int) and abs(said) < 10**300) or (none and said is None)
    )
