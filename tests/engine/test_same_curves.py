"""The digits study under successive halving, on warm lanes; and the same cells elsewhere, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from workbench import REPOSITORY, Bench, Finished

from orchestrator.decide.asha import Halving
from orchestrator.decide.rungs import RungReport, decide, rungs
from orchestrator.training.local import run_local
from trials.digits import Digits

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 8
RUNGS = rungs(1, 3, EPOCHS)
ASHA = (
    (REPOSITORY / "configs" / "digits-asha.yaml")
    .read_text()
    .replace("extends: ", f"extends: {REPOSITORY / 'configs'}/")
)
FRESH = """\
name: fresh
entrypoint: trials.digits:Digits
metric: {name: val/accuracy, mode: max, also: [val/loss]}
baseline:
  data: {batch_size: 64, augment: true, mixup: 0.2}
  model: {width: 8, batchnorm: true, dropout: 0.1}
  optim: {name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}
components:
  optimizer: {swap: {sgd: {optim.name: sgd, optim.lr: 0.1}}}
  mixup: {without: {data.mixup: 0.0}}
seeds: [4]
stopping: {rule: none, max: 2, unit: epoch}
resources: {reuse_workers: false}
"""


@dataclass(frozen=True)
class Halved:
    study: Bench
    run: Finished
    status: Finished


@pytest.fixture(scope="module")
def halved(shared_bench: Callable[[str | None, str], Bench]) -> Halved:
    study = shared_bench(None, ASHA + "seeds: 1\n")
    run = study.run("--no-check")
    return Halved(study, run, study.call("status", str(study.storage_root / "digits-asha")))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain_loop(study: Bench, arm: str, seed: int) -> list[dict[str, Any]]:
    """The cell in this process, without Ray."""
    reports = run_local(Digits, study.config(arm, seed))
    return [{"report": index, **report} for index, report in enumerate(reports, start=1)]


def test_stops_are_at_rungs_and_the_baseline_is_never_stopped(halved: Halved) -> None:
    assert halved.run.code == 0, halved.run.err
    rows = halved.study.results()
    assert len(rows) == 8
    stopped = {key: row for key, row in rows.items() if row["state"] == "stopped"}
    assert stopped
    assert {row["length"] for row in stopped.values()} <= set(RUNGS)
    for (arm, _), row in rows.items():
        if arm == "baseline":
            assert (row["state"], row["length"]) == ("done", EPOCHS)
        assert row["state"] in ("done", "stopped")


def test_replaying_the_reports_gives_the_same_decisions(halved: Halved) -> None:
    rule, table = Halving(RUNGS, 3.0), dict[float, dict[str, float]]()
    events = [event for event in halved.study.events() if event["event"] in ("report", "decision")]
    assert [event["event"] for event in events] == ["report", "decision"] * (len(events) // 2)
    for report, made in zip(events[::2], events[1::2], strict=True):
        keys = ("cell", "arm", "rung", "length", "score")
        again = decide(rule, table, RungReport(*(report[key] for key in keys)), report["arm"] == "baseline")
        table.setdefault(report["rung"], {})[report["cell"]] = report["score"]
        for key in ("action", "state", "rule", "rung", "cutoff", "rank", "peers", "reason"):
            assert made[key] == getattr(again, key), (made, again)


def test_every_stop_explains_itself(halved: Halved) -> None:
    decisions = {(e["cell"], e["rung"]): e for e in halved.study.events("decision") if e["action"] == "stop"}
    stopped = [event for event in halved.study.events("end") if event["state"] == "stopped"]
    assert sorted(event["cell"] for event in stopped) == sorted(cell for cell, _ in decisions)
    for event in stopped:
        made = decisions[event["cell"], event["length"]]
        assert made["rule"] == "asha"
        assert made["rank"] > 1
        assert made["peers"] >= made["rank"]
        assert made["cutoff"] is not None
        assert event["reason"] == made["reason"]
        assert f"rank {made['rank']} of {made['peers']}" in halved.status.out
    trained = sum(row["length"] for row in halved.study.results().values())
    assert f"trained {trained:g} of the grid's {8 * EPOCHS} epochs" in halved.run.out


def test_warm_lanes_and_the_plain_loop_give_the_same_curves(halved: Halved) -> None:
    for arm, seed in (key for key, row in halved.study.results().items() if row["state"] == "done"):
        assert halved.study.curve(arm, seed) == plain_loop(halved.study, arm, seed)


def test_a_stopped_trial_has_the_beginning_of_its_curve(halved: Halved) -> None:
    arm, seed = next(key for key, row in halved.study.results().items() if row["state"] == "stopped")
    curve = halved.study.curve(arm, seed)
    assert curve == plain_loop(halved.study, arm, seed)[: len(curve)]


@pytest.mark.long
def test_fresh_workers_for_every_trial_give_the_same_curves(
    shared_bench: Callable[[str | None, str], Bench],
) -> None:
    study = shared_bench(None, FRESH)
    run = study.run("--no-check")
    assert run.code == 0, run.err
    assert len({event["lane"] for event in study.events("end")}) == 3
    for arm in ("baseline", "optimizer=sgd", "no-mixup"):
        assert study.curve(arm, 4) == plain_loop(study, arm, 4)
