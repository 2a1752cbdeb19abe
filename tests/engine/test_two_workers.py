"""Two data-parallel workers: rank 1 raises or dies while rank 0 waits in the exchange of the gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from workbench import Bench, Finished

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = """\
name: pair
entrypoint: pair:train
metric: {name: val/accuracy, mode: max, also: [val/loss]}
baseline:
  fault: none
  note: ''
  data: {batch_size: 32}
  model: {width: 32, dropout: 0.2}
  optim: {lr: 3e-3, weight_decay: 0.01}
components:
  second: {swap: {clean: {note: second}}}
seeds: [0]
stopping: {rule: none, max: 4, unit: epoch}
resources: {workers: 2}
failures: {max_retries: 1}
"""
FAULTY = STUDY.replace(
    "components:\n",
    "components:\n  raises: {swap: {rank-1: {fault: raises}}}\n  dies: {swap: {rank-1: {fault: dies}}}\n",
)


@dataclass(frozen=True)
class Faulty:
    study: Bench
    finished: Finished


@pytest.fixture(scope="module")
def faulty(shared_bench: Callable[[str, str], Bench]) -> Faulty:
    study = shared_bench("pair", FAULTY)
    return Faulty(study, study.run())


def test_two_workers_train_the_same_twice(shared_bench: Callable[[str, str], Bench]) -> None:
    study = shared_bench("pair", STUDY)
    assert study.run().code == 0
    first = study.curve("baseline")
    assert len(first) == 4
    assert first[-1]["val/accuracy"] > 0.5
    assert study.curve("second=clean") == first


@pytest.mark.long
def test_a_rank_that_raises_ends_the_trial_of_both(faulty: Faulty) -> None:
    study, finished = faulty.study, faulty.finished
    row = study.results()["raises=rank-1", 0]
    assert (row["state"], row["cause"], row["attempts"]) == ("failed", "user", 1)
    assert row["reason"] == "ValueError: rank 1 alone"
    assert study.curve("raises=rank-1") == study.curve("baseline")[:2]
    assert "rank 1 alone" in study.trial_file("raises=rank-1", 0, "log-rank1.txt").read_text()
    note = next(line for line in finished.err.splitlines() if "fresh workers" in line)
    assert "ranks [0] did not leave the trial" in note


@pytest.mark.long
def test_a_rank_that_dies_is_the_infrastructure(faulty: Faulty) -> None:
    study = faulty.study
    row = study.results()["dies=rank-1", 0]
    assert (row["state"], row["cause"], row["attempts"]) == ("done", None, 2)
    failures = study.events("failure", "dies=rank-1")
    assert [(event["attempt"], event["cause"], event["again"]) for event in failures] == [(1, "infra", True)]
    assert "attempt 2 goes on from step" in faulty.finished.err
    assert study.curve("dies=rank-1") == study.curve("baseline")


@pytest.mark.long
def test_fresh_processes_train_the_same(faulty: Faulty) -> None:
    assert faulty.study.curve("second=clean") == faulty.study.curve("baseline")
