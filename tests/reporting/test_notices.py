"""The messages about a study that nobody looks at: short, with what comes next, and inert."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import ExitCode, StorageUnavailable, StudyError
from orchestrator.record.events import LookTaken, TrialEnd
from orchestrator.record.state import StudyState
from orchestrator.reporting import notices
from orchestrator.reporting.notices import About, FailedTrial
from orchestrator.study.cells import Plan, make_plan
from orchestrator.study.spec import StudySpec

ABOUT = About("small", "/runs/small", "loss", ("hunter2-secret",))


@pytest.fixture(scope="module")
def plan() -> Plan:
    data: dict[str, Any] = {
        "name": "small",
        "entrypoint": "trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"level": 1.0},
        "components": {"level": {"swap": {"high": {"level": 2.0}}}},
        "seeds": 2,
        "stopping": {"max": 3},
    }
    return make_plan(StudySpec.model_validate(data))


def end(plan: Plan, state: TrialState, reason: str | None = None) -> TrialEnd:
    cell = plan.cells[-1]
    cause = Cause.USER if state is TrialState.FAILED else None
    return TrialEnd(cell.cell, cell.arm, cell.seed, 1, state, cause, reason, 1.0, None, 1.0, 0.0)


def look(arm: str, action: Any, delta: float | None = -0.25, **changes: Any) -> LookTaken:
    ends = (None, None) if delta is None else (delta - 0.125, delta + 0.125)
    facts: dict[str, Any] = {"phase": "fixed", "family": 0, "number": 3, "n": 3, "p": 0.01, "level": 0.02}
    facts |= {"lo": ends[0], "hi": ends[1], "power": None, "seeds_needed": None, **changes}
    return LookTaken(arm=arm, action=action, delta=delta, **facts)


def test_what_is_worth_a_message(plan: Plan) -> None:
    state = StudyState(plan)
    reason = "Traceback (most recent call last):\n  File\nValueError: hunter2-secret \x1b[31m"
    found = notices.news_of(ABOUT, end(plan, TrialState.FAILED, reason), state)
    assert found == (
        "failure",
        FailedTrial("level=high seed 1", "level=high", 1, None, "user", "ValueError: *** \\x1b[31m"),
    )
    for ended in (TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.SKIPPED):
        assert notices.news_of(ABOUT, end(plan, ended), state) is None
    decided = look("level=high", "different")
    assert notices.news_of(ABOUT, decided, state) == ("look", decided)
    for open_ in ("continue", "parked"):
        assert notices.news_of(ABOUT, look("level=high", open_), state) is None


def test_failures() -> None:
    one = FailedTrial("no-a seed 3", "no-a", 3, None, "user", "ValueError: no")
    said = notices.of_failures(ABOUT, [one])
    assert said.text == (
        "small: no-a seed 3 failed (user): ValueError: no. Next: orchestrate logs no-a 3 --study /runs/small"
    )
    assert said.document()["trials"][0]["reason"] == "ValueError: no"
    sample = FailedTrial("no-a sample 4", "no-a", 10_000, 4, "hang", "no report")
    assert notices.of_failures(ABOUT, [sample]).facts["next"].endswith("--sample 4 --study /runs/small")
    many = notices.of_failures(ABOUT, [one] * 200)
    assert many.text.startswith(f"small: 200 trials failed: {', '.join(['no-a seed 3'] * 5)} and 195 more.")
    assert (many.facts["failed"], len(many.facts["trials"])) == (200, notices.MOST_LISTED)
    assert many.facts["next"] == "orchestrate status /runs/small"


def test_looks() -> None:
    looks = [
        look("no-a", "different"),
        look("no-b", "futile", None),
        look("no-c", "equivalent", phase="retuned"),
    ]
    said = notices.of_looks(ABOUT, looks)
    assert said.text == (
        "small: a look has decided: no-a different, Δ loss -0.25 [-0.375, -0.125] after 3 seeds; "
        "no-b all its runs failed after 3 seeds; no-c (retuned) practically equivalent, "
        "Δ loss -0.25 [-0.375, -0.125] after 3 seeds. Next: orchestrate report /runs/small"
    )
    assert [(arm["arm"], arm["action"]) for arm in said.facts["arms"]] == [
        ("no-a", "different"),
        ("no-b", "futile"),
        ("no-c", "equivalent"),
    ]
    assert "and 7 more" in notices.of_looks(ABOUT, [look("no-a", "different")] * 12).text


@pytest.mark.parametrize(
    ("code", "begins", "goes_on"),
    [
        (
            ExitCode.DONE,
            "done: 3 of 4 trials answered, 1 failed. None matters. Next: orchestrate report",
            False,
        ),
        (ExitCode.FAILED, "ended with failures: 3 of 4", False),
        (ExitCode.BUDGET, "the budget is reached: 3 of 4", True),
        (ExitCode.INTERRUPTED, "stopped on request: 3 of 4", True),
        (ExitCode.TERMINATED, "terminated: 3 of 4", True),
    ],
)
def test_the_end(code: ExitCode, begins: str, goes_on: bool) -> None:
    counts = {"done": 2, "skipped": 1, "failed": 1, "running": 0}
    said = notices.of_end(ABOUT, code, counts, "None matters.")
    assert said.text.startswith(f"small: {begins}")
    assert said.text.endswith("; the same command goes on") is goes_on
    assert (said.facts["exit_code"], said.facts["counts"]) == (int(code), counts)


def test_a_failure_that_has_stopped_the_study_is_told_with_its_end() -> None:
    said = notices.of_end(
        ABOUT, ExitCode.FAILED, {"failed": 1}, "", ["baseline seed 0 failed: no data", "log"]
    )
    assert said.text == (
        "small: ended with failures: 0 of 1 trials answered, 1 failed. baseline seed 0 failed: no data. "
        "Next: orchestrate status /runs/small"
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StorageUnavailable("the disk is full"), 4, "stopped: the disk is full."),
        (RuntimeError("hunter2-secret\nmore"), 1, "stopped: ***."),
        (KeyboardInterrupt(), 130, "stopped on request."),
        (SystemExit(143), 143, "terminated."),
    ],
)
def test_an_end_by_an_error(error: BaseException, code: int, said: str) -> None:
    notice = notices.of_break(ABOUT, error)
    assert notice.text == f"small: {said} Next: orchestrate status /runs/small; the same command goes on"
    assert notice.facts["exit_code"] == code


def test_texts_are_short() -> None:
    long = FailedTrial("no-a seed 3", "no-a", 3, None, "user", ABOUT.said("x" * 10_000))
    assert len(notices.of_failures(ABOUT, [long]).text) < 500


def test_what_has_to_be_mended_first_does_not_go_on_by_itself() -> None:
    notice = notices.of_break(ABOUT, StudyError("no trial reports loss"))
    assert notice.text == "small: stopped: no trial reports loss. Next: orchestrate status /runs/small"
    assert notice.facts["exit_code"] == 2
