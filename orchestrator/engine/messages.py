"""What the driver, the message actor, the trial actors and the workers say to each other. Plain data only.

A **serial** numbers the assignments of one lane; an **attempt** numbers the tries of one cell over the
whole life of the study. Both travel with every message, so that a late message is recognised and dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import ExitCode, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.record.spans import Span
    from orchestrator.record.storage import Storage
    from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class RunFacts:
    """What every worker of a study has to know: the study, and a few facts of this run of it."""

    spec: StudySpec  # for workers of another process as `study.plainspec` has it
    storage: Storage
    study_root: str
    module_root: str | None  # where the entrypoint's module was found; None: an installed package
    code_digest: str  # of the archive: what it is unpacked as on every node
    code_archive: str
    gpus_per_worker: float  # `auto` resolved
    began: float = 0.0  # time of the journal's first line: tells studies of one name apart
    counted: frozenset[str] = frozenset()  # files of the code that it is known to import
    project: str = ""  # directory in which the command was given
    traced: bool = False  # workers send what they did, and for how long


@dataclass(frozen=True)
class Assignment:
    """One attempt at one cell."""

    cell: str
    arm: str
    seed: int
    attempt: int
    config: Mapping[str, Any]  # what the entrypoint sees, "seed" and "max_length" included
    changes: Mapping[str, Any]  # the arm's difference from the baseline, for TensorBoard's text
    trial_dir: str  # relative to the storage root
    rungs: tuple[float, ...] = ()  # where this trial waits for a decision, in the study's unit
    decided: tuple[float, ...] = ()  # rungs with a recorded decision: not asked again after a restart
    selects: bool = False  # a sample of a search, judged by the metric that selects
    asked: bool = False  # one whose first reports other trials wait for
    serial: int = 0  # set by the message actor

    @property
    def key(self) -> tuple[str, int]:
        """Cell and attempt."""
        return self.cell, self.attempt


@dataclass(frozen=True)
class Progress:
    """One report of rank 0."""

    index: int  # 1-based, over all attempts
    length: float  # in the study's unit
    value: float | None  # the metric, in the user's units
    time_s: float  # training seconds over all attempts
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class RungReached:
    """Rank 0 crossed a rung and waits for the decision."""

    cell: str
    attempt: int
    rung: float
    length: float
    score: float  # oriented: higher is better
    value: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a report returns: go on, or leave the trial."""

    stop: bool
    state: TrialState | None = None  # what the trial ends as, when it stops
    reason: str | None = None
    checkpoint: str | None = (
        None  # where all ranks store their part of this report's checkpoint; None: not due
    )
    length: float | None = None  # where rank 0 stands; None: ranks need not be at the same place


CONTINUE = Answer(stop=False)


@dataclass(frozen=True)
class Outcome:
    """How one rank left a trial."""

    state: TrialState
    cause: Cause | None = None
    reason: str | None = None
    error: str | None = None  # the user's traceback, last frames
    length: float | None = None
    value: float | None = None  # what it counts with
    beside: Mapping[str, float] = field(default_factory=dict)  # other metrics of the report that counts
    curve: tuple[float | None, ...] = ()  # what it would have counted with at each of `curve_rungs`
    recycle: tuple[str, ...] = ()  # what could not be put back: the lane needs fresh workers
    secondary: bool = False  # a broken collective: another rank's failure is the cause
    fault: FaultKind | None = None  # None: what the cause alone says
    imported: tuple[str, ...] = ()  # files of the code beyond `RunFacts.counted`
    wrote: tuple[str, ...] = ()  # files outside of the trial's own directory that it made or changed
    shared: tuple[str, ...] = ()  # files of the project, which all trials share, that it changed
    unfit: bool = False  # what it reports is not what the study file says of it


# ---- what the driver reads from the message actor -------------------------------------------------------


@dataclass(frozen=True)
class LaneUp:
    """All ranks of a worker group are attached."""

    lane: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class OfTrial:
    """Something about one attempt on one lane."""

    lane: str
    cell: str
    attempt: int


@dataclass(frozen=True)
class TrialStarted(OfTrial):
    resumed_step: int | None
    devices: tuple[str, ...] = ()  # what its ranks compute on, each type once
    passed_over: tuple[str, ...] = ()  # checkpoints that could not be used, and why


