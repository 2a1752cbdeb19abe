"""The first trials are a study's probes: others wait for their first reports, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from scene import Scene, train

from orchestrator.decide.probing import HOLD_S
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.inprocess import report
from orchestrator.engine.messages import Assignment, Progress, TrialProgress, TrialStarted
from orchestrator.errors import ExitCode, StudyError
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.run import Run
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.reporting.standing import standing

STOPS = {"failures": {"max_retries": 2, "report_timeout": 5}}
"""As a study file has it that says nothing of `stop_when`."""


class Driving:
    """A conductor with room for every trial, told what trials say."""

    def __init__(self, scene: Scene, record: StudyRecord, probes: bool) -> None:
        self.now = 0.0
        self.conductor = Conductor(
            record, scene.spec, gpus_per_worker=0.0, probes=probes, clock=lambda: self.now
        )
        self.conductor.wanted_lanes = 100

    def fill(self) -> list[Assignment]:
        return list(iter(self.conductor.next_assignment, None))

    def say(self, a: Assignment, *losses: float | None, first: int = 1) -> None:
        rows = tuple(
            Progress(n, n, loss, n, {"epoch": n} | ({} if loss is None else {"loss": loss}))
            for n, loss in enumerate(losses, first)
        )
        self.conductor.take([TrialProgress("lane", a.cell, a.attempt, rows)])


@contextmanager
def driving(scene: Scene, *, probes: bool = True) -> Iterator[Driving]:
    with closing(StudyRecord.open(scene.storage, scene.spec, scene.plan, Start("code"))) as record:
        yield Driving(scene, record, probes)


def test_others_wait_for_the_first_reports_and_probes_go_on(tmp_path: Path) -> None:
    scene = Scene(tmp_path, seeds=4, **STOPS)
    with driving(scene) as study:
        begun = study.fill()
        assert [(a.arm, a.seed) for a in begun] == [
            ("baseline", 0), ("baseline", 1), ("level=high", 0), ("level=low", 0),
        ]  # fmt: skip
        assert [a.asked for a in begun] == [True, True, False, False]
        assert "wait for the first reports of baseline seed 0 and" in " ".join(study.conductor.new_notes())
        assert study.conductor.waiting() == 8
        assert standing(Run(scene.storage, scene.paths)).waits is None
        study.conductor.record.lease.beat(study.conductor.progress())
        waits = standing(Run(scene.storage, scene.paths)).waits
        assert waits == "the first reports of baseline seed 0 and baseline seed 1"
        study.say(begun[0], 1.0)
        assert study.fill() == []  # the other seed has not said anything
        study.say(begun[1], 1.5)
        assert len(study.fill()) == 8
        assert "'loss' is reported: the other trials start" in study.conductor.new_notes()
        assert study.conductor.stop is None


def test_nobody_waits_where_that_is_not_wanted(tmp_path: Path) -> None:
    with driving(Scene(tmp_path / "a", **STOPS), probes=False) as study:
        assert len(study.fill()) == 6
    with driving(Scene(tmp_path / "b", failures={"stop_when": "never"})) as study:
        assert len(study.fill()) == 6


@pytest.mark.slow
def test_nobody_waits_in_a_study_that_has_worked_before(tmp_path: Path) -> None:
    scene = Scene(tmp_path, **STOPS)
    assert scene.run() is ExitCode.DONE
    scene.change(seeds=5)
    start = Start("code", extend=True)
    with closing(StudyRecord.open(scene.storage, scene.spec, scene.plan, start)) as record:
        assert len(Driving(scene, record, probes=True).fill()) == 9


def test_silence_is_waited_for_ten_minutes(tmp_path: Path) -> None:
    with driving(Scene(tmp_path, **STOPS)) as study:
        a, *_ = study.fill()
        study.now = 10 * HOLD_S  # nothing has been called yet: it waits for machines
        assert study.fill() == []
        study.conductor.take([TrialStarted("lane", a.cell, a.attempt, None)])
        study.now += HOLD_S - 1
        assert study.fill() == []
        study.now += 1
        assert len(study.fill()) == 2
        assert "nothing to go by after 10 minutes" in study.conductor.new_notes()[-1]


def test_equal_seeds_are_waited_for_and_stop_the_study(tmp_path: Path) -> None:
    with driving(Scene(tmp_path, **STOPS)) as study:
        a, b, *_ = study.fill()
        study.say(a, 3.0, 2.0)
        study.say(b, 3.0, 2.0)
        assert study.fill() == []
        study.say(a, 1.0, first=3)
        study.say(b, 1.0, first=3)
        assert study.conductor.exit_code() is ExitCode.BAD_INPUT
        assert study.conductor.stop is not None
        assert "ignores its seed" in study.conductor.stop.reason


@pytest.mark.parametrize("later", [False, True])
def test_an_arm_that_reports_what_the_reference_does_is_named(tmp_path: Path, later: bool) -> None:
    component = {"without": {"level": 2.0}} | ({"acts_after": 500} if later else {})
    with driving(Scene(tmp_path, components={"level": component}, **STOPS)) as study:
        a, b, other = study.fill()
        study.say(a, 3.0, 2.0, 1.0)
        study.say(b, 4.0)
        study.say(other, 3.0, 2.0, 1.0, 0.5)
        study.say(other, 0.4, first=5)
        named = [note for note in study.conductor.new_notes() if "bit for bit" in note]
        assert ["no-level has reported the same as baseline" in note for note in named] == [True] * (
            not later
        )


# ---- whole studies --------------------------------------------------------------------------------------


def nearly(config: dict[str, Any]) -> None:
    for epoch in range(1, int(config["max_length"]) + 1):
        report({"epoch": epoch, "Loss_": config["seed"] / epoch}, None)


def another(config: dict[str, Any]) -> None:
    for epoch in range(1, int(config["max_length"]) + 1):
        report({"epoch": epoch, "accuracy": config["seed"] / epoch}, None)


def steps(config: dict[str, Any]) -> None:
    report({"epoch": 391, "loss": 1.0}, None)


def seedless(config: dict[str, Any]) -> None:
    train(config | {"seed": 0})


def lengths(scene: Scene) -> dict[tuple[str, int], int]:
    """How many reports each trial that began has in the record."""
    begun = {event["cell"] for event in scene.events("assign")}
    return {
        (cell.arm, cell.seed): len(read_metrics(scene.storage, scene.paths.trial(cell.arm, cell.seed)))
        for cell in scene.plan.cells
        if cell.cell in begun
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "reports", "said"),
    [
        (nearly, 3, "'loss' is in none of the first 3 reports; reported: Loss_, epoch; did you mean Loss_?"),
        (another, 10, "'loss' is in none of the first 10 reports and 10 % of the length"),
        (steps, 1, "the first report is at epoch 391, but a trial has 100 (stopping.max)"),
    ],
)
def test_a_study_file_that_does_not_fit_is_refused_after_a_few_reports(
    tmp_path: Path, function: Callable[..., Any], reports: int, said: str
) -> None:
    scene = Scene(tmp_path, seeds=5, stopping={"max": 100, "unit": "epoch"}, **STOPS)
    with pytest.raises(StudyError) as refused:
        scene.run(function=function)
    assert refused.value.exit_code is ExitCode.BAD_INPUT
    assert said in str(refused.value)
    assert "--retry-failed" in str(refused.value)
    assert len(scene.events("assign")) == 1
    assert lengths(scene) == {("baseline", 0): reports}


@pytest.mark.slow
def test_a_metric_that_comes_late_is_no_fault(tmp_path: Path) -> None:
    def late(config: dict[str, Any]) -> None:
        for epoch in range(1, 41):
            report({"epoch": epoch} | ({} if epoch % 4 else {"loss": config["seed"] / epoch}), None)

    scene = Scene(tmp_path, seeds=2, stopping={"max": 40, "unit": "epoch"}, **STOPS)
    assert scene.run(function=late, slots=6) is ExitCode.DONE


@pytest.mark.slow
def test_no_full_length_is_spent_on_a_seed_that_is_ignored(tmp_path: Path) -> None:
    scene = Scene(tmp_path, seeds=5, stopping={"max": 1000, "unit": "epoch"}, **STOPS)
    with pytest.raises(StudyError, match="ignores its seed"):
        scene.run(function=seedless, slots=2)
    assert len(scene.events("assign")) == 2
    assert all(length < 1000 for length in lengths(scene).values())
