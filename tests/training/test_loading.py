"""Samples that are loaded by worker processes: the same curves, sooner; and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drawn
import pytest
import torch
from toy import config, run_until_stopped, train, weights

from orchestrator.training.loading import WorkersLost, end_workers, kept_children, kept_threads
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task

SessionFor = Callable[..., LocalSession]
pytestmark = pytest.mark.slow


@pytest.fixture
def cache() -> Iterator[dict[str, Any]]:
    kept: dict[str, Any] = {}
    yield kept
    end_workers(kept)


def loaded_by(workers: int, **changes: Any) -> dict[str, Any]:
    return config(data__num_workers=workers, train__val_batch_every=3, **changes)


@pytest.mark.parametrize(
    ("task", "counts"), [(drawn.OnDisk, (1, 3)), (drawn.InWorkers, (2,)), (drawn.Ragged, (2,))]
)
def test_curves_are_the_same_with_and_without_workers_and_resumed(
    session_for: SessionFor, cache: dict[str, Any], task: type[drawn.OnDisk], counts: tuple[int, ...]
) -> None:
    alone = session_for(loaded_by(0))
    trained = train(alone, task)
    expected = weights(trained)
    assert trained.task.processes == {os.getpid()}
    assert alone.reports[0].keys() >= {"val/accuracy", "test/accuracy", "test/loss"}
    for workers in counts:
        session = session_for(loaded_by(workers), cache=cache)
        trained = train(session, task)
        assert len(trained.task.processes) == workers
        assert os.getpid() not in trained.task.processes
        assert session.reports == alone.reports
        assert session.steps == alone.steps
        assert all(map(torch.equal, expected, weights(trained)))
    last = loaded_by(counts[-1])
    first = session_for(last, cache=cache, checkpoints=True, stop_when=lambda row: row["step"] == 8)
    run_until_stopped(first, task)
    second = session_for(last, cache=cache, resume_from=first.checkpoint_path(8))
    assert all(map(torch.equal, expected, weights(train(second, task))))


def test_processes_stay_for_the_next_trial_of_any_seed(
    session_for: SessionFor, cache: dict[str, Any]
) -> None:
    curves, processes = [], []
    for seed in (3, 4, 3):
        session = session_for(loaded_by(2, seed=seed), max_length=1, cache=cache)
        processes.append(train(session, drawn.OnDisk).task.processes)
        curves.append(session.reports)
    assert processes[0] == processes[1] == processes[2]
    assert curves[0] == curves[2] != curves[1]
    assert processes[0] <= kept_children()
    assert kept_threads()
    end_workers(cache)
    assert not kept_children()
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes[0])


def test_classes_are_balanced_and_repeated_samples_drawn_anew(session_for: SessionFor) -> None:
    alone = session_for(loaded_by(0, data__balanced=True), max_length=1)
    beside = session_for(loaded_by(2, data__balanced=True), max_length=1)
    assert all(map(torch.equal, *(weights(train(s, drawn.OnDisk)) for s in (alone, beside))))


def test_what_a_dataset_raises_is_the_trial_s(session_for: SessionFor) -> None:
    with pytest.raises(OSError, match="is no picture"):
        run_task(drawn.Broken, session_for(loaded_by(1)))


def test_a_dataset_that_cannot_be_sent_is_refused_or_loaded_here(session_for: SessionFor) -> None:
    class Local(drawn.OnDisk):
        def build_data(self, config: Any) -> Any:
            class Nameless(drawn.Drawing):
                pass

            return {"all": Nameless()}

    with pytest.raises(ValueError, match=r"define the dataset at the top level.*data.num_workers: 0"):
        run_task(Local, session_for(loaded_by(1)))
    here = session_for(config(), max_length=1, loader_workers=1)
    assert train(here, Local).task.processes == {os.getpid()}  # type: ignore[attr-defined]
    there = session_for(config(), max_length=1, loader_workers=1)
    assert train(there, drawn.OnDisk).task.processes != {os.getpid()}  # type: ignore[attr-defined]
    assert here.reports == there.reports


def test_a_worker_that_is_killed_is_named_and_the_next_trial_has_others(
    session_for: SessionFor, cache: dict[str, Any]
) -> None:
    def kill(row: Any) -> bool:
        for worker in cache["loader"].workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        return False

    with pytest.raises(WorkersLost, match=r"SIGKILL.*memory"):
        run_task(drawn.OnDisk, session_for(loaded_by(1), cache=cache, stop_when=kill))
    run_task(drawn.OnDisk, session_for(loaded_by(1), max_length=1, cache=cache))


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from drawn import OnDisk
from toy import config
from orchestrator.training.loading import kept_children
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task

def say(row):
    print(*kept_children(), flush=True)
    sys.stdin.read()

if __name__ == "__main__":
    session = LocalSession(config(data__num_workers=1), 3, sys.argv[2], stop_when=say)
    run_task(OnDisk, session)
"""


def test_no_worker_outlives_a_trial_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    words = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trial:
        assert trial.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in trial.stdout.readline().split()]
        assert len(watched) == 2  # the worker, and what has started it
        trial.kill()
        trial.wait()
        for fd in watched:
            assert wait_for_end(fd)
            os.close(fd)


def wait_for_end(fd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(20_000))
