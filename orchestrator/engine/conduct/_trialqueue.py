"""Which trials run, which run next, and what the results call for.

What is to be run is `decide.agenda`'s answer; it is asked again whenever cells that it waits for have all
ended. Every look of the sequential rule, every batch of new cells and every skipped cell is in the journal
before it takes effect. Not thread-safe: the conductor's lock guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.decide.agenda import Agenda, Judged, agenda, depends_on_results, in_words
from orchestrator.decide.evaluation import is_outcome
from orchestrator.decide.failing import failed
from orchestrator.decide.resolve import ArmLook
from orchestrator.decide.states import TrialState
from orchestrator.engine.conduct._runlog import RunLog
from orchestrator.engine.messages import Action, Answer, StopTrial
from orchestrator.record.events import BatchAdded, LookTaken, TrialEnd
from orchestrator.record.state import TrialRecord
from orchestrator.study.cells import Batch
from orchestrator.study.spec import StudySpec

Look = tuple[str, int, str, int, str, int, float | None]
"""Phase, family, arm, number of seeds, what it has led to, pairs and p: a run that is tried again changes
those.
"""


@dataclass
class LiveTrial:
    """A trial of this run, beside its `record`. Times are seconds of the conductor's clock.

    `lane`: the worker group that it was last heard of on; `since`: when the attempt under way was handed out,
    None when its seconds are counted; `called`: when its code was called; `trained_s`: from then to its
    latest report; `handed`: the attempt that a slot was last given, not the ones that
    followed it there; `heard`: when the attempt was last heard of, None before its code is called;
    `reported`, `resumed`: whether it has reported, goes on from a checkpoint; `awaited`: since when other
    ranks wait for rank 0 to make its first report; `hangs`: it was named by the `HangDetector`; `length`,
    `value`: of the latest report; `beside`, `curve`: of an ended one, as in its `Outcome`; `answer`: what the
    trial ends as when it was
    told to leave, whether it has heard of it or not; `unrecorded_s`: of attempts that ended, in no event yet;
    `wrote`, `shared`: files outside of its own directory (`Outcome`).
    """

    record: TrialRecord
    length: float | None
    value: float | None
    answer: Answer | None
    lane: str | None = None
    since: float | None = None
    called: float | None = None
    trained_s: float = 0.0
    handed: int = 0
    unrecorded_s: float = 0.0
    heard: float | None = None
    reported: bool = False
    resumed: bool = False
    awaited: float | None = None
    hangs: bool = False
    beside: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[float | None, ...] = ()
    wrote: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: TrialRecord) -> LiveTrial:
        """As the journal left it: a decision to stop holds, although the trial did not live to hear of it."""
        stop = record.stop
        answer = None if stop is None else Answer(True, stop.state, stop.reason)
        return cls(record, record.length, record.value, answer)

    @property
    def key(self) -> tuple[str, int]:
        """Cell and attempt."""
        return self.record.cell, self.record.attempts

    def seen(self) -> TrialRecord:
        """Return a copy of the record with how far the trial is now, and what that took."""
        wall_s = self.wall_s
        return replace(
            self.record, state=TrialState.RUNNING, length=self.length, value=self.value, wall_s=wall_s
        )

    @property
    def wall_s(self) -> float:
        """Seconds up to its latest report, those of earlier attempts included."""
        return self.record.wall_s + self.unrecorded_s + self.trained_s

    def reach(self, length: float | None, value: float | None, now: float) -> None:
        """Take in a report."""
        self.length, self.value = length, value
        self.trained_s = 0.0 if self.called is None else now - self.called

    def under_way_s(self, now: float) -> float:
        """Seconds of the attempt that is under way."""
        return 0.0 if self.since is None else now - self.since

    def begin(self, now: float) -> None:
        """Take in that another attempt is handed out: nothing is known of it."""
        self.since, self.called, self.heard, self.awaited = now, None, None, None
        self.trained_s = 0.0
        self.reported = self.resumed = self.hangs = False

    def spend(self, wall_s: float) -> None:
        """Count the seconds of an attempt that ended."""
        self.unrecorded_s += wall_s
        self.since, self.trained_s = None, 0.0

    def take_unrecorded(self) -> float:
        """Seconds that no event has told of, for the one that does: the journal's sums are the totals."""
        spent, self.unrecorded_s = self.unrecorded_s, 0.0
        return spent


