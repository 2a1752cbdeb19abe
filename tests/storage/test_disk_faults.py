"""Disks that are full, read-only or dying, for real: what was complete stays, and the path is named."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from disks import DyingDisk, fill, own_mounts, remount, small_disk

from orchestrator.errors import StorageUnavailable
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.events import Noted
from orchestrator.record.journal import Journal, read_journal
from orchestrator.record.layout import StudyPaths, checkpoint_name
from orchestrator.record.metrictable import OBSERVATIONS, read_metrics, read_table
from orchestrator.record.storage import Storage
from orchestrator.record.triallog import TrialLog

TRIAL = StudyPaths.of("s").trial("baseline", 0)
JOURNAL = StudyPaths.of("s").journal


def texts(storage: Storage) -> list[str]:
    return [line.plain()["text"] for line in read_journal(storage, JOURNAL).lines]


@own_mounts
def test_a_journal_on_a_full_disk_keeps_what_it_had_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    storage = Storage.open(small_disk(tmp_path / "disk", "1m"))
    journal = Journal(storage, JOURNAL)
    journal.append(Noted("before"))
    journal.sync()
    ballast = fill(tmp_path / "disk")
    with pytest.raises(StorageUnavailable) as caught:
        journal.append(*(Noted("x" * 1000) for _ in range(100)))
    assert caught.value.kind == "disk full"
    assert f"cannot write {tmp_path}/disk/{JOURNAL}: No space left on device; 0 bytes free" in str(
        caught.value
    )
    assert "make room there" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    with pytest.raises(StorageUnavailable):  # also with room again: this writer cannot know what it has lost
        journal.append(Noted("late"))
    journal.close()
    ballast.unlink()
    assert texts(storage)[0] == "before"
    again = Journal(storage, JOURNAL)
    assert again.contents.torn == 0
    again.append(Noted("after"))
    again.close()
    assert texts(storage)[-1] == "after"


@own_mounts
def test_a_journal_on_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    storage = Storage.open(small_disk(tmp_path / "disk", "1m"))
    journal = Journal(storage, JOURNAL)
    journal.append(Noted("before"))
    journal.close()
    remount(tmp_path / "disk", "ro")
    with pytest.raises(StorageUnavailable) as caught:
        Journal(storage, JOURNAL)
    assert caught.value.kind == "read-only"
    assert f"{tmp_path}/disk/{JOURNAL}" in str(caught.value)
    assert "mount it for writing again" in str(caught.value)
    assert texts(storage) == ["before"]
    remount(tmp_path / "disk", "rw")
    again = Journal(storage, JOURNAL)
    again.append(Noted("after"))
    again.close()
    assert texts(storage) == ["before", "after"]


@own_mounts
def test_a_journal_on_a_dying_disk_is_believed_only_as_far_as_it_was_synced(tmp_path: Path) -> None:
    with closing(DyingDisk(tmp_path / "disk")) as disk:
        storage = Storage.open(disk.folder)
        journal = Journal(storage, JOURNAL)
        journal.append(Noted("before"))
        journal.sync()
        disk.die()
        journal.append(Noted("in the page cache only"))
        with pytest.raises(StorageUnavailable) as caught:
            journal.sync()
        assert caught.value.kind == "I/O error"
        assert f"cannot write {disk.folder}/{JOURNAL}: Input/output error" in str(caught.value)
        with pytest.raises(StorageUnavailable):  # the kernel itself would answer that all is well now
            journal.sync()
        journal._appender.close()
        disk.revive()
        assert texts(storage)[0] == "before"
        again = Journal(storage, JOURNAL)
        again.append(Noted("after"))
        again.close()
        assert texts(storage)[-1] == "after"


def put(store: CheckpointStore, source: Path, step: int, size: int) -> None:
    """One checkpoint of `size` bytes of the number of its step, with retention after it."""
    source.mkdir(exist_ok=True)
    (source / "state.pt").write_bytes(bytes([step]) * size)
    name = checkpoint_name(step)
    files = store.put_part(name, source)
    store.commit(name, Manifest(step, step, step, step, 1.0, 1, files=files))
    store.retain(keep_best=0, keep_latest=1)


def is_whole(storage: Storage, step: int, size: int) -> bool:
    return storage.read_bytes(f"{TRIAL.checkpoint(checkpoint_name(step))}/state.pt") == bytes([step]) * size


@own_mounts
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    size = 300_000  # two fit, three do not: and two are needed, for the old one goes last
    storage = Storage.open(small_disk(tmp_path / "disk", "800k"))
    store = CheckpointStore(storage, TRIAL)
    put(store, tmp_path / "own", 1, size)
    put(store, tmp_path / "own", 2, size)
    ballast = fill(tmp_path / "disk", leave=100_000)
    with pytest.raises(StorageUnavailable) as caught:
        put(store, tmp_path / "own", 3, size)
    assert caught.value.kind == "disk full"
    assert f"{tmp_path}/disk/{TRIAL.checkpoint(checkpoint_name(3))}/state.pt" in str(caught.value)
    latest = store.latest()
    assert latest is not None
    assert latest.step == 2
    assert is_whole(storage, 2, size)
    assert store.warnings == [
        f"{TRIAL.checkpoint(checkpoint_name(3))}: no manifest; its upload did not finish"
    ]
    ballast.unlink()
    put(store, tmp_path / "own", 3, size)
    assert is_whole(storage, 3, size)


@own_mounts
@pytest.mark.parametrize("fault", ["read-only", "dying"])
def test_a_checkpoint_on_a_disk_that_fails_leaves_the_one_before(fault: str, tmp_path: Path) -> None:
    with closing(DyingDisk(tmp_path / "disk")) as disk:
        storage = Storage.open(disk.folder)
        store = CheckpointStore(storage, TRIAL)
        put(store, tmp_path / "own", 1, 100_000)
        put(store, tmp_path / "own", 2, 100_000)
        disk.die() if fault == "dying" else disk.protect()
        with pytest.raises(StorageUnavailable) as caught:
            put(store, tmp_path / "own", 3, 100_000)
        assert caught.value.kind == {"dying": "I/O error", "read-only": "read-only"}[fault]
        assert str(disk.folder) in str(caught.value)
        disk.revive()
        latest = store.latest()
        assert latest is not None
        assert latest.step == 2
        assert is_whole(storage, 2, 100_000)


@pytest.fixture
def row() -> dict[str, object]:
    return {"report": 1, "step": 1, "epoch": 1, "time_s": 1.0, "attempt": 1, "loss": 0.5}


@own_mounts
@pytest.mark.slow
def test_curves_wait_for_room_and_lose_no_row(tmp_path: Path, row: dict[str, object]) -> None:
    storage = Storage.open(small_disk(tmp_path / "disk", "1m"))
    log = TrialLog(storage, TRIAL)
    log.flush()
    ballast = fill(tmp_path / "disk")
    for number in range(1, 301):
        log.report({**row, "report": number, "step": number, "padding": "x" * 50})
        log.observe("worst", [{"id": number}], number)
    with pytest.raises(StorageUnavailable, match="No space left on device"):
        log.flush()
    ballast.unlink()
    log.finish()
    assert [found["report"] for found in read_metrics(storage, TRIAL)] == list(range(1, 301))
    assert [found["id"] for found in read_table(storage, TRIAL, OBSERVATIONS)] == list(range(1, 301))
