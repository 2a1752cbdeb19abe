"""Two data-parallel workers: rank 1 raises or dies while rank 0 waits in the exchange of the gradients."""

from __future__ import annotations

from collections.abc import Callable

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
  raises: {swap: {rank-1: {fault: raises}}}
  second: {swap: {clean: {note: second}}}
  dies: {swap: {rank-1: {fault: dies}}}
  third: {swap: {clean: {note: third}}}
seeds: [0]
stopping: {rule: none, max: 4, unit: epoch}
resources: {workers: 2}
failures: {max_retries: 1}
"""


@pytest.fixture(scope="module")
def study(shared_bench: Callable[[str, str], Bench]) -> Bench:
    return shared_bench("pair", STUDY)


@pytest.fixture(scope="module")
def finished(study: Bench) -> Finished:
    return study.run()


def test_two_workers_train_the_same_twice_on_the_same_and_on_fresh_processes(
    study: Bench, finished: Finished
) -> None:
    first = study.curve("baseline")
    assert len(first) == 4
    assert first[-1]["val/accuracy"] > 0.5
    assert study.curve("second=clean") == first
    assert study.curve("third=clean") == first


def test_a_rank_that_raises_ends_the_trial_of_both(study: Bench, finished: Finished) -> None:
    row = study.results()["raises=rank-1", 0]
    assert (row["state"], row["cause"], row["attempts"]) == ("failed", "user", 1)
    assert row["reason"] == "ValueError: rank 1 alone"
    assert study.curve("raises=rank-1") == study.curve("baseline")[:2]
    assert "rank 1 alone" in study.trial_file("raises=rank-1", 0, "log-rank1.txt").read_text()
    note = next(line for line in finished.err.splitlines() if "fresh workers" in line)
    assert "ranks [0] did not leave the trial" in note


def test_a_rank_that_dies_is_the_infrastructure(study: Bench, finished: Finished) -> None:
    row = study.results()["dies=rank-1", 0]
    assert (row["state"], row["cause"], row["attempts"]) == ("done", None, 2)
    failures = study.events("failure", "dies=rank-1")
    assert [(event["attempt"], event["cause"], event["again"]) for event in failures] == [(1, "infra", True)]
    assert "attempt 2 goes on from step" in finished.err
    assert study.curve("dies=rank-1") == study.curve("baseline")
