from __future__ import annotations

import io
import itertools
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StorageUnavailable
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import TrialPaths, checkpoint_name
from orchestrator.record.storage import Storage
from orchestrator.record.storage.objectstore import ObjectStore

TRIAL = TrialPaths("s/trials/a/seed-0")


def manifest(step: int, files: dict[str, int], score: float | None = None) -> Manifest:
    return Manifest(step, None, float(step), step, 1.5 * step, 1, files=files, value=score, score=score)


def save(store: CheckpointStore, step: int, score: float | None = None, ranks: int = 2) -> Manifest:
    """What the workers of a trial do: every rank its part, then the manifest."""
    name, files = checkpoint_name(step), {}
    for rank in range(ranks):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"part-{rank}.pt").write_bytes(content(step, rank))
            files.update(store.put_part(name, Path(folder)))
    return store.commit(name, manifest(step, files, score))


def content(step: int, rank: int) -> bytes:
    return f"step {step} rank {rank};".encode() * 7


def names(store: CheckpointStore) -> list[str]:
    return [found.name for found in store.complete()]


def test_a_checkpoint_comes_back(storage: Storage, tmp_path: Path) -> None:
    store = CheckpointStore(storage, TRIAL)
    assert store.latest() is None
    kept = save(store, 120, score=0.5)
    assert kept == store.latest()
    assert kept.name == "step-00000120"
    folder = store.fetch(kept.name, tmp_path / "back")
    assert sorted(path.name for path in folder.iterdir()) == ["part-0.pt", "part-1.pt"]
    assert (folder / "part-1.pt").read_bytes() == content(120, 1)


def test_what_is_incomplete_is_passed_over_and_named(storage: Storage) -> None:
    store = CheckpointStore(storage, TRIAL)
    for step in (1, 2, 3, 4, 5):
        save(store, step)
    folder = {step: TRIAL.checkpoint(checkpoint_name(step)) for step in range(6)}
    storage.delete_file(f"{folder[5]}.json")
    storage.write_atomic(f"{folder[4]}.json", b'{"step": 4, "na')
    storage.write_atomic(f"{folder[3]}/part-1.pt", b"short")
    storage.delete_file(f"{folder[2]}/part-0.pt")
    latest = store.latest()
    assert latest is not None
    assert latest.step == 1
    text = "\n".join(store.warnings)
    for reason in ("no manifest", "unreadable manifest", "has 5 of", "part-0.pt is missing"):
        assert reason in text
    assert store.discard_incomplete() == [checkpoint_name(step) for step in (2, 3, 4, 5)]
    assert store.latest() == latest
    assert store.warnings == []


def test_commit_refuses_parts_that_did_not_arrive(storage: Storage, tmp_path: Path) -> None:
    store = CheckpointStore(storage, TRIAL)
    (tmp_path / "a.pt").write_bytes(b"12345")
    store.put_part("step-00000001", tmp_path)
    with pytest.raises(StorageUnavailable, match=r"a\.pt has 5 of 6 bytes"):
        store.commit("step-00000001", manifest(1, {"a.pt": 6}))
    assert store.latest() is None


def test_retention_keeps_the_newest_and_the_best(storage: Storage) -> None:
    store = CheckpointStore(storage, TRIAL)
    scores = [0.1, 0.9, float("nan"), 0.9, 0.2, None]
    for step, score in enumerate(scores, start=1):
        save(store, step, score)
    kept = store.retain(keep_best=1, keep_latest=2)
    assert kept.latest == (checkpoint_name(6), checkpoint_name(5))
    assert kept.best == (checkpoint_name(2),)
    assert names(store) == [checkpoint_name(step) for step in (2, 5, 6)]


def test_retention_keeps_the_first_at_or_after_each_named_length(storage: Storage) -> None:
    store = CheckpointStore(storage, TRIAL)
    for step in (1, 3, 4, 6):
        save(store, step)
    store.retain(0, 1, at=(2, 3, 9))
    assert names(store) == [checkpoint_name(step) for step in (3, 6)]


def test_retention_never_removes_the_only_good_one(local: Storage) -> None:
    store = CheckpointStore(local, TRIAL)
    save(store, 1)
    save(store, 2)
    local.delete_file(TRIAL.manifest(checkpoint_name(2)))
    for _ in range(2):
        store.retain(keep_best=0, keep_latest=0)
        assert names(store) == [checkpoint_name(1)]


def test_a_replaced_checkpoint_is_incomplete_until_it_is_whole(local: Storage, tmp_path: Path) -> None:
    store = CheckpointStore(local, TRIAL)
    save(store, 1)
    part = tmp_path / "part"
    part.mkdir()
    (part / "part-0.pt").write_bytes(content(1, 0))
    store.put_part(checkpoint_name(1), part)
    assert store.latest() is None
    save(store, 1)
    assert names(store) == [checkpoint_name(1)]


