"""The conductor under whatever order of events: cells end once, and the journal tells the same story."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.capacity import Node
from orchestrator.engine.conduct._conductor import Conductor
from orchestrator.engine.messages import (
    Action,
    Assignment,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneUp,
    NodeUse,
    Outcome,
    Progress,
    RanksWait,
    Reassign,
    Recycle,
    RungReached,
    SetAside,
    StopRequest,
    StopTrial,
    TrialEnded,
    TrialProgress,
    TrialStarted,
)
from orchestrator.errors import ExitCode
from orchestrator.record.journal import JournalContents, read_journal
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

RUNGS = (1.0, 3.0)
LANES = 2
GPUS = 0.5


def study(**changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "small",
        "entrypoint": "trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"model": {"norm": True, "width": 32}},
        "components": {"norm": {"without": {"model.norm": False}}},
        "seeds": 2,
        "stopping": {"rule": "asha", "max": 9, "unit": "epoch", "grace": 1, "reduction": 3},
        "failures": {"max_retries": 1, "report_timeout": 10},
        "deterministic": True,
    }
    return StudySpec.model_validate({**data, **changes})


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Drive:
    """One study's drivers, one after the other, on the same record."""

    def __init__(self, root: Path, **changes: Any) -> None:
        self.storage, self.spec, self.clock = Storage.open(root), study(**changes), Clock()
        self.plan = make_plan(self.spec)
        self.record: StudyRecord
        self.conductor: Conductor
        self.start()

    def start(self, **options: Any) -> Conductor:
        self.record = StudyRecord.open(self.storage, self.spec, self.plan, Start("code"))
        self.conductor = Conductor(
            self.record,
            self.spec,
            gpus_per_worker=GPUS,
            clock=self.clock,
            **options,
        )
        self.conductor.wanted_lanes = LANES
        return self.conductor

    def restart(self, **options: Any) -> Conductor:
        self.record.close()
        return self.start(**options)

    def history(self) -> StudyState:
        return fold(self.read().events, self.plan)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [line.plain() for line in self.read().lines if kind in (None, line.event.kind)]

    def read(self) -> JournalContents:
        return read_journal(self.storage, self.record.paths.journal)

    def assign(self) -> tuple[tuple[str, int], Assignment]:
        offer = self.conductor.next_assignment()
        assert offer is not None
        return offer.key, offer

    def say(self, *events: DriverEvent) -> list[Action]:
        return self.conductor.take(list(events))


SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "journal.schema.json").read_text())
)


@pytest.fixture
def drive(tmp_path: Path) -> Callable[..., Drive]:
    return lambda **changes: Drive(tmp_path, **changes)


def progress(a: Assignment, length: float, value: float = 0.5, lane: str = "lane") -> TrialProgress:
    report = Progress(int(length), length, value, length, {"loss": value})
    return TrialProgress(lane, a.cell, a.attempt, (report,))


def rung(a: Assignment, at: float, value: float) -> RungReached:
    return RungReached(a.cell, a.attempt, at, at, -value, value, {"loss": value})


def ended(a: Assignment, state: TrialState, cause: Cause | None = None, wall_s: float = 0.0) -> TrialEnded:
    value = None if state is TrialState.FAILED else 0.5
    return TrialEnded(
        "lane", a.cell, a.attempt, Outcome(state, cause, "because", length=2, value=value), wall_s
    )


def lost(a: Assignment, lane: str = "lane") -> GroupLost:
    return GroupLost(lane, a.cell, a.attempt, ("node",), "a worker died")


# ---- single stories -------------------------------------------------------------------------------------


def test_silence_after_a_resume_is_a_hang_too(drive: Callable[..., Drive]) -> None:
    d = drive()
    _, first = d.assign()
    d.say(TrialStarted("lane", first.cell, 1, None))
    d.clock.now += 3  # the first report may take any time; it took 3 s
    d.say(progress(first, 1), CheckpointKept("lane", first.cell, 1, "step-00000001", 1, 1.0, 0.5))
    d.clock.now += 9
    assert d.conductor.tick() == []
    d.clock.now += 2
    (action,) = d.conductor.tick()
    assert action == Recycle("lane", first.cell, 1, "no report for 11 s (limit 10 s)")
    assert d.conductor.tick() == []  # said once
    (again,) = d.say(lost(first))
    assert isinstance(again, Reassign)
    assert again.assignment is not None
    assert again.assignment.attempt == 2
    d.say(TrialStarted("lane", first.cell, 2, 1))
    d.clock.now += 12  # the limit and the slowest start
    assert d.conductor.tick() == []
    d.clock.now += 2
    (action,) = d.conductor.tick()
    assert isinstance(action, Recycle)
    (over,) = d.say(lost(again.assignment))
    assert isinstance(over, Reassign)
    assert over.assignment is None
    assert over.outcome is not None
    d.conductor.ended(TrialEnded("lane", first.cell, 2, over.outcome, 99.0))
    cell = d.history().cells[first.cell]
    assert (cell.state, cell.cause, cell.attempts) == (TrialState.FAILED, Cause.HANG, 2)
    assert cell.wall_s == d.clock.now - 1000.0  # each second once
    assert cell.gpu_s == GPUS * cell.wall_s


