"""How each kind of fault is done to a study under way."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import ground
from ordeal import ENDS_WITHIN_S, Later, Ordeal, Struck
from schedule import Fault, Home, Kind
from traces import CellName

from orchestrator.record.checkpoints import INSIDE, CheckpointStore

LANE, BROKER = "ray::ResourceTrainable", "ray::MessageActor"  # Tune names trial actors by its own wrapper
STALL_S = 4.0
FULL_S = 20.0
HELD = 4
"""Exit code of a driver that is refused, or whose storage failed."""
TORN = b'{"event": "checkpoint", "cell": "'


def inject(ordeal: Ordeal, fault: Fault) -> Struck | None:
    """Strike. None, and nothing has happened, while there is nothing to hit."""
    if not ordeal.taken_up() or ordeal.contested() or not ordeal.running():
        return None
    return _HOW[fault.kind](ordeal, fault)


# ---- workers, actors, nodes -------------------------------------------------------------------------------


def _worker_killed(ordeal: Ordeal, fault: Fault) -> Struck | None:
    victim = ordeal.victim(fault)
    if victim is None:
        return None
    at = time.time()
    ground.kill(victim[1])
    return Struck(fault, at, dict([victim]))


def _worker_stalls(ordeal: Ordeal, fault: Fault) -> Struck | None:
    victim = ordeal.victim(fault)
    if victim is None:
        return None
    at = time.time()
    ordeal.stop(victim[1])
    wake = Later(_epochs_on(ordeal, fault), lambda: ordeal.wake(victim[1]), until=time.monotonic() + STALL_S)
    ordeal.later.append(wake)
    return Struck(fault, at, dict([victim]), survives=True)


def _worker_hangs(ordeal: Ordeal, fault: Fault) -> Struck | None:
    victim = ordeal.victim(fault)
    if victim is None:
        return None
    at = time.time()
    ordeal.stop(victim[1])
    ordeal.later.append(_waking(ordeal, fault, victim, "a worker that was stopped was not missed"))
    return Struck(fault, at, dict([victim]))


def _lane_killed(ordeal: Ordeal, fault: Fault) -> Struck | None:
    lanes, running = ground.named(LANE, ordeal.family()), ordeal.running()
    if not lanes or not running:
        return None
    at = time.time()
    ground.kill(lanes[fault.lane % len(lanes)])
    return Struck(fault, at, running)


def _broker_killed(ordeal: Ordeal, fault: Fault) -> Struck | None:
    brokers, running = ground.named(BROKER, ordeal.family()), ordeal.running()
    if not brokers or not running:
        return None
    at = time.time()
    ground.kill(*brokers)
    ordeal.expect_end(1, 2, 3, 4, home=fault.home)
    return Struck(fault, at, running)


def _node_lost(ordeal: Ordeal, fault: Fault) -> Struck | None:
    victim = ordeal.victim(fault)
    if victim is None:
        return None
    node = ordeal.nodes.of(victim[1]) or next(iter(ordeal.nodes.workers), None)
    if node is None:
        return None  # the one before is not back yet
    hit = {cell: pid for cell, pid in ordeal.running().items() if pid in ground.family(node.pid)}
    at = time.time()
    ordeal.nodes.lose(node)
    address = ordeal.nodes.address

    def replace() -> None:
        if ordeal.nodes.address == address:  # else the whole cluster is another one by now
            ordeal.nodes.add()

    ordeal.later.append(Later(_epochs_on(ordeal, fault), replace, until=time.monotonic() + FULL_S))
    return Struck(fault, at, hit)


# ---- drivers ----------------------------------------------------------------------------------------------


def _second_driver(ordeal: Ordeal, fault: Fault) -> Struck | None:
    at = time.time()
    first, second = ordeal.driver, ordeal.command(fault.home)
    ordeal.others.append(second)

    def refused() -> None:
        code = second.process.poll()
        if ordeal.driver is first and (code != HELD or "run by process" not in second.err):
            ordeal.find(f"a second driver was not refused: {code}\n{second.err}")
            second.kill()

    late = "a second driver runs"
    ordeal.later.append(Later(lambda: second.process.poll() is not None, refused, late))
    return Struck(fault, at, ordeal.running(), survives=True)


def _driver_signalled(number: signal.Signals) -> Callable[[Ordeal, Fault], Struck | None]:
    def strike(ordeal: Ordeal, fault: Fault) -> Struck | None:
        running, at = ordeal.running(), time.time()
        ordeal.driver.signal(number)
        ordeal.expect_end(128 + number, -number, home=fault.home)
        return Struck(fault, at, running)

    return strike


def _driver_killed(ordeal: Ordeal, fault: Fault) -> Struck | None:
    struck = _kill_driver(ordeal, fault)
    ordeal.start(fault.home)
    return struck


def _killed_starting(ordeal: Ordeal, fault: Fault) -> Struck | None:
    struck = _kill_driver(ordeal, fault)
    ordeal.start(fault.home)
    starting = ordeal.driver

    def again() -> None:
        if ordeal.driver is starting:
            ordeal.driver.kill()
            ordeal.start(fault.home)

    ordeal.later.append(Later(ordeal.taken_up, again, "a driver does not take the study up"))
    return struck


def _two_drivers(ordeal: Ordeal, fault: Fault) -> Struck | None:
    struck = _kill_driver(ordeal, fault)
    ordeal.start(fault.home)
    ordeal.allowed = {HELD}
    one, other = ordeal.driver, ordeal.command(fault.home)
    ordeal.others.append(other)

    def one_has_it() -> bool:
        return one.process.poll() is not None or other.process.poll() is not None

    def settle() -> None:
        if ordeal.driver is not one:
            other.kill()  # another fault has come in between
            return
        loser = one if one.process.poll() is not None else other
        if loser.process.poll() != HELD:
            ordeal.find(f"of two drivers one ended with {loser.process.poll()}\n{loser.err}")
        if loser is one:
            ordeal.driver = other
            ordeal.others.remove(other)
        ordeal.allowed = set()

    ordeal.later.insert(0, Later(one_has_it, settle, "two drivers run"))
    return struck


def _driver_and_ray(ordeal: Ordeal, fault: Fault) -> Struck | None:
    running, at = ordeal.running(), time.time()
    ground.kill(*ground.family(ordeal.driver.process.pid), *ordeal.family())
    ordeal.driver.process.wait()
    if ordeal.home is Home.NODES:
        ordeal.nodes.down()
        ordeal.nodes.up()
    ordeal.start(fault.home)
    return Struck(fault, at, running)


def _late_worker(ordeal: Ordeal, fault: Fault) -> Struck | None:
    victim = ordeal.victim(fault)
    if victim is None:
        return None
    ordeal.stop(victim[1])
    struck = _kill_driver(ordeal, fault)
    struck.cells[victim[0]] = victim[1]
    ordeal.start(fault.home)
    ordeal.later.append(_waking(ordeal, fault, victim, None))
    return struck


def _kill_driver(ordeal: Ordeal, fault: Fault) -> Struck:
    running, at = ordeal.running(), time.time()
    ordeal.driver.kill()
    return Struck(fault, at, running)


# ---- the record -------------------------------------------------------------------------------------------


def _torn_journal(ordeal: Ordeal, fault: Fault) -> Struck | None:
    struck = _kill_driver(ordeal, fault)
    study = ordeal.study
    with Path(study.storage.local_path(study.paths.journal)).open("ab") as journal:
        journal.write(TORN)
    ordeal.start(fault.home)
    return struck


def _half_checkpoint(ordeal: Ordeal, fault: Fault) -> Struck | None:
    """What an upload leaves that ends before its manifest."""
    struck = _kill_driver(ordeal, fault)
    for folder in _latest_checkpoints(ordeal, struck):
        step = int(folder.name.removeprefix("step-"))
        half = folder.with_name(f"step-{step + 1:08d}")
        if not half.exists():
            shutil.copytree(folder, half, ignore=shutil.ignore_patterns(INSIDE))
    ordeal.start(fault.home)
    return struck


def _damaged_checkpoint(ordeal: Ordeal, fault: Fault) -> Struck | None:
    """Half of the largest file is gone."""
    struck = _kill_driver(ordeal, fault)
    for folder in _latest_checkpoints(ordeal, struck, at_least=2):
        files = [file for file in folder.rglob("*") if file.is_file() and file.name != INSIDE]
        largest = max(files, key=lambda file: file.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)
    ordeal.start(fault.home)
    return struck


def _latest_checkpoints(ordeal: Ordeal, struck: Struck, at_least: int = 1) -> list[Path]:
    """The newest complete checkpoint of every trial that ran, where there are so many."""
    found = []
    for arm, seed in struck.cells:
        trial = ordeal.study.paths.trial(arm, seed)
        complete = CheckpointStore(ordeal.study.storage, trial).complete()
        if len(complete) >= at_least:
            found.append(Path(ordeal.study.storage.local_path(trial.checkpoint(complete[-1].name))))
    return found


def _disk_full(ordeal: Ordeal, fault: Fault) -> Struck | None:
    """Until the driver has ended, or for a moment."""
    running, at = ordeal.running(), time.time()
    ballast, driver = ordeal.study.storage_root / "ballast", ordeal.driver
    if ballast.exists():
        return None
    with ballast.open("wb", buffering=0) as sink:
        space = os.statvfs(ballast.parent)
        with suppress(OSError):  # somebody was faster
            os.posix_fallocate(sink.fileno(), 0, max(1, space.f_bavail * space.f_frsize))
    ordeal.allowed |= {HELD}
    ordeal.next_home = fault.home
    over = Later(lambda: driver.process.poll() is not None, ballast.unlink, until=time.monotonic() + FULL_S)
    ordeal.later.insert(0, over)  # before the next driver starts
    return Struck(fault, at, running)


# ---- later ------------------------------------------------------------------------------------------------


def _epochs_on(ordeal: Ordeal, fault: Fault) -> Callable[[], bool]:
    """Whether the study has come so much further."""
    goal = ordeal.trace.finished + fault.later + 1
    return lambda: ordeal.trace.finished >= goal


def _waking(ordeal: Ordeal, fault: Fault, victim: tuple[CellName, int], late: str | None) -> Later:
    """A stopped worker wakes up when others are so much further with its trial, unless somebody has ended
    it.
    """
    cell, pid = victim
    since = ordeal.trace.last(cell).number

    def replaced() -> bool:
        others = [e.number for e in ordeal.trace.cells[cell] if e.pid != pid]
        further = min(since + fault.later, ordeal.epochs)
        return not ground.is_alive(pid) or (bool(others) and max(others) >= further)

    return Later(replaced, lambda: ordeal.wake(pid), late, time.monotonic() + 2 * ENDS_WITHIN_S)


_HOW: dict[Kind, Callable[[Ordeal, Fault], Struck | None]] = {
    Kind.WORKER_KILLED: _worker_killed,
    Kind.WORKER_STALLS: _worker_stalls,
    Kind.WORKER_HANGS: _worker_hangs,
    Kind.LANE_KILLED: _lane_killed,
    Kind.BROKER_KILLED: _broker_killed,
    Kind.NODE_LOST: _node_lost,
    Kind.SECOND_DRIVER: _second_driver,
    Kind.DRIVER_KILLED: _driver_killed,
    Kind.DRIVER_TERMINATED: _driver_signalled(signal.SIGTERM),
    Kind.DRIVER_INTERRUPTED: _driver_signalled(signal.SIGINT),
    Kind.KILLED_STARTING: _killed_starting,
    Kind.TWO_DRIVERS: _two_drivers,
    Kind.DRIVER_AND_RAY: _driver_and_ray,
    Kind.LATE_WORKER: _late_worker,
    Kind.TORN_JOURNAL: _torn_journal,
    Kind.HALF_CHECKPOINT: _half_checkpoint,
    Kind.DAMAGED_CHECKPOINT: _damaged_checkpoint,
    Kind.DISK_FULL: _disk_full,
}