class CrashError(OSError):
    """The machine is gone."""


class MortalFiles(MemoryFileSystem):  # type: ignore[misc]
    """A file system that dies at its n-th change and leaves a torn file behind."""

    cachable = False

    def __init__(self, changes_left: int) -> None:
        super().__init__()
        self.changes_left = changes_left

    def live(self) -> bool:
        self.changes_left -= 1
        return self.changes_left >= 0

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return Dying(self, path) if "w" in mode else super().open(path, mode, **kwargs)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        for file in sorted(self.find(path)):  # a directory goes file by file
            if not self.live():
                raise CrashError
            self.rm_file(file)
        if recursive and self.exists(path):
            super().rm(path, recursive=True)


class Dying(io.BytesIO):
    def __init__(self, files: MortalFiles, path: str) -> None:
        super().__init__()
        self.files, self.path = files, path

    def close(self) -> None:
        if self.closed:
            return
        data, alive = self.getvalue(), self.files.live()
        super().close()
        if alive or self.files.changes_left == -1:
            MemoryFileSystem.pipe_file(self.files, self.path, data if alive else data[: len(data) // 2])
        if not alive:
            raise CrashError


def mortal(root: str, changes_left: int) -> Storage:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return Storage.open(
        ObjectStore(f"mortal://{root}", PyFileSystem(FSSpecHandler(MortalFiles(changes_left))), root)
    )


@pytest.mark.slow
@given(
    crash=st.integers(0, 40),
    scores=st.lists(st.none() | st.floats(), min_size=1, max_size=6),
    keep_best=st.integers(0, 2),
    keep_latest=st.integers(0, 2),
)
def test_a_crash_between_any_two_writes_leaves_a_complete_one(
    crash: int, scores: list[float | None], keep_best: int, keep_latest: int
) -> None:
    root = uuid.uuid4().hex
    store = CheckpointStore(mortal(root, crash), TRIAL)
    committed = 0
    try:
        for step, score in enumerate(scores, start=1):
            save(store, step, score)
            committed = step
            store.retain(keep_best, keep_latest)
    except (CrashError, StorageUnavailable):
        pass

    storage = mortal(root, 10**9)
    after = CheckpointStore(storage, TRIAL)
    latest = after.latest()
    if latest is None:
        assert committed == 0
        return
    assert latest.step in (committed, committed + 1)
    for name, rank in itertools.product([latest.name], range(2)):
        assert storage.read_bytes(f"{TRIAL.checkpoint(name)}/part-{rank}.pt") == content(latest.step, rank)
    after.discard_incomplete()
    after.retain(keep_best, keep_latest)
    assert after.latest() == latest
    assert after.warnings == []


def damage(storage: Storage, name: str, how: str) -> None:
    folder = TRIAL.checkpoint(name)
    if how == "part gone":
        storage.delete_file(f"{folder}/part-1.pt")
    elif how == "part cut":
        storage.write_atomic(f"{folder}/part-0.pt", b"x")
    elif how == "manifest gone":
        storage.delete_file(TRIAL.manifest(name))
    elif how == "manifest garbage":
        storage.write_atomic(TRIAL.manifest(name), b"\x00\xff{")
    else:  # another manifest beside it is only a file
        storage.write_atomic(f"{folder}.json.1", b"{}")


LIFE = st.tuples(
    st.integers(0, 25),  # changes until this life of the trial ends
    st.sampled_from([None, "part gone", "part cut", "manifest gone", "manifest garbage", "two manifests"]),
)


@pytest.mark.long
@pytest.mark.slow
@given(lives=st.lists(LIFE, min_size=1, max_size=5), keep_latest=st.integers(0, 3))
def test_through_many_lives_there_is_a_usable_one_once_there_has_been_one(
    lives: list[tuple[int, str | None]], keep_latest: int
) -> None:
    """Crashes at any write, damage to the newest: the last whole one is used."""
    root = uuid.uuid4().hex
    for crash, harm in lives:
        store = CheckpointStore(mortal(root, crash), TRIAL)
        newest = store.latest()
        done = newest.step if newest else 0
        try:
            for step in range(done + 1, done + 8):
                save(store, step, score=-float(step))
                store.retain(keep_best=0, keep_latest=keep_latest)
        except (CrashError, StorageUnavailable):
            pass
        storage = mortal(root, 10**9)
        after = CheckpointStore(storage, TRIAL)
        whole = after.complete()
        assert whole or newest is None
        assert not (whole and newest) or whole[-1].step >= newest.step
        if harm is None or len(whole) < 2:
            continue
        damage(storage, whole[-1].name, harm)
        usable = after.latest()
        assert usable == (whole[-1] if harm == "two manifests" else whole[-2])
        if harm != "two manifests":
            assert any(TRIAL.checkpoint(whole[-1].name) in line for line in after.warnings)
        after.retain(keep_best=0, keep_latest=keep_latest)
        assert after.latest() == usable
