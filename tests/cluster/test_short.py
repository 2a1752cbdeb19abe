"""The lab in its short form: `ray up`, a study over two hosts, and one of them crashes."""

from __future__ import annotations

import pytest
from cluster import TUNED, Cluster, SharedStudy
from lab import Lab
from strikes import CHECKPOINT_EVERY, Story, run_undisturbed, steady

pytestmark = pytest.mark.cluster

LENGTH = 16


def test_a_study_over_two_hosts_outlives_the_crash_of_one(lab: Lab) -> None:
    cluster = Cluster(lab, ["worker1", "worker2"], TUNED)
    cluster.up()
    undisturbed = run_undisturbed(cluster, steady(length=LENGTH, seeds=1, epoch_s=0))
    story = Story(SharedStudy(cluster, steady(length=LENGTH, seeds=1, parallel=2), "steady"), LENGTH)
    job = story.study.submit()
    victim = story.victim(after=3, before=6)
    host = lab[victim.epoch.host]
    row = story.strike("crash of a worker host", victim, host.crash, story.node_died(host.name))
    assert row.detected_s is not None
    assert row.steps_repeated <= CHECKPOINT_EVERY
    assert job.end() == "SUCCEEDED", job.log()
    story.check_the_end(undisturbed)
    assert {line.host for cell in story.study.signs.glob("*.txt") for line in story.trace(cell.stem)} == {
        "worker1",
        "worker2",
    }
