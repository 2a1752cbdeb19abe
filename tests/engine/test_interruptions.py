"""One study, killed and stopped in every way there is, then finished: nothing is lost, nothing is done twice.

Trials wait at the start of an epoch while the test keeps a file there, so that every interruption hits trials
that are under way, at a place that is known.
"""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from workbench import Bench, Finished, Running

from orchestrator.record.lease import process_start
from orchestrator.training.local import run_local
from trials.digits import Digits

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

EPOCHS = 8
A, B = "probe=a", "probe=b"
STUDY = f"""\
name: gated
entrypoint: gated:Gated
metric: {{name: val/accuracy, mode: max, also: [val/loss]}}
baseline:
  gate: {{name: base, dir: '{{dir}}'}}
  data: {{batch_size: 64, augment: true, mixup: 0.2}}
  model: {{width: 4, batchnorm: true, dropout: 0.1}}
  optim: {{name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}}
components:
  probe: {{swap: {{a: {{gate.name: a, data.mixup: 0.0}}, b: {{gate.name: b, optim.schedule: constant}}}}}}
seeds: 2
stopping: {{rule: none, max: {EPOCHS}, unit: epoch}}
"""


class Gates:
    """The files at which trials wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def close(self, *places: str) -> None:
        for place in places:
            (self._folder / f"block-{place}").touch()

    def open(self, *places: str) -> None:
        for place in places:
            (self._folder / f"block-{place}").unlink()

    def waiting(self, *places: str) -> bool:
        return all((self._folder / f"waiting-{place}").exists() for place in places)

    def pid(self, place: str) -> int:
        return int((self._folder / f"waiting-{place}").read_text())


@dataclass(frozen=True)
class Story:
    """What the runs left behind, in their order."""

    study: Bench
    second_driver: Finished
    untouched_by_second: bool
    failures_while_other_waited: list[dict[str, Any]]
    killed_drivers_workers_gone: bool
    after_sigint: Finished
    states_after_sigint: dict[str, int]
    after_sigterm: Finished
    stop_command: Finished
    after_stop: Finished
    last: Finished
    again: Finished


def ended(study: Bench, arm: str, seed: int) -> bool:
    return bool(study.events("end", arm, seed))


def killed_worker_then_killed_driver(
    study: Bench, gates: Gates
) -> tuple[Finished, bool, list[dict[str, Any]]]:
    gates.close("base-0-3", "base-1-3", "a-0-3", "b-0-3")
    with study.running() as run:
        run.until(lambda: gates.waiting("base-0-3", "base-1-3"), "both lanes at work")
        before = study.events()
        second = study.run()
        untouched = study.events()[: len(before)] == before and len(study.events("plan")) == 1
        os.kill(gates.pid("base-0-3"), signal.SIGKILL)
        gates.open("base-0-3")
        run.until(lambda: ended(study, "baseline", 0), "the trial of the killed worker")
        failures = study.events("failure")
        gates.open("base-1-3")
        run.until(lambda: gates.waiting("a-0-3", "b-0-3"), "the next two trials")
        run.kill()
    return second, untouched, failures


def taken_up_after_the_kill(study: Bench, gates: Gates) -> tuple[Finished, bool]:
    """The same command at once; whether the workers of the killed driver were gone when the new ones came."""
    old = [gates.pid(place) for place in ("a-0-3", "b-0-3")]
    with study.running("--json") as run:
        for place, pid in zip(("a-0-3", "b-0-3"), old, strict=True):
            run.until(lambda: gates.pid(place) != pid, f"new workers at {place}")  # noqa: B023 - waits here
        gone = all(process_start(pid) is None for pid in old)
        gates.close("a-0-5", "b-0-5")
        gates.open("a-0-3", "b-0-3")

        def ctrl_c() -> str:
            run.signal(signal.SIGINT)
            return "stopped by SIGINT"

        return stopped(study, run, gates, ctrl_c, seed=0, epoch=5), gone


def stopped(
    study: Bench, run: Running, gates: Gates, stop: Callable[[], str], *, seed: int, epoch: int
) -> Finished:
    """Stop a run while both trials wait before an epoch; let them hear of it, then leave, and see it end."""
    here, next_ = ([f"{name}-{seed}-{at}" for name in "ab"] for at in (epoch, epoch + 1))
    run.until(lambda: gates.waiting(*here), f"waiting at {here}")
    words = stop()
    run.until(lambda: words in run.err.splitlines(), "the request is heard")
    gates.close(*next_)
    gates.open(*here)
    # the answer to this report carries the stop; the next report is where the trial leaves
    run.until(lambda: all(study.length(arm, seed) >= epoch for arm in (A, B)), f"report {epoch} of both")
    gates.open(*next_)
    return run.end()


def terminated_twice(study: Bench, gates: Gates, *places: str) -> Finished:
    gates.close(*places)
    with study.running() as run:
        run.until(lambda: gates.waiting(*places), f"waiting at {places}")
        run.signal(signal.SIGTERM)
        run.until(lambda: "stopped by SIGTERM" in run.err.splitlines(), "the first signal is heard")
        run.signal(signal.SIGTERM)
        finished = run.end(limit_s=60)  # nobody opens the gates
    gates.open(*places)
    return finished


@pytest.fixture(scope="module")
def story(shared_bench: Callable[[str, str], Bench]) -> Story:
    study = shared_bench("gated", STUDY)
    gates = Gates(study.signs)
    second, untouched, failures = killed_worker_then_killed_driver(study, gates)
    after_sigint, gone = taken_up_after_the_kill(study, gates)
    states = [row["state"] for row in study.results().values()]
    after_sigterm = terminated_twice(study, gates, "a-0-7", "b-0-7")
    stops: list[Finished] = []
    gates.close("a-1-3", "b-1-3")
    with study.running() as run:

        def stop_command() -> str:
            stops.append(study.call("stop", str(study.storage_root / "gated")))
            return f"stopped by {getpass.getuser()}@{socket.gethostname()} (orchestrate stop)"

        after_stop = stopped(study, run, gates, stop_command, seed=1, epoch=3)
    last = study.run()
    again = study.run()
    return Story(
        study,
        second,
        untouched,
        failures,
        gone,
        after_sigint,
        {state: states.count(state) for state in states},
        after_sigterm,
        stops[0],
        after_stop,
        last,
        again,
    )


def test_a_second_driver_is_refused_and_touches_nothing(story: Story) -> None:
    assert story.second_driver.code == 4
    assert "process" in story.second_driver.err
    assert story.untouched_by_second


def test_a_killed_worker_costs_its_own_trial_an_attempt_and_no_other(story: Story) -> None:
    (failure,) = story.failures_while_other_waited
    assert (failure["cause"], failure["attempt"], failure["again"]) == ("infra", 1, True)
    assert failure["cell"] == story.study.events("assign", "baseline", 0)[0]["cell"]
    rows = story.study.rows("baseline", 0)
    assert [row["attempt"] for row in rows] == [1, 1] + [2] * (EPOCHS - 2)


def test_every_cell_is_answered_once_and_done_cells_are_not_run_again(story: Story) -> None:
    assert story.last.code == 0, story.last.err
    rows = story.study.results()
    assert {row["state"] for row in rows.values()} == {"done"}
    attempts = {key: row["attempts"] for key, row in rows.items()}
    assert attempts == {
        ("baseline", 0): 2,  # its worker was killed
        ("baseline", 1): 1,
        (A, 0): 4,  # kill -9, SIGINT, SIGTERM
        (B, 0): 4,
        (A, 1): 2,  # orchestrate stop
        (B, 1): 2,
    }
    answered = [event for event in story.study.events("end") if event["state"] == "done"]
    assert sorted(event["cell"] for event in answered) == sorted(row["cell"] for row in rows.values())
    for (arm, seed), number in attempts.items():
        assigned = [event["attempt"] for event in story.study.events("assign", arm, seed)]
        assert assigned == list(range(1, number + 1))


def test_workers_of_a_killed_driver_do_not_write_beside_the_next_ones(story: Story) -> None:
    assert story.killed_drivers_workers_gone


def test_the_command_on_a_finished_study_runs_nothing(story: Story) -> None:
    assert story.again.code == 0
    assert story.again.out == story.last.out
    assert "running" not in story.again.err


def test_ctrl_c_leaves_cleanly_and_says_how_to_go_on(story: Story) -> None:
    assert story.after_sigint.code == 130
    assert json.loads(story.after_sigint.out)["interrupted"] is True
    assert "go on:   orchestrate ablate --config" in story.after_sigint.err
    assert "running, attempt 2\n" in story.after_sigint.err
    assert story.states_after_sigint == {"done": 2, "cancelled": 2, "pending": 2}


def test_sigterm_is_143_and_a_second_one_ends_at_once(story: Story) -> None:
    assert story.after_sigterm.code == 143
    assert "stopping at once" in story.after_sigterm.err
    assert "go on:" in story.after_sigterm.err


def test_stop_from_another_process(story: Story) -> None:
    assert story.stop_command.code == 0
    assert story.after_stop.code == 130
    assert "orchestrate stop" in story.after_stop.err


@pytest.mark.parametrize("arm", ["baseline", A, B])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_curve_is_that_of_an_undisturbed_run(story: Story, arm: str, seed: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    undisturbed = run_local(Digits, story.study.config(arm, seed))
    torch.set_num_threads(threads)
    rows = story.study.curve(arm, seed)
    assert [row.pop("report") for row in rows] == list(range(1, EPOCHS + 1))
    assert rows == undisturbed
    attempts = [row["attempt"] for row in story.study.rows(arm, seed)]
    assert attempts == sorted(attempts)
    times = [row["time_s"] for row in story.study.rows(arm, seed)]
    assert times == sorted(times)


@pytest.mark.parametrize(("arm", "seed"), [("baseline", 0), (A, 0), (B, 1)])
def test_tensorboard_shows_one_curve_without_a_fold(story: Story, arm: str, seed: int) -> None:
    events = EventAccumulator(str(story.study.trial_file(arm, seed, ".")), size_guidance={"scalars": 0})
    events.Reload()
    rows = story.study.rows(arm, seed)
    for tag in ("val/accuracy", "train/loss"):
        points = events.Scalars(tag)
        assert [point.step for point in points] == [row["step"] for row in rows]
        assert [point.value for point in points] == pytest.approx([row[tag] for row in rows])
    steps = [point.step for point in events.Scalars("train/batch_loss")]
    assert steps == list(range(1, rows[-1]["step"] + 1))
