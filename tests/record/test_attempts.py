"""Workers of a replaced attempt that live on: whatever they write, the record is the newest attempt's."""

from __future__ import annotations

import itertools
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow.fs import FSSpecHandler, PyFileSystem

from orchestrator.errors import StorageUnavailable
from orchestrator.record.attempts import Superseded, attempt_of, owner_of
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import TrialPaths, checkpoint_name
from orchestrator.record.metrictable import OBSERVATIONS, STEPS, read_metrics, read_table
from orchestrator.record.storage import Storage
from orchestrator.record.storage.objectstore import ObjectStore
from orchestrator.record.triallog import ResumePoint, TrialLog

TRIAL = TrialPaths("s/trials/a/seed-0")
LENGTH = 3  # reports; every odd one brings a checkpoint
Answer = TypeVar("Answer")


class Turns:
    """Lets threads make one storage operation after the other, in the order that it is given.

    Nobody moves before all others wait at their next operation or have ended, so that an order is one
    interleaving. When the order is used up, the last thread goes on to its end, then the one before it.
    """

    def __init__(self, order: Sequence[int], threads: int) -> None:
        self._order, self._alive = list(order), set(range(threads))
        self._waiting: set[int] = set()
        self._chosen: int | None = None
        self._changed = threading.Condition()
        self._of_thread: dict[int, int] = {}
        self.taken = [0] * threads  # operations of each

    def run(self, lives: Sequence[Callable[[], None]]) -> None:
        """Run all to their ends."""
        threads = [
            threading.Thread(target=self._live, args=(index, life)) for index, life in enumerate(lives)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def step(self) -> None:
        """Wait for the turn of the calling thread; others than those that `run` started may pass."""
        me = self._of_thread.get(threading.get_ident())
        if me is None:
            return
        with self._changed:
            self._waiting.add(me)
            self._choose()
            self._changed.wait_for(lambda: self._chosen == me)
            self._waiting.discard(me)
            self._chosen = None
            self.taken[me] += 1

    def _live(self, index: int, life: Callable[[], None]) -> None:
        self._of_thread[threading.get_ident()] = index
        try:
            life()
        finally:
            with self._changed:
                self._alive.discard(index)
                self._choose()

    def _choose(self) -> None:
        if self._chosen is not None or self._waiting != self._alive or not self._alive:
            return
        while self._order:
            wanted = self._order.pop(0)
            if wanted in self._alive:
                self._chosen = wanted
                break
        else:
            self._chosen = max(self._alive)
        self._changed.notify_all()


@dataclass(frozen=True)
class Stepped(Storage):
    """A storage whose every operation waits for its turn."""

    turns: Any = field(default=None, compare=False)

    def _ask(self, verb: str, relative: str, act: Callable[[], Answer]) -> Answer:
        self.turns.step()
        return super()._ask(verb, relative, act)


def stepped(storage: Storage, turns: Turns) -> Storage:
    return Stepped(storage.backend, storage.patience_s, turns)


def value(attempt: int, report: int) -> float:
    return 100.0 * attempt + report


def live(storage: Storage, attempt: int, length: int = LENGTH, *, killed: bool = False) -> int:
    """What a worker does with its trial; returns the report after which it went on. `killed`: no end."""
    store = CheckpointStore(storage, TRIAL, attempt)
    resume = store.latest()
    start = resume.report if resume else 0
    adopted = [found.name for found in store.complete() if found.report <= start]
    if resume:
        with tempfile.TemporaryDirectory() as folder:
            store.fetch(resume.name, Path(folder))
            part = (Path(folder) / "part.pt").read_bytes()
        assert part == content(attempt_of(resume.name), start)
    point = ResumePoint(resume.report, resume.step, resume.name) if resume else None
    log = TrialLog(storage, TRIAL, attempt, point, adopted=adopted, loggers=())
    try:
        for report in range(start + 1, length + 1):
            score = value(attempt, report)
            log.scalars({"loss": score}, report)
            log.observe("watch", [{"seen": score}], report)
            log.report({"report": report, "step": report, "attempt": attempt, "score": score})
            if report % 2:
                save(store, log, attempt, report)
        if not killed:
            log.finish()
    finally:
        log.close()
    if not killed:
        store.discard_incomplete()
        store.describe(state=f"done by {attempt}")
    return start


def save(store: CheckpointStore, log: TrialLog, attempt: int, report: int) -> None:
    name = checkpoint_name(report, attempt)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "part.pt").write_bytes(content(attempt, report))
        files = store.put_part(name, Path(folder))
    log.flush()
    score = value(attempt, report)
    manifest = Manifest(report, None, float(report), report, 0.0, attempt, value=score, score=score)
    store.commit(name, replace(manifest, files=files))
    store.retain(keep_best=1, keep_latest=2)


def content(attempt: int, report: int) -> bytes:
    return f"attempt {attempt} report {report};".encode() * 5


def record(storage: Storage) -> dict[str, Any]:
    """All that readers see of the trial."""
    store = CheckpointStore(storage, TRIAL)
    whole = store.complete()
    return {
        "owner": owner_of(storage, TRIAL).attempt,
        "reports": read_metrics(storage, TRIAL),
        "steps": read_table(storage, TRIAL, STEPS),
        "observations": read_table(storage, TRIAL, OBSERVATIONS),
        "checkpoints": whole,
        "parts": [storage.read_bytes(f"{TRIAL.checkpoint(found.name)}/part.pt") for found in whole],
    }