class TrialQueue:
    """Holds the trials that this run has to answer, in the order in which they start.

    `only`: these, and none that results call for besides; empty: all that are left.
    """

    def __init__(
        self, spec: StudySpec, log: RunLog, *, retry_failed: bool = False, only: Collection[str] = ()
    ) -> None:
        self._only = frozenset(only)
        self._spec, self._log, self._record, self.state = spec, log, log.record, log.record.state
        self._live: dict[str, LiveTrial] = {}
        self._running: dict[str, LiveTrial] = {}  # looked at in every step of Tune
        self._looks = {_look_of(event) for event in self.state.looks}
        self._end_decided()
        # waiting or running, whatever they ended as
        self._left = {cell for cell in self.state.remaining(retry_failed) if self.is_asked_for(cell)}
        self._agenda = Agenda()
        self._awaited: list[set[str]] = []
        self._must = deque[str]()  # wanted, and wait for a lane
        self._may = deque[str]()  # ahead of a look
        self._wanted: frozenset[str] = frozenset()
        self.proceed()

    def _end_decided(self) -> None:
        """Rungs are decided once: trials that were told to stop, and whose driver died, have ended."""
        for record in self.state.cells.values():
            stop = record.stop
            if record.state is TrialState.RUNNING and stop is not None and stop.state is not None:
                self._record.append(_end(record, stop.state, stop.reason))

    # ---- where trials stand -----------------------------------------------------------------------------

    def is_asked_for(self, cell: str) -> bool:
        """Whether this run is to answer the cell."""
        return not self._only or cell in self._only

    def running(self) -> list[LiveTrial]:
        """Return the trials that have an attempt under way."""
        return list(self._running.values())

    def current(self, cell: str, attempt: int | None = None) -> LiveTrial | None:
        """Return the trial, if it runs, and at this attempt when one is named."""
        live = self._running.get(cell)
        return live if live is not None and attempt in (None, live.record.attempts) else None

    def waits(self, cell: str) -> bool:
        """Whether the trial is to be run and is not running."""
        return cell in self._left and cell not in self._running

    def seen(self) -> list[TrialRecord]:
        """Every trial as this run sees it: running ones as far as they are, those that wait as pending."""
        waiting = self.state.with_open(self._left - self._running.keys())
        return [
            record if (live := self._running.get(cell)) is None else live.seen()
            for cell, record in waiting.items()
        ]

    def unrecorded_s(self) -> float:
        """Seconds of attempts that ended, and that no event has told of yet."""
        return sum(live.unrecorded_s for live in self._live.values())

    # ---- what is next -----------------------------------------------------------------------------------

    def waiting(self) -> int:
        """How many trials wait for a lane."""
        return len(self._must) + (len(self._may) if self._may_run_ahead() else 0)

    def next(self, held: Callable[[str], bool] = lambda _: False) -> LiveTrial | None:
        """Take the next trial that is not held: interrupted ones first, then fresh ones, then seeds ahead of
        a decision.

        Those only fill lanes that would be idle, and only while the decision that they wait for can come.
        """
        line = self._must or (self._may if self._may_run_ahead() else deque[str]())
        cell = next((cell for cell in line if not held(cell)), None)
        if cell is None:
            return None
        line.remove(cell)
        return self._live.setdefault(cell, LiveTrial.of(self.state.cells[cell]))

    def started(self, live: LiveTrial) -> None:
        """Take in that an attempt is under way."""
        self._running[live.record.cell] = live

    def put_back(self, live: LiveTrial) -> None:
        """Take in that an attempt was lost: the trial is the next to run."""
        del self._running[live.record.cell]
        live.lane = None
        self._must.appendleft(live.record.cell)

    def ended(self, live: LiveTrial) -> list[Action]:
        """Take in that a trial has ended; returns what running ones have to be told because of it."""
        cell = live.record.cell
        del self._running[cell]
        self._live.pop(cell, None)
        self._left.discard(cell)
        live.lane = None
        if self._log.request is not None or not self._calls_for_more(live.record):
            return []
        return self.proceed()

    def _may_run_ahead(self) -> bool:
        wanted = self._wanted
        return self._spec.resources.run_ahead and (
            bool(self._must) or any(cell in wanted for cell in self._running)
        )

    def _line_up(self) -> None:
        must = [cell for cell in self._agenda.wanted if self.waits(cell)]
        must.sort(key=lambda cell: self.state.cells[cell].attempts == 0)
        may = [cell for cell in self._agenda.ahead if self.waits(cell)]
        self._must, self._may, self._wanted = deque(must), deque(may), frozenset(self._agenda.wanted)
        self._awaited = [set(group) for group in self._agenda.awaited]

    # ---- what the results call for ----------------------------------------------------------------------

    def proceed(self) -> list[Action]:
        """Ask what the results call for, and write it down. Returns what running trials have to be told."""
        made = self._ask()
        while made.batches:
            for batch in made.batches:
                self._add(batch)
            made = self._ask()
        self._agenda = made
        for judged in made.judged:
            self._write_looks(judged)
        for cell in (*made.wanted, *made.ahead):
            # a run that looks had counted as failed is back
            if self.state.cells[cell].state is TrialState.SKIPPED and self.is_asked_for(cell):
                self._left.add(cell)
        actions = [action for cell, why in made.skip.items() for action in self._skip(cell, why)]
        self._line_up()
        return actions

    def _calls_for_more(self, ended: TrialRecord) -> bool:
        """Nothing is asked while others are awaited with it, but for a failure, which may end its arm."""
        if failed(ended):
            return True
        if not depends_on_results(self._spec) or not is_outcome(ended):
            return False
        through = False
        for group in self._awaited:
            if ended.cell in group:
                group.remove(ended.cell)
                through = through or not group
        return through

    def _ask(self) -> Agenda:
        return agenda(self._spec, self.state.plan, self.state.with_open(self._left), self.state.families)

    def _add(self, batch: Batch) -> None:
        known = set(self.state.cells)
        self._record.append(BatchAdded.of(batch))
        self._left |= {cell for cell in self.state.cells.keys() - known if self.is_asked_for(cell)}
        self._log.say(f"{batch.reason} ({len(batch.cells)} cells)")

    def _write_looks(self, judged: Judged) -> None:
        evaluation, news = judged.evaluation, dict[int, dict[str, str]]()
        for look in judged.course.looks:
            taken = _taken(judged, look, self._spec.metric.claimed_mode)
            if _look_of(taken) in self._looks:
                continue
            self._looks.add(_look_of(taken))
            self._record.append(taken)
            # one that goes on and finds the budget spent is told once, with what came of it
            news.setdefault(look.number, {})[judged.arm(look)] = in_words(look)
        for number, words in news.items():
            phase = "" if evaluation.phase == "fixed" else f" ({evaluation.phase})"
            told = ", ".join(f"{arm} {word}" for arm, word in words.items())
            seeds = f"{number} seed{'' if number == 1 else 's'}"
            self._log.say(f"look after {seeds}{phase}: {told}")

    def _skip(self, cell: str, reason: str) -> list[Action]:
        live, record = self._running.get(cell), self.state.cells[cell]
        if live is not None:
            if live.answer is not None:
                return []
            live.answer = Answer(True, TrialState.SKIPPED, reason)
            return [StopTrial(*live.key, live.answer)]
        if self.waits(cell) or record.state is TrialState.CANCELLED:
            self._record.append(_end(record, TrialState.SKIPPED, reason))
            self._left.discard(cell)
        return []


def _end(record: TrialRecord, state: TrialState, reason: str | None) -> TrialEnd:
    """Return the end of a trial that does not run."""
    return TrialEnd(*record.who, state, None, reason, record.length, record.value, 0.0, 0.0, None)


def _taken(judged: Judged, seen: ArmLook, mode: str) -> LookTaken:
    """Return what the sequential rule found about one arm; values in the user's units."""
    sign = 1.0 if mode == "max" else -1.0
    ends = [None if end is None else sign * end for end in (seen.lo, seen.hi)]
    lo, hi = ends if mode == "max" else reversed(ends)
    return LookTaken(
        phase=judged.evaluation.phase,
        family=judged.evaluation.family,
        arm=judged.arm(seen),
        number=seen.number,
        n=seen.n,
        action=seen.action,
        delta=None if seen.mean is None else sign * seen.mean,
        lo=lo,
        hi=hi,
        p=seen.p,
        level=seen.level,
        power=seen.power,
        seeds_needed=seen.seeds_needed,
    )


def _look_of(event: LookTaken) -> Look:
    return event.phase, event.family, event.arm, event.number, event.action, event.n, event.p
