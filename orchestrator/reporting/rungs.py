"""What a stopping rule has decided so far, rung by rung, and what it has spared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of, stopping_rule
from orchestrator.decide.timeleft import MeasuredPace, reach
from orchestrator.record.events import Decided
from orchestrator.record.state import TrialRecord
from orchestrator.study.cells import TUNE
from orchestrator.study.spec import StudySpec

Place = tuple[str, float]
"""A rung of the samples of one arm; of all trials where the name is empty."""
Made = tuple[TrialRecord, Decided]


@dataclass(frozen=True)
class Spared:
    """What trials did not have to train: how many, length, and the time of lanes and of GPUs.

    `at_pace`: the part of the length that no time of its own trial tells the cost of.
    """

    trials: int = 0
    length: float = 0.0
    wall_s: float = 0.0
    gpu_s: float = 0.0
    at_pace: float = 0.0

    def __add__(self, other: Spared) -> Spared:
        return Spared(
            self.trials + other.trials,
            self.length + other.length,
            self.wall_s + other.wall_s,
            self.gpu_s + other.gpu_s,
            self.at_pace + other.at_pace,
        )

    def priced(self, pace: MeasuredPace | None) -> Spared | None:
        """Return it with the pace of all trials where one has none of its own; None: that is not known."""
        if not self.at_pace:
            return self
        if pace is None:
            return None
        more_s, more_gpu_s = self.at_pace * pace.unit_s, self.at_pace * pace.unit_gpu_s
        return Spared(self.trials, self.length, self.wall_s + more_s, self.gpu_s + more_gpu_s)


@dataclass(frozen=True)
class RungStanding:
    """What was decided at one rung.

    `diverged`: trials whose metric was not finite there; `latest`: the latest decision; `stop`: the latest
    one that stopped a trial; `spared`: by all that were stopped there and have ended.
    """

    judged: int = 0
    passed: int = 0
    stopped: int = 0
    diverged: int = 0
    latest: Made | None = None
    stop: Made | None = None
    spared: Spared = field(default_factory=Spared)

    def __add__(self, other: RungStanding) -> RungStanding:
        return RungStanding(
            self.judged + other.judged,
            self.passed + other.passed,
            self.stopped + other.stopped,
            self.diverged + other.diverged,
            _later(self.latest, other.latest),
            _later(self.stop, other.stop),
            self.spared + other.spared,
        )

    @property
    def cutoff(self) -> float | None:
        """The lowest score that went on at the latest decision; higher is better."""
        return None if self.latest is None else self.latest[1].cutoff


def _later(one: Made | None, other: Made | None) -> Made | None:
    """Return the later decision at a rung: it has more scores to compare."""
    if one is None or other is None:
        return one or other
    return other if (other[1].peers or 0) > (one[1].peers or 0) else one


@dataclass(frozen=True)
class Stopping:
    """Every rung with a decision; what trials that were stopped at rungs and ones not needed have spared."""

    rungs: Mapping[Place, RungStanding] = field(default_factory=dict)
    stopped: Spared = field(default_factory=Spared)
    skipped: Spared = field(default_factory=Spared)

    def __add__(self, other: Stopping) -> Stopping:
        rungs = dict(self.rungs)
        for place, there in other.rungs.items():
            rungs[place] = rungs[place] + there if place in rungs else there
        return Stopping(rungs, self.stopped + other.stopped, self.skipped + other.skipped)


class _Counted:
    """A rung while decisions are counted: there are thousands, and frozen sums take ten times as long."""

    def __init__(self) -> None:
        self.judged = self.passed = self.stopped = self.diverged = 0
        self.latest: Made | None = None
        self.stop: Made | None = None
        self.spared = _Sum()

    def take(self, record: TrialRecord, made: Decided) -> None:
        self.judged += 1
        self.passed += made.action == "continue"
        self.diverged += made.state is TrialState.DIVERGED
        self.latest = _later(self.latest, (record, made))
        if made.state is TrialState.STOPPED:
            self.stopped += 1
            self.stop = _later(self.stop, (record, made))

    def standing(self) -> RungStanding:
        counts = self.judged, self.passed, self.stopped, self.diverged
        return RungStanding(*counts, self.latest, self.stop, self.spared.spared())


class _Sum:
    """What trials have spared while they are counted: from where they ended on, as they went until then."""

    def __init__(self) -> None:
        self.trials = 0
        self.length = self.wall_s = self.gpu_s = self.at_pace = 0.0

    def take(self, record: TrialRecord, full: float) -> None:
        length = reach(record, full)
        left = full - length
        self.trials, self.length = self.trials + 1, self.length + left
        if record.wall_s > 0 and length > 0:
            self.wall_s += left * record.wall_s / length
            self.gpu_s += left * record.gpu_s / length
        else:
            self.at_pace += left

    def spared(self) -> Spared:
        return Spared(self.trials, self.length, self.wall_s, self.gpu_s, self.at_pace)


def stopping_of(records: Iterable[TrialRecord], full: float) -> Stopping:
    """Return what was decided about some trials; `full`: length of one."""
    rungs: dict[Place, _Counted] = {}
    stopped, skipped = _Sum(), _Sum()
    for record in records:
        if record.state is TrialState.SKIPPED:
            skipped.take(record, full)
            continue
        last = record.stop if record.state is TrialState.STOPPED else None
        among = record.arm if record.phase == TUNE else ""
        for rung, made in record.decisions.items():
            place = among, float(rung)
            there = rungs.get(place)
            if there is None:
                there = rungs[place] = _Counted()
            there.take(record, made)
            if made is last:
                there.spared.take(record, full)
                stopped.take(record, full)
    standings = {place: there.standing() for place, there in rungs.items()}
    return Stopping(standings, stopped.spared(), skipped.spared())


def expected_rungs(spec: StudySpec, arms: Iterable[str]) -> list[Place]:
    """Return the rungs that trials come to, in their order; `arms`: those with samples."""
    full, found = spec.stopping.max, list[Place]()
    if spec.tune is not None:
        samples = stopping_rule(spec.tune.stopping.rule).at_rungs(spec.tune.stopping, full)
        found += [(arm, float(rung)) for arm in arms for rung in samples.rungs]
    return [*found, *(("", float(rung)) for rung in rule_of(spec).at_rungs(spec.stopping, full).rungs)]
