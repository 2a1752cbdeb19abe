"""The sums of the panels: those of a report's ledger, arm by arm, whatever became of the trials."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.states import TrialState
from orchestrator.decide.timeleft import Timings
from orchestrator.record.events import Decided
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.reporting.costs import costs
from orchestrator.reporting.ledger import ledger
from orchestrator.reporting.rungs import Stopping, expected_rungs, stopping_of
from orchestrator.reporting.running import LaneNow, RunNow
from orchestrator.reporting.tally import Tally
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

STUDY = {
    "name": "s",
    "entrypoint": "trial:train",
    "metric": {"name": "loss", "mode": "min"},
    "baseline": {"a": 1, "b": 1, "lr": 0.1},
    "components": {name: {"without": {name: 0}} for name in ("a", "b")},
    "seeds": 4,
    "stopping": {"rule": "asha", "max": 9},
}
SPEC = StudySpec.model_validate(STUDY)
PLAN = make_plan(SPEC)
TIME = st.floats(0, 1e6)


@st.composite
def histories(draw: st.DrawFn) -> StudyState:
    """A study at any moment."""
    history = StudyState(PLAN)
    for record in history.cells.values():
        record.state = draw(st.sampled_from(TrialState))
        record.length = draw(st.none() | st.floats(0, 9))
        record.wall_s, record.gpu_s = draw(TIME), draw(TIME)
        for peers, rung in enumerate((1, 3)[: draw(st.integers(0, 2))], 1):
            action, state = draw(
                st.sampled_from(
                    [("continue", None), ("stop", TrialState.STOPPED), ("stop", TrialState.DIVERGED)]
                )
            )
            record.decisions[rung] = Decided(record.cell, action, state, "asha", rung, -2.0, 1, peers, "why")
    return history


@given(histories())
def test_the_arms_add_up_to_the_ledger(history: StudyState) -> None:
    by_arm = [
        Tally.of(SPEC, [one for one in history.cells.values() if one.arm == arm.name]) for arm in PLAN.arms
    ]
    tally, whole = sum(by_arm, Tally()), ledger(SPEC, PLAN, history)
    for name in ("spent", "grid", "wall_s", "gpu_s"):
        assert getattr(tally, name) == pytest.approx(getattr(whole, name))
    assert tally.left == len(history.remaining())
    at_once = Tally.of(SPEC, history.cells.values())
    assert tally.stopping.rungs.keys() == at_once.stopping.rungs.keys()
    for place, there in tally.stopping.rungs.items():
        assert (there.judged, there.passed, there.stopped, there.diverged) == (
            len(made := [one.decisions[place[1]] for one in _judged(history, place[1])]),
            sum(one.action == "continue" for one in made),
            sum(one.state is TrialState.STOPPED for one in made),
            sum(one.state is TrialState.DIVERGED for one in made),
        )
    spared = math.fsum(there.spared.length for there in tally.stopping.rungs.values())
    assert spared == pytest.approx(tally.stopping.stopped.length)
    assert tally.stopping.stopped.trials == sum(
        one.state is TrialState.STOPPED and one.stop is not None for one in history.cells.values()
    )


def _judged(history: StudyState, rung: float) -> list[TrialRecord]:
    return [
        one for one in history.cells.values() if one.state is not TrialState.SKIPPED and rung in one.decisions
    ]


def trial(seed: int, state: TrialState, length: float, wall_s: float, *peers: int) -> TrialRecord:
    """A trial of `no-a`, stopped at its last decision if at all."""
    record = TrialRecord(f"no-a/{seed}", "no-a", seed, state=state, length=length, wall_s=wall_s)
    for rung, number in zip((1.0, 3.0), peers, strict=False):
        last = state is TrialState.STOPPED and number == peers[-1]
        made = ("stop", state) if last else ("continue", None)
        record.decisions[rung] = Decided(record.cell, *made, "asha", rung, -float(number), 2, number, "why")
    return record


def test_the_latest_decision_at_a_rung_is_that_with_most_peers() -> None:
    trials = [
        trial(0, TrialState.STOPPED, 1.0, 10.0, 3),
        trial(1, TrialState.DONE, 9.0, 90.0, 1, 1),
        trial(2, TrialState.STOPPED, 1.0, 0.0, 2),
        trial(3, TrialState.STOPPED, 3.0, 60.0, 4, 2),
    ]
    stopping = stopping_of(trials, 9.0)
    first, second = stopping.rungs["", 1.0], stopping.rungs["", 3.0]
    assert (first.judged, first.passed, first.stopped, first.cutoff) == (4, 2, 2, -4.0)
    assert first.stop == (trials[0], trials[0].stop)
    assert (second.judged, second.stopped, second.stop) == (2, 1, (trials[3], trials[3].stop))
    assert (first.spared.trials, first.spared.length) == (2, 16.0)
    assert (first.spared.wall_s, first.spared.at_pace) == (80.0, 8.0)  # one of them has no time of its own
    assert first.spared.priced(None) is None
    pace = Timings.of(trials, 9.0).pace(9.0)
    assert pace is not None
    priced = first.spared.priced(pace)
    assert priced is not None
    assert priced.wall_s == pytest.approx(80.0 + 8.0 * 160.0 / 13.0)
    assert second.spared.wall_s == 6 * 20.0
    assert sum((stopping_of([one], 9.0) for one in reversed(trials)), Stopping()).rungs == stopping.rungs


def test_rungs_are_there_before_anybody_has_come_to_them() -> None:
    assert expected_rungs(SPEC, ()) == [("", 1.0), ("", 3.0)]
    tune = {"samples": 4, "search": "random", "space": {"lr": {"loguniform": [0.1, 1.0]}}}
    tuned = StudySpec.model_validate({**STUDY, "stopping": {"rule": "none", "max": 9}, "tune": tune})
    assert expected_rungs(tuned, ("no-a", "no-b")) == [
        *(("no-a", 1.0), ("no-a", 3.0)),
        *(("no-b", 1.0), ("no-b", 3.0)),
    ]


def test_what_runs_counts_up_to_its_latest_report() -> None:
    history = StudyState(PLAN)
    one, two, *others = history.cells.values()
    one.state, one.length, one.wall_s, one.gpu_s = TrialState.DONE, 9.0, 90.0, 180.0
    two.state, two.length, two.wall_s = TrialState.RUNNING, 1.0, 5.0
    seen = TrialRecord(two.cell, two.arm, two.seed, state=two.state, length=4.0, wall_s=45.0)
    tally = Tally.of(SPEC, history.cells.values())
    cost = costs(SPEC, tally, history, RunNow((LaneNow(seen, "lane"),), fit=2, waiting=len(others), gpus=2.0))
    assert (cost.spent, cost.wall_s, cost.gpu_s) == (13.0, 135.0, 260.0)
    assert cost.runs_left == 1 + len(others)
    assert cost.grid_wall_s == pytest.approx(9.0 * 12 * 135.0 / 13.0)
    assert cost.grid_gpu_s == pytest.approx(9.0 * 12 * 20.0)
    assert cost.left is not None
    assert not cost.open_ended
    rests = costs(SPEC, tally, history, RunNow())
    assert (rests.left, rests.runs_left) == (None, len(others) + 1)
