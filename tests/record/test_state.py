from __future__ import annotations

import io
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.decide.states import Cause, IllegalTransition, TrialState
from orchestrator.record.events import (
    Assigned,
    AttemptFailed,
    BatchAdded,
    Checkpointed,
    Decided,
    Event,
    LookTaken,
    Noted,
    Reported,
    Started,
    StudyStarted,
    TrialEnd,
    read,
    written,
)
from orchestrator.record.layout import StudyPaths
from orchestrator.record.results import COLUMNS, results_table, write_results
from orchestrator.record.state import columns, fold
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Arm, Batch, Cell, Plan
from orchestrator.study.spec import StudySpec

ARMS = ("baseline", "no-a", "no-b")
CELLS = tuple(Cell(f"{seed}{index}" * 6, arm, seed) for seed in range(2) for index, arm in enumerate(ARMS))
PLAN = Plan(
    study="s",
    hash="h",
    reference="baseline",
    arms=tuple(Arm(name, None, "reference" if name == "baseline" else "without", {}, {}) for name in ARMS),
    cells=CELLS,
)
SPEC = StudySpec.model_validate(
    {
        "name": "s",
        "entrypoint": "trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"a": 1, "b": 1},
        "components": {name: {"without": {name: 0}} for name in ("a", "b")},
        "seeds": 2,
        "stopping": {"max": 8},
    }
)
IDS = [cell.cell for cell in CELLS]
ONE = IDS[0]


def assign(cell: str = ONE, attempt: int = 1) -> Assigned:
    return Assigned(cell, "arm", 0, attempt, None, None)


def end(cell: str = ONE, state: str = "done", cause: str | None = None, **fields: Any) -> TrialEnd:
    plain = TrialEnd(
        cell, "arm", 0, 1, TrialState(state), Cause(cause) if cause else None, None, None, None, 2.0, 1.0
    )
    return replace(plain, **fields)


def failure(cell: str = ONE, cause: str = "infra", again: bool = True, **fields: Any) -> AttemptFailed:
    return AttemptFailed(cell, 1, Cause(cause), "it broke", again, None, **fields)


def report(cell: str = ONE, rung: float = 2.0, value: float = 0.25) -> Reported:
    return Reported(cell, "arm", 1, rung, rung, -value, value, {})


def checkpoint(cell: str = ONE, name: str = "step-00000010") -> Checkpointed:
    return Checkpointed(cell, 1, name, 10, 2.0, 0.25)


def decision(cell: str = ONE, rung: float = 6.0) -> Decided:
    return Decided(cell, "stop", TrialState.STOPPED, "asha", rung, 0.5, 3, 3, "rank 3 of 3")


def test_an_empty_journal_leaves_everything_to_do() -> None:
    history = fold([], PLAN)
    assert list(history.cells) == IDS
    assert history.remaining() == IDS
    assert {record.state for record in history.cells.values()} == {TrialState.PENDING}


def test_what_is_left_after_each_end() -> None:
    states = ["done", "stopped", "diverged", "skipped", "cancelled"]
    events = [
        event for cell, state in zip(IDS, states, strict=False) for event in (assign(cell), end(cell, state))
    ]
    assert fold(events, PLAN).remaining() == IDS[4:]
    for cause, again in {"hang": True, "infra": True, "user": False, "oom": False, "short": False}.items():
        history = fold([assign(), end(state="failed", cause=cause)], PLAN)
        assert (ONE in history.remaining()) is again, cause
        assert ONE in history.remaining(retry_failed=True)
        assert history.cells[ONE].cause is Cause(cause)


def start(attempt: int, *devices: str, resume: int | None = None) -> Started:
    return Started(ONE, attempt, "lane", devices, resume)


