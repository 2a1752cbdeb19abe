"""What can happen to a study: one class per kind of event, and its line in the journal.

The journal's lines, `docs/journal.schema.json` and all that a record says (`record.state`) follow from these
classes. A field that has a default was not always written: it is left out of a line where it has that value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.jsonlines import with_nonfinite
from orchestrator.record.reading import faults_of
from orchestrator.study.plan import Batch

VERSION = 1
"""Of the journal's lines. Fields may be added without a new one: unknown ones are passed over."""

_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}


def _says(description: str, **schema: Any) -> Any:
    """Return what the schema says of a field beyond its type; none of it is checked when a line is read."""
    return (
        WithJsonSchema({**schema, "description": description}) if schema else Field(description=description)
    )


def _number(description: str) -> Any:
    return _says(f"{description}; NaN and the infinities are strings", **_NUMBER)


def _numbered(taken: dict[str, int]) -> dict[str, int]:
    if not all(driver.isdecimal() and len(driver) < 10 for driver in taken):
        raise ValueError("the name of a driver is a number")
    return taken


CellId = Annotated[str, _says("identity of the cell", type="string", pattern="^[0-9a-f]{12}$")]
ArmName = Annotated[str, _says("name of the arm")]
Seed = Annotated[int, _says("seed of the cell")]
Attempt = Annotated[int, _says("1 for the first try of the cell", type="integer", minimum=1)]
Length = Annotated[int | float, _number("in the study's unit")]
Value = Annotated[float, _number("the metric in the user's units")]
Score = Annotated[int | float, _number("higher is better")]
Number = Annotated[float, _number("a number")]
Seconds = Annotated[
    float, _says("seconds that no earlier event of the cell counts", type="number", minimum=0)
]
FreeForm = Annotated[dict[str, Any], AfterValidator(with_nonfinite)]
Resumed = Annotated[int | None, _says("step of the checkpoint that it continues from")]
Group = Annotated[str | None, _says("the worker group; null: none yet, or none any more")]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class CellEvent(Event):
    """Something that happened to the trial of one cell."""

    cell: CellId


@dataclass(frozen=True, slots=True)
class StudyStarted(Event):
    """The driver started: what is to be run."""

    kind = "plan"
    plan_hash: Annotated[str, _says("hash of the plan")]
    cells: Annotated[int, _says("number of cells in the plan")]
    reason: Literal["new", "resume", "extend"]
    arms: Annotated[
        tuple[str, ...] | None,
        _says("names of the arms; those that a later plan adds are a Holm family of their own"),
    ] = None
    taken: Annotated[
        Annotated[dict[str, int], AfterValidator(_numbered)] | None,
        _says("driver -> how many of its lines this driver has read; later ones of it do not count"),
    ] = None


@dataclass(frozen=True, slots=True)
class BatchAdded(Event):
    """Results have called for more arms or cells; registered before any of them runs."""

    kind = "batch"
    reason: Annotated[str, _says("what called for them")]
    new_arms: Annotated[tuple[FreeForm, ...], _says("as the arms of plan.json")]
    new_cells: Annotated[tuple[FreeForm, ...], _says("as the cells of plan.json")]

    @classmethod
    def of(cls, batch: Batch) -> BatchAdded:
        """Return the event of a batch."""
        return cls(**batch.to_json())

    @property
    def batch(self) -> Batch:
        """What is added; raises ValueError when it is no batch."""
        try:
            return Batch.from_json(dict(written(self)))
        except ValidationError as error:
            raise ValueError(f"a batch that cannot be read: {': '.join(faults_of(error)[0])}") from error


@dataclass(frozen=True, slots=True)
class Assigned(CellEvent):
    """An attempt was given to a worker group."""

    kind = "assign"
    arm: ArmName
    seed: Seed
    attempt: Attempt
    lane: Group
    resume: Resumed
    code: Annotated[str | None, _says("hash of the code that it runs, the first 12 digits")] = None


@dataclass(frozen=True, slots=True)
class Started(CellEvent):
    """The workers have taken the attempt, and are about to call the user's code."""

    kind = "start"
    attempt: Attempt
    lane: Annotated[str, _says("the worker group")]
    devices: Annotated[
        tuple[str, ...],
        _says(
            "what the workers compute on, each type once: CPU, or Ray's name of the node's GPU type (GPU "
            "where Ray has none)"
        ),
    ]
    resume: Resumed


@dataclass(frozen=True, slots=True)
class Reported(CellEvent):
    """A trial reported at a rung or at its end."""

    kind = "report"
    arm: ArmName
    attempt: Attempt
    rung: Annotated[Length | None, _says("highest rung passed")]
    length: Annotated[Length | None, _says("where the trial stands")]
    score: Score | None
    value: Value | None
    metrics: Annotated[FreeForm, _says("everything that was reported")]


@dataclass(frozen=True, slots=True)
class Decided(CellEvent):
    """What the rule said to a report."""

    kind = "decision"
    action: Literal["continue", "stop"]
    state: Annotated[TrialState | None, _says("what the trial ends as")]
    rule: Annotated[str, _says("name of the rule")]
    rung: Length | None
    cutoff: Annotated[Score | None, _says("lowest score that continues")]
    rank: Annotated[int | None, _says("1 is the best")]
    peers: Annotated[int | None, _says("scores compared, this one included")]
    reason: Annotated[str | None, _says("in words")]
    arm: ArmName | None = None
    attempt: Attempt | None = None
    length: Length | None = None