@dataclass(frozen=True)
class TrialProgress(OfTrial):
    """All reports of a trial since the last message, in order."""

    reports: tuple[Progress, ...]
    since_us: int = 0  # when the first of them was made, by the worker's clock; 0: nobody asks


@dataclass(frozen=True)
class CheckpointKept(OfTrial):
    name: str
    step: int
    length: float
    value: float | None


@dataclass(frozen=True)
class RanksWait(OfTrial):
    """A rank has come to its first report before rank 0, whose reports count; said once for an attempt."""


@dataclass(frozen=True)
class TrialTells(OfTrial):
    """Something that people want to know of a trial while it runs."""

    text: str


@dataclass(frozen=True)
class SpansTold(OfTrial):
    """What a worker did; not only for this trial."""

    spans: tuple[Span, ...]


@dataclass(frozen=True)
class GroupLost(OfTrial):
    """The worker group was lost while a trial was in flight; `nodes`: where the fault came from (ids)."""

    nodes: tuple[str, ...]
    message: str
    fault: FaultKind = FaultKind.UNKNOWN


@dataclass(frozen=True)
class EntrypointFailed:
    """The user's module cannot be imported on a worker."""

    lane: str
    message: str


@dataclass(frozen=True)
class WorkerFailed:
    """A worker ended outside of any trial: the environment on its node is broken, or we are."""

    lane: str
    message: str
    node: str = ""


@dataclass(frozen=True)
class NodeUse:
    """What a node has in use now, whoever uses it; memory: of all bytes so many; None without GPUs."""

    node: str
    load: float  # processes that run or want to, the mean of a minute
    memory: tuple[int, int]
    gpu: float | None = None  # share of the time that its GPUs were busy
    gpu_memory: tuple[int, int] | None = None

    def plain(self) -> dict[str, Any]:
        """Return it for progress.json."""
        gpu = {} if self.gpu is None else {"gpu": self.gpu}
        gpu_memory = {} if self.gpu_memory is None else {"gpu_memory": list(self.gpu_memory)}
        return {"load": self.load, "memory": list(self.memory), **gpu, **gpu_memory}


@dataclass(frozen=True)
class LaneCondemned:
    """The lane has to end: a node that it runs on was set aside."""

    lane: str
    reason: str


DriverEvent = (
    LaneUp
    | TrialStarted
    | TrialProgress
    | CheckpointKept
    | TrialTells
    | SpansTold
    | RanksWait
    | GroupLost
    | EntrypointFailed
    | WorkerFailed
    | NodeUse
)


@dataclass(frozen=True)
class Said:
    """Events in their order, after the `first` ones. What is said twice is known by its number."""

    first: int = 0
    events: tuple[DriverEvent, ...] = ()


@dataclass(frozen=True)
class TrialEnded(OfTrial):
    """All ranks have left the trial (or one of them failed)."""

    outcome: Outcome
    wall_s: float
    said: Said = Said()  # what came before the end and the driver may not have taken in yet


LaneEvent = RungReached | TrialEnded | LaneCondemned


@dataclass
class Attached:
    """A worker as the message actor sees it."""

    rank: int
    node: str
    handle: Any = field(repr=False)
    device: str = "CPU"  # or Ray's name of its node's GPU type


# ---- what the conductor wants done, and why it stops ----------------------------------------------------


@dataclass(frozen=True)
class Reassign:
    """Give the lane the next attempt, or (None) end its trial with `outcome`."""

    lane: str
    assignment: Assignment | None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Recycle(OfTrial):
    """Replace the lane's workers, if they are still at this attempt."""

    reason: str


@dataclass(frozen=True)
class StopTrial:
    """Let a trial leave at its next report."""

    cell: str
    attempt: int
    answer: Answer


@dataclass(frozen=True)
class SetAside:
    """From now on these are all the nodes (ids) that get no new lane; and some lanes have to end."""

    nodes: tuple[str, ...]
    lanes: tuple[str, ...]
    reason: str


Action = Reassign | Recycle | StopTrial | SetAside


@dataclass(frozen=True)
class StopRequest:
    """Why the study stops before all cells are answered; `shown`: what led to it, for people, in lines."""

    reason: str
    exit_code: ExitCode
    error: OrchestratorError | None = None
    shown: tuple[str, ...] = ()