def test_a_run_is_on_the_gpus_that_its_result_comes_from() -> None:
    first = [assign(), start(1, "A100"), failure()]
    assert fold(first, PLAN).cells[ONE].devices == ("A100",)
    resumed = [*first, assign(attempt=2), start(2, "H100", resume=40), failure()]
    resumed += [assign(attempt=3), start(3, "A100", resume=60), end()]
    assert fold(resumed, PLAN).cells[ONE].devices == ("A100", "H100")
    anew = fold([*first, assign(attempt=2), start(2, "H100"), end()], PLAN)
    assert anew.cells[ONE].devices == ("H100",)
    late = fold([*first, assign(attempt=2), end(), start(2, "H100")], PLAN)
    assert late.problems == [f"event 6: start of {ONE}: the cell is done already"]
    table = results_table(SPEC, fold(resumed, PLAN))
    assert table["device"].to_pylist() == ["A100, H100"] + [None] * 5


def test_a_running_cell_is_resumed_with_its_attempts_counted() -> None:
    events = [
        assign(),
        report(),
        checkpoint(),
        assign(attempt=2),
    ]
    history = fold(events, PLAN)
    record = history.cells[ONE]
    assert (record.state, record.attempts, record.latest_checkpoint) == (
        TrialState.RUNNING,
        2,
        "step-00000010",
    )
    assert (record.length, record.value) == (2, 0.25)
    assert ONE in history.remaining()
    assert history.rung_table == {2: {ONE: -0.25}}


def test_retries_count_from_the_last_checkpoint() -> None:
    events: list[Event] = [
        assign(),
        failure(),
        assign(attempt=2),
        failure(cause="hang"),
        failure(preempted=True),
    ]
    assert fold(events, PLAN).cells[ONE].retries_since_progress == 2
    events.append(checkpoint())
    record = fold(events, PLAN).cells[ONE]
    assert (record.retries_since_progress, record.retries) == (0, 3)
    table = results_table(SPEC, fold([*events, assign(attempt=3), failure(again=False)], PLAN))
    assert table["retries"].to_pylist() == [3] + [0] * 5


def test_costs_add_up_over_attempts() -> None:
    events = [
        assign(),
        end(state="cancelled"),
        assign(attempt=2),
        failure(wall_s=0.5),
        assign(attempt=3),
        end(),
    ]
    record = fold(events, PLAN).cells[ONE]
    assert (record.wall_s, record.gpu_s, record.attempts) == (4.5, 2.0, 3)


def test_decisions_are_found_again() -> None:
    record = fold([assign(), decision()], PLAN).cells[ONE]
    assert (record.decisions, record.stop) == ({6.0: decision()}, decision())


def test_a_trial_that_was_given_up_gets_all_of_its_retries_again() -> None:
    events: list[Event] = [assign(), failure(), assign(attempt=2), failure(again=False)]
    events.append(end(state="failed", cause="infra"))
    assert fold(events, PLAN).cells[ONE].retries_since_progress == 2
    assert fold([*events, assign(attempt=2)], PLAN).cells[ONE].retries_since_progress == 0


def test_the_first_answer_stands() -> None:
    events = [
        assign(),
        end(value=0.5, length=8),
        end(state="failed", value=0.1),
        assign(attempt=2),
        failure(again=False),
    ]
    history = fold(events, PLAN)
    record = history.cells[ONE]
    assert (record.state, record.value, record.cause, record.attempts) == (TrialState.DONE, 0.5, None, 1)
    assert len(history.problems) == 3


NONSENSE: list[dict[str, Any]] = [
    {
        "event": "assign",
        "cell": "elsewhere",
        "arm": "a",
        "seed": 0,
        "attempt": 1,
        "lane": None,
        "resume": None,
    },
    {"event": "assign", "cell": ONE},
    {**dict(written(end())), "state": "running"},
    {**dict(written(end())), "state": "tired"},
    {**dict(written(report())), "score": None},
    {**dict(written(failure())), "cause": "weather"},
    {"event": "end", "state": "done"},
]


def test_nonsense_is_listed_and_changes_nothing() -> None:
    state = fold(map(read, NONSENSE), PLAN)
    assert len(state.problems) == len(NONSENSE)
    assert "event 2: assign of 000000000000: arm: Field required" in state.problems[1]
    assert state.cells == fold([], PLAN).cells