def test_rank_0_has_as_long_as_between_reports_once_others_wait_for_its_first(
    drive: Callable[..., Drive],
) -> None:
    d = drive()
    (_, first), (_, other) = d.assign(), d.assign()
    d.say(*(TrialStarted("lane", one.cell, 1, None) for one in (first, other)))
    d.clock.now += 1000  # to build data and model
    assert d.conductor.tick() == []
    d.say(*(RanksWait("lane", one.cell, 1) for one in (first, other)))
    d.clock.now += 9
    d.say(progress(other, 1))
    assert d.conductor.tick() == []
    d.clock.now += 2
    (action,) = d.conductor.tick()
    assert action == Recycle("lane", first.cell, 1, "no report for 11 s (limit 10 s)")


def test_the_journal_says_what_an_attempt_ran_on(drive: Callable[..., Drive]) -> None:
    d = drive()
    _, first = d.assign()
    d.say(TrialStarted("lane", first.cell, 1, None, devices=("A100",)))
    d.say(lost(first))
    d.say(TrialStarted("lane", first.cell, 1, None, devices=("V100",)))  # late: attempt 2 is current
    d.say(TrialStarted("lane", first.cell, 2, 40, devices=("H100",)))
    assert [(e["attempt"], e["devices"], e["resume"]) for e in d.events("start")] == [
        (1, ["A100"], None),
        (2, ["H100"], 40),
    ]
    assert d.history().cells[first.cell].devices == ("A100", "H100")


def test_idle_lanes_stay_where_cells_wait_and_running_trials_leave_room(drive: Callable[..., Drive]) -> None:
    d = drive()
    assert d.conductor.idle_lanes() == LANES
    d.assign()
    assert d.conductor.idle_lanes() == LANES - 1
    d.conductor.wanted_lanes = 1  # a node was lost; the trial that ran there waits for workers
    assert d.conductor.idle_lanes() == 0
    d.conductor.wanted_lanes = 10_000
    assert d.conductor.idle_lanes() == d.conductor.waiting()
    d.conductor.request_stop(StopRequest("enough", ExitCode.INTERRUPTED))
    assert d.conductor.idle_lanes() == 0


def test_a_node_that_comes_adds_lanes_to_a_study_that_runs(drive: Callable[..., Drive]) -> None:
    d = drive(resources={"max_parallel": 3})
    nodes = [Node(name, "10.0.0.2", 2, 2 * GPUS) for name in ("first", "second")]
    d.conductor.see(nodes[:1])
    started = [d.assign() for _ in range(2)]
    assert d.conductor.next_assignment() is None
    d.conductor.see(nodes)
    started.append(d.assign())
    assert d.conductor.next_assignment() is None
    assert len({assignment.cell for _, assignment in started}) == 3


