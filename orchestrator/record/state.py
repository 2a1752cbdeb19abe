"""What the record says about a study: one `apply` of events, for the running engine and all readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, singledispatchmethod
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from orchestrator.decide.faults import FaultKind, fault_of
from orchestrator.decide.states import Cause, IllegalTransition, TrialState, advance
from orchestrator.record import events
from orchestrator.record.events import CellEvent, Decided, Event, LookTaken, Unreadable
from orchestrator.record.layout import trial_folder
from orchestrator.record.reading import nothing_thrown_away
from orchestrator.study.naming import cell_name
from orchestrator.study.plan import Cell, Plan

_AGAIN = (Cause.HANG, Cause.INFRA)


@dataclass(frozen=True)
class Column:
    """One column of the results. `name`: if not the field's; `show`: a value as it stands in the table."""

    doc: str
    unit: str = ""
    name: str = ""
    show: Callable[[Any], Any] = lambda value: value
    type: Any = None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass
class TrialRecord:
    """Where the trial of one cell stands: all that its events say, and nothing else.

    Fields that are columns of the results (`columns`) say so; `retries_since_progress`: hangs and
    infrastructure failures since the last checkpoint, not preemptions; `decisions`: rung -> what was decided;
    `asked_again`: how often it was begun anew on request after it had its answer;
    `beside`: other metrics where its value was taken (journals of earlier versions do not say);
    `curve`: what it would have counted with at the last rungs below its end;
    `wrote`, `shared`: files outside of its own directory, those of the project apart (`record.shared`).
    """

    cell: Annotated[str, Column("identity of the cell, 12 hex digits")]
    arm: Annotated[str, Column("name of the arm")]
    seed: Annotated[int, Column("its seed")]
    phase: Annotated[str, Column("`fixed`, `tune` (the search) or `retuned`")] = "fixed"
    sample: Annotated[int | None, Column("number of the sample in the search")] = None
    state: Annotated[TrialState, Column("what the trial ended as, or where it stands")] = TrialState.PENDING
    cause: Annotated[Cause | None, Column("why it failed")] = None
    reason: Annotated[str | None, Column("why it ended, in words")] = None
    length: Annotated[
        float | None, Column("how far it was trained, at its end or its last rung", "the study's")
    ] = None
    value: Annotated[
        float | None, Column("the metric there, where it is finite", "the metric's", show=_finite)
    ] = None
    used: Annotated[bool, Column("whether the value enters an effect")] = False
    wall_s: Annotated[float, Column("time on worker groups, all attempts together", "seconds")] = 0.0
    gpu_s: Annotated[float, Column("GPU time, all attempts together", "seconds")] = 0.0
    attempts: Annotated[int, Column("number of the last attempt; 0: it never started")] = 0
    trial_dir: Annotated[str, Column("its directory, below that of the study")] = ""
    devices: Annotated[
        tuple[str, ...],
        Column(
            "CPU, or Ray's name of the GPU type; all of them where the run went on elsewhere",
            name="device",
            show=lambda devices: ", ".join(devices) or None,
        ),
    ] = ()
    retries: Annotated[
        int, Column("how often it was tried again by itself: lost workers and nodes, hangs, full disks")
    ] = 0
    latest_checkpoint: str | None = None
    retries_since_progress: int = 0
    accepted_code_change: bool = False
    code: Annotated[
        str | None, Column("first 12 digits of the hash of the code that its last attempt ran on")
    ] = None
    decisions: dict[float, Decided] = field(default_factory=dict)
    asked_again: int = 0
    beside: dict[str, float] = field(default_factory=dict)
    wrote: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    curve: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        self.trial_dir = trial_folder(self.arm, self.seed, self.sample, self.phase)

    @classmethod
    def of(cls, cell: Cell) -> TrialRecord:
        """Return the record of a cell of which nothing has happened."""
        return cls(cell.cell, cell.arm, cell.seed, cell.phase, cell.sample)

    @property
    def name(self) -> str:
        """For people."""
        return cell_name(self.arm, self.seed, self.phase, self.sample)

    @property
    def who(self) -> tuple[str, str, int, int]:
        """Cell, arm, seed and attempt, as events have them."""
        return self.cell, self.arm, self.seed, self.attempts

    @property
    def begun(self) -> bool:
        """Whether it has ever started: there is a directory then."""
        return self.attempts > 0

    @property
    def has_value(self) -> bool:
        """Whether a finite value was reported."""
        return _finite(self.value) is not None

    @property
    def stop(self) -> Decided | None:
        """The latest decision to stop the trial, if there is one."""
        stops = [made for made in self.decisions.values() if made.action == "stop"]
        return stops[-1] if stops else None

    def is_left(self, retry_failed: bool) -> bool:
        """Whether the next start runs it: no answers, and failures of its own only when asked for."""
        if self.state is TrialState.FAILED:
            return retry_failed or self.cause in _AGAIN
        return not self.state.answered


