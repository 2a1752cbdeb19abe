"""Processes that load samples for a lane: they stay from trial to trial, and end with the study."""

from __future__ import annotations

import importlib.util
import os
import select
from collections.abc import Callable
from typing import Any

import pytest
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: loaded
entrypoint: loaded:Loaded
metric: {name: val/loss, mode: min}
baseline:
  data: {batch_size: 8, num_workers: 1}
  optim: {name: sgd, lr: 0.1}
  train: {val_batch_every: 0, patience: null}
components:
  rate: {swap: {none: {optim.lr: 0.0, train.patience: 1}}}
seeds: [3, 4]
stopping: {rule: none, max: 3, unit: epoch}
resources: {max_parallel: 1}
"""


def test_one_process_loads_for_all_trials_of_a_lane_and_patience_ends_one(
    shared_bench: Callable[[str, str], Bench],
) -> None:
    study = shared_bench("loaded", STUDY)
    run = study.run()
    assert run.code == 0, run.err
    rows = study.results()
    assert {row["state"] for row in rows.values()} == {"done"}
    assert {key[0]: row["length"] for key, row in rows.items()} == {"baseline": 3, "rate=none": 2}
    early = [event["reason"] for event in study.events("end") if event["arm"] == "rate=none"]
    assert all("out of patience: val/loss has not become better in 1 reports" in why for why in early)
    assert len({event["lane"] for event in study.events("end")}) == 1
    curves = {key: study.curve(*key) for key in rows}
    (process,) = {int(row.pop("val/process")) for curve in curves.values() for row in curve}
    assert process != os.getpid()
    assert curves["baseline", 3] == alone(study)
    assert gone(process)


def alone(study: Bench) -> list[dict[str, Any]]:
    """The same cell in this process, loaded by itself."""
    from orchestrator.training.local import run_local

    config = study.config("baseline", 3)
    config["data"]["num_workers"] = 0
    spec = importlib.util.spec_from_file_location("loaded_alone", study.module)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reports = run_local(module.Loaded, config)
    for report in reports:
        report.pop("val/process")
    return [{"report": index, **report} for index, report in enumerate(reports, start=1)]


def gone(pid: int) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    ended = bool(poll.poll(30_000))
    os.close(fd)
    return ended
