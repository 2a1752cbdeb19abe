from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from orchestrator.errors import StudyHeld
from orchestrator.record.control import StopAsked, ask_to_stop, take_requests
from orchestrator.record.jsonlines import from_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease, is_alive, outlast, process_start, read_lease, this_process
from orchestrator.record.storage import Storage

PATHS = StudyPaths.of("s")
ELSEWHERE = {"host": "another", "pid": 7, "started": "1", "user": "ada"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_second_driver_is_refused(storage: Storage) -> None:
    clock = Clock()
    lease = Lease.acquire(storage, PATHS, clock=clock)
    before = storage.sizes("s")
    clock.now += 10_000  # asleep or not: its process lives
    with pytest.raises(StudyHeld, match="is run by process"):
        Lease.acquire(storage, PATHS, clock=clock)
    assert storage.sizes("s") == before
    lease.release()
    lease.release()
    Lease.acquire(storage, PATHS, clock=clock).release()
    assert read_lease(storage, PATHS) is None


def test_a_killed_driver_is_replaced_at_once(storage: Storage) -> None:
    script = (
        "from orchestrator.record.lease import this_process; import json, sys;"
        "print(json.dumps(this_process()), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        owner = from_json(process.stdout.readline())
        clock = Clock()
        first = Lease.acquire(storage, PATHS, owner, clock=clock)
        with pytest.raises(StudyHeld):
            Lease.acquire(storage, PATHS, clock=clock)
        process.kill()
        process.wait()
        second = Lease.acquire(storage, PATHS, clock=clock)
    with pytest.raises(StudyHeld, match="was lost"):
        first.beat()
    second.beat()


def test_a_zombie_and_a_recycled_pid_are_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    try:
        owner = {**this_process(), "pid": process.pid, "started": "long ago", "beat": 0.0}
        assert not is_alive(owner, 0.0)
    finally:
        process.wait()
        process.stdout.close()
    assert process_start(process.pid) is None
    assert is_alive(this_process(), 0.0)


@pytest.mark.parametrize(("silent_s", "held"), [(29.0, True), (31.0, False), (-100.0, True)])
def test_from_elsewhere_the_heartbeat_tells(storage: Storage, silent_s: float, held: bool) -> None:
    clock = Clock()
    Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    clock.now += silent_s
    if held:
        with pytest.raises(StudyHeld, match=r"process 7 on another \(ada\)"):
            Lease.acquire(storage, PATHS, clock=clock)
    else:
        Lease.acquire(storage, PATHS, clock=clock)


def test_a_dead_driver_elsewhere_is_waited_for(storage: Storage) -> None:
    clock = Clock()
    Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    clock.now += 12
    said: list[str] = []

    def pause(seconds: float) -> None:
        clock.now += seconds

    outlast(storage, PATHS, said.append, clock=clock, pause=pause)
    assert clock.now == 1000.0 + 30
    assert said == ["process 7 on another (ada) has the study: waiting up to 30 s for a sign of its life"]
    Lease.acquire(storage, PATHS, clock=clock)


def test_a_driver_elsewhere_that_beats_again_refuses(storage: Storage) -> None:
    clock = Clock()
    lives = Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)

    def pause(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= 1002:
            lives.beat()

    with pytest.raises(StudyHeld, match=r"process 7 on another \(ada\)"):
        outlast(storage, PATHS, [].append, clock=clock, pause=pause)
    assert clock.now == 1002.0


def test_a_driver_elsewhere_that_ends_is_not_waited_for(storage: Storage) -> None:
    clock = Clock()
    lease = Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    outlast(storage, PATHS, [].append, clock=clock, pause=lambda _: lease.release())
    assert clock.now == 1000.0


def test_a_clock_that_is_behind_waits_no_longer_than_that(storage: Storage) -> None:
    clock = Clock()
    Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    clock.now -= 1000

    def pause(seconds: float) -> None:
        clock.now += seconds

    with pytest.raises(StudyHeld):
        outlast(storage, PATHS, [].append, clock=clock, pause=pause)
    assert clock.now == 30.0


def test_nobody_waits_where_no_driver_lives_or_one_lives_here(storage: Storage) -> None:
    def pause(_: float) -> None:
        raise AssertionError("waits")

    outlast(storage, PATHS, [].append, pause=pause)
    lease = Lease.acquire(storage, PATHS)
    with pytest.raises(StudyHeld, match="is run by process"):
        outlast(storage, PATHS, [].append, pause=pause)
    lease.release()


def test_beats_keep_it_and_tell_the_progress(storage: Storage) -> None:
    clock = Clock()
    lease = Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    clock.now += 29
    lease.beat({"done": 3})
    clock.now += 29
    with pytest.raises(StudyHeld):
        Lease.acquire(storage, PATHS, clock=clock)
    assert from_json(storage.read_bytes(PATHS.progress)) == {"done": 3}


def test_a_lost_lease_is_not_released_under_its_new_owner(storage: Storage) -> None:
    clock = Clock()
    first = Lease.acquire(storage, PATHS, ELSEWHERE, clock=clock)
    clock.now += 60
    second = Lease.acquire(storage, PATHS, clock=clock)
    first.release()
    second.beat()


def test_a_damaged_lease_holds_nobody_off(storage: Storage) -> None:
    storage.write_atomic(PATHS.lease, b"{")
    Lease.acquire(storage, PATHS).release()


def test_of_many_at_once_one_gets_it(local: Storage) -> None:
    clock, barrier = Clock(), threading.Barrier(8)
    Lease.acquire(local, PATHS, ELSEWHERE, clock=clock)
    clock.now += 100
    outcomes: list[Any] = []

    def attempt() -> None:
        barrier.wait()
        try:
            outcomes.append(Lease.acquire(local, PATHS, clock=clock))
        except StudyHeld as error:
            outcomes.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Lease) for outcome in outcomes) == 1
    assert len(outcomes) == 8


def test_requests_are_taken_once_and_in_order(storage: Storage) -> None:
    clock = Clock()
    Lease.acquire(storage, PATHS, clock=clock)
    assert take_requests(storage, PATHS) == []
    clock.now = 1005.0
    ask_to_stop(storage, PATHS, "ada", clock=clock)
    clock.now = 1001.0
    ask_to_stop(storage, PATHS, "bob", clock=clock)
    storage.write_atomic(f"{PATHS.control_dir}/request-0.json", b"rubbish")
    assert take_requests(storage, PATHS) == [
        StopAsked("bob", 1001.0, "stop"),
        StopAsked("ada", 1005.0, "stop"),
    ]
    assert take_requests(storage, PATHS) == []
    assert read_lease(storage, PATHS) is not None
