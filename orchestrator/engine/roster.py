"""The cells of a running study: where each stands, which runs next, and what the results call for.

What is to be run is `decide.agenda`'s answer; it is asked again whenever cells that it waits for have all
ended. Every look of the sequential rule, every batch of new cells and every skipped cell is in the journal
before it takes effect. Not thread-safe: the conductor's lock guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from orchestrator.decide.agenda import Agenda, Judged, agenda, depends_on_results, in_words
from orchestrator.decide.evaluation import is_outcome
from orchestrator.decide.states import TrialState, advance
from orchestrator.engine import entries
from orchestrator.engine.actions import Action, StopTrial
from orchestrator.engine.live import LiveCell
from orchestrator.engine.messages import Answer
from orchestrator.record.events import BatchAdded, LookTaken
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.cells import Batch
from orchestrator.study.spec import StudySpec

Look = tuple[str, int, str, int, str, int, float | None]
"""Phase, family, arm, number of seeds, what it has led to, pairs and p: a run that is tried again changes
those.
"""


class Roster:
    """See the module's text.

    Args:
        record: what has happened so far, and takes what happens.
        retry_failed: also run cells again that failed by their own fault.
        note: says one line to people.
    """

    def __init__(
        self,
        spec: StudySpec,
        record: StudyRecord,
        note: Callable[[str], None],
        *,
        retry_failed: bool = False,
    ) -> None:
        history = record.state
        self.spec, self.plan = spec, history.plan
        self._families, self._record, self._note = history.families, record, note
        self.cells = {cell: LiveCell.of(self.plan.cell(cell), one) for cell, one in history.cells.items()}
        self._running: dict[str, LiveCell] = {}  # looked at in every step of Tune
        self._seen = {_look_of(event) for event in history.looks}
        self._again = set(history.remaining(retry_failed))
        self.agenda = Agenda()
        self._awaited: list[set[str]] = []
        self._must = deque[str]()  # wanted, and wait for a lane
        self._may = deque[str]()  # ahead of a look
        self._wanted: frozenset[str] = frozenset()

    def take_up(self) -> None:
        """What an earlier driver left: cells that were under way, cancelled or lost wait again."""
        for cell in self._again:
            live = self.cells[cell]
            if live.state.answered:
                continue
            if live.state is TrialState.FAILED:
                live.retries = 0
            live.state = TrialState.PENDING
        self.proceed()

    # ---- states -----------------------------------------------------------------------------------------

    def move(self, live: LiveCell, state: TrialState) -> None:
        """The only way in which a cell changes its state."""
        live.state = advance(live.state, state)
        if state is TrialState.RUNNING:
            self._running[live.cell.cell] = live
        else:
            self._running.pop(live.cell.cell, None)

    def running(self) -> list[LiveCell]:
        """The cells that have an attempt under way."""
        return list(self._running.values())

    def live(self, cell: str, attempt: int | None = None) -> LiveCell | None:
        """The cell, if it runs, and at this attempt when one is named."""
        live = self._running.get(cell)
        return live if live is not None and attempt in (None, live.attempts) else None

    # ---- what is next -----------------------------------------------------------------------------------

    def waiting(self) -> int:
        """How many cells wait for a lane."""
        return len(self._must) + (len(self._may) if self._may_run_ahead() else 0)

    def queue(self) -> tuple[str, ...]:
        """The cells that have to run and wait for a lane, first the next one."""
        return tuple(self._must)

    def next(self) -> LiveCell | None:
        """Take the next cell: interrupted ones first, then fresh ones, then seeds ahead of a decision.

        Those only fill lanes that would be idle, and only while the decision that they wait for can come.
        """
        if self._must:
            return self.cells[self._must.popleft()]
        return self.cells[self._may.popleft()] if self._may and self._may_run_ahead() else None

    def put_back(self, live: LiveCell) -> None:
        """An attempt was lost: the cell is the next to run."""
        self.move(live, TrialState.PENDING)
        live.lane = None
        self._must.appendleft(live.cell.cell)

    def _may_run_ahead(self) -> bool:
        wanted = self._wanted
        return self.spec.resources.run_ahead and (bool(self._must) or any(c in wanted for c in self._running))

    def _line_up(self) -> None:
        must = [cell for cell in self.agenda.wanted if self.cells[cell].state is TrialState.PENDING]
        must.sort(key=lambda cell: self.cells[cell].attempts == 0)
        may = [cell for cell in self.agenda.ahead if self.cells[cell].state is TrialState.PENDING]
        self._must, self._may, self._wanted = deque(must), deque(may), frozenset(self.agenda.wanted)
        self._awaited = [set(group) for group in self.agenda.awaited]

    def proceed(self, ended: LiveCell | None = None) -> list[Action]:
        """Ask what the results call for, and write it down. Returns what running trials have to be told.

        Args:
            ended: the cell that ended since the last call; nothing is asked while others are awaited with it.
        """
        if ended is not None and not self._calls_for_more(ended):
            return []
        self.agenda = self._ask()
        while self.agenda.batches:
            for batch in self.agenda.batches:
                self._add(batch)
            self.agenda = self._ask()
        for judged in self.agenda.judged:
            self._write_looks(judged)
        for cell in (*self.agenda.wanted, *self.agenda.ahead):
            if self.cells[cell].state is TrialState.SKIPPED:  # a run that looks had counted as failed is back
                self.cells[cell].state = TrialState.PENDING
        skip = self.agenda.skip.items()
        actions = [action for cell, why in skip for action in self._skip(self.cells[cell], why)]
        self._line_up()
        return actions

    def _calls_for_more(self, ended: LiveCell) -> bool:
        if not depends_on_results(self.spec) or not is_outcome(ended):
            return False
        through = False
        for group in self._awaited:
            if ended.cell.cell in group:
                group.remove(ended.cell.cell)
                through = through or not group
        return through

    def _ask(self) -> Agenda:
        return agenda(self.spec, self.plan, self.cells, self._families)

    def _add(self, batch: Batch) -> None:
        self._record.append(BatchAdded.of(batch))
        self._note(f"{batch.reason} ({len(batch.cells)} cells)")
        self.plan = self.plan.grown(batch)
        for cell in batch.cells:
            self.cells.setdefault(cell.cell, LiveCell.new(cell))

    def _write_looks(self, judged: Judged) -> None:
        evaluation, news = judged.evaluation, dict[int, dict[str, str]]()
        for look in judged.course.looks:
            entry = entries.look(judged, look, self.spec.metric.mode)
            if _look_of(entry) in self._seen:
                continue
            self._seen.add(_look_of(entry))
            self._record.append(entry)
            # one that goes on and finds the budget spent is told once, with what came of it
            news.setdefault(look.number, {})[judged.arm(look)] = in_words(look)
        for number, words in news.items():
            phase = "" if evaluation.phase == "fixed" else f" ({evaluation.phase})"
            told = ", ".join(f"{arm} {word}" for arm, word in words.items())
            self._note(f"look after {number} seeds{phase}: {told}")

    def _skip(self, live: LiveCell, reason: str) -> list[Action]:
        if live.state is TrialState.RUNNING:
            if live.verdict is not None:
                return []
            live.verdict = Answer(True, TrialState.SKIPPED, reason)
            return [StopTrial(live.cell.cell, live.attempts, live.verdict)]
        if live.state in (TrialState.PENDING, TrialState.CANCELLED):
            self.move(live, TrialState.SKIPPED)
            live.cause, live.reason, live.lane = None, reason, None
            self._record.append(entries.end(live, None, code_changed=False, gpus=0.0))
        return []


def _look_of(event: LookTaken) -> Look:
    return event.phase, event.family, event.arm, event.number, event.action, event.n, event.p