def test_others_may_see_what_runs_where_and_what_it_took(drive: Callable[..., Drive]) -> None:
    d = drive()
    here, there = (Node(name * 12, f"10.0.0.{name}", 2, 2 * GPUS) for name in "ab")
    d.conductor.see([here, there])
    _, first = d.assign()
    _, second = d.assign()
    d.clock.now += 100  # workers start
    d.say(LaneUp("lane", ("a" * 12,)), TrialStarted("lane", first.cell, 1, None))
    assert d.conductor.snapshot().left is None
    d.clock.now += 6
    d.say(progress(first, 1.0), progress(first, 6.0))
    d.clock.now += 60
    d.conductor.see([here, replace(there, alive=False)])
    said = d.conductor.progress()
    assert said[first.cell] == {"length": 6.0, "value": 0.5, "lane": "lane", "attempt": 1, "wall_s": 6.0}
    assert said[second.cell]["wall_s"] == 0.0
    assert said["run"] == {
        "waiting": len(d.plan.cells) - 2,
        "fit": d.conductor.wanted_lanes,
        "gpus": GPUS * d.spec.resources.workers,
        "nodes": [
            {"name": "10.0.0.a (aaaaaaaa)", "cpus": 2, "gpus": 2 * GPUS, "is": "used"},
            {"name": "10.0.0.b (bbbbbbbb)", "cpus": 2, "gpus": 2 * GPUS, "is": "lost"},
        ],
        "on": {"lane": ["10.0.0.a (aaaaaaaa)"]},
    }
    assert d.conductor.progress() == said  # a quiet study says the same again
    d.say(NodeUse("a" * 12, 1.5, (3, 16), 0.5, (7, 80)), NodeUse("b" * 12, 1.0, (1, 16)))
    mine, other = d.conductor.progress()["run"]["nodes"]
    used = {"load": 1.5, "memory": [3, 16], "gpu": 0.5, "gpu_memory": [7, 80]}
    assert (mine, other) == (said["run"]["nodes"][0] | used, said["run"]["nodes"][1])
    left = d.conductor.snapshot().left
    assert left is not None
    assert left.low_s < 9 * len(d.plan.cells) - 6 < left.high_s
    d.say(lost(first))
    assert d.conductor.progress()[first.cell]["wall_s"] == 166.0  # all that the lost attempt took


def test_no_timeout_before_the_first_report(drive: Callable[..., Drive]) -> None:
    d = drive()
    _, first = d.assign()
    d.say(TrialStarted("lane", first.cell, 1, None))
    d.clock.now += 10_000
    assert d.conductor.tick() == []


@pytest.mark.parametrize("crash", ["group", "actor", "driver", "storage"])
def test_a_recorded_stop_holds_although_the_trial_did_not_hear_of_it(
    drive: Callable[..., Drive], crash: str
) -> None:
    d = drive(baseline={"model": {"norm": True, "width": 32}}, seeds=[0])
    _, best = d.assign()
    assert d.conductor.rung(rung(best, 1.0, 0.1)).stop is False
    ticket, worse = d.assign()
    assert d.conductor.rung(rung(worse, 1.0, 0.9)).state is TrialState.STOPPED
    if crash == "group":
        (action,) = d.say(lost(worse))
        assert isinstance(action, Reassign)
        assert action.assignment is None
        assert action.outcome is not None
        d.conductor.ended(TrialEnded("lane", worse.cell, 1, action.outcome, 1.0))
    elif crash == "actor":
        d.conductor.actor_lost(ticket)
    elif crash == "storage":
        d.conductor.ended(ended(worse, TrialState.FAILED, Cause.INFRA))
    else:
        d.restart()
    cell = d.history().cells[worse.cell]
    assert (cell.state, cell.attempts, cell.value) == (TrialState.STOPPED, 1, 0.9)
    assert cell.reason == d.events("decision")[-1]["reason"]
    assert d.history().problems == []
    d.restart()
    assert not d.conductor.queue.waits(worse.cell)


def test_the_loss_of_an_old_lane_does_not_touch_the_new_one(drive: Callable[..., Drive]) -> None:
    d = drive()
    old, first = d.assign()
    d.conductor.ended(ended(first, TrialState.FAILED, Cause.INFRA))
    new, second = d.assign()
    assert (second.cell, second.attempt) == (first.cell, 2)
    d.conductor.actor_lost(old)
    assert d.record.state.cells[first.cell].state is TrialState.RUNNING
    d.conductor.actor_lost(new)
    assert d.record.state.cells[first.cell].state is TrialState.FAILED


@pytest.mark.parametrize("crash", ["actor", "storage"])
def test_a_trial_that_is_lost_while_the_study_stops_is_interrupted_and_has_not_failed(
    drive: Callable[..., Drive], crash: str
) -> None:
    d = drive()
    ticket, a = d.assign()
    d.conductor.request_stop(StopRequest("the driver failed", ExitCode.FAILED))
    if crash == "actor":
        d.conductor.actor_lost(ticket)
    else:
        d.conductor.ended(ended(a, TrialState.FAILED, Cause.INFRA))
    cell = d.history().cells[a.cell]
    assert (cell.state, cell.cause, cell.reason) == (TrialState.CANCELLED, None, "the driver failed")
    assert d.events("failure") == []