def test_an_event_that_cannot_be_changes_nothing() -> None:
    state = fold([assign(), failure(), assign(attempt=2), end(value=0.5, length=8.0)], PLAN)
    before = deepcopy(state)
    for event in (assign(), failure(), report(), start(1, "A100"), checkpoint(), end(), end("elsewhere")):
        with pytest.raises((ValueError, IllegalTransition)):
            state.apply(event)
        assert state == before


def test_accepted_code_is_remembered() -> None:
    assert fold([Noted("x"), Noted("y", code_hash="c1")], PLAN).accepted_code == ["c1"]


GOOD: list[Event] = [
    *(assign(cell, attempt) for cell in IDS[:2] for attempt in (1, 2)),
    *(end(cell, state, cause) for cell in IDS[:2] for state, cause in (("done", None), ("failed", "infra"))),
    *(failure(again=again) for again in (True, False)),
    *(report(), decision(), checkpoint(), start(1, "A100"), Noted("x"), StudyStarted("h", 6, "new")),
]
ODD = st.sampled_from([*IDS[:2], "failed", "infra", "user", "nan", 1, 2.5, -1, None, True, math.nan, [], {}])
LINES = st.sampled_from([dict(written(event)) for event in GOOD]).flatmap(
    lambda line: st.dictionaries(
        st.sampled_from([key for key in line if key != "event"]), ODD, max_size=2
    ).map(lambda changes: {**line, **changes})
)


@pytest.mark.slow
@given(st.lists(LINES, max_size=12), st.integers(0, 12))
def test_any_journal_can_be_read(lines: list[dict[str, Any]], cut: int) -> None:
    events = [read(line) for line in lines]
    state = fold(events, PLAN)
    first = fold(events[:cut], PLAN)
    before = repr(first)
    later = first.later(events[cut:], len(events[:cut]))
    assert repr(later) in (repr(state), "None")  # a look that goes on says what a new one would
    assert repr(first) == before
    assert list(state.cells) == IDS
    answered = {cell for cell, record in state.cells.items() if record.state.answered}
    assert answered.isdisjoint(state.remaining(retry_failed=True))
    assert answered | set(state.remaining(retry_failed=True)) == set(IDS)
    more = fold([*events, *events], PLAN)
    assert answered <= {cell for cell, record in more.cells.items() if record.state.answered}
    assert results_table(SPEC, state).num_rows == len(IDS)


class Driver(RuleBasedStateMachine):
    """A driver that runs cells, crashes and comes back; the fold of its journal agrees with it."""

    @initialize()
    def begin(self) -> None:
        self.events: list[Event] = []
        self.state = dict.fromkeys(IDS, "pending")
        self.cause: dict[str, str | None] = dict.fromkeys(IDS)
        self.attempts = dict.fromkeys(IDS, 0)
        self.tries = dict.fromkeys(IDS, 0)

    def left(self) -> list[str]:
        kept = ("done", "stopped", "diverged")
        bad = [cell for cell in IDS if self.state[cell] == "failed" and self.cause[cell] == "user"]
        return [cell for cell in IDS if self.state[cell] not in kept and cell not in bad]

    @precondition(lambda self: any(state != "running" for state in map(self.state.get, self.left())))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        cell = data.draw(st.sampled_from([cell for cell in self.left() if self.state[cell] != "running"]))
        self.attempts[cell] += 1
        self.tries[cell] = 0 if self.state[cell] == "failed" else self.tries[cell]
        self.state[cell] = "running"
        self.events.append(assign(cell, self.attempts[cell]))

    @precondition(lambda self: "running" in self.state.values())
    @rule(data=st.data(), outcome=st.sampled_from(["done", "stopped", "diverged", "cancelled", "failed"]))
    def finish(self, data: st.DataObject, outcome: str) -> None:
        cell = data.draw(st.sampled_from([cell for cell in IDS if self.state[cell] == "running"]))
        self.cause[cell] = data.draw(st.sampled_from(["user", "hang"])) if outcome == "failed" else None
        self.state[cell] = outcome
        self.events.append(end(cell, outcome, cause=self.cause[cell], attempt=self.attempts[cell]))

    @precondition(lambda self: "running" in self.state.values())
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        cell = data.draw(st.sampled_from([cell for cell in IDS if self.state[cell] == "running"]))
        self.state[cell] = "pending"
        self.tries[cell] += 1
        self.events.append(failure(cell))

    @precondition(lambda self: "running" in self.state.values())
    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        cell = data.draw(st.sampled_from([cell for cell in IDS if self.state[cell] == "running"]))
        self.tries[cell] = 0
        self.events.append(checkpoint(cell))

    @rule()
    def crash_and_come_back(self) -> None:
        for cell in IDS:
            if self.state[cell] == "running":
                self.attempts[cell] += 1
                self.events.append(assign(cell, self.attempts[cell]))

    @invariant()
    def the_fold_agrees(self) -> None:
        history = fold(self.events, PLAN)
        assert history.problems == []
        for cell, record in history.cells.items():
            assert record.state == self.state[cell]
            assert record.attempts == self.attempts[cell]
            assert record.retries_since_progress == self.tries[cell]
        assert history.remaining() == self.left()


