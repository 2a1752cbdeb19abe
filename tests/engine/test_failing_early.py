"""A study of which every run would fail stops with the first; an arm like that gets no more seeds."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scene import Scene, train

from orchestrator.api.recorded import OpenedStudy
from orchestrator.engine.inprocess import report
from orchestrator.errors import ExitCode
from orchestrator.reporting.markdown import to_markdown

pytestmark = pytest.mark.slow

STOPS = {"failures": {"max_retries": 2, "report_timeout": 5}}
"""As a study file has it that says nothing of `stop_when`."""


def bad_argument(config: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser(prog="train.py")
    parser.add_argument("--rate", type=float)
    parser.parse_args(["--rate", "fast"])


def without_unit(config: dict[str, Any]) -> None:
    report({"loss": 0.5}, None)


def tensor(config: dict[str, Any]) -> None:
    report({"epoch": 1, "loss": torch.zeros(2)}, None)


def only(*arms: float) -> Callable[[dict[str, Any]], None]:
    """Fail where `level` is one of these."""

    def entry(config: dict[str, Any]) -> None:
        if config["level"] in arms:
            raise ValueError(f"level {config['level']} is too much")
        train(config)

    return entry


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (bad_argument, "argument --rate: invalid float value: 'fast'"),
        (without_unit, "'epoch'"),
        (tensor, "metric 'loss' is a torch tensor"),
    ],
)
def test_the_first_trial_ends_a_study_that_cannot_work(
    tmp_path: Path, function: Callable[..., Any], cause: str
) -> None:
    scene = Scene(tmp_path, seeds=5, **STOPS)
    outcome = scene.outcome(function=function)
    assert outcome.exit_code is ExitCode.FAILED
    assert len(scene.events("assign")) == 1
    assert cause in "\n".join(outcome.why[-8:])
    assert "log.txt" in "\n".join(outcome.why)
    assert Counter(cell["state"] for cell in scene.cells()) == {"failed": 1, "pending": 14}


def test_the_same_command_goes_on_after_the_mistake_is_mended(tmp_path: Path) -> None:
    scene = Scene(tmp_path, **STOPS)
    scene.run(function=only(1.0))
    assert scene.run(retry_failed=True) is ExitCode.DONE
    assert {cell["state"] for cell in scene.cells()} == {"done"}


@pytest.mark.parametrize(
    ("when", "failing", "ran"),
    [
        ("first", (1.0,), 1),  # the reference
        ("first", (2.0,), 12),  # another arm gets two of its five
        ("all", (1.0,), 12),
        ("all", (1.0, 2.0, 0.5), 4),  # the reference has two seeds ahead of the others
        ("never", (1.0, 2.0, 0.5), 15),
    ],
)
def test_stop_when(tmp_path: Path, when: str, failing: tuple[float, ...], ran: int) -> None:
    scene = Scene(tmp_path, seeds=5, failures={"stop_when": when})
    scene.run(function=only(*failing))
    begun = {event["cell"] for event in scene.events("assign")}
    assert len(begun) == ran


def test_one_failure_beside_a_run_that_ends_well_stops_nothing(tmp_path: Path) -> None:
    def flaky(config: dict[str, Any]) -> None:
        if (config["level"], config["seed"]) == (1.0, 1):
            raise RuntimeError("once")
        train(config)

    scene = Scene(tmp_path, seeds=3, **STOPS)
    assert scene.run(function=flaky) is ExitCode.FAILED
    assert Counter(cell["state"] for cell in scene.cells()) == {"done": 8, "failed": 1}


def test_an_arm_that_always_fails_gets_no_more_seeds_and_nothing_is_called_saved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, seeds=5, **STOPS)
    scene.run(function=only(2.0))
    high = [cell for cell in scene.cells() if cell["arm"] == "level=high"]
    assert Counter(cell["state"] for cell in high) == {"failed": 2, "skipped": 3}
    assert "have failed (seeds 0, 1)" in str([cell["reason"] for cell in high if cell["state"] == "skipped"])
    found = OpenedStudy(scene.storage, scene.paths).report()
    text = to_markdown(found)
    assert "fails (2 of 5)" in text
    assert not any(word in text for word in ("saved by early", " not needed)", "futile"))
    scene.run()  # nothing is left, and nothing begins again
    assert len(scene.events("assign")) == 12


def test_reruns_of_what_failed_bring_the_skipped_seeds_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path, seeds=4, **STOPS)
    scene.run(function=only(2.0))
    assert scene.run(retry_failed=True) is ExitCode.DONE
    assert {cell["state"] for cell in scene.cells()} == {"done"}
