"""One contract, over a local directory and over an object store."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import FSSpecHandler, PyFileSystem

from orchestrator.errors import StorageUnavailable, StudyError
from orchestrator.record.layout import StudyPaths, TrialPaths, checkpoint_name, safe_name
from orchestrator.record.storage import Storage
from orchestrator.record.storage.directory import FileAppender
from orchestrator.record.storage.objectstore import ObjectStore


def test_files_come_back(storage: Storage) -> None:
    storage.write_atomic("a/b/c.txt", "über")
    storage.write_atomic("a/b/c.txt", "second")
    storage.write_atomic("a/d.bin", b"\x00\xff")
    assert storage.read_text("a/b/c.txt") == "second"
    assert storage.read_bytes("a/d.bin") == b"\x00\xff"
    assert storage.exists("a/b/c.txt")
    assert storage.exists("a/b")
    assert not storage.exists("a/x")
    assert [(e.name, e.is_dir, e.size) for e in storage.list("a")] == [("b", True, 0), ("d.bin", False, 2)]
    assert storage.list("nowhere") == []
    assert storage.sizes("a") == {"b/c.txt": 6, "d.bin": 2}


def test_the_end_of_what_grows(storage: Storage) -> None:
    for text in (b"one\n", b"two\n", b"three\n"):
        grows = storage.appender("a/grows.txt")
        grows.write(text)
        grows.close()
    whole = b"one\ntwo\nthree\n"
    for most in (1, 5, 6, 7, 13, 14, 99):
        assert storage.read_end("a/grows.txt", most) == (whole[-most:], len(whole))
    assert storage.read_end("a/none.txt", 9) == (b"", 0)


def test_missing_files_say_so(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("nothing")
    storage.delete_file("nothing")
    storage.delete_dir("nothing")


def test_a_directory_that_only_its_files_have_made_can_be_removed(tmp_path: Path) -> None:
    """Arrow may miss it, as it does on the emulator of Google's storage; its error has no number."""

    class Missed(FSSpecHandler):
        def delete_dir(self, path: str) -> None:
            raise OSError(f"No such directory: {path}")

    files = PyFileSystem(Missed(MemoryFileSystem()))
    storage = Storage.open(ObjectStore(f"objects://{tmp_path.name}", files, tmp_path.name))
    storage.write_atomic("a/b/c.txt", "one")
    storage.write_atomic("a/d.txt", "two")
    storage.delete_dir("a/b")
    assert storage.sizes("a") == {"d.txt": 3}


def test_directories_go_in_and_out(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "weights.pt").write_bytes(b"w" * 5000)
    (source / "empty").write_bytes(b"")
    assert storage.copy_in(source, "x/y") == {"deep/weights.pt": 5000, "empty": 0}
    storage.move_dir("x", "z")
    assert not storage.exists("x/y/empty")
    storage.copy_out("z/y", tmp_path / "target")
    assert (tmp_path / "target/deep/weights.pt").read_bytes() == b"w" * 5000
    assert (tmp_path / "target/empty").read_bytes() == b""
    storage.delete_dir("z")
    assert storage.sizes("z") == {}


def test_growing_files(storage: Storage) -> None:
    for batch in ([b"one", b"two"], [b"three"]):
        appender = storage.appender("f/log.jsonl")
        appender.append(batch)
        appender.sync()
        appender.append([b"more"])
        appender.sync()
        appender.sync()
        appender.close()
    assert list(storage.read_lines("f/log.jsonl")) == [b"one", b"two", b"more", b"three", b"more"]
    names = [entry.name for entry in storage.list("f")]
    if storage.is_local:
        assert names == ["log.jsonl"]
    else:
        assert names == [f"log.jsonl.{n:05d}" for n in range(1, 5)]
    storage.delete_grown("f/log.jsonl")
    assert storage.read_lines("f/log.jsonl") == []


def test_check_writable_leaves_nothing(storage: Storage) -> None:
    storage.check_writable()
    assert storage.list() == []


def test_check_writable_does_not_make_the_directory(tmp_path: Path) -> None:
    Storage.open(tmp_path / "a" / "b").check_writable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file.txt/below", "/proc/nowhere/runs", "nul\0byte"])
def test_unwritable_storage_is_bad_input(where: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    storage = Storage.open(tmp_path / where)
    with pytest.raises(StudyError) as caught:
        storage.check_writable()
    assert caught.value.faults[0].field == "storage"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_unknown_scheme_is_bad_input() -> None:
    with pytest.raises(StudyError) as caught:
        Storage.open("carrier-pigeon://coop/7")
    assert caught.value.faults[0].value == "carrier-pigeon://coop/7"


def test_open_understands_paths_and_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / "runs"
    assert Storage.open("runs").local_path() == expected
    assert Storage.open(f"file://{expected}").local_path() == expected
    assert Storage.open(Storage.open("runs")).local_path() == expected


def test_paths_do_not_escape(storage: Storage) -> None:
    for path in ("../x", "a/../../x", "/etc/passwd"):
        with pytest.raises(ValueError, match="below the storage root"):
            storage.path(path)


def test_storage_travels(storage: Storage) -> None:
    storage.write_atomic("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"


def test_a_failed_append_leaves_no_half_line(local: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = local.appender("log")
    assert isinstance(appender, FileAppender)
    appender.append([b"good"])
    write = os.write

    def disk_full(fd: int, data: bytes) -> int:
        if len(data) > 3:
            return write(fd, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", disk_full)
    with pytest.raises(StorageUnavailable, match="No space left"):
        appender.append([b"lost"])
    monkeypatch.undo()
    appender.append([b"next"])
    assert list(local.read_lines("log")) == [b"good", b"next"]


def test_remote_errors_are_unavailable(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(StorageUnavailable, match="cannot write"):
        Storage.open(tmp_path).write_atomic("f/x", b"1")


@given(st.text())
def test_names_are_one_visible_component(name: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return
    safe = safe_name(name)
    assert safe
    assert "/" not in safe
    assert not safe.startswith(".")


@given(st.text(alphabet="ab./%=+- "), st.text(alphabet="ab./%=+- "))
def test_names_do_not_collide(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_layout_is_what_the_documentation_says() -> None:
    paths = StudyPaths.of("digits")
    assert paths.trial_dir("no-mixup", 3) == "digits/trials/no-mixup/seed-3"
    assert paths.trial_dir("optimizer=sgd", 0, sample=2, phase="tune") == (
        "digits/trials/optimizer=sgd/seed-0/sample-2"
    )
    assert paths.trial_dir("a", 0, phase="retuned") != paths.trial_dir("a", 0)
    trial = paths.trial("baseline", 0)
    assert isinstance(trial, TrialPaths)
    assert (trial.log(), trial.log(1)) == (
        "digits/trials/baseline/seed-0/log.txt",
        "digits/trials/baseline/seed-0/log-rank1.txt",
    )
    assert trial.checkpoint(checkpoint_name(120)).endswith("/checkpoints/step-00000120")
