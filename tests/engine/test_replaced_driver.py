"""A driver that stands still until another one has its study, and then goes on with its workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from workbench import SharedBench

from orchestrator.record.checkpoints import CheckpointStore
from orchestrator.record.jsonlines import from_json, to_json

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: twice
entrypoint: twice:train
metric: {name: loss, mode: min}
baseline: {dir: '{dir}', level: 1}
components:
  level: {swap: {two: {level: 2}}}
seeds: [0]
stopping: {rule: none, max: 3, unit: epoch}
checkpoint: {every: 1}
resources: {max_parallel: 1}
"""


def make_stale(study: SharedBench) -> None:
    """As if the driver sat on another host and had not been heard of for an hour."""
    lease = from_json(study.storage.read_bytes(study.paths.lease))
    lease |= {"host": "elsewhere", "beat": lease["beat"] - 3600}
    study.storage.write_atomic(study.paths.lease, to_json(lease))


def test_a_driver_that_wakes_up_after_it_was_replaced_changes_nothing(
    tmp_path: Path, shared_ray: str
) -> None:
    study = SharedBench(tmp_path, "twice", STUDY, shared_ray)
    hold = study.signs / "hold-1"
    hold.touch()
    with study.running() as replaced:
        waits = study.signs / "waits-1"
        replaced.until(lambda: waits.exists() and bool(study.events("checkpoint")), "the first epoch is kept")
        replaced.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, replaced.process.pid, os.WSTOPPED)
        make_stale(study)

        finished = study.run()
        assert finished.code == 0, finished.err
        before = study.events(), study.results(), study.rows("baseline")
        assert [row["loss"] for row in before[2]] == [1.0, 2.0, 2.0]

        hold.unlink()
        replaced.signal(signal.SIGCONT)
        ended = replaced.end()
    assert ended.code == 4, ended.err
    assert "the lease of twice was lost" in ended.err
    assert (study.events(), study.results(), study.rows("baseline")) == before
    store = CheckpointStore(study.storage, study.paths.trial("baseline", 0))
    assert {found.attempt for found in store.complete() if found.report > 1} == {2}
