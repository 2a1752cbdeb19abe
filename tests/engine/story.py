"""A sequential study told to conductors by trials that end in any order; drivers may die on the way.

Everything here is the engine's own code but for Ray: what Tune, lanes and workers do is a random choice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.decide.agenda import Judged, agenda, used_cells
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.conduct._conductor import Conductor
from orchestrator.engine.messages import (
    Action,
    Assignment,
    GroupLost,
    Outcome,
    Reassign,
    RungReached,
    StopTrial,
    TrialEnded,
)
from orchestrator.record.journal import read_journal
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import Cell, make_plan
from orchestrator.study.spec import StudySpec

Result = Callable[[Cell], float | Cause]
"""What a cell gives: its final value, or the failure of its own that it ends in."""


@dataclass
class _Lane:
    ticket: tuple[str, int]
    assignment: Assignment
    leave: TrialState | None = None
    passed: float = 0.0


@dataclass
class Story:
    """One study. `faults`: chance that the next thing to happen is a lost group, a lost actor or a dead
    driver. `extend`, `retry_failed`: options of the command.
    """

    root: Path
    spec: StudySpec
    result: Result
    dice: random.Random
    lanes: int = 3
    faults: float = 0.0
    extend: bool = False
    retry_failed: bool = False
    drivers: int = 0
    _busy: list[_Lane] = field(default_factory=list)

    def play(self) -> StudyState:
        """Run the study to its end; returns what the journal says."""
        self.plan = make_plan(self.spec)
        self._start()
        for _ in range(100_000):
            self._fill()
            if not self._busy:
                if self.conductor.finished():
                    break
                raise AssertionError("nothing runs, and yet the study is not finished")
            self._happen()
        self.record.close()
        told = self.history()
        assert repr(self.record.state) == repr(told)  # NaN is not equal to itself
        return told

    def history(self) -> StudyState:
        events = read_journal(Storage.open(self.root), self.record.paths.journal).events
        return fold(events, self.plan)

    def _start(self) -> None:
        self.drivers += 1
        self._busy.clear()
        storage = Storage.open(self.root)
        self.record = StudyRecord.open(storage, self.spec, self.plan, Start("code", extend=self.extend))
        self.conductor = Conductor(
            self.record, self.spec, gpus_per_worker=0.0, clock=lambda: 0.0, retry_failed=self.retry_failed
        )
        self.conductor.wanted_lanes = self.lanes

    def _fill(self) -> None:
        while offer := self.conductor.next_assignment():
            self._busy.append(_Lane(offer.key, offer))

    def _happen(self) -> None:
        lane = self.dice.choice(self._busy)
        if self.dice.random() < self.faults:
            self._fault(lane)
        elif (rung := next((r for r in lane.assignment.rungs if r > lane.passed), None)) and not lane.leave:
            self._reach(lane, rung)
        else:
            self._end(lane, self._outcome(lane))
        self._carry_out(self.conductor.tick())

    def _fault(self, lane: _Lane) -> None:
        kind = self.dice.choice(["group", "actor", "driver"])
        a = lane.assignment
        if kind == "group":
            self._carry_out(self.conductor.take([GroupLost(str(lane.ticket), a.cell, a.attempt, (), "gone")]))
        elif kind == "actor":
            self._busy.remove(lane)
            self.conductor.actor_lost(lane.ticket)
        else:
            self.record.close()
            self._start()

    def _value(self, lane: _Lane) -> float | Cause:
        value = self.result(self.conductor.plan.cell(lane.assignment.cell))
        return value if isinstance(value, Cause) else float(value)

    def _reach(self, lane: _Lane, rung: float) -> None:
        a, value = lane.assignment, self._value(lane)
        lane.passed = rung
        if isinstance(value, Cause) or rung in a.decided:
            return
        score = value if self.spec.metric.mode == "max" else -value
        answer = self.conductor.rung(RungReached(a.cell, a.attempt, rung, rung, score, value, {}))
        lane.leave = answer.state if answer.stop else None

    def _outcome(self, lane: _Lane) -> Outcome:
        value, full = self._value(lane), float(self.spec.stopping.max)
        # one that was told to leave may have been through before it heard of it
        if lane.leave is not None and self.dice.random() < 0.7:
            return Outcome(lane.leave, length=full / 2, value=0.0)
        if isinstance(value, Cause):
            return Outcome(TrialState.FAILED, value, "broke", length=full / 2)
        return Outcome(TrialState.DONE, length=full, value=value)

    def _end(self, lane: _Lane, outcome: Outcome) -> None:
        self._busy.remove(lane)
        a = lane.assignment
        self.conductor.ended(TrialEnded(str(lane.ticket), a.cell, a.attempt, outcome, 1.0))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, StopTrial):
                for lane in self._busy:
                    if lane.assignment.key == (action.cell, action.attempt):
                        lane.leave = action.answer.state
            elif isinstance(action, Reassign):
                lane = next(lane for lane in self._busy if str(lane.ticket) == action.lane)
                if action.assignment is None:
                    assert action.outcome is not None
                    self._end(lane, action.outcome)
                else:
                    lane.assignment, lane.leave, lane.passed = action.assignment, None, 0.0


def judged(spec: StudySpec, history: StudyState) -> list[Judged]:
    """What the sequential rule says about the results in the journal."""
    return agenda(spec, history.plan, history.cells, history.families).judged


def used_values(spec: StudySpec, history: StudyState) -> dict[str, float | None]:
    """Cell -> value of all runs that enter the effects."""
    used = used_cells(spec, history.plan, history.cells, history.families)
    return {cell: history.cells[cell].value for cell in sorted(used)}


def study(components: Mapping[str, Any], **changes: Any) -> StudySpec:
    """A study whose baseline has one switch per component."""
    data: dict[str, Any] = {
        "name": "story",
        "entrypoint": "trial:train",
        "metric": {"name": "score", "mode": "max"},
        "baseline": dict.fromkeys(components, True) | {"lr": 0.1},
        "components": {name: {"without": {name: False}} for name in components},
        "seeds": 5,
        "stopping": {"rule": "resolve", "max": 9, "unit": "epoch"},
        "failures": {"max_retries": 1000, "stop_when": "never"},
        "deterministic": True,
    }
    return StudySpec.model_validate({**data, **changes})