def test_a_trial_that_is_given_up_stays_so_when_its_lane_ends_first(drive: Callable[..., Drive]) -> None:
    d = drive(failures={"max_retries": 0, "report_timeout": 10})
    ticket, a = d.assign()
    (action,) = d.say(LaneUp("lane", ("node",)), lost(a))
    assert isinstance(action, Reassign)
    assert action.assignment is None
    d.conductor.actor_lost(ticket)
    live = d.record.state.cells[a.cell]
    assert (live.state, live.cause, live.reason) == (TrialState.FAILED, Cause.INFRA, "a worker died")
    assert [event["event"] for event in d.events()][-2:] == ["failure", "end"]


def test_a_trial_that_is_given_up_is_no_progress_of_its_node(drive: Callable[..., Drive]) -> None:
    d = drive(seeds=4, failures={"max_retries": 0, "report_timeout": 10})
    nodes = [Node("node", "10.0.0.2", 4, 4), Node("other", "10.0.0.3", 4, 4)]
    d.conductor.see(nodes)
    actions: list[Action] = []
    for _ in range(3):
        _, a = d.assign()
        actions += d.say(LaneUp("lane", ("node",)), lost(a))
        d.conductor.ended(ended(a, TrialState.FAILED, Cause.INFRA))
    (aside,) = [action for action in actions if isinstance(action, SetAside)]
    assert (aside.nodes, aside.lanes) == (("node",), ("lane",))
    assert "3 different trials failed there" in aside.reason


def test_a_budget_that_runs_out_when_all_is_answered_is_no_news(drive: Callable[..., Drive]) -> None:
    d = drive(seeds=[0], budget={"wall": 100})
    while not d.conductor.finished():
        _, a = d.assign()
        d.conductor.ended(ended(a, TrialState.DONE))
    d.clock.now += 1000
    d.conductor.tick()
    assert d.conductor.exit_code() is ExitCode.DONE


def test_a_budget_that_runs_out_lets_running_trials_leave(drive: Callable[..., Drive]) -> None:
    d = drive(budget={"wall": 100})
    _, a = d.assign()
    d.clock.now += 101
    d.conductor.tick()
    assert d.conductor.next_assignment() is None
    (leave,) = d.conductor.leave_actions()
    assert isinstance(leave, StopTrial)
    assert (leave.cell, leave.attempt, leave.answer.state) == (a.cell, 1, TrialState.CANCELLED)
    d.conductor.ended(ended(a, TrialState.CANCELLED))
    assert d.conductor.exit_code() is ExitCode.BUDGET
    d.restart()
    assert d.conductor.queue.waiting() == len(d.plan.cells)


def test_a_broken_import_on_a_worker_costs_no_cell_its_answer(drive: Callable[..., Drive]) -> None:
    d = drive()
    _, a = d.assign()
    d.say(EntrypointFailed("lane", "trial:train: ModuleNotFoundError"))
    d.conductor.ended(ended(a, TrialState.CANCELLED))
    assert d.conductor.exit_code() is ExitCode.BAD_INPUT
    d.restart()
    assert d.conductor.queue.waits(a.cell)


def test_the_same_reports_give_curves_that_show_a_seed_that_is_ignored(drive: Callable[..., Drive]) -> None:
    d = drive(deterministic=False)
    (_, a), (_, b) = d.assign(), d.assign()
    for length in (1, 2, 3):
        d.say(progress(a, length, 1 / length), progress(b, length, 1 / length))
    assert d.conductor.stop is not None
    assert d.conductor.stop.exit_code is ExitCode.BAD_INPUT
    assert "ignores its seed" in d.conductor.stop.reason


# ---- any story ------------------------------------------------------------------------------------------


@dataclass
class Lane:
    """What the world outside knows of an attempt that is under way."""

    ticket: tuple[str, int]
    assignment: Assignment
    since: float
    length: int = 0
    leave: TrialState | None = None  # told to stop

    @property
    def name(self) -> str:
        return "-".join(("lane", self.ticket[0], str(self.ticket[1])))


