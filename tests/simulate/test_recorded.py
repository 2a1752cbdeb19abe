"""A recorded study under other rules, on the specification's golden numbers and on gaps in the record."""

from __future__ import annotations

import math
from typing import Any

import pytest
from golden import golden

from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import StudyError
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.simulate.recorded import Replay, agreement, replays
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

GOLDEN = golden("no-a", "no-b", "no-c", "no-d")
Values = dict[str, list[float]]


def study(**changes: Any) -> StudySpec:
    stopping = {"rule": "none", "max": 9, "grace": 1, "reduction": 3, **changes.pop("stopping", {})}
    data = {
        "name": "golden",
        "entrypoint": "trial:train",
        "metric": {"name": "accuracy", "mode": "max"},
        "baseline": dict.fromkeys("abcd", True),
        "components": {name: {"without": {name: False}} for name in "abcd"},
        "seeds": [0, 1, 2, 3, 4],
        "stopping": stopping,
        **changes,
    }
    return StudySpec.model_validate(data)


def recorded(spec: StudySpec, values: Values, sign: float = 1.0) -> StudyState:
    plan = make_plan(spec)
    history = StudyState(plan)
    for cell in plan.cells:
        value = sign * values[cell.arm][cell.seed]
        history.cells[cell.cell] = TrialRecord(
            cell.cell, cell.arm, cell.seed, state=TrialState.DONE, length=9.0, value=value
        )
    return history


def cell(history: StudyState, arm: str, seed: int) -> TrialRecord:
    return next(one for one in history.cells.values() if (one.arm, one.seed) == (arm, seed))


def flat(record: TrialRecord) -> list[dict[str, Any]]:
    """A curve on which every report says the final value."""
    return [{"epoch": e, "accuracy": record.value, "time_s": float(e)} for e in range(1, 10)]


def no_curves(record: TrialRecord) -> list[dict[str, Any]]:
    raise AssertionError("only asha looks at curves")


def replayed(spec: StudySpec, history: StudyState, *rules: str, rows=no_curves) -> list[Replay]:
    return list(replays(spec, history, rules, rows))


def verdicts(one: Replay) -> list[str | None]:
    return [said.verdict for said in one.said]


def test_the_golden_study() -> None:
    spec = study()
    grid, resolved = replayed(spec, recorded(spec, GOLDEN), "none", "resolve")
    assert (grid.runs, grid.length, grid.grid_length) == (25, 225, 225)
    assert (resolved.runs, resolved.length, resolved.finished) == (17, 153, True)
    assert verdicts(resolved) == ["unresolved", "hurts", "helps", "hurts"]
    assert [said.n for said in resolved.said] == [2, 3, 4, 4]
    intervals = [(said.lo, said.hi) for said in resolved.said]
    golden = [(-1.457519, 1.307519), (-1.187466, -0.7292), (0.0887, 0.4113), (-6.175867, -2.174133)]
    assert intervals == [pytest.approx(interval, abs=1e-6) for interval in golden]
    for said in resolved.said:  # Δ is what the interval is about, with all runs of the reference
        assert said.delta == pytest.approx((said.lo + said.hi) / 2)
    assert agreement(resolved, grid) == {"arms": 4, "same": 4, "opposite": 0}


def test_what_one_seed_would_have_screened_out() -> None:
    spec = study()
    grid, screened = replayed(spec, recorded(spec, GOLDEN), "none", "screen")
    assert (screened.runs, screened.finished) == (14, True)
    assert verdicts(screened) == ["one seed: screened out", "hurts", "unresolved", "hurts"]
    assert (screened.said[0].n, screened.said[0].lo) == (1, None)
    assert agreement(screened, grid) == {"arms": 4, "same": 3, "opposite": 0}


def test_a_metric_to_minimise_says_the_same_in_its_own_units() -> None:
    spec = study()
    up = replayed(spec, recorded(spec, GOLDEN), "resolve")[0]
    least = study(metric={"name": "loss", "mode": "min"})
    down = replayed(least, recorded(least, GOLDEN, sign=-1), "resolve")[0]
    assert verdicts(down) == verdicts(up)
    assert down.runs == up.runs
    for mine, other in zip(down.said, up.said, strict=True):
        assert (mine.delta, mine.lo, mine.hi) == pytest.approx((-other.delta, -other.hi, -other.lo))


def test_margins_enter_the_verdicts() -> None:
    spec = study(report={"margin": 1.5})
    said = replayed(spec, recorded(spec, GOLDEN), "none")[0]
    assert verdicts(said) == [
        "practically equivalent",
        "different, size unclear",
        "different, size unclear",
        "hurts",
    ]


