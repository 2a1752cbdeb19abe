"""One trial of a study that is kept open: its files, and what was worked out of them at the last look."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

from orchestrator.record.deleted import deleted
from orchestrator.record.layout import TrialPaths
from orchestrator.record.metrictable import STEPS, TABLES, read_metrics, read_table
from orchestrator.record.pictures import EventPictures
from orchestrator.record.state import TrialRecord
from orchestrator.record.trialhistory import Attempt, attempts_of, earlier_lines_of, lines_of
from orchestrator.reporting.standing import StudyStanding
from orchestrator.study.plan import Cell
from orchestrator.web.kept import KeptStudy
from orchestrator.web.trialcurves import Row

MOST_OF_A_TABLE = 4 << 20
"""Bytes of the scalars between reports; longer ones are left to TensorBoard."""
MOST_RECENT = 6
_ATTEMPT = re.compile(r"\d+\.json")


class RecentTrials:
    """What was worked out of the trials of a study that were looked at last."""

    def __init__(self) -> None:
        self._trials: OrderedDict[str, dict[str, tuple[object, Any]]] = OrderedDict()
        self._lock = Lock()

    def once(self, cell: str, what: str, of: object, work: Callable[[], Any]) -> Any:
        """Return what `work` does, which was done already if it was of something that is equal."""
        with self._lock:
            mine = self._trials.setdefault(cell, {})
            self._trials.move_to_end(cell)
            while len(self._trials) > MOST_RECENT:
                self._trials.popitem(last=False)
        done = mine.get(what)
        if done is None or done[0] != of:
            mine[what] = done = (of, work())
        return done[1]


@dataclass(frozen=True)
class SeenTrial:
    """One trial of a study as it stands now; `kept` has the study."""

    kept: KeptStudy
    found: StudyStanding
    record: TrialRecord

    @cached_property
    def cell(self) -> Cell:
        """As the plan has it."""
        return self.kept.recorded.plan.cell(self.record.cell)

    @cached_property
    def paths(self) -> TrialPaths:
        """Its files."""
        return self.kept.run.trial_paths(self.record)

    @cached_property
    def reference(self) -> SeenTrial | None:
        """The run of the reference arm that it is compared with: of the same seed, phase and sample."""
        plan, one = self.kept.recorded.plan, self.record
        if one.arm == plan.reference:
            return None
        there = (
            cell.cell
            for cell in plan.by_arm[plan.reference]
            if (cell.phase, cell.seed, cell.sample) == (one.phase, one.seed, one.sample)
        )
        return _trial_of(self.kept, self.found, next(there, ""))

    @cached_property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Names and bytes of what lies in its directory: another one whenever something was written."""
        storage = self.kept.run.storage
        folders = (self.paths.root, self.paths.attempts_dir, self.paths.checkpoints_dir)
        return tuple((one.name, one.size) for folder in folders for one in storage.list(folder))

    @cached_property
    def tables(self) -> tuple[tuple[str, int], ...]:
        """Those that its curves are in."""
        stems = tuple(f"{table.name}." for table in TABLES)
        return tuple(file for file in self.files if file[0].startswith(stems) or _ATTEMPT.fullmatch(file[0]))

    def once(self, what: str, of: object, work: Callable[[], Any]) -> Any:
        """Return what `work` does, or did for the last look at this trial."""
        recent: RecentTrials = self.kept.once("trials", self.kept.run, RecentTrials)
        return recent.once(self.record.cell, what, of, work)

    def rows(self) -> Sequence[Row]:
        """Return its reports. Raises `StudyError` for a damaged table."""
        storage = self.kept.run.storage
        rows: Sequence[Row] = self.once("rows", self.tables, lambda: read_metrics(storage, self.paths))
        return rows

    def steps(self) -> Sequence[Row]:
        """Return the scalars between its reports; none where there are too many."""
        if self.steps_left_out:
            return ()
        storage = self.kept.run.storage
        rows: Sequence[Row] = self.once("steps", self.tables, lambda: read_table(storage, self.paths, STEPS))
        return rows

    @property
    def steps_left_out(self) -> bool:
        """Whether there are too many of these."""
        return sum(size for name, size in self.tables if name.startswith(f"{STEPS.name}.")) > MOST_OF_A_TABLE

    def pictures(self) -> EventPictures:
        """Return what reads its event files."""
        reader: EventPictures = self.once(
            "pictures", None, lambda: EventPictures(self.kept.run.storage, self.paths.root)
        )
        return reader

    def attempts(self) -> Sequence[Attempt]:
        """Return what its journal says of its attempts, the newest last."""
        contents, storage, cell = self.kept.recorded.journal, self.kept.run.storage, self.record.cell
        earlier = self.once("earlier", contents.earlier, lambda: earlier_lines_of(storage, contents, cell))
        found: Sequence[Attempt] = self.once(
            "attempts",
            (contents.earlier, contents.seen),
            lambda: attempts_of((*earlier, *lines_of(contents, cell))),
        )
        return found

    @cached_property
    def gone(self) -> bool:
        """Whether its directory was deleted."""
        run = self.kept.run
        return bool(deleted(run.storage, run.paths, [self.record]))


def trial_of(kept: KeptStudy, cell: str) -> SeenTrial | None:
    """Return the trial of a cell as it stands, None where the study has none. Raises `StudyError`."""
    return _trial_of(kept, kept.status(), cell)


def _trial_of(kept: KeptStudy, found: StudyStanding, cell: str) -> SeenTrial | None:
    by_id: Mapping[str, TrialRecord] = kept.once(
        "by id", found, lambda: {record.cell: record for record in found.cells}
    )
    record = by_id.get(cell)
    return None if record is None else SeenTrial(kept, found, record)
