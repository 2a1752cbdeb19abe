"""What the journal says about every cell: a pure fold over its events, the same for every reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.decide.faults import FaultKind, fault_of
from orchestrator.decide.states import Cause, IllegalTransition, TrialState, advance
from orchestrator.study.cells import Batch, Plan

_AGAIN = (Cause.HANG, Cause.INFRA)


@dataclass
class CellRecord:
    """Where one cell stands.

    `length` in the study's unit and `value` in the user's units: of the end, or of the last recorded report;
    `attempts`: number of the last attempt; `wall_s`, `gpu_s`: seconds summed over all events that carry them;
    `retries_since_progress`: hangs and infrastructure failures since the last checkpoint, not preemptions;
    `devices`: the types of GPU, or CPU, that the run has been on since it last began anew.
    """

    cell: str
    arm: str
    seed: int
    phase: str = "fixed"
    sample: int | None = None
    state: TrialState = TrialState.PENDING
    cause: Cause | None = None
    reason: str | None = None
    length: float | None = None
    value: float | None = None
    attempts: int = 0
    wall_s: float = 0.0
    gpu_s: float = 0.0
    latest_checkpoint: str | None = None
    retries_since_progress: int = 0
    accepted_code_change: bool = False
    devices: tuple[str, ...] = ()


@dataclass
class History:
    """All cells of the plan, in its order, and what was decided.

    `plan`: with all that later batches have added; `rung_table`: rung -> {cell: oriented score}; `decided`:
    (cell, rung) -> the decision event; `looks`: events of the sequential rule; `families`: arm -> number of
    the start that brought it; `accepted_code`: hashes of changed code that the user accepted; `problems`:
    events that make no sense.
    """

    plan: Plan
    cells: dict[str, CellRecord] = field(default_factory=dict)
    rung_table: dict[float, dict[str, float]] = field(default_factory=dict)
    decided: dict[tuple[str, float], dict[str, Any]] = field(default_factory=dict)
    looks: list[dict[str, Any]] = field(default_factory=list)
    families: dict[str, int] = field(default_factory=dict)
    accepted_code: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def remaining(self, retry_failed: bool = False) -> list[str]:
        """The cells that are left to do, in the plan's order.

        Answered cells are kept. Pending, cancelled, running (their driver died) and those that hung or lost
        their infrastructure come again; what failed for its own reasons only with `retry_failed`.
        """
        return [cell for cell, record in self.cells.items() if _is_left(record, retry_failed)]


def fold(events: Iterable[Mapping[str, Any]], plan: Plan) -> History:
    """The history of `plan` after these journal events.

    Events that cannot be (a second end, an unknown cell) change nothing and are listed in `problems`: the
    first answer of a cell stands, and a study is never lost to one bad line.
    """
    history = History(plan)
    _add_cells(history)
    for number, event in enumerate(events, start=1):
        kind = event.get("event")
        if kind == "note" and event.get("code_hash"):
            history.accepted_code.append(str(event["code_hash"]))
        if kind == "plan":
            _plan(history, event)
        if kind == "look":
            history.looks.append(dict(event))
        if kind == "batch":
            _batch(history, event, number)
        handler = _HANDLERS.get(str(kind))
        if handler is None:
            continue
        record = history.cells.get(str(event.get("cell")))
        if record is None:
            history.problems.append(f"event {number}: {kind} of a cell that is not in the plan")
            continue
        try:
            handler(history, record, event)
        except (IllegalTransition, KeyError, TypeError, ValueError) as error:
            history.problems.append(f"event {number}: {kind} of {record.cell}: {error}")
    # arms that no start has brought yet come with the next one: they must not be judged with the others
    _plan(history, {"arms": [arm.name for arm in plan.arms]})
    return history


def _add_cells(history: History) -> None:
    for c in history.plan.cells:
        history.cells.setdefault(c.cell, CellRecord(c.cell, c.arm, c.seed, c.phase, c.sample))


def _batch(history: History, event: Mapping[str, Any], number: int) -> None:
    """Results have called for more arms or cells."""
    try:
        history.plan = history.plan.grown(Batch.from_json(event))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        history.problems.append(f"event {number}: a batch that cannot be read: {error!r}")
    _add_cells(history)


def _plan(history: History, event: Mapping[str, Any]) -> None:
    arms = event.get("arms")
    added = [str(name) for name in arms if name not in history.families] if isinstance(arms, list) else []
    family = 1 + max(history.families.values(), default=-1)
    history.families.update(dict.fromkeys(added, family))


def _is_left(record: CellRecord, retry_failed: bool) -> bool:
    if record.state is TrialState.FAILED:
        return retry_failed or record.cause in _AGAIN
    return not record.state.answered


def _assign(_history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    attempt = int(event["attempt"])
    record.state = advance(record.state, TrialState.RUNNING)
    record.attempts = max(record.attempts, attempt)
    record.cause = record.reason = None


def _start(_history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    _refuse_answered(record)
    before = () if event.get("resume") is None else record.devices
    record.devices = tuple(dict.fromkeys((*before, *map(str, event["devices"]))))


def _report(history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    _refuse_answered(record)
    length, value = _number(event.get("length")), _number(event.get("value"))
    rung = _number(event.get("rung"))
    score = None if rung is None else float(event["score"])
    record.length, record.value = length, value
    if rung is not None and score is not None:
        history.rung_table.setdefault(rung, {})[record.cell] = score


def _decision(history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    rung = _number(event.get("rung"))
    if rung is not None:
        history.decided[record.cell, rung] = dict(event)


def _checkpoint(_history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    _refuse_answered(record)
    record.latest_checkpoint = str(event["name"])
    record.retries_since_progress = 0


def _failure(_history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    _refuse_answered(record)
    cause = Cause(event["cause"])
    if event.get("again") and record.state is not TrialState.PENDING:
        record.state = advance(record.state, TrialState.PENDING)
    _spent(record, event)
    record.cause = cause
    record.reason = _text(event.get("message"))
    if _fault(event, cause).counts:
        record.retries_since_progress += 1


def _fault(event: Mapping[str, Any], cause: Cause) -> FaultKind:
    """Journals of earlier versions name the cause only."""
    if event.get("preempted"):
        return FaultKind.PREEMPTED
    return FaultKind(event["fault"]) if event.get("fault") else fault_of(cause)


def _end(_history: History, record: CellRecord, event: Mapping[str, Any]) -> None:
    state = TrialState(event["state"])
    if not state.terminal:
        raise ValueError(f"{state} is not an end")
    cause = Cause(event["cause"]) if event.get("cause") else None
    length, value = _number(event.get("length")), _number(event.get("value"))
    record.state = advance(record.state, state)
    _spent(record, event)
    record.cause = cause
    record.reason = _text(event.get("reason"))
    record.length = record.length if length is None else length
    record.value = value
    record.attempts = max(record.attempts, int(event.get("attempt") or 0))
    record.accepted_code_change = bool(event.get("accepted_code_change"))


_HANDLERS = {
    "assign": _assign,
    "start": _start,
    "report": _report,
    "decision": _decision,
    "checkpoint": _checkpoint,
    "failure": _failure,
    "end": _end,
}


def _refuse_answered(record: CellRecord) -> None:
    if record.state.answered:
        raise ValueError(f"the cell is {record.state} already")


def _spent(record: CellRecord, event: Mapping[str, Any]) -> None:
    record.wall_s += float(event.get("wall_s") or 0.0)
    record.gpu_s += float(event.get("gpu_s") or 0.0)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
