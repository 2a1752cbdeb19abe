"""What a stopping rule has decided so far, rung by rung, and what it has spared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of, stopping_rule
from orchestrator.decide.timeleft import Pace, measured
from orchestrator.record.events import Decided
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.study.cells import TUNE
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Spared:
    """What trials did not have to train: how many, length, and the time of worker groups and of GPUs."""

    trials: int = 0
    length: float = 0.0
    wall_s: float = 0.0
    gpu_s: float = 0.0

    def __add__(self, other: Spared) -> Spared:
        return Spared(
            self.trials + other.trials,
            self.length + other.length,
            self.wall_s + other.wall_s,
            self.gpu_s + other.gpu_s,
        )


@dataclass(frozen=True)
class RungStanding:
    """One rung. `arm`: whose samples compete there, empty where all trials do.

    `diverged`: trials whose metric was not finite there; `cutoff`: lowest value, in the metric's units,
    that went on at the last decision (with `mode: min` the highest); `last`: the trial that was stopped
    last, with the decision; `spared`: by all that were stopped there and have ended.
    """

    rung: float
    arm: str = ""
    judged: int = 0
    passed: int = 0
    stopped: int = 0
    diverged: int = 0
    cutoff: float | None = None
    last: tuple[TrialRecord, Decided] | None = None
    last_value: float | None = None
    spared: Spared = field(default_factory=Spared)


@dataclass(frozen=True)
class StoppingStanding:
    """What the rule does, in a line, and has done. `skipped`: trials that results have made needless."""

    says: str
    rungs: tuple[RungStanding, ...] = ()
    stopped: Spared = field(default_factory=Spared)
    skipped: Spared = field(default_factory=Spared)


class _Rung:
    """A rung while trials are counted."""

    def __init__(self) -> None:
        self.made: list[tuple[TrialRecord, Decided]] = []
        self.spared = Spared()


def stopping_standing(spec: StudySpec, state: StudyState) -> StoppingStanding:
    """Return what the rule has decided so far; every trial is looked at once."""
    full, found = float(spec.stopping.max), dict(_expected(spec, state))
    pace = measured(state.cells.values(), full)
    stopped = skipped = Spared()
    for record in state.cells.values():
        if record.state is TrialState.SKIPPED:
            skipped += _spared(record, full, pace)
            continue
        for rung, made in record.decisions.items():
            there = found.setdefault((record.arm if record.phase == TUNE else "", float(rung)), _Rung())
            there.made.append((record, made))
        last = record.stop
        if record.state is TrialState.STOPPED and last is not None and last.rung is not None:
            spared = _spared(record, full, pace)
            stopped += spared
            found[record.arm if record.phase == TUNE else "", float(last.rung)].spared += spared
    rungs = tuple(
        _standing(arm, rung, there, state, spec.metric.mode) for (arm, rung), there in found.items()
    )
    return StoppingStanding(rule_of(spec).describe(spec), rungs, stopped, skipped)


def _expected(spec: StudySpec, state: StudyState) -> Iterator[tuple[tuple[str, float], _Rung]]:
    """Yield the rungs that trials will come to, in their order, with nothing at any of them yet."""
    if spec.tune is not None:
        ladder = stopping_rule(spec.tune.stopping.rule).at_rungs(spec.tune.stopping, spec.stopping.max)
        arms = dict.fromkeys(record.arm for record in state.cells.values() if record.phase == TUNE)
        yield from (((arm, float(rung)), _Rung()) for arm in arms for rung in ladder.rungs)
    for rung in rule_of(spec).at_rungs(spec.stopping, spec.stopping.max).rungs:
        yield ("", float(rung)), _Rung()


def _spared(record: TrialRecord, full: float, pace: Pace | None) -> Spared:
    """Return what a trial would have cost from where it is, at its own pace or, without one, that of all."""
    length = record.length if record.length is not None and math.isfinite(record.length) else 0.0
    left = max(0.0, full - length)
    if record.wall_s > 0 and length > 0:
        return Spared(1, left, left * record.wall_s / length, left * record.gpu_s / length)
    return Spared(1, left, left * (pace.unit_s if pace else 0.0), left * (pace.unit_gpu_s if pace else 0.0))


def _standing(arm: str, rung: float, there: _Rung, state: StudyState, mode: str) -> RungStanding:
    sign = 1.0 if mode == "max" else -1.0
    # scores compared grow with every decision
    in_order = sorted(there.made, key=lambda one: one[1].peers or 0)
    stops = [one for one in in_order if one[1].state is TrialState.STOPPED]
    cutoff = next((made.cutoff for _, made in reversed(in_order) if made.cutoff is not None), None)
    last = stops[-1] if stops else None
    score = None if last is None else state.rung_table.get(rung, {}).get(last[0].cell)
    return RungStanding(
        rung,
        arm,
        judged=len(in_order),
        passed=_count(in_order, "continue"),
        stopped=len(stops),
        diverged=sum(made.state is TrialState.DIVERGED for _, made in in_order),
        cutoff=None if cutoff is None else sign * cutoff,
        last=last,
        last_value=None if score is None else sign * score,
        spared=there.spared,
    )


def _count(made: Iterable[tuple[TrialRecord, Decided]], action: str) -> int:
    return sum(decided.action == action for _, decided in made)
