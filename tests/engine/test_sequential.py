"""Sequential studies decide the same whatever the order of ends, whoever fails and however often drivers
die.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from story import Story, judged, study, used_values

from orchestrator.decide.resolve import resolve
from orchestrator.decide.sequential import RESOLVE
from orchestrator.decide.states import Cause, TrialState
from orchestrator.study.cells import Cell
from orchestrator.study.spec import StudySpec

COMPONENTS = ("a", "b", "c", "d")
EFFECTS = {"baseline": 0.0, "no-a": 0.0, "no-b": -1.0, "no-c": -8.0, "no-d": 2.5}
MOST_SEEDS = 12


class World:
    """What every run gives, fixed beforehand: effect + noise of arm and seed, or a failure."""

    def __init__(self, seed: int, failures: float) -> None:
        noise = np.random.default_rng(seed)
        self.values = {
            (arm, s): effect + float(noise.normal())
            for arm, effect in EFFECTS.items()
            for s in range(MOST_SEEDS)
        }
        self.failed = {place for place in self.values if noise.random() < failures}

    def __call__(self, cell: Cell) -> float | Cause:
        place = (cell.arm, cell.seed)
        return Cause.USER if place in self.failed else self.values[place]

    def table(self, seeds: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        rows = [
            [self.values[arm, s] if (arm, s) not in self.failed else np.nan for s in range(seeds)]
            for arm in EFFECTS
        ]
        return np.array(rows)


def spec_of(goal: str) -> StudySpec:
    return study(COMPONENTS, stopping={"rule": "resolve", "goal": goal, "max": 9, "unit": "epoch"})


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["save", "screen", pytest.param("reinvest", marks=pytest.mark.long)])
@settings(max_examples=15)
@given(
    world=st.integers(0, 10_000),
    order=st.integers(0, 10_000),
    lanes=st.integers(1, 8),
    failures=st.sampled_from([0.0, 0.0, 0.1, 0.4]),
    faults=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_the_live_decision_is_the_simulated_one(
    tmp_path_factory: pytest.TempPathFactory,
    goal: str,
    world: int,
    order: int,
    lanes: int,
    failures: float,
    faults: float,
) -> None:
    results, spec = World(world, failures), spec_of(goal)
    story = Story(tmp_path_factory.mktemp("story"), spec, results, random.Random(order), lanes, faults)
    history = story.play()
    seeds = MOST_SEEDS if goal == "reinvest" else 5
    values = results.table(seeds)
    simulated = resolve(RESOLVE.on_seeds(spec, len(COMPONENTS)), values, np.ones_like(values, dtype=bool))
    (found,) = judged(spec, history)
    assert found.course.looks == simulated.looks
    assert found.course.final == simulated.final
    assert found.course.finished
    assert history.problems == []
    # the journal has each decision once, as it was made, also when the study is taken up again
    again = Story(story.root, spec, results, random.Random(order), lanes)
    history = again.play()
    written = [(look.arm, look.number, look.action) for look in history.looks]
    assert sorted(written) == sorted((found.arm(look), look.number, look.action) for look in simulated.looks)
    states = [record.state for record in history.cells.values()]
    assert all(state.answered or state is TrialState.FAILED for state in states)
    runs = sum(
        record.attempts > 0 and record.state is not TrialState.SKIPPED for record in history.cells.values()
    )
    assert len(simulated.needed) <= runs <= len(states)
    assert used_values(spec, history).keys() <= {
        cell for cell, record in history.cells.items() if record.state is TrialState.DONE
    }


def test_one_lane_runs_what_the_looks_need_and_nothing_else(tmp_path: Path) -> None:
    results, spec = World(3, 0.0), spec_of("save")
    history = Story(tmp_path, spec, results, random.Random(0), lanes=1).play()
    (found,) = judged(spec, history)
    ran = {(record.arm, record.seed) for record in history.cells.values() if record.attempts}
    assert ran == {(found.evaluation.arms[row], seed) for row, seed in found.course.needed}
    assert len(ran) < len(history.cells)
    for record in history.cells.values():
        assert (record.state is TrialState.SKIPPED) == (not record.attempts)
        assert record.attempts or record.reason


def test_a_lost_cell_holds_the_look_and_not_the_record(tmp_path: Path) -> None:
    """Infrastructure that fails for good is no outcome: the look waits, and the next start runs the cell
    again.
    """
    results, spec = World(3, 0.0), spec_of("save")

    def broken(cell: Cell) -> float | Cause:
        return Cause.INFRA if (cell.arm, cell.seed) == ("no-b", 1) else results(cell)

    changed = spec.model_copy(update={"failures": spec.failures.model_copy(update={"max_retries": 1})})
    history = Story(tmp_path, changed, broken, random.Random(0), lanes=2).play()
    (found,) = judged(spec, history)
    assert found.course.looks == ()
    assert not found.course.finished
    history = Story(tmp_path, spec, results, random.Random(0), lanes=2).play()
    (found,) = judged(spec, history)
    assert found.course.finished


@pytest.mark.parametrize("lanes", [1, 6])
def test_arms_that_are_added_later_change_nothing_for_the_others(tmp_path: Path, lanes: int) -> None:
    results = World(3, 0.0)
    spec = study(COMPONENTS)
    first_three = {name: component for name, component in spec.components.items() if name != "d"}
    begun = spec.model_copy(update={"components": first_three})
    before = Story(tmp_path, begun, results, random.Random(0), lanes).play()
    after = Story(tmp_path, spec, results, random.Random(1), lanes, extend=True).play()
    assert after.problems == []
    assert {look.arm: look.family for look in after.looks} == {
        "no-a": 0, "no-b": 0, "no-c": 0, "no-d": 1,
    }  # fmt: skip
    assert after.looks[: len(before.looks)] == before.looks
    assert {look.arm for look in after.looks[len(before.looks) :]} == {"no-d"}
    for cell, record in before.cells.items():
        assert after.cells[cell].attempts == record.attempts
    _, second = judged(spec, after)
    alone = results.table(5)[[0, 4]]
    assert second.course.looks == resolve(RESOLVE.on_seeds(spec, 1), alone, np.ones_like(alone, bool)).looks


@pytest.mark.parametrize("lanes", [1, 6])
def test_a_failure_that_is_tried_again_is_as_if_it_had_not_been(tmp_path: Path, lanes: int) -> None:
    """Looks had counted it; arms that were resolved by them come back, and may go again."""
    results, spec = World(3, 0.0), spec_of("save")

    def broken(cell: Cell) -> float | Cause:
        return Cause.USER if (cell.arm, cell.seed) == ("no-d", 1) else results(cell)

    Story(tmp_path, spec, broken, random.Random(0), lanes).play()
    history = Story(tmp_path, spec, results, random.Random(1), lanes, retry_failed=True).play()
    values = results.table(5)
    assert history.problems == []
    (found,) = judged(spec, history)
    assert found.course == resolve(RESOLVE.on_seeds(spec, 4), values, np.ones_like(values, bool))


TUNE: dict[str, Any] = {
    "samples": 4,
    "space": {"lr": {"loguniform": [1e-3, 1.0]}},
    "stopping": {"rule": "none"},
}


@pytest.mark.slow
@pytest.mark.parametrize("search", ["random", "bayes"])
@pytest.mark.parametrize("compare", ["retuned", "both"])
def test_every_arm_is_tuned_alike_and_its_winner_compared_on_fresh_seeds(
    tmp_path: Path, search: str, compare: str
) -> None:
    if search == "bayes":
        pytest.importorskip("optuna", reason="needs the extra [bayes]")
    spec = study(("a", "b"), tune={**TUNE, "search": search, "compare": compare, "samples": 5})
    results = World(1, 0.0)

    def result(cell: Cell) -> float | Cause:
        lr = cell.set.get("lr", 0.5)
        return results.values[cell.arm, cell.seed % MOST_SEEDS] - 5 * abs(np.log10(lr) + 1)

    histories = [
        Story(tmp_path / str(order), spec, result, random.Random(order), lanes, faults=0.1).play()
        for order, lanes in ((0, 1), (1, 5))
    ]
    for history in histories:
        samples = {arm: [] for arm in ("baseline", "no-a", "no-b")}
        for cell in history.plan.cells:
            if cell.phase == "tune":
                samples[cell.arm].append(cell)
        assert {len(cells) for cells in samples.values()} == {5}
        first = [[cell.set for cell in cells][:3] for cells in samples.values()]
        assert first[0] == first[1] == first[2]
        for arm, cells in samples.items():
            best = max(cells, key=result)
            retuned = [cell for cell in history.plan.cells if (cell.arm, cell.phase) == (arm, "retuned")]
            assert [cell.seed for cell in retuned] == [0, 1, 2, 3, 4]
            assert all(cell.set == best.set for cell in retuned)
        shown = [one.evaluation.phase for one in judged(spec, history)]
        assert shown == (["fixed", "retuned"] if compare == "both" else ["retuned"])
        assert all(one.course.finished for one in judged(spec, history))
    assert used_values(spec, histories[0]) == used_values(spec, histories[1])


def test_samples_are_stopped_by_samples_of_their_own_arm_only(tmp_path: Path) -> None:
    stopping = {"rule": "asha", "grace": 1, "reduction": 3}
    spec = study(("a",), tune={**TUNE, "samples": 6, "stopping": stopping})

    def result(cell: Cell) -> float | Cause:  # no-a is far worse: among all samples none of it would survive
        return -(cell.sample or 0) * 0.1 - (100.0 if cell.arm == "no-a" else 0.0) + cell.seed * 1e-3

    history = Story(tmp_path, spec, result, random.Random(5), lanes=2).play()
    stopped = [record for record in history.cells.values() if record.state is TrialState.STOPPED]
    assert {record.phase for record in stopped} == {"tune"}
    for arm in ("baseline", "no-a"):
        done = [
            r for r in history.cells.values() if (r.arm, r.phase, r.state) == (arm, "tune", TrialState.DONE)
        ]
        assert done
        assert [cell for cell in history.plan.cells if (cell.arm, cell.phase) == (arm, "retuned")]
    made = [decision for record in history.cells.values() for decision in record.decisions.values()]
    assert all(decision.peers <= 6 for decision in made)


def test_pairs_are_added_for_what_is_resolved(tmp_path: Path) -> None:
    results = World(3, 0.0)

    def result(cell: Cell) -> float | Cause:
        parts = cell.arm.split("+")
        joint = sum(EFFECTS[part] for part in parts) + (4.0 if len(parts) == 2 else 0.0)
        return joint + results.values["baseline", cell.seed] * 0.1 + int(cell.cell, 16) % 7 / 50

    spec = study(COMPONENTS, interactions="auto")
    for order, lanes in ((0, 1), (7, 6)):
        root = tmp_path / str(order)
        history = Story(root, spec, result, random.Random(order), lanes, faults=0.05).play()
        (found,) = judged(spec, history)
        different = {found.arm(look) for look in found.course.final.values() if look.action == "different"}
        assert {"no-b", "no-c", "no-d"} <= different
        pairs = {arm.name for arm in history.plan.arms if arm.kind == "pair"}
        assert pairs == {"no-b+no-c", "no-b+no-d", "no-c+no-d"}
        for arm in {*pairs, "baseline", "no-b", "no-c", "no-d"}:
            records = [record for record in history.cells.values() if record.arm == arm]
            assert [record.state for record in records] == [TrialState.DONE] * 5