def new_storage(kind: str, folder: str) -> Storage:
    if kind == "local":
        return Storage.open(Path(folder) / uuid.uuid4().hex)
    memory = PyFileSystem(FSSpecHandler(MemoryFileSystem()))
    bucket = f"bucket-{uuid.uuid4().hex}"
    return Storage.open(ObjectStore(f"objects://{bucket}", memory, bucket))


def race(storage: Storage, turns: Turns, attempts: int) -> dict[int, int]:
    """All attempts at once; attempt -> the report after which it went on, for those that ended well."""
    resumed: dict[int, int] = {}

    def life(attempt: int) -> None:
        # an attempt that finds its place taken, or its files gone, ends
        with suppress(Superseded, StorageUnavailable, FileNotFoundError):
            resumed[attempt] = live(stepped(storage, turns), attempt)

    turns.run([lambda attempt=n: life(attempt) for n in range(1, attempts + 1)])
    return resumed


def alone(storage: Storage, start: int) -> dict[str, Any]:
    """The record when attempt 1 dies after report `start` and attempt 2 goes on from there."""
    live(storage, 1, start, killed=True)
    live(storage, 2)
    return record(storage)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", pytest.param("object", marks=pytest.mark.long)])
def test_an_attempt_that_is_frozen_anywhere_and_wakes_up_later_changes_nothing(
    tmp_path: Path, kind: str
) -> None:
    """Stopped before each of its storage operations in turn, until the next attempt has finished."""
    expected: dict[int, dict[str, Any]] = {}
    resumed_at = set()
    for done in itertools.count():
        storage, turns = new_storage(kind, str(tmp_path)), Turns([0] * done, 2)
        resumed = race(storage, turns, 2)
        if turns.taken[0] < done:  # the first attempt was never stopped
            break
        found = record(storage)
        start = resumed[2]
        resumed_at.add(start)
        if start not in expected:
            expected[start] = alone(new_storage(kind, str(tmp_path)), start)
        assert found == expected[start], f"stopped after {done} operations"
    assert resumed_at == {0, *range(1, LENGTH + 1, 2)}


@pytest.mark.slow
@settings(max_examples=10)
# the third chooses where it goes on before the second takes over, without that checkpoint
@example(kind="local", attempts=3, order=[(0, 1), (1, 13), (0, 29), (2, 1), (1, 14)])
@given(
    kind=st.sampled_from(["local", "object"]),
    attempts=st.integers(2, 3),
    order=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=12),
)
def test_the_record_is_that_of_the_newest_attempt_alone(
    kind: str, attempts: int, order: list[tuple[int, int]]
) -> None:
    """All attempts at once, one storage operation at a time, in any order: as if the others had died."""
    picks = [thread for thread, count in order for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        storage = new_storage(kind, folder)
        resumed = race(storage, Turns(picks, attempts), attempts)
        found = record(storage)
        newest = found["owner"]
        if newest not in resumed:  # it lost its resume point to an older one before it had begun
            return
        start = resumed[newest]
        for table, column in (("reports", "score"), ("steps", "loss"), ("observations", "seen")):
            rows = found[table]
            assert [row["step"] for row in rows] == list(range(1, LENGTH + 1)), table
            assert [row[column] for row in rows[start:]] == [
                value(newest, report) for report in range(start + 1, LENGTH + 1)
            ]
        if attempts == 2 and newest == 2:
            assert found == alone(new_storage(kind, folder), start)


@pytest.mark.parametrize("kind", ["local", "object"])
def test_a_manifest_that_comes_late_is_not_used_and_costs_no_good_one(tmp_path: Path, kind: str) -> None:
    storage = new_storage(kind, str(tmp_path))
    live(storage, 1, 1, killed=True)
    live(storage, 2, 3, killed=True)
    good = CheckpointStore(storage, TRIAL).complete()
    assert [found.name for found in good] == ["step-00000001", "step-00000003.a2"]

    past_its_look = CheckpointStore(storage, TRIAL)  # without its number it does not look
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "part.pt").write_bytes(content(1, 5))
    name = checkpoint_name(5)
    files = past_its_look.put_part(name, tmp_path / "part")
    past_its_look.commit(name, Manifest(5, None, 5.0, 5, 0.0, 1, score=9.0, files=files))
    assert storage.exists(TRIAL.manifest(name))

    assert CheckpointStore(storage, TRIAL).complete() == good
    assert CheckpointStore(storage, TRIAL, 3).latest() == good[-1]
    late = CheckpointStore(storage, TRIAL, 1)
    for change in (lambda: late.retain(0, 1), late.discard_incomplete, lambda: late.describe(state="done")):
        with pytest.raises(Superseded, match="attempt 2 has taken over"):
            change()
    assert CheckpointStore(storage, TRIAL, 2).retain(1, 1).latest == ("step-00000003.a2",)
    assert CheckpointStore(storage, TRIAL, 2).discard_incomplete() == [name]
    assert not storage.exists(TRIAL.trial_json)


def test_half_a_checkpoint_is_not_handed_out(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "store")
    live(storage, 1, 1, killed=True)
    store = CheckpointStore(storage, TRIAL)
    storage.delete_file(TRIAL.manifest("step-00000001"))  # it is being removed
    with pytest.raises(StorageUnavailable, match="went away while it was read"):
        store.fetch("step-00000001", tmp_path / "here")