@dataclass(frozen=True, slots=True)
class LookTaken(Event):
    """What the sequential rule found about one arm at one look; values in the metric's units."""

    kind = "look"
    phase: Annotated[str, _says("of the study", enum=["fixed", "retuned"])]
    family: Annotated[
        int,
        _says(
            "0 for the arms of the first start, then one more for each extension", type="integer", minimum=0
        ),
    ]
    arm: ArmName
    number: Annotated[
        int, _says("seeds of this look; later ones are not looked at", type="integer", minimum=1)
    ]
    n: Annotated[
        int, _says("of them, seeds under which arm and reference have a value", type="integer", minimum=0)
    ]
    action: Literal[
        "continue", "different", "equivalent", "futile", "last look", "budget spent", "parked", "screened out"
    ]
    delta: Annotated[Number | None, _says("mean difference from the reference")]
    lo: Annotated[Number | None, _says("lower end of the arm's sequential interval")]
    hi: Annotated[Number | None, _says("upper end")]
    p: Annotated[Number | None, _says("two-sided p of this look")]
    level: Annotated[Number | None, _says("nominal level that p was compared with")]
    power: Annotated[Number | None, _says("predictive power at the best later look")]
    seeds_needed: Annotated[int | None, _says("seeds that would be needed, where it was given up")]


@dataclass(frozen=True, slots=True)
class Checkpointed(CellEvent):
    """A checkpoint is complete."""

    kind = "checkpoint"
    attempt: Attempt
    name: Annotated[str, _says("its directory under checkpoints/")]
    step: Annotated[int, _says("step as the trial counts")]
    length: Length
    value: Value | None


@dataclass(frozen=True, slots=True)
class AttemptFailed(CellEvent):
    """An attempt failed."""

    kind = "failure"
    attempt: Attempt
    cause: Cause
    message: Annotated[str, _says("what happened")]
    again: Annotated[bool, _says("the cell is tried again")]
    node: Annotated[str | None, _says("where")]
    fault: Annotated[
        FaultKind | None, _says("the kind of the failure; preempted and moved do not count as a retry")
    ] = None
    preempted: Annotated[bool, _says("journals before the faults had kinds: the node was taken away")] = False
    wall_s: Seconds | None = None
    gpu_s: Seconds | None = None


@dataclass(frozen=True, slots=True)
class TrialEnd(CellEvent):
    """A cell came to an end."""

    kind = "end"
    arm: ArmName
    seed: Seed
    attempt: Annotated[int, _says("the last one; 0: it never started", type="integer", minimum=0)]
    state: TrialState
    cause: Cause | None
    reason: str | None
    length: Length | None
    value: Value | None
    wall_s: Seconds
    gpu_s: Seconds
    lane: Annotated[str | None, _says("the worker group that it was on, if any")] = ""
    accepted_code_change: Annotated[bool, _says("ended under code that was changed and accepted")] = False
    imported: Annotated[
        tuple[str, ...],
        _says("files of the code that it imported beyond what reading the code tells, not yet named before"),
    ] = ()
    beside: Annotated[FreeForm | None, _says("other metrics where the value was taken")] = None
    wrote: Annotated[tuple[str, ...], _says("files outside of the trial's own directory that it wrote")] = ()
    shared: Annotated[tuple[str, ...], _says("files that all trials share which it changed")] = ()
    curve: Annotated[
        tuple[Value | None, ...], _says("what it would have counted with at the last rungs below its end")
    ] = ()


@dataclass(frozen=True, slots=True)
class Reopened(CellEvent):
    """Somebody has asked for a trial that had ended once more; one that had its answer begins anew."""

    kind = "again"
    arm: ArmName
    seed: Seed
    state: Annotated[TrialState, _says("what it had ended as")]
    by: Annotated[str, _says("who has asked")]


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """Anything else worth keeping."""

    kind = "note"
    text: Annotated[str, _says("in words")]
    code_hash: Annotated[str | None, _says("code that was accepted from here on")] = None
    torn_bytes: Annotated[int | None, _says("bytes of an unfinished line that were cut off")] = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line whose kind is known and whose fields make no sense."""

    kind: str
    cell: str
    why: str


KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        *(StudyStarted, BatchAdded, Assigned, Started, Reported, Decided),
        *(LookTaken, Checkpointed, AttemptFailed, TrialEnd, Reopened, Noted),
    )
}


def written(event: Event) -> Iterator[tuple[str, Any]]:
    """Yield the fields that a line has, with their names."""
    yield "event", event.kind
    for field in fields(event):
        value = getattr(event, field.name)
        if field.default is MISSING or value != field.default:
            yield field.name, list(value) if isinstance(value, tuple) else value


def read(line: Mapping[str, Any]) -> Event | Unreadable:
    """Return the event of a line of a known kind (`KINDS`)."""
    kind = str(line["event"])
    try:
        return _reader(kind)(line)
    except ValidationError as error:
        return Unreadable(kind, str(line.get("cell"))[:40], "; ".join(map(": ".join, faults_of(error))))


@cache
def _reader(kind: str) -> Callable[[Mapping[str, Any]], Event]:
    adapter = TypeAdapter[Event](KINDS[kind])
    return adapter.validator.validate_python
