"""One study, and everything that can happen to the hosts that run its trials, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from cluster import TUNED, Cluster, Job, SharedStudy, until
from lab import Lab
from rows import write_rows
from strikes import CHECKPOINT_EVERY, Story, run_undisturbed, steady

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SIZE: dict[str, int] = {"length": 24, "seeds": 10, "parallel": 2}


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    cluster = Cluster(lab, ["worker1", "worker2", "worker3"], TUNED)
    cluster.up()
    return cluster


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> SharedStudy:
    return run_undisturbed(cluster, steady(**SIZE, epoch_s=0))


@pytest.fixture(scope="module")
def story(cluster: Cluster, undisturbed: SharedStudy) -> Iterator[Story]:
    story = Story(SharedStudy(cluster, steady(**SIZE), "steady"), SIZE["length"])
    yield story
    write_rows("worker hosts", story)


@pytest.fixture(scope="module")
def job(story: Story) -> Job:
    return story.study.submit()


def test_a_link_that_is_cut_for_four_seconds(story: Story, job: Job) -> None:
    victim = story.victim()
    host = story.study.cluster.lab[victim.epoch.host]

    def cut() -> None:
        host.cut()
        time.sleep(4.0)  # the fault itself
        host.mend()

    row = story.strike("link cut, 4 s", victim, cut, story.node_died(host.name), survives=True)
    assert row.detected_s is None
    assert row.steps_repeated == 0


def test_a_host_that_crashes_while_a_spare_one_is_there(story: Story, job: Job) -> None:
    victim = story.victim()
    host = story.study.cluster.lab[victim.epoch.host]
    row = story.strike("crash of a worker host", victim, host.crash, story.node_died(host.name))
    assert row.detected_s is not None
    assert row.steps_repeated <= CHECKPOINT_EVERY
    host.revive()
    story.study.cluster.wait_for_nodes(4)


def test_a_host_that_loses_its_power(story: Story, job: Job) -> None:
    victim = story.victim()
    host = story.study.cluster.lab[victim.epoch.host]
    row = story.strike("power-off of a worker host", victim, host.power_off, story.node_died(host.name))
    assert row.detected_s is not None
    assert row.steps_repeated <= CHECKPOINT_EVERY
    host.revive()
    story.study.cluster.wait_for_nodes(4)


def test_a_link_that_is_cut_for_a_minute(story: Story, job: Job) -> None:
    victim = story.victim()
    host = story.study.cluster.lab[victim.epoch.host]

    cut_at = time.monotonic()
    row = story.strike("link cut, 60 s", victim, host.cut, story.node_died(host.name))
    until(lambda: time.monotonic() - cut_at > 60.0, "the minute is over")
    host.mend()
    story.study.cluster.wait_for_nodes(4)
    assert row.detected_s is not None
    assert row.steps_repeated <= CHECKPOINT_EVERY


def test_a_host_that_never_returns(story: Story, job: Job) -> None:
    victim = story.victim(before=4)
    host = story.study.cluster.lab[victim.epoch.host]
    row = story.strike("worker host never returns", victim, host.power_off, story.node_died(host.name))
    assert row.steps_repeated <= CHECKPOINT_EVERY


def test_every_cell_ends_exactly_once_with_the_undisturbed_curve(
    story: Story, job: Job, undisturbed: SharedStudy
) -> None:
    assert job.end() == "SUCCEEDED", job.log()
    story.check_the_end(undisturbed)