class AnyOrder(RuleBasedStateMachine):
    """Lanes that start, report, reach rungs, end, break, fall silent; drivers that stop and die."""

    lanes: list[Lane]

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.drive = Drive(Path(self.folder.name))
        self.lanes, self.old = [], list[DriverEvent | TrialEnded]()
        self.tickets: list[tuple[str, int]] = []  # of this driver
        self.most_attempts: Counter[str] = Counter()

    def teardown(self) -> None:
        if not hasattr(self, "drive"):
            return
        self.finish()
        for event in self.drive.events():
            SCHEMA.validate(event)
        self.drive.record.close()
        self.folder.cleanup()

    # -- what lanes do --

    @precondition(lambda self: len(self.lanes) < LANES and self.drive.conductor.queue.waiting())
    @rule()
    def assign(self) -> None:
        while len(self.lanes) < LANES and (offer := self.drive.conductor.next_assignment()):
            self.lanes.append(Lane(offer.key, offer, self.drive.clock.now))
            self.tickets.append(offer.key)
            self.say(TrialStarted(self.lanes[-1].name, offer.cell, offer.attempt, None))

    def pick(self, index: int) -> Lane:
        return self.lanes[index % len(self.lanes)]

    def say(self, *events: DriverEvent) -> None:
        self.old += events
        self.carry_out(self.drive.conductor.take(list(events)))

    @precondition(lambda self: self.lanes)
    @rule(
        index=st.integers(0, 1),
        times=st.integers(1, 4),
        checkpoint=st.booleans(),
        value=st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.9, math.nan]),
    )
    def report(self, index: int, times: int, checkpoint: bool, value: float) -> None:
        lane = self.pick(index)
        a = lane.assignment
        for _ in range(times):
            if lane.leave or lane.length >= 9:
                return
            lane.length += 1
            self.say(progress(a, lane.length, value, lane.name))
            if lane.length in RUNGS and lane.length not in a.decided:
                answer = self.drive.conductor.rung(rung(a, lane.length, value))
                lane.leave = answer.state if answer.stop else None
        if checkpoint:
            name = f"step-{lane.length:08d}"
            self.say(CheckpointKept(lane.name, a.cell, a.attempt, name, lane.length, lane.length, value))

    @precondition(lambda self: self.lanes)
    @rule(index=st.integers(0, 1), how=st.sampled_from([TrialState.DONE, TrialState.DONE, *Cause]))
    def end(self, index: int, how: TrialState | Cause) -> None:
        lane = self.pick(index)
        if isinstance(how, Cause):
            outcome = Outcome(TrialState.FAILED, how, "broke", length=lane.length)
        else:
            outcome = Outcome(lane.leave or how, reason="left", length=lane.length, value=0.5)
        self.leave(lane, outcome)

    def leave(self, lane: Lane, outcome: Outcome) -> None:
        self.lanes.remove(lane)
        a = lane.assignment
        event = TrialEnded(lane.name, a.cell, a.attempt, outcome, self.drive.clock.now - lane.since)
        self.old.append(event)
        self.drive.conductor.ended(event)

    @precondition(lambda self: self.lanes)
    @rule(index=st.integers(0, 1), actor=st.booleans())
    def lose(self, index: int, actor: bool) -> None:
        lane = self.pick(index)
        if actor:
            self.lanes.remove(lane)
            self.drive.conductor.actor_lost(lane.ticket)
        else:
            self.say(lost(lane.assignment, lane.name))

    @precondition(lambda self: self.old)
    @rule(index=st.integers(0, 10_000))
    def say_again(self, index: int) -> None:
        """A message that comes late: of an attempt that is over, or a report of one that is not."""
        event = self.old[index % len(self.old)]
        current = {(lane.assignment.cell, lane.assignment.attempt) for lane in self.lanes}
        if isinstance(event, TrialEnded):
            assert (event.cell, event.attempt) not in current
            self.drive.conductor.ended(event)
        elif not isinstance(event, GroupLost) or (event.cell, event.attempt) not in current:
            self.drive.conductor.take([event])

    @precondition(lambda self: self.tickets)
    @rule(index=st.integers(0, 10_000))
    def lose_an_old_actor(self, index: int) -> None:
        ticket = self.tickets[index % len(self.tickets)]
        if ticket not in {lane.ticket for lane in self.lanes}:
            self.drive.conductor.actor_lost(ticket)

    @rule(seconds=st.sampled_from([0.5, 4.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.drive.clock.now += seconds
        self.carry_out(self.drive.conductor.tick())

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, StopTrial):
                continue
            lane = next(lane for lane in self.lanes if lane.name == action.lane)
            if isinstance(action, Recycle):
                assert (action.cell, action.attempt) == (lane.assignment.cell, lane.assignment.attempt)
                self.say(lost(lane.assignment, lane.name))
            elif action.assignment is not None:
                assert action.assignment.cell == lane.assignment.cell
                lane.assignment, lane.since = action.assignment, self.drive.clock.now
                lane.length, lane.leave = 0, None
            else:
                assert action.outcome is not None
                self.leave(lane, action.outcome)

    # -- what drivers do --

    @rule(often=st.integers(0, 5))
    def stop(self, often: int) -> None:
        if often:
            return
        self.drive.conductor.request_stop(StopRequest("stopped", ExitCode.INTERRUPTED))
        for action in self.drive.conductor.leave_actions():
            assert isinstance(action, StopTrial)
            for lane in self.lanes:
                if (lane.assignment.cell, lane.assignment.attempt) == (action.cell, action.attempt):
                    lane.leave = lane.leave or action.answer.state

    @rule(often=st.integers(0, 3), clean=st.booleans(), retry_failed=st.booleans())
    def restart(self, often: int, clean: bool, retry_failed: bool) -> None:
        if not often:
            self.next_driver(clean, retry_failed)

    def next_driver(self, clean: bool, retry_failed: bool) -> None:
        """`clean`: as after Ctrl-C, else as after kill -9."""
        if clean:
            self.drive.conductor.request_stop(StopRequest("stopped", ExitCode.INTERRUPTED))
            self.drive.conductor.give_up_waiting()
        self.lanes.clear()
        self.tickets.clear()
        self.old.clear()  # the message actor ends with its driver
        self.drive.restart(retry_failed=retry_failed)

    # -- what always holds --

    @invariant()
    def the_journal_tells_the_same(self) -> None:
        if not hasattr(self, "drive"):
            return
        record, queue = self.drive.record, self.drive.conductor.queue
        state = self.drive.history()
        assert repr(record.state) == repr(state)  # NaN is not equal to itself
        assert state.problems == []
        running = {live.key for live in queue.running()}
        assert running == {(cell.cell, cell.attempts) for cell in map(record.state.cells.get, dict(running))}
        assert running >= {lane.assignment.key for lane in self.lanes}
        for cell, trial in record.state.cells.items():
            assert trial.attempts >= self.most_attempts[cell]
            self.most_attempts[cell] = trial.attempts
            assert trial.wall_s <= self.drive.clock.now - 1000.0 + 1e-6
            assert not (trial.state.answered and (queue.waits(cell) or cell in dict(running)))
        assert len(running) <= LANES

    def say_everything_again(self) -> None:
        """Ends and losses of attempts that are over must not touch those under way."""
        under_way = {lane.ticket for lane in self.lanes}
        for ticket in set(self.tickets) - under_way:
            self.drive.conductor.actor_lost(ticket)
        for event in [event for event in self.old if isinstance(event, TrialEnded)]:
            self.drive.conductor.ended(event)
        assert len(self.drive.conductor.queue.running()) == len(self.lanes)

    def finish(self) -> None:
        """Whatever has happened: a last run answers what is left, and then all is told once."""
        if self.drive.conductor.stop:
            self.next_driver(clean=True, retry_failed=False)
        while not self.drive.conductor.finished():
            self.assign()
            self.say_everything_again()
            for lane in list(self.lanes):
                done = Outcome(TrialState.DONE, length=9, value=0.5)
                # one that was told to leave breaks on its way out: the decision holds
                self.leave(lane, Outcome(TrialState.FAILED, Cause.INFRA, "broke") if lane.leave else done)
        self.the_journal_tells_the_same()
        events = self.drive.events()
        states = self.drive.history().cells
        assert all(record.state.answered or record.state is TrialState.FAILED for record in states.values())
        failures = Counter((e["cell"], e["attempt"]) for e in events if e["event"] == "failure")
        assert all(count == 1 for count in failures.values())
        answers = Counter(
            e["cell"] for e in events if e["event"] == "end" and TrialState(e["state"]).answered
        )
        assert all(count == 1 for count in answers.values())
        for cell in states:
            attempts = [e["attempt"] for e in events if e["event"] == "assign" and e["cell"] == cell]
            assert attempts == list(range(1, len(attempts) + 1))
        for event in events:
            if event["event"] == "decision" and event["action"] == "stop":
                assert states[event["cell"]].state == event["state"]
        decided = Counter((e["cell"], e["rung"]) for e in events if e["event"] == "decision")
        assert all(count == 1 for count in decided.values())


AnyOrder.TestCase.settings = settings(stateful_step_count=40)
test_any_order = pytest.mark.slow(AnyOrder.TestCase)
