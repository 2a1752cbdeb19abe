"""Studies that the pages have looked at: each stays open, and the next look costs what is new since."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from threading import Lock, Thread
from typing import Any

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.errors import OrchestratorError
from orchestrator.record.deleted import deleted
from orchestrator.record.events import BatchAdded, LookTaken, Reopened, StudyStarted, TrialEnd
from orchestrator.record.journal import JournalContents, Line
from orchestrator.record.journalparts import lines_with
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import is_alive, read_lease
from orchestrator.record.recorded import RecordedStudy
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.incidents import OF_INCIDENTS, IncidentReader, Incidents, counts_for
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.standing import Pulse, StudyStanding, pulse, standing

MOST_LINES = 1_000_000
"""Of the journals that are kept, all together: several hundred MiB."""
_ANSWERS = (TrialEnd, Reopened, BatchAdded, LookTaken, StudyStarted)
"""What effects depend on."""
_SHARE = 0.05
"""Of the time, at most, that the effects of a study may take which somebody runs."""
MOST_AT_ONCE = 1_000
"""Trials of a study whose effects a page waits for; those of a larger one are worked out beside it."""
GONE_EVERY_S = 10.0
"""Between two looks at the directories of all trials of such a study."""
_VERSIONS = count(time.time_ns())
"""A server that takes another's place gives no number that a page has from that one."""


Beside = Callable[[Callable[[], None]], None]
"""Begins some work, and does not wait for it."""


def _in_thread(work: Callable[[], None]) -> None:
    Thread(target=work, name="effects", daemon=True).start()