def test_what_was_never_run_is_named_and_not_invented() -> None:
    spec = study()
    history = recorded(spec, GOLDEN)
    skipped = cell(history, "no-c", 3)
    skipped.state, skipped.value, skipped.length = TrialState.SKIPPED, None, None
    grid, resolved, strict = replayed(spec, history, "none", "resolve", "strict")
    assert grid.missing == (("no-c", 3),)
    assert verdicts(grid) == [None] * 4
    assert resolved.missing == (("no-c", 3),)
    assert verdicts(resolved) == ["unresolved", "hurts", None, None]
    assert not strict.finished
    assert agreement(resolved, grid)["arms"] == 0


@pytest.mark.parametrize(
    ("version", "runs", "needs"),
    [
        (1, 19, {"no-a": 3, "no-b": 3, "no-c": 4, "no-d": 4}),
        ("auto", 17, {"no-a": 2, "no-b": 3, "no-c": 4, "no-d": 4}),
    ],
)
def test_a_study_that_ran_under_the_rule_says_the_same_and_has_no_grid(
    version: int | str, runs: int, needs: dict[str, int]
) -> None:
    spec = study(stopping={"rule": "resolve", "version": version})
    history = recorded(spec, GOLDEN)
    for arm, needed in needs.items():
        for seed in range(needed, 5):
            skipped = cell(history, arm, seed)
            skipped.state, skipped.value, skipped.length = TrialState.SKIPPED, None, None
    resolved, grid = replayed(spec, history, "resolve", "none")
    assert (resolved.runs, resolved.finished) == (runs, True)
    assert verdicts(resolved) == ["unresolved", "hurts", "helps", "hurts"]
    assert len(grid.missing) == 20 - sum(needs.values())


@pytest.mark.slow
def test_reinvest_asks_for_seeds_that_a_grid_does_not_have() -> None:
    spec = study()
    small = [base + d for base, d in zip(GOLDEN["baseline"], (0.2, 0.5, 0.1, 0.3, 0.2), strict=True)]
    [found] = replayed(spec, recorded(spec, {**GOLDEN, "no-a": small}), "reinvest")
    assert not found.finished
    assert {seed for _, seed in found.missing} == {5}
    assert verdicts(found) == [None, "hurts", None, "hurts"]  # two were resolved before the record ended


def test_a_failed_run_takes_its_place() -> None:
    spec = study()
    history = recorded(spec, GOLDEN)
    failed = cell(history, "no-b", 1)
    failed.state, failed.cause, failed.value, failed.length = TrialState.FAILED, Cause.USER, None, 2.0
    [grid] = replayed(spec, history, "none")
    assert grid.finished
    assert grid.said[1].n == 4
    assert grid.length == 24 * 9 + 2


def test_a_lost_machine_is_no_outcome() -> None:
    spec = study()
    history = recorded(spec, GOLDEN)
    lost = cell(history, "no-b", 1)
    lost.state, lost.cause, lost.value = TrialState.FAILED, Cause.INFRA, None
    assert replayed(spec, history, "none")[0].missing == (("no-b", 1),)


def test_asha_compares_at_matched_rungs() -> None:
    spec = study()
    [found] = replayed(spec, recorded(spec, GOLDEN), "asha", rows=flat)
    by_arm = {said.arm: said for said in found.said}
    assert found.runs == 25
    assert found.length < 25 * 9
    assert by_arm["no-d"].rung == 1  # never among the best third, so it never gets beyond the first rung
    assert by_arm["no-d"].delta == pytest.approx(
        math.fsum(a - b for a, b in zip(GOLDEN["no-d"], GOLDEN["baseline"], strict=True)) / 5
    )
    assert by_arm["no-c"].rung is None  # the best arm reaches the end
    assert found.finished


def test_a_run_that_asha_has_stopped_lacks_its_end() -> None:
    spec = study(stopping={"rule": "asha"})
    history = recorded(spec, GOLDEN)
    stopped = cell(history, "no-c", 4)
    stopped.state, stopped.length = TrialState.STOPPED, 3.0
    grid, halved = replayed(
        spec, history, "none", "asha", rows=lambda record: flat(record)[: int(record.length or 0)]
    )
    assert grid.missing == (("no-c", 4),)
    assert set(halved.missing) <= {("no-c", 4)}


@pytest.mark.parametrize(
    ("changes", "rule", "message"),
    [
        ({}, "halving", "valid: none, resolve, asha"),
        ({"seeds": [3]}, "none", "one seed"),
        (
            {"components": {"a": {"without": {"a": False}}}},
            "screen",
            "at least 4 arms beside the reference, this",
        ),
        ({"design": "factorial"}, "none", "cannot be replayed"),
    ],
)
def test_what_cannot_be_replayed_says_so(changes: dict[str, Any], rule: str, message: str) -> None:
    spec = study(**changes)
    with pytest.raises(StudyError, match=message):
        replays(spec, StudyState(make_plan(spec)), [rule], no_curves)
