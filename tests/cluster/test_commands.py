"""A command with two ranks on two hosts: one crashes, and it goes on elsewhere from its own checkpoint."""

from __future__ import annotations

import pytest
from cluster import TUNED, Cluster, SharedStudy, until
from lab import Lab

pytestmark = [pytest.mark.cluster, pytest.mark.long]

LENGTH = 12


def study(epoch_s: float) -> str:
    return f"""\
name: ranks
entrypoint:
  command: >-
    python ranks.py --level {{level}} --seed {{seed}} --epochs {{max_length}}
    --epoch-s {epoch_s} --signs {{dir}}
  checkpoint: epoch-*.pt
  resume: --resume {{checkpoint}}
metric: {{name: loss, mode: min}}
baseline: {{level: 1.0}}
components:
  level: {{swap: {{two: {{level: 2.0}}}}}}
seeds: 1
stopping: {{rule: none, max: {LENGTH}, unit: epoch}}
resources: {{workers: 2, cpus_per_worker: 1}}
"""


def test_two_ranks_on_two_hosts_of_which_one_crashes(lab: Lab) -> None:
    cluster = Cluster(lab, ["worker1", "worker2", "worker3"], TUNED)
    cluster.up()
    undisturbed = SharedStudy(cluster, study(0.0), "ranks", folder="undisturbed")
    job = undisturbed.submit()
    assert job.end() == "SUCCEEDED", job.log()

    disturbed = SharedStudy(cluster, study(0.7), "ranks")
    job = disturbed.submit()

    def hosts(rank: int) -> list[str]:
        trace = disturbed.signs / f"1-0-rank{rank}.txt"
        return [line.split()[1] for line in trace.read_text().splitlines()] if trace.exists() else []

    until(lambda: len(hosts(1)) >= 4, "four epochs of both ranks")
    began = {hosts(rank)[0] for rank in (0, 1)}
    assert len(began) == 2  # a host has one CPU
    victim = hosts(1)[-1]
    lab[victim].crash()
    assert job.end() == "SUCCEEDED", job.log()

    assert disturbed.curves() == undisturbed.curves()
    assert {row["state"] for row in disturbed.results().values()} == {"done"}
    assert victim not in hosts(0)[-2:] + hosts(1)[-2:]
    log = disturbed.path("trials/baseline/seed-0/log.txt").read_text()
    assert "=== attempt 2" in log
    for name in {"worker1", "worker2", "worker3"} - {victim}:
        left = lab[name].attempt("ps ax -o args= | grep '[r]anks.py'").stdout
        assert left == ""