class KeptStudy:
    """A recorded study as it was last looked at. `version`: another one whenever there is more to show."""

    def __init__(
        self,
        run: OpenedStudy,
        clock: Callable[[], float] = time.monotonic,
        beside: Beside = _in_thread,
    ) -> None:
        self.run, self.version, self.lines = run, 0, 0
        self._clock, self._due, self._behind = clock, 0.0, False
        self._beside, self._busy = beside, False
        self._once: dict[str, tuple[object, Any]] = {}
        self._lock = Lock()
        self._felt: Pulse | None = None
        self._found: StudyStanding | None = None
        self._answered: tuple[Line, ...] = ()
        self._report: StudyReport | OrchestratorError | None = None
        self._reader, self._followed = IncidentReader(), JournalContents()
        self._gone_due, self._missed = 0.0, list[str]()
        self._arms: Mapping[str, tuple[TrialRecord, ...]] = {}

    def status(self) -> StudyStanding:
        """Return where the study stands now. Raises `StudyError` when its record is damaged."""
        with self._lock:
            felt = pulse(self.run)
            late = self._behind and not self._busy and self._clock() >= self._due
            if self._found is None or felt != self._felt or late:
                self._found = standing(self.run, felt, self._gone(felt.recorded))
                self._felt, self.version = felt, next(_VERSIONS)
                self.lines = len(felt.recorded.journal.lines)
            return self._found

    def _gone(self, recorded: RecordedStudy) -> list[TrialRecord]:
        """Return trials without a directory; of a large study all are looked for now and then."""
        among = recorded.state.cells
        if len(among) > MOST_AT_ONCE and self._clock() < self._gone_due:
            among = {name: among[name] for name in self._missed if name in among}
        else:
            self._gone_due = self._clock() + GONE_EVERY_S
        found = deleted(recorded.storage, recorded.paths, among.values())
        self._missed = [trial.cell for trial in found]
        return found

    @property
    def standing(self) -> StudyStanding:
        """Where the study stood at the last look."""
        return self.status() if self._found is None else self._found

    def arms(self) -> Mapping[str, tuple[TrialRecord, ...]]:
        """Return the cells of every arm; of one that nothing has happened to, the same tuple as before."""
        found = self.standing

        def grouped() -> Mapping[str, tuple[TrialRecord, ...]]:
            lists: dict[str, list[TrialRecord]] = {arm: [] for arm in found.arms}
            for cell in found.cells:
                lists.setdefault(cell.arm, []).append(cell)
            now = {arm: tuple(mine) for arm, mine in lists.items()}
            before = self._arms
            self._arms = {arm: before[arm] if before.get(arm) == mine else mine for arm, mine in now.items()}
            return self._arms

        known: Mapping[str, tuple[TrialRecord, ...]] = self.once("arms", found, grouped)
        return known

    @property
    def recorded(self) -> RecordedStudy:
        """What is recorded, as it was at the last look."""
        if self._felt is None:
            self.status()
        assert self._felt is not None
        return self._felt.recorded

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """What the driver had said at the last look, if there was one."""
        return None if self._felt is None else self._felt.progress

    def incidents(self) -> Incidents:
        """Return what has gone wrong so far; of the journal what is new is taken in."""
        recorded = self.recorded
        with self._lock:
            before, now = self._followed, recorded.journal
            known = len(before.lines)
            grown = before.parts and before.earlier == now.earlier and before.lines == now.lines[:known]
            if not grown:
                self._reader = IncidentReader()
            if grown or not now.earlier:
                self._reader.take(now.lines[known:] if grown else now.lines)
            else:
                cells = recorded.state.cells.items()
                running = {name for name, cell in cells if cell.state is TrialState.RUNNING}
                wanted = counts_for(running)
                self._reader.take(lines_with(recorded.storage, now, OF_INCIDENTS, wanted))
            self._followed = now
            return self._reader.incidents()

    def report(self) -> StudyReport | OrchestratorError | None:
        """Return the report, without curves and new data, or why there is none.

        It is worked out again when there are answers that it does not have; while the study runs, not so
        often that it would take much of this machine. Of a large study that is done beside: the one before is
        returned until then, None where there was none.
        """
        recorded = self.recorded
        with self._lock:
            lines, known = recorded.journal.lines, len(self._answered)
            new = lines[known:] if lines[:known] == self._answered else lines
            self._behind = self._report is None or any(isinstance(line.event, _ANSWERS) for line in new)
            runs = self._felt is not None and self._felt.driver is not None
            if self._behind and not self._busy and not (runs and self._clock() < self._due):
                if len(recorded.state.cells) <= MOST_AT_ONCE:
                    self._take(lines, *self._worked_out())
                else:
                    self._busy = True
                    self._beside(lambda: self._catch_up(lines))
            return self._report

    def is_driven(self) -> bool:
        """Whether somebody runs it, without reading the record; False where asking costs a request."""
        if not self.run.storage.is_local:
            return False
        with suppress(OSError, OrchestratorError):
            lease = read_lease(self.run.storage, self.run.paths)
            return lease is not None and is_alive(lease, time.time())
        return False

    @property
    def rests(self) -> bool:
        """Whether nobody ran it at the last look; False before the first one."""
        return self._found is not None and self._found.driver is None

    @property
    def last_report(self) -> StudyReport | None:
        """The report that was worked out last, for whom it costs nothing: None where nobody has asked.

        Of a study that has gone on since, and that nobody runs any more, none either: another one is on disk.
        """
        lines, felt = self.recorded.journal.lines, self._felt
        runs = felt is not None and felt.driver is not None
        known = None if isinstance(self._report, OrchestratorError) else self._report
        return known if runs or len(lines) == len(self._answered) else None

    def _catch_up(self, lines: tuple[Line, ...]) -> None:
        """Work the report out, and let the next look show it."""
        try:
            found = self._worked_out()
            with self._lock:
                self._take(lines, *found)
                self._found = None
        finally:
            self._busy = False

    def _worked_out(self) -> tuple[StudyReport | OrchestratorError, float]:
        """Return the report, and the time that it took."""
        began = self._clock()
        try:
            found: StudyReport | OrchestratorError = self.run.report(curves=False, new_data=False)
        except OrchestratorError as error:
            found = error
        return found, self._clock() - began

    def _take(self, lines: tuple[Line, ...], found: StudyReport | OrchestratorError, took: float) -> None:
        self._report, self._answered, self._behind = found, lines, False
        self._due = self._clock() + took / _SHARE

    def once(self, what: str, of: object, work: Callable[[], Any]) -> Any:
        """Return what `work` does, which was done already if it is still `of` the same object, or objects."""
        done = self._once.get(what)
        if done is None or not (done[0] is of or (type(of) is tuple and done[0] == of)):
            self._once[what] = done = (of, work())
        return done[1]


class KeptStudies:
    """The studies recorded in a storage, by name; those looked at last are kept."""

    def __init__(self, storage: Storage, beside: Beside = _in_thread) -> None:
        self.storage, self._beside = storage, beside
        self._kept: dict[str, KeptStudy] = {}
        self._lock = Lock()

    def named(self, name: str) -> KeptStudy | None:
        """Return the recorded study of this name, or None: one folder directly below the storage."""
        if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
            return None
        paths = StudyPaths(name)
        there = self.storage.exists(paths.plan_json)
        with self._lock:
            kept = self._kept.pop(name, None)
            if not there:
                return None
            self._kept[name] = kept = kept or KeptStudy(OpenedStudy(self.storage, paths), beside=self._beside)
            while sum(one.lines for one in self._kept.values()) > MOST_LINES and len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
            return kept