def test_batches_grow_the_plan_and_a_broken_one_is_told() -> None:
    more = Batch(
        "interactions: auto",
        (Arm("no-a+no-b", None, "pair", {}, {}, None, ("a", "b")),),
        (Cell("9" * 12, "no-a+no-b", 0, set={"a": 0}),),
    )
    broken = BatchAdded("?", ({"arm": 1},), ({},))
    known = BatchAdded.of(more)
    state = fold([known, broken, assign("9" * 12), end("9" * 12), known], PLAN)
    assert state.plan.arm("no-a+no-b") == more.arms[0]
    assert state.plan.cells == (*CELLS, *more.cells)
    assert list(state.cells) == [*IDS, "9" * 12]
    assert state.cells["9" * 12].state is TrialState.DONE
    (problem,) = state.problems
    assert problem.startswith("event 2: batch: a batch that cannot be read")


def test_looks_are_kept_in_their_order() -> None:
    looks = [
        LookTaken("fixed", 0, "no-a", number, number, "continue", 0.1, None, None, 0.4, 0.01, 0.5, None)
        for number in (3, 4)
    ]
    assert fold(looks, PLAN).looks == looks


TestDriver = Driver.TestCase
TestDriver.settings = settings(stateful_step_count=25)


def test_results_have_every_cell_once(storage: Storage, tmp_path: Path) -> None:
    events: list[Event] = [
        assign(), end(length=8, value=0.5),
        assign(IDS[1]), end(IDS[1], "diverged", length=3, value=math.nan, reason="NaN, at step 7"),
        assign(IDS[2]), end(IDS[2], "failed", cause="oom", reason="out of\nmemory"),
        assign(IDS[3]), end(IDS[3], "stopped", length=2, value=0.25),
    ]  # fmt: skip
    paths = StudyPaths.of("s")
    write_results(storage, paths, results_table(SPEC, fold(events, PLAN)))
    table = pq.read_table(io.BytesIO(storage.read_bytes(paths.results_parquet)))
    assert tuple(table.column_names) == COLUMNS
    assert table["cell"].to_pylist() == IDS
    assert table["used"].to_pylist() == [True] + [False] * 5
    assert table["value"].to_pylist() == [0.5, None, None, 0.25, None, None]
    assert table["state"].to_pylist() == ["done", "diverged", "failed", "stopped", "pending", "pending"]
    assert table["trial_dir"].to_pylist()[1] == "trials/no-a/seed-0"
    text = pc.read_csv(
        io.BytesIO(storage.read_bytes(paths.results_csv)),
        parse_options=pc.ParseOptions(newlines_in_values=True),
    )
    assert text.num_rows == len(IDS)


def test_the_columns_are_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text(encoding="utf-8")
    table = page.partition("<!-- columns of the results -->\n")[2].partition("\n<!-- end -->")[0]
    kinds = results_table(SPEC, fold([], PLAN)).schema
    rows = [f"| `{c.name}` | {kinds.field(c.name).type} | {c.unit} | {c.doc} |" for _, c in columns()]
    written = ["| column | type | unit | what it is |", "|---|---|---|---|", *rows]
    assert table == "\n".join(written), "docs/storage.md: put in what is written here"
