"""One study that loses its driver, its head, and both: the next submission goes on from the journal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from cluster import TUNED, Cluster, Job, SharedStudy, until
from lab import Lab
from rows import write_rows
from strikes import CHECKPOINT_EVERY, Story, run_undisturbed, steady

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SIZE: dict[str, int] = {"length": 30, "seeds": 2}
TAKEN_UP_S = 150.0


class User:
    """Submits the study again, once: the driver itself waits for what a dead one has left behind."""

    def __init__(self, study: SharedStudy) -> None:
        self.study = study
        self.job: Job | None = None
        self.noticed: float | None = None

    def submit(self) -> None:
        known = len(self.study.events("plan")) if self.study.path("journal.jsonl").exists() else 0

        def taken_up() -> bool:
            return self.study.path("journal.jsonl").exists() and len(self.study.events("plan")) > known

        self.job = self.study.submit()
        until(taken_up, "a driver takes the study up", TAKEN_UP_S)

    def kill_driver(self) -> None:
        """`kill -9` of the process that runs `orchestrate ablate`."""
        head = self.study.cluster.head
        [pid] = [
            pid for pid, args in head.processes("orchestrate ablate").items() if "python" in args.split()[0]
        ]
        head.run(f"kill -{int(signal.SIGKILL)} {pid}")

    def driver_lost(self) -> None:
        self.kill_driver()
        until(lambda: self.job is not None and self.job.status() == "FAILED", "Ray notices the driver's end")
        self.noticed = time.time()
        self.submit()

    def head_lost(self) -> None:
        cluster = self.study.cluster
        cluster.head.crash()
        cluster.head.revive()
        cluster.up()
        self.submit()

    def both_lost(self) -> None:
        self.kill_driver()
        self.head_lost()


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    cluster = Cluster(lab, ["worker1", "worker2"], TUNED)
    cluster.up()
    return cluster


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> SharedStudy:
    return run_undisturbed(cluster, steady(**SIZE, epoch_s=0))


@pytest.fixture(scope="module")
def user(cluster: Cluster, undisturbed: SharedStudy) -> User:
    return User(SharedStudy(cluster, steady(**SIZE), "steady"))


@pytest.fixture(scope="module")
def story(user: User) -> Iterator[Story]:
    story = Story(user.study, SIZE["length"])
    user.submit()
    yield story
    write_rows("driver and head", story)


def test_a_driver_that_is_killed(story: Story, user: User) -> None:
    row = story.strike("kill -9 of the driver", story.victim(), user.driver_lost, lambda _: user.noticed)
    assert row.steps_repeated <= CHECKPOINT_EVERY


def test_a_head_that_crashes(story: Story, user: User) -> None:
    row = story.strike("crash of the head", story.victim(), user.head_lost, lambda _: None)
    assert row.steps_repeated <= CHECKPOINT_EVERY


def test_driver_and_head_at_once(story: Story, user: User) -> None:
    row = story.strike("driver and head at once", story.victim(), user.both_lost, lambda _: None)
    assert row.steps_repeated <= CHECKPOINT_EVERY


def test_every_cell_ends_exactly_once_with_the_undisturbed_curve(
    story: Story, user: User, undisturbed: SharedStudy
) -> None:
    assert user.job is not None
    assert user.job.end() == "SUCCEEDED", user.job.log()
    story.check_the_end(undisturbed)
