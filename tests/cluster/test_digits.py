"""The digits study with two data-parallel workers on two hosts of a plain `ray up cluster.yaml`."""

from __future__ import annotations

import json

import pytest
from cluster import Cluster, SharedStudy
from lab import PROJECT

pytestmark = [pytest.mark.cluster, pytest.mark.long]

STUDY = """\
name: digits
entrypoint: trials.digits:Digits
metric: {name: val/accuracy, mode: max, also: [val/loss]}
baseline:
  data: {batch_size: 64, augment: true, mixup: 0.2}
  model: {width: 8, batchnorm: true, dropout: 0.1}
  optim: {name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}
components:
  mixup: {without: {data.mixup: 0.0}}
seeds: 2
stopping: {rule: none, max: 2, unit: epoch}
resources: {workers: 2, cpus_per_worker: 1}
"""


@pytest.fixture(scope="module")
def study(plain_cluster: Cluster) -> SharedStudy:
    study = SharedStudy(plain_cluster, STUDY, folder="two-hosts")
    job = study.submit()
    assert job.end() == "SUCCEEDED", job.log()
    return study


def test_all_nodes_are_there_and_the_head_takes_no_trials(plain_cluster: Cluster) -> None:
    cpus = [
        node["resources_total"].get("CPU", 0) for node in plain_cluster.nodes() if node["state"] == "ALIVE"
    ]
    assert sorted(cpus) == [0, 1, 1]


def test_the_two_ranks_run_on_two_hosts(plain_cluster: Cluster, study: SharedStudy) -> None:
    assert {row["state"] for row in study.results().values()} == {"done"}
    listed = plain_cluster.head.run(
        "ray list actors --detail --format json --filter class_name=RayTrainWorker"
    )
    ranks = json.loads(listed[listed.index("[") :])
    assert len(ranks) == len({rank["node_id"] for rank in ranks}) == 2


def test_the_record_is_on_the_shared_storage(study: SharedStudy) -> None:
    assert {row["state"] for row in study.results().values()} == {"done"}
    assert len(list(study.path("trials").glob("**/events.out.tfevents.*"))) == len(study.plan.cells)
    assert study.path("report.md").read_text().startswith("# ")
    assert study.path("report.html").stat().st_size > 0


def test_the_numbers_equal_those_of_one_machine(plain_cluster: Cluster, study: SharedStudy) -> None:
    lab = plain_cluster.lab
    lab.boot("worker4", cpus=2)
    alone = SharedStudy(plain_cluster, STUDY, folder="one-host")
    host = lab["worker4"]
    host.run(f"mkdir -p orchestrator && cp -r {PROJECT}/orchestrator {PROJECT}/trials orchestrator/")
    host.run(f"cd {alone.inside}/code && {alone.command()}")
    assert study.curves() == alone.curves()
    values = [{key: row["value"] for key, row in one.results().items()} for one in (study, alone)]
    assert values[0] == values[1]