def columns() -> Iterator[tuple[str, Column]]:
    """Field of `TrialRecord` -> the column that it is, in their order."""
    for name, annotation in get_type_hints(TrialRecord, include_extras=True).items():
        if get_origin(annotation) is Annotated:
            kind, column = get_args(annotation)
            yield name, replace(column, name=column.name or name, type=kind)


@dataclass
class StudyState:
    """Every cell's trial, and what was decided. Changed by `apply`, and by nothing else.

    `plan`: with all that later batches have added; `cells`: identity of the cell -> its trial, in the plan's
    order; `rung_table`: rung -> {cell: oriented score}; `looks`: of the sequential rule; `families`: arm ->
    number of the start that brought it; `accepted_code`: hashes of changed code that the user accepted;
    `imported`: files that trials imported beyond what reading the code tells; `problems`: events that made no
    sense.
    """

    plan: Plan
    cells: dict[str, TrialRecord] = field(default_factory=dict)
    rung_table: dict[float, dict[str, float]] = field(default_factory=dict)
    looks: list[LookTaken] = field(default_factory=list)
    families: dict[str, int] = field(default_factory=dict)
    accepted_code: list[str] = field(default_factory=list)
    imported: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._add_cells()

    def remaining(self, retry_failed: bool = False) -> list[str]:
        """Return the cells that are left to do, in the plan's order.

        Answered cells are kept. Pending, cancelled, running (their driver died) and those that hung or lost
        their infrastructure come again; what failed for its own reasons only with `retry_failed`.
        """
        return [cell for cell, record in self.cells.items() if record.is_left(retry_failed)]

    def with_open(self, cells: Container[str]) -> dict[str, TrialRecord]:
        """Return trials as decisions have to see them when `cells` are run again, whatever they ended as."""
        return {
            cell: replace(record, state=TrialState.PENDING)
            if cell in cells and record.state is not TrialState.PENDING
            else record
            for cell, record in self.cells.items()
        }

    def apply(self, event: Event | Unreadable) -> None:
        """Take in that this has happened.

        Raises:
            ValueError, IllegalTransition: it cannot have (a second end, an unknown cell); nothing is changed.
        """
        _TAKEN_BY(type(event))(self, event)

    def later(self, happened: Sequence[Event | Unreadable], before: int) -> StudyState | None:
        """Return what `fold` returns of all events, from what it has returned of the first so many.

        None where all have to be looked at again: a later start tells the families of arms.
        This state stays as it is.
        """
        if any(type(event) is events.StudyStarted for event in happened):
            return None
        cells = dict(self.cells)
        for name in cells.keys() & {getattr(event, "cell", None) for event in happened}:
            cells[name] = replace(cells[name], decisions=dict(cells[name].decisions))
        state = replace(
            self,
            cells=cells,
            rung_table={rung: dict(scores) for rung, scores in self.rung_table.items()},
            looks=list(self.looks),
            families=dict(self.families),
            accepted_code=list(self.accepted_code),
            imported=set(self.imported),
            problems=list(self.problems),
        )
        state._take_all(happened, before)
        return state

    @singledispatchmethod
    def _take(self, event: Event) -> None:
        raise TypeError(f"{event!r} is no event")

    @_take.register
    def _(self, event: Unreadable) -> None:
        raise ValueError(event.why)

    @_take.register
    def _(self, event: events.StudyStarted) -> None:
        self._add_families(event.arms or ())

    @_take.register
    def _(self, event: events.BatchAdded) -> None:
        self.plan = self.plan.grown(event.batch)
        self._add_cells()

    @_take.register
    def _(self, event: LookTaken) -> None:
        self.looks.append(event)

    @_take.register
    def _(self, event: events.Noted) -> None:
        if event.code_hash:
            self.accepted_code.append(event.code_hash)

    @_take.register
    def _(self, event: events.Assigned) -> None:
        record = self._record(event)
        before, record.state = record.state, advance(record.state, TrialState.RUNNING)
        if before is TrialState.FAILED:  # it was given up, and is given all of its retries again
            record.retries_since_progress = 0
        record.attempts = max(record.attempts, event.attempt)
        record.code = event.code
        record.cause = record.reason = None

    @_take.register
    def _(self, event: events.Started) -> None:
        record = self._unanswered(event)
        before = () if event.resume is None else record.devices
        record.devices = tuple(dict.fromkeys((*before, *event.devices)))

    @_take.register
    def _(self, event: events.Reported) -> None:
        record = self._unanswered(event)
        if event.rung is not None:
            if event.score is None:
                raise ValueError("a rung without a score")
            self.rung_table.setdefault(_a_number(event.rung), {})[event.cell] = float(event.score)
        record.length = None if event.length is None else float(event.length)
        record.value = event.value

    @_take.register
    def _(self, event: Decided) -> None:
        if event.rung is not None:
            record = self._record(event)
            _a_number(event.rung)
            record.decisions[event.rung] = event

    @_take.register
    def _(self, event: events.Checkpointed) -> None:
        record = self._unanswered(event)
        record.latest_checkpoint = event.name
        record.retries_since_progress = 0

    @_take.register
    def _(self, event: events.AttemptFailed) -> None:
        record = self._unanswered(event)
        if event.again and record.state is not TrialState.PENDING:
            record.state = advance(record.state, TrialState.PENDING)
        record.cause, record.reason = event.cause, event.message
        record.retries += event.again
        _spend(record, event)
        # journals of earlier versions name the cause only
        fault = FaultKind.PREEMPTED if event.preempted else event.fault or fault_of(event.cause)
        record.retries_since_progress += fault.counts

    @_take.register
    def _(self, event: events.TrialEnd) -> None:
        record = self._record(event)
        if not event.state.terminal:
            raise ValueError(f"{event.state} is not an end")
        record.state = advance(record.state, event.state)
        record.cause, record.reason = event.cause, event.reason
        record.length = record.length if event.length is None else float(event.length)
        record.value, record.beside = event.value, event.beside or {}
        record.attempts = max(record.attempts, event.attempt)
        record.accepted_code_change = event.accepted_code_change
        self.imported.update(event.imported)
        record.wrote, record.shared, record.curve = event.wrote, event.shared, event.curve
        _spend(record, event)

    @_take.register
    def _(self, event: events.Reopened) -> None:
        record = self._record(event)
        if not record.state.terminal:
            raise ValueError(f"the cell is {record.state}, it has not ended")
        if record.state.answered:
            record.asked_again += 1
            record.length = record.value = record.latest_checkpoint = None
            record.decisions, record.devices = {}, ()
            for scores in self.rung_table.values():
                scores.pop(event.cell, None)
        record.state, record.cause, record.reason = TrialState.PENDING, None, None  # on request, from any end
        record.retries_since_progress = 0

    def _take_all(self, happened: Iterable[Event | Unreadable], before: int = 0) -> None:
        for number, event in enumerate(happened, start=before + 1):
            try:
                _TAKEN_BY(type(event))(self, event)
            except (IllegalTransition, ValueError) as error:
                cell = getattr(event, "cell", None)
                what = event.kind if cell is None else f"{event.kind} of {cell}"
                self.problems.append(f"event {number}: {what}: {error}")

    def _record(self, event: CellEvent) -> TrialRecord:
        record = self.cells.get(event.cell)
        if record is None:
            raise ValueError("the cell is not in the plan")
        return record

    def _unanswered(self, event: CellEvent) -> TrialRecord:
        record = self._record(event)
        if record.state.answered:
            raise ValueError(f"the cell is {record.state} already")
        return record

    def _add_cells(self) -> None:
        if len(self.cells) == len(self.plan.cells):
            return
        for cell in self.plan.cells:
            if cell.cell not in self.cells:
                self.cells[cell.cell] = TrialRecord.of(cell)

    def _add_families(self, arms: Iterable[str]) -> None:
        family = 1 + max(self.families.values(), default=-1)
        self.families.update((arm, family) for arm in list(arms) if arm not in self.families)


_TAKEN_BY: Callable[[type], Callable[[StudyState, Any], None]] = cache(
    vars(StudyState)["_take"].dispatcher.dispatch
)


@nothing_thrown_away()
def fold(happened: Iterable[Event | Unreadable], plan: Plan) -> StudyState:
    """Return the state of `plan` after these events.

    Events that cannot be change nothing and are listed in `problems`: the first answer of a cell stands, and
    a study is never lost to one bad line.
    """
    state = StudyState(plan)
    state._take_all(happened)
    # arms that no start has brought yet come with the next one: they must not be judged with the others
    state._add_families(arm.name for arm in plan.arms)
    return state


def _spend(record: TrialRecord, event: events.AttemptFailed | events.TrialEnd) -> None:
    record.wall_s += event.wall_s or 0.0
    record.gpu_s += event.gpu_s or 0.0


def _a_number(rung: float) -> float:
    """Return a rung; raise ValueError where it is NaN, which is never found again in a table."""
    if math.isnan(rung):
        raise ValueError("a rung that is no number")
    return float(rung)
